//! Any bytes give a result or an error, never a panic: the twin of the fuzz targets that runs everywhere.

mod common;
mod parsers;

use common::{Deal, dealing, pattern};
use proptest::collection::vec;
use proptest::prelude::*;
use warifu_core::format::{CHUNK, Suite};

fn vector(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors/format-1")
        .join(name);
    std::fs::read(path).unwrap()
}

/// Beginnings that lead a parser deep inside.
fn whole() -> impl Strategy<Value = Vec<u8>> {
    let vault = [vector("vault-1"), vector("vault-2"), vector("vault-3")].concat();
    let head = warifu_core::head::Head {
        path: vec![b"a".to_vec()],
        ..Default::default()
    }
    .encode()
    .to_vec();
    let bare = [2, 1, 10, 20, 2, 30, 40, 3, 50, 60].to_vec();
    // With another end, so that it opens with no key, whatever else is done to it.
    let mut age = vector("../age/age-1.1.1");
    age.iter_mut()
        .next_back()
        .into_iter()
        .for_each(|last| *last ^= 1);
    prop::sample::select(vec![
        vector("ways-1"),
        age,
        vector("data-aes-1"),
        vector("data-chacha-2"),
        vector("loose-1"),
        vault,
        head,
        bare,
    ])
}

fn altered() -> impl Strategy<Value = Vec<u8>> {
    let edits = vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (
        whole(),
        edits,
        any::<prop::sample::Index>(),
        any::<bool>(),
        vec(any::<u8>(), 0..40),
    )
        .prop_map(|(mut bytes, edits, end, cut, more)| {
            // Most of what matters lies at the beginning.
            let near = bytes.len().min(256);
            for (at, value) in edits {
                let at = at.index(near);
                bytes[at] = value;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            } else {
                bytes.extend(more);
            }
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn p10_any_bytes_are_borne(bytes in vec(any::<u8>(), 0..600)) {
        for parser in parsers::ALL {
            parser(&bytes);
        }
    }

    #[test]
    fn p10_altered_bytes_are_borne(bytes in altered()) {
        for parser in parsers::ALL {
            parser(&bytes);
        }
    }
}

#[test]
fn p10_whole_bytes_are_borne() {
    for name in [
        "vault-1",
        "ways-1",
        "data-aes-1",
        "data-chacha-1",
        "head-1",
        "long-1",
        "loose-1",
    ] {
        let bytes = vector(name);
        for len in (0..bytes.len().min(300)).chain([bytes.len()]) {
            for parser in parsers::ALL {
                parser(&bytes[..len]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn p10_any_chunks_are_borne(start in vec(any::<u8>(), 0..40), len in 0..3 * CHUNK) {
        let dealt = Deal::new(dealing(1, 1, Suite::best()), &pattern(2 * CHUNK + 9));
        let mut bytes = start;
        bytes.resize(len, 0);
        parsers::chunks(dealt.open(0), &bytes);
    }
}

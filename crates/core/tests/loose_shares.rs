//! Loose shares: k files are enough, fewer and foreign ones are refused, damaged ones are replaced and named.

use warifu_core::format::{
    Dealing, EXTENT_MAX, ExtentKind, FormatError, Scheme, Seat, Suite, deal,
};
use warifu_core::head::{Head, Timestamp};
use warifu_core::ids::{ExtentId, FileId, Threshold, VersionNo};
use warifu_core::loose::{
    LOOSE_PRELUDE_LEN, LooseDealError, LooseDealer, LooseJoinError, LooseJoiner, LoosePart,
};
use warifu_core::vault_object::{RecoverError, VaultObject, recover_vault_key};

mod common;
use common::pattern;

fn head(size: usize) -> Head {
    Head {
        path: vec!["住民票.xlsx".into()],
        mode: 0o100_640,
        mtime: Timestamp {
            secs: 1_780_000_000,
            nanos: 5,
        },
        size: size as u64,
        author: "soumu".into(),
        ..Head::default()
    }
}

fn split(k: u8, n: u8, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut dealer = LooseDealer::new(Threshold::new(k, n).unwrap(), head(bytes.len())).unwrap();
    let mut files = dealer.blocks().to_vec();
    for extent in bytes.chunks(EXTENT_MAX) {
        for (file, block) in files.iter_mut().zip(dealer.push(extent).unwrap()) {
            file.extend_from_slice(block);
        }
    }
    dealer.finish().unwrap();
    files
}

/// The bytes, and which files were named as damaged.
fn join(files: &[Vec<u8>]) -> Result<(Vec<u8>, Vec<usize>), LooseJoinError> {
    let views: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let mut joiner = LooseJoiner::new(&views)?;
    let mut named = joiner.liars().to_vec();
    let mut at = joiner.start();
    let mut bytes = Vec::new();
    while !joiner.is_finished() {
        let rest: Vec<Option<&[u8]>> = files.iter().map(|file| file.get(at..)).collect();
        let len = joiner.next_len(&rest)?;
        let joined = joiner.join(&rest)?;
        named.extend(joined.damaged);
        match joined.part {
            LoosePart::Head(read) => assert!(*read == head(usize::try_from(read.size).unwrap())),
            LoosePart::Data(data) => bytes.extend_from_slice(data.expose()),
        }
        at += len;
    }
    assert_eq!(joiner.join(&[]).unwrap_err(), LooseJoinError::Finished);
    named.sort_unstable();
    named.dedup();
    Ok((bytes, named))
}

#[test]
fn any_k_files_give_every_length_back() {
    for len in [
        0,
        1,
        4096,
        4097,
        EXTENT_MAX - 1,
        EXTENT_MAX,
        EXTENT_MAX + 1,
        2 * EXTENT_MAX + 3,
    ] {
        let files = split(2, 3, &pattern(len));
        for left_out in 0..3 {
            let mut some = files.clone();
            some.remove(left_out);
            some.reverse();
            assert_eq!(
                join(&some).unwrap(),
                (pattern(len), Vec::new()),
                "{len} bytes without {left_out}"
            );
        }
        assert!(files.iter().all(|file| file.len() == files[0].len()));
    }
    for (k, n) in [(1, 1), (1, 2), (5, 5), (30, 60)] {
        let files = split(k, n, &pattern(5000));
        assert_eq!(
            join(&files[usize::from(n - k)..]).unwrap().0,
            pattern(5000),
            "{k} of {n}"
        );
    }
}

#[test]
fn p1_sizes_are_rounded_and_names_do_not_show() {
    let sizes: std::collections::BTreeSet<_> = [1, 100, 4000]
        .map(|len| split(2, 2, &pattern(len))[0].len())
        .into();
    assert_eq!(sizes.len(), 1);
    for file in split(1, 2, b"text of the minutes, which no file shows") {
        for secret in ["住民票.xlsx".as_bytes(), b"soumu", b"the minutes"] {
            assert!(!file.windows(secret.len()).any(|window| window == secret));
        }
    }
}

#[test]
fn p1_fewer_than_k_files_are_refused() {
    let files = split(3, 5, b"text");
    assert_eq!(
        join(&files[..2]).unwrap_err(),
        LooseJoinError::Key(RecoverError::TooFew { needed: 3, got: 2 })
    );
    let same = [files[0].clone(), files[1].clone(), files[1].clone()];
    assert_eq!(
        join(&same).unwrap_err(),
        LooseJoinError::Key(RecoverError::TooFew { needed: 3, got: 2 })
    );
}

#[test]
fn files_of_another_splitting_are_named_and_not_used() {
    let (ours, theirs) = (split(2, 3, &pattern(9000)), split(2, 3, &pattern(8000)));
    let mixed = [
        theirs[0].clone(),
        ours[2].clone(),
        ours[1].clone(),
        ours[0].clone(),
    ];
    assert_eq!(join(&mixed).unwrap(), (pattern(9000), vec![0]));
    assert!(matches!(
        join(&[ours[0].clone(), theirs[1].clone()]).unwrap_err(),
        LooseJoinError::Key(RecoverError::TooFew { needed: 2, got: 1 })
    ));
}

#[test]
fn p4_damage_anywhere_is_named_and_another_file_used() {
    let bytes = pattern(EXTENT_MAX + 100);
    let files = split(2, 3, &bytes);
    let len = files[0].len();
    let places = [
        60,
        LOOSE_PRELUDE_LEN,
        LOOSE_PRELUDE_LEN + 100,
        LOOSE_PRELUDE_LEN + 500,
        6000,
        len / 2,
        len - 3000,
        len - 1,
    ];
    for place in places {
        let mut damaged = files.clone();
        damaged[0][place] ^= 4;
        assert_eq!(
            join(&damaged).unwrap(),
            (bytes.clone(), vec![0]),
            "byte {place}"
        );
    }
    for cut in [
        LOOSE_PRELUDE_LEN,
        LOOSE_PRELUDE_LEN + 10,
        5000,
        100_000,
        len - 1,
    ] {
        let mut damaged = files.clone();
        damaged[1].truncate(cut);
        assert_eq!(
            join(&damaged).unwrap(),
            (bytes.clone(), vec![1]),
            "cut at {cut}"
        );
        damaged[0].truncate(cut);
        let refused = join(&damaged).unwrap_err();
        let named = matches!(&refused, LooseJoinError::TooFew { needed: 2, got: 1, damaged, .. } if *damaged == [0, 1]);
        assert!(named, "{refused}");
    }
}

#[test]
fn p4_extents_cannot_be_exchanged_or_left_out() {
    let bytes = pattern(3 * EXTENT_MAX);
    let files = split(1, 1, &bytes);
    let object = (files[0].len() - split(1, 1, b"")[0].len()) / 3;
    let first = files[0].len() - 3 * object;
    let mut swapped = files.clone();
    swapped[0][first..first + 2 * object].rotate_left(object);
    assert!(matches!(
        join(&swapped).unwrap_err(),
        LooseJoinError::TooFew { extent: 0, .. }
    ));
    let mut missing = files.clone();
    missing[0].drain(first + object..first + 2 * object);
    assert!(matches!(
        join(&missing).unwrap_err(),
        LooseJoinError::TooFew { extent: 1, .. }
    ));
    let mut ended = files;
    ended[0].truncate(first + 2 * object);
    assert!(matches!(
        join(&ended).unwrap_err(),
        LooseJoinError::TooFew { extent: 2, .. }
    ));
}

#[test]
fn p10_foreign_files_are_refused_and_named() {
    let files = split(2, 3, b"text");
    let refused = |bytes: Vec<u8>| join(&[files[0].clone(), bytes]).unwrap_err();
    assert_eq!(
        refused(b"PK\x03\x04".to_vec()),
        LooseJoinError::Format {
            position: 1,
            error: FormatError::NotWarifu
        }
    );
    let short = FormatError::Short {
        needed: LOOSE_PRELUDE_LEN,
        got: 100,
    };
    assert_eq!(
        refused(files[1][..100].to_vec()),
        LooseJoinError::Format {
            position: 1,
            error: short
        }
    );
    let mut newer = files[1].clone();
    newer[7] = 3;
    let error = FormatError::Newer { found: 3, known: 1 };
    assert_eq!(
        refused(newer),
        LooseJoinError::Format { position: 1, error }
    );
}

#[test]
fn wrong_extents_are_refused() {
    let threshold = Threshold::new(2, 2).unwrap();
    let mut dealer = LooseDealer::new(threshold, head(EXTENT_MAX + 5)).unwrap();
    let extent = |expected, got| LooseDealError::Extent { expected, got };
    assert_eq!(dealer.push(&[0; 5]).unwrap_err(), extent(EXTENT_MAX, 5));
    dealer.push(&pattern(EXTENT_MAX)).unwrap();
    assert_eq!(dealer.push(&[0; 6]).unwrap_err(), extent(5, 6));
    let size = EXTENT_MAX as u64 + 5;
    assert_eq!(
        dealer.finish().unwrap_err(),
        LooseDealError::Unfinished {
            size,
            given: EXTENT_MAX as u64
        }
    );
    let mut empty = LooseDealer::new(threshold, head(0)).unwrap();
    assert_eq!(empty.push(&[]).unwrap_err(), extent(0, 0));
    empty.finish().unwrap();
}

/// Loose shares as no version of warifu makes them: of the scheme compact.
fn compact_files(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut files = split(2, 3, bytes);
    for file in &mut files {
        file.truncate(LOOSE_PRELUDE_LEN);
    }
    let preludes: Vec<_> = (files.iter())
        .map(|file| VaultObject::parse(&file[8..]).unwrap())
        .collect();
    let (key, _) = recover_vault_key(&preludes).unwrap();
    let keys: Vec<_> = (preludes.iter())
        .map(|prelude| key.seal_key(prelude.server()))
        .collect();
    let seats: Vec<_> = (preludes.iter().zip(&keys))
        .map(|(prelude, key)| Seat {
            server: prelude.server(),
            key,
        })
        .collect();
    let dealing = Dealing {
        vault: preludes[0].vault(),
        file: FileId::fresh().unwrap(),
        version: VersionNo(1),
        kind: ExtentKind::Head,
        number: 0,
        extent: ExtentId::fresh().unwrap(),
        generation: preludes[0].generation(),
        round: warifu_core::ids::RoundId::NIL,
        threshold: preludes[0].threshold(),
        scheme: Scheme::Compact,
        suite: Suite::best(),
    };
    let mut objects = vec![Vec::new(); 3];
    deal(&dealing, &seats, &pattern(9000), &mut objects).unwrap();
    for (file, object) in files.iter_mut().zip(objects) {
        file.extend(object);
    }
    files
}

#[test]
fn p10_shares_of_another_scheme_are_told_from_damaged_ones() {
    let files = compact_files(&pattern(10));
    let wrong = LooseJoinError::Scheme {
        position: 0,
        scheme: 2,
    };
    assert_eq!(join(&files).unwrap_err(), wrong);
    assert!(wrong.to_string().contains("scheme 2"), "{wrong}");
    // The first bytes alone, as a reader looks at them first.
    let views: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let joiner = LooseJoiner::new(&views).unwrap();
    let prefix = |len: usize| -> Vec<Option<&[u8]>> {
        (files.iter())
            .map(|file| file.get(joiner.start()..joiner.start() + len))
            .collect()
    };
    for len in [64, 192, 240] {
        assert_eq!(joiner.next_len(&prefix(len)).unwrap_err(), wrong, "{len}");
    }
    // A scheme that nobody has yet.
    let mut later = split(2, 3, &pattern(10));
    for file in &mut later {
        file[LOOSE_PRELUDE_LEN + 9] = 7;
    }
    assert_eq!(
        join(&later).unwrap_err(),
        LooseJoinError::Scheme {
            position: 0,
            scheme: 7
        }
    );
    // One that was altered among good ones holds nothing up, and is damaged.
    let mut altered = split(2, 3, &pattern(10));
    altered[0][LOOSE_PRELUDE_LEN + 9] = 2;
    assert_eq!(join(&altered).unwrap(), (pattern(10), vec![0]));
}

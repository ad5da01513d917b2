//! A file's head: what is written is read, whatever is read gives a head or an error.

use proptest::collection::vec;
use proptest::prelude::*;
use warifu_core::head::{Content, Head, HeadError, Timestamp, is_safe_name};
use warifu_core::ids::{ExtentId, VersionNo};

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..most)
}

fn time() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Timestamp { secs, nanos })
}

fn extent() -> impl Strategy<Value = ExtentId> {
    any::<[u8; 16]>()
        .prop_map(ExtentId::from_bytes)
        .prop_filter("the hole", |id| *id != ExtentId::NIL)
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        Just(Content::Inline),
        (any::<u32>(), vec(proptest::option::of(extent()), 0..20))
            .prop_map(|(extent_size, list)| Content::Extents { extent_size, list }),
    ]
}

prop_compose! {
    fn head()(
        path in vec(bytes(300), 0..8),
        (mode, uid, gid) in any::<(u32, u32, u32)>(),
        (atime, mtime, ctime, btime, saved_at) in (time(), time(), time(), time(), time()),
        (size, version) in any::<(u64, u64)>(),
        base in proptest::option::of(extent()),
        (author, host) in any::<(String, String)>(),
        xattrs in vec((bytes(40), bytes(300)), 0..4),
        content in content(),
    ) -> Head {
        Head {
            path, mode, uid, gid, atime, mtime, ctime, btime, size, version: VersionNo(version), base,
            author, host, saved_at, xattrs, content,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(head in head(), after in bytes(100)) {
        let encoded = head.encode();
        prop_assert_eq!(encoded.len(), encoded.capacity(), "written in one piece");
        let whole = [encoded.as_slice(), &after].concat();
        let (read, at) = Head::parse(&whole).unwrap();
        prop_assert!(read == head);
        prop_assert_eq!(&whole[at..], after);
    }

    #[test]
    fn a_head_cut_off_anywhere_is_refused(head in head(), at in any::<prop::sample::Index>()) {
        let encoded = head.encode();
        let cut = at.index(encoded.len());
        let short = matches!(Head::parse(&encoded[..cut]), Err(HeadError::Short { got, .. }) if got == cut);
        prop_assert!(short);
    }

    #[test]
    fn an_altered_head_gives_a_head_or_an_error(head in head(), at in any::<prop::sample::Index>(), value: u8) {
        let mut encoded = head.encode().to_vec();
        let at = at.index(encoded.len());
        encoded[at] = value;
        let _ = Head::parse(&encoded);
    }
}

/// The records of the plainest head, as (tag, value).
fn records() -> Vec<(u16, Vec<u8>)> {
    let encoded = Head::default().encode();
    let mut rest = &encoded[8..];
    let mut records = Vec::new();
    while let [a, b, c, d, e, f, tail @ ..] = rest {
        let len = u32::from_le_bytes([*c, *d, *e, *f]) as usize;
        records.push((u16::from_le_bytes([*a, *b]), tail[..len].to_vec()));
        rest = &tail[len..];
    }
    records
}

fn parse(records: &[(u16, Vec<u8>)]) -> Result<Head, HeadError> {
    let mut body = Vec::new();
    for (tag, value) in records {
        body.extend_from_slice(&tag.to_le_bytes());
        body.extend_from_slice(&(value.len() as u32).to_le_bytes());
        body.extend_from_slice(value);
    }
    let head = [
        &1_u32.to_le_bytes()[..],
        &(body.len() as u32).to_le_bytes(),
        &body,
    ]
    .concat();
    Head::parse(&head).map(|(head, _)| head)
}

#[test]
fn records_are_required_ordered_and_exact() {
    assert!(parse(&records()).unwrap() == Head::default());
    for (at, (tag, _)) in records().into_iter().enumerate() {
        let mut missing = records();
        missing.remove(at);
        assert_eq!(parse(&missing).unwrap_err(), HeadError::Missing { tag });
        let mut twice = records();
        twice.insert(at, records()[at].clone());
        assert_eq!(parse(&twice).unwrap_err(), HeadError::Order { tag });
        let mut long = records();
        long[at].1.push(0xFF);
        // The author's and the host's names may be longer, but 0xFF is never text.
        assert_eq!(parse(&long).unwrap_err(), HeadError::Malformed { tag });
    }
    let mut swapped = records();
    swapped.swap(1, 2);
    assert_eq!(parse(&swapped).unwrap_err(), HeadError::Order { tag: 2 });
    let mut both = records();
    both.push((17, vec![0; 4]));
    assert_eq!(parse(&both).unwrap_err(), HeadError::Order { tag: 17 });
    let mut nanos = records();
    nanos[4].1 = [[0; 8].as_slice(), &1_000_000_000_u32.to_le_bytes()].concat();
    assert_eq!(parse(&nanos).unwrap_err(), HeadError::Malformed { tag: 5 });
}

#[test]
fn records_of_a_newer_warifu_are_skipped_only_where_they_may_be() {
    let mut newer = records();
    newer.push((0x8001, b"what a later version adds".to_vec()));
    assert!(parse(&newer).unwrap() == Head::default());
    for tag in [0, 18, 0x7FFF] {
        let mut newer = records();
        let at = usize::from(tag != 0) * newer.len();
        newer.insert(at, (tag, Vec::new()));
        assert_eq!(parse(&newer).unwrap_err(), HeadError::NewerRecord { tag });
    }
}

#[test]
fn other_formats_are_refused() {
    let mut encoded = Head::default().encode().to_vec();
    encoded[0] = 2;
    assert_eq!(
        Head::parse(&encoded).unwrap_err(),
        HeadError::Newer { found: 2 }
    );
    assert_eq!(Head::parse(&[0; 4096]).unwrap_err(), HeadError::NotAHead);
    assert_eq!(
        Head::parse(&[]).unwrap_err(),
        HeadError::Short { needed: 8, got: 0 }
    );
    let endless = [1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
    assert!(matches!(
        Head::parse(&endless).unwrap_err(),
        HeadError::Short { got: 8, .. }
    ));
}

#[test]
fn p10_names_that_lead_elsewhere_are_not_safe() {
    for name in [
        b"".as_slice(),
        b".",
        b"..",
        b"a/b",
        b"/",
        b"a\0b",
        &[b'n'; 256],
    ] {
        assert!(!is_safe_name(name), "{name:?}");
    }
    for name in [
        b"...".as_slice(),
        b"a",
        b"\xFF",
        "名簿.xlsx".as_bytes(),
        &[b'n'; 255],
    ] {
        assert!(is_safe_name(name), "{name:?}");
    }
}

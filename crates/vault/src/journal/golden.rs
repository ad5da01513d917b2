//! The bytes of a segment, frozen; and that bad ones do no harm.

use warifu_core::format::{ExtentKind, Scheme};
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, ServerId, ShareIndex, Threshold, VersionNo};

use super::records::{Header, Packer, Record, SegmentError, ServerRecord, parse};
use crate::context::{Act, AuditEntry, Context};
use crate::node::{Attr, Name, NodeId, NodeKind};
use crate::seam::catalog::{AuditRow, ExtentRecord, Version};
use crate::seam::journal::{Row, RowKey, SegmentClass};
use crate::seam::past::{End, PastName};

fn time(secs: i64) -> Timestamp {
    Timestamp { secs, nanos: 9 }
}

fn node(kind: NodeKind) -> Row {
    Row::Node(Attr {
        node: NodeId(5),
        kind,
        mode: 0o640,
        uid: 1000,
        gid: 100,
        nlink: 2,
        rdev: 3,
        size: 1 << 40,
        atime: time(1),
        mtime: time(-2),
        ctime: time(3),
        btime: time(4),
        document: FileId::from_bytes([0x44; 16]),
        version: VersionNo(7),
        head: Some(ExtentId::from_bytes([0x45; 16])),
    })
}

fn extent(kind: ExtentKind, scheme: Scheme) -> Row {
    Row::Extent(ExtentRecord {
        extent: ExtentId::from_bytes([0x45; 16]),
        kind,
        number: 1,
        len: 4096,
        threshold: Threshold::new(2, 3).unwrap(),
        scheme,
        generation: Generation(1),
        document: FileId::from_bytes([0x44; 16]),
        version: VersionNo(7),
        owed: ShareIndex::new(3).into_iter().collect(),
    })
}

fn all() -> Vec<Record> {
    let version = Version {
        document: FileId::from_bytes([0x44; 16]),
        number: VersionNo(7),
        size: 12,
        mtime: time(5),
        saved_at: time(6),
        author: "佐藤".into(),
        host: "pc-1".into(),
        head: None,
        settled: true,
        layout: Vec::new(),
    };
    let entry = AuditEntry {
        at: time(8),
        context: Context {
            actor: "a".into(),
            uid: 1,
            gid: 2,
            host: "h".into(),
            program: "p".into(),
            purpose: "w".into(),
        },
        act: Act::Save,
        node: Some(NodeId(5)),
        detail: "d".into(),
    };
    vec![
        Record::Server(ServerRecord {
            index: ShareIndex::new(2).unwrap(),
            id: ServerId::from_bytes([0x21; 16]),
            name: "市役所".into(),
        }),
        Record::Row(node(NodeKind::File)),
        Record::Row(Row::Entry {
            parent: NodeId(1),
            tag: [0x46; 16],
            name: Name::new("予算書.xlsx".as_bytes()).unwrap(),
            node: NodeId(5),
            since: Timestamp::default(),
        }),
        Record::Row(Row::Link {
            node: NodeId(6),
            target: b"../x".to_vec(),
        }),
        Record::Row(Row::Xattr {
            node: NodeId(5),
            tag: [0x47; 16],
            name: b"user.a".to_vec(),
            value: b"b".to_vec(),
        }),
        Record::Row(Row::Version(version, 2)),
        Record::Row(Row::Layout {
            document: FileId::from_bytes([0x44; 16]),
            place: 1,
            from: VersionNo(2),
            until: Some(VersionNo(4)),
            extent: ExtentId::from_bytes([0x48; 16]),
        }),
        Record::Row(extent(ExtentKind::Data, Scheme::Shamir)),
        Record::Gone(RowKey::Node(NodeId(9))),
        Record::Gone(RowKey::Entry(NodeId(1), [1; 16])),
        Record::Gone(RowKey::Layout(
            FileId::from_bytes([0x44; 16]),
            3,
            VersionNo(4),
        )),
        Record::Audit(AuditRow {
            seq: 11,
            entry,
            chain: [0x49; 32],
        }),
    ]
}

fn header() -> Header {
    Header {
        class: SegmentClass::Checkpoint,
        number: 17,
        begin: 15,
        part: 2,
        last: true,
        mark: 0,
        link: 99,
        at: time(1_790_000_000),
    }
}

fn segment(records: Vec<Record>) -> Vec<u8> {
    let mut packer = Packer::default();
    for record in records {
        assert!(packer.add(record).is_none());
    }
    packer.encode(header()).expose().to_vec()
}

#[test]
fn p7_segments_come_back() {
    let bytes = segment(all());
    assert_eq!(bytes.len(), 4096, "a bucket");
    assert_eq!(parse(&bytes).unwrap(), (header(), all()));
    for kind in [
        NodeKind::File,
        NodeKind::Dir,
        NodeKind::Symlink,
        NodeKind::Fifo,
        NodeKind::Socket,
        NodeKind::CharDevice,
        NodeKind::BlockDevice,
    ] {
        let records = vec![Record::Row(node(kind))];
        assert_eq!(parse(&segment(records.clone())).unwrap().1, records);
    }
    for kind in [ExtentKind::Head, ExtentKind::Data, ExtentKind::Journal] {
        for scheme in [Scheme::Shamir, Scheme::Compact] {
            let records = vec![Record::Row(extent(kind, scheme))];
            assert_eq!(parse(&segment(records.clone())).unwrap().1, records);
        }
    }
}

/// Every journal that was ever written has these bytes.
#[test]
fn p7_format_1_stays_what_it_is() {
    let bytes = segment(all());
    let len = u32::from_le_bytes(bytes[52..56].try_into().unwrap()) as usize;
    let hex: String = bytes[..56 + len]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let golden: String = include_str!("golden.txt").split_whitespace().collect();
    assert_eq!(hex, golden);
    assert!(bytes[56 + len..].iter().all(|byte| *byte == 0));
}

/// A link stands where older writers had zeros, and nothing else is moved by it.
#[test]
fn p7_links_stand_where_there_were_zeros() {
    let of = |class, part, mark, link| {
        let header = Header {
            class,
            begin: 0,
            part,
            last: false,
            mark,
            link,
            ..header()
        };
        let mut packer = Packer::default();
        assert!(packer.add(all().remove(0)).is_none());
        let bytes = packer.encode(header).expose().to_vec();
        assert_eq!(Header::read(&bytes), Ok(header));
        bytes
    };
    for (class, at) in [
        (SegmentClass::Changes, 24..32),
        (SegmentClass::Audit, 24..32),
        (SegmentClass::Checkpoint, 32..40),
    ] {
        let (part, mark) = match class {
            SegmentClass::Checkpoint => (5, 0),
            _ => (0, 5),
        };
        let mut linked = of(class, part, mark, 0x0102_0304_0506_0708);
        assert_eq!(linked[at.clone()], [8, 7, 6, 5, 4, 3, 2, 1]);
        linked[at].fill(0);
        assert_eq!(linked, of(class, part, mark, 0));
    }
}

/// Records that came later: an entry with the time at which it began, and a name that ended.
#[test]
fn p7_names_in_time_come_back_and_keep_their_bytes() {
    let entry = Record::Row(Row::Entry {
        parent: NodeId(1),
        tag: [0x46; 16],
        name: Name::new(b"a").unwrap(),
        node: NodeId(5),
        since: time(7),
    });
    let past = Record::Row(Row::Past(Box::new(PastName {
        id: 12,
        parent: NodeId(1),
        tag: [0x46; 16],
        name: Name::new(b"b").unwrap(),
        node: NodeId(5),
        kind: NodeKind::Symlink,
        mode: 0o777,
        uid: 1000,
        gid: 100,
        rdev: 0,
        document: FileId::from_bytes([0x44; 16]),
        version: VersionNo(3),
        target: b"c".to_vec(),
        since: time(1),
        until: Some((time(2), End::Moved)),
    })));
    let gone = Record::Gone(RowKey::Past(12));
    let hex = |record: &Record| -> String {
        let bytes = record.to_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    };
    assert_eq!(
        hex(&entry),
        concat!(
            "0a31000000",
            "0100000000000000",
            "46464646464646464646464646464646",
            "0500000000000000",
            "0100000061",
            "070000000000000009000000"
        )
    );
    assert_eq!(
        hex(&past),
        concat!(
            "0b74000000",
            "0c00000000000000",
            "0100000000000000",
            "46464646464646464646464646464646",
            "0500000000000000",
            "03",
            "ff010000e80300006400000000000000",
            "44444444444444444444444444444444",
            "0300000000000000",
            "010000000000000009000000",
            "020000000000000009000000",
            "01",
            "0100000062",
            "0100000063"
        )
    );
    assert_eq!(hex(&gone), "8b080000000c00000000000000");
    let records = vec![entry, past, gone];
    let bytes = segment(records.clone());
    assert_eq!(parse(&bytes).unwrap().1, records);
    let len = 56 + u32::from_le_bytes(bytes[52..56].try_into().unwrap()) as usize;
    for cut in 0..len {
        assert!(parse(&bytes[..cut]).is_err(), "cut at {cut}");
    }
}

/// Any bytes at all give an answer.
#[test]
fn p10_bad_segments_are_refused_without_a_panic() {
    let good = segment(all());
    let len = 56 + u32::from_le_bytes(good[52..56].try_into().unwrap()) as usize;
    for cut in 0..len {
        assert!(parse(&good[..cut]).is_err(), "cut at {cut}");
    }
    let mut state = 1_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize
    };
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=next() % 4 {
            bytes[next() % len] = next() as u8;
        }
        refused += usize::from(parse(&bytes).is_err());
    }
    assert!(refused > 1000, "{refused}");
    for _ in 0..2000 {
        let rubbish: Vec<u8> = (0..next() % 300).map(|_| next() as u8).collect();
        let _any = parse(&rubbish);
    }
}

#[test]
fn p10_what_is_newer_is_named() {
    let mut newer = segment(all());
    newer[0] = 2;
    assert_eq!(parse(&newer), Err(SegmentError::Newer(2)));
    let mut other = segment(vec![Record::Row(node(NodeKind::File))]);
    other[56] = 77;
    assert_eq!(parse(&other), Err(SegmentError::NewerKind(77)));
    let mut class = segment(all());
    class[4] = 9;
    assert_eq!(parse(&class), Err(SegmentError::NewerKind(9)));
    assert!(parse(&[0; 4096]).is_err());
}

/// A segment takes records until it is full; one that is longer than that has a segment of its own.
#[test]
fn a_segment_is_filled_and_no_more() {
    let long = |len: usize| {
        Record::Row(Row::Link {
            node: NodeId(6),
            target: vec![7; len],
        })
    };
    let mut packer = Packer::default();
    assert!(packer.add(long(5 << 20)).is_none());
    assert!(packer.add(long(1)).is_some());
    let bytes = packer.encode(header());
    assert_eq!(parse(bytes.expose()).unwrap().1, vec![long(5 << 20)]);
    let mut packer = Packer::default();
    for _ in 0..3 {
        assert!(packer.add(long(1 << 20)).is_none());
    }
    assert!(packer.add(long(1 << 20)).is_some());
}

//! The bytes of the journal's segments, as `JOURNAL.md` has them. Format 1 is frozen.

use warifu_core::format::{ExtentKind, Scheme};
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, ServerId, ShareIndex, Threshold, VersionNo};
use warifu_core::secret::SecretBytes;

use super::bytes::{Reader, Writer};
use super::past;
use crate::context::{Act, AuditEntry, Context};
use crate::node::{Attr, Name, NodeId, NodeKind};
use crate::seam::catalog::{AuditRow, ExtentRecord, IndexSet, Version};
use crate::seam::journal::{Row, RowKey, SegmentClass};

/// The length of what stands before the records.
pub(crate) const HEADER: usize = 56;

const FORMAT: u32 = 1;
const LAST: u8 = 1;

/// What stands before the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) class: SegmentClass,
    /// The segment's number, from 1.
    pub(crate) number: u64,
    /// The number of the checkpoint's first part; 0 in other segments.
    pub(crate) begin: u64,
    /// Which part of the checkpoint, from 0.
    pub(crate) part: u64,
    /// Whether it is the checkpoint's last part.
    pub(crate) last: bool,
    /// Grows with the changes told: of two attempts at one segment the one with the greater mark counts. Of segments of the audit
    /// log the last line in them; 0 in checkpoints.
    pub(crate) mark: u64,
    /// The [tag](tag_of) of the segment before it that its writer knew; 0 where it knew none, or is from before there were links.
    pub(crate) link: u64,
    /// When it was written, for people.
    pub(crate) at: Timestamp,
}

/// What a segment is called in the link of the one after it.
pub(crate) fn tag_of(segment: ExtentId) -> u64 {
    let mut first = [0; 8];
    first
        .iter_mut()
        .zip(segment.as_bytes())
        .for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(first)
}

/// One thing that a segment tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Record {
    /// A row as it was.
    Row(Row),
    /// A row that was gone.
    Gone(RowKey),
    /// A line of the audit log.
    Audit(AuditRow),
    /// A server of the vault.
    Server(ServerRecord),
}

/// A server as the vault file named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerRecord {
    pub(crate) index: ShareIndex,
    pub(crate) id: ServerId,
    pub(crate) name: String,
}

/// Why bytes are no segment of the journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SegmentError {
    /// Cut off, or a length inside leads beyond the end.
    #[error("cut off: {needed} bytes are needed, {got} are there")]
    Short {
        /// How many bytes were needed.
        needed: usize,
        /// How many were there.
        got: usize,
    },
    /// A later format.
    #[error("made by a newer warifu: format {0}")]
    Newer(u32),
    /// A kind of record or segment that this build does not know.
    #[error("made by a newer warifu: kind {0}")]
    NewerKind(u8),
    /// Something that was never written.
    #[error("not a segment of a journal: {0}")]
    Malformed(&'static str),
}

pub(super) type Outcome<T> = Result<T, SegmentError>;

/// The most bytes in a segment that holds more than one record.
pub(crate) const SEGMENT: usize = 4 << 20;

/// Puts records together until a segment is full.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    records: Vec<Record>,
    len: usize,
}

impl Packer {
    /// Adds a record, unless it would make the segment too long: then it is given back. An empty segment takes any.
    #[must_use]
    pub(crate) fn add(&mut self, record: Record) -> Option<Record> {
        let len = record.len();
        if !self.records.is_empty() && self.len + len > SEGMENT - HEADER {
            return Some(record);
        }
        self.records.push(record);
        self.len += len;
        None
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many bytes the records take.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The segment's bytes, filled up with zeros to a bucket.
    pub(crate) fn encode(&self, header: Header) -> SecretBytes {
        let len = HEADER + self.len;
        let padded = warifu_core::format::bucket(len as u64);
        let mut bytes = SecretBytes::with_len(usize::try_from(padded).unwrap_or(len).max(len));
        let mut to = Writer::into_slice(bytes.expose_mut());
        to.u32(FORMAT);
        to.u8(u8::try_from(header.class.number()).unwrap_or(u8::MAX));
        to.u8(if header.last { LAST } else { 0 });
        to.bytes(&[0; 2]);
        let (third, fourth) = match header.class {
            SegmentClass::Checkpoint => (header.part, header.link),
            SegmentClass::Changes | SegmentClass::Audit => (header.link, header.mark),
        };
        for number in [header.number, header.begin, third, fourth] {
            to.u64(number);
        }
        to.time(header.at);
        to.u32(u32::try_from(self.len).unwrap_or(u32::MAX));
        for record in &self.records {
            record.write(&mut to);
        }
        bytes
    }
}

impl Header {
    /// Reads the header alone, from at least the first [`HEADER`] bytes of a segment.
    pub(crate) fn read(bytes: &[u8]) -> Outcome<Self> {
        Self::take(&mut Reader(bytes))
    }

    fn take(from: &mut Reader<'_>) -> Outcome<Self> {
        match from.u32()? {
            FORMAT => {}
            0 => return Err(SegmentError::Malformed("nothing but zeros")),
            newer => return Err(SegmentError::Newer(newer)),
        }
        let class = from.u8()?;
        let class = SegmentClass::of(u64::from(class)).ok_or(SegmentError::NewerKind(class))?;
        let flags = from.u8()?;
        if flags & !LAST != 0 || from.array()? != [0; 2] {
            return Err(SegmentError::Malformed("flags"));
        }
        let (number, begin, third, fourth) = (from.u64()?, from.u64()?, from.u64()?, from.u64()?);
        let (part, mark, link) = match class {
            SegmentClass::Checkpoint => (third, 0, fourth),
            SegmentClass::Changes | SegmentClass::Audit => (0, fourth, third),
        };
        Ok(Self {
            class,
            number,
            begin,
            part,
            last: flags == LAST,
            mark,
            link,
            at: from.time()?,
        })
    }
}

/// Reads a segment: its header and all of its records. Any bytes at all give records or an error.
pub(crate) fn parse(bytes: &[u8]) -> Outcome<(Header, Vec<Record>)> {
    let mut from = Reader(bytes);
    let header = Header::take(&mut from)?;
    let mut records = Reader(from.sized()?);
    let mut list = Vec::new();
    while !records.0.is_empty() {
        let kind = records.u8()?;
        list.push(Record::read(kind, &mut Reader(records.sized()?))?);
    }
    Ok((header, list))
}

/// Set in the kind of a row that is gone; its key follows.
const GONE: u8 = 0x80;

mod kind {
    pub(super) const NODE: u8 = 1;
    pub(super) const ENTRY: u8 = 2;
    pub(super) const LINK: u8 = 3;
    pub(super) const XATTR: u8 = 4;
    pub(super) const VERSION: u8 = 5;
    pub(super) const LAYOUT: u8 = 6;
    pub(super) const EXTENT: u8 = 7;
    pub(super) const AUDIT: u8 = 8;
    pub(super) const SERVER: u8 = 9;
    /// An entry with the time at which it began; one of which that is not known is an [`ENTRY`].
    pub(super) const ENTRY_SINCE: u8 = 10;
    pub(super) const PAST: u8 = 11;
}

impl Record {
    /// The record alone, as it stands in a segment.
    pub(crate) fn to_bytes(&self) -> Box<[u8]> {
        let mut bytes = vec![0; self.len()].into_boxed_slice();
        self.write(&mut Writer::into_slice(&mut bytes));
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Outcome<Self> {
        let mut from = Reader(bytes);
        let kind = from.u8()?;
        Self::read(kind, &mut Reader(from.sized()?))
    }

    fn len(&self) -> usize {
        let mut counting = Writer::counting();
        self.write(&mut counting);
        counting.len()
    }

    fn write(&self, to: &mut Writer<'_>) {
        let kind = match self {
            Self::Row(Row::Entry { since, .. }) if *since != Timestamp::default() => {
                kind::ENTRY_SINCE
            }
            Self::Row(row) => kind_of(&row.key()),
            Self::Gone(key) => kind_of(key) | GONE,
            Self::Audit(_) => kind::AUDIT,
            Self::Server(_) => kind::SERVER,
        };
        let mut counting = Writer::counting();
        self.body(&mut counting);
        to.u8(kind);
        to.u32(u32::try_from(counting.len()).unwrap_or(u32::MAX));
        self.body(to);
    }

    fn body(&self, to: &mut Writer<'_>) {
        match self {
            Self::Row(row) => {
                key_body(to, &row.key());
                row_body(to, row);
            }
            Self::Gone(key) => key_body(to, key),
            Self::Audit(row) => audit_body(to, row),
            Self::Server(server) => {
                to.u8(server.index.get());
                to.bytes(server.id.as_bytes());
                to.sized(server.name.as_bytes());
            }
        }
    }

    fn read(kind: u8, from: &mut Reader<'_>) -> Outcome<Self> {
        let record = match kind {
            kind::AUDIT => Self::Audit(audit(from)?),
            kind::SERVER => Self::Server(ServerRecord {
                index: ShareIndex::new(from.u8()?).ok_or(SegmentError::Malformed("an index"))?,
                id: ServerId::from_bytes(from.array()?),
                name: text(from)?,
            }),
            kind if kind & GONE != 0 => Self::Gone(key(kind & !GONE, from)?),
            kind => {
                let key = key(kind, from)?;
                let mut row = row(key, from)?;
                if let (kind::ENTRY_SINCE, Row::Entry { since, .. }) = (kind, &mut row) {
                    *since = from.time()?;
                }
                Self::Row(row)
            }
        };
        if from.0.is_empty() {
            Ok(record)
        } else {
            Err(SegmentError::Malformed("a record that is too long"))
        }
    }
}

const fn kind_of(key: &RowKey) -> u8 {
    match key {
        RowKey::Node(_) => kind::NODE,
        RowKey::Entry(..) => kind::ENTRY,
        RowKey::Link(_) => kind::LINK,
        RowKey::Xattr(..) => kind::XATTR,
        RowKey::Version(..) => kind::VERSION,
        RowKey::Layout(..) => kind::LAYOUT,
        RowKey::Extent(_) => kind::EXTENT,
        RowKey::Past(_) => kind::PAST,
    }
}

fn key_body(to: &mut Writer<'_>, key: &RowKey) {
    match key {
        RowKey::Node(node) | RowKey::Link(node) => to.u64(node.0),
        RowKey::Entry(node, tag) | RowKey::Xattr(node, tag) => {
            to.u64(node.0);
            to.bytes(tag);
        }
        RowKey::Version(document, version) => {
            to.bytes(document.as_bytes());
            to.u64(version.0);
        }
        RowKey::Layout(document, place, from) => {
            to.bytes(document.as_bytes());
            to.u64(*place);
            to.u64(from.0);
        }
        RowKey::Extent(extent) => to.bytes(extent.as_bytes()),
        RowKey::Past(number) => to.u64(*number),
    }
}

fn key(kind: u8, from: &mut Reader<'_>) -> Outcome<RowKey> {
    Ok(match kind {
        kind::NODE => RowKey::Node(NodeId(from.u64()?)),
        kind::ENTRY | kind::ENTRY_SINCE => RowKey::Entry(NodeId(from.u64()?), from.array()?),
        kind::LINK => RowKey::Link(NodeId(from.u64()?)),
        kind::XATTR => RowKey::Xattr(NodeId(from.u64()?), from.array()?),
        kind::VERSION => RowKey::Version(document(from)?, VersionNo(from.u64()?)),
        kind::LAYOUT => RowKey::Layout(document(from)?, from.u64()?, VersionNo(from.u64()?)),
        kind::EXTENT => RowKey::Extent(ExtentId::from_bytes(from.array()?)),
        kind::PAST => RowKey::Past(from.u64()?),
        newer => return Err(SegmentError::NewerKind(newer)),
    })
}

pub(super) fn name(from: &mut Reader<'_>) -> Outcome<Name> {
    Name::new(from.sized()?).map_err(|_| SegmentError::Malformed("an impossible name"))
}

pub(super) fn document(from: &mut Reader<'_>) -> Outcome<FileId> {
    from.array().map(FileId::from_bytes)
}

/// An extent's id; zeros stand for none.
fn head(from: &mut Reader<'_>) -> Outcome<Option<ExtentId>> {
    let id = ExtentId::from_bytes(from.array()?);
    Ok((id != ExtentId::NIL).then_some(id))
}

fn text(from: &mut Reader<'_>) -> Outcome<String> {
    String::from_utf8(from.sized()?.to_vec())
        .map_err(|_| SegmentError::Malformed("a text that is no UTF-8"))
}

fn flag(from: &mut Reader<'_>) -> Outcome<bool> {
    match from.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(SegmentError::Malformed("a flag")),
    }
}

/// What a row has besides its key.
fn row_body(to: &mut Writer<'_>, row: &Row) {
    match row {
        Row::Node(attr) => {
            to.u8(node_kind_code(attr.kind));
            for number in [attr.mode, attr.uid, attr.gid, attr.nlink, attr.rdev] {
                to.u32(number);
            }
            to.u64(attr.size);
            for time in [attr.atime, attr.mtime, attr.ctime, attr.btime] {
                to.time(time);
            }
            to.bytes(attr.document.as_bytes());
            to.u64(attr.version.0);
            to.bytes(attr.head.unwrap_or(ExtentId::NIL).as_bytes());
        }
        Row::Entry {
            name, node, since, ..
        } => {
            to.u64(node.0);
            to.sized(name.as_bytes());
            if *since != Timestamp::default() {
                to.time(*since);
            }
        }
        Row::Link { target, .. } => to.sized(target),
        Row::Xattr { name, value, .. } => {
            to.sized(name);
            to.sized(value);
        }
        Row::Version(version, places) => {
            to.u64(version.size);
            to.time(version.mtime);
            to.time(version.saved_at);
            to.bytes(version.head.unwrap_or(ExtentId::NIL).as_bytes());
            to.u64(*places);
            to.u8(u8::from(version.settled));
            to.sized(version.author.as_bytes());
            to.sized(version.host.as_bytes());
        }
        Row::Layout { until, extent, .. } => {
            to.u64(until.map_or(0, |until| until.0));
            to.bytes(extent.as_bytes());
        }
        Row::Extent(record) => {
            to.u8(extent_kind_code(record.kind));
            to.u64(record.number);
            to.u64(record.len);
            to.u8(record.threshold.k());
            to.u8(record.threshold.n());
            to.u8(scheme_code(record.scheme));
            to.u32(record.generation.0);
            to.bytes(record.document.as_bytes());
            to.u64(record.version.0);
            to.bytes(&record.owed.to_bytes());
        }
        Row::Past(name) => past::write(to, name),
    }
}

fn row(key: RowKey, from: &mut Reader<'_>) -> Outcome<Row> {
    Ok(match key {
        RowKey::Node(node) => Row::Node(Attr {
            node,
            kind: node_kind(from.u8()?)?,
            mode: from.u32()?,
            uid: from.u32()?,
            gid: from.u32()?,
            nlink: from.u32()?,
            rdev: from.u32()?,
            size: from.u64()?,
            atime: from.time()?,
            mtime: from.time()?,
            ctime: from.time()?,
            btime: from.time()?,
            document: document(from)?,
            version: VersionNo(from.u64()?),
            head: head(from)?,
        }),
        RowKey::Entry(parent, tag) => Row::Entry {
            parent,
            tag,
            node: NodeId(from.u64()?),
            name: name(from)?,
            since: Timestamp::default(),
        },
        RowKey::Past(id) => Row::Past(Box::new(past::read(id, from)?)),
        RowKey::Link(node) => Row::Link {
            node,
            target: from.sized()?.to_vec(),
        },
        RowKey::Xattr(node, tag) => Row::Xattr {
            node,
            tag,
            name: from.sized()?.to_vec(),
            value: from.sized()?.to_vec(),
        },
        RowKey::Version(document, number) => {
            let (size, mtime, saved_at) = (from.u64()?, from.time()?, from.time()?);
            let (head, places, settled) = (head(from)?, from.u64()?, flag(from)?);
            let version = Version {
                document,
                number,
                size,
                mtime,
                saved_at,
                author: text(from)?,
                host: text(from)?,
                head,
                settled,
                layout: Vec::new(),
            };
            Row::Version(version, places)
        }
        RowKey::Layout(document, place, first) => Row::Layout {
            document,
            place,
            from: first,
            until: match from.u64()? {
                0 => None,
                until => Some(VersionNo(until)),
            },
            extent: ExtentId::from_bytes(from.array()?),
        },
        RowKey::Extent(extent) => Row::Extent(ExtentRecord {
            extent,
            kind: extent_kind(from.u8()?)?,
            number: from.u64()?,
            len: from.u64()?,
            threshold: Threshold::new(from.u8()?, from.u8()?)
                .map_err(|_| SegmentError::Malformed("a threshold"))?,
            scheme: scheme(from.u8()?)?,
            generation: Generation(from.u32()?),
            document: document(from)?,
            version: VersionNo(from.u64()?),
            owed: IndexSet::from_bytes(from.take(32)?)
                .ok_or(SegmentError::Malformed("a set of indices"))?,
        }),
    })
}

fn audit_body(to: &mut Writer<'_>, row: &AuditRow) {
    let AuditEntry {
        at,
        context,
        act,
        node,
        detail,
    } = &row.entry;
    to.u64(row.seq);
    to.bytes(&row.chain);
    to.time(*at);
    to.u8(u8::from(node.is_some()));
    to.u64(node.map_or(0, |node| node.0));
    to.u32(context.uid);
    to.u32(context.gid);
    let texts = [
        act.as_str(),
        &context.actor,
        &context.host,
        &context.program,
        &context.purpose,
        detail,
    ];
    for text in texts {
        to.sized(text.as_bytes());
    }
}

fn audit(from: &mut Reader<'_>) -> Outcome<AuditRow> {
    let (seq, chain, at) = (from.u64()?, from.array()?, from.time()?);
    let has_node = flag(from)?;
    let node = NodeId(from.u64()?);
    let (uid, gid) = (from.u32()?, from.u32()?);
    let act = Act::parse(&text(from)?).ok_or(SegmentError::Malformed("an unknown act"))?;
    let context = Context {
        actor: text(from)?,
        host: text(from)?,
        program: text(from)?,
        purpose: text(from)?,
        uid,
        gid,
    };
    let entry = AuditEntry {
        at,
        context,
        act,
        node: has_node.then_some(node),
        detail: text(from)?,
    };
    Ok(AuditRow { seq, entry, chain })
}

pub(super) const fn node_kind_code(kind: NodeKind) -> u8 {
    match kind {
        NodeKind::File => 1,
        NodeKind::Dir => 2,
        NodeKind::Symlink => 3,
        NodeKind::Fifo => 4,
        NodeKind::Socket => 5,
        NodeKind::CharDevice => 6,
        NodeKind::BlockDevice => 7,
    }
}

pub(super) fn node_kind(code: u8) -> Outcome<NodeKind> {
    Ok(match code {
        1 => NodeKind::File,
        2 => NodeKind::Dir,
        3 => NodeKind::Symlink,
        4 => NodeKind::Fifo,
        5 => NodeKind::Socket,
        6 => NodeKind::CharDevice,
        7 => NodeKind::BlockDevice,
        _ => return Err(SegmentError::Malformed("a kind of node")),
    })
}

/// 0, which no reader takes, for a kind that came after this code: the tests know all kinds.
const fn extent_kind_code(kind: ExtentKind) -> u8 {
    match kind {
        ExtentKind::Head => 1,
        ExtentKind::Data => 2,
        ExtentKind::Journal => 3,
        _ => 0,
    }
}

fn extent_kind(code: u8) -> Outcome<ExtentKind> {
    Ok(match code {
        1 => ExtentKind::Head,
        2 => ExtentKind::Data,
        3 => ExtentKind::Journal,
        _ => return Err(SegmentError::Malformed("a kind of extent")),
    })
}

/// As for [`extent_kind_code`].
const fn scheme_code(scheme: Scheme) -> u8 {
    match scheme {
        Scheme::Shamir => 1,
        Scheme::Compact => 2,
        _ => 0,
    }
}

fn scheme(code: u8) -> Outcome<Scheme> {
    Ok(match code {
        1 => Scheme::Shamir,
        2 => Scheme::Compact,
        _ => return Err(SegmentError::Malformed("a scheme")),
    })
}

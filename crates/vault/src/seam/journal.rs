//! What the catalogue hands to the journal, and takes back from it: its rows, in words that no engine owns.
//!
//! Everything that the catalogue knows is kept a second time as shares on the servers: the *journal*. It lets any k servers
//! give the catalogue back. It is written from states, not from acts: a transaction only marks which rows it changed, and
//! the journal takes them as they are when it comes by. So a row that changed ten times in a second is written once, and
//! writing one twice does no harm.

use std::fmt;
use std::time::Duration;

use warifu_core::ids::{ExtentId, FileId, VersionNo};

use super::catalog::{AuditRow, ExtentRecord, Intent, SaveId, Version};
use super::clock::Timestamp;
use super::past::PastName;
use crate::node::{Attr, Name, NodeId};
use crate::seam::generations::Generations;

/// The document to which the extents of the journal belong. Their versions are the numbers of its segments.
pub const JOURNAL: FileId = FileId::from_bytes(*b"warifu journal\0\0");

/// What a segment of the journal is for. It is the number of the segment's extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentClass {
    /// Rows that changed, and new lines of the audit log.
    Changes,
    /// A part of all rows there were.
    Checkpoint,
    /// Lines of the audit log, for good.
    Audit,
}

impl SegmentClass {
    /// The class as the number of an extent.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Changes => 0,
            Self::Checkpoint => 1,
            Self::Audit => 2,
        }
    }

    /// The class of this number.
    #[must_use]
    pub const fn of(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Changes),
            1 => Some(Self::Checkpoint),
            2 => Some(Self::Audit),
            _ => None,
        }
    }
}

/// Which row. Their order is the order in which [`Catalog::rows`](super::catalog::Catalog::rows) gives them.
///
/// What stands for a name in the key of an entry or of an attribute is a tag that the catalogue chose: always the same for
/// the same name in the same place, and good for nothing but telling rows apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// A node.
    Node(NodeId),
    /// A name in a folder.
    Entry(NodeId, [u8; 16]),
    /// Where a symbolic link points.
    Link(NodeId),
    /// An extended attribute of a node.
    Xattr(NodeId, [u8; 16]),
    /// A version of a document.
    Version(FileId, VersionNo),
    /// An extent in one place of a document, from this version on.
    Layout(FileId, u64, VersionNo),
    /// An extent.
    Extent(ExtentId),
    /// A name that ended, by its number.
    Past(u64),
}

/// A row of the catalogue. Silent: it holds names.
#[derive(Clone, PartialEq, Eq)]
pub enum Row {
    /// A node.
    Node(Attr),
    /// A name in a folder.
    Entry {
        /// The folder.
        parent: NodeId,
        /// What stands for the name in the key.
        tag: [u8; 16],
        /// The name.
        name: Name,
        /// What it stands for.
        node: NodeId,
        /// Since when; the zero time where that is not known.
        since: Timestamp,
    },
    /// Where a symbolic link points.
    Link {
        /// The link.
        node: NodeId,
        /// Where to.
        target: Vec<u8>,
    },
    /// An extended attribute.
    Xattr {
        /// The node.
        node: NodeId,
        /// What stands for the name in the key.
        tag: [u8; 16],
        /// The attribute's name.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// A version without its layout, and how many places that has.
    Version(Version, u64),
    /// An extent in one place of a document.
    Layout {
        /// The document.
        document: FileId,
        /// The place, counted from 0.
        place: u64,
        /// The first version that has it.
        from: VersionNo,
        /// The first version after it that has it no more; `None` where the newest has it.
        until: Option<VersionNo>,
        /// Which extent.
        extent: ExtentId,
    },
    /// An extent. Those of the journal itself are never among the rows.
    Extent(ExtentRecord),
    /// A name that ended.
    Past(Box<PastName>),
}

impl Row {
    /// Which row it is.
    #[must_use]
    pub fn key(&self) -> RowKey {
        match self {
            Self::Node(attr) => RowKey::Node(attr.node),
            Self::Entry { parent, tag, .. } => RowKey::Entry(*parent, *tag),
            Self::Link { node, .. } => RowKey::Link(*node),
            Self::Xattr { node, tag, .. } => RowKey::Xattr(*node, *tag),
            Self::Version(version, _) => RowKey::Version(version.document, version.number),
            Self::Layout {
                document,
                place,
                from,
                ..
            } => RowKey::Layout(*document, *place, *from),
            Self::Extent(record) => RowKey::Extent(record.extent),
            Self::Past(name) => RowKey::Past(name.id),
        }
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({:?}, ..)", self.key())
    }
}

/// A row that changed: as it is now, or `None` where it is gone.
pub type Change = (RowKey, Option<Row>);

/// Up to where marks were taken. It never gets smaller in a vault, and means something to the catalogue that gave it only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub u64);

/// What the journal does not have yet, all of one moment.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The number that the next segment must have.
    pub next: u64,
    /// The segment before it, as in [`JournalState::tip`].
    pub tip: Option<ExtentId>,
    /// What to give back once these are in the journal.
    pub mark: Mark,
    /// The rows.
    pub rows: Vec<Change>,
    /// New lines of the audit log.
    pub audit: Vec<AuditRow>,
    /// Whether there is more of either than was asked for.
    pub more: bool,
}

/// How far the journal has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalState {
    /// The number that the next segment must have, from 1.
    pub next: u64,
    /// The segment that was written last, to which the next one will be linked; `None` where there is none, and where the catalogue
    /// was made before segments were linked.
    pub tip: Option<ExtentId>,
    /// Whether the catalogue was rebuilt, something of the journal is not in it, and nobody has decided yet to go on without. As long
    /// as that is so, nothing may be changed, so that no segment is let go that a better rebuild would need.
    pub undecided: bool,
    /// Up to which line the audit log is in the journal.
    pub audited: u64,
    /// Up to which line it is in segments of its own.
    pub archived: u64,
    /// Whether the segments that are kept tell everything up to the last one. A catalogue that was made before there was a
    /// journal, or that was rebuilt, needs a checkpoint first.
    pub whole: bool,
    /// Changes since. A row that changed several times counts once or each time, as the engine keeps it.
    pub waiting: u64,
    /// Bytes in segments of changes.
    pub changes: u64,
    /// Bytes in segments of checkpoints.
    pub checkpoints: u64,
}

/// Segments of the journal that are on the servers.
#[derive(Clone, Debug)]
pub struct Segments {
    /// The intent under which they were put; it must still be there, and is ended.
    pub save: SaveId,
    /// Their extents, numbered without gaps from [`JournalState::next`].
    pub extents: Vec<ExtentRecord>,
    /// The changes in them are no longer waiting.
    pub mark: Option<Mark>,
    /// The audit log up to here is in them.
    pub audited: Option<u64>,
    /// The audit log up to here is in segments of its own.
    pub archived: Option<u64>,
    /// They end a checkpoint.
    pub finished: Option<Finished>,
}

/// A checkpoint that is whole: all segments of changes and of checkpoints before it are of no use any more.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The number of its first segment.
    pub begin: u64,
    /// Its parts that were written before. All must still be there.
    pub parts: Vec<ExtentId>,
    /// What the intent is called that names the segments of no use.
    pub waste: SaveId,
    /// That intent's lease.
    pub lease: Duration,
}

/// What a rebuilt catalogue is filled with.
#[derive(Clone, Debug)]
pub enum Restored {
    /// A row. Extents of the journal are among them here, so that they are found when they are of no use any more.
    Row(Row),
    /// A line of the audit log, in order, with the chain value it had.
    Audit(AuditRow),
    /// How far somebody outside has followed the log. A rebuild knows of none.
    Position(String, u64),
}

/// Where a rebuilt catalogue goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The number of the next segment of the journal: greater than any that was ever seen.
    pub next: u64,
    /// The last segment that is in the catalogue.
    pub tip: Option<ExtentId>,
    /// As in [`JournalState::undecided`].
    pub undecided: bool,
    /// Up to which line the audit log is in segments of its own.
    pub archived: u64,
    /// The greatest number a node ever had, as far as it is known.
    pub last_node: NodeId,
    /// Where the vault stands with its generations.
    pub generations: Generations,
}

/// What [`Catalog::journalled`](super::catalog::Catalog::journalled) leaves to be done: the objects of segments that are of
/// no use, under an intent of their own.
pub type Waste = Option<Intent>;

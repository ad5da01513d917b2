//! [`Catalog`]: names, versions and placements, changed by whole transactions.
//!
//! The trait speaks of names in the clear; an implementation that keeps them seals them first (with the
//! [`CatalogKey`](warifu_core::keys::CatalogKey) it was opened with), so that whoever reads its files or tables learns
//! neither names nor contents.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use warifu_core::format::{ExtentKind, Plan, Scheme};
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, ShareIndex, Threshold, VersionNo};

use crate::context::AuditEntry;
use crate::node::{Attr, AttrChange, Name, NodeId, NodeKind};
use crate::seam::generations::{Generations, Regenerated};
use crate::seam::journal::{Changes, JournalState, Restored, Resume, Row, RowKey, Segments, Waste};
use crate::seam::past::Past;
use crate::seam::sessions::Sessions;
pub use crate::seam::store::Durability;

/// A set of share indices, for "these shares are owed".
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct IndexSet([u64; 4]);

impl IndexSet {
    /// The empty set.
    pub const EMPTY: Self = Self([0; 4]);

    /// Adds an index.
    pub fn insert(&mut self, index: ShareIndex) {
        if let Some(word) = self.0.get_mut(usize::from(index.get() / 64)) {
            *word |= 1 << (index.get() % 64);
        }
    }

    /// Takes an index out.
    pub fn remove(&mut self, index: ShareIndex) {
        if let Some(word) = self.0.get_mut(usize::from(index.get() / 64)) {
            *word &= !(1 << (index.get() % 64));
        }
    }

    /// Whether the index is in it.
    #[must_use]
    pub fn contains(&self, index: ShareIndex) -> bool {
        self.0
            .get(usize::from(index.get() / 64))
            .is_some_and(|word| word >> (index.get() % 64) & 1 == 1)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// How many indices are in it.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The indices, ascending.
    pub fn iter(&self) -> impl Iterator<Item = ShareIndex> + '_ {
        (1..=u8::MAX)
            .filter_map(ShareIndex::new)
            .filter(|index| self.contains(*index))
    }

    /// The set as 32 bytes, for keeping.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (place, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The set that [`to_bytes`](Self::to_bytes) wrote; `None` for another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 32] = bytes.try_into().ok()?;
        let mut words = [0; 4];
        for (word, place) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(place.try_into().ok()?);
        }
        Some(Self(words))
    }
}

impl FromIterator<ShareIndex> for IndexSet {
    fn from_iter<T: IntoIterator<Item = ShareIndex>>(indices: T) -> Self {
        let mut set = Self::EMPTY;
        for index in indices {
            set.insert(index);
        }
        set
    }
}

impl fmt::Debug for IndexSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(ShareIndex::get))
            .finish()
    }
}

/// The number of one attempt to save; names its intent row. Fresh for each.
pub type SaveId = ExtentId;

/// An extent as the catalogue keeps it: everything needed to find and check its shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtentRecord {
    /// Which dealing.
    pub extent: ExtentId,
    /// Head or data.
    pub kind: ExtentKind,
    /// Its place in the file, counted from 0; 0 for a head.
    pub number: u64,
    /// Length of what was shared, in bytes, rounded up to its bucket.
    pub len: u64,
    /// Its threshold.
    pub threshold: Threshold,
    /// Its scheme.
    pub scheme: Scheme,
    /// Its generation.
    pub generation: Generation,
    /// The document it was dealt for.
    pub document: FileId,
    /// The version it was dealt for.
    pub version: VersionNo,
    /// Shares that are not on their servers yet.
    pub owed: IndexSet,
}

impl ExtentRecord {
    /// Where things lie in its shares, and how long they are.
    #[must_use]
    pub const fn plan(&self) -> Plan {
        Plan::new(self.scheme, self.threshold, self.len)
    }
}

/// A version of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Which document.
    pub document: FileId,
    /// Which version.
    pub number: VersionNo,
    /// Size of the contents in bytes.
    pub size: u64,
    /// Last change of contents.
    pub mtime: Timestamp,
    /// When it was saved.
    pub saved_at: Timestamp,
    /// Who saved it.
    pub author: String,
    /// On which machine.
    pub host: String,
    /// Its head extent; `None` for an empty version, of which nothing is stored.
    pub head: Option<ExtentId>,
    /// Whether all of its shares are known to be on disk.
    pub settled: bool,
    /// The data extents in order, `None` for a hole of zeros. Empty when the contents lie in the head.
    pub layout: Vec<Option<ExtentId>>,
}

impl Version {
    /// Whether the contents lie in the head itself.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.layout.is_empty()
    }
}

/// A node to make.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// What it is.
    pub kind: NodeKind,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number, for devices.
    pub rdev: u32,
    /// Where a symbolic link points; empty for the others.
    pub target: Vec<u8>,
    /// The document of a file: fresh. [`FileId::NIL`] for the others.
    pub document: FileId,
    /// It takes after its folder: where that has the set-group-id bit, the node gets its group, and a folder the bit.
    pub inherits: bool,
    /// It is not made where its folder has this extended attribute ([`CatalogError::Refused`]).
    pub unless: Option<&'static [u8]>,
}

/// An entry of a folder.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: Name,
    /// What it stands for.
    pub attr: Attr,
    /// Where a listing goes on after it.
    pub cursor: Cursor,
}

/// What the head of a version tells of its node. Silent: it holds names.
pub struct About {
    /// Its attributes.
    pub attr: Attr,
    /// The names from the root to it.
    pub path: Vec<Name>,
    /// Its extended attributes: names and values.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "About({:?}, ..)", self.attr.node)
    }
}

/// A place in a listing. Entries made or removed meanwhile may or may not show; no other shows twice or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub [u8; 16]);

/// What an intent to save says: which extents may appear on servers. It has a lease: after it, anybody may sweep what the save left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Which attempt.
    pub save: SaveId,
    /// The extents dealt for it so far, with their generations.
    pub extents: Vec<(ExtentId, Generation)>,
}

/// A change of the set of shares that an extent is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwedChange {
    /// Which extent.
    pub extent: ExtentId,
    /// Of which of its generations the change speaks. Of another one it says nothing.
    pub generation: Generation,
    /// Shares that are owed from now on.
    pub add: IndexSet,
    /// Shares that are owed no more. What is in both sets is owed.
    pub remove: IndexSet,
}

impl OwedChange {
    /// The set that `before` becomes.
    #[must_use]
    pub fn apply(&self, before: IndexSet) -> IndexSet {
        let kept = before.iter().filter(|index| !self.remove.contains(*index));
        kept.chain(self.add.iter()).collect()
    }
}

/// What a save commits.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The attempt; its intent must still be there.
    pub save: SaveId,
    /// Size of the contents in bytes.
    pub size: u64,
    /// Last change of contents.
    pub mtime: Timestamp,
    /// When it is saved; becomes the node's ctime.
    pub saved_at: Timestamp,
    /// Who saves.
    pub author: String,
    /// On which machine.
    pub host: String,
    /// The head extent; `None` for a file without contents.
    pub head: Option<ExtentId>,
    /// The data extents, as in [`Version::layout`].
    pub layout: Vec<Option<ExtentId>>,
    /// The extents that this save dealt (some of the layout, and the head).
    pub dealt: Vec<ExtentRecord>,
    /// Whether all shares are known to be on disk.
    pub settled: bool,
}

/// What a rename does when the new name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    /// Takes its place.
    Replace,
    /// Refuses.
    NoReplace,
    /// Changes places with it.
    Exchange,
}

/// What a rename did.
#[derive(Clone, Debug)]
pub struct Renamed {
    /// The node that was moved, as it is now.
    pub moved: Attr,
    /// The node that was replaced (now without this name) or changed places; `None` when the new name was free, or both
    /// names stood for one node and nothing was done.
    pub other: Option<Attr>,
}

/// Whether an extended attribute must be new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XattrMode {
    /// New or not.
    Set,
    /// Must be new.
    Create,
    /// Must be there.
    Replace,
}

/// A write: the audit entry that goes into the same transaction, and when it must be safe from a power cut.
#[derive(Clone, Debug)]
pub struct Write {
    /// The line of the audit log. The time in it is also the time that the change gives to ctime and folder times.
    pub audit: AuditEntry,
    /// When the change must be safe from a power cut: before the answer, or before the next [`Catalog::sync`] answers.
    pub durability: Durability,
}

/// A line of the audit log as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number, from 1 without gaps.
    pub seq: u64,
    /// What it says.
    pub entry: AuditEntry,
    /// The keyed hash over the chain value before it and its own bytes.
    pub chain: [u8; 32],
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Files that have a name.
    pub files: u64,
    /// Folders, the root among them.
    pub dirs: u64,
    /// Bytes of the current versions' contents.
    pub bytes: u64,
    /// Versions kept, the current ones among them.
    pub versions: u64,
    /// Extents of which at least one share is owed.
    pub degraded_extents: u64,
    /// Shares owed.
    pub owed_shares: u64,
    /// Saves begun and not ended.
    pub open_saves: u64,
    /// Versions not yet known to be on disk.
    pub unsettled: u64,
}

/// What went wrong in the catalogue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// There is no such node, name, version or save.
    #[error("there is no such {what}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// The name is taken.
    #[error("the name is taken")]
    Exists,
    /// The folder is not empty.
    #[error("the folder is not empty")]
    NotEmpty,
    /// What should be a folder is none.
    #[error("not a folder")]
    NotDir,
    /// What should be no folder is one.
    #[error("a folder")]
    IsDir,
    /// A folder cannot be moved into itself.
    #[error("a folder cannot be moved into itself")]
    Loop,
    /// The node has as many names as it can have.
    #[error("the file has too many names")]
    TooManyLinks,
    /// The version that the save was based on is no longer current.
    #[error("the file was changed meanwhile: its version is now {current}")]
    Conflict {
        /// The version that is current.
        current: VersionNo,
    },
    /// The save's intent is gone: its lease ended and its objects were swept.
    #[error("the save took longer than its lease and was swept")]
    Lapsed,
    /// The session's lease has ended: what it had locked is free.
    #[error("the session's lease has ended")]
    SessionEnded,
    /// There is no such extended attribute. (One that must be new and is not: [`Exists`](Self::Exists).)
    #[error("there is no such extended attribute")]
    NoXattr,
    /// The folder has the extended attribute that it must not have for this ([`NewNode::unless`]).
    #[error("the folder has an extended attribute that rules this out")]
    Refused,
    /// No answer from the catalogue: unreachable, locked too long, timed out.
    #[error("the catalogue did not answer: {detail}")]
    NoAnswer {
        /// What was tried and what came.
        detail: String,
    },
    /// There is no room for the catalogue.
    #[error("there is no room left for the catalogue")]
    Full,
    /// The catalogue was written by a newer warifu.
    #[error("the catalogue has schema {found}, this warifu knows up to {known}")]
    Newer {
        /// The schema found.
        found: u32,
        /// The newest schema known.
        known: u32,
    },
    /// The catalogue is of an older warifu, and drives are mounted that would not know it any more when it was brought up to date.
    #[error(
        "the catalogue is of an older warifu and in use by drives of that: {}",
        drives.join(", ")
    )]
    Mounted {
        /// Where they are mounted: machine and folder.
        drives: Vec<String>,
    },
    /// A row does not open under the vault's key, or does not make sense.
    #[error("the catalogue is damaged: {detail}")]
    Damaged {
        /// Which row, and what is wrong with it.
        detail: String,
    },
    /// The engine below failed.
    #[error("the catalogue failed: {detail}")]
    Failed {
        /// What the engine said.
        detail: String,
    },
}

/// Names, versions and placements.
///
/// # Contract
/// - A write is one transaction: all of it and its audit entry, or nothing.
/// - After `Ok` every later read by anybody sees it, and it survives the death of the client; it survives a power cut
///   according to [`Write::durability`].
/// - A future dropped half-way leaves the transaction done or not done, never in part.
/// - Node numbers are never used again. The root (node 1, mode 0755) exists from the start.
/// - `ctime` of every node touched, and `mtime`/`ctime` of every folder whose entries change, become the write's time.
#[async_trait]
pub trait Catalog: Past + Send + Sync + fmt::Debug {
    // Reading

    /// A node's attributes. Nodes without a name exist until they are forgotten.
    async fn attr(&self, node: NodeId) -> Result<Option<Attr>, CatalogError>;

    /// The same, or as it was a moment ago: for whoever believes an answer for longer than that anyway.
    async fn attr_lately(&self, node: NodeId) -> Result<Option<Attr>, CatalogError> {
        self.attr(node).await
    }

    /// What a name in a folder stands for. `NotFound` when there is no such folder, `NotDir` when it is none.
    async fn lookup(&self, parent: NodeId, name: &Name) -> Result<Option<Attr>, CatalogError>;

    /// Up to `limit` entries of a folder after a place, in the order of their cursors.
    async fn list(
        &self,
        dir: NodeId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Listed>, CatalogError>;

    /// The names from the root to a node (one of its paths, where it has several); `None` for a node without a name.
    async fn path(&self, node: NodeId) -> Result<Option<Vec<Name>>, CatalogError>;

    /// The parent of a folder; the root is its own.
    async fn parent(&self, dir: NodeId) -> Result<NodeId, CatalogError>;

    /// Where a symbolic link points.
    async fn read_link(&self, node: NodeId) -> Result<Vec<u8>, CatalogError>;

    /// A node's extended attributes: names and values.
    async fn xattrs(&self, node: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>, CatalogError>;

    /// One extended attribute; [`CatalogError::NoXattr`] where there is none.
    async fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>, CatalogError>;

    /// A file's attributes and its current version (`None` where nothing has been saved yet), as of one moment.
    async fn current(&self, node: NodeId) -> Result<(Attr, Option<Version>), CatalogError>;

    /// As [`current`](Self::current), with a line of the log: which version was opened becomes its detail. One step where the engine
    /// can. For what is no file nothing is written.
    async fn open(
        &self,
        node: NodeId,
        entry: AuditEntry,
        durability: Durability,
    ) -> Result<(Attr, Option<Version>), CatalogError> {
        let (attr, version) = self.current(node).await?;
        if attr.kind == NodeKind::File {
            let entry = entry.of_version(attr.version);
            self.record(vec![entry], durability).await?;
        }
        Ok((attr, version))
    }

    /// What the head of a file's next version tells of its node: attributes, path and extended attributes, one after the other or as of
    /// one moment. `None` where it is gone; no path for a node without a name.
    async fn about(&self, node: NodeId) -> Result<Option<About>, CatalogError> {
        let Some(attr) = self.attr(node).await? else {
            return Ok(None);
        };
        let path = self.path(node).await?.unwrap_or_default();
        let xattrs = match self.xattrs(node).await {
            Ok(xattrs) => xattrs,
            Err(CatalogError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(About { attr, path, xattrs }))
    }

    /// One version of a document, its layout included.
    async fn version(
        &self,
        document: FileId,
        number: VersionNo,
    ) -> Result<Option<Version>, CatalogError>;

    /// All versions of a document, ascending, without their layouts (`layout` is empty in each).
    async fn history(&self, document: FileId) -> Result<Vec<Version>, CatalogError>;

    /// One extent.
    async fn extent(&self, extent: ExtentId) -> Result<Option<ExtentRecord>, CatalogError>;

    /// Up to `limit` extents after one, ascending by id: all that any version kept needs.
    async fn extents(
        &self,
        after: Option<ExtentId>,
        limit: usize,
    ) -> Result<Vec<ExtentRecord>, CatalogError>;

    /// Up to `limit` extents with owed shares after one, ascending by id.
    async fn owed(
        &self,
        after: Option<ExtentId>,
        limit: usize,
    ) -> Result<Vec<ExtentRecord>, CatalogError>;

    /// A node (with a name, where one has) whose current or older version uses the extent, and that version's number. An
    /// extent of the journal belongs to no node, to the document [`JOURNAL`](crate::seam::journal::JOURNAL), and its version
    /// is the segment's number.
    async fn user_of(
        &self,
        extent: ExtentId,
    ) -> Result<Option<(Option<NodeId>, FileId, VersionNo)>, CatalogError>;

    /// All documents of which some version uses the extent, each once and ascending: beside the one for which it was dealt, those that go on with it.
    async fn documents_of(&self, extent: ExtentId) -> Result<Vec<FileId>, CatalogError>;

    /// Up to `limit` versions not yet known to be on disk, layouts included, oldest first.
    async fn unsettled(&self, limit: usize) -> Result<Vec<Version>, CatalogError>;

    /// All saves under way, whether or not their leases have ended.
    async fn intents(&self) -> Result<Vec<Intent>, CatalogError>;

    /// Saves whose lease has ended, by the catalogue's own clock: those who ask may have other ones.
    async fn lapsed(&self) -> Result<Vec<Intent>, CatalogError>;

    /// How much there is.
    async fn usage(&self) -> Result<Usage, CatalogError>;

    /// Up to `limit` lines of the audit log after a number, ascending.
    async fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, CatalogError>;

    // Names

    /// Makes a node under a free name. [`CatalogError::Exists`] when it is taken, [`CatalogError::Refused`] when it may not be made there.
    async fn create(
        &self,
        parent: NodeId,
        name: &Name,
        new: NewNode,
        write: Write,
    ) -> Result<Attr, CatalogError>;

    /// Gives a node that is no folder a further name.
    async fn link(
        &self,
        node: NodeId,
        parent: NodeId,
        name: &Name,
        write: Write,
    ) -> Result<Attr, CatalogError>;

    /// Takes a name away from a node that is no folder. A node left without a name is forgotten unless it is among `open`.
    async fn unlink(
        &self,
        parent: NodeId,
        name: &Name,
        open: &[NodeId],
        write: Write,
    ) -> Result<Attr, CatalogError>;

    /// Removes an empty folder.
    async fn rmdir(&self, parent: NodeId, name: &Name, write: Write) -> Result<(), CatalogError>;

    /// Changes a name. A node that is replaced and left without a name is forgotten unless it is among `open`.
    ///
    /// When a file replaces a file that has versions and no other name, it takes over the document of the replaced one:
    /// its own current version becomes that document's next one, so that history survives the way office programs
    /// save. The document it had before keeps its versions, without a node.
    async fn rename(
        &self,
        from: (NodeId, &Name),
        to: (NodeId, &Name),
        mode: RenameMode,
        open: &[NodeId],
        write: Write,
    ) -> Result<Renamed, CatalogError>;

    /// Lets a file go on with the document of another one whose place it has taken: its current version becomes that document's next one,
    /// as if it had been renamed over it. A file with a name that still has the document begins `spare`, a fresh one, with its current version.
    /// Returns the files changed, `node` first.
    ///
    /// (Not the document that `node` had: a version of that which a power cut took must stay its newest one, so that it can be
    /// [taken back](Self::revert).)
    ///
    /// Changes nothing, and writes no line of the log, where `node` is no file, has nothing saved or that document already, and where
    /// the document has no version.
    async fn succeed(
        &self,
        node: NodeId,
        document: FileId,
        spare: FileId,
        write: Write,
    ) -> Result<Vec<Attr>, CatalogError>;

    /// Changes attributes.
    async fn set_attr(
        &self,
        node: NodeId,
        change: &AttrChange,
        write: Write,
    ) -> Result<Attr, CatalogError>;

    /// Sets an extended attribute.
    async fn set_xattr(
        &self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        write: Write,
    ) -> Result<(), CatalogError>;

    /// Removes an extended attribute.
    async fn remove_xattr(
        &self,
        node: NodeId,
        name: &[u8],
        write: Write,
    ) -> Result<(), CatalogError>;

    /// Forgets a node without a name (the last handle was closed). No audit entry: its removal has one. Forgetting a node
    /// that has a name, or is not there, does nothing.
    async fn forget(&self, node: NodeId) -> Result<(), CatalogError>;

    /// Forgets every node without a name: at the start, when nobody can have one open. Returns how many.
    async fn forget_nameless(&self) -> Result<u64, CatalogError>;

    // Saving

    /// Writes down that objects of these extents may appear on servers, with a lease that is counted by the catalogue's clock from now on.
    /// Not audited: nothing has been done yet.
    async fn begin_save(&self, intent: &Intent, lease: Duration) -> Result<(), CatalogError>;

    /// [`begin_save`](Self::begin_save), with what [`about`](Self::about) tells of the file that is to be saved. Neither waits for the
    /// other, and a database far away is asked for both in one round trip.
    async fn begin_save_of(
        &self,
        node: NodeId,
        intent: &Intent,
        lease: Duration,
    ) -> Result<Option<About>, CatalogError> {
        let (about, ()) =
            futures_util::future::try_join(self.about(node), self.begin_save(intent, lease))
                .await?;
        Ok(about)
    }

    /// Adds extents to an intent and lets its lease begin anew. [`CatalogError::Lapsed`] when it is gone.
    async fn extend_save(
        &self,
        save: SaveId,
        extents: &[(ExtentId, Generation)],
        lease: Duration,
    ) -> Result<(), CatalogError>;

    /// The single switch: makes the next version of a file current, provided that its head still is `base`; removes the
    /// intent. Returns the node's new attributes.
    async fn commit_save(
        &self,
        node: NodeId,
        base: Option<ExtentId>,
        commit: Commit,
        write: Write,
    ) -> Result<Attr, CatalogError>;

    /// The same for a file that is made by it, under a free name.
    async fn commit_new(
        &self,
        parent: NodeId,
        name: &Name,
        new: NewNode,
        commit: Commit,
        write: Write,
    ) -> Result<Attr, CatalogError>;

    /// Takes an intent over, in one step: from now on it is called `claimant` and has this lease, and whoever knew it by its
    /// old name finds it gone. Returns it as it is then; `None` when it was not there any more, because its save was
    /// committed or somebody else took it: then its objects are not the caller's to remove.
    ///
    /// What it names and the catalogue needs, an extent of just the generation that the extent has now, is dropped from it in the same
    /// step: whatever may have happened before, nobody comes to own the shares that are at work.
    async fn claim_save(
        &self,
        save: SaveId,
        claimant: SaveId,
        lease: Duration,
    ) -> Result<Option<Intent>, CatalogError>;

    /// Removes an intent. Returns whether it was there: `false` means that its save was committed or swept by somebody else,
    /// and that its objects are not the caller's to remove.
    async fn end_save(&self, save: SaveId) -> Result<bool, CatalogError>;

    /// Notes that versions are on disk.
    async fn settle(&self, versions: &[(FileId, VersionNo)]) -> Result<(), CatalogError>;

    /// Takes an unsettled current version back, because a power cut swallowed its shares: the version before becomes
    /// current. Returns its number.
    async fn revert(
        &self,
        document: FileId,
        version: VersionNo,
        write: Write,
    ) -> Result<VersionNo, CatalogError>;

    /// Adds to and takes from the sets of owed shares, each as it is at that moment, all in one transaction: so whoever pays and
    /// whoever owes at the same time, in whatever process, never undo each other. Returns each set as it is now, in the order given; `None` for
    /// an extent that is not there (any more) or is of another generation, which is no error: then the shares that the change speaks of are of no
    /// use. Not audited.
    async fn change_owed(
        &self,
        changes: &[OwedChange],
    ) -> Result<Vec<Option<IndexSet>>, CatalogError>;

    // Generations

    /// Where the vault stands with its generations.
    async fn generations(&self) -> Result<Generations, CatalogError>;

    /// Notes another state of them, provided that `before` is the one that is kept. [`CatalogError::Lapsed`] otherwise.
    async fn set_generations(
        &self,
        before: Generations,
        after: Generations,
        write: Write,
    ) -> Result<(), CatalogError>;

    /// Switches extents to shares of another generation that lie ready on the servers, each one provided that `save` names them and that its
    /// generation still is the one which they were made from, and that the [position of the threshold](crate::refresh::THRESHOLD) says none but theirs
    /// ([`Regenerated::is_wanted_at`]). Ends the intent `save` under which they were put, and in the same step begins another one, which it
    /// returns: `waste`, with this lease. It names what is of no use now: the older shares of extents that were switched, and the newer ones
    /// of everything else that `save` named, as for [`claim_save`](Self::claim_save) without what is needed. [`CatalogError::Lapsed`] when `save` is gone.
    async fn regenerate(
        &self,
        save: SaveId,
        made: &[Regenerated],
        waste: SaveId,
        lease: Duration,
        write: Write,
    ) -> Result<Intent, CatalogError>;

    /// Adds lines to the audit log and does nothing else.
    async fn record(
        &self,
        entries: Vec<AuditEntry>,
        durability: Durability,
    ) -> Result<(), CatalogError>;

    /// Makes every change acknowledged before this call safe from a power cut.
    async fn sync(&self) -> Result<(), CatalogError>;

    // The journal

    /// What changed and is not in the journal yet, up to `limit` rows and as many lines of the log, those that changed first
    /// before the others. With all that was handed out before and is in the journal by now, it gives the state of this
    /// moment, unless there is more.
    async fn changes(&self, limit: usize) -> Result<Changes, CatalogError>;

    /// Up to `limit` rows after one, in the order of their keys, for a checkpoint. Only an empty answer is the end. Rows that
    /// change meanwhile come old or new, and [`changes`](Self::changes) has them once more.
    async fn rows(&self, after: Option<RowKey>, limit: usize) -> Result<Vec<Row>, CatalogError>;

    /// How far the journal has come.
    async fn journal(&self) -> Result<JournalState, CatalogError>;

    /// Notes that segments are on the servers: from now on their extents are kept like any other's, what they tell is no
    /// longer waiting, and their intent is ended. What changed since it was handed out goes on waiting.
    ///
    /// [`CatalogError::Conflict`] when somebody else wrote the journal meanwhile (`current` is the number that is next now):
    /// then what was handed out is out of date. [`CatalogError::Lapsed`] when the intent is gone. [`CatalogError::NotFound`]
    /// when a part of the checkpoint is gone.
    async fn journalled(
        &self,
        segments: Segments,
        durability: Durability,
    ) -> Result<Waste, CatalogError>;

    /// Notes that somebody has decided to go on with a catalogue that was rebuilt with something missing
    /// ([`JournalState::undecided`]). Where nothing is undecided, only the line of the log is written.
    async fn decide(&self, write: Write) -> Result<(), CatalogError>;

    /// Fills an empty catalogue, all or nothing: with these rows, lines of the log, and no change waiting. A row of the root
    /// replaces it; no key comes twice; tags are drawn anew; versions come in the order in which they were saved. [`CatalogError::Exists`] when it is not empty.
    async fn restore(
        &self,
        rows: Box<dyn Iterator<Item = Restored> + Send>,
        resume: Resume,
    ) -> Result<(), CatalogError>;

    // Who else is there

    /// What several drives share; `None` where only one can have the catalogue: then each keeps its locks for itself, and
    /// believes what it knows for as long as it is told to.
    fn sessions(&self) -> Option<&dyn Sessions> {
        None
    }
}

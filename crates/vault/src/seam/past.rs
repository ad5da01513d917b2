//! [`Past`]: what names stood for at an earlier time, and how an earlier version comes back.
//!
//! A name lasts from the change that made it to the change that ended it: an interval. The catalogue keeps when each name
//! that is there began, and for each that ended one row, written in the transaction that ended it. Contents need nothing
//! more: a version says when it was saved.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};

use super::catalog::{CatalogError, NewNode, SaveId, Version, Write};
use super::clock::Timestamp;
use crate::node::{Attr, Name, NodeId, NodeKind};

/// The [position](Past::position) that says from when on a catalogue knows what was, in seconds since 1970: names that ended before left no row. 0 where it
/// knows all that ever was.
pub const KNOWN_SINCE: &str = "past";

/// What is [not found](CatalogError::NotFound) where a name showed a version that was let go since.
pub const DESTROYED: &str = "version that was destroyed";

/// How a name ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// What it stood for got another name in its place.
    Moved,
    /// It was taken away, or something else took it and nothing of what it stood for went on under it.
    Removed,
    /// A file was renamed over it and took over its document: the history goes on under the same name.
    Replaced,
}

impl End {
    /// Its number where it is kept. Numbers never change their meaning.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Moved => 1,
            Self::Removed => 2,
            Self::Replaced => 3,
        }
    }

    /// The end of this number.
    #[must_use]
    pub const fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Moved),
            2 => Some(Self::Removed),
            3 => Some(Self::Replaced),
            _ => None,
        }
    }
}

/// A name and what it stood for, from a time on and perhaps up to one. Silent: it holds a name.
#[derive(Clone, PartialEq, Eq)]
pub struct PastName {
    /// Its number among those that ended; 0 for one that has not.
    pub id: u64,
    /// The folder.
    pub parent: NodeId,
    /// What stands for the name in that folder, chosen by the catalogue; the order of a listing.
    pub tag: [u8; 16],
    /// The name.
    pub name: Name,
    /// What it stood for.
    pub node: NodeId,
    /// What that was.
    pub kind: NodeKind,
    /// Its permission bits, as they were at the end (or are).
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its device number.
    pub rdev: u32,
    /// The document of a file; [`FileId::NIL`] for the others.
    pub document: FileId,
    /// The document's last version under this name: what came later was saved under another one. 0 where nothing was saved.
    pub version: VersionNo,
    /// Where a symbolic link pointed; empty for the others.
    pub target: Vec<u8>,
    /// Since when.
    pub since: Timestamp,
    /// Until when (not at that moment itself any more), and how it ended; `None` for a name that is there.
    pub until: Option<(Timestamp, End)>,
}

impl PastName {
    /// Whether the name was there at a time.
    #[must_use]
    pub fn covers(&self, at: Timestamp) -> bool {
        self.since <= at && self.until.is_none_or(|(until, _)| at < until)
    }
}

impl fmt::Debug for PastName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PastName({}, node {} in {}, version {}, {:?} to {:?}, ..)",
            self.id, self.node, self.parent, self.version, self.since, self.until
        )
    }
}

/// Where an earlier version is put.
#[derive(Clone, Debug)]
pub enum Reinstate {
    /// It becomes the next version of this file, provided that its head still is this one.
    Next(NodeId, Option<ExtentId>),
    /// It becomes a new file under a free name. When the new file has the version's own document, its history goes on; no other
    /// node may have that document then.
    New(NodeId, Name, NewNode),
}

/// What is forgotten for good.
#[derive(Clone, Debug)]
pub struct Forget {
    /// Versions of any documents. One that a file shows (named, or only open), or that is not known to be on disk, stays; and of a
    /// document that a file has, the newest that is.
    pub versions: Vec<(FileId, VersionNo)>,
    /// Names that ended, by their numbers.
    pub names: Vec<u64>,
    /// From when on, in seconds since 1970, the catalogue will still know what names there were: [`KNOWN_SINCE`] becomes this, if it is not
    /// later already. 0 where nothing is forgotten of names.
    pub known_since: u64,
    /// The names of all attributes of the root, as they were when it was decided: holds are such, and are compared in the very
    /// transaction that forgets.
    pub attributes: Vec<Vec<u8>>,
    /// What the intent is called that names the extents of no use.
    pub waste: SaveId,
    /// That intent's lease, from the forgetting on.
    pub lease: Duration,
}

/// What was forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// The versions, by document and number.
    pub versions: Vec<(FileId, VersionNo)>,
    /// Extents that no version has any more, by their ids: what the intent names. None, and no intent, where all are still needed.
    pub extents: Vec<(ExtentId, Generation)>,
}

/// In which versions of a document an extent lies in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The place, counted from 0.
    pub place: u64,
    /// The first version that has it.
    pub from: VersionNo,
    /// The first version after it that has it no more; `None` where the newest has it.
    pub until: Option<VersionNo>,
    /// Which extent.
    pub extent: ExtentId,
}

/// The layouts of a document's versions, ascending, as intervals by place and version.
#[must_use]
pub fn intervals(versions: &[(VersionNo, Vec<Option<ExtentId>>)]) -> Vec<Interval> {
    let mut all: BTreeMap<(u64, VersionNo), Interval> = BTreeMap::new();
    let mut open: BTreeMap<u64, (VersionNo, ExtentId)> = BTreeMap::new();
    for (number, layout) in versions {
        let now = |place: u64| {
            let place = usize::try_from(place).ok()?;
            layout.get(place).copied().flatten()
        };
        open.retain(|place, (from, extent)| {
            let stays = now(*place) == Some(*extent);
            if !stays && let Some(interval) = all.get_mut(&(*place, *from)) {
                interval.until = Some(*number);
            }
            stays
        });
        for (place, extent) in (0..).zip(layout) {
            let Some(extent) = *extent else { continue };
            open.entry(place).or_insert_with(|| {
                let interval = Interval {
                    place,
                    from: *number,
                    until: None,
                    extent,
                };
                all.insert((place, *number), interval);
                (*number, extent)
            });
        }
    }
    all.into_values().collect()
}

/// What was.
///
/// # Contract
/// - A name that ends leaves a row, in the transaction of the change that ends it; its time is the end of the interval. A name that is
///   made begins at the time of the change that makes it. A name that was there before a catalogue kept times began when its
///   node was made; such a catalogue says from when on it knows ([`KNOWN_SINCE`]).
/// - The times of one name never go back, whatever the clocks of the machines: a change that says it was made before the name's last one
///   counts as made just then. So no interval ends before it begins, and no two of one name in one folder lie across one another.
/// - A file that goes on with another document begins anew under each of its names: each shows the old document up to then.
/// - [`Catalog`](super::catalog::Catalog)'s rules hold: whole transactions, each with its line of the log.
#[async_trait]
pub trait Past: Send + Sync {
    /// The names that a folder held at a time, by their tags. A folder that was none then, or never was, held none.
    async fn list_at(&self, dir: NodeId, at: Timestamp) -> Result<Vec<PastName>, CatalogError>;

    /// What a name in a folder stood for at a time.
    async fn lookup_at(
        &self,
        dir: NodeId,
        name: &Name,
        at: Timestamp,
    ) -> Result<Option<PastName>, CatalogError>;

    /// What a name in a folder stands for, or stood for last.
    async fn last(&self, dir: NodeId, name: &Name) -> Result<Option<PastName>, CatalogError>;

    /// All names that a node ever had, those that ended by their numbers and then those that are there.
    async fn names_of_node(&self, node: NodeId) -> Result<Vec<PastName>, CatalogError>;

    /// All names under which a document was ever found, those that ended by their numbers and then those that are there.
    async fn names_of(&self, document: FileId) -> Result<Vec<PastName>, CatalogError>;

    /// Up to `limit` names that ended, after a number, ascending by their numbers.
    async fn ended(&self, after: u64, limit: usize) -> Result<Vec<PastName>, CatalogError>;

    /// Makes an earlier version current again, by rows alone: the new version has the old one's extents and its time of change, and was saved
    /// now, by whoever restores it. Version 0 of a document is an empty file.
    ///
    /// A new file that has the version's own document, and that version is its newest, gets no version more.
    /// [`CatalogError::Conflict`] when the file has changed meanwhile, [`CatalogError::Exists`] when the name is taken or another
    /// node has the document, [`CatalogError::NotFound`] when the version is not kept.
    async fn reinstate(
        &self,
        to: Reinstate,
        from: (FileId, VersionNo),
        write: Write,
    ) -> Result<Attr, CatalogError>;

    /// Takes a name away as [`unlink`](super::catalog::Catalog::unlink) does, provided that it still stands for this node, with this head.
    /// [`CatalogError::Conflict`] when it stands for something else, or that has changed.
    async fn unlink_if(
        &self,
        parent: NodeId,
        name: &Name,
        what: (NodeId, Option<ExtentId>),
        keep: bool,
        write: Write,
    ) -> Result<Attr, CatalogError>;

    /// Forgets versions and names that ended, for good, and writes down under an intent which extents no version has any more: their
    /// objects are the caller's to remove. What cannot go stays, and is not among the answer.
    ///
    /// Another version of the same document, or another document's, keeps the extents that it shares with what goes. A version that is
    /// being made current again at this moment stays, or is not found by whoever makes it so.
    /// [`CatalogError::Conflict`] when the root has not exactly the attributes that the caller saw.
    async fn forget_versions(&self, what: Forget, write: Write) -> Result<Forgotten, CatalogError>;

    /// How far something has come that follows the log from outside: 0 where it has not begun.
    async fn position(&self, what: &str) -> Result<u64, CatalogError>;

    /// All positions, by what they are of.
    async fn positions(&self) -> Result<Vec<(String, u64)>, CatalogError>;

    /// Moves a position on, from where the caller found it. Says whether it still was there. Not audited.
    async fn advance(&self, what: &str, from: u64, to: u64) -> Result<bool, CatalogError>;
}

/// The version of a document that was current at a time under a name: the last that had been saved by then. `None` where none had.
#[must_use]
pub fn version_at<'a>(
    versions: &'a [Version],
    name: &PastName,
    at: Timestamp,
) -> Option<&'a Version> {
    versions
        .iter()
        .filter(|version| version.number <= name.version && version.saved_at <= at)
        .max_by_key(|version| version.number)
}

/// Whether what a name showed at a time was, or may have been, a version that is not kept any more: of the numbers after the one that
/// [`version_at`] finds, the next is missing. What is not kept does not say when it was saved.
#[must_use]
pub fn is_gone(versions: &[Version], name: &PastName, at: Timestamp) -> bool {
    let shown = version_at(versions, name, at).map_or(0, |version| version.number.0);
    if shown >= name.version.0 {
        return false;
    }
    let later = versions.iter().map(|version| version.number.0);
    let next = later.filter(|number| *number > shown).min();
    next.is_none_or(|next| next > shown.saturating_add(1))
}

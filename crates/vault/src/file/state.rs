//! What all handles of an open file share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::RwLock;
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};

use super::EXTENT;
use super::parts::{Order, Parts};
use super::plain::Plain;
use super::snapshot::Snapshot;
use crate::context::Context;
use crate::node::{Attr, NodeId};
use crate::seam::catalog::{Commit, Durability, ExtentRecord, SaveId, Version};

/// Where the stored contents of an extent lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Nowhere: all zeros.
    Hole,
    /// In the head of the base version.
    InHead,
    /// In an extent of the base version.
    Stored(ExtentId),
    /// In an extent that the save under way has put on the servers already.
    Fresh(ExtentId),
}

/// The state of an open file. Guarded by one lock; network requests are made without it.
#[derive(Debug)]
pub(crate) struct FileState {
    /// The node that saves go to: the one opened, or the conflict copy after a conflict.
    pub(crate) target: NodeId,
    pub(crate) document: FileId,
    /// The version that the contents are based on.
    pub(crate) version: VersionNo,
    /// Its head, by which a save proves what it was based on.
    pub(crate) head: Option<ExtentId>,
    pub(crate) size: u64,
    pub(crate) mtime: Timestamp,
    /// Where the stored contents are, by extent; shorter than the file where the rest is zeros.
    pub(crate) slots: Vec<Slot>,
    /// Contents in RAM; where there is one, it counts and not the slot.
    pub(crate) buffers: BTreeMap<u64, Plain>,
    /// Whether there is anything to save.
    pub(crate) dirty: bool,
    /// Counts changes of any kind.
    pub(crate) stamp: u64,
    /// The extents dealt and stored for the save under way.
    pub(crate) fresh: HashMap<ExtentId, ExtentRecord>,
    /// Extents being sent while the program still writes.
    pub(crate) sending: HashSet<u64>,
    /// Whether the file has lost its last name, so that nothing will ever read what is saved.
    pub(crate) unlinked: bool,
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plain")
            .field("len", &self.len())
            .field("dirty", &self.dirty)
            .finish_non_exhaustive()
    }
}

impl FileState {
    /// The state of a file of which nothing has been read yet.
    pub(crate) fn new(node: NodeId) -> Self {
        Self {
            target: node,
            document: FileId::NIL,
            version: VersionNo(0),
            head: None,
            size: 0,
            mtime: Timestamp { secs: 0, nanos: 0 },
            slots: Vec::new(),
            buffers: BTreeMap::new(),
            dirty: false,
            stamp: 0,
            fresh: HashMap::new(),
            sending: HashSet::new(),
            unlinked: false,
        }
    }

    /// The state of a file as one of its versions left it.
    pub(crate) fn of_version(attr: &Attr, version: &Version) -> Self {
        let mut state = Self::new(attr.node);
        state.rebase(attr, Some(version));
        state.mtime = version.mtime;
        state
    }

    /// Takes the version that the catalogue calls current as the base, unless there are changes to save.
    pub(crate) fn catch_up(&mut self, attr: &Attr, version: Option<&Version>) {
        // Removed elsewhere, it takes no changes along: they are kept as a copy. Here it has been noted already.
        self.unlinked |= attr.nlink == 0 && !self.dirty;
        if self.dirty || !self.fresh.is_empty() || self.target != attr.node {
            return;
        }
        if self.head == attr.head {
            // A rename may have given the file another document, and its version another number.
            (self.document, self.version) = (attr.document, attr.version);
            if self.size == attr.size {
                return;
            }
        }
        // What was read from the catalogue may be older than what a save by another handle has made current meanwhile.
        if self.document != attr.document || attr.version >= self.version {
            self.rebase(attr, version);
        }
    }

    fn rebase(&mut self, attr: &Attr, version: Option<&Version>) {
        (self.document, self.version, self.mtime) = (attr.document, attr.version, attr.mtime);
        (self.head, self.size) = version.map_or((None, 0), |version| (version.head, version.size));
        self.slots = version.map(slots_of).unwrap_or_default();
        self.buffers.clear();
        self.stamp += 1;
    }

    pub(crate) fn slot(&self, number: u64) -> Slot {
        usize::try_from(number)
            .ok()
            .and_then(|number| self.slots.get(number))
            .copied()
            .unwrap_or(Slot::Hole)
    }

    pub(crate) fn set_slot(&mut self, number: u64, slot: Slot) {
        let Ok(number) = usize::try_from(number) else {
            return;
        };
        if number >= self.slots.len() {
            self.slots.resize(number + 1, Slot::Hole);
        }
        if let Some(place) = self.slots.get_mut(number) {
            *place = slot;
        }
    }

    /// How many extents the contents have.
    pub(crate) fn extents(&self) -> u64 {
        self.size.div_ceil(EXTENT)
    }

    /// Which extents hold changes that no server has.
    pub(crate) fn dirty_extents(&self) -> Vec<u64> {
        self.buffers
            .iter()
            .filter(|(_, plain)| plain.dirty)
            .map(|(number, _)| *number)
            .collect()
    }

    /// Whether there is anything to save that anybody could ever read.
    pub(crate) fn needs_saving(&self) -> bool {
        self.dirty && !self.unlinked
    }

    /// Notes a change of any kind.
    pub(crate) fn touch(&mut self, now: Timestamp) {
        self.dirty = true;
        self.stamp += 1;
        self.mtime = now;
    }
}

fn slots_of(version: &Version) -> Vec<Slot> {
    if version.head.is_none() {
        return Vec::new();
    }
    if version.is_inline() {
        return vec![Slot::InHead];
    }
    version
        .layout
        .iter()
        .map(|extent| extent.map_or(Slot::Hole, Slot::Stored))
        .collect()
}

/// An attempt to save: the name of its intent row, and all that the row names.
///
/// What was announced and is not committed in the end is of no use, whatever became of it: changed again meanwhile, not
/// taken by enough servers, or dealt by a save that was dropped half-way.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) save: SaveId,
    pub(crate) announced: Vec<(ExtentId, Generation)>,
}

/// A switch that has been asked for and whose answer has not come.
pub(crate) struct Doubt {
    /// Whether it makes a copy, because the file's own version was no longer the one it stands on.
    pub(crate) copy: bool,
    pub(crate) snapshot: Snapshot,
    pub(crate) commit: Commit,
    pub(crate) durability: Durability,
}

impl std::fmt::Debug for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doubt").finish_non_exhaustive()
    }
}

/// An open file: one for each node, however many handles there are.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) node: NodeId,
    pub(crate) state: Arc<RwLock<FileState>>,
    /// Held by a save from beginning to end, and shared by extents sent early: a save begins when they have ended.
    pub(crate) saving: RwLock<()>,
    /// Held while a handle is opened, and while the last one is released.
    pub(crate) gate: tokio::sync::Mutex<()>,
    /// The attempt to save that is under way, once an extent has been dealt for it.
    pub(crate) attempt: tokio::sync::Mutex<Option<Attempt>>,
    pub(crate) doubt: tokio::sync::Mutex<Option<Doubt>>,
    /// One lock for each extent that is being fetched, so that it is fetched once.
    fetching: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<()>>>>,
    /// How many handles there are.
    pub(crate) handles: AtomicU32,
    /// What the catalogue last said of it, for when it says nothing.
    pub(crate) known: Mutex<Option<Attr>>,
    /// Whoever closed it while the catalogue did not answer: without a handle it is kept until it is saved.
    pub(crate) left_by: Mutex<Option<Context>>,
    /// By what reading in order is seen.
    pub(crate) order: Order,
    /// What small reads out of order have fetched.
    pub(crate) parts: Mutex<Parts>,
    /// Whether this is an old version, which is read and never saved.
    pub(crate) frozen: bool,
    /// Whether the catalogue said, when a save last asked, that the node has no name any more. It keeps such a one for whoever removed it, and
    /// nobody else would ever see what is saved to it.
    pub(crate) nameless: AtomicBool,
}

impl OpenFile {
    pub(crate) fn new(state: FileState, node: NodeId, frozen: bool) -> Self {
        Self {
            node,
            state: Arc::new(RwLock::new(state)),
            saving: RwLock::new(()),
            gate: tokio::sync::Mutex::new(()),
            attempt: tokio::sync::Mutex::new(None),
            doubt: tokio::sync::Mutex::new(None),
            fetching: Mutex::new(HashMap::new()),
            handles: AtomicU32::new(0),
            known: Mutex::new(None),
            left_by: Mutex::new(None),
            order: Order::default(),
            parts: Mutex::default(),
            frozen,
            nameless: AtomicBool::new(false),
        }
    }

    /// The lock under which an extent is fetched.
    pub(crate) fn fetch_lock(&self, number: u64) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.len() > 64 {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        Arc::clone(locks.entry(number).or_default())
    }
}

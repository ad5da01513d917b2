//! What all handles of an open file share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::RwLock;
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};

use super::EXTENT;
use super::plain::Plain;
use crate::node::{Attr, NodeId};
use crate::seam::catalog::{ExtentRecord, SaveId, Version};

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
    /// Extents dealt for it that turned out to be of no use. Their objects are removed once the save has ended.
    pub(crate) waste: Vec<(ExtentId, Generation)>,
    /// Extents being sent while the program still writes.
    pub(crate) sending: HashSet<u64>,
    /// Whether the file has lost its last name, so that nothing will ever read what is saved.
    pub(crate) unlinked: bool,
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plain").field("len", &self.len()).field("dirty", &self.dirty).finish_non_exhaustive()
    }
}

impl FileState {
    pub(crate) fn of(attr: &Attr, version: Option<&Version>) -> Self {
        let mut state = Self {
            target: attr.node,
            document: attr.document,
            version: VersionNo(0),
            head: None,
            size: 0,
            mtime: attr.mtime,
            slots: Vec::new(),
            buffers: BTreeMap::new(),
            dirty: false,
            stamp: 0,
            fresh: HashMap::new(),
            waste: Vec::new(),
            sending: HashSet::new(),
            unlinked: attr.nlink == 0,
        };
        state.rebase(attr, version);
        state
    }

    /// Forgets the contents and takes a version as the base. Only for a state with nothing to save.
    pub(crate) fn rebase(&mut self, attr: &Attr, version: Option<&Version>) {
        self.document = attr.document;
        self.mtime = attr.mtime;
        self.buffers.clear();
        self.stamp += 1;
        match version {
            None => {
                (self.version, self.head, self.size) = (VersionNo(0), None, 0);
                self.slots.clear();
            }
            Some(version) => {
                (self.version, self.head, self.size) = (version.number, version.head, version.size);
                self.slots = slots_of(version);
            }
        }
    }

    pub(crate) fn slot(&self, number: u64) -> Slot {
        usize::try_from(number).ok().and_then(|number| self.slots.get(number)).copied().unwrap_or(Slot::Hole)
    }

    pub(crate) fn set_slot(&mut self, number: u64, slot: Slot) {
        let Ok(number) = usize::try_from(number) else { return };
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
        self.buffers.iter().filter(|(_, plain)| plain.dirty).map(|(number, _)| *number).collect()
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
    version.layout.iter().map(|extent| extent.map_or(Slot::Hole, Slot::Stored)).collect()
}

/// An open file: one for each node, however many handles there are.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) node: NodeId,
    pub(crate) state: Arc<RwLock<FileState>>,
    /// Held by a save from beginning to end, and shared by extents sent early: a save begins when they have ended.
    pub(crate) saving: RwLock<()>,
    /// The attempt to save that is under way, once an extent has been dealt for it.
    pub(crate) intent: tokio::sync::Mutex<Option<SaveId>>,
    /// One lock for each extent that is being fetched, so that it is fetched once.
    fetching: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<()>>>>,
    /// How many handles there are.
    pub(crate) handles: AtomicU32,
    /// The extent read last, by which reading in order is seen.
    pub(crate) last_read: AtomicU64,
    /// Whether this is an old version, which is read and never saved.
    pub(crate) frozen: bool,
}

impl OpenFile {
    pub(crate) fn new(state: FileState, node: NodeId, frozen: bool) -> Self {
        Self {
            node,
            state: Arc::new(RwLock::new(state)),
            saving: RwLock::new(()),
            intent: tokio::sync::Mutex::new(None),
            fetching: Mutex::new(HashMap::new()),
            handles: AtomicU32::new(0),
            last_read: AtomicU64::new(u64::MAX),
            frozen,
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

    pub(crate) fn handle_count(&self) -> u32 {
        self.handles.load(Ordering::Acquire)
    }
}

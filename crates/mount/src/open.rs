//! What is open: files and folders by the numbers that the kernel keeps for us.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use fuser::Errno;
use tokio::sync::Mutex as AsyncMutex;
use warifu_vault::node::NodeId;
use warifu_vault::{Context, FileHandle};

use crate::changers::{Changers, WrittenBack};
use crate::dirs::Stream;

/// What the open handles of one file have in common.
#[derive(Debug)]
pub(crate) struct OpenNode {
    handles: AtomicU64,
    /// Pages of the file may lie in the kernel's page cache: it was mapped into memory, or executed.
    pub(crate) paged: AtomicBool,
    /// Pages of mappings that the kernel has written back; it may use any handle for that.
    pub(crate) written_back: WrittenBack,
    /// Whether it may have set-id bits.
    pub(crate) set_id: SetId,
    /// How many programs run from the file.
    running: AtomicU64,
}

impl OpenNode {
    /// Whether a program runs from the file.
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }
}

/// Whether a file may have set-id bits, which the next write of an ordinary user takes away. It may until somebody has looked, and again
/// whenever somebody may have set one since the look *began*: what a look finds may be older than that.
#[derive(Debug)]
pub(crate) struct SetId {
    /// Counts the moments from which on there may be one.
    doubts: AtomicU64,
    /// The last of them that a look has cleared away.
    cleared: AtomicU64,
}

impl Default for SetId {
    fn default() -> Self {
        Self {
            doubts: AtomicU64::new(1),
            cleared: AtomicU64::new(0),
        }
    }
}

impl SetId {
    /// Whether there may be one.
    pub(crate) fn is_possible(&self) -> bool {
        self.cleared.load(Ordering::Acquire) != self.doubts.load(Ordering::Acquire)
    }

    /// From now on there may be one.
    pub(crate) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    /// To be called before the catalogue is asked; what it gives is for [`looked`](Self::looked).
    pub(crate) fn look(&self) -> u64 {
        self.doubts.load(Ordering::Acquire)
    }

    /// What a look has found that began at `since`.
    pub(crate) fn looked(&self, since: u64, found: bool) {
        if found {
            self.doubt();
        } else {
            self.cleared.fetch_max(since, Ordering::AcqRel);
        }
    }
}

impl Default for OpenNode {
    fn default() -> Self {
        Self {
            handles: AtomicU64::new(0),
            paged: AtomicBool::new(false),
            written_back: WrittenBack::default(),
            set_id: SetId::default(),
            running: AtomicU64::new(0),
        }
    }
}

/// A handle that is about to be opened, or was not, when this is dropped. It is counted from before the catalogue is asked, so that whoever
/// changes the file meanwhile finds it.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    open: &'a Open,
    id: NodeId,
    pub(crate) node: Arc<OpenNode>,
    kept: bool,
}

impl Opening<'_> {
    /// Ends what was not opened. Says whether the pages of the file are to be dropped: it was closed meanwhile, and this was taken for one more
    /// handle then.
    pub(crate) fn give_up(mut self) -> bool {
        self.kept = true;
        self.open.let_go_of(self.id, &self.node) && self.node.paged.load(Ordering::Relaxed)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.open.let_go_of(self.id, &self.node);
        }
    }
}

/// An open file.
#[derive(Debug)]
pub(crate) struct OpenFile {
    /// The vault's handle.
    pub(crate) handle: FileHandle,
    /// What it shares with the other handles of the file.
    pub(crate) node: Arc<OpenNode>,
    /// Who has changed it through this handle since it was saved.
    pub(crate) changers: Changers,
    /// Who has locked through this handle. The end of a handle that nothing was written through comes without a flush, and its
    /// locks must go all the same.
    lockers: Mutex<HashSet<u64>>,
    /// It was opened to run it, and is open for as long as that runs.
    runs: bool,
    /// On whose behalf it was opened. What the kernel writes back or releases later comes without a name.
    pub(crate) opener: Context,
}

impl OpenFile {
    /// Notes who locks through this handle.
    pub(crate) fn note_locker(&self, owner: u64) {
        self.lockers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(owner);
    }

    /// Who has locked through it.
    pub(crate) fn lockers(&self) -> Vec<u64> {
        let lockers = self.lockers.lock().unwrap_or_else(PoisonError::into_inner);
        lockers.iter().copied().collect()
    }
}

/// An open folder.
#[derive(Debug)]
pub(crate) struct OpenDir {
    /// Which folder.
    pub(crate) node: NodeId,
    /// How far the listing has come. Only one request of a handle reads at a time.
    pub(crate) stream: AsyncMutex<Stream>,
}

/// All that is open.
///
/// Each lock is held for one look-up or one change of a map, so a poisoned one still guards a whole map.
#[derive(Debug, Default)]
pub(crate) struct Open {
    next: AtomicU64,
    files: RwLock<HashMap<u64, Arc<OpenFile>>>,
    dirs: RwLock<HashMap<u64, Arc<OpenDir>>>,
    nodes: Mutex<HashMap<NodeId, Arc<OpenNode>>>,
}

impl Open {
    fn number(&self) -> u64 {
        // From 1, so that a forgotten number (0) stands for nothing.
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a handle that is about to be opened.
    pub(crate) fn begin(&self, id: NodeId) -> Opening<'_> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let node = Arc::clone(nodes.entry(id).or_default());
        node.handles.fetch_add(1, Ordering::Relaxed);
        Opening {
            open: self,
            id,
            node,
            kept: false,
        }
    }

    /// Ends the counting of a handle. Says whether it was the last one of its file.
    fn let_go_of(&self, id: NodeId, node: &OpenNode) -> bool {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let last = node.handles.fetch_sub(1, Ordering::Relaxed) == 1;
        if last {
            nodes.remove(&id);
        }
        last
    }

    /// Keeps an open file and gives it its number. `runs` tells that it was opened to run it.
    pub(crate) fn keep_file(
        &self,
        mut opening: Opening<'_>,
        (handle, runs): (FileHandle, bool),
        opener: Context,
    ) -> (u64, Arc<OpenFile>) {
        opening.kept = true;
        let runs_of_it = &opening.node.running;
        runs_of_it.fetch_add(u64::from(runs), Ordering::Relaxed);
        let file = Arc::new(OpenFile {
            handle,
            node: Arc::clone(&opening.node),
            changers: Changers::default(),
            lockers: Mutex::default(),
            runs,
            opener,
        });
        let number = self.number();
        self.files
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, Arc::clone(&file));
        (number, file)
    }

    /// The open file of this number.
    pub(crate) fn file(&self, number: u64) -> Result<Arc<OpenFile>, Errno> {
        self.files
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&number)
            .cloned()
            .ok_or(Errno::EBADF)
    }

    /// Takes an open file out. Also says whether it was the last handle of its file.
    pub(crate) fn take_file(&self, number: u64) -> Result<(Arc<OpenFile>, bool), Errno> {
        let file = self
            .files
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number)
            .ok_or(Errno::EBADF)?;
        let runs = u64::from(file.runs);
        file.node.running.fetch_sub(runs, Ordering::Relaxed);
        let last = self.let_go_of(file.handle.node(), &file.node);
        Ok((file, last))
    }

    /// What the open handles of a file have in common, if it is open.
    pub(crate) fn node(&self, node: NodeId) -> Option<Arc<OpenNode>> {
        self.nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&node)
            .cloned()
    }

    /// The files that are open.
    pub(crate) fn open_nodes(&self) -> Vec<NodeId> {
        self.nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
    }

    /// How many files are open.
    pub(crate) fn files(&self) -> usize {
        self.files
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Keeps an open folder and gives it its number.
    pub(crate) fn keep_dir(&self, node: NodeId) -> u64 {
        let number = self.number();
        let dir = Arc::new(OpenDir {
            node,
            stream: AsyncMutex::new(Stream::default()),
        });
        self.dirs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, dir);
        number
    }

    /// The open folder of this number.
    pub(crate) fn dir(&self, number: u64) -> Result<Arc<OpenDir>, Errno> {
        self.dirs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&number)
            .cloned()
            .ok_or(Errno::EBADF)
    }

    /// Takes an open folder out.
    pub(crate) fn drop_dir(&self, number: u64) {
        self.dirs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_clears_no_doubt_that_came_after_it_began() {
        let bits = SetId::default();
        assert!(bits.is_possible(), "nobody has looked");
        bits.looked(bits.look(), false);
        assert!(!bits.is_possible());
        let since = bits.look();
        bits.doubt();
        bits.looked(since, false);
        assert!(bits.is_possible(), "somebody set one since");
        bits.looked(bits.look(), true);
        assert!(bits.is_possible());
        bits.looked(bits.look(), false);
        assert!(!bits.is_possible());
    }

    #[test]
    fn an_opening_that_fails_leaves_nothing() {
        let open = Open::default();
        let (one, other) = (open.begin(NodeId(7)), open.begin(NodeId(7)));
        drop(one);
        assert!(open.node(NodeId(7)).is_some());
        drop(other);
        assert!(open.node(NodeId(7)).is_none());
    }
}

//! [`MemoryCatalog`].

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};
use warifu_vault::context::AuditEntry;
use warifu_vault::node::{Attr, AttrChange, Name, NodeId};
use warifu_vault::seam::catalog::{
    AuditRow, Catalog, CatalogError, Commit, Cursor, Durability, ExtentRecord, IndexSet, Intent,
    Listed, NewNode, OwedChange, RenameMode, Renamed, SaveId, Usage, Version, Write, XattrMode,
};
use warifu_vault::seam::clock::{Clock, SystemClock, later};
use warifu_vault::seam::generations::{Generations, Regenerated};
use warifu_vault::seam::journal::{
    Changes, JournalState, Restored, Resume, Row, RowKey, Segments, Waste,
};
use warifu_vault::seam::sessions::{SessionId, Sessions};

use super::sessions::Book;
use super::state::State;

/// The in-memory twin: the readable reference of what a catalogue does, and of what a power cut leaves of it.
/// Clones share everything, as connections to one database do, and each counts as a session of its own.
pub struct MemoryCatalog {
    inner: Arc<Mutex<Inner>>,
    /// By which leases of saves end.
    clock: Arc<dyn Clock>,
    pub(super) me: SessionId,
}

pub(super) struct Inner {
    pub(super) book: Book,
    now: State,
    /// What is safe from a power cut.
    durable: State,
    /// Every state since then, oldest first, when asked for.
    since: Option<Vec<State>>,
}

impl MemoryCatalog {
    /// An empty catalogue.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// An empty catalogue with a clock of its own.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let state = State::new();
        Self {
            inner: Arc::new(Mutex::new(Inner {
                book: Book::default(),
                now: state.clone(),
                durable: state,
                since: None,
            })),
            clock,
            me: fresh(),
        }
    }

    /// A backup: another catalogue with what this one has now.
    #[must_use]
    pub fn backup(&self) -> Self {
        let now = self.lock().now.clone();
        Self {
            inner: Arc::new(Mutex::new(Inner {
                book: Book::default(),
                durable: now.clone(),
                now,
                since: None,
            })),
            clock: Arc::clone(&self.clock),
            me: fresh(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock().now)
    }

    pub(super) fn write<T>(
        &self,
        durability: Durability,
        write: impl FnOnce(&mut State) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        self.commit(durability, |state| {
            let outcome = write(state)?;
            state.edits += 1;
            Ok(outcome)
        })
    }

    fn commit<T>(
        &self,
        durability: Durability,
        write: impl FnOnce(&mut State) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let mut inner = self.lock();
        let before = inner.now.clone_if(inner.book.has_others(self.me));
        let outcome = write(&mut inner.now)?;
        if let Some(before) = before {
            let changes = inner.now.changed_since(&before);
            inner.book.tell(self.me, changes);
        }
        let now = inner
            .now
            .clone_if(durability == Durability::Now || inner.since.is_some());
        match (durability, now) {
            (Durability::Now, Some(now)) => {
                inner.durable = now;
                inner.since.iter_mut().for_each(Vec::clear);
            }
            (Durability::Soon, Some(now)) => inner
                .since
                .iter_mut()
                .for_each(|since| since.push(now.clone())),
            (_, None) => {}
        }
        Ok(outcome)
    }

    /// The power fails, and nothing was written that did not have to be: what was not synced is forgotten.
    pub fn power_cut(&self) {
        let mut inner = self.lock();
        inner.now = inner.durable.clone();
        inner.book.forget();
        inner.since.iter_mut().for_each(Vec::clear);
    }

    /// From now on remembers each state since the last sync, so that a power cut can keep some of them. Slow.
    pub fn remember(&self) {
        self.lock().since.get_or_insert_default();
    }

    /// How many writes a power cut would put at risk. Zero unless [`remember`](Self::remember) was called.
    #[must_use]
    pub fn at_risk(&self) -> usize {
        self.lock().since.as_ref().map_or(0, Vec::len)
    }

    /// The power fails after the first `kept` of the writes at risk had reached the disk by themselves. What survives is
    /// always a beginning of history, never a later write without an earlier one.
    pub fn power_cut_after(&self, kept: usize) {
        let mut inner = self.lock();
        let state = match kept.checked_sub(1) {
            None => None,
            Some(last) => inner
                .since
                .as_ref()
                .and_then(|since| since.get(last))
                .cloned(),
        };
        inner.durable = state.unwrap_or_else(|| inner.durable.clone());
        inner.now = inner.durable.clone();
        inner.book.forget();
        inner.since.iter_mut().for_each(Vec::clear);
    }
}

fn fresh() -> SessionId {
    SessionId::fresh().expect("there is randomness")
}

impl Clone for MemoryCatalog {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            clock: Arc::clone(&self.clock),
            me: fresh(),
        }
    }
}

impl State {
    fn clone_if(&self, wanted: bool) -> Option<Self> {
        wanted.then(|| self.clone())
    }
}

impl Default for MemoryCatalog {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryCatalog")
    }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn attr(&self, node: NodeId) -> Result<Option<Attr>, CatalogError> {
        Ok(self.read(|state| state.attr(node)))
    }

    async fn lookup(&self, parent: NodeId, name: &Name) -> Result<Option<Attr>, CatalogError> {
        self.read(|state| state.lookup(parent, name))
    }

    async fn list(
        &self,
        dir: NodeId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Listed>, CatalogError> {
        self.read(|state| state.list(dir, after, limit))
    }

    async fn path(&self, node: NodeId) -> Result<Option<Vec<Name>>, CatalogError> {
        Ok(self.read(|state| state.path(node)))
    }

    async fn parent(&self, dir: NodeId) -> Result<NodeId, CatalogError> {
        self.read(|state| state.parent(dir))
    }

    async fn read_link(&self, node: NodeId) -> Result<Vec<u8>, CatalogError> {
        self.read(|state| state.read_link(node))
    }

    async fn xattrs(&self, node: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>, CatalogError> {
        self.read(|state| state.xattrs(node))
    }

    async fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>, CatalogError> {
        self.read(|state| state.xattr(node, name))
    }

    async fn current(&self, node: NodeId) -> Result<(Attr, Option<Version>), CatalogError> {
        self.read(|state| state.current(node))
    }

    async fn version(
        &self,
        document: FileId,
        number: VersionNo,
    ) -> Result<Option<Version>, CatalogError> {
        Ok(self.read(|state| state.version(document, number)))
    }

    async fn history(&self, document: FileId) -> Result<Vec<Version>, CatalogError> {
        Ok(self.read(|state| state.history(document)))
    }

    async fn extent(&self, extent: ExtentId) -> Result<Option<ExtentRecord>, CatalogError> {
        Ok(self.read(|state| state.extent(extent)))
    }

    async fn extents(
        &self,
        after: Option<ExtentId>,
        limit: usize,
    ) -> Result<Vec<ExtentRecord>, CatalogError> {
        Ok(self.read(|state| state.extents(after, limit, false)))
    }

    async fn owed(
        &self,
        after: Option<ExtentId>,
        limit: usize,
    ) -> Result<Vec<ExtentRecord>, CatalogError> {
        Ok(self.read(|state| state.extents(after, limit, true)))
    }

    async fn user_of(
        &self,
        extent: ExtentId,
    ) -> Result<Option<(Option<NodeId>, FileId, VersionNo)>, CatalogError> {
        Ok(self.read(|state| state.user_of(extent)))
    }

    async fn documents_of(&self, extent: ExtentId) -> Result<Vec<FileId>, CatalogError> {
        Ok(self.read(|state| state.documents_of(extent)))
    }

    async fn unsettled(&self, limit: usize) -> Result<Vec<Version>, CatalogError> {
        Ok(self.read(|state| state.unsettled(limit)))
    }

    async fn intents(&self) -> Result<Vec<Intent>, CatalogError> {
        Ok(self.read(State::intents))
    }

    async fn lapsed(&self) -> Result<Vec<Intent>, CatalogError> {
        let now = self.now();
        Ok(self.read(|state| state.lapsed(now)))
    }

    async fn usage(&self) -> Result<Usage, CatalogError> {
        Ok(self.read(State::usage))
    }

    async fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, CatalogError> {
        Ok(self.read(|state| state.log(after, limit)))
    }

    async fn create(
        &self,
        parent: NodeId,
        name: &Name,
        new: NewNode,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(write.durability, |state| {
            state.create(parent, name, &new, &write)
        })
    }

    async fn link(
        &self,
        node: NodeId,
        parent: NodeId,
        name: &Name,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(write.durability, |state| {
            state.link(node, parent, name, &write)
        })
    }

    async fn unlink(
        &self,
        parent: NodeId,
        name: &Name,
        open: &[NodeId],
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(write.durability, |state| {
            state.unlink(parent, name, open, &write)
        })
    }

    async fn rmdir(&self, parent: NodeId, name: &Name, write: Write) -> Result<(), CatalogError> {
        self.write(write.durability, |state| state.rmdir(parent, name, &write))
    }

    async fn rename(
        &self,
        from: (NodeId, &Name),
        to: (NodeId, &Name),
        mode: RenameMode,
        open: &[NodeId],
        write: Write,
    ) -> Result<Renamed, CatalogError> {
        self.write(write.durability, |state| {
            state.rename(from, to, mode, open, &write)
        })
    }

    async fn succeed(
        &self,
        node: NodeId,
        document: FileId,
        spare: FileId,
        write: Write,
    ) -> Result<Vec<Attr>, CatalogError> {
        self.write(write.durability, |state| {
            state.succeed(node, document, spare, &write)
        })
    }

    async fn set_attr(
        &self,
        node: NodeId,
        change: &AttrChange,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(write.durability, |state| {
            state.set_attr(node, change, &write)
        })
    }

    async fn set_xattr(
        &self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        write: Write,
    ) -> Result<(), CatalogError> {
        self.write(write.durability, |state| {
            state.set_xattr(node, name, value, mode, &write)
        })
    }

    async fn remove_xattr(
        &self,
        node: NodeId,
        name: &[u8],
        write: Write,
    ) -> Result<(), CatalogError> {
        self.write(write.durability, |state| {
            state.remove_xattr(node, name, &write)
        })
    }

    async fn forget(&self, node: NodeId) -> Result<(), CatalogError> {
        self.write(Durability::Soon, |state| {
            state.forget(node);
            Ok(())
        })
    }

    async fn forget_nameless(&self) -> Result<u64, CatalogError> {
        self.write(Durability::Soon, |state| Ok(state.forget_nameless()))
    }

    async fn begin_save(&self, intent: &Intent, lease: Duration) -> Result<(), CatalogError> {
        let until = later(self.now(), lease);
        self.write(Durability::Soon, |state| state.begin(intent, until))
    }

    async fn extend_save(
        &self,
        save: SaveId,
        extents: &[(ExtentId, Generation)],
        lease: Duration,
    ) -> Result<(), CatalogError> {
        let until = later(self.now(), lease);
        self.write(Durability::Soon, |state| state.extend(save, extents, until))
    }

    async fn commit_save(
        &self,
        node: NodeId,
        base: Option<ExtentId>,
        commit: Commit,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(write.durability, |state| {
            state.commit_save(node, base, commit, &write)
        })
    }

    async fn commit_new(
        &self,
        parent: NodeId,
        name: &Name,
        new: NewNode,
        commit: Commit,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(write.durability, |state| {
            state.commit_new(parent, name, &new, commit, &write)
        })
    }

    async fn claim_save(
        &self,
        save: SaveId,
        claimant: SaveId,
        lease: Duration,
    ) -> Result<Option<Intent>, CatalogError> {
        let until = later(self.now(), lease);
        self.write(Durability::Soon, |state| {
            Ok(state.claim(save, claimant, until))
        })
    }

    async fn end_save(&self, save: SaveId) -> Result<bool, CatalogError> {
        self.write(Durability::Soon, |state| Ok(state.end(save)))
    }

    async fn settle(&self, versions: &[(FileId, VersionNo)]) -> Result<(), CatalogError> {
        self.write(Durability::Soon, |state| {
            state.settle(versions);
            Ok(())
        })
    }

    async fn revert(
        &self,
        document: FileId,
        version: VersionNo,
        write: Write,
    ) -> Result<VersionNo, CatalogError> {
        self.write(write.durability, |state| {
            state.revert(document, version, &write)
        })
    }

    async fn change_owed(
        &self,
        changes: &[OwedChange],
    ) -> Result<Vec<Option<IndexSet>>, CatalogError> {
        self.write(Durability::Soon, |state| Ok(state.change_owed(changes)))
    }

    async fn generations(&self) -> Result<Generations, CatalogError> {
        Ok(self.read(|state| state.generations))
    }

    async fn set_generations(
        &self,
        before: Generations,
        after: Generations,
        write: Write,
    ) -> Result<(), CatalogError> {
        self.write(write.durability, |state| {
            state.set_generations(&before, after, &write)
        })
    }

    async fn regenerate(
        &self,
        save: SaveId,
        made: &[Regenerated],
        waste: SaveId,
        lease: Duration,
        write: Write,
    ) -> Result<Intent, CatalogError> {
        let until = later(self.now(), lease);
        self.write(write.durability, |state| {
            state.regenerate(save, made, (waste, until), &write)
        })
    }

    async fn record(
        &self,
        entries: Vec<AuditEntry>,
        durability: Durability,
    ) -> Result<(), CatalogError> {
        self.write(durability, |state| {
            entries.iter().for_each(|entry| state.record(entry));
            Ok(())
        })
    }

    async fn sync(&self) -> Result<(), CatalogError> {
        self.commit(Durability::Now, |_| Ok(()))
    }

    async fn changes(&self, limit: usize) -> Result<Changes, CatalogError> {
        Ok(self.lock().now.changes(limit))
    }

    async fn rows(&self, after: Option<RowKey>, limit: usize) -> Result<Vec<Row>, CatalogError> {
        Ok(self.read(|state| state.rows(after, limit)))
    }

    async fn journal(&self) -> Result<JournalState, CatalogError> {
        Ok(self.read(State::journal_state))
    }

    async fn journalled(
        &self,
        segments: Segments,
        durability: Durability,
    ) -> Result<Waste, CatalogError> {
        let lease = segments.finished.as_ref().map(|finished| finished.lease);
        let until = later(self.now(), lease.unwrap_or_default());
        self.write(durability, |state| state.journalled(&segments, until))
    }

    async fn decide(&self, write: Write) -> Result<(), CatalogError> {
        self.write(write.durability, |state| {
            state.decide(&write);
            Ok(())
        })
    }

    async fn restore(
        &self,
        rows: Box<dyn Iterator<Item = Restored> + Send>,
        resume: Resume,
    ) -> Result<(), CatalogError> {
        self.write(Durability::Now, |state| {
            let mut filled = state.clone();
            filled.restore(rows, resume)?;
            *state = filled;
            Ok(())
        })
    }

    fn sessions(&self) -> Option<&dyn Sessions> {
        Some(self)
    }
}

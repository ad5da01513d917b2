//! [`CrashingCatalog`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};
use warifu_vault::context::AuditEntry;
use warifu_vault::node::{Attr, AttrChange, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    About, AuditRow, Catalog, CatalogError, Commit, Cursor, Durability, ExtentRecord, IndexSet,
    Intent, Listed, NewNode, OwedChange, RenameMode, Renamed, SaveId, Usage, Version, Write,
    XattrMode,
};
use warifu_vault::seam::generations::{Generations, Regenerated};
use warifu_vault::seam::journal::{
    Changes, JournalState, Restored, Resume, Row, RowKey, Segments, Waste,
};
use warifu_vault::seam::sessions::Sessions;

use crate::world::World;

/// What a write to the catalogue meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogFault {
    /// It is not done, and the caller hears [`CatalogError::NoAnswer`].
    NoAnswer,
    /// It is done, and the caller hears [`CatalogError::NoAnswer`].
    LostReply,
    /// It is not done: [`CatalogError::Full`].
    Full,
}

/// A catalogue whose client dies when its [`World`] says so (every call counts, reads too), and whose writes fail as told.
/// Clones share everything.
#[derive(Clone, Debug)]
pub struct CrashingCatalog {
    pub(super) inner: Arc<dyn Catalog>,
    world: World,
    script: Arc<Script>,
    /// Where time is what the clock on the wall says.
    outside: Option<Handle>,
}

#[derive(Debug, Default)]
struct Script {
    writes: AtomicU64,
    /// Faults by the number of the write.
    faults: Mutex<BTreeMap<u64, CatalogFault>>,
    always: Mutex<Option<CatalogFault>>,
    silent: AtomicBool,
    deaf: AtomicBool,
    late: Mutex<Duration>,
    storm: Mutex<Option<(World, u8)>>,
    calls: AtomicU64,
}

impl CrashingCatalog {
    /// Wraps a catalogue. Until told otherwise it does what that does.
    #[must_use]
    pub fn new(inner: Arc<dyn Catalog>, world: World) -> Self {
        Self {
            inner,
            world,
            script: Arc::default(),
            outside: None,
        }
    }

    /// Lets each call come to its end on another runtime before anything else happens on this one: a catalogue behind a network, for lives whose
    /// time passes only while all wait. Openings and beginnings of saves are one call each, as whoever has the catalogue itself makes them.
    #[must_use]
    pub fn at_once(mut self, outside: Handle) -> Self {
        self.outside = Some(outside);
        self
    }

    /// The call itself.
    async fn made<T>(&self, act: impl Future<Output = T>) -> T {
        match &self.outside {
            None => act.await,
            Some(outside) => {
                let _outside = outside.enter();
                wait_for(act)
            }
        }
    }

    /// How many writes were made so far, done or not.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.script.writes.load(Ordering::SeqCst)
    }

    /// Lets one write fail: the first from now on is 1.
    pub fn fail_write(&self, nth: u64, fault: CatalogFault) {
        self.script
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(self.writes() + nth, fault);
    }

    /// Lets every write fail, or (with `None`) none any more but those told by [`fail_write`](Self::fail_write).
    pub fn fail_writes(&self, fault: Option<CatalogFault>) {
        *self
            .script
            .always
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Cuts the catalogue off, or (with `false`) lets it be reached again: meanwhile nothing is done, and everybody hears
    /// [`CatalogError::NoAnswer`], readers too.
    pub fn cut_off(&self, cut: bool) {
        self.script.silent.store(cut, Ordering::SeqCst);
    }

    /// From now on each call takes so long before anything is done.
    pub fn answer_after(&self, late: Duration) {
        *self
            .script
            .late
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = late;
    }

    /// From now on, or (with `false`) no longer, nothing is heard of what other sessions change.
    pub fn deaf(&self, deaf: bool) {
        self.script.deaf.store(deaf, Ordering::SeqCst);
    }

    pub(super) fn is_deaf(&self) -> Result<(), CatalogError> {
        match self.script.deaf.load(Ordering::SeqCst) {
            true => Err(CatalogError::NoAnswer {
                detail: "notices do not come".into(),
            }),
            false => Ok(()),
        }
    }

    /// From now on each call takes its time, drawn from a world, and so many writes in a hundred get no answer: half of them are done
    /// all the same.
    pub fn storm(&self, world: World, percent: u8) {
        *self
            .script
            .storm
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((world, percent));
    }

    /// The weather of the next call: a pause before it and one after it, and what a write meets.
    fn weather(&self) -> (Duration, Duration, Option<CatalogFault>) {
        let storm = self
            .script
            .storm
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some((world, percent)) = &*storm else {
            let late = self
                .script
                .late
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            return (*late, Duration::ZERO, None);
        };
        let call = self.script.calls.fetch_add(1, Ordering::SeqCst);
        let draw = |what: &[u8]| world.draw(&[what, &call.to_le_bytes()]);
        let pause = |what| Duration::from_micros(draw(what) % 3000);
        let fault = world
            .chance(*percent, &[b"fault", &call.to_le_bytes()])
            .then(|| match draw(b"which") % 2 {
                0 => CatalogFault::NoAnswer,
                _ => CatalogFault::LostReply,
            });
        (pause(b"before"), pause(b"after"), fault)
    }

    fn is_cut_off(&self) -> Result<(), CatalogError> {
        if self.script.silent.load(Ordering::SeqCst) {
            return Err(CatalogError::NoAnswer {
                detail: "cut off".into(),
            });
        }
        Ok(())
    }

    pub(super) fn inner(&self) -> &dyn Catalog {
        &*self.inner
    }

    pub(super) async fn read<T>(
        &self,
        act: impl Future<Output = Result<T, CatalogError>>,
    ) -> Result<T, CatalogError> {
        self.is_cut_off()?;
        let (before, after, _) = self.weather();
        pause(before).await;
        let done = self.world.call(self.made(act)).await;
        pause(after).await;
        done
    }

    pub(super) async fn write<T>(
        &self,
        act: impl Future<Output = Result<T, CatalogError>>,
    ) -> Result<T, CatalogError> {
        self.is_cut_off()?;
        let number = self.script.writes.fetch_add(1, Ordering::SeqCst) + 1;
        let told = self
            .script
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
        let (before, after, drawn) = self.weather();
        let fault = told.or(drawn).or(*self
            .script
            .always
            .lock()
            .unwrap_or_else(PoisonError::into_inner));
        let silence = || {
            Err(CatalogError::NoAnswer {
                detail: format!("write {number} met {fault:?}"),
            })
        };
        pause(before).await;
        // Cut off on its way.
        self.is_cut_off()?;
        let done = self
            .world
            .call(async {
                match fault {
                    None => self.made(act).await,
                    Some(CatalogFault::NoAnswer) => silence(),
                    Some(CatalogFault::Full) => Err(CatalogError::Full),
                    Some(CatalogFault::LostReply) => {
                        let _done = self.made(act).await;
                        silence()
                    }
                }
            })
            .await;
        pause(after).await;
        done
    }
}

/// Polls until it is done, and does nothing else.
fn wait_for<T>(act: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    // Whoever polls us has a budget, which would never be filled up again.
    let mut act = std::pin::pin!(tokio::task::unconstrained(act));
    loop {
        match act.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

#[async_trait]
impl Catalog for CrashingCatalog {
    async fn attr(&self, node: NodeId) -> Result<Option<Attr>, CatalogError> {
        self.read(self.inner.attr(node)).await
    }

    async fn lookup(&self, parent: NodeId, name: &Name) -> Result<Option<Attr>, CatalogError> {
        self.read(self.inner.lookup(parent, name)).await
    }

    async fn list(
        &self,
        dir: NodeId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Listed>, CatalogError> {
        self.read(self.inner.list(dir, after, limit)).await
    }

    async fn path(&self, node: NodeId) -> Result<Option<Vec<Name>>, CatalogError> {
        self.read(self.inner.path(node)).await
    }

    async fn parent(&self, dir: NodeId) -> Result<NodeId, CatalogError> {
        self.read(self.inner.parent(dir)).await
    }

    async fn read_link(&self, node: NodeId) -> Result<Vec<u8>, CatalogError> {
        self.read(self.inner.read_link(node)).await
    }

    async fn xattrs(&self, node: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>, CatalogError> {
        self.read(self.inner.xattrs(node)).await
    }

    async fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>, CatalogError> {
        self.read(self.inner.xattr(node, name)).await
    }

    async fn current(&self, node: NodeId) -> Result<(Attr, Option<Version>), CatalogError> {
        self.read(self.inner.current(node)).await
    }

    async fn open(
        &self,
        node: NodeId,
        entry: AuditEntry,
        durability: Durability,
    ) -> Result<(Attr, Option<Version>), CatalogError> {
        if self.outside.is_some() {
            return self.write(self.inner.open(node, entry, durability)).await;
        }
        let (attr, version) = self.current(node).await?;
        if attr.kind == NodeKind::File {
            let entry = entry.of_version(attr.version);
            self.record(vec![entry], durability).await?;
        }
        Ok((attr, version))
    }

    async fn version(
        &self,
        document: FileId,
        number: VersionNo,
    ) -> Result<Option<Version>, CatalogError> {
        self.read(self.inner.version(document, number)).await
    }

    async fn history(&self, document: FileId) -> Result<Vec<Version>, CatalogError> {
        self.read(self.inner.history(document)).await
    }

    async fn extent(&self, extent: ExtentId) -> Result<Option<ExtentRecord>, CatalogError> {
        self.read(self.inner.extent(extent)).await
    }

    async fn extents(
        &self,
        after: Option<ExtentId>,
        limit: usize,
    ) -> Result<Vec<ExtentRecord>, CatalogError> {
        self.read(self.inner.extents(after, limit)).await
    }

    async fn owed(
        &self,
        after: Option<ExtentId>,
        limit: usize,
    ) -> Result<Vec<ExtentRecord>, CatalogError> {
        self.read(self.inner.owed(after, limit)).await
    }

    async fn user_of(
        &self,
        extent: ExtentId,
    ) -> Result<Option<(Option<NodeId>, FileId, VersionNo)>, CatalogError> {
        self.read(self.inner.user_of(extent)).await
    }

    async fn documents_of(&self, extent: ExtentId) -> Result<Vec<FileId>, CatalogError> {
        self.read(self.inner.documents_of(extent)).await
    }

    async fn unsettled(&self, limit: usize) -> Result<Vec<Version>, CatalogError> {
        self.read(self.inner.unsettled(limit)).await
    }

    async fn intents(&self) -> Result<Vec<Intent>, CatalogError> {
        self.read(self.inner.intents()).await
    }

    async fn lapsed(&self) -> Result<Vec<Intent>, CatalogError> {
        self.read(self.inner.lapsed()).await
    }

    async fn usage(&self) -> Result<Usage, CatalogError> {
        self.read(self.inner.usage()).await
    }

    async fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, CatalogError> {
        self.read(self.inner.audit(after, limit)).await
    }

    async fn create(
        &self,
        parent: NodeId,
        name: &Name,
        new: NewNode,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(self.inner.create(parent, name, new, write))
            .await
    }

    async fn link(
        &self,
        node: NodeId,
        parent: NodeId,
        name: &Name,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(self.inner.link(node, parent, name, write)).await
    }

    async fn unlink(
        &self,
        parent: NodeId,
        name: &Name,
        open: &[NodeId],
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(self.inner.unlink(parent, name, open, write))
            .await
    }

    async fn rmdir(&self, parent: NodeId, name: &Name, write: Write) -> Result<(), CatalogError> {
        self.write(self.inner.rmdir(parent, name, write)).await
    }

    async fn rename(
        &self,
        from: (NodeId, &Name),
        to: (NodeId, &Name),
        mode: RenameMode,
        open: &[NodeId],
        write: Write,
    ) -> Result<Renamed, CatalogError> {
        self.write(self.inner.rename(from, to, mode, open, write))
            .await
    }

    async fn succeed(
        &self,
        node: NodeId,
        document: FileId,
        spare: FileId,
        write: Write,
    ) -> Result<Vec<Attr>, CatalogError> {
        self.write(self.inner.succeed(node, document, spare, write))
            .await
    }

    async fn set_attr(
        &self,
        node: NodeId,
        change: &AttrChange,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(self.inner.set_attr(node, change, write)).await
    }

    async fn set_xattr(
        &self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        write: Write,
    ) -> Result<(), CatalogError> {
        self.write(self.inner.set_xattr(node, name, value, mode, write))
            .await
    }

    async fn remove_xattr(
        &self,
        node: NodeId,
        name: &[u8],
        write: Write,
    ) -> Result<(), CatalogError> {
        self.write(self.inner.remove_xattr(node, name, write)).await
    }

    async fn forget(&self, node: NodeId) -> Result<(), CatalogError> {
        self.write(self.inner.forget(node)).await
    }

    async fn forget_nameless(&self) -> Result<u64, CatalogError> {
        self.write(self.inner.forget_nameless()).await
    }

    async fn begin_save(&self, intent: &Intent, lease: Duration) -> Result<(), CatalogError> {
        self.write(self.inner.begin_save(intent, lease)).await
    }

    async fn begin_save_of(
        &self,
        node: NodeId,
        intent: &Intent,
        lease: Duration,
    ) -> Result<Option<About>, CatalogError> {
        if self.outside.is_some() {
            let begun = self.inner.begin_save_of(node, intent, lease);
            return self.write(begun).await;
        }
        let (about, ()) =
            futures_util::future::try_join(self.about(node), self.begin_save(intent, lease))
                .await?;
        Ok(about)
    }

    async fn extend_save(
        &self,
        save: SaveId,
        extents: &[(ExtentId, Generation)],
        lease: Duration,
    ) -> Result<(), CatalogError> {
        self.write(self.inner.extend_save(save, extents, lease))
            .await
    }

    async fn commit_save(
        &self,
        node: NodeId,
        base: Option<ExtentId>,
        commit: Commit,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(self.inner.commit_save(node, base, commit, write))
            .await
    }

    async fn commit_new(
        &self,
        parent: NodeId,
        name: &Name,
        new: NewNode,
        commit: Commit,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(self.inner.commit_new(parent, name, new, commit, write))
            .await
    }

    async fn claim_save(
        &self,
        save: SaveId,
        claimant: SaveId,
        lease: Duration,
    ) -> Result<Option<Intent>, CatalogError> {
        self.write(self.inner.claim_save(save, claimant, lease))
            .await
    }

    async fn end_save(&self, save: SaveId) -> Result<bool, CatalogError> {
        self.write(self.inner.end_save(save)).await
    }

    async fn settle(&self, versions: &[(FileId, VersionNo)]) -> Result<(), CatalogError> {
        self.write(self.inner.settle(versions)).await
    }

    async fn revert(
        &self,
        document: FileId,
        version: VersionNo,
        write: Write,
    ) -> Result<VersionNo, CatalogError> {
        self.write(self.inner.revert(document, version, write))
            .await
    }

    async fn change_owed(
        &self,
        changes: &[OwedChange],
    ) -> Result<Vec<Option<IndexSet>>, CatalogError> {
        self.write(self.inner.change_owed(changes)).await
    }

    async fn generations(&self) -> Result<Generations, CatalogError> {
        self.read(self.inner.generations()).await
    }

    async fn set_generations(
        &self,
        before: Generations,
        after: Generations,
        write: Write,
    ) -> Result<(), CatalogError> {
        self.write(self.inner.set_generations(before, after, write))
            .await
    }

    async fn regenerate(
        &self,
        save: SaveId,
        made: &[Regenerated],
        waste: SaveId,
        lease: Duration,
        write: Write,
    ) -> Result<Intent, CatalogError> {
        self.write(self.inner.regenerate(save, made, waste, lease, write))
            .await
    }

    async fn record(
        &self,
        entries: Vec<AuditEntry>,
        durability: Durability,
    ) -> Result<(), CatalogError> {
        self.write(self.inner.record(entries, durability)).await
    }

    async fn sync(&self) -> Result<(), CatalogError> {
        self.write(self.inner.sync()).await
    }

    async fn changes(&self, limit: usize) -> Result<Changes, CatalogError> {
        self.read(self.inner.changes(limit)).await
    }

    async fn rows(&self, after: Option<RowKey>, limit: usize) -> Result<Vec<Row>, CatalogError> {
        self.read(self.inner.rows(after, limit)).await
    }

    async fn journal(&self) -> Result<JournalState, CatalogError> {
        self.read(self.inner.journal()).await
    }

    async fn journalled(
        &self,
        segments: Segments,
        durability: Durability,
    ) -> Result<Waste, CatalogError> {
        self.write(self.inner.journalled(segments, durability))
            .await
    }

    async fn decide(&self, write: Write) -> Result<(), CatalogError> {
        self.write(self.inner.decide(write)).await
    }

    async fn restore(
        &self,
        rows: Box<dyn Iterator<Item = Restored> + Send>,
        resume: Resume,
    ) -> Result<(), CatalogError> {
        self.write(self.inner.restore(rows, resume)).await
    }

    fn sessions(&self) -> Option<&dyn Sessions> {
        self.inner.sessions().is_some().then_some(self)
    }
}

//! `flush` and `fsync`: from changed contents in RAM to a version that is current.
//!
//! 1. An intent row says which extents may appear on servers.
//! 2. What changed is dealt, under the file's read lock: nobody changes it meanwhile, so the version is of one moment.
//! 3. The shares are put on all servers at once.
//! 4. `commit_save` makes the version current, provided that the version it is based on still is: the single switch.
//!
//! Cut off before the switch, the old version is current and the intent tells a sweep what to remove. Cut off after it,
//! the new version is. Large files are not all in RAM at once: extents that a program is done with are sent early (steps 1
//! to 3 for one extent), and the save sends what is left.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{TryStreamExt, stream};
use tokio::sync::OwnedRwLockReadGuard;
use warifu_core::format::{self, ExtentKind};
use warifu_core::head::{Content, Head};
use warifu_core::ids::{ExtentId, VersionNo};
use warifu_core::secret::SecretBytes;

use super::EXTENT;
use super::contents::span;
use super::plain::Plain;
use super::state::{FileState, OpenFile, Slot};
use crate::context::{Act, Context};
use crate::dealing::{self, Dealt, Purpose, Put};
use crate::error::{Result, ServerFault, VaultError};
use crate::node::Attr;
use crate::seam::catalog::{CatalogError, Commit, Durability, ExtentRecord, Intent, SaveId, Write};
use crate::seam::clock::Timestamp;
use crate::vault::Inner;
use crate::vault::settle::Unsettled;

/// How many changed extents a save deals at one moment. More than these are sent before, a few at a time.
const AT_ONCE: usize = 4;

/// How many extents of a file are sent at the same time.
const IN_FLIGHT: usize = 3;

/// What a save found at its moment, dealt and ready to be put.
struct Snapshot {
    stamp: u64,
    size: u64,
    mtime: Timestamp,
    head: Option<ExtentId>,
    layout: Vec<Option<ExtentId>>,
    /// The stamps of the buffers that this save stores, to tell later whether they changed meanwhile.
    stamps: HashMap<u64, u64>,
    /// Where the contents lay before; a place that changed meanwhile is left as it is.
    slots_before: Vec<Slot>,
    /// Where they lie once it is committed.
    slots: Vec<Slot>,
    dealt: Vec<Dealt>,
}

/// A moment at which a save can be made, or what must be fetched first.
enum Moment {
    Clean,
    Missing(u64),
    Ready(OwnedRwLockReadGuard<FileState>),
}

impl Inner {
    /// Saves what is not saved. When it returns, the version is on enough servers; with [`Durability::Now`] it is also on
    /// their disks and in the catalogue's.
    pub(crate) async fn save(self: &Arc<Self>, ctx: &Context, file: &Arc<OpenFile>, durability: Durability) -> Result<()> {
        if file.frozen {
            return Ok(());
        }
        let _saving = file.saving.write().await;
        self.send_surplus(file).await?;
        let guard = loop {
            match moment(file).await {
                Moment::Clean if durability == Durability::Now => return self.settle_now().await,
                Moment::Clean => return Ok(()),
                Moment::Missing(number) => self.load(file, number).await?,
                Moment::Ready(guard) => break guard,
            }
        };
        let (document, version) = (guard.document, VersionNo(guard.version.0.saturating_add(1)));
        let has_fresh = !guard.fresh.is_empty();
        let now = self.clock.now();
        let head = self.head_of(ctx, file, &guard, version, now).await?;
        let purpose =
            Purpose { vault: self.vault, document, version, kind: ExtentKind::Data, number: 0 };
        let servers = Arc::clone(&self.servers);
        let mut snapshot = dealing::deal_off_task(move || take_snapshot(&servers, &guard, purpose, head)).await?;

        let extents: Vec<_> = snapshot.dealt.iter().map(|dealt| dealt.record.extent).collect();
        self.announce(file, &extents).await?;
        // Extents sent early were not made durable then, so a durable save ends with a sync of everything.
        let at_put = if has_fresh { Durability::Soon } else { durability };
        let dealt = std::mem::take(&mut snapshot.dealt);
        let puts: Vec<Put> = futures_util::future::join_all(
            dealt.into_iter().map(|dealt| dealing::put(&self.servers, dealt, at_put, self.options.patience)),
        )
        .await;
        let stored = self.judge(file, &puts).await;
        let unsafe_on = match stored {
            Ok(()) if durability == Durability::Now && has_fresh => dealing::sync(&self.servers, self.options.patience).await,
            Ok(()) => dealing::Unsafe::default(),
            Err(error) => {
                self.give_up(file, puts).await;
                return Err(error);
            }
        };
        let (commit, pending) = self.commit_of(ctx, file, &snapshot, puts, &unsafe_on, durability, now).await?;
        let attr = self.switch(ctx, file, commit.clone(), durability, now).await?;
        self.settle_in(file, snapshot, &attr, &commit, durability).await;
        self.watch(file, pending);
        self.discard_waste(file).await;
        Ok(())
    }

    /// Sends changed extents until only a few are left.
    async fn send_surplus(self: &Arc<Self>, file: &Arc<OpenFile>) -> Result<()> {
        // A program that goes on writing could keep this going for ever; the moment of the save ends it.
        for _ in 0..3 {
            let dirty = {
                let state = file.state.read().await;
                if state.unlinked { Vec::new() } else { state.dirty_extents() }
            };
            if dirty.len() <= AT_ONCE {
                return Ok(());
            }
            stream::iter(dirty.into_iter().map(Ok))
                .try_for_each_concurrent(IN_FLIGHT, |number| self.send(file, number))
                .await?;
        }
        Ok(())
    }

    /// Sends an extent while the program goes on; what comes of it shows at the save.
    pub(crate) fn send_early(self: &Arc<Self>, file: &Arc<OpenFile>, number: u64) {
        let (inner, file) = (Arc::clone(self), Arc::clone(file));
        tokio::spawn(async move {
            let _slot = inner.early.acquire().await;
            let _shared = file.saving.read().await;
            if let Err(error) = inner.send(&file, number).await {
                tracing::debug!(%error, "an extent could not be sent early");
            }
            file.state.write().await.sending.remove(&number);
        });
    }

    /// Deals one changed extent and puts it on the servers, for the save to commit. The caller holds `file.saving`.
    pub(crate) async fn send(self: &Arc<Self>, file: &Arc<OpenFile>, number: u64) -> Result<()> {
        let guard = Arc::clone(&file.state).read_owned().await;
        let Some(plain) = guard.buffers.get(&number).filter(|plain| plain.dirty) else { return Ok(()) };
        let stamp = plain.stamp;
        let purpose = Purpose {
            vault: self.vault,
            document: guard.document,
            version: VersionNo(guard.version.0.saturating_add(1)),
            kind: ExtentKind::Data,
            number,
        };
        let servers = Arc::clone(&self.servers);
        let dealt = dealing::deal_off_task(move || match guard.buffers.get(&number) {
            Some(plain) => deal_data(&servers, purpose, plain),
            None => Ok(None),
        })
        .await?;
        let Some(dealt) = dealt else {
            let mut state = file.state.write().await;
            if state.buffers.get(&number).is_some_and(|plain| plain.stamp == stamp) {
                state.buffers.remove(&number);
                state.set_slot(number, Slot::Hole);
            }
            return Ok(());
        };
        let extent = dealt.record.extent;
        self.announce(file, &[extent]).await?;
        let put = dealing::put(&self.servers, dealt, Durability::Soon, self.options.patience).await;
        if let Err(error) = self.judge(file, std::slice::from_ref(&put)).await {
            self.give_up(file, vec![put]).await;
            return Err(error);
        }
        {
            let mut state = file.state.write().await;
            let unchanged = match state.buffers.get_mut(&number) {
                Some(plain) if plain.stamp == stamp => {
                    plain.dirty = false;
                    true
                }
                _ => false,
            };
            if unchanged {
                state.fresh.insert(extent, put.record.clone());
                state.set_slot(number, Slot::Fresh(extent));
            } else {
                state.waste.push((extent, put.record.generation));
            }
        }
        self.watch(file, vec![put]);
        Ok(())
    }

    /// Writes down that objects of these extents may appear on servers.
    async fn announce(&self, file: &OpenFile, extents: &[ExtentId]) -> Result<()> {
        if extents.is_empty() {
            return Ok(());
        }
        let extents: Vec<_> = extents.iter().map(|extent| (*extent, self.servers.generation)).collect();
        let lease_until = self.lease();
        let mut intent = file.intent.lock().await;
        match *intent {
            Some(save) => Ok(self.catalog.extend_save(save, &extents, lease_until).await?),
            None => {
                let save = SaveId::fresh()?;
                self.catalog.begin_save(&Intent { save, extents, lease_until }).await?;
                *intent = Some(save);
                Ok(())
            }
        }
    }

    pub(crate) fn lease(&self) -> Timestamp {
        let now = self.clock.now();
        let secs = i64::try_from(self.options.save_lease.as_secs()).unwrap_or(i64::MAX);
        Timestamp { secs: now.secs.saturating_add(secs), nanos: now.nanos }
    }

    /// Whether every extent is on at least k servers.
    async fn judge(&self, file: &OpenFile, puts: &[Put]) -> Result<()> {
        let k = usize::from(self.servers.threshold.k());
        match puts.iter().find(|put| put.stored() < k) {
            None => Ok(()),
            Some(put) => Err(self.not_stored(file, put.stored(), put.faults.clone()).await),
        }
    }

    async fn not_stored(&self, file: &OpenFile, got: usize, faults: Vec<ServerFault>) -> VaultError {
        // Room is to blame when, had the full servers had some, enough would have taken the share.
        let full = faults.iter().filter(|fault| fault.fault == crate::error::Fault::Full).count();
        let needed = self.servers.threshold.k();
        VaultError::NotStored {
            file: self.path_text(file.node).await,
            needed,
            got: u8::try_from(got).unwrap_or(u8::MAX),
            full: full > 0 && got + full >= usize::from(needed),
            faults,
        }
    }

    /// After a save that failed: what did reach servers is waste, and the file keeps its changes.
    async fn give_up(self: &Arc<Self>, file: &OpenFile, puts: Vec<Put>) {
        let mut state = file.state.write().await;
        state.waste.extend(puts.iter().map(|put| (put.record.extent, put.record.generation)));
    }

    /// The head's metadata; its list of extents is filled in when the contents are dealt.
    async fn head_of(&self, ctx: &Context, file: &OpenFile, state: &FileState, version: VersionNo, now: Timestamp) -> Result<Head> {
        let attr = match self.catalog.attr(state.target).await? {
            Some(attr) => attr,
            // Removed elsewhere meanwhile: the save will find that out, and keeps a copy.
            None => Attr::unknown(file.node, now),
        };
        let path = self.catalog.path(state.target).await?.unwrap_or_default();
        let xattrs = match self.catalog.xattrs(state.target).await {
            Ok(xattrs) => xattrs,
            Err(CatalogError::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(Head {
            path: path.iter().map(|name| name.as_bytes().to_vec()).collect(),
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            atime: attr.atime,
            mtime: state.mtime,
            ctime: now,
            btime: attr.btime,
            size: state.size,
            version,
            base: state.head,
            author: ctx.actor.clone(),
            host: ctx.host.clone(),
            saved_at: now,
            xattrs,
            content: Content::Inline,
        })
    }

    /// Gathers what the switch needs, and the puts that are not over.
    #[allow(clippy::too_many_arguments)]
    async fn commit_of(
        &self,
        ctx: &Context,
        file: &OpenFile,
        snapshot: &Snapshot,
        puts: Vec<Put>,
        unsafe_on: &dealing::Unsafe,
        durability: Durability,
        now: Timestamp,
    ) -> Result<(Commit, Vec<Put>)> {
        let mut dealt: Vec<ExtentRecord> = puts.iter().map(|put| put.record.clone()).collect();
        {
            let state = file.state.read().await;
            let used = snapshot.layout.iter().flatten();
            dealt.extend(used.filter_map(|extent| state.fresh.get(extent)).cloned());
        }
        let k = usize::from(self.servers.threshold.k());
        for record in &mut dealt {
            for index in unsafe_on.indices.iter() {
                record.owed.insert(index);
            }
            let safe = dealing::stored_indices(record).count();
            if safe < k {
                return Err(self.not_stored(file, safe, unsafe_on.faults.clone()).await);
            }
        }
        // Where nothing was ever put, there is no intent yet: an empty file is saved by the switch alone.
        let save = match *file.intent.lock().await {
            Some(save) => save,
            None => SaveId::NIL,
        };
        let commit = Commit {
            save,
            size: snapshot.size,
            mtime: snapshot.mtime,
            saved_at: now,
            author: ctx.actor.clone(),
            host: ctx.host.clone(),
            head: snapshot.head,
            layout: snapshot.layout.clone(),
            dealt,
            settled: durability == Durability::Now || snapshot.head.is_none(),
        };
        Ok((commit, puts))
    }

    /// The single switch.
    async fn switch(self: &Arc<Self>, ctx: &Context, file: &Arc<OpenFile>, mut commit: Commit, durability: Durability, now: Timestamp) -> Result<Attr> {
        let (target, base) = {
            let state = file.state.read().await;
            (state.target, state.head)
        };
        if commit.save == SaveId::NIL {
            commit.save = SaveId::fresh()?;
            let intent = Intent { save: commit.save, extents: Vec::new(), lease_until: self.lease() };
            self.catalog.begin_save(&intent).await?;
        }
        let write = Write { audit: ctx.entry(Act::Save, Some(target), format!("{} bytes", commit.size), now), durability };
        let outcome = match self.catalog.commit_save(target, base, commit.clone(), write).await {
            Err(CatalogError::Conflict { .. }) => self.keep_copy(ctx, file, commit, durability, now).await,
            Err(CatalogError::NotFound { .. }) => self.keep_copy(ctx, file, commit, durability, now).await,
            Err(CatalogError::Lapsed) => {
                // What was sent may be swept: everything has to be dealt again.
                self.forget_sent(file).await;
                Err(VaultError::Lapsed)
            }
            other => Ok(other?),
        };
        if outcome.is_ok() {
            *file.intent.lock().await = None;
        }
        outcome
    }

    /// After a lapse: what was sent early counts as never sent.
    async fn forget_sent(self: &Arc<Self>, file: &Arc<OpenFile>) {
        *file.intent.lock().await = None;
        let sent: Vec<u64> = {
            let state = file.state.read().await;
            let slots = state.slots.iter().enumerate();
            slots.filter(|(_, slot)| matches!(slot, Slot::Fresh(_))).map(|(number, _)| number as u64).collect()
        };
        for number in sent {
            // As long as the objects are there, they can be read back and dealt once more.
            if self.load(file, number).await.is_err() {
                continue;
            }
            let mut state = file.state.write().await;
            if let Some(plain) = state.buffers.get_mut(&number) {
                plain.dirty = true;
            }
        }
    }

    /// Takes the committed version as the file's base, except where the program has written meanwhile.
    async fn settle_in(self: &Arc<Self>, file: &OpenFile, snapshot: Snapshot, attr: &Attr, commit: &Commit, durability: Durability) {
        let mut state = file.state.write().await;
        state.version = attr.version;
        state.document = attr.document;
        state.head = snapshot.head;
        for (number, stamp) in &snapshot.stamps {
            if let Some(plain) = state.buffers.get_mut(number) {
                plain.dirty &= plain.stamp != *stamp;
            }
        }
        for (number, slot) in snapshot.slots.iter().enumerate() {
            let before = snapshot.slots_before.get(number).copied().unwrap_or(Slot::Hole);
            let number = number as u64;
            let buffered = snapshot.stamps.contains_key(&number) && state.buffers.contains_key(&number);
            if number < state.extents() && (buffered || state.slot(number) == before) {
                state.set_slot(number, *slot);
            }
        }
        let extents = state.extents();
        state.slots.truncate(usize::try_from(extents).unwrap_or(usize::MAX));
        if state.stamp == snapshot.stamp {
            state.dirty = false;
        }
        let used: std::collections::HashSet<_> = commit.layout.iter().flatten().collect();
        let unused: Vec<_> = state.fresh.drain().filter(|(extent, _)| !used.contains(extent)).collect();
        state.waste.extend(unused.into_iter().map(|(extent, record)| (extent, record.generation)));
        drop(state);
        if durability == Durability::Soon && snapshot.head.is_some() {
            self.note_unsettled(Unsettled {
                document: attr.document,
                version: attr.version,
                extents: commit.dealt.iter().map(|record| record.extent).collect(),
            });
        }
    }

    /// Counts the answers that come after a save: they pay what it owed.
    fn watch(self: &Arc<Self>, file: &Arc<OpenFile>, puts: Vec<Put>) {
        for put in puts.into_iter().filter(Put::is_pending) {
            let (inner, file) = (Arc::clone(self), Arc::clone(file));
            tokio::spawn(async move {
                let extent = put.record.extent;
                let owed = put.late().await;
                // Not in the middle of a save, which may be about to commit the extent as owed.
                let _shared = file.saving.read().await;
                let mut state = file.state.write().await;
                if let Some(record) = state.fresh.get_mut(&extent) {
                    record.owed = owed;
                    return;
                }
                drop(state);
                if let Err(error) = inner.catalog.set_owed(extent, owed).await {
                    tracing::debug!(%error, "a late answer could not be noted");
                }
            });
        }
    }

    /// Removes the objects of extents that turned out to be of no use. The caller holds `file.saving`.
    pub(crate) async fn discard_waste(self: &Arc<Self>, file: &OpenFile) {
        let waste = std::mem::take(&mut file.state.write().await.waste);
        if waste.is_empty() {
            return;
        }
        let inner = Arc::clone(self);
        tokio::spawn(async move { inner.discard_extents(waste).await });
    }

    /// Gives up a save for good: removes everything that was sent for it.
    pub(crate) async fn abandon(self: &Arc<Self>, file: &OpenFile) {
        let save = file.intent.lock().await.take();
        {
            let mut state = file.state.write().await;
            let sent: Vec<_> = state.fresh.drain().map(|(extent, record)| (extent, record.generation)).collect();
            state.waste.extend(sent);
        }
        self.discard_waste(file).await;
        if let Some(save) = save
            && let Err(error) = self.catalog.end_save(save).await
        {
            tracing::debug!(%error, "an intent stays until its lease ends");
        }
    }
}

/// Waits for a moment at which the file can be saved.
async fn moment(file: &OpenFile) -> Moment {
    let guard = Arc::clone(&file.state).read_owned().await;
    if !guard.dirty || guard.unlinked {
        return Moment::Clean;
    }
    let first_absent = guard.size > 0 && !guard.buffers.contains_key(&0);
    let must_move = guard.slot(0) == Slot::InHead;
    if first_absent && must_move { Moment::Missing(0) } else { Moment::Ready(guard) }
}

/// Deals the extent's contents; `None` for zeros, which are kept nowhere.
fn deal_data(servers: &crate::servers::Servers, purpose: Purpose, plain: &Plain) -> Result<Option<Dealt>> {
    if plain.is_zero() {
        return Ok(None);
    }
    let contents = plain.contents();
    let len = padded(contents.len())?;
    let extent = ExtentId::fresh()?;
    if len == contents.len() {
        return dealing::deal(servers, purpose, extent, contents).map(Some);
    }
    let mut secret = SecretBytes::with_len(len);
    if let Some(place) = secret.expose_mut().get_mut(..contents.len()) {
        place.copy_from_slice(contents);
    }
    dealing::deal(servers, purpose, extent, secret.expose()).map(Some)
}

fn padded(len: usize) -> Result<usize> {
    usize::try_from(format::bucket(len as u64)).map_err(|_| VaultError::TooLarge { size: len as u64, limit: super::FILE_MAX })
}

/// Deals everything that a save stores, as of this moment.
fn take_snapshot(servers: &crate::servers::Servers, state: &FileState, purpose: Purpose, mut head: Head) -> Result<Snapshot> {
    let mut snapshot = Snapshot {
        stamp: state.stamp,
        size: state.size,
        mtime: state.mtime,
        head: None,
        layout: Vec::new(),
        stamps: HashMap::new(),
        slots_before: state.slots.clone(),
        slots: Vec::new(),
        dealt: Vec::new(),
    };
    if state.size == 0 {
        return Ok(snapshot);
    }
    let first = state.buffers.get(&0);
    let inline = state.size <= EXTENT && first.is_none_or(|plain| plain.dirty || state.slot(0) == Slot::InHead)
        && !matches!((first, state.slot(0)), (None, Slot::Stored(_) | Slot::Fresh(_)));
    if !inline {
        for number in 0..state.extents() {
            let dealt = match state.buffers.get(&number) {
                Some(plain) if plain.dirty || state.slot(number) == Slot::InHead => {
                    snapshot.stamps.insert(number, plain.stamp);
                    deal_data(servers, Purpose { number, ..purpose }, plain)?
                }
                _ => {
                    let (kept, slot) = match state.slot(number) {
                        Slot::Stored(extent) | Slot::Fresh(extent) => (Some(extent), Slot::Stored(extent)),
                        Slot::Hole | Slot::InHead => (None, Slot::Hole),
                    };
                    snapshot.layout.push(kept);
                    snapshot.slots.push(slot);
                    continue;
                }
            };
            let extent = dealt.as_ref().map(|dealt| dealt.record.extent);
            snapshot.layout.push(extent);
            snapshot.slots.push(extent.map_or(Slot::Hole, Slot::Stored));
            snapshot.dealt.extend(dealt);
        }
        let extent_size = u32::try_from(EXTENT).unwrap_or(u32::MAX);
        head.content = Content::Extents { extent_size, list: snapshot.layout.clone() };
    } else {
        snapshot.slots.push(Slot::InHead);
        snapshot.stamps.extend(first.map(|plain| (0, plain.stamp)));
    }
    let records = head.encode();
    let contents = if inline { span(state.size, 0) } else { 0 };
    let mut secret = SecretBytes::with_len(padded(records.len() + contents)?);
    let (front, back) = secret.expose_mut().split_at_mut_checked(records.len()).unwrap_or_default();
    front.copy_from_slice(&records);
    if let (true, Some(plain), Some(place)) = (inline, first, back.get_mut(..contents)) {
        plain.read(0, place);
    }
    let extent = ExtentId::fresh()?;
    let purpose = Purpose { kind: ExtentKind::Head, number: 0, ..purpose };
    snapshot.dealt.push(dealing::deal(servers, purpose, extent, secret.expose())?);
    snapshot.head = Some(extent);
    Ok(snapshot)
}

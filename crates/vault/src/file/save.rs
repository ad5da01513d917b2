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

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{TryStreamExt, stream};
use tokio::sync::OwnedRwLockReadGuard;
use warifu_core::format::ExtentKind;
use warifu_core::head::{Content, Head};
use warifu_core::ids::{ExtentId, Generation, Threshold, VersionNo};

use super::plain::Plain;
use super::snapshot::{Moment, deal_data, fresh_extents, moment, take_snapshot};
use super::state::{Attempt, Doubt, FileState, OpenFile, Slot};
use crate::context::Context;
use crate::dealing::{self, Purpose, Put};
use crate::error::{Result, ServerFault, VaultError};
use crate::folders::dealt_by;
use crate::node::{Attr, NodeId};
use crate::seam::catalog::{About, Durability, Intent, SaveId};
use crate::seam::clock::Timestamp;
use crate::vault::Inner;

/// How many changed extents a save deals at one moment. More than these are sent before, a few at a time.
const AT_ONCE: usize = 4;

/// How often a save asks for what it needs without holding up who writes.
const ROUNDS: u32 = 3;

/// How many extents of a file are sent at the same time.
const IN_FLIGHT: usize = 3;

/// A moment at which everything is ready for the contents to be dealt.
struct Prepared {
    /// Nobody can change them until it goes.
    guard: OwnedRwLockReadGuard<FileState>,
    /// The head's metadata.
    head: Head,
    /// The extents to be dealt. They are announced.
    extents: Vec<ExtentId>,
    /// The generation in which they are announced, and to be dealt.
    generation: Generation,
    /// What the folder asks for in which the file is.
    asked: Option<Threshold>,
}

impl Inner {
    /// Saves what is not saved. When it returns, the version is on enough servers; with [`Durability::Now`] it is also on
    /// their disks and in the catalogue's.
    pub(crate) async fn save(
        self: &Arc<Self>,
        ctx: &Context,
        file: &Arc<OpenFile>,
        durability: Durability,
    ) -> Result<()> {
        self.patiently(|| self.save_once(ctx, file, durability))
            .await
    }

    /// The same without waiting for a catalogue that does not answer.
    pub(crate) async fn save_once(
        self: &Arc<Self>,
        ctx: &Context,
        file: &Arc<OpenFile>,
        durability: Durability,
    ) -> Result<()> {
        if file.frozen {
            return Ok(());
        }
        let _saving = file.saving.write().await;
        match self.save_alone(ctx, file, durability).await {
            // This machine may have slept, and another one swept what had been sent.
            Err(VaultError::Lapsed) => {
                self.forget_sent(file).await;
                self.save_alone(ctx, file, durability).await
            }
            other => other,
        }
    }

    /// The caller holds `file.saving`.
    async fn save_alone(
        self: &Arc<Self>,
        ctx: &Context,
        file: &Arc<OpenFile>,
        durability: Durability,
    ) -> Result<()> {
        self.resolve_doubt(file).await?;
        if durability == Durability::Now {
            self.settle_what_stays(file).await?;
        }
        self.send_surplus(file).await?;
        let now = self.clock.now();
        let Some(prepared) = self.prepared(ctx, file, now).await? else {
            return match durability {
                Durability::Now => {
                    let head = file.state.read().await.head;
                    self.settle_head(head).await
                }
                Durability::Soon => Ok(()),
            };
        };
        let Prepared {
            guard,
            head,
            extents,
            generation,
            asked,
        } = prepared;
        let (document, version) = (guard.document, head.version);
        let has_fresh = !guard.fresh.is_empty();
        let purpose = Purpose {
            vault: self.vault,
            document,
            version,
            kind: ExtentKind::Data,
            number: 0,
            scheme: self.options.scheme,
            generation,
            asked,
        };
        let servers = Arc::clone(&self.servers);
        let changed = guard.buffers.values().filter(|plain| plain.dirty);
        let len = changed.map(Plain::len).sum();
        let mut snapshot = dealing::deal_off_task(len, move || {
            take_snapshot(&servers, &guard, purpose, head, extents)
        })
        .await?;

        // Extents sent early were not made durable then, so a durable save ends with a sync of everything.
        let at_put = if has_fresh {
            Durability::Soon
        } else {
            durability
        };
        let dealt = std::mem::take(&mut snapshot.dealt);
        let puts: Vec<Put> = futures_util::future::join_all(
            dealt
                .into_iter()
                .map(|dealt| dealing::put(&self.servers, dealt, at_put, self.options.patience)),
        )
        .await;
        let puts = self.judge(file, puts).await?;
        let unsafe_on = if durability == Durability::Now && has_fresh {
            let threshold = dealt_by(asked, self.servers.threshold());
            dealing::sync(&self.servers, threshold, self.options.patience).await
        } else {
            dealing::Unsafe::default()
        };
        let stored = puts.iter().map(|put| put.record.clone()).collect();
        let (commit, waste) = self
            .commit_of(ctx, file, &snapshot, stored, &unsafe_on, durability, now)
            .await?;
        let waste = self.announce_waste(waste).await?;
        *file.doubt.lock().await = Some(Doubt {
            copy: false,
            snapshot,
            commit: commit.clone(),
            durability,
        });
        match self.switch(ctx, file, commit, durability, now).await? {
            Some(attr) => {
                self.settle_in(file, attr.document, attr.version).await;
                self.file_saved(ctx, attr.node).await;
            }
            None => {
                *file.doubt.lock().await = None;
                self.abandon(file).await;
            }
        }
        self.watch(file, puts);
        if let Some(waste) = waste {
            let inner = Arc::clone(self);
            self.tidy_up(async move { inner.remove_waste(waste).await });
        }
        Ok(())
    }

    /// Waits for the moment; `None` where there is nothing to save.
    async fn prepared(
        &self,
        ctx: &Context,
        file: &OpenFile,
        now: Timestamp,
    ) -> Result<Option<Prepared>> {
        // What is announced and what is dealt is of one generation, whatever is learnt meanwhile: the intent must name what lies on the
        // servers. Where it is an old one by the time of the switch, the next pass of the refresh makes it anew.
        let generation = self.servers.generation();
        let mut asked = None;
        let mut extents = Vec::new();
        let mut about = None;
        let mut rounds = 0;
        loop {
            let guard = match moment(file).await {
                Moment::Clean => return Ok(None),
                Moment::Missing(number) => {
                    self.load(file, number).await?;
                    continue;
                }
                Moment::Ready(guard) => guard,
            };
            let more = fresh_extents(&guard, extents.len())?;
            if let (Some(about), true) = (about.take(), more.is_empty()) {
                let head = head_of(ctx, file, &guard, about, now);
                return Ok(Some(Prepared {
                    guard,
                    head,
                    extents,
                    generation,
                    asked,
                }));
            }
            // While the catalogue is asked, who reads or writes must not wait for it; but a program that writes more and more must not keep
            // this going for ever.
            let (target, document) = (guard.target, guard.document);
            let held = (rounds >= ROUNDS).then_some(guard);
            rounds += 1;
            let named: Vec<_> = more.iter().map(|extent| (*extent, generation)).collect();
            let announced = self.announce_of(file, target, named);
            let (answer, found) =
                futures_util::future::try_join(announced, self.asked_for(document)).await?;
            asked = found;
            extents.extend(more);
            let nameless = answer.as_ref().is_some_and(|about| about.attr.nlink == 0);
            file.nameless.store(nameless, Ordering::Release);
            match held {
                Some(guard) => {
                    let head = head_of(ctx, file, &guard, answer, now);
                    return Ok(Some(Prepared {
                        guard,
                        head,
                        extents,
                        generation,
                        asked,
                    }));
                }
                None => about = Some(answer),
            }
        }
    }

    /// What a durable save leaves as it is must be as safe as what it stores.
    async fn settle_what_stays(self: &Arc<Self>, file: &OpenFile) -> Result<()> {
        let base = {
            let state = file.state.read().await;
            let stays = state
                .slots
                .iter()
                .any(|slot| matches!(slot, Slot::Stored(_)));
            (state.needs_saving() && stays).then_some((state.document, state.version))
        };
        match base {
            Some((document, version)) => self.settle_base(document, version).await,
            None => Ok(()),
        }
    }

    /// Sends changed extents until only a few are left.
    async fn send_surplus(self: &Arc<Self>, file: &Arc<OpenFile>) -> Result<()> {
        // A program that goes on writing could keep this going for ever; the moment of the save ends it.
        for _ in 0..3 {
            let dirty = {
                let state = file.state.read().await;
                if state.unlinked {
                    Vec::new()
                } else {
                    state.dirty_extents()
                }
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
                tracing::debug!(error = %error.facts(), "an extent could not be sent early");
            }
            file.state.write().await.sending.remove(&number);
        });
    }

    /// Deals one changed extent and puts it on the servers, for the save to commit. The caller holds `file.saving`.
    pub(crate) async fn send(self: &Arc<Self>, file: &Arc<OpenFile>, number: u64) -> Result<()> {
        let document = file.state.read().await.document;
        let asked = self.asked_for(document).await?;
        let guard = Arc::clone(&file.state).read_owned().await;
        let Some(plain) = guard.buffers.get(&number).filter(|plain| plain.dirty) else {
            return Ok(());
        };
        let stamp = plain.stamp;
        let purpose = Purpose {
            vault: self.vault,
            document: guard.document,
            version: VersionNo(guard.version.0.saturating_add(1)),
            kind: ExtentKind::Data,
            number,
            scheme: self.options.scheme,
            generation: self.servers.generation(),
            asked,
        };
        let servers = Arc::clone(&self.servers);
        let dealt = dealing::deal_off_task(plain.len(), move || match guard.buffers.get(&number) {
            Some(plain) => deal_data(&servers, purpose, plain, ExtentId::fresh()?),
            None => Ok(None),
        })
        .await?;
        let Some(dealt) = dealt else {
            let mut state = file.state.write().await;
            if state
                .buffers
                .get(&number)
                .is_some_and(|plain| plain.stamp == stamp)
            {
                state.buffers.remove(&number);
                state.set_slot(number, Slot::Hole);
            }
            return Ok(());
        };
        let (extent, generation) = (dealt.record.extent, dealt.record.generation);
        self.announce(file, &[(extent, generation)]).await?;
        let put = dealing::put(
            &self.servers,
            dealt,
            Durability::Soon,
            self.options.patience,
        )
        .await;
        let puts = self.judge(file, vec![put]).await?;
        if let Some(record) = puts.first().map(|put| put.record.clone()) {
            let mut state = file.state.write().await;
            if let Some(plain) = state
                .buffers
                .get_mut(&number)
                .filter(|plain| plain.stamp == stamp)
            {
                plain.dirty = false;
                state.fresh.insert(extent, record);
                state.set_slot(number, Slot::Fresh(extent));
            }
        }
        self.watch(file, puts);
        Ok(())
    }

    /// Writes down that objects of these extents may appear on servers, and asks meanwhile for the file's metadata: no object is put before
    /// both are there. Where nothing is to be put, the switch needs an intent all the same, and would have to wait for it.
    async fn announce_of(
        &self,
        file: &OpenFile,
        target: NodeId,
        extents: Vec<(ExtentId, Generation)>,
    ) -> Result<Option<About>> {
        let lease = self.options.save_lease;
        let mut attempt = file.attempt.lock().await;
        if let Some(attempt) = attempt.as_mut() {
            let extend = async {
                match extents.is_empty() {
                    true => Ok(()),
                    false => {
                        self.catalog
                            .extend_save(attempt.save, &extents, lease)
                            .await
                    }
                }
            };
            let (about, ()) =
                futures_util::future::try_join(self.catalog.about(target), extend).await?;
            attempt.announced.extend(extents);
            return Ok(about);
        }
        let intent = Intent {
            save: SaveId::fresh()?,
            extents,
        };
        let about = self.catalog.begin_save_of(target, &intent, lease).await?;
        *attempt = Some(Attempt {
            save: intent.save,
            announced: intent.extents,
        });
        Ok(about)
    }

    /// Writes down that objects of these extents may appear on servers.
    async fn announce(&self, file: &OpenFile, extents: &[(ExtentId, Generation)]) -> Result<()> {
        let lease = self.options.save_lease;
        let mut attempt = file.attempt.lock().await;
        if let Some(attempt) = attempt.as_mut() {
            self.catalog
                .extend_save(attempt.save, extents, lease)
                .await?;
            attempt.announced.extend_from_slice(extents);
            return Ok(());
        }
        let intent = self.intend(extents.to_vec()).await?;
        *attempt = Some(Attempt {
            save: intent.save,
            announced: intent.extents,
        });
        Ok(())
    }

    /// A new intent, written down.
    pub(crate) async fn intend(&self, extents: Vec<(ExtentId, Generation)>) -> Result<Intent> {
        let intent = Intent {
            save: SaveId::fresh()?,
            extents,
        };
        let lease = self.options.save_lease;
        self.catalog.begin_save(&intent, lease).await?;
        Ok(intent)
    }

    /// Whether every extent is on at least k servers. If one is not, none is of use, and what servers took is removed: a
    /// program that tries again and again must not fill the disks of those that have room.
    async fn judge(self: &Arc<Self>, file: &OpenFile, puts: Vec<Put>) -> Result<Vec<Put>> {
        let Some(put) = puts.iter().find(|put| !put.is_enough()) else {
            return Ok(puts);
        };
        let (stored, faults) = (put.stored(), put.faults.clone());
        let needed = put.record.threshold.k();
        let waste: Vec<_> = puts
            .iter()
            .map(|put| (put.record.extent, put.record.generation))
            .collect();
        // Requests under way end here.
        drop(puts);
        // Where the catalogue does not answer, they stay with the attempt, and are removed with it.
        if let Ok(intent) = self.intend(waste).await {
            if let Some(attempt) = file.attempt.lock().await.as_mut() {
                attempt
                    .announced
                    .retain(|announced| !intent.extents.contains(announced));
            }
            let inner = Arc::clone(self);
            self.tidy_up(async move { inner.remove_waste(intent).await });
        }
        Err(self.not_stored(file, needed, stored, faults).await)
    }

    pub(super) async fn not_stored(
        &self,
        file: &OpenFile,
        needed: u8,
        got: usize,
        faults: Vec<ServerFault>,
    ) -> VaultError {
        // Room is to blame when, had the full servers had some, enough would have taken the share.
        let full = faults
            .iter()
            .filter(|fault| fault.fault == crate::error::Fault::Full)
            .count();
        VaultError::NotStored {
            file: self.path_text(file.node).await,
            needed,
            got: u8::try_from(got).unwrap_or(u8::MAX),
            full: full > 0 && got + full >= usize::from(needed),
            faults,
        }
    }

    /// After a lapse, what was sent may have been swept: as far as it can still be had, it is sent once more.
    pub(crate) async fn forget_sent(self: &Arc<Self>, file: &Arc<OpenFile>) {
        *file.attempt.lock().await = None;
        let sent: Vec<u64> = {
            let state = file.state.read().await;
            let slots = state.slots.iter().enumerate();
            slots
                .filter(|(_, slot)| matches!(slot, Slot::Fresh(_)))
                .map(|(number, _)| number as u64)
                .collect()
        };
        for number in sent {
            let loaded = self.load(file, number).await.is_ok();
            let mut state = file.state.write().await;
            if let (true, Some(plain)) = (loaded, state.buffers.get_mut(&number)) {
                plain.dirty = true;
            }
        }
        file.state.write().await.fresh.clear();
    }

    /// Counts the answers that come after a save: they pay what it owed.
    fn watch(self: &Arc<Self>, file: &Arc<OpenFile>, puts: Vec<Put>) {
        for put in puts.into_iter().filter(Put::is_pending) {
            let (inner, file) = (Arc::clone(self), Arc::clone(file));
            tokio::spawn(async move {
                let (extent, generation) = (put.record.extent, put.record.generation);
                let paid = put.late().await;
                // Not in the middle of a save, which may be about to commit the extent as owed.
                let _shared = file.saving.read().await;
                let mut state = file.state.write().await;
                if let Some(record) = state.fresh.get_mut(&extent) {
                    paid.iter().for_each(|index| record.owed.remove(index));
                    return;
                }
                drop(state);
                if let Err(error) = inner.pay(extent, generation, paid).await {
                    tracing::debug!(error = %error.facts(), "a late answer could not be noted");
                }
            });
        }
    }

    /// Gives up a save for good: removes everything that was sent for it.
    pub(crate) async fn abandon(self: &Arc<Self>, file: &OpenFile) {
        let Some(attempt) = file.attempt.lock().await.take() else {
            return;
        };
        file.state.write().await.fresh.clear();
        // A switch in doubt may have been made: then its objects are in use, and the intent is gone.
        let inner = Arc::clone(self);
        self.tidy_up(async move { inner.discard_save(attempt.save).await });
    }
}

/// The head's metadata, with what the catalogue said about the file; the list of extents is filled in when the contents are dealt.
fn head_of(
    ctx: &Context,
    file: &OpenFile,
    state: &FileState,
    about: Option<About>,
    now: Timestamp,
) -> Head {
    let (attr, path, xattrs) = match about {
        Some(about) => (about.attr, about.path, about.xattrs),
        // Removed elsewhere meanwhile: the save will find that out, and keeps a copy.
        None => (Attr::unknown(file.node, now), Vec::new(), Vec::new()),
    };
    Head {
        path: path.iter().map(|name| name.as_bytes().to_vec()).collect(),
        mode: attr.mode,
        uid: attr.uid,
        gid: attr.gid,
        atime: attr.atime,
        mtime: state.mtime,
        ctime: now,
        btime: attr.btime,
        size: state.size,
        version: VersionNo(state.version.0.saturating_add(1)),
        base: state.head,
        author: ctx.actor.clone(),
        host: ctx.host.clone(),
        saved_at: now,
        xattrs,
        content: Content::Inline,
    }
}

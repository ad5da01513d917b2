//! The single switch of a save: what it needs, what comes of it, and what is done where its answer was lost.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};

use super::plain::Plain;
use super::snapshot::Snapshot;
use super::state::{Doubt, OpenFile, Slot};
use crate::context::{Act, Context};
use crate::dealing;
use crate::error::{Result, VaultError};
use crate::node::{Attr, NodeId};
use crate::seam::catalog::{CatalogError, Commit, Durability, ExtentRecord, Intent, Write};
use crate::seam::clock::Timestamp;
use crate::vault::Inner;
use crate::vault::settle::Unsettled;

/// A version that was made: by which node it is shown, of which document it is, and its number.
type Made = (Option<NodeId>, FileId, VersionNo);

impl Inner {
    /// Gathers what the switch needs, and what was announced and is of no use.
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn commit_of(
        &self,
        ctx: &Context,
        file: &OpenFile,
        snapshot: &Snapshot,
        mut dealt: Vec<ExtentRecord>,
        unsafe_on: &dealing::Unsafe,
        durability: Durability,
        now: Timestamp,
    ) -> Result<(Commit, Vec<(ExtentId, Generation)>)> {
        {
            let state = file.state.read().await;
            let sent = snapshot.slots_before.iter().zip(&snapshot.slots);
            for (before, after) in sent {
                let (Slot::Fresh(extent), Slot::Stored(kept)) = (before, after) else {
                    continue;
                };
                if extent == kept {
                    // One that is not known any more may have been swept.
                    dealt.push(state.fresh.get(extent).cloned().ok_or(VaultError::Lapsed)?);
                }
            }
        }
        for record in &mut dealt {
            for index in unsafe_on.indices.iter() {
                record.owed.insert(index);
            }
            let safe = dealing::stored_indices(record).count();
            if safe < usize::from(record.threshold.k()) {
                let (needed, faults) = (record.threshold.k(), unsafe_on.faults.clone());
                return Err(self.not_stored(file, needed, safe, faults).await);
            }
        }
        let (save, announced) = match &*file.attempt.lock().await {
            Some(attempt) => (attempt.save, attempt.announced.clone()),
            None => (self.intend(Vec::new()).await?.save, Vec::new()),
        };
        let of_use: HashSet<ExtentId> = dealt.iter().map(|record| record.extent).collect();
        let waste = announced
            .into_iter()
            .filter(|(extent, _)| !of_use.contains(extent))
            .collect();
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
        Ok((commit, waste))
    }

    /// The switch takes the save's intent away, so what is of no use gets one of its own before.
    pub(super) async fn announce_waste(
        &self,
        waste: Vec<(ExtentId, Generation)>,
    ) -> Result<Option<Intent>> {
        if waste.is_empty() {
            Ok(None)
        } else {
            self.intend(waste).await.map(Some)
        }
    }

    /// The single switch. Returns `None` when the file was removed meanwhile.
    pub(super) async fn switch(
        self: &Arc<Self>,
        ctx: &Context,
        file: &Arc<OpenFile>,
        commit: Commit,
        durability: Durability,
        now: Timestamp,
    ) -> Result<Option<Attr>> {
        let (target, base) = {
            let state = file.state.read().await;
            (state.target, state.head)
        };
        let audit = ctx.entry(
            Act::Save,
            Some(target),
            format!("{} bytes", commit.size),
            now,
        );
        let write = Write { audit, durability };
        // Removed elsewhere, and kept there as long as it is open.
        let mut nameless = file.nameless.load(Ordering::Acquire);
        if nameless {
            nameless = !self.is_gone_here(file, target).await;
        }
        // Under locks that ended meanwhile the file is no longer this machine's to change: whoever has them now is first.
        if nameless || (target == file.node && !self.locks_hold(file.node).await?) {
            return self
                .keep_copy(ctx, file, commit, durability, now)
                .await
                .map(Some);
        }
        let switched = self
            .catalog
            .commit_save(target, base, commit.clone(), write)
            .await;
        match switched {
            Ok(attr) => Ok(Some(attr)),
            // Removed here while it was being saved: nobody will read it. Its document may go on in a file that came in its place.
            Err(CatalogError::Conflict { .. } | CatalogError::NotFound { .. })
                if self.is_gone_here(file, target).await =>
            {
                Ok(None)
            }
            Err(CatalogError::Conflict { .. } | CatalogError::NotFound { .. }) => self
                .keep_copy(ctx, file, commit, durability, now)
                .await
                .map(Some),
            Err(CatalogError::Lapsed) => {
                *file.doubt.lock().await = None;
                Err(VaultError::Lapsed)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a file that has no name was removed by this process.
    async fn is_gone_here(&self, file: &OpenFile, target: NodeId) -> bool {
        // Whoever removes it has perhaps not come to say so.
        drop(self.unnaming.write().await);
        self.gone_here.has(target) || file.state.read().await.unlinked
    }

    /// What a switch in doubt has made, if it has.
    async fn find_switch(&self, file: &OpenFile, head: Option<ExtentId>) -> Result<Option<Made>> {
        let (target, version) = {
            let state = file.state.read().await;
            (state.target, state.version)
        };
        Ok(match head {
            // Whether it is still current does not matter: somebody may have saved upon it since.
            Some(head) => self.catalog.user_of(head).await?,
            // Of an empty version nothing is stored by which it could be known again; any other empty one is as good.
            None => self
                .catalog
                .attr(target)
                .await?
                .filter(|attr| attr.head.is_none() && attr.version > version)
                .map(|attr| (Some(attr.node), attr.document, attr.version)),
        })
    }

    /// A switch whose answer was lost may have been made. Before anything else is saved, the catalogue is asked.
    pub(super) async fn resolve_doubt(self: &Arc<Self>, file: &Arc<OpenFile>) -> Result<()> {
        let (head, save, copy) = match &*file.doubt.lock().await {
            Some(doubt) => (doubt.commit.head, doubt.commit.save, doubt.copy),
            None => return Ok(()),
        };
        let mut made = self.find_switch(file, head).await?;
        if made.is_none() {
            // It may still be on its way. Whoever takes the intent ends that: it either has been made by then, or never will be.
            match self.claim(save).await? {
                Some(mine) => {
                    if let Some(attempt) = file.attempt.lock().await.as_mut()
                        && attempt.save == save
                    {
                        attempt.save = mine.save;
                    }
                }
                None => made = self.find_switch(file, head).await?,
            }
        }
        match made {
            Some((node, document, version)) => {
                if let (true, Some(node)) = (copy, node) {
                    file.state.write().await.target = node;
                }
                self.settle_in(file, document, version).await;
            }
            None => *file.doubt.lock().await = None,
        }
        Ok(())
    }

    /// Takes the committed version as the file's base, except where the program has written meanwhile.
    pub(super) async fn settle_in(
        self: &Arc<Self>,
        file: &OpenFile,
        document: FileId,
        version: VersionNo,
    ) {
        *file.attempt.lock().await = None;
        let Some(Doubt {
            snapshot,
            commit,
            durability,
            ..
        }) = file.doubt.lock().await.take()
        else {
            return;
        };
        let mut state = file.state.write().await;
        (state.version, state.document, state.head) = (version, document, snapshot.head);
        for (number, slot) in snapshot.slots.iter().enumerate() {
            let before = snapshot
                .slots_before
                .get(number)
                .copied()
                .unwrap_or(Slot::Hole);
            let number = number as u64;
            let now = state.slot(number);
            // Cut off or punched meanwhile, an extent is a hole now; that it was one before the save does not make it the same.
            let same = match snapshot.stamps.get(&number) {
                None => now == before,
                Some(stamp) => {
                    let counts = |plain: &Plain| plain.dirty || plain.stamp == *stamp;
                    state.buffers.get(&number).is_some_and(counts)
                        || (before != Slot::Hole && now == before)
                }
            };
            if same && number < state.extents() {
                state.set_slot(number, *slot);
            }
        }
        for (number, stamp) in &snapshot.stamps {
            if let Some(plain) = state.buffers.get_mut(number) {
                plain.dirty &= plain.stamp != *stamp;
            }
        }
        let extents = state.extents();
        state
            .slots
            .truncate(usize::try_from(extents).unwrap_or(usize::MAX));
        state.dirty &= state.stamp != snapshot.stamp;
        state.fresh.clear();
        drop(state);
        if durability == Durability::Soon && snapshot.head.is_some() {
            self.note_unsettled(Unsettled {
                document,
                version,
                head: snapshot.head,
                extents: commit.dealt.iter().map(|record| record.extent).collect(),
            });
        }
    }
}

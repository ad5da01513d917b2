//! What a start makes good: saves that never ended, and versions that a power cut may have swallowed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::Instant;
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};

use super::settle::Unsettled;
use super::{Inner, lock};
use crate::context::{Act, Context};
use crate::dealing;
use crate::error::{Result, VaultError};
use crate::seam::catalog::{
    CatalogError, Durability, ExtentRecord, IndexSet, Intent, OwedChange, SaveId, Version, Write,
};
use crate::servers::enough;

/// How many unsettled versions are checked at a time.
const BATCH: usize = 256;

/// How many documents are checked at once.
const AT_ONCE: usize = 16;

/// How long the rest of an extent's shares are waited for, once k are known to be whole: those of servers that are well, and
/// those of servers that lag.
const FOR_THE_REST: Duration = Duration::from_secs(1);
const LAGGARDS: Duration = Duration::from_millis(50);

/// How long a start waits for the removal of what unfinished saves left. Later sweeps remove what is left then.
const SWEEP_AT_START: Duration = Duration::from_secs(5);

/// Of how many extents a server is asked to remove the objects in one turn, and how many such turns are under way.
const REMOVED_TOGETHER: usize = 8;
const REMOVED_AT_ONCE: usize = 4;

/// A round of sweeping ends after so many extents where a server does not answer: what it holds stays to be removed, and the others
/// would be asked for it again and again.
const SWEPT_WITHOUT_ALL: usize = 2_000;

/// How many unsettled versions are looked through for those that could not be checked at the start.
const RECHECKED: usize = 100_000;

/// How long a new check of them may take while somebody waits.
const RECHECK_LIMIT: Duration = Duration::from_secs(5);

/// What became of a version that was not known to be on disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Enough shares are there and whole.
    Whole,
    /// Too few can be had, and the servers that are missing could not change that.
    Lost,
    /// Too few answered to tell.
    Unknown,
}

impl Inner {
    pub(crate) async fn recover(self: &Arc<Self>) -> Result<()> {
        self.check_unsettled().await?;
        match tokio::time::timeout(SWEEP_AT_START, self.sweep()).await {
            Ok(swept) => swept,
            // Cut off anywhere, a sweep leaves intents that the next one finds.
            Err(_) => Ok(()),
        }
    }

    /// The vault's own acts, in the audit log.
    pub(crate) fn own_context() -> Context {
        Context {
            actor: "warifu".to_owned(),
            uid: 0,
            gid: 0,
            host: String::new(),
            program: "warifu".to_owned(),
            purpose: String::new(),
        }
    }

    /// How many extents are swept in a round.
    pub(crate) fn swept_at_most(&self) -> usize {
        let mut servers = self.servers.all().iter();
        match servers.all(|server| !server.health.is_open()) && self.servers.unnamed() == 0 {
            true => usize::MAX,
            false => SWEPT_WITHOUT_ALL,
        }
    }

    /// Removes what saves whose lease has ended left on servers.
    pub(crate) async fn sweep(self: &Arc<Self>) -> Result<()> {
        let mut left = self.swept_at_most();
        for lapsed in self.catalog.lapsed().await? {
            if left == 0 {
                break;
            }
            left = left.saturating_sub(lapsed.extents.len());
            // Whoever takes the intent owns its objects: the saver, by committing, or we.
            let Some(mine) = self.claim(lapsed.save).await? else {
                continue;
            };
            let detail = format!("{} extents of an unfinished save", mine.extents.len());
            if self.remove_objects(mine).await? {
                let entry = Self::own_context().entry(Act::Sweep, None, detail, self.clock.now());
                self.catalog.record(vec![entry], Durability::Soon).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn claim(&self, save: SaveId) -> Result<Option<Intent>> {
        let claimant = SaveId::fresh()?;
        Ok(self
            .catalog
            .claim_save(save, claimant, self.options.save_lease)
            .await?)
    }

    /// Removes what was sent for a save that is given up, unless it was committed after all.
    pub(crate) async fn discard_save(&self, save: SaveId) {
        let removed = async {
            if let Some(mine) = self.claim(save).await? {
                self.remove_objects(mine).await?;
            }
            Result::Ok(())
        };
        if let Err(error) = removed.await {
            tracing::debug!(error = %error.facts(), "extents of no use stay until a sweep");
        }
    }

    /// Removes the objects of an intent that names nothing but what is of no use, and the intent.
    pub(crate) async fn remove_waste(&self, intent: Intent) {
        if let Err(error) = self.remove_objects(intent).await {
            tracing::debug!(error = %error.facts(), "extents of no use stay until a sweep");
        }
    }

    /// Removes what came to servers for an extent that the catalogue has forgotten meanwhile. Where a server does not answer, an
    /// intent remembers it for a sweep: nobody else would look for it.
    pub(crate) async fn remove_vanished(&self, extent: ExtentId, generation: Generation) {
        // That the catalogue has forgotten it, or has it in another generation now, must be on disk first: a power cut could bring back
        // the catalogue that needs it.
        if let Err(error) = self.catalog.sync().await {
            tracing::debug!(%error, "an extent of no use stays until orphans are swept");
            return;
        }
        match self.remove_unneeded(&[(extent, generation)]).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(error = %error.facts(), "an extent of no use stays until orphans are swept");
                return;
            }
        }
        if let Err(error) = self.intend(vec![(extent, generation)]).await {
            tracing::debug!(error = %error.facts(), "an extent of no use stays until orphans are swept");
        }
    }

    /// Returns whether all are gone. Where a server did not answer, the intent stays, and is swept when its lease ends.
    ///
    /// Whoever calls it has [claimed](crate::seam::catalog::Catalog::claim_save) the intent, so it names nothing that is needed as far as the
    /// catalogue knows. What the catalogue says is to be on disk first, whoever wrote it: a power cut could bring back what it said before.
    pub(crate) async fn remove_objects(&self, intent: Intent) -> Result<bool> {
        self.catalog.sync().await?;
        let parts = intent.extents.chunks(REMOVED_TOGETHER);
        let removals: Vec<_> = parts.map(|part| self.remove_unneeded(part)).collect();
        let all_gone = stream::iter(removals)
            .buffer_unordered(REMOVED_AT_ONCE)
            .try_fold(true, async |all_gone, gone| Ok(all_gone & gone))
            .await?;
        if all_gone {
            self.catalog.end_save(intent.save).await?;
        }
        Ok(all_gone)
    }

    /// Removes the shares of one generation of extents, where they are not needed for sure. Returns whether they are gone.
    ///
    /// The catalogue may have been brought back from a backup that was taken while a refresh was under way. Then the shares that it names
    /// are gone, and newer ones, which its intents call unfinished, are all that there is. So those are removed only where shares of what
    /// the catalogue names are seen on the servers, one more than are needed; a server that does not answer is not seen.
    async fn remove_unneeded(&self, extents: &[(ExtentId, Generation)]) -> Result<bool> {
        let looks = extents
            .iter()
            .map(|(extent, _)| self.catalog.extent(*extent));
        let records = try_join_all(looks).await?;
        let (mut unneeded, mut all) = (Vec::with_capacity(extents.len()), true);
        for ((extent, generation), record) in extents.iter().zip(records) {
            match record {
                Some(record) if record.generation == *generation => {}
                Some(record) if record.generation < *generation && !self.is_seen(&record).await => {
                    tracing::warn!(%generation, "shares that are newer than the catalogue says stay where they are: too few of those that it names are there");
                    all = false;
                }
                _ => unneeded.push((*extent, *generation)),
            }
        }
        Ok(dealing::discard(&self.servers, &unneeded).await && all)
    }

    /// Whether one more share than are needed (all of them, where all are needed) is on its server, as the catalogue says.
    pub(crate) async fn is_seen(&self, record: &ExtentRecord) -> bool {
        let needed = enough(record.threshold);
        let len = record.plan().object_len();
        let mut looks: FuturesUnordered<_> = self
            .servers
            .of(record.threshold)
            .map(|server| async move {
                let name = self
                    .servers
                    .object_key(server, record.extent, record.generation);
                server.ask(server.seat.store.stat(&name)).await
            })
            .collect();
        let mut seen = 0;
        while let Some(look) = looks.next().await {
            seen += usize::from(look.is_ok_and(|stat| stat.len == len));
            if seen >= needed {
                return true;
            }
        }
        false
    }

    /// Checks every version that is not known to be on disk, the newest of each document first.
    async fn check_unsettled(self: &Arc<Self>) -> Result<()> {
        loop {
            let versions = self.catalog.unsettled(BATCH).await?;
            lock(&self.doubtful).clear();
            let full = versions.len() == BATCH;
            let mut by_document: HashMap<FileId, Vec<Version>> = HashMap::new();
            for version in versions {
                by_document
                    .entry(version.document)
                    .or_default()
                    .push(version);
            }
            let settled = stream::iter(by_document.into_values())
                .map(|mut versions| {
                    versions.sort_by_key(|version| std::cmp::Reverse(version.number));
                    self.check_document(versions)
                })
                .buffer_unordered(AT_ONCE)
                .try_fold(0, async |sum, settled| Ok(sum + settled))
                .await?;
            if full && settled == 0 {
                // Nor will those behind them have been looked at.
                let all = self.catalog.unsettled(RECHECKED).await?;
                all.iter().for_each(|version| self.doubt(version));
            }
            if !full || settled == 0 {
                return Ok(());
            }
        }
    }

    /// Returns how many versions are no longer unsettled.
    async fn check_document(self: &Arc<Self>, newest_first: Vec<Version>) -> Result<usize> {
        let mut done = 0;
        // Whether a newer version may still turn out to be lost, and an older one be current again.
        let mut undecided = false;
        let oldest = newest_first.iter().map(|version| version.number).min();
        for version in newest_first {
            let name = (version.document, version.number);
            match self.verdict(&version, oldest).await? {
                Verdict::Whole => match self.settle(&[Unsettled::whole(&version)]).await.1 {
                    Ok(()) => done += 1,
                    Err(VaultError::NotStored { .. }) => {
                        self.doubt(&version);
                        tracing::warn!(version = %version.number, "a version is whole, and too few servers can promise to keep it yet");
                    }
                    Err(error) => return Err(error),
                },
                Verdict::Lost if undecided => {}
                Verdict::Lost => {
                    tracing::warn!(version = %version.number, "a power cut took a version; the one before is current again");
                    let left = self.shares_of(&version).await?;
                    let detail = format!("version {} was not on enough disks", version.number);
                    let audit =
                        Self::own_context().entry(Act::Revert, None, detail, self.clock.now());
                    match self
                        .catalog
                        .revert(
                            name.0,
                            name.1,
                            Write {
                                audit,
                                durability: Durability::Now,
                            },
                        )
                        .await
                    {
                        Ok(_) => {
                            done += 1;
                            self.remove_reverted(left).await?;
                        }
                        // A newer version stands on it; what of it is damaged, `verify` says.
                        Err(CatalogError::NotFound { .. } | CatalogError::Conflict { .. }) => {
                            self.catalog.settle(&[name]).await?;
                            done += 1;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Verdict::Unknown => {
                    undecided = true;
                    self.doubt(&version);
                    tracing::warn!(version = %version.number, "too few servers answer to check a version; it is checked again when they do");
                }
            }
        }
        Ok(done)
    }

    /// Removes what is left of a version that was taken back. Its numbers come again, and what lay there would look like the work of
    /// another catalogue.
    async fn remove_reverted(&self, extents: Vec<(ExtentId, Generation)>) -> Result<()> {
        for (extent, generation) in extents {
            // A version before it, or another file, may have it too.
            if self.catalog.extent(extent).await?.is_none() {
                self.remove_vanished(extent, generation).await;
            }
        }
        Ok(())
    }

    /// The extents of a version, and of which generation their shares are.
    async fn shares_of(&self, version: &Version) -> Result<Vec<(ExtentId, Generation)>> {
        let extents: HashSet<ExtentId> = version
            .head
            .into_iter()
            .chain(version.layout.iter().flatten().copied())
            .collect();
        let mut shares = Vec::with_capacity(extents.len());
        for extent in extents {
            let record = self.catalog.extent(extent).await?;
            shares.extend(record.map(|record| (extent, record.generation)));
        }
        Ok(shares)
    }

    fn doubt(&self, version: &Version) {
        lock(&self.doubtful).extend(version.head);
    }

    /// Judges once more what could not be judged at the start: servers may have come back. What is whole is settled. What is
    /// lost waits for the next start, when nobody has it open.
    pub(crate) async fn recheck(self: &Arc<Self>) -> Result<()> {
        if lock(&self.doubtful).is_empty() {
            return Ok(());
        }
        let checked = async {
            let doubtful = lock(&self.doubtful).clone();
            let versions = self.catalog.unsettled(RECHECKED).await?;
            let of_version =
                |version: &Version| version.head.filter(|head| doubtful.contains(head));
            let mut left = HashSet::new();
            for (version, head) in versions.iter().filter_map(|v| Some((v, of_version(v)?))) {
                let whole = self.verdict(version, None).await? == Verdict::Whole;
                if !whole || self.settle(&[Unsettled::whole(version)]).await.1.is_err() {
                    left.insert(head);
                }
            }
            lock(&self.doubtful).retain(|head| left.contains(head));
            Ok(())
        };
        // Cut off, it leaves them all as they were.
        let limit = tokio::time::timeout(RECHECK_LIMIT, checked).await;
        limit.unwrap_or(Ok(()))
    }

    /// `oldest` is the oldest version of the document that is not settled: what was dealt for one before it is on disk.
    async fn verdict(&self, version: &Version, oldest: Option<VersionNo>) -> Result<Verdict> {
        let extents: HashSet<ExtentId> = version
            .head
            .into_iter()
            .chain(version.layout.iter().flatten().copied())
            .collect();
        let mut verdict = Verdict::Whole;
        for extent in extents {
            let Some(record) = self.catalog.extent(extent).await? else {
                return Ok(Verdict::Lost);
            };
            // Numbers tell only within one document: a rename may have made the version part of another one.
            let settled = oldest.is_some_and(|oldest| record.version < oldest);
            if settled && record.document == version.document {
                continue;
            }
            match self.check_as_it_is(record).await? {
                Verdict::Whole => {}
                Verdict::Lost => return Ok(Verdict::Lost),
                Verdict::Unknown => verdict = Verdict::Unknown,
            }
        }
        Ok(verdict)
    }

    /// As [`check_extent`](Self::check_extent), and once more where others were refreshing the extent just then.
    async fn check_as_it_is(&self, mut record: ExtentRecord) -> Result<Verdict> {
        loop {
            let verdict = self.check_extent(&record).await?;
            if verdict == Verdict::Whole {
                return Ok(verdict);
            }
            match self.catalog.extent(record.extent).await? {
                Some(now) if now.generation != record.generation => record = now,
                _ => return Ok(verdict),
            }
        }
    }

    /// Reads the shares of an extent and checks every chunk: after a power cut, an object can be there and be rubbish.
    ///
    /// Once k shares are known to be whole, the others are waited for a little longer only; what has not been heard of by then
    /// counts as owed.
    async fn check_extent(&self, record: &ExtentRecord) -> Result<Verdict> {
        let mut answers: FuturesUnordered<_> = self
            .servers
            .of(record.threshold)
            .map(|server| async move { (server.index(), self.check_share(server, record).await) })
            .collect();
        let k = usize::from(record.threshold.k());
        let (mut good, mut unknown) = (0_usize, 0_usize);
        let mut owed: IndexSet = record.threshold.indices().collect();
        let mut until: Option<Instant> = None;
        loop {
            let next = answers.next();
            let answer = match until {
                None => next.await,
                Some(until) => tokio::time::timeout_at(until, next)
                    .await
                    .unwrap_or_default(),
            };
            let Some((index, answer)) = answer else { break };
            match answer {
                Ok(()) => {
                    good += 1;
                    owed.remove(index);
                }
                Err((fault, _)) => {
                    unknown += usize::from(!fault.is_definite());
                }
            }
            if good >= k {
                until.get_or_insert_with(|| {
                    let well = self.servers.all().iter().filter(|s| s.health.is_well());
                    let patience = if well.count() > good {
                        FOR_THE_REST
                    } else {
                        LAGGARDS
                    };
                    Instant::now() + patience
                });
            }
        }
        if good >= k {
            if owed != record.owed {
                let change = OwedChange {
                    extent: record.extent,
                    generation: record.generation,
                    add: owed,
                    remove: record.owed,
                };
                self.catalog.change_owed(&[change]).await?;
            }
            return Ok(Verdict::Whole);
        }
        Ok(if good + unknown < k {
            Verdict::Lost
        } else {
            Verdict::Unknown
        })
    }
}

//! Refreshing: a new generation of all shares, so that those which somebody has stolen are worthless.
//!
//! Who had the shares of fewer than k servers, and after a refresh gets those of fewer than k more, has still learned nothing: shares of
//! two generations do not combine (`warifu_core::format::reshare`). So an intruder must hold k servers between two refreshes.
//!
//! A refresh goes through all extents, of every version kept and of the journal, in batches. Each batch takes these steps, in this order:
//!
//! 1. an intent names the new generation of its extents, safe from a power cut;
//! 2. of each extent k shares are read, all n of the new generation made from them, and put on their servers, beside the old ones;
//! 3. the servers sync;
//! 4. one transaction of the catalogue, safe from a power cut when it returns, switches each extent of which enough servers have
//!    their share, provided that its generation still is the one read, and turns the intent into one that names what is of no use now;
//! 5. what that names is removed. Where a server does not answer, the intent stays, and is swept when the server is back.
//!
//! Cut off before step 4, the old generation is what everybody reads, and the intent tells a sweep what to remove. Cut off after it,
//! the new one is, and again the intent tells. No step removes anything of the generation that the catalogue names: whoever takes an
//! intent away does not come to own that ([`Catalog::claim_save`](crate::seam::catalog::Catalog::claim_save)). And what is newer than the
//! catalogue says is removed only where the shares that it names are seen (`Inner::remove_objects`): the catalogue may have been brought
//! back from a backup that was taken in the middle of this.
//!
//! Every pass over the extents takes a number of its own ([`Generations::current`]), greater than any of which anything is known: so of one
//! extent there are never two sharings of one number, and what one pass left to be removed is never what another one has put. Where two
//! catalogues that do not know of each other take one number nevertheless, the shares tell themselves apart (`RoundId`), and are not joined.
//! Which extents are to be made anew is what is older than [`Generations::wanted`], the number of the run that began the refresh. So
//! nothing has to be remembered of how far a run came.
//!
//! Whoever reads with a record from before the switch finds the shares gone, asks the catalogue again and reads the new ones
//! (`Inner::refreshed`). What is saved meanwhile is dealt in the generation that its process knew, and made anew in the next pass if that is
//! an older one.
//!
//! The vault key stays. Its pieces get the run's number before any extent does (`repair/key_pieces.rs`), so that the servers know it too
//! where the catalogue is lost, or brought back from a backup. Where there are ways in, servers have no pieces of it, but of the bolt: these are dealt
//! anew with it, as a change of the ways that changes none of them ([`ways`]).
//!
//! A change of the threshold is a refresh, too: see `threshold`.
//!
//! Modules: `plan` says what would be done, `run` makes and switches, this one begins and ends; `folders` deals as folders ask, between two refreshes.

mod folders;
mod plan;
mod run;
mod threshold;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use warifu_core::format::Plan;
use warifu_core::ids::{ExtentId, Generation, Threshold};
use warifu_core::ways::WaysNumber;

use self::run::run;
pub(crate) use self::threshold::first_generation;
use self::threshold::{Candidate, Wanted};
pub use self::threshold::{Seating, THRESHOLD, ThresholdChange};
use crate::context::{Act, Context};
use crate::error::{Result, ServerFault, VaultError};
use crate::folders::Asked;
use crate::repair::share::Run;
use crate::seam::catalog::{CatalogError, Durability, ExtentRecord, IndexSet, Write};
use crate::seam::clock::Timestamp;
use crate::seam::generations::Generations;
use crate::seam::store::{ObjectKey, StoreErrorKind};
use crate::servers::{Thresholds, enough};
use crate::vault::{Inner, Vault};
use crate::verify::share::LAGS_AFTER;
use crate::ways::{self, WaysChange, WaysError, fixed_names};

/// How many extents are read from the catalogue at a time.
const PAGE: usize = 1_000;

/// How often a pass over all extents is repeated, for what was saved meanwhile in an older generation.
const PASSES: usize = 4;

/// How often a number is asked for where others take numbers too.
const TRIES: usize = 8;

/// Of how many objects that should be gone it is looked whether they are.
const LOOKED_FOR: usize = 1_000;

/// How a refresh is done.
#[derive(Clone, Copy, Debug)]
pub struct RefreshOptions {
    /// How many bytes are sent to servers in a second at most.
    pub limit: Option<u64>,
    /// How many extents are worked on at a time; at least one.
    pub at_once: usize,
    /// Begins a new refresh even where one was cut off: so that also what that one has made already is made anew, and the time in which
    /// an intruder must hold k servers counts from now.
    pub anew: bool,
    /// How many extents are switched at a time; at least one.
    pub batch: usize,
}

impl Default for RefreshOptions {
    fn default() -> Self {
        Self {
            limit: None,
            at_once: 16,
            anew: false,
            batch: 256,
        }
    }
}

/// What a refresh would do.
#[derive(Clone, Debug)]
pub struct RefreshPlan {
    /// Where the vault stands.
    pub generations: Generations,
    /// What its threshold is, and what it is to become.
    pub thresholds: Thresholds,
    /// Whether a refresh was begun and has not ended: it is gone on with.
    pub resumes: bool,
    /// How many extents are to be made anew, of all versions and of the journal.
    pub extents: u64,
    /// How many of them are joined in RAM and dealt anew, because their scheme has no other way, or fewer servers are to be needed.
    pub joined: u64,
    /// Bytes to be sent, to all servers together.
    pub bytes: u64,
    /// Bytes to be read for it.
    pub reads: u64,
    /// Servers that do not answer. Their old shares stay there until they do.
    pub absent: Vec<ServerFault>,
    /// Whether enough servers answer.
    pub possible: bool,
}

/// How far a refresh has come. The totals grow when more is saved meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefreshProgress {
    /// Extents done, whatever came of them.
    pub extents_done: u64,
    /// Extents to be done.
    pub extents: u64,
    /// Bytes sent.
    pub bytes_done: u64,
    /// Bytes to be sent.
    pub bytes: u64,
}

/// What a refresh did.
#[derive(Clone, Debug, Default)]
pub struct RefreshReport {
    /// Where the vault stands now.
    pub status: GenerationStatus,
    /// Extents that have shares of a new generation.
    pub extents: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Extents of which too few good shares could be had. They keep what they have.
    pub unreadable: u64,
    /// What servers said against it, once for each server and kind.
    pub faults: Vec<ServerFault>,
}

/// Where a vault stands with its generations.
#[derive(Clone, Debug)]
pub struct GenerationStatus {
    /// As the catalogue has it.
    pub generations: Generations,
    /// A change of the threshold that has not ended, as the vault file says.
    pub change: Option<ThresholdChange>,
    /// Extents that a refresh still has to make anew; also those that were saved in an older generation, or by an older threshold, since it was over.
    pub left: u64,
    /// Extents that are not dealt as their folders ask: of files that were there before, or were moved.
    pub unlike: u64,
    /// Servers that hold, or may hold, shares or pieces of the vault key of older generations, and how many.
    pub holding: BTreeMap<String, Holding>,
}

impl Default for GenerationStatus {
    fn default() -> Self {
        Self {
            generations: Generations::FIRST,
            change: None,
            left: 0,
            unlike: 0,
            holding: BTreeMap::new(),
        }
    }
}

impl GenerationStatus {
    /// Whether the last refresh is over, everywhere, and with it a change of the threshold: nothing of before is left on any server.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_over() && self.unlike == 0
    }

    /// The same but for what only folders ask, which is no part of a refresh: files are moved all the time.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let changed = self.change.is_none_or(|change| change.in_force);
        changed && self.left == 0 && self.holding.is_empty()
    }

    /// Whether what is to be done is only what folders ask: no refresh and no change of the vault's threshold is under way.
    #[must_use]
    pub fn is_of_folders(&self) -> bool {
        let other = self.change.is_some() || self.generations.is_under_way();
        !other && self.left == 0 && !self.is_complete()
    }

    /// Whether everything had been made anew, and somebody has saved as before since: by an old copy of the vault file.
    #[must_use]
    pub fn is_saved_as_before(&self) -> bool {
        let begun = self.change.is_none_or(|change| change.in_force);
        begun && self.left > 0 && self.generations.ended.is_some()
    }
}

/// What of older generations is on a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// How many objects.
    pub objects: u64,
    /// Whether the server did not answer: then it may hold so many.
    pub unknown: bool,
}

impl Vault {
    /// Gives all extents and the pieces of the vault key a new generation, and the threshold that the vault is to have, or goes on where that was cut off. `stop` is asked
    /// between batches whether it is time to end; dropped or killed at any point it can be gone on with, too.
    ///
    /// # Errors
    /// [`VaultError::ReadOnly`]; [`VaultError::OtherThreshold`] where the vault file is from before a change; [`VaultError::NotStored`] where too few servers answer or take their piece of the vault key, and then no
    /// refresh has begun; errors of the catalogue. What servers say is in the report.
    pub async fn refresh(
        &self,
        ctx: &Context,
        options: &RefreshOptions,
        progress: &(dyn Fn(RefreshProgress) + Send + Sync),
        stop: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<RefreshReport> {
        let inner = &self.inner;
        inner.writable()?;
        let _repairing = inner.repairing.lock().await;
        inner.new_generation(ctx, options, progress, stop).await
    }

    /// Where the vault stands with its generations, and which servers hold what of older ones.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn generation_status(&self) -> Result<GenerationStatus> {
        self.inner.generation_status().await
    }

    /// Whether a refresh is due: the last one was begun so long ago, or it has not ended, or there was none.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn refresh_is_due(&self, every: Duration) -> Result<bool> {
        let generations = self.inner.catalog.generations().await?;
        Ok(generations.is_due(every, self.inner.clock.now()))
    }
}

impl Generations {
    /// Whether a refresh was begun and has not ended.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        self.begun.is_some() && self.ended.is_none()
    }

    pub(crate) fn is_due(&self, every: Duration, now: Timestamp) -> bool {
        self.is_under_way() || self.is_old(every, now)
    }

    /// Whether the last one was begun so long ago, or there was none.
    pub(crate) fn is_old(&self, every: Duration, now: Timestamp) -> bool {
        let Some(begun) = self.begun else { return true };
        let every = i64::try_from(every.as_secs()).unwrap_or(i64::MAX);
        begun.secs.saturating_add(every) <= now.secs
    }
}

impl Inner {
    async fn page(&self, after: Option<ExtentId>) -> Result<Option<Vec<ExtentRecord>>> {
        let page = self.catalog.extents(after, PAGE).await?;
        Ok((!page.is_empty()).then_some(page))
    }

    /// What every pass begins with: it does without the servers that are away, and knows the newest generation of which there are pieces.
    async fn begin_run(
        self: &Arc<Self>,
        options: &RefreshOptions,
        report: &mut RefreshReport,
    ) -> Result<(Run, Generation)> {
        let work = Run::new(self, options.limit);
        for (index, fault) in self.absent(false, |_| true).await {
            work.give_up_on(index, fault);
        }
        // What is not known to be on disk is left to the next pass: see `run`.
        match self.settle_now().await {
            Ok(()) | Err(VaultError::NotStored { .. }) => {}
            Err(error) => return Err(error),
        }
        let newest = self.newest_generation(&work, report).await?;
        Ok((work, newest))
    }

    /// The caller holds `repairing`.
    pub(crate) async fn new_generation(
        self: &Arc<Self>,
        ctx: &Context,
        options: &RefreshOptions,
        progress: &(dyn Fn(RefreshProgress) + Send + Sync),
        stop: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<RefreshReport> {
        let mut report = RefreshReport::default();
        self.refuse_other_threshold().await?;
        let target = self.servers.thresholds().target();
        let (work, newest) = self.begin_run(options, &mut report).await?;
        let there = self.there(&work);
        let needed = self.enough_to_refresh(target);
        let takers = there.iter().filter(|index| index.get() <= target.n());
        let takers: IndexSet = takers.collect();
        if (takers.len() as usize) < needed {
            return Err(not_refreshed(needed, takers.len(), work.down()));
        }
        let since = self.catalog.generations().await?.wanted;
        let mine = self.take_number(ctx, newest).await?;
        self.read_folders().await?;
        self.refuse_overtaken(target).await?;
        let renewed = self.renew_pieces(mine, takers).await?;
        if (renewed.stored.len() as usize) < needed {
            // Those that were stored stay: somebody else may have gone on with them already. The next run replaces them.
            return Err(not_refreshed(needed, renewed.stored.len(), renewed.faults));
        }
        self.take_back_overtaken(target, (mine, renewed.stored))
            .await?;
        // After the pieces were put: somebody may have added the first way since they were dealt. Then this takes them away again.
        if self.is_bound_by_now(renewed.stored).await {
            report.note(self.rotate_ways(ctx).await?);
        }
        // What was begun by another threshold is not gone on with: shares of that may be as new as what it wanted.
        let in_force = self.is_in_force(self.servers.thresholds()).await?;
        let anew = options.anew || !in_force;
        let (generation, wanted) = self.begin_refresh(ctx, mine, target, anew).await?;
        self.put_in_force().await?;
        // Before pieces go that another threshold may need.
        self.refuse_overtaken(target).await?;
        let strange = self.strange_pieces(since).await;
        self.servers.learn_generation(generation);
        report.note(renewed.faults);
        let older = |generation| generation < mine && !strange.contains(&generation);
        // A server that is to go gets no other.
        let going = there.iter().filter(|index| index.get() > target.n());
        let on = renewed.stored.iter().chain(going).collect();
        if !self.needs_older_pieces().await? {
            report.note(self.remove_pieces(on, older).await);
        }
        let work = Arc::new(work);
        let wanted = Wanted {
            generation: wanted,
            threshold: target,
        };
        let manner = run::Manner::new(ctx, options, (progress, stop), wanted);
        run(&work, manner, generation, &mut report).await?;
        self.refuse_other_threshold().await?;
        report.note(work.down());
        if self.servers.thresholds().becoming.is_some() || self.folders.ever_asked() {
            self.remove_behind(stop).await?;
            if !self.needs_older_pieces().await? {
                report.note(self.remove_pieces(on, older).await);
            }
        }
        report.status = self.end_refresh(ctx).await?;
        Ok(report)
    }

    fn there(&self, work: &Run) -> IndexSet {
        let servers = self.servers.all().iter();
        let there = servers.filter(|server| !work.is_down(server.index()));
        there.map(|server| server.index()).collect()
    }

    /// How many of those must answer that are to have shares. Where there are ways in, they must be enough for a change of these too.
    fn enough_to_refresh(&self, target: Threshold) -> usize {
        match self.servers.vault_key().is_bound() {
            true => enough(target).max(ways::needed(target)),
            false => enough(target),
        }
    }

    /// A new bolt for the ways in, so that pieces of the one before are of no use together with those of today. Returns what servers said.
    async fn rotate_ways(&self, ctx: &Context) -> Result<Vec<ServerFault>> {
        match self.change_ways(ctx, WaysChange::Rotate).await {
            Ok(changed) => Ok(changed.faults),
            Err(WaysError::Vault(error)) => Err(error),
            Err(WaysError::NoRandomness(error)) => Err(error.into()),
            Err(WaysError::Overtaken { .. }) => Err(VaultError::Overtaken),
            Err(WaysError::TooFewServers {
                needed,
                got,
                faults,
            }) => {
                let got = u32::try_from(got).unwrap_or(u32::MAX);
                Err(not_refreshed(needed, got, faults))
            }
            Err(WaysError::Unknown { faults } | WaysError::Unsure { faults, .. }) => {
                let target = self.servers.thresholds().target();
                Err(not_refreshed(self.enough_to_refresh(target), 0, faults))
            }
            Err(other) => Err(VaultError::Damaged {
                what: format!("the ways in could not be dealt anew: {other}"),
            }),
        }
    }

    /// Takes a number that is greater than `newest` and than all that were given out. It is safe from a power cut when it is used, and
    /// nothing else is changed by it; what is saved is not dealt under it yet.
    async fn take_number(&self, ctx: &Context, newest: Generation) -> Result<Generation> {
        for _ in 0..TRIES {
            let before = self.catalog.generations().await?;
            let greatest = newest.max(before.current).0;
            let current = greatest.checked_add(1).map(Generation);
            let current = current.ok_or(VaultError::Invalid {
                what: "there is no greater generation",
            })?;
            let after = Generations { current, ..before };
            let detail = format!("generation {current}");
            match self.note_generations(ctx, before, after, detail).await {
                Ok(()) => return Ok(current),
                Err(CatalogError::Lapsed) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(VaultError::Overtaken)
    }

    async fn note_generations(
        &self,
        ctx: &Context,
        before: Generations,
        after: Generations,
        detail: String,
    ) -> std::result::Result<(), CatalogError> {
        let write = Write {
            audit: ctx.entry(Act::Refresh, None, detail, self.clock.now()),
            durability: Durability::Now,
        };
        self.catalog.set_generations(before, after, write).await
    }

    /// Begins a refresh, or goes on with one that has something left to do. Returns the number of this run, and what is to be made
    /// anew: whatever is older than the second one.
    ///
    /// One that has nothing left to do in the catalogue is not gone on with, though a server that is away may keep it from being called
    /// ended: whoever asks for a refresh then means what was read from servers since that one.
    async fn begin_refresh(
        &self,
        ctx: &Context,
        mut mine: Generation,
        threshold: Threshold,
        anew: bool,
    ) -> Result<(Generation, Generation)> {
        for _ in 0..TRIES {
            let before = self.catalog.generations().await?;
            if mine < before.wanted {
                // Another process has begun one since this one took its number.
                mine = self.take_number(ctx, before.current).await?;
                continue;
            }
            let due = Wanted {
                generation: before.wanted,
                threshold,
            };
            if before.is_under_way() && !anew && self.is_any_due(due).await? {
                return Ok((mine, before.wanted));
            }
            let after = Generations {
                wanted: mine,
                begun: Some(self.clock.now()),
                ended: None,
                ..before
            };
            let (k, n) = (threshold.k(), threshold.n());
            let detail = format!("a refresh to generation {mine} begun, {k} of {n}");
            match self.note_generations(ctx, before, after, detail).await {
                Ok(()) => return Ok((mine, mine)),
                Err(CatalogError::Lapsed) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(VaultError::Overtaken)
    }

    /// Whether something is due, but for what only its folder asks.
    async fn is_any_due(&self, wanted: Wanted) -> Result<bool> {
        let mut asked = Asked::new(self);
        let mut after = None;
        while let Some(page) = self.page(after).await? {
            after = page.last().map(|record| record.extent);
            let due = wanted.due(&mut asked, page).await?;
            if due.iter().any(|one| !self.is_of_folder(one, wanted)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether something has another threshold, and not because of what its folder asks.
    async fn is_any_other(&self, wanted: Wanted) -> Result<bool> {
        let mut asked = Asked::new(self);
        let mut after = None;
        while let Some(page) = self.page(after).await? {
            after = page.last().map(|record| record.extent);
            let found = wanted.of(&mut asked, page).await?;
            let other = |one: &Candidate| one.record.threshold != one.threshold;
            if found
                .iter()
                .any(|one| other(one) && !self.is_of_folder(one, wanted))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether what is due may be so because of what its folder asks, or asked, and is no part of a refresh that was begun.
    fn is_of_folder(&self, due: &Candidate, wanted: Wanted) -> bool {
        self.folders.ever_asked()
            && self.servers.thresholds().becoming.is_none()
            && due.record.generation >= wanted.generation
    }

    /// The greatest generation of which anything is known, in the catalogue or on a server. A server that does not tell what it has is
    /// given up: it may know a number that nobody else knows.
    async fn newest_generation(
        &self,
        work: &Run,
        report: &mut RefreshReport,
    ) -> Result<Generation> {
        let mut newest = self.servers.generation();
        let found = self.newest_piece(self.there(work)).await;
        newest = newest.max(found.generation.unwrap_or(newest));
        for (index, fault) in found.silent {
            work.give_up_on(index, fault);
        }
        report.note(found.strange);
        let mut after = None;
        while let Some(page) = self.page(after).await? {
            after = page.last().map(|record| record.extent);
            let found = page.iter().map(|record| record.generation).max();
            newest = newest.max(found.unwrap_or(newest));
        }
        Ok(newest)
    }

    /// Notes that a refresh is over, where nothing older is left anywhere.
    pub(crate) async fn end_refresh(&self, ctx: &Context) -> Result<GenerationStatus> {
        let mut status = self.generation_status().await?;
        let before = status.generations;
        if !before.is_under_way() || !status.is_over() {
            return Ok(status);
        }
        // By what a vault file says that was left behind, nobody knows what is left, nor where.
        let target = self.servers.thresholds().target();
        if !self.is_still_wanted(target).await? {
            return Ok(status);
        }
        let after = Generations {
            ended: Some(self.clock.now()),
            ..before
        };
        let detail = format!("nothing older than generation {} is left", before.wanted);
        match self.note_generations(ctx, before, after, detail).await {
            Ok(()) => status.generations = after,
            // Somebody else has begun the next one.
            Err(CatalogError::Lapsed) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(status)
    }

    pub(crate) async fn generation_status(&self) -> Result<GenerationStatus> {
        self.read_folders().await?;
        let mut status = GenerationStatus {
            generations: self.catalog.generations().await?,
            ..GenerationStatus::default()
        };
        let said = self.threshold_said().await?;
        let thresholds = self.servers.thresholds();
        status.change = thresholds.becoming.map(|to| ThresholdChange {
            from: thresholds.now,
            to,
            in_force: said == thresholds.once_changed(),
        });
        let wanted = status.generations.wanted;
        let first = wanted == Generations::FIRST.wanted;
        let asked_for = self.folders.ever_asked();
        if first && said.is_none() && status.change.is_none() && !asked_for {
            return Ok(status);
        }
        let due = Wanted {
            generation: wanted,
            threshold: self.threshold_wanted(said),
        };
        // Intents, then extents: what a save commits between the two is in the extents. The other way round it would be in neither.
        let mut waste = Vec::new();
        for intent in self.catalog.intents().await? {
            for (extent, generation) in intent.extents {
                let is_waste = generation < wanted
                    || ((status.change.is_some() || asked_for)
                        && self.is_behind(extent, generation).await?);
                waste.extend(is_waste.then_some((extent, generation)));
            }
        }
        let mut asked = Asked::new(self);
        let mut after = None;
        while let Some(page) = self.page(after).await? {
            after = page.last().map(|record| record.extent);
            for one in due.due(&mut asked, page).await? {
                let of_folder = self.is_of_folder(&one, due);
                status.left += u64::from(!of_folder);
                status.unlike += u64::from(of_folder);
            }
        }
        // Where it has ended, or never began, no server holds an older piece. With a change of the threshold, it is the end of that which counts.
        let shown = (status.generations.ended.is_some() || first) && status.change.is_none();
        let mut parts: Vec<Vec<WaysNumber>> = Vec::new();
        for server in self.servers.all() {
            let (held, ways) = self.held_by(server, &waste, wanted, shown).await;
            parts.push(ways);
            if held.objects > 0 {
                status.holding.insert(server.name().to_owned(), held);
            }
        }
        let counts = newest_of(&parts, usize::from(due.threshold.k()));
        for (server, parts) in self.servers.all().iter().zip(&parts) {
            let older = parts.iter().filter(|number| Some(**number) < counts);
            let older = older.count() as u64;
            if older > 0 {
                let holding = status.holding.entry(server.name().to_owned());
                holding.or_default().objects += older;
            }
        }
        Ok(status)
    }

    /// What a server has of these, and of the pieces of the vault key older than `wanted`; and which numbers its parts of the ways in have. One that does not
    /// answer counts as having a piece, unless it has `shown` that it has none.
    async fn held_by(
        &self,
        server: &Arc<crate::servers::Server>,
        waste: &[(ExtentId, Generation)],
        wanted: Generation,
        shown: bool,
    ) -> (Holding, Vec<WaysNumber>) {
        let all = waste.len() as u64;
        let store = server.seat.store.as_ref();
        let names = server.try_ask(LAGS_AFTER, fixed_names(store));
        let Ok(names) = names.await else {
            let holding = Holding {
                objects: all + u64::from(!shown),
                unknown: true,
            };
            return (holding, Vec::new());
        };
        let ways = names.iter().filter_map(ObjectKey::ways_number).collect();
        let pieces = names.iter().filter_map(ObjectKey::piece_generation);
        let older = pieces.filter(|generation| *generation < wanted);
        let mut held = Holding {
            objects: older.count() as u64,
            unknown: all > LOOKED_FOR as u64,
        };
        if held.unknown {
            held.objects += all;
            return (held, ways);
        }
        let mut looks = stream::iter(waste.to_vec())
            .map(|(extent, generation)| async move {
                let name = self.servers.object_key(server, extent, generation);
                server.try_ask(LAGS_AFTER, store.stat(&name)).await
            })
            .buffer_unordered(16);
        while let Some(look) = looks.next().await {
            match look {
                Ok(_) => held.objects += 1,
                Err(error) if error.kind == StoreErrorKind::NotFound => {}
                Err(_) => {
                    held.objects += 1;
                    held.unknown = true;
                }
            }
        }
        (held, ways)
    }
}

/// How many bytes the shares of an extent are to be, of all servers together.
fn bytes_to_send(record: &ExtentRecord, target: Threshold) -> u64 {
    let plan = Plan::new(record.scheme, target, record.len);
    plan.object_len().saturating_mul(target.n().into())
}

fn not_refreshed(needed: usize, got: u32, faults: Vec<ServerFault>) -> VaultError {
    VaultError::NotStored {
        file: "(a new generation)".to_owned(),
        needed: u8::try_from(needed).unwrap_or(u8::MAX),
        got: u8::try_from(got).unwrap_or(u8::MAX),
        full: false,
        faults,
    }
}

/// The greatest number that so many servers have, by its name: fewer could make one up.
fn newest_of(parts: &[Vec<WaysNumber>], enough: usize) -> Option<WaysNumber> {
    let have = |number: &WaysNumber| parts.iter().filter(|parts| parts.contains(number)).count();
    let numbers = parts.iter().flatten().copied();
    numbers.filter(|number| have(number) >= enough).max()
}

impl RefreshReport {
    fn note(&mut self, faults: Vec<ServerFault>) {
        for fault in faults {
            let known =
                |known: &ServerFault| (&known.server, known.fault) == (&fault.server, fault.fault);
            if !self.faults.iter().any(known) {
                self.faults.push(fault);
            }
        }
    }
}

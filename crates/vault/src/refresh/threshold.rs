//! Another threshold: a refresh whose shares are dealt by it.
//!
//! The vault file says what the threshold is and what it is to become, and names a server for every index up to the greater n
//! ([`Thresholds`]). That is all that a change is: every refresh of such a vault, whoever makes it, deals by the one that it is to
//! have, and an extent that has another one is due whatever its generation is.
//!
//! By which of the two is dealt what is *saved* meanwhile, the catalogue says ([`THRESHOLD`]): by the old one until the refresh has begun, with k + 1 servers that
//! have their piece of the vault key as the new one wants it, and by the new one from then on. Whoever has the vault open looks every half second. What
//! somebody saves by the old one all the same, because he has not looked yet, is due, and made anew by the next pass.
//!
//! Servers can come and go while a vault is open: who watches the vault file says so ([`Seating`]).

use std::sync::Weak;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use warifu_core::ids::{ExtentId, Generation, Threshold};

use super::{GenerationStatus, RefreshPlan, TRIES};
use crate::context::Context;
use crate::error::{Result, VaultError};
use crate::folders::{Asked, FOLDERS};
use crate::seam::catalog::{Catalog, ExtentRecord, IndexSet, Usage};
use crate::servers::{Said, ServerSeat, Thresholds};
use crate::vault::{Inner, Vault};
use crate::verify::share::LAGS_AFTER;

/// The [position](crate::seam::past::Past::position) that says by which threshold is dealt, and which change has made it that ([`Thresholds::change`]): k and
/// n in a byte each, and the number above them. 0 where it never changed: then the vault file alone says it.
pub const THRESHOLD: &str = "threshold";

/// A change of the threshold that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThresholdChange {
    /// What it was.
    pub from: Threshold,
    /// What it is to be.
    pub to: Threshold,
    /// Whether everything that is saved now is dealt by the new one.
    pub in_force: bool,
}

/// By which its servers and thresholds can be told to an open vault. It does not keep the vault open.
#[derive(Clone, Debug)]
pub struct Seating(Weak<Inner>);

impl Vault {
    /// Which servers there are, and what the threshold is, can be said by this.
    #[must_use]
    pub fn seating(&self) -> Seating {
        Seating(std::sync::Arc::downgrade(&self.inner))
    }

    /// By which thresholds there are shares.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        self.inner.servers.thresholds()
    }

    /// The threshold by which the catalogue says that is dealt; `None` where it was never changed.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn threshold_said(&self) -> Result<Option<Threshold>> {
        let said = self.inner.threshold_said().await?;
        Ok(said.map(|said| said.threshold))
    }

    /// The [number](Thresholds::change) of a change that is begun now.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn next_change(&self) -> Result<u32> {
        let said = self.inner.threshold_said().await?;
        let before = said.map_or(0, |said| said.change);
        before.checked_add(1).ok_or(VaultError::Invalid {
            what: "there is no greater number of a change",
        })
    }
}

impl Seating {
    /// Goes on with these servers and thresholds: one seat for each index up to the greater n. A server that was there already stays what it
    /// is, so a new place of it is not for this to tell. Returns whether the vault is open and the seats are as they must be.
    #[must_use]
    pub fn change(&self, seats: Vec<ServerSeat>, thresholds: Thresholds) -> bool {
        let Some(inner) = self.0.upgrade() else {
            return false;
        };
        inner.servers.reseat(seats, thresholds)
    }
}

/// What has to be true of all shares.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// None is older.
    pub(super) generation: Generation,
    /// All are dealt by this, but for what folders ask.
    pub(super) threshold: Threshold,
}

/// An extent, and by which threshold it is to be dealt.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) record: ExtentRecord,
    pub(super) threshold: Threshold,
}

impl Candidate {
    /// Whether its shares have to be made anew.
    pub(super) fn is_due(&self, wanted: Wanted) -> bool {
        self.record.generation < wanted.generation || self.record.threshold != self.threshold
    }
}

impl Wanted {
    /// How these are to be dealt.
    pub(super) async fn of(
        self,
        asked: &mut Asked<'_>,
        page: Vec<ExtentRecord>,
    ) -> Result<Vec<Candidate>> {
        let mut found = Vec::with_capacity(page.len());
        for record in page {
            let threshold = asked.of(&record, self.threshold).await?;
            found.push(Candidate { record, threshold });
        }
        Ok(found)
    }

    /// Those of which the shares have to be made anew.
    pub(super) async fn due(
        self,
        asked: &mut Asked<'_>,
        page: Vec<ExtentRecord>,
    ) -> Result<Vec<Candidate>> {
        let mut found = self.of(asked, page).await?;
        found.retain(|candidate| candidate.is_due(self));
        Ok(found)
    }
}

/// In which generation a vault that is opened deals before it has [learned](Inner::learn_generation) of another one: that of the pieces of the key. Where those
/// are of a change that is not in force yet, the one of before.
pub(crate) async fn first_generation(
    thresholds: Thresholds,
    pieces: Generation,
    catalog: &dyn Catalog,
) -> Result<Generation> {
    let Some(coming) = thresholds.once_changed() else {
        return Ok(pieces);
    };
    if Said::of(catalog.position(THRESHOLD).await?) == Some(coming) {
        return Ok(pieces);
    }
    Ok(pieces.min(catalog.generations().await?.wanted))
}

impl Inner {
    /// Learns by which threshold shares are to be dealt, what folders ask, and in which generation.
    ///
    /// The threshold first, and no generation before it is in force: what would be dealt by the old one under the number of the change would be as new
    /// as what the change wants, and no one could tell afterwards that it has to go.
    pub(crate) async fn learn_generation(&self) -> Result<()> {
        let servers = &self.servers;
        let positions = self.catalog.positions().await?;
        let at = |what| {
            let mut all = positions.iter();
            all.find(|(of, _)| of == what).map_or(0, |(_, at)| *at)
        };
        let said = Said::of(at(THRESHOLD));
        self.learn_folders(at(FOLDERS)).await?;
        servers.learn_number(said.map_or(0, |said| said.threshold.n()));
        let thresholds = servers.thresholds();
        let is_so = match (thresholds.once_changed(), said) {
            (Some(coming), said) => said == Some(coming) && servers.put_in_force(coming.threshold),
            (None, Some(said)) => !thresholds.are_left_behind(said),
            (None, None) => true,
        };
        if is_so {
            let generations = self.catalog.generations().await?;
            servers.learn_generation(generations.current);
        }
        Ok(())
    }

    pub(crate) async fn threshold_said(&self) -> Result<Option<Said>> {
        Ok(Said::of(self.catalog.position(THRESHOLD).await?))
    }

    /// The threshold that everything is to have, as far as can be told here. `said` is what the catalogue says.
    pub(super) fn threshold_wanted(&self, said: Option<Said>) -> Threshold {
        let thresholds = self.servers.thresholds();
        let newer = said.filter(|said| thresholds.are_left_behind(*said));
        newer.map_or(thresholds.target(), |said| said.threshold)
    }

    /// The same, by what the catalogue says now.
    pub(crate) async fn threshold_to_have(&self) -> Result<Threshold> {
        Ok(self.threshold_wanted(self.threshold_said().await?))
    }

    /// Refuses to make anything anew by what a vault file says that was left behind by a change: it would be taken back.
    pub(super) async fn refuse_other_threshold(&self) -> Result<()> {
        refuse_left_behind(self.servers.thresholds(), self.threshold_said().await?)
    }

    /// Whether everything is still to have this threshold: nobody has told this vault of another one, and the catalogue says none.
    pub(super) async fn is_still_wanted(&self, threshold: Threshold) -> Result<bool> {
        if self.servers.thresholds().target() != threshold {
            return Ok(false);
        }
        Ok(match self.threshold_said().await? {
            None => true,
            Some(said) => {
                said.threshold == threshold && !self.servers.thresholds().are_left_behind(said)
            }
        })
    }

    /// Refuses to go on where a change of the threshold has overtaken a run.
    pub(super) async fn refuse_overtaken(&self, threshold: Threshold) -> Result<()> {
        match self.servers.thresholds().target() == threshold {
            true => self.refuse_other_threshold().await,
            false => Err(VaultError::Overtaken),
        }
    }

    /// The same where a run has put pieces of the vault key, and has not begun to make anything anew. They go again where another threshold is in force:
    /// then its pieces are there, and nobody removes those because of these ([`strange_pieces`](Self::strange_pieces)).
    pub(super) async fn take_back_overtaken(
        &self,
        threshold: Threshold,
        (mine, on): (Generation, IndexSet),
    ) -> Result<()> {
        let refused = self.refuse_overtaken(threshold).await;
        if let Err(VaultError::OtherThreshold { .. }) = refused {
            self.remove_pieces(on, |generation| generation == mine)
                .await;
        }
        refused
    }

    /// Whether a change of the threshold, where there is one, has come so far that everything that is saved now is dealt by the new one.
    pub(super) async fn is_in_force(&self, thresholds: Thresholds) -> Result<bool> {
        let Some(coming) = thresholds.once_changed() else {
            return Ok(true);
        };
        Ok(self.threshold_said().await? == Some(coming))
    }

    /// Whether older pieces of the vault key have to stay: where servers go, they are what opens the vault with as many servers away as before, for what is
    /// still as before. Whoever has them has no more by it, since as many of them are needed as of the new ones, or more.
    pub(crate) async fn needs_older_pieces(&self) -> Result<bool> {
        let thresholds = self.servers.thresholds();
        if !thresholds.shrinks() {
            return Ok(false);
        }
        let due = Wanted {
            generation: self.catalog.generations().await?.wanted,
            threshold: thresholds.target(),
        };
        self.is_any_due(due).await
    }

    /// From now on, everything that anybody saves is dealt by the threshold that the vault is to have. Where it forgets that in a power cut,
    /// what was saved since is due again.
    pub(super) async fn put_in_force(&self) -> Result<()> {
        let thresholds = self.servers.thresholds();
        let Some(coming) = thresholds.once_changed() else {
            return Ok(());
        };
        let to = coming.position();
        for _ in 0..TRIES {
            let from = self.catalog.position(THRESHOLD).await?;
            refuse_left_behind(thresholds, Said::of(from))?;
            if from == to || self.catalog.advance(THRESHOLD, from, to).await? {
                self.servers.put_in_force(coming.threshold);
                return Ok(());
            }
        }
        Err(VaultError::Overtaken)
    }

    /// Removes what only intents know any more, because the catalogue names newer shares: those of before, and those of a run that was killed.
    /// Nobody waits for their leases: whoever made them has no use for them either.
    ///
    /// One such extent tells that an intent is of that kind: what a save has begun to send, the catalogue does not know at all. Nor does it know
    /// what was let go since the run was killed, so not all have to be so. A run that is still at work under such an intent, beside another
    /// one, finds that it has lapsed.
    ///
    /// Where a server does not answer, a round ends as that of a [sweep](Self::sweep): what is left stays to be removed.
    pub(super) async fn remove_behind(
        &self,
        stop: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<()> {
        let mut left = self.swept_at_most();
        for intent in self.catalog.intents().await? {
            if left == 0 || stop() || self.is_closing() {
                break;
            }
            let mut behind = false;
            for (extent, generation) in &intent.extents {
                behind = behind || self.is_behind(*extent, *generation).await?;
            }
            if !behind {
                continue;
            }
            left = left.saturating_sub(intent.extents.len());
            if let Some(mine) = self.claim(intent.save).await? {
                self.remove_objects(mine).await?;
            }
        }
        Ok(())
    }

    /// Whether the catalogue names a newer generation of an extent. What is older was dealt by another threshold, whatever its number is.
    pub(super) async fn is_behind(&self, extent: ExtentId, generation: Generation) -> Result<bool> {
        let record = self.catalog.extent(extent).await?;
        Ok(record.is_some_and(|record| record.generation > generation))
    }
}

fn refuse_left_behind(thresholds: Thresholds, said: Option<Said>) -> Result<()> {
    match said.filter(|said| thresholds.are_left_behind(*said)) {
        Some(said) => Err(VaultError::OtherThreshold {
            file: thresholds.target(),
            catalog: said.threshold,
        }),
        None => Ok(()),
    }
}

/// So many extents are read to find out how long it takes, and no more than so many bytes.
const SAMPLED: usize = 16;
const SAMPLED_BYTES: u64 = 16 << 20;

impl Vault {
    /// What a change to this threshold would do, as the catalogue and the servers have it now. Servers that it wants and that there are not
    /// yet count as there.
    ///
    /// # Errors
    /// Errors of the catalogue. What servers say is in the plan.
    pub async fn plan_threshold(&self, to: Threshold) -> Result<RefreshPlan> {
        let known = self.inner.servers.thresholds();
        let thresholds = match known.becoming == Some(to) {
            true => known,
            false => Thresholds {
                now: known.now,
                becoming: Some(to),
                change: self.next_change().await?,
            },
        };
        self.plan_anew(thresholds, false).await
    }

    /// Whether the catalogue knows an extent of another threshold than this vault's, and what folders ask with it.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn has_other_threshold(&self, threshold: Threshold) -> Result<bool> {
        let other = Wanted {
            generation: self.inner.catalog.generations().await?.wanted,
            threshold,
        };
        self.inner.is_any_other(other).await
    }

    /// How much the vault holds, as its catalogue has it.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn usage(&self) -> Result<Usage> {
        Ok(self.inner.catalog.usage().await?)
    }

    /// About how long what is planned will take, with so many bytes sent in a second at most: found out by reading a few shares. `None` where
    /// there is nothing to be read, or servers don't answer. New servers, and how quickly any of them writes, are not known.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn estimate(
        &self,
        plan: &RefreshPlan,
        limit: Option<u64>,
    ) -> Result<Option<Duration>> {
        let inner = &self.inner;
        let page = inner.catalog.extents(None, SAMPLED).await?;
        let mut bytes = 0_u64;
        let sample = page.iter().take_while(|record| {
            let read = record.plan().object_len();
            let before = bytes;
            bytes = bytes.saturating_add(read.saturating_mul(record.threshold.k().into()));
            before < SAMPLED_BYTES
        });
        let begin = Instant::now();
        let read = join_all(sample.map(|record| async move {
            let k = usize::from(record.threshold.k());
            let len = record.plan().object_len();
            let servers = inner.servers.by_speed(record.threshold, len);
            let shares = servers.iter().take(k).map(|server| async move {
                let servers = &inner.servers;
                let name = servers.object_key(server, record.extent, record.generation);
                server.try_get(&name, LAGS_AFTER).await.is_ok()
            });
            let all = join_all(shares).await.into_iter().all(|found| found);
            all.then_some(len.saturating_mul(k as u64))
        }));
        let read: Vec<u64> = read.await.into_iter().flatten().collect();
        let took = begin.elapsed().as_secs_f64();
        let sampled: u64 = read.iter().sum();
        if read.is_empty() || plan.extents == 0 {
            return Ok(None);
        }
        let times = |all: u64, of: u64| all as f64 / of.max(1) as f64;
        let reading = took * times(plan.extents, read.len() as u64).max(times(plan.reads, sampled));
        // What is sent goes to all of them at once, as what is read comes from them; each share is written and then put on disk.
        let work = reading * (1.0 + 2.0 * times(plan.bytes, plan.reads));
        let paced = limit.map_or(0.0, |limit| times(plan.bytes, limit));
        Ok(Duration::try_from_secs_f64(work.max(paced)).ok())
    }

    /// Ends what has made everything anew already, as far as servers let it: gives those that were away what they lack of the vault key,
    /// and removes what is of before. Returns where the vault stands then.
    ///
    /// # Errors
    /// [`VaultError::ReadOnly`]; errors of the catalogue.
    pub async fn finish_refresh(&self, ctx: &Context) -> Result<GenerationStatus> {
        let inner = &self.inner;
        inner.writable()?;
        let _repairing = inner.repairing.lock().await;
        inner.mend_pieces().await?;
        inner.mend_ways(false).await;
        inner.tidy_pieces().await;
        inner.remove_behind(&|| false).await?;
        inner.end_refresh(ctx).await
    }
}

//! Checking shares: which server, which file, and what kind of damage.
//!
//! A quick check compares what the servers list with what the catalogue expects; a deep one reads every share and checks
//! the seal of every chunk. Neither forms a plaintext.
//!
//! A check goes through the extents in the order of their ids, which are drawn at random: so the last id tells how far it is, and
//! where an interrupted one goes on ([`Checkpoint`]). In RAM it holds 36 bytes for each object on each server, and what it found.

mod checkpoint;
pub(crate) mod listing;
pub(crate) mod share;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use warifu_core::format::ExtentKind;
use warifu_core::ids::{ExtentId, ShareIndex, VersionNo};

pub use self::checkpoint::Checkpoint;
use self::listing::Listings;
use self::share::{Found, LAGS_AFTER, is_newer};
use crate::bounds::Budget;
use crate::context::{Act, Context};
use crate::error::{Fault, Result};
use crate::seam::catalog::{Durability, ExtentRecord, IndexSet, OwedChange};
use crate::servers::Server;
use crate::vault::{Inner, Vault};

/// How much to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Whether to read every share and check its seals, instead of comparing listings.
    pub deep: bool,
}

/// How a check is done.
#[derive(Clone, Debug)]
pub struct Check {
    /// Whether to read every share and check its seals, instead of comparing listings.
    pub deep: bool,
    /// Whether what is missing or bad is written down as owed, for a repair to make anew.
    pub record: bool,
    /// Where an interrupted check goes on. One of another vault, or less deep than this check, is not gone on with.
    pub resume: Option<Checkpoint>,
    /// How many findings are kept one by one; beyond that they are counted.
    pub keep: usize,
}

impl Check {
    /// A check from the beginning that changes nothing and keeps all findings.
    #[must_use]
    pub const fn new(deep: bool) -> Self {
        Self {
            deep,
            record: false,
            resume: None,
            keep: usize::MAX,
        }
    }
}

/// How far a check has come, in extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyProgress {
    /// How many extents have been checked.
    pub done: u64,
}

/// How far a check has come.
#[derive(Clone, Copy, Debug)]
pub struct CheckProgress<'a> {
    /// How many extents have been checked.
    pub done: u64,
    /// Which part of all that is, from 0 to 1, about.
    pub part: f64,
    /// Where it goes on, should it be interrupted now.
    pub checkpoint: &'a Checkpoint,
}

/// What a share belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Subject {
    /// A version of a file.
    #[default]
    File,
    /// The journal of the catalogue's changes.
    Journal,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What needs the share.
    pub subject: Subject,
    /// The path of a file that needs the share; empty where the version belongs to no file any more.
    pub file: String,
    /// A version that needs it.
    pub version: VersionNo,
    /// The server's name in the vault file.
    pub server: String,
    /// What is wrong.
    pub fault: Fault,
    /// Whether the catalogue knew already that the server owes the share.
    pub owed: bool,
    /// What was found.
    pub detail: String,
}

/// A version of which too few shares are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// What needs the shares.
    pub subject: Subject,
    /// The file's path; empty where the version belongs to no file any more.
    pub file: String,
    /// Which version.
    pub version: VersionNo,
    /// How many good shares are needed.
    pub needed: u8,
    /// How many there are.
    pub good: u8,
    /// Whether it is lost for good, and not only out of reach until servers answer again.
    pub lost: bool,
}

/// What was counted at one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerCount {
    /// Good shares.
    pub good: u64,
    /// Bad shares, by what is wrong with them.
    pub bad: BTreeMap<Fault, u64>,
    /// Objects that no version needs, and no save under way: left by saves that never ended.
    pub orphans: u64,
    /// Files on the server that no warifu wrote.
    pub foreign: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// How many extents were checked, those before an interruption among them.
    pub extents: u64,
    /// What is wrong, in no order; as many as were to be kept.
    pub findings: Vec<Finding>,
    /// How many things are wrong.
    pub found: u64,
    /// How many shares were written down as owed that were not before.
    pub recorded: u64,
    /// Versions of which too few shares are good; as many as were to be kept.
    pub unreadable: Vec<Unreadable>,
    /// What was counted, by server name.
    pub servers: BTreeMap<String, ServerCount>,
}

impl VerifyReport {
    /// Whether every share is where it belongs and good.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.found == 0
    }
}

const BATCH: usize = 1_000;
const AT_ONCE: usize = 8;
/// Of a share of the wrong length, so much is looked at to see of which format it is.
const LOOK: u64 = 1024;
/// How many bytes of shares a deep check has in RAM at a time.
const ROOM: u32 = 96 << 20;

type Outcome = (ShareIndex, Found);

impl Vault {
    /// Checks every share that any version kept needs. `progress` is called after each batch of extents.
    ///
    /// # Errors
    /// Errors of the catalogue. What servers say is in the report.
    pub async fn verify(
        &self,
        ctx: &Context,
        options: VerifyOptions,
        progress: &(dyn Fn(VerifyProgress) + Send + Sync),
    ) -> Result<VerifyReport> {
        self.check(ctx, Check::new(options.deep), &|at| {
            progress(VerifyProgress { done: at.done });
        })
        .await
    }

    /// As [`verify`](Self::verify), told how in more detail. What it has recorded and where it stood stays when it is dropped half-way.
    ///
    /// # Errors
    /// Errors of the catalogue. What servers say is in the report.
    pub async fn check(
        &self,
        ctx: &Context,
        check: Check,
        progress: &(dyn Fn(CheckProgress<'_>) + Send + Sync),
    ) -> Result<VerifyReport> {
        let inner = &self.inner;
        let words = if check.deep { "deep" } else { "quick" };
        let entry = ctx.entry(Act::Verify, None, words, inner.clock.now());
        inner.catalog.record(vec![entry], Durability::Soon).await?;

        let listings = Listings::gather(&inner.servers, inner.catalog.as_ref()).await?;
        let mut pass = Pass {
            inner,
            listings,
            report: VerifyReport::default(),
            budget: Budget::new(ROOM),
            seen: Checkpoint {
                vault: inner.vault,
                deep: check.deep,
                after: ExtentId::NIL,
                extents: 0,
                good: BTreeMap::new(),
                damaged: Default::default(),
            },
            check,
        };
        for (server, listing) in pass.listings.all() {
            let count = pass
                .report
                .servers
                .entry(server.name().to_owned())
                .or_default();
            count.foreign = listing.as_ref().map_or(0, |listing| listing.foreign);
        }
        let mut after = pass.go_on().await?;
        loop {
            let batch = inner.catalog.extents(after, BATCH).await?;
            let Some(last) = batch.last() else { break };
            after = Some(last.extent);
            pass.seen.after = last.extent;
            pass.check_batch(&batch).await?;
            pass.seen.extents += batch.len() as u64;
            progress(CheckProgress {
                done: pass.seen.extents,
                part: part_of(pass.seen.after),
                checkpoint: &pass.seen,
            });
        }
        Ok(pass.end())
    }
}

/// Ids are drawn at random: the part of all ids up to this one is about the part of the extents.
fn part_of(after: ExtentId) -> f64 {
    let [a, b, c, d, ..] = *after.as_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

/// One check under way.
struct Pass<'a> {
    inner: &'a Arc<Inner>,
    check: Check,
    listings: Listings,
    report: VerifyReport,
    budget: Budget,
    seen: Checkpoint,
}

impl Pass<'_> {
    /// Takes up an interrupted check: what it found good counts, what it found damaged is looked at again. Returns the last
    /// extent that is not to be checked any more.
    async fn go_on(&mut self) -> Result<Option<ExtentId>> {
        let resumed = self
            .check
            .resume
            .take()
            .filter(|at| at.vault == self.inner.vault && (at.deep || !self.check.deep));
        let Some(before) = resumed else {
            return Ok(None);
        };
        // What was checked before is needed all the same.
        let mut after = None;
        loop {
            let batch = self.inner.catalog.extents(after, BATCH).await?;
            let done = batch
                .iter()
                .take_while(|record| record.extent <= before.after);
            let before_it = done.clone().count();
            for record in done {
                self.listings
                    .need(&self.inner.servers, record.extent, record.generation);
            }
            after = batch.last().map(|record| record.extent);
            if before_it < batch.len() || after.is_none() {
                break;
            }
        }
        for server in self.inner.servers.all() {
            let good = before.good.get(&server.index()).copied().unwrap_or(0);
            *self.seen.good.entry(server.index()).or_default() += good;
            self.count(server).good += good;
        }
        let damaged: Vec<ExtentId> = before.damaged.iter().copied().collect();
        for extents in damaged.chunks(BATCH) {
            let mut batch = Vec::with_capacity(extents.len());
            for extent in extents {
                batch.extend(self.inner.catalog.extent(*extent).await?);
            }
            self.check_batch(&batch).await?;
        }
        self.seen.extents = before.extents;
        self.seen.after = before.after;
        Ok(Some(before.after))
    }

    fn count(&mut self, server: &Server) -> &mut ServerCount {
        self.report
            .servers
            .entry(server.name().to_owned())
            .or_default()
    }

    async fn check_batch(&mut self, batch: &[ExtentRecord]) -> Result<()> {
        let checked: Vec<(ExtentRecord, Vec<Outcome>)> = {
            let this = &*self;
            let checks = batch.iter().map(|record| this.check_extent(record));
            stream::iter(checks)
                .buffer_unordered(AT_ONCE)
                .collect::<Vec<_>>()
                .await
                .into_iter()
                .collect::<Result<_>>()?
        };
        for record in batch {
            // Where others have refreshed it meanwhile, these are being removed.
            let (extent, generation) = (record.extent, record.generation);
            self.listings.need(&self.inner.servers, extent, generation);
        }
        let mut changes = Vec::new();
        for (record, outcomes) in checked {
            let (extent, generation) = (record.extent, record.generation);
            self.listings.need(&self.inner.servers, extent, generation);
            changes.extend(self.tally(&record, outcomes).await?);
        }
        if self.check.record && !changes.is_empty() {
            let added: u64 = changes
                .iter()
                .map(|change| u64::from(change.add.len()))
                .sum();
            self.inner.catalog.change_owed(&changes).await?;
            self.report.recorded += added;
        }
        Ok(())
    }

    /// Returns the extent as it was when it was checked: others may refresh it meanwhile, and remove what was looked for.
    async fn check_extent(&self, record: &ExtentRecord) -> Result<(ExtentRecord, Vec<Outcome>)> {
        let mut record = record.clone();
        loop {
            let outcomes = self.check_shares(&record).await;
            let is_missing =
                |(_, found): &Outcome| matches!(found, Err((fault, _)) if fault.is_definite());
            if !outcomes.iter().any(is_missing) {
                return Ok((record, outcomes));
            }
            match self.inner.catalog.extent(record.extent).await? {
                Some(now) if now.generation != record.generation => record = now,
                _ => return Ok((record, outcomes)),
            }
        }
    }

    async fn check_shares(&self, record: &ExtentRecord) -> Vec<Outcome> {
        let servers: Vec<&Arc<Server>> = self.inner.servers.of(record.threshold).collect();
        let room = record
            .plan()
            .object_len()
            .saturating_mul(servers.len() as u64);
        let _room = if self.check.deep {
            self.budget.take(room).await
        } else {
            None
        };
        join_all(servers.into_iter().map(|server| async move {
            let outcome = if self.check.deep {
                self.inner.check_share(server, record).await
            } else {
                self.compare(server, record).await
            };
            (server.index(), outcome)
        }))
        .await
    }

    /// Compares a listing with what the catalogue expects.
    async fn compare(&self, server: &Arc<Server>, record: &ExtentRecord) -> Found {
        let name = self
            .inner
            .servers
            .object_key(server, record.extent, record.generation);
        let listed = match self.listings.of(server.index()) {
            Some(Ok(listing)) => listing.len_of(&name),
            Some(Err(error)) => return Err((error.kind.into(), error.detail.clone())),
            None => return Err((Fault::NoAnswer, "not listed".to_owned())),
        };
        let len = match listed {
            Some(len) => len,
            // Not in the listing is not yet absent: it may have been put since. The server is asked by name.
            None => {
                server
                    .try_ask(LAGS_AFTER, server.seat.store.stat(&name))
                    .await
                    .map_err(|error| (Fault::from(error.kind), error.detail))?
                    .len
            }
        };
        let expected = record.plan().object_len();
        if len == expected {
            return Ok(());
        }
        // Its length alone does not tell a share that was cut off from one of another format.
        let prefix = server
            .get(&name, Some(0..len.min(LOOK)), None)
            .await
            .map_err(|error| (Fault::from(error.kind), error.detail))?;
        let fault = if is_newer(server, &prefix) {
            Fault::Newer
        } else {
            Fault::Corrupt
        };
        Err((fault, format!("{len} bytes long instead of {expected}")))
    }

    /// Counts what was found of an extent, and says which shares must be owed from now on.
    async fn tally(
        &mut self,
        record: &ExtentRecord,
        outcomes: Vec<Outcome>,
    ) -> Result<Option<OwedChange>> {
        let inner = Arc::clone(self.inner);
        let (mut good, mut bad) = (0_usize, Vec::new());
        for (index, outcome) in outcomes {
            let server = inner.servers.all().iter().find(|s| s.index() == index);
            let Some(server) = server else { continue };
            match outcome {
                Ok(()) => {
                    good += 1;
                    self.count(server).good += 1;
                    *self.seen.good.entry(index).or_default() += 1;
                }
                Err((fault, detail)) => bad.push((server, fault, detail)),
            }
        }
        if bad.is_empty() {
            return Ok(None);
        }
        let Some((subject, file, version)) = inner.subject_of(record).await? else {
            // Removed since the batch was read.
            return Ok(None);
        };
        self.seen.damaged.insert(record.extent);
        // It is counted anew when the check is gone on with.
        for index in record.threshold.indices() {
            if !bad.iter().any(|(server, ..)| server.index() == index)
                && let Some(count) = self.seen.good.get_mut(&index)
            {
                *count = count.saturating_sub(1);
            }
        }
        let k = usize::from(record.threshold.k());
        if good < k && self.report.unreadable.len() < self.check.keep {
            let unknown = bad.iter().filter(|(_, fault, _)| !fault.is_definite());
            let lost = good + unknown.count() < k;
            self.report.unreadable.push(Unreadable {
                subject,
                file: file.clone(),
                version,
                needed: record.threshold.k(),
                good: u8::try_from(good).unwrap_or(u8::MAX),
                lost,
            });
        }
        let mut newly = IndexSet::EMPTY;
        for (server, fault, detail) in bad {
            *self.count(server).bad.entry(fault).or_default() += 1;
            let owed = record.owed.contains(server.index());
            if fault.is_definite() && !owed {
                newly.insert(server.index());
            }
            self.report.found += 1;
            if self.report.findings.len() < self.check.keep {
                self.report.findings.push(Finding {
                    subject,
                    file: file.clone(),
                    version,
                    server: server.name().to_owned(),
                    fault,
                    owed,
                    detail,
                });
            }
        }
        Ok((!newly.is_empty()).then_some(OwedChange {
            extent: record.extent,
            generation: record.generation,
            add: newly,
            remove: IndexSet::EMPTY,
        }))
    }

    fn end(mut self) -> VerifyReport {
        self.report.extents = self.seen.extents;
        for (server, listing) in self.listings.all() {
            if let (Ok(listing), Some(count)) =
                (listing, self.report.servers.get_mut(server.name()))
            {
                count.orphans = listing.left().count() as u64;
            }
        }
        self.report
    }
}

impl Inner {
    /// What an extent belongs to: the path of a file and a version of it. `None` where nothing needs it any more.
    pub(crate) async fn subject_of(
        &self,
        record: &ExtentRecord,
    ) -> Result<Option<(Subject, String, VersionNo)>> {
        if record.kind == ExtentKind::Journal {
            let there = self.catalog.extent(record.extent).await?.is_some();
            return Ok(there.then(|| (Subject::Journal, String::new(), record.version)));
        }
        Ok(match self.catalog.user_of(record.extent).await? {
            Some((Some(node), _, version)) => {
                Some((Subject::File, self.path_text(node).await, version))
            }
            Some((None, _, version)) => Some((Subject::File, String::new(), version)),
            None => None,
        })
    }
}

//! Paying what is owed: which extents first, how many at a time, and what the catalogue is told of it.
//!
//! The catalogue's sets of owed shares are all that a repair remembers, so it can be killed at any point and begun again. A debt is
//! forgotten in this order: the share is on its server, the server has synced, the catalogue is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::Instant;
use warifu_core::ids::{ExtentId, ShareIndex};

use super::share::{Made, Run};
use super::{RepairProgress, RepairReport, Work};
use crate::context::{Act, Context};
use crate::error::{Result, ServerFault, task_lost};
use crate::seam::catalog::{Durability, ExtentRecord, IndexSet, OwedChange};
use crate::seam::store::StoreErrorKind;
use crate::vault::Inner;
use crate::verify::Unreadable;
use crate::verify::share::LAGS_AFTER;

/// How many extents are read from the catalogue at a time.
const PAGE: usize = 1_000;
/// After so many extents, or so much time, the catalogue is told.
const BATCH: usize = 512;
const BATCH_TIME: Duration = Duration::from_secs(2);
/// How many batches are being settled at the same time.
const SETTLING: usize = 2;
/// What helpers turn out to have lost is owed too, and made in another round. More rounds than this are for another day.
const ROUNDS: usize = 4;
/// How many extents without enough good shares are named.
const NAMED: usize = 1_000;

/// What is owed, counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed {
    /// By how many shares are not owed, fewest first: the extents, and the bytes that are owed of them.
    pub(super) by_risk: BTreeMap<u32, (u64, u64)>,
    pub(super) by_server: BTreeMap<ShareIndex, Work>,
}

impl Owed {
    pub(super) fn shares(&self) -> u64 {
        self.by_server.values().map(|work| work.shares).sum()
    }
}

/// How many shares of an extent are not owed.
fn standing(record: &ExtentRecord) -> u32 {
    u32::from(record.threshold.n()).saturating_sub(record.owed.len())
}

impl Inner {
    /// Counts what is owed to the servers in `to`.
    pub(super) async fn count_owed(&self, to: IndexSet) -> Result<Owed> {
        let mut owed = Owed::default();
        let mut after: Option<ExtentId> = None;
        loop {
            let page = self.catalog.owed(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(owed);
            };
            after = Some(last.extent);
            for record in &page {
                let len = record.plan().object_len();
                let mut bytes = 0;
                for index in record.owed.iter().filter(|index| to.contains(*index)) {
                    let work = owed.by_server.entry(index).or_default();
                    (work.shares, work.bytes) = (work.shares + 1, work.bytes + len);
                    bytes += len;
                }
                if bytes > 0 {
                    let risk = owed.by_risk.entry(standing(record)).or_default();
                    (risk.0, risk.1) = (risk.0 + 1, risk.1 + bytes);
                }
            }
        }
    }

    /// Asks every server of these whether it is there. `strict`: one without its piece of the vault key is not taken for the server it
    /// should be. Returns those that are not there, and why.
    pub(crate) async fn absent(
        &self,
        strict: bool,
        of: impl Fn(ShareIndex) -> bool,
    ) -> Vec<(ShareIndex, ServerFault)> {
        let servers = self.servers.all().iter();
        let servers = servers.filter(|server| of(server.index()));
        let answers = join_all(
            servers.map(|server| async move { (server, server.try_knock(LAGS_AFTER).await) }),
        )
        .await;
        let mut absent = Vec::new();
        for (server, answer) in answers {
            match answer {
                Ok(_) => {}
                Err(error) if error.kind == StoreErrorKind::NotFound && !strict => {}
                Err(error) => {
                    absent.push((server.index(), ServerFault::of_store(server.name(), &error)))
                }
            }
        }
        absent
    }
}

/// How a repair goes about it.
pub(super) struct Manner<'a> {
    pub(super) ctx: &'a Context,
    /// How many extents are worked on at a time.
    pub(super) at_once: usize,
    pub(super) progress: &'a (dyn Fn(RepairProgress) + Send + Sync),
    /// Whether it is time to end.
    pub(super) stop: &'a (dyn Fn() -> bool + Send + Sync),
}

/// A repair under way.
struct Payer<'a> {
    run: Arc<Run>,
    manner: Manner<'a>,
    report: RepairReport,
    at: RepairProgress,
    making: JoinSet<Made>,
    batch: Vec<Made>,
    batch_since: Instant,
    settling: JoinSet<Result<Settled>>,
    unreadable: Vec<(ExtentRecord, u8)>,
    /// Whether servers turned out to have lost more than was known.
    more: bool,
}

/// Pays what is owed to the servers that `run` has not given up on.
pub(super) async fn pay(run: Arc<Run>, manner: Manner<'_>) -> Result<RepairReport> {
    let mut payer = Payer {
        run,
        manner,
        report: RepairReport::default(),
        at: RepairProgress::default(),
        making: JoinSet::new(),
        batch: Vec::new(),
        batch_since: Instant::now(),
        settling: JoinSet::new(),
        unreadable: Vec::new(),
        more: false,
    };
    for _ in 0..ROUNDS {
        payer.more = false;
        payer.round().await?;
        if !payer.more || (payer.manner.stop)() {
            break;
        }
    }
    payer.end().await
}

impl Payer<'_> {
    fn up(&self) -> IndexSet {
        let servers = self.run.inner.servers.all().iter();
        servers
            .map(|server| server.index())
            .filter(|index| !self.run.is_down(*index))
            .collect()
    }

    /// Goes through everything owed once, what is most at risk first.
    async fn round(&mut self) -> Result<()> {
        let inner = Arc::clone(&self.run.inner);
        let owed = inner.count_owed(self.up()).await?;
        for (extents, bytes) in owed.by_risk.values() {
            self.at.extents += extents;
            self.at.bytes += bytes;
        }
        self.unreadable.clear();
        (self.manner.progress)(self.at);
        for standing_ in owed.by_risk.keys() {
            let mut after: Option<ExtentId> = None;
            loop {
                let page = inner.catalog.owed(after, PAGE).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.extent);
                for record in page {
                    if standing(&record) != *standing_ || self.run.targets(&record).is_empty() {
                        continue;
                    }
                    if (self.manner.stop)() {
                        return self.finish().await;
                    }
                    while self.making.len() >= self.manner.at_once {
                        self.next_made().await?;
                    }
                    self.making.spawn(Arc::clone(&self.run).make(record));
                }
            }
        }
        self.finish().await
    }

    async fn finish(&mut self) -> Result<()> {
        while !self.making.is_empty() {
            self.next_made().await?;
        }
        self.settle_batch().await?;
        while !self.settling.is_empty() {
            self.next_settled().await?;
        }
        Ok(())
    }

    async fn next_made(&mut self) -> Result<()> {
        let Some(made) = self.making.join_next().await else {
            return Ok(());
        };
        let made = made.map_err(task_lost)?;
        self.at.extents_done += 1;
        self.at.bytes_done += made.bytes;
        (self.manner.progress)(self.at);
        if let Some(good) = made.too_few {
            self.unreadable.push((made.record.clone(), good));
        }
        if self.batch.is_empty() {
            self.batch_since = Instant::now();
        }
        self.batch.push(made);
        if self.batch.len() >= BATCH || self.batch_since.elapsed() >= BATCH_TIME {
            self.settle_batch().await?;
        }
        Ok(())
    }

    async fn settle_batch(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        while self.settling.len() >= SETTLING {
            self.next_settled().await?;
        }
        let (run, ctx) = (Arc::clone(&self.run), self.manner.ctx.clone());
        self.settling.spawn(settle(run, ctx, batch));
        Ok(())
    }

    async fn next_settled(&mut self) -> Result<()> {
        let Some(settled) = self.settling.join_next().await else {
            return Ok(());
        };
        let settled = settled.map_err(task_lost)??;
        self.more |= !settled.liars.is_empty();
        let report = &mut self.report;
        report.extents += settled.extents;
        report.found += settled.found;
        report.replaced += settled.replaced;
        report.vanished += settled.vanished;
        for (server, work) in settled.made {
            let made = report.made.entry(server).or_default();
            (made.shares, made.bytes) = (made.shares + work.shares, made.bytes + work.bytes);
        }
        for fault in settled.liars {
            *report.liars.entry((fault.server, fault.fault)).or_default() += 1;
        }
        for fault in settled.faults {
            if !report
                .faults
                .iter()
                .any(|known| (&known.server, known.fault) == (&fault.server, fault.fault))
            {
                report.faults.push(fault);
            }
        }
        Ok(())
    }

    async fn end(mut self) -> Result<RepairReport> {
        let inner = &self.run.inner;
        for fault in self.run.down() {
            if !self.report.faults.contains(&fault) {
                self.report.faults.push(fault);
            }
        }
        let all = inner.servers.all().iter();
        let all = all.map(|server| server.index()).collect();
        self.report.left = inner.count_owed(all).await?.shares();
        for (record, good) in self.unreadable.iter().take(NAMED) {
            if let Some((subject, file, version)) = inner.subject_of(record).await? {
                self.report.unreadable.push(Unreadable {
                    subject,
                    file,
                    version,
                    needed: record.threshold.k(),
                    good: *good,
                    lost: false,
                });
            }
        }
        Ok(self.report)
    }
}

/// What became of a batch.
#[derive(Debug, Default)]
struct Settled {
    extents: u64,
    made: BTreeMap<String, Work>,
    found: u64,
    replaced: u64,
    vanished: u64,
    liars: Vec<ServerFault>,
    faults: Vec<ServerFault>,
}

/// Makes a batch of new shares safe from a power cut, and then tells the catalogue.
async fn settle(run: Arc<Run>, ctx: Context, batch: Vec<Made>) -> Result<Settled> {
    let inner = &run.inner;
    let mut touched = IndexSet::EMPTY;
    for index in batch
        .iter()
        .flat_map(|made| made.made.iter().chain(made.found.iter()))
    {
        touched.insert(index);
    }
    let servers = inner.servers.all().iter();
    let synced = join_all(
        servers
            .filter(|server| touched.contains(server.index()))
            .map(|server| async move { (server, server.ask(server.seat.store.sync()).await) }),
    )
    .await;
    let mut settled = Settled::default();
    let mut safe = IndexSet::EMPTY;
    for (server, answer) in synced {
        match answer {
            Ok(()) => safe.insert(server.index()),
            Err(error) => settled
                .faults
                .push(ServerFault::of_store(server.name(), &error)),
        }
    }
    let paid = |made: &Made| -> IndexSet {
        let shares = made.made.iter().chain(made.found.iter());
        shares.filter(|index| safe.contains(*index)).collect()
    };
    // A share of which no answer told may have come to its server all the same: whether its extent is still there is asked too.
    let changes: Vec<OwedChange> = batch
        .iter()
        .map(|made| {
            let change = OwedChange {
                extent: made.record.extent,
                generation: made.record.generation,
                add: made.liars.iter().map(|(index, _)| *index).collect(),
                remove: paid(made),
            };
            (change, !made.faults.is_empty())
        })
        .filter(|(change, in_doubt)| {
            *in_doubt || !change.add.is_empty() || !change.remove.is_empty()
        })
        .map(|(change, _)| change)
        .collect();
    let mut now = BTreeMap::new();
    if !changes.is_empty() {
        let shares: u32 = changes.iter().map(|change| change.remove.len()).sum();
        if shares > 0 || changes.iter().any(|change| !change.add.is_empty()) {
            let detail = format!("{shares} shares of {} extents", changes.len());
            let entry = ctx.entry(Act::Repair, None, detail, inner.clock.now());
            inner.catalog.record(vec![entry], Durability::Soon).await?;
        }
        let sets = inner.catalog.change_owed(&changes).await?;
        now = changes
            .iter()
            .map(|change| change.extent)
            .zip(sets)
            .collect();
    }
    for made in batch {
        let (record, paid) = (&made.record, paid(&made));
        if let Some(None) = now.get(&record.extent) {
            inner
                .remove_vanished(record.extent, record.generation)
                .await;
            settled.vanished += 1;
            continue;
        }
        settled.extents += u64::from(!paid.is_empty());
        settled.found += u64::from(made.found.len());
        settled.replaced += made.replaced;
        let len = record.plan().object_len();
        for server in inner.servers.all() {
            if made.made.contains(server.index()) && paid.contains(server.index()) {
                let work = settled.made.entry(server.name().to_owned()).or_default();
                (work.shares, work.bytes) = (work.shares + 1, work.bytes + len);
            }
        }
        settled
            .liars
            .extend(made.liars.into_iter().map(|(_, fault)| fault));
        settled.faults.extend(made.faults);
    }
    Ok(settled)
}

//! The batches of a refresh: made, put, switched, and what they replace removed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use warifu_core::format::{Round, Suite};
use warifu_core::ids::{ExtentId, Generation, Threshold};

use super::threshold::Wanted;
use super::{PASSES, RefreshOptions, RefreshProgress, RefreshReport, bytes_to_send};
use crate::context::{Act, Context};
use crate::error::{Result, ServerFault, task_lost};
use crate::folders::Asked;
use crate::repair::share::{Goal, Made, Run};
use crate::seam::catalog::{CatalogError, Durability, ExtentRecord, IndexSet, SaveId, Write};
use crate::seam::generations::Regenerated;
use crate::seam::store::StoreErrorKind;
use crate::servers::enough;

/// How many bytes are sent for a batch, at most.
const BATCH_BYTES: u64 = 256 << 20;

/// How many batches are under way: while one is switched, the next one is made.
const BATCHES: usize = 2;

/// So many small extents are put together: each by itself costs a server's disk less than the way there and back.
const TOGETHER: usize = 8;

/// How many bytes are sent for those put together, at most.
const TOGETHER_BYTES: u64 = 1 << 20;

/// More extents at a time than this make nothing quicker.
const AT_ONCE_MOST: usize = 1024;

/// How often the lease of a batch is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(30);

/// How a refresh goes about it.
pub(super) struct Manner<'a> {
    ctx: &'a Context,
    /// How many extents are worked on at a time.
    at_once: usize,
    /// How many extents a batch has, at most.
    batch: usize,
    progress: &'a (dyn Fn(RefreshProgress) + Send + Sync),
    /// Whether it is time to end.
    stop: &'a (dyn Fn() -> bool + Send + Sync),
    /// What is not so is made anew.
    wanted: Wanted,
}

impl<'a> Manner<'a> {
    pub(super) fn new(
        ctx: &'a Context,
        options: &RefreshOptions,
        (progress, stop): (
            &'a (dyn Fn(RefreshProgress) + Send + Sync),
            &'a (dyn Fn() -> bool + Send + Sync),
        ),
        wanted: Wanted,
    ) -> Self {
        Self {
            ctx,
            at_once: options.at_once.max(1),
            batch: options.batch.max(1),
            progress,
            stop,
            wanted,
        }
    }
}

impl Manner<'_> {
    /// Whether nothing more is to be begun: it is time to end, or the vault is to have another threshold by now. Going on would take that change back.
    async fn is_over(&self, work: &Run) -> Result<bool> {
        Ok((self.stop)()
            || work.inner.is_closing()
            || !work.inner.is_still_wanted(self.wanted.threshold).await?)
    }
}

/// What came of a batch.
#[derive(Debug, Default)]
struct Done {
    /// Extents looked at, and the bytes that were to be sent for them.
    extents: u64,
    planned: u64,
    /// Extents switched, and the bytes sent.
    switched: u64,
    bytes: u64,
    unreadable: u64,
    faults: Vec<ServerFault>,
}

/// Goes through all extents until all are as it is wanted.
pub(super) async fn run(
    work: &Arc<Run>,
    manner: Manner<'_>,
    mut generation: Generation,
    report: &mut RefreshReport,
) -> Result<()> {
    let inner = &work.inner;
    let mut at = RefreshProgress::default();
    let mut waited = false;
    for number in 0..PASSES {
        let (extents, bytes) = left(work, manner.wanted).await?;
        if extents == 0 || manner.is_over(work).await? {
            return Ok(());
        }
        at.extents = at.extents_done + extents;
        at.bytes = at.bytes_done + bytes;
        (manner.progress)(at);
        let before = report.extents;
        if number > 0 {
            // What the pass before has put and not switched is to be removed under its number, now or by a later sweep.
            generation = inner.take_number(manner.ctx, generation).await?;
            inner.read_folders().await?;
            if manner.is_over(work).await? {
                return Ok(());
            }
            inner.servers.learn_generation(generation);
        }
        pass(work, &manner, generation, &mut at, report).await?;
        if report.extents == before {
            if waited || unsettled(work).await?.is_empty() {
                // What is left cannot be had at the moment.
                return Ok(());
            }
            // What a drive has just saved is settled within a second.
            waited = true;
            tokio::time::sleep(SETTLING).await;
        }
    }
    Ok(())
}

async fn left(work: &Run, wanted: Wanted) -> Result<(u64, u64)> {
    let (mut extents, mut bytes) = (0, 0_u64);
    let mut asked = Asked::new(&work.inner);
    let mut after: Option<ExtentId> = None;
    while let Some(page) = work.inner.page(after).await? {
        after = page.last().map(|record| record.extent);
        for one in wanted.due(&mut asked, page).await? {
            extents += 1;
            bytes = bytes.saturating_add(bytes_to_send(&one.record, one.threshold));
        }
    }
    Ok((extents, bytes))
}

/// How long a pass waits for what was saved just before.
const SETTLING: Duration = Duration::from_millis(1500);

/// How many versions that are not settled are looked through.
const UNSETTLED: usize = 100_000;

/// The extents of versions that are not known to be on disk. They keep their generation until they are: a start may find such a version
/// lost and forget its extents, and if its catalogue was brought back from a backup, nothing would tell that the shares of the new generation are
/// anybody's. Read after the page, so that nothing in it was saved since.
async fn unsettled(work: &Run) -> Result<HashSet<ExtentId>> {
    let versions = work.inner.catalog.unsettled(UNSETTLED).await?;
    let extents = versions
        .iter()
        .flat_map(|version| version.head.iter().chain(version.layout.iter().flatten()));
    Ok(extents.copied().collect())
}

async fn pass(
    work: &Arc<Run>,
    manner: &Manner<'_>,
    generation: Generation,
    at: &mut RefreshProgress,
    report: &mut RefreshReport,
) -> Result<()> {
    let mut batches: JoinSet<Result<Done>> = JoinSet::new();
    let mut asked = Asked::new(&work.inner);
    // One for each threshold, of which folders make few.
    let mut gathered: BTreeMap<(u8, u8), Batch> = BTreeMap::new();
    let mut after: Option<ExtentId> = None;
    let mut ended = false;
    while !ended {
        let page = work.inner.page(after).await?.unwrap_or_default();
        after = page.last().map(|record| record.extent);
        ended = page.is_empty() || manner.is_over(work).await?;
        let unsettled = unsettled(work).await?;
        let page = if ended { Vec::new() } else { page };
        for one in manner.wanted.due(&mut asked, page).await? {
            // What was saved by another threshold since this pass took its number is for the next one.
            if one.record.generation >= generation || unsettled.contains(&one.record.extent) {
                continue;
            }
            let threshold = one.threshold;
            let batch = gathered
                .entry((threshold.k(), threshold.n()))
                .or_insert_with(|| Batch::new(threshold));
            batch.push(one.record);
            if batch.is_full(manner) {
                let batch = std::mem::replace(batch, Batch::new(threshold));
                begin_batch(&mut batches, work, manner, generation, batch, at, report).await?;
                ended = (manner.stop)();
                if ended {
                    break;
                }
            }
        }
        if ended {
            if (manner.stop)() {
                gathered.clear();
            }
            for (_, batch) in std::mem::take(&mut gathered) {
                begin_batch(&mut batches, work, manner, generation, batch, at, report).await?;
            }
        }
    }
    while !batches.is_empty() {
        next_done(&mut batches, manner, at, report).await?;
    }
    Ok(())
}

/// Extents that are dealt by one threshold and switched together.
struct Batch {
    threshold: Threshold,
    records: Vec<ExtentRecord>,
    /// Bytes that are sent for them.
    bytes: u64,
}

impl Batch {
    const fn new(threshold: Threshold) -> Self {
        Self {
            threshold,
            records: Vec::new(),
            bytes: 0,
        }
    }

    fn push(&mut self, record: ExtentRecord) {
        self.bytes = self
            .bytes
            .saturating_add(bytes_to_send(&record, self.threshold));
        self.records.push(record);
    }

    fn is_full(&self, manner: &Manner<'_>) -> bool {
        self.records.len() >= manner.batch || self.bytes >= BATCH_BYTES
    }
}

/// Begins to make a batch, as soon as few enough are under way.
async fn begin_batch(
    batches: &mut JoinSet<Result<Done>>,
    work: &Arc<Run>,
    manner: &Manner<'_>,
    generation: Generation,
    batch: Batch,
    at: &mut RefreshProgress,
    report: &mut RefreshReport,
) -> Result<()> {
    if batch.records.is_empty() {
        return Ok(());
    }
    while batches.len() >= BATCHES {
        next_done(batches, manner, at, report).await?;
    }
    let round = Round {
        generation,
        threshold: batch.threshold,
        suite: Suite::best(),
    };
    let lot = Lot {
        round,
        of_vault: manner.wanted.threshold,
        at_once: manner.at_once,
        batch: batch.records,
    };
    batches.spawn(make_batch(Arc::clone(work), manner.ctx.clone(), lot));
    Ok(())
}

/// A batch that is being made.
struct Lot {
    round: Round,
    /// What the vault's threshold is to be.
    of_vault: Threshold,
    at_once: usize,
    batch: Vec<ExtentRecord>,
}

async fn next_done(
    batches: &mut JoinSet<Result<Done>>,
    manner: &Manner<'_>,
    at: &mut RefreshProgress,
    report: &mut RefreshReport,
) -> Result<()> {
    let Some(done) = batches.join_next().await else {
        return Ok(());
    };
    let done = done.map_err(task_lost)??;
    at.extents_done += done.extents;
    at.bytes_done += done.planned;
    (manner.progress)(*at);
    report.extents += done.switched;
    report.bytes += done.bytes;
    report.unreadable += done.unreadable;
    report.note(done.faults);
    Ok(())
}

async fn make_batch(work: Arc<Run>, ctx: Context, lot: Lot) -> Result<Done> {
    let Lot {
        round,
        of_vault,
        at_once,
        batch,
    } = lot;
    let inner = &work.inner;
    let Round {
        generation,
        threshold,
        ..
    } = round;
    let planned = batch.iter().map(|record| bytes_to_send(record, threshold));
    let mut done = Done {
        extents: batch.len() as u64,
        planned: planned.sum(),
        ..Done::default()
    };
    let named: Vec<_> = batch
        .iter()
        .map(|record| (record.extent, generation))
        .collect();
    let save = inner.intend(named.clone()).await?.save;
    // What a power cut makes the catalogue forget, nobody would ever remove.
    inner.catalog.sync().await?;
    let at_once = at_once.min(AT_ONCE_MOST);
    let turns = Semaphore::new(at_once);
    let making = stream::iter(groups(round, batch, at_once))
        .map(|group| make(&work, group, round, &turns))
        .buffer_unordered(at_once)
        .collect::<Vec<_>>();
    let made = while_leased(&work, save, making).await;
    let made: Vec<_> = made.into_iter().flatten().collect();
    let safe = sync(&work, &made, &mut done.faults).await;
    let enough = enough(threshold);
    let mut switch = Vec::new();
    for (made, clash) in made {
        done.bytes += made.bytes;
        done.unreadable += u64::from(made.too_few.is_some());
        done.faults
            .extend(made.liars.into_iter().map(|(_, fault)| fault));
        done.faults.extend(made.faults);
        let stored: IndexSet = made.made.iter().filter(|at| safe.contains(*at)).collect();
        if !clash && stored.len() as usize >= enough {
            let all = threshold.indices();
            switch.push(Regenerated {
                extent: made.record.extent,
                from: made.record.generation,
                to: generation,
                threshold,
                of_vault,
                owed: all.filter(|at| !stored.contains(*at)).collect(),
            });
        }
    }
    if !inner.is_still_wanted(of_vault).await? {
        // All that was put is of no use then, and goes.
        switch.clear();
    }
    let (k, n) = (threshold.k(), threshold.n());
    let detail = format!(
        "{} extents to generation {generation}, {k} of {n}",
        switch.len()
    );
    let write = Write {
        audit: ctx.entry(Act::Refresh, None, detail, inner.clock.now()),
        // What it makes useless is removed only once nobody can fall back to where it was of use.
        durability: Durability::Now,
    };
    let waste = SaveId::fresh()?;
    match inner
        .catalog
        .regenerate(save, &switch, waste, inner.options.save_lease, write)
        .await
    {
        Ok(intent) => {
            let in_vain = intent.extents.iter();
            let in_vain = in_vain.filter(|(extent, to)| {
                *to == generation && switch.iter().any(|switched| switched.extent == *extent)
            });
            done.switched = (switch.len() - in_vain.count().min(switch.len())) as u64;
            // Where it cannot be removed now, a sweep does it later.
            inner.remove_waste(intent).await;
        }
        // It took longer than its lease, and what was put by then was swept; not what came after that.
        Err(CatalogError::Lapsed) => {
            let intent = inner.intend(named).await?;
            inner.remove_waste(intent).await;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(done)
}

/// How many bytes each of an extent's new shares has.
fn new_len(record: &ExtentRecord, round: Round) -> u64 {
    warifu_core::format::Plan::new(record.scheme, round.threshold, record.len).object_len()
}

/// How many bytes they have all together.
fn sent_for(record: &ExtentRecord, round: Round) -> u64 {
    new_len(record, round).saturating_mul(u64::from(round.threshold.n()))
}

/// Extents that are put together, in their order.
fn groups(round: Round, batch: Vec<ExtentRecord>, at_once: usize) -> Vec<Vec<ExtentRecord>> {
    let mut groups: Vec<Vec<ExtentRecord>> = Vec::new();
    let mut bytes = 0_u64;
    for record in batch {
        let more = sent_for(&record, round);
        bytes = bytes.saturating_add(more);
        match groups.last_mut() {
            Some(group) if group.len() < TOGETHER.min(at_once) && bytes <= TOGETHER_BYTES => {
                group.push(record);
            }
            _ => {
                groups.push(vec![record]);
                bytes = more;
            }
        }
    }
    groups
}

/// The new shares of an extent, by index; none where too few of the old ones could be had.
struct Dealt {
    made: Made,
    objects: Vec<Bytes>,
    /// Whether something else lay in the place of one of them.
    clash: bool,
}

async fn deal(work: &Run, record: ExtentRecord, round: Round) -> Dealt {
    let mut made = Made::of(record);
    let mut goal = Goal::Reshare(round);
    let objects = work.made_of_good_shares(&mut made, &mut goal).await;
    Dealt {
        made,
        objects: objects.unwrap_or_default(),
        clash: false,
    }
}

/// Makes and puts the shares of some extents. Also says of each whether something else lay in the place of one of them.
async fn make(
    work: &Run,
    group: Vec<ExtentRecord>,
    round: Round,
    turns: &Semaphore,
) -> Vec<(Made, bool)> {
    let inner = &work.inner;
    let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
    let _turn = turns.acquire_many(count).await;
    let mut room = 0_u64;
    for record in &group {
        let read = record
            .plan()
            .object_len()
            .saturating_mul(u64::from(record.threshold.k()));
        room = room.saturating_add(read.saturating_add(sent_for(record, round)));
    }
    let _room = work.budget.take(room).await;
    let mut dealt = join_all(group.into_iter().map(|record| deal(work, record, round))).await;
    let sent = dealt.iter().flat_map(|dealt| &dealt.objects);
    work.pace
        .wait(sent.map(|object| object.len() as u64).sum())
        .await;
    let servers = inner.servers.of(round.threshold).enumerate();
    let servers = servers.filter(|(_, server)| !work.is_down(server.index()));
    let answers = join_all(servers.map(|(position, server)| {
        let objects = dealt.iter().filter_map(|dealt| {
            let object = dealt.objects.get(position)?;
            let extent = dealt.made.record.extent;
            let name = inner.servers.object_key(server, extent, round.generation);
            Some((name, object.clone()))
        });
        let objects: Vec<_> = objects.collect();
        async move { (position, server, server.put_many_own(objects).await) }
    }))
    .await;
    for (position, server, answers) in answers {
        let put = dealt.iter_mut();
        let put = put.filter(|dealt| dealt.objects.len() > position);
        for (dealt, answer) in put.zip(answers) {
            match answer {
                Ok(()) => {
                    dealt.made.made.insert(server.index());
                    dealt.made.bytes += new_len(&dealt.made.record, round);
                }
                Err(error) => {
                    dealt.clash |= error.kind == StoreErrorKind::AlreadyExists;
                    let fault = ServerFault::of_store(server.name(), &error);
                    work.strike(server.index(), &fault);
                    dealt.made.faults.push(fault);
                }
            }
        }
    }
    let made = dealt.into_iter();
    made.map(|dealt| (dealt.made, dealt.clash)).collect()
}

/// Does the work, and keeps others from taking it for dead meanwhile.
async fn while_leased<T>(work: &Run, save: SaveId, doing: impl Future<Output = T>) -> T {
    tokio::pin!(doing);
    loop {
        tokio::select! {
            done = &mut doing => return done,
            () = tokio::time::sleep(RENEW_EVERY) => {
                let lease = work.inner.options.save_lease;
                if let Err(error) = work.inner.catalog.extend_save(save, &[], lease).await {
                    tracing::warn!(%error, "the lease of a batch could not be renewed");
                }
            }
        }
    }
}

/// The servers that have what was put on their disks.
async fn sync(work: &Run, made: &[(Made, bool)], faults: &mut Vec<ServerFault>) -> IndexSet {
    let mut touched = IndexSet::EMPTY;
    for index in made.iter().flat_map(|(made, _)| made.made.iter()) {
        touched.insert(index);
    }
    let servers = work.inner.servers.all().iter();
    let synced = servers
        .filter(|server| touched.contains(server.index()))
        .map(|server| async move { (server, server.ask(server.seat.store.sync()).await) });
    let mut safe = IndexSet::EMPTY;
    for (server, answer) in join_all(synced).await {
        match answer {
            Ok(()) => safe.insert(server.index()),
            Err(error) => faults.push(ServerFault::of_store(server.name(), &error)),
        }
    }
    safe
}

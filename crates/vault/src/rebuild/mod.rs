//! Rebuilding: from any k servers alone a new catalogue, with names, folders, times, versions and the audit log.
//!
//! 1. [`gather`]: the vault key, from the servers' pieces.
//! 2. `survey`: what lies on the servers. The identity of each object is read from its first bytes, on one server; the
//!    others are asked only for what that one does not have.
//! 3. `replay`: the journal, which tells everything up to its last segment; `chain`: which segments belong together.
//! 4. `adopt`: saves after that. Their heads carry enough to be put in place.
//! 5. `layouts`: where the journal has gaps, which extents versions consist of, as their heads say; `mend`: what does not fit
//!    together any more.
//! 6. The catalogue is filled in one transaction, and goes on from there.
//!
//! Contents are not read, only the beginning of heads that the journal does not know.

mod adopt;
mod book;
mod chain;
mod gather;
mod layouts;
mod log;
mod mend;
mod replay;
mod report;
mod survey;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use warifu_core::format::ExtentKind;
use warifu_core::ids::{ExtentId, Generation, ServerId, ShareIndex, VaultId, VersionNo};
use warifu_core::random::NoRandomness;

use crate::context::{Act, Context};
use crate::node::{NodeId, NodeKind};
use crate::refresh::THRESHOLD;
use crate::seam::catalog::{Catalog, Durability, ExtentRecord, IndexSet, Intent, SaveId};
use crate::seam::clock::{Clock, Timestamp};
use crate::seam::generations::Generations;
use crate::seam::journal::{Restored, Resume, Row};
use crate::seam::past::KNOWN_SINCE;
use crate::seam::store::{
    ObjectKey, ObjectStat, Page, ShareStore, Space, StoreError, StoreErrorKind,
};
use crate::servers::{Said, ServerSeat, Servers};

use book::Book;
pub use gather::{Gathered, gather, gather_by_way, gather_known};
pub use log::{LogCompared, LogDifference};
pub use report::{
    Adopted, AdoptedAs, JournalFound, LostVersion, OtherTimeline, RebuildError, RebuildOptions,
    RebuildProgress, RebuildReport, ServerFound, Stage, UnreadObjects,
};
use survey::Survey;

type Outcome<T> = Result<T, RebuildError>;
type Progress<'a> = &'a (dyn Fn(RebuildProgress) + Send + Sync);

/// What all steps use.
struct Work<'a> {
    vault: VaultId,
    servers: Arc<Servers>,
    given: IndexSet,
    progress: Progress<'a>,
}

/// Fills an empty catalogue from what the servers hold.
///
/// # Errors
/// [`RebuildError`]; the catalogue is empty then.
pub async fn rebuild(
    gathered: Gathered,
    catalog: &dyn Catalog,
    clock: &dyn Clock,
    ctx: &Context,
    options: &RebuildOptions,
    progress: Progress<'_>,
) -> Outcome<RebuildReport> {
    let Gathered {
        vault,
        thresholds,
        in_force,
        generation,
        key,
        seats,
        faults,
    } = gathered;
    let mut report = RebuildReport {
        faults,
        ..RebuildReport::default()
    };
    let given: IndexSet = seats.iter().map(|seat| seat.index).collect();
    let names: BTreeMap<ShareIndex, (ServerId, String)> = seats
        .iter()
        .map(|seat| (seat.index, (seat.id, seat.name.clone())))
        .collect();
    let seats = (1..=thresholds.seats())
        .filter_map(ShareIndex::new)
        .map(|index| {
            let seat = seats.iter().find(|seat| seat.index == index).cloned();
            Ok(match seat {
                Some(seat) => seat,
                None => ServerSeat {
                    id: ServerId::fresh()?,
                    index,
                    name: format!("server-{index}"),
                    store: Arc::new(NotGiven),
                },
            })
        })
        .collect::<Result<Vec<_>, NoRandomness>>()?;
    let too_few = |got, faults| RebuildError::TooFewServers {
        needed: thresholds.least(),
        got,
        faults,
    };
    let Some(servers) = Servers::new(seats, key, thresholds, generation, options.server_timeout)
    else {
        return Err(too_few(0, report.faults));
    };
    let work = Work {
        vault,
        servers: Arc::new(servers),
        given,
        progress,
    };
    let mut survey = work.survey(&mut report).await?;
    if survey.listed.len() < u32::from(thresholds.least()) {
        let got = survey.listed.len() as usize;
        return Err(too_few(got, report.faults));
    }
    let told = work.replay(&survey, &mut report).await?;
    let (mut book, tip) = (told.book, told.tip);
    work.adopt(
        &survey,
        &mut book,
        &told.elsewhere,
        &mut report,
        (ctx, clock),
    )
    .await?;
    work.set_layouts(&survey, &mut book, &report).await?;
    work.know_extents(&survey, &mut book);
    book.mend(&mut report, clock.now());
    work.count_shares(&mut survey, &mut book, &mut report);
    report.servers = work
        .servers
        .all()
        .iter()
        .map(|server| {
            let index = server.index();
            let given = names.get(&index);
            let told = book.servers.get(&index);
            let (id, name) = match (given, told) {
                (Some((id, name)), _) => (*id, name.clone()),
                (None, Some((id, name))) => (*id, name.clone()),
                (None, None) => (server.seat.id, server.name().to_owned()),
            };
            ServerFound {
                index,
                id,
                name,
                given: given.is_some(),
            }
        })
        .collect();
    let unknown = book.is_past_unknown();
    // What was destroyed and is not gone from everywhere is asked for again, and what is not known of the past stays unknown.
    let destroyed = book.destroyed();
    let known = book.known_since();
    let generations = generations_of(&survey, &book, generation, clock.now());
    let filled = work.fill(survey, book, (tip, generations), &mut report, catalog);
    filled.await?;
    if unknown {
        let since = u64::try_from(clock.now().secs).unwrap_or(0);
        catalog
            .advance(KNOWN_SINCE, 0, since.saturating_add(1))
            .await?;
    }
    if !unknown && known > 0 {
        catalog.advance(KNOWN_SINCE, 0, known).await?;
    }
    if thresholds.target() == in_force {
        // What is saved from now on is dealt as most things are, and older copies of the vault file are known as such.
        let said = Said {
            change: thresholds.change,
            threshold: in_force,
        };
        catalog.advance(THRESHOLD, 0, said.position()).await?;
    }
    if !destroyed.is_empty() {
        let intent = Intent {
            save: SaveId::fresh()?,
            extents: destroyed,
        };
        catalog.begin_save(&intent, Duration::ZERO).await?;
    }
    let detail = format!(
        "{} files from {} of {} servers",
        report.files,
        work.given.len(),
        thresholds.seats()
    );
    let entry = ctx.entry(Act::Rebuild, None, detail, clock.now());
    catalog.record(vec![entry], Durability::Now).await?;
    Ok(report)
}

impl Work<'_> {
    fn say(&self, stage: Stage, done: u64, total: u64) {
        (self.progress)(RebuildProgress { stage, done, total });
    }

    /// Finds out which shares are owed and which versions cannot be read.
    fn count_shares(&self, survey: &mut Survey, book: &mut Book, report: &mut RebuildReport) {
        let mut short: HashMap<ExtentId, Short> = HashMap::new();
        for record in book.extents.values_mut() {
            let seen = survey.extents.get(&record.extent);
            if let Some(seen) = seen {
                // The journal may not have told of a refresh yet.
                (record.generation, record.threshold) = (seen.generation, seen.threshold);
            }
            let there = seen.map_or(IndexSet::EMPTY, |seen| seen.there);
            let (owed, have, may) = shares_of(survey.listed, survey.doubtful, there, record);
            report.owed_shares += u64::from(owed.len());
            record.owed = owed;
            let needed = u32::from(record.threshold.k());
            if have < needed {
                let have = u8::try_from(have).unwrap_or(u8::MAX);
                let for_good = may < needed;
                let needed = record.threshold.k();
                short.insert(
                    record.extent,
                    Short {
                        have,
                        needed,
                        for_good,
                    },
                );
            }
        }
        report.unused = survey
            .extents
            .iter()
            .filter(|(extent, seen)| {
                seen.kind != ExtentKind::Journal && !book.extents.contains_key(extent)
            })
            .count() as u64;
        if short.is_empty() {
            return;
        }
        let paths = book.paths_of_documents();
        let mut worst: BTreeMap<_, Short> = BTreeMap::new();
        let mut note = |document, version, extent: &ExtentId| {
            if let Some(found) = short.get(extent) {
                let entry = worst.entry((document, version)).or_insert(*found);
                if found.have < entry.have {
                    (entry.have, entry.needed) = (found.have, found.needed);
                }
                entry.for_good |= found.for_good;
            }
        };
        for ((document, number), (version, _)) in &book.versions {
            version
                .head
                .iter()
                .for_each(|head| note(*document, *number, head));
        }
        for ((document, _, from), (until, extent)) in &book.layouts {
            if !short.contains_key(extent) {
                continue;
            }
            let all = book
                .versions
                .range((*document, *from)..=(*document, VersionNo(u64::MAX)));
            for ((_, number), _) in
                all.take_while(|((_, number), _)| until.is_none_or(|until| *number < until))
            {
                note(*document, *number, extent);
            }
        }
        for ((document, version), found) in worst {
            report.lost.push(LostVersion {
                path: paths.get(&document).cloned().unwrap_or_default(),
                version,
                needed: found.needed,
                there: found.have,
                for_good: found.for_good,
            });
        }
    }

    async fn fill(
        &self,
        survey: Survey,
        book: Book,
        (tip, generations): (Option<ExtentId>, Generations),
        report: &mut RebuildReport,
        catalog: &dyn Catalog,
    ) -> Outcome<()> {
        let named: HashSet<_> = book.entries.values().map(|(_, node)| *node).collect();
        for attr in book.nodes.values().filter(|attr| attr.nlink > 0) {
            match attr.kind {
                NodeKind::Dir => report.dirs += 1,
                NodeKind::File if named.contains(&attr.node) => report.files += 1,
                _ => {}
            }
        }
        drop(named);
        report.versions = book.versions.len() as u64;
        report.audit_lines = book.audit.len() as u64;
        let last_line = book.audit.keys().next_back().copied().unwrap_or(0);
        report.audit_missing = last_line.saturating_sub(report.audit_lines);
        let complete = survey.is_complete(&self.servers);
        report.undecided =
            (!complete && report.lacks_journal()) || !report.journal.others.is_empty();
        // The segments there are go on being known, so that they go when a new checkpoint makes them useless.
        let (listed, doubtful) = (survey.listed, survey.doubtful);
        let segments: Vec<ExtentRecord> = survey
            .extents
            .into_iter()
            .filter(|(_, seen)| seen.kind == ExtentKind::Journal)
            .map(|(extent, seen)| {
                let mut record = seen.record(extent);
                record.owed = shares_of(listed, doubtful, seen.there, &record).0;
                report.owed_shares += u64::from(record.owed.len());
                record
            })
            .collect();
        let next = segments.iter().map(|record| record.version.0).max();
        let resume = Resume {
            next: next.unwrap_or(0).saturating_add(1),
            tip,
            undecided: report.undecided,
            archived: book.archived,
            last_node: NodeId(book.last_node),
            generations,
        };
        let total = book.nodes.len() + book.versions.len() + book.extents.len();
        self.say(Stage::Writing, 0, total as u64);
        let segments = segments
            .into_iter()
            .map(|record| Restored::Row(Row::Extent(record)));
        catalog
            .restore(Box::new(book.into_rows().chain(segments)), resume)
            .await?;
        self.say(Stage::Writing, total as u64, total as u64);
        Ok(())
    }
}

/// An extent of which too few shares were found.
#[derive(Clone, Copy)]
struct Short {
    have: u8,
    needed: u8,
    /// Whether those that could not be asked would not be enough either.
    for_good: bool,
}

/// Where the vault stands with its generations, as far as the servers tell. No number that was seen is given out again, and where
/// something is older than the pieces of the vault key, a refresh is gone on with. When the last one was, nobody knows any more.
fn generations_of(
    survey: &Survey,
    book: &Book,
    of_pieces: Generation,
    now: Timestamp,
) -> Generations {
    let newest = survey.newest.map_or(of_pieces, |seen| seen.max(of_pieces));
    let segments = survey
        .extents
        .values()
        .filter(|seen| seen.kind == ExtentKind::Journal);
    let needed = book
        .extents
        .values()
        .map(|record| record.generation)
        .chain(segments.map(|seen| seen.generation));
    // The pieces of the vault key have the number of the run that put them, and what is dealt between two refreshes a greater one.
    let is_older = needed.min().is_some_and(|oldest| oldest < of_pieces);
    Generations {
        current: newest,
        wanted: of_pieces,
        begun: is_older.then_some(now),
        ended: None,
    }
}

/// The shares owed, how many there are, and how many there may be with what could not be asked or read.
///
/// What the given servers have is what counts. The row's own set is of the moment in which the row was told, and what is owed
/// may have been paid since: of a server that was not given it stays, so that a repair asks for the share before it makes it
/// anew, and no share counts as lost by it.
fn shares_of(
    listed: IndexSet,
    doubtful: IndexSet,
    there: IndexSet,
    record: &ExtentRecord,
) -> (IndexSet, u32, u32) {
    let (mut owed, mut may) = (IndexSet::EMPTY, there.len());
    for index in record.threshold.indices() {
        if there.contains(index) {
            continue;
        }
        if listed.contains(index) {
            owed.insert(index);
            may += u32::from(doubtful.contains(index));
            continue;
        }
        may += 1;
        if record.owed.contains(index) {
            owed.insert(index);
        }
    }
    (owed, there.len(), may)
}

/// Stands for a server that was not given: nothing is known of what it holds.
#[derive(Debug)]
struct NotGiven;

fn not_given<T>() -> Result<T, StoreError> {
    Err(StoreError::new(
        StoreErrorKind::NoAnswer,
        "this server was not given",
    ))
}

#[async_trait]
impl ShareStore for NotGiven {
    async fn put_new(&self, _: &ObjectKey, _: Bytes, _: Durability) -> Result<(), StoreError> {
        not_given()
    }

    async fn get(
        &self,
        _: &ObjectKey,
        _: Option<std::ops::Range<u64>>,
    ) -> Result<Bytes, StoreError> {
        not_given()
    }

    async fn stat(&self, _: &ObjectKey) -> Result<ObjectStat, StoreError> {
        not_given()
    }

    async fn list(&self, _: Option<&ObjectKey>, _: usize) -> Result<Page, StoreError> {
        not_given()
    }

    async fn delete(&self, _: &ObjectKey) -> Result<(), StoreError> {
        not_given()
    }

    async fn sync(&self) -> Result<(), StoreError> {
        not_given()
    }

    async fn space(&self) -> Result<Space, StoreError> {
        not_given()
    }
}

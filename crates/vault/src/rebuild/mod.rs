//! Rebuilding: from any k servers alone a new catalogue, with names, folders, times, versions and the audit log.
//!
//! 1. [`gather`]: the vault key, from the servers' pieces.
//! 2. `survey`: what lies on the servers. The identity of each object is read from its first bytes, on one server; the
//!    others are asked only for what that one does not have.
//! 3. `replay`: the journal, which tells everything up to its last segment.
//! 4. `adopt`: saves after that. Their heads carry enough to be put in place.
//! 5. `mend`: where the journal has gaps, what does not fit together any more.
//! 6. The catalogue is filled in one transaction, and goes on from there.
//!
//! Contents are not read, only the beginning of heads that the journal does not know.

mod adopt;
mod book;
mod gather;
mod mend;
mod replay;
mod survey;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use warifu_core::format::ExtentKind;
use warifu_core::ids::{ExtentId, ServerId, ShareIndex, VaultId, VersionNo};
use warifu_core::random::NoRandomness;

use crate::context::{Act, Context};
use crate::error::ServerFault;
use crate::node::{NodeId, NodeKind};
use crate::seam::catalog::{Catalog, CatalogError, Durability, ExtentRecord, IndexSet};
use crate::seam::clock::{Clock, Timestamp};
use crate::seam::journal::{Restored, Resume, Row};
use crate::seam::store::{
    ObjectKey, ObjectStat, Page, ShareStore, Space, StoreError, StoreErrorKind,
};
use crate::servers::{ServerSeat, Servers};

use book::Book;
pub use gather::{Gathered, gather};
use survey::Survey;

/// How a rebuild works.
#[derive(Clone, Debug)]
pub struct RebuildOptions {
    /// How long an answer of a server is waited for.
    pub server_timeout: Duration,
}

impl Default for RebuildOptions {
    fn default() -> Self {
        Self {
            server_timeout: Duration::from_secs(30),
        }
    }
}

/// What a rebuild is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading what the servers hold.
    Survey,
    /// Reading the journal.
    Journal,
    /// Reading heads that the journal does not know.
    Heads,
    /// Writing the catalogue.
    Writing,
}

/// How far a rebuild has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebuildProgress {
    /// What it is at.
    pub stage: Stage,
    /// How many objects, segments, heads or rows are done.
    pub done: u64,
    /// Of how many.
    pub total: u64,
}

/// A server of the rebuilt vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFound {
    /// Which share it keeps.
    pub index: ShareIndex,
    /// Its id: of one that was not given and that the journal does not name, a new one.
    pub id: ServerId,
    /// Its name.
    pub name: String,
    /// Whether it was given.
    pub given: bool,
}

/// What the journal was good for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalFound {
    /// How many segments were read.
    pub segments: u64,
    /// When the last one was written; `None` without a journal: then moves, deletions, empty folders and links are not in.
    pub up_to: Option<Timestamp>,
    /// Segments that are missing or cannot be read. What changed in them alone may be old, gone again, or absent.
    pub gaps: Vec<RangeInclusive<u64>>,
    /// Segments after the last one that was read of which the servers given have too few shares: they were being written when
    /// the catalogue was lost, or the servers that were not given have the rest.
    pub unfinished: u64,
    /// What is wrong with those that are there.
    pub faults: Vec<String>,
}

/// How a save that the journal does not know was put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdoptedAs {
    /// As the next version of its document.
    Version,
    /// As a file that the journal did not know.
    File,
    /// As a copy beside the file, whose version was another.
    Copy,
}

/// A save that the journal does not know. Whether its program was told that it is saved is not known either; it is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The file's path.
    pub path: String,
    /// The version's number.
    pub version: VersionNo,
    /// When it was saved.
    pub saved_at: Timestamp,
    /// How it was put in place.
    pub how: AdoptedAs,
}

/// A version of which the servers that were given do not have enough shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostVersion {
    /// The file's path; empty where the version belongs to no file any more.
    pub path: String,
    /// Its number.
    pub version: VersionNo,
    /// How many shares are needed.
    pub needed: u8,
    /// How many there are of the extent with the fewest.
    pub there: u8,
    /// Whether the servers that were not given could not change that.
    pub for_good: bool,
}

/// What a rebuild made, and what it could not.
#[derive(Clone, Debug, Default)]
pub struct RebuildReport {
    /// Files that have a name.
    pub files: u64,
    /// Folders, the root among them.
    pub dirs: u64,
    /// Versions.
    pub versions: u64,
    /// Lines of the audit log.
    pub audit_lines: u64,
    /// Lines of the audit log that are missing.
    pub audit_missing: u64,
    /// What the journal was good for.
    pub journal: JournalFound,
    /// Saves that the journal does not know. Without a journal all are such, and only counted.
    pub adopted: Vec<Adopted>,
    /// How many saves were put in place that the journal does not know.
    pub adopted_count: u64,
    /// What did not fit together and was moved into a folder of its own.
    pub moved: Vec<String>,
    /// Versions that cannot be read from the servers given.
    pub lost: Vec<LostVersion>,
    /// Shares that servers which were given do not have.
    pub owed_shares: u64,
    /// Extents that no version needs: left by saves that came to nothing, or of versions that could not be put in place.
    pub unused: u64,
    /// Files on servers that no warifu wrote.
    pub foreign: u64,
    /// The servers of the vault.
    pub servers: Vec<ServerFound>,
    /// What is wrong with servers that were given.
    pub faults: Vec<ServerFault>,
}

impl RebuildReport {
    /// Whether everything is as it was when the last segment of the journal was written, or newer.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.journal.up_to.is_some()
            && self.journal.gaps.is_empty()
            && self.journal.unfinished == 0
            && self.moved.is_empty()
            && self.lost.is_empty()
            && self.audit_missing == 0
    }
}

/// Why a catalogue could not be rebuilt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// Fewer than k servers can be read.
    #[error("{needed} servers are needed, and {got} can be read")]
    TooFewServers {
        /// How many are needed.
        needed: u8,
        /// How many can be read.
        got: usize,
        /// What is wrong with the others.
        faults: Vec<ServerFault>,
    },
    /// A server stopped answering in the middle.
    #[error("a server stopped answering: {0}")]
    Server(ServerFault),
    /// The new catalogue failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The operating system has no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

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
        threshold,
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
    let seats = threshold
        .indices()
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
        needed: threshold.k(),
        got,
        faults,
    };
    let Some(servers) = Servers::new(seats, key, threshold, generation, options.server_timeout)
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
    if survey.listed.len() < u32::from(threshold.k()) {
        let got = survey.listed.len() as usize;
        return Err(too_few(got, report.faults));
    }
    let mut book = work.replay(&survey, &mut report).await?;
    work.adopt(&survey, &mut book, &mut report, ctx, clock)
        .await?;
    book.mend(&survey, &mut report, clock.now())?;
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
    work.fill(survey, book, &mut report, catalog).await?;
    let detail = format!(
        "{} files from {} of {} servers",
        report.files,
        work.given.len(),
        threshold.n()
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
        let threshold = self.servers.threshold;
        let mut short: HashMap<ExtentId, (u8, bool)> = HashMap::new();
        for record in book.extents.values_mut() {
            let seen = survey.extents.get(&record.extent);
            let there = seen.map_or(IndexSet::EMPTY, |seen| seen.there);
            let (owed, have, may) = self.shares_of(survey.listed, there, record);
            report.owed_shares += u64::from(owed.len());
            record.owed = owed;
            let needed = u32::from(record.threshold.k());
            if have < needed {
                let have = u8::try_from(have).unwrap_or(u8::MAX);
                short.insert(record.extent, (have, may < needed));
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
        let mut worst: BTreeMap<_, (u8, bool)> = BTreeMap::new();
        let mut note = |document, version, extent: &ExtentId| {
            if let Some((have, for_good)) = short.get(extent) {
                let entry = worst.entry((document, version)).or_insert((u8::MAX, false));
                entry.0 = entry.0.min(*have);
                entry.1 |= for_good;
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
        for ((document, version), (there, for_good)) in worst {
            report.lost.push(LostVersion {
                path: paths.get(&document).cloned().unwrap_or_default(),
                version,
                needed: threshold.k(),
                there,
                for_good,
            });
        }
    }

    /// The shares owed, how many there are, and how many there may be with the servers that were not given.
    ///
    /// What the given servers have is what counts. The row's own set is of the moment in which the row was told, and what is owed
    /// may have been paid since: of a server that was not given it stays, so that a repair asks for the share before it makes it
    /// anew, and no share counts as lost by it.
    fn shares_of(
        &self,
        listed: IndexSet,
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
                continue;
            }
            may += 1;
            if record.owed.contains(index) {
                owed.insert(index);
            }
        }
        (owed, there.len(), may)
    }

    async fn fill(
        &self,
        survey: Survey,
        book: Book,
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
        // The segments there are go on being known, so that they go when a new checkpoint makes them useless.
        let listed = survey.listed;
        let segments: Vec<ExtentRecord> = survey
            .extents
            .into_iter()
            .filter(|(_, seen)| seen.kind == ExtentKind::Journal)
            .map(|(extent, seen)| {
                let mut record = seen.record(extent);
                record.owed = self.shares_of(listed, seen.there, &record).0;
                record
            })
            .collect();
        let next = segments.iter().map(|record| record.version.0).max();
        let resume = Resume {
            next: next.unwrap_or(0).saturating_add(1),
            archived: book.archived,
            last_node: NodeId(book.last_node),
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

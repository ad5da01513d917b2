//! How the vault is: its servers, its room, and what would be lost if one more server went.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use warifu_core::format::{ExtentKind, Scheme};
use warifu_core::ids::{ExtentId, FileId, ShareIndex, Threshold};

use crate::context::Context;
use crate::error::{Fault, Result};
use crate::folders::FolderThreshold;
use crate::node::{NodeId, NodeKind};
use crate::refresh::GenerationStatus;
use crate::seam::catalog::{CatalogError, ExtentRecord, IndexSet, Usage};
use crate::seam::clock::Timestamp;
use crate::seam::store::{Space, StoreError, StoreErrorKind};
use crate::servers::Server;
use crate::vault::{Inner, Vault};

pub use crate::servers::Breaker;

/// How a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It answers and takes shares.
    Normal,
    /// It answers, and so late that others are asked in its place.
    Slow,
    /// It answers, and does not have all its shares yet.
    Behind,
    /// It answers and has no room.
    Full,
    /// It answers and refuses what is to be stored.
    Refusing,
    /// It does not answer, or refuses everything, or has lost its piece of the vault key.
    Away(Fault),
}

/// What a server is good for, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// For everything.
    Normal,
    /// For everything, and not as it should be.
    Degraded,
    /// For reading.
    ReadOnly,
    /// For nothing.
    Stopped,
}

impl ServerState {
    /// What a server in this state is good for.
    #[must_use]
    pub const fn condition(&self) -> Condition {
        match self {
            Self::Normal => Condition::Normal,
            Self::Slow | Self::Behind => Condition::Degraded,
            Self::Full | Self::Refusing => Condition::ReadOnly,
            Self::Away(_) => Condition::Stopped,
        }
    }
}

/// What is known of a server.
#[derive(Clone, Debug)]
pub struct ServerStatus {
    /// Its name in the vault file.
    pub name: String,
    /// Which share it keeps.
    pub index: ShareIndex,
    /// How it is.
    pub state: ServerState,
    /// What it said, where that is not normal.
    pub detail: String,
    /// Its usual time to answer, once it has answered something.
    pub latency: Option<Duration>,
    /// Its room.
    pub space: Space,
    /// Whether it is asked at all at the moment, as this process knows it.
    pub breaker: Breaker,
    /// How long ago it last answered this process as it should.
    pub last_success: Option<Duration>,
    /// How long ago it last did not, and what was wrong.
    pub last_failure: Option<(Duration, String)>,
    /// How many shares it does not have yet.
    pub owed: u64,
}

/// A file that is not at full strength.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeakFile {
    /// Its path; empty where only older versions of a removed file are concerned.
    pub path: String,
    /// How many servers may go before a version of it cannot be read; negative where too few that have it answer already.
    pub spare: i32,
    /// The indices of the servers that do not have all its shares yet.
    pub owed: Vec<ShareIndex>,
}

/// The files that some server does not have all shares of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weak {
    /// How many there are.
    pub files: u64,
    /// How many of them would be lost, as far as their present and kept versions go, if one more server went.
    pub at_risk: u64,
    /// How many of them have a version that cannot be read now.
    pub unreadable: u64,
    /// Those with the least to spare first, as many as were asked for.
    pub named: Vec<WeakFile>,
    /// The same of the journal of the catalogue, which is no file: how many servers may go before a part of it cannot be read.
    /// `None` where every server has all its shares of it.
    pub journal: Option<i32>,
}

/// A folder that asks for a threshold of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderStatus {
    /// What it asks for.
    pub folder: FolderThreshold,
    /// How many files are in it and below it, without those of folders below it that ask for something themselves.
    pub files: u64,
    /// How many more servers may go before these cannot be read, where they are at full strength; negative when too few are there already.
    pub spare: i32,
}

/// How the vault is.
#[derive(Clone, Debug)]
pub struct Status {
    /// How many servers are needed, of how many. While it changes, fewer may be enough for some files than for others: then it is the smaller number, of all the
    /// servers that there are. What it is to become is in `generations`.
    pub threshold: Threshold,
    /// By which scheme new files are shared. Older ones may have another.
    pub scheme: Scheme,
    /// The servers, by index.
    pub servers: Vec<ServerStatus>,
    /// How much there is, and what is owed.
    pub usage: Usage,
    /// How many more servers may go before files at full strength cannot be read; negative when too few are there already.
    pub spare: i32,
    /// The same of folders that ask for a threshold of their own.
    pub folders: Vec<FolderStatus>,
    /// The files that are not at full strength.
    pub weak: Weak,
    /// What this process keeps in RAM.
    pub memory: Memory,
    /// Since when the journal lacks changes: because this process could not write them to the servers, or no process has. Until
    /// they are there they are lost when the catalogue is, but for saved contents. `None` where it is as far behind as it usually
    /// is, a second.
    pub journal_behind_since: Option<Timestamp>,
    /// In which generation the shares are, and what is left of older ones.
    pub generations: GenerationStatus,
    /// Whether somebody has to decide about a rebuild before the vault can be changed
    /// ([`Vault::accept_rebuild`]).
    pub undecided: bool,
}

/// What a vault keeps in RAM at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Files that are open.
    pub files: usize,
    /// Bytes of contents, with the room made for more.
    pub bytes: usize,
}

/// Below this a server counts as full: not even one extent fits.
const FULL_BELOW: u64 = 8 << 20;

/// How long a server is waited for when it is asked how it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same where somebody asks for the room alone, which programs do all the time.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

/// An answer slower than this is worth a word.
const SLOW: Duration = Duration::from_secs(1);

/// Changes that wait no longer than this for the journal are only on their way.
const ON_ITS_WAY: i64 = 10;

/// How many lines of the audit log are looked through at once for the first change that waits.
const LINES: usize = 1_000;

/// How many weak extents are looked at one by one.
const BATCH: usize = 1_000;

impl Vault {
    /// How the vault is, asked now. `names` is how many of the files below full strength are named.
    ///
    /// # Errors
    /// Errors of the catalogue. A server that does not answer is part of the answer.
    pub async fn status_with(&self, _ctx: &Context, names: usize) -> Result<Status> {
        let inner = &self.inner;
        let mut servers = join_all(inner.servers.all().iter().map(ask_how_it_is)).await;
        let there: IndexSet = servers
            .iter()
            .filter(|server| server.state.condition() != Condition::Stopped)
            .map(|server| server.index)
            .collect();
        let (weak, owed) = inner.weak_files(&there, names).await?;
        for server in &mut servers {
            server.owed = owed.get(&server.index).copied().unwrap_or(0);
            if server.owed > 0 && server.state == ServerState::Normal {
                server.state = ServerState::Behind;
            }
        }
        let thresholds = inner.servers.thresholds();
        Ok(Status {
            threshold: thresholds.cautious(),
            scheme: inner.options.scheme,
            servers,
            usage: inner.catalog.usage().await?,
            spare: spare_in(thresholds.all(), &there),
            folders: self.status_of_folders(&there).await?,
            weak,
            memory: self.memory_in_use(),
            undecided: inner.undecided,
            generations: inner.generation_status().await?,
            journal_behind_since: inner.journal_behind_since().await?,
        })
    }

    /// As [`status_with`](Self::status_with), and names no file.
    ///
    /// # Errors
    /// As there.
    pub async fn status(&self, ctx: &Context) -> Result<Status> {
        self.status_with(ctx, 0).await
    }

    /// What of the vault's contents lies in RAM now: nothing, once everything is closed.
    #[must_use]
    pub fn memory_in_use(&self) -> Memory {
        Memory {
            files: self.inner.registry().len(),
            bytes: self.inner.ledger.held(),
        }
    }

    /// The room for contents: that of the fullest server that answers within a second, since each keeps a share as large as the
    /// file, or its k-th part where new files are shared by the scheme `compact`.
    ///
    /// # Errors
    /// None at present: where no server answers, nothing is known and the room is `None`.
    pub async fn space(&self) -> Result<Space> {
        let inner = &self.inner;
        let answers = join_all(inner.servers.all().iter().map(|server| async move {
            let space = server.try_ask(ROOM_PATIENCE, server.seat.store.space());
            let mut space = tokio::time::timeout(ROOM_PATIENCE, space)
                .await
                .ok()?
                .ok()?;
            // Not every protocol has a word for room; that there is none left it has told all the same.
            let full = matches!(
                server.health.refuses_writes(),
                Some((StoreErrorKind::Full, _))
            );
            if space.free.is_none() && full {
                (space.total, space.free) = (Some(0), Some(0));
            }
            Some(space)
        }))
        .await;
        let mut least = Space::default();
        for space in answers.into_iter().flatten() {
            if least
                .free
                .is_none_or(|free| space.free.is_some_and(|other| other < free))
            {
                // Of a server that does not tell how large it is, the size of another one has to do.
                let known = least.total.filter(|_| space.total == Some(0));
                least = Space {
                    total: known.or(space.total),
                    ..space
                };
            }
        }
        let parts = match inner.options.scheme {
            Scheme::Compact => u64::from(inner.servers.threshold().k()),
            _ => 1,
        };
        let contents = |bytes: u64| bytes.saturating_mul(parts);
        Ok(Space {
            total: least.total.map(contents),
            free: least.free.map(contents),
        })
    }
}

async fn ask_how_it_is(server: &std::sync::Arc<Server>) -> ServerStatus {
    let within = async {
        server.knock().await?;
        server.ask(server.seat.store.space()).await
    };
    let begin = tokio::time::Instant::now();
    let answer = tokio::time::timeout(PATIENCE, within)
        .await
        .unwrap_or_else(|_| {
            let detail = format!("no answer within {} s", PATIENCE.as_secs());
            Err(StoreError::new(StoreErrorKind::NoAnswer, detail))
        });
    let took = begin.elapsed();
    let record = server.health.record();
    let (state, space, detail) = match answer {
        Ok(space) if space.free.is_some_and(|free| free < FULL_BELOW) => {
            (ServerState::Full, space, "no room left".to_owned())
        }
        Ok(space) => match server.health.refuses_writes() {
            Some((StoreErrorKind::Full, why)) => (ServerState::Full, space, why),
            Some((_, why)) => (ServerState::Refusing, space, why),
            None if took >= SLOW || record.breaker == Breaker::Lagging => {
                let detail = format!("an answer took {:.1} s", took.as_secs_f32());
                (ServerState::Slow, space, detail)
            }
            None => (ServerState::Normal, space, String::new()),
        },
        Err(error) => (
            ServerState::Away(error.kind.into()),
            Space::default(),
            error.detail,
        ),
    };
    ServerStatus {
        name: server.name().to_owned(),
        index: server.index(),
        state,
        detail,
        latency: record.latency,
        space,
        breaker: record.breaker,
        last_success: record.last_success.map(|at| at.elapsed()),
        last_failure: record.last_failure.map(|(at, why)| (at.elapsed(), why)),
        owed: 0,
    }
}

/// What is known of a document some share of which is owed.
struct Weakness {
    /// An extent by which it is found in the catalogue.
    extent: ExtentId,
    spare: i32,
    owed: IndexSet,
}

impl Vault {
    /// Of folders that were removed, nothing can be asked any more.
    async fn status_of_folders(&self, there: &IndexSet) -> Result<Vec<FolderStatus>> {
        let folders = self.folder_thresholds().await?;
        let asking: HashSet<NodeId> = folders.iter().map(|folder| folder.node).collect();
        let thresholds = self.inner.servers.thresholds();
        let mut found = Vec::with_capacity(folders.len());
        for folder in folders.into_iter().filter(|folder| folder.path.is_some()) {
            let of_both = thresholds.all().map(|vault| folder.under(vault));
            found.push(FolderStatus {
                files: self.inner.files_below(folder.node, &asking).await?,
                spare: spare_in(of_both, there),
                folder,
            });
        }
        Ok(found)
    }
}

impl Inner {
    /// How many files are below a folder, but for those below others of these.
    async fn files_below(&self, folder: NodeId, without: &HashSet<NodeId>) -> Result<u64> {
        let (mut waiting, mut files) = (vec![folder], 0);
        while let Some(dir) = waiting.pop() {
            let mut after = None;
            loop {
                let listed = match self.catalog.list(dir, after, BATCH).await {
                    Ok(listed) => listed,
                    // Removed since its name was read.
                    Err(CatalogError::NotFound { .. }) => break,
                    Err(error) => return Err(error.into()),
                };
                after = listed.last().map(|entry| entry.cursor);
                for entry in &listed {
                    match entry.attr.kind {
                        NodeKind::Dir if !without.contains(&entry.attr.node) => {
                            waiting.push(entry.attr.node);
                        }
                        NodeKind::File => files += 1,
                        _ => {}
                    }
                }
                if listed.len() < BATCH {
                    break;
                }
            }
        }
        Ok(files)
    }

    /// Since when changes wait for the journal longer than they should.
    async fn journal_behind_since(&self) -> Result<Option<Timestamp>> {
        if let Some(since) = self.journal.behind_since() {
            return Ok(Some(since));
        }
        let state = self.catalog.journal().await?;
        if !self.options.journal || state.waiting == 0 {
            return Ok(None);
        }
        // Another process may write it, or one that was killed would have: each change has its line in the log.
        let mut after = state.audited;
        loop {
            let lines = self.catalog.audit(after, LINES).await?;
            let Some(last) = lines.last() else {
                return Ok(None);
            };
            after = last.seq;
            if let Some(line) = lines.iter().find(|line| line.entry.act.changes_something()) {
                let at = line.entry.at;
                let late = at.secs.saturating_add(ON_ITS_WAY) < self.clock.now().secs;
                return Ok(late.then_some(at));
            }
        }
    }

    /// Counts the documents below full strength, and the shares owed by each server. `there` are the servers that answer.
    async fn weak_files(
        &self,
        there: &IndexSet,
        names: usize,
    ) -> Result<(Weak, BTreeMap<ShareIndex, u64>)> {
        let mut by_document: BTreeMap<FileId, Weakness> = BTreeMap::new();
        let mut owed_by: BTreeMap<ShareIndex, u64> = BTreeMap::new();
        let mut journal: Option<i32> = None;
        let mut after = None;
        loop {
            let batch = self.catalog.owed(after, BATCH).await?;
            after = batch.last().map(|record| record.extent);
            for record in &batch {
                for index in record.owed.iter() {
                    *owed_by.entry(index).or_default() += 1;
                }
                let spare = spare_of(record, there);
                if record.kind == ExtentKind::Journal {
                    journal = Some(journal.map_or(spare, |least| least.min(spare)));
                    continue;
                }
                let weakness = by_document.entry(record.document).or_insert(Weakness {
                    extent: record.extent,
                    spare,
                    owed: IndexSet::EMPTY,
                });
                if spare < weakness.spare {
                    (weakness.extent, weakness.spare) = (record.extent, spare);
                }
                record
                    .owed
                    .iter()
                    .for_each(|index| weakness.owed.insert(index));
            }
            if batch.len() < BATCH {
                break;
            }
        }
        let mut weak = Weak {
            files: by_document.len() as u64,
            journal,
            ..Weak::default()
        };
        let mut weakest: Vec<Weakness> = by_document.into_values().collect();
        weak.unreadable = count(&weakest, |weakness| weakness.spare < 0);
        weak.at_risk = count(&weakest, |weakness| weakness.spare == 0);
        weakest.sort_by_key(|weakness| weakness.spare);
        let mut named = HashSet::new();
        for weakness in weakest {
            if weak.named.len() >= names {
                break;
            }
            let path = match self.catalog.user_of(weakness.extent).await? {
                Some((Some(node), _, _)) => {
                    // A document may have taken over another one's extents: one line for each file.
                    if !named.insert(node) {
                        continue;
                    }
                    self.path_text(node).await
                }
                Some((None, _, _)) => String::new(),
                // Removed since it was read.
                None => continue,
            };
            weak.named.push(WeakFile {
                path,
                spare: weakness.spare,
                owed: weakness.owed.iter().collect(),
            });
        }
        Ok((weak, owed_by))
    }
}

fn count(all: &[Weakness], what: impl Fn(&&Weakness) -> bool) -> u64 {
    all.iter().filter(what).count() as u64
}

/// How many of the servers that answer may go before files of one of these thresholds cannot be read.
fn spare_in(thresholds: impl Iterator<Item = Threshold>, there: &IndexSet) -> i32 {
    let spare = |threshold: Threshold| {
        let of_it = there.iter().filter(|index| index.get() <= threshold.n());
        i32::try_from(of_it.count()).unwrap_or(i32::MAX) - i32::from(threshold.k())
    };
    thresholds.map(spare).min().unwrap_or(0)
}

/// How many of the servers that have their share of it, and answer, may go.
fn spare_of(record: &ExtentRecord, there: &IndexSet) -> i32 {
    let good = there
        .iter()
        .filter(|index| !record.owed.contains(*index))
        .count();
    i32::try_from(good).unwrap_or(i32::MAX) - i32::from(record.threshold.k())
}

//! The missing shares of one extent, made anew from k others and put on their servers.
//!
//! Nothing is believed: each share that helps is opened chunk by chunk under its seal, and one that turns out bad is named and
//! replaced by another server's. The secret is at no time joined (`warifu_core::format::rebuild`).
//!
//! An object is written once. One that is there already is read: a good one needs nothing, and a bad one is removed only now, when
//! what takes its place lies ready. Cut off between the two, the share is missing and owed, as it was before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use warifu_core::format::{JoinError, OpenShare, RebuildError, Round, Seat, rebuild, reshare};
use warifu_core::ids::{RoundId, ShareIndex, VaultId};

use crate::bounds::{Budget, Pace};
use crate::error::{Fault, ServerFault, task_lost};
use crate::joining::{check_dealing, open_share, take_of_one_round};
use crate::seam::catalog::{ExtentRecord, IndexSet};
use crate::seam::store::{Durability, ObjectKey, StoreError, StoreErrorKind};
use crate::servers::{Server, Servers};
use crate::vault::{Inner, lock};
use crate::verify::share::{LAGS_AFTER, check_object_off_task};

/// How many bytes of shares lie in RAM at a time.
const ROOM: u32 = 64 << 20;

/// Making a share of less than this is quicker than handing it to another thread.
const INLINE: usize = 128 * 1024;

/// A server that answers with this many errors one after the other is left alone for the rest of the run.
const STRIKES: u8 = 3;

/// What is made from k good shares.
#[derive(Clone)]
pub(crate) enum Goal {
    /// The shares of these servers, which are missing.
    Rebuild(Vec<Arc<Server>>),
    /// All shares of a new generation.
    Reshare(Round),
}

/// What the makers of one repair share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) inner: Arc<Inner>,
    pub(crate) pace: Pace,
    pub(crate) budget: Budget,
    /// Servers that take no shares at the moment, and why.
    down: Mutex<BTreeMap<ShareIndex, ServerFault>>,
    strikes: Mutex<BTreeMap<ShareIndex, u8>>,
}

/// What came of one extent.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) record: ExtentRecord,
    /// Shares that their servers have taken.
    pub(crate) made: IndexSet,
    /// Shares that were there and are good.
    pub(super) found: IndexSet,
    /// How many bad objects were removed to make room.
    pub(super) replaced: u64,
    /// Servers that gave a bad share when asked to help, or none, and were thought to have a good one.
    pub(crate) liars: Vec<(ShareIndex, ServerFault)>,
    /// What was said against the shares that are still missing.
    pub(crate) faults: Vec<ServerFault>,
    /// How many good shares there were, where they were too few.
    pub(crate) too_few: Option<u8>,
    /// Bytes sent.
    pub(crate) bytes: u64,
}

impl Made {
    pub(crate) fn of(record: ExtentRecord) -> Self {
        Self {
            record,
            made: IndexSet::EMPTY,
            found: IndexSet::EMPTY,
            replaced: 0,
            liars: Vec::new(),
            faults: Vec::new(),
            too_few: None,
            bytes: 0,
        }
    }
}

/// A share that helps.
struct Helper {
    server: Arc<Server>,
    object: Bytes,
    round: RoundId,
}

impl Run {
    pub(crate) fn new(inner: &Arc<Inner>, limit: Option<u64>) -> Self {
        Self {
            inner: Arc::clone(inner),
            pace: Pace::new(limit),
            budget: Budget::new(ROOM),
            down: Mutex::default(),
            strikes: Mutex::default(),
        }
    }

    /// Leaves a server alone from now on.
    pub(crate) fn give_up_on(&self, index: ShareIndex, fault: ServerFault) {
        lock(&self.down).entry(index).or_insert(fault);
    }

    pub(crate) fn is_down(&self, index: ShareIndex) -> bool {
        lock(&self.down).contains_key(&index)
    }

    /// The servers given up on, and why.
    pub(crate) fn down(&self) -> Vec<ServerFault> {
        lock(&self.down).values().cloned().collect()
    }

    /// The owed shares whose servers take them.
    pub(super) fn targets(&self, record: &ExtentRecord) -> Vec<Arc<Server>> {
        let servers = self.inner.servers.all().iter();
        servers
            .filter(|server| record.owed.contains(server.index()) && !self.is_down(server.index()))
            .cloned()
            .collect()
    }

    /// Makes what can be made of an extent's owed shares.
    pub(super) async fn make(self: Arc<Self>, record: ExtentRecord) -> Made {
        let targets = self.targets(&record);
        let mut made = Made::of(record);
        if targets.is_empty() {
            return made;
        }
        let len = made.record.plan().object_len();
        let copies = u64::from(made.record.threshold.k()) + targets.len() as u64;
        let _room = self.budget.take(len.saturating_mul(copies)).await;
        let mut goal = Goal::Rebuild(targets);
        let objects = self.made_of_good_shares(&mut made, &mut goal).await;
        let (Some(objects), Goal::Rebuild(targets)) = (objects, goal) else {
            return made;
        };
        self.pace
            .wait(len.saturating_mul(targets.len() as u64))
            .await;
        let answers = join_all(targets.iter().zip(objects).map(|(server, object)| {
            let (this, record) = (&self, &made.record);
            async move { (server, this.install(server, record, object).await) }
        }))
        .await;
        for (server, answer) in answers {
            match answer {
                Ok(Installed::New { replaced }) => {
                    made.made.insert(server.index());
                    made.replaced += u64::from(replaced);
                    made.bytes += len;
                    lock(&self.strikes).remove(&server.index());
                }
                Ok(Installed::There) => made.found.insert(server.index()),
                // No fault of the server: it goes on with the next share.
                Ok(Installed::Not(detail)) => made.faults.push(ServerFault {
                    server: server.name().to_owned(),
                    fault: Fault::Newer,
                    detail,
                }),
                Err(error) => {
                    let fault = ServerFault::of_store(server.name(), &error);
                    self.strike(server.index(), &fault);
                    made.faults.push(fault);
                }
            }
        }
        made
    }

    pub(crate) fn strike(&self, index: ShareIndex, fault: &ServerFault) {
        let strikes = {
            let mut strikes = lock(&self.strikes);
            let strikes = strikes.entry(index).or_default();
            *strikes = strikes.saturating_add(1);
            *strikes
        };
        let at_once = matches!(fault.fault, Fault::NoAnswer | Fault::Full | Fault::Denied);
        if at_once || strikes >= STRIKES {
            tracing::warn!(server = %fault.server, fault = %fault.fault, "a server takes no shares now");
            self.give_up_on(index, fault.clone());
        }
    }

    /// The objects for the goal, by index; `None` where too few good shares could be had. Servers whose shares turn out
    /// to be there are taken from it.
    pub(crate) async fn made_of_good_shares(
        &self,
        made: &mut Made,
        goal: &mut Goal,
    ) -> Option<Vec<Bytes>> {
        let record = made.record.clone();
        let k = usize::from(record.threshold.k());
        // What is owed may be there all the same, and help where nothing else does.
        let mut candidates = self
            .inner
            .servers
            .by_speed(record.threshold, record.plan().object_len());
        candidates.retain(|server| !self.is_down(server.index()));
        candidates.sort_by_key(|server| record.owed.contains(server.index()));
        let mut candidates = VecDeque::from(candidates);
        let mut requests = FuturesUnordered::new();
        let mut good: Vec<Helper> = Vec::with_capacity(k);
        loop {
            let helpers = loop {
                if let Some(helpers) = take_of_one_round(&mut good, k, |helper| helper.round) {
                    break helpers;
                }
                // One more at least where those that there are do not belong together.
                while (requests.len() + good.len() < k || requests.is_empty())
                    && let Some(server) = candidates.pop_front()
                {
                    requests.push(self.fetch(server, &record));
                }
                let Some((server, answer)) = requests.next().await else {
                    made.too_few = Some(u8::try_from(good.len()).unwrap_or(u8::MAX));
                    return None;
                };
                match answer {
                    Ok((object, round)) => {
                        if record.owed.contains(server.index()) {
                            // It has been looked at closely: nothing is owed there any more.
                            made.found.insert(server.index());
                            if let Goal::Rebuild(targets) = goal {
                                targets.retain(|target| target.index() != server.index());
                            }
                        }
                        good.push(Helper {
                            server,
                            object,
                            round,
                        });
                    }
                    Err(fault) => self.blame(made, server.index(), fault),
                }
            };
            if matches!(goal, Goal::Rebuild(targets) if targets.is_empty()) {
                return Some(Vec::new());
            }
            let (mut helpers, rebuilt) = self.work_off_task(helpers, made, goal).await;
            match rebuilt {
                Ok(objects) => return Some(objects),
                Err((position, detail)) => {
                    if position >= helpers.len() {
                        let (server, fault) = (String::new(), Fault::Corrupt);
                        made.faults.push(ServerFault {
                            server,
                            fault,
                            detail,
                        });
                        return None;
                    }
                    let bad = helpers.swap_remove(position);
                    good.append(&mut helpers);
                    let fault = ServerFault {
                        server: bad.server.name().to_owned(),
                        fault: Fault::Corrupt,
                        detail,
                    };
                    made.found.remove(bad.server.index());
                    self.blame(made, bad.server.index(), fault);
                }
            }
        }
    }

    /// A server that could not help. What it says of its share is news where the share was thought to be good.
    fn blame(&self, made: &mut Made, index: ShareIndex, fault: ServerFault) {
        if made.record.owed.contains(index) {
            return;
        }
        if fault.fault.is_definite() {
            tracing::warn!(server = %fault.server, fault = %fault.fault, "a share could not be used for a repair");
            made.liars.push((index, fault));
        } else {
            made.faults.push(fault);
        }
    }

    /// Reads a share to help. Of one that is owed every chunk is checked at once; of the others when they are used.
    async fn fetch(
        &self,
        server: Arc<Server>,
        record: &ExtentRecord,
    ) -> (Arc<Server>, Result<(Bytes, RoundId), ServerFault>) {
        let servers = &self.inner.servers;
        let name = servers.object_key(&server, record.extent, record.generation);
        let named = |(fault, detail)| ServerFault {
            server: server.name().to_owned(),
            fault,
            detail,
        };
        let answer = match server.try_get(&name, LAGS_AFTER).await {
            Err(error) => Err(ServerFault::of_store(server.name(), &error)),
            Ok(object) if record.owed.contains(server.index()) => {
                let found =
                    check_object_off_task(&server, self.inner.vault, record, object.clone()).await;
                found
                    .and_then(|()| open_and_compare(&server, self.inner.vault, record, &object))
                    .map(|share| (object, share.dealing().round))
                    .map_err(named)
            }
            Ok(object) => open_and_compare(&server, self.inner.vault, record, &object)
                .map(|share| (object, share.dealing().round))
                .map_err(named),
        };
        (server, answer)
    }

    async fn work_off_task(
        &self,
        helpers: Vec<Helper>,
        made: &Made,
        goal: &Goal,
    ) -> (Vec<Helper>, Rebuilt) {
        let size: usize = helpers.iter().map(|helper| helper.object.len()).sum();
        let (vault, record, goal) = (self.inner.vault, made.record.clone(), goal.clone());
        let servers = Arc::clone(&self.inner.servers);
        let work = move || {
            let made = match goal {
                Goal::Rebuild(targets) => targets
                    .iter()
                    .map(|target| rebuild_for(target, vault, &record, &helpers))
                    .collect(),
                Goal::Reshare(round) => reshare_for(&servers, vault, &record, &helpers, round),
            };
            (helpers, made)
        };
        if size <= INLINE {
            return work();
        }
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| (Vec::new(), Err((usize::MAX, task_lost(error).to_string()))))
    }

    /// Puts a share in its place.
    async fn install(
        &self,
        server: &Arc<Server>,
        record: &ExtentRecord,
        object: Bytes,
    ) -> Result<Installed, StoreError> {
        let servers = &self.inner.servers;
        let name = servers.object_key(server, record.extent, record.generation);
        let store = &server.seat.store;
        let put = async |object: &Bytes| {
            let soon = Durability::Soon;
            match server.put_once(&name, object.clone(), soon).await {
                // Whether it took effect is not known. What is found under the name now is looked at, whoever put it there.
                Err(error) if error.kind == StoreErrorKind::NoAnswer => {
                    server.put_once(&name, object.clone(), soon).await
                }
                other => other,
            }
        };
        match put(&object).await {
            Ok(()) => return Ok(Installed::New { replaced: false }),
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        match self.look(server, record, &name).await? {
            Looked::Good => return Ok(Installed::There),
            Looked::Newer(detail) => return Ok(Installed::Not(detail)),
            Looked::Bad => {}
        }
        match server.ask(store.delete(&name)).await {
            Ok(()) => {}
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match put(&object).await {
            Ok(()) => Ok(Installed::New { replaced: true }),
            // Another repair was quicker, or our own write took effect without an answer.
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                match self.look(server, record, &name).await? {
                    Looked::Good => Ok(Installed::New { replaced: true }),
                    Looked::Bad | Looked::Newer(_) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Looks at what lies where a share is to be put.
    async fn look(
        &self,
        server: &Arc<Server>,
        record: &ExtentRecord,
        name: &ObjectKey,
    ) -> Result<Looked, StoreError> {
        match server.get(name, None, None).await {
            Ok(object) => {
                let found = check_object_off_task(server, self.inner.vault, record, object).await;
                match found {
                    Ok(()) => Ok(Looked::Good),
                    Err((Fault::Newer, detail)) => Ok(Looked::Newer(detail)),
                    Err((fault, _)) if fault.is_definite() => Ok(Looked::Bad),
                    Err((_, detail)) => Err(StoreError::new(StoreErrorKind::Failed, detail)),
                }
            }
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(Looked::Bad),
            Err(error) => Err(error),
        }
    }
}

/// What lies where a share is to be put.
enum Looked {
    Good,
    /// Nothing, or what is of no use.
    Bad,
    /// What a newer warifu made. It is not ours to remove.
    Newer(String),
}

/// How a share came to be in its place.
enum Installed {
    New {
        replaced: bool,
    },
    There,
    /// Something else is, that is left alone.
    Not(String),
}

/// The objects, or the position of the helper that is bad (beyond the last where none is to blame).
type Rebuilt = Result<Vec<Bytes>, (usize, String)>;

fn open_and_compare(
    server: &Server,
    vault: VaultId,
    record: &ExtentRecord,
    object: &[u8],
) -> Result<OpenShare, (Fault, String)> {
    let share = open_share(server, vault, record.extent, record.generation, object)?;
    check_dealing(&share, record)?;
    Ok(share)
}

type Opened<'a> = (Vec<OpenShare>, Vec<&'a [u8]>);

fn open_all<'a>(
    vault: VaultId,
    record: &ExtentRecord,
    helpers: &'a [Helper],
) -> Result<Opened<'a>, (usize, String)> {
    let (mut shares, mut bodies) = (Vec::with_capacity(helpers.len()), Vec::new());
    for (position, helper) in helpers.iter().enumerate() {
        let share = open_and_compare(&helper.server, vault, record, &helper.object)
            .map_err(|(_, detail)| (position, detail))?;
        let begin = share.header().prefix_len();
        bodies.push(helper.object.get(begin..).unwrap_or_default());
        shares.push(share);
    }
    Ok((shares, bodies))
}

/// Which of the shares given is to blame.
fn blamed(error: &RebuildError) -> (usize, String) {
    let position = match error {
        RebuildError::Join(
            JoinError::Damaged { position, .. } | JoinError::BodyLength { position, .. },
        ) => *position,
        _ => usize::MAX,
    };
    (position, error.to_string())
}

fn reshare_for(
    servers: &Servers,
    vault: VaultId,
    record: &ExtentRecord,
    helpers: &[Helper],
    round: Round,
) -> Rebuilt {
    let (shares, bodies) = open_all(vault, record, helpers)?;
    let seats = servers.seats(round.threshold);
    let mut objects = vec![Vec::new(); seats.len()];
    reshare(shares, &bodies, round, &seats, &mut objects).map_err(|error| blamed(&error))?;
    Ok(objects.into_iter().map(Bytes::from).collect())
}

fn rebuild_for(
    target: &Server,
    vault: VaultId,
    record: &ExtentRecord,
    helpers: &[Helper],
) -> Result<Bytes, (usize, String)> {
    let (shares, bodies) = open_all(vault, record, helpers)?;
    let seat = Seat {
        server: target.seat.id,
        key: &target.seal_key,
    };
    let mut object = Vec::new();
    rebuild(shares, &bodies, target.index(), &seat, &mut object).map_err(|error| blamed(&error))?;
    Ok(object.into())
}

//! Extents on their way to the servers: shared, sealed, and put on all servers at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::task::JoinSet;
use tokio::time::Instant;
use warifu_core::format::{self, Dealing, ExtentKind, Scheme, Suite};
use warifu_core::ids::{ExtentId, FileId, Generation, RoundId, ShareIndex, Threshold, VersionNo};

use crate::error::{Result, ServerFault, VaultError, task_lost};
use crate::folders::dealt_by;
use crate::seam::catalog::{ExtentRecord, IndexSet};
use crate::seam::store::{Durability, StoreError, StoreErrorKind};
use crate::servers::{Again, FIRST_HEDGE, SILENCE, Server, Servers, enough};

/// An extent dealt: the sealed shares of it, ready to be put.
#[derive(Debug)]
pub(crate) struct Dealt {
    /// What the catalogue keeps of it. Every share is owed until it is put.
    pub(crate) record: ExtentRecord,
    objects: Vec<Bytes>,
}

/// What an extent is dealt for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose {
    pub(crate) vault: warifu_core::ids::VaultId,
    pub(crate) document: FileId,
    pub(crate) version: VersionNo,
    pub(crate) kind: ExtentKind,
    pub(crate) number: u64,
    pub(crate) scheme: Scheme,
    pub(crate) generation: Generation,
    /// What the folder asks for in which the document is, where it asks for something.
    pub(crate) asked: Option<Threshold>,
}

/// Shares and seals `secret`, whose length must already be a bucket's. Takes milliseconds per MiB: not for an async task.
pub(crate) fn deal(
    servers: &Servers,
    purpose: Purpose,
    extent: ExtentId,
    secret: &[u8],
) -> Result<Dealt> {
    // Once, since another may come into force meanwhile.
    let threshold = dealt_by(purpose.asked, servers.threshold());
    let dealing = Dealing {
        vault: purpose.vault,
        file: purpose.document,
        version: purpose.version,
        kind: purpose.kind,
        number: purpose.number,
        extent,
        generation: purpose.generation,
        round: RoundId::NIL,
        threshold,
        scheme: purpose.scheme,
        suite: Suite::best(),
    };
    let mut objects = vec![Vec::new(); usize::from(threshold.n())];
    format::deal(&dealing, &servers.seats(threshold), secret, &mut objects).map_err(|error| {
        VaultError::Damaged {
            what: format!("an extent could not be dealt: {error}"),
        }
    })?;
    let record = ExtentRecord {
        extent,
        kind: purpose.kind,
        number: purpose.number,
        len: secret.len() as u64,
        threshold,
        scheme: purpose.scheme,
        generation: purpose.generation,
        document: purpose.document,
        version: purpose.version,
        owed: threshold.indices().collect(),
    };
    Ok(Dealt {
        record,
        objects: objects.into_iter().map(Bytes::from).collect(),
    })
}

type Answer = (Arc<Server>, std::result::Result<(), StoreError>);

/// How far a put has come when it is time to go on.
#[derive(Debug)]
pub(crate) struct Put {
    /// What the catalogue keeps: the shares not yet on their servers are owed.
    pub(crate) record: ExtentRecord,
    /// What servers said against it.
    pub(crate) faults: Vec<ServerFault>,
    /// Requests still under way; their shares are owed until [`late`](Self::late) has seen the answers.
    pending: JoinSet<Answer>,
}

impl Put {
    pub(crate) fn stored(&self) -> usize {
        usize::from(self.record.threshold.n()).saturating_sub(self.record.owed.len() as usize)
    }

    /// Whether so many servers have their share that it can be read.
    pub(crate) fn is_enough(&self) -> bool {
        self.stored() >= usize::from(self.record.threshold.k())
    }

    fn note(&mut self, (server, answer): Answer) {
        match answer {
            Ok(()) => self.record.owed.remove(server.index()),
            Err(error) => self
                .faults
                .push(ServerFault::of_store(server.name(), &error)),
        }
    }

    /// Whether some servers have not answered yet.
    pub(crate) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Waits for the servers that had not answered, and says which shares have come, safe from a power cut.
    pub(crate) async fn late(mut self) -> IndexSet {
        let mut paid = IndexSet::EMPTY;
        while let Some(answer) = self.pending.join_next().await {
            let Ok((server, Ok(()))) = answer else {
                continue;
            };
            // The settling of the version may be over already.
            if server.ask(server.seat.store.sync()).await.is_ok() {
                paid.insert(server.index());
            }
        }
        paid
    }
}

/// How long a save waits for slow servers. A server that has not answered within it is owed its share: its answer still
/// counts when it comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For a server that is well, once enough servers have answered: at least, and at most. Between the two, twice as long as
    /// nearly all its answers take.
    pub(crate) after_enough: (Duration, Duration),
    /// For a server that is well, once k servers have answered: at least, and at most, which is also for one of which nothing
    /// is known.
    pub(crate) after_threshold: (Duration, Duration),
    /// For servers that lag or have stopped answering, once k servers have answered.
    pub(crate) for_the_away: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            after_enough: (Duration::from_millis(200), Duration::from_secs(1)),
            after_threshold: (Duration::from_secs(1), Duration::from_secs(5)),
            for_the_away: Duration::from_millis(50),
        }
    }
}

/// A server whose answer has not come.
struct Waited {
    server: Arc<Server>,
    /// Whether it was well when it was asked.
    well: bool,
    /// How long such a request usually takes it, and within what time nearly all end.
    usual: Option<(Duration, Duration)>,
}

impl Waited {
    fn new(server: &Arc<Server>, usual: Option<(Duration, Duration)>) -> Self {
        Self {
            server: Arc::clone(server),
            well: server.health.is_well(),
            usual,
        }
    }

    /// Until when it is waited for, when k servers had answered at `threshold_at`, and enough at `enough_at`.
    fn until(
        &self,
        patience: &Patience,
        begin: Instant,
        threshold_at: Instant,
        enough_at: Option<Instant>,
    ) -> Instant {
        if !self.well {
            return threshold_at + patience.for_the_away;
        }
        if let Some(enough_at) = enough_at {
            let (least, most) = patience.after_enough;
            return match self.usual {
                // It is not slow today, it is always: its share comes late each time, and nobody waits for it.
                Some((mean, _)) if begin + mean > enough_at + most => enough_at,
                Some((_, nearly_all)) => {
                    (begin + nearly_all * 2).clamp(enough_at + least, enough_at + most)
                }
                None => enough_at + most,
            };
        }
        let (least, most) = patience.after_threshold;
        let wait = self
            .usual
            .map_or(most, |(_, nearly_all)| (nearly_all * 8).clamp(least, most));
        threshold_at + wait
    }
}

/// Puts an extent on all servers at once. Returns when all have answered or patience has ended; whether that is enough is
/// the caller's question.
pub(crate) async fn put(
    servers: &Arc<Servers>,
    dealt: Dealt,
    durability: Durability,
    patience: Patience,
) -> Put {
    let Dealt { record, objects } = dealt;
    let mut put = Put {
        record,
        faults: Vec::new(),
        pending: JoinSet::new(),
    };
    // No tasks of their own as long as somebody waits for them: nearly all end before that.
    let mut requests: FuturesUnordered<BoxFuture<'static, Answer>> = FuturesUnordered::new();
    let threshold = put.record.threshold;
    let (k, enough) = (usize::from(threshold.k()), enough(threshold));
    // Without those that have stopped answering it cannot be saved: they are asked all the same.
    let needed = servers.answering(threshold) < k;
    let mut waiting = Vec::new();
    let mut silent = IndexSet::EMPTY;
    let generation = put.record.generation;
    for (server, object) in servers.of(threshold).zip(&objects) {
        if !needed && !server.admits() {
            put.faults
                .push(ServerFault::of_store(server.name(), &server.not_asked()));
            silent.insert(server.index());
            continue;
        }
        waiting.push(Waited::new(
            server,
            server.health.usual_write(object.len() as u64),
        ));
        let server = Arc::clone(server);
        let object = object.clone();
        let name = servers.object_key(&server, put.record.extent, generation);
        let request = async move {
            let answer = server.put(&name, object, durability).await;
            (server, answer)
        };
        requests.push(request.boxed());
    }
    let begin = Instant::now();
    let (mut threshold_at, mut enough_at) = (None, None);
    let mut again = Again::new();
    loop {
        let next = requests.next();
        let answer = match threshold_at {
            None => next.await,
            Some(threshold_at) => {
                let until =
                    |waited: &Waited| waited.until(&patience, begin, threshold_at, enough_at);
                let last = waiting.iter().map(until).max().unwrap_or(threshold_at);
                match tokio::time::timeout_at(last, next).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        give_up_on(waiting, begin);
                        for request in requests {
                            put.pending.spawn(request);
                        }
                        return put;
                    }
                }
            }
        };
        let Some(answer) = answer else {
            // All have answered. If that is too few, those that gave no answer may only just have come back.
            let could_do = put.stored() < k && put.stored() + silent.len() as usize >= k;
            if !could_do || !again.pause().await {
                return put;
            }
            for (server, object) in servers.of(threshold).zip(&objects) {
                if !silent.contains(server.index()) {
                    continue;
                }
                put.faults.retain(|fault| fault.server != server.name());
                let usual = server.health.usual_write(object.len() as u64);
                waiting.push(Waited::new(server, usual));
                let (server, object) = (Arc::clone(server), object.clone());
                let name = servers.object_key(&server, put.record.extent, generation);
                let request = async move {
                    let answer = server.put_again(&name, object, durability).await;
                    (server, answer)
                };
                requests.push(request.boxed());
            }
            silent = IndexSet::EMPTY;
            continue;
        };
        let (server, said) = &answer;
        waiting.retain(|other| other.server.index() != server.index());
        // One that has kept somebody waiting for its silence is not asked again.
        if matches!(said, Err(error) if error.kind == StoreErrorKind::NoAnswer)
            && begin.elapsed() < SILENCE
        {
            silent.insert(server.index());
        }
        put.note(answer);
        let stored = put.stored();
        if stored >= k {
            threshold_at.get_or_insert_with(Instant::now);
        }
        if stored >= enough {
            enough_at.get_or_insert_with(Instant::now);
        }
    }
}

/// Servers that were waited for longer than nearly all their answers take are not waited for again until they have answered
/// quickly.
fn give_up_on(waiting: Vec<Waited>, since: Instant) {
    let waited = since.elapsed();
    for Waited { server, usual, .. } in waiting {
        let limit = usual.map_or(FIRST_HEDGE, |(_, nearly_all)| nearly_all);
        if waited >= limit {
            server.health.overtaken(limit);
        }
    }
}

/// The servers that could not promise that what they keep is safe from a power cut.
#[derive(Debug, Default)]
pub(crate) struct Unsafe {
    pub(crate) indices: IndexSet,
    pub(crate) faults: Vec<ServerFault>,
}

impl Unsafe {
    fn note(&mut self, server: &Server, error: &StoreError) {
        self.indices.insert(server.index());
        self.faults
            .push(ServerFault::of_store(server.name(), error));
    }

    /// Takes back what was noted of a server that is asked again.
    fn forget(&mut self, server: &Server) {
        self.indices.remove(server.index());
        self.faults.retain(|fault| fault.server != server.name());
    }
}

/// Makes everything put so far safe from a power cut, on all servers at once. Those that have not answered when patience
/// ends have not promised it. Where too few have, those that gave no answer are asked again for a while: `threshold` says how many are needed, of which.
pub(crate) async fn sync(
    servers: &Arc<Servers>,
    threshold: Threshold,
    patience: Patience,
) -> Unsafe {
    let k = usize::from(threshold.k());
    let counts = |server: &Server| server.index().get() <= threshold.n();
    let needed = servers.answering(threshold) < k;
    let mut result = Unsafe::default();
    let mut pending = JoinSet::new();
    let mut waiting = Vec::new();
    let mut silent = Vec::new();
    let ask = |server: &Arc<Server>, waiting: &mut Vec<Waited>, pending: &mut JoinSet<Answer>| {
        waiting.push(Waited::new(server, None));
        let server = Arc::clone(server);
        pending.spawn(async move {
            let answer = server.ask(server.seat.store.sync()).await;
            (server, answer)
        });
    };
    for server in servers.all() {
        if needed || server.admits() {
            ask(server, &mut waiting, &mut pending);
        } else {
            result.note(server, &server.not_asked());
            silent.push(Arc::clone(server));
        }
    }
    let begin = Instant::now();
    let (mut safe, mut threshold_at) = (0, None);
    let mut again = Again::new();
    loop {
        if waiting.is_empty() {
            silent.retain(|server: &Arc<Server>| counts(server));
            let could_do = safe < k && safe + silent.len() >= k;
            if !could_do || !again.pause().await {
                break;
            }
            for server in silent.drain(..) {
                result.forget(&server);
                ask(&server, &mut waiting, &mut pending);
            }
        }
        let next = pending.join_next();
        let answer = match threshold_at {
            None => next.await,
            Some(threshold_at) => {
                let until = |waited: &Waited| waited.until(&patience, begin, threshold_at, None);
                let last = waiting.iter().map(until).max().unwrap_or(threshold_at);
                tokio::time::timeout_at(last, next)
                    .await
                    .unwrap_or_default()
            }
        };
        let Some(Ok((server, answer))) = answer else {
            break;
        };
        waiting.retain(|other| other.server.index() != server.index());
        match answer {
            Ok(()) => safe += usize::from(counts(&server)),
            Err(error) => {
                if error.kind == StoreErrorKind::NoAnswer && begin.elapsed() < SILENCE {
                    silent.push(Arc::clone(&server));
                }
                result.note(&server, &error);
            }
        }
        if safe >= k {
            threshold_at.get_or_insert_with(Instant::now);
        }
    }
    for Waited { server, .. } in &waiting {
        result.note(
            server,
            &StoreError::new(StoreErrorKind::NoAnswer, "no answer in time"),
        );
    }
    give_up_on(waiting, begin);
    result
}

/// How long a removal is waited for, once some server has answered; and at a server that lags.
const REMOVAL: Duration = Duration::from_secs(2);
const LATE_REMOVAL: Duration = Duration::from_millis(250);

/// Removes the shares of some extents from all servers. Returns whether every server confirmed that its shares are gone; one that
/// lags far behind the others has not, nor has one that the vault file does not name.
pub(crate) async fn discard(servers: &Servers, extents: &[(ExtentId, Generation)]) -> bool {
    let mut answers: FuturesUnordered<_> = servers
        .all()
        .iter()
        .map(|server| async move {
            let names = extents.iter();
            let names =
                names.map(|(extent, generation)| servers.object_key(server, *extent, *generation));
            let names: Vec<_> = names.collect();
            let removal = server.remove(&names, REMOVAL);
            if server.health.is_well() {
                removal.await
            } else {
                let removed = tokio::time::timeout(LATE_REMOVAL, removal).await;
                removed.unwrap_or(false)
            }
        })
        .collect();
    let mut all_gone = servers.unnamed() == 0;
    let mut until: Option<Instant> = None;
    loop {
        let next = answers.next();
        let answer = match until {
            None => next.await,
            Some(until) => match tokio::time::timeout_at(until, next).await {
                Ok(answer) => answer,
                Err(_) => return false,
            },
        };
        let Some(gone) = answer else { return all_gone };
        all_gone &= gone;
        until.get_or_insert_with(|| Instant::now() + REMOVAL);
    }
}

/// The indices in a put that reached their servers.
pub(crate) fn stored_indices(record: &ExtentRecord) -> impl Iterator<Item = ShareIndex> + '_ {
    record
        .threshold
        .indices()
        .filter(|index| !record.owed.contains(*index))
}

/// Dealing less than this is quicker than handing it to another thread.
const DEAL_INLINE: usize = 256 * 1024;

/// Runs [`deal`] for so many bytes, where it may take its time.
pub(crate) async fn deal_off_task<T: Send + 'static>(
    len: usize,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if len <= DEAL_INLINE {
        return work();
    }
    tokio::task::spawn_blocking(work).await.map_err(task_lost)?
}

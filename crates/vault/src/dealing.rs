//! Extents on their way to the servers: shared, sealed, and put on all servers at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::Instant;
use warifu_core::format::{self, Dealing, ExtentKind, Scheme, Suite};
use warifu_core::ids::{ExtentId, FileId, ShareIndex, VersionNo};

use crate::error::{Result, ServerFault, VaultError, task_lost};
use crate::seam::catalog::{ExtentRecord, IndexSet};
use crate::seam::store::{Durability, StoreError};
use crate::servers::{Server, Servers};

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
}

/// Shares and seals `secret`, whose length must already be a bucket's. Takes milliseconds per MiB: not for an async task.
pub(crate) fn deal(
    servers: &Servers,
    purpose: Purpose,
    extent: ExtentId,
    secret: &[u8],
) -> Result<Dealt> {
    let dealing = Dealing {
        vault: purpose.vault,
        file: purpose.document,
        version: purpose.version,
        kind: purpose.kind,
        number: purpose.number,
        extent,
        generation: servers.generation,
        threshold: servers.threshold,
        scheme: purpose.scheme,
        suite: Suite::best(),
    };
    let mut objects = vec![Vec::new(); usize::from(servers.threshold.n())];
    format::deal(&dealing, &servers.seats(), secret, &mut objects).map_err(|error| {
        VaultError::Damaged {
            what: format!("an extent could not be dealt: {error}"),
        }
    })?;
    let record = ExtentRecord {
        extent,
        kind: purpose.kind,
        number: purpose.number,
        len: secret.len() as u64,
        threshold: servers.threshold,
        scheme: purpose.scheme,
        generation: servers.generation,
        document: purpose.document,
        version: purpose.version,
        owed: servers.threshold.indices().collect(),
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

    fn note(&mut self, answer: std::result::Result<Answer, tokio::task::JoinError>) {
        // A task that panicked leaves its share owed.
        let Ok((server, answer)) = answer else { return };
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
    /// For the rest, once enough servers have answered.
    pub(crate) after_enough: Duration,
    /// For enough, once k servers have answered.
    pub(crate) after_threshold: Duration,
    /// For servers that did not answer the last time, once all the others have.
    pub(crate) for_the_away: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            after_enough: Duration::from_millis(20),
            after_threshold: Duration::from_secs(5),
            for_the_away: Duration::from_millis(500),
        }
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
    let mut pending = JoinSet::new();
    let mut present = 0_usize;
    for (server, object) in servers.all().iter().zip(objects) {
        let server = Arc::clone(server);
        let name = servers.object_key(&server, record.extent, record.generation);
        present += usize::from(!server.is_away());
        pending.spawn(async move {
            let answer = server.put(&name, object, durability).await;
            (server, answer)
        });
    }
    let mut put = Put {
        record,
        faults: Vec::new(),
        pending,
    };
    let begin = Instant::now();
    let mut waiting: Vec<Arc<Server>> = servers.all().to_vec();
    let (k, enough) = (usize::from(servers.threshold.k()), servers.enough());
    let mut deadline: Option<Instant> = None;
    let mut answered = 0;
    loop {
        let next = put.pending.join_next();
        let answer = match deadline {
            None => next.await,
            Some(at) => match tokio::time::timeout_at(at, next).await {
                Ok(answer) => answer,
                Err(_) => {
                    give_up_on(&waiting, begin);
                    return put;
                }
            },
        };
        let Some(answer) = answer else { return put };
        if let Ok((server, _)) = &answer {
            waiting.retain(|other| other.index() != server.index());
        }
        put.note(answer);
        answered += 1;
        let stored = put.stored();
        let wait = if stored >= enough {
            Some(patience.after_enough)
        } else if stored >= k && answered >= present {
            Some(patience.for_the_away)
        } else if stored >= k {
            Some(patience.after_threshold)
        } else {
            None
        };
        if let Some(wait) = wait {
            let at = Instant::now() + wait;
            deadline = Some(deadline.map_or(at, |before| before.min(at)));
        }
    }
}

/// Servers that were waited for as long as this are not waited for again until they have answered something.
const PATIENCE_LOST: Duration = Duration::from_secs(1);

fn give_up_on(waiting: &[Arc<Server>], since: Instant) {
    if since.elapsed() >= PATIENCE_LOST {
        waiting.iter().for_each(|server| server.kept_waiting());
    }
}

/// The servers that could not promise that what they keep is safe from a power cut.
#[derive(Debug, Default)]
pub(crate) struct Unsafe {
    pub(crate) indices: IndexSet,
    pub(crate) faults: Vec<ServerFault>,
}

/// Makes everything put so far safe from a power cut, on all servers at once. Those that have not answered when patience
/// ends have not promised it.
pub(crate) async fn sync(servers: &Arc<Servers>, patience: Patience) -> Unsafe {
    let mut pending = JoinSet::new();
    for server in servers.all() {
        let server = Arc::clone(server);
        pending.spawn(async move {
            let answer = server.ask(server.seat.store.sync()).await;
            (server, answer)
        });
    }
    let present = servers
        .all()
        .iter()
        .filter(|server| !server.is_away())
        .count();
    let k = usize::from(servers.threshold.k());
    let mut waiting: Vec<Arc<Server>> = servers.all().to_vec();
    let begin = Instant::now();
    let mut result = Unsafe::default();
    let mut deadline: Option<Instant> = None;
    let (mut answered, mut safe) = (0, 0);
    while !waiting.is_empty() {
        let next = pending.join_next();
        let answer = match deadline {
            None => next.await,
            Some(at) => tokio::time::timeout_at(at, next).await.unwrap_or_default(),
        };
        let Some(Ok((server, answer))) = answer else {
            break;
        };
        waiting.retain(|other| other.index() != server.index());
        answered += 1;
        match answer {
            Ok(()) => safe += 1,
            Err(error) => {
                result.indices.insert(server.index());
                result
                    .faults
                    .push(ServerFault::of_store(server.name(), &error));
            }
        }
        if safe >= k && deadline.is_none() {
            let wait = if answered >= present {
                patience.for_the_away
            } else {
                patience.after_threshold
            };
            deadline = Some(Instant::now() + wait);
        }
    }
    give_up_on(&waiting, begin);
    for server in waiting {
        result.indices.insert(server.index());
        let detail = "no answer in time".to_owned();
        result.faults.push(ServerFault {
            server: server.name().to_owned(),
            fault: crate::error::Fault::NoAnswer,
            detail,
        });
    }
    result
}

/// Removes the shares of an extent from all servers. Returns whether every server confirmed that its share is gone.
pub(crate) async fn discard(
    servers: &Servers,
    extent: ExtentId,
    generation: warifu_core::ids::Generation,
) -> bool {
    use crate::seam::store::StoreErrorKind;
    let answers = futures_util::future::join_all(servers.all().iter().map(|server| async move {
        let name = servers.object_key(server, extent, generation);
        match server.ask(server.seat.store.delete(&name)).await {
            Ok(()) => true,
            Err(error) => error.kind == StoreErrorKind::NotFound,
        }
    }))
    .await;
    answers.into_iter().all(|gone| gone)
}

/// The indices in a put that reached their servers.
pub(crate) fn stored_indices(record: &ExtentRecord) -> impl Iterator<Item = ShareIndex> + '_ {
    record
        .threshold
        .indices()
        .filter(|index| !record.owed.contains(*index))
}

/// Runs [`deal`] where it may take its time.
pub(crate) async fn deal_off_task<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(task_lost)?
}

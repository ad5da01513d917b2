//! Requests to one server: each with a time limit, and each one a lesson about the server.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;
use warifu_core::ids::Generation;
use warifu_core::vault_object::VAULT_OBJECT_LEN;

use super::health::{Breaker, FIRST_HEDGE, Kind};
use super::{Server, Servers};
use crate::keys::piece_generations;
use crate::seam::store::{Answers, Durability, ObjectKey, StoreError, StoreErrorKind};

/// A write that failed slower than this is not tried again while somebody waits.
const RETRY_WITHIN: Duration = Duration::from_secs(2);

/// How many requests may wait for a server that lags. Each holds the share that it sends.
const LAGGING_AT_ONCE: usize = 16;

/// How long a probe waits at most.
const PROBE_WITHIN: Duration = Duration::from_secs(15);

/// How often it is looked whether a probe is due.
const WATCH_EVERY: Duration = Duration::from_millis(250);

impl Server {
    /// Waits for an answer for at most the vault's time limit, and learns from it; also from nobody waiting so long.
    ///
    /// The server is asked whatever is known of it: this is for what cannot do without it. What can, [tries](Self::try_ask).
    pub(crate) async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.observed(None, |_| Kind::Other, request).await
    }

    /// As [`ask`](Self::ask), but fails at once where the server has stopped answering and another request finds out already
    /// whether it does again. Whoever drops this after `lags_after` counts the server as lagging.
    pub(crate) async fn try_ask<T>(
        &self,
        lags_after: Duration,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.admits() {
            self.observed(Some(lags_after), |_| Kind::Other, request)
                .await
        } else {
            Err(self.not_asked())
        }
    }

    /// Reads an object or a part of it. Whoever drops this after `lags_after` counts the server as lagging.
    pub(crate) async fn get(
        &self,
        name: &ObjectKey,
        range: Option<Range<u64>>,
        lags_after: Option<Duration>,
    ) -> Result<Bytes, StoreError> {
        let read = |object: &Bytes| Kind::Read(object.len() as u64);
        self.observed(lags_after, read, self.seat.store.get(name, range))
            .await
    }

    /// As [`get`](Self::get) for a whole object, but fails at once as [`try_ask`](Self::try_ask) does.
    pub(crate) async fn try_get(
        &self,
        name: &ObjectKey,
        lags_after: Duration,
    ) -> Result<Bytes, StoreError> {
        if self.admits() {
            self.get(name, None, Some(lags_after)).await
        } else {
            Err(self.not_asked())
        }
    }

    async fn observed<T>(
        &self,
        lags_after: Option<Duration>,
        kind: impl FnOnce(&T) -> Kind,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut waiting = Waiting::begin(self, lags_after);
        let answer = match tokio::time::timeout(self.timeout, request).await {
            Ok(answer) => answer,
            Err(_) => Err(self.silence()),
        };
        waiting.lags_after = None;
        let took = waiting.begin.elapsed();
        match &answer {
            Ok(answer) => self.health.answered(kind(answer), took),
            Err(error) => match error.kind {
                StoreErrorKind::NoAnswer => self.health.unanswered(took, &error.detail),
                // An answer like any other, from a server that may be quite well.
                StoreErrorKind::NotFound
                | StoreErrorKind::AlreadyExists
                | StoreErrorKind::OutOfRange => self.health.answered(Kind::Other, took),
                StoreErrorKind::Full | StoreErrorKind::Denied | StoreErrorKind::Failed => {
                    self.health.refused(took, &error.detail);
                }
            },
        }
        answer
    }

    /// Whether a request that can do without this server should be made: not where others wait for it in vain already.
    pub(crate) fn admits(&self) -> bool {
        let asking = self.asking.load(Ordering::Relaxed);
        match self.health.record().breaker {
            Breaker::Closed => true,
            Breaker::Lagging => asking < LAGGING_AT_ONCE,
            Breaker::Open | Breaker::HalfOpen => asking == 0,
        }
    }

    /// Why a server that does not [admit](Self::admits) a request was not asked.
    pub(crate) fn not_asked(&self) -> StoreError {
        let detail = match self.health.record().last_failure {
            Some((_, why)) => format!("not asked, because it has stopped answering: {why}"),
            None => "not asked, because others wait for it in vain".to_owned(),
        };
        StoreError::new(StoreErrorKind::NoAnswer, detail)
    }

    /// Keeps a share. A write whose answer was lost is tried once more; finding the name taken then is the success that was
    /// not heard of, because nobody else can know the name.
    pub(crate) async fn put(
        &self,
        name: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let begin = Instant::now();
        let first = self.put_once(name, object.clone(), durability).await;
        match first {
            Err(error)
                if error.kind == StoreErrorKind::NoAnswer && begin.elapsed() < RETRY_WITHIN =>
            {
                self.put_again(name, object, durability).await
            }
            other => other,
        }
    }

    /// Keeps a share that may be there already, because an earlier write of it got no answer.
    pub(crate) async fn put_again(
        &self,
        name: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let len = object.len() as u64;
        match self.put_once(name, object, durability).await {
            Err(second) if second.kind == StoreErrorKind::AlreadyExists => {
                let stat = self.ask(self.seat.store.stat(name)).await?;
                if stat.len != len {
                    return Err(StoreError::new(
                        StoreErrorKind::Failed,
                        "an object was kept only in part",
                    ));
                }
                if durability == Durability::Now {
                    self.ask(self.seat.store.sync()).await?;
                }
                Ok(())
            }
            other => other,
        }
    }

    /// Keeps an object under a name that somebody else may have used: finding it taken is a success only where what lies there is
    /// this very object, which an earlier write has left of which no answer came.
    pub(crate) async fn put_own(
        &self,
        name: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let first = self.put_once(name, object.clone(), durability).await;
        self.put_own_again(first, name, object, durability).await
    }

    /// What came of it in the end, by what came of it at first.
    async fn put_own_again(
        &self,
        first: Result<(), StoreError>,
        name: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let put = match first {
            Err(error) if error.kind == StoreErrorKind::NoAnswer => {
                self.put_once(name, object.clone(), durability).await
            }
            other => other,
        };
        match put {
            Err(error) if error.kind == StoreErrorKind::AlreadyExists => {
                if self.get(name, None, None).await? != object {
                    return Err(error);
                }
                if durability == Durability::Now {
                    self.ask(self.seat.store.sync()).await?;
                }
                Ok(())
            }
            other => other,
        }
    }

    /// As [`put_own`](Self::put_own) for each of many, with [`Durability::Soon`]; the answers in their order.
    pub(crate) async fn put_many_own(&self, objects: Vec<(ObjectKey, Bytes)>) -> Answers {
        let len = objects
            .iter()
            .map(|(_, object)| object.len() as u64)
            .sum::<u64>();
        let each = Kind::Write(len / (objects.len() as u64).max(1));
        let answers = if objects.len() > 1 {
            let request = self.seat.store.put_many(&objects);
            self.many(None, each, objects.len(), request).await
        } else {
            None
        };
        let mut answers = answers.unwrap_or_default().into_iter();
        join_all(objects.into_iter().map(|(name, object)| {
            let answer = answers.next();
            async move {
                let Some(first) = answer else {
                    return self.put_own(&name, object, Durability::Soon).await;
                };
                self.note_refusal(&first);
                self.put_own_again(first, &name, object, Durability::Soon)
                    .await
            }
        }))
        .await
    }

    /// Removes objects. Returns whether all of them are gone for sure; not asked, as [`try_ask`](Self::try_ask), they are not.
    pub(crate) async fn remove(&self, names: &[ObjectKey], lags_after: Duration) -> bool {
        let gone = |answer: &Result<(), StoreError>| {
            let error = answer.as_ref().err();
            error.is_none_or(|error| error.kind == StoreErrorKind::NotFound)
        };
        let store = &self.seat.store;
        if names.len() > 1 {
            if !self.admits() {
                return false;
            }
            let request = store.delete_many(names);
            let answers = self.many(Some(lags_after), Kind::Other, names.len(), request);
            if let Some(answers) = answers.await {
                return answers.iter().all(gone);
            }
        }
        let removals = names
            .iter()
            .map(|name| self.try_ask(lags_after, store.delete(name)));
        join_all(removals).await.iter().all(gone)
    }

    /// One request for many objects, where the store has that: each gets its answer, and the server is judged by the time that one took.
    async fn many(
        &self,
        lags_after: Option<Duration>,
        each: Kind,
        count: usize,
        request: impl Future<Output = Option<Answers>>,
    ) -> Option<Answers> {
        let mut waiting = Waiting::begin(self, lags_after);
        let answers = match tokio::time::timeout(self.timeout, request).await {
            Ok(answers) => answers,
            Err(_) => Some((0..count).map(|_| Err(self.silence())).collect()),
        };
        waiting.lags_after = None;
        let answers = answers?;
        let took = waiting.begin.elapsed();
        let failed = answers.iter().filter_map(|answer| answer.as_ref().err());
        let worst = failed.max_by_key(|error| match error.kind {
            StoreErrorKind::NoAnswer => 2,
            StoreErrorKind::Full | StoreErrorKind::Denied | StoreErrorKind::Failed => 1,
            // As in `observed`, an answer like any other.
            StoreErrorKind::NotFound
            | StoreErrorKind::AlreadyExists
            | StoreErrorKind::OutOfRange => 0,
        });
        let took_each = took / u32::try_from(count).unwrap_or(u32::MAX).max(1);
        match worst {
            Some(error) if error.kind == StoreErrorKind::NoAnswer => {
                self.health.unanswered(took, &error.detail);
            }
            Some(error)
                if matches!(
                    error.kind,
                    StoreErrorKind::Full | StoreErrorKind::Denied | StoreErrorKind::Failed
                ) =>
            {
                self.health.refused(took_each, &error.detail);
            }
            _ => self.health.answered(each, took_each),
        }
        Some(answers)
    }

    fn silence(&self) -> StoreError {
        StoreError::new(
            StoreErrorKind::NoAnswer,
            format!("no answer within {} s", self.timeout.as_secs_f32()),
        )
    }

    /// Keeps a share, asked once. Whether the name was taken before is for the caller to judge.
    pub(crate) async fn put_once(
        &self,
        name: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let len = object.len() as u64;
        let request = self.seat.store.put_new(name, object, durability);
        let answer = self.observed(None, |()| Kind::Write(len), request).await;
        self.note_refusal(&answer);
        answer
    }

    fn note_refusal(&self, answer: &Result<(), StoreError>) {
        if let Err(error) = answer
            && matches!(error.kind, StoreErrorKind::Full | StoreErrorKind::Denied)
        {
            self.health.refused_write(error.kind, &error.detail);
        }
    }

    /// How long it took to give its piece of the vault key; `None` where nobody waited for it any longer.
    pub(crate) fn heard_before(&self, took: Option<Duration>) {
        match took {
            Some(took) => self
                .health
                .answered(Kind::Read(VAULT_OBJECT_LEN as u64), took),
            None => self.health.overtaken(FIRST_HEDGE),
        }
    }

    /// The cheapest question there is: whether the server's piece of the vault key is there.
    pub(crate) async fn knock(&self) -> Result<(), StoreError> {
        self.ask(self.find_piece()).await
    }

    /// As [`knock`](Self::knock), but fails at once as [`try_ask`](Self::try_ask) does.
    pub(crate) async fn try_knock(&self, lags_after: Duration) -> Result<(), StoreError> {
        self.try_ask(lags_after, self.find_piece()).await
    }

    async fn find_piece(&self) -> Result<(), StoreError> {
        let store = self.seat.store.as_ref();
        let known = Generation(self.piece.load(Ordering::Relaxed));
        let gone = match store.stat(&ObjectKey::vault_object(known)).await {
            Err(error) if error.kind == StoreErrorKind::NotFound => error,
            other => return other.map(drop),
        };
        // A refresh may have put another one in its place.
        match piece_generations(store).await?.last() {
            Some(newest) => {
                self.piece.store(newest.0, Ordering::Relaxed);
                Ok(())
            }
            None => Err(gone),
        }
    }

    async fn probe(&self) {
        // Noted by whoever asks; a probe dropped because time is up has told nothing that the breaker doesn't know.
        let _ = tokio::time::timeout(PROBE_WITHIN, self.knock()).await;
        self.health.probed();
    }
}

/// Lets the one probe through to each server that lags or has stopped answering, when its back-off is over. Ends with the
/// servers.
pub(crate) async fn watch(servers: Weak<Servers>) {
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        let Some(servers) = servers.upgrade() else {
            return;
        };
        for server in servers.all() {
            if server.health.probe_is_due() {
                let server = Arc::clone(server);
                tokio::spawn(async move { server.probe().await });
            }
        }
    }
}

/// A request under way. Dropped before its answer, because a spare was quicker, it counts as slow as it was by then.
struct Waiting<'a> {
    server: &'a Server,
    begin: Instant,
    lags_after: Option<Duration>,
}

impl<'a> Waiting<'a> {
    fn begin(server: &'a Server, lags_after: Option<Duration>) -> Self {
        server.asking.fetch_add(1, Ordering::Relaxed);
        Self {
            server,
            begin: Instant::now(),
            lags_after,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.server.asking.fetch_sub(1, Ordering::Relaxed);
        if let Some(limit) = self.lags_after
            && self.begin.elapsed() >= limit
        {
            self.server.health.overtaken(limit);
        }
    }
}

/// How many requests a server is answering.
pub(super) type Asking = AtomicUsize;

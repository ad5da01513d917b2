//! What the in-memory catalogue knows of sessions. What changed is found by comparing the state before and after, so that it
//! cannot be forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::Instant;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::CatalogError;
use warifu_vault::seam::locks::{Lock, LockRequest, decide};
use warifu_vault::seam::sessions::{
    Change, Hold, Locked, Notices, Renewed, Session, SessionId, SessionInfo, Sessions,
};

use super::memory::MemoryCatalog;

/// How many notices are kept: few, so that tests miss some.
const KEPT: usize = 256;

#[derive(Debug)]
struct Present {
    info: SessionInfo,
    until: Instant,
    holds: BTreeMap<u64, Hold>,
    locks: Vec<(NodeId, Lock)>,
}

/// The sessions, and what each change told.
#[derive(Debug, Default)]
pub(super) struct Book {
    present: BTreeMap<SessionId, Present>,
    notices: BTreeMap<u64, (SessionId, Change)>,
    last: u64,
    news: Arc<Notify>,
}

impl Book {
    /// Whether anybody has to be told what this session changes.
    pub(super) fn has_others(&self, me: SessionId) -> bool {
        let now = Instant::now();
        self.present
            .iter()
            .any(|(id, session)| *id != me && session.until > now)
    }

    /// Tells the others.
    pub(super) fn tell(&mut self, me: SessionId, changes: Vec<Change>) {
        for change in changes {
            self.last += 1;
            self.notices.insert(self.last, (me, change));
        }
        while self.notices.len() > KEPT {
            self.notices.pop_first();
        }
        self.news.notify_waiters();
    }

    /// The power of the machine that keeps the catalogue failed: nobody is there any more.
    pub(super) fn forget(&mut self) {
        self.present.clear();
        self.notices.clear();
    }

    fn reap(&mut self) {
        let now = Instant::now();
        self.present.retain(|_, session| session.until > now);
    }

    fn locks(&self, node: NodeId) -> Vec<Lock> {
        let all = self.present.values().flat_map(|session| &session.locks);
        all.filter(|(at, _)| *at == node)
            .map(|(_, lock)| lock.clone())
            .collect()
    }
}

#[async_trait]
impl Sessions for MemoryCatalog {
    fn me(&self) -> SessionId {
        self.me
    }

    async fn begin_session(
        &self,
        info: &SessionInfo,
        lease: Duration,
    ) -> Result<u64, CatalogError> {
        let mut inner = self.lock();
        inner.book.reap();
        let session = Present {
            info: info.clone(),
            until: Instant::now() + lease,
            holds: BTreeMap::new(),
            locks: Vec::new(),
        };
        inner.book.present.insert(self.me, session);
        Ok(inner.book.last)
    }

    async fn renew_session(&self, lease: Duration) -> Result<Renewed, CatalogError> {
        let mut inner = self.lock();
        inner.book.reap();
        let others = inner.book.has_others(self.me);
        let session = inner.book.present.get_mut(&self.me);
        let kept = session.map(|session| session.until = Instant::now() + lease);
        Ok(Renewed {
            kept: kept.is_some(),
            others,
            first: inner.book.present.keys().all(|id| *id >= self.me),
        })
    }

    async fn end_session(&self) -> Result<(), CatalogError> {
        self.lock().book.present.remove(&self.me);
        Ok(())
    }

    async fn present(&self) -> Result<Vec<Session>, CatalogError> {
        let mut inner = self.lock();
        inner.book.reap();
        let all = inner.book.present.iter();
        Ok(all
            .map(|(id, session)| Session {
                id: *id,
                info: session.info.clone(),
                holds: session.holds.values().cloned().collect(),
                locks: session.locks.clone(),
            })
            .collect())
    }

    async fn notices(&self, after: u64, limit: usize) -> Result<Notices, CatalogError> {
        let inner = self.lock();
        let book = &inner.book;
        let first = book.notices.keys().next().copied();
        let missed = after > book.last || after + 1 < first.unwrap_or(book.last + 1);
        if missed {
            return Ok(Notices {
                changes: Vec::new(),
                next: book.last,
                missed,
            });
        }
        let new: Vec<_> = book.notices.range(after + 1..).take(limit).collect();
        Ok(Notices {
            next: new.last().map_or(after, |(seq, _)| **seq),
            changes: new
                .into_iter()
                .filter(|(_, (origin, _))| *origin != self.me)
                .map(|(_, (_, change))| change.clone())
                .collect(),
            missed,
        })
    }

    async fn noticed(&self, after: u64) {
        let news = Arc::clone(&self.lock().book.news);
        let heard = news.notified();
        tokio::pin!(heard);
        heard.as_mut().enable();
        if self.lock().book.last == after {
            heard.await;
        }
    }

    async fn lock(&self, node: NodeId, request: &LockRequest) -> Result<Locked, CatalogError> {
        let mut inner = self.lock();
        let book = &mut inner.book;
        book.reap();
        let others = book.has_others(self.me);
        let locks = book.locks(node);
        let session = book
            .present
            .get_mut(&self.me)
            .ok_or(CatalogError::SessionEnded)?;
        let blocker = match decide(&locks, self.me, request) {
            Ok(now) => {
                session
                    .locks
                    .retain(|(at, lock)| *at != node || lock.owner != request.owner);
                session
                    .locks
                    .extend(now.into_iter().map(|lock| (node, lock)));
                None
            }
            Err(blocker) => Some(blocker),
        };
        Ok(Locked { blocker, others })
    }

    async fn locks(&self, node: NodeId) -> Result<Vec<Lock>, CatalogError> {
        let mut inner = self.lock();
        inner.book.reap();
        Ok(inner.book.locks(node))
    }

    async fn hold(&self, opened: &[Hold], closed: &[u64]) -> Result<(), CatalogError> {
        let mut inner = self.lock();
        inner.book.reap();
        if let Some(session) = inner.book.present.get_mut(&self.me) {
            let holds = opened.iter().map(|hold| (hold.number, hold.clone()));
            session.holds.extend(holds);
            session.holds.retain(|number, _| !closed.contains(number));
        }
        Ok(())
    }

    async fn holders(&self, node: NodeId) -> Result<Vec<(SessionInfo, Hold)>, CatalogError> {
        let mut holders = Vec::new();
        for session in self.present().await? {
            let holds = session.holds.into_iter().filter(|hold| hold.node == node);
            holders.extend(holds.map(|hold| (session.info.clone(), hold)));
        }
        holders.sort_by_key(|(_, hold)| (hold.since.secs, hold.since.nanos, hold.number));
        Ok(holders)
    }
}

//! Locks of this session, and whether they can still be trusted.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::futures::Notified;

use super::Joined;
use crate::context::Context;
use crate::error::{Result, VaultError};
use crate::node::NodeId;
use crate::seam::catalog::{CatalogError, Durability};
use crate::seam::locks::{Lock, LockRequest, decide};
use crate::seam::sessions::Sessions;
use crate::vault::{Inner, Vault, lock};

/// What this session has locked, and what it had locked when its lease ended.
#[derive(Debug, Default)]
pub(super) struct Locks {
    book: Mutex<Book>,
    /// How many nodes are in the book: most files have no lock, and finding that out must cost nothing.
    nodes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Book {
    held: HashMap<NodeId, Vec<Lock>>,
    /// Of no use any more, and their owners have not let go of them yet.
    lost: HashMap<NodeId, Vec<Lock>>,
    /// Whose locks were to be taken away, by requests that got no answer: to be asked for again.
    unanswered: HashSet<(NodeId, u64)>,
    /// What a session that is being begun anew has still to have again.
    again: HashMap<NodeId, Vec<Lock>>,
}

impl Locks {
    fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = lock(&self.book);
        let done = change(&mut book);
        book.held.retain(|_, locks| !locks.is_empty());
        book.lost.retain(|_, locks| !locks.is_empty());
        self.nodes
            .store(book.held.len() + book.lost.len(), Ordering::Release);
        done
    }

    fn has_any(&self, node: NodeId) -> bool {
        !self.is_empty()
            && self.change(|book| book.held.contains_key(&node) || book.lost.contains_key(&node))
    }

    fn is_empty(&self) -> bool {
        self.nodes.load(Ordering::Acquire) == 0
    }

    /// Everything is lost until it is had again. Returns what is to be had again: what was held, and what a beginning that was cut off
    /// did not come to. What was lost for good before stays so.
    pub(super) fn lose_all(&self) -> Vec<(NodeId, Vec<Lock>)> {
        self.change(|book| {
            for (node, locks) in book.held.drain() {
                let lost = book.lost.entry(node).or_default();
                lost.extend(locks.iter().cloned());
                let again = book.again.entry(node).or_default();
                again.retain(|lock| !locks.contains(lock));
                again.extend(locks);
            }
            book.again.retain(|node, again| {
                // What was unlocked since is not had again.
                let lost = book.lost.get(node);
                again.retain(|lock| lost.is_some_and(|lost| lost.contains(lock)));
                !again.is_empty()
            });
            let again = book.again.iter();
            again.map(|(node, locks)| (*node, locks.clone())).collect()
        })
    }

    /// A beginning has come to its end: what was not had again is lost for good.
    pub(super) fn begun(&self) {
        self.change(|book| book.again.clear());
    }
}

/// The locks of a list after a request that was granted.
fn apply(locks: &mut Vec<Lock>, request: &LockRequest, me: &dyn Sessions) {
    if let Ok(now) = decide(locks, me.me(), request) {
        locks.retain(|lock| lock.owner != request.owner);
        locks.extend(now);
    }
}

impl Vault {
    /// Sets or takes away a lock, once: `None` when that was granted, otherwise a lock that stands against it.
    ///
    /// What others wrote under their locks is in what is read from now on, and what was written under this one is saved before it is
    /// taken away, so that those who lock the same file on two machines see each other's work.
    ///
    /// # Errors
    /// [`VaultError::LockLost`] while the same owner has a lock on the file that ended with this machine's lease;
    /// [`VaultError::Invalid`] unless the vault has [joined](Self::join); errors of the catalogue.
    pub async fn lock(
        &self,
        ctx: &Context,
        node: NodeId,
        request: &LockRequest,
    ) -> Result<Option<Lock>> {
        let inner = &self.inner;
        let (joined, sessions) = inner.joined().ok_or(NOT_JOINED)?;
        if inner.has_left() {
            return Err(VaultError::ShuttingDown);
        }
        if request.mode.is_none() {
            return inner.unlock(ctx, joined, sessions, node, request).await;
        }
        let lost = |book: &mut Book| {
            let lost = book.lost.get(&node);
            lost.is_some_and(|lost| lost.iter().any(|lock| lock.owner == request.owner))
        };
        if !joined.locks.is_empty() && joined.locks.change(lost) {
            return Err(VaultError::LockLost);
        }
        let locked = match sessions.lock(node, request).await {
            Err(CatalogError::SessionEnded) => {
                inner.renew(joined, sessions).await?;
                sessions.lock(node, request).await
            }
            other => other,
        };
        let granted = |book: &mut Book| {
            book.unanswered.remove(&(node, request.owner));
            apply(book.held.entry(node).or_default(), request, sessions);
        };
        let locked = match locked {
            Ok(locked) => locked,
            Err(error) => {
                // It may have been granted all the same. So it counts, and goes when its owner lets go of the file.
                if matches!(error, CatalogError::NoAnswer { .. }) {
                    joined.locks.change(granted);
                }
                return Err(error.into());
            }
        };
        joined.others.store(locked.others, Ordering::Release);
        if locked.blocker.is_none() {
            joined.locks.change(granted);
            inner.refresh(node).await?;
        }
        Ok(locked.blocker)
    }

    /// A lock that stands against a request at the moment.
    ///
    /// # Errors
    /// As for [`lock`](Self::lock).
    pub async fn test_lock(&self, node: NodeId, request: &LockRequest) -> Result<Option<Lock>> {
        let (_, sessions) = self.inner.joined().ok_or(NOT_JOINED)?;
        let locks = sessions.locks(node).await?;
        Ok(decide(&locks, sessions.me(), request).err())
    }

    /// Whether an owner has, or had and lost, a lock on a file.
    #[must_use]
    pub fn has_lock(&self, node: NodeId, owner: u64) -> bool {
        let Some((joined, _)) = self.inner.joined() else {
            return false;
        };
        !joined.locks.is_empty()
            && joined.locks.change(|book| {
                let both = book.held.get(&node).into_iter().chain(book.lost.get(&node));
                both.flatten().any(|lock| lock.owner == owner)
            })
    }

    /// Whether anybody here has, or had and lost, a lock on a file. Costs next to nothing where there are no locks.
    #[must_use]
    pub fn has_locks(&self, node: NodeId) -> bool {
        self.inner
            .joined()
            .is_some_and(|(joined, _)| joined.locks.has_any(node))
    }

    /// Whether a lock is one of this session's own.
    #[must_use]
    pub fn is_own_lock(&self, lock: &Lock) -> bool {
        self.inner
            .joined()
            .is_some_and(|(_, sessions)| sessions.me() == lock.session)
    }

    /// To be asked before a file is changed on which programs may have locks: fails when one of them ended with this machine's lease
    /// and nobody has let go of it yet. Costs nothing where no lock is, and no request as long as the lease is good.
    ///
    /// # Errors
    /// [`VaultError::LockLost`]; errors of the catalogue when the lease cannot be renewed.
    pub async fn trust_locks(&self, node: NodeId) -> Result<()> {
        match self.inner.locks_hold_at(node, 1).await? {
            true => Ok(()),
            false => Err(VaultError::LockLost),
        }
    }

    /// Comes when a lock of this session is taken away. For those of others there is nothing to wait for but time.
    ///
    /// # Errors
    /// [`VaultError::Invalid`] unless the vault has [joined](Self::join).
    pub fn unlocked(&self) -> Result<Notified<'_>> {
        let (joined, _) = self.inner.joined().ok_or(NOT_JOINED)?;
        Ok(joined.unlocked.notified())
    }
}

const NOT_JOINED: VaultError = VaultError::Invalid {
    what: "locks are for drives that are mounted",
};

impl Inner {
    /// Whether the locks that programs here set on a file still hold, and will while a save is switched.
    pub(crate) async fn locks_hold(&self, node: NodeId) -> Result<bool> {
        self.locks_hold_at(node, 2).await
    }

    /// The same, with a lease that is used up by no more than a part.
    async fn locks_hold_at(&self, node: NodeId, part: u32) -> Result<bool> {
        let Some((joined, sessions)) = self.joined() else {
            return Ok(true);
        };
        if !joined.locks.has_any(node) {
            return Ok(true);
        }
        let age = self.clock.uptime().saturating_sub(*lock(&joined.renewed));
        if age >= joined.lease / part {
            self.renew(joined, sessions).await?;
        }
        Ok(!joined.locks.change(|book| book.lost.contains_key(&node)))
    }

    async fn unlock(
        self: &std::sync::Arc<Self>,
        ctx: &Context,
        joined: &Joined,
        sessions: &dyn Sessions,
        node: NodeId,
        request: &LockRequest,
    ) -> Result<Option<Lock>> {
        let has_any = joined.locks.change(|book| {
            let both = book.held.get(&node).into_iter().chain(book.lost.get(&node));
            both.flatten().any(|lock| lock.owner == request.owner)
        });
        if !has_any {
            return Ok(None);
        }
        if !self.options.read_only
            && let Some(file) = self.open_file(node)
            && let Err(error) = self.save_once(ctx, &file, Durability::Soon).await
        {
            // The changes stay, and whoever closes the file hears of it.
            tracing::warn!(error = %error.facts(), "what was written under a lock could not be saved when it was taken away");
        }
        joined.locks.change(|book| {
            if let Some(lost) = book.lost.get_mut(&node) {
                apply(lost, request, sessions);
            }
        });
        let done = match sessions.lock(node, request).await {
            Ok(locked) => {
                joined.others.store(locked.others, Ordering::Release);
                Ok(None)
            }
            // Ended by itself.
            Err(CatalogError::SessionEnded) => Ok(None),
            Err(error) => {
                joined
                    .locks
                    .change(|book| book.unanswered.insert((node, request.owner)));
                Err(error.into())
            }
        };
        joined.locks.change(|book| {
            if let Some(held) = book.held.get_mut(&node) {
                apply(held, request, sessions);
            }
        });
        joined.unlocked.notify_waiters();
        done
    }

    /// Takes what others have saved as the contents of an open file, unless there are changes to save.
    async fn refresh(&self, node: NodeId) -> Result<()> {
        let Some(file) = self.open_file(node) else {
            return Ok(());
        };
        let _gate = file.gate.lock().await;
        let (attr, version) = self.current(node).await?;
        file.know(&attr);
        file.state.write().await.catch_up(&attr, version.as_ref());
        Ok(())
    }

    /// Sets locks again that ended with the lease: where nobody has locked the file meanwhile in a way that stands against them, and nobody has
    /// changed it since. Then nobody can tell that they were gone.
    pub(super) async fn have_again(
        &self,
        joined: &Joined,
        sessions: &dyn Sessions,
        node: NodeId,
        locks: Vec<Lock>,
    ) -> Result<()> {
        let Some(file) = self.open_file(node) else {
            return Ok(());
        };
        let mut granted = Vec::new();
        // Until this has come to its end, whatever is granted is to be taken away again.
        joined.locks.change(|book| {
            let owners = locks.iter().map(|lock| (node, lock.owner));
            book.unanswered.extend(owners);
        });
        for lock in &locks {
            let request = LockRequest {
                owner: lock.owner,
                kind: lock.kind,
                first: lock.first,
                last: lock.last,
                mode: Some(lock.mode),
                pid: lock.pid,
            };
            if sessions.lock(node, &request).await?.blocker.is_none() {
                granted.push(lock.clone());
            }
        }
        // Only now, when nobody else can change it under a lock any more.
        let unchanged = match self.catalog.attr(node).await? {
            Some(attr) => attr.head == file.state.read().await.head,
            None => false,
        };
        if unchanged {
            joined.locks.change(|book| {
                if let Some(lost) = book.lost.get_mut(&node) {
                    lost.retain(|lock| !granted.contains(lock));
                }
                for lock in &granted {
                    book.unanswered.remove(&(node, lock.owner));
                }
                book.held.entry(node).or_default().extend(granted);
            });
        }
        self.take_away(joined, sessions).await
    }

    /// Asks once more for what got no answer: that locks be taken away. Those whose owners have locks on the file again wait for the end of
    /// these.
    pub(super) async fn take_away(&self, joined: &Joined, sessions: &dyn Sessions) -> Result<()> {
        let due = joined.locks.change(|book| {
            let has_none = |node: &NodeId, owner: u64| {
                let held = book.held.get(node);
                held.is_none_or(|held| held.iter().all(|lock| lock.owner != owner))
            };
            let due: Vec<_> = book
                .unanswered
                .iter()
                .filter(|(node, owner)| has_none(node, *owner))
                .copied()
                .collect();
            due
        });
        for (node, owner) in due {
            match sessions.lock(node, &LockRequest::release(owner)).await {
                Ok(_) | Err(CatalogError::SessionEnded) => {
                    joined
                        .locks
                        .change(|book| book.unanswered.remove(&(node, owner)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

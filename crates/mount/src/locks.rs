//! Locks: fcntl(2) and flock(2), which hold on every machine that has the vault mounted.
//!
//! A request that waits can be ended by a signal: the kernel's word of it does not reach us through fuser, so the one who waits is looked
//! at. And it ends by itself after [`WAIT_MOST`], so that two machines that wait for each other do not do so for ever.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fuser::{Errno, LockOwner};
use warifu_vault::VaultError;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::CatalogError;
use warifu_vault::seam::locks::{Lock, LockKind, LockMode, LockRequest};

use crate::caller::Caller;
use crate::drive::{Answer, Drive};
use crate::errno::Refusal;

/// How often it is looked whether another machine has let go, and whether the one who waits has been sent a signal.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a lock is waited for at most.
pub(crate) const WAIT_MOST: Duration = Duration::from_secs(300);

/// A request as the kernel makes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// Who asks: the table of descriptors, or the opening of the file.
    pub(crate) owner: u64,
    /// The first byte.
    pub(crate) first: u64,
    /// The last byte.
    pub(crate) last: u64,
    /// `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
    pub(crate) typ: i32,
    /// The process.
    pub(crate) pid: u32,
}

impl Ask {
    pub(crate) const fn new(
        owner: LockOwner,
        (first, last): (u64, u64),
        typ: i32,
        pid: u32,
    ) -> Self {
        Self {
            owner: owner.0,
            first,
            last,
            typ,
            pid,
        }
    }

    fn request(self, kind: LockKind) -> Result<LockRequest, Errno> {
        Ok(LockRequest {
            owner: self.owner,
            kind,
            first: self.first.min(LockRequest::END),
            last: self.last.min(LockRequest::END),
            mode: match self.typ {
                libc::F_RDLCK => Some(LockMode::Shared),
                libc::F_WRLCK => Some(LockMode::Exclusive),
                libc::F_UNLCK => None,
                _ => return Err(Errno::EINVAL),
            },
            pid: self.pid,
        })
    }
}

/// Who waits for whom on this machine.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<HashMap<u64, u64>>);

/// An entry of [`Waiting`], until it is dropped.
struct Waits<'a>(&'a Waiting, u64);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

impl Waiting {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that one waits for another; `None` when that one already waits for the first, perhaps through others.
    fn wait(&self, owner: u64, for_whom: u64) -> Option<Waits<'_>> {
        let mut waiting = self.lock();
        let mut at = for_whom;
        // Longer than the map is no chain without a circle.
        for _ in 0..=waiting.len() {
            if at == owner {
                return None;
            }
            match waiting.get(&at) {
                Some(next) => at = *next,
                None => break,
            }
        }
        waiting.insert(owner, for_whom);
        Some(Waits(self, owner))
    }
}

/// The number of a lock that cannot be had for want of an answer is not that of a broken disk.
fn refusal(error: VaultError) -> Refusal {
    match error {
        VaultError::Catalog(CatalogError::NoAnswer { .. } | CatalogError::SessionEnded) => {
            Errno::ENOLCK.into()
        }
        other => other.into(),
    }
}

impl Drive {
    /// `F_GETLK`: what stands against a lock, as the range, the type and the process.
    pub(crate) async fn test_lock(&self, node: NodeId, ask: Ask) -> Answer<(u64, u64, i32, u32)> {
        let request = ask.request(LockKind::Posix)?;
        let blocker = self
            .vault
            .test_lock(node, &request)
            .await
            .map_err(refusal)?;
        Ok(match blocker {
            None => (ask.first, ask.last, libc::F_UNLCK, 0),
            Some(lock) => {
                let typ = match lock.mode {
                    LockMode::Shared => libc::F_RDLCK,
                    LockMode::Exclusive => libc::F_WRLCK,
                };
                // The number of a process on another machine means nothing here.
                let pid = if self.vault.is_own_lock(&lock) {
                    lock.pid
                } else {
                    0
                };
                (lock.first, lock.last, typ, pid)
            }
        })
    }

    /// `F_SETLK`, `F_SETLKW` and flock(2).
    pub(crate) async fn set_lock(
        &self,
        caller: Caller,
        (node, handle): (NodeId, u64),
        ask: Ask,
        wait: bool,
    ) -> Answer<()> {
        let kind = caller.lock_kind();
        let request = ask.request(kind)?;
        let context = self.callers.glance(caller).await;
        let file = self.open.file(handle)?;
        if request.mode.is_some() {
            file.note_locker(request.owner);
        }
        self.launder(node).await;
        let began = Instant::now();
        loop {
            // Before the question, so that a lock that goes right after the answer is not missed.
            let unlocked = self.vault.unlocked()?;
            tokio::pin!(unlocked);
            unlocked.as_mut().enable();
            let blocker = self
                .vault
                .lock(&context, node, &request)
                .await
                .map_err(refusal)?;
            let Some(blocker) = blocker else {
                if request.mode.is_some() {
                    // What a mapping was shown while the lock was waited for may be of before.
                    self.launder(node).await;
                }
                self.refreshed(&file).await;
                return Ok(());
            };
            if !wait {
                return Err(Errno::EAGAIN.into());
            }
            if began.elapsed() > WAIT_MOST {
                return Err(Errno::EDEADLK.into());
            }
            let _waits = self.wait_for(kind, request.owner, &blocker)?;
            tokio::select! {
                () = unlocked => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if caller.has_signal() {
                // Only now: without a signal the kernel would hand a number to the program that no program knows.
                return Err(Errno::EINTR.into());
            }
        }
    }

    /// Notes who waits for whom. Among locks of processes of one machine a circle is refused, as other file systems do.
    fn wait_for(&self, kind: LockKind, owner: u64, blocker: &Lock) -> Answer<Option<Waits<'_>>> {
        if kind != LockKind::Posix || !self.vault.is_own_lock(blocker) {
            return Ok(None);
        }
        match self.waiting.wait(owner, blocker.owner) {
            Some(waits) => Ok(Some(waits)),
            None => Err(Errno::EDEADLK.into()),
        }
    }

    /// A lock brought the file up to what others had saved: the kernel must not believe something older of it.
    async fn refreshed(&self, file: &crate::open::OpenFile) {
        if let Ok(attr) = file.handle.attr().await {
            self.catch_up(&crate::attrs::file_attr(&attr));
        }
    }

    /// Takes all locks of an owner on a file away, where it has any.
    pub(crate) async fn let_go(&self, caller: Caller, node: NodeId, owner: u64) {
        if !self.vault.has_lock(node, owner) {
            return;
        }
        let context = self.callers.glance(caller).await;
        let released = self
            .vault
            .lock(&context, node, &LockRequest::release(owner))
            .await;
        if let Err(error) = released {
            Refusal::from(error).log("unlock", node.0);
        }
    }
}

impl Caller {
    /// By which call a lock is asked for. fuser does not tell, and the range does not either; the thread that waits for our answer
    /// is in that call. Where that cannot be seen, the lock counts as one of both kinds.
    fn lock_kind(self) -> LockKind {
        if self.pid == 0 {
            return LockKind::Either;
        }
        let call = std::fs::read_to_string(format!("/proc/{}/syscall", self.pid));
        let number = call.ok().and_then(|call| {
            let number = call.split_whitespace().next()?;
            number.parse::<i64>().ok()
        });
        match number {
            Some(number) if number == libc::SYS_flock => LockKind::Flock,
            Some(number) if number == libc::SYS_fcntl => LockKind::Posix,
            _ => LockKind::Either,
        }
    }

    /// Whether a signal waits for the thread that asks and is not blocked by it, or the thread is gone.
    fn has_signal(self) -> bool {
        if self.pid == 0 {
            return false;
        }
        let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", self.pid)) else {
            return true;
        };
        signal_waits(&status)
    }
}

fn signal_waits(status: &str) -> bool {
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
            .unwrap_or(0)
    };
    (set("SigPnd:") | set("ShdPnd:")) & !set("SigBlk:") != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_of_those_who_wait_is_seen() {
        let waiting = Waiting::default();
        let first = waiting.wait(1, 2).unwrap();
        let second = waiting.wait(2, 3).unwrap();
        assert!(waiting.wait(3, 1).is_none());
        assert!(waiting.wait(4, 1).is_some());
        drop(first);
        assert!(waiting.wait(3, 1).is_some());
        drop(second);
        assert!(waiting.lock().is_empty());
    }

    #[test]
    fn only_a_signal_that_is_not_blocked_counts() {
        let status = |pending: &str, shared: &str, blocked: &str| {
            signal_waits(&format!(
                "Name:\tx\nSigPnd:\t{pending}\nShdPnd:\t{shared}\nSigBlk:\t{blocked}\n"
            ))
        };
        assert!(!status(
            "0000000000000000",
            "0000000000000000",
            "0000000000000000"
        ));
        assert!(status(
            "0000000000000000",
            "0000000000004000",
            "0000000000000000"
        ));
        assert!(!status(
            "0000000000000000",
            "0000000000004000",
            "0000000000004000"
        ));
        assert!(status(
            "0000000000000100",
            "0000000000000000",
            "0000000000000000"
        ));
        assert!(!signal_waits("nothing that we know"));
    }

    #[test]
    fn a_range_ends_where_ranges_can_end() {
        let ask = Ask {
            owner: 1,
            first: 5,
            last: u64::MAX,
            typ: libc::F_WRLCK,
            pid: 1,
        };
        let request = ask.request(LockKind::Posix).unwrap();
        assert_eq!((request.first, request.last), (5, LockRequest::END));
        assert!(Ask { typ: 77, ..ask }.request(LockKind::Posix).is_err());
    }
}

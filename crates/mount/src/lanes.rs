//! Bounded work: each request is a piece of work of its own, and no more than so many of a sort run at once.
//!
//! A callback never waits: the thread that reads from the kernel takes each request as far as it goes without waiting, hands
//! what is left to a task, and reads on. Most requests need only memory and the catalogue and end right there: to wake
//! another thread for them would take longer than they do. There are lanes, because what waits for servers must not hold
//! up what only needs the catalogue: with every server hung, saves queue up and listing a folder is as quick as ever.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Which sort of work a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Names and attributes: the catalogue.
    Names,
    /// Opening, reading and writing: memory, and servers where shares must be fetched.
    Data,
    /// Saving: many servers, and as long as they take.
    Saves,
    /// Locks, which may be waited for as long as somebody else likes.
    Locks,
}

/// How many requests of each lane run at once. Those above it wait in their turn; the kernel bounds how many there can
/// be, one for each thread that uses the drive and its own read-ahead and write-back.
const NAMES: usize = 256;
/// A request is 1 MiB at most, so this also bounds the memory that reads take. A write that waits for its turn has its data with it: one for each
/// thread that writes.
const DATA: usize = 128;
const SAVES: usize = 128;
const LOCKS: usize = 4096;

#[derive(Debug)]
struct Bounded {
    permits: Arc<Semaphore>,
    all: usize,
}

impl Bounded {
    fn new(all: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(all)),
            all,
        }
    }
}

/// The lanes of one drive.
#[derive(Debug)]
pub(crate) struct Lanes {
    runtime: Handle,
    names: Bounded,
    data: Bounded,
    saves: Bounded,
    locks: Bounded,
}

impl Lanes {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            names: Bounded::new(NAMES),
            data: Bounded::new(DATA),
            saves: Bounded::new(SAVES),
            locks: Bounded::new(LOCKS),
        }
    }

    /// Does `work` as soon as its lane has room. Work that is lost (a panic, the end of the runtime) drops its reply,
    /// and the kernel is told EIO.
    pub(crate) fn run(&self, lane: Lane, work: impl Future<Output = ()> + Send + 'static) {
        let permits = Arc::clone(&self.lane(lane).permits);
        let mut work = Box::pin(async move {
            // The semaphore is never closed; if it were, dropping the work would answer EIO.
            if let Ok(_permit) = permits.acquire_owned().await {
                work.await;
            }
        });
        let _entered = self.runtime.enter();
        // What waits is polled again by its task, with a waker that works. A panic must not end the thread: it serves all.
        let first = catch_unwind(AssertUnwindSafe(|| {
            work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        }));
        match first {
            Ok(poll) if poll.is_pending() => drop(self.runtime.spawn(work)),
            Ok(_) => {}
            Err(_) => tracing::error!("a request ended in a panic"),
        }
    }

    /// Does here and now what never waits, without a lane; `None` where it can't be done so. A panic in it counts as that too.
    pub(crate) fn at_once<T>(&self, work: impl FnOnce() -> Option<T>) -> Option<T> {
        let _entered = self.runtime.enter();
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            tracing::error!("a request ended in a panic");
            None
        })
    }

    /// Waits until everything handed in so far is done, but for locks; false when it took longer than `limit`.
    pub(crate) async fn drained(&self, limit: Duration) -> bool {
        let all = async {
            for lane in [&self.names, &self.data, &self.saves] {
                let many = u32::try_from(lane.all).unwrap_or(u32::MAX);
                // Permits are given out in turn, so whoever gets all of them comes after everybody before.
                drop(lane.permits.acquire_many(many).await);
            }
        };
        tokio::time::timeout(limit, all).await.is_ok()
    }

    /// The runtime's handle, for what blocks.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    fn lane(&self, lane: Lane) -> &Bounded {
        match lane {
            Lane::Names => &self.names,
            Lane::Data => &self.data,
            Lane::Saves => &self.saves,
            Lane::Locks => &self.locks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn a_full_lane_holds_up_no_other_and_draining_waits_for_all() {
        let lanes = Lanes::new(Handle::current());
        let gate = Arc::new(Notify::new());
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..SAVES + 10 {
            let (gate, done) = (Arc::clone(&gate), Arc::clone(&done));
            lanes.run(Lane::Saves, async move {
                gate.notified().await;
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        lanes.run(Lane::Names, async move {
            let _ = tell.send(());
        });
        told.await.unwrap();
        assert_eq!(done.load(Ordering::Relaxed), 0);
        assert!(!lanes.drained(Duration::from_millis(20)).await);
        let open = {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                loop {
                    gate.notify_waiters();
                    tokio::task::yield_now().await;
                }
            })
        };
        assert!(lanes.drained(Duration::from_secs(20)).await);
        open.abort();
        assert_eq!(done.load(Ordering::Relaxed), SAVES + 10);
    }
}

//! Bounds on work that nobody waits for: how many bytes lie in RAM at a time, and how many are sent in a second.

use std::time::Duration;

use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Room in RAM, handed out in KiB.
#[derive(Debug)]
pub(crate) struct Budget {
    room: Semaphore,
    kib: u32,
}

impl Budget {
    /// Of so many bytes.
    pub(crate) fn new(bytes: u32) -> Self {
        let kib = (bytes / 1024).max(1);
        Self {
            room: Semaphore::new(usize::try_from(kib).unwrap_or(1)),
            kib,
        }
    }

    /// Waits for room. What is larger than all of it waits until it is alone.
    pub(crate) async fn take(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        self.room.acquire_many(kib.clamp(1, self.kib)).await.ok()
    }
}

/// A speed limit.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: Option<u64>,
    /// When the next bytes may be sent.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// `None` is no limit; 0 counts as 1.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        Self {
            bytes_per_second: bytes_per_second.map(|limit| limit.max(1)),
            next: Mutex::new(None),
        }
    }

    /// Waits until so many bytes may be sent.
    pub(crate) async fn wait(&self, bytes: u64) {
        let Some(limit) = self.bytes_per_second else {
            return;
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "a speed limit is not exact to the byte"
        )]
        let cost = Duration::from_secs_f64(bytes as f64 / limit as f64);
        let at = {
            let mut next = self.next.lock().await;
            let now = Instant::now();
            let at = next.map_or(now, |next| next.max(now));
            *next = Some(at + cost);
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_speed_limit_holds_on_average_and_forgets_idle_time() {
        let pace = Pace::new(Some(1000));
        let begin = Instant::now();
        for _ in 0..11 {
            pace.wait(500).await;
        }
        assert_eq!(begin.elapsed(), Duration::from_secs(5));
        tokio::time::sleep(Duration::from_secs(100)).await;
        let begin = Instant::now();
        for _ in 0..3 {
            pace.wait(500).await;
        }
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
        Pace::new(None).wait(u64::MAX).await;
    }

    #[tokio::test]
    async fn what_is_larger_than_the_room_waits_until_it_is_alone() {
        let budget = Budget::new(10 * 1024);
        let small = budget.take(1).await;
        assert!(
            futures_util::FutureExt::now_or_never(budget.take(1 << 30)).is_none(),
            "not while somebody else is there"
        );
        drop(small);
        let large = budget.take(1 << 30).await;
        assert!(large.is_some());
        assert!(futures_util::FutureExt::now_or_never(budget.take(1)).is_none());
    }
}

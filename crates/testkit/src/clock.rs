//! A clock that moves when a test says so.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use warifu_vault::seam::clock::{Clock, Timestamp};

/// A [`Clock`] that stands still until it is set or advanced.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Timestamp>,
}

impl ManualClock {
    /// A clock that shows this many seconds since 1970.
    #[must_use]
    pub fn at(secs: i64) -> Self {
        Self {
            now: Mutex::new(Timestamp { secs, nanos: 0 }),
        }
    }

    /// Sets the time; backwards too, as real clocks are set.
    pub fn set(&self, now: Timestamp) {
        *self
            .now
            .lock()
            .expect("no test panics while it sets the clock") = now;
    }

    /// Moves the time on.
    pub fn advance(&self, by: Duration) {
        let mut now = self
            .now
            .lock()
            .expect("no test panics while it sets the clock");
        let nanos = now.nanos + by.subsec_nanos();
        let secs = i64::try_from(by.as_secs()).expect("a test's time span fits in 63 bits");
        *now = Timestamp {
            secs: now.secs + secs + i64::from(nanos / 1_000_000_000),
            nanos: nanos % 1_000_000_000,
        };
    }
}

impl Default for ManualClock {
    /// A clock on some day in 2026.
    fn default() -> Self {
        Self::at(1_790_000_000)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self
            .now
            .lock()
            .expect("no test panics while it sets the clock")
    }

    /// Goes with the runtime's time, which a test may stop and nobody can set.
    fn uptime(&self) -> Duration {
        static BEGAN: OnceLock<Instant> = OnceLock::new();
        let now = Instant::now();
        now.saturating_duration_since(*BEGAN.get_or_init(|| now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_by_hand_only_and_carries_its_nanoseconds() {
        let clock = ManualClock::at(5);
        assert_eq!(clock.now(), clock.now());
        clock.advance(Duration::from_millis(700));
        clock.advance(Duration::from_millis(700));
        assert_eq!(
            clock.now(),
            Timestamp {
                secs: 6,
                nanos: 400_000_000
            }
        );
        clock.set(Timestamp { secs: 1, nanos: 0 });
        assert_eq!(clock.now().secs, 1);
    }
}

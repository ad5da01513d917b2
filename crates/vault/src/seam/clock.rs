//! [`Clock`]: what time it is, so that tests can say it.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

pub use warifu_core::head::Timestamp;

/// Tells the wall-clock time for time stamps. No decision about which version is current ever rests on it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let (secs, nanos) = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => (
                i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                since.subsec_nanos(),
            ),
            Err(_) => (0, 0),
        };
        Timestamp { secs, nanos }
    }
}

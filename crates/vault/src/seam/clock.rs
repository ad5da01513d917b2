//! [`Clock`]: what time it is, so that tests can say it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use warifu_core::head::Timestamp;

/// Tells the wall-clock time for time stamps. No decision about which version is current ever rests on it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// The time since some moment before the process began, such as the start of the machine: never set, and going on while
    /// the machine sleeps. Two of them can be compared on one machine only.
    fn uptime(&self) -> Duration;
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

    fn uptime(&self) -> Duration {
        let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(
            u64::try_from(since.tv_sec).unwrap_or(0),
            u32::try_from(since.tv_nsec).unwrap_or(0),
        )
    }
}

/// A moment so much later.
#[must_use]
pub fn later(time: Timestamp, by: Duration) -> Timestamp {
    let nanos = time.nanos.saturating_add(by.subsec_nanos());
    let carried = nanos / 1_000_000_000;
    let secs = i64::try_from(by.as_secs()).unwrap_or(i64::MAX);
    Timestamp {
        secs: time
            .secs
            .saturating_add(secs)
            .saturating_add(i64::from(carried)),
        nanos: nanos % 1_000_000_000,
    }
}

/// A time in UTC: year, month, day, hour, minute, second. The calendar is Howard Hinnant's `civil_from_days`.
#[must_use]
pub fn in_calendar(time: Timestamp) -> [i64; 6] {
    let (days, seconds) = (time.secs.div_euclid(86_400), time.secs.rem_euclid(86_400));
    let shifted = days.saturating_add(719_468);
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    [
        year,
        month,
        day,
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
    ]
}

/// A time in UTC as `2026-11-21T14:05:09Z`.
#[must_use]
pub fn utc(time: Timestamp) -> String {
    let [year, month, day, hour, minute, second] = in_calendar(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

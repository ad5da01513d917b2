//! A period as people write it into the vault file.

use std::fmt;
use std::time::Duration;

/// How often something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every {
    /// The days from one time to the next, at least one.
    pub days: u32,
}

impl Every {
    /// The period as a duration.
    #[must_use]
    pub const fn period(self) -> Duration {
        Duration::from_secs(self.days as u64 * 24 * 3600)
    }

    /// `every N days`, or `every day`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let days = match words[..] {
            ["every", "day"] => 1,
            ["every", days, "day" | "days"] => days.parse().ok()?,
            _ => return None,
        };
        (days > 0).then_some(Self { days })
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.days {
            1 => f.write_str("every day"),
            days => write!(f, "every {days} days"),
        }
    }
}

//! By which time ages are judged. A machine whose clock jumps ahead would find everything old, and destroy it.
//!
//! The log tells how time went on: its lines are of many moments and, where several machines work, of many clocks. The time that is known
//! follows the lines as long as none is more than [`AHEAD`] later than what was known by then. A clock that jumps further leaves lines that are
//! not believed, and whoever judges by it is refused until the clock is right, or until a person says that it is: after a long
//! pause nobody else can know.

use std::time::Duration;

use crate::error::{Result, VaultError};
use crate::seam::clock::Timestamp;
use crate::vault::Vault;

/// How far time may have gone on unseen.
pub const AHEAD: Duration = Duration::from_secs(14 * 86_400);

/// The position of the time that is known, in seconds since 1970.
const KNOWN: &str = "retention time";

/// The position of the last line of the log that was looked at for it.
const LINE: &str = "retention line";

/// How many lines are read at a time.
const PAGE: usize = 4096;

/// What is known after a line of the log; 0 for nothing.
fn after(known: u64, line: Timestamp) -> u64 {
    let line = u64::try_from(line.secs).unwrap_or(0);
    let believed = known == 0 || line <= known.saturating_add(AHEAD.as_secs());
    if believed { known.max(line) } else { known }
}

impl Vault {
    /// The time by which ages are judged: this machine's, if what is known lets it be believed, or a person does.
    pub(super) async fn judging_time(&self, trust: bool) -> Result<Timestamp> {
        let (catalog, now) = (&self.inner.catalog, self.inner.clock.now());
        let (was_line, was_known) = (
            catalog.position(LINE).await?,
            catalog.position(KNOWN).await?,
        );
        let (mut line, mut known) = (was_line, was_known);
        loop {
            let rows = catalog.audit(line, PAGE).await?;
            let Some(last) = rows.last() else { break };
            line = last.seq;
            known = rows
                .iter()
                .fold(known, |known, row| after(known, row.entry.at));
        }
        let mine = u64::try_from(now.secs).unwrap_or(0);
        if trust {
            known = known.max(mine);
        }
        // The time first: lines that are looked at twice do no harm, and ones that are passed over would. Who looks at the same moment may be
        // quicker, and knows as much.
        if self.inner.writable().is_ok() && (line > was_line || known > was_known) {
            if known > was_known {
                catalog.advance(KNOWN, was_known, known).await?;
            }
            catalog.advance(LINE, was_line, line).await?;
        }
        if mine > known.saturating_add(AHEAD.as_secs()) {
            let known = Timestamp {
                secs: i64::try_from(known).unwrap_or(i64::MAX),
                nanos: 0,
            };
            return Err(VaultError::ClockAhead { now, known });
        }
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_is_not_followed_and_what_comes_after_it_is() {
        let at = |secs| Timestamp { secs, nanos: 0 };
        let days = |days: i64| 1_000_000 + days * 86_400;
        let mut known = 0;
        for (line, expected) in [
            (days(0), days(0)),
            (days(13), days(13)),
            (days(5), days(13)),
            (days(400), days(13)),
            (days(20), days(20)),
            (-5, days(20)),
        ] {
            known = after(known, at(line));
            assert_eq!(known, u64::try_from(expected).unwrap(), "{line}");
        }
    }
}

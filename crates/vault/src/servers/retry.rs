//! Asking again those that gave no answer, where without them there are too few: a server that was just started again must not be
//! missed because another one has just died.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Each pause before it is asked again.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(1500),
];

/// Who gives no answer after so long is not asked again.
pub(crate) const SILENCE: Duration = Duration::from_secs(10);

/// So long after somebody has asked again in vain the next ones don't: a folder of files that cannot be read must not cost
/// seconds for each of them.
const VAIN_FOR: Duration = Duration::from_secs(10);

/// The pauses of one request of which too few servers were heard.
#[derive(Debug)]
pub(crate) struct Again {
    begin: Instant,
    pauses: std::array::IntoIter<Duration, 5>,
}

impl Again {
    pub(crate) fn new() -> Self {
        Self {
            begin: Instant::now(),
            pauses: PAUSES.into_iter(),
        }
    }

    /// Waits until those that gave no answer are to be asked again. `false` when they have been often enough, or when they kept
    /// everybody waiting.
    pub(crate) async fn pause(&mut self) -> bool {
        if self.begin.elapsed() >= SILENCE {
            return false;
        }
        let Some(pause) = self.pauses.next() else {
            return false;
        };
        tokio::time::sleep(pause).await;
        true
    }
}

/// Remembers for a while that asking again was of no use.
#[derive(Debug, Default)]
pub(crate) struct Vain(Mutex<Option<Instant>>);

impl Vain {
    fn until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is(&self) -> bool {
        self.until().is_some_and(|until| until > Instant::now())
    }

    /// Somebody asked again as often as may be, and enough servers answered (`false`) or did not (`true`).
    pub(crate) fn note(&self, vain: bool) {
        *self.until() = vain.then(|| Instant::now() + VAIN_FOR);
    }
}

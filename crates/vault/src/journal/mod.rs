//! The journal: everything the catalogue knows, kept as shares on the servers (`JOURNAL.md`).
//!
//! - `records`: the bytes of a segment.
//! - `write`: segments of changes, within a second and at `sync`.
//! - `checkpoint`: all rows once more, when the changes have become longer than they are; and the audit log for good.

use std::sync::Mutex;

use tokio::time::Instant;

use crate::seam::clock::Timestamp;

mod bytes;
mod checkpoint;
#[cfg(test)]
mod golden;
mod past;
pub(crate) mod records;
mod write;

/// Why the journal is written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// Some time has passed.
    Tick,
    /// Somebody waits for everything to be safe.
    Sync,
    /// This process ends.
    End,
}

/// How far this process is with the journal.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Held by whoever writes it.
    progress: tokio::sync::Mutex<Progress>,
    /// Since when changes wait that could not be written.
    behind_since: Mutex<Option<Timestamp>>,
}

#[derive(Debug)]
struct Progress {
    /// When something was written last.
    written: Instant,
    /// When it was last looked for something to write.
    looked: Option<Instant>,
    /// After a failure: when it is tried again without anybody waiting.
    retry_at: Option<Instant>,
    failures: u32,
    /// Whether a checkpoint may be due.
    look: bool,
    checkpoint: Option<checkpoint::Checkpoint>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            progress: tokio::sync::Mutex::new(Progress {
                written: Instant::now(),
                looked: None,
                retry_at: None,
                failures: 0,
                look: true,
                checkpoint: None,
            }),
            behind_since: Mutex::new(None),
        }
    }

    pub(crate) fn behind_since(&self) -> Option<Timestamp> {
        *crate::vault::lock(&self.behind_since)
    }
}

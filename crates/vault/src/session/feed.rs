//! [`Feed`]: what others change, as it happens.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::seam::sessions::Change;
use crate::vault::Vault;

/// How many notices are taken at a time.
const AT_ONCE: usize = 512;

/// How soon the catalogue is asked again when it did not answer.
const AGAIN: Duration = Duration::from_millis(500);

/// What was heard of others.
#[derive(Debug)]
pub enum Heard {
    /// They have changed this, in this order.
    Changes(Vec<Change>),
    /// Something was missed: everything may have changed.
    Everything,
}

/// What other drives of the vault, and programs beside them, change.
#[derive(Debug)]
pub struct Feed {
    vault: Vault,
    after: u64,
}

impl Vault {
    /// What others change from now on; `None` unless the vault has [joined](Self::join).
    #[must_use]
    pub fn feed(&self) -> Option<Feed> {
        let (joined, _) = self.inner.joined()?;
        Some(Feed {
            vault: self.clone(),
            after: joined.position.load(Ordering::Acquire),
        })
    }
}

impl Feed {
    /// Waits for the next change; `None` once the vault is closed.
    pub async fn next(&mut self) -> Option<Heard> {
        let inner = &self.vault.inner;
        let (joined, sessions) = inner.joined()?;
        let mut silent = false;
        while !inner.has_left() {
            if joined.begun_anew.swap(false, Ordering::AcqRel) {
                self.after = joined.position.load(Ordering::Acquire);
                return Some(Heard::Everything);
            }
            match sessions.notices(self.after, AT_ONCE).await {
                Ok(notices) => {
                    silent = false;
                    let moved = self.after != notices.next;
                    self.after = notices.next;
                    if notices.missed {
                        return Some(Heard::Everything);
                    }
                    if !notices.changes.is_empty() {
                        joined.others.store(true, Ordering::Release);
                        return Some(Heard::Changes(notices.changes));
                    }
                    if !moved {
                        sessions.noticed(self.after).await;
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut silent, true) {
                        tracing::warn!(%error, "what others change is not heard at the moment; trying again");
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        None
    }
}

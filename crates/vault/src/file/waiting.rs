//! Saving while the catalogue does not answer: it is waited for, for a while, and nothing is given up afterwards.
//!
//! What a save that failed for want of an answer was to store stays in RAM, whether or not anybody still has the file open, and is
//! saved when the catalogue is back, or at the latest when the vault is shut down.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::state::OpenFile;
use crate::context::Context;
use crate::error::{Result, VaultError};
use crate::node::Attr;
use crate::seam::catalog::{CatalogError, Durability};
use crate::seam::clock::Timestamp;
use crate::vault::{Inner, Vault, lock};

/// How soon the catalogue is asked again, at first and at most.
const SOON: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_secs(2);

/// Since when the catalogue has given no answer to those who save.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    since: Option<Timestamp>,
    /// When the vault is shut down, all saves together have so long.
    end: Option<Instant>,
}

/// Whether the catalogue may answer the same question later.
pub(crate) const fn is_silence(error: &VaultError) -> bool {
    matches!(error, VaultError::Catalog(CatalogError::NoAnswer { .. }))
}

impl OpenFile {
    /// Notes what the catalogue says of it.
    pub(crate) fn know(&self, attr: &Attr) {
        *lock(&self.known) = Some(attr.clone());
    }

    /// What was last known of it, where the catalogue does not answer: what is open can go on being read.
    pub(crate) fn known_for(&self, error: CatalogError) -> Result<Attr> {
        match error {
            CatalogError::NoAnswer { .. } => lock(&self.known).clone().ok_or_else(|| error.into()),
            other => Err(other.into()),
        }
    }
}

impl Vault {
    /// Since when saves wait for the catalogue, which does not answer; `None` while it does, as far as is known.
    #[must_use]
    pub fn catalog_silent_since(&self) -> Option<Timestamp> {
        lock(&self.inner.silence).since
    }
}

impl Inner {
    /// Does what asks the catalogue, again and again while it does not answer and patience lasts.
    pub(crate) async fn patiently<T, F>(&self, mut act: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let began = Instant::now();
        let mut pause = SOON;
        loop {
            let error = match act().await {
                Err(error) if is_silence(&error) => error,
                done => {
                    self.heard_from_catalog();
                    return done;
                }
            };
            let end = {
                let mut silence = lock(&self.silence);
                if silence.since.is_none() {
                    silence.since = Some(self.clock.now());
                    tracing::warn!(error = %error.facts(), "the catalogue does not answer: saves wait for it");
                }
                let end = began + self.options.catalog_patience;
                silence.end.map_or(end, |together| end.min(together))
            };
            if Instant::now() + pause > end {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LATER);
        }
    }

    fn heard_from_catalog(&self) {
        if lock(&self.silence).since.take().is_some() {
            tracing::info!("the catalogue answers again");
        }
    }

    /// From now on all saves together wait no longer than one would.
    pub(crate) fn end_patience(&self) {
        let end = Instant::now() + self.options.catalog_patience;
        lock(&self.silence).end.get_or_insert(end);
    }

    /// Whether there are changes of programs that have closed their file.
    pub(crate) fn has_left_behind(&self) -> bool {
        let registry = self.registry();
        registry.values().any(|file| lock(&file.left_by).is_some())
    }

    /// Tries once more to save what was closed while the catalogue did not answer.
    pub(crate) async fn save_left_behind(self: &Arc<Self>) {
        for file in self.open_files() {
            let Some(ctx) = lock(&file.left_by).clone() else {
                continue;
            };
            let _gate = file.gate.lock().await;
            match self.save_once(&ctx, &file, Durability::Soon).await {
                Ok(()) => {
                    self.heard_from_catalog();
                    if self.close_left_behind(&file) {
                        self.put_away(&file).await;
                    }
                }
                // Servers may be away as well as the catalogue, or what this file needs is damaged. What is left when the vault is shut
                // down is named then.
                Err(error) => {
                    tracing::debug!(error = %error.facts(), "what was closed while the catalogue was silent could not be saved yet; trying again");
                    if is_silence(&error) {
                        return;
                    }
                }
            }
        }
    }

    /// Takes a file that nobody has open out of the registry; not if somebody has opened it meanwhile.
    fn close_left_behind(&self, file: &Arc<OpenFile>) -> bool {
        let mut registry = self.registry();
        lock(&file.left_by).take();
        if file.handles.load(Ordering::Acquire) > 0 {
            return false;
        }
        registry.remove(&file.node);
        true
    }

    /// Ends a handle of a file whose changes could not be saved, and keeps them: also when it is not the last one, since the others may
    /// be of programs that have not opened it yet, and never will.
    pub(crate) fn leave_behind(&self, ctx: &Context, file: &OpenFile) {
        let _registry = self.registry();
        file.handles.fetch_sub(1, Ordering::AcqRel);
        *lock(&file.left_by) = Some(ctx.clone());
    }

    /// Whether a handle that is dropped leaves changes of others behind, and then ends it: when it is the last one, and came to be by
    /// an open that has failed, or after somebody else had left them.
    pub(crate) fn stays_left_behind(&self, file: &OpenFile, opener: Option<Context>) -> bool {
        let _registry = self.registry();
        if self.options.read_only || file.handles.load(Ordering::Acquire) > 1 {
            return false;
        }
        let saved = file
            .state
            .try_read()
            .is_ok_and(|state| !state.needs_saving());
        let mut left_by = lock(&file.left_by);
        if saved || (left_by.is_none() && opener.is_none()) {
            return false;
        }
        if left_by.is_none() {
            *left_by = opener;
        }
        file.handles.store(0, Ordering::Release);
        true
    }
}

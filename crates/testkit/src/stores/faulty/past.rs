//! A server's past, to which it can be set back through the seam alone, whatever kind of store it is.

use bytes::Bytes;
use warifu_vault::seam::store::{Durability, ObjectKey, StoreError, StoreErrorKind};

use super::{Faults, FaultyStore};

/// A moment of a [`FaultyStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

/// What happened to an object.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(ObjectKey),
    Removed(ObjectKey, Bytes),
}

impl Faults {
    /// Notes the server's state, for [`FaultyStore::roll_back`]. What is removed from now on is kept in memory.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.script().changes.get_or_insert_default().len())
    }

    pub(super) fn remembers(&self) -> bool {
        self.script().changes.is_some()
    }

    pub(super) fn note(&self, change: Change) {
        if let Some(changes) = &mut self.script().changes {
            changes.push(change);
        }
    }
}

impl FaultyStore {
    /// Puts an old copy in the server's place: what was written through this store since the mark is gone, and what was
    /// removed is back. Later marks mean nothing afterwards.
    ///
    /// # Panics
    /// When the store behind the faults fails.
    pub async fn roll_back(&self, to: Mark) {
        let undone = match &mut self.faults.script().changes {
            Some(changes) => changes.split_off(to.0.min(changes.len())),
            None => Vec::new(),
        };
        for change in undone.into_iter().rev() {
            let done: Result<(), StoreError> = match change {
                Change::Put(name) => self.inner.delete(&name).await,
                Change::Removed(name, bytes) => {
                    self.inner.put_new(&name, bytes, Durability::Now).await
                }
            };
            match done {
                Ok(()) => {}
                // A power cut may have taken it, or brought it back.
                Err(error)
                    if matches!(
                        error.kind,
                        StoreErrorKind::NotFound | StoreErrorKind::AlreadyExists
                    ) => {}
                Err(error) => panic!("the store could not be set back: {error}"),
            }
        }
        self.inner
            .sync()
            .await
            .expect("the store behind the faults is well");
    }
}

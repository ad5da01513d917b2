//! Making saved versions safe from a power cut, within a second and at `fsync`.
//!
//! A version that `close` acknowledged is on its servers, perhaps only in their memory, and unsettled. Settling asks the
//! servers to sync, then the catalogue, then notes the versions as settled. Whatever a power cut takes before that is an
//! unsettled version, which the next start checks.

use std::sync::Arc;

use warifu_core::ids::{ExtentId, FileId, VersionNo};

use super::{Inner, Vault, lock};
use crate::dealing;
use crate::error::{Result, VaultError};
use crate::seam::catalog::CatalogError;

/// A version that is current and not yet known to be on disk.
#[derive(Clone, Debug)]
pub(crate) struct Unsettled {
    pub(crate) document: FileId,
    pub(crate) version: VersionNo,
    /// The extents dealt for it.
    pub(crate) extents: Vec<ExtentId>,
}

impl Vault {
    /// Makes everything done so far, with names as well as with contents, safe from a power cut: what `fsync` of a folder
    /// does.
    ///
    /// # Errors
    /// Errors of the catalogue; [`VaultError::NotStored`] when too few servers can promise to keep what was saved.
    pub async fn sync(&self) -> Result<()> {
        self.inner.settle_now().await?;
        Ok(self.inner.catalog.sync().await?)
    }
}

impl Inner {
    pub(crate) fn note_unsettled(&self, version: Unsettled) {
        lock(&self.unsettled).push(version);
    }

    /// Makes everything saved so far safe from a power cut.
    pub(crate) async fn settle_now(self: &Arc<Self>) -> Result<()> {
        let _settling = self.settling.lock().await;
        let versions = std::mem::take(&mut *lock(&self.unsettled));
        if versions.is_empty() {
            return Ok(());
        }
        let settled = self.settle(&versions).await;
        if settled.is_err() {
            lock(&self.unsettled).extend(versions);
        }
        settled
    }

    async fn settle(&self, versions: &[Unsettled]) -> Result<()> {
        let not_safe = dealing::sync(&self.servers, self.options.patience).await;
        if !not_safe.indices.is_empty() {
            for extent in versions.iter().flat_map(|version| &version.extents) {
                self.owe(*extent, &not_safe).await?;
            }
        }
        self.catalog.sync().await?;
        let names: Vec<_> = versions
            .iter()
            .map(|version| (version.document, version.version))
            .collect();
        Ok(self.catalog.settle(&names).await?)
    }

    /// Shares on servers that could not promise to keep them are owed.
    async fn owe(&self, extent: ExtentId, not_safe: &dealing::Unsafe) -> Result<()> {
        let Some(mut record) = self.catalog.extent(extent).await? else {
            return Ok(());
        };
        for index in not_safe.indices.iter() {
            record.owed.insert(index);
        }
        let safe = dealing::stored_indices(&record).count();
        let needed = record.threshold.k();
        if safe < usize::from(needed) {
            let got = u8::try_from(safe).unwrap_or(u8::MAX);
            let (file, faults) = (
                String::from("the last versions saved"),
                not_safe.faults.clone(),
            );
            return Err(VaultError::NotStored {
                file,
                needed,
                got,
                full: false,
                faults,
            });
        }
        match self.catalog.set_owed(extent, record.owed).await {
            Ok(()) | Err(CatalogError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Renews the leases of saves under way, so that nobody sweeps what they have sent.
    pub(crate) async fn renew_leases(&self) {
        for file in self.open_files() {
            // A save that holds this lock renews its lease itself.
            let Ok(attempt) = file.attempt.try_lock() else {
                continue;
            };
            let Some(save) = attempt.as_ref().map(|attempt| attempt.save) else {
                continue;
            };
            if let Err(error) = self.catalog.extend_save(save, &[], self.lease()).await {
                tracing::warn!(%error, "the lease of a save could not be renewed");
            }
        }
    }
}

//! Making saved versions safe from a power cut, within a second and at `fsync`.
//!
//! A version that `close` acknowledged is on its servers, perhaps only in their memory, and unsettled. Settling asks the
//! servers to sync, then the catalogue, then notes the versions as settled. Whatever a power cut takes before that is an
//! unsettled version, which the next start checks.

use std::sync::Arc;

use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};

use super::{Inner, Vault, lock};
use crate::dealing;
use crate::error::{Result, VaultError};
use crate::journal::Occasion;
use crate::seam::catalog::{IndexSet, OwedChange, Version};

/// A version that is current and not yet known to be on disk.
#[derive(Clone, Debug)]
pub(crate) struct Unsettled {
    pub(crate) document: FileId,
    pub(crate) version: VersionNo,
    /// Its head, by which a version is known whatever document a rename has made it part of.
    pub(crate) head: Option<ExtentId>,
    /// The extents dealt for it.
    pub(crate) extents: Vec<ExtentId>,
}

impl Unsettled {
    /// A version with everything that it consists of, whoever dealt it.
    pub(crate) fn whole(version: &Version) -> Self {
        Self {
            document: version.document,
            version: version.number,
            head: version.head,
            extents: version
                .head
                .into_iter()
                .chain(version.layout.iter().flatten().copied())
                .collect(),
        }
    }
}

impl Vault {
    /// Makes everything done so far, with names as well as with contents, safe from a power cut: what `fsync` of a folder
    /// does. What an earlier run saved, and too few servers answered for when this one began, is checked once more; where
    /// they still don't answer it stays as it is, and `fsync` of the file itself says so.
    ///
    /// # Errors
    /// Errors of the catalogue; [`VaultError::NotStored`] when too few servers can promise to keep what was saved.
    pub async fn sync(&self) -> Result<()> {
        self.inner.recheck().await?;
        self.inner.sync_all(Occasion::Sync).await
    }
}

impl Inner {
    pub(crate) async fn sync_all(self: &Arc<Self>, occasion: Occasion) -> Result<()> {
        let settled = self.settle_now().await;
        // Names are made safe even where contents are not.
        self.catalog.sync().await?;
        // After the settling, so that most versions are told once.
        self.write_journal(occasion).await;
        settled
    }

    pub(crate) fn note_unsettled(&self, version: Unsettled) {
        lock(&self.unsettled).push(version);
    }

    /// Makes everything saved so far safe from a power cut.
    pub(crate) async fn settle_now(self: &Arc<Self>) -> Result<()> {
        let _settling = self.settling.lock().await;
        // They stay listed until it is done: this may be dropped half-way.
        let versions = lock(&self.unsettled).clone();
        if versions.is_empty() {
            return Ok(());
        }
        let (left, settled) = self.settle(&versions).await;
        let mut list = lock(&self.unsettled);
        let before = versions.len().min(list.len());
        let since = list.split_off(before);
        *list = left;
        list.extend(since);
        settled
    }

    /// Makes the version of this head safe from a power cut. That others are not is no error.
    pub(crate) async fn settle_head(self: &Arc<Self>, head: Option<ExtentId>) -> Result<()> {
        let doubtful = || head.is_some_and(|head| lock(&self.doubtful).contains(&head));
        if doubtful() {
            self.recheck().await?;
        }
        if doubtful() {
            return Err(self.not_judged());
        }
        let settled = self.settle_now().await;
        let listed = lock(&self.unsettled)
            .iter()
            .any(|version| version.head == head);
        // An empty version has nothing on servers that could be unsettled, and lies in the catalogue all the same.
        self.catalog.sync().await?;
        if listed { settled } else { Ok(()) }
    }

    /// Returns the versions that are not safe, and why.
    pub(crate) async fn settle(&self, versions: &[Unsettled]) -> (Vec<Unsettled>, Result<()>) {
        let not_safe = {
            let servers = &self.servers;
            dealing::sync(servers, servers.threshold(), self.options.patience).await
        };
        let (mut safe, mut left, mut failure) = (Vec::new(), Vec::new(), Ok(()));
        for version in versions {
            match self.owe_all(version, &not_safe).await {
                Ok(()) => safe.push((version.document, version.version)),
                Err(error) => {
                    left.push(version.clone());
                    failure = failure.and(Err(error));
                }
            }
        }
        if safe.is_empty() {
            return (left, failure);
        }
        let noted = async {
            self.catalog.sync().await?;
            self.catalog.settle(&safe).await
        };
        match noted.await {
            Ok(()) => (left, failure),
            Err(error) => (versions.to_vec(), Err(error.into())),
        }
    }

    async fn owe_all(&self, version: &Unsettled, not_safe: &dealing::Unsafe) -> Result<()> {
        if not_safe.indices.is_empty() {
            return Ok(());
        }
        for extent in &version.extents {
            self.owe(*extent, not_safe).await?;
        }
        Ok(())
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
        let change = OwedChange {
            extent,
            generation: record.generation,
            add: not_safe.indices,
            remove: IndexSet::EMPTY,
        };
        self.catalog.change_owed(&[change]).await?;
        Ok(())
    }

    fn not_judged(&self) -> VaultError {
        VaultError::NotStored {
            file: String::from("a version saved before the last start"),
            needed: self.servers.threshold().k(),
            got: 0,
            full: false,
            faults: Vec::new(),
        }
    }

    /// Notes that shares which were owed have come.
    pub(crate) async fn pay(
        &self,
        extent: ExtentId,
        generation: Generation,
        paid: IndexSet,
    ) -> Result<()> {
        let change = OwedChange {
            extent,
            generation,
            add: IndexSet::EMPTY,
            remove: paid,
        };
        if let [None] = self.catalog.change_owed(&[change]).await?[..] {
            // It came after its extent, or this generation of it, had been found to be of no use, and removed from the other servers.
            self.remove_vanished(extent, generation).await;
        }
        Ok(())
    }

    /// A durable save must not stand on extents of an earlier one that are not on disk yet.
    pub(crate) async fn settle_base(
        self: &Arc<Self>,
        document: FileId,
        version: VersionNo,
    ) -> Result<()> {
        match self.catalog.version(document, version).await? {
            // Of this one it is not even known whether it is whole.
            Some(base)
                if base
                    .head
                    .is_some_and(|head| lock(&self.doubtful).contains(&head)) =>
            {
                self.settle_head(base.head).await
            }
            Some(base) if !base.settled => self.settle(&[Unsettled::whole(&base)]).await.1,
            _ => Ok(()),
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
            let lease = self.options.save_lease;
            if let Err(error) = self.catalog.extend_save(save, &[], lease).await {
                tracing::warn!(%error, "the lease of a save could not be renewed");
            }
        }
    }
}

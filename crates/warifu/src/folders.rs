//! Another threshold for a folder: for what is in it more servers are needed than for the rest, or fewer have a share of it.
//!
//! First the catalogue says what the folder asks; whoever has the vault open deals by it within a second. Then what is there already is dealt anew
//! ([`Vault::deal_as_folders_ask`](crate::Vault::deal_as_folders_ask)). The command repeated goes on where it was.

use std::time::Duration;

use warifu_core::ids::Threshold;
use warifu_vault::node::{Name, NodeId};
use warifu_vault::refresh::{RefreshOptions, RefreshPlan, RefreshProgress, RefreshReport};
use warifu_vault::{FolderThreshold, VaultError};

use crate::error::Error;
use crate::open::Warifu;

/// Whoever has the vault open looks twice a second.
const ALL_HAVE_LOOKED: Duration = Duration::from_secs(1);

/// What a change of a folder's threshold would do.
#[derive(Clone, Debug)]
pub struct FolderPlan {
    /// The folder.
    pub folder: NodeId,
    /// What it asks for now; `None` where it goes by the folder above it.
    pub asks: Option<Threshold>,
    /// What it is to ask for.
    pub to_ask: Option<Threshold>,
    /// Whether it asks for that already, and something is not dealt so yet: it is gone on with.
    pub resumes: bool,
    /// Folders below it that ask for something themselves, and go on with that.
    pub below: Vec<FolderThreshold>,
    /// By what is dealt what is saved in it now.
    pub from: Threshold,
    /// By what it will be.
    pub to: Threshold,
    /// What is to be dealt anew, in this folder and wherever else something is not dealt as its folder asks; and which servers don't answer.
    pub refresh: RefreshPlan,
    /// About how long it will take; `None` where that cannot be told.
    pub estimate: Option<Duration>,
}

impl Warifu {
    /// What it would do to have a folder ask for a threshold, or, with `None`, for what the folder above it asks. Nothing is written.
    ///
    /// # Errors
    /// [`Error::ThresholdUnderWay`] while that of the whole vault is being changed; errors of the catalogue.
    pub async fn plan_folder(
        &self,
        folder: NodeId,
        to_ask: Option<Threshold>,
        limit: Option<u64>,
    ) -> Result<FolderPlan, Error> {
        if let Some(becoming) = self.file().becoming {
            return Err(Error::ThresholdUnderWay { becoming });
        }
        let vault = self.vault();
        let asked = vault.folder_thresholds().await?;
        let asks = asked.iter().find(|asked| asked.node == folder);
        let asks = asks.map(|asked| asked.threshold);
        let from = vault.threshold_in(folder).await?;
        let refresh = vault.plan_folder_threshold(folder, to_ask).await?;
        let to = vault.threshold_once(folder, to_ask).await?;
        let mut below = asked;
        let path = vault.folder_path(folder).await?;
        below.retain(|other| other.node != folder && is_below(other, &path));
        Ok(FolderPlan {
            resumes: asks == to_ask && refresh.extents > 0,
            below,
            folder,
            asks,
            to_ask,
            from,
            to,
            estimate: vault.estimate(&refresh, limit).await?,
            refresh,
        })
    }

    /// Does what was planned, or goes on with it. `stop` is asked between batches whether it is time to end; killed at any point it can be gone
    /// on with, too. Returns what was dealt anew; whether nothing is left to be done, its status says.
    ///
    /// # Errors
    /// Those of [`set_folder_threshold`](crate::Vault::set_folder_threshold) and [`deal_as_folders_ask`](crate::Vault::deal_as_folders_ask).
    pub async fn change_folder(
        &self,
        plan: &FolderPlan,
        options: &RefreshOptions,
        progress: &(dyn Fn(RefreshProgress) + Send + Sync),
        stop: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<RefreshReport, Error> {
        let (vault, me) = (self.vault(), self.context());
        // Also where it asks for it already: who said so may have been cut off before anybody was told.
        match vault
            .set_folder_threshold(me, plan.folder, plan.to_ask)
            .await
        {
            Err(VaultError::NoXattr) if plan.to_ask.is_none() => {}
            set => set?,
        }
        tokio::time::sleep(ALL_HAVE_LOOKED).await;
        Ok(vault
            .deal_as_folders_ask(me, options, progress, stop)
            .await?)
    }

    /// The folders that ask for a threshold, as they will be dealt where the vault's becomes this.
    ///
    /// # Errors
    /// [`Error::FolderNeedsMore`] where one asks for more servers than there will be; errors of the catalogue.
    pub(crate) async fn folders_under(&self, to: Threshold) -> Result<Vec<FolderThreshold>, Error> {
        let mut asked = self.vault().folder_thresholds().await?;
        for folder in &mut asked {
            // One that was removed gets what can be had.
            if folder.path.is_some() && folder.threshold.k() > to.n() {
                return Err(Error::FolderNeedsMore {
                    folder: path_text(folder.path.as_deref().unwrap_or_default()),
                    needed: folder.threshold.k(),
                    n: to.n(),
                });
            }
            folder.effective = folder.under(to);
        }
        Ok(asked)
    }
}

fn is_below(folder: &FolderThreshold, path: &[Name]) -> bool {
    let there = folder.path.as_deref();
    there.is_some_and(|there| there.starts_with(path))
}

/// A folder's path for messages.
fn path_text(path: &[Name]) -> String {
    let names = path.iter();
    names.map(|name| format!("/{}", name.display())).collect()
}

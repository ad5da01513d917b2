//! Dealing at once as folders ask ([`crate::folders`]): the passes of a refresh over what is not dealt so, without a new generation of everything.

use std::sync::Arc;

use warifu_core::ids::Threshold;

use super::run::{self, run};
use super::threshold::Wanted;
use super::{RefreshOptions, RefreshPlan, RefreshProgress, RefreshReport};
use crate::context::Context;
use crate::error::{Result, VaultError};
use crate::folders::Asked;
use crate::node::NodeId;
use crate::vault::Vault;

impl Vault {
    /// What [`deal_as_folders_ask`](Self::deal_as_folders_ask) would do once this folder asks for this, or for nothing of its own. What else is not dealt as its folder asks
    /// is done with it.
    ///
    /// # Errors
    /// Errors of the catalogue. What servers say is in the plan.
    pub async fn plan_folder_threshold(
        &self,
        folder: NodeId,
        threshold: Option<Threshold>,
    ) -> Result<RefreshPlan> {
        let inner = &self.inner;
        inner.read_folders().await?;
        let thresholds = inner.servers.thresholds();
        let mut asked = Asked::new(inner);
        asked.suppose(folder, threshold);
        let mut plan = inner.plan_of(thresholds).await?;
        let wanted = Wanted {
            generation: plan.generations.wanted,
            threshold: thresholds.target(),
        };
        plan.count(&mut asked, wanted, false).await?;
        Ok(plan)
    }

    /// Deals anew what is not dealt as its folder asks, or goes on where that was cut off; and what a refresh that was begun has left. `stop` is asked
    /// between batches whether it is time to end; dropped or killed at any point it can be gone on with, too.
    ///
    /// # Errors
    /// As those of [`refresh`](Self::refresh), but for too few servers: what has too few stays as it is, and due. [`VaultError::Invalid`] while the vault's threshold is being changed: that deals as folders
    /// ask, too.
    pub async fn deal_as_folders_ask(
        &self,
        ctx: &Context,
        options: &RefreshOptions,
        progress: &(dyn Fn(RefreshProgress) + Send + Sync),
        stop: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<RefreshReport> {
        let inner = &self.inner;
        inner.writable()?;
        let _repairing = inner.repairing.lock().await;
        if inner.servers.thresholds().becoming.is_some() {
            return Err(VaultError::Invalid {
                what: "the threshold of the whole vault is being changed, and that has not ended",
            });
        }
        inner.refuse_other_threshold().await?;
        let mut report = RefreshReport::default();
        let target = inner.servers.thresholds().target();
        let (work, newest) = inner.begin_run(options, &mut report).await?;
        let mine = inner.take_number(ctx, newest).await?;
        // Whoever said what a folder asks may have been cut off before it was told.
        inner.tell_folders().await?;
        inner.refuse_overtaken(target).await?;
        inner.servers.learn_generation(mine);
        let wanted = Wanted {
            generation: inner.catalog.generations().await?.wanted,
            threshold: target,
        };
        let work = Arc::new(work);
        let manner = run::Manner::new(ctx, options, (progress, stop), wanted);
        run(&work, manner, mine, &mut report).await?;
        inner.refuse_other_threshold().await?;
        report.note(work.down());
        inner.remove_behind(stop).await?;
        report.status = inner.end_refresh(ctx).await?;
        Ok(report)
    }
}

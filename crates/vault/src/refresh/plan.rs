//! What a refresh, or a change of the threshold, would do.

use warifu_core::format::Scheme;

use super::threshold::Wanted;
use super::{RefreshPlan, bytes_to_send};
use crate::context::Context;
use crate::error::Result;
use crate::folders::Asked;
use crate::servers::Thresholds;
use crate::vault::{Inner, Vault};

impl Vault {
    /// What a refresh would do, as the catalogue and the servers have it now; `anew` as in [`RefreshOptions`](super::RefreshOptions).
    ///
    /// # Errors
    /// Errors of the catalogue. What servers say is in the plan.
    pub async fn plan_refresh(&self, _ctx: &Context, anew: bool) -> Result<RefreshPlan> {
        let thresholds = self.inner.servers.thresholds();
        self.plan_anew(thresholds, anew).await
    }

    /// `thresholds` may want servers that are not there yet: they count as there.
    pub(super) async fn plan_anew(
        &self,
        thresholds: Thresholds,
        anew: bool,
    ) -> Result<RefreshPlan> {
        let inner = &self.inner;
        inner.read_folders().await?;
        let mut plan = inner.plan_of(thresholds).await?;
        let wanted = Wanted {
            generation: plan.generations.wanted,
            threshold: thresholds.target(),
        };
        let in_force = inner.is_in_force(thresholds).await?;
        let left = plan.generations.is_under_way() && !anew && in_force;
        plan.resumes = left && inner.is_any_due(wanted).await?;
        let mut asked = Asked::new(inner);
        plan.count(&mut asked, wanted, !plan.resumes).await?;
        Ok(plan)
    }
}

impl RefreshPlan {
    /// Counts what is to be made anew: `all`, or what is due.
    pub(super) async fn count(
        &mut self,
        asked: &mut Asked<'_>,
        wanted: Wanted,
        all: bool,
    ) -> Result<()> {
        let mut after = None;
        while let Some(page) = asked.inner().page(after).await? {
            after = page.last().map(|record| record.extent);
            for one in wanted.of(asked, page).await? {
                if !all && !one.is_due(wanted) {
                    continue;
                }
                let record = &one.record;
                let k = record.threshold.k();
                let joined = record.scheme == Scheme::Compact || one.threshold.k() < k;
                self.extents += 1;
                self.joined += u64::from(joined);
                self.bytes += bytes_to_send(record, one.threshold);
                self.reads += record.plan().object_len().saturating_mul(k.into());
            }
        }
        Ok(())
    }
}

impl Inner {
    /// A plan in which nothing is counted yet.
    pub(super) async fn plan_of(&self, thresholds: Thresholds) -> Result<RefreshPlan> {
        let absent = self.absent(false, |_| true).await;
        let target = thresholds.target();
        let is_there = |index| absent.iter().all(|(gone, _)| *gone != index);
        let there = target.indices().filter(|index| is_there(*index)).count();
        Ok(RefreshPlan {
            generations: self.catalog.generations().await?,
            thresholds,
            resumes: false,
            extents: 0,
            joined: 0,
            bytes: 0,
            reads: 0,
            possible: there >= self.enough_to_refresh(target),
            absent: absent.into_iter().map(|(_, fault)| fault).collect(),
        })
    }
}

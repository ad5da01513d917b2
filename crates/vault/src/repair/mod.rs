//! Repair: what is missing or bad is made anew from k good shares, without the contents ever being formed.
//!
//! It is a plan that is shown and then applied. What has to be made stands in the catalogue as owed (a check with
//! [`Check::record`](crate::verify::Check::record) puts it there), so [`Vault::plan_repair`] and [`Vault::repair`] need nothing but the
//! catalogue, and a repair that was killed is begun again where it was. It runs beside saves, removals and other repairs:
//!
//! - the set of owed shares is changed by adding and paying, never replaced;
//! - an extent that vanished meanwhile is found out when its debt is to be paid, and nothing of it is left on servers;
//! - two repairs of one share put the same share, under another salt.
//!
//! Modules: `share` makes the shares of one extent, `pay` goes through all that is owed, `key_pieces` looks after the servers' pieces of the
//! vault key, `orphans` after what nobody needs, `upkeep` does some of it in the background.

pub(crate) mod key_pieces;
mod orphans;
mod pay;
pub(crate) mod share;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use warifu_core::ids::{ExtentId, ShareIndex};
use warifu_core::vault_object::VaultObject;

pub use self::orphans::Orphans;
use self::orphans::Sweep;
use self::pay::{Manner, pay};
use self::share::Run;
pub(crate) use self::upkeep::upkeep;
pub use self::upkeep::{GRACE, Upkeep};
use crate::context::{Act, Context};
use crate::error::{Fault, Result, ServerFault};
use crate::seam::catalog::{Durability, IndexSet, OwedChange};
use crate::vault::Vault;
use crate::verify::Unreadable;

/// How a repair is done.
#[derive(Clone, Copy, Debug)]
pub struct RepairOptions {
    /// How many bytes are sent to servers in a second at most. To make one byte, k are read.
    pub limit: Option<u64>,
    /// How many extents are worked on at a time; at least one.
    pub at_once: usize,
    /// How old an orphan must be before it is swept.
    pub grace: Duration,
    /// Whether orphans that may be somebody's work which the catalogue does not know are swept as well: a person has decided that
    /// they are of no use.
    pub drop_newer: bool,
}

impl Default for RepairOptions {
    fn default() -> Self {
        Self {
            limit: None,
            at_once: 16,
            grace: GRACE,
            drop_newer: false,
        }
    }
}

impl RepairOptions {
    fn sweep(&self) -> Sweep {
        Sweep {
            grace: self.grace,
            drop_newer: self.drop_newer,
        }
    }
}

/// An amount of shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// How many shares.
    pub shares: u64,
    /// Their bytes, on the server.
    pub bytes: u64,
}

/// What a repair would do.
#[derive(Clone, Debug, Default)]
pub struct RepairPlan {
    /// Shares to be made, by server.
    pub servers: BTreeMap<String, Work>,
    /// Extents to be brought to full strength, by how many shares of them are not owed. Those with the fewest come first.
    pub by_risk: BTreeMap<u32, u64>,
    /// Shares owed to servers that do not answer: they wait.
    pub waiting: BTreeMap<String, Work>,
    /// Servers that do not answer, and why.
    pub absent: Vec<ServerFault>,
    /// Servers whose piece of the vault key is gone or damaged, and would be made anew.
    pub key_pieces: Vec<ServerFault>,
    /// Objects that nobody needs, by server. Those that are due would be removed.
    pub orphans: BTreeMap<String, Orphans>,
}

impl RepairPlan {
    /// What would be made, on all servers together.
    #[must_use]
    pub fn work(&self) -> Work {
        let sum = |part: fn(&Work) -> u64| self.servers.values().map(part).sum();
        Work {
            shares: sum(|work| work.shares),
            bytes: sum(|work| work.bytes),
        }
    }

    /// Whether there is nothing to do now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
            && self.key_pieces.is_empty()
            && self.orphans.values().all(|orphans| orphans.due == 0)
    }
}

/// How far a repair has come. Totals grow when more damage is met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairProgress {
    /// Extents done, whatever came of them.
    pub extents_done: u64,
    /// Extents to be done.
    pub extents: u64,
    /// Bytes sent.
    pub bytes_done: u64,
    /// Bytes to be sent.
    pub bytes: u64,
}

/// What a repair did.
#[derive(Clone, Debug, Default)]
pub struct RepairReport {
    /// Extents that are stronger than before.
    pub extents: u64,
    /// Shares made and safe on their servers' disks, by server.
    pub made: BTreeMap<String, Work>,
    /// Owed shares that were there already, and good.
    pub found: u64,
    /// Bad objects that were removed for good ones.
    pub replaced: u64,
    /// Extents that nobody needed any more when their turn came.
    pub vanished: u64,
    /// Bad or missing shares that came to light because they were to help, by server and kind. They are owed from now on, and made as far as
    /// possible.
    pub liars: BTreeMap<(String, Fault), u64>,
    /// What servers said against it, once for each server and kind.
    pub faults: Vec<ServerFault>,
    /// Versions of which too few shares could be had to make the missing ones; the first thousand.
    pub unreadable: Vec<Unreadable>,
    /// Shares still owed.
    pub left: u64,
    /// Servers that have their piece of the vault key back.
    pub key_pieces: Vec<String>,
    /// Orphans found and swept, by server.
    pub orphans: BTreeMap<String, Orphans>,
}

impl RepairReport {
    /// How many shares were made.
    #[must_use]
    pub fn shares(&self) -> u64 {
        self.made.values().map(|work| work.shares).sum()
    }
}

impl Vault {
    /// What a repair would do, as the catalogue and the servers have it now.
    ///
    /// # Errors
    /// Errors of the catalogue. What servers say is in the plan.
    pub async fn plan_repair(&self, ctx: &Context, options: &RepairOptions) -> Result<RepairPlan> {
        let inner = &self.inner;
        let absent = inner.absent(false, |_| true).await;
        let all = inner.servers.all().iter();
        let all: IndexSet = all.map(|server| server.index()).collect();
        let there: IndexSet = all
            .iter()
            .filter(|index| absent.iter().all(|(gone, _)| gone != index))
            .collect();
        let owed = inner.count_owed(all).await?;
        let mut plan = RepairPlan {
            by_risk: inner
                .count_owed(there)
                .await?
                .by_risk
                .into_iter()
                .map(|(risk, (extents, _))| (risk, extents))
                .collect(),
            key_pieces: [inner.lost_pieces().await, inner.lost_ways().await].concat(),
            ..RepairPlan::default()
        };
        for (index, work) in owed.by_server {
            let server = inner.servers.all().iter().find(|s| s.index() == index);
            let name = server.map_or_else(|| index.to_string(), |s| s.name().to_owned());
            let to = if there.contains(index) {
                &mut plan.servers
            } else {
                &mut plan.waiting
            };
            to.insert(name, work);
        }
        plan.absent = absent.into_iter().map(|(_, fault)| fault).collect();
        let sweep = options.sweep();
        plan.orphans = inner.orphans(ctx, sweep, false, &|| false).await?;
        Ok(plan)
    }

    /// Makes what is owed, what is most at risk first, puts back lost pieces of the vault key, and sweeps orphans that are due.
    /// Dropped or killed at any point, it can be begun again.
    ///
    /// # Errors
    /// [`VaultError::ReadOnly`](crate::VaultError::ReadOnly); errors of the catalogue. What servers say is in the report.
    pub async fn repair(
        &self,
        ctx: &Context,
        options: &RepairOptions,
        progress: &(dyn Fn(RepairProgress) + Send + Sync),
    ) -> Result<RepairReport> {
        let inner = &self.inner;
        inner.writable()?;
        let _repairing = inner.repairing.lock().await;
        let entry = ctx.entry(Act::Repair, None, "begun", inner.clock.now());
        inner.catalog.record(vec![entry], Durability::Soon).await?;
        // What a check has just found and recorded is remembered before anything is removed.
        inner.catalog.sync().await?;
        let mut key_pieces = inner.mend_pieces().await?;
        key_pieces.extend(inner.mend_ways(true).await);
        key_pieces.sort_unstable();
        key_pieces.dedup();
        inner.tidy_pieces().await;
        let run = Run::new(inner, options.limit);
        for (index, fault) in inner.absent(false, |_| true).await {
            run.give_up_on(index, fault);
        }
        let closing = || inner.is_closing();
        let manner = Manner {
            ctx,
            at_once: options.at_once.max(1),
            progress,
            stop: &closing,
        };
        let mut report = pay(Arc::new(run), manner).await?;
        report.key_pieces = key_pieces;
        let sweep = options.sweep();
        report.orphans = inner.orphans(ctx, sweep, true, &closing).await?;
        inner.catalog.sync().await?;
        Ok(report)
    }

    /// Looks for objects that nobody needs, and with `sweep` removes those older than `grace`. [`repair`](Self::repair) does it too.
    ///
    /// # Errors
    /// Errors of the catalogue. What servers say is in the report.
    pub async fn orphans(
        &self,
        ctx: &Context,
        grace: Duration,
        sweep: bool,
    ) -> Result<BTreeMap<String, Orphans>> {
        if sweep {
            self.inner.writable()?;
        }
        let which = Sweep {
            grace,
            drop_newer: false,
        };
        self.inner.orphans(ctx, which, sweep, &|| false).await
    }

    /// Writes down that every share of this index is owed: its server is about to be replaced by an empty one. Durable when it returns.
    /// `progress` is told how many extents are done.
    ///
    /// # Errors
    /// Errors of the catalogue. Cut off half-way it can be begun again.
    pub async fn owe_all(
        &self,
        ctx: &Context,
        index: ShareIndex,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<u64> {
        const PAGE: usize = 2_000;
        let inner = &self.inner;
        inner.writable()?;
        let detail = format!("share {index} is owed everywhere: its server is replaced");
        let entry = ctx.entry(Act::Repair, None, detail, inner.clock.now());
        inner.catalog.record(vec![entry], Durability::Soon).await?;
        let (mut after, mut done): (Option<ExtentId>, u64) = (None, 0);
        loop {
            let page = inner.catalog.extents(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.extent);
            let changes: Vec<OwedChange> = page
                .iter()
                .filter(|record| index.get() <= record.threshold.n())
                .map(|record| OwedChange {
                    extent: record.extent,
                    generation: record.generation,
                    add: [index].into_iter().collect(),
                    remove: IndexSet::EMPTY,
                })
                .collect();
            inner.catalog.change_owed(&changes).await?;
            done += changes.len() as u64;
            progress(done);
        }
        inner.catalog.sync().await?;
        Ok(done)
    }

    /// The `vault` object that belongs on the server of this index, made from those of k others. `None` where there is none for it while the threshold
    /// changes: the server is to go, or is to come and nobody has dealt it a piece yet.
    ///
    /// # Errors
    /// [`VaultError::Damaged`](crate::VaultError::Damaged) where fewer than k others have a good one.
    pub async fn key_piece_for(&self, index: ShareIndex) -> Result<Option<Bytes>> {
        self.inner.piece_for(index).await
    }

    /// Whether this is a piece of this vault's key for the server of this index, of whatever generation.
    #[must_use]
    pub fn is_key_piece_of(&self, index: ShareIndex, object: &VaultObject) -> bool {
        self.inner.is_piece_of(index, object)
    }
}

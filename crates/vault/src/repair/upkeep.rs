//! What a vault does by itself as long as it is open: debts are paid when their servers answer again, and orphans are swept.
//!
//! Nobody is to notice: few extents at a time, below a speed limit, and after a vain attempt the next one waits twice as long, unless
//! a server has come back meanwhile.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::orphans::Sweep;
use super::pay::{Manner, pay};
use super::share::Run;
use crate::error::{Result, ServerFault};
use crate::refresh::RefreshOptions;
use crate::retain::Which;
use crate::vault::{Inner, Vault};

/// What is done in the background, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// How often debts are looked for, and whether a server has come back. [`Duration::ZERO`] turns all of it off.
    pub every: Duration,
    /// The longest pause between two vain attempts to pay.
    pub at_most: Duration,
    /// How many bytes are sent in a second at most.
    pub limit: u64,
    /// How often orphans are swept; the first time after a tenth of it.
    pub sweep_every: Duration,
    /// How old an orphan must be.
    pub grace: Duration,
    /// How often all shares get a new generation; `None`: only when somebody asks for it.
    pub refresh_every: Option<Duration>,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(10),
            at_most: Duration::from_secs(600),
            limit: 16 << 20,
            sweep_every: Duration::from_secs(24 * 3600),
            grace: GRACE,
            refresh_every: None,
        }
    }
}

/// How old an orphan must be before it is swept, where nothing else is said.
pub const GRACE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many extents are worked on at a time.
const AT_ONCE: usize = 2;

/// How often it is looked whether a refresh is due, or over.
const REFRESH_LOOK: Duration = Duration::from_secs(60);

/// Runs until the vault is dropped or closed.
pub(crate) async fn upkeep(vault: Weak<Inner>) {
    let Some(Upkeep {
        every,
        at_most,
        sweep_every,
        ..
    }) = vault.upgrade().map(|inner| inner.options.upkeep)
    else {
        return;
    };
    if every.is_zero() {
        return;
    }
    let mut pause = every;
    let mut due = Instant::now() + every;
    let mut sweep_due = Instant::now() + sweep_every / 10;
    let mut refresh_due = Instant::now() + REFRESH_LOOK.min(every);
    let mut refresh_pause = REFRESH_LOOK;
    let mut unwell = Vec::new();
    let mut ways_seen = false;
    loop {
        tokio::time::sleep(every).await;
        let Some(inner) = vault.upgrade().filter(|inner| !inner.is_closing()) else {
            return;
        };
        let now_unwell = inner.unwell();
        // A server that was in trouble is well again, or one that was full takes shares.
        let came_back = unwell.iter().zip(&now_unwell).any(|(was, is)| *was && !is);
        // A server that was away when the ways in were changed has what does not count any more.
        if came_back || !ways_seen {
            ways_seen = true;
            inner.mend_ways(false).await;
        }
        if came_back || Instant::now() >= due {
            pause = match inner.pay_in_background().await {
                Ok(Paid::Nothing | Paid::Some) => every,
                Ok(Paid::Vain) => (pause * 2).min(at_most),
                Err(error) => {
                    tracing::warn!(error = %error.facts(), "owed shares could not be made yet; trying again");
                    (pause * 2).min(at_most)
                }
            };
            due = Instant::now() + pause;
        }
        unwell = inner.unwell();
        if Instant::now() >= refresh_due {
            refresh_pause = match inner.refresh_in_background().await {
                Ok(true) => REFRESH_LOOK,
                Ok(false) => (refresh_pause * 2).min(at_most.max(REFRESH_LOOK)),
                Err(error) => {
                    tracing::warn!(error = %error.facts(), "shares could not be refreshed yet; trying again");
                    (refresh_pause * 2).min(at_most.max(REFRESH_LOOK))
                }
            };
            refresh_due = Instant::now() + refresh_pause;
        }
        if Instant::now() >= sweep_due {
            sweep_due = Instant::now() + sweep_every;
            if let Err(error) = inner.sweep_in_background().await {
                tracing::warn!(error = %error.facts(), "orphans could not be swept yet; trying again");
            }
            if let Err(error) = inner.prune_in_background().await {
                tracing::warn!(error = %error.facts(), "what the rules let go could not be destroyed yet; trying again");
            }
        }
    }
}

/// What came of an attempt.
enum Paid {
    /// Nothing is owed, or somebody else is at it.
    Nothing,
    Some,
    /// Nothing could be paid.
    Vain,
}

impl Inner {
    /// Which servers lag, have stopped answering or refused what was to be stored. Somebody else finds out whether that is over.
    fn unwell(&self) -> Vec<bool> {
        let servers = self.servers.all().iter();
        servers
            .map(|server| !server.health.is_well() || server.health.refuses_writes().is_some())
            .collect()
    }

    async fn pay_in_background(self: &Arc<Self>) -> Result<Paid> {
        if self.catalog.owed(None, 1).await?.is_empty() {
            return Ok(Paid::Nothing);
        }
        let Ok(_repairing) = self.repairing.try_lock() else {
            return Ok(Paid::Nothing);
        };
        let run = Run::new(self, Some(self.options.upkeep.limit));
        // Work on a server that lags would make it lag more, for those who wait.
        for server in self.servers.all() {
            if !server.health.is_well() {
                let error = server.not_asked();
                run.give_up_on(server.index(), ServerFault::of_store(server.name(), &error));
            }
        }
        // A place that has lost even its piece of the vault key may be the wrong place: somebody should look at that first.
        for (index, fault) in self.absent(true, |index| !run.is_down(index)).await {
            run.give_up_on(index, fault);
        }
        let closing = || self.is_closing();
        let manner = Manner {
            ctx: &Self::own_context(),
            at_once: AT_ONCE,
            progress: &|_| (),
            stop: &closing,
        };
        let report = pay(Arc::new(run), manner).await?;
        let shares = report.shares() + report.found;
        if shares > 0 {
            tracing::info!(shares, left = report.left, "owed shares were made");
        }
        Ok(match (shares, report.left) {
            (1.., _) => Paid::Some,
            (0, 0) => Paid::Nothing,
            (0, _) => Paid::Vain,
        })
    }

    /// Refreshes where that is due, and notes that a refresh is over once nothing older is left. Returns whether nothing is left to do
    /// now.
    async fn refresh_in_background(self: &Arc<Self>) -> Result<bool> {
        let generations = self.catalog.generations().await?;
        let every = self.options.upkeep.refresh_every;
        let is_due = every.is_some_and(|every| generations.is_due(every, self.clock.now()));
        if !is_due && !generations.is_under_way() {
            return Ok(true);
        }
        let ctx = &Self::own_context();
        let Ok(_repairing) = self.repairing.try_lock() else {
            return Ok(false);
        };
        if generations.is_under_way() {
            // A server that was away has come back with the piece that it had: it gets the one at work, and the old one goes.
            // The same goes for its part of the ways in, where there are any: what it has is a piece of a bolt of before.
            self.mend_pieces().await?;
            self.mend_ways(false).await;
            self.tidy_pieces().await;
            let status = self.end_refresh(ctx).await?;
            // What is left to be removed is removed by sweeps, when its servers are back. That may be never, and must not keep the next
            // refresh from beginning when its time comes.
            let time_is_up = every.is_some_and(|every| generations.is_old(every, self.clock.now()));
            if !time_is_up && (status.left == 0 || !is_due) {
                return Ok(status.is_over());
            }
        }
        // A server that is away for a while keeps its old shares, and every file would be owed one: that is for a person to decide.
        if self.unwell().contains(&true) {
            return Ok(false);
        }
        let options = RefreshOptions {
            limit: Some(self.options.upkeep.limit),
            at_once: AT_ONCE,
            ..RefreshOptions::default()
        };
        let closing = || self.is_closing();
        let report = self
            .new_generation(ctx, &options, &|_| (), &closing)
            .await?;
        tracing::info!(extents = report.extents, "shares have a new generation");
        Ok(report.status.is_over())
    }

    /// Destroys what the rules let go. What a server did not confirm is swept like what unfinished saves left.
    async fn prune_in_background(self: &Arc<Self>) -> Result<()> {
        if self.is_closing() || self.writable().is_err() {
            return Ok(());
        }
        self.forget_gone().await?;
        let rules = &self.options.retention;
        if rules.keep_all() {
            return Ok(());
        }
        let vault = Vault {
            inner: Arc::clone(self),
        };
        let ctx = Self::own_context();
        let plan = vault.plan_prune(&ctx, &Which::Rules(rules), false).await?;
        if plan.is_empty() {
            return Ok(());
        }
        let destroyed = vault.prune(&ctx, &plan, &|_, _| ()).await?;
        let (versions, complete) = (destroyed.versions.len(), destroyed.is_complete());
        tracing::info!(versions, complete, "the rules of retention were applied");
        Ok(())
    }

    async fn sweep_in_background(self: &Arc<Self>) -> Result<()> {
        let closing = || self.is_closing();
        let which = Sweep {
            grace: self.options.upkeep.grace,
            drop_newer: false,
        };
        let orphans = self
            .orphans(&Self::own_context(), which, true, &closing)
            .await?;
        self.tidy_pieces().await;
        for (server, orphans) in orphans {
            if orphans.newer > 0 {
                tracing::warn!(
                    server,
                    objects = orphans.newer,
                    "a server has versions that the catalogue does not know, which may have been brought back from a backup"
                );
            }
        }
        Ok(())
    }
}

//! Destruction: rows first, then objects, on every server.
//!
//! 1. `forget_versions`: the rows go, and an intent names the extents that nobody needs any more, in one transaction that is safe from a power cut
//!    before anything else is done.
//! 2. The journal is told, so that a rebuild does not look for what is gone.
//! 3. The objects are removed from all servers. A server that refused or did not answer is named, the intent stays, and sweeps ask again;
//!    and an attribute of the root keeps a rebuild from bringing it back ([`gone`](super::gone)).
//!
//! Cut off after 1 or 2, the intent is what remembers; before 1, nothing has happened.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use warifu_core::ids::{ExtentId, Generation, ServerId, ShareIndex};

use super::plan::{Going, PrunePlan};
use crate::context::{Act, Context};
use crate::error::{Result, VaultError};
use crate::journal::Occasion;
use crate::seam::catalog::{CatalogError, Durability, SaveId, Write};
use crate::seam::clock::Timestamp;
use crate::seam::past::{Forget, Forgotten};
use crate::seam::store::StoreErrorKind;
use crate::servers::Server;
use crate::vault::{Inner, Vault};

/// How many versions, and how many names, are forgotten in one transaction.
const BATCH: usize = 128;

/// How many extents are removed at once.
const AT_ONCE: usize = 16;

/// How long a server is waited for with each removal.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOutcome {
    /// Its name.
    pub server: String,
    /// Its id.
    pub id: ServerId,
    /// Objects that it confirmed to be gone.
    pub gone: u64,
    /// Objects that it did not confirm: it is asked again until it does.
    pub left: u64,
    /// What it said to the first of these.
    pub detail: Option<String>,
}

/// What was destroyed.
#[derive(Clone, Debug, Default)]
pub struct Destroyed {
    /// When it was begun.
    pub at: Timestamp,
    /// The versions.
    pub versions: Vec<Going>,
    /// How many names that ended were forgotten.
    pub names: u64,
    /// How many extents nobody needed any more.
    pub extents: u64,
    /// Each server, in the order of their shares.
    pub servers: Vec<ServerOutcome>,
    /// How many servers the vault has, as its catalogue says, that this vault file does not name: it is from before a change of the threshold, and what
    /// was to go may be there.
    pub unnamed: u8,
    /// Versions of the plan that stay: a file shows them by now, or they came into a folder that is held.
    pub kept: u64,
}

impl Destroyed {
    /// Whether every server confirmed all of it, and all were asked.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unnamed == 0 && self.servers.iter().all(|server| server.left == 0)
    }
}

impl Vault {
    /// Destroys what a plan names. `progress` hears of the versions done and of all.
    ///
    /// # Errors
    /// [`VaultError::HoldsChanged`] when a hold was set or cleared since the plan was made: make another one. When nothing may be changed, and
    /// errors of the catalogue. What was done before the error is done.
    pub async fn prune(
        &self,
        ctx: &Context,
        plan: &PrunePlan,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Destroyed> {
        let inner = &self.inner;
        inner.writable()?;
        let mut outcomes: BTreeMap<ShareIndex, ServerOutcome> = inner
            .servers
            .all()
            .iter()
            .map(|server| {
                let outcome = ServerOutcome {
                    server: server.name().to_owned(),
                    id: server.seat.id,
                    gone: 0,
                    left: 0,
                    detail: None,
                };
                (server.index(), outcome)
            })
            .collect();
        let mut destroyed = Destroyed {
            at: inner.clock.now(),
            ..Destroyed::default()
        };
        let total = plan.versions.len() as u64;
        let mut done = 0;
        inner.forget_gone().await?;
        // Versions first: as long as one is there, so are the names under which it is found.
        let versions = plan.versions.chunks(BATCH).map(|going| (going, &[][..]));
        let names = plan.names.chunks(BATCH).map(|names| (&[][..], names));
        for batch in versions.chain(names) {
            let waste = SaveId::fresh()?;
            let (forgotten, names) = self.forget_batch(ctx, plan, batch, waste).await?;
            destroyed.names += names;
            destroyed.extents += forgotten.extents.len() as u64;
            let (going, _) = batch;
            let by_key: HashMap<_, _> = going
                .iter()
                .map(|going| ((going.document, going.version), going))
                .collect();
            let gone = forgotten.versions.iter().filter_map(|key| by_key.get(key));
            destroyed
                .versions
                .extend(gone.map(|going| (*going).clone()));
            destroyed.kept += (going.len() - forgotten.versions.len()) as u64;
            inner.write_journal(Occasion::Sync).await;
            if !forgotten.extents.is_empty() {
                if inner.destroy(&forgotten.extents, &mut outcomes).await {
                    inner.catalog.end_save(waste).await?;
                } else {
                    inner.remember_gone(&forgotten.extents).await?;
                    inner.write_journal(Occasion::Sync).await;
                }
            }
            done += going.len() as u64;
            progress(done, total);
        }
        destroyed.servers = outcomes.into_values().collect();
        // Where no server has anything of it, none is asked.
        if destroyed.extents > 0 {
            destroyed.unnamed = inner.servers.unnamed();
        }
        Ok(destroyed)
    }

    /// Forgets some versions and names of a plan, if what is held still is what the plan saw. Says also how many names it were.
    async fn forget_batch(
        &self,
        ctx: &Context,
        plan: &PrunePlan,
        (going, names): (&[Going], &[(u64, Timestamp)]),
        waste: SaveId,
    ) -> Result<(Forgotten, u64)> {
        let inner = &self.inner;
        let until = names.iter().map(|(_, until)| until.secs).max();
        let known = until.map_or(0, |until| {
            u64::try_from(until).unwrap_or(0).saturating_add(1)
        });
        if known > 0 {
            inner.remember_past(known).await?;
        }
        loop {
            let holds = self.read_holds().await?;
            if !holds.same(&plan.holds) {
                return Err(VaultError::HoldsChanged);
            }
            // What was moved into a folder that is held, since the plan was made, is held too.
            let (mut judged, mut versions) = (HashMap::new(), Vec::with_capacity(going.len()));
            for going in going {
                if !self.is_held(going.document, &holds, &mut judged).await? {
                    versions.push((going.document, going.version));
                }
            }
            let detail = format!("{} versions, {} names", versions.len(), names.len());
            let what = Forget {
                versions,
                names: names.iter().map(|(name, _)| *name).collect(),
                known_since: known,
                attributes: holds.attributes,
                waste,
                lease: inner.options.save_lease,
            };
            let write = Write {
                audit: ctx.entry(Act::Destroy, None, detail, inner.clock.now()),
                durability: Durability::Now,
            };
            match inner.catalog.forget_versions(what, write).await {
                // An attribute of the root is another one since: whether it is a hold is looked at again.
                Err(CatalogError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(forgotten) => return Ok((forgotten, names.len() as u64)),
            }
        }
    }
}

impl Inner {
    /// Removes extents from all servers, and notes what each of them did. Returns whether all confirmed everything.
    async fn destroy(
        self: &Arc<Self>,
        extents: &[(ExtentId, Generation)],
        outcomes: &mut BTreeMap<ShareIndex, ServerOutcome>,
    ) -> bool {
        let mut removals = Vec::with_capacity(extents.len() * self.servers.all().len());
        for (extent, generation) in extents {
            for server in self.servers.all() {
                removals.push((Arc::clone(server), *extent, *generation));
            }
        }
        let mut answers = stream::iter(removals)
            .map(|(server, extent, generation)| async move {
                let removed = self.remove_share(&server, extent, generation).await;
                (server.index(), removed)
            })
            .buffer_unordered(AT_ONCE * self.servers.all().len().max(1));
        let mut complete = self.servers.unnamed() == 0;
        while let Some((index, removed)) = answers.next().await {
            let Some(outcome) = outcomes.get_mut(&index) else {
                continue;
            };
            match removed {
                Ok(()) => outcome.gone += 1,
                Err(detail) => {
                    complete = false;
                    outcome.left += 1;
                    outcome.detail.get_or_insert(detail);
                }
            }
        }
        // What a power cut could bring back is not gone.
        let gone = extents.len() as u64;
        let synced = self.servers.all().iter().map(|server| async move {
            let answer = server.try_ask(PATIENCE, server.seat.store.sync()).await;
            (server.index(), answer)
        });
        for (index, answer) in join_all(synced).await {
            if let (Err(error), Some(outcome)) = (answer, outcomes.get_mut(&index)) {
                complete = false;
                let taken_back = gone.min(outcome.gone);
                outcome.gone -= taken_back;
                outcome.left += taken_back;
                outcome.detail.get_or_insert(error.to_string());
            }
        }
        complete
    }

    async fn remove_share(
        &self,
        server: &Server,
        extent: ExtentId,
        generation: Generation,
    ) -> std::result::Result<(), String> {
        let name = self.servers.object_key(server, extent, generation);
        let removal = server.try_ask(PATIENCE, server.seat.store.delete(&name));
        match removal.await {
            Ok(()) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

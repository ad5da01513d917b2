//! Destruction: rows first, then objects, on every server.
//!
//! 1. `forget_versions`: the rows go, and an intent names the extents that nobody needs any more, in one transaction that is safe from a power cut
//!    before anything else is done.
//! 2. The journal is told, so that a rebuild does not look for what is gone.
//! 3. The objects are removed from all servers. A server that refused or did not answer is named, the intent stays, and sweeps ask again.
//!
//! Cut off after 1 or 2, the intent is what remembers; before 1, nothing has happened.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use warifu_core::ids::{ExtentId, Generation, ServerId, ShareIndex};

use super::plan::{Going, PrunePlan};
use crate::context::{Act, Context};
use crate::error::{Result, VaultError};
use crate::journal::Occasion;
use crate::seam::catalog::{CatalogError, Durability, SaveId, Write};
use crate::seam::clock::Timestamp;
use crate::seam::past::Forget;
use crate::seam::store::StoreErrorKind;
use crate::servers::Server;
use crate::vault::{Inner, Vault};

/// How many versions, and how many names, are forgotten in one transaction.
const BATCH: usize = 128;

/// How many extents are removed at once.
const AT_ONCE: usize = 16;

/// How long a server is waited for with each removal.
const PATIENCE: Duration = Duration::from_secs(10);

/// A version that is gone. Silent through what it is made of.
pub type DestroyedVersion = Going;

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
    pub versions: Vec<DestroyedVersion>,
    /// How many names that ended were forgotten.
    pub names: u64,
    /// How many extents nobody needed any more.
    pub extents: u64,
    /// Each server, in the order of their shares.
    pub servers: Vec<ServerOutcome>,
    /// Versions of the plan that stay: a file shows them by now.
    pub kept: u64,
}

impl Destroyed {
    /// Whether every server confirmed all of it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.servers.iter().all(|server| server.left == 0)
    }
}

impl Vault {
    /// Destroys what a plan names. `progress` hears of the versions done and of all.
    ///
    /// # Errors
    /// [`VaultError::Conflict`] when a hold came since the plan was made: make another one. When nothing may be changed, and errors of the
    /// catalogue. What was done before the error is done.
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
        let mut versions = plan.versions.chunks(BATCH);
        let mut names = plan.names.chunks(BATCH);
        let (mut done, mut as_of) = (0, plan.holds.as_of);
        loop {
            let (versions, names) = (versions.next(), names.next());
            if versions.is_none() && names.is_none() {
                break;
            }
            let (versions, names) = (versions.unwrap_or_default(), names.unwrap_or_default());
            let waste = SaveId::fresh()?;
            let mut what = Forget {
                versions: versions
                    .iter()
                    .map(|going| (going.document, going.version))
                    .collect(),
                names: names.to_vec(),
                unchanged_since: as_of,
                waste,
                lease_until: inner.lease(),
            };
            let detail = format!("{} versions, {} names", versions.len(), names.len());
            let write = Write {
                audit: ctx.entry(Act::Destroy, None, detail, inner.clock.now()),
                durability: Durability::Now,
            };
            let forgotten = loop {
                let forgotten = inner.catalog.forget_versions(what.clone(), write.clone());
                match forgotten.await {
                    // Somebody may only have made a file in the root.
                    Err(CatalogError::Conflict { .. }) => {
                        let holds = self.read_holds().await?;
                        if !holds.same(&plan.holds) {
                            return Err(VaultError::Invalid {
                                what: "a hold was set or cleared since the plan was made",
                            });
                        }
                        as_of = holds.as_of;
                        what.unchanged_since = as_of;
                    }
                    other => break other?,
                }
            };
            destroyed.names += names.len() as u64;
            destroyed.extents += forgotten.extents.len() as u64;
            let by_key: HashMap<_, _> = versions
                .iter()
                .map(|going| ((going.document, going.version), going))
                .collect();
            let gone = forgotten.versions.iter().filter_map(|key| by_key.get(key));
            destroyed
                .versions
                .extend(gone.map(|going| (*going).clone()));
            destroyed.kept += (versions.len() - forgotten.versions.len()) as u64;
            inner.write_journal(Occasion::Sync).await;
            if !forgotten.extents.is_empty() {
                let complete = inner.destroy(&forgotten.extents, &mut outcomes).await;
                if complete {
                    inner.catalog.end_save(waste).await?;
                }
            }
            done += versions.len() as u64;
            progress(done, total);
        }
        destroyed.servers = outcomes.into_values().collect();
        Ok(destroyed)
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
        let mut complete = true;
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

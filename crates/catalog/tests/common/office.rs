//! Machines that share a vault on servers in memory, with the catalogue in a real database.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use warifu_core::ids::Threshold;
use warifu_core::keys::{CatalogKey, VaultKey};
use warifu_testkit::catalogs::CrashingCatalog;
use warifu_testkit::clock::ManualClock;
use warifu_testkit::histories::{Machine, Office};
use warifu_testkit::stores::{Faults, FaultyStore, MemoryStore, Rates};
use warifu_testkit::world::World;
use warifu_vault::keys::{Candidate, Expected, Founded, found, unlock};
use warifu_vault::seam::catalog::{Catalog, CatalogError};
use warifu_vault::seam::store::ShareStore;
use warifu_vault::{Context, Options, ServerSeat, Vault, VaultConfig, VaultError};

/// A catalogue that is being opened.
pub type Opened = Pin<Box<dyn Future<Output = Result<Arc<dyn Catalog>, CatalogError>> + Send>>;
/// Opens the catalogue once more, under its key.
pub type Opening = Box<dyn Fn(CatalogKey) -> Opened + Send + Sync>;

/// Where machines come from.
pub struct Desks {
    threshold: Threshold,
    founded: Founded,
    /// The servers without faults, for the pieces of the key.
    candidates: Vec<Candidate>,
    stores: Vec<Arc<FaultyStore>>,
    faults: Vec<Faults>,
    open: Opening,
    /// What its machines are started with from now on.
    pub options: Options,
}

impl Desks {
    /// An office whose catalogue is made by `make`, which gives the way to open it again.
    pub async fn new<F: Future<Output = Opening>>(make: impl FnOnce(CatalogKey) -> F) -> Self {
        let threshold = Threshold::new(2, 3).unwrap();
        let (mut candidates, mut stores, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        let world = World::new(1);
        for (label, name) in [(1, "east"), (2, "west"), (3, "north")] {
            let memory = Arc::new(MemoryStore::new());
            let (store, fault) = FaultyStore::new(&world, label, memory.clone());
            candidates.push(Candidate {
                name: name.into(),
                store: memory,
            });
            stores.push(store);
            faults.push(fault);
        }
        let founded = found(&candidates, threshold).await.unwrap();
        let open = make(founded.key.catalog_key(founded.vault)).await;
        let mut options = Options::default();
        options.journal = false;
        options.catalog_patience = Duration::from_millis(200);
        Self {
            threshold,
            founded,
            candidates,
            stores,
            faults,
            open,
            options,
        }
    }

    fn config(&self) -> VaultConfig {
        let ids = self.founded.servers.iter().zip(self.threshold.indices());
        let servers = ids
            .zip(&self.stores)
            .zip(&self.candidates)
            .map(|(((id, index), store), candidate)| ServerSeat {
                id: *id,
                index,
                name: candidate.name.clone(),
                store: Arc::clone(store) as Arc<dyn ShareStore>,
            })
            .collect();
        VaultConfig {
            vault: self.founded.vault,
            thresholds: self.threshold.into(),
            generation: self.founded.generation,
            servers,
            options: self.options.clone(),
        }
    }

    /// Opens the vault, with what `between` lays between it and the catalogue.
    pub async fn open(
        &self,
        clock: Arc<ManualClock>,
        between: impl FnOnce(Arc<dyn Catalog>) -> Arc<dyn Catalog>,
    ) -> Result<Vault, VaultError> {
        let key = self.key().await;
        let catalog = (self.open)(key.catalog_key(self.founded.vault)).await?;
        Vault::start(self.config(), key, between(catalog), clock).await
    }

    async fn key(&self) -> VaultKey {
        let seats = self.founded.servers.iter().copied();
        let expected = Expected {
            vault: self.founded.vault,
            thresholds: self.threshold.into(),
            seats: seats.zip(self.threshold.indices()).collect(),
        };
        unlock(&self.candidates, &expected).await.unwrap().key
    }
}

/// Whoever works at this machine.
pub fn context(host: &str) -> Context {
    Context {
        actor: "hanako".into(),
        uid: 1000,
        gid: 1000,
        host: host.into(),
        program: "writer".into(),
        purpose: String::new(),
    }
}

#[async_trait]
impl Office for Desks {
    async fn machine(&self, host: &str, clock: ManualClock) -> Machine {
        let (ctx, clock) = (context(host), Arc::new(clock));
        loop {
            let mut line = None;
            let started = async {
                let cut = |catalog| {
                    let cut = CrashingCatalog::new(catalog, World::new(0));
                    Arc::new(line.insert(cut).clone()) as Arc<dyn Catalog>
                };
                let vault = self.open(clock.clone(), cut).await?;
                vault.join(&ctx, "/mnt/office").await?;
                Ok(vault)
            };
            match started.await {
                Ok(vault) => {
                    let line = line.expect("the vault is open on it");
                    return Machine { vault, line, ctx };
                }
                // Whoever starts a machine while the catalogue is away does so again.
                Err(VaultError::Catalog(CatalogError::NoAnswer { .. })) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("a machine does not start: {error}"),
            }
        }
    }

    fn trouble(&self, trouble: bool) {
        let rates = Rates {
            no_answer: 10,
            lost_reply: 10,
            failed: 5,
            ..Rates::default()
        };
        for faults in self.faults.iter().take(1) {
            if trouble {
                faults.set_rates(rates);
            } else {
                faults.heal();
            }
        }
    }
}

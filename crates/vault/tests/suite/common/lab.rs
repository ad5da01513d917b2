//! The vault's surroundings, which outlive every vault started in them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use warifu_core::ids::{ServerId, ShareIndex, Threshold, VaultId};
use warifu_core::keys::VaultKey;
use warifu_testkit::catalogs::{CrashingCatalog, MemoryCatalog};
use warifu_testkit::clock::ManualClock;
use warifu_testkit::stores::{Faults, FaultyStore, MemoryStore};
use warifu_testkit::world::World;
use warifu_vault::keys::{Candidate, Expected, FIRST_GENERATION, found, unlock};
use warifu_vault::seam::catalog::Catalog;
use warifu_vault::seam::clock::Clock;
use warifu_vault::seam::store::{ObjectKey, ShareStore};
use warifu_vault::{Context, Options, ServerSeat, Thresholds, Vault, VaultConfig, VaultError};

/// Servers A, B, C, …, a catalogue and a clock.
pub struct Lab {
    pub world: World,
    pub clock: Arc<ManualClock>,
    /// What the servers hold.
    pub servers: Vec<MemoryStore>,
    /// What is wrong with them.
    pub faults: Vec<Faults>,
    pub stores: Vec<Arc<FaultyStore>>,
    pub memory: MemoryCatalog,
    /// The catalogue, if it is [elsewhere](Self::move_to).
    elsewhere: Option<Arc<dyn Catalog>>,
    ground: Option<Arc<dyn Ground>>,
    pub catalog: CrashingCatalog,
    pub threshold: Threshold,
    /// What that is being changed to.
    pub becoming: Option<Threshold>,
    /// How many changes of it there were.
    pub changes: u32,
    founded: Threshold,
    pub vault: VaultId,
    pub ids: Vec<ServerId>,
    pub options: Options,
    /// The pieces of the vault key, out of the reach of faults.
    safe: Vec<Candidate>,
}

/// Where catalogues are that are not in memory. Nothing that they acknowledged is lost in a power cut.
pub trait Ground: Send + Sync {
    /// A new one, empty. It answers at once, whatever time it is in the lab.
    fn make(&self) -> Arc<dyn Catalog>;
    /// Ends all leases in the one that was made last.
    fn end_leases(&self);
}

/// One of several machines that have the vault mounted.
pub struct Machine {
    pub vault: Vault,
    /// Its line to the catalogue.
    pub line: CrashingCatalog,
    pub clock: Arc<ManualClock>,
    pub ctx: Context,
}

impl Lab {
    pub async fn new(k: u8, n: u8) -> Self {
        let world = World::new(0);
        let servers: Vec<MemoryStore> = (0..n).map(|_| MemoryStore::new()).collect();
        let candidates = |servers: &[MemoryStore]| -> Vec<Candidate> {
            let with_names = servers.iter().enumerate();
            with_names
                .map(|(place, server)| Candidate {
                    name: server_name(place),
                    store: Arc::new(server.clone()),
                })
                .collect()
        };
        let threshold = Threshold::new(k, n).unwrap();
        let founded = found(&candidates(&servers), threshold).await.unwrap();
        let copies: Vec<MemoryStore> = servers
            .iter()
            .map(|server| {
                let copy = MemoryStore::new();
                copy.roll_back(&server.snapshot());
                server.reset_calls();
                copy
            })
            .collect();
        let (mut stores, mut faults) = (Vec::new(), Vec::new());
        for (label, server) in (0_u64..).zip(&servers) {
            let (store, control) = FaultyStore::new(&world, label, Arc::new(server.clone()));
            stores.push(store);
            faults.push(control);
        }
        let clock = Arc::new(ManualClock::default());
        let memory = MemoryCatalog::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
        Self {
            catalog: CrashingCatalog::new(Arc::new(memory.clone()), world.clone()),
            elsewhere: None,
            ground: None,
            memory,
            world,
            clock,
            servers,
            faults,
            stores,
            threshold,
            becoming: None,
            changes: 0,
            founded: threshold,
            vault: founded.vault,
            ids: founded.servers,
            options: by_hand(),
            safe: candidates(&copies),
        }
    }

    /// One whose catalogue is also kept on the servers. The others count objects, and what they are about has no need of it.
    pub async fn with_journal(k: u8, n: u8) -> Self {
        let mut lab = Self::new(k, n).await;
        lab.options.journal = true;
        lab
    }

    /// Has its catalogues elsewhere, from an empty one on.
    pub fn move_to(&mut self, ground: Arc<dyn Ground>) {
        self.keep(ground.make());
        self.ground = Some(ground);
    }

    /// A new catalogue in the place of the one there is, if that is not in memory.
    pub fn made_elsewhere(&self) -> Option<Arc<dyn Catalog>> {
        self.ground.as_ref().map(|ground| ground.make())
    }

    /// Goes on with this catalogue, which is elsewhere.
    pub fn keep(&mut self, catalog: Arc<dyn Catalog>) {
        self.catalog = CrashingCatalog::new(Arc::clone(&catalog), self.world.clone());
        self.elsewhere = Some(catalog);
    }

    /// The catalogue, out of the reach of faults.
    pub fn kept(&self) -> &dyn Catalog {
        match &self.elsewhere {
            Some(catalog) => &**catalog,
            None => &self.memory,
        }
    }

    pub async fn key(&self) -> VaultKey {
        let expected = Expected {
            vault: self.vault,
            thresholds: self.founded.into(),
            seats: self
                .ids
                .iter()
                .copied()
                .zip(self.founded.indices())
                .collect(),
        };
        unlock(&self.safe, &expected).await.unwrap().key
    }

    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            now: self.threshold,
            becoming: self.becoming,
            change: self.changes,
        }
    }

    /// From now on, the vault is to have this threshold; servers that it takes for that are there, and empty.
    pub fn change_to(&mut self, to: Threshold) {
        self.becoming = Some(to);
        self.changes += 1;
        for place in self.servers.len()..usize::from(to.n()) {
            let server = MemoryStore::new();
            let (store, control) =
                FaultyStore::new(&self.world, place as u64, Arc::new(server.clone()));
            self.servers.push(server);
            self.stores.push(store);
            self.faults.push(control);
            self.ids.push(ServerId::fresh().unwrap());
        }
    }

    /// The change has ended.
    pub fn changed(&mut self) {
        self.threshold = self.becoming.take().unwrap();
    }

    /// Servers that the vault does not have any more are nobody's.
    pub fn forget_gone(&mut self) {
        let n = usize::from(self.threshold.n());
        self.servers.truncate(n);
        self.stores.truncate(n);
        self.faults.truncate(n);
        self.ids.truncate(n);
    }

    pub fn seats(&self) -> Vec<ServerSeat> {
        let indices = (1..=self.thresholds().seats()).filter_map(ShareIndex::new);
        let seats = self.ids.iter().zip(indices).zip(&self.stores).enumerate();
        seats
            .map(|(place, ((id, index), store))| ServerSeat {
                id: *id,
                index,
                name: server_name(place),
                store: Arc::clone(store) as Arc<dyn ShareStore>,
            })
            .collect()
    }

    /// Another machine, or the same one again.
    pub async fn start(&self) -> Vault {
        self.try_start().await.unwrap()
    }

    pub async fn try_start(&self) -> Result<Vault, VaultError> {
        self.start_with(self.options.clone()).await
    }

    pub async fn start_with(&self, options: Options) -> Result<Vault, VaultError> {
        self.start_on(self.seats(), options).await
    }

    /// A machine that reaches the servers in a way of its own.
    pub async fn start_on(
        &self,
        servers: Vec<ServerSeat>,
        options: Options,
    ) -> Result<Vault, VaultError> {
        let config = VaultConfig {
            vault: self.vault,
            thresholds: self.thresholds(),
            generation: FIRST_GENERATION,
            servers,
            options,
        };
        let (catalog, clock) = (Arc::new(self.catalog.clone()), Arc::clone(&self.clock));
        Vault::start(config, self.key().await, catalog, clock).await
    }

    /// A machine with its own opening of the catalogue, its own line to it, and its own clock, that has joined the others.
    pub async fn machine(&self, host: &str, clock: ManualClock) -> Machine {
        let line = CrashingCatalog::new(Arc::new(self.memory.clone()), World::new(0));
        let config = VaultConfig {
            vault: self.vault,
            thresholds: self.thresholds(),
            generation: FIRST_GENERATION,
            servers: self.seats(),
            options: self.options.clone(),
        };
        let clock = Arc::new(clock);
        let catalog = Arc::new(line.clone());
        let vault = Vault::start(config, self.key().await, catalog, clock.clone())
            .await
            .unwrap();
        let ctx = super::at_host(host);
        assert!(vault.join(&ctx, "/mnt/office").await.unwrap());
        Machine {
            vault,
            line,
            clock,
            ctx,
        }
    }

    /// Cuts the power of every server and of the catalogue.
    pub fn power_cut(&self) {
        self.servers.iter().for_each(MemoryStore::power_cut);
        self.memory.power_cut();
    }

    /// Lets time pass until every lease has ended.
    pub fn let_leases_end(&self) {
        let lease = self.options.save_lease + Duration::from_secs(1);
        self.clock.advance(lease);
        if let Some(ground) = &self.ground {
            ground.end_leases();
        }
    }

    /// Lets time pass, here and on every server.
    pub fn pass(&self, time: Duration) {
        self.clock.advance(time);
        let now = self.clock.now();
        self.servers
            .iter()
            .for_each(|server| server.set_time(Some(now)));
    }

    /// Another catalogue takes the place of the one that was lost.
    pub fn take_over(&mut self, catalog: MemoryCatalog) {
        self.catalog = CrashingCatalog::new(Arc::new(catalog.clone()), self.world.clone());
        self.memory = catalog;
    }

    pub fn heal(&self) {
        self.faults.iter().for_each(Faults::heal);
    }

    /// The names of the share objects that a server should hold, and of those that it may lack because they are owed.
    pub async fn expected(&self, server: usize) -> (BTreeSet<ObjectKey>, BTreeSet<ObjectKey>) {
        let key = self.key().await;
        let index = ShareIndex::new(u8::try_from(server + 1).unwrap()).unwrap();
        let (mut all, mut owed) = (BTreeSet::new(), BTreeSet::new());
        for record in self.kept().extents(None, usize::MAX).await.unwrap() {
            if index.get() > record.threshold.n() {
                continue;
            }
            let object: ObjectKey = key
                .object_name(self.ids[server], record.extent, record.generation)
                .into();
            if record.owed.contains(index) {
                owed.insert(object.clone());
            }
            all.insert(object);
        }
        (all, owed)
    }

    /// The share objects on a server that no version needs.
    pub async fn orphans(&self, server: usize) -> Vec<ObjectKey> {
        let (expected, _) = self.expected(server).await;
        let mut there = self.servers[server].names();
        there.retain(|object| object.is_share() && !expected.contains(object));
        there
    }

    /// The share objects that the catalogue counts on and that are not on the server.
    pub async fn missing(&self, server: usize) -> Vec<ObjectKey> {
        let (expected, owed) = self.expected(server).await;
        let there: BTreeSet<_> = self.servers[server].names().into_iter().collect();
        expected
            .difference(&owed)
            .filter(|object| !there.contains(object))
            .cloned()
            .collect()
    }

    /// The servers hold exactly what the catalogue counts on, and no save is open.
    pub async fn assert_tidy(&self, when: &str) {
        for server in 0..self.servers.len() {
            let (orphans, missing) = (self.orphans(server).await, self.missing(server).await);
            let who = server_name(server);
            assert_eq!(orphans, [], "{when}: orphans on {who}");
            assert_eq!(missing, [], "{when}: missing on {who}");
        }
        let usage = self.kept().usage().await.unwrap();
        assert_eq!(usage.open_saves, 0, "{when}: intents left");
    }
}

/// Options without the background, which would do a test's work for it. A test of the background turns it on.
fn by_hand() -> Options {
    let mut options = Options::default();
    options.upkeep.every = Duration::ZERO;
    options.journal = false;
    // A fault of the catalogue shows at once; those tests that are about waiting say how long.
    options.catalog_patience = Duration::ZERO;
    options
}

/// `A`, `B`, `C`, …
pub fn server_name(place: usize) -> String {
    char::from(b'A' + u8::try_from(place).unwrap()).to_string()
}

/// Runs one life of a client: when it ends, everything that it left running ends with it. Time passes only while all wait.
pub fn live<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(life)
}

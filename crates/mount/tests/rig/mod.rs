//! A vault on servers in memory, mounted for real.

#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use warifu_catalog::SqliteCatalog;
use warifu_core::ids::{ShareIndex, Threshold};
use warifu_mount::{Caching, Ended, Mount, MountError, MountOptions, Mounted};
use warifu_testkit::catalogs::CrashingCatalog;
use warifu_testkit::stores::{Faults, FaultyStore, MemoryStore};
use warifu_testkit::world::World;
use warifu_vault::keys::{Candidate, Expected, Founded, found, unlock};
use warifu_vault::seam::catalog::{AuditRow, Catalog};
use warifu_vault::seam::clock::SystemClock;
use warifu_vault::{Context, Options, ServerSeat, Vault, VaultConfig};

/// Whether drives can be mounted here. Where they cannot, tests say so and pass, except in CI: there they must run.
pub fn can_mount() -> bool {
    let able = File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .is_ok()
        && is_root();
    assert!(
        able || std::env::var_os("CI").is_none(),
        "CI must be able to mount: root and /dev/fuse are needed"
    );
    if !able {
        eprintln!("skipped: mounting needs root and /dev/fuse");
    }
    able
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn context() -> Context {
    Context {
        actor: "tester".into(),
        uid: 0,
        gid: 0,
        host: "here".into(),
        program: "test".into(),
        purpose: String::new(),
    }
}

/// A vault of 2-of-3 servers in memory with a catalogue on disk, and perhaps a drive.
pub struct Rig {
    pub runtime: Runtime,
    pub faults: Vec<Faults>,
    pub stores: Vec<Arc<MemoryStore>>,
    pub dir: TempDir,
    candidates: Vec<Candidate>,
    founded: Founded,
    options: Options,
    pub vault: Vault,
    catalog: Arc<dyn Catalog>,
    pub mounted: Option<Mounted>,
}

impl Rig {
    /// A vault that is not mounted.
    pub fn unmounted() -> Self {
        Self::with(options())
    }

    pub fn with(options: Options) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("drive")).unwrap();
        let world = World::new(1);
        let (mut faults, mut stores, mut candidates) = (Vec::new(), Vec::new(), Vec::new());
        for (label, name) in [(1, "east"), (2, "west"), (3, "north")] {
            let memory = Arc::new(MemoryStore::new());
            let (store, fault) = FaultyStore::new(&world, label, memory.clone());
            stores.push(memory);
            faults.push(fault);
            candidates.push(Candidate {
                name: name.into(),
                store,
            });
        }
        let threshold = Threshold::new(2, 3).unwrap();
        let founded = runtime.block_on(found(&candidates, threshold)).unwrap();
        let catalog_key = founded.key.catalog_key(founded.vault);
        drop(SqliteCatalog::create(&dir.path().join("catalog.db"), catalog_key).unwrap());
        let (vault, catalog) = start(&runtime, dir.path(), &candidates, &founded, options.clone());
        Self {
            runtime,
            faults,
            stores,
            dir,
            candidates,
            founded,
            options,
            vault,
            catalog,
            mounted: None,
        }
    }

    /// A mounted vault; `None` where drives cannot be mounted.
    pub fn new() -> Option<Self> {
        Self::mounted_with(|_| {})
    }

    pub fn mounted_with(change: impl FnOnce(&mut MountOptions)) -> Option<Self> {
        can_mount().then(|| {
            let mut rig = Self::unmounted();
            rig.mount(change).unwrap();
            rig
        })
    }

    /// The same with the contents in the kernel's page cache.
    pub fn with_pages() -> Option<Self> {
        Self::mounted_with(|options| options.caching = Caching::Pages)
    }

    pub fn mount(&mut self, change: impl FnOnce(&mut MountOptions)) -> Result<(), MountError> {
        let mut options = MountOptions::new(self.drive());
        options.allow_other = true;
        change(&mut options);
        let handle = self.runtime.handle().clone();
        self.mounted = Some(self.runtime.block_on(Mount::new(
            self.vault.clone(),
            options,
            handle,
        ))?);
        Ok(())
    }

    pub fn unmount(&mut self) -> Ended {
        let mounted = self.mounted.take().unwrap();
        self.runtime.block_on(mounted.unmount())
    }

    /// Unmounts, forgets everything that was in memory, opens the vault anew and mounts it.
    pub fn remount(&mut self) {
        let ended = self.unmount();
        assert!(ended.unsaved.is_empty(), "{:?}", ended.unsaved);
        self.reopen();
        self.mount(|_| {}).unwrap();
    }

    /// Opens the vault anew, as the next process would.
    pub fn reopen(&mut self) {
        (self.vault, self.catalog) = start(
            &self.runtime,
            self.dir.path(),
            &self.candidates,
            &self.founded,
            self.options.clone(),
        );
    }

    /// Another machine: its own opening of the catalogue and the same servers, mounted on a folder of its own.
    pub fn other_machine(&self, name: &str) -> Machine {
        self.other_machine_with(name, |_| {})
    }

    pub fn other_machine_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut MountOptions),
    ) -> Machine {
        let dir = self.dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let (vault, _) = start(
            &self.runtime,
            self.dir.path(),
            &self.candidates,
            &self.founded,
            self.options.clone(),
        );
        let mut options = MountOptions::new(&dir);
        options.allow_other = true;
        change(&mut options);
        let handle = self.runtime.handle().clone();
        let mounted = self
            .runtime
            .block_on(Mount::new(vault.clone(), options, handle))
            .unwrap();
        Machine {
            dir,
            vault,
            mounted: Some(mounted),
        }
    }

    /// Another machine that can be cut off from the catalogue.
    pub fn machine_on_a_line(&self, name: &str) -> (Machine, CrashingCatalog) {
        let catalog_key = self.founded.key.catalog_key(self.founded.vault);
        let catalog =
            SqliteCatalog::open(&self.dir.path().join("catalog.db"), catalog_key).unwrap();
        let line = CrashingCatalog::new(Arc::new(catalog), World::new(0));
        let vault = start_on(
            &self.runtime,
            Arc::new(line.clone()),
            &self.candidates,
            &self.founded,
            self.options.clone(),
        );
        let dir = self.dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        let mut options = MountOptions::new(&dir);
        options.allow_other = true;
        let handle = self.runtime.handle().clone();
        let mounted = self
            .runtime
            .block_on(Mount::new(vault.clone(), options, handle))
            .unwrap();
        let machine = Machine {
            dir,
            vault,
            mounted: Some(mounted),
        };
        (machine, line)
    }

    /// The whole audit log.
    pub fn audit(&self) -> Vec<AuditRow> {
        self.runtime
            .block_on(self.catalog.audit(0, usize::MAX))
            .unwrap()
    }

    pub fn drive(&self) -> PathBuf {
        self.dir.path().join("drive")
    }

    /// A path on the drive.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.drive().join(name)
    }
}

/// Another machine with the same vault.
pub struct Machine {
    pub dir: PathBuf,
    pub vault: Vault,
    pub mounted: Option<Mounted>,
}

impl Machine {
    /// A path on its drive.
    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }
}

/// How test vaults work: not as patient as others.
pub fn options() -> Options {
    let mut options = Options::default();
    options.server_timeout = Duration::from_secs(3);
    options
}

fn start(
    runtime: &Runtime,
    dir: &Path,
    candidates: &[Candidate],
    founded: &Founded,
    options: Options,
) -> (Vault, Arc<dyn Catalog>) {
    let catalog_key = founded.key.catalog_key(founded.vault);
    let catalog: Arc<dyn Catalog> =
        Arc::new(SqliteCatalog::open(&dir.join("catalog.db"), catalog_key).unwrap());
    let vault = start_on(runtime, Arc::clone(&catalog), candidates, founded, options);
    (vault, catalog)
}

fn start_on(
    runtime: &Runtime,
    catalog: Arc<dyn Catalog>,
    candidates: &[Candidate],
    founded: &Founded,
    options: Options,
) -> Vault {
    let threshold = Threshold::new(2, 3).unwrap();
    let seats: Vec<_> = founded
        .servers
        .iter()
        .zip(1..)
        .map(|(id, index)| (*id, ShareIndex::new(index).unwrap()))
        .collect();
    let expected = Expected {
        vault: founded.vault,
        thresholds: threshold.into(),
        seats: seats.clone(),
    };
    let key = runtime.block_on(unlock(candidates, &expected)).unwrap().key;
    let servers = candidates
        .iter()
        .zip(seats)
        .map(|(candidate, (id, index))| ServerSeat {
            id,
            index,
            name: candidate.name.clone(),
            store: candidate.store.clone(),
        })
        .collect();
    let config = VaultConfig {
        vault: founded.vault,
        thresholds: threshold.into(),
        generation: founded.generation,
        servers,
        options,
    };
    let started = Vault::start(config, key, catalog, Arc::new(SystemClock));
    runtime.block_on(started).unwrap()
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Before the runtime goes, without which nobody would answer the kernel.
        drop(self.mounted.take());
    }
}

/// close(2), with its error, which dropping a file passes over.
pub fn close(file: File) -> Result<(), i32> {
    nix::unistd::close(file).map_err(|error| error as i32)
}

/// The number of an error.
pub fn errno<T>(result: std::io::Result<T>) -> i32 {
    result
        .err()
        .and_then(|error| error.raw_os_error())
        .unwrap_or(0)
}

/// Bytes that look like nothing else, always the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

//! [`Vault`]: the servers, the catalogue and the open files of one vault, wired together.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use warifu_core::format::Scheme;
use warifu_core::ids::{ExtentId, Generation, ServerId, VaultId};
use warifu_core::keys::VaultKey;
use warifu_core::signing::CertificateKey;

use crate::context::{Act, Context};
use crate::dealing::Patience;
use crate::error::{Result, VaultError};
use crate::file::gone::GoneHere;
use crate::file::plain::Ledger;
use crate::file::state::OpenFile;
use crate::file::waiting::Silence;
use crate::journal::Occasion;
use crate::node::NodeId;
use crate::refresh::first_generation;
use crate::repair::{Upkeep, upkeep};
use crate::retain::Rules;
use crate::seam::catalog::{AuditRow, Catalog, Durability, Write};
use crate::seam::clock::Clock;
use crate::servers::{self, ServerSeat, Servers, Thresholds};
use crate::session::Joined;

pub(crate) mod recover;
pub(crate) mod settle;

/// What a vault is made of.
#[derive(Debug)]
pub struct VaultConfig {
    /// The vault's id.
    pub vault: VaultId,
    /// How many servers are needed, of how many, and what that is to become.
    pub thresholds: Thresholds,
    /// The generation in which shares are dealt.
    pub generation: Generation,
    /// One seat for each index from 1 to the greater n.
    pub servers: Vec<ServerSeat>,
    /// How it is to work.
    pub options: Options,
}

/// How a vault works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether `close` waits until shares are on the servers' disks, as `fsync` always does.
    pub strict: bool,
    /// How many bytes of contents are kept in RAM before those that the servers have too are dropped. Raised to 64 MiB.
    pub memory_limit: usize,
    /// How long an answer of a server is waited for.
    pub server_timeout: Duration,
    /// How often what was saved is made safe from a power cut.
    pub settle_every: Duration,
    /// How long a save may be silent before others may sweep what it left.
    pub save_lease: Duration,
    /// How long a mounted drive may be silent before its locks end.
    pub session_lease: Duration,
    /// How long a save waits for a catalogue that does not answer, before it fails and its changes wait in RAM.
    pub catalog_patience: Duration,
    /// By which scheme new extents are dealt. What is there already keeps its own and is read as before.
    pub scheme: Scheme,
    /// Whether changes are refused.
    pub read_only: bool,
    /// Whether what the catalogue knows is kept on the servers too, so that they can give it back. Without, its loss is the
    /// loss of all names: for catalogues that are kept safe otherwise.
    pub journal: bool,
    /// As long as the changes in the journal are shorter than this, in bytes, the catalogue is not written as a whole again.
    pub checkpoint_after: u64,
    /// What is done in the background.
    pub upkeep: Upkeep,
    /// What may go, and goes in the background with the sweep of orphans.
    pub retention: Rules,
    pub(crate) patience: Patience,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            strict: false,
            memory_limit: 512 << 20,
            server_timeout: Duration::from_secs(30),
            settle_every: Duration::from_millis(500),
            save_lease: Duration::from_secs(600),
            session_lease: Duration::from_secs(30),
            catalog_patience: Duration::from_secs(20),
            scheme: Scheme::Shamir,
            read_only: false,
            journal: true,
            checkpoint_after: 4 << 20,
            upkeep: Upkeep::default(),
            retention: Rules::default(),
            patience: Patience::default(),
        }
    }
}

/// How long a shutdown waits for the removal of what saves left.
const TIDY_AT_END: Duration = Duration::from_secs(5);

const MEMORY_FLOOR: usize = 64 << 20;

/// A change that is lost, because the servers took too few shares of it.
#[derive(Debug)]
pub struct Unsaved {
    /// The file's path.
    pub path: String,
    /// Why it could not be saved.
    pub error: VaultError,
}

/// A vault at work. Clones are handles of the same one.
///
/// A dropped vault stops where it is, as a killed process would; [`shutdown`](Self::shutdown) saves first.
#[derive(Clone, Debug)]
pub struct Vault {
    pub(crate) inner: Arc<Inner>,
}

/// What all handles of a vault share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) vault: VaultId,
    pub(crate) options: Options,
    /// Whether changes are refused because somebody has to decide about a rebuild first.
    pub(crate) undecided: bool,
    pub(crate) servers: Arc<Servers>,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) early: Semaphore,
    open: Mutex<HashMap<NodeId, Arc<OpenFile>>>,
    ticks: AtomicU64,
    closing: AtomicBool,
    unsettled: Mutex<Vec<settle::Unsettled>>,
    /// The heads of versions of an earlier life that could not be judged yet, for want of answers.
    doubtful: Mutex<HashSet<ExtentId>>,
    /// Held by a settling from beginning to end.
    settling: tokio::sync::Mutex<()>,
    losses: Mutex<Vec<Unsaved>>,
    /// Removals of what saves left, under way.
    tidying: Mutex<JoinSet<()>>,
    pub(crate) journal: crate::journal::Journal,
    /// What folders ask for.
    pub(crate) folders: crate::folders::Folders,
    /// Which file goes on with whose document.
    pub(crate) succession: crate::succession::Succession,
    /// Held by whoever repairs, so that a process does it once at a time.
    pub(crate) repairing: tokio::sync::Mutex<()>,
    /// The session, once it has joined.
    pub(crate) session: OnceLock<Arc<Joined>>,
    left: AtomicBool,
    pub(crate) silence: Mutex<Silence>,
    /// Shared by those who take names away, until the open file knows that it has none left.
    pub(crate) unnaming: tokio::sync::RwLock<()>,
    /// How often that has begun.
    pub(crate) unnamed: AtomicU64,
    pub(crate) gone_here: GoneHere,
    /// Held by whoever saves what was closed while the catalogue was silent.
    leftover: Arc<tokio::sync::Mutex<()>>,
    /// Old versions that are open: not in `open`, since nobody shares them.
    frozen: Mutex<Vec<Weak<OpenFile>>>,
}

/// A lock that a panic elsewhere has poisoned still guards consistent data here: each is changed in one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Vault {
    /// Opens a vault: wires it together, sweeps what saves that never ended have left, checks the versions that a power
    /// cut may have swallowed, and begins its housekeeping on the current runtime.
    ///
    /// # Errors
    /// [`VaultError::Invalid`] when the seats are not the indices 1 to n; errors of the catalogue.
    pub async fn start(
        config: VaultConfig,
        key: VaultKey,
        catalog: Arc<dyn Catalog>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let mut options = config.options;
        // What a better rebuild would need must not be written over or let go.
        let undecided = catalog.journal().await?.undecided;
        options.read_only |= undecided;
        options.memory_limit = options.memory_limit.max(MEMORY_FLOOR);
        let generation =
            first_generation(config.thresholds, config.generation, catalog.as_ref()).await?;
        let servers = Servers::new(
            config.servers,
            key,
            config.thresholds,
            generation,
            options.server_timeout,
        )
        .ok_or(VaultError::Invalid {
            what: "a vault needs one server for each share from 1 to n",
        })?;
        let inner = Arc::new(Inner {
            vault: config.vault,
            options,
            undecided,
            servers: Arc::new(servers),
            catalog,
            clock,
            ledger: Arc::default(),
            early: Semaphore::new(6),
            open: Mutex::default(),
            ticks: AtomicU64::new(1),
            closing: AtomicBool::new(false),
            unsettled: Mutex::default(),
            doubtful: Mutex::default(),
            settling: tokio::sync::Mutex::default(),
            losses: Mutex::default(),
            tidying: Mutex::default(),
            journal: crate::journal::Journal::new(),
            folders: crate::folders::Folders::default(),
            succession: crate::succession::Succession::default(),
            repairing: tokio::sync::Mutex::default(),
            session: OnceLock::new(),
            left: AtomicBool::new(false),
            silence: Mutex::default(),
            unnaming: tokio::sync::RwLock::default(),
            unnamed: AtomicU64::default(),
            gone_here: GoneHere::default(),
            leftover: Arc::default(),
            frozen: Mutex::default(),
        });
        inner.read_folders().await?;
        inner.learn_generation().await?;
        tokio::spawn(servers::watch(Arc::downgrade(&inner.servers)));
        if !inner.options.read_only {
            inner.recover().await?;
            tokio::spawn(learning(Arc::downgrade(&inner)));
            tokio::spawn(housekeeping(Arc::downgrade(&inner)));
            tokio::spawn(upkeep(Arc::downgrade(&inner)));
        }
        Ok(Self { inner })
    }

    /// Learns from how the servers answered when the vault was [unlocked](crate::keys::Unlocked::answers), so that the first file
    /// opened does not have to find out which of them hang.
    pub fn learn(&self, answers: &[(ServerId, Option<Duration>)]) {
        for (id, took) in answers {
            let mut servers = self.inner.servers.all().iter();
            if let Some(server) = servers.find(|server| server.seat.id == *id) {
                server.heard_before(*took);
            }
        }
    }

    /// Whether the catalogue was rebuilt, something of the journal is not in it, and nobody has decided yet to go on without:
    /// then the vault can be read and not changed, so that a better rebuild stays possible.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.inner.undecided
    }

    /// Decides to go on with a catalogue that was [rebuilt](crate::rebuild) with something missing. From the next start on the vault
    /// can be changed, and what only another rebuild could have used is let go in time. Returns whether there was anything to decide.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn accept_rebuild(&self, ctx: &Context) -> Result<bool> {
        let inner = &self.inner;
        if !inner.catalog.journal().await?.undecided {
            return Ok(false);
        }
        let detail = "accepted with what is missing";
        let write = Write {
            audit: ctx.entry(Act::Rebuild, None, detail, inner.clock.now()),
            durability: Durability::Now,
        };
        inner.catalog.decide(write).await?;
        Ok(true)
    }

    /// Notes in the audit log that somebody attached to the vault, such as a mount.
    ///
    /// # Errors
    /// When the line cannot be written; then nothing may be done.
    pub async fn attach(&self, ctx: &Context, detail: &str) -> Result<()> {
        let now = self.inner.clock.now();
        Ok(self
            .inner
            .catalog
            .record(
                vec![ctx.entry(Act::Attach, None, detail, now)],
                Durability::Soon,
            )
            .await?)
    }

    /// The key pair with which this vault signs certificates; `None` where the library that signs refuses.
    #[must_use]
    pub fn certificate_key(&self) -> Option<CertificateKey> {
        let key = self.inner.servers.vault_key();
        key.certificate_key(self.inner.vault)
    }

    /// Up to `limit` lines of the audit log after a number, ascending.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>> {
        Ok(self.inner.catalog.audit(after, limit).await?)
    }

    /// Saves what is open and changed, makes everything safe from a power cut, and ends the housekeeping. Returns what is
    /// lost: what could not be saved now, and what could not be saved when its last handle was closed.
    pub async fn shutdown(&self, ctx: &Context) -> Vec<Unsaved> {
        let inner = &self.inner;
        // From now on writes are refused: none may be acknowledged and not saved.
        inner.closing.store(true, Ordering::Release);
        inner.end_patience();
        let mut unsaved = Vec::new();
        for file in inner.open_files() {
            // In the name of whoever left it behind, where somebody did.
            let author = lock(&file.left_by).clone();
            let ctx = author.as_ref().unwrap_or(ctx);
            if let Err(error) = inner.save(ctx, &file, Durability::Now).await {
                unsaved.push(Unsaved {
                    path: inner.path_text(file.node).await,
                    error,
                });
            }
        }
        unsaved.append(&mut lock(&inner.losses));
        if let Err(error) = inner.sync_all(Occasion::End).await {
            tracing::warn!(error = %error.facts(), "the last versions could not be made safe from a power cut; they are checked at the next start");
        }
        // After the last save, so that nobody gets a lock before what was written under it is there.
        inner.left.store(true, Ordering::Release);
        if let Err(error) = inner.leave().await {
            tracing::warn!(error = %error.facts(), "this drive could not take its leave of the others: its locks end with its lease");
        }
        let mut tidying = std::mem::take(&mut *lock(&inner.tidying));
        let tidied = async { while tidying.join_next().await.is_some() {} };
        if tokio::time::timeout(TIDY_AT_END, tidied).await.is_err() {
            tracing::warn!("some objects of saves that came to nothing are left for a sweep");
        }
        unsaved
    }
}

impl Inner {
    /// Does in the background what nobody waits for: removing what saves left. A shutdown waits for it, for a while.
    pub(crate) fn tidy_up(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tidying = lock(&self.tidying);
        while tidying.try_join_next().is_some() {}
        tidying.spawn(work);
    }

    pub(crate) fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Whether the session has ended for good.
    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    pub(crate) fn writable(&self) -> Result<()> {
        if self.undecided {
            return Err(VaultError::Undecided);
        }
        if self.options.read_only {
            return Err(VaultError::ReadOnly);
        }
        if self.is_closing() {
            return Err(VaultError::ShuttingDown);
        }
        Ok(())
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, HashMap<NodeId, Arc<OpenFile>>> {
        lock(&self.open)
    }

    pub(crate) fn open_files(&self) -> Vec<Arc<OpenFile>> {
        self.registry().values().cloned().collect()
    }

    /// Lets an old version that was opened count among the files whose contents may be dropped from RAM.
    pub(crate) fn keep_in_sight(&self, file: &Arc<OpenFile>) {
        let mut frozen = lock(&self.frozen);
        frozen.retain(|file| file.strong_count() > 0);
        frozen.push(Arc::downgrade(file));
    }

    /// All files that have contents in RAM.
    pub(crate) fn files_in_ram(&self) -> Vec<Arc<OpenFile>> {
        let mut files = self.open_files();
        files.extend(lock(&self.frozen).iter().filter_map(Weak::upgrade));
        files
    }

    pub(crate) fn open_file(&self, node: NodeId) -> Option<Arc<OpenFile>> {
        self.registry().get(&node).cloned()
    }

    pub(crate) fn note_loss(&self, path: String, error: VaultError) {
        lock(&self.losses).push(Unsaved { path, error });
    }

    /// A node's path for messages to its user; never for a log.
    pub(crate) async fn path_text(&self, node: NodeId) -> String {
        match self.catalog.path(node).await {
            Ok(Some(names)) if names.is_empty() => "/".to_owned(),
            Ok(Some(names)) => names
                .iter()
                .map(|name| format!("/{}", name.display()))
                .collect(),
            Ok(None) => "(a removed file)".to_owned(),
            Err(_) => "(a file whose name the catalogue does not tell)".to_owned(),
        }
    }
}

/// Learns how shares are to be dealt, as long as the vault lives. By itself, since whoever changes that counts on a look within a second, and other housekeeping may take
/// longer.
async fn learning(vault: Weak<Inner>) {
    loop {
        let Some(pause) = vault.upgrade().map(|inner| inner.options.settle_every) else {
            return;
        };
        tokio::time::sleep(pause).await;
        let Some(inner) = vault.upgrade().filter(|inner| !inner.is_closing()) else {
            return;
        };
        if let Err(error) = inner.learn_generation().await {
            tracing::debug!(error = %error.facts(), "the generation of shares could not be read");
        }
    }
}

/// What is done as long as the vault lives: settling, keeping leases, sweeping.
async fn housekeeping(vault: Weak<Inner>) {
    const SWEEP_EVERY: Duration = Duration::from_secs(60);
    /// More often than this, asking servers that are away is more noise than use.
    const RECHECK_EVERY: Duration = Duration::from_secs(10);
    let mut since_sweep = Duration::ZERO;
    let mut since_recheck = Duration::ZERO;
    loop {
        let Some(pause) = vault.upgrade().map(|inner| inner.options.settle_every) else {
            return;
        };
        tokio::time::sleep(pause).await;
        let Some(inner) = vault.upgrade().filter(|inner| !inner.is_closing()) else {
            return;
        };
        // A save may take long, and what comes after must not wait for it.
        if inner.has_left_behind()
            && let Ok(one) = Arc::clone(&inner.leftover).try_lock_owned()
        {
            let saver = Arc::clone(&inner);
            inner.tidy_up(async move {
                let _one = one;
                saver.save_left_behind().await;
            });
        }
        if let Err(error) = inner.sync_all(Occasion::Tick).await {
            tracing::warn!(error = %error.facts(), "what was saved could not be made safe from a power cut yet; trying again");
        }
        since_recheck += pause;
        if since_recheck >= RECHECK_EVERY {
            since_recheck = Duration::ZERO;
            if let Err(error) = inner.recheck().await {
                tracing::warn!(error = %error.facts(), "versions of an earlier run could not be checked yet; trying again");
            }
        }
        since_sweep += pause;
        if since_sweep >= SWEEP_EVERY {
            since_sweep = Duration::ZERO;
            inner.renew_leases().await;
            if let Err(error) = inner.sweep().await {
                tracing::warn!(error = %error.facts(), "what unfinished saves left could not be swept yet; trying again");
            }
        }
    }
}

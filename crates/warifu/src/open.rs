//! [`Warifu`]: a vault, wired together from its vault file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use warifu_catalog::PostgresUrl;
use warifu_core::format::Scheme;
use warifu_core::head::Timestamp;
use warifu_core::ids::{Generation, Threshold};
use warifu_core::keys::{CatalogKey, VaultKey};
use warifu_store::{Credentials, SpecError, StoreSpec, StoreUrl, attach_store};
use warifu_vault::context::{Act, AuditEntry, Context};
use warifu_vault::error::{Fault, ServerFault};
use warifu_vault::keys::{Candidate, Expected, FoundError, UnlockError, Unlocked, found, unlock};
use warifu_vault::node::{AttrChange, NodeId};
use warifu_vault::past::AsOf;
use warifu_vault::seam::catalog::{Catalog, CatalogError, Write};
use warifu_vault::seam::clock::{Clock, SystemClock};
use warifu_vault::seam::store::{Durability, ObjectKey, ShareStore};
use warifu_vault::{Options, ServerSeat, Unsaved, Vault, VaultConfig};

use crate::catalog::{NewCatalog, open_catalog, remove_catalog};
use crate::context::process_context;
use crate::error::Error;
use crate::every::Every;
use crate::foreign::ForeignStore;
use crate::place::{Place, Watch};
use crate::rebuild::MISSING;
use crate::syslog::Sender;
use crate::trial::make_place;
use crate::vault_file::{
    MemoryRule, Retention, SaveDurability, ServerEntry, VaultFile, VaultFileError, folder_of,
};
use crate::ways::{Keyring, key_by_way};

/// A server for a new vault.
#[derive(Clone, Debug)]
pub struct NewServer {
    /// What people call it.
    pub name: String,
    /// Where it is: a folder or a store URL; relative paths are taken from the current folder.
    pub url: String,
    /// Where its passwords and keys are; relative paths are taken from the current folder.
    pub credentials: Credentials,
}

impl NewServer {
    /// A server that needs no password and no key.
    #[must_use]
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            credentials: Credentials::default(),
        }
    }
}

/// How a vault is made.
#[derive(Clone, Debug)]
pub struct InitOptions {
    program: String,
    durability: SaveDurability,
    scheme: Scheme,
    catalog: Option<(String, Credentials)>,
}

impl InitOptions {
    /// For a program of this name, as the audit log is to call it.
    #[must_use]
    pub fn new(program: &str) -> Self {
        Self {
            program: program.into(),
            durability: SaveDurability::Normal,
            scheme: Scheme::Shamir,
            catalog: None,
        }
    }

    /// Where the catalogue is to be: `postgres://USER@HOST/DATABASE`, with `password` and `ca` among the credentials, paths relative to the
    /// current folder. Otherwise it is a file beside the vault file.
    #[must_use]
    pub fn catalog(mut self, url: impl Into<String>, credentials: Credentials) -> Self {
        self.catalog = Some((url.into(), credentials));
        self
    }

    /// What saves wait for.
    #[must_use]
    pub fn durability(mut self, durability: SaveDurability) -> Self {
        self.durability = durability;
        self
    }

    /// How files are shared. [`Scheme::Compact`] takes n/k of a file's size instead of n times it, and its secrecy rests on a cipher
    /// instead of on nothing.
    #[must_use]
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }
}

/// How a vault is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    program: String,
    vault: Options,
    at: Option<Timestamp>,
    keyring: Keyring,
}

impl OpenOptions {
    /// For a program of this name, as the audit log is to call it.
    #[must_use]
    pub fn new(program: &str) -> Self {
        Self {
            program: program.into(),
            vault: Options::default(),
            at: None,
            keyring: Keyring::default(),
        }
    }

    /// Who is asked where the vault takes one of its [ways in](crate::ways).
    #[must_use]
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.keyring = keyring;
        self
    }

    /// Refuses every change.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.vault.read_only = read_only;
        self
    }

    /// Shows the vault as it was at a time, for reading only: names, folders and contents.
    #[must_use]
    pub fn at(mut self, at: Option<Timestamp>) -> Self {
        self.vault.read_only |= at.is_some();
        self.at = at;
        self
    }

    /// The time at which the vault is shown; `None` for the present.
    #[must_use]
    pub fn as_of(&self) -> Option<Timestamp> {
        self.at
    }

    /// Whether the vault is opened for reading only.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.vault.read_only
    }

    /// Leaves the work alone that a vault otherwise does by itself: paying what is owed to servers, and sweeping.
    #[must_use]
    pub fn without_upkeep(mut self) -> Self {
        self.vault.upkeep.every = std::time::Duration::ZERO;
        self
    }

    /// How many bytes of contents are kept in RAM.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.vault.memory_limit = bytes;
        self
    }

    /// How long an answer of a server is waited for.
    #[must_use]
    pub fn server_timeout(mut self, timeout: std::time::Duration) -> Self {
        self.vault.server_timeout = timeout;
        self
    }
}

/// A vault at work. [`close`](Self::close) ends it.
#[derive(Debug)]
pub struct Warifu {
    vault: Vault,
    file: VaultFile,
    path: PathBuf,
    context: Context,
    faults: Vec<ServerFault>,
    catalog_key: CatalogKey,
    syslog: Option<Sender>,
    /// Servers' places may change while the vault is open.
    _watch: Watch,
}

impl Warifu {
    /// Makes a new vault: the servers' stores, the vault key dealt to them, an empty catalogue, and last the vault file.
    ///
    /// The first server gets share 1, and so on. When it fails, what was made so far is removed as far as it can be.
    ///
    /// # Errors
    /// [`Error`]. Nothing that was there before is touched.
    pub async fn init(
        path: &Path,
        threshold: Threshold,
        servers: Vec<NewServer>,
        options: InitOptions,
    ) -> Result<VaultFile, Error> {
        let path = absolute(path)?;
        if path.symlink_metadata().is_ok() {
            return Err(VaultFileError::Exists { path }.into());
        }
        let (catalog, catalog_credentials) = match options.catalog {
            Some((url, credentials)) => {
                PostgresUrl::parse(&url).map_err(|source| Error::CatalogUrl { source })?;
                let rebased = credentials.rebased(&current_folder()?, folder_of(&path));
                (url, rebased)
            }
            None => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                (format!("sqlite:{stem}.db"), Credentials::default())
            }
        };
        let mut names = BTreeSet::new();
        let mut entries = Vec::new();
        for server in servers {
            if !names.insert(server.name.clone()) {
                return Err(Error::SameName { name: server.name });
            }
            let url = stored_url(&server, &path)?;
            let credentials = server
                .credentials
                .rebased(&current_folder()?, folder_of(&path));
            entries.push((server.name, url, credentials));
        }
        let mut specs = Vec::new();
        for (name, url, credentials) in &entries {
            specs.push((name, spec(name, url, credentials, folder_of(&path))?));
        }
        let mut candidates = Vec::new();
        for (name, spec) in specs {
            let (store, _) = make_place(name, &spec).await?;
            candidates.push(Candidate {
                name: name.clone(),
                store,
            });
        }
        let founded = found(&candidates, threshold).await;
        let founded = match founded {
            Ok(founded) => founded,
            Err(error) => {
                // Whoever holds a vault already keeps it; the others are given back what they had: nothing.
                if !matches!(error, FoundError::Taken { .. }) {
                    unfound(&candidates, warifu_vault::keys::FIRST_GENERATION).await;
                }
                return Err(Error::Founding {
                    detail: error.to_string(),
                });
            }
        };
        let servers = threshold.indices().zip(&founded.servers).zip(entries).map(
            |((index, id), (name, url, credentials))| ServerEntry {
                index,
                id: *id,
                name,
                url,
                credentials,
            },
        );
        let file = VaultFile {
            vault: founded.vault,
            threshold,
            becoming: None,
            change: 0,
            scheme: options.scheme,
            durability: options.durability,
            retention: Retention::All,
            memory: MemoryRule::default(),
            syslog: None,
            passphrase: None,
            refresh: None,
            catalog,
            catalog_credentials,
            servers: servers.collect(),
        };
        let made = async {
            make_catalog(&path, &founded.key, &file, &options.program).await?;
            match file.write_new(&path) {
                Ok(()) => Ok(()),
                Err(error) => {
                    remove_catalog(&file, &path, founded.key.catalog_key(file.vault)).await;
                    Err(Error::from(error))
                }
            }
        };
        if let Err(error) = made.await {
            unfound(&candidates, founded.generation).await;
            return Err(error);
        }
        Ok(file)
    }

    /// Opens a vault: gathers the vault key from any k servers, opens the catalogue, and starts.
    ///
    /// Servers that are away, or that are not what the vault file says, keep their seat and take no part;
    /// [`faults`](Self::faults) names them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(path: &Path, options: OpenOptions) -> Result<Self, Error> {
        let path = absolute(path)?;
        let file = VaultFile::read(&path)?;
        let (candidates, unlocked) = unlock_file(&file, &path, &options.keyring).await?;
        let catalog = open_catalog(&file, &path, unlocked.key.catalog_key(file.vault)).await?;
        let foreign = |name: &str| {
            unlocked
                .faults
                .iter()
                .find(|fault| fault.server == name && fault.fault == Fault::Foreign)
        };
        let places: Vec<Arc<Place>> = file
            .servers
            .iter()
            .zip(candidates)
            .map(|(server, candidate)| match foreign(&server.name) {
                Some(fault) => Arc::new(ForeignStore {
                    detail: fault.detail.clone(),
                }),
                None => candidate.store,
            })
            .map(|store| Arc::new(Place::new(store)))
            .collect();
        let seats = file
            .servers
            .iter()
            .zip(&places)
            .map(|(server, place)| ServerSeat {
                id: server.id,
                index: server.index,
                name: server.name.clone(),
                store: Arc::clone(place) as Arc<dyn ShareStore>,
            });
        let mut vault = options.vault;
        vault.scheme = file.scheme;
        vault.upkeep.refresh_every = file.refresh.map(Every::period);
        vault.retention = file.rules().cloned().unwrap_or_default();
        vault.strict = file.durability == SaveDurability::Strict;
        let config = VaultConfig {
            vault: file.vault,
            thresholds: file.thresholds(),
            generation: unlocked.generation,
            servers: seats.collect(),
            options: vault,
        };
        let log = Arc::clone(&catalog);
        let (catalog, detail) = match options.at {
            None => (catalog, options.program.clone()),
            Some(at) => (
                Arc::new(AsOf::new(catalog, at)) as Arc<dyn Catalog>,
                format!("{}, as of {} s", options.program, at.secs),
            ),
        };
        let catalog_key = unlocked.key.catalog_key(file.vault);
        let vault = Vault::start(config, unlocked.key, catalog, Arc::new(SystemClock)).await?;
        vault.learn(&unlocked.answers);
        if unlocked.ways_to_mend {
            vault.mend_ways().await;
        }
        let context = process_context(&options.program);
        vault.attach(&context, &detail).await?;
        // A catalogue about which somebody has to decide first is left as it is.
        let target = file.syslog.clone().filter(|_| !vault.is_undecided());
        let syslog = target.map(|target| Sender::begin(log, target));
        let watch = Watch::begin(&path, &file, places, vault.seating());
        Ok(Self {
            _watch: watch,
            vault,
            file,
            path,
            context,
            faults: unlocked.faults,
            catalog_key,
            syslog,
        })
    }

    /// The vault.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// What the vault file says.
    #[must_use]
    pub fn file(&self) -> &VaultFile {
        &self.file
    }

    /// Where the vault file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// On whose behalf this process acts.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    pub(crate) fn catalog_key(&self) -> &CatalogKey {
        &self.catalog_key
    }

    /// What was wrong with servers when the vault was opened.
    #[must_use]
    pub fn faults(&self) -> &[ServerFault] {
        &self.faults
    }

    /// Saves what is open and changed, waits until everything is on the servers' disks, and stops. Returns what is lost.
    pub async fn close(&self) -> Vec<Unsaved> {
        let unsaved = self.vault.shutdown(&self.context).await;
        if let Some(syslog) = &self.syslog {
            syslog.finish().await;
        }
        unsaved
    }
}

/// The servers of a vault file, in its order, and the vault key from any k of them.
pub(crate) async fn unlock_file(
    file: &VaultFile,
    path: &Path,
    keyring: &Keyring,
) -> Result<(Vec<Candidate>, Unlocked), Error> {
    let (candidates, expected) = candidates_of(file, path)?;
    let unlocked = match unlock(&candidates, &expected).await {
        Err(UnlockError::Bound(bound)) => {
            let reference = file.passphrase.as_ref();
            let reference = reference.map(|reference| (reference, folder_of(path)));
            let (approached, key, _) =
                key_by_way(&candidates, &expected, reference, keyring).await?;
            approached.unlocked(*bound, key)
        }
        other => other.map_err(unlock_error)?,
    };
    Ok((candidates, unlocked))
}

/// The servers of a vault file, in its order, and what each must be.
pub(crate) fn candidates_of(
    file: &VaultFile,
    path: &Path,
) -> Result<(Vec<Candidate>, Expected), Error> {
    let mut candidates = Vec::new();
    for server in &file.servers {
        let store: Arc<dyn ShareStore> = if server.url == MISSING {
            Arc::new(ForeignStore {
                detail: "this server is lost; another one must take its place".to_owned(),
            })
        } else {
            let spec = spec(
                &server.name,
                &server.url,
                &server.credentials,
                folder_of(path),
            )?;
            attach_store(&spec)
        };
        candidates.push(Candidate {
            name: server.name.clone(),
            store,
        });
    }
    let expected = Expected {
        vault: file.vault,
        thresholds: file.thresholds(),
        seats: file
            .servers
            .iter()
            .map(|server| (server.id, server.index))
            .collect(),
    };
    Ok((candidates, expected))
}

pub(crate) fn unlock_error(error: UnlockError) -> Error {
    match error {
        UnlockError::TooFewServers {
            needed,
            got,
            faults,
        } => {
            let foreign = faults
                .iter()
                .filter(|fault| fault.fault == Fault::Foreign)
                .count();
            // Not a matter of waiting for servers: those that answer are the wrong ones.
            if foreign > 0 && foreign == faults.len() {
                Error::WrongVault { faults }
            } else {
                Error::TooFewServers {
                    needed,
                    got,
                    faults,
                }
            }
        }
        UnlockError::Mismatch { faults, .. } => Error::WrongVault { faults },
        UnlockError::Mixed { faults } => Error::MixedVaults { faults },
        other => Error::Founding {
            detail: other.to_string(),
        },
    }
}

/// Takes back the pieces of a key that no vault file will ever name.
async fn unfound(servers: &[Candidate], generation: Generation) {
    for server in servers {
        let _ = server
            .store
            .delete(&ObjectKey::vault_object(generation))
            .await;
    }
}

/// Makes a catalogue that is in its place only when it is whole.
async fn make_catalog(
    path: &Path,
    key: &VaultKey,
    file: &VaultFile,
    program: &str,
) -> Result<(), Error> {
    let new = NewCatalog::begin(file, path, key.catalog_key(file.vault)).await?;
    match furnish(new.catalog(), file, program).await {
        Ok(()) => new.finish().await,
        Err(source) => {
            let shown = new.shown();
            new.abandon().await;
            Err(catalog_error(&shown, source))
        }
    }
}

async fn furnish(
    catalog: &dyn Catalog,
    file: &VaultFile,
    program: &str,
) -> Result<(), CatalogError> {
    let context = process_context(program);
    // The root belongs to whoever makes the vault: on a drive of their own they may write.
    let owner = AttrChange {
        uid: Some(context.uid),
        gid: Some(context.gid),
        ..AttrChange::default()
    };
    let audit = AuditEntry {
        at: SystemClock.now(),
        context,
        act: Act::Init,
        node: Some(NodeId::ROOT),
        detail: format!(
            "{} servers, threshold {}",
            file.threshold.n(),
            file.threshold.k()
        ),
    };
    let write = Write {
        audit,
        durability: Durability::Now,
    };
    catalog
        .set_attr(NodeId::ROOT, &owner, write)
        .await
        .map(drop)
}

pub(crate) fn catalog_error(path: &Path, source: CatalogError) -> Error {
    match source {
        CatalogError::Exists => Error::CatalogExists { path: path.into() },
        source => Error::Catalog {
            path: path.into(),
            source,
        },
    }
}

/// A server as the stores want it described.
pub(crate) fn spec(
    server: &str,
    url: &str,
    credentials: &Credentials,
    base: &Path,
) -> Result<StoreSpec, Error> {
    StoreSpec::parse(url, credentials.clone(), base).map_err(|error| match error {
        SpecError::Option(source) => Error::Option {
            server: server.into(),
            source,
        },
        SpecError::Url(source) => Error::Url {
            server: server.into(),
            source,
        },
        // The enum may grow; its words do for what comes.
        other => Error::Founding {
            detail: format!("{server}: {other}"),
        },
    })
}

pub(crate) fn current_folder() -> Result<PathBuf, Error> {
    std::env::current_dir().map_err(|source| {
        VaultFileError::Io {
            path: ".".into(),
            source,
        }
        .into()
    })
}

/// The URL as it stands in the vault file: a folder below the vault file's own is named relative to it, so that both can be
/// moved together; any other one absolutely.
pub(crate) fn stored_url(server: &NewServer, vault_file: &Path) -> Result<String, Error> {
    let url = StoreUrl::parse(&server.url, &current_folder()?).map_err(|source| Error::Url {
        server: server.name.clone(),
        source,
    })?;
    match url {
        StoreUrl::Directory(path) => {
            let base = folder_of(vault_file);
            let inside = path
                .strip_prefix(base)
                .ok()
                .filter(|inside| !inside.as_os_str().is_empty());
            let text = inside.unwrap_or(&path).to_str().ok_or_else(|| Error::Url {
                server: server.name.clone(),
                source: warifu_store::UrlError::BadPath {
                    why: "it is not UTF-8",
                },
            })?;
            // A colon would be taken for the end of a scheme.
            Ok(if inside.is_some() && text.contains(':') {
                format!("./{text}")
            } else {
                text.to_owned()
            })
        }
        other => Ok(other.to_string()),
    }
}

pub(crate) fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|source| {
        VaultFileError::Io {
            path: path.into(),
            source,
        }
        .into()
    })
}

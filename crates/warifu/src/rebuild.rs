//! [`Warifu::rebuild`]: a new catalogue, and a new vault file where that is lost too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use warifu_core::format::Scheme;
use warifu_core::ids::ServerId;
use warifu_store::{Credentials, attach_store};
use warifu_vault::Thresholds;
use warifu_vault::keys::{Candidate, Expected, UnlockError};
use warifu_vault::rebuild::{
    RebuildError, RebuildOptions, RebuildProgress, RebuildReport, gather, gather_by_way,
    gather_known, rebuild,
};
use warifu_vault::seam::clock::SystemClock;

use crate::catalog::NewCatalog;
use crate::context::process_context;
use crate::error::Error;
use crate::open::{
    NewServer, OpenOptions, Warifu, absolute, catalog_error, current_folder, spec, stored_url,
    unlock_error,
};
use crate::vault_file::{
    MemoryRule, Retention, SaveDurability, ServerEntry, VaultFile, VaultFileError, folder_of,
};
use crate::ways::{Keyring, key_by_way};

/// What stands in a vault file for the URL of a server that is lost.
pub(crate) const MISSING: &str = "missing:";

/// A vault that was rebuilt.
#[derive(Debug)]
pub struct Rebuilt {
    /// The vault file, as it is on disk.
    pub file: VaultFile,
    /// Whether it was written now.
    pub file_is_new: bool,
    /// Where the new catalogue is.
    pub catalog: PathBuf,
    /// What is in it, and what is not.
    pub report: RebuildReport,
}

impl Warifu {
    /// Makes the catalogue anew from the servers: from those of the vault file where there is one, or from those given, and
    /// then the vault file as well. Any k servers will do. In a new vault file, those that were not given are called
    /// missing.
    ///
    /// `keyring` is asked where the vault takes one of its ways in; `program` is what the audit log is to call the program. Nothing is overwritten; when it fails, nothing is left.
    ///
    /// # Errors
    /// [`VaultFileError::Exists`] when servers are given and there is a vault file; [`Error::CatalogExists`]; [`Error`].
    pub async fn rebuild(
        path: &Path,
        servers: Vec<NewServer>,
        keyring: &Keyring,
        program: &str,
        progress: &(dyn Fn(RebuildProgress) + Send + Sync),
    ) -> Result<Rebuilt, Error> {
        let path = absolute(path)?;
        let there = path.symlink_metadata().is_ok();
        if there && !servers.is_empty() {
            return Err(VaultFileError::Exists { path }.into());
        }
        let known = if there || servers.is_empty() {
            Some(VaultFile::read(&path)?)
        } else {
            None
        };
        let entries = match &known {
            Some(file) => there_of(file)
                .map(|server| {
                    let (name, url) = (server.name.clone(), server.url.clone());
                    (name, url, server.credentials.clone())
                })
                .collect(),
            None => entries_of(servers, &path)?,
        };
        let mut candidates = Vec::new();
        for (name, url, credentials) in &entries {
            let spec = spec(name, url, credentials, folder_of(&path))?;
            candidates.push(Candidate {
                name: name.clone(),
                store: attach_store(&spec),
            });
        }
        let expected = known.as_ref().map(|file| Expected {
            vault: file.vault,
            thresholds: file.thresholds(),
            seats: there_of(file)
                .map(|server| (server.id, server.index))
                .collect(),
        });
        let gathered = match &expected {
            Some(expected) => gather_known(&candidates, expected).await,
            None => gather(&candidates).await,
        };
        let mut gathered = match gathered {
            Err(UnlockError::Bound(bound)) => {
                let reference = known.as_ref().and_then(|file| file.passphrase.as_ref());
                let reference = reference.map(|reference| (reference, folder_of(&path)));
                let (_, key, _) =
                    key_by_way(&candidates, bound.expected(), reference, keyring).await?;
                gather_by_way(&candidates, *bound, key).map_err(unlock_error)?
            }
            other => other.map_err(unlock_error)?,
        };
        if let Some(file) = &known {
            let belongs = |seat: &warifu_vault::ServerSeat| {
                file.servers
                    .iter()
                    .any(|server| server.id == seat.id && server.index == seat.index)
            };
            if gathered.vault != file.vault
                || !file.thresholds().contains(gathered.in_force)
                || !gathered.seats.iter().all(belongs)
            {
                return Err(Error::WrongVault {
                    faults: gathered.faults,
                });
            }
        }
        if let Some(file) = &known {
            gathered.go_by(file.thresholds());
        }
        let (vault, thresholds) = (gathered.vault, gathered.thresholds);
        // Where there is no vault file yet, one that only says where the catalogue is to be.
        let placed = match &known {
            Some(file) => file.clone(),
            None => file_of(
                vault,
                thresholds,
                &RebuildReport::default(),
                &entries,
                &path,
            ),
        };
        // Under another name until it is whole.
        let new = NewCatalog::begin(&placed, &path, gathered.key.catalog_key(vault)).await?;
        let catalog_path = new.shown();
        let context = process_context(program);
        let options = RebuildOptions::default();
        let made = rebuild(
            gathered,
            new.catalog(),
            &SystemClock,
            &context,
            &options,
            progress,
        )
        .await;
        let report = match made {
            Ok(report) => report,
            Err(error) => {
                new.abandon().await;
                return Err(rebuild_error(error, &catalog_path));
            }
        };
        let file = match &known {
            Some(file) => file.clone(),
            None => {
                let file = file_of(vault, thresholds, &report, &entries, &path);
                // Before the catalogue: cut off between the two, a rebuild goes by it.
                file.write_new(&path)?;
                file
            }
        };
        new.finish().await.inspect_err(|_| {
            if known.is_none() {
                let _gone = std::fs::remove_file(&path);
            }
        })?;
        Ok(Rebuilt {
            file,
            file_is_new: known.is_none(),
            catalog: catalog_path,
            report,
        })
    }
}

impl Warifu {
    /// Decides to go on with a catalogue that was rebuilt with something missing
    /// ([`RebuildReport::undecided`]). Returns whether there was anything to decide. Whoever has the vault open must open it
    /// anew to change something.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn accept_rebuild(path: &Path, options: OpenOptions) -> Result<bool, Error> {
        let warifu = Self::open(path, options.read_only(true)).await?;
        let accepted = warifu.vault().accept_rebuild(warifu.context()).await;
        warifu.close().await;
        Ok(accepted?)
    }
}

/// The servers of a vault file that have a place.
fn there_of(file: &VaultFile) -> impl Iterator<Item = &ServerEntry> {
    file.servers.iter().filter(|server| server.url != MISSING)
}

type Entry = (String, String, Credentials);

fn entries_of(servers: Vec<NewServer>, path: &Path) -> Result<Vec<Entry>, Error> {
    let mut names = BTreeSet::new();
    let mut entries = Vec::new();
    for server in servers {
        if !names.insert(server.name.clone()) {
            return Err(Error::SameName { name: server.name });
        }
        let url = stored_url(&server, path)?;
        let credentials = server
            .credentials
            .rebased(&current_folder()?, folder_of(path));
        entries.push((server.name, url, credentials));
    }
    Ok(entries)
}

fn catalog_name(path: &Path) -> String {
    format!(
        "{}.db",
        path.file_stem().unwrap_or_default().to_string_lossy()
    )
}

/// The vault file as the servers and the journal tell it.
fn file_of(
    vault: warifu_core::ids::VaultId,
    thresholds: Thresholds,
    report: &RebuildReport,
    entries: &[Entry],
    path: &Path,
) -> VaultFile {
    let given: BTreeMap<&str, &Entry> = entries
        .iter()
        .map(|entry| (entry.0.as_str(), entry))
        .collect();
    let mut names: BTreeSet<String> = report
        .servers
        .iter()
        .filter(|server| server.given)
        .map(|server| server.name.clone())
        .collect();
    let entry_of = |name: &str| given.get(name).copied();
    let mut servers = Vec::new();
    for server in &report.servers {
        let index = server.index;
        let id: ServerId = server.id;
        if let (true, Some((name, url, credentials))) = (server.given, entry_of(&server.name)) {
            servers.push(ServerEntry {
                index,
                id,
                name: name.clone(),
                url: url.clone(),
                credentials: credentials.clone(),
            });
            continue;
        }
        let mut name = server.name.clone();
        while !names.insert(name.clone()) {
            name.push_str("-missing");
        }
        servers.push(ServerEntry {
            index,
            id,
            name,
            url: MISSING.to_owned(),
            credentials: Credentials::default(),
        });
    }
    VaultFile {
        vault,
        threshold: thresholds.now,
        becoming: thresholds.becoming,
        change: thresholds.becoming.map_or(0, |_| thresholds.change),
        // The stricter of the two: whoever had chosen the other one chooses again.
        scheme: Scheme::Shamir,
        durability: SaveDurability::Normal,
        retention: Retention::All,
        memory: MemoryRule::default(),
        syslog: None,
        passphrase: None,
        refresh: None,
        catalog: format!("sqlite:{}", catalog_name(path)),
        catalog_credentials: Credentials::default(),
        servers,
    }
}

fn rebuild_error(error: RebuildError, catalog: &Path) -> Error {
    match error {
        RebuildError::TooFewServers {
            needed,
            got,
            faults,
        } => Error::TooFewServers {
            needed,
            got,
            faults,
        },
        RebuildError::Catalog(source) => catalog_error(catalog, source),
        RebuildError::Server(fault) => Error::ServerLost { fault },
        other => Error::Founding {
            detail: other.to_string(),
        },
    }
}

//! [`Failure`]: what the program says when something could not be done. What is wrong first, then what to do next.

mod catalog;
mod names;
mod past;
mod servers;
mod threshold;
mod ways;

use std::io;
use std::path::Path;

use warifu::store::{CreateError, OpenError, StoreErrorKind, UrlError};
use warifu::{Fault, ServerFault, Unsaved, VaultError, VaultPath};

pub use self::ways::refusal;
use crate::exit::Exit;
use crate::output::{shown, shown_path, shown_text};
use crate::words::say;

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// What is wrong, in a sentence.
    pub what: String,
    /// What each server said, or which files are concerned; a line each.
    pub details: Vec<String>,
    /// What to do next, in a sentence.
    pub next: String,
}

impl Failure {
    /// A failure without details.
    pub fn new(exit: Exit, what: String, next: String) -> Self {
        Self {
            exit,
            what,
            details: Vec::new(),
            next,
        }
    }

    /// The same with details.
    pub fn with(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }

    /// The lines for people.
    pub fn render(&self) -> String {
        let mut text = format!("warifu: {}\n", self.what);
        for detail in &self.details {
            text.push_str(&format!("  {detail}\n"));
        }
        if !self.next.is_empty() {
            text.push_str(&say!("next", next = self.next.as_str()));
            text.push('\n');
        }
        text
    }

    /// Stopped by the user.
    pub fn interrupted() -> Self {
        Self::new(
            Exit::Interrupted,
            say!("interrupted"),
            say!("interrupted-next"),
        )
    }

    /// Something local could not be read or written.
    pub fn local(path: &Path, error: &io::Error) -> Self {
        let path = shown_path(path);
        let detail = shown_text(&error.to_string());
        match error.kind() {
            io::ErrorKind::NotFound => Self::new(
                Exit::NotFound,
                say!("local-not-found", path = path),
                say!("local-not-found-next"),
            ),
            io::ErrorKind::AlreadyExists => Self::new(
                Exit::Exists,
                say!("local-exists", path = path),
                say!("local-exists-next"),
            ),
            io::ErrorKind::PermissionDenied => Self::new(
                Exit::Failed,
                say!("local-denied", path = path),
                say!("local-denied-next"),
            ),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::new(
                Exit::NoRoom,
                say!("local-full", path = path),
                say!("local-full-next"),
            ),
            _ => Self::new(
                Exit::Failed,
                say!("local-failed", path = path, detail = detail),
                say!("local-failed-next"),
            ),
        }
    }

    /// Changes that could not be saved.
    pub fn lost(unsaved: &[Unsaved]) -> Self {
        let lines = unsaved.iter().map(|unsaved| {
            let why = Self::vault(&unsaved.error, &shown_text(&unsaved.path)).what;
            format!("{}: {why}", shown_text(&unsaved.path))
        });
        Self::new(
            Exit::Lost,
            say!("lost", files = unsaved.len()),
            say!("lost-next"),
        )
        .with(lines)
    }

    /// A vault operation on `subject` failed.
    pub fn vault(error: &VaultError, subject: &str) -> Self {
        match error {
            VaultError::NotFound { what } if *what == "version" => Self::new(
                Exit::NotFound,
                say!("version-not-found", subject = subject),
                say!("version-not-found-next"),
            ),
            VaultError::NotFound { .. } | VaultError::Stale => Self::new(
                Exit::NotFound,
                say!("not-found", subject = subject),
                say!("not-found-next"),
            ),
            VaultError::Exists => Self::new(
                Exit::Exists,
                say!("exists", subject = subject),
                say!("exists-next"),
            ),
            VaultError::NotEmpty => Self::new(
                Exit::Failed,
                say!("not-empty", subject = subject),
                say!("not-empty-next"),
            ),
            VaultError::NotDir => Self::new(
                Exit::Failed,
                say!("not-a-folder", subject = subject),
                say!("not-a-folder-next"),
            ),
            VaultError::IsDir => Self::new(
                Exit::Failed,
                say!("is-a-folder", subject = subject),
                say!("is-a-folder-next"),
            ),
            VaultError::Loop => Self::new(
                Exit::Failed,
                say!("into-itself", subject = subject),
                say!("into-itself-next"),
            ),
            VaultError::BadName(bad) => Self::bad_name(bad, subject),
            VaultError::ReadOnly => {
                Self::new(Exit::Failed, say!("read-only"), say!("read-only-next"))
            }
            VaultError::PastUnknown { .. }
            | VaultError::Destroyed
            | VaultError::ClockAhead { .. }
            | VaultError::HoldsChanged => past::failure(error, subject),
            VaultError::Undecided => Self::new(
                Exit::Failed,
                say!("undecided"),
                say!("undecided-next", catalog = say!("the-catalogue")),
            ),
            VaultError::OtherThreshold { file, catalog } => Self::new(
                Exit::BadInput,
                say!(
                    "other-threshold",
                    k = file.k(),
                    n = file.n(),
                    other_k = catalog.k(),
                    other_n = catalog.n()
                ),
                say!("other-threshold-next"),
            ),
            VaultError::TooLarge { size, limit } => Self::new(
                Exit::Failed,
                say!(
                    "too-large",
                    subject = subject,
                    size = crate::output::size(*size),
                    limit = crate::output::size(*limit)
                ),
                say!("too-large-next"),
            ),
            VaultError::TooFewShares {
                file,
                version,
                needed,
                got,
                faults,
            } => Self::new(
                Exit::TooFew,
                say!(
                    "too-few-shares",
                    subject = shown_text(file),
                    version = version.0,
                    needed = *needed,
                    got = *got
                ),
                say!("too-few-shares-next"),
            )
            .with(faults.iter().map(server_fault)),
            VaultError::NotStored {
                file,
                needed,
                got,
                full,
                faults,
            } => {
                let what = say!(
                    "not-stored",
                    subject = shown_text(file),
                    needed = *needed,
                    got = *got
                );
                let (exit, next) = if *full {
                    (Exit::NoRoom, say!("no-room-next"))
                } else {
                    (Exit::TooFew, say!("not-stored-next"))
                };
                Self::new(exit, what, next).with(faults.iter().map(server_fault))
            }
            VaultError::Lapsed => Self::new(
                Exit::Failed,
                say!("lapsed", subject = subject),
                say!("try-again-next"),
            ),
            VaultError::Overtaken => {
                Self::new(Exit::Failed, say!("overtaken"), say!("overtaken-next"))
            }
            VaultError::Catalog(error) => Self::catalog(error, ""),
            VaultError::NoRandomness(_) => Self::new(
                Exit::Failed,
                say!("no-randomness"),
                say!("no-randomness-next"),
            ),
            VaultError::Damaged { what } => Self::new(
                Exit::BadInput,
                say!("damaged", subject = subject, detail = shown_text(what)),
                say!("damaged-next"),
            ),
            VaultError::ShuttingDown => {
                Self::new(Exit::Failed, say!("shutting-down"), say!("try-again-next"))
            }
            // The rest is said in the vault's own words.
            other => Self::new(
                Exit::Failed,
                say!(
                    "failed",
                    subject = subject,
                    detail = shown_text(&other.to_string())
                ),
                say!("failed-next"),
            ),
        }
    }

    /// A vault could not be opened or made.
    pub fn opening(error: warifu::Error) -> Self {
        match error {
            warifu::Error::VaultFile(error) => Self::vault_file(&error),
            warifu::Error::Threshold(bad) => Self::new(
                Exit::Usage,
                say!("bad-threshold", k = bad.k, n = bad.n),
                say!("bad-threshold-next"),
            ),
            warifu::Error::Url { server, source } => Self::url(&server, &source),
            warifu::Error::Option { server, source } => Self::new(
                Exit::Usage,
                say!(
                    "server-option-bad",
                    server = shown_text(&server),
                    detail = shown_text(&source.to_string())
                ),
                say!("server-option-next"),
            ),
            warifu::Error::Create { server, source } => Self::creating(&server, &source),
            warifu::Error::Unfit { server, source } => Self::unfit(&server, &source),
            warifu::Error::SameName { name } => Self::new(
                Exit::Usage,
                say!("same-name", server = shown_text(&name)),
                say!("same-name-next"),
            ),
            warifu::Error::Taken { server } => Self::new(
                Exit::Exists,
                say!("place-taken", server = shown_text(&server)),
                say!("place-taken-next"),
            ),
            warifu::Error::SamePlace { .. }
            | warifu::Error::NewServers { .. }
            | warifu::Error::SameThreshold(_)
            | warifu::Error::FolderNeedsMore { .. }
            | warifu::Error::ThresholdUnderWay { .. } => Self::threshold(&error),
            warifu::Error::TooFewServers {
                needed,
                got,
                faults,
            } => Self::new(
                Exit::TooFew,
                say!("too-few-servers", needed = needed, got = got),
                if faults.iter().any(|fault| fault.fault == Fault::Newer) {
                    say!("verify-newer-next")
                } else {
                    say!("too-few-servers-next")
                },
            )
            .with(faults.iter().map(server_fault)),
            warifu::Error::WrongVault { faults } => Self::new(
                Exit::BadInput,
                say!("wrong-vault"),
                say!("wrong-vault-next"),
            )
            .with(faults.iter().map(server_fault)),
            warifu::Error::MixedVaults { faults } => Self::new(
                Exit::BadInput,
                say!("mixed-vaults"),
                say!("mixed-vaults-next"),
            )
            .with(faults.iter().map(server_fault)),
            warifu::Error::WayNeeded { ways } => Self::way_needed(&ways),
            warifu::Error::NewerWays { .. } => {
                Self::new(Exit::Failed, say!("ways-newer"), say!("ways-newer-next"))
            }
            warifu::Error::WayRefused { refusal, ways } => Self::way_refused(&refusal, &ways),
            warifu::Error::ReferenceRefused { refusal, ways } => {
                Self::reference_refused(&refusal, &ways)
            }
            warifu::Error::WayReference { source } => Self::way_reference(&source),
            warifu::Error::NoWaysPart { server } => Self::no_ways_part(&server),
            warifu::Error::Founding { detail } => Self::new(
                Exit::Failed,
                say!("founding-failed", detail = shown_text(&detail)),
                say!("founding-failed-next"),
            ),
            warifu::Error::ServerLost { fault } => Self::new(
                Exit::TooFew,
                say!("rebuild-server-lost"),
                say!("rebuild-server-lost-next"),
            )
            .with([server_fault(&fault)]),
            warifu::Error::CatalogMissing { path } => Self::new(
                Exit::NotFound,
                say!("catalog-missing", path = shown_path(&path)),
                say!("catalog-missing-next"),
            ),
            warifu::Error::CatalogExists { path } => Self::new(
                Exit::Exists,
                say!("catalog-exists", path = shown_path(&path)),
                say!("catalog-exists-next"),
            ),
            warifu::Error::Catalog { path, source } => Self::catalog(&source, &shown_path(&path)),
            warifu::Error::CatalogBusy { saves } => Self::new(
                Exit::Failed,
                say!("catalog-busy", saves = saves),
                say!("catalog-busy-next"),
            ),
            warifu::Error::CatalogDiffers { what } => Self::new(
                Exit::Failed,
                say!("catalog-differs", detail = shown_text(&what)),
                say!("catalog-differs-next"),
            ),
            warifu::Error::CatalogUrl { source } => Self::new(
                Exit::Usage,
                say!("catalog-url", detail = shown_text(&source.to_string())),
                say!("catalog-url-next"),
            ),
            warifu::Error::CatalogPassword { source } => Self::new(
                Exit::BadInput,
                say!("catalog-password", detail = shown_text(&source.to_string())),
                say!("catalog-option-next"),
            ),
            warifu::Error::Vault(error) => Self::vault(&error, &say!("the-vault")),
            warifu::Error::Path(bad) => Self::bad_name(&bad, &say!("the-path")),
            warifu::Error::Stream(error) => Self::new(
                Exit::Failed,
                say!("stream-failed", detail = shown_text(&error.to_string())),
                say!("local-failed-next"),
            ),
            other => Self::new(
                Exit::Failed,
                shown_text(&other.to_string()),
                say!("failed-next"),
            ),
        }
    }

    fn url(server: &str, error: &UrlError) -> Self {
        let server = shown_text(server);
        match error {
            UrlError::NotBuiltIn { scheme } => Self::new(
                Exit::Usage,
                say!(
                    "url-not-built-in",
                    server = server,
                    scheme = shown_text(scheme)
                ),
                say!("url-next"),
            ),
            other => Self::new(
                Exit::Usage,
                say!(
                    "url-bad",
                    server = server,
                    detail = shown_text(&other.to_string())
                ),
                say!("url-next"),
            ),
        }
    }

    fn creating(server: &str, error: &CreateError) -> Self {
        let server = shown_text(server);
        if let CreateError::Open(error) = error
            && let Some(failure) = Self::reaching(&server, error)
        {
            return failure;
        }
        match error {
            CreateError::NotEmpty { path, found, more } => {
                let others = if *more == 0 {
                    String::new()
                } else {
                    format!(" … (+{more})")
                };
                let found: Vec<String> = found.iter().map(|name| shown_text(name)).collect();
                Self::new(
                    Exit::Exists,
                    say!(
                        "store-not-empty",
                        server = server,
                        path = shown_path(path),
                        found = format!("{}{others}", found.join(", "))
                    ),
                    say!("store-not-empty-next"),
                )
            }
            CreateError::InUse { path } => Self::new(
                Exit::Exists,
                say!("store-in-use", server = server, path = shown_path(path)),
                say!("store-not-empty-next"),
            ),
            CreateError::Inside { path, store } => Self::new(
                Exit::Usage,
                say!(
                    "store-inside",
                    server = server,
                    path = shown_path(path),
                    store = shown_path(store)
                ),
                say!("store-inside-next"),
            ),
            CreateError::NoParent { path, parent } => Self::new(
                Exit::NotFound,
                say!(
                    "store-no-parent",
                    server = server,
                    path = shown_path(path),
                    parent = shown_path(parent)
                ),
                say!("store-no-parent-next"),
            ),
            CreateError::Write { source, .. } if source.kind == StoreErrorKind::Full => Self::new(
                Exit::NoRoom,
                say!(
                    "store-failed",
                    server = server,
                    detail = shown_text(&error.to_string())
                ),
                say!("no-room-next"),
            ),
            CreateError::Open(OpenError::Url(error)) => Self::url(&server, error),
            other => Self::new(
                Exit::Failed,
                say!(
                    "store-failed",
                    server = server,
                    detail = shown_text(&other.to_string())
                ),
                say!("store-failed-next"),
            ),
        }
    }
}

/// A fault of a server, in a word.
pub fn fault(fault: Fault) -> String {
    match fault {
        Fault::Missing => say!("fault-missing"),
        Fault::Corrupt => say!("fault-corrupt"),
        Fault::Stale => say!("fault-stale"),
        Fault::Foreign => say!("fault-foreign"),
        Fault::Newer => say!("fault-newer"),
        Fault::NoAnswer => say!("fault-no-answer"),
        Fault::Full => say!("fault-full"),
        Fault::Denied => say!("fault-denied"),
        Fault::Failed => say!("fault-failed"),
    }
}

/// A line about a server.
pub fn server_fault(found: &ServerFault) -> String {
    let (server, word) = (shown_text(&found.server), fault(found.fault));
    if found.detail.is_empty() {
        format!("{server}: {word}")
    } else {
        format!("{server}: {word} ({})", shown_text(&found.detail))
    }
}

/// Turns errors of the library into failures that name what they are about.
pub trait About<T> {
    /// The error, said of this path.
    fn about(self, path: &VaultPath) -> Result<T, Failure>;
}

impl<T> About<T> for Result<T, VaultError> {
    fn about(self, path: &VaultPath) -> Result<T, Failure> {
        self.map_err(|error| Failure::vault(&error, &shown(&path.to_bytes())))
    }
}

impl<T> About<T> for Result<T, warifu::Error> {
    fn about(self, path: &VaultPath) -> Result<T, Failure> {
        self.map_err(|error| match error {
            warifu::Error::Vault(error) => Failure::vault(&error, &shown(&path.to_bytes())),
            other => Failure::opening(other),
        })
    }
}

/// Turns errors of the local system into failures that name the file.
pub trait At<T> {
    /// The error, said of this file.
    fn at(self, path: &Path) -> Result<T, Failure>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, Failure> {
        self.map_err(|error| Failure::local(path, &error))
    }
}

impl From<io::Error> for Failure {
    /// Of standard output and the like.
    fn from(error: io::Error) -> Self {
        Self::new(
            Exit::Failed,
            say!("stream-failed", detail = shown_text(&error.to_string())),
            say!("local-failed-next"),
        )
    }
}

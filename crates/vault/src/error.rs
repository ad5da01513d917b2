//! What can go wrong, with the facts in fields. Words for people and the next step are the program's business; the
//! number for the kernel is the drive's.

use std::fmt;

use warifu_core::ids::{Threshold, VersionNo};
use warifu_core::random::NoRandomness;

use crate::node::BadName;
use crate::seam::catalog::CatalogError;
use crate::seam::past::DESTROYED;
use crate::seam::store::{StoreError, StoreErrorKind};

/// The result of a vault operation.
pub type Result<T> = std::result::Result<T, VaultError>;

/// What is wrong with one server or one share on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The server answered that it does not have the share.
    Missing,
    /// The share is there and damaged.
    Corrupt,
    /// The share is there and of an older dealing.
    Stale,
    /// What is there belongs to another vault, server or extent.
    Foreign,
    /// What is there was made by a newer warifu than this one, which can neither use it nor judge it: it is left alone.
    Newer,
    /// The server did not answer: nothing is known.
    NoAnswer,
    /// The server has no room left.
    Full,
    /// The server refused.
    Denied,
    /// The server answered with an error of its own.
    Failed,
}

impl Fault {
    /// Whether it says something about the share, and not only about the server at the moment.
    #[must_use]
    pub const fn is_definite(self) -> bool {
        matches!(
            self,
            Self::Missing | Self::Corrupt | Self::Stale | Self::Foreign
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Corrupt => "corrupt",
            Self::Stale => "stale",
            Self::Foreign => "foreign",
            Self::Newer => "made by a newer warifu",
            Self::NoAnswer => "no answer",
            Self::Full => "full",
            Self::Denied => "denied",
            Self::Failed => "failed",
        })
    }
}

impl From<StoreErrorKind> for Fault {
    fn from(kind: StoreErrorKind) -> Self {
        match kind {
            StoreErrorKind::NotFound => Self::Missing,
            StoreErrorKind::OutOfRange => Self::Corrupt,
            StoreErrorKind::Full => Self::Full,
            StoreErrorKind::Denied => Self::Denied,
            StoreErrorKind::NoAnswer => Self::NoAnswer,
            StoreErrorKind::AlreadyExists | StoreErrorKind::Failed => Self::Failed,
        }
    }
}

/// What one server had to say against an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFault {
    /// The server's name in the vault file.
    pub server: String,
    /// What is wrong.
    pub fault: Fault,
    /// What the server said, or what was found.
    pub detail: String,
}

impl ServerFault {
    pub(crate) fn of_store(server: &str, error: &StoreError) -> Self {
        Self {
            server: server.to_owned(),
            fault: error.kind.into(),
            detail: error.detail.clone(),
        }
    }
}

impl fmt::Display for ServerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.server, self.fault, self.detail)
    }
}

struct Faults<'a>(&'a [ServerFault]);

impl fmt::Display for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, fault) in self.0.iter().enumerate() {
            let separator = if position == 0 { ": " } else { "; " };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

/// Why a vault operation was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// There is no such file, folder, version or save.
    #[error("there is no such {what}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// The name is taken.
    #[error("the name is taken")]
    Exists,
    /// A lock on the file ended with this machine's lease, because it did not show itself for too long, and others have locked or changed
    /// the file since. It ends when the file is closed or unlocked.
    #[error("a lock on the file was lost, because this machine did not show itself for too long")]
    LockLost,
    /// The folder is not empty.
    #[error("the folder is not empty")]
    NotEmpty,
    /// What should be a folder is none.
    #[error("not a folder")]
    NotDir,
    /// What should be no folder is one.
    #[error("a folder")]
    IsDir,
    /// A folder cannot be moved into itself.
    #[error("a folder cannot be moved into itself")]
    Loop,
    /// The file has as many names as it can have.
    #[error("the file has too many names")]
    TooManyLinks,
    /// There is no such extended attribute.
    #[error("there is no such extended attribute")]
    NoXattr,
    /// A name that no file can have.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// The operation makes no sense for this node or these arguments.
    #[error("{what}")]
    Invalid {
        /// What makes no sense.
        what: &'static str,
    },
    /// The vault was opened for reading only.
    #[error("the vault was opened for reading only")]
    ReadOnly,
    /// What was at that time was not kept: names that ended before this moment left nothing.
    #[error("what was before second {} since 1970 was not kept", .since.secs)]
    PastUnknown {
        /// From when on it was.
        since: crate::seam::clock::Timestamp,
    },
    /// What was to be read was destroyed, as the rules of retention or a person had it.
    #[error("this version was destroyed")]
    Destroyed,
    /// This machine's clock is further ahead of all that is known of the time than can be believed where things are destroyed by their age.
    #[error("this machine's clock is at {}, and the newest time that is known is {}, in seconds since 1970", .now.secs, .known.secs)]
    ClockAhead {
        /// What the clock says.
        now: crate::seam::clock::Timestamp,
        /// The newest time that can be believed.
        known: crate::seam::clock::Timestamp,
    },
    /// A hold was set or cleared since the plan was made.
    #[error("a hold was set or cleared since the plan was made")]
    HoldsChanged,
    /// The catalogue was rebuilt, something of the journal is not in it, and nobody has decided yet to go on without.
    #[error(
        "the catalogue was rebuilt with something missing, and nobody has decided to go on without"
    )]
    Undecided,
    /// The vault file and the catalogue say different thresholds: one of them is from before a change of it.
    #[error("the vault file says {} of {}, and the catalogue {} of {}", .file.k(), .file.n(), .catalog.k(), .catalog.n())]
    OtherThreshold {
        /// What the vault file says.
        file: Threshold,
        /// What the catalogue says.
        catalog: Threshold,
    },
    /// The file was not opened for this.
    #[error("the file was not opened for this")]
    NotOpenForThis,
    /// Larger than a file can be.
    #[error("{size} bytes is more than a file can hold ({limit} bytes)")]
    TooLarge {
        /// The size asked for.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The node was removed and forgotten.
    #[error("the file is gone")]
    Stale,
    /// Fewer than k good shares can be had at the moment.
    #[error("{file}, version {version}: {needed} good shares are needed and {got} could be had{}", Faults(.faults))]
    TooFewShares {
        /// The file's path.
        file: String,
        /// Which version.
        version: VersionNo,
        /// How many shares are needed.
        needed: u8,
        /// How many good ones there were.
        got: u8,
        /// What each of the other servers said.
        faults: Vec<ServerFault>,
    },
    /// Too few servers took the shares; the old version is untouched and the handle keeps its changes.
    #[error("{file} could not be saved: {needed} servers must take their share and {got} did{}", Faults(.faults))]
    NotStored {
        /// The file's path.
        file: String,
        /// How many servers must take a share.
        needed: u8,
        /// How many did.
        got: u8,
        /// Whether room is what was missing.
        full: bool,
        /// What each of the other servers said.
        faults: Vec<ServerFault>,
    },
    /// The save took longer than its lease, and what it had stored was swept; it can be tried again.
    #[error("the save took longer than its lease")]
    Lapsed,
    /// Somebody else makes the shares of the whole vault anew at the same time, or changes what a vault file says of them; nothing is lost by it.
    #[error("somebody else makes all shares anew at the same time")]
    Overtaken,
    /// The catalogue refused or failed.
    #[error(transparent)]
    Catalog(CatalogError),
    /// The operating system has no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// Something that was stored is not what it must be, although every share is authentic.
    #[error("damaged: {what}")]
    Damaged {
        /// What does not fit.
        what: String,
    },
    /// The vault is being closed.
    #[error("the vault is being closed")]
    ShuttingDown,
}

impl From<CatalogError> for VaultError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::NotFound { what: DESTROYED } => Self::Destroyed,
            CatalogError::NotFound { what } => Self::NotFound { what },
            CatalogError::Exists => Self::Exists,
            CatalogError::NotEmpty => Self::NotEmpty,
            CatalogError::NotDir => Self::NotDir,
            CatalogError::IsDir => Self::IsDir,
            CatalogError::Loop => Self::Loop,
            CatalogError::TooManyLinks => Self::TooManyLinks,
            CatalogError::NoXattr => Self::NoXattr,
            CatalogError::Lapsed => Self::Lapsed,
            other => Self::Catalog(other),
        }
    }
}

/// An error's facts without names of files: what may be logged.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a>(&'a VaultError);

impl fmt::Display for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = match self.0 {
            VaultError::TooFewShares {
                needed,
                got,
                faults,
                version,
                ..
            } => {
                write!(
                    f,
                    "version {version} cannot be read now: {needed} good shares are needed and {got} could be had"
                )?;
                faults
            }
            VaultError::NotStored {
                needed,
                got,
                faults,
                ..
            } => {
                write!(
                    f,
                    "not saved: {needed} servers must take their share and {got} did"
                )?;
                faults
            }
            // What is damaged may be told by its path.
            VaultError::Damaged { .. } => {
                return f.write_str("what was stored does not fit together");
            }
            other => return other.fmt(f),
        };
        faults
            .iter()
            .try_for_each(|fault| write!(f, "; {}: {}", fault.server, fault.fault))
    }
}

impl VaultError {
    /// What may be logged of it: which servers, and how many shares; never which file.
    #[must_use]
    pub const fn facts(&self) -> Facts<'_> {
        Facts(self)
    }

    /// What can be told where the error itself is kept for somebody else: the facts without names and servers.
    pub(crate) fn without_names(&self) -> Self {
        match self {
            Self::NotStored {
                needed, got, full, ..
            } => Self::NotStored {
                file: String::new(),
                needed: *needed,
                got: *got,
                full: *full,
                faults: Vec::new(),
            },
            Self::TooFewShares {
                version,
                needed,
                got,
                ..
            } => Self::TooFewShares {
                file: String::new(),
                version: *version,
                needed: *needed,
                got: *got,
                faults: Vec::new(),
            },
            Self::Lapsed => Self::Lapsed,
            Self::Overtaken => Self::Overtaken,
            other => Self::Damaged {
                what: other.to_string(),
            },
        }
    }
}

/// The error for work that a panicking or cancelled task left undone.
pub(crate) fn task_lost(_: tokio::task::JoinError) -> VaultError {
    VaultError::Damaged {
        what: "a task ended without an answer".to_owned(),
    }
}

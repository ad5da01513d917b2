//! Why a store cannot be opened or made.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::credentials::{BadOption, CredentialError};
use crate::spec::SpecError;
use crate::url::UrlError;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL is not one.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// An option of the server is wrong.
    #[error(transparent)]
    Option(#[from] BadOption),
    /// A password or a key is not at hand.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The server did not answer: unknown to the network, switched off, or silent.
    #[error("no answer from {server}: {detail}")]
    Unreachable {
        /// The server.
        server: String,
        /// What happened.
        detail: String,
    },
    /// Nobody has said yet that this is the server's key.
    #[error(
        "the host key of {server} is not known: {} {}. Compare it with what the server's owner says, then {}",
        shown.algorithm,
        shown.fingerprint,
        shown.trust_advice()
    )]
    UnknownHostKey {
        /// The server.
        server: String,
        /// The key it shows.
        shown: Box<ShownKey>,
    },
    /// The server shows another key than the one that is known for it.
    #[error(
        "the host key of {server} has changed: it is {fingerprint}, and {expected} was expected. Somebody may stand between; \
         use this server only when its owner confirms the new key"
    )]
    HostKeyChanged {
        /// The server.
        server: String,
        /// The fingerprint of the key shown.
        fingerprint: String,
        /// What was expected, and where that is said.
        expected: String,
    },
    /// The server shows a key that was declared stolen or lost.
    #[error("the host key of {server} was revoked: {fingerprint} ({place})")]
    HostKeyRevoked {
        /// The server.
        server: String,
        /// The key's fingerprint.
        fingerprint: String,
        /// Where that is said.
        place: String,
    },
    /// The server's certificate is not one to trust.
    #[error("the certificate of {server} is not trusted: {detail}")]
    Certificate {
        /// The server.
        server: String,
        /// Why not.
        detail: String,
    },
    /// The server does not let us in.
    #[error("{server} does not let {user} in ({detail})")]
    Login {
        /// The server.
        server: String,
        /// Who asked.
        user: String,
        /// What was tried.
        detail: String,
    },
    /// The server answered, and not as one of its kind should.
    #[error("{server}: {detail}")]
    Protocol {
        /// The server.
        server: String,
        /// What was wrong.
        detail: String,
    },
    /// There is nothing at the path.
    #[error("there is no folder {}", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// There is something else at the path.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// The folder has no marker file. An empty one is most often a mount point with nothing mounted.
    #[error(
        "the folder {} is not a warifu store: {}",
        path.display(),
        if *empty { "it is empty (not mounted?)" } else { "it has no file warifu-store" }
    )]
    NotAStore {
        /// The path.
        path: PathBuf,
        /// Whether the folder is empty.
        empty: bool,
    },
    /// The marker file holds something else.
    #[error("the folder {} is not a warifu store: its file warifu-store is damaged", path.display())]
    DamagedMarker {
        /// The path.
        path: PathBuf,
    },
    /// A newer warifu made the store.
    #[error("the store in {} was made by a newer warifu (format {version})", path.display())]
    Newer {
        /// The path.
        path: PathBuf,
        /// The store's format.
        version: u32,
    },
    /// The folder's server did not answer in time.
    #[error("no answer from {} within {seconds} s", path.display())]
    NoAnswer {
        /// The path.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The operating system refused.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path, doing: &'static str, errno: Errno) -> Self {
        Self::Io {
            path: path.into(),
            doing,
            source: errno.into(),
        }
    }
}

impl From<SpecError> for OpenError {
    fn from(error: SpecError) -> Self {
        match error {
            SpecError::Url(error) => Self::Url(error),
            SpecError::Option(error) => Self::Option(error),
        }
    }
}

/// A host key that a server shows and that nobody has vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownKey {
    /// The kind of key.
    pub algorithm: String,
    /// The key's fingerprint, `SHA256:…`.
    pub fingerprint: String,
    /// The line for a file of known hosts.
    pub line: String,
    /// The file of known hosts that was asked; `None` for the user's own.
    pub known_hosts: Option<PathBuf>,
}

impl ShownKey {
    /// How a key that was found to be right is made known.
    fn trust_advice(&self) -> String {
        let file = self.known_hosts.as_ref().map_or_else(
            || "~/.ssh/known_hosts".to_owned(),
            |path| path.display().to_string(),
        );
        format!(
            "write host_key = \"{}\" among the server's options, or add this line to {file}: {}",
            self.fingerprint, self.line
        )
    }
}

/// Why a store cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The folder cannot be used at all.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The folder that the new one should be made in is not there.
    #[error("there is no folder {}, in which the store {} should be made", parent.display(), path.display())]
    NoParent {
        /// The path asked for.
        path: PathBuf,
        /// The folder that is missing.
        parent: PathBuf,
    },
    /// The folder holds files of something else.
    #[error(
        "the folder {} is not empty: it holds {}{}",
        path.display(),
        found.join(", "),
        if *more == 0 { String::new() } else { format!(" and {more} more") }
    )]
    NotEmpty {
        /// The path.
        path: PathBuf,
        /// The first few names in it.
        found: Vec<String>,
        /// How many more there are.
        more: usize,
    },
    /// The folder is a store that holds objects already.
    #[error("the folder {} is a store that is in use already", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The folder lies inside another store, so that the two would be lost together.
    #[error("the folder {} lies inside the store {}", path.display(), store.display())]
    Inside {
        /// The path.
        path: PathBuf,
        /// The store around it.
        store: PathBuf,
    },
    /// The folder was there, and writing to it failed.
    #[error("cannot make a store in {}: {source}", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// What went wrong; its kind says whether there was no room, no permission or no answer.
        source: warifu_vault::seam::store::StoreError,
    },
}

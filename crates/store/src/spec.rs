//! [`StoreSpec`]: all that it takes to reach a server, and the ways in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use warifu_vault::seam::store::ShareStore;

use crate::credentials::{BadOption, Credentials};
use crate::directory::{DirectoryStore, Identity, Options};
use crate::error::{CreateError, OpenError};
use crate::remote;
use crate::sftp::{self, SftpOptions, SftpStore};
use crate::url::{StoreUrl, UrlError};

/// A server as a vault file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSpec {
    url: StoreUrl,
    credentials: Credentials,
    base: PathBuf,
}

/// Why a server is not described as it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The URL cannot be read.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// An option is wrong, or not for this kind of server.
    #[error(transparent)]
    Option(#[from] BadOption),
}

impl StoreSpec {
    /// Reads a server's URL and checks its options; relative paths in either are taken from the folder `base`.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn parse(url: &str, credentials: Credentials, base: &Path) -> Result<Self, SpecError> {
        let url = StoreUrl::parse(url, base)?;
        credentials.fit(&url)?;
        Ok(Self {
            url,
            credentials,
            base: base.into(),
        })
    }

    /// Where the server is.
    #[must_use]
    pub fn url(&self) -> &StoreUrl {
        &self.url
    }

    /// Where its passwords and keys are.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The folder from which relative paths among the [`credentials`](Self::credentials) are taken.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }
}

/// A server without options.
impl From<StoreUrl> for StoreSpec {
    fn from(url: StoreUrl) -> Self {
        Self {
            url,
            credentials: Credentials::default(),
            base: PathBuf::from("/"),
        }
    }
}

/// Which store a server's description leads to. Two that are equal lead to one store; two different ones may still do so, by ways that
/// cannot be compared (a folder of this machine, and the same over SSH): there the store's mark tells, when it is taken into use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreIdentity {
    /// A folder of this machine, or mounted here.
    Directory(Identity),
    /// A place on a server on the network.
    Remote {
        /// The machine, as its URL names it: `HOST:PORT`, or the bucket's server. Places with one machine are lost together.
        machine: String,
        /// The place on it: the random mark of the store where there is one, else its path.
        place: String,
    },
}

/// Opens a server's store, and checks at once that it is one.
///
/// # Errors
/// When the server cannot be reached, or the store is not there or is none; see [`OpenError`].
pub async fn open_store(spec: &StoreSpec) -> Result<Arc<dyn ShareStore>, OpenError> {
    match &spec.url {
        StoreUrl::Directory(path) => Ok(Arc::new(
            DirectoryStore::open(path.clone(), Options::default()).await?,
        )),
        StoreUrl::Sftp(_) => Ok(Arc::new(
            SftpStore::open(spec, SftpOptions::default()).await?,
        )),
        StoreUrl::Webdav(_) | StoreUrl::S3(_) => remote::open(spec).await,
    }
}

/// Takes a server for granted: the store answers [`NoAnswer`](warifu_vault::seam::store::StoreErrorKind::NoAnswer), and why, for as
/// long as it cannot be reached. A vault that is opened while a server is away uses this. Nothing is asked of the server, and no password
/// is read, before the first request.
#[must_use]
pub fn attach_store(spec: &StoreSpec) -> Arc<dyn ShareStore> {
    match &spec.url {
        StoreUrl::Directory(path) => {
            Arc::new(DirectoryStore::attach(path.clone(), Options::default()))
        }
        StoreUrl::Sftp(url) => Arc::new(SftpStore::attach(url, spec, SftpOptions::default())),
        StoreUrl::Webdav(_) | StoreUrl::S3(_) => remote::attach(spec),
    }
}

/// Makes a new, empty store.
///
/// # Errors
/// When the server cannot be reached or there is something else already; see [`CreateError`].
pub async fn create_store(spec: &StoreSpec) -> Result<Arc<dyn ShareStore>, CreateError> {
    match &spec.url {
        StoreUrl::Directory(path) => Ok(Arc::new(
            DirectoryStore::create(path.clone(), Options::default()).await?,
        )),
        StoreUrl::Sftp(_) => Ok(Arc::new(
            SftpStore::create(spec, SftpOptions::default()).await?,
        )),
        StoreUrl::Webdav(_) | StoreUrl::S3(_) => remote::create(spec).await,
    }
}

/// Which store a server's description leads to. Two servers with one identity are one server.
///
/// # Errors
/// When it cannot be reached, or there is nothing.
pub async fn identity(spec: &StoreSpec) -> Result<StoreIdentity, OpenError> {
    match &spec.url {
        StoreUrl::Directory(path) => DirectoryStore::identity_of(path.clone(), Options::default())
            .await
            .map(StoreIdentity::Directory),
        StoreUrl::Sftp(url) => sftp::identity(url, spec).await,
        StoreUrl::Webdav(_) | StoreUrl::S3(_) => remote::identity(spec).await,
    }
}

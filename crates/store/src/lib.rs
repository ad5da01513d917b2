//! File servers that keep shares: the one room of warifu that knows a server's protocol.
//!
//! Every server is a [`ShareStore`](warifu_vault::seam::store::ShareStore): a directory ([`DirectoryStore`]) on a local disk or on any
//! NFS, SMB or sshfs mount, or a server on the network. [`StoreUrl`] says how they are named and [`Credentials`] how warifu gets in.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use std::path::Path;
//! use warifu_store::{StoreSpec, StoreUrl, create_store, open_store};
//!
//! let base = std::env::temp_dir().join(format!("warifu-store-doc-{}", std::process::id()));
//! # let _ = std::fs::remove_dir_all(&base);
//! std::fs::create_dir(&base)?;
//! let url = StoreUrl::parse("server-1", &base)?; // a path, taken relative to the vault file's folder
//! let spec = StoreSpec::from(url);
//! create_store(&spec).await?; // once, by `init`
//! let store = open_store(&spec).await?; // ever after
//! assert!(store.list(None, 10).await?.objects.is_empty());
//! # std::fs::remove_dir_all(&base)?;
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing
    )
)]

mod credentials;
mod directory;
mod error;
mod layout;
mod probe;
mod remote;
mod sftp;
mod shown;
mod spec;
mod url;

pub use credentials::{BadOption, CredentialError, CredentialRef, Credentials, KeySource};
pub use directory::{DirectoryStore, Identity, MAX_OBJECT, Options};
pub use error::{CreateError, OpenError, ShownKey};
pub use probe::{ProbeError, Promises, StoreProfile, Unfit, is_trial, probe, probe_store};
pub use remote::{Powers, RemoteOptions, RemoteStore};
pub use sftp::{SftpOptions, SftpStore};
pub use spec::{
    SpecError, StoreIdentity, StoreSpec, attach_store, create_store, identity, open_store,
};
pub use url::{S3Url, SCHEMES, SftpUrl, StoreUrl, UrlError, WebdavUrl};

//! File servers that keep shares: the one room of warifu that knows a server's protocol.
//!
//! Every server is a [`ShareStore`](warifu_vault::seam::store::ShareStore). This version speaks one protocol, a
//! directory ([`DirectoryStore`]): on a local disk, or on any NFS, SMB or sshfs mount.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use std::path::Path;
//! use warifu_store::{StoreUrl, create_store, open_store};
//!
//! let base = std::env::temp_dir().join(format!("warifu-store-doc-{}", std::process::id()));
//! # let _ = std::fs::remove_dir_all(&base);
//! std::fs::create_dir(&base)?;
//! let url = StoreUrl::parse("server-1", &base)?; // a path, taken relative to the vault file's folder
//! create_store(&url).await?; // once, by `init`
//! let store = open_store(&url).await?; // ever after
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

mod directory;
mod url;

pub use directory::{CreateError, DirectoryStore, Identity, MAX_OBJECT, OpenError, Options};
pub use url::{SCHEMES, StoreUrl, UrlError, attach_store, create_store, identity, open_store};

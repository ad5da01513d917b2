//! Names, versions and placements in SQL.
//!
//! [`SqliteCatalog`] is a [`Catalog`](warifu_vault::seam::catalog::Catalog) in one SQLite file. This crate is the only one
//! that knows SQL, and it knows nothing of servers, shares or the drive.
//!
//! ```
//! use warifu_catalog::SqliteCatalog;
//! use warifu_core::{ids::VaultId, keys::VaultKey};
//! use warifu_vault::{node::NodeId, seam::catalog::Catalog};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("office.db");
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! let (vault_key, vault) = (VaultKey::generate()?, VaultId::fresh()?);
//! drop(SqliteCatalog::create(&path, vault_key.catalog_key(vault))?);
//!
//! let catalog = SqliteCatalog::open(&path, vault_key.catalog_key(vault))?;
//! runtime.block_on(async {
//!     assert!(catalog.list(NodeId::ROOT, None, 100).await?.is_empty());
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })?;
//!
//! // Under another vault's key it does not open.
//! assert!(SqliteCatalog::open(&path, VaultKey::generate()?.catalog_key(vault)).is_err());
//! # Ok(())
//! # }
//! ```
//!
//! - **Writes** go through one thread. It takes all that wait, runs them in one transaction, each in a savepoint of its
//!   own, and commits once: many writers share one wait for the disk.
//! - **Reads** run where they are asked, on a small pool of connections. They take microseconds and never wait for writes.
//! - **What is sealed** with the vault's [`CatalogKey`](warifu_core::keys::CatalogKey): names, link targets, extended
//!   attributes, authors, the audit log. Each sealed field is bound to its row. An entry is found by a keyed hash of its
//!   name. Sizes, times, modes and the shape of the tree lie open.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod audit;
mod catalog;
mod codec;
mod error;
mod files;
mod forget;
mod generations;
mod journal;
mod layout;
mod moving;
mod names;
mod notices;
mod past;
mod postgres;
mod read;
mod readers;
mod rename;
mod restore;
mod rows;
mod saves;
mod schema;
mod sessions;
mod succession;
mod versions;
mod writer;
mod xattrs;

pub use audit::chain_after;
pub use catalog::SqliteCatalog;
pub use moving::MoveId;
pub use postgres::{
    DEFAULT_SCHEMA, Encryption, PostgresCatalog, PostgresLogin, PostgresPart, PostgresUrl,
    PostgresUrlError,
};

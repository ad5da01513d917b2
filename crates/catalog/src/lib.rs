//! Names, versions and placements in SQL.
//!
//! [`SqliteCatalog`] is a [`Catalog`](warifu_vault::seam::catalog::Catalog) in one SQLite file. This crate is the only one
//! that knows SQL, and it knows nothing of servers, shares or the drive.
//!
//! - **Writes** go through one thread. It takes all that wait, runs them in one transaction, each in a savepoint of its
//!   own, and commits once: many writers share one wait for the disk.
//! - **Reads** run where they are asked, on a small pool of connections. They take microseconds and never wait for writes.
//! - **What is sealed** with the vault's [`CatalogKey`](warifu_core::keys::CatalogKey): names, link targets, extended
//!   attributes, authors, the audit log. Each sealed field is bound to its row. An entry is found by a keyed hash of its
//!   name. Sizes, times, modes and the shape of the tree lie open.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod audit;
mod catalog;
mod codec;
mod error;
mod files;
mod layout;
mod names;
mod read;
mod readers;
mod rename;
mod rows;
mod saves;
mod schema;
mod versions;
mod writer;
mod xattrs;

pub use audit::chain_after;
pub use catalog::SqliteCatalog;

//! What warifu does: open, read, save, rename, recover, verify.
//!
//! The vault knows neither SQL nor a server's protocol nor FUSE: those lie behind the [`seam`]s. Here two of three
//! servers in memory give a file back:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use std::sync::Arc;
//! use warifu_core::ids::Threshold;
//! use warifu_testkit::{catalogs::MemoryCatalog, stores::MemoryStore};
//! use warifu_vault::keys::{Candidate, found};
//! use warifu_vault::node::{Name, NodeId};
//! use warifu_vault::seam::clock::SystemClock;
//! use warifu_vault::{Access, Context, Options, ServerSeat, Vault, VaultConfig};
//!
//! let stores = [(); 3].map(|()| Arc::new(MemoryStore::new()));
//! let candidates: Vec<_> = (1..=3)
//!     .zip(&stores)
//!     .map(|(n, store)| Candidate { name: format!("server-{n}"), store: store.clone() })
//!     .collect();
//! let threshold = Threshold::new(2, 3)?;
//! let founded = found(&candidates, threshold).await?;
//! let servers = threshold.indices().zip(founded.servers).zip(candidates);
//! let config = VaultConfig {
//!     vault: founded.vault,
//!     thresholds: threshold.into(),
//!     generation: founded.generation,
//!     servers: servers
//!         .map(|((index, id), Candidate { name, store })| ServerSeat { id, index, name, store })
//!         .collect(),
//!     options: Options::default(),
//! };
//! let (catalog, clock) = (Arc::new(MemoryCatalog::new()), Arc::new(SystemClock));
//! let vault = Vault::start(config, founded.key, catalog, clock).await?;
//!
//! let me = Context {
//!     actor: "hanako".into(),
//!     uid: 1000,
//!     gid: 1000,
//!     host: "desk-7".into(),
//!     program: "example".into(),
//!     purpose: String::new(),
//! };
//! let name = Name::new("予算書.txt".as_bytes())?;
//! let (_, file) = vault.create_file(&me, NodeId::ROOT, &name, 0o600, Access::READ_WRITE).await?;
//! file.write(&me, 0, b"in RAM only").await?;
//! file.release(&me).await?; // saved, as on close
//!
//! stores[1].wipe();
//! let node = vault.lookup(&me, NodeId::ROOT, &name).await?.node;
//! let file = vault.open(&me, node, Access::READ).await?;
//! assert_eq!(file.read(0, 100).await?.expose(), b"in RAM only");
//! file.release(&me).await?;
//! assert!(vault.shutdown(&me).await.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod context;
pub mod error;
pub mod file;
pub mod keys;
pub mod node;
pub mod past;
pub mod rebuild;
pub mod refresh;
pub mod repair;
pub mod retain;
pub mod seam;
pub mod session;
pub mod space;
pub mod status;
pub mod vault;
pub mod verify;
pub mod ways;

mod bounds;
mod dealing;
mod folders;
mod joining;
mod journal;
mod names;
mod servers;
mod succession;

pub use context::Context;
pub use error::{Result, VaultError};
pub use file::handle::{Access, FileHandle};
pub use file::plain::Contents;
pub use folders::FolderThreshold;
pub use servers::{ServerSeat, Thresholds};
pub use vault::{Options, Unsaved, Vault, VaultConfig};
pub use warifu_core::secret::SecretBytes;

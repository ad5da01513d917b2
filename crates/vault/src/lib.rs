//! What warifu does: open, save, rename, verify, recover.
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
pub mod seam;
pub mod status;
pub mod vault;
pub mod verify;

mod dealing;
mod joining;
mod names;
mod servers;

pub use context::Context;
pub use error::{Result, VaultError};
pub use file::handle::{Access, FileHandle};
pub use servers::ServerSeat;
pub use vault::{Options, Unsaved, Vault, VaultConfig};
pub use warifu_core::secret::SecretBytes;

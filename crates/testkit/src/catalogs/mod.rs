//! Catalogues for tests: the in-memory twin, one that crashes when told, and the contract that all of them keep.

pub mod contract;
mod crashing;
mod crashing_sessions;
mod memory;
pub mod model;
mod past;
mod sessions;
mod state;

pub use crashing::{CatalogFault, CrashingCatalog};
pub use memory::MemoryCatalog;
pub use state::chain_after;

//! Share stores for tests.

pub mod contract;
mod faulty;
mod memory;

pub use faulty::{Faults, FaultyStore, Latency, Lie, Mark, Rates, State, Trouble};
pub use memory::{Fate, MemoryStore, Snapshot};

use warifu_vault::seam::store::ObjectKey;

/// The methods of a share store, to count them and to let them fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// `put_new`.
    Put,
    /// `get`.
    Get,
    /// `stat`.
    Stat,
    /// `list`.
    List,
    /// `delete`.
    Delete,
    /// `sync`.
    Sync,
    /// `space`.
    Space,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Put,
        Self::Get,
        Self::Stat,
        Self::List,
        Self::Delete,
        Self::Sync,
        Self::Space,
    ];
}

/// A share object's name made of a number: distinct for distinct numbers, spread over all first digits.
#[must_use]
pub fn share_name(number: u64) -> ObjectKey {
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ObjectKey::parse(&format!("{spread:016x}{:032x}{number:016x}", 0))
        .expect("64 lower-case hexadecimal digits")
}

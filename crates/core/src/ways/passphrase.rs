//! From a passphrase to a way key: Argon2id (RFC 9106), with a cost that is kept beside it.

use alloc::vec::Vec;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize as _;

use super::WayKey;
use crate::random::{self, NoRandomness};
use crate::secret::Secret;

/// How much work a passphrase takes, and its salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassphraseCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: [u8; 32],
}

/// Why no key came of a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeriveError {
    /// There is not so much memory.
    #[error("a passphrase takes {memory_kib} KiB of memory, and there is not so much")]
    Memory {
        /// How much is needed.
        memory_kib: u32,
    },
    /// The passphrase is longer than any.
    #[error("the passphrase is too long")]
    Long,
}

impl PassphraseCost {
    /// What a passphrase must cost at least: 64 MiB gone over three times, the lesser of the two that RFC 9106 recommends.
    pub const LEAST: (u32, u32) = (64 << 10, 3);
    /// What one costs unless somebody says otherwise: 256 MiB gone over three times, about a second.
    pub const USUAL: (u32, u32) = (256 << 10, 3);
    /// What one may cost at most, so that nobody can make a reader run out of memory.
    pub const MOST: (u32, u32) = (4 << 20, 64);
    const LANES_MOST: u32 = 16;

    /// A cost in KiB of memory and in passes over it, brought between [`LEAST`](Self::LEAST) and [`MOST`](Self::MOST), with a fresh salt.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn fresh(memory_kib: u32, passes: u32) -> Result<Self, NoRandomness> {
        let mut salt = [0; 32];
        random::fill(&mut salt)?;
        Ok(Self {
            memory_kib: memory_kib.clamp(Self::LEAST.0, Self::MOST.0),
            passes: passes.clamp(Self::LEAST.1, Self::MOST.1),
            lanes: 1,
            salt,
        })
    }

    #[cfg(test)]
    pub(crate) const fn of(memory_kib: u32, passes: u32, salt: [u8; 32]) -> Self {
        Self {
            memory_kib,
            passes,
            lanes: 1,
            salt,
        }
    }

    /// The memory, in KiB.
    #[must_use]
    pub fn memory_kib(&self) -> u32 {
        self.memory_kib
    }

    /// How often the memory is gone over.
    #[must_use]
    pub fn passes(&self) -> u32 {
        self.passes
    }

    /// The key of this passphrase: its bytes as they are, so people's ways of writing must be made one before.
    ///
    /// # Errors
    /// [`DeriveError`].
    pub fn derive(&self, passphrase: &[u8]) -> Result<WayKey, DeriveError> {
        let memory = DeriveError::Memory {
            memory_kib: self.memory_kib,
        };
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32));
        let params = params.map_err(|_| memory)?;
        // Where there is not so much, that is an error and not the end of the program.
        let mut blocks: Vec<Block> = Vec::new();
        blocks
            .try_reserve_exact(params.block_count())
            .map_err(|_| memory)?;
        blocks.resize(params.block_count(), Block::new());
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let key = Secret::filled(|out| {
            argon.hash_password_into_with_memory(passphrase, &self.salt, out, blocks.as_mut_slice())
        });
        for block in &mut blocks {
            block.zeroize();
        }
        key.map(WayKey::from_secret).map_err(|_| DeriveError::Long)
    }

    pub(super) const LEN: usize = 44;

    pub(super) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.memory_kib.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.passes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.lanes.to_le_bytes());
        bytes[12..].copy_from_slice(&self.salt);
        bytes
    }

    /// Reads what [`encode`](Self::encode) writes; `None` for a cost that is out of all bounds.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (memory, rest) = bytes.split_first_chunk::<4>()?;
        let (passes, rest) = rest.split_first_chunk::<4>()?;
        let (lanes, salt) = rest.split_first_chunk::<4>()?;
        let cost = Self {
            memory_kib: u32::from_le_bytes(*memory),
            passes: u32::from_le_bytes(*passes),
            lanes: u32::from_le_bytes(*lanes),
            salt: salt.try_into().ok()?,
        };
        let possible = (1..=Self::LANES_MOST).contains(&cost.lanes)
            && (8 * cost.lanes..=Self::MOST.0).contains(&cost.memory_kib)
            && (1..=Self::MOST.1).contains(&cost.passes);
        possible.then_some(cost)
    }
}

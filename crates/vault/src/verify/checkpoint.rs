//! [`Checkpoint`]: how far a check had come.

use std::collections::{BTreeMap, BTreeSet};

use warifu_core::ids::{ExtentId, ShareIndex, VaultId};

/// How far a check of shares had come when it was interrupted, for [`Check::resume`](super::Check::resume). Names no file and holds
/// no secret: extents and counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub(super) vault: VaultId,
    pub(super) deep: bool,
    /// The last extent checked.
    pub(super) after: ExtentId,
    pub(super) extents: u64,
    /// Good shares by server.
    pub(super) good: BTreeMap<ShareIndex, u64>,
    /// Extents with damage: they are checked again, since it may have been repaired meanwhile.
    pub(super) damaged: BTreeSet<ExtentId>,
}

const MAGIC: &[u8; 8] = b"WARIFUC1";
const END: &[u8; 4] = b"end\n";

impl Checkpoint {
    /// Whether the check interrupted was a deep one.
    #[must_use]
    pub fn is_deep(&self) -> bool {
        self.deep
    }

    /// How many extents had been checked.
    #[must_use]
    pub fn extents(&self) -> u64 {
        self.extents
    }

    /// Of which vault.
    #[must_use]
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// The checkpoint as bytes, for keeping.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(u8::from(self.deep));
        bytes.extend_from_slice(self.vault.as_bytes());
        bytes.extend_from_slice(self.after.as_bytes());
        bytes.extend_from_slice(&self.extents.to_le_bytes());
        bytes.push(u8::try_from(self.good.len()).unwrap_or(u8::MAX));
        for (index, good) in &self.good {
            bytes.push(index.get());
            bytes.extend_from_slice(&good.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.damaged.len() as u64).to_le_bytes());
        for extent in &self.damaged {
            bytes.extend_from_slice(extent.as_bytes());
        }
        bytes.extend_from_slice(END);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` for anything else, or a part of it.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(MAGIC)?.strip_suffix(END)?;
        let [deep @ (0 | 1)] = take(&mut rest)? else {
            return None;
        };
        let vault = VaultId::from_bytes(take(&mut rest)?);
        let after = ExtentId::from_bytes(take(&mut rest)?);
        let extents = u64::from_le_bytes(take(&mut rest)?);
        let [servers] = take(&mut rest)?;
        let mut good = BTreeMap::new();
        for _ in 0..servers {
            let [index] = take(&mut rest)?;
            good.insert(
                ShareIndex::new(index)?,
                u64::from_le_bytes(take(&mut rest)?),
            );
        }
        let damaged = u64::from_le_bytes(take(&mut rest)?);
        if rest.len() as u64 != damaged.checked_mul(16)? {
            return None;
        }
        let mut set = BTreeSet::new();
        while !rest.is_empty() {
            set.insert(ExtentId::from_bytes(take(&mut rest)?));
        }
        Some(Self {
            vault,
            deep: deep == 1,
            after,
            extents,
            good,
            damaged: set,
        })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_whole_or_not_at_all() {
        let id = |byte| ExtentId::from_bytes([byte; 16]);
        let index = |index| ShareIndex::new(index).unwrap();
        let kept = Checkpoint {
            vault: VaultId::from_bytes([7; 16]),
            deep: true,
            after: id(3),
            extents: 12_345,
            good: [(index(1), 5), (index(255), u64::MAX)].into(),
            damaged: [id(1), id(2)].into(),
        };
        let bytes = kept.to_bytes();
        assert_eq!(Checkpoint::from_bytes(&bytes), Some(kept));
        for len in 0..bytes.len() {
            assert_eq!(Checkpoint::from_bytes(&bytes[..len]), None, "{len}");
        }
        let mut more = bytes.clone();
        more.push(0);
        assert_eq!(Checkpoint::from_bytes(&more), None);
    }
}

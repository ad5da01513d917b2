//! What was destroyed and is not confirmed to be gone from all servers yet. The intent remembers it, and is lost with the catalogue: then the
//! objects on a server that was away would look like a save that the journal does not know, and a rebuild would bring
//! it back. So such destructions are also attributes of the root, which are in the journal, until a sweep has done them.

use std::collections::HashSet;

use warifu_core::ids::{ExtentId, Generation};

use crate::context::Act;
use crate::error::Result;
use crate::node::NodeId;
use crate::seam::catalog::{CatalogError, Durability, Write, XattrMode};
use crate::vault::Inner;

/// The beginning of the names of such attributes.
const PREFIX: &[u8] = b"warifu.gone.";

/// The attribute that says from when on it is still known what names there were. The catalogue's own position of that is in no rebuild.
const PAST: &[u8] = b"warifu.past";

/// How many extents one of them names.
const MOST: usize = 2000;

/// What one extent takes.
const LEN: usize = 20;

fn encode(extents: &[(ExtentId, Generation)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(extents.len() * LEN);
    for (extent, generation) in extents {
        bytes.extend_from_slice(extent.as_bytes());
        bytes.extend_from_slice(&generation.0.to_le_bytes());
    }
    bytes
}

/// The extents that an attribute of the root names as destroyed; none where it is another attribute.
pub(crate) fn destroyed_extents(name: &[u8], value: &[u8]) -> Vec<(ExtentId, Generation)> {
    if !name.starts_with(PREFIX) {
        return Vec::new();
    }
    let one = |bytes: &[u8]| {
        let (extent, generation) = bytes.split_at_checked(16)?;
        let extent = ExtentId::from_bytes(extent.try_into().ok()?);
        let generation = u32::from_le_bytes(generation.try_into().ok()?);
        Some((extent, Generation(generation)))
    };
    value.chunks(LEN).filter_map(one).collect()
}

/// From when on it is known what names there were, in seconds since 1970, if that is what an attribute of the root says.
pub(crate) fn known_since(name: &[u8], value: &[u8]) -> Option<u64> {
    let value = (name == PAST).then_some(value)?;
    value.try_into().ok().map(u64::from_le_bytes)
}

impl Inner {
    /// Writes down that names are going to be forgotten that ended up to a time.
    pub(super) async fn remember_past(&self, known: u64) -> Result<()> {
        let told = match self.catalog.xattr(NodeId::ROOT, PAST).await {
            Ok(value) => known_since(PAST, &value).unwrap_or(0),
            Err(CatalogError::NoXattr) => 0,
            Err(error) => return Err(error.into()),
        };
        if known <= told {
            return Ok(());
        }
        let detail = "names are to be forgotten".to_owned();
        let entry = Self::own_context().entry(Act::Destroy, None, detail, self.clock.now());
        let write = Write {
            audit: entry,
            durability: Durability::Now,
        };
        let value = known.to_le_bytes();
        let catalog = &self.catalog;
        Ok(catalog
            .set_xattr(NodeId::ROOT, PAST, &value, XattrMode::Set, write)
            .await?)
    }

    /// Writes down what servers have not confirmed to be gone.
    pub(super) async fn remember_gone(&self, extents: &[(ExtentId, Generation)]) -> Result<()> {
        for part in extents.chunks(MOST) {
            let name = [PREFIX, ExtentId::fresh()?.to_string().as_bytes()].concat();
            let detail = format!("{} extents are to be confirmed", part.len());
            let entry = Self::own_context().entry(Act::Destroy, None, detail, self.clock.now());
            let write = Write {
                audit: entry,
                durability: Durability::Now,
            };
            let catalog = &self.catalog;
            catalog
                .set_xattr(NodeId::ROOT, &name, &encode(part), XattrMode::Create, write)
                .await?;
        }
        Ok(())
    }

    /// Takes away what no intent names any more: sweeps have done it.
    pub(crate) async fn forget_gone(&self) -> Result<()> {
        let attributes = self.catalog.xattrs(NodeId::ROOT).await?;
        let remembered: Vec<_> = attributes
            .into_iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        if remembered.is_empty() {
            return Ok(());
        }
        let waiting: HashSet<ExtentId> = self
            .catalog
            .intents()
            .await?
            .into_iter()
            .flat_map(|intent| intent.extents)
            .map(|(extent, _)| extent)
            .collect();
        for (name, value) in remembered {
            let mut extents = destroyed_extents(&name, &value).into_iter();
            if extents.any(|(extent, _)| waiting.contains(&extent)) {
                continue;
            }
            let detail = "gone from all servers".to_owned();
            let entry = Self::own_context().entry(Act::Destroy, None, detail, self.clock.now());
            let write = Write {
                audit: entry,
                durability: Durability::Soon,
            };
            match self.catalog.remove_xattr(NodeId::ROOT, &name, write).await {
                // Somebody else was quicker.
                Ok(()) | Err(CatalogError::NoXattr) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_read_as_it_was_written() {
        let extents = [
            (ExtentId::from_bytes([1; 16]), Generation(1)),
            (ExtentId::from_bytes([2; 16]), Generation(0x0102_0304)),
        ];
        let value = encode(&extents);
        assert_eq!(destroyed_extents(b"warifu.gone.x", &value), extents);
        assert_eq!(
            destroyed_extents(b"warifu.gone.x", &value[..39]),
            extents[..1]
        );
        assert_eq!(destroyed_extents(b"user.x", &value), []);
    }
}

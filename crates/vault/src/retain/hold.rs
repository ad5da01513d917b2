//! Legal hold: what is held is kept, whatever the rules say and whoever removes it.
//!
//! A hold is an attribute of the root under a name that no drive lets through: so it is sealed, in the journal and rebuilt with everything else. The
//! catalogue compares the names of the root's attributes in the transaction that forgets, so no hold comes too late.

use std::collections::HashSet;

use warifu_core::ids::FileId;

use crate::context::{Act, Context};
use crate::error::{Result, VaultError};
use crate::node::{Name, NodeId, NodeKind};
use crate::seam::catalog::{Durability, Write, XattrMode};
use crate::seam::clock::Timestamp;
use crate::vault::Vault;

/// The beginning of the names of all holds.
const PREFIX: &[u8] = b"warifu.hold.";

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldId {
    /// A document with all its versions.
    Document(FileId),
    /// A folder: everything that is in it, or was.
    Folder(NodeId),
}

impl HoldId {
    fn attribute(self) -> Vec<u8> {
        let text = match self {
            Self::Document(document) => format!("d{document}"),
            Self::Folder(node) => format!("n{node}"),
        };
        [PREFIX, text.as_bytes()].concat()
    }

    fn of_attribute(name: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(name.strip_prefix(PREFIX)?).ok()?;
        match text.split_at_checked(1)? {
            ("d", hex) => FileId::from_hex(hex).map(Self::Document),
            ("n", number) => number.parse().ok().map(|node| Self::Folder(NodeId(node))),
            _ => None,
        }
    }
}

/// A hold. Silent: it holds a path.
#[derive(Clone, PartialEq, Eq)]
pub struct LegalHold {
    /// What.
    pub id: HoldId,
    /// Since when.
    pub since: Timestamp,
    /// Who set it.
    pub by: String,
    /// Why, in their words.
    pub reason: String,
    /// The path that it had when it was set.
    pub path: Vec<u8>,
}

impl std::fmt::Debug for LegalHold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LegalHold({:?}, {:?}, ..)", self.id, self.since)
    }
}

impl LegalHold {
    fn value(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.since.secs.to_le_bytes());
        bytes.extend_from_slice(&self.since.nanos.to_le_bytes());
        for part in [self.by.as_bytes(), self.reason.as_bytes(), &self.path] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// A hold whose value cannot be read is a hold all the same.
    fn read(id: HoldId, value: &[u8]) -> Self {
        let mut rest = value;
        let secs = take(&mut rest, 8).and_then(|bytes| bytes.try_into().ok());
        let nanos = take(&mut rest, 4).and_then(|bytes| bytes.try_into().ok());
        let mut part = || -> Vec<u8> {
            let len = take(&mut rest, 8).and_then(|bytes| bytes.try_into().ok());
            let len = usize::try_from(len.map_or(0, u64::from_le_bytes)).unwrap_or(usize::MAX);
            take(&mut rest, len).map(<[u8]>::to_vec).unwrap_or_default()
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            id,
            since: Timestamp {
                secs: secs.map_or(0, i64::from_le_bytes),
                nanos: nanos.map_or(0, u32::from_le_bytes),
            },
            by: text(part()),
            reason: text(part()),
            path: part(),
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

/// All holds, as far as they decide.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds {
    pub(super) documents: HashSet<FileId>,
    pub(super) folders: HashSet<NodeId>,
    /// The names of all attributes of the root, from which this was read.
    pub(super) attributes: Vec<Vec<u8>>,
}

impl Holds {
    /// Whether the same is held.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.documents == other.documents && self.folders == other.folders
    }
}

impl Vault {
    /// All holds, those of files first.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn holds(&self, _ctx: &Context) -> Result<Vec<LegalHold>> {
        let attributes = self.inner.catalog.xattrs(NodeId::ROOT).await?;
        let mut holds: Vec<LegalHold> = attributes
            .iter()
            .filter_map(|(name, value)| Some(LegalHold::read(HoldId::of_attribute(name)?, value)))
            .collect();
        holds.sort_by_key(|hold| hold.id);
        Ok(holds)
    }

    pub(super) async fn read_holds(&self) -> Result<Holds> {
        let attributes = self.inner.catalog.xattrs(NodeId::ROOT).await?;
        let mut holds = Holds::default();
        for (name, _) in attributes
            .iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
        {
            match HoldId::of_attribute(name) {
                Some(HoldId::Document(document)) => drop(holds.documents.insert(document)),
                Some(HoldId::Folder(node)) => drop(holds.folders.insert(node)),
                // One of a newer warifu, perhaps: nothing is known of what it keeps, so it keeps everything.
                None => drop(holds.folders.insert(NodeId::ROOT)),
            }
        }
        holds.attributes = attributes.into_iter().map(|(name, _)| name).collect();
        Ok(holds)
    }

    /// Holds what a path stands for, or stood for last: a file with all its versions, or everything that is or was in a folder.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] when the path never stood for anything; [`VaultError::Exists`] when it is held; errors of the catalogue.
    pub async fn set_hold(&self, ctx: &Context, path: &[Name], reason: &str) -> Result<LegalHold> {
        self.inner.writable()?;
        let id = self.hold_id(ctx, path).await?;
        let now = self.inner.clock.now();
        let hold = LegalHold {
            id,
            since: now,
            by: ctx.actor.clone(),
            reason: reason.to_owned(),
            path: path_bytes(path),
        };
        let audit = ctx.entry(Act::Hold, node_of(id), detail("set", path), now);
        let write = Write {
            audit,
            durability: Durability::Now,
        };
        self.inner
            .catalog
            .set_xattr(
                NodeId::ROOT,
                &id.attribute(),
                &hold.value(),
                XattrMode::Create,
                write,
            )
            .await?;
        Ok(hold)
    }

    /// Ends a hold.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] when the path never stood for anything, [`VaultError::NoXattr`] when it is not held; errors of the catalogue.
    pub async fn clear_hold(&self, ctx: &Context, path: &[Name]) -> Result<()> {
        self.inner.writable()?;
        let id = self.hold_id(ctx, path).await?;
        let now = self.inner.clock.now();
        let audit = ctx.entry(Act::Hold, node_of(id), detail("cleared", path), now);
        let write = Write {
            audit,
            durability: Durability::Now,
        };
        Ok(self
            .inner
            .catalog
            .remove_xattr(NodeId::ROOT, &id.attribute(), write)
            .await?)
    }

    async fn hold_id(&self, ctx: &Context, path: &[Name]) -> Result<HoldId> {
        // A hold that was set stays to be found by the path it was set for, whatever became of that.
        let bytes = path_bytes(path);
        let holds = self.holds(ctx).await?;
        if let Some(hold) = holds.into_iter().find(|hold| hold.path == bytes) {
            return Ok(hold.id);
        }
        if path.is_empty() {
            return Ok(HoldId::Folder(NodeId::ROOT));
        }
        let name = self.last_name(ctx, path).await?;
        match name.kind {
            NodeKind::File => Ok(HoldId::Document(name.document)),
            NodeKind::Dir => Ok(HoldId::Folder(name.node)),
            _ => Err(VaultError::Invalid {
                what: "only files and folders are held",
            }),
        }
    }
}

fn node_of(id: HoldId) -> Option<NodeId> {
    match id {
        HoldId::Document(_) => None,
        HoldId::Folder(node) => Some(node),
    }
}

fn path_bytes(path: &[Name]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in path {
        bytes.push(b'/');
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes
}

fn detail(what: &str, path: &[Name]) -> String {
    format!("{what}: {}", String::from_utf8_lossy(&path_bytes(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_are_read_as_they_were_written_and_damaged_ones_still_hold() {
        let document = HoldId::Document(FileId::from_bytes([0xab; 16]));
        for id in [document, HoldId::Folder(NodeId(7))] {
            assert_eq!(HoldId::of_attribute(&id.attribute()), Some(id));
            let hold = LegalHold {
                id,
                since: Timestamp { secs: 5, nanos: 6 },
                by: "花子".into(),
                reason: "訴訟 12".into(),
                path: b"/a/\xff".to_vec(),
            };
            let value = hold.value();
            assert_eq!(LegalHold::read(id, &value), hold);
            for cut in 0..value.len() {
                assert_eq!(LegalHold::read(id, &value[..cut]).id, id);
            }
        }
        for bad in [
            "user.a",
            "warifu.hold.",
            "warifu.hold.x",
            "warifu.hold.dxyz",
        ] {
            assert_eq!(HoldId::of_attribute(bad.as_bytes()), None, "{bad}");
        }
    }
}

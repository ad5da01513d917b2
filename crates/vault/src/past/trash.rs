//! The trash: files that were removed and whose versions are kept.

use std::collections::{BTreeMap, HashMap};

use warifu_core::ids::{FileId, VersionNo};

use crate::context::Context;
use crate::error::Result;
use crate::node::{Name, NodeId, NodeKind};
use crate::seam::clock::Timestamp;
use crate::seam::past::{End, PastName};
use crate::vault::Vault;

/// How many names are read at a time.
const PAGE: usize = 1024;

/// Deeper than any path that can be used.
const DEPTH: usize = 4096;

/// A removed file. Silent: it holds a path.
#[derive(Clone, PartialEq, Eq)]
pub struct Trashed {
    /// Where it was last, from the root; folders that are gone are called as they were last.
    pub path: Vec<Name>,
    /// Its document.
    pub document: FileId,
    /// Its newest version.
    pub version: VersionNo,
    /// How long that is, in bytes.
    pub size: u64,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner and group.
    pub owner: (u32, u32),
    /// When it was removed.
    pub removed_at: Timestamp,
}

impl std::fmt::Debug for Trashed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Trashed({}, version {}, {:?}, ..)",
            self.document, self.version, self.removed_at
        )
    }
}

impl Vault {
    /// The removed files, those that were removed last first. Goes through all names that ended.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn trash(&self, ctx: &Context) -> Result<Vec<Trashed>> {
        let mut last: BTreeMap<FileId, PastName> = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = self.ended_names(ctx, after, PAGE).await?;
            let Some(end) = page.last() else { break };
            after = end.id;
            for name in page {
                if name.kind == NodeKind::File {
                    last.insert(name.document, name);
                }
            }
        }
        let mut places = Places::default();
        let mut trash = Vec::new();
        for (document, name) in last {
            // What was moved as its last act went on as another document's version: the way office programs save.
            let Some((removed_at, End::Removed)) = name.until else {
                continue;
            };
            let names = self.inner.catalog.names_of(document).await?;
            if names.iter().any(|name| name.until.is_none()) {
                continue;
            }
            let versions = self.inner.catalog.history(document).await?;
            let Some(newest) = versions.last() else {
                continue;
            };
            let mut path = self.last_place(name.parent, &mut places).await?;
            path.push(name.name);
            trash.push(Trashed {
                path,
                document,
                version: newest.number,
                size: newest.size,
                mode: name.mode,
                owner: (name.uid, name.gid),
                removed_at,
            });
        }
        trash.sort_by_key(|file| std::cmp::Reverse(file.removed_at));
        Ok(trash)
    }

    /// The path of a folder, or the one that it had last.
    pub(crate) async fn last_place(
        &self,
        folder: NodeId,
        places: &mut Places,
    ) -> Result<Vec<Name>> {
        let (mut at, mut below) = (folder, Vec::new());
        let mut path = loop {
            if at == NodeId::ROOT || below.len() > DEPTH {
                break Vec::new();
            }
            if let Some(known) = places.0.get(&at) {
                break known.clone();
            }
            let names = self.inner.catalog.names_of_node(at).await?;
            let Some(name) = names.into_iter().next_back() else {
                break Vec::new();
            };
            below.push((at, name.name));
            at = name.parent;
        };
        for (node, name) in below.into_iter().rev() {
            path.push(name);
            places.0.insert(node, path.clone());
        }
        Ok(path)
    }
}

/// Paths of folders that were looked up.
#[derive(Default)]
pub(crate) struct Places(HashMap<NodeId, Vec<Name>>);

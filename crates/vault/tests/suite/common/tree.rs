//! Trees of a vault, with what is in them, to be compared.

use std::collections::BTreeMap;

use warifu_vault::node::{NodeId, NodeKind};
use warifu_vault::{Access, Vault};

use super::{ctx, read_all, same};

const ROOT: NodeId = NodeId::ROOT;

/// What a path held: a folder, a file's bytes, or where a link pointed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    Folder,
    File(Vec<u8>),
    Link(Vec<u8>),
}

pub type Tree = BTreeMap<String, Held>;

pub async fn tree(vault: &Vault) -> Tree {
    let (mut tree, mut waiting) = (Tree::new(), vec![(String::new(), ROOT)]);
    while let Some((path, dir)) = waiting.pop() {
        for entry in vault.list(&ctx(), dir, None, 1000).await.unwrap() {
            let path = format!("{path}/{}", entry.name.display());
            let held = match entry.attr.kind {
                NodeKind::Dir => {
                    waiting.push((path.clone(), entry.attr.node));
                    Held::Folder
                }
                NodeKind::Symlink => {
                    Held::Link(vault.read_link(&ctx(), entry.attr.node).await.unwrap())
                }
                _ => {
                    let node = entry.attr.node;
                    let handle = vault.open(&ctx(), node, Access::READ).await.unwrap();
                    let bytes = read_all(&handle).await.unwrap();
                    handle.release(&ctx()).await.unwrap();
                    assert_eq!(bytes.len() as u64, entry.attr.size, "{path}");
                    Held::File(bytes)
                }
            };
            tree.insert(path, held);
        }
    }
    tree
}

#[track_caller]
pub fn alike(got: &Tree, expected: &Tree, what: &str) {
    let (one, other): (Vec<_>, Vec<_>) = (got.keys().collect(), expected.keys().collect());
    assert_eq!(one, other, "{what}");
    for (path, held) in expected {
        match (&got[path], held) {
            (Held::File(got), Held::File(expected)) => {
                same(got, expected, &format!("{what}: {path}"))
            }
            (got, expected) => assert_eq!(got, expected, "{what}: {path}"),
        }
    }
}

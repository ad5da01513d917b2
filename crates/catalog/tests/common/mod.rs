//! What the tests of the SQLite catalogue share.
#![allow(dead_code, reason = "each test program uses its own part")]

use tempfile::TempDir;
use warifu_catalog::SqliteCatalog;
use warifu_core::head::Timestamp;
use warifu_core::ids::{FileId, VaultId};
use warifu_core::keys::{CatalogKey, VaultKey};
use warifu_vault::context::{Act, AuditEntry, Context};
use warifu_vault::node::{Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{Catalog, CatalogError, Durability, NewNode, Write};

use std::sync::OnceLock;

/// Takes away what came with schema 5 and after it.
pub const WITHOUT_PAST: &str = "DROP TABLE generation; DROP TABLE past; DROP TABLE position;
  ALTER TABLE entry DROP COLUMN since; ALTER TABLE entry DROP COLUMN since_ns;";

/// The catalogue key of one of several vaults. The same in one process; another process draws its own.
pub fn key(vault: u8) -> CatalogKey {
    static VAULT_KEY: OnceLock<VaultKey> = OnceLock::new();
    VAULT_KEY
        .get_or_init(|| VaultKey::generate().unwrap())
        .catalog_key(VaultId::from_bytes([vault; 16]))
}

/// A fresh catalogue in a folder of its own.
pub fn new_catalog() -> (TempDir, SqliteCatalog) {
    let dir = tempfile::tempdir().unwrap();
    let catalog = SqliteCatalog::create(&dir.path().join("catalog.db"), key(1)).unwrap();
    (dir, catalog)
}

pub fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

pub fn write(detail: &str, durability: Durability) -> Write {
    let context = Context {
        actor: "住民課 佐藤花子さん".into(),
        uid: 1000,
        gid: 1000,
        host: "juumin-madoguchi-pc-0012".into(),
        program: "soffice.bin of LibreOffice".into(),
        purpose: "correction of an address".into(),
    };
    let at = Timestamp {
        secs: 1_790_000_000,
        nanos: 1,
    };
    Write {
        audit: AuditEntry {
            at,
            context,
            act: Act::Create,
            node: None,
            detail: detail.into(),
        },
        durability,
    }
}

pub fn new_node(kind: NodeKind) -> NewNode {
    let document = if kind == NodeKind::File {
        FileId::fresh().unwrap()
    } else {
        FileId::NIL
    };
    NewNode {
        kind,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        rdev: 0,
        target: Vec::new(),
        document,
        inherits: false,
        unless: None,
    }
}

pub async fn make(
    catalog: &dyn Catalog,
    text: &str,
    durability: Durability,
) -> Result<NodeId, CatalogError> {
    let made = catalog
        .create(
            NodeId::ROOT,
            &name(text),
            new_node(NodeKind::File),
            write(text, durability),
        )
        .await?;
    Ok(made.node)
}

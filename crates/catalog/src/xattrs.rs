//! Extended attributes. Name and value are sealed together; the row is found by a tag.

use rusqlite::{OptionalExtension, params};
use warifu_core::keys::{CatalogKey, Field};
use warifu_core::secret::SecretBytes;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{CatalogError, Write, XattrMode};

use crate::codec::{decode_pair, encode_pair, sql};
use crate::error::{Outcome, damaged, missing};
use crate::names::{entry_row, node, store};
use crate::readers::View;
use crate::writer::Tx;
use crate::{audit, read};

/// The tag of an attribute. No file name holds a NUL byte, so it is never that of an entry.
pub(crate) fn tag(key: &CatalogKey, node: NodeId, name: &[u8]) -> [u8; 16] {
    let mut bytes = Vec::with_capacity(1 + name.len());
    bytes.push(0);
    bytes.extend_from_slice(name);
    key.name_tag(node.0, &bytes)
}

pub(crate) fn open(
    view: View<'_>,
    node: NodeId,
    tag: &[u8; 16],
    sealed: &[u8],
) -> Outcome<SecretBytes> {
    view.key
        .open(Field::Xattr, &entry_row(node, tag), sealed)
        .map_err(|_| {
            damaged(format!(
                "an extended attribute of node {node} does not open under the vault's key"
            ))
        })
}

pub(crate) fn all(view: View<'_>, node: NodeId) -> Outcome<Vec<(Vec<u8>, Vec<u8>)>> {
    view.snapshot(|view| {
        read::attr(view, node)?.ok_or_else(|| missing("node"))?;
        let mut statement = view
            .conn
            .prepare_cached("SELECT tag, sealed FROM xattr WHERE node = ?1 ORDER BY tag")?;
        let mut rows = statement.query(params![sql(node.0)?])?;
        let mut xattrs = Vec::new();
        while let Some(row) = rows.next()? {
            let opened = open(view, node, &row.get(0)?, &row.get::<_, Vec<u8>>(1)?)?;
            let (name, value) = decode_pair(opened.expose())?;
            xattrs.push((name.to_vec(), value.to_vec()));
        }
        Ok(xattrs)
    })
}

/// Whether a node has an attribute; false also where there is no such node.
pub(crate) fn has(view: View<'_>, node: NodeId, name: &[u8]) -> Outcome<bool> {
    let tag = tag(view.key, node, name);
    let mut statement = view
        .conn
        .prepare_cached("SELECT 1 FROM xattr WHERE node = ?1 AND tag = ?2")?;
    Ok(statement.exists(params![sql(node.0)?, tag])?)
}

pub(crate) fn one(view: View<'_>, node: NodeId, name: &[u8]) -> Outcome<Vec<u8>> {
    view.snapshot(|view| {
        let tag = tag(view.key, node, name);
        let mut statement = view
            .conn
            .prepare_cached("SELECT sealed FROM xattr WHERE node = ?1 AND tag = ?2")?;
        let sealed: Option<Vec<u8>> = statement
            .query_row(params![sql(node.0)?, tag], |row| row.get(0))
            .optional()?;
        let Some(sealed) = sealed else {
            read::attr(view, node)?.ok_or_else(|| missing("node"))?;
            return Err(CatalogError::NoXattr.into());
        };
        Ok(decode_pair(open(view, node, &tag, &sealed)?.expose())?
            .1
            .to_vec())
    })
}

pub(crate) fn set(
    tx: &Tx<'_>,
    id: NodeId,
    name: &[u8],
    value: &[u8],
    mode: XattrMode,
    write: &Write,
) -> Outcome<()> {
    let mut attr = node(tx, id)?;
    let tag = tag(tx.key(), id, name);
    let there = tx
        .conn()
        .prepare_cached("SELECT 1 FROM xattr WHERE node = ?1 AND tag = ?2")?
        .exists(params![sql(id.0)?, tag])?;
    match (mode, there) {
        (XattrMode::Create, true) => return Err(CatalogError::Exists.into()),
        (XattrMode::Replace, false) => return Err(CatalogError::NoXattr.into()),
        _ => {}
    }
    let sealed = tx.key().seal(
        Field::Xattr,
        &entry_row(id, &tag),
        &encode_pair(name, value)?,
    )?;
    tx.run(
        "INSERT INTO xattr (node, tag, sealed) VALUES (?1, ?2, ?3) ON CONFLICT (node, tag) DO UPDATE SET sealed = excluded.sealed",
        params![sql(id.0)?, tag, sealed],
    )?;
    attr.ctime = write.audit.at;
    store(tx, &attr)?;
    audit::record(tx, &write.audit)
}

pub(crate) fn remove(tx: &Tx<'_>, id: NodeId, name: &[u8], write: &Write) -> Outcome<()> {
    let mut attr = node(tx, id)?;
    let removed = tx.run(
        "DELETE FROM xattr WHERE node = ?1 AND tag = ?2",
        params![sql(id.0)?, tag(tx.key(), id, name)],
    )?;
    if removed == 0 {
        return Err(CatalogError::NoXattr.into());
    }
    attr.ctime = write.audit.at;
    store(tx, &attr)?;
    audit::record(tx, &write.audit)
}

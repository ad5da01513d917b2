//! Making, linking and removing names, and what else changes nodes but not contents.

use rusqlite::params;
use warifu_core::head::Timestamp;
use warifu_core::ids::{FileId, VersionNo};
use warifu_core::keys::{CatalogKey, Field};
use warifu_vault::node::{Attr, AttrChange, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{CatalogError, NewNode, Write};
use warifu_vault::seam::past::End;

use crate::codec::{kind_code, sql};
use crate::error::{Outcome, damaged, missing};
use crate::writer::Tx;
use crate::{audit, notices, past, read, xattrs};

const SET_GID: u32 = 0o2000;

/// The tag under which an entry is found.
pub(crate) fn tag(key: &CatalogKey, parent: NodeId, name: &Name) -> [u8; 16] {
    key.name_tag(parent.0, name.as_bytes())
}

/// What the sealed name of an entry is bound to.
pub(crate) fn entry_row(parent: NodeId, tag: &[u8; 16]) -> [u8; 24] {
    let mut row = [0; 24];
    let (first, second) = row.split_at_mut(8);
    first.copy_from_slice(&parent.0.to_le_bytes());
    second.copy_from_slice(tag);
    row
}

/// A node that must be there.
pub(crate) fn node(tx: &Tx<'_>, node: NodeId) -> Outcome<Attr> {
    read::attr(tx.view, node)?.ok_or_else(|| missing("node"))
}

/// A folder in which names can be made.
pub(crate) fn folder(tx: &Tx<'_>, dir: NodeId) -> Outcome<Attr> {
    read::folder(tx.view, dir)
}

/// What a name stands for; it must be taken.
pub(crate) fn named(tx: &Tx<'_>, parent: NodeId, tag: &[u8; 16]) -> Outcome<Attr> {
    match read::entry(tx.view, parent, tag)? {
        Some(attr) => Ok(attr),
        None => {
            folder(tx, parent)?;
            Err(missing("name"))
        }
    }
}

/// Writes a node back, all but the document.
pub(crate) fn store(tx: &Tx<'_>, attr: &Attr) -> Outcome<()> {
    let changed = tx.run(
        "UPDATE node SET mode = ?2, uid = ?3, gid = ?4, nlink = ?5, size = ?6, atime = ?7, atime_ns = ?8, mtime = ?9,
           mtime_ns = ?10, ctime = ?11, ctime_ns = ?12, version = ?13, head = ?14 WHERE id = ?1",
        params![
            sql(attr.node.0)?,
            attr.mode,
            attr.uid,
            attr.gid,
            attr.nlink,
            sql(attr.size)?,
            attr.atime.secs,
            attr.atime.nanos,
            attr.mtime.secs,
            attr.mtime.nanos,
            attr.ctime.secs,
            attr.ctime.nanos,
            sql(attr.version.0)?,
            attr.head.map(|head| *head.as_bytes()),
        ],
    )?;
    if changed == 1 {
        notices::node(tx, attr.node)
    } else {
        Err(damaged(format!(
            "node {} vanished within a transaction",
            attr.node
        )))
    }
}

/// Gives a file another document.
pub(crate) fn set_document(tx: &Tx<'_>, node: NodeId, document: FileId) -> Outcome<()> {
    tx.run(
        "UPDATE node SET document = ?2 WHERE id = ?1",
        params![sql(node.0)?, document.as_bytes()],
    )?;
    Ok(())
}

/// Notes that a folder's entries changed, and how many folders it has more (or fewer).
pub(crate) fn touch(tx: &Tx<'_>, dir: NodeId, at: Timestamp, folders: i64) -> Outcome<()> {
    tx.run(
        "UPDATE node SET mtime = ?2, mtime_ns = ?3, ctime = ?2, ctime_ns = ?3, nlink = nlink + ?4 WHERE id = ?1",
        params![sql(dir.0)?, at.secs, at.nanos, folders],
    )?;
    notices::node(tx, dir)
}

pub(crate) fn insert_entry(
    tx: &Tx<'_>,
    parent: NodeId,
    name: &Name,
    tag: &[u8; 16],
    node: NodeId,
    since: Timestamp,
) -> Outcome<()> {
    let sealed = tx
        .key()
        .seal(Field::Name, &entry_row(parent, tag), name.as_bytes())?;
    tx.run(
        "INSERT INTO entry (parent, tag, sealed, node, since, since_ns) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![sql(parent.0)?, tag, sealed, sql(node.0)?, since.secs, since.nanos],
    )?;
    notices::entry(tx, parent, tag, None)
}

/// Takes a name away; `removed` is the node that has no other.
pub(crate) fn delete_entry(
    tx: &Tx<'_>,
    parent: NodeId,
    tag: &[u8; 16],
    removed: Option<NodeId>,
) -> Outcome<()> {
    notices::entry(tx, parent, tag, removed)?;
    tx.run(
        "DELETE FROM entry WHERE parent = ?1 AND tag = ?2",
        params![sql(parent.0)?, tag],
    )?;
    Ok(())
}

/// Makes a node under a free name, without an audit line.
pub(crate) fn make(
    tx: &Tx<'_>,
    parent: NodeId,
    name: &Name,
    new: &NewNode,
    at: Timestamp,
) -> Outcome<Attr> {
    folder(tx, parent)?;
    let tag = tag(tx.key(), parent, name);
    if read::entry(tx.view, parent, &tag)?.is_some() {
        return Err(CatalogError::Exists.into());
    }
    let is_dir = new.kind == NodeKind::Dir;
    let size = if new.kind == NodeKind::Symlink {
        new.target.len() as u64
    } else {
        0
    };
    let nlink = if is_dir { 2 } else { 1 };
    let mut statement = tx.conn().prepare_cached(
        "INSERT INTO node (kind, mode, uid, gid, nlink, rdev, size, atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns,
           btime, btime_ns, document, version, head)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?8, ?9, ?8, ?9, ?8, ?9, ?10, 0, NULL) RETURNING id",
    )?;
    let id: i64 = statement.query_row(
        params![
            kind_code(new.kind),
            new.mode,
            new.uid,
            new.gid,
            nlink,
            new.rdev,
            sql(size)?,
            at.secs,
            at.nanos,
            (new.document != FileId::NIL).then_some(*new.document.as_bytes()),
        ],
        |row| row.get(0),
    )?;
    let node =
        NodeId(u64::try_from(id).map_err(|_| damaged("the database gave a negative node number"))?);
    if new.kind == NodeKind::Symlink {
        let sealed = tx
            .key()
            .seal(Field::Link, &node.0.to_le_bytes(), &new.target)?;
        tx.run(
            "INSERT INTO link (node, sealed) VALUES (?1, ?2)",
            params![id, sealed],
        )?;
    }
    let since = past::not_before(tx, (parent, &tag), at)?;
    insert_entry(tx, parent, name, &tag, node, since)?;
    touch(tx, parent, at, i64::from(is_dir))?;
    Ok(Attr {
        node,
        kind: new.kind,
        mode: new.mode,
        uid: new.uid,
        gid: new.gid,
        nlink,
        rdev: new.rdev,
        size,
        atime: at,
        mtime: at,
        ctime: at,
        btime: at,
        document: new.document,
        version: VersionNo(0),
        head: None,
    })
}

pub(crate) fn create(
    tx: &Tx<'_>,
    parent: NodeId,
    name: &Name,
    new: &NewNode,
    write: &Write,
) -> Outcome<Attr> {
    if let Some(unwanted) = new.unless
        && xattrs::has(tx.view, parent, unwanted)?
    {
        return Err(CatalogError::Refused.into());
    }
    let mut new = new.clone();
    if new.inherits {
        inherit(&mut new, &folder(tx, parent)?);
    }
    let attr = make(tx, parent, name, &new, write.audit.at)?;
    audit::record(tx, &write.audit)?;
    Ok(attr)
}

/// A folder with the set-group-id bit hands its group, and to folders the bit, to what is made in it.
fn inherit(new: &mut NewNode, folder: &Attr) {
    if folder.mode & SET_GID == 0 {
        return;
    }
    new.gid = folder.gid;
    if new.kind == NodeKind::Dir {
        new.mode |= SET_GID;
    }
}

pub(crate) fn link(
    tx: &Tx<'_>,
    id: NodeId,
    parent: NodeId,
    name: &Name,
    write: &Write,
) -> Outcome<Attr> {
    let at = write.audit.at;
    let mut attr = node(tx, id)?;
    if attr.kind == NodeKind::Dir {
        return Err(CatalogError::IsDir.into());
    }
    if attr.nlink == 0 {
        return Err(missing("node"));
    }
    folder(tx, parent)?;
    let tag = tag(tx.key(), parent, name);
    if read::entry(tx.view, parent, &tag)?.is_some() {
        return Err(CatalogError::Exists.into());
    }
    attr.nlink = attr
        .nlink
        .checked_add(1)
        .ok_or(CatalogError::TooManyLinks)?;
    attr.ctime = at;
    store(tx, &attr)?;
    let since = past::not_before(tx, (parent, &tag), at)?;
    insert_entry(tx, parent, name, &tag, id, since)?;
    touch(tx, parent, at, 0)?;
    audit::record(tx, &write.audit)?;
    Ok(attr)
}

pub(crate) fn unlink(
    tx: &Tx<'_>,
    parent: NodeId,
    name: &Name,
    open: &[NodeId],
    write: &Write,
) -> Outcome<Attr> {
    let tag = tag(tx.key(), parent, name);
    let mut attr = named(tx, parent, &tag)?;
    if attr.kind == NodeKind::Dir {
        return Err(CatalogError::IsDir.into());
    }
    let until = past::not_before(tx, (parent, &tag), write.audit.at)?;
    past::end(tx, parent, &tag, &attr, until, End::Removed)?;
    delete_entry(tx, parent, &tag, only_name(&attr))?;
    let keep = open.contains(&attr.node);
    drop_name(tx, &mut attr, keep, write.audit.at)?;
    touch(tx, parent, write.audit.at, 0)?;
    audit::record(tx, &write.audit)?;
    Ok(attr)
}

pub(crate) fn rmdir(tx: &Tx<'_>, parent: NodeId, name: &Name, write: &Write) -> Outcome<()> {
    let tag = tag(tx.key(), parent, name);
    let mut attr = named(tx, parent, &tag)?;
    if attr.kind != NodeKind::Dir {
        return Err(CatalogError::NotDir.into());
    }
    if !is_empty(tx, attr.node)? {
        return Err(CatalogError::NotEmpty.into());
    }
    let until = past::not_before(tx, (parent, &tag), write.audit.at)?;
    past::end(tx, parent, &tag, &attr, until, End::Removed)?;
    delete_entry(tx, parent, &tag, only_name(&attr))?;
    drop_name(tx, &mut attr, false, write.audit.at)?;
    touch(tx, parent, write.audit.at, -1)?;
    audit::record(tx, &write.audit)?;
    Ok(())
}

/// The node, if it is left without a name when it loses one.
pub(crate) fn only_name(attr: &Attr) -> Option<NodeId> {
    (attr.kind == NodeKind::Dir || attr.nlink <= 1).then_some(attr.node)
}

/// Counts a name that was taken from a node, and forgets the node when it was the last. A folder has only one.
pub(crate) fn drop_name(tx: &Tx<'_>, attr: &mut Attr, keep: bool, at: Timestamp) -> Outcome<()> {
    attr.ctime = at;
    attr.nlink = match attr.kind {
        NodeKind::Dir => 0,
        _ => attr
            .nlink
            .checked_sub(1)
            .ok_or_else(|| damaged(format!("node {} has a name and counts none", attr.node)))?,
    };
    if attr.nlink == 0 && !keep {
        delete_node(tx, attr.node)
    } else {
        store(tx, attr)
    }
}

pub(crate) fn is_empty(tx: &Tx<'_>, dir: NodeId) -> Outcome<bool> {
    Ok(!tx
        .conn()
        .prepare_cached("SELECT 1 FROM entry WHERE parent = ?1 LIMIT 1")?
        .exists(params![sql(dir.0)?])?)
}

fn delete_node(tx: &Tx<'_>, node: NodeId) -> Outcome<()> {
    let id = sql(node.0)?;
    tx.run("DELETE FROM link WHERE node = ?1", params![id])?;
    tx.run("DELETE FROM xattr WHERE node = ?1", params![id])?;
    tx.run("DELETE FROM node WHERE id = ?1", params![id])?;
    Ok(())
}

pub(crate) fn set_attr(
    tx: &Tx<'_>,
    id: NodeId,
    change: &AttrChange,
    write: &Write,
) -> Outcome<Attr> {
    let mut attr = node(tx, id)?;
    attr.mode = change.mode.unwrap_or(attr.mode);
    attr.uid = change.uid.unwrap_or(attr.uid);
    attr.gid = change.gid.unwrap_or(attr.gid);
    attr.atime = change.atime.unwrap_or(attr.atime);
    attr.mtime = change.mtime.unwrap_or(attr.mtime);
    attr.ctime = write.audit.at;
    store(tx, &attr)?;
    audit::record(tx, &write.audit)?;
    Ok(attr)
}

pub(crate) fn forget(tx: &Tx<'_>, id: NodeId) -> Outcome<()> {
    match read::attr(tx.view, id)? {
        Some(attr) if attr.nlink == 0 => delete_node(tx, id),
        _ => Ok(()),
    }
}

pub(crate) fn forget_nameless(tx: &Tx<'_>) -> Outcome<u64> {
    tx.run(
        "DELETE FROM link WHERE node IN (SELECT id FROM node WHERE nlink = 0)",
        [],
    )?;
    tx.run(
        "DELETE FROM xattr WHERE node IN (SELECT id FROM node WHERE nlink = 0)",
        [],
    )?;
    Ok(tx.run("DELETE FROM node WHERE nlink = 0", [])? as u64)
}

//! Renaming, as POSIX has it, and the take-over of a replaced file's document.

use rusqlite::params;
use warifu_core::head::Timestamp;
use warifu_vault::node::{Attr, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{CatalogError, RenameMode, Renamed, Write};
use warifu_vault::seam::past::End;

use crate::codec::sql;
use crate::error::{Outcome, damaged, missing};
use crate::names::{
    delete_entry, drop_name, folder, insert_entry, is_empty, named, only_name, store, tag, touch,
};
use crate::succession::go_on_in;
use crate::writer::Tx;
use crate::{audit, notices, past, read};

/// Deeper than any path that can be used; a chain of folders that is longer goes round in a circle.
pub(crate) const DEPTH: usize = 1 << 20;

pub(crate) fn rename(
    tx: &Tx<'_>,
    from: (NodeId, &Name),
    to: (NodeId, &Name),
    mode: RenameMode,
    open: &[NodeId],
    write: &Write,
) -> Outcome<Renamed> {
    let at = write.audit.at;
    folder(tx, from.0)?;
    folder(tx, to.0)?;
    let (from_tag, to_tag) = (tag(tx.key(), from.0, from.1), tag(tx.key(), to.0, to.1));
    let mut moved = named(tx, from.0, &from_tag)?;
    let other = match (read::entry(tx.view, to.0, &to_tag)?, mode) {
        (Some(_), RenameMode::NoReplace) => return Err(CatalogError::Exists.into()),
        (None, RenameMode::Exchange) => return Err(missing("name")),
        // Two names of one node: nothing is done, so nothing is written to the log either.
        (Some(other), _) if other.node == moved.node => return Ok(Renamed { moved, other: None }),
        (other, _) => other,
    };
    if moved.kind == NodeKind::Dir && is_within(tx, to.0, moved.node)? {
        return Err(CatalogError::Loop.into());
    }
    let moved_dirs = i64::from(moved.kind == NodeKind::Dir);
    let other_dirs = other
        .as_ref()
        .map_or(0, |other| i64::from(other.kind == NodeKind::Dir));
    moved.ctime = at;
    let then = past::not_before(tx, (from.0, &from_tag), at)?;
    let then = past::not_before(tx, (to.0, &to_tag), then)?;

    let other = match (mode, other) {
        (RenameMode::Exchange, Some(mut other)) => {
            if other.kind == NodeKind::Dir && is_within(tx, from.0, other.node)? {
                return Err(CatalogError::Loop.into());
            }
            other.ctime = at;
            past::end(tx, from.0, &from_tag, &moved, then, End::Moved)?;
            past::end(tx, to.0, &to_tag, &other, then, End::Moved)?;
            point(tx, (from.0, &from_tag), other.node, then, None)?;
            point(tx, (to.0, &to_tag), moved.node, then, None)?;
            store(tx, &other)?;
            touch_both(
                tx,
                (from.0, other_dirs - moved_dirs),
                (to.0, moved_dirs - other_dirs),
                write,
            )?;
            Some(other)
        }
        (_, Some(mut other)) => {
            may_replace(tx, &moved, &other)?;
            let goes_on = moved.kind == NodeKind::File
                && other.kind == NodeKind::File
                && other.nlink == 1
                && other.version.0 > 0;
            past::end(tx, from.0, &from_tag, &moved, then, End::Moved)?;
            let end = if goes_on { End::Replaced } else { End::Removed };
            past::end(tx, to.0, &to_tag, &other, then, end)?;
            delete_entry(tx, from.0, &from_tag, None)?;
            if goes_on {
                go_on_in(tx, &mut moved, (other.document, other.version), write)?;
            }
            point(tx, (to.0, &to_tag), moved.node, then, only_name(&other))?;
            let keep = open.contains(&other.node);
            drop_name(tx, &mut other, keep, at)?;
            touch_both(
                tx,
                (from.0, -moved_dirs),
                (to.0, moved_dirs - other_dirs),
                write,
            )?;
            Some(other)
        }
        (_, None) => {
            past::end(tx, from.0, &from_tag, &moved, then, End::Moved)?;
            delete_entry(tx, from.0, &from_tag, None)?;
            insert_entry(tx, to.0, to.1, &to_tag, moved.node, then)?;
            touch_both(tx, (from.0, -moved_dirs), (to.0, moved_dirs), write)?;
            None
        }
    };
    store(tx, &moved)?;
    audit::record(tx, &write.audit)?;
    Ok(Renamed { moved, other })
}

fn may_replace(tx: &Tx<'_>, moved: &Attr, other: &Attr) -> Outcome<()> {
    match (moved.kind == NodeKind::Dir, other.kind == NodeKind::Dir) {
        (true, false) => Err(CatalogError::NotDir.into()),
        (false, true) => Err(CatalogError::IsDir.into()),
        (true, true) if !is_empty(tx, other.node)? => Err(CatalogError::NotEmpty.into()),
        _ => Ok(()),
    }
}

/// Whether `dir` is `ancestor` or lies below it.
fn is_within(tx: &Tx<'_>, dir: NodeId, ancestor: NodeId) -> Outcome<bool> {
    let mut at = dir;
    for _ in 0..DEPTH {
        if at == ancestor {
            return Ok(true);
        }
        match read::parent_of(tx.view, at)? {
            Some(parent) => at = parent,
            None => return Ok(false),
        }
    }
    Err(damaged(format!(
        "the folders above node {dir} go round in a circle"
    )))
}

/// Makes an existing name stand for another node; `removed` is the one before, if it has no other name.
fn point(
    tx: &Tx<'_>,
    (parent, tag): (NodeId, &[u8; 16]),
    node: NodeId,
    since: Timestamp,
    removed: Option<NodeId>,
) -> Outcome<()> {
    notices::entry(tx, parent, tag, removed)?;
    tx.run(
        "UPDATE entry SET node = ?3, since = ?4, since_ns = ?5 WHERE parent = ?1 AND tag = ?2",
        params![sql(parent.0)?, tag, sql(node.0)?, since.secs, since.nanos],
    )?;
    Ok(())
}

fn touch_both(tx: &Tx<'_>, from: (NodeId, i64), to: (NodeId, i64), write: &Write) -> Outcome<()> {
    if from.0 == to.0 {
        return touch(tx, from.0, write.audit.at, from.1 + to.1);
    }
    touch(tx, from.0, write.audit.at, from.1)?;
    touch(tx, to.0, write.audit.at, to.1)
}

//! What the journal asks of the catalogue: rows that changed, all rows page by page, and how far it has come.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Row as SqlRow, params};
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{CatalogError, Intent, Write};
use warifu_vault::seam::journal::{
    Changes, JournalState, Mark, Row, RowKey, SegmentClass, Segments, Waste,
};

use crate::codec::{decode_pair, sql};
use crate::error::{Outcome, damaged, missing, misuse};
use crate::readers::View;
use crate::rows::{self, extent_columns, node_columns, number};
use crate::versions::{self, version_columns};
use crate::writer::Tx;
use crate::{audit, past, read, saves, xattrs};

/// So many marks are looked at for each row that is told at once: making a file and saving it changes some rows three times.
const MARKS_A_ROW: i64 = 4;

pub(crate) fn state(view: View<'_>) -> Outcome<JournalState> {
    let mut statement = view.conn.prepare_cached(
        "SELECT next, audited, archived, whole, (SELECT count(*) FROM changed), tip, undecided FROM journal WHERE id = 1",
    )?;
    let mut found = statement.query([])?;
    let row = found
        .next()?
        .ok_or_else(|| damaged("the catalogue does not say how far its journal is"))?;
    let mut bytes = view.conn.prepare_cached(
        "SELECT COALESCE(sum(len), 0) FROM extent WHERE kind = 3 AND number = ?1",
    )?;
    let mut of = |class: SegmentClass| -> Outcome<u64> {
        let mut sum = bytes.query(params![sql(class.number())?])?;
        sum.next()?.map_or(Ok(0), |row| number(row, 0))
    };
    Ok(JournalState {
        next: number(row, 0)?,
        tip: rows::extent_id(row, 5)?,
        undecided: row.get::<_, i64>(6)? != 0,
        audited: number(row, 1)?,
        archived: number(row, 2)?,
        whole: row.get::<_, i64>(3)? != 0,
        waiting: number(row, 4)?,
        changes: of(SegmentClass::Changes)?,
        checkpoints: of(SegmentClass::Checkpoint)?,
    })
}

pub(crate) fn changes(view: View<'_>, limit: i64) -> Outcome<Changes> {
    view.snapshot(|view| {
        let (next, audited, tip) = view
            .conn
            .prepare_cached("SELECT next, audited, tip FROM journal WHERE id = 1")?
            .query_row([], |row| {
                let tip: Option<[u8; 16]> = row.get(2)?;
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, tip))
            })?;
        let unsigned = |number: i64| {
            u64::try_from(number).map_err(|_| damaged("the journal counts with negative numbers"))
        };
        let mut marks = view
            .conn
            .prepare_cached("SELECT seq, kind, a, b, c FROM changed ORDER BY seq LIMIT ?1")?;
        let looked_at = limit.saturating_mul(MARKS_A_ROW);
        let mut found = marks.query(params![looked_at])?;
        let full = |len: usize, of: i64| i64::try_from(len).is_ok_and(|len| len >= of);
        // A row that changed more than once is told as it is now, in the place of its last change.
        let (mut last, mut read, mut mark) = (HashMap::new(), 0, Mark::default());
        while !full(last.len(), limit)
            && let Some(row) = found.next()?
        {
            mark = Mark(number(row, 0)?);
            last.insert(key_of(row)?, read);
            read += 1;
        }
        let more = full(last.len(), limit) || full(read, looked_at);
        let mut order: Vec<(usize, RowKey)> =
            last.into_iter().map(|(key, place)| (place, key)).collect();
        order.sort_unstable_by_key(|(place, _)| *place);
        let rows = order
            .into_iter()
            .map(|(_, key)| Ok((key, one(view, key)?)))
            .collect::<Outcome<Vec<_>>>()?;
        let audit = audit::list(view, unsigned(audited)?, limit)?;
        Ok(Changes {
            next: unsigned(next)?,
            tip: tip.map(ExtentId::from_bytes),
            mark,
            more: more || full(audit.len(), limit),
            rows,
            audit,
        })
    })
}

fn key_of(row: &SqlRow<'_>) -> Outcome<RowKey> {
    let node = |at| number(row, at).map(NodeId);
    let bytes = |at| -> Outcome<[u8; 16]> { Ok(row.get(at)?) };
    Ok(match row.get::<_, i64>(1)? {
        1 => RowKey::Node(node(2)?),
        2 => RowKey::Entry(node(2)?, bytes(3)?),
        3 => RowKey::Link(node(2)?),
        4 => RowKey::Xattr(node(2)?, bytes(3)?),
        5 => RowKey::Version(FileId::from_bytes(bytes(2)?), VersionNo(number(row, 3)?)),
        6 => RowKey::Layout(
            FileId::from_bytes(bytes(2)?),
            number(row, 3)?,
            VersionNo(number(row, 4)?),
        ),
        7 => RowKey::Extent(ExtentId::from_bytes(bytes(2)?)),
        8 => RowKey::Past(number(row, 2)?),
        other => {
            return Err(damaged(format!(
                "a row of kind {other} changed, which does not exist"
            )));
        }
    })
}

/// One row as it is.
fn one(view: View<'_>, key: RowKey) -> Outcome<Option<Row>> {
    let conn = view.conn;
    match key {
        RowKey::Node(node) => Ok(read::attr(view, node)?.map(Row::Node)),
        RowKey::Entry(parent, tag) => conn
            .prepare_cached(
                "SELECT parent, tag, sealed, node, since, since_ns FROM entry WHERE parent = ?1 AND tag = ?2",
            )?
            .query(params![sql(parent.0)?, tag])?
            .next()?
            .map(|row| entry(view, row))
            .transpose(),
        RowKey::Link(node) => conn
            .prepare_cached("SELECT node FROM link WHERE node = ?1")?
            .query(params![sql(node.0)?])?
            .next()?
            .map(|row| link(view, row))
            .transpose(),
        RowKey::Xattr(node, tag) => conn
            .prepare_cached("SELECT node, tag, sealed FROM xattr WHERE node = ?1 AND tag = ?2")?
            .query(params![sql(node.0)?, tag])?
            .next()?
            .map(|row| xattr(view, row))
            .transpose(),
        RowKey::Version(document, version) => conn
            .prepare_cached(concat!(
                "SELECT ",
                version_columns!(),
                " FROM version WHERE document = ?1 AND number = ?2"
            ))?
            .query(params![document.as_bytes(), sql(version.0)?])?
            .next()?
            .map(|row| version_row(view, row))
            .transpose(),
        RowKey::Layout(document, place, from) => conn
            .prepare_cached(
                "SELECT document, no, from_version, until_version, extent FROM layout
                 WHERE document = ?1 AND no = ?2 AND from_version = ?3",
            )?
            .query(params![document.as_bytes(), sql(place)?, sql(from.0)?])?
            .next()?
            .map(layout)
            .transpose(),
        RowKey::Extent(extent) => Ok(read::extent(view, extent)?.map(Row::Extent)),
        RowKey::Past(id) => Ok(past::one(view, id)?.map(|name| Row::Past(Box::new(name)))),
    }
}

fn entry(view: View<'_>, row: &SqlRow<'_>) -> Outcome<Row> {
    let (parent, tag) = (NodeId(number(row, 0)?), row.get(1)?);
    let sealed = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
    Ok(Row::Entry {
        parent,
        tag,
        name: read::open_name(view, parent, &tag, sealed)?,
        node: NodeId(number(row, 3)?),
        since: rows::time(row, 4)?,
    })
}

fn link(view: View<'_>, row: &SqlRow<'_>) -> Outcome<Row> {
    let node = NodeId(number(row, 0)?);
    Ok(Row::Link {
        node,
        target: read::read_link(view, node)?,
    })
}

fn xattr(view: View<'_>, row: &SqlRow<'_>) -> Outcome<Row> {
    let (node, tag) = (NodeId(number(row, 0)?), row.get(1)?);
    let opened = xattrs::open(view, node, &tag, &row.get::<_, Vec<u8>>(2)?)?;
    let (name, value) = decode_pair(opened.expose())?;
    Ok(Row::Xattr {
        node,
        tag,
        name: name.to_vec(),
        value: value.to_vec(),
    })
}

fn version_row(view: View<'_>, row: &SqlRow<'_>) -> Outcome<Row> {
    let (version, extents) = versions::from_row(view, row)?;
    Ok(Row::Version(version, extents))
}

fn layout(row: &SqlRow<'_>) -> Outcome<Row> {
    let until = match row.get::<_, Option<i64>>(3)? {
        Some(_) => Some(VersionNo(number(row, 3)?)),
        None => None,
    };
    Ok(Row::Layout {
        document: FileId::from_bytes(row.get(0)?),
        place: number(row, 1)?,
        from: VersionNo(number(row, 2)?),
        until,
        extent: ExtentId::from_bytes(row.get(4)?),
    })
}

/// A page of all rows: of one table, the next where that has no more.
pub(crate) fn rows(view: View<'_>, after: Option<RowKey>, limit: i64) -> Outcome<Vec<Row>> {
    view.snapshot(|view| {
        let first = match after {
            None | Some(RowKey::Node(_)) => 0,
            Some(RowKey::Entry(..)) => 1,
            Some(RowKey::Link(_)) => 2,
            Some(RowKey::Xattr(..)) => 3,
            Some(RowKey::Version(..)) => 4,
            Some(RowKey::Layout(..)) => 5,
            Some(RowKey::Extent(_)) => 6,
            Some(RowKey::Past(_)) => 7,
        };
        for table in first..8 {
            let page = page(view, table, after, limit)?;
            if !page.is_empty() {
                return Ok(page);
            }
        }
        Ok(Vec::new())
    })
}

fn page(view: View<'_>, table: u8, after: Option<RowKey>, limit: i64) -> Outcome<Vec<Row>> {
    // Before the first row of each table: numbers are positive and ids no empty bytes.
    let (mut number, mut bytes): (i64, Vec<u8>) = (-1, Vec::new());
    let (mut second, mut third) = (-1, -1);
    match (table, after) {
        (0, Some(RowKey::Node(node))) | (2, Some(RowKey::Link(node))) => number = sql(node.0)?,
        (1, Some(RowKey::Entry(node, tag))) | (3, Some(RowKey::Xattr(node, tag))) => {
            (number, bytes) = (sql(node.0)?, tag.to_vec());
        }
        (4, Some(RowKey::Version(document, version))) => {
            (bytes, second) = (document.as_bytes().to_vec(), sql(version.0)?);
        }
        (5, Some(RowKey::Layout(document, place, from))) => {
            bytes = document.as_bytes().to_vec();
            (second, third) = (sql(place)?, sql(from.0)?);
        }
        (6, Some(RowKey::Extent(extent))) => bytes = extent.as_bytes().to_vec(),
        (7, Some(RowKey::Past(id))) => number = sql(id)?,
        _ => {}
    }
    let conn = view.conn;
    let mut list = Vec::new();
    match table {
        0 => {
            let mut statement = conn.prepare_cached(concat!(
                "SELECT ",
                node_columns!(),
                " FROM node n WHERE n.id > ?1 ORDER BY n.id LIMIT ?2"
            ))?;
            let mut found = statement.query(params![number, limit])?;
            while let Some(row) = found.next()? {
                list.push(Row::Node(rows::attr(row)?));
            }
        }
        1 => {
            let mut statement = conn.prepare_cached(
                "SELECT parent, tag, sealed, node, since, since_ns FROM entry WHERE (parent, tag) > (?1, ?2) ORDER BY parent, tag LIMIT ?3",
            )?;
            let mut found = statement.query(params![number, bytes, limit])?;
            while let Some(row) = found.next()? {
                list.push(entry(view, row)?);
            }
        }
        2 => {
            let mut statement = conn
                .prepare_cached("SELECT node FROM link WHERE node > ?1 ORDER BY node LIMIT ?2")?;
            let mut found = statement.query(params![number, limit])?;
            while let Some(row) = found.next()? {
                list.push(link(view, row)?);
            }
        }
        3 => {
            let mut statement = conn.prepare_cached(
                "SELECT node, tag, sealed FROM xattr WHERE (node, tag) > (?1, ?2) ORDER BY node, tag LIMIT ?3",
            )?;
            let mut found = statement.query(params![number, bytes, limit])?;
            while let Some(row) = found.next()? {
                list.push(xattr(view, row)?);
            }
        }
        4 => {
            let mut statement = conn.prepare_cached(concat!(
                "SELECT ",
                version_columns!(),
                " FROM version WHERE (document, number) > (?1, ?2) ORDER BY document, number LIMIT ?3"
            ))?;
            let mut found = statement.query(params![bytes, second, limit])?;
            while let Some(row) = found.next()? {
                list.push(version_row(view, row)?);
            }
        }
        5 => {
            let mut statement = conn.prepare_cached(
                "SELECT document, no, from_version, until_version, extent FROM layout
                 WHERE (document, no, from_version) > (?1, ?2, ?3) ORDER BY document, no, from_version LIMIT ?4",
            )?;
            let mut found = statement.query(params![bytes, second, third, limit])?;
            while let Some(row) = found.next()? {
                list.push(layout(row)?);
            }
        }
        7 => {
            let found = past::ended(view, u64::try_from(number).unwrap_or(0), limit)?;
            list.extend(found.into_iter().map(|name| Row::Past(Box::new(name))));
        }
        _ => {
            let mut statement = conn.prepare_cached(concat!(
                "SELECT ",
                extent_columns!(),
                " FROM extent WHERE kind <> 3 AND id > ?1 ORDER BY id LIMIT ?2"
            ))?;
            let mut found = statement.query(params![bytes, limit])?;
            while let Some(row) = found.next()? {
                list.push(Row::Extent(rows::extent(row)?));
            }
        }
    }
    Ok(list)
}

pub(crate) fn journalled(tx: &Tx<'_>, segments: &Segments) -> Outcome<Waste> {
    let before = state(tx.view)?;
    for (number, extent) in (before.next..).zip(&segments.extents) {
        if extent.version.0 != number {
            return Err(CatalogError::Conflict {
                current: VersionNo(before.next),
            }
            .into());
        }
    }
    saves::take_intent(tx, segments.save)?;
    for extent in &segments.extents {
        versions::insert_extent(tx, extent)?;
    }
    let next = before
        .next
        .checked_add(segments.extents.len() as u64)
        .ok_or_else(|| misuse("the journal has the last segment there is"))?;
    tx.run(
        "UPDATE journal SET next = ?1, audited = max(audited, ?2), archived = max(archived, ?3), tip = COALESCE(?4, tip) WHERE id = 1",
        params![
            sql(next)?,
            sql(segments.audited.unwrap_or(0))?,
            sql(segments.archived.unwrap_or(0))?,
            segments.extents.last().map(|last| *last.extent.as_bytes())
        ],
    )?;
    if let Some(Mark(mark)) = segments.mark {
        tx.run("DELETE FROM changed WHERE seq <= ?1", params![sql(mark)?])?;
    }
    let Some(finished) = &segments.finished else {
        return Ok(None);
    };
    for part in &finished.parts {
        if read::extent(tx.view, *part)?.is_none() {
            return Err(missing("part of the checkpoint"));
        }
    }
    let old = params![sql(finished.begin)?];
    let mut statement = tx.conn().prepare_cached(
        "SELECT id, generation FROM extent WHERE kind = 3 AND number IN (0, 1) AND version < ?1",
    )?;
    let mut found = statement.query(old)?;
    let mut extents = Vec::new();
    while let Some(row) = found.next()? {
        extents.push((ExtentId::from_bytes(row.get(0)?), Generation(row.get(1)?)));
    }
    drop(found);
    tx.run(
        "DELETE FROM extent WHERE kind = 3 AND number IN (0, 1) AND version < ?1",
        old,
    )?;
    tx.run("UPDATE journal SET whole = 1 WHERE id = 1", [])?;
    if extents.is_empty() {
        return Ok(None);
    }
    let intent = Intent {
        save: finished.waste,
        extents,
    };
    saves::begin(tx, &intent, finished.lease)?;
    Ok(Some(intent))
}

pub(crate) fn decide(tx: &Tx<'_>, write: &Write) -> Outcome<()> {
    tx.run(
        "UPDATE journal SET undecided = 0 WHERE id = 1 AND undecided <> 0",
        [],
    )?;
    audit::record(tx, &write.audit)
}

/// Whether nothing was ever done in this catalogue.
pub(crate) fn is_empty(view: View<'_>) -> Outcome<bool> {
    let used: Option<i64> = view
        .conn
        .prepare_cached(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM audit) OR EXISTS (SELECT 1 FROM entry) OR EXISTS (SELECT 1 FROM version)
               OR EXISTS (SELECT 1 FROM extent) OR EXISTS (SELECT 1 FROM node WHERE id <> 1)",
        )?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(used.is_none())
}

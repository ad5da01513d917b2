//! Rows as the vault's own types.

use rusqlite::Row;
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, Threshold, VersionNo};
use warifu_vault::node::{Attr, NodeId};
use warifu_vault::seam::catalog::{ExtentRecord, IndexSet};

use crate::codec::{extent_kind_of, kind_of, scheme_of};
use crate::error::{Outcome, damaged};

/// The columns of a node, as [`attr`] reads them.
macro_rules! node_columns {
    () => {
        "n.id, n.kind, n.mode, n.uid, n.gid, n.nlink, n.rdev, n.size, n.atime, n.atime_ns, n.mtime, n.mtime_ns, \
         n.ctime, n.ctime_ns, n.btime, n.btime_ns, n.document, n.version, n.head"
    };
}

/// The columns of an extent, as [`extent`] reads them.
macro_rules! extent_columns {
    () => {
        "id, kind, number, len, k, n, scheme, generation, document, version, owed"
    };
}

pub(crate) use {extent_columns, node_columns};

/// The node in the first columns of a row.
pub(crate) fn attr(row: &Row<'_>) -> Outcome<Attr> {
    Ok(Attr {
        node: NodeId(number(row, 0)?),
        kind: kind_of(row.get(1)?)?,
        mode: row.get(2)?,
        uid: row.get(3)?,
        gid: row.get(4)?,
        nlink: row.get(5)?,
        rdev: row.get(6)?,
        size: number(row, 7)?,
        atime: time(row, 8)?,
        mtime: time(row, 10)?,
        ctime: time(row, 12)?,
        btime: time(row, 14)?,
        document: row
            .get::<_, Option<[u8; 16]>>(16)?
            .map_or(FileId::NIL, FileId::from_bytes),
        version: VersionNo(number(row, 17)?),
        head: extent_id(row, 18)?,
    })
}

/// The extent in the first columns of a row.
pub(crate) fn extent(row: &Row<'_>) -> Outcome<ExtentRecord> {
    let owed = match row.get::<_, Option<[u8; 32]>>(10)? {
        None => IndexSet::EMPTY,
        Some(bytes) => IndexSet::from_bytes(&bytes)
            .ok_or_else(|| damaged("a set of owed shares cannot be read"))?,
    };
    Ok(ExtentRecord {
        extent: ExtentId::from_bytes(row.get(0)?),
        kind: extent_kind_of(row.get(1)?)?,
        number: number(row, 2)?,
        len: number(row, 3)?,
        threshold: Threshold::new(row.get(4)?, row.get(5)?)
            .map_err(|error| damaged(error.to_string()))?,
        scheme: scheme_of(row.get(6)?)?,
        generation: Generation(row.get(7)?),
        document: FileId::from_bytes(row.get(8)?),
        version: VersionNo(number(row, 9)?),
        owed,
    })
}

/// A number that is not negative.
pub(crate) fn number(row: &Row<'_>, at: usize) -> Outcome<u64> {
    let found: i64 = row.get(at)?;
    u64::try_from(found)
        .map_err(|_| damaged(format!("a number is {found} where none can be negative")))
}

/// A time in two columns.
pub(crate) fn time(row: &Row<'_>, at: usize) -> Outcome<Timestamp> {
    Ok(Timestamp {
        secs: row.get(at)?,
        nanos: row.get(at + 1)?,
    })
}

/// The id of an extent, where there is one.
pub(crate) fn extent_id(row: &Row<'_>, at: usize) -> Outcome<Option<ExtentId>> {
    Ok(row
        .get::<_, Option<[u8; 16]>>(at)?
        .map(ExtentId::from_bytes))
}

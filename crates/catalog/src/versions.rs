//! Versions and extents: rows that saves write and repair reads.

use rusqlite::{OptionalExtension, Row, params};
use warifu_core::ids::{ExtentId, FileId, VersionNo};
use warifu_core::keys::Field;
use warifu_vault::node::{Attr, NodeId};
use warifu_vault::seam::catalog::{
    CatalogError, ExtentRecord, IndexSet, OwedChange, Version, Write,
};

use crate::codec::{decode_pair, encode_pair, extent_kind_code, scheme_code, sql};
use crate::error::{Outcome, damaged, missing, misuse};
use crate::names::{node, store};
use crate::readers::View;
use crate::rows::{extent_id, number, time};
use crate::writer::Tx;
use crate::{audit, layout};

/// The columns of a version, as [`from_row`] reads them.
macro_rules! version_columns {
    () => {
        "document, number, size, mtime, mtime_ns, saved, saved_ns, sealed, head, extents, settled"
    };
}

pub(crate) use version_columns;

/// What the sealed author of a version is bound to.
fn author_row(document: FileId, number: VersionNo) -> [u8; 24] {
    let mut row = [0; 24];
    let (first, second) = row.split_at_mut(16);
    first.copy_from_slice(document.as_bytes());
    second.copy_from_slice(&number.0.to_le_bytes());
    row
}

/// The version in a row without its layout, and the number of its data extents.
pub(crate) fn from_row(view: View<'_>, row: &Row<'_>) -> Outcome<(Version, u64)> {
    let document = FileId::from_bytes(row.get(0)?);
    let number_ = VersionNo(number(row, 1)?);
    let sealed: Vec<u8> = row.get(7)?;
    let opened = view
        .key
        .open(Field::Author, &author_row(document, number_), &sealed)
        .map_err(|_| damaged(format!("the author of version {number_} of document {document} does not open under the vault's key")))?;
    let (author, host) = decode_pair(opened.expose())?;
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| damaged("an author is no UTF-8"))
    };
    let version = Version {
        document,
        number: number_,
        size: number(row, 2)?,
        mtime: time(row, 3)?,
        saved_at: time(row, 5)?,
        author: text(author)?,
        host: text(host)?,
        head: extent_id(row, 8)?,
        settled: row.get::<_, i64>(10)? != 0,
        layout: Vec::new(),
    };
    Ok((version, number(row, 9)?))
}

/// The version of a file that nobody has saved anything in.
pub(crate) fn empty(attr: &Attr, write: &Write) -> Version {
    Version {
        document: attr.document,
        number: attr.version,
        size: 0,
        mtime: attr.mtime,
        saved_at: write.audit.at,
        author: write.audit.context.actor.clone(),
        host: write.audit.context.host.clone(),
        head: None,
        settled: true,
        layout: Vec::new(),
    }
}

/// Writes a version's row; its layout is written by [`layout::supersede`].
pub(crate) fn insert(tx: &Tx<'_>, version: &Version) -> Outcome<()> {
    insert_sized(tx, version, version.layout.len() as u64)
}

/// Writes the row of a version that has a layout of so many places.
pub(crate) fn insert_sized(tx: &Tx<'_>, version: &Version, places: u64) -> Outcome<()> {
    let people = encode_pair(version.author.as_bytes(), version.host.as_bytes())?;
    let sealed = tx.key().seal(
        Field::Author,
        &author_row(version.document, version.number),
        &people,
    )?;
    tx.run(
        concat!(
            "INSERT INTO version (",
            version_columns!(),
            ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
        ),
        params![
            version.document.as_bytes(),
            sql(version.number.0)?,
            sql(version.size)?,
            version.mtime.secs,
            version.mtime.nanos,
            version.saved_at.secs,
            version.saved_at.nanos,
            sealed,
            version.head.map(|head| *head.as_bytes()),
            sql(places)?,
            i64::from(version.settled),
        ],
    )?;
    Ok(())
}

/// The newest version of a document; 0 where there is none.
pub(crate) fn newest(tx: &Tx<'_>, document: FileId) -> Outcome<VersionNo> {
    let mut statement = tx.conn().prepare_cached(
        "SELECT number FROM version WHERE document = ?1 ORDER BY number DESC LIMIT 1",
    )?;
    let found: Option<i64> = statement
        .query_row(params![document.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(VersionNo(
        u64::try_from(found.unwrap_or(0))
            .map_err(|_| damaged("a version has a negative number"))?,
    ))
}

pub(crate) fn insert_extent(tx: &Tx<'_>, extent: &ExtentRecord) -> Outcome<()> {
    let written = tx.run(
        "INSERT INTO extent (id, kind, number, len, k, n, scheme, generation, document, version, owed)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (id) DO NOTHING",
        params![
            extent.extent.as_bytes(),
            extent_kind_code(extent.kind)?,
            sql(extent.number)?,
            sql(extent.len)?,
            extent.threshold.k(),
            extent.threshold.n(),
            scheme_code(extent.scheme)?,
            extent.generation.0,
            extent.document.as_bytes(),
            sql(extent.version.0)?,
            owed_bytes(extent.owed),
        ],
    )?;
    if written == 1 {
        Ok(())
    } else {
        Err(misuse(format!("extent {} was dealt twice", extent.extent)))
    }
}

/// Fails unless the catalogue knows an extent.
pub(crate) fn need_extent(tx: &Tx<'_>, extent: ExtentId) -> Outcome<()> {
    let known = tx
        .conn()
        .prepare_cached("SELECT 1 FROM extent WHERE id = ?1")?
        .exists(params![extent.as_bytes()])?;
    if known {
        Ok(())
    } else {
        Err(missing("extent"))
    }
}

pub(crate) fn owed_bytes(owed: IndexSet) -> Option<[u8; 32]> {
    (!owed.is_empty()).then(|| owed.to_bytes())
}

pub(crate) fn set_owed(tx: &Tx<'_>, extent: ExtentId, owed: IndexSet) -> Outcome<()> {
    let changed = tx.run(
        "UPDATE extent SET owed = ?2 WHERE id = ?1",
        params![extent.as_bytes(), owed_bytes(owed)],
    )?;
    if changed == 1 {
        Ok(())
    } else {
        Err(missing("extent"))
    }
}

pub(crate) fn change_owed(tx: &Tx<'_>, changes: &[OwedChange]) -> Outcome<Vec<Option<IndexSet>>> {
    let mut now = Vec::with_capacity(changes.len());
    for change in changes {
        let mut statement = tx
            .conn()
            .prepare_cached("SELECT owed FROM extent WHERE id = ?1 AND generation = ?2")?;
        let found = statement
            .query_row(
                params![change.extent.as_bytes(), change.generation.0],
                |row| row.get::<_, Option<[u8; 32]>>(0),
            )
            .optional()?;
        let Some(bytes) = found else {
            now.push(None);
            continue;
        };
        let before = bytes
            .map_or(Some(IndexSet::EMPTY), |bytes| IndexSet::from_bytes(&bytes))
            .ok_or_else(|| damaged("a set of owed shares cannot be read"))?;
        let owed = change.apply(before);
        if owed != before {
            set_owed(tx, change.extent, owed)?;
        }
        now.push(Some(owed));
    }
    Ok(now)
}

/// Notes that versions are on disk, and with them every version made of the very same shares by a rename.
pub(crate) fn settle(tx: &Tx<'_>, settled: &[(FileId, VersionNo)]) -> Outcome<()> {
    for (document, number) in settled {
        let key = params![document.as_bytes(), sql(number.0)?];
        tx.run(
            "UPDATE version SET settled = 1 WHERE document = ?1 AND number = ?2 AND settled = 0",
            key,
        )?;
        tx.run(
            "UPDATE version SET settled = 1 WHERE settled = 0
               AND head = (SELECT head FROM version WHERE document = ?1 AND number = ?2)",
            key,
        )?;
    }
    Ok(())
}

pub(crate) fn revert(
    tx: &Tx<'_>,
    document: FileId,
    number_: VersionNo,
    write: &Write,
) -> Outcome<VersionNo> {
    let at = write.audit.at;
    let key = params![document.as_bytes(), sql(number_.0)?];
    let mut statement = tx
        .conn()
        .prepare_cached("SELECT settled, head FROM version WHERE document = ?1 AND number = ?2")?;
    let found = statement
        .query_row(key, |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<[u8; 16]>>(1)?))
        })
        .optional()?;
    let (settled, head) = found.ok_or_else(|| missing("version"))?;
    let current = newest(tx, document)?;
    if current != number_ {
        return Err(CatalogError::Conflict { current }.into());
    }
    if settled != 0 {
        return Err(missing("unsettled version"));
    }
    let mut gone = layout::take_back(tx, document, number_)?;
    gone.extend(head.map(ExtentId::from_bytes));
    tx.run(
        "DELETE FROM version WHERE document = ?1 AND number = ?2",
        key,
    )?;
    for extent in gone {
        drop_extent(tx, extent)?;
    }

    let number_before = newest(tx, document)?;
    let mut statement = tx.conn().prepare_cached(concat!(
        "SELECT ",
        version_columns!(),
        " FROM version WHERE document = ?1 AND number = ?2"
    ))?;
    let mut rows = statement.query(params![document.as_bytes(), sql(number_before.0)?])?;
    let before = rows
        .next()?
        .map(|row| from_row(tx.view, row))
        .transpose()?
        .map(|(version, _)| version);
    let mut statement = tx
        .conn()
        .prepare_cached("SELECT id FROM node WHERE document = ?1 AND version = ?2")?;
    let nodes: Vec<i64> = statement
        .query_map(key, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in nodes {
        let mut attr = node(
            tx,
            NodeId(u64::try_from(id).map_err(|_| damaged("a node has a negative number"))?),
        )?;
        attr.version = number_before;
        attr.size = before.as_ref().map_or(0, |version| version.size);
        attr.mtime = before.as_ref().map_or(at, |version| version.mtime);
        attr.head = before.as_ref().and_then(|version| version.head);
        attr.ctime = at;
        store(tx, &attr)?;
    }
    audit::record(tx, &write.audit)?;
    Ok(number_before)
}

/// Forgets an extent that no version needs any more.
fn drop_extent(tx: &Tx<'_>, extent: ExtentId) -> Outcome<()> {
    tx.run(
        "DELETE FROM extent WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM layout WHERE extent = ?1)
           AND NOT EXISTS (SELECT 1 FROM version WHERE head = ?1)",
        params![extent.as_bytes()],
    )?;
    Ok(())
}

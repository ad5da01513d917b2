//! Which extents a version consists of, kept as intervals of versions.

use std::collections::BTreeMap;

use rusqlite::params;
use warifu_core::ids::{ExtentId, FileId, VersionNo};

use crate::codec::sql;
use crate::error::{Outcome, damaged, misuse};
use crate::readers::View;
use crate::rows::number;
use crate::writer::Tx;

/// The most extents in a version: 64 TiB of the largest ones. More is not a file but a damaged number.
const MOST: u64 = 1 << 24;

/// The data extents of one version, in order.
pub(crate) fn read(
    view: View<'_>,
    document: FileId,
    version: VersionNo,
    extents: u64,
) -> Outcome<Vec<Option<ExtentId>>> {
    if extents == 0 {
        return Ok(Vec::new());
    }
    if extents > MOST {
        return Err(damaged(format!("a version of {extents} extents")));
    }
    let mut list =
        vec![None; usize::try_from(extents).map_err(|_| damaged("a version larger than memory"))?];
    let mut statement = view.conn.prepare_cached(
        "SELECT no, extent FROM layout WHERE document = ?1 AND from_version <= ?2
           AND (until_version IS NULL OR until_version > ?2)",
    )?;
    let mut rows = statement.query(params![document.as_bytes(), sql(version.0)?])?;
    while let Some(row) = rows.next()? {
        let place = usize::try_from(number(row, 0)?)
            .ok()
            .and_then(|no| list.get_mut(no));
        match place {
            Some(place @ None) => *place = Some(ExtentId::from_bytes(row.get(1)?)),
            Some(Some(_)) => return Err(damaged("two extents in one place of a version")),
            None => return Err(damaged("an extent behind the end of its version")),
        }
    }
    Ok(list)
}

/// Writes the layout of a document's next version: only the places that differ from the one before.
pub(crate) fn supersede(
    tx: &Tx<'_>,
    document: FileId,
    version: VersionNo,
    layout: &[Option<ExtentId>],
) -> Outcome<()> {
    if layout.len() as u64 > MOST {
        return Err(misuse(format!(
            "a version of {} extents; the most is {MOST}",
            layout.len()
        )));
    }
    let mut before = current(tx, document)?;
    for (no, extent) in (0_u64..).zip(layout) {
        let old = before.remove(&no);
        if old == *extent {
            continue;
        }
        if old.is_some() {
            end(tx, document, version, no)?;
        }
        if let Some(extent) = extent {
            tx.run(
                "INSERT INTO layout (document, no, from_version, until_version, extent) VALUES (?1, ?2, ?3, NULL, ?4)",
                params![document.as_bytes(), sql(no)?, sql(version.0)?, extent.as_bytes()],
            )?;
        }
    }
    // What is left lay behind the new end.
    before
        .into_keys()
        .try_for_each(|no| end(tx, document, version, no))
}

fn current(tx: &Tx<'_>, document: FileId) -> Outcome<BTreeMap<u64, ExtentId>> {
    let mut statement = tx.conn().prepare_cached(
        "SELECT no, extent FROM layout WHERE document = ?1 AND until_version IS NULL",
    )?;
    let mut rows = statement.query(params![document.as_bytes()])?;
    let mut extents = BTreeMap::new();
    while let Some(row) = rows.next()? {
        extents.insert(number(row, 0)?, ExtentId::from_bytes(row.get(1)?));
    }
    Ok(extents)
}

fn end(tx: &Tx<'_>, document: FileId, version: VersionNo, no: u64) -> Outcome<()> {
    tx.run(
        "UPDATE layout SET until_version = ?2 WHERE document = ?1 AND no = ?3 AND until_version IS NULL",
        params![document.as_bytes(), sql(version.0)?, sql(no)?],
    )?;
    Ok(())
}

/// Takes the layout of a document's newest version back. Returns the extents that only came with it.
pub(crate) fn take_back(
    tx: &Tx<'_>,
    document: FileId,
    version: VersionNo,
) -> Outcome<Vec<ExtentId>> {
    let key = params![document.as_bytes(), sql(version.0)?];
    let mut statement = tx
        .conn()
        .prepare_cached("SELECT extent FROM layout WHERE document = ?1 AND from_version = ?2")?;
    let came: Vec<[u8; 16]> = statement
        .query_map(key, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    tx.run(
        "DELETE FROM layout WHERE document = ?1 AND from_version = ?2",
        key,
    )?;
    tx.run(
        "UPDATE layout SET until_version = NULL WHERE document = ?1 AND until_version = ?2",
        key,
    )?;
    Ok(came.into_iter().map(ExtentId::from_bytes).collect())
}

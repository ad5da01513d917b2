//! Forgetting versions and names for good, and which extents nobody needs after that.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, params};
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{CatalogError, Intent, Write};
use warifu_vault::seam::past::{Forget, Forgotten, Interval, KNOWN_SINCE, intervals};

use crate::codec::sql;
use crate::error::{Outcome, missing};
use crate::past::{position, set_position};
use crate::rows::number;
use crate::writer::Tx;
use crate::{audit, read, saves, xattrs};

pub(crate) fn forget(tx: &Tx<'_>, what: &Forget, write: &Write) -> Outcome<Forgotten> {
    if !has_attributes(tx, &what.attributes)? {
        return Err(CatalogError::Conflict {
            current: VersionNo(0),
        }
        .into());
    }
    let mut wanted: BTreeMap<FileId, BTreeSet<VersionNo>> = BTreeMap::new();
    for (document, version) in &what.versions {
        wanted.entry(*document).or_default().insert(*version);
    }
    let (mut versions, mut loose) = (Vec::new(), BTreeSet::new());
    for (document, numbers) in wanted {
        let shown = shown(tx, document)?;
        let all = read::history(tx.view, document)?;
        // As long as the newest is not known to be on disk, the one before it may be needed again.
        let settled = all.iter().rev().find(|version| version.settled);
        let settled = settled.map(|version| version.number);
        let (going, staying): (Vec<_>, Vec<_>) = all.into_iter().partition(|version| {
            let needed = !shown.is_empty() && Some(version.number) >= settled;
            version.settled
                && !needed
                && numbers.contains(&version.number)
                && !shown.contains(&version.number)
        });
        if going.is_empty() {
            continue;
        }
        let mut layouts = Vec::with_capacity(staying.len());
        for version in &staying {
            let whole = read::version(tx.view, document, version.number)?;
            let whole = whole.ok_or_else(|| missing("version"))?;
            layouts.push((whole.number, whole.layout));
        }
        loose.extend(relayout(tx, document, &intervals(&layouts))?);
        for version in going {
            tx.run(
                "DELETE FROM version WHERE document = ?1 AND number = ?2",
                params![document.as_bytes(), sql(version.number.0)?],
            )?;
            loose.extend(version.head);
            versions.push((document, version.number));
        }
    }
    for name in &what.names {
        tx.run("DELETE FROM past WHERE id = ?1", params![sql(*name)?])?;
    }
    if what.known_since > position(tx.view, KNOWN_SINCE)? {
        set_position(tx, KNOWN_SINCE, what.known_since)?;
    }
    let mut extents = Vec::new();
    for extent in loose {
        let mut statement = tx.conn().prepare_cached(
            "DELETE FROM extent WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM layout WHERE extent = ?1)
               AND NOT EXISTS (SELECT 1 FROM version WHERE head = ?1) RETURNING generation",
        )?;
        let gone: Option<u32> = statement
            .query_row(params![extent.as_bytes()], |row| row.get(0))
            .optional()?;
        extents.extend(gone.map(|generation| (extent, Generation(generation))));
    }
    if !extents.is_empty() {
        saves::begin(
            tx,
            &Intent {
                save: what.waste,
                extents: extents.clone(),
            },
            what.lease,
        )?;
    }
    audit::record(tx, &write.audit)?;
    Ok(Forgotten { versions, extents })
}

/// Whether the root has exactly these attributes.
fn has_attributes(tx: &Tx<'_>, names: &[Vec<u8>]) -> Outcome<bool> {
    let root = NodeId::ROOT;
    let expected: BTreeSet<[u8; 16]> = names
        .iter()
        .map(|name| xattrs::tag(tx.key(), root, name))
        .collect();
    let mut statement = tx
        .conn()
        .prepare_cached("SELECT tag FROM xattr WHERE node = ?1")?;
    let mut rows = statement.query(params![sql(root.0)?])?;
    let mut found = BTreeSet::new();
    while let Some(row) = rows.next()? {
        found.insert(row.get::<_, [u8; 16]>(0)?);
    }
    Ok(found == expected)
}

/// The versions of a document that files show, whether they have a name or are only open.
fn shown(tx: &Tx<'_>, document: FileId) -> Outcome<BTreeSet<VersionNo>> {
    let mut statement = tx
        .conn()
        .prepare_cached("SELECT version FROM node WHERE document = ?1")?;
    let mut rows = statement.query(params![document.as_bytes()])?;
    let mut shown = BTreeSet::new();
    while let Some(row) = rows.next()? {
        shown.insert(VersionNo(number(row, 0)?));
    }
    Ok(shown)
}

/// Makes a document's layout what the versions that stay need. Returns the extents that were in it and are not any more.
fn relayout(tx: &Tx<'_>, document: FileId, needed: &[Interval]) -> Outcome<BTreeSet<ExtentId>> {
    let mut before: BTreeMap<(u64, VersionNo), (Option<VersionNo>, ExtentId)> = BTreeMap::new();
    let mut statement = tx.conn().prepare_cached(
        "SELECT no, from_version, until_version, extent FROM layout WHERE document = ?1",
    )?;
    let mut rows = statement.query(params![document.as_bytes()])?;
    while let Some(row) = rows.next()? {
        let until = match row.get::<_, Option<i64>>(2)? {
            Some(_) => Some(VersionNo(number(row, 2)?)),
            None => None,
        };
        let extent = ExtentId::from_bytes(row.get(3)?);
        before.insert(
            (number(row, 0)?, VersionNo(number(row, 1)?)),
            (until, extent),
        );
    }
    drop(rows);
    let mut loose: BTreeSet<ExtentId> = before.values().map(|(_, extent)| *extent).collect();
    let mut after = BTreeMap::new();
    for interval in needed {
        loose.remove(&interval.extent);
        after.insert(
            (interval.place, interval.from),
            (interval.until, interval.extent),
        );
    }
    for ((place, from), was) in &before {
        if after.get(&(*place, *from)) != Some(was) {
            tx.run(
                "DELETE FROM layout WHERE document = ?1 AND no = ?2 AND from_version = ?3",
                params![document.as_bytes(), sql(*place)?, sql(from.0)?],
            )?;
        }
    }
    for ((place, from), is) in &after {
        if before.get(&(*place, *from)) != Some(is) {
            let (until, extent) = is;
            tx.run(
                "INSERT INTO layout (document, no, from_version, until_version, extent) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    document.as_bytes(),
                    sql(*place)?,
                    sql(from.0)?,
                    until.map(|until| sql(until.0)).transpose()?,
                    extent.as_bytes()
                ],
            )?;
        }
    }
    Ok(loose)
}

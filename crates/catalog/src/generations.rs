//! Generations of shares: which is given out, and the switch of extents to another one.

use std::collections::HashSet;
use std::time::Duration;

use rusqlite::params;
use warifu_core::head::Timestamp;
use warifu_core::ids::Generation;
use warifu_vault::refresh::THRESHOLD;
use warifu_vault::seam::catalog::{CatalogError, Intent, SaveId, Write};
use warifu_vault::seam::generations::{Generations, Regenerated};

use crate::error::Outcome;
use crate::readers::View;
use crate::writer::Tx;
use crate::{audit, past, saves, versions};

pub(crate) fn read(view: View<'_>) -> Outcome<Generations> {
    let mut statement = view.conn.prepare_cached(
        "SELECT current, wanted, begun, begun_ns, ended, ended_ns FROM generation WHERE id = 1",
    )?;
    Ok(statement.query_row([], |row| {
        let time = |at| {
            let secs: Option<i64> = row.get(at)?;
            let nanos: Option<u32> = row.get(at + 1)?;
            Ok::<_, rusqlite::Error>(secs.map(|secs| Timestamp {
                secs,
                nanos: nanos.unwrap_or(0),
            }))
        };
        Ok(Generations {
            current: Generation(row.get(0)?),
            wanted: Generation(row.get(1)?),
            begun: time(2)?,
            ended: time(4)?,
        })
    })?)
}

pub(crate) fn set(
    tx: &Tx<'_>,
    before: &Generations,
    after: &Generations,
    write: &Write,
) -> Outcome<()> {
    if read(tx.view)? != *before {
        return Err(CatalogError::Lapsed.into());
    }
    put(tx, after)?;
    audit::record(tx, &write.audit)
}

/// Writes the one row, without a condition.
pub(crate) fn put(tx: &Tx<'_>, after: &Generations) -> Outcome<()> {
    let (begun, ended) = (after.begun, after.ended);
    tx.run(
        "UPDATE generation SET current = ?1, wanted = ?2, begun = ?3, begun_ns = ?4, ended = ?5, ended_ns = ?6 WHERE id = 1",
        params![
            after.current.0,
            after.wanted.0,
            begun.map(|at| at.secs),
            begun.map(|at| at.nanos),
            ended.map(|at| at.secs),
            ended.map(|at| at.nanos)
        ],
    )?;
    Ok(())
}

pub(crate) fn regenerate(
    tx: &Tx<'_>,
    save: SaveId,
    made: &[Regenerated],
    (waste, lease): (SaveId, Duration),
    write: &Write,
) -> Outcome<Intent> {
    // Under its new name it is read, and ended; what is left of it begins again.
    let Some(mut intent) = saves::claim(tx, save, waste, lease)? else {
        return Err(CatalogError::Lapsed.into());
    };
    saves::end(tx, waste)?;
    let named: HashSet<_> = intent.extents.iter().copied().collect();
    let position = past::position(tx.view, THRESHOLD)?;
    let mut switched = HashSet::new();
    let mut older = Vec::with_capacity(made.len());
    for made in made
        .iter()
        .filter(|made| named.contains(&(made.extent, made.to)) && made.is_wanted_at(position))
    {
        let changed = tx.run(
            "UPDATE extent SET generation = ?3, k = ?4, n = ?5, owed = ?6 WHERE id = ?1 AND generation = ?2",
            params![
                made.extent.as_bytes(),
                made.from.0,
                made.to.0,
                made.threshold.k(),
                made.threshold.n(),
                versions::owed_bytes(made.owed)
            ],
        )?;
        if changed == 1 {
            switched.insert((made.extent, made.to));
            older.push((made.extent, made.from));
        }
    }
    intent.extents.retain(|named| !switched.contains(named));
    intent.extents.append(&mut older);
    saves::begin(tx, &intent, lease)?;
    audit::record(tx, &write.audit)?;
    Ok(intent)
}

//! Generations of shares: which is given out, and the switch of extents to another one.

use std::collections::HashSet;
use std::time::Duration;

use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, Generation};
use warifu_vault::refresh::THRESHOLD;
use warifu_vault::seam::catalog::{CatalogError, Intent, SaveId, Write};
use warifu_vault::seam::generations::{Generations, Regenerated};

use super::PostgresCatalog;
use super::pool::{ANSWER, Call, Value};
use super::rows::{id, number, time};
use super::saving::owed_bytes;
use super::write::only;
use crate::codec::{extent_list, read_extent_list};
use crate::error::{Outcome, damaged};
use crate::sessions::millis;

/// A time that may be missing, as two columns.
fn columns(time: Option<Timestamp>) -> (Option<i64>, Option<i64>) {
    (
        time.map(|time| time.secs),
        time.map(|time| i64::from(time.nanos)),
    )
}

fn generation(row: &tokio_postgres::Row, at: usize) -> Outcome<Generation> {
    let found = number(row, at)?;
    let found =
        u32::try_from(found).map_err(|_| damaged(format!("there is no generation {found}")))?;
    Ok(Generation(found))
}

/// Writes the one row, without a condition.
pub(super) const PUT: &str = "UPDATE generation SET current = $1, wanted = $2, begun = $3, begun_ns = $4, ended = $5, ended_ns = $6 WHERE id = 1";

/// The columns of the row.
pub(super) struct Columns {
    current: i64,
    wanted: i64,
    begun: (Option<i64>, Option<i64>),
    ended: (Option<i64>, Option<i64>),
}

impl Columns {
    pub(super) fn of(generations: &Generations) -> Self {
        Self {
            current: i64::from(generations.current.0),
            wanted: i64::from(generations.wanted.0),
            begun: columns(generations.begun),
            ended: columns(generations.ended),
        }
    }

    pub(super) fn values(&self) -> [Value<'_>; 6] {
        [
            &self.current,
            &self.wanted,
            &self.begun.0,
            &self.begun.1,
            &self.ended.0,
            &self.ended.1,
        ]
    }
}

impl PostgresCatalog {
    pub(super) async fn read_generations(&self) -> Outcome<Generations> {
        let sql =
            "SELECT current, wanted, begun, begun_ns, ended, ended_ns FROM generation WHERE id = 1";
        let found = self.pool.read(sql, &[]).await?;
        let row = only(&found)?;
        let when = |at| {
            let is_there = row.try_get::<_, Option<i64>>(at)?.is_some();
            is_there.then(|| time(row, at)).transpose()
        };
        Ok(Generations {
            current: generation(row, 0)?,
            wanted: generation(row, 1)?,
            begun: when(2)?,
            ended: when(4)?,
        })
    }

    pub(super) async fn do_set_generations(
        &self,
        before: &Generations,
        after: &Generations,
        write: &Write,
    ) -> Outcome<()> {
        let line = self.line(&write.audit)?;
        let (before, after) = (Columns::of(before), Columns::of(after));
        let mut values = after.values().to_vec();
        values.extend(before.values());
        let id = line.id.as_slice();
        values.extend([&id as Value<'_>, &line.sealed]);
        let text =
            "SELECT set_generations($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        self.pool.write(text, &values).await.map(drop)
    }

    pub(super) async fn do_regenerate(
        &self,
        save: SaveId,
        made: &[Regenerated],
        (waste, lease): (SaveId, Duration),
        write: &Write,
    ) -> Outcome<Intent> {
        let line = self.line(&write.audit)?;
        let claimed: [Value<'_>; 3] = [
            &save.as_bytes().as_slice(),
            &waste.as_bytes().as_slice(),
            &millis(lease),
        ];
        self.pool
            .transaction(ANSWER, || async {
                let mut session = self.pool.begin().await?;
                let outcome = async {
                    let found = session
                        .query("SELECT claim_save($1, $2, $3)", &claimed)
                        .await?;
                    let Some(list) = only(&found)?.try_get::<_, Option<&[u8]>>(0)? else {
                        return Err(CatalogError::Lapsed.into());
                    };
                    let mut extents = Vec::new();
                    read_extent_list(list, &mut extents)?;
                    let named: HashSet<_> = extents.iter().copied().collect();
                    // Whoever is about to put another threshold in force waits until this is over, or has done so before.
                    let said = "SELECT at FROM position WHERE what = $1 FOR SHARE";
                    let said = session.query(said, &[&THRESHOLD]).await?;
                    let position = match said.first() {
                        Some(row) => number(row, 0)?,
                        None => 0,
                    };
                    let made: Vec<_> = made
                        .iter()
                        .filter(|made| {
                            named.contains(&(made.extent, made.to)) && made.is_wanted_at(position)
                        })
                        .collect();
                    let ids: Vec<&[u8]> =
                        made.iter().map(|made| made.extent.as_bytes().as_slice()).collect();
                    let of = |what: fn(&Regenerated) -> i64| -> Vec<i64> {
                        made.iter().map(|made| what(made)).collect()
                    };
                    let from = of(|made| i64::from(made.from.0));
                    let to = of(|made| i64::from(made.to.0));
                    let ks = of(|made| i64::from(made.threshold.k()));
                    let ns = of(|made| i64::from(made.threshold.n()));
                    let owed: Vec<_> = made.iter().map(|made| owed_bytes(made.owed)).collect();
                    // In the order of their ids, as whoever pays debts locks them.
                    let lock = "SELECT id FROM extent WHERE id = ANY ($1) ORDER BY id FOR UPDATE";
                    session.query(lock, &[&ids]).await?;
                    let switch = "UPDATE extent e SET generation = u.new, k = u.k, n = u.n, owed = u.owed
                         FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[])
                           AS u (id, old, new, k, n, owed)
                         WHERE e.id = u.id AND e.generation = u.old RETURNING e.id, u.old, u.new";
                    let switched = session
                        .query(switch, &[&ids, &from, &to, &ks, &ns, &owed])
                        .await?;
                    let (mut gone, mut older) = (HashSet::new(), Vec::new());
                    for row in &switched {
                        let extent = ExtentId::from_bytes(id(row, 0)?);
                        older.push((extent, generation(row, 1)?));
                        gone.insert((extent, generation(row, 2)?));
                    }
                    extents.retain(|named| !gone.contains(named));
                    extents.append(&mut older);
                    let name = waste.as_bytes().as_slice();
                    let calls: [Call<'_>; 3] = [
                        (
                            "UPDATE intent SET extents = $2 WHERE save = $1",
                            &[&name, &extent_list(&extents)],
                        ),
                        ("DELETE FROM intent_more WHERE save = $1", &[&name]),
                        (
                            "SELECT line($1::bytea, $2::bytea)",
                            &[&line.id.as_slice(), &line.sealed],
                        ),
                    ];
                    session.query_all(&calls).await?;
                    Ok(Intent {
                        save: waste,
                        extents,
                    })
                }
                .await;
                session.end(outcome).await
            })
            .await
    }
}

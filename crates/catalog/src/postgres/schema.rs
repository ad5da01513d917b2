//! Making the tables and functions, and telling whether they are ours.

use warifu_core::head::Timestamp;
use warifu_core::keys::{CatalogKey, Field};
use warifu_vault::seam::catalog::CatalogError;
use warifu_vault::seam::past::KNOWN_SINCE;

use super::pool::{ANSWER, Pool, Session};
use super::rows::number;
use super::sessions::info_of;
use crate::error::{Fail, Outcome, damaged, missing};
use crate::schema::{WITNESS, WITNESS_ROW};

/// The newest schema in PostgreSQL that this warifu knows. It counts for itself: SQLite's has another history.
pub(super) const SCHEMA: i64 = 6;

/// The first schema that has sessions.
const SESSIONS: usize = 2;

/// The first schema that has names in time.
const PAST: usize = 3;

/// Tables of each schema, from 1 on: what it has more than the one before, or no longer has.
const TABLES: [&str; SCHEMA as usize] = [
    concat!(
        include_str!("sql/tables.sql"),
        include_str!("sql/marks.sql")
    ),
    include_str!("sql/sessions.sql"),
    include_str!("sql/past_tables.sql"),
    include_str!("sql/generation.sql"),
    include_str!("sql/guarded.sql"),
    include_str!("sql/round_trips.sql"),
];

/// The functions as they are in the newest schema. Each replaces the one of its name.
fn functions() -> String {
    FUNCTIONS.replace("{SCHEMA}", &SCHEMA.to_string())
}

const FUNCTIONS: &str = concat!(
    include_str!("sql/schema.sql"),
    include_str!("sql/names.sql"),
    include_str!("sql/past.sql"),
    include_str!("sql/saves.sql"),
    include_str!("sql/journal.sql"),
    include_str!("sql/sharing.sql")
);

/// Makes an empty catalogue in one transaction. `Exists` where there is one.
pub(super) async fn create(pool: &Pool, key: &CatalogKey, now: Timestamp) -> Outcome<()> {
    let witness = key.seal(Field::Note, WITNESS_ROW, WITNESS)?;
    let schema = pool.schema().to_owned();
    let outcome = pool
        .transaction(ANSWER, || async {
            let mut session = pool.begin().await?;
            let outcome = async {
            let there = session
                .query(
                    "SELECT to_regnamespace($1) IS NOT NULL, to_regclass($1 || '.vault') IS NOT NULL",
                    &[&schema],
                )
                .await?;
            let there = there
                .first()
                .ok_or_else(|| damaged("the database answered nothing"))?;
            if there.try_get(1)? {
                return Err(CatalogError::Exists.into());
            }
            if !there.try_get::<_, bool>(0)? {
                session.run(&format!("CREATE SCHEMA \"{schema}\"")).await?;
            }
            for tables in TABLES {
                session.run(tables).await?;
            }
            session.run(&functions()).await?;
            session
                .query(
                    "INSERT INTO vault (id, schema, witness) VALUES (1, $1, $2)",
                    &[&SCHEMA, &witness],
                )
                .await?;
            session
                .query(
                    "INSERT INTO node (kind, mode, uid, gid, nlink, rdev, size, atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns,
                       btime, btime_ns, document, version, head)
                     VALUES (2, 493, 0, 0, 2, 0, 0, $1, $2, $1, $2, $1, $2, $1, $2, NULL, 0, NULL)",
                    &[&now.secs, &i64::from(now.nanos)],
                )
                .await?;
            Ok(())
            }
            .await;
            session.end(outcome).await
        })
        .await;
    match outcome {
        // Somebody else was quicker.
        Err(Fail {
            error: CatalogError::Failed { detail },
            ..
        }) if ["23505", "42P06", "42P07", "42723"]
            .iter()
            .any(|code| detail.contains(code)) =>
        {
            Err(CatalogError::Exists.into())
        }
        other => other,
    }
}

/// Finds out whether there is a catalogue, of a schema that we know, under this key, and makes one of an older schema one of today.
pub(super) async fn open(pool: &Pool, key: &CatalogKey) -> Outcome<()> {
    let class = format!("{}.vault", pool.schema());
    let there = pool
        .read("SELECT to_regclass($1) IS NOT NULL", &[&class])
        .await?;
    match there.first() {
        Some(row) if row.try_get(0)? => {}
        _ => return Err(missing("catalogue")),
    }
    // The schema first: a newer warifu may have changed everything but this one column.
    let found = pool
        .read("SELECT schema FROM vault WHERE id = 1", &[])
        .await?;
    let found = found
        .first()
        .ok_or_else(|| damaged("the catalogue does not say what schema it has"))?;
    let found = number(found, 0)?;
    if found > SCHEMA as u64 {
        return Err(CatalogError::Newer {
            found: u32::try_from(found).unwrap_or(u32::MAX),
            known: SCHEMA as u32,
        }
        .into());
    }
    if found == 0 {
        return Err(damaged("the catalogue has schema 0, which never existed"));
    }
    let witness = pool
        .read("SELECT witness FROM vault WHERE id = 1", &[])
        .await?;
    let witness = witness
        .first()
        .ok_or_else(|| damaged("the catalogue has lost its first row"))?;
    match key.open(Field::Note, WITNESS_ROW, witness.try_get(0)?) {
        Ok(opened) if opened.expose() == WITNESS => {}
        _ => {
            return Err(damaged(
                "the catalogue does not open under this vault's key: it belongs to another vault, or its first row is damaged",
            ));
        }
    }
    if found < SCHEMA as u64 {
        upgrade(pool, key).await?;
    }
    Ok(())
}

/// Several processes may find the old schema at the same moment: the first one holds the row, and the others find the new one.
async fn upgrade(pool: &Pool, key: &CatalogKey) -> Outcome<()> {
    pool.transaction(ANSWER, || async {
        let mut session = pool.begin().await?;
        let outcome = async {
            let found = session
                .query("SELECT schema FROM vault WHERE id = 1 FOR UPDATE", &[])
                .await?;
            let found = found
                .first()
                .ok_or_else(|| damaged("the catalogue does not say what schema it has"))?;
            let found = usize::try_from(number(found, 0)?)
                .map_err(|_| damaged("the catalogue's schema is out of range"))?;
            if found >= TABLES.len() {
                return Ok(());
            }
            if found >= SESSIONS {
                need_nobody(&mut session, key).await?;
            }
            for tables in TABLES.iter().skip(found) {
                session.run(tables).await?;
            }
            session.run(&functions()).await?;
            if found < PAST {
                // Whatever ended before left nothing.
                let known = "INSERT INTO position (what, at) VALUES ($1, 1 + extract(epoch FROM clock_timestamp())::bigint)";
                session.query(known, &[&KNOWN_SINCE]).await?;
            }
            session
                .query("UPDATE vault SET schema = $1 WHERE id = 1", &[&SCHEMA])
                .await
                .map(drop)
        }
        .await;
        session.end(outcome).await
    })
    .await
}

/// Refuses while drives are mounted: they are of an older warifu, which could not save any more. Nobody joins until this is over.
async fn need_nobody(session: &mut Session<'_>, key: &CatalogKey) -> Outcome<()> {
    session
        .run("LOCK TABLE session IN SHARE ROW EXCLUSIVE MODE")
        .await?;
    let text = "SELECT id, pid, since, since_ns, sealed FROM session WHERE until > (SELECT clock_timestamp()) ORDER BY since, since_ns";
    let mut drives = Vec::new();
    for row in &session.query(text, &[]).await? {
        let (_, info) = info_of(key, row)?;
        drives.push(format!("{}:{}", info.host, info.place));
    }
    match drives.is_empty() {
        true => Ok(()),
        false => Err(CatalogError::Mounted { drives }.into()),
    }
}

/// Removes a catalogue, whatever is in it.
pub(super) async fn remove(pool: &Pool) -> Outcome<()> {
    pool.transaction(ANSWER, || async {
        let schema = pool.schema();
        pool.session()
            .await?
            .run(&format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE"))
            .await
    })
    .await
}

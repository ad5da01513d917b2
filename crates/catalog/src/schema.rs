//! The tables.
//!
//! Kept plain enough to be said to PostgreSQL too: `BIGINT`, `BLOB`, `ON CONFLICT`, `RETURNING`, partial indices. Times are
//! two numbers, seconds and nanoseconds. Ids are 16 bytes. What is called `sealed` opens only under the catalogue key.

use rusqlite::{Connection, OptionalExtension, params};
use warifu_core::head::Timestamp;
use warifu_core::keys::{CatalogKey, Field};
use warifu_vault::node::{NodeId, NodeKind};
use warifu_vault::seam::catalog::CatalogError;
use warifu_vault::seam::past::KNOWN_SINCE;

use crate::codec::kind_code;
use crate::error::{Fail, Outcome, damaged};
use crate::sessions;

/// The newest schema that this warifu knows.
pub(crate) const SCHEMA: u32 = 7;

/// What a right key opens.
pub(crate) const WITNESS: &[u8] = b"the key of this catalogue";
pub(crate) const WITNESS_ROW: &[u8] = b"witness";

/// `entry`, `extent` and the others that are found by random bytes are `WITHOUT ROWID`: the row lies in the index itself.
///
/// `beat` is left from when the engine itself waited for the disk, and means nothing now.
///
/// `layout` keeps intervals: an extent is part of every version from `from_version` to the one before `until_version`
/// (`NULL`: to this day). A save that changes one extent of a thousand writes two rows, and a hole has none.
const TABLES: &str = "
CREATE TABLE vault (id BIGINT PRIMARY KEY, schema BIGINT NOT NULL, witness BLOB NOT NULL, beat BIGINT NOT NULL);

CREATE TABLE node (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind BIGINT NOT NULL, mode BIGINT NOT NULL, uid BIGINT NOT NULL, gid BIGINT NOT NULL,
  nlink BIGINT NOT NULL, rdev BIGINT NOT NULL, size BIGINT NOT NULL,
  atime BIGINT NOT NULL, atime_ns BIGINT NOT NULL, mtime BIGINT NOT NULL, mtime_ns BIGINT NOT NULL,
  ctime BIGINT NOT NULL, ctime_ns BIGINT NOT NULL, btime BIGINT NOT NULL, btime_ns BIGINT NOT NULL,
  document BLOB, version BIGINT NOT NULL, head BLOB);
CREATE INDEX node_document ON node (document) WHERE document IS NOT NULL;
CREATE INDEX node_nameless ON node (id) WHERE nlink = 0;

CREATE TABLE entry (
  parent BIGINT NOT NULL, tag BLOB NOT NULL, sealed BLOB NOT NULL, node BIGINT NOT NULL,
  PRIMARY KEY (parent, tag)) WITHOUT ROWID;
CREATE INDEX entry_node ON entry (node);

CREATE TABLE link (node BIGINT PRIMARY KEY, sealed BLOB NOT NULL);

CREATE TABLE xattr (
  node BIGINT NOT NULL, tag BLOB NOT NULL, sealed BLOB NOT NULL,
  PRIMARY KEY (node, tag)) WITHOUT ROWID;

CREATE TABLE version (
  id INTEGER PRIMARY KEY,
  document BLOB NOT NULL, number BIGINT NOT NULL, size BIGINT NOT NULL,
  mtime BIGINT NOT NULL, mtime_ns BIGINT NOT NULL, saved BIGINT NOT NULL, saved_ns BIGINT NOT NULL,
  sealed BLOB NOT NULL, head BLOB, extents BIGINT NOT NULL, settled BIGINT NOT NULL);
CREATE UNIQUE INDEX version_number ON version (document, number);
CREATE INDEX version_head ON version (head) WHERE head IS NOT NULL;
CREATE INDEX version_unsettled ON version (id) WHERE settled = 0;

CREATE TABLE layout (
  document BLOB NOT NULL, no BIGINT NOT NULL, from_version BIGINT NOT NULL, until_version BIGINT, extent BLOB NOT NULL,
  PRIMARY KEY (document, no, from_version)) WITHOUT ROWID;
CREATE INDEX layout_now ON layout (document, no) WHERE until_version IS NULL;
CREATE INDEX layout_extent ON layout (extent);

CREATE TABLE extent (
  id BLOB PRIMARY KEY,
  kind BIGINT NOT NULL, number BIGINT NOT NULL, len BIGINT NOT NULL, k BIGINT NOT NULL, n BIGINT NOT NULL,
  scheme BIGINT NOT NULL, generation BIGINT NOT NULL, document BLOB NOT NULL, version BIGINT NOT NULL,
  owed BLOB) WITHOUT ROWID;
CREATE INDEX extent_owed ON extent (id) WHERE owed IS NOT NULL;

CREATE TABLE intent (save BLOB PRIMARY KEY, lease BIGINT NOT NULL, lease_ns BIGINT NOT NULL, extents BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE intent_more (id INTEGER PRIMARY KEY, save BLOB NOT NULL, extents BLOB NOT NULL);
CREATE INDEX intent_more_save ON intent_more (save);

CREATE TABLE audit (seq BIGINT PRIMARY KEY, sealed BLOB NOT NULL, chain BLOB NOT NULL) WITHOUT ROWID;
";

/// What schema 2 has more than schema 1: how far the journal has come, and which rows it does not have yet.
///
/// `changed` has a row for each change, in their order; which columns tell the changed row apart depends on the kind. Until schema 7 it
/// had one for each row, found by an index: nearly half of the pages that making a small file wrote were the index's and those of marks
/// that moved. Whoever reads them leaves out what comes twice. `whole` is 0 where the journal's segments do not tell everything.
const JOURNAL_TABLES: &str = "
CREATE TABLE journal (id BIGINT PRIMARY KEY, next BIGINT NOT NULL, audited BIGINT NOT NULL, archived BIGINT NOT NULL, whole BIGINT NOT NULL);
CREATE TABLE changed (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind BIGINT NOT NULL, a BLOB NOT NULL, b BLOB NOT NULL, c BLOB NOT NULL);
CREATE INDEX extent_journal ON extent (number, version, len) WHERE kind = 3;
";

/// What schema 3 has more than schema 2: the segment of the journal that was written last, and whether somebody still has to decide
/// about what a rebuild could not find.
const TIP: &str = "
ALTER TABLE journal ADD COLUMN tip BLOB;
ALTER TABLE journal ADD COLUMN undecided BIGINT NOT NULL DEFAULT 0;
";

/// What schema 5 has more than schema 4: since when each name is there (zero: as long as its node), the names that ended, and how far
/// somebody outside has followed the log.
const PAST: &str = "
ALTER TABLE entry ADD COLUMN since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE entry ADD COLUMN since_ns BIGINT NOT NULL DEFAULT 0;
CREATE TABLE past (
  id INTEGER PRIMARY KEY,
  parent BIGINT NOT NULL, tag BLOB NOT NULL, sealed BLOB NOT NULL, node BIGINT NOT NULL,
  kind BIGINT NOT NULL, mode BIGINT NOT NULL, uid BIGINT NOT NULL, gid BIGINT NOT NULL, rdev BIGINT NOT NULL,
  document BLOB, version BIGINT NOT NULL, link BLOB,
  since BIGINT NOT NULL, since_ns BIGINT NOT NULL, until BIGINT NOT NULL, until_ns BIGINT NOT NULL, how BIGINT NOT NULL);
CREATE INDEX past_name ON past (parent, tag, until, until_ns);
CREATE INDEX past_node ON past (node);
CREATE INDEX past_document ON past (document) WHERE document IS NOT NULL;
CREATE TABLE position (what TEXT PRIMARY KEY, at BIGINT NOT NULL);
";

/// What schema 6 has more than schema 5: where the vault stands with its generations.
const GENERATIONS: &str = "
CREATE TABLE generation (
  id BIGINT PRIMARY KEY, current BIGINT NOT NULL, wanted BIGINT NOT NULL,
  begun BIGINT, begun_ns BIGINT, ended BIGINT, ended_ns BIGINT);
INSERT INTO generation (id, current, wanted) VALUES (1, 1, 1);
";

/// The tables that are journalled: the code of their rows' kind, and what tells a row apart. Fewer than three columns are
/// filled up with zeros.
pub(crate) const JOURNALLED: [(&str, i64, [&str; 3]); 8] = [
    ("node", 1, ["id", "", ""]),
    ("entry", 2, ["parent", "tag", ""]),
    ("link", 3, ["node", "", ""]),
    ("xattr", 4, ["node", "tag", ""]),
    ("version", 5, ["document", "number", ""]),
    ("layout", 6, ["document", "no", "from_version"]),
    ("extent", 7, ["id", "", ""]),
    ("past", 8, ["id", "", ""]),
];

/// All columns of an extent but `owed`.
const EXTENT_CHANGES: &str =
    " OF id, kind, number, len, k, n, scheme, generation, document, version";

/// Each statement that changes a row marks it, in the same transaction: no code can forget to.
///
/// The keys of rows never change. The journal's own extents are left out: otherwise each segment would call for another. Which
/// shares of an extent are owed is no change of it: a rebuild finds that out from what is on the servers, and each late answer
/// and each repair would call for a segment.
pub(crate) fn triggers() -> String {
    let mut text = String::new();
    for (table, kind, columns) in JOURNALLED {
        for (event, row) in [("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")] {
            let [a, b, c] = columns.map(|column| match column {
                "" => "0".to_owned(),
                column => format!("{row}.{column}"),
            });
            let unless = match table {
                "extent" => format!("WHEN {row}.kind <> 3 "),
                _ => String::new(),
            };
            let of = match (table, event) {
                ("extent", "UPDATE") => EXTENT_CHANGES,
                _ => "",
            };
            text += &format!(
                "CREATE TRIGGER {table}_{} AFTER {event}{of} ON {table} {unless}BEGIN
                   INSERT INTO changed (kind, a, b, c) VALUES ({kind}, {a}, {b}, {c});
                 END;\n",
                event.to_ascii_lowercase()
            );
        }
    }
    text
}

/// Takes the triggers away, those that are there.
pub(crate) fn no_triggers() -> String {
    let mut text = String::new();
    for (table, ..) in JOURNALLED {
        for event in ["insert", "update", "delete"] {
            text += &format!("DROP TRIGGER IF EXISTS {table}_{event};\n");
        }
    }
    text
}

/// Makes the tables and the root folder in an empty database, in one transaction.
pub(crate) fn create(conn: &Connection, key: &CatalogKey, now: Timestamp) -> Outcome<()> {
    let witness = key.seal(Field::Note, WITNESS_ROW, WITNESS)?;
    let tx = conn.unchecked_transaction()?;
    tx.execute_batch(TABLES)?;
    tx.execute_batch(JOURNAL_TABLES)?;
    tx.execute_batch(TIP)?;
    tx.execute_batch(sessions::TABLES)?;
    tx.execute_batch(PAST)?;
    tx.execute_batch(GENERATIONS)?;
    tx.execute_batch(&triggers())?;
    tx.execute(
        "INSERT INTO journal (id, next, audited, archived, whole) VALUES (1, 1, 0, 0, 1)",
        [],
    )?;
    tx.execute(
        "INSERT INTO vault (id, schema, witness, beat) VALUES (1, ?1, ?2, 0)",
        params![SCHEMA, witness],
    )?;
    let root = i64::try_from(NodeId::ROOT.0).unwrap_or(1);
    tx.execute(
        "INSERT INTO node (id, kind, mode, uid, gid, nlink, rdev, size, atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns,
           btime, btime_ns, document, version, head)
         VALUES (?1, ?2, ?3, 0, 0, 2, 0, 0, ?4, ?5, ?4, ?5, ?4, ?5, ?4, ?5, NULL, 0, NULL)",
        params![root, kind_code(NodeKind::Dir), 0o755, now.secs, now.nanos],
    )?;
    tx.commit()?;
    Ok(())
}

/// Makes a catalogue of an older schema one of today. What was in it before there was a journal goes there by a checkpoint.
pub(crate) fn upgrade(conn: &Connection, key: &CatalogKey) -> Outcome<()> {
    let tx = rusqlite::Transaction::new_unchecked(conn, rusqlite::TransactionBehavior::Immediate)?;
    let found: u32 = tx.query_row("SELECT schema FROM vault WHERE id = 1", [], |row| {
        row.get(0)
    })?;
    if (4..SCHEMA).contains(&found) {
        // They are of an older warifu, which would go on leaving out what is new.
        let drives = sessions::mounted(&tx, key)?;
        if !drives.is_empty() {
            return Err(CatalogError::Mounted { drives }.into());
        }
    }
    if found == 1 {
        tx.execute_batch(JOURNAL_TABLES)?;
        tx.execute(
            "INSERT INTO journal (id, next, audited, archived, whole) VALUES (1, 1, 0, 0, 0)",
            [],
        )?;
    }
    if found < 3 {
        tx.execute_batch(TIP)?;
    }
    if found < 4 {
        tx.execute_batch(sessions::TABLES)?;
    }
    if found < 5 {
        tx.execute_batch(PAST)?;
        // Whatever ended before left nothing.
        tx.execute(
            "INSERT INTO position (what, at) VALUES (?1, CAST(strftime('%s', 'now') AS INTEGER) + 1)",
            [KNOWN_SINCE],
        )?;
    }
    if found < 6 {
        tx.execute_batch(GENERATIONS)?;
    }
    if found < 7 {
        tx.execute_batch(&no_triggers())?;
        tx.execute_batch("DROP INDEX IF EXISTS changed_row")?;
        tx.execute_batch(&triggers())?;
    }
    if found < SCHEMA {
        tx.execute("UPDATE vault SET schema = ?1 WHERE id = 1", [SCHEMA])?;
    }
    tx.commit()?;
    Ok(())
}

/// Finds out whether this is a catalogue, of a schema that we know, under this key. Returns its schema.
pub(crate) fn check(conn: &Connection, key: &CatalogKey) -> Outcome<u32> {
    let tables = conn
        .query_row(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'vault'",
            [],
            |row| row.get::<_, i64>(0),
        )
        .map_err(not_a_database)?;
    if tables != 1 {
        return Err(damaged("this file is not a catalogue of warifu"));
    }
    // The schema first: a newer warifu may have changed everything but this one column.
    let found = conn
        .query_row("SELECT schema FROM vault WHERE id = 1", [], |row| {
            row.get::<_, u32>(0)
        })
        .optional()?
        .ok_or_else(|| damaged("the catalogue does not say what schema it has"))?;
    if found > SCHEMA {
        return Err(CatalogError::Newer {
            found,
            known: SCHEMA,
        }
        .into());
    }
    if found == 0 {
        return Err(damaged(format!(
            "the catalogue has schema {found}, which never existed"
        )));
    }
    let witness: Vec<u8> = conn.query_row("SELECT witness FROM vault WHERE id = 1", [], |row| {
        row.get(0)
    })?;
    match key.open(Field::Note, WITNESS_ROW, &witness) {
        Ok(opened) if opened.expose() == WITNESS => Ok(found),
        _ => Err(damaged(
            "the catalogue does not open under this vault's key: it belongs to another vault, or its first row is damaged",
        )),
    }
}

fn not_a_database(error: rusqlite::Error) -> Fail {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => {
            damaged("this file is not a catalogue of warifu")
        }
        _ => error.into(),
    }
}

//! The tables.
//!
//! Kept plain enough to be said to PostgreSQL too: `BIGINT`, `BLOB`, `ON CONFLICT`, `RETURNING`, partial indices. Times are
//! two numbers, seconds and nanoseconds. Ids are 16 bytes. What is called `sealed` opens only under the catalogue key.

use rusqlite::{Connection, OptionalExtension, params};
use warifu_core::head::Timestamp;
use warifu_core::keys::{CatalogKey, Field};
use warifu_vault::node::{NodeId, NodeKind};
use warifu_vault::seam::catalog::CatalogError;

use crate::codec::kind_code;
use crate::error::{Fail, Outcome, damaged};

/// The newest schema that this warifu knows.
pub(crate) const SCHEMA: u32 = 1;

/// What a right key opens.
const WITNESS: &[u8] = b"the key of this catalogue";
const WITNESS_ROW: &[u8] = b"witness";

/// `entry`, `extent` and the others that are found by random bytes are `WITHOUT ROWID`: the row lies in the index itself.
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

/// Makes the tables and the root folder in an empty database, in one transaction.
pub(crate) fn create(conn: &Connection, key: &CatalogKey, now: Timestamp) -> Outcome<()> {
    let witness = key.seal(Field::Note, WITNESS_ROW, WITNESS)?;
    let tx = conn.unchecked_transaction()?;
    tx.execute_batch(TABLES)?;
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

/// Finds out whether this is a catalogue, of a schema that we know, under this key.
pub(crate) fn check(conn: &Connection, key: &CatalogKey) -> Outcome<()> {
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
    if found != SCHEMA {
        return Err(damaged(format!(
            "the catalogue has schema {found}, which never existed"
        )));
    }
    let witness: Vec<u8> = conn.query_row("SELECT witness FROM vault WHERE id = 1", [], |row| {
        row.get(0)
    })?;
    match key.open(Field::Note, WITNESS_ROW, &witness) {
        Ok(opened) if opened.expose() == WITNESS => Ok(()),
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

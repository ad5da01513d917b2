//! What a change tells other sessions, written in the transaction of the change. Called where rows of nodes and entries are
//! written, so that no operation can forget it.

use rusqlite::{OptionalExtension, params};
use warifu_core::keys::Field;
use warifu_vault::node::{Name, NodeId};
use warifu_vault::seam::sessions::{Change, Notices};

use crate::codec::sql;
use crate::error::{Outcome, damaged};
use crate::names::entry_row;
use crate::readers::View;
use crate::rows::number;
use crate::saves::limit;
use crate::writer::Tx;

/// How many notices are kept. A drive that was asleep for longer than these took drops all it knows.
const KEPT: i64 = 20_000;

/// After how many notices old ones are looked for.
const TRIM: i64 = 512;

/// Whether there is any other session, dead ones included: only then does anything have to be told.
fn wanted(tx: &Tx<'_>) -> Outcome<bool> {
    if let Some(known) = tx.others.get() {
        return Ok(known);
    }
    let others = tx
        .conn()
        .prepare_cached("SELECT 1 FROM session WHERE id <> ?1 LIMIT 1")?
        .exists(params![tx.me.0])?;
    tx.others.set(Some(others));
    Ok(others)
}

/// Tells that a node changed.
pub(crate) fn node(tx: &Tx<'_>, node: NodeId) -> Outcome<()> {
    if !wanted(tx)? {
        return Ok(());
    }
    let written = tx.run(
        "INSERT INTO notice (origin, node) VALUES (?1, ?2)",
        params![tx.me.0, sql(node.0)?],
    )?;
    trim(tx, written)
}

/// Tells that a name stands for something else, and which node lost its last name by it. To be called while the entry's row is there.
pub(crate) fn entry(
    tx: &Tx<'_>,
    parent: NodeId,
    tag: &[u8; 16],
    removed: Option<NodeId>,
) -> Outcome<()> {
    if !wanted(tx)? {
        return Ok(());
    }
    let removed = removed.map(|node| sql(node.0)).transpose()?;
    let written = tx.run(
        "INSERT INTO notice (origin, node, tag, sealed, removed)
         SELECT ?1, parent, tag, sealed, ?4 FROM entry WHERE parent = ?2 AND tag = ?3",
        params![tx.me.0, sql(parent.0)?, tag, removed],
    )?;
    trim(tx, written)
}

fn trim(tx: &Tx<'_>, written: usize) -> Outcome<()> {
    let last = tx.conn().last_insert_rowid();
    if written > 0 && last % TRIM == 0 {
        tx.run("DELETE FROM notice WHERE seq <= ?1", params![last - KEPT])?;
    }
    Ok(())
}

/// The number of the last notice there has been.
pub(crate) fn last(view: View<'_>) -> Outcome<i64> {
    let mut statement = view
        .conn
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'notice'")?;
    Ok(statement
        .query_row([], |row| row.get(0))
        .optional()?
        .unwrap_or(0))
}

/// What others than `me` changed.
pub(crate) fn after(view: View<'_>, me: [u8; 16], after: u64, most: usize) -> Outcome<Notices> {
    view.snapshot(|view| {
        let last = last(view)?;
        let from = sql(after)?;
        let mut statement = view.conn.prepare_cached("SELECT min(seq) FROM notice")?;
        let first: Option<i64> = statement.query_row([], |row| row.get(0))?;
        let mut heard = Notices {
            changes: Vec::new(),
            next: after,
            missed: false,
        };
        if from > last || from.saturating_add(1) < first.unwrap_or(last.saturating_add(1)) {
            heard.next = u64::try_from(last).unwrap_or(0);
            heard.missed = true;
            return Ok(heard);
        }
        let mut statement = view.conn.prepare_cached(
            "SELECT seq, origin, node, tag, sealed, removed FROM notice WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )?;
        let mut rows = statement.query(params![from, limit(most)])?;
        while let Some(row) = rows.next()? {
            heard.next = number(row, 0)?;
            if row.get::<_, [u8; 16]>(1)? == me {
                continue;
            }
            let node = NodeId(number(row, 2)?);
            let Some(tag) = row.get::<_, Option<[u8; 16]>>(3)? else {
                heard.changes.push(Change::Node(node));
                continue;
            };
            let sealed: Vec<u8> = row.get(4)?;
            let opened = view
                .key
                .open(Field::Name, &entry_row(node, &tag), &sealed)
                .map_err(|_| damaged("a notice does not open under the vault's key"))?;
            let removed: Option<i64> = row.get(5)?;
            heard.changes.push(Change::Entry {
                parent: node,
                name: Name::new(opened.expose())
                    .map_err(|_| damaged("a notice tells of a name that no file can have"))?,
                removed: removed
                    .map(|node| u64::try_from(node).map(NodeId))
                    .transpose()
                    .map_err(|_| damaged("a notice tells of a node with a negative number"))?,
            });
        }
        Ok(heard)
    })
}

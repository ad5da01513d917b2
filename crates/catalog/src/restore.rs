//! Filling an empty catalogue with what was read back from the servers.

use rusqlite::params;
use warifu_core::ids::FileId;
use warifu_core::keys::Field;
use warifu_vault::node::{Attr, NodeId};
use warifu_vault::seam::catalog::{AuditRow, CatalogError};
use warifu_vault::seam::journal::{Restored, Resume, Row};

use crate::codec::{encode_entry, encode_pair, kind_code, sql};
use crate::error::Outcome;
use crate::names::{entry_row, insert_entry, tag};
use crate::schema::{no_triggers, triggers};
use crate::writer::Tx;
use crate::{generations, journal, past, versions, xattrs};

pub(crate) fn restore(
    tx: &Tx<'_>,
    rows: impl Iterator<Item = Restored>,
    resume: Resume,
) -> Outcome<()> {
    if !journal::is_empty(tx.view)? {
        return Err(CatalogError::Exists.into());
    }
    // A checkpoint will be written anyway, so nothing needs to be marked.
    tx.conn().execute_batch(&no_triggers())?;
    let mut audited = 0;
    for item in rows {
        match item {
            Restored::Row(row) => insert(tx, row)?,
            Restored::Audit(row) => {
                audited = audited.max(row.seq);
                log(tx, &row)?;
            }
            Restored::Position(what, at) => past::set_position(tx, &what, at)?,
        }
    }
    tx.run("DELETE FROM changed", [])?;
    tx.conn().execute_batch(&triggers())?;
    tx.run(
        "UPDATE journal SET next = ?1, audited = ?2, archived = ?3, whole = 0, tip = ?4, undecided = ?5 WHERE id = 1",
        params![
            sql(resume.next)?,
            sql(audited)?,
            sql(resume.archived.min(audited))?,
            resume.tip.map(|tip| *tip.as_bytes()),
            i64::from(resume.undecided)
        ],
    )?;
    tx.run(
        "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'node'",
        params![sql(resume.last_node.0)?],
    )?;
    generations::put(tx, &resume.generations)?;
    // The next line of the log is written by another request, which reads the tail anew.
    tx.tail.set(None);
    Ok(())
}

fn insert(tx: &Tx<'_>, row: Row) -> Outcome<()> {
    match row {
        Row::Node(attr) => node(tx, &attr),
        Row::Entry {
            parent,
            name,
            node,
            since,
            ..
        } => {
            let tag = tag(tx.key(), parent, &name);
            insert_entry(tx, parent, &name, &tag, node, since)
        }
        Row::Past(name) => past::insert(tx, &name),
        Row::Link { node, target } => {
            let sealed = tx
                .key()
                .seal(Field::Link, &node.0.to_le_bytes(), &target)?;
            tx.run(
                "INSERT INTO link (node, sealed) VALUES (?1, ?2)",
                params![sql(node.0)?, sealed],
            )
            .map(drop)
        }
        Row::Xattr {
            node, name, value, ..
        } => {
            let tag = xattrs::tag(tx.key(), node, &name);
            let pair = encode_pair(&name, &value)?;
            let sealed = tx.key().seal(Field::Xattr, &entry_row(node, &tag), &pair)?;
            tx.run(
                "INSERT INTO xattr (node, tag, sealed) VALUES (?1, ?2, ?3)",
                params![sql(node.0)?, tag, sealed],
            )
            .map(drop)
        }
        Row::Version(version, places) => versions::insert_sized(tx, &version, places),
        Row::Layout {
            document,
            place,
            from,
            until,
            extent,
        } => tx
            .run(
                "INSERT INTO layout (document, no, from_version, until_version, extent) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    document.as_bytes(),
                    sql(place)?,
                    sql(from.0)?,
                    until.map(|until| sql(until.0)).transpose()?,
                    extent.as_bytes()
                ],
            )
            .map(drop),
        Row::Extent(record) => versions::insert_extent(tx, &record),
    }
}

fn node(tx: &Tx<'_>, attr: &Attr) -> Outcome<()> {
    if attr.node == NodeId::ROOT {
        tx.run("DELETE FROM node WHERE id = ?1", params![sql(attr.node.0)?])?;
    }
    tx.run(
        "INSERT INTO node (id, kind, mode, uid, gid, nlink, rdev, size, atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns,
           btime, btime_ns, document, version, head)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        params![
            sql(attr.node.0)?,
            kind_code(attr.kind),
            attr.mode,
            attr.uid,
            attr.gid,
            attr.nlink,
            attr.rdev,
            sql(attr.size)?,
            attr.atime.secs,
            attr.atime.nanos,
            attr.mtime.secs,
            attr.mtime.nanos,
            attr.ctime.secs,
            attr.ctime.nanos,
            attr.btime.secs,
            attr.btime.nanos,
            (attr.document != FileId::NIL).then_some(*attr.document.as_bytes()),
            sql(attr.version.0)?,
            attr.head.map(|head| *head.as_bytes()),
        ],
    )
    .map(drop)
}

/// A line with the chain value it had: whether the chain holds is for whoever checks the log.
fn log(tx: &Tx<'_>, row: &AuditRow) -> Outcome<()> {
    let plain = encode_entry(&row.entry)?;
    let sealed = tx
        .key()
        .seal(Field::Audit, &row.seq.to_le_bytes(), &plain)?;
    tx.run(
        "INSERT INTO audit (seq, sealed, chain) VALUES (?1, ?2, ?3)",
        params![sql(row.seq)?, sealed, row.chain],
    )
    .map(drop)
}

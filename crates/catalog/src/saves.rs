//! Saving: the intent, and the one switch that makes a version current.

use std::collections::HashSet;
use std::time::Duration;

use rusqlite::{OptionalExtension, params};
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, Generation, VersionNo};
use warifu_vault::node::{Attr, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{CatalogError, Commit, Intent, NewNode, SaveId, Version, Write};
use warifu_vault::seam::clock::{Clock as _, SystemClock, later};

use crate::codec::{extent_list, read_extent_list, sql};
use crate::error::{Outcome, damaged, missing};
use crate::names::{make, node, store};
use crate::readers::View;
use crate::writer::Tx;
use crate::{audit, layout, versions};

/// The end of a lease that begins now, by the clock of the one machine that has the catalogue.
fn end_of(lease: Duration) -> Timestamp {
    later(SystemClock.now(), lease)
}

pub(crate) fn begin(tx: &Tx<'_>, intent: &Intent, lease: Duration) -> Outcome<()> {
    let until = end_of(lease);
    let written = tx.run(
        "INSERT INTO intent (save, lease, lease_ns, extents) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (save) DO NOTHING",
        params![intent.save.as_bytes(), until.secs, until.nanos, extent_list(&intent.extents)],
    )?;
    if written == 1 {
        Ok(())
    } else {
        Err(CatalogError::Exists.into())
    }
}

pub(crate) fn extend(
    tx: &Tx<'_>,
    save: SaveId,
    extents: &[(ExtentId, Generation)],
    lease: Duration,
) -> Outcome<()> {
    let (key, until) = (save.as_bytes(), end_of(lease));
    let renewed = tx.run(
        "UPDATE intent SET lease = ?2, lease_ns = ?3 WHERE save = ?1",
        params![key, until.secs, until.nanos],
    )?;
    if renewed != 1 {
        return Err(CatalogError::Lapsed.into());
    }
    if !extents.is_empty() {
        tx.run(
            "INSERT INTO intent_more (save, extents) VALUES (?1, ?2)",
            params![key, extent_list(extents)],
        )?;
    }
    Ok(())
}

/// Gives an intent another name and lease, without what the catalogue needs.
pub(crate) fn claim(
    tx: &Tx<'_>,
    save: SaveId,
    claimant: SaveId,
    lease: Duration,
) -> Outcome<Option<Intent>> {
    let until = end_of(lease);
    let claimed = tx.run(
        "UPDATE intent SET save = ?2, lease = ?3, lease_ns = ?4 WHERE save = ?1",
        params![
            save.as_bytes(),
            claimant.as_bytes(),
            until.secs,
            until.nanos
        ],
    )?;
    if claimed == 0 {
        return Ok(None);
    }
    tx.run(
        "UPDATE intent_more SET save = ?2 WHERE save = ?1",
        params![save.as_bytes(), claimant.as_bytes()],
    )?;
    let mut extents = Vec::new();
    let conn = tx.view.conn;
    let first: Vec<u8> = conn
        .prepare_cached("SELECT extents FROM intent WHERE save = ?1")?
        .query_row(params![claimant.as_bytes()], |row| row.get(0))?;
    read_extent_list(&first, &mut extents)?;
    let mut more =
        conn.prepare_cached("SELECT extents FROM intent_more WHERE save = ?1 ORDER BY id")?;
    let mut rows = more.query(params![claimant.as_bytes()])?;
    while let Some(row) = rows.next()? {
        read_extent_list(&row.get::<_, Vec<u8>>(0)?, &mut extents)?;
    }
    let mut intent = Intent {
        save: claimant,
        extents,
    };
    let named = intent.extents.len();
    drop_needed(tx, &mut intent)?;
    if intent.extents.len() < named {
        end(tx, claimant)?;
        begin(tx, &intent, lease)?;
    }
    Ok(Some(intent))
}

/// Takes out of an intent what the catalogue needs.
fn drop_needed(tx: &Tx<'_>, intent: &mut Intent) -> Outcome<()> {
    let mut statement = tx
        .conn()
        .prepare_cached("SELECT 1 FROM extent WHERE id = ?1 AND generation = ?2")?;
    let mut unneeded = Vec::with_capacity(intent.extents.len());
    for (extent, generation) in &intent.extents {
        if !statement.exists(params![extent.as_bytes(), generation.0])? {
            unneeded.push((*extent, *generation));
        }
    }
    intent.extents = unneeded;
    Ok(())
}

/// Removes an intent; says whether it was there.
pub(crate) fn end(tx: &Tx<'_>, save: SaveId) -> Outcome<bool> {
    tx.run(
        "DELETE FROM intent_more WHERE save = ?1",
        params![save.as_bytes()],
    )?;
    Ok(tx.run(
        "DELETE FROM intent WHERE save = ?1",
        params![save.as_bytes()],
    )? == 1)
}

/// All intents.
pub(crate) fn intents(view: View<'_>) -> Outcome<Vec<Intent>> {
    let end = Timestamp {
        secs: i64::MAX,
        nanos: u32::MAX,
    };
    ended_by(view, end)
}

pub(crate) fn lapsed(view: View<'_>) -> Outcome<Vec<Intent>> {
    ended_by(view, SystemClock.now())
}

fn ended_by(view: View<'_>, now: Timestamp) -> Outcome<Vec<Intent>> {
    view.snapshot(|view| {
        let mut statement = view.conn.prepare_cached(
            "SELECT save, extents FROM intent WHERE lease < ?1 OR (lease = ?1 AND lease_ns < ?2) ORDER BY save",
        )?;
        let mut rows = statement.query(params![now.secs, now.nanos])?;
        let mut more = view.conn.prepare_cached("SELECT extents FROM intent_more WHERE save = ?1 ORDER BY id")?;
        let mut intents = Vec::new();
        while let Some(row) = rows.next()? {
            let save: [u8; 16] = row.get(0)?;
            let mut extents = Vec::new();
            read_extent_list(&row.get::<_, Vec<u8>>(1)?, &mut extents)?;
            let mut later = more.query(params![save])?;
            while let Some(row) = later.next()? {
                read_extent_list(&row.get::<_, Vec<u8>>(0)?, &mut extents)?;
            }
            intents.push(Intent { save: SaveId::from_bytes(save), extents });
        }
        Ok(intents)
    })
}

pub(crate) fn commit_save(
    tx: &Tx<'_>,
    id: NodeId,
    base: Option<ExtentId>,
    commit: Commit,
    write: &Write,
) -> Outcome<Attr> {
    take_intent(tx, commit.save)?;
    let mut attr = node(tx, id)?;
    must_be_file(attr.kind)?;
    if attr.head != base {
        return Err(CatalogError::Conflict {
            current: attr.version,
        }
        .into());
    }
    // A file that was replaced while it was open still shows its old version, but the document went on without it.
    let current = versions::newest(tx, attr.document)?;
    if current != attr.version {
        return Err(CatalogError::Conflict { current }.into());
    }
    // Kept for somebody who has it open. It goes with its last handle, and would take the version along.
    if attr.nlink == 0 {
        return Err(missing("node"));
    }
    install(tx, &mut attr, commit)?;
    audit::record(tx, &write.audit)?;
    Ok(attr)
}

pub(crate) fn commit_new(
    tx: &Tx<'_>,
    parent: NodeId,
    name: &Name,
    new: &NewNode,
    commit: Commit,
    write: &Write,
) -> Outcome<Attr> {
    take_intent(tx, commit.save)?;
    must_be_file(new.kind)?;
    let mut attr = make(tx, parent, name, new, write.audit.at)?;
    install(tx, &mut attr, commit)?;
    audit::record(tx, &write.audit)?;
    Ok(attr)
}

fn must_be_file(kind: NodeKind) -> Outcome<()> {
    match kind {
        NodeKind::File => Ok(()),
        NodeKind::Dir => Err(CatalogError::IsDir.into()),
        _ => Err(missing("file")),
    }
}

pub(crate) fn take_intent(tx: &Tx<'_>, save: SaveId) -> Outcome<()> {
    if end(tx, save)? {
        Ok(())
    } else {
        Err(CatalogError::Lapsed.into())
    }
}

/// Makes what was saved the next version of a file.
fn install(tx: &Tx<'_>, attr: &mut Attr, commit: Commit) -> Outcome<()> {
    let number = VersionNo(
        attr.version
            .0
            .checked_add(1)
            .ok_or_else(|| damaged("a document has the last version there is"))?,
    );
    let mut dealt = HashSet::with_capacity(commit.dealt.len());
    for extent in &commit.dealt {
        versions::insert_extent(tx, extent)?;
        dealt.insert(extent.extent);
    }
    for extent in commit.head.iter().chain(commit.layout.iter().flatten()) {
        if !dealt.contains(extent) {
            versions::need_extent(tx, *extent)?;
        }
    }
    layout::supersede(tx, attr.document, number, &commit.layout)?;
    let version = Version {
        document: attr.document,
        number,
        size: commit.size,
        mtime: commit.mtime,
        saved_at: commit.saved_at,
        author: commit.author,
        host: commit.host,
        head: commit.head,
        settled: commit.settled,
        layout: commit.layout,
    };
    versions::insert(tx, &version)?;
    attr.size = version.size;
    attr.mtime = version.mtime;
    attr.ctime = version.saved_at;
    attr.version = number;
    attr.head = version.head;
    store(tx, attr)
}

/// How many saves are begun and not ended.
pub(crate) fn open(view: View<'_>) -> Outcome<u64> {
    let mut statement = view.conn.prepare_cached("SELECT count(*) FROM intent")?;
    let count: Option<i64> = statement.query_row([], |row| row.get(0)).optional()?;
    Ok(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
}

/// The largest number that a limit can be in SQL.
pub(crate) fn limit(limit: usize) -> i64 {
    sql(limit as u64).unwrap_or(i64::MAX)
}

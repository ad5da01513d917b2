//! Names in time: the row that a name leaves when it ends, what a folder held at a time, and an earlier version made current again.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, params};
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, VersionNo};
use warifu_core::keys::Field;
use warifu_vault::node::{Attr, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{CatalogError, Durability, NewNode, Version, Write};
use warifu_vault::seam::past::{End, Forget, Forgotten, Past, PastName, Reinstate};

use crate::catalog::SqliteCatalog;
use crate::codec::{kind_code, kind_of, sql};
use crate::error::{Outcome, damaged, missing};
use crate::names::{entry_row, folder, make, named, node, store, tag, unlink};
use crate::read::open_name;
use crate::readers::View;
use crate::rows::{self, node_columns, number, time};
use crate::saves::limit;
use crate::writer::Tx;
use crate::{audit, forget, layout, read, versions};

/// The columns of a name that ended, as [`past`] reads them.
macro_rules! past_columns {
    () => {
        "id, parent, tag, sealed, node, kind, mode, uid, gid, rdev, document, version, link, since, since_ns, until, until_ns, how"
    };
}

/// The time of a change to a name: `at`, but not before the name's last change. So its intervals never lie across one another, and none ends
/// before it began, also where the machine's clock was set back.
pub(crate) fn not_before(
    tx: &Tx<'_>,
    (parent, tag): (NodeId, &[u8; 16]),
    at: Timestamp,
) -> Outcome<Timestamp> {
    let mut there = tx.conn().prepare_cached(
        "SELECT CASE WHEN e.since = 0 AND e.since_ns = 0 THEN n.btime ELSE e.since END,
           CASE WHEN e.since = 0 AND e.since_ns = 0 THEN n.btime_ns ELSE e.since_ns END
         FROM entry e JOIN node n ON n.id = e.node WHERE e.parent = ?1 AND e.tag = ?2",
    )?;
    let mut ended = tx.conn().prepare_cached(
        "SELECT until, until_ns FROM past WHERE parent = ?1 AND tag = ?2 ORDER BY until DESC, until_ns DESC LIMIT 1",
    )?;
    let values = params![sql(parent.0)?, tag];
    if let Some(row) = there.query(values)?.next()? {
        return Ok(at.max(time(row, 0)?));
    }
    match ended.query(values)?.next()? {
        Some(row) => Ok(at.max(time(row, 0)?)),
        None => Ok(at),
    }
}

/// Writes down that a name ends, while its entry still is what it was. What is sealed is taken over as it is.
pub(crate) fn end(
    tx: &Tx<'_>,
    parent: NodeId,
    tag: &[u8; 16],
    attr: &Attr,
    at: Timestamp,
    end: End,
) -> Outcome<()> {
    let written = tx.run(
        "INSERT INTO past (parent, tag, sealed, node, kind, mode, uid, gid, rdev, document, version, link, since, since_ns,
           until, until_ns, how)
         SELECT e.parent, e.tag, e.sealed, e.node, ?3, ?4, ?5, ?6, ?7, ?8, ?9, (SELECT l.sealed FROM link l WHERE l.node = e.node),
           CASE WHEN e.since = 0 AND e.since_ns = 0 THEN ?10 ELSE e.since END,
           CASE WHEN e.since = 0 AND e.since_ns = 0 THEN ?11 ELSE e.since_ns END, ?12, ?13, ?14
         FROM entry e WHERE e.parent = ?1 AND e.tag = ?2",
        params![
            sql(parent.0)?,
            tag,
            kind_code(attr.kind),
            attr.mode,
            attr.uid,
            attr.gid,
            attr.rdev,
            document(attr.document),
            sql(attr.version.0)?,
            attr.btime.secs,
            attr.btime.nanos,
            at.secs,
            at.nanos,
            end.code(),
        ],
    )?;
    if written == 1 {
        Ok(())
    } else {
        Err(damaged("a name vanished within a transaction"))
    }
}

/// Lets the names that a file has begin anew, while it still has the document that it had under them: it goes on with another one.
pub(crate) fn renew(tx: &Tx<'_>, attr: &Attr, at: Timestamp) -> Outcome<()> {
    let mut names: Vec<(NodeId, Name, [u8; 16])> = Vec::new();
    let mut statement = tx
        .conn()
        .prepare_cached("SELECT parent, tag, sealed FROM entry WHERE node = ?1")?;
    let mut rows = statement.query(params![sql(attr.node.0)?])?;
    while let Some(row) = rows.next()? {
        let (parent, tag) = (NodeId(number(row, 0)?), row.get(1)?);
        let sealed = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        names.push((parent, open_name(tx.view, parent, &tag, sealed)?, tag));
    }
    drop(rows);
    names.sort();
    for (parent, _, tag) in names {
        let then = not_before(tx, (parent, &tag), at)?;
        end(tx, parent, &tag, attr, then, End::Moved)?;
        tx.run(
            "UPDATE entry SET since = ?3, since_ns = ?4 WHERE parent = ?1 AND tag = ?2",
            params![sql(parent.0)?, tag, then.secs, then.nanos],
        )?;
    }
    Ok(())
}

fn document(document: FileId) -> Option<[u8; 16]> {
    (document != FileId::NIL).then_some(*document.as_bytes())
}

/// Writes the row of a name that ended as it was read back.
pub(crate) fn insert(tx: &Tx<'_>, name: &PastName) -> Outcome<()> {
    let tag = tag(tx.key(), name.parent, &name.name);
    let row = entry_row(name.parent, &tag);
    let sealed = tx.key().seal(Field::Name, &row, name.name.as_bytes())?;
    let link = match name.kind {
        NodeKind::Symlink => {
            let row = name.node.0.to_le_bytes();
            Some(tx.key().seal(Field::Link, &row, &name.target)?)
        }
        _ => None,
    };
    let (until, end) = name
        .until
        .ok_or_else(|| damaged("a name that is there is told as one that ended"))?;
    tx.run(
        concat!(
            "INSERT INTO past (",
            past_columns!(),
            ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)"
        ),
        params![
            sql(name.id)?,
            sql(name.parent.0)?,
            tag,
            sealed,
            sql(name.node.0)?,
            kind_code(name.kind),
            name.mode,
            name.uid,
            name.gid,
            name.rdev,
            document(name.document),
            sql(name.version.0)?,
            link,
            name.since.secs,
            name.since.nanos,
            until.secs,
            until.nanos,
            end.code(),
        ],
    )
    .map(drop)
}

/// The name in the columns of a row.
pub(crate) fn past(view: View<'_>, row: &Row<'_>) -> Outcome<PastName> {
    let (parent, tag) = (NodeId(number(row, 1)?), row.get(2)?);
    let sealed = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
    let node = NodeId(number(row, 4)?);
    let target = match row.get::<_, Option<Vec<u8>>>(12)? {
        Some(sealed) => view
            .key
            .open(Field::Link, &node.0.to_le_bytes(), &sealed)
            .map_err(|_| {
                damaged(format!(
                    "the target of link {node} does not open under the vault's key"
                ))
            })?
            .expose()
            .to_vec(),
        None => Vec::new(),
    };
    let end = row.get::<_, u8>(17)?;
    let end = End::of(end).ok_or_else(|| damaged(format!("a name ended as {end}")))?;
    Ok(PastName {
        id: number(row, 0)?,
        parent,
        tag,
        name: open_name(view, parent, &tag, sealed)?,
        node,
        kind: kind_of(row.get(5)?)?,
        mode: row.get(6)?,
        uid: row.get(7)?,
        gid: row.get(8)?,
        rdev: row.get(9)?,
        document: row
            .get::<_, Option<[u8; 16]>>(10)?
            .map_or(FileId::NIL, FileId::from_bytes),
        version: VersionNo(number(row, 11)?),
        target,
        since: time(row, 13)?,
        until: Some((time(row, 15)?, end)),
    })
}

/// One name that ended.
pub(crate) fn one(view: View<'_>, id: u64) -> Outcome<Option<PastName>> {
    let Ok(id) = sql(id) else { return Ok(None) };
    view.conn
        .prepare_cached(concat!(
            "SELECT ",
            past_columns!(),
            " FROM past WHERE id = ?1"
        ))?
        .query(params![id])?
        .next()?
        .map(|row| past(view, row))
        .transpose()
}

pub(crate) fn ended(view: View<'_>, after: u64, most: i64) -> Outcome<Vec<PastName>> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut statement = view.conn.prepare_cached(concat!(
        "SELECT ",
        past_columns!(),
        " FROM past WHERE id > ?1 ORDER BY id LIMIT ?2"
    ))?;
    gather(view, statement.query(params![after, most])?, past)
}

fn gather(
    view: View<'_>,
    mut found: rusqlite::Rows<'_>,
    read: fn(View<'_>, &Row<'_>) -> Outcome<PastName>,
) -> Outcome<Vec<PastName>> {
    let mut names = Vec::new();
    while let Some(row) = found.next()? {
        names.push(read(view, row)?);
    }
    Ok(names)
}

/// The columns of a name that is there, as [`present`] reads them.
macro_rules! present_columns {
    () => {
        concat!(
            node_columns!(),
            ", e.parent, e.tag, e.sealed, e.since, e.since_ns FROM entry e JOIN node n ON n.id = e.node"
        )
    };
}

/// A name that is there, as a name in time.
fn present(view: View<'_>, row: &Row<'_>) -> Outcome<PastName> {
    let attr = rows::attr(row)?;
    let (parent, tag) = (NodeId(number(row, 19)?), row.get(20)?);
    let sealed = row.get_ref(21)?.as_blob().map_err(rusqlite::Error::from)?;
    let since = time(row, 22)?;
    let target = match attr.kind {
        NodeKind::Symlink => read::read_link(view, attr.node)?,
        _ => Vec::new(),
    };
    Ok(PastName {
        id: 0,
        parent,
        tag,
        name: open_name(view, parent, &tag, sealed)?,
        node: attr.node,
        kind: attr.kind,
        mode: attr.mode,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        document: attr.document,
        version: attr.version,
        target,
        since: if since == Timestamp::default() {
            attr.btime
        } else {
            since
        },
        until: None,
    })
}

fn list_at(view: View<'_>, dir: NodeId, at: Timestamp) -> Outcome<Vec<PastName>> {
    let Ok(dir) = sql(dir.0) else {
        return Ok(Vec::new());
    };
    view.snapshot(|view| {
        let mut there = view.conn.prepare_cached(concat!(
            "SELECT ",
            present_columns!(),
            " WHERE e.parent = ?1"
        ))?;
        let mut names = gather(view, there.query(params![dir])?, present)?;
        let mut ended = view.conn.prepare_cached(concat!(
            "SELECT ",
            past_columns!(),
            " FROM past WHERE parent = ?1 AND (until > ?2 OR (until = ?2 AND until_ns > ?3))
               AND (since < ?2 OR (since = ?2 AND since_ns <= ?3))"
        ))?;
        let found = ended.query(params![dir, at.secs, at.nanos])?;
        names.extend(gather(view, found, past)?);
        names.retain(|name| name.covers(at));
        names.sort_by_key(|name| name.tag);
        Ok(names)
    })
}

fn lookup_at(view: View<'_>, dir: NodeId, name: &Name, at: Timestamp) -> Outcome<Option<PastName>> {
    let tag = tag(view.key, dir, name);
    let Ok(dir) = sql(dir.0) else { return Ok(None) };
    view.snapshot(|view| {
        let mut there = view.conn.prepare_cached(concat!(
            "SELECT ",
            present_columns!(),
            " WHERE e.parent = ?1 AND e.tag = ?2"
        ))?;
        let mut names = gather(view, there.query(params![dir, tag])?, present)?;
        let mut ended = view.conn.prepare_cached(concat!(
            "SELECT ",
            past_columns!(),
            " FROM past WHERE parent = ?1 AND tag = ?2 AND (until > ?3 OR (until = ?3 AND until_ns > ?4))"
        ))?;
        let found = ended.query(params![dir, tag, at.secs, at.nanos])?;
        names.extend(gather(view, found, past)?);
        Ok(names.into_iter().find(|name| name.covers(at)))
    })
}

fn last(view: View<'_>, dir: NodeId, name: &Name) -> Outcome<Option<PastName>> {
    let tag = tag(view.key, dir, name);
    let Ok(dir) = sql(dir.0) else { return Ok(None) };
    view.snapshot(|view| {
        let mut there = view.conn.prepare_cached(concat!(
            "SELECT ",
            present_columns!(),
            " WHERE e.parent = ?1 AND e.tag = ?2"
        ))?;
        let mut names = gather(view, there.query(params![dir, tag])?, present)?;
        if names.is_empty() {
            let mut ended = view.conn.prepare_cached(concat!(
                "SELECT ",
                past_columns!(),
                " FROM past WHERE parent = ?1 AND tag = ?2 ORDER BY until DESC, until_ns DESC, id DESC LIMIT 1"
            ))?;
            names = gather(view, ended.query(params![dir, tag])?, past)?;
        }
        Ok(names.pop())
    })
}

fn names_of_node(view: View<'_>, node: NodeId) -> Outcome<Vec<PastName>> {
    let Ok(node) = sql(node.0) else {
        return Ok(Vec::new());
    };
    view.snapshot(|view| {
        let mut ended = view.conn.prepare_cached(concat!(
            "SELECT ",
            past_columns!(),
            " FROM past WHERE node = ?1 ORDER BY id"
        ))?;
        let mut names = gather(view, ended.query(params![node])?, past)?;
        let mut there = view.conn.prepare_cached(concat!(
            "SELECT ",
            present_columns!(),
            " WHERE e.node = ?1 ORDER BY e.parent, e.tag"
        ))?;
        names.extend(gather(view, there.query(params![node])?, present)?);
        Ok(names)
    })
}

fn names_of(view: View<'_>, document: FileId) -> Outcome<Vec<PastName>> {
    view.snapshot(|view| {
        let mut ended = view.conn.prepare_cached(concat!(
            "SELECT ",
            past_columns!(),
            " FROM past WHERE document = ?1 ORDER BY id"
        ))?;
        let found = ended.query(params![document.as_bytes()])?;
        let mut names = gather(view, found, past)?;
        let mut there = view.conn.prepare_cached(concat!(
            "SELECT ",
            present_columns!(),
            " WHERE n.document = ?1 ORDER BY e.parent, e.tag"
        ))?;
        let found = there.query(params![document.as_bytes()])?;
        names.extend(gather(view, found, present)?);
        Ok(names)
    })
}

/// What an earlier version becomes when it is saved once more.
fn again(
    tx: &Tx<'_>,
    from: (FileId, VersionNo),
    to: (FileId, VersionNo),
    write: &Write,
) -> Outcome<Version> {
    let mut version = if from.1 == VersionNo(0) {
        Version {
            document: to.0,
            number: to.1,
            size: 0,
            mtime: write.audit.at,
            saved_at: write.audit.at,
            author: String::new(),
            host: String::new(),
            head: None,
            settled: true,
            layout: Vec::new(),
        }
    } else {
        read::version(tx.view, from.0, from.1)?.ok_or_else(|| missing("version"))?
    };
    (version.document, version.number) = to;
    version.saved_at = write.audit.at;
    version.author.clone_from(&write.audit.context.actor);
    version.host.clone_from(&write.audit.context.host);
    Ok(version)
}

/// Makes a file show a version, which becomes its document's next one.
fn install(tx: &Tx<'_>, attr: &mut Attr, version: &Version, at: Timestamp) -> Outcome<()> {
    layout::supersede(tx, version.document, version.number, &version.layout)?;
    versions::insert(tx, version)?;
    show(tx, attr, version, at)
}

fn show(tx: &Tx<'_>, attr: &mut Attr, version: &Version, at: Timestamp) -> Outcome<()> {
    attr.version = version.number;
    attr.size = version.size;
    attr.mtime = version.mtime;
    attr.ctime = at;
    attr.head = version.head;
    store(tx, attr)
}

fn following(number: VersionNo) -> Outcome<VersionNo> {
    number
        .0
        .checked_add(1)
        .map(VersionNo)
        .ok_or_else(|| damaged("a document has the last version there is"))
}

fn must_be_file(kind: NodeKind) -> Outcome<()> {
    match kind {
        NodeKind::File => Ok(()),
        NodeKind::Dir => Err(CatalogError::IsDir.into()),
        _ => Err(missing("file")),
    }
}

pub(crate) fn reinstate(
    tx: &Tx<'_>,
    to: &Reinstate,
    from: (FileId, VersionNo),
    write: &Write,
) -> Outcome<Attr> {
    let attr = match to {
        Reinstate::Next(id, base) => {
            let mut attr = node(tx, *id)?;
            must_be_file(attr.kind)?;
            let current = versions::newest(tx, attr.document)?;
            if attr.head != *base || current != attr.version {
                return Err(CatalogError::Conflict { current }.into());
            }
            let version = again(tx, from, (attr.document, following(attr.version)?), write)?;
            install(tx, &mut attr, &version, write.audit.at)?;
            attr
        }
        Reinstate::New(parent, name, new) => anew(tx, *parent, name, new, from, write)?,
    };
    audit::record(tx, &write.audit)?;
    Ok(attr)
}

fn anew(
    tx: &Tx<'_>,
    parent: NodeId,
    name: &Name,
    new: &NewNode,
    from: (FileId, VersionNo),
    write: &Write,
) -> Outcome<Attr> {
    must_be_file(new.kind)?;
    folder(tx, parent)?;
    if read::entry(tx.view, parent, &tag(tx.key(), parent, name))?.is_some() {
        return Err(CatalogError::Exists.into());
    }
    let taken = tx
        .conn()
        .prepare_cached("SELECT 1 FROM node WHERE document = ?1")?
        .exists(params![new.document.as_bytes()])?;
    if taken {
        return Err(CatalogError::Exists.into());
    }
    let newest = versions::newest(tx, new.document)?;
    let at = write.audit.at;
    let mut attr = make(tx, parent, name, new, at)?;
    if newest == VersionNo(0) && from.1 == VersionNo(0) {
        return Ok(attr);
    }
    if (new.document, newest) == from {
        let version = read::version(tx.view, from.0, from.1)?.ok_or_else(|| missing("version"))?;
        show(tx, &mut attr, &version, at)?;
    } else {
        let version = again(tx, from, (new.document, following(newest)?), write)?;
        install(tx, &mut attr, &version, at)?;
    }
    Ok(attr)
}

pub(crate) fn position(view: View<'_>, what: &str) -> Outcome<u64> {
    let found: Option<i64> = view
        .conn
        .prepare_cached("SELECT at FROM position WHERE what = ?1")?
        .query_row(params![what], |row| row.get(0))
        .optional()?;
    u64::try_from(found.unwrap_or(0)).map_err(|_| damaged("a position is negative"))
}

fn positions(view: View<'_>) -> Outcome<Vec<(String, u64)>> {
    let mut statement = view
        .conn
        .prepare_cached("SELECT what, at FROM position ORDER BY what")?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((row.get(0)?, number(row, 1)?));
    }
    Ok(found)
}

/// Writes a position as it was elsewhere.
pub(crate) fn set_position(tx: &Tx<'_>, what: &str, at: u64) -> Outcome<()> {
    tx.run(
        "INSERT INTO position (what, at) VALUES (?1, ?2) ON CONFLICT (what) DO UPDATE SET at = excluded.at",
        params![what, sql(at)?],
    )
    .map(drop)
}

fn advance(tx: &Tx<'_>, what: &str, from: u64, to: u64) -> Outcome<bool> {
    if position(tx.view, what)? != from {
        return Ok(false);
    }
    set_position(tx, what, to)?;
    Ok(true)
}

#[async_trait]
impl Past for SqliteCatalog {
    async fn list_at(&self, dir: NodeId, at: Timestamp) -> Result<Vec<PastName>, CatalogError> {
        self.read(|view| list_at(view, dir, at))
    }

    async fn lookup_at(
        &self,
        dir: NodeId,
        name: &Name,
        at: Timestamp,
    ) -> Result<Option<PastName>, CatalogError> {
        self.read(|view| lookup_at(view, dir, name, at))
    }

    async fn last(&self, dir: NodeId, name: &Name) -> Result<Option<PastName>, CatalogError> {
        self.read(|view| last(view, dir, name))
    }

    async fn names_of_node(&self, node: NodeId) -> Result<Vec<PastName>, CatalogError> {
        self.read(|view| names_of_node(view, node))
    }

    async fn names_of(&self, document: FileId) -> Result<Vec<PastName>, CatalogError> {
        self.read(|view| names_of(view, document))
    }

    async fn ended(&self, after: u64, most: usize) -> Result<Vec<PastName>, CatalogError> {
        self.read(|view| ended(view, after, limit(most)))
    }

    async fn reinstate(
        &self,
        to: Reinstate,
        from: (FileId, VersionNo),
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(write.durability, move |tx| reinstate(tx, &to, from, &write))
            .await
    }

    async fn unlink_if(
        &self,
        parent: NodeId,
        name: &Name,
        what: (NodeId, Option<ExtentId>),
        keep: bool,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        let name = name.clone();
        self.write(write.durability, move |tx| {
            let attr = named(tx, parent, &tag(tx.key(), parent, &name))?;
            if (attr.node, attr.head) != what {
                let current = attr.version;
                return Err(CatalogError::Conflict { current }.into());
            }
            let open = keep.then_some(attr.node);
            unlink(tx, parent, &name, open.as_slice(), &write)
        })
        .await
    }

    async fn forget_versions(&self, what: Forget, write: Write) -> Result<Forgotten, CatalogError> {
        self.write(write.durability, move |tx| {
            forget::forget(tx, &what, &write)
        })
        .await
    }

    async fn position(&self, what: &str) -> Result<u64, CatalogError> {
        self.read(|view| position(view, what))
    }

    async fn positions(&self) -> Result<Vec<(String, u64)>, CatalogError> {
        self.read(positions)
    }

    async fn advance(&self, what: &str, from: u64, to: u64) -> Result<bool, CatalogError> {
        let what = what.to_owned();
        self.write(Durability::Soon, move |tx| advance(tx, &what, from, to))
            .await
    }
}

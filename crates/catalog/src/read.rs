//! Reading.

use rusqlite::{OptionalExtension, params};
use warifu_core::format::ExtentKind;
use warifu_core::ids::{ExtentId, FileId, VersionNo};
use warifu_core::keys::Field;
use warifu_vault::node::{Attr, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    CatalogError, Cursor, ExtentRecord, IndexSet, Listed, Usage, Version,
};

use crate::codec::{kind_code, sql};
use crate::error::{Outcome, damaged, missing};
use crate::names::{entry_row, tag};
use crate::readers::View;
use crate::rename::DEPTH;
use crate::rows::{self, extent_columns, node_columns, number};
use crate::saves::limit;
use crate::versions::{self, version_columns};
use crate::{layout, saves};

pub(crate) fn attr(view: View<'_>, node: NodeId) -> Outcome<Option<Attr>> {
    let Ok(id) = sql(node.0) else { return Ok(None) };
    let mut statement = view.conn.prepare_cached(concat!(
        "SELECT ",
        node_columns!(),
        " FROM node n WHERE n.id = ?1"
    ))?;
    statement
        .query(params![id])?
        .next()?
        .map(rows::attr)
        .transpose()
}

/// A folder that has a name.
pub(crate) fn folder(view: View<'_>, dir: NodeId) -> Outcome<Attr> {
    match attr(view, dir)? {
        Some(attr) if attr.kind != NodeKind::Dir => Err(CatalogError::NotDir.into()),
        Some(attr) if attr.nlink > 0 => Ok(attr),
        _ => Err(missing("folder")),
    }
}

/// What the name with this tag stands for.
pub(crate) fn entry(view: View<'_>, parent: NodeId, tag: &[u8; 16]) -> Outcome<Option<Attr>> {
    let Ok(parent) = sql(parent.0) else {
        return Ok(None);
    };
    let mut statement = view.conn.prepare_cached(concat!(
        "SELECT ",
        node_columns!(),
        " FROM entry e JOIN node n ON n.id = e.node WHERE e.parent = ?1 AND e.tag = ?2"
    ))?;
    statement
        .query(params![parent, tag])?
        .next()?
        .map(rows::attr)
        .transpose()
}

pub(crate) fn lookup(view: View<'_>, parent: NodeId, name: &Name) -> Outcome<Option<Attr>> {
    let tag = tag(view.key, parent, name);
    match entry(view, parent, &tag)? {
        Some(attr) => Ok(Some(attr)),
        // Only a folder has entries, so whether it is one is asked only where none was found.
        None => folder(view, parent).map(|_| None),
    }
}

pub(crate) fn list(
    view: View<'_>,
    dir: NodeId,
    after: Option<Cursor>,
    most: usize,
) -> Outcome<Vec<Listed>> {
    let from: &[u8] = match &after {
        Some(cursor) => &cursor.0,
        None => &[],
    };
    let mut statement = view.conn.prepare_cached(concat!(
        "SELECT ",
        node_columns!(),
        ", e.tag, e.sealed FROM entry e JOIN node n ON n.id = e.node WHERE e.parent = ?1 AND e.tag > ?2 ORDER BY e.tag LIMIT ?3"
    ))?;
    let mut found = statement.query(params![sql(dir.0)?, from, limit(most)])?;
    let mut listed = Vec::new();
    while let Some(row) = found.next()? {
        let tag: [u8; 16] = row.get(19)?;
        let name = open_name(
            view,
            dir,
            &tag,
            row.get_ref(20)?.as_blob().map_err(rusqlite::Error::from)?,
        )?;
        listed.push(Listed {
            name,
            attr: rows::attr(row)?,
            cursor: Cursor(tag),
        });
    }
    if listed.is_empty() {
        folder(view, dir)?;
    }
    Ok(listed)
}

pub(crate) fn open_name(
    view: View<'_>,
    parent: NodeId,
    tag: &[u8; 16],
    sealed: &[u8],
) -> Outcome<Name> {
    let opened = view
        .key
        .open(Field::Name, &entry_row(parent, tag), sealed)
        .map_err(|_| {
            damaged(format!(
                "a name in folder {parent} does not open under the vault's key"
            ))
        })?;
    Name::new(opened.expose())
        .map_err(|error| damaged(format!("a name in folder {parent}: {error}")))
}

/// The folder in which a node has its first name; `None` for one without a name, and for the root.
pub(crate) fn parent_of(view: View<'_>, node: NodeId) -> Outcome<Option<NodeId>> {
    let mut statement = view
        .conn
        .prepare_cached("SELECT parent FROM entry WHERE node = ?1 ORDER BY parent LIMIT 1")?;
    statement
        .query(params![sql(node.0)?])?
        .next()?
        .map(|row| number(row, 0).map(NodeId))
        .transpose()
}

pub(crate) fn path(view: View<'_>, node: NodeId) -> Outcome<Option<Vec<Name>>> {
    view.snapshot(|view| {
        let mut statement = view.conn.prepare_cached(
            "SELECT parent, tag, sealed FROM entry WHERE node = ?1 ORDER BY parent, tag LIMIT 1",
        )?;
        let mut names = Vec::new();
        let mut at = node;
        while at != NodeId::ROOT {
            let Ok(id) = sql(at.0) else { return Ok(None) };
            let mut found = statement.query(params![id])?;
            let Some(row) = found.next()? else {
                return Ok(None);
            };
            let parent = NodeId(number(row, 0)?);
            names.push(open_name(
                view,
                parent,
                &row.get(1)?,
                row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?,
            )?);
            if names.len() > DEPTH {
                return Err(damaged(format!(
                    "the folders above node {node} go round in a circle"
                )));
            }
            at = parent;
        }
        names.reverse();
        Ok(Some(names))
    })
}

pub(crate) fn parent(view: View<'_>, dir: NodeId) -> Outcome<NodeId> {
    view.snapshot(|view| {
        folder(view, dir)?;
        if dir == NodeId::ROOT {
            return Ok(dir);
        }
        parent_of(view, dir)?
            .ok_or_else(|| damaged(format!("folder {dir} counts names and has none")))
    })
}

pub(crate) fn read_link(view: View<'_>, node: NodeId) -> Outcome<Vec<u8>> {
    let mut statement = view
        .conn
        .prepare_cached("SELECT sealed FROM link WHERE node = ?1")?;
    let sealed: Option<Vec<u8>> = statement
        .query_row(params![sql(node.0)?], |row| row.get(0))
        .optional()?;
    let sealed = sealed.ok_or_else(|| missing("symbolic link"))?;
    let opened = view
        .key
        .open(Field::Link, &node.0.to_le_bytes(), &sealed)
        .map_err(|_| {
            damaged(format!(
                "the target of link {node} does not open under the vault's key"
            ))
        })?;
    Ok(opened.expose().to_vec())
}

/// A node and its current version. Within a transaction or a snapshot, since it takes several statements.
pub(crate) fn current(view: View<'_>, node: NodeId) -> Outcome<(Attr, Option<Version>)> {
    let attr = attr(view, node)?.ok_or_else(|| missing("node"))?;
    if attr.version.0 == 0 {
        return Ok((attr, None));
    }
    match version(view, attr.document, attr.version)? {
        Some(version) => Ok((attr, Some(version))),
        None => Err(damaged(format!(
            "version {} of node {node} has no row",
            attr.version
        ))),
    }
}

/// One version with its layout. Within a transaction or a snapshot, since it takes two statements.
pub(crate) fn version(
    view: View<'_>,
    document: FileId,
    number_: VersionNo,
) -> Outcome<Option<Version>> {
    let Ok(wanted) = sql(number_.0) else {
        return Ok(None);
    };
    let mut statement = view.conn.prepare_cached(concat!(
        "SELECT ",
        version_columns!(),
        " FROM version WHERE document = ?1 AND number = ?2"
    ))?;
    let mut found = statement.query(params![document.as_bytes(), wanted])?;
    let Some(row) = found.next()? else {
        return Ok(None);
    };
    with_layout(view, versions::from_row(view, row)?).map(Some)
}

fn with_layout(view: View<'_>, (mut version, extents): (Version, u64)) -> Outcome<Version> {
    version.layout = layout::read(view, version.document, version.number, extents)?;
    Ok(version)
}

pub(crate) fn history(view: View<'_>, document: FileId) -> Outcome<Vec<Version>> {
    let mut statement = view.conn.prepare_cached(concat!(
        "SELECT ",
        version_columns!(),
        " FROM version WHERE document = ?1 ORDER BY number"
    ))?;
    let mut found = statement.query(params![document.as_bytes()])?;
    let mut versions = Vec::new();
    while let Some(row) = found.next()? {
        versions.push(versions::from_row(view, row)?.0);
    }
    Ok(versions)
}

pub(crate) fn unsettled(view: View<'_>, most: usize) -> Outcome<Vec<Version>> {
    view.snapshot(|view| {
        let mut statement = view.conn.prepare_cached(concat!(
            "SELECT ",
            version_columns!(),
            " FROM version WHERE settled = 0 ORDER BY id LIMIT ?1"
        ))?;
        let mut found = statement.query(params![limit(most)])?;
        let mut versions = Vec::new();
        while let Some(row) = found.next()? {
            versions.push(with_layout(view, versions::from_row(view, row)?)?);
        }
        Ok(versions)
    })
}

pub(crate) fn extent(view: View<'_>, extent: ExtentId) -> Outcome<Option<ExtentRecord>> {
    let mut statement = view.conn.prepare_cached(concat!(
        "SELECT ",
        extent_columns!(),
        " FROM extent WHERE id = ?1"
    ))?;
    statement
        .query(params![extent.as_bytes()])?
        .next()?
        .map(rows::extent)
        .transpose()
}

pub(crate) fn extents(
    view: View<'_>,
    after: Option<ExtentId>,
    most: usize,
    owed: bool,
) -> Outcome<Vec<ExtentRecord>> {
    let from: &[u8] = match &after {
        Some(extent) => extent.as_bytes(),
        None => &[],
    };
    let mut statement = view.conn.prepare_cached(if owed {
        concat!(
            "SELECT ",
            extent_columns!(),
            " FROM extent WHERE owed IS NOT NULL AND id > ?1 ORDER BY id LIMIT ?2"
        )
    } else {
        concat!(
            "SELECT ",
            extent_columns!(),
            " FROM extent WHERE id > ?1 ORDER BY id LIMIT ?2"
        )
    })?;
    let mut found = statement.query(params![from, limit(most)])?;
    let mut extents = Vec::new();
    while let Some(row) = found.next()? {
        extents.push(rows::extent(row)?);
    }
    Ok(extents)
}

pub(crate) fn user_of(
    view: View<'_>,
    extent: ExtentId,
) -> Outcome<Option<(Option<NodeId>, FileId, VersionNo)>> {
    view.snapshot(|view| {
        if let Some(record) = self::extent(view, extent)?
            && record.kind == ExtentKind::Journal
        {
            return Ok(Some((None, record.document, record.version)));
        }
        // An interval reaches to the last version before its end that is kept. A file with a name comes first, then
        // the newest version.
        let mut statement = view.conn.prepare_cached(
            "SELECT u.document, u.number,
                    (SELECT n.id FROM node n WHERE n.document = u.document ORDER BY n.nlink = 0, n.id LIMIT 1) AS node,
                    (SELECT count(*) FROM node n WHERE n.document = u.document AND n.nlink > 0) AS named
             FROM (SELECT document, number FROM version WHERE head = ?1
                   UNION ALL
                   SELECT l.document, (SELECT max(v.number) FROM version v WHERE v.document = l.document
                            AND (l.until_version IS NULL OR v.number < l.until_version))
                   FROM layout l WHERE l.extent = ?1) u
             ORDER BY named > 0 DESC, node IS NOT NULL DESC, u.number DESC, node DESC, u.document DESC LIMIT 1",
        )?;
        let mut found = statement.query(params![extent.as_bytes()])?;
        let Some(row) = found.next()? else { return Ok(None) };
        let node = match row.get::<_, Option<i64>>(2)? {
            Some(_) => Some(NodeId(number(row, 2)?)),
            None => None,
        };
        Ok(Some((node, FileId::from_bytes(row.get(0)?), VersionNo(number(row, 1)?))))
    })
}

pub(crate) fn documents_of(view: View<'_>, extent: ExtentId) -> Outcome<Vec<FileId>> {
    view.snapshot(|view| {
        let mut statement = view.conn.prepare_cached(
            "SELECT document FROM version WHERE head = ?1 UNION SELECT document FROM layout WHERE extent = ?1 ORDER BY document",
        )?;
        let mut rows = statement.query(params![extent.as_bytes()])?;
        let mut documents = Vec::new();
        while let Some(row) = rows.next()? {
            documents.push(FileId::from_bytes(row.get(0)?));
        }
        Ok(documents)
    })
}

pub(crate) fn usage(view: View<'_>) -> Outcome<Usage> {
    view.snapshot(|view| {
        let count = |sql: &str, kind: Option<NodeKind>| -> Outcome<u64> {
            let mut statement = view.conn.prepare_cached(sql)?;
            let mut found = match kind {
                Some(kind) => statement.query(params![kind_code(kind)])?,
                None => statement.query([])?,
            };
            found.next()?.map_or(Ok(0), |row| number(row, 0))
        };
        let mut usage = Usage {
            files: count(
                "SELECT count(*) FROM node WHERE kind = ?1 AND nlink > 0",
                Some(NodeKind::File),
            )?,
            dirs: count(
                "SELECT count(*) FROM node WHERE kind = ?1 AND nlink > 0",
                Some(NodeKind::Dir),
            )?,
            bytes: count(
                "SELECT COALESCE(sum(size), 0) FROM node WHERE kind = ?1 AND nlink > 0",
                Some(NodeKind::File),
            )?,
            versions: count("SELECT count(*) FROM version", None)?,
            open_saves: saves::open(view)?,
            unsettled: count("SELECT count(*) FROM version WHERE settled = 0", None)?,
            ..Usage::default()
        };
        let mut statement = view
            .conn
            .prepare_cached("SELECT owed FROM extent WHERE owed IS NOT NULL")?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let owed = IndexSet::from_bytes(&row.get::<_, Vec<u8>>(0)?)
                .ok_or_else(|| damaged("a set of owed shares cannot be read"))?;
            usage.degraded_extents += 1;
            usage.owed_shares += u64::from(owed.len());
        }
        Ok(usage)
    })
}

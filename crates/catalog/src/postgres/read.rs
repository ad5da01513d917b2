//! Reading: each question is one statement, so one round trip and one moment.

use tokio_postgres::Row;
use warifu_core::format::ExtentKind;
use warifu_core::ids::{ExtentId, FileId, VersionNo};
use warifu_core::keys::{CatalogKey, Field};
use warifu_core::secret::SecretBytes;
use warifu_vault::context::AuditEntry;
use warifu_vault::node::{Attr, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    About, CatalogError, Cursor, ExtentRecord, Intent, Listed, SaveId, Usage, Version,
};

use super::PostgresCatalog;
use super::pool::Value;
use super::rows::{
    self, NODE, extent_columns, id, key, layout_columns, node_columns, number, version_columns,
};
use crate::codec::{decode_pair, kind_code, read_extent_list};
use crate::error::{Outcome, damaged, missing};
use crate::names::{entry_row, tag};
use crate::saves::limit;
use crate::xattrs;

impl PostgresCatalog {
    pub(super) async fn read_attr(&self, node: NodeId) -> Outcome<Option<Attr>> {
        let sql = concat!("SELECT ", node_columns!(), " FROM node n WHERE n.id = $1");
        let found = self.pool.read(sql, &[&key(node.0)]).await?;
        found.first().map(|row| rows::attr(row, 0)).transpose()
    }

    /// A folder that has a name.
    async fn need_folder(&self, dir: NodeId) -> Outcome<()> {
        match self.read_attr(dir).await? {
            Some(attr) if attr.kind != NodeKind::Dir => Err(CatalogError::NotDir.into()),
            Some(attr) if attr.nlink > 0 => Ok(()),
            _ => Err(missing("folder")),
        }
    }

    pub(super) async fn read_lookup(&self, parent: NodeId, name: &Name) -> Outcome<Option<Attr>> {
        // One statement tells the name that was not found from the folder that is not there.
        let sql = concat!(
            "SELECT p.kind, p.nlink, ",
            node_columns!(),
            " FROM node p LEFT JOIN entry e ON e.parent = p.id AND e.tag = $2 LEFT JOIN node n ON n.id = e.node WHERE p.id = $1"
        );
        let tag = tag(&self.key, parent, name);
        let found = self
            .pool
            .read(sql, &[&key(parent.0), &tag.as_slice()])
            .await?;
        let row = found.first().ok_or_else(|| missing("folder"))?;
        if row.try_get::<_, Option<i64>>(2)?.is_some() {
            return rows::attr(row, 2).map(Some);
        }
        if row.try_get::<_, i64>(0)? != kind_code(NodeKind::Dir) {
            return Err(CatalogError::NotDir.into());
        }
        match row.try_get::<_, i64>(1)? {
            0 => Err(missing("folder")),
            _ => Ok(None),
        }
    }

    pub(super) async fn read_list(
        &self,
        dir: NodeId,
        after: Option<Cursor>,
        most: usize,
    ) -> Outcome<Vec<Listed>> {
        let from = after.as_ref().map_or(&[][..], |cursor| &cursor.0);
        let sql = concat!(
            "SELECT ",
            node_columns!(),
            ", e.tag, e.sealed FROM entry e JOIN node n ON n.id = e.node WHERE e.parent = $1 AND e.tag > $2 ORDER BY e.tag LIMIT $3"
        );
        let found = self
            .pool
            .read(sql, &[&key(dir.0), &from, &limit(most)])
            .await?;
        let mut listed = Vec::with_capacity(found.len());
        for row in &found {
            let tag = id(row, NODE)?;
            listed.push(Listed {
                name: open_name(&self.key, dir, &tag, row.try_get(NODE + 1)?)?,
                attr: rows::attr(row, 0)?,
                cursor: Cursor(tag),
            });
        }
        if listed.is_empty() {
            self.need_folder(dir).await?;
        }
        Ok(listed)
    }

    pub(super) async fn read_path(&self, node: NodeId) -> Outcome<Option<Vec<Name>>> {
        if node == NodeId::ROOT {
            return Ok(Some(Vec::new()));
        }
        let sql = "WITH RECURSIVE up (depth, parent, tag, sealed) AS (
             (SELECT 1, parent, tag, sealed FROM entry WHERE node = $1 ORDER BY parent, tag LIMIT 1)
             UNION ALL
             SELECT u.depth + 1, e.parent, e.tag, e.sealed FROM up u CROSS JOIN LATERAL
               (SELECT parent, tag, sealed FROM entry WHERE node = u.parent ORDER BY parent, tag LIMIT 1) e
             WHERE u.parent <> 1 AND u.depth < 1048576)
           SELECT parent, tag, sealed FROM up ORDER BY depth DESC";
        let found = self.pool.read(sql, &[&key(node.0)]).await?;
        let Some(top) = found.first() else {
            return Ok(None);
        };
        if number(top, 0)? != NodeId::ROOT.0 {
            if found.len() >= crate::rename::DEPTH {
                return Err(damaged(format!(
                    "the folders above node {node} go round in a circle"
                )));
            }
            return Ok(None);
        }
        let name = |row: &Row| {
            open_name(
                &self.key,
                NodeId(number(row, 0)?),
                &id(row, 1)?,
                row.try_get(2)?,
            )
        };
        found.iter().map(name).collect::<Outcome<_>>().map(Some)
    }

    pub(super) async fn read_parent(&self, dir: NodeId) -> Outcome<NodeId> {
        let sql = "SELECT n.kind, n.nlink, (SELECT e.parent FROM entry e WHERE e.node = n.id ORDER BY e.parent LIMIT 1)
             FROM node n WHERE n.id = $1";
        let found = self.pool.read(sql, &[&key(dir.0)]).await?;
        let row = found.first().ok_or_else(|| missing("folder"))?;
        if row.try_get::<_, i64>(0)? != kind_code(NodeKind::Dir) {
            return Err(CatalogError::NotDir.into());
        }
        if row.try_get::<_, i64>(1)? == 0 {
            return Err(missing("folder"));
        }
        if dir == NodeId::ROOT {
            return Ok(dir);
        }
        match row.try_get::<_, Option<i64>>(2)? {
            Some(parent) => rows::unsigned(parent).map(NodeId),
            None => Err(damaged(format!("folder {dir} counts names and has none"))),
        }
    }

    pub(super) async fn read_link_target(&self, node: NodeId) -> Outcome<Vec<u8>> {
        let sql = "SELECT sealed FROM link WHERE node = $1";
        let found = self.pool.read(sql, &[&key(node.0)]).await?;
        let row = found.first().ok_or_else(|| missing("symbolic link"))?;
        open_target(&self.key, node, row.try_get(0)?)
    }

    pub(super) async fn read_xattrs(&self, node: NodeId) -> Outcome<Vec<(Vec<u8>, Vec<u8>)>> {
        let sql = "SELECT x.tag, x.sealed FROM node n LEFT JOIN xattr x ON x.node = n.id WHERE n.id = $1 ORDER BY x.tag";
        let found = self.pool.read(sql, &[&key(node.0)]).await?;
        if found.is_empty() {
            return Err(missing("node"));
        }
        let mut list = Vec::new();
        for row in &found {
            let Some(sealed) = row.try_get::<_, Option<&[u8]>>(1)? else {
                continue;
            };
            let opened = open_xattr(&self.key, node, &id(row, 0)?, sealed)?;
            let (name, value) = decode_pair(opened.expose())?;
            list.push((name.to_vec(), value.to_vec()));
        }
        Ok(list)
    }

    pub(super) async fn read_xattr(&self, node: NodeId, name: &[u8]) -> Outcome<Vec<u8>> {
        let tag = xattrs::tag(&self.key, node, name);
        let sql = "SELECT x.sealed FROM node n LEFT JOIN xattr x ON x.node = n.id AND x.tag = $2 WHERE n.id = $1";
        let found = self
            .pool
            .read(sql, &[&key(node.0), &tag.as_slice()])
            .await?;
        let row = found.first().ok_or_else(|| missing("node"))?;
        let sealed: &[u8] = row
            .try_get::<_, Option<_>>(0)?
            .ok_or(CatalogError::NoXattr)?;
        let opened = open_xattr(&self.key, node, &tag, sealed)?;
        Ok(decode_pair(opened.expose())?.1.to_vec())
    }

    pub(super) async fn read_current(&self, node: NodeId) -> Outcome<(Attr, Option<Version>)> {
        let found = self.pool.read(CURRENT, &[&key(node.0)]).await?;
        let row = found.first().ok_or_else(|| missing("node"))?;
        self.current_of(row)
    }

    pub(super) fn current_of(&self, row: &Row) -> Outcome<(Attr, Option<Version>)> {
        let attr = rows::attr(row, 0)?;
        if attr.version.0 == 0 {
            return Ok((attr, None));
        }
        if row.try_get::<_, Option<&[u8]>>(NODE)?.is_none() {
            return Err(damaged(format!(
                "version {} of node {} has no row",
                attr.version, attr.node
            )));
        }
        let version = rows::whole_version(&self.key, row, NODE)?;
        Ok((attr, Some(version)))
    }

    pub(super) async fn read_version(
        &self,
        document: FileId,
        number: VersionNo,
    ) -> Outcome<Option<Version>> {
        let sql = concat!(
            "SELECT ",
            version_columns!(),
            ", ",
            layout_columns!(),
            " FROM version v WHERE v.document = $1 AND v.number = $2"
        );
        let found = self
            .pool
            .read(sql, &[&document.as_bytes().as_slice(), &key(number.0)])
            .await?;
        found
            .first()
            .map(|row| rows::whole_version(&self.key, row, 0))
            .transpose()
    }

    pub(super) async fn read_history(&self, document: FileId) -> Outcome<Vec<Version>> {
        let sql = concat!(
            "SELECT ",
            version_columns!(),
            " FROM version v WHERE v.document = $1 ORDER BY v.number"
        );
        let found = self
            .pool
            .read(sql, &[&document.as_bytes().as_slice()])
            .await?;
        found
            .iter()
            .map(|row| rows::version(&self.key, row, 0).map(|(version, _)| version))
            .collect()
    }

    pub(super) async fn read_unsettled(&self, most: usize) -> Outcome<Vec<Version>> {
        let sql = concat!(
            "SELECT ",
            version_columns!(),
            ", ",
            layout_columns!(),
            " FROM version v WHERE v.settled = 0 ORDER BY v.id LIMIT $1"
        );
        let found = self.pool.read(sql, &[&limit(most)]).await?;
        found
            .iter()
            .map(|row| rows::whole_version(&self.key, row, 0))
            .collect()
    }

    pub(super) async fn read_extent(&self, extent: ExtentId) -> Outcome<Option<ExtentRecord>> {
        let sql = concat!(
            "SELECT ",
            extent_columns!(),
            " FROM extent e WHERE e.id = $1"
        );
        let found = self
            .pool
            .read(sql, &[&extent.as_bytes().as_slice()])
            .await?;
        found.first().map(|row| rows::extent(row, 0)).transpose()
    }

    pub(super) async fn read_extents(
        &self,
        after: Option<ExtentId>,
        most: usize,
        owed: bool,
    ) -> Outcome<Vec<ExtentRecord>> {
        let from = after.as_ref().map_or(&[][..], |extent| extent.as_bytes());
        let sql = if owed {
            concat!(
                "SELECT ",
                extent_columns!(),
                " FROM extent e WHERE e.owed IS NOT NULL AND e.id > $1 ORDER BY e.id LIMIT $2"
            )
        } else {
            concat!(
                "SELECT ",
                extent_columns!(),
                " FROM extent e WHERE e.id > $1 ORDER BY e.id LIMIT $2"
            )
        };
        let found = self.pool.read(sql, &[&from, &limit(most)]).await?;
        found.iter().map(|row| rows::extent(row, 0)).collect()
    }

    pub(super) async fn read_documents_of(&self, extent: ExtentId) -> Outcome<Vec<FileId>> {
        let sql = "SELECT document FROM version WHERE head = $1 UNION SELECT document FROM layout WHERE extent = $1 ORDER BY document";
        let found = self
            .pool
            .read(sql, &[&extent.as_bytes().as_slice()])
            .await?;
        let documents = found.iter().map(|row| Ok(FileId::from_bytes(id(row, 0)?)));
        documents.collect()
    }

    pub(super) async fn read_user_of(
        &self,
        extent: ExtentId,
    ) -> Outcome<Option<(Option<NodeId>, FileId, VersionNo)>> {
        if let Some(record) = self.read_extent(extent).await?
            && record.kind == ExtentKind::Journal
        {
            return Ok(Some((None, record.document, record.version)));
        }
        // An interval reaches to the last version before its end that is kept. A file with a name comes first, then
        // the newest version.
        let sql = "SELECT document, number, node FROM (
             SELECT u.document, u.number,
                    (SELECT n.id FROM node n WHERE n.document = u.document ORDER BY (n.nlink = 0), n.id LIMIT 1) AS node,
                    EXISTS (SELECT 1 FROM node n WHERE n.document = u.document AND n.nlink > 0) AS named
             FROM (SELECT document, number FROM version WHERE head = $1
                   UNION ALL
                   SELECT l.document, (SELECT max(v.number) FROM version v WHERE v.document = l.document
                            AND (l.until_version IS NULL OR v.number < l.until_version))
                   FROM layout l WHERE l.extent = $1) u) w
             ORDER BY named DESC, (node IS NOT NULL) DESC, number DESC, node DESC, document DESC LIMIT 1";
        let found = self
            .pool
            .read(sql, &[&extent.as_bytes().as_slice()])
            .await?;
        let Some(row) = found.first() else {
            return Ok(None);
        };
        let node = row
            .try_get::<_, Option<i64>>(2)?
            .map(rows::unsigned)
            .transpose()?
            .map(NodeId);
        Ok(Some((
            node,
            FileId::from_bytes(id(row, 0)?),
            VersionNo(number(row, 1)?),
        )))
    }

    /// All intents, or those whose lease has ended.
    pub(super) async fn read_intents(&self, lapsed: bool) -> Outcome<Vec<Intent>> {
        let sql = "SELECT i.save, i.extents || COALESCE((SELECT string_agg(m.extents, ''::bytea ORDER BY m.id) FROM intent_more m
                      WHERE m.save = i.save), ''::bytea)
             FROM intent i WHERE i.until < (SELECT CASE WHEN $1 THEN clock_timestamp() ELSE 'infinity' END) ORDER BY i.save";
        let found = self.pool.read(sql, &[&lapsed]).await?;
        let mut intents = Vec::with_capacity(found.len());
        for row in &found {
            let mut extents = Vec::new();
            read_extent_list(row.try_get(1)?, &mut extents)?;
            intents.push(Intent {
                save: SaveId::from_bytes(id(row, 0)?),
                extents,
            });
        }
        Ok(intents)
    }

    pub(super) async fn read_usage(&self) -> Outcome<Usage> {
        let sql = "SELECT (SELECT count(*) FROM node WHERE kind = 1 AND nlink > 0),
                  (SELECT count(*) FROM node WHERE kind = 2 AND nlink > 0),
                  (SELECT COALESCE(sum(size), 0)::BIGINT FROM node WHERE kind = 1 AND nlink > 0),
                  (SELECT count(*) FROM version), (SELECT count(*) FROM intent),
                  (SELECT count(*) FROM version WHERE settled = 0),
                  ARRAY(SELECT owed FROM extent WHERE owed IS NOT NULL)";
        let found = self.pool.read(sql, &[]).await?;
        let row = found
            .first()
            .ok_or_else(|| damaged("the database counts nothing"))?;
        let mut usage = Usage {
            files: number(row, 0)?,
            dirs: number(row, 1)?,
            bytes: number(row, 2)?,
            versions: number(row, 3)?,
            open_saves: number(row, 4)?,
            unsettled: number(row, 5)?,
            ..Usage::default()
        };
        for owed in row.try_get::<_, Vec<&[u8]>>(6)? {
            let owed = warifu_vault::seam::catalog::IndexSet::from_bytes(owed)
                .ok_or_else(|| damaged("a set of owed shares cannot be read"))?;
            usage.degraded_extents += 1;
            usage.owed_shares += u64::from(owed.len());
        }
        Ok(usage)
    }
}

/// A node, its current version and that one's layout.
macro_rules! current {
    () => {
        concat!(
            "SELECT ",
            node_columns!(),
            ", ",
            version_columns!(),
            ", ",
            layout_columns!(),
            " FROM node n LEFT JOIN version v ON v.document = n.document AND v.number = n.version WHERE n.id = $1"
        )
    };
}

const CURRENT: &str = current!();

/// The same, and the line of a file's opening. A line alone need not wait for the disk.
const OPEN: &str = concat!(
    "WITH told AS (INSERT INTO arrived (line, sealed, version) SELECT $2::bytea, $3::bytea, o.version FROM node o WHERE o.id = $1 AND o.kind = 1 \
       AND CASE WHEN $4 THEN set_config('synchronous_commit', 'off', TRUE) = 'off' ELSE TRUE END) ",
    current!()
);

/// A node with its path from the top and its extended attributes, in arrays.
pub(super) const ABOUT: &str = concat!(
    "WITH RECURSIVE up (depth, parent, tag, sealed) AS (
       (SELECT 1, parent, tag, sealed FROM entry WHERE node = $1 ORDER BY parent, tag LIMIT 1)
       UNION ALL
       SELECT u.depth + 1, e.parent, e.tag, e.sealed FROM up u CROSS JOIN LATERAL
         (SELECT parent, tag, sealed FROM entry WHERE node = u.parent ORDER BY parent, tag LIMIT 1) e
       WHERE u.parent <> 1 AND u.depth < 1048576)
     SELECT ",
    node_columns!(),
    ", ARRAY(SELECT parent FROM up ORDER BY depth DESC), ARRAY(SELECT tag FROM up ORDER BY depth DESC),
       ARRAY(SELECT sealed FROM up ORDER BY depth DESC), ARRAY(SELECT x.tag FROM xattr x WHERE x.node = n.id ORDER BY x.tag),
       ARRAY(SELECT x.sealed FROM xattr x WHERE x.node = n.id ORDER BY x.tag) FROM node n WHERE n.id = $1"
);

impl PostgresCatalog {
    pub(super) async fn do_open(
        &self,
        node: NodeId,
        entry: &AuditEntry,
        soon: bool,
    ) -> Outcome<(Attr, Option<Version>)> {
        let line = self.line(entry)?;
        let values: [Value<'_>; 4] = [&key(node.0), &line.id.as_slice(), &line.sealed, &soon];
        let found = self.pool.write(OPEN, &values).await?;
        self.current_of(found.first().ok_or_else(|| missing("node"))?)
    }

    pub(super) async fn read_about(&self, node: NodeId) -> Outcome<Option<About>> {
        let found = self.pool.read(ABOUT, &[&key(node.0)]).await?;
        let row = found.first();
        row.map(|row| self.about_of(node, row)).transpose()
    }

    /// What a row of [`ABOUT`] tells.
    pub(super) fn about_of(&self, node: NodeId, row: &Row) -> Outcome<About> {
        let attr = rows::attr(row, 0)?;
        let parents: Vec<i64> = row.try_get(NODE)?;
        let (tags, sealed): (Vec<&[u8]>, Vec<&[u8]>) =
            (row.try_get(NODE + 1)?, row.try_get(NODE + 2)?);
        let mut path = Vec::new();
        // Below a folder without a name there is no path.
        if parents
            .first()
            .is_none_or(|top| *top == key(NodeId::ROOT.0))
        {
            for ((parent, tag), sealed) in parents.into_iter().zip(tags).zip(sealed) {
                let parent = NodeId(rows::unsigned(parent)?);
                path.push(open_name(&self.key, parent, &rows::bytes(tag)?, sealed)?);
            }
        }
        let (tags, sealed): (Vec<&[u8]>, Vec<&[u8]>) =
            (row.try_get(NODE + 3)?, row.try_get(NODE + 4)?);
        let mut xattrs = Vec::new();
        for (tag, sealed) in tags.into_iter().zip(sealed) {
            let opened = open_xattr(&self.key, node, &rows::bytes(tag)?, sealed)?;
            let (name, value) = decode_pair(opened.expose())?;
            xattrs.push((name.to_vec(), value.to_vec()));
        }
        Ok(About { attr, path, xattrs })
    }
}

pub(super) fn open_name(
    key: &CatalogKey,
    parent: NodeId,
    tag: &[u8; 16],
    sealed: &[u8],
) -> Outcome<Name> {
    let opened = key
        .open(Field::Name, &entry_row(parent, tag), sealed)
        .map_err(|_| {
            damaged(format!(
                "a name in folder {parent} does not open under the vault's key"
            ))
        })?;
    Name::new(opened.expose())
        .map_err(|error| damaged(format!("a name in folder {parent}: {error}")))
}

pub(super) fn open_target(key: &CatalogKey, node: NodeId, sealed: &[u8]) -> Outcome<Vec<u8>> {
    let opened = key
        .open(Field::Link, &node.0.to_le_bytes(), sealed)
        .map_err(|_| {
            damaged(format!(
                "the target of link {node} does not open under the vault's key"
            ))
        })?;
    Ok(opened.expose().to_vec())
}

pub(super) fn open_xattr(
    key: &CatalogKey,
    node: NodeId,
    tag: &[u8; 16],
    sealed: &[u8],
) -> Outcome<SecretBytes> {
    key.open(Field::Xattr, &entry_row(node, tag), sealed)
        .map_err(|_| {
            damaged(format!(
                "an extended attribute of node {node} does not open under the vault's key"
            ))
        })
}

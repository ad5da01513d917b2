//! Names in time, and earlier versions made current again ([`Past`]). What is decided here is in `sql/past.sql`.

use async_trait::async_trait;
use tokio_postgres::Row;
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};
use warifu_core::keys::{CatalogKey, Field};
use warifu_vault::node::{Attr, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{CatalogError, Write};
use warifu_vault::seam::past::{End, Forget, Forgotten, Past, PastName, Reinstate};

use super::PostgresCatalog;
use super::pool::{Call, Session, Value};
use super::read::{open_name, open_target};
use super::rows::{self, NODE, extent_id, id, key, node_columns, number, seal_author, time};
use super::write::{document_bytes, only};
use crate::codec::{kind_code, kind_of, sql};
use crate::error::{Outcome, damaged};
use crate::names::{entry_row, tag};
use crate::saves::limit;
use crate::sessions::millis;
use crate::xattrs;

/// The columns of a name that ended, as [`past_name`] reads them.
macro_rules! past_columns {
    () => {
        "p.id, p.parent, p.tag, p.sealed, p.node, p.kind, p.mode, p.uid, p.gid, p.rdev, p.document, p.version, p.link, \
         p.since, p.since_ns, p.until, p.until_ns, p.how"
    };
}

pub(super) use past_columns;

/// A name that is there, as [`present`] reads it.
macro_rules! present {
    () => {
        concat!(
            "SELECT ",
            node_columns!(),
            ", e.parent, e.tag, e.sealed, e.since, e.since_ns, (SELECT l.sealed FROM link l WHERE l.node = n.id)
             FROM entry e JOIN node n ON n.id = e.node"
        )
    };
}

fn small(row: &Row, at: usize) -> Outcome<u32> {
    u32::try_from(row.try_get::<_, i64>(at)?)
        .map_err(|_| damaged("a number of a name that ended is out of range"))
}

/// The name that ended in a row.
pub(super) fn past_name(key: &CatalogKey, row: &Row) -> Outcome<PastName> {
    let (parent, tag, node) = (
        NodeId(number(row, 1)?),
        id(row, 2)?,
        NodeId(number(row, 4)?),
    );
    let how: i64 = row.try_get(17)?;
    let end = u8::try_from(how)
        .ok()
        .and_then(End::of)
        .ok_or_else(|| damaged(format!("a name ended as {how}")))?;
    Ok(PastName {
        id: number(row, 0)?,
        parent,
        tag,
        name: open_name(key, parent, &tag, row.try_get(3)?)?,
        node,
        kind: kind_of(row.try_get(5)?)?,
        mode: small(row, 6)?,
        uid: small(row, 7)?,
        gid: small(row, 8)?,
        rdev: small(row, 9)?,
        document: match row.try_get::<_, Option<&[u8]>>(10)? {
            Some(bytes) => FileId::from_bytes(rows::bytes(bytes)?),
            None => FileId::NIL,
        },
        version: VersionNo(number(row, 11)?),
        target: match row.try_get::<_, Option<&[u8]>>(12)? {
            Some(sealed) => open_target(key, node, sealed)?,
            None => Vec::new(),
        },
        since: time(row, 13)?,
        until: Some((time(row, 15)?, end)),
    })
}

/// A name that is there, as a name in time.
fn present(key: &CatalogKey, row: &Row) -> Outcome<PastName> {
    let attr = rows::attr(row, 0)?;
    let (parent, tag) = (NodeId(number(row, NODE)?), id(row, NODE + 1)?);
    let since = time(row, NODE + 3)?;
    Ok(PastName {
        id: 0,
        parent,
        tag,
        name: open_name(key, parent, &tag, row.try_get(NODE + 2)?)?,
        node: attr.node,
        kind: attr.kind,
        mode: attr.mode,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        document: attr.document,
        version: attr.version,
        target: match row.try_get::<_, Option<&[u8]>>(NODE + 5)? {
            Some(sealed) => open_target(key, attr.node, sealed)?,
            None => Vec::new(),
        },
        since: if since == Timestamp::default() {
            attr.btime
        } else {
            since
        },
        until: None,
    })
}

impl PostgresCatalog {
    /// Names that ended, and then names that are there. Those that are there are read first: so none is missed that ends meanwhile, and
    /// none told twice.
    async fn names(&self, ended: Call<'_>, there: Call<'_>) -> Outcome<Vec<PastName>> {
        let answers = self.pool.read_all(&[there, ended]).await?;
        let [there, ended] = answers.as_slice() else {
            return Err(damaged("the database answered too little"));
        };
        let mut names = ended
            .iter()
            .map(|row| past_name(&self.key, row))
            .collect::<Outcome<Vec<_>>>()?;
        let told = names.len();
        for row in there {
            let name = present(&self.key, row)?;
            let ended = names.iter().take(told).any(|ended| {
                (ended.parent, ended.tag, ended.since) == (name.parent, name.tag, name.since)
                    && ended.until.is_some_and(|(until, _)| until > ended.since)
            });
            if !ended {
                names.push(name);
            }
        }
        Ok(names)
    }

    async fn read_list_at(&self, dir: NodeId, at: Timestamp) -> Outcome<Vec<PastName>> {
        let (dir, nanos) = (key(dir.0), i64::from(at.nanos));
        let ended = concat!(
            "SELECT ",
            past_columns!(),
            " FROM past p WHERE p.parent = $1 AND (p.until, p.until_ns) > ($2, $3) AND (p.since, p.since_ns) <= ($2, $3)"
        );
        let there = concat!(present!(), " WHERE e.parent = $1");
        let mut names = self
            .names((ended, &[&dir, &at.secs, &nanos]), (there, &[&dir]))
            .await?;
        names.retain(|name| name.covers(at));
        names.sort_by_key(|name| name.tag);
        Ok(names)
    }

    async fn read_lookup_at(
        &self,
        dir: NodeId,
        name: &Name,
        at: Timestamp,
    ) -> Outcome<Option<PastName>> {
        let (tag, nanos) = (tag(&self.key, dir, name), i64::from(at.nanos));
        let (dir, tag) = (key(dir.0), tag.as_slice());
        // Its intervals do not lie across one another: the first that ends later is the only one that can cover the time.
        let ended = concat!(
            "SELECT ",
            past_columns!(),
            " FROM past p WHERE p.parent = $1 AND p.tag = $2 AND (p.until, p.until_ns) > ($3, $4) ORDER BY p.until, p.until_ns LIMIT 1"
        );
        let there = concat!(present!(), " WHERE e.parent = $1 AND e.tag = $2");
        let names = self
            .names(
                (ended, &[&dir, &tag, &at.secs, &nanos]),
                (there, &[&dir, &tag]),
            )
            .await?;
        Ok(names.into_iter().find(|name| name.covers(at)))
    }

    async fn read_last(&self, dir: NodeId, name: &Name) -> Outcome<Option<PastName>> {
        let tag = tag(&self.key, dir, name);
        let (dir, tag) = (key(dir.0), tag.as_slice());
        let ended = concat!(
            "SELECT ",
            past_columns!(),
            " FROM past p WHERE p.parent = $1 AND p.tag = $2 ORDER BY p.until DESC, p.until_ns DESC, p.id DESC LIMIT 1"
        );
        let there = concat!(present!(), " WHERE e.parent = $1 AND e.tag = $2");
        let values: [Value<'_>; 2] = [&dir, &tag];
        Ok(self.names((ended, &values), (there, &values)).await?.pop())
    }

    async fn read_names_of_node(&self, node: NodeId) -> Outcome<Vec<PastName>> {
        let ended = concat!(
            "SELECT ",
            past_columns!(),
            " FROM past p WHERE p.node = $1 ORDER BY p.id"
        );
        let there = concat!(present!(), " WHERE e.node = $1 ORDER BY e.parent, e.tag");
        let node = key(node.0);
        self.names((ended, &[&node]), (there, &[&node])).await
    }

    async fn read_names_of(&self, document: FileId) -> Outcome<Vec<PastName>> {
        let ended = concat!(
            "SELECT ",
            past_columns!(),
            " FROM past p WHERE p.document = $1 ORDER BY p.id"
        );
        let there = concat!(
            present!(),
            " WHERE n.document = $1 ORDER BY e.parent, e.tag"
        );
        let document = document.as_bytes().as_slice();
        self.names((ended, &[&document]), (there, &[&document]))
            .await
    }

    async fn read_ended(&self, after: u64, most: usize) -> Outcome<Vec<PastName>> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let text = concat!(
            "SELECT ",
            past_columns!(),
            " FROM past p WHERE p.id > $1 ORDER BY p.id LIMIT $2"
        );
        let found = self.pool.read(text, &[&after, &limit(most)]).await?;
        found.iter().map(|row| past_name(&self.key, row)).collect()
    }

    async fn do_reinstate(
        &self,
        to: &Reinstate,
        from: (FileId, VersionNo),
        write: &Write,
    ) -> Outcome<Attr> {
        // Whoever restores it is sealed for the head that it has. Should that change, the version is not found.
        let head = if from.1 == VersionNo(0) {
            None
        } else {
            let text = "SELECT head FROM version WHERE document = $1 AND number = $2";
            let values: [Value<'_>; 2] = [&from.0.as_bytes().as_slice(), &key(from.1.0)];
            match self.pool.read(text, &values).await?.first() {
                Some(row) => extent_id(row, 0)?,
                // What else may be wrong is found out first.
                None => None,
            }
        };
        let (at, line) = (write.audit.at, self.line(&write.audit)?);
        let context = &write.audit.context;
        let author = seal_author(&self.key, head, at, &context.actor, &context.host)?;
        let head = head.as_ref().map(|head| head.as_bytes().as_slice());
        let (document, version) = (from.0.as_bytes().as_slice(), key(from.1.0));
        let nanos = i64::from(at.nanos);
        let found = match to {
            Reinstate::Next(node, base) => {
                let base = base.as_ref().map(|base| base.as_bytes().as_slice());
                let text = concat!(
                    "SELECT ",
                    node_columns!(),
                    " FROM reinstate_next($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) n"
                );
                let values: [Value<'_>; 10] = [
                    &key(node.0),
                    &base,
                    &document,
                    &version,
                    &head,
                    &at.secs,
                    &nanos,
                    &author,
                    &line.id.as_slice(),
                    &line.sealed,
                ];
                self.pool.change(text, &values).await?
            }
            Reinstate::New(parent, name, new) => {
                let tag = tag(&self.key, *parent, name);
                let sealed = self.sealed_name(*parent, &tag, name)?;
                let text = concat!(
                    "SELECT ",
                    node_columns!(),
                    " FROM reinstate_new($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) n"
                );
                let values: [Value<'_>; 16] = [
                    &key(parent.0),
                    &tag.as_slice(),
                    &sealed,
                    &kind_code(new.kind),
                    &i64::from(new.mode),
                    &i64::from(new.uid),
                    &i64::from(new.gid),
                    &document_bytes(&new.document),
                    &document,
                    &version,
                    &head,
                    &at.secs,
                    &nanos,
                    &author,
                    &line.id.as_slice(),
                    &line.sealed,
                ];
                self.pool.change(text, &values).await?
            }
        };
        rows::attr(only(&found)?, 0)
    }

    async fn do_unlink_if(
        &self,
        (parent, name): (NodeId, &Name),
        (node, head): (NodeId, Option<ExtentId>),
        keep: bool,
        write: &Write,
    ) -> Outcome<Attr> {
        let (at, line) = (write.audit.at, self.line(&write.audit)?);
        let tag = tag(&self.key, parent, name);
        let head = head.as_ref().map(|head| head.as_bytes().as_slice());
        let text = concat!(
            "SELECT ",
            node_columns!(),
            " FROM unlink_if($1, $2, $3, $4, $5, $6, $7, $8, $9) n"
        );
        let values: [Value<'_>; 9] = [
            &key(parent.0),
            &tag.as_slice(),
            &key(node.0),
            &head,
            &keep,
            &at.secs,
            &i64::from(at.nanos),
            &line.id.as_slice(),
            &line.sealed,
        ];
        rows::attr(only(&self.pool.change(text, &values).await?)?, 0)
    }

    async fn do_forget_versions(&self, what: &Forget, write: &Write) -> Outcome<Forgotten> {
        let line = self.line(&write.audit)?;
        let tags: Vec<Vec<u8>> = what
            .attributes
            .iter()
            .map(|name| xattrs::tag(&self.key, NodeId::ROOT, name).to_vec())
            .collect();
        let (mut documents, mut numbers) = (Vec::new(), Vec::new());
        for (document, version) in &what.versions {
            documents.push(document.as_bytes().as_slice());
            // A number beyond all that a row may have is that of no version.
            numbers.push(key(version.0));
        }
        let names: Vec<i64> = what.names.iter().map(|name| key(*name)).collect();
        let values: [Value<'_>; 9] = [
            &tags,
            &documents,
            &numbers,
            &names,
            &sql(what.known_since)?,
            &what.waste.as_bytes().as_slice(),
            &millis(what.lease),
            &line.id.as_slice(),
            &line.sealed,
        ];
        let text = "SELECT gone_document, gone_number, gone_extent, gone_generation
                    FROM forget_versions($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let mut forgotten = Forgotten::default();
        for row in self.pool.write(text, &values).await? {
            if let Some(document) = row.try_get::<_, Option<&[u8]>>(0)? {
                let document = FileId::from_bytes(rows::bytes(document)?);
                let version = VersionNo(number(&row, 1)?);
                forgotten.versions.push((document, version));
            } else {
                let extent = ExtentId::from_bytes(id(&row, 2)?);
                let generation = u32::try_from(number(&row, 3)?)
                    .map_err(|_| damaged("a generation is out of range"))?;
                forgotten.extents.push((extent, Generation(generation)));
            }
        }
        forgotten.versions.sort_unstable();
        Ok(forgotten)
    }

    async fn read_positions(&self) -> Outcome<Vec<(String, u64)>> {
        let text = "SELECT what, at FROM position ORDER BY what COLLATE \"C\"";
        let found = self.pool.read(text, &[]).await?;
        found
            .iter()
            .map(|row| Ok((row.try_get(0)?, number(row, 1)?)))
            .collect()
    }
}

#[async_trait]
impl Past for PostgresCatalog {
    async fn list_at(&self, dir: NodeId, at: Timestamp) -> Result<Vec<PastName>, CatalogError> {
        Ok(self.read_list_at(dir, at).await?)
    }

    async fn lookup_at(
        &self,
        dir: NodeId,
        name: &Name,
        at: Timestamp,
    ) -> Result<Option<PastName>, CatalogError> {
        Ok(self.read_lookup_at(dir, name, at).await?)
    }

    async fn last(&self, dir: NodeId, name: &Name) -> Result<Option<PastName>, CatalogError> {
        Ok(self.read_last(dir, name).await?)
    }

    async fn names_of_node(&self, node: NodeId) -> Result<Vec<PastName>, CatalogError> {
        Ok(self.read_names_of_node(node).await?)
    }

    async fn names_of(&self, document: FileId) -> Result<Vec<PastName>, CatalogError> {
        Ok(self.read_names_of(document).await?)
    }

    async fn ended(&self, after: u64, most: usize) -> Result<Vec<PastName>, CatalogError> {
        Ok(self.read_ended(after, most).await?)
    }

    async fn reinstate(
        &self,
        to: Reinstate,
        from: (FileId, VersionNo),
        write: Write,
    ) -> Result<Attr, CatalogError> {
        Ok(self.do_reinstate(&to, from, &write).await?)
    }

    async fn unlink_if(
        &self,
        parent: NodeId,
        name: &Name,
        what: (NodeId, Option<ExtentId>),
        keep: bool,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        Ok(self
            .do_unlink_if((parent, name), what, keep, &write)
            .await?)
    }

    async fn forget_versions(&self, what: Forget, write: Write) -> Result<Forgotten, CatalogError> {
        Ok(self.do_forget_versions(&what, &write).await?)
    }

    async fn position(&self, what: &str) -> Result<u64, CatalogError> {
        let positions = self.read_positions().await?;
        let found = positions.into_iter().find(|(of, _)| of == what);
        Ok(found.map_or(0, |(_, at)| at))
    }

    async fn positions(&self) -> Result<Vec<(String, u64)>, CatalogError> {
        Ok(self.read_positions().await?)
    }

    async fn advance(&self, what: &str, from: u64, to: u64) -> Result<bool, CatalogError> {
        let work = async {
            let (from, to) = (sql(from)?, sql(to)?);
            let text = "SELECT advance($1, $2, $3)";
            let found = self.pool.write(text, &[&what, &from, &to]).await?;
            Ok::<bool, crate::error::Fail>(only(&found)?.try_get(0)?)
        };
        Ok(work.await?)
    }
}

/// A column of bytes in which nothing may stand.
type MaybeBytes = Vec<Option<Vec<u8>>>;

/// Names that ended and wait to be sent, column by column.
#[derive(Default)]
pub(super) struct PastBatch {
    /// Id, folder, node, kind, mode, user, group, device, version, since, until, how.
    numbers: [Vec<i64>; 14],
    /// Tag, name.
    bytes: (Vec<Vec<u8>>, Vec<Vec<u8>>),
    /// Document, where a link pointed.
    perhaps: (MaybeBytes, MaybeBytes),
}

impl PastBatch {
    pub(super) fn add(&mut self, key: &CatalogKey, name: &PastName) -> Outcome<()> {
        let (until, end) = name
            .until
            .ok_or_else(|| damaged("a name that is there is told as one that ended"))?;
        let columns = [
            sql(name.id)?,
            sql(name.parent.0)?,
            sql(name.node.0)?,
            kind_code(name.kind),
            i64::from(name.mode),
            i64::from(name.uid),
            i64::from(name.gid),
            i64::from(name.rdev),
            sql(name.version.0)?,
            name.since.secs,
            i64::from(name.since.nanos),
            until.secs,
            i64::from(until.nanos),
            i64::from(end.code()),
        ];
        for (column, value) in self.numbers.iter_mut().zip(columns) {
            column.push(value);
        }
        let tag = tag(key, name.parent, &name.name);
        let row = entry_row(name.parent, &tag);
        self.bytes.0.push(tag.to_vec());
        self.bytes
            .1
            .push(key.seal(Field::Name, &row, name.name.as_bytes())?);
        let document = document_bytes(&name.document).map(<[u8]>::to_vec);
        self.perhaps.0.push(document);
        let link = match name.kind {
            NodeKind::Symlink => {
                let row = name.node.0.to_le_bytes();
                Some(key.seal(Field::Link, &row, &name.target)?)
            }
            _ => None,
        };
        self.perhaps.1.push(link);
        Ok(())
    }

    pub(super) async fn send(&self, session: &mut Session<'_>) -> Outcome<()> {
        let [
            ids,
            parents,
            nodes,
            kinds,
            modes,
            uids,
            gids,
            rdevs,
            versions,
            since,
            since_ns,
            until,
            until_ns,
            how,
        ] = &self.numbers;
        let text = "INSERT INTO past (id, parent, tag, sealed, node, kind, mode, uid, gid, rdev, document, version, link,
             since, since_ns, until, until_ns, how)
           SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
             $9::bigint[], $10::bigint[], $11::bytea[], $12::bigint[], $13::bytea[], $14::bigint[], $15::bigint[], $16::bigint[],
             $17::bigint[], $18::bigint[])";
        let values: [Value<'_>; 18] = [
            ids,
            parents,
            &self.bytes.0,
            &self.bytes.1,
            nodes,
            kinds,
            modes,
            uids,
            gids,
            rdevs,
            &self.perhaps.0,
            versions,
            &self.perhaps.1,
            since,
            since_ns,
            until,
            until_ns,
            how,
        ];
        session.query(text, &values).await.map(drop)
    }
}

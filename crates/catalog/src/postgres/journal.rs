//! What the journal asks of the catalogue: rows that changed, all rows page by page, and how far it has come.

use std::collections::{HashMap, VecDeque};

use tokio_postgres::Row as SqlRow;
use warifu_core::ids::{ExtentId, FileId, VersionNo};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{Intent, Write};
use warifu_vault::seam::journal::{
    Change, Changes, JournalState, Mark, Row, RowKey, Segments, Waste,
};

use super::PostgresCatalog;
use super::audit::Turn;
use super::past::{past_columns, past_name};
use super::pool::{ANSWER, Call, Session, Value};
use super::read::{open_name, open_target, open_xattr};
use super::rows::{
    self, extent_columns, generation_of, id, key, node_columns, number, version_columns,
};
use super::saving::{BEGIN_SAVE, Extents};
use crate::codec::{decode_pair, extent_list};
use crate::error::{Outcome, damaged};
use crate::saves::limit;
use crate::sessions::millis;

/// So many sets of marks that were handed out are remembered.
const REMEMBERED: usize = 8;

/// Marks as they were handed out. The numbers of those that commit late are smaller than some that were handed out before them: so
/// "up to here" would take away what nobody was told.
#[derive(Default)]
pub(super) struct Handed(VecDeque<(Mark, Vec<i64>)>);

impl Handed {
    fn remember(&mut self, mark: Mark, numbers: Vec<i64>) {
        self.0.push_back((mark, numbers));
        if self.0.len() > REMEMBERED {
            self.0.pop_front();
        }
    }

    /// What was handed out under a mark. What is forgotten is told once more, which does no harm.
    fn of(&self, mark: Mark) -> Vec<i64> {
        self.0
            .iter()
            .find(|(of, _)| *of == mark)
            .map(|(_, numbers)| numbers.clone())
            .unwrap_or_default()
    }
}

const STATE: &str = "SELECT j.next, j.audited, j.archived, j.whole, (SELECT count(*) FROM changed), j.tip, j.undecided,
   (SELECT COALESCE(sum(len), 0)::BIGINT FROM extent WHERE kind = 3 AND number = 0),
   (SELECT COALESCE(sum(len), 0)::BIGINT FROM extent WHERE kind = 3 AND number = 1) FROM journal j WHERE j.id = 1";

/// One row of each table by its key, for keys in arrays.
const NODES: &str = concat!(
    "SELECT ",
    node_columns!(),
    " FROM node n WHERE n.id = ANY ($1)"
);
const ENTRIES: &str = "SELECT e.parent, e.tag, e.sealed, e.node, e.since, e.since_ns FROM unnest($1::bigint[], $2::bytea[]) AS u (parent, tag)
   JOIN entry e ON e.parent = u.parent AND e.tag = u.tag";
const LINKS: &str = "SELECT node, sealed FROM link WHERE node = ANY ($1)";
const XATTRS: &str =
    "SELECT x.node, x.tag, x.sealed FROM unnest($1::bigint[], $2::bytea[]) AS u (node, tag)
   JOIN xattr x ON x.node = u.node AND x.tag = u.tag";
const VERSIONS: &str = concat!(
    "SELECT ",
    version_columns!(),
    " FROM unnest($1::bytea[], $2::bigint[]) AS u (document, number) JOIN version v ON v.document = u.document AND v.number = u.number"
);
const LAYOUTS: &str = "SELECT l.document, l.no, l.from_version, l.until_version, l.extent
   FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS u (document, no, from_version)
   JOIN layout l ON l.document = u.document AND l.no = u.no AND l.from_version = u.from_version";
const EXTENTS: &str = concat!(
    "SELECT ",
    extent_columns!(),
    " FROM extent e WHERE e.id = ANY ($1)"
);

const PAST: &str = concat!(
    "SELECT ",
    past_columns!(),
    " FROM past p WHERE p.id = ANY ($1)"
);

/// How a row of one table is read.
type Read = fn(&PostgresCatalog, &SqlRow) -> Outcome<Row>;

/// Keys, column by column.
#[derive(Default)]
struct Keys {
    nodes: Vec<i64>,
    entries: (Vec<i64>, Vec<Vec<u8>>),
    links: Vec<i64>,
    xattrs: (Vec<i64>, Vec<Vec<u8>>),
    versions: (Vec<Vec<u8>>, Vec<i64>),
    layouts: (Vec<Vec<u8>>, Vec<i64>, Vec<i64>),
    extents: Vec<Vec<u8>>,
    past: Vec<i64>,
}

impl Keys {
    fn add(&mut self, of: RowKey) {
        match of {
            RowKey::Node(node) => self.nodes.push(key(node.0)),
            RowKey::Entry(parent, tag) => {
                self.entries.0.push(key(parent.0));
                self.entries.1.push(tag.to_vec());
            }
            RowKey::Link(node) => self.links.push(key(node.0)),
            RowKey::Xattr(node, tag) => {
                self.xattrs.0.push(key(node.0));
                self.xattrs.1.push(tag.to_vec());
            }
            RowKey::Version(document, version) => {
                self.versions.0.push(document.as_bytes().to_vec());
                self.versions.1.push(key(version.0));
            }
            RowKey::Layout(document, place, from) => {
                self.layouts.0.push(document.as_bytes().to_vec());
                self.layouts.1.push(key(place));
                self.layouts.2.push(key(from.0));
            }
            RowKey::Extent(extent) => self.extents.push(extent.as_bytes().to_vec()),
            RowKey::Past(id) => self.past.push(key(id)),
        }
    }
}

fn key_of(row: &SqlRow) -> Outcome<RowKey> {
    let node = || number(row, 2).map(NodeId);
    let document = || id(row, 3).map(FileId::from_bytes);
    let version = || number(row, 5).map(VersionNo);
    Ok(match row.try_get::<_, i64>(1)? {
        1 => RowKey::Node(node()?),
        2 => RowKey::Entry(node()?, id(row, 3)?),
        3 => RowKey::Link(node()?),
        4 => RowKey::Xattr(node()?, id(row, 3)?),
        5 => RowKey::Version(document()?, version()?),
        6 => RowKey::Layout(document()?, number(row, 4)?, version()?),
        7 => RowKey::Extent(ExtentId::from_bytes(id(row, 3)?)),
        8 => RowKey::Past(number(row, 2)?),
        other => {
            return Err(damaged(format!(
                "a row of kind {other} changed, which does not exist"
            )));
        }
    })
}

impl PostgresCatalog {
    pub(super) async fn read_journal(&self) -> Outcome<JournalState> {
        let found = self.pool.read(STATE, &[]).await?;
        let row = found
            .first()
            .ok_or_else(|| damaged("the catalogue does not say how far its journal is"))?;
        Ok(JournalState {
            next: number(row, 0)?,
            tip: rows::extent_id(row, 5)?,
            undecided: row.try_get::<_, i64>(6)? != 0,
            audited: number(row, 1)?,
            archived: number(row, 2)?,
            whole: row.try_get::<_, i64>(3)? != 0,
            waiting: number(row, 4)?,
            changes: number(row, 7)?,
            checkpoints: number(row, 8)?,
        })
    }

    pub(super) async fn read_changes(&self, most: usize) -> Outcome<Changes> {
        self.chain_arrived(Turn::Skip).await?;
        let (changes, numbers) = self
            .pool
            .transaction(ANSWER, || async {
                let mut session = self.pool.begin().await?;
                let outcome = self.changes_of_one_moment(&mut session, most).await;
                session.end(outcome).await
            })
            .await?;
        self.handed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .remember(changes.mark, numbers);
        Ok(changes)
    }

    async fn changes_of_one_moment(
        &self,
        session: &mut Session<'_>,
        most: usize,
    ) -> Outcome<(Changes, Vec<i64>)> {
        session
            .run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            .await?;
        let limit = limit(most);
        let calls: [Call<'_>; 3] = [
            // The mark comes from the sequence of the marks, so it grows with what was told, whichever process asks.
            (
                "SELECT nextval('changed_seq'), next, audited, tip FROM journal WHERE id = 1",
                &[],
            ),
            (
                "SELECT seq, kind, node, id, place, version FROM changed ORDER BY seq LIMIT $1",
                &[&limit],
            ),
            (
                "SELECT seq, line, sealed, chain FROM audit WHERE seq > (SELECT audited FROM journal WHERE id = 1) ORDER BY seq LIMIT $1",
                &[&limit],
            ),
        ];
        let answers = session.query_all(&calls).await?;
        let [journal, changed, audit] = answers.as_slice() else {
            return Err(damaged("the database answered too little"));
        };
        let journal = journal
            .first()
            .ok_or_else(|| damaged("the catalogue does not say how far its journal is"))?;
        let (mut keys, mut order, mut numbers) = (Keys::default(), Vec::new(), Vec::new());
        for row in changed {
            let of = key_of(row)?;
            keys.add(of);
            order.push(of);
            numbers.push(row.try_get::<_, i64>(0)?);
        }
        let mut found = self.rows_of(session, &keys).await?;
        let rows: Vec<Change> = order
            .into_iter()
            .map(|key| (key, found.remove(&key)))
            .collect();
        let audit = audit
            .iter()
            .map(|row| self.audit_row(row))
            .collect::<Outcome<Vec<_>>>()?;
        let changes = Changes {
            next: number(journal, 1)?,
            tip: rows::extent_id(journal, 3)?,
            mark: Mark(number(journal, 0)?),
            more: rows.len() >= most || audit.len() >= most,
            rows,
            audit,
        };
        Ok((changes, numbers))
    }

    /// Rows as they are. Of a row that is not there, nothing.
    async fn rows_of(
        &self,
        session: &mut Session<'_>,
        keys: &Keys,
    ) -> Outcome<HashMap<RowKey, Row>> {
        let [nodes, links, extents, past]: [[Value<'_>; 1]; 4] =
            [[&keys.nodes], [&keys.links], [&keys.extents], [&keys.past]];
        let entries: [Value<'_>; 2] = [&keys.entries.0, &keys.entries.1];
        let xattrs: [Value<'_>; 2] = [&keys.xattrs.0, &keys.xattrs.1];
        let versions: [Value<'_>; 2] = [&keys.versions.0, &keys.versions.1];
        let layouts: [Value<'_>; 3] = [&keys.layouts.0, &keys.layouts.1, &keys.layouts.2];
        let mut calls: Vec<Call<'_>> = Vec::new();
        let mut kinds: Vec<Read> = Vec::new();
        for (wanted, sql, values, read) in [
            (keys.nodes.len(), NODES, &nodes[..], Self::node_row as Read),
            (keys.entries.0.len(), ENTRIES, &entries, Self::entry_row),
            (keys.links.len(), LINKS, &links, Self::link_row),
            (keys.xattrs.0.len(), XATTRS, &xattrs, Self::xattr_row),
            (
                keys.versions.0.len(),
                VERSIONS,
                &versions,
                Self::version_row,
            ),
            (keys.layouts.0.len(), LAYOUTS, &layouts, Self::layout_row),
            (keys.extents.len(), EXTENTS, &extents, Self::extent_row),
            (keys.past.len(), PAST, &past, Self::past_row),
        ] {
            if wanted > 0 {
                calls.push((sql, values));
                kinds.push(read);
            }
        }
        let mut rows = HashMap::new();
        for (found, read) in session.query_all(&calls).await?.iter().zip(kinds) {
            for row in found {
                let row = read(self, row)?;
                rows.insert(row.key(), row);
            }
        }
        Ok(rows)
    }

    fn node_row(&self, row: &SqlRow) -> Outcome<Row> {
        rows::attr(row, 0).map(Row::Node)
    }

    fn entry_row(&self, row: &SqlRow) -> Outcome<Row> {
        let (parent, tag) = (NodeId(number(row, 0)?), id(row, 1)?);
        Ok(Row::Entry {
            parent,
            tag,
            name: open_name(&self.key, parent, &tag, row.try_get(2)?)?,
            node: NodeId(number(row, 3)?),
            since: rows::time(row, 4)?,
        })
    }

    fn link_row(&self, row: &SqlRow) -> Outcome<Row> {
        let node = NodeId(number(row, 0)?);
        let target = open_target(&self.key, node, row.try_get(1)?)?;
        Ok(Row::Link { node, target })
    }

    fn xattr_row(&self, row: &SqlRow) -> Outcome<Row> {
        let (node, tag) = (NodeId(number(row, 0)?), id(row, 1)?);
        let opened = open_xattr(&self.key, node, &tag, row.try_get(2)?)?;
        let (name, value) = decode_pair(opened.expose())?;
        Ok(Row::Xattr {
            node,
            tag,
            name: name.to_vec(),
            value: value.to_vec(),
        })
    }

    fn version_row(&self, row: &SqlRow) -> Outcome<Row> {
        let (version, places) = rows::version(&self.key, row, 0)?;
        Ok(Row::Version(version, places))
    }

    fn layout_row(&self, row: &SqlRow) -> Outcome<Row> {
        let until = row.try_get::<_, Option<i64>>(3)?;
        Ok(Row::Layout {
            document: FileId::from_bytes(id(row, 0)?),
            place: number(row, 1)?,
            from: VersionNo(number(row, 2)?),
            until: until.map(rows::unsigned).transpose()?.map(VersionNo),
            extent: ExtentId::from_bytes(id(row, 4)?),
        })
    }

    fn extent_row(&self, row: &SqlRow) -> Outcome<Row> {
        rows::extent(row, 0).map(Row::Extent)
    }

    fn past_row(&self, row: &SqlRow) -> Outcome<Row> {
        let name = past_name(&self.key, row)?;
        Ok(Row::Past(Box::new(name)))
    }

    /// A page of all rows: of one table, the next where that has no more.
    pub(super) async fn read_rows(&self, after: Option<RowKey>, most: usize) -> Outcome<Vec<Row>> {
        let first = match after {
            None | Some(RowKey::Node(_)) => 0,
            Some(RowKey::Entry(..)) => 1,
            Some(RowKey::Link(_)) => 2,
            Some(RowKey::Xattr(..)) => 3,
            Some(RowKey::Version(..)) => 4,
            Some(RowKey::Layout(..)) => 5,
            Some(RowKey::Extent(_)) => 6,
            Some(RowKey::Past(_)) => 7,
        };
        for table in first..8_u8 {
            let page = self.page(table, after, limit(most)).await?;
            if !page.is_empty() {
                return Ok(page);
            }
        }
        Ok(Vec::new())
    }

    async fn page(&self, table: u8, after: Option<RowKey>, limit: i64) -> Outcome<Vec<Row>> {
        // Before the first row of each table: numbers are positive and ids no empty bytes.
        let (mut first, mut bytes): (i64, Vec<u8>) = (-1, Vec::new());
        let (mut second, mut third) = (-1_i64, -1_i64);
        match (table, after) {
            (0, Some(RowKey::Node(node))) | (2, Some(RowKey::Link(node))) => first = key(node.0),
            (1, Some(RowKey::Entry(node, tag))) | (3, Some(RowKey::Xattr(node, tag))) => {
                (first, bytes) = (key(node.0), tag.to_vec());
            }
            (4, Some(RowKey::Version(document, version))) => {
                (bytes, second) = (document.as_bytes().to_vec(), key(version.0));
            }
            (5, Some(RowKey::Layout(document, place, from))) => {
                bytes = document.as_bytes().to_vec();
                (second, third) = (key(place), key(from.0));
            }
            (6, Some(RowKey::Extent(extent))) => bytes = extent.as_bytes().to_vec(),
            (7, Some(RowKey::Past(id))) => first = key(id),
            _ => {}
        }
        let (sql, values, read): (&str, Vec<Value<'_>>, Read) =
            match table {
                0 => (
                    concat!(
                        "SELECT ",
                        node_columns!(),
                        " FROM node n WHERE n.id > $1 ORDER BY n.id LIMIT $2"
                    ),
                    vec![&first, &limit],
                    Self::node_row,
                ),
                1 => (
                    "SELECT parent, tag, sealed, node, since, since_ns FROM entry WHERE (parent, tag) > ($1, $2) ORDER BY parent, tag LIMIT $3",
                    vec![&first, &bytes, &limit],
                    Self::entry_row,
                ),
                2 => (
                    "SELECT node, sealed FROM link WHERE node > $1 ORDER BY node LIMIT $2",
                    vec![&first, &limit],
                    Self::link_row,
                ),
                3 => (
                    "SELECT node, tag, sealed FROM xattr WHERE (node, tag) > ($1, $2) ORDER BY node, tag LIMIT $3",
                    vec![&first, &bytes, &limit],
                    Self::xattr_row,
                ),
                4 => (
                    concat!(
                        "SELECT ",
                        version_columns!(),
                        " FROM version v WHERE (v.document, v.number) > ($1, $2) ORDER BY v.document, v.number LIMIT $3"
                    ),
                    vec![&bytes, &second, &limit],
                    Self::version_row,
                ),
                5 => (
                    "SELECT document, no, from_version, until_version, extent FROM layout
                     WHERE (document, no, from_version) > ($1, $2, $3) ORDER BY document, no, from_version LIMIT $4",
                    vec![&bytes, &second, &third, &limit],
                    Self::layout_row,
                ),
                7 => (
                    concat!(
                        "SELECT ",
                        past_columns!(),
                        " FROM past p WHERE p.id > $1 ORDER BY p.id LIMIT $2"
                    ),
                    vec![&first, &limit],
                    Self::past_row,
                ),
                _ => (
                    concat!(
                        "SELECT ",
                        extent_columns!(),
                        " FROM extent e WHERE e.kind <> 3 AND e.id > $1 ORDER BY e.id LIMIT $2"
                    ),
                    vec![&bytes, &limit],
                    Self::extent_row,
                ),
            };
        let found = self.pool.read(sql, &values).await?;
        found.iter().map(|row| read(self, row)).collect()
    }

    pub(super) async fn do_journalled(&self, segments: &Segments) -> Outcome<Waste> {
        let marks = match segments.mark {
            None => Vec::new(),
            Some(mark) => self
                .handed
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .of(mark),
        };
        let extents = Extents::of(&segments.extents)?;
        let parts: Vec<&[u8]> = segments
            .finished
            .iter()
            .flat_map(|finished| &finished.parts)
            .map(|part| part.as_bytes().as_slice())
            .collect();
        let begin = key(segments
            .finished
            .as_ref()
            .map_or(0, |finished| finished.begin));
        let (audited, archived) = (
            key(segments.audited.unwrap_or(0)),
            key(segments.archived.unwrap_or(0)),
        );
        let (save, is_finished) = (
            segments.save.as_bytes().as_slice(),
            segments.finished.is_some(),
        );
        let mut values: Vec<Value<'_>> = vec![
            &save,
            &marks,
            &audited,
            &archived,
            &is_finished,
            &begin,
            &parts,
        ];
        values.extend(extents.values());
        let text = "SELECT gone, gone_generation FROM journalled($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
        let Some(finished) = &segments.finished else {
            self.pool.write(text, &values).await?;
            return Ok(None);
        };
        self.pool
            .transaction(ANSWER, || async {
                let mut session = self.pool.begin().await?;
                let outcome = async {
                    let mut extents = Vec::new();
                    for row in &session.query(text, &values).await? {
                        let generation = generation_of(row.try_get(1)?)?;
                        extents.push((ExtentId::from_bytes(id(row, 0)?), generation));
                    }
                    if extents.is_empty() {
                        return Ok(None);
                    }
                    let intent = Intent {
                        save: finished.waste,
                        extents,
                    };
                    let values: [Value<'_>; 3] = [
                        &intent.save.as_bytes().as_slice(),
                        &millis(finished.lease),
                        &extent_list(&intent.extents),
                    ];
                    session.query(BEGIN_SAVE, &values).await?;
                    Ok(Some(intent))
                }
                .await;
                session.end(outcome).await
            })
            .await
    }

    pub(super) async fn do_decide(&self, write: &Write) -> Outcome<()> {
        let line = self.line(&write.audit)?;
        self.pool
            .write(
                "SELECT decide($1, $2)",
                &[&line.id.as_slice(), &line.sealed],
            )
            .await
            .map(drop)
    }
}

//! Filling an empty catalogue, in batches: each table's columns as arrays.

use std::time::Duration;

use warifu_core::ids::FileId;
use warifu_core::keys::{CatalogKey, Field};
use warifu_vault::node::{Attr, NodeId};
use warifu_vault::seam::catalog::{AuditRow, CatalogError, ExtentRecord, Version};
use warifu_vault::seam::journal::{Restored, Resume, Row};

use super::PostgresCatalog;
use super::generations::{Columns, PUT};
use super::past::PastBatch;
use super::pool::{Call, Session, Value};
use super::rows::seal_author;
use super::saving::Extents;
use crate::codec::{encode_entry, encode_pair, kind_code, sql};
use crate::error::{Outcome, damaged};
use crate::names::{entry_row, tag};
use crate::xattrs;

/// So many rows are sent at once.
const BATCH: usize = 2000;

/// A million files take minutes.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// So long are its tables looked at when it is filled.
const LOOK: Duration = Duration::from_secs(600);

/// The tables whose changes are told to others.
const TOLD: [&str; 2] = ["node", "entry"];

/// The tables whose changes are marked.
const MARKED: [&str; 8] = [
    "node", "entry", "link", "xattr", "version", "layout", "extent", "past",
];

/// A column of bytes.
type Bytes = Vec<Vec<u8>>;
/// One in which nothing may stand.
type MaybeBytes = Vec<Option<Vec<u8>>>;
/// A column of numbers.
type Numbers = Vec<i64>;

/// Rows that wait to be sent, column by column.
#[derive(Default)]
struct Batch {
    rows: usize,
    /// The columns of nodes that are numbers, `node_columns!` without document and head.
    nodes: [Numbers; 17],
    documents: MaybeBytes,
    heads: MaybeBytes,
    /// Folder, tag, name, node, since.
    entries: (Numbers, Bytes, Bytes, Numbers, Numbers, Numbers),
    links: (Numbers, Bytes),
    xattrs: (Numbers, Bytes, Bytes),
    /// Number, size, two times, extents, settled.
    versions: [Numbers; 8],
    version_bytes: (Bytes, Bytes, MaybeBytes),
    /// Place, from, until.
    layouts: (Numbers, Numbers, Vec<Option<i64>>),
    layout_bytes: (Bytes, Bytes),
    extents: Vec<ExtentRecord>,
    past: PastBatch,
    positions: (Vec<String>, Numbers),
    lines: (Numbers, Bytes, Bytes, Bytes),
    /// The last line of the log.
    tail: Option<(i64, Vec<u8>)>,
    /// Whether the root is among the nodes.
    root: bool,
}

impl Batch {
    fn add(&mut self, key: &CatalogKey, item: Restored) -> Outcome<()> {
        self.rows += 1;
        match item {
            Restored::Audit(row) => self.add_line(key, &row),
            Restored::Row(Row::Node(attr)) => self.add_node(&attr),
            Restored::Row(Row::Entry {
                parent,
                name,
                node,
                since,
                ..
            }) => {
                let tag = tag(key, parent, &name);
                let sealed = key.seal(Field::Name, &entry_row(parent, &tag), name.as_bytes())?;
                self.entries.0.push(sql(parent.0)?);
                self.entries.1.push(tag.to_vec());
                self.entries.2.push(sealed);
                self.entries.3.push(sql(node.0)?);
                self.entries.4.push(since.secs);
                self.entries.5.push(i64::from(since.nanos));
                Ok(())
            }
            Restored::Row(Row::Link { node, target }) => {
                let sealed = key.seal(Field::Link, &node.0.to_le_bytes(), &target)?;
                self.links.0.push(sql(node.0)?);
                self.links.1.push(sealed);
                Ok(())
            }
            Restored::Row(Row::Xattr {
                node, name, value, ..
            }) => {
                let tag = xattrs::tag(key, node, &name);
                let pair = encode_pair(&name, &value)?;
                let sealed = key.seal(Field::Xattr, &entry_row(node, &tag), &pair)?;
                self.xattrs.0.push(sql(node.0)?);
                self.xattrs.1.push(tag.to_vec());
                self.xattrs.2.push(sealed);
                Ok(())
            }
            Restored::Row(Row::Version(version, places)) => self.add_version(key, &version, places),
            Restored::Row(Row::Layout {
                document,
                place,
                from,
                until,
                extent,
            }) => {
                self.layouts.0.push(sql(place)?);
                self.layouts.1.push(sql(from.0)?);
                self.layouts
                    .2
                    .push(until.map(|until| sql(until.0)).transpose()?);
                self.layout_bytes.0.push(document.as_bytes().to_vec());
                self.layout_bytes.1.push(extent.as_bytes().to_vec());
                Ok(())
            }
            Restored::Row(Row::Extent(record)) => {
                self.extents.push(record);
                Ok(())
            }
            Restored::Row(Row::Past(name)) => self.past.add(key, &name),
            Restored::Position(what, at) => {
                self.positions.0.push(what);
                self.positions.1.push(sql(at)?);
                Ok(())
            }
        }
    }

    fn add_node(&mut self, attr: &Attr) -> Outcome<()> {
        self.root |= attr.node == NodeId::ROOT;
        let columns = [
            sql(attr.node.0)?,
            kind_code(attr.kind),
            i64::from(attr.mode),
            i64::from(attr.uid),
            i64::from(attr.gid),
            i64::from(attr.nlink),
            i64::from(attr.rdev),
            sql(attr.size)?,
            attr.atime.secs,
            i64::from(attr.atime.nanos),
            attr.mtime.secs,
            i64::from(attr.mtime.nanos),
            attr.ctime.secs,
            i64::from(attr.ctime.nanos),
            attr.btime.secs,
            i64::from(attr.btime.nanos),
            sql(attr.version.0)?,
        ];
        for (column, value) in self.nodes.iter_mut().zip(columns) {
            column.push(value);
        }
        let document = (attr.document != FileId::NIL).then(|| attr.document.as_bytes().to_vec());
        self.documents.push(document);
        self.heads
            .push(attr.head.map(|head| head.as_bytes().to_vec()));
        Ok(())
    }

    fn add_version(&mut self, key: &CatalogKey, version: &Version, places: u64) -> Outcome<()> {
        let columns = [
            sql(version.number.0)?,
            sql(version.size)?,
            version.mtime.secs,
            i64::from(version.mtime.nanos),
            version.saved_at.secs,
            i64::from(version.saved_at.nanos),
            sql(places)?,
            i64::from(version.settled),
        ];
        for (column, value) in self.versions.iter_mut().zip(columns) {
            column.push(value);
        }
        let author = seal_author(
            key,
            version.head,
            version.saved_at,
            &version.author,
            &version.host,
        )?;
        let bytes = &mut self.version_bytes;
        bytes.0.push(version.document.as_bytes().to_vec());
        bytes.1.push(author);
        bytes
            .2
            .push(version.head.map(|head| head.as_bytes().to_vec()));
        Ok(())
    }

    /// A line with the chain value it had: whether the chain holds is for whoever checks the log.
    fn add_line(&mut self, key: &CatalogKey, row: &AuditRow) -> Outcome<()> {
        let id = *warifu_core::ids::ExtentId::fresh()?.as_bytes();
        let sealed = key.seal(Field::Audit, &id, &encode_entry(&row.entry)?)?;
        let seq = sql(row.seq)?;
        self.lines.0.push(seq);
        self.lines.1.push(id.to_vec());
        self.lines.2.push(sealed);
        self.lines.3.push(row.chain.to_vec());
        if self.tail.as_ref().is_none_or(|(last, _)| *last < seq) {
            self.tail = Some((seq, row.chain.to_vec()));
        }
        Ok(())
    }

    async fn send(&self, session: &mut Session<'_>) -> Outcome<()> {
        if self.root {
            session.query("DELETE FROM node WHERE id = 1", &[]).await?;
        }
        let [
            ids,
            kinds,
            modes,
            uids,
            gids,
            nlinks,
            rdevs,
            sizes,
            atimes,
            atime_ns,
            mtimes,
            mtime_ns,
            ctimes,
            ctime_ns,
            btimes,
            btime_ns,
            current,
        ] = &self.nodes;
        let nodes: [Value<'_>; 19] = [
            ids,
            kinds,
            modes,
            uids,
            gids,
            nlinks,
            rdevs,
            sizes,
            atimes,
            atime_ns,
            mtimes,
            mtime_ns,
            ctimes,
            ctime_ns,
            btimes,
            btime_ns,
            &self.documents,
            current,
            &self.heads,
        ];
        let (e, l, x) = (&self.entries, &self.links, &self.xattrs);
        let [
            number,
            size,
            mtime,
            mtime_ns,
            saved,
            saved_ns,
            places,
            settled,
        ] = &self.versions;
        let v = &self.version_bytes;
        let versions: [Value<'_>; 11] = [
            &v.0, number, size, mtime, mtime_ns, saved, saved_ns, &v.1, &v.2, places, settled,
        ];
        let (numbers, ids) = (&self.layouts, &self.layout_bytes);
        let records = Extents::of(&self.extents)?;
        let a = &self.lines;
        let calls: [Call<'_>; 8] = [
            (
                "INSERT INTO node SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                   $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
                   $15::bigint[], $16::bigint[], $17::bytea[], $18::bigint[], $19::bytea[])",
                &nodes,
            ),
            (
                "INSERT INTO entry (parent, tag, sealed, node, since, since_ns)
                 SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[])",
                &[&e.0, &e.1, &e.2, &e.3, &e.4, &e.5],
            ),
            (
                "INSERT INTO link (node, sealed) SELECT * FROM unnest($1::bigint[], $2::bytea[])",
                &[&l.0, &l.1],
            ),
            (
                "INSERT INTO xattr (node, tag, sealed) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[])",
                &[&x.0, &x.1, &x.2],
            ),
            (
                "INSERT INTO version (document, number, size, mtime, mtime_ns, saved, saved_ns, sealed, head, extents, settled)
                 SELECT document, number, size, mtime, mtime_ns, saved, saved_ns, sealed, head, extents, settled
                 FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[],
                   $9::bytea[], $10::bigint[], $11::bigint[]) WITH ORDINALITY
                   AS u (document, number, size, mtime, mtime_ns, saved, saved_ns, sealed, head, extents, settled, no) ORDER BY no",
                &versions,
            ),
            (
                "INSERT INTO layout (document, no, from_version, until_version, extent)
                 SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[])",
                &[&ids.0, &numbers.0, &numbers.1, &numbers.2, &ids.1],
            ),
            (
                "INSERT INTO audit (seq, line, sealed, chain) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[])",
                &[&a.0, &a.1, &a.2, &a.3],
            ),
            (
                "INSERT INTO position (what, at) SELECT * FROM unnest($1::text[], $2::bigint[])",
                &[&self.positions.0, &self.positions.1],
            ),
        ];
        session.query_all(&calls).await?;
        let text = "SELECT insert_extents($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        session.query(text, &records.values()).await?;
        self.past.send(session).await
    }
}

impl PostgresCatalog {
    pub(super) async fn do_restore(
        &self,
        rows: Box<dyn Iterator<Item = Restored> + Send>,
        resume: Resume,
    ) -> Outcome<()> {
        let work = async {
            let mut session = self.pool.begin().await?;
            let outcome = self.fill(&mut session, rows, resume).await;
            session.end(outcome).await
        };
        self.pool.within(LIMIT, work).await?;
        // Otherwise the first plans would be made for tables that are thought empty. What was restored is there in any case, and the
        // database looks at its tables by itself, later.
        let look = async {
            let mut session = self.pool.begin().await?;
            let text = "SET LOCAL statement_timeout = 0; ANALYZE node, entry, link, xattr, version, layout, extent, past, audit";
            let outcome = session.run(text).await;
            session.end(outcome).await
        };
        if let Err(fail) = self.pool.within(LOOK, look).await {
            tracing::debug!(error = %fail.error, "the tables that were filled could not be looked at");
        }
        Ok(())
    }

    async fn fill(
        &self,
        session: &mut Session<'_>,
        rows: Box<dyn Iterator<Item = Restored> + Send>,
        resume: Resume,
    ) -> Outcome<()> {
        session.run("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0").await?;
        // Nobody else may begin to use it meanwhile.
        session
            .run("LOCK TABLE node, entry, version, extent, arrived, audit IN EXCLUSIVE MODE")
            .await?;
        let used = session
            .query(
                "SELECT EXISTS (SELECT 1 FROM audit) OR EXISTS (SELECT 1 FROM arrived) OR EXISTS (SELECT 1 FROM entry)
                   OR EXISTS (SELECT 1 FROM version) OR EXISTS (SELECT 1 FROM extent) OR EXISTS (SELECT 1 FROM node WHERE id <> 1)",
                &[],
            )
            .await?;
        let used = used
            .first()
            .ok_or_else(|| damaged("the database answered nothing"))?;
        if used.try_get(0)? {
            return Err(CatalogError::Exists.into());
        }
        // A checkpoint will be written anyway, so nothing needs to be marked, and nobody is there to be told.
        switch_triggers(session, "DISABLE").await?;
        let mut tail: Option<(i64, Vec<u8>)> = None;
        let mut batch = Batch::default();
        for item in rows {
            batch.add(&self.key, item)?;
            if batch.rows >= BATCH {
                batch.send(session).await?;
                tail = later(tail, batch.tail.take());
                batch = Batch::default();
            }
        }
        batch.send(session).await?;
        tail = later(tail, batch.tail.take());
        switch_triggers(session, "ENABLE").await?;
        let (audited, chain) = tail.unwrap_or((0, vec![0; 32]));
        let tip = resume.tip.map(|tip| tip.as_bytes().to_vec());
        let archived = sql(resume.archived)?.min(audited);
        let (next, last) = (sql(resume.next)?, sql(resume.last_node.0)?);
        let generations = Columns::of(&resume.generations);
        let generations = generations.values();
        let calls: [Call<'_>; 6] = [
            (PUT, &generations),
            ("DELETE FROM changed", &[]),
            (
                "UPDATE journal SET next = $1, audited = $2, archived = $3, whole = 0, tip = $4, undecided = $5 WHERE id = 1",
                &[
                    &next,
                    &audited,
                    &archived,
                    &tip,
                    &i64::from(resume.undecided),
                ],
            ),
            (
                "UPDATE tail SET seq = $1, chain = $2 WHERE id = 1",
                &[&audited, &chain],
            ),
            (
                "SELECT setval(pg_get_serial_sequence('node', 'id'), GREATEST($1, (SELECT max(id) FROM node), 1))",
                &[&last],
            ),
            (
                "SELECT setval(pg_get_serial_sequence('past', 'id'), max(id)) FROM past HAVING max(id) IS NOT NULL",
                &[],
            ),
        ];
        session.query_all(&calls).await.map(drop)
    }
}

async fn switch_triggers(session: &mut Session<'_>, how: &str) -> Outcome<()> {
    let marked = MARKED.iter().map(|table| (table, "changes"));
    let told = TOLD.iter().map(|table| (table, "tells"));
    let text: String = marked
        .chain(told)
        .map(|(table, trigger)| format!("ALTER TABLE {table} {how} TRIGGER {trigger};"))
        .collect();
    session.run(&text).await
}

fn later(a: Option<(i64, Vec<u8>)>, b: Option<(i64, Vec<u8>)>) -> Option<(i64, Vec<u8>)> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.0 > a.0 { b } else { a }),
        (a, b) => a.or(b),
    }
}

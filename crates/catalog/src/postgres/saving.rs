//! Saving, and what else is written of versions and extents.

use std::time::Duration;

use tokio_postgres::types::ToSql;
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};
use warifu_vault::node::{Attr, Name, NodeId};
use warifu_vault::seam::catalog::{
    About, Commit, ExtentRecord, IndexSet, Intent, NewNode, OwedChange, SaveId, Write,
};

use super::PostgresCatalog;
use super::pool::{ANSWER, Value};
use super::read::ABOUT;
use super::rows::{self, id, key, node_columns, owed, seal_author};
use super::write::{document_bytes, only};
use crate::codec::{extent_kind_code, extent_list, kind_code, read_extent_list, scheme_code, sql};
use crate::error::{Outcome, misuse};
use crate::names::tag;
use crate::sessions::millis;

pub(super) const BEGIN_SAVE: &str = "SELECT begin_save($1, $2, $3)";
const BEGIN_SAVE_SOON: &str = "SELECT begin_save_soon($1, $2, $3)";

/// Extents, column by column.
#[derive(Default)]
pub(super) struct Extents<'a> {
    ids: Vec<&'a [u8]>,
    kinds: Vec<i64>,
    numbers: Vec<i64>,
    lens: Vec<i64>,
    ks: Vec<i64>,
    ns: Vec<i64>,
    schemes: Vec<i64>,
    generations: Vec<i64>,
    documents: Vec<&'a [u8]>,
    versions: Vec<i64>,
    owed: Vec<Option<Vec<u8>>>,
}

impl<'a> Extents<'a> {
    pub(super) fn of(records: impl IntoIterator<Item = &'a ExtentRecord>) -> Outcome<Self> {
        let mut all = Self::default();
        let mut seen = std::collections::HashSet::new();
        for record in records {
            if !seen.insert(record.extent) {
                return Err(misuse(format!("extent {} was dealt twice", record.extent)));
            }
            all.ids.push(record.extent.as_bytes());
            all.kinds.push(extent_kind_code(record.kind)?);
            all.numbers.push(sql(record.number)?);
            all.lens.push(sql(record.len)?);
            all.ks.push(i64::from(record.threshold.k()));
            all.ns.push(i64::from(record.threshold.n()));
            all.schemes.push(scheme_code(record.scheme)?);
            all.generations.push(i64::from(record.generation.0));
            all.documents.push(record.document.as_bytes());
            all.versions.push(sql(record.version.0)?);
            all.owed.push(owed_bytes(record.owed));
        }
        Ok(all)
    }

    pub(super) fn values(&self) -> [Value<'_>; 11] {
        [
            &self.ids,
            &self.kinds,
            &self.numbers,
            &self.lens,
            &self.ks,
            &self.ns,
            &self.schemes,
            &self.generations,
            &self.documents,
            &self.versions,
            &self.owed,
        ]
    }
}

pub(super) fn owed_bytes(owed: IndexSet) -> Option<Vec<u8>> {
    (!owed.is_empty()).then(|| owed.to_bytes().to_vec())
}

fn opt<T: ToSql + Sync>(value: &Option<T>) -> Value<'_> {
    value
}

/// A commit, column by column.
struct Installed<'a> {
    commit: &'a Commit,
    author: Vec<u8>,
    nanos: (i64, i64),
    size: i64,
    places_count: i64,
    settled: i64,
    head: Option<&'a [u8]>,
    places: Vec<i64>,
    layout: Vec<&'a [u8]>,
    dealt: Extents<'a>,
}

impl Installed<'_> {
    /// In the order of the functions' parameters.
    fn values(&self) -> Vec<Value<'_>> {
        let mut values: Vec<Value<'_>> = vec![
            &self.size,
            &self.commit.mtime.secs,
            &self.nanos.0,
            &self.commit.saved_at.secs,
            &self.nanos.1,
            &self.author,
            &self.head,
            &self.places_count,
            &self.settled,
            &self.places,
            &self.layout,
        ];
        values.extend(self.dealt.values());
        values
    }
}

impl PostgresCatalog {
    pub(super) async fn do_begin(&self, intent: &Intent, lease: Duration) -> Outcome<()> {
        let values: [Value<'_>; 3] = [
            &intent.save.as_bytes().as_slice(),
            &millis(lease),
            &extent_list(&intent.extents),
        ];
        self.pool.write(BEGIN_SAVE_SOON, &values).await.map(drop)
    }

    pub(super) async fn do_begin_of(
        &self,
        node: NodeId,
        intent: &Intent,
        lease: Duration,
    ) -> Outcome<Option<About>> {
        let begin: [Value<'_>; 3] = [
            &intent.save.as_bytes().as_slice(),
            &millis(lease),
            &extent_list(&intent.extents),
        ];
        let answers = self
            .pool
            .write_all(&[(ABOUT, &[&key(node.0)]), (BEGIN_SAVE_SOON, &begin)])
            .await?;
        let about = answers.first().and_then(|rows| rows.first());
        about.map(|row| self.about_of(node, row)).transpose()
    }

    pub(super) async fn do_extend(
        &self,
        save: SaveId,
        extents: &[(ExtentId, Generation)],
        lease: Duration,
    ) -> Outcome<()> {
        let values: [Value<'_>; 3] = [
            &save.as_bytes().as_slice(),
            &millis(lease),
            &extent_list(extents),
        ];
        let text = "SELECT extend_save($1, $2, $3)";
        self.pool.write(text, &values).await.map(drop)
    }

    fn installed<'a>(&self, commit: &'a Commit) -> Outcome<Installed<'a>> {
        let (mut places, mut layout) = (Vec::new(), Vec::new());
        for (place, extent) in (0..).zip(&commit.layout) {
            if let Some(extent) = extent {
                places.push(place);
                layout.push(extent.as_bytes().as_slice());
            }
        }
        Ok(Installed {
            author: seal_author(
                &self.key,
                commit.head,
                commit.saved_at,
                &commit.author,
                &commit.host,
            )?,
            nanos: (
                i64::from(commit.mtime.nanos),
                i64::from(commit.saved_at.nanos),
            ),
            size: sql(commit.size)?,
            places_count: sql(commit.layout.len() as u64)?,
            settled: i64::from(commit.settled),
            head: commit.head.as_ref().map(|head| head.as_bytes().as_slice()),
            places,
            layout,
            dealt: Extents::of(&commit.dealt)?,
            commit,
        })
    }

    pub(super) async fn do_commit_save(
        &self,
        node: NodeId,
        base: Option<ExtentId>,
        commit: &Commit,
        write: &Write,
    ) -> Outcome<Attr> {
        let (line, installed) = (self.line(&write.audit)?, self.installed(commit)?);
        let text = concat!(
            "SELECT ",
            node_columns!(),
            " FROM commit_save($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
             $21, $22, $23, $24, $25, $26, $27) n"
        );
        let base = base.as_ref().map(|base| base.as_bytes().as_slice());
        let (node, save, id) = (
            key(node.0),
            commit.save.as_bytes().as_slice(),
            line.id.as_slice(),
        );
        let mut values: Vec<Value<'_>> = vec![&node, opt(&base), &save, &id, &line.sealed];
        values.extend(installed.values());
        rows::attr(only(&self.pool.change(text, &values).await?)?, 0)
    }

    pub(super) async fn do_commit_new(
        &self,
        parent: NodeId,
        name: &Name,
        new: &NewNode,
        commit: &Commit,
        write: &Write,
    ) -> Outcome<Attr> {
        let (at, line) = (write.audit.at, self.line(&write.audit)?);
        let installed = self.installed(commit)?;
        let tag = tag(&self.key, parent, name);
        let sealed = self.sealed_name(parent, &tag, name)?;
        let text = concat!(
            "SELECT ",
            node_columns!(),
            " FROM commit_new($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
             $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36) n"
        );
        let (parent, kind) = (key(parent.0), kind_code(new.kind));
        let (mode, uid, gid, rdev) = (
            i64::from(new.mode),
            i64::from(new.uid),
            i64::from(new.gid),
            i64::from(new.rdev),
        );
        let document = document_bytes(&new.document);
        let (tag, id, save) = (
            tag.as_slice(),
            line.id.as_slice(),
            commit.save.as_bytes().as_slice(),
        );
        let nanos = i64::from(at.nanos);
        let mut values: Vec<Value<'_>> = vec![
            &parent,
            &tag,
            &sealed,
            &kind,
            &mode,
            &uid,
            &gid,
            &rdev,
            opt(&document),
            &at.secs,
            &nanos,
            &save,
            &id,
            &line.sealed,
        ];
        values.extend(installed.values());
        rows::attr(only(&self.pool.change(text, &values).await?)?, 0)
    }

    pub(super) async fn do_claim(
        &self,
        save: SaveId,
        claimant: SaveId,
        lease: Duration,
    ) -> Outcome<Option<Intent>> {
        let values: [Value<'_>; 3] = [
            &save.as_bytes().as_slice(),
            &claimant.as_bytes().as_slice(),
            &millis(lease),
        ];
        let found = self
            .pool
            .write("SELECT claim_save($1, $2, $3)", &values)
            .await?;
        let Some(list) = only(&found)?.try_get::<_, Option<&[u8]>>(0)? else {
            return Ok(None);
        };
        let mut extents = Vec::new();
        read_extent_list(list, &mut extents)?;
        Ok(Some(Intent {
            save: claimant,
            extents,
        }))
    }

    pub(super) async fn do_end(&self, save: SaveId) -> Outcome<bool> {
        let found = self
            .pool
            .write("SELECT end_save($1)", &[&save.as_bytes().as_slice()])
            .await?;
        Ok(only(&found)?.try_get(0)?)
    }

    pub(super) async fn do_settle(&self, settled: &[(FileId, VersionNo)]) -> Outcome<()> {
        if settled.is_empty() {
            return Ok(());
        }
        let documents: Vec<&[u8]> = settled
            .iter()
            .map(|(document, _)| document.as_bytes().as_slice())
            .collect();
        let numbers: Vec<i64> = settled.iter().map(|(_, number)| key(number.0)).collect();
        self.pool
            .write("SELECT settle($1, $2)", &[&documents, &numbers])
            .await
            .map(drop)
    }

    pub(super) async fn do_revert(
        &self,
        document: FileId,
        version: VersionNo,
        write: &Write,
    ) -> Outcome<VersionNo> {
        let (at, line) = (write.audit.at, self.line(&write.audit)?);
        let values: [Value<'_>; 6] = [
            &document.as_bytes().as_slice(),
            &key(version.0),
            &at.secs,
            &i64::from(at.nanos),
            &line.id.as_slice(),
            &line.sealed,
        ];
        let text = "SELECT revert_version($1, $2, $3, $4, $5, $6)";
        let found = self.pool.change(text, &values).await?;
        rows::number(only(&found)?, 0).map(VersionNo)
    }

    pub(super) async fn do_change_owed(
        &self,
        changes: &[OwedChange],
    ) -> Outcome<Vec<Option<IndexSet>>> {
        let mut wanted: Vec<&[u8]> = changes
            .iter()
            .map(|change| change.extent.as_bytes().as_slice())
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        self.pool
            .transaction(ANSWER, || async {
                let mut session = self.pool.begin().await?;
                let outcome = async {
                let text =
                    "SELECT id, owed, generation FROM extent WHERE id = ANY ($1) ORDER BY id FOR UPDATE";
                let mut sets = std::collections::HashMap::new();
                for row in &session.query(text, &[&wanted]).await? {
                    let before = owed(row, 1)?;
                    let generation = rows::number(row, 2)?;
                    sets.insert(ExtentId::from_bytes(id(row, 0)?), (before, before, generation));
                }
                let now = changes
                    .iter()
                    .map(|change| {
                        let (_, set, generation) = sets.get_mut(&change.extent)?;
                        if *generation != u64::from(change.generation.0) {
                            return None;
                        }
                        *set = change.apply(*set);
                        Some(*set)
                    })
                    .collect();
                let (mut ids, mut owed) = (Vec::new(), Vec::new());
                for (extent, (before, after, _)) in &sets {
                    if before != after {
                        ids.push(extent.as_bytes().as_slice());
                        owed.push(owed_bytes(*after));
                    }
                }
                if !ids.is_empty() {
                    let text = "UPDATE extent e SET owed = u.owed FROM unnest($1::bytea[], $2::bytea[]) AS u (id, owed) WHERE e.id = u.id";
                    session.query(text, &[&ids, &owed]).await?;
                }
                Ok(now)
                }
                .await;
                session.end(outcome).await
            })
            .await
    }
}

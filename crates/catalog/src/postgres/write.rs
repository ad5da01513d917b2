//! Writing: each is one call of a function in the database, so one round trip and one transaction.

use tokio_postgres::Row;
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId};
use warifu_core::keys::Field;
use warifu_vault::context::AuditEntry;
use warifu_vault::node::{Attr, AttrChange, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{NewNode, RenameMode, Renamed, Write, XattrMode};

use super::PostgresCatalog;
use super::pool::{ANSWER, TELL_WITHIN, Value};
use super::rows::{self, bytes, key, node_columns, seal_author};
use crate::codec::{encode_entry, encode_pair, kind_code, sql};
use crate::error::{Outcome, damaged};
use crate::names::{entry_row, tag};
use crate::xattrs;

const FOLDERS: &str = concat!(
    "SELECT ",
    node_columns!(),
    " FROM node n WHERE n.id = ANY ($1)"
);

/// A line of the audit log as the database gets it.
pub(super) struct Line {
    /// What it is sealed under: fresh.
    pub(super) id: [u8; 16],
    pub(super) sealed: Vec<u8>,
}

pub(super) fn document_bytes(document: &FileId) -> Option<&[u8]> {
    (*document != FileId::NIL).then(|| document.as_bytes().as_slice())
}

pub(super) fn only(rows: &[Row]) -> Outcome<&Row> {
    rows.first()
        .ok_or_else(|| damaged("the database answered nothing"))
}

impl PostgresCatalog {
    pub(super) fn line(&self, entry: &AuditEntry) -> Outcome<Line> {
        let id = *ExtentId::fresh()?.as_bytes();
        let sealed = self.key.seal(Field::Audit, &id, &encode_entry(entry)?)?;
        Ok(Line { id, sealed })
    }

    pub(super) fn sealed_name(
        &self,
        parent: NodeId,
        tag: &[u8; 16],
        name: &Name,
    ) -> Outcome<Vec<u8>> {
        Ok(self
            .key
            .seal(Field::Name, &entry_row(parent, tag), name.as_bytes())?)
    }

    /// A change of names in these folders. Their attributes come with the answer.
    async fn change_in(
        &self,
        folders: &[NodeId],
        text: &'static str,
        values: &[Value<'_>],
    ) -> Outcome<Vec<Row>> {
        let mut changing = self.pool.lately.begin();
        let folders = keys(folders);
        let (found, seen) = self
            .pool
            .change_seeing(text, values, Some((FOLDERS, &[&folders])))
            .await?;
        // What makes no sense is left to whoever asks for it.
        let seen = seen.iter().filter_map(|row| rows::attr(row, 0).ok());
        changing.tell(seen.collect());
        Ok(found)
    }

    pub(super) async fn do_create(
        &self,
        parent: NodeId,
        name: &Name,
        new: &NewNode,
        write: &Write,
    ) -> Outcome<Attr> {
        let (at, line) = (write.audit.at, self.line(&write.audit)?);
        let tag = tag(&self.key, parent, name);
        let sealed = self.sealed_name(parent, &tag, name)?;
        let is_link = new.kind == NodeKind::Symlink;
        let size = if is_link { new.target.len() as u64 } else { 0 };
        let text = concat!(
            "SELECT ",
            node_columns!(),
            " FROM create_node($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) n"
        );
        let unless = new.unless.map(|name| xattrs::tag(&self.key, parent, name));
        let values: [Value<'_>; 16] = [
            &key(parent.0),
            &tag.as_slice(),
            &sealed,
            &kind_code(new.kind),
            &i64::from(new.mode),
            &i64::from(new.uid),
            &i64::from(new.gid),
            &i64::from(new.rdev),
            &sql(size)?,
            &document_bytes(&new.document),
            &new.inherits,
            &unless.as_ref().map(<[u8; 16]>::as_slice),
            &at.secs,
            &i64::from(at.nanos),
            &line.id.as_slice(),
            &line.sealed,
        ];
        if !is_link {
            return rows::attr(only(&self.change_in(&[parent], text, &values).await?)?, 0);
        }
        let _changing = self.pool.lately.begin();
        // A target is sealed for its node, whose number the database gives.
        self.pool
            .transaction(ANSWER, || async {
                let mut session = self.pool.begin().await?;
                let outcome = async {
                    let attr = rows::attr(only(&session.query(text, &values).await?)?, 0)?;
                    let target =
                        self.key
                            .seal(Field::Link, &attr.node.0.to_le_bytes(), &new.target)?;
                    session
                        .query(
                            "INSERT INTO link (node, sealed) VALUES ($1, $2)",
                            &[&key(attr.node.0), &target],
                        )
                        .await?;
                    session.query(TELL_WITHIN, &[]).await?;
                    Ok(attr)
                }
                .await;
                session.end(outcome).await
            })
            .await
    }

    pub(super) async fn do_link(
        &self,
        node: NodeId,
        parent: NodeId,
        name: &Name,
        write: &Write,
    ) -> Outcome<Attr> {
        let (at, line) = (write.audit.at, self.line(&write.audit)?);
        let tag = tag(&self.key, parent, name);
        let sealed = self.sealed_name(parent, &tag, name)?;
        let text = concat!(
            "SELECT ",
            node_columns!(),
            " FROM link_node($1, $2, $3, $4, $5, $6, $7, $8) n"
        );
        let values: [Value<'_>; 8] = [
            &key(node.0),
            &key(parent.0),
            &tag.as_slice(),
            &sealed,
            &at.secs,
            &i64::from(at.nanos),
            &line.id.as_slice(),
            &line.sealed,
        ];
        rows::attr(only(&self.change_in(&[parent], text, &values).await?)?, 0)
    }

    pub(super) async fn do_unlink(
        &self,
        parent: NodeId,
        name: &Name,
        open: &[NodeId],
        write: &Write,
    ) -> Outcome<Attr> {
        let open = keys(open);
        let (at, line) = (write.audit.at, self.line(&write.audit)?);
        let tag = tag(&self.key, parent, name);
        let text = concat!(
            "SELECT ",
            node_columns!(),
            " FROM unlink_name($1, $2, $3, $4, $5, $6, $7) n"
        );
        let values: [Value<'_>; 7] = [
            &key(parent.0),
            &tag.as_slice(),
            &open,
            &at.secs,
            &i64::from(at.nanos),
            &line.id.as_slice(),
            &line.sealed,
        ];
        rows::attr(only(&self.change_in(&[parent], text, &values).await?)?, 0)
    }

    pub(super) async fn do_rmdir(&self, parent: NodeId, name: &Name, write: &Write) -> Outcome<()> {
        let (at, line) = (write.audit.at, self.line(&write.audit)?);
        let tag = tag(&self.key, parent, name);
        let values: [Value<'_>; 6] = [
            &key(parent.0),
            &tag.as_slice(),
            &at.secs,
            &i64::from(at.nanos),
            &line.id.as_slice(),
            &line.sealed,
        ];
        let text = "SELECT remove_folder($1, $2, $3, $4, $5, $6)";
        self.change_in(&[parent], text, &values).await.map(drop)
    }

    pub(super) async fn do_rename(
        &self,
        from: (NodeId, &Name),
        to: (NodeId, &Name),
        mode: RenameMode,
        open: &[NodeId],
        write: &Write,
    ) -> Outcome<Renamed> {
        let open = keys(open);
        let (at, line) = (write.audit.at, self.line(&write.audit)?);
        let from_tag = tag(&self.key, from.0, from.1);
        let to_tag = tag(&self.key, to.0, to.1);
        let sealed = self.sealed_name(to.0, &to_tag, to.1)?;
        // For a file in which nobody has saved anything yet and which takes over another one's document.
        let context = &write.audit.context;
        let author = seal_author(&self.key, None, at, &context.actor, &context.host)?;
        let mode: i64 = match mode {
            RenameMode::Replace => 0,
            RenameMode::NoReplace => 1,
            RenameMode::Exchange => 2,
        };
        let text = concat!(
            "SELECT ",
            node_columns!(),
            " FROM rename_node($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) n"
        );
        let values: [Value<'_>; 12] = [
            &key(from.0.0),
            &from_tag.as_slice(),
            &key(to.0.0),
            &to_tag.as_slice(),
            &sealed,
            &mode,
            &open,
            &at.secs,
            &i64::from(at.nanos),
            &author,
            &line.id.as_slice(),
            &line.sealed,
        ];
        let found = self.change_in(&[from.0, to.0], text, &values).await?;
        Ok(Renamed {
            moved: rows::attr(only(&found)?, 0)?,
            other: found.get(1).map(|row| rows::attr(row, 0)).transpose()?,
        })
    }

    pub(super) async fn do_succeed(
        &self,
        node: NodeId,
        document: FileId,
        spare: FileId,
        write: &Write,
    ) -> Outcome<Vec<Attr>> {
        let (at, line) = (write.audit.at, self.line(&write.audit)?);
        let context = &write.audit.context;
        let author = seal_author(&self.key, None, at, &context.actor, &context.host)?;
        let text = concat!(
            "SELECT ",
            node_columns!(),
            " FROM succeed($1, $2, $3, $4, $5, $6, $7, $8) n"
        );
        let values: [Value<'_>; 8] = [
            &key(node.0),
            &document.as_bytes().as_slice(),
            &spare.as_bytes().as_slice(),
            &at.secs,
            &i64::from(at.nanos),
            &author,
            &line.id.as_slice(),
            &line.sealed,
        ];
        let found = self.pool.change(text, &values).await?;
        found.iter().map(|row| rows::attr(row, 0)).collect()
    }

    pub(super) async fn do_set_attr(
        &self,
        node: NodeId,
        change: &AttrChange,
        write: &Write,
    ) -> Outcome<Attr> {
        let (at, line) = (write.audit.at, self.line(&write.audit)?);
        let secs = |time: Option<Timestamp>| time.map(|time| time.secs);
        let nanos = |time: Option<Timestamp>| time.map(|time| i64::from(time.nanos));
        let text = concat!(
            "SELECT ",
            node_columns!(),
            " FROM change_node($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) n"
        );
        let values: [Value<'_>; 12] = [
            &key(node.0),
            &change.mode.map(i64::from),
            &change.uid.map(i64::from),
            &change.gid.map(i64::from),
            &secs(change.atime),
            &nanos(change.atime),
            &secs(change.mtime),
            &nanos(change.mtime),
            &at.secs,
            &i64::from(at.nanos),
            &line.id.as_slice(),
            &line.sealed,
        ];
        rows::attr(only(&self.pool.change(text, &values).await?)?, 0)
    }

    pub(super) async fn do_set_xattr(
        &self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        write: &Write,
    ) -> Outcome<()> {
        let (at, line) = (write.audit.at, self.line(&write.audit)?);
        let tag = xattrs::tag(&self.key, node, name);
        let pair = encode_pair(name, value)?;
        let sealed = self.key.seal(Field::Xattr, &entry_row(node, &tag), &pair)?;
        let mode: i64 = match mode {
            XattrMode::Set => 0,
            XattrMode::Create => 1,
            XattrMode::Replace => 2,
        };
        let values: [Value<'_>; 8] = [
            &key(node.0),
            &tag.as_slice(),
            &sealed,
            &mode,
            &at.secs,
            &i64::from(at.nanos),
            &line.id.as_slice(),
            &line.sealed,
        ];
        let text = "SELECT change_xattr($1, $2, $3, $4, $5, $6, $7, $8)";
        self.pool.change(text, &values).await.map(drop)
    }

    pub(super) async fn do_remove_xattr(
        &self,
        node: NodeId,
        name: &[u8],
        write: &Write,
    ) -> Outcome<()> {
        let (at, line) = (write.audit.at, self.line(&write.audit)?);
        let tag = xattrs::tag(&self.key, node, name);
        let values: [Value<'_>; 6] = [
            &key(node.0),
            &tag.as_slice(),
            &at.secs,
            &i64::from(at.nanos),
            &line.id.as_slice(),
            &line.sealed,
        ];
        let text = "SELECT remove_xattr($1, $2, $3, $4, $5, $6)";
        self.pool.change(text, &values).await.map(drop)
    }

    pub(super) async fn do_forget(&self, node: NodeId) -> Outcome<()> {
        self.pool
            .write("SELECT forget_node($1)", &[&key(node.0)])
            .await
            .map(drop)
    }

    pub(super) async fn do_forget_nameless(&self) -> Outcome<u64> {
        let found = self.pool.write("SELECT forget_nameless()", &[]).await?;
        rows::number(only(&found)?, 0)
    }

    pub(super) async fn do_record(&self, entries: &[AuditEntry], soon: bool) -> Outcome<()> {
        let lines = entries
            .iter()
            .map(|entry| self.line(entry))
            .collect::<Outcome<Vec<_>>>()?;
        if lines.is_empty() {
            return Ok(());
        }
        let ids: Vec<&[u8]> = lines.iter().map(|line| line.id.as_slice()).collect();
        let sealed: Vec<&[u8]> = lines.iter().map(|line| line.sealed.as_slice()).collect();
        self.pool
            .write("SELECT record_lines($1, $2, $3)", &[&ids, &sealed, &soon])
            .await
            .map(drop)
    }
}

/// Numbers of nodes, for an array.
fn keys(nodes: &[NodeId]) -> Vec<i64> {
    nodes.iter().map(|node| key(node.0)).collect()
}

/// The chain value in a column.
pub(super) fn chain(row: &Row, at: usize) -> Outcome<[u8; 32]> {
    bytes(row.try_get(at)?)
}

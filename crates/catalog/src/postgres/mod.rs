//! [`PostgresCatalog`]: the catalogue in a PostgreSQL database, for many machines.
//!
//! - **A write is one call of a function** in the database, so one round trip and one transaction ([`write`](self::write), `sql/`). It
//!   locks the rows that it judges, at READ COMMITTED. What the database takes back (a deadlock) is made again; a write whose answer was
//!   lost is not, since it may have been done: it fails with `NoAnswer`.
//! - **A question is one statement**, so one round trip and one moment ([`read`](self::read)).
//! - **Nothing is written by all**: the audit log is chained afterwards ([`audit`](self::audit)), and rows that changed are marked one by one
//!   ([`journal`](self::journal)).
//! - **Who changed what** is told in the transaction of the change, as rows that others read by what their last snapshot did not see
//!   ([`notices`](self::notices)); NOTIFY wakes them ([`listener`](self::listener)).
//! - **What is sealed** is the same as in SQLite: names, link targets, extended attributes, authors, the log.

mod audit;
mod error;
mod generations;
mod journal;
mod lately;
mod listener;
mod moving;
mod notices;
mod options;
mod part;
mod past;
mod pool;
mod read;
mod restore;
mod rows;
mod saving;
mod schema;
mod sessions;
mod tls;
mod wire;
mod write;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};
use warifu_core::keys::CatalogKey;
use warifu_vault::context::AuditEntry;
use warifu_vault::node::{Attr, AttrChange, Name, NodeId};
use warifu_vault::seam::catalog::{
    About, AuditRow, Catalog, CatalogError, Commit, Cursor, Durability, ExtentRecord, IndexSet,
    Intent, Listed, NewNode, OwedChange, RenameMode, Renamed, SaveId, Usage, Version, Write,
    XattrMode,
};
use warifu_vault::seam::clock::{Clock, SystemClock};
use warifu_vault::seam::generations::{Generations, Regenerated};
use warifu_vault::seam::journal::{
    Changes, JournalState, Restored, Resume, Row, RowKey, Segments, Waste,
};
use warifu_vault::seam::sessions::{SessionId, Sessions};

use self::journal::Handed;
use self::listener::Listener;
use self::notices::Places;
pub use self::options::{DEFAULT_SCHEMA, Encryption, PostgresLogin, PostgresUrl, PostgresUrlError};
pub use self::part::PostgresPart;
use self::pool::Pool;
use crate::error::Fail;

/// A catalogue in one schema of a PostgreSQL database.
///
/// Any number of processes on any number of machines may have it open at once. A change that was acknowledged is on the database's disk,
/// but for lines of the log that come with no change; those are within a second, or when [`sync`](Catalog::sync) answers.
pub struct PostgresCatalog {
    pool: Arc<Pool>,
    key: CatalogKey,
    handed: Mutex<Handed>,
    /// What this process is to the others.
    me: SessionId,
    places: Places,
    listener: Mutex<Option<Arc<Listener>>>,
    /// Whether lines were written that the database may not have on its disk yet.
    unsafe_lines: AtomicBool,
}

impl PostgresCatalog {
    /// Makes an empty catalogue: a root folder of mode 0755 that belongs to user 0. The schema is made where there is none.
    ///
    /// # Errors
    /// [`CatalogError::Exists`] when there is a catalogue in this schema; [`CatalogError::NoAnswer`], [`CatalogError::Failed`] when the
    /// database refuses.
    pub async fn create(login: PostgresLogin, key: CatalogKey) -> Result<Self, CatalogError> {
        let catalog = Self::on(login, key)?;
        schema::create(&catalog.pool, &catalog.key, SystemClock.now()).await?;
        Ok(catalog)
    }

    /// Opens a catalogue that was made under this key.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when there is none; [`CatalogError::Newer`] when a newer warifu wrote it; [`CatalogError::Damaged`] for a
    /// wrong key and for damage; [`CatalogError::NoAnswer`] when the database is not reached; [`CatalogError::Failed`] when it refuses.
    pub async fn open(login: PostgresLogin, key: CatalogKey) -> Result<Self, CatalogError> {
        let catalog = Self::on(login, key)?;
        schema::open(&catalog.pool, &catalog.key).await?;
        Ok(catalog)
    }

    /// Removes this catalogue and its schema, whatever is in it.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub async fn remove(self) -> Result<(), CatalogError> {
        Ok(schema::remove(&self.pool).await?)
    }

    fn on(login: PostgresLogin, key: CatalogKey) -> Result<Self, CatalogError> {
        let me = SessionId::fresh().map_err(Fail::from)?;
        Ok(Self {
            pool: Arc::new(Pool::new(login, me)),
            key,
            handed: Mutex::default(),
            me,
            places: Places::default(),
            listener: Mutex::default(),
            unsafe_lines: AtomicBool::new(false),
        })
    }
}

impl Drop for PostgresCatalog {
    fn drop(&mut self) {
        self.pool.close();
    }
}

/// Silent but for the place.
impl fmt::Debug for PostgresCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresCatalog")
            .field("place", &self.pool.place())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Catalog for PostgresCatalog {
    async fn attr(&self, node: NodeId) -> Result<Option<Attr>, CatalogError> {
        Ok(self.read_attr(node).await?)
    }

    async fn attr_lately(&self, node: NodeId) -> Result<Option<Attr>, CatalogError> {
        match self.pool.lately.find(node) {
            Some(attr) => Ok(Some(attr)),
            None => Ok(self.read_attr(node).await?),
        }
    }

    async fn lookup(&self, parent: NodeId, name: &Name) -> Result<Option<Attr>, CatalogError> {
        Ok(self.read_lookup(parent, name).await?)
    }

    async fn list(
        &self,
        dir: NodeId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Listed>, CatalogError> {
        Ok(self.read_list(dir, after, limit).await?)
    }

    async fn path(&self, node: NodeId) -> Result<Option<Vec<Name>>, CatalogError> {
        Ok(self.read_path(node).await?)
    }

    async fn parent(&self, dir: NodeId) -> Result<NodeId, CatalogError> {
        Ok(self.read_parent(dir).await?)
    }

    async fn read_link(&self, node: NodeId) -> Result<Vec<u8>, CatalogError> {
        Ok(self.read_link_target(node).await?)
    }

    async fn xattrs(&self, node: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>, CatalogError> {
        Ok(self.read_xattrs(node).await?)
    }

    async fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>, CatalogError> {
        Ok(self.read_xattr(node, name).await?)
    }

    async fn current(&self, node: NodeId) -> Result<(Attr, Option<Version>), CatalogError> {
        Ok(self.read_current(node).await?)
    }

    async fn open(
        &self,
        node: NodeId,
        entry: AuditEntry,
        durability: Durability,
    ) -> Result<(Attr, Option<Version>), CatalogError> {
        let soon = durability == Durability::Soon;
        let opened = self.do_open(node, &entry, soon).await;
        self.unsafe_lines.fetch_or(soon, Ordering::AcqRel);
        Ok(opened?)
    }

    async fn about(&self, node: NodeId) -> Result<Option<About>, CatalogError> {
        Ok(self.read_about(node).await?)
    }

    async fn version(
        &self,
        document: FileId,
        number: VersionNo,
    ) -> Result<Option<Version>, CatalogError> {
        Ok(self.read_version(document, number).await?)
    }

    async fn history(&self, document: FileId) -> Result<Vec<Version>, CatalogError> {
        Ok(self.read_history(document).await?)
    }

    async fn extent(&self, extent: ExtentId) -> Result<Option<ExtentRecord>, CatalogError> {
        Ok(self.read_extent(extent).await?)
    }

    async fn extents(
        &self,
        after: Option<ExtentId>,
        limit: usize,
    ) -> Result<Vec<ExtentRecord>, CatalogError> {
        Ok(self.read_extents(after, limit, false).await?)
    }

    async fn owed(
        &self,
        after: Option<ExtentId>,
        limit: usize,
    ) -> Result<Vec<ExtentRecord>, CatalogError> {
        Ok(self.read_extents(after, limit, true).await?)
    }

    async fn user_of(
        &self,
        extent: ExtentId,
    ) -> Result<Option<(Option<NodeId>, FileId, VersionNo)>, CatalogError> {
        Ok(self.read_user_of(extent).await?)
    }

    async fn documents_of(&self, extent: ExtentId) -> Result<Vec<FileId>, CatalogError> {
        Ok(self.read_documents_of(extent).await?)
    }

    async fn unsettled(&self, limit: usize) -> Result<Vec<Version>, CatalogError> {
        Ok(self.read_unsettled(limit).await?)
    }

    async fn intents(&self) -> Result<Vec<Intent>, CatalogError> {
        Ok(self.read_intents(false).await?)
    }

    async fn lapsed(&self) -> Result<Vec<Intent>, CatalogError> {
        Ok(self.read_intents(true).await?)
    }

    async fn usage(&self) -> Result<Usage, CatalogError> {
        Ok(self.read_usage().await?)
    }

    async fn audit(&self, after: u64, most: usize) -> Result<Vec<AuditRow>, CatalogError> {
        Ok(self.read_audit(after, most).await?)
    }

    async fn create(
        &self,
        parent: NodeId,
        name: &Name,
        new: NewNode,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        Ok(self.do_create(parent, name, &new, &write).await?)
    }

    async fn link(
        &self,
        node: NodeId,
        parent: NodeId,
        name: &Name,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        Ok(self.do_link(node, parent, name, &write).await?)
    }

    async fn unlink(
        &self,
        parent: NodeId,
        name: &Name,
        open: &[NodeId],
        write: Write,
    ) -> Result<Attr, CatalogError> {
        Ok(self.do_unlink(parent, name, open, &write).await?)
    }

    async fn rmdir(&self, parent: NodeId, name: &Name, write: Write) -> Result<(), CatalogError> {
        Ok(self.do_rmdir(parent, name, &write).await?)
    }

    async fn rename(
        &self,
        from: (NodeId, &Name),
        to: (NodeId, &Name),
        mode: RenameMode,
        open: &[NodeId],
        write: Write,
    ) -> Result<Renamed, CatalogError> {
        Ok(self.do_rename(from, to, mode, open, &write).await?)
    }

    async fn succeed(
        &self,
        node: NodeId,
        document: FileId,
        spare: FileId,
        write: Write,
    ) -> Result<Vec<Attr>, CatalogError> {
        Ok(self.do_succeed(node, document, spare, &write).await?)
    }

    async fn set_attr(
        &self,
        node: NodeId,
        change: &AttrChange,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        Ok(self.do_set_attr(node, change, &write).await?)
    }

    async fn set_xattr(
        &self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        write: Write,
    ) -> Result<(), CatalogError> {
        Ok(self.do_set_xattr(node, name, value, mode, &write).await?)
    }

    async fn remove_xattr(
        &self,
        node: NodeId,
        name: &[u8],
        write: Write,
    ) -> Result<(), CatalogError> {
        Ok(self.do_remove_xattr(node, name, &write).await?)
    }

    async fn forget(&self, node: NodeId) -> Result<(), CatalogError> {
        Ok(self.do_forget(node).await?)
    }

    async fn forget_nameless(&self) -> Result<u64, CatalogError> {
        Ok(self.do_forget_nameless().await?)
    }

    async fn begin_save(&self, intent: &Intent, lease: Duration) -> Result<(), CatalogError> {
        Ok(self.do_begin(intent, lease).await?)
    }

    async fn begin_save_of(
        &self,
        node: NodeId,
        intent: &Intent,
        lease: Duration,
    ) -> Result<Option<About>, CatalogError> {
        Ok(self.do_begin_of(node, intent, lease).await?)
    }

    async fn extend_save(
        &self,
        save: SaveId,
        extents: &[(ExtentId, Generation)],
        lease: Duration,
    ) -> Result<(), CatalogError> {
        Ok(self.do_extend(save, extents, lease).await?)
    }

    async fn commit_save(
        &self,
        node: NodeId,
        base: Option<ExtentId>,
        commit: Commit,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        Ok(self.do_commit_save(node, base, &commit, &write).await?)
    }

    async fn commit_new(
        &self,
        parent: NodeId,
        name: &Name,
        new: NewNode,
        commit: Commit,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        Ok(self
            .do_commit_new(parent, name, &new, &commit, &write)
            .await?)
    }

    async fn claim_save(
        &self,
        save: SaveId,
        claimant: SaveId,
        lease: Duration,
    ) -> Result<Option<Intent>, CatalogError> {
        Ok(self.do_claim(save, claimant, lease).await?)
    }

    async fn end_save(&self, save: SaveId) -> Result<bool, CatalogError> {
        Ok(self.do_end(save).await?)
    }

    async fn settle(&self, settled: &[(FileId, VersionNo)]) -> Result<(), CatalogError> {
        Ok(self.do_settle(settled).await?)
    }

    async fn revert(
        &self,
        document: FileId,
        version: VersionNo,
        write: Write,
    ) -> Result<VersionNo, CatalogError> {
        Ok(self.do_revert(document, version, &write).await?)
    }

    async fn change_owed(
        &self,
        changes: &[OwedChange],
    ) -> Result<Vec<Option<IndexSet>>, CatalogError> {
        Ok(self.do_change_owed(changes).await?)
    }

    async fn generations(&self) -> Result<Generations, CatalogError> {
        Ok(self.read_generations().await?)
    }

    async fn set_generations(
        &self,
        before: Generations,
        after: Generations,
        write: Write,
    ) -> Result<(), CatalogError> {
        Ok(self.do_set_generations(&before, &after, &write).await?)
    }

    async fn regenerate(
        &self,
        save: SaveId,
        made: &[Regenerated],
        waste: SaveId,
        lease: Duration,
        write: Write,
    ) -> Result<Intent, CatalogError> {
        Ok(self
            .do_regenerate(save, made, (waste, lease), &write)
            .await?)
    }

    async fn record(
        &self,
        entries: Vec<AuditEntry>,
        durability: Durability,
    ) -> Result<(), CatalogError> {
        let soon = durability == Durability::Soon;
        let recorded = self.do_record(&entries, soon).await;
        self.unsafe_lines.fetch_or(soon, Ordering::AcqRel);
        Ok(recorded?)
    }

    async fn sync(&self) -> Result<(), CatalogError> {
        Ok(self.do_sync().await?)
    }

    async fn changes(&self, most: usize) -> Result<Changes, CatalogError> {
        Ok(self.read_changes(most).await?)
    }

    async fn rows(&self, after: Option<RowKey>, most: usize) -> Result<Vec<Row>, CatalogError> {
        Ok(self.read_rows(after, most).await?)
    }

    async fn journal(&self) -> Result<JournalState, CatalogError> {
        Ok(self.read_journal().await?)
    }

    async fn journalled(
        &self,
        segments: Segments,
        _durability: Durability,
    ) -> Result<Waste, CatalogError> {
        Ok(self.do_journalled(&segments).await?)
    }

    async fn decide(&self, write: Write) -> Result<(), CatalogError> {
        Ok(self.do_decide(&write).await?)
    }

    async fn restore(
        &self,
        rows: Box<dyn Iterator<Item = Restored> + Send>,
        resume: Resume,
    ) -> Result<(), CatalogError> {
        Ok(self.do_restore(rows, resume).await?)
    }

    fn sessions(&self) -> Option<&dyn Sessions> {
        Some(self)
    }
}

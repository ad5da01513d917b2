//! [`SqliteCatalog`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};
use warifu_core::keys::CatalogKey;
use warifu_vault::context::AuditEntry;
use warifu_vault::node::{Attr, AttrChange, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    AuditRow, Catalog, CatalogError, Commit, Cursor, Durability, ExtentRecord, IndexSet, Intent,
    Listed, NewNode, OwedChange, RenameMode, Renamed, SaveId, Usage, Version, Write, XattrMode,
};
use warifu_vault::seam::clock::{Clock, SystemClock};
use warifu_vault::seam::generations::{Generations, Regenerated};
use warifu_vault::seam::journal::{
    Changes, JournalState, Restored, Resume, Row, RowKey, Segments, Waste,
};
use warifu_vault::seam::sessions::{SessionId, Sessions};

use crate::error::Outcome;
use crate::readers::{Readers, View};
use crate::saves::limit;
use crate::writer::{Tx, Writer};
use crate::{
    audit, files, generations, journal, names, read, rename, restore, saves, schema, succession,
    versions, xattrs,
};

/// A catalogue in one SQLite file (with its `-wal` and `-shm` beside it), readable by its owner only.
///
/// Several processes on one machine may have it open at once. On a network file system it may not lie: SQLite's shared
/// memory does not reach another machine.
///
/// Reads run on the caller's thread; writes on one thread of its own, many to a transaction. After the disk failed to
/// confirm a write, no more are taken until the catalogue is opened again.
pub struct SqliteCatalog {
    // Declared, so closed, before the writer: the last connection to close moves the log into the file.
    readers: Readers,
    writer: Writer,
    path: PathBuf,
    pub(crate) me: SessionId,
}

impl SqliteCatalog {
    /// Makes an empty catalogue: a root folder of mode 0755 that belongs to user 0.
    ///
    /// # Errors
    /// [`CatalogError::Exists`] when there is a file of this name; [`CatalogError::Full`], [`CatalogError::Failed`].
    pub fn create(path: &Path, key: CatalogKey) -> Result<Self, CatalogError> {
        files::create(path).map_err(CatalogError::from)?;
        Self::create_in(path, key)
    }

    /// As [`create`](Self::create), in an empty file that the caller has made, and holds a lock on if it likes.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when there is no such file, [`CatalogError::Exists`] when it is not empty; as for
    /// [`create`](Self::create).
    pub fn create_in(path: &Path, key: CatalogKey) -> Result<Self, CatalogError> {
        let make = || -> Outcome<Self> {
            files::need_empty(path)?;
            // Before the engine has it open: to close a descriptor of the file would take away the engine's locks.
            files::sync_new(path)?;
            let conn = files::open(path)?;
            files::use_small_pages(&conn)?;
            files::use_wal(&conn)?;
            schema::create(&conn, &key, SystemClock.now())?;
            Self::start(path, conn, key)
        };
        make().map_err(CatalogError::from)
    }

    /// Opens a catalogue that was made under this key.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when there is no such file; [`CatalogError::Newer`] when a newer warifu wrote it;
    /// [`CatalogError::Damaged`] for a file that is no catalogue, for a wrong key and for damage;
    /// [`CatalogError::NoAnswer`] when another process keeps it locked; [`CatalogError::Failed`].
    pub fn open(path: &Path, key: CatalogKey) -> Result<Self, CatalogError> {
        let open = || -> Outcome<Self> {
            let conn = files::open(path)?;
            let found = schema::check(&conn, &key)?;
            files::use_wal(&conn)?;
            if found < schema::SCHEMA {
                schema::upgrade(&conn, &key)?;
            }
            Self::start(path, conn, key)
        };
        open().map_err(CatalogError::from)
    }

    fn start(path: &Path, conn: rusqlite::Connection, key: CatalogKey) -> Outcome<Self> {
        let (key, me) = (Arc::new(key), SessionId::fresh()?);
        Ok(Self {
            readers: Readers::new(path.to_owned(), Arc::clone(&key)),
            writer: Writer::start(conn, key, me)?,
            path: path.to_owned(),
            me,
        })
    }

    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(View<'_>) -> Outcome<T>,
    ) -> Result<T, CatalogError> {
        self.readers.read(read).map_err(CatalogError::from)
    }

    /// As [`read`](Self::read), for what takes microseconds.
    fn look<T>(&self, read: impl FnOnce(View<'_>) -> Outcome<T>) -> Result<T, CatalogError> {
        match self.writer.lend(read) {
            Ok(outcome) => outcome.map_err(CatalogError::from),
            Err(read) => self.read(read),
        }
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Tx<'_>) -> Outcome<T> + Send + 'static,
    ) -> Result<T, CatalogError> {
        self.writer.write(durability, work).await
    }
}

impl Drop for SqliteCatalog {
    fn drop(&mut self) {
        self.readers.close();
        self.writer.stop();
    }
}

/// Silent but for the path.
impl fmt::Debug for SqliteCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteCatalog")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// As many entries of a listing are read by the connection that writes, which knows without asking the disk what was written last.
const LENT: usize = 256;

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn attr(&self, node: NodeId) -> Result<Option<Attr>, CatalogError> {
        self.look(|view| read::attr(view, node))
    }

    async fn lookup(&self, parent: NodeId, name: &Name) -> Result<Option<Attr>, CatalogError> {
        self.look(|view| read::lookup(view, parent, name))
    }

    async fn list(
        &self,
        dir: NodeId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Listed>, CatalogError> {
        // Few at a time, so that who writes waits no longer than for another write.
        if limit <= LENT {
            self.look(|view| read::list(view, dir, after, limit))
        } else {
            self.read(|view| read::list(view, dir, after, limit))
        }
    }

    async fn path(&self, node: NodeId) -> Result<Option<Vec<Name>>, CatalogError> {
        self.look(|view| read::path(view, node))
    }

    async fn parent(&self, dir: NodeId) -> Result<NodeId, CatalogError> {
        self.look(|view| read::parent(view, dir))
    }

    async fn read_link(&self, node: NodeId) -> Result<Vec<u8>, CatalogError> {
        self.look(|view| read::read_link(view, node))
    }

    async fn xattrs(&self, node: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>, CatalogError> {
        self.look(|view| xattrs::all(view, node))
    }

    async fn xattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>, CatalogError> {
        self.look(|view| xattrs::one(view, node, name))
    }

    async fn current(&self, node: NodeId) -> Result<(Attr, Option<Version>), CatalogError> {
        self.look(|view| view.snapshot(|view| read::current(view, node)))
    }

    async fn open(
        &self,
        node: NodeId,
        entry: AuditEntry,
        durability: Durability,
    ) -> Result<(Attr, Option<Version>), CatalogError> {
        self.write(durability, move |tx| {
            let (attr, version) = read::current(tx.view, node)?;
            if attr.kind == NodeKind::File {
                audit::record(tx, &entry.of_version(attr.version))?;
            }
            Ok((attr, version))
        })
        .await
    }

    async fn version(
        &self,
        document: FileId,
        number: VersionNo,
    ) -> Result<Option<Version>, CatalogError> {
        self.read(|view| view.snapshot(|view| read::version(view, document, number)))
    }

    async fn history(&self, document: FileId) -> Result<Vec<Version>, CatalogError> {
        self.read(|view| read::history(view, document))
    }

    async fn extent(&self, extent: ExtentId) -> Result<Option<ExtentRecord>, CatalogError> {
        self.look(|view| read::extent(view, extent))
    }

    async fn extents(
        &self,
        after: Option<ExtentId>,
        limit: usize,
    ) -> Result<Vec<ExtentRecord>, CatalogError> {
        self.read(|view| read::extents(view, after, limit, false))
    }

    async fn owed(
        &self,
        after: Option<ExtentId>,
        limit: usize,
    ) -> Result<Vec<ExtentRecord>, CatalogError> {
        self.read(|view| read::extents(view, after, limit, true))
    }

    async fn user_of(
        &self,
        extent: ExtentId,
    ) -> Result<Option<(Option<NodeId>, FileId, VersionNo)>, CatalogError> {
        self.read(|view| read::user_of(view, extent))
    }

    async fn documents_of(&self, extent: ExtentId) -> Result<Vec<FileId>, CatalogError> {
        self.read(|view| read::documents_of(view, extent))
    }

    async fn unsettled(&self, limit: usize) -> Result<Vec<Version>, CatalogError> {
        self.read(|view| read::unsettled(view, limit))
    }

    async fn intents(&self) -> Result<Vec<Intent>, CatalogError> {
        self.read(saves::intents)
    }

    async fn lapsed(&self) -> Result<Vec<Intent>, CatalogError> {
        self.read(saves::lapsed)
    }

    async fn usage(&self) -> Result<Usage, CatalogError> {
        self.read(read::usage)
    }

    async fn audit(&self, after: u64, most: usize) -> Result<Vec<AuditRow>, CatalogError> {
        self.read(|view| audit::list(view, after, limit(most)))
    }

    async fn create(
        &self,
        parent: NodeId,
        name: &Name,
        new: NewNode,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        let name = name.clone();
        self.write(write.durability, move |tx| {
            names::create(tx, parent, &name, &new, &write)
        })
        .await
    }

    async fn link(
        &self,
        node: NodeId,
        parent: NodeId,
        name: &Name,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        let name = name.clone();
        self.write(write.durability, move |tx| {
            names::link(tx, node, parent, &name, &write)
        })
        .await
    }

    async fn unlink(
        &self,
        parent: NodeId,
        name: &Name,
        open: &[NodeId],
        write: Write,
    ) -> Result<Attr, CatalogError> {
        let (name, open) = (name.clone(), open.to_vec());
        self.write(write.durability, move |tx| {
            names::unlink(tx, parent, &name, &open, &write)
        })
        .await
    }

    async fn rmdir(&self, parent: NodeId, name: &Name, write: Write) -> Result<(), CatalogError> {
        let name = name.clone();
        self.write(write.durability, move |tx| {
            names::rmdir(tx, parent, &name, &write)
        })
        .await
    }

    async fn rename(
        &self,
        from: (NodeId, &Name),
        to: (NodeId, &Name),
        mode: RenameMode,
        open: &[NodeId],
        write: Write,
    ) -> Result<Renamed, CatalogError> {
        let ((from, from_name), (to, to_name)) = ((from.0, from.1.clone()), (to.0, to.1.clone()));
        let open = open.to_vec();
        self.write(write.durability, move |tx| {
            rename::rename(tx, (from, &from_name), (to, &to_name), mode, &open, &write)
        })
        .await
    }

    async fn succeed(
        &self,
        node: NodeId,
        document: FileId,
        spare: FileId,
        write: Write,
    ) -> Result<Vec<Attr>, CatalogError> {
        self.write(write.durability, move |tx| {
            succession::succeed(tx, node, document, spare, &write)
        })
        .await
    }

    async fn set_attr(
        &self,
        node: NodeId,
        change: &AttrChange,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        let change = change.clone();
        self.write(write.durability, move |tx| {
            names::set_attr(tx, node, &change, &write)
        })
        .await
    }

    async fn set_xattr(
        &self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        write: Write,
    ) -> Result<(), CatalogError> {
        let (name, value) = (name.to_vec(), value.to_vec());
        self.write(write.durability, move |tx| {
            xattrs::set(tx, node, &name, &value, mode, &write)
        })
        .await
    }

    async fn remove_xattr(
        &self,
        node: NodeId,
        name: &[u8],
        write: Write,
    ) -> Result<(), CatalogError> {
        let name = name.to_vec();
        self.write(write.durability, move |tx| {
            xattrs::remove(tx, node, &name, &write)
        })
        .await
    }

    async fn forget(&self, node: NodeId) -> Result<(), CatalogError> {
        self.write(Durability::Soon, move |tx| names::forget(tx, node))
            .await
    }

    async fn forget_nameless(&self) -> Result<u64, CatalogError> {
        self.write(Durability::Soon, names::forget_nameless).await
    }

    async fn begin_save(&self, intent: &Intent, lease: Duration) -> Result<(), CatalogError> {
        let intent = intent.clone();
        self.write(Durability::Soon, move |tx| saves::begin(tx, &intent, lease))
            .await
    }

    async fn extend_save(
        &self,
        save: SaveId,
        extents: &[(ExtentId, Generation)],
        lease: Duration,
    ) -> Result<(), CatalogError> {
        let extents = extents.to_vec();
        self.write(Durability::Soon, move |tx| {
            saves::extend(tx, save, &extents, lease)
        })
        .await
    }

    async fn commit_save(
        &self,
        node: NodeId,
        base: Option<ExtentId>,
        commit: Commit,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        self.write(write.durability, move |tx| {
            saves::commit_save(tx, node, base, commit, &write)
        })
        .await
    }

    async fn commit_new(
        &self,
        parent: NodeId,
        name: &Name,
        new: NewNode,
        commit: Commit,
        write: Write,
    ) -> Result<Attr, CatalogError> {
        let name = name.clone();
        self.write(write.durability, move |tx| {
            saves::commit_new(tx, parent, &name, &new, commit, &write)
        })
        .await
    }

    async fn claim_save(
        &self,
        save: SaveId,
        claimant: SaveId,
        lease: Duration,
    ) -> Result<Option<Intent>, CatalogError> {
        self.write(Durability::Soon, move |tx| {
            saves::claim(tx, save, claimant, lease)
        })
        .await
    }

    async fn end_save(&self, save: SaveId) -> Result<bool, CatalogError> {
        self.write(Durability::Soon, move |tx| saves::end(tx, save))
            .await
    }

    async fn settle(&self, settled: &[(FileId, VersionNo)]) -> Result<(), CatalogError> {
        let settled = settled.to_vec();
        self.write(Durability::Soon, move |tx| versions::settle(tx, &settled))
            .await
    }

    async fn revert(
        &self,
        document: FileId,
        version: VersionNo,
        write: Write,
    ) -> Result<VersionNo, CatalogError> {
        self.write(write.durability, move |tx| {
            versions::revert(tx, document, version, &write)
        })
        .await
    }

    async fn change_owed(
        &self,
        changes: &[OwedChange],
    ) -> Result<Vec<Option<IndexSet>>, CatalogError> {
        let changes = changes.to_vec();
        self.write(Durability::Soon, move |tx| {
            versions::change_owed(tx, &changes)
        })
        .await
    }

    async fn generations(&self) -> Result<Generations, CatalogError> {
        self.look(generations::read)
    }

    async fn set_generations(
        &self,
        before: Generations,
        after: Generations,
        write: Write,
    ) -> Result<(), CatalogError> {
        self.write(write.durability, move |tx| {
            generations::set(tx, &before, &after, &write)
        })
        .await
    }

    async fn regenerate(
        &self,
        save: SaveId,
        made: &[Regenerated],
        waste: SaveId,
        lease: Duration,
        write: Write,
    ) -> Result<Intent, CatalogError> {
        let made = made.to_vec();
        self.write(write.durability, move |tx| {
            generations::regenerate(tx, save, &made, (waste, lease), &write)
        })
        .await
    }

    async fn record(
        &self,
        entries: Vec<AuditEntry>,
        durability: Durability,
    ) -> Result<(), CatalogError> {
        self.write(durability, move |tx| {
            entries
                .iter()
                .try_for_each(|entry| audit::record(tx, entry))
        })
        .await
    }

    async fn sync(&self) -> Result<(), CatalogError> {
        self.writer.sync().await
    }

    async fn changes(&self, most: usize) -> Result<Changes, CatalogError> {
        self.read(|view| journal::changes(view, limit(most)))
    }

    async fn rows(&self, after: Option<RowKey>, most: usize) -> Result<Vec<Row>, CatalogError> {
        self.read(|view| journal::rows(view, after, limit(most)))
    }

    async fn journal(&self) -> Result<JournalState, CatalogError> {
        self.read(|view| view.snapshot(journal::state))
    }

    async fn journalled(
        &self,
        segments: Segments,
        durability: Durability,
    ) -> Result<Waste, CatalogError> {
        self.write(durability, move |tx| journal::journalled(tx, &segments))
            .await
    }

    async fn decide(&self, write: Write) -> Result<(), CatalogError> {
        self.write(write.durability, move |tx| journal::decide(tx, &write))
            .await
    }

    async fn restore(
        &self,
        rows: Box<dyn Iterator<Item = Restored> + Send>,
        resume: Resume,
    ) -> Result<(), CatalogError> {
        self.write(Durability::Now, move |tx| {
            restore::restore(tx, rows, resume)
        })
        .await
    }

    fn sessions(&self) -> Option<&dyn Sessions> {
        Some(self)
    }
}

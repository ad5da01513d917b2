//! [`FileHandle`]: what a program holds while it has a file open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use warifu_core::secret::SecretBytes;

use super::state::{FileState, OpenFile};
use crate::context::{Act, Context};
use crate::error::{Result, VaultError};
use crate::node::{Attr, NodeId, NodeKind};
use crate::seam::catalog::{Durability, Version};
use crate::vault::{Inner, Vault};
use warifu_core::ids::VersionNo;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Reading.
    pub read: bool,
    /// Writing.
    pub write: bool,
    /// Dropping the contents first. Needs `write`.
    pub truncate: bool,
}

impl Access {
    /// For reading.
    pub const READ: Self = Self {
        read: true,
        write: false,
        truncate: false,
    };
    /// For reading and writing.
    pub const READ_WRITE: Self = Self {
        read: true,
        write: true,
        truncate: false,
    };
    /// For writing anew.
    pub const REWRITE: Self = Self {
        read: true,
        write: true,
        truncate: true,
    };
}

/// One open of a file. All handles of a file see the same contents.
///
/// [`release`](Self::release) ends it. A handle dropped without it loses what was not saved, as a killed process does.
#[derive(Debug)]
pub struct FileHandle {
    inner: Arc<Inner>,
    file: Arc<OpenFile>,
    access: Access,
    released: AtomicBool,
}

impl Vault {
    /// Opens a file. Its contents are fetched when they are first asked for.
    ///
    /// # Errors
    /// [`VaultError::IsDir`] and [`VaultError::Invalid`] for what is no file; [`VaultError::Stale`] for a node that is gone;
    /// errors of the catalogue, also when the opening cannot be written into the audit log.
    pub async fn open(&self, ctx: &Context, node: NodeId, access: Access) -> Result<FileHandle> {
        let inner = &self.inner;
        if access.write {
            inner.writable()?;
        }
        let handle = inner.handle(node, access);
        if let Err(error) = inner.open_audited(ctx, &handle).await {
            handle.let_go().await?;
            return Err(error);
        }
        if access.truncate {
            inner.set_size(&handle.file, 0, inner.clock.now()).await?;
        }
        Ok(handle)
    }

    /// Opens an older version of a file, for reading.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] when the version is not kept; otherwise as [`open`](Self::open).
    pub async fn open_version(
        &self,
        ctx: &Context,
        node: NodeId,
        version: VersionNo,
    ) -> Result<FileHandle> {
        let inner = &self.inner;
        let (attr, _) = inner.current(node).await?;
        let kept = inner
            .catalog
            .version(attr.document, version)
            .await?
            .ok_or(VaultError::NotFound { what: "version" })?;
        let entry = ctx.entry(
            Act::Open,
            Some(node),
            format!("version {version}"),
            inner.clock.now(),
        );
        inner.catalog.record(vec![entry], Durability::Soon).await?;
        let file = Arc::new(OpenFile::new(
            FileState::of_version(&attr, &kept),
            node,
            true,
        ));
        file.handles.store(1, Ordering::Release);
        Ok(FileHandle {
            inner: Arc::clone(inner),
            file,
            access: Access::READ,
            released: AtomicBool::new(false),
        })
    }

    /// The versions of a file that are kept, ascending.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub async fn history(&self, _ctx: &Context, node: NodeId) -> Result<Vec<Version>> {
        let (attr, _) = self.inner.current(node).await?;
        Ok(self.inner.catalog.history(attr.document).await?)
    }
}

impl Inner {
    /// A file's attributes and current version.
    pub(crate) async fn current(&self, node: NodeId) -> Result<(Attr, Option<Version>)> {
        let (attr, version) =
            self.catalog
                .current(node)
                .await
                .map_err(|error| match VaultError::from(error) {
                    VaultError::NotFound { .. } => VaultError::Stale,
                    other => other,
                })?;
        match attr.kind {
            NodeKind::File => Ok((attr, version)),
            NodeKind::Dir => Err(VaultError::IsDir),
            _ => Err(VaultError::Invalid {
                what: "not a regular file",
            }),
        }
    }

    /// A handle of the file as it is open already, or one of a file that is still to be read from the catalogue.
    pub(crate) fn handle(self: &Arc<Self>, node: NodeId, access: Access) -> FileHandle {
        let mut registry = self.registry();
        let entry = registry.entry(node);
        let file =
            entry.or_insert_with(|| Arc::new(OpenFile::new(FileState::new(node), node, false)));
        file.handles.fetch_add(1, Ordering::AcqRel);
        let file = Arc::clone(file);
        drop(registry);
        FileHandle {
            inner: Arc::clone(self),
            file,
            access,
            released: AtomicBool::new(false),
        }
    }

    /// Ends a handle that is not the last one of its file, or is one of an old version. Returns whether it did.
    fn let_go_unless_last(&self, file: &OpenFile) -> bool {
        let _registry = self.registry();
        let not_last = file.frozen || file.handles.load(Ordering::Acquire) > 1;
        if not_last {
            file.handles.fetch_sub(1, Ordering::AcqRel);
        }
        not_last
    }

    /// Brings an open file up to the newest version that was closed, here or elsewhere. The file is registered already, so
    /// that a save by another handle cannot come between. Changes not saved yet stay; their save will find the conflict.
    async fn open_audited(&self, ctx: &Context, handle: &FileHandle) -> Result<()> {
        let file = &handle.file;
        let _gate = file.gate.lock().await;
        let (attr, version) = self.current(file.node).await?;
        let act = if handle.access.write {
            Act::OpenWrite
        } else {
            Act::Open
        };
        let entry = ctx.entry(
            act,
            Some(file.node),
            format!("version {}", attr.version),
            self.clock.now(),
        );
        self.catalog.record(vec![entry], Durability::Soon).await?;
        file.state.write().await.catch_up(&attr, version.as_ref());
        Ok(())
    }
}

impl FileHandle {
    pub(crate) fn file(&self) -> &OpenFile {
        &self.file
    }

    /// Which node this is a handle of.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.file.node
    }

    /// The file's attributes, changes not saved yet included.
    ///
    /// # Errors
    /// [`VaultError::Stale`] when the node is gone; errors of the catalogue.
    pub async fn attr(&self) -> Result<Attr> {
        let attr = self
            .inner
            .catalog
            .attr(self.file.node)
            .await?
            .ok_or(VaultError::Stale)?;
        let state = self.file.state.read().await;
        Ok(live(attr, &state, self.file.frozen))
    }

    /// Reads up to `len` bytes from `offset`; fewer at the end of the file.
    ///
    /// # Errors
    /// [`VaultError::TooFewShares`], with what each server said.
    pub async fn read(&self, offset: u64, len: usize) -> Result<SecretBytes> {
        if !self.access.read {
            return Err(VaultError::NotOpenForThis);
        }
        self.inner.read(&self.file, offset, len).await
    }

    /// Writes `data` at `offset`, into RAM. Returns how many bytes were taken: all of them.
    ///
    /// # Errors
    /// [`VaultError::TooLarge`]; [`VaultError::TooFewShares`] when the bytes around cannot be read;
    /// [`VaultError::NotStored`] when RAM is short and the servers do not take what is in it.
    pub async fn write(&self, _ctx: &Context, offset: u64, data: &[u8]) -> Result<usize> {
        self.for_writing()?;
        self.inner
            .write(&self.file, offset, data, self.inner.clock.now())
            .await?;
        Ok(data.len())
    }

    /// Cuts the file off at `size`, or lets it grow to it with zeros.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub async fn set_size(&self, _ctx: &Context, size: u64) -> Result<()> {
        self.for_writing()?;
        self.inner
            .set_size(&self.file, size, self.inner.clock.now())
            .await
    }

    /// Makes a stretch of the file zeros; its size stays.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub async fn punch(&self, _ctx: &Context, offset: u64, len: u64) -> Result<()> {
        self.for_writing()?;
        self.inner
            .punch(&self.file, offset, len, self.inner.clock.now())
            .await
    }

    /// What `close` does: saves what changed. When it returns, the version survives the death of this machine and of n-k
    /// servers at once, and a power cut everywhere after at most a second (with [`Options::strict`](crate::vault::Options),
    /// at once). Writes nothing where nothing changed.
    ///
    /// # Errors
    /// [`VaultError::NotStored`] when fewer than k servers took their share: the old version is untouched, and the handle
    /// keeps its changes. Errors of the catalogue.
    pub async fn flush(&self, ctx: &Context) -> Result<()> {
        if !self.access.write {
            return Ok(());
        }
        let durability = if self.inner.options.strict {
            Durability::Now
        } else {
            Durability::Soon
        };
        self.inner.save(ctx, &self.file, durability).await
    }

    /// What `fsync` does: saves what changed, and returns when it is safe from a power cut everywhere.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    pub async fn fsync(&self, ctx: &Context) -> Result<()> {
        if self.inner.options.read_only {
            return Ok(());
        }
        self.inner.save(ctx, &self.file, Durability::Now).await
    }

    /// Ends the handle. The last one of a file saves what is not saved yet and erases the contents from RAM.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush); what could not be saved is lost then, and named at
    /// [`Vault::shutdown`](crate::vault::Vault::shutdown).
    pub async fn release(&self, ctx: &Context) -> Result<()> {
        if self.released.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // Whoever opens the file meanwhile waits at the gate: what they are about to write is not for this save.
        let _gate = self.file.gate.lock().await;
        if self.inner.let_go_unless_last(&self.file) {
            return Ok(());
        }
        let durability = if self.inner.options.strict {
            Durability::Now
        } else {
            Durability::Soon
        };
        let saved = self.inner.save(ctx, &self.file, durability).await;
        let path = match &saved {
            Ok(()) => String::new(),
            Err(_) => self.inner.path_text(self.file.node).await,
        };
        self.let_go().await?;
        saved.map_err(|error| {
            let told = error.without_names();
            self.inner.note_loss(path, error);
            told
        })
    }

    /// Ends the handle without saving.
    async fn let_go(&self) -> Result<()> {
        if self.inner.let_go_unless_last(&self.file) {
            return Ok(());
        }
        {
            let mut registry = self.inner.registry();
            // Somebody may have opened the file since.
            if self.file.handles.fetch_sub(1, Ordering::AcqRel) > 1 {
                return Ok(());
            }
            registry.remove(&self.file.node);
        }
        self.inner.abandon(&self.file).await;
        let unlinked = {
            let mut state = self.file.state.write().await;
            state.buffers.clear();
            state.unlinked
        };
        if unlinked {
            self.inner.catalog.forget(self.file.node).await?;
        }
        Ok(())
    }

    fn for_writing(&self) -> Result<()> {
        if self.access.write {
            self.inner.writable()
        } else {
            Err(VaultError::NotOpenForThis)
        }
    }
}

/// Attributes with what is not saved yet.
pub(crate) fn live(mut attr: Attr, state: &FileState, frozen: bool) -> Attr {
    if frozen || state.dirty {
        attr.size = state.size;
        attr.mtime = state.mtime;
        attr.ctime = attr.ctime.max(state.mtime);
    }
    attr
}

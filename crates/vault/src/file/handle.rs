//! [`FileHandle`]: what a program holds while it has a file open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::contents::Place;
use super::plain::Contents;
use super::state::{FileState, OpenFile};
use super::waiting::is_silence;
use crate::context::{Act, Context};
use crate::error::{Result, VaultError};
use crate::node::{Attr, NodeId, NodeKind};
use crate::seam::catalog::{CatalogError, Durability, Version};
use crate::session::Held;
use crate::vault::{Inner, Vault, lock};
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

/// What is to become of a handle, above all of the last one of its file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// It stays, the last one or not.
    AllStay,
    /// It stays, if it is the last one.
    Stays,
    /// The last one ends, if nothing is left to save.
    EndsSaved,
    /// The last one ends.
    Ends,
}

/// What became of a handle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It has not ended.
    Not,
    /// It has, and there are others.
    NotLast,
    /// It has, and the file is closed.
    Last,
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
    /// Lets others see that the file is open for writing.
    held: Option<Held>,
    /// The attributes that the file was opened with.
    opened: Option<Attr>,
    /// On whose behalf it is being opened, until it has been.
    opening: Option<Context>,
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
        let mut handle = inner.handle(node, access);
        handle.opening = Some(ctx.clone());
        handle.opened = Some(inner.open_audited(ctx, &handle).await?);
        handle.hold(ctx);
        if access.truncate {
            inner.set_size(&handle.file, 0, inner.clock.now()).await?;
        }
        handle.opening = None;
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
        inner.keep_in_sight(&file);
        Ok(FileHandle {
            inner: Arc::clone(inner),
            file,
            access: Access::READ,
            released: AtomicBool::new(false),
            held: None,
            opened: None,
            opening: None,
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
        need_file(self.catalog.current(node).await)
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
            held: None,
            opened: None,
            opening: None,
        }
    }

    /// Ends a handle of an open file, unless it is the last one and something is left to save, or `last` says that the last
    /// one is not to end. Nobody can open the file meanwhile.
    fn end_handle(&self, file: &OpenFile, last: Last) -> Ended {
        let mut registry = self.registry();
        if file.handles.load(Ordering::Acquire) > 1 {
            if last == Last::AllStay {
                return Ended::Not;
            }
            file.handles.fetch_sub(1, Ordering::AcqRel);
            return Ended::NotLast;
        }
        let may_end = match last {
            Last::AllStay | Last::Stays => false,
            Last::EndsSaved => file
                .state
                .try_read()
                .is_ok_and(|state| !state.needs_saving()),
            Last::Ends => true,
        };
        if !may_end {
            return Ended::Not;
        }
        file.handles.store(0, Ordering::Release);
        registry.remove(&file.node);
        Ended::Last
    }

    /// Erases what a file without handles has in RAM, and removes what was sent and never committed.
    pub(crate) async fn put_away(self: &Arc<Self>, file: &OpenFile) {
        // Extents on their way are waited for, so that what was announced for them is removed with the rest.
        let alone = file.saving.write().await;
        let unlinked = {
            let mut state = file.state.write().await;
            state.buffers.clear();
            lock(&file.parts).clear();
            state.unlinked
        };
        self.abandon(file).await;
        drop(alone);
        if unlinked && let Err(error) = self.catalog.forget(file.node).await {
            tracing::debug!(%error, "a removed file could not be forgotten");
        }
    }

    /// Brings an open file up to the newest version that was closed, here or elsewhere. The file is registered already, so
    /// that a save by another handle cannot come between. Changes not saved yet stay; their save will find the conflict.
    async fn open_audited(&self, ctx: &Context, handle: &FileHandle) -> Result<Attr> {
        let file = &handle.file;
        let _gate = file.gate.lock().await;
        let act = if handle.access.write {
            Act::OpenWrite
        } else {
            Act::Open
        };
        let entry = ctx.entry(act, Some(file.node), "", self.clock.now());
        // Before the state is caught up: whether a lock that ended in a sleep can be had again is seen by what has changed since.
        self.locks_hold(file.node).await?;
        let opened = self.catalog.open(file.node, entry, Durability::Soon).await;
        let (attr, version) = need_file(opened)?;
        // Kept for somebody on another machine who has it open. Here only a name that the kernel still believes in can lead to it.
        // What was left behind of it here stays so, and is saved as a copy.
        if attr.nlink == 0 && file.handles.load(Ordering::Acquire) == 1 {
            return Err(VaultError::Stale);
        }
        file.know(&attr);
        file.state.write().await.catch_up(&attr, version.as_ref());
        Ok(attr)
    }
}

/// A file as the catalogue knows it; `Stale` where it is gone.
fn need_file(
    found: std::result::Result<(Attr, Option<Version>), CatalogError>,
) -> Result<(Attr, Option<Version>)> {
    let (attr, version) = found.map_err(|error| match VaultError::from(error) {
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

impl FileHandle {
    pub(crate) fn file(&self) -> &OpenFile {
        &self.file
    }

    /// Which node this is a handle of.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.file.node
    }

    /// Whether the file was opened for writing.
    #[must_use]
    pub const fn is_for_writing(&self) -> bool {
        self.access.write
    }

    /// Lets others see who has the file open for writing.
    pub(crate) fn hold(&mut self, ctx: &Context) {
        if self.access.write {
            self.held = self.inner.hold(ctx, self.file.node);
        }
    }

    /// The attributes that the catalogue had when the file was opened; `None` for a file that was made by opening it.
    #[must_use]
    pub const fn opened(&self) -> Option<&Attr> {
        self.opened.as_ref()
    }

    /// The file's attributes, changes not saved yet included.
    ///
    /// # Errors
    /// [`VaultError::Stale`] when the node is gone; errors of the catalogue.
    pub async fn attr(&self) -> Result<Attr> {
        let attr = match self.inner.catalog.attr(self.file.node).await {
            Ok(attr) => attr.ok_or(VaultError::Stale)?,
            Err(error) => {
                let known = self.file.known_for(error)?;
                return Ok(live(known, &*self.file.state.read().await, true));
            }
        };
        let state = self.file.state.read().await;
        // What is read through the handle stays as it is when somebody else saves the file.
        let own = self.file.frozen || state.head != attr.head;
        Ok(live(attr, &state, own))
    }

    /// Reads up to `len` bytes from `offset`; fewer at the end of the file.
    ///
    /// # Errors
    /// [`VaultError::TooFewShares`], with what each server said.
    pub async fn read(&self, offset: u64, len: usize) -> Result<Contents> {
        if !self.access.read {
            return Err(VaultError::NotOpenForThis);
        }
        self.inner.read(&self.file, offset, len).await
    }

    /// Says that the file will most likely be read now, so that servers that can do so begin to fetch it. Never waits. On a tokio
    /// runtime.
    pub fn expect_reading(&self) {
        if self.access.read && !self.access.truncate {
            self.inner.expect_reading(&self.file);
        }
    }

    /// Writes `data` at `offset`, into RAM. Returns how many bytes were taken: all of them.
    ///
    /// # Errors
    /// [`VaultError::TooLarge`]; [`VaultError::TooFewShares`] when the bytes around cannot be read;
    /// [`VaultError::NotStored`] when RAM is short and the servers do not take what is in it.
    pub async fn write(&self, _ctx: &Context, offset: u64, data: &[u8]) -> Result<usize> {
        self.write_to(Place::At(offset), data).await
    }

    /// Writes `data` at the end of what this handle reads, which is not the end of what somebody else has saved meanwhile. Returns how
    /// many bytes were taken: all of them.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub async fn append(&self, _ctx: &Context, data: &[u8]) -> Result<usize> {
        self.write_to(Place::End, data).await
    }

    async fn write_to(&self, place: Place, data: &[u8]) -> Result<usize> {
        self.for_writing()?;
        self.inner
            .write(&self.file, place, data, self.inner.clock.now())
            .await?;
        Ok(data.len())
    }

    /// As [`write`](Self::write), where nothing has to be waited for; `None` where something has, and then nothing was done. On a
    /// tokio runtime, since what is written may be sent on.
    pub fn write_at_once(&self, offset: u64, data: &[u8]) -> Option<Result<usize>> {
        self.write_to_at_once(Place::At(offset), data)
    }

    /// As [`append`](Self::append), where nothing has to be waited for; otherwise as [`write_at_once`](Self::write_at_once).
    pub fn append_at_once(&self, data: &[u8]) -> Option<Result<usize>> {
        self.write_to_at_once(Place::End, data)
    }

    fn write_to_at_once(&self, place: Place, data: &[u8]) -> Option<Result<usize>> {
        if let Err(error) = self.for_writing() {
            return Some(Err(error));
        }
        let now = self.inner.clock.now();
        let written = self.inner.write_at_once(&self.file, place, data, now)?;
        Some(written.map(|()| data.len()))
    }

    /// How long what this handle reads is, in bytes. Asks nobody.
    pub async fn size(&self) -> u64 {
        self.file.state.read().await.size
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

    /// Lets the file grow to `size` with zeros, if it is shorter.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub async fn grow_to(&self, _ctx: &Context, size: u64) -> Result<()> {
        self.for_writing()?;
        self.inner
            .grow_to(&self.file, size, self.inner.clock.now())
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
        self.end(ctx, Last::Stays).await
    }

    /// As [`release`](Self::release), and saves before it also where others have the file open: for a handle through which something was
    /// changed after its program had closed it.
    ///
    /// # Errors
    /// As for [`release`](Self::release); as long as others have the file open, they have the changes.
    pub async fn release_saved(&self, ctx: &Context) -> Result<()> {
        let all = self.access.write && !self.inner.options.read_only;
        self.end(ctx, if all { Last::AllStay } else { Last::Stays })
            .await
    }

    async fn end(&self, ctx: &Context, mut last: Last) -> Result<()> {
        if self.released.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        if self.file.frozen {
            self.file.state.write().await.buffers.clear();
            lock(&self.file.parts).clear();
            return Ok(());
        }
        let durability = if self.inner.options.strict {
            Durability::Now
        } else {
            Durability::Soon
        };
        let (inner, file) = (&self.inner, &self.file);
        // Whoever opens the file meanwhile waits at the gate: what they are about to write is not for this save.
        let _gate = file.gate.lock().await;
        loop {
            match inner.end_handle(file, last) {
                Ended::NotLast => return Ok(()),
                Ended::Last => {
                    inner.put_away(file).await;
                    return Ok(());
                }
                // Somebody may have opened the file, changed it and closed it again while it was being saved.
                Ended::Not => {}
            }
            // What somebody else has left behind is saved in their name, and stays left behind whatever the reason.
            let author = lock(&file.left_by).clone();
            let left = author.is_some();
            let ctx = author.as_ref().unwrap_or(ctx);
            if let Err(error) = inner.save(ctx, file, durability).await {
                if (left || is_silence(&error)) && !inner.is_closing() {
                    inner.leave_behind(ctx, file);
                    return Err(error);
                }
                let path = inner.path_text(file.node).await;
                if inner.end_handle(file, Last::Ends) == Ended::NotLast {
                    // Whoever has opened it since has the changes.
                    return Err(error);
                }
                let told = error.without_names();
                inner.note_loss(path, error);
                inner.put_away(file).await;
                return Err(told);
            }
            last = Last::EndsSaved;
        }
    }

    fn for_writing(&self) -> Result<()> {
        if self.access.write {
            self.inner.writable()
        } else {
            Err(VaultError::NotOpenForThis)
        }
    }
}

impl Drop for FileHandle {
    fn drop(&mut self) {
        if *self.released.get_mut() || self.file.frozen {
            return;
        }
        // An open that failed must not take along what somebody else has left behind, or leaves while it waits.
        if self
            .inner
            .stays_left_behind(&self.file, self.opening.take())
            || self.inner.end_handle(&self.file, Last::Ends) != Ended::Last
        {
            return;
        }
        // Without a runtime the process is ending, and its RAM with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (inner, file) = (Arc::clone(&self.inner), Arc::clone(&self.file));
            runtime.spawn(async move { inner.put_away(&file).await });
        }
    }
}

/// Attributes with what is not saved yet. What was read of the catalogue before a save of this process may be older than the state.
pub(crate) fn live(mut attr: Attr, state: &FileState, frozen: bool) -> Attr {
    let newer = state.document == attr.document && state.version > attr.version;
    if frozen || state.dirty || newer {
        attr.size = state.size;
        attr.mtime = state.mtime;
        attr.ctime = attr.ctime.max(state.mtime);
    }
    attr
}

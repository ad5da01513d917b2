//! Names: looking up, making, removing, renaming. The catalogue does the work in one transaction each; what is here knows
//! about open files.

use std::sync::atomic::Ordering;

use warifu_core::ids::{ExtentId, FileId};

use crate::context::{Act, Context};
use crate::error::{Result, VaultError};
use crate::file::handle::{Access, FileHandle, live};
use crate::node::{Attr, AttrChange, Name, NodeId, NodeKind};
use crate::seam::catalog::{
    CatalogError, Cursor, Durability, Listed, NewNode, RenameMode, Renamed, Write, XattrMode,
};
use crate::seam::clock::Timestamp;
use crate::vault::{Inner, Vault};

/// Up to so many open files are named to the catalogue when a name is taken away. Where more are open, it is asked first what the name stands for.
const FEW_OPEN: usize = 64;

impl Vault {
    /// A node's attributes, changes of open files included.
    ///
    /// # Errors
    /// [`VaultError::Stale`] when the node is gone; errors of the catalogue.
    pub async fn attr(&self, _ctx: &Context, node: NodeId) -> Result<Attr> {
        let found = self.inner.catalog.attr(node).await;
        self.attr_of(node, found).await
    }

    /// A node's attributes as [`attr`](Self::attr) gives them, or as they were a moment ago: for a kernel, which believes them for longer than that.
    ///
    /// # Errors
    /// As for [`attr`](Self::attr).
    pub async fn attr_lately(&self, _ctx: &Context, node: NodeId) -> Result<Attr> {
        let found = self.inner.catalog.attr_lately(node).await;
        self.attr_of(node, found).await
    }

    async fn attr_of(
        &self,
        node: NodeId,
        found: std::result::Result<Option<Attr>, CatalogError>,
    ) -> Result<Attr> {
        let attr = match found {
            Ok(attr) => attr.ok_or(VaultError::Stale)?,
            Err(error) => match self.inner.open_file(node) {
                Some(file) => {
                    let known = file.known_for(error)?;
                    return Ok(live(known, &*file.state.read().await, true));
                }
                None => return Err(error.into()),
            },
        };
        Ok(self.inner.with_open(attr).await)
    }

    /// What a name in a folder stands for.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::NotDir`]; errors of the catalogue.
    pub async fn lookup(&self, _ctx: &Context, parent: NodeId, name: &Name) -> Result<Attr> {
        let attr = self
            .inner
            .catalog
            .lookup(parent, name)
            .await?
            .ok_or(VaultError::NotFound {
                what: "file or folder",
            })?;
        Ok(self.inner.with_open(attr).await)
    }

    /// What a path from the root stands for. Symbolic links are not followed; empty components and `.` are passed over.
    ///
    /// # Errors
    /// As for [`lookup`](Self::lookup); [`VaultError::BadName`] for `..` and other impossible components.
    pub async fn resolve(&self, ctx: &Context, path: &[u8]) -> Result<Attr> {
        let mut attr = self.attr(ctx, NodeId::ROOT).await?;
        for part in path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
        {
            attr = self.lookup(ctx, attr.node, &Name::new(part)?).await?;
        }
        Ok(attr)
    }

    /// Up to `limit` entries of a folder after a place in its listing.
    ///
    /// # Errors
    /// [`VaultError::NotDir`], [`VaultError::Stale`]; errors of the catalogue.
    pub async fn list(
        &self,
        _ctx: &Context,
        dir: NodeId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<Listed>> {
        let mut listed = self.inner.catalog.list(dir, after, limit).await?;
        for entry in &mut listed {
            if let Some(file) = self.inner.open_file(entry.attr.node) {
                entry.attr = live(entry.attr.clone(), &*file.state.read().await, false);
            }
        }
        Ok(listed)
    }

    /// The parent of a folder; the root is its own.
    ///
    /// # Errors
    /// [`VaultError::NotFound`]; errors of the catalogue.
    pub async fn parent(&self, _ctx: &Context, dir: NodeId) -> Result<NodeId> {
        Ok(self.inner.catalog.parent(dir).await?)
    }

    /// The names from the root to a node; `None` for one without a name.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn path(&self, _ctx: &Context, node: NodeId) -> Result<Option<Vec<Name>>> {
        Ok(self.inner.catalog.path(node).await?)
    }

    /// Makes an empty file under a free name and opens it.
    ///
    /// # Errors
    /// [`VaultError::Exists`] when the name is taken; errors of the catalogue.
    pub async fn create_file(
        &self,
        ctx: &Context,
        parent: NodeId,
        name: &Name,
        mode: u32,
        access: Access,
    ) -> Result<(Attr, FileHandle)> {
        self.new_file(ctx, parent, name, (mode, None), access).await
    }

    /// Makes an empty file as [`create_file`](Self::create_file) does, unless its folder has an extended attribute: `None` then, and
    /// nothing was made. In one request to the catalogue, so nobody can give the folder the attribute in between.
    ///
    /// # Errors
    /// As for [`create_file`](Self::create_file).
    pub async fn create_file_unless(
        &self,
        ctx: &Context,
        parent: NodeId,
        name: &Name,
        (mode, unless): (u32, &'static [u8]),
        access: Access,
    ) -> Result<Option<(Attr, FileHandle)>> {
        let mode = (mode, Some(unless));
        match self.new_file(ctx, parent, name, mode, access).await {
            Ok(made) => Ok(Some(made)),
            Err(VaultError::Catalog(CatalogError::Refused)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn new_file(
        &self,
        ctx: &Context,
        parent: NodeId,
        name: &Name,
        (mode, unless): (u32, Option<&'static [u8]>),
        access: Access,
    ) -> Result<(Attr, FileHandle)> {
        let unnamed = self.inner.unnamed_so_far();
        let kind = NodeKind::File;
        let attr = self
            .make(ctx, parent, name, kind, mode, 0, Vec::new(), unless)
            .await?;
        self.inner.file_came(ctx, parent, name, &attr).await;
        // The making has its line in the audit log; the opening is part of it.
        let mut handle = self.inner.handle(attr.node, access);
        handle.hold(ctx);
        handle.begin_empty(&attr).await;
        // Somebody else here may have removed it before it counted as open, unless nobody here took any name away since before it was made: whoever
        // does from now on finds it open. What another machine removes meanwhile is saved as a copy.
        if unnamed.is_none() || unnamed != self.inner.unnamed_so_far() {
            let still = self.inner.catalog.attr(attr.node).await?;
            if still.is_none_or(|attr| attr.nlink == 0) {
                handle.file().state.write().await.unlinked = true;
            }
        }
        Ok((attr, handle))
    }

    /// Makes a folder.
    ///
    /// # Errors
    /// As for [`create_file`](Self::create_file).
    pub async fn make_dir(
        &self,
        ctx: &Context,
        parent: NodeId,
        name: &Name,
        mode: u32,
    ) -> Result<Attr> {
        self.make(ctx, parent, name, NodeKind::Dir, mode, 0, Vec::new(), None)
            .await
    }

    /// Makes an empty file, a named pipe, a socket or a device.
    ///
    /// # Errors
    /// As for [`create_file`](Self::create_file); [`VaultError::Invalid`] for folders and links.
    pub async fn make_node(
        &self,
        ctx: &Context,
        parent: NodeId,
        name: &Name,
        kind: NodeKind,
        mode: u32,
        rdev: u32,
    ) -> Result<Attr> {
        if matches!(kind, NodeKind::Dir | NodeKind::Symlink) {
            return Err(VaultError::Invalid {
                what: "folders and links are made otherwise",
            });
        }
        let attr = self
            .make(ctx, parent, name, kind, mode, rdev, Vec::new(), None)
            .await?;
        self.inner.file_came(ctx, parent, name, &attr).await;
        Ok(attr)
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// As for [`create_file`](Self::create_file); [`VaultError::Invalid`] for an empty target or one over 4,095 bytes.
    pub async fn make_symlink(
        &self,
        ctx: &Context,
        parent: NodeId,
        name: &Name,
        target: &[u8],
    ) -> Result<Attr> {
        if target.is_empty() || target.len() > 4095 {
            return Err(VaultError::Invalid {
                what: "a link points to a path of 1 to 4,095 bytes",
            });
        }
        self.make(
            ctx,
            parent,
            name,
            NodeKind::Symlink,
            0o777,
            0,
            target.to_vec(),
            None,
        )
        .await
    }

    #[allow(clippy::too_many_arguments)]
    async fn make(
        &self,
        ctx: &Context,
        parent: NodeId,
        name: &Name,
        kind: NodeKind,
        mode: u32,
        rdev: u32,
        target: Vec<u8>,
        unless: Option<&'static [u8]>,
    ) -> Result<Attr> {
        let write = self.write(ctx, Act::Create, Some(parent), name)?;
        let document = if kind == NodeKind::File {
            FileId::fresh()?
        } else {
            FileId::NIL
        };
        let new = NewNode {
            kind,
            mode: mode & 0o7777,
            uid: ctx.uid,
            gid: ctx.gid,
            rdev,
            target,
            document,
            inherits: true,
            unless,
        };
        Ok(self.inner.catalog.create(parent, name, new, write).await?)
    }

    /// Where a symbolic link points.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] for what is no link; errors of the catalogue.
    pub async fn read_link(&self, _ctx: &Context, node: NodeId) -> Result<Vec<u8>> {
        Ok(self.inner.catalog.read_link(node).await?)
    }

    /// Gives a node that is no folder a further name.
    ///
    /// # Errors
    /// [`VaultError::Exists`], [`VaultError::IsDir`], [`VaultError::TooManyLinks`]; errors of the catalogue.
    pub async fn link(
        &self,
        ctx: &Context,
        node: NodeId,
        parent: NodeId,
        name: &Name,
    ) -> Result<Attr> {
        let write = self.write(ctx, Act::Link, Some(node), name)?;
        let attr = self.inner.catalog.link(node, parent, name, write).await?;
        if let Some(file) = self.inner.open_file(node) {
            file.state.write().await.unlinked = false;
        }
        Ok(attr)
    }

    /// Takes a name away from a node that is no folder. A file that is open lives on without a name until it is closed.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::IsDir`]; errors of the catalogue.
    pub async fn remove(&self, ctx: &Context, parent: NodeId, name: &Name) -> Result<()> {
        let write = self.write(ctx, Act::Remove, Some(parent), name)?;
        let unnaming = self.inner.begin_unnaming().await;
        let open = self.inner.open_of(parent, name).await?;
        let catalog = &self.inner.catalog;
        let gone = catalog.unlink(parent, name, &open, write).await?;
        let kept = open.contains(&gone.node);
        self.inner.left_without_name(&gone, kept).await?;
        drop(unnaming);
        self.inner.file_went(ctx, parent, name, &gone).await;
        Ok(())
    }

    /// Removes a name as [`remove`](Self::remove) does, provided that it still stands for this node with this head.
    pub(crate) async fn remove_if(
        &self,
        ctx: &Context,
        parent: NodeId,
        name: &Name,
        what: (NodeId, Option<ExtentId>),
    ) -> Result<()> {
        let write = self.write(ctx, Act::Remove, Some(parent), name)?;
        let unnaming = self.inner.begin_unnaming().await;
        let keep = self.inner.open_file(what.0).is_some();
        let catalog = &self.inner.catalog;
        let gone = catalog.unlink_if(parent, name, what, keep, write).await?;
        self.inner.left_without_name(&gone, keep).await?;
        drop(unnaming);
        self.inner.file_went(ctx, parent, name, &gone).await;
        Ok(())
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::NotDir`], [`VaultError::NotEmpty`]; errors of the catalogue.
    pub async fn remove_dir(&self, ctx: &Context, parent: NodeId, name: &Name) -> Result<()> {
        let write = self.write(ctx, Act::Remove, Some(parent), name)?;
        Ok(self.inner.catalog.rmdir(parent, name, write).await?)
    }

    /// Changes a name, in one transaction. A file that replaces another becomes that document's next version.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Exists`], [`VaultError::NotEmpty`], [`VaultError::IsDir`],
    /// [`VaultError::NotDir`], [`VaultError::Loop`]; errors of the catalogue.
    pub async fn rename(
        &self,
        ctx: &Context,
        from: (NodeId, &Name),
        to: (NodeId, &Name),
        mode: RenameMode,
    ) -> Result<Renamed> {
        let mut write = self.write(ctx, Act::Rename, Some(from.0), from.1)?;
        write.audit.detail = format!("{} → {}", from.1.display(), to.1.display());
        let leaves = self.inner.becomes_backup(from, to).await?;
        let unnaming = self.inner.begin_unnaming().await;
        let open = self.inner.open_of(to.0, to.1).await?;
        let renamed = self
            .inner
            .catalog
            .rename(from, to, mode, &open, write)
            .await?;
        if let (Some(other), RenameMode::Replace) = (&renamed.other, mode) {
            let kept = open.contains(&other.node);
            self.inner.left_without_name(other, kept).await?;
        }
        drop(unnaming);
        self.inner.renumber(&renamed.moved).await;
        if mode != RenameMode::Exchange {
            let over = renamed.other.is_some();
            self.inner
                .file_moved(ctx, from, to, (over, leaves), &renamed.moved)
                .await;
        }
        Ok(renamed)
    }

    /// Changes mode, owner and times; for the size there is [`truncate`](Self::truncate).
    ///
    /// # Errors
    /// [`VaultError::NotFound`]; errors of the catalogue.
    pub async fn set_attr(&self, ctx: &Context, node: NodeId, change: &AttrChange) -> Result<Attr> {
        self.inner.writable()?;
        let audit = ctx.entry(
            Act::SetAttr,
            Some(node),
            describe(change),
            self.inner.clock.now(),
        );
        let attr = self
            .inner
            .catalog
            .set_attr(
                node,
                change,
                Write {
                    audit,
                    durability: Durability::Soon,
                },
            )
            .await?;
        if let (Some(mtime), Some(file)) = (change.mtime, self.inner.open_file(node)) {
            // A save to come must not undo it.
            file.state.write().await.mtime = mtime;
        }
        Ok(self.inner.with_open(attr).await)
    }

    /// Sets a file's size. Saves at once, but for a file that somebody is in the middle of changing: whoever that is saves both.
    ///
    /// # Errors
    /// As for [`FileHandle::write`] and [`FileHandle::flush`].
    pub async fn truncate(&self, ctx: &Context, node: NodeId, size: u64) -> Result<Attr> {
        let handle = self.open(ctx, node, Access::READ_WRITE).await?;
        let changed = async {
            let halfway = handle.file().state.read().await.needs_saving();
            handle.set_size(ctx, size).await?;
            match halfway {
                true => Ok(()),
                false => handle.flush(ctx).await,
            }
        }
        .await;
        let released = handle.release(ctx).await;
        changed?;
        released?;
        self.attr(ctx, node).await
    }

    /// A node's extended attributes.
    ///
    /// # Errors
    /// [`VaultError::NotFound`]; errors of the catalogue.
    pub async fn xattrs(&self, _ctx: &Context, node: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(self.inner.catalog.xattrs(node).await?)
    }

    /// One extended attribute.
    ///
    /// # Errors
    /// [`VaultError::NoXattr`]; errors of the catalogue.
    pub async fn xattr(&self, _ctx: &Context, node: NodeId, name: &[u8]) -> Result<Vec<u8>> {
        Ok(self.inner.catalog.xattr(node, name).await?)
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// [`VaultError::Exists`] and [`VaultError::NoXattr`] as `mode` asks; errors of the catalogue.
    pub async fn set_xattr(
        &self,
        ctx: &Context,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<()> {
        let write = self.write_text(ctx, Act::SetXattr, node, name)?;
        Ok(self
            .inner
            .catalog
            .set_xattr(node, name, value, mode, write)
            .await?)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// [`VaultError::NoXattr`]; errors of the catalogue.
    pub async fn remove_xattr(&self, ctx: &Context, node: NodeId, name: &[u8]) -> Result<()> {
        let write = self.write_text(ctx, Act::SetXattr, node, name)?;
        Ok(self.inner.catalog.remove_xattr(node, name, write).await?)
    }

    fn write(&self, ctx: &Context, act: Act, node: Option<NodeId>, name: &Name) -> Result<Write> {
        self.inner.writable()?;
        let audit = ctx.entry(act, node, name.display(), self.inner.clock.now());
        Ok(Write {
            audit,
            durability: Durability::Soon,
        })
    }

    fn write_text(&self, ctx: &Context, act: Act, node: NodeId, text: &[u8]) -> Result<Write> {
        self.inner.writable()?;
        let audit = ctx.entry(
            act,
            Some(node),
            String::from_utf8_lossy(text),
            self.inner.clock.now(),
        );
        Ok(Write {
            audit,
            durability: Durability::Soon,
        })
    }
}

impl Inner {
    /// Attributes with what an open file has not saved yet.
    async fn with_open(&self, attr: Attr) -> Attr {
        match self.open_file(attr.node) {
            Some(file) => live(attr, &*file.state.read().await, false),
            None => attr,
        }
    }

    /// To be held while a name is taken away, from before it is found out what is open until what was open has been told.
    async fn begin_unnaming(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        let unnaming = self.unnaming.read().await;
        self.unnamed.fetch_add(1, Ordering::SeqCst);
        unnaming
    }

    /// How often the taking away of a name has begun here; `None` while one is not at its end. Where it is the same later, nobody has
    /// taken a name away in between.
    fn unnamed_so_far(&self) -> Option<u64> {
        // In this order: who begins after the count was taken shows in the next one.
        let begun = self.unnamed.load(Ordering::SeqCst);
        self.unnaming.try_write().is_ok().then_some(begun)
    }

    /// The nodes that are to be kept when this name is taken away: those that are open here, or, where many are, what the name stands for
    /// if it is among them.
    async fn open_of(&self, parent: NodeId, name: &Name) -> Result<Vec<NodeId>> {
        {
            let registry = self.registry();
            if registry.len() <= FEW_OPEN {
                return Ok(registry.keys().copied().collect());
            }
        }
        let there = self.catalog.lookup(parent, name).await?;
        let open = there.filter(|attr| self.open_file(attr.node).is_some());
        Ok(open.map(|attr| attr.node).into_iter().collect())
    }

    /// After a name was taken away: an open file that has none left is not saved any more, and forgotten at the last close.
    async fn left_without_name(&self, attr: &Attr, kept: bool) -> Result<()> {
        if attr.nlink > 0 || attr.kind == NodeKind::Dir {
            return Ok(());
        }
        self.gone_here.note(attr.node);
        match self.open_file(attr.node) {
            // Perhaps opened in between, and forgotten by the catalogue.
            Some(file) => file.state.write().await.unlinked = true,
            // Closed in between.
            None if kept => self.catalog.forget(attr.node).await?,
            None => {}
        }
        Ok(())
    }
}

impl FileHandle {
    /// The file was made just now, and is as empty as its state; nothing has to be read.
    async fn begin_empty(&self, attr: &Attr) {
        self.file().know(attr);
        self.file().state.write().await.catch_up(attr, None);
    }
}

fn describe(change: &AttrChange) -> String {
    let mut parts = Vec::new();
    parts.extend(change.mode.map(|mode| format!("mode {mode:o}")));
    parts.extend(change.uid.map(|uid| format!("uid {uid}")));
    parts.extend(change.gid.map(|gid| format!("gid {gid}")));
    let time = |what: &str, time: &Timestamp| format!("{what} {}.{:09}", time.secs, time.nanos);
    parts.extend(change.atime.as_ref().map(|at| time("atime", at)));
    parts.extend(change.mtime.as_ref().map(|at| time("mtime", at)));
    parts.join(", ")
}

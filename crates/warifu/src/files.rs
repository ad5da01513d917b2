//! Files by their paths: the short way for those who embed a vault.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use warifu_core::head::Timestamp;
use warifu_core::ids::{FileId, VersionNo};
use warifu_core::secret::SecretBytes;
use warifu_vault::node::{Attr, AttrChange, BadName, Name, NodeKind};
use warifu_vault::seam::catalog::RenameMode;
use warifu_vault::{Access, FileHandle, VaultError};

use crate::path::VaultPath;
use crate::{Error, Warifu};

/// How much is read or written at a time, in bytes.
pub const BLOCK: usize = 1 << 20;

/// For opening a file to read.
pub const READ: Access = Access {
    read: true,
    write: false,
    truncate: false,
};
/// For opening a file to write anew.
pub const WRITE: Access = Access {
    read: false,
    write: true,
    truncate: true,
};

/// Attributes for a file that is written; `None` leaves what the file had, or what a new file gets.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileMeta {
    /// Permission, set-id and sticky bits.
    pub mode: Option<u32>,
    /// Last change of contents.
    pub mtime: Option<Timestamp>,
}

impl Warifu {
    /// What a path stands for. Symbolic links are not followed.
    ///
    /// # Errors
    /// As [`Vault::resolve`](warifu_vault::Vault::resolve).
    pub async fn stat(&self, path: &VaultPath) -> Result<Attr, VaultError> {
        self.vault().resolve(self.context(), &path.to_bytes()).await
    }

    /// A file's contents. For large files [`copy_out`](Self::copy_out) needs less memory.
    ///
    /// # Errors
    /// [`Error::Path`], [`Error::Vault`].
    pub async fn read_file(&self, path: &str) -> Result<SecretBytes, Error> {
        let path = VaultPath::parse(path)?;
        let attr = self.stat(&path).await?;
        let handle = self.vault().open(self.context(), attr.node, READ).await?;
        let read = async {
            let size = handle.attr().await?.size;
            let len = usize::try_from(size).map_err(|_| VaultError::TooLarge {
                size,
                limit: usize::MAX as u64,
            })?;
            handle.read(0, len).await
        };
        let read = read.await;
        let released = handle.release(self.context()).await;
        let contents = read?;
        released?;
        Ok(contents.into_own())
    }

    /// Writes a file: a new one, or the next version of the one that is there.
    ///
    /// # Errors
    /// [`Error::Path`], [`Error::Vault`]; the old version is untouched then.
    pub async fn write_file(&self, path: &str, contents: &[u8]) -> Result<Attr, Error> {
        let mut contents = contents;
        self.copy_in(
            &VaultPath::parse(path)?,
            &mut contents,
            FileMeta::default(),
            |_| (),
        )
        .await
    }

    /// Writes a file from a stream: a new one, or the next version of the one that is there. Nobody sees a part of it:
    /// when the stream fails, a new file is taken back and an old one is as it was.
    ///
    /// `progress` hears of every stretch written.
    ///
    /// # Errors
    /// [`Error::Stream`] when the stream fails, [`Error::Vault`].
    pub async fn copy_in(
        &self,
        path: &VaultPath,
        from: &mut (dyn AsyncRead + Send + Unpin),
        meta: FileMeta,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<Attr, Error> {
        let (folder, name) = path.split().ok_or(VaultError::IsDir)?;
        let parent = self.stat(&folder).await?;
        let old = match self.vault().lookup(self.context(), parent.node, name).await {
            Ok(attr) if attr.kind == NodeKind::Dir => return Err(VaultError::IsDir.into()),
            Ok(attr) => Some(attr),
            Err(VaultError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        // What replaces a file is written under a name of its own and then takes its place, as Word does: a stream that
        // breaks off leaves the old file, and the rename keeps its history.
        let working = match &old {
            None => name.clone(),
            Some(_) => working_name()?,
        };
        let mode = meta
            .mode
            .or(old.as_ref().map(|attr| attr.mode))
            .unwrap_or(0o644);
        let (attr, handle) = self
            .vault()
            .create_file(self.context(), parent.node, &working, mode, WRITE)
            .await?;
        let written = self
            .fill(&attr, &handle, from, meta, mode, &mut progress)
            .await;
        if written.is_err() {
            // Removed before it is released, so that no part of it is saved.
            let _ = self
                .vault()
                .remove(self.context(), parent.node, &working)
                .await;
        }
        let released = handle.release(self.context()).await;
        written?;
        released?;
        if old.is_some() {
            let renamed = self
                .vault()
                .rename(
                    self.context(),
                    (parent.node, &working),
                    (parent.node, name),
                    RenameMode::Replace,
                )
                .await;
            return match renamed {
                Ok(renamed) => Ok(renamed.moved),
                Err(error) => {
                    let _ = self
                        .vault()
                        .remove(self.context(), parent.node, &working)
                        .await;
                    Err(error.into())
                }
            };
        }
        Ok(self.vault().attr(self.context(), attr.node).await?)
    }

    async fn fill(
        &self,
        attr: &Attr,
        handle: &FileHandle,
        from: &mut (dyn AsyncRead + Send + Unpin),
        meta: FileMeta,
        mode: u32,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), Error> {
        let mut block = SecretBytes::with_len(BLOCK);
        let mut offset = 0;
        loop {
            let mut len = 0;
            while let Some(rest) = block
                .expose_mut()
                .get_mut(len..)
                .filter(|rest| !rest.is_empty())
            {
                match from.read(rest).await.map_err(Error::Stream)? {
                    0 => break,
                    more => len += more,
                }
            }
            let Some(data) = block.expose().get(..len).filter(|data| !data.is_empty()) else {
                break;
            };
            let mut written = 0;
            while let Some(rest) = data.get(written..).filter(|rest| !rest.is_empty()) {
                match handle.write(self.context(), offset, rest).await? {
                    0 => {
                        return Err(VaultError::Invalid {
                            what: "nothing was written",
                        }
                        .into());
                    }
                    more => {
                        written += more;
                        offset += more as u64;
                    }
                }
            }
            progress(len as u64);
        }
        let change = AttrChange {
            mode: Some(mode),
            mtime: meta.mtime,
            ..AttrChange::default()
        };
        self.vault()
            .set_attr(self.context(), attr.node, &change)
            .await?;
        handle.flush(self.context()).await?;
        Ok(())
    }

    /// Writes a file's contents into a stream: of its current version, or of another one.
    ///
    /// `progress` hears of every stretch read.
    ///
    /// # Errors
    /// [`Error::Stream`] when the stream fails, [`Error::Vault`].
    pub async fn copy_out(
        &self,
        attr: &Attr,
        version: Option<VersionNo>,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<u64, Error> {
        let handle = match version {
            None => self.vault().open(self.context(), attr.node, READ).await?,
            Some(version) => {
                self.vault()
                    .open_version(self.context(), attr.node, version)
                    .await?
            }
        };
        let copied = async {
            let mut offset = 0;
            loop {
                let block = handle.read(offset, BLOCK).await?;
                if block.is_empty() {
                    break;
                }
                to.write_all(block.expose()).await.map_err(Error::Stream)?;
                offset += block.len() as u64;
                progress(block.len() as u64);
            }
            to.flush().await.map_err(Error::Stream)?;
            Ok::<u64, Error>(offset)
        };
        let copied = copied.await;
        let released = handle.release(self.context()).await;
        let copied = copied?;
        released?;
        Ok(copied)
    }

    /// Makes a folder and those that it lies in, as far as they are missing.
    ///
    /// # Errors
    /// `NotDir` when something else is in the way, and as [`Vault::make_dir`](warifu_vault::Vault::make_dir).
    pub async fn make_dirs(&self, path: &VaultPath, mode: u32) -> Result<Attr, VaultError> {
        let mut at = self.stat(&VaultPath::ROOT).await?;
        for name in path.names() {
            at = match self
                .vault()
                .make_dir(self.context(), at.node, name, mode)
                .await
            {
                // Somebody else may make it at the same moment.
                Err(VaultError::Exists) => {
                    self.vault().lookup(self.context(), at.node, name).await?
                }
                other => other?,
            };
            if at.kind != NodeKind::Dir {
                return Err(VaultError::NotDir);
            }
        }
        Ok(at)
    }

    /// The entries of a folder, ascending by name.
    ///
    /// # Errors
    /// As [`Vault::list`](warifu_vault::Vault::list).
    pub async fn entries(&self, dir: &Attr) -> Result<Vec<(Name, Attr)>, VaultError> {
        let mut entries = Vec::new();
        let mut after = None;
        loop {
            let page = self
                .vault()
                .list(self.context(), dir.node, after, LIST_PAGE)
                .await?;
            let more = page.len() == LIST_PAGE;
            after = page.last().map(|entry| entry.cursor);
            entries.extend(page.into_iter().map(|entry| (entry.name, entry.attr)));
            if !more {
                break;
            }
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(entries)
    }

    /// Begins a walk through everything at and below a path: each folder before what is in it.
    ///
    /// # Errors
    /// As [`stat`](Self::stat).
    pub async fn walk(&self, start: VaultPath) -> Result<Walk<'_>, VaultError> {
        let attr = self.stat(&start).await?;
        Ok(Walk {
            warifu: self,
            waiting: vec![(start, attr)],
        })
    }

    /// Removes a file, or a folder with all that is in it.
    ///
    /// # Errors
    /// What was not removed stays; the first error is told.
    pub async fn remove_all(&self, path: &VaultPath) -> Result<(), VaultError> {
        let (folder, name) = path.split().ok_or(VaultError::Invalid {
            what: "the root cannot be removed",
        })?;
        let parent = self.stat(&folder).await?;
        let attr = self
            .vault()
            .lookup(self.context(), parent.node, name)
            .await?;
        if attr.kind != NodeKind::Dir {
            return self.vault().remove(self.context(), parent.node, name).await;
        }
        let mut dirs = vec![(parent, name.clone())];
        let mut waiting = vec![attr];
        while let Some(dir) = waiting.pop() {
            for (name, attr) in self.entries(&dir).await? {
                if attr.kind == NodeKind::Dir {
                    dirs.push((dir.clone(), name));
                    waiting.push(attr);
                } else {
                    self.vault().remove(self.context(), dir.node, &name).await?;
                }
            }
        }
        // A folder was noted before those in it, so backwards each is empty when its turn comes.
        for (parent, name) in dirs.into_iter().rev() {
            self.vault()
                .remove_dir(self.context(), parent.node, &name)
                .await?;
        }
        Ok(())
    }
}

/// How many entries are asked for at a time.
const LIST_PAGE: usize = 1024;

/// A name that nobody uses, for a file that is not to be seen yet.
fn working_name() -> Result<Name, Error> {
    let fresh = FileId::fresh().map_err(VaultError::from)?.to_string();
    Ok(Name::new(format!(".warifu-{fresh}").as_bytes())?)
}

/// A walk through a vault; see [`Warifu::walk`].
#[derive(Debug)]
pub struct Walk<'a> {
    warifu: &'a Warifu,
    waiting: Vec<(VaultPath, Attr)>,
}

impl Walk<'_> {
    /// The next path and what it stands for; `None` at the end.
    ///
    /// # Errors
    /// As [`Warifu::entries`]. The walk can go on without that folder.
    pub async fn next(&mut self) -> Result<Option<(VaultPath, Attr)>, VaultError> {
        let Some((path, attr)) = self.waiting.pop() else {
            return Ok(None);
        };
        if attr.kind == NodeKind::Dir {
            let entries = match self.warifu.entries(&attr).await {
                // Removed meanwhile.
                Err(VaultError::NotFound { .. }) => Vec::new(),
                other => other?,
            };
            self.waiting.extend(
                entries
                    .into_iter()
                    .rev()
                    .map(|(name, attr)| (path.join(name), attr)),
            );
        }
        Ok(Some((path, attr)))
    }
}

impl From<BadName> for Error {
    fn from(error: BadName) -> Self {
        Self::Path(error)
    }
}

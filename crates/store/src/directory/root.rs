//! The folder of a store: finding it, knowing it again, and noticing when it is gone.
//!
//! A mount point whose server has vanished is an empty folder, and an empty folder looks like a store that lost
//! everything. So every store carries a marker file with a random mark. A name that is not found counts as absent only
//! while the marker is there, and a folder that comes back is taken up again only under the same mark.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use warifu_vault::seam::store::{ObjectKey, StoreError, StoreErrorKind};

use super::errno::{failed, kind_of};
use super::put::Placing;
use crate::error::OpenError;
use crate::layout::{
    BadMark, LOST_FOUND, MARKER, MARKER_LIMIT, Mark, OBJECTS, Place, STALE_AFTER_SECS, TMP,
    is_temp_name, shard_folder, shard_of,
};

pub(super) const FOLDER_MODE: Mode = Mode::RWXU;
pub(super) const READ_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
/// A pipe put in an object's place must not make us wait, and a link must not lead us out of the folder.
pub(super) const READ_FILE: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK);
/// Which directory this is, whatever path led to it: equal for two paths exactly when both lead to one directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The device. Equal for all folders of one file system, which then fail together.
    pub device: u64,
    /// The directory's number on that device.
    pub inode: u64,
}

impl Identity {
    /// Finds out which directory lies at `path`, through symbolic links and `..`.
    ///
    /// # Errors
    /// What the operating system said, `NotFound` when there is nothing.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let stat = rustix::fs::statat(CWD, path, AtFlags::empty())?;
        Ok(Self::from_stat(&stat))
    }

    fn from_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

enum MarkError {
    Errno(Errno),
    Bad(BadMark),
}

/// An opened store folder.
pub(super) struct Root {
    pub path: PathBuf,
    pub dir: OwnedFd,
    pub identity: Identity,
    pub mark: Mark,
    /// Whether the file system is the machine's own: `syncfs` reaches its disk, and a write error shows at the write
    /// or at the fsync, never first at a close.
    pub local: bool,
    pub placing: OnceLock<Placing>,
    /// Shard folders whose own entries in `objects` are known to be on disk.
    durable_shards: Vec<AtomicBool>,
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("path", &self.path)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Root {
    /// Opens the folder and checks that it is a store.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let dir = open_folder(path)?;
        let mark = match read_mark(&dir) {
            Ok(mark) => mark,
            Err(MarkError::Errno(Errno::NOENT)) => {
                let empty = top_entries(&dir).is_ok_and(|names| names.is_empty());
                return Err(OpenError::NotAStore {
                    path: path.into(),
                    empty,
                });
            }
            Err(MarkError::Errno(errno)) => {
                return Err(OpenError::io(path, "cannot read the marker file of", errno));
            }
            Err(MarkError::Bad(BadMark::Damaged)) => {
                return Err(OpenError::DamagedMarker { path: path.into() });
            }
            Err(MarkError::Bad(BadMark::Newer(version))) => {
                return Err(OpenError::Newer {
                    path: path.into(),
                    version,
                });
            }
        };
        Self::with(path, dir, mark)
    }

    /// Takes up a folder whose mark is known (or is about to be written).
    pub(super) fn with(path: &Path, dir: OwnedFd, mark: Mark) -> Result<Self, OpenError> {
        let stat = rustix::fs::fstat(&dir)
            .map_err(|errno| OpenError::io(path, "cannot look at", errno))?;
        let local = rustix::fs::fstatfs(&dir).is_ok_and(|fs| is_local(fs.f_type));
        Ok(Self {
            path: path.into(),
            dir,
            identity: Identity::from_stat(&stat),
            mark,
            local,
            placing: OnceLock::new(),
            durable_shards: (0..=u8::MAX).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    /// Checks that the folder is still the store that was opened.
    pub(super) fn confirm(&self) -> Result<(), StoreError> {
        match read_mark(&self.dir) {
            Ok(mark) if mark == self.mark => Ok(()),
            Err(MarkError::Errno(errno)) if errno != Errno::NOENT => Err(failed(
                format_args!("cannot read the marker file of {}", self.path.display()),
                errno,
            )),
            _ => Err(not_the_store(&self.path)),
        }
    }

    /// What to answer when the kernel says that `name` is not there.
    pub(super) fn absent(&self, name: &ObjectKey) -> StoreError {
        match self.confirm() {
            Ok(()) => StoreError::new(
                StoreErrorKind::NotFound,
                format!("there is no object {name} in {}", self.path.display()),
            ),
            Err(error) => error,
        }
    }

    /// Makes the shard's folder, and what is above it. Only in a folder that is still the store.
    pub(super) fn make_shard(&self, shard: u8) -> Result<(), StoreError> {
        let folder = shard_folder(shard);
        match self.make_folder(&folder) {
            Err(Errno::NOENT) => {
                self.confirm()?;
                self.make_folder(OBJECTS)
                    .and_then(|()| self.make_folder(&folder))
            }
            done => done,
        }
        .map_err(|errno| {
            failed(
                format_args!("cannot make the folder {folder} in {}", self.path.display()),
                errno,
            )
        })
    }

    pub(super) fn make_folder(&self, folder: &str) -> Result<(), Errno> {
        match rustix::fs::mkdirat(&self.dir, folder, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Puts the names of the folder that holds `place` on disk, and the folder's own name too.
    pub(super) fn sync_folder_of(&self, place: &Place) -> Result<(), Errno> {
        self.sync_folder(&place.folder())?;
        let Some(shard) = place.shard else {
            return Ok(());
        };
        let Some(known) = self.durable_shards.get(usize::from(shard)) else {
            return Ok(());
        };
        if !known.load(Ordering::Acquire) {
            // Whoever made the shard folder may not have synced its name yet: another task, or another process.
            let present = self.shards_present();
            self.sync_folder(OBJECTS)?;
            for shard in present.into_iter().chain([shard]) {
                if let Some(known) = self.durable_shards.get(usize::from(shard)) {
                    known.store(true, Ordering::Release);
                }
            }
        }
        Ok(())
    }

    fn shards_present(&self) -> Vec<u8> {
        let Ok(dir) =
            rustix::fs::openat(&self.dir, OBJECTS, READ_DIR, Mode::empty()).and_then(Dir::new)
        else {
            return Vec::new();
        };
        dir.flatten()
            .filter_map(|entry| shard_of(entry.file_name().to_bytes()))
            .collect()
    }

    /// Puts a folder's entries on disk.
    pub(super) fn sync_folder(&self, folder: &str) -> Result<(), Errno> {
        let dir = rustix::fs::openat(&self.dir, folder, READ_DIR, Mode::empty())?;
        match rustix::fs::fsync(&dir) {
            // Some network file systems have no such thing for folders; their servers write names at once.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            done => done,
        }
    }

    /// Removes temporary files that a crash left behind. They are in nobody's way, so failures are only noted.
    pub(super) fn sweep(&self, now_secs: i64) {
        let Ok(dir) =
            rustix::fs::openat(&self.dir, TMP, READ_DIR, Mode::empty()).and_then(Dir::new)
        else {
            return;
        };
        let mut swept = 0_u64;
        for entry in dir.flatten() {
            let Some(name) = entry
                .file_name()
                .to_str()
                .ok()
                .filter(|name| is_temp_name(name))
            else {
                continue;
            };
            let path = format!("{TMP}/{name}");
            let stale =
                rustix::fs::statat(&self.dir, &path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
                    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                        && now_secs.saturating_sub(stat.st_mtime) > STALE_AFTER_SECS
                });
            if stale && rustix::fs::unlinkat(&self.dir, &path, AtFlags::empty()).is_ok() {
                swept += 1;
            }
        }
        if swept > 0 {
            tracing::info!(store = %self.path.display(), swept, "removed temporary files left by a crash");
        }
    }
}

/// Opens a folder that must be there.
pub(super) fn open_folder(path: &Path) -> Result<OwnedFd, OpenError> {
    match rustix::fs::openat(CWD, path, READ_DIR, Mode::empty()) {
        Ok(dir) => Ok(dir),
        Err(Errno::NOENT) => Err(OpenError::Missing { path: path.into() }),
        Err(Errno::NOTDIR) => Err(OpenError::NotAFolder { path: path.into() }),
        Err(errno) => Err(OpenError::io(path, "cannot open", errno)),
    }
}

/// Names at the top of a folder, `.`, `..` and what mkfs made left out.
pub(super) fn top_entries(dir: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if !matches!(name.as_ref(), "." | ".." | LOST_FOUND) {
            names.push(name.into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a store's marker lies in this folder, readable or not.
pub(super) fn has_marker(path: &Path) -> bool {
    rustix::fs::openat(CWD, path, READ_DIR, Mode::empty()).is_ok_and(|dir| read_mark(&dir).is_ok())
}

fn read_mark(dir: &OwnedFd) -> Result<Mark, MarkError> {
    let file =
        rustix::fs::openat(dir, MARKER, READ_FILE, Mode::empty()).map_err(MarkError::Errno)?;
    let mut bytes = Vec::with_capacity(MARKER_LIMIT);
    loop {
        match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes)) {
            Ok(0) => break,
            Ok(_) if bytes.len() >= MARKER_LIMIT => return Err(MarkError::Bad(BadMark::Damaged)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(MarkError::Errno(errno)),
        }
    }
    Mark::parse(&bytes).map_err(MarkError::Bad)
}

pub(super) fn not_the_store(path: &Path) -> StoreError {
    StoreError::new(
        StoreErrorKind::NoAnswer,
        format!(
            "the folder {} is not the store that was opened (not mounted?)",
            path.display()
        ),
    )
}

/// What a folder that cannot be opened means to a request.
pub(super) fn unopened(error: &OpenError) -> StoreError {
    let kind = match error {
        OpenError::Missing { .. }
        | OpenError::NotAFolder { .. }
        | OpenError::NotAStore { .. }
        | OpenError::DamagedMarker { .. }
        | OpenError::NoAnswer { .. } => StoreErrorKind::NoAnswer,
        OpenError::Io { source, .. } => {
            let kind = source.raw_os_error().map_or(StoreErrorKind::Failed, |raw| {
                kind_of(Errno::from_raw_os_error(raw))
            });
            // A folder that answers EEXIST or ENOSPC to being opened has said nothing that a caller could use.
            if matches!(kind, StoreErrorKind::Denied | StoreErrorKind::NoAnswer) {
                kind
            } else {
                StoreErrorKind::Failed
            }
        }
        // A newer format; the others are not about folders.
        _ => StoreErrorKind::Failed,
    };
    StoreError::new(kind, error.to_string())
}

/// File systems of this machine, by the number that statfs gives.
fn is_local(magic: rustix::fs::FsWord) -> bool {
    matches!(
        u32::try_from(magic).unwrap_or_default(),
        0xEF53          // ext2, ext3, ext4
        | 0x5846_5342   // xfs
        | 0x9123_683E   // btrfs
        | 0x0102_1994   // tmpfs
        | 0x794C_7630   // overlayfs
        | 0xF2F5_2010   // f2fs
        | 0xCA45_1A4E   // bcachefs
        | 0x2FC1_2FC1 // zfs
    )
}

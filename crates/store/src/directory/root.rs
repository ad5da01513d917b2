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
use super::put;
use super::put::Placing;
use crate::error::OpenError;

pub(super) const MARKER: &str = "warifu-store";
pub(super) const OBJECTS: &str = "objects";
pub(super) const TMP: &str = "tmp";
/// Made by mkfs at the top of ext file systems; belongs to nobody.
pub(super) const LOST_FOUND: &str = "lost+found";

const FORMAT: u32 = 1;
pub(super) const FOLDER_MODE: Mode = Mode::RWXU;
pub(super) const READ_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
/// A pipe put in an object's place must not make us wait, and a link must not lead us out of the folder.
pub(super) const READ_FILE: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK);
/// A temporary file older than this was left by a crash; generous, as a file server's clock is its own.
const STALE_AFTER_SECS: i64 = 24 * 60 * 60;

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

/// The random mark in a store's marker file: which store this is, wherever it is mounted.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Mark(String);

impl Mark {
    pub(super) fn fresh() -> Result<Self, StoreError> {
        put::random_hex().map(Self)
    }

    pub(super) fn line(&self) -> String {
        format!("{MARKER} {FORMAT} {}\n", self.0)
    }

    fn parse(bytes: &[u8]) -> Result<Self, MarkError> {
        let text = std::str::from_utf8(bytes).map_err(|_| MarkError::Damaged)?;
        let mut words = text.lines().next().unwrap_or_default().split(' ');
        if words.next() != Some(MARKER) {
            return Err(MarkError::Damaged);
        }
        let format = words
            .next()
            .and_then(|word| word.parse::<u32>().ok())
            .ok_or(MarkError::Damaged)?;
        if format > FORMAT {
            return Err(MarkError::Newer(format));
        }
        match (words.next(), words.next()) {
            (Some(mark), None)
                if mark.len() == 32 && mark.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                Ok(Self(mark.to_owned()))
            }
            _ => Err(MarkError::Damaged),
        }
    }
}

enum MarkError {
    Errno(Errno),
    Damaged,
    Newer(u32),
}

/// Where an object lies under the folder.
pub(super) struct Place {
    /// Relative to the folder.
    pub path: String,
    /// The shard folder it lies in; `None` for what lies at the top.
    pub shard: Option<u8>,
}

impl Place {
    pub(super) fn of(name: &ObjectKey) -> Self {
        let text = name.as_str();
        match text.get(..2) {
            Some(shard) if name.is_share() => Self {
                path: format!("{OBJECTS}/{shard}/{text}"),
                shard: u8::from_str_radix(shard, 16).ok(),
            },
            _ => Self {
                path: text.to_owned(),
                shard: None,
            },
        }
    }

    /// The folder that holds the name, relative to the store's folder.
    pub(super) fn folder(&self) -> String {
        self.shard.map_or_else(|| ".".to_owned(), shard_folder)
    }
}

pub(super) fn shard_folder(shard: u8) -> String {
    format!("{OBJECTS}/{shard:02x}")
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
            Err(MarkError::Damaged) => return Err(OpenError::DamagedMarker { path: path.into() }),
            Err(MarkError::Newer(version)) => {
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
                .filter(|name| put::is_temp_name(name))
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

/// The two hexadecimal digits that name a shard folder.
pub(super) fn shard_of(name: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(name)
        .ok()
        .filter(|text| text.len() == 2)?;
    let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if lower {
        u8::from_str_radix(text, 16).ok()
    } else {
        None
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
    let mut bytes = Vec::with_capacity(256);
    loop {
        match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes)) {
            Ok(0) => break,
            Ok(_) if bytes.len() >= 256 => return Err(MarkError::Damaged),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(MarkError::Errno(errno)),
        }
    }
    Mark::parse(&bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_back_and_anything_else_is_refused() {
        let mark = Mark::fresh().unwrap();
        assert!(Mark::parse(mark.line().as_bytes()).is_ok_and(|read| read == mark));
        for text in [
            "",
            "warifu-store",
            "warifu-store 1",
            "warifu-store 1 12",
            "something 1 0123",
            "warifu-store x y",
        ] {
            assert!(
                matches!(Mark::parse(text.as_bytes()), Err(MarkError::Damaged)),
                "{text:?}"
            );
        }
        assert!(matches!(
            Mark::parse(&[0xFF, 0xFE]),
            Err(MarkError::Damaged)
        ));
        let newer = format!("warifu-store 2 {} and-more", "0".repeat(32));
        assert!(matches!(
            Mark::parse(newer.as_bytes()),
            Err(MarkError::Newer(2))
        ));
    }

    #[test]
    fn a_shard_is_two_lower_case_digits() {
        assert_eq!(shard_of(b"0a"), Some(10));
        for name in [&b"0A"[..], b"+a", b"a", b"abc", b"..", b"zz"] {
            assert_eq!(shard_of(name), None, "{name:?}");
        }
    }
}

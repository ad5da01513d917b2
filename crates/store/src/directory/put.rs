//! Writing an object: whole or not at all, and never over another.

use std::io::Read as _;
use std::os::fd::OwnedFd;

use rustix::fs::{Advice, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use warifu_vault::seam::store::{StoreError, StoreErrorKind};

use super::MAX_OBJECT;
use super::errno::failed;
use super::root::{READ_FILE, Root};
use crate::layout::{Place, TMP, random_hex};

const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const WRITE_NEW: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// So large an object is part of something larger, and will be waited for within a second: the disk writes it while the next is
/// made. Smaller ones are often followed by others of the same moment, which the disk takes together.
const LARGE: usize = 1 << 20;

/// How a finished file gets its name without replacing another. Measured once for each folder, never believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placing {
    /// `renameat2` with `RENAME_NOREPLACE`.
    Rename,
    /// `link`, then the temporary name is removed.
    Link,
    /// Written in place under an exclusively created name. A crash half-way leaves a part under the name, which the
    /// seal over each chunk finds out.
    Exclusive,
}

/// A file under a temporary name, removed again unless it gets its real one.
struct Temp<'a> {
    root: &'a Root,
    path: String,
    armed: bool,
}

impl<'a> Temp<'a> {
    fn name(root: &'a Root) -> Result<Self, StoreError> {
        Ok(Self {
            root,
            path: format!("{TMP}/{}", random_hex()?),
            armed: true,
        })
    }

    fn create(root: &'a Root) -> Result<(Self, OwnedFd), StoreError> {
        let temp = Self::name(root)?;
        let open = || rustix::fs::openat(&root.dir, &temp.path, WRITE_NEW, FILE_MODE);
        let file = match open() {
            Err(Errno::NOENT) => {
                root.confirm()?;
                root.make_folder(TMP).and_then(|()| open())
            }
            done => done,
        }
        .map_err(|errno| {
            failed(
                format_args!("cannot make a file in {}", root.path.display()),
                errno,
            )
        })?;
        Ok((temp, file))
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if self.armed {
            // What cannot be removed now is swept by age later.
            let _ = rustix::fs::unlinkat(&self.root.dir, &self.path, AtFlags::empty());
        }
    }
}

/// Writes a new file at `place`, and with `durable` puts it and its name on disk.
///
/// The file is returned open for writing, so that a later `fsync` through it learns of every write error since.
pub(super) fn write_new(
    root: &Root,
    place: &Place,
    bytes: &[u8],
    durable: bool,
) -> Result<OwnedFd, StoreError> {
    let file = match placing(root)? {
        Placing::Exclusive => write_in_place(root, place, bytes)?,
        placing => {
            let (mut temp, file) = Temp::create(root)?;
            // On a network mount before it gets its name: what NFS does in which order is the server's business.
            fill(&file, bytes, !root.local).map_err(|errno| cannot_write(root, place, errno))?;
            match in_shard(root, place, || give_name(root, &temp.path, place, placing))? {
                Ok(()) => {
                    temp.armed = placing == Placing::Link;
                    file
                }
                // A quota project, or a file system that links within one folder only.
                Err(Errno::XDEV) => write_in_place(root, place, bytes)?,
                // It may be what an earlier call has just named and not yet put on disk; whoever finds its own object there
                // takes it for as safe as asked for.
                Err(Errno::EXIST) if durable => {
                    put_on_disk(root, place).map_err(|errno| cannot_write(root, place, errno))?;
                    return Err(cannot_write(root, place, Errno::EXIST));
                }
                Err(errno) => return Err(cannot_write(root, place, errno)),
            }
        }
    };
    if !durable && root.local && bytes.len() >= LARGE {
        // Makes the disk begin to write it, and waits for nothing.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
    }
    if durable {
        // Name and contents together: a local file system's journal takes both in one turn. Whoever crashes before that
        // leaves what nobody was told of, and under a name that no other object can have.
        let on_disk = rustix::fs::fsync(&file).and_then(|()| root.sync_folder_of(place));
        on_disk.map_err(|errno| {
            let _ = rustix::fs::unlinkat(&root.dir, &place.path, AtFlags::empty());
            failed(
                format_args!(
                    "cannot put {} of {} on disk",
                    place.path,
                    root.path.display()
                ),
                errno,
            )
        })?;
    }
    Ok(file)
}

/// Writes an object that is there, and may not be on disk, once more as it is, and puts it there; false where there is none. Under its name is one at every
/// moment, of the same bytes: so nobody is harmed who has found it good, or does the same at the same time.
pub(super) fn write_again(root: &Root, place: &Place) -> Result<bool, StoreError> {
    let cannot = |errno| cannot_write(root, place, errno);
    let there = match rustix::fs::openat(&root.dir, &place.path, READ_FILE, Mode::empty()) {
        Ok(there) => there,
        Err(Errno::NOENT | Errno::LOOP) => return Ok(false),
        Err(errno) => return Err(cannot(errno)),
    };
    let stat = rustix::fs::fstat(&there).map_err(cannot)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
        || u64::try_from(stat.st_size).is_ok_and(|size| size > MAX_OBJECT as u64)
    {
        return Ok(false);
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::from(there)
        .take(MAX_OBJECT as u64)
        .read_to_end(&mut bytes);
    read.map_err(|error| cannot(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    let (mut temp, file) = Temp::create(root)?;
    fill(&file, &bytes, true).map_err(cannot)?;
    // Somebody may have put a better one in its place meanwhile.
    match rustix::fs::statat(&root.dir, &place.path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(now) if (now.st_dev, now.st_ino) == (stat.st_dev, stat.st_ino) => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(cannot(errno)),
    }
    rustix::fs::renameat(&root.dir, &temp.path, &root.dir, &place.path).map_err(cannot)?;
    temp.armed = false;
    root.sync_folder_of(place).map_err(cannot)?;
    Ok(true)
}

/// Puts an object that is there already, and its name, on disk. What is no file is no object of anybody's.
fn put_on_disk(root: &Root, place: &Place) -> Result<(), Errno> {
    let stat = rustix::fs::statat(&root.dir, &place.path, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(());
    }
    let file = rustix::fs::openat(&root.dir, &place.path, READ_FILE, Mode::empty())?;
    rustix::fs::fsync(&file)?;
    root.sync_folder_of(place)
}

fn cannot_write(root: &Root, place: &Place, errno: Errno) -> StoreError {
    match errno {
        Errno::EXIST => StoreError::new(
            StoreErrorKind::AlreadyExists,
            format!(
                "there is already an object {} in {}",
                place.path,
                root.path.display()
            ),
        ),
        errno => failed(
            format_args!("cannot write {} in {}", place.path, root.path.display()),
            errno,
        ),
    }
}

/// Does `act`, and again when only the shard's folder was missing.
fn in_shard<T>(
    root: &Root,
    place: &Place,
    act: impl Fn() -> Result<T, Errno>,
) -> Result<Result<T, Errno>, StoreError> {
    match (act(), place.shard) {
        (Err(Errno::NOENT), Some(shard)) => {
            root.make_shard(shard)?;
            Ok(act())
        }
        (Err(Errno::NOENT), None) => {
            root.confirm()?;
            Ok(Err(Errno::NOENT))
        }
        (done, _) => Ok(done),
    }
}

fn give_name(root: &Root, temp: &str, place: &Place, placing: Placing) -> Result<(), Errno> {
    match placing {
        Placing::Rename => rustix::fs::renameat_with(
            &root.dir,
            temp,
            &root.dir,
            &place.path,
            RenameFlags::NOREPLACE,
        ),
        Placing::Link => {
            match rustix::fs::linkat(&root.dir, temp, &root.dir, &place.path, AtFlags::empty()) {
                // NFS repeats a request whose answer was lost; the repetition then finds our own link.
                Err(Errno::EXIST) if same_file(root, temp, &place.path) => Ok(()),
                done => done,
            }
        }
        Placing::Exclusive => Err(Errno::NOSYS),
    }
}

fn same_file(root: &Root, one: &str, other: &str) -> bool {
    let id = |path: &str| {
        rustix::fs::statat(&root.dir, path, AtFlags::SYMLINK_NOFOLLOW)
            .map(|stat| (stat.st_dev, stat.st_ino))
            .ok()
    };
    id(one).is_some_and(|found| id(other) == Some(found))
}

fn write_in_place(root: &Root, place: &Place, bytes: &[u8]) -> Result<OwnedFd, StoreError> {
    let file = in_shard(root, place, || {
        rustix::fs::openat(&root.dir, &place.path, WRITE_NEW, FILE_MODE)
    })?
    .map_err(|errno| cannot_write(root, place, errno))?;
    // The name is seen already, so what lies under it is put on disk whatever was asked for.
    fill(&file, bytes, true).map_err(|errno| {
        let _ = rustix::fs::unlinkat(&root.dir, &place.path, AtFlags::empty());
        cannot_write(root, place, errno)
    })?;
    Ok(file)
}

fn fill(file: &OwnedFd, mut bytes: &[u8], durable: bool) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = bytes.get(written..).ok_or(Errno::IO)?,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    if durable {
        rustix::fs::fsync(file)
    } else {
        Ok(())
    }
}

pub(super) fn placing(root: &Root) -> Result<Placing, StoreError> {
    if let Some(known) = root.placing.get() {
        return Ok(*known);
    }
    let found = probe(root)?;
    tracing::debug!(store = %root.path.display(), ?found, "how finished files get their names");
    Ok(*root.placing.get_or_init(|| found))
}

/// Tries out whether the folder refuses to replace a file, as it should.
fn probe(root: &Root) -> Result<Placing, StoreError> {
    let (taken, _) = Temp::create(root)?;
    for placing in [Placing::Rename, Placing::Link] {
        let (temp, _) = Temp::create(root)?;
        let free = Temp::name(root)?;
        let try_to = |path: &str| {
            let place = Place {
                path: path.to_owned(),
                shard: None,
            };
            give_name(root, &temp.path, &place, placing)
        };
        if try_to(&taken.path) == Err(Errno::EXIST) && try_to(&free.path) == Ok(()) {
            return Ok(placing);
        }
    }
    Ok(Placing::Exclusive)
}

#[cfg(test)]
mod tests {
    use super::super::root::open_folder;
    use super::*;
    use crate::layout::{Mark, OBJECTS};
    use warifu_vault::seam::store::ObjectKey;

    fn root(path: &std::path::Path) -> Root {
        let root = Root::with(path, open_folder(path).unwrap(), Mark::fresh().unwrap()).unwrap();
        std::fs::write(path.join("warifu-store"), root.mark.line()).unwrap();
        root
    }

    fn temp_files(path: &std::path::Path) -> usize {
        std::fs::read_dir(path.join(TMP)).map_or(0, Iterator::count)
    }

    #[test]
    fn every_way_of_naming_refuses_to_replace_and_leaves_no_temporary_file() {
        for placing in [Placing::Rename, Placing::Link, Placing::Exclusive] {
            for durable in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                let root = root(dir.path());
                root.placing.set(placing).unwrap();
                let place = Place::of(&ObjectKey::parse(&"ab".repeat(32)).unwrap());
                write_new(&root, &place, b"first", durable).unwrap();
                let error = write_new(&root, &place, b"second", durable).unwrap_err();
                assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{placing:?}");
                assert_eq!(
                    std::fs::read(dir.path().join(&place.path)).unwrap(),
                    b"first",
                    "{placing:?}"
                );
                assert_eq!(temp_files(dir.path()), 0, "{placing:?}");
            }
        }
    }

    #[test]
    fn the_probe_finds_a_safe_way_here_and_cleans_up() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path());
        assert_ne!(probe(&root).unwrap(), Placing::Exclusive);
        assert_eq!(temp_files(dir.path()), 0);
    }

    #[test]
    fn a_link_made_by_a_request_whose_answer_was_lost_is_known_as_our_own() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path());
        let (temp, _) = Temp::create(&root).unwrap();
        let place = Place {
            path: "vault-00000001".into(),
            shard: None,
        };
        give_name(&root, &temp.path, &place, Placing::Link).unwrap();
        assert_eq!(give_name(&root, &temp.path, &place, Placing::Link), Ok(()));
        let (other, _) = Temp::create(&root).unwrap();
        assert_eq!(
            give_name(&root, &other.path, &place, Placing::Link),
            Err(Errno::EXIST)
        );
    }

    #[test]
    fn nothing_is_made_in_a_folder_that_is_no_longer_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path());
        std::fs::remove_file(dir.path().join("warifu-store")).unwrap();
        let place = Place::of(&ObjectKey::parse(&"cd".repeat(32)).unwrap());
        let error = write_new(&root, &place, b"share", true).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{error}");
        assert!(!dir.path().join(OBJECTS).exists() && !dir.path().join(TMP).exists());
    }
}

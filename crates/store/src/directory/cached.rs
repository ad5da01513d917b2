//! Reading what the kernel holds in memory, without waiting for the disk.
//!
//! To hand a read to another thread and be woken by it takes several times as long as to copy a few pages. So whoever asks tries this first,
//! on the thread that it is on: each step tells the kernel to refuse rather than to wait. Whatever is not simply there,
//! an error included, is left to the ordinary way, which also judges it.

use std::io::IoSliceMut;
use std::ops::Range;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::ReadWriteFlags;
use warifu_vault::seam::store::ObjectKey;

use super::root::{Identity, READ_FILE, Root};
use crate::layout::Place;

/// To copy more than this takes so long that two cores are better than one.
const MOST: usize = 256 * 1024;

/// The object or the range of it, where all of it is in memory; `None` where it is not, or anything is out of the ordinary.
pub(super) fn get(root: &Root, name: &ObjectKey, range: Option<Range<u64>>) -> Option<Bytes> {
    if !root.local || !is_in_place(root)? {
        return None;
    }
    let (file, len) = open(root, name)?;
    let range = range.unwrap_or(0..len);
    let wanted = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
    if range.end > len || wanted > MOST {
        return None;
    }
    let mut bytes = vec![0; wanted];
    read(&file, range.start, &mut bytes)?;
    Some(bytes.into())
}

/// Whether the end of an object is in memory, and so most likely all of it.
pub(super) fn is_there(root: &Root, name: &ObjectKey) -> bool {
    open(root, name)
        .and_then(|(file, len)| read(&file, len.checked_sub(1)?, &mut [0]))
        .is_some()
}

/// An object whose name and attributes are in memory, and its length.
fn open(root: &Root, name: &ObjectKey) -> Option<(OwnedFd, u64)> {
    let path = Place::of(name).path;
    let flags = ResolveFlags::CACHED;
    let file = rustix::fs::openat2(&root.dir, path, READ_FILE, Mode::empty(), flags).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    Some((file, u64::try_from(stat.st_size).ok()?))
}

fn read(file: &OwnedFd, from: u64, bytes: &mut [u8]) -> Option<()> {
    let mut done = 0;
    while done < bytes.len() {
        let offset = from.checked_add(done as u64)?;
        let mut rest = [IoSliceMut::new(bytes.get_mut(done..)?)];
        match rustix::io::preadv2(file, &mut rest, offset, ReadWriteFlags::NOWAIT) {
            Ok(0) | Err(_) => return None,
            Ok(read) => done += read,
        }
    }
    Some(())
}

/// Whether the folder that is open still lies at its path; `None` where finding that out could take a while.
fn is_in_place(root: &Root) -> Option<bool> {
    let at_path = rustix::fs::openat2(
        CWD,
        &root.path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::CACHED,
    )
    .ok()?;
    // What may be mounted there by now is not asked: a server that hangs would keep us.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = rustix::fs::statx(&at_path, c"", flags, StatxFlags::INO).ok()?;
    let found = Identity {
        device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
    };
    Some(found == root.identity)
}

#[cfg(test)]
mod tests {
    use super::super::put::write_new;
    use super::super::root::open_folder;
    use super::*;
    use crate::layout::Mark;

    fn kept(len: usize) -> (tempfile::TempDir, Root, ObjectKey, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::with(
            dir.path(),
            open_folder(dir.path()).unwrap(),
            Mark::fresh().unwrap(),
        )
        .unwrap();
        std::fs::write(dir.path().join("warifu-store"), root.mark.line()).unwrap();
        let name = ObjectKey::parse(&"ab".repeat(32)).unwrap();
        let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        write_new(&root, &Place::of(&name), &bytes, false).unwrap();
        (dir, root, name, bytes)
    }

    #[test]
    fn what_was_just_written_is_read_without_waiting() {
        let (_dir, root, name, bytes) = kept(100_000);
        if !root.local {
            return;
        }
        assert!(is_there(&root, &name));
        assert_eq!(get(&root, &name, None).unwrap(), bytes);
        assert_eq!(
            get(&root, &name, Some(10..70_000)).unwrap(),
            bytes[10..70_000]
        );
    }

    #[test]
    fn what_is_out_of_the_ordinary_is_left_to_the_ordinary_way() {
        let (dir, root, name, _) = kept(1000);
        let absent = ObjectKey::parse(&"cd".repeat(32)).unwrap();
        assert!(get(&root, &absent, None).is_none() && !is_there(&root, &absent));
        assert!(
            get(&root, &name, Some(10..1001)).is_none(),
            "behind its end"
        );
        assert!(get(&root, &name, Some(Range { start: 9, end: 3 })).is_none());
        let (_dir, large, name_, _) = kept(MOST + 1);
        assert!(
            get(&large, &name_, None).is_none(),
            "too much for one thread"
        );
        // Another folder lies where this one did, as when a disk is taken away under its mount point.
        let moved = dir.path().with_extension("moved");
        std::fs::rename(dir.path(), &moved).unwrap();
        std::fs::create_dir(dir.path()).unwrap();
        assert!(get(&root, &name, None).is_none());
        std::fs::remove_dir_all(&moved).unwrap();
    }
}

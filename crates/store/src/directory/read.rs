//! Reading, weighing and removing one object.

use std::num::NonZeroU64;
use std::ops::Range;

use bytes::Bytes;
use rustix::fs::{Advice, AtFlags, FileType, Mode};
use rustix::io::Errno;
use warifu_core::head::Timestamp;
use warifu_vault::seam::store::{ObjectKey, ObjectStat, StoreError, StoreErrorKind};

use super::MAX_OBJECT;
use super::errno::failed;
use super::root::{READ_FILE, Root};
use crate::layout::Place;

/// What the kernel reads ahead by itself.
const READ_AHEAD: usize = 128 * 1024;

pub(super) fn get(
    root: &Root,
    name: &ObjectKey,
    range: Option<Range<u64>>,
) -> Result<Bytes, StoreError> {
    let place = Place::of(name);
    let cannot_read = |errno| {
        failed(
            format_args!("cannot read {} in {}", place.path, root.path.display()),
            errno,
        )
    };
    let file = match rustix::fs::openat(&root.dir, &place.path, READ_FILE, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Err(root.absent(name)),
        Err(errno) => return Err(cannot_read(errno)),
    };
    let stat = rustix::fs::fstat(&file).map_err(cannot_read)?;
    let len = size_of(root, &place, &stat)?;
    let range = range.unwrap_or(0..len);
    if range.start > range.end || range.end > len {
        return Err(StoreError::new(
            StoreErrorKind::OutOfRange,
            format!(
                "bytes {}..{} were asked of {}, which has {len}",
                range.start, range.end, place.path
            ),
        ));
    }
    let wanted = usize::try_from(range.end - range.start)
        .ok()
        .filter(|wanted| *wanted <= MAX_OBJECT)
        .ok_or_else(|| not_ours(root, &place, "is larger than any object of warifu"))?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(wanted).map_err(|error| {
        StoreError::new(
            StoreErrorKind::Failed,
            format!("cannot hold {}: {error}", place.path),
        )
    })?;
    if wanted > READ_AHEAD {
        // All of it is asked of the disk at once; by itself the kernel asks for one small window after the other.
        let _ = rustix::fs::fadvise(
            &file,
            range.start,
            NonZeroU64::new(wanted as u64),
            Advice::WillNeed,
        );
    }
    while bytes.len() < wanted {
        let offset = range.start.saturating_add(bytes.len() as u64);
        match rustix::io::pread(&file, rustix::buffer::spare_capacity(&mut bytes), offset) {
            Ok(0) => return Err(not_ours(root, &place, "became shorter while it was read")),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(cannot_read(errno)),
        }
    }
    bytes.truncate(wanted);
    Ok(bytes.into())
}

/// Asks the disk for all of an object, without waiting for it.
pub(super) fn expect(root: &Root, name: &ObjectKey) {
    let place = Place::of(name);
    if let Ok(file) = rustix::fs::openat(&root.dir, &place.path, READ_FILE, Mode::empty()) {
        // To the end of the file.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::WillNeed);
    }
}

pub(super) fn stat(root: &Root, name: &ObjectKey) -> Result<ObjectStat, StoreError> {
    let place = Place::of(name);
    match rustix::fs::statat(&root.dir, &place.path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(ObjectStat {
            len: size_of(root, &place, &stat)?,
            modified: modified(&stat),
        }),
        Err(Errno::NOENT) => Err(root.absent(name)),
        Err(errno) => Err(failed(
            format_args!("cannot look at {} in {}", place.path, root.path.display()),
            errno,
        )),
    }
}

/// When a file was last written.
pub(super) fn modified(stat: &rustix::fs::Stat) -> Option<Timestamp> {
    Some(Timestamp {
        secs: stat.st_mtime,
        nanos: u32::try_from(stat.st_mtime_nsec).ok()?,
    })
}

pub(super) fn delete(root: &Root, name: &ObjectKey) -> Result<(), StoreError> {
    let place = Place::of(name);
    match rustix::fs::unlinkat(&root.dir, &place.path, AtFlags::empty()) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT) => Err(root.absent(name)),
        Err(errno) => Err(failed(
            format_args!("cannot remove {} in {}", place.path, root.path.display()),
            errno,
        )),
    }
}

fn size_of(root: &Root, place: &Place, stat: &rustix::fs::Stat) -> Result<u64, StoreError> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(not_ours(root, place, "is not a file"));
    }
    Ok(u64::try_from(stat.st_size).unwrap_or(0))
}

fn not_ours(root: &Root, place: &Place, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Failed,
        format!("{} in {} {what}", place.path, root.path.display()),
    )
}

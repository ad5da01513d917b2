//! Listing a folder: ascending by name, page by page, and never with a gap.

use std::collections::BTreeSet;

use rustix::fs::{AtFlags, Dir, FileType, Mode};
use rustix::io::Errno;
use warifu_vault::seam::store::{ObjectKey, ObjectStat, Page, StoreError};

use super::errno::failed;
use super::read::modified;
use super::root::{READ_DIR, Root};
use crate::layout::{Folder, LOST_FOUND, MARKER, OBJECTS, Place, TMP, shard_folder, shard_of};

/// One page. Foreign entries are counted in the page that first enters their folder, so that the pages of a whole
/// listing add up.
pub(super) fn list(
    root: &Root,
    after: Option<&ObjectKey>,
    limit: usize,
) -> Result<Page, StoreError> {
    let mut page = Page::default();
    if limit == 0 {
        page.more = true;
        return Ok(page);
    }
    let first_shard = match after {
        Some(name) => Place::of(name).shard,
        None => Some(0),
    };
    // Share names are hexadecimal, so all of them come before `vault-`; after one of those no shard is left.
    if let Some(first_shard) = first_shard {
        let shards = shards(root, after.is_none(), &mut page.foreign)?;
        for shard in shards.range(first_shard..) {
            if page.objects.len() >= limit {
                page.more = true;
                break;
            }
            let entered_before = after.is_some() && *shard == first_shard;
            collect(
                root,
                Folder::Shard(*shard),
                after,
                !entered_before,
                limit,
                &mut page,
            )?;
        }
    }
    if page.objects.len() >= limit {
        page.more = true;
    } else {
        let entered_before = after.is_some_and(|name| !name.is_share());
        collect(root, Folder::Top, after, !entered_before, limit, &mut page)?;
    }
    // A folder that vanished while it was read looks shorter than it is.
    root.confirm()?;
    Ok(page)
}

/// Adds a folder's objects to the page until the page is full.
fn collect(
    root: &Root,
    folder: Folder,
    after: Option<&ObjectKey>,
    count_foreign: bool,
    limit: usize,
    page: &mut Page,
) -> Result<(), StoreError> {
    let path = match folder {
        Folder::Top => ".".to_owned(),
        Folder::Shard(shard) => shard_folder(shard),
    };
    let mut names = BTreeSet::new();
    let mut foreign = 0_u64;
    read_names(root, &path, |name, _| match (folder, name) {
        (Folder::Top, MARKER | OBJECTS | TMP | LOST_FOUND) => {}
        (_, name) => match ObjectKey::parse(name).filter(|key| folder.holds(key)) {
            Some(key) if after.is_none_or(|after| key > *after) => {
                names.insert(key);
            }
            Some(_) => {}
            None => foreign += 1,
        },
    })?;
    if count_foreign {
        page.foreign += foreign;
    }
    for key in names {
        if page.objects.len() >= limit {
            page.more = true;
            return Ok(());
        }
        let place = Place::of(&key);
        match rustix::fs::statat(&root.dir, &place.path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                page.objects.push((
                    key,
                    ObjectStat {
                        len: u64::try_from(stat.st_size).unwrap_or(0),
                        modified: modified(&stat),
                    },
                ));
            }
            Ok(_) => page.foreign += 1,
            // Removed since its name was read.
            Err(Errno::NOENT) => {}
            Err(errno) => {
                return Err(failed(
                    format_args!("cannot look at {} in {}", place.path, root.path.display()),
                    errno,
                ));
            }
        }
    }
    Ok(())
}

fn shards(root: &Root, count_foreign: bool, foreign: &mut u64) -> Result<BTreeSet<u8>, StoreError> {
    let mut shards = BTreeSet::new();
    read_names(root, OBJECTS, |name, kind| {
        match shard_of(name.as_bytes()) {
            // Not every file system says what an entry is; opening it will.
            Some(shard) if matches!(kind, FileType::Directory | FileType::Unknown) => {
                shards.insert(shard);
            }
            _ if count_foreign => *foreign += 1,
            _ => {}
        }
    })?;
    Ok(shards)
}

/// Hands over every name in a folder. A folder that is not there has none, provided that the store still is.
fn read_names(
    root: &Root,
    folder: &str,
    mut each: impl FnMut(&str, FileType),
) -> Result<(), StoreError> {
    let cannot_list = |errno| {
        failed(
            format_args!("cannot list {folder} in {}", root.path.display()),
            errno,
        )
    };
    let dir = match rustix::fs::openat(&root.dir, folder, READ_DIR, Mode::empty()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return root.confirm(),
        Err(errno) => return Err(cannot_list(errno)),
    };
    for entry in Dir::new(dir).map_err(cannot_list)? {
        let entry = entry.map_err(cannot_list)?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            each(&name.to_string_lossy(), entry.file_type());
        }
    }
    Ok(())
}

//! Reading, weighing, removing and listing.
//!
//! Reading takes two round trips, whatever the object's size: the file is opened and its size asked for, then all its bytes at once. The
//! end of the file's use is told and not waited for.

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use warifu_core::head::Timestamp;
use warifu_vault::seam::store::{ObjectKey, ObjectStat, Page, Space, StoreError, StoreErrorKind};

use super::root::{Root, read_folder};
use super::session::Trouble;
use super::wire::{Attrs, Request, Status};
use crate::directory::MAX_OBJECT;
use crate::layout::{Folder, LOST_FOUND, MARKER, OBJECTS, Place, TMP, shard_folder, shard_of};

/// So many folders are read at once.
const FOLDERS_AT_ONCE: usize = 8;

pub(super) async fn get(
    root: &Root,
    name: &ObjectKey,
    range: Option<Range<u64>>,
) -> Result<Bytes, StoreError> {
    let place = Place::of(name);
    let path = root.at(&place.path);
    let session = &root.session;
    let (attrs, handle) = (
        session.ask(Request::Lstat(&path)),
        session.ask(Request::OpenRead(&path)),
    );
    let handle = match handle.handle().await {
        Ok(handle) => handle,
        Err(trouble) if trouble.is(Status::NO_SUCH_FILE) => return Err(root.absent(name).await),
        Err(trouble) => return Err(cannot_read(root, &place, &trouble)),
    };
    let planned = match attrs.attrs().await {
        Ok(attrs) => plan(root, &place, attrs, range),
        Err(trouble) => Err(cannot_read(root, &place, &trouble)),
    };
    let read = match planned {
        Ok(range) => read_all(root, &place, &handle, range).await,
        Err(error) => Err(error),
    };
    session.tell(Request::Close(&handle));
    read
}

/// The bytes to read, of an object that looks like this.
fn plan(
    root: &Root,
    place: &Place,
    attrs: Attrs,
    range: Option<Range<u64>>,
) -> Result<Range<u64>, StoreError> {
    let len = size_of(root, place, attrs)?;
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
    if range.end - range.start > MAX_OBJECT as u64 {
        return Err(not_ours(root, place, "is larger than any object of warifu"));
    }
    Ok(range)
}

async fn read_all(
    root: &Root,
    place: &Place,
    handle: &Bytes,
    range: Range<u64>,
) -> Result<Bytes, StoreError> {
    let session = &root.session;
    let block = u64::from(session.read_block());
    let ask = |offset: u64, len: u64| {
        session.ask(Request::Read {
            handle,
            offset,
            len: u32::try_from(len).unwrap_or(u32::MAX),
        })
    };
    let mut pieces = Vec::new();
    let mut offset = range.start;
    while offset < range.end {
        let len = block.min(range.end - offset);
        pieces.push((offset, len, ask(offset, len)));
        offset += len;
    }
    let single = pieces.len() == 1;
    let wanted = usize::try_from(range.end - range.start).unwrap_or(0);
    let mut bytes = BytesMut::new();
    if !single {
        bytes.reserve(wanted);
    }
    for (offset, len, mut answer) in pieces {
        let mut done = 0;
        while done < len {
            let data = match answer.data().await {
                Ok(data) => data,
                Err(trouble) if trouble.is(Status::END) => Bytes::new(),
                Err(trouble) => return Err(cannot_read(root, place, &trouble)),
            };
            let got = u64::try_from(data.len()).unwrap_or(0);
            if got == 0 || got > len - done {
                return Err(not_ours(root, place, "became shorter while it was read"));
            }
            if single && got == len {
                return Ok(data);
            }
            bytes.extend_from_slice(&data);
            done += got;
            // Less than was asked for: servers have limits of their own.
            answer = if done < len {
                ask(offset + done, len - done)
            } else {
                break;
            };
        }
    }
    Ok(bytes.freeze())
}

pub(super) async fn stat(root: &Root, name: &ObjectKey) -> Result<ObjectStat, StoreError> {
    let place = Place::of(name);
    let path = root.at(&place.path);
    match root.session.ask(Request::Lstat(&path)).attrs().await {
        Ok(attrs) => Ok(ObjectStat {
            len: size_of(root, &place, attrs)?,
            modified: modified(attrs),
        }),
        Err(trouble) if trouble.is(Status::NO_SUCH_FILE) => Err(root.absent(name).await),
        Err(trouble) => {
            let doing = format!("cannot look at {} in {}", place.path, root.shown);
            Err(trouble.during(doing))
        }
    }
}

pub(super) async fn delete(root: &Root, name: &ObjectKey) -> Result<(), StoreError> {
    let place = Place::of(name);
    let path = root.at(&place.path);
    match root.session.ask(Request::Remove(&path)).done().await {
        Ok(()) => Ok(()),
        Err(trouble) if trouble.is(Status::NO_SUCH_FILE) => Err(root.absent(name).await),
        Err(trouble) => Err(root
            .explain(trouble, &format!("cannot remove {}", place.path), 0)
            .await),
    }
}

pub(super) async fn space(root: &Root) -> Result<Space, StoreError> {
    let marker = root.at(MARKER);
    let marker = root.session.ask(Request::Lstat(&marker));
    let room = root.room().await;
    // The room of whatever lies below an empty mount point is not the store's.
    if !root.looks_the_same(&marker.attrs().await) {
        root.confirm().await?;
    }
    let room = room.map_err(|trouble| {
        trouble.during(format_args!("cannot ask {} for its room", root.shown))
    })?;
    Ok(Space {
        total: room.map(|room| room.total),
        free: room.map(|room| room.free),
    })
}

/// One page. Foreign entries are counted in the page that first enters their folder, so that the pages of a whole
/// listing add up. Nothing is kept from one page to the next: what was written in between must not be missed.
pub(super) async fn list(
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
        let mut shards = BTreeSet::new();
        for (name, attrs) in entries(root, OBJECTS).await? {
            match shard_of(name.as_bytes()) {
                Some(shard) if attrs.mode.is_none() || attrs.is_folder() => {
                    shards.insert(shard);
                }
                _ if after.is_none() => page.foreign += 1,
                _ => {}
            }
        }
        let rest: Vec<u8> = shards.range(first_shard..).copied().collect();
        // A few folders first: a small page needs no more.
        let (mut begun, mut at_once) = (0, 2);
        while begun < rest.len() {
            if page.objects.len() >= limit {
                page.more = true;
                break;
            }
            let batch = rest
                .get(begun..rest.len().min(begun + at_once))
                .unwrap_or_default();
            begun += batch.len();
            at_once = FOLDERS_AT_ONCE;
            let folders: Vec<String> = batch.iter().map(|shard| shard_folder(*shard)).collect();
            let read = join_all(folders.iter().map(|folder| entries(root, folder))).await;
            for (shard, names) in batch.iter().zip(read) {
                if page.objects.len() >= limit {
                    page.more = true;
                    break;
                }
                let entered_before = after.is_some() && *shard == first_shard;
                let folder = Folder::Shard(*shard);
                collect(
                    root,
                    folder,
                    names?,
                    after,
                    !entered_before,
                    limit,
                    &mut page,
                )
                .await?;
            }
        }
    }
    if page.objects.len() >= limit {
        page.more = true;
    } else {
        let entered_before = after.is_some_and(|name| !name.is_share());
        let names = entries(root, ".").await?;
        collect(
            root,
            Folder::Top,
            names,
            after,
            !entered_before,
            limit,
            &mut page,
        )
        .await?;
    }
    // A folder that vanished while it was read looks shorter than it is.
    root.confirm().await?;
    Ok(page)
}

/// Adds a folder's objects to the page until the page is full.
async fn collect(
    root: &Root,
    folder: Folder,
    names: Vec<(String, Attrs)>,
    after: Option<&ObjectKey>,
    count_foreign: bool,
    limit: usize,
    page: &mut Page,
) -> Result<(), StoreError> {
    let mut objects = Vec::new();
    for (name, attrs) in names {
        if matches!(folder, Folder::Top)
            && matches!(name.as_str(), MARKER | OBJECTS | TMP | LOST_FOUND)
        {
            continue;
        }
        match ObjectKey::parse(&name).filter(|key| folder.holds(key)) {
            Some(key) if after.is_none_or(|after| key > *after) => objects.push((key, attrs)),
            Some(_) => {}
            None => page.foreign += u64::from(count_foreign),
        }
    }
    objects.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    for (key, mut attrs) in objects {
        if page.objects.len() >= limit {
            page.more = true;
            return Ok(());
        }
        if attrs.mode.is_none() || attrs.size.is_none() {
            let path = root.at(&Place::of(&key).path);
            attrs = match root.session.ask(Request::Lstat(&path)).attrs().await {
                Ok(attrs) => attrs,
                // Removed since its name was read.
                Err(trouble) if trouble.is(Status::NO_SUCH_FILE) => continue,
                Err(trouble) => {
                    return Err(
                        trouble.during(format_args!("cannot look at {key} in {}", root.shown))
                    );
                }
            };
        }
        if attrs.is_file() {
            let len = attrs.size.unwrap_or(0);
            let modified = modified(attrs);
            page.objects.push((key, ObjectStat { len, modified }));
        } else {
            page.foreign += 1;
        }
    }
    Ok(())
}

/// The names in a folder of the store. A folder that is not there has none, provided that the store still is.
pub(super) async fn entries(root: &Root, folder: &str) -> Result<Vec<(String, Attrs)>, StoreError> {
    let path = root.at(folder);
    match read_folder(&root.session, &path).await {
        Ok(names) => Ok(names),
        Err(trouble) if trouble.is(Status::NO_SUCH_FILE) => {
            root.confirm().await.map(|()| Vec::new())
        }
        Err(trouble) => Err(trouble.during(format_args!("cannot list {folder} in {}", root.shown))),
    }
}

/// When a file was last written, to the second.
fn modified(attrs: Attrs) -> Option<Timestamp> {
    attrs.modified.map(|secs| Timestamp {
        secs: i64::from(secs),
        nanos: 0,
    })
}

fn size_of(root: &Root, place: &Place, attrs: Attrs) -> Result<u64, StoreError> {
    if !attrs.is_file() {
        return Err(not_ours(root, place, "is not a file"));
    }
    attrs
        .size
        .ok_or_else(|| not_ours(root, place, "has no size, says its server"))
}

fn cannot_read(root: &Root, place: &Place, trouble: &Trouble) -> StoreError {
    trouble.during(format_args!("cannot read {} in {}", place.path, root.shown))
}

fn not_ours(root: &Root, place: &Place, what: &str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Failed,
        format!("{} in {} {what}", place.path, root.shown),
    )
}

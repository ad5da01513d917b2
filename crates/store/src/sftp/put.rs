//! Writing an object: whole or not at all, and never over another, in as few round trips as the protocol has room for.
//!
//! 1. the temporary file is opened; with it go the question whether the marker is still there, and the making of the shard's folder
//!    where that is not known;
//! 2. all its bytes, and with [`Durability::Now`](warifu_vault::seam::store::Durability::Now) the order to put them on disk;
//! 3. the link to its name, and the end of the temporary one;
//! 4. with `Now`, the order to put the folder on disk.
//!
//! A server may do what it likes with requests that it was not asked to do one after the other, so the name waits for the bytes, and the
//! folder for the name. Three round trips, or four, whatever the object's size.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use warifu_vault::seam::store::{StoreError, StoreErrorKind};

use super::root::Root;
use super::session::{Answer, Trouble};
use super::wire::{HARDLINK, Request, Status};
use crate::layout::{MARKER, OBJECTS, Place, TMP, random_hex, shard_folder};

/// How a finished file gets its name without replacing another. Measured for each connection, never believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placing {
    /// `hardlink@openssh.com`, then the temporary name is removed.
    Link,
    /// `SSH_FXP_RENAME`, which refuses to replace a file. (`posix-rename@openssh.com` does not, and is never used.)
    Rename,
    /// Written in place under an exclusively created name. A crash half-way leaves a part under the name, which the
    /// seal over each chunk finds out.
    Exclusive,
}

/// The way that works here, tried out before the first write.
pub(super) async fn placing(root: &Root) -> Result<Placing, StoreError> {
    root.placing.get_or_try_init(|| probe(root)).await.copied()
}

/// A file being written, closed again and removed unless it is handed on.
struct Draft<'a> {
    root: &'a Root,
    path: String,
    handle: Bytes,
    armed: bool,
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if self.armed {
            // What cannot be removed now is swept by age later.
            self.root.session.tell(Request::Close(&self.handle));
            self.root.session.tell(Request::Remove(&self.path));
        }
    }
}

/// Writes a new file at `place`, and with `durable` puts it and its name on disk. Returns the file's handle, open.
pub(super) async fn write_new(
    root: &Root,
    place: &Place,
    object: &Bytes,
    durable: bool,
) -> Result<Bytes, StoreError> {
    let placing = placing(root).await?;
    let durable = durable && root.fsync;
    let (handle, folders) = match placing {
        Placing::Exclusive => {
            let handle = write_in_place(root, place, object).await?;
            let folders = durable.then(|| open_folders(root, &[place.shard]));
            (handle, folders)
        }
        placing => match write_aside(root, place, object, durable, placing).await? {
            Some(written) => written,
            // A folder was missing; it was made.
            None => write_aside(root, place, object, durable, placing)
                .await?
                .ok_or_else(|| {
                    StoreError::new(
                        StoreErrorKind::Failed,
                        format!("the folder of {} vanishes from {}", place.path, root.shown),
                    )
                })?,
        },
    };
    if let Some(folders) = folders
        && let Err(trouble) = sync_folders(root, folders).await
    {
        let path = root.at(&place.path);
        root.session.tell(Request::Close(&handle));
        root.session.tell(Request::Remove(&path));
        return Err(root
            .explain(trouble, &format!("cannot put {} on disk", place.path), 0)
            .await);
    }
    Ok(handle)
}

/// `None` when a folder was missing and has been made: then it is worth another try.
async fn write_aside<'a>(
    root: &'a Root,
    place: &Place,
    object: &Bytes,
    durable: bool,
    placing: Placing,
) -> Result<Option<(Bytes, Option<Folders<'a>>)>, StoreError> {
    let session = &root.session;
    let marker = root.at(MARKER);
    let temp = root.at(&format!("{TMP}/{}", random_hex()?));
    let path = root.at(&place.path);

    let marker = session.ask(Request::Lstat(&marker));
    root.make_ahead(place.shard);
    let opened = session.ask(Request::OpenNew(&temp)).handle().await;
    let same = root.looks_the_same(&marker.attrs().await);
    let handle = match opened {
        Ok(handle) => handle,
        Err(trouble) if trouble.is(Status::NO_SUCH_FILE) => {
            root.confirm().await?;
            root.make_folders(place.shard).await;
            return Ok(None);
        }
        Err(trouble) => return Err(root.explain(trouble, "cannot make a file", 0).await),
    };
    let mut draft = Draft {
        root,
        path: temp,
        handle,
        armed: true,
    };
    if !same {
        // Nothing is written into a folder that was emptied, or made another store.
        root.confirm().await?;
    }

    fill(root, &draft.handle, place, object, durable).await?;

    // The folder's own opening goes along with the name, and costs no waiting.
    let folders = durable.then(|| open_folders(root, &[place.shard]));
    let named = match placing {
        Placing::Rename => {
            let named = session.ask(Request::Rename {
                from: &draft.path,
                to: &path,
            });
            named.done().await
        }
        _ => {
            let named = session.ask(Request::Link {
                from: &draft.path,
                to: &path,
            });
            session.tell(Request::Remove(&draft.path));
            named.done().await
        }
    };
    match named {
        Ok(()) => {
            draft.armed = false;
            Ok(Some((draft.handle.clone(), folders)))
        }
        Err(trouble) => {
            if let Some(folders) = folders {
                close_all(root, folders).await;
            }
            drop(draft);
            if trouble.is(Status::NO_SUCH_FILE) {
                root.confirm().await?;
                root.make_folders(place.shard).await;
                return Ok(None);
            }
            Err(not_named(root, place, trouble).await)
        }
    }
}

async fn write_in_place(root: &Root, place: &Place, object: &Bytes) -> Result<Bytes, StoreError> {
    let path = root.at(&place.path);
    root.confirm().await?;
    root.make_folders(place.shard).await;
    let handle = match root.session.ask(Request::OpenNew(&path)).handle().await {
        Ok(handle) => handle,
        Err(trouble) => return Err(not_named(root, place, trouble).await),
    };
    let mut draft = Draft {
        root,
        path,
        handle,
        armed: true,
    };
    // The name is seen already, so what lies under it is put on disk whatever was asked for.
    fill(root, &draft.handle, place, object, root.fsync).await?;
    draft.armed = false;
    Ok(draft.handle.clone())
}

/// Sends all bytes at once and waits for every answer.
async fn fill(
    root: &Root,
    handle: &Bytes,
    place: &Place,
    object: &Bytes,
    durable: bool,
) -> Result<(), StoreError> {
    let session = &root.session;
    let mut answers: Vec<Answer> = Vec::new();
    let (mut rest, mut offset) = (object.clone(), 0_u64);
    let block = usize::try_from(session.write_block()).unwrap_or(4096);
    while !rest.is_empty() {
        let data = rest.split_to(rest.len().min(block));
        let len = u64::try_from(data.len()).unwrap_or(0);
        answers.push(session.ask(Request::Write {
            handle,
            offset,
            data,
        }));
        offset = offset.saturating_add(len);
    }
    if durable {
        answers.push(session.ask(Request::Fsync(handle)));
    }
    let mut failed = None;
    for answer in answers {
        if let Err(trouble) = answer.done().await {
            failed.get_or_insert(trouble);
        }
    }
    match failed {
        None => Ok(()),
        Some(trouble) => {
            let doing = format!("cannot write {}", place.path);
            Err(root.explain(trouble, &doing, object.len()).await)
        }
    }
}

/// Why a name was not given. Servers say "failure" when it is taken, so it is looked at.
async fn not_named(root: &Root, place: &Place, trouble: Trouble) -> StoreError {
    let path = root.at(&place.path);
    if matches!(trouble, Trouble::Status(_))
        && root
            .session
            .ask(Request::Lstat(&path))
            .attrs()
            .await
            .is_ok()
    {
        return StoreError::new(
            StoreErrorKind::AlreadyExists,
            format!(
                "there is already an object {} in {}",
                place.path, root.shown
            ),
        );
    }
    root.explain(trouble, &format!("cannot write {}", place.path), 0)
        .await
}

/// Folders that were opened to be put on disk.
pub(super) struct Folders<'a> {
    opened: Vec<Answer>,
    /// Whose own names in `objects` are on disk once these are.
    fresh: Vec<&'a AtomicBool>,
}

/// Sends the opening of shard folders (`None` is the store's own), and of the folder above those whose own names may not be on disk yet.
pub(super) fn open_folders<'a>(root: &'a Root, shards: &[Option<u8>]) -> Folders<'a> {
    let mut folders = Folders {
        opened: Vec::new(),
        fresh: Vec::new(),
    };
    if !root.fsync || !root.folder_fsync.load(Ordering::Acquire) {
        return folders;
    }
    let mut open = |path: &str| {
        let path = root.at(path);
        folders
            .opened
            .push(root.session.ask(Request::OpenRead(&path)));
    };
    for shard in shards {
        match shard {
            None => open("."),
            Some(shard) => {
                open(&shard_folder(*shard));
                // Whoever made a shard's folder may not have synced its name: another task, or another process.
                let known = root.durable.get(usize::from(*shard));
                folders
                    .fresh
                    .extend(known.filter(|known| !known.load(Ordering::Acquire)));
            }
        }
    }
    if !folders.fresh.is_empty() {
        open(OBJECTS);
    }
    folders
}

/// Closes folders that need not be put on disk after all.
async fn close_all(root: &Root, folders: Folders<'_>) {
    for answer in folders.opened {
        if let Ok(handle) = answer.handle().await {
            root.session.tell(Request::Close(&handle));
        }
    }
}

/// Puts the names in folders on disk, all at once. What is to be there must be there by now.
pub(super) async fn sync_folders(root: &Root, folders: Folders<'_>) -> Result<(), Trouble> {
    let session = &root.session;
    let mut synced = Vec::new();
    let mut failed = None;
    for answer in folders.opened {
        match answer.handle().await {
            Ok(handle) => {
                root.opens_folders.store(true, Ordering::Release);
                synced.push(session.ask(Request::Fsync(&handle)));
                session.tell(Request::Close(&handle));
            }
            // Some servers open no folders; then they cannot be asked to put one on disk. One that has opened one before fails.
            Err(Trouble::Status(status))
                if status.code != Status::NO_SUCH_FILE
                    && !root.opens_folders.load(Ordering::Acquire) =>
            {
                root.folder_fsync.store(false, Ordering::Release);
            }
            Err(trouble) => {
                failed.get_or_insert(trouble);
            }
        }
    }
    for answer in synced {
        if let Err(trouble) = answer.done().await {
            failed.get_or_insert(trouble);
        }
    }
    match failed {
        Some(trouble) => Err(trouble),
        None => {
            for known in folders.fresh {
                known.store(true, Ordering::Release);
            }
            Ok(())
        }
    }
}

/// Tries out whether the server refuses to replace a file, as it should.
async fn probe(root: &Root) -> Result<Placing, StoreError> {
    let session = &root.session;
    let temp = || random_hex().map(|name| root.at(&format!("{TMP}/{name}")));
    let (taken, free) = (temp()?, temp()?);
    let mut found = Placing::Exclusive;
    for placing in [Placing::Link, Placing::Rename] {
        if placing == Placing::Link && !session.has(HARDLINK) {
            continue;
        }
        let from = temp()?;
        for path in [&taken, &from] {
            match make_empty(root, path).await {
                Err(trouble) if trouble.is(Status::NO_SUCH_FILE) => {
                    root.confirm().await?;
                    root.make_folders(None).await;
                    if let Err(trouble) = make_empty(root, path).await {
                        return Err(root.explain(trouble, "cannot make a file", 0).await);
                    }
                }
                Err(trouble) => {
                    return Err(root.explain(trouble, "cannot make a file", 0).await);
                }
                Ok(()) => {}
            }
        }
        let try_to = |to: &str| {
            let request = match placing {
                Placing::Link => Request::Link { from: &from, to },
                _ => Request::Rename { from: &from, to },
            };
            session.ask(request)
        };
        let refused = try_to(&taken).done().await;
        let done = try_to(&free).done().await;
        for path in [&taken, &free, &from] {
            session.tell(Request::Remove(path));
        }
        if let (Err(trouble @ Trouble::Lost(_)), _) | (_, Err(trouble @ Trouble::Lost(_))) =
            (&refused, &done)
        {
            return Err(trouble.during("cannot try out how files get their names"));
        }
        if refused.is_err() && done.is_ok() {
            found = placing;
            break;
        }
    }
    tracing::debug!(store = %root.shown, ?found, "how finished files get their names");
    Ok(found)
}

async fn make_empty(root: &Root, path: &str) -> Result<(), Trouble> {
    let handle = root.session.ask(Request::OpenNew(path)).handle().await?;
    root.session.tell(Request::Close(&handle));
    Ok(())
}

/// Writes the marker of a store that is being made: there is none yet that could be looked at.
pub(super) async fn write_marker(
    root: &Root,
    place: &Place,
    line: &Bytes,
) -> Result<Bytes, StoreError> {
    let placing = placing(root).await?;
    let temp = root.at(&format!("{TMP}/{}", random_hex()?));
    let path = root.at(&place.path);
    let first = match placing {
        Placing::Exclusive => &path,
        _ => &temp,
    };
    let handle = match root.session.ask(Request::OpenNew(first)).handle().await {
        Ok(handle) => handle,
        Err(trouble) => return Err(not_named(root, place, trouble).await),
    };
    let mut draft = Draft {
        root,
        path: first.clone(),
        handle,
        armed: true,
    };
    fill(root, &draft.handle, place, line, root.fsync).await?;
    let named = match placing {
        Placing::Exclusive => Ok(()),
        Placing::Rename => {
            let (from, to) = (&draft.path, &path);
            root.session.ask(Request::Rename { from, to }).done().await
        }
        Placing::Link => {
            let (from, to) = (&draft.path, &path);
            let named = root.session.ask(Request::Link { from, to }).done().await;
            root.session.tell(Request::Remove(&draft.path));
            named
        }
    };
    if let Err(trouble) = named {
        return Err(not_named(root, place, trouble).await);
    }
    draft.armed = false;
    let _ = sync_folders(root, open_folders(root, &[None])).await;
    Ok(draft.handle.clone())
}

/// Puts the names in any folder of the server on disk.
pub(super) async fn sync_path(root: &Root, path: &str) -> Result<(), Trouble> {
    if !root.fsync {
        return Ok(());
    }
    let handle = root.session.ask(Request::OpenRead(path)).handle().await?;
    let done = root.session.ask(Request::Fsync(&handle));
    root.session.tell(Request::Close(&handle));
    done.done().await
}

//! Contents: opening, reading, writing, saving.
//!
//! Reads and writes go past the kernel's page cache where the kernel allows mappings beside that (Linux 6.6): this was
//! quickest for large requests, and no plaintext stays behind in the cache. Only a mapping puts pages there, and they
//! are dropped at the last close. Elsewhere the cache is used, and dropped in the same way.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use fuser::{Errno, FopenFlags, INodeNo, LockOwner};
use warifu_vault::node::{Attr, AttrChange, Name, NodeId, NodeKind};
use warifu_vault::{Access, Contents, Context, FileHandle, SecretBytes, VaultError};

use crate::acl::{Beginning, DEFAULT, Modes};
use crate::attrs::{file_attr, has_set_id, ino, without_set_id};
use crate::caller::Caller;
use crate::drive::{Answer, Drive};
use crate::errno::Refusal;
use crate::open::{OpenFile, Opening};

/// The block size in which room is counted.
pub(crate) const ROOM_BLOCK: u32 = 4096;

/// What a server that does not say how much room it has is taken to have: a pebibyte.
const UNKNOWN_ROOM: u64 = 1 << 50;

/// How long the room is taken to be what it was.
const ROOM_KEPT: Duration = Duration::from_secs(2);
/// How long servers are waited for that have not said how much room they have.
const ROOM_PATIENCE: Duration = Duration::from_secs(2);

/// The kernel opens a file with this bit to run it. It is its own and not in `libc`.
const FMODE_EXEC: i32 = 0x20;

/// What an open answers: the handle's number, and how the kernel is to treat it.
pub(crate) type Opened = (u64, FopenFlags);

/// One write request, its data apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteAt {
    /// Where in the file.
    pub(crate) offset: u64,
    /// Whether the file was opened to append.
    pub(crate) append: bool,
    /// Whether it must be safe when it is answered: the file was opened so, or this write asks for it. For writes past its cache
    /// the kernel does not ask for an fsync after them.
    pub(crate) sync: bool,
    /// Whether it is the kernel that writes back a page, some time after a program changed it.
    pub(crate) write_back: bool,
    /// Whether set-id bits must fall.
    pub(crate) kill_set_id: bool,
    /// The descriptor table of the program that writes, where the kernel names it.
    pub(crate) table: Option<LockOwner>,
}

/// Notes who has changed a file, by whose closing it is saved. After the change, so that no save which came before it takes it for saved.
fn note_writer(file: &OpenFile, at: WriteAt) {
    if at.write_back {
        file.node.paged.store(true, Ordering::Relaxed);
        file.node.written_back.note();
    } else {
        file.changers.wrote(at.table);
    }
}

fn counted(written: Result<usize, VaultError>) -> Answer<u32> {
    Ok(u32::try_from(written?).map_err(|_| Errno::EIO)?)
}

impl Drive {
    pub(crate) async fn open(&self, caller: Caller, node: NodeId, flags: i32) -> Answer<Opened> {
        let context = self.callers.act(caller).await;
        let access = access(flags);
        if access.truncate {
            // An open to write the kernel refuses itself. Of one that only empties it would find out when that is done.
            if self.open.node(node).is_some_and(|open| open.is_running()) {
                return Err(Errno::ETXTBSY.into());
            }
            self.vault.trust_locks(node).await?;
        }
        self.launder(node).await;
        let kept = Access {
            truncate: false,
            ..access
        };
        let opening = self.open.begin(node);
        let since = opening.node.set_id.look();
        let handle = match self.vault.open(&context, node, kept).await {
            Ok(handle) => handle,
            Err(error) => {
                if opening.give_up() {
                    self.drop_pages(node).await;
                }
                return Err(error.into());
            }
        };
        if let Some(attr) = handle.opened() {
            self.catch_up(&file_attr(attr));
            // So the first write need not ask.
            opening.node.set_id.looked(since, has_set_id(attr.mode));
        }
        let runs = flags & FMODE_EXEC != 0;
        let (opened, file) = self.keep(opening, (handle, runs), context, access);
        if access.truncate {
            let emptied = self.empty(&file, caller).await;
            self.changed();
            if let Err(refusal) = emptied {
                // The kernel will not release what it was never given.
                let (number, _) = opened;
                self.release(caller, number, None).await?;
                return Err(refusal);
            }
        }
        Ok(opened)
    }

    /// Empties a file as its open asks for. The kernel does not come back about the set-id bits, and where these cannot be taken away, the
    /// open fails and the contents stay.
    async fn empty(&self, file: &OpenFile, caller: Caller) -> Answer<()> {
        self.drop_set_id(file, caller).await?;
        let emptied = file.handle.set_size(&file.opener, 0).await;
        file.changers.shaped(caller);
        Ok(emptied?)
    }

    /// Lets the kernel write back what programs have changed in mappings of a file, before an open or a lock brings the file up to a version that
    /// these changes were not made to, or a lock goes under which they were made.
    pub(crate) async fn launder(&self, node: NodeId) {
        let mapped = self
            .open
            .node(node)
            .filter(|open| open.paged.load(Ordering::Relaxed));
        if mapped.is_some() {
            self.drop_pages(node).await;
        }
    }

    async fn drop_pages(&self, node: NodeId) {
        let Some(notifier) = self.notifier() else {
            return;
        };
        // The kernel waits for its writes, which come to us.
        let told = tokio::task::spawn_blocking(move || notifier.inval_inode(ino(node), 0, 0)).await;
        if let Ok(Err(error)) = told {
            tracing::warn!(node = node.0, %error, "the kernel did not write back and drop the pages of a file");
        }
    }

    pub(crate) async fn create(
        &self,
        caller: Caller,
        parent: NodeId,
        name: &Name,
        mode: Modes,
        flags: i32,
    ) -> Answer<(Attr, Opened)> {
        let context = self.callers.act(caller).await;
        let new = Access {
            truncate: false,
            ..access(flags)
        };
        match self.make_file(&context, (parent, name), mode, new).await? {
            Ok(((attr, handle), beginning)) => {
                let attr = match self.begin(&context, (parent, name), attr, beginning).await {
                    Ok(attr) => attr,
                    Err(refusal) => {
                        handle.release(&context).await?;
                        return Err(refusal);
                    }
                };
                let opening = self.open.begin(attr.node);
                let bits = &opening.node.set_id;
                bits.looked(bits.look(), has_set_id(attr.mode));
                let (opened, _) = self.keep(opening, (handle, false), context, new);
                self.changed();
                Ok((attr, opened))
            }
            // Somebody else made it since the kernel looked, which looks again when told this: what it takes for made by the open, it
            // does not ask whether this caller may open.
            Err(VaultError::Exists) if flags & libc::O_EXCL == 0 => Err(Errno::ESTALE.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a file as its folder asks for, which seldom asks for anything: so it is made first, and the folder's list is read where that was
    /// refused, or was refused before.
    async fn make_file(
        &self,
        context: &Context,
        (parent, name): (NodeId, &Name),
        mode: Modes,
        access: Access,
    ) -> Answer<Result<((Attr, FileHandle), Beginning), VaultError>> {
        if self.lists() && !self.with_lists.has(parent) {
            let plain = Beginning::plain(mode);
            let as_asked = (plain.mode, DEFAULT);
            let vault = &self.vault;
            match vault
                .create_file_unless(context, parent, name, as_asked, access)
                .await
            {
                Ok(Some(made)) => return Ok(Ok((made, plain))),
                Ok(None) => self.with_lists.note(parent, true),
                Err(error) => return Ok(Err(error)),
            }
        }
        let beginning = self
            .beginning(context, parent, NodeKind::File, mode)
            .await?;
        self.with_lists.note(parent, beginning.has_lists());
        let made = self
            .vault
            .create_file(context, parent, name, beginning.mode, access)
            .await;
        Ok(made.map(|made| (made, beginning)))
    }

    fn keep(
        &self,
        opening: Opening<'_>,
        (handle, runs): (FileHandle, bool),
        opener: Context,
        access: Access,
    ) -> (Opened, Arc<OpenFile>) {
        let (number, file) = self.open.keep_file(opening, (handle, runs), opener);
        let mut flags = FopenFlags::empty();
        if self.direct.load(Ordering::Relaxed) {
            flags |= FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        } else {
            file.node.paged.store(true, Ordering::Relaxed);
        }
        if !access.write {
            // Nothing to save: close need not ask.
            flags |= FopenFlags::FOPEN_NOFLUSH;
        }
        ((number, flags), file)
    }

    /// What has just been opened to be read will be.
    pub(crate) fn expect_reading(&self, number: u64) {
        if let Ok(file) = self.open.file(number) {
            file.handle.expect_reading();
        }
    }

    /// Reads from an open file. `to_page` tells that the kernel reads for its page cache, which is for a mapping.
    pub(crate) async fn read(
        &self,
        number: u64,
        offset: u64,
        len: u32,
        to_page: bool,
    ) -> Answer<Contents> {
        let file = self.open.file(number)?;
        if to_page {
            file.node.paged.store(true, Ordering::Relaxed);
        }
        let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
        Ok(file.handle.read(offset, len).await?)
    }

    /// A write for which nothing has to be waited for; `None` where something has. What it notes of the writer it may note twice.
    pub(crate) fn write_at_once(
        &self,
        number: u64,
        at: WriteAt,
        data: &[u8],
    ) -> Option<Answer<u32>> {
        if at.sync && !at.write_back {
            return None;
        }
        let file = self.open.file(number).ok()?;
        // The kernel asks for it with every write of an ordinary user.
        if at.kill_set_id && file.node.set_id.is_possible() {
            return None;
        }
        // Whether a lock is still good may have to be asked.
        if self.vault.has_locks(file.handle.node()) {
            return None;
        }
        let written = match at.append && !at.write_back {
            true => file.handle.append_at_once(data)?,
            false => file.handle.write_at_once(at.offset, data)?,
        };
        note_writer(&file, at);
        self.changed();
        Some(counted(written))
    }

    pub(crate) async fn write(
        &self,
        caller: Caller,
        number: u64,
        at: WriteAt,
        data: &SecretBytes,
    ) -> Answer<u32> {
        let file = self.open.file(number)?;
        self.vault.trust_locks(file.handle.node()).await?;
        if at.kill_set_id {
            self.drop_set_id(&file, caller).await?;
        }
        // The kernel appends at the size it remembers, which another program may have changed.
        let written = if at.append && !at.write_back {
            file.handle.append(&file.opener, data.expose()).await
        } else {
            let offset = at.offset;
            file.handle.write(&file.opener, offset, data.expose()).await
        };
        note_writer(&file, at);
        self.changed();
        if at.sync && !at.write_back && written.is_ok() {
            self.save(&file, true).await?;
        }
        counted(written)
    }

    /// Takes away the set-id bits of a file that somebody changed who may not keep them.
    async fn drop_set_id(&self, file: &OpenFile, caller: Caller) -> Answer<()> {
        let bits = &file.node.set_id;
        if caller.keeps_set_id() || !bits.is_possible() {
            return Ok(());
        }
        let since = bits.look();
        let mut attr = file.handle.attr().await?;
        if let Some(mode) = without_set_id(attr.mode) {
            let change = AttrChange {
                mode: Some(mode),
                ..AttrChange::default()
            };
            attr = self
                .vault
                .set_attr(&file.opener, attr.node, &change)
                .await?;
        }
        bits.looked(since, has_set_id(attr.mode));
        Ok(())
    }

    /// close(2): saves, if it is closed by who changed it.
    pub(crate) async fn flush(&self, number: u64, table: LockOwner, caller: Caller) -> Answer<()> {
        let file = self.open.file(number)?;
        let changed = file.node.written_back.is_unsaved() || file.changers.includes(table, caller);
        let saved = if changed {
            self.save(&file, false).await
        } else {
            Ok(())
        };
        // After the save, so that whoever waits for the lock finds what was written under it.
        self.let_go(caller, file.handle.node(), table.0).await;
        saved
    }

    /// fsync(2): saves, and everything is on disk.
    pub(crate) async fn fsync(&self, number: u64) -> Answer<()> {
        let file = self.open.file(number)?;
        self.save(&file, true).await
    }

    async fn save(&self, file: &OpenFile, durable: bool) -> Answer<()> {
        let (pages, changes) = (file.node.written_back.last(), file.changers.last());
        let saved = if durable {
            file.handle.fsync(&file.opener).await
        } else {
            file.handle.flush(&file.opener).await
        };
        if saved.is_ok() {
            file.node.written_back.saved(pages);
            file.changers.saved(changes);
        }
        self.changed();
        Ok(saved?)
    }

    /// The end of a handle. No program hears of an error here; the vault remembers what is lost and names it when it
    /// is shut down. Gives the file whose pages the kernel must be told to drop.
    pub(crate) async fn release(
        &self,
        caller: Caller,
        number: u64,
        locker: Option<LockOwner>,
    ) -> Answer<Option<INodeNo>> {
        let (file, last) = self.open.take_file(number)?;
        let node = file.handle.node();
        for owner in file
            .lockers()
            .into_iter()
            .chain(locker.map(|owner| owner.0))
        {
            self.let_go(caller, node, owner).await;
        }
        // A mapping may be changed after its descriptor was closed, and no close comes after that.
        let pages = file.node.written_back.last();
        let changed = file.node.written_back.is_unsaved() || !file.changers.is_empty();
        let released = if changed && file.handle.is_for_writing() {
            let saved = file.handle.release_saved(&file.opener).await;
            if saved.is_ok() {
                file.node.written_back.saved(pages);
            }
            saved
        } else {
            file.handle.release(&file.opener).await
        };
        if let Err(error) = released {
            Refusal::from(error).log("release", node.0);
        }
        self.changed();
        Ok((last && file.node.paged.load(Ordering::Relaxed)).then_some(ino(node)))
    }

    /// fallocate(2). Room cannot be reserved on servers, so this sets sizes and writes zeros, and refuses what is sure
    /// not to fit.
    pub(crate) async fn allocate(
        &self,
        caller: Caller,
        number: u64,
        offset: u64,
        len: u64,
        mode: i32,
    ) -> Answer<()> {
        let file = self.open.file(number)?;
        let end = offset
            .checked_add(len)
            .filter(|_| len > 0)
            .ok_or(Errno::EINVAL)?;
        self.vault.trust_locks(file.handle.node()).await?;
        if mode == 0 {
            let more = end.saturating_sub(file.handle.size().await);
            if more > 0 && more / u64::from(ROOM_BLOCK) > self.room().await?.1 {
                return Err(Errno::ENOSPC.into());
            }
        }
        let (handle, opener) = (&file.handle, &file.opener);
        let done = match mode {
            0 => handle.grow_to(opener, end).await,
            libc::FALLOC_FL_KEEP_SIZE => Ok(()),
            PUNCH | ZERO_KEEPING_SIZE => handle.punch(opener, offset, len).await,
            libc::FALLOC_FL_ZERO_RANGE => match handle.punch(opener, offset, len).await {
                Ok(()) => handle.grow_to(opener, end).await,
                failed => failed,
            },
            _ => return Err(Errno::EOPNOTSUPP.into()),
        };
        file.changers.shaped(caller);
        self.changed();
        Ok(done?)
    }

    /// lseek(2) for data and holes. Where the holes are is not kept, so a file is all data with one hole at its end.
    pub(crate) async fn seek(&self, number: u64, offset: i64, whence: i32) -> Answer<i64> {
        let size = self.open.file(number)?.handle.size().await;
        let size = i64::try_from(size).map_err(|_| Errno::EOVERFLOW)?;
        if !(0..size).contains(&offset) {
            return Err(Errno::ENXIO.into());
        }
        match whence {
            libc::SEEK_DATA => Ok(offset),
            libc::SEEK_HOLE => Ok(size),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    /// The room in blocks of [`ROOM_BLOCK`]: all of it and what is free, on the fullest server.
    ///
    /// Programs ask before each save, so the answer is kept for a moment, and one that is late is not waited for: the last
    /// one known does.
    pub(crate) async fn room(&self) -> Answer<(u64, u64)> {
        let known = *self.room.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, room)) = known
            && at.elapsed() < ROOM_KEPT
        {
            return Ok(room);
        }
        match tokio::time::timeout(ROOM_PATIENCE, self.vault.space()).await {
            Ok(space) => {
                let space = space?;
                let room = blocks(space.total, space.free);
                *self.room.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((Instant::now(), room));
                Ok(room)
            }
            Err(_) => Ok(known.map_or_else(|| blocks(None, None), |(_, room)| room)),
        }
    }
}

const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
const ZERO_KEEPING_SIZE: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;

fn blocks(total: Option<u64>, free: Option<u64>) -> (u64, u64) {
    let free = free.unwrap_or(UNKNOWN_ROOM);
    let total = total.unwrap_or(UNKNOWN_ROOM).max(free);
    (total / u64::from(ROOM_BLOCK), free / u64::from(ROOM_BLOCK))
}

/// What open(2) asks for. Emptying a file opened for reading only is possible on Linux, and needs to write.
pub(crate) const fn access(flags: i32) -> Access {
    let mode = flags & libc::O_ACCMODE;
    let truncate = flags & libc::O_TRUNC != 0;
    Access {
        read: mode != libc::O_WRONLY,
        write: mode == libc::O_WRONLY || mode == libc::O_RDWR || truncate,
        truncate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_flags_become_access() {
        let seen = |flags| {
            let Access {
                read,
                write,
                truncate,
            } = access(flags);
            (read, write, truncate)
        };
        assert_eq!(seen(libc::O_RDONLY), (true, false, false));
        assert_eq!(seen(libc::O_WRONLY | libc::O_APPEND), (false, true, false));
        assert_eq!(seen(libc::O_RDWR | libc::O_TRUNC), (true, true, true));
        assert_eq!(seen(libc::O_RDONLY | libc::O_TRUNC), (true, true, true));
    }

    #[test]
    fn room_is_counted_in_blocks_and_free_never_exceeds_all() {
        assert_eq!(blocks(Some(40_960), Some(8_193)), (10, 2));
        assert_eq!(blocks(Some(4_096), Some(8_192)), (2, 2));
        let (total, free) = blocks(None, None);
        assert!(total == free && free > 0);
    }
}

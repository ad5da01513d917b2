//! The calls of the kernel, one by one: each is translated, handed to a task, and answered from there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, INodeNo,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLock, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use warifu_vault::SecretBytes;
use warifu_vault::node::Name;

use crate::attrs::{Asked, file_attr, node};
use crate::io::{ROOM_BLOCK, WriteAt};
use crate::lanes::Lane;
use crate::locks::Ask;
use crate::names::SetAttr;
use crate::skin::{BELIEVED, GENERATION, Skin, done, respond, told};

impl Filesystem for Skin {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        crate::kernel::agree(config, self.agreed, &self.drive);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (drive, caller, name) = self.named(request, name);
        let work = async move { drive.lookup(caller, node(parent), &name?).await };
        self.answer((Lane::Names, "lookup", parent), reply, work, self.entry());
    }

    // A node's number stands for it as long as it exists, so there is nothing to forget.
    fn forget(&self, _request: &Request, _ino: INodeNo, _lookups: u64) {}

    fn getattr(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let (drive, caller) = self.asked(request);
        let work = async move {
            drive
                .attr(caller, node(ino), handle.map(|handle| handle.0))
                .await
        };
        self.answer(
            (Lane::Names, "getattr", ino),
            reply,
            work,
            self.attributes(),
        );
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let (drive, caller) = self.asked(request);
        let set = SetAttr {
            size,
            asked: Asked {
                mode,
                uid,
                gid,
                atime,
                mtime,
            },
            handle: handle.map(|handle| handle.0),
        };
        let lane = if size.is_some() {
            Lane::Saves
        } else {
            Lane::Names
        };
        let work = async move { drive.set_attr(caller, node(ino), set).await };
        self.answer((lane, "setattr", ino), reply, work, self.attributes());
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        let (drive, caller) = self.asked(request);
        let work = async move { drive.read_link(caller, node(ino)).await };
        self.answer(
            (Lane::Names, "readlink", ino),
            reply,
            work,
            |reply, target| reply.data(&target),
        );
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let (drive, caller, name) = self.named(request, name);
        let work = async move {
            drive
                .make_node(caller, node(parent), &name?, (mode, umask), rdev)
                .await
        };
        self.answer((Lane::Names, "mknod", parent), reply, work, self.entry());
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let (drive, caller, name) = self.named(request, name);
        let work = async move {
            drive
                .make_dir(caller, node(parent), &name?, (mode, umask))
                .await
        };
        self.answer((Lane::Names, "mkdir", parent), reply, work, self.entry());
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (drive, caller, name) = self.named(request, name);
        let work = async move { drive.remove(caller, node(parent), &name?).await };
        self.answer((Lane::Names, "unlink", parent), reply, work, done);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (drive, caller, name) = self.named(request, name);
        let work = async move { drive.remove_dir(caller, node(parent), &name?).await };
        self.answer((Lane::Names, "rmdir", parent), reply, work, done);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let (drive, caller, name) = self.named(request, name);
        let target = target.as_os_str().as_bytes().to_vec();
        let work = async move {
            drive
                .make_symlink(caller, node(parent), &name?, &target)
                .await
        };
        self.answer((Lane::Names, "symlink", parent), reply, work, self.entry());
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (drive, caller) = self.asked(request);
        let (name, new_name) = (Name::new(name.as_bytes()), Name::new(new_name.as_bytes()));
        let work = async move {
            drive
                .rename(
                    caller,
                    (node(parent), &name?),
                    (node(new_parent), &new_name?),
                    flags,
                )
                .await
        };
        self.answer((Lane::Names, "rename", parent), reply, work, done);
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let (drive, caller, name) = self.named(request, new_name);
        let work = async move {
            drive
                .link(caller, node(ino), node(new_parent), &name?)
                .await
        };
        self.answer((Lane::Names, "link", ino), reply, work, self.entry());
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (drive, caller) = self.asked(request);
        let opened = self.drive();
        let work = async move { drive.open(caller, node(ino), flags.0).await };
        self.answer(
            (Lane::Data, "open", ino),
            reply,
            work,
            move |reply, (number, flags)| {
                reply.opened(FileHandle(number), flags);
                // While the program is being told.
                opened.expect_reading(number);
            },
        );
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (drive, caller, name) = self.named(request, name);
        let work = async move {
            drive
                .create(caller, node(parent), &name?, (mode, umask), flags)
                .await
        };
        let known = self.drive();
        self.answer(
            (Lane::Names, "create", parent),
            reply,
            work,
            move |reply, (attr, (number, flags))| {
                let attr = file_attr(&attr);
                known.told.note(&attr);
                reply.created(&BELIEVED, &attr, GENERATION, FileHandle(number), flags);
            },
        );
    }

    fn read(
        &self,
        _request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        // The kernel names the owner of locks with what a program reads, and has none to name when it fills a page.
        let to_page = lock_owner.is_none();
        let drive = self.drive();
        let work = async move { drive.read(handle.0, offset, size, to_page).await };
        self.answer((Lane::Data, "read", ino), reply, work, |reply, bytes| {
            reply.data(bytes.expose())
        });
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        table: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let at = WriteAt {
            offset,
            append: flags.0 & libc::O_APPEND != 0,
            sync: flags.0 & (libc::O_SYNC | libc::O_DSYNC) != 0,
            write_back: write_flags.contains(WriteFlags::FUSE_WRITE_CACHE),
            kill_set_id: write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID),
            table,
        };
        let at_once = || self.drive.write_at_once(handle.0, at, data);
        if let Some(done) = self.lanes.at_once(at_once) {
            return respond(("write", ino), reply, done, ReplyWrite::written);
        }
        let (drive, caller) = self.asked(request);
        // The buffer that the request came in is used for the next one as soon as this returns.
        let data = SecretBytes::from_slice(data);
        let work = async move { drive.write(caller, handle.0, at, &data).await };
        self.answer((Lane::Data, "write", ino), reply, work, ReplyWrite::written);
    }

    fn flush(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        table: LockOwner,
        reply: ReplyEmpty,
    ) {
        let (drive, caller) = self.asked(request);
        self.answer(
            (Lane::Saves, "flush", ino),
            reply,
            async move { drive.flush(handle.0, table, caller).await },
            done,
        );
    }

    fn release(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        locker: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let ((drive, caller), lanes) = (self.asked(request), Arc::clone(&self.lanes));
        let work = async move {
            let paged = drive.release(caller, handle.0, locker).await?;
            if let (Some(ino), Some(notifier)) = (paged, drive.notifier()) {
                // Blocks while the kernel writes back what is left of a mapping, which comes to us as further writes.
                lanes.runtime().spawn_blocking(move || {
                    if let Err(error) = notifier.inval_inode(ino, 0, 0) {
                        tracing::warn!(node = ino.0, %error, "the kernel did not drop the pages of a closed file");
                    }
                });
            }
            Ok(())
        };
        self.answer((Lane::Saves, "release", ino), reply, work, done);
    }

    fn fsync(
        &self,
        _request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let drive = self.drive();
        self.answer(
            (Lane::Saves, "fsync", ino),
            reply,
            async move { drive.fsync(handle.0).await },
            done,
        );
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let (drive, caller) = self.asked(request);
        let work = async move { drive.open_dir(caller, node(ino)).await };
        self.answer(
            (Lane::Names, "opendir", ino),
            reply,
            work,
            |reply, number| {
                reply.opened(FileHandle(number), FopenFlags::empty());
            },
        );
    }

    fn readdir(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let (drive, caller) = self.asked(request);
        self.lanes.run(Lane::Names, async move {
            let mut sink = |place: u64, name: &[u8], attr: &FileAttr| {
                reply.add(attr.ino, place, attr.kind, OsStr::from_bytes(name))
            };
            let listed = drive.read_dir(caller, handle.0, offset, &mut sink).await;
            match listed {
                Ok(()) => reply.ok(),
                Err(refusal) => {
                    refusal.log("readdir", ino.0);
                    reply.error(refusal.errno());
                }
            }
        });
    }

    fn readdirplus(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let (drive, caller) = self.asked(request);
        self.lanes.run(Lane::Names, async move {
            let mut sink = |place: u64, name: &[u8], attr: &FileAttr| {
                let full = reply.add(
                    attr.ino,
                    place,
                    OsStr::from_bytes(name),
                    &BELIEVED,
                    attr,
                    GENERATION,
                );
                // One that does not fit any more is not told.
                if !full {
                    drive.told.note(attr);
                }
                full
            };
            let listed = drive.read_dir(caller, handle.0, offset, &mut sink).await;
            match listed {
                Ok(()) => reply.ok(),
                Err(refusal) => {
                    refusal.log("readdirplus", ino.0);
                    reply.error(refusal.errno());
                }
            }
        });
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.drive.open.drop_dir(handle.0);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let drive = self.drive();
        self.answer(
            (Lane::Saves, "fsyncdir", ino),
            reply,
            async move { drive.sync_names().await },
            done,
        );
    }

    fn statfs(&self, _request: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let drive = self.drive();
        self.answer(
            (Lane::Data, "statfs", ino),
            reply,
            async move { drive.room().await },
            |reply, (all, free)| {
                let name_max = u32::try_from(Name::MAX).unwrap_or(u32::MAX);
                // The number of files is bounded by the room alone, which zeros say.
                reply.statfs(all, free, free, 0, 0, ROOM_BLOCK, name_max, ROOM_BLOCK);
            },
        );
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let (drive, caller) = self.asked(request);
        let name = name.as_bytes().to_vec();
        let value = SecretBytes::from_slice(value);
        let work = async move {
            drive
                .set_xattr(caller, node(ino), &name, value.expose(), flags)
                .await
        };
        self.answer((Lane::Names, "setxattr", ino), reply, work, done);
    }

    fn getxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let (drive, caller) = self.asked(request);
        let name = name.as_bytes().to_vec();
        let work = async move { drive.xattr(caller, node(ino), &name, size).await };
        self.answer((Lane::Names, "getxattr", ino), reply, work, told);
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let (drive, caller) = self.asked(request);
        let work = async move { drive.list_xattrs(caller, node(ino), size).await };
        self.answer((Lane::Names, "listxattr", ino), reply, work, told);
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (drive, caller) = self.asked(request);
        let name = name.as_bytes().to_vec();
        let work = async move { drive.remove_xattr(caller, node(ino), &name).await };
        self.answer((Lane::Names, "removexattr", ino), reply, work, done);
    }

    fn fallocate(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let (drive, caller) = self.asked(request);
        let work = async move { drive.allocate(caller, handle.0, offset, length, mode).await };
        self.answer((Lane::Data, "fallocate", ino), reply, work, done);
    }

    fn lseek(
        &self,
        _request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let drive = self.drive();
        let work = async move { drive.seek(handle.0, offset, whence).await };
        self.answer((Lane::Names, "lseek", ino), reply, work, ReplyLseek::offset);
    }

    fn getlk(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: FileHandle,
        owner: LockOwner,
        first: u64,
        last: u64,
        typ: i32,
        pid: u32,
        reply: ReplyLock,
    ) {
        let drive = self.drive();
        let ask = Ask::new(owner, (first, last), typ, pid);
        self.answer(
            (Lane::Names, "getlk", ino),
            reply,
            async move { drive.test_lock(node(ino), ask).await },
            |reply, (first, last, typ, pid)| reply.locked(first, last, typ, pid),
        );
    }

    fn setlk(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        owner: LockOwner,
        first: u64,
        last: u64,
        typ: i32,
        pid: u32,
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        let (drive, caller) = self.asked(request);
        let ask = Ask::new(owner, (first, last), typ, pid);
        let work = async move {
            drive
                .set_lock(caller, (node(ino), handle.0), ask, sleep)
                .await
        };
        self.answer((Lane::Locks, "setlk", ino), reply, work, done);
    }

    fn ioctl(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _ino_in: INodeNo,
        _handle_in: FileHandle,
        _offset_in: u64,
        _ino_out: INodeNo,
        _handle_out: FileHandle,
        _offset_out: u64,
        _len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // The kernel then copies by reading and writing, and does not ask again.
        reply.error(Errno::ENOSYS);
    }
}

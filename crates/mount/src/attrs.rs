//! Attributes as the vault has them, as the kernel wants them, and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use warifu_vault::node::{Attr, AttrChange, NodeId, NodeKind};
use warifu_vault::seam::clock::Timestamp;

/// The block size that programs are told to prefer. The kernel asks in pieces of at most 1 MiB; larger ones gain nothing.
const BLOCK: u32 = 4096;

/// Set-user-id.
const SET_UID: u32 = 0o4000;
/// Set-group-id.
pub(crate) const SET_GID: u32 = 0o2000;
/// May be executed by its group. Without it, set-group-id stands for mandatory locking and nothing is at risk.
const GROUP_EXEC: u32 = 0o010;

/// A node as the kernel names it.
pub(crate) const fn ino(node: NodeId) -> INodeNo {
    INodeNo(node.0)
}

/// The node that the kernel names.
pub(crate) const fn node(ino: INodeNo) -> NodeId {
    NodeId(ino.0)
}

/// The kind as the kernel names it.
pub(crate) const fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::File => FileType::RegularFile,
        NodeKind::Dir => FileType::Directory,
        NodeKind::Symlink => FileType::Symlink,
        NodeKind::Fifo => FileType::NamedPipe,
        NodeKind::Socket => FileType::Socket,
        NodeKind::CharDevice => FileType::CharDevice,
        NodeKind::BlockDevice => FileType::BlockDevice,
    }
}

/// The kind that mknod(2) asks for, `None` for what it cannot make.
pub(crate) const fn kind_of_mode(mode: u32) -> Option<NodeKind> {
    Some(match mode & libc::S_IFMT {
        // POSIX leaves 0 open; Linux takes it for a regular file.
        0 | libc::S_IFREG => NodeKind::File,
        libc::S_IFIFO => NodeKind::Fifo,
        libc::S_IFSOCK => NodeKind::Socket,
        libc::S_IFCHR => NodeKind::CharDevice,
        libc::S_IFBLK => NodeKind::BlockDevice,
        _ => return None,
    })
}

/// Attributes as the kernel wants them.
pub(crate) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: ino(attr.node),
        size: attr.size,
        blocks: attr.size.div_ceil(512),
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: system_time(attr.btime),
        kind: file_type(attr.kind),
        perm: u16::try_from(attr.mode & 0o7777).unwrap_or(0),
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: BLOCK,
        flags: 0,
    }
}

/// The `.` and `..` of a listing, of which the kernel takes the number and the kind only.
pub(crate) fn dots(node: NodeId) -> FileAttr {
    FileAttr {
        ino: ino(node),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::Directory,
        perm: 0,
        nlink: 2,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

/// A time as the standard library has it; the ends of its range for what lies outside.
pub(crate) fn system_time(time: Timestamp) -> SystemTime {
    let nanos = Duration::from_nanos(u64::from(time.nanos));
    let secs = Duration::from_secs(time.secs.unsigned_abs());
    let whole = if time.secs < 0 {
        UNIX_EPOCH.checked_sub(secs)
    } else {
        UNIX_EPOCH.checked_add(secs)
    };
    whole
        .and_then(|whole| whole.checked_add(nanos))
        .unwrap_or(UNIX_EPOCH)
}

/// A time as fuser 0.18.0 hands it over.
///
/// Before 1970 fuser takes the nanoseconds off the whole seconds, where the kernel means them to be added: for the
/// kernel's (-1 s, 5 ns) it gives 1 s and 5 ns before the epoch. Reading it the same way gives the kernel's numbers back.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp {
            secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: since.subsec_nanos(),
        },
        Err(before) => {
            let before = before.duration();
            Timestamp {
                secs: 0_i64.saturating_sub_unsigned(before.as_secs()),
                nanos: before.subsec_nanos(),
            }
        }
    }
}

/// A time that a program asked for.
pub(crate) fn asked_time(time: TimeOrNow, now: Timestamp) -> Timestamp {
    match time {
        TimeOrNow::SpecificTime(time) => timestamp(time),
        TimeOrNow::Now => now,
    }
}

/// What setattr asks to be changed, the size apart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// File type and permission bits.
    pub(crate) mode: Option<u32>,
    /// New owner.
    pub(crate) uid: Option<u32>,
    /// New group.
    pub(crate) gid: Option<u32>,
    /// New time of last read.
    pub(crate) atime: Option<TimeOrNow>,
    /// New time of last change.
    pub(crate) mtime: Option<TimeOrNow>,
}

impl Asked {
    /// The change for the vault; `None` when nothing is to be changed.
    pub(crate) fn change(self, now: Timestamp) -> Option<AttrChange> {
        let change = AttrChange {
            mode: self.mode.map(|mode| mode & 0o7777),
            uid: self.uid,
            gid: self.gid,
            atime: self.atime.map(|time| asked_time(time, now)),
            mtime: self.mtime.map(|time| asked_time(time, now)),
        };
        (change != AttrChange::default()).then_some(change)
    }
}

/// Whether a mode has a set-id bit that writing takes away.
pub(crate) const fn has_set_id(mode: u32) -> bool {
    without_set_id(mode).is_some()
}

/// The mode that is left after somebody without the privilege to keep them has written to a file with set-id bits;
/// `None` when nothing changes.
pub(crate) const fn without_set_id(mode: u32) -> Option<u32> {
    let mut left = mode & !SET_UID;
    if mode & (SET_GID | GROUP_EXEC) == SET_GID | GROUP_EXEC {
        left &= !SET_GID;
    }
    if left == mode { None } else { Some(left) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warifu_core::ids::{FileId, VersionNo};

    fn at(secs: i64, nanos: u32) -> Timestamp {
        Timestamp { secs, nanos }
    }

    #[test]
    fn times_keep_their_nanoseconds_on_both_sides_of_1970() {
        assert_eq!(system_time(at(1, 5)), UNIX_EPOCH + Duration::new(1, 5));
        assert_eq!(
            system_time(at(-1, 500_000_000)),
            UNIX_EPOCH - Duration::from_millis(500)
        );
        assert_eq!(
            timestamp(UNIX_EPOCH + Duration::new(7, 999_999_999)),
            at(7, 999_999_999)
        );
        assert_eq!(timestamp(UNIX_EPOCH), at(0, 0));
        // As fuser hands over the kernel's (-1 s, 500 ms), half a second before 1970.
        assert_eq!(
            timestamp(UNIX_EPOCH - Duration::new(1, 500_000_000)),
            at(-1, 500_000_000)
        );
    }

    #[test]
    fn times_outside_every_range_do_not_panic() {
        for secs in [i64::MIN, i64::MIN + 1, i64::MAX] {
            let _ = system_time(at(secs, 999_999_999));
        }
    }

    #[test]
    fn attributes_are_translated_field_by_field() {
        let attr = Attr {
            node: NodeId(42),
            kind: NodeKind::File,
            mode: 0o4755,
            uid: 1000,
            gid: 100,
            nlink: 2,
            rdev: 9,
            size: 513,
            atime: at(1, 1),
            mtime: at(2, 2),
            ctime: at(3, 3),
            btime: at(4, 4),
            document: FileId::NIL,
            version: VersionNo(1),
            head: None,
        };
        let seen = file_attr(&attr);
        assert_eq!((seen.ino, seen.size, seen.blocks), (INodeNo(42), 513, 2));
        assert_eq!(
            (seen.perm, seen.nlink, seen.uid, seen.gid, seen.rdev),
            (0o4755, 2, 1000, 100, 9)
        );
        assert_eq!(seen.kind, FileType::RegularFile);
        assert_eq!(
            (seen.atime, seen.mtime),
            (system_time(at(1, 1)), system_time(at(2, 2)))
        );
        assert_eq!(
            (seen.ctime, seen.crtime),
            (system_time(at(3, 3)), system_time(at(4, 4)))
        );
    }

    #[test]
    fn mknod_makes_what_ext4_makes() {
        assert_eq!(kind_of_mode(libc::S_IFREG | 0o644), Some(NodeKind::File));
        assert_eq!(kind_of_mode(0o644), Some(NodeKind::File));
        assert_eq!(kind_of_mode(libc::S_IFIFO), Some(NodeKind::Fifo));
        assert_eq!(kind_of_mode(libc::S_IFSOCK), Some(NodeKind::Socket));
        assert_eq!(kind_of_mode(libc::S_IFCHR), Some(NodeKind::CharDevice));
        assert_eq!(kind_of_mode(libc::S_IFBLK), Some(NodeKind::BlockDevice));
        assert_eq!(kind_of_mode(libc::S_IFDIR), None);
        assert_eq!(kind_of_mode(libc::S_IFLNK), None);
    }

    #[test]
    fn setattr_changes_what_was_asked_and_nothing_else() {
        let now = at(100, 5);
        assert_eq!(Asked::default().change(now), None);
        let asked = Asked {
            mode: Some(libc::S_IFREG | 0o640),
            atime: Some(TimeOrNow::Now),
            ..Asked::default()
        };
        let expected = AttrChange {
            mode: Some(0o640),
            atime: Some(now),
            ..AttrChange::default()
        };
        assert_eq!(asked.change(now), Some(expected));
        let asked = Asked {
            mtime: Some(TimeOrNow::SpecificTime(UNIX_EPOCH + Duration::new(9, 1))),
            ..Asked::default()
        };
        assert_eq!(
            asked.change(now).and_then(|change| change.mtime),
            Some(at(9, 1))
        );
    }

    #[test]
    fn set_id_bits_fall_as_on_linux() {
        assert_eq!(without_set_id(0o755), None);
        assert_eq!(without_set_id(0o4755), Some(0o755));
        assert_eq!(without_set_id(0o2755), Some(0o755));
        assert_eq!(without_set_id(0o6755), Some(0o755));
        // Set-group-id without execution by the group is the mark of mandatory locking.
        assert_eq!(without_set_id(0o2745), None);
        assert_eq!(without_set_id(0o6745), Some(0o2745));
    }
}

//! What the kernel's error numbers mean to a caller. One match, so that it can be read at once.

use rustix::io::Errno;
use warifu_vault::seam::store::{StoreError, StoreErrorKind};

/// The kind a caller decides on.
///
/// `ENOENT` is not here as `NotFound`: whether an object is absent or the whole folder is gone takes a second look,
/// which only [`Root::absent`](super::root::Root::absent) makes.
pub(super) fn kind_of(errno: Errno) -> StoreErrorKind {
    match errno {
        Errno::NOSPC | Errno::DQUOT => StoreErrorKind::Full,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => StoreErrorKind::Denied,
        Errno::EXIST => StoreErrorKind::AlreadyExists,
        // The server behind a mount, or the disk behind a device, is gone.
        Errno::TIMEDOUT
        | Errno::NOTCONN
        | Errno::STALE
        | Errno::HOSTDOWN
        | Errno::HOSTUNREACH
        | Errno::NETDOWN
        | Errno::NETUNREACH
        | Errno::CONNREFUSED
        | Errno::CONNRESET
        | Errno::CONNABORTED
        | Errno::SHUTDOWN
        | Errno::NODEV
        | Errno::NXIO => StoreErrorKind::NoAnswer,
        // EIO, a name too long, no descriptors left, a directory where a file should be: an answer, of no use.
        _ => StoreErrorKind::Failed,
    }
}

/// The error for a system call that failed while `doing` something.
pub(super) fn failed(doing: impl std::fmt::Display, errno: Errno) -> StoreError {
    StoreError::new(kind_of(errno), format!("{doing}: {errno}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_name_is_never_concluded_from_an_error_number_alone() {
        for raw in 1..200 {
            assert_ne!(
                kind_of(Errno::from_raw_os_error(raw)),
                StoreErrorKind::NotFound,
                "errno {raw}"
            );
        }
    }

    #[test]
    fn p4_silence_and_refusal_are_told_apart() {
        assert_eq!(kind_of(Errno::STALE), StoreErrorKind::NoAnswer);
        assert_eq!(kind_of(Errno::IO), StoreErrorKind::Failed);
        assert_eq!(kind_of(Errno::NOSPC), StoreErrorKind::Full);
        assert_eq!(kind_of(Errno::DQUOT), StoreErrorKind::Full);
        assert_eq!(kind_of(Errno::ROFS), StoreErrorKind::Denied);
    }
}

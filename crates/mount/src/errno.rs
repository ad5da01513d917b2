//! What the kernel is told: one number for each way in which the vault can refuse.
//!
//! The number is all that a program gets to see, so it must be the one that local file systems give in the same case:
//! office programs act on it. What the number cannot say (which server, how many shares) goes to the log, without names.

use fuser::Errno;
use tracing::Level;
use warifu_vault::error::VaultError;
use warifu_vault::node::BadName;
use warifu_vault::seam::catalog::CatalogError;

/// Why a request was refused: by the vault, or already by the drive.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The vault refused.
    Vault(VaultError),
    /// The drive itself refused.
    Errno(Errno),
}

impl Refusal {
    /// The number for the kernel.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::Vault(error) => errno(error),
            Self::Errno(errno) => *errno,
        }
    }

    /// Writes the refusal to the log: loudly when servers or the catalogue are to blame, softly when the request is.
    /// Never a name or a path.
    pub(crate) fn log(&self, operation: &'static str, node: u64) {
        let Self::Vault(error) = self else { return };
        let facts = error.facts();
        match level(error) {
            Level::ERROR => tracing::error!(operation, node, "{facts}"),
            Level::WARN => tracing::warn!(operation, node, "{facts}"),
            _ => tracing::trace!(operation, node, "{facts}"),
        }
    }
}

impl From<VaultError> for Refusal {
    fn from(error: VaultError) -> Self {
        Self::Vault(error)
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<BadName> for Refusal {
    fn from(error: BadName) -> Self {
        Self::Vault(VaultError::BadName(error))
    }
}

/// The number for an error of the vault.
pub(crate) fn errno(error: &VaultError) -> Errno {
    match error {
        VaultError::NotFound { .. } => Errno::ENOENT,
        VaultError::Exists => Errno::EEXIST,
        VaultError::NotEmpty => Errno::ENOTEMPTY,
        VaultError::NotDir => Errno::ENOTDIR,
        VaultError::IsDir => Errno::EISDIR,
        // rename(2) calls a folder moved into itself an invalid argument; ELOOP is about symbolic links.
        VaultError::Loop => Errno::EINVAL,
        VaultError::TooManyLinks => Errno::EMLINK,
        VaultError::NoXattr => Errno::ENODATA,
        VaultError::BadName(BadName::TooLong { .. }) => Errno::ENAMETOOLONG,
        VaultError::BadName(BadName::Impossible)
        | VaultError::Invalid { .. }
        | VaultError::ClockAhead { .. }
        | VaultError::HoldsChanged
        | VaultError::PastUnknown { .. } => Errno::EINVAL,
        VaultError::ReadOnly | VaultError::Undecided => Errno::EROFS,
        VaultError::NotOpenForThis => Errno::EBADF,
        VaultError::TooLarge { .. } => Errno::EFBIG,
        VaultError::Stale | VaultError::Destroyed => Errno::ESTALE,
        VaultError::NotStored { full: true, .. } => Errno::ENOSPC,
        VaultError::NotStored { full: false, .. }
        | VaultError::TooFewShares { .. }
        | VaultError::Lapsed
        | VaultError::Overtaken
        | VaultError::LockLost
        | VaultError::NoRandomness(_)
        | VaultError::Damaged { .. }
        | VaultError::ShuttingDown => Errno::EIO,
        VaultError::Catalog(error) => catalog_errno(error),
        // The enum may grow; what the drive does not know is an error of the storage, never success.
        _ => Errno::EIO,
    }
}

fn catalog_errno(error: &CatalogError) -> Errno {
    match error {
        CatalogError::NotFound { .. } => Errno::ENOENT,
        CatalogError::Exists => Errno::EEXIST,
        CatalogError::NotEmpty => Errno::ENOTEMPTY,
        CatalogError::NotDir => Errno::ENOTDIR,
        CatalogError::IsDir => Errno::EISDIR,
        CatalogError::Loop => Errno::EINVAL,
        CatalogError::TooManyLinks => Errno::EMLINK,
        CatalogError::NoXattr => Errno::ENODATA,
        CatalogError::Full => Errno::ENOSPC,
        CatalogError::SessionEnded => Errno::ENOLCK,
        // Not EAGAIN: programs that did not ask for non-blocking work take it for a broken file system.
        CatalogError::NoAnswer { .. }
        | CatalogError::Conflict { .. }
        | CatalogError::Lapsed
        | CatalogError::Refused
        | CatalogError::Newer { .. }
        | CatalogError::Mounted { .. }
        | CatalogError::Damaged { .. }
        | CatalogError::Failed { .. } => Errno::EIO,
        _ => Errno::EIO,
    }
}

fn level(error: &VaultError) -> Level {
    match error {
        VaultError::Damaged { .. } | VaultError::NoRandomness(_) => Level::ERROR,
        VaultError::TooFewShares { .. }
        | VaultError::NotStored { .. }
        | VaultError::Lapsed
        | VaultError::LockLost => Level::WARN,
        VaultError::Catalog(_) => Level::WARN,
        _ => Level::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warifu_core::ids::VersionNo;
    use warifu_vault::error::{Fault, ServerFault};

    fn not_stored(full: bool) -> VaultError {
        VaultError::NotStored {
            file: "/secret name".into(),
            needed: 2,
            got: 1,
            full,
            faults: faults(),
        }
    }

    fn faults() -> Vec<ServerFault> {
        vec![ServerFault {
            server: "east".into(),
            fault: Fault::NoAnswer,
            detail: "/secret name".into(),
        }]
    }

    fn too_few() -> VaultError {
        VaultError::TooFewShares {
            file: "/secret name".into(),
            version: VersionNo(3),
            needed: 2,
            got: 1,
            faults: faults(),
        }
    }

    #[test]
    fn each_error_has_the_number_that_a_local_file_system_gives() {
        let cases: Vec<(VaultError, i32)> = vec![
            (VaultError::NotFound { what: "name" }, libc::ENOENT),
            (VaultError::Exists, libc::EEXIST),
            (VaultError::NotEmpty, libc::ENOTEMPTY),
            (VaultError::NotDir, libc::ENOTDIR),
            (VaultError::IsDir, libc::EISDIR),
            (VaultError::Loop, libc::EINVAL),
            (VaultError::TooManyLinks, libc::EMLINK),
            (VaultError::NoXattr, libc::ENODATA),
            (
                VaultError::BadName(BadName::TooLong {
                    got: 256,
                    limit: 255,
                }),
                libc::ENAMETOOLONG,
            ),
            (VaultError::BadName(BadName::Impossible), libc::EINVAL),
            (VaultError::Invalid { what: "no" }, libc::EINVAL),
            (VaultError::ReadOnly, libc::EROFS),
            (VaultError::Undecided, libc::EROFS),
            (VaultError::NotOpenForThis, libc::EBADF),
            (VaultError::TooLarge { size: 2, limit: 1 }, libc::EFBIG),
            (VaultError::Stale, libc::ESTALE),
            (not_stored(true), libc::ENOSPC),
            (not_stored(false), libc::EIO),
            (too_few(), libc::EIO),
            (VaultError::Lapsed, libc::EIO),
            (VaultError::Overtaken, libc::EIO),
            (VaultError::LockLost, libc::EIO),
            (
                VaultError::Catalog(CatalogError::SessionEnded),
                libc::ENOLCK,
            ),
            (VaultError::Damaged { what: "x".into() }, libc::EIO),
            (VaultError::ShuttingDown, libc::EIO),
            (VaultError::Catalog(CatalogError::Full), libc::ENOSPC),
            (
                VaultError::Catalog(CatalogError::NoAnswer {
                    detail: String::new(),
                }),
                libc::EIO,
            ),
            (
                VaultError::Catalog(CatalogError::Newer { found: 2, known: 1 }),
                libc::EIO,
            ),
            (
                VaultError::Catalog(CatalogError::Mounted { drives: Vec::new() }),
                libc::EIO,
            ),
            (
                VaultError::Catalog(CatalogError::Damaged {
                    detail: String::new(),
                }),
                libc::EIO,
            ),
            (
                VaultError::Catalog(CatalogError::Failed {
                    detail: String::new(),
                }),
                libc::EIO,
            ),
            (
                VaultError::Catalog(CatalogError::Conflict {
                    current: VersionNo(2),
                }),
                libc::EIO,
            ),
            (VaultError::Catalog(CatalogError::Lapsed), libc::EIO),
            (
                VaultError::Catalog(CatalogError::NotFound { what: "node" }),
                libc::ENOENT,
            ),
            (VaultError::Catalog(CatalogError::Exists), libc::EEXIST),
            (VaultError::Catalog(CatalogError::NotEmpty), libc::ENOTEMPTY),
            (VaultError::Catalog(CatalogError::NotDir), libc::ENOTDIR),
            (VaultError::Catalog(CatalogError::IsDir), libc::EISDIR),
            (VaultError::Catalog(CatalogError::Loop), libc::EINVAL),
            (
                VaultError::Catalog(CatalogError::TooManyLinks),
                libc::EMLINK,
            ),
            (VaultError::Catalog(CatalogError::NoXattr), libc::ENODATA),
        ];
        for (error, number) in cases {
            assert_eq!(errno(&error).code(), number, "{error:?}");
        }
    }

    #[test]
    fn p6_what_is_logged_of_an_error_holds_no_name() {
        for error in [
            not_stored(true),
            not_stored(false),
            too_few(),
            VaultError::Damaged {
                what: "/secret name".into(),
            },
        ] {
            let text = error.facts().to_string();
            assert!(!text.contains("secret"), "{text}");
        }
        assert!(too_few().facts().to_string().contains("east: no answer"));
        assert_eq!(level(&too_few()), Level::WARN);
        assert_eq!(level(&VaultError::NotFound { what: "name" }), Level::TRACE);
    }
}

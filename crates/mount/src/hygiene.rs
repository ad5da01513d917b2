//! Keeping what is in RAM out of files: no core dump, no swap.
//!
//! Contents, names and keys pass through this process in the clear, and so do the buffers in which the kernel hands them
//! over. A crash must not write them to a core file, another process of the same user must not read them, and memory that
//! runs short must not go to swap.

use std::fmt;

use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// How well the process is sealed off. See [`protect_process`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hygiene {
    /// Whether no core file can be written: the limit is zero, and the process cannot be dumped or traced by others.
    pub no_dumps: bool,
    /// Whether memory stays out of swap.
    pub memory: Memory,
}

/// Whether memory stays out of swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Memory {
    /// All of it, what is still to be used included.
    Locked,
    /// This user may lock so much only. Where swap is on, contents can get there.
    LimitTooLow {
        /// How many bytes may be locked (`RLIMIT_MEMLOCK`).
        limit: u64,
    },
    /// The system refused for another reason.
    Refused {
        /// The error's number.
        errno: i32,
    },
}

impl Hygiene {
    /// Whether nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.no_dumps && self.memory == Memory::Locked
    }
}

impl fmt::Display for Hygiene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.no_dumps {
            "no core dumps"
        } else {
            "core dumps could not be ruled out"
        })?;
        match self.memory {
            Memory::Locked => f.write_str(", memory locked"),
            Memory::LimitTooLow { limit } => write!(
                f,
                ", memory not locked: this user may lock {limit} bytes only"
            ),
            Memory::Refused { errno } => write!(f, ", memory not locked: error {errno}"),
        }
    }
}

/// Seals the process off as far as it may: no core files, not readable by other processes of the same user, memory
/// locked. Mounting does this; whoever unlocks a vault's key earlier should do it before. To do it twice is harmless.
///
/// It holds for the whole process and cannot be taken back by dropping anything: the kernel makes the process's own
/// folder under `/proc` belong to root, and with memory locked, used memory counts against no limit but stays in RAM.
pub fn protect_process() -> Hygiene {
    // What has been freed and cannot be used again would stay locked.
    crate::heap::one_for_all();
    let limited = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .is_ok();
    // Should a core come to be written all the same, no memory is to be in it: this is for every mapping, those of the
    // libraries and those still to come included, what MADV_DONTDUMP is for one. Before the next line: after it, what is
    // in our folder of /proc is root's. What fails here is made good by that line.
    let _ = std::fs::write(COREDUMP_FILTER, "0");
    // The limit alone does not stop a core that is piped to a collector; this does.
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok();
    Hygiene {
        no_dumps: limited && hidden,
        memory: lock_memory(),
    }
}

const COREDUMP_FILTER: &str = "/proc/self/coredump_filter";

/// Locks the whole process, or nothing.
///
/// Plaintext passes through the caller's buffers, the cipher's, the kernel's requests in fuser's buffers, and the stacks of
/// all threads; keys lie expanded in the ciphers' own memory. A lock on some of these would be no promise.
///
/// All that is still to come must be in it, and that counts by address space: each thread's stack and each of the allocator's
/// arenas with its whole length. With a limit, the allocation that crosses it would fail, and with it the process
/// and what is not saved. So it is done where there is no limit, and nowhere else.
fn lock_memory() -> Memory {
    let limits = getrlimit(Resource::Memlock);
    let Some(limit) = limits.maximum else {
        let unlimited = Rlimit {
            current: None,
            maximum: None,
        };
        return match setrlimit(Resource::Memlock, unlimited).and_then(|()| lock_all()) {
            Ok(()) => Memory::Locked,
            Err(error) => Memory::Refused {
                errno: error.raw_os_error(),
            },
        };
    };
    // The limit does not hold for root. But root in a container is not who is meant, and has the same capabilities to show:
    // whether the limit holds for us, the kernel alone knows. It lets us lock in spite of a limit of zero, or not.
    let none = Rlimit {
        current: Some(0),
        maximum: limits.maximum,
    };
    let locked = setrlimit(Resource::Memlock, none).and_then(|()| lock_all());
    let _ = setrlimit(Resource::Memlock, limits);
    match locked {
        Ok(()) => Memory::Locked,
        Err(Errno::PERM | Errno::NOMEM | Errno::AGAIN) => Memory::LimitTooLow { limit },
        Err(error) => Memory::Refused {
            errno: error.raw_os_error(),
        },
    }
}

/// On fault: pages are locked when they are first used. Buffers and stacks that are mostly unused cost nothing.
fn lock_all() -> Result<(), Errno> {
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_a_protected_process_has_no_core_and_cannot_be_dumped() {
        let limits = getrlimit(Resource::Memlock);
        let hygiene = protect_process();
        assert!(hygiene.no_dumps);
        let filter = std::fs::read_to_string(COREDUMP_FILTER);
        if let Ok(filter) = filter {
            assert_eq!(
                u32::from_str_radix(filter.trim(), 16),
                Ok(0),
                "memory would be in a core"
            );
        }
        assert_eq!(
            getrlimit(Resource::Memlock).maximum,
            limits.maximum,
            "the limit is put back"
        );
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(
            rustix::process::dumpable_behavior().unwrap(),
            DumpableBehavior::NotDumpable
        );
        if hygiene.memory == Memory::Locked {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let locked = status
                .lines()
                .find(|line| line.starts_with("VmLck:"))
                .unwrap();
            assert!(!locked.contains(" 0 kB"), "{locked}");
        } else {
            assert!(!hygiene.is_complete());
        }
        // Again: it must not undo or fail.
        assert_eq!(protect_process(), hygiene);
    }

    #[test]
    fn a_report_says_what_is_missing() {
        let report = Hygiene {
            no_dumps: true,
            memory: Memory::LimitTooLow { limit: 8192 },
        };
        assert!(report.to_string().contains("8192 bytes"));
        assert!(!report.is_complete());
    }
}

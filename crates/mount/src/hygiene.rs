//! Keeping what is in RAM out of files: no core dump, no swap.
//!
//! Contents, names and keys pass through this process in the clear, and so do the buffers in which the kernel hands them
//! over. A crash must not write them to a core file, another process of the same user must not read them, and memory that
//! runs short must not go to swap.

use std::fmt;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{CapabilitySet, capabilities};

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
    /// This user may not lock as much as is needed. Where swap is on, contents can get there.
    LimitTooLow {
        /// How many bytes may be locked.
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
    let limited = setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .is_ok();
    // The limit alone does not stop a core that is piped to a collector; this does.
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok();
    Hygiene {
        no_dumps: limited && hidden,
        memory: lock_memory(),
    }
}

fn lock_memory() -> Memory {
    // Where only so much may be locked, locking what is still to come would make the allocation that crosses the limit
    // fail, and with it the process. So it is all or nothing.
    let limit = getrlimit(Resource::Memlock).current;
    let may_lock_all =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    if let (Some(limit), false) = (limit, may_lock_all) {
        return Memory::LimitTooLow { limit };
    }
    // On fault: pages are locked when they are first used. Buffers and stacks that are mostly unused cost nothing.
    match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
        Ok(()) => Memory::Locked,
        Err(error) => Memory::Refused {
            errno: error.raw_os_error(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_a_protected_process_has_no_core_and_cannot_be_dumped() {
        let hygiene = protect_process();
        assert!(hygiene.no_dumps);
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

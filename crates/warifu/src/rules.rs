//! Words of the vault file that are one of a few: what a save waits for, what is kept, where a drive may be mounted.

use warifu_vault::retain::Rules;

/// What `close` waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaveDurability {
    /// Enough servers have the version; within a second it is on their disks.
    #[default]
    Normal,
    /// The version is on the disks of enough servers.
    Strict,
}

impl SaveDurability {
    /// The word in the vault file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Strict => "strict",
        }
    }
}

/// Which versions are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// Every version, for ever.
    #[default]
    All,
    /// What these rules keep.
    Rules(Rules),
}

/// What a machine must be like for a drive to be mounted there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryRule {
    /// No swap that is not encrypted is on: neither this process's memory nor that of the programs that show the documents
    /// can get onto a disk in the clear.
    #[default]
    Guarded,
    /// That, and the process must be able to lock its memory, in case somebody turns swap on later.
    Locked,
    /// Anything. What is wrong with the machine is written into the audit log.
    Any,
}

impl MemoryRule {
    /// The word in the vault file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guarded => "guarded",
            Self::Locked => "locked",
            Self::Any => "any",
        }
    }
}

//! [`Context`]: on whose behalf an operation is done.

use warifu_core::head::Timestamp;
use warifu_core::ids::VersionNo;

/// Who asks, from where, with which program, and what for. Every operation takes one: the audit log, policy and servers
/// that judge requests for themselves all need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The person: the user name, or `uid:1000` where the system has no name for the number.
    pub actor: String,
    /// The user's number on this machine.
    pub uid: u32,
    /// The user's group number on this machine.
    pub gid: u32,
    /// This machine's name.
    pub host: String,
    /// The program that asks, as the system names it; empty where it is not known.
    pub program: String,
    /// What for, in the person's words; empty where nobody asked.
    pub purpose: String,
}

/// An act on the vault, as the audit log names it. The names are part of the log and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Act {
    /// The vault was made.
    Init,
    /// A drive was mounted or a program opened the vault.
    Attach,
    /// A file was opened for reading.
    Open,
    /// A file was opened for writing (and perhaps reading).
    OpenWrite,
    /// A version of a file was saved.
    Save,
    /// A save met a newer version and was kept as a copy.
    Conflict,
    /// A file, folder, link or special node was made.
    Create,
    /// A further name was given to a file.
    Link,
    /// A name was removed.
    Remove,
    /// A name was changed.
    Rename,
    /// Mode, owner or times were changed.
    SetAttr,
    /// An extended attribute was set or removed.
    SetXattr,
    /// A save that never ended was found and its objects were removed.
    Sweep,
    /// A version that a power cut had swallowed was taken back.
    Revert,
    /// Shares were checked.
    Verify,
    /// An owed share was paid or a lost one rebuilt.
    Repair,
    /// The catalogue was made anew from what the servers hold.
    Rebuild,
    /// What was at an earlier time was brought back.
    Restore,
    /// The ways in were changed.
    Ways,
    /// Shares of a new generation were made.
    Refresh,
    /// Something was held, or is held no more.
    Hold,
    /// Versions and names of the past were destroyed.
    Destroy,
    /// A folder asks for another threshold, or for none of its own any more.
    Threshold,
}

impl Act {
    /// Whether the catalogue tells something else after it, beside the log.
    pub(crate) const fn changes_something(self) -> bool {
        match self {
            Self::Attach
            | Self::Open
            | Self::OpenWrite
            | Self::Sweep
            | Self::Verify
            | Self::Repair
            | Self::Refresh
            | Self::Ways => false,
            Self::Init
            | Self::Save
            | Self::Conflict
            | Self::Create
            | Self::Link
            | Self::Remove
            | Self::Rename
            | Self::SetAttr
            | Self::SetXattr
            | Self::Revert
            | Self::Rebuild
            | Self::Restore
            | Self::Hold
            | Self::Destroy
            | Self::Threshold => true,
        }
    }

    /// Every act. One that is not listed here cannot be read back from the log.
    pub const ALL: [Self; 23] = [
        Self::Init,
        Self::Attach,
        Self::Open,
        Self::OpenWrite,
        Self::Save,
        Self::Conflict,
        Self::Create,
        Self::Link,
        Self::Remove,
        Self::Rename,
        Self::SetAttr,
        Self::SetXattr,
        Self::Sweep,
        Self::Revert,
        Self::Verify,
        Self::Repair,
        Self::Rebuild,
        Self::Restore,
        Self::Ways,
        Self::Refresh,
        Self::Hold,
        Self::Destroy,
        Self::Threshold,
    ];

    /// The act of this name; `None` where this version of warifu knows none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.as_str() == name)
    }

    /// The act's name in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Attach => "attach",
            Self::Open => "open",
            Self::OpenWrite => "open-write",
            Self::Save => "save",
            Self::Conflict => "conflict",
            Self::Create => "create",
            Self::Link => "link",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::SetAttr => "set-attr",
            Self::SetXattr => "set-xattr",
            Self::Sweep => "sweep",
            Self::Revert => "revert",
            Self::Verify => "verify",
            Self::Repair => "repair",
            Self::Rebuild => "rebuild",
            Self::Restore => "restore",
            Self::Ways => "ways",
            Self::Refresh => "refresh",
            Self::Hold => "hold",
            Self::Destroy => "destroy",
            Self::Threshold => "threshold",
        }
    }
}

/// One line of the audit log, before the log numbers and chains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, by the clock of the machine that did it.
    pub at: Timestamp,
    /// On whose behalf.
    pub context: Context,
    /// What.
    pub act: Act,
    /// The node it was done to, where there is one.
    pub node: Option<crate::node::NodeId>,
    /// What else is worth knowing, such as the name given or the version saved. May hold names: the log is sealed.
    pub detail: String,
}

impl AuditEntry {
    /// With the version that was opened as its detail.
    #[must_use]
    pub fn of_version(self, version: VersionNo) -> Self {
        Self {
            detail: format!("version {version}"),
            ..self
        }
    }
}

impl Context {
    /// A line of the audit log for an act of this context.
    pub(crate) fn entry(
        &self,
        act: Act,
        node: Option<crate::node::NodeId>,
        detail: impl Into<String>,
        at: Timestamp,
    ) -> AuditEntry {
        AuditEntry {
            at,
            context: self.clone(),
            act,
            node,
            detail: detail.into(),
        }
    }
}

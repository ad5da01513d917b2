//! Nodes: what a name stands for.

use std::fmt;

use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, VersionNo};

/// The number of a node, which a mounted drive shows as its inode number. Never used twice in a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The vault's root folder.
    pub const ROOT: Self = Self(1);
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One component of a path: 1 to 255 bytes, any but `/` and NUL, and neither `.` nor `..`.
///
/// Bytes, not text: names that are no UTF-8 exist on real file servers and come back as they were.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// A name that no file can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Longer than 255 bytes.
    #[error("a name of {got} bytes is too long: the limit is {limit} bytes")]
    TooLong {
        /// Its length in bytes.
        got: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Empty, `.`, `..`, or with a `/` or a NUL byte in it.
    #[error("an empty name, \".\", \"..\" and names with \"/\" or a NUL byte are not possible")]
    Impossible,
}

impl Name {
    /// The longest name in bytes.
    pub const MAX: usize = 255;

    /// The name with these bytes.
    ///
    /// # Errors
    /// [`BadName`] when no file can be called so.
    pub fn new(bytes: &[u8]) -> Result<Self, BadName> {
        if bytes.len() > Self::MAX {
            return Err(BadName::TooLong {
                got: bytes.len(),
                limit: Self::MAX,
            });
        }
        if bytes.is_empty()
            || bytes == b"."
            || bytes == b".."
            || bytes.iter().any(|b| matches!(b, b'/' | 0))
        {
            return Err(BadName::Impossible);
        }
        Ok(Self(bytes.into()))
    }

    /// A name for what can have no better one.
    pub(crate) fn fallback(number: u32) -> Self {
        Self(format!("recovered-{number}").into_bytes().into())
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name for people; bytes that are no UTF-8 show as replacement characters.
    #[must_use]
    pub fn display(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

/// Silent: names are secret, and logs are not.
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Name(..)")
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// A node's attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Which node.
    pub node: NodeId,
    /// What it is.
    pub kind: NodeKind,
    /// Permission, set-id and sticky bits (`0o7777`).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// How many names it has; a folder has two and one for each folder in it.
    pub nlink: u32,
    /// Device number, for devices.
    pub rdev: u32,
    /// Size in bytes: of a file's contents, of a link's target; 0 for the others.
    pub size: u64,
    /// Last read, as far as it is kept.
    pub atime: Timestamp,
    /// Last change of contents.
    pub mtime: Timestamp,
    /// Last change of contents or attributes.
    pub ctime: Timestamp,
    /// When it was made.
    pub btime: Timestamp,
    /// The document whose versions are the file's contents; [`FileId::NIL`] for what is not a file.
    pub document: FileId,
    /// The current version; 0 where nothing has been saved yet.
    pub version: VersionNo,
    /// The head extent of the current version; `None` where nothing is stored. Two states of a file are the same
    /// exactly when their heads are.
    pub head: Option<ExtentId>,
}

impl Attr {
    /// What is known of a file that was removed while somebody had it open.
    pub(crate) fn unknown(node: NodeId, now: Timestamp) -> Self {
        Self {
            node,
            kind: NodeKind::File,
            mode: 0o600,
            uid: 0,
            gid: 0,
            nlink: 0,
            rdev: 0,
            size: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            document: FileId::NIL,
            version: VersionNo(0),
            head: None,
        }
    }
}

/// A change of attributes; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttrChange {
    /// New permission, set-id and sticky bits.
    pub mode: Option<u32>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New time of last read.
    pub atime: Option<Timestamp>,
    /// New time of last change of contents.
    pub mtime: Option<Timestamp>,
}

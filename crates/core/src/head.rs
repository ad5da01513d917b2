//! The head of a file: its metadata, which stands before the file's first bytes inside what is shared.
//!
//! So names, times and sizes are as secret as the contents, and any k servers give the whole vault back without the
//! catalogue.
//!
//! ```
//! use warifu_core::head::{Content, Head};
//! let head = Head { path: vec![b"offices".to_vec(), b"list.xlsx".to_vec()], size: 5, ..Head::default() };
//! let mut bytes = head.encode().to_vec();
//! bytes.extend_from_slice(b"cells");
//! let (read, at) = Head::parse(&bytes)?;
//! assert_eq!(read, head);
//! assert_eq!(&bytes[at..], b"cells");
//! # Ok::<(), warifu_core::head::HeadError>(())
//! ```

mod records;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use self::records::{Reader, Writer};
use crate::ids::{ExtentId, VersionNo};

/// A point in time: seconds since 1970 and the nanoseconds since that second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since the beginning of 1970 (UTC), negative before.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// Where a file's bytes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Right after the head.
    #[default]
    Inline,
    /// In data extents.
    Extents {
        /// How many bytes of the file each extent holds (the last one fewer).
        extent_size: u32,
        /// The extents in order; `None` is a hole, which reads as zeros and is stored nowhere.
        /// (The id of all zeros stands for it in the bytes, so it cannot be an extent's own.)
        list: Vec<Option<ExtentId>>,
    },
}

/// A file's metadata. Its `Debug` shows neither names nor people.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// The names from the root of the vault to the file: any bytes, as Unix has them. They are not checked here; who
    /// writes to a file system by them uses [`is_safe_name`] first.
    pub path: Vec<Vec<u8>>,
    /// File type and permissions, as `st_mode` has them.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the contents.
    pub mtime: Timestamp,
    /// Last change of the metadata.
    pub ctime: Timestamp,
    /// Creation.
    pub btime: Timestamp,
    /// How many bytes the file has.
    pub size: u64,
    /// Which version of the document this is.
    pub version: VersionNo,
    /// The head of the version before, where there is one.
    pub base: Option<ExtentId>,
    /// Who saved this version.
    pub author: String,
    /// On which machine.
    pub host: String,
    /// When.
    pub saved_at: Timestamp,
    /// Extended attributes, name and value, in the order they were set.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the file's bytes are.
    pub content: Content,
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("version", &self.version)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Whether `name` can be one component of a path on any Unix file system: not empty, not `.` or `..`, without `/` and
/// NUL, at most 255 bytes.
#[must_use]
pub fn is_safe_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= 255
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// Why bytes are not a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// Cut off, or a length inside leads beyond the end.
    #[error("the file's head is cut off: {needed} bytes are needed, {got} are there")]
    Short {
        /// How many bytes were needed.
        needed: usize,
        /// How many were there.
        got: usize,
    },
    /// Zeros, or something else that was never a head.
    #[error("there is no file's head here")]
    NotAHead,
    /// A later format of heads.
    #[error("the file's head was made by a newer warifu: format {found}")]
    Newer {
        /// The format found.
        found: u32,
    },
    /// A record that this build does not know and must not skip.
    #[error("the file's head was made by a newer warifu: record {tag:#06x}")]
    NewerRecord {
        /// The record's tag.
        tag: u16,
    },
    /// A record is missing.
    #[error("the file's head lacks the record {tag:#06x}")]
    Missing {
        /// The record's tag.
        tag: u16,
    },
    /// Records are not in ascending order, or one occurs twice.
    #[error("the record {tag:#06x} of the file's head is out of order")]
    Order {
        /// The record's tag.
        tag: u16,
    },
    /// A record's contents are not what its tag says.
    #[error("the record {tag:#06x} of the file's head is malformed")]
    Malformed {
        /// The record's tag.
        tag: u16,
    },
}

const FORMAT: u32 = 1;

mod tag {
    pub(super) const PATH: u16 = 1;
    pub(super) const MODE: u16 = 2;
    pub(super) const UID: u16 = 3;
    pub(super) const GID: u16 = 4;
    pub(super) const ATIME: u16 = 5;
    pub(super) const MTIME: u16 = 6;
    pub(super) const CTIME: u16 = 7;
    pub(super) const BTIME: u16 = 8;
    pub(super) const SIZE: u16 = 9;
    pub(super) const VERSION: u16 = 10;
    pub(super) const BASE: u16 = 11;
    pub(super) const AUTHOR: u16 = 12;
    pub(super) const HOST: u16 = 13;
    pub(super) const SAVED_AT: u16 = 14;
    pub(super) const XATTRS: u16 = 15;
    pub(super) const INLINE: u16 = 16;
    pub(super) const EXTENTS: u16 = 17;
}

impl Head {
    /// The bytes of the head; a file's inline content follows them at once.
    ///
    /// The memory is erased when dropped and was never moved. A part of 4 GiB or more (no file in use has one) would be cut.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut counting = Writer::counting();
        self.write(&mut counting);
        let records = counting.len();
        let mut writer = Writer::with_capacity(8 + records);
        writer.u32(FORMAT);
        writer.u32(u32::try_from(records).unwrap_or(u32::MAX));
        self.write(&mut writer);
        writer.into_bytes()
    }

    fn write(&self, to: &mut Writer) {
        to.record(tag::PATH, |to| {
            self.path.iter().for_each(|name| to.sized(name))
        });
        to.record(tag::MODE, |to| to.u32(self.mode));
        to.record(tag::UID, |to| to.u32(self.uid));
        to.record(tag::GID, |to| to.u32(self.gid));
        to.record(tag::ATIME, |to| to.time(self.atime));
        to.record(tag::MTIME, |to| to.time(self.mtime));
        to.record(tag::CTIME, |to| to.time(self.ctime));
        to.record(tag::BTIME, |to| to.time(self.btime));
        to.record(tag::SIZE, |to| to.u64(self.size));
        to.record(tag::VERSION, |to| to.u64(self.version.0));
        if let Some(base) = &self.base {
            to.record(tag::BASE, |to| to.bytes(base.as_bytes()));
        }
        to.record(tag::AUTHOR, |to| to.bytes(self.author.as_bytes()));
        to.record(tag::HOST, |to| to.bytes(self.host.as_bytes()));
        to.record(tag::SAVED_AT, |to| to.time(self.saved_at));
        if !self.xattrs.is_empty() {
            to.record(tag::XATTRS, |to| {
                for (name, value) in &self.xattrs {
                    to.sized(name);
                    to.sized(value);
                }
            });
        }
        match &self.content {
            Content::Inline => to.record(tag::INLINE, |_| {}),
            Content::Extents { extent_size, list } => to.record(tag::EXTENTS, |to| {
                to.u32(*extent_size);
                list.iter()
                    .for_each(|extent| to.bytes(extent.unwrap_or(ExtentId::NIL).as_bytes()));
            }),
        }
    }

    /// Reads a head, and tells where the inline content begins.
    ///
    /// Any bytes at all give a head or an error. No more memory is taken than a small multiple of `bytes`. Records that
    /// a newer warifu added and that may be skipped (their tag's high bit is set) are lost.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), HeadError> {
        let short = |needed| HeadError::Short {
            needed,
            got: bytes.len(),
        };
        let ([format, length], rest) = match bytes.split_first_chunk::<8>() {
            Some((start, rest)) => ([0, 4].map(|at| le_u32(start, at)), rest),
            None => return Err(short(8)),
        };
        match format {
            FORMAT => {}
            0 => return Err(HeadError::NotAHead),
            found => return Err(HeadError::Newer { found }),
        }
        let length = usize::try_from(length).map_err(|_| short(usize::MAX))?;
        let end = length.checked_add(8).ok_or(short(usize::MAX))?;
        let records = rest.get(..length).ok_or(short(end))?;
        Self::parse_records(Reader::new(records)).map(|head| (head, end))
    }

    fn parse_records(mut records: Reader<'_>) -> Result<Self, HeadError> {
        let mut head = Self::default();
        let mut seen: u32 = 0;
        let mut last = None;
        while let Some((tag, mut value)) = records.record()? {
            if last.is_some_and(|last| tag <= last) {
                return Err(HeadError::Order { tag });
            }
            last = Some(tag);
            match tag {
                tag::PATH => head.path = value.list(|value| value.sized())?,
                tag::MODE => head.mode = value.u32()?,
                tag::UID => head.uid = value.u32()?,
                tag::GID => head.gid = value.u32()?,
                tag::ATIME => head.atime = value.time()?,
                tag::MTIME => head.mtime = value.time()?,
                tag::CTIME => head.ctime = value.time()?,
                tag::BTIME => head.btime = value.time()?,
                tag::SIZE => head.size = value.u64()?,
                tag::VERSION => head.version = VersionNo(value.u64()?),
                tag::BASE => head.base = Some(value.extent()?),
                tag::AUTHOR => head.author = value.text()?,
                tag::HOST => head.host = value.text()?,
                tag::SAVED_AT => head.saved_at = value.time()?,
                tag::XATTRS => {
                    head.xattrs = value.list(|value| Ok((value.sized()?, value.sized()?)))?
                }
                tag::INLINE => head.content = Content::Inline,
                tag::EXTENTS => {
                    let extent_size = value.u32()?;
                    let list = value.list(|value| {
                        value.extent().map(|id| (id != ExtentId::NIL).then_some(id))
                    })?;
                    head.content = Content::Extents { extent_size, list };
                }
                skipped if skipped & 0x8000 != 0 => continue,
                tag => return Err(HeadError::NewerRecord { tag }),
            }
            value.finish()?;
            seen |= 1 << tag;
        }
        let optional = [tag::BASE, tag::XATTRS, tag::INLINE, tag::EXTENTS];
        for tag in (tag::PATH..=tag::EXTENTS).filter(|tag| !optional.contains(tag)) {
            if seen & 1 << tag == 0 {
                return Err(HeadError::Missing { tag });
            }
        }
        match seen >> tag::INLINE & 0b11 {
            0b01 | 0b10 => Ok(head),
            0b11 => Err(HeadError::Order { tag: tag::EXTENTS }),
            _ => Err(HeadError::Missing { tag: tag::INLINE }),
        }
    }
}

fn le_u32(bytes: &[u8; 8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

//! The 64 bytes in the clear.

use super::identity::{Dealing, Scheme};
use core::ops::Range;

use super::sizes::{CHUNK, HEADER_LEN, Plan, SECRET_MAX};
use crate::ids::{BadThreshold, ShareIndex, Threshold};
use crate::seal::Suite;

pub(crate) const MAGIC: &[u8; 6] = b"WARIFU";
pub(crate) const VERSION: u8 = 1;
const KIND: u8 = b'S';

/// Why bytes are not the beginning of a share object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Cut off.
    #[error("cut off: {needed} bytes are needed, {got} are there")]
    Short {
        /// How many bytes there must be at least.
        needed: usize,
        /// How many there are.
        got: usize,
    },
    /// Not a file of warifu.
    #[error("not made by warifu: the first bytes are wrong")]
    NotWarifu,
    /// A file of warifu, but of another kind.
    #[error("a file of warifu, but of kind {found:#04x} where {wanted:#04x} was expected")]
    Kind {
        /// The kind expected: `S`, `V`, `W` or `L`.
        wanted: u8,
        /// The kind found.
        found: u8,
    },
    /// A later format than this build knows.
    #[error("made by a newer warifu: format {found}; this one reads up to format {known}")]
    Newer {
        /// The format of the file.
        found: u8,
        /// The latest format known here.
        known: u8,
    },
    /// A cipher suite that format 1 does not have.
    #[error("unknown cipher suite {0}")]
    Suite(u8),
    /// A scheme that this build does not have.
    #[error("unknown sharing scheme {0}")]
    Scheme(u8),
    /// k and n are impossible.
    #[error(transparent)]
    Threshold(#[from] BadThreshold),
    /// The index is 0 or beyond n.
    #[error("the share index {index} is not among 1 to {n}")]
    Index {
        /// The index found.
        index: u8,
        /// The number of shares.
        n: u8,
    },
    /// A chunk size other than 64 KiB.
    #[error("unknown chunk size: 2 to the power of {0}")]
    ChunkSize(u8),
    /// A length of 0 or beyond [`SECRET_MAX`].
    #[error("an extent of {len} bytes is impossible: it must have 1 to {SECRET_MAX}")]
    Length {
        /// The length found.
        len: u64,
    },
    /// Bytes that must be zero are not.
    #[error("the byte at {offset} must be zero")]
    Reserved {
        /// Where.
        offset: usize,
    },
}

/// The part of a share object that is in the clear. Nothing of it is believed until
/// [`OpenShare::open`](super::OpenShare::open) has authenticated it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareHeader {
    suite: Suite,
    scheme: Scheme,
    threshold: Threshold,
    index: ShareIndex,
    secret_len: u64,
    salt: [u8; 32],
}

/// Takes `N` bytes at `offset`; the caller has made sure that they are there.
pub(super) fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut array = [0; N];
    if let Some(found) = bytes.get(offset..offset + N) {
        array.copy_from_slice(found);
    }
    array
}

/// Checks magic, kind and format version, with which every file of warifu begins.
pub(crate) fn check_start(bytes: &[u8], kind: u8, needed: usize) -> Result<(), FormatError> {
    check_start_up_to(bytes, kind, VERSION, needed).map(drop)
}

/// As [`check_start`], for kinds of which there are several formats, up to `newest`. Returns which.
pub(crate) fn check_start_up_to(
    bytes: &[u8],
    kind: u8,
    newest: u8,
    needed: usize,
) -> Result<u8, FormatError> {
    let short = FormatError::Short {
        needed,
        got: bytes.len(),
    };
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(FormatError::NotWarifu);
    }
    let [_, _, _, _, _, _, found, version, ..] = bytes else {
        return Err(short);
    };
    if *found != kind {
        return Err(FormatError::Kind {
            wanted: kind,
            found: *found,
        });
    }
    // The version comes before the length: a newer format may well be shorter.
    match *version {
        0 => return Err(FormatError::NotWarifu),
        found if found > newest => {
            return Err(FormatError::Newer {
                found,
                known: newest,
            });
        }
        _ => {}
    }
    if bytes.len() < needed {
        Err(short)
    } else {
        Ok(*version)
    }
}

pub(crate) fn check_zero(bytes: &[u8], range: core::ops::Range<usize>) -> Result<(), FormatError> {
    match range
        .clone()
        .find(|offset| bytes.get(*offset).is_none_or(|byte| *byte != 0))
    {
        Some(offset) => Err(FormatError::Reserved { offset }),
        None => Ok(()),
    }
}

/// A header with the version, suite and scheme replaced by ones that this build knows.
pub(super) fn put_right(
    header: &[u8; HEADER_LEN],
    suite: Suite,
    scheme: Scheme,
) -> [u8; HEADER_LEN] {
    let mut header = *header;
    header[7] = VERSION;
    header[8] = suite.code();
    header[9] = scheme.code();
    header
}

impl ShareHeader {
    pub(super) fn new(
        dealing: &Dealing,
        index: ShareIndex,
        secret_len: u64,
        salt: [u8; 32],
    ) -> Self {
        Self {
            suite: dealing.suite,
            scheme: dealing.scheme,
            threshold: dealing.threshold,
            index,
            secret_len,
            salt,
        }
    }

    /// Reads the first 64 bytes of `bytes`; what follows is not looked at.
    ///
    /// # Errors
    /// [`FormatError`] says which byte is wrong. An authentic header passes always.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        check_start(bytes, KIND, HEADER_LEN)?;
        let [suite, scheme, k, n, index, log2_chunk] = array(bytes, 8);
        let suite = Suite::from_code(suite).ok_or(FormatError::Suite(suite))?;
        let scheme = Scheme::from_code(scheme).ok_or(FormatError::Scheme(scheme))?;
        let threshold = Threshold::new(k, n)?;
        let index = ShareIndex::new(index)
            .filter(|index| index.get() <= n)
            .ok_or(FormatError::Index { index, n })?;
        if 1_usize.checked_shl(u32::from(log2_chunk)) != Some(CHUNK) {
            return Err(FormatError::ChunkSize(log2_chunk));
        }
        check_zero(bytes, 14..16)?;
        let secret_len = u64::from_le_bytes(array(bytes, 16));
        if secret_len == 0 || secret_len > SECRET_MAX {
            return Err(FormatError::Length { len: secret_len });
        }
        check_zero(bytes, 24..32)?;
        Ok(Self {
            suite,
            scheme,
            threshold,
            index,
            secret_len,
            salt: array(bytes, 32),
        })
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..6].copy_from_slice(MAGIC);
        bytes[6] = KIND;
        bytes[7] = VERSION;
        bytes[8] = self.suite.code();
        bytes[9] = self.scheme.code();
        bytes[10] = self.threshold.k();
        bytes[11] = self.threshold.n();
        bytes[12] = self.index.get();
        bytes[13] = CHUNK.ilog2() as u8;
        bytes[16..24].copy_from_slice(&self.secret_len.to_le_bytes());
        bytes[32..].copy_from_slice(&self.salt);
        bytes
    }

    /// k and n.
    #[must_use]
    pub const fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// The share's index.
    #[must_use]
    pub const fn index(&self) -> ShareIndex {
        self.index
    }

    /// The sharing scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The cipher suite.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// How many bytes were shared.
    #[must_use]
    pub const fn secret_len(&self) -> u64 {
        self.secret_len
    }

    /// How long the whole object is.
    #[must_use]
    pub const fn object_len(&self) -> u64 {
        self.plan().object_len()
    }

    /// What must be read of the object before any chunk, and given to [`OpenShare::open`](super::OpenShare::open).
    #[must_use]
    pub const fn prefix_len(&self) -> usize {
        self.plan().prefix
    }

    /// Which bytes of the object hold these chunks, each of which stands for [`CHUNK`] bytes of the secret. Chunks beyond the
    /// last are left out; the range may be empty.
    #[must_use]
    pub fn chunk_range(&self, chunks: Range<u64>) -> Range<u64> {
        self.plan().chunk_range(chunks)
    }

    /// Where things lie in the objects of this dealing.
    #[must_use]
    pub const fn plan(&self) -> Plan {
        Plan::new(self.scheme, self.threshold, self.secret_len)
    }
}

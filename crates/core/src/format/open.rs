//! One share, authenticated.

use core::fmt;

use super::header::{FormatError, ShareHeader};
use super::identity::{
    Binding, Dealing, IDENTITY_LEN, SEALED_IDENTITY_LEN, Scheme, binding, chunk_nonce,
    identity_nonce, key_piece_nonce,
};
use super::sizes::{CHUNK, HEADER_LEN, KEY_PIECE_LEN, Plan, chunk_count};
use crate::ids::{ServerId, ShareIndex};
use crate::keys::SealKey;
use crate::seal::{Cipher, Suite, SuiteUnavailable, TAG};
use crate::secret::{Secret, SecretBytes};

/// Why a share did not open or is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The header is wrong.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The suite is not in this build.
    #[error(transparent)]
    Suite(#[from] SuiteUnavailable),
    /// Header or identity were altered, or the key is another.
    #[error("the share's header was altered, or it was sealed with another key")]
    NotAuthentic,
    /// Authentic, but it says something this build does not know.
    #[error("the share is authentic but made by a newer warifu")]
    Newer,
    /// Not the bytes of whole chunks that lie in the share.
    #[error("share {index}: {got} bytes are not whole chunks from chunk {chunk} on")]
    BodyLength {
        /// The share.
        index: ShareIndex,
        /// The first chunk.
        chunk: u64,
        /// How many bytes there were.
        got: usize,
    },
    /// A chunk was altered.
    #[error("share {index}: chunk {chunk} is damaged")]
    Damaged {
        /// The share.
        index: ShareIndex,
        /// The chunk, counted from 0.
        chunk: u64,
    },
}

/// A share whose header and identity are authentic.
pub struct OpenShare {
    header: ShareHeader,
    dealing: Dealing,
    server: ServerId,
    cipher: Cipher,
    binding: Binding,
    inner: Option<Inner>,
}

/// What a compact share knows of the key under which the extent was sealed before it was dispersed.
pub(super) struct Inner {
    pub(super) suite: Suite,
    pub(super) piece: Secret<32>,
}

impl OpenShare {
    /// Authenticates the beginning of an object, as much as [`ShareHeader::prefix_len`] says: of a `shamir` share the first
    /// [`PREFIX_LEN`](super::PREFIX_LEN) bytes. What follows in `prefix` is not looked at.
    ///
    /// Which server the share is for, and of what it is a share, must be compared with what was asked for: an
    /// authentic share of something else is still the wrong one.
    ///
    /// # Errors
    /// [`OpenError`]; an altered header cannot be told from a wrong key.
    pub fn open(prefix: &[u8], key: &SealKey) -> Result<Self, OpenError> {
        let header = ShareHeader::parse(prefix)?;
        let short = FormatError::Short {
            needed: header.prefix_len(),
            got: prefix.len(),
        };
        let (header_bytes, rest) = prefix.split_first_chunk::<HEADER_LEN>().ok_or(short)?;
        let (sealed, rest) = rest
            .split_first_chunk::<SEALED_IDENTITY_LEN>()
            .ok_or(short)?;
        let cipher = Cipher::new(header.suite(), &key.object_key(header_bytes))?;
        let mut identity = [0; IDENTITY_LEN];
        cipher
            .open(identity_nonce(), header_bytes, sealed, &mut identity)
            .map_err(|_| OpenError::NotAuthentic)?;
        let (dealing, server, inner) = Dealing::from_identity(
            &identity,
            header.threshold(),
            header.scheme(),
            header.suite(),
        )
        .ok_or(OpenError::Newer)?;
        let binding = binding(header_bytes, &identity);
        let inner = match inner {
            None => None,
            Some(suite) => {
                let sealed = rest.get(..KEY_PIECE_LEN).ok_or(short)?;
                let piece =
                    Secret::filled(|piece| cipher.open(key_piece_nonce(), &binding, sealed, piece))
                        .map_err(|_| OpenError::NotAuthentic)?;
                Some(Inner { suite, piece })
            }
        };
        Ok(Self {
            header,
            dealing,
            server,
            cipher,
            binding,
            inner,
        })
    }

    /// Whether an object that does not [open](Self::open) was made by a newer warifu, as far as this one can tell: then it is neither good
    /// nor rubbish, and nobody should remove it.
    ///
    /// One byte that rotted looks the same. So what this build knows is put in the place of what it does not know: an object that is
    /// authentic then was made by this format, and has been altered.
    #[must_use]
    pub fn is_newer(prefix: &[u8], key: &SealKey) -> bool {
        match Self::open(prefix, key) {
            Err(OpenError::Newer | OpenError::Suite(_)) => true,
            Err(OpenError::Format(
                FormatError::Newer { .. } | FormatError::Suite(_) | FormatError::Scheme(_),
            )) => !Self::opens_when_put_right(prefix, key),
            _ => false,
        }
    }

    fn opens_when_put_right(prefix: &[u8], key: &SealKey) -> bool {
        const LONGEST: usize = HEADER_LEN + SEALED_IDENTITY_LEN + KEY_PIECE_LEN;
        let Some((header, rest)) = prefix
            .get(..prefix.len().min(LONGEST))
            .and_then(|prefix| prefix.split_first_chunk::<HEADER_LEN>())
        else {
            return false;
        };
        let suites = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
        let schemes = [Scheme::Shamir, Scheme::Compact];
        suites.iter().any(|suite| {
            schemes.iter().any(|scheme| {
                let mut copy = super::header::put_right(header, *suite, *scheme).to_vec();
                copy.extend_from_slice(rest);
                Self::open(&copy, key).is_ok()
            })
        })
    }

    /// The header, authentic.
    #[must_use]
    pub fn header(&self) -> &ShareHeader {
        &self.header
    }

    /// Of what it is a share.
    #[must_use]
    pub fn dealing(&self) -> &Dealing {
        &self.dealing
    }

    /// For which server it was made.
    #[must_use]
    pub fn server(&self) -> ServerId {
        self.server
    }

    /// The share's index.
    #[must_use]
    pub fn index(&self) -> ShareIndex {
        self.header.index()
    }

    pub(super) fn inner(&self) -> Option<&Inner> {
        self.inner.as_ref()
    }

    pub(super) fn plan(&self) -> Plan {
        self.header.plan()
    }

    /// Checks the tag of every chunk in `body`, which begins with chunk `first`. Nothing is joined.
    ///
    /// The whole body of the object is checked by `first` = 0 and all bytes after the prefix; that they are *all* is
    /// for the caller to see to, by [`ShareHeader::object_len`].
    ///
    /// # Errors
    /// [`OpenError::Damaged`] names the first damaged chunk; [`OpenError::BodyLength`] when a chunk is cut or too long.
    pub fn verify_chunks(&self, first: u64, body: &[u8]) -> Result<(), OpenError> {
        let length = OpenError::BodyLength {
            index: self.index(),
            chunk: first,
            got: body.len(),
        };
        let layout = Layout::of_body(self.plan(), first, body.len()).ok_or(length)?;
        let longest = self.plan().piece_len(layout.secret_len.min(CHUNK));
        let mut scratch = SecretBytes::with_len(longest);
        for (chunk, sealed) in layout.chunks(body) {
            let room = sealed.len().saturating_sub(TAG);
            let plain = scratch.expose_mut().get_mut(..room).ok_or(length)?;
            self.open_chunk(chunk, sealed, plain)
                .map_err(|Damaged| OpenError::Damaged {
                    index: self.index(),
                    chunk,
                })?;
        }
        Ok(())
    }

    /// Opens one chunk into `plain`, which is shorter by the tag. When it fails, `plain` may hold anything.
    pub(super) fn open_chunk(
        &self,
        chunk: u64,
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), Damaged> {
        let last = chunk.saturating_add(1) == chunk_count(self.header.secret_len());
        self.cipher
            .open(chunk_nonce(chunk, last), &self.binding, sealed, plain)
            .map_err(|_| Damaged)
    }
}

impl fmt::Debug for OpenShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "OpenShare({} of {})",
            self.index(),
            self.header.threshold().n()
        )
    }
}

/// A chunk's tag is wrong.
pub(super) struct Damaged;

/// A run of whole chunks.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    plan: Plan,
    first: u64,
    /// The bytes of the object that hold them.
    pub(super) body_len: usize,
    /// The bytes of the secret that these chunks cover.
    pub(super) secret_len: usize,
}

impl Layout {
    /// `None` when `body_len` bytes are not whole chunks from `first` on.
    pub(super) fn of_body(plan: Plan, first: u64, body_len: usize) -> Option<Self> {
        Self::of(plan, first, body_len.div_ceil(plan.stride()))
            .filter(|layout| layout.body_len == body_len)
    }

    /// `None` when `secret_len` bytes of the secret are not whole chunks from `first` on.
    pub(super) fn of_secret(plan: Plan, first: u64, secret_len: usize) -> Option<Self> {
        Self::of(plan, first, secret_len.div_ceil(CHUNK))
            .filter(|layout| layout.secret_len == secret_len)
    }

    fn of(plan: Plan, first: u64, count: usize) -> Option<Self> {
        let end = first
            .checked_add(count as u64)
            .filter(|end| *end <= chunk_count(plan.secret_len))?;
        let range = plan.chunk_range(first..end);
        let body_len = usize::try_from(range.end - range.start).ok()?;
        let place = |chunk: u64| chunk.saturating_mul(CHUNK as u64).min(plan.secret_len);
        let secret_len = usize::try_from(place(end) - place(first)).ok()?;
        Some(Self {
            plan,
            first,
            body_len,
            secret_len,
        })
    }

    pub(super) fn chunks(self, body: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
        (self.first..).zip(body.chunks(self.plan.stride()))
    }
}

//! Where things lie in an object, and to what sizes are rounded.

use core::ops::Range;

use super::identity::Scheme;
use crate::ids::Threshold;
use crate::seal::TAG;

/// The header in the clear, at the beginning of every object.
pub const HEADER_LEN: usize = 64;

/// What must be read of a `shamir` share before any chunk: the header and the sealed identity. A `compact` share has
/// more: [`ShareHeader::prefix_len`](super::ShareHeader::prefix_len).
pub const PREFIX_LEN: usize = HEADER_LEN + 128;

/// What a compact share has behind that: its piece of the inner key, sealed.
pub(super) const KEY_PIECE_LEN: usize = 32 + TAG;

/// The bytes of the secret that can be read by themselves. Of a `shamir` share as many bytes are sealed together, of a `compact` share about the
/// k-th part.
pub const CHUNK: usize = 1 << 16;

/// The most bytes of a file that one data extent holds.
pub const EXTENT_MAX: usize = 4 << 20;

/// The most bytes that are shared as one object: room for the head of a file of any size in use.
pub const SECRET_MAX: u64 = 1 << 30;

const CHUNK_LEN: u64 = CHUNK as u64;

/// How many chunks a secret of this length has.
#[must_use]
pub const fn chunk_count(secret_len: u64) -> u64 {
    secret_len.div_ceil(CHUNK_LEN)
}

/// How long the object of a secret of this length is under the scheme `shamir`; for any scheme see [`Plan`].
#[must_use]
pub const fn object_len(secret_len: u64) -> u64 {
    (PREFIX_LEN as u64)
        .saturating_add(secret_len)
        .saturating_add(chunk_count(secret_len).saturating_mul(TAG as u64))
}

/// Which bytes of the object hold these chunks under the scheme `shamir`; for any scheme see [`Plan`]. Chunks beyond the
/// last are left out; the range may be empty.
///
/// ```
/// use warifu_core::format::chunk_range;
/// assert_eq!(chunk_range(70_000, 0..1), 192..192 + 65_552);
/// assert_eq!(chunk_range(70_000, 1..9), 65_744..70_224);
/// ```
#[must_use]
pub fn chunk_range(secret_len: u64, chunks: Range<u64>) -> Range<u64> {
    Plan::shamir(secret_len).chunk_range(chunks)
}

/// Where things lie in the objects of one dealing, known before any of them has been seen.
///
/// ```
/// use warifu_core::format::{Plan, Scheme};
/// use warifu_core::ids::Threshold;
///
/// let threshold = Threshold::new(2, 3)?;
/// let (shamir, compact) = (
///     Plan::new(Scheme::Shamir, threshold, 70_000),
///     Plan::new(Scheme::Compact, threshold, 70_000),
/// );
/// assert_eq!((shamir.prefix_len(), shamir.object_len()), (192, 70_224));
/// assert_eq!((compact.prefix_len(), compact.object_len()), (240, 35_288));
/// assert_eq!(compact.chunk_range(0..1), 240..240 + 32_792);
/// # Ok::<(), warifu_core::ids::BadThreshold>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Header, identity, and what else comes before the first chunk.
    pub(super) prefix: usize,
    /// Into how many pieces a sealed chunk of the secret is cut; `None` where a share has a byte for each of the secret's.
    cut: Option<usize>,
    pub(super) secret_len: u64,
}

impl Plan {
    /// For a secret of `secret_len` bytes.
    #[must_use]
    pub const fn new(scheme: Scheme, threshold: Threshold, secret_len: u64) -> Self {
        match scheme {
            Scheme::Shamir => Self::shamir(secret_len),
            Scheme::Compact => Self {
                prefix: PREFIX_LEN + KEY_PIECE_LEN,
                cut: Some(threshold.k() as usize),
                secret_len,
            },
        }
    }

    const fn shamir(secret_len: u64) -> Self {
        Self {
            prefix: PREFIX_LEN,
            cut: None,
            secret_len,
        }
    }

    /// How many bytes of a share stand for a chunk of `len` bytes of the secret.
    pub(super) const fn piece_len(&self, len: usize) -> usize {
        match self.cut {
            None => len,
            Some(k) => (len + TAG).div_ceil(k),
        }
    }

    /// The bytes that a whole chunk takes in an object.
    pub(super) const fn stride(&self) -> usize {
        self.piece_len(CHUNK) + TAG
    }

    /// What must be read of an object before any chunk.
    #[must_use]
    pub const fn prefix_len(&self) -> usize {
        self.prefix
    }

    /// How long each object is.
    #[must_use]
    pub const fn object_len(&self) -> u64 {
        // The last chunk's length fits, being that of a chunk at most.
        let rest = (self.secret_len % CHUNK_LEN) as usize;
        let tail = if rest == 0 {
            0
        } else {
            self.piece_len(rest) + TAG
        };
        (self.prefix as u64)
            .saturating_add((self.secret_len / CHUNK_LEN).saturating_mul(self.stride() as u64))
            .saturating_add(tail as u64)
    }

    /// Which bytes of an object hold these chunks, each of which stands for [`CHUNK`] bytes of the secret. Chunks beyond the last
    /// are left out; the range may be empty.
    #[must_use]
    pub fn chunk_range(&self, chunks: Range<u64>) -> Range<u64> {
        let end = self.object_len();
        let place = |chunk: u64| {
            (self.prefix as u64)
                .saturating_add(chunk.saturating_mul(self.stride() as u64))
                .min(end)
        };
        let start = place(chunks.start);
        start..place(chunks.end).max(start)
    }
}

/// The size up to which a secret is filled with zeros before it is shared, so that the sizes of objects tell little.
///
/// This is Padmé (Nikitin, Barman, Lueks, Underwood, Hubaux and Ford: Reducing Metadata Leakage from Encrypted Files and
/// Communication with PURBs, PoPETs 2019), with a floor of 4096 bytes: of a length only the first bits stay,
/// about as many as the length of its length, so that at most 12 percent are added (3 percent from a megabyte on) and
/// only O(log log) bits of a length are told.
///
/// ```
/// use warifu_core::format::bucket;
/// assert_eq!(bucket(1), 4096);
/// assert_eq!(bucket(20_000), 20_480);
/// assert_eq!(bucket(4 << 20), 4 << 20);
/// ```
#[must_use]
pub const fn bucket(len: u64) -> u64 {
    if len <= 4096 {
        return 4096;
    }
    let exponent = len.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1 << (exponent - kept)) - 1;
    match len.checked_add(mask) {
        Some(sum) => sum & !mask,
        None => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_grow_never_shrink_and_stay_put() {
        let mut last = 0;
        for len in (0..300_000).chain([1 << 40, (1 << 40) + 1, u64::MAX - 1, u64::MAX]) {
            let size = bucket(len);
            assert!(size >= len && size >= last, "{len}");
            assert!(size == u64::MAX || bucket(size) == size, "{len}");
            assert!(size <= 4096 || size - len <= len / 8, "{len} → {size}");
            last = size;
        }
    }

    #[test]
    fn ranges_lie_end_to_end() {
        for len in [1, 65_535, 65_536, 65_537, 4 << 20, (4 << 20) + 1] {
            let mut at = PREFIX_LEN as u64;
            for chunk in 0..chunk_count(len) {
                let range = chunk_range(len, chunk..chunk + 1);
                assert_eq!(range.start, at);
                assert!(range.end > at + TAG as u64);
                at = range.end;
            }
            assert_eq!(at, object_len(len));
            assert_eq!(chunk_range(len, 0..u64::MAX), PREFIX_LEN as u64..at);
            assert!(chunk_range(len, u64::MAX..u64::MAX).is_empty());
        }
        assert_eq!(object_len(u64::MAX), u64::MAX);
    }

    #[test]
    fn compact_ranges_lie_end_to_end_and_a_share_is_the_kth_part() {
        for k in [1, 2, 3, 5, 255] {
            let threshold = Threshold::new(k, 255).unwrap();
            for len in [1, 65_535, 65_536, 65_537, 4 << 20, (4 << 20) + 1] {
                let plan = Plan::new(Scheme::Compact, threshold, len);
                let mut at = 240;
                for chunk in 0..chunk_count(len) {
                    let range = plan.chunk_range(chunk..chunk + 1);
                    assert_eq!(range.start, at);
                    assert!(range.end > at + TAG as u64);
                    at = range.end;
                }
                assert_eq!(at, plan.object_len());
                let share = (plan.object_len() - 240) as f64;
                assert!(share <= len as f64 / f64::from(k) + 48.0 * chunk_count(len) as f64);
            }
            assert_eq!(
                Plan::new(Scheme::Compact, threshold, u64::MAX).chunk_range(0..0),
                240..240
            );
        }
    }
}

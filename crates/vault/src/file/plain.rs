//! [`Plain`]: the contents of one extent in RAM; [`Contents`]: what a read gives of them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use warifu_core::secret::SecretBytes;

use super::EXTENT;

/// How many bytes of contents the vault holds in RAM, over all files, and a count of their changes.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    held: AtomicUsize,
    stamps: AtomicU64,
}

impl Ledger {
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn stamp(&self) -> u64 {
        self.stamps.fetch_add(1, Ordering::Relaxed)
    }
}

/// The contents of one extent: erased when dropped, as long as was written, zeros behind it.
pub(crate) struct Plain {
    /// Erased on drop. From `begin` on, `len` of it are contents, and the rest is zero. Shared with reads whose answers are
    /// still on their way to the program: then a change is made in a copy.
    bytes: Arc<SecretBytes>,
    /// What lies before is no contents: the metadata of a head.
    begin: usize,
    len: usize,
    ledger: Arc<Ledger>,
    /// Whether it holds what is nowhere else.
    pub(crate) dirty: bool,
    /// Another one after each change, so that a save can tell whether what it stored is still what is here. No two contents
    /// ever have the same: an extent may be cut off and written anew while it is being stored.
    pub(crate) stamp: u64,
    /// When it was last used, in ticks of the vault's counter.
    pub(crate) used: AtomicU64,
}

impl Plain {
    const SMALLEST: usize = 4096;

    pub(crate) fn empty(ledger: &Arc<Ledger>) -> Self {
        Self::of(SecretBytes::with_len(0), 0..0, ledger)
    }

    /// Takes over `bytes`, of which these are contents; what is behind them is erased.
    pub(crate) fn of(mut bytes: SecretBytes, contents: Range<usize>, ledger: &Arc<Ledger>) -> Self {
        let end = contents.end.min(bytes.len());
        let begin = contents.start.min(end);
        if let Some(rest) = bytes.expose_mut().get_mut(end..) {
            rest.fill(0);
        }
        ledger.held.fetch_add(bytes.len(), Ordering::Relaxed);
        Self {
            bytes: Arc::new(bytes),
            begin,
            len: end - begin,
            ledger: Arc::clone(ledger),
            dirty: false,
            stamp: ledger.stamp(),
            used: AtomicU64::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn contents(&self) -> &[u8] {
        self.bytes
            .expose()
            .get(self.begin..self.begin + self.len)
            .unwrap_or_default()
    }

    /// The `len` bytes from `at` where they lie, if all of them are there.
    pub(crate) fn share(&self, at: usize, len: usize) -> Option<Contents> {
        let end = at.checked_add(len).filter(|end| *end <= self.len)?;
        Some(Contents {
            bytes: Arc::clone(&self.bytes),
            range: self.begin + at..self.begin + end,
        })
    }

    /// Everything from where the contents begin, to be changed.
    fn room(&mut self) -> &mut [u8] {
        if Arc::get_mut(&mut self.bytes).is_none() {
            let own = self.bytes.expose().get(self.begin..).unwrap_or_default();
            self.replace(SecretBytes::from_slice(own));
        }
        let begin = self.begin;
        Arc::get_mut(&mut self.bytes)
            .and_then(|bytes| bytes.expose_mut().get_mut(begin..))
            .unwrap_or_default()
    }

    /// Goes on with `bytes`, which begin with the contents.
    fn replace(&mut self, bytes: SecretBytes) {
        let held = &self.ledger.held;
        held.fetch_add(bytes.len(), Ordering::Relaxed);
        held.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        (self.bytes, self.begin) = (Arc::new(bytes), 0);
    }

    /// Whether every byte is zero.
    pub(crate) fn is_zero(&self) -> bool {
        let (before, words, after) = (
            self.contents().as_chunks::<64>().0,
            0_u8,
            self.contents().as_chunks::<64>().1,
        );
        before
            .iter()
            .all(|chunk| chunk.iter().fold(words, |all, byte| all | byte) == 0)
            && after.iter().all(|byte| *byte == 0)
    }

    /// Copies the bytes from `at` into `out`; zeros behind the contents.
    pub(crate) fn read(&self, at: usize, out: &mut [u8]) {
        let have = self.contents().get(at..).unwrap_or_default();
        let n = have.len().min(out.len());
        let (front, back) = out.split_at_mut(n);
        front.copy_from_slice(have.get(..n).unwrap_or_default());
        back.fill(0);
    }

    /// Writes `data` at `at`, growing as needed.
    pub(crate) fn write(&mut self, at: usize, data: &[u8]) {
        let end = at.saturating_add(data.len());
        self.reserve(end);
        if let Some(place) = self.room().get_mut(at..end) {
            place.copy_from_slice(data);
        }
        self.len = self.len.max(end);
        self.touch();
    }

    /// Makes the bytes from `at` on, `len` of them, zero.
    pub(crate) fn zero(&mut self, at: usize, len: usize) {
        let end = at.saturating_add(len).min(self.len);
        if let Some(place) = self.room().get_mut(at..end) {
            place.fill(0);
        }
        self.touch();
    }

    /// Cuts the contents off at `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        if len < self.len {
            let cut = self.len;
            if let Some(rest) = self.room().get_mut(len..cut) {
                rest.fill(0);
            }
            self.len = len;
        }
        self.touch();
    }

    fn touch(&mut self) {
        self.dirty = true;
        self.stamp = self.ledger.stamp();
    }

    fn reserve(&mut self, needed: usize) {
        let room = self.bytes.len() - self.begin;
        if needed <= room {
            return;
        }
        // Doubling keeps the copying linear; a large first write goes straight to its size.
        let limit = usize::try_from(EXTENT).unwrap_or(usize::MAX).max(needed);
        let capacity = needed.max(room * 2).max(Self::SMALLEST).min(limit);
        let mut larger = SecretBytes::with_len(capacity);
        if let Some(place) = larger.expose_mut().get_mut(..self.len) {
            place.copy_from_slice(self.contents());
        }
        self.replace(larger);
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.ledger
            .held
            .fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// What a read gave: erased when the last who holds it lets go. It stays what it was, whatever is written meanwhile.
pub struct Contents {
    bytes: Arc<SecretBytes>,
    range: Range<usize>,
}

impl Contents {
    /// The bytes themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.bytes
            .expose()
            .get(self.range.clone())
            .unwrap_or_default()
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The same bytes, held by nobody else.
    #[must_use]
    pub fn into_own(self) -> SecretBytes {
        if self.range == (0..self.bytes.len()) {
            match Arc::try_unwrap(self.bytes) {
                Ok(bytes) => bytes,
                Err(shared) => SecretBytes::from_slice(shared.expose()),
            }
        } else {
            SecretBytes::from_slice(self.expose())
        }
    }
}

impl From<SecretBytes> for Contents {
    fn from(bytes: SecretBytes) -> Self {
        let range = 0..bytes.len();
        Self {
            bytes: Arc::new(bytes),
            range,
        }
    }
}

/// Silent.
impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Contents(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_stays_what_it_was_and_the_count_of_bytes_is_right() {
        let ledger = Arc::new(Ledger::default());
        let head = SecretBytes::from_slice(b"metadatacontents\0\0\0\0");
        let mut plain = Plain::of(head, 8..16, &ledger);
        assert_eq!((plain.contents(), ledger.held()), (&b"contents"[..], 20));
        let read = plain.share(2, 4).unwrap();
        assert!(plain.share(2, 7).is_none(), "behind the end");
        plain.write(2, b"----");
        assert_eq!(read.expose(), b"nten");
        assert_eq!((plain.contents(), ledger.held()), (&b"co----ts"[..], 12));
        assert_eq!(plain.share(2, 4).unwrap().into_own().expose(), b"----");
        plain.truncate(3);
        plain.write(6, b"x");
        assert_eq!(plain.contents(), b"co-\0\0\0x");
        plain.write(9_000, b"y");
        assert_eq!((plain.len(), ledger.held()), (9_001, 9_001));
        assert_eq!(&plain.contents()[..7], b"co-\0\0\0x");
        drop(plain);
        assert_eq!(ledger.held(), 0);
    }
}

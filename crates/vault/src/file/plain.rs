//! [`Plain`]: the contents of one extent in RAM.

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
    /// Erased on drop. Its length is the capacity; `len` of it are contents, the rest is zero.
    bytes: SecretBytes,
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
        Self::of(SecretBytes::with_len(0), 0, ledger)
    }

    /// Takes over `bytes`, of which the first `len` are contents; what is behind them is erased.
    pub(crate) fn of(mut bytes: SecretBytes, len: usize, ledger: &Arc<Ledger>) -> Self {
        let len = len.min(bytes.len());
        if let Some(rest) = bytes.expose_mut().get_mut(len..) {
            rest.fill(0);
        }
        ledger.held.fetch_add(bytes.len(), Ordering::Relaxed);
        Self {
            bytes,
            len,
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
        self.bytes.expose().get(..self.len).unwrap_or_default()
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
        if let Some(place) = self.bytes.expose_mut().get_mut(at..end) {
            place.copy_from_slice(data);
        }
        self.len = self.len.max(end);
        self.touch();
    }

    /// Makes the bytes from `at` on, `len` of them, zero.
    pub(crate) fn zero(&mut self, at: usize, len: usize) {
        let end = at.saturating_add(len).min(self.len);
        if let Some(place) = self.bytes.expose_mut().get_mut(at..end) {
            place.fill(0);
        }
        self.touch();
    }

    /// Cuts the contents off at `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        if len < self.len {
            let cut = self.len;
            if let Some(rest) = self.bytes.expose_mut().get_mut(len..cut) {
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
        if needed <= self.bytes.len() {
            return;
        }
        // Doubling keeps the copying linear; a large first write goes straight to its size.
        let limit = usize::try_from(EXTENT).unwrap_or(usize::MAX).max(needed);
        let capacity = needed
            .max(self.bytes.len() * 2)
            .max(Self::SMALLEST)
            .min(limit);
        let mut larger = SecretBytes::with_len(capacity);
        if let Some(place) = larger.expose_mut().get_mut(..self.len) {
            place.copy_from_slice(self.contents());
        }
        self.ledger
            .held
            .fetch_add(capacity - self.bytes.len(), Ordering::Relaxed);
        self.bytes = larger;
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.ledger
            .held
            .fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

//! Small reads out of order: of a large file that is not in RAM, only the chunks needed are fetched.
//!
//! The contents of an extent never change, so what is kept here is right for as long as a slot of the file names that extent.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use warifu_core::format::CHUNK;
use warifu_core::ids::{ExtentId, ShareIndex};
use warifu_core::secret::SecretBytes;

use super::EXTENT;
use super::plain::{Ledger, Plain};
use super::state::OpenFile;
use crate::error::{Result, VaultError};
use crate::joining::{self, Piece};
use crate::seam::catalog::ExtentRecord;
use crate::vault::{Inner, lock};

/// A read longer than this fetches whole extents.
pub(crate) const LONGEST: usize = 256 << 10;

/// A read that begins this near to where the last one ended is in order: the kernel sends what a program reads in pieces, several
/// at a time.
const NEAR: u64 = 1 << 20;

/// How many chunks of a file are kept.
const CHUNKS: usize = 64;

/// How many extents of a file are known by the beginnings of their shares.
const KNOWN: usize = 64;

/// An extent of which so many parts were fetched is fetched in whole, while further parts are: whoever reads here and there does not wait
/// for all of it.
const PARTS: u32 = 8;

/// What is in RAM of extents that are not.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    chunks: BTreeMap<(ExtentId, u64), Plain>,
    known: HashMap<ExtentId, Known>,
    ticks: u64,
}

/// What is known of an extent: where things lie in its shares, and how these begin. All of it is sealed.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    record: Arc<ExtentRecord>,
    prefixes: BTreeMap<ShareIndex, Bytes>,
    fetched: u32,
    used: u64,
}

/// The chunks that hold the bytes from `at` on, at least one.
fn chunks(at: usize, len: usize) -> RangeInclusive<u64> {
    let last = at.saturating_add(len.saturating_sub(1));
    (at / CHUNK) as u64..=(last / CHUNK) as u64
}

impl Parts {
    /// Whether all of a stretch is there.
    pub(crate) fn hold(&self, extent: ExtentId, at: usize, len: usize) -> bool {
        chunks(at, len).all(|chunk| self.chunks.contains_key(&(extent, chunk)))
    }

    /// Copies a stretch that is there; zeros where it is not, or the extent ends.
    pub(crate) fn read(&self, extent: ExtentId, at: usize, out: &mut [u8]) {
        let mut rest = out;
        let mut at = at;
        while !rest.is_empty() {
            let (chunk, within) = ((at / CHUNK) as u64, at % CHUNK);
            let len = rest.len().min(CHUNK - within);
            let (place, behind) = rest.split_at_mut(len);
            match self.chunks.get(&(extent, chunk)) {
                Some(plain) => {
                    // Nobody else changes it: it orders what is dropped first.
                    plain.used.store(self.ticks, Ordering::Relaxed);
                    plain.read(within, place);
                }
                None => place.fill(0),
            }
            at += len;
            rest = behind;
        }
    }

    /// Drops everything that can be fetched again.
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
    }

    fn keep(&mut self, extent: ExtentId, first: u64, secret: &SecretBytes, ledger: &Arc<Ledger>) {
        self.ticks += 1;
        for (chunk, bytes) in (first..).zip(secret.expose().chunks(CHUNK)) {
            let plain = Plain::of(SecretBytes::from_slice(bytes), 0..bytes.len(), ledger);
            plain.used.store(self.ticks, Ordering::Relaxed);
            self.chunks.insert((extent, chunk), plain);
        }
        while self.chunks.len() > CHUNKS {
            let used = |plain: &Plain| plain.used.load(Ordering::Relaxed);
            let oldest = self.chunks.iter().min_by_key(|(_, plain)| used(plain));
            let Some(oldest) = oldest.map(|(place, _)| *place) else {
                return;
            };
            self.chunks.remove(&oldest);
        }
    }

    /// Keeps what is known of an extent of which a part was fetched; gives whether all of it should be.
    fn learn(&mut self, extent: ExtentId, mut known: Known) -> bool {
        self.ticks += 1;
        known.used = self.ticks;
        let before = self.known.get(&extent).map_or(0, |known| known.fetched);
        known.fetched = before.saturating_add(1);
        let often = known.fetched.is_multiple_of(PARTS);
        self.known.insert(extent, known);
        if self.known.len() > KNOWN {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(extent, _)| *extent) {
                self.known.remove(&oldest);
            }
        }
        often
    }
}

/// Sees by where reads begin whether a program reads in order.
#[derive(Debug)]
pub(crate) struct Order {
    /// Where the last read ended.
    end: AtomicU64,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            end: AtomicU64::new(u64::MAX),
        }
    }
}

impl Order {
    /// Whether this read is one in order. The first one is if it begins where the file does.
    pub(crate) fn next(&self, offset: u64, len: usize) -> bool {
        let end = offset.saturating_add(len as u64);
        let before = self.end.swap(end, Ordering::Relaxed);
        offset == 0 || before.abs_diff(offset) <= NEAR
    }
}

impl Inner {
    /// Fetches the chunks of a stretch of an extent. Returns whether it has: where it is better to fetch the whole extent, nothing is
    /// done.
    pub(crate) async fn load_part(
        self: &Arc<Self>,
        file: &Arc<OpenFile>,
        (number, extent): (u64, ExtentId),
        at: usize,
        len: usize,
    ) -> Result<bool> {
        let known = lock(&file.parts).known.get(&extent).cloned();
        let mut known = match known {
            Some(known) => known,
            None => match self.catalog.extent(extent).await? {
                Some(record) => Known {
                    record: Arc::new(record),
                    prefixes: BTreeMap::new(),
                    fetched: 0,
                    used: 0,
                },
                // Dealt for a save under way, or removed by one that has just ended.
                None => return Ok(false),
            },
        };
        // Behind its end the extent is zeros: nothing that could be fetched.
        if at.saturating_add(len) as u64 > known.record.len {
            return Ok(false);
        }
        let wanted = {
            let parts = lock(&file.parts);
            let absent = |chunk: &u64| !parts.chunks.contains_key(&(extent, *chunk));
            let mut wanted = chunks(at, len).filter(absent);
            let first = wanted.next();
            first.map(|first| first..wanted.next_back().unwrap_or(first) + 1)
        };
        let Some(wanted) = wanted else {
            return Ok(true);
        };
        let (secret, prefixes) = loop {
            let piece = Piece {
                record: &known.record,
                chunks: wanted.clone(),
                prefixes: &known.prefixes,
            };
            let unreadable = match joining::fetch_chunks(&self.servers, self.vault, piece).await {
                Ok(fetched) => break fetched,
                Err(unreadable) => unreadable,
            };
            let before = (known.record.generation, known.record.threshold);
            match self.refreshed(extent, before).await? {
                Some(record) => {
                    known.record = Arc::new(record);
                    known.prefixes.clear();
                }
                None => {
                    let needed = known.record.threshold.k();
                    return Err(self.too_few(file, extent, needed, unreadable).await);
                }
            }
        };
        known.prefixes.extend(prefixes);
        let often = {
            let mut parts = lock(&file.parts);
            parts.keep(extent, wanted.start, &secret, &self.ledger);
            parts.learn(extent, known)
        };
        if often {
            self.load_ahead(file, number);
        }
        Ok(true)
    }

    pub(super) async fn too_few(
        &self,
        file: &OpenFile,
        extent: ExtentId,
        needed: u8,
        unreadable: joining::Unreadable,
    ) -> VaultError {
        // Destroyed meanwhile, by somebody on another machine: no server will ever have it again.
        let dealt = file.state.read().await.fresh.contains_key(&extent);
        if !dealt && let Ok(None) = self.catalog.extent(extent).await {
            return VaultError::Destroyed;
        }
        let version = file.state.read().await.version;
        VaultError::TooFewShares {
            file: self.path_text(file.node).await,
            version,
            needed,
            got: unreadable.got,
            faults: unreadable.faults,
        }
    }
}

/// Whether a read of so many bytes of a file of this size may be served in parts at all.
pub(crate) fn worth_it(size: u64, len: usize) -> bool {
    size > EXTENT && len <= LONGEST
}

//! From k shares back to the secret, or to a share that was lost.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroize;

use super::deal::{DealError, Sealer, Seat};
use super::identity::Dealing;
use super::open::{Layout, OpenShare};
use super::sizes::{CHUNK, PREFIX_LEN, chunk_range, object_len};
use crate::engine::Engine;
use crate::ids::ShareIndex;
use crate::random;
use crate::seal::TAG;
use crate::secret::SecretBytes;
use crate::shamir::{ShamirError, Weights};

/// In what two shares differ that were to be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Difference {
    /// They are of different vaults.
    Vault,
    /// They are of different documents.
    File,
    /// They are of different versions.
    Version,
    /// They are of different extents, or of different dealings of one.
    Extent,
    /// They are of different generations.
    Generation,
    /// They were made by different schemes.
    Scheme,
    /// k or n differ.
    Threshold,
    /// One is of a head, the other of data or of a journal.
    Kind,
    /// The secrets have different lengths.
    Length,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vault => "vault",
            Self::File => "file",
            Self::Version => "version",
            Self::Extent => "extent",
            Self::Generation => "generation",
            Self::Scheme => "scheme",
            Self::Threshold => "threshold",
            Self::Kind => "kind of extent",
            Self::Length => "length",
        })
    }
}

/// Why shares cannot be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CombineError {
    /// They do not belong together. Joined all the same, they would give a wrong secret without a word.
    #[error("the shares {first} and {other} do not belong together: they differ in their {what}")]
    Differs {
        /// In what they differ.
        what: Difference,
        /// The index of the first share.
        first: ShareIndex,
        /// The index of the share that differs from it.
        other: ShareIndex,
    },
    /// Two shares have the same index.
    #[error("the share {index} was given twice")]
    Duplicate {
        /// The index that occurs twice.
        index: ShareIndex,
    },
    /// Not exactly k shares.
    #[error("exactly {needed} shares are needed, {got} were given")]
    WrongCount {
        /// k, or 1 when there was no share to tell it.
        needed: usize,
        /// How many there were.
        got: usize,
    },
}

/// Why chunks were not joined. The place for the result is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A chunk of one share is damaged: another share is to be taken in its place.
    #[error("share {index}: chunk {chunk} is damaged")]
    Damaged {
        /// Which of the shares, in the order in which they were given, counted from 0.
        position: usize,
        /// The share's index.
        index: ShareIndex,
        /// The chunk, counted from 0.
        chunk: u64,
    },
    /// Not one body for each share.
    #[error("{needed} bodies are needed, one for each share, {got} were given")]
    Bodies {
        /// k.
        needed: usize,
        /// How many there were.
        got: usize,
    },
    /// Not the chunks that the place for the result asks for: cut off, or too many.
    #[error("share {index}: {got} bytes were given where the chunks have {expected}")]
    BodyLength {
        /// Which of the shares.
        position: usize,
        /// The share's index.
        index: ShareIndex,
        /// How many bytes these chunks have.
        expected: usize,
        /// How many bytes there were.
        got: usize,
    },
    /// The place for the result does not cover whole chunks.
    #[error(
        "the result has room for {got} bytes, which are not whole chunks from chunk {chunk} on"
    )]
    ResultLength {
        /// The first chunk asked for.
        chunk: u64,
        /// The length found.
        got: usize,
    },
}

/// How many shares are opened before they are added up.
const GROUP: usize = 8;

/// Exactly k shares that belong together.
pub struct Joiner {
    shares: Vec<OpenShare>,
    weights: Weights,
    /// Room for one chunk of each share of a group.
    scratch: SecretBytes,
    engine: Engine,
    first: Dealing,
    secret_len: u64,
}

impl Joiner {
    /// Takes exactly k shares of one dealing, in any order.
    ///
    /// # Errors
    /// [`CombineError`] names what differs and between which.
    pub fn new(shares: Vec<OpenShare>) -> Result<Self, CombineError> {
        Self::at(shares, Weights::at_secret)
    }

    fn at(
        shares: Vec<OpenShare>,
        weights: impl FnOnce(&[ShareIndex]) -> Result<Weights, ShamirError>,
    ) -> Result<Self, CombineError> {
        let Some(first) = shares.first() else {
            return Err(CombineError::WrongCount { needed: 1, got: 0 });
        };
        for other in &shares {
            if let Some(what) = difference(first, other) {
                return Err(CombineError::Differs {
                    what,
                    first: first.index(),
                    other: other.index(),
                });
            }
        }
        let needed = usize::from(first.header().threshold().k());
        let count = CombineError::WrongCount {
            needed,
            got: shares.len(),
        };
        let indices: Vec<_> = shares.iter().map(OpenShare::index).collect();
        let weights = weights(&indices).map_err(|error| match error {
            ShamirError::Duplicate { index } => CombineError::Duplicate { index },
            _ => count,
        })?;
        if shares.len() != needed {
            return Err(count);
        }
        let (dealing, secret_len) = (*first.dealing(), first.header().secret_len());
        Ok(Self {
            scratch: SecretBytes::with_len(
                usize::try_from(secret_len).unwrap_or(CHUNK).min(CHUNK) * needed.min(GROUP),
            ),
            engine: Engine::current(),
            shares,
            weights,
            first: dealing,
            secret_len,
        })
    }

    /// How many bytes were shared.
    #[must_use]
    pub fn secret_len(&self) -> u64 {
        self.secret_len
    }

    /// Of what these are shares. The suite is that of the first share.
    #[must_use]
    pub fn dealing(&self) -> &Dealing {
        &self.first
    }

    /// The shares, in the order given.
    #[must_use]
    pub fn shares(&self) -> &[OpenShare] {
        &self.shares
    }

    /// Gives the shares back, so that a damaged one can be exchanged for another.
    #[must_use]
    pub fn into_shares(self) -> Vec<OpenShare> {
        self.shares
    }

    /// Joins whole chunks from chunk `first` on: as many as `out` has room for, which must be whole chunks ([`CHUNK`] bytes each,
    /// the secret's last one shorter). `bodies[i]` are the bytes of these chunks from `shares[i]`,
    /// found by [`chunk_range`](super::chunk_range).
    ///
    /// # Errors
    /// [`JoinError`]; `out` is erased then.
    pub fn join_chunks(
        &mut self,
        first: u64,
        bodies: &[&[u8]],
        out: &mut [u8],
    ) -> Result<(), JoinError> {
        let joined = self.join_into(first, bodies, out);
        if joined.is_err() {
            out.zeroize();
        }
        joined
    }

    fn join_into(&mut self, first: u64, bodies: &[&[u8]], out: &mut [u8]) -> Result<(), JoinError> {
        if bodies.len() != self.shares.len() {
            return Err(JoinError::Bodies {
                needed: self.shares.len(),
                got: bodies.len(),
            });
        }
        let layout = Layout::of_secret(self.secret_len, first, out.len()).ok_or(
            JoinError::ResultLength {
                chunk: first,
                got: out.len(),
            },
        )?;
        for (position, (body, share)) in bodies.iter().zip(&self.shares).enumerate() {
            if body.len() != layout.body_len {
                let (index, expected) = (share.index(), layout.body_len);
                return Err(JoinError::BodyLength {
                    position,
                    index,
                    expected,
                    got: body.len(),
                });
            }
        }
        for ((chunk, start), out) in (first..)
            .zip((0..).step_by(CHUNK + TAG))
            .zip(out.chunks_mut(CHUNK))
        {
            let sealed_len = out.len() + TAG;
            // So many shares at a time that they stay in cache until they are added up.
            let groups = (self.weights.as_slice().chunks(GROUP))
                .zip(self.shares.chunks(GROUP))
                .zip(bodies.chunks(GROUP));
            for (number, ((weights, shares), bodies)) in groups.enumerate() {
                let mut opened = [&[] as &[u8]; GROUP];
                let rooms = self.scratch.expose_mut().chunks_mut(out.len());
                for (at, ((share, body), room)) in shares.iter().zip(bodies).zip(rooms).enumerate()
                {
                    let damaged = JoinError::Damaged {
                        position: number * GROUP + at,
                        index: share.index(),
                        chunk,
                    };
                    let sealed = body.get(start..start + sealed_len).ok_or(damaged)?;
                    share.open_chunk(chunk, sealed, room).map_err(|_| damaged)?;
                    opened[at] = room;
                }
                self.engine
                    .combine(weights, &opened[..weights.len()], 0, out, number > 0);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Joiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Joiner").field(&self.shares).finish()
    }
}

fn difference(first: &OpenShare, other: &OpenShare) -> Option<Difference> {
    let (a, b) = (first.dealing(), other.dealing());
    // From the outside in: who mixes two vaults wants to be told of the vaults.
    [
        (Difference::Vault, a.vault == b.vault),
        (Difference::File, a.file == b.file),
        (Difference::Version, a.version == b.version),
        (Difference::Kind, a.kind == b.kind),
        (Difference::Generation, a.generation == b.generation),
        (Difference::Scheme, a.scheme == b.scheme),
        (Difference::Threshold, a.threshold == b.threshold),
        (
            Difference::Extent,
            a.number == b.number && a.extent == b.extent,
        ),
        (
            Difference::Length,
            first.header().secret_len() == other.header().secret_len(),
        ),
    ]
    .into_iter()
    .find_map(|(what, equal)| (!equal).then_some(what))
}

/// Why a share was not rebuilt. The object is empty then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// The shares given cannot be joined.
    #[error(transparent)]
    Combine(#[from] CombineError),
    /// One of the shares given is damaged.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The share cannot be sealed.
    #[error(transparent)]
    Deal(#[from] DealError),
    /// The dealing has no share of this index.
    #[error("there is no share {target}: the dealing has {n}")]
    Target {
        /// The index asked for.
        target: ShareIndex,
        /// The number of shares.
        n: u8,
    },
}

/// Makes a lost share anew from k others, and seals it for `seat`. The secret itself is at no time joined.
///
/// The new share is the lost one, byte for byte, under a fresh salt. `bodies[i]` is the whole object of `shares[i]` after
/// its prefix. The suite is `dealing().suite` of the first share. Where the seat is another server than the lost share's,
/// remember that the lost server may still hold its share of the same polynomial: only a new dealing (`refresh`) makes that worthless.
///
/// # Errors
/// [`RebuildError`]; `object` is empty then.
pub fn rebuild(
    shares: Vec<OpenShare>,
    bodies: &[&[u8]],
    target: ShareIndex,
    seat: &Seat<'_>,
    object: &mut Vec<u8>,
) -> Result<(), RebuildError> {
    let rebuilt = rebuild_into(shares, bodies, target, seat, object);
    if rebuilt.is_err() {
        object.zeroize();
    }
    rebuilt
}

fn rebuild_into(
    shares: Vec<OpenShare>,
    bodies: &[&[u8]],
    target: ShareIndex,
    seat: &Seat<'_>,
    object: &mut Vec<u8>,
) -> Result<(), RebuildError> {
    let mut joiner = Joiner::at(shares, |indices| Weights::at(target, indices))?;
    let (dealing, secret_len) = (joiner.first, joiner.secret_len);
    let n = dealing.threshold.n();
    if target.get() > n {
        return Err(RebuildError::Target { target, n });
    }
    let whole = chunk_range(secret_len, 0..u64::MAX);
    for (position, (body, share)) in bodies.iter().zip(joiner.shares()).enumerate() {
        if body.len() as u64 != whole.end - whole.start {
            let expected = usize::try_from(whole.end - whole.start).unwrap_or(usize::MAX);
            let (index, got) = (share.index(), body.len());
            return Err(JoinError::BodyLength {
                position,
                index,
                expected,
                got,
            }
            .into());
        }
    }
    let total = usize::try_from(object_len(secret_len))
        .map_err(|_| DealError::Length { len: secret_len })?;
    object.clear();
    object.resize(total, 0);
    let sealer = Sealer::new(
        &dealing,
        seat,
        target,
        secret_len,
        object,
        &mut random::fill,
    )?;
    let body = object.get_mut(PREFIX_LEN..).unwrap_or_default();
    let last = body.len().div_ceil(CHUNK + TAG).saturating_sub(1);
    let mut pieces: Vec<&[u8]> = Vec::with_capacity(bodies.len());
    for (number, chunk) in body.chunks_mut(CHUNK + TAG).enumerate() {
        let start = number * (CHUNK + TAG);
        pieces.clear();
        pieces.extend(
            bodies
                .iter()
                .filter_map(|body| body.get(start..start + chunk.len())),
        );
        let plain_len = chunk.len().saturating_sub(TAG);
        let plain = chunk.get_mut(..plain_len).unwrap_or_default();
        joiner.join_chunks(number as u64, &pieces, plain)?;
        sealer.seal_chunk(number as u64, number == last, chunk)?;
    }
    Ok(())
}

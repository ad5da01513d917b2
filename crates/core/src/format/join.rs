//! From k shares back to the secret.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroize;

use super::compact::Decoder;
use super::identity::{Dealing, Scheme};
use super::open::{Layout, OpenShare};
use super::sizes::{CHUNK, Plan, chunk_count};
use crate::engine::Engine;
use crate::ids::ShareIndex;
use crate::seal::{Suite, SuiteUnavailable, TAG};
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
    /// They are of different makings of one generation.
    Round,
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
            Self::Round => "making of the generation",
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
    /// The suite under which a compact extent was sealed is not in this build.
    #[error(transparent)]
    Suite(#[from] SuiteUnavailable),
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
    /// All shares of a compact extent are whole and belong together, and yet what they give is not what was sealed: whoever
    /// made them did not make them by this scheme.
    #[error("chunk {chunk}: the shares are whole, but don't give what was sealed")]
    Inconsistent {
        /// The chunk, counted from 0.
        chunk: u64,
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
    /// How a compact extent is put together; not there for any other, nor where a share is to be rebuilt.
    decoder: Option<Decoder>,
    plan: Plan,
    first: Dealing,
    secret_len: u64,
}

impl Joiner {
    /// Takes exactly k shares of one dealing, in any order.
    ///
    /// # Errors
    /// [`CombineError`] names what differs and between which.
    pub fn new(shares: Vec<OpenShare>) -> Result<Self, CombineError> {
        let mut joiner = Self::at(shares, Weights::at_secret)?;
        if joiner.first.scheme == Scheme::Compact {
            // A share that has been opened has its suite.
            let decoder = Decoder::new(&joiner.shares, &joiner.weights, joiner.plan);
            joiner.decoder = Some(decoder?);
        }
        Ok(joiner)
    }

    pub(super) fn at(
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
        let plan = first.plan();
        let group = match dealing.scheme {
            Scheme::Shamir => needed.min(GROUP),
            Scheme::Compact => needed,
        };
        let longest = usize::try_from(secret_len).unwrap_or(CHUNK).min(CHUNK);
        Ok(Self {
            scratch: SecretBytes::with_len(plan.piece_len(longest) * group),
            engine: Engine::current(),
            decoder: None,
            plan,
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

    pub(super) fn weights(&self) -> &Weights {
        &self.weights
    }

    pub(super) fn plan(&self) -> Plan {
        self.plan
    }

    /// Joins whole chunks from chunk `first` on: as many as `out` has room for, which must be whole chunks ([`CHUNK`] bytes each,
    /// the secret's last one shorter). `bodies[i]` are the bytes of these chunks from `shares[i]`,
    /// found by [`ShareHeader::chunk_range`](super::ShareHeader::chunk_range).
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
        let layout =
            Layout::of_secret(self.plan, first, out.len()).ok_or(JoinError::ResultLength {
                chunk: first,
                got: out.len(),
            })?;
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
            .zip((0..).step_by(self.plan.stride()))
            .zip(out.chunks_mut(CHUNK))
        {
            match self.decoder.take() {
                None => self.sum_into(chunk, start, bodies, out)?,
                Some(mut decoder) => {
                    let joined = self.decode(&mut decoder, chunk, start, bodies, out);
                    self.decoder = Some(decoder);
                    joined?;
                }
            }
        }
        Ok(())
    }

    /// Opens one chunk of each share, which begins at `start` in the bodies, and writes their weighted sum to `out`.
    pub(super) fn sum_into(
        &mut self,
        chunk: u64,
        start: usize,
        bodies: &[&[u8]],
        out: &mut [u8],
    ) -> Result<(), JoinError> {
        // So many shares at a time that they stay in cache until they are added up.
        let groups = (self.weights.as_slice().chunks(GROUP))
            .zip(self.shares.chunks(GROUP))
            .zip(bodies.chunks(GROUP));
        for (number, ((weights, shares), bodies)) in groups.enumerate() {
            let mut opened = [&[] as &[u8]; GROUP];
            let rooms = self.scratch.expose_mut().chunks_mut(out.len());
            for (at, ((share, body), room)) in shares.iter().zip(bodies).zip(rooms).enumerate() {
                open_piece(share, number * GROUP + at, chunk, start, body, room)?;
                opened[at] = room;
            }
            self.engine
                .combine(weights, &opened[..weights.len()], 0, out, number > 0);
        }
        Ok(())
    }

    fn decode(
        &mut self,
        decoder: &mut Decoder,
        chunk: u64,
        start: usize,
        bodies: &[&[u8]],
        out: &mut [u8],
    ) -> Result<(), JoinError> {
        let piece_len = self.plan.piece_len(out.len());
        let mut opened = [&[] as &[u8]; 255];
        let rooms = self.scratch.expose_mut().chunks_mut(piece_len);
        for (position, ((share, body), room)) in
            self.shares.iter().zip(bodies).zip(rooms).enumerate()
        {
            open_piece(share, position, chunk, start, body, room)?;
            opened[position] = room;
        }
        let last = chunk.saturating_add(1) == chunk_count(self.secret_len);
        decoder
            .join(self.engine, chunk, last, &opened[..self.shares.len()], out)
            .map_err(|_| JoinError::Inconsistent { chunk })
    }
}

/// Opens one chunk of a share, which begins at `start` in its body.
pub(super) fn open_piece(
    share: &OpenShare,
    position: usize,
    chunk: u64,
    start: usize,
    body: &[u8],
    room: &mut [u8],
) -> Result<(), JoinError> {
    let damaged = JoinError::Damaged {
        position,
        index: share.index(),
        chunk,
    };
    let sealed = body.get(start..start + room.len() + TAG).ok_or(damaged)?;
    share.open_chunk(chunk, sealed, room).map_err(|_| damaged)
}

impl fmt::Debug for Joiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Joiner").field(&self.shares).finish()
    }
}

fn inner_suite(share: &OpenShare) -> Option<Suite> {
    share.inner().map(|inner| inner.suite)
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
        (
            Difference::Scheme,
            a.scheme == b.scheme && inner_suite(first) == inner_suite(other),
        ),
        (Difference::Threshold, a.threshold == b.threshold),
        (
            Difference::Extent,
            a.number == b.number && a.extent == b.extent,
        ),
        (Difference::Round, a.round == b.round),
        (
            Difference::Length,
            first.header().secret_len() == other.header().secret_len(),
        ),
    ]
    .into_iter()
    .find_map(|(what, equal)| (!equal).then_some(what))
}

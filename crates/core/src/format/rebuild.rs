//! From k shares to another one, without the secret.

use alloc::vec::Vec;

use zeroize::Zeroize;

use super::deal::{DealError, Sealer, Seat};
use super::join::{CombineError, JoinError, Joiner};
use super::open::OpenShare;
use crate::ids::{Generation, ShareIndex};
use crate::random;
use crate::seal::TAG;
use crate::secret::Secret;
use crate::shamir::Weights;

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
    /// Shares of a new generation must have a greater number than those that they are made from.
    #[error("shares of generation {to} cannot be made from shares of generation {from}")]
    Generation {
        /// The generation of the shares given.
        from: Generation,
        /// The generation asked for.
        to: Generation,
    },
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
    let (dealing, secret_len, plan) = (*joiner.dealing(), joiner.secret_len(), joiner.plan());
    let n = dealing.threshold.n();
    if target.get() > n {
        return Err(RebuildError::Target { target, n });
    }
    check_bodies(&joiner, bodies)?;
    let total =
        usize::try_from(plan.object_len()).map_err(|_| DealError::Length { len: secret_len })?;
    object.truncate(total);
    object.resize(total, 0);
    let inner: Vec<_> = joiner
        .shares()
        .iter()
        .filter_map(OpenShare::inner)
        .collect();
    let suite = inner.first().map(|inner| inner.suite);
    let entropy = &mut random::fill;
    let sealer = Sealer::new(&dealing, suite, seat, target, secret_len, object, entropy)?;
    if suite.is_some() {
        let pieces: Vec<&[u8]> = inner
            .iter()
            .map(|inner| inner.piece.expose().as_slice())
            .collect();
        let piece = Secret::<32>::filled(|piece| joiner.weights().combine_into(&pieces, piece));
        let piece = piece.map_err(|_| DealError::Cipher)?;
        sealer.seal_key_piece(piece.expose(), object)?;
    }
    let body = object.get_mut(plan.prefix..).unwrap_or_default();
    let last = body.len().div_ceil(plan.stride()).saturating_sub(1);
    for (number, chunk) in body.chunks_mut(plan.stride()).enumerate() {
        let plain_len = chunk.len().saturating_sub(TAG);
        let plain = chunk.get_mut(..plain_len).unwrap_or_default();
        joiner.sum_into(number as u64, number * plan.stride(), bodies, plain)?;
        sealer.seal_chunk(number as u64, number == last, chunk)?;
    }
    Ok(())
}

/// Whether there is the whole body of each share.
pub(super) fn check_bodies(joiner: &Joiner, bodies: &[&[u8]]) -> Result<(), JoinError> {
    if bodies.len() != joiner.shares().len() {
        return Err(JoinError::Bodies {
            needed: joiner.shares().len(),
            got: bodies.len(),
        });
    }
    let whole = joiner.plan().chunk_range(0..u64::MAX);
    for (position, (body, share)) in bodies.iter().zip(joiner.shares()).enumerate() {
        if body.len() as u64 != whole.end - whole.start {
            let expected = usize::try_from(whole.end - whole.start).unwrap_or(usize::MAX);
            let (index, got) = (share.index(), body.len());
            return Err(JoinError::BodyLength {
                position,
                index,
                expected,
                got,
            });
        }
    }
    Ok(())
}

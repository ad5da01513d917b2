//! From a secret to one object per server, in one pass.

use alloc::vec::Vec;

use zeroize::Zeroize;

use super::compact;
use super::header::ShareHeader;
use super::identity::{
    Binding, Dealing, Scheme, binding, chunk_nonce, identity_nonce, key_piece_nonce,
};
use super::sizes::{CHUNK, KEY_PIECE_LEN, PREFIX_LEN, Plan, SECRET_MAX};
use crate::coefficients::Entropy;
use crate::ids::{ServerId, ShareIndex};
use crate::keys::SealKey;
use crate::random::{self, NoRandomness};
use crate::seal::{Cipher, Suite, SuiteUnavailable, TAG};
use crate::shamir::Splitter;

/// A server's place in a dealing.
#[derive(Clone, Copy, Debug)]
pub struct Seat<'a> {
    /// The server.
    pub server: ServerId,
    /// The key under which its share is sealed.
    pub key: &'a SealKey,
}

/// Why nothing was dealt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DealError {
    /// Not n seats.
    #[error("{needed} servers are needed for {needed} shares, {got} were given")]
    Seats {
        /// n.
        needed: usize,
        /// How many seats there were.
        got: usize,
    },
    /// Not n places for objects.
    #[error("{needed} objects are to be made, there is room for {got}")]
    Objects {
        /// n.
        needed: usize,
        /// How many places there were.
        got: usize,
    },
    /// One server would hold two shares.
    #[error("the server {server} would get two shares of one extent")]
    SameServer {
        /// The server named twice.
        server: ServerId,
    },
    /// Nothing, or more than [`SECRET_MAX`] bytes.
    #[error("{len} bytes cannot be shared as one extent: it must have 1 to {SECRET_MAX}")]
    Length {
        /// The length of the secret.
        len: u64,
    },
    /// The suite is not in this build.
    #[error(transparent)]
    Suite(#[from] SuiteUnavailable),
    /// The cipher refused to seal.
    #[error("the cipher refused to seal a share")]
    Cipher,
    /// Nothing can be shared without randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Shares `secret` and seals each share: `objects[i]` becomes the object for `seats[i]`, whose share has the index i + 1.
///
/// The objects are cleared first; their memory is used again. The secret is shared as it is: who wants its
/// length hidden fills it up to its [`bucket`](super::bucket) before.
///
/// # Errors
/// [`DealError`]; the objects are empty then.
pub fn deal(
    dealing: &Dealing,
    seats: &[Seat<'_>],
    secret: &[u8],
    objects: &mut [Vec<u8>],
) -> Result<(), DealError> {
    deal_with(dealing, seats, secret, objects, &mut random::fill)
}

pub(crate) fn deal_with(
    dealing: &Dealing,
    seats: &[Seat<'_>],
    secret: &[u8],
    objects: &mut [Vec<u8>],
    entropy: Entropy<'_>,
) -> Result<(), DealError> {
    let dealt = fill(dealing, seats, secret, objects, entropy);
    if dealt.is_err() {
        for object in objects {
            // A share that is not sealed yet must not stay behind.
            object.zeroize();
        }
    }
    dealt
}

fn fill(
    dealing: &Dealing,
    seats: &[Seat<'_>],
    secret: &[u8],
    objects: &mut [Vec<u8>],
    entropy: Entropy<'_>,
) -> Result<(), DealError> {
    let len = secret.len() as u64;
    let sealers = sealers(dealing, seats, len, objects, entropy)?;
    let plan = Plan::new(dealing.scheme, dealing.threshold, len);
    match dealing.scheme {
        Scheme::Shamir => share(dealing, &sealers, secret, objects, entropy),
        Scheme::Compact => compact::disperse(dealing, plan, &sealers, secret, objects, entropy),
    }
}

/// Checks that there is a seat and an object for each share, and begins each object with its header and identity.
pub(super) fn sealers(
    dealing: &Dealing,
    seats: &[Seat<'_>],
    len: u64,
    objects: &mut [Vec<u8>],
    entropy: Entropy<'_>,
) -> Result<Vec<Sealer>, DealError> {
    let needed = usize::from(dealing.threshold.n());
    if seats.len() != needed {
        return Err(DealError::Seats {
            needed,
            got: seats.len(),
        });
    }
    if objects.len() != needed {
        return Err(DealError::Objects {
            needed,
            got: objects.len(),
        });
    }
    for (position, seat) in seats.iter().enumerate() {
        if seats
            .iter()
            .take(position)
            .any(|earlier| earlier.server == seat.server)
        {
            return Err(DealError::SameServer {
                server: seat.server,
            });
        }
    }
    if len == 0 || len > SECRET_MAX {
        return Err(DealError::Length { len });
    }
    let plan = Plan::new(dealing.scheme, dealing.threshold, len);
    let total = usize::try_from(plan.object_len()).map_err(|_| DealError::Length { len })?;
    let inner = match dealing.scheme {
        Scheme::Shamir => None,
        Scheme::Compact => Some(dealing.suite),
    };
    let mut sealers = Vec::with_capacity(needed);
    for ((seat, index), object) in seats
        .iter()
        .zip(dealing.threshold.indices())
        .zip(&mut *objects)
    {
        // Every byte is written below, so what was there need not be.
        object.truncate(total);
        object.resize(total, 0);
        let sealer = Sealer::new(dealing, inner, seat, index, len, object, entropy)?;
        sealers.push(sealer);
    }
    Ok(sealers)
}

fn share(
    dealing: &Dealing,
    sealers: &[Sealer],
    secret: &[u8],
    objects: &mut [Vec<u8>],
    entropy: Entropy<'_>,
) -> Result<(), DealError> {
    let mut splitter = Splitter::new(dealing.threshold, secret.len().min(CHUNK), entropy)?;
    let chunks = secret.chunks(CHUNK);
    let last = chunks.len().saturating_sub(1);
    for (number, chunk) in chunks.enumerate() {
        let start = PREFIX_LEN + number * (CHUNK + TAG);
        splitter.share(chunk, objects, start, entropy)?;
        for (sealer, object) in sealers.iter().zip(&mut *objects) {
            let sealed = &mut object[start..start + chunk.len() + TAG];
            sealer.seal_chunk(number as u64, number == last, sealed)?;
        }
    }
    Ok(())
}

/// Seals the chunks of one share.
pub(super) struct Sealer {
    cipher: Cipher,
    binding: Binding,
}

impl Sealer {
    /// Writes header and identity to the beginning of `object`, which has its full length.
    pub(super) fn new(
        dealing: &Dealing,
        inner: Option<Suite>,
        seat: &Seat<'_>,
        index: ShareIndex,
        secret_len: u64,
        object: &mut [u8],
        entropy: Entropy<'_>,
    ) -> Result<Self, DealError> {
        let mut salt = [0; 32];
        entropy(&mut salt)?;
        let header = ShareHeader::new(dealing, index, secret_len, salt).to_bytes();
        let cipher = Cipher::new(dealing.suite, &seat.key.object_key(&header))?;
        let identity = dealing.identity(seat.server, inner);
        let mut sealed = identity;
        let tag = cipher
            .seal(identity_nonce(), &header, &mut sealed)
            .map_err(|_| DealError::Cipher)?;
        let (first, rest) = object.split_at_mut(header.len());
        first.copy_from_slice(&header);
        let (second, rest) = rest.split_at_mut(sealed.len());
        second.copy_from_slice(&sealed);
        rest[..TAG].copy_from_slice(&tag);
        Ok(Self {
            cipher,
            binding: binding(&header, &identity),
        })
    }

    /// Seals the piece of the inner key into the place that a compact share has for it.
    pub(super) fn seal_key_piece(&self, piece: &[u8], object: &mut [u8]) -> Result<(), DealError> {
        let place = object
            .get_mut(PREFIX_LEN..PREFIX_LEN + KEY_PIECE_LEN)
            .and_then(|place| place.split_last_chunk_mut::<TAG>());
        let (bytes, tag) = place.ok_or(DealError::Cipher)?;
        bytes.copy_from_slice(piece);
        *tag = self
            .cipher
            .seal(key_piece_nonce(), &self.binding, bytes)
            .map_err(|_| DealError::Cipher)?;
        Ok(())
    }

    /// Seals a chunk in place; the last bytes of `chunk` are room for the tag.
    pub(super) fn seal_chunk(
        &self,
        number: u64,
        last: bool,
        chunk: &mut [u8],
    ) -> Result<(), DealError> {
        let (bytes, room) = chunk
            .split_last_chunk_mut::<TAG>()
            .ok_or(DealError::Cipher)?;
        *room = self
            .cipher
            .seal(chunk_nonce(number, last), &self.binding, bytes)
            .map_err(|_| DealError::Cipher)?;
        Ok(())
    }
}

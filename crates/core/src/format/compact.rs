//! The scheme `compact`: Krawczyk's *Secret Sharing Made Short* (CRYPTO 1993), chunk by chunk.
//!
//! Each chunk of the secret is sealed under a key of this one dealing; what comes out is cut into k pieces of one length. They are the
//! values of a polynomial of degree k − 1 at 1 … k, and its values at k + 1 … n are the other pieces: a systematic
//! Reed–Solomon code over the field of the shares. So the first k shares are the pieces themselves, any k give all, and a lost
//! one is made from any k others by the weights that serve Shamir's scheme too. The key is shared by that.
//!
//! | property    | what holds                                                                                     |
//! |-------------|------------------------------------------------------------------------------------------------|
//! | threshold   | any k shares give the secret back                                                              |
//! | secrecy     | k − 1 shares tell nothing to whoever cannot break the cipher: they hold pieces of what is sealed, and of its key nothing (computational) |
//! | size        | each share is the k-th part of the secret, and 48 bytes, and about 16 + 16/k bytes a chunk; all n together n/k of it |
//! | integrity   | each share by its own seal; and the whole once more by the inner one                           |
//! | homogeneity | the first k shares are quicker to join, having nothing to be computed; else all are equal      |
//! | rebuild     | any k shares give any other share, without the secret                                          |
//! | refresh     | the key's pieces alone would not help, as the key stays: joined chunk by chunk and dealt anew ([`reshare`](super::reshare)) |

use alloc::vec::Vec;

use super::deal::{DealError, Sealer};
use super::identity::{Dealing, IDENTITY_LEN, inner_nonce};
use super::open::OpenShare;
use super::sizes::{CHUNK, Plan};
use crate::coefficients::Entropy;
use crate::engine::Engine;
use crate::ids::{ServerId, ShareIndex, Threshold};
use crate::seal::{Cipher, NotAuthentic, Suite, SuiteUnavailable, TAG};
use crate::secret::{Secret, SecretBytes};
use crate::shamir::{Splitter, Weights};

/// What the inner seal covers besides the chunk: the identity, of no server.
fn inner_binding(dealing: &Dealing, suite: Suite) -> [u8; IDENTITY_LEN] {
    dealing.identity(ServerId::NIL, Some(suite))
}

fn data_indices(threshold: Threshold) -> Vec<ShareIndex> {
    threshold
        .indices()
        .take(usize::from(threshold.k()))
        .collect()
}

/// Fills the objects, in which the sealers have written header and identity.
pub(super) fn disperse(
    dealing: &Dealing,
    plan: Plan,
    sealers: &[Sealer],
    secret: &[u8],
    objects: &mut [Vec<u8>],
    entropy: Entropy<'_>,
) -> Result<(), DealError> {
    let key = Secret::<32>::filled(|bytes| entropy(bytes))?;
    let k = usize::from(dealing.threshold.k());
    let mut key_pieces = SecretBytes::with_len(32 * sealers.len());
    let mut places: Vec<&mut [u8]> = key_pieces.expose_mut().chunks_exact_mut(32).collect();
    Splitter::new(dealing.threshold, 32, entropy)?.share(key.expose(), &mut places, 0, entropy)?;
    for ((sealer, object), piece) in sealers
        .iter()
        .zip(&mut *objects)
        .zip(key_pieces.expose().chunks_exact(32))
    {
        sealer.seal_key_piece(piece, object)?;
    }

    let cipher = Cipher::new(dealing.suite, &key)?;
    let binding = inner_binding(dealing, dealing.suite);
    let data = data_indices(dealing.threshold);
    let parity = dealing.threshold.indices().skip(k);
    let parity: Vec<Weights> = parity
        .map(|index| Weights::at(index, &data))
        .collect::<Result<_, _>>()
        .map_err(|_| DealError::Cipher)?;
    let engine = Engine::current();
    let longest = plan.piece_len(secret.len().min(CHUNK));
    let mut sealed = SecretBytes::with_len(k * longest);
    let last = secret.chunks(CHUNK).len().saturating_sub(1);
    for (number, chunk) in secret.chunks(CHUNK).enumerate() {
        let piece_len = plan.piece_len(chunk.len());
        let all = &mut sealed.expose_mut()[..k * piece_len];
        let (text, rest) = all.split_at_mut(chunk.len());
        text.copy_from_slice(chunk);
        let tag = cipher
            .seal(inner_nonce(number as u64, number == last), &binding, text)
            .map_err(|_| DealError::Cipher)?;
        let (place, filling) = rest.split_at_mut(TAG);
        place.copy_from_slice(&tag);
        filling.fill(0);

        let mut pieces = [&[] as &[u8]; 255];
        for (place, piece) in pieces.iter_mut().zip(all.chunks_exact(piece_len)) {
            *place = piece;
        }
        let start = plan.prefix + number * plan.stride();
        for (at, (sealer, object)) in sealers.iter().zip(&mut *objects).enumerate() {
            let share = &mut object[start..start + piece_len + TAG];
            match at.checked_sub(k).and_then(|at| parity.get(at)) {
                None => share[..piece_len].copy_from_slice(pieces[at]),
                Some(weights) => engine.combine(
                    weights.as_slice(),
                    &pieces[..k],
                    0,
                    &mut share[..piece_len],
                    false,
                ),
            }
            sealer.seal_chunk(number as u64, number == last, share)?;
        }
    }
    Ok(())
}

/// Where a piece of what was sealed comes from.
enum Source {
    /// The share at this position is the piece.
    Share(usize),
    /// The weighted sum of all shares given.
    Sum(Weights),
}

/// Puts a compact extent together.
pub(super) struct Decoder {
    cipher: Cipher,
    binding: [u8; IDENTITY_LEN],
    sources: Vec<Source>,
    /// Room for one chunk, sealed.
    sealed: SecretBytes,
}

impl Decoder {
    /// `shares` are k shares that belong together, `at_secret` the weights that join what was shared by Shamir's scheme.
    pub(super) fn new(
        shares: &[OpenShare],
        at_secret: &Weights,
        plan: Plan,
    ) -> Result<Self, SuiteUnavailable> {
        let inner = shares.iter().filter_map(OpenShare::inner);
        let pieces: Vec<&[u8]> = inner.map(|inner| inner.piece.expose().as_slice()).collect();
        let suite = shares
            .first()
            .and_then(OpenShare::inner)
            .map(|inner| inner.suite);
        let dealing = shares.first().map(|share| *share.dealing());
        let (Some(suite), Some(dealing)) = (suite, dealing) else {
            // All shares of a compact dealing have one.
            return Err(SuiteUnavailable {
                suite: Suite::best(),
            });
        };
        let mut key = Secret::<32>::zeroed();
        let unavailable = SuiteUnavailable { suite };
        at_secret
            .combine_into(&pieces, key.expose_mut())
            .map_err(|_| unavailable)?;
        let indices: Vec<ShareIndex> = shares.iter().map(OpenShare::index).collect();
        let sources = data_indices(dealing.threshold).into_iter().map(|wanted| {
            match indices.iter().position(|index| *index == wanted) {
                Some(position) => Ok(Source::Share(position)),
                None => Weights::at(wanted, &indices).map(Source::Sum),
            }
        });
        let longest = usize::try_from(plan.secret_len).unwrap_or(CHUNK).min(CHUNK);
        Ok(Self {
            cipher: Cipher::new(suite, &key)?,
            binding: inner_binding(&dealing, suite),
            sources: sources.collect::<Result<_, _>>().map_err(|_| unavailable)?,
            sealed: SecretBytes::with_len(indices.len() * plan.piece_len(longest)),
        })
    }

    /// Joins one chunk from the opened pieces of it.
    pub(super) fn join(
        &mut self,
        engine: Engine,
        chunk: u64,
        last: bool,
        opened: &[&[u8]],
        out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let piece_len = opened.first().map_or(0, |piece| piece.len());
        let sealed = self.sealed.expose_mut();
        for (source, place) in self
            .sources
            .iter()
            .zip(sealed.chunks_exact_mut(piece_len.max(1)))
        {
            match source {
                Source::Share(position) => place.copy_from_slice(opened[*position]),
                Source::Sum(weights) => engine.combine(weights.as_slice(), opened, 0, place, false),
            }
        }
        let sealed = sealed.get(..out.len() + TAG).ok_or(NotAuthentic)?;
        self.cipher
            .open(inner_nonce(chunk, last), &self.binding, sealed, out)
    }
}

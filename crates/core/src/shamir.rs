//! Shamir's scheme over GF(2⁸): each byte of the secret is the value at 0 of a polynomial of degree k − 1 whose other
//! coefficients are random; share i is its value at i.
//!
//! | property                | what holds                                                                       |
//! |-------------------------|----------------------------------------------------------------------------------|
//! | threshold               | any k shares give the secret back                                                |
//! | secrecy                 | any k − 1 shares are independent of the secret (perfect; the generator is the one assumption) |
//! | size                    | each share is as long as the secret                                              |
//! | integrity               | none by itself: k shares of which one is altered give a wrong secret             |
//! | homogeneity             | all shares are equal in rank; any index from 1 to n                              |
//! | rebuild                 | any k shares give any other share of the same dealing, without the secret        |
//! | refresh                 | [`refresh_into`]: other shares of the same secret, which don't combine with the old ones |
//! | time                    | depends on k, n, indices and length; never on the bytes                          |
//!
//! Integrity is added by [`format`](crate::format), which seals every chunk of every share.
//!
//! ```
//! use warifu_core::ids::{ShareIndex, Threshold};
//! use warifu_core::shamir::{split_into, Weights};
//!
//! let (mut a, mut b, mut c) = ([0; 6], [0; 6], [0; 6]);
//! split_into(Threshold::new(2, 3)?, b"secret", &mut [&mut a, &mut b, &mut c])?;
//!
//! let indices = [1, 3].map(|x| ShareIndex::new(x).unwrap());
//! let mut secret = [0; 6];
//! Weights::at_secret(&indices)?.combine_into(&[&a, &c], &mut secret)?;
//! assert_eq!(&secret, b"secret");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bare;
mod fresh;
mod splitter;
pub mod xor;

use alloc::vec::Vec;

use zeroize::Zeroize;

pub(crate) use self::splitter::Splitter;
use crate::coefficients::Entropy;
use crate::engine::Engine;
use crate::gf256::{inv, mul};
use crate::ids::{ShareIndex, Threshold};
use crate::random::{self, NoRandomness};
use crate::secret::SecretBytes;

/// Why bytes could not be shared or joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShamirError {
    /// Two shares claim the same index.
    #[error("two shares have the same index {index}")]
    Duplicate {
        /// The index that occurs twice.
        index: ShareIndex,
    },
    /// Not the number of shares that is needed.
    #[error("{needed} shares are needed, {got} were given")]
    WrongCount {
        /// How many are needed.
        needed: usize,
        /// How many there were.
        got: usize,
    },
    /// A share (or the place for one) has another length than the rest.
    #[error("share number {position} in the list has {got} bytes where {expected} were expected")]
    Lengths {
        /// The length expected.
        expected: usize,
        /// The length found.
        got: usize,
        /// Which of the list, counted from 0.
        position: usize,
    },
    /// The place for the result has another length than the shares.
    #[error("the result has room for {got} bytes where {expected} were expected")]
    ResultLength {
        /// The length expected.
        expected: usize,
        /// The length found.
        got: usize,
    },
    /// Nothing can be shared without randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Shares `secret`: `shares[i]` receives the share of index i + 1.
///
/// # Errors
/// [`ShamirError::WrongCount`] unless there are n places, [`ShamirError::Lengths`] unless each is as long as the
/// secret, [`ShamirError::NoRandomness`] when the operating system has none. The places hold no share then.
pub fn split_into(
    threshold: Threshold,
    secret: &[u8],
    shares: &mut [&mut [u8]],
) -> Result<(), ShamirError> {
    split_with(threshold, secret, shares, &mut |key| {
        fresh::fill(key, fresh::Way::Shamir(threshold), secret)
    })
}

/// Adds a sharing of zero: `shares[i]`, with the index i + 1, becomes another share of the same secret, and those of before
/// and after do not combine. Who had fewer than k of the old ones and forgets none of them has still learned nothing, as long as the new
/// ones that he gets to see are fewer than k too (proactive sharing, Herzberg, Jarecki, Krawczyk and Yung 1995).
///
/// Where the shares lie on different machines, one of them makes the sharing of zero with [`split_into`], sends each its part, and each adds
/// it with [`gf256::mul_acc`](crate::gf256::mul_acc) and the factor 1.
///
/// ```
/// use warifu_core::ids::{ShareIndex, Threshold};
/// use warifu_core::shamir::{refresh_into, split_into, Weights};
///
/// let threshold = Threshold::new(2, 3)?;
/// let (mut a, mut b, mut c) = ([0; 6], [0; 6], [0; 6]);
/// split_into(threshold, b"secret", &mut [&mut a, &mut b, &mut c])?;
/// let stolen = a;
/// refresh_into(threshold, &mut [&mut a, &mut b, &mut c])?;
///
/// let weights = Weights::at_secret(&[1, 3].map(|x| ShareIndex::new(x).unwrap()))?;
/// let mut secret = [0; 6];
/// weights.combine_into(&[&a, &c], &mut secret)?;
/// assert_eq!(&secret, b"secret");
/// weights.combine_into(&[&stolen, &c], &mut secret)?;
/// assert_ne!(&secret, b"secret");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ShamirError::WrongCount`] unless there are n shares, [`ShamirError::Lengths`] unless they are equally long, and they are as they were;
/// [`ShamirError::NoRandomness`], and they are erased, since part of them may be changed.
pub fn refresh_into(threshold: Threshold, shares: &mut [&mut [u8]]) -> Result<(), ShamirError> {
    let len = shares.first().map_or(0, |share| share.len());
    check_places(threshold, len, shares)?;
    let refreshed = add_zero(threshold, len, shares);
    if refreshed.is_err() {
        shares.iter_mut().for_each(|share| share.zeroize());
    }
    Ok(refreshed?)
}

fn add_zero(
    threshold: Threshold,
    len: usize,
    shares: &mut [&mut [u8]],
) -> Result<(), NoRandomness> {
    const BLOCK: usize = 4096;
    let engine = Engine::current();
    let block_len = len.clamp(1, BLOCK);
    let entropy = &mut random::fill;
    let mut splitter = Splitter::new(threshold, block_len, entropy)?;
    let zeros = [0; BLOCK];
    let mut changes = SecretBytes::with_len(block_len * shares.len());
    for start in (0..len).step_by(BLOCK) {
        let wanted = block_len.min(len - start);
        let mut places: Vec<&mut [u8]> = changes.expose_mut().chunks_mut(block_len).collect();
        splitter.share(&zeros[..wanted], &mut places, 0, entropy)?;
        for (share, change) in shares.iter_mut().zip(&places) {
            engine.mul_acc(&mut share[start..start + wanted], change, 1);
        }
    }
    Ok(())
}

pub(crate) fn split_with(
    threshold: Threshold,
    secret: &[u8],
    shares: &mut [&mut [u8]],
    entropy: Entropy<'_>,
) -> Result<(), ShamirError> {
    check_places(threshold, secret.len(), shares)?;
    let mut splitter = Splitter::new(threshold, secret.len(), entropy)?;
    if let Err(error) = splitter.share(secret, shares, 0, entropy) {
        shares.iter_mut().for_each(|share| share.zeroize());
        return Err(error.into());
    }
    Ok(())
}

fn check_places(
    threshold: Threshold,
    expected: usize,
    shares: &[&mut [u8]],
) -> Result<(), ShamirError> {
    let needed = usize::from(threshold.n());
    if shares.len() != needed {
        return Err(ShamirError::WrongCount {
            needed,
            got: shares.len(),
        });
    }
    for (position, share) in shares.iter().enumerate() {
        if share.len() != expected {
            return Err(ShamirError::Lengths {
                expected,
                got: share.len(),
                position,
            });
        }
    }
    Ok(())
}

/// Lagrange's weights: what each of k shares is multiplied by so that the sum is the polynomial's value at one point.
///
/// They depend only on indices, so they are made once and used for every chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights(Vec<u8>);

impl Weights {
    /// Weights that give the secret from shares with exactly these k indices, in this order.
    ///
    /// # Errors
    /// [`ShamirError::Duplicate`], or [`ShamirError::WrongCount`] when there is no index at all. That there are as many
    /// as k cannot be seen from here: fewer give a wrong secret, so the caller must know k.
    pub fn at_secret(indices: &[ShareIndex]) -> Result<Self, ShamirError> {
        Self::at_point(0, indices)
    }

    /// Weights that give the share of index `target`, of the same dealing, without the secret being joined.
    ///
    /// # Errors
    /// As [`at_secret`](Self::at_secret).
    pub fn at(target: ShareIndex, indices: &[ShareIndex]) -> Result<Self, ShamirError> {
        Self::at_point(target.get(), indices)
    }

    fn at_point(point: u8, indices: &[ShareIndex]) -> Result<Self, ShamirError> {
        if indices.is_empty() {
            return Err(ShamirError::WrongCount { needed: 1, got: 0 });
        }
        let mut seen = [false; 256];
        for index in indices {
            if core::mem::replace(&mut seen[usize::from(index.get())], true) {
                return Err(ShamirError::Duplicate { index: *index });
            }
        }
        let weights = indices
            .iter()
            .map(|own| {
                let (mut above, mut below) = (1, 1);
                for other in indices.iter().filter(|other| *other != own) {
                    above = mul(above, point ^ other.get());
                    below = mul(below, own.get() ^ other.get());
                }
                mul(above, inv(below))
            })
            .collect();
        Ok(Self(weights))
    }

    /// Writes the weighted sum of `shares`, which are in the order of the indices, to `out`.
    ///
    /// # Errors
    /// [`ShamirError::WrongCount`], [`ShamirError::Lengths`] or [`ShamirError::ResultLength`]; `out` is untouched then.
    pub fn combine_into(&self, shares: &[&[u8]], out: &mut [u8]) -> Result<(), ShamirError> {
        if shares.len() != self.0.len() {
            return Err(ShamirError::WrongCount {
                needed: self.0.len(),
                got: shares.len(),
            });
        }
        let expected = shares.first().map_or(0, |share| share.len());
        for (position, share) in shares.iter().enumerate() {
            if share.len() != expected {
                return Err(ShamirError::Lengths {
                    expected,
                    got: share.len(),
                    position,
                });
            }
        }
        if out.len() != expected {
            return Err(ShamirError::ResultLength {
                expected,
                got: out.len(),
            });
        }
        Engine::current().combine(&self.0, shares, 0, out, false);
        Ok(())
    }

    /// The weights, in the order of the indices.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests;

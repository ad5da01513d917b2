//! Bare shares: the index byte, then the share's bytes, as the crates of the `sharks` family (`sharks`, `blahaj`) write them.
//!
//! Nothing in such bytes says which secret they belong to, what the threshold is, or whether they are whole: that is
//! what [`format`](crate::format) and [`loose`](crate::loose) are for. These functions are for exchange with others.
//!
//! ```
//! use warifu_core::{ids::Threshold, shamir::bare};
//! let shares = bare::split(Threshold::new(2, 3)?, b"open sesame")?;
//! let secret = bare::combine(2, &[&shares[2], &shares[0]])?;
//! assert_eq!(secret.expose(), b"open sesame");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use alloc::vec;
use alloc::vec::Vec;

use subtle::ConstantTimeEq;

use super::{ShamirError, Weights, split_into};
use crate::ids::{ShareIndex, Threshold};
use crate::secret::SecretBytes;

/// Why bare shares gave no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BareError {
    /// A share without even an index.
    #[error("a bare share must have at least one byte, its index")]
    Empty,
    /// The index 0 is the secret's own place: whoever claims it could choose the result.
    #[error("a bare share claims the index 0, which is the secret itself")]
    ZeroIndex,
    /// The shares cannot be joined as they are.
    #[error(transparent)]
    Shares(#[from] ShamirError),
    /// More than k shares were given, and they disagree.
    #[error(
        "the share with index {index} does not fit the first shares: one of them is damaged or of another secret"
    )]
    Inconsistent {
        /// The share that was compared with those before it; the damaged one may be any of them.
        index: ShareIndex,
    },
}

/// A share's bytes: the index, then `y`.
#[must_use]
pub fn write(index: ShareIndex, y: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + y.len());
    bytes.push(index.get());
    bytes.extend_from_slice(y);
    bytes
}

/// A share's index and bytes.
///
/// # Errors
/// [`BareError::Empty`] or [`BareError::ZeroIndex`].
pub fn parse(bytes: &[u8]) -> Result<(ShareIndex, &[u8]), BareError> {
    let (index, y) = bytes.split_first().ok_or(BareError::Empty)?;
    Ok((ShareIndex::new(*index).ok_or(BareError::ZeroIndex)?, y))
}

/// Shares `secret` into n bare shares.
///
/// # Errors
/// When the operating system has no randomness.
pub fn split(threshold: Threshold, secret: &[u8]) -> Result<Vec<Vec<u8>>, ShamirError> {
    let mut shares: Vec<Vec<u8>> = threshold
        .indices()
        .map(|index| {
            let mut share = vec![0; 1 + secret.len()];
            share[0] = index.get();
            share
        })
        .collect();
    let mut places: Vec<&mut [u8]> = shares.iter_mut().map(|share| &mut share[1..]).collect();
    split_into(threshold, secret, &mut places)?;
    Ok(shares)
}

/// Joins shares of a secret whose threshold was `k`. Shares beyond the first k are compared with them.
///
/// # Errors
/// [`BareError::Shares`] for too few, duplicate or unequally long shares, [`BareError::ZeroIndex`], [`BareError::Empty`],
/// and [`BareError::Inconsistent`] when there are more than k and they are not of one secret. With exactly k shares a
/// damaged one cannot be noticed.
pub fn combine(k: u8, shares: &[&[u8]]) -> Result<SecretBytes, BareError> {
    let needed = usize::from(k);
    if needed == 0 || shares.len() < needed {
        return Err(ShamirError::WrongCount {
            needed: needed.max(1),
            got: shares.len(),
        }
        .into());
    }
    let mut indices = Vec::with_capacity(shares.len());
    let mut values = Vec::with_capacity(shares.len());
    for (position, share) in shares.iter().enumerate() {
        let (index, y) = parse(share)?;
        if indices.contains(&index) {
            return Err(ShamirError::Duplicate { index }.into());
        }
        let expected = values.first().map_or(y.len(), |first: &&[u8]| first.len());
        if y.len() != expected {
            return Err(ShamirError::Lengths {
                expected,
                got: y.len(),
                position,
            }
            .into());
        }
        indices.push(index);
        values.push(y);
    }
    let (basis, spare) = indices.split_at(needed);
    let (basis_values, spare_values) = values.split_at(needed);
    let mut out = SecretBytes::with_len(basis_values.first().map_or(0, |first| first.len()));
    for (index, value) in spare.iter().zip(spare_values) {
        Weights::at(*index, basis)?.combine_into(basis_values, out.expose_mut())?;
        if !bool::from(out.expose().ct_eq(value)) {
            return Err(BareError::Inconsistent { index: *index });
        }
    }
    Weights::at_secret(basis)?.combine_into(basis_values, out.expose_mut())?;
    Ok(out)
}

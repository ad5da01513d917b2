//! All n of n: each share but the last is random, and the last is the secret plus all others.
//!
//! The special case of k = n that needs no products at all. Plain exclusive or joins the shares, in any order and
//! without their numbers, by hand if need be.
//!
//! | property    | what holds                                                                  |
//! |-------------|-----------------------------------------------------------------------------|
//! | threshold   | all n shares give the secret back, and nothing less does                    |
//! | secrecy     | any n − 1 shares are independent of the secret (perfect; the generator is the one assumption) |
//! | size        | each share is as long as the secret                                         |
//! | integrity   | none by itself: an altered share alters the same bits of the secret         |
//! | homogeneity | all shares are alike and have no index                                      |
//! | rebuild     | a lost share can't be made anew without the secret                          |
//! | refresh     | [`refresh_into`]                                                            |
//!
//! ```
//! use warifu_core::shamir::xor;
//!
//! let (mut a, mut b, mut c) = ([0; 6], [0; 6], [0; 6]);
//! xor::split_into(b"secret", &mut [&mut a, &mut b, &mut c])?;
//! let mut secret = [0; 6];
//! xor::combine_into(&[&c, &a, &b], &mut secret)?;
//! assert_eq!(&secret, b"secret");
//! # Ok::<(), warifu_core::shamir::ShamirError>(())
//! ```

use zeroize::Zeroize;

use super::{ShamirError, fresh};
use crate::coefficients::Coefficients;
use crate::random::NoRandomness;

fn check<'a>(
    expected: usize,
    lengths: impl ExactSizeIterator<Item = usize> + 'a,
) -> Result<(), ShamirError> {
    if lengths.len() == 0 {
        return Err(ShamirError::WrongCount { needed: 1, got: 0 });
    }
    for (position, got) in lengths.enumerate() {
        if got != expected {
            return Err(ShamirError::Lengths {
                expected,
                got,
                position,
            });
        }
    }
    Ok(())
}

fn add(sum: &mut [u8], bytes: &[u8]) {
    for (sum, byte) in sum.iter_mut().zip(bytes) {
        *sum ^= byte;
    }
}

/// Makes as many shares of `secret` as there are places.
///
/// # Errors
/// [`ShamirError::WrongCount`] when there is no place, [`ShamirError::Lengths`] unless each is as long as the
/// secret, [`ShamirError::NoRandomness`]; the places hold no share then.
pub fn split_into(secret: &[u8], shares: &mut [&mut [u8]]) -> Result<(), ShamirError> {
    check(secret.len(), shares.iter().map(|share| share.len()))?;
    if let Some((last, others)) = shares.split_last_mut() {
        last.copy_from_slice(secret);
        shift(last, others, secret)?;
    }
    Ok(())
}

/// Exchanges the shares for others of the same secret, which do not combine with the old ones.
///
/// # Errors
/// [`ShamirError::WrongCount`] or [`ShamirError::Lengths`], and the shares are as they were;
/// [`ShamirError::NoRandomness`], and they are erased.
pub fn refresh_into(shares: &mut [&mut [u8]]) -> Result<(), ShamirError> {
    let expected = shares.first().map_or(0, |share| share.len());
    check(expected, shares.iter().map(|share| share.len()))?;
    let Some((last, others)) = shares.split_last_mut() else {
        return Ok(());
    };
    for other in &*others {
        add(last, other);
    }
    // Now it is the secret.
    let mut secret = crate::secret::SecretBytes::from_slice(last);
    shift(last, others, secret.expose_mut())
}

/// Fills `others` with randomness and adds all of it to `last`.
fn shift(last: &mut [u8], others: &mut [&mut [u8]], secret: &[u8]) -> Result<(), ShamirError> {
    let way = fresh::Way::Xor(others.len() + 1);
    let entropy = &mut |key: &mut [u8]| fresh::fill(key, way, secret);
    let filled = Coefficients::new(entropy).and_then(|mut stream| {
        others
            .iter_mut()
            .try_for_each(|other| stream.fill(other, entropy))
    });
    if let Err(NoRandomness) = filled {
        last.zeroize();
        others.iter_mut().for_each(|other| other.zeroize());
        return Err(NoRandomness.into());
    }
    for other in others {
        add(last, other);
    }
    Ok(())
}

/// Joins all shares.
///
/// # Errors
/// [`ShamirError::WrongCount`] when there is none, [`ShamirError::Lengths`] unless all are as long as `out`.
/// That a share is missing cannot be noticed: the result is then a random one.
pub fn combine_into(shares: &[&[u8]], out: &mut [u8]) -> Result<(), ShamirError> {
    check(out.len(), shares.iter().map(|share| share.len()))?;
    out.fill(0);
    for share in shares {
        add(out, share);
    }
    Ok(())
}

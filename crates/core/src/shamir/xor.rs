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
use crate::coefficients::{Coefficients, Entropy};
use crate::random::{self, NoRandomness};
use crate::secret::SecretBytes;

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

/// Exchanges the shares for others of the same secret, which do not combine with the old ones: something random is added to each,
/// and all of it together is zero. The secret itself is at no time joined.
///
/// # Errors
/// [`ShamirError::WrongCount`] or [`ShamirError::Lengths`], and the shares are as they were;
/// [`ShamirError::NoRandomness`], and they are erased, since part of them may be changed.
pub fn refresh_into(shares: &mut [&mut [u8]]) -> Result<(), ShamirError> {
    let expected = shares.first().map_or(0, |share| share.len());
    check(expected, shares.iter().map(|share| share.len()))?;
    if let Some((last, others)) = shares.split_last_mut()
        && let Err(NoRandomness) = add_zero(last, others, &mut random::fill)
    {
        shares.iter_mut().for_each(|share| share.zeroize());
        return Err(NoRandomness.into());
    }
    Ok(())
}

fn add_zero(
    last: &mut [u8],
    others: &mut [&mut [u8]],
    entropy: Entropy<'_>,
) -> Result<(), NoRandomness> {
    const BLOCK: usize = 4096;
    let mut stream = Coefficients::new(entropy)?;
    let mut change = SecretBytes::with_len(last.len().min(BLOCK));
    for other in others {
        for (own, end) in other.chunks_mut(BLOCK).zip(last.chunks_mut(BLOCK)) {
            let change = &mut change.expose_mut()[..own.len()];
            stream.fill(change, entropy)?;
            add(own, change);
            add(end, change);
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn a_refresh_adds_the_same_key_stream_to_a_share_and_to_the_last() {
        for len in [0, 1, 63, 4096, 4097, 10_000] {
            let old: Vec<Vec<u8>> = (1..=4_u8).map(|at| vec![at; len]).collect();
            let mut new = old.clone();
            let (last, others) = new.split_last_mut().unwrap();
            let mut others: Vec<&mut [u8]> = others.iter_mut().map(Vec::as_mut_slice).collect();
            let mut keys = 0;
            let entropy: Entropy<'_> = &mut |key| {
                keys += 1;
                key.fill(7);
                Ok(())
            };
            add_zero(last, &mut others, entropy).unwrap();
            assert_eq!(keys, 1);
            // The key stream in one run, share after share.
            let mut stream = Coefficients::new(&mut |key: &mut [u8]| {
                key.fill(7);
                Ok(())
            })
            .unwrap();
            let mut sum = old[3].clone();
            for at in 0..3 {
                let mut change = vec![0; len];
                let entropy: Entropy<'_> = &mut |_| Err(NoRandomness);
                stream.fill(&mut change, entropy).unwrap();
                add(&mut sum, &change);
                add(&mut change, &old[at]);
                assert!(new[at] == change, "share {at} of {len} bytes");
            }
            assert!(new[3] == sum, "the last of {len} bytes");
        }
    }
}

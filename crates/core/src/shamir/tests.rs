//! What only the inside can show: all values of the coefficients, and what happens when there is no randomness.

use alloc::vec;
use alloc::vec::Vec;

use super::splitter::{Drawn, evaluate};
use super::*;
use crate::coefficients::Coefficients;
use crate::random;

fn index(value: u8) -> ShareIndex {
    ShareIndex::new(value).unwrap()
}

/// The share of `secret` at `x` for every value of the one coefficient of k = 2.
fn all_shares_of_two(secret: u8, x: u8, coefficients: &[u8]) -> Vec<u8> {
    let mut share = vec![0; coefficients.len()];
    evaluate(
        index(x),
        &vec![secret; coefficients.len()],
        coefficients,
        &mut share,
    );
    share
}

fn counts(values: &[u8]) -> Vec<u32> {
    let mut counts = vec![0; 256];
    for value in values {
        counts[usize::from(*value)] += 1;
    }
    counts
}

#[test]
fn p1_one_share_of_two_has_the_same_distribution_for_every_secret() {
    let all: Vec<u8> = (0..=255).collect();
    for secret in 0..=255 {
        for x in 1..=255 {
            assert_eq!(
                counts(&all_shares_of_two(secret, x, &all)),
                vec![1; 256],
                "secret {secret}, share {x}"
            );
        }
    }
}

#[test]
fn p1_two_shares_of_three_have_the_same_distribution_for_every_secret() {
    // Both coefficients take all 65,536 pairs of values.
    let low: Vec<u8> = (0..=u16::MAX).map(|pair| pair as u8).collect();
    let high: Vec<u8> = (0..=u16::MAX).map(|pair| (pair >> 8) as u8).collect();
    let coefficients = [low, high].concat();
    for secret in [0, 1, 0x53, 0xFF] {
        let block = vec![secret; 65536];
        for (a, b) in [(1, 2), (1, 3), (2, 3), (7, 200), (254, 255)] {
            let mut shares = [vec![0; 65536], vec![0; 65536]];
            evaluate(index(a), &block, &coefficients, &mut shares[0]);
            evaluate(index(b), &block, &coefficients, &mut shares[1]);
            let mut seen = vec![false; 65536];
            for (first, second) in shares[0].iter().zip(&shares[1]) {
                let pair = usize::from(*first) << 8 | usize::from(*second);
                assert!(
                    !core::mem::replace(&mut seen[pair], true),
                    "secret {secret}, shares {a} and {b}"
                );
            }
        }
    }
}

/// The measure of the tests above can find a leak: with a leading coefficient that is never zero there is one.
#[test]
fn a_leading_coefficient_without_zero_would_leak() {
    let never_zero: Vec<u8> = (1..=255).collect();
    let of_zero = counts(&all_shares_of_two(0, 1, &never_zero));
    let of_one = counts(&all_shares_of_two(1, 1, &never_zero));
    assert_ne!(of_zero, of_one);
    assert_eq!(
        (of_zero[0], of_one[1]),
        (0, 0),
        "the share never equals the secret"
    );
}

#[test]
fn coefficients_come_only_from_the_key() {
    let mut keys = 0;
    let mut entropy = |bytes: &mut [u8]| {
        keys += 1;
        bytes.fill(7);
        Ok(())
    };
    let mut drawn = [[1; 128], [2; 128]];
    let mut coefficients = Coefficients::new(&mut entropy).unwrap();
    coefficients.fill(&mut drawn[0], &mut entropy).unwrap();
    coefficients.fill(&mut drawn[1], &mut entropy).unwrap();
    assert_ne!(drawn[0], drawn[1], "the stream goes on");
    assert_eq!(keys, 1, "one key for one operation");
}

#[test]
fn without_randomness_nothing_is_shared() {
    let mut shares = vec![vec![9; 40_000]; 3];
    let mut places: Vec<&mut [u8]> = shares.iter_mut().map(Vec::as_mut_slice).collect();
    let failed = split_with(
        Threshold::new(2, 3).unwrap(),
        &[1; 40_000],
        &mut places,
        &mut |_| Err(NoRandomness),
    );
    assert_eq!(failed, Err(ShamirError::NoRandomness(NoRandomness)));
    assert!(
        shares.iter().flatten().all(|byte| *byte == 9),
        "no share was written"
    );
}

#[test]
fn blocks_of_every_threshold_are_whole_cipher_blocks() {
    for k in 1..=255 {
        for longest in [0, 1, 64, 100, 65536] {
            let mut drawn = Drawn::new(k - 1, longest, &mut random::fill).unwrap();
            let len = drawn.block_len;
            assert!(len > 0 && len.is_multiple_of(64), "k = {k}");
            assert_eq!(drawn.drawn.len(), (k - 1) * len);
            drawn.draw(len, &mut random::fill).unwrap();
            drawn.draw(1, &mut random::fill).unwrap();
        }
    }
}

//! Refreshed shares give the same secret, and none of the old ones is of use beside them. All of n by exclusive or.

mod common;

use common::pattern;
use warifu_core::ids::{ShareIndex, Threshold};
use warifu_core::shamir::{ShamirError, Weights, refresh_into, split_into, xor};

const LENGTHS: [usize; 7] = [0, 1, 100, 4095, 4096, 4097, 70_000];

fn places(shares: &mut [Vec<u8>]) -> Vec<&mut [u8]> {
    shares.iter_mut().map(Vec::as_mut_slice).collect()
}

fn join(shares: &[&[u8]], indices: &[u8]) -> Vec<u8> {
    let indices: Vec<_> = indices
        .iter()
        .map(|x| ShareIndex::new(*x).unwrap())
        .collect();
    let mut out = vec![0x55; shares[0].len()];
    Weights::at_secret(&indices)
        .unwrap()
        .combine_into(shares, &mut out)
        .unwrap();
    out
}

#[test]
fn refreshed_shares_give_the_secret_and_do_not_combine_with_the_old_ones() {
    for (k, n) in [(2, 3), (3, 5), (5, 5)] {
        let threshold = Threshold::new(k, n).unwrap();
        for len in LENGTHS {
            let secret = pattern(len);
            let mut shares = vec![vec![0; len]; usize::from(n)];
            split_into(threshold, &secret, &mut places(&mut shares)).unwrap();
            let old = shares.clone();
            refresh_into(threshold, &mut places(&mut shares)).unwrap();
            let indices: Vec<u8> = (n - k + 1..=n).collect();
            let from = |shares: &[Vec<u8>], at: u8| shares[usize::from(at) - 1].clone();
            let new: Vec<_> = indices.iter().map(|at| from(&shares, *at)).collect();
            let views: Vec<&[u8]> = new.iter().map(Vec::as_slice).collect();
            assert_eq!(join(&views, &indices), secret, "{k} of {n}, {len} bytes");
            let mut mixed = new.clone();
            mixed[0] = from(&old, indices[0]);
            let views: Vec<&[u8]> = mixed.iter().map(Vec::as_slice).collect();
            let same = join(&views, &indices)
                .iter()
                .zip(&secret)
                .filter(|(a, b)| a == b)
                .count();
            assert!(same <= len / 64 + 8, "{same} of {len} bytes came through");
            for (old, new) in old.iter().zip(&shares) {
                let same = old.iter().zip(new).filter(|(a, b)| a == b).count();
                assert!(same <= len / 64 + 8, "{same} of {len} bytes stayed");
            }
        }
    }
}

#[test]
fn with_a_threshold_of_one_there_is_nothing_to_refresh() {
    let threshold = Threshold::new(1, 2).unwrap();
    let mut shares = vec![pattern(100); 2];
    refresh_into(threshold, &mut places(&mut shares)).unwrap();
    assert_eq!(shares, vec![pattern(100); 2]);
}

#[test]
fn wrong_shares_are_refused_and_left_as_they_are() {
    let threshold = Threshold::new(2, 3).unwrap();
    let mut shares = vec![pattern(9); 2];
    assert_eq!(
        refresh_into(threshold, &mut places(&mut shares)),
        Err(ShamirError::WrongCount { needed: 3, got: 2 })
    );
    shares.push(pattern(8));
    assert_eq!(
        refresh_into(threshold, &mut places(&mut shares)),
        Err(ShamirError::Lengths {
            expected: 9,
            got: 8,
            position: 2
        })
    );
    assert_eq!(shares, [pattern(9), pattern(9), pattern(8)]);
}

#[test]
fn all_of_n_by_exclusive_or_come_back_and_can_be_refreshed() {
    for n in [1, 2, 3, 7] {
        for len in LENGTHS {
            let secret = pattern(len);
            let mut shares = vec![vec![0; len]; n];
            xor::split_into(&secret, &mut places(&mut shares)).unwrap();
            for _ in 0..2 {
                let views: Vec<&[u8]> = shares.iter().rev().map(Vec::as_slice).collect();
                let mut out = vec![9; len];
                xor::combine_into(&views, &mut out).unwrap();
                assert_eq!(out, secret, "{n} shares of {len} bytes");
                if n > 1 {
                    xor::combine_into(&views[1..], &mut out).unwrap();
                    let same = out.iter().zip(&secret).filter(|(a, b)| a == b).count();
                    assert!(same <= len / 64 + 8, "{same} of {len} bytes came through");
                }
                let old = shares.clone();
                xor::refresh_into(&mut places(&mut shares)).unwrap();
                assert!(n == 1 || len < 8 || old.iter().zip(&shares).all(|(a, b)| a != b));
            }
        }
    }
}

#[test]
fn exclusive_or_of_nothing_or_of_unequal_shares_is_refused() {
    let nothing = Err(ShamirError::WrongCount { needed: 1, got: 0 });
    assert_eq!(xor::split_into(b"text", &mut []), nothing);
    assert_eq!(xor::combine_into(&[], &mut [0; 4]), nothing);
    assert_eq!(xor::refresh_into(&mut []), nothing);
    let (mut a, mut b) = ([1; 4], [2; 3]);
    let unequal = Err(ShamirError::Lengths {
        expected: 4,
        got: 3,
        position: 1,
    });
    assert_eq!(xor::split_into(b"text", &mut [&mut a, &mut b]), unequal);
    assert_eq!(xor::refresh_into(&mut [&mut a, &mut b]), unequal);
    assert_eq!(xor::combine_into(&[&a, &b], &mut [0; 4]), unequal);
    assert_eq!((a, b), ([1; 4], [2; 3]));
}

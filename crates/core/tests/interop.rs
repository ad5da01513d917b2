//! Bare shares go to and come from the `sharks` family.

mod common;

use common::pattern;
use warifu_core::ids::{ShareIndex, Threshold};
use warifu_core::shamir::ShamirError;
use warifu_core::shamir::bare::{self, BareError};

const LENGTHS: [usize; 6] = [1, 2, 31, 64, 65, 1000];

fn chosen(shares: &[Vec<u8>], k: u8) -> Vec<&[u8]> {
    shares
        .iter()
        .rev()
        .take(usize::from(k))
        .map(Vec::as_slice)
        .collect()
}

#[test]
fn our_shares_are_read_by_sharks_and_blahaj() {
    for (k, n) in [(1, 1), (2, 3), (3, 5), (10, 20), (40, 255)] {
        for len in LENGTHS {
            let secret = pattern(len);
            let shares = bare::split(Threshold::new(k, n).unwrap(), &secret).unwrap();
            let chosen = chosen(&shares, k);
            let theirs: Vec<_> = chosen
                .iter()
                .map(|share| sharks::Share::try_from(*share).unwrap())
                .collect();
            assert_eq!(
                sharks::Sharks(k).recover(&theirs).unwrap(),
                secret,
                "sharks, {k} of {n}"
            );
            let theirs: Vec<_> = chosen
                .iter()
                .map(|share| blahaj::Share::try_from(*share).unwrap())
                .collect();
            assert_eq!(
                *blahaj::Sharks(k).recover(&theirs).unwrap(),
                secret,
                "blahaj, {k} of {n}"
            );
        }
    }
}

#[test]
fn shares_of_sharks_and_blahaj_are_read_by_us() {
    for (k, n) in [(1, 1), (2, 3), (3, 5), (10, 20), (40, 255)] {
        for len in LENGTHS {
            let secret = pattern(len);
            let theirs: Vec<Vec<u8>> = sharks::Sharks(k)
                .dealer(&secret)
                .take(n)
                .map(|share| Vec::from(&share))
                .collect();
            assert_eq!(
                bare::combine(k, &chosen(&theirs, k)).unwrap().expose(),
                secret,
                "sharks, {k} of {n}"
            );
            let theirs: Vec<Vec<u8>> = blahaj::Sharks(k)
                .dealer(&secret)
                .take(n)
                .map(|share| Vec::from(&share))
                .collect();
            assert_eq!(
                bare::combine(k, &chosen(&theirs, k)).unwrap().expose(),
                secret,
                "blahaj, {k} of {n}"
            );
        }
    }
}

#[test]
fn what_would_give_a_wrong_secret_is_refused() {
    let shares = bare::split(Threshold::new(2, 4).unwrap(), b"sixteen bytes ok").unwrap();
    let [a, b, c, d] = [0, 1, 2, 3].map(|at: usize| shares[at].as_slice());
    let index = |value| ShareIndex::new(value).unwrap();
    let refused = |k, shares: &[&[u8]]| bare::combine(k, shares).unwrap_err();

    let mut zero = a.to_vec();
    zero[0] = 0;
    assert_eq!(refused(2, &[&zero, b]), BareError::ZeroIndex);
    assert_eq!(refused(2, &[a, &[]]), BareError::Empty);
    assert_eq!(
        refused(2, &[a, a]),
        ShamirError::Duplicate { index: index(1) }.into()
    );
    assert_eq!(
        refused(2, &[a]),
        ShamirError::WrongCount { needed: 2, got: 1 }.into()
    );
    assert_eq!(
        refused(0, &[a]),
        ShamirError::WrongCount { needed: 1, got: 1 }.into()
    );
    assert_eq!(
        refused(2, &[a, &b[..16]]),
        ShamirError::Lengths {
            expected: 16,
            got: 15,
            position: 1
        }
        .into()
    );
    // More than k shares are compared.
    assert_eq!(
        bare::combine(2, &[d, a, c, b]).unwrap().expose(),
        b"sixteen bytes ok"
    );
    for damaged in 0..3 {
        let mut shares = [a.to_vec(), c.to_vec(), d.to_vec()];
        shares[damaged][9] ^= 1;
        let views: Vec<&[u8]> = shares.iter().map(Vec::as_slice).collect();
        assert_eq!(
            refused(2, &views),
            BareError::Inconsistent { index: index(4) }
        );
    }
}

#[test]
fn bare_bytes_are_the_index_and_then_the_share() {
    let index = ShareIndex::new(9).unwrap();
    assert_eq!(bare::write(index, b"yy"), b"\x09yy");
    assert_eq!(bare::parse(b"\x09yy").unwrap(), (index, b"yy".as_slice()));
    assert_eq!(bare::parse(b"\x09").unwrap(), (index, b"".as_slice()));
}

#[test]
fn wrong_places_for_shares_are_refused() {
    use warifu_core::shamir::{Weights, split_into};
    let threshold = Threshold::new(2, 3).unwrap();
    let (mut a, mut b, mut c) = ([0; 4], [0; 4], [0; 3]);
    assert_eq!(
        split_into(threshold, b"text", &mut [&mut a, &mut b]),
        Err(ShamirError::WrongCount { needed: 3, got: 2 })
    );
    assert_eq!(
        split_into(threshold, b"text", &mut [&mut a, &mut b, &mut c]),
        Err(ShamirError::Lengths {
            expected: 4,
            got: 3,
            position: 2
        })
    );
    assert_eq!(
        Weights::at_secret(&[]),
        Err(ShamirError::WrongCount { needed: 1, got: 0 })
    );
    let weights = Weights::at_secret(&[1, 2].map(|value| ShareIndex::new(value).unwrap())).unwrap();
    let mut out = [1; 4];
    assert_eq!(
        weights.combine_into(&[&a], &mut out),
        Err(ShamirError::WrongCount { needed: 2, got: 1 })
    );
    assert_eq!(
        weights.combine_into(&[&a, &c], &mut out),
        Err(ShamirError::Lengths {
            expected: 4,
            got: 3,
            position: 1
        })
    );
    assert_eq!(
        weights.combine_into(&[&a, &b], &mut out[..2]),
        Err(ShamirError::ResultLength {
            expected: 4,
            got: 2
        })
    );
    assert_eq!(out, [1; 4]);
}

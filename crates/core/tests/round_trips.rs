//! What is shared comes back: every small threshold, some large ones, and lengths on both sides of every boundary.

mod common;

use common::{Deal, dealing, pattern};
use warifu_core::format::{
    CHUNK, Joiner, OpenShare, PREFIX_LEN, Suite, bucket, chunk_count, chunk_range, deal,
    object_len, rebuild,
};
use warifu_core::ids::{ShareIndex, Threshold};
use warifu_core::shamir::{Weights, split_into};

fn shares_of(threshold: Threshold, secret: &[u8]) -> Vec<Vec<u8>> {
    let mut shares = vec![vec![0xAA; secret.len()]; usize::from(threshold.n())];
    let mut places: Vec<&mut [u8]> = shares.iter_mut().map(Vec::as_mut_slice).collect();
    split_into(threshold, secret, &mut places).unwrap();
    shares
}

fn join(shares: &[Vec<u8>], chosen: &[usize]) -> Vec<u8> {
    let indices: Vec<_> = chosen
        .iter()
        .map(|at| ShareIndex::new(*at as u8 + 1).unwrap())
        .collect();
    let views: Vec<&[u8]> = chosen.iter().map(|at| shares[*at].as_slice()).collect();
    let mut out = vec![0x55; views[0].len()];
    Weights::at_secret(&indices)
        .unwrap()
        .combine_into(&views, &mut out)
        .unwrap();
    out
}

/// All sets of k numbers below n.
fn sets(n: usize, k: usize) -> Vec<Vec<usize>> {
    (0_u32..1 << n)
        .filter(|bits| bits.count_ones() as usize == k)
        .map(|bits| (0..n).filter(|at| bits >> at & 1 == 1).collect())
        .collect()
}

#[test]
fn any_k_shares_of_every_small_threshold_give_the_secret_back() {
    let secret = pattern(100);
    for n in 1..=7 {
        for k in 1..=n {
            let shares = shares_of(Threshold::new(k, n).unwrap(), &secret);
            for set in sets(usize::from(n), usize::from(k)) {
                assert_eq!(join(&shares, &set), secret, "{k} of {n}, shares {set:?}");
                let reversed: Vec<_> = set.iter().rev().copied().collect();
                assert_eq!(
                    join(&shares, &reversed),
                    secret,
                    "{k} of {n}, shares {reversed:?}"
                );
            }
        }
    }
}

#[test]
fn large_thresholds_give_the_secret_back() {
    let secret = pattern(3000);
    for (k, n) in [(1, 255), (2, 255), (100, 200), (254, 255), (255, 255)] {
        let shares = shares_of(Threshold::new(k, n).unwrap(), &secret);
        let last: Vec<_> = (usize::from(n - k)..usize::from(n)).collect();
        assert_eq!(join(&shares, &last), secret, "{k} of {n}");
    }
}

#[test]
fn every_length_gives_the_secret_back() {
    for len in (0..=200).chain([
        511, 512, 513, 4095, 4096, 4097, 16383, 16384, 16385, 65536, 100_001,
    ]) {
        let secret = pattern(len);
        for (k, n) in [(1, 2), (2, 3), (3, 5), (9, 9)] {
            let shares = shares_of(Threshold::new(k, n).unwrap(), &secret);
            let last: Vec<_> = (usize::from(n - k)..usize::from(n)).collect();
            assert_eq!(join(&shares, &last), secret, "{k} of {n}, {len} bytes");
        }
    }
}

#[test]
fn every_lost_share_is_rebuilt_from_any_k_others() {
    let secret = pattern(70);
    let shares = shares_of(Threshold::new(3, 6).unwrap(), &secret);
    for set in sets(6, 3) {
        let indices: Vec<_> = set
            .iter()
            .map(|at| ShareIndex::new(*at as u8 + 1).unwrap())
            .collect();
        let views: Vec<&[u8]> = set.iter().map(|at| shares[*at].as_slice()).collect();
        for (target, share) in shares.iter().enumerate() {
            let mut out = vec![0; 70];
            let target = ShareIndex::new(target as u8 + 1).unwrap();
            Weights::at(target, &indices)
                .unwrap()
                .combine_into(&views, &mut out)
                .unwrap();
            assert_eq!(&out, share, "share {target} from {set:?}");
        }
    }
}

const LENGTHS: [usize; 13] = [
    1,
    2,
    63,
    64,
    65,
    4096,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    2 * CHUNK - 1,
    2 * CHUNK,
    2 * CHUNK + 1,
    300_000,
];

#[test]
fn objects_of_every_length_and_suite_give_the_secret_back() {
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        for len in LENGTHS {
            for (k, n) in [(1, 1), (1, 2), (2, 3), (3, 4)] {
                let dealt = Deal::new(dealing(k, n, suite), &pattern(len));
                for (object, server) in dealt.objects.iter().zip(&dealt.servers) {
                    assert_eq!(object.len() as u64, object_len(len as u64));
                    let share = OpenShare::open(object, &dealt.key(*server)).unwrap();
                    assert_eq!((share.server(), share.dealing()), (*server, &dealt.dealing));
                    assert_eq!(share.header().secret_len(), len as u64);
                    share.verify_chunks(0, &object[PREFIX_LEN..]).unwrap();
                }
                let last: Vec<_> = (usize::from(n - k)..usize::from(n)).collect();
                assert_eq!(
                    dealt.join(&last).unwrap(),
                    pattern(len),
                    "{k} of {n}, {len} bytes, {suite:?}"
                );
            }
        }
    }
}

#[test]
fn every_range_of_chunks_is_read_without_the_others() {
    let len = 5 * CHUNK + 77;
    let secret = pattern(len);
    let dealt = Deal::new(dealing(2, 3, Suite::best()), &secret);
    let count = chunk_count(len as u64);
    for first in 0..count {
        for end in first..=count {
            let range = chunk_range(len as u64, first..end);
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            let plain = usize::try_from(first).unwrap() * CHUNK
                ..(usize::try_from(end).unwrap() * CHUNK).min(len);
            let bodies = [2, 0].map(|at: usize| &dealt.objects[at][range.clone()]);
            let mut out = vec![0xAA; plain.len()];
            let mut joiner = Joiner::new(vec![dealt.open(2), dealt.open(0)]).unwrap();
            joiner.join_chunks(first, &bodies, &mut out).unwrap();
            assert_eq!(out, secret[plain], "chunks {first} to {end}");
            dealt.open(2).verify_chunks(first, bodies[0]).unwrap();
        }
    }
}

#[test]
fn memory_of_earlier_objects_is_used_again_and_leaves_nothing() {
    let mut dealt = Deal::new(dealing(2, 3, Suite::best()), &pattern(2 * CHUNK));
    let places: Vec<_> = dealt
        .objects
        .iter()
        .map(|object| (object.as_ptr(), object.capacity()))
        .collect();
    let keys: Vec<_> = dealt
        .servers
        .iter()
        .map(|server| dealt.key(*server))
        .collect();
    let seats = dealt.seats(&keys);
    deal(&dealt.dealing, &seats, b"short", &mut dealt.objects).unwrap();
    let again: Vec<_> = dealt
        .objects
        .iter()
        .map(|object| (object.as_ptr(), object.capacity()))
        .collect();
    assert_eq!(places, again);
    assert_eq!(dealt.join(&[0, 1]).unwrap(), b"short");
}

#[test]
fn a_rebuilt_object_joins_with_the_others() {
    for len in [1, CHUNK, CHUNK + 1, 200_000] {
        let secret = pattern(len);
        let mut dealt = Deal::new(dealing(3, 5, Suite::best()), &secret);
        for target in 0..5 {
            let from: Vec<usize> = (0..5).filter(|at| *at != target).skip(1).collect();
            let shares = from.iter().map(|at| dealt.open(*at)).collect();
            let bodies: Vec<&[u8]> = from
                .iter()
                .map(|at| &dealt.objects[*at][PREFIX_LEN..])
                .collect();
            let key = dealt.key(dealt.servers[target]);
            let seat = warifu_core::format::Seat {
                server: dealt.servers[target],
                key: &key,
            };
            let mut object = b"what was there before".to_vec();
            rebuild(
                shares,
                &bodies,
                ShareIndex::new(target as u8 + 1).unwrap(),
                &seat,
                &mut object,
            )
            .unwrap();
            assert_ne!(object, dealt.objects[target], "a fresh salt");
            dealt.objects[target] = object;
            let mut others: Vec<usize> = (0..5).filter(|at| *at != target).take(2).collect();
            others.push(target);
            assert_eq!(dealt.join(&others).unwrap(), secret);
        }
    }
}

#[test]
fn buckets_fit_the_extent() {
    assert_eq!(
        bucket(warifu_core::format::EXTENT_MAX as u64),
        warifu_core::format::EXTENT_MAX as u64
    );
}

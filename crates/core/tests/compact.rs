//! The scheme `compact`: what is dealt comes back from any k shares, each is the k-th part, and damage is named.

mod common;

use common::{Deal, dealing, pattern};
use warifu_core::format::{
    CHUNK, CombineError, Dealing, Difference, JoinError, Joiner, OpenError, OpenShare, Scheme,
    Seat, ShareHeader, Suite, chunk_count, deal, rebuild,
};
use warifu_core::ids::{ServerId, ShareIndex};
use warifu_core::keys::VaultKey;

const PREFIX: usize = 240;
const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

fn compact(k: u8, n: u8, suite: Suite) -> Dealing {
    Dealing {
        scheme: Scheme::Compact,
        ..dealing(k, n, suite)
    }
}

/// All sets of k numbers below n.
fn sets(n: usize, k: usize) -> Vec<Vec<usize>> {
    (0_u32..1 << n)
        .filter(|bits| bits.count_ones() as usize == k)
        .map(|bits| (0..n).filter(|at| bits >> at & 1 == 1).collect())
        .collect()
}

#[test]
fn any_k_shares_give_the_secret_back() {
    for suite in SUITES {
        for (k, n) in [(1, 1), (1, 3), (2, 3), (3, 5), (4, 4), (5, 8)] {
            for len in [1, 2, 100, CHUNK + 1] {
                let dealt = Deal::new(compact(k, n, suite), &pattern(len));
                for mut set in sets(usize::from(n), usize::from(k)) {
                    assert_eq!(dealt.join(&set).unwrap(), pattern(len), "{set:?}");
                    set.reverse();
                    assert_eq!(dealt.join(&set).unwrap(), pattern(len), "{set:?}");
                }
            }
        }
    }
}

#[test]
fn every_length_and_large_thresholds_give_the_secret_back() {
    for (k, n) in [(2, 3), (7, 9), (200, 255), (255, 255)] {
        for len in [
            1,
            15,
            16,
            17,
            239,
            240,
            4096,
            CHUNK - 1,
            CHUNK,
            2 * CHUNK,
            150_001,
        ] {
            let dealt = Deal::new(compact(k, n, Suite::best()), &pattern(len));
            let last: Vec<_> = (usize::from(n - k)..usize::from(n)).collect();
            assert_eq!(
                dealt.join(&last).unwrap(),
                pattern(len),
                "{k} of {n}, {len} bytes"
            );
        }
    }
}

#[test]
fn a_share_is_the_kth_part_and_the_header_says_how_long() {
    for (k, n) in [(2, 3), (3, 5), (5, 8)] {
        let len = 4 << 20;
        let dealt = Deal::new(compact(k, n, Suite::best()), &pattern(len));
        for object in &dealt.objects {
            let header = ShareHeader::parse(object).unwrap();
            assert_eq!(header.scheme(), Scheme::Compact);
            assert_eq!(header.prefix_len(), PREFIX);
            assert_eq!(header.object_len(), object.len() as u64);
            assert!((object.len() as f64) < len as f64 / f64::from(k) * 1.002 + 300.0);
        }
    }
}

#[test]
fn every_range_of_chunks_is_read_without_the_others() {
    let len = 4 * CHUNK + 77;
    let secret = pattern(len);
    let dealt = Deal::new(compact(3, 5, Suite::best()), &secret);
    let count = chunk_count(len as u64);
    for first in 0..count {
        for end in first..=count {
            let shares: Vec<_> = [4, 0, 3].map(|at| dealt.open(at)).into();
            let range = shares[0].header().chunk_range(first..end);
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            let bodies = [4, 0, 3].map(|at: usize| &dealt.objects[at][range.clone()]);
            shares[1].verify_chunks(first, bodies[1]).unwrap();
            let plain = usize::try_from(first).unwrap() * CHUNK
                ..(usize::try_from(end).unwrap() * CHUNK).min(len);
            let mut out = vec![0xAA; plain.len()];
            let mut joiner = Joiner::new(shares).unwrap();
            joiner.join_chunks(first, &bodies, &mut out).unwrap();
            assert_eq!(out, secret[plain], "chunks {first} to {end}");
        }
    }
}

#[test]
fn a_rebuilt_share_joins_with_the_others() {
    for len in [1, CHUNK + 1, 200_000] {
        let mut dealt = Deal::new(compact(3, 5, Suite::best()), &pattern(len));
        for target in 0..5 {
            let from: Vec<usize> = (0..5).filter(|at| *at != target).skip(1).collect();
            let shares = from.iter().map(|at| dealt.open(*at)).collect();
            let bodies: Vec<&[u8]> = from
                .iter()
                .map(|at| &dealt.objects[*at][PREFIX..])
                .collect();
            let key = dealt.key(dealt.servers[target]);
            let seat = Seat {
                server: dealt.servers[target],
                key: &key,
            };
            let index = ShareIndex::new(target as u8 + 1).unwrap();
            let mut object = b"what was there before".to_vec();
            rebuild(shares, &bodies, index, &seat, &mut object).unwrap();
            assert_ne!(object, dealt.objects[target], "a fresh salt");
            assert_eq!(object.len(), dealt.objects[target].len());
            dealt.objects[target] = object;
            let mut others: Vec<usize> = (0..5).filter(|at| *at != target).take(2).collect();
            others.push(target);
            assert_eq!(dealt.join(&others).unwrap(), pattern(len));
        }
    }
}

#[test]
fn p4_every_flipped_bit_of_a_compact_share_is_found_and_named() {
    let dealt = Deal::new(compact(2, 3, Suite::best()), b"residents of the town");
    let whole = &dealt.objects[2];
    let key = dealt.key(dealt.servers[2]);
    for bit in 0..whole.len() * 8 {
        let mut object = whole.clone();
        object[bit / 8] ^= 1 << (bit % 8);
        match OpenShare::open(&object, &key) {
            Err(_) => assert!(bit / 8 < PREFIX, "bit {bit}"),
            Ok(share) => {
                assert!(bit / 8 >= PREFIX, "bit {bit}");
                let index = ShareIndex::new(3).unwrap();
                assert_eq!(
                    share.verify_chunks(0, &object[PREFIX..]),
                    Err(OpenError::Damaged { index, chunk: 0 })
                );
                let mut joiner = Joiner::new(vec![dealt.open(0), share]).unwrap();
                let bodies = [&dealt.objects[0][PREFIX..], &object[PREFIX..]];
                let mut out = vec![1; 21];
                assert_eq!(
                    joiner.join_chunks(0, &bodies, &mut out),
                    Err(JoinError::Damaged {
                        position: 1,
                        index,
                        chunk: 0
                    })
                );
                assert_eq!(out, [0; 21]);
            }
        }
    }
    for len in 64..PREFIX {
        assert!(OpenShare::open(&whole[..len], &key).is_err(), "{len} bytes");
    }
}

#[test]
fn shares_of_two_schemes_are_not_joined() {
    let vault_key = VaultKey::generate().unwrap();
    let servers: Vec<ServerId> = (0..2).map(|_| ServerId::fresh().unwrap()).collect();
    let keys: Vec<_> = servers
        .iter()
        .map(|server| vault_key.seal_key(*server))
        .collect();
    let seats: Vec<_> = servers
        .iter()
        .zip(&keys)
        .map(|(&server, key)| Seat { server, key })
        .collect();
    let compact = compact(2, 2, Suite::best());
    let shamir = Dealing {
        scheme: Scheme::Shamir,
        ..compact
    };
    let mut objects = [vec![Vec::new(); 2], vec![Vec::new(); 2]];
    deal(&compact, &seats, b"text", &mut objects[0]).unwrap();
    deal(&shamir, &seats, b"text", &mut objects[1]).unwrap();
    let shares = vec![
        OpenShare::open(&objects[0][0], &keys[0]).unwrap(),
        OpenShare::open(&objects[1][1], &keys[1]).unwrap(),
    ];
    match Joiner::new(shares).unwrap_err() {
        CombineError::Differs { what, .. } => assert_eq!(what, Difference::Scheme),
        error => panic!("{error}"),
    }
}

#[test]
fn shares_of_two_compact_dealings_of_one_secret_have_nothing_in_common() {
    let secret = vec![0; 3 * 4096];
    let first = Deal::new(compact(3, 5, Suite::best()), &secret);
    let second = Deal::new(compact(3, 5, Suite::best()), &secret);
    for (a, b) in first.objects.iter().zip(&second.objects) {
        let equal = a[64..].iter().zip(&b[64..]).filter(|(a, b)| a == b).count();
        assert!(
            equal < 60,
            "{equal} of 4096 bytes are equal; 16 are by chance"
        );
    }
}

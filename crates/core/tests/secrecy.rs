//! Fewer than k shares say nothing: on real output, by statistics. The exhaustive proof in small stands beside the code.

mod common;

use common::{Deal, dealing};
use warifu_core::format::Suite;
use warifu_core::ids::Threshold;
use warifu_core::shamir::split_into;

const LEN: usize = 1 << 20;

fn shares_of(k: u8, n: u8, secret: &[u8]) -> Vec<Vec<u8>> {
    let mut shares = vec![vec![0; secret.len()]; usize::from(n)];
    let mut places: Vec<&mut [u8]> = shares.iter_mut().map(Vec::as_mut_slice).collect();
    split_into(Threshold::new(k, n).unwrap(), secret, &mut places).unwrap();
    shares
}

/// Chi-square of 256 cells against the uniform distribution: 255 on average, with a standard deviation of 22.6.
fn chi_square(cells: impl Iterator<Item = u8>) -> f64 {
    let mut counts = [0_u32; 256];
    let mut total = 0.0;
    for cell in cells {
        counts[usize::from(cell)] += 1;
        total += 1.0;
    }
    let expected = total / 256.0;
    counts
        .iter()
        .map(|count| (f64::from(*count) - expected).powi(2) / expected)
        .sum()
}

/// Seven standard deviations: once in some billion runs by chance.
fn assert_uniform(what: &str, cells: impl Iterator<Item = u8>) {
    let found = chi_square(cells);
    assert!(
        (100.0..415.0).contains(&found),
        "{what}: chi-square {found}"
    );
}

#[test]
fn p1_shares_of_the_plainest_secrets_look_uniform() {
    for secret in [0_u8, 0xFF, 0x41] {
        for (k, n) in [(2, 3), (3, 5), (5, 5), (20, 20)] {
            let shares = shares_of(k, n, &vec![secret; LEN]);
            for (at, share) in shares.iter().enumerate() {
                assert_uniform(
                    &format!("{k} of {n}, share {}", at + 1),
                    share.iter().copied(),
                );
            }
        }
    }
}

#[test]
fn p1_any_two_of_three_needed_shares_are_jointly_uniform() {
    for secret in [0_u8, 0xFF] {
        let shares = shares_of(3, 5, &vec![secret; LEN]);
        for a in 0..5 {
            for b in 0..a {
                let pairs = shares[a].iter().zip(&shares[b]);
                assert_uniform("low nibbles", pairs.clone().map(|(a, b)| a << 4 | b & 15));
                assert_uniform(
                    "high nibbles",
                    pairs.clone().map(|(a, b)| a & 0xF0 | b >> 4),
                );
                assert_uniform("sums", pairs.map(|(a, b)| a ^ b));
            }
        }
    }
}

#[test]
fn p1_neighbouring_bytes_of_a_share_are_independent() {
    let share = shares_of(2, 2, &vec![0; LEN]).remove(0);
    assert_uniform(
        "neighbours",
        share.windows(2).map(|pair| pair[0] << 4 | pair[1] & 15),
    );
    for distance in [64, 4096, 16384, 65536] {
        let pairs = share.iter().zip(&share[distance..]);
        assert_uniform("at a distance", pairs.map(|(a, b)| a ^ b));
    }
}

/// The measure can find a leak: k shares together are anything but independent of the secret.
#[test]
fn the_statistics_would_notice_a_leak() {
    let shares = shares_of(2, 2, &vec![0; LEN]);
    // Of a secret of zeros share 2 is twice share 1.
    assert!(
        chi_square(
            shares[0]
                .iter()
                .zip(&shares[1])
                .map(|(a, b)| a << 4 | b & 15)
        ) > 1000.0
    );
    assert!(chi_square(shares_of(1, 1, &vec![7; 4096])[0].iter().copied()) > 1000.0);
}

#[test]
fn two_dealings_of_one_secret_have_nothing_in_common() {
    let secret = vec![0x20; 4096];
    let first = shares_of(2, 3, &secret);
    let second = shares_of(2, 3, &secret);
    for (a, b) in first.iter().zip(&second) {
        let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
        assert!(
            equal < 100,
            "{equal} of 4096 bytes are equal; 16 are by chance"
        );
    }
}

#[test]
fn p3_objects_look_uniform_behind_their_header() {
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        // k = 1: the shares are the secret itself, so only the seal stands before it.
        let dealt = Deal::new(dealing(1, 2, suite), &vec![0; LEN]);
        for object in &dealt.objects {
            assert_uniform("sealed", object[64..].iter().copied());
        }
        let common = dealt.objects[0][32..]
            .iter()
            .zip(&dealt.objects[1][32..])
            .filter(|(a, b)| a == b)
            .count();
        assert!(
            common < LEN / 128,
            "objects of one extent are not alike: {common}"
        );
    }
}

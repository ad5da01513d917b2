//! Every engine of this processor is held to the definition, one byte at a time.

use alloc::vec;
use alloc::vec::Vec;
#[cfg(feature = "std")]
use std::cell::Cell;

use super::*;
use crate::gf256::mul;

#[cfg(feature = "std")]
std::thread_local! {
    /// The engine that this thread's test asks for.
    pub(crate) static FORCED: Cell<Option<Engine>> = const { Cell::new(None) };
}

/// Runs `body` with this engine.
#[cfg(feature = "std")]
pub(crate) fn with<T>(engine: Engine, body: impl FnOnce() -> T) -> T {
    let before = FORCED.replace(Some(engine));
    let result = body();
    FORCED.set(before);
    result
}

/// The engine with one block of the cipher at a time, where it would take two.
#[cfg(all(feature = "std", target_arch = "x86_64"))]
fn narrow(engine: Engine) -> Option<Engine> {
    match engine {
        Engine::Avx2(wide256::Avx2(aes)) => Some(Engine::Avx2(wide256::Avx2(aes.narrow()))),
        Engine::Gfni256(wide256::Gfni256(aes)) => {
            Some(Engine::Gfni256(wide256::Gfni256(aes.narrow())))
        }
        Engine::Gfni512(_) | Engine::Portable => None,
    }
}

#[cfg(not(all(feature = "std", target_arch = "x86_64")))]
fn narrow(_: Engine) -> Option<Engine> {
    None
}

/// All engines there are, and where two block ciphers serve the same engine, both.
fn engines() -> Vec<Engine> {
    Engine::available()
        .chain(Engine::available().filter_map(narrow))
        .collect()
}

fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// On both sides of every boundary of every engine: registers, groups, strips.
fn lengths() -> impl Iterator<Item = usize> {
    let around = [32, 64, 96, 128, 192, 256, 320, 384, 512, 768, 1024].map(|at| at - 1..=at + 1);
    (0..=20)
        .chain(around.into_iter().flatten())
        .chain([160, 300, 447, 1000, 5000])
}

#[test]
fn all_65536_products_of_every_engine_agree_with_the_definition() {
    let all: Vec<u8> = (0..=255).collect();
    // In a whole strip, and in what is left over after one.
    let source = [all.as_slice(), &all, &all[..200]].concat();
    for engine in engines() {
        for factor in 0..=255 {
            let expected: Vec<u8> = source.iter().map(|byte| mul(*byte, factor)).collect();
            let mut out = vec![0xAA; source.len()];
            engine.combine(&[factor], &[&source], 0, &mut out, false);
            assert_eq!(out, expected, "{} · {factor}", engine.name());
            engine.mul_acc(&mut out, &source, factor);
            assert!(
                out.iter().all(|byte| *byte == 0),
                "{} · {factor}",
                engine.name()
            );
        }
    }
}

#[test]
fn sums_of_every_length_and_count_agree_with_the_definition() {
    for engine in engines() {
        for len in lengths() {
            for count in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 17, 33] {
                // By chance, and every second one so small that some engines take no product for it.
                let mut weights = pattern(count, 1);
                for (at, weight) in weights.iter_mut().enumerate().skip(len % 2).step_by(2) {
                    *weight = (at / 2 + len) as u8 % 4;
                }
                let shares: Vec<_> = (0..count).map(|at| pattern(len + 3, at as u32)).collect();
                let views: Vec<&[u8]> = shares.iter().map(Vec::as_slice).collect();
                let before = pattern(len + 2, 77);
                let sum = |at: usize| {
                    weights
                        .iter()
                        .zip(&shares)
                        .fold(0, |sum, (weight, share)| sum ^ mul(*weight, share[3 + at]))
                };
                for add in [false, true] {
                    let mut out = before.clone();
                    engine.combine(&weights, &views, 3, &mut out[1..=len], add);
                    for at in 0..len {
                        let had = if add { before[1 + at] } else { 0 };
                        assert_eq!(
                            out[1 + at],
                            had ^ sum(at),
                            "{}, {count} shares of {len} bytes, byte {at}",
                            engine.name()
                        );
                    }
                    assert_eq!(
                        (out[0], out[len + 1]),
                        (before[0], before[len + 1]),
                        "{}: nothing beside the result is written",
                        engine.name()
                    );
                }
            }
        }
    }
}

/// The key stream as two stock crates make it.
#[cfg(feature = "std")]
fn stock(key: &Secret<32>, len: usize) -> Vec<u8> {
    use cipher::{KeyIvInit, StreamCipher};
    let mut stream = vec![0; len];
    ctr::Ctr128LE::<aes_stock::Aes256>::new(key.expose().into(), &[0; 16].into())
        .apply_keystream(&mut stream);
    stream
}

/// What a share is by the polynomial of [`tables::CLASSES`], with the random bytes taken from the stock key stream in the
/// order that [`STRIP`] tells.
#[cfg(feature = "std")]
fn defined(secret: &[u8], k: usize, n: usize, stream: &mut &[u8]) -> Vec<Vec<u8>> {
    let mut shares = vec![Vec::new(); n];
    for strip in secret.chunks(STRIP) {
        let width = strip.len().next_multiple_of(UNIT);
        let (runs, rest) = stream.split_at((k - 1) * width);
        *stream = rest;
        for (x, share) in (1..=255_u8).zip(&mut shares) {
            let y = mul(mul(x, x) ^ x, crate::gf256::inv(6));
            let mut functions = Vec::new();
            let mut power = 1;
            while functions.len() < k {
                functions.extend([power, mul(power, x)]);
                power = mul(power, y);
            }
            for (at, byte) in strip.iter().enumerate() {
                let terms = runs.chunks(width).zip(&functions[1..]);
                share.push(terms.fold(*byte, |sum, (run, value)| sum ^ mul(run[at], *value)));
            }
        }
    }
    shares
}

#[cfg(feature = "std")]
#[test]
fn shares_of_every_engine_are_the_polynomials_of_the_stock_key_stream() {
    let key = Secret::<32>::filled(|bytes| {
        bytes.copy_from_slice(&pattern(32, 5));
        Ok::<(), ()>(())
    })
    .unwrap();
    for engine in engines() {
        if engine.stream(&key, 1, 1).is_none() {
            assert_eq!(engine.name(), "portable");
            continue;
        }
        for (k, n) in [
            (2, 2),
            (2, 3),
            (2, 8),
            (3, 3),
            (3, 5),
            (4, 6),
            (5, 8),
            (9, 12),
            (3, 40),
        ] {
            for len in lengths() {
                let secret = pattern(len, 9);
                let mut stream = engine.stream(&key, k - 1, len).unwrap();
                let expected = stock(&key, 3 * (k - 1) * len.next_multiple_of(UNIT));
                let mut expected = expected.as_slice();
                // More than once from one stream: it goes on where it was.
                for _ in 0..3 {
                    let mut shares = vec![vec![0xAA; len + 2]; n];
                    stream.split(&secret, &Places::new(&mut shares, 1, len));
                    let defined = defined(&secret, k, n, &mut expected);
                    for (share, defined) in shares.iter().zip(defined) {
                        assert!(
                            share[1..=len] == defined && share[0] == 0xAA && share[len + 1] == 0xAA,
                            "{}, {k} of {n}, {len} bytes",
                            engine.name()
                        );
                    }
                }
                assert!(expected.is_empty());
            }
        }
    }
}

#[cfg(feature = "std")]
#[test]
fn large_thresholds_agree_with_the_stock_key_stream_too() {
    let key = Secret::<32>::zeroed();
    let secret = pattern(700, 3);
    for engine in engines() {
        let Some(mut stream) = engine.stream(&key, 254, secret.len()) else {
            continue;
        };
        let mut shares = vec![vec![0; secret.len()]; 255];
        stream.split(&secret, &Places::new(&mut shares, 0, secret.len()));
        let expected = stock(&key, 254 * 704);
        assert!(
            shares == defined(&secret, 255, 255, &mut expected.as_slice()),
            "{}",
            engine.name()
        );
    }
}

//! AES-256 by the processor's own instructions: the expansion of the key, and the key stream for the engines of 256 bits.
#![allow(
    clippy::needless_range_loop,
    reason = "the adapters of iterators are not always compiled into a function with features of its own"
)]

use core::arch::x86_64::*;

use super::{BLOCK, RoundKeys, UNIT};
use crate::secret::Secret;

/// The proof that the processor has AES, and whether it has it for two blocks at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aes {
    wide: bool,
}

impl Aes {
    pub(super) fn detect() -> Option<Self> {
        // What moves blocks about needs SSE2, which every processor of 64 bits has.
        std::is_x86_feature_detected!("aes").then(|| Self {
            wide: std::is_x86_feature_detected!("vaes") && std::is_x86_feature_detected!("avx2"),
        })
    }

    /// The same without the instructions for two blocks at once, for tests.
    #[cfg(test)]
    pub(super) const fn narrow(self) -> Self {
        Self { wide: false }
    }

    pub(super) fn expand(self, key: &Secret<32>) -> RoundKeys {
        let mut keys = RoundKeys::zeroed();
        // SAFETY: `self` exists only where `detect` found AES.
        unsafe { expand(key.expose(), keys.expose_mut()) };
        keys
    }

    /// Fills `out` with key stream from block `counter` on.
    #[inline]
    pub(super) fn fill(self, keys: &[u8; 240], counter: u64, out: &mut [[u8; UNIT]]) {
        if self.wide {
            // SAFETY: `wide` is true only where `detect` found VAES and AVX2.
            unsafe { fill_wide(keys, counter, out) }
        } else {
            // SAFETY: `self` exists only where `detect` found AES.
            unsafe { fill_narrow(keys, counter, out) }
        }
    }
}

/// One step of the key schedule: two more round keys, from what the instruction says of the last one.
#[inline]
#[target_feature(enable = "aes,sse2")]
fn spread(key: __m128i, word: __m128i) -> __m128i {
    let mut key = key;
    let mut shifted = key;
    for _ in 0..3 {
        shifted = _mm_slli_si128::<4>(shifted);
        key = _mm_xor_si128(key, shifted);
    }
    _mm_xor_si128(key, word)
}

#[target_feature(enable = "aes,sse2")]
fn expand(key: &[u8; 32], out: &mut [u8; 240]) {
    // SAFETY: both halves of the 32 bytes are read where they lie; the instruction asks for no alignment.
    let (mut even, mut odd) = unsafe {
        let start = key.as_ptr().cast::<__m128i>();
        (_mm_loadu_si128(start), _mm_loadu_si128(start.add(1)))
    };
    let (keys, _) = out.as_chunks_mut::<BLOCK>();
    let mut put = |number: usize, key: __m128i| {
        // SAFETY: the place has 16 bytes; the instruction asks for no alignment.
        unsafe { _mm_storeu_si128(keys[number].as_mut_ptr().cast(), key) };
    };
    put(0, even);
    put(1, odd);
    macro_rules! round {
        ($number:literal, $constant:literal) => {
            let word = _mm_aeskeygenassist_si128::<$constant>(odd);
            even = spread(even, _mm_shuffle_epi32::<0xFF>(word));
            put(2 * $number, even);
            if $number < 7 {
                let word = _mm_aeskeygenassist_si128::<0>(even);
                odd = spread(odd, _mm_shuffle_epi32::<0xAA>(word));
                put(2 * $number + 1, odd);
            }
        };
    }
    round!(1, 0x01);
    round!(2, 0x02);
    round!(3, 0x04);
    round!(4, 0x08);
    round!(5, 0x10);
    round!(6, 0x20);
    round!(7, 0x40);
}

/// 14, the rounds of AES-256, and the compiler must not know it: when it unrolls them it puts whole blocks one after
/// another, of which the processor then has to wait for each.
#[inline(always)]
fn rounds() -> usize {
    core::hint::black_box(14)
}

/// Round key `number`.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn round_key(keys: &[u8; 240], number: usize) -> __m128i {
    let (keys, _) = keys.as_chunks::<BLOCK>();
    // SAFETY: 16 bytes are there; the instruction asks for no alignment.
    unsafe { _mm_loadu_si128(keys[number].as_ptr().cast()) }
}

#[target_feature(enable = "aes,sse2")]
fn fill_narrow(keys: &[u8; 240], counter: u64, out: &mut [[u8; UNIT]]) {
    const LANES: usize = UNIT / BLOCK;
    let mut block = counter;
    for unit in out {
        let mut state = [round_key(keys, 0); LANES];
        for lane in 0..LANES {
            let number = _mm_set_epi64x(0, block.wrapping_add(lane as u64) as i64);
            state[lane] = _mm_xor_si128(state[lane], number);
        }
        for round in 1..rounds() {
            let key = round_key(keys, round);
            for lane in 0..LANES {
                state[lane] = _mm_aesenc_si128(state[lane], key);
            }
        }
        let key = round_key(keys, 14);
        for lane in 0..LANES {
            let done = _mm_aesenclast_si128(state[lane], key);
            // SAFETY: the unit has four blocks; the instruction asks for no alignment.
            unsafe { _mm_storeu_si128(unit.as_mut_ptr().add(lane * BLOCK).cast(), done) };
        }
        block = block.wrapping_add(LANES as u64);
    }
}

#[target_feature(enable = "vaes,avx2,aes")]
fn fill_wide(keys: &[u8; 240], counter: u64, out: &mut [[u8; UNIT]]) {
    const LANES: usize = 8;
    const WIDE: usize = 2 * BLOCK;
    let mut block = counter;
    let (whole, rest) = out.as_chunks_mut::<{ LANES * WIDE / UNIT }>();
    for piece in whole {
        let mut state = [_mm256_broadcastsi128_si256(round_key(keys, 0)); LANES];
        let mut numbers = _mm256_set_epi64x(0, block.wrapping_add(1) as i64, 0, block as i64);
        for lane in 0..LANES {
            state[lane] = _mm256_xor_si256(state[lane], numbers);
            numbers = _mm256_add_epi64(numbers, _mm256_set_epi64x(0, 2, 0, 2));
        }
        for round in 1..rounds() {
            let key = _mm256_broadcastsi128_si256(round_key(keys, round));
            for lane in 0..LANES {
                state[lane] = _mm256_aesenc_epi128(state[lane], key);
            }
        }
        let key = _mm256_broadcastsi128_si256(round_key(keys, 14));
        for lane in 0..LANES {
            let done = _mm256_aesenclast_epi128(state[lane], key);
            // SAFETY: the piece has eight times 32 bytes; the instruction asks for no alignment.
            unsafe {
                _mm256_storeu_si256(
                    piece
                        .as_flattened_mut()
                        .as_mut_ptr()
                        .add(lane * WIDE)
                        .cast(),
                    done,
                )
            };
        }
        block = block.wrapping_add(2 * LANES as u64);
    }
    fill_narrow(keys, block, rest);
}

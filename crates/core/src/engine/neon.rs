//! The engine for 64-bit ARM: products by `TBL`, which looks each nibble's product up among 16 in a register, and key
//! stream by the processor's AES.

use core::arch::aarch64::*;

use super::tables::{NIBBLES, Nibbles};
use super::{BLOCK, Places, RoundKeys, STRIP, Stream, UNIT, Views};
use crate::secret::Secret;

/// Bytes in a register.
const WIDTH: usize = 16;
/// Registers taken together, so that one need not wait for another.
const GROUP: usize = 4;

/// The proof that the processor has NEON and AES.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon(());

impl Neon {
    pub(super) fn detect() -> Option<Self> {
        (std::arch::is_aarch64_feature_detected!("neon")
            && std::arch::is_aarch64_feature_detected!("aes"))
        .then_some(Self(()))
    }

    pub(super) fn expand(self, key: &Secret<32>) -> RoundKeys {
        let mut keys = RoundKeys::zeroed();
        // SAFETY: `self` exists only where `detect` found AES.
        unsafe { expand(key.expose(), keys.expose_mut()) };
        keys
    }

    pub(super) fn combine(self, views: &Views<'_>, out: &mut [u8], add: bool) {
        assert!(views.len >= out.len(), "each view covers the result");
        // SAFETY: `self` exists only where `detect` found the instructions; each view has as many bytes as `out`.
        unsafe { combine(views, out.as_mut_ptr(), out.len(), add) }
    }

    pub(super) fn split(self, stream: &mut Stream, secret: &[u8], places: &Places<'_>) {
        assert!(places.len >= secret.len(), "each place takes the share");
        // SAFETY: `self` exists only where `detect` found the instructions; each place has as many bytes as `secret`, and
        // none overlaps another or the secret, since they are borrowed apart.
        unsafe { split(stream, secret, places) }
    }
}

/// The S-box for each byte of a word: with all four columns equal, moving the rows changes nothing, and what is left of a round
/// with a key of zeros is the S-box.
#[inline]
#[target_feature(enable = "neon,aes")]
fn substitute(word: u32) -> u32 {
    let state = vreinterpretq_u8_u32(vdupq_n_u32(word));
    vgetq_lane_u32::<0>(vreinterpretq_u32_u8(vaeseq_u8(state, vdupq_n_u8(0))))
}

#[target_feature(enable = "neon,aes")]
fn expand(key: &[u8; 32], out: &mut [u8; 240]) {
    let (words, _) = out.as_chunks_mut::<4>();
    for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
        *word = *bytes;
    }
    let mut constant = 1_u32;
    for at in 8..60 {
        let mut word = u32::from_le_bytes(words[at - 1]);
        if at % 8 == 0 {
            word = substitute(word).rotate_right(8) ^ constant;
            constant <<= 1;
        } else if at % 8 == 4 {
            word = substitute(word);
        }
        words[at] = (word ^ u32::from_le_bytes(words[at - 8])).to_le_bytes();
    }
}

/// Fills `out`, a whole number of units, with key stream from block `counter` on.
#[target_feature(enable = "neon,aes")]
fn fill(keys: &[u8; 240], counter: u64, out: &mut [u8]) {
    const LANES: usize = UNIT / BLOCK;
    let mut round_keys = [vdupq_n_u8(0); 15];
    for (wide, key) in round_keys.iter_mut().zip(keys.as_chunks::<BLOCK>().0) {
        // SAFETY: the round key has 16 bytes.
        *wide = unsafe { vld1q_u8(key.as_ptr()) };
    }
    let mut block = counter;
    for unit in out.as_chunks_mut::<UNIT>().0 {
        let mut state = [vdupq_n_u8(0); LANES];
        for (lane, state) in (0..).zip(&mut state) {
            let number = vcombine_u64(vcreate_u64(block.wrapping_add(lane)), vcreate_u64(0));
            *state = vreinterpretq_u8_u64(number);
        }
        for key in &round_keys[..13] {
            for state in &mut state {
                *state = vaesmcq_u8(vaeseq_u8(*state, *key));
            }
        }
        for (lane, state) in state.iter().enumerate() {
            let done = veorq_u8(vaeseq_u8(*state, round_keys[13]), round_keys[14]);
            // SAFETY: a unit has four blocks.
            unsafe { vst1q_u8(unit.as_mut_ptr().add(lane * BLOCK), done) };
        }
        block = block.wrapping_add(LANES as u64);
    }
}

/// A factor as the look-ups take it.
#[derive(Clone, Copy)]
struct Tables {
    low: uint8x16_t,
    high: uint8x16_t,
}

#[inline]
#[target_feature(enable = "neon")]
fn tables(factor: u8) -> Tables {
    let Nibbles { low, high } = &NIBBLES[usize::from(factor)];
    // SAFETY: both tables have 16 bytes.
    unsafe {
        Tables {
            low: vld1q_u8(low.as_ptr()),
            high: vld1q_u8(high.as_ptr()),
        }
    }
}

/// `acc · factor + addend`. The secret nibbles choose among the 16 bytes of one register, which takes the same time for all.
#[inline]
#[target_feature(enable = "neon")]
fn step<const N: usize>(
    mut acc: [uint8x16_t; N],
    factor: Tables,
    addend: [uint8x16_t; N],
) -> [uint8x16_t; N] {
    for (acc, addend) in acc.iter_mut().zip(addend) {
        let low = vqtbl1q_u8(factor.low, vandq_u8(*acc, vdupq_n_u8(15)));
        let high = vqtbl1q_u8(factor.high, vshrq_n_u8::<4>(*acc));
        *acc = veorq_u8(veorq_u8(low, high), addend);
    }
    acc
}

#[inline]
#[target_feature(enable = "neon")]
fn sum<const N: usize>(mut one: [uint8x16_t; N], other: [uint8x16_t; N]) -> [uint8x16_t; N] {
    for (one, other) in one.iter_mut().zip(other) {
        *one = veorq_u8(*one, other);
    }
    one
}

/// # Safety
/// There must be `16 · N` bytes to read.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load<const N: usize>(at: *const u8) -> [uint8x16_t; N] {
    let mut vectors = [vdupq_n_u8(0); N];
    for (number, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *vector = unsafe { vld1q_u8(at.add(number * WIDTH)) };
    }
    vectors
}

/// # Safety
/// There must be `16 · N` bytes to write.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store<const N: usize>(at: *mut u8, vectors: [uint8x16_t; N]) {
    for (number, vector) in vectors.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { vst1q_u8(at.add(number * WIDTH), vector) };
    }
}

/// Fewer bytes than a register has, zeros behind them.
///
/// # Safety
/// There must be `len` bytes to read, at most 16.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_some(at: *const u8, len: usize) -> [uint8x16_t; 1] {
    let mut bytes = [0_u8; WIDTH];
    // SAFETY: the caller's promise; `bytes` has 16 bytes of its own.
    unsafe {
        core::ptr::copy_nonoverlapping(at, bytes.as_mut_ptr(), len);
        load(bytes.as_ptr())
    }
}

/// # Safety
/// There must be `len` bytes to write, at most 16.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store_some(at: *mut u8, len: usize, vector: [uint8x16_t; 1]) {
    let mut bytes = [0_u8; WIDTH];
    // SAFETY: the caller's promise; `bytes` has 16 bytes of its own.
    unsafe {
        store(bytes.as_mut_ptr(), vector);
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), at, len);
    }
}

/// # Safety
/// Each view must have `len` bytes to read, `out` as many to write.
#[target_feature(enable = "neon")]
unsafe fn combine(views: &Views<'_>, out: *mut u8, len: usize, add: bool) {
    let sources = views.weights.iter().zip(&views.start);
    let mut at = 0;
    while at + GROUP * WIDTH <= len {
        let mut acc = [vdupq_n_u8(0); GROUP];
        if add {
            // SAFETY: a whole group is left.
            acc = unsafe { load(out.add(at)) };
        }
        for (weight, start) in sources.clone() {
            // SAFETY: a whole group is left, in this view as in all.
            let share = unsafe { load(start.add(at)) };
            acc = step(share, tables(*weight), acc);
        }
        // SAFETY: a whole group is left.
        unsafe { store(out.add(at), acc) };
        at += GROUP * WIDTH;
    }
    while at < len {
        let some = (len - at).min(WIDTH);
        let mut acc = [vdupq_n_u8(0)];
        if add {
            // SAFETY: so many bytes are left.
            acc = unsafe { load_some(out.add(at), some) };
        }
        for (weight, start) in sources.clone() {
            // SAFETY: so many bytes are left, in this view as in all.
            let share = unsafe { load_some(start.add(at), some) };
            acc = step(share, tables(*weight), acc);
        }
        // SAFETY: so many bytes are left.
        unsafe { store_some(out.add(at), some, acc) };
        at += WIDTH;
    }
}

/// # Safety
/// Each place must have as many bytes to write as `secret` has, and overlap neither it nor another.
#[target_feature(enable = "neon,aes")]
unsafe fn split(stream: &mut Stream, secret: &[u8], places: &Places<'_>) {
    let places = &places.start[..places.count];
    let mut counter = stream.counter;
    let mut start = 0;
    for strip in secret.chunks(STRIP) {
        let width = strip.len().next_multiple_of(UNIT);
        let runs = &mut stream.scratch.expose_mut()[..stream.degree * width];
        fill(stream.keys.expose(), counter, runs);
        counter += (runs.len() / BLOCK) as u64;
        let mut at = 0;
        while at + GROUP * WIDTH <= strip.len() {
            // SAFETY: a whole group is left, in the secret and so in all places and runs.
            unsafe {
                let block = load::<GROUP>(strip.as_ptr().add(at));
                shares(block, runs, width, at, places, |place, value| {
                    store(place.add(start + at), value);
                });
            }
            at += GROUP * WIDTH;
        }
        while at < strip.len() {
            let some = (strip.len() - at).min(WIDTH);
            // SAFETY: so many bytes are left, in the secret and so in all places; the runs have whole units.
            unsafe {
                let block = load_some(strip.as_ptr().add(at), some);
                shares(block, runs, width, at, places, |place, value| {
                    store_some(place.add(start + at), some, value);
                });
            }
            at += WIDTH;
        }
        start += STRIP;
    }
}

/// Gives `put` all shares of `block`, whose coefficients are at `at` in the runs, in turn.
///
/// # Safety
/// Each run, of `width` bytes, must go on for `16 · N` bytes from `at`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn shares<const N: usize>(
    block: [uint8x16_t; N],
    runs: &[u8],
    width: usize,
    at: usize,
    places: &[*mut u8],
    put: impl Fn(*mut u8, [uint8x16_t; N]),
) {
    let coefficients = runs.chunks_exact(width).rev();
    let mut ones = [vdupq_n_u8(0); N];
    for run in coefficients.clone() {
        // SAFETY: the caller's promise.
        ones = sum(ones, unsafe { load(run.as_ptr().add(at)) });
    }
    // With one or two coefficients the values at 2m and 2m + 1 differ by their sum, since (x + 1)² = x² + 1.
    let few = coefficients.len() <= 2;
    let mut even = block;
    for (index, place) in (1..=u8::MAX).zip(places) {
        if index == 1 || few && index % 2 == 1 {
            put(*place, sum(even, ones));
            continue;
        }
        let factor = tables(index);
        let mut value = [vdupq_n_u8(0); N];
        for (number, run) in coefficients.clone().enumerate() {
            // SAFETY: the caller's promise.
            let run = unsafe { load(run.as_ptr().add(at)) };
            value = if number == 0 {
                run
            } else {
                step(value, factor, run)
            };
        }
        even = step(value, factor, block);
        put(*place, even);
    }
}

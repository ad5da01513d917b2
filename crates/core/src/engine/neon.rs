//! The engine for 64-bit ARM: products by `TBL`, which looks each nibble's product up among 16 in a register, and key
//! stream by the processor's AES.

use core::arch::aarch64::*;

use super::tables::{CLASSES, NIBBLES, Nibbles};
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
        // SAFETY: `self` exists only where `detect` found the instructions; `Views::new` has checked that each view has as many bytes as `out`.
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

/// Fills `out` with key stream from block `counter` on.
#[target_feature(enable = "neon,aes")]
fn fill(keys: &[u8; 240], counter: u64, out: &mut [[u8; UNIT]]) {
    const LANES: usize = UNIT / BLOCK;
    let mut round_keys = [vdupq_n_u8(0); 15];
    for (wide, key) in round_keys.iter_mut().zip(keys.as_chunks::<BLOCK>().0) {
        // SAFETY: the round key has 16 bytes.
        *wide = unsafe { vld1q_u8(key.as_ptr()) };
    }
    let mut block = counter;
    for unit in out {
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
    for lane in 0..N {
        let low = vqtbl1q_u8(factor.low, vandq_u8(acc[lane], vdupq_n_u8(15)));
        let high = vqtbl1q_u8(factor.high, vshrq_n_u8::<4>(acc[lane]));
        acc[lane] = veorq_u8(veorq_u8(low, high), addend[lane]);
    }
    acc
}

#[inline]
#[target_feature(enable = "neon")]
fn sum<const N: usize>(mut one: [uint8x16_t; N], other: [uint8x16_t; N]) -> [uint8x16_t; N] {
    for lane in 0..N {
        one[lane] = veorq_u8(one[lane], other[lane]);
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
    let mut at = 0;
    while at + GROUP * WIDTH <= len {
        let mut acc = [vdupq_n_u8(0); GROUP];
        if add {
            // SAFETY: a whole group is left.
            acc = unsafe { load(out.add(at)) };
        }
        for number in 0..views.weights.len() {
            let (weight, start) = (views.weights[number], views.start(number));
            // SAFETY: a whole group is left, in this view as in all.
            let share = unsafe { load(start.add(at)) };
            acc = step(share, tables(weight), acc);
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
        for number in 0..views.weights.len() {
            let (weight, start) = (views.weights[number], views.start(number));
            // SAFETY: so many bytes are left, in this view as in all.
            let share = unsafe { load_some(start.add(at), some) };
            acc = step(share, tables(weight), acc);
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
        let runs = stream.scratch.take(stream.degree * (width / UNIT));
        fill(stream.keys.expose(), counter, runs);
        counter += (runs.len() * (UNIT / BLOCK)) as u64;
        let runs = runs.as_ptr().cast::<u8>();
        let mut at = 0;
        while at + GROUP * WIDTH <= strip.len() {
            // SAFETY: a whole group is left, in the secret and so in all runs and places.
            let block = unsafe { load::<GROUP>(strip.as_ptr().add(at)) };
            // SAFETY: the same.
            let run = |number: usize| unsafe { load(runs.add(number * width + at)) };
            let put = |place: *mut u8, value| {
                // SAFETY: the same.
                unsafe { store(place.add(start + at), value) }
            };
            shares(block, stream.degree, run, places, put);
            at += GROUP * WIDTH;
        }
        while at < strip.len() {
            let some = (strip.len() - at).min(WIDTH);
            // SAFETY: so many bytes are left in the secret.
            let block = unsafe { load_some(strip.as_ptr().add(at), some) };
            // SAFETY: the runs have whole units.
            let run = |number: usize| unsafe { load(runs.add(number * width + at)) };
            let put = |place: *mut u8, value| {
                // SAFETY: as many are left in all places.
                unsafe { store_some(place.add(start + at), some, value) }
            };
            shares(block, stream.degree, run, places, put);
            at += WIDTH;
        }
        start += STRIP;
    }
}

/// Gives `put` all shares of `block` in turn. `run` gives r₁, r₂ … (see [`CLASSES`]), counted from 0, at the same place.
#[inline]
#[target_feature(enable = "neon")]
fn shares<const N: usize>(
    block: [uint8x16_t; N],
    degree: usize,
    run: impl Fn(usize) -> [uint8x16_t; N],
    places: &[*mut u8],
    put: impl Fn(*mut u8, [uint8x16_t; N]),
) {
    let linear = run(0);
    put(places[0], sum(block, linear));
    // What E and O gain from one class of points to the next, as long as they are no more than squares.
    let (mut even_gain, mut odd_gain) = (block, linear);
    let (mut even, mut odd) = (block, linear);
    let mut class = 1;
    while 2 * class <= places.len() {
        if class == 1 {
            let mut number = 1;
            while number < degree {
                even = sum(even, run(number));
                if number + 1 < degree {
                    odd = sum(odd, run(number + 1));
                }
                number += 2;
            }
            (even_gain, odd_gain) = (sum(even_gain, even), sum(odd_gain, odd));
        } else if class % 2 == 1 && degree <= 5 {
            (even, odd) = (sum(even, even_gain), sum(odd, odd_gain));
        } else if degree > 1 {
            // By Horner's rule, from the run with the highest power down.
            let y = tables(CLASSES[class]);
            let mut number = degree - 1 - degree % 2;
            even = run(number);
            while number > 1 {
                number -= 2;
                even = step(even, y, run(number));
            }
            even = step(even, y, block);
            let mut number = degree - 2 + degree % 2;
            odd = run(number);
            while number > 0 {
                number -= 2;
                odd = step(odd, y, run(number));
            }
        }
        let value = step(odd, tables(2 * class as u8), even);
        put(places[2 * class - 1], value);
        if 2 * class < places.len() {
            put(places[2 * class], sum(value, odd));
        }
        class += 1;
    }
}

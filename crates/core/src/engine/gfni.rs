//! The engine with 64 bytes in a register: products by `GF2P8AFFINEQB`, key stream by VAES in the same loop.
//!
//! For one and two coefficients they never leave the registers; more go through a piece of memory that stays in the
//! nearest cache and is erased.

use core::arch::x86_64::*;

use super::aes::{Aes, round_key};
use super::tables::MATRICES;
use super::{Places, STRIP, Stream, UNIT, Views};

/// Registers of one strip.
const WIDE: usize = STRIP / UNIT;

/// The proof that the processor has what the functions below are compiled for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gfni512(pub(super) Aes);

impl Gfni512 {
    pub(super) fn detect() -> Option<Self> {
        let has = std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("gfni")
            && std::is_x86_feature_detected!("vaes");
        Aes::detect().filter(|_| has).map(Self)
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

/// `N` registers from `at` on.
///
/// # Safety
/// There must be `64 · N` bytes to read.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load<const N: usize>(at: *const u8) -> [__m512i; N] {
    let mut vectors = [_mm512_setzero_si512(); N];
    for (number, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: the caller's promise; the instruction asks for no alignment.
        *vector = unsafe { _mm512_loadu_si512(at.add(number * UNIT).cast()) };
    }
    vectors
}

/// # Safety
/// There must be `64 · N` bytes to write.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store<const N: usize>(at: *mut u8, vectors: [__m512i; N]) {
    for (number, vector) in vectors.into_iter().enumerate() {
        // SAFETY: the caller's promise; the instruction asks for no alignment.
        unsafe { _mm512_storeu_si512(at.add(number * UNIT).cast(), vector) };
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sum<const N: usize>(mut one: [__m512i; N], other: [__m512i; N]) -> [__m512i; N] {
    for (one, other) in one.iter_mut().zip(other) {
        *one = _mm512_xor_si512(*one, other);
    }
    one
}

/// `acc · factor + addend`, the factor as its matrix.
#[inline]
#[target_feature(enable = "avx512f,gfni")]
fn step<const N: usize>(
    mut acc: [__m512i; N],
    matrix: __m512i,
    addend: [__m512i; N],
) -> [__m512i; N] {
    for (acc, addend) in acc.iter_mut().zip(addend) {
        *acc = _mm512_xor_si512(_mm512_gf2p8affine_epi64_epi8::<0>(*acc, matrix), addend);
    }
    acc
}

#[inline]
#[target_feature(enable = "avx512f")]
fn matrix(factor: u8) -> __m512i {
    _mm512_set1_epi64(MATRICES[usize::from(factor)] as i64)
}

/// The lowest `len` bytes of a register.
const fn lanes(len: usize) -> u64 {
    if len >= UNIT {
        u64::MAX
    } else {
        (1 << len) - 1
    }
}

/// # Safety
/// Each view must have `len` bytes to read, `out` as many to write.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
unsafe fn combine(views: &Views<'_>, out: *mut u8, len: usize, add: bool) {
    let sources = views.weights.iter().zip(&views.start);
    let mut at = 0;
    while at + STRIP <= len {
        let mut acc = [_mm512_setzero_si512(); WIDE];
        if add {
            // SAFETY: a whole strip is left.
            acc = unsafe { load(out.add(at)) };
        }
        for (weight, start) in sources.clone() {
            // SAFETY: a whole strip is left, in this view as in all.
            let share = unsafe { load(start.add(at)) };
            acc = step(share, matrix(*weight), acc);
        }
        // SAFETY: a whole strip is left.
        unsafe { store(out.add(at), acc) };
        at += STRIP;
    }
    while at < len {
        let mask = lanes(len - at);
        let mut acc = _mm512_setzero_si512();
        if add {
            // SAFETY: the mask lets through only bytes that are there.
            acc = unsafe { _mm512_maskz_loadu_epi8(mask, out.add(at).cast()) };
        }
        for (weight, start) in sources.clone() {
            // SAFETY: the mask lets through only bytes that are there.
            let share = unsafe { _mm512_maskz_loadu_epi8(mask, start.add(at).cast()) };
            [acc] = step([share], matrix(*weight), [acc]);
        }
        // SAFETY: the mask lets through only bytes that are there.
        unsafe { _mm512_mask_storeu_epi8(out.add(at).cast(), mask, acc) };
        at += UNIT;
    }
}

/// The expanded key, each round key four times over, and the numbers of the next four blocks.
struct KeyStream {
    keys: [__m512i; 15],
    next: __m512i,
}

impl KeyStream {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(keys: &[u8; 240], counter: u64) -> Self {
        let mut wide = [_mm512_setzero_si512(); 15];
        for (number, wide) in wide.iter_mut().enumerate() {
            *wide = _mm512_broadcast_i32x4(round_key(keys, number));
        }
        let counter = counter as i64;
        Self {
            keys: wide,
            next: _mm512_add_epi64(
                _mm512_set_epi64(0, counter, 0, counter, 0, counter, 0, counter),
                _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0),
            ),
        }
    }

    /// The next `N · 64` bytes.
    #[inline]
    #[target_feature(enable = "avx512f,vaes")]
    fn take<const N: usize>(&mut self) -> [__m512i; N] {
        let mut state = [_mm512_setzero_si512(); N];
        let four = _mm512_set_epi64(0, 4, 0, 4, 0, 4, 0, 4);
        for state in &mut state {
            *state = _mm512_xor_si512(self.next, self.keys[0]);
            self.next = _mm512_add_epi64(self.next, four);
        }
        for round in 1..14 {
            for state in &mut state {
                *state = _mm512_aesenc_epi128(*state, self.keys[round]);
            }
        }
        for state in &mut state {
            *state = _mm512_aesenclast_epi128(*state, self.keys[14]);
        }
        state
    }
}

/// # Safety
/// Each place must have as many bytes to write as `secret` has, and overlap neither it nor another.
#[target_feature(enable = "avx512f,avx512bw,gfni,vaes")]
unsafe fn split(stream: &mut Stream, secret: &[u8], places: &Places<'_>) {
    let mut keys = KeyStream::new(stream.keys.expose(), stream.counter);
    let whole = secret.len() - secret.len() % STRIP;
    let (from, places) = (secret.as_ptr(), &places.start[..places.count]);
    let scratch = stream.scratch.expose_mut();
    for at in (0..whole).step_by(STRIP) {
        // SAFETY: a whole strip is left, in the secret as in all places.
        let block = unsafe { load::<WIDE>(from.add(at)) };
        match stream.degree {
            1 => {
                let linear = keys.take();
                // SAFETY: a whole strip is left in all places.
                unsafe { share_line(block, linear, places, at) };
            }
            2 => {
                let (linear, square) = (keys.take(), keys.take());
                // SAFETY: a whole strip is left in all places.
                unsafe { share_parabola(block, linear, square, places, at) };
            }
            degree => {
                let runs = &mut scratch[..degree * STRIP];
                for run in runs.chunks_exact_mut(STRIP) {
                    // SAFETY: the run is a strip long.
                    unsafe { store::<WIDE>(run.as_mut_ptr(), keys.take()) };
                }
                // SAFETY: a whole strip is left in all places.
                unsafe { share_any(block, runs, places, at) };
            }
        }
    }
    let rest = secret.len() - whole;
    if rest == 0 {
        return;
    }
    // The last strip: runs of whole units, of which the end may be left over.
    let width = rest.next_multiple_of(UNIT);
    let runs = &mut scratch[..stream.degree * width];
    for run in runs.chunks_exact_mut(UNIT) {
        // SAFETY: the run is a unit long.
        unsafe { store::<1>(run.as_mut_ptr(), keys.take()) };
    }
    for offset in (0..rest).step_by(UNIT) {
        let (at, mask) = (whole + offset, lanes(rest - offset));
        // SAFETY: the mask lets through only bytes that are there.
        let block = unsafe { _mm512_maskz_loadu_epi8(mask, from.add(at).cast()) };
        for (index, place) in (1..=u8::MAX).zip(places) {
            let matrix = matrix(index);
            let mut value = _mm512_setzero_si512();
            for run in runs.chunks_exact(width).rev() {
                // SAFETY: each run has whole units, and `offset` is where one of them begins.
                let run = unsafe { load::<1>(run.as_ptr().add(offset)) };
                [value] = step([value], matrix, run);
            }
            [value] = step([value], matrix, [block]);
            // SAFETY: the mask lets through only bytes that are there.
            unsafe { _mm512_mask_storeu_epi8(place.add(at).cast(), mask, value) };
        }
    }
}

/// k = 2. The values at 2m and 2m + 1 differ by the coefficient, since 1 is what is added to 2m: every second product is saved.
///
/// # Safety
/// Each place must have a strip to write at `at`.
#[inline]
#[target_feature(enable = "avx512f,gfni")]
unsafe fn share_line(
    block: [__m512i; WIDE],
    linear: [__m512i; WIDE],
    places: &[*mut u8],
    at: usize,
) {
    let mut even = block;
    for (index, place) in (1..=u8::MAX).zip(places) {
        let value = if index % 2 == 0 {
            even = step(linear, matrix(index), block);
            even
        } else {
            sum(even, linear)
        };
        // SAFETY: the caller's promise.
        unsafe { store(place.add(at), value) };
    }
}

/// k = 3. Here they differ by the sum of both coefficients, since (x + 1)² = x² + 1.
///
/// # Safety
/// Each place must have a strip to write at `at`.
#[inline]
#[target_feature(enable = "avx512f,gfni")]
unsafe fn share_parabola(
    block: [__m512i; WIDE],
    linear: [__m512i; WIDE],
    square: [__m512i; WIDE],
    places: &[*mut u8],
    at: usize,
) {
    let both = sum(linear, square);
    let mut even = block;
    for (index, place) in (1..=u8::MAX).zip(places) {
        let value = if index % 2 == 0 {
            let matrix = matrix(index);
            even = step(step(square, matrix, linear), matrix, block);
            even
        } else {
            sum(even, both)
        };
        // SAFETY: the caller's promise.
        unsafe { store(place.add(at), value) };
    }
}

/// Any k, by Horner's rule over `runs`, which hold the coefficients of x, x², …, a strip of each.
///
/// # Safety
/// Each place must have a strip to write at `at`.
#[inline]
#[target_feature(enable = "avx512f,gfni")]
unsafe fn share_any(block: [__m512i; WIDE], runs: &[u8], places: &[*mut u8], at: usize) {
    for (index, place) in (1..=u8::MAX).zip(places) {
        let matrix = matrix(index);
        let mut runs = runs.chunks_exact(STRIP).rev();
        let mut value = match runs.next() {
            // SAFETY: the run is a strip long.
            Some(leading) => unsafe { load::<WIDE>(leading.as_ptr()) },
            None => [_mm512_setzero_si512(); WIDE],
        };
        for run in runs {
            // SAFETY: the run is a strip long.
            value = step(value, matrix, unsafe { load(run.as_ptr()) });
        }
        value = step(value, matrix, block);
        // SAFETY: the caller's promise.
        unsafe { store(place.add(at), value) };
    }
}

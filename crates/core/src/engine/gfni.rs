//! The engine with 64 bytes in a register: products by `GF2P8AFFINEQB`, key stream by VAES in the same loop.
//!
//! For one and two coefficients they never leave the registers; more go through a piece of memory that stays in the
//! nearest cache and is erased.

use core::arch::x86_64::*;

use super::aes::{Aes, round_key};
use super::tables::{CLASSES, MATRICES};
use super::{Places, STRIP, Stream, UNIT, Views};

/// Registers of one strip.
const WIDE: usize = STRIP / UNIT;
/// How far ahead of the writing memory is claimed.
const AHEAD: usize = 4 * STRIP;

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

/// Asks for a strip of memory to be brought near for writing, so that stores don't hold up the key stream. Where there is no
/// such memory nothing happens.
#[inline]
#[target_feature(enable = "avx512f")]
fn claim(at: *mut u8) {
    for line in 0..WIDE {
        _mm_prefetch::<_MM_HINT_ET0>(at.wrapping_add(line * UNIT).cast());
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sum<const N: usize>(mut one: [__m512i; N], other: [__m512i; N]) -> [__m512i; N] {
    for lane in 0..N {
        one[lane] = _mm512_xor_si512(one[lane], other[lane]);
    }
    one
}

#[inline]
#[target_feature(enable = "avx512f,gfni")]
fn product<const N: usize>(mut bytes: [__m512i; N], matrix: __m512i) -> [__m512i; N] {
    for bytes in &mut bytes {
        *bytes = _mm512_gf2p8affine_epi64_epi8::<0>(*bytes, matrix);
    }
    bytes
}

/// `acc · factor + addend`, the factor as its matrix.
#[inline]
#[target_feature(enable = "avx512f,gfni")]
fn step<const N: usize>(
    mut acc: [__m512i; N],
    matrix: __m512i,
    addend: [__m512i; N],
) -> [__m512i; N] {
    for lane in 0..N {
        acc[lane] = _mm512_xor_si512(
            _mm512_gf2p8affine_epi64_epi8::<0>(acc[lane], matrix),
            addend[lane],
        );
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

/// So many views that their matrices and sums stay in registers.
const FEW: usize = 8;
/// With more views, the sum of the first is taken up again so soon that it is still near.
const BLOCK: usize = 16 * STRIP;

/// # Safety
/// Each view must have `len` bytes to read, `out` as many to write.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
unsafe fn combine(views: &Views<'_>, out: *mut u8, len: usize, add: bool) {
    let count = views.weights.len();
    let block = if count <= FEW { len } else { BLOCK };
    let mut from = 0;
    while from < len {
        let to = len.min(from + block);
        let mut first = 0;
        while first < count || first == 0 {
            let add = add || first > 0;
            // SAFETY: the caller's promise; so many views are left.
            unsafe {
                match (count - first, add) {
                    // Of nothing the sum is zero.
                    (0, false) => core::ptr::write_bytes(out.add(from), 0, to - from),
                    (0, true) => {}
                    (1, false) => few::<1, false>(views, first, out, from, to),
                    (2, false) => few::<2, false>(views, first, out, from, to),
                    (3, false) => few::<3, false>(views, first, out, from, to),
                    (4, false) => few::<4, false>(views, first, out, from, to),
                    (5, false) => few::<5, false>(views, first, out, from, to),
                    (6, false) => few::<6, false>(views, first, out, from, to),
                    (7, false) => few::<7, false>(views, first, out, from, to),
                    (_, false) => few::<FEW, false>(views, first, out, from, to),
                    (1, true) => few::<1, true>(views, first, out, from, to),
                    (2, true) => few::<2, true>(views, first, out, from, to),
                    (3, true) => few::<3, true>(views, first, out, from, to),
                    (4, true) => few::<4, true>(views, first, out, from, to),
                    (5, true) => few::<5, true>(views, first, out, from, to),
                    (6, true) => few::<6, true>(views, first, out, from, to),
                    (7, true) => few::<7, true>(views, first, out, from, to),
                    (_, true) => few::<FEW, true>(views, first, out, from, to),
                }
            }
            first += FEW;
        }
        from = to;
    }
}

/// The bytes `from..to` of the sum of `K` views, or of that added to `out`.
///
/// # Safety
/// There must be `K` views from `first` on, each with bytes to read there, and `out` with bytes to write.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
unsafe fn few<const K: usize, const ADD: bool>(
    views: &Views<'_>,
    first: usize,
    out: *mut u8,
    from: usize,
    to: usize,
) {
    let mut matrices = [_mm512_setzero_si512(); K];
    let mut starts = [core::ptr::null(); K];
    // Counted, here and below: the adapters of iterators are not always compiled into a function with features of its own.
    for number in 0..K {
        matrices[number] = matrix(views.weights[first + number]);
        starts[number] = views.start(first + number);
    }
    let mut at = from;
    while at + STRIP <= to {
        // SAFETY: a whole strip is left, in all views and in the result.
        unsafe {
            let share = load::<WIDE>(starts[0].add(at));
            let mut acc = if ADD {
                step(share, matrices[0], load(out.add(at)))
            } else {
                product(share, matrices[0])
            };
            for number in 1..K {
                acc = step(load(starts[number].add(at)), matrices[number], acc);
            }
            store(out.add(at), acc);
        }
        at += STRIP;
    }
    while at < to {
        let mask = lanes(to - at);
        // SAFETY: the mask lets through only bytes that are there.
        unsafe {
            let mut acc = [_mm512_setzero_si512()];
            if ADD {
                acc = [_mm512_maskz_loadu_epi8(mask, out.add(at).cast())];
            }
            for number in 0..K {
                let share = _mm512_maskz_loadu_epi8(mask, starts[number].add(at).cast());
                acc = step([share], matrices[number], acc);
            }
            _mm512_mask_storeu_epi8(out.add(at).cast(), mask, acc[0]);
        }
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
    let degree = stream.degree;
    let whole = secret.len() - secret.len() % STRIP;
    let (from, places) = (secret.as_ptr(), &places.start[..places.count]);
    let scratch = stream
        .scratch
        .take(degree * secret.len().min(STRIP).div_ceil(UNIT))
        .as_flattened_mut();
    for at in (0..whole).step_by(STRIP) {
        // SAFETY: a whole strip is left, in the secret as in all places.
        let block = unsafe { load::<WIDE>(from.add(at)) };
        let put = |place: *mut u8, value| {
            claim(place.wrapping_add(at + AHEAD));
            // SAFETY: a whole strip is left in all places.
            unsafe { store::<WIDE>(place.add(at), value) };
        };
        match degree {
            1 => {
                let linear = keys.take();
                shares(block, 1, |_| linear, places, put);
            }
            2 => {
                let runs = [keys.take(), keys.take()];
                shares(block, 2, |number| runs[number], places, put);
            }
            3 => {
                let runs = [keys.take(), keys.take(), keys.take()];
                shares(block, 3, |number| runs[number], places, put);
            }
            4 => {
                let runs = [keys.take(), keys.take(), keys.take(), keys.take()];
                shares(block, 4, |number| runs[number], places, put);
            }
            _ => {
                let runs = &mut scratch[..degree * STRIP];
                for run in runs.chunks_exact_mut(STRIP) {
                    // SAFETY: the run is a strip long.
                    unsafe { store::<WIDE>(run.as_mut_ptr(), keys.take()) };
                }
                let runs = runs.as_ptr();
                // SAFETY: there are `degree` runs, each a strip long.
                let run = |number: usize| unsafe { load(runs.add(number * STRIP)) };
                shares(block, degree, run, places, put);
            }
        }
    }
    let rest = secret.len() - whole;
    if rest == 0 {
        return;
    }
    // The last strip: runs of whole units, of which the end may be left over.
    let width = rest.next_multiple_of(UNIT);
    let runs = &mut scratch[..degree * width];
    for unit in runs.chunks_exact_mut(UNIT) {
        // SAFETY: the unit is a register long.
        unsafe { store::<1>(unit.as_mut_ptr(), keys.take()) };
    }
    let runs = runs.as_ptr();
    for offset in (0..rest).step_by(UNIT) {
        let (at, mask) = (whole + offset, lanes(rest - offset));
        // SAFETY: the mask lets through only bytes that are there.
        let block = unsafe { _mm512_maskz_loadu_epi8(mask, from.add(at).cast()) };
        // SAFETY: there are `degree` runs of whole units, and `offset` is where one of them begins.
        let run = |number: usize| unsafe { load(runs.add(number * width + offset)) };
        let put = |place: *mut u8, [value]: [__m512i; 1]| {
            // SAFETY: the mask lets through only bytes that are there.
            unsafe { _mm512_mask_storeu_epi8(place.add(at).cast(), mask, value) };
        };
        shares([block], degree, run, places, put);
    }
}

/// Gives `put` all shares of `block` in turn. `run` gives r₁, r₂ … (see [`CLASSES`]), counted from 0, at the same place.
#[inline]
#[target_feature(enable = "avx512f,gfni")]
fn shares<const N: usize>(
    block: [__m512i; N],
    degree: usize,
    run: impl Fn(usize) -> [__m512i; N],
    places: &[*mut u8],
    put: impl Fn(*mut u8, [__m512i; N]),
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
            let y = matrix(CLASSES[class]);
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
        let value = step(odd, matrix(2 * class as u8), even);
        put(places[2 * class - 1], value);
        if 2 * class < places.len() {
            put(places[2 * class], sum(value, odd));
        }
        class += 1;
    }
}

//! The two engines with 32 bytes in a register. They differ in how a register is multiplied by a public factor: `avx2` by two
//! shuffles, which look each nibble's product up among 16 in a register, `gfni256` by one affine map.
//!
//! The key stream is written to a piece of memory that stays in the nearest cache, strip by strip, and is erased
//! in the end.

use core::arch::x86_64::*;

use super::aes::Aes;
use super::tables::{CLASSES, MATRICES, NIBBLES, Nibbles};
use super::{BLOCK, Places, STRIP, Stream, UNIT, Views};

/// Bytes in a register.
const WIDTH: usize = 32;
/// Registers taken together, so that one need not wait for another: when shares are made, and when they are added up, which takes
/// registers for the factors.
const GROUP: usize = 4;
const PAIR: usize = 2;
/// How far ahead of the writing memory is claimed.
const AHEAD: usize = 4 * STRIP;

/// The proof that the processor has AVX2 and AES.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(pub(super) Aes);

/// The proof that the processor has AVX2, GFNI and AES.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gfni256(pub(super) Aes);

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        Aes::detect()
            .filter(|_| std::is_x86_feature_detected!("avx2"))
            .map(Self)
    }

    pub(super) fn combine(self, views: &Views<'_>, out: &mut [u8], add: bool) {
        // SAFETY: `self` exists only where `detect` found the instructions; `Views::new` has checked that each view has as many bytes as `out`.
        unsafe { avx2::combine(views, out.as_mut_ptr(), out.len(), add) }
    }

    pub(super) fn split(self, stream: &mut Stream, secret: &[u8], places: &Places<'_>) {
        assert!(places.len >= secret.len(), "each place takes the share");
        // SAFETY: `self` exists only where `detect` found the instructions; each place has as many bytes as `secret`, and
        // none overlaps another or the secret, since they are borrowed apart.
        unsafe { avx2::split(self.0, stream, secret, places) }
    }
}

impl Gfni256 {
    pub(super) fn detect() -> Option<Self> {
        let has = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("gfni");
        Aes::detect().filter(|_| has).map(Self)
    }

    pub(super) fn combine(self, views: &Views<'_>, out: &mut [u8], add: bool) {
        // SAFETY: as for `Avx2`.
        unsafe { gfni::combine(views, out.as_mut_ptr(), out.len(), add) }
    }

    pub(super) fn split(self, stream: &mut Stream, secret: &[u8], places: &Places<'_>) {
        assert!(places.len >= secret.len(), "each place takes the share");
        // SAFETY: as for `Avx2`.
        unsafe { gfni::split(self.0, stream, secret, places) }
    }
}

/// A factor as the shuffles take it: each table in both halves of a register.
#[derive(Clone, Copy)]
struct Tables {
    low: __m256i,
    high: __m256i,
}

#[inline]
#[target_feature(enable = "avx2")]
fn tables(factor: u8) -> Tables {
    let Nibbles { low, high } = &NIBBLES[usize::from(factor)];
    // SAFETY: both tables have 16 bytes; the instruction asks for no alignment.
    let (low, high) = unsafe {
        (
            _mm_loadu_si128(low.as_ptr().cast()),
            _mm_loadu_si128(high.as_ptr().cast()),
        )
    };
    Tables {
        low: _mm256_broadcastsi128_si256(low),
        high: _mm256_broadcastsi128_si256(high),
    }
}

/// The secret nibbles choose among the 16 bytes of one register, which takes the same time for all of them.
#[inline]
#[target_feature(enable = "avx2")]
fn shuffled(bytes: __m256i, tables: Tables) -> __m256i {
    let nibble = _mm256_set1_epi8(15);
    let low = _mm256_and_si256(bytes, nibble);
    let high = _mm256_and_si256(_mm256_srli_epi64::<4>(bytes), nibble);
    _mm256_xor_si256(
        _mm256_shuffle_epi8(tables.low, low),
        _mm256_shuffle_epi8(tables.high, high),
    )
}

#[inline]
#[target_feature(enable = "avx2")]
fn matrix(factor: u8) -> __m256i {
    _mm256_set1_epi64x(MATRICES[usize::from(factor)] as i64)
}

#[inline]
#[target_feature(enable = "avx2,gfni")]
fn mapped(bytes: __m256i, matrix: __m256i) -> __m256i {
    _mm256_gf2p8affine_epi64_epi8::<0>(bytes, matrix)
}

/// `N` registers from `at` on.
///
/// # Safety
/// There must be `32 · N` bytes to read.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load<const N: usize>(at: *const u8) -> [__m256i; N] {
    let mut vectors = [_mm256_setzero_si256(); N];
    for (number, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: the caller's promise; the instruction asks for no alignment.
        *vector = unsafe { _mm256_loadu_si256(at.add(number * WIDTH).cast()) };
    }
    vectors
}

/// # Safety
/// There must be `32 · N` bytes to write.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store<const N: usize>(at: *mut u8, vectors: [__m256i; N]) {
    for (number, vector) in vectors.into_iter().enumerate() {
        // SAFETY: the caller's promise; the instruction asks for no alignment.
        unsafe { _mm256_storeu_si256(at.add(number * WIDTH).cast(), vector) };
    }
}

/// Fewer bytes than a register has, zeros behind them.
///
/// # Safety
/// There must be `len` bytes to read, at most 32.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_some(at: *const u8, len: usize) -> [__m256i; 1] {
    let mut bytes = [0_u8; WIDTH];
    // SAFETY: the caller's promise; `bytes` has 32 bytes of its own.
    unsafe {
        core::ptr::copy_nonoverlapping(at, bytes.as_mut_ptr(), len);
        load(bytes.as_ptr())
    }
}

/// # Safety
/// There must be `len` bytes to write, at most 32.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store_some(at: *mut u8, len: usize, vector: [__m256i; 1]) {
    let mut bytes = [0_u8; WIDTH];
    // SAFETY: the caller's promise; `bytes` has 32 bytes of its own.
    unsafe {
        store(bytes.as_mut_ptr(), vector);
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), at, len);
    }
}

/// Asks for a group of memory to be brought near for writing, so that stores don't hold up the rest. Where there is no such
/// memory nothing happens.
#[inline]
#[target_feature(enable = "avx2")]
fn claim(at: *mut u8) {
    _mm_prefetch::<_MM_HINT_ET0>(at.cast());
    _mm_prefetch::<_MM_HINT_ET0>(at.wrapping_add(UNIT).cast());
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum<const N: usize>(mut one: [__m256i; N], other: [__m256i; N]) -> [__m256i; N] {
    for lane in 0..N {
        one[lane] = _mm256_xor_si256(one[lane], other[lane]);
    }
    one
}

/// Each byte times 2: shifted, and where a bit falls off at the top, the modulus is taken away.
#[inline]
#[target_feature(enable = "avx2")]
fn doubled<const N: usize>(mut vectors: [__m256i; N]) -> [__m256i; N] {
    for vector in &mut vectors {
        let fallen = _mm256_cmpgt_epi8(_mm256_setzero_si256(), *vector);
        let modulus = _mm256_and_si256(fallen, _mm256_set1_epi8(0x1D));
        *vector = _mm256_xor_si256(_mm256_add_epi8(*vector, *vector), modulus);
    }
    vectors
}

macro_rules! kernels {
    ($name:ident, $features:literal, $factor:ty, $prepare:ident, $product:ident, $small:literal) => {
        mod $name {
            use super::*;

            /// `acc · factor + addend`.
            #[inline]
            #[target_feature(enable = $features)]
            fn step<const N: usize>(
                mut acc: [__m256i; N],
                factor: $factor,
                addend: [__m256i; N],
            ) -> [__m256i; N] {
                for lane in 0..N {
                    acc[lane] = _mm256_xor_si256($product(acc[lane], factor), addend[lane]);
                }
                acc
            }

            /// # Safety
            /// Each view must have `len` bytes to read, `out` as many to write.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn combine(views: &Views<'_>, out: *mut u8, len: usize, add: bool) {
                // Known numbers of shares, so that where they begin and their factors are looked up once.
                let sums = [
                    some::<0>, some::<1>, some::<2>, some::<3>, some::<4>, some::<5>, some::<6>,
                    some::<7>, some::<8>,
                ];
                const MOST: usize = 8;
                let count = views.weights.len();
                let mut first = 0;
                loop {
                    let some = (count - first).min(MOST);
                    // SAFETY: the caller's promise.
                    unsafe { sums[some](views, first, out, len, add || first > 0) };
                    first += some;
                    if first == count {
                        return;
                    }
                }
            }

            /// The same for `K` of the views, from number `first` on.
            ///
            /// # Safety
            /// As for `combine`.
            #[target_feature(enable = $features)]
            unsafe fn some<const K: usize>(
                views: &Views<'_>,
                first: usize,
                out: *mut u8,
                len: usize,
                add: bool,
            ) {
                let mut weights = [0; K];
                let mut starts = [core::ptr::null::<u8>(); K];
                let mut factors = [$prepare(0); K];
                // Whether there is anything whose double is to be taken.
                let mut twice = false;
                for number in 0..K {
                    weights[number] = views.weights[first + number];
                    starts[number] = views.start(first + number);
                    factors[number] = $prepare(weights[number]);
                    twice |= weights[number] <= $small && weights[number] & 2 != 0;
                }
                let mut at = 0;
                while at + PAIR * WIDTH <= len {
                    let mut acc = [_mm256_setzero_si256(); PAIR];
                    if add {
                        // SAFETY: a whole pair is left.
                        acc = unsafe { load(out.add(at)) };
                    }
                    let mut double = [_mm256_setzero_si256(); PAIR];
                    for number in 0..K {
                        // SAFETY: a whole pair is left, in this view as in all.
                        let share = unsafe { load(starts[number].add(at)) };
                        if weights[number] > $small {
                            acc = step(share, factors[number], acc);
                            continue;
                        }
                        if weights[number] & 1 != 0 {
                            acc = sum(acc, share);
                        }
                        if weights[number] & 2 != 0 {
                            double = sum(double, share);
                        }
                    }
                    if twice {
                        acc = sum(acc, doubled(double));
                    }
                    // SAFETY: a whole pair is left.
                    unsafe { store(out.add(at), acc) };
                    at += PAIR * WIDTH;
                }
                while at < len {
                    let some = (len - at).min(WIDTH);
                    let mut acc = [_mm256_setzero_si256()];
                    if add {
                        // SAFETY: so many bytes are left.
                        acc = unsafe { load_some(out.add(at), some) };
                    }
                    for number in 0..K {
                        // SAFETY: so many bytes are left, in this view as in all.
                        let share = unsafe { load_some(starts[number].add(at), some) };
                        acc = step(share, factors[number], acc);
                    }
                    // SAFETY: so many bytes are left.
                    unsafe { store_some(out.add(at), some, acc) };
                    at += WIDTH;
                }
            }

            /// # Safety
            /// Each place must have as many bytes to write as `secret` has, and overlap neither it nor another.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn split(
                aes: Aes,
                stream: &mut Stream,
                secret: &[u8],
                places: &Places<'_>,
            ) {
                let places = &places.start[..places.count];
                let mut counter = stream.counter;
                let mut start = 0;
                for strip in secret.chunks(STRIP) {
                    let width = strip.len().next_multiple_of(UNIT);
                    let runs = stream.scratch.take(stream.degree * (width / UNIT));
                    aes.fill(stream.keys.expose(), counter, runs);
                    counter += (runs.len() * (UNIT / BLOCK)) as u64;
                    let runs = runs.as_ptr().cast::<u8>();
                    let mut at = 0;
                    while at + GROUP * WIDTH <= strip.len() {
                        // SAFETY: a whole group is left, in the secret and so in all runs and places.
                        let block = unsafe { load::<GROUP>(strip.as_ptr().add(at)) };
                        // SAFETY: the same.
                        let run = |number: usize| unsafe { load(runs.add(number * width + at)) };
                        let put = |place: *mut u8, value| {
                            claim(place.wrapping_add(start + at + AHEAD));
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
            #[target_feature(enable = $features)]
            fn shares<const N: usize>(
                block: [__m256i; N],
                degree: usize,
                run: impl Fn(usize) -> [__m256i; N],
                places: &[*mut u8],
                put: impl Fn(*mut u8, [__m256i; N]),
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
                        let y = $prepare(CLASSES[class]);
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
                    let value = step(odd, $prepare(2 * class as u8), even);
                    put(places[2 * class - 1], value);
                    if 2 * class < places.len() {
                        put(places[2 * class], sum(value, odd));
                    }
                    class += 1;
                }
            }
        }
    };
}

// The last is the greatest weight that is added up without a product: twice the sum of all shares with the second bit in their weight, and the
// sum of those with the first. Where a product is one instruction, none is.
kernels!(avx2, "avx2", Tables, tables, shuffled, 3);
kernels!(gfni, "avx2,gfni", __m256i, matrix, mapped, 0);

//! The bulk kernels: one readable reference in ordinary registers and its fast twins, chosen when the program runs.
//!
//! | engine     | products                                                    | coefficients        | processors                |
//! |------------|-------------------------------------------------------------|---------------------|---------------------------|
//! | `portable` | shift and exclusive or, eight bytes in a word               | ChaCha20            | all                       |
//! | `avx2`     | `PSHUFB`, two tables of 16 products in registers            | AES-256-CTR         | Intel from 2013, AMD from 2015 |
//! | `gfni256`  | `GF2P8AFFINEQB`, the factor as a matrix of bits, 32 bytes   | AES-256-CTR         | AMD Zen 4, Intel without AVX-512 |
//! | `gfni512`  | the same with 64 bytes, the key stream fused in             | AES-256-CTR (VAES)  | Intel Ice Lake, AMD Zen 4 and later |
//! | `neon`     | `TBL`, as `avx2`                                            | AES-256-CTR         | 64-bit ARM with AES       |
//!
//! Factors (share indices and weights) are public: they choose tables and matrices. The bytes are secret and meet only
//! shifts, masks, exclusive or, and the shuffles and affine maps of one register, all of which take the same time for all values; no byte ever
//! chooses an address or a branch.
//!
//! The environment variable `WARIFU_ENGINE` with one of these names forces an engine, for tests and measurements. It is
//! read once. A name that is unknown, or that this processor does not have, gives `portable`, which is right everywhere;
//! [`name`] says what is in use. All engines give the same results for the same coefficients.

#![cfg_attr(
    not(all(feature = "std", any(target_arch = "x86_64", target_arch = "aarch64"))),
    allow(dead_code, reason = "there is only the portable engine")
)]

pub(crate) mod portable;

#[cfg(all(feature = "std", target_arch = "x86_64"))]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
mod aes;
#[cfg(all(feature = "std", target_arch = "x86_64"))]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
mod gfni;
#[cfg(all(feature = "std", target_arch = "aarch64"))]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
mod neon;
mod tables;
#[cfg(all(feature = "std", target_arch = "x86_64"))]
#[allow(unsafe_code, reason = "instructions that not every processor has")]
mod wide256;

#[cfg(test)]
mod tests;
#[cfg(all(test, feature = "std"))]
pub(crate) use self::tests::with;

use core::marker::PhantomData;

use crate::secret::{Secret, SecretBytes};

/// As many shares as there can be.
const MOST: usize = 255;

/// What is shared at one go: for each strip of the secret the key stream gives k − 1 runs of coefficients as long as it. The last strip is shorter, rounded up to
/// whole [`UNIT`]s.
pub(crate) const STRIP: usize = 256;
pub(crate) const UNIT: usize = 64;

/// A block of the cipher that gives the coefficients.
const BLOCK: usize = 16;

/// The expanded key of AES-256.
pub(crate) type RoundKeys = Secret<240>;

/// How products and coefficients are computed. A variant that needs instructions holds the proof that they are there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    Portable,
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    Avx2(wide256::Avx2),
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    Gfni256(wide256::Gfni256),
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    Gfni512(gfni::Gfni512),
    #[cfg(all(feature = "std", target_arch = "aarch64"))]
    Neon(neon::Neon),
}

/// The name of the engine in use, as `WARIFU_ENGINE` takes it.
///
/// ```
/// assert!(warifu_core::engine::available().any(|name| name == warifu_core::engine::name()));
/// ```
#[must_use]
pub fn name() -> &'static str {
    Engine::current().name()
}

/// The names of all engines that this processor has, the quickest first; the last is always `portable`.
pub fn available() -> impl Iterator<Item = &'static str> {
    Engine::available().map(Engine::name)
}

impl Engine {
    const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Self::Avx2(_) => "avx2",
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Self::Gfni256(_) => "gfni256",
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Self::Gfni512(_) => "gfni512",
            #[cfg(all(feature = "std", target_arch = "aarch64"))]
            Self::Neon(_) => "neon",
        }
    }

    /// All engines of this processor, the quickest first.
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        let engines = [
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            gfni::Gfni512::detect().map(Self::Gfni512),
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            wide256::Gfni256::detect().map(Self::Gfni256),
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            wide256::Avx2::detect().map(Self::Avx2),
            #[cfg(all(feature = "std", target_arch = "aarch64"))]
            neon::Neon::detect().map(Self::Neon),
            Some(Self::Portable),
        ];
        engines.into_iter().flatten()
    }

    #[cfg(feature = "std")]
    fn choose() -> Self {
        let asked = std::env::var_os("WARIFU_ENGINE").filter(|name| !name.is_empty());
        let Some(wanted) = asked else {
            return Self::available().next().unwrap_or(Self::Portable);
        };
        Self::available()
            .find(|engine| wanted == engine.name())
            .unwrap_or(Self::Portable)
    }

    /// The engine in use.
    #[cfg(feature = "std")]
    pub(crate) fn current() -> Self {
        static CHOSEN: std::sync::OnceLock<Engine> = std::sync::OnceLock::new();
        #[cfg(test)]
        if let Some(engine) = tests::FORCED.get() {
            return engine;
        }
        *CHOSEN.get_or_init(Self::choose)
    }

    /// The engine in use: without an operating system there is no asking what the processor has.
    #[cfg(not(feature = "std"))]
    pub(crate) fn current() -> Self {
        Self::Portable
    }

    /// A key stream for polynomials of this degree, 1 at least, where the engine makes its coefficients itself. `longest` is the
    /// longest secret that will be shared: no more memory than that needs is taken.
    pub(crate) fn stream(self, key: &Secret<32>, degree: usize, longest: usize) -> Option<Stream> {
        let (engine, keys) = match self {
            Self::Portable => {
                let _ = (key, degree, longest);
                return None;
            }
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Self::Avx2(engine) => (Fused::Avx2(engine), engine.0.expand(key)),
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Self::Gfni256(engine) => (Fused::Gfni256(engine), engine.0.expand(key)),
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Self::Gfni512(engine) => (Fused::Gfni512(engine), engine.0.expand(key)),
            #[cfg(all(feature = "std", target_arch = "aarch64"))]
            Self::Neon(engine) => (Fused::Neon(engine), engine.expand(key)),
        };
        #[cfg_attr(
            not(all(feature = "std", any(target_arch = "x86_64", target_arch = "aarch64"))),
            allow(unreachable_code, reason = "there is only the portable engine")
        )]
        Some(Stream::new(engine, keys, degree, longest))
    }

    /// `out = Σ weights[i] · shares[i]`, or that added to `out`, where each share is taken from byte `at` on. There is a
    /// weight for each share.
    pub(crate) fn combine(
        self,
        weights: &[u8],
        shares: &[&[u8]],
        at: usize,
        out: &mut [u8],
        add: bool,
    ) {
        assert!(weights.len() == shares.len(), "a weight for each share");
        match self {
            Self::Portable => {
                if !add {
                    out.fill(0);
                }
                // Block by block, so that the sum stays in cache while the shares pass.
                for (number, out) in out.chunks_mut(16384).enumerate() {
                    let at = at + number * 16384;
                    for (weight, share) in weights.iter().zip(shares) {
                        portable::mul_acc(out, &share[at..at + out.len()], *weight);
                    }
                }
            }
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Self::Avx2(engine) => {
                engine.combine(&Views::new(weights, shares, at, out.len()), out, add)
            }
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Self::Gfni256(engine) => {
                engine.combine(&Views::new(weights, shares, at, out.len()), out, add)
            }
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Self::Gfni512(engine) => {
                engine.combine(&Views::new(weights, shares, at, out.len()), out, add)
            }
            #[cfg(all(feature = "std", target_arch = "aarch64"))]
            Self::Neon(engine) => {
                engine.combine(&Views::new(weights, shares, at, out.len()), out, add)
            }
        }
    }

    /// `dst += c · src`, over the shorter of the two.
    pub(crate) fn mul_acc(self, dst: &mut [u8], src: &[u8], c: u8) {
        let len = dst.len().min(src.len());
        self.combine(&[c], &[src], 0, &mut dst[..len], true);
    }
}

/// The engines that make their coefficients themselves, in the loop that uses them: all but `portable`, for which see
/// `shamir::splitter`.
#[derive(Clone, Copy)]
enum Fused {
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    Avx2(wide256::Avx2),
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    Gfni256(wide256::Gfni256),
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    Gfni512(gfni::Gfni512),
    #[cfg(all(feature = "std", target_arch = "aarch64"))]
    Neon(neon::Neon),
}

/// AES-256 in counter mode, read on and on: block i of the key stream is the encryption of i as a little-endian number of 128 bits.
pub(crate) struct Stream {
    engine: Fused,
    keys: RoundKeys,
    counter: u64,
    /// How many coefficients each polynomial has besides the secret.
    degree: usize,
    /// Room for the coefficients of one strip.
    scratch: Scratch,
}

/// Memory that begins with a line of the cache, without which what was just written could not be read back at once.
struct Scratch(SecretBytes);

impl Scratch {
    #[inline]
    fn take(&mut self, units: usize) -> &mut [[u8; UNIT]] {
        let bytes = self.0.expose_mut();
        let skip = bytes.as_ptr().align_offset(UNIT).min(UNIT);
        &mut bytes[skip..].as_chunks_mut().0[..units]
    }
}

impl Stream {
    fn new(engine: Fused, keys: RoundKeys, degree: usize, longest: usize) -> Self {
        // The kernels fill it by four units at a time.
        let width = longest.clamp(1, STRIP).next_multiple_of(UNIT);
        Self {
            engine,
            keys,
            counter: 0,
            degree,
            scratch: Scratch(SecretBytes::with_len(
                (degree * width).next_multiple_of(STRIP) + UNIT,
            )),
        }
    }

    /// Shares `secret` with coefficients from the key stream: the place number i gets the share of index i + 1.
    pub(crate) fn split(&mut self, secret: &[u8], places: &Places<'_>) {
        assert!(
            places.len == secret.len() && self.degree > 0,
            "places as long as the secret, and a polynomial that is not constant"
        );
        match self.engine {
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Fused::Avx2(engine) => engine.split(self, secret, places),
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Fused::Gfni256(engine) => engine.split(self, secret, places),
            #[cfg(all(feature = "std", target_arch = "x86_64"))]
            Fused::Gfni512(engine) => engine.split(self, secret, places),
            #[cfg(all(feature = "std", target_arch = "aarch64"))]
            Fused::Neon(engine) => engine.split(self, secret, places),
        }
        #[cfg_attr(
            not(all(feature = "std", any(target_arch = "x86_64", target_arch = "aarch64"))),
            allow(unreachable_code, reason = "there is only the portable engine")
        )]
        {
            self.counter += self.blocks(secret.len());
        }
    }

    /// How many bytes of key stream the sharing of `len` bytes takes.
    pub(crate) fn bytes(&self, len: usize) -> u64 {
        self.blocks(len) * BLOCK as u64
    }

    /// How many blocks of key stream the sharing of `len` bytes takes.
    fn blocks(&self, len: usize) -> u64 {
        (len.div_ceil(UNIT) * (UNIT / BLOCK)) as u64 * self.degree as u64
    }
}

/// Shares to be added up, each with its weight: `len` bytes of each from `at` on.
struct Views<'a> {
    weights: &'a [u8],
    shares: &'a [&'a [u8]],
    at: usize,
}

impl<'a> Views<'a> {
    fn new(weights: &'a [u8], shares: &'a [&'a [u8]], at: usize, len: usize) -> Self {
        let fits = |share: &&[u8]| at.checked_add(len).is_some_and(|end| end <= share.len());
        assert!(shares.iter().all(fits), "each share covers the result");
        Self {
            weights,
            shares,
            at,
        }
    }

    /// Where the bytes of a share begin.
    #[inline(always)]
    fn start(&self, number: usize) -> *const u8 {
        self.shares[number][self.at..].as_ptr()
    }
}

/// Where n shares are to be written, each of `len` bytes. The borrow makes sure that no two of them overlap.
pub(crate) struct Places<'a> {
    start: [*mut u8; MOST],
    count: usize,
    len: usize,
    borrow: PhantomData<&'a mut [u8]>,
}

impl<'a> Places<'a> {
    /// `len` bytes of each place from `at` on.
    pub(crate) fn new(places: &'a mut [impl AsMut<[u8]>], at: usize, len: usize) -> Self {
        let mut start = [core::ptr::null_mut(); MOST];
        let count = places.len();
        for (start, place) in start[..count].iter_mut().zip(places) {
            *start = place.as_mut()[at..at + len].as_mut_ptr();
        }
        Self {
            start,
            count,
            len,
            borrow: PhantomData,
        }
    }
}

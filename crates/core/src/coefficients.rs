//! The coefficients of the polynomials: the one place where secrecy meets a generator.
//!
//! Shamir's theorem needs every coefficient uniform over all 256 values and independent of every other. Here they are a
//! key stream under a key of 32 bytes that the operating system gives for one operation (short secrets:
//! see `shamir::fresh`) and that is erased after it. This is the one computational assumption behind the scheme: nobody can tell that stream
//! from true randomness without the key. Asking the operating system for every coefficient would rest on the same
//! kind of generator inside the kernel and be thirty times slower.
//!
//! Which stream it is depends on the engine, and nothing in a share tells:
//! - `portable`: ChaCha20, which is quick and takes the same time for all keys in ordinary registers. This module.
//! - all others: AES-256 in counter mode by the processor's own instructions, made in the loop that uses it (`engine`), so that
//!   it never passes through memory where that can be avoided. It is tested to be the key stream of the crates `aes` and `ctr`. Under one key at
//!   most 2³⁰ blocks are used, which AES gives without repetition: that tells it from a random stream with an
//!   advantage of 2⁻⁶⁹ at most. AEGIS (RFC 10032) would be some percent quicker, and has been studied much less.
//!
//! What the engines hold in registers may be laid aside on the stack by the compiler, and is overwritten there by later
//! calls, not erased. All memory that is meant to hold coefficients is erased.
//!
//! Zero is allowed for every coefficient, the leading one too. Some libraries draw the leading coefficient from 1 to 255 so
//! that the polynomial has "really" degree k − 1; a holder of k − 1 shares can then exclude one value of every byte of
//! the secret (the one that the lower polynomial through his shares gives), so that k − 1 shares do say something.
//! A biased method, such as taking a byte modulo 255, leaks in the same way. No value is refused here and none is reduced.

use chacha20::{ChaCha20, ChaChaCore, R20};
use cipher::{KeyIvInit, StreamCipher};

use crate::random::NoRandomness;
use crate::secret::Secret;

/// Where fresh bytes come from: the operating system, except in the tests that make golden vectors.
pub(crate) type Entropy<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<(), NoRandomness>;

/// How much is drawn under one key. Far below the 256 GiB at which ChaCha20's counter would return to its start.
pub(crate) const PER_KEY: u64 = 1 << 34;

pub(crate) struct Coefficients {
    stream: ChaCha20,
    left: u64,
}

impl Coefficients {
    pub(crate) fn new(entropy: Entropy<'_>) -> Result<Self, NoRandomness> {
        let key = Secret::<32>::filled(|bytes| entropy(bytes))?;
        Ok(Self {
            stream: ChaCha20::new(key.expose().into(), &[0; 12].into()),
            left: PER_KEY,
        })
    }

    /// Fills `bytes` with fresh coefficients.
    pub(crate) fn fill(
        &mut self,
        bytes: &mut [u8],
        entropy: Entropy<'_>,
    ) -> Result<(), NoRandomness> {
        let wanted = bytes.len() as u64;
        if wanted > self.left {
            *self = Self::new(entropy)?;
        }
        self.left = self.left.checked_sub(wanted).ok_or(NoRandomness)?;
        bytes.fill(0);
        self.stream
            .try_apply_keystream(bytes)
            .map_err(|_| NoRandomness)
    }
}

// The key schedule erases itself on drop; this fails to compile if a feature that does so is lost.
const _: fn() = || {
    fn erased<T: zeroize::ZeroizeOnDrop>() {}
    erased::<ChaChaCore<R20, chacha20::variants::Ietf>>();
};

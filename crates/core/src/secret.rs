//! Bytes that must not outlive their use: filled in place, erased on drop, silent in `Debug`, never copied by accident.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use zeroize::{Zeroize, optimization_barrier};

use crate::random::{self, NoRandomness};

/// `N` secret bytes on the heap, so that moving the value never leaves a copy behind.
///
/// ```
/// use warifu_core::secret::Secret;
/// let secret = Secret::<32>::random()?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// # Ok::<(), warifu_core::random::NoRandomness>(())
/// ```
pub struct Secret<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// All bytes zero.
    #[must_use]
    pub fn zeroed() -> Self {
        Self(Box::new([0; N]))
    }

    /// Bytes from the operating system's generator.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, NoRandomness> {
        Self::filled(|bytes| random::fill(bytes))
    }

    /// Lets `fill` write the bytes where they stay. What it wrote is erased when it fails.
    ///
    /// # Errors
    /// Whatever `fill` returns.
    pub fn filled<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self::zeroed();
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// The bytes themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> zeroize::ZeroizeOnDrop for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Secret bytes whose number is known only at run time.
///
/// The memory is taken once and never grows, so no copy stays behind in memory that was given back.
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// `len` zero bytes.
    #[must_use]
    pub fn with_len(len: usize) -> Self {
        Self(vec![0; len])
    }

    /// A copy of `bytes`.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The bytes themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be written in place.
    #[must_use]
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps the first `len` bytes and erases the rest. Does nothing when there are no more than `len`.
    pub fn truncate(&mut self, len: usize) {
        if let Some(tail) = self.0.get_mut(len..) {
            erase(tail);
            self.0.truncate(len);
        }
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        // What was cut off is erased already, and the memory never held more.
        erase(&mut self.0);
    }
}

/// Erases by whole registers, which for megabytes takes a fraction of what one volatile write for each byte does. The
/// barrier makes the compiler take the zeros for needed, as those writes would.
fn erase(bytes: &mut [u8]) {
    bytes.fill(0);
    optimization_barrier(bytes);
}

impl zeroize::ZeroizeOnDrop for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncate_cuts_and_never_grows() {
        let mut bytes = SecretBytes::from_slice(b"keep and forget");
        bytes.truncate(4);
        assert_eq!(bytes.expose(), b"keep");
        bytes.truncate(400);
        assert_eq!(bytes.len(), 4);
    }

    #[test]
    fn secrets_are_silent() {
        let text = alloc::format!(
            "{:?} {:?}",
            Secret::<4>::zeroed(),
            SecretBytes::from_slice(b"abcd")
        );
        assert_eq!(text, "Secret(..) SecretBytes(..)");
    }

    #[test]
    fn a_failed_filling_gives_the_error() {
        let failed = Secret::<4>::filled(|bytes| {
            bytes[0] = 1;
            Err("no")
        });
        assert_eq!(failed.unwrap_err(), "no");
    }
}

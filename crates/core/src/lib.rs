//! Secret sharing, sealing and the share format of warifu: arithmetic and bytes, without input or output, clock or threads.
//!
//! ```
//! use warifu_core::ids::Threshold;
//! use warifu_core::shamir::bare;
//!
//! let shares = bare::split(Threshold::new(2, 3)?, b"any two of three")?;
//! let joined = bare::combine(2, &[&shares[0], &shares[2]])?;
//! assert_eq!(joined.expose(), b"any two of three");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module                | what it has                                                              |
//! |-----------------------|--------------------------------------------------------------------------|
//! | [`shamir`]            | the scheme itself, over bytes; `shamir::bare` for the shares of other programs |
//! | [`format`](mod@format) | share objects: shared, sealed, authenticated chunk by chunk, read by range |
//! | [`head`]              | a file's metadata, which is shared with its bytes                        |
//! | [`keys`]              | the vault key and what is derived from it                                |
//! | [`vault_object`]      | the vault key in k-of-n pieces                                           |
//! | [`ways`]               | what else it may take to open a vault: passphrases, keys, paper shares   |
//! | [`loose`]             | shares as single files, without a vault                                  |
//! | [`secret`]            | bytes that are erased                                                    |
//! | [`engine`]            | which instructions compute all this                                      |
//! | [`ids`]               | who and which                                                            |
//!
//! # Schemes
//!
//! The vocabulary is that of ISO/IEC 19592-2. Each has its sheet of properties where it is described.
//!
//! | scheme                               | fewer than k shares tell             | size of a share | here                                   |
//! |--------------------------------------|--------------------------------------|-----------------|----------------------------------------|
//! | Shamir's, k of n                     | nothing                              | the secret's    | [`shamir`], [`Scheme::Shamir`](format::Scheme::Shamir) |
//! | exclusive or, n of n                 | nothing                              | the secret's    | [`shamir::xor`]                        |
//! | Krawczyk's, k of n (*compact*)       | nothing, unless the cipher is broken | its k-th part   | [`Scheme::Compact`](format::Scheme::Compact) |
//!
//! # Cost
//!
//! Splitting takes, for each byte of the secret, k − 1 bytes of key stream and about n·k/2 products in the field, joining k products; where a processor
//! multiplies 64 bytes at a time that is near to what copying n shares costs. Measured beside other libraries: `benches/README.md`.
//!
//! The bytes are described in `FORMAT.md`. Without the default feature `std` the crate needs only `alloc` and a source for
//! `getrandom`; AES-256-GCM is then missing and ChaCha20-Poly1305 is used.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]
extern crate alloc;
#[cfg(all(test, not(feature = "std")))]
extern crate std;

mod coefficients;
pub mod engine;
pub mod format;
pub mod gf256;
// One of its suites needs an operating system.
#[cfg(all(test, feature = "std"))]
mod golden;
pub mod head;
pub mod ids;
pub mod keys;
pub mod loose;
pub mod random;
mod seal;
pub mod secret;
pub mod shamir;
#[cfg(feature = "std")]
pub mod signing;
pub mod vault_object;
pub mod ways;

//! The two ciphers behind one face. A key is used for one object only, so nonces are counters and never random.

#[cfg(feature = "std")]
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};

use crate::secret::Secret;

/// The bytes that an authentication tag adds.
pub(crate) const TAG: usize = 16;

/// With what the shares are sealed. Both are on CRYPTREC's list of recommended ciphers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// AES-256-GCM: the quicker one where the processor computes AES itself.
    Aes256Gcm,
    /// ChaCha20-Poly1305: quick everywhere.
    ChaCha20Poly1305,
}

impl Suite {
    /// The quicker one on this processor.
    #[must_use]
    pub fn best() -> Self {
        if hardware_aes() {
            Self::Aes256Gcm
        } else {
            Self::ChaCha20Poly1305
        }
    }

    /// Whether this build can seal and open with the suite: without the feature `std` there is no AES.
    #[must_use]
    pub const fn is_available(self) -> bool {
        match self {
            Self::Aes256Gcm => cfg!(feature = "std"),
            Self::ChaCha20Poly1305 => true,
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }
}

/// The suite is not in this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this build of warifu cannot use the suite {suite:?}")]
pub struct SuiteUnavailable {
    /// The suite asked for.
    pub suite: Suite,
}

#[cfg(feature = "std")]
fn hardware_aes() -> bool {
    #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
    {
        std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq")
    }
    #[cfg(target_arch = "aarch64")]
    {
        std::arch::is_aarch64_feature_detected!("aes")
            && std::arch::is_aarch64_feature_detected!("pmull")
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
    {
        false
    }
}

#[cfg(not(feature = "std"))]
fn hardware_aes() -> bool {
    false
}

/// The bytes are not what was sealed, or the key is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAuthentic;

/// One object's key, ready for use. Both ciphers erase it when dropped.
pub(crate) enum Cipher {
    #[cfg(feature = "std")]
    Aes(LessSafeKey),
    ChaCha(ChaCha20Poly1305),
}

impl Cipher {
    pub(crate) fn new(suite: Suite, key: &Secret<32>) -> Result<Self, SuiteUnavailable> {
        match suite {
            #[cfg(feature = "std")]
            Suite::Aes256Gcm => UnboundKey::new(&AES_256_GCM, key.expose())
                .map(|key| Self::Aes(LessSafeKey::new(key)))
                .map_err(|_| SuiteUnavailable { suite }),
            #[cfg(not(feature = "std"))]
            Suite::Aes256Gcm => Err(SuiteUnavailable { suite }),
            Suite::ChaCha20Poly1305 => Ok(Self::ChaCha(ChaCha20Poly1305::new(key.expose().into()))),
        }
    }

    /// Seals in place and gives the tag. Fails only beyond the ciphers' limits (tens of gigabytes), which no caller reaches.
    pub(crate) fn seal(
        &self,
        nonce: [u8; 12],
        ad: &[u8],
        bytes: &mut [u8],
    ) -> Result<[u8; TAG], NotAuthentic> {
        match self {
            #[cfg(feature = "std")]
            Self::Aes(key) => {
                let tag = key
                    .seal_in_place_separate_tag(
                        Nonce::assume_unique_for_key(nonce),
                        Aad::from(ad),
                        bytes,
                    )
                    .map_err(|_| NotAuthentic)?;
                tag.as_ref().try_into().map_err(|_| NotAuthentic)
            }
            Self::ChaCha(key) => key
                .encrypt_inout_detached(&nonce.into(), ad, bytes.into())
                .map(Into::into)
                .map_err(|_| NotAuthentic),
        }
    }

    /// Opens `sealed`, which ends with its tag, into `plain`, which is shorter by the tag. When it fails, `plain` may hold anything.
    pub(crate) fn open(
        &self,
        nonce: [u8; 12],
        ad: &[u8],
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let (body, tag) = sealed.split_last_chunk::<TAG>().ok_or(NotAuthentic)?;
        if body.len() != plain.len() {
            return Err(NotAuthentic);
        }
        match self {
            #[cfg(feature = "std")]
            Self::Aes(key) => key
                .open_separate_gather(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(ad),
                    body,
                    tag,
                    plain,
                )
                .map_err(|_| NotAuthentic),
            Self::ChaCha(key) => {
                let bytes = InOutBuf::new(body, plain).map_err(|_| NotAuthentic)?;
                key.decrypt_inout_detached(&nonce.into(), ad, bytes, &(*tag).into())
                    .map_err(|_| NotAuthentic)
            }
        }
    }
}

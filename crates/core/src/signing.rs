//! Signatures that people outside can check: who has the vault key signs, and who has nothing but the public key sees that it was so.

use core::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::secret::Secret;

/// The key pair (Ed25519) with which a vault signs what it has to certify. Silent.
pub struct CertificateKey(Ed25519KeyPair);

impl CertificateKey {
    /// The pair of this seed; `None` where the library refuses, which it has no reason to.
    pub(crate) fn of(seed: &Secret<32>) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed.expose())
            .ok()
            .map(Self)
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        let mut public = [0; 32];
        let bytes = self.0.public_key().as_ref();
        for (to, from) in public.iter_mut().zip(bytes) {
            *to = *from;
        }
        public
    }

    /// The signature of a text, 64 bytes.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        for (to, from) in signature.iter_mut().zip(self.0.sign(text).as_ref()) {
            *to = *from;
        }
        signature
    }
}

impl fmt::Debug for CertificateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateKey(..)")
    }
}

/// Whether a signature is that of a text under a public key.
#[must_use]
pub fn is_signed(public: &[u8; 32], text: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public)
        .verify(text, signature)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VaultId;
    use crate::keys::VaultKey;

    #[test]
    fn a_signature_is_checked_with_the_public_key_alone() {
        let key = VaultKey::from_secret(Secret::random().unwrap());
        let vault = VaultId::from_bytes([3; 16]);
        let pair = key.certificate_key(vault).unwrap();
        let again = key.certificate_key(vault).unwrap();
        assert_eq!(pair.public(), again.public(), "the key is the vault's");
        let other = key.certificate_key(VaultId::from_bytes([4; 16])).unwrap();
        assert_ne!(pair.public(), other.public());
        let signature = pair.sign(b"text");
        assert!(is_signed(&pair.public(), b"text", &signature));
        assert!(!is_signed(&pair.public(), b"texT", &signature));
        assert!(!is_signed(&other.public(), b"text", &signature));
        assert!(!is_signed(&pair.public(), b"text", &signature[..63]));
        let mut altered = signature;
        altered[5] ^= 1;
        assert!(!is_signed(&pair.public(), b"text", &altered));
    }

    /// RFC 8032, 7.1, test 1.
    #[test]
    fn it_is_the_ed25519_of_the_standard() {
        let hex = |text: &str| -> alloc::vec::Vec<u8> {
            (0..text.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
                .collect()
        };
        let public: [u8; 32] =
            hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
                .try_into()
                .unwrap();
        let signature = hex(
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        );
        assert!(is_signed(&public, b"", &signature));
        assert!(!is_signed(&public, b"a", &signature));
    }
}

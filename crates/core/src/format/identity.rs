//! What identifies a share. It is sealed, and every chunk is bound to it.

use super::header::{array, check_zero};
use super::sizes::HEADER_LEN;
use crate::ids::{ExtentId, FileId, Generation, RoundId, ServerId, Threshold, VaultId, VersionNo};
use crate::seal::{Suite, TAG};

pub(super) const IDENTITY_LEN: usize = 112;
pub(super) const SEALED_IDENTITY_LEN: usize = IDENTITY_LEN + TAG;
/// What every chunk's tag covers besides the chunk: header and identity.
pub(super) const BINDING_LEN: usize = HEADER_LEN + IDENTITY_LEN;

/// What an extent holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExtentKind {
    /// A file's metadata and, for a small file, its bytes.
    Head,
    /// Bytes of a file.
    Data,
    /// Changes of names since the heads were written.
    Journal,
}

impl ExtentKind {
    const fn code(self) -> u8 {
        match self {
            Self::Head => 1,
            Self::Data => 2,
            Self::Journal => 3,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Head),
            2 => Some(Self::Data),
            3 => Some(Self::Journal),
            _ => None,
        }
    }
}

/// How an extent is made into shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// Shamir's scheme: fewer than k shares say nothing, whatever the computing power; each is as long as the secret.
    Shamir,
    /// Krawczyk's scheme: the secret is sealed with a fresh key, what is sealed is dispersed by a Reed–Solomon code, and the key is
    /// shared by Shamir's scheme. Each share is about the k-th part of the secret. Fewer than k shares say nothing to whoever cannot
    /// break the cipher.
    Compact,
}

impl Scheme {
    /// Its name, as people write it: `shamir` or `compact`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shamir => "shamir",
            Self::Compact => "compact",
        }
    }

    /// The scheme of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Shamir, Self::Compact]
            .into_iter()
            .find(|scheme| scheme.name() == name)
    }

    /// Its number in the share object.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Shamir => 1,
            Self::Compact => 2,
        }
    }

    /// The scheme of this number; `None` when this build has none.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Shamir),
            2 => Some(Self::Compact),
            _ => None,
        }
    }
}

/// One act of sharing: what all n shares of it have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dealing {
    /// The vault.
    pub vault: VaultId,
    /// The document.
    pub file: FileId,
    /// The version of the document with which the extent was first written.
    pub version: VersionNo,
    /// What the extent holds.
    pub kind: ExtentKind,
    /// Which extent of the file it is, counted from 0 for each kind.
    pub number: u64,
    /// The dealing's own id, never used twice.
    pub extent: ExtentId,
    /// The generation of shares.
    pub generation: Generation,
    /// Which making of this generation it is.
    pub round: RoundId,
    /// k and n.
    pub threshold: Threshold,
    /// How the shares are made.
    pub scheme: Scheme,
    /// How the shares are sealed. Shares with different suites still combine.
    pub suite: Suite,
}

/// Associated data of every chunk of one share.
pub(super) type Binding = [u8; BINDING_LEN];

/// Which nonces are for what: the first byte of each.
const NONCE_IDENTITY: u8 = 1;
const NONCE_CHUNK: u8 = 2;
const NONCE_KEY_PIECE: u8 = 3;
const NONCE_INNER: u8 = 4;

pub(super) const fn identity_nonce() -> [u8; 12] {
    [NONCE_IDENTITY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// For the piece of the inner key in a compact share.
pub(super) const fn key_piece_nonce() -> [u8; 12] {
    [NONCE_KEY_PIECE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// For a chunk of the secret under the inner key.
pub(super) fn inner_nonce(number: u64, last: bool) -> [u8; 12] {
    let mut nonce = chunk_nonce(number, last);
    nonce[0] = NONCE_INNER;
    nonce
}

/// As in STREAM (Hoang, Reyhanitabar, Rogaway and Vizár 2015): position and end are part of the nonce, so that chunks can
/// be neither exchanged nor cut off.
pub(super) fn chunk_nonce(number: u64, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[0] = NONCE_CHUNK;
    nonce[1] = u8::from(last);
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    nonce
}

pub(super) fn binding(header: &[u8; HEADER_LEN], identity: &[u8; IDENTITY_LEN]) -> Binding {
    let mut binding = [0; BINDING_LEN];
    let (first, second) = binding.split_at_mut(HEADER_LEN);
    first.copy_from_slice(header);
    second.copy_from_slice(identity);
    binding
}

impl Dealing {
    /// `inner` is the suite under which a compact extent was sealed before it was dispersed.
    pub(super) fn identity(&self, server: ServerId, inner: Option<Suite>) -> [u8; IDENTITY_LEN] {
        let mut bytes = [0; IDENTITY_LEN];
        bytes[0] = self.kind.code();
        bytes[4..8].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes[8..24].copy_from_slice(self.vault.as_bytes());
        bytes[24..40].copy_from_slice(server.as_bytes());
        bytes[40..56].copy_from_slice(self.file.as_bytes());
        bytes[56..64].copy_from_slice(&self.version.0.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.number.to_le_bytes());
        bytes[72..88].copy_from_slice(self.extent.as_bytes());
        bytes[88] = inner.map_or(0, Suite::code);
        bytes[89..105].copy_from_slice(self.round.as_bytes());
        bytes
    }

    /// Reads an identity that has been authenticated. `None` when it holds what this build does not know.
    pub(super) fn from_identity(
        bytes: &[u8; IDENTITY_LEN],
        threshold: Threshold,
        scheme: Scheme,
        suite: Suite,
    ) -> Option<(Self, ServerId, Option<Suite>)> {
        check_zero(bytes, 1..4).ok()?;
        check_zero(bytes, 105..IDENTITY_LEN).ok()?;
        let inner = match (scheme, bytes[88]) {
            (Scheme::Shamir, 0) => None,
            (Scheme::Shamir, _) => return None,
            (Scheme::Compact, code) => Some(Suite::from_code(code)?),
        };
        let dealing = Self {
            vault: VaultId::from_bytes(array(bytes, 8)),
            file: FileId::from_bytes(array(bytes, 40)),
            version: VersionNo(u64::from_le_bytes(array(bytes, 56))),
            kind: ExtentKind::from_code(bytes[0])?,
            number: u64::from_le_bytes(array(bytes, 64)),
            extent: ExtentId::from_bytes(array(bytes, 72)),
            generation: Generation(u32::from_le_bytes(array(bytes, 4))),
            round: RoundId::from_bytes(array(bytes, 89)),
            threshold,
            scheme,
            suite,
        };
        Some((dealing, ServerId::from_bytes(array(bytes, 24)), inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What only a holder of the key can write, and only a later version of warifu does.
    #[test]
    fn identities_with_unknown_contents_are_not_guessed_at() {
        let threshold = Threshold::new(2, 3).unwrap();
        let read = |bytes: &[u8; IDENTITY_LEN]| {
            Dealing::from_identity(bytes, threshold, Scheme::Shamir, Suite::ChaCha20Poly1305)
        };
        let mut known = [0; IDENTITY_LEN];
        for (at, byte) in known[4..105].iter_mut().enumerate() {
            *byte = at as u8 + 1;
        }
        known[88] = 0;
        for kind in 1..=3 {
            known[0] = kind;
            let (dealing, server, inner) = read(&known).unwrap();
            assert_eq!(inner, None);
            assert_eq!(dealing.identity(server, inner), known, "every byte is kept");
        }
        for kind in [0, 4, 255] {
            known[0] = kind;
            assert!(read(&known).is_none(), "kind {kind}");
        }
        known[0] = 1;
        for at in (1..4).chain([88]).chain(105..IDENTITY_LEN) {
            let mut reserved = known;
            reserved[at] = 1;
            assert!(read(&reserved).is_none(), "byte {at}");
        }
    }

    #[test]
    fn a_compact_share_names_its_inner_suite_and_a_shamir_share_has_none() {
        let threshold = Threshold::new(2, 3).unwrap();
        let read = |bytes: &[u8; IDENTITY_LEN]| {
            Dealing::from_identity(bytes, threshold, Scheme::Compact, Suite::ChaCha20Poly1305)
        };
        let mut bytes = [0; IDENTITY_LEN];
        bytes[0] = 1;
        assert!(read(&bytes).is_none());
        for (code, suite) in [(1, Suite::Aes256Gcm), (2, Suite::ChaCha20Poly1305)] {
            bytes[88] = code;
            let (dealing, server, inner) = read(&bytes).unwrap();
            assert_eq!(inner, Some(suite));
            assert_eq!(dealing.identity(server, inner), bytes);
        }
        bytes[88] = 3;
        assert!(read(&bytes).is_none());
    }

    #[test]
    fn no_two_nonces_of_an_object_are_equal() {
        let mut nonces = alloc::collections::BTreeSet::from([identity_nonce(), key_piece_nonce()]);
        for number in (0..300).chain([1 << 16, 1 << 32, u64::MAX]) {
            for last in [false, true] {
                assert!(nonces.insert(chunk_nonce(number, last)));
                assert!(nonces.insert(inner_nonce(number, last)));
            }
        }
    }
}

//! The key schedule: one vault key, and from it a key for every purpose.
//!
//! Every derivation is BLAKE3 `derive_key` under a written context string of its own, over inputs of fixed length, so
//! that no two purposes can ever meet. A key says nothing about the vault key or about any other key.
//!
//! ```text
//! vault key ─┬─ seal key (server) ── object key (header of the object, with its salt)
//!            ├─ object names (server, extent, generation)
//!            ├─ key check (vault), written beside every piece of the vault key
//!            ├─ key of the vault objects' authentication code (vault)
//!            ├─ key of the ways objects' authentication code (vault)
//!            ├─ key pair for certificates (vault)
//!            └─ catalogue (vault) ─┬─ name tags
//!                                  ├─ field seal
//!                                  └─ audit chain
//! ```

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305};
use zeroize::Zeroize;

use crate::ids::{ExtentId, Generation, ServerId, VaultId};
use crate::random::{self, NoRandomness};
use crate::seal::TAG;
use crate::secret::{Secret, SecretBytes};

/// BLAKE3 in key derivation mode. The parts have fixed lengths for each context, so they need no separators.
pub(crate) fn derive(context: &str, parts: &[&[u8]]) -> Secret<32> {
    let mut key = Secret::zeroed();
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    let mut reader = hasher.finalize_xof();
    reader.fill(key.expose_mut());
    reader.zeroize();
    hasher.zeroize();
    key
}

/// BLAKE3 as a keyed hash.
pub(crate) fn keyed_hash(key: &Secret<32>, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key.expose());
    for part in parts {
        hasher.update(part);
    }
    let hash = *hasher.finalize().as_bytes();
    hasher.zeroize();
    hash
}

/// The key of one vault, from which all others come. It exists whole only in memory: servers hold pieces of it, or of what it is sealed
/// under together with one of the [ways in](crate::ways).
pub struct VaultKey {
    secret: Secret<32>,
    /// Whether servers must not get pieces of it.
    bound: AtomicBool,
}

impl VaultKey {
    /// Draws a fresh key.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn generate() -> Result<Self, NoRandomness> {
        Secret::random().map(Self::from_secret)
    }

    pub(crate) fn from_secret(secret: Secret<32>) -> Self {
        Self {
            secret,
            bound: AtomicBool::new(false),
        }
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.secret.expose()
    }

    /// Whether the vault has [ways in](crate::ways), so that servers get no pieces of the key itself.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.bound.load(Ordering::Relaxed)
    }

    /// Says that the vault has [ways in](crate::ways). There is no way back: a vault that was bound once stays so, if only by a way that
    /// is open to everybody.
    pub fn bind(&self) {
        self.bound.store(true, Ordering::Relaxed);
    }

    /// The key under which the shares on one server are sealed.
    #[must_use]
    pub fn seal_key(&self, server: ServerId) -> SealKey {
        SealKey(derive(
            "warifu 2026-11 v1 seal key of a server",
            &[self.expose(), server.as_bytes()],
        ))
    }

    /// The name of the object that holds one server's share of an extent. Names on different servers, of different
    /// extents and of different generations cannot be linked without the key.
    #[must_use]
    pub fn object_name(
        &self,
        server: ServerId,
        extent: ExtentId,
        generation: Generation,
    ) -> ObjectName {
        let name = derive(
            "warifu 2026-11 v1 object name",
            &[
                self.expose(),
                server.as_bytes(),
                extent.as_bytes(),
                &generation.0.to_le_bytes(),
            ],
        );
        ObjectName(*name.expose())
    }

    /// The keys of the vault's catalogue.
    #[must_use]
    pub fn catalog_key(&self, vault: VaultId) -> CatalogKey {
        let root = derive(
            "warifu 2026-11 v1 catalogue",
            &[self.expose(), vault.as_bytes()],
        );
        CatalogKey {
            tags: derive("warifu 2026-11 v1 catalogue name tags", &[root.expose()]),
            fields: derive("warifu 2026-11 v1 catalogue fields", &[root.expose()]),
            chain: derive("warifu 2026-11 v1 audit chain", &[root.expose()]),
        }
    }

    /// The key pair with which the vault signs certificates. Its public key says nothing about any other key. `None` where the library refuses.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn certificate_key(&self, vault: VaultId) -> Option<crate::signing::CertificateKey> {
        crate::signing::CertificateKey::of(&derive(
            "warifu 2026-11 v1 certificates",
            &[self.expose(), vault.as_bytes()],
        ))
    }

    /// Tells a right key from a wrong one without giving the key away.
    pub(crate) fn check(&self, vault: VaultId) -> [u8; 32] {
        *derive(
            "warifu 2026-11 v1 key check",
            &[self.expose(), vault.as_bytes()],
        )
        .expose()
    }

    /// The authentication code of a vault object.
    pub(crate) fn vault_object_mac(&self, vault: VaultId, bytes: &[u8]) -> [u8; 32] {
        keyed_hash(
            &derive(
                "warifu 2026-11 v1 vault object",
                &[self.expose(), vault.as_bytes()],
            ),
            &[bytes],
        )
    }
}

/// The key under which the shares on one server are sealed.
pub struct SealKey(Secret<32>);

impl SealKey {
    /// The key of one object: fresh for every object, because the header holds a fresh salt.
    pub(crate) fn object_key(&self, header: &[u8; 64]) -> Secret<32> {
        derive("warifu 2026-11 v1 share object", &[self.0.expose(), header])
    }
}

/// The name of one object on one server: what looks like 32 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName([u8; 32]);

impl ObjectName {
    /// The name with these bytes, as the catalogue keeps it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The name's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads exactly what [`Display`](fmt::Display) writes: 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        fn digit(character: u8) -> Option<u8> {
            match character {
                b'0'..=b'9' => Some(character - b'0'),
                b'a'..=b'f' => Some(character - b'a' + 10),
                _ => None,
            }
        }
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectName({self})")
    }
}

/// The keys of one vault's catalogue.
pub struct CatalogKey {
    tags: Secret<32>,
    fields: Secret<32>,
    chain: Secret<32>,
}

/// What a sealed field of the catalogue holds. A field sealed as one does not open as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// The name of a file or directory.
    Name,
    /// Where a symbolic link points.
    Link,
    /// An extended attribute.
    Xattr,
    /// An entry of the audit log.
    Audit,
    /// Who saved a version.
    Author,
    /// A whole path.
    Path,
    /// A remark.
    Note,
}

impl Field {
    const fn code(self) -> u8 {
        match self {
            Self::Name => 1,
            Self::Link => 2,
            Self::Xattr => 3,
            Self::Audit => 4,
            Self::Author => 5,
            Self::Path => 6,
            Self::Note => 7,
        }
    }
}

/// Why a sealed field did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealedFieldError {
    /// Shorter than any sealed field.
    #[error("a sealed field of the catalogue has only {got} bytes")]
    Short {
        /// The length found.
        got: usize,
    },
    /// Altered, moved from another row or field, or of another vault.
    #[error(
        "a sealed field of the catalogue ({field:?}) was altered, moved from another place, or sealed with another key"
    )]
    NotAuthentic {
        /// As what it was to be opened.
        field: Field,
    },
    /// Authentic, but not laid out as this version of warifu lays fields out.
    #[error("a sealed field of the catalogue ({field:?}) has an unknown layout")]
    Layout {
        /// As what it was to be opened.
        field: Field,
    },
}

/// Sealed fields are padded to a multiple of this, so that their lengths tell little of a name's length.
const FIELD_PADDING: usize = 32;
const FIELD_NONCE: usize = 24;

impl CatalogKey {
    /// A keyed hash by which the name `name` in the directory `parent` is looked up.
    #[must_use]
    pub fn name_tag(&self, parent: u64, name: &[u8]) -> [u8; 16] {
        let hash = keyed_hash(&self.tags, &[&parent.to_le_bytes(), name]);
        let mut tag = [0; 16];
        tag.copy_from_slice(&hash[..16]);
        tag
    }

    /// Seals `plain` for one field of the row that `row` identifies. Two sealings of the same bytes differ.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn seal(&self, field: Field, row: &[u8], plain: &[u8]) -> Result<Vec<u8>, NoRandomness> {
        let mut nonce = [0; FIELD_NONCE];
        random::fill(&mut nonce)?;
        self.seal_with(field, row, plain, nonce)
    }

    pub(crate) fn seal_with(
        &self,
        field: Field,
        row: &[u8],
        plain: &[u8],
        nonce: [u8; FIELD_NONCE],
    ) -> Result<Vec<u8>, NoRandomness> {
        // Nonce, then length and text and zeros, then the tag, in memory of the final size: nothing is moved.
        let padded = (8 + plain.len()).next_multiple_of(FIELD_PADDING);
        let mut sealed = Vec::with_capacity(FIELD_NONCE + padded + TAG);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&(plain.len() as u64).to_le_bytes());
        sealed.extend_from_slice(plain);
        sealed.resize(FIELD_NONCE + padded, 0);
        let cipher = XChaCha20Poly1305::new(self.fields.expose().into());
        let tag = cipher
            .encrypt_inout_detached(
                &nonce.into(),
                &associated(field, row),
                sealed[FIELD_NONCE..].as_mut().into(),
            )
            .map_err(|_| {
                // Only a text of more than 256 GiB comes here, and it must not leave in the clear.
                sealed.zeroize();
                NoRandomness
            })?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens what [`seal`](Self::seal) sealed for the same field and row.
    ///
    /// # Errors
    /// [`SealedFieldError`]: there is no telling an altered field from a wrong key.
    pub fn open(
        &self,
        field: Field,
        row: &[u8],
        sealed: &[u8],
    ) -> Result<SecretBytes, SealedFieldError> {
        let short = SealedFieldError::Short { got: sealed.len() };
        let (nonce, rest) = sealed.split_first_chunk::<FIELD_NONCE>().ok_or(short)?;
        let (body, tag) = rest.split_last_chunk::<TAG>().ok_or(short)?;
        let mut plain = SecretBytes::from_slice(body);
        XChaCha20Poly1305::new(self.fields.expose().into())
            .decrypt_inout_detached(
                &(*nonce).into(),
                &associated(field, row),
                plain.expose_mut().into(),
                &(*tag).into(),
            )
            .map_err(|_| SealedFieldError::NotAuthentic { field })?;
        let layout = SealedFieldError::Layout { field };
        let (length, text) = plain.expose().split_first_chunk::<8>().ok_or(layout)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| layout)?;
        text.get(..length)
            .map(SecretBytes::from_slice)
            .ok_or(layout)
    }

    /// The next link of the audit log's chain: who cannot compute it cannot alter, reorder or drop an entry unseen.
    #[must_use]
    pub fn chain(&self, previous: &[u8; 32], entry: &[u8]) -> [u8; 32] {
        keyed_hash(&self.chain, &[previous, entry])
    }
}

fn associated(field: Field, row: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + row.len());
    bytes.push(field.code());
    bytes.extend_from_slice(row);
    bytes
}

macro_rules! silent {
    ($($name:ident),+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )+};
}

silent!(VaultKey, SealKey, CatalogKey);

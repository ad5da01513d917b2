//! The door: the vault key sealed once for each way. `FORMAT.md`, section 10, gives it to the byte.

use alloc::string::String;
use alloc::vec::Vec;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    BadWay, CustodianSet, PARAMETERS_MAX, PassphraseCost, WAYS_MOST, Way, WayId, WayKey, WayKind,
};
use crate::head::Timestamp;
use crate::ids::VaultId;
use crate::keys::{VaultKey, derive};
use crate::seal::{Cipher, Suite, TAG};
use crate::secret::Secret;

const DOOR_FORMAT: u32 = 1;
const WAYS_AT: usize = 40;
/// A door is filled up to a multiple of this, so that its length says little of how many ways there are.
const PADDING: usize = 1024;
/// Of a way, what stands before its name.
const WAY_PREFIX: usize = 26;
const SEALED_KEY: usize = 32 + TAG;
/// Each key that seals here is for one sealing.
const NONCE: [u8; 12] = [0; 12];

/// Why a door is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// A later format than this build knows.
    #[error("made by a newer warifu: door of format {found}; this one reads up to {DOOR_FORMAT}")]
    Newer {
        /// The format found.
        found: u32,
    },
    /// It is not laid out as a door is.
    #[error("the door's byte {offset} is wrong: {what}")]
    Layout {
        /// Where.
        offset: usize,
        /// What should be there.
        what: &'static str,
    },
    /// A way in it cannot be.
    #[error(transparent)]
    Way(#[from] BadWay),
}

/// Why a way did not give the vault key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsealError {
    /// The vault has no such way.
    #[error("there is no way in with the number {id}")]
    NoWay {
        /// The number asked for.
        id: WayId,
    },
    /// The passphrase, key or shares are not those of this way.
    #[error("this does not open the way in with the number {id}")]
    WrongKey {
        /// The way.
        id: WayId,
    },
}

/// A way as it stands in a door.
struct Slot {
    way: Way,
    /// From here on in the door's bytes.
    at: usize,
    /// Where its sealed key begins.
    sealed_at: usize,
}

/// A door, opened: the ways are known, the vault key is not.
pub(super) struct Door {
    bytes: Zeroizing<Vec<u8>>,
    check: [u8; 32],
    slots: Vec<Slot>,
    kept_at: usize,
}

/// What a kind says of itself.
pub(super) fn parameters(kind: &WayKind) -> Vec<u8> {
    match kind {
        WayKind::Open => Vec::new(),
        WayKind::Passphrase(cost) => cost.encode().to_vec(),
        WayKind::Custodians(set) => set.encode().to_vec(),
        WayKind::Keys { recipients, sealed } => {
            let mut bytes = Vec::with_capacity(4 + recipients.len() + sealed.len());
            bytes.extend_from_slice(&length(recipients.len()));
            bytes.extend_from_slice(recipients.as_bytes());
            bytes.extend_from_slice(sealed);
            bytes
        }
        WayKind::Newer { bytes, .. } => bytes.clone(),
    }
}

fn length(len: usize) -> [u8; 4] {
    // What is longer is refused before it comes here.
    u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes()
}

fn code(kind: &WayKind) -> u8 {
    match kind {
        WayKind::Open => 0,
        WayKind::Passphrase(_) => 1,
        WayKind::Keys { .. } => 2,
        WayKind::Custodians(_) => 3,
        WayKind::Newer { code, .. } => *code,
    }
}

fn kind_of(code: u8, bytes: &[u8]) -> Option<WayKind> {
    match code {
        0 => bytes.is_empty().then_some(WayKind::Open),
        1 => PassphraseCost::parse(bytes).map(WayKind::Passphrase),
        2 => {
            let (len, rest) = bytes.split_first_chunk::<4>()?;
            let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
            let (recipients, sealed) = rest.split_at_checked(len)?;
            Some(WayKind::Keys {
                recipients: String::from_utf8(recipients.to_vec()).ok()?,
                sealed: sealed.to_vec(),
            })
        }
        3 => CustodianSet::parse(bytes).map(WayKind::Custodians),
        code => Some(WayKind::Newer {
            code,
            bytes: bytes.to_vec(),
        }),
    }
}

/// What the door as a whole is sealed under.
fn door_key(bolt: &Secret<32>, vault: VaultId) -> Secret<32> {
    derive("warifu 2026-11 v1 door", &[bolt.expose(), vault.as_bytes()])
}

fn seal_key(bolt: &Secret<32>, key: &WayKey) -> Secret<32> {
    derive("warifu 2026-11 v1 way in", &[bolt.expose(), key.expose()])
}

fn keeping_key(bolt: &Secret<32>, key: &VaultKey) -> Secret<32> {
    derive(
        "warifu 2026-11 v1 kept keys of ways in",
        &[bolt.expose(), key.expose()],
    )
}

fn cipher(key: &Secret<32>) -> Option<Cipher> {
    Cipher::new(Suite::ChaCha20Poly1305, key).ok()
}

/// Seals what lies from `at` on, and puts the tag behind it. `None` never comes: it would be a text of gigabytes.
fn seal_tail(bytes: &mut Vec<u8>, at: usize, key: &Secret<32>, ad: &[u8]) -> Option<()> {
    let tag = cipher(key)?.seal(NONCE, ad, bytes.get_mut(at..)?).ok()?;
    bytes.extend_from_slice(&tag);
    Some(())
}

/// The door for these ways, sealed.
pub(super) fn make(
    bolt: &Secret<32>,
    key: &VaultKey,
    vault: VaultId,
    common: &[u8],
    ways: &[(&Way, &WayKey)],
) -> Option<Vec<u8>> {
    let mut needed = WAYS_AT + ways.len() * (32 + SEALED_KEY + WAY_PREFIX) + TAG;
    for (way, _) in ways {
        needed += way.name.len() + parameters(&way.kind).len();
    }
    // In memory of the final size, so that no copy of what is secret stays behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(needed.next_multiple_of(PADDING) + TAG));
    bytes.extend_from_slice(&DOOR_FORMAT.to_le_bytes());
    bytes.extend_from_slice(&key.check(vault));
    bytes.extend_from_slice(&u16::try_from(ways.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    for (way, way_key) in ways {
        let at = bytes.len();
        let parameters = parameters(&way.kind);
        bytes.extend_from_slice(&way.id.0.to_le_bytes());
        bytes.push(code(&way.kind));
        bytes.push(0);
        bytes.extend_from_slice(&way.made.secs.to_le_bytes());
        bytes.extend_from_slice(&way.made.nanos.to_le_bytes());
        bytes.extend_from_slice(&length(way.name.len()));
        bytes.extend_from_slice(&length(parameters.len()));
        bytes.extend_from_slice(way.name.as_bytes());
        bytes.extend_from_slice(&parameters);
        let sealed_at = bytes.len();
        let ad = bytes.get(at..)?.to_vec();
        bytes.extend_from_slice(key.expose());
        seal_tail(&mut bytes, sealed_at, &seal_key(bolt, way_key), &ad)?;
    }
    let kept_at = bytes.len();
    let ad = bytes.to_vec();
    for (_, way_key) in ways {
        bytes.extend_from_slice(way_key.expose());
    }
    seal_tail(&mut bytes, kept_at, &keeping_key(bolt, key), &ad)?;
    let padded = bytes.len().next_multiple_of(PADDING);
    bytes.resize(padded, 0);
    seal_tail(&mut bytes, 0, &door_key(bolt, vault), common)?;
    Some(core::mem::take(&mut *bytes))
}

/// Opens a door with its bolt. `None` where the two don't belong together.
pub(super) fn unbolt(
    bolt: &Secret<32>,
    vault: VaultId,
    common: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut plain = Zeroizing::new(alloc::vec![0; sealed.len().checked_sub(TAG)?]);
    let cipher = cipher(&door_key(bolt, vault))?;
    cipher.open(NONCE, common, sealed, &mut plain).ok()?;
    Some(plain)
}

/// Takes bytes one part after the other.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], DoorError> {
        let offset = self.at;
        let found = self
            .bytes
            .get(offset..)
            .and_then(|rest| rest.get(..len))
            .ok_or(DoorError::Layout { offset, what })?;
        self.at += len;
        Ok(found)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DoorError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn zero(&mut self, len: usize) -> Result<(), DoorError> {
        let offset = self.at;
        let what = "zero";
        match self.take(len, what)?.iter().all(|byte| *byte == 0) {
            true => Ok(()),
            false => Err(DoorError::Layout { offset, what }),
        }
    }

    fn len(&mut self, most: usize, what: &'static str) -> Result<usize, DoorError> {
        let offset = self.at;
        let len = u32::from_le_bytes(self.array(what)?);
        usize::try_from(len)
            .ok()
            .filter(|len| *len <= most)
            .ok_or(DoorError::Layout { offset, what })
    }
}

impl Door {
    pub(super) fn parse(bytes: Zeroizing<Vec<u8>>) -> Result<Self, DoorError> {
        let mut reader = Reader {
            bytes: &bytes,
            at: 0,
        };
        let found = u32::from_le_bytes(reader.array("the format")?);
        if found != DOOR_FORMAT {
            return Err(match found {
                0 => DoorError::Layout {
                    offset: 0,
                    what: "the format",
                },
                found => DoorError::Newer { found },
            });
        }
        let check = reader.array("the key check")?;
        let count = usize::from(u16::from_le_bytes(reader.array("the number of ways")?));
        if count == 0 || count > WAYS_MOST {
            return Err(DoorError::Layout {
                offset: 36,
                what: "the number of ways",
            });
        }
        reader.zero(2)?;
        let mut slots: Vec<Slot> = Vec::with_capacity(count);
        for _ in 0..count {
            let at = reader.at;
            let id = WayId(u32::from_le_bytes(reader.array("a way's number")?));
            if slots.iter().any(|slot| slot.way.id == id) {
                return Err(DoorError::Layout {
                    offset: at,
                    what: "a way's number, once",
                });
            }
            let [code] = reader.array("a way's kind")?;
            reader.zero(1)?;
            let made = Timestamp {
                secs: i64::from_le_bytes(reader.array("a time")?),
                nanos: u32::from_le_bytes(reader.array("a time")?),
            };
            if made.nanos >= 1_000_000_000 {
                return Err(DoorError::Layout {
                    offset: at + 14,
                    what: "a time",
                });
            }
            let name_len = reader.len(super::WAY_NAME_MAX, "the length of a name")?;
            let own_len = reader.len(PARAMETERS_MAX, "the length of what a way says of itself")?;
            let offset = reader.at;
            let name = core::str::from_utf8(reader.take(name_len, "a name")?).map_err(|_| {
                DoorError::Layout {
                    offset,
                    what: "a name in UTF-8",
                }
            })?;
            let offset = reader.at;
            let what = "what a way of this kind says of itself";
            let own = reader.take(own_len, what)?;
            let kind = kind_of(code, own).ok_or(DoorError::Layout { offset, what })?;
            let way = Way::new(id, kind, name, made)?;
            let sealed_at = reader.at;
            reader.take(SEALED_KEY, "the key sealed for a way")?;
            slots.push(Slot { way, at, sealed_at });
        }
        let kept_at = reader.at;
        reader.take(32 * count + TAG, "the kept keys")?;
        let rest = bytes.len() - reader.at;
        if rest >= PADDING {
            return Err(DoorError::Layout {
                offset: reader.at,
                what: "the end",
            });
        }
        reader.zero(rest)?;
        Ok(Self {
            check,
            slots,
            kept_at,
            bytes,
        })
    }

    pub(super) fn ways(&self) -> impl Iterator<Item = &Way> {
        self.slots.iter().map(|slot| &slot.way)
    }

    /// The vault key, by one of the ways.
    pub(super) fn unseal(
        &self,
        bolt: &Secret<32>,
        vault: VaultId,
        id: WayId,
        key: &WayKey,
    ) -> Result<VaultKey, UnsealError> {
        let slot = self.slots.iter().find(|slot| slot.way.id == id);
        let slot = slot.ok_or(UnsealError::NoWay { id })?;
        let open = || {
            let ad = self.bytes.get(slot.at..slot.sealed_at)?;
            let sealed = self
                .bytes
                .get(slot.sealed_at..slot.sealed_at + SEALED_KEY)?;
            let cipher = cipher(&seal_key(bolt, key))?;
            let secret = Secret::filled(|out| cipher.open(NONCE, ad, sealed, out)).ok()?;
            let key = VaultKey::from_secret(secret);
            bool::from(key.check(vault).ct_eq(&self.check)).then_some(key)
        };
        let key = open().ok_or(UnsealError::WrongKey { id })?;
        key.bind();
        Ok(key)
    }

    /// The ways with their keys, for whoever has the vault key.
    pub(super) fn kept(&self, bolt: &Secret<32>, key: &VaultKey) -> Option<Vec<(Way, WayKey)>> {
        let ad = self.bytes.get(..self.kept_at)?;
        let len = 32 * self.slots.len();
        let sealed = self.bytes.get(self.kept_at..self.kept_at + len + TAG)?;
        let mut plain = Zeroizing::new(alloc::vec![0; len]);
        let cipher = cipher(&keeping_key(bolt, key))?;
        cipher.open(NONCE, ad, sealed, &mut plain).ok()?;
        let (keys, _) = plain.as_chunks::<32>();
        let keys = keys.iter().map(|bytes| {
            let secret = Secret::filled(|out| {
                out.copy_from_slice(bytes);
                Ok::<(), core::convert::Infallible>(())
            });
            secret.ok().map(WayKey::from_secret)
        });
        self.ways()
            .zip(keys)
            .map(|(way, key)| Some((way.clone(), key?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn plain() -> Vec<u8> {
        let bolt = Secret::zeroed();
        let key = VaultKey::from_secret(Secret::zeroed());
        let made = Timestamp::default();
        let cost = PassphraseCost::of(64, 1, [7; 32]);
        let ways = [
            (WayId(1), WayKind::Passphrase(cost)),
            (
                WayId(2),
                WayKind::Keys {
                    recipients: "age1".into(),
                    sealed: alloc::vec![1; 9],
                },
            ),
        ];
        let ways = ways.map(|(id, kind)| Way::new(id, kind, "x", made).unwrap());
        let way_key = WayKey::open();
        let ways: Vec<_> = ways.iter().map(|way| (way, &way_key)).collect();
        let sealed = make(&bolt, &key, VaultId::NIL, b"common", &ways).unwrap();
        assert_eq!(sealed.len() % PADDING, TAG);
        assert!(unbolt(&bolt, VaultId::NIL, b"other", &sealed).is_none());
        unbolt(&bolt, VaultId::NIL, b"common", &sealed)
            .unwrap()
            .to_vec()
    }

    fn parse(bytes: &[u8]) -> Result<Door, DoorError> {
        Door::parse(Zeroizing::new(bytes.to_vec()))
    }

    #[test]
    fn p10_any_door_is_borne() {
        let whole = plain();
        assert!(parse(&whole).is_ok());
        let kept_at = parse(&whole).unwrap().kept_at;
        for len in 0..kept_at {
            assert!(parse(&whole[..len]).is_err(), "{len}");
        }
        for at in 0..kept_at + 80 {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                if let Ok(door) = parse(&bytes) {
                    let key = VaultKey::from_secret(Secret::zeroed());
                    let _ = door.kept(&Secret::zeroed(), &key);
                    let ids: Vec<WayId> = door.ways().map(Way::id).collect();
                    for id in ids {
                        let _ = door.unseal(&Secret::zeroed(), VaultId::NIL, id, &WayKey::open());
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_door_is_told() {
        let with = |at: usize, value: u8| {
            let mut bytes = plain();
            bytes[at] = value;
            parse(&bytes).map(drop).unwrap_err()
        };
        let layout = |offset, what| DoorError::Layout { offset, what };
        assert_eq!(with(0, 2), DoorError::Newer { found: 2 });
        assert_eq!(with(0, 0), layout(0, "the format"));
        assert_eq!(with(36, 0), layout(36, "the number of ways"));
        assert_eq!(with(36, 200), layout(36, "the number of ways"));
        assert_eq!(with(38, 1), layout(38, "zero"));
        assert_eq!(with(45, 1), layout(45, "zero"));
        assert_eq!(with(40 + 26, b'\n'), DoorError::Way(BadWay::Name));
        let own = "what a way of this kind says of itself";
        // No passes, and then more memory than anybody has.
        assert_eq!(with(40 + 27 + 4, 0), layout(67, own));
        assert_eq!(with(40 + 27 + 3, 0xFF), layout(67, own));
        assert_eq!(with(1000, 1), layout(with_rest(), "zero"));
    }

    fn with_rest() -> usize {
        let door = parse(&plain()).unwrap();
        door.kept_at + 2 * 32 + TAG
    }
}

//! The ways object: what one server holds of a vault that has ways in, its piece of the bolt and the whole door.

use alloc::vec::Vec;
use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::door::{self, Door, DoorError, UnsealError};
use super::{WAYS_MOST, Way, WayId, WayKey, WaysNumber};
use crate::coefficients::Entropy;
use crate::format::{FormatError, MAGIC, VERSION, check_start, check_zero};
use crate::ids::{ServerId, ShareIndex, Threshold, VaultId};
use crate::keys::{VaultKey, derive, keyed_hash};
use crate::random::{self, NoRandomness};
use crate::secret::Secret;
use crate::shamir::{Weights, split_with};
use crate::vault_object::{RecoverError, find};

const KIND: u8 = b'W';
const DOOR_AT: usize = 128;
const MAC_LEN: usize = 32;

/// A ways object is no longer than this.
pub const WAYS_OBJECT_MAX: usize = 2 << 20;

/// One server's part of a vault's ways.
pub struct WaysObject {
    threshold: Threshold,
    index: ShareIndex,
    number: WaysNumber,
    vault: VaultId,
    server: ServerId,
    piece: Secret<32>,
    check: [u8; 32],
    door: Vec<u8>,
    mac: [u8; MAC_LEN],
}

/// Why bytes are no ways object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaysFormatError {
    /// What every file of warifu begins with is wrong, or a field of the header.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The length that it says is not the one that it has.
    #[error("a ways object of {got} bytes says that its door has {door}")]
    Length {
        /// The bytes there are.
        got: usize,
        /// What it says.
        door: u32,
    },
}

/// Why no ways were dealt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DealWaysError {
    /// Not n servers.
    #[error("{needed} servers are needed, {got} were given")]
    Servers {
        /// n.
        needed: usize,
        /// How many there were.
        got: usize,
    },
    /// None, too many, or one number twice.
    #[error("a vault has 1 to {WAYS_MOST} ways in, each with a number of its own")]
    Ways,
    /// Nothing can be shared without randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Why servers did not give a bolt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverBoltError {
    /// Their pieces are too few, or don't fit together.
    #[error(transparent)]
    Pieces(#[from] RecoverError),
    /// They do, and the door behind the bolt cannot be read.
    #[error(transparent)]
    Door(#[from] DoorError),
}

/// What k servers give of a vault that has ways in. One of the ways is still needed.
pub struct Barred {
    bolt: Secret<32>,
    door: Door,
    vault: VaultId,
    threshold: Threshold,
    number: WaysNumber,
}

impl fmt::Debug for Barred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barred")
            .field("vault", &self.vault)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WaysObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaysObject")
            .field("vault", &self.vault)
            .field("server", &self.server)
            .field("index", &self.index)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Barred {
    /// The vault.
    #[must_use]
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// k and n of the bolt's pieces.
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// How often the ways were changed.
    #[must_use]
    pub fn number(&self) -> WaysNumber {
        self.number
    }

    /// The ways there are.
    pub fn ways(&self) -> impl Iterator<Item = &Way> {
        self.door.ways()
    }

    /// The vault key, by one of the ways. It is [bound](VaultKey::is_bound).
    ///
    /// # Errors
    /// [`UnsealError`].
    pub fn unseal(&self, way: WayId, key: &WayKey) -> Result<VaultKey, UnsealError> {
        self.door.unseal(&self.bolt, self.vault, way, key)
    }

    /// All ways with their keys, for whoever has the vault key and is to write them anew. `None` where it is another vault's key.
    #[must_use]
    pub fn kept(&self, key: &VaultKey) -> Option<Vec<(Way, WayKey)>> {
        self.door.kept(&self.bolt, key)
    }
}

impl WaysObject {
    /// The vault.
    #[must_use]
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// The server whose object this is.
    #[must_use]
    pub fn server(&self) -> ServerId {
        self.server
    }

    /// k and n of the bolt's pieces.
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// The piece's index.
    #[must_use]
    pub fn index(&self) -> ShareIndex {
        self.index
    }

    /// How often the ways were changed.
    #[must_use]
    pub fn number(&self) -> WaysNumber {
        self.number
    }

    /// Whether this object was made by somebody with `key`, and is whole.
    #[must_use]
    pub fn is_authentic(&self, key: &VaultKey) -> bool {
        self.mac_by(key).ct_eq(&self.mac).into()
    }

    fn mac_by(&self, key: &VaultKey) -> [u8; MAC_LEN] {
        let key = derive(
            "warifu 2026-11 v1 ways object",
            &[key.expose(), self.vault.as_bytes()],
        );
        keyed_hash(&key, &[self.header().as_slice(), &self.door])
    }

    fn header(&self) -> Zeroizing<[u8; DOOR_AT]> {
        let mut bytes = Zeroizing::new([0; DOOR_AT]);
        bytes[..6].copy_from_slice(MAGIC);
        bytes[6] = KIND;
        bytes[7] = VERSION;
        bytes[8] = self.threshold.k();
        bytes[9] = self.threshold.n();
        bytes[10] = self.index.get();
        bytes[12..16].copy_from_slice(&self.number.0.to_le_bytes());
        bytes[16..32].copy_from_slice(self.vault.as_bytes());
        bytes[32..48].copy_from_slice(self.server.as_bytes());
        bytes[48..80].copy_from_slice(self.piece.expose());
        bytes[80..112].copy_from_slice(&self.check);
        // No door is longer than `WAYS_OBJECT_MAX`.
        let len = u32::try_from(self.door.len()).unwrap_or(u32::MAX);
        bytes[112..116].copy_from_slice(&len.to_le_bytes());
        bytes
    }

    /// The object's bytes. They hold one piece of the bolt and belong to its server alone.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(DOOR_AT + self.door.len() + MAC_LEN);
        bytes.extend_from_slice(self.header().as_slice());
        bytes.extend_from_slice(&self.door);
        bytes.extend_from_slice(&self.mac);
        bytes
    }

    /// Reads a ways object. Whether it tells the truth shows only when the vault key is there.
    ///
    /// # Errors
    /// [`WaysFormatError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WaysFormatError> {
        check_start(bytes, KIND, DOOR_AT + MAC_LEN)?;
        let short = FormatError::Short {
            needed: DOOR_AT + MAC_LEN,
            got: bytes.len(),
        };
        let (header, rest) = bytes.split_first_chunk::<DOOR_AT>().ok_or(short)?;
        let (door, mac) = rest.split_last_chunk::<MAC_LEN>().ok_or(short)?;
        let (k, n, index) = (header[8], header[9], header[10]);
        let threshold = Threshold::new(k, n).map_err(FormatError::from)?;
        let index = ShareIndex::new(index)
            .filter(|index| index.get() <= n)
            .ok_or(FormatError::Index { index, n })?;
        check_zero(header, 11..12)?;
        check_zero(header, 116..DOOR_AT)?;
        let said = u32::from_le_bytes(part(header, 112));
        if usize::try_from(said) != Ok(door.len()) || bytes.len() > WAYS_OBJECT_MAX {
            return Err(WaysFormatError::Length {
                got: bytes.len(),
                door: said,
            });
        }
        let mut piece = Secret::zeroed();
        piece.expose_mut().copy_from_slice(&header[48..80]);
        Ok(Self {
            threshold,
            index,
            number: WaysNumber(u32::from_le_bytes(part(header, 12))),
            vault: VaultId::from_bytes(part(header, 16)),
            server: ServerId::from_bytes(part(header, 32)),
            piece,
            check: part(header, 80),
            door: door.to_vec(),
            mac: *mac,
        })
    }

    /// Whether the two are of one dealing, as far as they say.
    fn belongs_with(&self, other: &Self) -> bool {
        self.vault == other.vault
            && self.threshold == other.threshold
            && self.number == other.number
            && self.check == other.check
            && self.door == other.door
    }
}

fn part<const N: usize>(bytes: &[u8; DOOR_AT], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

/// What all objects of one dealing have in common, in the clear; bound to the door as associated data.
fn common(threshold: Threshold, number: WaysNumber, vault: VaultId, check: &[u8; 32]) -> [u8; 54] {
    let mut bytes = [0; 54];
    bytes[0] = threshold.k();
    bytes[1] = threshold.n();
    bytes[2..6].copy_from_slice(&number.0.to_le_bytes());
    bytes[6..22].copy_from_slice(vault.as_bytes());
    bytes[22..].copy_from_slice(check);
    bytes
}

fn bolt_check(bolt: &Secret<32>, vault: VaultId) -> [u8; 32] {
    *derive(
        "warifu 2026-11 v1 bolt check",
        &[bolt.expose(), vault.as_bytes()],
    )
    .expose()
}

/// Draws a bolt, seals the vault key for each of these ways, and deals it all to the servers: `servers[i]` gets the piece of index i + 1.
///
/// # Errors
/// [`DealWaysError`].
pub fn deal_ways(
    key: &VaultKey,
    vault: VaultId,
    threshold: Threshold,
    number: WaysNumber,
    servers: &[ServerId],
    ways: &[(&Way, &WayKey)],
) -> Result<Vec<WaysObject>, DealWaysError> {
    deal_ways_with(
        key,
        vault,
        threshold,
        number,
        servers,
        ways,
        &mut random::fill,
    )
}

pub(crate) fn deal_ways_with(
    key: &VaultKey,
    vault: VaultId,
    threshold: Threshold,
    number: WaysNumber,
    servers: &[ServerId],
    ways: &[(&Way, &WayKey)],
    entropy: Entropy<'_>,
) -> Result<Vec<WaysObject>, DealWaysError> {
    let needed = usize::from(threshold.n());
    let wrong_count = DealWaysError::Servers {
        needed,
        got: servers.len(),
    };
    if servers.len() != needed {
        return Err(wrong_count);
    }
    let mut ids: Vec<WayId> = ways.iter().map(|(way, _)| way.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() || ids.len() != ways.len() || ids.len() > WAYS_MOST {
        return Err(DealWaysError::Ways);
    }
    let bolt = Secret::filled(|out| entropy(out))?;
    let check = bolt_check(&bolt, vault);
    let common = common(threshold, number, vault, &check);
    let door = door::make(&bolt, key, vault, &common, ways).ok_or(DealWaysError::Ways)?;
    let mut objects: Vec<_> = threshold
        .indices()
        .zip(servers)
        .map(|(index, server)| WaysObject {
            threshold,
            index,
            number,
            vault,
            server: *server,
            piece: Secret::zeroed(),
            check,
            door: door.clone(),
            mac: [0; MAC_LEN],
        })
        .collect();
    let mut pieces: Vec<&mut [u8]> = objects
        .iter_mut()
        .map(|object| object.piece.expose_mut().as_mut_slice())
        .collect();
    split_with(threshold, bolt.expose(), &mut pieces, entropy).map_err(|error| match error {
        crate::shamir::ShamirError::NoRandomness(error) => DealWaysError::NoRandomness(error),
        // Counts and lengths are right by what stands above.
        _ => wrong_count,
    })?;
    for object in &mut objects {
        object.mac = object.mac_by(key);
    }
    Ok(objects)
}

/// Finds the bolt in the objects of several servers, and opens the door with it. Of several dealings the one with the greatest number counts
/// of which there are k good pieces. Who lies among the servers shows when the vault key is there.
///
/// Objects that say another vault, threshold, server or index than those who ask expect should be left out *before* calling.
///
/// # Errors
/// [`RecoverError::TooFew`] or [`RecoverError::NoFit`] of the dealing that came nearest; [`RecoverBoltError::Door`].
pub fn recover_bolt(objects: &[WaysObject]) -> Result<Barred, RecoverBoltError> {
    let mut groups: Vec<Vec<&WaysObject>> = Vec::new();
    for object in objects {
        let group = groups.iter_mut().find(|group| {
            group
                .first()
                .is_some_and(|first| first.belongs_with(object))
        });
        match group {
            Some(group) => group.push(object),
            None => groups.push(alloc::vec![object]),
        }
    }
    // Of two with one number, the one that more servers have.
    groups.sort_by_key(|group| {
        let number = group.first().map(|first| first.number);
        core::cmp::Reverse((number, group.len()))
    });
    let mut failure: Option<(usize, RecoverError)> = None;
    for group in groups {
        match recover_group(&group) {
            Err(RecoverBoltError::Pieces(error)) => {
                if failure.as_ref().is_none_or(|(size, _)| *size < group.len()) {
                    failure = Some((group.len(), error));
                }
            }
            answer => return answer,
        }
    }
    let none = RecoverError::TooFew { needed: 1, got: 0 };
    Err(failure.map_or(none, |(_, error)| error).into())
}

fn recover_group(group: &[&WaysObject]) -> Result<Barred, RecoverBoltError> {
    let Some(first) = group.first() else {
        return Err(RecoverError::TooFew { needed: 1, got: 0 }.into());
    };
    let (threshold, number, vault) = (first.threshold, first.number, first.vault);
    let common = common(threshold, number, vault, &first.check);
    let members = group.iter().map(|object| (object.index, &object.piece));
    find(usize::from(threshold.k()), members, |bolt| {
        if !bool::from(bolt_check(&bolt, vault).ct_eq(&first.check)) {
            return None;
        }
        let plain = door::unbolt(&bolt, vault, &common, &first.door)?;
        Some(Door::parse(plain).map(|door| Barred {
            bolt,
            door,
            vault,
            threshold,
            number,
        }))
    })?
    .map_err(RecoverBoltError::Door)
}

/// Makes the object of a server anew from those of k others, as [`rebuild_vault_object`](crate::vault_object::rebuild_vault_object) does: it is
/// the lost one again, byte for byte. Of several dealings the one with the greatest number counts of which there are k.
///
/// # Errors
/// [`RecoverError::TooFew`] where fewer than k others belong together; [`RecoverError::NoFit`] where their dealing has no piece `index`.
pub fn rebuild_ways_object(
    objects: &[WaysObject],
    key: &VaultKey,
    index: ShareIndex,
    server: ServerId,
) -> Result<WaysObject, RecoverError> {
    let mut others: Vec<&WaysObject> = objects
        .iter()
        .filter(|object| object.index != index && object.is_authentic(key))
        .collect();
    others.sort_by_key(|object| core::cmp::Reverse(object.number));
    let mut best = RecoverError::TooFew { needed: 1, got: 0 };
    for first in &others {
        let mut members: Vec<&WaysObject> = Vec::new();
        for object in others.iter().filter(|object| object.belongs_with(first)) {
            if members.iter().all(|known| known.index != object.index) {
                members.push(object);
            }
        }
        let (needed, got) = (usize::from(first.threshold.k()), members.len());
        if got < needed {
            best = RecoverError::TooFew { needed, got };
            continue;
        }
        let no_fit = RecoverError::NoFit {
            needed,
            got,
            tried: 0,
        };
        if index.get() > first.threshold.n() {
            return Err(no_fit);
        }
        members.truncate(needed);
        let indices: Vec<ShareIndex> = members.iter().map(|object| object.index).collect();
        let pieces: Vec<&[u8]> = members
            .iter()
            .map(|object| object.piece.expose().as_slice())
            .collect();
        let weights = Weights::at(index, &indices).map_err(|_| no_fit.clone())?;
        let piece = Secret::filled(|out| weights.combine_into(&pieces, out)).map_err(|_| no_fit)?;
        let mut object = WaysObject {
            threshold: first.threshold,
            index,
            number: first.number,
            vault: first.vault,
            server,
            piece,
            check: first.check,
            door: first.door.clone(),
            mac: [0; MAC_LEN],
        };
        object.mac = object.mac_by(key);
        return Ok(object);
    }
    Err(best)
}

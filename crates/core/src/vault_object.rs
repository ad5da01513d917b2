//! The `vault` object: what each server holds of the vault key.
//!
//! Fewer than k of them say nothing about the key except what a hash of it tells (its check), which is nothing that
//! can be searched: the key has 256 random bits. Any k give it back, and liars among more than k are named.
//!
//! ```
//! use warifu_core::ids::{Generation, ServerId, Threshold, VaultId};
//! use warifu_core::keys::VaultKey;
//! use warifu_core::vault_object::{deal_vault_key, recover_vault_key};
//!
//! let servers = [ServerId::fresh()?, ServerId::fresh()?, ServerId::fresh()?];
//! let key = VaultKey::generate()?;
//! let mut objects = deal_vault_key(&key, &VaultId::fresh()?, Threshold::new(2, 3)?, Generation(1), &servers)?;
//! objects.remove(1);
//! let (again, liars) = recover_vault_key(&objects)?;
//! assert!(liars.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod lost;
mod sets;

use alloc::vec::Vec;
use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::coefficients::Entropy;
use crate::format::{FormatError, MAGIC, VERSION, check_start_up_to, check_zero};
use crate::ids::{Generation, ServerId, ShareIndex, Threshold, VaultId};
use crate::keys::VaultKey;
use crate::random::{self, NoRandomness};
use crate::secret::Secret;
use crate::shamir::{ShamirError, split_with};

pub use self::lost::rebuild_vault_object;
pub(crate) use self::sets::find;

/// The length of a vault object.
pub const VAULT_OBJECT_LEN: usize = 144;

const KIND: u8 = b'V';
const MAC_AT: usize = 112;
/// The format of an object that has no piece.
const BOUND: u8 = 2;

/// One server's piece of the vault key; or, where the vault has [ways in](crate::ways), what stands in its place.
pub struct VaultObject {
    bound: bool,
    threshold: Threshold,
    index: ShareIndex,
    generation: Generation,
    vault: VaultId,
    server: ServerId,
    piece: Secret<32>,
    check: [u8; 32],
    mac: [u8; 32],
}

/// Why the vault key was not dealt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DealKeyError {
    /// Not n servers.
    #[error("{needed} servers are needed for {needed} pieces of the vault key, {got} were given")]
    Servers {
        /// n.
        needed: usize,
        /// How many there were.
        got: usize,
    },
    /// One server would hold two pieces.
    #[error("the server {server} would get two pieces of the vault key")]
    SameServer {
        /// The server named twice.
        server: ServerId,
    },
    /// Nothing can be shared without randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Why the vault key was not recovered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// Too few objects that belong together.
    #[error(
        "{needed} servers are needed to open the vault, {got} have an object of it that belongs together"
    )]
    TooFew {
        /// k of the largest group, or 1 when there was no object.
        needed: usize,
        /// How many different shares that group has.
        got: usize,
    },
    /// Enough objects, but no k of them give a right key.
    #[error("of {got} pieces of the vault key no {needed} fit together ({tried} sets were tried)")]
    NoFit {
        /// k.
        needed: usize,
        /// How many pieces there were.
        got: usize,
        /// How many sets were tried.
        tried: usize,
    },
    /// The vault has ways in: what the servers hold of its key is in another object, and takes one of the ways to be of use.
    #[error("the vault has ways in: its servers alone do not give its key")]
    Bound,
    /// Two groups of equal size give different keys.
    #[error("the servers hold pieces of different vaults: {first} and {second}")]
    Ambiguous {
        /// One vault.
        first: VaultId,
        /// The other.
        second: VaultId,
    },
}

impl VaultObject {
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

    /// k and n of the vault key's pieces.
    #[must_use]
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// The piece's index.
    #[must_use]
    pub fn index(&self) -> ShareIndex {
        self.index
    }

    /// The generation of the pieces.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Whether there is no piece in it, because the vault has [ways in](crate::ways).
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.bound
    }

    /// What stands on this server in the place of a piece, where the vault has [ways in](crate::ways).
    #[must_use]
    pub fn without_piece(
        key: &VaultKey,
        vault: VaultId,
        threshold: Threshold,
        generation: Generation,
        server: ServerId,
        index: ShareIndex,
    ) -> Self {
        let mut object = Self {
            bound: true,
            threshold,
            index,
            generation,
            vault,
            server,
            piece: Secret::zeroed(),
            check: key.check(vault),
            mac: [0; 32],
        };
        object.mac = key.vault_object_mac(vault, object.authenticated().as_slice());
        object
    }

    /// Whether this object was made with `key` and is whole.
    #[must_use]
    pub fn is_authentic(&self, key: &VaultKey) -> bool {
        let expected = key.vault_object_mac(self.vault, self.authenticated().as_slice());
        expected.ct_eq(&self.mac).into()
    }

    fn authenticated(&self) -> Zeroizing<[u8; MAC_AT]> {
        let mut bytes = Zeroizing::new([0; MAC_AT]);
        bytes[..6].copy_from_slice(MAGIC);
        bytes[6] = KIND;
        bytes[7] = if self.bound { BOUND } else { VERSION };
        bytes[8] = self.threshold.k();
        bytes[9] = self.threshold.n();
        bytes[10] = self.index.get();
        bytes[12..16].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes[16..32].copy_from_slice(self.vault.as_bytes());
        bytes[32..48].copy_from_slice(self.server.as_bytes());
        bytes[48..80].copy_from_slice(self.piece.expose());
        bytes[80..112].copy_from_slice(&self.check);
        bytes
    }

    /// The object's bytes. They hold one piece of the key and belong to its server alone.
    #[must_use]
    pub fn encode(&self) -> [u8; VAULT_OBJECT_LEN] {
        let mut bytes = [0; VAULT_OBJECT_LEN];
        bytes[..MAC_AT].copy_from_slice(self.authenticated().as_slice());
        bytes[MAC_AT..].copy_from_slice(&self.mac);
        bytes
    }

    /// Reads a vault object. Whether it tells the truth shows only when the key is there.
    ///
    /// # Errors
    /// [`FormatError`]; bytes beyond [`VAULT_OBJECT_LEN`] are not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let format = check_start_up_to(bytes, KIND, BOUND, VAULT_OBJECT_LEN)?;
        let short = FormatError::Short {
            needed: VAULT_OBJECT_LEN,
            got: bytes.len(),
        };
        let bytes = bytes.first_chunk::<VAULT_OBJECT_LEN>().ok_or(short)?;
        let (k, n, index) = (bytes[8], bytes[9], bytes[10]);
        let threshold = Threshold::new(k, n)?;
        let index = ShareIndex::new(index)
            .filter(|index| index.get() <= n)
            .ok_or(FormatError::Index { index, n })?;
        check_zero(bytes, 11..12)?;
        let bound = format == BOUND;
        if bound {
            check_zero(bytes, 48..80)?;
        }
        let mut piece = Secret::zeroed();
        piece.expose_mut().copy_from_slice(&bytes[48..80]);
        Ok(Self {
            bound,
            threshold,
            index,
            generation: Generation(u32::from_le_bytes(part(bytes, 12))),
            vault: VaultId::from_bytes(part(bytes, 16)),
            server: ServerId::from_bytes(part(bytes, 32)),
            piece,
            check: part(bytes, 80),
            mac: part(bytes, MAC_AT),
        })
    }
}

/// Whether bytes that are no [`VaultObject`] were made by a newer warifu, as far as this one can tell: then they are neither good nor rubbish.
/// Those that are authentic once the version is that of this build are an object of this format with a byte that was altered.
#[must_use]
pub fn is_newer(bytes: &[u8], key: &VaultKey) -> bool {
    if !matches!(VaultObject::parse(bytes), Err(FormatError::Newer { .. })) {
        return false;
    }
    let Some(known) = bytes.first_chunk::<VAULT_OBJECT_LEN>() else {
        return true;
    };
    !(VERSION..=BOUND).any(|format| {
        let mut known = *known;
        known[7] = format;
        VaultObject::parse(&known).is_ok_and(|object| object.is_authentic(key))
    })
}

fn part<const N: usize>(bytes: &[u8; VAULT_OBJECT_LEN], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

impl fmt::Debug for VaultObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultObject")
            .field("vault", &self.vault)
            .field("server", &self.server)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// Shares the vault key: `servers[i]` gets the piece of index i + 1. Of a key that is [bound](VaultKey::is_bound) nobody gets a piece: what the
/// objects say then is that there are [ways in](crate::ways).
///
/// # Errors
/// [`DealKeyError`].
pub fn deal_vault_key(
    key: &VaultKey,
    vault: &VaultId,
    threshold: Threshold,
    generation: Generation,
    servers: &[ServerId],
) -> Result<Vec<VaultObject>, DealKeyError> {
    deal_vault_key_with(
        key,
        vault,
        threshold,
        generation,
        servers,
        &mut random::fill,
    )
}

pub(crate) fn deal_vault_key_with(
    key: &VaultKey,
    vault: &VaultId,
    threshold: Threshold,
    generation: Generation,
    servers: &[ServerId],
    entropy: Entropy<'_>,
) -> Result<Vec<VaultObject>, DealKeyError> {
    let needed = usize::from(threshold.n());
    if servers.len() != needed {
        return Err(DealKeyError::Servers {
            needed,
            got: servers.len(),
        });
    }
    for (position, server) in servers.iter().enumerate() {
        if servers
            .iter()
            .take(position)
            .any(|earlier| earlier == server)
        {
            return Err(DealKeyError::SameServer { server: *server });
        }
    }
    if key.is_bound() {
        let objects = threshold.indices().zip(servers).map(|(index, server)| {
            VaultObject::without_piece(key, *vault, threshold, generation, *server, index)
        });
        return Ok(objects.collect());
    }
    let check = key.check(*vault);
    let mut objects: Vec<_> = threshold
        .indices()
        .zip(servers)
        .map(|(index, server)| VaultObject {
            bound: false,
            threshold,
            index,
            generation,
            vault: *vault,
            server: *server,
            piece: Secret::zeroed(),
            check,
            mac: [0; 32],
        })
        .collect();
    let mut pieces: Vec<&mut [u8]> = objects
        .iter_mut()
        .map(|object| object.piece.expose_mut().as_mut_slice())
        .collect();
    split_with(threshold, key.expose(), &mut pieces, entropy).map_err(|error| match error {
        // Counts and lengths are right by what stands above.
        ShamirError::NoRandomness(error) => DealKeyError::NoRandomness(error),
        _ => DealKeyError::Servers {
            needed,
            got: needed,
        },
    })?;
    for object in &mut objects {
        object.mac = key.vault_object_mac(*vault, object.authenticated().as_slice());
    }
    Ok(objects)
}

/// Finds the vault key in the objects of several servers, and the positions of the objects that lie.
///
/// Objects that agree on vault, threshold, generation and check are taken together, and sets of k of them are tried
/// until the key passes its check. An object lies when it does not carry that key's authentication code; an object of another
/// generation of the same key is old, not a lie.
///
/// Where none gives a key and one of the objects says that there are ways in, so does the error.
///
/// Where several groups give a key (an attacker can always make a whole vault of his own), the one that most servers
/// vouch for wins, then the later generation. So who knows which vault and threshold to expect should leave out objects
/// that say otherwise *before* calling; fewer than k lying servers then cannot win.
///
/// # Errors
/// [`RecoverError`].
pub fn recover_vault_key(objects: &[VaultObject]) -> Result<(VaultKey, Vec<usize>), RecoverError> {
    let mut found: Vec<Candidate> = Vec::new();
    for (vault, key) in keys_in(objects)? {
        let by_it = || objects.iter().filter(|object| object.is_authentic(&key));
        // A server has one voice, of however many generations it shows something.
        let mut servers: Vec<ServerId> = by_it().map(|object| object.server).collect();
        servers.sort_unstable();
        servers.dedup();
        let generation = by_it().map(|object| object.generation).max();
        found.push(Candidate {
            vouching: servers.len(),
            generation: generation.unwrap_or(Generation(0)),
            key,
            vault,
        });
    }
    found.sort_by_key(|candidate| core::cmp::Reverse((candidate.vouching, candidate.generation)));
    let mut found = found.into_iter();
    let Some(best) = found.next() else {
        return Err(RecoverError::TooFew { needed: 1, got: 0 });
    };
    if let Some(second) = found.next()
        && (second.vouching, second.generation) == (best.vouching, best.generation)
    {
        return Err(RecoverError::Ambiguous {
            first: best.vault,
            second: second.vault,
        });
    }
    let liars = (0..objects.len())
        .filter(|at| !objects[*at].is_authentic(&best.key))
        .collect();
    Ok((best.key, liars))
}

/// All keys that sets of these objects give, each once, for whoever knows better than [`recover_vault_key`] how many places vouch for each.
///
/// # Errors
/// As those of [`recover_vault_key`] where there is none.
pub fn recover_vault_keys(objects: &[VaultObject]) -> Result<Vec<VaultKey>, RecoverError> {
    let found = keys_in(objects)?;
    Ok(found.into_iter().map(|(_, key)| key).collect())
}

/// The same with the vaults of which they are; never none.
fn keys_in(objects: &[VaultObject]) -> Result<Vec<(VaultId, VaultKey)>, RecoverError> {
    let mut found: Vec<(VaultId, VaultKey)> = Vec::new();
    let mut failure: Option<(usize, RecoverError)> = None;
    for group in groups(objects) {
        match recover_group(objects, &group) {
            Ok(key) => {
                let mut known = found.iter();
                if !known.any(|(_, known)| bool::from(known.expose().ct_eq(key.expose()))) {
                    found.push((objects[group[0]].vault, key));
                }
            }
            Err(error) => {
                // Tell of the group that came nearest.
                if failure.as_ref().is_none_or(|(size, _)| *size < group.len()) {
                    failure = Some((group.len(), error));
                }
            }
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    if objects.iter().any(|object| object.bound) {
        return Err(RecoverError::Bound);
    }
    let none = RecoverError::TooFew { needed: 1, got: 0 };
    Err(failure.map_or(none, |(_, error)| error))
}

struct Candidate {
    key: VaultKey,
    vouching: usize,
    generation: Generation,
    vault: VaultId,
}

/// Positions of objects that claim to belong together, in order of first appearance; no group is empty.
fn groups(objects: &[VaultObject]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        let group = groups.iter_mut().find(|group| {
            let first = &objects[group[0]];
            first.vault == object.vault
                && first.threshold == object.threshold
                && first.generation == object.generation
                && first.bound == object.bound
                && first.check == object.check
        });
        match group {
            Some(group) => group.push(at),
            None => groups.push(alloc::vec![at]),
        }
    }
    groups
}

fn recover_group(objects: &[VaultObject], group: &[usize]) -> Result<VaultKey, RecoverError> {
    let first = &objects[group[0]];
    if first.bound {
        return Err(RecoverError::Bound);
    }
    let members = group
        .iter()
        .map(|at| (objects[*at].index, &objects[*at].piece));
    find(usize::from(first.threshold.k()), members, |secret| {
        let key = VaultKey::from_secret(secret);
        bool::from(key.check(first.vault).ct_eq(&first.check)).then_some(key)
    })
}

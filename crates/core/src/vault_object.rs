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

use alloc::vec::Vec;
use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::coefficients::Entropy;
use crate::format::{FormatError, MAGIC, VERSION, check_start, check_zero};
use crate::ids::{Generation, ServerId, ShareIndex, Threshold, VaultId};
use crate::keys::VaultKey;
use crate::random::{self, NoRandomness};
use crate::secret::Secret;
use crate::shamir::{ShamirError, Weights, split_with};

pub use self::lost::rebuild_vault_object;

/// The length of a vault object.
pub const VAULT_OBJECT_LEN: usize = 144;

const KIND: u8 = b'V';
const MAC_AT: usize = 112;

/// How many sets of k objects are tried at most before giving up.
const MOST_TRIES: usize = 4096;

/// One server's piece of the vault key.
pub struct VaultObject {
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
        bytes[7] = VERSION;
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
        check_start(bytes, KIND, VAULT_OBJECT_LEN)?;
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
        let mut piece = Secret::zeroed();
        piece.expose_mut().copy_from_slice(&bytes[48..80]);
        Ok(Self {
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
    let mut known = *known;
    known[7] = VERSION;
    !VaultObject::parse(&known).is_ok_and(|object| object.is_authentic(key))
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

/// Shares the vault key: `servers[i]` gets the piece of index i + 1.
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
    let check = key.check(*vault);
    let mut objects: Vec<_> = threshold
        .indices()
        .zip(servers)
        .map(|(index, server)| VaultObject {
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
/// Where several groups give a key (an attacker can always make a whole vault of his own), the one that most objects
/// vouch for wins, then the later generation. So who knows which vault and threshold to expect should leave out objects
/// that say otherwise *before* calling; fewer than k lying servers then cannot win.
///
/// # Errors
/// [`RecoverError`].
pub fn recover_vault_key(objects: &[VaultObject]) -> Result<(VaultKey, Vec<usize>), RecoverError> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut failure: Option<(usize, RecoverError)> = None;
    for group in groups(objects) {
        match recover_group(objects, &group) {
            Ok(key) => {
                let known = found
                    .iter_mut()
                    .find(|known| bool::from(known.key.expose().ct_eq(key.expose())));
                let generation = objects[group[0]].generation;
                match known {
                    Some(known) => known.generation = known.generation.max(generation),
                    None => {
                        let vouching = objects
                            .iter()
                            .filter(|object| object.is_authentic(&key))
                            .count();
                        found.push(Candidate {
                            key,
                            vouching,
                            generation,
                            vault: objects[group[0]].vault,
                        });
                    }
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
    found.sort_by_key(|candidate| core::cmp::Reverse((candidate.vouching, candidate.generation)));
    let mut found = found.into_iter();
    let Some(best) = found.next() else {
        return Err(
            failure.map_or(RecoverError::TooFew { needed: 1, got: 0 }, |(_, error)| {
                error
            }),
        );
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
    let needed = usize::from(first.threshold.k());
    // The same piece read twice counts once.
    let mut members: Vec<&VaultObject> = Vec::with_capacity(group.len());
    for object in group.iter().map(|at| &objects[*at]) {
        let same = |known: &&VaultObject| {
            known.index == object.index
                && bool::from(known.piece.expose().ct_eq(object.piece.expose()))
        };
        if !members.iter().any(same) {
            members.push(object);
        }
    }
    let mut distinct: Vec<ShareIndex> = members.iter().map(|object| object.index).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < needed {
        return Err(RecoverError::TooFew {
            needed,
            got: distinct.len(),
        });
    }
    let mut sets = Sets::new(needed, members.len());
    let mut tried = 0;
    while tried < MOST_TRIES {
        let Some(set) = sets.next() else { break };
        tried += 1;
        if let Some(key) = try_set(&members, set) {
            return Ok(key);
        }
    }
    Err(RecoverError::NoFit {
        needed,
        got: distinct.len(),
        tried,
    })
}

fn try_set(members: &[&VaultObject], chosen: &[usize]) -> Option<VaultKey> {
    let set: Vec<&VaultObject> = chosen
        .iter()
        .filter_map(|at| members.get(*at).copied())
        .collect();
    let indices: Vec<ShareIndex> = set.iter().map(|object| object.index).collect();
    let pieces: Vec<&[u8]> = set
        .iter()
        .map(|object| object.piece.expose().as_slice())
        .collect();
    let weights = Weights::at_secret(&indices).ok()?;
    let secret = Secret::filled(|out| weights.combine_into(&pieces, out)).ok()?;
    let key = VaultKey::from_secret(secret);
    let first = set.first()?;
    bool::from(key.check(first.vault).ct_eq(&first.check)).then_some(key)
}

/// The sets of k members that are tried: all of them where they are few, else the first k and then scattered ones.
///
/// Going through very many in order would change the last members only, and a liar among the first would never be left out.
struct Sets {
    chosen: Vec<usize>,
    all: Vec<usize>,
    k: usize,
    few: bool,
    started: bool,
    state: u64,
}

impl Sets {
    fn new(k: usize, of: usize) -> Self {
        let count = (0..k).try_fold(1_usize, |count, at| {
            Some(count.checked_mul(of - at)? / (at + 1))
        });
        Self {
            chosen: (0..k).collect(),
            all: (0..of).collect(),
            k,
            few: count.is_some_and(|count| count <= MOST_TRIES),
            started: false,
            state: 1,
        }
    }

    fn next(&mut self) -> Option<&[usize]> {
        if !self.started {
            self.started = true;
        } else if self.few {
            if !next_combination(&mut self.chosen, self.all.len()) {
                return None;
            }
        } else {
            for place in 0..self.k {
                // Which sets are tried is no secret: any scattering will do.
                self.state = self
                    .state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let left = self.all.len() - place;
                let picked = place + (self.state >> 33) as usize % left;
                self.all.swap(place, picked);
            }
            self.chosen.copy_from_slice(&self.all[..self.k]);
        }
        Some(&self.chosen)
    }
}

/// The next set of `chosen.len()` numbers below `of`, in ascending order; false after the last.
fn next_combination(chosen: &mut [usize], of: usize) -> bool {
    let k = chosen.len();
    for place in (0..k).rev() {
        if chosen[place] < of - (k - place) {
            chosen[place] += 1;
            for later in place + 1..k {
                chosen[later] = chosen[later - 1] + 1;
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn all_sets_are_tried_where_they_are_few() {
        for of in 1..=8 {
            for k in 1..=of {
                let mut sets = Sets::new(k, of);
                let mut seen = BTreeSet::new();
                while let Some(set) = sets.next() {
                    assert!(set.is_sorted() && set.len() == k && set.iter().all(|at| *at < of));
                    assert!(seen.insert(set.to_vec()), "{set:?} twice");
                }
                let expected = (0_u32..1 << of)
                    .filter(|bits| bits.count_ones() as usize == k)
                    .count();
                assert_eq!(seen.len(), expected, "{k} of {of}");
            }
        }
    }

    #[test]
    fn scattered_sets_leave_each_member_out_soon() {
        let mut sets = Sets::new(20, 60);
        assert_eq!(sets.next().unwrap(), (0..20).collect::<Vec<_>>());
        let mut left_out = BTreeSet::new();
        for _ in 0..40 {
            let set = sets.next().unwrap();
            let members: BTreeSet<usize> = set.iter().copied().collect();
            assert_eq!(members.len(), 20);
            left_out.extend((0..60).filter(|at| !members.contains(at)));
        }
        assert_eq!(left_out.len(), 60);
    }
}

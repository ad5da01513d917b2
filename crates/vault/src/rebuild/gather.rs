//! The vault key from servers of which nothing else is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use warifu_core::ids::{Generation, Threshold, VaultId};
use warifu_core::keys::VaultKey;
use warifu_core::vault_object::{RecoverError, VaultObject, recover_vault_key};

use crate::error::{Fault, ServerFault};
use crate::keys::{Bound, Candidate, UnlockError, all_pieces_of};
use crate::seam::catalog::IndexSet;
use crate::servers::{ServerSeat, Thresholds};

/// What any k servers tell of their vault before anything is read of it.
#[derive(Debug)]
pub struct Gathered {
    /// The vault's id.
    pub vault: VaultId,
    /// Its threshold, and what it is to become, where pieces of the vault key are of two.
    pub thresholds: Thresholds,
    /// The one of them of whose newest pieces there are k.
    pub in_force: Threshold,
    /// The generation of its shares.
    pub generation: Generation,
    /// The vault key.
    pub key: VaultKey,
    /// The servers that are part of it, by index.
    pub seats: Vec<ServerSeat>,
    /// What is wrong with the others.
    pub faults: Vec<ServerFault>,
}

impl Gathered {
    /// Has the catalogue number the last change of the threshold as a vault file does that is there already.
    pub fn go_by(&mut self, file: Thresholds) {
        if let Some(becoming) = file.becoming {
            self.thresholds.change = match becoming == self.in_force {
                true => file.change,
                // That one is still to come.
                false => file.change.saturating_sub(1),
            };
        }
    }
}

/// Asks servers for their pieces of the vault key. Nothing has to be known of the vault: the servers say which it is.
///
/// # Errors
/// [`UnlockError`]; after [`UnlockError::Bound`], [`gather_by_way`] goes on with the key.
pub async fn gather(servers: &[Candidate]) -> Result<Gathered, UnlockError> {
    let answers = join_all(servers.iter().map(all_pieces_of)).await;
    let (mut objects, mut owners, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for (place, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(pieces) => {
                owners.extend(pieces.iter().map(|_| place));
                objects.extend(pieces);
            }
            Err(fault) => faults.push(fault),
        }
    }
    let key = match recover_vault_key(&objects) {
        Ok((key, _)) => key,
        Err(RecoverError::Bound) => {
            return Err(UnlockError::Bound(Box::new(Bound {
                signs: owners.into_iter().zip(objects).collect(),
                faults,
                answers: Vec::new(),
            })));
        }
        Err(RecoverError::TooFew { needed, got }) => {
            return Err(UnlockError::TooFewServers {
                needed: u8::try_from(needed).unwrap_or(u8::MAX),
                got,
                faults,
            });
        }
        Err(error) => {
            return Err(UnlockError::Mismatch {
                detail: error.to_string(),
                faults,
            });
        }
    };
    let objects = owners.into_iter().zip(objects).collect();
    seated(servers, objects, key, faults)
}

/// As [`gather`], for a vault with ways in: `bound` is what that said, and `key` the vault key by one of the ways.
///
/// # Errors
/// [`UnlockError`].
pub fn gather_by_way(
    servers: &[Candidate],
    bound: Bound,
    key: VaultKey,
) -> Result<Gathered, UnlockError> {
    seated(servers, bound.signs, key, bound.faults)
}

fn seated(
    servers: &[Candidate],
    objects: Vec<(usize, VaultObject)>,
    key: VaultKey,
    mut faults: Vec<ServerFault>,
) -> Result<Gathered, UnlockError> {
    let mut seats: Vec<ServerSeat> = Vec::new();
    let mut known = None;
    let mut pieces: BTreeMap<Generation, (Threshold, IndexSet)> = BTreeMap::new();
    let mut taken = IndexSet::EMPTY;
    for (place, object) in &objects {
        let Some(server) = servers.get(*place) else {
            continue;
        };
        let mut blame = |fault, detail: &str| {
            faults.push(ServerFault {
                server: server.name.clone(),
                fault,
                detail: detail.to_owned(),
            });
        };
        if !object.is_authentic(&key) {
            blame(
                Fault::Foreign,
                "it belongs to another vault, or its piece of the vault key is false",
            );
            continue;
        }
        if object.is_bound() {
            key.bind();
        }
        let generation = object.generation();
        let (_, newest) = known.get_or_insert((object.vault(), generation));
        *newest = generation.max(*newest);
        let new = (object.threshold(), IndexSet::EMPTY);
        let (_, there) = pieces.entry(generation).or_insert(new);
        there.insert(object.index());
        let again = |seat: &ServerSeat| {
            seat.id == object.server() && Arc::ptr_eq(&seat.store, &server.store)
        };
        if seats.iter().any(again) {
            // Its piece of another generation.
            continue;
        }
        if taken.contains(object.index()) {
            blame(Fault::Foreign, "it is a server that was given already");
            continue;
        }
        taken.insert(object.index());
        seats.push(ServerSeat {
            id: object.server(),
            index: object.index(),
            name: server.name.clone(),
            store: server.store.clone(),
        });
    }
    seats.sort_by_key(|seat| seat.index);
    let (Some((vault, generation)), Some((thresholds, in_force))) = (known, thresholds_of(&pieces))
    else {
        return Err(UnlockError::Mismatch {
            detail: "no server vouches for the key".to_owned(),
            faults,
        });
    };
    if seats.len() < usize::from(thresholds.least()) {
        return Err(UnlockError::TooFewServers {
            needed: thresholds.least(),
            got: seats.len(),
            faults,
        });
    }
    Ok(Gathered {
        vault,
        thresholds,
        in_force,
        generation,
        key,
        seats,
        faults,
    })
}

/// What the threshold is, as the pieces tell: that of the newest generation of which there are k. Where there are newer ones of another, it is
/// becoming that; where there are only older ones, as on a server that was away, it has become what it is, and is called becoming it until
/// somebody has seen that nothing else of before is left. Also says by which of them things are dealt.
fn thresholds_of(
    pieces: &BTreeMap<Generation, (Threshold, IndexSet)>,
) -> Option<(Thresholds, Threshold)> {
    let newest_first = || pieces.values().rev();
    let (newest, _) = newest_first().next()?;
    // Every change takes a new generation at least, so no number of one is greater.
    let change = pieces.keys().next_back()?.0;
    let is_whole =
        |(threshold, there): &&(Threshold, IndexSet)| there.len() >= u32::from(threshold.k());
    let (whole, _) = newest_first().find(is_whole).or(newest_first().next())?;
    if whole != newest {
        let thresholds = Thresholds {
            now: *whole,
            becoming: Some(*newest),
            change,
        };
        return Some((thresholds, *whole));
    }
    let other = newest_first().find(|(threshold, _)| threshold != whole);
    let thresholds = Thresholds {
        now: other.map_or(*whole, |(threshold, _)| *threshold),
        becoming: other.map(|_| *whole),
        change,
    };
    Some((thresholds, *whole))
}

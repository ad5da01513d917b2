//! The vault key from servers of which nothing else is known.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use warifu_core::ids::{Generation, ServerId, Threshold, VaultId};
use warifu_core::keys::VaultKey;
use warifu_core::vault_object::{RecoverError, VaultObject, recover_vault_keys};

use crate::error::{Fault, ServerFault};
use crate::keys::{Bound, Candidate, Expected, UnlockError, all_pieces_of, fit};
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

/// Asks servers for their pieces of the vault key. Nothing has to be known of the vault: the servers say which it is. Each place has one voice, however much it
/// shows, and a key is believed only where more places vouch for it than say something else.
///
/// # Errors
/// [`UnlockError`]; after [`UnlockError::Bound`], [`gather_by_way`] goes on with the key.
pub async fn gather(servers: &[Candidate]) -> Result<Gathered, UnlockError> {
    let answers = join_all(servers.iter().map(all_pieces_of)).await;
    gathered(servers, answers, None)
}

/// As [`gather`], where a vault file tells which vault it is, and what each of the servers must be.
///
/// # Errors
/// As those of [`gather`].
pub async fn gather_known(
    servers: &[Candidate],
    expected: &Expected,
) -> Result<Gathered, UnlockError> {
    let answers = join_all(servers.iter().map(all_pieces_of)).await;
    let answers = answers.into_iter().zip(servers).zip(&expected.seats);
    let fitting = answers.map(|((answer, server), seat)| {
        answer.and_then(|pieces| fit(pieces, server, expected, *seat))
    });
    gathered(servers, fitting.collect(), Some(expected))
}

fn gathered(
    servers: &[Candidate],
    answers: Vec<Result<Vec<VaultObject>, ServerFault>>,
    expected: Option<&Expected>,
) -> Result<Gathered, UnlockError> {
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
    let keys = recover_vault_keys(&objects);
    let objects: Vec<(usize, VaultObject)> = owners.into_iter().zip(objects).collect();
    let verdict = match keys {
        Ok(keys) => of_keys(keys, &objects),
        Err(RecoverError::Bound) => of_signs(&objects),
        Err(RecoverError::TooFew { needed, got }) => {
            let needed = u8::try_from(needed).unwrap_or(u8::MAX);
            return Err(UnlockError::TooFewServers {
                needed: expected.map_or(needed, |known| known.thresholds.least().max(needed)),
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
    match verdict {
        Verdict::Key(key) => seated(servers, objects, key, faults),
        Verdict::Bound(claim) => {
            let expected = match expected {
                Some(expected) => expected.clone(),
                None => said(claim, &objects, servers.len()),
            };
            Err(UnlockError::Bound(Box::new(Bound {
                signs: objects,
                expected,
                faults,
                answers: Vec::new(),
            })))
        }
        Verdict::Mixed => {
            for (place, server) in servers.iter().enumerate() {
                let claim = objects.iter().find(|(owner, _)| *owner == place);
                let Some((_, object)) = claim else { continue };
                let (vault, threshold) = (object.vault(), object.threshold());
                faults.push(ServerFault {
                    server: server.name.clone(),
                    fault: Fault::Foreign,
                    detail: format!(
                        "it says that it is of the vault {vault}, {} of {}",
                        threshold.k(),
                        threshold.n()
                    ),
                });
            }
            Err(UnlockError::Mixed { faults })
        }
    }
}

/// Which vault a place says that it is of.
type Claim = (VaultId, Threshold);

fn claim_of(object: &VaultObject) -> Claim {
    (object.vault(), object.threshold())
}

/// What the places come to.
enum Verdict {
    Key(VaultKey),
    /// More say that this vault has ways in than vouch for any key.
    Bound(Claim),
    /// They are of different vaults, and no more of them of one than of another.
    Mixed,
}

/// The places that make each claim.
fn claims<'a>(
    objects: impl Iterator<Item = &'a (usize, VaultObject)>,
) -> Vec<(Claim, BTreeSet<usize>)> {
    let mut claims: Vec<(Claim, BTreeSet<usize>)> = Vec::new();
    for (place, object) in objects {
        let claim = claim_of(object);
        match claims.iter_mut().find(|(known, _)| *known == claim) {
            Some((_, places)) => {
                places.insert(*place);
            }
            None => claims.push((claim, BTreeSet::from([*place]))),
        }
    }
    // Of two that equally many make, the one that takes more servers: one server alone can say that it takes one.
    claims.sort_by_key(|((_, threshold), places)| Reverse((places.len(), threshold.k())));
    claims
}

/// Whether so many make a claim as it says that it takes.
fn is_carried(((_, threshold), places): &(Claim, BTreeSet<usize>)) -> bool {
    places.len() >= usize::from(threshold.k())
}

/// Anybody can make a whole vault of their own, of one server, and answer for another one with it.
fn of_keys(keys: Vec<VaultKey>, objects: &[(usize, VaultObject)]) -> Verdict {
    let vouching = |key: &VaultKey| -> BTreeSet<usize> {
        let by_it = objects
            .iter()
            .filter(|(_, object)| object.is_authentic(key));
        by_it.map(|(place, _)| *place).collect()
    };
    let mut keys: Vec<(usize, VaultKey)> = keys
        .into_iter()
        .map(|key| (vouching(&key).len(), key))
        .collect();
    keys.sort_by_key(|(voices, _)| Reverse(*voices));
    let second = keys.get(1).map_or(0, |(voices, _)| *voices);
    let Some((voices, key)) = keys.into_iter().next() else {
        return Verdict::Mixed;
    };
    // What the key's own vault is, is told by as many as that takes. Who says the same and does not vouch for the key has a false piece of it, and is of no other
    // vault.
    let by_it = objects
        .iter()
        .filter(|(_, object)| object.is_authentic(&key));
    let own = claims(by_it);
    let is_own = |claim: Claim| {
        own.iter()
            .any(|carried| carried.0 == claim && is_carried(carried))
    };
    let places = vouching(&key);
    let rivals = claims(
        objects
            .iter()
            .filter(|(place, object)| !places.contains(place) && !is_own(claim_of(object))),
    );
    let bound = claims(objects.iter().filter(|(place, object)| {
        object.is_bound() && !places.contains(place) && !is_own(claim_of(object))
    }));
    let most = bound.into_iter().next();
    if let Some(most) = most.filter(|most| is_carried(most) && most.1.len() > voices) {
        return Verdict::Bound(most.0);
    }
    let rival = rivals.first().map_or(0, |(_, places)| places.len());
    match voices > rival.max(second) {
        true => Verdict::Key(key),
        false => Verdict::Mixed,
    }
}

/// No key is there, and some say that this is because there are ways in.
fn of_signs(objects: &[(usize, VaultObject)]) -> Verdict {
    let bound = claims(objects.iter().filter(|(_, object)| object.is_bound()));
    let Some((claim, places)) = bound.into_iter().next() else {
        return Verdict::Mixed;
    };
    let others = objects
        .iter()
        .filter(|(_, object)| object.vault() != claim.0);
    match claims(others).first() {
        Some((_, others)) if others.len() >= places.len() => Verdict::Mixed,
        _ => Verdict::Bound(claim),
    }
}

/// What is to be expected of servers of which most say this. While the threshold changes they say two, and the other one is believed of no fewer than the first
/// takes: what one alone says could be a vault of which it is the only server.
fn said(claim: Claim, objects: &[(usize, VaultObject)], places: usize) -> Expected {
    let (vault, now) = claim;
    let of_it = || objects.iter().filter(|(_, object)| object.vault() == vault);
    let becoming = claims(of_it()).into_iter().find(|other| {
        other.0 != claim && is_carried(other) && other.1.len() >= usize::from(now.k())
    });
    let thresholds = Thresholds {
        now,
        becoming: becoming.map(|((_, threshold), _)| threshold),
        // For what is to be expected, the number does not matter.
        change: 0,
    };
    let seats = (0..places).map(|place| {
        let mut own = of_it().filter(|(owner, _)| *owner == place);
        let object = own.find(|(_, object)| thresholds.contains(object.threshold()));
        // No part of any server fits one that says nothing of this vault.
        let nobody = (ServerId::NIL, now.indices().next());
        object.map_or(nobody, |(_, object)| {
            (object.server(), Some(object.index()))
        })
    });
    let seats = seats.filter_map(|(id, index)| Some((id, index?)));
    Expected {
        vault,
        thresholds,
        seats: seats.collect(),
    }
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

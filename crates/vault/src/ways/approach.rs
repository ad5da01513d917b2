//! Reaching a vault that has ways in: k servers tell which ways there are, and one of them gives the key.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use warifu_core::ids::VaultId;
use warifu_core::keys::VaultKey;
use warifu_core::vault_object::{RecoverError, VaultObject};
use warifu_core::ways::{
    Barred, DoorError, RecoverBoltError, UnsealError, Way, WayId, WayKey, WaysNumber, WaysObject,
    recover_bolt,
};

use super::objects_in;
use crate::error::{Fault, ServerFault};
use crate::keys::{Bound, Candidate, Expected, FIRST_GENERATION, GRACE, Unlocked, within};

/// How long servers are waited for in all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why servers did not tell which ways there are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApproachError {
    /// Fewer than k servers gave a good part of it.
    #[error("{needed} servers must give their part of the ways in, and {got} did")]
    TooFewServers {
        /// How many are needed.
        needed: u8,
        /// How many gave one.
        got: usize,
        /// What is wrong with the others.
        faults: Vec<ServerFault>,
    },
    /// Enough parts came, and no k of them fit together.
    #[error("the servers' parts of the ways in do not fit together: {detail}")]
    Mismatch {
        /// What was tried.
        detail: String,
        /// What is wrong with servers, as far as it is known.
        faults: Vec<ServerFault>,
    },
    /// A newer warifu has made the ways.
    #[error("the ways in were made by a newer warifu: {0}")]
    Newer(DoorError),
}

/// A vault whose servers have been reached, and whose ways are known. One of them is still needed.
#[derive(Debug)]
pub struct Approached {
    barred: Barred,
    objects: Vec<(usize, WaysObject)>,
    faults: Vec<(usize, ServerFault)>,
    names: Vec<String>,
}

/// Asks servers which ways there are. `expected` is what is known of the vault; without it, whatever vault k of them tell of is taken.
///
/// # Errors
/// [`ApproachError`].
pub async fn approach(
    servers: &[Candidate],
    expected: Option<&Expected>,
) -> Result<Approached, ApproachError> {
    let mut requests: FuturesUnordered<_> =
        servers
            .iter()
            .enumerate()
            .map(|(place, server)| async move {
                (place, within(objects_in(server.store.as_ref())).await)
            })
            .collect();
    let (mut objects, mut faults) = (Vec::new(), Vec::new());
    let mut heard = vec![false; servers.len()];
    let name = |place: usize| servers.get(place).map(|server| server.name.clone());
    let fault = |place: usize, fault: Fault, detail: &str| ServerFault {
        server: name(place).unwrap_or_default(),
        fault,
        detail: detail.to_owned(),
    };
    let mut until = Instant::now() + PATIENCE;
    let mut known = false;
    while let Ok(Some((place, answer))) = tokio::time::timeout_at(until, requests.next()).await {
        if let Some(heard) = heard.get_mut(place) {
            *heard = true;
        }
        let found = match answer {
            Ok(found) => found,
            Err(error) => {
                let server = name(place).unwrap_or_default();
                faults.push((place, ServerFault::of_store(&server, &error)));
                continue;
            }
        };
        if found.is_empty() {
            let detail = "it has no part of the ways in";
            faults.push((place, fault(place, Fault::Missing, detail)));
        }
        for (_, object) in found {
            match object {
                Some(object) if expected.is_none_or(|known| belongs(&object, known, place)) => {
                    objects.push((place, object));
                }
                Some(_) => {
                    let detail = "its part of the ways in is another server's, or of another vault";
                    faults.push((place, fault(place, Fault::Foreign, detail)));
                }
                None => {
                    let detail = "its part of the ways in cannot be read";
                    faults.push((place, fault(place, Fault::Corrupt, detail)));
                }
            }
        }
        if !known && try_bolt(&objects).is_ok() {
            known = true;
            until = until.min(Instant::now() + GRACE);
        }
    }
    for (place, _) in heard.iter().enumerate().filter(|(_, heard)| !**heard) {
        faults.push((place, fault(place, Fault::NoAnswer, "no answer yet")));
    }
    faults.sort_by_key(|(place, _)| *place);
    let plain = |faults: Vec<(usize, ServerFault)>| faults.into_iter().map(|(_, f)| f).collect();
    let barred = match try_bolt(&objects) {
        Ok(barred) => barred,
        Err(RecoverBoltError::Pieces(RecoverError::TooFew { needed, got })) => {
            let needed = expected.map_or_else(
                || u8::try_from(needed).unwrap_or(u8::MAX),
                |expected| expected.thresholds.now.k(),
            );
            return Err(ApproachError::TooFewServers {
                needed,
                got,
                faults: plain(faults),
            });
        }
        Err(RecoverBoltError::Door(error @ DoorError::Newer { .. })) => {
            return Err(ApproachError::Newer(error));
        }
        Err(error) => {
            return Err(ApproachError::Mismatch {
                detail: error.to_string(),
                faults: plain(faults),
            });
        }
    };
    for (place, object) in &objects {
        let newest = objects
            .iter()
            .filter(|(other, _)| other == place)
            .map(|(_, object)| object.number())
            .max();
        if newest == Some(object.number()) && object.number() < barred.number() {
            let detail = format!(
                "its ways in are of change {}, and {} counts",
                object.number(),
                barred.number()
            );
            faults.push((*place, fault(*place, Fault::Stale, &detail)));
        }
    }
    Ok(Approached {
        barred,
        objects,
        faults,
        names: servers.iter().map(|server| server.name.clone()).collect(),
    })
}

fn belongs(object: &WaysObject, expected: &Expected, place: usize) -> bool {
    object.vault() == expected.vault
        && expected.thresholds.contains(object.threshold())
        && expected.seats.get(place) == Some(&(object.server(), object.index()))
}

fn try_bolt(objects: &[(usize, WaysObject)]) -> Result<Barred, RecoverBoltError> {
    let copies: Vec<WaysObject> = objects
        .iter()
        .filter_map(|(_, object)| WaysObject::parse(&object.encode()).ok())
        .collect();
    recover_bolt(&copies)
}

impl Approached {
    /// Which vault it is.
    #[must_use]
    pub fn vault(&self) -> VaultId {
        self.barred.vault()
    }

    /// The ways there are.
    pub fn ways(&self) -> impl Iterator<Item = &Way> {
        self.barred.ways()
    }

    /// How often they were changed.
    #[must_use]
    pub fn number(&self) -> WaysNumber {
        self.barred.number()
    }

    /// The vault key, by one of the ways.
    ///
    /// # Errors
    /// [`UnsealError`].
    pub fn unseal(&self, way: WayId, key: &WayKey) -> Result<VaultKey, UnsealError> {
        self.barred.unseal(way, key)
    }

    /// What is wrong with servers' parts of the ways, now that the vault key tells who lies.
    #[must_use]
    pub fn faults(&self, key: &VaultKey) -> Vec<ServerFault> {
        let mut faults = self.faults.clone();
        for (place, object) in &self.objects {
            if !object.is_authentic(key) {
                let fault = ServerFault {
                    server: self.names.get(*place).cloned().unwrap_or_default(),
                    fault: Fault::Corrupt,
                    detail: "its part of the ways in is false".to_owned(),
                };
                faults.push((*place, fault));
            }
        }
        faults.sort_by_key(|(place, _)| *place);
        faults.into_iter().map(|(_, fault)| fault).collect()
    }

    /// The vault as [`unlock`](crate::keys::unlock) would have given it, for a key by one of the ways.
    #[must_use]
    pub fn unlocked(&self, bound: Bound, key: VaultKey) -> Unlocked {
        let ways = self.faults(&key);
        let needs_mending = |fault: &ServerFault| fault.fault.is_definite();
        let ways_to_mend = ways.iter().any(needs_mending)
            || bound.signs.iter().any(|(_, object)| !object.is_bound());
        let authentic = bound.signs.iter().map(|(_, object)| object);
        let authentic = authentic.filter(|object| object.is_authentic(&key));
        let generation = authentic.map(VaultObject::generation).max();
        let mut faults = bound.faults;
        for fault in ways {
            if faults.iter().all(|known| known.server != fault.server) {
                faults.push(fault);
            }
        }
        Unlocked {
            key,
            generation: generation.unwrap_or(FIRST_GENERATION),
            faults,
            answers: bound.answers,
            ways_to_mend,
        }
    }
}

//! The vault's servers: asked with a time limit, remembered by how they answer, and blamed by name.

mod health;
mod hedging;
mod requests;
mod retry;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use warifu_core::format::Seat;
use warifu_core::ids::{ExtentId, Generation, ServerId, ShareIndex, Threshold};
use warifu_core::keys::{SealKey, VaultKey};

use crate::seam::store::{ObjectKey, ShareStore};

pub use health::Breaker;
pub(crate) use health::{FIRST_HEDGE, Health};
pub(crate) use hedging::Race;
pub(crate) use requests::watch;
pub(crate) use retry::{Again, SILENCE, Vain};

/// A server's place in the vault: which share it keeps, and how to reach it.
#[derive(Clone, Debug)]
pub struct ServerSeat {
    /// The server's id, from its `vault` object.
    pub id: ServerId,
    /// Which share it keeps.
    pub index: ShareIndex,
    /// Its name in the vault file, for people.
    pub name: String,
    /// Where its objects are.
    pub store: Arc<dyn ShareStore>,
}

/// A server as the vault uses it.
pub(crate) struct Server {
    pub(crate) seat: ServerSeat,
    pub(crate) seal_key: SealKey,
    pub(crate) health: Health,
    timeout: Duration,
    asking: requests::Asking,
    /// The generation of its piece of the vault key, as far as is known.
    piece: AtomicU32,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("seat", &self.seat)
            .finish_non_exhaustive()
    }
}

impl Server {
    pub(crate) fn index(&self) -> ShareIndex {
        self.seat.index
    }

    pub(crate) fn name(&self) -> &str {
        &self.seat.name
    }
}

/// All n servers, and the names and keys that belong to them.
pub(crate) struct Servers {
    servers: Vec<Arc<Server>>,
    key: VaultKey,
    pub(crate) threshold: Threshold,
    generation: AtomicU32,
    /// That of what was read last: most things are of one.
    read: AtomicU32,
    /// Whether asking again was of no use just now.
    pub(crate) vain: Vain,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Servers {
    /// `seats` must hold one seat for each index from 1 to n; returns `None` otherwise.
    pub(crate) fn new(
        mut seats: Vec<ServerSeat>,
        key: VaultKey,
        threshold: Threshold,
        generation: Generation,
        timeout: Duration,
    ) -> Option<Self> {
        seats.sort_by_key(|seat| seat.index);
        if !seats.iter().map(|seat| seat.index).eq(threshold.indices()) {
            return None;
        }
        let servers = seats
            .into_iter()
            .map(|seat| {
                let seal_key = key.seal_key(seat.id);
                Arc::new(Server {
                    seat,
                    seal_key,
                    health: Health::new(),
                    timeout,
                    asking: requests::Asking::new(0),
                    piece: AtomicU32::new(generation.0),
                })
            })
            .collect();
        Some(Self {
            servers,
            key,
            threshold,
            generation: AtomicU32::new(generation.0),
            read: AtomicU32::new(generation.0),
            vain: Vain::default(),
        })
    }

    /// The generation in which shares are dealt now.
    pub(crate) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Relaxed))
    }

    /// Deals in this generation from now on, unless it is older than the one at work.
    pub(crate) fn learn_generation(&self, generation: Generation) {
        self.generation.fetch_max(generation.0, Ordering::Relaxed);
    }

    /// The generation that what is read next will most likely be of.
    pub(crate) fn likely_generation(&self) -> Generation {
        Generation(self.read.load(Ordering::Relaxed))
    }

    pub(crate) fn note_read(&self, generation: Generation) {
        self.read.store(generation.0, Ordering::Relaxed);
    }

    /// The vault key, for making a server's piece of it anew.
    pub(crate) fn vault_key(&self) -> &VaultKey {
        &self.key
    }

    /// All servers, by index.
    pub(crate) fn all(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// The servers that have a share of what was dealt with this threshold.
    pub(crate) fn of(&self, threshold: Threshold) -> impl Iterator<Item = &Arc<Server>> {
        let n = threshold.n();
        self.servers
            .iter()
            .filter(move |server| server.index().get() <= n)
    }

    /// Those of them to ask first for so many bytes in front.
    pub(crate) fn by_speed(&self, threshold: Threshold, len: u64) -> Vec<Arc<Server>> {
        let mut servers: Vec<_> = self
            .of(threshold)
            .map(|server| (server.health.rank(len), server))
            .collect();
        servers.sort_by(|(one, _), (other, _)| {
            one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal)
        });
        servers
            .into_iter()
            .map(|(_, server)| Arc::clone(server))
            .collect()
    }

    /// How many servers answer, as far as is known.
    pub(crate) fn answering(&self) -> usize {
        self.servers
            .iter()
            .filter(|server| !server.health.is_open())
            .count()
    }

    /// The dealing's seats, by index.
    pub(crate) fn seats(&self) -> Vec<Seat<'_>> {
        self.servers
            .iter()
            .map(|server| Seat {
                server: server.seat.id,
                key: &server.seal_key,
            })
            .collect()
    }

    /// The name of an extent's share on a server.
    pub(crate) fn object_key(
        &self,
        server: &Server,
        extent: ExtentId,
        generation: Generation,
    ) -> ObjectKey {
        self.key
            .object_name(server.seat.id, extent, generation)
            .into()
    }

    /// How many servers must have a share before a save is at full strength: one more than are needed, where there are as many.
    pub(crate) fn enough(&self) -> usize {
        usize::from(self.threshold.k().saturating_add(1).min(self.threshold.n()))
    }
}

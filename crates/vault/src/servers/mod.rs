//! The vault's servers: asked with a time limit, remembered by how they answer, and blamed by name.

mod health;
mod hedging;
mod requests;
mod retry;
mod thresholds;

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
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
pub use thresholds::Thresholds;
pub(crate) use thresholds::{Said, enough};

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
    fn new(seat: ServerSeat, key: &VaultKey, generation: Generation, timeout: Duration) -> Self {
        Self {
            seal_key: key.seal_key(seat.id),
            seat,
            health: Health::new(),
            timeout,
            asking: requests::Asking::new(0),
            piece: AtomicU32::new(generation.0),
        }
    }

    pub(crate) fn index(&self) -> ShareIndex {
        self.seat.index
    }

    pub(crate) fn name(&self) -> &str {
        &self.seat.name
    }
}

/// The servers there are from some moment on, and by which threshold shares are dealt.
struct Era {
    /// One for each index, ascending.
    servers: Vec<Arc<Server>>,
    thresholds: Thresholds,
    /// The one of them by which shares are dealt.
    in_force: Threshold,
    /// What came after it. Nothing of an era is dropped before the vault is, so that who works with its servers can go on; there are few.
    next: OnceLock<Box<Era>>,
}

/// All servers, and the names and keys that belong to them.
pub(crate) struct Servers {
    first: Era,
    /// Held by who begins a new era.
    changing: Mutex<()>,
    timeout: Duration,
    key: VaultKey,
    generation: AtomicU32,
    /// How many servers the catalogue says that there are; 0 where it does not say.
    said: AtomicU8,
    /// Of what generation and threshold that was what was read last: most things are of one.
    read: AtomicU64,
    /// Whether asking again was of no use just now.
    pub(crate) vain: Vain,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers")
            .field("servers", &self.all())
            .finish_non_exhaustive()
    }
}

/// In order, if there is one seat for each index.
fn in_order(mut seats: Vec<ServerSeat>, thresholds: Thresholds) -> Option<Vec<ServerSeat>> {
    seats.sort_by_key(|seat| seat.index);
    let indices = seats.iter().map(|seat| seat.index.get());
    indices.eq(1..=thresholds.seats()).then_some(seats)
}

const fn packed(generation: Generation, threshold: Threshold) -> u64 {
    (generation.0 as u64) << 16 | (threshold.k() as u64) << 8 | threshold.n() as u64
}

impl Servers {
    /// `seats` must hold one seat for each index from 1 to the greater n; returns `None` otherwise.
    pub(crate) fn new(
        seats: Vec<ServerSeat>,
        key: VaultKey,
        thresholds: Thresholds,
        generation: Generation,
        timeout: Duration,
    ) -> Option<Self> {
        let seats = in_order(seats, thresholds)?;
        let server = |seat| Arc::new(Server::new(seat, &key, generation, timeout));
        let first = Era {
            servers: seats.into_iter().map(server).collect(),
            thresholds,
            in_force: thresholds.now,
            next: OnceLock::new(),
        };
        Some(Self {
            first,
            changing: Mutex::default(),
            timeout,
            key,
            generation: AtomicU32::new(generation.0),
            said: AtomicU8::new(0),
            read: AtomicU64::new(packed(generation, thresholds.now)),
            vain: Vain::default(),
        })
    }

    fn era(&self) -> &Era {
        let mut era = &self.first;
        while let Some(next) = era.next.get() {
            era = next;
        }
        era
    }

    /// Begins another era. The caller holds `changing`.
    fn begin(&self, servers: Vec<Arc<Server>>, thresholds: Thresholds, in_force: Threshold) {
        let next = Era {
            servers,
            thresholds,
            in_force,
            next: OnceLock::new(),
        };
        let _only_one = self.era().next.set(Box::new(next));
    }

    /// Goes on with these servers and thresholds. A server that was there stays the one that it was. Returns whether there is one seat for
    /// each index; nothing is changed otherwise.
    pub(crate) fn reseat(&self, seats: Vec<ServerSeat>, thresholds: Thresholds) -> bool {
        let Some(seats) = in_order(seats, thresholds) else {
            return false;
        };
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let era = self.era();
        let same = |seat: &ServerSeat| {
            let mut known = era.servers.iter();
            known.find(|known| (known.seat.id, known.index()) == (seat.id, seat.index))
        };
        let made = |seat: ServerSeat| match same(&seat) {
            Some(known) => Arc::clone(known),
            None => Arc::new(Server::new(
                seat,
                &self.key,
                self.generation(),
                self.timeout,
            )),
        };
        let servers: Vec<Arc<Server>> = seats.into_iter().map(made).collect();
        let in_force = match thresholds.becoming {
            Some(becoming) if becoming == era.in_force => becoming,
            _ => thresholds.now,
        };
        let unchanged = servers.len() == era.servers.len()
            && servers
                .iter()
                .zip(&era.servers)
                .all(|(one, other)| Arc::ptr_eq(one, other));
        if !unchanged || (thresholds, in_force) != (era.thresholds, era.in_force) {
            self.begin(servers, thresholds, in_force);
        }
        true
    }

    /// Deals by the threshold that the vault is to have from now on, where it is this one. Returns whether it is dealt by now.
    pub(crate) fn put_in_force(&self, threshold: Threshold) -> bool {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let era = self.era();
        if era.in_force == threshold {
            return true;
        }
        if era.thresholds.becoming != Some(threshold) {
            return false;
        }
        self.begin(era.servers.clone(), era.thresholds, threshold);
        true
    }

    /// Learns how many servers the catalogue says that there are.
    pub(crate) fn learn_number(&self, servers: u8) {
        self.said.store(servers, Ordering::Relaxed);
    }

    /// How many servers there are, as far as is known, that the vault file does not name: it was left behind by a change. What is to be removed may be there,
    /// and nobody here can say that it is gone.
    pub(crate) fn unnamed(&self) -> u8 {
        let said = self.said.load(Ordering::Relaxed);
        said.saturating_sub(self.thresholds().seats())
    }

    /// By which threshold shares are dealt now.
    pub(crate) fn threshold(&self) -> Threshold {
        self.era().in_force
    }

    /// Which thresholds shares may have been dealt by.
    pub(crate) fn thresholds(&self) -> Thresholds {
        self.era().thresholds
    }

    /// The generation in which shares are dealt now.
    pub(crate) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// Deals in this generation from now on, unless it is older than the one at work. Whoever sees it also sees which threshold was put in force before.
    pub(crate) fn learn_generation(&self, generation: Generation) {
        self.generation.fetch_max(generation.0, Ordering::Release);
    }

    /// The generation and the threshold that what is read next will most likely be of.
    pub(crate) fn likely(&self) -> (Generation, Threshold) {
        let read = self.read.load(Ordering::Relaxed);
        let [.., a, b, c, d, k, n] = read.to_be_bytes();
        let threshold = Threshold::new(k, n).unwrap_or_else(|_| self.threshold());
        (Generation(u32::from_be_bytes([a, b, c, d])), threshold)
    }

    pub(crate) fn note_read(&self, generation: Generation, threshold: Threshold) {
        let read = packed(generation, threshold);
        self.read.store(read, Ordering::Relaxed);
    }

    /// The vault key, for making a server's piece of it anew.
    pub(crate) fn vault_key(&self) -> &VaultKey {
        &self.key
    }

    /// All servers, by index.
    pub(crate) fn all(&self) -> &[Arc<Server>] {
        &self.era().servers
    }

    /// The servers that have a share of what was dealt with this threshold.
    pub(crate) fn of(&self, threshold: Threshold) -> impl Iterator<Item = &Arc<Server>> {
        let n = threshold.n();
        self.all()
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

    /// How many of these servers answer, as far as is known.
    pub(crate) fn answering(&self, threshold: Threshold) -> usize {
        self.of(threshold)
            .filter(|server| !server.health.is_open())
            .count()
    }

    /// The seats of a dealing by this threshold, by index.
    pub(crate) fn seats(&self, threshold: Threshold) -> Vec<Seat<'_>> {
        self.of(threshold)
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
}

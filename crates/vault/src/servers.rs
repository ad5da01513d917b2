//! The vault's servers: asked with a time limit, remembered by their speed, and blamed by name.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use warifu_core::format::Seat;
use warifu_core::ids::{ExtentId, Generation, ServerId, ShareIndex, Threshold};
use warifu_core::keys::{SealKey, VaultKey};

use crate::seam::store::{Durability, ObjectKey, ShareStore, StoreError, StoreErrorKind};

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
    timeout: Duration,
    /// Smoothed time to answer, in microseconds; what reading prefers servers by.
    latency_us: AtomicU64,
    /// Whether the last request got no answer. Such a server is asked last and not waited for long.
    away: AtomicBool,
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

    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    pub(crate) fn latency(&self) -> Option<Duration> {
        match self.latency_us.load(Ordering::Relaxed) {
            0 => None,
            us => Some(Duration::from_micros(us)),
        }
    }

    /// Somebody has given up waiting for this server, although it may still answer.
    pub(crate) fn kept_waiting(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    /// Waits for an answer for at most the vault's time limit, and learns from it; also from nobody waiting so long.
    pub(crate) async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let waiting = Waiting {
            server: self,
            begin: Instant::now(),
        };
        let answer = match tokio::time::timeout(self.timeout, request).await {
            Ok(answer) => answer,
            Err(_) => Err(StoreError::new(
                StoreErrorKind::NoAnswer,
                format!("no answer within {} s", self.timeout.as_secs_f32()),
            )),
        };
        let away = matches!(&answer, Err(error) if error.kind == StoreErrorKind::NoAnswer);
        self.away.store(away, Ordering::Relaxed);
        let took = waiting.micros();
        std::mem::forget(waiting);
        let before = self.latency_us.load(Ordering::Relaxed);
        let smoothed = if before == 0 {
            took
        } else {
            before / 8 * 7 + took / 8
        };
        self.latency_us.store(smoothed.max(1), Ordering::Relaxed);
        answer
    }

    /// Keeps a share. A write whose answer was lost is tried once more; finding the name taken then is the success that was
    /// not heard of, because nobody else can know the name.
    pub(crate) async fn put(
        &self,
        name: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let store = &self.seat.store;
        let begin = Instant::now();
        let first = self
            .ask(store.put_new(name, object.clone(), durability))
            .await;
        match first {
            Err(error)
                if error.kind == StoreErrorKind::NoAnswer && begin.elapsed() < RETRY_WITHIN =>
            {
                let len = object.len() as u64;
                match self.ask(store.put_new(name, object, durability)).await {
                    Err(second) if second.kind == StoreErrorKind::AlreadyExists => {
                        let stat = self.ask(store.stat(name)).await?;
                        if stat.len != len {
                            return Err(StoreError::new(
                                StoreErrorKind::Failed,
                                "an object was kept only in part",
                            ));
                        }
                        if durability == Durability::Now {
                            self.ask(store.sync()).await?;
                        }
                        Ok(())
                    }
                    other => other,
                }
            }
            other => other,
        }
    }
}

/// A request under way. Dropped before its answer, because a spare was quicker, it counts as slow as it was by then.
struct Waiting<'a> {
    server: &'a Server,
    begin: Instant,
}

impl Waiting<'_> {
    fn micros(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros())
            .unwrap_or(u64::MAX)
            .max(1)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.server
            .latency_us
            .fetch_max(self.micros(), Ordering::Relaxed);
    }
}

/// A write that failed slower than this is not tried again while somebody waits.
const RETRY_WITHIN: Duration = Duration::from_secs(2);

/// All n servers, and the names and keys that belong to them.
pub(crate) struct Servers {
    servers: Vec<Arc<Server>>,
    key: VaultKey,
    pub(crate) threshold: Threshold,
    pub(crate) generation: Generation,
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
                let (latency_us, away) = (AtomicU64::new(0), AtomicBool::new(false));
                Arc::new(Server {
                    seat,
                    seal_key,
                    timeout,
                    latency_us,
                    away,
                })
            })
            .collect();
        Some(Self {
            servers,
            key,
            threshold,
            generation,
        })
    }

    /// The vault key, for making a server's piece of it anew.
    pub(crate) fn vault_key(&self) -> &VaultKey {
        &self.key
    }

    /// All servers, by index.
    pub(crate) fn all(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// All servers, the ones to ask first in front.
    pub(crate) fn by_speed(&self) -> Vec<Arc<Server>> {
        let mut servers = self.servers.clone();
        servers.sort_by_key(|server| (server.is_away(), server.latency_us.load(Ordering::Relaxed)));
        servers
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

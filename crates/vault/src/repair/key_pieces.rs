//! The servers' pieces of the vault key: one that is gone or damaged is made anew from k others, and a refresh gives all of them another
//! generation.
//!
//! The key stays, so its pieces are dealt anew by whoever has the vault open, and has the key. New ones come to their servers beside the
//! old ones, under a name of their own; the old ones go when enough servers have theirs. So at every moment, and wherever it is cut
//! off, there are k pieces of one generation: of the old one until then, of the new one from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use warifu_core::ids::{Generation, ShareIndex, Threshold};
use warifu_core::vault_object::{VaultObject, deal_vault_key, is_newer, rebuild_vault_object};

use crate::error::{Fault, Result, ServerFault, VaultError};
use crate::keys::piece_generations;
use crate::seam::catalog::IndexSet;
use crate::seam::store::{Durability, ObjectKey, StoreError, StoreErrorKind};
use crate::servers::{Server, enough};
use crate::vault::Inner;

/// What a server has of the vault key.
#[derive(Default)]
struct Pieces {
    good: Vec<VaultObject>,
    /// The generations of those that are rubbish.
    bad: Vec<Generation>,
    /// The generations, by their names, of what is somebody else's or a newer warifu's.
    foreign: Vec<Generation>,
    /// Something could not be looked at, belongs to somebody else, or was made by a newer warifu: nothing is to be written there.
    unknown: bool,
    /// What gave no answer.
    silent: Option<StoreError>,
}

impl Pieces {
    fn has(&self, generation: Generation) -> bool {
        self.good
            .iter()
            .any(|piece| piece.generation() == generation)
    }

    /// What is wrong with the piece of this server that is at work.
    fn lost(&self, at_work: Option<AtWork>, server: &Server) -> Option<Fault> {
        // A server that is to come, or to go, has none of some generations.
        if at_work.is_some_and(|at| server.index().get() > at.threshold.n()) {
            return None;
        }
        let generation = at_work.map(|at| at.generation);
        let has = generation.map_or(!self.good.is_empty(), |generation| self.has(generation));
        if self.unknown || has {
            return None;
        }
        let is_bad = generation.map_or(!self.bad.is_empty(), |generation| {
            self.bad.contains(&generation)
        });
        Some(if is_bad {
            Fault::Corrupt
        } else {
            Fault::Missing
        })
    }
}

/// How many pieces of one server are looked at, the newest first.
const LOOKED_AT: usize = 64;

/// What servers tell of the newest generation.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    /// Of a piece that the vault key vouches for.
    pub(crate) generation: Option<Generation>,
    /// Servers that did not tell all that they have.
    pub(crate) silent: Vec<(ShareIndex, ServerFault)>,
    /// What is named like a piece of the key, and is none of this vault.
    pub(crate) strange: Vec<ServerFault>,
}

/// What became of pieces that were dealt anew.
#[derive(Debug, Default)]
pub(crate) struct Renewed {
    /// The servers that have theirs, on their disks.
    pub(crate) stored: IndexSet,
    /// What the others said.
    pub(crate) faults: Vec<ServerFault>,
}

impl Inner {
    async fn pieces_on(&self, server: &Arc<Server>) -> Pieces {
        let mut pieces = Pieces::default();
        let store = server.seat.store.as_ref();
        let generations = match server.ask(piece_generations(store)).await {
            Ok(generations) => generations,
            Err(error) => {
                pieces.unknown = true;
                pieces.silent = Some(error);
                return pieces;
            }
        };
        // Anybody who may write there can give names; a vault has one piece on a server, and a few more where refreshes were cut off.
        for generation in generations.into_iter().rev().take(LOOKED_AT) {
            let name = ObjectKey::vault_object(generation);
            let bytes = match server.ask(store.get(&name, None)).await {
                Ok(bytes) => bytes,
                Err(error) if error.kind == StoreErrorKind::NotFound => continue,
                Err(error) => {
                    pieces.unknown = true;
                    pieces.silent = Some(error);
                    continue;
                }
            };
            let Ok(object) = VaultObject::parse(&bytes) else {
                if is_newer(&bytes, self.servers.vault_key()) {
                    pieces.unknown = true;
                    pieces.foreign.push(generation);
                } else {
                    pieces.bad.push(generation);
                }
                continue;
            };
            let mine = object.server() == server.seat.id
                && object.index() == server.index()
                && object.generation() == generation;
            let is_authentic = object.is_authentic(self.servers.vault_key());
            if is_authentic && object.is_bound() {
                // Whoever has the vault open since before there were ways in learns of it here, before dealing anything.
                self.servers.vault_key().bind();
            }
            match is_authentic {
                true if mine => pieces.good.push(object),
                false if object.vault() == self.vault => pieces.bad.push(generation),
                _ => {
                    pieces.unknown = true;
                    pieces.foreign.push(generation);
                }
            }
        }
        pieces
    }

    /// Whether this is a piece of this vault's key for this seat, of whatever generation.
    pub(crate) fn is_piece_of(&self, index: ShareIndex, object: &VaultObject) -> bool {
        let mut servers = self.servers.all().iter();
        let seat = servers.find(|server| server.index() == index);
        object.vault() == self.vault
            && object.index() == index
            && seat.is_some_and(|server| server.seat.id == object.server())
            && object.is_authentic(self.servers.vault_key())
    }

    async fn pieces(&self) -> Vec<(&Arc<Server>, Pieces)> {
        let servers = self.servers.all().iter();
        join_all(servers.map(|server| async move { (server, self.pieces_on(server).await) })).await
    }

    /// The servers whose piece of the vault key is gone or damaged.
    pub(super) async fn lost_pieces(&self) -> Vec<ServerFault> {
        let pieces = self.pieces().await;
        let at_work = at_work(&pieces);
        let lost = |(server, pieces): &(&Arc<Server>, Pieces)| {
            pieces.lost(at_work, server).map(|fault| ServerFault {
                server: server.name().to_owned(),
                fault,
                detail: "its piece of the vault key".to_owned(),
            })
        };
        pieces.iter().filter_map(lost).collect()
    }

    /// Makes lost pieces anew. Returns the names of the servers that have theirs back.
    pub(crate) async fn mend_pieces(&self) -> Result<Vec<String>> {
        let pieces = self.pieces().await;
        let at_work = at_work(&pieces);
        let lost: Vec<_> = pieces
            .iter()
            .filter_map(|(server, pieces)| Some((*server, pieces.lost(at_work, server)?)))
            .collect();
        if lost.is_empty() {
            return Ok(Vec::new());
        }
        let good: Vec<VaultObject> = pieces
            .into_iter()
            .flat_map(|(_, pieces)| pieces.good)
            .collect();
        let mut mended = Vec::new();
        for (server, fault) in lost {
            let piece = match self.piece_from(&good, server.index(), server) {
                Ok(piece) => piece,
                // That too few others answer for this must not keep the shares from being repaired.
                Err(error) => {
                    tracing::warn!(server = server.name(), %error, "a piece of the vault key could not be made anew yet");
                    continue;
                }
            };
            let name = ObjectKey::vault_object(piece.generation());
            let object = Bytes::copy_from_slice(&piece.encode());
            let store = &server.seat.store;
            let put = async {
                if fault == Fault::Corrupt {
                    server.ask(store.delete(&name)).await?;
                }
                server
                    .ask(store.put_new(&name, object, Durability::Now))
                    .await
            };
            match put.await {
                Ok(()) => mended.push(server.name().to_owned()),
                Err(error) => {
                    tracing::warn!(server = server.name(), %error, "a piece of the vault key could not be put back");
                }
            }
        }
        Ok(mended)
    }

    fn piece_from(
        &self,
        good: &[VaultObject],
        index: ShareIndex,
        server: &Server,
    ) -> Result<VaultObject> {
        let key = self.servers.vault_key();
        let object = rebuild_vault_object(good, key, index, server.seat.id);
        object.map_err(|error| VaultError::Damaged {
            what: format!("a piece of the vault key cannot be made anew: {error}"),
        })
    }

    /// The object with the piece of the vault key that belongs on this seat, made from those of other servers; nothing where the dealing at work
    /// has none for it: while the threshold changes, for a server that is to come, or to go.
    pub(super) async fn piece_for(&self, index: ShareIndex) -> Result<Option<Bytes>> {
        let servers = self.servers.all().iter();
        let Some(server) = servers.clone().find(|server| server.index() == index) else {
            return Err(VaultError::NotFound { what: "server" });
        };
        let others = servers.filter(|other| other.index() != index);
        let pieces =
            join_all(others.map(|other| async move { (other, self.pieces_on(other).await) }));
        let pieces = pieces.await;
        if at_work(&pieces).is_some_and(|at| index.get() > at.threshold.n()) {
            return Ok(None);
        }
        let pieces = pieces.into_iter();
        let good: Vec<VaultObject> = pieces.flat_map(|(_, pieces)| pieces.good).collect();
        let piece = self.piece_from(&good, index, server)?;
        Ok(Some(Bytes::copy_from_slice(&piece.encode())))
    }

    /// The newest generation of which any of these servers has a piece. Only a piece that the vault key vouches for counts: whoever may write
    /// to one server could otherwise use up all numbers by a name.
    pub(crate) async fn newest_piece(&self, there: IndexSet) -> Newest {
        let servers = self.servers.all().iter();
        let servers = servers.filter(|server| there.contains(server.index()));
        let found =
            join_all(servers.map(|server| async move { (server, self.pieces_on(server).await) }));
        let mut newest = Newest::default();
        for (server, pieces) in found.await {
            let good = pieces.good.iter().map(VaultObject::generation);
            newest.generation = newest.generation.max(good.max());
            if let Some(error) = pieces.silent {
                let fault = ServerFault::of_store(server.name(), &error);
                newest.silent.push((server.index(), fault));
            }
            let names = pieces.bad.iter().chain(&pieces.foreign);
            let names: Vec<_> = names
                .map(|generation| ObjectKey::vault_object(*generation).as_str().to_owned())
                .collect();
            if !names.is_empty() {
                newest.strange.push(ServerFault {
                    server: server.name().to_owned(),
                    fault: Fault::Foreign,
                    detail: format!("no piece of this vault's key: {}", names.join(", ")),
                });
            }
        }
        newest
    }

    /// Removes pieces of older generations where they are of no use any more: where the server shows a good piece of a generation of which
    /// there are enough. A server that was away during a refresh keeps its old piece until then, and so does one that a repair gave the
    /// piece of before a refresh just as that refresh was done.
    ///
    /// Pieces of another threshold than the vault is to have let none go: a change may have overtaken whoever put them.
    pub(crate) async fn tidy_pieces(&self) -> Vec<ServerFault> {
        // In this order: what is begun when the second one is asked is strange by the first.
        let (Ok(generations), Ok(wanted)) = (
            self.catalog.generations().await,
            self.threshold_to_have().await,
        ) else {
            return Vec::new();
        };
        if self.needs_older_pieces().await.unwrap_or(true) {
            return Vec::new();
        }
        let pieces = self.pieces().await;
        let Some(at_work) = newest_of(&pieces, |threshold| match threshold == wanted {
            true => enough(threshold),
            false => usize::MAX,
        }) else {
            return Vec::new();
        };
        let newest = at_work.generation;
        // One that is to go gets no other.
        let goes = |server: &Server| server.index().get() > at_work.threshold.n();
        let have = pieces
            .iter()
            .filter(|(server, pieces)| pieces.has(newest) || goes(server));
        let have: IndexSet = have.map(|(server, _)| server.index()).collect();
        let strange = self.strange_of(&pieces, generations.wanted);
        self.remove_pieces(have, |generation| {
            generation < newest && !strange.contains(&generation)
        })
        .await
    }

    /// Generations of pieces of a threshold that is not known here, as new as what the catalogue wanted at some time, or newer: somebody may be about
    /// to put that threshold in force. They are not removed because of others.
    pub(crate) async fn strange_pieces(&self, wanted: Generation) -> BTreeSet<Generation> {
        self.strange_of(&self.pieces().await, wanted)
    }

    fn strange_of(
        &self,
        pieces: &[(&Arc<Server>, Pieces)],
        wanted: Generation,
    ) -> BTreeSet<Generation> {
        let thresholds = self.servers.thresholds();
        let good = pieces.iter().flat_map(|(_, pieces)| &pieces.good);
        let strange = good.filter(|piece| {
            piece.generation() >= wanted && !thresholds.contains(piece.threshold())
        });
        strange.map(VaultObject::generation).collect()
    }

    /// Looks on these servers whether there are ways in by now, which somebody else has added since the vault was opened here.
    pub(crate) async fn is_bound_by_now(&self, on: IndexSet) -> bool {
        let key = self.servers.vault_key();
        if !key.is_bound() {
            // What says so binds the key when it is met.
            self.newest_piece(on).await;
        }
        key.is_bound()
    }

    /// Deals the vault key anew by the threshold that the vault is to have, in this generation, of which no server has a piece yet, and puts the
    /// pieces of the servers that are there. The older pieces stay. Where there are ways in, nobody gets a piece, and what is put says that.
    pub(crate) async fn renew_pieces(
        &self,
        generation: Generation,
        there: IndexSet,
    ) -> Result<Renewed> {
        let servers = &self.servers;
        let threshold = servers.thresholds().target();
        let ids: Vec<_> = servers.of(threshold).map(|server| server.seat.id).collect();
        let dealt = deal_vault_key(
            servers.vault_key(),
            &self.vault,
            threshold,
            generation,
            &ids,
        );
        let dealt = dealt.map_err(|error| VaultError::Damaged {
            what: format!("the vault key could not be dealt: {error}"),
        })?;
        let name = ObjectKey::vault_object(generation);
        let puts = servers.of(threshold).zip(&dealt);
        let puts = puts.filter(|(server, _)| there.contains(server.index()));
        let puts = puts.map(|(server, piece)| {
            let (name, object) = (&name, Bytes::copy_from_slice(&piece.encode()));
            async move { (server, server.put_own(name, object, Durability::Now).await) }
        });
        let mut renewed = Renewed::default();
        for (server, answer) in join_all(puts).await {
            match answer {
                Ok(()) => renewed.stored.insert(server.index()),
                Err(error) => renewed
                    .faults
                    .push(ServerFault::of_store(server.name(), &error)),
            }
        }
        Ok(renewed)
    }

    /// Removes pieces of these generations from these servers. Returns the servers that may still have some.
    pub(crate) async fn remove_pieces(
        &self,
        on: IndexSet,
        of: impl Fn(Generation) -> bool + Send + Sync,
    ) -> Vec<ServerFault> {
        let of = &of;
        let servers = self.servers.all().iter();
        let servers = servers.filter(|server| on.contains(server.index()));
        let removed = join_all(servers.map(|server| async move {
            let store = server.seat.store.as_ref();
            let removed = async {
                for generation in server.ask(piece_generations(store)).await? {
                    if !of(generation) {
                        continue;
                    }
                    match server
                        .ask(store.delete(&ObjectKey::vault_object(generation)))
                        .await
                    {
                        Err(error) if error.kind != StoreErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
                Ok::<(), StoreError>(())
            };
            let error = removed.await.err()?;
            Some(ServerFault::of_store(server.name(), &error))
        }));
        removed.await.into_iter().flatten().collect()
    }
}

/// A generation of pieces, and by which threshold they were dealt.
#[derive(Clone, Copy, Debug)]
struct AtWork {
    generation: Generation,
    threshold: Threshold,
}

/// The newest generation of which there are k pieces.
fn at_work(pieces: &[(&Arc<Server>, Pieces)]) -> Option<AtWork> {
    newest_of(pieces, |threshold| usize::from(threshold.k()))
}

/// The newest generation of which there are so many pieces.
fn newest_of(
    pieces: &[(&Arc<Server>, Pieces)],
    needed: impl Fn(Threshold) -> usize,
) -> Option<AtWork> {
    let mut count: BTreeMap<Generation, (usize, Threshold)> = BTreeMap::new();
    for piece in pieces.iter().flat_map(|(_, pieces)| &pieces.good) {
        let new = (0, piece.threshold());
        count.entry(piece.generation()).or_insert(new).0 += 1;
    }
    let mut there = count.into_iter().rev();
    let (generation, (_, threshold)) =
        there.find(|(_, (found, threshold))| *found >= needed(*threshold))?;
    Some(AtWork {
        generation,
        threshold,
    })
}

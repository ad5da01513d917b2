//! Servers that lack what counts of the ways, or still have what does not, are put right.

use bytes::Bytes;
use warifu_core::format::FormatError;
use warifu_core::ids::{Generation, ShareIndex};
use warifu_core::vault_object::VaultObject;
use warifu_core::ways::{WaysFormatError, WaysNumber, WaysObject, rebuild_ways_object};

use super::change::leave_parts;
use super::{CHANGES_WITHIN, Held, SHOWS_WITHIN, counting, enough_have, fault_of, is_decided};
use crate::error::{Fault, Result, ServerFault, VaultError};
use crate::seam::store::{Durability, ObjectKey, StoreError, StoreErrorKind};
use crate::servers::Server;
use crate::vault::{Inner, Vault};

impl Vault {
    /// Gives every server that lacks it, or has an older one, its part of the ways that count, and takes the pieces of the vault key from servers that
    /// were away when the first way was added. Returns the names of those that were put right. Nothing is done where there are no ways, nor on a server
    /// that has lost everything, which a [repair](Vault::repair) fills; nor is one waited for that hangs.
    pub async fn mend_ways(&self) -> Vec<String> {
        self.inner.mend_ways(false).await
    }

    /// The server's part of the ways that count, and its name there; nothing where there are no ways. For a new place, which must have it before the old one is
    /// given up: otherwise one server fewer than before would open the vault.
    ///
    /// # Errors
    /// [`VaultError::Damaged`] where it can neither be made from those of k others nor be read from the server itself.
    pub async fn ways_part_for(&self, index: ShareIndex) -> Result<Option<(ObjectKey, Bytes)>> {
        self.inner.ways_part_for(index).await
    }
}

/// What is wrong with one server's part.
fn wrong(held: &Held, number: WaysNumber, counts: &[u8]) -> Option<(Fault, &'static str)> {
    if held.silent.is_some() {
        return None;
    }
    let own = |object: &WaysObject| object.number() == number;
    match held.good.iter().find(|object| own(object)) {
        None if held.bad.contains(&number) => {
            Some((Fault::Corrupt, "its part of the ways in is damaged"))
        }
        None if held.good.is_empty() => Some((Fault::Missing, "its part of the ways in")),
        None => Some((Fault::Stale, "its part of the ways in")),
        Some(object) if object.encode() != counts => {
            Some((Fault::Stale, "its part of the ways in"))
        }
        Some(_) if !held.pieces.is_empty() => Some((
            Fault::Stale,
            "it has a piece of the vault key from before there were ways in",
        )),
        Some(_) if held.blank => Some((Fault::Missing, "what says that there are ways in")),
        Some(_) if held.good.iter().any(|object| object.number() < number) => Some((
            Fault::Stale,
            "it has a part of ways in that do not count any more",
        )),
        Some(_) => None,
    }
}

/// Whether a server has a part of these ways: not one that is to come or to go.
fn has_part(held: &Held, objects: &[WaysObject]) -> bool {
    let n = objects.iter().map(|object| object.threshold().n()).max();
    n.is_none_or(|n| held.server.index().get() <= n)
}

impl Inner {
    /// The number that counts, and the good parts of it.
    fn counting_parts(&self, held: &[Held]) -> Option<(WaysNumber, Vec<WaysObject>)> {
        let key = self.servers.vault_key();
        key.bind();
        let number = counting(held, key)?.number();
        let objects = held
            .iter()
            .flat_map(|held| &held.good)
            .filter(|object| object.number() == number)
            .filter_map(|object| WaysObject::parse(&object.encode()).ok());
        Some((number, objects.collect()))
    }

    /// One server's part, made from those of others.
    fn part(&self, held: &Held, number: WaysNumber, objects: &[WaysObject]) -> Option<Bytes> {
        let (index, id) = (held.server.index(), held.server.seat.id);
        let made = rebuild_ways_object(objects, self.servers.vault_key(), index, id).ok();
        // Where only k have it, those k cannot be made from the others: they are what they are.
        let there = || held.good.iter().find(|object| object.number() == number);
        let bytes = made.map(|object| object.encode());
        bytes
            .or_else(|| there().map(WaysObject::encode))
            .map(Bytes::from)
    }

    /// What each server's part of the ways that count is: `None` for one that has none, because it is to come or to go. Nothing at all where
    /// there are no ways.
    fn parts(&self, held: &[Held]) -> Option<(WaysNumber, Vec<Option<Bytes>>)> {
        if !is_decided(held, self.servers.vault_key()) {
            return None;
        }
        let (number, objects) = self.counting_parts(held)?;
        let parts = held.iter().map(|held| match has_part(held, &objects) {
            true => self.part(held, number, &objects).map(Some),
            false => Some(None),
        });
        Some((number, parts.collect::<Option<Vec<_>>>()?))
    }

    async fn ways_part_for(&self, index: ShareIndex) -> Result<Option<(ObjectKey, Bytes)>> {
        let held = self.held(CHANGES_WITHIN).await;
        if !is_decided(&held, self.servers.vault_key()) {
            return Ok(None);
        }
        let missing = || VaultError::Damaged {
            what:
                "the server's part of the ways in cannot be made anew: too few others have theirs"
                    .to_owned(),
        };
        let place = held.iter().position(|held| held.server.index() == index);
        let (number, objects) = self.counting_parts(&held).ok_or_else(missing)?;
        let held = place
            .and_then(|place| held.get(place))
            .ok_or_else(missing)?;
        if !has_part(held, &objects) {
            return Ok(None);
        }
        let part = self.part(held, number, &objects).ok_or_else(missing)?;
        Ok(Some((ObjectKey::ways_object(number), part)))
    }

    /// The servers whose part of the ways is gone, damaged or old.
    pub(crate) async fn lost_ways(&self) -> Vec<ServerFault> {
        self.lost_of(&self.held(SHOWS_WITHIN).await)
    }

    pub(super) fn lost_of(&self, held: &[Held]) -> Vec<ServerFault> {
        let Some((number, parts)) = self.parts(held) else {
            return Vec::new();
        };
        let lost = held.iter().zip(&parts).filter_map(|(held, part)| {
            let (fault, detail) = wrong(held, number, part.as_ref()?)?;
            Some(fault_of(&held.server, fault, detail))
        });
        lost.collect()
    }

    /// See [`Vault::mend_ways`]. `asked`: somebody wants a server that has lost everything to be filled again.
    pub(crate) async fn mend_ways(&self, asked: bool) -> Vec<String> {
        if self.writable().is_err() {
            return Vec::new();
        }
        let held = self.held(SHOWS_WITHIN).await;
        let Some((number, parts)) = self.parts(&held) else {
            return Vec::new();
        };
        // A change under way of which fewer have their part may yet be taken back: then what it was to replace is needed.
        let settled = enough_have(&held, number);
        let mut mended = Vec::new();
        for (held, part) in held.iter().zip(parts) {
            let Some(part) = part else {
                // It is to go, and was away when the others got theirs.
                if let Some(fault) = leave_parts(held, number).await {
                    tracing::warn!(
                        server = fault.server,
                        detail = fault.detail,
                        "a server that is to go keeps its part of the ways in yet"
                    );
                }
                continue;
            };
            if wrong(held, number, &part).is_none() || (held.is_emptied() && !asked) {
                continue;
            }
            match self.put_right(held, number, part, settled).await {
                Ok(()) => mended.push(held.server.name().to_owned()),
                Err(error) => {
                    tracing::warn!(server = held.server.name(), %error, "a server's part of the ways in could not be put right yet");
                }
            }
        }
        mended
    }

    async fn put_right(
        &self,
        held: &Held,
        number: WaysNumber,
        part: Bytes,
        settled: bool,
    ) -> std::result::Result<(), StoreError> {
        let ours = |bytes: &[u8]| match WaysObject::parse(bytes) {
            Ok(object) => object.vault() == self.vault,
            Err(error) => !matches!(error, WaysFormatError::Format(FormatError::Newer { .. })),
        };
        put_over(&held.server, &ObjectKey::ways_object(number), part, ours).await?;
        self.take_pieces(held).await?;
        let older = held.good.iter().map(WaysObject::number);
        for old in older.filter(|old| settled && *old < number) {
            remove(&held.server, &ObjectKey::ways_object(old)).await?;
        }
        Ok(())
    }

    /// Puts a part of a number that nobody has used. Rubbish that lies there makes way; what the vault key vouches for is of somebody who changes the ways at
    /// the same time, and stays.
    pub(super) async fn put_part(
        &self,
        server: &Server,
        number: WaysNumber,
        part: Bytes,
    ) -> std::result::Result<(), StoreError> {
        let rubbish = |bytes: &[u8]| match WaysObject::parse(bytes) {
            Ok(object) => {
                object.vault() == self.vault && !object.is_authentic(self.servers.vault_key())
            }
            Err(error) => !matches!(error, WaysFormatError::Format(FormatError::Newer { .. })),
        };
        put_over(server, &ObjectKey::ways_object(number), part, rubbish).await
    }

    /// Takes pieces of the vault key away and says in their place that there are ways.
    pub(super) async fn take_pieces(&self, held: &Held) -> std::result::Result<(), StoreError> {
        let (servers, server) = (&self.servers, &held.server);
        let ours = |bytes: &[u8]| match VaultObject::parse(bytes) {
            Ok(object) => object.vault() == self.vault,
            Err(error) => !matches!(error, FormatError::Newer { .. }),
        };
        let mut generations: Vec<Generation> = held
            .pieces
            .iter()
            .filter_map(ObjectKey::piece_generation)
            .collect();
        if held.blank {
            generations.push(held.newest.unwrap_or_else(|| servers.generation()));
        }
        let thresholds = servers.thresholds();
        let target = thresholds.target();
        // A server that is to go is none of those of the threshold to come.
        let threshold = match server.index().get() <= target.n() {
            true => target,
            false => thresholds.now,
        };
        for generation in generations {
            let sign = VaultObject::without_piece(
                servers.vault_key(),
                self.vault,
                threshold,
                generation,
                server.seat.id,
                server.index(),
            );
            let (name, sign) = (ObjectKey::vault_object(generation), sign.encode());
            put_over(server, &name, Bytes::copy_from_slice(&sign), ours).await?;
        }
        Ok(())
    }
}

pub(super) async fn remove(
    server: &Server,
    name: &ObjectKey,
) -> std::result::Result<(), StoreError> {
    match server.ask(server.seat.store.delete(name)).await {
        Err(error) if error.kind != StoreErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Puts an object under a fixed name, in the place of whatever else of `ours` is there. Between the two steps nothing is there; what knows of it puts
/// it right later. A drive that mends at the same time may put something else there: it is taken away again.
async fn put_over(
    server: &Server,
    name: &ObjectKey,
    object: Bytes,
    ours: impl Fn(&[u8]) -> bool + Send,
) -> std::result::Result<(), StoreError> {
    const TRIES: usize = 4;
    let store = &server.seat.store;
    let mut tries = 0;
    loop {
        tries += 1;
        let put = store.put_new(name, object.clone(), Durability::Now);
        match server.ask(put).await {
            Err(error) if error.kind == StoreErrorKind::AlreadyExists && tries < TRIES => {}
            answer => return answer,
        }
        match server.ask(store.get(name, None)).await {
            Ok(there) if there == object => {
                // It may be there since a moment only, and not on disk yet.
                return server.ask(store.sync()).await;
            }
            Ok(there) if ours(&there) => remove(server, name).await?,
            Ok(_) => {
                let detail = format!("{name} is another vault's, or of a newer warifu");
                return Err(StoreError::new(StoreErrorKind::Failed, detail));
            }
            Err(error) if error.kind == StoreErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

//! Servers that lack what counts of the ways, or still have what does not, are put right.

use bytes::Bytes;
use warifu_core::format::FormatError;
use warifu_core::ids::Generation;
use warifu_core::vault_object::VaultObject;
use warifu_core::ways::{WaysFormatError, WaysNumber, WaysObject, rebuild_ways_object};

use super::{Held, counting, fault_of, is_decided};
use crate::error::{Fault, ServerFault};
use crate::seam::store::{Durability, ObjectKey, StoreError, StoreErrorKind};
use crate::servers::Server;
use crate::vault::{Inner, Vault};

impl Vault {
    /// Gives every server that lacks it, or has an older one, its part of the ways that count, and takes the pieces of the vault key from servers that
    /// were away when the first way was added. Returns the names of those that were put right. Nothing is done where there are no ways.
    pub async fn mend_ways(&self) -> Vec<String> {
        self.inner.mend_ways().await
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

impl Inner {
    /// What each server's part of the ways that count is; nothing where there are none.
    fn parts(&self, held: &[Held]) -> Option<(WaysNumber, Vec<Bytes>)> {
        let key = self.servers.vault_key();
        if !is_decided(held, key) {
            return None;
        }
        key.bind();
        let number = counting(held, key)?.number();
        let objects: Vec<WaysObject> = held
            .iter()
            .flat_map(|held| &held.good)
            .filter(|object| object.number() == number)
            .filter_map(|object| WaysObject::parse(&object.encode()).ok())
            .collect();
        let own = |held: &Held| {
            let (index, id) = (held.server.index(), held.server.seat.id);
            let made = rebuild_ways_object(&objects, key, index, id).ok();
            // Where only k have it, those k cannot be made from the others: they are what they are.
            let there = || held.good.iter().find(|object| object.number() == number);
            let bytes = made.map(|object| object.encode());
            bytes.or_else(|| there().map(WaysObject::encode))
        };
        let parts: Option<Vec<Bytes>> =
            held.iter().map(|held| own(held).map(Bytes::from)).collect();
        Some((number, parts?))
    }

    /// The servers whose part of the ways is gone, damaged or old.
    pub(crate) async fn lost_ways(&self) -> Vec<ServerFault> {
        let held = self.held().await;
        let Some((number, parts)) = self.parts(&held) else {
            return Vec::new();
        };
        let lost = held.iter().zip(&parts).filter_map(|(held, part)| {
            let (fault, detail) = wrong(held, number, part)?;
            Some(fault_of(&held.server, fault, detail))
        });
        lost.collect()
    }

    /// See [`Vault::mend_ways`].
    pub(crate) async fn mend_ways(&self) -> Vec<String> {
        let held = self.held().await;
        let Some((number, parts)) = self.parts(&held) else {
            return Vec::new();
        };
        let mut mended = Vec::new();
        for (held, part) in held.iter().zip(parts) {
            if wrong(held, number, &part).is_none() {
                continue;
            }
            match self.put_right(held, number, part).await {
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
    ) -> Result<(), StoreError> {
        self.put_part(&held.server, number, part).await?;
        self.take_pieces(held).await?;
        let older = held.good.iter().map(WaysObject::number);
        for old in older.filter(|old| *old < number) {
            remove(&held.server, &ObjectKey::ways_object(old)).await?;
        }
        Ok(())
    }

    /// Puts a part where it may be already, or where something else of this vault may lie under its name.
    pub(super) async fn put_part(
        &self,
        server: &Server,
        number: WaysNumber,
        part: Bytes,
    ) -> Result<(), StoreError> {
        let ours = |bytes: &[u8]| match WaysObject::parse(bytes) {
            Ok(object) => object.vault() == self.vault,
            Err(error) => !matches!(error, WaysFormatError::Format(FormatError::Newer { .. })),
        };
        put_over(server, &ObjectKey::ways_object(number), part, ours).await
    }

    /// Takes pieces of the vault key away and says in their place that there are ways.
    pub(super) async fn take_pieces(&self, held: &Held) -> Result<(), StoreError> {
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
        for generation in generations {
            let sign = VaultObject::without_piece(
                servers.vault_key(),
                self.vault,
                servers.threshold,
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

pub(super) async fn remove(server: &Server, name: &ObjectKey) -> Result<(), StoreError> {
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
) -> Result<(), StoreError> {
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

//! The servers' pieces of the vault key: one that is gone or damaged is made anew from k others.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use warifu_core::ids::ShareIndex;
use warifu_core::vault_object::{VaultObject, is_newer, rebuild_vault_object};

use crate::error::{Fault, Result, ServerFault, VaultError};
use crate::keys::FIRST_GENERATION;
use crate::seam::store::{Durability, ObjectKey, StoreErrorKind};
use crate::servers::Server;
use crate::vault::Inner;

/// What a server has in the place of its piece.
enum Piece {
    Good(VaultObject),
    /// Nothing, or rubbish.
    Lost(Fault),
    /// It could not be looked at, belongs to somebody else, or was made by a newer warifu: nothing is to be written there.
    Unknown,
}

impl Inner {
    async fn piece_on(&self, server: &Arc<Server>) -> Piece {
        let name = ObjectKey::vault_object(FIRST_GENERATION);
        let bytes = match server.ask(server.seat.store.get(&name, None)).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                return Piece::Lost(Fault::Missing);
            }
            Err(_) => return Piece::Unknown,
        };
        let Ok(object) = VaultObject::parse(&bytes) else {
            if is_newer(&bytes, self.servers.vault_key()) {
                return Piece::Unknown;
            }
            return Piece::Lost(Fault::Corrupt);
        };
        if object.is_authentic(self.servers.vault_key()) {
            let mine = object.server() == server.seat.id && object.index() == server.index();
            if mine {
                return Piece::Good(object);
            }
        } else if object.vault() == self.vault {
            return Piece::Lost(Fault::Corrupt);
        }
        Piece::Unknown
    }

    async fn pieces(&self) -> Vec<(&Arc<Server>, Piece)> {
        let servers = self.servers.all().iter();
        join_all(servers.map(|server| async move { (server, self.piece_on(server).await) })).await
    }

    /// The servers whose piece of the vault key is gone or damaged.
    pub(super) async fn lost_pieces(&self) -> Vec<ServerFault> {
        let lost = |(server, piece): (&Arc<Server>, Piece)| match piece {
            Piece::Lost(fault) => Some(ServerFault {
                server: server.name().to_owned(),
                fault,
                detail: "its piece of the vault key".to_owned(),
            }),
            Piece::Good(_) | Piece::Unknown => None,
        };
        self.pieces().await.into_iter().filter_map(lost).collect()
    }

    /// Makes lost pieces anew. Returns the names of the servers that have theirs back.
    pub(super) async fn mend_pieces(&self) -> Result<Vec<String>> {
        let (mut good, mut lost) = (Vec::new(), Vec::new());
        for (server, piece) in self.pieces().await {
            match piece {
                Piece::Good(object) => good.push(object),
                Piece::Lost(fault) => lost.push((server, fault)),
                Piece::Unknown => {}
            }
        }
        let mut mended = Vec::new();
        for (server, fault) in lost {
            let object = match self.piece_from(&good, server.index(), server) {
                Ok(object) => object,
                // That too few others answer for this must not keep the shares from being repaired.
                Err(error) => {
                    tracing::warn!(server = server.name(), %error, "a piece of the vault key could not be made anew yet");
                    continue;
                }
            };
            let name = ObjectKey::vault_object(FIRST_GENERATION);
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
    ) -> Result<Bytes> {
        let key = self.servers.vault_key();
        let object = rebuild_vault_object(good, key, index, server.seat.id);
        let object = object.map_err(|error| VaultError::Damaged {
            what: format!("a piece of the vault key cannot be made anew: {error}"),
        })?;
        Ok(Bytes::copy_from_slice(&object.encode()))
    }

    /// The object with the piece of the vault key that belongs on this seat, made from those of other servers.
    pub(super) async fn piece_for(&self, index: ShareIndex) -> Result<Bytes> {
        let servers = self.servers.all().iter();
        let Some(server) = servers.clone().find(|server| server.index() == index) else {
            return Err(VaultError::NotFound { what: "server" });
        };
        let mut good = Vec::new();
        let others = servers.filter(|other| other.index() != index);
        for piece in join_all(others.map(|other| self.piece_on(other))).await {
            if let Piece::Good(object) = piece {
                good.push(object);
            }
        }
        self.piece_from(&good, index, server)
    }
}

//! How the vault is: its servers, its room, and what would be lost if one more server went.

use std::time::Duration;

use futures_util::future::join_all;
use warifu_core::format::Scheme;
use warifu_core::ids::{ShareIndex, Threshold};

use crate::context::Context;
use crate::error::{Fault, Result};
use crate::seam::catalog::Usage;
use crate::seam::store::Space;
use crate::vault::Vault;

/// How a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It answers and takes shares.
    Normal,
    /// It answers and has no room.
    Full,
    /// It does not answer, or refuses.
    Away(Fault),
}

/// What is known of a server.
#[derive(Clone, Debug)]
pub struct ServerStatus {
    /// Its name in the vault file.
    pub name: String,
    /// Which share it keeps.
    pub index: ShareIndex,
    /// How it is.
    pub state: ServerState,
    /// What it said, where that is not normal.
    pub detail: String,
    /// Its usual time to answer, once it has been asked something.
    pub latency: Option<Duration>,
    /// Its room.
    pub space: Space,
}

/// How the vault is.
#[derive(Clone, Debug)]
pub struct Status {
    /// How many servers are needed, of how many.
    pub threshold: Threshold,
    /// By which scheme new files are shared. Older ones may have another.
    pub scheme: Scheme,
    /// The servers, by index.
    pub servers: Vec<ServerStatus>,
    /// How much there is, and what is owed.
    pub usage: Usage,
    /// How many more servers may go before files cannot be read; negative when too few are there already.
    pub spare: i32,
    /// What this process keeps in RAM.
    pub memory: Memory,
}

/// What a vault keeps in RAM at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Files that are open.
    pub files: usize,
    /// Bytes of contents, with the room made for more.
    pub bytes: usize,
}

/// Below this a server counts as full: not even one extent fits.
const FULL_BELOW: u64 = 8 << 20;

impl Vault {
    /// How the vault is, asked now.
    ///
    /// # Errors
    /// Errors of the catalogue. A server that does not answer is part of the answer.
    pub async fn status(&self, _ctx: &Context) -> Result<Status> {
        let inner = &self.inner;
        let servers = join_all(inner.servers.all().iter().map(|server| async move {
            let answer = server.ask(server.seat.store.space()).await;
            let (state, space, detail) = match answer {
                Ok(space) if space.free.is_some_and(|free| free < FULL_BELOW) => {
                    (ServerState::Full, space, "no room left".to_owned())
                }
                Ok(space) => (ServerState::Normal, space, String::new()),
                Err(error) => (
                    ServerState::Away(error.kind.into()),
                    Space::default(),
                    error.detail,
                ),
            };
            let (name, index) = (server.name().to_owned(), server.index());
            ServerStatus {
                name,
                index,
                state,
                detail,
                latency: server.latency(),
                space,
            }
        }))
        .await;
        let there = servers
            .iter()
            .filter(|server| !matches!(server.state, ServerState::Away(_)))
            .count();
        let spare =
            i32::try_from(there).unwrap_or(i32::MAX) - i32::from(inner.servers.threshold.k());
        Ok(Status {
            threshold: inner.servers.threshold,
            scheme: inner.options.scheme,
            servers,
            usage: inner.catalog.usage().await?,
            spare,
            memory: self.memory_in_use(),
        })
    }

    /// What of the vault's contents lies in RAM now: nothing, once everything is closed.
    #[must_use]
    pub fn memory_in_use(&self) -> Memory {
        Memory {
            files: self.inner.registry().len(),
            bytes: self.inner.ledger.held(),
        }
    }

    /// The room for contents: that of the fullest server that answers, since each keeps a share as large as the file, or its k-th part
    /// where new files are shared by the scheme `compact`.
    ///
    /// # Errors
    /// None at present: where no server answers, nothing is known and the room is `None`.
    pub async fn space(&self) -> Result<Space> {
        let inner = &self.inner;
        let answers = join_all(
            inner
                .servers
                .all()
                .iter()
                .map(|server| server.ask(server.seat.store.space())),
        )
        .await;
        let mut least = Space::default();
        for space in answers.into_iter().flatten() {
            if least
                .free
                .is_none_or(|free| space.free.is_some_and(|other| other < free))
            {
                least = space;
            }
        }
        let parts = match inner.options.scheme {
            Scheme::Compact => u64::from(inner.servers.threshold.k()),
            _ => 1,
        };
        let contents = |bytes: u64| bytes.saturating_mul(parts);
        Ok(Space {
            total: least.total.map(contents),
            free: least.free.map(contents),
        })
    }
}

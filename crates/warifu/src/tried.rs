//! [`try_place`]: whether a place is fit for a server, before any vault is trusted to it.

use warifu_store::{StoreProfile, attach_store, create_store, probe};
use warifu_vault::keys::piece_generations;
use warifu_vault::seam::store::Space;

use crate::error::Error;
use crate::open::{NewServer, current_folder, spec};

/// A place that can keep shares.
#[derive(Clone, Copy, Debug)]
pub struct TriedPlace {
    /// What it does with objects.
    pub profile: StoreProfile,
    /// Its room.
    pub space: Space,
}

/// Tries out a place as `init` does: small objects are written, read, written again where they must not be, listed and removed. The
/// empty store that is made there for it stays, and is taken for a new vault.
///
/// # Errors
/// [`Error::Taken`] where a vault has something there already, and then nothing is written; [`Error::Create`], [`Error::Unfit`].
pub async fn try_place(server: &NewServer) -> Result<TriedPlace, Error> {
    let base = current_folder()?;
    let place = spec(&server.name, &server.url, &server.credentials, &base)?;
    let pieces = piece_generations(attach_store(&place).as_ref()).await;
    if pieces.is_ok_and(|pieces| !pieces.is_empty()) {
        return Err(Error::Taken {
            server: server.name.clone(),
        });
    }
    let store = create_store(&place).await.map_err(|source| Error::Create {
        server: server.name.clone(),
        source,
    })?;
    let profile = probe(&place).await.map_err(|source| Error::Unfit {
        server: server.name.clone(),
        source,
    })?;
    let space = store.space().await.unwrap_or_default();
    Ok(TriedPlace { profile, space })
}

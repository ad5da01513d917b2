//! Is a place fit for a server? Found out by trying, before a vault is trusted to it.

use std::path::Path;
use std::sync::Arc;

use warifu_store::{
    CreateError, StoreIdentity, StoreProfile, StoreSpec, attach_store, create_store, identity,
    is_trial, open_store, probe,
};
use warifu_vault::seam::store::{ShareStore, Space, StoreErrorKind};

use crate::Error;
use crate::open::{NewServer, current_folder, spec};
use crate::vault_file::{VaultFile, folder_of};

/// What a trial of a place showed.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What the place does with objects.
    pub profile: StoreProfile,
    /// How much room it has; `None` where it does not say.
    pub space: Option<Space>,
    /// Whether the place was there, with objects in it: it is a server of some vault already, and no new one can have it.
    pub in_use: bool,
    /// What makes it the same place as another, whatever it is called.
    identity: Option<StoreIdentity>,
}

impl Trial {
    /// Whether this is the same place as another, under whatever name: the two would be lost together, and each would destroy what
    /// the other keeps.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (&self.identity, &other.identity) {
            (Some(one), Some(other)) => one == other,
            _ => false,
        }
    }
}

/// Tries out a place for a new server: makes the folder where there is none, writes a few small objects, reads, lists and removes them. An
/// empty store stays, as `init` and `server replace` take it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let dir = std::env::temp_dir().join(format!("warifu-trial-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// let place = dir.join("server-1");
/// let trial = warifu::try_place(&warifu::NewServer::new("server-1", place.display().to_string())).await?;
/// assert!(trial.profile.no_replace && !trial.in_use);
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// # Errors
/// [`Error::Url`] and [`Error::Option`] for what does not describe a server; [`Error::Create`] and [`Error::Unfit`] when it cannot be one.
pub async fn try_place(server: &NewServer) -> Result<Trial, Error> {
    let base = current_folder()?;
    let credentials = server.credentials.clone().rebased(&base, &base);
    let spec = spec(&server.name, &server.url, &credentials, &base)?;
    match make_place(&server.name, &spec).await {
        Ok((_, profile)) => Ok(trial(&spec, profile, false).await),
        Err(Error::Create {
            source: CreateError::InUse { .. },
            ..
        }) => tried(&server.name, &spec).await,
        Err(error) => Err(error),
    }
}

/// Tries out a server of a vault. What it holds is left alone.
///
/// # Errors
/// [`Error::NoServer`]; otherwise as [`try_place`].
pub async fn try_server(vault_file: &Path, file: &VaultFile, name: &str) -> Result<Trial, Error> {
    let entry = file.servers.iter().find(|entry| entry.name == name);
    let Some(entry) = entry else {
        let known = file.servers.iter().map(|entry| entry.name.clone());
        return Err(Error::NoServer {
            name: name.to_owned(),
            known: known.collect(),
        });
    };
    let base = folder_of(vault_file);
    let spec = spec(&entry.name, &entry.url, &entry.credentials, base)?;
    tried(name, &spec).await
}

/// Tries out a place that is in use.
async fn tried(server: &str, spec: &StoreSpec) -> Result<Trial, Error> {
    let profile = probe(spec).await.map_err(|source| Error::Unfit {
        server: server.to_owned(),
        source,
    })?;
    Ok(trial(spec, profile, true).await)
}

async fn trial(spec: &StoreSpec, profile: StoreProfile, in_use: bool) -> Trial {
    // Neither is worth a refusal of a place that has just shown what it can do.
    let space = attach_store(spec).space().await.ok();
    let identity = identity(spec).await.ok();
    Trial {
        profile,
        space,
        in_use,
        identity,
    }
}

/// Makes an empty store and tries it out. One where somebody was broken off in the middle of that is as good as an empty one.
pub(crate) async fn make_place(
    name: &str,
    place: &StoreSpec,
) -> Result<(Arc<dyn ShareStore>, StoreProfile), Error> {
    let not_made = |source| Error::Create {
        server: name.to_owned(),
        source,
    };
    let store = match create_store(place).await {
        Err(CreateError::InUse { path }) => {
            let store = open_store(place)
                .await
                .map_err(|error| not_made(error.into()))?;
            if !clear_of_trials(store.as_ref()).await {
                return Err(not_made(CreateError::InUse { path }));
            }
            store
        }
        other => other.map_err(not_made)?,
    };
    let profile = probe(place).await.map_err(|source| Error::Unfit {
        server: name.to_owned(),
        source,
    })?;
    Ok((store, profile))
}

/// Removes what trials have left, where nothing else is there. Returns whether the place is empty now: what cannot be listed is somebody's.
async fn clear_of_trials(store: &dyn ShareStore) -> bool {
    /// A trial puts three objects.
    const FEW: usize = 64;
    let Ok(page) = store.list(None, FEW).await else {
        return false;
    };
    if page.more || !page.objects.iter().all(|(name, _)| is_trial(name)) {
        return false;
    }
    for (name, _) in &page.objects {
        match store.delete(name).await {
            Err(error) if error.kind != StoreErrorKind::NotFound => return false,
            _ => {}
        }
    }
    true
}

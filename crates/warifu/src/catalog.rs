//! Where a vault's catalogue is, and how it is made and opened there: the only place that tells the engines apart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use warifu_catalog::{
    MoveId, PostgresCatalog, PostgresLogin, PostgresPart, PostgresUrl, SqliteCatalog,
};
use warifu_core::keys::CatalogKey;
use warifu_vault::seam::catalog::{Catalog, CatalogError};

use crate::error::Error;
use crate::part::Part;
use crate::vault_file::{VaultFile, folder_of};

/// Where a catalogue is.
pub(crate) enum CatalogPlace {
    /// In a file.
    Sqlite(PathBuf),
    /// In a database.
    Postgres(Box<PostgresUrl>),
}

impl CatalogPlace {
    /// The place that a vault file names.
    ///
    /// # Errors
    /// [`Error::CatalogUrl`].
    pub(crate) fn of(file: &VaultFile, path: &Path) -> Result<Self, Error> {
        if PostgresUrl::is_one(&file.catalog) {
            return match PostgresUrl::parse(&file.catalog) {
                Ok(url) => Ok(Self::Postgres(Box::new(url))),
                Err(source) => Err(Error::CatalogUrl { source }),
            };
        }
        Ok(Self::Sqlite(file.catalog_path(path)))
    }

    /// The place for messages: a path, or which database.
    pub(crate) fn shown(&self) -> PathBuf {
        match self {
            Self::Sqlite(path) => path.clone(),
            Self::Postgres(url) => url.place().into(),
        }
    }

    fn wrong(&self, source: CatalogError) -> Error {
        let path = self.shown();
        match source {
            CatalogError::Exists => Error::CatalogExists { path },
            CatalogError::NotFound { .. } => Error::CatalogMissing { path },
            source => Error::Catalog { path, source },
        }
    }
}

/// How the database of a vault file is logged in to. The secrets are read anew each time.
fn login(file: &VaultFile, path: &Path, url: &PostgresUrl) -> Result<PostgresLogin, Error> {
    let base = folder_of(path);
    let credentials = &file.catalog_credentials;
    let password = match &credentials.password {
        None => None,
        Some(reference) => Some(
            reference
                .resolve_line(base)
                .map_err(|source| Error::CatalogPassword { source })?,
        ),
    };
    Ok(PostgresLogin {
        url: url.clone(),
        password,
        ca: credentials.ca.as_ref().map(|ca| base.join(ca)),
    })
}

/// An open catalogue, where it matters which engine it is of.
#[derive(Clone)]
pub(crate) enum Engine {
    Sqlite(Arc<SqliteCatalog>),
    Postgres(Arc<PostgresCatalog>),
}

impl Engine {
    /// Opens the catalogue of a vault file.
    ///
    /// # Errors
    /// As for [`open_catalog`].
    pub(crate) async fn open(
        file: &VaultFile,
        path: &Path,
        key: CatalogKey,
    ) -> Result<Self, Error> {
        let place = CatalogPlace::of(file, path)?;
        let opened = match &place {
            CatalogPlace::Sqlite(at) => {
                SqliteCatalog::open(at, key).map(|catalog| Self::Sqlite(Arc::new(catalog)))
            }
            CatalogPlace::Postgres(url) => PostgresCatalog::open(login(file, path, url)?, key)
                .await
                .map(|catalog| Self::Postgres(Arc::new(catalog))),
        };
        opened.map_err(|source| place.wrong(source))
    }

    /// As what the vault knows.
    pub(crate) fn catalog(&self) -> Arc<dyn Catalog> {
        match self {
            Self::Sqlite(catalog) => Arc::clone(catalog) as Arc<dyn Catalog>,
            Self::Postgres(catalog) => Arc::clone(catalog) as Arc<dyn Catalog>,
        }
    }

    pub(crate) async fn freeze(&self, by: MoveId) -> Result<(), CatalogError> {
        match self {
            Self::Sqlite(catalog) => catalog.freeze(by).await,
            Self::Postgres(catalog) => catalog.freeze(by).await,
        }
    }

    pub(crate) async fn thaw(&self, by: Option<MoveId>) -> Result<(), CatalogError> {
        match self {
            Self::Sqlite(catalog) => catalog.thaw(by).await,
            Self::Postgres(catalog) => catalog.thaw(by).await,
        }
    }

    pub(crate) async fn is_frozen_by(&self, by: MoveId) -> Result<bool, CatalogError> {
        match self {
            Self::Sqlite(catalog) => catalog.is_frozen_by(by),
            Self::Postgres(catalog) => catalog.is_frozen_by(by).await,
        }
    }

    pub(crate) async fn give_up(&self) -> Result<(), CatalogError> {
        match self {
            Self::Sqlite(catalog) => catalog.give_up().await,
            Self::Postgres(catalog) => catalog.give_up().await,
        }
    }

    pub(crate) async fn is_given_up(&self) -> Result<bool, CatalogError> {
        match self {
            Self::Sqlite(catalog) => catalog.is_given_up(),
            Self::Postgres(catalog) => catalog.is_given_up().await,
        }
    }

    pub(crate) async fn is_frozen(&self) -> Result<bool, CatalogError> {
        match self {
            Self::Sqlite(catalog) => catalog.is_frozen(),
            Self::Postgres(catalog) => catalog.is_frozen().await,
        }
    }
}

/// Opens the catalogue of a vault file.
///
/// # Errors
/// [`Error::CatalogMissing`], [`Error::Catalog`], [`Error::CatalogUrl`], [`Error::CatalogPassword`].
pub(crate) async fn open_catalog(
    file: &VaultFile,
    path: &Path,
    key: CatalogKey,
) -> Result<Arc<dyn Catalog>, Error> {
    Ok(Engine::open(file, path, key).await?.catalog())
}

/// A catalogue in the making: it gets its place when it is whole. What is dropped before is gone, or found and replaced by the next one.
pub(crate) struct NewCatalog {
    place: CatalogPlace,
    made: Made,
}

enum Made {
    /// Dropped in this order: the engine must have closed the file before its lock goes.
    Sqlite(Box<SqliteCatalog>, Part),
    Postgres(Box<PostgresPart>),
}

impl NewCatalog {
    /// Makes an empty one.
    ///
    /// # Errors
    /// [`Error::CatalogExists`] where there is one already; as for [`open_catalog`].
    pub(crate) async fn begin(
        file: &VaultFile,
        path: &Path,
        key: CatalogKey,
    ) -> Result<Self, Error> {
        let place = CatalogPlace::of(file, path)?;
        let made = match &place {
            CatalogPlace::Sqlite(at) => {
                let part = Part::begin(at)?;
                SqliteCatalog::create_in(part.path(), key)
                    .map(|catalog| Made::Sqlite(Box::new(catalog), part))
            }
            CatalogPlace::Postgres(url) => PostgresPart::begin(login(file, path, url)?, key)
                .await
                .map(|part| Made::Postgres(Box::new(part))),
        };
        match made {
            Ok(made) => Ok(Self { place, made }),
            Err(source) => Err(place.wrong(source)),
        }
    }

    /// Where it will be, for messages.
    pub(crate) fn shown(&self) -> PathBuf {
        self.place.shown()
    }

    /// The catalogue as far as it is.
    pub(crate) fn catalog(&self) -> &dyn Catalog {
        match &self.made {
            Made::Sqlite(catalog, _) => &**catalog,
            Made::Postgres(part) => part.catalog(),
        }
    }

    /// Gives it its place.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin).
    pub(crate) async fn finish(self) -> Result<(), Error> {
        match self.made {
            Made::Sqlite(catalog, part) => {
                drop(catalog);
                part.finish()
            }
            Made::Postgres(part) => part
                .finish()
                .await
                .map_err(|source| self.place.wrong(source)),
        }
    }

    /// Removes what was made, as far as it can be.
    pub(crate) async fn abandon(self) {
        if let Made::Postgres(part) = self.made {
            let _ = part.abandon().await;
        }
    }
}

/// Takes back a catalogue that no vault file names.
pub(crate) async fn remove_catalog(file: &VaultFile, path: &Path, key: CatalogKey) {
    match CatalogPlace::of(file, path) {
        Ok(CatalogPlace::Sqlite(at)) => {
            for suffix in ["", "-wal", "-shm"] {
                let mut name = at.as_os_str().to_owned();
                name.push(suffix);
                let _ = std::fs::remove_file(name);
            }
        }
        Ok(CatalogPlace::Postgres(url)) => {
            // Under this vault's key only: it must be the one that was just made.
            if let Ok(login) = login(file, path, &url)
                && let Ok(catalog) = PostgresCatalog::open(login, key).await
            {
                let _ = catalog.remove().await;
            }
        }
        Err(_) => {}
    }
}

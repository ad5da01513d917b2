//! [`PostgresPart`]: a catalogue in the making, in a schema of another name until it is whole.

use warifu_core::ids::ExtentId;
use warifu_core::keys::CatalogKey;
use warifu_vault::seam::catalog::CatalogError;
use warifu_vault::seam::clock::{Clock, SystemClock};

use super::pool::ANSWER;
use super::{PostgresCatalog, PostgresLogin, schema};
use crate::error::{Outcome, damaged};

/// A catalogue that gets its place only when it is [finished](Self::finish): whoever is cut off before leaves nothing that could be
/// taken for a catalogue.
#[derive(Debug)]
pub struct PostgresPart {
    catalog: PostgresCatalog,
    schema: String,
}

impl PostgresPart {
    /// Makes an empty catalogue beside the place that the login names. What somebody who was cut off has left there is in nobody's way.
    ///
    /// # Errors
    /// [`CatalogError::Exists`] when there is a catalogue in that place; as for [`PostgresCatalog::create`].
    pub async fn begin(mut login: PostgresLogin, key: CatalogKey) -> Result<Self, CatalogError> {
        let schema = login.url.schema.clone();
        // Nobody else's part: two may be in the making, and each becomes what its own maker has checked, or nothing.
        let fresh = ExtentId::fresh().map_err(crate::error::Fail::from)?;
        let fresh = fresh.to_string();
        let fresh = fresh.get(..8).unwrap_or_default();
        login.url = login.url.with_schema(format!("{schema}_part_{fresh}"));
        let part = Self {
            catalog: PostgresCatalog::on(login, key)?,
            schema,
        };
        part.need_free().await?;
        let catalog = &part.catalog;
        schema::create(&catalog.pool, &catalog.key, SystemClock.now()).await?;
        Ok(part)
    }

    async fn need_free(&self) -> Outcome<()> {
        let class = format!("{}.vault", self.schema);
        let found = self
            .catalog
            .pool
            .read("SELECT to_regclass($1) IS NULL", &[&class])
            .await?;
        match found.first() {
            Some(row) if row.try_get(0)? => Ok(()),
            Some(_) => Err(CatalogError::Exists.into()),
            None => Err(damaged("the database answered nothing")),
        }
    }

    /// The catalogue as far as it is.
    #[must_use]
    pub fn catalog(&self) -> &PostgresCatalog {
        &self.catalog
    }

    /// Gives it its place, in one transaction.
    ///
    /// # Errors
    /// [`CatalogError::Exists`] when there is a catalogue by now; as for [`PostgresCatalog::create`].
    pub async fn finish(self) -> Result<(), CatalogError> {
        self.need_free().await?;
        let (pool, schema) = (&self.catalog.pool, &self.schema);
        let part = pool.schema();
        let work = || async {
            let mut session = pool.begin().await?;
            // An empty schema may have been made for it; one with something in it is not removed.
            let text = format!(
                "DROP SCHEMA IF EXISTS \"{schema}\"; ALTER SCHEMA \"{part}\" RENAME TO \"{schema}\""
            );
            let outcome = session.run(&text).await;
            session.end(outcome).await
        };
        Ok(pool.transaction(ANSWER, work).await?)
    }

    /// Removes what was made.
    ///
    /// # Errors
    /// As for [`PostgresCatalog::remove`].
    pub async fn abandon(self) -> Result<(), CatalogError> {
        self.catalog.remove().await
    }
}

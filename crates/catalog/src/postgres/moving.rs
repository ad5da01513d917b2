//! A catalogue that is moved elsewhere refuses changes, whoever has it open.

use warifu_vault::seam::catalog::CatalogError;

use super::PostgresCatalog;
use super::pool::ANSWER;
use crate::error::{damaged, misuse};
use crate::moving::GIVEN_UP;

/// What every change does, and no reading.
const REFUSED: [(&str, &str); 5] = [
    ("arrived", "INSERT"),
    ("intent", "INSERT"),
    ("version", "UPDATE"),
    ("extent", "UPDATE"),
    ("node", "UPDATE"),
];

impl PostgresCatalog {
    /// Refuses every change from now on, in all processes, until it is [thawed](Self::thaw). Waits for changes that are under way.
    ///
    /// # Errors
    /// As for any write.
    pub async fn freeze(&self) -> Result<(), CatalogError> {
        let mut text = String::from(
            "CREATE OR REPLACE FUNCTION refuse_moved() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
               RAISE EXCEPTION 'the catalogue was moved to another place, which the vault file names' USING ERRCODE = 'WF012';
             END $$;",
        );
        for (table, event) in REFUSED {
            text += &format!(
                "DROP TRIGGER IF EXISTS moved ON {table};
                 CREATE TRIGGER moved BEFORE {event} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_moved();"
            );
        }
        self.run_all(&text).await
    }

    /// Notes that another catalogue has taken its place: it is never thawed again.
    ///
    /// # Errors
    /// As for any write.
    pub async fn give_up(&self) -> Result<(), CatalogError> {
        let text = "CREATE TABLE IF NOT EXISTS moved_away (id BIGINT PRIMARY KEY)";
        self.run_all(text).await
    }

    /// Whether another one has taken its place.
    ///
    /// # Errors
    /// As for any reading.
    pub async fn is_given_up(&self) -> Result<bool, CatalogError> {
        let found = self
            .pool
            .read("SELECT to_regclass('moved_away') IS NOT NULL", &[])
            .await?;
        let row = found
            .first()
            .ok_or_else(|| damaged("the database answered nothing"))?;
        Ok(row.try_get(0).map_err(crate::error::Fail::from)?)
    }

    /// Takes changes again.
    ///
    /// # Errors
    /// As for any write; [`CatalogError::Failed`] where another one has taken its place.
    pub async fn thaw(&self) -> Result<(), CatalogError> {
        if self.is_given_up().await? {
            return Err(misuse(GIVEN_UP).into());
        }
        let text: String = REFUSED
            .iter()
            .map(|(table, _)| format!("DROP TRIGGER IF EXISTS moved ON {table};"))
            .collect();
        self.run_all(&text).await
    }

    async fn run_all(&self, text: &str) -> Result<(), CatalogError> {
        let work = || async {
            let mut session = self.pool.begin().await?;
            let outcome = session.run(text).await;
            session.end(outcome).await
        };
        Ok(self.pool.transaction(ANSWER, work).await?)
    }

    /// Whether it refuses changes.
    ///
    /// # Errors
    /// As for any reading.
    pub async fn is_frozen(&self) -> Result<bool, CatalogError> {
        let text = "SELECT EXISTS (SELECT 1 FROM pg_trigger WHERE tgname = 'moved' AND tgrelid = to_regclass('arrived'))";
        let found = self.pool.read(text, &[]).await?;
        let row = found
            .first()
            .ok_or_else(|| damaged("the database answered nothing"))?;
        Ok(row.try_get(0).map_err(crate::error::Fail::from)?)
    }
}

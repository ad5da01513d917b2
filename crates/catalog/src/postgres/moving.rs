//! A catalogue that is moved elsewhere refuses changes, whoever has it open.

use warifu_vault::seam::catalog::CatalogError;

use super::PostgresCatalog;
use super::pool::ANSWER;
use crate::error::{damaged, misuse};
use crate::moving::{GIVEN_UP, MoveId};

/// What every change does, and no reading.
const REFUSED: [(&str, &str); 7] = [
    ("arrived", "INSERT"),
    ("intent", "INSERT"),
    ("version", "UPDATE"),
    ("extent", "UPDATE"),
    ("node", "UPDATE"),
    ("past", "INSERT"),
    ("position", "INSERT OR UPDATE"),
];

impl PostgresCatalog {
    /// Refuses every change from now on, in all processes, until it is [thawed](Self::thaw): for this run of a move, whoever froze it
    /// before. Waits for changes that are under way.
    ///
    /// # Errors
    /// As for any write.
    pub async fn freeze(&self, by: MoveId) -> Result<(), CatalogError> {
        let mut text = format!(
            "CREATE TABLE IF NOT EXISTS move_under_way (id BIGINT PRIMARY KEY, run BYTEA NOT NULL);
             INSERT INTO move_under_way (id, run) VALUES (1, decode('{by}', 'hex')) ON CONFLICT (id) DO UPDATE SET run = excluded.run;",
        );
        text += "CREATE OR REPLACE FUNCTION refuse_moved() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
               RAISE EXCEPTION 'the catalogue was moved to another place, which the vault file names' USING ERRCODE = 'WF012';
             END $$;";
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

    /// Takes changes again. Where a run of a move asks for it, only as long as no other run has taken the move over.
    ///
    /// # Errors
    /// As for any write; [`CatalogError::Failed`] where another one has taken its place.
    pub async fn thaw(&self, by: Option<MoveId>) -> Result<(), CatalogError> {
        if self.is_given_up().await? {
            return Err(misuse(GIVEN_UP).into());
        }
        let thaws: String = REFUSED
            .iter()
            .map(|(table, _)| format!("DROP TRIGGER IF EXISTS moved ON {table};"))
            .collect();
        let text = match by {
            None => thaws,
            // Judged in the transaction that thaws, under the lock that whoever takes the move over waits for.
            Some(by) => format!(
                "DO $$ BEGIN
                   PERFORM 1 FROM move_under_way WHERE id = 1 AND run = decode('{by}', 'hex') FOR UPDATE;
                   IF FOUND THEN {thaws} END IF;
                 END $$"
            ),
        };
        self.run_all(&text).await
    }

    /// Whether it refuses changes for this run of a move.
    ///
    /// # Errors
    /// As for any reading.
    pub async fn is_frozen_by(&self, by: MoveId) -> Result<bool, CatalogError> {
        if !self.is_frozen().await? {
            return Ok(false);
        }
        let text = "SELECT 1 FROM move_under_way WHERE id = 1 AND run = $1";
        let by = by.as_bytes().as_slice();
        Ok(!self.pool.read(text, &[&by]).await?.is_empty())
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

//! A catalogue that is moved elsewhere refuses changes, whoever has it open: so nothing is done in the old one that the new one does
//! not know.

use warifu_core::ids::ExtentId;
use warifu_vault::seam::catalog::{CatalogError, Durability};

use crate::catalog::SqliteCatalog;
use crate::error::{Outcome, misuse};
use crate::readers::View;

/// What every change does, and no reading.
const REFUSED: [(&str, &str); 7] = [
    ("audit", "INSERT"),
    ("intent", "INSERT"),
    ("version", "UPDATE"),
    ("extent", "UPDATE"),
    ("node", "UPDATE"),
    ("past", "INSERT"),
    ("position", "INSERT"),
];

/// Which run of a move it is: fresh for each. Whoever goes on with a move that was cut off takes it over, and then whoever began it has no say any more.
pub type MoveId = ExtentId;

/// Why it is not thawed.
pub(crate) const GIVEN_UP: &str = "the catalogue was moved to another place and is worked on there; get the vault file as it is now";

fn is_given_up(view: View<'_>) -> Outcome<bool> {
    Ok(view
        .conn
        .prepare_cached("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'moved_away'")?
        .exists([])?)
}

fn is_frozen_by(view: View<'_>, by: MoveId) -> Outcome<bool> {
    let table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'move_under_way'";
    Ok(view.conn.prepare(table)?.exists([])?
        && view
            .conn
            .prepare("SELECT 1 FROM move_under_way WHERE id = 1 AND run = ?1")?
            .exists([by.as_bytes()])?)
}

impl SqliteCatalog {
    /// Refuses every change from now on, in all processes, until it is [thawed](Self::thaw): for this run of a move, whoever froze it before.
    ///
    /// # Errors
    /// As for any write.
    pub async fn freeze(&self, by: MoveId) -> Result<(), CatalogError> {
        self.write(Durability::Now, move |tx| {
            tx.conn().execute_batch(
                "CREATE TABLE IF NOT EXISTS move_under_way (id BIGINT PRIMARY KEY, run BLOB NOT NULL)",
            )?;
            tx.conn().execute(
                "INSERT INTO move_under_way (id, run) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET run = excluded.run",
                [by.as_bytes()],
            )?;
            for (table, event) in REFUSED {
                tx.conn().execute_batch(&format!(
                    "CREATE TRIGGER IF NOT EXISTS moved_{table} BEFORE {event} ON {table} BEGIN
                       SELECT RAISE(ABORT, 'the catalogue was moved to another place, which the vault file names');
                     END"
                ))?;
            }
            Ok(())
        })
        .await
    }

    /// Notes that another catalogue has taken its place: it is never thawed again.
    ///
    /// # Errors
    /// As for any write.
    pub async fn give_up(&self) -> Result<(), CatalogError> {
        self.write(Durability::Now, |tx| {
            tx.conn()
                .execute_batch("CREATE TABLE IF NOT EXISTS moved_away (id BIGINT PRIMARY KEY)")?;
            Ok(())
        })
        .await
    }

    /// Whether another one has taken its place.
    ///
    /// # Errors
    /// As for any reading.
    pub fn is_given_up(&self) -> Result<bool, CatalogError> {
        self.read(is_given_up)
    }

    /// Takes changes again. Where a run of a move asks for it, only as long as no other run has taken the move over.
    ///
    /// # Errors
    /// As for any write; [`CatalogError::Failed`] where another one has taken its place.
    pub async fn thaw(&self, by: Option<MoveId>) -> Result<(), CatalogError> {
        self.write(Durability::Now, move |tx| {
            if is_given_up(tx.view)? {
                return Err(misuse(GIVEN_UP));
            }
            if let Some(by) = by
                && !is_frozen_by(tx.view, by)?
            {
                return Ok(());
            }
            for (table, _) in REFUSED {
                tx.conn()
                    .execute_batch(&format!("DROP TRIGGER IF EXISTS moved_{table}"))?;
            }
            Ok(())
        })
        .await
    }

    /// Whether it refuses changes for this run of a move.
    ///
    /// # Errors
    /// As for any reading.
    pub fn is_frozen_by(&self, by: MoveId) -> Result<bool, CatalogError> {
        Ok(self.is_frozen()? && self.read(|view| is_frozen_by(view, by))?)
    }

    /// Whether it refuses changes.
    ///
    /// # Errors
    /// As for any reading.
    pub fn is_frozen(&self) -> Result<bool, CatalogError> {
        self.read(|view| {
            Ok(view
                .conn
                .prepare_cached(
                    "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = 'moved_audit'",
                )?
                .exists([])?)
        })
    }
}

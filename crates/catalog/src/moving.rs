//! A catalogue that is moved elsewhere refuses changes, whoever has it open: so nothing is done in the old one that the new one does
//! not know.

use warifu_vault::seam::catalog::{CatalogError, Durability};

use crate::catalog::SqliteCatalog;
use crate::error::{Outcome, misuse};
use crate::readers::View;

/// What every change does, and no reading.
const REFUSED: [(&str, &str); 5] = [
    ("audit", "INSERT"),
    ("intent", "INSERT"),
    ("version", "UPDATE"),
    ("extent", "UPDATE"),
    ("node", "UPDATE"),
];

/// Why it is not thawed.
pub(crate) const GIVEN_UP: &str = "the catalogue was moved to another place and is worked on there; get the vault file as it is now";

fn is_given_up(view: View<'_>) -> Outcome<bool> {
    Ok(view
        .conn
        .prepare_cached("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'moved_away'")?
        .exists([])?)
}

impl SqliteCatalog {
    /// Refuses every change from now on, in all processes, until it is [thawed](Self::thaw).
    ///
    /// # Errors
    /// As for any write.
    pub async fn freeze(&self) -> Result<(), CatalogError> {
        self.write(Durability::Now, |tx| {
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

    /// Takes changes again.
    ///
    /// # Errors
    /// As for any write; [`CatalogError::Failed`] where another one has taken its place.
    pub async fn thaw(&self) -> Result<(), CatalogError> {
        self.write(Durability::Now, |tx| {
            if is_given_up(tx.view)? {
                return Err(misuse(GIVEN_UP));
            }
            for (table, _) in REFUSED {
                tx.conn()
                    .execute_batch(&format!("DROP TRIGGER IF EXISTS moved_{table}"))?;
            }
            Ok(())
        })
        .await
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

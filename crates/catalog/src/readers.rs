//! [`Readers`]: connections for reading, handed out one to a reader.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use warifu_core::keys::CatalogKey;

use crate::error::Outcome;
use crate::files;

/// How many connections are kept for the next reader. More may be out at once.
const KEPT: usize = 8;

/// A connection and the key to what is sealed: everything a reading function needs.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) key: &'a CatalogKey,
}

impl View<'_> {
    /// Runs several statements as of one moment.
    pub(crate) fn snapshot<T>(self, read: impl FnOnce(Self) -> Outcome<T>) -> Outcome<T> {
        self.conn.prepare_cached("BEGIN")?.execute([])?;
        let outcome = read(self);
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        outcome
    }
}

/// The pool.
pub(crate) struct Readers {
    path: PathBuf,
    key: Arc<CatalogKey>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: PathBuf, key: Arc<CatalogKey>) -> Self {
        Self {
            path,
            key,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Reads with a connection of one's own.
    pub(crate) fn read<T>(&self, read: impl FnOnce(View<'_>) -> Outcome<T>) -> Outcome<T> {
        // A poisoned lock is no reason to stop: the list is whole between any two of its operations.
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let conn = match idle {
            Some(conn) => conn,
            None => files::open_reader(&self.path)?,
        };
        let outcome = read(View {
            conn: &conn,
            key: &self.key,
        });
        // One that is stuck in a transaction would show its next reader the past.
        if conn.is_autocommit() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < KEPT {
                idle.push(conn);
            }
        }
        outcome
    }

    /// Closes the idle connections.
    pub(crate) fn close(&self) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

//! Moving what is in the log into the database file, on a thread and a connection of its own: it waits for the disk, and
//! nobody who writes waits for it.

use std::path::Path;
use std::sync::Weak;
use std::sync::mpsc::Receiver;

use rusqlite::Connection;

use super::disk::Broken;
use super::{Shared, lock};
use crate::error::{Fail, Outcome};
use crate::files;

/// From so many pages on the log must become empty: as long as somebody writes all the time, it never does by itself.
const LONG: i64 = 16_384;

/// Works until nobody can ask for it any more.
pub(super) fn run(path: &Path, due: &Receiver<()>, shared: &Weak<Shared>, broken: &Broken) {
    let mut conn = None;
    while let Ok(()) = due.recv() {
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if let Err(fail) = once(path, &mut conn, &shared) {
            tracing::warn!(error = %fail.error, "the catalogue's log could not be moved into its file");
            broken.note(&fail);
        }
    }
}

fn once(path: &Path, kept: &mut Option<Connection>, shared: &Shared) -> Outcome<()> {
    let conn = match kept {
        Some(conn) => conn,
        None => kept.insert(files::open(path)?),
    };
    if passive(conn)? >= LONG {
        // What has been written meanwhile is little. With nobody writing, the log begins anew after it.
        let _nobody_writes = lock(&shared.state);
        passive(conn)?;
    }
    Ok(())
}

/// As far as readers allow. Returns the length of the log in pages.
fn passive(conn: &Connection) -> Outcome<i64> {
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))
        .map_err(Fail::from)
}

//! The database's files: making, opening and setting up connections.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use warifu_vault::seam::catalog::CatalogError;

use crate::error::{Outcome, missing};

/// How long to wait for another process that writes to the same catalogue.
pub(crate) const BUSY: Duration = Duration::from_secs(10);

/// More than there are statements, so that none is ever prepared twice on a connection.
const STATEMENTS: usize = 128;

/// Makes an empty file that only its owner can read. The engine gives its `-wal` and `-shm` the same mode.
pub(crate) fn create(path: &Path) -> Outcome<()> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(CatalogError::Exists.into())
        }
        Err(error) => Err(failed("the catalogue cannot be made", &error).into()),
    }
}

/// Fails unless there is an empty file.
pub(crate) fn need_empty(path: &Path) -> Outcome<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.len() == 0 => Ok(()),
        Ok(_) => Err(CatalogError::Exists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing("catalogue")),
        Err(error) => Err(failed("the catalogue cannot be made", &error).into()),
    }
}

/// Puts the file and its name on disk.
pub(crate) fn sync_new(path: &Path) -> Outcome<()> {
    for place in [path, folder_of(path)] {
        File::open(place)
            .and_then(|file| file.sync_all())
            .map_err(|error| failed("the catalogue cannot be put on disk", &error))?;
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A connection for writing.
pub(crate) fn open(path: &Path) -> Outcome<Connection> {
    if !path
        .try_exists()
        .map_err(|error| failed("the catalogue cannot be opened", &error))?
    {
        return Err(missing("catalogue"));
    }
    // Without CREATE: a catalogue that vanished must not come back empty. The rest are rusqlite's own defaults but URI.
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // Otherwise the engine plans a statement anew for every new value compared with an index, prepared or not: a look-up
    // took 22 µs instead of 3.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // What the file itself says may come from whoever could write to it.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // The temporary store in memory: sorting must not write to disk. Deleted rows are overwritten. Checkpoints are the
    // writer's own work, so that a disk that fails in one is noticed. Of pages, which are the database's sealed bytes, 4 MiB are kept: after one
    // commit in ten the engine looks through all that it keeps (wherever a tree was balanced), which with 16 MiB took a tenth of
    // the drive's time where files were made, renamed and removed. What is not kept is in the kernel's cache.
    conn.execute_batch(
        "PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON; PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON; PRAGMA cache_size = -4096; PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 0; PRAGMA synchronous = FULL;",
    )?;
    Ok(conn)
}

/// For an empty database, before anything else. A change touches a few rows here and there, and each page that it touches goes
/// into the log whole: with pages of half the usual size a rename takes three quarters of the time.
pub(crate) fn use_small_pages(conn: &Connection) -> Outcome<()> {
    Ok(conn.execute_batch("PRAGMA page_size = 2048")?)
}

/// Puts the database in write-ahead mode: readers do not wait for writers.
pub(crate) fn use_wal(conn: &Connection) -> Outcome<()> {
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    Err(CatalogError::Failed {
        detail: format!("the file system cannot keep a write-ahead log (journal mode {mode})"),
    }
    .into())
}

/// The write-ahead log of a database that a connection has open in that mode, for waiting until it is on disk. Its name is
/// put there first.
pub(crate) fn log_of(path: &Path) -> Outcome<File> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let file =
        File::open(&log).map_err(|error| failed("the catalogue's log cannot be opened", &error))?;
    File::open(folder_of(path))
        .and_then(|folder| folder.sync_all())
        .map_err(|error| failed("the catalogue cannot be put on disk", &error))?;
    Ok(file)
}

/// A connection for reading only. What it keeps of the database is worth nothing as soon as somebody has written, so it keeps
/// little: half of what the one that writes keeps.
pub(crate) fn open_reader(path: &Path) -> Outcome<Connection> {
    let conn = open(path)?;
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -2048;")?;
    Ok(conn)
}

fn failed(what: &str, error: &io::Error) -> CatalogError {
    if error.kind() == io::ErrorKind::StorageFull {
        return CatalogError::Full;
    }
    CatalogError::Failed {
        detail: format!("{what}: {error}"),
    }
}

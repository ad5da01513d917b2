//! A catalogue in the making: under another name until it is whole, so that whoever is killed leaves nothing in the way.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use warifu_vault::seam::catalog::CatalogError;

use crate::error::Error;
use crate::open::catalog_error;
use crate::vault_file::folder_of;

/// What the engine keeps beside its file.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// `office.db.part`, locked as long as this lives. Dropped before it is [finished](Self::finish), it is removed.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    catalog: PathBuf,
    /// Holds the lock. Closed after the engine has closed the file: closing it before would end the engine's own locks.
    file: File,
    finished: bool,
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

impl Part {
    /// Makes an empty file, in place of what a process that was killed has left.
    ///
    /// # Errors
    /// [`Error::CatalogExists`] when the catalogue is there already; [`Error::Catalog`], also when another process is at it.
    pub(crate) fn begin(catalog: &Path) -> Result<Self, Error> {
        if catalog.symlink_metadata().is_ok() {
            return Err(catalog_error(catalog, CatalogError::Exists));
        }
        let path = with_end(catalog, ".part");
        let failed = |error: &io::Error| failed(&path, error);
        let file = loop {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(|error| failed(&error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(failed(&io::Error::other(
                        "another process is making this catalogue",
                    )));
                }
                Err(TryLockError::Error(error)) => return Err(failed(&error)),
            }
            // Whoever had the lock before may have moved the file to its place, or removed it.
            let ours = file.metadata().map_err(|error| failed(&error))?.ino();
            if fs::metadata(&path).is_ok_and(|found| found.ino() == ours) {
                break file;
            }
        };
        for end in BESIDE {
            remove(&with_end(&path, end)).map_err(|error| failed(&error))?;
        }
        file.set_len(0).map_err(|error| failed(&error))?;
        Ok(Self {
            catalog: catalog.to_owned(),
            path,
            file,
            finished: false,
        })
    }

    /// Where it is made.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name. The engine must have closed it.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin); nothing is left then.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        let at_part = |error: io::Error| failed(&self.path, &error);
        let wal = with_end(&self.path, "-wal");
        if fs::metadata(&wal).is_ok_and(|found| found.len() > 0) {
            let error = io::Error::other("its log could not be moved into the file");
            return Err(at_part(error));
        }
        self.file.sync_all().map_err(at_part)?;
        // The log of the catalogue that was lost would be taken for this one's.
        let old = with_end(&self.catalog, "-wal");
        match fs::rename(&old, with_end(&old, ".old")) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(at_part(error)),
            _ => {}
        }
        remove(&with_end(&self.catalog, "-shm")).map_err(at_part)?;
        match fs::hard_link(&self.path, &self.catalog) {
            Ok(()) => fs::remove_file(&self.path).map_err(at_part)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(catalog_error(&self.catalog, CatalogError::Exists));
            }
            // Some file systems have no links.
            Err(_) if self.catalog.symlink_metadata().is_err() => {
                fs::rename(&self.path, &self.catalog).map_err(at_part)?;
            }
            Err(error) => return Err(at_part(error)),
        }
        self.finished = true;
        File::open(folder_of(&self.catalog))
            .and_then(|folder| folder.sync_all())
            .map_err(at_part)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        for end in BESIDE {
            let _gone = remove(&with_end(&self.path, end));
        }
        if !self.finished {
            let _gone = remove(&self.path);
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn failed(path: &Path, error: &io::Error) -> Error {
    let source = match error.kind() {
        ErrorKind::StorageFull => CatalogError::Full,
        _ => CatalogError::Failed {
            detail: error.to_string(),
        },
    };
    catalog_error(path, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_what_a_killed_process_left_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = dir.path().join("office.db");
        for left in ["office.db.part", "office.db.part-wal", "office.db.part-shm"] {
            fs::write(dir.path().join(left), "half a catalogue").unwrap();
        }
        fs::write(dir.path().join("office.db-wal"), "of the lost one").unwrap();
        let part = Part::begin(&catalog).unwrap();
        assert_eq!(fs::read(part.path()).unwrap(), b"");
        assert!(!dir.path().join("office.db.part-wal").exists());
        assert!(!catalog.exists());
        // Only one makes it at a time.
        let error = Part::begin(&catalog).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        fs::write(part.path(), "whole").unwrap();
        part.finish().unwrap();
        assert_eq!(fs::read(&catalog).unwrap(), b"whole");
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["office.db", "office.db-wal.old"]);
        assert!(matches!(
            Part::begin(&catalog),
            Err(Error::CatalogExists { .. })
        ));
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = dir.path().join("office.db");
        let part = Part::begin(&catalog).unwrap();
        fs::write(&catalog, "somebody's").unwrap();
        assert!(matches!(part.finish(), Err(Error::CatalogExists { .. })));
        assert_eq!(fs::read(&catalog).unwrap(), b"somebody's");
        fs::remove_file(&catalog).unwrap();
        drop(Part::begin(&catalog).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

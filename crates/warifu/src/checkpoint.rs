//! Where a check of shares that was interrupted goes on: a small file beside the vault file.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::{fs, io::ErrorKind};

use warifu_vault::verify::Checkpoint;

use crate::open::Warifu;
use crate::vault_file::{VaultFileError, folder_of};

impl Warifu {
    /// The file that says how far an interrupted check had come: `office.verify` beside `office.toml`. It names no file of the vault.
    #[must_use]
    pub fn checkpoint_path(&self) -> PathBuf {
        self.path().with_extension("verify")
    }

    /// How far the last check had come, if it was interrupted. A file that is damaged, or of another vault, counts for nothing.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>, VaultFileError> {
        let path = self.checkpoint_path();
        match fs::read(&path) {
            Ok(bytes) => {
                Ok(Checkpoint::from_bytes(&bytes).filter(|at| at.vault() == self.file().vault))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(VaultFileError::Io { path, source }),
        }
    }

    /// Remembers how far a check has come, in place of what was remembered before.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_checkpoint(&self, at: &Checkpoint) -> Result<(), VaultFileError> {
        let path = self.checkpoint_path();
        let failed = |source: io::Error| VaultFileError::Io {
            path: path.clone(),
            source,
        };
        let mut temporary = tempfile::Builder::new()
            .prefix(".warifu-")
            .tempfile_in(folder_of(&path))
            .map_err(failed)?;
        temporary.write_all(&at.to_bytes()).map_err(failed)?;
        temporary
            .persist(&path)
            .map(drop)
            .map_err(|error| failed(error.error))
    }

    /// Forgets it: the check has come to its end.
    pub fn forget_checkpoint(&self) {
        let _ = fs::remove_file(self.checkpoint_path());
    }
}

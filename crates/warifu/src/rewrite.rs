//! Changing a vault file that people may have edited: only what must change does, and comments stay.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::vault_file::{Problem, VaultFile, VaultFileError, folder_of};

impl VaultFile {
    /// Changes where the catalogue is in the file at `path`: whole or not at all, with everything else in it, comments too, as it is.
    ///
    /// # Errors
    /// [`VaultFileError`].
    pub(crate) fn replace_catalog(&self, path: &Path) -> Result<(), VaultFileError> {
        rewrite_with(path, "there is no [catalog]", |text| {
            let mut document: toml_edit::DocumentMut = text.parse().ok()?;
            let table = document.get_mut("catalog")?.as_table_like_mut()?;
            table.remove("password");
            table.remove("ca");
            let value = table.get_mut("url")?.as_value_mut()?;
            let decor = value.decor().clone();
            *value = self.catalog.as_str().into();
            *value.decor_mut() = decor;
            for (field, value) in self.catalog_credentials.entries() {
                table.insert(field, toml_edit::value(value));
            }
            Some(document.to_string())
        })
    }
}

/// Replaces a vault file by what `change` makes of its text, whole or not at all. `problem` is said where it makes nothing of it.
pub(crate) fn rewrite_with(
    path: &Path,
    problem: &str,
    change: impl FnOnce(&str) -> Option<String>,
) -> Result<(), VaultFileError> {
    // The file itself is replaced, not a link to it.
    let path: PathBuf = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let failed = |source: io::Error| VaultFileError::Io {
        path: path.clone(),
        source,
    };
    let text = fs::read_to_string(&path).map_err(failed)?;
    let changed = change(&text).ok_or_else(|| VaultFileError::Invalid {
        path: path.clone(),
        line: 1,
        problem: Problem::Syntax(problem.into()),
    })?;
    // What cannot be read back is not written.
    VaultFile::parse(&changed, &path)?;
    let folder = folder_of(&path);
    let permissions = fs::metadata(&path).map_err(failed)?.permissions();
    let mut temporary = tempfile::Builder::new()
        .prefix(".warifu-")
        .permissions(permissions)
        .tempfile_in(folder)
        .map_err(failed)?;
    temporary.write_all(changed.as_bytes()).map_err(failed)?;
    temporary.as_file().sync_all().map_err(failed)?;
    temporary
        .persist(&path)
        .map_err(|error| failed(error.error))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_catalogue_changes_and_comments_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.toml");
        let id = "0".repeat(32);
        let text = format!(
            "# ours\nformat = 1\nvault = \"{id}\"\n\n[threshold]\nk = 1\nn = 1\n\n[catalog] # on the old machine\nurl = \"postgres://w@old/x\" # cellar\n\
             password = \"env:P\"\n\n[[server]]\nindex = 1\nid = \"{id}\"\nname = \"x\"\nurl = \"a\"\n"
        );
        fs::write(&path, &text).unwrap();
        let mut file = VaultFile::read(&path).unwrap();
        assert!(file.catalog_credentials.password.is_some());
        file.catalog = "sqlite:v.db".into();
        file.catalog_credentials = warifu_store::Credentials::default();
        file.replace_catalog(&path).unwrap();
        let expected = text
            .replace("postgres://w@old/x", "sqlite:v.db")
            .replace("password = \"env:P\"\n", "");
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(VaultFile::read(&path).unwrap(), file);
    }
}

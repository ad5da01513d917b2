//! Changing a vault file that people may have edited: only what must change does, and comments stay.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use warifu_core::ids::Threshold;

use crate::vault_file::{Problem, ServerEntry, VaultFile, VaultFileError, folder_of};

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

/// Says in the vault file at `path` what its threshold is to become, by which [change](warifu_vault::Thresholds::change), and adds the servers that this takes: whole or not at all, with everything
/// else in it, comments too, as it is.
///
/// # Errors
/// [`VaultFileError`].
pub(crate) fn begin_change(
    path: &Path,
    (becoming, change): (Threshold, u32),
    added: &[ServerEntry],
) -> Result<(), VaultFileError> {
    rewrite_with(path, NO_THRESHOLD, |text| {
        let mut document: toml_edit::DocumentMut = text.parse().ok()?;
        let table = document.get_mut("threshold")?.as_table_like_mut()?;
        let mut to = toml_edit::InlineTable::new();
        to.insert("k", i64::from(becoming.k()).into());
        to.insert("n", i64::from(becoming.n()).into());
        to.insert("change", i64::from(change).into());
        table.insert("becoming", toml_edit::value(to));
        let servers = document.get_mut("server")?.as_array_of_tables_mut()?;
        for entry in added {
            let mut server = toml_edit::Table::new();
            server.insert("index", toml_edit::value(i64::from(entry.index.get())));
            server.insert("id", toml_edit::value(entry.id.to_string()));
            server.insert("name", toml_edit::value(entry.name.as_str()));
            server.insert("url", toml_edit::value(entry.url.as_str()));
            for (field, value) in entry.credentials.entries() {
                server.insert(field, toml_edit::value(value));
            }
            servers.push(server);
        }
        Some(document.to_string())
    })
}

/// Says in the vault file at `path` that its threshold has become this, and takes out the servers that it does not want.
///
/// # Errors
/// [`VaultFileError`].
pub(crate) fn end_change(path: &Path, threshold: Threshold) -> Result<(), VaultFileError> {
    rewrite_with(path, NO_THRESHOLD, |text| {
        let mut document: toml_edit::DocumentMut = text.parse().ok()?;
        let table = document.get_mut("threshold")?.as_table_like_mut()?;
        table.remove("becoming");
        for (field, number) in [("k", threshold.k()), ("n", threshold.n())] {
            let value = table.get_mut(field)?.as_value_mut()?;
            let decor = value.decor().clone();
            *value = i64::from(number).into();
            *value.decor_mut() = decor;
        }
        let servers = document.get_mut("server")?.as_array_of_tables_mut()?;
        let stays = |server: &toml_edit::Table| {
            let index = server.get("index").and_then(toml_edit::Item::as_integer);
            index.is_some_and(|index| index <= i64::from(threshold.n()))
        };
        servers.retain(stays);
        Some(document.to_string())
    })
}

const NO_THRESHOLD: &str = "there is no [threshold], or no [[server]]";

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
    fn a_threshold_changes_and_servers_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.toml");
        let id = |digit: &str| digit.repeat(32);
        let text = format!(
            "# ours\nformat = 1\nvault = \"{}\"\n\n[threshold]\nk = 1 # one\nn = 1\n\n[catalog]\nurl = \"sqlite:v.db\"\n\n\
             [[server]] # the first\nindex = 1\nid = \"{}\"\nname = \"x\"\nurl = \"a\"\n",
            id("0"),
            id("1")
        );
        fs::write(&path, &text).unwrap();
        let before = VaultFile::read(&path).unwrap();
        let to = Threshold::new(2, 2).unwrap();
        let mut credentials = warifu_store::Credentials::default();
        credentials.set("user", "me").unwrap();
        let added = ServerEntry {
            index: warifu_core::ids::ShareIndex::new(2).unwrap(),
            id: warifu_core::ids::ServerId::from_hex(&id("2")).unwrap(),
            name: "y".into(),
            url: "sftp://host/y".into(),
            credentials,
        };
        begin_change(&path, (to, 4), std::slice::from_ref(&added)).unwrap();
        let mut expected = before.clone();
        (expected.becoming, expected.change) = (Some(to), 4);
        expected.servers.push(added);
        assert_eq!(VaultFile::read(&path).unwrap(), expected);
        end_change(&path, to).unwrap();
        (expected.threshold, expected.becoming, expected.change) = (to, None, 0);
        assert_eq!(VaultFile::read(&path).unwrap(), expected);
        begin_change(&path, (before.threshold, 5), &[]).unwrap();
        end_change(&path, before.threshold).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

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

//! Changing a vault file that people may have edited: only what must change does, and comments stay.
//!
//! Of several who change it at a time each waits for the others, and goes by what the file says then.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
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
/// Nothing is changed where it says so already, with the same places.
///
/// # Errors
/// [`VaultFileError::Changed`] where its threshold is not `from` any more, or is becoming another one; other [`VaultFileError`]s.
pub(crate) fn begin_change(
    path: &Path,
    from: Threshold,
    (becoming, change): (Threshold, u32),
    added: &[ServerEntry],
) -> Result<(), VaultFileError> {
    rewrite_by(path, NO_THRESHOLD, |text| {
        let file = VaultFile::parse(text, path)?;
        let there = file.servers.iter().skip(from.n().into());
        let there = there.map(|entry| &entry.url);
        if file.threshold == from && file.becoming == Some(becoming) {
            if there.eq(added.iter().map(|entry| &entry.url)) {
                return Ok(Some(text.to_owned()));
            }
        } else if file.threshold == from && file.becoming.is_none() {
            return Ok(begun(text, (becoming, change), added));
        }
        Err(VaultFileError::Changed { path: path.into() })
    })
}

fn begun(
    text: &str,
    (becoming, change): (Threshold, u32),
    added: &[ServerEntry],
) -> Option<String> {
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
}

/// Says in the vault file at `path` that its threshold has become this, and takes out the servers that it does not want.
/// Nothing is changed where somebody else has said so.
///
/// # Errors
/// [`VaultFileError::Changed`] where it is not becoming that; other [`VaultFileError`]s.
pub(crate) fn end_change(path: &Path, threshold: Threshold) -> Result<(), VaultFileError> {
    rewrite_by(path, NO_THRESHOLD, |text| {
        let file = VaultFile::parse(text, path)?;
        match file.becoming {
            Some(becoming) if becoming == threshold => Ok(ended(text, threshold)),
            None if file.threshold == threshold => Ok(Some(text.to_owned())),
            _ => Err(VaultFileError::Changed { path: path.into() }),
        }
    })
}

fn ended(text: &str, threshold: Threshold) -> Option<String> {
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
}

const NO_THRESHOLD: &str = "there is no [threshold], or no [[server]]";

/// Replaces a vault file by what `change` makes of its text, whole or not at all. `problem` is said where it makes nothing of it.
pub(crate) fn rewrite_with(
    path: &Path,
    problem: &str,
    change: impl FnOnce(&str) -> Option<String>,
) -> Result<(), VaultFileError> {
    rewrite_by(path, problem, |text| Ok(change(text)))
}

/// The file at `path`, locked as long as it is not dropped. Who waits for it may find another file in its place then: each that rewrites it puts one there.
fn locked(path: &Path) -> io::Result<File> {
    loop {
        let writable = File::options().read(true).write(true).open(path);
        let file = writable.or_else(|_| File::open(path))?;
        match file.lock() {
            // Where there are no locks, who comes second finds out what has changed all the same, but for a moment.
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Ok(file),
            Err(_) => continue,
            Ok(()) => {}
        }
        let (there, mine) = (fs::metadata(path)?, file.metadata()?);
        if (there.dev(), there.ino()) == (mine.dev(), mine.ino()) {
            return Ok(file);
        }
    }
}

fn rewrite_by(
    path: &Path,
    problem: &str,
    change: impl FnOnce(&str) -> Result<Option<String>, VaultFileError>,
) -> Result<(), VaultFileError> {
    // The file itself is replaced, not a link to it.
    let path: PathBuf = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let failed = |source: io::Error| VaultFileError::Io {
        path: path.clone(),
        source,
    };
    let _locked = locked(&path).map_err(failed)?;
    let text = fs::read_to_string(&path).map_err(failed)?;
    let changed = change(&text)?.ok_or_else(|| VaultFileError::Invalid {
        path: path.clone(),
        line: 1,
        problem: Problem::Syntax(problem.into()),
    })?;
    if changed == text {
        return Ok(());
    }
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
        begin_change(
            &path,
            before.threshold,
            (to, 4),
            std::slice::from_ref(&added),
        )
        .unwrap();
        let mut expected = before.clone();
        (expected.becoming, expected.change) = (Some(to), 4);
        expected.servers.push(added);
        assert_eq!(VaultFile::read(&path).unwrap(), expected);
        end_change(&path, to).unwrap();
        (expected.threshold, expected.becoming, expected.change) = (to, None, 0);
        assert_eq!(VaultFile::read(&path).unwrap(), expected);
        begin_change(&path, to, (before.threshold, 5), &[]).unwrap();
        end_change(&path, before.threshold).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn of_two_who_change_a_threshold_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.toml");
        let id = |digit: &str| digit.repeat(32);
        let mut text = format!(
            "format = 1\nvault = \"{}\"\n[threshold]\nk = 1\nn = 2\n[catalog]\nurl = \"sqlite:v.db\"\n",
            id("0")
        );
        for index in ["1", "2"] {
            text += &format!(
                "[[server]]\nindex = {index}\nid = \"{}\"\nname = \"{index}\"\nurl = \"{index}\"\n",
                id(index)
            );
        }
        fs::write(&path, &text).unwrap();
        let of = |k, n| Threshold::new(k, n).unwrap();
        let entry = |url: &str, digit: &str| ServerEntry {
            index: warifu_core::ids::ShareIndex::new(3).unwrap(),
            id: warifu_core::ids::ServerId::from_hex(&id(digit)).unwrap(),
            name: url.into(),
            url: url.into(),
            credentials: warifu_store::Credentials::default(),
        };
        let (from, one, other) = (of(1, 2), of(2, 3), of(2, 2));
        begin_change(&path, from, (one, 1), &[entry("x", "3")]).unwrap();
        let begun = fs::read_to_string(&path).unwrap();
        // The same once more, under another id; another one; and the same with another server.
        begin_change(&path, from, (one, 1), &[entry("x", "4")]).unwrap();
        for (to, added) in [(other, vec![]), (one, vec![entry("y", "4")])] {
            let refused = begin_change(&path, from, (to, 1), &added);
            assert!(
                matches!(refused, Err(VaultFileError::Changed { .. })),
                "{refused:?}"
            );
        }
        let refused = end_change(&path, other);
        assert!(
            matches!(refused, Err(VaultFileError::Changed { .. })),
            "{refused:?}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), begun);
        end_change(&path, one).unwrap();
        end_change(&path, one).unwrap();
        let ended = fs::read_to_string(&path).unwrap();
        let refused = begin_change(&path, from, (other, 2), &[]);
        assert!(
            matches!(refused, Err(VaultFileError::Changed { .. })),
            "{refused:?}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), ended);
        // Each waits for the others, and nothing is lost.
        fs::write(&path, &text).unwrap();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    rewrite_with(path, "", |text| Some(format!("{text}# {number}\n"))).unwrap();
                });
            }
        });
        let all = fs::read_to_string(&path).unwrap();
        for number in 0..8 {
            assert!(all.contains(&format!("# {number}\n")), "{all}");
        }
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

//! What servers have in common: a disk, a machine, a credential. Whatever takes that takes them all.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use warifu_store::{Credentials, StoreUrl};

use crate::error::Error;
use crate::open::spec;
use crate::rebuild::MISSING;
use crate::vault_file::{VaultFile, folder_of};

/// What a server has in common with others, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Those on the same disk or machine, as far as their URLs and this machine can tell: they are lost together.
    pub place: Vec<String>,
    /// Those with the same password or key: whoever has it has them all.
    pub credential: Vec<String>,
}

impl VaultFile {
    /// What each server has in common with the others, in the order of the file; `path` is the file's. No server is asked.
    ///
    /// # Errors
    /// [`Error`] where a URL cannot be read.
    pub fn shared(&self, path: &Path) -> Result<Vec<Shared>, Error> {
        let base = folder_of(path);
        let specs = self
            .servers
            .iter()
            .map(|server| {
                // One that is lost has no place.
                (server.url != MISSING)
                    .then(|| spec(&server.name, &server.url, &server.credentials, base))
                    .transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut all = Vec::with_capacity(specs.len());
        for (at, (server, here)) in self.servers.iter().zip(&specs).enumerate() {
            let mut shared = Shared::default();
            for (place, (other, there)) in self.servers.iter().zip(&specs).enumerate() {
                let (Some(here), Some(there)) = (here, there) else {
                    continue;
                };
                if place == at {
                    continue;
                }
                if share_a_fate(here.url(), there.url()) {
                    shared.place.push(other.name.clone());
                }
                if share_a_secret(&server.credentials, &other.credentials) {
                    shared.credential.push(other.name.clone());
                }
            }
            all.push(shared);
        }
        Ok(all)
    }
}

/// Whether whoever has the one's secret has the other's. The secrets themselves are not looked at, only where they are.
fn share_a_secret(one: &Credentials, other: &Credentials) -> bool {
    (one.password.is_some() && one.password == other.password)
        || (one.key.is_some() && one.key == other.key)
        || (one.secret_key.is_some() && one.secret_key == other.secret_key)
}

/// Whether two places are lost together, as far as their names and this machine can tell.
pub(crate) fn share_a_fate(one: &StoreUrl, other: &StoreUrl) -> bool {
    match (one, other) {
        (StoreUrl::Directory(one), StoreUrl::Directory(other)) => {
            let disk = |path: &Path| {
                // What is not there yet will be where its parent is.
                let there = path.ancestors().find_map(|path| fs::metadata(path).ok());
                there.map(|there| there.dev())
            };
            disk(one).is_some_and(|found| disk(other) == Some(found))
        }
        (one, other) => host(one).is_some() && host(one) == host(other),
    }
}

/// The machine that a server is on, as far as its URL tells.
fn host(url: &StoreUrl) -> Option<String> {
    let host = match url {
        StoreUrl::Sftp(url) => url.host.as_str(),
        StoreUrl::Webdav(url) => url.host.as_str(),
        StoreUrl::S3(url) => {
            let (_, authority) = url.endpoint.as_ref()?.split_once("://")?;
            authority.trim_end_matches('/')
        }
        _ => return None,
    };
    Some(host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_on_one_machine_share_a_fate() {
        let url = |text: &str| StoreUrl::parse(text, Path::new("/")).unwrap();
        let share = |one: &str, other: &str| share_a_fate(&url(one), &url(other));
        assert!(share(
            "sftp://a@files.example/srv/a",
            "sftp://FILES.example:2222/srv/b"
        ));
        assert!(share(
            "sftp://files.example/srv/a",
            "webdavs://files.example/dav"
        ));
        assert!(!share(
            "sftp://files.example/srv/a",
            "sftp://other.example/srv/a"
        ));
        assert!(!share("sftp://files.example/srv/a", "/srv/a"));
    }

    #[test]
    fn one_key_for_two_servers_is_seen() {
        let with = |field: &str, value: &str| {
            let mut credentials = Credentials::default();
            credentials.set(field, value).unwrap();
            credentials
        };
        let key = |path: &str| with("key", &format!("file:{path}"));
        assert!(share_a_secret(&key("/etc/k"), &key("/etc/k")));
        assert!(!share_a_secret(&key("/etc/k"), &key("/etc/l")));
        let password = with("password", "env:P");
        assert!(share_a_secret(&password, &password));
        assert!(!share_a_secret(&password, &key("/etc/k")));
        let none = Credentials::default();
        assert!(!share_a_secret(&none, &none));
        let user = with("user", "warifu");
        assert!(!share_a_secret(&user, &user), "a name is no secret");
    }
}

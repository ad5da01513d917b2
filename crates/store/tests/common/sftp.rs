//! A real SSH server and a folder for stores.

use std::path::Path;

use tempfile::{TempDir, tempdir};
use warifu_store::{Credentials, SftpOptions, SftpStore, StoreSpec};
use warifu_testkit::servers::Sshd;

/// A server and a folder for its stores.
pub struct World {
    pub sshd: Sshd,
    pub base: TempDir,
}

impl World {
    pub fn start() -> Option<Self> {
        Some(Self {
            sshd: Sshd::start()?,
            base: tempdir().unwrap(),
        })
    }

    pub fn credentials(&self) -> Credentials {
        options(&[
            ("key", &format!("file:{}", self.sshd.key().display())),
            ("host_key", &self.sshd.fingerprint()),
        ])
    }

    pub fn spec(&self, folder: &str) -> StoreSpec {
        self.spec_with(folder, self.credentials())
    }

    pub fn spec_with(&self, folder: &str, credentials: Credentials) -> StoreSpec {
        let url = self.sshd.url(&self.base.path().join(folder));
        StoreSpec::parse(&url, credentials, Path::new("/")).unwrap()
    }

    pub async fn create(&self, folder: &str) -> SftpStore {
        SftpStore::create(&self.spec(folder), SftpOptions::default())
            .await
            .unwrap()
    }
}

pub fn options(entries: &[(&str, &str)]) -> Credentials {
    let mut credentials = Credentials::default();
    for (field, value) in entries {
        credentials.set(field, value).unwrap();
    }
    credentials
}

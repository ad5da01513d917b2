//! A store on a real OpenSSH server.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::{TempDir, tempdir};
use warifu_store::{Credentials, SftpOptions, SftpStore, StoreSpec};
use warifu_testkit::servers::Sshd;
use warifu_testkit::stores::contract;
use warifu_vault::seam::store::ShareStore;

/// A server and a folder for its stores.
struct World {
    sshd: Sshd,
    base: TempDir,
}

impl World {
    fn start() -> Option<Self> {
        Some(Self {
            sshd: Sshd::start()?,
            base: tempdir().unwrap(),
        })
    }

    fn credentials(&self) -> Credentials {
        options(&[
            ("key", &format!("file:{}", self.sshd.key().display())),
            ("host_key", &self.sshd.fingerprint()),
        ])
    }

    fn spec(&self, folder: &str) -> StoreSpec {
        self.spec_with(folder, self.credentials())
    }

    fn spec_with(&self, folder: &str, credentials: Credentials) -> StoreSpec {
        let url = self.sshd.url(&self.base.path().join(folder));
        StoreSpec::parse(&url, credentials, Path::new("/")).unwrap()
    }

    async fn create(&self, folder: &str) -> SftpStore {
        SftpStore::create(&self.spec(folder), SftpOptions::default())
            .await
            .unwrap()
    }
}

fn options(entries: &[(&str, &str)]) -> Credentials {
    let mut credentials = Credentials::default();
    for (field, value) in entries {
        credentials.set(field, value).unwrap();
    }
    credentials
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sftp_store_keeps_the_contract() {
    let Some(world) = World::start() else { return };
    let number = AtomicU32::new(0);
    contract::store(async || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        Arc::new(world.create(&format!("server-{number}")).await) as Arc<dyn ShareStore>
    })
    .await;
}

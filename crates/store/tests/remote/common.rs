//! The servers, each under one face.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use warifu_store::{Credentials, RemoteOptions, RemoteStore, StoreSpec};
use warifu_testkit::servers::{Listening, S3Server, WebdavServer};
use warifu_vault::seam::store::{Durability, ObjectKey, ShareStore, StoreError, StoreErrorKind};

pub enum Server {
    Webdav(WebdavServer),
    S3(S3Server),
}

impl Server {
    /// The description of a place on the server, reached by this port.
    pub fn spec_at(&self, place: &str, port: u16) -> StoreSpec {
        match self {
            Self::Webdav(server) => spec(&server.url(place, port), &server.options()),
            Self::S3(server) => spec(&server.url(place, port), &server.options()),
        }
    }

    pub fn spec(&self, place: &str) -> StoreSpec {
        self.spec_at(place, self.port())
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Webdav(server) => server.port(),
            Self::S3(server) => server.port(),
        }
    }

    pub fn process(&mut self) -> &mut Listening {
        match self {
            Self::Webdav(server) => server.process(),
            Self::S3(server) => server.process(),
        }
    }

    pub fn restart(&mut self) {
        match self {
            Self::Webdav(server) => server.restart(),
            Self::S3(server) => server.restart(),
        }
    }
}

pub fn file(path: &Path) -> String {
    format!("file:{}", path.display())
}

pub fn spec(url: &str, options: &[(&str, String)]) -> StoreSpec {
    let mut credentials = Credentials::default();
    for (field, value) in options {
        credentials.set(field, value).unwrap();
    }
    StoreSpec::parse(url, credentials, Path::new("/")).unwrap()
}

/// Every kind of server that is installed.
pub fn servers() -> Vec<(&'static str, Server)> {
    [
        ("apache", WebdavServer::apache(false).map(Server::Webdav)),
        ("nginx", WebdavServer::nginx(false).map(Server::Webdav)),
        ("s3s", S3Server::s3s().map(Server::S3)),
        ("garage", S3Server::garage().map(Server::S3)),
    ]
    .into_iter()
    .filter_map(|(name, server)| Some((name, server?)))
    .collect()
}

pub fn options(total: Duration) -> RemoteOptions {
    let mut options = RemoteOptions::default();
    options.total = total;
    options.request = total;
    options
}

/// Generous: these tests share two processors with much else.
pub fn patient() -> RemoteOptions {
    options(Duration::from_secs(60))
}

pub async fn create(spec: &StoreSpec) -> RemoteStore {
    RemoteStore::create(spec, patient())
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", spec.url()))
}

/// A store at a place of its own.
pub async fn fresh(server: &Server) -> RemoteStore {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let place = format!("store {}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let place = match server {
        Server::Webdav(_) => place.replace(' ', "%20"),
        Server::S3(_) => place.replace(' ', "-"),
    };
    create(&server.spec(&place)).await
}

pub async fn put(store: &dyn ShareStore, name: &ObjectKey, object: Bytes) {
    store.put_new(name, object, Durability::Now).await.unwrap();
}

#[track_caller]
pub fn expect_kind<T: std::fmt::Debug>(
    result: Result<T, StoreError>,
    kind: StoreErrorKind,
    what: &str,
) -> StoreError {
    match result {
        Err(error) => {
            assert_eq!(error.kind, kind, "{what}: {error}");
            error
        }
        Ok(value) => panic!("{what}: expected {kind:?}, got {value:?}"),
    }
}

/// Bytes that differ for each seed.
pub fn bytes(len: usize, seed: u8) -> Bytes {
    (0..len)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

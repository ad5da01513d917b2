//! A server's place: where its vault file says that it is. It can change while a vault is open.
//!
//! `server replace` rewrites the vault file. A drive that went on with the old place would put shares there that nobody looks for any
//! more, and tell the catalogue that nothing is owed. So whoever has a vault open looks at its vault file every second, and goes on at the new place
//! when there is one. What was put at the old place in the moment between is found by the check at the end of a replacement.

use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use warifu_core::ids::{ServerId, ShareIndex, VaultId};
use warifu_store::{Credentials, attach_store};
use warifu_vault::keys::pieces_of;
use warifu_vault::seam::store::{
    Answers, Durability, ObjectKey, ObjectStat, Page, ShareStore, Space, StoreError,
};

use crate::foreign::ForeignStore;
use crate::open::spec;
use crate::rebuild::MISSING;
use crate::vault_file::{ServerEntry, VaultFile, folder_of};

/// How often the vault file is looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a new place is given to show whose it is, at a time.
const PATIENCE: Duration = Duration::from_secs(5);

/// A store that can be exchanged for another. What is under way stays with the one that it began with.
#[derive(Debug)]
pub(crate) struct Place(RwLock<Arc<dyn ShareStore>>);

impl Place {
    pub(crate) fn new(store: Arc<dyn ShareStore>) -> Self {
        Self(RwLock::new(store))
    }

    fn now(&self) -> Arc<dyn ShareStore> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, store: Arc<dyn ShareStore>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = store;
    }
}

#[async_trait]
impl ShareStore for Place {
    async fn put_new(
        &self,
        name: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        self.now().put_new(name, object, durability).await
    }

    async fn get(&self, name: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        self.now().get(name, range).await
    }

    fn expect(&self, name: &ObjectKey) -> bool {
        self.now().expect(name)
    }

    async fn stat(&self, name: &ObjectKey) -> Result<ObjectStat, StoreError> {
        self.now().stat(name).await
    }

    async fn list(&self, after: Option<&ObjectKey>, limit: usize) -> Result<Page, StoreError> {
        self.now().list(after, limit).await
    }

    async fn delete(&self, name: &ObjectKey) -> Result<(), StoreError> {
        self.now().delete(name).await
    }

    async fn put_many(&self, objects: &[(ObjectKey, Bytes)]) -> Option<Answers> {
        self.now().put_many(objects).await
    }

    async fn delete_many(&self, names: &[ObjectKey]) -> Option<Answers> {
        self.now().delete_many(names).await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.now().sync().await
    }

    async fn space(&self) -> Result<Space, StoreError> {
        self.now().space().await
    }
}

/// A seat whose place is watched.
struct Watched {
    entry: ServerEntry,
    place: Arc<Place>,
    /// The new place, until it has shown that it is this server's.
    coming: Option<Arc<dyn ShareStore>>,
}

/// Watches a vault file until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch(tokio::task::AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watch {
    /// `servers` are those of the vault file as it was read, and their places.
    pub(crate) fn begin(
        path: &Path,
        vault: VaultId,
        servers: impl IntoIterator<Item = (ServerEntry, Arc<Place>)>,
    ) -> Self {
        let seats = servers
            .into_iter()
            .map(|(entry, place)| Watched {
                entry,
                place,
                coming: None,
            })
            .collect();
        Self(tokio::spawn(watch(path.to_owned(), vault, seats)).abort_handle())
    }
}

/// What shows that a file was written anew. It is replaced as a whole by warifu, and by most editors.
fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

async fn watch(path: PathBuf, vault: VaultId, mut seats: Vec<Watched>) {
    let mut seen = None;
    loop {
        let file = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || {
                let now = stamp(&path);
                let file = (now != seen).then(|| VaultFile::read(&path).ok());
                (now, file.flatten())
            })
        };
        if let Ok((now, file)) = file.await {
            seen = now;
            // A file that is being edited may be none for a while.
            if let Some(file) = file.filter(|file| file.vault == vault) {
                for seat in &mut seats {
                    seat.compare(&file, &path);
                }
            }
        }
        for seat in &mut seats {
            seat.take_up(vault).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Watched {
    /// Leaves a place that the vault file does not name any more.
    fn compare(&mut self, file: &VaultFile, path: &Path) {
        let is_ours = |entry: &&ServerEntry| is_seat(entry, self.entry.id, self.entry.index);
        let Some(entry) = file.servers.iter().find(is_ours) else {
            return;
        };
        if is_place(entry, &self.entry.url, &self.entry.credentials) {
            return;
        }
        let store = if entry.url == MISSING {
            None
        } else {
            spec(&entry.name, &entry.url, &entry.credentials, folder_of(path)).ok()
        };
        tracing::info!(server = %entry.name, "the vault file names a new place for a server");
        self.place.set(Arc::new(ForeignStore {
            detail: "the vault file names a new place for this server, which has not shown yet that it is one".to_owned(),
        }));
        self.coming = store.map(|spec| attach_store(&spec));
        self.entry = entry.clone();
    }

    /// Takes a new place up when it has this server's piece of the vault key.
    async fn take_up(&mut self, vault: VaultId) {
        let Some(store) = &self.coming else { return };
        let pieces = pieces_of(store.as_ref());
        let Ok(Ok(pieces)) = tokio::time::timeout(PATIENCE, pieces).await else {
            return;
        };
        let is_ours = pieces.into_iter().any(|(_, piece)| {
            piece.is_ok_and(|object| {
                object.vault() == vault
                    && object.server() == self.entry.id
                    && object.index() == self.entry.index
            })
        });
        if is_ours && let Some(store) = self.coming.take() {
            self.place.set(store);
            tracing::info!(server = %self.entry.name, "a server is at its new place");
        }
    }
}

fn is_seat(entry: &ServerEntry, id: ServerId, index: ShareIndex) -> bool {
    entry.id == id && entry.index == index
}

fn is_place(entry: &ServerEntry, url: &str, credentials: &Credentials) -> bool {
    entry.url == url && entry.credentials == *credentials
}

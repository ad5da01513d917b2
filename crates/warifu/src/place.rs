//! A server's place: where its vault file says that it is. It can change while a vault is open.
//!
//! Servers can also come and go, with a change of the threshold: the vault is told of them (`Seating`), and of the threshold.
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
use warifu_vault::refresh::Seating;
use warifu_vault::seam::store::{
    Answers, Durability, ObjectKey, ObjectStat, Page, ShareStore, Space, StoreError, StoreErrorKind,
};
use warifu_vault::{ServerSeat, Thresholds};

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
    /// Whether its place may have nothing to show: while the threshold changes, a server that is to come is given a piece of the vault key only when all know
    /// of it, and one that is to go gets none any more.
    may_be_empty: bool,
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
    /// `file` is as it was read, and `places` are those of its servers. What changes is told to the vault by `seating`.
    pub(crate) fn begin(
        path: &Path,
        file: &VaultFile,
        places: Vec<Arc<Place>>,
        seating: Seating,
    ) -> Self {
        let servers = file.servers.iter().cloned().zip(places);
        let seats = servers
            .map(|(entry, place)| Watched {
                entry,
                place,
                coming: None,
                may_be_empty: false,
            })
            .collect();
        let known = Known {
            vault: file.vault,
            thresholds: file.thresholds(),
            seats,
            seating,
        };
        Self(tokio::spawn(watch(path.to_owned(), known)).abort_handle())
    }
}

/// What shows that a file was written anew. It is replaced as a whole by warifu, and by most editors.
fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// What is known of a vault file.
struct Known {
    vault: VaultId,
    thresholds: Thresholds,
    seats: Vec<Watched>,
    seating: Seating,
}

async fn watch(path: PathBuf, mut known: Known) {
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
            if let Some(file) = file.filter(|file| file.vault == known.vault) {
                for seat in &mut known.seats {
                    seat.compare(&file, &path);
                }
                known.reseat(&file, &path);
            }
        }
        for seat in &mut known.seats {
            seat.take_up(known.vault).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Known {
    /// Tells the vault of another threshold, and of servers that came or went.
    fn reseat(&mut self, file: &VaultFile, path: &Path) {
        let same =
            |seat: &Watched, entry: &ServerEntry| is_seat(entry, seat.entry.id, seat.entry.index);
        let is_known = |entry: &ServerEntry| self.seats.iter().any(|seat| same(seat, entry));
        let unchanged = file.servers.len() == self.seats.len()
            && file.servers.iter().all(is_known)
            && file.thresholds() == self.thresholds;
        if unchanged {
            return;
        }
        let mut before = std::mem::take(&mut self.seats);
        for entry in &file.servers {
            let at = before.iter().position(|seat| same(seat, entry));
            let seat = at.map(|at| before.swap_remove(at));
            self.seats
                .push(seat.unwrap_or_else(|| Watched::to_come(entry, path)));
        }
        for gone in before {
            gone.place.set(Arc::new(ForeignStore {
                detail: "the vault file does not name this server any more".to_owned(),
            }));
        }
        self.thresholds = file.thresholds();
        let seats = self.seats.iter().map(|seat| ServerSeat {
            id: seat.entry.id,
            index: seat.entry.index,
            name: seat.entry.name.clone(),
            store: Arc::clone(&seat.place) as Arc<dyn ShareStore>,
        });
        if self.seating.change(seats.collect(), self.thresholds) {
            tracing::info!(
                servers = self.seats.len(),
                "the vault file names other servers, or another threshold"
            );
        }
    }
}

/// What stands in the place of a seat whose place has not shown yet whose it is.
fn not_shown() -> Arc<dyn ShareStore> {
    Arc::new(ForeignStore {
        detail: "the vault file names a new place for this server, which has not shown yet that it is one".to_owned(),
    })
}

impl Watched {
    /// The seat of a server that is to come.
    fn to_come(entry: &ServerEntry, path: &Path) -> Self {
        let mut seat = Self {
            entry: entry.clone(),
            place: Arc::new(Place::new(not_shown())),
            coming: None,
            may_be_empty: true,
        };
        seat.go_to(entry, path);
        seat
    }

    /// Leaves the place, and takes another up when it has shown whose it is.
    fn go_to(&mut self, entry: &ServerEntry, path: &Path) {
        let store = if entry.url == MISSING {
            None
        } else {
            spec(&entry.name, &entry.url, &entry.credentials, folder_of(path)).ok()
        };
        self.place.set(not_shown());
        self.coming = store.map(|spec| attach_store(&spec));
        self.entry = entry.clone();
    }

    /// Leaves a place that the vault file does not name any more.
    fn compare(&mut self, file: &VaultFile, path: &Path) {
        let is_ours = |entry: &&ServerEntry| is_seat(entry, self.entry.id, self.entry.index);
        let Some(entry) = file.servers.iter().find(is_ours) else {
            return;
        };
        if is_place(entry, &self.entry.url, &self.entry.credentials) {
            return;
        }
        tracing::info!(server = %entry.name, "the vault file names a new place for a server");
        // One of those that only one of the two thresholds has.
        let both = file.thresholds().all().map(|one| one.n()).min();
        self.may_be_empty = both.is_some_and(|both| entry.index.get() > both);
        self.go_to(entry, path);
    }

    /// Takes a new place up when it has this server's piece of the vault key. That of a server that comes or goes
    /// may have none.
    async fn take_up(&mut self, vault: VaultId) {
        let Some(store) = &self.coming else { return };
        let pieces = pieces_of(store.as_ref());
        let is_ours = match tokio::time::timeout(PATIENCE, pieces).await {
            Ok(Ok(pieces)) => pieces.into_iter().any(|(_, piece)| {
                piece.is_ok_and(|object| {
                    object.vault() == vault
                        && object.server() == self.entry.id
                        && object.index() == self.entry.index
                })
            }),
            Ok(Err(error)) => self.may_be_empty && error.kind == StoreErrorKind::NotFound,
            Err(_) => false,
        };
        if is_ours && let Some(store) = self.coming.take() {
            self.place.set(store);
            self.may_be_empty = false;
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

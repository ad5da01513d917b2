//! [`DirectoryStore`]: a folder on a local disk, or on a mounted file server.
//!
//! # On disk
//! ```text
//! warifu-store            one line: "warifu-store 1 " and 32 hexadecimal digits, the store's mark
//! vault-00000001          a vault object
//! objects/ab/ab34…ef      a share object, in the folder of its first two digits; folders are made when needed
//! tmp/…                   objects being written; swept when they are a day old
//! ```
//! An object is written under a temporary name and then given its own by a call that never replaces a file. Which call that is
//! (`renameat2`, `link`, or an exclusive creation in place) is tried out before the first write. When that was asked for, contents and name are
//! synced together after it; on a network mount the contents always are before it.
//! Folders are made with mode 0700 and files with 0600, whatever the umask allows.
//!
//! # Time
//! Every call ends within [`Options::timeout`]. What the kernel itself waits for cannot be called off: behind a server that hangs, the thread
//! stays until the kernel gives up, and with it one of [`Options::parallel`] places; when all are taken, further calls
//! answer [`StoreErrorKind::NoAnswer`] after the same time. A program that ends while a server hangs should therefore
//! leave its tokio runtime with `shutdown_timeout`.

mod cached;
mod create;
mod errno;
mod list;
mod put;
mod read;
mod root;
mod unsynced;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use warifu_vault::seam::store::{
    Answers, Durability, ObjectKey, ObjectStat, Page, ShareStore, Space, StoreError, StoreErrorKind,
};

use crate::error::{CreateError, OpenError};
use crate::layout::{Mark, Place};
use crate::probe::Promises;
pub use root::Identity;
use root::{Root, not_the_store, unopened};
use unsynced::Unsynced;

/// The largest object that is written or read, in bytes. Far above what warifu makes; a server that claims more is not believed.
pub const MAX_OBJECT: usize = 64 << 20;

/// How a directory store behaves.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options {
    /// After so long, a call answers [`StoreErrorKind::NoAnswer`].
    pub timeout: Duration,
    /// So many calls are at work at once; others wait for their turn, within the same time.
    pub parallel: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            parallel: 32,
        }
    }
}

/// A share store in a folder.
pub struct DirectoryStore {
    shared: Arc<Shared>,
    options: Options,
    permits: Arc<Semaphore>,
    sync_turn: Arc<tokio::sync::Mutex<()>>,
}

struct Shared {
    path: PathBuf,
    held: Mutex<Held>,
    unsynced: Unsynced,
    /// Whether objects may be there that a process before this one wrote, and that no sync of ours has covered yet.
    inherited: AtomicBool,
}

#[derive(Default)]
struct Held {
    root: Option<Arc<Root>>,
    /// The store that was first opened here; another one is not taken in its stead.
    mark: Option<Mark>,
}

impl fmt::Debug for DirectoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryStore")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

impl DirectoryStore {
    /// Opens the store in the folder `path`.
    ///
    /// # Errors
    /// When there is no folder, or it is no store; see [`OpenError`].
    pub async fn open(path: PathBuf, options: Options) -> Result<Self, OpenError> {
        let opening = path.clone();
        let root = within(options, &path, move || {
            let root = Root::open(&opening)?;
            root.sweep(now_secs());
            Ok::<_, OpenError>(root)
        })
        .await??;
        Ok(Self::new(path, Some(root), options))
    }

    /// Makes a store in the folder `path`, which must be empty or not yet there.
    ///
    /// # Errors
    /// When the folder holds anything else, or cannot be written; see [`CreateError`].
    pub async fn create(path: PathBuf, options: Options) -> Result<Self, CreateError> {
        let making = path.clone();
        let root = within(options, &path, move || create::create(&making)).await??;
        Ok(Self::new(path, Some(root), options))
    }

    /// Takes the folder `path` for a store without looking. Every call answers [`StoreErrorKind::NoAnswer`] and says why until the
    /// folder is there and is a store: this is how a vault starts while one of its servers is away.
    #[must_use]
    pub fn attach(path: PathBuf, options: Options) -> Self {
        Self::new(path, None, options)
    }

    fn new(path: PathBuf, root: Option<Root>, options: Options) -> Self {
        // A daemon changes its working directory.
        let path = std::path::absolute(&path).unwrap_or(path);
        let mark = root.as_ref().map(|root| root.mark.clone());
        let held = Mutex::new(Held {
            root: root.map(Arc::new),
            mark,
        });
        Self {
            shared: Arc::new(Shared {
                path,
                held,
                unsynced: Unsynced::default(),
                inherited: AtomicBool::new(true),
            }),
            options,
            permits: Arc::new(Semaphore::new(options.parallel.max(1))),
            sync_turn: Arc::default(),
        }
    }

    /// What the way of writing here promises.
    pub(crate) async fn promises(&self) -> Result<Promises, StoreError> {
        self.run(|_, root| {
            Ok(Promises {
                atomic_put: put::placing(root)? != put::Placing::Exclusive,
                durable_sync: true,
            })
        })
        .await
    }

    /// Which directory lies at a path.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub async fn identity_of(path: PathBuf, options: Options) -> Result<Identity, OpenError> {
        let looking = path.clone();
        let found = within(options, &path, move || Identity::of(&looking)).await?;
        found.map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => OpenError::Missing { path },
            _ => OpenError::Io {
                path,
                doing: "cannot look at",
                source,
            },
        })
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Does blocking work on the folder, within the time and the number of places.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared, &Arc<Root>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        let permits = Arc::clone(&self.permits);
        self.in_time(async move {
            let Ok(permit) = permits.acquire_owned().await else {
                return Err(broken(&shared.path));
            };
            let worker = Arc::clone(&shared);
            let work = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let root = worker.root()?;
                let done = work(&worker, &root);
                if done
                    .as_ref()
                    .is_err_and(|error| error.kind == StoreErrorKind::NoAnswer)
                {
                    worker.let_go(&root);
                }
                done
            });
            work.await.unwrap_or_else(|_| Err(broken(&shared.path)))
        })
        .await
    }

    /// Does the same with each of many: on the machine's own disks in one turn, since handing each to a thread and being woken by it costs as much
    /// as the work itself. Elsewhere a turn is a wait, and many waits are better taken at once.
    async fn many<T: Send + 'static>(
        &self,
        all: Vec<T>,
        work: impl Fn(&Shared, &Arc<Root>, &T) -> Result<(), StoreError> + Send + 'static,
    ) -> Option<Answers> {
        if !self.shared.held().is_some_and(|root| root.local) {
            return None;
        }
        let count = all.len();
        let done = self
            .run(move |shared, root| {
                root.confirm()?;
                Ok(all.iter().map(|one| work(shared, root, one)).collect())
            })
            .await;
        Some(done.unwrap_or_else(|error| {
            let each = || Err(StoreError::new(error.kind, error.detail.clone()));
            std::iter::repeat_with(each).take(count).collect()
        }))
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(self.options.timeout, work)
            .await
            .unwrap_or_else(|_| {
                Err(StoreError::new(
                    StoreErrorKind::NoAnswer,
                    format!(
                        "no answer from {} within {} s",
                        self.shared.path.display(),
                        self.options.timeout.as_secs()
                    ),
                ))
            })
    }
}

/// The thread for a call could not be had or died; what the call did is not known.
fn broken(path: &Path) -> StoreError {
    StoreError::new(
        StoreErrorKind::NoAnswer,
        format!("a request to {} was broken off", path.display()),
    )
}

async fn within<T: Send + 'static>(
    options: Options,
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OpenError> {
    match tokio::time::timeout(options.timeout, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) | Err(_) => Err(OpenError::NoAnswer {
            path: path.into(),
            seconds: options.timeout.as_secs(),
        }),
    }
}

fn now_secs() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or_default()
}

impl Shared {
    fn put(
        &self,
        root: &Arc<Root>,
        name: &ObjectKey,
        object: &Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        if object.len() > MAX_OBJECT {
            let detail = format!(
                "an object of {} bytes is larger than any store takes ({MAX_OBJECT})",
                object.len()
            );
            return Err(StoreError::new(StoreErrorKind::Failed, detail));
        }
        // What may not be on disk is there all the same, and whoever repairs it finds it good and leaves it.
        if self.unsynced.is_doubtful(name) && put::write_again(root, &Place::of(name))? {
            self.unsynced.clear_doubt(name);
        }
        let durable = durability == Durability::Now;
        let file = put::write_new(root, &Place::of(name), object, durable)?;
        if durable {
            self.unsynced.forget(name);
        } else {
            // Elsewhere than on the machine's own disks the file was synced already, and NFS keeps a removed file
            // for as long as it is open.
            self.unsynced.add(name, root, root.local.then_some(file));
        }
        Ok(())
    }

    fn delete(&self, root: &Root, name: &ObjectKey) -> Result<(), StoreError> {
        let done = read::delete(root, name);
        let gone = |error: &StoreError| error.kind == StoreErrorKind::NotFound;
        if done.as_ref().err().is_none_or(gone) {
            self.unsynced.forget(name);
        }
        done
    }

    /// Opens the folder anew at the next call: a mount that was cut off stays so for descriptors opened before, and a
    /// new one in its place may have the same numbers.
    fn let_go(&self, root: &Arc<Root>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.root.as_ref().is_some_and(|now| Arc::ptr_eq(now, root)) {
            held.root = None;
        }
    }

    /// What the kernel has in memory of an object, as far as nothing has to be waited for.
    fn cached(&self, name: &ObjectKey, range: Option<Range<u64>>) -> Option<Bytes> {
        cached::get(&*self.held()?, name, range)
    }

    /// The folder as it was found last.
    fn held(&self) -> Option<Arc<Root>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.root.clone()
    }

    /// The folder as it is now: the one held when it still lies at the path, or the same store come back.
    fn root(&self) -> Result<Arc<Root>, StoreError> {
        let (held, mark) = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            (held.root.clone(), held.mark.clone())
        };
        if let Some(root) = held
            && Identity::of(&self.path).is_ok_and(|now| now == root.identity)
        {
            return Ok(root);
        }
        // Not under the lock: a server that hangs here must not hold up those who find the folder in place.
        let root = Root::open(&self.path).map_err(|error| unopened(&error))?;
        if mark.is_some_and(|mark| mark != root.mark) {
            return Err(not_the_store(&self.path));
        }
        root.sweep(now_secs());
        let root = Arc::new(root);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.mark.get_or_insert_with(|| root.mark.clone());
        held.root = Some(Arc::clone(&root));
        tracing::info!(store = %self.path.display(), "the store's folder was opened");
        Ok(root)
    }
}

#[async_trait]
impl ShareStore for DirectoryStore {
    async fn put_new(
        &self,
        name: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let name = name.clone();
        self.run(move |shared, root| {
            // Nothing is written into a folder that was emptied, or made another store, under the same number.
            root.confirm()?;
            shared.put(root, &name, &object, durability)
        })
        .await
    }

    async fn put_many(&self, objects: &[(ObjectKey, Bytes)]) -> Option<Answers> {
        let objects = objects.to_vec();
        self.many(objects, |shared, root, (name, object)| {
            shared.put(root, name, object, Durability::Soon)
        })
        .await
    }

    async fn delete_many(&self, names: &[ObjectKey]) -> Option<Answers> {
        let names = names.to_vec();
        self.many(names, |shared, root, name| shared.delete(root, name))
            .await
    }

    async fn get(&self, name: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        if let Some(object) = self.shared.cached(name, range.clone()) {
            return Ok(object);
        }
        let name = name.clone();
        self.run(move |_, root| read::get(root, &name, range)).await
    }

    /// The disk is asked while the program goes on; on a network mount that could be a transfer that nobody needs.
    fn expect(&self, name: &ObjectKey) -> bool {
        let Some(root) = self.shared.held().filter(|root| root.local) else {
            return false;
        };
        if cached::is_there(&root, name) {
            return true;
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return false;
        };
        let name = name.clone();
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read::expect(&root, &name);
        });
        false
    }

    async fn stat(&self, name: &ObjectKey) -> Result<ObjectStat, StoreError> {
        let name = name.clone();
        self.run(move |_, root| read::stat(root, &name)).await
    }

    async fn list(&self, after: Option<&ObjectKey>, limit: usize) -> Result<Page, StoreError> {
        let after = after.cloned();
        self.run(move |_, root| list::list(root, after.as_ref(), limit))
            .await
    }

    async fn delete(&self, name: &ObjectKey) -> Result<(), StoreError> {
        let name = name.clone();
        self.run(move |shared, root| shared.delete(root, &name))
            .await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        if self.shared.inherited.load(Ordering::Acquire) {
            self.run(|shared, root| {
                // On a network mount every object was put on disk when it was written.
                if root.local {
                    rustix::fs::syncfs(&root.dir).map_err(|errno| {
                        errno::failed(
                            format_args!("cannot put {} on disk", root.path.display()),
                            errno,
                        )
                    })?;
                }
                shared.inherited.store(false, Ordering::Release);
                Ok(())
            })
            .await?;
        }
        let now = self.shared.unsynced.now();
        if let Some(verdict) = self.shared.unsynced.settled(now) {
            return verdict;
        }
        let shared = Arc::clone(&self.shared);
        let turn = Arc::clone(&self.sync_turn);
        self.in_time(async move {
            let turn = turn.lock_owned().await;
            // Whoever had the turn before may have done our work as well.
            if let Some(verdict) = shared.unsynced.settled(now) {
                return verdict;
            }
            let worker = Arc::clone(&shared);
            let work = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                worker.unsynced.flush()
            });
            work.await.unwrap_or_else(|_| Err(broken(&shared.path)))
        })
        .await
    }

    async fn space(&self) -> Result<Space, StoreError> {
        self.run(|_, root| {
            // The room of whatever lies below an empty mount point is not the server's.
            root.confirm()?;
            let fs = rustix::fs::fstatvfs(&root.dir).map_err(|errno| {
                errno::failed(
                    format_args!("cannot ask {} for its room", root.path.display()),
                    errno,
                )
            })?;
            Ok(Space {
                total: Some(fs.f_blocks.saturating_mul(fs.f_frsize)),
                free: Some(fs.f_bavail.saturating_mul(fs.f_frsize)),
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As after a mount was cut off between an object and its sync: it is there, and no sync says that it is safe. Whoever repairs it puts it, finds it
    /// good, and asks for a sync.
    #[tokio::test]
    async fn p4_what_may_not_be_on_disk_is_written_once_more_and_then_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let store = DirectoryStore::create(path.clone(), Options::default()).await;
        let store = store.unwrap();
        let name = ObjectKey::parse(&"a7".repeat(32)).unwrap();
        let place = path.join(Place::of(&name).path);
        let object = Bytes::from_static(b"a share");
        let put = || store.put_new(&name, object.clone(), Durability::Soon);
        put().await.unwrap();
        store.sync().await.unwrap();
        let doubt = || {
            // Pipes cannot be synced.
            let (_, writer) = std::io::pipe().unwrap();
            let root = store.shared.held().unwrap();
            store.shared.unsynced.add(&name, &root, Some(writer.into()));
        };
        doubt();
        assert_eq!(store.sync().await.unwrap_err().kind, StoreErrorKind::Failed);
        assert!(store.sync().await.is_err(), "nothing has changed since");
        let file = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&place).unwrap());
        let before = file();
        // Another sealing of the same share has other bytes.
        let other = store.put_new(&name, Bytes::from_static(b"another"), Durability::Soon);
        assert_eq!(other.await.unwrap_err().kind, StoreErrorKind::AlreadyExists);
        assert_ne!(file(), before, "it was written once more");
        assert_eq!(store.get(&name, None).await.unwrap(), object);
        store.sync().await.unwrap();
        let safe = file();
        put().await.unwrap_err();
        assert_eq!(file(), safe, "what is safe stays as it is");
        // What is gone is put as any other.
        doubt();
        store.sync().await.unwrap_err();
        std::fs::remove_file(&place).unwrap();
        put().await.unwrap();
        store.sync().await.unwrap();
        assert_eq!(std::fs::read_dir(path.join("tmp")).unwrap().count(), 0);
    }
}

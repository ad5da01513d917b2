//! [`SftpStore`]: a folder on an SSH server, over SFTP.
//!
//! The folder has the layout of a [`DirectoryStore`](crate::DirectoryStore), so that it can be reached as a directory on the
//! server itself, or where it is mounted, and over SFTP from elsewhere.
//!
//! # Round trips
//! | | sequential round trips |
//! |---|---|
//! | `get`, any size, whole or a range | 2: open and size; all bytes |
//! | `put_new`, any size, `Soon` | 3: open; all bytes; name |
//! | `put_new`, any size, `Now` | 4: open; all bytes and fsync; name; fsync of the folder |
//! | `stat`, `delete`, `space` | 1 |
//! | `sync` | 3: fsync of all files; open of all their folders; fsync of those |
//!
//! That a name is *not* there takes two more, to see that the store itself still is. Requests of many tasks share one connection and go
//! on at once.
//!
//! # Durability
//! With `fsync@openssh.com` (OpenSSH has it) `sync` puts files and folders on the server's disk. A server without it writes when it likes;
//! its [profile](crate::StoreProfile) says so.
//!
//! # Time
//! The connection is made at the first request and anew when it broke. A server that has requests to answer and is silent for
//! [`Options::patience`] is given up, and whatever was asked answers [`NoAnswer`](StoreErrorKind::NoAnswer).

mod create;
mod known_hosts;
mod link;
mod put;
mod read;
mod root;
mod session;
mod ssh;
mod unsynced;
mod wire;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use warifu_vault::seam::store::{
    Durability, ObjectKey, ObjectStat, Page, ShareStore, Space, StoreError, StoreErrorKind,
};

use crate::directory::MAX_OBJECT;
use crate::error::{CreateError, OpenError};
use crate::layout::{TMP, random_hex};
use crate::probe::Promises;
use crate::spec::{StoreIdentity, StoreSpec};
use crate::url::{SftpUrl, StoreUrl};
use link::Link;
use root::Root;
use unsynced::Unsynced;
use wire::{Request, Status};

/// A server writes what it was given within minutes, asked or not; what is older than this is on its disk.
const WRITTEN_AFTER_SECS: i64 = 15 * 60;

/// How an SFTP store behaves.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SftpOptions {
    /// After so long, a call answers [`StoreErrorKind::NoAnswer`].
    pub timeout: Duration,
    /// So long may it take to connect and to log in.
    pub connect: Duration,
    /// A server that says nothing for so long while it is asked is given up.
    pub patience: Duration,
    /// So many calls are at work at once; others wait for their turn, within the same time.
    pub parallel: usize,
}

type Options = SftpOptions;

impl Default for SftpOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            connect: ssh::CONNECT,
            patience: Duration::from_secs(15),
            parallel: 64,
        }
    }
}

/// A share store in a folder on an SSH server.
pub struct SftpStore {
    shared: Arc<Shared>,
    options: Options,
    permits: Arc<Semaphore>,
}

struct Shared {
    link: Link,
    unsynced: Unsynced,
    sync_turn: tokio::sync::Mutex<()>,
    /// Whether objects may be there that a process before this one wrote, and that no sync of ours has covered yet.
    inherited: AtomicBool,
}

impl fmt::Debug for SftpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SftpStore")
            .field("url", &self.shared.link.url.to_string())
            .finish_non_exhaustive()
    }
}

fn url_of(spec: &StoreSpec) -> Result<SftpUrl, OpenError> {
    match spec.url() {
        StoreUrl::Sftp(url) => Ok(url.clone()),
        other => Err(OpenError::Protocol {
            server: other.to_string(),
            detail: "is no sftp: server".into(),
        }),
    }
}

impl SftpStore {
    /// Connects to the server and opens the store there.
    ///
    /// # Errors
    /// When it cannot be reached or trusted, does not let us in, or has no store there; see [`OpenError`].
    pub async fn open(spec: &StoreSpec, options: SftpOptions) -> Result<Self, OpenError> {
        let url = url_of(spec)?;
        let session = ssh::connect(&url, spec, options).await?;
        let root = in_time(&url, options, Root::open(session, &url)).await??;
        Ok(Self::new(url, spec, options, Some(root)))
    }

    /// Connects to the server and makes a store there, in a folder that must be empty or not yet there.
    ///
    /// # Errors
    /// As [`open`](Self::open), and when the folder holds anything else or cannot be written; see [`CreateError`].
    pub async fn create(spec: &StoreSpec, options: SftpOptions) -> Result<Self, CreateError> {
        let url = url_of(spec)?;
        let session = ssh::connect(&url, spec, options).await?;
        let root = in_time(&url, options, create::create(session, &url)).await??;
        Ok(Self::new(url, spec, options, Some(root)))
    }

    /// Takes a server for granted: nothing is asked of it before the first request.
    /// `url` is where it is, and `spec` says how warifu gets in.
    #[must_use]
    pub fn attach(url: &SftpUrl, spec: &StoreSpec, options: SftpOptions) -> Self {
        Self::new(url.clone(), spec, options, None)
    }

    /// What the way of writing here promises, as far as it has shown itself by now.
    pub(crate) async fn promises(&self) -> Result<Promises, StoreError> {
        self.ask(|root| async move {
            let placing = put::placing(&root).await?;
            Ok(Promises {
                atomic_put: placing != put::Placing::Exclusive,
                durable_sync: root.fsync && root.folder_fsync.load(Ordering::Acquire),
            })
        })
        .await
    }

    fn new(url: SftpUrl, spec: &StoreSpec, options: Options, root: Option<Root>) -> Self {
        Self {
            shared: Arc::new(Shared {
                link: Link::new(url, spec.clone(), options, root),
                unsynced: Unsynced::default(),
                sync_turn: tokio::sync::Mutex::default(),
                inherited: AtomicBool::new(true),
            }),
            options,
            permits: Arc::new(Semaphore::new(options.parallel.max(1))),
        }
    }

    /// Does a call in a task of its own, so that one that is dropped half-way still closes and removes what it began.
    async fn run<T, F>(
        &self,
        work: impl FnOnce(Arc<Shared>) -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let permits = Arc::clone(&self.permits);
        let url = self.shared.link.url.to_string();
        let silent = move |detail: String| {
            StoreError::new(
                StoreErrorKind::NoAnswer,
                format!("no answer from {url}: {detail}"),
            )
        };
        // What is begun may go on a while after nobody waits for it any more, to clean up; but a server that always has
        // one more answer must not keep it for ever.
        let at_most = self.options.timeout * 2;
        let too_long = silent.clone();
        let task = tokio::spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire_owned().await;
            match tokio::time::timeout(at_most, work(shared)).await {
                Ok(done) => done,
                Err(_) => Err(too_long(format!("not within {} s", at_most.as_secs()))),
            }
        });
        match tokio::time::timeout(self.options.timeout, task).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(silent("the request was broken off".into())),
            Err(_) => Err(silent(format!(
                "not within {} s",
                self.options.timeout.as_secs()
            ))),
        }
    }

    /// The same for requests that change nothing: one that a dying connection took with it is asked again.
    async fn ask<T, F>(
        &self,
        work: impl Fn(Arc<Root>) -> F + Send + Sync + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.run(move |shared| async move {
            let root = shared.link.root().await?;
            match work(Arc::clone(&root)).await {
                Err(error) if error.kind == StoreErrorKind::NoAnswer && root.session.is_over() => {
                    drop(root);
                    work(shared.link.root().await?).await
                }
                done => done,
            }
        })
        .await
    }
}

async fn in_time<T>(
    url: &SftpUrl,
    options: Options,
    work: impl Future<Output = T>,
) -> Result<T, OpenError> {
    tokio::time::timeout(options.timeout, work)
        .await
        .map_err(|_| OpenError::Unreachable {
            server: url.to_string(),
            detail: format!("not within {} s", options.timeout.as_secs()),
        })
}

fn now_secs() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|now| i64::try_from(now.as_secs()).ok())
        .unwrap_or(0)
}

#[async_trait]
impl ShareStore for SftpStore {
    async fn put_new(
        &self,
        name: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        if object.len() > MAX_OBJECT {
            let detail = format!(
                "an object of {} bytes is larger than any store takes ({MAX_OBJECT})",
                object.len()
            );
            return Err(StoreError::new(StoreErrorKind::Failed, detail));
        }
        let name = name.clone();
        self.run(move |shared| async move {
            let root = shared.link.root().await?;
            let durable = durability == Durability::Now;
            let place = crate::layout::Place::of(&name);
            let len = u64::try_from(object.len()).unwrap_or(u64::MAX);
            let handle = match put::write_new(&root, &place, &object, durable).await {
                Ok(handle) => handle,
                Err(error) => {
                    // It may be this very object, put by a request whose answer was lost with its connection. Whoever
                    // finds that out takes it for stored, and the next sync for its own to put on disk.
                    if error.kind == StoreErrorKind::AlreadyExists
                        && let Ok(there) = read::stat(&root, &name).await
                        && there.len == len
                    {
                        shared.unsynced.adopt(&name, len);
                    }
                    return Err(error);
                }
            };
            if durable {
                root.session.tell(Request::Close(&handle));
                shared.unsynced.forget(&name);
            } else {
                shared.unsynced.add(&name, len, &root, handle);
            }
            Ok(())
        })
        .await
    }

    async fn get(&self, name: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let name = name.clone();
        self.ask(move |root| {
            let (name, range) = (name.clone(), range.clone());
            async move { read::get(&root, &name, range).await }
        })
        .await
    }

    async fn stat(&self, name: &ObjectKey) -> Result<ObjectStat, StoreError> {
        let name = name.clone();
        self.ask(move |root| {
            let name = name.clone();
            async move { read::stat(&root, &name).await }
        })
        .await
    }

    async fn list(&self, after: Option<&ObjectKey>, limit: usize) -> Result<Page, StoreError> {
        let after = after.cloned();
        self.ask(move |root| {
            let after = after.clone();
            async move { read::list(&root, after.as_ref(), limit).await }
        })
        .await
    }

    async fn delete(&self, name: &ObjectKey) -> Result<(), StoreError> {
        let name = name.clone();
        self.run(move |shared| async move {
            let root = shared.link.root().await?;
            let done = read::delete(&root, &name).await;
            if done
                .as_ref()
                .map_or_else(|error| error.kind == StoreErrorKind::NotFound, |()| true)
            {
                shared.unsynced.forget(&name);
            }
            done
        })
        .await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        let now = self.shared.unsynced.now();
        if !self.shared.inherited.load(Ordering::Acquire)
            && let Some(verdict) = self.shared.unsynced.settled(now)
        {
            return verdict;
        }
        self.run(move |shared| async move {
            let _turn = shared.sync_turn.lock().await;
            let root = shared.link.root().await?;
            let mut now = now;
            if shared.inherited.load(Ordering::Acquire) {
                adopt_recent(&shared, &root).await?;
                now = shared.unsynced.now();
            }
            // Whoever had the turn before may have done our work as well.
            if let Some(verdict) = shared.unsynced.settled(now) {
                shared.inherited.store(false, Ordering::Release);
                return verdict;
            }
            let done = shared.unsynced.flush(&root).await;
            if done.is_ok() {
                shared.inherited.store(false, Ordering::Release);
            }
            done
        })
        .await
    }

    async fn space(&self) -> Result<Space, StoreError> {
        self.ask(move |root| async move { read::space(&root).await })
            .await
    }
}

/// What a process before this one may have written a moment ago is put on disk with the first sync: there is no other way to ask a
/// server for it. Its age is told by the server's own clock.
async fn adopt_recent(shared: &Shared, root: &Root) -> Result<(), StoreError> {
    if !root.fsync {
        return Ok(());
    }
    let now = server_clock(root).await?;
    let mut after: Option<ObjectKey> = None;
    loop {
        let page = read::list(root, after.as_ref(), 4096).await?;
        for (name, stat) in &page.objects {
            let young = stat
                .modified
                .is_none_or(|modified| now.saturating_sub(modified.secs) < WRITTEN_AFTER_SECS);
            if young {
                shared.unsynced.adopt(name, stat.len);
            }
        }
        after = page.objects.last().map(|(name, _)| name.clone());
        if !page.more || after.is_none() {
            return Ok(());
        }
    }
}

/// The server's time, as it stamps files; our own where a file cannot be made.
async fn server_clock(root: &Root) -> Result<i64, StoreError> {
    let path = root.at(&format!("{TMP}/{}", random_hex()?));
    let session = &root.session;
    let opened = session.ask(Request::OpenNew(&path));
    let handle = match opened.handle().await {
        Ok(handle) => handle,
        Err(trouble) if trouble.is(Status::DENIED) => return Ok(now_secs()),
        Err(trouble) if trouble.kind() == StoreErrorKind::NoAnswer => {
            return Err(trouble.during(format_args!("cannot ask {} for its time", root.shown)));
        }
        Err(_) => return Ok(now_secs()),
    };
    let attrs = session.ask(Request::Lstat(&path));
    session.tell(Request::Close(&handle));
    session.tell(Request::Remove(&path));
    let modified = attrs.attrs().await.ok().and_then(|attrs| attrs.modified);
    Ok(modified.map_or_else(now_secs, i64::from))
}

pub(crate) async fn identity(url: &SftpUrl, spec: &StoreSpec) -> Result<StoreIdentity, OpenError> {
    let session = ssh::connect(url, spec, Options::default()).await?;
    let place = match Root::open(session, url).await {
        Ok(root) => root.mark.digits().to_owned(),
        Err(OpenError::Missing { .. } | OpenError::NotAStore { .. }) => url.path.clone(),
        Err(error) => return Err(error),
    };
    Ok(StoreIdentity::Remote {
        machine: format!("{}:{}", url.host, url.port),
        place,
    })
}

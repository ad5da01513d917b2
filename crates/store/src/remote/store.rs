//! [`RemoteStore`]: a share store made of what a protocol offers.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use warifu_vault::seam::store::{
    Durability, ObjectKey, ObjectStat, Page, ShareStore, Space, StoreError, StoreErrorKind,
};

use super::RemoteOptions;
use super::http::HttpError;
use super::names::{MARKER, PROBE, Tried, Turns, path_of};
use super::service::{Manner, Service, out_of_range};
use crate::directory::MAX_OBJECT;
use crate::error::OpenError;
use crate::layout::{BadMark, Mark};

/// So many calls are at work at once; others wait for their turn, within the same time.
const PARALLEL: usize = 32;
/// What the file says that is written to see what the server refuses.
const PROBE_TEXT: &[u8] =
    b"warifu writes this file to find out what the server promises. It may be removed.\n";

/// What uploads left behind is looked for so often.
const SWEEP_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Makes the client: reads passwords and certificates.
pub(super) type Connect = dyn Fn() -> Result<Arc<dyn Service>, OpenError> + Send + Sync;

/// A share store on a server that is spoken to in HTTP: WebDAV or S3.
pub struct RemoteStore {
    shared: Arc<Shared>,
}

struct Shared {
    place: String,
    connect: Box<Connect>,
    service: OnceLock<Arc<dyn Service>>,
    limits: RemoteOptions,
    known: Mutex<Known>,
    /// One looks for the marker, and the others wait for what it finds.
    looking: tokio::sync::Mutex<Option<Failure>>,
    places: Semaphore,
    turns: Turns,
    tried: Tried,
    powers: tokio::sync::OnceCell<Powers>,
    /// The one of the powers that is needed before a write under a name that everybody knows.
    refuses: tokio::sync::OnceCell<bool>,
    probing: AtomicBool,
    /// When what uploads left behind was last removed: beside the first write of a process, and later once a day.
    swept: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct Known {
    /// The store that was first found here; another one is not taken in its stead.
    mark: Option<Mark>,
    /// Whether the marker was seen since the server was last silent.
    seen: bool,
}

/// How the last look for the marker failed, and when.
struct Failure {
    at: Instant,
    kind: StoreErrorKind,
    detail: String,
}

/// What the server was seen to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Powers {
    /// It refuses a write under a name that is taken, when it is asked to.
    pub refuses_taken: bool,
    /// Others see an object before it is whole, or what is left of it.
    pub shows_parts: bool,
}

impl fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteStore")
            .field("place", &self.shared.place)
            .finish_non_exhaustive()
    }
}

impl RemoteStore {
    /// A store that connects when it is first asked for something, or one whose marker was just read or written.
    pub(super) fn assemble(
        place: String,
        limits: RemoteOptions,
        connect: Box<Connect>,
        found: Option<(Arc<dyn Service>, Mark)>,
    ) -> Self {
        let service = OnceLock::new();
        let mut known = Known::default();
        if let Some((found, mark)) = found {
            let _ = service.set(found);
            known = Known {
                mark: Some(mark),
                seen: true,
            };
        }
        Self {
            shared: Arc::new(Shared {
                place,
                connect,
                service,
                limits,
                known: Mutex::new(known),
                looking: tokio::sync::Mutex::default(),
                places: Semaphore::new(PARALLEL),
                turns: Turns::default(),
                tried: Tried::default(),
                powers: tokio::sync::OnceCell::new(),
                refuses: tokio::sync::OnceCell::new(),
                probing: AtomicBool::new(false),
                swept: Mutex::new(None),
            }),
        }
    }

    /// What the server does that it need not; found out once, by writing.
    ///
    /// # Errors
    /// When it cannot be found out: `Full`, `Denied`, `NoAnswer`, `Failed`.
    pub async fn powers(&self) -> Result<Powers, StoreError> {
        let shared = &self.shared;
        shared
            .in_time(async {
                shared.ready().await?;
                shared.powers().await
            })
            .await
    }

    /// Makes a call: waits for a place, and for the marker to be known.
    async fn call<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let shared = &self.shared;
        let done = shared
            .in_time(async {
                let _place = shared.places.acquire().await;
                shared.ready().await?;
                work.await
            })
            .await;
        if let Err(error) = &done
            && error.kind == StoreErrorKind::NoAnswer
        {
            // Another server, or an empty disk, may be there when it speaks again.
            shared.known().seen = false;
        }
        done
    }
}

impl Shared {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = self.limits.total;
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(StoreError::new(
                StoreErrorKind::NoAnswer,
                format!("{}: no answer within {} s", self.place, limit.as_secs_f32()),
            ))
        })
    }

    fn service(&self) -> Result<&Arc<dyn Service>, StoreError> {
        if let Some(service) = self.service.get() {
            return Ok(service);
        }
        let made = (self.connect)().map_err(|error| {
            // Whatever is missing here says nothing about the server.
            StoreError::new(StoreErrorKind::NoAnswer, error.to_string()).caused_by(error)
        })?;
        Ok(self.service.get_or_init(|| made))
    }

    /// Makes sure that the place is the store that it was, unless that is known.
    async fn ready(self: &Arc<Self>) -> Result<(), StoreError> {
        if self.known().seen {
            return Ok(());
        }
        let begin = Instant::now();
        let mut last = self.looking.lock().await;
        if self.known().seen {
            return Ok(());
        }
        // Somebody else has just asked: what they heard is good enough for all who were waiting.
        if let Some(failure) = last.as_ref().filter(|failure| failure.at >= begin) {
            return Err(StoreError::new(failure.kind, failure.detail.clone()));
        }
        match self.confirm().await {
            Ok(()) => {
                *last = None;
                Ok(())
            }
            Err(error) => {
                *last = Some(Failure {
                    at: Instant::now(),
                    kind: error.kind,
                    detail: error.detail.clone(),
                });
                Err(error)
            }
        }
    }

    /// Reads the marker.
    async fn confirm(self: &Arc<Self>) -> Result<(), StoreError> {
        let found = match self.service()?.read(MARKER, None).await {
            Ok(bytes) => Mark::parse(&bytes),
            Err(error) if error.kind == StoreErrorKind::NotFound => Err(BadMark::Damaged),
            Err(error) => return Err(error),
        };
        let mark = match found {
            Ok(mark) => mark,
            Err(BadMark::Newer(version)) => {
                return Err(StoreError::new(
                    StoreErrorKind::Failed,
                    format!(
                        "{} was made by a newer warifu (format {version})",
                        self.place
                    ),
                ));
            }
            Err(_) => return Err(self.not_the_store()),
        };
        let mut known = self.known();
        if known.mark.get_or_insert_with(|| mark.clone()) != &mark {
            return Err(self.not_the_store());
        }
        known.seen = true;
        drop(known);
        // What this process itself left behind, in all the time that it has been at work.
        if self.swept().is_some_and(|at| at.elapsed() > SWEEP_EVERY) {
            let shared = Arc::clone(self);
            tokio::spawn(async move { shared.sweep().await });
        }
        Ok(())
    }

    fn swept(&self) -> Option<Instant> {
        *self.swept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what uploads left behind that never ended. It is in nobody's way, so that it cannot be done now is only noted.
    async fn sweep(&self) {
        let now = Some(Instant::now());
        *self.swept.lock().unwrap_or_else(PoisonError::into_inner) = now;
        let swept = match self.service() {
            Ok(service) => service.sweep().await,
            Err(error) => Err(error),
        };
        match swept {
            Ok(0) => {}
            Ok(swept) => {
                tracing::info!(store = %self.place, swept, "removed files left by uploads that never ended");
            }
            Err(error) => {
                tracing::debug!(store = %self.place, %error, "what uploads left could not be removed");
            }
        }
    }

    fn not_the_store(&self) -> StoreError {
        StoreError::new(
            StoreErrorKind::NoAnswer,
            format!("{} is not the store that was opened", self.place),
        )
    }

    /// What a refusal means: nothing is absent in a place that is gone.
    async fn meant(self: &Arc<Self>, error: StoreError) -> StoreError {
        match error.kind {
            StoreErrorKind::NotFound | StoreErrorKind::Failed => match self.confirm().await {
                Ok(()) => error,
                Err(worse) => worse,
            },
            _ => error,
        }
    }

    async fn powers(&self) -> Result<Powers, StoreError> {
        self.powers
            .get_or_try_init(|| async {
                let service = self.service()?;
                self.sweep().await;
                let (refuses_taken, shows_parts) =
                    tokio::try_join!(self.refuses_taken(), service.shows_parts())?;
                let powers = Powers {
                    refuses_taken,
                    shows_parts,
                };
                tracing::info!(store = %self.place, ?powers, "the server was tried out");
                Ok(powers)
            })
            .await
            .copied()
    }

    async fn refuses_taken(&self) -> Result<bool, StoreError> {
        let tried = self.refuses.get_or_try_init(|| self.try_to_overwrite());
        tried.await.copied()
    }

    /// Writes a file, always the same, again and again until the server refuses, or has shown that it won't.
    async fn try_to_overwrite(&self) -> Result<bool, StoreError> {
        let service = self.service()?;
        let manner = Manner {
            only_new: true,
            staged: false,
        };
        for _ in 0..2 {
            let object = Bytes::from_static(PROBE_TEXT);
            match service.write(PROBE, object, manner).await {
                Ok(()) => {}
                Err(error) if error.kind == StoreErrorKind::AlreadyExists => return Ok(true),
                // It knows no conditions, and says so. Another error says nothing about conditions: it is tried another time.
                Err(error) if knows_no_conditions(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// What is known of the server; what is not is found out beside the first writes, which are more careful for as long.
    fn powers_so_far(self: &Arc<Self>) -> Option<Powers> {
        if let Some(powers) = self.powers.get() {
            return Some(*powers);
        }
        if !self.probing.swap(true, Ordering::AcqRel) {
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                let found = shared.in_time(shared.powers()).await;
                if let Err(error) = found {
                    tracing::debug!(store = %shared.place, %error, "the server could not be tried out");
                    // The next write tries again.
                    shared.probing.store(false, Ordering::Release);
                }
            });
        }
        None
    }

    async fn put_new(self: &Arc<Self>, name: &ObjectKey, object: Bytes) -> Result<(), StoreError> {
        let service = self.service()?;
        let powers = self.powers_so_far();
        let _turn = self.turns.take(name).await;
        // Nobody else knows the name of a share. Under another one somebody else may write between the question and the write, so a server that can
        // refuse is asked to, from the first on.
        let refuses_taken = match name.is_share() {
            true => powers.is_some_and(|powers| powers.refuses_taken),
            false => self.refuses_taken().await?,
        };
        let path = path_of(name);
        // A repetition asks first even where the server would refuse: it may do so before it has read the object, and break off.
        if self.tried.note(name) {
            match service.stat(&path).await {
                Ok(_) => return Err(super::webdav::taken(&self.place, &path)),
                Err(error) if error.kind == StoreErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let manner = Manner {
            only_new: refuses_taken,
            staged: service.can_stage() && powers.is_none_or(|powers| powers.shows_parts),
        };
        match service.write(&path, object, manner).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind == StoreErrorKind::NotFound => {
                // The folder for it could not be made: that is no answer about the object.
                match self.meant(error).await {
                    error if error.kind == StoreErrorKind::NotFound => {
                        Err(StoreError::new(StoreErrorKind::Failed, error.detail))
                    }
                    error => Err(error),
                }
            }
            Err(error) => Err(self.meant(error).await),
        }
    }
}

/// Whether an answer refuses the condition itself, and not the write.
fn knows_no_conditions(error: &StoreError) -> bool {
    HttpError::refusal_below(error)
        .is_some_and(|refusal| matches!(refusal.status.as_u16(), 400 | 405 | 501))
}

#[async_trait]
impl ShareStore for RemoteStore {
    async fn put_new(
        &self,
        name: &ObjectKey,
        object: Bytes,
        _: Durability,
    ) -> Result<(), StoreError> {
        if object.len() > MAX_OBJECT {
            let detail = format!(
                "an object of {} bytes is larger than any store takes ({MAX_OBJECT})",
                object.len()
            );
            return Err(StoreError::new(StoreErrorKind::Failed, detail));
        }
        self.call(self.shared.put_new(name, object)).await
    }

    async fn get(&self, name: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let shared = &self.shared;
        self.call(async {
            if let Some(range) = range.as_ref().filter(|range| range.start > range.end) {
                return Err(out_of_range(range, &shared.place));
            }
            match shared.service()?.read(&path_of(name), range).await {
                Ok(read) => Ok(read),
                Err(error) => Err(shared.meant(error).await),
            }
        })
        .await
    }

    async fn stat(&self, name: &ObjectKey) -> Result<ObjectStat, StoreError> {
        let shared = &self.shared;
        self.call(async {
            match shared.service()?.stat(&path_of(name)).await {
                Ok(stat) => Ok(stat),
                Err(error) => Err(shared.meant(error).await),
            }
        })
        .await
    }

    async fn list(&self, after: Option<&ObjectKey>, limit: usize) -> Result<Page, StoreError> {
        let shared = &self.shared;
        self.call(async {
            if limit == 0 {
                return Ok(Page {
                    more: true,
                    ..Page::default()
                });
            }
            let page = match shared.service()?.list(after, limit).await {
                Ok(page) => page,
                Err(error) => return Err(shared.meant(error).await),
            };
            // A place that vanished while it was read looks emptier than it is.
            shared.confirm().await?;
            Ok(page)
        })
        .await
    }

    async fn delete(&self, name: &ObjectKey) -> Result<(), StoreError> {
        let shared = &self.shared;
        self.call(async {
            let _turn = shared.turns.take(name).await;
            match shared.service()?.remove(&path_of(name)).await {
                Ok(()) => Ok(()),
                Err(error) => Err(shared.meant(error).await),
            }
        })
        .await
    }

    /// HTTP has no word for "put it on disk": an object is as safe when it is acknowledged as it will ever be, which is what the
    /// server makes of it. So this asks only whether the server still has the store.
    async fn sync(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        self.call(shared.confirm()).await
    }

    async fn space(&self) -> Result<Space, StoreError> {
        let shared = &self.shared;
        self.call(async {
            match shared.service()?.space().await {
                Ok(space) => Ok(space),
                Err(error) => Err(shared.meant(error).await),
            }
        })
        .await
    }
}

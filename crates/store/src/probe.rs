//! [`probe`]: what a place really does with objects, found out by trying.
//!
//! A server's manual says what it should do. Before a vault is trusted to a place, small objects are written there, read back, written
//! again where they must not be, listed and removed. A place that breaks the contract of
//! [`ShareStore`] is no place for shares; what is merely missing is told by the [`StoreProfile`].

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use warifu_vault::seam::store::{Durability, ObjectKey, ShareStore, StoreError, StoreErrorKind};

use crate::directory::{DirectoryStore, Options};
use crate::error::OpenError;
use crate::layout::random_hex;
use crate::remote;
use crate::sftp::{SftpOptions, SftpStore};
use crate::spec::StoreSpec;
use crate::url::StoreUrl;

/// What the names of tried objects begin with. No share is likely to be called so: names of shares are uniform.
const PREFIX: &str = "0000000000000000000000000000face";
/// A tried object older than this was left by a probe that was broken off.
const LEFT_BEHIND_SECS: i64 = 60 * 60;
/// Objects of a usual size.
const TRIED_BYTES: usize = 64 << 10;
/// One that takes a moment to arrive.
const SLOW_BYTES: usize = 1 << 20;

/// What a store does by the way in which it writes, and no trial from outside could show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promises {
    /// A reader sees a whole object or none, even when the writer or the server dies half-way.
    pub atomic_put: bool,
    /// After `sync` the objects are on the server's disk.
    pub durable_sync: bool,
}

/// What a place does with objects, as far as it was tried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreProfile {
    /// A reader sees a whole object or none.
    pub atomic_put: bool,
    /// After `sync` the objects are on the server's disk. Without it the server writes when it likes: a power cut there may take the
    /// last minutes of this server, which is one of n.
    pub durable_sync: bool,
    /// A second write under a taken name is refused. Always so: without it a place is [`Unfit`].
    pub no_replace: bool,
    /// What was written is listed at once, and what was removed no longer. Always so.
    pub listing_consistent: bool,
    /// A part of an object can be read by itself. Always so.
    pub ranges: bool,
    /// The server says how much room is left.
    pub space: bool,
    /// The server says when an object was written. Without it nothing is ever swept there, as nothing is known to be old.
    pub modified: bool,
    /// By how many seconds the server's clock is ahead of ours, where it can be told.
    pub clock_skew: Option<i64>,
    /// What a small question takes: the median of a few.
    pub round_trip: Duration,
    /// What writing 64 KiB onto the disk took.
    pub put: Duration,
    /// What reading them took.
    pub get: Duration,
}

/// Why a place cannot keep shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unfit {
    /// A second write replaced what was there.
    Replaces,
    /// What was written is not there, or not as it was written.
    Loses,
    /// What was written is not in the listing.
    ListsTooLittle,
    /// A part of an object is not the part that was asked for.
    WrongParts,
    /// What was removed is still there.
    Keeps,
    /// It cannot say that something is not there.
    NeverAbsent,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replaces => "a second write under one name replaces the first",
            Self::Loses => "what was written does not come back as it was written",
            Self::ListsTooLittle => "what was just written is not in the listing",
            Self::WrongParts => "a part of an object does not come back as asked for",
            Self::Keeps => "what was removed is still there",
            Self::NeverAbsent => "it does not say that an object is not there",
        })
    }
}

/// Why a place could not be tried out, or is not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A trial failed.
    #[error("{doing}: {source}")]
    Store {
        /// What was tried.
        doing: &'static str,
        /// What the server said.
        source: StoreError,
    },
    /// It breaks the contract.
    #[error("this place cannot keep shares: {why}")]
    Unfit {
        /// How.
        why: Unfit,
    },
}

impl From<Unfit> for ProbeError {
    fn from(why: Unfit) -> Self {
        Self::Unfit { why }
    }
}

/// Whether an object of this name was put by a trial. One that was broken off leaves such ones behind.
#[must_use]
pub fn is_trial(name: &ObjectKey) -> bool {
    name.as_str().starts_with(PREFIX)
}

/// Tries out the store of a server that was made before.
///
/// # Errors
/// When it cannot be reached, a trial fails, or the place cannot keep the contract.
pub async fn probe(spec: &StoreSpec) -> Result<StoreProfile, ProbeError> {
    let asking = |source| ProbeError::Store {
        doing: "asking how it writes",
        source,
    };
    match spec.url() {
        StoreUrl::Directory(path) => {
            let store = DirectoryStore::open(path.clone(), Options::default()).await?;
            let profile = probe_store(&store, None).await?;
            Ok(profile.with(store.promises().await.map_err(asking)?))
        }
        StoreUrl::Sftp(_) => {
            let store = SftpStore::open(spec, SftpOptions::default()).await?;
            let profile = probe_store(&store, None).await?;
            Ok(profile.with(store.promises().await.map_err(asking)?))
        }
        StoreUrl::Webdav(_) | StoreUrl::S3(_) => {
            let store = remote::open(spec).await?;
            probe_store(&*store, Some(remote::promises(spec))).await
        }
    }
}

/// Tries out a store, of which `promises` says what a trial cannot show; `None` promises everything.
///
/// # Errors
/// As [`probe`].
pub async fn probe_store(
    store: &dyn ShareStore,
    promises: Option<Promises>,
) -> Result<StoreProfile, ProbeError> {
    sweep(store).await;
    let mut tried = Vec::new();
    for _ in 0..4 {
        let digits = random_hex().map_err(|source| ProbeError::Store {
            doing: "drawing a name",
            source,
        })?;
        let name = ObjectKey::parse(&format!("{PREFIX}{digits}"));
        tried.extend(name);
    }
    let done = match tried.as_slice() {
        [one, two, three, never] => trials(store, [one, two, three, never]).await,
        _ => Err(Unfit::Loses.into()),
    };
    if done.is_err() {
        for name in &tried {
            let _ = store.delete(name).await;
        }
    }
    done.map(|profile| match promises {
        Some(promises) => profile.with(promises),
        None => profile,
    })
}

impl StoreProfile {
    fn with(mut self, promises: Promises) -> Self {
        self.atomic_put &= promises.atomic_put;
        self.durable_sync &= promises.durable_sync;
        self
    }
}

fn failed(doing: &'static str) -> impl Fn(StoreError) -> ProbeError {
    move |source| ProbeError::Store { doing, source }
}

/// What was read must be what was written; that it is not there is a loss and no answer.
fn read_back(
    read: Result<Bytes, StoreError>,
    written: &[u8],
    otherwise: Unfit,
) -> Result<(), ProbeError> {
    match read {
        Ok(read) if read == written => Ok(()),
        Ok(_) => Err(otherwise.into()),
        Err(error) if error.kind == StoreErrorKind::NotFound => Err(Unfit::Loses.into()),
        Err(source) => Err(failed("reading an object back")(source)),
    }
}

async fn trials(
    store: &dyn ShareStore,
    [one, two, three, never]: [&ObjectKey; 4],
) -> Result<StoreProfile, ProbeError> {
    absent(store, never, Unfit::NeverAbsent).await?;
    let first = pattern(TRIED_BYTES, 1);
    let began = Instant::now();
    store
        .put_new(one, first.clone(), Durability::Now)
        .await
        .map_err(failed("writing an object"))?;
    let put = began.elapsed();
    let began = Instant::now();
    read_back(store.get(one, None).await, &first, Unfit::Loses)?;
    let get = began.elapsed();
    let part = first.get(1_000..5_097).unwrap_or_default();
    read_back(
        store.get(one, Some(1_000..5_097)).await,
        part,
        Unfit::WrongParts,
    )?;

    match store
        .put_new(one, pattern(100, 2), Durability::Now)
        .await
        .map_err(|error| (error.kind, error))
    {
        Err((StoreErrorKind::AlreadyExists, _)) => {}
        Ok(()) => return Err(Unfit::Replaces.into()),
        Err((_, source)) => return Err(failed("writing under a taken name")(source)),
    }
    read_back(store.get(one, None).await, &first, Unfit::Replaces)?;

    store
        .put_new(two, pattern(1_000, 3), Durability::Soon)
        .await
        .map_err(failed("writing an object"))?;
    store
        .sync()
        .await
        .map_err(failed("putting objects on disk"))?;
    let listed = listed(store).await?;
    for (name, len) in [(one, TRIED_BYTES as u64), (two, 1_000)] {
        if !listed.contains(&(name.clone(), len)) {
            return Err(Unfit::ListsTooLittle.into());
        }
    }
    let whole_only = arrives_whole(store, three).await?;

    let stat = store
        .stat(one)
        .await
        .map_err(failed("asking for an object's size"))?;
    if stat.len != TRIED_BYTES as u64 {
        return Err(Unfit::Loses.into());
    }
    let mut times = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        store
            .stat(one)
            .await
            .map_err(failed("asking for an object's size"))?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let space = store.space().await.map_err(failed("asking for the room"))?;

    for name in [one, two, three] {
        store
            .delete(name)
            .await
            .map_err(failed("removing an object"))?;
        absent(store, name, Unfit::Keeps).await?;
    }
    let left = self::listed(store).await?;
    if left
        .iter()
        .any(|(name, _)| [one, two, three].contains(&name))
    {
        return Err(Unfit::Keeps.into());
    }
    store
        .sync()
        .await
        .map_err(failed("putting objects on disk"))?;
    Ok(StoreProfile {
        atomic_put: whole_only,
        durable_sync: true,
        no_replace: true,
        listing_consistent: true,
        ranges: true,
        space: space.free.is_some(),
        modified: stat.modified.is_some(),
        clock_skew: stat.modified.map(|at| at.secs.saturating_sub(now_secs())),
        round_trip: times.get(2).copied().unwrap_or_default(),
        put,
        get,
    })
}

async fn absent(
    store: &dyn ShareStore,
    name: &ObjectKey,
    otherwise: Unfit,
) -> Result<(), ProbeError> {
    match store.stat(name).await {
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(()),
        Err(source) => Err(failed("asking for an object that is not there")(source)),
        Ok(_) => Err(otherwise.into()),
    }
}

/// The tried objects: they come first in every listing.
async fn listed(store: &dyn ShareStore) -> Result<Vec<(ObjectKey, u64)>, ProbeError> {
    let page = store.list(None, 64).await.map_err(failed("listing"))?;
    Ok(page
        .objects
        .into_iter()
        .map(|(name, stat)| (name, stat.len))
        .collect())
}

/// Watches an object arrive. A part of it that shows is no proof, and none is a good sign.
async fn arrives_whole(store: &dyn ShareStore, name: &ObjectKey) -> Result<bool, ProbeError> {
    let object = pattern(SLOW_BYTES, 4);
    let writing = store.put_new(name, object.clone(), Durability::Soon);
    let watching = async {
        loop {
            match store.stat(name).await {
                Ok(stat) if stat.len != SLOW_BYTES as u64 => return,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    tokio::pin!(writing);
    let (whole, written) = tokio::select! {
        biased;
        done = &mut writing => (true, done),
        () = watching => (false, writing.await),
    };
    written.map_err(failed("writing an object"))?;
    read_back(store.get(name, None).await, &object, Unfit::Loses)?;
    Ok(whole)
}

/// Removes what a probe left that was broken off.
async fn sweep(store: &dyn ShareStore) {
    let Ok(page) = store.list(None, 64).await else {
        return;
    };
    for (name, stat) in page.objects {
        let old = stat
            .modified
            .is_some_and(|at| now_secs().saturating_sub(at.secs) > LEFT_BEHIND_SECS);
        if name.as_str().starts_with(PREFIX) && old {
            let _ = store.delete(&name).await;
        }
    }
}

/// Bytes that no other object has.
fn pattern(len: usize, seed: u64) -> Bytes {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

fn now_secs() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|now| i64::try_from(now.as_secs()).ok())
        .unwrap_or(0)
}

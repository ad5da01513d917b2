//! The in-memory twin of a file server.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use warifu_core::head::Timestamp;
use warifu_vault::seam::store::{
    Durability, ObjectKey, ObjectStat, Page, ShareStore, Space, StoreError, StoreErrorKind,
};

use super::Method;

/// A [`ShareStore`] in memory that knows what a power cut would take. Clones are handles to the same server.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use warifu_testkit::stores::{MemoryStore, share_name};
/// use warifu_vault::seam::store::{Durability, ShareStore};
///
/// let server = MemoryStore::new();
/// server.put_new(&share_name(1), "now".into(), Durability::Now).await.unwrap();
/// server.put_new(&share_name(2), "soon".into(), Durability::Soon).await.unwrap();
/// server.power_cut();
/// assert_eq!(server.names(), [share_name(1)]);
/// # });
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What is seen.
    objects: BTreeMap<ObjectKey, Bytes>,
    /// What is on disk.
    disk: BTreeMap<ObjectKey, Bytes>,
    /// What no warifu wrote.
    foreign: u64,
    capacity: Option<u64>,
    /// The server's clock, where it has one.
    time: Option<Timestamp>,
    /// When objects were written, by that clock.
    written: BTreeMap<ObjectKey, Timestamp>,
    calls: BTreeMap<Method, u64>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("objects", &self.objects.len())
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

/// What a server held at a moment: last week's copy, for a roll-back.
#[derive(Clone)]
pub struct Snapshot {
    objects: BTreeMap<ObjectKey, Bytes>,
}

/// What a power cut does to an object that was not yet on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is gone.
    Lost,
    /// It happened to be written.
    Kept,
    /// Its name was written and only so many of its bytes; zeros stand for the others.
    Torn(usize),
}

impl MemoryStore {
    /// An empty server.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no test panics inside the memory store")
    }

    fn called(&self, method: Method) -> MutexGuard<'_, State> {
        let mut state = self.state();
        *state.calls.entry(method).or_default() += 1;
        state
    }

    /// How often a method was called.
    #[must_use]
    pub fn calls(&self, method: Method) -> u64 {
        self.state().calls.get(&method).copied().unwrap_or(0)
    }

    /// Counts from zero again.
    pub fn reset_calls(&self) {
        self.state().calls.clear();
    }

    /// Limits the room; writes beyond it answer `Full`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// The names of all objects.
    #[must_use]
    pub fn names(&self) -> Vec<ObjectKey> {
        self.state().objects.keys().cloned().collect()
    }

    /// An object's bytes, as a thief of the disk would see them.
    #[must_use]
    pub fn bytes(&self, name: &ObjectKey) -> Option<Bytes> {
        self.state().objects.get(name).cloned()
    }

    /// Every object's bytes, to search them.
    #[must_use]
    pub fn everything(&self) -> Vec<(ObjectKey, Bytes)> {
        self.state()
            .objects
            .iter()
            .map(|(name, bytes)| (name.clone(), bytes.clone()))
            .collect()
    }

    /// Changes an object in place, as damage does: on disk too. Says whether it was there.
    pub fn damage(&self, name: &ObjectKey, how: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.state();
        let Some(object) = state.objects.get(name) else {
            return false;
        };
        let mut bytes = object.to_vec();
        how(&mut bytes);
        let bytes = Bytes::from(bytes);
        state.disk.insert(name.clone(), bytes.clone());
        state.objects.insert(name.clone(), bytes);
        true
    }

    /// Flips one bit of an object; `at` is taken modulo its length.
    pub fn flip(&self, name: &ObjectKey, at: usize) -> bool {
        self.damage(name, |bytes| {
            if !bytes.is_empty() {
                let at = at % bytes.len();
                bytes[at] ^= 1 << (at % 8);
            }
        })
    }

    /// Cuts an object off.
    pub fn truncate(&self, name: &ObjectKey, len: usize) -> bool {
        self.damage(name, |bytes| bytes.truncate(len))
    }

    /// Puts other bytes in an object's place, or a foreign object under a name.
    pub fn replace(&self, name: &ObjectKey, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let mut state = self.state();
        state.disk.insert(name.clone(), bytes.clone());
        state.objects.insert(name.clone(), bytes);
    }

    /// Removes an object behind everybody's back. Says whether it was there.
    pub fn lose(&self, name: &ObjectKey) -> bool {
        let mut state = self.state();
        state.disk.remove(name);
        state.objects.remove(name).is_some()
    }

    /// Removes everything.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.objects.clear();
        state.disk.clear();
    }

    /// Gives the server a clock that stands still: objects put from now on were written at this time. `None` takes it away.
    pub fn set_time(&self, time: Option<Timestamp>) {
        self.state().time = time;
    }

    /// Lets a listing meet files that no warifu wrote.
    pub fn set_foreign(&self, count: u64) {
        self.state().foreign = count;
    }

    /// Copies the server as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            objects: self.state().objects.clone(),
        }
    }

    /// Puts an old copy in the server's place.
    pub fn roll_back(&self, to: &Snapshot) {
        let mut state = self.state();
        state.objects.clone_from(&to.objects);
        state.disk.clone_from(&to.objects);
    }

    /// Cuts the power: what was not synced is lost, and an object whose removal was not synced is back.
    pub fn power_cut(&self) {
        self.power_cut_with(|_, _| Fate::Lost);
    }

    /// Cuts the power and lets `fate` say what becomes of each object that was not yet on disk.
    pub fn power_cut_with(&self, mut fate: impl FnMut(&ObjectKey, &Bytes) -> Fate) {
        let mut state = self.state();
        let mut after = state.disk.clone();
        for (name, bytes) in &state.objects {
            if state.disk.contains_key(name) {
                continue;
            }
            match fate(name, bytes) {
                Fate::Lost => {}
                Fate::Kept => {
                    after.insert(name.clone(), bytes.clone());
                }
                Fate::Torn(len) => {
                    let mut torn = bytes.to_vec();
                    let len = len.min(torn.len());
                    torn[len..].fill(0);
                    after.insert(name.clone(), torn.into());
                }
            }
        }
        state.objects.clone_from(&after);
        state.disk = after;
    }
}

fn absent(name: &ObjectKey) -> StoreError {
    StoreError::new(
        StoreErrorKind::NotFound,
        format!("there is no object {name}"),
    )
}

#[async_trait]
impl ShareStore for MemoryStore {
    async fn put_new(
        &self,
        name: &ObjectKey,
        object: Bytes,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let mut state = self.called(Method::Put);
        if state.objects.contains_key(name) {
            return Err(StoreError::new(
                StoreErrorKind::AlreadyExists,
                format!("there is already an object {name}"),
            ));
        }
        let used: u64 = state.objects.values().map(|bytes| bytes.len() as u64).sum();
        if state
            .capacity
            .is_some_and(|capacity| used + object.len() as u64 > capacity)
        {
            return Err(StoreError::new(
                StoreErrorKind::Full,
                "the memory store is full",
            ));
        }
        state.objects.insert(name.clone(), object.clone());
        match state.time {
            Some(time) => state.written.insert(name.clone(), time),
            None => state.written.remove(name),
        };
        match durability {
            Durability::Now => state.disk.insert(name.clone(), object),
            // What lay under the name before its removal is not this object.
            Durability::Soon => state.disk.remove(name),
        };
        Ok(())
    }

    async fn get(&self, name: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let state = self.called(Method::Get);
        let object = state.objects.get(name).ok_or_else(|| absent(name))?;
        let len = object.len() as u64;
        let range = range.unwrap_or(0..len);
        if range.start > range.end || range.end > len {
            let detail = format!(
                "bytes {}..{} were asked of {name}, which has {len}",
                range.start, range.end
            );
            return Err(StoreError::new(StoreErrorKind::OutOfRange, detail));
        }
        // Both bounds lie within the object's length, which is a usize.
        Ok(object.slice(range.start as usize..range.end as usize))
    }

    async fn stat(&self, name: &ObjectKey) -> Result<ObjectStat, StoreError> {
        let state = self.called(Method::Stat);
        state
            .objects
            .get(name)
            .map(|object| ObjectStat {
                len: object.len() as u64,
                modified: state.written.get(name).copied(),
            })
            .ok_or_else(|| absent(name))
    }

    async fn list(&self, after: Option<&ObjectKey>, limit: usize) -> Result<Page, StoreError> {
        let state = self.called(Method::List);
        let mut later = state
            .objects
            .iter()
            .filter(|(name, _)| after.is_none_or(|after| *name > after))
            .map(|(name, bytes)| {
                (
                    name.clone(),
                    ObjectStat {
                        len: bytes.len() as u64,
                        modified: state.written.get(name).copied(),
                    },
                )
            });
        let objects = later.by_ref().take(limit).collect();
        let foreign = if after.is_none() { state.foreign } else { 0 };
        Ok(Page {
            objects,
            more: later.next().is_some(),
            foreign,
        })
    }

    async fn delete(&self, name: &ObjectKey) -> Result<(), StoreError> {
        let mut state = self.called(Method::Delete);
        state
            .objects
            .remove(name)
            .map(|_| ())
            .ok_or_else(|| absent(name))
    }

    async fn sync(&self) -> Result<(), StoreError> {
        let mut state = self.called(Method::Sync);
        state.disk = state.objects.clone();
        Ok(())
    }

    async fn space(&self) -> Result<Space, StoreError> {
        let state = self.called(Method::Space);
        let used: u64 = state.objects.values().map(|bytes| bytes.len() as u64).sum();
        Ok(Space {
            total: state.capacity,
            free: state.capacity.map(|capacity| capacity.saturating_sub(used)),
        })
    }
}

//! What was written and is not yet known to be on the server's disk.
//!
//! As with a directory, an object whose sync failed stays *doubtful*, and every later sync says so, until the caller removes or rewrites it.
//! What was not answered is another matter: it is asked again. A handle is kept for as long as the server has room for it, so that an error
//! of its disk is told to whom it belongs; without one the file is opened anew, and must have the length that was written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use warifu_vault::seam::store::{ObjectKey, StoreError, StoreErrorKind};

use super::put::{open_folders, sync_folders};
use super::root::Root;
use super::session::{Answer, Trouble};
use super::wire::{Attrs, Request};
use crate::layout::Place;

/// So many objects are put on disk at once.
const AT_ONCE: usize = 64;

#[derive(Default)]
pub(super) struct Unsynced {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The ticket of the next object.
    next: u64,
    /// Every object with a lower ticket has been through a sync.
    done_below: u64,
    written: BTreeMap<ObjectKey, Written>,
    kept: usize,
    doubtful: BTreeMap<ObjectKey, (StoreErrorKind, String)>,
}

#[derive(Clone)]
struct Written {
    ticket: u64,
    len: u64,
    /// The handle, and the conversation in which it means something.
    file: Option<(Weak<Root>, Bytes)>,
}

impl Inner {
    fn remove(&mut self, name: &ObjectKey) {
        if let Some(gone) = self.written.remove(name)
            && let Some((root, handle)) = gone.file
        {
            self.kept = self.kept.saturating_sub(1);
            if let Some(root) = root.upgrade() {
                root.session.tell(Request::Close(&handle));
            }
        }
    }
}

impl Unsynced {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete before anything could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an object that the next sync must put on disk, and keeps or closes its handle.
    pub fn add(&self, name: &ObjectKey, len: u64, root: &Arc<Root>, handle: Bytes) {
        let mut inner = self.lock();
        inner.remove(name);
        inner.doubtful.remove(name);
        let file = if root.fsync && inner.kept < root.session.spare_handles() {
            inner.kept += 1;
            Some((Arc::downgrade(root), handle))
        } else {
            root.session.tell(Request::Close(&handle));
            None
        };
        let ticket = inner.next;
        inner.next += 1;
        inner
            .written
            .insert(name.clone(), Written { ticket, len, file });
    }

    /// Takes up an object of which nobody knows whether it is on disk, unless it is known already.
    pub fn adopt(&self, name: &ObjectKey, len: u64) {
        let mut inner = self.lock();
        if !inner.written.contains_key(name) {
            let ticket = inner.next;
            inner.next += 1;
            let file = None;
            inner
                .written
                .insert(name.clone(), Written { ticket, len, file });
        }
    }

    /// Forgets an object that is removed, or that was put on disk by itself.
    pub fn forget(&self, name: &ObjectKey) {
        let mut inner = self.lock();
        inner.remove(name);
        inner.doubtful.remove(name);
    }

    /// Marks the present: what a sync that begins now has to cover.
    pub fn now(&self) -> u64 {
        self.lock().next
    }

    /// Whether all before `ticket` has been through a sync, and with what result.
    pub fn settled(&self, ticket: u64) -> Option<Result<(), StoreError>> {
        let inner = self.lock();
        let waiting = inner.written.values().any(|object| object.ticket < ticket);
        (!waiting || inner.done_below >= ticket).then(|| verdict(&inner))
    }

    /// Puts everything written so far on disk. One at a time.
    pub async fn flush(&self, root: &Arc<Root>) -> Result<(), StoreError> {
        let (batch, upto) = {
            let inner = self.lock();
            let batch: Vec<_> = inner.written.clone().into_iter().collect();
            (batch, inner.next)
        };
        let mut failures: BTreeMap<ObjectKey, Trouble> = BTreeMap::new();
        if root.fsync {
            for some in batch.chunks(AT_ONCE) {
                sync_some(root, some, &mut failures).await;
            }
            let shards: BTreeSet<Option<u8>> = batch
                .iter()
                .map(|(name, _)| Place::of(name).shard)
                .collect();
            let shards: Vec<_> = shards.into_iter().collect();
            for some in shards.chunks(AT_ONCE) {
                if let Err(trouble) = sync_folders(root, open_folders(root, some)).await {
                    for (name, _) in &batch {
                        if some.contains(&Place::of(name).shard) {
                            failures
                                .entry(name.clone())
                                .or_insert_with(|| trouble.clone());
                        }
                    }
                }
            }
        }

        let silent = failures
            .values()
            .find(|trouble| trouble.kind() == StoreErrorKind::NoAnswer)
            .cloned();
        let mut inner = self.lock();
        for (name, object) in batch {
            // Removed or written anew meanwhile: then this result is not about what is there now.
            if inner
                .written
                .get(&name)
                .is_none_or(|now| now.ticket != object.ticket)
            {
                continue;
            }
            match failures.get(&name) {
                // Nothing was said about it: it is asked again.
                Some(trouble) if trouble.kind() == StoreErrorKind::NoAnswer => {}
                Some(trouble) => {
                    inner.remove(&name);
                    let detail = format!("cannot put {name} in {} on disk: {trouble}", root.shown);
                    inner.doubtful.insert(name, (trouble.kind(), detail));
                }
                None => inner.remove(&name),
            }
        }
        if let Some(trouble) = silent {
            return Err(
                trouble.during(format_args!("cannot put objects in {} on disk", root.shown))
            );
        }
        inner.done_below = inner.done_below.max(upto);
        verdict(&inner)
    }
}

/// What a sync has to say: nothing, or the objects of which nobody knows whether they are on disk.
fn verdict(inner: &Inner) -> Result<(), StoreError> {
    let Some((kind, detail)) = inner.doubtful.values().next() else {
        return Ok(());
    };
    let others = inner.doubtful.len().saturating_sub(1);
    let detail = if others == 0 {
        detail.clone()
    } else {
        format!("{detail} (and {others} more objects)")
    };
    Err(StoreError::new(*kind, detail))
}

enum Asked {
    Sync(Answer),
    Open(Answer, Answer),
}

async fn sync_some(
    root: &Arc<Root>,
    objects: &[(ObjectKey, Written)],
    failures: &mut BTreeMap<ObjectKey, Trouble>,
) {
    let session = &root.session;
    let asked: Vec<Asked> = objects
        .iter()
        .map(|(name, object)| match &object.file {
            Some((home, handle)) if home.ptr_eq(&Arc::downgrade(root)) => {
                Asked::Sync(session.ask(Request::Fsync(handle)))
            }
            _ => {
                let path = root.at(&Place::of(name).path);
                let attrs = session.ask(Request::Lstat(&path));
                Asked::Open(attrs, session.ask(Request::OpenRead(&path)))
            }
        })
        .collect();
    let mut synced = Vec::new();
    for ((name, object), asked) in objects.iter().zip(asked) {
        match asked {
            Asked::Sync(answer) => synced.push((name, answer)),
            Asked::Open(attrs, handle) => {
                let attrs = attrs.attrs().await;
                match (attrs, handle.handle().await) {
                    (Ok(attrs), Ok(handle)) => {
                        synced.push((name, session.ask(Request::Fsync(&handle))));
                        session.tell(Request::Close(&handle));
                        if attrs.size.is_some_and(|len| len != object.len) {
                            failures.insert(name.clone(), shortened(attrs, object.len));
                        }
                    }
                    (Err(trouble), _) | (_, Err(trouble)) => {
                        failures.insert(name.clone(), trouble);
                    }
                }
            }
        }
    }
    for (name, answer) in synced {
        if let Err(trouble) = answer.done().await {
            failures.entry(name.clone()).or_insert(trouble);
        }
    }
}

fn shortened(attrs: Attrs, len: u64) -> Trouble {
    Trouble::Status(super::wire::Status {
        code: 4,
        message: format!(
            "it has {} bytes, and {len} were written",
            attrs.size.unwrap_or(0)
        ),
    })
}

//! What was written and is not yet known to be on disk.
//!
//! Linux reports a write error once. An `fsync` that fails and is then repeated answers OK although the data is gone,
//! so an object whose sync failed stays *doubtful*, and every later sync says so, until the caller removes or rewrites it.
//! The error is reported to every descriptor that was open when it happened, so the descriptors are kept; beyond a
//! number of them `syncfs` through the root's descriptor does the same for the whole file system.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use warifu_vault::seam::store::{ObjectKey, StoreError, StoreErrorKind};

use super::errno::kind_of;
use super::root::Root;
use crate::layout::Place;

/// Descriptors kept for each store; a process has 1024 by default, and a vault has several stores.
const KEPT_FILES: usize = 64;
/// From so many objects on, one `syncfs` is cheaper than an `fsync` for each and its folder, each of which makes the
/// disk empty its cache; below, other programs' unwritten data on the same file system is not waited for.
const SYNCFS_FROM: usize = 4;

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
    kept_files: usize,
    doubtful: BTreeMap<ObjectKey, (StoreErrorKind, String)>,
}

#[derive(Clone)]
struct Written {
    ticket: u64,
    root: Arc<Root>,
    file: Option<Arc<OwnedFd>>,
}

impl Inner {
    fn remove(&mut self, name: &ObjectKey) {
        if self
            .written
            .remove(name)
            .is_some_and(|gone| gone.file.is_some())
        {
            self.kept_files = self.kept_files.saturating_sub(1);
        }
    }
}

impl Unsynced {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under the lock is complete before anything could panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers an object that the next sync must put on disk.
    pub(super) fn add(&self, name: &ObjectKey, root: &Arc<Root>, file: Option<OwnedFd>) {
        let mut inner = self.lock();
        inner.remove(name);
        inner.doubtful.remove(name);
        let file = file.filter(|_| inner.kept_files < KEPT_FILES).map(Arc::new);
        inner.kept_files += usize::from(file.is_some());
        let ticket = inner.next;
        inner.next += 1;
        inner.written.insert(
            name.clone(),
            Written {
                ticket,
                root: Arc::clone(root),
                file,
            },
        );
    }

    /// Forgets an object that is removed, or that was put on disk by itself.
    pub(super) fn forget(&self, name: &ObjectKey) {
        let mut inner = self.lock();
        inner.remove(name);
        inner.doubtful.remove(name);
    }

    /// Whether it may not be on disk although it is there.
    pub(super) fn is_doubtful(&self, name: &ObjectKey) -> bool {
        self.lock().doubtful.contains_key(name)
    }

    /// It was put on disk otherwise.
    pub(super) fn clear_doubt(&self, name: &ObjectKey) {
        self.lock().doubtful.remove(name);
    }

    /// Marks the present: what a sync that begins now has to cover.
    pub(super) fn now(&self) -> u64 {
        self.lock().next
    }

    /// Whether all before `ticket` has been through a sync, and with what result.
    pub(super) fn settled(&self, ticket: u64) -> Option<Result<(), StoreError>> {
        let inner = self.lock();
        let waiting = inner.written.values().any(|object| object.ticket < ticket);
        (!waiting || inner.done_below >= ticket).then(|| verdict(&inner, false))
    }

    /// Puts everything written so far on disk. Blocks; one at a time.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let (batch, upto) = {
            let inner = self.lock();
            (inner.written.clone(), inner.next)
        };
        // A folder that came back under another mount is another file system: each is synced by itself.
        let mut by_root: Vec<(Arc<Root>, BTreeMap<ObjectKey, Written>)> = Vec::new();
        for (name, object) in &batch {
            let known = by_root
                .iter_mut()
                .find(|(root, _)| Arc::ptr_eq(root, &object.root));
            match known {
                Some((_, objects)) => {
                    objects.insert(name.clone(), object.clone());
                }
                None => {
                    by_root.push((
                        Arc::clone(&object.root),
                        BTreeMap::from([(name.clone(), object.clone())]),
                    ));
                }
            }
        }
        let mut failures = BTreeMap::new();
        for (root, objects) in &by_root {
            sync_all(root, objects, &mut failures);
        }

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
            inner.remove(&name);
            if let Some(errno) = failures.get(&name) {
                let detail = format!(
                    "cannot put {name} in {} on disk: {errno}",
                    object.root.path.display()
                );
                inner.doubtful.insert(name, (kind_of(*errno), detail));
            }
        }
        inner.done_below = inner.done_below.max(upto);
        verdict(&inner, !failures.is_empty())
    }
}

/// What a sync has to say: nothing, or the objects of which nobody knows whether they are on disk. That a mount was cut off when an earlier sync
/// was to put them there does not say that it still is.
fn verdict(inner: &Inner, just_now: bool) -> Result<(), StoreError> {
    let Some((kind, detail)) = inner.doubtful.values().next() else {
        return Ok(());
    };
    let others = inner.doubtful.len().saturating_sub(1);
    let kind = match kind {
        StoreErrorKind::Full | StoreErrorKind::Denied => *kind,
        StoreErrorKind::NoAnswer if just_now => *kind,
        _ => StoreErrorKind::Failed,
    };
    let detail = if others == 0 {
        detail.clone()
    } else {
        format!("{detail} (and {others} more objects)")
    };
    Err(StoreError::new(kind, detail))
}

/// Syncs objects of one folder; what failed is noted in `failures`.
fn sync_all(
    root: &Root,
    objects: &BTreeMap<ObjectKey, Written>,
    failures: &mut BTreeMap<ObjectKey, Errno>,
) {
    let without_file = objects.values().any(|object| object.file.is_none());
    let mut rest: Result<(), Errno> = Ok(());
    if root.local && (without_file || objects.len() >= SYNCFS_FROM) {
        rest = rustix::fs::syncfs(&root.dir);
        if rest.is_ok() {
            return;
        }
    }
    // Few objects, or the file system reported an error somewhere and it has to be found out which of ours it was about.
    for file in objects.values().filter_map(|object| object.file.as_ref()) {
        // Starts the writing of all, so that the first fsync's commit of the journal finds them all under way.
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    }
    let mut folders: BTreeSet<Option<u8>> = BTreeSet::new();
    let mut folder_errors: BTreeMap<Option<u8>, Errno> = BTreeMap::new();
    for (name, object) in objects {
        let done = match &object.file {
            Some(file) => rustix::fs::fsync(file),
            None => rest,
        };
        if let Err(errno) = done {
            failures.insert(name.clone(), errno);
        }
        let place = Place::of(name);
        if folders.insert(place.shard)
            && let Err(errno) = root.sync_folder_of(&place)
        {
            folder_errors.insert(place.shard, errno);
        }
    }
    for name in objects.keys() {
        if let Some(errno) = folder_errors.get(&Place::of(name).shard) {
            failures.entry(name.clone()).or_insert(*errno);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::root::open_folder;
    use super::*;
    use crate::layout::Mark;

    fn name(digit: char) -> ObjectKey {
        ObjectKey::parse(&String::from(digit).repeat(64)).unwrap()
    }

    fn root(path: &std::path::Path) -> Arc<Root> {
        let root = Root::with(path, open_folder(path).unwrap(), Mark::fresh().unwrap()).unwrap();
        for folder in ["objects", "objects/aa", "objects/bb", "tmp"] {
            root.make_folder(folder).unwrap();
        }
        Arc::new(root)
    }

    /// A descriptor whose fsync fails, as a disk's does: pipes have none.
    fn failing() -> Option<OwnedFd> {
        let (_, writer) = std::io::pipe().unwrap();
        Some(writer.into())
    }

    fn sound() -> Option<OwnedFd> {
        Some(tempfile::tempfile().unwrap().into())
    }

    #[test]
    fn p5_a_failed_sync_is_never_repeated_into_a_false_ok() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path());
        let unsynced = Unsynced::default();
        unsynced.add(&name('a'), &root, failing());
        unsynced.add(&name('b'), &root, sound());
        let error = unsynced.flush().unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Failed);
        assert!(error.detail.contains(name('a').as_str()), "{error}");
        assert!(unsynced.flush().is_err(), "nothing has changed since");
        assert!(unsynced.settled(unsynced.now()).unwrap().is_err());
        unsynced.forget(&name('b'));
        assert!(
            unsynced.flush().is_err(),
            "another object's removal does not help"
        );
        // Written anew, and this time well.
        unsynced.add(&name('a'), &root, sound());
        unsynced.flush().unwrap();
        unsynced.add(&name('a'), &root, failing());
        unsynced.flush().unwrap_err();
        unsynced.forget(&name('a'));
        unsynced.flush().unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_synced_fails_the_objects_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path());
        let unsynced = Unsynced::default();
        unsynced.add(&name('a'), &root, sound());
        unsynced.add(&name('b'), &root, sound());
        std::fs::remove_dir(dir.path().join("objects/aa")).unwrap();
        let error = unsynced.flush().unwrap_err();
        assert!(
            error.detail.contains(name('a').as_str()) && !error.detail.contains("more"),
            "{error}"
        );
    }

    #[test]
    fn a_sync_covers_what_was_written_before_it_and_waits_for_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path());
        let unsynced = Unsynced::default();
        assert!(unsynced.settled(unsynced.now()).is_some());
        unsynced.add(&name('a'), &root, sound());
        let before = unsynced.now();
        assert!(unsynced.settled(before).is_none());
        unsynced.flush().unwrap();
        unsynced.add(&name('b'), &root, sound());
        assert!(
            unsynced
                .settled(before)
                .is_some_and(|verdict| verdict.is_ok())
        );
        assert!(unsynced.settled(unsynced.now()).is_none());
    }

    #[test]
    fn descriptors_are_bounded_however_many_objects_wait() {
        let dir = tempfile::tempdir().unwrap();
        let root = root(dir.path());
        let unsynced = Unsynced::default();
        for number in 0..300_u32 {
            let name = ObjectKey::parse(&format!("aa{number:062x}")).unwrap();
            unsynced.add(&name, &root, sound());
        }
        assert_eq!(unsynced.lock().kept_files, KEPT_FILES);
        unsynced.flush().unwrap();
        assert_eq!(unsynced.lock().kept_files, 0);
        assert!(unsynced.lock().written.is_empty());
    }
}

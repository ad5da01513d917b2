//! Where objects lie, and which names this process has tried.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;
use warifu_vault::seam::store::ObjectKey;

use crate::layout::{self, Place};
pub(super) use crate::layout::{MARKER, OBJECTS, TMP, shard_folder};

/// Where it is tried out what the server does; in the folder that nobody looks into.
pub(super) const PROBE: &str = "tmp/warifu-probe";

/// Where an object lies, relative to the store.
pub(super) fn path_of(name: &ObjectKey) -> String {
    Place::of(name).path
}

/// The shard folder that a share object lies in; `None` for what lies at the top.
pub(super) fn shard_of(name: &ObjectKey) -> Option<u8> {
    Place::of(name).shard
}

/// The shard whose folder has this name.
pub(super) fn parse_shard(name: &str) -> Option<u8> {
    layout::shard_of(name.as_bytes())
}

/// So many names are remembered in each of two sets.
const REMEMBERED: usize = 1 << 18;

/// The share names that this process has tried to write, at least the last 262,144 of them. Kept as 64 bits of each, which are
/// random: taking two for one costs a needless question to the server.
#[derive(Default)]
pub(super) struct Tried(Mutex<Sets>);

#[derive(Default)]
struct Sets {
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Tried {
    /// Remembers the name, and says whether it was tried before.
    pub(super) fn note(&self, name: &ObjectKey) -> bool {
        let Some(digest) = name
            .as_str()
            .get(..16)
            .filter(|_| name.is_share())
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        else {
            // The fixed names are known to everybody, so they are never fresh.
            return true;
        };
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sets.young.len() >= REMEMBERED {
            sets.old = std::mem::take(&mut sets.young);
        }
        let known = sets.old.contains(&digest);
        !sets.young.insert(digest) || known
    }
}

type Lock = Arc<tokio::sync::Mutex<()>>;

/// One writer at a time for each name.
#[derive(Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<ObjectKey, Lock>>>);

/// The right to write under a name.
pub(super) struct Turn {
    turns: Arc<Mutex<HashMap<ObjectKey, Lock>>>,
    name: ObjectKey,
    lock: Option<Lock>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    pub(super) async fn take(&self, name: &ObjectKey) -> Turn {
        let lock = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(name.clone()).or_default())
        };
        // Made before it waits, so that a dropped call cleans up too.
        let mut turn = Turn {
            turns: Arc::clone(&self.0),
            name: name.clone(),
            lock: Some(Arc::clone(&lock)),
            guard: None,
        };
        turn.guard = Some(lock.lock_owned().await);
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock = None;
        // New ones are given out under this lock only, so nobody can be waiting for what only the table holds.
        if turns
            .get(&self.name)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            turns.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64) -> ObjectKey {
        ObjectKey::parse(&format!("{number:016x}{:048x}", 7)).unwrap()
    }

    #[test]
    fn names_are_remembered_for_a_long_time_and_in_little_room() {
        let tried = Tried::default();
        for number in 0..600_000 {
            assert!(!tried.note(&name(number)), "{number}");
        }
        for number in 600_000 - REMEMBERED as u64..600_000 {
            assert!(tried.note(&name(number)), "{number}");
        }
        let sets = tried.0.lock().unwrap();
        assert!(sets.young.len() <= REMEMBERED && sets.old.len() <= REMEMBERED);
        drop(sets);
        assert!(tried.note(&ObjectKey::parse("vault-00000001").unwrap()));
    }

    #[tokio::test]
    async fn turns_are_taken_one_by_one_and_leave_nothing_behind() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(&name(1)).await;
        let _other = turns.take(&name(2)).await;
        let waiting = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.take(&name(1)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let given_up = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.take(&name(1)).await }
        });
        tokio::task::yield_now().await;
        given_up.abort();
        let _ = given_up.await;
        drop(first);
        drop(waiting.await.unwrap());
        assert_eq!(turns.0.lock().unwrap().len(), 1);
    }
}

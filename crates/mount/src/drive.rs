//! [`Drive`]: what the drive knows, apart from the kernel. Its operations live beside the calls they serve: names in
//! [`crate::names`], contents in [`crate::io`], folders in [`crate::dirs`], extended attributes in [`crate::xattrs`], access control lists in
//! [`crate::acl`].
//!
//! Nothing here needs a mounted drive, so tests can ask it directly.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use std::time::Instant;

use fuser::Notifier;
use warifu_vault::Vault;

use crate::acl::WithLists;
use crate::caller::Callers;
use crate::coherence::Told;
use crate::locks::Waiting;
use crate::open::Open;

/// The result of one request.
pub(crate) type Answer<T> = Result<T, crate::errno::Refusal>;

/// One mounted vault.
pub(crate) struct Drive {
    pub(crate) vault: Vault,
    pub(crate) callers: Callers,
    pub(crate) open: Open,
    /// Whether reads and writes go past the kernel's page cache. Decided when the kernel has said what it can do.
    pub(crate) direct: AtomicBool,
    /// Whether the kernel enforces access control lists. Decided with it, too.
    pub(crate) lists: AtomicBool,
    /// Which folders have default lists, as far as that was seen.
    pub(crate) with_lists: WithLists,
    /// Counts changes made through the drive, so that what was listed ahead of time is known to be old.
    changes: AtomicU64,
    /// The way to tell the kernel to forget pages. Holds the connection open, so it goes when the drive goes.
    notifier: Mutex<Option<Notifier>>,
    /// What the kernel was last told of each file.
    pub(crate) told: Told,
    /// Who waits for whose lock.
    pub(crate) waiting: Waiting,
    /// The room that the servers last said they have, in blocks, and when they said so.
    pub(crate) room: Mutex<Option<(Instant, (u64, u64))>>,
}

impl Drive {
    pub(crate) fn new(vault: Vault) -> Arc<Self> {
        Arc::new(Self {
            vault,
            callers: Callers::new(),
            open: Open::default(),
            direct: AtomicBool::new(false),
            lists: AtomicBool::new(false),
            with_lists: WithLists::default(),
            changes: AtomicU64::new(0),
            notifier: Mutex::new(None),
            told: Told::default(),
            waiting: Waiting::default(),
            room: Mutex::new(None),
        })
    }

    /// Whether access control lists are kept.
    pub(crate) fn lists(&self) -> bool {
        self.lists.load(Ordering::Relaxed)
    }

    /// Notes that something changed.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Keeps, or with `None` drops, the way to reach the kernel.
    pub(crate) fn set_notifier(&self, notifier: Option<Notifier>) {
        *self.notifier.lock().unwrap_or_else(PoisonError::into_inner) = notifier;
    }

    /// The way to reach the kernel, while there is one.
    pub(crate) fn notifier(&self) -> Option<Notifier> {
        self.notifier
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive")
            .field("open_files", &self.open.files())
            .finish_non_exhaustive()
    }
}

//! Keeping what the kernel believes true while others change the same vault.
//!
//! Two ways. What others change is heard of as it happens, and the kernel told to forget it ([`follow`]). And where an open finds
//! another state than the kernel was last told ([`Told`]), the kernel is told before the open is answered: so a program that opens a
//! file and asks how long it is never hears of an older version than the one that it then reads. What is missed by both is
//! forgotten by itself after [`BELIEVED`].

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fuser::{FileAttr, Notifier};
use warifu_vault::node::NodeId;
use warifu_vault::seam::sessions::Change;
use warifu_vault::session::Heard;

use crate::attrs::ino;
use crate::drive::Drive;
use crate::skin::BELIEVED;

/// In how many parts the memory of what was told is locked.
const SHARDS: usize = 16;

/// How much a part remembers. A listing of a million files must not be kept.
const KEPT: usize = 4096;

/// From how much on a part looks for what the kernel has forgotten by itself.
const FEW: usize = 64;

/// How long a part that has looked for it does not look again: with very much to remember, each look takes long.
const LOOKED: Duration = Duration::from_millis(250);

/// What the kernel keeps of a file, as far as others can change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    size: u64,
    mtime: SystemTime,
    ctime: SystemTime,
    perm: u16,
    nlink: u32,
    owner: (u32, u32),
}

impl Seen {
    const fn of(attr: &FileAttr) -> Self {
        Self {
            size: attr.size,
            mtime: attr.mtime,
            ctime: attr.ctime,
            perm: attr.perm,
            nlink: attr.nlink,
            owner: (attr.uid, attr.gid),
        }
    }
}

#[derive(Debug, Default)]
struct Shard {
    seen: HashMap<u64, (Instant, Seen)>,
    /// Something that the kernel may still believe was not remembered: the last time.
    dropped: Option<Instant>,
    /// When it was last gone through, and what of it was left then, twice.
    looked: Option<(Instant, usize)>,
}

impl Shard {
    /// Forgets what the kernel has forgotten, now and then: so it holds about as much as the kernel is told in a second, and not as
    /// much as it ever was.
    fn tidy(&mut self, now: Instant) {
        let (at, enough) = match self.looked {
            Some((at, enough)) => (Some(at), enough),
            None => (None, FEW),
        };
        let just_looked = at.is_some_and(|at| now.duration_since(at) < LOOKED);
        if self.seen.len() < enough || just_looked {
            return;
        }
        self.seen
            .retain(|_, (at, _)| now.duration_since(*at) < BELIEVED);
        let enough = (self.seen.len() * 2).clamp(FEW, KEPT);
        self.looked = Some((now, enough));
        if self.seen.capacity() / 4 > enough {
            self.seen.shrink_to(enough);
        }
    }
}

/// What the kernel was last told of each file and may still believe.
#[derive(Debug, Default)]
pub(crate) struct Told([Mutex<Shard>; SHARDS]);

impl Told {
    fn shard(&self, ino: u64) -> Option<&Mutex<Shard>> {
        let place = usize::try_from(ino % SHARDS as u64).ok()?;
        self.0.get(place)
    }

    /// Notes what the kernel is being told.
    pub(crate) fn note(&self, attr: &FileAttr) {
        let Some(shard) = self.shard(attr.ino.0) else {
            return;
        };
        let now = Instant::now();
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if !shard.seen.contains_key(&attr.ino.0) {
            shard.tidy(now);
            if shard.seen.len() >= KEPT {
                shard.dropped = Some(now);
                return;
            }
        }
        shard.seen.insert(attr.ino.0, (now, Seen::of(attr)));
    }

    /// Whether the kernel may believe something else of a file.
    pub(crate) fn differs(&self, attr: &FileAttr) -> bool {
        let Some(shard) = self.shard(attr.ino.0) else {
            return true;
        };
        let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        match shard.seen.get(&attr.ino.0) {
            Some((_, seen)) => *seen != Seen::of(attr),
            None => shard.dropped.is_some_and(|at| at.elapsed() < BELIEVED),
        }
    }
}

/// Tells the kernel what others change, until the vault is closed or the drive gone.
pub(crate) async fn follow(drive: Arc<Drive>) {
    let Some(mut feed) = drive.vault.feed() else {
        return;
    };
    while let Some(heard) = feed.next().await {
        // Listings made ahead of time are old now.
        drive.changed();
        let Some(notifier) = drive.notifier() else {
            continue;
        };
        let drive = Arc::clone(&drive);
        // The kernel may first have to end what a program is doing in the same folder, for which it asks us.
        let telling = tokio::task::spawn_blocking(move || match heard {
            Heard::Changes(changes) => {
                for change in &changes {
                    tell(&drive, &notifier, change);
                }
            }
            // Of names the kernel forgets the rest by itself; pages it does not.
            Heard::Everything => {
                for node in drive.open.open_nodes() {
                    tell(&drive, &notifier, &Change::Node(node));
                }
            }
        });
        if telling.await.is_err() {
            return;
        }
    }
}

fn tell(drive: &Drive, notifier: &Notifier, change: &Change) {
    let told = match change {
        Change::Node(node) => forget(drive, notifier, *node),
        Change::Entry {
            parent,
            name,
            removed,
        } => {
            let name = OsStr::from_bytes(name.as_bytes());
            // Programs that watch the folder hear of what is gone. Where the kernel knows better, it is enough to forget the name.
            let told = removed.map(|node| notifier.delete(ino(*parent), ino(node), name));
            match told {
                Some(Ok(())) => Ok(()),
                _ => notifier.inval_entry(ino(*parent), name),
            }
        }
    };
    if let Err(error) = told {
        tracing::debug!(%error, "the kernel did not take a notice of what others changed");
    }
}

/// Lets the kernel forget a node's attributes, and its pages where it has any.
fn forget(drive: &Drive, notifier: &Notifier, node: NodeId) -> std::io::Result<()> {
    let mut from = -1;
    if let Some(open) = drive.open.node(node) {
        // Somebody may have set such a bit elsewhere.
        open.set_id.doubt();
        if open.paged.load(Ordering::Relaxed) {
            from = 0;
        }
    }
    notifier.inval_inode(ino(node), from, 0)
}

impl Drive {
    /// Makes sure that the kernel does not believe something older of a file than what was just read of it.
    pub(crate) fn catch_up(&self, attr: &FileAttr) {
        if !self.told.differs(attr) {
            return;
        }
        if let Some(notifier) = self.notifier()
            && let Err(error) = notifier.inval_inode(attr.ino, -1, 0)
        {
            tracing::debug!(node = attr.ino.0, %error, "the kernel did not forget what it believed of a file");
        }
        self.told.note(attr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::dots;

    fn attr(ino: u64, size: u64) -> FileAttr {
        FileAttr {
            size,
            ..dots(NodeId(ino))
        }
    }

    #[test]
    fn what_was_told_last_is_what_counts() {
        let told = Told::default();
        assert!(!told.differs(&attr(7, 1)), "the kernel was told nothing");
        told.note(&attr(7, 1));
        assert!(!told.differs(&attr(7, 1)));
        assert!(told.differs(&attr(7, 2)));
        told.note(&attr(7, 2));
        assert!(!told.differs(&attr(7, 2)));
    }

    #[test]
    fn what_the_kernel_has_forgotten_is_forgotten() {
        let mut shard = Shard::default();
        let begin = Instant::now();
        let mut most = 0;
        // A thousand a second, for a hundred seconds.
        for number in 0..100_000_u32 {
            let now = begin + Duration::from_millis(number.into());
            shard.tidy(now);
            let seen = Seen::of(&attr(number.into(), 1));
            shard.seen.insert(number.into(), (now, seen));
            most = most.max(shard.seen.len());
        }
        assert!(most < 3_000, "{most} are remembered");
        let now = begin + Duration::from_secs(200);
        for number in 0..KEPT as u64 {
            let seen = Seen::of(&attr(number, 2));
            shard.seen.insert(number, (now, seen));
        }
        let room = shard.seen.capacity();
        shard.tidy(now + BELIEVED);
        assert!(shard.seen.is_empty() && shard.seen.capacity() < room / 4);
    }

    #[test]
    fn what_is_too_much_to_remember_counts_as_different() {
        let told = Told::default();
        for number in 0..=KEPT as u64 {
            told.note(&attr(number * SHARDS as u64, 1));
        }
        assert!(told.differs(&attr(KEPT as u64 * SHARDS as u64, 1)));
        assert!(!told.differs(&attr(0, 1)), "this one it remembers");
        assert!(!told.differs(&attr(1, 1)), "and other parts are not full");
    }
}

//! [`Lately`]: folders as they were right after the last change of their names.
//!
//! The kernel asks for a folder's attributes as soon as something in it has changed, and the database could have told them with its answer to the
//! change. So it does, and that question is no round trip of its own. Whoever wants to know how a folder *is* does not ask here.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use warifu_vault::node::{Attr, NodeId};

/// So long may it be told what was seen: a small part of the second for which the kernel believes what it was told.
const LATELY: Duration = Duration::from_millis(50);

/// What the answer to the last change of this process said of the folders that it was made in.
#[derive(Debug, Default)]
pub(super) struct Lately(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// How many changes have begun, and how many of them are not at their end.
    begun: u64,
    running: u64,
    folders: Vec<(Attr, Instant)>,
}

/// A change, from before it is asked for until its answer is there.
#[derive(Debug)]
pub(super) struct Changing<'a> {
    lately: &'a Lately,
    number: u64,
    /// No other one was running when it began.
    alone: bool,
    at: Instant,
    told: Vec<Attr>,
}

impl Lately {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Whole between any two operations.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change begins: what was seen before it may not be so any more.
    pub(super) fn begin(&self) -> Changing<'_> {
        let mut seen = self.seen();
        seen.begun += 1;
        seen.running += 1;
        seen.folders.clear();
        Changing {
            lately: self,
            number: seen.begun,
            alone: seen.running == 1,
            at: Instant::now(),
            told: Vec::new(),
        }
    }

    /// Somebody else has changed something.
    pub(super) fn forget(&self) {
        let mut seen = self.seen();
        seen.begun += 1;
        seen.folders.clear();
    }

    /// A folder as it was a moment ago.
    pub(super) fn find(&self, node: NodeId) -> Option<Attr> {
        let seen = self.seen();
        let (attr, at) = seen.folders.iter().find(|(attr, _)| attr.node == node)?;
        (at.elapsed() < LATELY).then(|| attr.clone())
    }
}

impl Changing<'_> {
    /// What the answer tells of folders.
    pub(super) fn tell(&mut self, folders: Vec<Attr>) {
        self.told = folders;
    }
}

impl Drop for Changing<'_> {
    /// What was told counts where no other change was under way meanwhile, nor has been heard of: of two nobody knows which one the other has seen.
    fn drop(&mut self) {
        let mut seen = self.lately.seen();
        seen.running = seen.running.saturating_sub(1);
        seen.folders.clear();
        if self.alone && seen.begun == self.number {
            let told = std::mem::take(&mut self.told);
            seen.folders = told.into_iter().map(|attr| (attr, self.at)).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use warifu_core::head::Timestamp;
    use warifu_core::ids::{FileId, VersionNo};
    use warifu_vault::node::NodeKind;

    use super::*;

    fn folder(number: u64) -> Attr {
        let time = Timestamp { secs: 1, nanos: 0 };
        Attr {
            node: NodeId(number),
            kind: NodeKind::Dir,
            mode: 0o755,
            uid: 0,
            gid: 0,
            nlink: 2,
            rdev: 0,
            size: 0,
            atime: time,
            mtime: time,
            ctime: time,
            btime: time,
            document: FileId::NIL,
            version: VersionNo(0),
            head: None,
        }
    }

    fn told(mut changing: Changing<'_>, folders: &[u64]) {
        changing.tell(folders.iter().map(|number| folder(*number)).collect());
    }

    #[test]
    fn only_the_last_change_tells_and_only_for_a_moment() {
        let lately = Lately::default();
        told(lately.begin(), &[7, 8]);
        assert_eq!(lately.find(NodeId(8)), Some(folder(8)));
        assert_eq!(lately.find(NodeId(9)), None);
        drop(lately.begin());
        assert_eq!(lately.find(NodeId(8)), None, "another change, untold");
        let late = lately.begin();
        std::thread::sleep(LATELY);
        told(late, &[7]);
        assert_eq!(lately.find(NodeId(7)), None, "that was long ago");
    }

    #[test]
    fn of_two_changes_at_once_neither_tells() {
        let lately = Lately::default();
        for first_ends_first in [true, false] {
            let (one, two) = (lately.begin(), lately.begin());
            let (first, second) = match first_ends_first {
                true => (one, two),
                false => (two, one),
            };
            for changing in [first, second] {
                told(changing, &[7]);
                assert_eq!(lately.find(NodeId(7)), None);
            }
            told(lately.begin(), &[7]);
            assert_eq!(lately.find(NodeId(7)), Some(folder(7)));
        }
        let heard = lately.begin();
        lately.forget();
        told(heard, &[7]);
        assert_eq!(lately.find(NodeId(7)), None, "somebody else's came between");
    }
}

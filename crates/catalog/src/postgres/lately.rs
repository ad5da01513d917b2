//! [`Lately`]: folders as they were right after the last change of their names.
//!
//! The kernel asks for a folder's attributes as soon as something in it has changed, and the database could have told them with its answer to the
//! change. So it does, and that question is no round trip of its own. Whoever wants to know how a folder *is* does not ask here.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use warifu_vault::node::{Attr, NodeId};

/// So long may it be told what was seen: a small part of the second for which the kernel believes what it was told.
const LATELY: Duration = Duration::from_millis(50);

/// What the answer to the last change of this process said of the folders that it was made in.
#[derive(Debug, Default)]
pub(super) struct Lately(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// How many changes have begun.
    begun: u64,
    folders: Vec<(Attr, Instant)>,
}

/// A change that was begun, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun(u64, Instant);

impl Lately {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        // Whole between any two operations.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change begins: what was seen before it may not be so any more.
    pub(super) fn begin(&self) -> Begun {
        let mut seen = self.seen();
        seen.begun += 1;
        seen.folders.clear();
        Begun(seen.begun, Instant::now())
    }

    /// What the answer to a change told of folders. Where another change has begun since, nobody knows which of the two was seen.
    pub(super) fn end(&self, begun: Begun, folders: Vec<Attr>) {
        let mut seen = self.seen();
        if seen.begun == begun.0 {
            seen.folders = folders.into_iter().map(|attr| (attr, begun.1)).collect();
        }
    }

    /// Somebody else has changed something.
    pub(super) fn forget(&self) {
        self.begin();
    }

    /// A folder as it was a moment ago.
    pub(super) fn find(&self, node: NodeId) -> Option<Attr> {
        let seen = self.seen();
        let (attr, at) = seen.folders.iter().find(|(attr, _)| attr.node == node)?;
        (at.elapsed() < LATELY).then(|| attr.clone())
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

    #[test]
    fn only_the_last_change_tells_and_only_for_a_moment() {
        let lately = Lately::default();
        let one = lately.begin();
        lately.end(one, vec![folder(7), folder(8)]);
        assert_eq!(lately.find(NodeId(8)), Some(folder(8)));
        assert_eq!(lately.find(NodeId(9)), None);
        // Two at once: neither is believed, whichever is answered first.
        let (two, three) = (lately.begin(), lately.begin());
        assert_eq!(lately.find(NodeId(7)), None);
        lately.end(two, vec![folder(7)]);
        assert_eq!(lately.find(NodeId(7)), None);
        lately.end(three, vec![folder(7)]);
        assert!(lately.find(NodeId(7)).is_some());
        lately.forget();
        assert_eq!(lately.find(NodeId(7)), None);
        let four = lately.begin();
        std::thread::sleep(LATELY);
        lately.end(four, vec![folder(7)]);
        assert_eq!(lately.find(NodeId(7)), None, "that was long ago");
    }
}

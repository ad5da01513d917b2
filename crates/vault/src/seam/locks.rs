//! Locks on files, and which of them stand against each other. Every catalogue keeps them in its own way and decides by
//! [`decide`].

use crate::seam::sessions::SessionId;

/// By which call a lock was set. The two kinds do not see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockKind {
    /// fcntl(2): of a process, on a range of bytes.
    Posix,
    /// flock(2): of an opening of a file, on all of it.
    Flock,
    /// One of the two, and it cannot be told which: stands against both.
    Either,
}

impl LockKind {
    const fn meets(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Either, _)
                | (_, Self::Either)
                | (Self::Posix, Self::Posix)
                | (Self::Flock, Self::Flock)
        )
    }
}

/// Whom a lock keeps out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockMode {
    /// Those who want it for themselves: a read lock.
    Shared,
    /// Everybody else: a write lock.
    Exclusive,
}

/// A lock on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lock {
    /// Whose session.
    pub session: SessionId,
    /// Who in that session: a process's table of descriptors, or an opening of the file.
    pub owner: u64,
    /// By which call.
    pub kind: LockKind,
    /// The first byte.
    pub first: u64,
    /// The last byte.
    pub last: u64,
    /// Whom it keeps out.
    pub mode: LockMode,
    /// The process's number on its machine.
    pub pid: u32,
}

/// A request for a lock, or (without a mode) that none be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// Who asks.
    pub owner: u64,
    /// By which call; taking away takes away locks of every kind.
    pub kind: LockKind,
    /// The first byte.
    pub first: u64,
    /// The last byte.
    pub last: u64,
    /// The lock wanted; `None` for none.
    pub mode: Option<LockMode>,
    /// The process's number on its machine.
    pub pid: u32,
}

impl LockRequest {
    /// The last byte that a lock can have: such a lock covers the file however long it grows.
    pub const END: u64 = i64::MAX as u64;

    /// Takes away all locks of an owner.
    #[must_use]
    pub const fn release(owner: u64) -> Self {
        Self {
            owner,
            kind: LockKind::Either,
            first: 0,
            last: Self::END,
            mode: None,
            pid: 0,
        }
    }
}

/// Decides a request of a session against the locks that a node has: the first that stands against it, or those that the owner
/// has from then on in place of the ones before.
///
/// As POSIX has it: what an owner locks takes the place of what the same owner had locked there, ranges are split where it is in
/// the middle, and neighbours of one mode become one.
///
/// # Errors
/// The lock that stands against it.
pub fn decide(
    locks: &[Lock],
    session: SessionId,
    request: &LockRequest,
) -> Result<Vec<Lock>, Lock> {
    let mine = |lock: &&Lock| lock.session == session && lock.owner == request.owner;
    let overlaps = |lock: &Lock| lock.first <= request.last && request.first <= lock.last;
    if let Some(mode) = request.mode {
        let against = locks.iter().filter(|lock| !mine(lock)).find(|lock| {
            overlaps(lock)
                && lock.kind.meets(request.kind)
                && (lock.mode == LockMode::Exclusive || mode == LockMode::Exclusive)
        });
        if let Some(lock) = against {
            return Err(lock.clone());
        }
    }
    let mut kept: Vec<Lock> = Vec::new();
    for lock in locks.iter().filter(mine) {
        if !overlaps(lock) {
            kept.push(lock.clone());
            continue;
        }
        if let Some(last) = request.first.checked_sub(1)
            && lock.first <= last
        {
            kept.push(Lock {
                last,
                ..lock.clone()
            });
        }
        if let Some(first) = request.last.checked_add(1)
            && first <= lock.last
        {
            kept.push(Lock {
                first,
                ..lock.clone()
            });
        }
    }
    if let Some(mode) = request.mode {
        kept.push(Lock {
            session,
            owner: request.owner,
            kind: request.kind,
            first: request.first,
            last: request.last,
            mode,
            pid: request.pid,
        });
    }
    kept.sort_by_key(|lock| (lock.first, lock.last));
    let mut merged: Vec<Lock> = Vec::with_capacity(kept.len());
    for lock in kept {
        match merged.last_mut() {
            Some(before)
                if before.mode == lock.mode
                    && before.kind == lock.kind
                    && before.last.saturating_add(1) >= lock.first =>
            {
                before.last = before.last.max(lock.last);
            }
            _ => merged.push(lock),
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: SessionId = SessionId([1; 16]);
    const THERE: SessionId = SessionId([2; 16]);

    fn ask(owner: u64, first: u64, last: u64, mode: Option<LockMode>) -> LockRequest {
        LockRequest {
            owner,
            kind: LockKind::Posix,
            first,
            last,
            mode,
            pid: 7,
        }
    }

    /// A node's locks, changed by requests as a catalogue does.
    #[derive(Default)]
    struct Node(Vec<Lock>);

    impl Node {
        fn ask(&mut self, session: SessionId, request: &LockRequest) -> Result<(), Lock> {
            let now = decide(&self.0, session, request)?;
            self.0
                .retain(|lock| lock.session != session || lock.owner != request.owner);
            self.0.extend(now);
            Ok(())
        }

        fn of(&self, session: SessionId, owner: u64) -> Vec<(u64, u64, LockMode)> {
            let all = self.0.iter();
            all.filter(|lock| lock.session == session && lock.owner == owner)
                .map(|lock| (lock.first, lock.last, lock.mode))
                .collect()
        }
    }

    /// The definition: each byte has its own lock.
    #[derive(Default, Clone)]
    struct Bytes([Vec<(SessionId, u64, LockMode)>; 16]);

    impl Bytes {
        fn ask(&mut self, session: SessionId, request: &LockRequest) -> bool {
            let mine =
                |held: &(SessionId, u64, LockMode)| held.0 == session && held.1 == request.owner;
            let range = request.first as usize..=request.last as usize;
            if let Some(mode) = request.mode {
                let against = self.0[range.clone()].iter().flatten().any(|held| {
                    !mine(held) && (held.2 == LockMode::Exclusive || mode == LockMode::Exclusive)
                });
                if against {
                    return false;
                }
            }
            for byte in &mut self.0[range] {
                byte.retain(|held| !mine(held));
                byte.extend(request.mode.map(|mode| (session, request.owner, mode)));
            }
            true
        }
    }

    #[test]
    fn ranges_are_those_of_a_lock_for_each_byte() {
        let mut dice = 0x9E37_79B9_7F4A_7C15_u64;
        let mut roll = |sides: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % sides
        };
        for _ in 0..200 {
            let (mut node, mut bytes) = (Node::default(), Bytes::default());
            for _ in 0..60 {
                let (a, b) = (roll(16), roll(16));
                let mode = [None, Some(LockMode::Shared), Some(LockMode::Exclusive)];
                let request = ask(roll(2), a.min(b), a.max(b), mode[roll(3) as usize]);
                let session = [HERE, THERE][roll(2) as usize];
                assert_eq!(
                    node.ask(session, &request).is_ok(),
                    bytes.ask(session, &request),
                    "{request:?}"
                );
                for (at, held) in bytes.0.iter().enumerate() {
                    let covers = |lock: &&Lock| (lock.first..=lock.last).contains(&(at as u64));
                    let mut here: Vec<_> = node.0.iter().filter(covers).collect();
                    here.sort();
                    let mut held = held.clone();
                    held.sort();
                    let here: Vec<_> = here
                        .iter()
                        .map(|lock| (lock.session, lock.owner, lock.mode))
                        .collect();
                    assert_eq!(here, held);
                }
            }
        }
    }

    #[test]
    fn neighbours_become_one_and_a_hole_makes_two() {
        let mut node = Node::default();
        for (first, last) in [(0, 4), (5, 9), (10, LockRequest::END)] {
            node.ask(HERE, &ask(1, first, last, Some(LockMode::Exclusive)))
                .unwrap();
        }
        assert_eq!(
            node.of(HERE, 1),
            [(0, LockRequest::END, LockMode::Exclusive)]
        );
        node.ask(HERE, &ask(1, 3, 6, None)).unwrap();
        assert_eq!(
            node.of(HERE, 1),
            [
                (0, 2, LockMode::Exclusive),
                (7, LockRequest::END, LockMode::Exclusive)
            ]
        );
        node.ask(HERE, &LockRequest::release(1)).unwrap();
        assert!(node.0.is_empty());
    }

    #[test]
    fn the_two_kinds_do_not_see_each_other_and_the_unknown_sees_both() {
        use LockKind::{Either, Flock, Posix};
        for (held, asked, stands) in [
            (Posix, Flock, false),
            (Flock, Posix, false),
            (Posix, Posix, true),
            (Flock, Flock, true),
            (Either, Posix, true),
            (Flock, Either, true),
        ] {
            let mut node = Node::default();
            let whole = |owner, kind| LockRequest {
                kind,
                ..ask(owner, 0, LockRequest::END, Some(LockMode::Exclusive))
            };
            node.ask(HERE, &whole(1, held)).unwrap();
            let refused = node.ask(THERE, &whole(1, asked)).err();
            assert_eq!(refused.is_some(), stands, "{held:?} and {asked:?}");
            if let Some(lock) = refused {
                assert_eq!((lock.session, lock.owner), (HERE, 1));
            }
        }
    }
}

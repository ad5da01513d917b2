//! Sessions: what is told to whom, who locks what, and that a lease ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{Catalog, CatalogError, RenameMode, XattrMode};
use warifu_vault::seam::locks::{Lock, LockKind, LockMode, LockRequest};
use warifu_vault::seam::sessions::{Change, Hold, SessionInfo, Sessions};

use super::lab::{Lab, Subject, dir, file, name, time};

/// Long enough not to end within a check.
const LONG: Duration = Duration::from_secs(600);
/// Short enough to be waited for.
const SHORT: Duration = Duration::from_millis(300);

/// Two openings of one catalogue.
pub struct Pair {
    /// One, which is empty.
    pub here: Subject,
    /// The other.
    pub there: Arc<dyn Catalog>,
}

struct Two {
    lab: Lab,
    there: Arc<dyn Catalog>,
}

impl Two {
    fn here(&self) -> &dyn Sessions {
        self.lab.catalog.sessions().expect("it has sessions")
    }

    fn there(&self) -> &dyn Sessions {
        self.there.sessions().expect("it has sessions")
    }
}

fn info(host: &str) -> SessionInfo {
    SessionInfo {
        actor: "佐藤".into(),
        host: host.into(),
        place: "/home/sato/書類".into(),
        pid: 4711,
        since: time(1_790_000_000),
    }
}

fn ask(owner: u64, first: u64, last: u64, mode: Option<LockMode>) -> LockRequest {
    LockRequest {
        owner,
        kind: LockKind::Posix,
        first,
        last,
        mode,
        pid: 12,
    }
}

/// Runs every check of the sessions, each on a fresh catalogue that `make` opens twice.
pub async fn sessions(make: impl Fn() -> Pair) {
    let fresh = || {
        let pair = make();
        Two {
            lab: Lab::new(pair.here),
            there: pair.there,
        }
    };
    each_change_is_told(fresh()).await;
    what_was_missed_is_known(fresh()).await;
    locks_stand_against_each_other(fresh()).await;
    a_lease_ends(fresh()).await;
    who_has_what_open(fresh()).await;
    one_of_all_is_the_first(fresh()).await;
}

/// Reads on, and asserts what is heard.
async fn heard(sessions: &dyn Sessions, after: &mut u64, expected: &[Change], what: &str) {
    let mut changes = BTreeSet::new();
    loop {
        let notices = sessions.notices(*after, 3).await.expect("notices are read");
        assert!(!notices.missed, "{what}: nothing is missed");
        let end = notices.next == *after;
        *after = notices.next;
        changes.extend(notices.changes);
        if end {
            break;
        }
    }
    let expected: BTreeSet<_> = expected.iter().cloned().collect();
    assert_eq!(changes, expected, "{what}");
}

fn entry(parent: NodeId, text: &str, removed: Option<NodeId>) -> Change {
    Change::Entry {
        parent,
        name: name(text),
        removed,
    }
}

async fn each_change_is_told(two: Two) {
    use Change::Node;
    const ROOT: NodeId = NodeId::ROOT;
    let lab = &two.lab;
    assert_ne!(two.here().me(), two.there().me());
    let here = two.here().begin_session(&info("here"), LONG).await;
    let mut mine = here.expect("a session begins");
    let there = two.there().begin_session(&info("there"), LONG).await;
    let mut at = there.expect("a session begins");

    let a = lab.make(ROOT, "a", file()).await.node;
    let told = [entry(ROOT, "a", None), Node(ROOT)];
    heard(two.there(), &mut at, &told, "create").await;
    let folder = lab.make(ROOT, "folder", dir()).await.node;
    let told = [entry(ROOT, "folder", None), Node(ROOT)];
    heard(two.there(), &mut at, &told, "mkdir").await;
    lab.save(a, 77).await;
    heard(two.there(), &mut at, &[Node(a)], "save").await;
    lab.done(
        lab.catalog
            .set_xattr(a, b"user.x", b"1", XattrMode::Set, lab.write()),
    )
    .await;
    heard(two.there(), &mut at, &[Node(a)], "setxattr").await;
    lab.done(lab.catalog.remove_xattr(a, b"user.x", lab.write()))
        .await;
    heard(two.there(), &mut at, &[Node(a)], "removexattr").await;
    lab.done(lab.catalog.set_attr(a, &Default::default(), lab.write()))
        .await;
    heard(two.there(), &mut at, &[Node(a)], "setattr").await;
    lab.done(lab.catalog.link(a, folder, &name("b"), lab.write()))
        .await;
    let told = [entry(folder, "b", None), Node(folder), Node(a)];
    heard(two.there(), &mut at, &told, "link").await;
    lab.done(lab.catalog.unlink(folder, &name("b"), &[], lab.write()))
        .await;
    heard(two.there(), &mut at, &told, "a name of two").await;

    let moved = lab.rename((ROOT, "a"), (folder, "c"), RenameMode::Replace, false);
    lab.done(moved).await;
    let told = [
        entry(ROOT, "a", None),
        entry(folder, "c", None),
        Node(ROOT),
        Node(folder),
        Node(a),
    ];
    heard(two.there(), &mut at, &told, "rename").await;
    let old = lab.make(ROOT, "old", file()).await.node;
    let told = [entry(ROOT, "old", None), Node(ROOT)];
    heard(two.there(), &mut at, &told, "create").await;
    let exchanged = lab.rename((folder, "c"), (ROOT, "old"), RenameMode::Exchange, false);
    lab.done(exchanged).await;
    let told = [
        entry(ROOT, "old", None),
        entry(folder, "c", None),
        Node(ROOT),
        Node(folder),
        Node(a),
        Node(old),
    ];
    heard(two.there(), &mut at, &told, "exchange").await;
    let replaced = lab.rename((folder, "c"), (ROOT, "old"), RenameMode::Replace, false);
    lab.done(replaced).await;
    let told = [
        entry(ROOT, "old", Some(a)),
        entry(folder, "c", None),
        Node(ROOT),
        Node(folder),
        Node(old),
    ];
    heard(two.there(), &mut at, &told, "replace").await;
    let kept = lab.make(ROOT, "kept", file()).await.node;
    let told = [entry(ROOT, "kept", None), Node(ROOT)];
    heard(two.there(), &mut at, &told, "create").await;
    lab.done(
        lab.catalog
            .unlink(ROOT, &name("kept"), &[kept], lab.write()),
    )
    .await;
    let told = [entry(ROOT, "kept", Some(kept)), Node(ROOT), Node(kept)];
    heard(two.there(), &mut at, &told, "unlink of an open file").await;
    lab.done(lab.catalog.rmdir(ROOT, &name("folder"), lab.write()))
        .await;
    let told = [entry(ROOT, "folder", Some(folder)), Node(ROOT)];
    heard(two.there(), &mut at, &told, "rmdir").await;

    // A refusal tells nothing, and nobody hears of what he did himself.
    lab.refused(lab.catalog.create(ROOT, &name("old"), file(), lab.write()))
        .await;
    heard(two.there(), &mut at, &[], "refused").await;
    heard(two.here(), &mut mine, &[], "one's own").await;
    two.there
        .unlink(ROOT, &name("old"), &[], lab.write())
        .await
        .expect("the file is removed");
    let told = [entry(ROOT, "old", Some(old)), Node(ROOT)];
    heard(two.here(), &mut mine, &told, "theirs").await;
    heard(two.there(), &mut at, &[], "one's own").await;

    // Whoever waits is woken by a change.
    let waiting = async {
        loop {
            two.there().noticed(at).await;
            let notices = two.there().notices(at, 100).await.expect("they are read");
            if !notices.changes.is_empty() {
                break;
            }
        }
    };
    let change = async {
        tokio::task::yield_now().await;
        lab.make(ROOT, "late", file()).await;
    };
    tokio::join!(waiting, change);
}

async fn what_was_missed_is_known(two: Two) {
    let here = two.here().begin_session(&info("here"), LONG).await;
    let start = here.expect("a session begins");
    let there = two.there().begin_session(&info("there"), LONG).await;
    there.expect("a session begins");
    two.lab.make(NodeId::ROOT, "a", file()).await;
    // A catalogue that was brought back from a backup knows less than its reader.
    let later = two.there().notices(start + 1000, 10).await.expect("read");
    assert!(later.missed && later.changes.is_empty());
    let again = two.there().notices(later.next, 10).await.expect("read");
    assert!(!again.missed && again.changes.is_empty());
    two.lab.make(NodeId::ROOT, "b", file()).await;
    let after = two.there().notices(later.next, 10).await.expect("read");
    assert!(!after.missed && !after.changes.is_empty());
}

async fn locks_stand_against_each_other(two: Two) {
    let node = two.lab.make(NodeId::ROOT, "a", file()).await.node;
    let other = two.lab.make(NodeId::ROOT, "b", file()).await.node;
    let (here, there) = (two.here(), two.there());
    let write = |owner, first, last| ask(owner, first, last, Some(LockMode::Exclusive));
    assert!(
        matches!(
            here.lock(node, &write(1, 0, 9)).await,
            Err(CatalogError::SessionEnded)
        ),
        "without a session there are no locks"
    );
    here.begin_session(&info("here"), LONG)
        .await
        .expect("begun");
    let alone = here.lock(node, &write(1, 0, 9)).await.expect("an answer");
    assert!(alone.blocker.is_none() && !alone.others);
    there
        .begin_session(&info("there"), LONG)
        .await
        .expect("begun");
    // The same owner's number in another session is somebody else.
    let blocked = there.lock(node, &write(1, 9, 20)).await.expect("an answer");
    let expected = Lock {
        session: here.me(),
        owner: 1,
        kind: LockKind::Posix,
        first: 0,
        last: 9,
        mode: LockMode::Exclusive,
        pid: 12,
    };
    assert_eq!(blocked.blocker, Some(expected.clone()));
    let granted = there
        .lock(node, &write(1, 10, 20))
        .await
        .expect("an answer");
    assert!(granted.blocker.is_none() && granted.others);
    let elsewhere = there.lock(other, &write(1, 0, 9)).await.expect("an answer");
    assert!(
        elsewhere.blocker.is_none(),
        "another file is another matter"
    );
    assert_eq!(here.locks(node).await.expect("read").len(), 2);
    // The middle of a lock is given up, and somebody else takes it.
    here.lock(node, &ask(1, 4, 5, None))
        .await
        .expect("unlocked");
    let middle = there.lock(node, &write(2, 4, 5)).await.expect("an answer");
    assert!(middle.blocker.is_none());
    let mut ranges: Vec<_> = here.locks(node).await.expect("read");
    ranges.retain(|lock| lock.session == here.me());
    let ranges: Vec<_> = ranges.iter().map(|lock| (lock.first, lock.last)).collect();
    assert_eq!(ranges, [(0, 3), (6, 9)]);
    here.end_session().await.expect("ended");
    let free = there.lock(node, &write(3, 6, 9)).await.expect("an answer");
    assert!(free.blocker.is_none(), "locks end with their session");
}

async fn a_lease_ends(two: Two) {
    let node = two.lab.make(NodeId::ROOT, "a", file()).await.node;
    let (here, there) = (two.here(), two.there());
    let whole = ask(1, 0, LockRequest::END, Some(LockMode::Exclusive));
    here.begin_session(&info("here"), SHORT)
        .await
        .expect("begun");
    there
        .begin_session(&info("there"), LONG)
        .await
        .expect("begun");
    here.lock(node, &whole).await.expect("locked");
    here.hold(&[open(1, node)], &[]).await.expect("held");
    // Renewed, it does not end.
    for _ in 0..5 {
        tokio::time::sleep(SHORT / 3).await;
        let renewed = here.renew_session(SHORT).await.expect("an answer");
        assert!(renewed.others);
        if !renewed.kept {
            // This machine was too slow to be in time. What follows holds all the same.
            break;
        }
    }
    // Nobody removes anything: time alone does it.
    while there
        .lock(node, &whole)
        .await
        .expect("an answer")
        .blocker
        .is_some()
    {
        tokio::time::sleep(SHORT / 10).await;
    }
    assert!(there.holders(node).await.expect("read").is_empty());
    assert_eq!(there.present().await.expect("read").len(), 1);
    assert!(matches!(
        here.lock(node, &whole).await,
        Err(CatalogError::SessionEnded)
    ));
    here.hold(&[open(2, node)], &[]).await.expect("no error");
    assert!(there.holders(node).await.expect("read").is_empty());
    let renewed = here.renew_session(LONG).await.expect("an answer");
    assert!(!renewed.kept, "what has ended is not renewed");
    here.begin_session(&info("here"), LONG)
        .await
        .expect("begun");
    let blocked = here.lock(node, &whole).await.expect("an answer");
    assert_eq!(
        blocked.blocker.map(|lock| lock.session),
        Some(there.me()),
        "the lock is somebody else's now"
    );
}

async fn one_of_all_is_the_first(two: Two) {
    let (here, there) = (two.here(), two.there());
    let is_first = async |sessions: &dyn Sessions| {
        let renewed = sessions.renew_session(LONG).await.expect("an answer");
        assert!(renewed.kept);
        renewed.first
    };
    for (one, host) in [(here, "here"), (there, "there")] {
        one.begin_session(&info(host), LONG).await.expect("begun");
    }
    let (first, second) = match is_first(here).await {
        true => (here, there),
        false => (there, here),
    };
    assert!(is_first(first).await && !is_first(second).await);
    first.end_session().await.expect("ended");
    assert!(is_first(second).await, "it takes over");
}

fn open(number: u64, node: NodeId) -> Hold {
    Hold {
        number,
        node,
        actor: "鈴木".into(),
        program: "soffice.bin".into(),
        since: time(1_790_000_000 + number as i64),
    }
}

async fn who_has_what_open(two: Two) {
    let a = two.lab.make(NodeId::ROOT, "a", file()).await.node;
    let b = two.lab.make(NodeId::ROOT, "b", file()).await.node;
    let (here, there) = (two.here(), two.there());
    here.begin_session(&info("here"), LONG)
        .await
        .expect("begun");
    there
        .begin_session(&info("there"), LONG)
        .await
        .expect("begun");
    here.hold(&[open(5, a), open(6, b)], &[])
        .await
        .expect("held");
    there.hold(&[open(3, a)], &[]).await.expect("held");
    // Told twice is no more than once: the answer to the first time may have been lost.
    there.hold(&[open(3, a)], &[]).await.expect("held");
    let holders = here.holders(a).await.expect("read");
    assert_eq!(
        holders,
        [(info("there"), open(3, a)), (info("here"), open(5, a))]
    );
    let locked = ask(9, 0, 0, Some(LockMode::Shared));
    here.lock(b, &locked).await.expect("locked");
    let present = there.present().await.expect("read");
    assert_eq!(present.len(), 2);
    let of_here = present.iter().find(|session| session.id == here.me());
    let of_here = of_here.expect("it is there");
    assert_eq!(of_here.info, info("here"));
    assert_eq!(of_here.holds, [open(5, a), open(6, b)]);
    assert_eq!(of_here.locks.len(), 1);
    assert_eq!(of_here.locks[0].0, b);
    here.hold(&[], &[5, 77]).await.expect("closed");
    assert_eq!(here.holders(a).await.expect("read").len(), 1);
    there.end_session().await.expect("ended");
    assert!(here.holders(a).await.expect("read").is_empty());
    assert_eq!(here.present().await.expect("read").len(), 1);
}

//! P8: machines that have joined: their locks, what they hear of each other, and what becomes of one that was away.

use std::time::Duration;

use warifu_testkit::catalogs::CatalogFault;
use warifu_testkit::clock::ManualClock;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{Catalog, Intent, SaveId};
use warifu_vault::seam::clock::{Clock, Timestamp};
use warifu_vault::seam::locks::{LockKind, LockMode, LockRequest};
use warifu_vault::seam::sessions::Change;
use warifu_vault::session::Heard;
use warifu_vault::{Access, VaultError};

use crate::common::{Lab, Machine, get, names, open, put, read_all, stat};

/// The lease of a session, as it is by default.
const LEASE: Duration = Duration::from_secs(30);

fn ask(owner: u64, mode: Option<LockMode>) -> LockRequest {
    LockRequest {
        owner,
        kind: LockKind::Posix,
        first: 0,
        last: LockRequest::END,
        mode,
        pid: 1,
    }
}

const WRITE: Option<LockMode> = Some(LockMode::Exclusive);

impl Machine {
    /// Whether a lock is granted.
    async fn lock(&self, node: NodeId, owner: u64) -> Result<bool, VaultError> {
        let blocker = self.vault.lock(&self.ctx, node, &ask(owner, WRITE)).await?;
        Ok(blocker.is_none())
    }

    async fn unlock(&self, node: NodeId, owner: u64) {
        let done = self.vault.lock(&self.ctx, node, &ask(owner, None)).await;
        assert_eq!(done.unwrap(), None);
    }
}

/// Two machines whose clocks are a day apart.
async fn two() -> (Lab, Machine, Machine, NodeId) {
    let lab = Lab::new(2, 3).await;
    let here = lab.machine("here", ManualClock::default()).await;
    let fast = ManualClock::default();
    fast.advance(Duration::from_secs(86_400));
    let there = lab.machine("there", fast).await;
    put(&here.vault, "f", b"begun").await.unwrap();
    let node = stat(&here.vault, "f").await.node;
    (lab, here, there, node)
}

#[tokio::test(start_paused = true)]
async fn p8_a_dead_machines_locks_end_after_its_lease_and_not_before() {
    let (_lab, here, there, node) = two().await;
    assert!(here.lock(node, 1).await.unwrap());
    assert!(!there.lock(node, 1).await.unwrap());
    // As long as it lives it keeps its lock.
    tokio::time::sleep(LEASE * 10).await;
    assert!(!there.lock(node, 1).await.unwrap());
    // It dies: nobody renews anything any more.
    here.line.cut_off(true);
    tokio::time::sleep(LEASE / 3).await;
    assert!(!there.lock(node, 1).await.unwrap(), "it may only be slow");
    tokio::time::sleep(LEASE).await;
    assert!(there.lock(node, 1).await.unwrap());
    assert_eq!(there.vault.present().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p8_a_machine_that_was_away_does_not_trust_the_locks_it_had() {
    let (_lab, here, there, node) = two().await;
    let file = open(&here.vault, "f").await.unwrap();
    assert!(here.lock(node, 1).await.unwrap());
    here.vault.trust_locks(node).await.unwrap();
    // Its lid is closed. Somebody else takes the lock.
    here.line.cut_off(true);
    tokio::time::sleep(LEASE + Duration::from_secs(1)).await;
    assert!(there.lock(node, 7).await.unwrap());
    // Before it can ask, it trusts nothing.
    assert!(here.vault.trust_locks(node).await.is_err());
    here.line.cut_off(false);
    let lost = here.vault.trust_locks(node).await.unwrap_err();
    assert!(matches!(lost, VaultError::LockLost), "{lost}");
    let again = here.lock(node, 1).await.unwrap_err();
    assert!(matches!(again, VaultError::LockLost), "{again}");
    // Also when the other has let go: what it has done meanwhile nobody knows.
    there.unlock(node, 7).await;
    assert!(here.vault.trust_locks(node).await.is_err());
    // Whoever lets go of what was lost begins anew.
    here.unlock(node, 1).await;
    here.vault.trust_locks(node).await.unwrap();
    assert!(here.lock(node, 1).await.unwrap());
    assert!(!there.lock(node, 7).await.unwrap());
    file.release(&here.ctx).await.unwrap();
}

/// It wrote under its lock and slept. Whoever has the lock by then is first, and its own work is kept beside the file.
#[tokio::test(start_paused = true)]
async fn p8_a_save_under_a_lock_that_ended_becomes_a_copy() {
    for unlocks in [false, true] {
        let (_lab, here, there, node) = two().await;
        let file = open(&here.vault, "f").await.unwrap();
        assert!(here.lock(node, 1).await.unwrap());
        file.write(&here.ctx, 0, b"mine").await.unwrap();
        here.line.cut_off(true);
        tokio::time::sleep(LEASE + Duration::from_secs(1)).await;
        assert!(there.lock(node, 7).await.unwrap());
        here.line.cut_off(false);
        if unlocks {
            here.unlock(node, 1).await;
        }
        file.flush(&here.ctx).await.unwrap();
        // Later saves go where the first went.
        file.write(&here.ctx, 4, b" too").await.unwrap();
        file.release(&here.ctx).await.unwrap();
        assert_eq!(get(&there.vault, "f").await.unwrap(), b"begun");
        put(&there.vault, "f", b"under a good lock").await.unwrap();
        there.unlock(node, 7).await;
        let names = names(&here.vault).await;
        assert_eq!(names.len(), 2, "unlocks: {unlocks}: {names:?}");
        assert_eq!(get(&here.vault, "f").await.unwrap(), b"under a good lock");
        let copy = names.iter().find(|name| *name != "f").unwrap();
        assert_eq!(get(&here.vault, copy).await.unwrap(), b"mine too");
    }
}

/// Leases of saves are the catalogue's, too: a machine whose clock is a day ahead takes nobody's save for one that has ended.
#[tokio::test(start_paused = true)]
async fn a_machine_with_a_wrong_clock_sweeps_no_save_under_way() {
    let lab = Lab::new(2, 3).await;
    let intent = Intent {
        save: SaveId::fresh().unwrap(),
        extents: Vec::new(),
    };
    let lease = Duration::from_secs(600);
    lab.memory.begin_save(&intent, lease).await.unwrap();
    for days in [0, 2] {
        let clock = ManualClock::default();
        let now = clock.now().secs + 86_400 * (days - 1);
        clock.set(Timestamp {
            secs: now,
            nanos: 0,
        });
        // A start sweeps.
        lab.machine("wrong", clock).await;
        assert_eq!(lab.memory.intents().await.unwrap().len(), 1);
    }
    lab.let_leases_end();
    lab.machine("right", ManualClock::default()).await;
    assert!(lab.memory.intents().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn locks_that_nobody_missed_are_had_again() {
    for changed in [false, true] {
        let (_lab, here, there, node) = two().await;
        let file = open(&here.vault, "f").await.unwrap();
        assert!(here.lock(node, 1).await.unwrap());
        here.line.cut_off(true);
        tokio::time::sleep(LEASE * 2).await;
        if changed {
            put(&there.vault, "f", b"changed meanwhile").await.unwrap();
        }
        here.line.cut_off(false);
        tokio::time::sleep(LEASE).await;
        let trusted = here.vault.trust_locks(node).await;
        assert_eq!(trusted.is_ok(), !changed, "changed: {changed}");
        assert_eq!(there.lock(node, 7).await.unwrap(), changed);
        file.release(&here.ctx).await.unwrap();
    }
}

/// It wakes, and before it has asked for its locks something on it opens the file and so sees what others have made of it.
#[tokio::test(start_paused = true)]
async fn p8_an_open_after_a_sleep_brings_no_lock_back_on_a_file_that_was_changed() {
    let (_lab, here, there, node) = two().await;
    let file = open(&here.vault, "f").await.unwrap();
    assert!(here.lock(node, 1).await.unwrap());
    assert_eq!(read_all(&file).await.unwrap(), b"begun");
    here.line.cut_off(true);
    tokio::time::sleep(LEASE * 2).await;
    put(&there.vault, "f", b"changed meanwhile").await.unwrap();
    here.line.cut_off(false);
    let other = here.vault.open(&here.ctx, node, Access::READ).await;
    let other = other.unwrap();
    tokio::time::sleep(LEASE).await;
    assert!(here.vault.trust_locks(node).await.is_err());
    for handle in [other, file] {
        handle.release(&here.ctx).await.unwrap();
    }
}

/// The network is only just coming up when a machine wakes.
#[tokio::test(start_paused = true)]
async fn p8_locks_are_had_again_also_when_the_new_beginning_got_no_answer() {
    let (_lab, here, there, node) = two().await;
    let file = open(&here.vault, "f").await.unwrap();
    assert!(here.lock(node, 1).await.unwrap());
    here.line.cut_off(true);
    tokio::time::sleep(LEASE * 2).await;
    here.line.cut_off(false);
    // The renewal is answered: the session has ended. The beginning is made, and its answer lost.
    here.line.fail_write(2, CatalogFault::LostReply);
    tokio::time::sleep(LEASE).await;
    here.vault.trust_locks(node).await.unwrap();
    assert!(!there.lock(node, 7).await.unwrap());
    file.release(&here.ctx).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_others_change_is_heard_and_after_an_absence_everything_is_doubted() {
    let (_lab, here, there, node) = two().await;
    let mut feed = here.vault.feed().unwrap();
    put(&there.vault, "f", b"new").await.unwrap();
    let Some(Heard::Changes(changes)) = feed.next().await else {
        panic!("nothing was missed");
    };
    assert!(changes.contains(&Change::Node(node)), "{changes:?}");
    put(&here.vault, "f", b"mine").await.unwrap();
    there
        .vault
        .make_dir(&there.ctx, NodeId::ROOT, &crate::common::name("d"), 0o755)
        .await
        .unwrap();
    let Some(Heard::Changes(changes)) = feed.next().await else {
        panic!("nothing was missed");
    };
    assert!(
        !changes.contains(&Change::Node(node)),
        "not one's own: {changes:?}"
    );
    here.line.cut_off(true);
    tokio::time::sleep(LEASE * 2).await;
    here.line.cut_off(false);
    loop {
        match feed.next().await.unwrap() {
            Heard::Everything => break,
            Heard::Changes(_) => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_a_file_open_shows_on_every_machine_and_ends_with_the_handle() {
    let (_lab, here, there, node) = two().await;
    let writer = open(&here.vault, "f").await.unwrap();
    let reader = there
        .vault
        .open(&there.ctx, node, Access::READ)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let holders = there.vault.holders(node).await.unwrap();
    let shown: Vec<_> = holders
        .iter()
        .map(|(session, hold)| {
            (
                session.host.as_str(),
                hold.actor.as_str(),
                hold.program.as_str(),
            )
        })
        .collect();
    assert_eq!(shown, [("here", "hanako", "writer")]);
    // After an absence it is told again.
    here.line.cut_off(true);
    tokio::time::sleep(LEASE * 2).await;
    assert!(there.vault.holders(node).await.unwrap().is_empty());
    here.line.cut_off(false);
    tokio::time::sleep(LEASE).await;
    assert_eq!(there.vault.holders(node).await.unwrap().len(), 1);
    writer.release(&here.ctx).await.unwrap();
    drop(writer);
    reader.release(&there.ctx).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(there.vault.holders(node).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_leaves_takes_its_locks_along() {
    let (_lab, here, there, node) = two().await;
    assert!(here.lock(node, 1).await.unwrap());
    assert!(here.vault.shutdown(&here.ctx).await.is_empty());
    assert!(there.lock(node, 1).await.unwrap());
    assert!(
        here.lock(node, 1).await.is_err(),
        "it does not come back by itself"
    );
    tokio::time::sleep(LEASE).await;
    assert_eq!(there.vault.present().await.unwrap().len(), 1);
}

/// No decision rests on the clocks of two machines: with clocks that are years apart, and set back and forth, everything is as ever.
#[tokio::test(start_paused = true)]
async fn clocks_that_disagree_do_no_harm() {
    let (_lab, here, there, node) = two().await;
    let years = |number: i64| Timestamp {
        secs: number * 31_556_952,
        nanos: 0,
    };
    for (turn, (mine, theirs)) in [(1, 90), (90, 1), (50, 50), (0, 40)]
        .into_iter()
        .enumerate()
    {
        here.clock.set(years(mine));
        there.clock.set(years(theirs));
        let what = format!("turn {turn}");
        assert!(here.lock(node, 1).await.unwrap(), "{what}");
        tokio::time::sleep(LEASE).await;
        assert!(!there.lock(node, 1).await.unwrap(), "{what}");
        here.unlock(node, 1).await;
        assert!(there.lock(node, 1).await.unwrap(), "{what}");
        there.unlock(node, 1).await;
        put(&there.vault, "f", format!("there {turn}").as_bytes())
            .await
            .unwrap();
        let file = open(&here.vault, "f").await.unwrap();
        assert_eq!(
            read_all(&file).await.unwrap(),
            format!("there {turn}").as_bytes()
        );
        put(&there.vault, "f", b"newer").await.unwrap();
        file.write(&here.ctx, 0, b"mine").await.unwrap();
        file.release(&here.ctx).await.unwrap();
        assert_eq!(get(&here.vault, "f").await.unwrap(), b"newer", "{what}");
        assert_eq!(
            names(&there.vault).await.len(),
            turn + 2,
            "{what}: a copy is kept"
        );
        assert_ne!(here.clock.now(), years(200));
    }
}

/// One of them writes the journal for all, whichever it is; when it is gone another one does.
#[tokio::test(start_paused = true)]
async fn p7_one_machine_writes_the_journal_for_all_and_another_takes_over() {
    for dies in [0, 1] {
        let lab = Lab::with_journal(2, 3).await;
        let clock = ManualClock::default;
        let machines = [
            lab.machine("here", clock()).await,
            lab.machine("there", clock()).await,
        ];
        let journalled = async |name: &str, by: &Machine, within: u64| {
            let before = lab.memory.journal().await.unwrap().next;
            put(&by.vault, name, name.as_bytes()).await.unwrap();
            for _ in 0..within {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if lab.memory.journal().await.unwrap().next > before {
                    return;
                }
            }
            panic!("what {name} did is not in the journal after {within} s");
        };
        for machine in &machines {
            journalled("f", machine, 3).await;
        }
        machines[dies].line.cut_off(true);
        // At first the others only look from time to time whether it is done.
        journalled("g", &machines[1 - dies], 17).await;
        tokio::time::sleep(LEASE * 2).await;
        journalled("h", &machines[1 - dies], 3).await;
    }
}

//! P1, P7: when a refresh begins, goes on and has ended, by hand and by the schedule, and which number it takes.

use std::time::Duration;

use warifu_core::ids::{ExtentId, FileId, Generation};
use warifu_testkit::stores::{Method, State, Trouble};
use warifu_testkit::world::World;
use warifu_vault::VaultError;
use warifu_vault::context::{Act, AuditEntry};
use warifu_vault::node::{NodeId, NodeKind};
use warifu_vault::refresh::{GenerationStatus, RefreshOptions};
use warifu_vault::repair::RepairOptions;
use warifu_vault::seam::catalog::{Catalog, Commit, Durability, Intent, NewNode, SaveId, Write};
use warifu_vault::seam::clock::Clock;
use warifu_vault::seam::store::{ObjectKey, StoreErrorKind};

use crate::common::{Lab, ctx, name, noise, put, stat};
use crate::rebuild::from_servers;
use crate::refresh::{assert_unlocks, extents, generations, refresh, try_refresh};
use crate::refresh_safety::{FILES, assert_few, few, repair, sweep};

/// A version that is not known to be on disk could be taken back at the next start, and its extents be forgotten: then nothing would tell
/// whose the shares of a new generation are.
#[tokio::test(start_paused = true)]
async fn p7_what_is_not_settled_keeps_its_generation_until_it_is() {
    let lab = Lab::new(2, 3).await;
    let vault = few(&lab).await;
    let other = lab.start().await;
    put(&other, "late", &noise(99, 4000)).await.unwrap();
    let head = stat(&vault, "late").await.head.unwrap();
    // It dies before it has settled it.
    drop(other);
    let report = refresh(&vault).await;
    assert_eq!(report.status.left, 1, "{report:?}");
    let record = lab.memory.extent(head).await.unwrap().unwrap();
    assert_eq!(record.generation, Generation(1));
    drop(vault);
    let vault = lab.start().await;
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    assert_eq!(report.extents, 1, "only what was left");
}

/// A server that is away keeps a refresh from being called ended. The next one begins all the same, and makes everything anew.
#[tokio::test(start_paused = true)]
async fn p1_a_refresh_that_cannot_end_does_not_stand_for_the_next_one() {
    let lab = Lab::new(2, 4).await;
    let vault = few(&lab).await;
    lab.faults[3].set(State::Gone);
    for number in 2..5 {
        let report = refresh(&vault).await;
        assert_eq!(report.extents, FILES, "all of it, each time: {report:?}");
        assert_eq!(report.status.left, 0);
        assert!(!report.status.is_complete(), "{report:?}");
        let now = generations(&lab).await;
        assert_eq!(now.wanted, Generation(number));
        assert_eq!(now.ended, None);
        let records = extents(&lab).await;
        assert!(records.iter().all(|record| record.generation == now.wanted));
    }
    lab.heal();
    drop(vault);
    let vault = sweep(&lab).await;
    repair(&vault).await;
    let status = vault.generation_status().await.unwrap();
    assert!(status.is_complete(), "{status:?}");
    assert_unlocks(&lab, "in the end").await;
    lab.assert_tidy("in the end").await;
}

/// Once a refresh has ended everywhere, a server that does not answer has nothing left that counts: it is suspected of nothing.
#[tokio::test(start_paused = true)]
async fn p1_after_a_refresh_that_ended_no_silent_server_is_suspected() {
    let lab = Lab::new(2, 4).await;
    let vault = few(&lab).await;
    lab.faults[3].set(State::Gone);
    let report = refresh(&vault).await;
    assert!(!report.status.is_complete(), "{report:?}");
    drop(vault);
    lab.heal();
    lab.let_leases_end();
    let vault = lab.start().await;
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    lab.faults[2].set(State::Gone);
    lab.faults[3].set(State::Gone);
    let status = vault.generation_status().await.unwrap();
    assert!(status.is_complete(), "{status:?}");
}

/// One that was cut off goes on, unless somebody wants it from the beginning.
#[tokio::test(start_paused = true)]
async fn a_refresh_is_begun_anew_where_somebody_says_so() {
    let lab = Lab::new(2, 3).await;
    let vault = few(&lab).await;
    let asked = std::sync::atomic::AtomicU32::new(0);
    let soon = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 2;
    let mut options = RefreshOptions {
        batch: 2,
        ..RefreshOptions::default()
    };
    let report = vault.refresh(&ctx(), &options, &|_| (), &soon).await;
    let left = report.unwrap().status.left;
    assert!(left > 0 && left < FILES, "{left}");
    assert_eq!(
        vault.plan_refresh(&ctx(), false).await.unwrap().extents,
        left
    );
    let plan = vault.plan_refresh(&ctx(), true).await.unwrap();
    assert!(!plan.resumes);
    assert_eq!(plan.extents, FILES);
    let wanted = generations(&lab).await.wanted;
    options.anew = true;
    let report = vault.refresh(&ctx(), &options, &|_| (), &|| false).await;
    let report = report.unwrap();
    assert_eq!(report.extents, FILES);
    assert!(report.status.is_complete(), "{report:?}");
    assert!(generations(&lab).await.wanted > wanted);
}

/// Where the pieces of the key cannot be stored, no refresh has begun.
#[tokio::test(start_paused = true)]
async fn a_refresh_begins_when_the_pieces_of_the_key_are_stored() {
    let lab = Lab::new(2, 3).await;
    let vault = few(&lab).await;
    lab.faults[1].set(State::Full);
    for _ in 0..3 {
        let refused = try_refresh(&vault).await;
        assert!(matches!(refused, Err(VaultError::NotStored { .. })));
        let now = generations(&lab).await;
        assert_eq!(
            (now.wanted, now.begun, now.ended),
            (Generation(1), None, None)
        );
        assert_unlocks(&lab, "refused").await;
    }
    lab.heal();
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    vault.shutdown(&ctx()).await;
    assert_unlocks(&lab, "in the end").await;
    let pieces = |place: usize| {
        let names = lab.servers[place].names().into_iter();
        names.filter(|name| !name.is_share()).count()
    };
    assert_eq!([pieces(0), pieces(1), pieces(2)], [1; 3]);
}

/// A server that was away during a refresh comes back with its old piece of the key: the schedule goes on all the same, and the piece
/// goes.
#[tokio::test(start_paused = true)]
async fn the_schedule_goes_on_after_a_server_has_missed_a_piece() {
    let mut lab = Lab::new(2, 4).await;
    let vault = few(&lab).await;
    lab.faults[3].set(State::Gone);
    let report = refresh(&vault).await;
    assert!(!report.status.is_complete());
    drop(vault);
    lab.heal();
    lab.let_leases_end();
    lab.options.upkeep.every = Duration::from_secs(1);
    lab.options.upkeep.refresh_every = Some(Duration::from_secs(7 * 24 * 3600));
    let vault = lab.start().await;
    let long = || tokio::time::sleep(Duration::from_secs(2 * 3600));
    long().await;
    let now = generations(&lab).await;
    assert!(now.ended.is_some(), "{now:?}");
    let names = lab.servers[3].names();
    let pieces: Vec<_> = names.iter().filter(|name| !name.is_share()).collect();
    assert_eq!(pieces.len(), 1, "{pieces:?}");
    assert_eq!(*pieces[0], ObjectKey::vault_object(now.wanted));
    lab.pass(Duration::from_secs(8 * 24 * 3600));
    long().await;
    let later = generations(&lab).await;
    assert!(later.wanted > now.wanted && later.ended.is_some());
    assert_few(&vault, "in the end").await;
}

/// Where a server cannot get rid of what it has, the schedule begins the next refresh when its time comes.
#[tokio::test(start_paused = true)]
async fn the_schedule_begins_the_next_one_where_the_last_one_cannot_end() {
    let mut lab = Lab::new(2, 4).await;
    let vault = few(&lab).await;
    // Something that is to be removed and cannot be: the shares that the catalogue names are not all that must be seen.
    lab.faults[3].set(State::Gone);
    refresh(&vault).await;
    drop(vault);
    lab.heal();
    lab.options.upkeep.every = Duration::from_secs(1);
    lab.options.upkeep.refresh_every = Some(Duration::from_secs(7 * 24 * 3600));
    // It answers, and removes nothing.
    let vault = lab.start().await;
    let before = generations(&lab).await;
    for round in 0..3 {
        lab.pass(Duration::from_secs(8 * 24 * 3600));
        for nth in 1..2_000 {
            let refused = Trouble::Refused(StoreErrorKind::Denied);
            lab.faults[3].plan(Method::Delete, nth, refused);
        }
        tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
        let now = generations(&lab).await;
        assert!(now.wanted > before.wanted, "{round}: {now:?}");
    }
    assert_few(&vault, "in the end").await;
}

/// Whoever may write to one server gives names there that use up all numbers.
#[tokio::test(start_paused = true)]
async fn names_on_one_server_do_not_use_up_the_numbers() {
    let lab = Lab::new(2, 3).await;
    let vault = few(&lab).await;
    let real = ObjectKey::vault_object(Generation(1));
    let piece = lab.servers[1].bytes(&real).unwrap();
    for number in [u32::MAX, u32::MAX - 1] {
        let name = ObjectKey::vault_object(Generation(number));
        lab.servers[0].replace(&name, b"nothing at all".as_slice());
        // A real piece, of another server and generation.
        lab.servers[2].replace(&name, piece.clone());
    }
    for number in 2..4 {
        let report = refresh(&vault).await;
        assert!(report.status.is_complete(), "{report:?}");
        assert_eq!(generations(&lab).await.current, Generation(number));
        let named = |server: &str| {
            let mut faults = report.faults.iter();
            faults.any(|fault| fault.server == server && fault.detail.contains("vault-ffffffff"))
        };
        assert!(named("A") && named("C") && !named("B"), "{report:?}");
    }
    assert_few(&vault, "after it").await;
    assert_unlocks(&lab, "after it").await;
}

/// A server that does not tell what it has may know a number that nobody else knows: without it, it goes as without any server.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_list_its_pieces_counts_as_away() {
    let lab = Lab::new(2, 4).await;
    let vault = few(&lab).await;
    // The pause of the knock at the door comes first; whichever listing fails, the answer is one of the two.
    let mut given_up = 0;
    for nth in 1..4 {
        let failed = Trouble::Refused(StoreErrorKind::Failed);
        lab.faults[1].plan(Method::List, nth, failed);
        let report = refresh(&vault).await;
        let owed = extents(&lab).await;
        let owed = owed.iter().any(|record| !record.owed.is_empty());
        let told = report.faults.iter().any(|fault| fault.server == "B");
        assert_eq!(owed, told && owed, "{nth}: {report:?}");
        given_up += u32::from(owed);
        lab.heal();
        repair(&vault).await;
    }
    assert!(given_up >= 1);
    assert_few(&vault, "after it").await;
}

/// A save that was dealt before a refresh and is committed while its end is looked for is seen, wherever in between it comes.
#[tokio::test(start_paused = true)]
async fn a_save_that_commits_meanwhile_is_not_overlooked() {
    let (mut in_intents, mut in_extents) = (0, 0);
    for at in 0..40_u64 {
        let lab = Lab::new(2, 3).await;
        let vault = few(&lab).await;
        let report = refresh(&vault).await;
        assert!(report.status.is_complete());
        let model = extents(&lab).await.remove(0);
        let (save, extent) = (SaveId::fresh().unwrap(), ExtentId::fresh().unwrap());
        let intent = Intent {
            save,
            extents: vec![(extent, Generation(1))],
        };
        lab.memory
            .begin_save(&intent, Duration::ZERO)
            .await
            .unwrap();
        // As a process that had the number from before the refresh has put it.
        let index = lab.threshold.indices().next().unwrap();
        let key = lab.key().await;
        let object = key.object_name(lab.ids[0], extent, Generation(1));
        lab.servers[0].replace(&object.into(), b"a share".as_slice());
        let mut record = model.clone();
        (record.extent, record.generation) = (extent, Generation(1));
        record.owed.insert(index);
        let document = FileId::fresh().unwrap();
        let now = lab.clock.now();
        let write = Write {
            audit: AuditEntry {
                at: now,
                context: ctx(),
                act: Act::Save,
                node: None,
                detail: String::new(),
            },
            durability: Durability::Now,
        };
        let new = NewNode {
            kind: NodeKind::File,
            mode: 0o600,
            uid: 0,
            gid: 0,
            rdev: 0,
            target: Vec::new(),
            document,
            inherits: false,
            unless: None,
        };
        let commit = Commit {
            save,
            size: 1,
            mtime: now,
            saved_at: now,
            author: String::new(),
            host: String::new(),
            head: Some(extent),
            layout: Vec::new(),
            dealt: vec![record],
            settled: true,
        };
        lab.catalog.storm(World::new(at), 0);
        let looking = vault.generation_status();
        let committing = async {
            tokio::time::sleep(Duration::from_micros(at * 400)).await;
            let between = name("between");
            let made = lab
                .memory
                .commit_new(NodeId::ROOT, &between, new, commit, write);
            made.await.unwrap();
        };
        let (status, ()) = tokio::join!(looking, committing);
        let status: GenerationStatus = status.unwrap();
        assert!(!status.is_complete(), "{at}: {status:?}");
        in_intents += u32::from(!status.holding.is_empty());
        in_extents += u32::from(status.left > 0);
    }
    assert!(in_intents > 0 && in_extents > 0);
}

/// A rebuild takes the numbers from what it sees, and a refresh that was under way still is.
#[tokio::test(start_paused = true)]
async fn p7_a_rebuild_goes_on_with_the_generations() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = few(&lab).await;
    refresh(&vault).await;
    refresh(&vault).await;
    vault.shutdown(&ctx()).await;
    let (whole, _) = from_servers(&lab, &[0, 1]).await;
    let now = whole.generations().await.unwrap();
    assert_eq!((now.current, now.wanted), (Generation(3), Generation(3)));
    assert!(!now.is_under_way());

    let vault = lab.start().await;
    let asked = std::sync::atomic::AtomicU32::new(0);
    let soon = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 2;
    let options = RefreshOptions {
        batch: 2,
        ..RefreshOptions::default()
    };
    let report = vault.refresh(&ctx(), &options, &|_| (), &soon).await;
    assert!(report.unwrap().status.left > 0);
    vault.shutdown(&ctx()).await;
    drop(vault);
    let mut lab = lab;
    let (half, _) = from_servers(&lab, &[1, 2]).await;
    let now = half.generations().await.unwrap();
    assert_eq!((now.current, now.wanted), (Generation(4), Generation(4)));
    assert!(now.is_under_way());
    lab.take_over(half);
    let vault = lab.start().await;
    let status = vault.generation_status().await.unwrap();
    assert!(status.left > 0, "{status:?}");
    let report = refresh(&vault).await;
    assert_eq!(report.status.left, 0, "{report:?}");
    assert_few(&vault, "in the end").await;
}

/// Where the piece of before a refresh is rubbish and a newer one lies beside it, the newer one counts.
#[tokio::test(start_paused = true)]
async fn p4_a_rotten_piece_of_before_does_not_hide_the_one_at_work() {
    let lab = Lab::new(2, 3).await;
    let vault = few(&lab).await;
    refresh(&vault).await;
    let first = ObjectKey::vault_object(Generation(1));
    for server in &lab.servers {
        server.replace(&first, b"rotten".as_slice());
    }
    assert_unlocks(&lab, "with rotten ones beside them").await;
}

/// A repair that has read the pieces of before puts one of them back, just when a refresh is done: it does not stay.
#[tokio::test(start_paused = true)]
async fn p1_a_piece_of_before_that_comes_back_goes_again() {
    let lab = Lab::new(2, 4).await;
    let vault = few(&lab).await;
    let first = ObjectKey::vault_object(Generation(1));
    let before: Vec<_> = lab
        .servers
        .iter()
        .map(|server| server.bytes(&first))
        .collect();
    refresh(&vault).await;
    for (server, piece) in lab.servers.iter().zip(&before) {
        server.replace(&first, piece.clone().unwrap());
    }
    let status = vault.generation_status().await.unwrap();
    assert_eq!(status.holding.len(), 4, "{status:?}");
    // With too few of those at work, none of the others is touched.
    lab.faults[0].set(State::Gone);
    lab.faults[1].set(State::Gone);
    let options = RepairOptions::default();
    vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
    assert!(lab.servers[2].bytes(&first).is_some());
    lab.heal();
    vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
    for server in &lab.servers {
        assert_eq!(server.bytes(&first), None);
    }
    let status = vault.generation_status().await.unwrap();
    assert!(status.is_complete(), "{status:?}");
    assert_unlocks(&lab, "in the end").await;
}

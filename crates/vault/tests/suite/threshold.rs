//! P1, P4: another threshold, and other servers, while the vault is in use.

use std::time::Duration;

use warifu_core::format::ExtentKind;
use warifu_core::ids::{Generation, Threshold};
use warifu_core::ways::WayKey;
use warifu_testkit::stores::{MemoryStore, State};
use warifu_vault::keys::UnlockError;
use warifu_vault::refresh::{RefreshOptions, THRESHOLD};
use warifu_vault::repair::RepairOptions;
use warifu_vault::seam::past::Past as _;
use warifu_vault::verify::Check;
use warifu_vault::{Thresholds, Vault, VaultError};

use crate::common::lab::{live, server_name};
use crate::common::{EXTENT, Lab, ctx, get, noise, open, put, same};
use crate::rebuild::{choices, from_servers};
use crate::refresh::{
    assert_reads, assert_unlocks, extents, fill, generations, refresh, try_refresh, unlock_from,
};
use crate::ways::{add, opens_by, pieces};

pub(crate) fn threshold(k: u8, n: u8) -> Threshold {
    Threshold::new(k, n).unwrap()
}

/// Every extent has this threshold, and no server anything of before.
pub(crate) async fn assert_changed(lab: &Lab, to: Threshold, what: &str) {
    for record in extents(lab).await {
        assert_eq!(record.threshold, to, "{what}: {record:?}");
    }
    lab.assert_tidy(what).await;
}

/// Whoever has all that these servers have, and even the vault key, reads nothing of any file; with one server more, everything.
pub(crate) async fn assert_needs(lab: &Lab, files: &[(&str, Vec<u8>)], k: usize) {
    let n = usize::from(lab.threshold.n());
    for set in choices(k - 1, n) {
        let few: Vec<MemoryStore> = (0..n)
            .map(|place| match set.contains(&place) {
                true => lab.servers[place].clone(),
                false => MemoryStore::new(),
            })
            .collect();
        let unlocked = unlock_from(lab, &few).await;
        assert!(
            matches!(
                unlocked,
                Err(UnlockError::TooFewServers { .. } | UnlockError::Mismatch { .. })
            ),
            "{set:?}: {unlocked:?}"
        );
        for place in 0..n {
            let there = set.contains(&place);
            lab.faults[place].set(if there { State::Well } else { State::Gone });
        }
        let vault = lab.start().await;
        for (file, bytes) in files.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            let read = get(&vault, file).await;
            assert!(
                matches!(read, Err(VaultError::TooFewShares { .. })),
                "{file} of {} bytes from {set:?}: {read:?}",
                bytes.len()
            );
        }
    }
    for set in choices(k, n) {
        for place in 0..n {
            let there = set.contains(&place);
            lab.faults[place].set(if there { State::Well } else { State::Gone });
        }
        let vault = lab.start().await;
        assert_reads(&vault, files, &format!("{set:?}")).await;
    }
    lab.heal();
}

#[tokio::test(start_paused = true)]
async fn p1_from_two_of_three_to_three_of_five() {
    let mut lab = Lab::with_journal(2, 3).await;
    let files = fill(&lab).await;
    let before: Vec<Vec<_>> = lab.servers.iter().map(MemoryStore::names).collect();
    let to = threshold(3, 5);
    let vault = lab.start().await;
    let plan = vault.plan_threshold(to).await.unwrap();
    assert!(plan.possible && !plan.resumes, "{plan:?}");
    assert_eq!(plan.extents, extents(&lab).await.len() as u64);
    assert_eq!(plan.joined, 1, "compact alone: {plan:?}");
    assert!(vault.estimate(&plan, Some(1)).await.unwrap() > Some(Duration::from_secs(60)));
    vault.shutdown(&ctx()).await;
    lab.change_to(to);
    let vault = lab.start().await;
    let status = vault.generation_status().await.unwrap();
    assert!(!status.is_complete(), "{status:?}");
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    let change = report.status.change.unwrap();
    assert!(change.in_force && change.to == to, "{change:?}");
    assert_reads(&vault, &files, "after it").await;
    put(&vault, "later", &noise(9, 7000)).await.unwrap();
    vault.shutdown(&ctx()).await;
    drop(vault);
    lab.changed();
    assert_changed(&lab, to, "after it").await;
    for (server, names) in lab.servers.iter().zip(&before) {
        let mut left = server.names();
        left.retain(|name| names.contains(name));
        assert_eq!(left, [], "nothing of before is left");
    }
    assert_unlocks(&lab, "after it").await;
    let mut files = files;
    files.push(("later", noise(9, 7000)));
    assert_needs(&lab, &files, 3).await;
    let vault = lab.start().await;
    let report = vault
        .check(&ctx(), Check::new(true), &|_| ())
        .await
        .unwrap();
    assert!(report.is_clean(), "{report:?}");
}

/// One server more, with as many needed as before; a change to fewer, with all schemes joined; and servers that go.
#[tokio::test(start_paused = true)]
async fn p1_one_server_more_fewer_needed_and_servers_that_go() {
    let mut lab = Lab::with_journal(2, 3).await;
    let files = fill(&lab).await;
    for (k, n) in [(2, 4), (4, 4), (2, 5), (3, 3), (1, 2), (2, 3)] {
        let to = threshold(k, n);
        let (from, what) = (lab.threshold, format!("{k} of {n}"));
        lab.change_to(to);
        let vault = lab.start().await;
        let plan = vault.plan_threshold(to).await.unwrap();
        let joined = if k < from.k() { plan.extents } else { 1 };
        assert_eq!(plan.joined, joined, "{what}: {plan:?}");
        let report = refresh(&vault).await;
        assert!(report.status.is_complete(), "{what}: {report:?}");
        assert_reads(&vault, &files, &what).await;
        vault.shutdown(&ctx()).await;
        drop(vault);
        lab.changed();
        for place in usize::from(n)..lab.servers.len() {
            assert_eq!(lab.servers[place].names(), [], "{what}: {place} has gone");
        }
        lab.forget_gone();
        assert_changed(&lab, to, &what).await;
        assert_unlocks(&lab, &what).await;
        if k > 1 {
            assert_needs(&lab, &files, k.into()).await;
        }
    }
}

/// A drive that has the vault open takes new servers up, deals by the new threshold when that is in force, and reads on.
#[tokio::test(start_paused = true)]
async fn p4_a_drive_goes_on_while_it_changes() {
    let mut lab = Lab::with_journal(2, 3).await;
    let files = fill(&lab).await;
    let drive = lab.start().await;
    let large = noise(3, EXTENT + 70_000);
    let handle = open(&drive, "large").await.unwrap();
    let read = handle.read(200_000, 5000).await.unwrap();
    same(read.expose(), &large[200_000..205_000], "a part before");
    let to = threshold(3, 5);
    lab.change_to(to);
    let seating = drive.seating();
    assert!(!seating.change(lab.seats()[..4].to_vec(), lab.thresholds()));
    assert!(seating.change(lab.seats(), lab.thresholds()));
    assert!(seating.change(lab.seats(), lab.thresholds()), "again");
    for faults in &lab.faults {
        faults.set_delay(Duration::from_millis(3));
    }
    let other = lab.start().await;
    let work = async {
        for turn in 0..60_u64 {
            put(&drive, "busy", &noise(turn, 8000)).await.unwrap();
            for (file, bytes) in &files {
                same(&get(&drive, file).await.unwrap(), bytes, file);
            }
            let at = 300_000 + turn * 32_768;
            let read = handle.read(at, 4096).await.unwrap();
            let at = usize::try_from(at).unwrap();
            same(read.expose(), &large[at..at + 4096], "a part meanwhile");
        }
    };
    let change = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        refresh(&other).await
    };
    let ((), report) = tokio::join!(work, change);
    assert_eq!(report.status.change.unwrap().to, to);
    drive.sync().await.unwrap();
    assert!(
        extents(&lab)
            .await
            .iter()
            .all(|record| record.threshold == to)
    );
    put(&drive, "busy", &noise(100, 8000)).await.unwrap();
    let status = other.finish_refresh(&ctx()).await.unwrap();
    assert!(status.is_complete(), "{status:?}");
    lab.changed();
    assert!(seating.change(lab.seats(), lab.thresholds()));
    put(&drive, "busy", &noise(101, 8000)).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    drive.shutdown(&ctx()).await;
    other.shutdown(&ctx()).await;
    assert_changed(&lab, to, "in the end").await;
    let mut files = files;
    files.push(("busy", noise(101, 8000)));
    assert_needs(&lab, &files, 3).await;
}

/// A drive with an old copy of the vault file goes on saving by the old threshold: that is seen, and made good.
#[tokio::test(start_paused = true)]
async fn p1_what_an_old_copy_of_the_vault_file_saves_is_seen() {
    let mut lab = Lab::new(2, 3).await;
    let files = fill(&lab).await;
    let stale = lab.start().await;
    lab.change_to(threshold(3, 5));
    let vault = lab.start().await;
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    put(&stale, "later", &noise(9, 7000)).await.unwrap();
    stale.sync().await.unwrap();
    assert_reads(&stale, &files, "by an old copy").await;
    let status = vault.generation_status().await.unwrap();
    assert_eq!(status.left, 1, "{status:?}");
    let refused = try_refresh(&stale).await;
    assert!(
        matches!(
            refused,
            Err(VaultError::OtherThreshold { file, catalog })
                if (file, catalog) == (threshold(2, 3), threshold(3, 5))
        ),
        "{refused:?}"
    );
    assert!(!stale.generation_status().await.unwrap().is_complete());
    // Also once the change has ended, and by whoever looks.
    lab.changed();
    let vault = lab.start().await;
    put(&stale, "latest", &noise(10, 7000)).await.unwrap();
    stale.sync().await.unwrap();
    assert_eq!(vault.generation_status().await.unwrap().left, 2);
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    drop((stale, vault));
    lab.let_leases_end();
    let vault = lab.start().await;
    vault.shutdown(&ctx()).await;
    assert_changed(&lab, threshold(3, 5), "in the end").await;
}

/// Any server is in trouble in the middle of it, old or new.
#[tokio::test(start_paused = true)]
async fn p4_servers_that_fail_in_the_middle_of_a_change() {
    type Befall = fn(&Lab, usize);
    let troubles: [(&str, Befall); 4] = [
        ("gone", |lab, at| lab.faults[at].set(State::Gone)),
        ("full", |lab, at| lab.faults[at].set(State::Full)),
        ("read-only", |lab, at| lab.faults[at].set(State::ReadOnly)),
        ("slow", |lab, at| {
            lab.faults[at].set_delay(Duration::from_secs(3))
        }),
    ];
    for (what, trouble) in troubles {
        for place in 0..5 {
            for after in [1, 3, 6] {
                let what = format!("{what}, {}, {after}", server_name(place));
                let mut lab = Lab::new(2, 3).await;
                let files = fill(&lab).await;
                lab.change_to(threshold(3, 5));
                let vault = lab.start().await;
                let asked = std::sync::atomic::AtomicU32::new(0);
                let befall = || {
                    let asked = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if asked == after {
                        trouble(&lab, place);
                    }
                    false
                };
                let options = RefreshOptions {
                    batch: 1,
                    ..RefreshOptions::default()
                };
                let report = vault.refresh(&ctx(), &options, &|_| (), &befall).await;
                drop(report);
                assert_reads(&vault, &files, &what).await;
                assert_unlocks_without_one(&lab, &what).await;
                lab.heal();
                drop(vault);
                lab.let_leases_end();
                let vault = lab.start().await;
                refresh(&vault).await;
                let options = RepairOptions::default();
                vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
                let status = vault.finish_refresh(&ctx()).await.unwrap();
                assert!(status.is_complete(), "{what}: {status:?}");
                assert_reads(&vault, &files, &what).await;
                vault.shutdown(&ctx()).await;
                lab.changed();
                assert_changed(&lab, threshold(3, 5), &what).await;
                assert_unlocks(&lab, &what).await;
            }
        }
    }
}

/// In the middle of a change, the key is there without any one server.
pub(crate) async fn assert_unlocks_without_one(lab: &Lab, what: &str) {
    for gone in 0..lab.servers.len() {
        let servers: Vec<MemoryStore> = (0..lab.servers.len())
            .map(|place| match place == gone {
                true => MemoryStore::new(),
                false => lab.servers[place].clone(),
            })
            .collect();
        let unlocked = unlock_from(lab, &servers).await;
        assert!(unlocked.is_ok(), "{what}, without {gone}: {unlocked:?}");
    }
}

/// A server that is away keeps what it has, and the change from being called ended, until it is back.
#[tokio::test(start_paused = true)]
async fn p1_a_change_has_not_ended_before_the_last_old_share_is_gone() {
    let mut lab = Lab::new(2, 3).await;
    let files = fill(&lab).await;
    let to = threshold(3, 5);
    lab.change_to(to);
    let vault = lab.start().await;
    lab.faults[1].set(State::Gone);
    let plan = vault.plan_refresh(&ctx(), false).await.unwrap();
    assert!(plan.possible && plan.absent.len() == 1, "{plan:?}");
    let report = refresh(&vault).await;
    assert_eq!(report.status.left, 0, "{report:?}");
    let holding: Vec<&str> = report.status.holding.keys().map(String::as_str).collect();
    assert!(!report.status.is_complete() && holding.contains(&"B"));
    assert_reads(&vault, &files, "without it").await;
    lab.heal();
    let status = vault.generation_status().await.unwrap();
    let holding: Vec<&str> = status.holding.keys().map(String::as_str).collect();
    assert_eq!(holding, ["B"], "it alone has something: {status:?}");
    let options = RepairOptions::default();
    vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
    let status = vault.finish_refresh(&ctx()).await.unwrap();
    assert!(status.is_complete(), "{status:?}");
    vault.shutdown(&ctx()).await;
    drop(vault);
    lab.changed();
    assert_changed(&lab, to, "in the end").await;
    assert_needs(&lab, &files, 3).await;
}

/// Nothing is begun where too few of those servers answer that are to have shares.
#[tokio::test(start_paused = true)]
async fn p4_a_change_is_refused_where_too_few_servers_are_there() {
    let mut lab = Lab::new(2, 3).await;
    let files = fill(&lab).await;
    lab.change_to(threshold(3, 5));
    let vault = lab.start().await;
    for gone in [2, 4] {
        lab.faults[gone].set(State::Gone);
    }
    assert!(!vault.plan_refresh(&ctx(), false).await.unwrap().possible);
    let refused = try_refresh(&vault).await;
    assert!(
        matches!(
            refused,
            Err(VaultError::NotStored {
                needed: 4,
                got: 3,
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(lab.memory.position(THRESHOLD).await.unwrap(), 0);
    let one = threshold(2, 3);
    assert!(
        extents(&lab)
            .await
            .iter()
            .all(|record| record.threshold == one)
    );
    put(&vault, "later", &noise(9, 7000)).await.unwrap();
    lab.heal();
    assert_reads(&vault, &files, "after it").await;
    assert!(refresh(&vault).await.status.is_complete());
}

/// A refresh that another threshold had begun is not gone on with: what it made is as new as what it wanted, and of the old one.
#[tokio::test(start_paused = true)]
async fn p1_a_change_in_the_middle_of_a_refresh() {
    let mut lab = Lab::new(2, 3).await;
    let files = fill(&lab).await;
    let vault = lab.start().await;
    let asked = std::sync::atomic::AtomicU32::new(0);
    let soon = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 2;
    let options = RefreshOptions {
        batch: 1,
        ..RefreshOptions::default()
    };
    let cut_off = vault.refresh(&ctx(), &options, &|_| (), &soon).await;
    assert!(cut_off.unwrap().status.left > 0);
    drop(vault);
    lab.change_to(threshold(3, 5));
    let vault = lab.start().await;
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    assert_eq!(generations(&lab).await.wanted, Generation(3));
    vault.shutdown(&ctx()).await;
    drop(vault);
    lab.changed();
    assert_changed(&lab, threshold(3, 5), "in the end").await;
    assert_needs(&lab, &files, 3).await;
}

/// The catalogue is lost in the middle of a change, and after it, and the vault file too: the servers tell which thresholds there are.
#[tokio::test(start_paused = true)]
async fn p7_a_rebuild_in_the_middle_of_a_change() {
    let mut lab = Lab::with_journal(2, 3).await;
    let files = fill(&lab).await;
    let vault = lab.start().await;
    vault.shutdown(&ctx()).await;
    drop(vault);
    let to = threshold(3, 5);
    lab.change_to(to);
    let vault = lab.start().await;
    let asked = std::sync::atomic::AtomicU32::new(0);
    let soon = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 3;
    let options = RefreshOptions {
        batch: 1,
        ..RefreshOptions::default()
    };
    let cut_off = vault.refresh(&ctx(), &options, &|_| (), &soon).await;
    assert!(cut_off.unwrap().status.left > 0);
    vault.shutdown(&ctx()).await;
    drop(vault);
    // Any one of them may be lost, too.
    for lost in 0..5 {
        let places: Vec<usize> = (0..5).filter(|place| *place != lost).collect();
        let (catalog, report) = from_servers(&lab, &places).await;
        assert!(report.lost.is_empty(), "{lost}: {report:?}");
        assert_eq!(report.servers.len(), 5, "{lost}: {report:?}");
        let backup = lab.memory.backup();
        lab.take_over(catalog);
        let vault = lab.start().await;
        assert_reads(&vault, &files, &format!("rebuilt without {lost}")).await;
        put(&vault, "later", &noise(9, 7000)).await.unwrap();
        let later = extents(&lab).await;
        let later = later
            .iter()
            .filter(|record| record.kind == ExtentKind::Head);
        assert!(later.map(|record| record.threshold).any(|one| one == to));
        drop(vault);
        if lost == 4 {
            break;
        }
        lab.take_over(backup);
    }
    let vault = lab.start().await;
    let report = refresh(&vault).await;
    assert_eq!(report.status.left, 0, "{report:?}");
    assert_reads(&vault, &files, "in the end").await;
    let all: Vec<_> = (0..5).collect();
    let candidates: Vec<_> = all
        .iter()
        .map(|place| warifu_vault::keys::Candidate {
            name: server_name(*place),
            store: lab.stores[*place].clone(),
        })
        .collect();
    let gathered = warifu_vault::rebuild::gather(&candidates).await.unwrap();
    let Thresholds { now, becoming, .. } = gathered.thresholds;
    assert_eq!((now, becoming), (to, None));
}

/// Where there are ways in, the bolt is dealt by the new threshold, too.
#[test]
fn p3_a_change_where_there_are_ways() {
    live(async {
        let mut lab = Lab::new(2, 3).await;
        let files = fill(&lab).await;
        let key = WayKey::generate().unwrap();
        let vault = lab.start().await;
        add(&vault, "one", &key).await.unwrap();
        drop(vault);
        for (k, n) in [(3, 5), (2, 3)] {
            lab.change_to(threshold(k, n));
            // Opened before there were ways, as far as this process knows.
            let vault = lab.start().await;
            assert!(opens_by(&lab, 1, &key).await, "before {k} of {n}");
            let report = refresh(&vault).await;
            assert!(report.status.is_complete(), "{report:?}");
            assert!(opens_by(&lab, 1, &key).await, "after {k} of {n}");
            assert_reads(&vault, &files, "after it").await;
            assert!(vault.ways().await.faults.is_empty());
            assert_eq!(vault.mend_ways().await, Vec::<String>::new());
            vault.shutdown(&ctx()).await;
            drop(vault);
            lab.changed();
            for (place, server) in lab.servers.iter().enumerate() {
                let parts = if place < usize::from(n) { 2 } else { 0 };
                assert_eq!(pieces(server).len(), parts, "{place}: {:?}", pieces(server));
            }
            for set in choices(usize::from(k) - 1, n.into()) {
                for place in 0..usize::from(n) {
                    let there = set.contains(&place);
                    lab.faults[place].set(if there { State::Well } else { State::Gone });
                }
                assert!(!opens_by(&lab, 1, &key).await, "{set:?}");
                lab.heal();
            }
        }
    });
}

/// Whatever is said twice is said once.
#[tokio::test(start_paused = true)]
async fn a_threshold_that_the_vault_has_can_be_said_again() {
    let mut lab = Lab::new(2, 3).await;
    let files = fill(&lab).await;
    lab.change_to(threshold(2, 3));
    let vault: Vault = lab.start().await;
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    assert_eq!(vault.threshold_said().await.unwrap(), Some(threshold(2, 3)));
    assert_reads(&vault, &files, "after it").await;
}

//! P4: what is missing or bad is made anew: after every kind of damage, with lying helpers, beside saves, and cut off at every step.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use warifu_core::format::Scheme;
use warifu_core::ids::ShareIndex;
use warifu_testkit::stores::{Lie, MemoryStore, Method, State};
use warifu_testkit::world::Death;
use warifu_vault::context::{Act, AuditEntry};
use warifu_vault::error::Fault;
use warifu_vault::keys::FIRST_GENERATION;
use warifu_vault::repair::{RepairOptions, RepairReport, Upkeep};
use warifu_vault::seam::catalog::{Catalog, Durability, OwedChange, Write};
use warifu_vault::seam::store::{ObjectKey, ShareStore};
use warifu_vault::verify::{Check, Checkpoint, VerifyReport};
use warifu_vault::{Context, Vault};

use crate::common::{Dice, EXTENT, Lab, ctx, get, live, noise, put, same};

async fn check(vault: &Vault, deep: bool, record: bool) -> VerifyReport {
    let check = Check {
        record,
        ..Check::new(deep)
    };
    vault.check(&ctx(), check, &|_| ()).await.unwrap()
}

async fn repair(vault: &Vault) -> RepairReport {
    vault
        .repair(&ctx(), &RepairOptions::default(), &|_| ())
        .await
        .unwrap()
}

fn index(index: u8) -> ShareIndex {
    ShareIndex::new(index).unwrap()
}

/// Every share is there and good, nothing is owed, nothing is left over.
async fn assert_whole(lab: &Lab, vault: &Vault, what: &str) {
    let report = check(vault, true, false).await;
    assert!(report.is_clean(), "{what}: {:?}", report.findings);
    let usage = lab.memory.usage().await.unwrap();
    assert_eq!(usage.owed_shares, 0, "{what}");
    lab.assert_tidy(what).await;
}

const FILES: [(&str, u64, usize); 4] = [
    ("small", 1, 6000),
    ("other", 2, 100_000),
    ("large", 3, EXTENT + 70_000),
    ("empty", 4, 0),
];

async fn fill(vault: &Vault) {
    for (file, seed, len) in FILES {
        put(vault, file, &noise(seed, len)).await.unwrap();
    }
    vault.sync().await.unwrap();
}

async fn assert_files(vault: &Vault, what: &str) {
    for (file, seed, len) in FILES {
        same(
            &get(vault, file).await.unwrap(),
            &noise(seed, len),
            &format!("{what}: {file}"),
        );
    }
}

#[derive(Clone, Copy, Debug)]
enum Bane {
    Wiped,
    Rotten,
    Beheaded,
    Halved,
    Emptied,
    Rubbish,
    /// The objects have changed places.
    Shuffled,
    /// Every second one is gone, every other one is damaged.
    Mixed,
}

const BANES: [Bane; 8] = [
    Bane::Wiped,
    Bane::Rotten,
    Bane::Beheaded,
    Bane::Halved,
    Bane::Emptied,
    Bane::Rubbish,
    Bane::Shuffled,
    Bane::Mixed,
];

fn shares(server: &MemoryStore) -> Vec<ObjectKey> {
    let mut names = server.names();
    names.retain(ObjectKey::is_share);
    names
}

fn strike(server: &MemoryStore, bane: Bane) {
    let names = shares(server);
    if let Bane::Wiped = bane {
        return server.wipe();
    }
    if let Bane::Shuffled = bane {
        let bytes: Vec<_> = names
            .iter()
            .map(|name| server.bytes(name).unwrap())
            .collect();
        for (name, bytes) in names.iter().zip(bytes.iter().cycle().skip(1)) {
            server.replace(name, bytes.clone());
        }
        return;
    }
    for (seed, name) in (0_u64..).zip(&names) {
        let len = server.bytes(name).unwrap().len();
        let done = match bane {
            Bane::Rotten => server.flip(name, 3000 + seed as usize * 77),
            Bane::Beheaded => server.flip(name, seed as usize),
            Bane::Halved => server.truncate(name, len / 2),
            Bane::Emptied => server.truncate(name, 0),
            Bane::Rubbish => server.damage(name, |bytes| *bytes = noise(seed, len)),
            _ if seed % 2 == 0 => server.lose(name),
            _ => server.flip(name, len - 1),
        };
        assert!(done);
    }
}

#[tokio::test(start_paused = true)]
async fn p4_every_kind_of_damage_is_repaired_under_both_schemes() {
    for scheme in [Scheme::Shamir, Scheme::Compact] {
        for bane in BANES {
            for (k, n) in [(2, 3), (3, 5), (1, 3)] {
                let what = format!("{bane:?}, {k} of {n}, {scheme:?}");
                let mut lab = Lab::new(k, n).await;
                lab.options.scheme = scheme;
                let vault = lab.start().await;
                fill(&vault).await;
                let struck: Vec<usize> = (0..usize::from(n - k)).map(|place| place * 2).collect();
                let before: Vec<BTreeMap<_, _>> = lab
                    .servers
                    .iter()
                    .map(|server| server.everything().into_iter().collect())
                    .collect();
                for place in &struck {
                    strike(&lab.servers[*place], bane);
                }
                let report = check(&vault, true, true).await;
                assert_eq!(report.found, 5 * struck.len() as u64, "{what}");
                assert_eq!(report.recorded, report.found, "{what}");
                let plan = vault
                    .plan_repair(&ctx(), &RepairOptions::default())
                    .await
                    .unwrap();
                assert_eq!(plan.work().shares, report.found, "{what}: {plan:?}");
                assert!(
                    lab.servers
                        .iter()
                        .zip(&before)
                        .enumerate()
                        .all(|(place, (server, before))| struck.contains(&place)
                            || server.everything().into_iter().collect::<BTreeMap<_, _>>()
                                == *before)
                );
                let done = repair(&vault).await;
                assert_eq!(
                    (done.shares(), done.left),
                    (report.found, 0),
                    "{what}: {done:?}"
                );
                let wiped = matches!(bane, Bane::Wiped);
                assert_eq!(done.key_pieces.len(), if wiped { struck.len() } else { 0 });
                let there = !matches!(bane, Bane::Wiped | Bane::Mixed);
                assert!(!there || done.replaced == report.found, "{what}: {done:?}");
                let sent: u64 = done.made.values().map(|work| work.bytes).sum();
                assert_eq!(sent, plan.work().bytes, "{what}");
                assert_whole(&lab, &vault, &what).await;
                for (place, (server, before)) in lab.servers.iter().zip(&before).enumerate() {
                    let after: BTreeMap<_, _> = server.everything().into_iter().collect();
                    assert!(after.keys().eq(before.keys()), "{what}: the same names");
                    if !struck.contains(&place) {
                        assert!(after == *before, "{what}: a good server is left alone");
                    }
                    let name = ObjectKey::vault_object(FIRST_GENERATION);
                    assert_eq!(after.get(&name), before.get(&name), "{what}: its key piece");
                }
                assert_eq!(vault.memory_in_use().bytes, 0, "{what}: nothing was joined");
                // Any k servers serve, those repaired before all others.
                for (place, faults) in lab.faults.iter().enumerate() {
                    if !struck.contains(&place) && place >= struck.len() + usize::from(k) {
                        faults.set(State::Gone);
                    }
                }
                assert_files(&lab.start().await, &what).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p4_a_lying_helper_is_named_replaced_and_made_good() {
    for lie in [Lie::FlipsBits, Lie::CutsOff] {
        let lab = Lab::new(2, 4).await;
        let vault = lab.start().await;
        fill(&vault).await;
        strike(&lab.servers[0], Bane::Wiped);
        check(&vault, false, true).await;
        // The quickest of all lies.
        lab.faults[1].tell(lie.clone());
        for slow in [2, 3] {
            lab.faults[slow].set_delay(Duration::from_millis(20));
        }
        let done = repair(&vault).await;
        assert_eq!(done.made["A"].shares, 5, "{done:?}");
        let named: Vec<_> = done.liars.iter().collect();
        assert_eq!(named, [(&("B".to_owned(), Fault::Corrupt), &5)], "{lie:?}");
        lab.heal();
        check(&vault, true, true).await;
        repair(&vault).await;
        assert_whole(&lab, &vault, &format!("{lie:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p4_what_a_helper_has_lost_is_made_in_the_same_repair() {
    let lab = Lab::new(2, 4).await;
    let vault = lab.start().await;
    fill(&vault).await;
    strike(&lab.servers[0], Bane::Wiped);
    check(&vault, false, true).await;
    for server in &lab.servers[1..2] {
        for name in shares(server).into_iter().step_by(2) {
            assert!(server.lose(&name));
        }
    }
    let done = repair(&vault).await;
    assert_eq!(done.left, 0, "{done:?}");
    assert!(done.liars.keys().all(|(_, fault)| *fault == Fault::Missing));
    let report = check(&vault, true, true).await;
    assert!(report.findings.iter().all(|finding| finding.server != "A"));
    repair(&vault).await;
    assert_whole(&lab, &vault, "after all").await;
}

#[tokio::test(start_paused = true)]
async fn p4_with_fewer_than_k_good_shares_nothing_is_touched_and_the_file_is_named() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", &noise(1, 9000)).await.unwrap();
    vault.sync().await.unwrap();
    strike(&lab.servers[0], Bane::Rotten);
    strike(&lab.servers[1], Bane::Rotten);
    let before: Vec<_> = lab.servers.iter().map(MemoryStore::everything).collect();
    let report = check(&vault, true, true).await;
    assert!(report.unreadable[0].lost);
    let done = repair(&vault).await;
    assert_eq!((done.shares(), done.left), (0, 2), "{done:?}");
    assert_eq!(done.unreadable.len(), 1, "{done:?}");
    let named = &done.unreadable[0];
    assert_eq!(
        (named.file.as_str(), named.needed, named.good),
        ("/f", 2, 1)
    );
    let after: Vec<_> = lab.servers.iter().map(MemoryStore::everything).collect();
    assert!(
        before == after,
        "damaged shares may still be of use to somebody"
    );
}

#[tokio::test(start_paused = true)]
async fn a_debt_whose_share_is_there_is_struck_off_without_a_write() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    fill(&vault).await;
    for record in lab.memory.extents(None, 100).await.unwrap() {
        let change = OwedChange {
            extent: record.extent,
            add: [index(1), index(2)].into_iter().collect(),
            remove: Default::default(),
        };
        lab.memory.change_owed(&[change]).await.unwrap();
    }
    let before: Vec<_> = lab.servers.iter().map(MemoryStore::everything).collect();
    let done = repair(&vault).await;
    assert_eq!(
        (done.shares(), done.found, done.left),
        (0, 10, 0),
        "{done:?}"
    );
    let after: Vec<_> = lab.servers.iter().map(MemoryStore::everything).collect();
    assert!(before == after);
    assert_whole(&lab, &vault, "struck off").await;
}

#[tokio::test(start_paused = true)]
async fn servers_that_take_nothing_are_named_and_the_others_get_theirs() {
    for state in [
        State::Full,
        State::ReadOnly,
        State::Failing,
        State::Gone,
        State::Hung,
    ] {
        let lab = Lab::new(2, 4).await;
        let vault = lab.start().await;
        fill(&vault).await;
        strike(&lab.servers[0], Bane::Wiped);
        strike(&lab.servers[3], Bane::Wiped);
        check(&vault, false, true).await;
        lab.faults[0].set(state);
        let done = repair(&vault).await;
        assert_eq!(
            (done.made["D"].shares, done.left),
            (5, 5),
            "{state:?}: {done:?}"
        );
        let faults: Vec<_> = done
            .faults
            .iter()
            .map(|fault| fault.server.as_str())
            .collect();
        assert!(faults.contains(&"A"), "{state:?}: {faults:?}");
        lab.heal();
        repair(&vault).await;
        assert_whole(&lab, &vault, &format!("{state:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p4_what_is_most_at_risk_comes_first() {
    let lab = Lab::new(2, 5).await;
    let vault = lab.start().await;
    for file in 0..40 {
        put(&vault, &format!("f{file}"), &noise(file, 5000))
            .await
            .unwrap();
    }
    vault.sync().await.unwrap();
    let records = lab.memory.extents(None, 100).await.unwrap();
    let key = lab.key().await;
    let object = |server: usize, place: usize| -> ObjectKey {
        let (extent, generation) = (records[place].extent, records[place].generation);
        key.object_name(lab.ids[server], extent, generation).into()
    };
    for place in 0..40 {
        for server in 0..1 + place % 3 {
            assert!(lab.servers[server].lose(&object(server, place)));
        }
    }
    check(&vault, false, true).await;
    let options = RepairOptions {
        at_once: 1,
        ..RepairOptions::default()
    };
    let standing = Mutex::new(Vec::new());
    vault
        .repair(&ctx(), &options, &|at| {
            let left = |server: usize| {
                (0..40)
                    .filter(|place| lab.servers[server].bytes(&object(server, *place)).is_none())
                    .count()
            };
            standing
                .lock()
                .unwrap()
                .push((at.extents_done, left(0), left(2)));
        })
        .await
        .unwrap();
    // The 13 extents that lack three shares are done before any that lacks one.
    let standing = standing.into_inner().unwrap();
    let done = standing.iter().find(|(_, _, third)| *third == 0).unwrap();
    assert!(done.0 <= 13 + 1 && done.1 >= 40 - 13 - 1, "{done:?}");
    assert_whole(&lab, &vault, "in the end").await;
}

#[tokio::test(start_paused = true)]
async fn a_speed_limit_is_kept_and_progress_is_told() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    for file in 0..20 {
        put(&vault, &format!("f{file}"), &noise(file, 100_000))
            .await
            .unwrap();
    }
    vault.sync().await.unwrap();
    strike(&lab.servers[0], Bane::Wiped);
    check(&vault, false, true).await;
    let plan = vault
        .plan_repair(&ctx(), &RepairOptions::default())
        .await
        .unwrap();
    let bytes = plan.work().bytes;
    assert_eq!(plan.by_risk, BTreeMap::from([(2, 20)]));
    let options = RepairOptions {
        limit: Some(bytes / 10),
        ..RepairOptions::default()
    };
    let last = Mutex::new(None);
    let begin = tokio::time::Instant::now();
    vault
        .repair(&ctx(), &options, &|at| *last.lock().unwrap() = Some(at))
        .await
        .unwrap();
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_secs(9) && took < Duration::from_secs(12),
        "{took:?}"
    );
    let last = last.into_inner().unwrap().unwrap();
    assert_eq!((last.extents_done, last.extents), (20, 20));
    assert_eq!((last.bytes_done, last.bytes), (bytes, bytes));
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_repair_goes_on_where_it_was() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    for file in 0..60 {
        put(&vault, &format!("f{file}"), &noise(file, 50_000))
            .await
            .unwrap();
    }
    vault.sync().await.unwrap();
    strike(&lab.servers[0], Bane::Wiped);
    check(&vault, false, true).await;
    lab.servers[0].reset_calls();
    let options = RepairOptions {
        limit: Some(200_000),
        at_once: 2,
        ..RepairOptions::default()
    };
    let mut turns = 0;
    while lab.memory.usage().await.unwrap().owed_shares > 0 {
        turns += 1;
        let (me, nothing) = (ctx(), |_| ());
        let half = vault.repair(&me, &options, &nothing);
        let _cut = tokio::time::timeout(Duration::from_secs(5), half).await;
    }
    assert!((3..10).contains(&turns), "{turns}");
    let puts = lab.servers[0].calls(Method::Put);
    assert!(puts < 60 + 1 + turns * 12, "{puts} puts for 60 shares");
    assert_whole(&lab, &vault, "in the end").await;
}

/// One repairer's death, and the repair after it.
fn one_death(death: Option<Death>, power: bool, deep: bool) -> Option<u64> {
    let lab = live(async {
        let lab = Lab::new(2, 4).await;
        let vault = lab.start().await;
        put(&vault, "f", &noise(1, 9000)).await.unwrap();
        put(&vault, "g", &noise(2, 5000)).await.unwrap();
        vault.sync().await.unwrap();
        strike(&lab.servers[0], Bane::Wiped);
        strike(
            &lab.servers[2],
            if deep { Bane::Rotten } else { Bane::Halved },
        );
        lab
    });
    let recorded = std::cell::Cell::new(false);
    let calls = live(async {
        let vault = lab.start().await;
        lab.world.revive();
        death.into_iter().for_each(|death| lab.world.die(death));
        tokio::select! {
            () = async {
                check(&vault, deep, true).await;
                recorded.set(true);
                repair(&vault).await;
            } => Some(lab.world.calls()),
            () = lab.world.dead() => None,
        }
    });
    lab.world.revive();
    if power {
        lab.power_cut();
    }
    live(async {
        let vault = lab.start().await;
        for (file, seed, len) in [("f", 1, 9000), ("g", 2, 5000)] {
            same(&get(&vault, file).await.unwrap(), &noise(seed, len), file);
        }
        let report = check(&vault, true, false).await;
        if recorded.get() && !power {
            let unknown = report.findings.iter().filter(|finding| !finding.owed);
            assert_eq!(unknown.count(), 0, "what is not good is owed: {report:?}");
        }
        assert!(
            report
                .findings
                .iter()
                .all(|finding| ["A", "C"].contains(&finding.server.as_str())),
            "good shares stay good: {report:?}"
        );
        check(&vault, true, true).await;
        repair(&vault).await;
        assert_whole(&lab, &vault, "after the second repair").await;
    });
    calls
}

#[test]
fn p4_p5_a_repair_cut_off_at_every_step_loses_nothing_and_is_begun_again() {
    for deep in [false, true] {
        let calls = one_death(None, false, deep).unwrap();
        assert!(calls > 30, "{calls} calls are too few to be true");
        for call in 1..=calls {
            for death in [Death::Before(call), Death::After(call)] {
                for power in [false, true] {
                    let what = format!("deep: {deep}, {death:?} of {calls}, power cut: {power}");
                    let died = std::panic::catch_unwind(|| one_death(Some(death), power, deep));
                    died.unwrap_or_else(|_| panic!("{what}"));
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_extent_that_vanishes_meanwhile_leaves_nothing() {
    let mut lab = Lab::new(2, 3).await;
    lab.options.settle_every = Duration::from_secs(100_000);
    let vault = lab.start().await;
    lab.faults[0].set(State::Gone);
    put(&vault, "f", &noise(1, 9000)).await.unwrap();
    put(&vault, "f", &noise(2, 9000)).await.unwrap();
    lab.heal();
    lab.faults[0].set_delay(Duration::from_secs(1));
    let newest = lab.memory.unsettled(10).await.unwrap().pop().unwrap();
    let audit = AuditEntry {
        at: newest.saved_at,
        context: ctx(),
        act: Act::Revert,
        node: None,
        detail: String::new(),
    };
    let write = Write {
        audit,
        durability: Durability::Now,
    };
    let revert = async {
        // While its share is on the way.
        while lab.faults[0].calls(Method::Put) < 6 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        lab.memory
            .revert(newest.document, newest.number, write)
            .await
            .unwrap();
    };
    let (done, ()) = tokio::join!(repair(&vault), revert);
    assert_eq!((done.vanished, done.left), (1, 0), "{done:?}");
    for place in 0..3 {
        assert_eq!(lab.orphans(place).await, [], "server {place}");
    }
    lab.heal();
    same(
        &get(&lab.start().await, "f").await.unwrap(),
        &noise(1, 9000),
        "f",
    );
}

#[tokio::test(start_paused = true)]
async fn p4_a_repair_beside_saves_renames_and_removals_and_another_repair() {
    for seed in 0..6 {
        let lab = Lab::new(2, 4).await;
        let (one, other) = (lab.start().await, lab.start().await);
        for file in 0..30 {
            put(&one, &format!("f{file}"), &noise(file, 6000))
                .await
                .unwrap();
        }
        one.sync().await.unwrap();
        let mut dice = Dice::new(seed);
        for (place, faults) in lab.faults.iter().enumerate() {
            faults.set_delay(Duration::from_millis(1 + dice.roll(4) + place as u64));
        }
        strike(&lab.servers[0], Bane::Mixed);
        let work = async {
            for turn in 0..40 {
                let file = format!("f{}", dice.roll(30));
                match dice.roll(4) {
                    0 => {
                        let name = crate::common::name(&file);
                        let _ = one
                            .remove(&ctx(), warifu_vault::node::NodeId::ROOT, &name)
                            .await;
                    }
                    1 => {
                        let (from, to) = (
                            crate::common::name(&file),
                            crate::common::name(&format!("f{}", dice.roll(30))),
                        );
                        let root = warifu_vault::node::NodeId::ROOT;
                        let mode = warifu_vault::seam::catalog::RenameMode::Replace;
                        let _ = one.rename(&ctx(), (root, &from), (root, &to), mode).await;
                    }
                    _ => put(&one, &file, &noise(1000 + turn, 7000)).await.unwrap(),
                }
            }
        };
        let mend = async |vault: &Vault| {
            for _ in 0..3 {
                check(vault, true, true).await;
                repair(vault).await;
            }
        };
        tokio::join!(work, mend(&one), mend(&other));
        one.sync().await.unwrap();
        lab.heal();
        check(&one, true, true).await;
        repair(&one).await;
        let what = format!("seed {seed}");
        assert_whole(&lab, &one, &what).await;
        for file in crate::common::names(&one).await {
            get(&one, &file).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p4_debts_are_paid_by_themselves_when_the_server_answers_again() {
    for (state, vain, soon) in [
        // One that is silent is not asked at all: somebody else looks whether it answers again.
        (State::Gone, 0..1, 90),
        // One that answers and takes nothing is tried further and further apart.
        (State::Full, 3..20, 620),
    ] {
        let mut lab = Lab::new(2, 3).await;
        lab.options.upkeep = Upkeep::default();
        let vault = lab.start().await;
        lab.faults[2].set(state);
        fill(&vault).await;
        assert_eq!(lab.memory.usage().await.unwrap().owed_shares, 5);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let before = lab.faults[2].calls(Method::Put);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let tried = lab.faults[2].calls(Method::Put) - before;
        assert!(
            vain.contains(&tried),
            "{state:?}: {tried} attempts in an hour"
        );
        assert_eq!(lab.memory.usage().await.unwrap().owed_shares, 5);
        lab.heal();
        let begin = tokio::time::Instant::now();
        while lab.memory.usage().await.unwrap().owed_shares > 0 {
            assert!(
                begin.elapsed() < Duration::from_secs(soon),
                "{state:?}: nobody pays"
            );
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let report = check(&vault, true, false).await;
        assert!(report.is_clean(), "{:?}", report.findings);
        let log = lab.memory.audit(0, 1000).await.unwrap();
        let paid = log.iter().filter(|row| row.entry.act == Act::Repair);
        assert!(paid.count() > 0, "it is in the log");
        assert!(vault.shutdown(&ctx()).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_under_work_is_paid_soon() {
    let mut lab = Lab::new(2, 3).await;
    lab.options.upkeep = Upkeep::default();
    let vault = lab.start().await;
    lab.faults[1].set(State::Gone);
    put(&vault, "f", &noise(1, 5000)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    lab.heal();
    // A save speaks with every server, and so it shows.
    put(&vault, "g", &noise(2, 5000)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(lab.memory.usage().await.unwrap().owed_shares, 0);
    assert!(check(&vault, true, false).await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_place_that_has_lost_its_piece_of_the_key_is_not_filled_unasked() {
    let mut lab = Lab::new(2, 3).await;
    lab.options.upkeep = Upkeep::default();
    let vault = lab.start().await;
    put(&vault, "f", &noise(1, 5000)).await.unwrap();
    vault.sync().await.unwrap();
    lab.servers[1].wipe();
    check(&vault, false, true).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(lab.servers[1].names().is_empty());
    repair(&vault).await;
    assert_whole(&lab, &vault, "asked for").await;
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_check_goes_on_and_says_the_same_in_the_end() {
    for deep in [false, true] {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        for file in 0..2500 {
            put(&vault, &format!("f{file}"), &noise(file, 100))
                .await
                .unwrap();
        }
        vault.sync().await.unwrap();
        for name in shares(&lab.servers[1]).into_iter().step_by(50) {
            assert!(lab.servers[1].truncate(&name, 100));
        }
        let whole = check(&vault, deep, false).await;
        assert_eq!((whole.extents, whole.found), (2500, 50));
        let kept: Mutex<Option<Vec<u8>>> = Mutex::default();
        let parts = Mutex::new(Vec::new());
        vault
            .check(&ctx(), Check::new(deep), &|at| {
                kept.lock()
                    .unwrap()
                    .get_or_insert_with(|| at.checkpoint.to_bytes());
                parts.lock().unwrap().push(at.part);
            })
            .await
            .unwrap();

        let parts = parts.into_inner().unwrap();
        assert!(
            parts.is_sorted() && (0.3..0.5).contains(&parts[0]),
            "{parts:?}"
        );
        let kept = Checkpoint::from_bytes(&kept.into_inner().unwrap().unwrap()).unwrap();
        assert_eq!((kept.extents(), kept.is_deep()), (1000, deep));
        lab.servers.iter().for_each(MemoryStore::reset_calls);
        let rest = Check {
            resume: Some(kept.clone()),
            ..Check::new(deep)
        };
        let rest = vault.check(&ctx(), rest, &|_| ()).await.unwrap();
        if deep {
            let read = lab.servers[0].calls(Method::Get);
            assert!((1500..1600).contains(&read), "{read}");
        }
        assert_eq!(rest.servers, whole.servers);
        let sorted = |report: &VerifyReport| {
            let mut files: Vec<_> = report.findings.iter().map(|f| f.file.clone()).collect();
            files.sort();
            files
        };
        assert_eq!(sorted(&rest), sorted(&whole));
        assert_eq!((rest.extents, rest.found), (2500, 50));
        // What was a quick check says nothing of what is inside.
        let deeper = Check {
            resume: Some(kept),
            ..Check::new(true)
        };
        lab.servers.iter().for_each(MemoryStore::reset_calls);
        vault.check(&ctx(), deeper, &|_| ()).await.unwrap();
        assert!(deep || lab.servers[0].calls(Method::Get) == 2500);
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_findings_are_kept_and_all_are_counted() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    for file in 0..30 {
        put(&vault, &format!("f{file}"), &noise(file, 100))
            .await
            .unwrap();
    }
    vault.sync().await.unwrap();
    lab.servers[0].wipe();
    let few = Check {
        keep: 7,
        record: true,
        ..Check::new(false)
    };
    let report = vault.check(&ctx(), few, &|_| ()).await.unwrap();
    assert_eq!(
        (report.findings.len(), report.found, report.recorded),
        (7, 30, 30)
    );
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn p4_a_lost_server_is_replaced_by_an_empty_one_with_the_same_piece_of_the_key() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    fill(&vault).await;
    let lost = lab.servers[1].snapshot();
    lab.faults[1].set(State::Gone);
    let piece = vault.key_piece_for(index(2)).await.unwrap();
    assert_eq!(vault.owe_all(&ctx(), index(2), &|_| ()).await.unwrap(), 5);
    assert!(vault.shutdown(&ctx()).await.is_empty());
    // Another disk in its place.
    let empty = MemoryStore::new();
    let name = ObjectKey::vault_object(FIRST_GENERATION);
    empty.put_new(&name, piece, Durability::Now).await.unwrap();
    lab.servers[1].roll_back(&empty.snapshot());
    lab.heal();
    let vault = lab.start().await;
    repair(&vault).await;
    assert_whole(&lab, &vault, "replaced").await;
    assert_files(&vault, "replaced").await;
    let old = MemoryStore::new();
    old.roll_back(&lost);
    assert_eq!(
        old.bytes(&name),
        lab.servers[1].bytes(&name),
        "the old disk and the new one are one share"
    );
}

/// The context in the log is that of whoever repaired.
#[tokio::test(start_paused = true)]
async fn p9_a_repair_is_in_the_audit_log() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    fill(&vault).await;
    lab.servers[0].wipe();
    check(&vault, false, true).await;
    repair(&vault).await;
    let log = lab.memory.audit(0, 1000).await.unwrap();
    let of = |act| -> Vec<&Context> {
        let rows = log.iter().filter(|row| row.entry.act == act);
        rows.map(|row| &row.entry.context).collect()
    };
    assert_eq!(of(Act::Repair), [&ctx(), &ctx()]);
    assert_eq!(of(Act::Verify), [&ctx()]);
}

//! P4, P5: a repair that is cut off at any step, goes on, and does its work beside others.

use std::time::Duration;

use warifu_testkit::stores::{Method, State};
use warifu_testkit::world::Death;
use warifu_vault::Vault;
use warifu_vault::context::{Act, AuditEntry};
use warifu_vault::node::NodeId;
use warifu_vault::repair::RepairOptions;
use warifu_vault::seam::catalog::{Catalog, Durability, RenameMode, Write};

use crate::common::{Dice, Lab, ctx, get, live, name, names, noise, put, same};
use crate::repair::{Bane, assert_whole, check, repair, strike};

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
    let before = lab.faults[0].calls(Method::Put);
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
        // While its share is on the way, which is the second of the two.
        while lab.faults[0].calls(Method::Put) < before + 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        lab.memory
            .revert(newest.document, newest.number, write)
            .await
            .unwrap();
    };
    let (done, ()) = tokio::join!(repair(&vault), revert);
    assert_eq!((done.vanished, done.left), (1, 0), "{done:?}");
    lab.heal();
    // A server that was too slow to remove it at once is asked again by a later sweep.
    lab.let_leases_end();
    let vault = lab.start().await;
    for place in 0..3 {
        assert_eq!(lab.orphans(place).await, [], "server {place}");
    }
    same(&get(&vault, "f").await.unwrap(), &noise(1, 9000), "f");
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
                        let file = name(&file);
                        let _ = one.remove(&ctx(), NodeId::ROOT, &file).await;
                    }
                    1 => {
                        let (from, to) = (name(&file), name(&format!("f{}", dice.roll(30))));
                        let root = NodeId::ROOT;
                        let mode = RenameMode::Replace;
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
        for file in names(&one).await {
            get(&one, &file).await.unwrap();
        }
    }
}

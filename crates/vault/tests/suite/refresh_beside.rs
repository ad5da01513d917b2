//! P4, P5: a refresh beside other refreshes, repairs and saves, with servers that come and go, cut off at every step.

use std::time::Duration;

use warifu_core::ids::VersionNo;
use warifu_testkit::catalogs::CatalogFault;
use warifu_testkit::stores::{Method, State, Trouble};
use warifu_testkit::world::Death;
use warifu_vault::repair::{GRACE, RepairOptions};
use warifu_vault::seam::store::StoreErrorKind;
use warifu_vault::verify::Check;
use warifu_vault::{Vault, VaultError};

use crate::common::{Lab, ctx, get, live, noise, put, same, stat};
use crate::refresh::{assert_unlocks, refresh};
use crate::refresh_safety::{FILES, assert_few, few, refresh_in, sweep};

/// Two processes refresh, a third one saves and reads, a fourth one checks and repairs.
#[tokio::test(start_paused = true)]
async fn p4_two_refreshes_a_repair_and_saves_at_a_time() {
    for seed in 0..6 {
        let lab = Lab::new(2, 4).await;
        let one = few(&lab).await;
        let (two, three, four) = (lab.start().await, lab.start().await, lab.start().await);
        for (place, faults) in lab.faults.iter().enumerate() {
            faults.set_delay(Duration::from_millis(1 + (seed + place as u64) % 4));
        }
        if seed % 2 == 1 {
            // It missed some shares, which the repair makes while they get another generation.
            lab.faults[3].set(State::Gone);
            for file in 0..FILES {
                let bytes = noise(file, 4000);
                put(&three, &format!("f{file}"), &bytes).await.unwrap();
            }
            lab.faults[3].set(State::Well);
        }
        let working = async {
            for turn in 0..12 {
                put(&three, "busy", &noise(turn, 5000)).await.unwrap();
                assert_few(&three, &format!("{seed}, turn {turn}")).await;
            }
        };
        let repairing = async {
            for _ in 0..3 {
                let mut check = Check::new(true);
                check.record = true;
                four.check(&ctx(), check, &|_| ()).await.unwrap();
                let options = RepairOptions::default();
                four.repair(&ctx(), &options, &|_| ()).await.unwrap();
                four.orphans(&ctx(), GRACE, true).await.unwrap();
            }
        };
        let refreshes = async |vault: &Vault| {
            for _ in 0..3 {
                match refresh_in(vault, 2).await {
                    Ok(_) | Err(VaultError::NotStored { .. }) => {}
                    Err(error) => panic!("{seed}: {error:?}"),
                }
            }
        };
        tokio::join!(working, repairing, refreshes(&one), refreshes(&two));
        assert_few(&two, &format!("{seed}: after it")).await;
        lab.heal();
        for vault in [one, two, three, four] {
            vault.shutdown(&ctx()).await;
        }
        let vault = sweep(&lab).await;
        let options = RepairOptions::default();
        vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
        let report = refresh(&vault).await;
        assert!(report.status.is_complete(), "{seed}: {report:?}");
        assert_few(&vault, &format!("{seed}: in the end")).await;
        same(
            &get(&vault, "busy").await.unwrap(),
            &noise(11, 5000),
            "busy",
        );
        vault.shutdown(&ctx()).await;
        lab.assert_tidy(&format!("{seed}: in the end")).await;
        assert_unlocks(&lab, &format!("{seed}: in the end")).await;
    }
}

/// One of two processes that refresh dies, at any moment.
#[tokio::test(start_paused = true)]
async fn p4_one_of_two_refreshes_dies() {
    for after in (0..120).step_by(7) {
        let lab = Lab::new(2, 3).await;
        let (one, two) = (few(&lab).await, lab.start().await);
        for faults in &lab.faults {
            faults.set_delay(Duration::from_millis(2));
        }
        let dying = async {
            let limit = Duration::from_millis(after);
            let _cut = tokio::time::timeout(limit, refresh_in(&two, 1)).await;
        };
        let (report, ()) = tokio::join!(refresh_in(&one, 2), dying);
        let what = format!("after {after} ms: {report:?}");
        assert_few(&one, &what).await;
        lab.heal();
        drop((one, two));
        let vault = sweep(&lab).await;
        assert_few(&vault, &what).await;
        let report = refresh(&vault).await;
        assert!(report.status.is_complete(), "{what}: {report:?}");
        vault.shutdown(&ctx()).await;
        lab.assert_tidy(&what).await;
        assert_unlocks(&lab, &what).await;
    }
}

/// One client's death in a refresh with a second pass, and the refresh after it.
fn one_death(death: Option<Death>, power: bool) -> Option<u64> {
    let lab = live(async {
        let lab = Lab::new(2, 3).await;
        few(&lab).await.shutdown(&ctx()).await;
        lab
    });
    let calls = live(async {
        let vault = lab.start().await;
        lab.world.revive();
        let failed = Trouble::Refused(StoreErrorKind::Failed);
        lab.faults[2].plan(Method::Sync, 1, failed);
        lab.faults[0].plan(Method::Delete, 3, Trouble::LostReply);
        death.into_iter().for_each(|death| lab.world.die(death));
        tokio::select! {
            _ = refresh_in(&vault, 3) => Some(lab.world.calls()),
            () = lab.world.dead() => None,
        }
    });
    lab.world.revive();
    lab.heal();
    if power {
        lab.power_cut();
    }
    live(async {
        assert_unlocks(&lab, "at the moment of death").await;
        let vault = lab.start().await;
        assert_few(&vault, "at the start").await;
        drop(vault);
        let vault = sweep(&lab).await;
        assert_few(&vault, "after the sweep").await;
        let report = refresh(&vault).await;
        assert!(report.status.is_complete(), "{report:?}");
        assert_few(&vault, "after the second refresh").await;
        if power {
            vault.orphans(&ctx(), GRACE, true).await.unwrap();
        }
        vault.shutdown(&ctx()).await;
        lab.assert_tidy("after the second refresh").await;
        assert_unlocks(&lab, "after the second refresh").await;
    });
    calls
}

#[test]
fn p4_p5_a_second_pass_cut_off_at_every_step_loses_nothing() {
    let calls = one_death(None, false).unwrap();
    assert!(calls > 80, "{calls} calls are too few to be true");
    for call in 1..=calls {
        for (death, power) in [
            (Death::Before(call), call % 2 == 0),
            (Death::After(call), call % 2 == 1),
        ] {
            let what = format!("{death:?} of {calls}, power cut: {power}");
            let died = std::panic::catch_unwind(|| one_death(Some(death), power));
            died.unwrap_or_else(|_| panic!("{what}"));
        }
    }
}

/// A server is away during a refresh while saves go on, and comes back during the next one.
#[tokio::test(start_paused = true)]
async fn p4_a_server_away_during_one_refresh_comes_back_during_the_next() {
    for back_after in (0..60).step_by(6) {
        let lab = Lab::new(2, 4).await;
        let vault = few(&lab).await;
        for faults in &lab.faults {
            faults.set_delay(Duration::from_millis(2));
        }
        lab.faults[3].set(State::Gone);
        let saving = async {
            for turn in 0..6 {
                put(&vault, "busy", &noise(turn, 5000)).await.unwrap();
            }
        };
        let (report, ()) = tokio::join!(refresh_in(&vault, 2), saving);
        report.unwrap();
        let back = async {
            tokio::time::sleep(Duration::from_millis(back_after)).await;
            lab.faults[3].set(State::Well);
        };
        let (report, ()) = tokio::join!(refresh_in(&vault, 2), back);
        let what = format!("back after {back_after} ms: {report:?}");
        lab.heal();
        assert_few(&vault, &what).await;
        vault.sync().await.unwrap();
        vault.shutdown(&ctx()).await;
        drop(vault);
        let vault = sweep(&lab).await;
        let options = RepairOptions::default();
        vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
        let report = refresh(&vault).await;
        assert!(report.status.is_complete(), "{what}: {report:?}");
        assert_few(&vault, &what).await;
        same(&get(&vault, "busy").await.unwrap(), &noise(5, 5000), "busy");
        vault.shutdown(&ctx()).await;
        lab.assert_tidy(&what).await;
        assert_unlocks(&lab, &what).await;
    }
}

/// The newest version of everything can be read while the catalogue's answers are lost one after the other.
#[tokio::test(start_paused = true)]
async fn p4_answers_of_the_catalogue_lost_in_a_second_pass() {
    for nth in 1..16 {
        let lab = Lab::new(2, 3).await;
        let vault = few(&lab).await;
        let failed = Trouble::Refused(StoreErrorKind::Failed);
        lab.faults[2].plan(Method::Sync, 1, failed);
        let fault = if nth % 2 == 0 {
            CatalogFault::LostReply
        } else {
            CatalogFault::NoAnswer
        };
        lab.catalog.fail_write(nth, fault);
        let told = refresh_in(&vault, 2).await;
        lab.heal();
        let what = format!("write {nth}: {told:?}");
        assert_few(&vault, &what).await;
        drop(vault);
        let vault = sweep(&lab).await;
        assert_few(&vault, &what).await;
        let report = refresh(&vault).await;
        assert!(report.status.is_complete(), "{what}: {report:?}");
        let node = stat(&vault, "f1").await.node;
        let version = vault.open_version(&ctx(), node, VersionNo(1)).await;
        version.unwrap().release(&ctx()).await.unwrap();
        vault.shutdown(&ctx()).await;
        lab.assert_tidy(&what).await;
    }
}

//! P4, P5, P7: a refresh that is cut off at any step, and a catalogue that is lost in the middle of one.

use warifu_testkit::world::Death;
use warifu_vault::repair::GRACE;
use warifu_vault::verify::Check;

use crate::common::{EXTENT, Lab, ctx, get, live, noise, put, same};
use crate::rebuild::{choices, from_servers};
use crate::refresh::{assert_unlocks, extents, generations, refresh};

/// One client's death, and the refresh after it.
fn one_death(death: Option<Death>, power: bool) -> Option<u64> {
    let lab = live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        put(&vault, "f", &noise(1, 9000)).await.unwrap();
        put(&vault, "g", &noise(2, 5000)).await.unwrap();
        vault.sync().await.unwrap();
        lab
    });
    let calls = live(async {
        let vault = lab.start().await;
        lab.world.revive();
        death.into_iter().for_each(|death| lab.world.die(death));
        tokio::select! {
            _ = refresh(&vault) => Some(lab.world.calls()),
            () = lab.world.dead() => None,
        }
    });
    lab.world.revive();
    if power {
        lab.power_cut();
    }
    live(async {
        assert_unlocks(&lab, "at the moment of death").await;
        let vault = lab.start().await;
        for (file, seed, len) in [("f", 1, 9000), ("g", 2, 5000)] {
            same(&get(&vault, file).await.unwrap(), &noise(seed, len), file);
        }
        let report = vault
            .check(&ctx(), Check::new(true), &|_| ())
            .await
            .unwrap();
        assert!(
            report.is_clean(),
            "no share of the catalogue's generation is missing: {report:?}"
        );
        lab.let_leases_end();
        let vault = lab.start().await;
        let report = refresh(&vault).await;
        assert!(report.status.is_complete(), "{report:?}");
        for (file, seed, len) in [("f", 1, 9000), ("g", 2, 5000)] {
            same(&get(&vault, file).await.unwrap(), &noise(seed, len), file);
        }
        if power {
            // What had been removed and came back by the power cut is of an older generation, and due.
            vault.orphans(&ctx(), GRACE, true).await.unwrap();
        }
        vault.shutdown(&ctx()).await;
        lab.assert_tidy("after the second refresh").await;
        assert_unlocks(&lab, "after the second refresh").await;
        let records = extents(&lab).await;
        let wanted = generations(&lab).await.wanted;
        assert!(records.iter().all(|record| record.generation >= wanted));
    });
    calls
}

#[test]
fn p4_p5_a_refresh_cut_off_at_every_step_loses_nothing_and_is_gone_on_with() {
    let calls = one_death(None, false).unwrap();
    assert!(calls > 40, "{calls} calls are too few to be true");
    for call in 1..=calls {
        for death in [Death::Before(call), Death::After(call)] {
            for power in [false, true] {
                let what = format!("{death:?} of {calls}, power cut: {power}");
                let died = std::panic::catch_unwind(|| one_death(Some(death), power));
                died.unwrap_or_else(|_| panic!("{what}"));
            }
        }
    }
}

/// The catalogue is lost in the middle of a refresh: any k servers give the vault back.
fn rebuilt_after(death: Option<Death>) -> Option<u64> {
    let lab = live(async {
        let lab = Lab::with_journal(2, 3).await;
        let vault = lab.start().await;
        put(&vault, "f", &noise(1, 9000)).await.unwrap();
        put(&vault, "g", &noise(2, EXTENT + 500)).await.unwrap();
        vault.shutdown(&ctx()).await;
        lab
    });
    let mut quiet = lab;
    quiet.options.journal = false;
    let calls = live(async {
        let vault = quiet.start().await;
        quiet.world.revive();
        death.into_iter().for_each(|death| quiet.world.die(death));
        tokio::select! {
            _ = refresh(&vault) => Some(quiet.world.calls()),
            () = quiet.world.dead() => None,
        }
    });
    quiet.world.revive();
    for set in choices(2, 3) {
        live(async {
            let (catalog, report) = from_servers(&quiet, &set).await;
            assert!(report.lost.is_empty(), "{set:?}: {report:?}");
            let backup = quiet.memory.backup();
            quiet.take_over(catalog);
            let vault = quiet.start().await;
            for (file, seed, len) in [("f", 1, 9000), ("g", 2, EXTENT + 500)] {
                let read = get(&vault, file).await.unwrap();
                same(&read, &noise(seed, len), &format!("{set:?}: {file}"));
            }
            quiet.take_over(backup);
        });
    }
    calls
}

#[test]
fn p7_a_rebuild_in_the_middle_of_a_refresh_and_after_it() {
    let calls = rebuilt_after(None).unwrap();
    for call in (1..=calls).step_by(3) {
        let what = format!("{call} of {calls}");
        let died = std::panic::catch_unwind(|| rebuilt_after(Some(Death::After(call))));
        died.unwrap_or_else(|_| panic!("{what}"));
    }
}

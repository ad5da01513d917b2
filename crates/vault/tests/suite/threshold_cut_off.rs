//! P1, P4, P5: a change of the threshold that is cut off at any step, while a drive goes on.

use std::time::Duration;

use warifu_core::ids::ExtentId;
use warifu_testkit::world::Death;
use warifu_vault::repair::{GRACE, RepairOptions};
use warifu_vault::seam::catalog::Catalog as _;
use warifu_vault::verify::Check;

use crate::common::{Lab, ctx, get, live, noise, put, same};
use crate::refresh::{assert_unlocks, refresh};
use crate::threshold::{assert_changed, assert_unlocks_without_one, threshold};

const FILES: [(&str, u64, usize); 2] = [("f", 1, 9000), ("g", 2, 5000)];

/// What happens between a death and the next change.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Nothing,
    PowerCut,
    /// The catalogue lets go one of the extents that the dead client was at, as a checkpoint does with segments of the journal.
    LetGo,
}

/// As if each intent had named one extent more, which nobody knows now.
async fn let_go(lab: &Lab) {
    for intent in lab.catalog.intents().await.unwrap() {
        if let Some((_, generation)) = intent.extents.first() {
            let gone = [(ExtentId::fresh().unwrap(), *generation)];
            let lease = Duration::from_secs(600);
            let named = lab.catalog.extend_save(intent.save, &gone, lease);
            named.await.unwrap();
        }
    }
}

/// One client's death in a change from the one to the other, and the change after it.
fn one_death(from: (u8, u8), to: (u8, u8), death: Option<Death>, then: Then) -> Option<u64> {
    let power = then == Then::PowerCut;
    let mut lab = live(async {
        let lab = Lab::new(from.0, from.1).await;
        let vault = lab.start().await;
        for (file, seed, len) in FILES {
            put(&vault, file, &noise(seed, len)).await.unwrap();
        }
        vault.sync().await.unwrap();
        lab
    });
    let to = threshold(to.0, to.1);
    lab.change_to(to);
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
        if then == Then::LetGo {
            let_go(&lab).await;
        }
        assert_unlocks_without_one(&lab, "at the moment of death").await;
        let vault = lab.start().await;
        for (file, seed, len) in FILES {
            same(&get(&vault, file).await.unwrap(), &noise(seed, len), file);
        }
        let report = vault
            .check(&ctx(), Check::new(true), &|_| ())
            .await
            .unwrap();
        assert!(
            report.is_clean(),
            "no share of what the catalogue names is missing: {report:?}"
        );
        put(&vault, "h", &noise(3, 7000)).await.unwrap();
        vault.sync().await.unwrap();
        let report = refresh(&vault).await;
        let status = vault.finish_refresh(&ctx()).await.unwrap();
        assert!(
            power || status.is_complete(),
            "nobody waits for the leases of what is of before: {report:?}, {status:?}"
        );
        drop(vault);
        lab.let_leases_end();
        let vault = lab.start().await;
        let options = RepairOptions::default();
        vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
        vault.orphans(&ctx(), GRACE, true).await.unwrap();
        let status = vault.finish_refresh(&ctx()).await.unwrap();
        assert!(status.is_complete(), "{status:?}");
        for (file, seed, len) in FILES {
            same(&get(&vault, file).await.unwrap(), &noise(seed, len), file);
        }
        same(&get(&vault, "h").await.unwrap(), &noise(3, 7000), "h");
        vault.shutdown(&ctx()).await;
    });
    lab.changed();
    for server in lab.servers.iter().skip(to.n().into()) {
        assert_eq!(server.names(), [], "it has gone");
    }
    lab.forget_gone();
    live(async {
        assert_changed(&lab, to, "after the second change").await;
        assert_unlocks(&lab, "after the second change").await;
    });
    calls
}

fn at_every_step(from: (u8, u8), to: (u8, u8)) {
    let calls = one_death(from, to, None, Then::Nothing).unwrap();
    assert!(calls > 40, "{calls} calls are too few to be true");
    for call in 1..=calls {
        for death in [Death::Before(call), Death::After(call)] {
            for then in [Then::Nothing, Then::PowerCut, Then::LetGo] {
                let what = format!("{death:?} of {calls}, then {then:?}");
                let died = std::panic::catch_unwind(|| one_death(from, to, Some(death), then));
                died.unwrap_or_else(|_| panic!("{what}"));
            }
        }
    }
}

#[test]
fn p1_p5_more_servers_and_more_needed_cut_off_at_every_step() {
    at_every_step((2, 3), (3, 5));
}

#[test]
fn p1_p5_fewer_servers_and_fewer_needed_cut_off_at_every_step() {
    at_every_step((3, 4), (2, 3));
}

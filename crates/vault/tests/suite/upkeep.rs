//! P4: what a vault does by itself: debts are paid when their servers answer again.

use std::time::Duration;

use warifu_testkit::stores::{Method, State};
use warifu_vault::context::Act;
use warifu_vault::repair::Upkeep;
use warifu_vault::seam::catalog::Catalog;

use crate::common::{Lab, ctx, noise, put};
use crate::repair::{assert_whole, check, fill, repair};

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

//! P5: whom a save waits for, and what becomes of answers that come late or never.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use warifu_core::ids::ExtentId;
use warifu_testkit::stores::{Method, State, Trouble};
use warifu_vault::Vault;
use warifu_vault::seam::catalog::Catalog;
use warifu_vault::seam::store::StoreErrorKind;

use crate::common::{EXTENT, Lab, ctx, get, noise, open, put, same, stat};

const MS: Duration = Duration::from_millis(1);

/// The indices owed by the newest version of a file, and its head.
async fn owed(lab: &Lab, vault: &Vault, file: &str) -> (Vec<u8>, ExtentId) {
    let node = stat(vault, file).await.node;
    let head = lab.memory.current(node).await.unwrap().0.head.unwrap();
    let record = lab.memory.extent(head).await.unwrap().unwrap();
    let owed = record.owed.iter().map(|index| index.get()).collect();
    (owed, head)
}

async fn timed_put(vault: &Vault, file: &str, bytes: &[u8]) -> Duration {
    let begin = Instant::now();
    put(vault, file, bytes).await.unwrap();
    begin.elapsed()
}

#[tokio::test(start_paused = true)]
async fn p5_with_all_servers_well_a_save_is_on_all_of_them_when_close_returns() {
    for (k, n) in [(2, 4), (3, 5), (2, 5)] {
        let lab = Lab::new(k, n).await;
        for (place, faults) in (0_u32..).zip(&lab.faults) {
            // As unlike as servers of different owners are: the last takes 15 times as long as the first.
            faults.set_delay(MS * (2 + place * place * 9));
        }
        let vault = lab.start().await;
        for turn in 0..20_u64 {
            let size = if turn % 5 == 4 { EXTENT + 5 } else { 5000 };
            put(&vault, "f", &noise(turn, size)).await.unwrap();
            assert_eq!(
                owed(&lab, &vault, "f").await.0,
                [],
                "{k} of {n}, save {turn}"
            );
            // So the client and any n - k servers may die at this very moment.
            let (mut lost, mut dice) = (0, crate::common::Dice::new(turn));
            while lost < n - k {
                let place = dice.pick(usize::from(n));
                lab.faults[place].set(State::Gone);
                lost += 1;
            }
            let mut options = lab.options.clone();
            options.read_only = true;
            let other = lab.start_with(options).await.unwrap();
            same(&get(&other, "f").await.unwrap(), &noise(turn, size), "f");
            lab.faults.iter().for_each(|faults| faults.set(State::Well));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_slow_server_costs_a_save_little_and_gets_its_share() {
    let lab = Lab::new(3, 5).await;
    lab.faults
        .iter()
        .for_each(|faults| faults.set_delay(5 * MS));
    let vault = lab.start().await;
    for turn in 0..10 {
        let took = timed_put(&vault, "f", &noise(turn, 5000)).await;
        assert!(took < 30 * MS, "{took:?}");
    }
    lab.faults[4].set_delay(Duration::from_secs(10));
    for turn in 0..30 {
        let took = timed_put(&vault, "f", &noise(turn, 5000)).await;
        // It was well when it was asked for the first time.
        let limit = if turn == 0 { 250 } else { 75 };
        assert!(took < MS * limit, "save {turn}: {took:?}");
        sleep(Duration::from_secs(5)).await;
    }
    sleep(Duration::from_secs(60)).await;
    let (owed, _) = owed(&lab, &vault, "f").await;
    assert_eq!(owed, [], "its late answer has paid");
}

#[tokio::test(start_paused = true)]
async fn p5_a_server_that_is_always_late_is_not_waited_for_and_one_that_is_a_little_late_is() {
    let lab = Lab::new(3, 5).await;
    lab.faults[3].set_delay(400 * MS);
    lab.faults[4].set_delay(Duration::from_secs(3));
    let vault = lab.start().await;
    for turn in 0..10 {
        put(&vault, "f", &noise(turn, 5000)).await.unwrap();
        sleep(Duration::from_secs(20)).await;
    }
    let took = timed_put(&vault, "f", &noise(11, 5000)).await;
    assert!(took < 1500 * MS, "{took:?}");
    assert_eq!(
        owed(&lab, &vault, "f").await.0,
        [5],
        "the fourth is waited for"
    );
    sleep(Duration::from_secs(20)).await;
    assert_eq!(owed(&lab, &vault, "f").await.0, []);
}

#[tokio::test(start_paused = true)]
async fn p5_a_write_whose_answer_was_lost_is_recognised() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    lab.faults[2].plan(Method::Put, 1, Trouble::LostReply);
    put(&vault, "f", &noise(1, 5000)).await.unwrap();
    assert_eq!(owed(&lab, &vault, "f").await.0, []);
    assert_eq!(lab.faults[2].calls(Method::Put), 2);
    assert!(lab.missing(2).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn p5_a_write_of_which_nothing_is_known_is_owed_and_its_share_is_good_all_the_same() {
    let no_answer = Trouble::Refused(StoreErrorKind::NoAnswer);
    let cases = [
        // It took effect, and neither its answer nor that of the second try came.
        [
            (Method::Put, 1, Trouble::LostReply),
            (Method::Put, 2, no_answer),
        ],
        // The second try found the name taken, and the question for the length got no answer.
        [
            (Method::Put, 1, Trouble::LostReply),
            (Method::Stat, 1, no_answer),
        ],
        [
            (Method::Put, 1, Trouble::LostReply),
            (Method::Put, 2, Trouble::Hangs),
        ],
    ];
    for plan in cases {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        for (method, nth, trouble) in plan {
            lab.faults[2].plan(method, nth, trouble);
        }
        put(&vault, "f", &noise(1, 5000)).await.unwrap();
        assert_eq!(owed(&lab, &vault, "f").await.0, [3], "{plan:?}");
        vault.sync().await.unwrap();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(
            vault.status(&ctx()).await.unwrap().usage.owed_shares,
            1,
            "{plan:?}"
        );
        // What is on the server is a share like any other.
        lab.faults[0].set(State::Gone);
        same(
            &get(&lab.start().await, "f").await.unwrap(),
            &noise(1, 5000),
            "from B and C",
        );
        lab.heal();
        lab.assert_tidy("it is no orphan either").await;
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_put_that_succeeds_after_it_was_given_up_pays_also_when_the_file_is_saved_again() {
    let lab = Lab::new(2, 4).await;
    let vault = lab.start().await;
    put(&vault, "f", b"old").await.unwrap();
    vault.sync().await.unwrap();
    lab.faults[3].plan(Method::Put, 1, Trouble::Late(Duration::from_secs(20)));
    lab.faults[3].plan(Method::Put, 2, Trouble::Late(Duration::from_secs(15)));
    put(&vault, "f", &noise(1, EXTENT + 5)).await.unwrap();
    let handle = open(&vault, "f").await.unwrap();
    handle.write(&ctx(), 0, b"changed").await.unwrap();
    handle.flush(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    let status = vault.status(&ctx()).await.unwrap();
    assert!(status.usage.owed_shares > 0);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(vault.status(&ctx()).await.unwrap().usage.owed_shares, 0);
    vault.sync().await.unwrap();
    lab.assert_tidy("after the late answers").await;
}

#[tokio::test(start_paused = true)]
async fn saves_do_not_pile_up_before_a_server_that_hangs() {
    let lab = Lab::new(3, 5).await;
    let vault = lab.start().await;
    put(&vault, "f", b"old").await.unwrap();
    lab.faults[1].set(State::Hung);
    let before = lab.faults[1].calls(Method::Put);
    for turn in 0..200 {
        put(&vault, "f", &noise(turn, 5000)).await.unwrap();
    }
    let waiting = lab.faults[1].calls(Method::Put) - before;
    assert!(waiting <= 17, "{waiting} shares are held in RAM for it");
}

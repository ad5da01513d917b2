//! P4: a slow or hanging server costs an open no more than one hedge delay, and servers that are as usual no double work.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use warifu_testkit::stores::{Lie, Method, State, Trouble};
use warifu_vault::Vault;
use warifu_vault::seam::catalog::Catalog;
use warifu_vault::seam::store::StoreErrorKind;

use crate::common::jitter::{Jittery, Spread};
use crate::common::{EXTENT, Lab, ctx, get, noise, open, put, same};

const DOCUMENT: usize = 600 << 10;
const MS: Duration = Duration::from_millis(1);

/// How long it takes to open the document and read it.
async fn opening(vault: &Vault) -> Duration {
    let begin = Instant::now();
    same(&get(vault, "f").await.unwrap(), &noise(1, DOCUMENT), "f");
    begin.elapsed()
}

fn p95(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 95 / 100]
}

async fn with_document(k: u8, n: u8) -> Lab {
    let lab = Lab::new(k, n).await;
    let vault = lab.start().await;
    put(&vault, "f", &noise(1, DOCUMENT)).await.unwrap();
    assert!(vault.shutdown(&ctx()).await.is_empty());
    lab
}

async fn openings(vault: &Vault, many: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..many {
        times.push(opening(vault).await);
        sleep(300 * MS).await;
    }
    times
}

#[tokio::test(start_paused = true)]
async fn p4_one_server_answering_after_10_s_costs_no_open_300_ms() {
    for (k, n) in [(2, 3), (3, 5)] {
        for slow in 0..usize::from(n) {
            let lab = with_document(k, n).await;
            lab.faults
                .iter()
                .for_each(|faults| faults.set_delay(5 * MS));
            let vault = lab.start().await;
            let usual = openings(&vault, 40).await;
            lab.faults[slow].set_delay(Duration::from_secs(10));
            let with = openings(&vault, 100).await;
            let (most, usual, with) = (with.iter().max().copied(), p95(usual), p95(with));
            let what = format!("{k} of {n}, server {slow}: {usual:?}, then {with:?}, {most:?}");
            assert!(with < usual + 30 * MS, "{what}");
            assert!(most.unwrap() < usual + 300 * MS, "{what}");
            // So it is where nothing is known of the servers yet.
            for _ in 0..5 {
                let first = opening(&lab.start().await).await;
                assert!(first < usual + 300 * MS, "{what}: {first:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p4_an_open_takes_no_longer_than_the_kth_best_server_and_one_hedge_delay() {
    for seed in 0..30 {
        let mut dice = crate::common::Dice::new(seed);
        let lab = with_document(3, 5).await;
        let vault = lab.start().await;
        let mut delays: Vec<_> = (0..5).map(|_| 1 + dice.roll(60)).collect();
        for (faults, delay) in lab.faults.iter().zip(&delays) {
            faults.set_delay(MS * u32::try_from(*delay).unwrap());
        }
        openings(&vault, 20).await;
        let hedge = delays.iter().copied().max().unwrap().max(7);
        // One or two of them hang or lag from now on.
        let bad = 1 + seed % 2;
        for _ in 0..bad {
            let bad = dice.pick(5);
            delays[bad] = 20_000;
            if dice.chance(50) {
                lab.faults[bad].set(State::Hung);
            } else {
                lab.faults[bad].set_delay(Duration::from_secs(20));
            }
        }
        delays.sort_unstable();
        let kth_best = Duration::from_millis(delays[2]);
        // A hedge delay is at most three times what an answer of the slowest took, and all of them together cost one at most.
        let limit = kth_best + MS * u32::try_from(hedge * 3 + 5).unwrap();
        for turn in 0..10 {
            let took = opening(&vault).await;
            // Each is found out by one open, and asked last from then on.
            let limit = if turn < bad {
                limit
            } else {
                kth_best + 25 * MS
            };
            assert!(
                took <= limit,
                "seed {seed}, open {turn}: {took:?}, {delays:?}"
            );
            sleep(200 * MS).await;
        }
    }
}

/// Whichever servers hang, as many as can be spared, and the spares among them: it is one hedge delay in all, also where nothing
/// is known of the servers yet.
#[tokio::test(start_paused = true)]
async fn p4_several_servers_that_hang_cost_an_open_one_hedge_delay_together() {
    for (k, n) in [(3, 5), (2, 5)] {
        for hung in crate::rebuild::choices(usize::from(n - k), usize::from(n)) {
            for known in [true, false] {
                let lab = with_document(k, n).await;
                lab.faults
                    .iter()
                    .for_each(|faults| faults.set_delay(5 * MS));
                let vault = lab.start().await;
                if known {
                    openings(&vault, 40).await;
                }
                hung.iter()
                    .for_each(|place| lab.faults[*place].set(State::Hung));
                let took = opening(&vault).await;
                let hedge = if known { 20 * MS } else { 250 * MS };
                assert!(
                    took <= hedge + 10 * MS,
                    "{k} of {n}, {hung:?} hang, known: {known}: {took:?}"
                );
            }
        }
    }
}

/// B was just started again and its first answers are lost; A has just died.
#[tokio::test(start_paused = true)]
async fn p4_a_read_asks_those_that_gave_no_answer_again_for_a_while() {
    let no_answer = Trouble::Refused(StoreErrorKind::NoAnswer);
    for size in [DOCUMENT, EXTENT * 2] {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        put(&vault, "f", &noise(1, size)).await.unwrap();
        let handle = open(&vault, "f").await.unwrap();
        lab.faults[0].set(State::Gone);
        (1..=4).for_each(|nth| lab.faults[1].plan(Method::Get, nth, no_answer));
        let begin = Instant::now();
        // Of the large file a part is enough.
        let at = size as u64 - 100;
        let bytes = handle.read(at, 100).await.unwrap();
        same(bytes.expose(), &noise(1, size)[size - 100..], "the end");
        assert!(
            begin.elapsed() < Duration::from_secs(4),
            "{:?}",
            begin.elapsed()
        );
        handle.release(&ctx()).await.unwrap();
    }
}

/// It ends, and those who come next don't wait for the same again; servers that refuse are not asked again.
#[tokio::test(start_paused = true)]
async fn p4_a_read_asks_again_neither_for_ever_nor_in_vain() {
    let lab = with_document(2, 3).await;
    let vault = lab.start().await;
    let fails = async |vault: &Vault| {
        let begin = Instant::now();
        let error = get(vault, "f").await.unwrap_err().to_string();
        assert!(error.contains('A') && error.contains('B'), "{error}");
        begin.elapsed()
    };
    (0..2).for_each(|place| lab.faults[place].set(State::Gone));
    let took = fails(&vault).await;
    assert!(
        took > 3 * Duration::from_secs(1) && took < Duration::from_secs(4),
        "{took:?}"
    );
    for _ in 0..20 {
        let took = fails(&vault).await;
        assert!(took < 10 * MS, "{took:?}");
    }
    sleep(Duration::from_secs(11)).await;
    let (took, ()) = tokio::join!(fails(&vault), async {
        sleep(Duration::from_secs(2)).await;
        lab.faults[2].set(State::Gone);
    });
    assert!(took > 3 * Duration::from_secs(1), "{took:?}");
    lab.heal();
    opening(&vault).await;
    (0..2).for_each(|place| lab.faults[place].set(State::Failing));
    let took = fails(&vault).await;
    assert!(took < 10 * MS, "a refusal is an answer: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn p5_fsync_asks_those_that_gave_no_answer_again_for_a_while() {
    let no_answer = Trouble::Refused(StoreErrorKind::NoAnswer);
    let mut lab = Lab::new(2, 3).await;
    lab.options.settle_every = Duration::from_secs(1_000_000);
    let vault = lab.start().await;
    put(&vault, "f", &noise(1, 5000)).await.unwrap();
    lab.faults[0].set(State::Gone);
    (1..=4).for_each(|nth| lab.faults[1].plan(Method::Sync, nth, no_answer));
    let handle = open(&vault, "f").await.unwrap();
    handle.fsync(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    let missing = lab.memory.owed(None, 100).await.unwrap();
    assert!(
        missing.iter().all(|record| record.owed.len() == 1),
        "the second has promised it in the end: {missing:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn servers_that_are_as_usual_are_not_asked_twice() {
    for spread in [
        Spread::Even(5, 40),
        Spread::Even(50, 250),
        Spread::Tail(2, 10.0),
        Spread::Tail(30, 30.0),
    ] {
        let lab = Lab::new(2, 3).await;
        put(&lab.start().await, "f", &noise(1, 6000)).await.unwrap();
        let seats = lab.seats().into_iter().zip(0..).map(|(mut seat, seed)| {
            seat.store = Arc::new(Jittery::new(seat.store, spread, seed));
            seat
        });
        let vault = lab
            .start_on(seats.collect(), lab.options.clone())
            .await
            .unwrap();
        let gets = || -> u64 {
            lab.faults
                .iter()
                .map(|faults| faults.calls(Method::Get))
                .sum()
        };
        for _ in 0..20 {
            get(&vault, "f").await.unwrap();
        }
        let (before, opens) = (gets(), 1000);
        for _ in 0..opens {
            get(&vault, "f").await.unwrap();
            sleep(20 * MS).await;
        }
        let spares = gets() - before - 2 * opens;
        assert!(
            spares * 100 < 2 * opens * 5,
            "{spread:?}: {spares} spares for {opens} opens"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p4_a_server_that_got_slow_for_good_is_learnt_and_not_asked_in_vain() {
    let lab = with_document(2, 3).await;
    lab.faults
        .iter()
        .for_each(|faults| faults.set_delay(5 * MS));
    let vault = lab.start().await;
    openings(&vault, 20).await;
    lab.faults[0].set_delay(150 * MS);
    // A probe finds it quick enough now and then; that costs a hedge delay each time, and less and less often.
    let times = openings(&vault, 400).await;
    let late = times[100..].iter().filter(|took| **took > 15 * MS).count();
    assert!(late <= 6, "{late} of 300 opens waited for it");
}

#[tokio::test(start_paused = true)]
async fn p4_a_server_without_good_shares_is_asked_behind_the_others() {
    let lab = with_document(2, 3).await;
    lab.faults
        .iter()
        .for_each(|faults| faults.set_delay(20 * MS));
    let vault = lab.start().await;
    openings(&vault, 10).await;
    // It answers at once, and never well.
    lab.faults[0].set_delay(MS);
    lab.faults[0].tell(Lie::FlipsBits);
    let mut times = openings(&vault, 40).await;
    let slow = times.split_off(8);
    assert!(slow.iter().all(|took| *took < 25 * MS), "{slow:?}");
}

#[tokio::test(start_paused = true)]
async fn p4_with_too_few_servers_answering_a_read_ends_with_who_said_what() {
    let lab = with_document(2, 3).await;
    let vault = lab.start().await;
    lab.faults[0].set(State::Hung);
    lab.faults[2].set(State::Hung);
    let begin = Instant::now();
    let error = get(&vault, "f").await.unwrap_err().to_string();
    assert!(
        error.contains("A: no answer") && error.contains("C: no answer"),
        "{error}"
    );
    assert!(
        begin.elapsed() < Duration::from_secs(35),
        "{:?}",
        begin.elapsed()
    );
    // As soon as they are back it can be read, whatever was known of them.
    lab.heal();
    opening(&vault).await;
}

/// The same by a real clock, on whatever machine this is: the limit leaves room for a busy one.
#[tokio::test]
async fn p4_one_server_answering_after_10_s_costs_no_open_300_ms_by_the_clock() {
    let lab = with_document(2, 3).await;
    let vault = lab.start().await;
    let times = async || {
        let mut times = Vec::new();
        for _ in 0..60 {
            times.push(opening(&vault).await);
        }
        times
    };
    let usual = p95(times().await);
    lab.faults[1].set_delay(Duration::from_secs(10));
    let with = times().await;
    let (with, most) = (p95(with.clone()), with.into_iter().max());
    println!(
        "p95 of opening 600 KiB: {usual:?}; with one server 10 s late: {with:?}, the worst {most:?}"
    );
    assert!(with < usual + 300 * MS, "{usual:?}, then {with:?}");
}

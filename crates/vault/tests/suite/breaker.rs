//! P4: a server that has stopped answering holds nobody up, is not pestered, and is used again soon after it is back.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use warifu_testkit::stores::{Method, State};
use warifu_vault::Vault;
use warifu_vault::status::{Breaker, ServerState};

use crate::common::{Lab, ctx, get, noise, put, same};

const MS: Duration = Duration::from_millis(1);

/// What the vault thinks of a server, without asking it.
async fn breaker(vault: &Vault, place: usize) -> Breaker {
    // The question itself takes up to five seconds where it hangs; what is told is from before it ended.
    vault.status(&ctx()).await.unwrap().servers[place].breaker
}

async fn hung_and_known_to_be(lab: &Lab, place: usize) -> Vault {
    let vault = lab.start().await;
    put(&vault, "f", &noise(1, 5000)).await.unwrap();
    vault.sync().await.unwrap();
    lab.faults[place].set(State::Hung);
    for turn in 0..40 {
        put(&vault, "g", &noise(turn, 5000)).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    assert_ne!(breaker(&vault, place).await, Breaker::Closed);
    vault
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_a_few_times_a_minute_and_nobody_waits_for_it() {
    let lab = Lab::new(2, 3).await;
    let vault = hung_and_known_to_be(&lab, 1).await;
    let asked = || -> u64 {
        Method::ALL
            .iter()
            .map(|method| lab.faults[1].calls(*method))
            .sum()
    };
    let before = asked();
    let begin = Instant::now();
    for turn in 0..600 {
        put(&vault, "g", &noise(turn, 5000)).await.unwrap();
        same(&get(&vault, "g").await.unwrap(), &noise(turn, 5000), "g");
        sleep(50 * MS).await;
    }
    let took = begin.elapsed();
    // 600 rounds with a pause of 50 ms each, of which a save takes up to 50 ms more.
    assert!(took < Duration::from_secs(75), "{took:?}");
    let asked = asked() - before;
    assert!(asked < 20, "{asked} requests in {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_back_is_used_again_without_anybody_asking_it() {
    for state in [State::Gone, State::Hung] {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        put(&vault, "f", &noise(1, 5000)).await.unwrap();
        lab.faults[2].set(state);
        for turn in 0..5 {
            put(&vault, "g", &noise(turn, 5000)).await.unwrap();
            sleep(Duration::from_secs(10)).await;
        }
        lab.heal();
        // No read and no save in between: a probe alone.
        sleep(Duration::from_secs(52)).await;
        assert_eq!(breaker(&vault, 2).await, Breaker::Closed, "{state:?}");
        put(&vault, "h", &noise(9, 5000)).await.unwrap();
        lab.faults[0].set(State::Gone);
        same(
            &get(&lab.start().await, "h").await.unwrap(),
            &noise(9, 5000),
            "h",
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_flapping_server_does_not_disturb() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", &noise(1, 50_000)).await.unwrap();
    let mut slow = 0;
    for turn in 0..120_u64 {
        match turn % 4 {
            0 => lab.faults[0].set(State::Hung),
            2 => lab.heal(),
            _ => {}
        }
        let begin = Instant::now();
        same(&get(&vault, "f").await.unwrap(), &noise(1, 50_000), "f");
        slow += u32::from(begin.elapsed() > 15 * MS);
        assert!(begin.elapsed() < 300 * MS, "{:?}", begin.elapsed());
        sleep(500 * MS).await;
    }
    assert!(slow < 10, "{slow} of 120 reads waited for it");
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_silent_server_asks_it() {
    let lab = Lab::new(2, 3).await;
    let vault = hung_and_known_to_be(&lab, 1).await;
    lab.heal();
    lab.faults[0].set(State::Gone);
    same(
        &get(&vault, "f").await.unwrap(),
        &noise(1, 5000),
        "read from B and C",
    );
    lab.heal();
    let vault = hung_and_known_to_be(&lab, 2).await;
    lab.heal();
    lab.faults[0].set(State::Gone);
    lab.faults[1].set(State::Gone);
    for _ in 0..5 {
        assert!(put(&vault, "x", b"too few").await.is_err());
    }
    lab.faults[1].heal();
    put(&vault, "y", b"saved on B and C").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn status_tells_what_is_known_of_each_server() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", &noise(1, 5000)).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    let status = vault.status(&ctx()).await.unwrap();
    for server in &status.servers {
        assert_eq!(
            (&server.state, server.breaker),
            (&ServerState::Normal, Breaker::Closed)
        );
        assert!(server.last_success.unwrap() < MS && server.last_failure.is_none());
        assert!(server.latency.is_some());
    }
    lab.faults[0].set_delay(Duration::from_secs(2));
    lab.faults[1].set(State::ReadOnly);
    lab.faults[2].set(State::Hung);
    assert!(put(&vault, "g", b"one server too few").await.is_err());
    lab.faults[0].set_delay(Duration::ZERO);
    put(&vault, "g", b"g").await.unwrap_err();
    lab.faults[0].set_delay(Duration::from_secs(2));
    sleep(Duration::from_secs(7)).await;
    let status = vault.status(&ctx()).await.unwrap();
    let [slow, refusing, silent] = &status.servers[..] else {
        panic!()
    };
    assert_eq!(slow.state, ServerState::Slow);
    assert_eq!(refusing.state, ServerState::Refusing, "{refusing:?}");
    assert!(matches!(silent.state, ServerState::Away(_)), "{silent:?}");
    let (ago, why) = silent.last_failure.as_ref().unwrap();
    assert!(
        *ago < Duration::from_secs(60) && why.contains("no answer"),
        "{why}"
    );
    assert!(silent.last_success.unwrap() > Duration::from_secs(10));
    assert_eq!(status.spare, 0);
}

#[tokio::test(start_paused = true)]
async fn status_counts_what_one_more_server_would_cost() {
    let lab = Lab::new(2, 4).await;
    let vault = lab.start().await;
    put(&vault, "full", &noise(1, 5000)).await.unwrap();
    lab.faults[3].set(State::Gone);
    put(&vault, "weak", &noise(2, 5000)).await.unwrap();
    lab.faults[2].set(State::Gone);
    put(&vault, "weaker", &noise(3, 5000)).await.unwrap();
    lab.heal();
    sleep(Duration::from_secs(60)).await;
    let status = vault.status_with(&ctx(), 10).await.unwrap();
    assert_eq!((status.spare, status.weak.files), (2, 2));
    assert_eq!((status.weak.at_risk, status.weak.unreadable), (1, 0));
    let named: Vec<_> = status
        .weak
        .named
        .iter()
        .map(|file| (file.path.as_str(), file.spare, file.owed.len()))
        .collect();
    assert_eq!(named, [("/weaker", 0, 2), ("/weak", 1, 1)]);
    let owed: Vec<_> = status.servers.iter().map(|server| server.owed).collect();
    assert_eq!(owed, [0, 0, 1, 2]);
    assert_eq!(status.servers[3].state, ServerState::Behind);
    // With a server gone that has a share of it, it is out of reach.
    lab.faults[0].set(State::Gone);
    let status = vault.status(&ctx()).await.unwrap();
    assert_eq!((status.weak.at_risk, status.weak.unreadable), (1, 1));
    assert!(status.weak.named.is_empty());
}

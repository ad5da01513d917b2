//! P3, P4 and P10: a vault opens as soon as k pieces of its key are there, whatever the other servers do.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use warifu_core::ids::ExtentId;
use warifu_core::keys::VaultKey;
use warifu_testkit::stores::{Method, State};
use warifu_testkit::world::Death;
use warifu_vault::error::Fault;
use warifu_vault::keys::{Candidate, Expected, FIRST_GENERATION, UnlockError, Unlocked, unlock};
use warifu_vault::seam::store::ObjectKey;

use crate::common::lab::server_name;
use crate::common::{Lab, ctx, get, live, noise, put, same};

const MS: Duration = Duration::from_millis(1);

fn candidates(lab: &Lab) -> Vec<Candidate> {
    let stores = lab.stores.iter().enumerate();
    stores
        .map(|(place, store)| Candidate {
            name: server_name(place),
            store: store.clone(),
        })
        .collect()
}

async fn unlocked(lab: &Lab) -> (Result<Unlocked, UnlockError>, Duration) {
    let expected = Expected {
        vault: lab.vault,
        thresholds: lab.threshold.into(),
        seats: lab
            .ids
            .iter()
            .copied()
            .zip(lab.threshold.indices())
            .collect(),
    };
    let begin = Instant::now();
    let unlocked = unlock(&candidates(lab), &expected).await;
    (unlocked, begin.elapsed())
}

fn named(unlocked: &Unlocked) -> Vec<(&str, Fault, &str)> {
    let faults = unlocked.faults.iter();
    faults
        .map(|fault| (fault.server.as_str(), fault.fault, fault.detail.as_str()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn p4_servers_that_hang_cost_an_opening_a_quarter_of_a_second() {
    for (k, n, hung) in [(2, 3, &[1][..]), (3, 5, &[0, 4]), (1, 3, &[0, 1])] {
        let lab = Lab::new(k, n).await;
        lab.faults
            .iter()
            .for_each(|faults| faults.set_delay(10 * MS));
        let (all, took) = unlocked(&lab).await;
        assert!(
            took <= 11 * MS && all.unwrap().faults.is_empty(),
            "{took:?}"
        );
        hung.iter()
            .for_each(|place| lab.faults[*place].set(State::Hung));
        let (some, took) = unlocked(&lab).await;
        assert!(took <= 265 * MS, "{took:?}");
        let expected: Vec<_> = hung.iter().map(|place| server_name(*place)).collect();
        let some = some.unwrap();
        let named = named(&some);
        assert!(
            named
                .iter()
                .all(|(_, fault, detail)| (*fault, *detail) == (Fault::NoAnswer, "no answer yet"))
        );
        assert_eq!(
            named.iter().map(|(name, ..)| *name).collect::<Vec<_>>(),
            expected
        );
        let silent: Vec<_> = some
            .answers
            .iter()
            .map(|(_, took)| took.is_none())
            .collect();
        assert_eq!(
            silent,
            (0..usize::from(n))
                .map(|place| hung.contains(&place))
                .collect::<Vec<_>>()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p4_where_a_quick_server_lies_a_slow_one_is_waited_for() {
    let lab = Lab::new(2, 3).await;
    let piece = ObjectKey::vault_object(FIRST_GENERATION);
    assert!(lab.servers[0].flip(&piece, 60));
    lab.faults[2].set_delay(Duration::from_secs(7));
    let (done, took) = unlocked(&lab).await;
    let done = done.unwrap();
    assert!(took > Duration::from_secs(6), "{took:?}");
    assert_eq!(
        named(&done),
        [("A", Fault::Corrupt, "its piece of the vault key is false")]
    );
    // It is the key.
    let (extent, mine) = (ExtentId::fresh().unwrap(), lab.key().await);
    let name = |key: &VaultKey| key.object_name(lab.ids[0], extent, FIRST_GENERATION);
    assert!(name(&mine) == name(&done.key));
    // None of the others comes: then there is no key.
    lab.faults[2].set(State::Hung);
    let (done, _) = unlocked(&lab).await;
    assert!(matches!(
        done,
        Err(UnlockError::Mismatch { .. } | UnlockError::TooFewServers { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn p4_a_liar_that_comes_within_the_grace_is_named() {
    let lab = Lab::new(2, 4).await;
    let piece = ObjectKey::vault_object(FIRST_GENERATION);
    assert!(lab.servers[2].flip(&piece, 60));
    lab.faults[2].set_delay(100 * MS);
    lab.faults[3].set_delay(Duration::from_secs(10));
    let (done, took) = unlocked(&lab).await;
    assert!(took <= 255 * MS, "{took:?}");
    assert_eq!(
        named(&done.unwrap()),
        [
            ("C", Fault::Corrupt, "its piece of the vault key is false"),
            ("D", Fault::NoAnswer, "no answer yet"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn p4_what_unlocking_found_out_helps_the_first_file() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", &noise(1, 5000)).await.unwrap();
    assert!(vault.shutdown(&ctx()).await.is_empty());
    lab.faults[0].set(State::Hung);
    let (done, _) = unlocked(&lab).await;
    let vault = lab.start().await;
    vault.learn(&done.unwrap().answers);
    let begin = Instant::now();
    same(&get(&vault, "f").await.unwrap(), &noise(1, 5000), "f");
    assert!(begin.elapsed() < 25 * MS, "{:?}", begin.elapsed());
    assert_eq!(
        lab.faults[0].calls(Method::Get),
        1,
        "only its piece was asked for"
    );
}

#[test]
fn p4_a_hanging_server_does_not_hold_up_a_start() {
    for unfinished in [false, true] {
        let lab = live(async {
            let lab = Lab::new(2, 3).await;
            let vault = lab.start().await;
            for turn in 0..20 {
                put(&vault, &format!("f{turn}"), &noise(turn, 5000))
                    .await
                    .unwrap();
            }
            if unfinished {
                // A save that ends nowhere, and leaves objects of no use.
                lab.world.die(Death::Before(lab.world.calls() + 6));
                let bytes = noise(99, 50_000);
                tokio::select! {
                    _ = put(&vault, "g", &bytes) => {}
                    () = lab.world.dead() => {}
                }
                lab.world.revive();
            }
            lab
        });
        lab.let_leases_end();
        lab.faults[1].set(State::Hung);
        live(async {
            let begin = Instant::now();
            let vault = lab.start().await;
            let took = begin.elapsed();
            assert!(took < Duration::from_millis(8500), "{took:?}");
            if !unfinished {
                assert!(took < Duration::from_millis(2500), "{took:?}");
            }
            for turn in 0..20 {
                let begin = Instant::now();
                same(
                    &get(&vault, &format!("f{turn}")).await.unwrap(),
                    &noise(turn, 5000),
                    "f",
                );
                assert!(begin.elapsed() < 25 * MS, "{:?}", begin.elapsed());
            }
            let begin = Instant::now();
            vault.space().await.unwrap();
            assert!(begin.elapsed() <= Duration::from_secs(1));
            let begin = Instant::now();
            vault.status(&ctx()).await.unwrap();
            assert!(begin.elapsed() <= Duration::from_secs(5));
            sleep(Duration::from_secs(1)).await;
        });
    }
}

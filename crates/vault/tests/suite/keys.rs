//! P10 and P3: wrong keys, foreign servers, liars and too few servers when a vault is unlocked.

use std::sync::Arc;

use warifu_core::ids::Generation;
use warifu_core::keys::VaultKey;
use warifu_testkit::stores::{FaultyStore, MemoryStore, Method, State};
use warifu_testkit::world::World;
use warifu_vault::error::Fault;
use warifu_vault::keys::{
    Candidate, Expected, FIRST_GENERATION, FoundError, UnlockError, found, unlock,
};
use warifu_vault::seam::store::ObjectKey;
use warifu_vault::{Vault, VaultConfig, VaultError};

use crate::common::lab::server_name;
use crate::common::{Lab, ctx, get, names, put};

fn candidates(lab: &Lab) -> Vec<Candidate> {
    let stores = lab.stores.iter().enumerate();
    stores
        .map(|(place, store)| Candidate {
            name: server_name(place),
            store: store.clone(),
        })
        .collect()
}

fn expected(lab: &Lab) -> Expected {
    Expected {
        vault: lab.vault,
        thresholds: lab.threshold.into(),
        seats: lab
            .ids
            .iter()
            .copied()
            .zip(lab.threshold.indices())
            .collect(),
    }
}

fn piece() -> ObjectKey {
    ObjectKey::vault_object(FIRST_GENERATION)
}

#[tokio::test(start_paused = true)]
async fn p10_a_wrong_key_reads_nothing_and_changes_nothing() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", b"secret").await.unwrap();
    vault.sync().await.unwrap();
    let config = VaultConfig {
        vault: lab.vault,
        thresholds: lab.threshold.into(),
        generation: FIRST_GENERATION,
        servers: lab.seats(),
        options: lab.options.clone(),
    };
    let wrong = VaultKey::generate().unwrap();
    let vault = Vault::start(
        config,
        wrong,
        Arc::new(lab.catalog.clone()),
        lab.clock.clone(),
    )
    .await
    .unwrap();
    let error = get(&vault, "f").await.unwrap_err();
    let VaultError::TooFewShares {
        needed: 2,
        got: 0,
        faults,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(faults.len(), 3);
    drop(vault);
    assert_eq!(get(&lab.start().await, "f").await.unwrap(), b"secret");
    lab.assert_tidy("after the wrong key").await;
}

#[tokio::test(start_paused = true)]
async fn p3_p10_fewer_than_k_servers_do_not_unlock() {
    for (k, n) in [(1, 1), (2, 3), (3, 5), (5, 5)] {
        for state in [State::Gone, State::Hung, State::Failing] {
            let lab = Lab::new(k, n).await;
            for faults in &lab.faults[usize::from(k) - 1..] {
                faults.set(state);
            }
            let error = unlock(&candidates(&lab), &expected(&lab))
                .await
                .unwrap_err();
            let UnlockError::TooFewServers {
                needed,
                got,
                faults,
            } = &error
            else {
                panic!("{error}")
            };
            assert_eq!(
                (*needed, *got, faults.len()),
                (k, usize::from(k) - 1, usize::from(n - k) + 1)
            );
            // One more is enough, and those that were not needed are named.
            lab.faults[usize::from(k) - 1].heal();
            let unlocked = unlock(&candidates(&lab), &expected(&lab)).await.unwrap();
            assert_eq!(unlocked.faults.len(), usize::from(n - k));
            assert_eq!(unlocked.generation, FIRST_GENERATION);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p4_servers_that_lie_when_a_vault_is_unlocked_are_named() {
    let other = Lab::new(2, 3).await;
    type Strike = fn(&Lab, &Lab);
    let cases: [(&str, Fault, Strike); 8] = [
        ("missing", Fault::Missing, |lab, _| {
            assert!(lab.servers[1].lose(&piece()))
        }),
        ("cut off", Fault::Corrupt, |lab, _| {
            assert!(lab.servers[1].truncate(&piece(), 100))
        }),
        ("no object at all", Fault::Corrupt, |lab, _| {
            lab.servers[1].replace(&piece(), "rubbish")
        }),
        ("a false piece", Fault::Corrupt, |lab, _| {
            assert!(lab.servers[1].flip(&piece(), 50))
        }),
        ("a false check", Fault::Corrupt, |lab, _| {
            assert!(lab.servers[1].flip(&piece(), 85))
        }),
        // A generation that nobody dealt would make every share look missing.
        ("a false generation", Fault::Corrupt, |lab, _| {
            assert!(lab.servers[1].flip(&piece(), 13))
        }),
        ("another server's", Fault::Foreign, |lab, _| {
            lab.servers[1].replace(&piece(), lab.servers[0].bytes(&piece()).unwrap());
        }),
        ("another vault's", Fault::Foreign, |lab, other| {
            lab.servers[1].replace(&piece(), other.servers[1].bytes(&piece()).unwrap());
        }),
    ];
    for (what, fault, strike) in cases {
        let lab = Lab::new(2, 3).await;
        put(&lab.start().await, "f", b"secret").await.unwrap();
        strike(&lab, &other);
        let unlocked = unlock(&candidates(&lab), &expected(&lab))
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let named: Vec<_> = unlocked
            .faults
            .iter()
            .map(|fault| (fault.server.as_str(), fault.fault))
            .collect();
        assert_eq!(named, [("B", fault)], "{what}");
        assert_eq!(unlocked.generation, FIRST_GENERATION, "{what}");
        let config = VaultConfig {
            vault: lab.vault,
            thresholds: lab.threshold.into(),
            generation: unlocked.generation,
            servers: lab.seats(),
            options: lab.options.clone(),
        };
        let vault = Vault::start(
            config,
            unlocked.key,
            Arc::new(lab.catalog.clone()),
            lab.clock.clone(),
        )
        .await
        .unwrap();
        assert_eq!(get(&vault, "f").await.unwrap(), b"secret", "{what}");
        // Two liars among three: no key, and nothing guessed.
        lab.servers[2].flip(&piece(), 60);
        let error = unlock(&candidates(&lab), &expected(&lab))
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                UnlockError::TooFewServers { .. } | UnlockError::Mismatch { .. }
            ),
            "{what}: {error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_vault_is_founded_on_free_servers_only_and_all_or_none_are_written() {
    let threshold = warifu_core::ids::Threshold::new(2, 3).unwrap();
    for (place, state) in [(0, State::Gone), (1, State::Hung), (2, State::Failing)] {
        let world = World::new(0);
        let memories: Vec<_> = (0..3).map(|_| MemoryStore::new()).collect();
        let mut servers = Vec::new();
        for (label, memory) in (0_u64..).zip(&memories) {
            let (store, faults) = FaultyStore::new(&world, label, Arc::new(memory.clone()));
            if label == place {
                faults.set(state);
            }
            servers.push(Candidate {
                name: server_name(usize::try_from(label).unwrap()),
                store,
            });
        }
        let error = found(&servers, threshold).await.unwrap_err();
        let FoundError::Server(fault) = &error else {
            panic!("{error}")
        };
        assert_eq!(fault.server, server_name(usize::try_from(place).unwrap()));
        for memory in &memories {
            assert_eq!((memory.names().len(), memory.calls(Method::Put)), (0, 0));
        }
    }
    let lab = Lab::new(2, 3).await;
    let error = found(&candidates(&lab), threshold).await.unwrap_err();
    assert!(
        matches!(&error, FoundError::Taken { server } if server == "A"),
        "{error}"
    );
    let error = found(&candidates(&lab)[..2], threshold).await.unwrap_err();
    assert!(
        matches!(error, FoundError::Servers { needed: 3, got: 2 }),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn p10_seats_that_do_not_fit_are_refused() {
    let lab = Lab::new(2, 3).await;
    for wrong in 0..3 {
        let mut servers = lab.seats();
        match wrong {
            0 => drop(servers.pop()),
            1 => servers[0].index = servers[1].index,
            _ => servers.push(servers[0].clone()),
        }
        let config = VaultConfig {
            vault: lab.vault,
            thresholds: lab.threshold.into(),
            generation: Generation(1),
            servers,
            options: lab.options.clone(),
        };
        let started = Vault::start(
            config,
            lab.key().await,
            Arc::new(lab.catalog.clone()),
            lab.clock.clone(),
        )
        .await;
        assert!(matches!(started, Err(VaultError::Invalid { .. })));
    }
    // Two servers that changed places are found out share by share.
    let vault = lab.start().await;
    put(&vault, "f", b"secret").await.unwrap();
    assert!(vault.shutdown(&ctx()).await.is_empty());
    let (one, two) = (lab.servers[0].snapshot(), lab.servers[1].snapshot());
    lab.servers[0].roll_back(&two);
    lab.servers[1].roll_back(&one);
    let vault = lab.start().await;
    assert!(matches!(
        get(&vault, "f").await,
        Err(VaultError::TooFewShares {
            got: 1,
            needed: 2,
            ..
        })
    ));
    assert_eq!(names(&vault).await, ["f"]);
}

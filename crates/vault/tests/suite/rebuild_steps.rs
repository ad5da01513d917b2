//! P5 and P7: the client dies at every step, and its catalogue is lost with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use warifu_testkit::catalogs::MemoryCatalog;
use warifu_testkit::world::Death;
use warifu_vault::keys::FIRST_GENERATION;
use warifu_vault::{Vault, VaultConfig, VaultError};

use crate::common::{Lab, get, live, noise, put, same};
use crate::rebuild::{choices, from_servers, rename};

/// The client dies at every step, and its catalogue with it.
#[test]
fn p5_p7_every_step_and_then_the_catalogue_is_lost() {
    let story = async |vault: &Vault, told: &std::cell::Cell<u8>| {
        put(vault, "f", &noise(2, 3000)).await?;
        told.set(1);
        rename(vault, "g", "h").await?;
        vault.sync().await?;
        told.set(2);
        sleep(Duration::from_millis(700)).await;
        Ok::<(), VaultError>(())
    };
    let mut calls = None;
    let mut call = 0;
    loop {
        for after in [false, true] {
            let death = match (call, after) {
                (0, _) => None,
                (call, false) => Some(Death::Before(call)),
                (call, true) => Some(Death::After(call)),
            };
            let what = format!("{death:?} of {calls:?}");
            let lab = live(async {
                let lab = Lab::with_journal(2, 3).await;
                let vault = lab.start().await;
                put(&vault, "f", &noise(1, 2000)).await.unwrap();
                put(&vault, "g", &noise(3, 2000)).await.unwrap();
                vault.sync().await.unwrap();
                lab
            });
            let told = std::cell::Cell::new(0);
            live(async {
                let vault = lab.start().await;
                lab.world.revive();
                death.into_iter().for_each(|death| lab.world.die(death));
                tokio::select! {
                    done = story(&vault, &told) => {
                        done.unwrap();
                        calls = Some(lab.world.calls());
                    }
                    () = lab.world.dead() => {}
                }
            });
            lab.world.revive();
            for places in choices(2, 3) {
                let what = format!("{what}, from {places:?}");
                let (catalog, report) = live(from_servers(&lab, &places));
                assert!(report.journal.gaps.is_empty(), "{what}: {report:?}");
                assert!(report.moved.is_empty() && report.lost.is_empty(), "{what}");
                let files = live(async {
                    let vault = with_catalog(&lab, catalog).await;
                    let mut files = BTreeMap::new();
                    for file in crate::common::names(&vault).await {
                        let bytes = get(&vault, &file)
                            .await
                            .unwrap_or_else(|error| panic!("{what}: {error}"));
                        files.insert(file, bytes);
                    }
                    files
                });
                let f = &files["f"];
                assert!(
                    *f == noise(2, 3000) || (*f == noise(1, 2000) && told.get() == 0),
                    "{what}: f"
                );
                let (g, h) = (files.get("g"), files.get("h"));
                assert!(g.is_some() != h.is_some(), "{what}: it has one name");
                assert!(
                    h.is_some() || told.get() < 2,
                    "{what}: a rename that was safe"
                );
                same(g.or(h).unwrap(), &noise(3, 2000), &what);
                assert_eq!(files.len(), 2, "{what}: {:?}", files.keys());
            }
            if call == 0 {
                break;
            }
        }
        call += 1;
        if calls.is_some_and(|calls| call > calls) {
            break;
        }
    }
    assert!(calls.unwrap() > 20, "{calls:?}");
}

/// A vault on the servers of a laboratory with another catalogue.
async fn with_catalog(lab: &Lab, catalog: MemoryCatalog) -> Vault {
    let config = VaultConfig {
        vault: lab.vault,
        thresholds: lab.threshold.into(),
        generation: FIRST_GENERATION,
        servers: lab.seats(),
        options: lab.options.clone(),
    };
    let clock = Arc::clone(&lab.clock);
    Vault::start(config, lab.key().await, Arc::new(catalog), clock)
        .await
        .unwrap()
}

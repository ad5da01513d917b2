//! Objects that nobody needs are swept after a grace time, and nothing else is.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use warifu_core::ids::{ExtentId, Generation};
use warifu_testkit::stores::{MemoryStore, State};
use warifu_vault::Vault;
use warifu_vault::repair::{GRACE, Orphans, RepairOptions, Upkeep};
use warifu_vault::seam::catalog::{Catalog, Intent, SaveId};
use warifu_vault::seam::clock::Clock;
use warifu_vault::seam::store::{Durability, ObjectKey, ShareStore};

use crate::common::{Dice, Lab, ctx, get, noise, put, same};

async fn lab() -> Lab {
    let lab = Lab::new(2, 3).await;
    tell_time(&lab);
    lab
}

/// Every server's clock shows what ours does.
fn tell_time(lab: &Lab) {
    let now = lab.clock.now();
    lab.servers
        .iter()
        .for_each(|server| server.set_time(Some(now)));
}

async fn orphans(vault: &Vault, sweep: bool) -> BTreeMap<String, Orphans> {
    vault.orphans(&ctx(), GRACE, sweep).await.unwrap()
}

/// What a save left that came to nothing: a share on each of so many servers, of which the catalogue knows nothing.
async fn leave_behind(lab: &Lab, vault: &Vault, file: &str, servers: usize) {
    put(vault, file, &noise(9, 5000)).await.unwrap();
    let newest = lab.memory.unsettled(100).await.unwrap().pop().unwrap();
    let head = newest.head.unwrap();
    let record = lab.memory.extent(head).await.unwrap().unwrap();
    let audit = warifu_vault::context::AuditEntry {
        at: newest.saved_at,
        context: ctx(),
        act: warifu_vault::context::Act::Revert,
        node: None,
        detail: String::new(),
    };
    let write = warifu_vault::seam::catalog::Write {
        audit,
        durability: Durability::Now,
    };
    lab.memory
        .revert(newest.document, newest.number, write)
        .await
        .unwrap();
    let key = lab.key().await;
    for (server, id) in lab.servers.iter().zip(&lab.ids).skip(servers) {
        let name = key.object_name(*id, head, record.generation).into();
        assert!(server.lose(&name));
    }
}

#[tokio::test(start_paused = true)]
async fn old_orphans_are_swept_and_young_ones_are_not() {
    let mut lab = lab().await;
    lab.options.settle_every = Duration::from_secs(1_000_000);
    let vault = lab.start().await;
    put(&vault, "f", b"one").await.unwrap();
    leave_behind(&lab, &vault, "f", 1).await;
    // The version taken back was the second; a new second one makes it an orphan and nothing more.
    put(&vault, "f", b"two").await.unwrap();
    let found = orphans(&vault, true).await;
    assert_eq!(
        (found["A"].young, found["A"].due, found["A"].swept),
        (1, 0, 0),
        "{found:?}"
    );
    assert_eq!(found["B"], Orphans::default());
    lab.clock.advance(GRACE - Duration::from_secs(1));
    assert_eq!(orphans(&vault, true).await["A"].young, 1);
    lab.clock.advance(Duration::from_secs(2));
    let found = &orphans(&vault, false).await["A"];
    assert_eq!(
        (found.young, found.due, found.swept),
        (0, 1, 0),
        "a plan: {found:?}"
    );
    assert!(found.bytes > 5000);
    assert_eq!(lab.orphans(0).await.len(), 1);
    let plan = vault
        .plan_repair(&ctx(), &RepairOptions::default())
        .await
        .unwrap();
    assert!(!plan.is_empty() && plan.orphans["A"].due == 1, "{plan:?}");
    let done = vault
        .repair(&ctx(), &RepairOptions::default(), &|_| ())
        .await
        .unwrap();
    assert_eq!(done.orphans["A"].swept, 1, "{done:?}");
    lab.assert_tidy("swept").await;
    same(&get(&vault, "f").await.unwrap(), b"two", "f");
}

#[tokio::test(start_paused = true)]
async fn an_object_without_a_time_is_left_and_counted() {
    let mut lab = lab().await;
    lab.options.settle_every = Duration::from_secs(1_000_000);
    lab.servers[0].set_time(None);
    let vault = lab.start().await;
    put(&vault, "f", b"one").await.unwrap();
    leave_behind(&lab, &vault, "f", 1).await;
    put(&vault, "f", b"two").await.unwrap();
    lab.clock.advance(GRACE * 100);
    let found = orphans(&vault, true).await;
    assert_eq!((found["A"].swept, found["A"].undated), (0, 1));
    assert_eq!(lab.orphans(0).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p7_what_is_newer_than_a_catalogue_from_a_backup_is_never_swept() {
    let mut lab = lab().await;
    lab.options.settle_every = Duration::from_secs(1_000_000);
    let vault = lab.start().await;
    put(&vault, "f", &noise(1, 5000)).await.unwrap();
    lab.memory.sync().await.unwrap();
    put(&vault, "f", &noise(2, 5000)).await.unwrap();
    put(&vault, "g", &noise(3, 5 << 20)).await.unwrap();
    drop(vault);
    // Last week's catalogue.
    lab.memory.power_cut();
    lab.options.settle_every = Duration::from_millis(500);
    let vault = lab.start().await;
    same(&get(&vault, "f").await.unwrap(), &noise(1, 5000), "f");
    lab.clock.advance(GRACE * 100);
    for found in orphans(&vault, true).await.values() {
        // The newer version of one file, and head and two extents of another.
        assert_eq!((found.newer, found.swept), (4, 0), "{found:?}");
    }
    let report = vault
        .verify(&ctx(), Default::default(), &|_| ())
        .await
        .unwrap();
    assert!(report.is_clean() && report.servers["A"].orphans == 4);
    // Work goes on, and newer saves get the numbers that the lost ones had: these stay somebody's work.
    for seed in 4..8 {
        put(&vault, "f", &noise(seed, 5000)).await.unwrap();
        for found in orphans(&vault, true).await.values() {
            assert_eq!((found.newer, found.swept), (4, 0), "{found:?}");
        }
    }
    // Until a person says that nobody needs them.
    let options = RepairOptions {
        drop_newer: true,
        ..RepairOptions::default()
    };
    let plan = vault.plan_repair(&ctx(), &options).await.unwrap();
    assert_eq!((plan.orphans["B"].newer, plan.orphans["B"].due), (0, 4));
    let done = vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
    assert!(done.orphans.values().all(|found| found.swept == 4));
    lab.assert_tidy("decided").await;
    same(&get(&vault, "f").await.unwrap(), &noise(7, 5000), "f");
}

/// What the catalogue's own start took back is no work of another catalogue, and is not left for somebody to wonder about.
#[tokio::test(start_paused = true)]
async fn what_a_start_takes_back_leaves_nothing() {
    let mut lab = lab().await;
    lab.options.settle_every = Duration::from_secs(1_000_000);
    let vault = lab.start().await;
    put(&vault, "f", b"one").await.unwrap();
    vault.sync().await.unwrap();
    put(&vault, "f", &noise(1, 5 << 20)).await.unwrap();
    lab.memory.sync().await.unwrap();
    drop(vault);
    // Two of three forget what was not on their disks; the third has all of it.
    lab.servers[0].power_cut();
    lab.servers[1].power_cut();
    let vault = lab.start().await;
    same(&get(&vault, "f").await.unwrap(), b"one", "f");
    lab.assert_tidy("taken back").await;
    for found in orphans(&vault, false).await.values() {
        assert_eq!(found, &Orphans::default());
    }
}

/// With a server away, nobody knows whether it has what makes an orphan a whole version.
#[tokio::test(start_paused = true)]
async fn p7_what_a_server_that_is_away_could_complete_is_left() {
    let mut lab = lab().await;
    lab.options.settle_every = Duration::from_secs(1_000_000);
    let vault = lab.start().await;
    put(&vault, "f", b"one").await.unwrap();
    leave_behind(&lab, &vault, "f", 1).await;
    put(&vault, "f", b"two").await.unwrap();
    lab.clock.advance(GRACE * 2);
    lab.faults[2].set(State::Gone);
    let found = orphans(&vault, true).await;
    assert_eq!((found["A"].unsure, found["A"].swept), (1, 0), "{found:?}");
    lab.heal();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let found = orphans(&vault, true).await;
    assert_eq!((found["A"].unsure, found["A"].swept), (0, 1), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn what_an_intent_names_is_no_orphan() {
    let lab = lab().await;
    let vault = lab.start().await;
    let key = lab.key().await;
    let extent = ExtentId::fresh().unwrap();
    for (server, id) in lab.servers.iter().zip(&lab.ids) {
        let name: ObjectKey = key.object_name(*id, extent, Generation(1)).into();
        let object = Bytes::from(noise(1, 5000));
        server
            .put_new(&name, object, Durability::Now)
            .await
            .unwrap();
    }
    let intent = Intent {
        save: SaveId::fresh().unwrap(),
        extents: vec![(extent, Generation(1))],
    };
    lab.memory.begin_save(&intent, GRACE * 10).await.unwrap();
    lab.clock.advance(GRACE * 2);
    for found in orphans(&vault, true).await.values() {
        assert_eq!(found, &Orphans::default());
    }
    assert!(lab.memory.end_save(intent.save).await.unwrap());
    for found in orphans(&vault, true).await.values() {
        assert_eq!(found.swept, 1, "rubbish under a share's name, in the end");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_warifu_made_is_left() {
    let lab = lab().await;
    let vault = lab.start().await;
    put(&vault, "f", &noise(1, 5000)).await.unwrap();
    let of_f = lab.servers[0]
        .everything()
        .into_iter()
        .find(|(name, _)| name.is_share());
    let mut bytes = of_f.unwrap().1.to_vec();
    // Another format, and an identity that is sealed in another way: with the first alone it would be one of ours that rotted.
    bytes[7] = 9;
    bytes[warifu_core::format::HEADER_LEN] ^= 1;
    let name = warifu_testkit::stores::share_name(1);
    lab.servers[0]
        .put_new(&name, bytes.into(), Durability::Now)
        .await
        .unwrap();
    lab.clock.advance(GRACE * 2);
    let found = orphans(&vault, true).await;
    assert_eq!((found["A"].newer, found["A"].swept), (1, 0));
}

/// The order list, intents, extents: with no grace at all, nothing that is being saved is ever taken for an orphan.
#[tokio::test(start_paused = true)]
async fn p5_sweeping_beside_saves_takes_nothing_that_is_needed() {
    for seed in 0..8 {
        let lab = lab().await;
        let (vault, other) = (lab.start().await, lab.start().await);
        let mut dice = Dice::new(seed);
        for faults in &lab.faults {
            faults.set_delay(Duration::from_millis(1 + dice.roll(7)));
        }
        let saves = async {
            for turn in 0..60 {
                let bytes = noise(turn, 4000 + turn as usize);
                put(&vault, &format!("f{}", turn % 7), &bytes)
                    .await
                    .unwrap();
            }
        };
        let sweeps = async {
            for _ in 0..25 {
                let found = other.orphans(&ctx(), Duration::ZERO, true).await.unwrap();
                assert!(found.values().all(|found| found.swept == 0), "{found:?}");
            }
        };
        tokio::join!(saves, sweeps);
        vault.sync().await.unwrap();
        lab.heal();
        lab.assert_tidy(&format!("seed {seed}")).await;
        let report = vault
            .verify(&ctx(), Default::default(), &|_| ())
            .await
            .unwrap();
        assert!(report.is_clean(), "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_list_is_not_swept_and_says_why() {
    let lab = lab().await;
    let vault = lab.start().await;
    put(&vault, "f", &noise(1, 5000)).await.unwrap();
    lab.faults[1].set(State::Failing);
    let found = orphans(&vault, true).await;
    assert!(
        found["B"].error.is_some() && found["A"].error.is_none(),
        "{found:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn orphans_are_swept_in_the_background() {
    let mut lab = lab().await;
    lab.options.settle_every = Duration::from_secs(1_000_000);
    lab.options.upkeep = Upkeep {
        sweep_every: Duration::from_secs(3600),
        ..Upkeep::default()
    };
    let vault = lab.start().await;
    put(&vault, "f", b"one").await.unwrap();
    leave_behind(&lab, &vault, "f", 1).await;
    put(&vault, "f", b"two").await.unwrap();
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    let there = |server: &MemoryStore| server.names().len();
    let before: Vec<_> = lab.servers.iter().map(there).collect();
    lab.clock.advance(GRACE * 2);
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    let after: Vec<_> = lab.servers.iter().map(there).collect();
    assert_eq!(before[0] - after[0], 1);
    lab.assert_tidy("in the background").await;
}

//! P5 beyond single saves: versions that stand on versions not yet on disk, and names.

use warifu_testkit::stores::{Fate, MemoryStore, State};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{Catalog, RenameMode};
use warifu_vault::{Options, VaultError};

use crate::common::{
    EXTENT, Lab, ctx, get, live, name, names, noise, open, put, rewrite, same, version, write_all,
};

/// A file of three extents, safe on disk, and saved again in whole without time for anything to be synced.
async fn rewritten(lab: &Lab) -> (warifu_vault::Vault, Vec<u8>, Vec<u8>) {
    let vault = lab.start().await;
    let (old, new) = (noise(1, 2 * EXTENT + 9), noise(2, 2 * EXTENT + 9));
    put(&vault, "f", &old).await.unwrap();
    vault.sync().await.unwrap();
    put(&vault, "f", &new).await.unwrap();
    (vault, old, new)
}

#[test]
fn p5_fsync_covers_extents_of_earlier_saves() {
    for gone in [None, Some(1)] {
        let (lab, expected) = live(async {
            let lab = Lab::new(2, 3).await;
            let (vault, _, mut new) = rewritten(&lab).await;
            let handle = open(&vault, "f").await.unwrap();
            handle
                .write(&ctx(), EXTENT as u64, b"changed")
                .await
                .unwrap();
            new[EXTENT..EXTENT + 7].copy_from_slice(b"changed");
            handle.fsync(&ctx()).await.unwrap();
            (lab, new)
        });
        lab.power_cut();
        gone.into_iter()
            .for_each(|gone: usize| lab.faults[gone].set(State::Gone));
        live(async {
            same(
                &get(&lab.start().await, "f").await.unwrap(),
                &expected,
                "fsynced",
            )
        });
    }
}

#[test]
fn p5_fsync_covers_extents_that_another_machine_saved() {
    let (lab, expected) = live(async {
        let lab = Lab::new(2, 3).await;
        let (_vault, _, mut new) = rewritten(&lab).await;
        let mut options = lab.options.clone();
        // It must not find them by its start.
        options.read_only = true;
        let other = lab.start_with(options).await.unwrap();
        assert_eq!(get(&other, "f").await.unwrap().len(), new.len());
        let other = lab.start().await;
        let handle = open(&other, "f").await.unwrap();
        handle.write(&ctx(), 0, b"changed").await.unwrap();
        new[..7].copy_from_slice(b"changed");
        handle.fsync(&ctx()).await.unwrap();
        (lab, new)
    });
    lab.power_cut();
    live(async {
        same(
            &get(&lab.start().await, "f").await.unwrap(),
            &expected,
            "fsynced",
        )
    });
}

#[test]
fn p5_versions_on_versions_that_a_power_cut_took_are_taken_back_together() {
    let (lab, old) = live(async {
        let lab = Lab::new(2, 3).await;
        let (vault, old, _) = rewritten(&lab).await;
        // What is there now is what the power cut takes; what is saved after it happens to be on disk.
        let doomed: Vec<_> = lab.servers.iter().map(MemoryStore::names).collect();
        let handle = open(&vault, "f").await.unwrap();
        handle
            .write(&ctx(), EXTENT as u64, b"changed")
            .await
            .unwrap();
        handle.flush(&ctx()).await.unwrap();
        for (server, doomed) in lab.servers.iter().zip(doomed) {
            server.power_cut_with(|name, _| {
                if doomed.contains(name) {
                    Fate::Lost
                } else {
                    Fate::Kept
                }
            });
        }
        (lab, old)
    });
    live(async {
        let vault = lab.start().await;
        same(&get(&vault, "f").await.unwrap(), &old, "the old version");
        assert_eq!(
            vault
                .history(
                    &ctx(),
                    vault
                        .lookup(&ctx(), NodeId::ROOT, &name("f"))
                        .await
                        .unwrap()
                        .node
                )
                .await
                .unwrap()
                .len(),
            1
        );
    });
}

#[test]
fn p5_a_large_file_renamed_over_another_is_checked_in_whole() {
    let (lab, old) = live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        let old = noise(1, 7000);
        // Several versions, so that the target's numbers run ahead of the new file's.
        for piece in 0..3 {
            put(&vault, "f", &noise(piece, 500)).await.unwrap();
        }
        put(&vault, "f", &old).await.unwrap();
        vault.sync().await.unwrap();
        put(&vault, "tmp", &noise(2, EXTENT + 9)).await.unwrap();
        let (from, to) = (name("tmp"), name("f"));
        vault
            .rename(
                &ctx(),
                (NodeId::ROOT, &from),
                (NodeId::ROOT, &to),
                RenameMode::Replace,
            )
            .await
            .unwrap();
        // The head, which is small, was written already; the extents were not.
        for server in &lab.servers {
            server.power_cut_with(|_, bytes| {
                if bytes.len() < 9000 {
                    Fate::Kept
                } else {
                    Fate::Torn(1000)
                }
            });
        }
        (lab, old)
    });
    live(async {
        same(
            &get(&lab.start().await, "f").await.unwrap(),
            &old,
            "the old version",
        )
    });
}

#[test]
fn p5_what_was_saved_a_second_ago_survives_a_power_cut() {
    let lab = live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        put(&vault, "f", b"saved").await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(lab.memory.usage().await.unwrap().unsettled, 0);
        lab
    });
    lab.power_cut();
    live(async { assert_eq!(get(&lab.start().await, "f").await.unwrap(), b"saved") });
}

#[test]
fn p5_strict_saves_survive_a_power_cut_at_once() {
    let lab = live(async {
        let mut lab = Lab::new(2, 3).await;
        lab.options.strict = true;
        let vault = lab.start().await;
        put(&vault, "f", b"saved").await.unwrap();
        put(&vault, "g", &noise(1, EXTENT + 1)).await.unwrap();
        lab
    });
    lab.power_cut();
    live(async {
        let vault = lab.start().await;
        assert_eq!(get(&vault, "f").await.unwrap(), b"saved");
        same(&get(&vault, "g").await.unwrap(), &noise(1, EXTENT + 1), "g");
    });
}

#[test]
fn p5_names_survive_a_power_cut_after_a_second_and_a_shutdown() {
    for shut_down in [false, true] {
        let lab = live(async {
            let lab = Lab::new(2, 3).await;
            let vault = lab.start().await;
            put(&vault, "f", b"saved").await.unwrap();
            put(&vault, "g", b"saved").await.unwrap();
            vault.sync().await.unwrap();
            let (from, to) = (name("f"), name("renamed"));
            vault
                .rename(
                    &ctx(),
                    (NodeId::ROOT, &from),
                    (NodeId::ROOT, &to),
                    RenameMode::NoReplace,
                )
                .await
                .unwrap();
            vault
                .remove(&ctx(), NodeId::ROOT, &name("g"))
                .await
                .unwrap();
            if shut_down {
                assert!(vault.shutdown(&ctx()).await.is_empty());
            } else {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            lab
        });
        lab.power_cut();
        live(async { assert_eq!(names(&lab.start().await).await, ["renamed"]) });
    }
}

#[test]
fn p5_a_start_without_a_server_settles_what_it_can() {
    let lab = live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        put(&vault, "f", b"saved").await.unwrap();
        lab
    });
    lab.faults[1].set(State::Gone);
    live(async {
        let vault = lab.start().await;
        assert_eq!(get(&vault, "f").await.unwrap(), b"saved");
        let usage = vault.status(&ctx()).await.unwrap().usage;
        assert_eq!((usage.unsettled, usage.owed_shares), (0, 1));
    });
    lab.power_cut();
    live(async { assert_eq!(get(&lab.start().await, "f").await.unwrap(), b"saved") });
}

#[test]
fn p5_too_few_servers_to_check_a_version_is_not_a_lost_version() {
    let lab = live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        put(&vault, "f", b"old").await.unwrap();
        vault.sync().await.unwrap();
        put(&vault, "f", b"saved").await.unwrap();
        lab
    });
    for state in [State::Gone, State::Failing, State::Hung] {
        lab.faults[0].set(state);
        lab.faults[1].set(state);
        live(async {
            let vault = lab.start().await;
            assert_eq!(lab.memory.usage().await.unwrap().unsettled, 1);
            let error = get(&vault, "f").await.unwrap_err();
            assert!(
                matches!(
                    error,
                    VaultError::TooFewShares {
                        got: 1,
                        needed: 2,
                        ..
                    }
                ),
                "{error}"
            );
        });
    }
    lab.heal();
    live(async { assert_eq!(get(&lab.start().await, "f").await.unwrap(), b"saved") });
}

#[tokio::test(start_paused = true)]
async fn one_file_that_cannot_be_settled_does_not_hold_up_the_others() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    // Taken by A and B only, and then B is gone: one safe share, at A.
    lab.faults[2].set(State::Gone);
    put(&vault, "weak", b"weak").await.unwrap();
    lab.faults[2].heal();
    put(&vault, "sound", b"sound").await.unwrap();
    lab.faults[1].set(State::Gone);
    let handle = rewrite(&vault, "fresh").await.unwrap();
    write_all(&handle, b"fresh").await.unwrap();
    handle.fsync(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let unsettled = lab.memory.unsettled(10).await.unwrap();
    assert_eq!(unsettled.len(), 1, "the weak one alone");
    assert!(vault.sync().await.is_err(), "and whoever asks is told");
    lab.heal();
    vault.sync().await.unwrap();
    assert_eq!(lab.memory.unsettled(10).await.unwrap().len(), 0);
    assert_eq!(version(&vault, "weak").await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_settling_dropped_half_way_is_done_again() {
    let lab = Lab::new(2, 3).await;
    let mut options: Options = lab.options.clone();
    options.settle_every = std::time::Duration::from_secs(3600);
    let vault = lab.start_with(options).await.unwrap();
    put(&vault, "f", b"saved").await.unwrap();
    lab.faults[0].set_delay(std::time::Duration::from_secs(1));
    let dropped = tokio::time::timeout(std::time::Duration::from_millis(100), vault.sync()).await;
    assert!(dropped.is_err());
    vault.sync().await.unwrap();
    assert_eq!(lab.memory.usage().await.unwrap().unsettled, 0);
}

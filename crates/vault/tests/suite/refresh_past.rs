//! P1, P4, P7: the past in a new generation. Old versions get new shares like all others, are read and shown meanwhile, and are brought back
//! in the middle of it.

use std::collections::HashSet;
use std::time::Duration;

use warifu_core::ids::VersionNo;
use warifu_testkit::clock::ManualClock;
use warifu_testkit::stores::{MemoryStore, Method};
use warifu_testkit::world::Death;
use warifu_vault::node::NodeId;
use warifu_vault::refresh::RefreshOptions;
use warifu_vault::seam::catalog::CatalogError;
use warifu_vault::seam::clock::Timestamp;
use warifu_vault::verify::Check;
use warifu_vault::{Access, Options, Vault, VaultError};

use crate::common::{
    EXTENT, Lab, Tree, alike, ctx, get, live, name, noise, open, put, read_all, same, stat, tree,
};
use crate::past::{AS_WRITTEN, as_of, later, restore_all};
use crate::rebuild::from_servers;
use crate::refresh::{extents, generations, refresh};
use crate::refresh_safety::refresh_in;

const ROOT: NodeId = NodeId::ROOT;

#[tokio::test(start_paused = true)]
async fn p1_old_versions_get_new_shares_and_are_shown_meanwhile() {
    let lab = Lab::with_journal(2, 3).await;
    let (one, two) = (lab.start().await, lab.start().await);
    let versions = [noise(1, 9000), noise(2, EXTENT + 5000), noise(3, 700)];
    let mut times = Vec::new();
    put(&one, "gone", &noise(4, EXTENT + 10)).await.unwrap();
    for bytes in &versions {
        put(&one, "f", bytes).await.unwrap();
        times.push(later(&lab));
    }
    one.remove(&ctx(), ROOT, &name("gone")).await.unwrap();
    one.sync().await.unwrap();
    let node = stat(&one, "f").await.node;
    let names: Vec<HashSet<_>> = lab
        .servers
        .iter()
        .map(|server| server.names().into_iter().collect())
        .collect();
    // Opened on the catalogue of before, and read on.
    let shown = as_of(&lab, times[1]).await;
    let gone = stat(&shown, "gone").await.node;
    let kept_open = shown.open(&ctx(), gone, Access::READ).await.unwrap();
    for faults in &lab.faults {
        faults.set_delay(Duration::from_millis(3));
    }
    let looking = async {
        for turn in 0..8 {
            let what = format!("turn {turn}");
            for (number, bytes) in (1..).zip(&versions) {
                let old = two.open_version(&ctx(), node, VersionNo(number)).await;
                same(&read_all(&old.unwrap()).await.unwrap(), bytes, &what);
            }
            same(&get(&shown, "f").await.unwrap(), &versions[1], &what);
            let fresh = as_of(&lab, times[0]).await;
            same(&get(&fresh, "f").await.unwrap(), &versions[0], &what);
            let read = kept_open.read(EXTENT as u64 - 100, 110).await.unwrap();
            let expected = noise(4, EXTENT + 10);
            same(read.expose(), &expected[EXTENT - 100..], &what);
        }
    };
    let refreshes = async {
        for _ in 0..3 {
            refresh_in(&one, 2).await.unwrap();
        }
    };
    tokio::join!(looking, refreshes);
    let report = refresh(&one).await;
    assert!(report.status.is_complete(), "{report:?}");
    let wanted = generations(&lab).await.wanted;
    let records = extents(&lab).await;
    assert!(records.len() > 6 && records.iter().all(|record| record.generation >= wanted));
    for (server, names) in lab.servers.iter().zip(&names) {
        let left = server.names().into_iter();
        let left: Vec<_> = left.filter(|name| names.contains(name)).collect();
        assert_eq!(left, [], "no share of before is left, of no version");
    }
    let shown = as_of(&lab, times[0]).await;
    same(
        &get(&shown, "gone").await.unwrap(),
        &noise(4, EXTENT + 10),
        "gone",
    );
}

const FILES: u64 = 12;

/// Files, and the moment before all of them were overwritten, some removed and one added.
async fn ruined(lab: &Lab, vault: &Vault) -> (Timestamp, Tree) {
    for file in 0..FILES {
        let len = 2_000 + usize::try_from(file).unwrap() * 700;
        put(vault, &format!("f{file}"), &noise(file, len))
            .await
            .unwrap();
    }
    put(vault, "large", &noise(90, EXTENT + 3000))
        .await
        .unwrap();
    let at = later(lab);
    let before = tree(vault).await;
    for file in 0..FILES {
        let path = format!("f{file}");
        if file % 4 == 3 {
            vault.remove(&ctx(), ROOT, &name(&path)).await.unwrap();
        } else {
            put(vault, &path, &noise(100 + file, 3_000)).await.unwrap();
        }
    }
    put(vault, "large", b"encrypted").await.unwrap();
    put(vault, "READ ME", b"pay").await.unwrap();
    vault.sync().await.unwrap();
    (at, before)
}

#[tokio::test(start_paused = true)]
async fn p4_p7_what_is_brought_back_in_the_middle_of_a_refresh() {
    for seed in 0..5_u64 {
        let mut lab = Lab::with_journal(2, 3).await;
        let (one, two) = (lab.start().await, lab.start().await);
        let (at, before) = ruined(&lab, &one).await;
        let ruined_at = later(&lab);
        let ruin = tree(&one).await;
        for (place, faults) in lab.faults.iter().enumerate() {
            faults.set_delay(Duration::from_millis(1 + (seed + place as u64) % 3));
        }
        let restoring = async {
            tokio::time::sleep(Duration::from_millis(seed * 17)).await;
            restore_all(&two, at).await;
            for _ in 0..3 {
                alike(&tree(&two).await, &before, &format!("{seed}: meanwhile"));
            }
        };
        let refreshes = async {
            for _ in 0..4 {
                refresh_in(&one, 2).await.unwrap();
            }
        };
        tokio::join!(restoring, refreshes);
        two.sync().await.unwrap();
        let report = refresh(&one).await;
        assert!(report.status.is_complete(), "{seed}: {report:?}");
        let what = format!("{seed}: after it");
        alike(&tree(&one).await, &before, &what);
        alike(&tree(&as_of(&lab, at).await).await, &before, &what);
        alike(&tree(&as_of(&lab, ruined_at).await).await, &ruin, &what);
        let check = one.check(&ctx(), Check::new(true), &|_| ()).await.unwrap();
        assert!(check.is_clean(), "{seed}: {check:?}");
        two.shutdown(&ctx()).await;
        one.shutdown(&ctx()).await;
        drop((one, two));
        lab.assert_tidy(&what).await;
        let (catalog, report) = from_servers(&lab, &[0, 2]).await;
        assert!(report.lost.is_empty(), "{seed}: {report:?}");
        lab.take_over(catalog);
        let vault = lab.start().await;
        let what = format!("{seed}: from two servers");
        alike(&tree(&vault).await, &before, &what);
        alike(&tree(&as_of(&lab, ruined_at).await).await, &ruin, &what);
    }
}

/// Both are cut off at one moment: what was brought back so far is whole, and both are gone on with.
fn both_die(call: u64) -> bool {
    let (lab, at, before) = live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        let (at, before) = ruined(&lab, &vault).await;
        vault.shutdown(&ctx()).await;
        later(&lab);
        (lab, at, before)
    });
    let died = live(async {
        let vault = lab.start().await;
        lab.world.revive();
        lab.world.die(Death::After(call));
        let both = async {
            let plan = vault.plan_restore(&ctx(), &[], None, at, AS_WRITTEN).await;
            let options = RefreshOptions {
                batch: 3,
                ..RefreshOptions::default()
            };
            let (plan, me) = (plan.unwrap(), ctx());
            tokio::join!(
                vault.refresh(&me, &options, &|_| (), &|| false),
                vault.apply_restore(&me, &plan, &|_, _| ())
            )
        };
        tokio::select! {
            _ = both => false,
            () = lab.world.dead() => true,
        }
    });
    lab.world.revive();
    live(async {
        let vault = lab.start().await;
        // Everything that has a name can be read.
        tree(&vault).await;
        let check = vault
            .check(&ctx(), Check::new(true), &|_| ())
            .await
            .unwrap();
        assert!(check.is_clean(), "{check:?}");
        restore_all(&vault, at).await;
        lab.let_leases_end();
        let vault = lab.start().await;
        let report = refresh(&vault).await;
        assert!(report.status.is_complete(), "{report:?}");
        alike(&tree(&vault).await, &before, "in the end");
        vault.shutdown(&ctx()).await;
        lab.assert_tidy("in the end").await;
    });
    died
}

#[test]
fn p4_a_restore_and_a_refresh_that_are_cut_off_together() {
    let mut calls = 1;
    loop {
        let died = std::panic::catch_unwind(|| both_die(calls));
        if !died.unwrap_or_else(|_| panic!("after call {calls}")) {
            break;
        }
        calls += 7;
    }
    assert!(calls > 100, "{calls} calls are too few to be true");
}

/// Where a refresh went on after it was cut off, files are of several generations, for as long as there is no other one.
#[tokio::test(start_paused = true)]
async fn files_of_several_generations_cost_no_more_requests_than_those_of_one() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    for file in 0..12 {
        put(&vault, &format!("f{file}"), &noise(file, 4000))
            .await
            .unwrap();
    }
    vault.sync().await.unwrap();
    let asked = std::sync::atomic::AtomicU32::new(0);
    let soon = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 8;
    let options = RefreshOptions {
        batch: 1,
        ..RefreshOptions::default()
    };
    let cut = vault
        .refresh(&ctx(), &options, &|_| (), &soon)
        .await
        .unwrap();
    assert!(cut.status.left > 0, "{cut:?}");
    refresh(&vault).await;
    let records = extents(&lab).await;
    let several: HashSet<_> = records.iter().map(|record| record.generation.0).collect();
    assert_eq!(several.len(), 2, "{several:?}");
    let vault = lab.start().await;
    let gets = || -> u64 {
        let servers: &[MemoryStore] = &lab.servers;
        servers.iter().map(|server| server.calls(Method::Get)).sum()
    };
    let before = gets();
    for round in 0..2 {
        for file in 0..12 {
            let path = format!("f{file}");
            same(
                &get(&vault, &path).await.unwrap(),
                &noise(file, 4000),
                &path,
            );
        }
        assert_eq!(gets() - before, (round + 1) * 12 * 2, "k for each file");
    }
}

fn is_silence(error: &VaultError) -> bool {
    matches!(error, VaultError::Catalog(CatalogError::NoAnswer { .. }))
}

/// The catalogue does not answer, and what is not in RAM is read from the servers all the same, as before there were generations.
#[tokio::test(start_paused = true)]
async fn what_is_open_is_read_in_a_silence_of_the_catalogue_after_a_refresh_too() {
    let mut lab = Lab::new(2, 3).await;
    lab.options.catalog_patience = Options::default().catalog_patience;
    let here = lab.machine("here", ManualClock::default()).await;
    let data = noise(5, 3 * EXTENT + 7000);
    put(&here.vault, "large", &data).await.unwrap();
    put(&here.vault, "other", &noise(6, EXTENT + 10))
        .await
        .unwrap();
    here.vault.sync().await.unwrap();
    refresh(&here.vault).await;
    let file = open(&here.vault, "large").await.unwrap();
    same(
        file.read(0, 5000).await.unwrap().expose(),
        &data[..5000],
        "the beginning",
    );
    here.line.cut_off(true);
    same(&read_all(&file).await.unwrap(), &data, "in the silence");
    here.line.cut_off(false);

    // Somebody else refreshes, and this machine hears nothing of it: where its shares are now, nobody can tell.
    let other = open(&here.vault, "other").await.unwrap();
    here.line.cut_off(true);
    refresh(&lab.start().await).await;
    let lost = other.read(EXTENT as u64, 10).await.unwrap_err();
    assert!(is_silence(&lost), "it is not called lost: {lost}");
    here.line.cut_off(false);
    let read = other.read(EXTENT as u64, 10).await.unwrap();
    same(
        read.expose(),
        &noise(6, EXTENT + 10)[EXTENT..],
        "when it answers again",
    );
}

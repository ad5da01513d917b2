//! "It was done, but the answer was lost": at each call of a save.

use warifu_core::ids::VersionNo;
use warifu_testkit::catalogs::CatalogFault;
use warifu_testkit::stores::{Method, Trouble};
use warifu_vault::node::NodeId;
use warifu_vault::seam::store::StoreErrorKind;
use warifu_vault::{FileHandle, Vault, VaultError};

use crate::common::{
    EXTENT, Lab, ctx, get, name, names, noise, open, put, rewrite, same, version, write_all,
};

async fn pause() {
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn p5_a_put_whose_answer_is_lost_costs_nothing() {
    for size in [9000, EXTENT + 9000] {
        for server in 0..3 {
            for nth in 1..=4 {
                let lab = Lab::new(2, 3).await;
                let vault = lab.start().await;
                put(&vault, "f", b"old").await.unwrap();
                lab.faults[server].plan(Method::Put, nth, Trouble::LostReply);
                // The repetition may be lost as well, and then the question what is there.
                if nth > 2 {
                    lab.faults[server].plan(Method::Put, nth + 1, Trouble::LostReply);
                    lab.faults[server].plan(Method::Stat, 1, Trouble::LostReply);
                }
                let bytes = noise(nth, size);
                put(&vault, "f", &bytes).await.unwrap();
                pause().await;
                same(&get(&vault, "f").await.unwrap(), &bytes, "saved");
                assert_eq!(version(&vault, "f").await, VersionNo(2));
                assert_eq!(names(&vault).await, ["f"]);
                lab.assert_tidy("after a lost answer").await;
            }
        }
    }
}

/// A handle with changes that a save will take several writes of the catalogue for.
async fn changed(vault: &Vault, bytes: &[u8]) -> FileHandle {
    let handle = rewrite(vault, "f").await.unwrap();
    write_all(&handle, bytes).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    handle
}

async fn one_fault(fault: CatalogFault, nth: u64, bytes: &[u8], old: &[u8]) -> bool {
    let what = format!("{fault:?} at write {nth}, {} bytes", bytes.len());
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", old).await.unwrap();
    vault.sync().await.unwrap();
    let handle = changed(&vault, bytes).await;
    let before = lab.catalog.writes();
    lab.catalog.fail_write(nth, fault);
    let first = handle.flush(&ctx()).await;
    if lab.catalog.writes() - before < nth {
        return false;
    }
    if let Err(error) = &first {
        assert!(matches!(error, VaultError::Catalog(_)), "{what}: {error}");
        same(
            &read_open(&handle).await,
            bytes,
            "the handle keeps its changes",
        );
    }
    handle
        .flush(&ctx())
        .await
        .unwrap_or_else(|error| panic!("{what}: again: {error}"));
    // And a third save stands on the second.
    handle.write(&ctx(), 3, b"third").await.unwrap();
    handle
        .flush(&ctx())
        .await
        .unwrap_or_else(|error| panic!("{what}: third: {error}"));
    let mut third = bytes.to_vec();
    third.resize(third.len().max(8), 0);
    third[3..8].copy_from_slice(b"third");
    handle.release(&ctx()).await.unwrap();
    assert_eq!(names(&vault).await, ["f"], "{what}: no copy");
    assert_eq!(
        version(&vault, "f").await,
        VersionNo(3),
        "{what}: saved once each"
    );
    pause().await;
    let again = lab.start().await;
    same(&get(&again, "f").await.unwrap(), &third, &what);
    lab.let_leases_end();
    drop(lab.start().await);
    lab.assert_tidy(&what).await;
    true
}

async fn read_open(handle: &FileHandle) -> Vec<u8> {
    crate::common::read_all(handle).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn p5_p8_a_switch_whose_answer_is_lost_is_not_made_twice() {
    let (small, large) = (noise(1, 5000), noise(2, EXTENT + 5000));
    for (bytes, old) in [
        (&small[..], &small[..100]),
        (&large, &large[..50]),
        (b"", b"old"),
    ] {
        for fault in [
            CatalogFault::LostReply,
            CatalogFault::NoAnswer,
            CatalogFault::Full,
        ] {
            let mut nth = 1;
            while one_fault(fault, nth, bytes, old).await {
                nth += 1;
            }
            assert!(nth > 1, "no write of the catalogue was met");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p8_a_copy_whose_answer_is_lost_is_not_made_twice() {
    for fault in [CatalogFault::LostReply, CatalogFault::NoAnswer] {
        for nth in 1..=3 {
            let what = format!("{fault:?} at write {nth}");
            let lab = Lab::new(2, 3).await;
            let vault = lab.start().await;
            put(&vault, "f", b"old").await.unwrap();
            let mine = open(&vault, "f").await.unwrap();
            mine.write(&ctx(), 0, b"mine").await.unwrap();
            put(&lab.start().await, "f", b"theirs").await.unwrap();
            lab.catalog.fail_write(nth, fault);
            let _may_fail = mine.flush(&ctx()).await;
            mine.flush(&ctx())
                .await
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            mine.write(&ctx(), 4, b" too").await.unwrap();
            mine.release(&ctx())
                .await
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let names = names(&vault).await;
            assert_eq!(names.len(), 2, "{what}: {names:?}");
            assert_eq!(get(&vault, "f").await.unwrap(), b"theirs", "{what}");
            let copy = names.iter().find(|name| *name != "f").unwrap();
            assert_eq!(get(&vault, copy).await.unwrap(), b"mine too", "{what}");
            pause().await;
            lab.let_leases_end();
            drop(lab.start().await);
            lab.assert_tidy(&what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p8_a_switch_in_doubt_that_somebody_built_upon_makes_no_copy() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", b"old").await.unwrap();
    let mine = open(&vault, "f").await.unwrap();
    mine.write(&ctx(), 0, b"mine").await.unwrap();
    // begin_save, then the switch.
    lab.catalog.fail_write(2, CatalogFault::LostReply);
    mine.flush(&ctx()).await.unwrap_err();
    let other = lab.start().await;
    assert_eq!(get(&other, "f").await.unwrap(), b"mine");
    put(&other, "f", b"theirs").await.unwrap();
    mine.flush(&ctx()).await.unwrap();
    mine.release(&ctx()).await.unwrap();
    assert_eq!(names(&vault).await, ["f"]);
    assert_eq!(get(&vault, "f").await.unwrap(), b"theirs");
}

#[tokio::test(start_paused = true)]
async fn a_save_whose_lease_ended_is_made_again() {
    for size in [5000, EXTENT + 5000] {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        let bytes = noise(3, size);
        let handle = changed(&vault, &bytes).await;
        // A first try leaves an intent behind.
        lab.faults[0].plan(Method::Put, 1, Trouble::Refused(StoreErrorKind::Full));
        lab.faults[1].plan(Method::Put, 1, Trouble::Refused(StoreErrorKind::Full));
        let first = handle.flush(&ctx()).await;
        assert!(
            matches!(first, Err(VaultError::NotStored { full: true, .. })),
            "{first:?}"
        );
        // The machine sleeps; another one sweeps what it left.
        lab.let_leases_end();
        drop(lab.start().await);
        handle.flush(&ctx()).await.unwrap();
        handle.release(&ctx()).await.unwrap();
        same(&get(&vault, "f").await.unwrap(), &bytes, "saved");
        assert_eq!(names(&vault).await, ["f"]);
        pause().await;
        lab.assert_tidy("after a lapse").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_save_dropped_half_way_can_be_made_again() {
    for millis in (0..120).step_by(5) {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        put(&vault, "f", b"old").await.unwrap();
        let bytes = noise(4, EXTENT + 70_000);
        let handle = changed(&vault, &bytes).await;
        for server in &lab.faults {
            server.set_delay(std::time::Duration::from_millis(40));
        }
        let patience = std::time::Duration::from_millis(millis);
        let _dropped = tokio::time::timeout(patience, handle.fsync(&ctx())).await;
        lab.heal();
        handle.flush(&ctx()).await.unwrap();
        assert_eq!(names(&vault).await, ["f"], "{millis} ms");
        same(&get(&vault, "f").await.unwrap(), &bytes, "saved");
        handle.release(&ctx()).await.unwrap();
        vault.sync().await.unwrap();
        pause().await;
        lab.let_leases_end();
        drop(lab.start().await);
        lab.assert_tidy(&format!("{millis} ms")).await;
        assert_eq!(
            vault
                .lookup(&ctx(), NodeId::ROOT, &name("f"))
                .await
                .unwrap()
                .version,
            VersionNo(2)
        );
    }
}

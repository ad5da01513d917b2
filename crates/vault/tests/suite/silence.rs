//! The catalogue does not answer for a while: what is open can be read, saves wait, and nothing is lost.

use std::time::Duration;

use warifu_testkit::clock::ManualClock;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::CatalogError;
use warifu_vault::{Options, VaultError};

use crate::common::{Lab, Machine, get, name, names, open, put, read_all};

async fn one() -> (Lab, Machine) {
    let mut lab = Lab::new(2, 3).await;
    lab.options.catalog_patience = Options::default().catalog_patience;
    let here = lab.machine("here", ManualClock::default()).await;
    put(&here.vault, "f", b"old contents").await.unwrap();
    (lab, here)
}

fn is_silence(error: &VaultError) -> bool {
    matches!(error, VaultError::Catalog(CatalogError::NoAnswer { .. }))
}

#[tokio::test(start_paused = true)]
async fn what_is_open_stays_readable_and_a_save_waits() {
    let (lab, here) = one().await;
    let file = open(&here.vault, "f").await.unwrap();
    assert_eq!(read_all(&file).await.unwrap(), b"old contents");
    here.line.cut_off(true);
    assert_eq!(read_all(&file).await.unwrap(), b"old contents");
    assert_eq!(file.attr().await.unwrap().size, 12);
    file.write(&here.ctx, 0, b"new").await.unwrap();
    file.write(&here.ctx, 12, b", more").await.unwrap();
    assert_eq!(read_all(&file).await.unwrap(), b"new contents, more");
    assert_eq!(file.attr().await.unwrap().size, 18);
    let save = file.flush(&here.ctx);
    let back = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(here.vault.catalog_silent_since().is_some());
        here.line.cut_off(false);
    };
    tokio::join!(async { save.await.unwrap() }, back);
    assert_eq!(here.vault.catalog_silent_since(), None);
    assert_eq!(
        get(&lab.start().await, "f").await.unwrap(),
        b"new contents, more"
    );
    file.release(&here.ctx).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_save_that_waited_in_vain_keeps_its_changes_and_the_next_one_succeeds() {
    let (lab, here) = one().await;
    let file = open(&here.vault, "f").await.unwrap();
    file.write(&here.ctx, 0, b"new").await.unwrap();
    here.line.cut_off(true);
    let began = tokio::time::Instant::now();
    let failed = file.flush(&here.ctx).await.unwrap_err();
    assert!(is_silence(&failed), "{failed}");
    let waited = began.elapsed();
    assert!(
        (Duration::from_secs(15)..=Duration::from_secs(20)).contains(&waited),
        "it waited {waited:?}"
    );
    here.line.cut_off(false);
    assert_eq!(get(&lab.start().await, "f").await.unwrap(), b"old contents");
    file.fsync(&here.ctx).await.unwrap();
    file.release(&here.ctx).await.unwrap();
    assert_eq!(get(&lab.start().await, "f").await.unwrap(), b"new contents");
    tokio::time::sleep(Duration::from_secs(5)).await;
    lab.assert_tidy("after the silence").await;
}

/// The program has given up and closed the file. Its work has not.
#[tokio::test(start_paused = true)]
async fn what_was_closed_in_the_silence_is_saved_when_it_ends() {
    for reopened in [false, true] {
        let (lab, here) = one().await;
        let file = open(&here.vault, "f").await.unwrap();
        file.write(&here.ctx, 0, b"new").await.unwrap();
        here.line.cut_off(true);
        assert!(is_silence(&file.flush(&here.ctx).await.unwrap_err()));
        assert!(is_silence(&file.release(&here.ctx).await.unwrap_err()));
        drop(file);
        tokio::time::sleep(Duration::from_secs(600)).await;
        here.line.cut_off(false);
        if reopened {
            // Whoever opens it finds the changes.
            assert_eq!(get(&here.vault, "f").await.unwrap(), b"new contents");
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(get(&lab.start().await, "f").await.unwrap(), b"new contents");
        assert_eq!(here.vault.memory_in_use().files, 0, "reopened: {reopened}");
        assert!(here.vault.shutdown(&here.ctx).await.is_empty());
        lab.assert_tidy("after the silence").await;
    }
}

#[tokio::test(start_paused = true)]
async fn p8_what_was_closed_in_the_silence_meets_a_newer_version() {
    let (lab, here) = one().await;
    let there = lab.machine("there", ManualClock::default()).await;
    let file = open(&here.vault, "f").await.unwrap();
    file.write(&here.ctx, 0, b"mine").await.unwrap();
    here.line.cut_off(true);
    assert!(file.release(&here.ctx).await.is_err());
    put(&there.vault, "f", b"theirs").await.unwrap();
    here.line.cut_off(false);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(get(&there.vault, "f").await.unwrap(), b"theirs");
    let mut names = names(&there.vault).await;
    names.retain(|name| name.contains("conflict"));
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(get(&there.vault, &names[0]).await.unwrap(), b"minecontents");
}

#[tokio::test(start_paused = true)]
async fn an_unmount_tries_again_and_names_what_is_lost() {
    for back in [false, true] {
        let (lab, here) = one().await;
        for file in ["g", "h"] {
            put(&here.vault, file, b"old").await.unwrap();
        }
        for file in ["f", "g", "h"] {
            let file = open(&here.vault, file).await.unwrap();
            file.write(&here.ctx, 0, b"new").await.unwrap();
            here.line.cut_off(true);
            assert!(file.release(&here.ctx).await.is_err());
            here.line.cut_off(false);
        }
        here.line.cut_off(!back);
        let began = tokio::time::Instant::now();
        let lost = here.vault.shutdown(&here.ctx).await;
        assert_eq!(lost.len(), if back { 0 } else { 3 });
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "all together wait as long as one: {:?}",
            began.elapsed()
        );
        let expected: &[u8] = if back { b"new" } else { b"old" };
        for file in ["g", "h"] {
            assert_eq!(get(&lab.start().await, file).await.unwrap(), expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_not_guessed_in_the_silence() {
    let (_lab, here) = one().await;
    here.line.cut_off(true);
    let failed = here.vault.lookup(&here.ctx, NodeId::ROOT, &name("f")).await;
    assert!(is_silence(&failed.unwrap_err()));
    let failed = here
        .vault
        .remove(&here.ctx, NodeId::ROOT, &name("f"))
        .await
        .unwrap_err();
    assert!(is_silence(&failed), "{failed}");
    here.line.cut_off(false);
    assert_eq!(names(&here.vault).await, ["f"]);
}

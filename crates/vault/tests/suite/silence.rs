//! The catalogue does not answer for a while: what is open can be read, saves wait, and nothing is lost.

use std::time::Duration;

use warifu_testkit::catalogs::CatalogFault;
use warifu_testkit::clock::ManualClock;
use warifu_testkit::stores::State;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{Catalog, CatalogError};
use warifu_vault::{Access, Options, VaultError};

use crate::common::{EXTENT, Lab, Machine, ctx, get, name, names, open, put, read_all, same, stat};

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

/// Somebody opens the document again, and the catalogue still does not answer.
#[tokio::test(start_paused = true)]
async fn p5_an_open_that_fails_takes_nothing_along_that_was_left_behind() {
    for all in [true, false] {
        let (lab, here) = one().await;
        let silent = |silent: bool| match all {
            true => here.line.cut_off(silent),
            // Another process is writing: what only asks is answered.
            false => here
                .line
                .fail_writes(silent.then_some(CatalogFault::NoAnswer)),
        };
        let node = stat(&here.vault, "f").await.node;
        let file = open(&here.vault, "f").await.unwrap();
        file.write(&here.ctx, 0, b"new").await.unwrap();
        silent(true);
        assert!(is_silence(&file.release(&here.ctx).await.unwrap_err()));
        drop(file);
        let again = here.vault.open(&here.ctx, node, Access::READ).await;
        assert!(is_silence(&again.unwrap_err()));
        silent(false);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(get(&lab.start().await, "f").await.unwrap(), b"new contents");
        assert_eq!(here.vault.memory_in_use().files, 0);
        assert!(here.vault.shutdown(&here.ctx).await.is_empty());
    }
}

/// The same, by somebody who was waiting to open it while it was closed.
#[tokio::test(start_paused = true)]
async fn p5_an_open_that_fails_takes_nothing_along_that_is_left_behind_meanwhile() {
    let (lab, here) = one().await;
    let node = stat(&here.vault, "f").await.node;
    let file = open(&here.vault, "f").await.unwrap();
    file.write(&here.ctx, 0, b"new").await.unwrap();
    here.line.cut_off(true);
    let release = file.release(&here.ctx);
    let again = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        here.vault.open(&here.ctx, node, Access::READ).await
    };
    let (released, again) = tokio::join!(release, again);
    assert!(is_silence(&released.unwrap_err()));
    assert!(is_silence(&again.unwrap_err()));
    drop(file);
    here.line.cut_off(false);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(get(&lab.start().await, "f").await.unwrap(), b"new contents");
}

#[tokio::test(start_paused = true)]
async fn p8_what_was_left_behind_of_a_file_removed_meanwhile_is_kept_as_a_copy() {
    let (lab, here) = one().await;
    let there = lab.machine("there", ManualClock::default()).await;
    let node = stat(&here.vault, "f").await.node;
    let file = open(&here.vault, "f").await.unwrap();
    file.write(&here.ctx, 0, b"mine").await.unwrap();
    here.line.cut_off(true);
    assert!(file.release(&here.ctx).await.is_err());
    drop(file);
    // Somebody there has it open, so the catalogue keeps it without a name.
    let reader = open(&there.vault, "f").await.unwrap();
    let removed = there
        .vault
        .remove(&there.ctx, NodeId::ROOT, &name("f"))
        .await;
    removed.unwrap();
    here.line.cut_off(false);
    let again = here.vault.open(&here.ctx, node, Access::READ).await;
    assert!(matches!(again, Err(VaultError::Stale)), "{again:?}");
    tokio::time::sleep(Duration::from_secs(30)).await;
    reader.release(&there.ctx).await.unwrap();
    let kept = names(&there.vault).await;
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(get(&there.vault, &kept[0]).await.unwrap(), b"minecontents");
}

/// The catalogue is back before the servers are, and somebody looks at the file.
#[tokio::test(start_paused = true)]
async fn p5_what_was_left_behind_outlasts_whoever_opens_the_file_meanwhile() {
    let (lab, here) = one().await;
    let node = stat(&here.vault, "f").await.node;
    let file = open(&here.vault, "f").await.unwrap();
    file.write(&here.ctx, 0, b"new").await.unwrap();
    here.line.cut_off(true);
    assert!(is_silence(&file.release(&here.ctx).await.unwrap_err()));
    for server in &lab.faults {
        server.set(State::Gone);
    }
    here.line.cut_off(false);
    let reader = here.vault.open(&ctx(), node, Access::READ).await.unwrap();
    let error = reader.release(&ctx()).await.unwrap_err();
    assert!(!is_silence(&error), "{error}");
    lab.heal();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(get(&lab.start().await, "f").await.unwrap(), b"new contents");
    let (_, version) = lab.memory.current(node).await.unwrap();
    assert_eq!(version.unwrap().host, here.ctx.host, "saved as whose it is");
    assert_eq!(here.vault.memory_in_use().files, 0);
    assert!(here.vault.shutdown(&ctx()).await.is_empty());
}

/// Whoever reads it may do so all day.
#[tokio::test(start_paused = true)]
async fn what_was_left_behind_is_saved_while_somebody_else_has_it_open() {
    let (lab, here) = one().await;
    let node = stat(&here.vault, "f").await.node;
    let reader = here.vault.open(&here.ctx, node, Access::READ).await;
    let reader = reader.unwrap();
    let file = open(&here.vault, "f").await.unwrap();
    file.write(&here.ctx, 0, b"new").await.unwrap();
    here.line.cut_off(true);
    assert!(is_silence(
        &file.release_saved(&here.ctx).await.unwrap_err()
    ));
    here.line.cut_off(false);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(get(&lab.start().await, "f").await.unwrap(), b"new contents");
    assert_eq!(read_all(&reader).await.unwrap(), b"new contents");
    reader.release(&here.ctx).await.unwrap();
    assert_eq!(here.vault.memory_in_use().files, 0);
}

/// The first of those left behind that are tried fail for reasons of their own.
#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_saved_hold_up_no_other() {
    const FILES: usize = 6;
    const TICK: Duration = Duration::from_secs(60);
    let lab = Lab::new(2, 3).await;
    let mut options = lab.options.clone();
    options.settle_every = TICK;
    let here = lab.start_with(options).await.unwrap();
    let mut files = Vec::new();
    for number in 0..FILES {
        let path = format!("f{number}");
        put(&here, &path, b"old").await.unwrap();
        files.push(open(&here, &path).await.unwrap());
    }
    // What was put is settled, so that nothing is written at the next tick but what was left behind.
    tokio::time::sleep(TICK + TICK / 2).await;
    lab.catalog.cut_off(true);
    for file in &files {
        file.write(&ctx(), 0, b"new").await.unwrap();
        assert!(is_silence(&file.release(&ctx()).await.unwrap_err()));
    }
    lab.catalog.cut_off(false);
    // The tick itself may write before it comes to them.
    for write in 1..=3 {
        lab.catalog.fail_write(write, CatalogFault::Full);
    }
    tokio::time::sleep(TICK).await;
    let third = lab.start().await;
    let mut saved = 0;
    for number in 0..FILES {
        let contents = get(&third, &format!("f{number}")).await.unwrap();
        saved += usize::from(contents == b"new");
    }
    assert!((FILES - 3..FILES).contains(&saved), "{saved}");
    tokio::time::sleep(TICK).await;
    assert_eq!(here.memory_in_use().files, 0);
    assert!(here.shutdown(&ctx()).await.is_empty());
}

/// While a save waits for the catalogue, what is in RAM can be written and read, and what is written in time is saved with the rest.
#[tokio::test(start_paused = true)]
async fn a_save_that_waits_for_the_catalogue_holds_up_nobody_who_needs_ram_only() {
    for grown in [0, 5 * EXTENT] {
        let (lab, here) = one().await;
        let file = open(&here.vault, "f").await.unwrap();
        assert_eq!(read_all(&file).await.unwrap(), b"old contents");
        file.write(&here.ctx, 0, b"new").await.unwrap();
        here.line.answer_after(Duration::from_secs(10));
        let save = async {
            file.flush(&here.ctx).await.unwrap();
            here.line.answer_after(Duration::ZERO);
        };
        let work = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let began = tokio::time::Instant::now();
            file.write(&here.ctx, 3, b"er").await.unwrap();
            file.grow_to(&here.ctx, grown as u64).await.unwrap();
            if grown > 0 {
                for extent in 1..5 {
                    let at = (extent * EXTENT) as u64;
                    file.write(&here.ctx, at, b"more").await.unwrap();
                }
            }
            let begin = file.read(0, 12).await.unwrap();
            assert_eq!(begin.expose(), b"newerontents");
            assert!(file.size().await >= 12);
            assert_eq!(began.elapsed(), Duration::ZERO);
        };
        tokio::join!(save, work);
        let mut expected = b"newerontents".to_vec();
        expected.resize(grown.max(12), 0);
        for extent in (1..5).take_while(|extent| extent * EXTENT < grown) {
            expected[extent * EXTENT..][..4].copy_from_slice(b"more");
        }
        let saved = get(&lab.start().await, "f").await.unwrap();
        same(&saved, &expected, "what was written while it waited");
        file.release(&here.ctx).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        lab.assert_tidy("after the save").await;
    }
}

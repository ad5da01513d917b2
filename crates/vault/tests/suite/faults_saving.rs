//! P4 and P5: servers that are gone, full, read-only, slow, hanging or forgetful, while files are saved.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use warifu_core::format::ExtentKind;
use warifu_testkit::stores::{Lie, MemoryStore, State};
use warifu_vault::VaultError;
use warifu_vault::error::Fault;
use warifu_vault::seam::catalog::Catalog;
use warifu_vault::status::ServerState;
use warifu_vault::verify::{Finding, VerifyOptions, VerifyReport};

use crate::common::lab::server_name;
use crate::common::{
    EXTENT, Lab, ctx, get, noise, open, put, read_all, rewrite, same, version, write_all,
};

/// What files are owed; the journal is owed as much.
async fn owed(lab: &Lab) -> u64 {
    let mut owed = lab.memory.owed(None, usize::MAX).await.unwrap();
    owed.retain(|record| record.kind != ExtentKind::Journal);
    owed.iter().map(|record| u64::from(record.owed.len())).sum()
}

fn of_files(report: &VerifyReport) -> Vec<&Finding> {
    let findings = report.findings.iter();
    findings
        .filter(|finding| finding.file != "(the journal)")
        .collect()
}

#[tokio::test(start_paused = true)]
async fn p5_a_save_without_one_server_is_degraded_and_said_so() {
    for (state, fault) in [
        (State::Gone, Fault::NoAnswer),
        (State::Hung, Fault::NoAnswer),
        (State::Full, Fault::Missing),
        (State::ReadOnly, Fault::Missing),
        (State::Failing, Fault::Failed),
    ] {
        for place in 0..3 {
            for (size, extents) in [(5000, 1), (EXTENT + 1, 3)] {
                let what = format!("{state:?} at {}, {size} bytes", server_name(place));
                let lab = Lab::new(2, 3).await;
                let vault = lab.start().await;
                put(&vault, "f", b"old").await.unwrap();
                vault.sync().await.unwrap();
                lab.faults[place].set(state);
                put(&vault, "f", &noise(1, size)).await.unwrap();
                vault.sync().await.unwrap();
                assert_eq!(owed(&lab).await, extents, "{what}");
                let report = vault
                    .verify(&ctx(), VerifyOptions::default(), &|_| ())
                    .await
                    .unwrap();
                let mut of_new = of_files(&report);
                of_new.retain(|finding| finding.owed);
                assert_eq!(of_new.len() as u64, extents, "{what}");
                for finding in of_new {
                    assert_eq!(
                        (finding.server.as_str(), finding.fault),
                        (server_name(place).as_str(), fault),
                        "{what}"
                    );
                    assert_eq!(finding.file, "/f");
                }
                // Any two that took it give it back, to another machine as well.
                same(
                    &get(&lab.start().await, "f").await.unwrap(),
                    &noise(1, size),
                    &what,
                );
                let status = vault.status(&ctx()).await.unwrap();
                let shown = &status.servers[place].state;
                let away = matches!(state, State::Gone | State::Hung | State::Failing);
                assert_eq!(
                    matches!(shown, ServerState::Away(_)),
                    away,
                    "{what}: {shown:?}"
                );
                assert_eq!(status.spare, if away { 0 } else { 1 }, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p4_a_server_that_forgets_what_it_acknowledged_is_found() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    lab.faults[0].tell(Lie::ForgetsWrites);
    put(&vault, "f", &noise(1, EXTENT + 1)).await.unwrap();
    // What is not settled yet the next start checks, and finds; this is about what it takes for granted.
    vault.sync().await.unwrap();
    same(
        &get(&lab.start().await, "f").await.unwrap(),
        &noise(1, EXTENT + 1),
        "f",
    );
    for deep in [false, true] {
        let report = vault
            .verify(&ctx(), VerifyOptions { deep }, &|_| ())
            .await
            .unwrap();
        assert_eq!(of_files(&report).len(), 3);
        assert!(report.findings.iter().all(|finding| finding.server == "A"
            && finding.fault == Fault::Missing
            && !finding.owed));
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_save_that_cannot_be_stored_fails_and_can_be_made_again() {
    for size in [5000, EXTENT + 70_000] {
        for (state, room) in [
            (State::Full, true),
            (State::Gone, false),
            (State::ReadOnly, false),
            (State::Failing, false),
            (State::Hung, false),
        ] {
            let what = format!("{state:?}, {size} bytes");
            let lab = Lab::new(2, 3).await;
            let vault = lab.start().await;
            put(&vault, "f", b"old").await.unwrap();
            vault.sync().await.unwrap();
            let handle = rewrite(&vault, "f").await.unwrap();
            lab.faults[0].set(state);
            lab.faults[2].set(state);
            write_all(&handle, &noise(1, size)).await.unwrap();
            for turn in 0..5 {
                let error = handle.flush(&ctx()).await.unwrap_err();
                let VaultError::NotStored {
                    file,
                    needed,
                    got,
                    full,
                    faults,
                } = &error
                else {
                    panic!("{what}: {error}");
                };
                assert_eq!(
                    (file.as_str(), *needed, *got, *full),
                    ("/f", 2, 1, room),
                    "{what}, try {turn}"
                );
                let mut blamed: Vec<_> = faults.iter().map(|fault| fault.server.as_str()).collect();
                blamed.sort_unstable();
                assert_eq!(blamed, ["A", "C"], "{what}: {error}");
                same(
                    &read_all(&handle).await.unwrap(),
                    &noise(1, size),
                    "the handle keeps its changes",
                );
            }
            // The old version is there, for everybody else too.
            sleep(Duration::from_secs(120)).await;
            let objects =
                |server: &MemoryStore| server.names().iter().filter(|name| name.is_share()).count();
            assert!(
                objects(&lab.servers[1]) <= 4,
                "{what}: failed saves pile up: {}",
                objects(&lab.servers[1])
            );
            lab.heal();
            let mut options = lab.options.clone();
            options.read_only = true;
            assert_eq!(
                get(&lab.start_with(options).await.unwrap(), "f")
                    .await
                    .unwrap(),
                b"old",
                "{what}"
            );
            assert_eq!(version(&vault, "f").await.0, 1);
            // Now there is room.
            handle.flush(&ctx()).await.unwrap();
            handle.release(&ctx()).await.unwrap();
            same(
                &get(&lab.start().await, "f").await.unwrap(),
                &noise(1, size),
                &what,
            );
            vault.sync().await.unwrap();
            lab.let_leases_end();
            drop(lab.start().await);
            lab.assert_tidy(&what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_save_lost_at_the_last_close_is_named() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", b"old").await.unwrap();
    let handle = open(&vault, "f").await.unwrap();
    handle.write(&ctx(), 0, b"new").await.unwrap();
    lab.faults[0].set(State::Gone);
    lab.faults[1].set(State::Gone);
    let error = handle.release(&ctx()).await.unwrap_err();
    assert!(
        matches!(error, VaultError::NotStored { got: 1, .. }),
        "{error}"
    );
    lab.heal();
    assert_eq!(get(&vault, "f").await.unwrap(), b"old");
    let lost = vault.shutdown(&ctx()).await;
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].path, "/f");
    assert!(
        lost[0].error.to_string().contains("A: no answer"),
        "{}",
        lost[0].error
    );
}

#[tokio::test(start_paused = true)]
async fn p5_a_shutdown_saves_what_is_open_and_names_what_it_cannot() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let handles = [
        rewrite(&vault, "f").await.unwrap(),
        rewrite(&vault, "g").await.unwrap(),
    ];
    write_all(&handles[0], b"saved").await.unwrap();
    assert!(vault.shutdown(&ctx()).await.is_empty());
    assert_eq!(get(&lab.start().await, "f").await.unwrap(), b"saved");
    let vault = lab.start().await;
    let handle = open(&vault, "g").await.unwrap();
    handle.write(&ctx(), 0, b"lost").await.unwrap();
    lab.faults.iter().for_each(|server| server.set(State::Gone));
    let lost = vault.shutdown(&ctx()).await;
    assert_eq!(
        lost.iter()
            .map(|lost| lost.path.as_str())
            .collect::<Vec<_>>(),
        ["/g"]
    );
    assert!(matches!(
        rewrite(&vault, "h").await,
        Err(VaultError::ShuttingDown)
    ));
}

#[tokio::test(start_paused = true)]
async fn one_server_for_all_and_all_for_one() {
    for (k, n) in [(1, 1), (2, 2), (1, 3), (3, 3)] {
        let lab = Lab::new(k, n).await;
        let vault = lab.start().await;
        put(&vault, "f", &noise(1, EXTENT + 1)).await.unwrap();
        same(&get(&vault, "f").await.unwrap(), &noise(1, EXTENT + 1), "f");
        for place in 0..usize::from(n) {
            lab.faults[place].set(State::Gone);
            let saved = put(&vault, "g", b"g").await;
            if k == n {
                assert!(
                    matches!(saved, Err(VaultError::NotStored { full: false, .. })),
                    "{k} of {n}: {saved:?}"
                );
            } else {
                saved.unwrap();
            }
            lab.heal();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn late_answers_pay_what_was_owed() {
    for size in [5000, EXTENT + 70_000] {
        for late in [Duration::from_millis(300), Duration::from_secs(8)] {
            let lab = Lab::new(2, 3).await;
            let vault = lab.start().await;
            lab.faults[2].set_delay(late);
            let begin = Instant::now();
            put(&vault, "f", &noise(1, size)).await.unwrap();
            let patience = Duration::from_millis(5500);
            assert!(begin.elapsed() < patience, "{:?}", begin.elapsed());
            sleep(Duration::from_secs(60)).await;
            assert_eq!(owed(&lab).await, 0, "{late:?}");
            lab.heal();
            vault.sync().await.unwrap();
            lab.assert_tidy("after late answers").await;
            // They are as safe from a power cut as the others.
            lab.power_cut();
            lab.faults[0].set(State::Gone);
            same(
                &get(&lab.start().await, "f").await.unwrap(),
                &noise(1, size),
                "after the power cut",
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_server_does_not_make_each_save_wait_for_it() {
    for (k, n) in [(2, 3), (3, 5)] {
        let lab = Lab::new(k, n).await;
        let vault = lab.start().await;
        put(&vault, "f", b"old").await.unwrap();
        vault.sync().await.unwrap();
        lab.faults[1].set(State::Hung);
        for turn in 0..12_u64 {
            let begin = Instant::now();
            put(&vault, "f", &noise(turn, 5000)).await.unwrap();
            let took = begin.elapsed();
            let limit = if turn == 0 { 5500 } else { 600 };
            assert!(
                took < Duration::from_millis(limit),
                "{k} of {n}, save {turn}: {took:?}"
            );
        }
        let begin = Instant::now();
        let handle = open(&vault, "f").await.unwrap();
        handle.write(&ctx(), 0, b"x").await.unwrap();
        handle.fsync(&ctx()).await.unwrap();
        handle.release(&ctx()).await.unwrap();
        assert!(
            begin.elapsed() < Duration::from_millis(1500),
            "{:?}",
            begin.elapsed()
        );
        // When it is back, saves are whole again.
        lab.heal();
        sleep(Duration::from_secs(60)).await;
        put(&vault, "g", b"g").await.unwrap();
        let node = crate::common::stat(&vault, "g").await.node;
        let head = lab.memory.current(node).await.unwrap().0.head.unwrap();
        assert!(
            lab.memory
                .extent(head)
                .await
                .unwrap()
                .unwrap()
                .owed
                .is_empty()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_told_from_other_failures() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", b"old").await.unwrap();
    vault.sync().await.unwrap();
    lab.servers[0].set_capacity(Some(9000));
    lab.servers[1].set_capacity(Some(9000));
    let error = put(&vault, "f", &noise(1, 50_000)).await.unwrap_err();
    assert!(
        matches!(
            error,
            VaultError::NotStored {
                full: true,
                got: 1,
                ..
            }
        ),
        "{error}"
    );
    let status = vault.status(&ctx()).await.unwrap();
    assert_eq!(status.servers[0].state, ServerState::Full);
    assert_eq!(vault.space().await.unwrap().total, Some(9000));
    assert_eq!(get(&vault, "f").await.unwrap(), b"old");
    // One of the two is gone and the other is full: with room at the full one, it would have been enough.
    lab.servers[1].set_capacity(None);
    lab.faults[1].set(State::Gone);
    let error = put(&vault, "f", &noise(1, 50_000)).await.unwrap_err();
    assert!(
        matches!(
            error,
            VaultError::NotStored {
                full: true,
                got: 1,
                ..
            }
        ),
        "{error}"
    );
    // With all others gone, room alone would not help.
    lab.faults[2].set(State::Gone);
    let error = put(&vault, "f", &noise(1, 50_000)).await.unwrap_err();
    assert!(
        matches!(
            error,
            VaultError::NotStored {
                full: false,
                got: 0,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_extent_that_could_not_be_sent_early_is_sent_at_the_save() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let handle = rewrite(&vault, "f").await.unwrap();
    lab.faults[0].set(State::Failing);
    lab.faults[1].set(State::Failing);
    let bytes = noise(1, 6 * EXTENT + 5);
    write_all(&handle, &bytes).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    lab.heal();
    handle.flush(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    same(&get(&lab.start().await, "f").await.unwrap(), &bytes, "f");
    sleep(Duration::from_secs(1)).await;
    // What could not be removed while the servers failed is removed when its lease has ended.
    lab.let_leases_end();
    drop(lab.start().await);
    lab.assert_tidy("after the save").await;
}

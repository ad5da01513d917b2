//! P7: an old catalogue was brought back from a backup and worked on, and then it is lost too.

use std::time::Duration;

use warifu_testkit::catalogs::MemoryCatalog;
use warifu_vault::Vault;
use warifu_vault::node::NodeId;
use warifu_vault::rebuild::{AdoptedAs, RebuildReport};

use crate::common::{Lab, ctx, get, name, names, noise, put, same, stat};
use crate::rebuild::{from_servers, rename, take_over};
use crate::rebuild_gaps::checkpoint;

async fn folder(vault: &Vault, folder: &str) {
    vault
        .make_dir(&ctx(), NodeId::ROOT, &name(folder), 0o700)
        .await
        .unwrap();
    vault.sync().await.unwrap();
}

/// A backup is made, work goes on for a while, and is lost.
async fn lost_week(lab: &Lab) -> MemoryCatalog {
    let vault = lab.start().await;
    put(&vault, "letter", &noise(1, 500)).await.unwrap();
    put(&vault, "sheet", &noise(2, 500)).await.unwrap();
    vault.sync().await.unwrap();
    let backup = lab.memory.backup();
    for made in ["week 1", "week 2", "week 3", "week 4"] {
        folder(&vault, made).await;
    }
    rename(&vault, "sheet", "sheet of that week").await.unwrap();
    for seed in 10..13 {
        put(&vault, "letter", &noise(seed, 500)).await.unwrap();
        vault.sync().await.unwrap();
    }
    put(&vault, "of that week", &noise(20, 500)).await.unwrap();
    vault.sync().await.unwrap();
    drop(vault);
    backup
}

fn adopted(report: &RebuildReport) -> Vec<(&str, u64, AdoptedAs)> {
    let mut adopted: Vec<_> = report
        .adopted
        .iter()
        .map(|adopted| (adopted.path.as_str(), adopted.version.0, adopted.how))
        .collect();
    adopted.sort_by_key(|(path, version, _)| (*path, *version));
    adopted
}

/// What people saw last is what they get, whole; what was saved in the week that they had lost before is beside it.
#[tokio::test(start_paused = true)]
async fn p7_p8_of_two_timelines_the_last_one_counts_and_no_save_is_lost() {
    for with_checkpoint in [false, true] {
        let lab = Lab::with_journal(2, 3).await;
        let backup = lost_week(&lab).await;
        lab.clock.advance(Duration::from_secs(7 * 24 * 3600));
        let mut lab = take_over(lab, backup.clone());
        lab.memory = backup;
        let vault = lab.start().await;
        folder(&vault, "today").await;
        put(&vault, "letter", &noise(30, 500)).await.unwrap();
        vault.sync().await.unwrap();
        if with_checkpoint {
            // Much is written, and the older segments of this timeline go.
            checkpoint(&lab, &vault, "letter").await;
        }
        assert!(vault.shutdown(&ctx()).await.is_empty());
        let (catalog, report) = from_servers(&lab, &[0, 1, 2]).await;
        let [other] = &report.journal.others[..] else {
            panic!("{report:?}");
        };
        assert_eq!(other.saves, 4, "{report:?}");
        assert!(!report.is_whole() && report.undecided, "{report:?}");
        assert!(report.journal.gaps.is_empty(), "{report:?}");
        assert!(report.moved.is_empty() && report.lost.is_empty());
        let adopted = adopted(&report);
        let [
            (copy, 1, AdoptedAs::Copy),
            (second, 2, AdoptedAs::Copy),
            (third, 3, AdoptedAs::Copy),
            ("/of that week", 1, AdoptedAs::File),
        ] = adopted[..]
        else {
            panic!("{adopted:?}");
        };
        assert!(copy == second && second == third, "one copy: {adopted:?}");

        let lab = take_over(lab, catalog);
        let vault = lab.start().await;
        let copy = copy.trim_start_matches('/').to_owned();
        let mut expected = vec!["letter", "of that week", "sheet", "today", &copy];
        expected.sort_unstable();
        assert_eq!(names(&vault).await, expected);
        same(
            &get(&vault, "letter").await.unwrap(),
            &noise(30, 500),
            "the letter of today",
        );
        same(
            &get(&vault, &copy).await.unwrap(),
            &noise(12, 500),
            "the letter of that week",
        );
        let copied = stat(&vault, &copy).await.node;
        let history = vault.history(&ctx(), copied).await.unwrap();
        assert_eq!(history.len(), 3, "with its versions");
        let letter = stat(&vault, "letter").await.node;
        assert_eq!(vault.history(&ctx(), letter).await.unwrap().len(), 2);
    }
}

/// The week that was lost is the last thing that was written: the backup was looked at, and nobody worked on it.
#[tokio::test(start_paused = true)]
async fn p7_a_backup_that_was_only_looked_at_changes_nothing() {
    let lab = Lab::with_journal(2, 3).await;
    let _backup = lost_week(&lab).await;
    let (catalog, report) = from_servers(&lab, &[0, 2]).await;
    assert!(report.is_whole() && !report.undecided, "{report:?}");
    let lab = take_over(lab, catalog);
    let vault = lab.start().await;
    same(
        &get(&vault, "letter").await.unwrap(),
        &noise(12, 500),
        "letter",
    );
    assert!(names(&vault).await.contains(&"week 4".to_owned()));
}

/// An attempt at a segment that was cut off, beside the one that took its number, is no timeline.
#[tokio::test(start_paused = true)]
async fn p7_an_attempt_that_came_to_nothing_is_no_timeline() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    folder(&vault, "one").await;
    // The attempt's commit is lost, and with it the knowledge of it: the catalogue is as it was before.
    let before = lab.memory.backup();
    folder(&vault, "two").await;
    drop(vault);
    let mut lab = take_over(lab, before.clone());
    lab.memory = before;
    let vault = lab.start().await;
    folder(&vault, "two").await;
    put(&vault, "f", b"f").await.unwrap();
    vault.sync().await.unwrap();
    assert!(vault.shutdown(&ctx()).await.is_empty());
    let (_, report) = from_servers(&lab, &[0, 1, 2]).await;
    assert!(report.is_whole() && !report.undecided, "{report:?}");
}

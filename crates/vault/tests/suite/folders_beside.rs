//! P1, P4: folders that ask for another threshold, beside other machines, refreshes, changes of the vault's threshold, rebuilds and restores.

use std::time::Duration;

use warifu_core::format::ExtentKind;
use warifu_testkit::stores::State;
use warifu_vault::VaultError;
use warifu_vault::context::{Act, AuditEntry};
use warifu_vault::node::NodeId;
use warifu_vault::refresh::RefreshOptions;
use warifu_vault::seam::catalog::{Catalog as _, Durability, RenameMode, Write, XattrMode};
use warifu_vault::seam::clock::Timestamp;

use crate::common::rebuilding::from_servers;
use crate::common::{Lab, ctx, name, noise};
use crate::folders::{ask, deal, dealt, folder, put};
use crate::refresh::{extents, refresh};
use crate::threshold::threshold;

const ROOT: NodeId = NodeId::ROOT;

/// Machines that have the vault open learn of it within a second; a refresh that was begun by one who had not is no harm.
#[tokio::test(start_paused = true)]
async fn p1_other_machines_deal_as_a_folder_asks_within_a_second() {
    let lab = Lab::new(2, 3).await;
    let (vault, drive) = (lab.start().await, lab.start().await);
    let staff = folder(&vault, ROOT, "staff").await;
    ask(&vault, staff, Some(threshold(3, 3))).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let attr = put(&drive, staff, "f", &noise(1, 5000)).await;
    assert_eq!(dealt(&lab, attr.document).await, [threshold(3, 3)]);
    ask(&vault, staff, None).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    put(&drive, staff, "f", &noise(2, 5000)).await;
    drive.sync().await.unwrap();
    assert_eq!(
        dealt(&lab, attr.document).await,
        [threshold(2, 3), threshold(3, 3)]
    );
    let report = deal(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    assert_eq!(dealt(&lab, attr.document).await, [threshold(2, 3)]);
}

/// A change of the vault's threshold keeps what folders ask, as far as it can be had.
#[tokio::test(start_paused = true)]
async fn p1_a_change_of_the_vaults_threshold_keeps_what_folders_ask() {
    let mut lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let staff = folder(&vault, ROOT, "staff").await;
    ask(&vault, staff, Some(threshold(3, 3))).await;
    let inside = put(&vault, staff, "f", &noise(1, 5000)).await;
    let outside = put(&vault, ROOT, "g", &noise(2, 5000)).await;
    vault.shutdown(&ctx()).await;
    drop(vault);
    for (to, expected) in [((2, 5), (3, 3)), ((4, 5), (4, 4)), ((2, 4), (3, 3))] {
        let (to, expected) = (threshold(to.0, to.1), threshold(expected.0, expected.1));
        lab.change_to(to);
        let vault = lab.start().await;
        let report = refresh(&vault).await;
        assert!(report.status.is_complete(), "{to:?}: {report:?}");
        assert_eq!(dealt(&lab, inside.document).await, [expected], "{to:?}");
        assert_eq!(dealt(&lab, outside.document).await, [to]);
        let asked = vault.folder_thresholds().await.unwrap();
        assert_eq!(
            (asked[0].threshold, asked[0].effective),
            (threshold(3, 3), expected)
        );
        vault.shutdown(&ctx()).await;
        drop(vault);
        lab.changed();
        lab.forget_gone();
        let vault = lab.start().await;
        put(&vault, staff, "f", &noise(3, 5000)).await;
        vault.sync().await.unwrap();
        assert_eq!(dealt(&lab, inside.document).await, [expected], "{to:?}");
        let status = vault.generation_status().await.unwrap();
        assert!(status.is_complete(), "{to:?}: {status:?}");
        vault.shutdown(&ctx()).await;
    }
}

/// A refresh that has nothing left to do in the catalogue is not gone on with because a folder asks for something.
#[tokio::test(start_paused = true)]
async fn p1_a_refresh_after_one_that_a_server_keeps_open_makes_everything_anew() {
    let lab = Lab::new(2, 4).await;
    let vault = lab.start().await;
    let staff = folder(&vault, ROOT, "staff").await;
    put(&vault, staff, "f", &noise(1, 5000)).await;
    put(&vault, ROOT, "g", &noise(2, 5000)).await;
    vault.sync().await.unwrap();
    lab.faults[3].set(State::Gone);
    refresh(&vault).await;
    let wanted = lab.memory.generations().await.unwrap();
    assert!(wanted.is_under_way());
    lab.heal();
    ask(&vault, staff, Some(threshold(3, 3))).await;
    let report = refresh(&vault).await;
    assert_eq!(report.extents, 2, "{report:?}");
    let after = lab.memory.generations().await.unwrap();
    assert!(after.wanted > wanted.wanted);
    for record in extents(&lab).await {
        assert!(record.generation >= after.wanted, "{record:?}");
    }
}

/// Who knows the servers' contents alone finds out again what folders ask.
#[tokio::test(start_paused = true)]
async fn p4_what_folders_ask_is_rebuilt_with_everything_else() {
    let mut lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    let staff = folder(&vault, ROOT, "staff").await;
    ask(&vault, staff, Some(threshold(3, 3))).await;
    let attr = put(&vault, staff, "f", &noise(1, 5000)).await;
    vault.sync().await.unwrap();
    vault.shutdown(&ctx()).await;
    drop(vault);
    let (rebuilt, _) = from_servers(&lab, &[0, 1, 2]).await;
    lab.take_over(rebuilt);
    let vault = lab.start().await;
    let asked = vault.folder_thresholds().await.unwrap();
    assert_eq!((asked.len(), asked[0].threshold), (1, threshold(3, 3)));
    let again = put(&vault, staff, "f", &noise(2, 5000)).await;
    assert_eq!(again.document, attr.document);
    assert_eq!(dealt(&lab, attr.document).await, [threshold(3, 3)]);
    for record in extents(&lab).await {
        if record.kind == ExtentKind::Journal {
            assert_eq!(record.threshold, threshold(2, 3));
        }
    }
}

/// Who says what a folder asks may be cut off before others are told: whoever says it once more tells them.
#[tokio::test(start_paused = true)]
async fn p1_what_was_said_and_not_told_is_told_by_who_repeats_it() {
    let lab = Lab::new(2, 3).await;
    let (vault, drive) = (lab.start().await, lab.start().await);
    let staff = folder(&vault, ROOT, "staff").await;
    ask(&vault, staff, Some(threshold(3, 3))).await;
    ask(&vault, staff, None).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // The attribute is there, and the count was not moved on.
    let (attribute, value) = (format!("warifu.threshold.n{staff}"), [3, 3]);
    let write = Write {
        audit: AuditEntry {
            at: Timestamp::default(),
            context: ctx(),
            act: Act::Threshold,
            node: None,
            detail: String::new(),
        },
        durability: Durability::Now,
    };
    let mode = XattrMode::Set;
    let set = lab
        .memory
        .set_xattr(ROOT, attribute.as_bytes(), &value, mode, write);
    set.await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let attr = put(&drive, staff, "f", &noise(1, 5000)).await;
    drive.sync().await.unwrap();
    assert_eq!(dealt(&lab, attr.document).await, [threshold(2, 3)]);
    deal(&vault).await;
    assert_eq!(dealt(&lab, attr.document).await, [threshold(3, 3)]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let attr = put(&drive, staff, "g", &noise(2, 5000)).await;
    assert_eq!(dealt(&lab, attr.document).await, [threshold(3, 3)]);
}

/// Files are moved all the time: that neither keeps a refresh from ending nor makes one due.
#[tokio::test(start_paused = true)]
async fn p1_what_was_moved_keeps_no_refresh_from_ending() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let staff = folder(&vault, ROOT, "staff").await;
    ask(&vault, staff, Some(threshold(3, 3))).await;
    put(&vault, ROOT, "f", &noise(1, 5000)).await;
    vault.sync().await.unwrap();
    lab.faults[0].set(State::ReadOnly);
    let me = ctx();
    let options = RefreshOptions::default();
    // It has begun, and too few servers take anything.
    let cut_off = vault.refresh(&me, &options, &|_| (), &|| false).await;
    assert!(cut_off.is_err(), "{cut_off:?}");
    lab.heal();
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    let f = name("f");
    let moved = vault.rename(&me, (ROOT, &f), (staff, &f), RenameMode::Replace);
    moved.await.unwrap();
    let status = vault.generation_status().await.unwrap();
    assert!(status.is_over() && !status.is_complete() && status.is_of_folders());
    let day = Duration::from_secs(86_400);
    assert!(!vault.refresh_is_due(day).await.unwrap());
    // Nor where it was moved before the refresh is called ended: a server that is away keeps that from being said.
    let lab = Lab::new(2, 4).await;
    let vault = lab.start().await;
    let staff = folder(&vault, ROOT, "staff").await;
    ask(&vault, staff, Some(threshold(3, 3))).await;
    put(&vault, ROOT, "f", &noise(1, 5000)).await;
    vault.sync().await.unwrap();
    lab.faults[3].set(State::Gone);
    refresh(&vault).await;
    assert!(lab.memory.generations().await.unwrap().is_under_way());
    let moved = vault.rename(&me, (ROOT, &f), (staff, &f), RenameMode::Replace);
    moved.await.unwrap();
    lab.heal();
    lab.let_leases_end();
    let vault = lab.start().await;
    vault.finish_refresh(&me).await.unwrap();
    let generations = lab.memory.generations().await.unwrap();
    let status = vault.generation_status().await.unwrap();
    assert!(generations.ended.is_some(), "{status:?}");
    assert_eq!(status.unlike, 1);
}

/// While the vault's threshold is being changed, that change deals as folders ask, and nothing else does.
#[tokio::test(start_paused = true)]
async fn p1_a_change_of_the_vaults_threshold_comes_first() {
    let mut lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let staff = folder(&vault, ROOT, "staff").await;
    put(&vault, staff, "f", &noise(1, 5000)).await;
    vault.sync().await.unwrap();
    ask(&vault, staff, Some(threshold(3, 3))).await;
    drop(vault);
    lab.change_to(threshold(2, 4));
    let vault = lab.start().await;
    let options = RefreshOptions::default();
    let refused = vault
        .deal_as_folders_ask(&ctx(), &options, &|_| (), &|| false)
        .await;
    assert!(
        matches!(refused, Err(VaultError::Invalid { .. })),
        "{refused:?}"
    );
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
}

/// What was dealt between two refreshes is newer than the rest, and that is no refresh that was cut off.
#[tokio::test(start_paused = true)]
async fn p4_a_rebuild_takes_no_deal_for_a_refresh_that_was_cut_off() {
    let mut lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    let staff = folder(&vault, ROOT, "staff").await;
    put(&vault, staff, "f", &noise(1, 5000)).await;
    put(&vault, ROOT, "g", &noise(2, 5000)).await;
    vault.sync().await.unwrap();
    ask(&vault, staff, Some(threshold(3, 3))).await;
    assert!(deal(&vault).await.status.is_complete());
    vault.shutdown(&ctx()).await;
    drop(vault);
    let (rebuilt, _) = from_servers(&lab, &[0, 1, 2]).await;
    let generations = rebuilt.generations().await.unwrap();
    assert!(!generations.is_under_way(), "{generations:?}");
    assert!(generations.current > generations.wanted);
    lab.take_over(rebuilt);
    let vault = lab.start().await;
    let status = vault.generation_status().await.unwrap();
    assert!(status.is_complete(), "{status:?}");
}

/// A folder that is brought back asks for what it asked; one that is only called the same does not.
#[tokio::test(start_paused = true)]
async fn p1_a_folder_that_is_brought_back_asks_for_what_it_asked() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let outer = folder(&vault, ROOT, "outer").await;
    let staff = folder(&vault, outer, "staff").await;
    ask(&vault, staff, Some(threshold(3, 3))).await;
    let gone = put(&vault, staff, "f", &noise(1, 5000)).await;
    vault.sync().await.unwrap();
    let (outer_name, staff_name, f) = (name("outer"), name("staff"), name("f"));
    vault.remove(&ctx(), staff, &f).await.unwrap();
    vault.remove_dir(&ctx(), outer, &staff_name).await.unwrap();
    vault.remove_dir(&ctx(), ROOT, &outer_name).await.unwrap();
    let outer = folder(&vault, ROOT, "outer").await;
    let staff = folder(&vault, outer, "staff").await;
    assert_eq!(vault.threshold_in(staff).await.unwrap(), threshold(2, 3));
    let path = [outer_name, staff_name];
    let me = ctx();
    assert!(!vault.bring_back_threshold(&me, &path[..1]).await.unwrap());
    assert!(vault.bring_back_threshold(&me, &path).await.unwrap());
    assert!(!vault.bring_back_threshold(&me, &path).await.unwrap());
    assert_eq!(vault.threshold_in(staff).await.unwrap(), threshold(3, 3));
    let version = (gone.document, gone.version);
    let owner = (0o640, (1000, 100));
    let back = vault.restore_as(&me, (&path, &f), version, owner).await;
    assert_eq!(back.unwrap().document, gone.document);
    let status = vault.generation_status().await.unwrap();
    assert!(status.is_complete(), "{status:?}");
}

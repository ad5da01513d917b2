//! P1, P4: several who change the threshold, or refresh by another one, at a time; and old copies of the vault file.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use warifu_core::ids::{ExtentId, Generation};
use warifu_testkit::stores::{MemoryStore, State};
use warifu_vault::VaultError;
use warifu_vault::refresh::RefreshOptions;
use warifu_vault::seam::catalog::{Catalog as _, Intent, SaveId};

use crate::common::{Lab, ctx, noise, put};
use crate::rebuild::choices;
use crate::refresh::{
    assert_reads, assert_unlocks, extents, fill, refresh, try_refresh, unlock_from,
};
use crate::retain::{last, prune};
use crate::threshold::{assert_changed, assert_needs, threshold};

/// A refresh that a change of the threshold overtakes, a drive's or an administrator's, ends without undoing it.
#[tokio::test(start_paused = true)]
async fn p1_a_slow_refresh_that_a_change_overtakes_ends() {
    let mut lab = Lab::new(2, 3).await;
    let files = fill(&lab).await;
    let slow = lab.start().await;
    let to = threshold(3, 5);
    lab.change_to(to);
    let vault = lab.start().await;
    let options = RefreshOptions {
        // So slow that all but the largest extent take ten seconds: which one comes last is chance, and nobody waits after it.
        limit: Some(1 << 15),
        batch: 1,
        ..RefreshOptions::default()
    };
    let refreshing = async { slow.refresh(&ctx(), &options, &|_| (), &|| false).await };
    let changing = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let report = refresh(&vault).await;
        assert!(report.status.change.unwrap().in_force, "{report:?}");
        for record in extents(&lab).await {
            assert_eq!(record.threshold, to, "{record:?}");
        }
    };
    let (refreshed, ()) = tokio::join!(refreshing, changing);
    assert!(
        matches!(refreshed, Err(VaultError::OtherThreshold { .. })),
        "{refreshed:?}"
    );
    for record in extents(&lab).await {
        assert_eq!(record.threshold, to, "{record:?}");
    }
    assert_reads(&vault, &files, "after it").await;
    drop(slow);
    lab.let_leases_end();
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    vault.shutdown(&ctx()).await;
    drop(vault);
    lab.changed();
    assert_changed(&lab, to, "in the end").await;
    assert_unlocks(&lab, "in the end").await;
    assert_needs(&lab, &files, 3).await;
}

/// A copy of the vault file that was made in the middle of a change is known as such when another change has come.
#[tokio::test(start_paused = true)]
async fn p1_a_copy_from_the_middle_of_a_change_takes_no_later_one_back() {
    let mut lab = Lab::new(2, 3).await;
    let files = fill(&lab).await;
    lab.change_to(threshold(3, 5));
    let copy = lab.start().await;
    let vault = lab.start().await;
    assert!(refresh(&vault).await.status.is_complete());
    drop(vault);
    lab.changed();
    for to in [threshold(2, 3), threshold(3, 5), threshold(2, 4)] {
        lab.change_to(to);
        let vault = lab.start().await;
        assert!(refresh(&vault).await.status.is_complete());
        lab.changed();
        let refused = try_refresh(&copy).await;
        assert!(
            matches!(refused, Err(VaultError::OtherThreshold { .. })),
            "{refused:?}"
        );
        assert!(!copy.finish_refresh(&ctx()).await.unwrap().is_complete());
        assert_reads(&vault, &files, "after it").await;
        vault.shutdown(&ctx()).await;
        drop(vault);
        for record in extents(&lab).await {
            assert_eq!(record.threshold, to, "{record:?}");
        }
        let unlocked = unlock_from(&lab, &lab.servers[..usize::from(to.n())]).await;
        assert!(unlocked.is_ok(), "{unlocked:?}");
    }
}

/// Of two who begin different changes at a time, one comes too late. Where an older catalogue is brought back, what the vault file says can be said once more.
#[tokio::test(start_paused = true)]
async fn p10_a_change_that_comes_too_late_and_an_older_catalogue() {
    let mut lab = Lab::new(2, 3).await;
    lab.change_to(threshold(2, 4));
    let late = lab.start().await;
    lab.changes = 0;
    lab.change_to(threshold(3, 5));
    let vault = lab.start().await;
    assert!(refresh(&vault).await.status.is_complete());
    let refused = try_refresh(&late).await;
    assert!(
        matches!(refused, Err(VaultError::OtherThreshold { .. })),
        "{refused:?}"
    );
    drop((late, vault));
    lab.changed();
    let older = lab.memory.backup();
    lab.change_to(threshold(3, 4));
    assert!(refresh(&lab.start().await).await.status.is_complete());
    lab.changed();
    lab.take_over(older);
    let vault = lab.start().await;
    let refused = try_refresh(&vault).await;
    assert!(
        matches!(refused, Err(VaultError::OtherThreshold { .. })),
        "{refused:?}"
    );
    lab.changes = vault.next_change().await.unwrap() - 1;
    lab.change_to(threshold(3, 4));
    let report = refresh(&lab.start().await).await;
    assert!(report.status.is_complete(), "{report:?}");
}

/// What somebody with an old copy of the vault file destroys is also on servers that the copy does not name: that is said, and they are asked by others.
#[tokio::test(start_paused = true)]
async fn p4_what_an_old_copy_of_the_vault_file_destroys_goes_from_new_servers_too() {
    let mut lab = Lab::new(2, 3).await;
    let old = lab.start().await;
    let to = threshold(3, 5);
    lab.change_to(to);
    let vault = lab.start().await;
    for number in 0..3 {
        put(&vault, "f", &noise(number, 9000)).await.unwrap();
    }
    vault.sync().await.unwrap();
    assert!(refresh(&vault).await.status.is_complete());
    let objects = || -> Vec<usize> {
        let servers = lab.servers.iter();
        servers.map(|server| server.names().len()).collect()
    };
    let before = objects();
    lab.clock.advance(Duration::from_secs(9 * 86_400));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let destroyed = prune(&old, &last(1)).await;
    assert_eq!((destroyed.versions.len(), destroyed.unnamed), (2, 2));
    assert!(!destroyed.is_complete(), "{destroyed:?}");
    let after = objects();
    assert!(after[0] < before[0] && after[4] == before[4], "{after:?}");
    drop(old);
    lab.let_leases_end();
    vault.shutdown(&ctx()).await;
    drop(vault);
    lab.changed();
    let vault = lab.start().await;
    vault.shutdown(&ctx()).await;
    assert_changed(&lab, to, "in the end").await;
}

/// Nothing is dealt by the old threshold under the number of a change, which would be as new as what the change wants: nobody would look for it.
#[tokio::test(start_paused = true)]
async fn p1_nothing_is_dealt_under_the_number_of_a_change_before_it_is_in_force() {
    let mut lab = Lab::new(2, 3).await;
    let files = fill(&lab).await;
    let to = threshold(3, 5);
    lab.change_to(to);
    let drive = lab.start().await;
    let vault = lab.start().await;
    for place in [1, 3] {
        lab.faults[place].set(State::ReadOnly);
    }
    let refused = try_refresh(&vault).await;
    assert!(
        matches!(refused, Err(VaultError::NotStored { .. })),
        "{refused:?}"
    );
    lab.heal();
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Its pieces are there, so whoever opens the vault now meets its number.
    let new = lab.start().await;
    for (vault, file) in [(&drive, "one"), (&vault, "two"), (&new, "three")] {
        put(vault, file, &noise(9, 7000)).await.unwrap();
        vault.sync().await.unwrap();
    }
    for record in extents(&lab).await {
        assert_eq!(
            (record.generation, record.threshold),
            (Generation(1), threshold(2, 3))
        );
    }
    assert!(refresh(&vault).await.status.is_complete());
    tokio::time::sleep(Duration::from_secs(2)).await;
    put(&drive, "one", &noise(10, 7000)).await.unwrap();
    drive.sync().await.unwrap();
    assert_reads(&drive, &files, "after it").await;
    for one in [drive, new, vault] {
        one.shutdown(&ctx()).await;
    }
    lab.changed();
    assert_changed(&lab, to, "in the end").await;
}

/// Where servers go, the key is there with as many away as before, until nothing of before is left to be made anew.
#[tokio::test(start_paused = true)]
async fn p4_servers_that_go_take_no_key_with_them_that_is_needed() {
    let mut lab = Lab::new(2, 4).await;
    let files = fill(&lab).await;
    let to = threshold(2, 3);
    lab.change_to(to);
    let vault = lab.start().await;
    let asked = AtomicU32::new(0);
    let soon = || asked.fetch_add(1, Ordering::Relaxed) > 2;
    let options = RefreshOptions {
        batch: 1,
        ..RefreshOptions::default()
    };
    let cut_off = vault.refresh(&ctx(), &options, &|_| (), &soon).await;
    let status = cut_off.unwrap().status;
    assert!(status.left > 0 && status.change.unwrap().in_force);
    // Neither a sweep nor who ends it takes them.
    assert!(!vault.finish_refresh(&ctx()).await.unwrap().is_complete());
    for set in choices(2, 4) {
        let gone = |place: usize| !set.contains(&place);
        let servers: Vec<MemoryStore> = (0..4)
            .map(|place| match gone(place) {
                true => MemoryStore::new(),
                false => lab.servers[place].clone(),
            })
            .collect();
        let unlocked = unlock_from(&lab, &servers).await;
        assert!(unlocked.is_ok(), "{set:?}: {unlocked:?}");
    }
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    assert_reads(&vault, &files, "after it").await;
    vault.shutdown(&ctx()).await;
    drop(vault);
    lab.changed();
    assert_eq!(lab.servers[3].names(), [], "it has gone");
    lab.forget_gone();
    assert_changed(&lab, to, "in the end").await;
    assert_needs(&lab, &files, 2).await;
}

/// Where a server does not answer, a round of removing what is of before ends after a while, as one of a sweep does; and when somebody wants it to.
#[tokio::test(start_paused = true)]
async fn p4_removing_what_is_of_before_ends_where_a_server_does_not_answer() {
    let mut lab = Lab::new(2, 3).await;
    fill(&lab).await;
    lab.change_to(threshold(3, 5));
    let vault = lab.start().await;
    assert!(refresh(&vault).await.status.is_complete());
    let known = extents(&lab).await[0].extent;
    for _ in 0..3 {
        let waste = (0..1_500).map(|_| (ExtentId::fresh().unwrap(), Generation(1)));
        let intent = Intent {
            save: SaveId::fresh().unwrap(),
            extents: waste.chain([(known, Generation(1))]).collect(),
        };
        let lease = Duration::from_secs(3_600);
        lab.memory.begin_save(&intent, lease).await.unwrap();
    }
    let saves = || async {
        let intents = lab.memory.intents().await.unwrap();
        let saves = intents.into_iter().map(|intent| intent.save);
        saves.collect::<HashSet<_>>()
    };
    let before = saves().await;
    let options = RefreshOptions::default();
    let stopped = vault.refresh(&ctx(), &options, &|_| (), &|| true).await;
    stopped.unwrap();
    assert_eq!(saves().await, before, "it was time to end");
    lab.faults[4].set(State::Gone);
    tokio::time::sleep(Duration::from_secs(60)).await;
    vault.finish_refresh(&ctx()).await.unwrap();
    let after = saves().await;
    assert_eq!(after.intersection(&before).count(), 1, "{after:?}");
    lab.heal();
    tokio::time::sleep(Duration::from_secs(60)).await;
    vault.finish_refresh(&ctx()).await.unwrap();
    assert_eq!(saves().await.len(), 0);
}

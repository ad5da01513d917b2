//! P7: what the journal does not have is told, whoever should have written it.

use std::time::Duration;

use warifu_vault::Vault;
use warifu_vault::node::NodeId;
use warifu_vault::seam::clock::{Clock, Timestamp};

use crate::common::{Lab, ctx, get, name, put};

/// What a process says that only looks.
async fn told(lab: &Lab) -> Option<Timestamp> {
    let mut options = lab.options.clone();
    options.read_only = true;
    let vault: Vault = lab.start_with(options).await.unwrap();
    vault.status(&ctx()).await.unwrap().journal_behind_since
}

#[tokio::test(start_paused = true)]
async fn p7_changes_that_a_killed_process_did_not_write_are_told_by_every_other() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", b"f").await.unwrap();
    vault.sync().await.unwrap();
    // Whoever only reads leaves nothing undone, however long ago.
    get(&vault, "f").await.unwrap();
    lab.clock.advance(Duration::from_secs(30));
    assert_eq!(told(&lab).await, None);
    let since = lab.clock.now();
    vault
        .make_dir(&ctx(), NodeId::ROOT, &name("made"), 0o700)
        .await
        .unwrap();
    drop(vault);
    assert_eq!(told(&lab).await, None, "it would be on its way");
    lab.clock.advance(Duration::from_secs(30));
    assert_eq!(told(&lab).await, Some(since));
    // The next process that works on the vault makes up for it.
    lab.start().await.sync().await.unwrap();
    assert_eq!(told(&lab).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_vault_without_a_journal_is_not_behind_with_it() {
    let lab = Lab::new(2, 3).await;
    put(&lab.start().await, "f", b"f").await.unwrap();
    lab.clock.advance(Duration::from_secs(3600));
    assert_eq!(told(&lab).await, None);
}

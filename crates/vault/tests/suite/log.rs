//! The audit log as the servers have it, beside a catalogue that was replaced, and where lines are gone from both.

use std::sync::atomic::{AtomicBool, Ordering};

use warifu_testkit::stores::State;
use warifu_vault::rebuild::{RebuildProgress, Stage};
use warifu_vault::seam::catalog::Catalog;

use crate::common::{Lab, ctx, put, who};

/// A catalogue that was replaced by an older one, or whose log was cut off, is found by what the servers have.
#[tokio::test(start_paused = true)]
async fn p9_the_servers_know_lines_that_a_replaced_catalogue_lacks() {
    let mut lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", b"first").await.unwrap();
    vault.sync().await.unwrap();
    let compared = vault.compare_log(&|_| ()).await.unwrap();
    assert!(compared.is_complete() && compared.lines > 0);
    assert_eq!(compared.difference, None);
    let old = lab.memory.backup();
    put(&vault, "f", b"second").await.unwrap();
    assert!(vault.shutdown(&ctx()).await.is_empty());
    drop(vault);
    let newest = lab.memory.audit(0, 1000).await.unwrap().len() as u64;
    let known = old.audit(0, 1000).await.unwrap().len() as u64;
    assert!(known < newest);
    lab.take_over(old.clone());
    let mut options = lab.options.clone();
    options.read_only = true;
    let vault = lab.start_with(options.clone()).await.unwrap();
    let compared = vault.compare_log(&|_| ()).await.unwrap();
    let found = compared.difference.unwrap();
    assert_eq!((found.seq, found.in_catalogue), (known + 1, None));
    assert_eq!(compared.last, newest);
    // Somebody goes on with it, and hides the gap: then the lines say something else.
    let me = who("intruder");
    vault.attach(&me, "as if nothing had been").await.unwrap();
    let compared = vault.compare_log(&|_| ()).await.unwrap();
    let found = compared.difference.unwrap();
    assert_eq!(found.seq, known + 1);
    assert_eq!(found.in_catalogue.unwrap().entry.context, me);
    assert_ne!(found.on_servers.entry.context, me);
    // With a server away, what is left is compared, and it is said that something was not.
    drop(vault);
    lab.faults[1].set(State::Gone);
    let vault = lab.start_with(options).await.unwrap();
    let compared = vault.compare_log(&|_| ()).await.unwrap();
    assert!(!compared.is_complete());
    assert!(compared.difference.is_some());
}

/// Where the catalogue and the servers both end early, they agree; but somebody wrote more lines than are left, and that is said.
#[tokio::test(start_paused = true)]
async fn p9_lines_that_nobody_has_any_more_are_missed() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", b"first").await.unwrap();
    vault.sync().await.unwrap();
    let kept: Vec<_> = lab.servers.iter().map(|server| server.names()).collect();
    let old = lab.memory.backup();
    put(&vault, "f", b"second").await.unwrap();
    assert!(vault.shutdown(&ctx()).await.is_empty());
    drop(vault);
    let last = lab.memory.journal().await.unwrap().audited;
    let early = old.journal().await.unwrap().audited;
    assert!(early < last);
    let mut options = lab.options.clone();
    options.read_only = true;

    // The servers have lost all that was written since.
    let vault = lab.start_with(options.clone()).await.unwrap();
    for (server, kept) in lab.servers.iter().zip(&kept) {
        let newer = server.names().into_iter();
        newer
            .filter(|name| !kept.contains(name))
            .for_each(|name| assert!(server.lose(&name)));
    }
    let compared = vault.compare_log(&|_| ()).await.unwrap();
    assert_eq!(compared.difference, None, "what is there agrees");
    assert_eq!(compared.missing, [early + 1..=last]);
    assert!(!compared.is_complete() && !compared.is_cut_off());
    // Or all that there ever was.
    for (server, kept) in lab.servers.iter().zip(&kept) {
        let shares = kept
            .iter()
            .filter(|name| !name.as_str().starts_with("vault-"));
        shares.for_each(|name| assert!(server.lose(name)));
    }
    let compared = vault.compare_log(&|_| ()).await.unwrap();
    assert_eq!((compared.lines, compared.difference.clone()), (0, None));
    assert_eq!(compared.missing, [1..=last]);
    assert!(!compared.is_complete());
}

/// Somebody saves while the servers are looked through: what came after the listing is not missing.
#[tokio::test(flavor = "multi_thread")]
async fn p9_a_vault_in_use_is_not_accused() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", b"first").await.unwrap();
    vault.sync().await.unwrap();
    let before = lab.memory.journal().await.unwrap().audited;
    let saved = AtomicBool::new(false);
    let save = || {
        tokio::runtime::Handle::current().block_on(async {
            put(&vault, "f", b"second").await.unwrap();
            vault.sync().await.unwrap();
        });
    };
    let seen = |at: RebuildProgress| {
        // Each time that they are.
        if at.stage == Stage::Journal && at.done == 1 {
            saved.store(true, Ordering::SeqCst);
            tokio::task::block_in_place(save);
        }
    };
    let compared = vault.compare_log(&seen).await.unwrap();
    assert!(saved.load(Ordering::SeqCst), "after the listing");
    assert!(lab.memory.journal().await.unwrap().audited > before);
    assert!(compared.is_complete(), "{compared:?}");
    assert_eq!(compared.difference, None);
}

//! P9: every act on a file is in the audit log, or it did not happen.

use std::time::Duration;

use warifu_testkit::catalogs::CatalogFault;
use warifu_vault::context::Act;
use warifu_vault::node::{AttrChange, NodeId, NodeKind};
use warifu_vault::seam::catalog::{Catalog, RenameMode, XattrMode};
use warifu_vault::verify::VerifyOptions;
use warifu_vault::{Access, Context, Vault, VaultError};

use crate::common::{Lab, ctx, get, name, open, put, stat, who};

async fn acts(lab: &Lab, after: u64) -> Vec<(Act, String, String)> {
    let rows = lab.memory.audit(after, 10_000).await.unwrap();
    let entries = rows.into_iter().map(|row| row.entry);
    entries
        .map(|entry| (entry.act, entry.context.actor, entry.detail))
        .collect()
}

async fn last(lab: &Lab) -> u64 {
    lab.memory
        .audit(0, 100_000)
        .await
        .unwrap()
        .last()
        .map_or(0, |row| row.seq)
}

const WAYS: usize = 15;

/// One act of each kind. The vault holds a file `f` and an empty folder `d`.
async fn act(vault: &Vault, ctx: &Context, way: usize) -> Result<(), VaultError> {
    let root = NodeId::ROOT;
    let f = stat(vault, "f").await.node;
    let (file, other) = (name("f"), name("other"));
    match way {
        0 => vault.open(ctx, f, Access::READ).await.map(drop),
        1 => vault.open(ctx, f, Access::READ_WRITE).await.map(drop),
        2 => vault
            .create_file(ctx, root, &other, 0o600, Access::READ_WRITE)
            .await
            .map(drop),
        3 => vault.make_dir(ctx, root, &other, 0o700).await.map(drop),
        4 => vault.make_symlink(ctx, root, &other, b"f").await.map(drop),
        5 => vault
            .make_node(ctx, root, &other, NodeKind::Fifo, 0o600, 0)
            .await
            .map(drop),
        6 => vault.link(ctx, f, root, &other).await.map(drop),
        7 => vault.remove(ctx, root, &file).await,
        8 => vault.remove_dir(ctx, root, &name("d")).await,
        9 => vault
            .rename(ctx, (root, &file), (root, &other), RenameMode::Replace)
            .await
            .map(drop),
        10 => {
            let change = AttrChange {
                mode: Some(0o604),
                ..AttrChange::default()
            };
            vault.set_attr(ctx, f, &change).await.map(drop)
        }
        11 => {
            vault
                .set_xattr(ctx, f, b"user.note", b"urgent", XattrMode::Set)
                .await
        }
        12 => vault
            .open_version(ctx, f, warifu_core::ids::VersionNo(1))
            .await
            .map(drop),
        13 => vault
            .verify(ctx, VerifyOptions::default(), &|_| ())
            .await
            .map(drop),
        _ => vault.attach(ctx, "mounted").await,
    }
}

const EXPECTED: [(Act, &str); WAYS] = [
    (Act::Open, "version 1"),
    (Act::OpenWrite, "version 1"),
    (Act::Create, "other"),
    (Act::Create, "other"),
    (Act::Create, "other"),
    (Act::Create, "other"),
    (Act::Link, "other"),
    (Act::Remove, "f"),
    (Act::Remove, "d"),
    (Act::Rename, "f → other"),
    (Act::SetAttr, "mode 604"),
    (Act::SetXattr, "user.note"),
    (Act::Open, "version 1"),
    (Act::Verify, "quick"),
    (Act::Attach, "mounted"),
];

async fn lab() -> (Lab, Vault) {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", b"contents").await.unwrap();
    vault
        .make_dir(&ctx(), NodeId::ROOT, &name("d"), 0o755)
        .await
        .unwrap();
    vault.sync().await.unwrap();
    (lab, vault)
}

#[tokio::test(start_paused = true)]
async fn p9_every_act_leaves_a_line_that_says_who_did_what() {
    for (way, expected) in EXPECTED.iter().enumerate() {
        let (lab, vault) = lab().await;
        let before = last(&lab).await;
        act(&vault, &who("taro"), way).await.unwrap();
        let (act, detail) = *expected;
        assert_eq!(
            acts(&lab, before).await,
            [(act, "taro".to_owned(), detail.to_owned())],
            "act {way}"
        );
    }
    let (lab, vault) = lab().await;
    let before = last(&lab).await;
    put(&vault, "f", b"new").await.unwrap();
    let kinds: Vec<_> = acts(&lab, before)
        .await
        .into_iter()
        .map(|(act, _, detail)| (act, detail))
        .collect();
    assert_eq!(
        kinds,
        [
            (Act::OpenWrite, "version 1".to_owned()),
            (Act::Save, "3 bytes".to_owned())
        ]
    );
    let rows = lab.memory.audit(0, 1000).await.unwrap();
    assert!(
        (1..).zip(&rows).all(|(number, row)| row.seq == number),
        "without gaps"
    );
    assert!(
        rows.iter()
            .all(|row| row.entry.context.host == "pc-1" && row.entry.context.program == "writer")
    );
}

#[tokio::test(start_paused = true)]
async fn p9_what_cannot_be_written_down_is_not_done() {
    for fault in [CatalogFault::NoAnswer, CatalogFault::Full] {
        for way in 0..WAYS {
            let (lab, vault) = lab().await;
            let picture = async || {
                let listed = vault.list(&ctx(), NodeId::ROOT, None, 100).await.unwrap();
                let mut all: Vec<_> = listed
                    .into_iter()
                    .map(|entry| (entry.name, entry.attr))
                    .collect();
                all.sort_by(|(one, _), (other, _)| one.cmp(other));
                (
                    all,
                    vault
                        .xattrs(&ctx(), stat(&vault, "f").await.node)
                        .await
                        .unwrap(),
                )
            };
            let (before, seq) = (picture().await, last(&lab).await);
            lab.catalog.fail_writes(Some(fault));
            let refused = act(&vault, &ctx(), way).await;
            assert!(
                matches!(refused, Err(VaultError::Catalog(_))),
                "act {way}: {refused:?}"
            );
            lab.catalog.fail_writes(None);
            assert_eq!(picture().await, before, "act {way}");
            assert_eq!(last(&lab).await, seq, "act {way}");
            assert_eq!(
                vault.memory_in_use().files,
                0,
                "act {way}: nothing stays open"
            );
        }
        // A save too: nothing becomes current, and the handle keeps its changes.
        let (lab, vault) = lab().await;
        let handle = open(&vault, "f").await.unwrap();
        handle.write(&ctx(), 0, b"changed!").await.unwrap();
        lab.catalog.fail_writes(Some(fault));
        assert!(matches!(
            handle.flush(&ctx()).await,
            Err(VaultError::Catalog(_))
        ));
        let reader = stat(&vault, "f").await;
        assert_eq!(reader.version.0, 1);
        lab.catalog.fail_writes(None);
        assert_eq!(get(&lab.start().await, "f").await.unwrap(), b"contents");
        handle.release(&ctx()).await.unwrap();
        assert_eq!(get(&lab.start().await, "f").await.unwrap(), b"changed!");
    }
}

#[tokio::test(start_paused = true)]
async fn p9_the_vaults_own_acts_are_written_down() {
    let (lab, vault) = lab().await;
    let handle = open(&vault, "f").await.unwrap();
    handle.write(&ctx(), 0, b"never saved").await.unwrap();
    lab.faults
        .iter()
        .for_each(|faults| faults.set(warifu_testkit::stores::State::Full));
    handle.flush(&ctx()).await.unwrap_err();
    lab.heal();
    let seq = last(&lab).await;
    // An intent of a client that has died.
    let intent = warifu_vault::seam::catalog::Intent {
        save: warifu_core::ids::ExtentId::fresh().unwrap(),
        extents: vec![(
            warifu_core::ids::ExtentId::fresh().unwrap(),
            warifu_core::ids::Generation(1),
        )],
    };
    lab.memory
        .begin_save(&intent, Duration::ZERO)
        .await
        .unwrap();
    lab.clock.advance(Duration::from_secs(1));
    drop(lab.start().await);
    let swept: Vec<_> = acts(&lab, seq).await;
    assert!(
        swept.contains(&(
            Act::Sweep,
            "warifu".to_owned(),
            "1 extents of an unfinished save".to_owned()
        )),
        "{swept:?}"
    );
    // A version that a power cut took.
    put(&vault, "g", b"unsynced").await.unwrap();
    lab.servers
        .iter()
        .for_each(warifu_testkit::stores::MemoryStore::power_cut);
    let seq = last(&lab).await;
    drop(lab.start().await);
    assert_eq!(
        acts(&lab, seq).await,
        [(
            Act::Revert,
            "warifu".to_owned(),
            "version 1 was not on enough disks".to_owned()
        )]
    );
}

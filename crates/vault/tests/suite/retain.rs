//! What is kept, and destruction that really destroys.

use std::time::Duration;

use warifu_core::ids::{FileId, VersionNo};
use warifu_testkit::stores::State;
use warifu_testkit::world::Death;
use warifu_vault::context::Act;
use warifu_vault::node::{Name, NodeId};
use warifu_vault::retain::{Destroyed, FolderRule, PrunePlan, Rule, Rules, Which};
use warifu_vault::seam::catalog::Catalog;
use warifu_vault::seam::clock::Clock;
use warifu_vault::{Access, Vault, VaultError};

use crate::common::{EXTENT, Lab, ctx, get, live, name, noise, put, read_all, same, stat, who};
use crate::rebuild::from_servers;

const ROOT: NodeId = NodeId::ROOT;
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn keep(days: u32) -> Rules {
    Rules {
        general: Rule {
            keep: Some(DAY * days),
            versions: None,
        },
        folders: Vec::new(),
    }
}

pub(crate) fn last(versions: u64) -> Rules {
    Rules {
        general: Rule {
            keep: None,
            versions: Some(versions),
        },
        folders: Vec::new(),
    }
}

pub(crate) async fn plan(vault: &Vault, rules: &Rules) -> PrunePlan {
    vault
        .plan_prune(&ctx(), &Which::Rules(rules), true)
        .await
        .unwrap()
}

pub(crate) async fn prune(vault: &Vault, rules: &Rules) -> Destroyed {
    let plan = plan(vault, rules).await;
    vault.prune(&ctx(), &plan, &|_, _| ()).await.unwrap()
}

pub(crate) async fn numbers(vault: &Vault, document: FileId) -> Vec<u64> {
    let versions = vault.versions(&ctx(), document).await.unwrap();
    versions.iter().map(|version| version.number.0).collect()
}

/// A file with a version for each of these days, the last of them today.
pub(crate) async fn days(lab: &Lab, vault: &Vault, file: &str, count: u64) -> FileId {
    for day in 0..count {
        if day > 0 {
            lab.clock.advance(DAY);
        }
        put(vault, file, &noise(day, 9000)).await.unwrap();
    }
    vault.sync().await.unwrap();
    stat(vault, file).await.document
}

#[tokio::test(start_paused = true)]
async fn versions_go_by_age_and_by_number_and_never_the_current_one() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let document = days(&lab, &vault, "f", 6).await;
    assert!(
        plan(&vault, &Rules::default()).await.is_empty(),
        "nothing goes by itself"
    );
    // Superseded 4, 3, 2, 1 and 0 days ago.
    let destroyed = prune(&vault, &keep(2)).await;
    assert_eq!(destroyed.versions.len(), 2);
    assert_eq!(numbers(&vault, document).await, [3, 4, 5, 6]);
    assert_eq!(destroyed.extents, 2);
    assert!(destroyed.is_complete());
    assert!(destroyed.servers.iter().all(|server| server.gone == 2));
    // What was current within a day stays, whatever the number.
    prune(&vault, &last(1)).await;
    assert_eq!(numbers(&vault, document).await, [4, 5, 6]);
    lab.clock.advance(DAY + DAY / 24);
    prune(&vault, &last(2)).await;
    assert_eq!(numbers(&vault, document).await, [5, 6]);
    lab.clock.advance(DAY * 1000);
    prune(&vault, &keep(1)).await;
    assert_eq!(
        numbers(&vault, document).await,
        [6],
        "what is current is never old"
    );
    same(
        &get(&vault, "f").await.unwrap(),
        &noise(5, 9000),
        "the file",
    );
    // And goes on.
    put(&vault, "f", b"next").await.unwrap();
    assert_eq!(numbers(&vault, document).await, [6, 7]);
    let lines = lab.memory.audit(0, 10_000).await.unwrap();
    let acts = lines.iter().filter(|row| row.entry.act == Act::Destroy);
    assert_eq!(acts.count(), 4);
    assert!(vault.shutdown(&ctx()).await.is_empty());
    lab.assert_tidy("after pruning").await;
}

#[tokio::test(start_paused = true)]
async fn folders_have_rules_of_their_own() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let folder = vault
        .make_dir(&ctx(), ROOT, &name("taxes"), 0o750)
        .await
        .unwrap();
    let document = days(&lab, &vault, "f", 3).await;
    lab.clock.advance(DAY * 2);
    let file = (ROOT, &name("f"));
    let there = (folder.node, &name("g"));
    vault
        .rename(
            &ctx(),
            file,
            there,
            warifu_vault::seam::catalog::RenameMode::Replace,
        )
        .await
        .unwrap();
    let mut rules = last(1);
    rules.folders.push(FolderRule {
        path: vec![name("taxes")],
        rule: Rule::default(),
    });
    assert!(plan(&vault, &rules).await.versions.is_empty());
    rules.folders[0].rule.versions = Some(2);
    prune(&vault, &rules).await;
    assert_eq!(numbers(&vault, document).await, [2, 3]);
}

/// Versions that share extents: what one of them needs stays, and what none needs goes.
#[tokio::test(start_paused = true)]
async fn what_another_version_needs_stays() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let mut bytes = noise(1, 2 * EXTENT + 5000);
    put(&vault, "f", &bytes).await.unwrap();
    let node = stat(&vault, "f").await.node;
    for (version, at) in [(2_u8, 0), (3, EXTENT), (4, 2 * EXTENT)] {
        lab.clock.advance(DAY);
        bytes[at] = version;
        let handle = vault.open(&ctx(), node, Access::READ_WRITE).await.unwrap();
        handle.write(&ctx(), at as u64, &[version]).await.unwrap();
        handle.release(&ctx()).await.unwrap();
    }
    vault.sync().await.unwrap();
    // The first version comes back, and shares everything with itself.
    lab.clock.advance(DAY);
    vault
        .restore_version(&ctx(), node, VersionNo(1))
        .await
        .unwrap();
    lab.clock.advance(DAY * 2);
    let destroyed = prune(&vault, &last(2)).await;
    let gone: Vec<u64> = destroyed
        .versions
        .iter()
        .map(|going| going.version.0)
        .collect();
    assert_eq!(gone, [1, 2, 3]);
    same(
        &get(&vault, "f").await.unwrap(),
        &noise(1, 2 * EXTENT + 5000),
        "version 5",
    );
    let handle = vault
        .open_version(&ctx(), node, VersionNo(4))
        .await
        .unwrap();
    same(&read_all(&handle).await.unwrap(), &bytes, "version 4");
    handle.release(&ctx()).await.unwrap();
    assert!(vault.shutdown(&ctx()).await.is_empty());
    lab.assert_tidy("versions that shared").await;
}

#[tokio::test(start_paused = true)]
async fn removed_files_stay_in_the_trash_for_their_time_and_then_go_whole() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let document = days(&lab, &vault, "f", 2).await;
    put(&vault, "kept", b"kept").await.unwrap();
    vault.remove(&ctx(), ROOT, &name("f")).await.unwrap();
    let removed = lab.clock.now();
    lab.clock.advance(DAY * 10);
    let trash = vault.trash(&ctx()).await.unwrap();
    assert_eq!(trash.len(), 1);
    assert_eq!(
        (trash[0].document, trash[0].version),
        (document, VersionNo(2))
    );
    assert_eq!(
        (trash[0].path.as_slice(), trash[0].removed_at),
        (&[name("f")][..], removed)
    );
    prune(&vault, &keep(30)).await;
    assert_eq!(numbers(&vault, document).await, [1, 2], "not yet");
    let nothing: Vec<Name> = Vec::new();
    let version = (document, VersionNo(2));
    vault
        .restore_as(&ctx(), (&nothing, &name("f")), version, (0o600, (0, 0)))
        .await
        .unwrap();
    assert!(vault.trash(&ctx()).await.unwrap().is_empty());
    vault.remove(&ctx(), ROOT, &name("f")).await.unwrap();
    lab.clock.advance(DAY * 31);
    let destroyed = prune(&vault, &keep(30)).await;
    assert_eq!(destroyed.versions.len(), 2);
    assert!(destroyed.names >= 2, "nor is its name left");
    assert!(vault.trash(&ctx()).await.unwrap().is_empty());
    assert!(vault.names_of(&ctx(), document).await.unwrap().is_empty());
    assert_eq!(get(&vault, "kept").await.unwrap(), b"kept");
    // Emptied by hand, whatever the rules.
    put(&vault, "g", b"g").await.unwrap();
    vault.sync().await.unwrap();
    vault.remove(&ctx(), ROOT, &name("g")).await.unwrap();
    lab.clock.advance(DAY);
    let which = Which::Trash(lab.clock.now());
    let plan = vault.plan_prune(&ctx(), &which, true).await.unwrap();
    assert_eq!(plan.versions.len(), 1);
    vault.prune(&ctx(), &plan, &|_, _| ()).await.unwrap();
    assert!(vault.trash(&ctx()).await.unwrap().is_empty());
    assert!(vault.shutdown(&ctx()).await.is_empty());
    lab.assert_tidy("an empty trash").await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_beats_every_rule_and_survives_everything() {
    let mut lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    let me = who("lawyer");
    let folder = vault
        .make_dir(&ctx(), ROOT, &name("case"), 0o750)
        .await
        .unwrap();
    let held = days(&lab, &vault, "f", 3).await;
    let inside = days(&lab, &vault, "g", 3).await;
    let free = days(&lab, &vault, "h", 3).await;
    let moved = (folder.node, &name("g"));
    let replace = warifu_vault::seam::catalog::RenameMode::Replace;
    vault
        .rename(&ctx(), (ROOT, &name("g")), moved, replace)
        .await
        .unwrap();
    vault.set_hold(&me, &[name("f")], "訴訟 12").await.unwrap();
    vault.set_hold(&me, &[name("case")], "").await.unwrap();
    let again = vault.set_hold(&me, &[name("f")], "").await;
    assert!(matches!(again, Err(VaultError::Exists)), "{again:?}");
    // Moved out of the folder and removed: what was in it is held.
    vault
        .rename(&ctx(), moved, (ROOT, &name("away")), replace)
        .await
        .unwrap();
    vault.remove(&ctx(), ROOT, &name("away")).await.unwrap();
    vault.remove(&ctx(), ROOT, &name("f")).await.unwrap();
    lab.clock.advance(DAY * 1000);
    let found = plan(&vault, &keep(1)).await;
    assert_eq!(found.held, 2);
    prune(&vault, &keep(1)).await;
    let plan_trash = vault
        .plan_prune(&ctx(), &Which::Trash(lab.clock.now()), true)
        .await
        .unwrap();
    assert!(plan_trash.versions.is_empty(), "nor by emptying the trash");
    for (document, expected) in [(held, 3), (inside, 3), (free, 1)] {
        assert_eq!(numbers(&vault, document).await.len(), expected);
    }
    assert!(vault.shutdown(&ctx()).await.is_empty());
    drop(vault);
    let (catalog, _) = from_servers(&lab, &[1, 2]).await;
    lab.take_over(catalog);
    let vault = lab.start().await;
    let holds = vault.holds(&ctx()).await.unwrap();
    assert_eq!(holds.len(), 2);
    assert_eq!(
        (holds[0].by.as_str(), holds[0].reason.as_str()),
        ("lawyer", "訴訟 12")
    );
    assert!(
        plan(&vault, &keep(1)).await.versions.is_empty(),
        "after a rebuild too"
    );
    vault.clear_hold(&me, &[name("f")]).await.unwrap();
    vault.clear_hold(&me, &[name("case")]).await.unwrap();
    let not = vault.clear_hold(&me, &[name("case")]).await;
    assert!(matches!(not, Err(VaultError::NoXattr)), "{not:?}");
    assert_eq!(prune(&vault, &keep(1)).await.versions.len(), 6);
    let lines = lab.memory.audit(0, 10_000).await.unwrap();
    let acts = lines.iter().filter(|row| row.entry.act == Act::Hold);
    assert_eq!(acts.count(), 4);
}

/// A hold that comes between the plan and its end stops it; a file that somebody makes meanwhile does not.
#[tokio::test(start_paused = true)]
async fn a_hold_that_comes_after_the_plan_is_kept() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let document = days(&lab, &vault, "f", 3).await;
    lab.clock.advance(DAY * 2);
    let made = plan(&vault, &last(1)).await;
    vault.set_hold(&ctx(), &[name("f")], "").await.unwrap();
    let refused = vault.prune(&ctx(), &made, &|_, _| ()).await;
    assert!(
        matches!(refused, Err(VaultError::HoldsChanged)),
        "{refused:?}"
    );
    assert_eq!(numbers(&vault, document).await, [1, 2, 3]);
    vault.clear_hold(&ctx(), &[name("f")]).await.unwrap();
    let made = plan(&vault, &last(1)).await;
    lab.clock.advance(DAY);
    put(&vault, "another", b"x").await.unwrap();
    let destroyed = vault.prune(&ctx(), &made, &|_, _| ()).await.unwrap();
    assert_eq!(destroyed.versions.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_open_or_became_current_is_not_destroyed() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let document = days(&lab, &vault, "f", 3).await;
    lab.clock.advance(DAY * 2);
    let node = stat(&vault, "f").await.node;
    let old = vault
        .open_version(&ctx(), node, VersionNo(1))
        .await
        .unwrap();
    let found = plan(&vault, &last(1)).await;
    assert_eq!((found.versions.len(), found.in_use), (0, 1));
    same(&read_all(&old).await.unwrap(), &noise(0, 9000), "version 1");
    old.release(&ctx()).await.unwrap();
    drop(old);
    let made = plan(&vault, &last(1)).await;
    assert_eq!(made.versions.len(), 2);
    // The same file, removed while somebody has it open: its newest version is shown to them.
    let handle = vault.open(&ctx(), node, Access::READ).await.unwrap();
    vault.remove(&ctx(), ROOT, &name("f")).await.unwrap();
    let other = lab.start().await;
    lab.clock.advance(DAY);
    let which = Which::Trash(lab.clock.now());
    let plan_other = other.plan_prune(&ctx(), &which, true).await.unwrap();
    assert_eq!(
        plan_other.versions.len(),
        3,
        "another machine does not know"
    );
    let destroyed = other.prune(&ctx(), &plan_other, &|_, _| ()).await.unwrap();
    assert_eq!(
        (destroyed.versions.len(), destroyed.kept),
        (2, 1),
        "and the catalogue does"
    );
    same(
        &read_all(&handle).await.unwrap(),
        &noise(2, 9000),
        "what is open",
    );
    assert_eq!(numbers(&vault, document).await, [3]);
    handle.release(&ctx()).await.unwrap();
}

/// A server that does not answer is named, remembered, and asked again.
#[tokio::test(start_paused = true)]
async fn a_server_that_did_not_confirm_is_named_and_asked_again() {
    for state in [State::Gone, State::ReadOnly, State::Failing] {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        days(&lab, &vault, "f", 3).await;
        lab.clock.advance(DAY * 2);
        lab.faults[1].set(state);
        let destroyed = prune(&vault, &last(1)).await;
        assert_eq!(destroyed.versions.len(), 2);
        assert!(!destroyed.is_complete());
        let outcomes: Vec<(u64, u64)> = destroyed
            .servers
            .iter()
            .map(|server| (server.gone, server.left))
            .collect();
        assert_eq!(outcomes, [(2, 0), (0, 2), (2, 0)], "{state:?}");
        assert_eq!(destroyed.servers[1].server, "B");
        assert!(destroyed.servers[1].detail.is_some());
        assert!(!lab.orphans(1).await.is_empty());
        lab.heal();
        assert!(vault.shutdown(&ctx()).await.is_empty());
        drop(vault);
        lab.let_leases_end();
        drop(lab.start().await);
        lab.assert_tidy(&format!("{state:?}, once it answers"))
            .await;
    }
}

/// The client dies at each call of a destruction, with and without a power cut: what is current is whole, and what is left is swept.
#[test]
fn p5_a_destruction_that_is_cut_off_leaves_nothing_in_between() {
    for power in [false, true] {
        let mut call = 1;
        loop {
            let finished = live(async {
                let lab = Lab::new(2, 3).await;
                let vault = lab.start().await;
                days(&lab, &vault, "f", 4).await;
                put(&vault, "g", &noise(9, EXTENT + 100)).await.unwrap();
                vault.sync().await.unwrap();
                vault.remove(&ctx(), ROOT, &name("g")).await.unwrap();
                vault.sync().await.unwrap();
                lab.clock.advance(DAY * 9);
                lab.world.revive();
                lab.world.die(Death::After(call));
                let rules = keep(1);
                let finished = tokio::select! {
                    _ = prune(&vault, &rules) => true,
                    () = lab.world.dead() => false,
                };
                drop(vault);
                lab.world.revive();
                if power {
                    lab.power_cut();
                }
                lab.let_leases_end();
                let vault = lab.start().await;
                let what = format!("cut off after {call} calls, power {power}");
                let document = stat(&vault, "f").await.document;
                for number in numbers(&vault, document).await {
                    let node = stat(&vault, "f").await.node;
                    let handle = vault
                        .open_version(&ctx(), node, VersionNo(number))
                        .await
                        .unwrap();
                    same(
                        &read_all(&handle).await.unwrap(),
                        &noise(number - 1, 9000),
                        &what,
                    );
                    handle.release(&ctx()).await.unwrap();
                }
                prune(&vault, &keep(1)).await;
                assert_eq!(numbers(&vault, document).await, [4], "{what}");
                assert!(vault.trash(&ctx()).await.unwrap().is_empty(), "{what}");
                assert!(vault.shutdown(&ctx()).await.is_empty());
                drop(vault);
                lab.let_leases_end();
                drop(lab.start().await);
                lab.assert_tidy(&what).await;
                finished
            });
            if finished {
                break;
            }
            call += 1;
        }
        assert!(call > 10, "{call} calls are too few to be true");
    }
}

/// The room that things take, against what lies on the servers.
#[tokio::test(start_paused = true)]
async fn space_is_what_lies_on_the_servers() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    let folder = vault
        .make_dir(&ctx(), ROOT, &name("taxes"), 0o750)
        .await
        .unwrap();
    days(&lab, &vault, "f", 3).await;
    put(&vault, "large", &noise(5, EXTENT + 9000))
        .await
        .unwrap();
    let place = (folder.node, &name("large"));
    let replace = warifu_vault::seam::catalog::RenameMode::Replace;
    vault
        .rename(&ctx(), (ROOT, &name("large")), place, replace)
        .await
        .unwrap();
    put(&vault, "gone", &noise(6, 20_000)).await.unwrap();
    vault.remove(&ctx(), ROOT, &name("gone")).await.unwrap();
    lab.clock.advance(DAY * 8);
    assert!(vault.shutdown(&ctx()).await.is_empty());
    let vault = lab.start().await;
    let space = vault.space_used(&ctx()).await.unwrap();
    let mut all = 0;
    for (place, server) in lab.servers.iter().enumerate() {
        let objects = server.everything();
        let shares: Vec<u64> = objects
            .iter()
            .filter(|(name, _)| name.is_share())
            .map(|(_, bytes)| bytes.len() as u64)
            .collect();
        let index = lab.threshold.indices().nth(place).unwrap();
        let expected = (shares.len() as u64, shares.iter().sum());
        assert_eq!(space.servers.get(&index), Some(&expected));
        all += expected.1;
    }
    let folders: u64 = space.folders.values().map(|room| room.total()).sum();
    assert_eq!(folders + space.journal + space.other, all);
    assert_eq!(space.other, 0);
    assert!(space.journal > 0);
    let root = space.folders[&Vec::new()];
    assert!(
        root.current > 0 && root.older > 0 && root.removed > 0,
        "{root:?}"
    );
    let taxes = space.folders[&b"taxes".to_vec()];
    assert!(taxes.current > 3 * EXTENT as u64 && taxes.older == 0 && taxes.removed == 0);
    assert_eq!(space.ages.iter().sum::<u64>(), root.older + root.removed);
    assert_eq!(
        space.ages[0] + space.ages[1],
        0,
        "all of it is eight days old"
    );
    assert_eq!(space.shamir, all - space.journal);
    assert!(
        space.as_compact * 10 < space.shamir * 7,
        "half of it, and a little"
    );
}

/// The rules of the vault file are applied by whoever has the vault open.
#[tokio::test(start_paused = true)]
async fn the_upkeep_applies_the_rules() {
    let mut lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let document = days(&lab, &vault, "f", 4).await;
    lab.clock.advance(DAY * 2);
    assert!(vault.shutdown(&ctx()).await.is_empty());
    drop(vault);
    lab.options.upkeep.every = Duration::from_secs(1);
    lab.options.upkeep.sweep_every = Duration::from_secs(60);
    lab.options.retention = last(1);
    let vault = lab.start().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(numbers(&vault, document).await, [4]);
    same(
        &get(&vault, "f").await.unwrap(),
        &noise(3, 9000),
        "the file",
    );
}

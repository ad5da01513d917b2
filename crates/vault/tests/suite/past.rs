//! The vault as it was: shown at any time, and brought back, whatever happened since and whatever is cut off on the way.

use std::sync::Arc;
use std::time::Duration;

use warifu_core::ids::VersionNo;
use warifu_testkit::stores::Method;
use warifu_testkit::world::Death;
use warifu_vault::context::Act;
use warifu_vault::node::{Name, NodeId, NodeKind};
use warifu_vault::past::{AsOf, RestoreWish, Restoring};
use warifu_vault::seam::catalog::{Catalog, CatalogError, RenameMode};
use warifu_vault::seam::clock::{Clock, Timestamp};
use warifu_vault::{Access, Vault, VaultConfig, VaultError};

use crate::common::{
    Dice, EXTENT, Held, Lab, alike, ctx, get, live, name, noise, put, same, stat, tree, who,
    write_all,
};
use crate::rebuild::from_servers;

const ROOT: NodeId = NodeId::ROOT;

/// What is certain, exactly.
pub(crate) const EXACT: RestoreWish = RestoreWish {
    exact: true,
    doubtful: false,
};

/// Exactly what the times say that were written down: these machines' clocks are right.
pub(crate) const AS_WRITTEN: RestoreWish = RestoreWish {
    exact: true,
    doubtful: true,
};

/// The vault as it was at a time, as another process sees it.
pub(crate) async fn as_of(lab: &Lab, at: Timestamp) -> Vault {
    let mut options = lab.options.clone();
    options.read_only = true;
    let config = VaultConfig {
        vault: lab.vault,
        thresholds: lab.threshold.into(),
        generation: warifu_vault::keys::FIRST_GENERATION,
        servers: lab.seats(),
        options,
    };
    let catalog = Arc::new(AsOf::new(Arc::new(lab.catalog.clone()), at));
    let clock = Arc::clone(&lab.clock) as Arc<dyn Clock>;
    Vault::start(config, lab.key().await, catalog, clock)
        .await
        .unwrap()
}

pub(crate) fn later(lab: &Lab) -> Timestamp {
    let now = lab.clock.now();
    lab.clock.advance(Duration::from_secs(60));
    now
}

pub(crate) async fn put_in(vault: &Vault, dir: NodeId, file: &str, bytes: &[u8]) {
    let me = ctx();
    let (_, handle) = vault
        .create_file(&me, dir, &name(file), 0o640, Access::READ_WRITE)
        .await
        .unwrap();
    write_all(&handle, bytes).await.unwrap();
    handle.release(&me).await.unwrap();
}

/// Saves as office programs do: under another name, which is then renamed over the old one.
pub(crate) async fn put_over(vault: &Vault, file: &str, bytes: &[u8]) {
    put(vault, "~working", bytes).await.unwrap();
    let (from, to) = (name("~working"), name(file));
    vault
        .rename(&ctx(), (ROOT, &from), (ROOT, &to), RenameMode::Replace)
        .await
        .unwrap();
}

/// A small office.
async fn furnish(lab: &Lab, vault: &Vault) {
    let me = ctx();
    let dir = async |parent, text: &str| {
        vault
            .make_dir(&me, parent, &name(text), 0o750)
            .await
            .unwrap()
            .node
    };
    let taxes = dir(ROOT, "税務").await;
    let old = dir(taxes, "2019").await;
    dir(ROOT, "empty").await;
    put(vault, "minutes", &noise(1, 9000)).await.unwrap();
    put(vault, "large", &noise(2, EXTENT + 5000)).await.unwrap();
    put(vault, "nothing", b"").await.unwrap();
    put_in(vault, taxes, "budget", &noise(3, 20_000)).await;
    put_in(vault, old, "budget", &noise(4, 100)).await;
    vault
        .make_symlink(&me, taxes, &name("latest"), b"budget")
        .await
        .unwrap();
    later(lab);
    put_over(vault, "minutes", &noise(5, 9500)).await;
}

/// Everything that a script can do to somebody's files: overwritten in place, encrypted into new files, renamed, removed.
async fn ransom(lab: &Lab, vault: &Vault) {
    let me = who("malware");
    later(lab);
    for file in ["minutes", "large", "nothing"] {
        put(vault, file, &noise(77, 12_345)).await.unwrap();
    }
    let taxes = stat(vault, "税務").await.node;
    let old = vault.lookup(&me, taxes, &name("2019")).await.unwrap().node;
    let locked = name("minutes.locked");
    vault
        .rename(
            &me,
            (ROOT, &name("minutes")),
            (ROOT, &locked),
            RenameMode::Replace,
        )
        .await
        .unwrap();
    later(lab);
    put_in(vault, old, "budget.locked", &noise(78, 100)).await;
    vault.remove(&me, old, &name("budget")).await.unwrap();
    vault.remove(&me, taxes, &name("latest")).await.unwrap();
    put_in(vault, taxes, "latest", b"not a link").await;
    let (here, there) = ((taxes, &name("budget")), (ROOT, &name("b")));
    vault
        .rename(&me, here, there, RenameMode::Replace)
        .await
        .unwrap();
    vault.remove_dir(&me, ROOT, &name("empty")).await.unwrap();
    put(vault, "empty", b"a file where a folder was")
        .await
        .unwrap();
    put(vault, "READ ME", b"pay").await.unwrap();
    let notes = vault
        .make_dir(&me, ROOT, &name("notes"), 0o700)
        .await
        .unwrap();
    put_in(vault, notes.node, "pay", b"pay").await;
    vault.remove(&me, ROOT, &name("large")).await.unwrap();
    later(lab);
}

pub(crate) async fn restore_all(vault: &Vault, at: Timestamp) {
    let plan = vault
        .plan_restore(&ctx(), &[], None, at, AS_WRITTEN)
        .await
        .unwrap();
    let report = vault
        .apply_restore(&ctx(), &plan, &|_, _| ())
        .await
        .unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
}

#[tokio::test(start_paused = true)]
async fn p8_everything_comes_back_after_ransomware_and_costs_no_bytes() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    furnish(&lab, &vault).await;
    let (before, at) = (tree(&vault).await, later(&lab));
    ransom(&lab, &vault).await;
    let (ruined, ruined_at) = (tree(&vault).await, later(&lab));
    assert_ne!(before, ruined);
    vault.sync().await.unwrap();
    lab.servers.iter().for_each(|server| server.reset_calls());

    let plan = vault
        .plan_restore(&ctx(), &[], None, at, AS_WRITTEN)
        .await
        .unwrap();
    let mut heard = std::sync::Mutex::new(Vec::new());
    let report = vault
        .apply_restore(&ctx(), &plan, &|done, all| {
            heard.lock().unwrap().push((done, all));
        })
        .await
        .unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    let all = plan.steps.len() as u64;
    let expected: Vec<_> = (1..=all).map(|done| (done, all)).collect();
    assert_eq!(heard.get_mut().unwrap(), &expected);
    for server in &lab.servers {
        for method in [Method::Put, Method::Get, Method::Delete] {
            assert_eq!(server.calls(method), 0, "no byte is moved: {method:?}");
        }
    }
    alike(&tree(&vault).await, &before, "restored");

    // Nothing is left to be done, and what the script did is not lost either.
    let again = vault
        .plan_restore(&ctx(), &[], None, at, AS_WRITTEN)
        .await
        .unwrap();
    assert!(again.steps.is_empty() && again.newer == 0, "{again:?}");
    alike(&tree(&as_of(&lab, at).await).await, &before, "as it was");
    alike(
        &tree(&as_of(&lab, ruined_at).await).await,
        &ruined,
        "as the script left it",
    );
    let versions = vault
        .history(&ctx(), stat(&vault, "minutes").await.node)
        .await;
    assert!(versions.unwrap().len() >= 4, "and the history goes on");
    let lines = lab.memory.audit(0, 10_000).await.unwrap();
    let restores = lines.iter().filter(|row| row.entry.act == Act::Restore);
    assert!(restores.count() >= 5, "each step has its line");
    // And back again: a restore can itself be taken back.
    restore_all(&vault, ruined_at).await;
    alike(
        &tree(&vault).await,
        &ruined,
        "as the script left it, once more",
    );
    assert!(vault.shutdown(&ctx()).await.is_empty());
    lab.assert_tidy("after two restores").await;
}

#[tokio::test(start_paused = true)]
async fn without_exact_what_is_new_stays() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    furnish(&lab, &vault).await;
    let (before, at) = (tree(&vault).await, later(&lab));
    ransom(&lab, &vault).await;
    let plan = vault
        .plan_restore(
            &ctx(),
            &[],
            None,
            at,
            RestoreWish {
                exact: false,
                ..AS_WRITTEN
            },
        )
        .await
        .unwrap();
    assert!(plan.newer >= 3);
    assert_eq!(
        plan.count(|what| matches!(what, Restoring::Remove { .. })),
        0
    );
    let report = vault
        .apply_restore(&ctx(), &plan, &|_, _| ())
        .await
        .unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    let now = tree(&vault).await;
    for (path, held) in &before {
        assert_eq!(now.get(path), Some(held), "{path}");
    }
    assert!(now.contains_key("/READ ME") && now.contains_key("/minutes.locked"));
    let aside = "/empty (in the way of a restore)";
    assert!(
        matches!(now.get(aside), Some(Held::File(_))),
        "{:?}",
        now.keys()
    );
}

/// One folder, to another place, beside the one there is.
/// A plan is looked at before it is carried out, and people go on working.
#[tokio::test(start_paused = true)]
async fn p8_what_was_saved_since_the_plan_is_not_removed() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let me = ctx();
    put(&vault, "old", b"old").await.unwrap();
    let at = later(&lab);
    for file in ["same", "saved", "replaced"] {
        put(&vault, file, file.as_bytes()).await.unwrap();
    }
    let folder = vault.make_dir(&me, ROOT, &name("new"), 0o700).await;
    let folder = folder.unwrap().node;
    let moved = (ROOT, &name("old"));
    let gone = (ROOT, &name("elsewhere"));
    vault
        .rename(&me, moved, gone, RenameMode::Replace)
        .await
        .unwrap();
    later(&lab);
    let plan = vault
        .plan_restore(&me, &[], None, at, AS_WRITTEN)
        .await
        .unwrap();
    assert_eq!(
        plan.count(|what| matches!(what, Restoring::Remove { .. })),
        4
    );
    put(&vault, "saved", b"somebody's work").await.unwrap();
    vault.remove(&me, ROOT, &name("replaced")).await.unwrap();
    put(&vault, "replaced", b"another file").await.unwrap();
    put_in(&vault, folder, "inside", b"work, too").await;
    vault.remove(&me, ROOT, gone.1).await.unwrap();
    put(&vault, "elsewhere", b"no such file").await.unwrap();

    let report = vault.apply_restore(&me, &plan, &|_, _| ()).await.unwrap();
    let mut failed: Vec<String> = report
        .failed
        .iter()
        .map(|failure| failure.step.path[0].display().into_owned())
        .collect();
    failed.sort();
    assert_eq!(failed, ["new", "old", "replaced", "saved"]);
    let conflicts = report.failed.iter().filter(|failure| match &failure.error {
        VaultError::Catalog(CatalogError::Conflict { .. }) => true,
        VaultError::NotEmpty => failure.step.path[0] == name("new"),
        _ => false,
    });
    assert_eq!(conflicts.count(), 4);
    assert_eq!(get(&vault, "saved").await.unwrap(), b"somebody's work");
    assert_eq!(get(&vault, "replaced").await.unwrap(), b"another file");
    assert_eq!(get(&vault, "elsewhere").await.unwrap(), b"no such file");
    assert!(get(&vault, "same").await.is_err(), "it was as planned");
    // A new plan does the rest.
    restore_all(&vault, at).await;
    assert_eq!(tree(&vault).await.len(), 1);
    assert_eq!(get(&vault, "old").await.unwrap(), b"old");
    assert!(vault.shutdown(&me).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_folder_comes_back_beside_what_is_there() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    furnish(&lab, &vault).await;
    let (before, at) = (tree(&vault).await, later(&lab));
    ransom(&lab, &vault).await;
    let ruined = tree(&vault).await;
    let (from, to) = ([name("税務")], [name("restored"), name("税務")]);
    let plan = vault
        .plan_restore(&ctx(), &from, Some(&to), at, RestoreWish::default())
        .await
        .unwrap();
    let report = vault
        .apply_restore(&ctx(), &plan, &|_, _| ())
        .await
        .unwrap();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    let mut expected = ruined.clone();
    expected.insert("/restored".into(), Held::Folder);
    for (path, held) in &before {
        if path.starts_with("/税務") {
            expected.insert(format!("/restored{path}"), held.clone());
        }
    }
    alike(&tree(&vault).await, &expected, "beside");
    let nowhere = vault
        .plan_restore(&ctx(), &[name("never")], None, at, RestoreWish::default())
        .await;
    assert!(
        matches!(nowhere, Err(VaultError::NotFound { .. })),
        "{nowhere:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_version_comes_back_in_its_place_or_as_a_file_of_its_own() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    for round in 1..=3 {
        put(&vault, "f", &noise(round, 5000)).await.unwrap();
        later(&lab);
    }
    let attr = stat(&vault, "f").await;
    let back = vault
        .restore_version(&ctx(), attr.node, VersionNo(1))
        .await
        .unwrap();
    assert_eq!(back.version, VersionNo(4));
    same(
        &get(&vault, "f").await.unwrap(),
        &noise(1, 5000),
        "version 1",
    );
    let missing = vault.restore_version(&ctx(), attr.node, VersionNo(9)).await;
    assert!(
        matches!(missing, Err(VaultError::NotFound { what: "version" })),
        "{missing:?}"
    );
    let two = (attr.document, VersionNo(2));
    let (copy, taken): (Name, Name) = (name("copy"), name("f"));
    vault
        .restore_as(&ctx(), (&[], &copy), two, (0o600, (1000, 100)))
        .await
        .unwrap();
    same(
        &get(&vault, "copy").await.unwrap(),
        &noise(2, 5000),
        "version 2",
    );
    let error = vault
        .restore_as(&ctx(), (&[], &taken), two, (0o600, (1000, 100)))
        .await;
    assert!(matches!(error, Err(VaultError::Exists)), "{error:?}");
    // A removed file, with its history.
    vault.remove(&ctx(), ROOT, &taken).await.unwrap();
    let last = vault.last_name(&ctx(), &[name("f")]).await.unwrap();
    assert_eq!(last.document, attr.document);
    let three = (attr.document, VersionNo(3));
    vault
        .restore_as(&ctx(), (&[], &taken), three, (0o600, (1000, 100)))
        .await
        .unwrap();
    same(
        &get(&vault, "f").await.unwrap(),
        &noise(3, 5000),
        "version 3",
    );
    let versions = vault.history(&ctx(), stat(&vault, "f").await.node).await;
    assert_eq!(versions.unwrap().len(), 5);
    // Each copy may be changed without the others.
    put(&vault, "copy", b"changed").await.unwrap();
    same(
        &get(&vault, "f").await.unwrap(),
        &noise(3, 5000),
        "still version 3",
    );
    assert!(vault.shutdown(&ctx()).await.is_empty());
    lab.assert_tidy("versions that share extents").await;
}

/// Whoever has the file open finds a newer version, as with anybody's save: nobody's work is lost.
#[tokio::test(start_paused = true)]
async fn p8_a_restore_under_an_open_file_is_a_conflict_and_nothing_is_lost() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", b"first").await.unwrap();
    later(&lab);
    put(&vault, "f", b"second").await.unwrap();
    let attr = stat(&vault, "f").await;
    let handle = vault
        .open(&ctx(), attr.node, Access::READ_WRITE)
        .await
        .unwrap();
    handle.write(&ctx(), 0, b"unsaved work").await.unwrap();
    let other = lab.start().await;
    other
        .restore_version(&who("admin"), attr.node, VersionNo(1))
        .await
        .unwrap();
    handle.flush(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    let held: Vec<Held> = tree(&lab.start().await).await.into_values().collect();
    assert_eq!(held.len(), 2);
    assert!(held.contains(&Held::File(b"first".to_vec())));
    assert!(held.contains(&Held::File(b"unsaved work".to_vec())));
}

/// Random lives: at every time that was noted, the vault is shown as it was then, however much happened since.
#[test]
fn every_moment_can_be_seen_and_brought_back() {
    for seed in 0..6 {
        live(async {
            let lab = Lab::new(2, 3).await;
            let vault = lab.start().await;
            let mut dice = Dice::new(seed);
            let mut moments = Vec::new();
            for step in 0..60 {
                random_step(&vault, &mut dice, step).await;
                if step % 10 == 9 {
                    moments.push((tree(&vault).await, later(&lab)));
                }
                lab.clock.advance(Duration::from_secs(1));
            }
            for (moment, (expected, at)) in moments.iter().enumerate() {
                let seen = tree(&as_of(&lab, *at).await).await;
                alike(&seen, expected, &format!("seed {seed}, moment {moment}"));
            }
            for (moment, (expected, at)) in moments.iter().enumerate().rev() {
                restore_all(&vault, *at).await;
                let what = format!("seed {seed}, back to moment {moment}");
                alike(&tree(&vault).await, expected, &what);
                lab.clock.advance(Duration::from_secs(1));
            }
            assert!(vault.shutdown(&ctx()).await.is_empty());
            lab.assert_tidy(&format!("seed {seed}")).await;
        });
    }
}

async fn random_step(vault: &Vault, dice: &mut Dice, step: u64) {
    let me = ctx();
    let mut dirs = vec![ROOT];
    for entry in vault.list(&me, ROOT, None, 100).await.unwrap() {
        if entry.attr.kind == NodeKind::Dir {
            dirs.push(entry.attr.node);
        }
    }
    let mut pick = |among: usize| dice.pick(among);
    let dir = dirs[pick(dirs.len())];
    let to_dir = dirs[pick(dirs.len())];
    let texts = ["a", "b", "c", "d"];
    let (one, other) = (name(texts[pick(4)]), name(texts[pick(4)]));
    let what = pick(10);
    // What cannot be done is refused, and is no part of the story.
    match what {
        0..=3 => {
            let bytes = noise(step, 100 + 37 * pick(50));
            let made = vault
                .create_file(&me, dir, &one, 0o640, Access::READ_WRITE)
                .await;
            let handle = match made {
                Ok((_, handle)) => handle,
                Err(_) => {
                    let attr = vault.lookup(&me, dir, &one).await.unwrap();
                    match vault.open(&me, attr.node, Access::REWRITE).await {
                        Ok(handle) => handle,
                        Err(_) => return,
                    }
                }
            };
            write_all(&handle, &bytes).await.unwrap();
            handle.release(&me).await.unwrap();
        }
        4 => drop(vault.make_dir(&me, ROOT, &one, 0o750).await),
        5 => drop(vault.remove(&me, dir, &one).await),
        6 => drop(vault.remove_dir(&me, ROOT, &one).await),
        7 => drop(
            vault
                .make_symlink(&me, dir, &one, texts[pick(4)].as_bytes())
                .await,
        ),
        _ => {
            let mode = [
                RenameMode::Replace,
                RenameMode::Replace,
                RenameMode::Exchange,
            ][pick(3)];
            // Folders stay in the root, where this story looks for them.
            let is_dir = |found: Result<warifu_vault::node::Attr, VaultError>| {
                found.is_ok_and(|attr| attr.kind == NodeKind::Dir)
            };
            let folders = is_dir(vault.lookup(&me, dir, &one).await)
                || is_dir(vault.lookup(&me, to_dir, &other).await);
            if !folders || (dir == ROOT && to_dir == ROOT) {
                drop(vault.rename(&me, (dir, &one), (to_dir, &other), mode).await);
            }
        }
    }
}

/// The client dies after each call of a restore. What it did is whole, and a second restore does the rest.
#[test]
fn p5_a_restore_that_is_cut_off_is_gone_on_with() {
    let mut calls = 1;
    loop {
        let finished = live(async {
            let lab = Lab::new(2, 3).await;
            let vault = lab.start().await;
            furnish(&lab, &vault).await;
            let (before, at) = (tree(&vault).await, later(&lab));
            ransom(&lab, &vault).await;
            let ruined = tree(&vault).await;
            vault.sync().await.unwrap();
            lab.world.revive();
            lab.world.die(Death::After(calls));
            let finished = tokio::select! {
                () = restore_all(&vault, at) => true,
                () = lab.world.dead() => false,
            };
            drop(vault);
            lab.world.revive();
            let vault = lab.start().await;
            for (path, held) in tree(&vault).await {
                let whole = before
                    .values()
                    .chain(ruined.values())
                    .any(|known| *known == held);
                assert!(whole, "after {calls} calls, {path} is neither");
            }
            restore_all(&vault, at).await;
            alike(
                &tree(&vault).await,
                &before,
                &format!("cut off after {calls} calls"),
            );
            assert!(vault.shutdown(&ctx()).await.is_empty());
            lab.let_leases_end();
            drop(lab.start().await);
            lab.assert_tidy(&format!("cut off after {calls} calls"))
                .await;
            finished
        });
        if finished {
            break;
        }
        calls += 3;
    }
    assert!(calls > 40, "{calls} calls are too few to be true");
}

/// The catalogue is lost, and the past comes back with it.
#[tokio::test(start_paused = true)]
async fn p7_a_rebuilt_vault_knows_what_was() {
    let mut lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    furnish(&lab, &vault).await;
    let (before, at) = (tree(&vault).await, later(&lab));
    ransom(&lab, &vault).await;
    assert!(vault.shutdown(&ctx()).await.is_empty());
    drop(vault);
    let (catalog, report) = from_servers(&lab, &[0, 2]).await;
    assert!(report.lost.is_empty());
    lab.take_over(catalog);
    alike(&tree(&as_of(&lab, at).await).await, &before, "as it was");
    let vault = lab.start().await;
    restore_all(&vault, at).await;
    alike(&tree(&vault).await, &before, "restored");
}

/// A view of the past can be looked at and nothing else, and looking is written down.
#[tokio::test(start_paused = true)]
async fn p9_the_past_is_read_only_and_looking_is_audited() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", b"then").await.unwrap();
    let at = later(&lab);
    put(&vault, "f", b"now").await.unwrap();
    let past = as_of(&lab, at).await;
    let lines = lab.memory.audit(0, 1000).await.unwrap().len();
    assert_eq!(get(&past, "f").await.unwrap(), b"then");
    assert!(lab.memory.audit(0, 1000).await.unwrap().len() > lines);
    let refused = put(&past, "f", b"changed").await;
    assert!(matches!(refused, Err(VaultError::ReadOnly)), "{refused:?}");
    let gone = past.remove(&ctx(), ROOT, &name("f")).await;
    assert!(matches!(gone, Err(VaultError::ReadOnly)), "{gone:?}");
    assert_eq!(get(&vault, "f").await.unwrap(), b"now");
}

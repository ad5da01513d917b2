//! P1, P4, P5: folders that ask for another threshold than their vault's.

use std::collections::BTreeMap;

use warifu_core::format::Scheme;
use warifu_core::ids::{FileId, Generation, Threshold};
use warifu_testkit::stores::State;
use warifu_testkit::world::Death;
use warifu_vault::node::{Attr, NodeId};
use warifu_vault::refresh::{RefreshOptions, RefreshReport};
use warifu_vault::repair::{GRACE, RepairOptions};
use warifu_vault::seam::catalog::{Catalog as _, RenameMode};
use warifu_vault::verify::Check;
use warifu_vault::{Access, Vault, VaultError};

use crate::common::{EXTENT, Lab, ctx, live, name, noise, read_all, same, write_all};
use crate::rebuild::choices;
use crate::refresh::{extents, refresh};
use crate::threshold::threshold;

const ROOT: NodeId = NodeId::ROOT;

pub(crate) async fn folder(vault: &Vault, parent: NodeId, called: &str) -> NodeId {
    let made = vault.make_dir(&ctx(), parent, &name(called), 0o755).await;
    made.unwrap().node
}

/// Saves a file of a folder, and gives what it has become.
pub(crate) async fn put(vault: &Vault, parent: NodeId, called: &str, bytes: &[u8]) -> Attr {
    let handle = match vault.lookup(&ctx(), parent, &name(called)).await {
        Ok(attr) => vault
            .open(&ctx(), attr.node, Access::REWRITE)
            .await
            .unwrap(),
        Err(_) => {
            let (me, called, access) = (ctx(), name(called), Access::READ_WRITE);
            let made = vault.create_file(&me, parent, &called, 0o640, access);
            made.await.unwrap().1
        }
    };
    write_all(&handle, bytes).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    vault.lookup(&ctx(), parent, &name(called)).await.unwrap()
}

pub(crate) async fn read(vault: &Vault, node: NodeId) -> Result<Vec<u8>, VaultError> {
    let handle = vault.open(&ctx(), node, Access::READ).await?;
    let bytes = read_all(&handle).await;
    handle.release(&ctx()).await?;
    bytes
}

pub(crate) async fn ask(vault: &Vault, folder: NodeId, to: Option<Threshold>) {
    let set = vault.set_folder_threshold(&ctx(), folder, to).await;
    set.unwrap();
}

pub(crate) async fn deal(vault: &Vault) -> RefreshReport {
    let (me, options) = (ctx(), RefreshOptions::default());
    let dealt = vault.deal_as_folders_ask(&me, &options, &|_| (), &|| false);
    dealt.await.unwrap()
}

/// By which thresholds the extents of a document are dealt.
pub(crate) async fn dealt(lab: &Lab, document: FileId) -> Vec<Threshold> {
    let mut found: Vec<Threshold> = extents(lab)
        .await
        .into_iter()
        .filter(|record| record.document == document)
        .map(|record| record.threshold)
        .collect();
    found.sort_by_key(|threshold| (threshold.k(), threshold.n()));
    found.dedup();
    found
}

/// Whoever has as many servers as are needed for all of these reads them all; with fewer, and even the vault key, nothing of those for which more are needed.
async fn assert_needs(lab: &Lab, files: &[(NodeId, Vec<u8>, u8)]) {
    let n = lab.servers.len();
    for count in 1..=n {
        for set in choices(count, n) {
            for place in 0..n {
                let there = set.contains(&place);
                lab.faults[place].set(if there { State::Well } else { State::Gone });
            }
            let vault = lab.start().await;
            for (node, bytes, k) in files {
                let got = read(&vault, *node).await;
                match usize::from(*k) <= count {
                    true => same(&got.unwrap(), bytes, &format!("{node} from {set:?}")),
                    false => assert!(
                        matches!(&got, Err(VaultError::TooFewShares { needed, .. }) if needed == k),
                        "{node} from {set:?}: {got:?}"
                    ),
                }
            }
        }
    }
    lab.heal();
}

#[tokio::test(start_paused = true)]
async fn p1_what_is_saved_in_a_folder_needs_as_many_servers_as_it_asks() {
    let lab = Lab::new(2, 4).await;
    let mut options = lab.options.clone();
    let vault = lab.start_with(options.clone()).await.unwrap();
    let staff = folder(&vault, ROOT, "staff").await;
    let inner = folder(&vault, staff, "inner").await;
    let open = folder(&vault, ROOT, "open").await;
    ask(&vault, staff, Some(threshold(3, 4))).await;
    let large = noise(2, 2 * EXTENT + 70_000);
    let mut files = Vec::new();
    for (parent, called, bytes, k) in [
        (staff, "small", noise(1, 5000), 3),
        (inner, "large", large, 3),
        (open, "small", noise(3, 6000), 2),
        (ROOT, "top", noise(4, 100_000), 2),
    ] {
        let attr = put(&vault, parent, called, &bytes).await;
        let expected = if k == 3 {
            threshold(3, 4)
        } else {
            threshold(2, 4)
        };
        assert_eq!(dealt(&lab, attr.document).await, [expected], "{called}");
        files.push((attr.node, bytes, k));
    }
    vault.sync().await.unwrap();
    vault.shutdown(&ctx()).await;
    options.scheme = Scheme::Compact;
    let vault = lab.start_with(options).await.unwrap();
    let bytes = noise(5, 90_000);
    let attr = put(&vault, staff, "compact", &bytes).await;
    files.push((attr.node, bytes, 3));
    vault.sync().await.unwrap();
    let status = vault.generation_status().await.unwrap();
    assert!(status.is_complete(), "{status:?}");
    vault.shutdown(&ctx()).await;
    drop(vault);
    assert_needs(&lab, &files).await;
    lab.assert_tidy("in the end").await;
}

/// What is sent while a large file is still being written goes by the same threshold as the rest.
#[tokio::test(start_paused = true)]
async fn p1_what_is_sent_early_is_dealt_as_the_folder_asks() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let staff = folder(&vault, ROOT, "staff").await;
    ask(&vault, staff, Some(threshold(3, 3))).await;
    let attr = put(&vault, staff, "f", &noise(1, 12 * EXTENT)).await;
    let records = extents(&lab).await;
    assert!(records.len() > 12);
    for record in records {
        assert_eq!(
            (record.document, record.threshold),
            (attr.document, threshold(3, 3))
        );
    }
    vault.shutdown(&ctx()).await;
    lab.assert_tidy("in the end").await;
}

#[tokio::test(start_paused = true)]
async fn p1_what_was_there_is_dealt_anew_and_nothing_of_before_is_left() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let staff = folder(&vault, ROOT, "staff").await;
    put(&vault, staff, "f", &noise(1, 5000)).await;
    let attr = put(&vault, staff, "f", &noise(2, EXTENT + 9000)).await;
    let other = put(&vault, ROOT, "g", &noise(3, 5000)).await;
    vault.sync().await.unwrap();
    let to = threshold(3, 3);
    let plan = vault.plan_folder_threshold(staff, Some(to)).await.unwrap();
    // A head with all in it; a head and two extents.
    assert_eq!((plan.extents, plan.joined, plan.resumes), (4, 0, false));
    assert!(plan.bytes > 3 * EXTENT as u64, "{plan:?}");
    ask(&vault, staff, Some(to)).await;
    let status = vault.generation_status().await.unwrap();
    assert_eq!((status.left, status.unlike), (0, 4), "{status:?}");
    assert!(!status.is_complete());
    let report = deal(&vault).await;
    assert_eq!(report.extents, 4, "{report:?}");
    assert!(report.status.is_complete(), "{report:?}");
    assert_eq!(dealt(&lab, attr.document).await, [to]);
    assert_eq!(dealt(&lab, other.document).await, [threshold(2, 3)]);
    let again = deal(&vault).await;
    assert_eq!(again.extents, 0, "{again:?}");
    vault.shutdown(&ctx()).await;
    drop(vault);
    lab.assert_tidy("then").await;
    let files = [
        (attr.node, noise(2, EXTENT + 9000), 3),
        (other.node, noise(3, 5000), 2),
    ];
    assert_needs(&lab, &files).await;

    let vault = lab.start().await;
    ask(&vault, staff, None).await;
    let report = deal(&vault).await;
    assert_eq!(report.extents, 4, "{report:?}");
    assert!(report.status.is_complete(), "{report:?}");
    assert_eq!(dealt(&lab, attr.document).await, [threshold(2, 3)]);
    vault.shutdown(&ctx()).await;
    lab.assert_tidy("in the end").await;
}

/// A file goes by the folder that it is in now: what is moved is dealt anew by the next refresh, and by the next save.
#[tokio::test(start_paused = true)]
async fn p1_what_is_moved_goes_by_the_folder_that_it_is_in() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let (staff, open) = (
        folder(&vault, ROOT, "staff").await,
        folder(&vault, ROOT, "open").await,
    );
    let to = threshold(3, 3);
    ask(&vault, staff, Some(to)).await;
    let mut documents = BTreeMap::new();
    for called in ["in", "saved", "out"] {
        let parent = if called == "out" { staff } else { open };
        let attr = put(&vault, parent, called, &noise(1, 5000)).await;
        documents.insert(called, attr.document);
    }
    for (from, called, into) in [
        (open, "in", staff),
        (open, "saved", staff),
        (staff, "out", open),
    ] {
        let called = name(called);
        let (from, into) = ((from, &called), (into, &called));
        let moved = vault.rename(&ctx(), from, into, RenameMode::Replace).await;
        moved.unwrap();
    }
    put(&vault, staff, "saved", &noise(2, 6000)).await;
    vault.sync().await.unwrap();
    assert_eq!(dealt(&lab, documents["saved"]).await, [threshold(2, 3), to]);
    let status = vault.generation_status().await.unwrap();
    assert_eq!((status.left, status.unlike), (0, 3), "{status:?}");
    // A refresh that nobody has begun is begun by this, and does it with everything else.
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    assert_eq!(report.extents, 4);
    assert_eq!(dealt(&lab, documents["in"]).await, [to]);
    assert_eq!(dealt(&lab, documents["saved"]).await, [to]);
    assert_eq!(dealt(&lab, documents["out"]).await, [threshold(2, 3)]);
    vault.shutdown(&ctx()).await;
    lab.assert_tidy("in the end").await;
}

/// The nearest folder counts; of several names the one for which most servers are needed; of a removed file the one in which it was last.
#[tokio::test(start_paused = true)]
async fn p1_the_nearest_folder_the_strictest_name_and_the_last_one_count() {
    let lab = Lab::new(2, 5).await;
    let vault = lab.start().await;
    let outer = folder(&vault, ROOT, "outer").await;
    let inner = folder(&vault, outer, "inner").await;
    let deep = folder(&vault, inner, "deep").await;
    ask(&vault, outer, Some(threshold(3, 5))).await;
    ask(&vault, inner, Some(threshold(2, 4))).await;
    let near = put(&vault, deep, "near", &noise(1, 5000)).await;
    assert_eq!(dealt(&lab, near.document).await, [threshold(2, 4)]);
    assert_eq!(vault.threshold_in(deep).await.unwrap(), threshold(2, 4));
    assert_eq!(vault.threshold_in(ROOT).await.unwrap(), threshold(2, 5));

    let linked = put(&vault, ROOT, "linked", &noise(2, 5000)).await;
    let link = vault
        .link(&ctx(), linked.node, outer, &name("linked"))
        .await;
    link.unwrap();
    put(&vault, ROOT, "linked", &noise(3, 5000)).await;
    let gone = put(&vault, outer, "gone", &noise(4, 5000)).await;
    vault.remove(&ctx(), outer, &name("gone")).await.unwrap();
    vault.sync().await.unwrap();
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    assert_eq!(dealt(&lab, linked.document).await, [threshold(3, 5)]);
    assert_eq!(dealt(&lab, gone.document).await, [threshold(3, 5)]);

    // The folder may be gone, too.
    vault.remove(&ctx(), deep, &name("near")).await.unwrap();
    vault
        .remove_dir(&ctx(), inner, &name("deep"))
        .await
        .unwrap();
    let report = refresh(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    assert_eq!(dealt(&lab, near.document).await, [threshold(2, 4)]);
    vault.shutdown(&ctx()).await;
    lab.assert_tidy("in the end").await;
}

/// An extent is dealt for the document that it was saved as, and may belong to others: who saves by renaming has it go on as the next version of the file that
/// it takes the place of, and an earlier version may be brought back as another file. Where it is used counts, and of several such places the strictest.
#[tokio::test(start_paused = true)]
async fn p1_what_a_program_saves_by_renaming_goes_by_where_it_ends() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let (staff, open) = (
        folder(&vault, ROOT, "staff").await,
        folder(&vault, ROOT, "open").await,
    );
    let to = threshold(3, 3);
    ask(&vault, staff, Some(to)).await;
    let all_are = async |expected: Threshold| {
        let records = extents(&lab).await;
        records.iter().all(|record| record.threshold == expected)
    };
    let rename = async |from: (NodeId, &str), into: (NodeId, &str)| {
        let (from, into) = ((from.0, &name(from.1)), (into.0, &name(into.1)));
        let renamed = vault.rename(&ctx(), from, into, RenameMode::Replace).await;
        renamed.unwrap();
    };
    put(&vault, open, "x.docx", &noise(1, 5000)).await;
    put(&vault, open, "~x.tmp", &noise(2, 6000)).await;
    rename((open, "~x.tmp"), (open, "x.docx")).await;
    rename((open, "x.docx"), (staff, "x.docx")).await;
    vault.sync().await.unwrap();
    let report = deal(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    assert!(all_are(to).await, "{:?}", extents(&lab).await);
    rename((staff, "x.docx"), (open, "x.docx")).await;
    let report = deal(&vault).await;
    assert_eq!(report.extents, 2, "{report:?}");
    assert!(all_are(threshold(2, 3)).await, "{:?}", extents(&lab).await);

    // The first version, once more as a file of its own, in the other folder.
    let attr = vault.lookup(&ctx(), open, &name("x.docx")).await.unwrap();
    let history = vault.history(&ctx(), attr.node).await.unwrap();
    let number = history.first().unwrap().number;
    let copy = name("copy.docx");
    let (parent, version) = ([name("staff")], (attr.document, number));
    let copied = vault
        .restore_as(&ctx(), (&parent, &copy), version, (0o640, (1000, 100)))
        .await;
    copied.unwrap();
    let report = deal(&vault).await;
    assert!(report.status.is_complete(), "{report:?}");
    let records = extents(&lab).await;
    let strict = records.iter().filter(|record| record.threshold == to);
    assert_eq!(strict.count(), 1, "{records:?}");
    vault.shutdown(&ctx()).await;
    lab.assert_tidy("in the end").await;
}

#[tokio::test(start_paused = true)]
async fn p1_a_folder_asks_for_no_less_than_its_vault() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let staff = folder(&vault, ROOT, "staff").await;
    let file = put(&vault, ROOT, "f", &noise(1, 100)).await;
    for (node, k, n) in [(staff, 1, 3), (staff, 3, 4), (ROOT, 3, 3)] {
        let to = Some(threshold(k, n));
        let refused = vault.set_folder_threshold(&ctx(), node, to).await;
        assert!(
            matches!(refused, Err(VaultError::Invalid { .. })),
            "{refused:?}"
        );
    }
    let refused = vault
        .set_folder_threshold(&ctx(), file.node, Some(threshold(3, 3)))
        .await;
    assert!(matches!(refused, Err(VaultError::NotDir)), "{refused:?}");
    let refused = vault.set_folder_threshold(&ctx(), staff, None).await;
    assert!(matches!(refused, Err(VaultError::NoXattr)), "{refused:?}");
    assert!(vault.folder_thresholds().await.unwrap().is_empty());
}

/// One client's death while a folder's files are dealt as it asks, and what comes after it.
fn one_death(asked: Option<Threshold>, death: Option<Death>, power: bool) -> Option<u64> {
    let from = asked.is_none().then(|| threshold(3, 3));
    let (lab, staff, node) = live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        let staff = folder(&vault, ROOT, "staff").await;
        if from.is_some() {
            ask(&vault, staff, from).await;
        }
        let attr = put(&vault, staff, "f", &noise(1, 9000)).await;
        put(&vault, staff, "g", &noise(2, 5000)).await;
        put(&vault, ROOT, "h", &noise(3, 5000)).await;
        vault.sync().await.unwrap();
        (lab, staff, attr)
    });
    let calls = live(async {
        let vault = lab.start().await;
        lab.world.revive();
        death.into_iter().for_each(|death| lab.world.die(death));
        let doing = async {
            vault.set_folder_threshold(&ctx(), staff, asked).await.ok();
            deal(&vault).await;
        };
        tokio::select! {
            () = doing => Some(lab.world.calls()),
            () = lab.world.dead() => None,
        }
    });
    lab.world.revive();
    if power {
        lab.power_cut();
    }
    live(async {
        let vault = lab.start().await;
        same(
            &read(&vault, node.node).await.unwrap(),
            &noise(1, 9000),
            "f",
        );
        let report = vault
            .check(&ctx(), Check::new(true), &|_| ())
            .await
            .unwrap();
        assert!(report.is_clean(), "{report:?}");
        // Said once more, where the command was cut off before it had said so.
        match vault.set_folder_threshold(&ctx(), staff, asked).await {
            Ok(()) | Err(VaultError::NoXattr) => {}
            Err(error) => panic!("{error}"),
        }
        let report = deal(&vault).await;
        assert!(power || report.status.is_complete(), "{report:?}");
        drop(vault);
        lab.let_leases_end();
        let vault = lab.start().await;
        let options = RepairOptions::default();
        vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
        vault.orphans(&ctx(), GRACE, true).await.unwrap();
        let report = deal(&vault).await;
        assert!(report.status.is_complete(), "{report:?}");
        let to = asked.unwrap_or(threshold(2, 3));
        assert_eq!(dealt(&lab, node.document).await, [to]);
        same(
            &read(&vault, node.node).await.unwrap(),
            &noise(1, 9000),
            "f",
        );
        vault.shutdown(&ctx()).await;
        lab.assert_tidy("in the end").await;
    });
    calls
}

fn at_every_step(asked: Option<Threshold>) {
    let calls = one_death(asked, None, false).unwrap();
    assert!(calls > 20, "{calls} calls are too few to be true");
    for call in 1..=calls {
        for death in [Death::Before(call), Death::After(call)] {
            for power in [false, true] {
                let what = format!("{death:?} of {calls}, power cut: {power}");
                let died = std::panic::catch_unwind(|| one_death(asked, Some(death), power));
                died.unwrap_or_else(|_| panic!("{what}"));
            }
        }
    }
}

#[test]
fn p1_p5_a_folder_that_asks_for_more_cut_off_at_every_step() {
    at_every_step(Some(threshold(3, 3)));
}

#[test]
fn p1_p5_a_folder_that_asks_for_nothing_any_more_cut_off_at_every_step() {
    at_every_step(None);
}

/// A number that was given out is never one that was dealt by before.
#[tokio::test(start_paused = true)]
async fn p1_dealing_as_folders_ask_takes_a_number_of_its_own() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let staff = folder(&vault, ROOT, "staff").await;
    put(&vault, staff, "f", &noise(1, 5000)).await;
    vault.sync().await.unwrap();
    ask(&vault, staff, Some(threshold(3, 3))).await;
    deal(&vault).await;
    let generations = lab.memory.generations().await.unwrap();
    assert_eq!(
        (generations.wanted, generations.begun),
        (Generation(1), None)
    );
    for record in extents(&lab).await {
        assert_eq!(record.generation, generations.current);
        assert!(record.generation > Generation(1));
    }
}

//! P7: the catalogue is lost, and any k servers give the vault back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use warifu_core::format::ExtentKind;
use warifu_testkit::catalogs::contract::Replay;
use warifu_testkit::catalogs::{CrashingCatalog, MemoryCatalog};
use warifu_testkit::stores::State;
use warifu_vault::keys::{Candidate, UnlockError};
use warifu_vault::node::{AttrChange, NodeId, NodeKind};
use warifu_vault::rebuild::{AdoptedAs, gather};
use warifu_vault::seam::catalog::{Catalog, RenameMode, XattrMode};
use warifu_vault::seam::journal::{JOURNAL, Row};
use warifu_vault::seam::store::{ObjectKey, ShareStore};
use warifu_vault::{Vault, VaultError};

use crate::common::lab::server_name;
pub(crate) use crate::common::rebuilding::{from_servers, rows, try_from};
use crate::common::{
    EXTENT, Lab, ctx, get, name, noise, open, put, read_all, same, stat, write_all,
};

#[track_caller]
pub(crate) fn alike(got: &[String], expected: &[String], what: &str) {
    for line in expected {
        assert!(got.contains(line), "{what}: missing {line}");
    }
    for line in got {
        assert!(expected.contains(line), "{what}: too much: {line}");
    }
}

/// All choices of `k` out of `n`.
pub(crate) fn choices(k: usize, n: usize) -> Vec<Vec<usize>> {
    (0..1_u32 << n)
        .filter(|set| set.count_ones() as usize == k)
        .map(|set| (0..n).filter(|at| set >> at & 1 == 1).collect())
        .collect()
}

/// A little of everything.
async fn furnish(vault: &Vault) {
    let me = ctx();
    let root = NodeId::ROOT;
    let offices = vault
        .make_dir(&me, root, &name("福祉部"), 0o2750)
        .await
        .unwrap()
        .node;
    let empty = vault
        .make_dir(&me, offices, &name("空"), 0o700)
        .await
        .unwrap()
        .node;
    put(vault, "small", &noise(1, 5000)).await.unwrap();
    put(vault, "small", &noise(2, 6000)).await.unwrap();
    put(vault, "large", &noise(3, EXTENT + 70_000))
        .await
        .unwrap();
    let large = open(vault, "large").await.unwrap();
    large.write(&me, 100, b"changed").await.unwrap();
    large.release(&me).await.unwrap();
    put(vault, "empty", b"").await.unwrap();
    put(vault, "gone", &noise(4, 300)).await.unwrap();
    vault.remove(&me, root, &name("gone")).await.unwrap();
    let small = stat(vault, "small").await.node;
    vault
        .link(&me, small, empty, &name("second"))
        .await
        .unwrap();
    vault
        .make_symlink(&me, empty, &name("link"), "../どこか".as_bytes())
        .await
        .unwrap();
    vault
        .make_node(&me, empty, &name("pipe"), NodeKind::Fifo, 0o600, 0)
        .await
        .unwrap();
    vault
        .set_xattr(&me, small, b"user.note", b"value", XattrMode::Set)
        .await
        .unwrap();
    // As office programs save.
    put(vault, "letter", &noise(5, 900)).await.unwrap();
    put(vault, "letter.tmp", &noise(6, 950)).await.unwrap();
    rename(vault, "letter.tmp", "letter").await.unwrap();
    let change = AttrChange {
        mode: Some(0o604),
        ..AttrChange::default()
    };
    vault.set_attr(&me, small, &change).await.unwrap();
}

pub(crate) async fn rename(vault: &Vault, from: &str, to: &str) -> Result<(), VaultError> {
    let (from, to, root) = (name(from), name(to), NodeId::ROOT);
    vault
        .rename(&ctx(), (root, &from), (root, &to), RenameMode::Replace)
        .await
        .map(drop)
}

async fn check_contents(vault: &Vault) {
    same(
        &get(vault, "small").await.unwrap(),
        &noise(2, 6000),
        "small",
    );
    let mut large = noise(3, EXTENT + 70_000);
    large[100..107].copy_from_slice(b"changed");
    same(&get(vault, "large").await.unwrap(), &large, "large");
    same(
        &get(vault, "letter").await.unwrap(),
        &noise(6, 950),
        "letter",
    );
    same(&get(vault, "empty").await.unwrap(), b"", "empty");
    let letter = stat(vault, "letter").await;
    let old = vault.history(&ctx(), letter.node).await.unwrap();
    assert_eq!(old.len(), 2, "its history is one");
    let first = vault
        .open_version(&ctx(), letter.node, old[0].number)
        .await
        .unwrap();
    same(
        &read_all(&first).await.unwrap(),
        &noise(5, 900),
        "the letter before",
    );
    first.release(&ctx()).await.unwrap();
}

/// Whatever a vault was told before it ended is told by any k servers, and work goes on from there.
#[tokio::test(start_paused = true)]
async fn p7_any_k_servers_give_everything_back() {
    for (k, n) in [(1, 1), (2, 3), (3, 5), (3, 3)] {
        let mut lab = Lab::with_journal(k, n).await;
        let vault = lab.start().await;
        furnish(&vault).await;
        assert!(vault.shutdown(&ctx()).await.is_empty());
        let expected = rows(&lab.memory).await;
        let log = lab.memory.audit(0, 1000).await.unwrap();
        let old = lab.catalog.clone();
        for places in choices(usize::from(k), usize::from(n)) {
            let what = format!("{k} of {n}, from {places:?}");
            let (catalog, report) = from_servers(&lab, &places).await;
            assert!(report.is_whole(), "{what}: {report:?}");
            assert_eq!(
                (report.adopted_count, report.unused, report.owed_shares),
                (0, 0, 0)
            );
            assert_eq!((report.files, report.dirs), (4, 3), "{what}");
            let ids: Vec<_> = report.servers.iter().map(|server| server.id).collect();
            assert_eq!(ids, lab.ids, "{what}: the others are known by the journal");
            let names: Vec<_> = report
                .servers
                .iter()
                .map(|server| server.name.clone())
                .collect();
            assert_eq!(
                names,
                (0..usize::from(n)).map(server_name).collect::<Vec<_>>()
            );
            alike(&rows(&catalog).await, &expected, &what);
            let lines = catalog.audit(0, 1000).await.unwrap();
            assert_eq!(
                lines[..log.len()],
                log[..],
                "{what}: the log, chain and all"
            );
            assert_eq!(lines.len(), log.len() + 1, "and a line of the rebuild");

            // It is read with the others gone, and work goes on.
            for (place, faults) in lab.faults.iter().enumerate() {
                faults.heal();
                if !places.contains(&place) {
                    faults.set(State::Gone);
                }
            }
            lab = take_over(lab, catalog);
            check_contents(&lab.start().await).await;
            lab.heal();
            lab.catalog = old.clone();
        }

        // What is done after a rebuild is in the next one.
        let (catalog, _) = from_servers(&lab, &choices(usize::from(k), usize::from(n))[0]).await;
        lab.memory = catalog.clone();
        lab = take_over(lab, catalog);
        let vault = lab.start().await;
        put(&vault, "after", b"after").await.unwrap();
        sleep(Duration::from_secs(3)).await;
        assert!(vault.shutdown(&ctx()).await.is_empty());
        let state = lab.memory.journal().await.unwrap();
        assert!(state.whole, "a checkpoint was written: {state:?}");
        lab.assert_tidy("old segments are gone").await;
        let expected = rows(&lab.memory).await;
        let (again, report) = from_servers(&lab, &choices(usize::from(k), usize::from(n))[0]).await;
        assert!(report.is_whole(), "{report:?}");
        alike(&rows(&again).await, &expected, "once more");
    }
}

/// Too few servers give nothing, and say how many are missing.
#[tokio::test(start_paused = true)]
async fn p10_too_few_servers_say_so() {
    let lab = Lab::with_journal(2, 3).await;
    let one = Candidate {
        name: "A".into(),
        store: Arc::clone(&lab.stores[0]) as Arc<dyn ShareStore>,
    };
    let twice = [one.clone(), one.clone()];
    for given in [&[][..], &[one][..], &twice[..]] {
        let error = gather(given).await.unwrap_err();
        assert!(
            matches!(error, UnlockError::TooFewServers { .. }),
            "{error}"
        );
    }
}

/// What was saved after the last segment is in its head.
#[tokio::test(start_paused = true)]
async fn p7_a_save_that_the_journal_does_not_know_is_adopted() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "known", &noise(1, 5000)).await.unwrap();
    vault.sync().await.unwrap();
    put(&vault, "known", &noise(2, 6000)).await.unwrap();
    put(&vault, "known", &noise(3, 7000)).await.unwrap();
    put(&vault, "new", &noise(4, EXTENT + 5)).await.unwrap();
    drop(vault);
    let (catalog, report) = from_servers(&lab, &[0, 2]).await;
    let mut adopted: Vec<_> = report
        .adopted
        .iter()
        .map(|adopted| (adopted.path.as_str(), adopted.version.0, adopted.how))
        .collect();
    adopted.sort_by_key(|(path, version, _)| (*path, *version));
    assert_eq!(
        adopted,
        [
            ("/known", 2, AdoptedAs::Version),
            ("/known", 3, AdoptedAs::Version),
            ("/new", 1, AdoptedAs::File),
        ]
    );
    let lab = take_over(lab, catalog);
    let vault = lab.start().await;
    same(
        &get(&vault, "known").await.unwrap(),
        &noise(3, 7000),
        "known",
    );
    same(
        &get(&vault, "new").await.unwrap(),
        &noise(4, EXTENT + 5),
        "new",
    );
    let known = stat(&vault, "known").await;
    assert_eq!(vault.history(&ctx(), known.node).await.unwrap().len(), 3);
}

pub(crate) async fn journal_objects(lab: &Lab, place: usize) -> BTreeMap<u64, ObjectKey> {
    let key = lab.key().await;
    let records = lab.memory.extents(None, usize::MAX).await.unwrap();
    records
        .into_iter()
        .filter(|record| record.kind == ExtentKind::Journal)
        .map(|record| {
            assert_eq!(record.document, JOURNAL);
            let name = key.object_name(lab.ids[place], record.extent, record.generation);
            (record.version.0, name.into())
        })
        .collect()
}

/// Without any journal there are still the heads: contents, names as of the last save, histories.
#[tokio::test(start_paused = true)]
async fn p7_without_a_journal_the_heads_give_what_they_can() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    let me = ctx();
    let offices = vault
        .make_dir(&me, NodeId::ROOT, &name("課"), 0o750)
        .await
        .unwrap()
        .node;
    let (_, handle) = vault
        .create_file(
            &me,
            offices,
            &name("表.xlsx"),
            0o640,
            warifu_vault::Access::READ_WRITE,
        )
        .await
        .unwrap();
    write_all(&handle, &noise(1, 4000)).await.unwrap();
    handle.release(&me).await.unwrap();
    put(&vault, "f", &noise(2, 100)).await.unwrap();
    put(&vault, "f", &noise(3, EXTENT + 100)).await.unwrap();
    assert!(vault.shutdown(&me).await.is_empty());
    for place in 0..3 {
        for object in journal_objects(&lab, place).await.into_values() {
            lab.servers[place].delete(&object).await.unwrap();
        }
    }
    let (catalog, report) = from_servers(&lab, &[1, 2]).await;
    assert_eq!(report.journal.up_to, None);
    assert!(!report.is_whole(), "and it says so");
    assert_eq!((report.adopted_count, report.files, report.dirs), (3, 2, 2));
    let lab = take_over(lab, catalog);
    let vault = lab.start().await;
    same(
        &get(&vault, "f").await.unwrap(),
        &noise(3, EXTENT + 100),
        "f",
    );
    let f = stat(&vault, "f").await;
    assert_eq!(vault.history(&me, f.node).await.unwrap().len(), 2);
    let sheet = vault.resolve(&me, "課/表.xlsx".as_bytes()).await.unwrap();
    assert_eq!((sheet.mode, sheet.size), (0o640, 4000));
}

/// A segment that n - k servers lost is read from the others; one that too few have is a gap, and named.
#[tokio::test(start_paused = true)]
async fn p4_p7_a_segment_that_is_lost_is_named() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    for file in ["a", "b", "c", "d"] {
        put(&vault, file, file.as_bytes()).await.unwrap();
        vault.sync().await.unwrap();
    }
    drop(vault);
    let expected = rows(&lab.memory).await;
    let last = *journal_objects(&lab, 0).await.keys().next_back().unwrap();
    assert!(last >= 4, "{last}");
    lab.servers[0]
        .delete(&journal_objects(&lab, 0).await[&3])
        .await
        .unwrap();
    let (catalog, report) = from_servers(&lab, &[0, 1, 2]).await;
    assert!(report.journal.gaps.is_empty(), "{report:?}");
    alike(&rows(&catalog).await, &expected, "one share lost");
    lab.servers[1]
        .delete(&journal_objects(&lab, 1).await[&3])
        .await
        .unwrap();
    let (catalog, report) = from_servers(&lab, &[0, 1, 2]).await;
    assert_eq!(report.journal.gaps, [3..=3]);
    assert!(!report.is_whole());
    // Nothing that was saved is lost for that.
    let lab = take_over(lab, catalog);
    let vault = lab.start().await;
    for file in ["a", "b", "c", "d"] {
        assert_eq!(get(&vault, file).await.unwrap(), file.as_bytes());
    }
}

/// Versions of which too few shares are left are named; all others are there.
#[tokio::test(start_paused = true)]
async fn p4_p7_versions_without_enough_shares_are_named() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "whole", &noise(1, 100)).await.unwrap();
    put(&vault, "f", &noise(2, 100)).await.unwrap();
    put(&vault, "f", &noise(3, 100)).await.unwrap();
    assert!(vault.shutdown(&ctx()).await.is_empty());
    let f = lab
        .memory
        .lookup(NodeId::ROOT, &name("f"))
        .await
        .unwrap()
        .unwrap();
    let first = lab.memory.history(f.document).await.unwrap()[0]
        .head
        .unwrap();
    let record = lab.memory.extent(first).await.unwrap().unwrap();
    let key = lab.key().await;
    for place in [0, 1] {
        let object = key
            .object_name(lab.ids[place], first, record.generation)
            .into();
        lab.servers[place].delete(&object).await.unwrap();
    }
    // The third server's share and one more would do: only with all three given is it sure that there is no other.
    for (given, for_good) in [
        (&[0, 1, 2][..], true),
        (&[0, 1][..], true),
        (&[0, 2][..], false),
    ] {
        let (_, report) = from_servers(&lab, given).await;
        let [lost] = &report.lost[..] else {
            panic!("{:?}", report.lost);
        };
        assert_eq!(
            (lost.path.as_str(), lost.version.0, lost.needed),
            ("/f", 1, 2)
        );
        assert_eq!(lost.for_good, for_good, "{given:?}");
        assert!(report.owed_shares > 0);
    }
}

/// One server gone, the segment is owed; too few there, the journal is behind, says so, and holds nobody up.
#[tokio::test(start_paused = true)]
async fn p7_a_journal_that_cannot_be_written_holds_nobody_up() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    let behind = async || vault.status(&ctx()).await.unwrap().journal_behind_since;
    lab.faults[0].set(State::Gone);
    put(&vault, "one", b"1").await.unwrap();
    vault.sync().await.unwrap();
    assert_eq!(behind().await, None);
    let (catalog, report) = from_servers(&lab, &[1, 2]).await;
    assert!(report.is_whole(), "{report:?}");
    alike(&rows(&catalog).await, &rows(&lab.memory).await, "one gone");
    lab.faults[1].set(State::Gone);
    vault
        .make_dir(&ctx(), NodeId::ROOT, &name("made"), 0o700)
        .await
        .unwrap();
    vault.sync().await.unwrap();
    assert!(behind().await.is_some());
    rename(&vault, "one", "two").await.unwrap();
    lab.heal();
    sleep(Duration::from_secs(130)).await;
    assert_eq!(behind().await, None);
    drop(vault);
    let (catalog, report) = from_servers(&lab, &[1, 2]).await;
    assert!(report.journal.gaps.is_empty(), "{report:?}");
    alike(&rows(&catalog).await, &rows(&lab.memory).await, "healed");
}

/// What was written long ago goes, and what it told stays: rows by a checkpoint, the log for good.
#[tokio::test(start_paused = true)]
async fn p7_checkpoints_keep_the_journal_short() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    let me = ctx();
    put(&vault, "f", b"f").await.unwrap();
    let node = stat(&vault, "f").await.node;
    let mut most = 0;
    for round in 0..400_u64 {
        let value = noise(round, 60_000);
        vault
            .set_xattr(&me, node, b"user.large", &value, XattrMode::Set)
            .await
            .unwrap();
        if round % 50 == 7 {
            put(&vault, &format!("file {round}"), &noise(round, 10))
                .await
                .unwrap();
        }
        vault.sync().await.unwrap();
        if round % 3 == 0 {
            sleep(Duration::from_millis(600)).await;
        }
        let state = lab.memory.journal().await.unwrap();
        most = most.max(state.changes + state.checkpoints);
    }
    assert!(most < 12 << 20, "{most} bytes of journal at most");
    assert!(vault.shutdown(&me).await.is_empty());
    lab.assert_tidy("old segments are gone").await;
    let records = lab.memory.extents(None, usize::MAX).await.unwrap();
    let segments = records
        .iter()
        .filter(|record| record.kind == ExtentKind::Journal);
    assert!(
        segments.count() < 100,
        "of {} written",
        lab.memory.journal().await.unwrap().next
    );
    for places in choices(2, 3) {
        let (catalog, report) = from_servers(&lab, &places).await;
        assert!(report.is_whole(), "{report:?}");
        alike(
            &rows(&catalog).await,
            &rows(&lab.memory).await,
            "after checkpoints",
        );
        let log = lab.memory.audit(0, 10_000).await.unwrap();
        assert_eq!(catalog.audit(0, log.len()).await.unwrap(), log);
    }
}

/// Two machines write one journal.
#[tokio::test(start_paused = true)]
async fn p7_two_machines_write_one_journal() {
    let lab = Lab::with_journal(2, 3).await;
    let (one, other) = (lab.start().await, lab.start().await);
    for round in 0..20 {
        let names = (format!("one {round}"), format!("other {round}"));
        let (first, second) = tokio::join!(put(&one, &names.0, b"1"), put(&other, &names.1, b"2"));
        first.unwrap();
        second.unwrap();
        let (first, second) = tokio::join!(one.sync(), other.sync());
        first.unwrap();
        second.unwrap();
    }
    assert!(one.shutdown(&ctx()).await.is_empty());
    assert!(other.shutdown(&ctx()).await.is_empty());
    let (catalog, report) = from_servers(&lab, &[0, 2]).await;
    assert!(report.is_whole(), "{report:?}");
    alike(&rows(&catalog).await, &rows(&lab.memory).await, "both");
    lab.let_leases_end();
    let vault = lab.start().await;
    sleep(Duration::from_secs(1)).await;
    lab.assert_tidy("attempts that came too late are gone")
        .await;
    drop(vault);
}

/// The laboratory with another catalogue.
pub(crate) fn take_over(mut lab: Lab, catalog: MemoryCatalog) -> Lab {
    lab.catalog = CrashingCatalog::new(Arc::new(catalog), lab.world.clone());
    lab
}

/// P1 for the journal: names lie on no server in the clear, and what servers keep of it is as unlike as anything else.
#[tokio::test(start_paused = true)]
async fn p1_p3_the_journal_shows_no_name() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "a-very-telling-name.xlsx", b"x").await.unwrap();
    assert!(vault.shutdown(&ctx()).await.is_empty());
    let told = Replay::of(&lab.memory).await.text();
    assert!(
        told.contains("97, 45, 118, 101, 114, 121"),
        "the rows have it"
    );
    for server in &lab.servers {
        for (_, bytes) in server.everything() {
            let found = bytes.windows(12).any(|window| window == b"very-telling");
            assert!(!found);
        }
    }
    assert_eq!(
        format!(
            "{:?}",
            Row::Link {
                node: NodeId(1),
                target: b"secret".to_vec()
            }
        ),
        "Row(Link(NodeId(1)), ..)"
    );
}

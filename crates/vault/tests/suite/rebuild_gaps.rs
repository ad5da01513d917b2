//! P7: segments of the journal are missing, and what is rebuilt is never wrong for that.

use std::time::Duration;

use tokio::time::sleep;
use warifu_core::ids::{ExtentId, VersionNo};
use warifu_testkit::stores::{Method, Trouble};
use warifu_vault::node::NodeId;
use warifu_vault::rebuild::AdoptedAs;
use warifu_vault::seam::catalog::{Catalog, XattrMode};
use warifu_vault::seam::store::{ShareStore, StoreErrorKind};
use warifu_vault::{Vault, VaultError};

use crate::common::{EXTENT, Lab, ctx, get, name, names, noise, open, put, read_all, same, stat};
use crate::rebuild::{alike, from_servers, journal_objects, rows, take_over};

/// A lost segment: of these servers, its share is gone.
async fn lose(lab: &Lab, segment: u64, places: &[usize]) {
    for place in places {
        let object = journal_objects(lab, *place).await[&segment].clone();
        lab.servers[*place].delete(&object).await.unwrap();
    }
}

async fn write(vault: &Vault, offset: u64, bytes: &[u8]) {
    let handle = open(vault, "large").await.unwrap();
    handle.write(&ctx(), offset, bytes).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    vault.sync().await.unwrap();
}

/// A large file of three versions, the second of which was told in a segment of its own; the number of that.
async fn three_versions(lab: &Lab) -> u64 {
    let vault = lab.start().await;
    put(&vault, "large", &noise(1, EXTENT + 70_000))
        .await
        .unwrap();
    vault.sync().await.unwrap();
    let second = lab.memory.journal().await.unwrap().next;
    write(&vault, 100, b"second").await;
    let third = lab.memory.journal().await.unwrap().next;
    assert_eq!(third, second + 1);
    write(&vault, EXTENT as u64 + 5, b"third").await;
    second
}

fn versions_of_it() -> [Vec<u8>; 3] {
    let first = noise(1, EXTENT + 70_000);
    let mut second = first.clone();
    second[100..106].copy_from_slice(b"second");
    let mut third = second.clone();
    third[EXTENT + 5..EXTENT + 10].copy_from_slice(b"third");
    [first, second, third]
}

async fn old_version(vault: &Vault, number: u64) -> Result<Vec<u8>, VaultError> {
    let node = stat(vault, "large").await.node;
    let handle = vault.open_version(&ctx(), node, VersionNo(number)).await?;
    let bytes = read_all(&handle).await;
    handle.release(&ctx()).await?;
    bytes
}

/// An extent that was replaced in a gap is not part of the versions after it, and one that came in it is no hole.
#[tokio::test(start_paused = true)]
async fn p7_with_a_gap_every_version_has_its_own_extents() {
    let lab = Lab::with_journal(2, 3).await;
    let second = three_versions(&lab).await;
    lose(&lab, second, &[0, 1, 2]).await;
    let (catalog, report) = from_servers(&lab, &[0, 1, 2]).await;
    assert_eq!(report.journal.gaps, [second..=second]);
    assert!(report.lost.is_empty(), "{report:?}");
    assert!(
        !report.undecided,
        "all servers were read: no other rebuild could know more"
    );
    let lab = take_over(lab, catalog);
    let vault = lab.start().await;
    assert_eq!(names(&vault).await, ["large"], "and no copy beside it");
    for (number, expected) in (1..).zip(versions_of_it()) {
        let got = old_version(&vault, number).await.unwrap();
        same(&got, &expected, &format!("version {number}"));
    }
    let newest = versions_of_it()[2].clone();
    same(&get(&vault, "large").await.unwrap(), &newest, "large");
    assert_eq!(stat(&vault, "large").await.version, VersionNo(3));
}

/// What too few have is named, and reading it fails: it is no stretch of zeros, and no older bytes.
#[tokio::test(start_paused = true)]
async fn p4_p7_an_extent_that_is_nowhere_is_lost_and_no_hole() {
    let lab = Lab::with_journal(2, 3).await;
    let second = three_versions(&lab).await;
    let document = lab.memory.lookup(NodeId::ROOT, &name("large")).await;
    let document = document.unwrap().unwrap().document;
    let version = lab.memory.version(document, VersionNo(2)).await.unwrap();
    let extent = version.unwrap().layout[0].unwrap();
    lose_extent(&lab, extent).await;
    lose(&lab, second, &[0, 1, 2]).await;
    let (catalog, report) = from_servers(&lab, &[0, 1, 2]).await;
    let lost: Vec<_> = report
        .lost
        .iter()
        .map(|lost| (lost.path.as_str(), lost.version.0, lost.there))
        .collect();
    assert_eq!(lost, [("/large", 2, 0), ("/large", 3, 0)], "{report:?}");
    let lab = take_over(lab, catalog);
    let vault = lab.start().await;
    let error = get(&vault, "large").await.unwrap_err();
    assert!(matches!(error, VaultError::TooFewShares { .. }), "{error}");
    let [first, ..] = versions_of_it();
    same(&old_version(&vault, 1).await.unwrap(), &first, "the first");
}

async fn lose_extent(lab: &Lab, extent: ExtentId) {
    let record = lab.memory.extent(extent).await.unwrap().unwrap();
    let key = lab.key().await;
    for (server, id) in lab.servers.iter().zip(&lab.ids) {
        let object = key.object_name(*id, extent, record.generation).into();
        assert!(server.lose(&object));
    }
}

/// The row of a version was told again after the gap that took those of its extents, and its head is gone as well.
#[tokio::test(start_paused = true)]
async fn p4_p7_a_version_whose_head_is_nowhere_is_named() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", &noise(1, 300)).await.unwrap();
    vault.sync().await.unwrap();
    let second = lab.memory.journal().await.unwrap().next;
    put(&vault, "f", &noise(2, 300)).await.unwrap();
    told_twice(&lab, &vault).await;
    let head = stat(&vault, "f").await.head.unwrap();
    drop(vault);
    lose_extent(&lab, head).await;
    lose(&lab, second, &[0, 1, 2]).await;
    let (catalog, report) = from_servers(&lab, &[0, 1, 2]).await;
    let [lost] = &report.lost[..] else {
        panic!("{report:?}");
    };
    assert_eq!((lost.path.as_str(), lost.version.0), ("/f", 2));
    let lab = take_over(lab, catalog);
    let vault = lab.start().await;
    // Not the older contents without a word.
    assert_eq!(stat(&vault, "f").await.version, VersionNo(2));
    assert!(matches!(
        get(&vault, "f").await.unwrap_err(),
        VaultError::TooFewShares { .. }
    ));
}

/// Writes the journal while a version cannot be settled, and again when it is: its row is told a second time alone.
async fn told_twice(lab: &Lab, vault: &Vault) {
    for faults in &lab.faults {
        faults.plan(Method::Sync, 1, Trouble::Refused(StoreErrorKind::Failed));
    }
    let before = lab.memory.journal().await.unwrap().next;
    assert!(vault.sync().await.is_err());
    assert_eq!(lab.memory.journal().await.unwrap().next, before + 1);
    vault.sync().await.unwrap();
    assert_eq!(lab.memory.journal().await.unwrap().next, before + 2);
}

/// Writes so much that a checkpoint is made.
pub(crate) async fn checkpoint(lab: &Lab, vault: &Vault, file: &str) {
    let node = stat(vault, file).await.node;
    for round in 0..90 {
        let value = noise(round, 60_000);
        vault
            .set_xattr(&ctx(), node, b"user.large", &value, XattrMode::Set)
            .await
            .unwrap();
        vault.sync().await.unwrap();
    }
    sleep(Duration::from_secs(5)).await;
    let state = lab.memory.journal().await.unwrap();
    assert!(state.checkpoints > 0, "{state:?}");
}

/// A file that was made in the gap: its versions were told again after it, its name and its node were not.
#[tokio::test(start_paused = true)]
async fn p7_a_file_that_lost_its_node_in_a_gap_gets_its_name_back() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "a", b"a").await.unwrap();
    put(&vault, "removed", b"removed").await.unwrap();
    vault
        .remove(&ctx(), NodeId::ROOT, &name("removed"))
        .await
        .unwrap();
    // Of what was removed a checkpoint tells the versions alone.
    checkpoint(&lab, &vault, "a").await;
    let second = lab.memory.journal().await.unwrap().next;
    put(&vault, "new", &noise(2, 300)).await.unwrap();
    // As office programs save: this name's document goes on under another one, and is no file of its own.
    put(&vault, "a.tmp", b"b").await.unwrap();
    crate::rebuild::rename(&vault, "a.tmp", "a").await.unwrap();
    told_twice(&lab, &vault).await;
    drop(vault);
    lose(&lab, second, &[0, 1, 2]).await;
    let (catalog, report) = from_servers(&lab, &[0, 1, 2]).await;
    let adopted: Vec<_> = report
        .adopted
        .iter()
        .map(|adopted| (adopted.path.as_str(), adopted.how))
        .collect();
    assert_eq!(adopted, [("/new", AdoptedAs::File)], "{report:?}");
    let lab = take_over(lab, catalog);
    let vault = lab.start().await;
    assert_eq!(names(&vault).await, ["a", "new"]);
    same(&get(&vault, "new").await.unwrap(), &noise(2, 300), "new");
    same(&get(&vault, "a").await.unwrap(), b"b", "a");
}

/// A rebuild from too few servers for one segment: nothing that a better one needs is let go before somebody decides.
#[tokio::test(start_paused = true)]
async fn p7_segments_stay_until_somebody_decides() {
    let lab = Lab::with_journal(2, 3).await;
    let vault = lab.start().await;
    let me = ctx();
    for folder in ["one", "two", "three"] {
        vault
            .make_dir(&me, NodeId::ROOT, &name(folder), 0o700)
            .await
            .unwrap();
        vault.sync().await.unwrap();
    }
    drop(vault);
    let expected = rows(&lab.memory).await;
    let segment = lab.memory.journal().await.unwrap().next - 2;
    lose(&lab, segment, &[0]).await;
    let everything = |lab: &Lab| -> Vec<_> { lab.servers.iter().map(|s| s.names()).collect() };
    let before = everything(&lab);

    let (catalog, report) = from_servers(&lab, &[0, 1]).await;
    assert_eq!(report.journal.gaps, [segment..=segment]);
    assert!(report.undecided, "{report:?}");
    let lab = take_over(lab, catalog.clone());
    let vault = lab.start().await;
    assert!(vault.is_undecided());
    assert!(vault.status(&me).await.unwrap().undecided);
    assert_eq!(names(&vault).await, ["one", "three"], "it can be read");
    assert!(matches!(
        put(&vault, "f", b"f").await.unwrap_err(),
        VaultError::Undecided
    ));
    sleep(Duration::from_secs(100)).await;
    assert!(vault.shutdown(&me).await.is_empty());
    assert_eq!(everything(&lab), before, "nothing was written or let go");

    // The third server is back.
    let (better, report) = from_servers(&lab, &[0, 1, 2]).await;
    assert!(report.is_whole() && !report.undecided, "{report:?}");
    alike(&rows(&better).await, &expected, "the better one");

    // It never comes back, and somebody decides.
    let vault = lab.start().await;
    assert!(vault.accept_rebuild(&me).await.unwrap());
    assert!(!vault.accept_rebuild(&me).await.unwrap());
    drop(vault);
    let vault = lab.start().await;
    assert!(!vault.is_undecided());
    put(&vault, "f", b"f").await.unwrap();
    sleep(Duration::from_secs(3)).await;
    assert!(vault.shutdown(&me).await.is_empty());
    assert!(catalog.journal().await.unwrap().whole);
    let (again, report) = from_servers(&lab, &[0, 1]).await;
    assert!(
        report.journal.gaps.is_empty() && !report.undecided,
        "{report:?}"
    );
    assert_eq!(report.audit_missing, 1, "the line that was lost is lost");
    alike(&rows(&again).await, &rows(&catalog).await, "from there on");
}

//! No request that a drive makes all the time reads a table from end to end.

use std::collections::BTreeMap;
use std::time::Duration;

use warifu_catalog::PostgresCatalog;
use warifu_core::format::{ExtentKind, Scheme};
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, Generation, Threshold, VersionNo};
use warifu_testkit::servers::SharedPostgres;
use warifu_vault::node::{Attr, AttrChange, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    Catalog, Commit, Durability, ExtentRecord, IndexSet, Intent, RenameMode, XattrMode,
};
use warifu_vault::seam::locks::{LockKind, LockMode, LockRequest};
use warifu_vault::seam::sessions::{Hold, SessionInfo};

use crate::common::{key, make, name, new_node, write};
use crate::{login, new_catalog};

const LEASE: Duration = Duration::from_secs(600);
const AT: Timestamp = Timestamp { secs: 1, nanos: 0 };

async fn save(catalog: &PostgresCatalog, attr: &Attr) -> Attr {
    let [save, head, data] = std::array::from_fn(|_| ExtentId::fresh().unwrap());
    let intent = Intent {
        save,
        extents: vec![(head, Generation(1))],
    };
    let about = catalog.begin_save_of(attr.node, &intent, LEASE).await;
    assert!(about.unwrap().is_some());
    let more = [(data, Generation(1))];
    catalog.extend_save(save, &more, LEASE).await.unwrap();
    let version = VersionNo(attr.version.0 + 1);
    let record = |extent, kind| ExtentRecord {
        extent,
        kind,
        number: 0,
        len: 4096,
        threshold: Threshold::new(2, 3).unwrap(),
        scheme: Scheme::Shamir,
        generation: Generation(1),
        document: attr.document,
        version,
        owed: IndexSet::EMPTY,
    };
    let commit = Commit {
        save,
        size: 5 << 20,
        mtime: AT,
        saved_at: AT,
        author: "佐藤".into(),
        host: "here".into(),
        head: Some(head),
        layout: vec![None, Some(data)],
        dealt: vec![
            record(head, ExtentKind::Head),
            record(data, ExtentKind::Data),
        ],
        settled: false,
    };
    let write = write("", Durability::Soon);
    let saved = catalog.commit_save(attr.node, attr.head, commit, write);
    saved.await.unwrap()
}

/// All that a drive does while people work on it.
async fn a_day(catalog: &PostgresCatalog, text: &str) {
    let soon = |text: &str| write(text, Durability::Soon);
    let sessions = catalog.sessions().unwrap();
    let info = SessionInfo {
        actor: "佐藤".into(),
        host: "here".into(),
        place: "/mnt/office".into(),
        pid: 1,
        since: AT,
    };
    let after = sessions.begin_session(&info, LEASE).await.unwrap();
    let node = make(catalog, text, Durability::Soon).await.unwrap();
    let found = catalog.lookup(NodeId::ROOT, &name(text)).await.unwrap();
    assert_eq!(found.map(|attr| attr.node), Some(node));
    let entry = soon("").audit;
    let (attr, _) = catalog.open(node, entry, Durability::Soon).await.unwrap();
    let hold = Hold {
        number: 1,
        node,
        actor: "佐藤".into(),
        program: "soffice".into(),
        since: AT,
    };
    sessions.hold(&[hold], &[]).await.unwrap();
    let lock = LockRequest {
        owner: 1,
        kind: LockKind::Posix,
        first: 0,
        last: 10,
        mode: Some(LockMode::Exclusive),
        pid: 1,
    };
    assert!(sessions.lock(node, &lock).await.unwrap().blocker.is_none());
    let attr = save(catalog, &save(catalog, &attr).await).await;
    catalog.current(node).await.unwrap();
    let versions = [(attr.document, attr.version)];
    catalog.settle(&versions).await.unwrap();
    catalog.extent(attr.head.unwrap()).await.unwrap();
    catalog.user_of(attr.head.unwrap()).await.unwrap();
    catalog.list(NodeId::ROOT, None, 50).await.unwrap();
    catalog.attr(node).await.unwrap();
    catalog.path(node).await.unwrap();
    let change = AttrChange {
        mode: Some(0o600),
        ..AttrChange::default()
    };
    catalog.set_attr(node, &change, soon("")).await.unwrap();
    let set = catalog.set_xattr(node, b"user.x", b"y", XattrMode::Set, soon(""));
    set.await.unwrap();
    catalog.xattr(node, b"user.x").await.unwrap();
    catalog.xattrs(node).await.unwrap();
    let folder = name(&format!("{text} folder"));
    let file = name(text);
    let made = catalog.create(NodeId::ROOT, &folder, new_node(NodeKind::Dir), soon(""));
    let folder_node = made.await.unwrap().node;
    let moves = [
        ((NodeId::ROOT, name(text)), (folder_node, name("moved"))),
        ((folder_node, name("moved")), (NodeId::ROOT, name(text))),
    ];
    for ((from, old), (to, new)) in &moves {
        let mode = RenameMode::Replace;
        let renamed = catalog.rename((*from, old), (*to, new), mode, &[], soon(""));
        renamed.await.unwrap();
    }
    sessions.renew_session(LEASE).await.unwrap();
    sessions.notices(after, 100).await.unwrap();
    sessions.holders(node).await.unwrap();
    sessions.lock(node, &LockRequest::release(1)).await.unwrap();
    catalog.lapsed().await.unwrap();
    catalog.unsettled(10).await.unwrap();
    catalog.owed(None, 10).await.unwrap();
    catalog.changes(100).await.unwrap();
    let gone = catalog.unlink(NodeId::ROOT, &file, &[], soon(""));
    gone.await.unwrap();
    let gone = catalog.rmdir(NodeId::ROOT, &folder, soon(""));
    gone.await.unwrap();
    sessions.end_session().await.unwrap();
}

/// How often each table was read from end to end, as far as the database has heard: it hears of everything when connections end.
fn scans(server: &SharedPostgres, schema: &str) -> BTreeMap<String, u64> {
    std::thread::sleep(Duration::from_secs(1));
    let asked = format!(
        "SELECT relname || ' ' || seq_scan FROM pg_stat_user_tables WHERE schemaname = '{schema}'"
    );
    let told = server.ask(&asked);
    let told = told.lines().filter_map(|line| line.split_once(' '));
    told.map(|(table, scans)| (table.to_owned(), scans.parse().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_drive_does_all_the_time_scans_no_table() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    let schema = url.rsplit('=').next().unwrap();
    for number in 0..100 {
        make(&catalog, &format!("file {number}"), Durability::Soon)
            .await
            .unwrap();
    }
    a_day(&catalog, "before").await;
    drop(catalog);
    let before = scans(&server, schema);
    assert!(before.len() > 10, "{before:?}");
    let catalog = PostgresCatalog::open(login(&url), key(1)).await.unwrap();
    for day in 0..3 {
        a_day(&catalog, &format!("day {day}")).await;
    }
    drop(catalog);
    let mut after = scans(&server, schema);
    after.retain(|table, scans| before.get(table) != Some(scans));
    assert!(after.is_empty(), "scanned: {after:?}, before: {before:?}");
}

//! Catalogues of older schemas are brought up to date when they are opened, and not under drives that are mounted.

mod common;

use std::time::Duration;

use common::{key, make, name, new_catalog, write};
use rusqlite::Connection;
use warifu_catalog::SqliteCatalog;
use warifu_core::head::Timestamp;
use warifu_vault::node::{AttrChange, NodeId};
use warifu_vault::seam::catalog::{Catalog, CatalogError, Durability};
use warifu_vault::seam::generations::Generations;
use warifu_vault::seam::journal::{Row, RowKey};
use warifu_vault::seam::sessions::SessionInfo;

const ROOT: NodeId = NodeId::ROOT;

/// What schema 4 has more than schema 3.
const NO_SESSIONS: &str =
    "DROP TABLE session; DROP TABLE notice; DROP TABLE file_lock; DROP TABLE hold;";

/// A catalogue from before there was a journal gets one, and a checkpoint is asked for.
#[tokio::test]
async fn p7_a_catalogue_of_schema_1_is_brought_up_to_date() {
    let (dir, catalog) = new_catalog();
    let node = make(&catalog, "x", Durability::Now).await.unwrap();
    drop(catalog);
    let path = dir.path().join("catalog.db");
    let conn = Connection::open(&path).unwrap();
    let mut triggers = Vec::new();
    let mut statement = conn
        .prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        triggers.push(row.get::<_, String>(0).unwrap());
    }
    drop(rows);
    drop(statement);
    assert_eq!(triggers.len(), 24);
    for trigger in triggers {
        conn.execute_batch(&format!("DROP TRIGGER {trigger}"))
            .unwrap();
    }
    conn.execute_batch(NO_SESSIONS).unwrap();
    conn.execute_batch(
        "DROP TABLE journal; DROP TABLE changed; DROP INDEX extent_journal; UPDATE vault SET schema = 1;",
    )
    .unwrap();
    conn.execute_batch(common::WITHOUT_PAST).unwrap();
    drop(conn);
    for _ in 0..2 {
        let catalog = SqliteCatalog::open(&path, key(1)).unwrap();
        assert_eq!(
            catalog
                .lookup(ROOT, &name("x"))
                .await
                .unwrap()
                .unwrap()
                .node,
            node
        );
        let state = catalog.journal().await.unwrap();
        assert_eq!((state.whole, state.next), (false, 1));
    }
    let catalog = SqliteCatalog::open(&path, key(1)).unwrap();
    make(&catalog, "y", Durability::Now).await.unwrap();
    assert_eq!(
        catalog.changes(100).await.unwrap().rows.len(),
        3,
        "the node, its name, its folder"
    );
}

/// A catalogue from before segments were linked goes on, and its next segment is linked to none.
#[tokio::test]
async fn p7_a_catalogue_of_schema_2_is_brought_up_to_date() {
    let (dir, catalog) = new_catalog();
    let node = make(&catalog, "x", Durability::Now).await.unwrap();
    drop(catalog);
    let path = dir.path().join("catalog.db");
    for sql in [
        NO_SESSIONS,
        "ALTER TABLE journal DROP COLUMN tip",
        "ALTER TABLE journal DROP COLUMN undecided",
        "UPDATE journal SET next = 8",
        "UPDATE vault SET schema = 2",
    ] {
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    }
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(common::WITHOUT_PAST).unwrap();
    drop(conn);
    for _ in 0..2 {
        let catalog = SqliteCatalog::open(&path, key(1)).unwrap();
        let found = catalog.lookup(ROOT, &name("x")).await.unwrap();
        assert_eq!(found.unwrap().node, node);
        let state = catalog.journal().await.unwrap();
        assert_eq!((state.whole, state.next), (true, 8));
        assert_eq!((state.tip, state.undecided), (None, false));
    }
}

/// A catalogue from before drives knew of each other can be shared.
#[tokio::test]
async fn a_catalogue_of_schema_3_is_brought_up_to_date() {
    let (dir, catalog) = new_catalog();
    let node = make(&catalog, "x", Durability::Now).await.unwrap();
    drop(catalog);
    let path = dir.path().join("catalog.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(NO_SESSIONS).unwrap();
    conn.execute_batch(common::WITHOUT_PAST).unwrap();
    conn.execute_batch("UPDATE vault SET schema = 3").unwrap();
    drop(conn);
    for _ in 0..2 {
        let catalog = SqliteCatalog::open(&path, key(1)).unwrap();
        let found = catalog.lookup(ROOT, &name("x")).await.unwrap();
        assert_eq!(found.unwrap().node, node);
        assert!(
            catalog
                .sessions()
                .unwrap()
                .present()
                .await
                .unwrap()
                .is_empty()
        );
    }
}

/// The drives that are mounted are of the older warifu, and would go on leaving out what is new.
#[tokio::test]
async fn a_catalogue_in_use_is_not_brought_up_to_date() {
    let (dir, catalog) = new_catalog();
    make(&catalog, "x", Durability::Now).await.unwrap();
    let info = SessionInfo {
        actor: "佐藤".into(),
        host: "madoguchi-3".into(),
        place: "/mnt/office".into(),
        pid: 1,
        since: Timestamp { secs: 1, nanos: 0 },
    };
    let sessions = catalog.sessions().unwrap();
    let lease = Duration::from_secs(600);
    sessions.begin_session(&info, lease).await.unwrap();
    let path = dir.path().join("catalog.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(common::WITHOUT_PAST).unwrap();
    conn.execute_batch("UPDATE vault SET schema = 4").unwrap();
    drop(conn);
    let refused = SqliteCatalog::open(&path, key(1)).unwrap_err();
    assert!(
        matches!(&refused, CatalogError::Mounted { drives } if drives == &["madoguchi-3:/mnt/office"]),
        "{refused}"
    );
    let conn = Connection::open(&path).unwrap();
    let schema = conn.query_row("SELECT schema FROM vault", [], |row| row.get::<_, i64>(0));
    assert_eq!(schema.unwrap(), 4, "nothing was done");
    conn.execute_batch("DELETE FROM session").unwrap();
    drop(conn);
    SqliteCatalog::open(&path, key(1)).unwrap();
}

/// A catalogue from before there were refreshes was never refreshed.
#[tokio::test]
async fn p7_a_catalogue_of_schema_5_is_brought_up_to_date() {
    let (dir, catalog) = new_catalog();
    make(&catalog, "x", Durability::Now).await.unwrap();
    drop(catalog);
    let path = dir.path().join("catalog.db");
    for sql in ["DROP TABLE generation", "UPDATE vault SET schema = 5"] {
        Connection::open(&path).unwrap().execute(sql, []).unwrap();
    }
    for _ in 0..2 {
        let catalog = SqliteCatalog::open(&path, key(1)).unwrap();
        assert_eq!(catalog.generations().await.unwrap(), Generations::FIRST);
        assert!(catalog.lookup(ROOT, &name("x")).await.unwrap().is_some());
    }
}

/// A catalogue from before each change had a mark of its own has one for each row, and an index that would allow no more. What is marked stays so.
#[tokio::test]
async fn p7_a_catalogue_of_schema_6_is_brought_up_to_date() {
    let (dir, catalog) = new_catalog();
    let node = make(&catalog, "x", Durability::Now).await.unwrap();
    drop(catalog);
    let path = dir.path().join("catalog.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(
        "DELETE FROM changed WHERE seq NOT IN (SELECT max(seq) FROM changed GROUP BY kind, a, b, c);
         CREATE UNIQUE INDEX changed_row ON changed (kind, a, b, c);
         UPDATE vault SET schema = 6",
    )
    .unwrap();
    drop(conn);
    let catalog = SqliteCatalog::open(&path, key(1)).unwrap();
    let waiting = catalog.journal().await.unwrap().waiting;
    assert_eq!(waiting, 3, "the node, its name, its folder");
    for mode in [0o600, 0o640] {
        let change = AttrChange {
            mode: Some(mode),
            ..AttrChange::default()
        };
        catalog
            .set_attr(node, &change, write("mode", Durability::Now))
            .await
            .unwrap();
    }
    assert_eq!(catalog.journal().await.unwrap().waiting, waiting + 2);
    let told = catalog.changes(100).await.unwrap();
    let keys: Vec<RowKey> = told.rows.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys.len(), 3, "each row once: {keys:?}");
    assert_eq!(
        keys.last(),
        Some(&RowKey::Node(node)),
        "after what changed before it"
    );
    assert!(
        matches!(&told.rows.last(), Some((_, Some(Row::Node(attr)))) if attr.mode == 0o640),
        "and as it is now"
    );
}

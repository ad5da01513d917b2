//! The SQLite catalogue keeps the contract, and lives the same life as its in-memory twin.

mod common;

use std::collections::HashSet;
use std::sync::Arc;

use common::{key, make, name, new_catalog, write};
use rusqlite::Connection;
use warifu_catalog::{SqliteCatalog, chain_after};
use warifu_core::head::Timestamp;
use warifu_core::ids::ExtentId;
use warifu_testkit::catalogs::contract::{self, Pair, Subject};
use warifu_testkit::catalogs::{MemoryCatalog, model};
use warifu_testkit::world::World;
use warifu_vault::node::{AttrChange, NodeId};
use warifu_vault::seam::catalog::{Catalog, Durability, RenameMode};
use warifu_vault::seam::journal::RowKey;
use warifu_vault::seam::past::{KNOWN_SINCE, Past};

const ROOT: NodeId = NodeId::ROOT;

#[tokio::test(flavor = "multi_thread")]
async fn the_sqlite_catalogue_keeps_the_contract() {
    contract::catalog(|| {
        let (dir, catalog) = new_catalog();
        let key = key(1);
        Subject {
            catalog: Arc::new(catalog),
            chain: Box::new(move |previous, seq, entry| {
                chain_after(&key, previous, seq, entry).unwrap()
            }),
            keep: Box::new(dir),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_share_a_sqlite_catalogue_hear_of_each_other() {
    contract::sessions(|| {
        let (dir, catalog) = new_catalog();
        let key = key(1);
        Pair {
            there: Arc::new(
                SqliteCatalog::open(&dir.path().join("catalog.db"), self::key(1)).unwrap(),
            ),
            here: Subject {
                catalog: Arc::new(catalog),
                chain: Box::new(move |previous, seq, entry| {
                    chain_after(&key, previous, seq, entry).unwrap()
                }),
                keep: Box::new(dir),
            },
        }
    })
    .await;
}

#[tokio::test]
async fn it_lives_the_same_life_as_its_twin() {
    for seed in 0..12 {
        let (_dir, catalog) = new_catalog();
        model::compare(&MemoryCatalog::new(), &catalog, &World::new(seed), 400).await;
    }
}

#[tokio::test]
async fn what_was_lived_is_there_after_reopening() {
    let (dir, catalog) = new_catalog();
    let twin = MemoryCatalog::new();
    model::compare(&twin, &catalog, &World::new(99), 300).await;
    drop(catalog);
    let catalog = SqliteCatalog::open(&dir.path().join("catalog.db"), key(1)).unwrap();
    assert_eq!(
        contract::picture(&twin).await,
        contract::picture(&catalog).await
    );
}

/// A catalogue from before names had times: each name is as old as what it stands for, and from now on they are told.
#[tokio::test]
async fn p7_a_catalogue_of_schema_4_is_brought_up_to_date() {
    let (dir, catalog) = new_catalog();
    let node = make(&catalog, "x", Durability::Now).await.unwrap();
    let made = catalog.attr(node).await.unwrap().unwrap().btime;
    drop(catalog);
    let path = dir.path().join("catalog.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(common::WITHOUT_PAST).unwrap();
    conn.execute("UPDATE vault SET schema = 4", []).unwrap();
    drop(conn);
    let mut known = HashSet::new();
    for _ in 0..2 {
        let catalog = SqliteCatalog::open(&path, key(1)).unwrap();
        known.insert(catalog.position(KNOWN_SINCE).await.unwrap());
        let names = catalog.list_at(ROOT, made).await.unwrap();
        let [there] = &names[..] else {
            panic!("one name: {names:?}");
        };
        assert_eq!((there.node, there.since, there.until), (node, made, None));
        let before = Timestamp {
            secs: made.secs - 1,
            ..made
        };
        assert!(catalog.list_at(ROOT, before).await.unwrap().is_empty());
    }
    // From when on is kept once, by the clock of the upgrade.
    assert!(known.len() == 1 && !known.contains(&0), "{known:?}");
    let (_other, fresh) = new_catalog();
    assert_eq!(fresh.position(KNOWN_SINCE).await.unwrap(), 0);
    let catalog = SqliteCatalog::open(&path, key(1)).unwrap();
    let waiting = catalog.journal().await.unwrap().waiting;
    let (from, to) = (name("x"), name("y"));
    catalog
        .rename(
            (ROOT, &from),
            (ROOT, &to),
            RenameMode::Replace,
            &[],
            write("moved", Durability::Now),
        )
        .await
        .unwrap();
    let ended = catalog.ended(0, 9).await.unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].since, made);
    let state = catalog.journal().await.unwrap();
    assert!(state.waiting > waiting, "and the journal hears of it");
    let told = catalog.changes(100).await.unwrap().rows;
    assert!(
        told.iter()
            .any(|(key, _)| *key == RowKey::Past(ended[0].id))
    );
}

/// Marks of one row take no other row's place in a segment, and what is not told yet is told the next time.
#[tokio::test]
async fn p7_a_row_that_changed_often_leaves_room_for_others() {
    let (_dir, catalog) = new_catalog();
    let mut replay = contract::Replay::default();
    let often = make(&catalog, "often", Durability::Soon).await.unwrap();
    while replay.take(&catalog, 1000, true, fresh()).await {}
    for mode in [0o600, 0o640, 0o660] {
        let change = AttrChange {
            mode: Some(mode),
            ..AttrChange::default()
        };
        let write = write("mode", Durability::Soon);
        catalog.set_attr(often, &change, write).await.unwrap();
    }
    let other = make(&catalog, "other", Durability::Soon).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..2 {
        let rows = catalog.changes(2).await.unwrap().rows;
        assert_eq!(rows.len(), 2, "{rows:?}");
        told.extend(rows.into_iter().map(|(key, _)| key));
        assert!(replay.take(&catalog, 2, true, fresh()).await);
    }
    assert_eq!(told.first(), Some(&RowKey::Node(often)));
    for node in [other, ROOT] {
        assert!(told.contains(&RowKey::Node(node)), "{told:?}");
    }
    assert_eq!(catalog.journal().await.unwrap().waiting, 0);
}

fn fresh() -> ExtentId {
    ExtentId::fresh().unwrap()
}

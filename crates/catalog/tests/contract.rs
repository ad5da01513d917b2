//! The SQLite catalogue keeps the contract, and lives the same life as its in-memory twin.

mod common;

use std::sync::Arc;

use common::{key, new_catalog};
use warifu_catalog::{SqliteCatalog, chain_after};
use warifu_testkit::catalogs::contract::{self, Pair, Subject};
use warifu_testkit::catalogs::{MemoryCatalog, model};
use warifu_testkit::world::World;

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

//! The PostgreSQL catalogue keeps the contract, and lives the same life as its in-memory twin.

#[path = "../common/mod.rs"]
mod common;
mod distance;
mod doubt;
mod failing;
mod failover;
mod journal;
mod lives;
mod many;
#[path = "../common/office.rs"]
mod office;
mod past;
mod scans;
mod secrets;
mod sharing;

use std::sync::Arc;

use common::key;
use office::{Desks, Opening};
use warifu_catalog::{PostgresCatalog, PostgresLogin, PostgresUrl, chain_after};
use warifu_testkit::catalogs::contract::{self, Pair, Subject};
use warifu_testkit::catalogs::{MemoryCatalog, model};
use warifu_testkit::servers::{SharedPostgres, fresh_schema};
use warifu_testkit::world::World;
use warifu_vault::seam::catalog::Catalog;

pub(crate) fn login(url: &str) -> PostgresLogin {
    PostgresLogin {
        url: PostgresUrl::parse(url).unwrap(),
        password: None,
        ca: None,
    }
}

pub(crate) async fn new_catalog(server: &SharedPostgres) -> (String, PostgresCatalog) {
    let url = server.url(&fresh_schema());
    let catalog = PostgresCatalog::create(login(&url), key(1)).await.unwrap();
    (url, catalog)
}

/// An office whose machines reach their catalogue by a URL of its own.
pub(crate) async fn desks(url: String, through: String) -> Desks {
    Desks::new(|key| async move {
        drop(PostgresCatalog::create(login(&url), key).await.unwrap());
        let open: Opening = Box::new(move |key| {
            let login = login(&through);
            Box::pin(async move {
                let catalog = PostgresCatalog::open(login, key).await?;
                Ok(Arc::new(catalog) as Arc<dyn Catalog>)
            })
        });
        open
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_postgresql_catalogue_keeps_the_contract() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    contract::catalog(|| {
        let (_, catalog) = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(new_catalog(&server))
        });
        let key = key(1);
        Subject {
            catalog: Arc::new(catalog),
            chain: Box::new(move |previous, seq, entry| {
                chain_after(&key, previous, seq, entry).unwrap()
            }),
            keep: Box::new(()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_share_a_postgresql_catalogue_hear_of_each_other() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    contract::sessions(|| {
        let (url, here) = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(new_catalog(&server))
        });
        let there = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current()
                .block_on(PostgresCatalog::open(login(&url), self::key(1)))
        });
        let key = key(1);
        Pair {
            there: Arc::new(there.unwrap()),
            here: Subject {
                catalog: Arc::new(here),
                chain: Box::new(move |previous, seq, entry| {
                    chain_after(&key, previous, seq, entry).unwrap()
                }),
                keep: Box::new(()),
            },
        }
    })
    .await;
}

#[tokio::test]
async fn it_lives_the_same_life_as_its_twin() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    for seed in 0..6 {
        let (_, catalog) = new_catalog(&server).await;
        model::compare(&MemoryCatalog::new(), &catalog, &World::new(seed), 300).await;
    }
}

#[tokio::test]
async fn what_was_lived_is_there_after_reopening() {
    let Some(server) = SharedPostgres::take() else {
        return;
    };
    let (url, catalog) = new_catalog(&server).await;
    let twin = MemoryCatalog::new();
    model::compare(&twin, &catalog, &World::new(99), 300).await;
    drop(catalog);
    let catalog = PostgresCatalog::open(login(&url), key(1)).await.unwrap();
    assert_eq!(
        contract::picture(&twin).await,
        contract::picture(&catalog).await
    );
}

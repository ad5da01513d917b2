//! P8: eight machines on one SQLite catalogue are told what one after another could have been told.

#[path = "common/office.rs"]
mod office;

use std::sync::Arc;

use office::{Desks, Opening};
use warifu_catalog::SqliteCatalog;
use warifu_testkit::histories::{Office, lives};
use warifu_vault::seam::catalog::Catalog;

async fn desks() -> Arc<dyn Office> {
    let made = Desks::new(|key| async move {
        let dir = tempfile::tempdir().unwrap();
        drop(SqliteCatalog::create(&dir.path().join("catalog.db"), key).unwrap());
        let open: Opening = Box::new(move |key| {
            let catalog = SqliteCatalog::open(&dir.path().join("catalog.db"), key).unwrap();
            Box::pin(async { Ok(Arc::new(catalog) as Arc<dyn Catalog>) })
        });
        open
    });
    Arc::new(made.await)
}

/// As many lives as the variable says; a few without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_histories_of_eight_machines_on_sqlite_can_be_explained() {
    let number = std::env::var("WARIFU_TEST_HISTORIES")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(8);
    lives(number, desks).await;
}

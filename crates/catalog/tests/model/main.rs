//! The vault's random lives with its catalogue in PostgreSQL.

// The vault's own suite uses all of it.
#[allow(dead_code, unused_imports)]
#[path = "../../../vault/tests/suite/common/mod.rs"]
mod common;
#[allow(dead_code)]
#[path = "../../../vault/tests/suite/model/mod.rs"]
mod model;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::runtime::Runtime;
use warifu_catalog::{PostgresCatalog, PostgresLogin, PostgresUrl};
use warifu_core::ids::VaultId;
use warifu_core::keys::VaultKey;
use warifu_testkit::catalogs::CrashingCatalog;
use warifu_testkit::servers::{SharedPostgres, fresh_schema};
use warifu_testkit::world::World;
use warifu_vault::seam::catalog::Catalog;

use common::lab::Ground;
use model::run::{Way, live_through_with};
use model::{all_live_like_the_model, life, number, seeds, stormy_life, with_upkeep};

/// The database, and a runtime of its own: the lives' time stands still while something is done.
struct Database {
    server: SharedPostgres,
    runtime: Runtime,
}

fn database() -> Option<&'static Database> {
    static DATABASE: OnceLock<Option<Database>> = OnceLock::new();
    let made = DATABASE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let server = SharedPostgres::take()?;
        Some(Database { server, runtime })
    });
    made.as_ref()
}

/// The schemas of one life.
struct Schemas {
    database: &'static Database,
    names: Mutex<Vec<String>>,
}

impl Schemas {
    /// Whatever runtime the caller is on.
    fn outside<T: Send>(&self, act: impl Future<Output = T> + Send) -> T {
        let runtime = &self.database.runtime;
        std::thread::scope(|scope| {
            let done = scope.spawn(|| runtime.block_on(act)).join();
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn names(&self) -> MutexGuard<'_, Vec<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Schemas {
    fn drop(&mut self) {
        for schema in self.names().drain(..) {
            let server = &self.database.server;
            server.ask(&format!(
                "SET client_min_messages = error; DROP SCHEMA {schema} CASCADE"
            ));
        }
    }
}

impl Ground for Schemas {
    fn make(&self) -> Arc<dyn Catalog> {
        let schema = fresh_schema();
        let login = PostgresLogin {
            url: PostgresUrl::parse(&self.database.server.url(&schema)).unwrap(),
            password: None,
            ca: None,
        };
        let key = VaultKey::generate().unwrap();
        let key = key.catalog_key(VaultId::fresh().unwrap());
        let catalog = self.outside(PostgresCatalog::create(login, key)).unwrap();
        self.names().push(schema);
        let line = CrashingCatalog::new(Arc::new(catalog), World::new(0));
        Arc::new(line.at_once(self.database.runtime.handle().clone()))
    }

    fn end_leases(&self) {
        if let Some(schema) = self.names().last() {
            let text = format!("UPDATE {schema}.intent SET until = clock_timestamp()");
            self.database.server.ask(&text);
        }
    }
}

fn ground() -> Arc<dyn Ground> {
    Arc::new(Schemas {
        database: database().expect("the test would have been skipped"),
        names: Mutex::default(),
    })
}

fn all_live(k: u8, n: u8, usual: u64, life: impl Fn(u64, usize) -> Vec<model::Op>) {
    if database().is_none() {
        return;
    }
    let usual = std::env::var("WARIFU_MODEL_LIVES").map_or(usual, |text| number(&text));
    let (range, steps) = seeds(usual);
    let life = |seed| with_upkeep(seed, life(seed, steps));
    all_live_like_the_model(k, n, range, life, |seed, ops| {
        live_through_with(k, n, Way::of(seed).on(ground), ops)
    });
}

#[test]
fn p4_p5_p10_two_of_three_live_like_the_model_on_postgresql() {
    all_live(2, 3, 10, life);
}

#[test]
fn p4_p5_p10_two_of_three_live_through_storms_on_postgresql() {
    all_live(2, 3, 10, |seed, steps| stormy_life(seed, steps, 3, 2));
}

//! P8: eight machines on one PostgreSQL catalogue are told what one after another could have been told, while machines die, servers fail,
//! connections break and the database is started anew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use warifu_testkit::clock::ManualClock;
use warifu_testkit::histories::{Machine, Office, life};
use warifu_testkit::proxy::Proxy;
use warifu_testkit::servers::{Postgres, PostgresOptions, fresh_schema};
use warifu_testkit::world::World;

use crate::desks;
use crate::office::Desks;

/// The database and the way to it, which outlive the lives.
struct Ground {
    server: Mutex<Postgres>,
    proxy: Proxy,
}

/// An office whose way to the database breaks now and then, and the database with it.
struct Troubled {
    desks: Desks,
    ground: Arc<Ground>,
    seed: u64,
    over: Arc<AtomicBool>,
    trouble: Mutex<Option<JoinHandle<()>>>,
}

impl Troubled {
    async fn new(ground: &Arc<Ground>, seed: u64) -> Self {
        let (port, schema) = (ground.proxy.port(), fresh_schema());
        let url = format!("postgres://warifu@127.0.0.1:{port}/postgres?schema={schema}");
        let desks = desks(url.clone(), url).await;
        Self {
            desks,
            ground: Arc::clone(ground),
            seed,
            over: Arc::default(),
            trouble: Mutex::default(),
        }
    }
}

#[async_trait]
impl Office for Troubled {
    async fn machine(&self, host: &str, clock: ManualClock) -> Machine {
        self.desks.machine(host, clock).await
    }

    fn trouble(&self, trouble: bool) {
        self.desks.trouble(trouble);
        let mut running = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if !trouble {
            self.over.store(true, Ordering::SeqCst);
            if let Some(running) = running.take() {
                running.join().unwrap();
            }
            return;
        }
        let (ground, over, world) = (
            Arc::clone(&self.ground),
            Arc::clone(&self.over),
            World::new(self.seed),
        );
        let restarts = self.seed % 4 == 3;
        *running = Some(std::thread::spawn(move || {
            for turn in 0_u64.. {
                let draw = |what: &[u8]| world.draw(&[what, &turn.to_le_bytes()]);
                std::thread::sleep(Duration::from_millis(20 + draw(b"pause") % 100));
                if over.load(Ordering::SeqCst) {
                    return;
                }
                if restarts && turn == 2 {
                    let mut server = ground.server.lock().unwrap();
                    server.stop();
                    server.run();
                } else if draw(b"how") % 2 == 0 {
                    ground.proxy.break_off();
                } else {
                    ground.proxy.break_off_after(draw(b"bytes") % 3000);
                }
            }
        }));
    }
}

fn of_variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// As many lives as one variable says, or as many as another one's minutes allow; a few without them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_histories_of_eight_machines_on_postgresql_can_be_explained() {
    let Some(server) = Postgres::start(PostgresOptions::default()) else {
        return;
    };
    let proxy = Proxy::to(server.port());
    let ground = Arc::new(Ground {
        server: Mutex::new(server),
        proxy,
    });
    let minutes = of_variable("WARIFU_TEST_HISTORY_MINUTES");
    let number = of_variable("WARIFU_TEST_HISTORIES").unwrap_or(4);
    let (begun, mut asked, mut copies, mut lives) = (Instant::now(), 0, 0, 0);
    for seed in 0.. {
        let goes_on = match minutes {
            Some(minutes) => begun.elapsed() < Duration::from_secs(60 * minutes),
            None => seed < number,
        };
        if !goes_on {
            break;
        }
        let office: Arc<dyn Office> = Arc::new(Troubled::new(&ground, seed).await);
        let life = life(office, seed).await;
        asked += life.events.len();
        copies += life.copies;
        lives += 1;
    }
    eprintln!(
        "{lives} histories, {asked} events, {copies} copies kept, {:.0?}",
        begun.elapsed()
    );
    assert!(asked > 0);
}

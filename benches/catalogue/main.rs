//! What an open and a save cost with the catalogue in SQLite and in PostgreSQL on loopback, in one run, and with a database that is
//! 5 ms away, in milliseconds and in round trips (`near`); and what requests to a catalogue of a million files cost beside one of 10,000 (`scale`,
//! `WARIFU_BENCH_FILES`). `cargo bench -p warifu-benches --bench catalogue [-- near | scale]`; `WARIFU_BENCH_DIR` says where, and
//! `WARIFU_BENCH_DURABLE=0` has the database wait for no disk. Needs Debian's postgresql.

mod scale;

use std::path::Path;
use std::time::{Duration, Instant};

use warifu::store::Credentials;
use warifu::{Access, InitOptions, Name, NewServer, NodeId, OpenOptions, Threshold, Warifu};
use warifu_testkit::proxy::Proxy;
use warifu_testkit::servers::{Postgres, PostgresOptions};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Half of the office files of a corpus are smaller.
const SIZE: usize = 17_003;
const ROUNDS: usize = 200;
const AWAY: Duration = Duration::from_micros(2_500);

/// Whether the database waits for its disk. Not, with `WARIFU_BENCH_DURABLE=0`: then what is left is its own work.
fn is_durable() -> bool {
    std::env::var("WARIFU_BENCH_DURABLE").map_or(true, |text| text != "0")
}

fn main() -> Outcome<()> {
    let dir = match std::env::var_os("WARIFU_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |part: &str| {
        let mut named = parts.iter().filter(|word| !word.starts_with('-'));
        named.clone().next().is_none() || named.any(|word| word == part)
    };
    let runtime = tokio::runtime::Runtime::new()?;
    if wanted("near") {
        runtime.block_on(near(dir.path()))?;
    }
    if wanted("scale") {
        runtime.block_on(scale::run(dir.path()))?;
    }
    Ok(())
}

async fn vault(dir: &Path, name: &str, url: Option<&str>) -> Outcome<Warifu> {
    let path = dir.join(format!("{name}.toml"));
    let servers = (1..=3).map(|n| {
        let folder = dir.join(format!("{name}-{n}"));
        NewServer::new(format!("s{n}"), folder.display().to_string())
    });
    let mut options = InitOptions::new("bench");
    if let Some(url) = url {
        options = options.catalog(url, Credentials::default());
    }
    Warifu::init(&path, Threshold::new(2, 3)?, servers.collect(), options).await?;
    Ok(Warifu::open(&path, OpenOptions::new("bench")).await?)
}

/// What is measured, in milliseconds: an opening, the same with the reading of all of the file, `close` of a file that was changed, and `fsync`
/// of one.
const ACTS: [&str; 4] = ["open", "open and read", "close", "fsync"];

type Costs = [f64; ACTS.len()];

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    median.as_secs_f64() * 1e3
}

async fn measure(warifu: &Warifu, rounds: usize) -> Outcome<Costs> {
    let (vault, context) = (warifu.vault(), warifu.context());
    warifu.write_file("/a", &[7; SIZE]).await?;
    let node = vault
        .lookup(context, NodeId::ROOT, &Name::new(b"a")?)
        .await?
        .node;
    let mut times: [Vec<Duration>; ACTS.len()] = Default::default();
    for round in 0..rounds + 5 {
        let begin = Instant::now();
        let handle = vault.open(context, node, Access::READ_WRITE).await?;
        let opened = begin.elapsed();
        let read = handle.read(0, SIZE).await?.len();
        let and_read = begin.elapsed();
        assert_eq!(read, SIZE, "all is read");
        handle.write(context, 0, &round.to_le_bytes()).await?;
        let begin = Instant::now();
        handle.flush(context).await?;
        let closed = begin.elapsed();
        handle.write(context, 9, &round.to_le_bytes()).await?;
        let begin = Instant::now();
        handle.fsync(context).await?;
        let synced = begin.elapsed();
        handle.release(context).await?;
        // The first ones make connections and plans.
        if round >= 5 {
            for (all, time) in times.iter_mut().zip([opened, and_read, closed, synced]) {
                all.push(time);
            }
        }
    }
    Ok(times.each_mut().map(|times| median(times)))
}

async fn near(dir: &Path) -> Outcome<()> {
    let options = PostgresOptions {
        durable: is_durable(),
        ..PostgresOptions::default()
    };
    let server = Postgres::start(options).ok_or("PostgreSQL is not installed")?;
    let proxy = Proxy::to(server.port());
    let far_url = server
        .url("far")
        .replace(&server.port().to_string(), &proxy.port().to_string());
    let sqlite = vault(dir, "sqlite", None).await?;
    let near = vault(dir, "near", Some(&server.url("near"))).await?;
    let far = vault(dir, "far", Some(&far_url)).await?;
    for turn in 1..=3 {
        let (one, other) = (
            measure(&sqlite, ROUNDS).await?,
            measure(&near, ROUNDS).await?,
        );
        for ((act, one), other) in ACTS.iter().zip(one).zip(other) {
            println!(
                "turn {turn}: {act:<13}  SQLite {one:7.3} ms  PostgreSQL {other:7.3} ms  {:.2} x",
                other / one
            );
        }
    }
    let beside = measure(&near, ROUNDS).await?;
    proxy.set_delay(AWAY);
    let away = measure(&far, 40).await?;
    for ((act, near), far) in ACTS.iter().zip(beside).zip(away) {
        println!(
            "5 ms away: {act:<13} {far:7.2} ms, {:.2} round trips more than near",
            (far - near) / 5.0
        );
    }
    proxy.set_delay(Duration::ZERO);
    for warifu in [sqlite, near, far] {
        assert!(warifu.close().await.is_empty(), "nothing is lost");
    }
    Ok(())
}

//! What an open and a save cost with the catalogue in SQLite and in PostgreSQL on loopback, in one run; and with a database that is
//! 5 ms away, in milliseconds and in round trips. `cargo bench -p warifu-benches --bench catalogue`; `WARIFU_BENCH_DIR` says where.
//! Needs Debian's postgresql.

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

fn main() -> Outcome<()> {
    let dir = match std::env::var_os("WARIFU_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(run(dir.path()))
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

/// Medians: of an open with its reading of one byte left out, and of a save of a file that is open.
struct Cost {
    open: f64,
    save: f64,
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

async fn measure(warifu: &Warifu, rounds: usize) -> Outcome<Cost> {
    let (vault, context) = (warifu.vault(), warifu.context());
    warifu.write_file("/a", &[7; SIZE]).await?;
    let node = vault
        .lookup(context, NodeId::ROOT, &Name::new(b"a")?)
        .await?
        .node;
    let (mut opens, mut saves) = (Vec::new(), Vec::new());
    for round in 0..rounds + 5 {
        let begin = Instant::now();
        let handle = vault.open(context, node, Access::READ_WRITE).await?;
        let opened = begin.elapsed();
        handle.write(context, 0, &round.to_le_bytes()).await?;
        let begin = Instant::now();
        handle.flush(context).await?;
        let saved = begin.elapsed();
        handle.release(context).await?;
        // The first ones make connections and plans.
        if round >= 5 {
            opens.push(opened);
            saves.push(saved);
        }
    }
    Ok(Cost {
        open: median(opens),
        save: median(saves),
    })
}

async fn run(dir: &Path) -> Outcome<()> {
    let options = PostgresOptions {
        durable: true,
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
        let one = measure(&sqlite, ROUNDS).await?;
        let other = measure(&near, ROUNDS).await?;
        println!(
            "turn {turn}: open  SQLite {:.3} ms  PostgreSQL {:.3} ms  ({:.2} x)    save  {:.3} ms  {:.3} ms  ({:.2} x)",
            one.open,
            other.open,
            other.open / one.open,
            one.save,
            other.save,
            other.save / one.save
        );
    }
    let near_again = measure(&near, ROUNDS).await?;
    proxy.set_delay(AWAY);
    let away = measure(&far, 40).await?;
    println!(
        "5 ms away: open {:.2} ms, {:.2} round trips more than near; save {:.2} ms, {:.2} round trips more",
        away.open,
        (away.open - near_again.open) / 5.0,
        away.save,
        (away.save - near_again.save) / 5.0
    );
    proxy.set_delay(Duration::ZERO);
    for warifu in [sqlite, near, far] {
        assert!(warifu.close().await.is_empty(), "nothing is lost");
    }
    Ok(())
}

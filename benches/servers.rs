//! What opening and saving a small document costs over the network, for each protocol: a 2-of-3 vault on three stores of one kind, real
//! servers on loopback, and a line to each that takes 0, 5 and 20 ms longer for a round trip.
//! `cargo bench -p warifu-benches --bench servers`; `ROUNDS=20` and
//! `KIND=SFTP` (a part of the first column) may be set. What is not installed is left out: Debian's openssh-server, sshfs, apache2,
//! nginx-light with libnginx-mod-http-dav-ext, and `cargo install s3s-fs --features binary`.
//!
//! The line is a proxy that delays each direction by half of the number, so everything that waits for an answer waits so long. To connect takes no
//! time on it. Round trips are counted on it too: how often a client spoke after the server had.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use warifu::store::Credentials;
use warifu::{InitOptions, NewServer, OpenOptions, Threshold, Warifu};
use warifu_testkit::proxy::Proxy;
use warifu_testkit::servers::{S3Server, Sshd, WebdavServer, installed};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const DELAYS: [u64; 3] = [0, 5, 20];
const N: usize = 3;
const K: usize = 2;
const LEN: usize = 20_000;

/// Three places of one kind, each behind a line of its own.
struct Places {
    kind: &'static str,
    servers: Vec<NewServer>,
    /// Kept for as long as they are used, and ended before the lines are.
    _running: Box<dyn std::any::Any>,
    lines: Vec<Proxy>,
}

fn server(number: usize, url: String, options: &[(&str, String)]) -> Outcome<NewServer> {
    let mut credentials = Credentials::default();
    for (field, value) in options {
        credentials.set(field, value)?;
    }
    let mut server = NewServer::new(format!("s{number}"), url);
    server.credentials = credentials;
    Ok(server)
}

fn lines(port: u16) -> Vec<Proxy> {
    (0..N).map(|_| Proxy::to(port)).collect()
}

fn directories(dir: &Path) -> Outcome<Option<Places>> {
    let servers = (0..N).map(|n| {
        let folder = dir.join(format!("folder-{n}"));
        server(n, folder.display().to_string(), &[])
    });
    Ok(Some(Places {
        kind: "directory, on the disk",
        lines: Vec::new(),
        servers: servers.collect::<Outcome<_>>()?,
        _running: Box::new(()),
    }))
}

fn sftp(dir: &Path) -> Outcome<Option<Places>> {
    let Some(sshd) = Sshd::start() else {
        return Ok(None);
    };
    let lines = lines(sshd.port());
    let options = [
        ("key", format!("file:{}", sshd.key().display())),
        ("host_key", sshd.fingerprint()),
    ];
    let servers = lines.iter().enumerate().map(|(n, line)| {
        let url = sshd.url(&dir.join(format!("sftp-{n}")));
        let (from, to) = (format!(":{}/", sshd.port()), format!(":{}/", line.port()));
        server(n, url.replace(&from, &to), &options)
    });
    Ok(Some(Places {
        kind: "SFTP, OpenSSH",
        servers: servers.collect::<Outcome<_>>()?,
        lines,
        _running: Box::new(sshd),
    }))
}

fn webdav(kind: &'static str, webdav: Option<WebdavServer>) -> Outcome<Option<Places>> {
    let Some(webdav) = webdav else {
        return Ok(None);
    };
    let lines = lines(webdav.port());
    let options = webdav.options();
    let servers = lines.iter().enumerate().map(|(n, line)| {
        let url = webdav.url(&format!("s{n}"), line.port());
        server(n, url, &options)
    });
    Ok(Some(Places {
        kind,
        servers: servers.collect::<Outcome<_>>()?,
        lines,
        _running: Box::new(webdav),
    }))
}

fn s3() -> Outcome<Option<Places>> {
    let Some(s3) = S3Server::s3s() else {
        return Ok(None);
    };
    let lines = lines(s3.port());
    let options = s3.options();
    let servers = lines.iter().enumerate().map(|(n, line)| {
        let url = s3.url(&format!("s{n}"), line.port());
        server(n, url, &options)
    });
    Ok(Some(Places {
        kind: "S3, s3s-fs",
        servers: servers.collect::<Outcome<_>>()?,
        lines,
        _running: Box::new(s3),
    }))
}

/// Network mounts; unmounted when dropped.
struct Mounts {
    _sshd: Sshd,
    mounted: Vec<PathBuf>,
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for folder in &self.mounted {
            let _ = Command::new("umount").arg("-l").arg(folder).status();
        }
    }
}

fn mounts(dir: &Path) -> Outcome<Option<Places>> {
    if installed("sshfs").is_none() {
        eprintln!("left out: sshfs is not installed");
        return Ok(None);
    }
    let Some(sshd) = Sshd::start() else {
        return Ok(None);
    };
    let lines = lines(sshd.port());
    let known = dir.join("known_hosts");
    let mut running = Mounts {
        _sshd: sshd,
        mounted: Vec::new(),
    };
    let mut servers = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let sshd = &running._sshd;
        let (behind, mounted) = (
            dir.join(format!("behind-{n}")),
            dir.join(format!("net-{n}")),
        );
        std::fs::create_dir(&behind)?;
        std::fs::create_dir(&mounted)?;
        let done = Command::new("sshfs")
            .arg(format!("{}@127.0.0.1:{}", sshd.user(), behind.display()))
            .arg(&mounted)
            .args(["-p", &line.port().to_string()])
            .arg("-o")
            .arg(format!(
                "IdentityFile={},StrictHostKeyChecking=no,UserKnownHostsFile={}",
                sshd.key().display(),
                known.display()
            ))
            .status()?;
        if !done.success() {
            eprintln!("left out: sshfs cannot mount here");
            return Ok(None);
        }
        running.mounted.push(mounted.clone());
        let folder = mounted.join("store");
        servers.push(server(n, folder.display().to_string(), &[])?);
    }
    Ok(Some(Places {
        kind: "directory, over sshfs",
        servers,
        lines,
        _running: Box::new(running),
    }))
}

fn main() -> Outcome<()> {
    let rounds = std::env::var("ROUNDS").map_or(Ok(20), |rounds| rounds.parse())?;
    let wanted = std::env::var("KIND").ok();
    let dir = tempfile::tempdir()?;
    let runtime = tokio::runtime::Runtime::new()?;
    println!(
        "| {K} of {N} on | added to a round trip | open the vault | first open | first save | open | save |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let mut counted = Vec::new();
    let kinds: [&dyn Fn() -> Outcome<Option<Places>>; 6] = [
        &|| directories(dir.path()),
        &|| sftp(dir.path()),
        &|| webdav("WebDAV, Apache", WebdavServer::apache(false)),
        &|| webdav("WebDAV, nginx", WebdavServer::nginx(false)),
        &s3,
        &|| mounts(dir.path()),
    ];
    for (number, places) in kinds.iter().enumerate() {
        if let Some(places) = places()?
            && wanted
                .as_ref()
                .is_none_or(|wanted| places.kind.contains(wanted))
        {
            let path = dir.path().join(format!("vault-{number}.toml"));
            counted.push(runtime.block_on(measure(&path, &places, rounds))?);
        }
    }
    println!("\n| {K} of {N} on | counted: open | save | waited for: open | save |");
    println!("|---|---:|---:|---:|---:|");
    for line in counted {
        println!("{line}");
    }
    Ok(())
}

fn median<T: Copy + PartialOrd>(mut all: Vec<T>) -> T {
    all.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
    all[all.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn document(seed: usize) -> Vec<u8> {
    (0..LEN).map(|at| (at * 31 + seed * 7) as u8).collect()
}

async fn open(warifu: &Warifu, number: usize) -> Outcome<Duration> {
    let begin = Instant::now();
    let read = warifu.read_file(&format!("/read-{number}")).await?;
    let took = begin.elapsed();
    if read.expose() != document(number) {
        return Err("not what was saved".into());
    }
    Ok(took)
}

async fn save(warifu: &Warifu, name: &str, seed: usize) -> Outcome<Duration> {
    let contents = document(seed);
    let begin = Instant::now();
    warifu.write_file(name, &contents).await?;
    Ok(begin.elapsed())
}

impl Places {
    fn turns(&self) -> u64 {
        self.lines.iter().map(Proxy::turns).sum()
    }

    /// Waits until nothing is sent any more: what is saved is put on disk, and told to the journal, a moment later.
    async fn quiet(&self) {
        loop {
            let before = self.turns();
            tokio::time::sleep(Duration::from_millis(1_700)).await;
            if self.turns() == before {
                return;
            }
        }
    }
}

async fn measure(path: &Path, places: &Places, rounds: usize) -> Outcome<String> {
    let threshold = Threshold::new(K as u8, N as u8)?;
    Warifu::init(
        path,
        threshold,
        places.servers.clone(),
        InitOptions::new("bench"),
    )
    .await?;
    let warifu = Warifu::open(path, OpenOptions::new("bench")).await?;
    for number in 0..=2 * rounds {
        save(&warifu, &format!("/read-{number}"), number).await?;
    }
    warifu.close().await;
    drop(warifu);

    let (mut slow, mut quick) = ([0.0; 2], [0.0; 2]);
    let mut counted = [0.0; 2];
    for delay in DELAYS {
        if places.lines.is_empty() && delay > 0 {
            continue;
        }
        for line in &places.lines {
            line.set_delay(Duration::from_millis(delay) / 2);
        }
        let begin = Instant::now();
        let warifu = Warifu::open(path, OpenOptions::new("bench")).await?;
        let unlocked = begin.elapsed();
        let first_open = open(&warifu, 0).await?;
        let first_save = save(&warifu, &format!("/first-{delay}"), 0).await?;
        // Beside the first write it is found out what a server does.
        places.quiet().await;
        let (mut opened, mut saved) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            opened.push(open(&warifu, 1 + round).await?);
            saved.push(save(&warifu, &format!("/saved-{delay}-{round}"), round).await?);
            // As people do, not one on the heels of the other.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let times = [median(opened), median(saved)].map(millis);
        println!(
            "| {} | {delay} ms | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms |",
            places.kind,
            millis(unlocked),
            millis(first_open),
            millis(first_save),
            times[0],
            times[1]
        );
        if delay == DELAYS[0] {
            quick = times;
        }
        slow = times;
        if delay == DELAYS[1] {
            let mut turns = [Vec::new(), Vec::new()];
            for round in 0..5 {
                for (act, turns) in turns.iter_mut().enumerate() {
                    places.quiet().await;
                    let before = places.turns();
                    match act {
                        0 => open(&warifu, 1 + rounds + round).await?,
                        _ => save(&warifu, &format!("/counted-{round}"), round).await?,
                    };
                    // What is told and not waited for is counted too.
                    tokio::time::sleep(Duration::from_millis(2 * delay)).await;
                    turns.push((places.turns() - before) as f64);
                }
            }
            counted = turns.map(median);
        }
        warifu.close().await;
    }
    let waited = |act: usize| (slow[act] - quick[act]) / DELAYS[2] as f64;
    Ok(if places.lines.is_empty() {
        format!("| {} | – | – | – | – |", places.kind)
    } else {
        format!(
            "| {} | {} ({K} servers) | {} ({N} servers) | {:.1} | {:.1} |",
            places.kind,
            counted[0],
            counted[1],
            waited(0),
            waited(1)
        )
    })
}

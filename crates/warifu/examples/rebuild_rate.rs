//! How quickly a catalogue is made anew from two of three servers, and what memory that takes.
//!
//! `cargo run --release -p warifu --example rebuild_rate -- FOLDER [FILES]`: makes a vault of small files in the folder,
//! loses its catalogue, and rebuilds it in a process of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use warifu::{InitOptions, NewServer, OpenOptions, Threshold, VaultPath, Warifu};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const IN_FOLDER: usize = 1000;
const AT_ONCE: usize = 32;

#[tokio::main]
async fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().collect();
    let folder = args.get(1).ok_or("a folder must be named")?;
    let vault = Path::new(folder).join("vault.toml");
    if args.get(2).is_some_and(|word| word == "rebuild") {
        return rebuild(&vault).await;
    }
    let files: usize = args.get(2).map_or(Ok(100_000), |text| text.parse())?;
    make(folder, &vault, files).await?;
    for end in ["", "-wal", "-shm"] {
        let _gone = std::fs::remove_file(Path::new(folder).join(format!("vault.db{end}")));
    }
    let status = std::process::Command::new(std::env::current_exe()?)
        .args([folder.as_str(), "rebuild"])
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the rebuild failed".into())
    }
}

async fn make(folder: &str, vault: &Path, files: usize) -> Outcome<()> {
    let servers = ["a", "b", "c"].map(|name| NewServer::new(name, format!("{folder}/{name}")));
    let threshold = Threshold::new(2, 3)?;
    Warifu::init(vault, threshold, servers.into(), InitOptions::new("rate")).await?;
    let warifu = Arc::new(Warifu::open(vault, OpenOptions::new("rate")).await?);
    let started = Instant::now();
    for number in 0..files.div_ceil(IN_FOLDER) {
        let path = VaultPath::parse(format!("/folder {number}").as_bytes())?;
        warifu.make_dirs(&path, 0o755).await?;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..AT_ONCE {
        let warifu = Arc::clone(&warifu);
        tasks.spawn(async move {
            for number in (task..files).step_by(AT_ONCE) {
                let path = format!("/folder {}/file {number}.txt", number / IN_FOLDER);
                warifu
                    .write_file(&path, format!("what file {number} says").as_bytes())
                    .await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    let unsaved = warifu.close().await;
    println!(
        "{files} files made in {:.1} s, {} of them lost",
        started.elapsed().as_secs_f64(),
        unsaved.len()
    );
    Ok(())
}

async fn rebuild(vault: &Path) -> Outcome<()> {
    let before = peak();
    let started = Instant::now();
    let last = std::sync::Mutex::new(None);
    let progress = |at: warifu::RebuildProgress| {
        let mut last = last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if *last != Some(at.stage) {
            *last = Some(at.stage);
            println!("{:6.1} s  {:?}", started.elapsed().as_secs_f64(), at.stage);
        }
    };
    let rebuilt = Warifu::rebuild(vault, Vec::new(), "rate", &progress).await?;
    let (took, report) = (started.elapsed().as_secs_f64(), rebuilt.report);
    let memory = peak().saturating_sub(before);
    println!(
        "{} files rebuilt in {took:.1} s: {:.0} a second; {memory} KiB of memory more at most, {} bytes a file; whole: {}",
        report.files,
        report.files as f64 / took,
        memory * 1024 / report.files.max(1),
        report.is_whole()
    );
    Ok(())
}

/// The most memory this process has taken so far, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

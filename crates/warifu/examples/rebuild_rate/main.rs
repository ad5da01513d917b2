//! How quickly a catalogue is made anew from two of three servers, what memory that takes, and whether it is the same again.
//!
//! `cargo run --release -p warifu --example rebuild_rate -- FOLDER [FILES] [BYTES]`: makes a vault of so many files of so many bytes
//! in the folder, with files saved again, moved, renamed and removed; loses its catalogue and a server; rebuilds it in a process
//! of its own, and compares it name by name.

mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tree::{Outcome, differences, picture};
use warifu::{InitOptions, NewServer, OpenOptions, Threshold, Warifu};

#[tokio::main]
async fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().collect();
    let folder = PathBuf::from(args.get(1).ok_or("a folder must be named")?);
    if args.get(2).is_some_and(|word| word == "rebuild") {
        return rebuild(&folder).await;
    }
    let number = |at: usize, otherwise| args.get(at).map_or(Ok(otherwise), |text| text.parse());
    let (files, bytes) = (number(2, 100_000)?, number(3, 0)?);
    make(&folder, files, bytes).await?;
    for end in ["", "-wal", "-shm"] {
        let _gone = std::fs::remove_file(folder.join(format!("vault.db{end}")));
    }
    std::fs::rename(folder.join("b"), folder.join("b that is away"))?;
    let status = std::process::Command::new(std::env::current_exe()?)
        .arg(&folder)
        .arg("rebuild")
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the rebuild failed".into())
    }
}

fn before(folder: &Path) -> PathBuf {
    folder.join("tree before")
}

async fn make(folder: &Path, files: usize, bytes: usize) -> Outcome<()> {
    let vault = folder.join("vault.toml");
    let servers = ["a", "b", "c"]
        .map(|name| NewServer::new(name, folder.join(name).to_string_lossy().into_owned()));
    let threshold = Threshold::new(2, 3)?;
    Warifu::init(&vault, threshold, servers.into(), InitOptions::new("rate")).await?;
    let warifu = Arc::new(Warifu::open(&vault, OpenOptions::new("rate")).await?);
    let started = Instant::now();
    tree::make(&warifu, files, bytes).await?;
    let unsaved = warifu.close().await;
    println!(
        "{files} files of {bytes} bytes made in {:.1} s, {} of them lost",
        started.elapsed().as_secs_f64(),
        unsaved.len()
    );
    let warifu = Warifu::open(&vault, OpenOptions::new("rate").read_only(true)).await?;
    std::fs::write(before(folder), picture(&warifu).await?.join("\n"))?;
    warifu.close().await;
    Ok(())
}

async fn rebuild(folder: &Path) -> Outcome<()> {
    let vault = folder.join("vault.toml");
    let at_begin = peak();
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
    let rebuilt = Warifu::rebuild(
        &vault,
        Vec::new(),
        &warifu::ways::Keyring::default(),
        "rate",
        &progress,
    )
    .await?;
    let (took, report) = (started.elapsed().as_secs_f64(), rebuilt.report);
    let memory = peak().saturating_sub(at_begin);
    println!(
        "{} files rebuilt in {took:.1} s: {:.0} a second; {memory} KiB of memory more at most, {} bytes a file; whole: {}",
        report.files,
        report.files as f64 / took,
        memory * 1024 / report.files.max(1),
        report.is_whole()
    );
    let warifu = Warifu::open(&vault, OpenOptions::new("rate").read_only(true)).await?;
    let after = picture(&warifu).await?;
    warifu.close().await;
    let text = std::fs::read_to_string(before(folder))?;
    let old: Vec<String> = text.lines().map(str::to_owned).collect();
    let (missing, extra) = differences(&old, &after);
    for line in missing.iter().take(5) {
        println!("missing: {line}");
    }
    for line in extra.iter().take(5) {
        println!("too much: {line}");
    }
    println!(
        "{} names before and {} after, {} missing, {} too much",
        old.len(),
        after.len(),
        missing.len(),
        extra.len()
    );
    if missing.is_empty() && extra.is_empty() && report.is_whole() {
        Ok(())
    } else {
        Err("the rebuilt tree is another one".into())
    }
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

//! How quickly all shares of a vault get a new generation, beside copying the same bytes between the same folders, and what memory it takes.
//!
//! `cargo run --release -p warifu --example refresh_rate -- FOLDER [FILES] [BYTES]`: makes a vault of so many files of so many bytes on
//! three folders, copies what lies in them (each file written anew and synced with its folder, as `cp -r` and `sync` do), and refreshes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use warifu::{InitOptions, NewServer, OpenOptions, RefreshOptions, Threshold, VaultPath, Warifu};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const IN_FOLDER: usize = 1000;
const AT_ONCE: usize = 32;

#[tokio::main]
async fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().collect();
    let folder = PathBuf::from(args.get(1).ok_or("a folder must be named")?);
    let number = |at: usize, otherwise| args.get(at).map_or(Ok(otherwise), |text| text.parse());
    let (files, bytes) = (number(2, 100_000)?, number(3, 4000)?);
    let vault = folder.join("vault.toml");
    let servers = ["a", "b", "c"]
        .map(|name| NewServer::new(name, folder.join(name).to_string_lossy().into_owned()));
    let threshold = Threshold::new(2, 3)?;
    Warifu::init(&vault, threshold, servers.into(), InitOptions::new("rate")).await?;
    let warifu = Arc::new(Warifu::open(&vault, OpenOptions::new("rate").without_upkeep()).await?);
    make(&warifu, files, bytes).await?;
    let unsaved = warifu.close().await;
    drop(warifu);
    println!(
        "{files} files of {bytes} bytes made, {} of them lost",
        unsaved.len()
    );

    let started = Instant::now();
    let mut copied = 0;
    for server in ["a", "b", "c"] {
        copied += copy(
            &folder.join(server),
            &folder.join(format!("{server} copied")),
        )?;
    }
    let synced = std::process::Command::new("sync")
        .arg("-f")
        .arg(&folder)
        .status()?;
    let copying = started.elapsed().as_secs_f64();
    println!(
        "copied: {:.0} MiB in {copying:.1} s ({synced})",
        copied as f64 / 1_048_576.0
    );
    for server in ["a", "b", "c"] {
        std::fs::remove_dir_all(folder.join(format!("{server} copied")))?;
    }

    let warifu = Warifu::open(&vault, OpenOptions::new("rate").without_upkeep()).await?;
    let at_begin = peak();
    let started = Instant::now();
    let report = warifu
        .vault()
        .refresh(
            warifu.context(),
            &RefreshOptions::default(),
            &|_| (),
            &|| false,
        )
        .await?;
    let refreshing = started.elapsed().as_secs_f64();
    println!(
        "refreshed: {} extents, {:.0} MiB sent in {refreshing:.1} s; complete: {}; {} KiB of memory more at most",
        report.extents,
        report.bytes as f64 / 1_048_576.0,
        report.status.is_complete(),
        peak().saturating_sub(at_begin)
    );
    println!(
        "refreshing ran at {:.2} of the speed of copying",
        copying / refreshing
    );
    warifu.close().await;
    Ok(())
}

async fn make(warifu: &Arc<Warifu>, files: usize, bytes: usize) -> Outcome<()> {
    for number in 0..files.div_ceil(IN_FOLDER) {
        let path = VaultPath::parse(format!("/folder {number}").as_bytes())?;
        warifu.make_dirs(&path, 0o755).await?;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..AT_ONCE {
        let warifu = Arc::clone(warifu);
        tasks.spawn(async move {
            for number in (task..files).step_by(AT_ONCE) {
                let contents = vec![number as u8; bytes];
                let file = format!("/folder {}/file {number}", number / IN_FOLDER);
                warifu.write_file(&file, &contents).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

/// Copies a folder and all in it; returns the bytes.
fn copy(from: &Path, to: &Path) -> Outcome<u64> {
    std::fs::create_dir(to)?;
    let mut bytes = 0;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        bytes += if entry.file_type()?.is_dir() {
            copy(&entry.path(), &place)?
        } else {
            std::fs::copy(entry.path(), place)?
        };
    }
    Ok(bytes)
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

//! One of five servers lost: how quickly its shares are made anew from three others, beside `rclone copy` of the same objects from one
//! folder to another. `cargo bench -p warifu-benches --bench repair`; `WARIFU_BENCH_FILES` says how many files (20,000), and
//! `WARIFU_BENCH_DIR` where. Needs Debian's rclone.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use warifu::{Check, InitOptions, NewServer, OpenOptions, RepairOptions, Threshold, Warifu};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Sizes of office files, as a corpus of 182 documents has them: 60 KB on average, half of them below 17 KB.
const SIZES: [usize; 20] = [
    624, 2_174, 5_263, 8_390, 9_457, 10_245, 11_672, 12_620, 14_478, 17_003, 23_552, 26_135,
    30_753, 37_376, 43_758, 53_030, 91_136, 142_336, 212_992, 443_000,
];

fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn tell(what: &str, took: Duration, objects: u64, bytes: u64) -> f64 {
    let seconds = took.as_secs_f64();
    println!(
        "{what:<44} {seconds:>7.2} s {:>8.0} objects/s {:>7.1} MiB/s",
        objects as f64 / seconds,
        bytes as f64 / seconds / f64::from(1 << 20)
    );
    seconds
}

fn copy(from: &Path, to: &Path) -> Outcome<Duration> {
    let begin = Instant::now();
    let done = Command::new("rclone")
        .arg("copy")
        .arg(from)
        .arg(to)
        .output()?;
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stderr).into());
    }
    Ok(begin.elapsed())
}

fn main() -> Outcome<()> {
    let files = std::env::var("WARIFU_BENCH_FILES").map_or(Ok(20_000), |files| files.parse())?;
    let dir = match std::env::var_os("WARIFU_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(run(dir.path(), files))
}

async fn run(dir: &Path, files: usize) -> Outcome<()> {
    let path = dir.join("office.toml");
    let servers = (1..=5).map(|n| {
        NewServer::new(
            format!("s{n}"),
            dir.join(format!("s{n}")).display().to_string(),
        )
    });
    Warifu::init(
        &path,
        Threshold::new(3, 5)?,
        servers.collect(),
        InitOptions::new("bench"),
    )
    .await?;
    let warifu = Warifu::open(&path, OpenOptions::new("bench")).await?;
    let begin = Instant::now();
    let mut bytes = 0;
    for file in 0..files {
        let contents = noise(file, SIZES[file % SIZES.len()]);
        bytes += contents.len() as u64;
        warifu.write_file(&format!("/f{file}"), &contents).await?;
    }
    tell("written, 3 of 5", begin.elapsed(), files as u64, bytes);
    assert!(warifu.close().await.is_empty(), "nothing is lost");
    drop(warifu);

    let mut ratios = Vec::new();
    for round in 1..=3 {
        println!("round {round}");
        let lost = dir.join("s3");
        let objects = lost.join("objects");
        let copied = copy(&objects, &dir.join("copy"))?;
        fs::remove_dir_all(dir.join("copy"))?;

        let warifu = Warifu::open(&path, OpenOptions::new("bench")).await?;
        let place = dir.join(format!("new-{round}"));
        let server = NewServer::new("s3", place.display().to_string());
        let begin = Instant::now();
        let plan = warifu.plan_replace(&server).await?;
        warifu.replace(&plan, &|_| ()).await?;
        let marked = begin.elapsed();
        assert!(warifu.close().await.is_empty(), "nothing is lost");
        drop(warifu);
        fs::remove_dir_all(&lost)?;

        let warifu = Warifu::open(&path, OpenOptions::new("bench")).await?;
        let vault = warifu.vault();
        let begin = Instant::now();
        let options = RepairOptions::default();
        let done = vault.repair(warifu.context(), &options, &|_| ()).await?;
        let repaired = begin.elapsed();
        assert_eq!(done.left, 0, "{done:?}");
        let (shares, sent) = (done.shares(), done.made["s3"].bytes);
        tell("rclone copy of the server's objects", copied, shares, sent);
        tell("  all of it written down as owed", marked, shares, sent);
        tell("repair from three others", repaired, shares, sent);
        let begin = Instant::now();
        let report = vault
            .check(warifu.context(), Check::new(false), &|_| ())
            .await?;
        tell("  quick check", begin.elapsed(), shares * 5, sent * 5);
        assert!(report.is_clean());
        if round == 1 {
            let begin = Instant::now();
            let report = vault
                .check(warifu.context(), Check::new(true), &|_| ())
                .await?;
            tell("  deep check", begin.elapsed(), shares * 5, sent * 5);
            assert!(report.is_clean());
        }
        assert!(warifu.close().await.is_empty(), "nothing is lost");
        fs::rename(&place, &lost)?;
        let text = fs::read_to_string(&path)?;
        fs::write(&path, text.replace(&format!("new-{round}"), "s3"))?;
        ratios.push(copied.as_secs_f64() / (repaired + marked).as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "speed of the repair, with what is written down, beside rclone's: median {:.2}",
        ratios[1]
    );
    Ok(())
}

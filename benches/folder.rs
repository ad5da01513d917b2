//! A folder of 100,000 files beside one of 1,000: `cargo bench -p warifu-benches --bench folder`.
//!
//! What one listing, one look-up and one creation cost must not depend on how many there are. As root, to drop the kernel's caches. Rounds go
//! over both folders in turn; what is printed are medians, and ratios of medians.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const FEW: usize = 1_000;
const MANY: usize = 100_000;
/// How many look-ups and creations make one round.
const OFTEN: usize = 500;
const ROUNDS: usize = 9;

fn run(program: &Path, words: &[&str]) -> Outcome<()> {
    let output = Command::new(program).args(words).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned().into())
}

/// The release binary, built if need be.
fn warifu() -> Outcome<PathBuf> {
    let build = ["build", "--release", "--quiet", "-p", "warifu-cli"];
    run(Path::new(env!("CARGO")), &build)?;
    let mut target = std::env::current_exe()?;
    while target.file_name().is_some_and(|name| name != "release") {
        target.pop();
    }
    Ok(target.join("warifu"))
}

fn fill(dir: &Path, files: usize) -> Outcome<()> {
    fs::create_dir(dir)?;
    let failed = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                scope.spawn(move || {
                    (worker..files)
                        .step_by(4)
                        .try_for_each(|number| fs::write(dir.join(name(number)), ""))
                })
            })
            .collect();
        workers
            .into_iter()
            .find_map(|worker| worker.join().ok()?.err())
    });
    failed.map_or(Ok(()), |error| Err(error.into()))
}

fn name(number: usize) -> String {
    format!("文書 {number:06}.docx")
}

/// The kernel forgets what it knows of names.
fn forget() -> Outcome<()> {
    fs::write("/proc/sys/vm/drop_caches", "2")?;
    Ok(())
}

/// One listing with the attributes of each entry, for one entry.
fn list(dir: &Path, files: usize) -> Outcome<Duration> {
    forget()?;
    let begun = Instant::now();
    let mut seen = 0;
    for entry in fs::read_dir(dir)? {
        seen += usize::from(entry?.metadata()?.is_file());
    }
    if seen < files {
        return Err(format!("{seen} of {files} files were listed").into());
    }
    Ok(begun.elapsed() / u32::try_from(seen)?)
}

fn look_up(dir: &Path, files: usize, round: usize) -> Outcome<Duration> {
    forget()?;
    let begun = Instant::now();
    for step in 0..OFTEN {
        // All over the folder, other names in each round.
        let number = (step * 7_919 + round * 104_729) % files;
        fs::metadata(dir.join(name(number)))?;
    }
    Ok(begun.elapsed() / u32::try_from(OFTEN)?)
}

fn create(dir: &Path, round: usize) -> Outcome<Duration> {
    let begun = Instant::now();
    for step in 0..OFTEN {
        fs::File::create(dir.join(format!("new {round} {step}")))?;
    }
    let took = begun.elapsed() / u32::try_from(OFTEN)?;
    for step in 0..OFTEN {
        fs::remove_file(dir.join(format!("new {round} {step}")))?;
    }
    Ok(took)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn main() -> Outcome<()> {
    let program = warifu()?;
    let scratch = tempfile::tempdir()?;
    let at = |name: &str| scratch.path().join(name).display().to_string();
    let (vault, drive) = (at("office.toml"), at("drive"));
    fs::create_dir(&drive)?;
    let servers = [at("1"), at("2"), at("3")];
    let [one, two, three] = &servers;
    run(
        &program,
        &["init", &vault, "--threshold", "2", one, two, three],
    )?;
    run(&program, &["mount", &vault, &drive])?;
    let measured = measure(Path::new(&drive));
    run(&program, &["umount", &drive])?;
    measured
}

fn measure(drive: &Path) -> Outcome<()> {
    let folders = [(drive.join("few"), FEW), (drive.join("many"), MANY)];
    for (dir, files) in &folders {
        fill(dir, *files)?;
    }
    let mut times = [
        [const { Vec::new() }; 2],
        [const { Vec::new() }; 2],
        [const { Vec::new() }; 2],
    ];
    for round in 0..ROUNDS {
        for (at, (dir, files)) in folders.iter().enumerate() {
            let [listed, found, made] = &mut times;
            let took = [
                list(dir, *files)?,
                look_up(dir, *files, round)?,
                create(dir, round)?,
            ];
            for (times, took) in [listed, found, made].into_iter().zip(took) {
                if let Some(times) = times.get_mut(at) {
                    times.push(took);
                }
            }
        }
    }
    println!("| one of | {FEW} files | {MANY} files | ratio |\n|---|---|---|---|");
    for (what, times) in ["listing, for each entry", "look-up, cold", "creation"]
        .iter()
        .zip(times)
    {
        let [few, many] = times.map(median);
        println!(
            "| {what} | {:.1} µs | {:.1} µs | {:.2} |",
            few.as_secs_f64() * 1e6,
            many.as_secs_f64() * 1e6,
            many.as_secs_f64() / few.as_secs_f64()
        );
    }
    Ok(())
}

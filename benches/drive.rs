//! The drive beside gocryptfs and bindfs, on one disk, in one run: `cargo bench -p warifu-benches --bench drive`.
//!
//! As root (to drop the kernel's caches), with Debian's gocryptfs, bindfs and fuse3. Rounds go over all file systems in turn, so that a
//! machine that is slow for a while is slow for all; what is printed are medians, and ratios of medians.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A file system under test: its name and where it is mounted.
struct Place {
    name: &'static str,
    dir: PathBuf,
    unmount: Vec<String>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((program, arguments)) = self.unmount.split_first() {
            let _ = Command::new(program)
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Outcome<()> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!(
        "{program} {}: {}\n{said}",
        arguments.join(" "),
        output.status
    )
    .into())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn folder(path: PathBuf) -> Outcome<PathBuf> {
    fs::create_dir_all(&path)?;
    Ok(path)
}

/// The release binary, built if need be.
fn warifu() -> Outcome<PathBuf> {
    run(
        env!("CARGO"),
        &["build", "--release", "--quiet", "-p", "warifu-cli"],
    )?;
    let mut target = std::env::current_exe()?;
    while target.file_name().is_some_and(|name| name != "release") {
        target.pop();
    }
    Ok(target.join("warifu"))
}

fn places(scratch: &Path) -> Outcome<Vec<Place>> {
    let plain = Place {
        name: "the disk itself",
        dir: folder(scratch.join("plain"))?,
        unmount: Vec::new(),
    };

    let (source, dir) = (
        folder(scratch.join("bindfs-source"))?,
        folder(scratch.join("bindfs"))?,
    );
    run("bindfs", &["--multithreaded", text(&source), text(&dir)])?;
    let bindfs = Place {
        name: "bindfs",
        unmount: vec!["umount".into(), text(&dir).into()],
        dir,
    };

    let (cipher, dir) = (
        folder(scratch.join("gocryptfs-cipher"))?,
        folder(scratch.join("gocryptfs"))?,
    );
    let password = scratch.join("password");
    fs::write(&password, "bench\n")?;
    run(
        "gocryptfs",
        &[
            "-q",
            "-init",
            "-scryptn",
            "10",
            "-passfile",
            text(&password),
            text(&cipher),
        ],
    )?;
    run(
        "gocryptfs",
        &[
            "-q",
            "-passfile",
            text(&password),
            text(&cipher),
            text(&dir),
        ],
    )?;
    let gocryptfs = Place {
        name: "gocryptfs",
        unmount: vec!["umount".into(), text(&dir).into()],
        dir,
    };

    let (warifu, dir) = (warifu()?, folder(scratch.join("warifu"))?);
    let vault = scratch.join("bench.toml");
    let servers: Vec<PathBuf> = (1..=3)
        .map(|n| scratch.join(format!("server-{n}")))
        .collect();
    let mut arguments = vec!["init", text(&vault), "--threshold", "2"];
    arguments.extend(servers.iter().map(|server| text(server)));
    run(text(&warifu), &arguments)?;
    run(text(&warifu), &["mount", text(&vault), text(&dir)])?;
    let unmount = vec![text(&warifu).into(), "umount".into(), text(&dir).into()];
    let warifu = Place {
        name: "warifu",
        dir,
        unmount,
    };
    Ok(vec![plain, bindfs, gocryptfs, warifu])
}

/// Bytes that no file system can compress or leave out.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64*, Vigna 2016.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn drop_caches() -> Outcome<()> {
    rustix::fs::sync();
    Ok(fs::write("/proc/sys/vm/drop_caches", "3")?)
}

#[derive(Default)]
struct Times(BTreeMap<String, BTreeMap<&'static str, Vec<Duration>>>);

impl Times {
    fn note(&mut self, what: &str, place: &'static str, time: Duration) {
        self.0
            .entry(what.to_owned())
            .or_default()
            .entry(place)
            .or_default()
            .push(time);
    }

    fn measure<T>(
        &mut self,
        what: &str,
        place: &'static str,
        work: impl FnOnce() -> Outcome<T>,
    ) -> Outcome<T> {
        let begin = Instant::now();
        let result = work()?;
        self.note(what, place, begin.elapsed());
        Ok(result)
    }

    fn print(&mut self, order: &[&'static str]) {
        print!("| |");
        order.iter().for_each(|name| print!(" {name} |"));
        println!(" ÷ gocryptfs | ÷ bindfs |");
        println!("|---|{}", "---:|".repeat(order.len() + 2));
        for (what, places) in &mut self.0 {
            let medians: BTreeMap<&str, f64> = places
                .iter_mut()
                .map(|(place, times)| (*place, median(times).as_secs_f64() * 1e3))
                .collect();
            print!(
                "| {} |",
                what.split_once(' ').map_or(what.as_str(), |(_, what)| what)
            );
            for name in order {
                print!(
                    " {:.2} ms |",
                    medians.get(name).copied().unwrap_or(f64::NAN)
                );
            }
            let ours = medians.get("warifu").copied().unwrap_or(f64::NAN);
            for peer in ["gocryptfs", "bindfs"] {
                print!(
                    " {:.2} |",
                    ours / medians.get(peer).copied().unwrap_or(f64::NAN)
                );
            }
            println!();
        }
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

const DOCUMENTS: [(&str, usize); 4] = [
    ("20 KiB", 20 << 10),
    ("80 KiB", 80 << 10),
    ("600 KiB", 600 << 10),
    ("3 MiB", 3 << 20),
];
const EACH: usize = 8;
const LARGE: usize = 256 << 20;
const BLOCK: usize = 1 << 20;
const SMALL: usize = 2_000;

fn save(path: &Path, bytes: &[u8], durable: bool) -> Outcome<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    if durable {
        file.sync_all()?;
    }
    // Dropping a file hides what close says; closing is where a save happens.
    drop(file);
    Ok(())
}

fn documents(times: &mut Times, place: &Place, round: usize) -> Outcome<()> {
    for (number, (label, size)) in DOCUMENTS.iter().enumerate() {
        let paths: Vec<PathBuf> = (0..EACH)
            .map(|n| place.dir.join(format!("document-{number}-{n}")))
            .collect();
        for (n, path) in paths.iter().enumerate() {
            let bytes = noise(*size, (round * 1000 + n) as u64);
            times.measure(
                &format!("1{number}b save and close, {label}"),
                place.name,
                || save(path, &bytes, false),
            )?;
            let bytes = noise(*size, (round * 1000 + n + 500) as u64);
            times.measure(
                &format!("1{number}c save, fsync and close, {label}"),
                place.name,
                || save(path, &bytes, true),
            )?;
        }
        drop_caches()?;
        for path in &paths {
            let read = times.measure(
                &format!("1{number}a open and read, {label}"),
                place.name,
                || Ok(fs::read(path)?),
            )?;
            if read.len() != *size {
                return Err(format!("{}: read {} bytes of {size}", place.name, read.len()).into());
            }
        }
    }
    Ok(())
}

fn large(times: &mut Times, place: &Place) -> Outcome<()> {
    let path = place.dir.join("large");
    let block = noise(BLOCK, 42);
    times.measure("2a write 256 MiB in order, and fsync", place.name, || {
        let mut file = File::create(&path)?;
        for _ in 0..LARGE / BLOCK {
            file.write_all(&block)?;
        }
        Ok(file.sync_all()?)
    })?;
    drop_caches()?;
    times.measure("2b read 256 MiB in order", place.name, || {
        let mut file = File::open(&path)?;
        let mut buffer = vec![0; BLOCK];
        for _ in 0..LARGE / BLOCK {
            file.read_exact(&mut buffer)?;
            if buffer != block {
                return Err("wrong bytes".into());
            }
        }
        Ok(())
    })?;
    Ok(fs::remove_file(&path)?)
}

fn small(times: &mut Times, place: &Place) -> Outcome<()> {
    let dir = place.dir.join("small");
    fs::create_dir(&dir)?;
    let bytes = noise(4096, 7);
    times.measure("3a create 2,000 files of 4 KiB", place.name, || {
        (0..SMALL).try_for_each(|n| save(&dir.join(format!("file-{n:04}")), &bytes, false))
    })?;
    drop_caches()?;
    times.measure("3b list and stat them", place.name, || {
        let listed = fs::read_dir(&dir)?
            .map(|entry| Ok(entry?.metadata()?.len()))
            .collect::<Outcome<Vec<_>>>()?;
        if listed.len() == SMALL {
            Ok(())
        } else {
            Err("entries are missing".into())
        }
    })?;
    drop_caches()?;
    times.measure("3c read them", place.name, || {
        (0..SMALL).try_for_each(|n| fs::read(dir.join(format!("file-{n:04}"))).map(drop))?;
        Ok(())
    })?;
    times.measure("3d rename them", place.name, || {
        (0..SMALL).try_for_each(|n| {
            Ok(fs::rename(
                dir.join(format!("file-{n:04}")),
                dir.join(format!("name-{n:04}")),
            )?)
        })
    })?;
    times.measure("3e remove them", place.name, || {
        (0..SMALL).try_for_each(|n| Ok(fs::remove_file(dir.join(format!("name-{n:04}")))?))
    })?;
    Ok(fs::remove_dir(&dir)?)
}

fn main() -> Outcome<()> {
    // `cargo test --benches` and the like only want to know that it builds.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return Ok(());
    }
    let rounds = std::env::var("ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(5);
    let scratch = match std::env::var_os("SCRATCH") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let places = places(scratch.path())?;
    let mut times = Times::default();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for place in &places {
            documents(&mut times, place, round)?;
            large(&mut times, place)?;
            small(&mut times, place)?;
        }
    }
    let order: Vec<_> = places.iter().map(|place| place.name).collect();
    times.print(&order);
    Ok(())
}

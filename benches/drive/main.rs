//! The drive beside gocryptfs and bindfs, on one disk, in one run: `cargo bench -p warifu-benches --bench drive`.
//!
//! As root (to drop the kernel's caches), with Debian's gocryptfs, bindfs and fuse3. Rounds go over all file systems in turn, so that a
//! machine that is slow for a while is slow for all; what is printed are medians, and ratios of medians.
//!
//! `ROUNDS=5`, `SCRATCH=DIR`, `PARTS=documents,large,small,tree,last,many`, `PLACES=gocryptfs,warifu`, `WARIFU=PROGRAM` and `SCHEME=compact` may be
//! set.

mod crowd;
mod parts;
mod places;
mod table;

use std::fs;

use crate::places::places;
use crate::table::Times;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

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

/// Everything is read from the disk after this, and no name is known to the kernel.
fn drop_caches() -> Outcome<()> {
    rustix::fs::sync();
    Ok(fs::write("/proc/sys/vm/drop_caches", "3")?)
}

/// Puts what is made in `dir` into block groups of their own, as far apart as different servers would be. ext4 looks, for each new file, at all inodes
/// of the folder's group that were freed within a minute: who makes files would pay for what a peer has just removed. Where
/// there is no such flag nothing happens.
fn spread(dir: &std::path::Path) {
    let _ = places::run("chattr", &["+T", places::text(dir)]);
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
    let wanted = std::env::var("PARTS").ok();
    let asked = |part: &str| {
        wanted
            .as_deref()
            .is_none_or(|wanted| wanted.split(',').any(|wanted| wanted == part))
    };
    let scratch = match std::env::var_os("SCRATCH") {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    spread(scratch.path());
    let places = places(scratch.path())?;
    let mut times = Times::default();
    let tree = scratch.path().join("tree");
    if asked("tree") {
        parts::grow_tree(&tree)?;
    }
    if asked("last") {
        for place in &places {
            parts::prepare_last(place)?;
        }
    }
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for place in &places {
            if asked("documents") {
                parts::documents(&mut times, place, round)?;
            }
            if asked("large") {
                parts::large(&mut times, place)?;
            }
            if asked("small") {
                parts::small(&mut times, place)?;
            }
            if asked("tree") {
                parts::tree(&mut times, place, &tree)?;
            }
            if asked("last") {
                parts::last(&mut times, place)?;
            }
        }
    }
    let order: Vec<_> = places.iter().map(|place| place.name).collect();
    times.print(&order);
    if asked("many") {
        for place in places.iter().filter(|place| place.name == "warifu") {
            println!();
            crowd::crowd(place, rounds)?;
        }
    }
    Ok(())
}

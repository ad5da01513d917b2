//! One folder with very many files: what an act costs in it, beside the same act in a small one.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::parts::save;
use crate::places::Place;
use crate::table::Times;
use crate::{Outcome, noise};

const CROWDS: [(&str, usize); 2] = [("1,000 files", 1_000), ("100,000 files", 100_000)];
/// How often each act is done in a round.
const ACTS: usize = 200;
const CREATE: &str = "1 create a file of 4 KiB";
const LOOKUP: &str = "2 look up a name that the kernel does not know";
const LIST: &str = "3 list, for each entry";

fn name(n: usize) -> String {
    format!("file-{n:06}")
}

/// The kernel knows no name after this; what it has of open files, such as the catalogue, stays. Otherwise the disk would be measured: all that is
/// known of a small folder fits into the engine's own memory.
fn forget_names() -> Outcome<()> {
    rustix::fs::sync();
    Ok(fs::write("/proc/sys/vm/drop_caches", "2")?)
}

fn acts(times: &mut Times, label: &'static str, dir: &Path, count: usize) -> Outcome<()> {
    let bytes = noise(4096, 3);
    let created: Vec<_> = (0..ACTS).map(|n| dir.join(format!("new-{n}"))).collect();
    for path in &created {
        times.measure(CREATE, label, || save(path, &bytes, false))?;
    }
    for path in &created {
        fs::remove_file(path)?;
    }
    forget_names()?;
    // The folder itself is known.
    fs::metadata(dir)?;
    for n in 0..ACTS {
        let path = dir.join(name(n * count / ACTS));
        times.measure(LOOKUP, label, || Ok(fs::metadata(&path)?))?;
    }
    forget_names()?;
    let begin = Instant::now();
    let listed = fs::read_dir(dir)?.try_fold(0, |listed, entry| entry.map(|_| listed + 1))?;
    if listed != count {
        return Err(format!("{listed} of {count} files were listed").into());
    }
    let each = begin.elapsed().as_secs_f64() / count as f64;
    times.note(LIST, label, Duration::from_secs_f64(each));
    Ok(())
}

pub(crate) fn crowd(place: &Place, rounds: usize) -> Outcome<()> {
    let mut times = Times::default();
    let dirs =
        CROWDS.map(|(label, count)| (label, count, place.dir.join(format!("crowd-{count}"))));
    for (_, count, dir) in &dirs {
        fs::create_dir(dir)?;
        for n in 0..*count {
            drop(File::create(dir.join(name(n)))?);
        }
    }
    for _ in 0..rounds {
        for (label, count, dir) in &dirs {
            acts(&mut times, label, dir, *count)?;
        }
    }
    let [(small, ..), (large, ..)] = CROWDS;
    println!("| in a folder of | {small} | {large} | ratio |");
    println!("|---|---:|---:|---:|");
    for row in [CREATE, LOOKUP, LIST] {
        let medians = [small, large].map(|label| times.median_of(row, label).unwrap_or(f64::NAN));
        let [at_small, at_large] = medians.map(|median| median * 1e3);
        println!(
            "| {} | {at_small:.1} µs | {at_large:.1} µs | {:.2} |",
            crate::table::shown(row),
            at_large / at_small
        );
    }
    Ok(())
}

//! What is done in each file system: documents, a large file, many small ones, a tree.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::places::{Place, run, text};
use crate::table::Times;
use crate::{Outcome, drop_caches, noise};

const DOCUMENTS: [(&str, usize); 4] = [
    ("20 KiB", 20 << 10),
    ("100 KiB", 100 << 10),
    ("1 MiB", 1 << 20),
    ("5 MiB", 5 << 20),
];
const EACH: usize = 8;
const LARGE: usize = 256 << 20;
const BLOCK: usize = 1 << 20;
const PAGE: usize = 4096;
const RANDOM_READS: u64 = 4_000;
const SMALL: usize = 2_000;
const TREE: usize = 2_000;
const FEW: usize = 1 << 20;
const MUCH: usize = 1 << 30;

pub(crate) fn save(path: &Path, bytes: &[u8], durable: bool) -> Outcome<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    if durable {
        file.sync_all()?;
    }
    // Dropping a file hides what close says; closing is where a save happens.
    drop(file);
    Ok(())
}

/// As Word saves: a new file beside the old one, which then changes places with it.
fn save_like_word(path: &Path, bytes: &[u8]) -> Outcome<()> {
    let (new, old) = (path.with_extension("new"), path.with_extension("old"));
    save(&new, bytes, true)?;
    fs::rename(path, &old)?;
    fs::rename(&new, path)?;
    Ok(fs::remove_file(&old)?)
}

fn read(path: &Path, size: usize, place: &Place) -> Outcome<()> {
    let read = fs::read(path)?.len();
    if read == size {
        Ok(())
    } else {
        Err(format!("{}: read {read} bytes of {size}", place.name).into())
    }
}

/// Whether a place is the disk without a file system of ours or a peer's on it: where the yardsticks are measured.
fn is_the_disk(place: &Place) -> bool {
    place.name == "the disk itself"
}

/// Reads two files to their ends at the same time, whole or by extents of 4 MiB, as two servers on one disk are read.
fn read_two(paths: [&Path; 2], size: usize) -> Outcome<()> {
    let read = |path: &Path| -> std::io::Result<usize> {
        let mut file = File::open(path)?;
        let all = std::num::NonZeroU64::new(size as u64);
        rustix::fs::fadvise(&file, 0, all, rustix::fs::Advice::WillNeed)?;
        let mut buffer = vec![0; size.min(4 * BLOCK)];
        let mut done = 0;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(done),
                read => done += read,
            }
        }
    };
    let [one, other] = std::thread::scope(|scope| {
        paths
            .map(|path| scope.spawn(move || read(path)))
            .map(std::thread::ScopedJoinHandle::join)
    });
    for read in [one, other] {
        let read = read.map_err(|_| "a reader panicked")??;
        if read != size {
            return Err(format!("read {read} bytes of {size}").into());
        }
    }
    Ok(())
}

/// Writes `len` bytes into three new files and puts them on disk, at the same time, as three servers on one disk are written.
fn write_three(place: &Place, block: &[u8], len: usize) -> Outcome<()> {
    let write = |path: &Path| -> std::io::Result<()> {
        let mut file = File::create(path)?;
        let mut left = len;
        while left > 0 {
            let part = block.get(..left).unwrap_or(block);
            file.write_all(part)?;
            left -= part.len();
        }
        file.sync_all()
    };
    let paths = [1, 2, 3].map(|n| place.dir.join(format!("yardstick-{n}")));
    let done = std::thread::scope(|scope| {
        paths
            .each_ref()
            .map(|path| scope.spawn(move || write(path)))
            .map(std::thread::ScopedJoinHandle::join)
    });
    for done in done {
        done.map_err(|_| "a writer panicked")??;
    }
    Ok(())
}

fn remove_three(place: &Place) -> Outcome<()> {
    for n in 1..=3 {
        fs::remove_file(place.dir.join(format!("yardstick-{n}")))?;
    }
    Ok(())
}

pub(crate) fn documents(times: &mut Times, place: &Place, round: usize) -> Outcome<()> {
    for (number, (label, size)) in DOCUMENTS.iter().enumerate() {
        let row = |letter, what| format!("1{number}{letter} {what}, {label}");
        let (cold, warm) = (row('a', "open and read"), row('b', "the same again"));
        let saved = row('c', "save and close");
        let durable = row('d', "save, fsync and close");
        let word = row('e', "save as Word does, with fsync");
        let paths: Vec<PathBuf> = (0..EACH)
            .map(|n| place.dir.join(format!("document-{number}-{n}")))
            .collect();
        for (n, path) in paths.iter().enumerate() {
            let bytes = |nth: usize| noise(*size, (round * 10_000 + nth * 1000 + n) as u64);
            let contents = bytes(0);
            times.measure(&saved, place.name, || save(path, &contents, false))?;
            let contents = bytes(1);
            times.measure(&durable, place.name, || save(path, &contents, true))?;
            let contents = bytes(2);
            times.measure(&word, place.name, || save_like_word(path, &contents))?;
        }
        if is_the_disk(place) {
            let three = row(
                'y',
                "yardstick: three such files written at the same time, with fsync",
            );
            let contents = noise(*size, round as u64);
            for _ in 0..EACH {
                times.measure(&three, place.name, || write_three(place, &contents, *size))?;
                remove_three(place)?;
            }
            drop_caches()?;
            let two = row('z', "yardstick: two such files read at the same time");
            for pair in paths.as_chunks::<2>().0 {
                times.measure(&two, place.name, || read_two([&pair[0], &pair[1]], *size))?;
            }
        }
        drop_caches()?;
        for path in &paths {
            times.measure(&cold, place.name, || read(path, *size, place))?;
        }
        for path in &paths {
            times.measure(&warm, place.name, || read(path, *size, place))?;
        }
    }
    Ok(())
}

pub(crate) fn large(times: &mut Times, place: &Place) -> Outcome<()> {
    let path = place.dir.join("large");
    let block = noise(BLOCK, 42);
    times.measure("2a write 256 MiB in order, and fsync", place.name, || {
        let mut file = File::create(&path)?;
        for _ in 0..LARGE / BLOCK {
            file.write_all(&block)?;
        }
        Ok(file.sync_all()?)
    })?;
    if is_the_disk(place) {
        let three = "2aa yardstick: three such files written at the same time, and fsync";
        times.measure(three, place.name, || write_three(place, &block, LARGE))?;
        remove_three(place)?;
    }
    let mut buffer = vec![0; BLOCK];
    for row in [
        "2b read 256 MiB in order",
        "2c the same again, from the servers' caches",
    ] {
        if row.starts_with("2b") {
            drop_caches()?;
        }
        times.measure(row, place.name, || {
            let mut file = File::open(&path)?;
            for _ in 0..LARGE / BLOCK {
                file.read_exact(&mut buffer)?;
                if buffer != block {
                    return Err("wrong bytes".into());
                }
            }
            Ok(())
        })?;
    }
    if is_the_disk(place) {
        let other = place.dir.join("other");
        fs::copy(&path, &other)?;
        drop_caches()?;
        let two = "2z yardstick: two such files read at the same time";
        times.measure(two, place.name, || read_two([&path, &other], LARGE))?;
        fs::remove_file(&other)?;
    }
    drop_caches()?;
    times.measure(
        "2d 4,000 reads of 4 KiB here and there in it",
        place.name,
        || {
            let file = File::open(&path)?;
            let mut page = vec![0; PAGE];
            let mut state = 88_172_645_463_325_252_u64;
            for _ in 0..RANDOM_READS {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let at = state % (LARGE / PAGE) as u64 * PAGE as u64;
                file.read_exact_at(&mut page, at)?;
                let from = usize::try_from(at)? % BLOCK;
                if page[..] != block[from..from + PAGE] {
                    return Err("wrong bytes".into());
                }
            }
            Ok(())
        },
    )?;
    Ok(fs::remove_file(&path)?)
}

pub(crate) fn small(times: &mut Times, place: &Place) -> Outcome<()> {
    let dir = place.dir.join("small");
    fs::create_dir(&dir)?;
    let bytes = noise(PAGE, 7);
    times.measure("3a create 2,000 files of 4 KiB", place.name, || {
        (0..SMALL).try_for_each(|n| save(&dir.join(format!("file-{n:04}")), &bytes, false))
    })?;
    drop_caches()?;
    times.measure("3b stat them", place.name, || {
        (0..SMALL).try_for_each(|n| {
            let len = fs::metadata(dir.join(format!("file-{n:04}")))?.len();
            if len == PAGE as u64 {
                Ok(())
            } else {
                Err(format!("a file has {len} bytes").into())
            }
        })
    })?;
    drop_caches()?;
    times.measure("3c list and stat them", place.name, || {
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
    times.measure("3d read them", place.name, || {
        (0..SMALL).try_for_each(|n| fs::read(dir.join(format!("file-{n:04}"))).map(drop))?;
        Ok(())
    })?;
    times.measure("3e rename them", place.name, || {
        (0..SMALL).try_for_each(|n| {
            Ok(fs::rename(
                dir.join(format!("file-{n:04}")),
                dir.join(format!("name-{n:04}")),
            )?)
        })
    })?;
    times.measure("3f remove them", place.name, || {
        (0..SMALL).try_for_each(|n| Ok(fs::remove_file(dir.join(format!("name-{n:04}")))?))
    })?;
    Ok(fs::remove_dir(&dir)?)
}

/// Files as an office has them: most are small, a few are not; 100 folders.
pub(crate) fn grow_tree(tree: &Path) -> Outcome<()> {
    for n in 0..TREE {
        let dir = tree
            .join(format!("{:02}", n % 10))
            .join(format!("{:02}", n / 10 % 10));
        fs::create_dir_all(&dir)?;
        let size = match n % 100 {
            0 => 1 << 20,
            1..10 => 200 << 10,
            10..30 => 48 << 10,
            30..60 => 12 << 10,
            _ => 1 + n * 2,
        };
        fs::write(dir.join(format!("file-{n:04}")), noise(size, n as u64))?;
    }
    Ok(())
}

pub(crate) fn tree(times: &mut Times, place: &Place, tree: &Path) -> Outcome<()> {
    let copy = place.dir.join("tree");
    let (from, to) = (text(tree), text(&copy));
    times.measure("4a copy in a tree of 2,000 files", place.name, || {
        run("cp", &["-a", from, to])
    })?;
    drop_caches()?;
    times.measure("4b compare it with its original", place.name, || {
        run("diff", &["-r", from, to])
    })?;
    Ok(fs::remove_dir_all(&copy)?)
}

pub(crate) fn prepare_last(place: &Place) -> Outcome<()> {
    let block = noise(BLOCK, 99);
    for (name, size) in [("few", FEW), ("much", MUCH)] {
        let mut file = File::create(place.dir.join(name))?;
        for _ in 0..size / BLOCK {
            file.write_all(&block)?;
        }
        file.sync_all()?;
    }
    Ok(())
}

pub(crate) fn last(times: &mut Times, place: &Place) -> Outcome<()> {
    for _ in 0..EACH {
        for (name, size, row) in [
            ("few", FEW, "5a open 1 MiB and read its last 4 KiB"),
            ("much", MUCH, "5b open 1 GiB and read its last 4 KiB"),
        ] {
            drop_caches()?;
            times.measure(row, place.name, || {
                let file = File::open(place.dir.join(name))?;
                let mut page = vec![0; PAGE];
                Ok(file.read_exact_at(&mut page, (size - PAGE) as u64)?)
            })?;
        }
    }
    Ok(())
}

//! Work that a drive is given for long.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::Range;
use std::path::Path;

use crate::noise;

/// How many programs work at once.
const WORKERS: u64 = 4;

/// These operations of a long row, by four programs at once, each in a folder of its own.
///
/// # Panics
/// When the drive does something else than it was asked for.
pub fn work(dir: &Path, operations: Range<u64>) {
    let each = 10 * WORKERS;
    let rounds = operations.start / each..operations.end / each;
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (dir, rounds) = (dir.join(format!("worker {worker}")), rounds.clone());
            scope.spawn(move || {
                fs::create_dir_all(&dir).unwrap();
                for round in rounds {
                    ten(&dir, round * WORKERS + worker);
                }
            });
        }
    });
}

/// Ten operations on one of a few names: made, written, read, renamed, listed, linked, cut off, asked for, removed.
fn ten(dir: &Path, round: u64) {
    let (one, two) = (
        dir.join(format!("one {}", round % 17)),
        dir.join(format!("two {}", round % 13)),
    );
    let bytes = noise(200 + usize::try_from(round % 5).unwrap() * 2_000, round);
    let mut file = File::create(&one).unwrap();
    file.write_all(&bytes).unwrap();
    drop(file);
    let mut read = Vec::new();
    File::open(&one).unwrap().read_to_end(&mut read).unwrap();
    assert!(read == bytes);
    fs::rename(&one, &two).unwrap();
    assert!(fs::metadata(&one).is_err());
    let _ = fs::read_dir(dir).unwrap().count();
    let link = dir.join("link");
    fs::hard_link(&two, &link).unwrap();
    let file = File::options().write(true).open(&link).unwrap();
    file.set_len(100).unwrap();
    drop(file);
    fs::remove_file(&link).unwrap();
    assert_eq!(fs::metadata(&two).unwrap().len(), 100);
    fs::remove_file(&two).unwrap();
}

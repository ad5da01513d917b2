//! P5: the mount process is killed at random moments while files are being saved. Afterwards every file is wholly its old or
//! wholly its new version, and no save that was acknowledged is lost.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use warifu_tests::{Rig, can_mount, noise};

const FILES: u64 = 4;

/// A document whose every part says which version of which file it is.
fn version(file: u64, number: u64) -> Vec<u8> {
    // Small ones and some of more than one extent.
    let len = if file == 0 {
        5 << 20
    } else {
        3_000 + usize::try_from(file * 40_000 + number % 7 * 1_000).unwrap()
    };
    let mut bytes = format!("{file:04} {number:012} ").into_bytes();
    bytes.extend(noise(len, file << 32 | number));
    bytes
}

fn number_of(file: u64, bytes: &[u8]) -> u64 {
    let head = std::str::from_utf8(&bytes[..18]).expect("the beginning of a version");
    let (of, number) = head.trim_end().split_once(' ').expect("file and number");
    assert_eq!(of.parse::<u64>().unwrap(), file, "another file's contents");
    number.parse().unwrap()
}

/// Saves in one of the ways programs save.
fn save(dir: &Path, file: u64, number: u64) -> std::io::Result<()> {
    let path = dir.join(format!("文書-{file}.docx"));
    let bytes = version(file, number);
    if number.is_multiple_of(2) {
        // In place.
        let mut out = fs::File::create(&path)?;
        out.write_all(&bytes)?;
        out.sync_all()?;
    } else {
        // Beside it, then over it.
        let beside = dir.join(format!("~tmp-{file}"));
        let mut out = fs::File::create(&beside)?;
        out.write_all(&bytes)?;
        out.sync_all()?;
        drop(out);
        fs::rename(&beside, &path)?;
    }
    Ok(())
}

#[test]
fn p5_killed_at_a_hundred_random_moments_every_file_is_wholly_old_or_wholly_new() {
    if !can_mount() {
        return;
    }
    let rounds = 100;
    let rig = Rig::new(2, 3);
    rig.mount();
    let mut next = 1;
    for file in 0..FILES {
        save(&rig.drive, file, next).unwrap();
    }
    let mut reached = vec![next; usize::try_from(FILES).unwrap()];
    for round in 0..rounds {
        let stop = AtomicBool::new(false);
        let acknowledged: Vec<AtomicU64> = reached.iter().map(|n| AtomicU64::new(*n)).collect();
        let begun: Vec<AtomicU64> = reached.iter().map(|n| AtomicU64::new(*n)).collect();
        std::thread::scope(|scope| {
            for file in 0..FILES {
                let (drive, stop) = (&rig.drive, &stop);
                let (acknowledged, begun) = (
                    &acknowledged[usize::try_from(file).unwrap()],
                    &begun[usize::try_from(file).unwrap()],
                );
                scope.spawn(move || {
                    let mut number = next + 1;
                    while !stop.load(Ordering::Relaxed) {
                        begun.store(number, Ordering::SeqCst);
                        if save(drive, file, number).is_err() {
                            return;
                        }
                        acknowledged.store(number, Ordering::SeqCst);
                        number += 1;
                    }
                });
            }
            // From before the first save has ended to the middle of a later one.
            let pause = noise(8, round)[0];
            std::thread::sleep(Duration::from_micros(u64::from(pause) * 600));
            rig.kill();
            stop.store(true, Ordering::Relaxed);
        });
        // Only now: a program that goes on would write into the bare folder.
        rig.clear();
        rig.mount();
        for file in 0..FILES {
            let at = usize::try_from(file).unwrap();
            let bytes = fs::read(rig.drive.join(format!("文書-{file}.docx"))).unwrap();
            let number = number_of(file, &bytes);
            let whole = version(file, number);
            let same = bytes.iter().zip(&whole).take_while(|(a, b)| a == b).count();
            assert!(
                bytes == whole,
                "round {round}: file {file} begins as version {number}, has {} bytes of {} and {same} of them right",
                bytes.len(),
                whole.len()
            );
            let (kept, tried) = (
                acknowledged[at].load(Ordering::SeqCst),
                begun[at].load(Ordering::SeqCst),
            );
            assert!(
                (kept..=tried).contains(&number),
                "round {round}: file {file} is version {number}; {kept} was acknowledged and {tried} begun"
            );
            reached[at] = number;
        }
        next = reached.iter().copied().max().unwrap_or(next) + 2;
        reached.fill(0);
        for file in 0..FILES {
            save(&rig.drive, file, next).unwrap();
        }
        reached.fill(next);
    }
    rig.unmount_cleanly();
}

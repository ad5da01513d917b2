//! What the kernel keeps of contents after the last close: nothing.

mod rig;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rig::{Rig, noise};

const SIZE: usize = 192 << 20;

/// The page cache of the whole machine in bytes.
fn cached() -> i64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap();
    let line = info
        .lines()
        .find(|line| line.starts_with("Cached:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<i64>()
        .unwrap()
        * 1024
}

/// Whether the page cache comes to differ from `before` by about `by`. Others use the machine too, so it is watched for a
/// while and taken roughly.
fn comes_to(before: i64, by: i64) -> bool {
    let tolerance = SIZE as i64 / 3;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        if (cached() - before - by).abs() < tolerance {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Another program, which reads every page of a mapping of the file; calls `meanwhile` before it ends.
fn map_through(path: &Path, meanwhile: impl FnOnce()) {
    let script = "import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
map = mmap.mmap(file, 0, prot=mmap.PROT_READ)
assert sum(map[at] for at in range(0, len(map), 4096)) > 0
print('MAPPED', flush=True)
sys.stdin.read()";
    let mut program = Command::new("python3")
        .args(["-c", script])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "MAPPED\n");
    meanwhile();
    drop(program.stdin.take());
    assert!(program.wait().unwrap().success());
}

/// What is measured belongs to the whole machine, so a round that something else disturbed is made again; what the drive
/// does wrong it does in each.
fn in_some_round(round: impl Fn() -> Result<(), &'static str>) {
    let wrong = (0..4).map_while(|_| round().err()).collect::<Vec<_>>();
    assert!(wrong.len() < 4, "{wrong:?}");
}

fn expect(holds: bool, otherwise: &'static str) -> Result<(), &'static str> {
    holds.then_some(()).ok_or(otherwise)
}

fn read_through(file: &mut File) {
    let mut buffer = vec![0; 1 << 20];
    while file.read(&mut buffer).unwrap() > 0 {}
}

// One test, because two would disturb each other's measurement.
#[test]
fn p6_after_the_last_close_nothing_is_left_in_the_page_cache() {
    let Some(rig) = Rig::new() else { return };
    let size = SIZE as i64;
    fs::write(rig.at("large"), noise(1, SIZE)).unwrap();
    in_some_round(|| {
        // Reading and writing leave nothing behind even while the file is open.
        let before = cached();
        let mut file = File::open(rig.at("large")).unwrap();
        read_through(&mut file);
        expect(comes_to(before, 0), "reading fills the page cache")?;

        // A mapping does, which proves that the measurement can see it.
        let before = cached();
        let mut mapped = false;
        map_through(&rig.at("large"), || mapped = comes_to(before, size));
        drop(file);
        expect(mapped, "a mapping has no pages, so this test shows nothing")?;
        let gone = comes_to(before, 0);
        expect(gone, "pages of a mapping are left after the last close")
    });
    drop(rig);

    // The same where everything goes through the page cache.
    let Some(rig) = Rig::with_pages() else { return };
    in_some_round(|| {
        let before = cached();
        fs::write(rig.at("large"), noise(1, SIZE)).unwrap();
        expect(comes_to(before, 0), "pages are left after writing")?;
        let before = cached();
        let mut file = File::open(rig.at("large")).unwrap();
        read_through(&mut file);
        let filled = comes_to(before, size);
        drop(file);
        expect(
            filled,
            "the page cache is not used, so this test shows nothing",
        )?;
        expect(comes_to(before, 0), "pages are left after reading")
    });
}

//! What the kernel keeps of contents after the last close: nothing.

mod rig;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rig::{Rig, noise};

const SIZE: usize = 192 << 20;

/// Where the kernel counts the memory of this test by itself: some machines give up what lies in their page cache all the time, much
/// more than a file of this test in a second. Counts the whole machine where there is no such group to be had.
struct Count(Option<Group>);

struct Group {
    path: PathBuf,
    parent: PathBuf,
    /// What its statistics call the page cache.
    cache: &'static str,
}

impl Count {
    fn new() -> Self {
        let count = Self(Group::new());
        if count.0.is_none() {
            println!(
                "no control group can be made here, so the page cache of the whole machine is what counts"
            );
        }
        count
    }

    /// The page cache, in bytes.
    fn cached(&self) -> i64 {
        let (file, word, unit) = match &self.0 {
            Some(group) => (group.path.join("memory.stat"), group.cache, 1),
            None => (PathBuf::from("/proc/meminfo"), "Cached:", 1024),
        };
        let text = fs::read_to_string(file).unwrap();
        let mut lines = text.lines().map(|line| line.split_whitespace());
        let found = lines.find_map(|mut words| (words.next()? == word).then(|| words.next())?);
        found.unwrap().parse::<i64>().unwrap() * unit
    }

    /// Whether the page cache comes to differ from `before` by about `by`. Others may use the machine too, so it is watched for a
    /// while and taken roughly.
    fn comes_to(&self, before: i64, by: i64) -> bool {
        let tolerance = SIZE as i64 / 3;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            if (self.cached() - before - by).abs() < tolerance {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Group {
    fn new() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
        let mounted = |is_it: &dyn Fn(&str, &str) -> bool| {
            mounts.lines().find_map(|line| {
                let mut words = line.split(' ').skip(1);
                let (place, kind, options) = (words.next()?, words.next()?, words.next()?);
                is_it(kind, options).then(|| PathBuf::from(place))
            })
        };
        let member = fs::read_to_string("/proc/self/cgroup").ok()?;
        let within = |is_it: &dyn Fn(&str) -> bool| {
            member.lines().find_map(|line| {
                let mut words = line.splitn(3, ':').skip(1);
                let (controllers, path) = (words.next()?, words.next()?);
                is_it(controllers).then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let has_memory = |list: &str| list.split(',').any(|word| word == "memory");
        let first = mounted(&|kind, options| kind == "cgroup" && has_memory(options));
        let (parent, cache) = match first {
            Some(mount) => (mount.join(within(&has_memory)?), "cache"),
            None => {
                let mount = mounted(&|kind, _| kind == "cgroup2")?;
                (mount.join(within(&str::is_empty)?), "file")
            }
        };
        let path = parent.join(format!("warifu-pages-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        let group = Self {
            path,
            parent,
            cache,
        };
        let counts = group.path.join("memory.stat").exists();
        let me = std::process::id().to_string();
        (counts && fs::write(group.path.join("cgroup.procs"), me).is_ok()).then_some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let me = std::process::id().to_string();
        // What cannot be taken away stays empty.
        let _ = fs::write(self.parent.join("cgroup.procs"), me);
        let _ = fs::remove_dir(&self.path);
    }
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

/// What is measured may belong to the whole machine, so a round that something else disturbed is made again; what the drive
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
    let count = Count::new();
    let size = SIZE as i64;
    fs::write(rig.at("large"), noise(1, SIZE)).unwrap();
    in_some_round(|| {
        // Reading and writing leave nothing behind even while the file is open.
        let before = count.cached();
        let mut file = File::open(rig.at("large")).unwrap();
        read_through(&mut file);
        expect(count.comes_to(before, 0), "reading fills the page cache")?;

        // A mapping does, which proves that the measurement can see it.
        let before = count.cached();
        let mut mapped = false;
        map_through(&rig.at("large"), || mapped = count.comes_to(before, size));
        drop(file);
        expect(mapped, "a mapping has no pages, so this test shows nothing")?;
        let gone = count.comes_to(before, 0);
        expect(gone, "pages of a mapping are left after the last close")
    });
    drop(rig);

    // The same where everything goes through the page cache.
    let Some(rig) = Rig::with_pages() else { return };
    in_some_round(|| {
        let before = count.cached();
        fs::write(rig.at("large"), noise(1, SIZE)).unwrap();
        expect(count.comes_to(before, 0), "pages are left after writing")?;
        let before = count.cached();
        let mut file = File::open(rig.at("large")).unwrap();
        read_through(&mut file);
        let filled = count.comes_to(before, size);
        drop(file);
        expect(
            filled,
            "the page cache is not used, so this test shows nothing",
        )?;
        expect(count.comes_to(before, 0), "pages are left after reading")
    });
}

//! P8: a machine that is suspended, and wakes when its locks have ended.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use warifu_tests::drives::{Drive, can_lock};
use warifu_tests::{Rig, can_mount, wait_until};

const EVER: Duration = Duration::from_secs(120);

/// Stops a drive's process until it is dropped. Who has files of the drive open must start no program meanwhile: the child would close
/// them before it becomes the program, and wait for the drive.
struct Asleep(libc::pid_t);

impl Asleep {
    fn new(drive: &Drive) -> Self {
        let asleep = Self(drive.process().parse().unwrap());
        asleep.signal(libc::SIGSTOP);
        asleep
    }

    /// A process can be stopped while it is writing to the catalogue, and then nobody else can; a machine takes its catalogue's lock to
    /// sleep with it. So it is stopped until it was not writing.
    fn at_rest(drive: &Drive, other: &Drive) -> Self {
        let trial = other.at("trial");
        for _ in 0..20 {
            let asleep = Self::new(drive);
            if fs::create_dir(&trial).is_ok() {
                fs::remove_dir(&trial).unwrap();
                return asleep;
            }
        }
        panic!("it is always writing");
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: it takes two numbers and touches no memory of ours.
        assert_eq!(unsafe { libc::kill(self.0, signal) }, 0);
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        self.signal(libc::SIGCONT);
    }
}

/// A machine that is suspended is a process that is stopped, and a clock that has gone on when it wakes.
#[test]
fn p8_a_drive_that_slept_past_its_lease_takes_no_lock_for_good_that_others_have_had() {
    if !can_mount() {
        return;
    }
    let rig = Rig::new(2, 3);
    let (sleeper, other) = (Drive::mount(&rig, "sleeper"), Drive::mount(&rig, "other"));
    // Of these the other drive takes the first two while the sleeper sleeps.
    let [taken, unsaved, free] = ["taken", "unsaved", "free"].map(|name| {
        fs::write(sleeper.at(name), "before").unwrap();
        let file = File::options()
            .read(true)
            .write(true)
            .open(sleeper.at(name));
        let file = file.unwrap();
        file.lock().unwrap();
        file
    });
    unsaved.write_all_at(b"asleep", 0).unwrap();
    assert!(wait_until(EVER, || other.at("free").exists()));
    assert!(!can_lock(&other.at("taken")));

    let asleep = Asleep::at_rest(&sleeper, &other);
    let slept = Instant::now();
    for name in ["taken", "unsaved"] {
        let file = File::options().write(true).open(other.at(name)).unwrap();
        assert!(wait_until(EVER, || file.try_lock().is_ok()), "{name}");
        file.write_all_at(b"BEYOND", 0).unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(other.at(name)).unwrap(), "BEYOND");
    }
    eprintln!(
        "the locks of a drive that sleeps ended after {:.1?}",
        slept.elapsed()
    );
    drop(asleep);

    // What somebody else has locked and changed is not written over by who still believes in a lock of before.
    let refused = taken.write_all_at(b"asleep", 0).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EIO), "{refused}");
    drop(taken);
    // What nobody has touched is as it was, with its lock.
    free.write_all_at(b"awake!", 0).unwrap();
    assert!(!can_lock(&other.at("free")));
    drop((unsaved, free));
    // What was written before the sleep and not saved becomes a copy beside the version that came meanwhile.
    assert!(
        wait_until(EVER, || names(&other.dir).len() == 4),
        "{:?}",
        names(&other.dir)
    );
    for drive in [&sleeper, &other] {
        let read = |name: &str| fs::read_to_string(drive.at(name)).unwrap();
        assert!(wait_until(EVER, || read("free") == "awake!"));
        assert_eq!(
            (read("taken"), read("unsaved")),
            ("BEYOND".into(), "BEYOND".into())
        );
        let copy = names(&drive.dir)
            .into_iter()
            .find(|name| name.contains("conflict"));
        assert_eq!(read(&copy.expect("the copy")), "asleep");
    }
    // The sleeper is awake for good: it locks, and others see it.
    let file = File::options()
        .write(true)
        .open(sleeper.at("taken"))
        .unwrap();
    file.lock().unwrap();
    file.write_all_at(b"at the", 0).unwrap();
    assert!(!can_lock(&other.at("taken")));
    drop(file);
    assert!(wait_until(EVER, || can_lock(&other.at("taken"))));
    assert_eq!(fs::read_to_string(other.at("taken")).unwrap(), "at the");
}

fn names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

//! A drive that is used for long: what it holds does not grow, however much is done, and however many files are open.
//!
//! `WARIFU_LONG=1` does a million operations and says at each 100,000 what is held. What leaks less than a short run shows is found by
//! `heap.rs`, which counts bytes.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use warifu_tests::{Rig, can_mount, noise, run, said, wait_until, work};

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// RAM in KiB.
    memory: u64,
    descriptors: usize,
    threads: u64,
}

fn held(process: u32) -> Held {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let number = |field: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.unwrap().parse().unwrap()
    };
    Held {
        memory: number("VmRSS:"),
        descriptors: fs::read_dir(format!("/proc/{process}/fd")).unwrap().count(),
        threads: number("Threads:"),
    }
}

/// The catalogue keeps up to eight connections for those who read at the same time, each with two descriptors.
const READERS: usize = 2 * 8;

/// The runtime lends and ends threads as it needs them; one for each request would be thousands.
const THREADS: u64 = 16;

/// What a drive holds that has nothing to do: closed files are let go, and idle threads end, a moment later.
fn held_at_rest(process: u32, before: Option<Held>) -> Held {
    let Some(before) = before else {
        wait_until(Duration::from_secs(3), || false);
        return held(process);
    };
    wait_until(Duration::from_secs(20), || {
        let now = held(process);
        now.threads <= before.threads && now.descriptors <= before.descriptors
    });
    held(process)
}

#[test]
fn what_a_drive_holds_does_not_grow_with_what_is_done() {
    if !can_mount() {
        return;
    }
    let long = std::env::var_os("WARIFU_LONG").is_some();
    let (operations, step) = if long {
        (1_000_000, 100_000)
    } else {
        (24_000, 6_000)
    };
    let rig = Rig::new(2, 3);
    rig.mount();
    let process = rig.mount_process();
    let mut seen: Vec<Held> = Vec::new();
    for done in (1..=operations / step).map(|nth: u64| nth * step) {
        work(&rig.drive, done - step..done);
        // What is compared is what is held at rest.
        let rests = seen.is_empty() || done == operations || long;
        if rests {
            seen.push(held_at_rest(process, seen.first().copied()));
            println!("{done} operations: {:?}", seen.last());
        }
    }
    // In a short run the caches are still filling: 4 MiB of pages for the catalogue's connection that writes, 2 MiB for each of the eight that
    // read, and 8 MiB that the heap keeps. In the second half of a long one nothing fills any more, and what grows is what leaks. Less than a short run can
    // show is found by `heap.rs`, which counts what is live.
    let (before, allowed) = if long {
        (seen[seen.len() / 2 - 1], 8 * 1024)
    } else {
        (seen[0], (4 + 8 * 2 + 8) * 1024)
    };
    let after = seen[seen.len() - 1];
    assert!(
        after.descriptors <= before.descriptors + READERS,
        "{seen:?}"
    );
    assert!(after.threads <= before.threads + THREADS, "{seen:?}");
    assert!(after.memory <= before.memory + allowed, "{seen:?}");
    rig.unmount_cleanly();
}

#[test]
fn ten_thousand_files_are_open_at_once() {
    if !can_mount() {
        return;
    }
    const FILES: usize = 500;
    const OPENS: usize = 10_000;
    if !may_open(OPENS + 200) {
        return;
    }
    let rig = Rig::new(2, 3);
    rig.mount();
    let process = rig.mount_process();
    let path = |number: usize| rig.drive.join(format!("{}", number % FILES));
    let bytes = |number: usize| noise(300, (number % FILES) as u64);
    for number in 0..FILES {
        fs::write(path(number), bytes(number)).unwrap();
    }
    let before = held(process);
    let files: Vec<File> = (0..OPENS)
        .map(|number| {
            let mut options = File::options();
            // Each file is open for writing once, and many times for reading.
            options.read(true).write(number < FILES);
            options.open(path(number)).unwrap()
        })
        .collect();
    for (number, file) in files.iter().enumerate().rev() {
        let mut read = vec![0; 300];
        file.read_exact_at(&mut read, 0).unwrap();
        assert!(read == bytes(number), "open {number}");
    }
    for (number, file) in files.iter().enumerate().take(FILES) {
        file.write_all_at(b"changed", (number % 290) as u64)
            .unwrap();
    }
    assert_eq!(rig.mount_process(), process);
    drop(files);
    wait_until(Duration::from_secs(20), || {
        held(process).descriptors <= before.descriptors + 4
    });
    let after = held(process);
    assert!(
        after.descriptors <= before.descriptors + 4,
        "{before:?} {after:?}"
    );
    assert!(after.threads <= before.threads + 64, "{before:?} {after:?}");
    rig.unmount_cleanly();
    rig.mount();
    for number in 0..FILES {
        let mut expected = bytes(number);
        let at = number % 290;
        expected[at..at + 7].copy_from_slice(b"changed");
        assert!(fs::read(path(number)).unwrap() == expected, "file {number}");
    }
    rig.unmount_cleanly();
}

/// Raises this process's own limit of open files.
fn may_open(files: usize) -> bool {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls are given a limit of our own, which outlives them.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = files as libc::rlim_t;
        limit.rlim_max = limit.rlim_max.max(limit.rlim_cur);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
    };
    if !raised {
        warifu_tests::skipped("this process may not open ten thousand files: ulimit -Hn 16384");
    }
    raised
}

#[test]
fn sigterm_saves_what_is_open_and_ends_the_drive() {
    if !can_mount() {
        return;
    }
    let rig = Rig::new(2, 3);
    rig.mount();
    let process = rig.mount_process().to_string();
    fs::write(rig.drive.join("old"), "old").unwrap();
    let mut open = File::create(rig.drive.join("open")).unwrap();
    open.write_all(b"not closed").unwrap();
    let output = run("kill", ["-TERM", &process]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        wait_until(Duration::from_secs(60), || !run("kill", ["-0", &process])
            .status
            .success()),
        "the process is still there"
    );
    assert!(!rig.is_mounted());
    // Who still has it open is told, and not kept waiting.
    assert!(open.write_all(b"x").is_err());
    drop(open);
    rig.mount();
    assert_eq!(fs::read(rig.drive.join("open")).unwrap(), b"not closed");
    assert_eq!(fs::read(rig.drive.join("old")).unwrap(), b"old");
    rig.unmount_cleanly();
}

#[test]
fn a_server_that_comes_back_gets_what_it_missed() {
    if !can_mount() {
        return;
    }
    let rig = Rig::new(2, 3);
    rig.mount();
    fs::write(rig.drive.join("before"), "before").unwrap();
    let away = rig.take_away(1);
    for number in 0..20 {
        fs::write(rig.drive.join(format!("{number}")), noise(5_000, number)).unwrap();
        assert!(fs::read(rig.drive.join(format!("{number}"))).unwrap() == noise(5_000, number));
    }
    drop(away);
    let owes = || {
        let status = rig.warifu("status", &["--json".as_ref()]);
        said(&status)
    };
    assert!(
        wait_until(Duration::from_secs(90), || {
            let status: serde_json::Value = serde_json::from_str(&owes()).unwrap_or_default();
            status["owed_shares"] == 0
        }),
        "{}",
        owes()
    );
    // What it has now is enough with any other.
    let _other = rig.take_away(0);
    for number in 0..20 {
        assert!(fs::read(rig.drive.join(format!("{number}"))).unwrap() == noise(5_000, number));
    }
    drop(_other);
    rig.unmount_cleanly();
}

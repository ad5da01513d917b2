//! A drive that is used for long: what it holds does not grow, however much is done, and however many files are open.
//!
//! `WARIFU_LONG=1` does a million operations; the short run does enough to show a leak of one kilobyte in each.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use warifu_tests::{Rig, can_mount, noise, run, said, wait_until};

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

#[test]
fn what_a_drive_holds_does_not_grow_with_what_is_done() {
    if !can_mount() {
        return;
    }
    let operations: u64 = if std::env::var_os("WARIFU_LONG").is_some() {
        1_000_000
    } else {
        24_000
    };
    let rig = Rig::new(2, 3);
    rig.mount();
    let process = rig.mount_process();
    let work = |from: u64, to: u64| {
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let dir = rig.drive.join(format!("worker {worker}"));
                scope.spawn(move || {
                    fs::create_dir_all(&dir).unwrap();
                    for round in from / 40..to / 40 {
                        ten(&dir, round * 4 + worker);
                    }
                });
            }
        });
    };
    // Caches and pools fill first.
    let warm = operations / 4;
    work(0, warm);
    wait_until(Duration::from_secs(3), || false);
    let before = held(process);
    work(warm, operations);
    let after = {
        // Closed files are let go, and idle threads end, a moment later.
        wait_until(Duration::from_secs(20), || {
            let now = held(process);
            now.threads <= before.threads && now.descriptors <= before.descriptors
        });
        held(process)
    };
    println!("{operations} operations: {before:?} after a quarter, {after:?} in the end");
    assert!(
        after.descriptors <= before.descriptors + 4,
        "{before:?} {after:?}"
    );
    // The runtime lends and ends threads as it needs them; one for each request would be thousands.
    assert!(after.threads <= before.threads + 16, "{before:?} {after:?}");
    // Seen 42 MB after 14,000 operations, 71 after 72,000, 78 after 130,000: it flattens, probably as the catalogue's connections fill their page
    // caches, which nobody has proven. What leaks 2 KB with each operation is found, and a smaller leak is not.
    let allowed = 32 * 1024;
    assert!(
        after.memory <= before.memory + allowed,
        "{before:?} {after:?}"
    );
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

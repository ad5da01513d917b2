//! A file that is larger than the RAM that the drive may use is written and read through it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use warifu_tests::{Rig, can_mount, must, noise, run, wait_until, warifu};

const MIB: usize = 1 << 20;

/// The most that a process has ever had in RAM, in MiB.
fn peak(process: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}

#[test]
fn a_file_larger_than_the_memory_limit_is_written_and_read_within_it() {
    if !can_mount() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let servers: Vec<PathBuf> = (1..=3)
        .map(|n| scratch.path().join(format!("server-{n}")))
        .collect();
    let rig = Rig::on(scratch, 2, servers);
    // Half of the bytes on the servers, and the test is about those in RAM.
    let file = fs::read_to_string(&rig.vault).unwrap();
    fs::write(
        &rig.vault,
        file.replace("scheme = \"shamir\"", "scheme = \"compact\""),
    )
    .unwrap();
    must(
        warifu(),
        [
            "mount".as_ref(),
            "--memory-limit".as_ref(),
            "256".as_ref(),
            rig.vault.as_os_str(),
            rig.drive.as_os_str(),
        ],
    );
    let process = rig.mount_process();
    let path = rig.drive.join("scan.tif");
    let size = 640;
    let base = noise(MIB, 7);
    let part = |number: usize| {
        let mut part = base.clone();
        part[..8].copy_from_slice(&number.to_le_bytes());
        part
    };
    let mut file = File::create(&path).unwrap();
    for number in 0..size {
        file.write_all(&part(number)).unwrap();
    }
    // Once more into the middle of what is on the servers already.
    use std::os::unix::fs::FileExt as _;
    file.write_all_at(b"changed", (10 * MIB + 8) as u64)
        .unwrap();
    drop(file);
    let written = peak(process);
    let mut file = File::open(&path).unwrap();
    let mut got = vec![0; MIB];
    for number in 0..size {
        file.read_exact(&mut got).unwrap();
        let mut expected = part(number);
        if number == 10 {
            expected[8..15].copy_from_slice(b"changed");
        }
        assert!(got == expected, "MiB {number}");
    }
    drop(file);
    let read = peak(process);
    assert!(
        written <= 256 && read <= 256,
        "{written} MiB to write, {read} MiB to read"
    );
    rig.unmount_cleanly();
    // And its process is gone, with all that it held.
    assert!(wait_until(Duration::from_secs(10), || {
        !run("kill", ["-0", &process.to_string()]).status.success()
    }));
}

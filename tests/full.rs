//! A disk that is full during a save: on one server the save is degraded and says so; on two it fails at `close`, and the old
//! version is there.

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use warifu_tests::{Rig, can_mount, is_root, must, noise, run, skipped, wait_until};

/// A disk of 16 MiB, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(at: &Path) -> Self {
        fs::create_dir_all(at).unwrap();
        must(
            "mount",
            [
                "-t",
                "tmpfs",
                "-o",
                "size=16m",
                "warifu-test",
                at.to_str().unwrap(),
            ],
        );
        Self(at.to_owned())
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("ballast")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", ["-l", self.0.to_str().unwrap()]);
    }
}

/// What `close` says: the save happens there.
fn write_and_close(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    // The standard library drops what close answers; the descriptor is closed by hand.
    let closed = rustix_close(file.into_raw_fd());
    closed.map_err(std::io::Error::from_raw_os_error)
}

fn rustix_close(fd: i32) -> Result<(), i32> {
    // SAFETY: the descriptor was just taken out of a `File`, and nobody else has it.
    match unsafe { libc::close(fd) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

#[test]
fn p5_a_full_server_degrades_a_save_and_two_refuse_it() {
    if !can_mount() {
        return;
    }
    if !is_root() {
        skipped("small disks are mounted by root");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let disks: Vec<SmallDisk> = (1..=2)
        .map(|n| SmallDisk::new(&scratch.path().join(format!("disk-{n}"))))
        .collect();
    let servers = vec![
        disks[0].0.join("server"),
        disks[1].0.join("server"),
        scratch.path().join("server-3"),
    ];
    let rig = Rig::on(scratch, 2, servers);
    rig.mount();
    let path = rig.drive.join("予算書.xlsx");
    let old = noise(200_000, 1);
    write_and_close(&path, &old).unwrap();

    disks[0].fill();
    let degraded = noise(300_000, 2);
    write_and_close(&path, &degraded).unwrap();
    assert!(fs::read(&path).unwrap() == degraded);
    let status = rig.warifu("status", &[OsStr::new("--json")]);
    assert_eq!(
        status.status.code(),
        Some(3),
        "status's exit code says that the vault is degraded"
    );
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert!(
        status["owed_shares"].as_u64().is_some_and(|owed| owed > 0),
        "the owed share is shown: {status}"
    );

    disks[1].fill();
    let refused = noise(400_000, 3);
    let error =
        write_and_close(&path, &refused).expect_err("one server of two needed took the shares");
    assert!(
        matches!(error.kind(), ErrorKind::StorageFull) || error.raw_os_error() == Some(5),
        "close says ENOSPC or EIO, not {error}"
    );
    // The kernel tells of the last close after the program has gone on.
    let old_again = wait_until(Duration::from_secs(10), || {
        fs::read(&path).unwrap() == degraded
    });
    assert!(old_again, "the old version is what everybody reads");

    disks.iter().for_each(SmallDisk::make_room);
    write_and_close(&path, &refused).unwrap();
    assert!(fs::read(&path).unwrap() == refused);
    // The save that failed was told to the program; the unmount names it once more.
    let output = rig.unmount();
    assert!(!rig.is_mounted());
    drop(output);
    drop(rig);
}

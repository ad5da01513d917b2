//! Servers that are full: with one of them a save is degraded and says so; with too many it fails at `close`, and the old version
//! is there. Folders on small disks, and real servers filled up under a running mount.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{ErrorKind, Write};
use std::mem::MaybeUninit;
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use warifu_tests::office::{Office, SmallDisk, identical, scratch};
use warifu_tests::servers::{Folder, Server, Sftp, Webdav};
use warifu_tests::{Rig, can_mount, is_root, noise, run, said, skipped, wait_until};

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

fn can_mount_disks() -> bool {
    if !can_mount() {
        return false;
    }
    if !is_root() {
        skipped("small disks are mounted by root");
    }
    is_root()
}

#[test]
fn p5_a_full_server_degrades_a_save_and_two_refuse_it() {
    if !can_mount_disks() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let disks: Vec<SmallDisk> = (1..=2)
        .map(|n| SmallDisk::new(&scratch.path().join(format!("disk-{n}")), 16))
        .collect();
    let servers = vec![
        disks[0].path().join("server"),
        disks[1].path().join("server"),
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

/// All room and what is free of it, in bytes, as `df` is told.
fn room(drive: &Path) -> (u64, u64) {
    let path = CString::new(drive.as_os_str().as_bytes()).unwrap();
    let mut told = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero, and the kernel writes no more than the structure.
    let done = unsafe { libc::statvfs(path.as_ptr(), told.as_mut_ptr()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the call succeeded, so it is filled.
    let told = unsafe { told.assume_init() };
    (told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize)
}

const MIB: u64 = 1 << 20;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Sftp,
    Webdav,
}

fn server_on(kind: Kind, dir: &Path) -> Option<Box<dyn Server>> {
    Some(match kind {
        Kind::Sftp => Box::new(Sftp::new(dir)?),
        Kind::Webdav => Box::new(Webdav::new_in(dir)?),
    })
}

/// It fills up in the middle of a copy, of which nobody notices anything; `status` and `df` do, and when there is room again it
/// gets what it has missed.
#[test]
fn p5_a_real_server_that_fills_up_under_the_mount_is_owed_named_and_paid() {
    if !can_mount_disks() {
        return;
    }
    for (small, other) in [(Kind::Sftp, Kind::Webdav), (Kind::Webdav, Kind::Sftp)] {
        let dir = scratch("warifu-full-");
        let disk = SmallDisk::new(&dir.path().join("small"), 24);
        let large = dir.path().join("large");
        fs::create_dir(&large).unwrap();
        let (Some(full), Some(other)) = (server_on(small, disk.path()), server_on(other, &large))
        else {
            return;
        };
        let folder = Folder::new(dir.path().join("folder"));
        let office = Office::on(2, vec![full, other, Box::new(folder)], dir);
        office.rig.mount();
        let drive = office.drive();
        // Apache does not tell how much room there is.
        let tells = matches!(small, Kind::Sftp);
        let (all, free) = room(drive);
        assert!(
            !tells || (23 * MIB..=24 * MIB).contains(&all) && free > 20 * MIB && free <= all,
            "{small:?}: the room is that of the fullest: {free} of {all}"
        );

        let source = scratch("warifu-source-");
        for number in 0..18 {
            let bytes = noise(2 << 20, number);
            fs::write(source.path().join(format!("{number}.pdf")), bytes).unwrap();
        }
        let within = drive.join("写し");
        let copied = run(
            "cp",
            [
                OsStr::new("-r"),
                source.path().as_os_str(),
                within.as_os_str(),
            ],
        );
        assert!(
            copied.status.success() && said(&copied).is_empty(),
            "{small:?}: nobody notices: {}",
            said(&copied)
        );
        identical(source.path(), &within, "with one server full");

        let status = office.status();
        let server = &status["servers"][0];
        let (state, reason, problem) = if tells {
            ("read-only", "full", "server-full")
        } else {
            ("degraded", "owed", "shares-owed")
        };
        assert_eq!(
            (&server["state"], &server["reason"]),
            (&state.into(), &reason.into()),
            "{small:?}: {status}"
        );
        assert!(server["owed"].as_u64().unwrap() > 0, "{small:?}: {status}");
        assert!(
            status["servers"][1]["state"] == "normal" && status["servers"][2]["state"] == "normal",
            "{small:?}: {status}"
        );
        let problems = status["problems"].as_array().unwrap();
        assert!(
            problems.iter().any(|told| told["problem"] == problem),
            "{small:?}: {status}"
        );
        if tells {
            let told = said(&office.rig.warifu("status", &[]));
            let line = told.lines().find(|line| line.contains("server-1"));
            assert!(
                line.is_some_and(|line| line.contains("no room"))
                    && told.contains("Next: server-1: "),
                "{told}"
            );
        }
        let true_room = wait_until(Duration::from_secs(20), || room(drive).1 < 3 * MIB);
        assert!(true_room, "{small:?}: df says {:?}", room(drive));

        disk.resize(200);
        office.catch_up();
        let room_again = wait_until(Duration::from_secs(20), || room(drive).1 > 100 * MIB);
        assert!(room_again, "{small:?}: {:?}", room(drive));
        assert_eq!(office.status()["servers"][0]["state"], "normal");
        office.rig.unmount_cleanly();
        let (code, report) = office.verify(&[]);
        assert_eq!(
            (code, &report["clean"]),
            (Some(0), &true.into()),
            "{report}"
        );
    }
}

/// All of them full: programs hear ENOSPC, from `close` as from `fsync`, and the old version stays. What needs no server goes on, and
/// `status` says that it is not on servers yet.
#[test]
fn p5_with_all_servers_full_a_save_fails_with_enospc_and_changes_nothing() {
    if !can_mount_disks() {
        return;
    }
    let dir = scratch("warifu-full-");
    let disks: Vec<SmallDisk> = (1..=3)
        .map(|number| SmallDisk::new(&dir.path().join(format!("disk-{number}")), 24))
        .collect();
    let (Some(sftp), Some(webdav)) = (
        server_on(Kind::Sftp, disks[0].path()),
        server_on(Kind::Webdav, disks[1].path()),
    ) else {
        return;
    };
    let folder = Folder::new(disks[2].path().join("folder"));
    let office = Office::on(2, vec![sftp, webdav, Box::new(folder)], dir);
    office.rig.mount();
    let path = office.drive().join("予算書.xlsx");
    let (old, new) = (noise(300_000, 1), noise(600_000, 2));
    fs::write(&path, &old).unwrap();
    disks.iter().for_each(SmallDisk::fill);

    let error = write_and_close(&path, &new).expect_err("no server took anything");
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "close: {error}");
    let old_again = || fs::read(&path).is_ok_and(|bytes| bytes == old);
    assert!(
        wait_until(Duration::from_secs(10), old_again),
        "after close"
    );
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all(&new).unwrap();
    let error = file.sync_all().expect_err("no server took anything");
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "fsync: {error}");
    drop(file);
    assert!(
        wait_until(Duration::from_secs(10), old_again),
        "after fsync"
    );
    let beside = office.drive().join("新規.docx");
    let error = write_and_close(&beside, &new).expect_err("no server took anything");
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "new: {error}");
    assert!(room(office.drive()).1 < MIB, "{:?}", room(office.drive()));

    fs::create_dir(office.drive().join("棚")).expect("a folder needs no server");
    let behind = || !office.status()["journal_behind_since"].is_null();
    assert!(
        wait_until(Duration::from_secs(30), behind),
        "{}",
        office.status()
    );
    for (lang, words) in [
        ("en", "in the catalogue alone"),
        ("ja", "目録にしかありません"),
    ] {
        let vault = office.rig.vault.as_os_str();
        let arguments = [
            OsStr::new("--lang"),
            OsStr::new(lang),
            OsStr::new("status"),
            vault,
        ];
        let told = run(warifu_tests::warifu(), arguments);
        assert_eq!(told.status.code(), Some(3), "{}", said(&told));
        assert!(said(&told).contains(words), "{}", said(&told));
    }

    disks.iter().for_each(SmallDisk::make_room);
    fs::write(&path, &new).unwrap();
    let told = wait_until(Duration::from_secs(90), || !behind());
    assert!(told, "{}", office.status());
    // The saves that failed were told to their programs; the unmount names them once more.
    let _ = office.rig.unmount();
    let (code, report) = office.verify(&["--repair", "--yes"]);
    assert!(matches!(code, Some(0 | 11)), "{report}");
    office.rig.mount();
    assert!(fs::read(&path).unwrap() == new);
    assert!(office.drive().join("棚").is_dir());
    office.rig.unmount_cleanly();
}

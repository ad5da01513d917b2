//! P1, P4: shares get a new generation while a drive is in use and files are being saved, and whoever does it is killed ten times.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use warifu_tests::{Rig, can_mount, must, noise, said, wait_until, warifu};

const FILES: u64 = 40;

fn contents(file: u64, number: u64) -> Vec<u8> {
    let mut bytes = format!("{file:04} {number:012} ").into_bytes();
    let len = 5_000 + usize::try_from(file * 3_000).unwrap();
    bytes.extend(noise(len, file << 32 | number));
    bytes
}

fn number_of(bytes: &[u8]) -> u64 {
    let head = std::str::from_utf8(&bytes[5..17]).expect("the beginning of a version");
    head.parse().unwrap()
}

fn path(drive: &Path, file: u64) -> std::path::PathBuf {
    drive.join(format!("文書-{file}.docx"))
}

#[test]
fn p4_a_refresh_killed_ten_times_while_a_drive_is_in_use() {
    if !can_mount() {
        return;
    }
    let rig = Rig::new(2, 3);
    rig.mount();
    for file in 0..FILES {
        fs::write(path(&rig.drive, file), contents(file, 1)).unwrap();
    }
    let large = noise(9 << 20, 77);
    fs::write(rig.drive.join("large.pdf"), &large).unwrap();
    let stop = AtomicBool::new(false);
    let saved: Vec<AtomicU64> = (0..FILES).map(|_| AtomicU64::new(1)).collect();
    let longest = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (drive, stop, saved, longest, large) = (&rig.drive, &stop, &saved, &longest, &large);
        scope.spawn(move || {
            let mut number = 2;
            while !stop.load(Ordering::Relaxed) {
                let file = number % (FILES / 2);
                fs::write(path(drive, file), contents(file, number)).unwrap();
                saved[usize::try_from(file).unwrap()].store(number, Ordering::SeqCst);
                number += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        scope.spawn(move || {
            let mut turn = 0;
            while !stop.load(Ordering::Relaxed) {
                // Nobody saves these, and nothing may ever be missing of them.
                let file = FILES / 2 + turn % (FILES / 2);
                let begin = Instant::now();
                let read = fs::read(path(drive, file)).unwrap();
                let took = u64::try_from(begin.elapsed().as_millis()).unwrap();
                longest.fetch_max(took, Ordering::Relaxed);
                assert!(read == contents(file, 1), "file {file}");
                if turn % 50 == 0 {
                    assert!(fs::read(drive.join("large.pdf")).unwrap() == *large);
                }
                turn += 1;
            }
        });
        for round in 0..10_u64 {
            let mut refresh = Command::new(warifu())
                .args([OsStr::new("refresh"), rig.vault.as_os_str()])
                .args(["--yes", "--limit", "20"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(100 + 60 * round));
            refresh.kill().unwrap();
            refresh.wait().unwrap();
        }
        let refresh = rig.warifu("refresh", &[OsStr::new("--yes")]);
        stop.store(true, Ordering::Relaxed);
        assert!(
            [Some(0), Some(3)].contains(&refresh.status.code()),
            "{}",
            said(&refresh)
        );
    });
    println!(
        "the longest read took {} ms",
        longest.load(Ordering::Relaxed)
    );
    rig.unmount_cleanly();
    let again = rig.warifu("refresh", &[OsStr::new("--yes"), OsStr::new("--json")]);
    let json: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(json["generations"]["left"], 0, "{}", said(&again));
    let verify = [
        OsStr::new("verify"),
        rig.vault.as_os_str(),
        OsStr::new("--deep"),
    ];
    must(warifu(), verify);
    // Any two servers have everything.
    for server in 0..3 {
        let away = rig.take_away(server);
        rig.mount();
        for file in 0..FILES {
            let read = fs::read(path(&rig.drive, file)).unwrap();
            let number = number_of(&read);
            assert!(
                read == contents(file, number),
                "file {file} without server {server}"
            );
            let acknowledged = saved[usize::try_from(file).unwrap()].load(Ordering::SeqCst);
            assert!(
                number >= acknowledged,
                "file {file}: {number} after {acknowledged}"
            );
        }
        assert!(fs::read(rig.drive.join("large.pdf")).unwrap() == large);
        rig.unmount();
        assert!(wait_until(Duration::from_secs(10), || !rig.is_mounted()));
        drop(away);
    }
}

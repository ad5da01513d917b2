//! The drive beside ext4 under pjdfstest: what a local file system does, it does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use warifu_tests::disk::Disk;
use warifu_tests::{Rig, can_mount, is_root, said, skipped, tool, which};

/// All that Linux has of what pjdfstest can ask for. Flags of files (`chflags`) and NFSv4's access control lists are BSD's.
const CONFIGURATION: &str = r#"[features]
posix_fallocate = {}
rename_ctime = {}
stat_st_birthtime = {}
utime_now = {}
utimensat = {}

[settings]
naptime = 0.01
allow_remount = true

[dummy_auth]
entries = [["daemon", "daemon"], ["bin", "bin"]]
"#;

/// What FUSE cannot say: how many links a file may have. pjdfstest skips its test then.
const UNSAID: &[&str] = &["link::link_count_max"];

/// What became of each test.
type Results = BTreeMap<String, String>;

/// A folder with a `mount` of our own, by which pjdfstest makes a file system read-only for a moment. It asks the kernel and not
/// a helper program, which for a drive would look for a program to serve it; and asks again while what was just closed is on its way.
fn shim(scratch: &Path) -> PathBuf {
    let dir = scratch.join("bin");
    fs::create_dir_all(&dir).unwrap();
    let mount = which("mount").expect("util-linux");
    let script = format!(
        "#!/bin/sh\nfor try in 1 2 3 4 5 6 7 8 9 10; do\n  {} -i \"$@\" && exit 0\n  sleep 0.1\ndone\nexit 1\n",
        mount.display()
    );
    let path = dir.join("mount");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// Runs all tests in a folder.
fn pjdfstest(program: &Path, scratch: &Path, at: &Path) -> (Results, String) {
    let config = scratch.join("pjdfstest.toml");
    fs::write(&config, CONFIGURATION).unwrap();
    let other = scratch.join("another-file-system");
    fs::create_dir_all(&other).unwrap();
    let mut path = OsString::from(shim(scratch));
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let output = Command::new(program)
        .args(["-c", text(&config), "-p", text(at), "-s", text(&other)])
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = said(&output);
    let mut results = Results::new();
    for line in said.lines() {
        let Some((name, result)) = line.split_once(' ') else {
            continue;
        };
        let result = result.trim();
        if name.contains("::") && ["ok", "FAILED", "skipped"].contains(&result) {
            results.insert(name.to_owned(), result.to_owned());
        }
    }
    (results, said)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn ok(results: &Results) -> usize {
    results.values().filter(|result| *result == "ok").count()
}

#[test]
fn every_pjdfstest_that_ext4_passes_passes_on_the_drive() {
    if !can_mount() {
        return;
    }
    let Some(program) = tool("pjdfstest", "cargo install --locked pjdfstest@0.2.2") else {
        return;
    };
    if !is_root() {
        skipped("pjdfstest changes owners, which only root may");
        return;
    }
    let rig = Rig::new(2, 3);
    let local = if Disk::can() {
        let disk = Disk::new(rig.scratch(), 64);
        pjdfstest(&program, rig.scratch(), &disk.at).0
    } else {
        skipped("no loop devices: what ext4 does is not looked at, and all tests must pass");
        Results::new()
    };
    rig.mount_with(&["--allow-other"]);
    let (drive, said) = pjdfstest(&program, rig.scratch(), &rig.drive);
    let failed: Vec<_> = drive
        .iter()
        .filter(|(name, result)| {
            *result != "ok"
                && !UNSAID.contains(&name.as_str())
                && local.get(*name).is_none_or(|local| local == "ok")
        })
        .map(|(name, result)| format!("{name}: {result}"))
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {} that ext4 passes:\n{}\n{said}",
        failed.len(),
        ok(&local),
        failed.join("\n")
    );
    println!(
        "passed: {} on ext4, {} on the drive",
        ok(&local),
        ok(&drive)
    );
    assert!(ok(&drive) >= 390, "only {} tests ran\n{said}", ok(&drive));
    rig.unmount_cleanly();
}

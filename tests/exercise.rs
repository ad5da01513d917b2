//! The drive under what file systems are tried out with: fsx, fio and stress-ng.
//!
//! `WARIFU_LONG=1` makes each of them as long as it is before a release: a million operations of fsx in each mix.

use std::fs;
use std::path::Path;
use std::time::Duration;

use warifu_tests::{Rig, can_mount, is_root, run, said, skipped, tool, wait_until, which};

fn long() -> bool {
    std::env::var_os("WARIFU_LONG").is_some()
}

/// What documents go through: read and written in parts and through mappings, cut off, closed and opened, made safe.
const OFFICE: &str = r#"flen = 3000000
[opsize]
max = 300000
[weights]
close_open = 6
invalidate = 1
mapread = 4
mapwrite = 4
read = 20
write = 20
truncate = 4
fsync = 1
fdatasync = 1
posix_fallocate = 2
punch_hole = 3
sendfile = 3
posix_fadvise = 1
copy_file_range = 3
"#;

/// fsx compares every byte that it reads with what it wrote.
fn fsx(rig: &Rig, program: &Path, mix: Option<&str>, seed: u32, operations: u32) {
    let config = rig.scratch().join("fsx.toml");
    let file = rig.drive.join(format!("fsx-{seed}"));
    let mut words: Vec<String> = ["-q", "-S"].map(String::from).into();
    words.extend([seed.to_string(), "-N".into(), operations.to_string()]);
    words.extend(["-P".into(), rig.scratch().display().to_string()]);
    if let Some(mix) = mix {
        fs::write(&config, mix).unwrap();
        words.extend(["-f".into(), config.display().to_string()]);
    }
    words.push(file.display().to_string());
    let output = run(program, &words);
    assert!(
        output.status.success(),
        "fsx {}: {}\n{}",
        words.join(" "),
        output.status,
        said(&output)
    );
    fs::remove_file(&file).unwrap();
}

#[test]
fn fsx_reads_what_it_wrote_whichever_way() {
    if !can_mount() {
        return;
    }
    let Some(program) = tool("fsx", "cargo install --locked fsx@0.3.2") else {
        return;
    };
    let rig = Rig::new(2, 3);
    rig.mount();
    let (default, office) = if long() {
        (1_000_000, 1_000_000)
    } else {
        (2_000, 500)
    };
    for seed in 1..=2 {
        fsx(&rig, &program, None, seed, default);
        fsx(&rig, &program, Some(OFFICE), 100 + seed, office);
    }
    rig.unmount_cleanly();
}

#[test]
fn fio_verifies_what_sixteen_jobs_wrote_at_once() {
    if !can_mount() {
        return;
    }
    if which("fio").is_none() {
        skipped("no fio: apt-get install fio");
        return;
    }
    let rig = Rig::new(2, 3);
    rig.mount();
    let size = if long() { "64m" } else { "3m" };
    for (name, engine) in [
        (
            "mixed",
            &["--ioengine=psync", "--rw=randrw", "--bsrange=1k-128k"][..],
        ),
        ("mapped", &["--ioengine=mmap", "--rw=randwrite", "--bs=4k"]),
        (
            "direct",
            &[
                "--ioengine=libaio",
                "--direct=1",
                "--iodepth=8",
                "--rw=randwrite",
                "--bs=16k",
            ],
        ),
    ] {
        let dir = rig.drive.join(name);
        fs::create_dir(&dir).unwrap();
        let directory = format!("--directory={}", dir.display());
        let size = format!("--size={size}");
        let output = tool_in(
            rig.scratch(),
            "fio",
            &[
                &[
                    "--name",
                    name,
                    "--numjobs=16",
                    "--group_reporting",
                    &directory,
                    &size,
                ][..],
                &[
                    "--verify=crc32c",
                    "--verify_fatal=1",
                    "--do_verify=1",
                    "--end_fsync=1",
                ],
                engine,
            ]
            .concat(),
        );
        assert!(output.status.success(), "fio {name}: {}", said(&output));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 16);
        fs::remove_dir_all(&dir).unwrap();
    }
    rig.unmount_cleanly();
}

/// Runs a program in a folder of the test's own, where it may leave what it likes.
fn tool_in(dir: &Path, program: &str, words: &[&str]) -> std::process::Output {
    std::process::Command::new(program)
        .args(words)
        .current_dir(dir)
        .env("LC_ALL", "C.UTF-8")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// What stress-ng can do to files and folders that a drive has, each with how often a short run does it.
const STRESSORS: &[(&str, u32)] = &[
    ("access", 40),
    ("chmod", 300),
    ("chown", 300),
    ("dentry", 500),
    ("dir", 400),
    ("dirdeep", 200),
    ("dirmany", 400),
    ("dup", 20),
    ("fallocate", 100),
    ("fcntl", 200),
    ("filename", 200),
    ("flock", 500),
    ("fpunch", 10),
    ("fstat", 200),
    ("getdent", 200),
    ("hdd", 100),
    ("inotify", 10),
    ("iomix", 200),
    ("locka", 500),
    ("lockf", 500),
    ("lockofd", 500),
    ("mknod", 200),
    ("open", 2_000),
    ("rename", 2_000),
    ("seek", 500),
    ("sync-file", 100),
    ("touch", 500),
    ("utime", 500),
    ("xattr", 50),
];

#[test]
fn stress_ng_finds_no_fault_and_leaves_a_drive_that_works() {
    if !can_mount() {
        return;
    }
    if which("stress-ng").is_none() {
        skipped("no stress-ng: apt-get install stress-ng");
        return;
    }
    if !is_root() {
        skipped("stress-ng's chown needs root");
        return;
    }
    let rig = Rig::new(2, 3);
    rig.mount();
    let process = rig.mount_process();
    let before = descriptors(process);
    let work = rig.drive.join("work");
    fs::create_dir(&work).unwrap();
    let path = work.display().to_string();
    // Two of each at a time, a dozen sorts at once, so that they meet.
    let (rounds, seconds) = if long() { (60, "120") } else { (1, "5") };
    for together in STRESSORS.chunks(12) {
        let mut words: Vec<String> = ["--verify", "--temp-path"].map(String::from).into();
        words.push(path.clone());
        words.extend(["--timeout".into(), seconds.into(), "--oom-avoid".into()]);
        for (stressor, often) in together {
            words.extend([format!("--{stressor}"), "2".into()]);
            words.extend([format!("--{stressor}-ops"), (often * rounds).to_string()]);
        }
        words.extend(["--hdd-bytes", "8m", "--iomix-bytes", "8m"].map(String::from));
        words.extend(["--fallocate-bytes", "8m"].map(String::from));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = tool_in(rig.scratch(), "stress-ng", &words);
        assert!(output.status.success(), "stress-ng: {}", said(&output));
    }
    assert!(rig.is_mounted());
    assert_eq!(
        rig.mount_process(),
        process,
        "the same process serves the drive"
    );
    fs::remove_dir_all(&work).unwrap();
    fs::write(rig.drive.join("after"), "works").unwrap();
    assert_eq!(fs::read(rig.drive.join("after")).unwrap(), b"works");
    // What was open is closed; the kernel tells of it a moment later. What stays are connections of the catalogue, for those who read at the
    // same time: up to eight, with two descriptors each.
    assert!(
        wait_until(Duration::from_secs(20), || descriptors(process)
            <= before + 16),
        "{before} descriptors before, {} after",
        descriptors(process)
    );
    rig.unmount_cleanly();
}

fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

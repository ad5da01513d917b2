//! Locks between processes of one machine, which the kernel keeps.

mod rig;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rig::Rig;
use rustix::fs::{FlockOperation, fcntl_lock, flock};

const FILE: &str = "WARIFU_TEST_LOCK_FILE";
const KIND: &str = "WARIFU_TEST_LOCK_KIND";

fn lock(file: &File, kind: &str, wait: bool) -> rustix::io::Result<()> {
    let operation = if wait {
        FlockOperation::LockExclusive
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    match kind {
        "flock" => flock(file, operation),
        _ => fcntl_lock(file, operation),
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// Not a test: the other process. It locks, says so, and holds the lock until its input ends.
#[test]
fn the_other_process() {
    let (Some(path), Ok(kind)) = (std::env::var_os(FILE), std::env::var(KIND)) else {
        return;
    };
    let file = open(Path::new(&path));
    lock(&file, &kind, true).unwrap();
    println!("\nLOCKED");
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn other(path: &Path, kind: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_other_process", "--nocapture"])
        .env(FILE, path)
        .env(KIND, kind)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    assert!(said.by_ref().lines().any(|line| line.unwrap() == "LOCKED"));
    (child, said)
}

#[test]
fn a_lock_of_one_process_keeps_another_out() {
    let Some(rig) = Rig::new() else { return };
    for kind in ["flock", "fcntl"] {
        let path = rig.at(kind);
        fs::write(&path, "x").unwrap();
        let (mut child, _said) = other(&path, kind);
        let file = open(&path);
        let refused = lock(&file, kind, false).unwrap_err().raw_os_error();
        assert!(
            matches!(refused, libc::EAGAIN | libc::EACCES),
            "{kind}: {refused}"
        );
        drop(child.stdin.take());
        // Waits for the lock, and gets it when the other process ends.
        lock(&file, kind, true).unwrap();
        child.wait().unwrap();
    }
}

//! A directory store on a network mount: sshfs stands for the file servers that the kernel mounts.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::tempdir;
use warifu_testkit::servers::{Process, Sshd, installed, skipped};
use warifu_testkit::stores::contract;
use warifu_vault::seam::store::ShareStore;

/// Mounts a folder of the server; the mount ends with the process.
fn mount(sshd: &Sshd, disk: &Path, point: &Path) -> Option<Process> {
    let Some(sshfs) = installed("sshfs") else {
        skipped("no sshfs is installed (Debian package sshfs)");
        return None;
    };
    if std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .is_err()
    {
        skipped("/dev/fuse cannot be opened here");
        return None;
    }
    let known_hosts = disk.with_extension("known_hosts");
    std::fs::write(&known_hosts, sshd.known_hosts_line(false)).unwrap();
    let mut process = Process::start(
        Command::new(sshfs)
            .arg("-f")
            .arg(format!("{}@127.0.0.1:{}", sshd.user(), disk.display()))
            .arg(point)
            .args(["-p", &sshd.port().to_string()])
            .arg("-o")
            .arg(format!("IdentityFile={}", sshd.key().display()))
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
            .args(["-o", "BatchMode=yes"])
            .stdin(Stdio::null()),
    );
    let mounted = || {
        std::fs::read_to_string("/proc/self/mounts")
            .is_ok_and(|mounts| mounts.contains(point.to_str().unwrap()))
    };
    let began = Instant::now();
    while !mounted() {
        assert!(process.runs(), "sshfs ended: {}", sshd.log());
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "sshfs does not mount"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(process)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_on_a_network_mount() {
    // Whatever happens, the mount does not outlive the test.
    if !common::in_root_namespace("the_contract_holds_on_a_network_mount") {
        return;
    }
    let Some(sshd) = Sshd::start() else { return };
    let base = tempdir().unwrap();
    let (disk, point) = (base.path().join("disk"), base.path().join("mnt"));
    for folder in [&disk, &point] {
        std::fs::create_dir(folder).unwrap();
    }
    let Some(process) = mount(&sshd, &disk, &point) else {
        return;
    };
    let number = AtomicU32::new(0);
    contract::store(async || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        Arc::new(common::create(&point.join(number.to_string())).await) as Arc<dyn ShareStore>
    })
    .await;
    common::run("umount", &["--lazy", point.to_str().unwrap()]);
    drop(process);
}

//! A vault on real servers of several kinds, and small disks for them to lie on.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::servers::{Bucket, Folder, NetworkMount, Server, Sftp, Webdav};
use crate::{Rig, can_mount, must, noise, run, said, wait_until};

/// A vault on servers of several kinds. What it consists of ends in this order.
pub struct Office {
    /// The vault and its drive.
    pub rig: Rig,
    /// Its servers, by index.
    pub servers: Vec<Box<dyn Server>>,
    _dir: TempDir,
}

/// Five servers of different kinds. Where one kind is not installed, a folder mounted over SSH takes its place.
fn five(dir: &Path) -> Option<Vec<Box<dyn Server>>> {
    let webdav: Box<dyn Server> = match Webdav::new() {
        Some(server) => Box::new(server),
        None => Box::new(NetworkMount::new(&dir.join("network-3"))?),
    };
    let bucket: Box<dyn Server> = match Bucket::new() {
        Some(server) => Box::new(server),
        None => Box::new(NetworkMount::new(&dir.join("network-4"))?),
    };
    Some(vec![
        Box::new(Folder::new(dir.join("folder-1"))),
        Box::new(Sftp::new(&dir.join("sftp-2"))?),
        webdav,
        bucket,
        Box::new(Folder::new(dir.join("folder-5"))),
    ])
}

impl Office {
    /// A mounted 3-of-5 vault on folders, SFTP, WebDAV and S3, where this machine can have one.
    #[must_use]
    pub fn open() -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let office = Self::closed()?;
        office.rig.mount();
        Some(office)
    }

    /// The same, not mounted.
    #[must_use]
    pub fn closed() -> Option<Self> {
        let dir = scratch("warifu-servers-");
        let servers = five(dir.path())?;
        Some(Self::on(3, servers, dir))
    }

    /// A vault on these servers, which may lie in `dir`. It is not mounted.
    #[must_use]
    pub fn on(k: u8, servers: Vec<Box<dyn Server>>, dir: TempDir) -> Self {
        let urls = servers.iter().map(|server| server.url().into()).collect();
        let mut options = Vec::new();
        for (place, server) in servers.iter().enumerate() {
            for (field, value) in server.options() {
                options.push(format!("server-{}.{field}={value}", place + 1));
            }
        }
        let rig = Rig::with_options(scratch("warifu-journey-"), k, urls, &options);
        Self {
            rig,
            servers,
            _dir: dir,
        }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn drive(&self) -> &Path {
        &self.rig.drive
    }

    /// `warifu status --json`.
    #[must_use]
    pub fn status(&self) -> Value {
        let status = self.rig.warifu("status", &[OsStr::new("--json")]);
        serde_json::from_slice(&status.stdout).unwrap_or_default()
    }

    /// Waits until those that were started again have caught up: a server that still owes shares is not one to be spared.
    ///
    /// # Panics
    /// When they do not within two minutes.
    pub fn catch_up(&self) {
        let caught_up = wait_until(Duration::from_secs(120), || {
            fs::write(self.drive().join("probe"), noise(1_000, 7)).expect("a save");
            let done = self.status()["owed_shares"] == 0;
            if !done {
                std::thread::sleep(Duration::from_millis(300));
            }
            done
        });
        assert!(caught_up, "shares are still owed: {:#}", self.status());
    }

    /// `warifu verify --deep --json` and what else is asked of it: its exit code and what it found.
    ///
    /// # Panics
    /// When it does not print JSON.
    #[must_use]
    pub fn verify(&self, more: &[&str]) -> (Option<i32>, Value) {
        let mut arguments = vec![OsStr::new("--deep"), OsStr::new("--json")];
        arguments.extend(more.iter().map(OsStr::new));
        let output = self.rig.warifu("verify", &arguments);
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
        (output.status.code(), report)
    }
}

/// A folder for a test.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn scratch(prefix: &str) -> TempDir {
    let made = tempfile::Builder::new().prefix(prefix).tempdir();
    made.expect("a scratch folder")
}

/// How many files there are below a folder.
#[must_use]
pub fn files_in(dir: &Path) -> usize {
    let output = run(
        "find",
        [dir.as_os_str(), OsStr::new("-type"), OsStr::new("f")],
    );
    output.stdout.iter().filter(|byte| **byte == b'\n').count()
}

/// Compares two trees.
///
/// # Panics
/// When they are not the same.
pub fn identical(one: &Path, other: &Path, when: &str) {
    let output = run(
        "diff",
        [OsStr::new("-r"), one.as_os_str(), other.as_os_str()],
    );
    assert!(
        output.status.success(),
        "{when}: diff -r: {}",
        said(&output)
    );
    assert_eq!(files_in(one), files_in(other), "{when}");
}

/// A small disk, unmounted when dropped. Only root can have one.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// A disk of so many MiB.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(at: &Path, mib: u32) -> Self {
        fs::create_dir_all(at).expect("a mount point");
        let size = format!("size={mib}m");
        let arguments = ["-t", "tmpfs", "-o", size.as_str(), "warifu-test"];
        must(
            "mount",
            arguments
                .iter()
                .map(OsStr::new)
                .chain([at.as_os_str()])
                .collect::<Vec<_>>(),
        );
        Self(at.to_owned())
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves no room.
    ///
    /// # Panics
    /// When not even the file for it can be made.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.0.join("ballast")).expect("a file");
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    /// Takes back [`fill`](Self::fill).
    ///
    /// # Panics
    /// When it was not filled.
    pub fn make_room(&self) {
        fs::remove_file(self.0.join("ballast")).expect("the ballast");
    }

    /// Another size, as an administrator gives a server that is full.
    ///
    /// # Panics
    /// When it cannot be had.
    pub fn resize(&self, mib: u32) {
        let size = format!("remount,size={mib}m");
        must(
            "mount",
            [OsStr::new("-o"), OsStr::new(&size), self.0.as_os_str()],
        );
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", [OsStr::new("-l"), self.0.as_os_str()]);
    }
}

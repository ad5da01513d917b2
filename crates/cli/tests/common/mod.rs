//! What the tests of the program share: a place with three servers, and the program run in it.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod ways;

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub const WARIFU: &str = env!("CARGO_BIN_EXE_warifu");

/// A folder with three servers `a`, `b`, `c` and, after [`World::new`], a vault `office.toml` of 2 of 3.
pub struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// Without a vault.
    pub fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// With a vault.
    pub fn new() -> Self {
        let world = Self::empty();
        world.ok([
            "init",
            "office.toml",
            "-k",
            "2",
            "honcho=a",
            "shisho=b",
            "bunko=c",
        ]);
        world
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    pub fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Takes a server away.
    pub fn away(&self, server: &str) {
        fs::rename(self.path(server), self.path(format!("{server}.away"))).unwrap();
    }

    /// Puts it back.
    pub fn back(&self, server: &str) {
        fs::rename(self.path(format!("{server}.away")), self.path(server)).unwrap();
    }

    /// The share objects on a server.
    pub fn objects(&self, server: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(server).join("objects")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path)
                } else {
                    found.push(path)
                }
            }
        }
        found.sort();
        found
    }

    /// The share objects on a server that are of files, where all of these have at least so many bytes: the journal's are
    /// smaller, and nothing but the vault key tells them apart.
    pub fn objects_from(&self, least: u64, server: &str) -> Vec<PathBuf> {
        let mut objects = self.objects(server);
        objects.retain(|object| fs::metadata(object).is_ok_and(|found| found.len() >= least));
        objects
    }

    /// The program in this folder, in English.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(WARIFU);
        command
            .args(args)
            .current_dir(self.dir())
            .env("LC_ALL", "C.UTF-8")
            .env_remove("LANG")
            .stdin(Stdio::null());
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs the program, which must succeed, and gives what it printed.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let out = self.run(args);
        assert!(
            out.status.success(),
            "{}\n{}",
            text(&out.stdout),
            text(&out.stderr)
        );
        text(&out.stdout)
    }

    /// Runs the program, which must end with this code, and gives what it said on standard error.
    #[track_caller]
    pub fn ends<S: AsRef<OsStr>>(&self, code: i32, args: impl IntoIterator<Item = S>) -> String {
        let out = self.run(args);
        assert_eq!(
            out.status.code(),
            Some(code),
            "{}\n{}",
            text(&out.stdout),
            text(&out.stderr)
        );
        text(&out.stderr)
    }

    /// Runs the program and reads its output as JSON; it must end with this code.
    #[track_caller]
    pub fn json<S: AsRef<OsStr>>(
        &self,
        code: i32,
        args: impl IntoIterator<Item = S>,
    ) -> serde_json::Value {
        let out = self.run(args);
        assert_eq!(
            out.status.code(),
            Some(code),
            "{}\n{}",
            text(&out.stdout),
            text(&out.stderr)
        );
        serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&out.stdout)))
    }

    /// Runs the program with something on its standard input.
    #[track_caller]
    pub fn feed<S: AsRef<OsStr>>(&self, input: &[u8], args: impl IntoIterator<Item = S>) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }
}

/// Those findings of a report, or versions that cannot be read, that are of files and not of the journal.
pub fn of_files(list: &serde_json::Value) -> Vec<serde_json::Value> {
    let mut found = list.as_array().unwrap().clone();
    found.retain(|entry| entry["of"] == "file");
    found
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that do not repeat.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

/// Whether drives can be mounted here. Where they must be (in CI), it is an error if not.
pub fn can_mount() -> bool {
    let device = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .is_ok();
    let root = rustix::process::geteuid().is_root();
    let helper = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join("fusermount3").is_file());
    let can = device && (root || helper);
    assert!(
        can || std::env::var_os("CI").is_none(),
        "drives must be mountable in CI"
    );
    if !can {
        eprintln!("skipped: no drive can be mounted here (/dev/fuse or fusermount3 is missing)");
    }
    can
}

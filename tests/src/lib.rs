//! What the journeys share: a vault on three folders, the real program, the real drive, and documents that none of us wrote.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub mod disk;
pub mod drives;
pub mod office;
pub mod scan;
pub mod servers;
mod work;

pub use work::work;

/// The top of the source tree.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// A folder beside the source tree. Where it is absent the test is skipped, in a word, but never in CI.
#[must_use]
pub fn shared(name: &str) -> Option<PathBuf> {
    let dir = root().parent()?.join("shared").join(name);
    if dir.is_dir() {
        return Some(dir);
    }
    skipped(&format!("there is no folder ../shared/{name}"));
    None
}

/// Says that a test is skipped.
///
/// # Panics
/// In CI, where nothing may be skipped.
pub fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "skipped in CI: {why}");
    eprintln!("SKIPPED: {why}");
}

/// Whether this machine can mount the drive.
#[must_use]
pub fn can_mount() -> bool {
    let device = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .is_ok();
    let allowed =
        fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0) || which("fusermount3").is_some();
    if !(device && allowed) {
        skipped("no FUSE: apt-get install fuse3");
    }
    device && allowed
}

/// Whether the tests run as root.
#[must_use]
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// The path of a program, if it is installed.
#[must_use]
pub fn which(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// The path of a program that a test needs, in cargo's folder too; says how to get it where it is missing.
#[must_use]
pub fn tool(program: &str, how: &str) -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    let found = which(program)
        .or_else(|| Some(cargo.join("bin").join(program)).filter(|path| path.is_file()));
    if found.is_none() {
        skipped(&format!("no {program}: {how}"));
    }
    found
}

/// The program `warifu` of this build.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn warifu() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps/test");
    let program = profile.join("warifu");
    if !program.is_file() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "warifu-cli"])
            .status();
        assert!(
            built.is_ok_and(|status| status.success()) && program.is_file(),
            "warifu could not be built"
        );
    }
    program
}

/// Runs a program and returns what it said.
///
/// # Panics
/// When it cannot be started.
pub fn run<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> Output {
    let arguments: Vec<OsString> = arguments
        .into_iter()
        .map(|a| a.as_ref().to_owned())
        .collect();
    Command::new(&program)
        .args(&arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.as_ref().display()))
}

/// Everything a program said, for messages.
#[must_use]
pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs a program that must succeed.
///
/// # Panics
/// When it fails, with what it said.
pub fn must<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> String {
    let program = program.as_ref().to_owned();
    let output = run(&program, arguments);
    assert!(
        output.status.success(),
        "{}: {}\n{}",
        program.display(),
        output.status,
        said(&output)
    );
    said(&output)
}

/// A vault on folders, and a place to mount it.
#[derive(Debug)]
pub struct Rig {
    /// The servers, by index: folders, or URLs of others.
    pub servers: Vec<PathBuf>,
    /// The vault file.
    pub vault: PathBuf,
    /// The mount point.
    pub drive: PathBuf,
    scratch: TempDir,
}

impl Rig {
    /// A k-of-n vault.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(k: u8, n: u8) -> Self {
        let scratch = tempfile::Builder::new()
            .prefix("warifu-journey-")
            .tempdir()
            .expect("a scratch folder");
        let servers = (1..=n)
            .map(|n| scratch.path().join(format!("server-{n}")))
            .collect();
        Self::on(scratch, k, servers)
    }

    /// A vault on these folders.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn on(scratch: TempDir, k: u8, servers: Vec<PathBuf>) -> Self {
        Self::with_options(scratch, k, servers, &[])
    }

    /// A vault on these servers, named `server-1` and so on, with options as `warifu init` takes them.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn with_options(
        scratch: TempDir,
        k: u8,
        servers: Vec<PathBuf>,
        options: &[String],
    ) -> Self {
        let options: Vec<String> = options
            .iter()
            .flat_map(|option| ["-o".to_owned(), option.clone()])
            .collect();
        Self::with_arguments(scratch, k, servers, &options)
    }

    /// A vault on these servers, with further arguments of `warifu init`.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn with_arguments(scratch: TempDir, k: u8, servers: Vec<PathBuf>, more: &[String]) -> Self {
        let (vault, drive) = (
            scratch.path().join("office.toml"),
            scratch.path().join("drive"),
        );
        fs::create_dir(&drive).expect("the mount point");
        let rig = Self {
            servers,
            vault,
            drive,
            scratch,
        };
        let mut arguments: Vec<OsString> = vec![
            "init".into(),
            rig.vault.clone().into(),
            "--threshold".into(),
            k.to_string().into(),
        ];
        arguments.extend(rig.servers.iter().map(OsString::from));
        arguments.extend(more.iter().map(OsString::from));
        must(warifu(), arguments);
        rig
    }

    /// A folder of the test's own.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// `warifu COMMAND VAULT ARGUMENTS…`.
    pub fn warifu(&self, command: &str, arguments: &[&OsStr]) -> Output {
        let mut all: Vec<OsString> = vec![command.into(), self.vault.clone().into()];
        all.extend(arguments.iter().map(OsString::from));
        run(warifu(), all)
    }

    /// Mounts the drive.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn mount(&self) {
        self.mount_with(&[]);
    }

    /// Mounts the drive with options of `warifu mount`.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn mount_with(&self, options: &[&str]) {
        let mut arguments = vec![
            OsStr::new("mount"),
            self.vault.as_os_str(),
            self.drive.as_os_str(),
        ];
        arguments.extend(options.iter().map(OsStr::new));
        must(warifu(), arguments);
    }

    /// Unmounts the drive and returns what was said.
    pub fn unmount(&self) -> Output {
        run(warifu(), [OsStr::new("umount"), self.drive.as_os_str()])
    }

    /// Unmounts a drive on which nothing may be lost.
    ///
    /// # Panics
    /// When something was.
    pub fn unmount_cleanly(&self) {
        let output = self.unmount();
        assert!(output.status.success(), "umount: {}", said(&output));
        assert!(!self.is_mounted(), "still mounted after umount");
    }

    /// Whether the drive is mounted.
    #[must_use]
    pub fn is_mounted(&self) -> bool {
        let mounts = fs::read("/proc/self/mounts").unwrap_or_default();
        let point = self.drive.to_string_lossy().into_owned();
        String::from_utf8_lossy(&mounts)
            .lines()
            .any(|line| line.split(' ').nth(1) == Some(point.as_str()))
    }

    /// The process that serves the drive.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn mount_process(&self) -> u32 {
        let wanted = self.vault.as_os_str().as_encoded_bytes().to_vec();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let Ok(line) = fs::read(entry.path().join("cmdline")) else {
                continue;
            };
            let mut arguments = line.split(|byte| *byte == 0);
            if arguments.clone().any(|a| a == b"mount") && arguments.any(|a| a == wanted) {
                return pid;
            }
        }
        panic!("no process serves {}", self.vault.display());
    }

    /// Ends the mount process as a power switch would. The dead drive stays where it is, and answers every program with
    /// an error, until the mount point is [cleared](Self::clear).
    pub fn kill(&self) {
        let pid = self.mount_process().to_string();
        run("kill", ["-KILL", &pid]);
        // Its descriptors are gone when it is dead, although whoever is its parent may not have taken notice yet.
        let descriptors = Path::new("/proc").join(&pid).join("fd");
        wait_until(Duration::from_secs(10), || {
            fs::read_dir(&descriptors).map_or(0, Iterator::count) == 0
        });
    }

    /// Takes a dead drive off its mount point.
    pub fn clear(&self) {
        run("umount", [OsStr::new("-l"), self.drive.as_os_str()]);
    }

    /// Takes a server away; it can be brought back.
    ///
    /// # Panics
    /// When it cannot be moved.
    pub fn take_away(&self, server: usize) -> Away {
        let here = self.servers[server].clone();
        let there = here.with_extension("away");
        fs::rename(&here, &there).expect("the server's folder");
        Away { here, there }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.is_mounted() {
            let _ = self.unmount();
        }
        if self.is_mounted() {
            let _ = run("umount", [OsStr::new("-l"), self.drive.as_os_str()]);
        }
    }
}

/// A server that was taken away; dropping it brings it back.
#[derive(Debug)]
pub struct Away {
    here: PathBuf,
    there: PathBuf,
}

impl Drop for Away {
    fn drop(&mut self) {
        // What may have been made in its place meanwhile was made by mistake, and the test has looked by now.
        let _ = fs::remove_dir_all(&self.here);
        let _ = fs::rename(&self.there, &self.here);
    }
}

/// Waits for something, and says whether it came.
pub fn wait_until(limit: Duration, mut happened: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < limit {
        if happened() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    happened()
}

/// All files below a folder with their contents, by relative path. Folders have no contents.
///
/// # Panics
/// When something cannot be read.
#[must_use]
pub fn tree(top: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    fn walk(top: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
        for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        {
            let entry = entry.expect("an entry");
            let path = entry.path();
            let relative = path.strip_prefix(top).expect("below the top").to_owned();
            if entry.file_type().expect("a type").is_dir() {
                found.insert(relative, None);
                walk(top, &path, found);
            } else {
                let contents =
                    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                found.insert(relative, Some(contents));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(top, top, &mut found);
    found
}

/// Bytes that look like nothing else.
#[must_use]
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64*, Vigna 2016.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

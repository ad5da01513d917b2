//! Several drives of one vault, each with a process of its own, as on several machines.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Rig, must, run, warifu};

/// A further drive of a rig's vault. Unmounted with it.
#[derive(Debug)]
pub struct Drive {
    vault: PathBuf,
    /// Where it is mounted.
    pub dir: PathBuf,
}

impl Drive {
    /// Mounts it in the rig's folder.
    ///
    /// # Panics
    /// When it cannot be mounted.
    #[must_use]
    pub fn mount(rig: &Rig, name: &str) -> Self {
        Self::mount_by(rig, name, &[])
    }

    /// The same by a program that starts another one, such as `nsenter`.
    ///
    /// # Panics
    /// When it cannot be mounted.
    #[must_use]
    pub fn mount_by(rig: &Rig, name: &str, starter: &[&str]) -> Self {
        let dir = rig.scratch().join(name);
        fs::create_dir(&dir).expect("a mount point can be made");
        let mut words: Vec<OsString> = starter.iter().map(OsString::from).collect();
        words.push(warifu().into());
        words.push("mount".into());
        words.push(rig.vault.clone().into());
        words.push(dir.clone().into());
        let program = words.remove(0);
        must(program, words);
        Self {
            vault: rig.vault.clone(),
            dir,
        }
    }

    /// The path of a file on it.
    #[must_use]
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The process that serves it.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn process(&self) -> String {
        let wanted = [self.vault.as_os_str(), self.dir.as_os_str()];
        let serves = |line: &[u8]| {
            let arguments: Vec<_> = line.split(|byte| *byte == 0).collect();
            wanted
                .iter()
                .all(|wanted| arguments.contains(&wanted.as_encoded_bytes()))
        };
        fs::read_dir("/proc")
            .expect("there is /proc")
            .flatten()
            .find(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| serves(&line)))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .unwrap_or_else(|| panic!("no process serves {}", self.dir.display()))
    }

    /// Its machine dies.
    ///
    /// # Panics
    /// When there is no process to kill.
    pub fn kill(&self) {
        must("kill", ["-KILL", &self.process()]);
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        let output = run(warifu(), [OsStr::new("umount"), self.dir.as_os_str()]);
        if !output.status.success() {
            run("umount", [OsStr::new("-l"), self.dir.as_os_str()]);
        }
    }
}

/// A program that holds a file open for writing, with a lock, until it is killed.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn holder(file: &Path) -> Child {
    let mut child = Command::new("sh")
        .args([
            "-c",
            "exec 9<>\"$0\"; flock 9; echo locked; exec sleep 1000",
        ])
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell starts");
    let mut said = [0; 7];
    let out = child.stdout.as_mut().expect("its output is piped");
    out.read_exact(&mut said).expect("it gets its lock");
    child
}

/// Whether a lock can be had on a file at this moment.
#[must_use]
pub fn can_lock(file: &Path) -> bool {
    let file = file.as_os_str();
    let asked = [OsStr::new("--nonblock"), file, OsStr::new("true")];
    run("flock", asked).status.success()
}

/// A vault whose catalogue is in a database.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn rig_on(url: String) -> Rig {
    let scratch = tempfile::Builder::new()
        .prefix("warifu-journey-")
        .tempdir()
        .expect("a scratch folder");
    let servers = (1..=3)
        .map(|number| scratch.path().join(format!("server-{number}")))
        .collect();
    let catalog = ["--catalog".to_owned(), url];
    Rig::with_arguments(scratch, 2, servers, &catalog)
}

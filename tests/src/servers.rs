//! Servers that can be killed, stopped and set back while a drive is mounted.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use warifu_testkit::servers::{S3Server, Sshd, WebdavServer};

use crate::{run, said, wait_until, which};

/// A place for shares, with the switch of its machine.
pub trait Server: Send {
    /// What the vault file calls it by.
    fn url(&self) -> OsString;

    /// What the vault file says of it beside that.
    fn options(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Where its files are on this machine, to look at and to damage.
    fn data(&self) -> &Path;

    /// Ends it as a power switch would: connections too.
    fn kill(&mut self);

    /// Starts it again, at the same place with the same files.
    fn start(&mut self);

    /// Stops its processes where they are, and says whether it has any.
    fn pause(&mut self) -> bool {
        false
    }

    /// Lets them go on.
    fn resume(&mut self) {}
}

/// A folder. Killed, it is not there.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A folder of this name that is yet to be made.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Server for Folder {
    fn url(&self) -> OsString {
        self.path.clone().into()
    }

    fn data(&self) -> &Path {
        &self.path
    }

    fn kill(&mut self) {
        fs::rename(&self.path, self.path.with_extension("away")).expect("the server's folder");
    }

    fn start(&mut self) {
        // What may have been made in its place was made by mistake; the test would find its shares missing.
        let _ = fs::remove_dir_all(&self.path);
        fs::rename(self.path.with_extension("away"), &self.path).expect("the server's folder");
    }
}

/// A folder on an SSH server.
#[derive(Debug)]
pub struct Sftp {
    sshd: Sshd,
    data: PathBuf,
}

impl Sftp {
    /// Serves the folder `data`, which is made, or says that this machine cannot.
    ///
    /// # Panics
    /// When it should be able to and does not.
    #[must_use]
    pub fn new(data: &Path) -> Option<Self> {
        fs::create_dir_all(data).expect("a folder");
        let (sshd, data) = (Sshd::start()?, data.to_owned());
        Some(Self { sshd, data })
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.sshd.port()
    }
}

impl Server for Sftp {
    fn url(&self) -> OsString {
        self.sshd.url(&self.data.join("server")).into()
    }

    fn options(&self) -> Vec<(&'static str, String)> {
        vec![
            ("key", format!("file:{}", self.sshd.key().display())),
            ("host_key", self.sshd.fingerprint()),
        ]
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn kill(&mut self) {
        self.sshd.stop();
    }

    fn start(&mut self) {
        self.sshd.resume();
    }

    fn pause(&mut self) -> bool {
        signal("-STOP", &family(self.sshd.process().id()));
        true
    }

    fn resume(&mut self) {
        signal("-CONT", &family(self.sshd.process().id()));
    }
}

/// A folder on Apache's WebDAV server.
#[derive(Debug)]
pub struct Webdav {
    server: WebdavServer,
    data: PathBuf,
}

impl Webdav {
    /// Starts one, or says that this machine cannot.
    ///
    /// # Panics
    /// When it should be able to and does not.
    #[must_use]
    pub fn new() -> Option<Self> {
        let server = WebdavServer::apache(false)?;
        let data = server.folder();
        Some(Self { server, data })
    }

    /// Starts one whose files lie in `data`, which must be there, or says that this machine cannot.
    ///
    /// # Panics
    /// When it should be able to and does not.
    #[must_use]
    pub fn new_in(data: &Path) -> Option<Self> {
        let server = WebdavServer::apache_in(data)?;
        let data = server.folder();
        Some(Self { server, data })
    }
}

impl Server for Webdav {
    fn url(&self) -> OsString {
        self.server.url("server", self.server.port()).into()
    }

    fn options(&self) -> Vec<(&'static str, String)> {
        self.server.options()
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn kill(&mut self) {
        self.server.process().kill();
    }

    fn start(&mut self) {
        self.server.restart();
    }

    fn pause(&mut self) -> bool {
        self.server.process().pause();
        true
    }

    fn resume(&mut self) {
        self.server.process().resume();
    }
}

/// Room in a bucket of an S3 server.
#[derive(Debug)]
pub struct Bucket {
    server: S3Server,
    data: TempDir,
}

impl Bucket {
    /// Starts one, or says that this machine cannot.
    ///
    /// # Panics
    /// When it should be able to and does not.
    #[must_use]
    pub fn new() -> Option<Self> {
        let data = tempfile::tempdir().expect("a folder");
        let server = S3Server::s3s_in(data.path())?;
        Some(Self { server, data })
    }
}

impl Server for Bucket {
    fn url(&self) -> OsString {
        self.server.url("server", self.server.port()).into()
    }

    fn options(&self) -> Vec<(&'static str, String)> {
        self.server.options()
    }

    fn data(&self) -> &Path {
        self.data.path()
    }

    fn kill(&mut self) {
        self.server.process().kill();
    }

    fn start(&mut self) {
        self.server.restart();
    }

    fn pause(&mut self) -> bool {
        self.server.process().pause();
        true
    }

    fn resume(&mut self) {
        self.server.process().resume();
    }
}

/// A folder on an SSH server, mounted here by sshfs: a network drive as the kernel sees it.
#[derive(Debug)]
pub struct NetworkMount {
    sshd: Sshd,
    known: PathBuf,
    data: PathBuf,
    point: PathBuf,
    sshfs: Option<Child>,
}

impl NetworkMount {
    /// Mounts a folder in `dir`, or says that this machine cannot.
    ///
    /// # Panics
    /// When it should be able to and does not.
    #[must_use]
    pub fn new(dir: &Path) -> Option<Self> {
        if which("sshfs").is_none() {
            crate::skipped("no sshfs: apt-get install sshfs");
            return None;
        }
        let (data, point) = (dir.join("data"), dir.join("mounted"));
        for folder in [&data, &point] {
            fs::create_dir_all(folder).expect("a folder");
        }
        let sshd = Sshd::start()?;
        let known = dir.join("known_hosts");
        fs::write(&known, sshd.known_hosts_line(false)).expect("known hosts");
        let mut server = Self {
            sshd,
            known,
            data,
            point,
            sshfs: None,
        };
        server.mount();
        Some(server)
    }

    fn mount(&mut self) {
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        let options = [
            option("IdentityFile", &self.sshd.key()),
            option("UserKnownHostsFile", &self.known),
            format!("port={}", self.sshd.port()),
            String::from("StrictHostKeyChecking=yes"),
            String::from("IdentitiesOnly=yes"),
            String::from("BatchMode=yes"),
        ];
        let mut command = Command::new("sshfs");
        command
            .arg("-f")
            .arg(format!(
                "{}@127.0.0.1:{}",
                self.sshd.user(),
                self.data.display()
            ))
            .arg(&self.point)
            .args(["-F", "/dev/null"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for option in options {
            command.args(["-o", &option]);
        }
        self.sshfs = Some(command.spawn().expect("sshfs"));
        let point = self.point.clone();
        let up = wait_until(Duration::from_secs(20), || is_mount_point(&point));
        assert!(up, "sshfs does not mount: {}", self.sshd.log());
    }

    fn unmount(&mut self) {
        if let Some(mut sshfs) = self.sshfs.take() {
            signal("-KILL", &family(sshfs.id()));
            let _ = sshfs.wait();
        }
        let _ = run("umount", [OsString::from("-l"), self.point.clone().into()]);
    }
}

impl Server for NetworkMount {
    fn url(&self) -> OsString {
        self.point.join("server").into()
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn kill(&mut self) {
        self.sshd.stop();
    }

    fn start(&mut self) {
        self.unmount();
        self.sshd.resume();
        self.mount();
    }

    fn pause(&mut self) -> bool {
        signal("-STOP", &family(self.sshd.process().id()));
        true
    }

    fn resume(&mut self) {
        signal("-CONT", &family(self.sshd.process().id()));
    }
}

impl Drop for NetworkMount {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn is_mount_point(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let path = path.display().to_string();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(path.as_str()))
}

/// A process and all that it and its children have started.
#[must_use]
pub fn family(pid: u32) -> Vec<u32> {
    let processes: Vec<(u32, u32)> = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // Behind the name, which may hold anything, stand the state and the parent.
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(member) = family.get(at).copied() {
        let children = processes.iter().filter(|(_, parent)| *parent == member);
        family.extend(children.map(|(child, _)| *child));
        at += 1;
    }
    family
}

/// Sends a signal to these processes. That one of them has ended by itself is no failure.
pub fn signal(which: &str, processes: &[u32]) {
    for process in processes {
        let _ = run("kill", [which.to_owned(), process.to_string()]);
    }
}

/// Makes a copy of a folder as it is.
///
/// # Panics
/// When it cannot be made.
pub fn copy(from: &Path, to: &Path) {
    let output = run(
        "cp",
        [
            OsString::from("-a"),
            from.join(".").into(),
            to.to_owned().into(),
        ],
    );
    assert!(output.status.success(), "cp: {}", said(&output));
}

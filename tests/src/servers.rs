//! Servers that can be killed, stopped and set back while a drive is mounted.

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{must, run, said, wait_until, which};

/// A place for shares, with the switch of its machine.
pub trait Server: Send {
    /// What the vault file calls it by.
    fn url(&self) -> OsString;

    /// Where its files are on this machine, to look at and to damage.
    fn data(&self) -> &Path;

    /// Ends it as a power switch would: connections too.
    fn kill(&mut self);

    /// Starts it again, at the same place with the same files.
    fn start(&mut self);

    /// Stops its processes where they are, if it has any.
    fn pause(&self) -> bool {
        false
    }

    /// Lets them go on.
    fn resume(&self) {}
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

/// OpenSSH's server, on a free port of this machine, for whoever has its one key.
#[derive(Debug)]
pub struct Sshd {
    dir: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Sshd {
    /// Starts one that keeps its keys in `dir`, or says that there is none on this machine.
    ///
    /// # Panics
    /// When it is installed and does not start.
    #[must_use]
    pub fn start(dir: &Path) -> Option<Self> {
        let sshd = Path::new("/usr/sbin/sshd");
        if !sshd.is_file() || which("ssh-keygen").is_none() {
            crate::skipped("no SSH server: apt-get install openssh-server openssh-client");
            return None;
        }
        fs::create_dir_all(dir).expect("a folder for keys");
        for key in ["host", "user"] {
            let path = dir.join(key);
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-f"].map(OsString::from);
            must(
                "ssh-keygen",
                arguments.into_iter().chain([path.into_os_string()]),
            );
        }
        let mut server = Self {
            dir: dir.to_owned(),
            port: free_port(),
            process: None,
        };
        let path = |name: &str| dir.join(name).display().to_string();
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n\
             Subsystem sftp internal-sftp\nMaxStartups 100\n",
            server.port,
            path("host"),
            path("user.pub"),
        );
        fs::write(dir.join("config"), config).expect("the server's configuration");
        let host_key = fs::read_to_string(dir.join("host.pub")).expect("a host key");
        let known = format!("[127.0.0.1]:{} {host_key}", server.port);
        fs::write(dir.join("known_hosts"), known).expect("known hosts");
        server.begin();
        Some(server)
    }

    fn begin(&mut self) {
        // The folder that Debian's service makes; the server wants it to be there.
        if crate::is_root() {
            let _ = fs::create_dir_all("/run/sshd");
        }
        let log = fs::File::create(self.dir.join("log")).expect("a log");
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(self.dir.join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the SSH server");
        self.process = Some(process);
        let address = self.address();
        let up = wait_until(Duration::from_secs(20), || {
            TcpStream::connect(address).is_ok()
        });
        let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        assert!(up, "the SSH server does not start: {log}");
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal("-KILL", &family(process.id()));
            let _ = process.wait();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.end();
    }
}

/// A folder on an SSH server, mounted here by sshfs: a network drive as the kernel sees it.
#[derive(Debug)]
pub struct NetworkMount {
    sshd: Sshd,
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
        let sshd = Sshd::start(&dir.join("sshd"))?;
        let mut server = Self {
            sshd,
            data,
            point,
            sshfs: None,
        };
        server.mount();
        Some(server)
    }

    fn mount(&mut self) {
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        let dir = self.sshd.dir.clone();
        let options = [
            option("IdentityFile", &dir.join("user")),
            option("UserKnownHostsFile", &dir.join("known_hosts")),
            format!("port={}", self.sshd.port),
            String::from("StrictHostKeyChecking=yes"),
            String::from("IdentitiesOnly=yes"),
            String::from("BatchMode=yes"),
        ];
        let user = must("id", ["-un"]);
        let mut command = Command::new("sshfs");
        command
            .arg("-f")
            .arg(format!("{}@127.0.0.1:{}", user.trim(), self.data.display()))
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
        let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(up, "sshfs does not mount: {log}");
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
        self.sshd.end();
    }

    fn start(&mut self) {
        self.unmount();
        self.sshd.begin();
        self.mount();
    }

    fn pause(&self) -> bool {
        if let Some(process) = &self.sshd.process {
            signal("-STOP", &family(process.id()));
        }
        true
    }

    fn resume(&self) {
        if let Some(process) = &self.sshd.process {
            signal("-CONT", &family(process.id()));
        }
    }
}

impl Drop for NetworkMount {
    fn drop(&mut self) {
        self.resume();
        self.unmount();
    }
}

/// A port that nobody listens on at the moment.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its number").port()
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

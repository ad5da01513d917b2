//! OpenSSH's server, with keys of its own.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::{Process, free_port, installed, skipped};

/// The passphrase of [`Sshd::locked_key`].
const PASSPHRASE: &str = "correct horse";

/// How an SSH server is set up.
#[derive(Clone, Debug, Default)]
pub struct SshdOptions {
    /// Further lines of its configuration, which come first and so win over the usual ones.
    pub lines: Vec<String>,
    /// What follows `internal-sftp`, e.g. `-P hardlink` to forbid a request.
    pub sftp: String,
}

/// An SSH server on a port of its own, that lets in whoever runs the test, by key.
#[derive(Debug)]
pub struct Sshd {
    process: Option<Process>,
    folder: TempDir,
    port: u16,
}

impl Sshd {
    /// Starts one. `None`, and a word about it, where none is installed.
    ///
    /// # Panics
    /// When it does not start, or is missing under `CI=true`.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::with(&SshdOptions::default())
    }

    /// The same with more to say.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn with(options: &SshdOptions) -> Option<Self> {
        if installed("sshd").is_none() || installed("ssh-keygen").is_none() {
            skipped("no sshd is installed (Debian package openssh-server)");
            return None;
        }
        let folder = tempfile::tempdir().expect("there is room for temporary files");
        for (name, passphrase) in [
            ("host", ""),
            ("other-host", ""),
            ("user", ""),
            ("locked", PASSPHRASE),
            ("stranger", ""),
        ] {
            make_key(&folder.path().join(name), passphrase);
        }
        let allowed: String = ["user.pub", "locked.pub"]
            .map(|name| fs::read_to_string(folder.path().join(name)).expect("the key was made"))
            .concat();
        fs::write(folder.path().join("authorized"), allowed).expect("there is room");
        fs::write(folder.path().join("passphrase"), PASSPHRASE).expect("there is room");
        let closed = fs::Permissions::from_mode(0o600);
        fs::set_permissions(folder.path().join("passphrase"), closed).expect("it is ours");
        // Where the privileged part of a server run by root locks itself in; made by the system's own service.
        if rustix::process::getuid().is_root() {
            let _ = fs::create_dir_all("/run/sshd");
        }
        let mut sshd = Self {
            process: None,
            folder,
            port: free_port(),
        };
        // Of two lines that say the same thing, sshd takes the first.
        let config = format!(
            "{lines}\nPort {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nAuthorizedKeysFile {home}/authorized\n\
             PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication yes\n\
             MaxStartups 100\nLogLevel VERBOSE\nSubsystem sftp internal-sftp {sftp}\n",
            port = sshd.port,
            home = sshd.folder.path().display(),
            sftp = options.sftp,
            lines = options.lines.join("\n"),
        );
        // Servers from 9.8 on punish those who fail to log in; older ones do not know the word.
        let path = sshd.folder.path().join("config");
        for config in [format!("{config}PerSourcePenalties no\n"), config] {
            fs::write(&path, config).expect("there is room");
            let checked = Command::new(installed("sshd").expect("it was there"))
                .args(["-t", "-f"])
                .arg(&path)
                .output();
            if checked.is_ok_and(|done| done.status.success()) {
                break;
            }
        }
        sshd.resume();
        Some(sshd)
    }

    /// Starts the server again after [`stop`](Self::stop), on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&mut self) {
        let began = Instant::now();
        loop {
            let log = fs::File::options()
                .create(true)
                .append(true)
                .open(self.folder.path().join("log"))
                .expect("there is room");
            let mut process = Process::start(
                Command::new(installed("sshd").expect("it was there"))
                    .args(["-D", "-e", "-f"])
                    .arg(self.folder.path().join("config"))
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(log),
            );
            while process.runs() && began.elapsed() < Duration::from_secs(30) {
                if self.greets() {
                    self.process = Some(process);
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "sshd does not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn greets(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let mut greeting = [0; 4];
        stream.read_exact(&mut greeting).is_ok() && greeting == *b"SSH-"
    }

    /// Ends the server and all its connections, as a crash does.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// The server's processes.
    ///
    /// # Panics
    /// When it is stopped.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the server runs")
    }

    /// What the server wrote to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Who is let in.
    ///
    /// # Panics
    /// When the user running the test has no name.
    #[must_use]
    pub fn user(&self) -> String {
        let id = Command::new("id").arg("-un").output().expect("id is there");
        String::from_utf8(id.stdout)
            .expect("a name is text")
            .trim()
            .to_owned()
    }

    /// The URL of a folder of this machine, over this server.
    #[must_use]
    pub fn url(&self, folder: &Path) -> String {
        format!(
            "sftp://{}@127.0.0.1:{}{}",
            self.user(),
            self.port,
            folder.display()
        )
    }

    /// A private key that is let in.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("user")
    }

    /// Another that is, under a passphrase; and the file that holds it.
    #[must_use]
    pub fn locked_key(&self) -> (PathBuf, PathBuf) {
        let folder = self.folder.path();
        (folder.join("locked"), folder.join("passphrase"))
    }

    /// Lets in whoever has this key, as its line in a `.pub` file.
    ///
    /// # Panics
    /// When there is no room.
    pub fn let_in(&self, public_key: &str) {
        let path = self.folder.path().join("authorized");
        let known = fs::read_to_string(&path).expect("it was made at the start");
        fs::write(path, format!("{known}{}\n", public_key.trim())).expect("there is room");
    }

    /// A private key that is not let in.
    #[must_use]
    pub fn strange_key(&self) -> PathBuf {
        self.folder.path().join("stranger")
    }

    /// The fingerprint of the server's host key, `SHA256:…`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.folder.path().join("host.pub"))
    }

    /// The fingerprint of a key that the server does not have.
    #[must_use]
    pub fn other_fingerprint(&self) -> String {
        fingerprint(&self.folder.path().join("other-host.pub"))
    }

    /// The line for a file of known hosts; with another key than the server's when `wrong`.
    ///
    /// # Panics
    /// When the key is gone.
    #[must_use]
    pub fn known_hosts_line(&self, wrong: bool) -> String {
        let name = if wrong { "other-host.pub" } else { "host.pub" };
        let key = fs::read_to_string(self.folder.path().join(name)).expect("the key was made");
        format!("[127.0.0.1]:{} {key}", self.port)
    }
}

fn make_key(path: &Path, passphrase: &str) {
    let done = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f"])
        .arg(path)
        .status()
        .expect("ssh-keygen was there");
    assert!(done.success(), "ssh-keygen fails");
}

fn fingerprint(key: &Path) -> String {
    let out = Command::new("ssh-keygen")
        .args(["-l", "-f"])
        .arg(key)
        .output()
        .expect("ssh-keygen was there");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.split_whitespace()
        .nth(1)
        .expect("ssh-keygen -l shows the fingerprint second")
        .to_owned()
}

//! A PostgreSQL server of the test's own, or one that all tests of the moment share.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;
use warifu_core::ids::ExtentId;

use super::process::{Process, free_port, installed, skipped};

/// So long may a server take to answer after it was started.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where Debian puts the server's programs.
const DEBIAN: &str = "/usr/lib/postgresql";

/// Where the server's programs are, and as whom they run: never as root.
#[derive(Clone, Debug)]
struct Programs {
    folder: PathBuf,
    user: Option<(u32, u32)>,
}

impl Programs {
    fn find() -> Option<Self> {
        let mut versions: Vec<PathBuf> = fs::read_dir(DEBIAN)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .filter(|bin| bin.join("postgres").is_file())
            .collect();
        versions.sort();
        let elsewhere = installed("postgres").and_then(|path| path.parent().map(Path::to_owned));
        let Some(folder) = versions.pop().or(elsewhere) else {
            skipped("Debian's postgresql is not installed");
            return None;
        };
        let user = if geteuid().is_root() {
            Some(user_named("postgres").or_else(|| user_named("nobody"))?)
        } else {
            None
        };
        Some(Self { folder, user })
    }

    fn command(&self, program: &str) -> Command {
        self.command_at(&self.folder.join(program))
    }

    fn command_at(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn own(&self, path: &Path) {
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).expect("root may give a folder away");
        }
    }

    fn init(&self, data: &Path, more: &[&str]) {
        let output = self
            .command("initdb")
            .args(["-U", "warifu", "-E", "UTF8", "--locale=C", "--no-sync"])
            .args(more)
            .arg("-D")
            .arg(data)
            .stderr(Stdio::piped())
            .output()
            .expect("initdb runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "initdb: {said}");
    }

    fn answers(&self, port: u16) -> bool {
        self.command("pg_isready")
            .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
            .status()
            .is_ok_and(|status| status.success())
    }

    fn ask(&self, port: u16, statement: &str) -> String {
        let output = self
            .command("psql")
            .args(["-h", "127.0.0.1", "-p", &port.to_string()])
            .args([
                "-U",
                "warifu",
                "-qAt",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                statement,
                "postgres",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .expect("psql runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statement}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn wait(&self, port: u16) {
        let begun = Instant::now();
        while !self.answers(port) {
            assert!(
                begun.elapsed() < PATIENCE,
                "PostgreSQL does not answer on port {port}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn user_named(name: &str) -> Option<(u32, u32)> {
    fs::read_to_string("/etc/passwd")
        .ok()?
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            let is_it = fields.next()? == name;
            let mut number = || fields.next()?.parse().ok();
            let _password: Option<u32> = number();
            let (uid, gid) = (number()?, number()?);
            is_it.then_some((uid, gid))
        })
}

/// A fresh name for a schema, so that tests do not meet.
#[must_use]
pub fn fresh_schema() -> String {
    let id = ExtentId::fresh().expect("there is randomness").to_string();
    format!("t_{id}")
}

/// How a server of one's own is set up.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// The password of the user `warifu`; without one, everybody on this machine is let in.
    pub password: Option<String>,
    /// Certificate and key in PEM form: the server offers TLS.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whether it puts on disk what it says that it has; only speed is lost by that.
    pub durable: bool,
}

/// A PostgreSQL server of the test's own on loopback. Gone with it.
#[derive(Debug)]
pub struct Postgres {
    programs: Programs,
    folder: TempDir,
    port: u16,
    options: PostgresOptions,
    process: Option<Process>,
}

impl Postgres {
    /// Makes and starts one. `None` where PostgreSQL is not installed.
    ///
    /// # Panics
    /// When it does not start, or is missing under `CI=true`.
    #[must_use]
    pub fn start(options: PostgresOptions) -> Option<Self> {
        let programs = Programs::find()?;
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        programs.own(folder.path());
        let data = folder.path().join("data");
        match &options.password {
            None => programs.init(&data, &["-A", "trust"]),
            Some(password) => {
                let file = folder.path().join("password");
                fs::write(&file, password).expect("a file can be written");
                programs.own(&file);
                let file = format!("--pwfile={}", file.display());
                programs.init(&data, &["-A", "scram-sha-256", &file]);
            }
        }
        if let Some((certificate, key)) = &options.certificate {
            for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
                let to = data.join(name);
                fs::copy(from, &to).expect("a certificate can be copied");
                fs::set_permissions(&to, fs::Permissions::from_mode(0o600))
                    .expect("its mode can be set");
                programs.own(&to);
            }
        }
        let mut server = Self {
            programs,
            folder,
            port: free_port(),
            options,
            process: None,
        };
        server.run();
        Some(server)
    }

    /// Makes and starts a standby, to which this server replicates from now on: what is acknowledged is on the standby's disk as well.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn standby(&self) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        self.programs.own(folder.path());
        let data = folder.path().join("data");
        let output = self
            .programs
            .command("pg_basebackup")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", "warifu", "-R", "-c", "fast", "-X", "stream", "-D"])
            .arg(&data)
            .stderr(Stdio::piped())
            .output()
            .expect("pg_basebackup runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pg_basebackup: {said}");
        let mut standby = Self {
            programs: self.programs.clone(),
            folder,
            port: free_port(),
            options: self.options.clone(),
            process: None,
        };
        standby.run();
        self.ask("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.ask("SELECT pg_reload_conf()");
        standby
    }

    /// Makes a standby the one that is written to.
    ///
    /// # Panics
    /// When it does not become that.
    pub fn promote(&self) {
        self.ask("SELECT pg_promote()");
    }

    /// Has a statement done, and gives what it answers, a line for each row.
    ///
    /// # Panics
    /// When it is refused.
    pub fn ask(&self, statement: &str) -> String {
        self.programs.ask(self.port, statement)
    }

    /// Starts it again after [`stop`](Self::stop), on the same port with the same data.
    ///
    /// # Panics
    /// When it does not start.
    pub fn run(&mut self) {
        let data = self.folder.path().join("data");
        let mut command = self.programs.command("postgres");
        command
            .arg("-D")
            .arg(&data)
            .args(settings(self.port, self.folder.path()));
        if !self.options.durable {
            command.args(["-c", "fsync=off"]);
        }
        if self.options.certificate.is_some() {
            command.args(["-c", "ssl=on"]);
        }
        self.process = Some(Process::start(&mut command));
        self.programs.wait(self.port);
    }

    /// Ends it as an administrator does who cannot wait, or as a power cut does: connections break, and what is in memory is lost.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        if let Some(pid) = i32::try_from(process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::QUIT);
        }
        let begun = Instant::now();
        while process.runs() {
            assert!(begun.elapsed() < PATIENCE, "PostgreSQL does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A URL of a schema in it.
    #[must_use]
    pub fn url(&self, schema: &str) -> String {
        url(self.port, schema)
    }

    /// All that is in it, as `pg_dump` writes it.
    ///
    /// # Panics
    /// When it cannot be dumped.
    #[must_use]
    pub fn dump(&self) -> Vec<u8> {
        dump(&self.programs, self.port, &[])
    }
}

/// A server that all tests of the moment share; the last one to go takes it along. It forgets everything in a power cut.
#[derive(Debug)]
pub struct SharedPostgres {
    programs: Programs,
    port: u16,
    /// Held as long as the server is needed.
    _use: File,
}

/// Ends the server when nobody has held the lock for a while.
const KEEPER: &str = r#"
"$1" -D "$2/data" $4 & server=$!
while kill -0 $server 2>/dev/null; do
    sleep 5
    flock -n -x "$2/use" sh -c "rm -f $2/port; kill -QUIT $server; while kill -0 $server 2>/dev/null; do sleep 0.1; done" && exit
done
rm -f "$2/port"
"#;

impl SharedPostgres {
    /// Takes part in it. `None` where PostgreSQL is not installed.
    ///
    /// # Panics
    /// When it does not start, or is missing under `CI=true`.
    #[must_use]
    pub fn take() -> Option<Self> {
        let programs = Programs::find()?;
        let folder = std::env::temp_dir().join(format!("warifu-postgres-{}", geteuid().as_raw()));
        match fs::create_dir(&folder) {
            Ok(()) => programs.own(&folder),
            // Somebody else's folder of this name would be somebody else's server.
            Err(_) => {
                let owner = fs::symlink_metadata(&folder).map(|found| found.uid()).ok();
                let user = programs.user.map_or(geteuid().as_raw(), |(uid, _)| uid);
                assert!(
                    owner == Some(user) || owner == Some(geteuid().as_raw()),
                    "{} belongs to somebody else",
                    folder.display()
                );
            }
        }
        let lock_file = |name: &str| {
            let path = folder.join(name);
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .expect("a lock file can be made");
            programs.own(&path);
            file
        };
        let (used, start) = (lock_file("use"), lock_file("start"));
        start.lock().expect("a lock can be taken");
        used.lock_shared().expect("a lock can be shared");
        let running = fs::read_to_string(folder.join("port"))
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .filter(|port| programs.answers(*port));
        let port = running.unwrap_or_else(|| {
            let data = folder.join("data");
            let _ = fs::remove_dir_all(&data);
            programs.init(&data, &["-A", "trust"]);
            let port = free_port();
            let mut settings = settings(port, &folder);
            settings.extend(["-c".into(), "fsync=off".into()]);
            programs
                .command_at(&installed("setsid").expect("util-linux is installed"))
                .args(["--fork", "sh", "-c", KEEPER, "keeper"])
                .arg(programs.folder.join("postgres"))
                .arg(&folder)
                .arg("")
                .arg(settings.join(" "))
                .status()
                .expect("the server can be started");
            programs.wait(port);
            fs::write(folder.join("port"), port.to_string()).expect("a file can be written");
            programs.own(&folder.join("port"));
            port
        });
        drop(start);
        Some(Self {
            programs,
            port,
            _use: used,
        })
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A URL of a schema in it.
    #[must_use]
    pub fn url(&self, schema: &str) -> String {
        url(self.port, schema)
    }

    /// Has a statement done, and gives what it answers, a line for each row.
    ///
    /// # Panics
    /// When it is refused.
    pub fn ask(&self, statement: &str) -> String {
        self.programs.ask(self.port, statement)
    }

    /// All that is in a schema, as `pg_dump` writes it.
    ///
    /// # Panics
    /// When it cannot be dumped.
    #[must_use]
    pub fn dump(&self, schema: &str) -> Vec<u8> {
        dump(&self.programs, self.port, &["-n", schema])
    }
}

fn url(port: u16, schema: &str) -> String {
    format!("postgres://warifu@127.0.0.1:{port}/postgres?schema={schema}")
}

fn settings(port: u16, sockets: &Path) -> Vec<String> {
    [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        format!("unix_socket_directories={}", sockets.display()),
        "max_connections=400".into(),
        "shared_buffers=64MB".into(),
        "logging_collector=off".into(),
    ]
    .into_iter()
    .flat_map(|setting| ["-c".to_owned(), setting])
    .collect()
}

fn dump(programs: &Programs, port: u16, more: &[&str]) -> Vec<u8> {
    let output = programs
        .command("pg_dump")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "warifu"])
        .args(more)
        .arg("postgres")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .expect("pg_dump runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pg_dump: {said}");
    output.stdout
}

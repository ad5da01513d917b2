//! A server that has a port, a log, and an end.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::process::{Process, free_port, installed, skipped};

/// How long a server may take to listen, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server's process. Dropping it ends it.
#[derive(Debug)]
pub struct Listening {
    process: Option<Process>,
}

impl Listening {
    /// Starts a server that will listen on `port` of loopback, and waits until it does.
    pub(super) fn start(command: &mut Command, port: u16, log: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        // A test that is killed takes its servers with it.
        let mut whole = Command::new("setpriv");
        whole
            .args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                whole.env(name, value);
            }
        }
        whole
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let mut process = Process::start(&mut whole);
        let begin = Instant::now();
        let address = (Ipv4Addr::LOCALHOST, port).into();
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if !process.runs() || begin.elapsed() > PATIENCE {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                return Err(io::Error::other(format!("it does not listen: {said}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self {
            process: Some(process),
        })
    }

    /// Ends the server at once, in the middle of whatever it does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it in its tracks: connections stay open, and nothing is answered.
    pub fn pause(&self) {
        let Some(process) = &self.process else {
            return;
        };
        process.signal(Signal::STOP, true);
        let begin = Instant::now();
        while !is_stopped(process.id()) && begin.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends a pause.
    pub fn resume(&self) {
        if let Some(process) = &self.process {
            process.signal(Signal::CONT, true);
        }
    }
}

/// Whether each thread has come to a halt.
fn is_stopped(id: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{id}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        std::fs::read_to_string(thread.path().join("stat"))
            .ok()
            .and_then(|stat| {
                stat.rsplit_once(") ")
                    .map(|(_, rest)| rest.starts_with('T'))
            })
            .unwrap_or(true)
    })
}

/// Starts a server on a free port; on another one when somebody was quicker.
pub(super) fn on_a_free_port<T>(mut start: impl FnMut(u16) -> io::Result<T>) -> (u16, T) {
    let mut last = None;
    for _ in 0..5 {
        let port = free_port();
        match start(port) {
            Ok(server) => return (port, server),
            Err(error) => last = Some(error),
        }
    }
    panic!("the server does not start: {last:?}");
}

/// A program, in cargo's folder too; says so where it is missing.
pub(super) fn program(name: &str, package: &str) -> Option<PathBuf> {
    let found = installed(name).or_else(|| of_cargo(name));
    if found.is_none() {
        skipped(&format!("{name} is not installed ({package})"));
    }
    found
}

/// A program that cargo installed.
pub(super) fn of_cargo(name: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME")
        .map_or_else(|| Path::new(&home).join(".cargo"), PathBuf::from);
    Some(cargo.join("bin").join(name)).filter(|path| path.is_file())
}

/// Runs a program to its end and returns what it printed.
pub(super) fn run(program: &Path, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    assert!(
        output.status.success(),
        "{} {args:?}: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

//! A server's processes, which end with the test.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};

/// A child process and all that it starts: killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child }
    }

    /// Whether it is still there.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All processes below it, parents first.
    #[must_use]
    pub fn below(&self) -> Vec<u32> {
        let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|id| Some((id, parent_of(id)?)))
            .collect();
        let mut found = vec![self.child.id()];
        let mut seen = 0;
        while let Some(parent) = found.get(seen).copied() {
            seen += 1;
            found.extend(
                parents
                    .iter()
                    .filter(|(_, of)| *of == parent)
                    .map(|(id, _)| *id),
            );
        }
        found.remove(0);
        found
    }

    /// Sends a signal to everything below it, and to itself when `whole`.
    pub fn signal(&self, signal: Signal, whole: bool) {
        let own = whole.then_some(self.child.id());
        for id in self.below().into_iter().chain(own) {
            if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, signal);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Stopped first, so that it starts nothing new while its children are counted.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::STOP);
        }
        self.signal(Signal::KILL, false);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parent_of(id: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let after = stat.rsplit_once(')')?.1;
    after.split_whitespace().nth(1)?.parse().ok()
}

/// A port on which nobody listens, a moment ago.
///
/// # Panics
/// When the machine has no loopback interface.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("there is a loopback interface")
        .port()
}

/// Where a program is, if it is installed.
#[must_use]
pub fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|path| Path::is_file(path))
}

/// Says that a test has nothing to run on.
///
/// # Panics
/// Under `CI=true`, where everything is there.
pub fn skipped(missing: &str) {
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{missing}, and CI must not skip this test"
    );
    eprintln!("SKIPPED: {missing}");
}

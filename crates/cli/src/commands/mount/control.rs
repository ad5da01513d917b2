//! The control socket: how `umount` asks the process behind a drive to end, and hears what was lost.
//!
//! An abstract socket named after the mount point: nothing is left behind by a killed process. Both sides check that the
//! other one is run by the same user or by root.

use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// What was lost when a drive was unmounted.
#[derive(Default, Serialize, Deserialize)]
pub struct Report {
    /// The files whose last changes could not be saved.
    pub lost: Vec<LostFile>,
    /// Whether programs still used the drive and were cut off.
    pub forced: bool,
}

/// A file whose last changes could not be saved.
#[derive(Serialize, Deserialize)]
pub struct LostFile {
    /// Its path.
    pub path: String,
    /// Why.
    pub why: String,
}

/// The process's end of the socket.
pub struct Control {
    listener: UnixListener,
    request: Vec<u8>,
    /// Those who asked and wait for the report.
    waiting: Vec<UnixStream>,
}

impl Control {
    /// Listens for whoever wants to unmount this folder.
    pub fn listen(dir: &Path) -> io::Result<Self> {
        let listener = StdListener::bind_addr(&address(dir)?)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            request: request(dir),
            waiting: Vec::new(),
        })
    }

    /// Ends when somebody who may ask has asked.
    pub async fn asked(&mut self) {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(_) => {
                    // Out of file descriptors, say; later it may go again.
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    continue;
                }
            };
            if !is_one_of_us(&stream) {
                continue;
            }
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            let patience = std::time::Duration::from_secs(2);
            let read = tokio::time::timeout(patience, stream.read_until(b'\n', &mut line)).await;
            if matches!(read, Ok(Ok(_))) && line == self.request {
                self.waiting.push(stream.into_inner());
                return;
            }
        }
    }

    /// Tells everybody who asked what was lost.
    pub async fn answer(mut self, report: &Report) {
        // Whoever has asked meanwhile, too.
        while let Ok(Ok((stream, _))) =
            tokio::time::timeout(std::time::Duration::from_millis(1), self.listener.accept()).await
        {
            if is_one_of_us(&stream) {
                self.waiting.push(stream);
            }
        }
        let Ok(mut line) = serde_json::to_string(report) else {
            return;
        };
        line.push('\n');
        for mut stream in self.waiting {
            let _ = stream.write_all(line.as_bytes()).await;
        }
    }

    /// Whether somebody listens for whoever wants to unmount this folder.
    pub fn is_there(dir: &Path) -> bool {
        address(dir)
            .and_then(|address| StdStream::connect_addr(&address))
            .is_ok()
    }

    /// Asks the process behind the drive to save and unmount, and waits for its report and its end: until then the
    /// catalogue beside the vault file is still being closed. `None` when there is no such process.
    pub async fn ask(dir: &Path) -> Option<Result<Report, String>> {
        let stream = StdStream::connect_addr(&address(dir).ok()?).ok()?;
        stream.set_nonblocking(true).ok()?;
        let stream = UnixStream::from_std(stream).ok()?;
        is_one_of_us(&stream).then_some(())?;
        let process = socket_peercred(&stream)
            .and_then(|peer| pidfd_open(peer.pid, PidfdFlags::empty()))
            .ok();
        let report = converse(stream, &request(dir)).await;
        if let (Ok(_), Some(process)) = (&report, process) {
            // What it had to say it has said: how this wait ends changes nothing.
            let _ = tokio::task::spawn_blocking(move || ended(&process)).await;
        }
        Some(report.map_err(|error| error.to_string()))
    }
}

/// Waits until a process has ended, for 10 seconds at most.
fn ended(process: &OwnedFd) {
    let limit = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    let _ = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit));
}

async fn converse(mut stream: UnixStream, request: &[u8]) -> io::Result<Report> {
    stream.write_all(request).await?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_str(&line)?)
}

/// Whether the process at the other end is run by our user or by root, or we are root.
fn is_one_of_us(stream: &UnixStream) -> bool {
    let me = rustix::process::geteuid();
    socket_peercred(stream).is_ok_and(|peer| peer.uid == me || peer.uid.is_root() || me.is_root())
}

/// The socket's name. Two folders could in theory have one name, so the request says which is meant.
fn address(dir: &Path) -> io::Result<SocketAddr> {
    // FNV-1a: the same in every build, and nothing rests on its strength.
    let digest = dir
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| {
            (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    SocketAddr::from_abstract_name(format!("warifu-drive-{digest:016x}"))
}

/// What is sent by whoever wants to unmount.
fn request(dir: &Path) -> Vec<u8> {
    let escaped: String = dir
        .as_os_str()
        .as_bytes()
        .iter()
        .map(|byte| byte.escape_ascii().to_string())
        .collect();
    format!("umount {escaped}\n").into_bytes()
}

/// The mount point's one name: absolute and without links, also where the drive in it has died and answers no more.
pub fn place(dir: &Path) -> PathBuf {
    if let Ok(place) = dir.canonicalize() {
        return place;
    }
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    match (
        absolute
            .parent()
            .and_then(|parent| parent.canonicalize().ok()),
        absolute.file_name(),
    ) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => absolute,
    }
}

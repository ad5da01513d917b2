//! `run`: a program that can write to the drive and to RAM, and nowhere else.
//!
//! Two processes of this program. The first moves into a tree of its own, mounts the drive there, and starts the second, which
//! moves into another one, shuts itself in, and becomes the program. The first waits until everything in there has ended: then
//! the kernel itself takes the drive away.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use warifu_mount::{Enclosure, EnclosureError};

use super::mount::{Wish, attach};
use crate::args;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{note, shown, shown_text};
use crate::words::{say, set_vault, words};

/// What must be done while the process has one thread. In the second process it does not return when all goes well.
pub fn begin(args: &args::Run) -> Result<(), Failure> {
    set_vault(&args.vault);
    match &args.inside {
        None => warifu_mount::own_tree().map_err(|error| failure(&error)),
        Some(drive) => Err(become_program(args, drive)),
    }
}

/// Shuts this process in and becomes the program; or tells why not.
fn become_program(args: &args::Run, drive: &Path) -> Failure {
    let Some((program, arguments)) = args.program.split_first() else {
        return Failure::interrupted();
    };
    let name = args.vault.file_stem().unwrap_or(OsStr::new("warifu"));
    let mut enclosure = Enclosure::new(drive, name);
    enclosure.network = !args.no_network;
    let enclosed = match enclosure.close() {
        Ok(enclosed) => enclosed,
        Err(error) => return failure(&error),
    };
    let error = std::process::Command::new(program)
        .args(arguments)
        .envs(enclosed.environment)
        .current_dir(&enclosed.drive)
        .exec();
    let program = shown(program.as_encoded_bytes());
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            Exit::NotFound,
            say!("run-not-found", program = program),
            say!("run-not-found-next"),
        ),
        _ => Failure::new(
            Exit::Failed,
            say!(
                "run-not-started",
                program = program,
                detail = shown_text(&error.to_string())
            ),
            say!("run-not-started-next"),
        ),
    }
}

fn failure(error: &EnclosureError) -> Failure {
    let detail = shown_text(&error.to_string());
    match error {
        EnclosureError::NoNamespaces { source } => Failure::new(
            Exit::NoMount,
            say!(
                "run-no-namespaces",
                detail = shown_text(&source.to_string())
            ),
            say!("run-no-namespaces-next"),
        ),
        EnclosureError::NoLandlock => Failure::new(
            Exit::NoMount,
            say!("run-no-landlock"),
            say!("run-no-landlock-next"),
        ),
        _ => Failure::new(
            Exit::NoMount,
            say!("run-failed", detail = detail),
            say!("run-failed-next"),
        ),
    }
}

/// Mounts the drive, runs the program, and ends with its exit code; 128 and the signal's number where a signal ended it.
pub async fn run(args: args::Run) -> Result<ExitCode, Failure> {
    // From here on no signal ends this process, and none is lost: the program gets them.
    let mut signals = Signals::listen()?;
    let dir = mount_point()?;
    let wish = Wish {
        vault: args.vault.clone(),
        dir: dir.path().to_owned(),
        allow_other: false,
        read_only: args.read_only,
        at: None,
        allow_swap: args.allow_swap,
        memory_limit: args.memory_limit,
    };
    let served = tokio::select! {
        served = attach(wish, dir.path()) => served?,
        // There is no program yet that could be told.
        () = signals.any() => return Err(Failure::interrupted()),
    };
    let status = match spawn(&args, dir.path()) {
        Ok(child) => attend(child, &mut signals).await,
        Err(error) => Err(error),
    };
    // Taken away here, the drive still is where the program's processes see it, until the last of them has ended.
    let place = dir.path().to_owned();
    let _ = tokio::task::spawn_blocking(move || warifu_mount::umount(&place)).await;
    let ended = served
        .until(async {
            tokio::select! {
                () = signals.any() => {}
                () = patience() => {}
            }
        })
        .await;
    let status = status?;
    if !ended.unsaved.is_empty() {
        return Err(Failure::lost(&ended.unsaved));
    }
    Ok(ExitCode::from(code(status)))
}

/// An empty folder to mount on, in RAM where there is such a place. Only this process and the program see what is on it.
fn mount_point() -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("warifu-");
    builder
        .tempdir_in("/dev/shm")
        .or_else(|_| builder.tempdir())
}

fn spawn(args: &args::Run, dir: &Path) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("run")
        .arg(&args.vault)
        .arg("--inside")
        .arg(dir)
        .args(["--lang", words().lang().as_str()]);
    if args.no_network {
        command.arg("--no-network");
    }
    command
        .arg("--")
        .args(&args.program)
        .stdin(Stdio::inherit())
        .spawn()
}

/// Waits for the program, and hands on to it what signals come meanwhile.
async fn attend(mut child: Child, signals: &mut Signals) -> io::Result<ExitStatus> {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    loop {
        tokio::select! {
            status = child.wait() => return status,
            sent = signals.next() => {
                // It is our child and not yet waited for, so the number is still its own.
                if let Some(pid) = pid {
                    let _ = kill_process(pid, sent);
                }
            }
        }
    }
}

/// Says what is waited for, once, and then waits for ever.
async fn patience() {
    tokio::time::sleep(Duration::from_secs(3)).await;
    if !crate::quiet() {
        note(&say!("run-still"));
    }
    std::future::pending::<()>().await;
}

fn code(status: ExitStatus) -> u8 {
    let number = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// The signals that are handed on.
struct Signals {
    listening: Vec<(Signal, tokio::signal::unix::Signal)>,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let kinds = [
            (Signal::INT, SignalKind::interrupt()),
            (Signal::QUIT, SignalKind::quit()),
            (Signal::TERM, SignalKind::terminate()),
            (Signal::HUP, SignalKind::hangup()),
            (Signal::USR1, SignalKind::user_defined1()),
            (Signal::USR2, SignalKind::user_defined2()),
        ];
        let listening = kinds
            .into_iter()
            .map(|(sent, kind)| Ok((sent, signal(kind)?)))
            .collect::<io::Result<_>>()?;
        Ok(Self { listening })
    }

    /// The next signal that the program must be sent.
    async fn next(&mut self) -> Signal {
        loop {
            let sent = self.any_of().await;
            // What is typed at a terminal goes to all in the foreground: the program has it already.
            if matches!(sent, Signal::INT | Signal::QUIT) && in_the_foreground() {
                continue;
            }
            return sent;
        }
    }

    async fn any(&mut self) {
        self.any_of().await;
    }

    async fn any_of(&mut self) -> Signal {
        std::future::poll_fn(|cx| {
            for (sent, listener) in &mut self.listening {
                if listener.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*sent);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// Whether this process is in the foreground of a terminal.
fn in_the_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else {
        return false;
    };
    rustix::termios::tcgetpgrp(&terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

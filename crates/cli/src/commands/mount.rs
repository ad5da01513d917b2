//! `mount` and `umount`: the drive, and the process behind it.
//!
//! `mount` starts the program once more in the background and waits until the drive answers; what goes wrong before that
//! comes back over the child's standard output. `umount` talks to that process over a [control socket](control), so that
//! what could not be saved is told by name to the person who unmounts. It is never written to a file: names are secret.

mod control;
pub mod ram;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use sd_notify::NotifyState;
use serde::{Deserialize, Serialize};
use warifu::core::secret::Secret;
use warifu::store::StoreUrl;
use warifu::ways::{WayAnswer, WayId, WayKey};
use warifu::{Timestamp, VaultFile, Warifu};
use zeroize::Zeroizing;

use warifu_mount::{Ended, Mount, MountError, MountOptions, Mounted, UmountError};

use self::control::{Control, LostFile, Report};
use self::ram::Exposure;
use super::{Done, open_with};
use crate::args;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{JsonName, json, note, print, shell_word, shown_path, shown_text, utc_time};
use crate::unlocking::{forget, give, keyring, opening, secret_line};
use crate::when;
use crate::words::{say, set_vault, words};

/// How many MiB a process needs beside the contents of files: shares on their way, the kernel's requests, the program itself.
const BESIDE: u32 = 176;

/// How a drive is to be mounted.
pub struct Wish {
    pub vault: PathBuf,
    pub dir: PathBuf,
    pub allow_other: bool,
    pub read_only: bool,
    /// As it was at this time.
    pub at: Option<Timestamp>,
    /// Whether plain swap is no reason to refuse.
    pub allow_swap: bool,
    /// How many MiB of RAM the process may use.
    pub memory_limit: Option<u32>,
}

/// What the background process says to its parent, once.
#[derive(Serialize, Deserialize)]
enum Word {
    Ready,
    Failed {
        exit: u8,
        what: String,
        details: Vec<String>,
        next: String,
    },
}

pub async fn run(args: args::Mount) -> Done {
    set_vault(&args.vault);
    let wish = Wish {
        vault: args.vault,
        dir: args.dir,
        allow_other: args.allow_other,
        read_only: args.read_only || args.at.is_some(),
        at: when::past(args.at.as_ref())?,
        allow_swap: args.allow_swap,
        memory_limit: args.memory_limit,
    };
    if args.background_child {
        return background(wish).await;
    }
    if args.foreground {
        if !crate::quiet() {
            crate::log::to_stderr();
        }
        let served = serve(wish, |dir| {
            // Heard by systemd where a unit of type notify started this, and by nobody otherwise.
            let _ = sd_notify::notify(&[NotifyState::Ready]);
            if !crate::quiet() {
                note(&say!("mounted-foreground", dir = shown_path(dir)));
            }
        })
        .await;
        return served.and_then(|ended| told(&ended));
    }
    let dir = start(wish).await?;
    if !crate::quiet() {
        print(&format!(
            "{}\n",
            say!(
                "mounted",
                dir = shown_path(&dir),
                command = umount_command(&dir)
            )
        ))?;
    }
    Ok(Exit::Ok)
}

/// The command that unmounts a drive.
fn umount_command(dir: &Path) -> String {
    format!(
        "{} umount {}",
        crate::words::program(),
        shell_word(dir.as_os_str())
    )
}

/// Starts a process in the background that serves the drive; returns when the drive answers.
pub async fn start(wish: Wish) -> Result<PathBuf, Failure> {
    let dir = control::place(&wish.dir);
    let shown_dir = wish.dir.clone();
    // The process in the background has no terminal: whoever must be asked for a way in is asked here.
    let way = Warifu::find_way(&wish.vault, &keyring()).await;
    let way = way.map_err(Failure::opening)?.as_ref().and_then(as_line);
    let work = move || -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(
                Exit::Failed,
                say!("background-failed", detail = shown_text(&error.to_string())),
                say!("background-failed-next"),
            )
        };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command
            .arg("mount")
            .arg(std::path::absolute(&wish.vault).map_err(failed)?)
            .arg(&dir);
        command.args(["--background-child", "--lang", words().lang().as_str()]);
        if wish.allow_other {
            command.arg("--allow-other");
        }
        if wish.read_only {
            command.arg("--read-only");
        }
        if let Some(at) = wish.at {
            // To the nanosecond: "2 hours ago" would be another time for the other process.
            command.args(["--at", &utc_time(at)]);
        }
        if wish.allow_swap {
            command.arg("--allow-swap");
        }
        if let Some(limit) = wish.memory_limit {
            command.args(["--memory-limit", &limit.to_string()]);
        }
        if crate::quiet() {
            command.arg("--quiet");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .current_dir("/")
            .spawn()
            .map_err(failed)?;
        if let (Some(mut to), Some(line)) = (child.stdin.take(), &way) {
            // A child that died already says why.
            let _ = to.write_all(line.as_bytes());
        }
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line).map_err(failed)?;
        }
        match serde_json::from_str(&line) {
            Ok(Word::Ready) => Ok(()),
            Ok(Word::Failed {
                exit,
                what,
                details,
                next,
            }) => {
                let _ = child.wait();
                Err(Failure {
                    exit: Exit::of_code(exit),
                    what,
                    details,
                    next,
                })
            }
            Err(_) => {
                let detail = child
                    .wait()
                    .map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(Failure::new(
                    Exit::Failed,
                    say!("background-failed", detail = detail),
                    say!("background-failed-next"),
                ))
            }
        }
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|lost| Err(std::io::Error::other(lost).into()))?;
    Ok(shown_dir)
}

/// Whether a process of ours serves a drive there.
pub fn is_served(dir: &Path) -> bool {
    Control::is_there(&control::place(dir))
}

/// The key of a way, for the process in the background.
fn as_line(answer: &WayAnswer) -> Option<Zeroizing<String>> {
    let WayAnswer::Key { way, key } = answer else {
        return None;
    };
    let mut line = Zeroizing::new(String::with_capacity(128));
    let _ = write!(line, "{way} ");
    for byte in key.expose() {
        let _ = write!(line, "{byte:02x}");
    }
    line.push('\n');
    Some(line)
}

/// Takes what the process in front has found out of the way in.
fn take_way() {
    let Some(line) = secret_line() else { return };
    let Some((way, digits)) = line.trim().split_once(' ') else {
        return;
    };
    let key = Secret::<32>::filled(|out| {
        for (byte, pair) in out.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| ())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ())?;
        }
        Ok::<(), ()>(())
    });
    if let (Ok(way), Ok(key), 64) = (way.parse(), key, digits.len()) {
        let (way, key) = (WayId(way), WayKey::from_secret(key));
        give(WayAnswer::Key { way, key });
    }
}

/// The process in the background.
async fn background(wish: Wish) -> Done {
    take_way();
    // A session of its own: closing the terminal does not end the drive.
    let _ = rustix::process::setsid();
    let served = serve(wish, |_| {
        tell(&Word::Ready);
        let_go();
    })
    .await;
    match served {
        Ok(ended) if ended.unsaved.is_empty() => Ok(Exit::Ok),
        // Whoever unmounted has been told; nobody reads our standard error any more.
        Ok(_) => Ok(Exit::Lost),
        Err(failure) => {
            let exit = failure.exit;
            tell(&Word::Failed {
                exit: exit.code(),
                what: failure.what,
                details: failure.details,
                next: failure.next,
            });
            Ok(exit)
        }
    }
}

fn tell(word: &Word) {
    let mut out = std::io::stdout().lock();
    if let Ok(line) = serde_json::to_string(word) {
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

/// Lets go of the terminal and of the pipe to the parent.
fn let_go() {
    if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}

/// A drive that is mounted, for as long as this lives.
pub struct Served {
    drive: Mounted,
    /// It follows the servers to new places, and sends the log to others, for as long as it is there.
    warifu: Arc<Warifu>,
    _watch: ram::Watch,
}

impl Served {
    /// Serves the drive until it is taken away or `stop` ends, saves, and says what could not be.
    pub async fn until(self, stop: impl Future<Output = ()>) -> Ended {
        let mut ended = self.drive.until(stop).await;
        ended.unsaved.append(&mut self.warifu.close().await);
        ended
    }
}

/// Opens the vault and mounts the drive.
pub async fn attach(wish: Wish, dir: &Path) -> Result<Served, Failure> {
    // Before there is a key in RAM.
    let exposure = Exposure::look();
    // What is wrong with the vault file is told when it is opened.
    let rule = VaultFile::read(&wish.vault).map_or_else(|_| Default::default(), |file| file.memory);
    let overridden = exposure.judge(rule, wish.allow_swap)?;
    let mut opening = opening().read_only(wish.read_only).at(wish.at);
    if let Some(limit) = wish.memory_limit {
        let contents = usize::try_from(limit.saturating_sub(BESIDE)).unwrap_or(usize::MAX);
        opening = opening.memory_limit(contents.saturating_mul(1 << 20));
    }
    let warifu = open_with(&wish.vault, opening).await?;
    // The drive may be there for months, and nobody is asked again.
    forget();
    if let Some(detail) = overridden {
        // What nobody would ever hear of is not done.
        if let Err(error) = warifu.vault().attach(warifu.context(), &detail).await {
            warifu.close().await;
            return Err(Failure::vault(&error, &say!("the-vault")));
        }
    }
    let mut options = MountOptions::new(dir);
    options.allow_other = wish.allow_other;
    options.read_only = wish.read_only;
    options.keep_out = own_folders(&warifu);
    let drive = match Mount::new(
        warifu.vault().clone(),
        options,
        tokio::runtime::Handle::current(),
    )
    .await
    {
        Ok(drive) => drive,
        Err(error) => {
            warifu.close().await;
            return Err(mount_failure(&error, dir));
        }
    };
    let _watch = ram::Watch::begin(&warifu, exposure);
    Ok(Served {
        drive,
        warifu,
        _watch,
    })
}

/// Mounts the drive, serves it until somebody wants it to end, saves, and returns what became of it.
async fn serve(wish: Wish, ready: impl FnOnce(&Path)) -> Result<Ended, Failure> {
    let dir = control::place(&wish.dir);
    let served = attach(wish, &dir).await?;
    // Without it the drive works too; only the report of an unmount has nowhere to go.
    let mut control = Control::listen(&dir).ok();
    ready(&dir);
    let ended = served
        .until(async {
            tokio::select! {
                () = crate::stop::requested() => {}
                () = asked(control.as_mut()) => {}
            }
        })
        .await;
    if let Some(control) = control {
        control.answer(&report(&ended)).await;
    }
    Ok(ended)
}

/// The folders of the vault itself, which a drive must neither lie in nor cover.
fn own_folders(warifu: &Warifu) -> Vec<PathBuf> {
    let base = warifu.path().parent().unwrap_or(Path::new("/"));
    let servers = warifu.file().servers.iter().filter_map(|server| {
        match StoreUrl::parse(&server.url, base) {
            Ok(StoreUrl::Directory(path)) => Some(path),
            _ => None,
        }
    });
    servers.collect()
}

/// Ends when somebody asks over the control socket.
async fn asked(control: Option<&mut Control>) {
    match control {
        Some(control) => control.asked().await,
        None => std::future::pending().await,
    }
}

fn report(ended: &Ended) -> Report {
    let lost = ended
        .unsaved
        .iter()
        .map(|unsaved| LostFile {
            path: unsaved.path.clone(),
            why: Failure::vault(&unsaved.error, &shown_text(&unsaved.path)).what,
        })
        .collect();
    Report {
        lost,
        forced: ended.forced,
    }
}

/// How a drive ended, told to whoever was there.
fn told(ended: &Ended) -> Done {
    if ended.forced && !crate::quiet() {
        note(&say!("umount-forced"));
    }
    if ended.unsaved.is_empty() {
        Ok(Exit::Ok)
    } else {
        Err(Failure::lost(&ended.unsaved))
    }
}

pub fn mount_failure(error: &MountError, dir: &Path) -> Failure {
    let path = shown_path(dir);
    match error {
        MountError::NoDevice => Failure::new(
            Exit::NoMount,
            say!("mount-no-device"),
            say!("mount-no-device-next"),
        ),
        MountError::DeviceDenied => Failure::new(
            Exit::NoMount,
            say!("mount-denied"),
            say!("mount-denied-next"),
        ),
        MountError::NoHelper => Failure::new(
            Exit::NoMount,
            say!("mount-no-helper"),
            say!("mount-no-helper-next"),
        ),
        MountError::AllowOtherDenied => Failure::new(
            Exit::NoMount,
            say!("mount-allow-other"),
            say!("mount-allow-other-next"),
        ),
        MountError::NoSuchDir { .. } => Failure::new(
            Exit::NotFound,
            say!("mount-not-found", dir = path),
            say!("mount-not-found-next", dir = shell_word(dir.as_os_str())),
        ),
        MountError::NotADir { .. } => Failure::new(
            Exit::Usage,
            say!("mount-not-a-folder", dir = path),
            say!("mount-not-a-folder-next"),
        ),
        MountError::NotEmpty { .. } => Failure::new(
            Exit::Usage,
            say!("mount-not-empty", dir = path),
            say!("mount-not-empty-next"),
        ),
        MountError::AlreadyMounted { .. } => Failure::new(
            Exit::Exists,
            say!("mount-taken", dir = path),
            say!("mount-taken-next", dir = shell_word(dir.as_os_str())),
        ),
        MountError::InsideServer { .. } => Failure::new(
            Exit::Usage,
            say!("mount-inside", dir = path),
            say!("mount-inside-next"),
        ),
        MountError::Vault(error) => Failure::vault(error, &say!("the-vault")),
        MountError::Refused { .. } | MountError::Handshake(_) => Failure::new(
            Exit::NoMount,
            say!(
                "mount-failed",
                dir = path,
                detail = shown_text(&error.to_string())
            ),
            say!("mount-failed-next"),
        ),
        other => Failure::new(
            Exit::Failed,
            say!(
                "mount-failed",
                dir = path,
                detail = shown_text(&other.to_string())
            ),
            say!("mount-failed-next"),
        ),
    }
}

fn umount_failure(error: &UmountError, dir: &Path) -> Failure {
    let path = shown_path(dir);
    match error {
        UmountError::NotADrive { .. } => Failure::new(
            Exit::NotFound,
            say!("umount-not-mounted", dir = path),
            say!("umount-not-mounted-next"),
        ),
        UmountError::Busy { .. } => Failure::new(
            Exit::Failed,
            say!("umount-busy", dir = path),
            say!("umount-busy-next"),
        ),
        UmountError::NoHelper => Failure::new(
            Exit::NoMount,
            say!("mount-no-helper"),
            say!("mount-no-helper-next"),
        ),
        other => Failure::new(
            Exit::Failed,
            say!(
                "umount-failed",
                dir = path,
                detail = shown_text(&other.to_string())
            ),
            say!("umount-busy-next"),
        ),
    }
}

#[derive(Serialize)]
struct JsonReport {
    unmounted: bool,
    /// Whether programs still used the drive and were cut off.
    forced: bool,
    lost: Vec<JsonLost>,
}

#[derive(Serialize)]
struct JsonLost {
    #[serde(flatten)]
    name: JsonName,
    why: String,
}

pub async fn umount(args: args::Umount) -> Done {
    let dir = control::place(&args.dir);
    let report = match Control::ask(&dir).await {
        Some(report) => report.map_err(|detail| {
            Failure::new(
                Exit::Failed,
                say!(
                    "umount-no-report",
                    dir = shown_path(&dir),
                    detail = shown_text(&detail)
                ),
                say!("umount-no-report-next"),
            )
        })?,
        None => {
            let place = dir.clone();
            let done = tokio::task::spawn_blocking(move || warifu_mount::umount(&place)).await;
            match done {
                Ok(Ok(())) => Report::default(),
                Ok(Err(error)) => return Err(umount_failure(&error, &dir)),
                Err(lost) => return Err(std::io::Error::other(lost).into()),
            }
        }
    };
    if args.json {
        let lost = report
            .lost
            .iter()
            .map(|lost| JsonLost {
                name: JsonName::new(lost.path.as_bytes()),
                why: lost.why.clone(),
            })
            .collect();
        json(&JsonReport {
            unmounted: true,
            forced: report.forced,
            lost,
        })?;
    }
    if report.forced && !crate::quiet() {
        note(&say!("umount-forced"));
    }
    if !report.lost.is_empty() {
        let lines = report
            .lost
            .iter()
            .map(|lost| format!("{}: {}", shown_text(&lost.path), shown_text(&lost.why)));
        return Err(Failure::new(
            Exit::Lost,
            say!("lost", files = report.lost.len()),
            say!("lost-next"),
        )
        .with(lines));
    }
    if !args.json && !crate::quiet() {
        print(&format!(
            "{}\n",
            say!("unmounted", dir = shown_path(&args.dir))
        ))?;
    }
    Ok(Exit::Ok)
}

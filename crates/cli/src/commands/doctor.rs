//! `doctor`: looks over this machine, and a vault, and says of each thing that is not as it should be what to do.
//!
//! It changes nothing. What cannot be told counts as neither good nor bad, and is said.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde::Serialize;
use warifu::ways::WaysStatus;
use warifu::{VaultFile, VaultFileError};

use super::mount::ram::Exposure;
use super::{Done, open, status};
use crate::args;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{json, print, shown_path, shown_text, size};
use crate::words::{say, set_vault};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Good,
    /// Works, and should be seen to.
    Care,
    /// Does not work.
    Bad,
    /// Cannot be told from here.
    Unknown,
}

/// One thing looked at.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    /// Its name for programs.
    check: &'static str,
    state: State,
    what: String,
    /// What to do; empty where nothing is.
    next: String,
}

impl Finding {
    fn new(check: &'static str, state: State, what: String, next: String) -> Self {
        Self {
            check,
            state,
            what,
            next,
        }
    }

    fn good(check: &'static str, what: String) -> Self {
        Self::new(check, State::Good, what, String::new())
    }

    fn of(check: &'static str, state: State, failure: Failure) -> Self {
        let what = [vec![failure.what], failure.details].concat().join(" ");
        Self::new(check, state, what, failure.next)
    }
}

#[derive(Serialize)]
struct JsonDoctor<'a> {
    version: &'static str,
    kernel: String,
    checks: &'a [Finding],
}

pub async fn run(args: args::Doctor) -> Done {
    let mut findings = vec![drive(), swap(), memory(), clock()];
    if let Some(path) = &args.vault {
        set_vault(path);
        vault(path, &mut findings).await;
    }
    let kernel = shown_text(rustix::system::uname().release().to_string_lossy().as_ref());
    if args.json {
        json(&JsonDoctor {
            version: env!("CARGO_PKG_VERSION"),
            kernel,
            checks: &findings,
        })?;
    } else {
        show(&kernel, &findings)?;
    }
    let well = findings
        .iter()
        .all(|finding| matches!(finding.state, State::Good | State::Unknown));
    Ok(if well { Exit::Ok } else { Exit::Care })
}

fn show(kernel: &str, findings: &[Finding]) -> Result<(), Failure> {
    let mut text = format!(
        "{}\n",
        say!(
            "doctor-versions",
            version = env!("CARGO_PKG_VERSION"),
            kernel = kernel
        )
    );
    for finding in findings {
        let state = match finding.state {
            State::Good => say!("doctor-good"),
            State::Care => say!("doctor-care"),
            State::Bad => say!("doctor-bad"),
            State::Unknown => say!("doctor-unknown"),
        };
        text.push_str(&format!("  [{state}] {}\n", finding.what));
        if !finding.next.is_empty() {
            text.push_str(&format!(
                "      {}\n",
                say!("next", next = finding.next.as_str())
            ));
        }
    }
    Ok(print(&text)?)
}

/// Whether a drive can be mounted here by this user.
fn drive() -> Finding {
    match warifu_mount::can_mount() {
        Ok(()) => Finding::good("drive", say!("doctor-drive")),
        Err(error) => Finding::of(
            "drive",
            State::Bad,
            super::mount::mount_failure(&error, Path::new("")),
        ),
    }
}

/// Whether what is in RAM can get onto a disk.
fn swap() -> Finding {
    match Exposure::look().swap() {
        Some(failure) => Finding::of("swap", State::Bad, failure),
        None => Finding::good("swap", say!("doctor-swap")),
    }
}

/// Whether memory can be locked, in case somebody turns swap on later.
fn memory() -> Finding {
    match Exposure::look().lock_failure() {
        Some(failure) => Finding::of("memory-lock", State::Care, failure),
        None => Finding::good("memory-lock", say!("doctor-memory")),
    }
}

/// Whether this machine's clock is set by others. No version depends on it; times in the audit log do.
fn clock() -> Finding {
    let answer = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .output();
    let said = answer.ok().filter(|answer| answer.status.success());
    match said.as_ref().map(|said| said.stdout.trim_ascii()) {
        Some(b"yes") => Finding::good("clock", say!("doctor-clock")),
        Some(b"no") => Finding::new(
            "clock",
            State::Care,
            say!("doctor-clock-alone"),
            say!("doctor-clock-next"),
        ),
        _ => Finding::new(
            "clock",
            State::Unknown,
            say!("doctor-clock-unknown"),
            String::new(),
        ),
    }
}

async fn vault(path: &Path, findings: &mut Vec<Finding>) {
    let file = match VaultFile::read(path) {
        Ok(file) => file,
        Err(error) => return findings.push(unreadable(error)),
    };
    findings.push(vault_file(path));
    findings.extend(catalogue(&file.catalog_path(path)));
    // Reading only: a doctor pays no debts and sweeps nothing.
    let warifu = match open(path, true).await {
        Ok(warifu) => warifu,
        Err(failure) => return findings.push(Finding::of("open", State::Bad, failure)),
    };
    let found = warifu.vault().status_with(warifu.context(), 0).await;
    match found {
        Err(error) => findings.push(Finding::of(
            "servers",
            State::Bad,
            Failure::vault(&error, &say!("the-vault")),
        )),
        Ok(found) => {
            let (k, n) = (found.threshold.k(), found.threshold.n());
            let problems = status::problems(&found);
            if problems.is_empty() {
                findings.push(Finding::good(
                    "servers",
                    say!("doctor-servers", k = k, n = n),
                ));
            }
            for problem in problems {
                let state = if found.spare < 0 {
                    State::Bad
                } else {
                    State::Care
                };
                let what = match problem.server {
                    Some(server) => status::server_line(&warifu, server).trim().to_owned(),
                    None => say!("doctor-vault-needs-care"),
                };
                findings.push(Finding::new(problem.key, state, what, problem.next));
            }
        }
    }
    findings.push(ways(&warifu.vault().ways().await));
    warifu.close().await;
}

/// What it takes to open the vault, and whether every server has what counts.
fn ways(status: &WaysStatus) -> Finding {
    let what = super::way::told(status);
    let what = what.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    if status.begun || status.unknown || !status.faults.is_empty() {
        return Finding::new("ways", State::Care, what, say!("doctor-ways-next"));
    }
    Finding::good("ways", what)
}

fn unreadable(error: VaultFileError) -> Finding {
    Finding::of("vault-file", State::Bad, Failure::vault_file(&error))
}

/// Whoever may change the vault file may send a save wherever they like.
fn vault_file(path: &Path) -> Finding {
    let shown = shown_path(path);
    let others_write =
        fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o022 != 0);
    if others_write {
        return Finding::new(
            "vault-file",
            State::Care,
            say!("doctor-vault-file-open", path = shown),
            say!("doctor-vault-file-open-next"),
        );
    }
    Finding::good("vault-file", say!("doctor-vault-file", path = shown))
}

/// File systems that SQLite's shared memory does not reach across, by the kernel's numbers for them (`statfs(2)`).
const NETWORK: [(u64, &str); 6] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x00c3_6400, "Ceph"),
    (0x6573_5546, "FUSE"),
];

/// So little room and a catalogue soon cannot grow.
const SMALL: u64 = 256 << 20;

/// Where the catalogue lies. One that a database server keeps has no folder here.
fn catalogue(path: &Path) -> Option<Finding> {
    let folder = path.parent()?;
    if !path.exists() {
        // Said by whoever opens the vault, with what to do.
        return None;
    }
    let found = rustix::fs::statfs(folder).ok()?;
    #[expect(
        clippy::cast_sign_loss,
        reason = "the kernel's numbers are bits, and of another type on other machines"
    )]
    let kind = (found.f_type as u64) & 0xffff_ffff;
    let shown = shown_path(folder);
    if let Some((_, kind)) = NETWORK.iter().find(|(number, _)| *number == kind) {
        return Some(Finding::new(
            "catalogue",
            State::Bad,
            say!("doctor-catalogue-network", dir = shown, kind = *kind),
            say!("doctor-catalogue-network-next"),
        ));
    }
    let block = u64::try_from(found.f_bsize).unwrap_or(0);
    let free = found.f_bavail.saturating_mul(block);
    if free < SMALL {
        return Some(Finding::new(
            "catalogue",
            State::Care,
            say!("doctor-catalogue-room", dir = shown, free = size(free)),
            say!("doctor-catalogue-room-next"),
        ));
    }
    Some(Finding::good(
        "catalogue",
        say!("doctor-catalogue", dir = shown, free = size(free)),
    ))
}

//! `status`: how the servers are, which files are not at full strength, and what is to be done.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use warifu::ways::WaysStatus;
use warifu::{
    Breaker, Condition, Fault, FolderStatus, Scheme, ServerState, ServerStatus, Status, Timestamp,
    Warifu,
};

use super::folder::{self, JsonFolder};
use super::open_files::open_files;
use super::refresh::{JsonGenerations, generation_lines, left_next};
use super::way::{self, JsonWays};
use super::{Done, metrics, with_vault};
use crate::args;
use crate::exit::Exit;
use crate::failure::{Failure, fault};
use crate::output::{fault_key, json, local_time, print, shown, shown_text, size, utc_time};
use crate::words::{say, set_vault};

// What the fields mean stands in JSON.md, and a test holds the two together.

#[derive(Serialize)]
struct JsonStatus {
    k: u8,
    n: u8,
    scheme: &'static str,
    spare: i32,
    folder_thresholds: Vec<JsonFolderStatus>,
    servers: Vec<JsonServer>,
    files: u64,
    folders: u64,
    bytes: u64,
    versions: u64,
    degraded_extents: u64,
    owed_shares: u64,
    open_saves: u64,
    unsettled: u64,
    journal_behind_since: Option<String>,
    weak: JsonWeak,
    generations: JsonGenerations,
    ways: JsonWays,
    /// Files that have fewer than k good shares within reach once one more server goes.
    lost_with_one_more: u64,
    problems: Vec<JsonProblem>,
}

#[derive(Serialize)]
struct JsonFolderStatus {
    #[serde(flatten)]
    folder: JsonFolder,
    files: u64,
    spare: i32,
}

#[derive(Serialize)]
struct JsonServer {
    name: String,
    index: u8,
    state: &'static str,
    reason: Option<&'static str>,
    detail: String,
    breaker: &'static str,
    latency_ms: Option<f64>,
    last_success: Option<String>,
    last_failure: Option<JsonFailure>,
    owed: u64,
    total: Option<u64>,
    free: Option<u64>,
}

#[derive(Serialize)]
struct JsonFailure {
    at: String,
    detail: String,
}

#[derive(Serialize)]
struct JsonWeak {
    files: u64,
    at_risk: u64,
    unreadable: u64,
    journal: Option<i32>,
    named: Vec<JsonWeakFile>,
}

#[derive(Serialize)]
struct JsonWeakFile {
    path: String,
    spare: i32,
    owed: Vec<u8>,
}

#[derive(Serialize)]
struct JsonProblem {
    problem: &'static str,
    server: Option<String>,
    next: String,
}

/// How many of the files below full strength are named to people. All of them are in the JSON.
const NAMED: usize = 5;

pub async fn status(args: args::Status) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, true, |warifu| async move {
        if args.open_files {
            return open_files(&warifu, args.json).await;
        }
        let names = match (args.metrics, args.json) {
            (true, _) => 0,
            (false, true) => usize::MAX,
            (false, false) => NAMED,
        };
        let status = warifu
            .vault()
            .status_with(warifu.context(), names)
            .await
            .map_err(|error| Failure::vault(&error, &say!("the-vault")))?;
        let mut problems = problems(&status);
        if args.metrics {
            let name = warifu.path().file_stem().unwrap_or_default();
            print(&metrics::text(&name.to_string_lossy(), &status))?;
            // What is wrong is in the numbers.
            return Ok(Exit::Ok);
        }
        let ways = warifu.vault().ways().await;
        problems.extend(ways_problem(&ways, &status));
        if args.json {
            let every = warifu.file().refresh.map(|every| every.days);
            json(&json_status(&status, &ways, every, &problems))?;
        } else {
            show(&warifu, &status, &ways, &problems)?;
        }
        let lost = |folder: &FolderStatus| folder.spare < 0 && folder.files > 0;
        let folders = status.folders.iter().any(lost);
        let out_of_reach = status.spare < 0 || folders || status.weak.unreadable > 0;
        Ok(match (out_of_reach, problems.is_empty()) {
            (true, _) => Exit::TooFew,
            (false, false) => Exit::Care,
            (false, true) => Exit::Ok,
        })
    })
    .await
}

/// Something that is to be done.
pub struct Problem<'a> {
    /// Its name for programs.
    pub key: &'static str,
    pub server: Option<&'a ServerStatus>,
    pub next: String,
}

/// What is to be done, what matters most first.
pub fn problems(status: &Status) -> Vec<Problem<'_>> {
    let mut problems = Vec::new();
    let mut order: Vec<&ServerStatus> = status.servers.iter().collect();
    order.sort_by_key(|server| std::cmp::Reverse(rank(server.state.condition())));
    for server in order {
        let (key, next) = match &server.state {
            ServerState::Normal | ServerState::Behind => continue,
            ServerState::Away(Fault::Missing) => ("server-emptied", say!("status-emptied-next")),
            ServerState::Away(Fault::Denied) => ("server-denied", say!("status-denied-next")),
            ServerState::Away(_) => ("server-stopped", say!("status-away-next")),
            ServerState::Full => ("server-full", say!("no-room-next")),
            ServerState::Refusing => ("server-read-only", say!("status-refusing-next")),
            ServerState::Slow => ("server-slow", say!("status-slow-next")),
        };
        problems.push(Problem {
            key,
            server: Some(server),
            next,
        });
    }
    if status.undecided {
        problems.push(Problem {
            key: "rebuild-undecided",
            server: None,
            next: say!("undecided-next", catalog = say!("the-catalogue")),
        });
    }
    if status.usage.owed_shares > 0 {
        problems.push(Problem {
            key: "shares-owed",
            server: None,
            next: say!("status-owed-next"),
        });
    }
    if !status.generations.is_complete() {
        let away = |server: &ServerStatus| server.state.condition() == Condition::Stopped;
        let away = status.servers.iter().any(away);
        problems.push(Problem {
            key: match status.generations.change {
                Some(_) => "threshold-unfinished",
                None if status.generations.is_of_folders() => "folders-unlike",
                None => "refresh-unfinished",
            },
            server: None,
            next: left_next(&status.generations, 0, away),
        });
    }
    if status.journal_behind_since.is_some() {
        problems.push(Problem {
            key: "journal-behind",
            server: None,
            next: say!("status-journal-behind-next"),
        });
    }
    problems
}

/// What is to be done about the ways in. A server that is away, or has lost everything, is told of as such.
fn ways_problem<'a>(ways: &WaysStatus, status: &'a Status) -> Option<Problem<'a>> {
    let behind = |name: &str| {
        let mut servers = status.servers.iter();
        servers.any(|server| server.name == name && server.state.condition() != Condition::Stopped)
    };
    let mut faults = ways.faults.iter();
    let found =
        ways.begun || faults.any(|found| found.fault.is_definite() && behind(&found.server));
    found.then(|| Problem {
        key: "ways-unfinished",
        server: None,
        next: say!("doctor-ways-next"),
    })
}

fn rank(condition: Condition) -> u8 {
    match condition {
        Condition::Normal => 0,
        Condition::Degraded => 1,
        Condition::ReadOnly => 2,
        Condition::Stopped => 3,
    }
}

fn lost_with_one_more(status: &Status) -> u64 {
    if status.spare <= 0 {
        status.usage.files
    } else {
        let folders = status.folders.iter().filter(|folder| folder.spare <= 0);
        let in_folders: u64 = folders.map(|folder| folder.files).sum();
        (in_folders + status.weak.at_risk + status.weak.unreadable).min(status.usage.files)
    }
}

fn json_status(
    status: &Status,
    ways: &WaysStatus,
    refresh_every: Option<u32>,
    problems: &[Problem<'_>],
) -> JsonStatus {
    let weak = &status.weak;
    let named = weak.named.iter().map(|file| JsonWeakFile {
        path: file.path.clone(),
        spare: file.spare,
        owed: file.owed.iter().map(|index| index.get()).collect(),
    });
    let folders = status.folders.iter().map(|status| JsonFolderStatus {
        folder: JsonFolder::of(&status.folder),
        files: status.files,
        spare: status.spare,
    });
    let problems = problems.iter().map(|problem| JsonProblem {
        problem: problem.key,
        server: problem.server.map(|server| server.name.clone()),
        next: problem.next.clone(),
    });
    JsonStatus {
        k: status.threshold.k(),
        n: status.threshold.n(),
        scheme: status.scheme.name(),
        spare: status.spare,
        folder_thresholds: folders.collect(),
        servers: status.servers.iter().map(json_server).collect(),
        files: status.usage.files,
        folders: status.usage.dirs,
        bytes: status.usage.bytes,
        versions: status.usage.versions,
        degraded_extents: status.usage.degraded_extents,
        owed_shares: status.usage.owed_shares,
        open_saves: status.usage.open_saves,
        unsettled: status.usage.unsettled,
        journal_behind_since: status.journal_behind_since.map(utc_time),
        weak: JsonWeak {
            files: weak.files,
            at_risk: weak.at_risk,
            unreadable: weak.unreadable,
            journal: weak.journal,
            named: named.collect(),
        },
        generations: JsonGenerations::of(&status.generations, refresh_every),
        ways: JsonWays::of(ways),
        lost_with_one_more: lost_with_one_more(status),
        problems: problems.collect(),
    }
}

fn json_server(server: &ServerStatus) -> JsonServer {
    JsonServer {
        name: server.name.clone(),
        index: server.index.get(),
        state: match server.state.condition() {
            Condition::Normal => "normal",
            Condition::Degraded => "degraded",
            Condition::ReadOnly => "read-only",
            Condition::Stopped => "stopped",
        },
        reason: reason_key(&server.state),
        detail: server.detail.clone(),
        breaker: match server.breaker {
            Breaker::Closed => "closed",
            Breaker::Lagging => "lagging",
            Breaker::Open => "open",
            Breaker::HalfOpen => "half-open",
        },
        latency_ms: server.latency.map(|latency| latency.as_secs_f64() * 1000.0),
        last_success: server.last_success.map(|ago| utc_time(before_now(ago))),
        last_failure: server.last_failure.as_ref().map(|(ago, why)| JsonFailure {
            at: utc_time(before_now(*ago)),
            detail: why.clone(),
        }),
        owed: server.owed,
        total: server.space.total,
        free: server.space.free,
    }
}

/// Why a server is not normal, for programs.
fn reason_key(state: &ServerState) -> Option<&'static str> {
    match state {
        ServerState::Normal => None,
        ServerState::Slow => Some("slow"),
        ServerState::Behind => Some("owed"),
        ServerState::Full => Some("full"),
        ServerState::Refusing => Some("denied"),
        ServerState::Away(found) => Some(fault_key(*found)),
    }
}

/// The same for people.
fn reason(server: &ServerStatus) -> Option<String> {
    match &server.state {
        ServerState::Normal => None,
        ServerState::Slow => Some(say!("state-slow")),
        ServerState::Behind => Some(say!("state-behind", shares = server.owed)),
        ServerState::Full => Some(fault(Fault::Full)),
        ServerState::Refusing => Some(fault(Fault::Denied)),
        ServerState::Away(found) => Some(fault(*found)),
    }
}

/// The time by this machine's clock so long ago.
fn before_now(ago: Duration) -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let at = now.unwrap_or_default().saturating_sub(ago);
    Timestamp {
        secs: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
        nanos: at.subsec_nanos(),
    }
}

fn show(
    warifu: &Warifu,
    status: &Status,
    ways: &WaysStatus,
    problems: &[Problem<'_>],
) -> Result<(), Failure> {
    let (k, n) = (status.threshold.k(), status.threshold.n());
    let mut text = format!("{}\n", say!("status-threshold", k = k, n = n));
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    if status.scheme == Scheme::Compact {
        line(say!("status-compact", k = k));
    }
    for server in &status.servers {
        line(server_line(warifu, server));
        if !server.detail.is_empty() && server.state != ServerState::Normal {
            line(format!("       {}", shown_text(&server.detail)));
        }
        if let (Condition::Stopped, Some(ago)) = (server.state.condition(), server.last_success) {
            let time = local_time(before_now(ago));
            line(format!(
                "       {}",
                say!("status-last-success", time = time)
            ));
        }
    }
    let usage = &status.usage;
    line(say!(
        "status-usage",
        files = usage.files,
        folders = usage.dirs,
        size = size(usage.bytes),
        versions = usage.versions
    ));
    generation_lines(&status.generations, warifu)
        .into_iter()
        .for_each(&mut line);
    way::lines(ways).into_iter().for_each(&mut line);
    if status.undecided {
        line(say!("undecided"));
    }
    if usage.owed_shares > 0 {
        line(say!(
            "status-owed",
            shares = usage.owed_shares,
            extents = usage.degraded_extents
        ));
    }
    let weak = &status.weak;
    if weak.files > 0 {
        line(say!("status-weak", files = weak.files));
        for file in &weak.named {
            let name = if file.path.is_empty() {
                say!("verify-no-name")
            } else {
                shown_text(&file.path)
            };
            line(format!("  {name}  {}", spare_words(file.spare)));
        }
        let more = weak.files.saturating_sub(weak.named.len() as u64);
        if more > 0 {
            line(format!("  {}", say!("verify-more", more = more)));
        }
    }
    if let Some(spare) = weak.journal {
        line(say!("status-weak-journal", spare = spare_words(spare)));
    }
    if let Some(since) = status.journal_behind_since {
        line(say!("status-journal-behind", time = local_time(since)));
    }
    if !status.folders.is_empty() {
        line(say!("status-but-for-folders"));
    }
    line(match status.spare {
        ..0 => say!("status-unreadable", missing = status.spare.unsigned_abs()),
        0 => say!("status-no-spare"),
        spare => say!("status-spare", spare = spare),
    });
    for folder in &status.folders {
        line(folder_line(folder));
    }
    // What holds for all files but some would be misread without a word about those.
    if status.spare > 0 && weak.at_risk > 0 {
        line(say!("status-at-risk", files = weak.at_risk));
    }
    if status.spare >= 0 && weak.unreadable > 0 {
        line(say!("status-weak-lost", files = weak.unreadable));
    }
    let mut told: Vec<(&str, Vec<String>)> = Vec::new();
    for problem in problems {
        let server = problem.server.map(|server| shown_text(&server.name));
        match told.iter_mut().find(|(next, _)| *next == problem.next) {
            Some((_, servers)) => servers.extend(server),
            None => told.push((&problem.next, server.into_iter().collect())),
        }
    }
    for (next, servers) in told {
        let next = if servers.is_empty() {
            next.to_owned()
        } else {
            format!("{}: {next}", servers.join(", "))
        };
        line(say!("next", next = next));
    }
    Ok(print(&text)?)
}

/// How many servers may go before something with owed shares is out of reach.
/// A folder that asks for a threshold of its own, and how many servers it may lose.
fn folder_line(status: &FolderStatus) -> String {
    let dealt = status.folder.effective;
    say!(
        "status-folder",
        path = shown(&folder::path_of(&status.folder).unwrap_or_default()),
        k = dealt.k(),
        n = dealt.n(),
        spare = spare_words(status.spare)
    )
}

fn spare_words(spare: i32) -> String {
    match spare {
        ..0 => say!("status-weak-unreadable"),
        0 => say!("status-weak-at-risk"),
        spare => say!("status-weak-spare", spare = spare),
    }
}

/// A server in a line.
pub fn server_line(warifu: &Warifu, server: &ServerStatus) -> String {
    let mut state = match server.state.condition() {
        Condition::Normal => say!("state-normal"),
        Condition::Degraded => say!("state-degraded"),
        Condition::ReadOnly => say!("state-read-only"),
        Condition::Stopped => say!("state-stopped"),
    };
    if let Some(reason) = reason(server) {
        state = say!("state-because", state = state, reason = reason);
    }
    let mut parts = vec![state];
    if let Some(latency) = server.latency
        && server.state.condition() != Condition::Stopped
    {
        let ms = format!("{:.1}", latency.as_secs_f64() * 1000.0);
        parts.push(say!("status-latency", ms = ms));
    }
    let free = server.space.free;
    parts.extend(free.map(|free| say!("status-free", size = size(free))));
    let mut entries = warifu.file().servers.iter();
    let entry = entries.find(|entry| entry.index == server.index);
    parts.extend(entry.map(|entry| shown_text(&entry.url)));
    format!(
        "  {}. {}  {}",
        server.index,
        shown_text(&server.name),
        parts.join("  ")
    )
}

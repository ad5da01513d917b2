//! `status` and `verify`: how the servers and the shares are.

use std::collections::BTreeMap;

use serde::Serialize;
use warifu::{
    Fault, Scheme, ServerCount, ServerState, Status, VerifyOptions, VerifyReport, Warifu,
};

use super::{Done, with_vault};
use crate::args;
use crate::exit::Exit;
use crate::failure::{Failure, fault};
use crate::output::{Progress, json, print, shown_text, size};
use crate::words::{say, set_vault};

#[derive(Serialize)]
struct JsonStatus {
    k: u8,
    n: u8,
    /// By which scheme new files are shared.
    scheme: &'static str,
    /// How many more servers may go.
    spare: i32,
    servers: Vec<JsonServer>,
    files: u64,
    folders: u64,
    bytes: u64,
    versions: u64,
    degraded_extents: u64,
    owed_shares: u64,
    open_saves: u64,
    unsettled: u64,
}

#[derive(Serialize)]
struct JsonServer {
    name: String,
    index: u8,
    state: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    free: Option<u64>,
}

pub async fn status(args: args::Status) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, true, |warifu| async move {
        let status = warifu
            .vault()
            .status(warifu.context())
            .await
            .map_err(|error| Failure::vault(&error, &say!("the-vault")))?;
        let care = status.usage.owed_shares > 0
            || status
                .servers
                .iter()
                .any(|server| server.state != ServerState::Normal);
        if args.json {
            json(&json_status(&status))?;
        } else {
            show_status(&warifu, &status)?;
        }
        Ok(match (status.spare < 0, care) {
            (true, _) => Exit::TooFew,
            (false, true) => Exit::Care,
            (false, false) => Exit::Ok,
        })
    })
    .await
}

fn json_status(status: &Status) -> JsonStatus {
    let servers = status
        .servers
        .iter()
        .map(|server| JsonServer {
            name: server.name.clone(),
            index: server.index.get(),
            state: state_key(&server.state),
            detail: server.detail.clone(),
            latency_ms: server.latency.map(|latency| latency.as_secs_f64() * 1000.0),
            total: server.space.total,
            free: server.space.free,
        })
        .collect();
    JsonStatus {
        k: status.threshold.k(),
        n: status.threshold.n(),
        scheme: status.scheme.name(),
        spare: status.spare,
        servers,
        files: status.usage.files,
        folders: status.usage.dirs,
        bytes: status.usage.bytes,
        versions: status.usage.versions,
        degraded_extents: status.usage.degraded_extents,
        owed_shares: status.usage.owed_shares,
        open_saves: status.usage.open_saves,
        unsettled: status.usage.unsettled,
    }
}

/// A state's name for programs.
fn state_key(state: &ServerState) -> &'static str {
    match state {
        ServerState::Normal => "normal",
        ServerState::Full => "full",
        ServerState::Away(fault) => fault_key(*fault),
    }
}

/// A fault's name for programs.
fn fault_key(fault: Fault) -> &'static str {
    match fault {
        Fault::Missing => "missing",
        Fault::Corrupt => "corrupt",
        Fault::Stale => "stale",
        Fault::Foreign => "foreign",
        Fault::NoAnswer => "no-answer",
        Fault::Full => "full",
        Fault::Denied => "denied",
        Fault::Failed => "failed",
    }
}

fn show_status(warifu: &Warifu, status: &Status) -> Result<(), Failure> {
    let (k, n) = (status.threshold.k(), status.threshold.n());
    let mut text = format!("{}\n", say!("status-threshold", k = k, n = n));
    if status.scheme == Scheme::Compact {
        text.push_str(&format!("{}\n", say!("status-compact", k = k)));
    }
    for server in &status.servers {
        let state = match &server.state {
            ServerState::Normal => say!("state-normal"),
            ServerState::Full => say!("fault-full"),
            ServerState::Away(found) => fault(*found),
        };
        let free = server
            .space
            .free
            .map_or(String::new(), |free| say!("status-free", size = size(free)));
        let url = warifu
            .file()
            .servers
            .iter()
            .find(|entry| entry.index == server.index)
            .map_or("", |entry| entry.url.as_str());
        let line = format!(
            "  {}. {}  {state}  {free}  {}",
            server.index,
            shown_text(&server.name),
            shown_text(url)
        );
        text.push_str(line.trim_end());
        if !server.detail.is_empty() && server.state != ServerState::Normal {
            text.push_str(&format!("\n       {}", shown_text(&server.detail)));
        }
        text.push('\n');
    }
    let usage = &status.usage;
    text.push_str(&say!(
        "status-usage",
        files = usage.files,
        folders = usage.dirs,
        size = size(usage.bytes),
        versions = usage.versions
    ));
    text.push('\n');
    if usage.owed_shares > 0 {
        text.push_str(&say!(
            "status-owed",
            shares = usage.owed_shares,
            extents = usage.degraded_extents
        ));
        text.push('\n');
    }
    let verdict = match status.spare {
        ..0 => say!("status-unreadable", missing = status.spare.unsigned_abs()),
        0 => say!("status-no-spare"),
        spare => say!("status-spare", spare = spare),
    };
    text.push_str(&format!("{verdict}\n"));
    if status
        .servers
        .iter()
        .any(|server| matches!(server.state, ServerState::Away(_)))
    {
        text.push_str(&format!(
            "{}\n",
            say!("next", next = say!("status-away-next"))
        ));
    } else if status
        .servers
        .iter()
        .any(|server| server.state == ServerState::Full)
    {
        text.push_str(&format!("{}\n", say!("next", next = say!("no-room-next"))));
    }
    Ok(print(&text)?)
}

#[derive(Serialize)]
struct JsonReport {
    deep: bool,
    clean: bool,
    extents: u64,
    findings: Vec<JsonFinding>,
    unreadable: Vec<JsonUnreadable>,
    servers: BTreeMap<String, JsonCount>,
}

#[derive(Serialize)]
struct JsonFinding {
    file: String,
    version: u64,
    server: String,
    damage: &'static str,
    owed: bool,
    detail: String,
}

#[derive(Serialize)]
struct JsonUnreadable {
    file: String,
    version: u64,
    needed: u8,
    good: u8,
    lost: bool,
}

#[derive(Serialize)]
struct JsonCount {
    good: u64,
    bad: BTreeMap<&'static str, u64>,
    orphans: u64,
    foreign: u64,
}

pub async fn verify(args: args::Verify) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, true, |warifu| async move {
        let progress = Progress::counter(crate::quiet() || args.json);
        let options = VerifyOptions { deep: args.deep };
        let report = warifu
            .vault()
            .verify(warifu.context(), options, &|at| progress.set(at.done))
            .await;
        progress.done();
        let mut report = report.map_err(|error| Failure::vault(&error, &say!("the-vault")))?;
        report
            .findings
            .sort_by(|a, b| (&a.file, a.version, &a.server).cmp(&(&b.file, b.version, &b.server)));
        report
            .unreadable
            .sort_by(|a, b| (&a.file, a.version).cmp(&(&b.file, b.version)));
        if args.json {
            json(&json_report(&report, args.deep))?;
        } else {
            show_report(&report, args.deep)?;
        }
        Ok(match (report.unreadable.is_empty(), report.is_clean()) {
            (false, _) => Exit::TooFew,
            (true, false) => Exit::Care,
            (true, true) => Exit::Ok,
        })
    })
    .await
}

fn json_report(report: &VerifyReport, deep: bool) -> JsonReport {
    JsonReport {
        deep,
        clean: report.is_clean(),
        extents: report.extents,
        findings: report
            .findings
            .iter()
            .map(|finding| JsonFinding {
                file: finding.file.clone(),
                version: finding.version.0,
                server: finding.server.clone(),
                damage: fault_key(finding.fault),
                owed: finding.owed,
                detail: finding.detail.clone(),
            })
            .collect(),
        unreadable: report
            .unreadable
            .iter()
            .map(|version| JsonUnreadable {
                file: version.file.clone(),
                version: version.version.0,
                needed: version.needed,
                good: version.good,
                lost: version.lost,
            })
            .collect(),
        servers: report
            .servers
            .iter()
            .map(|(name, count)| {
                let bad = count
                    .bad
                    .iter()
                    .map(|(fault, count)| (fault_key(*fault), *count))
                    .collect();
                (
                    name.clone(),
                    JsonCount {
                        good: count.good,
                        bad,
                        orphans: count.orphans,
                        foreign: count.foreign,
                    },
                )
            })
            .collect(),
    }
}

/// How many findings are listed one by one. All of them are in the JSON.
const LISTED: usize = 200;

fn show_report(report: &VerifyReport, deep: bool) -> Result<(), Failure> {
    let file = |name: &str| {
        if name.is_empty() {
            say!("verify-no-name")
        } else {
            shown_text(name)
        }
    };
    let mut text = String::new();
    // A server that is away is one thing to say, not one for each share.
    let mut silent: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    let mut listed = Vec::new();
    for finding in &report.findings {
        if finding.fault == Fault::NoAnswer {
            silent
                .entry(&finding.server)
                .or_insert((0, &finding.detail))
                .0 += 1;
        } else {
            listed.push(finding);
        }
    }
    for (server, (shares, detail)) in &silent {
        text.push_str(&say!(
            "verify-silent",
            server = shown_text(server),
            shares = *shares,
            detail = shown_text(detail)
        ));
        text.push('\n');
    }
    for finding in listed.iter().take(LISTED) {
        let (server, fault) = (shown_text(&finding.server), fault(finding.fault));
        text.push_str(&format!(
            "{}  v{}  {server}: {fault}",
            file(&finding.file),
            finding.version
        ));
        if finding.owed {
            text.push_str(&format!(" {}", say!("verify-owed")));
        }
        // Where a share is missing, there is nothing more to say of it.
        if finding.fault != Fault::Missing && !finding.detail.is_empty() {
            text.push_str(&format!(" ({})", shown_text(&finding.detail)));
        }
        text.push('\n');
    }
    if listed.len() > LISTED {
        text.push_str(&format!(
            "{}\n",
            say!("verify-more", more = listed.len() - LISTED)
        ));
    }
    for version in &report.unreadable {
        let (name, number) = (file(&version.file), version.version.0);
        text.push_str(&if version.lost {
            say!(
                "verify-lost",
                file = name,
                version = number,
                needed = version.needed,
                good = version.good
            )
        } else {
            say!(
                "verify-unreadable",
                file = name,
                version = number,
                needed = version.needed,
                good = version.good
            )
        });
        text.push('\n');
    }
    for (name, count) in &report.servers {
        text.push_str(&format!("  {}\n", server_line(name, count)));
    }
    let (verdict, next) = verdict(report, deep);
    text.push_str(&format!("{verdict}\n"));
    if let Some(next) = next {
        text.push_str(&format!("{}\n", say!("next", next = next)));
    }
    Ok(print(&text)?)
}

fn server_line(name: &str, count: &ServerCount) -> String {
    let mut line = say!(
        "verify-server",
        server = shown_text(name),
        good = count.good
    );
    for (found, many) in &count.bad {
        line.push_str(&format!(", {} {many}", fault(*found)));
    }
    if count.orphans > 0 {
        line.push_str(&format!(
            ", {}",
            say!("verify-orphans", count = count.orphans)
        ));
    }
    if count.foreign > 0 {
        line.push_str(&format!(
            ", {}",
            say!("verify-foreign", count = count.foreign)
        ));
    }
    line
}

/// What it comes to, and what to do next.
fn verdict(report: &VerifyReport, deep: bool) -> (String, Option<String>) {
    if !report.unreadable.is_empty() {
        return (
            say!("verify-too-few", files = report.unreadable.len()),
            Some(say!("verify-too-few-next")),
        );
    }
    if report.is_clean() {
        return if deep {
            (say!("verify-clean-deep", extents = report.extents), None)
        } else {
            (
                say!("verify-clean", extents = report.extents),
                Some(say!("verify-clean-next")),
            )
        };
    }
    let next = if report
        .findings
        .iter()
        .all(|finding| finding.owed && finding.fault == Fault::Missing)
    {
        say!("verify-owed-next")
    } else {
        say!("verify-damage-next")
    };
    (
        say!("verify-damage", findings = report.findings.len()),
        Some(next),
    )
}

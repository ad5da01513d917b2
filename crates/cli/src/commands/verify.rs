//! `verify`: how the shares are; and with `--repair`, what is made anew.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;
use warifu::{
    Check, Fault, RepairOptions, ServerCount, Subject, Unreadable, VaultFileError, VerifyReport,
    Warifu,
};

use super::repair::{self, JsonRepair, Repaired, subject_key, subject_text};
use super::{Done, with_vault};
use crate::args;
use crate::exit::Exit;
use crate::failure::{Failure, fault};
use crate::output::{Progress, fault_key, json, note, print, shown_text};
use crate::words::{say, set_vault};

#[derive(Serialize)]
struct JsonReport {
    deep: bool,
    clean: bool,
    extents: u64,
    findings: Vec<JsonFinding>,
    unreadable: Vec<JsonUnreadable>,
    servers: BTreeMap<String, JsonCount>,
    /// How many shares were written down as owed that were not before.
    recorded: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<JsonRepair>,
}

#[derive(Serialize)]
struct JsonFinding {
    of: &'static str,
    file: String,
    version: u64,
    server: String,
    damage: &'static str,
    owed: bool,
    detail: String,
}

#[derive(Serialize)]
struct JsonUnreadable {
    of: &'static str,
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

/// How often it is remembered how far a check has come.
const KEEP_EVERY: Duration = Duration::from_secs(2);
/// How many findings are kept where they are not all shown.
const KEPT: usize = 10_000;

pub async fn run(args: args::Verify) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, !args.repair, |warifu| async move {
        let report = check(&warifu, &args).await?;
        let before = match (report.unreadable.is_empty(), report.is_clean()) {
            (false, _) => Exit::TooFew,
            (true, false) => Exit::Care,
            (true, true) => Exit::Ok,
        };
        if !args.json {
            show_report(&report, args.deep, args.repair)?;
        }
        if !args.repair {
            if args.json {
                json(&json_report(&report, args.deep, None))?;
            }
            return Ok(before);
        }
        let options = RepairOptions {
            limit: args.limit.map(|mib| u64::from(mib) << 20),
            grace: args.grace.map_or(RepairOptions::default().grace, |days| {
                Duration::from_secs(u64::from(days) * 24 * 3600)
            }),
            drop_newer: args.drop_newer,
            ..RepairOptions::default()
        };
        let quiet = crate::quiet() || args.json;
        let repaired = repair::run(&warifu, &options, args.yes, quiet, args.json).await?;
        if args.json {
            let repair = JsonRepair::of(&repaired);
            json(&json_report(&report, args.deep, Some(repair)))?;
        }
        Ok(ending(before, &report, &repaired))
    })
    .await
}

/// What is left of the damage, as an exit code.
fn ending(before: Exit, report: &VerifyReport, repaired: &Repaired) -> Exit {
    let Some(done) = &repaired.done else {
        return if repaired.plan.is_empty() {
            before
        } else {
            before.max(Exit::Care)
        };
    };
    let silent = report
        .servers
        .values()
        .flat_map(|count| count.bad.keys())
        .any(|fault| !fault.is_definite());
    if !done.unreadable.is_empty() || report.unreadable.iter().any(|version| version.lost) {
        Exit::TooFew
    } else if done.left > 0 || silent {
        Exit::Care
    } else if repaired.plan.is_empty() && before == Exit::Ok {
        Exit::Ok
    } else {
        Exit::Repaired
    }
}

/// Checks, shows how far it is, and remembers that in case it is interrupted.
async fn check(warifu: &Warifu, args: &args::Verify) -> Result<VerifyReport, Failure> {
    let resume = if args.resume {
        warifu.checkpoint().map_err(checkpoint_failure)?
    } else {
        None
    };
    if let (Some(at), false) = (&resume, crate::quiet()) {
        note(&say!("verify-resumed", extents = at.extents()));
    }
    let check = Check {
        deep: args.deep,
        record: args.repair,
        resume,
        keep: if args.json { usize::MAX } else { KEPT },
    };
    let progress = Progress::part(crate::quiet() || args.json);
    let kept = Mutex::new(Instant::now());
    let report = warifu
        .vault()
        .check(warifu.context(), check, &|at| {
            progress.set_part(at.part, at.done);
            let Ok(mut kept) = kept.lock() else { return };
            if kept.elapsed() >= KEEP_EVERY {
                *kept = Instant::now();
                // Without it, an interrupted check begins anew: no reason to end this one.
                let _ = warifu.keep_checkpoint(at.checkpoint);
            }
        })
        .await;
    progress.done();
    let mut report = report.map_err(|error| Failure::vault(&error, &say!("the-vault")))?;
    warifu.forget_checkpoint();
    report
        .findings
        .sort_by(|a, b| (&a.file, a.version, &a.server).cmp(&(&b.file, b.version, &b.server)));
    report
        .unreadable
        .sort_by(|a, b| (&a.file, a.version).cmp(&(&b.file, b.version)));
    Ok(report)
}

fn checkpoint_failure(error: VaultFileError) -> Failure {
    Failure::opening(warifu::Error::VaultFile(error))
}

fn json_report(report: &VerifyReport, deep: bool, repair: Option<JsonRepair>) -> JsonReport {
    JsonReport {
        deep,
        clean: report.is_clean(),
        extents: report.extents,
        findings: report
            .findings
            .iter()
            .map(|finding| JsonFinding {
                of: subject_key(finding.subject),
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
                of: subject_key(version.subject),
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
        recorded: report.recorded,
        repair,
    }
}

/// How many findings are listed one by one. All of them are in the JSON.
const LISTED: usize = 200;

fn show_report(report: &VerifyReport, deep: bool, repair: bool) -> Result<(), Failure> {
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
            subject_text(finding.subject, &finding.file),
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
    // Those that were not kept one by one count among them.
    let unkept = usize::try_from(report.found)
        .unwrap_or(usize::MAX)
        .saturating_sub(report.findings.len());
    let more = listed.len().saturating_sub(LISTED) + unkept;
    if more > 0 {
        text.push_str(&format!("{}\n", say!("verify-more", more = more)));
    }
    for unreadable in &report.unreadable {
        text.push_str(&format!("{}\n", repair::unreadable_line(unreadable)));
    }
    for (name, count) in &report.servers {
        text.push_str(&format!("  {}\n", server_line(name, count)));
    }
    let (verdict, next) = verdict(report, deep);
    text.push_str(&format!("{verdict}\n"));
    // With a repair, the plan says what is next.
    if let Some(next) = next.filter(|_| !repair || !report.unreadable.is_empty()) {
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
    let of_journal = |unreadable: &&Unreadable| unreadable.subject == Subject::Journal;
    let segments = report.unreadable.iter().filter(of_journal).count();
    let versions = report.unreadable.len() - segments;
    let journal = || say!("verify-too-few-journal", segments = segments);
    if versions > 0 {
        let mut verdict = say!("verify-too-few", files = versions);
        if segments > 0 {
            verdict = format!("{verdict}\n{}", journal());
        }
        return (verdict, Some(say!("verify-too-few-next")));
    }
    if segments > 0 {
        return (journal(), Some(say!("verify-too-few-journal-next")));
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
        .any(|finding| finding.fault == Fault::Newer)
    {
        say!("verify-newer-next")
    } else if report
        .findings
        .iter()
        .all(|finding| finding.fault == Fault::NoAnswer)
    {
        say!("verify-silent-next")
    } else {
        say!("verify-damage-next")
    };
    (say!("verify-damage", findings = report.found), Some(next))
}

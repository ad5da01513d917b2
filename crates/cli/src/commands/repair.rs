//! What `verify --repair` and `server replace` have in common: the plan is shown, and then applied.

use std::collections::BTreeMap;

use serde::Serialize;
use warifu::{Orphans, RepairOptions, RepairPlan, RepairReport, Subject, Unreadable, Warifu, Work};

use crate::failure::{Failure, fault, server_fault};
use crate::output::{Progress, fault_key, print, shown_text, size};
use crate::words::say;

/// What was planned, and what was done of it.
pub struct Repaired {
    pub plan: RepairPlan,
    /// `None` where the plan was only shown.
    pub done: Option<RepairReport>,
}

/// The same for programs.
#[derive(Serialize)]
pub struct JsonRepair {
    applied: bool,
    planned_shares: u64,
    planned_bytes: u64,
    /// Shares owed to servers that do not answer.
    waiting: u64,
    made: BTreeMap<String, JsonWork>,
    /// Owed shares that were there already.
    found: u64,
    replaced: u64,
    key_pieces: Vec<String>,
    liars: Vec<JsonLiar>,
    faults: Vec<JsonFault>,
    unreadable: Vec<JsonTooFew>,
    orphans: BTreeMap<String, JsonOrphans>,
    /// Shares still missing.
    left: u64,
}

#[derive(Serialize)]
struct JsonWork {
    shares: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct JsonLiar {
    server: String,
    damage: &'static str,
    shares: u64,
}

#[derive(Serialize)]
struct JsonFault {
    server: String,
    damage: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct JsonTooFew {
    of: &'static str,
    file: String,
    version: u64,
    needed: u8,
    good: u8,
}

#[derive(Serialize)]
struct JsonOrphans {
    due: u64,
    bytes: u64,
    swept: u64,
    young: u64,
    undated: u64,
    newer: u64,
    unsure: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What a share belongs to, for programs.
pub fn subject_key(subject: Subject) -> &'static str {
    match subject {
        Subject::Journal => "journal",
        _ => "file",
    }
}

/// The same for people: a file by its path.
pub fn subject_text(subject: Subject, path: &str) -> String {
    match subject {
        Subject::Journal => say!("verify-journal"),
        _ if path.is_empty() => say!("verify-no-name"),
        _ => shown_text(path),
    }
}

/// What cannot be read, and whether it is lost.
pub fn unreadable_line(unreadable: &Unreadable) -> String {
    let (number, needed, good) = (unreadable.version.0, unreadable.needed, unreadable.good);
    if unreadable.subject == Subject::Journal {
        return if unreadable.lost {
            say!(
                "verify-lost-journal",
                segment = number,
                needed = needed,
                good = good
            )
        } else {
            say!(
                "verify-unreadable-journal",
                segment = number,
                needed = needed,
                good = good
            )
        };
    }
    let file = subject_text(unreadable.subject, &unreadable.file);
    if unreadable.lost {
        say!(
            "verify-lost",
            file = file,
            version = number,
            needed = needed,
            good = good
        )
    } else {
        say!(
            "verify-unreadable",
            file = file,
            version = number,
            needed = needed,
            good = good
        )
    }
}

fn work(from: &BTreeMap<String, Work>) -> BTreeMap<String, JsonWork> {
    let json = |work: &Work| JsonWork {
        shares: work.shares,
        bytes: work.bytes,
    };
    from.iter()
        .map(|(server, work)| (server.clone(), json(work)))
        .collect()
}

impl JsonRepair {
    pub fn of(repaired: &Repaired) -> Self {
        let plan = &repaired.plan;
        let nothing = RepairReport::default();
        let done = repaired.done.as_ref().unwrap_or(&nothing);
        let orphans = if repaired.done.is_some() {
            &done.orphans
        } else {
            &plan.orphans
        };
        let waiting: u64 = plan.waiting.values().map(|work| work.shares).sum();
        Self {
            applied: repaired.done.is_some(),
            planned_shares: plan.work().shares,
            planned_bytes: plan.work().bytes,
            waiting,
            made: work(&done.made),
            found: done.found,
            replaced: done.replaced,
            key_pieces: done.key_pieces.clone(),
            liars: done
                .liars
                .iter()
                .map(|((server, fault), shares)| JsonLiar {
                    server: server.clone(),
                    damage: fault_key(*fault),
                    shares: *shares,
                })
                .collect(),
            faults: done
                .faults
                .iter()
                .map(|fault| JsonFault {
                    server: fault.server.clone(),
                    damage: fault_key(fault.fault),
                    detail: fault.detail.clone(),
                })
                .collect(),
            unreadable: done
                .unreadable
                .iter()
                .map(|version| JsonTooFew {
                    of: subject_key(version.subject),
                    file: version.file.clone(),
                    version: version.version.0,
                    needed: version.needed,
                    good: version.good,
                })
                .collect(),
            orphans: orphans
                .iter()
                .map(|(server, found)| (server.clone(), json_orphans(found)))
                .collect(),
            left: match &repaired.done {
                Some(done) => done.left,
                None => plan.work().shares + waiting,
            },
        }
    }
}

fn json_orphans(found: &Orphans) -> JsonOrphans {
    JsonOrphans {
        due: found.due,
        bytes: found.bytes,
        swept: found.swept,
        young: found.young,
        undated: found.undated,
        newer: found.newer,
        unsure: found.unsure,
        error: found.error.clone(),
    }
}

/// Shows the plan and, with `apply`, carries it out.
pub async fn run(
    warifu: &Warifu,
    options: &RepairOptions,
    apply: bool,
    quiet: bool,
    json: bool,
) -> Result<Repaired, Failure> {
    let failed = |error| Failure::vault(&error, &say!("the-vault"));
    let plan = warifu
        .vault()
        .plan_repair(warifu.context(), options)
        .await
        .map_err(failed)?;
    if !json {
        show_plan(&plan, usize::from(warifu.file().threshold.n()), apply)?;
    }
    // What waits for a server that does not answer is tried all the same: it may answer again by now.
    if !apply || (plan.is_empty() && plan.waiting.is_empty()) {
        return Ok(Repaired { plan, done: None });
    }
    let progress = Progress::work(quiet);
    let done = warifu
        .vault()
        .repair(warifu.context(), options, &|at| {
            progress.set_of((at.bytes_done, at.bytes), (at.extents_done, at.extents));
        })
        .await;
    progress.done();
    let done = done.map_err(failed)?;
    if !json {
        show_done(&done)?;
    }
    Ok(Repaired {
        plan,
        done: Some(done),
    })
}

fn show_plan(plan: &RepairPlan, n: usize, apply: bool) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let all = plan.work();
    if all.shares > 0 {
        lines.push(say!(
            "repair-plan",
            shares = all.shares,
            size = size(all.bytes)
        ));
    }
    for (server, work) in &plan.servers {
        lines.push(say!(
            "repair-plan-server",
            server = shown_text(server),
            shares = work.shares,
            size = size(work.bytes)
        ));
    }
    if let Some((standing, extents)) = plan.by_risk.first_key_value()
        && plan.by_risk.len() > 1
    {
        lines.push(say!(
            "repair-plan-risk",
            extents = *extents,
            standing = *standing,
            n = n
        ));
    }
    for lost in &plan.key_pieces {
        lines.push(say!(
            "repair-plan-key",
            server = shown_text(&lost.server),
            fault = fault(lost.fault)
        ));
    }
    for (server, work) in &plan.waiting {
        lines.push(say!(
            "repair-waiting",
            server = shown_text(server),
            shares = work.shares
        ));
    }
    for (server, found) in &plan.orphans {
        if found.due > 0 {
            lines.push(say!(
                "repair-orphans",
                server = shown_text(server),
                count = found.due,
                size = size(found.bytes)
            ));
        }
        lines.extend(kept_orphans(server, found));
    }
    if plan.is_empty() {
        lines.push(say!("repair-nothing"));
    } else if !apply {
        lines.push(say!("next", next = say!("repair-apply-next")));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    Ok(print(&text)?)
}

/// What is said of objects that nobody needs and that stay.
fn kept_orphans(server: &str, found: &Orphans) -> Vec<String> {
    let server = shown_text(server);
    let mut lines = Vec::new();
    if found.young > 0 {
        lines.push(say!(
            "orphans-young",
            server = server.as_str(),
            count = found.young
        ));
    }
    if found.undated > 0 {
        lines.push(say!(
            "orphans-undated",
            server = server.as_str(),
            count = found.undated
        ));
    }
    if found.newer > 0 {
        lines.push(say!(
            "orphans-newer",
            server = server.as_str(),
            count = found.newer
        ));
        lines.push(say!("next", next = say!("orphans-newer-next")));
    }
    if found.unsure > 0 {
        lines.push(say!(
            "orphans-unsure",
            server = server.as_str(),
            count = found.unsure
        ));
    }
    if let Some(error) = &found.error {
        lines.push(say!(
            "orphans-error",
            server = server.as_str(),
            detail = shown_text(error)
        ));
    }
    lines
}

fn show_done(done: &RepairReport) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let bytes: u64 = done.made.values().map(|work| work.bytes).sum();
    lines.push(say!(
        "repair-done",
        shares = done.shares(),
        size = size(bytes),
        found = done.found
    ));
    for server in &done.key_pieces {
        lines.push(say!("repair-key-done", server = shown_text(server)));
    }
    for ((server, found), shares) in &done.liars {
        lines.push(say!(
            "repair-liar",
            server = shown_text(server),
            shares = *shares,
            fault = fault(*found)
        ));
    }
    for (server, found) in &done.orphans {
        if found.swept > 0 {
            lines.push(say!(
                "repair-swept",
                server = shown_text(server),
                count = found.swept
            ));
        }
    }
    lines.extend(
        done.faults
            .iter()
            .map(|fault| format!("  {}", server_fault(fault))),
    );
    for version in &done.unreadable {
        lines.push(unreadable_line(version));
    }
    if done.left > 0 {
        lines.push(say!("repair-left", shares = done.left));
        lines.push(say!("next", next = say!("repair-left-next")));
    } else {
        lines.push(say!("repair-whole"));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    Ok(print(&text)?)
}

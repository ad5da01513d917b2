//! `refresh`: a new generation of all shares, so that those which somebody has stolen are worthless.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use warifu::{GenerationStatus, Holding, RefreshOptions, RefreshPlan, RefreshReport, Warifu};

use super::{Done, with_vault_opened};
use crate::args;
use crate::exit::Exit;
use crate::failure::{Failure, server_fault};
use crate::output::{
    Progress, fault_key, json, local_time, note, print, shown_text, size, utc_time,
};
use crate::stop;
use crate::unlocking::opening;
use crate::words::{say, set_vault};

// What the fields mean stands in JSON.md.

#[derive(Serialize)]
struct JsonRefresh {
    applied: bool,
    /// Whether it was due; there is nothing else to tell where it was not.
    due: bool,
    resumes: bool,
    planned_extents: u64,
    planned_bytes: u64,
    possible: bool,
    extents: u64,
    bytes: u64,
    unreadable: u64,
    faults: Vec<JsonFault>,
    generations: JsonGenerations,
}

#[derive(Serialize)]
struct JsonFault {
    server: String,
    damage: &'static str,
    detail: String,
}

/// Where a vault stands with its generations, for programs.
#[derive(Serialize)]
pub struct JsonGenerations {
    current: u32,
    begun: Option<String>,
    ended: Option<String>,
    left: u64,
    unlike: u64,
    holding: BTreeMap<String, JsonHolding>,
    every_days: Option<u32>,
    window_days: Option<u32>,
    /// What the threshold is being changed to.
    becoming: Option<JsonBecoming>,
}

#[derive(Serialize)]
struct JsonBecoming {
    k: u8,
    n: u8,
    in_force: bool,
}

#[derive(Serialize)]
struct JsonHolding {
    objects: u64,
    unknown: bool,
}

impl JsonGenerations {
    pub fn of(status: &GenerationStatus, every_days: Option<u32>) -> Self {
        let generations = &status.generations;
        let holding = |(server, held): (&String, &Holding)| {
            let held = JsonHolding {
                objects: held.objects,
                unknown: held.unknown,
            };
            (server.clone(), held)
        };
        Self {
            current: generations.current.0,
            begun: generations.begun.map(utc_time),
            ended: generations.ended.map(utc_time),
            left: status.left,
            unlike: status.unlike,
            holding: status.holding.iter().map(holding).collect(),
            every_days,
            window_days: window(status, every_days),
            becoming: status.change.map(|change| JsonBecoming {
                k: change.to.k(),
                n: change.to.n(),
                in_force: change.in_force,
            }),
        }
    }
}

const DAY: i64 = 24 * 3600;

/// Within how many days, and the time that a refresh takes, an intruder must hold k servers to read anything; `None` where nothing limits it.
///
/// What is read between the beginnings of two refreshes adds up until the second one has ended.
fn window(status: &GenerationStatus, every_days: Option<u32>) -> Option<u32> {
    let every = every_days?;
    let (begun, _) = (status.generations.begun?, status.generations.ended?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let now = i64::try_from(now.as_secs()).ok()?;
    let since = now.saturating_sub(begun.secs).max(0) / DAY;
    Some(every.max(u32::try_from(since).unwrap_or(u32::MAX)))
}

/// Where a vault stands with its generations, for people.
pub fn generation_lines(status: &GenerationStatus, warifu: &Warifu) -> Vec<String> {
    let generations = &status.generations;
    let number = generations.current.0;
    let mut lines = vec![match (generations.begun, generations.ended) {
        (None, _) if generations.wanted == warifu::Generations::FIRST.wanted => {
            say!("generation-first", number = number)
        }
        // After a rebuild.
        (None, _) => say!("generation-unknown", number = number),
        (Some(begun), None) => say!(
            "generation-under-way",
            number = number,
            time = local_time(begun),
            left = status.left
        ),
        (Some(begun), Some(_)) => say!(
            "generation-since",
            number = number,
            time = local_time(begun)
        ),
    }];
    if status.is_saved_as_before() {
        lines.push(say!("generation-as-before", left = status.left));
    }
    if status.unlike > 0 {
        lines.push(say!("generation-unlike", extents = status.unlike));
    }
    if let Some(change) = &status.change {
        let (k, n) = (change.to.k(), change.to.n());
        lines.push(say!(
            "threshold-under-way",
            k = k,
            n = n,
            left = status.left
        ));
    }
    for (server, held) in &status.holding {
        let (server, objects) = (shown_text(server), held.objects);
        lines.push(if held.unknown {
            say!("generation-may-hold", server = server, objects = objects)
        } else {
            say!("generation-holds", server = server, objects = objects)
        });
    }
    // While the threshold changes, so many may be enough already, or still.
    let k = warifu.vault().thresholds().least();
    if k > 1 {
        let every = warifu.file().refresh.map(|every| every.days);
        lines.push(match (window(status, every), every) {
            (Some(days), _) => say!("generation-window", k = k, days = days),
            (None, Some(_)) => say!("generation-window-open", k = k),
            (None, None) => say!("generation-no-window", k = k),
        });
    }
    lines
}

/// What is to be done so that nothing of before is left. `unreadable`: so many extents could not be made anew; `silent`: some server does not answer.
pub fn left_next(status: &GenerationStatus, unreadable: u64, silent: bool) -> String {
    let command = match status.change {
        Some(_) => "threshold",
        None => "refresh",
    };
    if status.is_saved_as_before() {
        return say!("left-as-before-next", command = command);
    }
    if unreadable > 0 {
        return say!("left-unreadable-next", command = command);
    }
    let silent = silent || status.holding.values().any(|held| held.unknown);
    if status.is_of_folders() {
        return match silent {
            true => say!("folders-left-next"),
            false => say!("folders-next"),
        };
    }
    if status.left == 0 && !silent && !status.holding.is_empty() {
        return say!("left-leased-next", command = command);
    }
    match status.change {
        Some(_) => say!("threshold-left-next"),
        None => say!("refresh-left-next"),
    }
}

/// The same after a run.
pub fn left_next_of(done: &RefreshReport) -> String {
    left_next(&done.status, done.unreadable, !done.faults.is_empty())
}

pub async fn run(args: args::Refresh) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    let options = opening().without_upkeep();
    with_vault_opened(&vault, options, |warifu| async move {
        refresh(&warifu, &args).await
    })
    .await
}

async fn refresh(warifu: &Warifu, args: &args::Refresh) -> Done {
    let failed = |error| Failure::vault(&error, &say!("the-vault"));
    if args.if_due {
        let Some(every) = warifu.file().refresh else {
            return Err(Failure::new(
                Exit::Usage,
                say!("refresh-no-schedule"),
                say!("refresh-no-schedule-next"),
            ));
        };
        let due = warifu.vault().refresh_is_due(every.period()).await;
        if !due.map_err(failed)? {
            let status = warifu.vault().generation_status().await.map_err(failed)?;
            if args.json {
                json(&json_of(warifu, None, None, &status))?;
            } else {
                note(&say!("refresh-not-due", days = every.days));
            }
            return Ok(Exit::Ok);
        }
    }
    let plan = warifu
        .vault()
        .plan_refresh(warifu.context(), args.anew)
        .await;
    let plan = plan.map_err(failed)?;
    if !args.json {
        show_plan(&plan, args.yes)?;
    }
    if !args.yes {
        if args.json {
            let status = warifu.vault().generation_status().await.map_err(failed)?;
            json(&json_of(warifu, Some(&plan), None, &status))?;
        }
        return Ok(Exit::Ok);
    }
    if !plan.possible {
        let failure = Failure::new(
            Exit::TooFew,
            say!("refresh-too-few"),
            say!("status-away-next"),
        );
        return Err(failure.with(plan.absent.iter().map(server_fault)));
    }
    let quiet = crate::quiet() || args.json;
    let done = apply(warifu, args.limit, args.anew, quiet).await?;
    if args.json {
        json(&json_of(warifu, Some(&plan), Some(&done), &done.status))?;
    } else {
        show_done(warifu, &done)?;
    }
    Ok(if done.status.is_complete() {
        Exit::Ok
    } else {
        Exit::Care
    })
}

/// Begins a refresh, whether or not one is under way, and does it.
pub async fn anew(
    warifu: &Warifu,
    limit: Option<u32>,
    quiet: bool,
) -> Result<RefreshReport, Failure> {
    apply(warifu, limit, true, quiet).await
}

async fn apply(
    warifu: &Warifu,
    limit: Option<u32>,
    anew: bool,
    quiet: bool,
) -> Result<RefreshReport, Failure> {
    let options = RefreshOptions {
        limit: limit.map(|mib| u64::from(mib) << 20),
        anew,
        ..RefreshOptions::default()
    };
    let progress = Progress::work(quiet);
    let done = warifu
        .vault()
        .refresh(
            warifu.context(),
            &options,
            &|at| {
                progress.set_of((at.bytes_done, at.bytes), (at.extents_done, at.extents));
            },
            &stop::is_requested,
        )
        .await;
    progress.done();
    done.map_err(|error| Failure::vault(&error, &say!("the-vault")))
}

fn json_of(
    warifu: &Warifu,
    plan: Option<&RefreshPlan>,
    done: Option<&RefreshReport>,
    status: &GenerationStatus,
) -> JsonRefresh {
    let faults = match (plan, done) {
        (_, Some(done)) => done.faults.as_slice(),
        (Some(plan), None) => plan.absent.as_slice(),
        (None, None) => &[],
    };
    let every_days = warifu.file().refresh.map(|every| every.days);
    JsonRefresh {
        applied: done.is_some(),
        due: plan.is_some(),
        resumes: plan.is_some_and(|plan| plan.resumes),
        planned_extents: plan.map_or(0, |plan| plan.extents),
        planned_bytes: plan.map_or(0, |plan| plan.bytes),
        possible: plan.is_none_or(|plan| plan.possible),
        extents: done.map_or(0, |done| done.extents),
        bytes: done.map_or(0, |done| done.bytes),
        unreadable: done.map_or(0, |done| done.unreadable),
        faults: faults
            .iter()
            .map(|fault| JsonFault {
                server: fault.server.clone(),
                damage: fault_key(fault.fault),
                detail: fault.detail.clone(),
            })
            .collect(),
        generations: JsonGenerations::of(status, every_days),
    }
}

fn show_plan(plan: &RefreshPlan, apply: bool) -> Result<(), Failure> {
    let (target, least) = (plan.thresholds.target(), plan.thresholds.least());
    let mut lines = Vec::new();
    if let (true, Some(begun)) = (plan.resumes, plan.generations.begun) {
        lines.push(say!("refresh-resumes", time = local_time(begun)));
    }
    lines.push(say!(
        "refresh-plan",
        extents = plan.extents,
        size = size(plan.bytes),
        n = target.n()
    ));
    lines.push(if least == 1 {
        say!("refresh-no-use")
    } else {
        say!("refresh-promise", k = least)
    });
    if plan.joined > 0 {
        lines.push(say!("refresh-joined", extents = plan.joined));
    }
    for fault in &plan.absent {
        lines.push(format!("  {}", server_fault(fault)));
    }
    if !plan.possible {
        lines.push(say!("refresh-too-few"));
        lines.push(say!("next", next = say!("status-away-next")));
    } else if !plan.absent.is_empty() {
        lines.push(say!("refresh-absent"));
    }
    if plan.possible && !apply {
        lines.push(say!("next", next = say!("refresh-apply-next")));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    Ok(print(&text)?)
}

pub fn show_done(warifu: &Warifu, done: &RefreshReport) -> Result<(), Failure> {
    let mut lines = vec![say!(
        "refresh-done",
        extents = done.extents,
        size = size(done.bytes)
    )];
    lines.extend(generation_lines(&done.status, warifu));
    if done.unreadable > 0 {
        lines.push(say!("refresh-unreadable", extents = done.unreadable));
    }
    lines.extend(
        done.faults
            .iter()
            .map(|fault| format!("  {}", server_fault(fault))),
    );
    if done.status.is_complete() {
        lines.push(say!("refresh-complete"));
    } else {
        lines.push(say!("next", next = left_next_of(done)));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    Ok(print(&text)?)
}

#[cfg(test)]
mod tests {
    use warifu::{Threshold, ThresholdChange, Timestamp};

    use super::*;

    fn ended(left: u64) -> GenerationStatus {
        let at = Timestamp { secs: 1, nanos: 0 };
        let mut status = GenerationStatus {
            left,
            ..GenerationStatus::default()
        };
        status.generations.begun = Some(at);
        status.generations.ended = Some(at);
        status
    }

    #[test]
    fn what_an_old_copy_of_the_vault_file_saved_is_told_with_its_own_next_step() {
        let mut status = ended(3);
        assert!(status.is_saved_as_before() && !status.is_complete());
        let next = left_next(&status, 0, false);
        assert!(next.contains("mount") && next.contains("refresh"), "{next}");
        let (from, to) = (Threshold::new(2, 3).unwrap(), Threshold::new(3, 5).unwrap());
        let mut change = ThresholdChange {
            from,
            to,
            in_force: false,
        };
        status.change = Some(change);
        assert!(!status.is_saved_as_before(), "nothing has begun yet");
        change.in_force = true;
        status.change = Some(change);
        let next = left_next(&status, 0, false);
        assert!(
            next.contains("mount") && next.contains("threshold"),
            "{next}"
        );
        status.generations.ended = None;
        assert!(!status.is_saved_as_before(), "it is under way");
        assert!(!ended(0).is_saved_as_before());
    }

    #[test]
    fn what_keeps_a_refresh_from_ending_has_a_next_step_of_its_own() {
        let mut status = ended(0);
        status.generations.ended = None;
        let held = |unknown| Holding {
            objects: 3,
            unknown,
        };
        status.holding.insert("a".into(), held(false));
        let leased = left_next(&status, 0, false);
        assert!(leased.contains("ten minutes"), "{leased}");
        let away = left_next(&status, 0, true);
        assert!(away.contains("when all servers answer"), "{away}");
        status.holding.insert("b".into(), held(true));
        assert_eq!(left_next(&status, 0, false), away);
        status.left = 2;
        let unreadable = left_next(&status, 2, true);
        assert!(unreadable.contains("verify"), "{unreadable}");
    }
}

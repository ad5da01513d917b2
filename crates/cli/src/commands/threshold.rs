//! `threshold` and `server add`: how many servers are needed, of how many.

use std::time::Duration;

use serde::Serialize;
use warifu::{
    AddedServer, Consequences, NewServer, Preset, RefreshOptions, ServerFault, Threshold,
    ThresholdChanged, ThresholdPlan, Warifu,
};

use super::folder::JsonFolder;
use super::init::{server, set_option};
use super::refresh::{JsonGenerations, generation_lines, left_next_of};
use super::{Done, folder, with_vault_opened};
use crate::args;
use crate::exit::Exit;
use crate::failure::{Failure, server_fault};
use crate::output::{Progress, fault_key, json, print, shown_text, size};
use crate::stop;
use crate::unlocking::opening;
use crate::words::{say, set_vault};

// What the fields mean stands in JSON.md.

#[derive(Serialize)]
struct JsonThreshold {
    applied: bool,
    from: JsonMeaning,
    to: Option<JsonMeaning>,
    resumes: bool,
    added: Vec<JsonAdded>,
    removed: Vec<String>,
    folders: Vec<JsonFolder>,
    files: u64,
    planned_extents: u64,
    planned_bytes: u64,
    joined: u64,
    estimated_seconds: Option<u64>,
    possible: bool,
    extents: u64,
    bytes: u64,
    unreadable: u64,
    faults: Vec<JsonFault>,
    ended: bool,
    generations: JsonGenerations,
}

#[derive(Serialize)]
pub(super) struct JsonMeaning {
    k: u8,
    n: u8,
    may_be_stolen: u8,
    may_be_away: u8,
}

#[derive(Serialize)]
struct JsonAdded {
    index: u8,
    name: String,
    url: String,
    beside: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct JsonFault {
    server: String,
    damage: &'static str,
    detail: String,
}

impl From<Threshold> for JsonMeaning {
    fn from(threshold: Threshold) -> Self {
        let Consequences { stolen, away } = threshold.into();
        Self {
            k: threshold.k(),
            n: threshold.n(),
            may_be_stolen: stolen,
            may_be_away: away,
        }
    }
}

/// What a change is to be, and how it is done.
struct Change {
    servers: Vec<NewServer>,
    yes: bool,
    limit: Option<u64>,
    json: bool,
}

pub async fn run(args: args::Threshold) -> Done {
    set_vault(&args.vault);
    let wanted = wanted(&args)?;
    if args.folder.is_some() || args.folders {
        return folder::run(args, wanted).await;
    }
    let change = Change {
        servers: new_servers(&args.vault, &args.server, &args.server_option)?,
        yes: args.yes,
        limit: args.limit.map(|mib| u64::from(mib) << 20),
        json: args.json,
    };
    let options = opening().without_upkeep().read_only(!change.yes);
    with_vault_opened(&args.vault, options, |warifu| async move {
        let under_way = warifu.file().becoming;
        match wanted.or(under_way) {
            Some(to) => apply(&warifu, to, &change).await,
            None => show(&warifu, &change).await,
        }
    })
    .await
}

/// One server more, with as many needed as before.
pub async fn add(args: args::ServerAdd) -> Done {
    set_vault(&args.vault);
    let change = Change {
        servers: new_servers(
            &args.vault,
            std::slice::from_ref(&args.url),
            &args.server_option,
        )?,
        yes: args.yes,
        limit: args.limit.map(|mib| u64::from(mib) << 20),
        json: args.json,
    };
    let options = opening().without_upkeep().read_only(!change.yes);
    with_vault_opened(&args.vault, options, |warifu| async move {
        let now = warifu.file().threshold;
        let n = now.n().saturating_add(1);
        let to = Threshold::new(now.k(), n);
        let to = to.map_err(|bad| Failure::opening(warifu::Error::Threshold(bad)))?;
        apply(&warifu, to, &change).await
    })
    .await
}

fn wanted(args: &args::Threshold) -> Result<Option<Threshold>, Failure> {
    let threshold = |k, n| {
        let threshold = Threshold::new(k, n);
        threshold.map_err(|bad| Failure::opening(warifu::Error::Threshold(bad)))
    };
    if let Some(name) = &args.preset {
        let Some(preset) = Preset::find(name) else {
            let known: Vec<&str> = Preset::ALL.iter().map(|preset| preset.name).collect();
            return Err(Failure::new(
                Exit::Usage,
                say!("no-preset", name = shown_text(name)),
                say!("no-preset-next", known = known.join(", ")),
            ));
        };
        return threshold(preset.k, preset.n).map(Some);
    }
    match (args.k, args.n) {
        (Some(k), Some(n)) => threshold(k, n).map(Some),
        _ => Ok(None),
    }
}

/// The servers named. One without a name is called by the number that it gets.
fn new_servers(
    vault: &std::path::Path,
    words: &[String],
    options: &[String],
) -> Result<Vec<NewServer>, Failure> {
    let file = warifu::VaultFile::read(vault)
        .map_err(|error| Failure::opening(warifu::Error::VaultFile(error)))?;
    let first = usize::from(file.threshold.n());
    let words = words.iter().enumerate();
    let mut servers: Vec<NewServer> = words
        .map(|(position, word)| server(first + position, word))
        .collect();
    for word in options {
        set_option(&mut servers, word)?;
    }
    Ok(servers)
}

/// What the threshold is, what that means, and what it could be.
async fn show(warifu: &Warifu, change: &Change) -> Done {
    let failed = |error| Failure::vault(&error, &say!("the-vault"));
    if !change.servers.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            say!("threshold-unsaid"),
            say!("threshold-unsaid-next"),
        ));
    }
    let now = warifu.file().threshold;
    let folders = warifu.vault().folder_thresholds().await.map_err(failed)?;
    if change.json {
        let status = warifu.vault().generation_status().await.map_err(failed)?;
        let every_days = warifu.file().refresh.map(|every| every.days);
        json(&JsonThreshold {
            applied: false,
            from: now.into(),
            to: None,
            resumes: false,
            added: Vec::new(),
            removed: Vec::new(),
            folders: folders.iter().map(JsonFolder::of).collect(),
            files: 0,
            planned_extents: 0,
            planned_bytes: 0,
            joined: 0,
            estimated_seconds: None,
            possible: true,
            extents: 0,
            bytes: 0,
            unreadable: 0,
            faults: Vec::new(),
            ended: status.is_complete(),
            generations: JsonGenerations::of(&status, every_days),
        })?;
        return Ok(Exit::Ok);
    }
    let mut lines = vec![say!(
        "threshold-now",
        k = now.k(),
        n = now.n(),
        meaning = meaning(now)
    )];
    lines.extend(folder::but_for(&folders));
    lines.push(say!("threshold-presets"));
    for preset in Preset::ALL {
        let threshold = preset.threshold().map_err(Failure::opening)?;
        lines.push(say!(
            "threshold-preset",
            name = preset.name,
            k = preset.k,
            n = preset.n,
            meaning = meaning(threshold)
        ));
    }
    lines.push(say!("next", next = say!("threshold-choose-next")));
    print(&format!("{}\n", lines.join("\n")))?;
    Ok(Exit::Ok)
}

async fn apply(warifu: &Warifu, to: Threshold, change: &Change) -> Done {
    let plan = warifu.plan_threshold(to, &change.servers, change.limit);
    let plan = plan.await.map_err(Failure::opening)?;
    if !change.json {
        show_plan(&plan, change.yes)?;
    }
    if !change.yes {
        if change.json {
            json(&json_of(warifu, &plan, None).await?)?;
        }
        return Ok(Exit::Ok);
    }
    if !plan.refresh.possible {
        let failure = Failure::new(
            Exit::TooFew,
            say!("refresh-too-few"),
            say!("status-away-next"),
        );
        return Err(failure.with(plan.refresh.absent.iter().map(server_fault)));
    }
    let options = RefreshOptions {
        limit: change.limit,
        ..RefreshOptions::default()
    };
    let progress = Progress::work(crate::quiet() || change.json);
    let tell = |at: warifu::RefreshProgress| {
        progress.set_of((at.bytes_done, at.bytes), (at.extents_done, at.extents));
    };
    let done = warifu.change_threshold(&plan, &options, &tell, &stop::is_requested);
    let done = done.await;
    progress.done();
    let done = done.map_err(Failure::opening)?;
    if change.json {
        json(&json_of(warifu, &plan, Some(&done)).await?)?;
    } else {
        show_done(warifu, &plan, &done)?;
    }
    Ok(if done.ended { Exit::Ok } else { Exit::Care })
}

/// What follows from a threshold, in words.
pub(super) fn meaning(threshold: Threshold) -> String {
    let Consequences { stolen, away } = threshold.into();
    let stolen = say!("threshold-stolen", servers = stolen);
    let away = say!("threshold-away", servers = away);
    say!("threshold-meaning", stolen = stolen, away = away)
}

pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs().max(1);
    match seconds {
        0..120 => say!("about-seconds", number = seconds),
        120..7200 => say!("about-minutes", number = seconds.div_ceil(60)),
        _ => say!("about-hours", number = seconds.div_ceil(3600)),
    }
}

fn added_line(added: &AddedServer) -> Vec<String> {
    let mut lines = vec![say!(
        "threshold-added",
        index = added.index.get(),
        server = shown_text(&added.name),
        url = shown_text(&added.url)
    )];
    if !added.beside.is_empty() {
        let beside: Vec<String> = added.beside.iter().map(|name| shown_text(name)).collect();
        let said = say!("server-same-place", servers = beside.join(", "));
        lines.push(format!("       {said}"));
    }
    lines
}

fn show_plan(plan: &ThresholdPlan, apply: bool) -> Result<(), Failure> {
    let (from, to) = (plan.from, plan.to);
    let mut lines = Vec::new();
    if plan.resumes {
        lines.push(say!("threshold-resumes"));
    }
    lines.push(say!(
        "threshold-plan",
        k = from.k(),
        n = from.n(),
        to_k = to.k(),
        to_n = to.n()
    ));
    lines.extend(plan.added.iter().flat_map(added_line));
    for server in &plan.removed {
        lines.push(say!("threshold-removed", server = shown_text(server)));
    }
    lines.extend(folder::but_for(&plan.folders));
    lines.push(say!(
        "threshold-work",
        files = plan.files,
        extents = plan.refresh.extents,
        size = size(plan.refresh.bytes),
        n = to.n()
    ));
    if plan.refresh.extents > 0 {
        lines.push(match plan.estimate {
            Some(time) => say!("threshold-time", time = duration(time)),
            None => say!("threshold-time-unknown"),
        });
    }
    if plan.refresh.joined > 0 {
        lines.push(say!("threshold-joined", extents = plan.refresh.joined));
    }
    lines.push(say!("threshold-before", meaning = meaning(from)));
    lines.push(if plan.needs_more() {
        say!("threshold-during-more", k = from.k(), to_k = to.k())
    } else if to.k() < from.k() {
        say!("threshold-during-fewer", to_k = to.k())
    } else {
        say!("threshold-during-same", k = to.k())
    });
    let away = |threshold: Threshold| Consequences::from(threshold).away;
    let away = away(from).min(away(to));
    lines.push(say!("threshold-during-away", servers = away));
    lines.push(say!("threshold-after", meaning = meaning(to)));
    if plan.needs_more() {
        lines.push(say!("threshold-copied", k = from.k()));
    }
    let absent = &plan.refresh.absent;
    lines.extend(
        absent
            .iter()
            .map(|fault| format!("  {}", server_fault(fault))),
    );
    if !plan.refresh.possible {
        lines.push(say!("refresh-too-few"));
        lines.push(say!("next", next = say!("status-away-next")));
    } else if !absent.is_empty() {
        lines.push(say!("threshold-absent"));
    }
    if plan.refresh.possible && !apply {
        lines.push(say!("next", next = say!("threshold-apply-next")));
    }
    Ok(print(&format!("{}\n", lines.join("\n")))?)
}

fn show_done(
    warifu: &Warifu,
    plan: &ThresholdPlan,
    done: &ThresholdChanged,
) -> Result<(), Failure> {
    let report = &done.report;
    let mut lines = vec![say!(
        "refresh-done",
        extents = report.extents,
        size = size(report.bytes)
    )];
    if report.unreadable > 0 {
        lines.push(say!("refresh-unreadable", extents = report.unreadable));
    }
    let faults = report.faults.iter();
    lines.extend(faults.map(|fault| format!("  {}", server_fault(fault))));
    let (k, n) = (plan.to.k(), plan.to.n());
    if done.ended {
        lines.push(say!("threshold-done", k = k, n = n));
        lines.extend(folder::but_for(&plan.folders));
    } else {
        lines.extend(generation_lines(&report.status, warifu));
        lines.push(say!("next", next = left_next_of(report)));
    }
    Ok(print(&format!("{}\n", lines.join("\n")))?)
}

async fn json_of(
    warifu: &Warifu,
    plan: &ThresholdPlan,
    done: Option<&ThresholdChanged>,
) -> Result<JsonThreshold, Failure> {
    let faults = match done {
        Some(done) => &done.report.faults,
        None => &plan.refresh.absent,
    };
    let every_days = warifu.file().refresh.map(|every| every.days);
    let status = match done {
        Some(done) => done.report.status.clone(),
        None => {
            let status = warifu.vault().generation_status().await;
            status.map_err(|error| Failure::vault(&error, &say!("the-vault")))?
        }
    };
    let added = plan.added.iter().map(|added| JsonAdded {
        index: added.index.get(),
        name: added.name.clone(),
        url: added.url.clone(),
        beside: added.beside.clone(),
    });
    let report = done.map(|done| &done.report);
    Ok(JsonThreshold {
        applied: done.is_some(),
        from: plan.from.into(),
        to: Some(plan.to.into()),
        resumes: plan.resumes,
        added: added.collect(),
        removed: plan.removed.clone(),
        folders: plan.folders.iter().map(JsonFolder::of).collect(),
        files: plan.files,
        planned_extents: plan.refresh.extents,
        planned_bytes: plan.refresh.bytes,
        joined: plan.refresh.joined,
        estimated_seconds: plan.estimate.map(|time| time.as_secs()),
        possible: plan.refresh.possible,
        extents: report.map_or(0, |report| report.extents),
        bytes: report.map_or(0, |report| report.bytes),
        unreadable: report.map_or(0, |report| report.unreadable),
        faults: faults.iter().map(json_fault).collect(),
        ended: done.is_some_and(|done| done.ended),
        generations: JsonGenerations::of(&status, every_days),
    })
}

pub(super) fn json_fault(fault: &ServerFault) -> JsonFault {
    JsonFault {
        server: fault.server.clone(),
        damage: fault_key(fault.fault),
        detail: fault.detail.clone(),
    }
}

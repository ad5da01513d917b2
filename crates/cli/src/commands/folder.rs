//! `threshold --folder`: how many servers are needed for what is in a folder.

use std::ffi::OsStr;

use serde::Serialize;
use warifu::{
    FolderPlan, FolderThreshold, NodeId, NodeKind, RefreshOptions, RefreshReport, Threshold, Warifu,
};

use super::refresh::{JsonGenerations, generation_lines, left_next_of};
use super::threshold::{JsonFault, JsonMeaning, duration, json_fault, meaning};
use super::{Done, vault_path, with_vault_opened};
use crate::args;
use crate::exit::Exit;
use crate::failure::{Failure, server_fault};
use crate::output::{JsonName, Progress, json, print, shown, size};
use crate::stop;
use crate::unlocking::opening;
use crate::words::say;

// What the fields mean stands in JSON.md.

/// A folder that asks for a threshold of its own, for programs.
#[derive(Serialize)]
pub(super) struct JsonFolder {
    #[serde(flatten)]
    path: Option<JsonName>,
    asks: JsonMeaning,
    effective: JsonMeaning,
}

impl JsonFolder {
    pub(super) fn of(folder: &FolderThreshold) -> Self {
        Self {
            path: path_of(folder).map(|path| JsonName::new(&path)),
            asks: folder.threshold.into(),
            effective: folder.effective.into(),
        }
    }
}

#[derive(Serialize)]
struct JsonFolderChange {
    applied: bool,
    #[serde(flatten)]
    path: Option<JsonName>,
    asks: Option<JsonMeaning>,
    from: Option<JsonMeaning>,
    to: Option<JsonMeaning>,
    planned_extents: u64,
    planned_bytes: u64,
    joined: u64,
    estimated_seconds: Option<u64>,
    extents: u64,
    bytes: u64,
    unreadable: u64,
    faults: Vec<JsonFault>,
    ended: bool,
    generations: JsonGenerations,
}

fn path_of(folder: &FolderThreshold) -> Option<Vec<u8>> {
    let mut path = Vec::new();
    for name in folder.path.as_ref()? {
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
    }
    Some(path)
}

/// A folder that asks for a threshold of its own, for people.
pub(super) fn line(folder: &FolderThreshold) -> String {
    let path = match path_of(folder) {
        Some(path) => shown(&path),
        None => say!("folder-removed"),
    };
    let (asked, dealt) = (folder.threshold, folder.effective);
    match asked == dealt {
        true => say!("folder-asks", path = path, k = asked.k(), n = asked.n()),
        false => say!(
            "folder-asks-in-vain",
            path = path,
            k = asked.k(),
            n = asked.n(),
            to_k = dealt.k(),
            to_n = dealt.n()
        ),
    }
}

pub(super) async fn run(args: args::Threshold, wanted: Option<Threshold>) -> Done {
    let changes = wanted.is_some() || args.inherit || args.folders;
    let options = opening().without_upkeep().read_only(!(changes && args.yes));
    with_vault_opened(&args.vault.clone(), options, |warifu| async move {
        match &args.folder {
            Some(path) if changes => of_folder(&warifu, path, wanted, &args).await,
            Some(path) => show(&warifu, path, &args).await,
            None => of_all(&warifu, &args).await,
        }
    })
    .await
}

async fn folder(warifu: &Warifu, path: &OsStr) -> Result<(NodeId, Vec<u8>), Failure> {
    let path = vault_path(path)?.to_bytes();
    let found = warifu.vault().resolve(warifu.context(), &path).await;
    let attr = found.map_err(|error| Failure::vault(&error, &shown(&path)))?;
    if attr.kind != NodeKind::Dir {
        return Err(Failure::vault(&warifu::VaultError::NotDir, &shown(&path)));
    }
    if attr.node == NodeId::ROOT {
        return Err(Failure::new(
            Exit::Usage,
            say!("folder-is-root"),
            say!("folder-is-root-next"),
        ));
    }
    Ok((attr.node, path))
}

/// By what a folder is dealt.
async fn show(warifu: &Warifu, path: &OsStr, args: &args::Threshold) -> Done {
    let (node, path) = folder(warifu, path).await?;
    let failed = |error| Failure::vault(&error, &shown(&path));
    let vault = warifu.vault();
    let now = vault.threshold_in(node).await.map_err(failed)?;
    let asked = vault.folder_thresholds().await.map_err(failed)?;
    let asks = asked.iter().find(|asked| asked.node == node);
    if args.json {
        let status = vault.generation_status().await.map_err(failed)?;
        json(&JsonFolderChange {
            path: Some(JsonName::new(&path)),
            asks: asks.map(|asks| asks.threshold.into()),
            from: Some(now.into()),
            ..nothing_done(warifu, &status)
        })?;
        return Ok(Exit::Ok);
    }
    let (k, n) = (now.k(), now.n());
    let mut lines = vec![say!(
        "folder-now",
        path = shown(&path),
        k = k,
        n = n,
        meaning = meaning(now)
    )];
    match asks {
        Some(asks) => lines.push(line(asks)),
        None => lines.push(say!("folder-inherits")),
    }
    lines.push(say!(
        "next",
        next = say!("folder-choose-next", path = shown(&path))
    ));
    print(&format!("{}\n", lines.join("\n")))?;
    Ok(Exit::Ok)
}

async fn of_folder(
    warifu: &Warifu,
    path: &OsStr,
    to_ask: Option<Threshold>,
    args: &args::Threshold,
) -> Done {
    let (node, path) = folder(warifu, path).await?;
    refuse(warifu, to_ask)?;
    let limit = args.limit.map(|mib| u64::from(mib) << 20);
    let plan = warifu.plan_folder(node, to_ask, limit).await;
    let plan = plan.map_err(|error| match error {
        warifu::Error::SameThreshold(threshold) => Failure::new(
            Exit::Exists,
            say!(
                "folder-same",
                path = shown(&path),
                k = threshold.k(),
                n = threshold.n()
            ),
            say!("folder-same-next"),
        ),
        other => Failure::opening(other),
    })?;
    if !args.json {
        show_plan(&plan, &path, args.yes)?;
    }
    let done = match args.yes {
        true => {
            let options = RefreshOptions {
                limit,
                ..RefreshOptions::default()
            };
            let progress = Progress::work(crate::quiet() || args.json);
            let tell = |at: warifu::RefreshProgress| {
                progress.set_of((at.bytes_done, at.bytes), (at.extents_done, at.extents));
            };
            let done = warifu.change_folder(&plan, &options, &tell, &stop::is_requested);
            let done = done.await;
            progress.done();
            Some(done.map_err(Failure::opening)?)
        }
        false => None,
    };
    if args.json {
        let status = match &done {
            Some(done) => done.status.clone(),
            None => status(warifu).await?,
        };
        json(&JsonFolderChange {
            path: Some(JsonName::new(&path)),
            asks: plan.to_ask.map(Into::into),
            from: Some(plan.from.into()),
            to: Some(plan.to.into()),
            planned_extents: plan.refresh.extents,
            planned_bytes: plan.refresh.bytes,
            joined: plan.refresh.joined,
            estimated_seconds: plan.estimate.map(|time| time.as_secs()),
            ..what_was_done(warifu, done.as_ref(), &status)
        })?;
    } else if let Some(done) = &done {
        let (k, n) = (plan.to.k(), plan.to.n());
        let said = say!("folder-done", path = shown(&path), k = k, n = n);
        show_done(warifu, done, said)?;
    }
    Ok(done.as_ref().map_or(Exit::Ok, exit))
}

/// Refuses what the vault would refuse, and says what to do.
fn refuse(warifu: &Warifu, to_ask: Option<Threshold>) -> Result<(), Failure> {
    let Some(to) = to_ask else { return Ok(()) };
    let vault = warifu.file().threshold;
    if to.k() >= vault.k() && to.n() <= vault.n() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Usage,
        say!(
            "folder-impossible",
            k = to.k(),
            n = to.n(),
            vault_k = vault.k(),
            vault_n = vault.n()
        ),
        say!("folder-impossible-next"),
    ))
}

/// Deals anew what is not dealt as its folder asks.
async fn of_all(warifu: &Warifu, args: &args::Threshold) -> Done {
    let before = status(warifu).await?;
    if !args.yes {
        if args.json {
            json(&nothing_done(warifu, &before))?;
        } else {
            let mut lines = vec![say!("folders-work", extents = before.unlike)];
            if before.unlike > 0 {
                lines.push(say!("next", next = say!("folders-next")));
            }
            print(&format!("{}\n", lines.join("\n")))?;
        }
        return Ok(Exit::Ok);
    }
    let options = RefreshOptions {
        limit: args.limit.map(|mib| u64::from(mib) << 20),
        ..RefreshOptions::default()
    };
    let progress = Progress::work(crate::quiet() || args.json);
    let tell = |at: warifu::RefreshProgress| {
        progress.set_of((at.bytes_done, at.bytes), (at.extents_done, at.extents));
    };
    let (vault, me) = (warifu.vault(), warifu.context());
    let done = vault
        .deal_as_folders_ask(me, &options, &tell, &stop::is_requested)
        .await;
    progress.done();
    let done = done.map_err(|error| Failure::vault(&error, &say!("the-vault")))?;
    if args.json {
        json(&what_was_done(warifu, Some(&done), &done.status))?;
    } else {
        show_done(warifu, &done, say!("folders-done"))?;
    }
    Ok(exit(&done))
}

fn exit(done: &RefreshReport) -> Exit {
    match done.status.is_complete() {
        true => Exit::Ok,
        false => Exit::Care,
    }
}

async fn status(warifu: &Warifu) -> Result<warifu::GenerationStatus, Failure> {
    let status = warifu.vault().generation_status().await;
    status.map_err(|error| Failure::vault(&error, &say!("the-vault")))
}

fn nothing_done(warifu: &Warifu, status: &warifu::GenerationStatus) -> JsonFolderChange {
    what_was_done(warifu, None, status)
}

fn what_was_done(
    warifu: &Warifu,
    done: Option<&RefreshReport>,
    status: &warifu::GenerationStatus,
) -> JsonFolderChange {
    let every_days = warifu.file().refresh.map(|every| every.days);
    let faults = done.map(|done| done.faults.iter().map(json_fault).collect());
    JsonFolderChange {
        applied: done.is_some(),
        path: None,
        asks: None,
        from: None,
        to: None,
        planned_extents: 0,
        planned_bytes: 0,
        joined: 0,
        estimated_seconds: None,
        extents: done.map_or(0, |done| done.extents),
        bytes: done.map_or(0, |done| done.bytes),
        unreadable: done.map_or(0, |done| done.unreadable),
        faults: faults.unwrap_or_default(),
        ended: status.is_complete(),
        generations: JsonGenerations::of(status, every_days),
    }
}

fn show_plan(plan: &FolderPlan, path: &[u8], apply: bool) -> Result<(), Failure> {
    let (from, to) = (plan.from, plan.to);
    let mut lines = vec![say!(
        "folder-plan",
        path = shown(path),
        k = from.k(),
        n = from.n(),
        to_k = to.k(),
        to_n = to.n()
    )];
    lines.push(say!(
        "folder-work",
        extents = plan.refresh.extents,
        size = size(plan.refresh.bytes)
    ));
    if plan.refresh.extents > 0 {
        lines.push(match plan.estimate {
            Some(time) => say!("threshold-time", time = duration(time)),
            None => say!("threshold-time-unknown"),
        });
    }
    lines.push(say!("threshold-before", meaning = meaning(from)));
    lines.push(match to.k() > from.k() {
        true => say!("folder-during-more", to_k = to.k(), k = from.k()),
        false => say!("folder-during-fewer", to_k = to.k()),
    });
    lines.push(say!("threshold-after", meaning = meaning(to)));
    if to.k() > from.k() {
        lines.push(say!("threshold-copied", k = from.k()));
    }
    lines.push(say!("folder-names"));
    let absent = &plan.refresh.absent;
    lines.extend(
        absent
            .iter()
            .map(|fault| format!("  {}", server_fault(fault))),
    );
    if !absent.is_empty() {
        lines.push(say!("threshold-absent"));
    }
    if !apply {
        lines.push(say!("next", next = say!("threshold-apply-next")));
    }
    Ok(print(&format!("{}\n", lines.join("\n")))?)
}

fn show_done(warifu: &Warifu, done: &RefreshReport, said: String) -> Result<(), Failure> {
    let mut lines = vec![say!(
        "refresh-done",
        extents = done.extents,
        size = size(done.bytes)
    )];
    if done.unreadable > 0 {
        lines.push(say!("refresh-unreadable", extents = done.unreadable));
    }
    let faults = done.faults.iter();
    lines.extend(faults.map(|fault| format!("  {}", server_fault(fault))));
    if done.status.is_complete() {
        lines.push(said);
    } else {
        lines.extend(generation_lines(&done.status, warifu));
        lines.push(say!("next", next = left_next_of(done)));
    }
    Ok(print(&format!("{}\n", lines.join("\n")))?)
}

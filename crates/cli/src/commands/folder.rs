//! `threshold --folder`: how many servers are needed for what is in a folder.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde::Serialize;
use warifu::{
    FolderPlan, FolderThreshold, NodeId, NodeKind, RefreshOptions, RefreshReport, Threshold, Warifu,
};

use super::refresh::{JsonGenerations, generation_lines, left_next, left_next_of};
use super::threshold::{JsonFault, JsonMeaning, duration, json_fault, meaning};
use super::{Done, vault_path, with_vault_opened};
use crate::args;
use crate::exit::Exit;
use crate::failure::{Failure, server_fault};
use crate::output::{JsonName, Progress, json, print, shell_word, shown, size};
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

pub(super) fn path_of(folder: &FolderThreshold) -> Option<Vec<u8>> {
    let mut path = Vec::new();
    for name in folder.path.as_ref()? {
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
    }
    Some(path)
}

/// A folder that asks for a threshold of its own, for people.
pub(super) fn line(folder: &FolderThreshold) -> String {
    let (asked, dealt) = (folder.threshold, folder.effective);
    let Some(path) = path_of(folder) else {
        return say!("folder-removed", k = dealt.k(), n = dealt.n());
    };
    match asked == dealt {
        true => say!(
            "folder-asks",
            path = shown(&path),
            k = asked.k(),
            n = asked.n(),
            meaning = meaning(dealt)
        ),
        false => say!(
            "folder-asks-in-vain",
            path = shown(&path),
            meaning = meaning(dealt),
            k = asked.k(),
            n = asked.n(),
            to_k = dealt.k(),
            to_n = dealt.n()
        ),
    }
}

/// What does not go by something that is said of all, where there is anything such.
pub(super) fn but_for(folders: &[FolderThreshold]) -> Vec<String> {
    if folders.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![say!("folders-but-for")];
    lines.extend(folders.iter().map(line));
    lines
}

pub(super) async fn run(args: args::Threshold, wanted: Option<Threshold>) -> Done {
    let changes = wanted.is_some() || args.inherit;
    let options = opening().without_upkeep().read_only(!args.yes);
    with_vault_opened(&args.vault.clone(), options, |warifu| async move {
        if args.yes || changes {
            refuse_beside_a_change(&warifu)?;
        }
        match &args.folder {
            Some(path) if changes => of_folder(&warifu, path, wanted, &args).await,
            Some(path) if !args.yes => show(&warifu, path, &args).await,
            // To go on is to do what is left, wherever it is.
            _ => of_all(&warifu, &args).await,
        }
    })
    .await
}

/// A change of the vault's threshold deals as folders ask, too, and comes first.
fn refuse_beside_a_change(warifu: &Warifu) -> Result<(), Failure> {
    match warifu.file().becoming {
        Some(becoming) => Err(Failure::opening(warifu::Error::ThresholdUnderWay {
            becoming,
        })),
        None => Ok(()),
    }
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
    let status = status(warifu).await?;
    if status.is_of_folders() {
        lines.extend(generation_lines(&status, warifu));
        lines.push(say!("next", next = left_next(&status, 0, false)));
    } else {
        lines.push(say!(
            "next",
            next = say!(
                "folder-choose-next",
                path = shell_word(OsStr::from_bytes(&path))
            )
        ));
    }
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
    let plan = plan.map_err(Failure::opening)?;
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
            faults: match &done {
                Some(done) => done.faults.iter().map(json_fault).collect(),
                None => plan.refresh.absent.iter().map(json_fault).collect(),
            },
            estimated_seconds: plan.estimate.map(|time| time.as_secs()),
            ..what_was_done(warifu, done.as_ref(), &status)
        })?;
    } else if let Some(done) = &done {
        let (k, n) = (plan.to.k(), plan.to.n());
        let mut said = vec![say!("folder-done", path = shown(&path), k = k, n = n)];
        said.extend(but_for(&plan.below));
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
            json(&JsonFolderChange {
                planned_extents: before.unlike,
                ..nothing_done(warifu, &before)
            })?;
        } else {
            let mut lines = Vec::new();
            if before.is_complete() {
                lines.push(say!("folders-done"));
            } else {
                lines.extend(generation_lines(&before, warifu));
                lines.push(say!("next", next = left_next(&before, 0, false)));
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
        show_done(warifu, &done, vec![say!("folders-done")])?;
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
    let mut lines = Vec::new();
    if plan.resumes {
        lines.push(say!("threshold-resumes"));
    }
    lines.push(say!(
        "folder-plan",
        path = shown(path),
        k = from.k(),
        n = from.n(),
        to_k = to.k(),
        to_n = to.n()
    ));
    lines.extend(but_for(&plan.below));
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
    if plan.resumes {
        lines.push(say!("folder-during-still"));
    } else {
        lines.push(say!("threshold-before", meaning = meaning(from)));
        lines.push(if to.k() > from.k() {
            say!("folder-during-more", to_k = to.k(), k = from.k())
        } else if to.k() < from.k() {
            say!("folder-during-fewer", to_k = to.k())
        } else {
            say!("threshold-during-same", k = to.k())
        });
    }
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

fn show_done(warifu: &Warifu, done: &RefreshReport, said: Vec<String>) -> Result<(), Failure> {
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
        lines.extend(said);
    } else {
        lines.extend(generation_lines(&done.status, warifu));
        lines.push(say!("next", next = left_next_of(done)));
    }
    Ok(print(&format!("{}\n", lines.join("\n")))?)
}

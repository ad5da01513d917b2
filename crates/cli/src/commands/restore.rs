//! `warifu restore`: a file, a folder or everything as it was.

use serde::Serialize;
use warifu::{
    CatalogError, Doubt, LeftOut, NodeKind, RestorePlan, RestoreReport, RestoreStep, RestoreWish,
    Restoring, VaultError, VaultPath, VersionNo, Warifu,
};

use super::{Done, vault_path, warn_unknown, with_vault};
use crate::args::Restore;
use crate::exit::Exit;
use crate::failure::{About as _, Failure};
use crate::output::{JsonName, Progress, json, local_time, note, print, shown, size, utc_time};
use crate::when;
use crate::words::{say, set_vault};

/// How many steps a plan shows people.
const SHOWN: usize = 20;

pub async fn run(args: Restore) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    let at = when::past(args.at.as_ref())?;
    // A version of one file takes nothing away, so it is brought back at once.
    let applies = args.yes || args.number.is_some();
    with_vault(&vault, !applies, |warifu| async move {
        let path = vault_path(&args.path)?;
        let to = args.to.as_ref().map(|to| vault_path(to)).transpose()?;
        match (args.number, at) {
            (Some(number), _) => {
                restore_version(&warifu, &args, &path, to.as_ref(), VersionNo(number)).await
            }
            (None, Some(at)) => {
                let (vault, me) = (warifu.vault(), warifu.context());
                let target = to.as_ref().map(VaultPath::names);
                let wish = RestoreWish {
                    exact: args.exact,
                    doubtful: args.doubtful,
                };
                let plan = vault
                    .plan_restore(me, path.names(), target, at, wish)
                    .await
                    .about(&path)?;
                warn_unknown(&warifu, at).await?;
                carry_out(&warifu, &args, &path, &plan).await
            }
            // The command line asks for one of both.
            (None, None) => Ok(Exit::Usage),
        }
    })
    .await
}

#[derive(Serialize)]
struct JsonVersion {
    #[serde(flatten)]
    name: JsonName,
    /// The version that was brought back.
    from: u64,
    /// The number that it has now.
    version: u64,
    size: u64,
}

async fn restore_version(
    warifu: &Warifu,
    args: &Restore,
    path: &VaultPath,
    to: Option<&VaultPath>,
    number: VersionNo,
) -> Done {
    let (vault, me) = (warifu.vault(), warifu.context());
    let last = vault.last_name(me, path.names()).await.about(path)?;
    if last.kind != NodeKind::File {
        return Err(VaultError::IsDir).about(path);
    }
    let target = to.unwrap_or(path);
    let attr = if to.is_none() && last.until.is_none() {
        vault.restore_version(me, last.node, number).await
    } else {
        let (folder, name) = target.split().ok_or(VaultError::IsDir).about(target)?;
        let version = (last.document, number);
        let place = (folder.names(), name);
        let rights = (last.mode, (last.uid, last.gid));
        vault.restore_as(me, place, version, rights).await
    };
    let attr = attr.about(target)?;
    if args.json {
        json(&JsonVersion {
            name: JsonName::new(&target.to_bytes()),
            from: number.0,
            version: attr.version.0,
            size: attr.size,
        })?;
    } else if !crate::quiet() {
        note(&say!(
            "restored-version",
            subject = shown(&target.to_bytes()),
            version = number.0,
            size = size(attr.size)
        ));
    }
    Ok(Exit::Ok)
}

#[derive(Serialize)]
struct JsonStep {
    #[serde(flatten)]
    name: JsonName,
    step: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// Where it is now, or what it is called from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    other: Option<String>,
}

#[derive(Serialize)]
struct JsonFailed {
    #[serde(flatten)]
    name: JsonName,
    why: String,
}

#[derive(Serialize)]
struct JsonLeftOut {
    #[serde(flatten)]
    name: JsonName,
    why: &'static str,
}

#[derive(Serialize)]
struct JsonRestore {
    at: String,
    applied: bool,
    /// Files that are as they were already.
    same: u64,
    /// Names that were not there then and stay.
    newer: u64,
    /// Names that are left as they are, because it is not certain what they stood for.
    left_out: Vec<JsonLeftOut>,
    steps: Vec<JsonStep>,
    failed: Vec<JsonFailed>,
}

fn path_bytes(path: &[warifu::Name]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in path {
        bytes.push(b'/');
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes
}

fn json_left_out(left: &LeftOut) -> JsonLeftOut {
    JsonLeftOut {
        name: JsonName::new(&path_bytes(&left.path)),
        why: match left.doubt {
            Doubt::Ahead => "ahead",
            Doubt::Empty => "empty",
            Doubt::Destroyed => "destroyed",
        },
    }
}

fn json_step(step: &RestoreStep) -> JsonStep {
    let (word, version, other) = match &step.what {
        Restoring::Aside(name) => ("aside", None, Some(name.display().into_owned())),
        Restoring::Folder { .. } => ("folder", None, None),
        Restoring::Back { from, .. } => {
            let from = String::from_utf8_lossy(&path_bytes(from)).into_owned();
            ("back", None, Some(from))
        }
        Restoring::File { version, .. } => ("file", Some(version.1.0), None),
        Restoring::Version { version, .. } => ("version", Some(version.1.0), None),
        Restoring::Special { .. } => ("special", None, None),
        Restoring::Remove { .. } => ("remove", None, None),
    };
    JsonStep {
        name: JsonName::new(&path_bytes(&step.path)),
        step: word,
        version,
        other,
    }
}

fn told_step(step: &RestoreStep) -> String {
    let path = shown(&path_bytes(&step.path));
    match &step.what {
        Restoring::Aside(name) => {
            say!("restore-aside", path = path, name = shown(name.as_bytes()))
        }
        Restoring::Folder { .. } => say!("restore-folder", path = path),
        Restoring::Back { from, .. } => {
            say!("restore-back", path = path, from = shown(&path_bytes(from)))
        }
        Restoring::File {
            version, size: of, ..
        } => say!(
            "restore-file",
            path = path,
            version = version.1.0,
            size = size(*of)
        ),
        Restoring::Version {
            version, size: of, ..
        } => say!(
            "restore-version",
            path = path,
            version = version.1.0,
            size = size(*of)
        ),
        Restoring::Special { .. } => say!("restore-special", path = path),
        Restoring::Remove { .. } => say!("restore-remove", path = path),
    }
}

async fn carry_out(warifu: &Warifu, args: &Restore, path: &VaultPath, plan: &RestorePlan) -> Done {
    if !args.json {
        show(plan)?;
    }
    let mut report = RestoreReport::default();
    let applied = args.yes && !plan.steps.is_empty();
    if applied {
        let counter = Progress::counter(crate::quiet() || args.json);
        let done = warifu
            .vault()
            .apply_restore(warifu.context(), plan, &|done, _| counter.set(done))
            .await;
        counter.done();
        report = done.about(path)?;
    }
    if args.json {
        let failed = report.failed.iter().map(|failed| {
            let path = path_bytes(&failed.step.path);
            JsonFailed {
                why: why(&failed.error, &shown(&path)),
                name: JsonName::new(&path),
            }
        });
        json(&JsonRestore {
            at: utc_time(plan.at),
            applied,
            same: plan.same,
            newer: plan.newer,
            left_out: plan.left_out.iter().map(json_left_out).collect(),
            steps: plan.steps.iter().map(json_step).collect(),
            failed: failed.collect(),
        })?;
    }
    if !report.failed.is_empty() {
        if !args.json {
            note(&say!("restore-failed", steps = report.failed.len()));
            for failed in report.failed.iter().take(SHOWN) {
                let path = shown(&path_bytes(&failed.step.path));
                note(&format!("  {}", why(&failed.error, &path)));
            }
            note(&say!("next", next = say!("restore-failed-next")));
        }
        return Ok(Exit::Care);
    }
    if applied && !args.json && !crate::quiet() {
        note(&say!("restore-done", steps = report.done));
    }
    if !plan.left_out.is_empty() && !args.json {
        note(&say!("next", next = say!("restore-left-next")));
    }
    Ok(if applied || plan.steps.is_empty() {
        if plan.left_out.is_empty() {
            Exit::Ok
        } else {
            Exit::Care
        }
    } else {
        if !args.json {
            note(&say!("next", next = say!("restore-yes-next")));
        }
        Exit::Care
    })
}

/// Why a step could not be done.
fn why(error: &VaultError, path: &str) -> String {
    match error {
        VaultError::Catalog(CatalogError::Conflict { .. }) => say!("restore-changed", path = path),
        other => Failure::vault(other, path).what,
    }
}

fn show(plan: &RestorePlan) -> Result<(), Failure> {
    let mut text = String::new();
    let time = local_time(plan.at);
    if plan.steps.is_empty() {
        text += &if plan.left_out.is_empty() {
            say!("restore-nothing", time = time, same = plan.same)
        } else {
            say!("restore-left-alone", time = time, same = plan.same)
        };
    } else {
        text += &say!(
            "restore-plan",
            time = time,
            versions = plan.count(|what| matches!(what, Restoring::Version { .. })),
            files = plan.count(|what| matches!(what, Restoring::File { .. })),
            folders = plan.count(|what| matches!(what, Restoring::Folder { .. })),
            back = plan.count(|what| matches!(what, Restoring::Back { .. })),
            removes = plan.count(|what| matches!(what, Restoring::Remove { .. })),
            same = plan.same
        );
    }
    text.push('\n');
    for step in plan.steps.iter().take(SHOWN) {
        text += &format!("  {}\n", told_step(step));
    }
    if plan.steps.len() > SHOWN {
        text += &format!(
            "  {}\n",
            say!("restore-more", more = plan.steps.len() - SHOWN)
        );
    }
    for left in plan.left_out.iter().take(SHOWN) {
        let path = shown(&path_bytes(&left.path));
        text += &match left.doubt {
            Doubt::Ahead => format!("  {}\n", say!("restore-left-ahead", path = path)),
            Doubt::Empty => format!("  {}\n", say!("restore-left-empty", path = path)),
            Doubt::Destroyed => format!("  {}\n", say!("restore-left-destroyed", path = path)),
        };
    }
    if plan.left_out.len() > SHOWN {
        let more = plan.left_out.len() - SHOWN;
        text += &format!("  {}\n", say!("restore-more", more = more));
    }
    if plan.newer > 0 {
        text += &format!("{}\n", say!("restore-newer", newer = plan.newer));
    }
    Ok(print(&text)?)
}

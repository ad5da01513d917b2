//! `warifu prune`, `trash`, `hold` and `destroyed`: what is kept, and what is destroyed for good.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use warifu::{Destroyed, Hold, PrunePlan, Trashed, VaultError, VaultPath, Warifu, Which};

use super::{Done, vault_path, with_vault};
use crate::args::{
    DestroyedCertificates, DestroyedCommand, DestroyedVerify, Hold as HoldArgs, HoldClear,
    HoldCommand, HoldList, HoldSet, Prune, Trash, TrashCommand, TrashEmpty, TrashList,
    TrashRestore,
};
use crate::exit::Exit;
use crate::failure::{About as _, Failure};
use crate::output::{
    JsonName, Progress, json, local_time, note, print, shown, shown_path, shown_text, size,
    utc_time,
};
use crate::when;
use crate::words::{say, set_vault};

/// How many lines a plan shows people.
const SHOWN: usize = 20;

/// The name of a certificate's format.
const CERTIFICATE: &str = "warifu certificate of destruction, 1";

fn catalogue(error: &VaultError) -> Failure {
    Failure::vault(error, &say!("the-catalogue"))
}

fn bytes_of(path: &[warifu::Name]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in path {
        bytes.push(b'/');
        bytes.extend_from_slice(name.as_bytes());
    }
    if bytes.is_empty() {
        b"/".to_vec()
    } else {
        bytes
    }
}

pub async fn prune(args: Prune) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, !args.yes, |warifu| async move {
        let rules = warifu.file().rules().cloned().unwrap_or_default();
        if rules.keep_all() && !args.json {
            print(&format!("{}\n", say!("prune-no-rules")))?;
            note(&say!("next", next = say!("prune-no-rules-next")));
        }
        let how = How {
            yes: args.yes,
            certificate: args.certificate.as_deref(),
            json: args.json,
        };
        carry_out(&warifu, &Which::Rules(&rules), &how).await
    })
    .await
}

pub async fn trash(args: Trash) -> Done {
    match args.command {
        TrashCommand::List(args) => list_trash(args).await,
        TrashCommand::Restore(args) => restore_trash(args).await,
        TrashCommand::Empty(args) => empty_trash(args).await,
    }
}

async fn empty_trash(args: TrashEmpty) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    let before = when::parse(args.before.as_deref().unwrap_or("now"))?;
    with_vault(&vault, !args.yes, |warifu| async move {
        let how = How {
            yes: args.yes,
            certificate: args.certificate.as_deref(),
            json: args.json,
        };
        carry_out(&warifu, &Which::Trash(before), &how).await
    })
    .await
}

struct How<'a> {
    yes: bool,
    certificate: Option<&'a Path>,
    json: bool,
}

#[derive(Serialize)]
struct JsonVersion {
    #[serde(flatten)]
    name: JsonName,
    document: String,
    version: u64,
    size: u64,
    saved_at: String,
    /// Whether the file had been removed.
    removed: bool,
}

#[derive(Serialize)]
struct JsonOutcome {
    server: String,
    id: String,
    /// Objects that it confirmed to be gone, and that it did not.
    gone: u64,
    left: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Serialize)]
struct JsonPrune {
    applied: bool,
    versions: Vec<JsonVersion>,
    names: u64,
    bytes: u64,
    /// Documents that a hold keeps whole, or that are open.
    held: u64,
    in_use: u64,
    /// Of what was applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    servers: Vec<JsonOutcome>,
    complete: bool,
}

fn json_versions(versions: &[warifu::Going]) -> Vec<JsonVersion> {
    versions
        .iter()
        .map(|going| JsonVersion {
            name: JsonName::new(&bytes_of(&going.path)),
            document: going.document.to_string(),
            version: going.version.0,
            size: going.size,
            saved_at: utc_time(going.saved_at),
            removed: going.removed,
        })
        .collect()
}

fn json_outcomes(destroyed: &Destroyed) -> Vec<JsonOutcome> {
    destroyed
        .servers
        .iter()
        .map(|outcome| JsonOutcome {
            server: outcome.server.clone(),
            id: outcome.id.to_string(),
            gone: outcome.gone,
            left: outcome.left,
            detail: outcome.detail.as_deref().map(shown_text),
        })
        .collect()
}

async fn carry_out(warifu: &Warifu, which: &Which<'_>, how: &How<'_>) -> Done {
    let (vault, me) = (warifu.vault(), warifu.context());
    let plan = vault.plan_prune(me, which).await;
    let plan = plan.map_err(|error| catalogue(&error))?;
    if !how.json {
        show_plan(&plan)?;
    }
    let applied = how.yes && !plan.is_empty();
    if !applied {
        if how.json {
            json(&JsonPrune {
                applied,
                versions: json_versions(&plan.versions),
                names: plan.names.len() as u64,
                bytes: plan.bytes(),
                held: plan.held,
                in_use: plan.in_use,
                servers: Vec::new(),
                complete: plan.is_empty(),
            })?;
        } else if !plan.is_empty() {
            note(&say!("next", next = say!("prune-yes-next")));
        }
        return Ok(if plan.is_empty() {
            Exit::Ok
        } else {
            Exit::Care
        });
    }
    // A certificate that cannot be written is found out before anything is destroyed.
    let mut file = match how.certificate {
        None => None,
        Some(path) => {
            let file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path);
            Some((path, file.map_err(|error| Failure::local(path, &error))?))
        }
    };
    let progress = Progress::counter(crate::quiet() || how.json);
    let destroyed = vault.prune(me, &plan, &|done, _| progress.set(done)).await;
    progress.done();
    let destroyed = destroyed.map_err(|error| catalogue(&error))?;
    if let Some((path, file)) = &mut file {
        let text = certificate(warifu, &destroyed)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all());
        written.map_err(|error| Failure::local(path, &error))?;
    }
    if how.json {
        json(&JsonPrune {
            applied,
            versions: json_versions(&destroyed.versions),
            names: destroyed.names,
            bytes: destroyed.versions.iter().map(|going| going.size).sum(),
            held: plan.held,
            in_use: plan.in_use + destroyed.kept,
            servers: json_outcomes(&destroyed),
            complete: destroyed.is_complete(),
        })?;
    } else {
        show_destroyed(&destroyed)?;
    }
    Ok(if destroyed.is_complete() {
        Exit::Ok
    } else {
        Exit::Care
    })
}

fn show_plan(plan: &PrunePlan) -> Result<(), Failure> {
    let mut text = if plan.is_empty() {
        say!("prune-nothing")
    } else {
        say!(
            "prune-plan",
            versions = plan.versions.len(),
            size = size(plan.bytes()),
            names = plan.names.len()
        )
    };
    text.push('\n');
    for going in plan.versions.iter().take(SHOWN) {
        let path = shown(&bytes_of(&going.path));
        let line = say!(
            "prune-version",
            path = path,
            version = going.version.0,
            time = local_time(going.saved_at),
            size = size(going.size)
        );
        text += &format!("  {line}\n");
    }
    if plan.versions.len() > SHOWN {
        let more = plan.versions.len() - SHOWN;
        text += &format!("  {}\n", say!("prune-more", more = more));
    }
    if plan.held > 0 {
        text += &format!("{}\n", say!("prune-held", files = plan.held));
    }
    if plan.in_use > 0 {
        text += &format!("{}\n", say!("prune-in-use", files = plan.in_use));
    }
    Ok(print(&text)?)
}

fn show_destroyed(destroyed: &Destroyed) -> Result<(), Failure> {
    let mut text = say!(
        "prune-done",
        versions = destroyed.versions.len(),
        names = destroyed.names
    );
    text.push('\n');
    for outcome in &destroyed.servers {
        let server = shown_text(&outcome.server);
        text += &match &outcome.detail {
            None => say!("prune-server", server = server, gone = outcome.gone),
            Some(detail) => say!(
                "prune-server-left",
                server = server,
                gone = outcome.gone,
                left = outcome.left,
                detail = shown_text(detail)
            ),
        };
        text.push('\n');
    }
    print(&text)?;
    if !destroyed.is_complete() {
        note(&say!("next", next = say!("prune-left-next")));
    }
    Ok(())
}

#[derive(Serialize)]
struct Certificate {
    certificate: &'static str,
    vault: String,
    at: String,
    by: String,
    host: String,
    versions: Vec<JsonVersion>,
    names: u64,
    extents: u64,
    servers: Vec<JsonOutcome>,
    complete: bool,
}

/// The text of a certificate: what was destroyed, and a keyed hash over it that only who has the vault key can make.
fn certificate(warifu: &Warifu, destroyed: &Destroyed) -> Result<String, Failure> {
    let body = Certificate {
        certificate: CERTIFICATE,
        vault: warifu.file().vault.to_string(),
        at: utc_time(destroyed.at),
        by: warifu.context().actor.clone(),
        host: warifu.context().host.clone(),
        versions: json_versions(&destroyed.versions),
        names: destroyed.names,
        extents: destroyed.extents,
        servers: json_outcomes(destroyed),
        complete: destroyed.is_complete(),
    };
    let failed = |error: serde_json::Error| Failure::from(std::io::Error::from(error));
    // As a value, its fields are in the order of their names: so whoever checks it finds the same text.
    let body = serde_json::to_value(&body).map_err(failed)?;
    let text = serde_json::to_string(&body).map_err(failed)?;
    let mac: String = warifu
        .certify(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let whole = serde_json::json!({ "body": body, "mac": mac });
    let mut text = serde_json::to_string_pretty(&whole).map_err(failed)?;
    text.push('\n');
    Ok(text)
}

pub async fn destroyed(args: DestroyedCertificates) -> Done {
    match args.command {
        DestroyedCommand::Verify(args) => verify(args).await,
    }
}

#[derive(Serialize)]
struct JsonVerified {
    genuine: bool,
    complete: Option<bool>,
    versions: Option<usize>,
}

async fn verify(args: DestroyedVerify) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    let text = fs::read(&args.file).map_err(|error| Failure::local(&args.file, &error))?;
    with_vault(&vault, true, |warifu| async move {
        let value: Option<Value> = serde_json::from_slice(&text).ok();
        let body = value.as_ref().and_then(|value| value.get("body"));
        let mac = value.as_ref().and_then(|value| value.get("mac")?.as_str());
        let genuine = match (body, mac) {
            (Some(body), Some(mac)) if body.get("certificate") == Some(&CERTIFICATE.into()) => {
                warifu.is_certified(body.to_string().as_bytes(), mac)
            }
            _ => false,
        };
        let field = |name: &str| body.and_then(|body| body.get(name));
        let complete = field("complete").and_then(Value::as_bool);
        let versions = field("versions").and_then(Value::as_array).map(Vec::len);
        if args.json {
            json(&JsonVerified {
                genuine,
                complete: complete.filter(|_| genuine),
                versions: versions.filter(|_| genuine),
            })?;
        } else if genuine {
            let word = |name: &str| shown_text(field(name).and_then(Value::as_str).unwrap_or("-"));
            let line = say!(
                "destroyed-genuine",
                versions = versions.unwrap_or(0),
                time = word("at"),
                person = word("by"),
                host = word("host")
            );
            print(&format!("{line}\n"))?;
            if complete == Some(false) {
                print(&format!("{}\n", say!("destroyed-incomplete")))?;
            }
        }
        match (genuine, complete) {
            (true, Some(false)) => Ok(Exit::Care),
            (true, _) => Ok(Exit::Ok),
            (false, _) if args.json => Ok(Exit::BadInput),
            (false, _) => Err(Failure::new(
                Exit::BadInput,
                say!("destroyed-false", path = shown_path(&args.file)),
                say!("destroyed-false-next"),
            )),
        }
    })
    .await
}

#[derive(Serialize)]
struct JsonTrashed {
    #[serde(flatten)]
    name: JsonName,
    document: String,
    version: u64,
    size: u64,
    removed_at: String,
}

fn json_trashed(file: &Trashed) -> JsonTrashed {
    JsonTrashed {
        name: JsonName::new(&bytes_of(&file.path)),
        document: file.document.to_string(),
        version: file.version.0,
        size: file.size,
        removed_at: utc_time(file.removed_at),
    }
}

async fn list_trash(args: TrashList) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, true, |warifu| async move {
        let trash = warifu.vault().trash(warifu.context()).await;
        let trash = trash.map_err(|error| catalogue(&error))?;
        if args.json {
            json(&trash.iter().map(json_trashed).collect::<Vec<_>>())?;
            return Ok(Exit::Ok);
        }
        let mut text = String::new();
        for file in &trash {
            let line = say!(
                "trash-line",
                path = shown(&bytes_of(&file.path)),
                time = local_time(file.removed_at),
                size = size(file.size)
            );
            text += &format!("{line}\n");
        }
        if trash.is_empty() {
            text = format!("{}\n", say!("trash-empty"));
        }
        print(&text)?;
        Ok(Exit::Ok)
    })
    .await
}

async fn restore_trash(args: TrashRestore) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, false, |warifu| async move {
        let path = vault_path(&args.path)?;
        let trash = warifu.vault().trash(warifu.context()).await;
        let mut trash = trash.map_err(|error| catalogue(&error))?;
        trash.retain(|file| file.path.starts_with(path.names()));
        if trash.is_empty() {
            let subject = shown(&path.to_bytes());
            return Err(Failure::new(
                Exit::NotFound,
                say!("trash-not-found", subject = subject),
                say!("trash-not-found-next"),
            ));
        }
        let (mut back, mut failed) = (Vec::new(), Vec::new());
        // Of several that had one path, the one that was removed last.
        for file in trash {
            match bring_back(&warifu, &file).await {
                Ok(()) => back.push(file),
                Err(failure) => failed.push(failure),
            }
        }
        if args.json {
            json(&back.iter().map(json_trashed).collect::<Vec<_>>())?;
        } else if !crate::quiet() {
            note(&say!("trash-restored", files = back.len()));
        }
        for failure in &failed {
            note(&failure.what);
        }
        Ok(match (back.len(), failed.first()) {
            (_, None) => Exit::Ok,
            (0, Some(first)) => first.exit,
            (_, Some(_)) => Exit::Care,
        })
    })
    .await
}

async fn bring_back(warifu: &Warifu, file: &Trashed) -> Result<(), Failure> {
    let path = bytes_of(&file.path);
    let path = VaultPath::parse(&path).map_err(|bad| Failure::bad_name(&bad, &shown(&path)))?;
    let Some((folder, name)) = path.split() else {
        return Ok(());
    };
    warifu.make_dirs(&folder, 0o755).await.about(&folder)?;
    let version = (file.document, file.version);
    let place = (folder.names(), name);
    let (vault, me) = (warifu.vault(), warifu.context());
    let made = vault.restore_as(me, place, version, file.mode).await;
    made.map(drop).about(&path)
}

pub async fn hold(args: HoldArgs) -> Done {
    match args.command {
        HoldCommand::Set(args) => set_hold(args).await,
        HoldCommand::Clear(args) => clear_hold(args).await,
        HoldCommand::List(args) => list_holds(args).await,
    }
}

async fn set_hold(args: HoldSet) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, false, |warifu| async move {
        let path = vault_path(&args.path)?;
        let (vault, me) = (warifu.vault(), warifu.context());
        vault
            .set_hold(me, path.names(), &args.reason)
            .await
            .map_err(|error| match error {
                VaultError::Exists => Failure::new(
                    Exit::Exists,
                    say!("hold-exists", subject = shown(&path.to_bytes())),
                    say!("hold-exists-next"),
                ),
                other => Failure::vault(&other, &shown(&path.to_bytes())),
            })?;
        if !crate::quiet() {
            note(&say!("hold-set", subject = shown(&path.to_bytes())));
        }
        Ok(Exit::Ok)
    })
    .await
}

async fn clear_hold(args: HoldClear) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, false, |warifu| async move {
        let path = vault_path(&args.path)?;
        let (vault, me) = (warifu.vault(), warifu.context());
        vault
            .clear_hold(me, path.names())
            .await
            .map_err(|error| match error {
                VaultError::NoXattr | VaultError::NotFound { .. } => Failure::new(
                    Exit::NotFound,
                    say!("hold-missing", subject = shown(&path.to_bytes())),
                    say!("hold-missing-next"),
                ),
                other => Failure::vault(&other, &shown(&path.to_bytes())),
            })?;
        if !crate::quiet() {
            note(&say!("hold-cleared", subject = shown(&path.to_bytes())));
        }
        Ok(Exit::Ok)
    })
    .await
}

#[derive(Serialize)]
struct JsonHold {
    #[serde(flatten)]
    name: JsonName,
    since: String,
    by: String,
    reason: String,
}

async fn list_holds(args: HoldList) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, true, |warifu| async move {
        let holds = warifu.vault().holds(warifu.context()).await;
        let holds = holds.map_err(|error| catalogue(&error))?;
        let path_of = |hold: &Hold| {
            if hold.path.is_empty() {
                b"/".to_vec()
            } else {
                hold.path.clone()
            }
        };
        if args.json {
            let list = holds.iter().map(|hold| JsonHold {
                name: JsonName::new(&path_of(hold)),
                since: utc_time(hold.since),
                by: hold.by.clone(),
                reason: hold.reason.clone(),
            });
            json(&list.collect::<Vec<_>>())?;
            return Ok(Exit::Ok);
        }
        let mut text = String::new();
        for hold in &holds {
            let line = say!(
                "hold-line",
                path = shown(&path_of(hold)),
                time = local_time(hold.since),
                person = shown_text(&hold.by),
                reason = shown_text(&hold.reason)
            );
            text += &format!("{}\n", line.trim_end());
        }
        if holds.is_empty() {
            text = format!("{}\n", say!("hold-none"));
        }
        print(&text)?;
        Ok(Exit::Ok)
    })
    .await
}

//! `warifu retention` and `prune`: what is kept, and what is destroyed for good.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;
use warifu::{Destroyed, PrunePlan, Rule, Rules, VaultError, Warifu, Which, length_text};

use super::certificate::{certificate, signer};
use super::{Done, with_vault};
use crate::args::{Prune, Retention};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{
    JsonName, Progress, json, local_time, note, print, shown, shown_text, size, utc_time,
};
use crate::words::{say, set_vault};

/// How many lines a plan shows people.
const SHOWN: usize = 20;

pub fn catalogue(error: &VaultError) -> Failure {
    Failure::vault(error, &say!("the-catalogue"))
}

pub fn bytes_of(path: &[warifu::Name]) -> Vec<u8> {
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

#[derive(Serialize)]
struct JsonRule {
    /// The folder; null for the rule of all that lies in none of the others.
    #[serde(flatten)]
    folder: Option<JsonName>,
    keep: Option<String>,
    keep_seconds: Option<u64>,
    versions: Option<u64>,
}

#[derive(Serialize)]
struct JsonRetention {
    keeps_all: bool,
    rules: Vec<JsonRule>,
    /// What would go now.
    versions: usize,
    bytes: u64,
    names: usize,
    held: u64,
    in_use: u64,
}

fn json_rule(folder: Option<Vec<u8>>, rule: Rule) -> JsonRule {
    JsonRule {
        folder: folder.as_deref().map(JsonName::new),
        keep: rule.keep.map(length_text),
        keep_seconds: rule.keep.map(|keep| keep.as_secs()),
        versions: rule.versions,
    }
}

/// A rule in the words of the vault file.
fn rule_text(rule: Rule) -> String {
    let keep = rule
        .keep
        .map(|keep| format!("keep = \"{}\"", length_text(keep)));
    let versions = rule.versions.map(|count| format!("versions = {count}"));
    let parts: Vec<String> = keep.into_iter().chain(versions).collect();
    if parts.is_empty() {
        "keep = \"all\"".to_owned()
    } else {
        parts.join(", ")
    }
}

fn show_rules(rules: &Rules) -> Result<(), Failure> {
    let mut text = format!(
        "{}\n  /: {}\n",
        say!("retention-rules"),
        rule_text(rules.general)
    );
    for folder in &rules.folders {
        let path = shown(&bytes_of(&folder.path));
        text += &format!("  {path}: {}\n", rule_text(folder.rule));
    }
    Ok(print(&text)?)
}

pub async fn retention(args: Retention) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, true, |warifu| async move {
        let rules = warifu.file().rules().cloned().unwrap_or_default();
        let (vault, me) = (warifu.vault(), warifu.context());
        if !args.json {
            if rules.keep_all() {
                print(&format!("{}\n", say!("prune-no-rules")))?;
                note(&say!("next", next = say!("prune-no-rules-next")));
            } else {
                show_rules(&rules)?;
            }
        }
        let plan = vault
            .plan_prune(me, &Which::Rules(&rules), args.trust_clock)
            .await
            .map_err(|error| catalogue(&error))?;
        if args.json {
            let folders = rules.folders.iter();
            let folders =
                folders.map(|folder| json_rule(Some(bytes_of(&folder.path)), folder.rule));
            json(&JsonRetention {
                keeps_all: rules.keep_all(),
                rules: std::iter::once(json_rule(None, rules.general))
                    .chain(folders)
                    .collect(),
                versions: plan.versions.len(),
                bytes: plan.bytes(),
                names: plan.names.len(),
                held: plan.held,
                in_use: plan.in_use,
            })?;
        } else if !rules.keep_all() {
            show_plan(&plan)?;
            if !plan.is_empty() {
                note(&say!("next", next = say!("retention-next")));
            }
        }
        Ok(Exit::Ok)
    })
    .await
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
            trust_clock: args.trust_clock,
        };
        carry_out(&warifu, &Which::Rules(&rules), &how).await
    })
    .await
}

pub struct How<'a> {
    pub yes: bool,
    pub certificate: Option<&'a Path>,
    pub json: bool,
    pub trust_clock: bool,
}

#[derive(Serialize)]
pub struct JsonVersion {
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
pub struct JsonOutcome {
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
    unnamed: u8,
    complete: bool,
}

pub fn json_versions(versions: &[warifu::Going]) -> Vec<JsonVersion> {
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

pub fn json_outcomes(destroyed: &Destroyed) -> Vec<JsonOutcome> {
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

/// Shows a plan, and applies it where that is wished.
pub async fn carry_out(warifu: &Warifu, which: &Which<'_>, how: &How<'_>) -> Done {
    let (vault, me) = (warifu.vault(), warifu.context());
    let plan = vault.plan_prune(me, which, how.trust_clock).await;
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
                unnamed: 0,
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
            signer(warifu)?;
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
            unnamed: destroyed.unnamed,
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
    if destroyed.unnamed > 0 {
        text += &format!("{}\n", say!("prune-unnamed", servers = destroyed.unnamed));
    }
    print(&text)?;
    if destroyed.unnamed > 0 {
        note(&say!("next", next = say!("prune-unnamed-next")));
    } else if !destroyed.is_complete() {
        note(&say!("next", next = say!("prune-left-next")));
    }
    Ok(())
}

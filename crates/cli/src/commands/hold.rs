//! `warifu hold`: what is kept whatever the rules say.

use std::ffi::OsStr;
use std::path::Path;

use serde::Serialize;
use warifu::{LegalHold, VaultError};

use super::retain::catalogue;
use super::{Done, vault_path, with_vault};
use crate::args::{Hold as HoldArgs, HoldAdd, HoldCommand, HoldList, HoldRemove};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{JsonName, json, local_time, note, print, shown, shown_text, utc_time};
use crate::words::{say, set_vault};

pub async fn run(args: HoldArgs) -> Done {
    match args.command {
        HoldCommand::Add(args) => set_hold(args).await,
        HoldCommand::Remove(args) => clear_hold(args).await,
        HoldCommand::List(args) => list_holds(args).await,
    }
}

async fn set_hold(args: HoldAdd) -> Done {
    change(&args.vault, &args.path, Some(args.reason)).await
}

async fn clear_hold(args: HoldRemove) -> Done {
    change(&args.vault, &args.path, None).await
}

/// Holds a path for a reason, or, without one, holds it no more.
async fn change(vault: &Path, path: &OsStr, reason: Option<String>) -> Done {
    set_vault(vault);
    with_vault(vault, false, |warifu| async move {
        let path = vault_path(path)?;
        let subject = shown(&path.to_bytes());
        let (vault, me) = (warifu.vault(), warifu.context());
        let done = match &reason {
            Some(reason) => vault.set_hold(me, path.names(), reason).await.map(drop),
            None => vault.clear_hold(me, path.names()).await,
        };
        done.map_err(|error| match (&reason, error) {
            (Some(_), VaultError::Exists) => Failure::new(
                Exit::Exists,
                say!("hold-exists", subject = subject.as_str()),
                say!("hold-exists-next"),
            ),
            (None, VaultError::NoXattr | VaultError::NotFound { .. }) => Failure::new(
                Exit::NotFound,
                say!("hold-missing", subject = subject.as_str()),
                say!("hold-missing-next"),
            ),
            (_, other) => Failure::vault(&other, &subject),
        })?;
        if !crate::quiet() {
            note(&match reason {
                Some(_) => say!("hold-set", subject = subject.as_str()),
                None => say!("hold-cleared", subject = subject.as_str()),
            });
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
        let path_of = |hold: &LegalHold| {
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

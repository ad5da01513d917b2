//! `warifu trash`: removed files, how they come back, and how they go for good.

use serde::Serialize;
use warifu::{FLOOR, Timestamp, Trashed, VaultPath, Warifu, Which};

use super::retain::{How, bytes_of, carry_out, catalogue};
use super::{Done, vault_path, with_vault};
use crate::args::{Trash, TrashCommand, TrashEmpty, TrashList, TrashRestore};
use crate::exit::Exit;
use crate::failure::{About as _, Failure};
use crate::output::{JsonName, json, local_time, note, print, shown, size, utc_time};
use crate::when;
use crate::words::{say, set_vault};

pub async fn run(args: Trash) -> Done {
    match args.command {
        TrashCommand::List(args) => list_trash(args).await,
        TrashCommand::Restore(args) => restore_trash(args).await,
        TrashCommand::Empty(args) => empty_trash(args).await,
    }
}

async fn empty_trash(args: TrashEmpty) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    let before = match args.before.as_deref() {
        Some(text) => when::parse(text)?,
        None => {
            let now = when::parse("now")?;
            Timestamp {
                secs: now.secs.saturating_sub_unsigned(FLOOR.as_secs()),
                ..now
            }
        }
    };
    with_vault(&vault, !args.yes, |warifu| async move {
        let how = How {
            yes: args.yes,
            certificate: args.certificate.as_deref(),
            json: args.json,
            trust_clock: args.trust_clock,
        };
        carry_out(&warifu, &Which::Trash(before), &how).await
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
    let (vault, me) = (warifu.vault(), warifu.context());
    warifu.make_dirs(&folder, 0o755).await.about(&folder)?;
    for depth in 1..=folder.names().len() {
        let made = folder.names().get(..depth).unwrap_or_default();
        vault.bring_back_threshold(me, made).await.about(&folder)?;
    }
    let version = (file.document, file.version);
    let place = (folder.names(), name);
    let made = vault
        .restore_as(me, place, version, (file.mode, file.owner))
        .await;
    made.map(drop).about(&path)
}

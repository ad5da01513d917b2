//! `warifu history`: the versions of a file, and the names that it had.

use serde::Serialize;
use warifu::{End, NodeKind, PastName, VaultError, Version};

use super::{Done, vault_path, with_vault};
use crate::args::History;
use crate::exit::Exit;
use crate::failure::About as _;
use crate::output::{json, local_time, print, shown, shown_text, size, utc_time};
use crate::words::{say, set_vault};

#[derive(Serialize)]
struct JsonVersion {
    version: u64,
    current: bool,
    size: u64,
    mtime: String,
    saved_at: String,
    author: String,
    host: String,
    settled: bool,
    /// Under which name it was current; absent where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

pub async fn run(args: History) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, true, |warifu| async move {
        let path = vault_path(&args.path)?;
        let (vault, me) = (warifu.vault(), warifu.context());
        let last = vault.last_name(me, path.names()).await.about(&path)?;
        if last.kind != NodeKind::File {
            return Err(VaultError::IsDir).about(&path);
        }
        let versions = vault.versions(me, last.document).await.about(&path)?;
        let names = vault.names_of(me, last.document).await.about(&path)?;
        let there = names.iter().find(|name| name.until.is_none());
        let current = there.map(|name| name.version);
        if args.json {
            let list: Vec<JsonVersion> = versions
                .iter()
                .map(|version| JsonVersion {
                    version: version.number.0,
                    current: Some(version.number) == current,
                    size: version.size,
                    mtime: utc_time(version.mtime),
                    saved_at: utc_time(version.saved_at),
                    author: version.author.clone(),
                    host: version.host.clone(),
                    settled: version.settled,
                    name: name_of(&names, version),
                })
                .collect();
            json(&list)?;
            return Ok(Exit::Ok);
        }
        if versions.is_empty() {
            let subject = shown(&path.to_bytes());
            print(&format!("{}\n", say!("history-empty", subject = subject)))?;
        }
        for version in versions.iter().rev() {
            let line = say!(
                "history-line",
                version = version.number.0,
                time = local_time(version.saved_at),
                size = size(version.size),
                author = shown_text(&version.author),
                host = shown_text(&version.host),
            );
            let mark = if Some(version.number) == current {
                say!("history-current")
            } else {
                String::new()
            };
            print(&format!("{}\n", format!("{line}  {mark}").trim_end()))?;
        }
        tell_names(&names)?;
        Ok(Exit::Ok)
    })
    .await
}

/// The name under which a version was saved, or became part of the history.
fn name_of(names: &[PastName], version: &Version) -> Option<String> {
    let first = names.iter().find(|name| version.number <= name.version)?;
    Some(first.name.display().into_owned())
}

/// The names that it had before. That a save put another file in its place is no other name.
fn tell_names(names: &[PastName]) -> std::io::Result<()> {
    for name in names {
        let text = shown(name.name.as_bytes());
        let line = match name.until {
            Some((until, End::Moved)) => {
                say!("history-moved", name = text, time = local_time(until))
            }
            Some((until, End::Removed)) => {
                say!("history-removed", name = text, time = local_time(until))
            }
            Some((_, End::Replaced)) | None => continue,
        };
        print(&format!("{line}\n"))?;
    }
    Ok(())
}

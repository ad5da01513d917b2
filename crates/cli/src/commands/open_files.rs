//! `status --open-files`: which drives are mounted, and who has what open.

use std::collections::BTreeMap;

use serde::Serialize;
use warifu::{LockKind, LockMode, NodeId, Session, Warifu};

use super::Done;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{json, local_time, print, shown_text, utc_time};
use crate::words::say;

#[derive(Serialize)]
struct JsonOpenFiles {
    drives: Vec<JsonDrive>,
    open: Vec<JsonOpen>,
    locks: Vec<JsonLock>,
}

#[derive(Serialize)]
struct JsonDrive {
    host: String,
    place: String,
    actor: String,
    pid: u32,
    since: String,
}

#[derive(Serialize)]
struct JsonOpen {
    path: Option<String>,
    actor: String,
    host: String,
    program: String,
    since: String,
}

#[derive(Serialize)]
struct JsonLock {
    path: Option<String>,
    host: String,
    pid: u32,
    call: Option<&'static str>,
    exclusive: bool,
    first: u64,
    last: u64,
}

/// Shows the drives, what is open in them for writing, and what is locked.
pub async fn open_files(warifu: &Warifu, as_json: bool) -> Done {
    let refused = |error| Failure::vault(&error, &say!("the-vault"));
    let vault = warifu.vault();
    let drives = vault.present().await.map_err(refused)?;
    let mut paths: BTreeMap<NodeId, Option<String>> = BTreeMap::new();
    for drive in &drives {
        let held = drive.holds.iter().map(|hold| hold.node);
        for node in held.chain(drive.locks.iter().map(|(node, _)| *node)) {
            if paths.contains_key(&node) {
                continue;
            }
            let names = vault.path(warifu.context(), node).await.map_err(refused)?;
            let path = names.map(|names| {
                let parts = names.iter().map(|name| format!("/{}", name.display()));
                parts.collect::<String>()
            });
            paths.insert(node, path);
        }
    }
    let path = |node: NodeId| paths.get(&node).cloned().flatten();
    if as_json {
        json(&json_open_files(&drives, path))?;
    } else {
        show(&drives, path)?;
    }
    Ok(Exit::Ok)
}

fn json_open_files(drives: &[Session], path: impl Fn(NodeId) -> Option<String>) -> JsonOpenFiles {
    let mut told = JsonOpenFiles {
        drives: Vec::new(),
        open: Vec::new(),
        locks: Vec::new(),
    };
    for drive in drives {
        let host = &drive.info.host;
        told.drives.push(JsonDrive {
            host: host.clone(),
            place: drive.info.place.clone(),
            actor: drive.info.actor.clone(),
            pid: drive.info.pid,
            since: utc_time(drive.info.since),
        });
        told.open.extend(drive.holds.iter().map(|hold| JsonOpen {
            path: path(hold.node),
            actor: hold.actor.clone(),
            host: host.clone(),
            program: hold.program.clone(),
            since: utc_time(hold.since),
        }));
        told.locks
            .extend(drive.locks.iter().map(|(node, lock)| JsonLock {
                path: path(*node),
                host: host.clone(),
                pid: lock.pid,
                call: match lock.kind {
                    LockKind::Posix => Some("fcntl"),
                    LockKind::Flock => Some("flock"),
                    LockKind::Either => None,
                },
                exclusive: lock.mode == LockMode::Exclusive,
                first: lock.first,
                last: lock.last,
            }));
    }
    told
}

fn show(drives: &[Session], path: impl Fn(NodeId) -> Option<String>) -> Result<(), Failure> {
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    let path = |node| path(node).map_or_else(|| say!("verify-no-name"), |path| shown_text(&path));
    line(say!("open-files-drives", drives = drives.len()));
    for drive in drives {
        let words = say!(
            "open-files-drive",
            host = shown_text(&drive.info.host),
            place = shown_text(&drive.info.place),
            actor = shown_text(&drive.info.actor),
            time = local_time(drive.info.since)
        );
        line(format!("  {words}"));
    }
    let open: usize = drives.iter().map(|drive| drive.holds.len()).sum();
    line(say!("open-files-open", files = open));
    for drive in drives {
        for hold in &drive.holds {
            let words = say!(
                "open-files-by",
                actor = shown_text(&hold.actor),
                host = shown_text(&drive.info.host),
                program = shown_text(&hold.program),
                time = local_time(hold.since)
            );
            line(format!("  {}  {words}", path(hold.node)));
        }
    }
    for drive in drives {
        for (node, lock) in &drive.locks {
            let words = say!(
                "open-files-locked",
                host = shown_text(&drive.info.host),
                pid = lock.pid
            );
            line(format!("  {}  {words}", path(*node)));
        }
    }
    Ok(print(&text)?)
}

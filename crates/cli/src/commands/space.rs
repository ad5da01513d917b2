//! `warifu df`: how much room everything takes on the servers.

use serde::Serialize;
use warifu::{AGES, SpaceReport, Warifu};

use super::{Done, with_vault};
use crate::args::Df;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{JsonName, json, print, shown, shown_text, size};
use crate::words::{say, set_vault};

#[derive(Serialize)]
struct JsonServer<'a> {
    name: &'a str,
    index: u8,
    objects: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct JsonFolder {
    #[serde(flatten)]
    name: JsonName,
    current: u64,
    older: u64,
    removed: u64,
}

#[derive(Serialize)]
struct JsonAge {
    /// Below so many days; null for what is older than all others.
    days: Option<u64>,
    bytes: u64,
}

#[derive(Serialize)]
struct JsonSpace<'a> {
    servers: Vec<JsonServer<'a>>,
    folders: Vec<JsonFolder>,
    ages: Vec<JsonAge>,
    journal: u64,
    other: u64,
    /// Bytes of what is shared by the scheme shamir, and what it would take by compact.
    shamir: u64,
    as_compact: u64,
}

pub async fn df(args: Df) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, true, |warifu| async move {
        let space = warifu.vault().space_used(warifu.context()).await;
        let space = space.map_err(|error| Failure::vault(&error, &say!("the-catalogue")))?;
        if args.json {
            json(&as_json(&warifu, &space))?;
        } else {
            show(&warifu, &space)?;
        }
        Ok(Exit::Ok)
    })
    .await
}

fn age_of(class: usize) -> Option<u64> {
    AGES.get(class).copied()
}

fn as_json<'a>(warifu: &'a Warifu, space: &SpaceReport) -> JsonSpace<'a> {
    let servers = warifu.file().servers.iter().map(|server| {
        let (objects, bytes) = space
            .servers
            .get(&server.index)
            .copied()
            .unwrap_or_default();
        JsonServer {
            name: &server.name,
            index: server.index.get(),
            objects,
            bytes,
        }
    });
    let folders = space.folders.iter().map(|(name, room)| JsonFolder {
        name: JsonName::new(&[b"/", name.as_slice()].concat()),
        current: room.current,
        older: room.older,
        removed: room.removed,
    });
    let ages = (0..).zip(space.ages).map(|(class, bytes)| JsonAge {
        days: age_of(class),
        bytes,
    });
    JsonSpace {
        servers: servers.collect(),
        folders: folders.collect(),
        ages: ages.collect(),
        journal: space.journal,
        other: space.other,
        shamir: space.shamir,
        as_compact: space.as_compact,
    }
}

fn show(warifu: &Warifu, space: &SpaceReport) -> Result<(), Failure> {
    let mut text = String::new();
    for server in &warifu.file().servers {
        let (objects, bytes) = space
            .servers
            .get(&server.index)
            .copied()
            .unwrap_or_default();
        text += &say!(
            "df-server",
            server = shown_text(&server.name),
            size = size(bytes),
            objects = objects
        );
        text.push('\n');
    }
    text += &format!("\n{}\n", say!("df-folders"));
    for (name, room) in &space.folders {
        text += &say!(
            "df-folder",
            folder = shown(&[b"/", name.as_slice()].concat()),
            current = size(room.current),
            older = size(room.older),
            removed = size(room.removed)
        );
        text.push('\n');
    }
    text += &format!("\n{}\n", say!("df-ages"));
    for (class, bytes) in (0..).zip(space.ages) {
        text += &match age_of(class) {
            Some(days) => say!("df-age", days = days, size = size(bytes)),
            None => say!("df-age-rest", size = size(bytes)),
        };
        text.push('\n');
    }
    text += &format!("\n{}\n", say!("df-journal", size = size(space.journal)));
    if space.other > 0 {
        text += &format!("{}\n", say!("df-other", size = size(space.other)));
    }
    if space.shamir > space.as_compact {
        text += &format!(
            "{}\n",
            say!(
                "df-compact",
                shamir = size(space.shamir),
                compact = size(space.as_compact),
                saved = size(space.shamir - space.as_compact)
            )
        );
    }
    Ok(print(&text)?)
}

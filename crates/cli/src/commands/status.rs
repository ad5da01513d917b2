//! `status`: how the servers and the files are.

use serde::Serialize;
use warifu::{Scheme, ServerState, Status, Warifu};

use super::{Done, with_vault};
use crate::args;
use crate::exit::Exit;
use crate::failure::{Failure, fault};
use crate::output::{fault_key, json, print, shown_text, size};
use crate::words::{say, set_vault};

#[derive(Serialize)]
struct JsonStatus {
    k: u8,
    n: u8,
    /// By which scheme new files are shared.
    scheme: &'static str,
    /// How many more servers may go.
    spare: i32,
    servers: Vec<JsonServer>,
    files: u64,
    folders: u64,
    bytes: u64,
    versions: u64,
    degraded_extents: u64,
    owed_shares: u64,
    open_saves: u64,
    unsettled: u64,
}

#[derive(Serialize)]
struct JsonServer {
    name: String,
    index: u8,
    state: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    free: Option<u64>,
}

pub async fn status(args: args::Status) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, true, |warifu| async move {
        let status = warifu
            .vault()
            .status(warifu.context())
            .await
            .map_err(|error| Failure::vault(&error, &say!("the-vault")))?;
        let care = status.usage.owed_shares > 0
            || status
                .servers
                .iter()
                .any(|server| server.state != ServerState::Normal);
        if args.json {
            json(&json_status(&status))?;
        } else {
            show_status(&warifu, &status)?;
        }
        Ok(match (status.spare < 0, care) {
            (true, _) => Exit::TooFew,
            (false, true) => Exit::Care,
            (false, false) => Exit::Ok,
        })
    })
    .await
}

fn json_status(status: &Status) -> JsonStatus {
    let servers = status
        .servers
        .iter()
        .map(|server| JsonServer {
            name: server.name.clone(),
            index: server.index.get(),
            state: state_key(&server.state),
            detail: server.detail.clone(),
            latency_ms: server.latency.map(|latency| latency.as_secs_f64() * 1000.0),
            total: server.space.total,
            free: server.space.free,
        })
        .collect();
    JsonStatus {
        k: status.threshold.k(),
        n: status.threshold.n(),
        scheme: status.scheme.name(),
        spare: status.spare,
        servers,
        files: status.usage.files,
        folders: status.usage.dirs,
        bytes: status.usage.bytes,
        versions: status.usage.versions,
        degraded_extents: status.usage.degraded_extents,
        owed_shares: status.usage.owed_shares,
        open_saves: status.usage.open_saves,
        unsettled: status.usage.unsettled,
    }
}

/// A state's name for programs.
fn state_key(state: &ServerState) -> &'static str {
    match state {
        ServerState::Normal => "normal",
        ServerState::Full => "full",
        ServerState::Away(fault) => fault_key(*fault),
    }
}

fn show_status(warifu: &Warifu, status: &Status) -> Result<(), Failure> {
    let (k, n) = (status.threshold.k(), status.threshold.n());
    let mut text = format!("{}\n", say!("status-threshold", k = k, n = n));
    if status.scheme == Scheme::Compact {
        text.push_str(&format!("{}\n", say!("status-compact", k = k)));
    }
    for server in &status.servers {
        let state = match &server.state {
            ServerState::Normal => say!("state-normal"),
            ServerState::Full => say!("fault-full"),
            ServerState::Away(found) => fault(*found),
        };
        let free = server
            .space
            .free
            .map_or(String::new(), |free| say!("status-free", size = size(free)));
        let url = warifu
            .file()
            .servers
            .iter()
            .find(|entry| entry.index == server.index)
            .map_or("", |entry| entry.url.as_str());
        let line = format!(
            "  {}. {}  {state}  {free}  {}",
            server.index,
            shown_text(&server.name),
            shown_text(url)
        );
        text.push_str(line.trim_end());
        if !server.detail.is_empty() && server.state != ServerState::Normal {
            text.push_str(&format!("\n       {}", shown_text(&server.detail)));
        }
        text.push('\n');
    }
    let usage = &status.usage;
    text.push_str(&say!(
        "status-usage",
        files = usage.files,
        folders = usage.dirs,
        size = size(usage.bytes),
        versions = usage.versions
    ));
    text.push('\n');
    if usage.owed_shares > 0 {
        text.push_str(&say!(
            "status-owed",
            shares = usage.owed_shares,
            extents = usage.degraded_extents
        ));
        text.push('\n');
    }
    let verdict = match status.spare {
        ..0 => say!("status-unreadable", missing = status.spare.unsigned_abs()),
        0 => say!("status-no-spare"),
        spare => say!("status-spare", spare = spare),
    };
    text.push_str(&format!("{verdict}\n"));
    if status
        .servers
        .iter()
        .any(|server| matches!(server.state, ServerState::Away(_)))
    {
        text.push_str(&format!(
            "{}\n",
            say!("next", next = say!("status-away-next"))
        ));
    } else if status
        .servers
        .iter()
        .any(|server| server.state == ServerState::Full)
    {
        text.push_str(&format!("{}\n", say!("next", next = say!("no-room-next"))));
    }
    Ok(print(&text)?)
}

//! `warifu server test`: is this place fit for a server?

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use warifu::{Error, NewServer, Trial, VaultFile, try_place, try_server};

use super::Done;
use super::init::{server, set_option};
use crate::args::ServerTest;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{json, print, shown_text, size};
use crate::words::{say, set_vault};

/// From how many seconds on a server's clock is worth a word: things there are then taken for older or newer than they are.
const SKEW: i64 = 60;

#[derive(Serialize)]
struct JsonTested {
    name: String,
    url: String,
    fit: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    #[serde(flatten)]
    found: Option<JsonFound>,
}

#[derive(Serialize)]
struct JsonFound {
    in_use: bool,
    atomic_put: bool,
    durable_sync: bool,
    tells_space: bool,
    tells_modified: bool,
    free: Option<u64>,
    clock_skew: Option<i64>,
    round_trip_ms: f64,
    put_64_kib_ms: f64,
    get_64_kib_ms: f64,
    /// Other places of those tested that are the same place.
    same_as: Vec<String>,
}

struct Tested {
    name: String,
    url: String,
    result: Result<Trial, Error>,
}

pub async fn run(args: ServerTest) -> Done {
    let mut places: Vec<NewServer> = args
        .servers
        .iter()
        .enumerate()
        .map(|(position, word)| server(position, word))
        .collect();
    for word in &args.server_option {
        set_option(&mut places, word)?;
    }
    let mut tested = Vec::new();
    if let Some(path) = &args.vault {
        set_vault(path);
        tested = of_vault(path).await?;
    }
    for place in places {
        let result = try_place(&place).await;
        tested.push(Tested {
            name: place.name,
            url: place.url,
            result,
        });
    }
    let same: Vec<Vec<String>> = tested.iter().map(|one| same_as(one, &tested)).collect();
    let unfit = tested.iter().any(|one| one.result.is_err());
    let doubled = same.iter().any(|names| !names.is_empty());
    if args.json {
        let listed: Vec<JsonTested> = tested
            .into_iter()
            .zip(same)
            .map(|(one, same)| one.into_json(same))
            .collect();
        json(&listed)?;
    } else {
        let mut text = String::new();
        for (one, same) in tested.into_iter().zip(&same) {
            text.push_str(&one.into_text(same));
        }
        print(&text)?;
    }
    Ok(if unfit {
        Exit::Failed
    } else if doubled {
        Exit::Care
    } else {
        Exit::Ok
    })
}

async fn of_vault(path: &Path) -> Result<Vec<Tested>, Failure> {
    let file = VaultFile::read(path).map_err(|error| Failure::opening(Error::VaultFile(error)))?;
    let mut tested = Vec::new();
    for entry in &file.servers {
        tested.push(Tested {
            name: entry.name.clone(),
            url: entry.url.clone(),
            result: try_server(path, &file, &entry.name).await,
        });
    }
    Ok(tested)
}

fn same_as(one: &Tested, all: &[Tested]) -> Vec<String> {
    let Ok(trial) = &one.result else {
        return Vec::new();
    };
    all.iter()
        .filter(|other| !std::ptr::eq(*other, one))
        .filter(|other| {
            let other = other.result.as_ref();
            other.is_ok_and(|other| trial.is_same_place(other))
        })
        .map(|other| other.name.clone())
        .collect()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn shown_millis(time: Duration) -> String {
    format!("{:.1} ms", millis(time))
}

impl Tested {
    fn into_json(self, same_as: Vec<String>) -> JsonTested {
        let (fault, found) = match self.result {
            Ok(trial) => (None, Some(found(&trial, same_as))),
            Err(error) => {
                let failure = Failure::opening(error);
                (Some(failure.what), None)
            }
        };
        JsonTested {
            name: self.name,
            url: self.url,
            fit: fault.is_none(),
            fault,
            found,
        }
    }

    fn into_text(self, same_as: &[String]) -> String {
        let (name, url) = (shown_text(&self.name), shown_text(&self.url));
        let mut lines = Vec::new();
        let head = match self.result {
            Ok(trial) => {
                lines = told(&trial, same_as);
                say!("server-test-fit", server = name, url = url)
            }
            Err(error) => {
                let failure = Failure::opening(error);
                lines.push(failure.what);
                lines.extend(failure.details);
                if !failure.next.is_empty() {
                    lines.push(say!("next", next = failure.next.as_str()));
                }
                say!("server-test-unfit", server = name, url = url)
            }
        };
        let mut text = format!("{head}\n");
        for line in lines {
            text.push_str(&format!("  {line}\n"));
        }
        text
    }
}

fn found(trial: &Trial, same_as: Vec<String>) -> JsonFound {
    let profile = &trial.profile;
    JsonFound {
        in_use: trial.in_use,
        atomic_put: profile.atomic_put,
        durable_sync: profile.durable_sync,
        tells_space: profile.space,
        tells_modified: profile.modified,
        free: trial.space.and_then(|space| space.free),
        clock_skew: profile.clock_skew,
        round_trip_ms: millis(profile.round_trip),
        put_64_kib_ms: millis(profile.put),
        get_64_kib_ms: millis(profile.get),
        same_as,
    }
}

/// What people should know of a place that is fit, the worst first.
fn told(trial: &Trial, same_as: &[String]) -> Vec<String> {
    let profile = &trial.profile;
    let mut lines = Vec::new();
    if !same_as.is_empty() {
        let servers: Vec<String> = same_as.iter().map(|name| shown_text(name)).collect();
        lines.push(say!("server-test-same", servers = servers.join(", ")));
    }
    if trial.in_use {
        lines.push(say!("server-test-in-use"));
    }
    lines.push(say!(
        "server-test-speed",
        trip = shown_millis(profile.round_trip),
        put = shown_millis(profile.put),
        get = shown_millis(profile.get)
    ));
    lines.push(match trial.space.and_then(|space| space.free) {
        Some(free) => say!("server-test-free", free = size(free)),
        None => say!("server-test-no-space"),
    });
    if !profile.atomic_put {
        lines.push(say!("server-test-not-atomic"));
    }
    if !profile.durable_sync {
        lines.push(say!("server-test-not-durable"));
    }
    if !profile.modified {
        lines.push(say!("server-test-no-times"));
    }
    if let Some(skew) = profile.clock_skew.filter(|skew| skew.abs() >= SKEW) {
        lines.push(say!("server-test-clock", seconds = skew));
    }
    lines
}

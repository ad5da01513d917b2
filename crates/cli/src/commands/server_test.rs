//! `server test`: whether a place is fit for a server.

use serde::Serialize;
use warifu::{NewServer, TriedPlace, try_place};

use super::Done;
use super::init::set_option;
use crate::args::ServerTest;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{json, print, size};
use crate::words::say;

/// What the place is called in messages and options.
const NAME: &str = "server";

/// A clock that is off by more than this is worth a word.
const SKEW: i64 = 60;

// What the fields mean stands in JSON.md.

#[derive(Serialize)]
struct JsonTried {
    url: String,
    fit: bool,
    atomic_put: bool,
    durable_sync: bool,
    modified: bool,
    clock_skew: Option<i64>,
    round_trip_ms: f64,
    put_ms: f64,
    get_ms: f64,
    total: Option<u64>,
    free: Option<u64>,
}

pub async fn run(args: ServerTest) -> Done {
    let mut servers = [NewServer::new(NAME.to_owned(), args.url.clone())];
    for word in &args.server_option {
        set_option(&mut servers, &format!("{NAME}.{word}"))?;
    }
    let [server] = servers;
    let tried = try_place(&server).await.map_err(Failure::opening)?;
    if args.json {
        json(&json_of(&args.url, &tried))?;
    } else {
        show(&tried)?;
    }
    Ok(Exit::Ok)
}

fn json_of(url: &str, tried: &TriedPlace) -> JsonTried {
    let profile = &tried.profile;
    let ms = |took: std::time::Duration| took.as_secs_f64() * 1000.0;
    JsonTried {
        url: url.to_owned(),
        fit: true,
        atomic_put: profile.atomic_put,
        durable_sync: profile.durable_sync,
        modified: profile.modified,
        clock_skew: profile.clock_skew,
        round_trip_ms: ms(profile.round_trip),
        put_ms: ms(profile.put),
        get_ms: ms(profile.get),
        total: tried.space.total,
        free: tried.space.free,
    }
}

fn show(tried: &TriedPlace) -> Result<(), Failure> {
    let profile = &tried.profile;
    let ms = |took: std::time::Duration| format!("{:.1}", took.as_secs_f64() * 1000.0);
    let mut lines = vec![
        say!("place-fit"),
        say!(
            "place-speed",
            round = ms(profile.round_trip),
            put = ms(profile.put),
            get = ms(profile.get)
        ),
        match tried.space.free {
            Some(free) => say!("place-free", size = size(free)),
            None => say!("place-no-space"),
        },
    ];
    if !profile.durable_sync {
        lines.push(say!("place-no-sync"));
    }
    if !profile.atomic_put {
        lines.push(say!("place-no-atomic"));
    }
    match profile.clock_skew {
        Some(skew) if skew.abs() > SKEW => lines.push(say!("place-clock", seconds = skew)),
        Some(_) => {}
        None if !profile.modified => lines.push(say!("place-no-times")),
        None => lines.push(say!("place-no-clock")),
    }
    lines.push(say!("next", next = say!("place-next")));
    let mut text = lines.join("\n");
    text.push('\n');
    Ok(print(&text)?)
}

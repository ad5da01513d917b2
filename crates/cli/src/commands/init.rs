//! `warifu init`: a new vault.

use serde::Serialize;
use warifu::store::Credentials;
use warifu::{InitOptions, NewServer, SaveDurability, Scheme, Threshold, Warifu};

use super::Done;
use crate::args::Init;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{json, note, print, shown_path, shown_text};
use crate::words::{say, set_vault};

#[derive(Serialize)]
struct Made {
    vault_file: String,
    vault: String,
    k: u8,
    n: u8,
    scheme: &'static str,
    servers: Vec<MadeServer>,
}

#[derive(Serialize)]
struct MadeServer {
    index: u8,
    id: String,
    name: String,
    url: String,
}

pub async fn run(args: Init) -> Done {
    set_vault(&args.vault);
    let count = args.servers.len();
    let n = u8::try_from(count).map_err(|_| {
        Failure::new(
            Exit::Usage,
            say!("too-many-servers", n = count),
            say!("bad-threshold-next"),
        )
    })?;
    let threshold = Threshold::new(args.threshold, n)
        .map_err(|bad| Failure::opening(warifu::Error::Threshold(bad)))?;
    let mut servers: Vec<NewServer> = args
        .servers
        .iter()
        .enumerate()
        .map(|(position, word)| server(position, word))
        .collect();
    for word in &args.server_option {
        set_option(&mut servers, word)?;
    }
    let durability = if args.strict {
        SaveDurability::Strict
    } else {
        SaveDurability::Normal
    };
    let mut options = InitOptions::new("warifu")
        .durability(durability)
        .scheme(args.scheme.into());
    if let Some(url) = &args.catalog {
        options = options.catalog(url, catalog_options(&args.catalog_option)?);
    }
    let file = Warifu::init(&args.vault, threshold, servers, options)
        .await
        .map_err(Failure::opening)?;
    if args.json {
        let servers = file
            .servers
            .iter()
            .map(|server| MadeServer {
                index: server.index.get(),
                id: server.id.to_string(),
                name: server.name.clone(),
                url: server.url.clone(),
            })
            .collect();
        let vault_file = args.vault.to_string_lossy().into_owned();
        json(&Made {
            vault_file,
            vault: file.vault.to_string(),
            k: threshold.k(),
            n,
            scheme: file.scheme.name(),
            servers,
        })?;
    } else if !crate::quiet() {
        print(&format!(
            "{}\n",
            say!(
                "init-done",
                path = shown_path(&args.vault),
                k = threshold.k(),
                n = n
            )
        ))?;
        for server in &file.servers {
            print(&format!(
                "  {}  {}\n",
                shown_text(&server.name),
                shown_text(&server.url)
            ))?;
        }
        print(&format!("{}\n", say!("init-next")))?;
    }
    if !crate::quiet() {
        if threshold.k() == 1 {
            note(&say!("init-threshold-one"));
        } else if threshold.k() == n && n > 1 {
            note(&say!("init-threshold-all"));
        }
        if file.scheme == Scheme::Compact {
            note(&say!("init-compact", k = threshold.k()));
        }
    }
    Ok(Exit::Ok)
}

/// How a catalogue's database is logged in to: words of the form `FIELD=VALUE`.
pub fn catalog_options(words: &[String]) -> Result<Credentials, Failure> {
    let mut credentials = Credentials::default();
    for word in words {
        let usage = |detail: String| {
            Failure::new(
                Exit::Usage,
                say!("catalog-option", detail = shown_text(&detail)),
                say!("catalog-option-next"),
            )
        };
        match word.split_once('=') {
            Some((field @ ("password" | "ca"), value)) => credentials
                .set(field, value)
                .map_err(|error| usage(error.to_string()))?,
            // The word is not repeated: it may be a password.
            _ => return Err(usage("FIELD=VALUE".into())),
        }
    }
    Ok(credentials)
}

/// A server from the command line: `NAME=URL`, or a URL, which gets a name by its place.
pub fn server(position: usize, word: &str) -> NewServer {
    match word.split_once('=') {
        // A path may have a = in it too; a name has no slash.
        Some((name, url)) if !name.is_empty() && !name.contains(['/', ':']) => {
            NewServer::new(name, url)
        }
        _ => NewServer::new(format!("server-{}", position + 1), word),
    }
}

/// An option of a server from the command line: `NAME.FIELD=VALUE`. What is wrong is told without the value, which may be a password.
pub fn set_option(servers: &mut [NewServer], word: &str) -> Result<(), Failure> {
    let usage = |what| Failure::new(Exit::Usage, what, say!("server-option-next"));
    let (place, value) = word
        .split_once('=')
        .ok_or_else(|| usage(say!("server-option-form")))?;
    let (name, field) = place
        .rsplit_once('.')
        .ok_or_else(|| usage(say!("server-option-form")))?;
    let server = servers
        .iter_mut()
        .find(|server| server.name == name)
        .ok_or_else(|| usage(say!("server-option-unknown", server = shown_text(name))))?;
    server.credentials.set(field, value).map_err(|source| {
        Failure::opening(warifu::Error::Option {
            server: name.into(),
            source,
        })
    })
}

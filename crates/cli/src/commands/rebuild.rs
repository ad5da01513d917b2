//! `warifu rebuild`: the catalogue made anew from any k servers.

use serde::Serialize;
use warifu::{AdoptedAs, RebuildReport, Rebuilt, Stage, Warifu};

use super::Done;
use super::init::{server, set_option};
use crate::args::Rebuild;
use crate::exit::Exit;
use crate::failure::{Failure, server_fault};
use crate::output::{Progress, json, local_time, note, print, shown_path, shown_text, utc_time};
use crate::words::{say, set_vault};

#[derive(Serialize)]
struct JsonRebuilt {
    vault_file: String,
    vault_file_is_new: bool,
    catalogue: String,
    whole: bool,
    files: u64,
    folders: u64,
    versions: u64,
    audit_lines: u64,
    audit_missing: u64,
    journal_up_to: Option<String>,
    journal_segments: u64,
    journal_gaps: Vec<(u64, u64)>,
    journal_unfinished: u64,
    journal_faults: Vec<String>,
    adopted: Vec<JsonAdopted>,
    adopted_count: u64,
    moved: Vec<String>,
    lost: Vec<JsonLost>,
    owed_shares: u64,
    unused: u64,
    foreign: u64,
    servers: Vec<JsonServer>,
    faults: Vec<String>,
}

#[derive(Serialize)]
struct JsonAdopted {
    path: String,
    version: u64,
    saved_at: String,
    r#as: &'static str,
}

#[derive(Serialize)]
struct JsonLost {
    path: String,
    version: u64,
    needed: u8,
    there: u8,
    for_good: bool,
}

#[derive(Serialize)]
struct JsonServer {
    index: u8,
    name: String,
    given: bool,
}

pub async fn run(args: Rebuild) -> Done {
    set_vault(&args.vault);
    let mut servers: Vec<_> = args
        .servers
        .iter()
        .enumerate()
        .map(|(position, word)| server(position, word))
        .collect();
    for word in &args.server_option {
        set_option(&mut servers, word)?;
    }
    let progress = Progress::counter(crate::quiet() || args.json);
    let shown = |at: warifu::RebuildProgress| {
        // Each stage counts what it reads; what is written is written at once.
        if at.stage != Stage::Writing {
            progress.set(at.done);
        }
    };
    let rebuilt = Warifu::rebuild(&args.vault, servers, "warifu", &shown).await;
    progress.done();
    let rebuilt = rebuilt.map_err(Failure::opening)?;
    if args.json {
        json(&json_of(&args, &rebuilt))?;
    } else {
        show(&args, &rebuilt)?;
    }
    let report = &rebuilt.report;
    Ok(if !report.lost.is_empty() {
        Exit::TooFew
    } else if report.is_whole() && report.owed_shares == 0 && report.faults.is_empty() {
        Exit::Ok
    } else {
        Exit::Care
    })
}

const fn how(how: AdoptedAs) -> &'static str {
    match how {
        AdoptedAs::Version => "version",
        AdoptedAs::File => "file",
        AdoptedAs::Copy => "copy",
    }
}

fn json_of(args: &Rebuild, rebuilt: &Rebuilt) -> JsonRebuilt {
    let report = &rebuilt.report;
    let journal = &report.journal;
    JsonRebuilt {
        vault_file: args.vault.to_string_lossy().into_owned(),
        vault_file_is_new: rebuilt.file_is_new,
        catalogue: rebuilt.catalog.to_string_lossy().into_owned(),
        whole: report.is_whole(),
        files: report.files,
        folders: report.dirs,
        versions: report.versions,
        audit_lines: report.audit_lines,
        audit_missing: report.audit_missing,
        journal_up_to: journal.up_to.map(utc_time),
        journal_segments: journal.segments,
        journal_gaps: journal
            .gaps
            .iter()
            .map(|gap| (*gap.start(), *gap.end()))
            .collect(),
        journal_unfinished: journal.unfinished,
        journal_faults: journal.faults.clone(),
        adopted: report
            .adopted
            .iter()
            .map(|adopted| JsonAdopted {
                path: adopted.path.clone(),
                version: adopted.version.0,
                saved_at: utc_time(adopted.saved_at),
                r#as: how(adopted.how),
            })
            .collect(),
        adopted_count: report.adopted_count,
        moved: report.moved.clone(),
        lost: report
            .lost
            .iter()
            .map(|lost| JsonLost {
                path: lost.path.clone(),
                version: lost.version.0,
                needed: lost.needed,
                there: lost.there,
                for_good: lost.for_good,
            })
            .collect(),
        owed_shares: report.owed_shares,
        unused: report.unused,
        foreign: report.foreign,
        servers: report
            .servers
            .iter()
            .map(|server| JsonServer {
                index: server.index.get(),
                name: server.name.clone(),
                given: server.given,
            })
            .collect(),
        faults: report.faults.iter().map(server_fault).collect(),
    }
}

fn show(args: &Rebuild, rebuilt: &Rebuilt) -> std::io::Result<()> {
    let report = &rebuilt.report;
    let line = |text: String| print(&format!("{text}\n"));
    if !crate::quiet() {
        line(say!(
            "rebuild-done",
            files = report.files,
            folders = report.dirs,
            versions = report.versions,
            catalog = shown_path(&rebuilt.catalog)
        ))?;
        if rebuilt.file_is_new {
            line(say!(
                "rebuild-vault-file",
                path = shown_path(&args.vault),
                scheme = rebuilt.file.scheme.name()
            ))?;
        }
        match report.journal.up_to {
            Some(at) => line(say!("rebuild-up-to", time = local_time(at)))?,
            None => line(say!("rebuild-no-journal"))?,
        }
    }
    show_care(report, line)?;
    if crate::quiet() {
        return Ok(());
    }
    for fault in &report.faults {
        note(&say!("server-away", fault = server_fault(fault)));
    }
    for server in report.servers.iter().filter(|server| !server.given) {
        note(&say!("rebuild-missing", server = shown_text(&server.name)));
    }
    if report.owed_shares > 0 {
        note(&say!("rebuild-owed", count = report.owed_shares));
    }
    note(&say!("rebuild-next"));
    Ok(())
}

/// What somebody should look at.
fn show_care(
    report: &RebuildReport,
    line: impl Fn(String) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let segments: u64 = report
        .journal
        .gaps
        .iter()
        .map(|gap| gap.end() - gap.start() + 1)
        .sum();
    if segments > 0 {
        line(say!("rebuild-gaps", count = segments))?;
    }
    if report.journal.unfinished > 0 {
        line(say!("rebuild-unfinished"))?;
    }
    if report.audit_missing > 0 {
        line(say!("rebuild-audit-missing", count = report.audit_missing))?;
    }
    for adopted in &report.adopted {
        let (path, version) = (shown_text(&adopted.path), adopted.version.0);
        let time = local_time(adopted.saved_at);
        line(match adopted.how {
            AdoptedAs::Version => say!(
                "rebuild-adopted",
                file = path,
                version = version,
                time = time
            ),
            AdoptedAs::File => say!("rebuild-adopted-file", file = path, time = time),
            AdoptedAs::Copy => say!("rebuild-adopted-copy", file = path, time = time),
        })?;
    }
    for path in &report.moved {
        line(say!("rebuild-moved", file = shown_text(path)))?;
    }
    for lost in &report.lost {
        let (path, version) = (shown_text(&lost.path), lost.version.0);
        let file = if path.is_empty() {
            say!("verify-no-name")
        } else {
            path
        };
        let (needed, good) = (lost.needed, lost.there);
        line(if lost.for_good {
            say!(
                "verify-lost",
                file = file,
                version = version,
                needed = needed,
                good = good
            )
        } else {
            say!(
                "verify-unreadable",
                file = file,
                version = version,
                needed = needed,
                good = good
            )
        })?;
    }
    Ok(())
}

//! `warifu rebuild`: the catalogue made anew from any k servers.

use serde::Serialize;
use warifu::{AdoptedAs, RebuildReport, Rebuilt, Stage, Warifu};

use super::Done;
use super::init::{server, set_option};
use crate::args::Rebuild;
use crate::exit::Exit;
use crate::failure::{Failure, server_fault};
use crate::output::{Progress, json, local_time, note, print, shown_path, shown_text, utc_time};
use crate::unlocking::{keyring, opening};
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
    journal_others: Vec<JsonTimeline>,
    adopted: Vec<JsonAdopted>,
    adopted_count: u64,
    moved: Vec<String>,
    lost: Vec<JsonLost>,
    unread: u64,
    unreadable: Vec<JsonUnreadable>,
    undecided: bool,
    owed_shares: u64,
    unused: u64,
    foreign: u64,
    servers: Vec<JsonServer>,
    faults: Vec<String>,
}

#[derive(Serialize)]
struct JsonAccepted {
    accepted: bool,
}

#[derive(Serialize)]
struct JsonAdopted {
    path: String,
    version: u64,
    saved_at: String,
    r#as: &'static str,
}

#[derive(Serialize)]
struct JsonTimeline {
    first: u64,
    last: u64,
    up_to: String,
    saves: u64,
}

#[derive(Serialize)]
struct JsonUnreadable {
    server: String,
    objects: u64,
    detail: String,
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
    if args.accept {
        return accept(&args).await;
    }
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
    let rebuilt = Warifu::rebuild(&args.vault, servers, &keyring(), "warifu", &shown).await;
    progress.done();
    let rebuilt = rebuilt.map_err(Failure::opening)?;
    if args.json {
        json(&json_of(&args, &rebuilt))?;
    } else {
        show(&args, &rebuilt)?;
    }
    let report = &rebuilt.report;
    let clean = report.owed_shares == 0 && report.faults.is_empty() && report.unreadable.is_empty();
    Ok(if !report.lost.is_empty() {
        Exit::TooFew
    } else if report.is_whole() && clean {
        Exit::Ok
    } else {
        Exit::Care
    })
}

/// Goes on with a catalogue that was rebuilt with something missing.
async fn accept(args: &Rebuild) -> Done {
    let accepted = Warifu::accept_rebuild(&args.vault, opening()).await;
    let accepted = accepted.map_err(Failure::opening)?;
    if args.json {
        json(&JsonAccepted { accepted })?;
    } else if accepted {
        print(&format!("{}\n", say!("rebuild-accepted")))?;
    } else {
        print(&format!("{}\n", say!("rebuild-nothing-to-accept")))?;
    }
    Ok(Exit::Ok)
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
        journal_others: journal
            .others
            .iter()
            .map(|other| JsonTimeline {
                first: *other.segments.start(),
                last: *other.segments.end(),
                up_to: utc_time(other.up_to),
                saves: other.saves,
            })
            .collect(),
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
        unread: report.unread,
        unreadable: report
            .unreadable
            .iter()
            .map(|found| JsonUnreadable {
                server: found.fault.server.clone(),
                objects: found.objects,
                detail: found.fault.detail.clone(),
            })
            .collect(),
        undecided: report.undecided,
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
    if report.undecided {
        note(&say!("undecided"));
        note(&say!(
            "next",
            next = say!("undecided-next", catalog = shown_path(&rebuilt.catalog))
        ));
    } else {
        note(&say!("rebuild-next"));
    }
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
    for other in &report.journal.others {
        line(say!(
            "rebuild-other",
            first = *other.segments.start(),
            last = *other.segments.end(),
            time = local_time(other.up_to),
            saves = other.saves
        ))?;
    }
    if report.unread > 0 {
        line(say!("rebuild-unread", count = report.unread))?;
    }
    for found in &report.unreadable {
        line(say!(
            "rebuild-unreadable",
            server = shown_text(&found.fault.server),
            count = found.objects,
            fault = server_fault(&found.fault)
        ))?;
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

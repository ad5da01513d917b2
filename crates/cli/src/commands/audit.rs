//! `warifu audit`: who did what, and whether the log is whole.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{BufReader, Write as _};

use serde::Serialize;
use warifu::{
    Act, AuditRow, CopyCheck, LogCheck, LogCompared, LogFault, LogFilter, NodeId, RebuildError,
    RebuildProgress, Stage, Warifu,
};

use super::{Done, vault_path, with_vault};
use crate::args::{Audit, AuditCommand, AuditList, AuditVerify};
use crate::exit::Exit;
use crate::failure::{About as _, Failure, server_fault};
use crate::output::{
    JsonName, Progress, json, local_time, note, print, shown_path, shown_text, utc_time,
};
use crate::when;
use crate::words::{say, set_vault};

pub async fn run(args: Audit) -> Done {
    match args.command {
        // In boxes: as one future they are too deep for the compiler.
        AuditCommand::List(args) => Box::pin(list(args)).await,
        AuditCommand::Verify(args) => Box::pin(verify(args)).await,
    }
}

#[derive(Serialize)]
struct JsonLine<'a> {
    seq: u64,
    at: String,
    act: &'static str,
    person: &'a str,
    uid: u32,
    gid: u32,
    host: &'a str,
    program: &'a str,
    purpose: &'a str,
    node: Option<u64>,
    detail: &'a str,
    chain: String,
    /// The path that the node has now.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    name: Option<JsonName>,
}

/// How many paths are remembered, so that a line costs no look-up for each file that is named again and again.
const PATHS: usize = 10_000;

async fn list(args: AuditList) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    let act = match &args.act {
        None => None,
        Some(word) => Some(Act::parse(word).ok_or_else(|| {
            let known: Vec<&str> = Act::ALL.iter().map(|act| act.as_str()).collect();
            Failure::new(
                Exit::Usage,
                say!("audit-no-act", act = shown_text(word)),
                say!("audit-no-act-next", known = known.join(", ")),
            )
        })?),
    };
    let (since, until) = (
        when::parse_some(args.since.as_ref())?,
        when::parse_some(args.until.as_ref())?,
    );
    with_vault(&vault, true, |warifu| async move {
        let of = match &args.file {
            None => None,
            Some(path) => {
                let path = vault_path(path)?;
                Some(warifu.of_file(&path).await.about(&path)?)
            }
        };
        let filter = LogFilter {
            person: args.person,
            host: args.host,
            act,
            since,
            until,
            of,
        };
        // Printed a page at a time: the log may be longer than memory.
        let mut paths = HashMap::new();
        let mut after = 0;
        loop {
            let page = warifu.vault().audit(after, 512).await.about_vault()?;
            let Some(last) = page.last() else {
                return Ok(Exit::Ok);
            };
            after = last.seq;
            for row in page.iter().filter(|row| filter.matches(row)) {
                let path = path_of(&warifu, row, &mut paths).await?;
                if args.json {
                    print_json(row, path)?;
                } else {
                    print_line(row, path)?;
                }
            }
        }
    })
    .await
}

/// The path that a line's node has now.
async fn path_of<'a>(
    warifu: &Warifu,
    row: &AuditRow,
    paths: &'a mut HashMap<NodeId, Option<Vec<u8>>>,
) -> Result<Option<&'a [u8]>, Failure> {
    let Some(node) = row.entry.node else {
        return Ok(None);
    };
    if paths.len() > PATHS {
        paths.clear();
    }
    let path = match paths.entry(node) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => {
            let names = warifu.vault().path(warifu.context(), node).await;
            place.insert(names.about_vault()?.map(|names| {
                let mut path: Vec<u8> = Vec::new();
                for name in &names {
                    path.push(b'/');
                    path.extend_from_slice(name.as_bytes());
                }
                if names.is_empty() {
                    b"/".to_vec()
                } else {
                    path
                }
            }))
        }
    };
    Ok(path.as_deref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn print_json(row: &AuditRow, path: Option<&[u8]>) -> Result<(), Failure> {
    let (entry, context) = (&row.entry, &row.entry.context);
    let line = JsonLine {
        seq: row.seq,
        at: utc_time(entry.at),
        act: entry.act.as_str(),
        person: &context.actor,
        uid: context.uid,
        gid: context.gid,
        host: &context.host,
        program: &context.program,
        purpose: &context.purpose,
        node: entry.node.map(|node| node.0),
        detail: &entry.detail,
        chain: hex(&row.chain),
        name: path.map(JsonName::new),
    };
    let text = serde_json::to_string(&line).map_err(std::io::Error::from)?;
    Ok(print(&format!("{text}\n"))?)
}

fn print_line(row: &AuditRow, path: Option<&[u8]>) -> Result<(), Failure> {
    let (entry, context) = (&row.entry, &row.entry.context);
    let path = path.map(crate::output::shown).unwrap_or_default();
    let text = format!(
        "{}  {}  {}@{}  {}  {path}  {}",
        row.seq,
        local_time(entry.at),
        shown_text(&context.actor),
        shown_text(&context.host),
        entry.act.as_str(),
        shown_text(&entry.detail),
    );
    Ok(print(&format!("{}\n", text.trim_end()))?)
}

#[derive(Serialize)]
struct JsonVerified {
    /// Lines that fit, from the first.
    lines: u64,
    /// The chain value of the last of them.
    chain: String,
    whole: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<JsonFault>,
    /// Absent when it was not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<JsonServers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copy: Option<JsonCopy>,
}

#[derive(Serialize)]
struct JsonFault {
    kind: &'static str,
    seq: u64,
}

#[derive(Serialize)]
struct JsonServers {
    lines: u64,
    last: u64,
    complete: bool,
    /// The first and the last of lines that were put on the servers and are in no segment there.
    missing: Vec<(u64, u64)>,
    /// The number of a segment of the journal that this catalogue has never written.
    #[serde(skip_serializing_if = "Option::is_none")]
    newer_segment: Option<u64>,
    /// The last line that the catalogue had, where it says so itself and has it no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    had: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    differs_at: Option<u64>,
    /// Whether the catalogue has a line of that number.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<bool>,
    unread: Vec<String>,
}

#[derive(Serialize)]
struct JsonCopy {
    same: u64,
    other: u64,
    first: Option<u64>,
    last: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    differs_at: Option<u64>,
}

async fn verify(args: AuditVerify) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    // First: a mistyped name should not show when all servers have been looked through.
    let against = args.against.as_ref().map(|path| match File::open(path) {
        Ok(file) => Ok((path.clone(), file)),
        Err(error) => Err(Failure::local(path, &error)),
    });
    let against = against.transpose()?;
    with_vault(&vault, true, |warifu| async move {
        let progress = Progress::counter(crate::quiet() || args.json);
        let check = warifu.check_log(&|lines| progress.set(lines)).await;
        let check = check.about_vault()?;
        let (mut compared, mut unasked) = (None, None);
        if !args.local {
            match Box::pin(compare(&warifu, &progress)).await {
                Ok(found) => compared = Some(found),
                // What is known to be wrong is told first.
                Err(failure) if check.fault.is_some() => unasked = Some(failure),
                Err(failure) => return Err(failure),
            }
        }
        let copy = match against {
            None => None,
            Some((path, file)) => {
                let mut copy = BufReader::new(file);
                let seen = |lines| progress.set(lines);
                let compared = warifu.compare_copy(&mut copy, &seen).await;
                Some(compared.map_err(|error| match error {
                    warifu::Error::Stream(error) => Failure::local(&path, &error),
                    other => Failure::opening(other),
                })?)
            }
        };
        progress.done();
        if args.json {
            json(&as_json(&check, compared.as_ref(), copy.as_ref()))?;
        } else {
            tell(&check, compared.as_ref(), copy.as_ref(), &args)?;
        }
        if let Some(failure) = unasked {
            note(failure.render().trim_end());
        }
        Ok(judged(&check, compared.as_ref(), copy.as_ref()))
    })
    .await
}

async fn compare(warifu: &Warifu, progress: &Progress) -> Result<LogCompared, Failure> {
    let seen = |at: RebuildProgress| {
        if matches!(at.stage, Stage::Survey | Stage::Journal) {
            progress.set(at.done);
        }
    };
    let compared = Box::pin(warifu.vault().compare_log(&seen)).await;
    compared.map_err(|error| {
        let details: Vec<String> = match &error {
            RebuildError::TooFewServers { faults, .. } => faults.iter().map(server_fault).collect(),
            RebuildError::Server(fault) => vec![server_fault(fault)],
            other => vec![shown_text(&other.to_string())],
        };
        let exit = match error {
            RebuildError::Catalog(_) | RebuildError::NoRandomness(_) => Exit::Failed,
            _ => Exit::TooFew,
        };
        Failure::new(
            exit,
            say!("audit-no-servers"),
            say!("audit-no-servers-next"),
        )
        .with(details)
    })
}

fn judged(check: &LogCheck, compared: Option<&LogCompared>, copy: Option<&CopyCheck>) -> Exit {
    let false_ = check.fault.is_some()
        || compared.is_some_and(|compared| compared.difference.is_some() || compared.is_cut_off())
        || copy.is_some_and(|copy| copy.difference.is_some());
    if false_ {
        Exit::BadInput
    } else if compared.is_some_and(|compared| !compared.is_complete())
        || copy.is_some_and(|copy| copy.same == 0)
    {
        Exit::Care
    } else {
        Exit::Ok
    }
}

fn as_json(
    check: &LogCheck,
    compared: Option<&LogCompared>,
    copy: Option<&CopyCheck>,
) -> JsonVerified {
    JsonVerified {
        lines: check.lines,
        chain: hex(&check.chain),
        whole: judged(check, compared, copy) == Exit::Ok,
        fault: check.fault.as_ref().map(|fault| JsonFault {
            kind: match fault {
                LogFault::Gap { .. } => "gap",
                LogFault::Chain { .. } => "chain",
                LogFault::Unreadable { .. } => "unreadable",
            },
            seq: fault.seq(),
        }),
        servers: compared.map(|compared| JsonServers {
            lines: compared.lines,
            last: compared.last,
            complete: compared.is_complete(),
            missing: compared
                .missing
                .iter()
                .map(|lines| (*lines.start(), *lines.end()))
                .collect(),
            newer_segment: compared.ahead,
            had: compared.is_cut_off().then_some(compared.audited),
            differs_at: compared.difference.as_ref().map(|found| found.seq),
            known: compared
                .difference
                .as_ref()
                .map(|found| found.in_catalogue.is_some()),
            unread: unread(compared),
        }),
        copy: copy.map(|copy| JsonCopy {
            same: copy.same,
            other: copy.other,
            first: copy.span.map(|(first, _)| first),
            last: copy.span.map(|(_, last)| last),
            differs_at: copy.difference.as_ref().map(|found| found.seq),
        }),
    }
}

fn unread(compared: &LogCompared) -> Vec<String> {
    let faults = compared.faults.iter().map(server_fault);
    let segments = compared.unread.iter().map(|text| shown_text(text));
    faults.chain(segments).collect()
}

fn tell(
    check: &LogCheck,
    compared: Option<&LogCompared>,
    copy: Option<&CopyCheck>,
    args: &AuditVerify,
) -> Result<(), Failure> {
    let mut text = String::new();
    let mut next = None;
    match &check.fault {
        None => text += &say!("audit-chain-holds", lines = check.lines),
        Some(LogFault::Gap { expected, found }) => {
            text += &say!("audit-gap", expected = *expected, found = *found);
            next = Some(say!("audit-broken-next"));
        }
        Some(LogFault::Chain { seq }) => {
            text += &say!("audit-chain-broken", seq = *seq);
            next = Some(say!("audit-broken-next"));
        }
        Some(LogFault::Unreadable { seq, detail }) => {
            text += &say!("audit-unreadable", seq = *seq, detail = shown_text(detail));
            next = Some(say!("audit-broken-next"));
        }
    }
    text.push('\n');
    if let Some(compared) = compared {
        text += &match &compared.difference {
            None if compared.is_cut_off() => {
                next = Some(say!("audit-cut-off-next"));
                say!(
                    "audit-lines-gone",
                    first = compared.known + 1,
                    last = compared.audited
                )
            }
            None if compared.lines == 0 => say!("audit-servers-nothing"),
            None => say!("audit-servers-agree", last = compared.last),
            Some(found) if found.in_catalogue.is_none() => {
                next = Some(say!("audit-cut-off-next"));
                say!("audit-cut-off", seq = found.seq, last = compared.last)
            }
            Some(found) => {
                next = Some(say!("audit-broken-next"));
                say!("audit-servers-differ", seq = found.seq)
            }
        };
        text.push('\n');
        for lines in &compared.missing {
            text += &say!("audit-missing", first = *lines.start(), last = *lines.end());
            text.push('\n');
        }
        if let Some(segment) = compared.ahead {
            text += &say!("audit-newer-segment", segment = segment);
            text.push('\n');
        }
        for line in unread(compared) {
            text += &format!("  {line}\n");
        }
        if compared.ahead.is_some() {
            next.get_or_insert(say!("audit-cut-off-next"));
        }
        if !compared.is_complete() {
            next.get_or_insert(say!("audit-incomplete-next"));
        }
    }
    if let (Some(copy), Some(path)) = (copy, &args.against) {
        let path = shown_path(path);
        text += &match (&copy.difference, copy.span) {
            (None, None) => say!("audit-copy-empty", path = path),
            (None, Some((first, last))) => say!(
                "audit-copy-agrees",
                path = path,
                lines = copy.same,
                first = first,
                last = last
            ),
            (Some(found), _) => {
                next = Some(say!("audit-broken-next"));
                say!("audit-copy-differs", path = path, seq = found.seq)
            }
        };
        text.push('\n');
        if copy.other > 0 {
            text += &say!("audit-copy-other", lines = copy.other);
            text.push('\n');
        }
    }
    print(&text)?;
    std::io::stdout().flush()?;
    if let Some(next) = next {
        note(&say!("next", next = next));
    }
    Ok(())
}

/// Errors of the vault as a whole.
trait AboutVault<T> {
    fn about_vault(self) -> Result<T, Failure>;
}

impl<T> AboutVault<T> for Result<T, warifu::VaultError> {
    fn about_vault(self) -> Result<T, Failure> {
        self.map_err(|error| Failure::vault(&error, &say!("the-catalogue")))
    }
}

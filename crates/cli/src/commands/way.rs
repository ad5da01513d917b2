//! `way`: who can open the vault beside having reached enough servers.

mod secrets;

use std::io::BufRead as _;

use serde::Serialize;
use warifu::Warifu;
use warifu::ways::{Way as VaultWay, WayKind, WaysChange, WaysChanged, WaysError, WaysStatus};

use self::secrets::{Handed, Measure, hand_out, new_secrets};
use super::{Done, with_vault, with_vault_opened};
use crate::args::{Way, WayAdd, WayCommand, WayKindArg, WayList, WayRecover, WayRemove, WayRotate};
use crate::exit::Exit;
use crate::failure::{Failure, server_fault};
use crate::output::{json, local_time, note, print, shown_text, utc_time};
use crate::unlocking::{opening, somebody_is_there};
use crate::words::{say, set_vault};

pub async fn run(args: Way) -> Done {
    match args.command {
        WayCommand::List(args) => list(args).await,
        WayCommand::Add(args) => add(args).await,
        WayCommand::Remove(args) => remove(args).await,
        WayCommand::Rotate(args) => rotate(args).await,
        WayCommand::Recover(args) => recover(args).await,
    }
}

#[derive(Serialize)]
struct JsonWay {
    number: u32,
    name: String,
    kind: &'static str,
    made: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    needed: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sheets: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<String>,
}

#[derive(Serialize)]
pub struct JsonWays {
    /// Whether enough servers alone open the vault; null where it cannot be told.
    open: Option<bool>,
    change: Option<u32>,
    ways: Vec<JsonWay>,
    servers_to_mend: Vec<String>,
}

#[derive(Serialize)]
struct JsonChanged {
    applied: bool,
    change: Option<u32>,
    ways: Vec<JsonWay>,
    stored: Vec<String>,
    servers_to_mend: Vec<String>,
    at_the_limit: bool,
    old_opens: bool,
    files: Vec<String>,
}

fn json_way(way: &VaultWay) -> JsonWay {
    let set = match way.kind() {
        WayKind::Custodians(set) => Some(*set),
        _ => None,
    };
    JsonWay {
        number: way.id().0,
        name: way.name().to_owned(),
        kind: match way.kind() {
            WayKind::Open => "open",
            WayKind::Passphrase(_) => "passphrase",
            WayKind::Keys { .. } => "keys",
            WayKind::Custodians(_) => "custodians",
            _ => "newer",
        },
        made: utc_time(way.made()),
        needed: set.map(|set| set.needed),
        sheets: set.map(|set| set.sheets),
        set: set.map(|set| format!("{:05x}", set.set)),
        recipients: recipients_of(way).map(str::to_owned).collect(),
    }
}

/// Whose private keys it takes.
fn recipients_of(way: &VaultWay) -> std::str::Lines<'_> {
    match way.kind() {
        WayKind::Keys { recipients, .. } => recipients.lines(),
        _ => "".lines(),
    }
}

impl JsonWays {
    pub fn of(status: &WaysStatus) -> Self {
        Self {
            open: (!status.unknown).then(|| status.is_open()),
            change: status.number.map(|number| number.0),
            ways: status.ways.iter().map(json_way).collect(),
            servers_to_mend: servers(&status.faults),
        }
    }
}

/// A way in a line.
pub fn line(way: &VaultWay) -> String {
    let name = shown_text(way.name());
    let made = local_time(way.made());
    match way.kind() {
        WayKind::Open => say!("way-line-open"),
        WayKind::Passphrase(cost) => say!(
            "way-line-passphrase",
            name = name,
            made = made,
            mib = cost.memory_kib() >> 10
        ),
        WayKind::Custodians(set) => say!(
            "way-line-custodians",
            name = name,
            made = made,
            needed = set.needed,
            sheets = set.sheets,
            set = format!("{:05x}", set.set)
        ),
        WayKind::Keys { .. } => {
            let people: Vec<&str> = recipients_of(way).collect();
            let people = shown_text(&people.join(", "));
            say!("way-line-keys", name = name, made = made, people = people)
        }
        _ => say!("way-line-other", name = name, made = made),
    }
}

/// The names of ways that were begun and that the next change makes count.
fn pending(status: &WaysStatus) -> Option<String> {
    let names: Vec<&str> = status.pending.iter().map(VaultWay::name).collect();
    (!names.is_empty()).then(|| shown_text(&names.join(", ")))
}

/// The ways there are, for people.
pub fn lines(status: &WaysStatus) -> Vec<String> {
    let mut lines = Vec::new();
    if status.unknown {
        lines.push(say!("ways-unknown"));
    } else if status.is_open() {
        lines.push(say!("ways-none"));
    } else {
        lines.push(say!("ways-are"));
        lines.extend(status.ways.iter().map(|way| format!("  {}", line(way))));
    }
    match pending(status) {
        Some(names) => lines.push(say!("ways-pending", names = names)),
        None if status.begun => lines.push(say!("ways-begun")),
        None => {}
    }
    lines
}

/// The same, and the servers that do not have what counts.
pub fn told(status: &WaysStatus) -> String {
    let mut text = lines(status).join("\n");
    text.push('\n');
    if !status.faults.is_empty() {
        text.push_str(&say!("ways-to-mend"));
        text.push('\n');
        for fault in &status.faults {
            text.push_str(&format!("  {}\n", server_fault(fault)));
        }
    }
    text
}

async fn list(args: WayList) -> Done {
    set_vault(&args.vault);
    with_vault(&args.vault.clone(), true, |warifu| async move {
        let status = warifu.vault().ways().await;
        if args.json {
            json(&JsonWays::of(&status))?;
        } else {
            print(&told(&status))?;
        }
        let well = status.faults.is_empty() && !status.begun && !status.unknown;
        Ok(if well { Exit::Ok } else { Exit::Care })
    })
    .await
}

/// The ways there are, for whoever is to change them.
async fn known_ways(warifu: &Warifu) -> Result<WaysStatus, Failure> {
    let status = warifu.vault().ways().await;
    match status.unknown {
        true => Err(Failure::ways(&WaysError::Unknown {
            faults: status.faults,
        })),
        false => Ok(status),
    }
}

fn servers(faults: &[warifu::ServerFault]) -> Vec<String> {
    let mut names: Vec<String> = faults.iter().map(|fault| fault.server.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Asks whether a plan is to be applied. Where nobody is there to be asked, it is not.
fn agreed(yes: bool) -> Result<bool, Failure> {
    if yes {
        return Ok(true);
    }
    if !somebody_is_there() {
        note(&say!("next", next = say!("way-yes-next")));
        return Ok(false);
    }
    note(&say!("way-ask"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "はい" | "ｙ"))
}

/// A plan, shown where people read.
fn show_plan(lines: &[String], quiet: bool) -> Result<(), Failure> {
    if quiet || crate::quiet() {
        return Ok(());
    }
    Ok(print(&format!("{}\n", lines.join("\n")))?)
}

async fn apply(warifu: &Warifu, change: WaysChange) -> Result<WaysChanged, Failure> {
    let changed = warifu.vault().change_ways(warifu.context(), change).await;
    changed.map_err(|error| Failure::ways(&error))
}

/// The same where sheets were handed out for it.
async fn apply_with(
    warifu: &Warifu,
    change: WaysChange,
    handed: &Handed,
) -> Result<WaysChanged, Failure> {
    let changed = warifu.vault().change_ways(warifu.context(), change).await;
    changed.map_err(|error| {
        let failure = Failure::ways(&error);
        match error {
            // They may count.
            WaysError::Unsure { .. } | WaysError::Overtaken { .. } => failure,
            _ => handed.made_worthless(failure),
        }
    })
}

/// Sees, before anybody gets new secrets, that nothing is in the way of what they are for.
async fn may_change(warifu: &Warifu, adding: Option<&str>) -> Result<(), Failure> {
    let may = warifu.vault().may_change_ways(adding).await;
    may.map_err(|error| Failure::ways(&error))
}

fn done(changed: &WaysChanged, files: Vec<String>, as_json: bool) -> Done {
    if as_json {
        json(&JsonChanged {
            applied: true,
            change: Some(changed.number.0),
            ways: changed.ways.iter().map(json_way).collect(),
            stored: changed.stored.clone(),
            servers_to_mend: servers(&changed.faults),
            at_the_limit: changed.at_the_limit,
            old_opens: changed.old_opens,
            files,
        })?;
    } else {
        let mut text = format!(
            "{}\n",
            say!("way-done", servers = changed.stored.join(", "))
        );
        for way in &changed.ways {
            text.push_str(&format!("  {}\n", line(way)));
        }
        if !changed.faults.is_empty() {
            text.push_str(&say!("ways-to-mend"));
            text.push('\n');
            for fault in &changed.faults {
                text.push_str(&format!("  {}\n", server_fault(fault)));
            }
        }
        if changed.old_opens {
            text.push_str(&say!("way-old-opens"));
            text.push('\n');
        }
        if changed.at_the_limit {
            text.push_str(&say!("way-at-the-limit"));
            text.push('\n');
        }
        if !crate::quiet() {
            print(&text)?;
            if changed.number.0 == 1 {
                note(&say!("way-first-note"));
            }
        }
    }
    Ok(match changed.faults.is_empty() {
        true => Exit::Ok,
        false => Exit::Care,
    })
}

/// Nothing was applied.
fn planned(status: &WaysStatus, as_json: bool) -> Done {
    if as_json {
        json(&JsonChanged {
            applied: false,
            change: status.number.map(|number| number.0),
            ways: status.ways.iter().map(json_way).collect(),
            stored: Vec::new(),
            servers_to_mend: servers(&status.faults),
            at_the_limit: false,
            old_opens: false,
            files: Vec::new(),
        })?;
    }
    Ok(Exit::Care)
}

async fn add(args: WayAdd) -> Done {
    set_vault(&args.vault);
    let default = match args.kind {
        WayKindArg::Passphrase => "passphrase",
        WayKindArg::Keys => "keys",
        WayKindArg::Custodians => "custodians",
    };
    let name = args.name.clone().unwrap_or_else(|| default.to_owned());
    with_vault_opened(&args.vault.clone(), opening(), |warifu| async move {
        let status = known_ways(&warifu).await?;
        if status.ways.iter().any(|way| way.name() == name) {
            return Err(Failure::ways(&WaysError::Taken { name }));
        }
        let measure = Measure::of(args.kind, &args.secrets, None)?;
        let mut plan = vec![say!("way-add-plan", name = shown_text(&name))];
        plan.push(measure.line());
        if status.is_open() {
            plan.push(say!("way-add-plan-first"));
        }
        if let Some(names) = pending(&status) {
            plan.push(say!("way-add-plan-pending", names = names));
        }
        plan.extend(status.faults.iter().map(server_fault));
        show_plan(&plan, args.json)?;
        if !agreed(args.yes)? {
            return planned(&status, args.json);
        }
        may_change(&warifu, Some(&name)).await?;
        let (way, sheets) = new_secrets(&measure, &args.secrets).await?;
        let what = (args.vault.as_path(), name.as_str());
        let handed = hand_out(&sheets, &args.secrets, what, (args.yes, args.json))?;
        let changed = apply_with(&warifu, WaysChange::Add { name, way }, &handed).await?;
        done(&changed, handed.names(), args.json)
    })
    .await
}

async fn remove(args: WayRemove) -> Done {
    set_vault(&args.vault);
    with_vault_opened(&args.vault.clone(), opening(), |warifu| async move {
        let status = known_ways(&warifu).await?;
        let mut ids = Vec::new();
        for name in &args.names {
            let way = status.find(name).ok_or_else(|| Failure::no_way(name))?;
            ids.push(way.id());
        }
        if !args.to_none && !status.ways.iter().any(|way| !ids.contains(&way.id())) {
            return Err(Failure::ways(&WaysError::Last));
        }
        let plan = if args.to_none {
            say!("way-none-plan")
        } else {
            say!(
                "way-remove-plan",
                names = shown_text(&args.names.join(", "))
            )
        };
        show_plan(&[plan], args.json)?;
        if !agreed(args.yes)? {
            return planned(&status, args.json);
        }
        let change = match args.to_none {
            true => WaysChange::Open,
            false => WaysChange::Remove(ids),
        };
        let changed = apply(&warifu, change).await?;
        done(&changed, Vec::new(), args.json)
    })
    .await
}

fn kind_of(way: &VaultWay) -> Option<WayKindArg> {
    match way.kind() {
        WayKind::Passphrase(_) => Some(WayKindArg::Passphrase),
        WayKind::Custodians(_) => Some(WayKindArg::Custodians),
        WayKind::Keys { .. } => Some(WayKindArg::Keys),
        _ => None,
    }
}

async fn rotate(args: WayRotate) -> Done {
    set_vault(&args.vault);
    with_vault_opened(&args.vault.clone(), opening(), |warifu| async move {
        let status = known_ways(&warifu).await?;
        let Some(name) = &args.name else {
            if status.ways.is_empty() {
                return Err(Failure::no_way(""));
            }
            show_plan(&[say!("way-rotate-plan")], args.json)?;
            if !agreed(args.yes)? {
                return planned(&status, args.json);
            }
            let changed = apply(&warifu, WaysChange::Rotate).await?;
            return done(&changed, Vec::new(), args.json);
        };
        let way = status.find(name).ok_or_else(|| Failure::no_way(name))?;
        let kind = kind_of(way).ok_or_else(|| Failure::no_way(name))?;
        let measure = Measure::of(kind, &args.secrets, Some(way))?;
        let plan = say!("way-renew-plan", name = shown_text(way.name()));
        show_plan(&[plan, measure.line()], args.json)?;
        if !agreed(args.yes)? {
            return planned(&status, args.json);
        }
        may_change(&warifu, None).await?;
        let (added, sheets) = new_secrets(&measure, &args.secrets).await?;
        let what = (args.vault.as_path(), way.name());
        let handed = hand_out(&sheets, &args.secrets, what, (args.yes, args.json))?;
        let id = way.id();
        let changed = apply_with(&warifu, WaysChange::Renew { id, way: added }, &handed).await?;
        done(&changed, handed.names(), args.json)
    })
    .await
}

/// Opens by whatever way there is, which is paper shares where the passphrase is lost, and gives the passphrase's way a new one.
async fn recover(args: WayRecover) -> Done {
    set_vault(&args.vault);
    with_vault_opened(&args.vault.clone(), opening(), |warifu| async move {
        let status = known_ways(&warifu).await?;
        let wanted = |way: &&VaultWay| match &args.name {
            Some(name) => way.name() == name || way.id().to_string() == *name,
            None => true,
        };
        let of_passphrase = |way: &&VaultWay| matches!(way.kind(), WayKind::Passphrase(_));
        let way = status.ways.iter().filter(wanted).find(of_passphrase);
        let measure = Measure::of(WayKindArg::Passphrase, &args.secrets, way)?;
        let name = args.name.clone().unwrap_or_else(|| "passphrase".to_owned());
        may_change(&warifu, way.is_none().then_some(&*name)).await?;
        let (added, _) = new_secrets(&measure, &args.secrets).await?;
        let change = match way {
            Some(way) => WaysChange::Renew {
                id: way.id(),
                way: added,
            },
            None => WaysChange::Add { name, way: added },
        };
        let changed = apply(&warifu, change).await?;
        done(&changed, Vec::new(), args.json)
    })
    .await
}

//! `warifu server`: the servers of a vault, and a new place for a lost one. A further one is a matter of `threshold`.

use serde::Serialize;
use warifu::{GenerationStatus, NewServer, RepairOptions, ReplacePlan, VaultFile};

use super::init::set_option;
use super::repair::{self, JsonRepair};
use super::server_test;
use super::{Done, refresh, threshold, with_vault, with_vault_opened};
use crate::args::{Server, ServerCommand, ServerList, ServerReplace};
use crate::exit::Exit;
use crate::failure::{Failure, fault};
use crate::output::{Progress, fault_key, json, note, print, shown_text};
use crate::unlocking::opening;
use crate::words::{say, set_vault};

pub async fn run(args: Server) -> Done {
    match args.command {
        ServerCommand::Add(args) => threshold::add(args).await,
        ServerCommand::List(args) => list(args).await,
        ServerCommand::Replace(args) => replace(args, false).await,
        ServerCommand::Retire(args) => replace(args, true).await,
        ServerCommand::Test(args) => server_test::run(args).await,
    }
}

#[derive(Serialize)]
struct JsonListed {
    index: u8,
    id: String,
    name: String,
    url: String,
    /// What was wrong with it when the vault was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
    /// Servers on the same disk or machine.
    same_place: Vec<String>,
    /// Servers with the same password or key.
    same_credential: Vec<String>,
}

async fn list(args: ServerList) -> Done {
    set_vault(&args.vault);
    let vault = args.vault.clone();
    with_vault(&vault, true, |warifu| async move {
        let fault_of = |name: &str| {
            let found = warifu.faults().iter().find(|fault| fault.server == name);
            found.map(|found| found.fault)
        };
        let servers = &warifu.file().servers;
        let shared = warifu.file().shared(warifu.path());
        let shared = shared.map_err(Failure::opening)?;
        if args.json {
            let listed: Vec<JsonListed> = servers
                .iter()
                .zip(shared)
                .map(|(server, shared)| JsonListed {
                    index: server.index.get(),
                    id: server.id.to_string(),
                    name: server.name.clone(),
                    url: server.url.clone(),
                    fault: fault_of(&server.name).map(fault_key),
                    same_place: shared.place,
                    same_credential: shared.credential,
                })
                .collect();
            json(&listed)?;
        } else {
            let mut text = String::new();
            for (server, shared) in servers.iter().zip(&shared) {
                let state = fault_of(&server.name).map_or_else(|| say!("state-normal"), fault);
                text.push_str(&format!(
                    "  {}. {}  {state}  {}\n",
                    server.index,
                    shown_text(&server.name),
                    shown_text(&server.url)
                ));
                let named = |names: &[String]| {
                    let names: Vec<_> = names.iter().map(|name| shown_text(name)).collect();
                    names.join(", ")
                };
                let mut line = |said: String| text.push_str(&format!("       {said}\n"));
                if !shared.place.is_empty() {
                    let servers = named(&shared.place);
                    line(say!("server-same-place", servers = servers));
                }
                if !shared.credential.is_empty() {
                    let servers = named(&shared.credential);
                    line(say!("server-same-credential", servers = servers));
                }
            }
            print(&text)?;
        }
        Ok(if warifu.faults().is_empty() {
            Exit::Ok
        } else {
            Exit::Care
        })
    })
    .await
}

#[derive(Serialize)]
struct JsonReplaced {
    server: String,
    index: u8,
    id: String,
    old_url: String,
    new_url: String,
    /// Whether the old place still answers.
    old_answers: bool,
    /// Servers on the same disk as the new place.
    beside: Vec<String>,
    applied: bool,
    /// Shares that a drive put at the old place meanwhile, made anew.
    strayed: u64,
    /// Whether nothing more is put at the old place, as far as can be seen.
    settled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<JsonRepair>,
    /// Of a server that retires: whether no share of before counts any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_is_worthless: Option<bool>,
}

/// A new place for a server. Where the old one `retires`, all shares get a new generation afterwards, so that what it holds is worthless.
async fn replace(args: ServerReplace, retires: bool) -> Done {
    set_vault(&args.vault);
    let mut servers = [NewServer::new(args.name.clone(), args.url.clone())];
    for word in &args.server_option {
        set_option(&mut servers, word)?;
    }
    let [server] = servers;
    // Said even where the vault cannot be opened: the name is the likelier mistake.
    let file = VaultFile::read(&args.vault)
        .map_err(|error| Failure::opening(warifu::Error::VaultFile(error)))?;
    if !file.servers.iter().any(|entry| entry.name == args.name) {
        let known: Vec<String> = file
            .servers
            .iter()
            .map(|entry| shown_text(&entry.name))
            .collect();
        return Err(Failure::new(
            Exit::NotFound,
            say!(
                "no-server",
                server = shown_text(&args.name),
                known = known.join(", ")
            ),
            say!("no-server-next"),
        ));
    }
    let path = args.vault.clone();
    let (name, json_wanted, apply) = (args.name.clone(), args.json, args.yes);
    let quiet = crate::quiet() || args.json;
    let plan = std::sync::Mutex::new(None);
    // Nothing is paid at the old place any more, by this process at least.
    let alone = || opening().without_upkeep();
    let made = with_vault_opened(&path, alone().read_only(!apply), |warifu| {
        let plan = &plan;
        async move {
            let planned = warifu
                .plan_replace(&server)
                .await
                .map_err(Failure::opening)?;
            if !json_wanted {
                show_plan(&planned, retires, warifu.file().thresholds().least())?;
            }
            if apply {
                let progress = Progress::counter(quiet);
                let replaced = warifu.replace(&planned, &|done| progress.set(done)).await;
                progress.done();
                replaced.map_err(Failure::opening)?;
            }
            if let Ok(mut plan) = plan.lock() {
                *plan = Some(planned);
            }
            Ok(Exit::Ok)
        }
    })
    .await?;
    let plan = plan.into_inner().ok().flatten();
    let Some(plan) = plan else { return Ok(made) };
    if !apply {
        if args.json {
            json(&json_replaced(&plan, None, 0, false, None))?;
        } else {
            let next = if retires {
                say!("retire-next")
            } else {
                say!("replace-next")
            };
            print(&format!("{}\n", say!("next", next = next)))?;
        }
        return Ok(Exit::Care);
    }
    // With the new place in its seat, the vault is opened anew and the seat filled.
    let options = RepairOptions {
        limit: args.limit.map(|mib| u64::from(mib) << 20),
        ..RepairOptions::default()
    };
    with_vault_opened(&path, alone(), |warifu| async move {
        let mut repaired = repair::run(&warifu, &options, true, quiet, json_wanted).await?;
        let (mut strayed, mut last) = (0, 0);
        for _ in 0..ROUNDS {
            last = warifu.owe_missing().await.map_err(Failure::opening)?;
            strayed += last;
            if last == 0 {
                break;
            }
            repaired = repair::run(&warifu, &options, true, quiet, json_wanted).await?;
        }
        let left = repaired.done.as_ref().map_or(0, |done| done.left);
        // Not before the new place is full: a new generation comes to those that are there.
        let refreshed = if retires && left == 0 && last == 0 {
            Some(refresh::anew(&warifu, args.limit, quiet).await?)
        } else {
            None
        };
        let is_worthless = refreshed
            .as_ref()
            .is_some_and(|done| done.status.is_complete());
        if json_wanted {
            let repair = Some(JsonRepair::of(&repaired));
            let refreshed = refreshed.as_ref().map(|done| &done.status);
            json(&json_replaced(&plan, repair, strayed, last == 0, refreshed))?;
        } else if last > 0 {
            print(&format!(
                "{}\n",
                say!("replace-unsettled", server = shown_text(&name))
            ))?;
        } else if left == 0 {
            print(&format!(
                "{}\n",
                say!("replace-done", server = shown_text(&name))
            ))?;
            if let Some(done) = &refreshed {
                refresh::show_done(&warifu, done)?;
                if is_worthless && warifu.file().thresholds().least() > 1 {
                    // Repeated, the vault file names the new place already: so the old one is not named here.
                    let said = say!("retire-done", server = shown_text(&name));
                    print(&format!("{said}\n"))?;
                }
            } else if !crate::quiet() {
                note(&say!("replace-old-disk"));
            }
        }
        Ok(if left == 0 && last == 0 && (is_worthless || !retires) {
            Exit::Ok
        } else {
            Exit::Care
        })
    })
    .await
}

/// So often it is looked for what a drive has put at the old place meanwhile. One that still does so then does not know of the new one.
const ROUNDS: u32 = 4;

fn json_replaced(
    plan: &ReplacePlan,
    repair: Option<JsonRepair>,
    strayed: u64,
    settled: bool,
    refreshed: Option<&GenerationStatus>,
) -> JsonReplaced {
    JsonReplaced {
        server: plan.name.clone(),
        index: plan.index.get(),
        id: plan.id.to_string(),
        old_url: plan.old_url.clone(),
        new_url: plan.new_url.clone(),
        old_answers: plan.old_answers,
        beside: plan.beside.clone(),
        applied: repair.is_some(),
        strayed,
        settled,
        repair,
        old_is_worthless: refreshed.map(GenerationStatus::is_complete),
    }
}

fn show_plan(plan: &ReplacePlan, retires: bool, k: u8) -> Result<(), Failure> {
    let mut lines = vec![say!(
        "replace-plan",
        server = shown_text(&plan.name),
        index = plan.index.get(),
        old = shown_text(&plan.old_url),
        new = shown_text(&plan.new_url)
    )];
    if plan.old_answers {
        lines.push(say!("replace-old-answers"));
    }
    if !plan.beside.is_empty() {
        let beside: Vec<String> = plan.beside.iter().map(|name| shown_text(name)).collect();
        lines.push(say!("replace-beside", servers = beside.join(", ")));
    }
    if plan.begun {
        lines.push(say!("replace-begun"));
    }
    if retires {
        lines.push(if k == 1 {
            say!("refresh-no-use")
        } else {
            say!("retire-plan", k = k)
        });
    }
    let mut text = lines.join("\n");
    text.push('\n');
    Ok(print(&text)?)
}

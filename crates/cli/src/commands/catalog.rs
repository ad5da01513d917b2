//! `warifu catalog`: where the catalogue is.

use serde::Serialize;
use warifu::{Relocated, RelocationPlan, RelocationProgress, Warifu};

use super::Done;
use super::init::catalog_options;
use crate::args::{Catalog, CatalogCommand, CatalogMove};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Progress, json, note, print, shown_path};
use crate::unlocking::keyring;
use crate::words::{say, set_vault};

pub async fn run(args: Catalog) -> Done {
    match args.command {
        CatalogCommand::Move(args) => relocate(args).await,
    }
}

#[derive(Serialize)]
struct JsonMoved {
    from: String,
    to: String,
    files: u64,
    folders: u64,
    versions: u64,
    /// Saves that have begun and not ended.
    open_saves: u64,
    /// Whether a move was begun before and not ended.
    begun: bool,
    applied: bool,
    /// Rows and lines of the log, compared and the same in both.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_lines: Option<u64>,
}

async fn relocate(args: CatalogMove) -> Done {
    set_vault(&args.vault);
    let credentials = catalog_options(&args.catalog_option)?;
    let plan = Warifu::plan_relocation(&args.vault, &args.to, &credentials, &keyring())
        .await
        .map_err(Failure::opening)?;
    if !args.json {
        show(&plan)?;
    }
    let mut done = None;
    if args.yes {
        let progress = Progress::counter(crate::quiet() || args.json);
        let told = |told| match told {
            RelocationProgress::Copied(count) | RelocationProgress::Compared(count) => {
                progress.set(count);
            }
        };
        let moved = Warifu::relocate(
            &args.vault,
            &args.to,
            &credentials,
            &keyring(),
            "warifu",
            &told,
        )
        .await;
        progress.done();
        done = Some(moved.map_err(Failure::opening)?);
    }
    if args.json {
        json(&as_json(&plan, done))?;
    } else if !crate::quiet() {
        match done {
            None => note(&say!("catalog-move-next")),
            Some(_) if plan.same => print(&format!("{}\n", say!("catalog-move-undone")))?,
            Some(done) => {
                let text = say!(
                    "catalog-move-done",
                    to = shown_path(&plan.to),
                    rows = done.rows,
                    lines = done.lines
                );
                print(&format!("{text}\n"))?;
                note(&say!("catalog-move-old", from = shown_path(&plan.from)));
            }
        }
    }
    Ok(Exit::Ok)
}

fn show(plan: &RelocationPlan) -> Result<(), Failure> {
    if crate::quiet() {
        return Ok(());
    }
    let text = if plan.same {
        say!("catalog-move-same", from = shown_path(&plan.from))
    } else {
        say!(
            "catalog-move-plan",
            from = shown_path(&plan.from),
            to = shown_path(&plan.to),
            files = plan.files,
            folders = plan.folders,
            versions = plan.versions
        )
    };
    print(&format!("{text}\n"))?;
    if plan.begun && !plan.same {
        note(&say!("catalog-move-begun"));
    }
    if plan.open_saves > 0 {
        note(&say!("catalog-move-saves", saves = plan.open_saves));
    }
    Ok(())
}

fn as_json(plan: &RelocationPlan, done: Option<Relocated>) -> JsonMoved {
    JsonMoved {
        from: plan.from.to_string_lossy().into_owned(),
        to: plan.to.to_string_lossy().into_owned(),
        files: plan.files,
        folders: plan.folders,
        versions: plan.versions,
        open_saves: plan.open_saves,
        begun: plan.begun,
        applied: done.is_some(),
        rows: done.map(|done| done.rows),
        log_lines: done.map(|done| done.lines),
    }
}

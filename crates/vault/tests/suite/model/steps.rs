//! One operation on a real vault, and the same on the model.

use std::time::Duration;

use warifu_vault::node::NodeId;
use warifu_vault::refresh::RefreshOptions;
use warifu_vault::repair::{GRACE, RepairOptions};
use warifu_vault::retain::{Rule, Rules, Which};
use warifu_vault::seam::catalog::RenameMode;
use warifu_vault::verify::Check;
use warifu_vault::{Access, FileHandle, Vault, VaultError};

use super::reference::Model;
use super::run::{Outcome, told};
use super::weather::Weather;
use super::{FILES, Op, SLOTS};
use crate::common::{Lab, ctx, name, open, read_all};
use warifu_testkit::world::Death;

pub(crate) type Handles = [Option<FileHandle>; SLOTS];

/// What came of an operation.
pub(crate) enum Done {
    /// What should.
    Well,
    /// It failed, as it may in this weather, and nothing is changed.
    Excused,
    /// It failed, as it may in this weather, and may be done all the same, or in part.
    Unsure,
}

/// What a program would write.
pub(crate) fn text(len: usize, seed: u64) -> Vec<u8> {
    if seed.is_multiple_of(20) {
        vec![0; len]
    } else {
        crate::common::noise(seed, len)
    }
}

/// Whether too few servers are to blame, and nothing else.
fn is_of_servers(error: &VaultError) -> bool {
    matches!(
        error,
        VaultError::TooFewShares { .. } | VaultError::NotStored { .. }
    )
}

fn expect(op: &Op, answer: Result<(), VaultError>, possible: bool) -> Outcome {
    match answer {
        Ok(()) if possible => Ok(()),
        Err(VaultError::NotFound { .. } | VaultError::Exists) if !possible => Ok(()),
        other => Err(format!("{op:?}: {other:?}, possible: {possible}")),
    }
}

/// A repair as an administrator does it. Whatever it finds, no version changes by it.
async fn repair(
    lab: &Lab,
    vault: &Vault,
    model: &Model,
    weather: &mut Weather,
    op: &Op,
    check: bool,
) -> Outcome {
    let fail = |error: VaultError| told(op, &error);
    let options = RepairOptions::default();
    let look = async |record| {
        let check = Check {
            record,
            ..Check::new(true)
        };
        vault.check(&ctx(), check, &|_| ()).await.map_err(fail)
    };
    if check {
        look(true).await?;
    }
    vault.plan_repair(&ctx(), &options).await.map_err(fail)?;
    let repaired = vault.repair(&ctx(), &options, &|_| ()).await;
    let report = repaired.map_err(fail)?;
    // What is open may have sent extents ahead, which no version needs yet.
    let at_rest = model.slots.iter().all(Option::is_none);
    if !check || !weather.is_good() || !at_rest {
        return Ok(());
    }
    let after = look(false).await?;
    if after.is_clean() {
        weather.all_is_mended(lab).await;
        return Ok(());
    }
    if weather.power_failed {
        return Ok(());
    }
    Err(format!(
        "after {op:?}, which did {report:?}: {:?}",
        after.findings
    ))
}

pub(crate) async fn step(
    lab: &Lab,
    vault: &Vault,
    model: &mut Model,
    handles: &mut Handles,
    weather: &mut Weather,
    op: &Op,
) -> Result<Done, String> {
    let root = NodeId::ROOT;
    let fail = |error: VaultError| told(op, &error);
    // How an operation on contents ended, which servers can make fail.
    let mut done = Done::Well;
    let mut note = |weather: &Weather, answer: Result<(), VaultError>, otherwise: Done| {
        match answer {
            Ok(()) => {}
            Err(error) if weather.excuses() && is_of_servers(&error) => done = otherwise,
            Err(error) => return Err(told(op, &error)),
        }
        Ok(())
    };
    let mut made = None;
    match *op {
        Op::Open {
            slot,
            file,
            rewrite,
        } if model.slots[slot].is_none() => {
            let text = name(FILES[file]);
            let handle = if !model.names.contains_key(&file) {
                let who = ctx();
                let create = vault.create_file(&who, root, &text, 0o600, Access::READ_WRITE);
                let (attr, handle) = create.await.map_err(fail)?;
                made = Some(attr.node);
                handle
            } else if rewrite {
                let attr = vault.lookup(&ctx(), root, &text).await.map_err(fail)?;
                vault
                    .open(&ctx(), attr.node, Access::REWRITE)
                    .await
                    .map_err(fail)?
            } else {
                open(vault, FILES[file]).await.map_err(fail)?
            };
            handles[slot] = Some(handle);
        }
        Op::Write {
            slot,
            at,
            len,
            seed,
        } => {
            if let Some(handle) = &handles[slot] {
                let written = handle.write(&ctx(), at, &text(len, seed)).await;
                if let Ok(written) = written
                    && written != len
                {
                    return Err(format!("{op:?}: {written} bytes written"));
                }
                // Of what lies on two extents, one may be written.
                let extent = crate::common::EXTENT as u64;
                let one = at / extent == (at + len as u64) / extent;
                let otherwise = if one { Done::Excused } else { Done::Unsure };
                note(weather, written.map(drop), otherwise)?;
            }
        }
        Op::Cut { slot, size } => {
            if let Some(handle) = &handles[slot] {
                note(weather, handle.set_size(&ctx(), size).await, Done::Excused)?;
            }
        }
        Op::Read { slot } => {
            if let (Some(handle), Some(file)) = (&handles[slot], model.slots[slot]) {
                let read = read_all(handle).await;
                if let Ok(bytes) = &read
                    && *bytes != model.files[file].live
                {
                    return Err(format!("{op:?}: other bytes than were written"));
                }
                note(weather, read.map(drop), Done::Excused)?;
            }
        }
        Op::Flush { slot } => {
            if let Some(handle) = &handles[slot] {
                note(weather, handle.flush(&ctx()).await, Done::Excused)?;
            }
        }
        Op::Fsync { slot } => {
            if let Some(handle) = &handles[slot] {
                note(weather, handle.fsync(&ctx()).await, Done::Excused)?;
            }
        }
        Op::Release { slot } => {
            if let Some(handle) = handles[slot].take() {
                let released = handle.release(&ctx()).await;
                if weather.excuses() && released.as_ref().is_err_and(is_of_servers) {
                    model.drop_changes(slot);
                }
                note(weather, released, Done::Excused)?;
            }
        }
        Op::Truncate { file, size } => {
            if model.names.contains_key(&file) {
                let text = name(FILES[file]);
                let attr = vault.lookup(&ctx(), root, &text).await.map_err(fail)?;
                let cut = vault.truncate(&ctx(), attr.node, size).await;
                note(weather, cut.map(drop), Done::Unsure)?;
            }
        }
        Op::Rename { from, to } => {
            let (from_text, to_text) = (name(FILES[from]), name(FILES[to]));
            let pair = ((root, &from_text), (root, &to_text));
            let renamed = vault
                .rename(&ctx(), pair.0, pair.1, RenameMode::Replace)
                .await;
            expect(op, renamed.map(drop), model.names.contains_key(&from))?;
        }
        Op::Exchange { from, to } => {
            let both = model.names.contains_key(&from) && model.names.contains_key(&to);
            let (from_text, to_text) = (name(FILES[from]), name(FILES[to]));
            let pair = ((root, &from_text), (root, &to_text));
            let renamed = vault
                .rename(&ctx(), pair.0, pair.1, RenameMode::Exchange)
                .await;
            expect(op, renamed.map(drop), both)?;
        }
        Op::Remove { file } => {
            let removed = vault.remove(&ctx(), root, &name(FILES[file])).await;
            expect(op, removed, model.names.contains_key(&file))?;
        }
        Op::Link { from, to } => {
            if model.names.contains_key(&from) {
                let text = name(FILES[from]);
                let attr = vault.lookup(&ctx(), root, &text).await.map_err(fail)?;
                let linked = vault.link(&ctx(), attr.node, root, &name(FILES[to])).await;
                expect(op, linked.map(drop), !model.names.contains_key(&to))?;
            }
        }
        Op::Sync => {
            note(weather, vault.sync().await, Done::Excused)?;
            // What an earlier life saved may be out of reach now: of that, nothing is promised.
            if weather.excuses() && !lab.kept().unsettled(1).await.unwrap().is_empty() {
                done = Done::Excused;
            }
        }
        Op::Wait => tokio::time::sleep(Duration::from_secs(1)).await,
        Op::Bad { how } => weather.set_first(lab, how),
        Op::Fault { server, how } => weather.set(lab, server, how),
        Op::Heal => weather.clear(lab),
        Op::Mark { server } => weather.mark(lab, server),
        Op::RollBack { server } => weather.roll_back(lab, server).await,
        Op::Wipe { server } => weather.wipe(lab, server),
        Op::Die { call, after } => {
            let call = lab.world.calls() + call;
            lab.world.die(if after {
                Death::After(call)
            } else {
                Death::Before(call)
            });
        }
        Op::Repair { check } => repair(lab, vault, model, weather, op, check).await?,
        Op::Refresh => {
            let (me, options) = (ctx(), RefreshOptions::default());
            match vault.refresh(&me, &options, &|_| (), &|| false).await {
                // It needs more servers than a save, and one that was away may be thought to be so still.
                Err(error) if weather.was_bad && is_of_servers(&error) => {}
                refreshed => drop(refreshed.map_err(fail)?),
            }
        }
        Op::Sweep => {
            lab.pass(GRACE + Duration::from_secs(3600));
            let swept = vault.orphans(&ctx(), GRACE, true).await;
            swept.map_err(fail)?;
        }
        Op::Prune => {
            let rule = Rule {
                keep: Some(Duration::from_secs(3600)),
                versions: Some(1),
            };
            let rules = Rules {
                general: rule,
                folders: Vec::new(),
            };
            let plan = vault.plan_prune(&ctx(), &Which::Rules(&rules), true).await;
            let plan = plan.map_err(fail)?;
            vault.prune(&ctx(), &plan, &|_, _| ()).await.map_err(fail)?;
        }
        Op::Restart | Op::Rebuild { .. } => {
            let lost = vault.shutdown(&ctx()).await;
            let known = lost.len() <= model.losses;
            for lost in lost {
                if !(is_of_servers(&lost.error) && (known || weather.excuses())) {
                    return Err(format!("{op:?}: lost {}: {}", lost.path, lost.error));
                }
            }
            // The model takes everything for safe after this. Where it may not be, the life just ends.
            if weather.excuses() {
                done = Done::Unsure;
            }
        }
        Op::Open { .. } | Op::Kill | Op::PowerCut { .. } => {}
    }
    if matches!(done, Done::Well) {
        model.apply(op, made);
    }
    Ok(done)
}

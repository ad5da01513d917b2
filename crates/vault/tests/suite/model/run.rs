//! Plays a life on a real vault and on the model, and compares.

use std::collections::BTreeMap;

use warifu_testkit::stores::{Fate, Lie, State};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{Catalog, RenameMode};
use warifu_vault::verify::VerifyOptions;
use warifu_vault::{Access, FileHandle, Vault, VaultError};

use super::reference::{Found, Model};
use super::{FILES, Op, SLOTS};
use crate::common::{Dice, Lab, ctx, get, live, name, names, noise, open, read_all, stat};

type Outcome = Result<(), String>;

fn told(what: &Op, error: &VaultError) -> String {
    format!("{what:?}: {error}")
}

/// Returns what went wrong.
pub(crate) fn live_through(k: u8, n: u8, ops: &[Op]) -> Outcome {
    let mut lab = live(Lab::new(k, n));
    lab.options.upkeep = Default::default();
    lab.memory.remember();
    let mut model = Model::new();
    let mut bad = usize::from(n - k);
    let (mut power_failed, mut how) = (false, 0);
    let lives =
        ops.split_inclusive(|op| matches!(op, Op::Restart | Op::Kill | Op::PowerCut { .. }));
    for ops in lives {
        live(one_life(&lab, &mut model, ops, bad))?;
        let told = ops.iter().rev().find_map(|op| match op {
            Op::Bad { how } => Some(*how),
            _ => None,
        });
        how = told.unwrap_or(how);
        match ops.last() {
            Some(Op::Kill) => model.kill(),
            Some(Op::PowerCut { seed }) => {
                power_failed = true;
                cut_power(&lab, *seed);
                // With servers away or lying, what was not safe may be out of reach; what is read must be possible all the same.
                let found = live(async { contents(&lab.start().await, true).await })?;
                model.possible(&found)?;
                let worse = std::mem::take(&mut how);
                make_bad(&lab, bad, 0);
                let found = live(async { contents(&lab.start().await, false).await })?;
                model.adopt(&found)?;
                // What the power cut took from good servers nobody has repaired yet: then no bad ones can be afforded.
                if live(good_servers_owe(&lab, bad)) {
                    bad = 0;
                }
                how = worse;
                make_bad(&lab, bad, how);
            }
            _ => {}
        }
    }
    live(end(&lab, &mut model, power_failed, usize::from(n - k)))
}

fn cut_power(lab: &Lab, seed: u64) {
    let mut dice = Dice::new(seed);
    for server in &lab.servers {
        server.power_cut_with(|_, bytes| match dice.roll(4) {
            0 => Fate::Kept,
            1 => Fate::Torn(dice.pick(bytes.len())),
            _ => Fate::Lost,
        });
    }
    lab.memory
        .power_cut_after(dice.pick(lab.memory.at_risk() + 1));
}

async fn good_servers_owe(lab: &Lab, bad: usize) -> bool {
    let degraded = lab.memory.owed(None, usize::MAX).await.unwrap();
    let owed = degraded.iter().flat_map(|extent| extent.owed.iter());
    owed.into_iter().any(|index| usize::from(index.get()) > bad)
}

/// The contents of all files, by the numbers of their names.
async fn contents(vault: &Vault, lenient: bool) -> Result<Found, String> {
    let mut all = BTreeMap::new();
    for file in names(vault).await {
        let number = FILES
            .iter()
            .position(|name| *name == file)
            .ok_or_else(|| format!("there is a file {file}"))?;
        let node = stat(vault, &file).await.node;
        match get(vault, &file).await {
            Ok(bytes) => drop(all.insert(number, (node, bytes))),
            Err(VaultError::TooFewShares { .. }) if lenient => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(all)
}

async fn compare(vault: &Vault, model: &Model, when: &str) -> Outcome {
    let found = contents(vault, false)
        .await
        .map_err(|error| format!("{when}: {error}"))?;
    if !found.keys().eq(model.names.keys()) {
        return Err(format!(
            "{when}: there are {:?} instead of {:?}",
            found.keys(),
            model.names.keys()
        ));
    }
    for (name, file) in &model.names {
        let file = &model.files[*file];
        let expected = if file.handles > 0 {
            &file.live
        } else {
            &*file.saved
        };
        let (node, contents) = &found[name];
        if *node != file.node {
            return Err(format!("{when}: {} is another file", FILES[*name]));
        }
        if contents != expected {
            let at = contents.iter().zip(expected).position(|(a, b)| a != b);
            return Err(format!(
                "{when}: {} has {} bytes instead of {}, first difference at {at:?}",
                FILES[*name],
                contents.len(),
                expected.len()
            ));
        }
    }
    Ok(())
}

fn make_bad(lab: &Lab, bad: usize, how: u64) {
    for faults in &lab.faults[..bad] {
        faults.heal();
        match how {
            0 => {}
            1 => faults.set(State::Gone),
            2 => faults.set(State::Hung),
            3 => faults.set(State::Full),
            4 => faults.set(State::ReadOnly),
            5 => faults.set(State::Failing),
            6 => faults.tell(Lie::FlipsBits),
            7 => faults.tell(Lie::ForgetsWrites),
            _ => faults.tell(Lie::SkipsSync),
        }
    }
}

async fn one_life(lab: &Lab, model: &mut Model, ops: &[Op], bad: usize) -> Outcome {
    let vault = lab
        .try_start()
        .await
        .map_err(|error| format!("start: {error}"))?;
    compare(&vault, model, "after the start").await?;
    let mut handles: [Option<FileHandle>; SLOTS] = [const { None }; SLOTS];
    for op in ops {
        step(lab, &vault, model, &mut handles, op, bad).await?;
        model.remember();
        for (slot, handle) in handles.iter().enumerate() {
            let (Some(handle), Some(file)) = (handle, model.slots[slot]) else {
                continue;
            };
            let attr = handle.attr().await.map_err(|error| told(op, &error))?;
            let size = model.files[file].live.len() as u64;
            if attr.size != size {
                return Err(format!(
                    "after {op:?}: slot {slot} has {} bytes instead of {size}",
                    attr.size
                ));
            }
        }
    }
    Ok(())
}

async fn step(
    lab: &Lab,
    vault: &Vault,
    model: &mut Model,
    handles: &mut [Option<FileHandle>; SLOTS],
    op: &Op,
    bad: usize,
) -> Outcome {
    let root = NodeId::ROOT;
    let fail = |error: VaultError| told(op, &error);
    let expect = |answer: Result<(), VaultError>, possible: bool| match answer {
        Ok(()) if possible => Ok(()),
        Err(VaultError::NotFound { .. } | VaultError::Exists) if !possible => Ok(()),
        other => Err(format!("{op:?}: {other:?}, possible: {possible}")),
    };
    match *op {
        Op::Open {
            slot,
            file,
            rewrite,
        } if model.slots[slot].is_none() => {
            let handle = match model.names.get(&file).copied() {
                None => {
                    let (who, text) = (ctx(), name(FILES[file]));
                    let made = vault.create_file(&who, root, &text, 0o600, Access::READ_WRITE);
                    let (attr, handle) = made.await.map_err(fail)?;
                    model.create(file, attr.node);
                    handle
                }
                Some(_) if rewrite => {
                    let attr = vault
                        .lookup(&ctx(), root, &name(FILES[file]))
                        .await
                        .map_err(fail)?;
                    vault
                        .open(&ctx(), attr.node, Access::REWRITE)
                        .await
                        .map_err(fail)?
                }
                Some(_) => open(vault, FILES[file]).await.map_err(fail)?,
            };
            let number = model.names[&file];
            let opened = &mut model.files[number];
            if opened.handles == 0 {
                opened.live = opened.saved.to_vec();
            }
            if rewrite && !opened.live.is_empty() {
                opened.live.clear();
                opened.dirty = true;
            }
            opened.handles += 1;
            model.slots[slot] = Some(number);
            handles[slot] = Some(handle);
        }
        Op::Write {
            slot,
            at,
            len,
            seed,
        } => {
            if let (Some(handle), Some(file)) = (&handles[slot], model.slots[slot]) {
                let bytes = if seed % 20 == 0 {
                    vec![0; len]
                } else {
                    noise(seed, len)
                };
                handle.write(&ctx(), at, &bytes).await.map_err(fail)?;
                if len > 0 {
                    let (file, at) = (&mut model.files[file], usize::try_from(at).unwrap());
                    file.live.resize(file.live.len().max(at + len), 0);
                    file.live[at..at + len].copy_from_slice(&bytes);
                    file.dirty = true;
                }
            }
        }
        Op::Cut { slot, size } => {
            if let (Some(handle), Some(file)) = (&handles[slot], model.slots[slot]) {
                handle.set_size(&ctx(), size).await.map_err(fail)?;
                let file = &mut model.files[file];
                file.dirty |= file.live.len() as u64 != size;
                file.live.resize(usize::try_from(size).unwrap(), 0);
            }
        }
        Op::Read { slot } => {
            if let (Some(handle), Some(file)) = (&handles[slot], model.slots[slot])
                && read_all(handle).await.map_err(fail)? != model.files[file].live
            {
                return Err(format!("{op:?}: other bytes than were written"));
            }
        }
        Op::Flush { slot } => {
            if let (Some(handle), Some(file)) = (&handles[slot], model.slots[slot]) {
                handle.flush(&ctx()).await.map_err(fail)?;
                model.save(file);
            }
        }
        Op::Fsync { slot } => {
            if let (Some(handle), Some(file)) = (&handles[slot], model.slots[slot]) {
                handle.fsync(&ctx()).await.map_err(fail)?;
                model.fsync(file);
            }
        }
        Op::Release { slot } => {
            if let Some(handle) = handles[slot].take() {
                handle.release(&ctx()).await.map_err(fail)?;
                model.release(slot);
            }
        }
        Op::Truncate { file, size } => {
            if let Some(number) = model.names.get(&file).copied() {
                let attr = vault
                    .lookup(&ctx(), root, &name(FILES[file]))
                    .await
                    .map_err(fail)?;
                vault
                    .truncate(&ctx(), attr.node, size)
                    .await
                    .map_err(fail)?;
                let file = &mut model.files[number];
                if file.handles == 0 {
                    file.live = file.saved.to_vec();
                }
                file.dirty |= file.live.len() as u64 != size;
                file.live.resize(usize::try_from(size).unwrap(), 0);
                model.save(number);
            }
        }
        Op::Rename { from, to } => {
            let possible = model.names.contains_key(&from);
            let names = (name(FILES[from]), name(FILES[to]));
            let renamed = vault
                .rename(
                    &ctx(),
                    (root, &names.0),
                    (root, &names.1),
                    RenameMode::Replace,
                )
                .await;
            expect(renamed.map(drop), possible)?;
            model.rename(from, to);
        }
        Op::Exchange { from, to } => {
            let files = (
                model.names.get(&from).copied(),
                model.names.get(&to).copied(),
            );
            let names = (name(FILES[from]), name(FILES[to]));
            let renamed = vault
                .rename(
                    &ctx(),
                    (root, &names.0),
                    (root, &names.1),
                    RenameMode::Exchange,
                )
                .await;
            expect(renamed.map(drop), files.0.is_some() && files.1.is_some())?;
            if let (Some(one), Some(other)) = files {
                model.names.insert(from, other);
                model.names.insert(to, one);
            }
        }
        Op::Remove { file } => {
            let removed = vault.remove(&ctx(), root, &name(FILES[file])).await;
            expect(removed, model.names.remove(&file).is_some())?;
        }
        Op::Link { from, to } => {
            let Some(number) = model.names.get(&from).copied() else {
                return Ok(());
            };
            let attr = vault
                .lookup(&ctx(), root, &name(FILES[from]))
                .await
                .map_err(fail)?;
            let linked = vault.link(&ctx(), attr.node, root, &name(FILES[to])).await;
            expect(linked.map(drop), !model.names.contains_key(&to))?;
            model.names.entry(to).or_insert(number);
        }
        Op::Sync => {
            vault.sync().await.map_err(fail)?;
            model.sync();
        }
        Op::Wait => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
        Op::Bad { how } => make_bad(lab, bad, how),
        Op::Restart => {
            if let Some(lost) = vault.shutdown(&ctx()).await.first() {
                return Err(format!("{op:?}: lost {}: {}", lost.path, lost.error));
            }
            for file in 0..model.files.len() {
                model.save(file);
            }
            model.sync();
            model.kill();
        }
        Op::Open { .. } | Op::Kill | Op::PowerCut { .. } => {}
    }
    Ok(())
}

/// All is well again: everything is there, nothing is left over, and no good server is blamed.
async fn end(lab: &Lab, model: &mut Model, power_failed: bool, bad: usize) -> Outcome {
    model.kill();
    lab.heal();
    for _ in 0..2 {
        lab.let_leases_end();
        let vault = lab
            .try_start()
            .await
            .map_err(|error| format!("at the end: {error}"))?;
        compare(&vault, model, "at the end").await?;
        vault
            .sync()
            .await
            .map_err(|error| format!("at the end: {error}"))?;
        let report = vault
            .verify(&ctx(), VerifyOptions { deep: true }, &|_| ())
            .await
            .map_err(|error| error.to_string())?;
        let bad: Vec<_> = (0..bad).map(crate::common::lab::server_name).collect();
        // A power cut may take what older versions, which are not current any more, were made of.
        if let Some(finding) = report
            .findings
            .iter()
            .find(|finding| !power_failed && !bad.contains(&finding.server))
        {
            return Err(format!("at the end: {finding:?}"));
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let left = vault.memory_in_use();
        if left.files > 0 || left.bytes > 0 {
            return Err(format!("at the end: {left:?}"));
        }
    }
    for server in 0..lab.servers.len() {
        let orphans = lab.orphans(server).await.len();
        if orphans > 0 && !power_failed {
            return Err(format!(
                "at the end: {orphans} orphans on {}",
                crate::common::lab::server_name(server)
            ));
        }
    }
    Ok(())
}

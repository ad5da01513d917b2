//! Plays a life on a real vault and on the model, and compares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use warifu_core::format::{ExtentKind, OpenShare, Scheme};
use warifu_testkit::catalogs::MemoryCatalog;
use warifu_testkit::stores::Fate;
use warifu_vault::repair::GRACE;
use warifu_vault::seam::store::ObjectKey;
use warifu_vault::verify::VerifyOptions;
use warifu_vault::{Vault, VaultError};

use super::reference::{Found, Model};
use super::steps::{Done, Handles, step};
use super::weather::Weather;
use super::{FILES, Op, SLOTS};
use crate::common::lab::Ground;
use crate::common::rebuilding::{from_servers, into_catalog, rows};
use crate::common::{Dice, Lab, ctx, get, live, names, stat};

pub(crate) type Outcome = Result<(), String>;

pub(crate) fn told(what: &Op, error: &VaultError) -> String {
    format!("{what:?}: {error}")
}

/// How a life's vault is made.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    scheme: Scheme,
    /// From which length of the journal's changes on the whole catalogue is written again.
    checkpoint_after: u64,
    /// Where its catalogues are, if not in memory.
    ground: Option<fn() -> Arc<dyn Ground>>,
}

impl Way {
    pub(crate) const USUAL: Self = Self {
        scheme: Scheme::Shamir,
        checkpoint_after: 4 << 20,
        ground: None,
    };

    /// The same with its catalogues elsewhere.
    #[allow(dead_code, reason = "the vault's own suite has them in memory")]
    pub(crate) fn on(self, ground: fn() -> Arc<dyn Ground>) -> Self {
        Self {
            ground: Some(ground),
            ..self
        }
    }

    /// Every other life deals by the other scheme, and every third writes checkpoints as often as can be.
    pub(crate) fn of(seed: u64) -> Self {
        Self {
            scheme: if seed.is_multiple_of(2) {
                Scheme::Shamir
            } else {
                Scheme::Compact
            },
            checkpoint_after: if seed.is_multiple_of(3) { 0 } else { 4 << 20 },
            ground: None,
        }
    }
}

/// Returns what went wrong.
pub(crate) fn live_through(k: u8, n: u8, ops: &[Op]) -> Outcome {
    live_through_with(k, n, Way::USUAL, ops)
}

/// How the life of one client ended, and with which operation.
enum Ended {
    /// As the operation says.
    With(usize),
    /// In the middle of it: it may be done, or done in part.
    In(usize),
    /// Before its first one.
    AtOnce,
}

/// The same with a vault of another kind.
pub(crate) fn live_through_with(k: u8, n: u8, way: Way, ops: &[Op]) -> Outcome {
    let mut lab = live(Lab::with_journal(k, n));
    lab.options.scheme = way.scheme;
    lab.options.checkpoint_after = way.checkpoint_after;
    lab.options.upkeep = Default::default();
    lab.memory.remember();
    if let Some(ground) = way.ground {
        lab.move_to(ground());
    }
    lab.pass(Duration::ZERO);
    let mut model = Model::new();
    let mut weather = Weather::new(&lab);
    let mut next = 0;
    while next < ops.len() {
        lab.world.revive();
        let ended = live(one_life(&lab, &mut model, &mut weather, &ops[next..]))?;
        lab.world.revive();
        match ended {
            Ended::AtOnce => model.kill(),
            Ended::In(at) => {
                next += at + 1;
                let op = &ops[next - 1];
                let found = live(look(&lab, &weather, op))?;
                model = model.after(op, &found)?;
            }
            Ended::With(at) => {
                next += at + 1;
                match ops[next - 1] {
                    Op::PowerCut { seed } => {
                        weather.power_failed = true;
                        cut_power(&lab, seed);
                        model = live(after_power_cut(&lab, &mut weather, model))?;
                    }
                    Op::Rebuild { seed } => {
                        model.kill();
                        live(lose_the_catalogue(&mut lab, &mut weather, seed))
                            .map_err(|error| format!("{:?}: {error}", ops[next - 1]))?;
                    }
                    _ => model.kill(),
                }
            }
        }
    }
    live(end(&lab, &mut model, &mut weather))
}

/// After a clean end: a new catalogue from servers that have everything, where there are enough of those.
async fn lose_the_catalogue(lab: &mut Lab, weather: &mut Weather, seed: u64) -> Outcome {
    let mut dice = Dice::new(seed);
    let k = usize::from(lab.threshold.k());
    let (mut given, any_k_do) = weather.that_have_everything();
    // What came to nothing and could not be removed is somebody's work to a catalogue that never heard of it.
    for server in &given {
        if !lab.orphans(*server).await.is_empty() {
            return Ok(());
        }
    }
    if given.len() < k {
        return Ok(());
    }
    if any_k_do {
        let leave_out = dice.pick(given.len() - k + 1);
        for _ in 0..leave_out {
            given.remove(dice.pick(given.len()));
        }
        // Whoever lost something may be given too, and takes nothing away.
        for server in 0..lab.servers.len() {
            let more = weather.is_good() && !given.contains(&server) && dice.chance(30);
            if more && lab.orphans(server).await.is_empty() {
                given.push(server);
            }
        }
    }
    let expected = rows(lab.kept()).await;
    let memory = MemoryCatalog::with_clock(lab.clock.clone());
    let elsewhere = lab.made_elsewhere();
    let catalog = elsewhere
        .clone()
        .unwrap_or_else(|| Arc::new(memory.clone()));
    let report = into_catalog(lab, &given, &*catalog).await;
    if !weather.power_failed {
        alike(&rows(&*catalog).await, &expected)
            .map_err(|what| format!("from {given:?}: {what}, {report:?}"))?;
        if !report.journal.gaps.is_empty() {
            return Err(format!("from {given:?}: {report:?}"));
        }
    }
    catalog.sync().await.map_err(|error| error.to_string())?;
    match elsewhere {
        Some(catalog) => lab.keep(catalog),
        None => {
            memory.remember();
            lab.take_over(memory);
        }
    }
    weather.catalogue_lost();
    Ok(())
}

fn alike(got: &[String], expected: &[String]) -> Outcome {
    if got == expected {
        return Ok(());
    }
    let missing: Vec<_> = expected.iter().filter(|line| !got.contains(line)).collect();
    let more: Vec<_> = got.iter().filter(|line| !expected.contains(line)).collect();
    Err(format!("missing {missing:#?}, too much {more:#?}"))
}

/// What is there after an end in the middle of things: first as bad weather lets it be seen, then in good weather.
async fn look(lab: &Lab, weather: &Weather, op: &Op) -> Result<Found, String> {
    let start = || async {
        let started = lab.try_start().await;
        started.map_err(|error| format!("after an end in {op:?}: {error}"))
    };
    weather.resume(lab);
    // Faults within what the servers can spare are no excuse.
    let seen = contents(&start().await?, weather.excuses()).await?;
    weather.pause(lab);
    let found = contents(&start().await?, false).await?;
    weather.resume(lab);
    for (name, file) in &seen {
        if found.get(name) != Some(file) {
            return Err(format!(
                "after an end in {op:?}: {} is not what was seen first",
                FILES[*name]
            ));
        }
    }
    Ok(found)
}

async fn after_power_cut(lab: &Lab, weather: &mut Weather, model: Model) -> Result<Model, String> {
    let mut model = model;
    // With servers away or lying, what was not safe may be out of reach; what is read must be possible all the same.
    weather.resume(lab);
    let found = contents(&lab.start().await, true).await?;
    model.possible(&found)?;
    weather.pause(lab);
    let found = contents(&lab.start().await, false).await?;
    model.adopt(&found)?;
    weather.resume(lab);
    weather.after_power_cut(lab).await;
    Ok(model)
}

fn cut_power(lab: &Lab, seed: u64) {
    let mut dice = Dice::new(seed);
    for server in &lab.servers {
        server.power_cut_with(|_, bytes| match dice.roll(4) {
            0 => Fate::Kept,
            1 => Fate::Torn(dice.pick(bytes.len().max(1))),
            _ => Fate::Lost,
        });
    }
    lab.memory
        .power_cut_after(dice.pick(lab.memory.at_risk() + 1));
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

/// With `lenient`, files that cannot be read are passed over.
async fn compare(vault: &Vault, model: &Model, when: &str, lenient: bool) -> Outcome {
    let found = contents(vault, lenient)
        .await
        .map_err(|error| format!("{when}: {error}"))?;
    if !lenient && !found.keys().eq(model.names.keys()) {
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
        let Some((node, contents)) = found.get(name) else {
            continue;
        };
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

/// Plays operations until one ends the life, or the client dies.
async fn one_life(
    lab: &Lab,
    model: &mut Model,
    weather: &mut Weather,
    ops: &[Op],
) -> Result<Ended, String> {
    weather.resume(lab);
    let begun = async {
        let vault = lab.try_start().await;
        let vault = vault.map_err(|error| format!("start: {error}"))?;
        compare(&vault, model, "after the start", weather.excuses()).await?;
        Ok::<_, String>(vault)
    };
    let vault = tokio::select! {
        biased;
        vault = begun => vault?,
        () = lab.world.dead() => return Ok(Ended::AtOnce),
    };
    let mut handles: Handles = [const { None }; SLOTS];
    for (at, op) in ops.iter().enumerate() {
        let done = tokio::select! {
            biased;
            done = step(lab, &vault, model, &mut handles, weather, op) => done?,
            () = lab.world.dead() => return Ok(Ended::In(at)),
        };
        model.remember();
        if matches!(done, Done::Unsure) {
            return Ok(Ended::In(at));
        }
        if matches!(
            op,
            Op::Restart | Op::Rebuild { .. } | Op::Kill | Op::PowerCut { .. }
        ) {
            return Ok(Ended::With(at));
        }
        let checked = tokio::select! {
            biased;
            checked = sizes(model, &handles, op) => checked,
            () = lab.world.dead() => Ok(()),
        };
        checked?;
        // What was done is done; the next operation would not begin.
        if lab.world.is_dead() {
            return Ok(Ended::With(at));
        }
    }
    Ok(Ended::With(ops.len() - 1))
}

/// Compares the sizes of open files.
async fn sizes(model: &Model, handles: &Handles, op: &Op) -> Outcome {
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
    Ok(())
}

/// The servers that nothing befell give the catalogue back as it is.
async fn rebuilt_alike(lab: &Lab, weather: &Weather) -> Outcome {
    let mut well = Vec::new();
    for server in 0..lab.servers.len() {
        let untouched = !weather.is_hit(server) && !weather.set_back.contains(&server);
        if untouched && lab.orphans(server).await.is_empty() {
            well.push(server);
        }
    }
    if well.len() < usize::from(lab.threshold.k()) {
        return Ok(());
    }
    let expected = rows(lab.kept()).await;
    let (catalog, report) = from_servers(lab, &well).await;
    alike(&rows(&catalog).await, &expected)
        .map_err(|what| format!("rebuilt from {well:?}: {what}, {report:?}"))?;
    if report.journal.gaps.is_empty() {
        return Ok(());
    }
    Err(format!("rebuilt from {well:?}: {report:?}"))
}

/// How many objects nobody needs on a server. A repair that was cut off may have put a share of a journal's segment that a checkpoint
/// let go meanwhile: where servers were hit, those don't count.
async fn orphans_on(lab: &Lab, weather: &Weather, server: usize) -> usize {
    let orphans = lab.orphans(server).await;
    if !weather.was_bad {
        return orphans.len();
    }
    let key = lab.key().await.seal_key(lab.ids[server]);
    let of_journal = |object: &ObjectKey| {
        let bytes = lab.servers[server].bytes(object).unwrap();
        let share = OpenShare::open(&bytes, &key);
        share.is_ok_and(|share| share.dealing().kind == ExtentKind::Journal)
    };
    orphans.iter().filter(|object| !of_journal(object)).count()
}

/// All is well again: everything is there, nothing is left over, and no good server is blamed.
async fn end(lab: &Lab, model: &mut Model, weather: &mut Weather) -> Outcome {
    let power_failed = weather.power_failed;
    model.kill();
    weather.clear(lab);
    for _ in 0..2 {
        lab.let_leases_end();
        let vault = lab
            .try_start()
            .await
            .map_err(|error| format!("at the end: {error}"))?;
        compare(&vault, model, "at the end", false).await?;
        vault
            .sync()
            .await
            .map_err(|error| format!("at the end: {error}"))?;
        let report = vault
            .verify(&ctx(), VerifyOptions { deep: true }, &|_| ())
            .await
            .map_err(|error| error.to_string())?;
        let hit: Vec<_> = (0..lab.servers.len())
            .filter(|server| weather.is_hit(*server))
            .map(crate::common::lab::server_name)
            .collect();
        // A power cut may take what older versions, which are not current any more, were made of.
        if let Some(finding) = report
            .findings
            .iter()
            .find(|finding| !power_failed && !hit.contains(&finding.server))
        {
            return Err(format!("at the end: {finding:?}"));
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let left = vault.memory_in_use();
        if left.files > 0 || left.bytes > 0 {
            return Err(format!("at the end: {left:?}"));
        }
        if !power_failed {
            vault.sync().await.map_err(|error| error.to_string())?;
            rebuilt_alike(lab, weather).await?;
        }
    }
    for server in 0..lab.servers.len() {
        let orphans = orphans_on(lab, weather, server).await;
        if orphans > 0 && !power_failed && weather.is_tidy(server) {
            return Err(format!(
                "at the end: {orphans} orphans on {}",
                crate::common::lab::server_name(server)
            ));
        }
    }
    // Whatever else was left behind is swept when its time has come, and nothing that is needed.
    lab.pass(GRACE + Duration::from_secs(3600));
    let vault = lab.start().await;
    let swept = vault.orphans(&ctx(), GRACE, true).await;
    for (server, found) in swept.map_err(|error| error.to_string())? {
        let all = found.error.is_none() && found.due == found.swept;
        if !all || found.young + found.undated > 0 {
            return Err(format!("swept at the end on {server}: {found:?}"));
        }
    }
    compare(&vault, model, "after the sweep", false).await?;
    if !power_failed {
        rebuilt_alike(lab, weather).await?;
    }
    Ok(())
}

//! The client dies at every step of a save, with and without a power cut, with and without a server gone afterwards.

use std::cell::Cell;
use std::collections::BTreeMap;

use warifu_core::format::Scheme;
use warifu_testkit::stores::{Fate, State};
use warifu_testkit::world::Death;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::RenameMode;
use warifu_vault::{Access, Vault, VaultError};

use crate::common::{
    Dice, EXTENT, Lab, ctx, get, live, name, names, noise, open, put, rewrite, same, write_all,
};

/// What a client was doing when it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Story {
    /// A small file is saved again.
    Small,
    /// A large file is written anew, its extents are sent while it is written, and one of them is changed after that.
    Large,
    /// One extent of a large file is changed.
    OneExtent,
    /// A file is written under another name and renamed over the old one.
    RenameOver,
    /// The same with a large file.
    LargeRenameOver,
    /// The old file is moved away, the new one moved to its place, and the old one removed.
    MovedAway,
    /// The old file becomes a backup, and a new one is made in its place.
    Backup,
    /// Two machines change a file.
    Conflict,
    /// A large file is removed while it is written.
    Abandoned,
    /// A file is emptied.
    Emptied,
    /// A file is saved again, by the scheme compact as before.
    Compact,
    /// One extent of a large file is changed, by the scheme compact, the others being of the scheme shamir.
    BothSchemes,
}

/// What the client was told before it died.
#[derive(Default)]
struct Told {
    saved: Cell<bool>,
    synced: Cell<bool>,
    /// In [`Story::Conflict`]: the other machine was told that its version is saved.
    other_saved: Cell<bool>,
    renamed: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    Stays,
    /// Fails everywhere, and nothing is kept that did not have to be.
    Fails,
    /// Fails everywhere; chance says what was written already, in whole or in part.
    FailsByChance,
}

fn old(story: Story) -> Vec<u8> {
    match story {
        Story::Large | Story::LargeRenameOver | Story::OneExtent | Story::BothSchemes => {
            noise(1, EXTENT + 9000)
        }
        _ => noise(1, 9000),
    }
}

fn new(story: Story) -> Vec<u8> {
    let mut bytes = match story {
        Story::Large | Story::LargeRenameOver | Story::Abandoned => noise(2, EXTENT + 8000),
        Story::OneExtent | Story::BothSchemes => old(story),
        Story::Emptied => Vec::new(),
        _ => noise(2, 7000),
    };
    match story {
        Story::Large => bytes[77] ^= 1,
        Story::OneExtent | Story::BothSchemes => bytes[1005..1015].copy_from_slice(b"0123456789"),
        _ => {}
    }
    bytes
}

/// What the other machine saves.
fn others() -> Vec<u8> {
    noise(3, 4000)
}

async fn act(
    story: Story,
    lab: &Lab,
    vault: &Vault,
    durable: bool,
    told: &Told,
) -> Result<(), VaultError> {
    let bytes = new(story);
    let handle = match story {
        Story::Small | Story::Compact => {
            let handle = rewrite(vault, "f").await?;
            write_all(&handle, &bytes).await?;
            handle
        }
        Story::Emptied => rewrite(vault, "f").await?,
        Story::Large => {
            let handle = rewrite(vault, "f").await?;
            let mut first = bytes.clone();
            first[77] ^= 1;
            write_all(&handle, &first).await?;
            // Time for the full extent to be sent.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            handle.write(&ctx(), 77, &bytes[77..78]).await?;
            handle
        }
        Story::OneExtent | Story::BothSchemes => {
            let handle = open(vault, "f").await?;
            handle.write(&ctx(), 1005, b"0123456789").await?;
            handle
        }
        Story::RenameOver
        | Story::LargeRenameOver
        | Story::MovedAway
        | Story::Backup
        | Story::Abandoned => {
            let file = if story == Story::Backup {
                move_to(vault, "f", "f~").await?;
                name("f")
            } else {
                name("tmp")
            };
            let access = Access::READ_WRITE;
            let (_, handle) = vault
                .create_file(&ctx(), NodeId::ROOT, &file, 0o600, access)
                .await?;
            write_all(&handle, &bytes).await?;
            handle
        }
        Story::Conflict => {
            let handle = open(vault, "f").await?;
            write_all(&handle, &bytes).await?;
            handle.set_size(&ctx(), bytes.len() as u64).await?;
            let other = lab.try_start().await?;
            put(&other, "f", &others()).await?;
            told.other_saved.set(true);
            other.sync().await?;
            handle
        }
    };
    if story == Story::Abandoned {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        vault.remove(&ctx(), NodeId::ROOT, &name("tmp")).await?;
        told.saved.set(true);
        handle.release(&ctx()).await?;
        // Time for what was sent to be removed.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        return Ok(());
    }
    if durable {
        handle.fsync(&ctx()).await?;
        told.synced.set(true);
    } else {
        handle.flush(&ctx()).await?;
    }
    told.saved.set(true);
    handle.release(&ctx()).await?;
    if story == Story::MovedAway {
        move_to(vault, "f", "old").await?;
        move_to(vault, "tmp", "f").await?;
        vault.remove(&ctx(), NodeId::ROOT, &name("old")).await?;
    }
    if matches!(story, Story::RenameOver | Story::LargeRenameOver) {
        move_to(vault, "tmp", "f").await?;
    }
    told.renamed.set(true);
    if durable {
        vault.sync().await?;
    }
    // Time for what is of no use to be removed.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    Ok(())
}

async fn move_to(vault: &Vault, from: &str, to: &str) -> Result<(), VaultError> {
    let (from, to) = (name(from), name(to));
    let (from, to) = ((NodeId::ROOT, &from), (NodeId::ROOT, &to));
    vault
        .rename(&ctx(), from, to, RenameMode::Replace)
        .await
        .map(drop)
}

/// What is there after a save in several steps with names: the new contents where they were saved, the old ones somewhere
/// until then, and nothing in part.
fn check_steps(story: Story, files: &BTreeMap<String, Vec<u8>>, told: &Told, power: Power) {
    let (old, new) = (old(story), new(story));
    let saved = told.synced.get() || (told.saved.get() && power == Power::Stays);
    let may_be = match story {
        Story::Backup => ["f", "f~", ""],
        _ => ["f", "tmp", "old"],
    };
    for (name, bytes) in files {
        assert!(may_be.contains(&name.as_str()), "{name}");
        assert!(
            *bytes == old || *bytes == new || bytes.is_empty(),
            "{name} is neither old nor new"
        );
    }
    let somewhere = |wanted: &Vec<u8>| files.values().any(|bytes| bytes == wanted);
    assert!(somewhere(&new) || !saved, "a saved file is gone");
    // One that was removed was replaced by what was saved; if a power cut took that, the document is what it was.
    assert!(
        somewhere(&new) || somewhere(&old) || (power != Power::Stays && !told.synced.get()),
        "neither the old nor the new contents are there"
    );
    if told.renamed.get() && power == Power::Stays {
        same(&files["f"], &new, "saved");
        let expected = if story == Story::Backup { 2 } else { 1 };
        assert_eq!(files.len(), expected, "{:?}", files.keys());
    }
}

fn check(story: Story, files: &BTreeMap<String, Vec<u8>>, told: &Told, power: Power) {
    if matches!(story, Story::MovedAway | Story::Backup) {
        return check_steps(story, files, told, power);
    }
    let (old, new) = (old(story), new(story));
    let saved = told.synced.get() || (told.saved.get() && power == Power::Stays);
    let f = files.get("f").expect("the file is there, old or new");
    let mut rest: Vec<&String> = files.keys().filter(|name| *name != "f").collect();
    match story {
        Story::Small
        | Story::Large
        | Story::OneExtent
        | Story::Emptied
        | Story::Compact
        | Story::BothSchemes => {
            if saved || *f != old {
                same(f, &new, "new");
            }
        }
        Story::RenameOver | Story::LargeRenameOver => {
            if *f != old {
                same(f, &new, "renamed");
            }
            if told.renamed.get() && power == Power::Stays {
                same(f, &new, "renamed");
                assert_eq!(rest, <[&String; 0]>::default());
            }
            if let Some(tmp) = files.get("tmp") {
                assert!(
                    tmp.is_empty() || *tmp == new,
                    "the new file is whole or empty"
                );
                rest.retain(|name| *name != "tmp");
            }
            let there = *f == new || files.get("tmp") == Some(&new);
            assert!(there || !saved, "a saved file is gone");
        }
        Story::MovedAway | Story::Backup => {}
        Story::Conflict => {
            if *f != old {
                same(f, &others(), "what the other machine saved");
            }
            if told.other_saved.get() && (power == Power::Stays || told.synced.get()) {
                same(f, &others(), "what the other machine saved and was told");
            }
            if let [copy] = rest[..] {
                assert!(
                    copy.starts_with("f (conflict ") && copy.ends_with(" hanako)"),
                    "{copy}"
                );
                // Its name may be safe when its first version is not.
                let lost = power != Power::Stays && files[copy].is_empty();
                if saved || !lost {
                    same(&files[copy], &new, "the copy");
                }
                rest.clear();
            } else {
                assert!(!saved, "the copy is missing");
            }
        }
        Story::Abandoned => {
            same(f, &old, "the bystander");
            let tmp = files.get("tmp");
            assert!(tmp.is_none_or(Vec::is_empty), "it was never saved");
            assert!(
                !(told.saved.get() && power == Power::Stays && tmp.is_some()),
                "it was removed"
            );
            rest.retain(|name| *name != "tmp");
        }
    }
    assert_eq!(rest, <[&String; 0]>::default(), "nothing else is there");
}

async fn everything(vault: &Vault) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for file in names(vault).await {
        let bytes = get(vault, &file)
            .await
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        files.insert(file, bytes);
    }
    files
}

/// One client's death and what comes after it. Returns how many calls the story made, when it came to its end.
fn one_death(
    story: Story,
    durable: bool,
    death: Option<Death>,
    power: Power,
    gone: Option<usize>,
    seed: u64,
) -> Option<u64> {
    let lab = live(async {
        let mut lab = Lab::with_journal(2, 3).await;
        lab.options.upkeep = Default::default();
        if story == Story::Compact {
            lab.options.scheme = Scheme::Compact;
        }
        if power == Power::FailsByChance {
            lab.memory.remember();
        }
        let vault = lab.start().await;
        put(&vault, "f", &old(story)).await.unwrap();
        vault.sync().await.unwrap();
        if story == Story::BothSchemes {
            lab.options.scheme = Scheme::Compact;
        }
        lab
    });
    let told = Told::default();
    let calls = live(async {
        let vault = lab.start().await;
        lab.world.revive();
        death.into_iter().for_each(|death| lab.world.die(death));
        tokio::select! {
            done = act(story, &lab, &vault, durable, &told) => {
                done.unwrap();
                Some(lab.world.calls())
            }
            () = lab.world.dead() => None,
        }
    });
    lab.world.revive();
    let mut dice = Dice::new(seed);
    match power {
        Power::Stays => {}
        Power::Fails => lab.power_cut(),
        Power::FailsByChance => {
            for server in &lab.servers {
                server.power_cut_with(|_, bytes| match dice.roll(3) {
                    0 => Fate::Lost,
                    1 => Fate::Kept,
                    _ => Fate::Torn(dice.pick(bytes.len())),
                });
            }
            lab.memory
                .power_cut_after(dice.pick(lab.memory.at_risk() + 1));
        }
    }
    if let Some(gone) = gone {
        lab.faults[gone].set(State::Gone);
    }
    if power == Power::FailsByChance && gone.is_some() {
        // With a server gone, what was not safe may be out of reach: then it is neither taken back nor lost.
        live(async {
            let vault = lab.start().await;
            for file in names(&vault).await {
                match get(&vault, &file).await {
                    Err(VaultError::TooFewShares { .. }) if !told.synced.get() => {}
                    read => drop(read.unwrap()),
                }
            }
        });
        lab.heal();
    }
    let files = live(async {
        let vault = lab.start().await;
        let files = everything(&vault).await;
        // And work goes on.
        put(&vault, "after", b"after").await.unwrap();
        put(&vault, "f", b"again").await.unwrap();
        same(&get(&vault, "f").await.unwrap(), b"again", "again");
        files
    });
    check(story, &files, &told, power);
    lab.heal();
    live(async {
        lab.let_leases_end();
        let vault = lab.start().await;
        assert_eq!(get(&vault, "f").await.unwrap(), b"again");
        if power == Power::Stays {
            lab.assert_tidy("after the sweep").await;
            return;
        }
        // What the power cut let survive on servers and not in the catalogue is at least found and counted.
        let report = vault
            .verify(&ctx(), Default::default(), &|_| ())
            .await
            .unwrap();
        for (place, count) in report.servers.values().enumerate() {
            assert_eq!(count.orphans, lab.orphans(place).await.len() as u64);
        }
    });
    calls
}

/// With `WARIFU_CRASH_ALL` set, large files meet everything too.
fn every_step(story: Story) {
    let all = std::env::var_os("WARIFU_CRASH_ALL").is_some();
    for durable in [false, true] {
        let calls = one_death(story, durable, None, Power::Stays, None, 0).unwrap();
        assert!(calls > 5, "{calls} calls are too few to be true");
        for call in 1..=calls {
            for (after, death) in [(0, Death::Before(call)), (1, Death::After(call))] {
                let large = matches!(
                    story,
                    Story::Large
                        | Story::OneExtent
                        | Story::LargeRenameOver
                        | Story::Abandoned
                        | Story::BothSchemes
                );
                let powers = [Power::Stays, Power::Fails, Power::FailsByChance];
                for (variant, power) in (0..).zip(powers) {
                    let seed = call * 8 + after * 4 + variant;
                    // The large ones take their time: they meet one kind of power cut each, and one server or none is gone.
                    if large && !all && (call + after) % 3 != variant {
                        continue;
                    }
                    let gones: &[Option<usize>] = match (large, seed % 4) {
                        (true, 3) => &[None],
                        (true, server) => &[Some(server as usize)],
                        (false, _) => &[None, Some((seed % 3) as usize)],
                    };
                    for gone in gones {
                        let what = format!(
                            "{story:?}, durable: {durable}, {death:?} of {calls}, power {power:?}, gone: {gone:?}"
                        );
                        let died = std::panic::catch_unwind(|| {
                            one_death(story, durable, Some(death), power, *gone, seed)
                        });
                        died.unwrap_or_else(|_| panic!("{what}"));
                    }
                }
            }
        }
        // The power fails when all is told and done.
        for gone in [None, Some(0), Some(2)] {
            one_death(story, durable, None, Power::Fails, gone, 0);
            one_death(story, durable, None, Power::FailsByChance, gone, 1);
        }
    }
}

#[test]
fn p5_every_step_of_a_small_save() {
    every_step(Story::Small);
}

#[test]
fn p5_every_step_of_a_large_save() {
    every_step(Story::Large);
}

#[test]
fn p5_every_step_of_changing_one_extent() {
    every_step(Story::OneExtent);
}

#[test]
fn p5_every_step_of_saving_by_rename() {
    every_step(Story::RenameOver);
}

#[test]
fn p5_every_step_of_saving_a_large_file_by_rename() {
    every_step(Story::LargeRenameOver);
}

#[test]
fn p5_every_step_of_saving_with_the_old_file_moved_away() {
    every_step(Story::MovedAway);
}

#[test]
fn p5_every_step_of_saving_with_a_backup() {
    every_step(Story::Backup);
}

#[test]
fn p5_p8_every_step_of_a_conflict() {
    every_step(Story::Conflict);
}

#[test]
fn p5_every_step_of_a_save_given_up() {
    every_step(Story::Abandoned);
}

#[test]
fn p5_every_step_of_emptying_a_file() {
    every_step(Story::Emptied);
}

#[test]
fn p2_p5_every_step_of_a_compact_save() {
    every_step(Story::Compact);
}

#[test]
fn p2_p5_every_step_of_a_save_in_both_schemes() {
    every_step(Story::BothSchemes);
}

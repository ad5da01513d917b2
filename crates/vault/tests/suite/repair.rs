//! P4: what is missing or bad is made anew: after every kind of damage, with lying helpers, and what is most at risk first.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use warifu_core::format::Scheme;
use warifu_core::ids::ShareIndex;
use warifu_testkit::stores::{Lie, MemoryStore, State};
use warifu_vault::context::Act;
use warifu_vault::error::Fault;
use warifu_vault::keys::FIRST_GENERATION;
use warifu_vault::repair::{RepairOptions, RepairReport};
use warifu_vault::seam::catalog::{Catalog, Durability, OwedChange};
use warifu_vault::seam::store::{ObjectKey, ShareStore};
use warifu_vault::verify::{Check, VerifyReport};
use warifu_vault::{Context, Vault};

use crate::common::{EXTENT, Lab, ctx, get, noise, put, same};

pub async fn check(vault: &Vault, deep: bool, record: bool) -> VerifyReport {
    let check = Check {
        record,
        ..Check::new(deep)
    };
    vault.check(&ctx(), check, &|_| ()).await.unwrap()
}

pub async fn repair(vault: &Vault) -> RepairReport {
    vault
        .repair(&ctx(), &RepairOptions::default(), &|_| ())
        .await
        .unwrap()
}

pub fn index(index: u8) -> ShareIndex {
    ShareIndex::new(index).unwrap()
}

/// Every share is there and good, nothing is owed, nothing is left over.
pub async fn assert_whole(lab: &Lab, vault: &Vault, what: &str) {
    let report = check(vault, true, false).await;
    assert!(report.is_clean(), "{what}: {:?}", report.findings);
    let usage = lab.memory.usage().await.unwrap();
    assert_eq!(usage.owed_shares, 0, "{what}");
    lab.assert_tidy(what).await;
}

const FILES: [(&str, u64, usize); 4] = [
    ("small", 1, 6000),
    ("other", 2, 100_000),
    ("large", 3, EXTENT + 70_000),
    ("empty", 4, 0),
];

pub async fn fill(vault: &Vault) {
    for (file, seed, len) in FILES {
        put(vault, file, &noise(seed, len)).await.unwrap();
    }
    vault.sync().await.unwrap();
}

async fn assert_files(vault: &Vault, what: &str) {
    for (file, seed, len) in FILES {
        same(
            &get(vault, file).await.unwrap(),
            &noise(seed, len),
            &format!("{what}: {file}"),
        );
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Bane {
    Wiped,
    Rotten,
    Beheaded,
    Halved,
    Emptied,
    Rubbish,
    /// The objects have changed places.
    Shuffled,
    /// Every second one is gone, every other one is damaged.
    Mixed,
}

const BANES: [Bane; 8] = [
    Bane::Wiped,
    Bane::Rotten,
    Bane::Beheaded,
    Bane::Halved,
    Bane::Emptied,
    Bane::Rubbish,
    Bane::Shuffled,
    Bane::Mixed,
];

pub fn shares(server: &MemoryStore) -> Vec<ObjectKey> {
    let mut names = server.names();
    names.retain(ObjectKey::is_share);
    names
}

pub fn strike(server: &MemoryStore, bane: Bane) {
    let names = shares(server);
    if let Bane::Wiped = bane {
        return server.wipe();
    }
    if let Bane::Shuffled = bane {
        let bytes: Vec<_> = names
            .iter()
            .map(|name| server.bytes(name).unwrap())
            .collect();
        for (name, bytes) in names.iter().zip(bytes.iter().cycle().skip(1)) {
            server.replace(name, bytes.clone());
        }
        return;
    }
    for (seed, name) in (0_u64..).zip(&names) {
        let len = server.bytes(name).unwrap().len();
        let done = match bane {
            Bane::Rotten => server.flip(name, 3000 + seed as usize * 77),
            Bane::Beheaded => server.flip(name, seed as usize),
            Bane::Halved => server.truncate(name, len / 2),
            Bane::Emptied => server.truncate(name, 0),
            Bane::Rubbish => server.damage(name, |bytes| *bytes = noise(seed, len)),
            _ if seed % 2 == 0 => server.lose(name),
            _ => server.flip(name, len - 1),
        };
        assert!(done);
    }
}

#[tokio::test(start_paused = true)]
async fn p4_every_kind_of_damage_is_repaired_under_both_schemes() {
    for scheme in [Scheme::Shamir, Scheme::Compact] {
        for bane in BANES {
            for (k, n) in [(2, 3), (3, 5), (1, 3)] {
                let what = format!("{bane:?}, {k} of {n}, {scheme:?}");
                let mut lab = Lab::new(k, n).await;
                lab.options.scheme = scheme;
                let vault = lab.start().await;
                fill(&vault).await;
                let struck: Vec<usize> = (0..usize::from(n - k)).map(|place| place * 2).collect();
                let before: Vec<BTreeMap<_, _>> = lab
                    .servers
                    .iter()
                    .map(|server| server.everything().into_iter().collect())
                    .collect();
                for place in &struck {
                    strike(&lab.servers[*place], bane);
                }
                let report = check(&vault, true, true).await;
                assert_eq!(report.found, 5 * struck.len() as u64, "{what}");
                assert_eq!(report.recorded, report.found, "{what}");
                let plan = vault
                    .plan_repair(&ctx(), &RepairOptions::default())
                    .await
                    .unwrap();
                assert_eq!(plan.work().shares, report.found, "{what}: {plan:?}");
                assert!(
                    lab.servers
                        .iter()
                        .zip(&before)
                        .enumerate()
                        .all(|(place, (server, before))| struck.contains(&place)
                            || server.everything().into_iter().collect::<BTreeMap<_, _>>()
                                == *before)
                );
                let done = repair(&vault).await;
                assert_eq!(
                    (done.shares(), done.left),
                    (report.found, 0),
                    "{what}: {done:?}"
                );
                let wiped = matches!(bane, Bane::Wiped);
                assert_eq!(done.key_pieces.len(), if wiped { struck.len() } else { 0 });
                let there = !matches!(bane, Bane::Wiped | Bane::Mixed);
                assert!(!there || done.replaced == report.found, "{what}: {done:?}");
                let sent: u64 = done.made.values().map(|work| work.bytes).sum();
                assert_eq!(sent, plan.work().bytes, "{what}");
                assert_whole(&lab, &vault, &what).await;
                for (place, (server, before)) in lab.servers.iter().zip(&before).enumerate() {
                    let after: BTreeMap<_, _> = server.everything().into_iter().collect();
                    assert!(after.keys().eq(before.keys()), "{what}: the same names");
                    if !struck.contains(&place) {
                        assert!(after == *before, "{what}: a good server is left alone");
                    }
                    let name = ObjectKey::vault_object(FIRST_GENERATION);
                    assert_eq!(after.get(&name), before.get(&name), "{what}: its key piece");
                }
                assert_eq!(vault.memory_in_use().bytes, 0, "{what}: nothing was joined");
                // Any k servers serve, those repaired before all others.
                for (place, faults) in lab.faults.iter().enumerate() {
                    if !struck.contains(&place) && place >= struck.len() + usize::from(k) {
                        faults.set(State::Gone);
                    }
                }
                assert_files(&lab.start().await, &what).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p4_a_lying_helper_is_named_replaced_and_made_good() {
    for lie in [Lie::FlipsBits, Lie::CutsOff] {
        let lab = Lab::new(2, 4).await;
        let vault = lab.start().await;
        fill(&vault).await;
        strike(&lab.servers[0], Bane::Wiped);
        check(&vault, false, true).await;
        // The quickest of all lies.
        lab.faults[1].tell(lie.clone());
        for slow in [2, 3] {
            lab.faults[slow].set_delay(Duration::from_millis(20));
        }
        let done = repair(&vault).await;
        assert_eq!(done.made["A"].shares, 5, "{done:?}");
        let named: Vec<_> = done.liars.iter().collect();
        assert_eq!(named, [(&("B".to_owned(), Fault::Corrupt), &5)], "{lie:?}");
        lab.heal();
        check(&vault, true, true).await;
        repair(&vault).await;
        assert_whole(&lab, &vault, &format!("{lie:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p4_what_a_helper_has_lost_is_made_in_the_same_repair() {
    let lab = Lab::new(2, 4).await;
    let vault = lab.start().await;
    fill(&vault).await;
    strike(&lab.servers[0], Bane::Wiped);
    check(&vault, false, true).await;
    for server in &lab.servers[1..2] {
        for name in shares(server).into_iter().step_by(2) {
            assert!(server.lose(&name));
        }
    }
    let done = repair(&vault).await;
    assert_eq!(done.left, 0, "{done:?}");
    assert!(done.liars.keys().all(|(_, fault)| *fault == Fault::Missing));
    let report = check(&vault, true, true).await;
    assert!(report.findings.iter().all(|finding| finding.server != "A"));
    repair(&vault).await;
    assert_whole(&lab, &vault, "after all").await;
}

#[tokio::test(start_paused = true)]
async fn p4_with_fewer_than_k_good_shares_nothing_is_touched_and_the_file_is_named() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", &noise(1, 9000)).await.unwrap();
    vault.sync().await.unwrap();
    strike(&lab.servers[0], Bane::Rotten);
    strike(&lab.servers[1], Bane::Rotten);
    let before: Vec<_> = lab.servers.iter().map(MemoryStore::everything).collect();
    let report = check(&vault, true, true).await;
    assert!(report.unreadable[0].lost);
    let done = repair(&vault).await;
    assert_eq!((done.shares(), done.left), (0, 2), "{done:?}");
    assert_eq!(done.unreadable.len(), 1, "{done:?}");
    let named = &done.unreadable[0];
    assert_eq!(
        (named.file.as_str(), named.needed, named.good),
        ("/f", 2, 1)
    );
    let after: Vec<_> = lab.servers.iter().map(MemoryStore::everything).collect();
    assert!(
        before == after,
        "damaged shares may still be of use to somebody"
    );
}

#[tokio::test(start_paused = true)]
async fn a_debt_whose_share_is_there_is_struck_off_without_a_write() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    fill(&vault).await;
    for record in lab.memory.extents(None, 100).await.unwrap() {
        let change = OwedChange {
            extent: record.extent,
            generation: record.generation,
            add: [index(1), index(2)].into_iter().collect(),
            remove: Default::default(),
        };
        lab.memory.change_owed(&[change]).await.unwrap();
    }
    let before: Vec<_> = lab.servers.iter().map(MemoryStore::everything).collect();
    let done = repair(&vault).await;
    assert_eq!(
        (done.shares(), done.found, done.left),
        (0, 10, 0),
        "{done:?}"
    );
    let after: Vec<_> = lab.servers.iter().map(MemoryStore::everything).collect();
    assert!(before == after);
    assert_whole(&lab, &vault, "struck off").await;
}

#[tokio::test(start_paused = true)]
async fn servers_that_take_nothing_are_named_and_the_others_get_theirs() {
    for state in [
        State::Full,
        State::ReadOnly,
        State::Failing,
        State::Gone,
        State::Hung,
    ] {
        let lab = Lab::new(2, 4).await;
        let vault = lab.start().await;
        fill(&vault).await;
        strike(&lab.servers[0], Bane::Wiped);
        strike(&lab.servers[3], Bane::Wiped);
        check(&vault, false, true).await;
        lab.faults[0].set(state);
        let done = repair(&vault).await;
        assert_eq!(
            (done.made["D"].shares, done.left),
            (5, 5),
            "{state:?}: {done:?}"
        );
        let faults: Vec<_> = done
            .faults
            .iter()
            .map(|fault| fault.server.as_str())
            .collect();
        assert!(faults.contains(&"A"), "{state:?}: {faults:?}");
        lab.heal();
        repair(&vault).await;
        assert_whole(&lab, &vault, &format!("{state:?}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p4_what_is_most_at_risk_comes_first() {
    let lab = Lab::new(2, 5).await;
    let vault = lab.start().await;
    for file in 0..40 {
        put(&vault, &format!("f{file}"), &noise(file, 5000))
            .await
            .unwrap();
    }
    vault.sync().await.unwrap();
    let records = lab.memory.extents(None, 100).await.unwrap();
    let key = lab.key().await;
    let object = |server: usize, place: usize| -> ObjectKey {
        let (extent, generation) = (records[place].extent, records[place].generation);
        key.object_name(lab.ids[server], extent, generation).into()
    };
    for place in 0..40 {
        for server in 0..1 + place % 3 {
            assert!(lab.servers[server].lose(&object(server, place)));
        }
    }
    check(&vault, false, true).await;
    let options = RepairOptions {
        at_once: 1,
        ..RepairOptions::default()
    };
    let standing = Mutex::new(Vec::new());
    vault
        .repair(&ctx(), &options, &|at| {
            let left = |server: usize| {
                (0..40)
                    .filter(|place| lab.servers[server].bytes(&object(server, *place)).is_none())
                    .count()
            };
            standing
                .lock()
                .unwrap()
                .push((at.extents_done, left(0), left(2)));
        })
        .await
        .unwrap();
    // The 13 extents that lack three shares are done before any that lacks one.
    let standing = standing.into_inner().unwrap();
    let done = standing.iter().find(|(_, _, third)| *third == 0).unwrap();
    assert!(done.0 <= 13 + 1 && done.1 >= 40 - 13 - 1, "{done:?}");
    assert_whole(&lab, &vault, "in the end").await;
}

#[tokio::test(start_paused = true)]
async fn a_speed_limit_is_kept_and_progress_is_told() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    for file in 0..20 {
        put(&vault, &format!("f{file}"), &noise(file, 100_000))
            .await
            .unwrap();
    }
    vault.sync().await.unwrap();
    strike(&lab.servers[0], Bane::Wiped);
    check(&vault, false, true).await;
    let plan = vault
        .plan_repair(&ctx(), &RepairOptions::default())
        .await
        .unwrap();
    let bytes = plan.work().bytes;
    assert_eq!(plan.by_risk, BTreeMap::from([(2, 20)]));
    let options = RepairOptions {
        limit: Some(bytes / 10),
        ..RepairOptions::default()
    };
    let last = Mutex::new(None);
    let begin = tokio::time::Instant::now();
    vault
        .repair(&ctx(), &options, &|at| *last.lock().unwrap() = Some(at))
        .await
        .unwrap();
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_secs(9) && took < Duration::from_secs(12),
        "{took:?}"
    );
    let last = last.into_inner().unwrap().unwrap();
    assert_eq!((last.extents_done, last.extents), (20, 20));
    assert_eq!((last.bytes_done, last.bytes), (bytes, bytes));
}

#[tokio::test(start_paused = true)]
async fn p4_a_lost_server_is_replaced_by_an_empty_one_with_the_same_piece_of_the_key() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    fill(&vault).await;
    let lost = lab.servers[1].snapshot();
    lab.faults[1].set(State::Gone);
    let piece = vault.key_piece_for(index(2)).await.unwrap().unwrap();
    assert_eq!(vault.owe_all(&ctx(), index(2), &|_| ()).await.unwrap(), 5);
    assert!(vault.shutdown(&ctx()).await.is_empty());
    // Another disk in its place.
    let empty = MemoryStore::new();
    let name = ObjectKey::vault_object(FIRST_GENERATION);
    empty.put_new(&name, piece, Durability::Now).await.unwrap();
    lab.servers[1].roll_back(&empty.snapshot());
    lab.heal();
    let vault = lab.start().await;
    repair(&vault).await;
    assert_whole(&lab, &vault, "replaced").await;
    assert_files(&vault, "replaced").await;
    let old = MemoryStore::new();
    old.roll_back(&lost);
    assert_eq!(
        old.bytes(&name),
        lab.servers[1].bytes(&name),
        "the old disk and the new one are one share"
    );
}

/// The context in the log is that of whoever repaired.
#[tokio::test(start_paused = true)]
async fn p9_a_repair_is_in_the_audit_log() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    fill(&vault).await;
    lab.servers[0].wipe();
    check(&vault, false, true).await;
    repair(&vault).await;
    let log = lab.memory.audit(0, 1000).await.unwrap();
    let of = |act| -> Vec<&Context> {
        let rows = log.iter().filter(|row| row.entry.act == act);
        rows.map(|row| &row.entry.context).collect()
    };
    assert_eq!(of(Act::Repair), [&ctx(), &ctx()]);
    assert_eq!(of(Act::Verify), [&ctx()]);
}

//! P4, P5, P7: what a refresh must not take away, whatever else happens: a second pass, a catalogue from its middle, servers that were away.

use std::time::Duration;

use warifu_core::ids::Generation;
use warifu_testkit::catalogs::{CatalogFault, MemoryCatalog};
use warifu_testkit::stores::{Method, State, Trouble};
use warifu_vault::refresh::{RefreshOptions, RefreshReport};
use warifu_vault::repair::{GRACE, RepairOptions};
use warifu_vault::seam::catalog::{Catalog, Intent, SaveId};
use warifu_vault::seam::store::{ObjectKey, StoreErrorKind};
use warifu_vault::{Vault, VaultError};

use crate::common::{Lab, ctx, get, noise, put, same};
use crate::rebuild::{choices, from_servers};
use crate::refresh::{extents, fill, generations, refresh, try_refresh};

pub(crate) const FILES: u64 = 6;

/// Files of one extent each.
pub(crate) async fn few(lab: &Lab) -> Vault {
    let vault = lab.start().await;
    for file in 0..FILES {
        let bytes = noise(file, 4000);
        put(&vault, &format!("f{file}"), &bytes).await.unwrap();
    }
    vault.sync().await.unwrap();
    vault
}

pub(crate) async fn assert_few(vault: &Vault, what: &str) {
    for file in 0..FILES {
        let read = get(vault, &format!("f{file}")).await;
        let read = read.unwrap_or_else(|error| panic!("{what}: f{file}: {error:?}"));
        same(&read, &noise(file, 4000), &format!("{what}: f{file}"));
    }
}

pub(crate) async fn refresh_in(vault: &Vault, batch: usize) -> Result<RefreshReport, VaultError> {
    let options = RefreshOptions {
        batch,
        ..RefreshOptions::default()
    };
    vault.refresh(&ctx(), &options, &|_| (), &|| false).await
}

pub(crate) async fn repair(vault: &Vault) {
    let options = RepairOptions::default();
    vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
}

pub(crate) async fn sweep(lab: &Lab) -> Vault {
    lab.let_leases_end();
    lab.start().await
}

/// A batch that a server did not sync is not switched, and a removal of what it put gets no answer, so that a sweep is to do it later. The
/// second pass makes the same extents anew and switches them: what the sweep removes then is not theirs.
#[tokio::test(start_paused = true)]
async fn p4_what_a_pass_left_to_be_removed_is_not_what_the_next_one_put() {
    let mut twice = 0;
    for sync in 1..=3 {
        for removal in 1..=8 {
            let what = format!("sync {sync}, removal {removal}");
            let lab = Lab::new(2, 3).await;
            let vault = few(&lab).await;
            let failed = Trouble::Refused(StoreErrorKind::Failed);
            lab.faults[2].plan(Method::Sync, sync, failed);
            lab.faults[0].plan(Method::Delete, removal, Trouble::LostReply);
            let report = refresh_in(&vault, 2).await.unwrap();
            assert_eq!(report.status.left, 0, "{what}: {report:?}");
            let numbers = generations(&lab).await;
            twice += u32::from(numbers.current > numbers.wanted);
            assert_few(&vault, &what).await;
            drop(vault);
            let vault = sweep(&lab).await;
            assert_few(&vault, &what).await;
            let report = refresh(&vault).await;
            assert!(report.status.is_complete(), "{what}: {report:?}");
            vault.shutdown(&ctx()).await;
            lab.assert_tidy(&what).await;
        }
    }
    assert!(twice >= 8, "a second pass was made {twice} times only");
}

/// A put without an answer takes effect when everything else is over.
#[tokio::test(start_paused = true)]
async fn p4_a_share_that_comes_late_is_not_taken_for_one_of_the_next_pass() {
    for put_at in 2..8 {
        let lab = Lab::new(2, 3).await;
        let vault = few(&lab).await;
        let late = Trouble::Late(Duration::from_secs(600));
        lab.faults[1].plan(Method::Put, put_at, late);
        let report = try_refresh(&vault).await;
        let what = format!("put {put_at}: {report:?}");
        tokio::time::sleep(Duration::from_secs(1200)).await;
        assert_few(&vault, &what).await;
        let vault = sweep(&lab).await;
        repair(&vault).await;
        refresh(&vault).await;
        for away in 0..3 {
            lab.faults[away].set(State::Gone);
            assert_few(&vault, &format!("{what}, without {away}")).await;
            lab.heal();
        }
    }
}

/// The catalogue is brought back from a backup that was taken in the middle of a refresh. Its intents call unfinished what is all
/// that there is now: it stays, and a rebuild finds everything.
#[tokio::test(start_paused = true)]
async fn p7_a_catalogue_from_the_middle_of_a_refresh_takes_nothing_away() {
    let mut lab = Lab::with_journal(2, 3).await;
    let files = fill(&lab).await;
    let vault = lab.start().await;
    for faults in &lab.faults {
        faults.set_delay(Duration::from_millis(3));
    }
    let mut backups: Vec<MemoryCatalog> = Vec::new();
    {
        let refreshing = refresh_in(&vault, 1);
        tokio::pin!(refreshing);
        let mut seen = lab.catalog.writes();
        loop {
            tokio::select! {
                done = &mut refreshing => { done.unwrap(); break }
                () = tokio::time::sleep(Duration::from_micros(500)) => {}
            }
            if lab.catalog.writes() > seen {
                seen = lab.catalog.writes();
                backups.push(lab.memory.backup());
            }
        }
    }
    vault.shutdown(&ctx()).await;
    drop(vault);
    lab.heal();
    let mut with_intents = 0;
    assert!(backups.len() >= 8, "{} backups", backups.len());
    let after: Vec<_> = lab.servers.iter().map(|server| server.snapshot()).collect();
    for (number, backup) in backups.into_iter().enumerate() {
        let what = format!("backup {number}");
        for (server, after) in lab.servers.iter().zip(&after) {
            server.roll_back(after);
        }
        with_intents += u32::from(backup.usage().await.unwrap().open_saves > 0);
        lab.take_over(backup);
        for _ in 0..2 {
            let vault = sweep(&lab).await;
            vault.orphans(&ctx(), Duration::ZERO, true).await.unwrap();
        }
        // Also where somebody refreshes with it before anybody thinks of a rebuild.
        if number % 2 == 1 {
            let vault = sweep(&lab).await;
            let _told = try_refresh(&vault).await;
            drop(vault);
            drop(sweep(&lab).await);
        }
        let (catalog, report) = from_servers(&lab, &[0, 2]).await;
        assert!(report.lost.is_empty(), "{what}: {report:?}");
        lab.take_over(catalog);
        let vault = lab.start().await;
        for (file, bytes) in &files {
            let read = get(&vault, file).await.unwrap();
            same(&read, bytes, &format!("{what}: {file}"));
        }
    }
    assert!(with_intents >= 4, "{with_intents} of them in the middle");
}

/// What makes an object useless is on disk before the object goes.
#[tokio::test(start_paused = true)]
async fn p5_nothing_is_removed_before_the_catalogue_is_on_disk() {
    let lab = Lab::new(2, 3).await;
    let vault = few(&lab).await;
    let before = lab.servers[0].everything();
    refresh(&vault).await;
    let old: Vec<_> = before
        .into_iter()
        .filter(|(name, _)| name.is_share())
        .collect();
    let there = || {
        let names = lab.servers[0].names();
        old.iter().filter(|(name, _)| names.contains(name)).count()
    };
    // Back after a power cut of the server, say.
    for (name, bytes) in &old {
        lab.servers[0].replace(name, bytes.clone());
    }
    lab.catalog.fail_writes(Some(CatalogFault::NoAnswer));
    let swept = vault.orphans(&ctx(), GRACE, true).await;
    assert!(swept.is_err(), "{swept:?}");
    assert_eq!(there(), old.len());
    lab.catalog.fail_writes(None);
    vault.orphans(&ctx(), GRACE, true).await.unwrap();
    assert_eq!(there(), 0);

    // What an intent names, likewise: it is claimed, and then the catalogue gives no answer.
    for (name, bytes) in &old {
        lab.servers[0].replace(name, bytes.clone());
    }
    let records = extents(&lab).await;
    let save = SaveId::fresh().unwrap();
    let named = records.iter().map(|record| (record.extent, Generation(1)));
    let intent = Intent {
        save,
        extents: named.collect(),
    };
    lab.memory
        .begin_save(&intent, Duration::ZERO)
        .await
        .unwrap();
    drop(vault);
    lab.let_leases_end();
    lab.catalog.fail_write(2, CatalogFault::NoAnswer);
    let _told = lab.try_start().await;
    assert_eq!(there(), old.len(), "the sync after the claim failed");
    drop(sweep(&lab).await);
    assert_eq!(there(), 0);
}

/// Numbers are counted, so two catalogues that do not know of each other take the same one: here a lost one, and a backup that was worked on
/// with the servers that had not heard of it. What they made is never joined to something else.
#[tokio::test(start_paused = true)]
async fn p4_two_makings_of_one_number_are_not_joined() {
    let mut lab = Lab::new(2, 6).await;
    let vault = few(&lab).await;
    let backup = lab.memory.backup();
    let away = |places: &[usize]| {
        lab.heal();
        for place in places {
            lab.faults[*place].set(State::Gone);
        }
    };
    away(&[3, 4, 5]);
    let report = refresh(&vault).await;
    assert_eq!(report.extents, FILES, "{report:?}");
    drop(vault);
    let world = lab.world.clone();
    away(&[0, 1, 2]);
    lab.take_over(backup);
    let vault = lab.start().await;
    let report = refresh(&vault).await;
    assert_eq!(report.extents, FILES, "{report:?}");
    assert_eq!(generations(&lab).await.current, Generation(2), "the same");
    drop(vault);
    assert!(!world.is_dead());
    lab.heal();
    for set in choices(3, 6) {
        lab.heal();
        let away = (0..6).filter(|place| !set.contains(place));
        away.for_each(|place| lab.faults[place].set(State::Gone));
        let vault = lab.start().await;
        assert_few(&vault, &format!("from {set:?}")).await;
    }
    lab.heal();
    let vault = lab.start().await;
    repair(&vault).await;
    assert_few(&vault, "repaired").await;
    let report = refresh(&vault).await;
    assert_eq!(report.extents, FILES, "{report:?}");
    for set in choices(2, 6) {
        lab.heal();
        let away = (0..6).filter(|place| !set.contains(place));
        away.for_each(|place| lab.faults[place].set(State::Gone));
        let vault = lab.start().await;
        assert_few(&vault, &format!("in the end from {set:?}")).await;
    }
}

/// With everything away but k servers, nothing that is newer is removed: what the catalogue names is not seen often enough.
#[tokio::test(start_paused = true)]
async fn p4_newer_shares_go_only_where_older_ones_are_seen() {
    let lab = Lab::new(2, 4).await;
    let vault = few(&lab).await;
    drop(vault);
    let records = extents(&lab).await;
    let key = lab.key().await;
    let newer: Vec<ObjectKey> = records
        .iter()
        .map(|record| {
            let name = key.object_name(lab.ids[0], record.extent, Generation(2));
            name.into()
        })
        .collect();
    for name in &newer {
        lab.servers[0].replace(
            name,
            b"of a refresh that this catalogue knows by its intent".as_slice(),
        );
    }
    let intent = Intent {
        save: SaveId::fresh().unwrap(),
        extents: records
            .iter()
            .map(|record| (record.extent, Generation(2)))
            .collect(),
    };
    lab.memory
        .begin_save(&intent, Duration::ZERO)
        .await
        .unwrap();
    let there = || {
        let names = lab.servers[0].names();
        newer.iter().filter(|name| names.contains(name)).count()
    };
    for away in [&[1, 2][..], &[2, 3]] {
        lab.heal();
        away.iter()
            .for_each(|place| lab.faults[*place].set(State::Gone));
        drop(sweep(&lab).await);
        assert_eq!(there(), newer.len(), "without {away:?}");
    }
    lab.heal();
    let vault = sweep(&lab).await;
    assert_eq!(there(), 0);
    assert_few(&vault, "in the end").await;
}

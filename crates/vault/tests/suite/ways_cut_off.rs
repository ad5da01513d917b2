//! P1, P3, P7: a refresh of a vault with ways in that is cut off at any step, and a vault with ways that is rebuilt from servers of which each has
//! something else.

use warifu_core::ways::WayKey;
use warifu_testkit::catalogs::MemoryCatalog;
use warifu_testkit::stores::State;
use warifu_testkit::world::Death;
use warifu_vault::keys::{Candidate, UnlockError};
use warifu_vault::rebuild::{RebuildOptions, gather, gather_by_way, rebuild};
use warifu_vault::seam::store::ObjectKey;
use warifu_vault::ways::approach;

use crate::common::{Lab, ctx, get, live, noise, put, same};
use crate::rebuild::choices;
use crate::refresh::{extents, generations, refresh};
use crate::ways::{add, candidates, opens_by, pieces};
use crate::ways_refresh::assert_no_pieces;

/// Any k servers open it by the way.
async fn assert_opens(lab: &Lab, key: &WayKey, when: &str) {
    for set in choices(usize::from(lab.threshold.k()), lab.servers.len()) {
        for (place, fault) in lab.faults.iter().enumerate() {
            if !set.contains(&place) {
                fault.set(State::Gone);
            }
        }
        assert!(opens_by(lab, 1, key).await, "{when}, from {set:?}");
        lab.heal();
    }
}

/// One client's death in a refresh, and the refresh after it.
fn one_death(death: Option<Death>, power: bool) -> Option<u64> {
    let key = WayKey::generate().unwrap();
    let lab = live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        add(&vault, "one", &key).await.unwrap();
        put(&vault, "f", &noise(1, 9000)).await.unwrap();
        put(&vault, "g", &noise(2, 5000)).await.unwrap();
        vault.sync().await.unwrap();
        lab
    });
    let calls = live(async {
        let vault = lab.start().await;
        lab.world.revive();
        death.into_iter().for_each(|death| lab.world.die(death));
        tokio::select! {
            _ = refresh(&vault) => Some(lab.world.calls()),
            () = lab.world.dead() => None,
        }
    });
    lab.world.revive();
    if power {
        lab.power_cut();
    }
    live(async {
        assert_no_pieces(&lab, "at the moment of death").await;
        assert_opens(&lab, &key, "at the moment of death").await;
        let vault = lab.start().await;
        for (file, seed, len) in [("f", 1, 9000), ("g", 2, 5000)] {
            same(&get(&vault, file).await.unwrap(), &noise(seed, len), file);
        }
        vault.mend_ways().await;
        assert_opens(&lab, &key, "put right").await;
        lab.let_leases_end();
        let vault = lab.start().await;
        let report = refresh(&vault).await;
        assert!(report.status.is_complete(), "{report:?}");
        assert!(vault.ways().await.faults.is_empty());
        for (file, seed, len) in [("f", 1, 9000), ("g", 2, 5000)] {
            same(&get(&vault, file).await.unwrap(), &noise(seed, len), file);
        }
        vault.shutdown(&ctx()).await;
        assert_no_pieces(&lab, "after the second refresh").await;
        assert_opens(&lab, &key, "after the second refresh").await;
        let wanted = generations(&lab).await.wanted;
        let records = extents(&lab).await;
        assert!(records.iter().all(|record| record.generation >= wanted));
        if !power {
            // A removal comes undone by a power cut; what came back is removed by a repair.
            for server in &lab.servers {
                assert_eq!(pieces(server).len(), 2, "{:?}", pieces(server));
            }
        }
    });
    calls
}

#[test]
fn p3_a_refresh_with_ways_cut_off_at_every_step_keeps_any_k_servers_opening_by_the_way() {
    let calls = one_death(None, false).unwrap();
    assert!(calls > 60, "{calls} calls are too few to be true");
    for call in 1..=calls {
        for (death, power) in [
            (Death::Before(call), false),
            (Death::After(call), false),
            (Death::After(call), true),
        ] {
            let what = format!("{death:?} of {calls}, power cut: {power}");
            let died = std::panic::catch_unwind(|| one_death(Some(death), power));
            died.unwrap_or_else(|_| panic!("{what}"));
        }
    }
}

async fn rebuilt_by(lab: &Lab, servers: &[Candidate], key: &WayKey) -> MemoryCatalog {
    let Err(UnlockError::Bound(bound)) = gather(servers).await else {
        panic!("the servers alone gave the key");
    };
    let approached = approach(servers, None).await.unwrap();
    let way = approached.ways().next().unwrap().id();
    let found = approached.unseal(way, key).unwrap();
    let gathered = gather_by_way(servers, *bound, found).unwrap();
    assert_eq!(gathered.seats.len(), servers.len());
    let catalog = MemoryCatalog::with_clock(lab.clock.clone());
    let (context, options) = (ctx(), RebuildOptions::default());
    let report = rebuild(gathered, &catalog, &*lab.clock, &context, &options, &|_| ());
    let report = report.await.unwrap();
    assert!(report.lost.is_empty(), "{report:?}");
    catalog
}

/// One server missed the refresh: its part of the ways and its shares are those of before, and nobody needs it.
#[test]
fn p7_a_vault_with_ways_is_rebuilt_in_the_middle_of_generations() {
    live(async {
        let mut lab = Lab::with_journal(2, 4).await;
        let key = WayKey::generate().unwrap();
        let vault = lab.start().await;
        add(&vault, "one", &key).await.unwrap();
        put(&vault, "f", &noise(1, 9000)).await.unwrap();
        vault.sync().await.unwrap();
        lab.faults[3].set(State::Gone);
        refresh(&vault).await;
        put(&vault, "g", &noise(2, 7000)).await.unwrap();
        vault.shutdown(&ctx()).await;
        lab.heal();
        assert_ne!(pieces(&lab.servers[0]), pieces(&lab.servers[3]));
        for set in [
            vec![0, 1],
            vec![1, 2],
            vec![0, 1, 3],
            vec![3, 2, 1],
            vec![3, 0, 1, 2],
        ] {
            let all = candidates(&lab);
            let servers: Vec<Candidate> = set.iter().map(|place| all[*place].clone()).collect();
            let catalog = rebuilt_by(&lab, &servers, &key).await;
            let before = lab.memory.backup();
            lab.take_over(catalog);
            let vault = lab.start().await;
            for (file, seed, len) in [("f", 1, 9000), ("g", 2, 7000)] {
                let read = get(&vault, file).await.unwrap();
                same(&read, &noise(seed, len), &format!("{set:?}: {file}"));
            }
            drop(vault);
            lab.take_over(before);
        }
        // One of today and one of before do not make a bolt.
        let all = candidates(&lab);
        let two = [all[0].clone(), all[3].clone()];
        assert!(approach(&two, None).await.is_err());
    });
}

/// A first way that enough servers have, and of which none says so yet: whoever adds another one hears beforehand that it makes both count.
#[test]
fn p3_a_first_way_that_was_cut_off_is_told_before_the_next_change_makes_it_count() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let (one, two) = (WayKey::generate().unwrap(), WayKey::generate().unwrap());
        let before: Vec<_> = lab.servers.iter().map(|server| server.snapshot()).collect();
        add(&lab.start().await, "one", &one).await.unwrap();
        let part = ObjectKey::parse("ways-00000001").unwrap();
        let parts: Vec<_> = lab
            .servers
            .iter()
            .map(|server| server.bytes(&part).unwrap())
            .collect();
        let left_on = |places: usize| {
            for (place, (server, before)) in lab.servers.iter().zip(&before).enumerate() {
                server.roll_back(before);
                if place < places {
                    server.replace(&part, parts[place].clone());
                }
            }
        };
        left_on(1);
        let status = lab.start().await.ways().await;
        assert!(status.begun && status.is_open() && status.pending.is_empty());
        left_on(2);
        let vault = lab.start().await;
        let status = vault.ways().await;
        assert!(status.begun && status.is_open(), "{status:?}");
        let names: Vec<_> = status.pending.iter().map(|way| way.name()).collect();
        assert_eq!(names, ["one"]);
        let done = add(&vault, "two", &two).await.unwrap();
        assert!(opens_by(&lab, 1, &one).await);
        assert!(opens_by(&lab, done.number.0, &two).await);
        let status = vault.ways().await;
        assert!(!status.begun && status.pending.is_empty());
    });
}

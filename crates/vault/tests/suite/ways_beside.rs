//! P3, P4: ways in that several change at once, that servers lie about or have lost, and what the background makes of them.

use std::sync::Arc;
use std::time::Duration;

use warifu_core::ids::ShareIndex;
use warifu_core::ways::{WayId, WayKey};
use warifu_testkit::stores::{FaultyStore, Lie, MemoryStore, Method, State, Trouble};
use warifu_vault::VaultError;
use warifu_vault::error::Fault;
use warifu_vault::repair::RepairOptions;
use warifu_vault::seam::store::StoreErrorKind;
use warifu_vault::status::Condition;
use warifu_vault::ways::{WaysChange, WaysError};

use crate::common::lab::{Lab, live};
use crate::common::{ctx, noise, put};
use crate::refresh::{assert_reads, fill, generations, refresh, try_refresh};
use crate::ways::{Door, add, knock, opens_by, pieces};
use crate::ways_refresh::assert_no_pieces;

/// The vault opens by what was said to be done, whoever was quicker, and never not at all.
async fn two_at_once(k: u8, n: u8, first: bool, later: Duration) -> (bool, bool) {
    let when = format!("{k} of {n}, first {first}, {later:?} later");
    let lab = Lab::new(k, n).await;
    let (old, one, other) = (
        WayKey::generate().unwrap(),
        WayKey::generate().unwrap(),
        WayKey::generate().unwrap(),
    );
    if !first {
        add(&lab.start().await, "old", &old).await.unwrap();
    }
    let (left, right) = (lab.start().await, lab.start().await);
    for (place, faults) in (0..).zip(&lab.faults) {
        // Each reaches the servers in an order of its own.
        faults.set_delay(Duration::from_millis(3 + place));
    }
    let (done, also) = tokio::join!(add(&left, "one", &one), async {
        tokio::time::sleep(later).await;
        add(&right, "other", &other).await
    });
    lab.heal();
    for (done, key) in [(&done, &one), (&also, &other)] {
        match done {
            Ok(done) => assert!(opens_by(&lab, done.number.0, key).await, "{when}"),
            Err(error) => assert!(
                matches!(
                    error,
                    WaysError::Overtaken { .. }
                        | WaysError::TooFewServers { .. }
                        | WaysError::Unknown { .. }
                ),
                "{when}: {error}"
            ),
        }
    }
    for (name, lost, won) in [("one", &done, &also), ("other", &also, &done)] {
        let taken_over = matches!(lost, Err(WaysError::Overtaken { taken_over: true }));
        if taken_over && won.is_ok() {
            let ways = lab.start().await.ways().await;
            assert!(ways.find(name).is_some(), "{when}: {name} was taken over");
        }
    }
    match knock(&lab).await {
        Door::Open(_) => assert!(first && done.is_err() && also.is_err(), "{when}"),
        Door::Barred(..) => assert!(!first || done.is_ok() || also.is_ok(), "{when}"),
        Door::Shut => panic!("{when}: nobody gets in"),
    }
    if !first {
        assert!(opens_by(&lab, 1, &old).await, "{when}");
    }
    // Whoever did not get through makes it again.
    let vault = lab.start().await;
    for (name, done, key) in [("one", &done, &one), ("other", &also, &other)] {
        if done.is_err() {
            match add(&vault, name, key).await {
                Ok(again) => assert!(opens_by(&lab, again.number.0, key).await, "{when}"),
                // The other one has gone on with it.
                Err(WaysError::Taken { .. }) => {
                    let status = vault.ways().await;
                    let id = status.find(name).unwrap().id().0;
                    assert!(opens_by(&lab, id, key).await, "{when}");
                }
                Err(error) => panic!("{when}: {error}"),
            }
        }
    }
    let status = vault.ways().await;
    assert_eq!(status.ways.len(), if first { 2 } else { 3 }, "{when}");
    assert_no_pieces(&lab, &when).await;
    (done.is_ok(), also.is_ok())
}

#[test]
fn p3_two_who_change_the_ways_at_once_never_shut_the_vault() {
    let (mut both, mut one, mut none) = (0, 0, 0);
    for (k, n) in [(1, 3), (2, 3), (3, 3), (4, 5)] {
        for first in [true, false] {
            for later in 0..80 {
                let later = Duration::from_millis(later * 2);
                match live(two_at_once(k, n, first, later)) {
                    (true, true) => both += 1,
                    (false, false) => none += 1,
                    _ => one += 1,
                }
            }
        }
    }
    assert!(both > 0 && one > 0, "{both}, {one}, {none}");
}

/// Somebody else has seen the change on enough servers, and made theirs on top of it, before the one who made it has looked: their secrets count.
#[test]
fn p3_a_change_that_somebody_else_took_over_is_not_called_worthless() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let (old, one, other) = (
            WayKey::generate().unwrap(),
            WayKey::generate().unwrap(),
            WayKey::generate().unwrap(),
        );
        add(&lab.start().await, "old", &old).await.unwrap();
        // The one has lines of its own, which are slow from when it has put what it has to put. The last part is on its way when they become so.
        let (mut seats, mut lines) = (lab.seats(), Vec::new());
        for ((seat, server), delay) in seats.iter_mut().zip(&lab.servers).zip([3, 3, 60]) {
            let (store, line) = FaultyStore::new(&lab.world, 9, Arc::new(server.clone()));
            line.set_delay(Duration::from_millis(delay));
            seat.store = store;
            lines.push(line);
        }
        let (left, right) = (
            lab.start_on(seats, lab.options.clone()).await.unwrap(),
            lab.start().await,
        );
        let has_it = |server: &MemoryStore| pieces(server).contains(&"ways-00000002".into());
        let (lost, won) = tokio::join!(add(&left, "one", &one), async {
            let wait = Duration::from_millis(1);
            while !lab.servers[..2].iter().all(has_it) {
                tokio::time::sleep(wait).await;
            }
            let slow = Duration::from_secs(2);
            lines.iter().for_each(|line| line.set_delay(slow));
            while !has_it(&lab.servers[2]) {
                tokio::time::sleep(wait).await;
            }
            add(&right, "other", &other).await
        });
        won.unwrap();
        let lost = lost.unwrap_err();
        assert!(
            matches!(lost, WaysError::Overtaken { taken_over: true }),
            "{lost:?}"
        );
        for (id, key) in [(1, &old), (2, &one), (3, &other)] {
            assert!(opens_by(&lab, id, key).await, "{id}");
        }
    });
}

/// Each of the two reaches another majority, and the later one sees a part of the earlier change of which it cannot tell whether it counts: what the
/// earlier one was told to be done stays so.
#[test]
fn p3_a_change_that_was_acknowledged_is_not_undone_from_another_majority() {
    for hangs_at_once in [true, false] {
        live(async {
            let lab = Lab::new(2, 3).await;
            let (old, one, other) = (
                WayKey::generate().unwrap(),
                WayKey::generate().unwrap(),
                WayKey::generate().unwrap(),
            );
            add(&lab.start().await, "old", &old).await.unwrap();
            let left = lab.start().await;
            lab.faults[0].set_delay(Duration::from_millis(3));
            lab.faults[1].set_delay(Duration::from_millis(60));
            lab.faults[2].set(State::Gone);
            let (mut seats, mut lines) = (lab.seats(), Vec::new());
            for (seat, server) in seats.iter_mut().zip(&lab.servers) {
                let (store, line) = FaultyStore::new(&lab.world, 9, Arc::new(server.clone()));
                seat.store = store;
                lines.push(line);
            }
            let right = lab.start_on(seats, lab.options.clone()).await.unwrap();
            let (done, later) = tokio::join!(add(&left, "one", &one), async {
                while !pieces(&lab.servers[0]).contains(&"ways-00000002".into()) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                if hangs_at_once {
                    lines[1].set(State::Hung);
                } else {
                    // It has nothing yet when it is looked at, and it has when nobody can look any more.
                    lines[1].plan(Method::Put, 1, Trouble::Hangs);
                    lines[1].plan(Method::List, 2, Trouble::Hangs);
                    lines[2].set_delay(Duration::from_secs(2));
                }
                add(&right, "other", &other).await
            });
            let done = done.unwrap();
            let later = later.unwrap_err();
            assert!(
                matches!(
                    later,
                    WaysError::Unknown { .. } | WaysError::Overtaken { taken_over: false }
                ),
                "{later}"
            );
            lab.heal();
            assert!(opens_by(&lab, done.number.0, &one).await, "{later}");
            // When all are there, it is made again, on top of the other one.
            let again = add(&lab.start().await, "other", &other).await.unwrap();
            assert!(opens_by(&lab, again.number.0, &other).await);
            assert!(opens_by(&lab, done.number.0, &one).await);
        });
    }
}

/// Somebody adds the first way while somebody else, who opened the vault before, refreshes: wherever the one comes into the other, no
/// piece of the key is left.
#[test]
fn p3_a_first_way_beside_a_refresh_leaves_no_piece_of_the_key() {
    let (mut before, mut after, mut refused) = (0, 0, 0);
    for later in 0..90 {
        for refresh_first in [true, false] {
            live(async {
                let when = format!("{later} ms, the refresh first: {refresh_first}");
                let lab = Lab::new(2, 3).await;
                let key = WayKey::generate().unwrap();
                let (adds, refreshes) = (lab.start().await, lab.start().await);
                put(&adds, "f", &noise(1, 5000)).await.unwrap();
                adds.sync().await.unwrap();
                for faults in &lab.faults {
                    faults.set_delay(Duration::from_millis(3));
                }
                let pause = |is_later: bool| {
                    tokio::time::sleep(Duration::from_millis(if is_later { later } else { 0 }))
                };
                let (added, refreshed) = tokio::join!(
                    async {
                        pause(refresh_first).await;
                        add(&adds, "one", &key).await
                    },
                    async {
                        pause(!refresh_first).await;
                        try_refresh(&refreshes).await
                    }
                );
                lab.heal();
                let id = match &added {
                    Ok(done) => done.number.0,
                    Err(WaysError::Overtaken { .. } | WaysError::TooFewServers { .. }) => {
                        refused += 1;
                        add(&lab.start().await, "one", &key).await.unwrap().number.0
                    }
                    Err(error) => panic!("{when}: {error}"),
                };
                match &refreshed {
                    Ok(_) if generations(&lab).await.ended.is_some() => before += 1,
                    Ok(_) => after += 1,
                    Err(VaultError::Overtaken | VaultError::NotStored { .. }) => refused += 1,
                    Err(error) => panic!("{when}: {error}"),
                }
                assert_no_pieces(&lab, &when).await;
                assert!(opens_by(&lab, id, &key).await, "{when}");
                let report = refresh(&lab.start().await).await;
                assert!(report.status.is_complete(), "{when}: {report:?}");
                assert_no_pieces(&lab, &when).await;
                assert!(opens_by(&lab, id, &key).await, "{when}");
            });
        }
    }
    assert!(before > 0, "{before}, {after}, {refused}");
}

/// A server that says that it has kept its part, and has not, does not count; nothing of before is given up on its word.
#[test]
fn p4_what_servers_say_to_have_kept_is_looked_at_before_anything_is_taken_away() {
    for lie in [Lie::ForgetsWrites, Lie::KeepsParts] {
        live(async {
            let lab = Lab::new(2, 3).await;
            let vault = lab.start().await;
            let (old, new) = (WayKey::generate().unwrap(), WayKey::generate().unwrap());
            add(&vault, "old", &old).await.unwrap();
            for fault in &lab.faults[1..] {
                fault.tell(lie.clone());
            }
            let few = add(&vault, "new", &new).await.unwrap_err();
            assert!(
                matches!(
                    few,
                    WaysError::TooFewServers {
                        needed: 2,
                        got: 1,
                        ..
                    }
                ),
                "{lie:?}: {few}"
            );
            lab.heal();
            assert!(opens_by(&lab, 1, &old).await, "{lie:?}");
            let done = add(&vault, "new", &new).await.unwrap();
            assert!(opens_by(&lab, done.number.0, &new).await);
            assert!(opens_by(&lab, 1, &old).await);
        });
    }
}

/// A write of which no answer came is no reason to take back what others rely on.
#[test]
fn p4_a_change_of_which_answers_are_lost_counts_or_is_taken_back() {
    for (lost, enough) in [(vec![1], true), (vec![1, 2], false)] {
        live(async {
            let lab = Lab::new(2, 3).await;
            let vault = lab.start().await;
            let (old, new) = (WayKey::generate().unwrap(), WayKey::generate().unwrap());
            add(&vault, "old", &old).await.unwrap();
            for place in &lost {
                let fault = &lab.faults[*place];
                fault.plan(Method::Put, 1, Trouble::LostReply);
            }
            let done = add(&vault, "new", &new).await;
            assert_eq!(done.is_ok(), enough, "{done:?}");
            assert!(opens_by(&lab, 1, &old).await);
            if let Err(error) = done {
                assert!(matches!(error, WaysError::TooFewServers { .. }), "{error}");
                for server in &lab.servers {
                    assert_eq!(pieces(server), ["vault-00000001", "ways-00000001"]);
                }
            }
        });
    }
}

/// The client's network goes when every server has its part, and before anybody has looked at it: then nobody can say that nothing was changed.
#[test]
fn p10_a_change_that_counts_and_of_which_nobody_can_tell_is_not_called_undone() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        let (old, new) = (WayKey::generate().unwrap(), WayKey::generate().unwrap());
        add(&vault, "old", &old).await.unwrap();
        // The last one's part is on its way when the line goes.
        for (fault, delay) in lab.faults.iter().zip([3, 3, 60]) {
            fault.set_delay(Duration::from_millis(delay));
        }
        let has_it = |place: usize| pieces(&lab.servers[place]).contains(&"ways-00000002".into());
        let (done, ()) = tokio::join!(add(&vault, "new", &new), async {
            while !(has_it(0) && has_it(1)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            lab.faults.iter().for_each(|fault| fault.set(State::Gone));
        });
        let Err(WaysError::Unsure { number, faults }) = done else {
            panic!("{done:?}");
        };
        assert_eq!((number.0, faults.len()), (2, 3));
        lab.heal();
        assert!(opens_by(&lab, 2, &new).await);
        let vault = lab.start().await;
        // With the way taken back from one, and one that says nothing, fewer than enough may have it.
        lab.faults[1].set_delay(Duration::from_millis(60));
        lab.faults[2].plan(Method::Put, 1, Trouble::Refused(StoreErrorKind::Full));
        let has_it = |place: usize| pieces(&lab.servers[place]).contains(&"ways-00000003".into());
        let (done, ()) = tokio::join!(add(&vault, "third", &new), async {
            while !has_it(0) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            lab.faults[1].set(State::Gone);
        });
        let error = done.unwrap_err();
        assert!(matches!(error, WaysError::TooFewServers { .. }), "{error}");
        lab.heal();
        assert!(!opens_by(&lab, 3, &new).await && opens_by(&lab, 2, &new).await);
    });
}

/// So many were away that they open the vault by what was taken out: a change does not keep that to itself.
#[test]
fn p3_a_change_says_when_what_was_taken_out_still_opens_the_vault() {
    live(async {
        let lab = Lab::new(2, 5).await;
        let (old, new) = (WayKey::generate().unwrap(), WayKey::generate().unwrap());
        // The servers alone opened it before, and three that took part leave no two that have pieces yet.
        lab.faults[4].set(State::Gone);
        let first = add(&lab.start().await, "old", &old).await.unwrap();
        assert!(!first.old_opens);
        lab.heal();
        let vault = lab.start().await;
        vault.mend_ways().await;
        for place in [3, 4] {
            lab.faults[place].set(State::Gone);
        }
        let added = add(&vault, "new", &new).await.unwrap();
        assert!(!added.old_opens, "nothing was taken out");
        let remove = WaysChange::Remove(vec![WayId(1)]);
        let removed = vault.change_ways(&ctx(), remove).await.unwrap();
        assert!(removed.old_opens);
        lab.heal();
        for place in 0..3 {
            lab.faults[place].set(State::Gone);
        }
        assert!(opens_by(&lab, 1, &old).await, "that is how it is");
        lab.heal();
        let vault = lab.start().await;
        vault.mend_ways().await;
        let rotated = vault.change_ways(&ctx(), WaysChange::Rotate).await.unwrap();
        assert!(!rotated.old_opens);
        // One that keeps its old part alone is too few.
        lab.faults[4].set(State::Gone);
        let open = vault.change_ways(&ctx(), WaysChange::Open).await.unwrap();
        assert!(!open.old_opens);
    });
}

/// That there are ways is known, and not which: nothing is said of servers that suffice.
#[test]
fn p3_what_cannot_be_seen_in_time_is_unknown_and_not_open() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let key = WayKey::generate().unwrap();
        let vault = lab.start().await;
        add(&vault, "one", &key).await.unwrap();
        lab.faults[1].set(State::Hung);
        lab.faults[2].set_delay(Duration::from_secs(5));
        let status = vault.ways().await;
        assert!(
            status.unknown && !status.is_open() && !status.begun,
            "{status:?}"
        );
        lab.heal();
        let status = lab.start().await.ways().await;
        assert!(
            !status.unknown && status.find("one").is_some(),
            "{status:?}"
        );
    });
}

/// A place that has lost everything goes on looking as empty as it is until somebody asks for a repair: whatever else gave it a part of the
/// ways would hide that all its shares are gone.
#[test]
fn p4_a_wiped_server_is_not_given_a_part_unasked() {
    live(async {
        let mut lab = Lab::new(2, 3).await;
        lab.options.upkeep.every = Duration::from_secs(1);
        let files = fill(&lab).await;
        let key = WayKey::generate().unwrap();
        add(&lab.start().await, "one", &key).await.unwrap();
        lab.servers[2].wipe();
        let vault = lab.start().await;
        let told = vault.ways().await;
        let told: Vec<_> = told.faults.iter().map(|f| (&*f.server, f.fault)).collect();
        assert_eq!(told, [("C", Fault::Missing)]);
        assert!(vault.mend_ways().await.is_empty());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        // Nor by a change.
        let done = add(&vault, "two", &key).await.unwrap();
        assert_eq!(done.stored, ["A", "B"]);
        assert!(done.at_the_limit);
        assert!(pieces(&lab.servers[2]).is_empty());
        let status = vault.status(&ctx()).await.unwrap();
        assert_eq!(status.servers[2].state.condition(), Condition::Stopped);
        assert!(opens_by(&lab, 1, &key).await);
        let options = RepairOptions::default();
        let report = vault.repair(&ctx(), &options, &|_| ()).await.unwrap();
        assert_eq!(report.key_pieces, ["C"]);
        assert_eq!(pieces(&lab.servers[2]), pieces(&lab.servers[0]));
        lab.faults[0].set(State::Gone);
        assert!(opens_by(&lab, done.number.0, &key).await);
        lab.heal();
        assert_reads(&vault, &files, "after the repair").await;
        assert_no_pieces(&lab, "after the repair").await;
    });
}

/// A new place for a server gets the part of its seat, also where only k servers have what counts.
#[test]
fn p3_a_new_place_is_given_its_part_of_the_ways() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        let index = |place: u8| ShareIndex::new(place + 1).unwrap();
        assert!(vault.ways_part_for(index(0)).await.unwrap().is_none());
        let key = WayKey::generate().unwrap();
        lab.faults[2].set(State::Gone);
        add(&vault, "one", &key).await.unwrap();
        for place in 0..3 {
            let (name, part) = vault.ways_part_for(index(place)).await.unwrap().unwrap();
            assert_eq!(name.as_str(), "ways-00000001");
            if let Some(there) = lab.servers[usize::from(place)].bytes(&name) {
                assert_eq!(part, there);
            }
        }
        // With one of the two away, that one's part is nowhere.
        lab.faults[0].set(State::Gone);
        let none = vault.ways_part_for(index(0)).await;
        assert!(matches!(none, Err(VaultError::Damaged { .. })), "{none:?}");
    });
}

/// A drive that was mounted before the first way was added refreshes by its schedule: it deals no piece, and changes the bolt.
#[test]
fn p3_the_schedule_of_a_drive_opened_before_the_first_way_deals_no_piece() {
    live(async {
        let mut lab = Lab::new(2, 3).await;
        let files = fill(&lab).await;
        lab.options.upkeep.every = Duration::from_secs(1);
        lab.options.upkeep.refresh_every = Some(Duration::from_secs(7 * 24 * 3600));
        let drive = lab.start().await;
        let long = || tokio::time::sleep(Duration::from_secs(2 * 3600));
        long().await;
        let before = generations(&lab).await;
        assert!(before.ended.is_some(), "{before:?}");
        let key = WayKey::generate().unwrap();
        let mut alone = lab.options.clone();
        alone.upkeep.every = Duration::ZERO;
        let other = lab.start_with(alone).await.unwrap();
        add(&other, "one", &key).await.unwrap();
        lab.pass(Duration::from_secs(8 * 24 * 3600));
        long().await;
        let now = generations(&lab).await;
        assert!(now.wanted > before.wanted && now.ended.is_some(), "{now:?}");
        assert_no_pieces(&lab, "after the schedule").await;
        assert!(opens_by(&lab, 1, &key).await);
        let status = other.ways().await;
        assert!(status.faults.is_empty(), "{status:?}");
        assert!(status.number.unwrap().0 > 1, "{status:?}");
        assert_reads(&drive, &files, "after the schedule").await;
        // And a server that missed the next change gets its part from the drive.
        lab.faults[1].set(State::Gone);
        other.change_ways(&ctx(), WaysChange::Rotate).await.unwrap();
        lab.heal();
        lab.pass(Duration::from_secs(8 * 24 * 3600));
        long().await;
        assert_eq!(pieces(&lab.servers[1]), pieces(&lab.servers[0]));
        assert!(opens_by(&lab, 1, &key).await);
    });
}

/// In the middle of the first change, when some say that there are ways and others still give pieces, one that hangs is not waited for as long as one may.
#[test]
fn p4_one_that_hangs_does_not_hold_up_the_opening_of_a_half_changed_vault() {
    live(async {
        let lab = Lab::new(2, 3).await;
        let key = WayKey::generate().unwrap();
        let before = lab.servers[1].snapshot();
        lab.faults[2].set(State::Gone);
        add(&lab.start().await, "one", &key).await.unwrap();
        // B has its part already, and its piece still.
        let part = warifu_vault::seam::store::ObjectKey::parse("ways-00000001").unwrap();
        let bytes = lab.servers[1].bytes(&part).unwrap();
        lab.servers[1].roll_back(&before);
        lab.servers[1].replace(&part, bytes);
        lab.heal();
        lab.faults[2].set(State::Hung);
        let begin = tokio::time::Instant::now();
        assert!(opens_by(&lab, 1, &key).await);
        assert!(
            begin.elapsed() < Duration::from_secs(15),
            "{:?}",
            begin.elapsed()
        );
    });
}

//! The in-memory stores keep the contract, and their faults are what they say.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use warifu_testkit::stores::{
    Fate, Faults, FaultyStore, Latency, Lie, MemoryStore, Method, Rates, State, Trouble, contract,
    share_name,
};
use warifu_testkit::world::{Death, World};
use warifu_vault::seam::store::{Durability, ShareStore, StoreErrorKind};

fn faulty(seed: u64) -> (Arc<FaultyStore>, Faults, MemoryStore) {
    let memory = MemoryStore::new();
    let (store, faults) = FaultyStore::new(&World::new(seed), 0, Arc::new(memory.clone()));
    (store, faults, memory)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_store_keeps_the_contract() {
    contract::store(async || Arc::new(MemoryStore::new()) as Arc<dyn ShareStore>).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_faulty_store_without_faults_keeps_the_contract() {
    contract::store(async || faulty(1).0 as Arc<dyn ShareStore>).await;
}

#[tokio::test]
async fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
    let store = MemoryStore::new();
    store
        .put_new(&share_name(1), "now".into(), Durability::Now)
        .await
        .unwrap();
    store
        .put_new(&share_name(2), "synced".into(), Durability::Soon)
        .await
        .unwrap();
    store.sync().await.unwrap();
    store
        .put_new(&share_name(3), "soon".into(), Durability::Soon)
        .await
        .unwrap();
    store.delete(&share_name(1)).await.unwrap();
    let mut left = vec![share_name(1), share_name(2)];
    left.sort();
    store.power_cut();
    assert_eq!(store.names(), left);

    // A name used again is the new object or nothing, never the removed one.
    store.delete(&share_name(2)).await.unwrap();
    store
        .put_new(&share_name(2), "again".into(), Durability::Soon)
        .await
        .unwrap();
    store.power_cut();
    assert_eq!(store.names(), [share_name(1)]);
}

#[tokio::test]
async fn a_power_cut_may_keep_or_tear_what_was_not_synced() {
    let store = MemoryStore::new();
    for number in 1..=3 {
        store
            .put_new(&share_name(number), "share".into(), Durability::Soon)
            .await
            .unwrap();
    }
    store.power_cut_with(|name, _| match name {
        name if *name == share_name(1) => Fate::Kept,
        name if *name == share_name(2) => Fate::Torn(2),
        _ => Fate::Lost,
    });
    assert_eq!(store.bytes(&share_name(1)).unwrap(), "share");
    assert_eq!(&store.bytes(&share_name(2)).unwrap()[..], b"sh\0\0\0");
    assert_eq!(store.bytes(&share_name(3)), None);
}

#[tokio::test]
async fn damage_is_seen_and_a_snapshot_brings_the_past_back() {
    let store = MemoryStore::new();
    let name = share_name(1);
    store
        .put_new(&name, "share".into(), Durability::Now)
        .await
        .unwrap();
    let past = store.snapshot();
    assert!(store.flip(&name, 12));
    assert_ne!(store.bytes(&name).unwrap(), "share");
    assert!(store.truncate(&name, 2));
    assert_eq!(store.stat(&name).await.unwrap().len, 2);
    store.replace(&name, "rubbish");
    assert_eq!(store.get(&name, None).await.unwrap(), "rubbish");
    assert!(store.lose(&name) && !store.lose(&name) && !store.flip(&name, 0));
    store
        .put_new(&share_name(2), "newer".into(), Durability::Now)
        .await
        .unwrap();
    store.roll_back(&past);
    assert_eq!(store.names(), std::slice::from_ref(&name));
    store.wipe();
    assert!(store.names().is_empty());
    assert_eq!((store.calls(Method::Put), store.calls(Method::Get)), (2, 1));
}

#[tokio::test]
async fn a_full_memory_store_says_so() {
    let store = MemoryStore::new();
    store.set_capacity(Some(8));
    store
        .put_new(&share_name(1), "12345".into(), Durability::Soon)
        .await
        .unwrap();
    let error = store
        .put_new(&share_name(2), "12345".into(), Durability::Soon)
        .await
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Full);
    assert_eq!(store.space().await.unwrap().free, Some(3));
}

#[tokio::test(start_paused = true)]
async fn each_state_answers_as_it_should_and_healing_ends_it() {
    let (store, faults, memory) = faulty(1);
    let name = share_name(1);
    store
        .put_new(&name, "share".into(), Durability::Now)
        .await
        .unwrap();
    for (state, read, written) in [
        (
            State::Gone,
            Some(StoreErrorKind::NoAnswer),
            Some(StoreErrorKind::NoAnswer),
        ),
        (
            State::Failing,
            Some(StoreErrorKind::Failed),
            Some(StoreErrorKind::Failed),
        ),
        (State::Full, None, Some(StoreErrorKind::Full)),
        (State::ReadOnly, None, Some(StoreErrorKind::Denied)),
    ] {
        faults.set(state);
        assert_eq!(
            store.get(&name, None).await.err().map(|error| error.kind),
            read,
            "{state:?}"
        );
        let put = store
            .put_new(&share_name(2), "x".into(), Durability::Now)
            .await;
        assert_eq!(put.err().map(|error| error.kind), written, "{state:?}");
    }
    faults.set(State::Hung);
    let hung = tokio::time::timeout(Duration::from_secs(3_600), store.get(&name, None)).await;
    assert!(hung.is_err(), "a hung server never answers");
    faults.heal();
    assert_eq!(store.get(&name, None).await.unwrap(), "share");
    assert_eq!(memory.names(), [name], "refused writes have no effect");
}

#[tokio::test(start_paused = true)]
async fn planned_trouble_strikes_the_call_it_was_planned_for() {
    let (store, faults, memory) = faulty(1);
    for number in 0..2 {
        store
            .put_new(&share_name(number), "share".into(), Durability::Now)
            .await
            .unwrap();
    }
    faults.plan(Method::Put, 2, Trouble::LostReply);
    faults.plan(Method::Get, 1, Trouble::Refused(StoreErrorKind::NotFound));
    faults.plan(Method::Get, 3, Trouble::Late(Duration::from_secs(5)));
    store
        .put_new(&share_name(2), "share".into(), Durability::Now)
        .await
        .unwrap();
    let lost = store
        .put_new(&share_name(3), "share".into(), Durability::Now)
        .await
        .unwrap_err();
    assert_eq!(lost.kind, StoreErrorKind::NoAnswer);
    assert_eq!(memory.names().len(), 4, "it took effect");
    assert_eq!(
        store.get(&share_name(0), None).await.unwrap_err().kind,
        StoreErrorKind::NotFound
    );
    store.get(&share_name(0), None).await.unwrap();
    let before = tokio::time::Instant::now();
    store.get(&share_name(0), None).await.unwrap();
    assert_eq!(before.elapsed(), Duration::from_secs(5));
    assert_eq!(faults.calls(Method::Get), 3);
}

#[tokio::test]
async fn every_lie_shows() {
    let (store, faults, memory) = faulty(1);
    for number in 0..5 {
        store
            .put_new(&share_name(number), "share".into(), Durability::Soon)
            .await
            .unwrap();
    }
    let listed = async || store.list(None, 10).await.unwrap().objects.len();

    faults.tell(Lie::FlipsBits);
    let read = store.get(&share_name(1), None).await.unwrap();
    assert!(read != "share" && read.len() == 5);
    faults.heal();
    faults.tell(Lie::CutsOff);
    assert!(store.get(&share_name(1), None).await.unwrap().len() < 5);
    faults.heal();
    faults.tell(Lie::ListsNothing);
    assert_eq!(listed().await, 0);
    faults.heal();
    faults.tell(Lie::ListsWithout(BTreeSet::from([share_name(1)])));
    assert_eq!(listed().await, 4);
    faults.heal();
    faults.tell(Lie::ListsAlso(BTreeSet::from([
        share_name(1),
        share_name(77),
    ])));
    assert_eq!(listed().await, 6);
    faults.heal();
    faults.tell(Lie::SkipsSync);
    store.sync().await.unwrap();
    faults.tell(Lie::ForgetsWrites);
    store
        .put_new(&share_name(9), "share".into(), Durability::Now)
        .await
        .unwrap();
    assert_eq!(
        store.get(&share_name(9), None).await.unwrap_err().kind,
        StoreErrorKind::NotFound
    );
    memory.power_cut();
    assert!(memory.names().is_empty(), "the sync was none");
}

#[tokio::test]
async fn a_lying_listing_repeats_reorders_and_never_ends() {
    let (store, faults, memory) = faulty(1);
    for number in 0..5 {
        let name = share_name(number);
        store
            .put_new(&name, "share".into(), Durability::Soon)
            .await
            .unwrap();
    }
    let listed = async |after: usize| {
        let after = memory.names()[after].clone();
        let page = store.list(Some(&after), 10).await.unwrap();
        let names: Vec<_> = page.objects.into_iter().map(|(name, _)| name).collect();
        (names, page.more)
    };
    let all = memory.names();
    faults.tell(Lie::ListsTwice);
    let twice: Vec<_> = all[3..]
        .iter()
        .flat_map(|n| [n.clone(), n.clone()])
        .collect();
    assert_eq!(listed(2).await, (twice, false));
    faults.heal();
    faults.tell(Lie::ListsInCircles);
    assert_eq!(listed(4).await, (all.clone(), true));
    faults.heal();
    faults.tell(Lie::ListsBackwards);
    assert_eq!(
        listed(2).await,
        (vec![all[4].clone(), all[3].clone()], false)
    );
    faults.heal();
    assert_eq!(listed(2).await, (all[3..].to_vec(), false));
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_is_slow_as_its_latency_says() {
    let (store, faults, _) = faulty(1);
    let millis = Duration::from_millis;
    faults.set_latency(Latency {
        least: millis(5),
        most: millis(15),
        tail_percent: 10,
        tail: Duration::from_secs(10),
    });
    let mut took = Vec::new();
    for _ in 0..1_000 {
        let begin = tokio::time::Instant::now();
        store.space().await.unwrap();
        took.push(begin.elapsed());
    }
    let tail = took.iter().filter(|t| **t >= millis(10_000)).count();
    assert!(
        (60..140).contains(&tail),
        "{tail} of a thousand in the tail"
    );
    let usual: Vec<_> = took.iter().filter(|t| **t < millis(10_000)).collect();
    // The clock of a runtime counts whole milliseconds.
    assert!(usual.iter().all(|t| (millis(5)..=millis(17)).contains(*t)));
    let quick = usual.iter().filter(|t| ***t < millis(10)).count();
    assert!((300..600).contains(&quick), "{quick} in the lower half");
}

#[tokio::test(start_paused = true)]
async fn a_flapping_server_comes_and_goes() {
    let (store, faults, _) = faulty(1);
    let (up, down) = (Duration::from_secs(3), Duration::from_secs(2));
    faults.set(State::Flapping { up, down });
    let mut there = Vec::new();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        there.push(store.space().await.is_ok());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let round = [true, true, true, false, false];
    assert_eq!(there, [round, round].concat());
}

#[tokio::test(start_paused = true)]
async fn a_late_reply_comes_after_the_effect() {
    let (store, faults, memory) = faulty(1);
    faults.plan(Method::Put, 1, Trouble::LateReply(Duration::from_secs(60)));
    let (name, second) = (share_name(1), Duration::from_secs(1));
    let put = store.put_new(&name, "share".into(), Durability::Now);
    tokio::pin!(put);
    assert!(tokio::time::timeout(second, &mut put).await.is_err());
    assert_eq!(memory.bytes(&name).unwrap(), "share");
    let begin = tokio::time::Instant::now();
    put.await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(58));
}

#[tokio::test]
async fn a_write_cut_off_leaves_a_part_under_the_name() {
    let (store, faults, memory) = faulty(1);
    let name = share_name(1);
    faults.plan(Method::Put, 1, Trouble::PartialWrite);
    let error = store
        .put_new(&name, "a share".into(), Durability::Now)
        .await
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoAnswer);
    let part = memory.bytes(&name).unwrap();
    assert!(part.len() < 7 && "a share".as_bytes().starts_with(&part));
    let again = store
        .put_new(&name, "a share".into(), Durability::Now)
        .await;
    assert_eq!(again.unwrap_err().kind, StoreErrorKind::AlreadyExists);

    faults.tell(Lie::KeepsParts);
    let name = share_name(2);
    store
        .put_new(&name, "a share".into(), Durability::Now)
        .await
        .unwrap();
    assert!(memory.bytes(&name).unwrap().len() < 7);
}

#[tokio::test]
async fn a_server_set_back_lacks_what_was_written_and_has_what_was_removed() {
    let (store, faults, memory) = faulty(1);
    let put = async |number: u64| {
        store
            .put_new(&share_name(number), "share".into(), Durability::Soon)
            .await
    };
    put(1).await.unwrap();
    put(2).await.unwrap();
    let before = memory.names();
    let mark = faults.mark();
    put(3).await.unwrap();
    store.delete(&share_name(1)).await.unwrap();
    // Written and removed since: never heard of.
    put(4).await.unwrap();
    store.delete(&share_name(4)).await.unwrap();
    faults.set(State::Gone);
    put(5).await.unwrap_err();
    store.roll_back(mark).await;
    assert_eq!(memory.names(), before);
    assert_eq!(memory.bytes(&share_name(1)).unwrap(), "share");
    memory.power_cut();
    assert_eq!(memory.names(), before, "the old copy is on disk");
    store.roll_back(mark).await;
    assert_eq!(memory.names(), before, "nothing happened since");
}

#[tokio::test(start_paused = true)]
async fn a_hang_by_chance_never_answers_and_has_no_effect() {
    let (store, faults, memory) = faulty(1);
    faults.set_rates(Rates {
        hangs: 100,
        ..Rates::default()
    });
    let name = share_name(1);
    let put = store.put_new(&name, "share".into(), Durability::Now);
    let hour = Duration::from_secs(3_600);
    assert!(tokio::time::timeout(hour, put).await.is_err());
    assert!(memory.names().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_the_same_faults_again() {
    async fn world(seed: u64) -> Vec<Option<StoreErrorKind>> {
        let (store, faults, _) = faulty(seed);
        faults.set_rates(Rates {
            no_answer: 10,
            lost_reply: 10,
            partial_write: 10,
            failed: 10,
            full: 10,
            flipped_bit: 10,
            cut_off: 10,
            late: 10,
            late_reply: 10,
            hangs: 0,
        });
        let mut seen = Vec::new();
        for number in 0..200 {
            let put = store
                .put_new(&share_name(number), "share".into(), Durability::Soon)
                .await;
            seen.push(put.err().map(|error| error.kind));
            let got = store.get(&share_name(number), None).await;
            seen.push(got.err().map(|error| error.kind));
        }
        seen
    }
    let first = world(42).await;
    assert_eq!(first, world(42).await);
    assert_ne!(first, world(43).await);
    for kind in [
        StoreErrorKind::NoAnswer,
        StoreErrorKind::Failed,
        StoreErrorKind::Full,
    ] {
        assert!(first.contains(&Some(kind)), "{kind:?}");
    }
}

#[tokio::test]
async fn a_client_dies_once_for_all_its_servers() {
    let world = World::new(1);
    let memories = [MemoryStore::new(), MemoryStore::new()];
    let stores: Vec<_> = (0..)
        .zip(&memories)
        .map(|(label, memory)| FaultyStore::new(&world, label, Arc::new(memory.clone())).0)
        .collect();
    world.die(Death::After(3));
    let client = async {
        for number in 0..9 {
            for store in &stores {
                store
                    .put_new(&share_name(number), "share".into(), Durability::Now)
                    .await
                    .unwrap();
            }
        }
    };
    tokio::select! { () = client => panic!("the client should have died"), () = world.dead() => {} }
    assert_eq!(
        (memories[0].names().len(), memories[1].names().len()),
        (2, 1)
    );
    world.revive();
    stores[0].get(&share_name(0), None).await.unwrap();
    assert_eq!(world.calls(), 1);
}

//! The contract of [`ShareStore`], as checks that every implementation passes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use warifu_core::ids::Generation;
use warifu_vault::seam::store::{
    Durability, ObjectKey, Page, ShareStore, StoreError, StoreErrorKind,
};

use super::share_name;

/// Runs every check, each on a fresh, empty store that `make` returns. Needs a runtime with time.
///
/// # Panics
/// When the store breaks the contract.
pub async fn store(make: impl AsyncFn() -> Arc<dyn ShareStore>) {
    objects_come_back_whole(&*make().await).await;
    ranges_are_exact(&*make().await).await;
    what_is_absent_is_said_to_be(&*make().await).await;
    nothing_is_ever_replaced(&*make().await).await;
    removed_names_are_free_again(&*make().await).await;
    many_in_one_turn_are_as_each_by_itself(&*make().await).await;
    vault_objects_are_objects(&*make().await).await;
    an_empty_store_lists_nothing(&*make().await).await;
    pages_of_any_size_make_the_whole_listing(&*make().await).await;
    a_listing_goes_on_after_names_that_are_gone(&*make().await).await;
    sync_may_be_called_at_any_time(make().await).await;
    one_of_many_writers_wins(make().await).await;
    many_tasks_at_once_do_not_mix(make().await).await;
    readers_see_all_or_nothing(make().await).await;
    a_dropped_write_is_all_or_nothing(make().await).await;
    room_is_told_sensibly(&*make().await).await;
}

/// Bytes that differ for each seed, so that mixed-up objects are noticed.
fn bytes(len: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 8).to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

fn vault_name(generation: u32) -> ObjectKey {
    ObjectKey::vault_object(Generation(generation))
}

#[track_caller]
fn expect_kind<T: std::fmt::Debug>(
    result: Result<T, StoreError>,
    kind: StoreErrorKind,
    what: &str,
) {
    match result {
        Err(error) => {
            assert_eq!(error.kind, kind, "{what}: {error}");
            assert!(
                !error.to_string().is_empty(),
                "{what}: an error says what is wrong"
            );
        }
        Ok(value) => panic!("{what}: expected {kind:?}, got {value:?}"),
    }
}

async fn put(store: &dyn ShareStore, name: &ObjectKey, object: Bytes) {
    store
        .put_new(name, object, Durability::Soon)
        .await
        .expect("a fresh name can be written");
}

async fn objects_come_back_whole(store: &dyn ShareStore) {
    let sizes = [
        0,
        1,
        191,
        192,
        4_095,
        4_096,
        65_536 + 16,
        1 << 20,
        (4 << 20) + 1_232,
    ];
    for (number, len) in (0..).zip(sizes) {
        let durability = if number % 2 == 0 {
            Durability::Now
        } else {
            Durability::Soon
        };
        store
            .put_new(&share_name(number), bytes(len, number), durability)
            .await
            .expect("a fresh name can be written");
    }
    for (number, len) in (0..).zip(sizes) {
        let name = share_name(number);
        assert_eq!(
            store
                .get(&name, None)
                .await
                .expect("what was written is read"),
            bytes(len, number),
            "{len} bytes"
        );
        assert_eq!(
            store
                .stat(&name)
                .await
                .expect("what was written is there")
                .len,
            len as u64
        );
    }
}

/// A store may refuse to take many in one turn. Then it does nothing.
async fn many_in_one_turn_are_as_each_by_itself(store: &dyn ShareStore) {
    let objects: Vec<_> = (0..5).map(|n| (share_name(n), bytes(3_000, n))).collect();
    let names: Vec<_> = (0..7).map(share_name).collect();
    let taken = share_name(3);
    put(store, &taken, bytes(10, 77)).await;
    let Some(answers) = store.put_many(&objects).await else {
        let listed = store.list(None, 10).await.expect("it lists");
        assert_eq!(listed.objects.len(), 1, "refused, and something was done");
        assert!(store.delete_many(&names).await.is_none());
        let kept = store.stat(&taken).await.expect("nothing was removed");
        return assert_eq!(kept.len, 10);
    };
    assert_eq!(answers.len(), objects.len());
    let put = objects.iter().zip(answers);
    for (number, ((name, object), answer)) in put.enumerate() {
        let found = store.get(name, None).await.expect("it is there");
        if number == 3 {
            expect_kind(
                answer,
                StoreErrorKind::AlreadyExists,
                "a name that is taken",
            );
            assert_eq!(found, bytes(10, 77), "replaced");
        } else {
            answer.expect("a fresh name can be written");
            assert_eq!(&found, object);
        }
    }
    store.sync().await.expect("what was put can be made safe");
    let answers = store.delete_many(&names).await;
    let answers = answers.expect("who takes many removes many");
    assert_eq!(answers.len(), names.len());
    for (number, answer) in answers.into_iter().enumerate() {
        if number < 5 {
            answer.expect("what is there can be removed");
        } else {
            expect_kind(answer, StoreErrorKind::NotFound, "a name that is free");
        }
    }
    let listed = store.list(None, 10).await.expect("it lists");
    assert!(listed.objects.is_empty(), "something is left");
}

async fn ranges_are_exact(store: &dyn ShareStore) {
    let name = share_name(1);
    let object = bytes(100_000, 1);
    put(store, &name, object.clone()).await;
    for (from, to) in [
        (0, 100_000),
        (0, 1),
        (99_999, 100_000),
        (192, 65_744),
        (4_095, 4_097),
        (0, 0),
        (100_000, 100_000),
        (5, 5),
    ] {
        let got = store
            .get(&name, Some(from..to))
            .await
            .expect("a range within the object is read");
        assert_eq!(
            got,
            object.slice(from as usize..to as usize),
            "{from}..{to}"
        );
    }
    for (from, to) in [
        (0, 100_001),
        (100_001, 100_001),
        (99_999, 100_001),
        (u64::MAX, u64::MAX),
        (0, u64::MAX),
    ] {
        expect_kind(
            store.get(&name, Some(from..to)).await,
            StoreErrorKind::OutOfRange,
            "a range beyond the object",
        );
    }
    let backwards = std::ops::Range { start: 9, end: 3 };
    expect_kind(
        store.get(&name, Some(backwards)).await,
        StoreErrorKind::OutOfRange,
        "a range that ends before it begins",
    );
}

async fn what_is_absent_is_said_to_be(store: &dyn ShareStore) {
    put(store, &share_name(1), bytes(10, 1)).await;
    for name in [share_name(2), vault_name(1)] {
        expect_kind(
            store.get(&name, None).await,
            StoreErrorKind::NotFound,
            "get of an absent object",
        );
        expect_kind(
            store.get(&name, Some(0..1)).await,
            StoreErrorKind::NotFound,
            "get of a range of an absent object",
        );
        expect_kind(
            store.stat(&name).await,
            StoreErrorKind::NotFound,
            "stat of an absent object",
        );
        expect_kind(
            store.delete(&name).await,
            StoreErrorKind::NotFound,
            "delete of an absent object",
        );
    }
}

async fn nothing_is_ever_replaced(store: &dyn ShareStore) {
    for (number, durability) in [(1, Durability::Now), (2, Durability::Soon)] {
        let name = share_name(number);
        let first = bytes(5_000, number);
        store
            .put_new(&name, first.clone(), durability)
            .await
            .expect("a fresh name can be written");
        for second in [first.clone(), bytes(5_000, 99), bytes(3, 99), Bytes::new()] {
            for durability in [Durability::Now, Durability::Soon] {
                let again = store.put_new(&name, second.clone(), durability).await;
                expect_kind(again, StoreErrorKind::AlreadyExists, "a second write");
            }
        }
        assert_eq!(
            store
                .get(&name, None)
                .await
                .expect("the first is still there"),
            first
        );
    }
    assert_eq!(
        whole_listing(store, 100).await.objects.len(),
        2,
        "a refused write leaves nothing"
    );
}

async fn removed_names_are_free_again(store: &dyn ShareStore) {
    let name = share_name(1);
    put(store, &name, bytes(10, 1)).await;
    put(store, &share_name(2), bytes(10, 2)).await;
    store
        .delete(&name)
        .await
        .expect("what is there can be removed");
    expect_kind(
        store.get(&name, None).await,
        StoreErrorKind::NotFound,
        "get of a removed object",
    );
    expect_kind(
        store.delete(&name).await,
        StoreErrorKind::NotFound,
        "a second removal",
    );
    store
        .sync()
        .await
        .expect("a removed object does not hinder a sync");
    put(store, &name, bytes(20, 3)).await;
    assert_eq!(
        store.get(&name, None).await.expect("the new one is read"),
        bytes(20, 3)
    );
    assert_eq!(
        store
            .get(&share_name(2), None)
            .await
            .expect("others are not touched"),
        bytes(10, 2)
    );
}

async fn vault_objects_are_objects(store: &dyn ShareStore) {
    let (one, two) = (vault_name(1), vault_name(0xFFFF_FFFF));
    store
        .put_new(&one, bytes(160, 1), Durability::Now)
        .await
        .expect("a vault object can be written");
    put(store, &two, bytes(160, 2)).await;
    put(store, &share_name(3), bytes(10, 3)).await;
    expect_kind(
        store.put_new(&one, bytes(160, 9), Durability::Now).await,
        StoreErrorKind::AlreadyExists,
        "a second one",
    );
    assert_eq!(
        store.get(&one, Some(0..7)).await.expect("it is read"),
        bytes(160, 1).slice(..7)
    );
    assert_eq!(store.stat(&two).await.expect("it is there").len, 160);
    let listed: Vec<_> = whole_listing(store, 1)
        .await
        .objects
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(listed, [share_name(3), one.clone(), two.clone()]);
    store.delete(&two).await.expect("it can be removed");
    assert_eq!(whole_listing(store, 10).await.objects.len(), 2);
}

async fn an_empty_store_lists_nothing(store: &dyn ShareStore) {
    for after in [None, Some(share_name(1)), Some(vault_name(1))] {
        let page = store
            .list(after.as_ref(), 10)
            .await
            .expect("an empty store can be listed");
        assert!(
            page.objects.is_empty() && !page.more && page.foreign == 0,
            "{page:?}"
        );
    }
}

/// Lists everything in pages of at most `limit`.
async fn whole_listing(store: &dyn ShareStore, limit: usize) -> Page {
    let mut whole = Page::default();
    let mut pages = 0;
    loop {
        let after = whole.objects.last().map(|(name, _)| name.clone());
        let page = store
            .list(after.as_ref(), limit)
            .await
            .expect("a store can be listed");
        assert!(page.objects.len() <= limit, "a page keeps to its limit");
        assert!(
            page.objects
                .is_sorted_by(|(one, _), (other, _)| one < other),
            "a page ascends"
        );
        if let (Some(after), Some((first, _))) = (&after, page.objects.first()) {
            assert!(first > after, "a page begins after the name given");
        }
        assert!(
            !page.more || !page.objects.is_empty(),
            "a page that promises more gets on"
        );
        whole.objects.extend(page.objects);
        whole.foreign += page.foreign;
        pages += 1;
        assert!(pages <= 10_000, "a listing ends");
        if !page.more {
            return whole;
        }
    }
}

async fn pages_of_any_size_make_the_whole_listing(store: &dyn ShareStore) {
    let mut expected = BTreeSet::new();
    for number in 0..300 {
        let len = (number % 7) as usize;
        put(store, &share_name(number), bytes(len, number)).await;
        expected.insert((share_name(number), len as u64));
    }
    // Several names with the same first digits.
    for number in 0..20_u64 {
        let name = ObjectKey::parse(&format!("ab{number:062x}"))
            .expect("64 lower-case hexadecimal digits");
        put(store, &name, bytes(1, number)).await;
        expected.insert((name, 1));
    }
    put(store, &vault_name(1), bytes(160, 1)).await;
    expected.insert((vault_name(1), 160));
    for limit in [1, 2, 19, 20, 21, 320, 321, 322, usize::MAX] {
        let whole = whole_listing(store, limit).await;
        let listed: Vec<_> = whole
            .objects
            .into_iter()
            .map(|(name, stat)| (name, stat.len))
            .collect();
        assert!(
            listed.iter().eq(expected.iter()),
            "pages of {limit}: {} of {}",
            listed.len(),
            expected.len()
        );
        assert_eq!(whole.foreign, 0, "pages of {limit}");
    }
}

async fn a_listing_goes_on_after_names_that_are_gone(store: &dyn ShareStore) {
    for number in 0..50 {
        put(store, &share_name(number), bytes(1, number)).await;
    }
    let all: Vec<_> = whole_listing(store, 100)
        .await
        .objects
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let page = store.list(None, 10).await.expect("a store can be listed");
    let last = page.objects.last().expect("there are 50").0.clone();
    store
        .delete(&last)
        .await
        .expect("what is there can be removed");
    let next = store
        .list(Some(&last), 100)
        .await
        .expect("a store can be listed");
    let names: Vec<_> = next.objects.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, all[10..]);
    let past_the_end = store
        .list(all.last(), 100)
        .await
        .expect("a store can be listed");
    assert!(past_the_end.objects.is_empty() && !past_the_end.more);
}

async fn sync_may_be_called_at_any_time(store: Arc<dyn ShareStore>) {
    store.sync().await.expect("nothing is synced");
    let mut tasks = JoinSet::new();
    for number in 0..200 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let durability = if number % 5 == 0 {
                Durability::Now
            } else {
                Durability::Soon
            };
            store
                .put_new(&share_name(number), bytes(100, number), durability)
                .await
                .expect("a fresh name can be written");
            if number % 3 == 0 {
                store.sync().await.expect("a sync among writes");
            }
            if number % 7 == 0 {
                store
                    .delete(&share_name(number))
                    .await
                    .expect("what is there can be removed");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no task fails");
    }
    let syncs = tokio::join!(store.sync(), store.sync(), store.sync());
    assert!(syncs.0.is_ok() && syncs.1.is_ok() && syncs.2.is_ok());
    assert_eq!(whole_listing(&*store, 1_000).await.objects.len(), 200 - 29);
}

async fn one_of_many_writers_wins(store: Arc<dyn ShareStore>) {
    for round in 0..20 {
        let name = share_name(round);
        let mut tasks = JoinSet::new();
        for writer in 0..8_u64 {
            let (store, name) = (Arc::clone(&store), name.clone());
            let durability = if writer % 2 == 0 {
                Durability::Now
            } else {
                Durability::Soon
            };
            tasks.spawn(async move {
                (
                    writer,
                    store
                        .put_new(&name, bytes(70_000, writer), durability)
                        .await,
                )
            });
        }
        let mut winners = Vec::new();
        while let Some(done) = tasks.join_next().await {
            match done.expect("no task fails") {
                (writer, Ok(())) => winners.push(writer),
                (_, lost) => expect_kind(lost, StoreErrorKind::AlreadyExists, "a write that lost"),
            }
        }
        assert_eq!(winners.len(), 1, "exactly one writer wins");
        assert_eq!(
            store
                .get(&name, None)
                .await
                .expect("the winner's object is read"),
            bytes(70_000, winners[0])
        );
    }
}

async fn many_tasks_at_once_do_not_mix(store: Arc<dyn ShareStore>) {
    let mut tasks = JoinSet::new();
    for number in 0..100 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let name = share_name(number);
            let object = bytes(20_000 + number as usize, number);
            put(&*store, &name, object.clone()).await;
            assert_eq!(store.get(&name, None).await.expect("it is read"), object);
            assert_eq!(
                store.get(&name, Some(7..9_000)).await.expect("it is read"),
                object.slice(7..9_000)
            );
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no task fails");
    }
}

async fn readers_see_all_or_nothing(store: Arc<dyn ShareStore>) {
    let object = bytes(8 << 20, 1);
    for (number, durability) in [(1, Durability::Now), (2, Durability::Soon)] {
        let name = share_name(number);
        let done = Arc::new(AtomicBool::new(false));
        let reader = tokio::spawn({
            let (store, name, object, done) = (
                Arc::clone(&store),
                name.clone(),
                object.clone(),
                Arc::clone(&done),
            );
            async move {
                loop {
                    let last = done.load(Ordering::SeqCst);
                    match store.get(&name, None).await {
                        Ok(seen) => assert!(
                            seen == object,
                            "a reader saw {} of {} bytes",
                            seen.len(),
                            object.len()
                        ),
                        Err(error) => assert_eq!(error.kind, StoreErrorKind::NotFound, "{error}"),
                    }
                    if last {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            }
        });
        store
            .put_new(&name, object.clone(), durability)
            .await
            .expect("a fresh name can be written");
        assert!(
            store
                .get(&name, None)
                .await
                .expect("after the answer it is seen")
                == object
        );
        done.store(true, Ordering::SeqCst);
        reader.await.expect("no reader sees a part");
    }
}

async fn a_dropped_write_is_all_or_nothing(store: Arc<dyn ShareStore>) {
    for number in 0..30_u64 {
        let name = share_name(number);
        let object = bytes(300_000, number);
        let patience = Duration::from_micros(number * 40);
        let _ = tokio::time::timeout(
            patience,
            store.put_new(&name, object.clone(), Durability::Now),
        )
        .await;
        // It may still be under way; a repetition makes sure of it.
        match store.put_new(&name, object.clone(), Durability::Now).await {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{error}"),
        }
        assert!(store.get(&name, None).await.expect("it is there now") == object);
    }
    assert_eq!(whole_listing(&*store, 7).await.objects.len(), 30);
}

async fn room_is_told_sensibly(store: &dyn ShareStore) {
    let space = store.space().await.expect("the room can be asked for");
    if let (Some(total), Some(free)) = (space.total, space.free) {
        assert!(free <= total, "{free} of {total}");
    }
}

//! What a place is found to be, and which ones are refused.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use tempfile::tempdir;
use warifu_store::{ProbeError, Promises, StoreUrl, Unfit, probe, probe_store};
use warifu_testkit::stores::{Faults, FaultyStore, Lie, MemoryStore, State};
use warifu_testkit::world::World;
use warifu_vault::seam::store::StoreErrorKind;

fn faulty() -> (Arc<FaultyStore>, Faults, MemoryStore) {
    let memory = MemoryStore::new();
    let (store, faults) = FaultyStore::new(&World::new(1), 0, Arc::new(memory.clone()));
    (store, faults, memory)
}

#[tokio::test]
async fn a_folder_is_fit_and_nothing_is_left_in_it() {
    let base = tempdir().unwrap();
    let path = base.path().join("server");
    let store = common::create(&path).await;
    let url = StoreUrl::Directory(path.clone());
    let profile = probe(&url.into()).await.unwrap();
    assert!(
        profile.atomic_put && profile.durable_sync && profile.no_replace,
        "{profile:?}"
    );
    assert!(
        profile.listing_consistent && profile.ranges && profile.space,
        "{profile:?}"
    );
    assert!(profile.clock_skew.unwrap().abs() < 60, "{profile:?}");
    let page = warifu_vault::seam::store::ShareStore::list(&store, None, 10)
        .await
        .unwrap();
    assert!(page.objects.is_empty(), "{page:?}");
    assert_eq!(common::temporary_files(&path), 0);
}

#[tokio::test]
async fn p10_a_place_that_breaks_the_contract_is_refused() {
    let lies = [
        (Lie::FlipsBits, Unfit::Loses),
        (Lie::CutsOff, Unfit::Loses),
        (Lie::ListsNothing, Unfit::ListsTooLittle),
        (Lie::ForgetsWrites, Unfit::Loses),
    ];
    for (lie, expected) in lies {
        let (store, faults, memory) = faulty();
        let told = format!("{lie:?}");
        faults.tell(lie);
        match probe_store(&*store, None).await {
            Err(ProbeError::Unfit { why }) => assert_eq!(why, expected, "{told}"),
            other => panic!("{told}: {other:?}"),
        }
        assert!(memory.names().is_empty(), "{told}: nothing is left behind");
    }
    // A listing may tell of what is not ours to know.
    let (store, faults, _) = faulty();
    faults.tell(Lie::ListsAlso(BTreeSet::from([
        warifu_testkit::stores::share_name(7),
    ])));
    let promises = Promises {
        atomic_put: true,
        durable_sync: false,
    };
    let profile = probe_store(&*store, Some(promises)).await.unwrap();
    assert!(profile.atomic_put && !profile.durable_sync, "{profile:?}");
}

#[tokio::test]
async fn p10_a_place_that_is_full_closed_or_away_says_so() {
    for (state, expected) in [
        (State::Full, StoreErrorKind::Full),
        (State::ReadOnly, StoreErrorKind::Denied),
        (State::Gone, StoreErrorKind::NoAnswer),
        (State::Failing, StoreErrorKind::Failed),
    ] {
        let (store, faults, _) = faulty();
        faults.set(state);
        match probe_store(&*store, None).await {
            Err(ProbeError::Store { source, .. }) => assert_eq!(source.kind, expected),
            other => panic!("{state:?}: {other:?}"),
        }
    }
}

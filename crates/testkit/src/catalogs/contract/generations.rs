//! Generations: numbers given out once, and the switch of extents to other shares.

use std::time::Duration;

use warifu_core::ids::{ExtentId, Generation, Threshold};
use warifu_vault::node::NodeId;
use warifu_vault::refresh::THRESHOLD;
use warifu_vault::seam::catalog::{CatalogError, IndexSet, Intent, OwedChange, SaveId};
use warifu_vault::seam::generations::{Generations, Regenerated};

use super::lab::{Lab, file, fresh, index, time};

const ROOT: NodeId = NodeId::ROOT;

const LEASE: Duration = Duration::from_secs(600);

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    numbers_are_given_out_once(fresh()).await;
    extents_are_switched_and_what_is_of_no_use_is_named(fresh()).await;
    nobody_claims_what_is_needed(fresh()).await;
    a_switch_needs_its_intent(fresh()).await;
    nothing_is_switched_to_another_threshold_than_is_said(fresh()).await;
}

async fn numbers_are_given_out_once(lab: Lab) {
    let first = lab.catalog.generations().await.unwrap();
    assert_eq!(first, Generations::FIRST);
    let begun = Generations {
        current: Generation(5),
        wanted: Generation(5),
        begun: Some(time(7)),
        ended: None,
    };
    let set = lab.catalog.set_generations(first, begun, lab.write());
    lab.done(set).await;
    assert_eq!(lab.catalog.generations().await.unwrap(), begun);
    let late = Generations {
        current: Generation(2),
        ..first
    };
    let refused = lab.catalog.set_generations(first, late, lab.write());
    assert!(matches!(lab.refused(refused).await, CatalogError::Lapsed));
    let ended = Generations {
        current: Generation(u32::MAX),
        ended: Some(time(9)),
        ..begun
    };
    let set = lab.catalog.set_generations(begun, ended, lab.write());
    lab.done(set).await;
    assert_eq!(lab.catalog.generations().await.unwrap(), ended);
}

async fn announce(lab: &Lab, extents: Vec<(ExtentId, Generation)>) -> SaveId {
    let save = fresh();
    let intent = Intent { save, extents };
    lab.catalog.begin_save(&intent, LEASE).await.unwrap();
    save
}

fn made(extent: ExtentId, from: u32, to: u32) -> Regenerated {
    Regenerated {
        extent,
        from: Generation(from),
        to: Generation(to),
        threshold: Threshold::new(3, 5).expect("3 of 5 is possible"),
        of_vault: Threshold::new(3, 5).expect("3 of 5 is possible"),
        owed: [index(4)].into_iter().collect(),
    }
}

async fn extents_are_switched_and_what_is_of_no_use_is_named(lab: Lab) {
    let node = lab.make(ROOT, "x", file()).await.node;
    let [a, b, c]: [_; 3] = std::array::from_fn(|_| fresh());
    lab.save_extents(node, 10, &[Some(a), Some(b), Some(c)], &[a, b, c])
        .await;
    let (gone, to) = (fresh(), Generation(2));
    let before = lab.catalog.extent(a).await.unwrap().unwrap();
    // One is switched, one was made from a generation that it does not have, one is not there, and one was never made.
    let named = [a, b, gone, c].map(|extent| (extent, to));
    let save = announce(&lab, named.to_vec()).await;
    let switch = [made(a, 1, 2), made(b, 9, 2), made(gone, 1, 2)];
    let (waste, lease) = (fresh(), LEASE);
    let write = lab.write();
    let intent = lab
        .done(lab.catalog.regenerate(save, &switch, waste, lease, write))
        .await;
    let mut named = intent.extents.clone();
    named.sort_unstable();
    let mut expected = vec![(a, Generation(1)), (b, to), (gone, to), (c, to)];
    expected.sort_unstable();
    assert_eq!(named, expected, "what is of no use");
    assert_eq!(intent.save, waste);
    let intents = lab.catalog.intents().await.unwrap();
    assert_eq!(intents, [intent], "in place of the one before");
    let after = lab.catalog.extent(a).await.unwrap().unwrap();
    assert_eq!(after.generation, to);
    assert_eq!((after.threshold.k(), after.threshold.n()), (3, 5));
    assert_eq!(after.owed, [index(4)].into_iter().collect::<IndexSet>());
    assert_eq!(
        (after.document, after.version, after.len, after.number),
        (before.document, before.version, before.len, before.number)
    );
    let other = lab.catalog.extent(b).await.unwrap().unwrap();
    assert_eq!(other.generation, Generation(1));
    let owed = lab.catalog.owed(None, 10).await.unwrap();
    assert_eq!(owed, [after], "what is owed of it is found");

    // A debt of the older shares is nobody's any more, and a payment of it pays nothing.
    let change = |generation| OwedChange {
        extent: a,
        generation,
        add: IndexSet::EMPTY,
        remove: [index(4)].into_iter().collect(),
    };
    let old = lab.catalog.change_owed(&[change(Generation(1))]).await;
    assert_eq!(old.unwrap(), [None]);
    assert_eq!(lab.catalog.owed(None, 10).await.unwrap().len(), 1);
    let new = lab.catalog.change_owed(&[change(to)]).await;
    assert_eq!(new.unwrap(), [Some(IndexSet::EMPTY)]);
}

/// However an intent came to name shares that are at work: whoever takes it does not come to own them, and it forgets them.
async fn nobody_claims_what_is_needed(lab: Lab) {
    let node = lab.make(ROOT, "x", file()).await.node;
    let [a, b]: [_; 2] = std::array::from_fn(|_| fresh());
    lab.save_extents(node, 10, &[Some(a), Some(b)], &[a, b])
        .await;
    let (first, to) = (Generation(1), Generation(2));
    let unknown = fresh();
    let stale = announce(&lab, vec![(a, to), (b, to), (unknown, first)]).await;
    let more = [(a, first), (b, first)];
    let lease = LEASE;
    lab.catalog.extend_save(stale, &more, lease).await.unwrap();
    let save = announce(&lab, vec![(a, to)]).await;
    let (switch, waste) = ([made(a, 1, 2)], fresh());
    let intent = lab
        .done(
            lab.catalog
                .regenerate(save, &switch, waste, lease, lab.write()),
        )
        .await;
    assert_eq!(intent.extents, [(a, first)]);
    let claimant = fresh();
    let claimed = lab.catalog.claim_save(stale, claimant, lease).await;
    let claimed = claimed.unwrap().expect("it was there");
    let mut left = claimed.extents.clone();
    left.sort_unstable();
    let mut expected = vec![(a, first), (b, to), (unknown, first)];
    expected.sort_unstable();
    assert_eq!(left, expected);
    let intents = lab.catalog.intents().await.unwrap();
    assert!(
        intents.contains(&claimed),
        "it is kept as it was told: {intents:?}"
    );
    // What it does not name is not switched by it.
    let other = lab
        .done(
            lab.catalog
                .regenerate(claimant, &[made(b, 1, 3)], fresh(), lease, lab.write()),
        )
        .await;
    assert!(!other.extents.contains(&(b, first)), "{other:?}");
    let extent = lab.catalog.extent(b).await.unwrap().unwrap();
    assert_eq!(extent.generation, first);
}

async fn a_switch_needs_its_intent(lab: Lab) {
    let node = lab.make(ROOT, "x", file()).await.node;
    let a = fresh();
    lab.save_extents(node, 10, &[Some(a)], &[a]).await;
    let switch = [made(a, 1, 2)];
    let (gone, waste, lease) = (fresh(), fresh(), LEASE);
    let refused = lab
        .catalog
        .regenerate(gone, &switch, waste, lease, lab.write());
    assert!(matches!(lab.refused(refused).await, CatalogError::Lapsed));
    let extent = lab.catalog.extent(a).await.unwrap().unwrap();
    assert_eq!(extent.generation, Generation(1));
}

/// Whoever dealt by a threshold that was changed meanwhile has dealt in vain.
async fn nothing_is_switched_to_another_threshold_than_is_said(lab: Lab) {
    let node = lab.make(ROOT, "x", file()).await.node;
    let a = fresh();
    lab.save_extents(node, 10, &[Some(a)], &[a]).await;
    let (one, other) = ((7 << 16) | 0x0203, (8 << 16) | 0x0305);
    let said = lab.catalog.advance(THRESHOLD, 0, one).await;
    assert!(said.unwrap());
    let save = announce(&lab, vec![(a, Generation(2))]).await;
    let switch = [made(a, 1, 2)];
    let intent = lab
        .done(
            lab.catalog
                .regenerate(save, &switch, fresh(), LEASE, lab.write()),
        )
        .await;
    assert_eq!(intent.extents, [(a, Generation(2))], "it goes");
    let extent = lab.catalog.extent(a).await.unwrap().unwrap();
    assert_eq!(extent.generation, Generation(1));
    let said = lab.catalog.advance(THRESHOLD, one, other).await;
    assert!(said.unwrap());
    let save = announce(&lab, vec![(a, Generation(3))]).await;
    let switch = [made(a, 1, 3)];
    let intent = lab
        .done(
            lab.catalog
                .regenerate(save, &switch, fresh(), LEASE, lab.write()),
        )
        .await;
    assert_eq!(intent.extents, [(a, Generation(1))]);
    let extent = lab.catalog.extent(a).await.unwrap().unwrap();
    assert_eq!(extent.generation, Generation(3));
    // What a folder asks for is another one than the vault's, and it is the vault's that counts.
    let save = announce(&lab, vec![(a, Generation(4))]).await;
    let asked = Threshold::new(4, 4).expect("4 of 4 is possible");
    let switch = [Regenerated {
        threshold: asked,
        ..made(a, 3, 4)
    }];
    let intent = lab
        .done(
            lab.catalog
                .regenerate(save, &switch, fresh(), LEASE, lab.write()),
        )
        .await;
    assert_eq!(intent.extents, [(a, Generation(3))]);
    let extent = lab.catalog.extent(a).await.unwrap().unwrap();
    assert_eq!(
        (extent.generation, extent.threshold),
        (Generation(4), asked)
    );
}

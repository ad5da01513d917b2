//! What is forgotten for good, and what stays because something needs it.

use std::time::Duration;

use warifu_core::ids::{FileId, VersionNo};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{CatalogError, RenameMode, XattrMode};
use warifu_vault::seam::past::{Forget, Forgotten, KNOWN_SINCE, Reinstate};

use super::lab::{Lab, file, fresh, name};

const ROOT: NodeId = NodeId::ROOT;

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    versions_are_forgotten_and_what_others_need_stays(fresh()).await;
    names_and_removed_files_are_forgotten(fresh()).await;
    what_went_on_elsewhere_keeps_what_it_shares(fresh()).await;
    holds_are_compared_in_the_same_transaction(fresh()).await;
}

fn forget(versions: &[(FileId, u64)], names: &[u64]) -> Forget {
    Forget {
        versions: versions
            .iter()
            .map(|(document, number)| (*document, VersionNo(*number)))
            .collect(),
        names: names.to_vec(),
        known_since: 0,
        attributes: Vec::new(),
        waste: fresh(),
        lease: Duration::from_secs(100),
    }
}

async fn settle(lab: &Lab, document: FileId, newest: u64) {
    let all: Vec<_> = (1..=newest)
        .map(|number| (document, VersionNo(number)))
        .collect();
    lab.catalog.settle(&all).await.expect("they are settled");
}

/// What is forgotten is gone, and of its extents those that nobody needs are named by an intent.
async fn versions_are_forgotten_and_what_others_need_stays(lab: Lab) {
    let attr = lab.make(ROOT, "large", file()).await;
    let (document, node) = (attr.document, attr.node);
    let (one, two, three) = (fresh(), fresh(), fresh());
    lab.save_extents(node, 9 << 20, &[Some(one), None, Some(two)], &[one, two])
        .await;
    lab.save_extents(node, 9 << 20, &[Some(three), None, Some(two)], &[three])
        .await;
    lab.save_extents(node, 9 << 20, &[Some(one), None, Some(two)], &[])
        .await;
    lab.save_extents(node, 5 << 20, &[Some(one), None], &[])
        .await;
    let versions = lab.catalog.history(document).await.unwrap();
    let heads: Vec<_> = versions.iter().filter_map(|version| version.head).collect();
    // Not known to be on disk: perhaps the one before will be needed again.
    let kept = lab
        .done(
            lab.catalog
                .forget_versions(forget(&[(document, 1)], &[]), lab.write()),
        )
        .await;
    assert_eq!(kept, Forgotten::default());
    settle(&lab, document, 4).await;

    let what = forget(&[(document, 2), (document, 4), (document, 99)], &[]);
    let gone = lab
        .done(lab.catalog.forget_versions(what.clone(), lab.write()))
        .await;
    assert_eq!(
        gone.versions,
        [(document, VersionNo(2))],
        "the fourth is shown"
    );
    let mut expected = vec![three, heads[1]];
    expected.sort();
    let extents: Vec<_> = gone.extents.iter().map(|(extent, _)| *extent).collect();
    assert_eq!(extents, expected);
    for extent in &extents {
        assert_eq!(lab.catalog.extent(*extent).await.unwrap(), None);
    }
    let intents = lab.catalog.intents().await.unwrap();
    let intent = intents.iter().find(|intent| intent.save == what.waste);
    assert_eq!(intent.map(|intent| &intent.extents), Some(&gone.extents));
    for (number, expected) in [
        (1, Some(vec![Some(one), None, Some(two)])),
        (2, None),
        (3, Some(vec![Some(one), None, Some(two)])),
        (4, Some(vec![Some(one), None])),
    ] {
        let found = lab.catalog.version(document, VersionNo(number)).await;
        assert_eq!(
            found.unwrap().map(|version| version.layout),
            expected,
            "{number}"
        );
    }
    let rows = super::journal::Replay::of(&*lab.catalog).await.text();
    assert!(
        rows.contains(&format!("{document} 0 1 None {one}")),
        "one interval again: {rows}"
    );
    // The first: what only it had goes; what later ones have stays.
    let what = forget(&[(document, 1)], &[]);
    let gone = lab
        .done(lab.catalog.forget_versions(what, lab.write()))
        .await;
    let extents: Vec<_> = gone.extents.iter().map(|(extent, _)| *extent).collect();
    assert_eq!(extents, [heads[0]]);
    assert_eq!(lab.attr(node).await.version, VersionNo(4));
    // A save goes on as before.
    let four = fresh();
    lab.save_extents(node, 5 << 20, &[Some(one), Some(four)], &[four])
        .await;
    assert_eq!(lab.catalog.history(document).await.unwrap().len(), 3);
}

async fn names_and_removed_files_are_forgotten(lab: Lab) {
    let attr = lab.make(ROOT, "a", file()).await;
    lab.save(attr.node, 10).await;
    let (document, kept) = (attr.document, lab.make(ROOT, "b", file()).await);
    lab.save(kept.node, 10).await;
    for document in [document, kept.document] {
        settle(&lab, document, 1).await;
    }
    lab.done(
        lab.catalog
            .unlink(ROOT, &name("a"), &[attr.node], lab.write()),
    )
    .await;
    lab.rename((ROOT, "b"), (ROOT, "c"), RenameMode::Replace, false)
        .await
        .expect("it is moved");
    let ended = lab.catalog.ended(0, 9).await.unwrap();
    assert_eq!(ended.len(), 2);
    let all = [(document, 1), (kept.document, 1)];
    let what = forget(&all, &[]);
    let gone = lab
        .done(lab.catalog.forget_versions(what, lab.write()))
        .await;
    assert_eq!(gone, Forgotten::default(), "one is open, one has a name");
    lab.catalog.forget(attr.node).await.unwrap();
    let what = forget(&all, &[ended[0].id]);
    let gone = lab
        .done(lab.catalog.forget_versions(what, lab.write()))
        .await;
    assert_eq!(gone.versions, [(document, VersionNo(1))]);
    assert_eq!(gone.extents.len(), 1);
    assert_eq!(lab.catalog.ended(0, 9).await.unwrap(), ended[1..]);
    assert!(lab.catalog.history(document).await.unwrap().is_empty());
    assert!(lab.catalog.names_of(document).await.unwrap().is_empty());
}

/// A version that came back, or went on as another document's, shares its extents: none of them goes before the last that has it.
async fn what_went_on_elsewhere_keeps_what_it_shares(lab: Lab) {
    let attr = lab.make(ROOT, "a", file()).await;
    let (document, one) = (attr.document, fresh());
    lab.save_extents(attr.node, 4 << 20, &[Some(one)], &[one])
        .await;
    lab.save(attr.node, 10).await;
    let second = lab.attr(attr.node).await;
    let to = Reinstate::Next(attr.node, second.head);
    let first = (document, VersionNo(1));
    let third = lab
        .done(lab.catalog.reinstate(to, first, lab.write()))
        .await;
    let to = Reinstate::New(ROOT, name("copy"), file());
    let copy = lab
        .done(lab.catalog.reinstate(to, first, lab.write()))
        .await;
    settle(&lab, document, 3).await;
    settle(&lab, copy.document, 1).await;
    let what = forget(&[(document, 1), (document, 2)], &[]);
    let gone = lab
        .done(lab.catalog.forget_versions(what, lab.write()))
        .await;
    assert_eq!(
        gone.versions,
        [(document, VersionNo(1)), (document, VersionNo(2))]
    );
    let extents: Vec<_> = gone.extents.iter().map(|(extent, _)| *extent).collect();
    assert_eq!(Some(extents), second.head.map(|head| vec![head]));
    for attr in [&third, &copy] {
        let version = lab.catalog.version(attr.document, attr.version).await;
        let version = version.unwrap().expect("it is there");
        assert_eq!((version.layout, version.head), (vec![Some(one)], attr.head));
    }
    lab.done(lab.catalog.unlink(ROOT, &name("a"), &[], lab.write()))
        .await;
    let what = forget(&[(document, 3)], &[]);
    let gone = lab
        .done(lab.catalog.forget_versions(what, lab.write()))
        .await;
    assert_eq!(gone.versions.len(), 1);
    assert_eq!(gone.extents, [], "the copy has them");
    lab.done(lab.catalog.unlink(ROOT, &name("copy"), &[], lab.write()))
        .await;
    let what = forget(&[(copy.document, 1)], &[]);
    let gone = lab
        .done(lab.catalog.forget_versions(what, lab.write()))
        .await;
    assert_eq!(gone.extents.len(), 2);
    // Whoever would bring it back now finds nothing to bring back.
    let to = Reinstate::New(ROOT, name("late"), file());
    let error = lab
        .refused(lab.catalog.reinstate(to, first, lab.write()))
        .await;
    assert!(matches!(error, CatalogError::NotFound { .. }), "{error}");
}

async fn holds_are_compared_in_the_same_transaction(lab: Lab) {
    let attr = lab.make(ROOT, "a", file()).await;
    lab.save(attr.node, 10).await;
    lab.save(attr.node, 20).await;
    settle(&lab, attr.document, 2).await;
    let hold = b"warifu.hold.x".as_slice();
    let set = lab
        .catalog
        .set_xattr(ROOT, hold, b"", XattrMode::Set, lab.write());
    lab.done(set).await;
    let mut what = forget(&[(attr.document, 1)], &[]);
    what.known_since = 77;
    for attributes in [vec![], vec![hold.to_vec(), b"user.a".to_vec()]] {
        what.attributes = attributes;
        let done = lab.catalog.forget_versions(what.clone(), lab.write());
        let error = lab.refused(done).await;
        assert!(matches!(error, CatalogError::Conflict { .. }), "{error}");
    }
    assert_eq!(lab.catalog.position(KNOWN_SINCE).await.unwrap(), 0);
    what.attributes = vec![hold.to_vec()];
    let gone = lab
        .done(lab.catalog.forget_versions(what, lab.write()))
        .await;
    assert_eq!(gone.versions, [(attr.document, VersionNo(1))]);
    assert_eq!(lab.catalog.position(KNOWN_SINCE).await.unwrap(), 77);
    // What is known becomes less, never more.
    let mut what = forget(&[], &[]);
    what.attributes = vec![hold.to_vec()];
    what.known_since = 76;
    lab.done(lab.catalog.forget_versions(what, lab.write()))
        .await;
    assert_eq!(lab.catalog.position(KNOWN_SINCE).await.unwrap(), 77);
}

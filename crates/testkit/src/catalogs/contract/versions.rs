//! What happens to versions later: settled, taken back, owed shares paid.

use warifu_core::format::Scheme;
use warifu_core::ids::{Generation, VersionNo};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{CatalogError, Commit, IndexSet, OwedChange, RenameMode};

use super::lab::{Lab, commit, file, fresh, index};

const ROOT: NodeId = NodeId::ROOT;

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    versions_settle(fresh()).await;
    a_swallowed_version_is_taken_back(fresh()).await;
    the_first_version_is_taken_back(fresh()).await;
    layouts_are_taken_back(fresh()).await;
    a_take_over_is_taken_back(fresh()).await;
    owed_shares_are_listed_until_paid(fresh()).await;
    extents_of_every_scheme_come_back(fresh()).await;
    debts_are_added_and_paid_without_undoing_each_other(fresh()).await;
}

async fn extents_of_every_scheme_come_back(lab: Lab) {
    let made = lab.make(ROOT, "x", file()).await;
    let data = [fresh(), fresh()];
    let attr = lab.attr(made.node).await;
    let save = lab.begin(&data).await;
    let (layout, write) = ([Some(data[0]), None, Some(data[1])], lab.write());
    let what = commit(save, &attr, lab.now(), 9 << 20, &layout, &data);
    let committed = (lab.catalog).commit_save(made.node, attr.head, what.clone(), write);
    lab.done(committed).await;
    for dealt in &what.dealt {
        let kept = lab.catalog.extent(dealt.extent).await.unwrap();
        assert_eq!(kept.as_ref(), Some(dealt));
    }
    let mut all = lab.catalog.extents(None, 10).await.unwrap();
    let mut dealt = what.dealt;
    all.sort_by_key(|record| record.extent);
    dealt.sort_by_key(|record| record.extent);
    assert_eq!(all, dealt);
    let schemes: Vec<_> = dealt.iter().map(|record| record.scheme).collect();
    for scheme in [Scheme::Shamir, Scheme::Compact] {
        assert!(schemes.contains(&scheme), "{schemes:?}");
    }
}

async fn versions_settle(lab: Lab) {
    let made = lab.make(ROOT, "x", file()).await;
    for size in 1..=4 {
        lab.save(made.node, size).await;
    }
    let numbers = async |limit| {
        let open = lab.catalog.unsettled(limit).await.unwrap();
        open.iter()
            .map(|version| version.number.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (numbers(10).await, numbers(2).await),
        (vec![1, 2, 3, 4], vec![1, 2])
    );
    let lines = lab.log_len().await;
    lab.catalog
        .settle(&[
            (made.document, VersionNo(1)),
            (made.document, VersionNo(3)),
            (made.document, VersionNo(9)),
        ])
        .await
        .unwrap();
    assert_eq!(numbers(10).await, [2, 4]);
    assert!(
        lab.catalog
            .version(made.document, VersionNo(3))
            .await
            .unwrap()
            .unwrap()
            .settled
    );
    assert_eq!(
        (
            lab.catalog.usage().await.unwrap().unsettled,
            lab.log_len().await
        ),
        (2, lines)
    );
}

async fn a_swallowed_version_is_taken_back(lab: Lab) {
    let made = lab.make(ROOT, "x", file()).await;
    let one = lab.save(made.node, 1).await;
    let two = lab.save(made.node, 2).await;
    let revert = |number| {
        let (catalog, document, write) = (lab.catalog.clone(), made.document, lab.write());
        async move { catalog.revert(document, VersionNo(number), write).await }
    };
    let error = lab.refused(revert(1)).await;
    assert!(
        matches!(
            error,
            CatalogError::Conflict {
                current: VersionNo(2)
            }
        ),
        "only the newest: {error}"
    );
    assert!(matches!(
        lab.refused(revert(3)).await,
        CatalogError::NotFound { .. }
    ));
    assert!(matches!(
        lab.refused(revert(0)).await,
        CatalogError::NotFound { .. }
    ));
    assert_eq!(lab.done(revert(2)).await, VersionNo(1));
    let attr = lab.attr(made.node).await;
    assert_eq!(
        (attr.version, attr.size, attr.head, attr.mtime, attr.ctime),
        (VersionNo(1), 1, one.head, one.mtime, lab.now())
    );
    assert_eq!(
        lab.catalog
            .version(made.document, VersionNo(2))
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        lab.catalog.extent(two.head.unwrap()).await.unwrap(),
        None,
        "nobody needs its extents any more"
    );
    assert_eq!(lab.catalog.user_of(two.head.unwrap()).await.unwrap(), None);
    let three = lab.save(made.node, 3).await;
    assert_eq!((three.version, three.size), (VersionNo(2), 3));
    lab.catalog
        .settle(&[(made.document, VersionNo(2))])
        .await
        .unwrap();
    assert!(
        matches!(lab.refused(revert(2)).await, CatalogError::NotFound { .. }),
        "what is on disk is not taken back"
    );
}

async fn the_first_version_is_taken_back(lab: Lab) {
    let made = lab.make(ROOT, "x", file()).await;
    lab.save(made.node, 1).await;
    let before = lab
        .done(lab.catalog.revert(made.document, VersionNo(1), lab.write()))
        .await;
    assert_eq!(before, VersionNo(0));
    let (attr, version) = lab.catalog.current(made.node).await.unwrap();
    assert_eq!(
        (attr.version, attr.size, attr.head, attr.mtime, version),
        (VersionNo(0), 0, None, lab.now(), None)
    );
    assert!(lab.catalog.extents(None, 10).await.unwrap().is_empty());
    assert_eq!(lab.save(made.node, 5).await.version, VersionNo(1));
}

async fn layouts_are_taken_back(lab: Lab) {
    let made = lab.make(ROOT, "x", file()).await;
    let [a, b, c] = std::array::from_fn(|_| fresh());
    lab.save_extents(made.node, 10, &[Some(a), None, Some(b)], &[a, b])
        .await;
    lab.save_extents(made.node, 10, &[Some(a), Some(c)], &[c])
        .await;
    assert_eq!(
        lab.done(lab.catalog.revert(made.document, VersionNo(2), lab.write()))
            .await,
        VersionNo(1)
    );
    assert_eq!(
        lab.catalog
            .current(made.node)
            .await
            .unwrap()
            .1
            .unwrap()
            .layout,
        [Some(a), None, Some(b)]
    );
    assert!(lab.catalog.extent(a).await.unwrap().is_some());
    assert!(lab.catalog.extent(c).await.unwrap().is_none());
    let d = fresh();
    lab.save_extents(made.node, 10, &[Some(d), Some(a)], &[d])
        .await;
    assert_eq!(
        lab.catalog
            .version(made.document, VersionNo(1))
            .await
            .unwrap()
            .unwrap()
            .layout,
        [Some(a), None, Some(b)]
    );
    assert_eq!(
        lab.catalog
            .version(made.document, VersionNo(2))
            .await
            .unwrap()
            .unwrap()
            .layout,
        [Some(d), Some(a)]
    );
}

async fn a_take_over_is_taken_back(lab: Lab) {
    let target = lab.make(ROOT, "doc", file()).await;
    let old = lab.save(target.node, 1).await;
    lab.catalog
        .settle(&[(target.document, VersionNo(1))])
        .await
        .unwrap();
    let temp = lab.make(ROOT, "temp", file()).await;
    let new = lab.save(temp.node, 2).await;
    lab.done(lab.rename((ROOT, "temp"), (ROOT, "doc"), RenameMode::Replace, false))
        .await;
    let open: Vec<_> = lab
        .catalog
        .unsettled(10)
        .await
        .unwrap()
        .iter()
        .map(|version| (version.document, version.number.0))
        .collect();
    assert_eq!(open, [(temp.document, 1), (target.document, 2)]);
    assert_eq!(
        lab.done(
            lab.catalog
                .revert(target.document, VersionNo(2), lab.write())
        )
        .await,
        VersionNo(1)
    );
    let attr = lab.attr(temp.node).await;
    assert_eq!(
        (attr.head, attr.size, attr.version),
        (old.head, 1, VersionNo(1)),
        "the name shows the old contents again"
    );
    assert!(
        lab.catalog
            .extent(new.head.unwrap())
            .await
            .unwrap()
            .is_some(),
        "the other document still has it"
    );
    assert_eq!(
        lab.done(lab.catalog.revert(temp.document, VersionNo(1), lab.write()))
            .await,
        VersionNo(0)
    );
    assert!(
        lab.catalog
            .extent(new.head.unwrap())
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(lab.attr(temp.node).await, attr);
}

async fn owed_shares_are_listed_until_paid(lab: Lab) {
    let made = lab.make(ROOT, "x", file()).await;
    let extents: [_; 5] = std::array::from_fn(|_| fresh());
    let layout: Vec<_> = extents.iter().copied().map(Some).collect();
    let save = lab.begin(&extents).await;
    let owed: IndexSet = [index(1), index(255)].into_iter().collect();
    let mut what = commit(save, &made, lab.now(), 1, &layout, &extents);
    what.dealt[1].owed = owed;
    what.dealt[3].owed = owed;
    lab.done(
        lab.catalog
            .commit_save(made.node, None, Commit { ..what }, lab.write()),
    )
    .await;
    let lines = lab.log_len().await;
    let found = lab.catalog.owed(None, 10).await.unwrap();
    let mut expected = [extents[1], extents[3]];
    expected.sort();
    assert_eq!(
        found.iter().map(|extent| extent.extent).collect::<Vec<_>>(),
        expected
    );
    assert!(found.iter().all(|extent| extent.owed == owed));
    assert_eq!(
        lab.catalog.owed(Some(expected[0]), 10).await.unwrap().len(),
        1
    );
    assert_eq!(lab.catalog.owed(None, 1).await.unwrap().len(), 1);
    let usage = lab.catalog.usage().await.unwrap();
    assert_eq!((usage.degraded_extents, usage.owed_shares), (2, 4));

    let change = |extent, add, remove| OwedChange {
        extent,
        generation: Generation(1),
        add,
        remove,
    };
    lab.catalog
        .change_owed(&[
            change(extents[1], IndexSet::EMPTY, owed),
            change(
                extents[0],
                [index(64)].into_iter().collect(),
                IndexSet::EMPTY,
            ),
        ])
        .await
        .unwrap();
    assert!(
        lab.catalog
            .extent(extents[1])
            .await
            .unwrap()
            .unwrap()
            .owed
            .is_empty()
    );
    let usage = lab.catalog.usage().await.unwrap();
    assert_eq!((usage.degraded_extents, usage.owed_shares), (2, 3));
    assert_eq!(lab.log_len().await, lines);
}

async fn debts_are_added_and_paid_without_undoing_each_other(lab: Lab) {
    let made = lab.make(ROOT, "x", file()).await;
    let [a, b]: [_; 2] = std::array::from_fn(|_| fresh());
    lab.save_extents(made.node, 10, &[Some(a), Some(b)], &[a, b])
        .await;
    let lines = lab.log_len().await;
    let set = |indices: &[u8]| indices.iter().copied().map(index).collect::<IndexSet>();
    let change = |extent, add: &[u8], remove: &[u8]| OwedChange {
        extent,
        generation: Generation(1),
        add: set(add),
        remove: set(remove),
    };
    let gone = fresh();
    let now = lab
        .catalog
        .change_owed(&[
            change(a, &[1, 200], &[]),
            change(gone, &[1], &[]),
            change(b, &[2], &[3]),
            change(a, &[3], &[1]),
        ])
        .await
        .unwrap();
    assert_eq!(
        now,
        [
            Some(set(&[1, 200])),
            None,
            Some(set(&[2])),
            Some(set(&[3, 200]))
        ],
        "each as it was at that moment"
    );
    let owed = async |extent| lab.catalog.extent(extent).await.unwrap().unwrap().owed;
    assert_eq!((owed(a).await, owed(b).await), (set(&[3, 200]), set(&[2])));
    // Two who know nothing of each other.
    let (one, other) = ([change(a, &[7], &[])], [change(a, &[], &[3])]);
    let (one, other) = tokio::join!(
        lab.catalog.change_owed(&one),
        lab.catalog.change_owed(&other)
    );
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(owed(a).await, set(&[7, 200]));
    let both = [change(a, &[9], &[9, 200]), change(b, &[], &[2])];
    lab.catalog.change_owed(&both).await.unwrap();
    assert_eq!(owed(a).await, set(&[7, 9]), "what is in both sets is owed");
    assert_eq!(lab.catalog.owed(None, 10).await.unwrap().len(), 1);
    assert_eq!(lab.catalog.usage().await.unwrap().owed_shares, 2);
    assert!(lab.catalog.extent(gone).await.unwrap().is_none());
    assert!(lab.catalog.change_owed(&[]).await.unwrap().is_empty());
    assert_eq!(lab.log_len().await, lines);
}

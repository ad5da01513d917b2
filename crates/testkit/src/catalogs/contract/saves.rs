//! Intents and commits.

use std::time::Duration;

use warifu_core::ids::{Generation, VersionNo};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{CatalogError, Intent};

use super::lab::{Lab, commit, dir, file, fresh, name, symlink, time};

const ROOT: NodeId = NodeId::ROOT;
const NOWHERE: NodeId = NodeId(4_000_000);
/// A lease that does not end within a check.
const LONG: Duration = Duration::from_secs(600);

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    a_save_makes_the_next_version(fresh()).await;
    a_new_file_comes_with_its_contents(fresh()).await;
    who_comes_second_meets_a_conflict(fresh()).await;
    a_save_needs_its_intent(fresh()).await;
    what_cannot_be_saved(fresh()).await;
    a_save_begins_with_what_the_file_is(fresh()).await;
    intents_lapse(fresh()).await;
    layouts_grow_shrink_and_have_holes(fresh()).await;
    thousands_of_extents(fresh()).await;
}

async fn a_save_makes_the_next_version(lab: Lab) {
    let made = lab.make(ROOT, "x", file()).await;
    let save = lab.begin(&[]).await;
    assert_eq!(lab.catalog.usage().await.unwrap().open_saves, 1);
    let write = lab.write();
    let what = commit(save, &made, lab.now(), 4711, &[], &[]);
    let attr = lab
        .done(
            lab.catalog
                .commit_save(made.node, None, what.clone(), write),
        )
        .await;
    assert_eq!(
        (attr.version, attr.size, attr.head),
        (VersionNo(1), 4711, what.head)
    );
    assert_eq!(
        (attr.mtime, attr.ctime, attr.atime, attr.btime),
        (what.mtime, what.saved_at, made.atime, made.btime)
    );
    assert_eq!(
        lab.catalog.lookup(ROOT, &name("x")).await.unwrap(),
        Some(attr.clone())
    );
    let (found, version) = lab.catalog.current(made.node).await.unwrap();
    let version = version.unwrap();
    assert_eq!(found, attr);
    assert_eq!(
        (
            version.document,
            version.number,
            version.size,
            version.mtime
        ),
        (made.document, VersionNo(1), 4711, what.mtime)
    );
    assert_eq!(
        (
            version.saved_at,
            version.author.as_str(),
            version.host.as_str()
        ),
        (what.saved_at, "鈴木", "zeimu-pc-2")
    );
    assert!(!version.settled && version.is_inline());
    assert_eq!(
        lab.catalog
            .version(made.document, VersionNo(1))
            .await
            .unwrap(),
        Some(version)
    );
    assert_eq!(
        lab.catalog
            .version(made.document, VersionNo(2))
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        lab.catalog
            .extent(what.head.unwrap())
            .await
            .unwrap()
            .as_ref(),
        what.dealt.first()
    );
    assert_eq!(lab.catalog.extent(fresh()).await.unwrap(), None);
    let usage = lab.catalog.usage().await.unwrap();
    assert_eq!(
        (
            usage.open_saves,
            usage.versions,
            usage.bytes,
            usage.unsettled
        ),
        (0, 1, 4711, 1)
    );

    // Emptied again: nothing is stored of it, and the next save is based on that.
    let save = lab.begin(&[]).await;
    let write = lab.write();
    let nothing = warifu_vault::seam::catalog::Commit {
        head: None,
        dealt: vec![],
        settled: true,
        ..commit(save, &attr, lab.now(), 0, &[], &[])
    };
    let attr = lab
        .done(
            lab.catalog
                .commit_save(made.node, attr.head, nothing, write),
        )
        .await;
    assert_eq!(
        (attr.version, attr.size, attr.head),
        (VersionNo(2), 0, None)
    );
    assert_eq!(lab.save(made.node, 7).await.version, VersionNo(3));
    let sizes: Vec<_> = lab
        .catalog
        .history(made.document)
        .await
        .unwrap()
        .iter()
        .map(|version| (version.number.0, version.size))
        .collect();
    assert_eq!(sizes, [(1, 4711), (2, 0), (3, 7)]);
    assert!(
        lab.catalog
            .history(file().document)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn a_new_file_comes_with_its_contents(lab: Lab) {
    let new = file();
    let [a, b] = [fresh(), fresh()];
    let save = lab.begin(&[a, b]).await;
    let write = lab.write();
    let at = write.audit.at;
    let seed = lab.attr(ROOT).await;
    let what = commit(
        save,
        &warifu_vault::node::Attr {
            document: new.document,
            ..seed
        },
        time(5),
        99,
        &[Some(a), None, Some(b)],
        &[a, b],
    );
    let attr = lab
        .done(
            lab.catalog
                .commit_new(ROOT, &name("new"), new.clone(), what.clone(), write),
        )
        .await;
    assert_eq!(
        (attr.version, attr.size, attr.head, attr.document),
        (VersionNo(1), 99, what.head, new.document)
    );
    assert_eq!(
        (attr.btime, attr.ctime, attr.mtime, attr.nlink),
        (at, time(5), what.mtime, 1)
    );
    assert_eq!(lab.attr(ROOT).await.mtime, at);
    assert_eq!(
        lab.catalog
            .current(attr.node)
            .await
            .unwrap()
            .1
            .unwrap()
            .layout,
        [Some(a), None, Some(b)]
    );

    // Taken: refused, and the save may still be kept under another name.
    let save = lab.begin(&[]).await;
    let other = commit(save, &attr, time(6), 1, &[], &[]);
    let write = lab.write();
    let error = lab
        .refused(
            lab.catalog
                .commit_new(ROOT, &name("new"), file(), other.clone(), write),
        )
        .await;
    assert!(matches!(error, CatalogError::Exists));
    lab.done(lab.catalog.commit_new(
        ROOT,
        &name("new (conflict)"),
        file(),
        other.clone(),
        lab.write(),
    ))
    .await;
    let write = lab.write();
    let error = lab
        .refused(
            lab.catalog
                .commit_new(ROOT, &name("third"), file(), other, write),
        )
        .await;
    assert!(matches!(error, CatalogError::Lapsed));
}

async fn who_comes_second_meets_a_conflict(lab: Lab) {
    let made = lab.make(ROOT, "x", file()).await;
    let (first, second) = (lab.begin(&[]).await, lab.begin(&[]).await);
    let one = commit(first, &made, lab.now(), 1, &[], &[]);
    let two = commit(second, &made, lab.now(), 2, &[], &[]);
    let now = lab
        .done(lab.catalog.commit_save(made.node, None, one, lab.write()))
        .await;
    let write = lab.write();
    let error = lab
        .refused(lab.catalog.commit_save(made.node, None, two.clone(), write))
        .await;
    assert!(
        matches!(
            error,
            CatalogError::Conflict {
                current: VersionNo(1)
            }
        ),
        "{error}"
    );
    let write = lab.write();
    let error = lab
        .refused(
            lab.catalog
                .commit_save(made.node, Some(fresh()), two.clone(), write),
        )
        .await;
    assert!(
        matches!(
            error,
            CatalogError::Conflict {
                current: VersionNo(1)
            }
        ),
        "{error}"
    );
    // The intent is still there, and the right base still works.
    let saved = lab
        .done(
            lab.catalog
                .commit_save(made.node, now.head, two, lab.write()),
        )
        .await;
    assert_eq!(saved.version, VersionNo(2));
}

async fn a_save_needs_its_intent(lab: Lab) {
    let made = lab.make(ROOT, "x", file()).await;
    let write = lab.write();
    let error = lab
        .refused(lab.catalog.commit_save(
            made.node,
            None,
            commit(fresh(), &made, lab.now(), 1, &[], &[]),
            write,
        ))
        .await;
    assert!(matches!(error, CatalogError::Lapsed));
    let save = lab.begin(&[]).await;
    assert!(lab.catalog.end_save(save).await.unwrap());
    assert!(
        !lab.catalog.end_save(save).await.unwrap(),
        "it was there only once"
    );
    let write = lab.write();
    let what = commit(save, &made, lab.now(), 1, &[], &[]);
    assert!(matches!(
        lab.refused(lab.catalog.commit_save(made.node, None, what, write))
            .await,
        CatalogError::Lapsed
    ));
    assert!(matches!(
        lab.refused(lab.catalog.extend_save(save, &[], LONG)).await,
        CatalogError::Lapsed
    ));
    // Taken over, it is gone for the saver, with all that it named.
    let save = lab.begin(&[]).await;
    let (extent, claimant) = (fresh(), fresh());
    let named = [(extent, Generation(1))];
    lab.catalog.extend_save(save, &named, LONG).await.unwrap();
    assert!(lab.catalog.lapsed().await.unwrap().is_empty());
    let claimed = lab.catalog.claim_save(save, claimant, Duration::ZERO).await;
    let claimed = claimed.unwrap().expect("it was there");
    assert_eq!(claimed.save, claimant);
    assert_eq!(claimed.extents, named);
    assert_eq!(lapsed(&lab, 1).await, [claimed]);
    let what = commit(save, &made, lab.now(), 1, &[], &[]);
    assert!(matches!(
        lab.refused(lab.catalog.commit_save(made.node, None, what, lab.write()))
            .await,
        CatalogError::Lapsed
    ));
    assert_eq!(
        lab.catalog.claim_save(save, fresh(), LONG).await.unwrap(),
        None,
        "nobody takes it twice"
    );
    assert!(lab.catalog.end_save(claimant).await.unwrap());
    // A committed save has no intent left.
    let save = lab.begin(&[]).await;
    lab.done(lab.catalog.commit_save(
        made.node,
        None,
        commit(save, &made, lab.now(), 1, &[], &[]),
        lab.write(),
    ))
    .await;
    assert!(!lab.catalog.end_save(save).await.unwrap());
}

async fn what_cannot_be_saved(lab: Lab) {
    let folder = lab.make(ROOT, "folder", dir()).await;
    let link = lab.make(ROOT, "link", symlink(b"x")).await;
    let made = lab.make(ROOT, "x", file()).await;
    let save = lab.begin(&[]).await;
    let what = || commit(save, &made, time(1), 1, &[], &[]);
    let into = |node| {
        let (catalog, what, write) = (lab.catalog.clone(), what(), lab.write());
        async move { catalog.commit_save(node, None, what, write).await }
    };
    assert!(matches!(
        lab.refused(into(folder.node)).await,
        CatalogError::IsDir
    ));
    assert!(matches!(
        lab.refused(into(link.node)).await,
        CatalogError::NotFound { .. }
    ));
    assert!(matches!(
        lab.refused(into(NOWHERE)).await,
        CatalogError::NotFound { .. }
    ));
    let write = lab.write();
    assert!(matches!(
        lab.refused(
            lab.catalog
                .commit_new(ROOT, &name("y"), dir(), what(), write)
        )
        .await,
        CatalogError::IsDir
    ));
    // A version of extents that nobody dealt.
    let stray = warifu_vault::seam::catalog::Commit {
        layout: vec![Some(fresh())],
        ..what()
    };
    let write = lab.write();
    assert!(matches!(
        lab.refused(lab.catalog.commit_save(made.node, None, stray, write))
            .await,
        CatalogError::NotFound { what: "extent" }
    ));
    let mut headless = what();
    headless.dealt.clear();
    let write = lab.write();
    assert!(matches!(
        lab.refused(lab.catalog.commit_save(made.node, None, headless, write))
            .await,
        CatalogError::NotFound { what: "extent" }
    ));
    lab.done(into(made.node)).await;
}

/// The saves whose lease has ended, once there are so many.
async fn lapsed(lab: &Lab, number: usize) -> Vec<Intent> {
    loop {
        let found = lab.catalog.lapsed().await.expect("intents are read");
        if found.len() >= number {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// In one step or in two: both are there when it answers, and a file that is gone keeps nobody from saving a copy of it.
async fn a_save_begins_with_what_the_file_is(lab: Lab) {
    let node = lab.make(ROOT, "a", file()).await.node;
    let intent = || Intent {
        save: fresh(),
        extents: vec![(fresh(), Generation(1))],
    };
    let (first, second) = (intent(), intent());
    let begin = async |node, intent| lab.catalog.begin_save_of(node, intent, LONG).await;
    let about = begin(node, &first).await.unwrap();
    let about = about.expect("the file is there");
    assert_eq!(about.attr, lab.attr(node).await);
    assert_eq!(Some(about.path), lab.catalog.path(node).await.unwrap());
    assert!(begin(NOWHERE, &second).await.unwrap().is_none());
    let mut found = lab.catalog.intents().await.unwrap();
    found.sort_by_key(|intent| intent.save);
    let mut expected = [first.clone(), second.clone()];
    expected.sort_by_key(|intent| intent.save);
    assert_eq!(found, expected);
    let taken = lab.refused(begin(node, &first)).await;
    assert!(matches!(taken, CatalogError::Exists), "{taken}");
}

/// By the catalogue's clock, whatever those who ask think what time it is.
async fn intents_lapse(lab: Lab) {
    let [a, b, c] = std::array::from_fn(|_| fresh());
    let (early, late) = (fresh(), fresh());
    let intent = |save| Intent {
        save,
        extents: vec![(a, Generation(3))],
    };
    let begin = async |save, lease| lab.catalog.begin_save(&intent(save), lease).await;
    begin(early, Duration::from_millis(300)).await.unwrap();
    begin(late, LONG).await.unwrap();
    assert!(matches!(
        lab.refused(begin(late, LONG)).await,
        CatalogError::Exists
    ));
    assert_eq!(lab.catalog.intents().await.unwrap().len(), 2);
    assert_eq!(lapsed(&lab, 1).await, [intent(early)]);
    // A lease that has ended begins anew as long as nobody has swept.
    lab.catalog
        .extend_save(early, &[(b, Generation(4))], LONG)
        .await
        .unwrap();
    lab.catalog.extend_save(early, &[], LONG).await.unwrap();
    assert!(lab.catalog.lapsed().await.unwrap().is_empty());
    let more = [(c, Generation(4)), (b, Generation(5))];
    lab.catalog
        .extend_save(early, &more, Duration::ZERO)
        .await
        .unwrap();
    let extents = vec![
        (a, Generation(3)),
        (b, Generation(4)),
        (c, Generation(4)),
        (b, Generation(5)),
    ];
    let expected = Intent {
        save: early,
        extents,
    };
    assert_eq!(lapsed(&lab, 1).await, [expected]);
    lab.catalog
        .extend_save(late, &[], Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(lapsed(&lab, 2).await.len(), 2);
    assert_eq!(lab.log_len().await, 0, "an intent is no act yet");
}

async fn layouts_grow_shrink_and_have_holes(lab: Lab) {
    let made = lab.make(ROOT, "x", file()).await;
    let [a, b, c, d] = std::array::from_fn(|_| fresh());
    let layouts: [(Vec<Option<_>>, Vec<_>); 9] = [
        (vec![Some(a), Some(b)], vec![a, b]),
        (vec![Some(a), Some(c)], vec![c]),
        (vec![Some(a), Some(c), None, None, Some(d)], vec![d]),
        (vec![None, Some(c)], vec![]),
        (vec![], vec![]),
        (vec![None, None, None], vec![]),
        (vec![Some(a), Some(b)], vec![]),
        (vec![Some(b), Some(a)], vec![]),
        (vec![Some(a)], vec![]),
    ];
    for (layout, dealt) in &layouts {
        lab.save_extents(made.node, 10, layout, dealt).await;
    }
    for (number, (layout, _)) in (1..).zip(&layouts) {
        let version = lab
            .catalog
            .version(made.document, VersionNo(number))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(version.layout, *layout, "version {number}");
    }
    let (_, current) = lab.catalog.current(made.node).await.unwrap();
    assert_eq!(current.unwrap().layout, [Some(a)]);
    assert!(
        lab.catalog
            .history(made.document)
            .await
            .unwrap()
            .iter()
            .all(|version| version.layout.is_empty())
    );
    assert_eq!(
        lab.catalog.user_of(d).await.unwrap(),
        Some((Some(made.node), made.document, VersionNo(3)))
    );
    assert_eq!(
        lab.catalog.user_of(c).await.unwrap(),
        Some((Some(made.node), made.document, VersionNo(4)))
    );
    assert_eq!(
        lab.catalog.user_of(a).await.unwrap(),
        Some((Some(made.node), made.document, VersionNo(9)))
    );
    assert_eq!(lab.catalog.user_of(fresh()).await.unwrap(), None);
    for extent in [a, c, d] {
        let documents = lab.catalog.documents_of(extent).await.unwrap();
        assert_eq!(documents, [made.document]);
    }
    assert_eq!(lab.catalog.documents_of(fresh()).await.unwrap(), []);
    lab.done(lab.catalog.unlink(ROOT, &name("x"), &[], lab.write()))
        .await;
    assert_eq!(
        lab.catalog.user_of(d).await.unwrap(),
        Some((None, made.document, VersionNo(3)))
    );
}

async fn thousands_of_extents(lab: Lab) {
    let made = lab.make(ROOT, "large", file()).await;
    let mut layout: Vec<_> = (0..2000).map(|_| Some(fresh())).collect();
    let dealt: Vec<_> = layout.iter().flatten().copied().collect();
    lab.save_extents(made.node, 8 << 30, &layout, &dealt).await;
    let first = layout.clone();
    for round in 0..50 {
        let new = fresh();
        layout[round * 37] = Some(new);
        lab.save_extents(made.node, 8 << 30, &layout, &[new]).await;
    }
    assert_eq!(
        lab.catalog
            .current(made.node)
            .await
            .unwrap()
            .1
            .unwrap()
            .layout,
        layout
    );
    assert_eq!(
        lab.catalog
            .version(made.document, VersionNo(1))
            .await
            .unwrap()
            .unwrap()
            .layout,
        first
    );
    let mut all = 0;
    let mut after = None;
    loop {
        let page = lab.catalog.extents(after, 500).await.unwrap();
        assert!(
            page.is_sorted_by(|a, b| a.extent < b.extent)
                && page.iter().all(|extent| Some(extent.extent) > after)
        );
        all += page.len();
        match page.last() {
            Some(last) => after = Some(last.extent),
            None => break,
        }
    }
    assert_eq!(
        all,
        2000 + 50 + 51,
        "every extent of every version and the heads"
    );
}

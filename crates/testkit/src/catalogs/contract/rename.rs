//! Renaming.

use warifu_core::ids::VersionNo;
use warifu_vault::node::{AttrChange, NodeId, NodeKind};
use warifu_vault::seam::catalog::{CatalogError, RenameMode};

use super::lab::{Lab, dir, file, fresh, name, symlink};

const ROOT: NodeId = NodeId::ROOT;
const NOWHERE: NodeId = NodeId(4_000_000);

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    to_a_free_name(fresh()).await;
    folders_move_with_what_is_in_them(fresh()).await;
    what_may_replace_what(fresh()).await;
    two_names_of_one_node(fresh()).await;
    no_replace(fresh()).await;
    exchange(fresh()).await;
    a_folder_is_not_moved_into_itself(fresh()).await;
    a_replaced_file_hands_over_its_document(fresh()).await;
    the_way_office_programs_save(fresh()).await;
    an_unsaved_file_takes_over_too(fresh()).await;
    what_hands_over_nothing(fresh()).await;
    large_files_take_over(fresh()).await;
    replaced_and_still_open(fresh()).await;
}

async fn to_a_free_name(lab: Lab) {
    let made = lab.make(ROOT, "old", file()).await;
    let folder = lab.make(ROOT, "folder", dir()).await;
    let renamed = lab
        .done(lab.rename(
            (ROOT, "old"),
            (folder.node, "new"),
            RenameMode::Replace,
            false,
        ))
        .await;
    assert_eq!(
        (renamed.moved.node, renamed.moved.ctime, renamed.moved.mtime),
        (made.node, lab.now(), made.mtime)
    );
    assert!(renamed.other.is_none());
    assert_eq!(lab.attr(made.node).await, renamed.moved);
    assert_eq!(
        (lab.at(ROOT, "old").await, lab.at(folder.node, "new").await),
        (None, Some(made.node))
    );
    for parent in [ROOT, folder.node] {
        let attr = lab.attr(parent).await;
        assert_eq!((attr.mtime, attr.ctime), (lab.now(), lab.now()));
    }
    for (from, to) in [
        ((ROOT, "old"), (ROOT, "x")),
        ((NOWHERE, "old"), (ROOT, "x")),
        ((folder.node, "new"), (NOWHERE, "x")),
    ] {
        let error = lab
            .refused(lab.rename(from, to, RenameMode::Replace, false))
            .await;
        assert!(matches!(error, CatalogError::NotFound { .. }), "{error}");
    }
    let error = lab
        .refused(lab.rename((made.node, "x"), (ROOT, "y"), RenameMode::Replace, false))
        .await;
    assert!(matches!(error, CatalogError::NotDir));
    let error = lab
        .refused(lab.rename(
            (folder.node, "new"),
            (made.node, "y"),
            RenameMode::Replace,
            false,
        ))
        .await;
    assert!(matches!(error, CatalogError::NotDir));
}

async fn folders_move_with_what_is_in_them(lab: Lab) {
    let a = lab.make(ROOT, "a", dir()).await.node;
    let b = lab.make(ROOT, "b", dir()).await.node;
    let child = lab.make(a, "child", dir()).await.node;
    let leaf = lab.make(child, "leaf", file()).await.node;
    lab.done(lab.rename((a, "child"), (b, "moved"), RenameMode::Replace, false))
        .await;
    assert_eq!((lab.attr(a).await.nlink, lab.attr(b).await.nlink), (2, 3));
    assert_eq!(lab.catalog.parent(child).await.unwrap(), b);
    let path = lab.catalog.path(leaf).await.unwrap().unwrap();
    assert_eq!(path, [name("b"), name("moved"), name("leaf")]);
    lab.done(lab.rename((b, "moved"), (b, "again"), RenameMode::Replace, false))
        .await;
    assert_eq!(lab.attr(b).await.nlink, 3);
}

async fn what_may_replace_what(lab: Lab) {
    let folder = lab.make(ROOT, "folder", dir()).await.node;
    lab.make(ROOT, "file", file()).await;
    lab.make(ROOT, "full", dir()).await;
    let full = lab.at(ROOT, "full").await.unwrap();
    lab.make(full, "x", file()).await;
    let link = lab.make(ROOT, "link", symlink(b"file")).await.node;
    let go = |from: &'static str, to: &'static str| {
        lab.rename((ROOT, from), (ROOT, to), RenameMode::Replace, false)
    };
    assert!(matches!(
        lab.refused(go("folder", "file")).await,
        CatalogError::NotDir
    ));
    assert!(matches!(
        lab.refused(go("folder", "link")).await,
        CatalogError::NotDir
    ));
    assert!(matches!(
        lab.refused(go("file", "folder")).await,
        CatalogError::IsDir
    ));
    assert!(matches!(
        lab.refused(go("folder", "full")).await,
        CatalogError::NotEmpty
    ));
    let renamed = lab.done(go("file", "link")).await;
    let other = renamed.other.unwrap();
    assert_eq!(
        (other.node, other.nlink, other.kind),
        (link, 0, NodeKind::Symlink)
    );
    assert!(lab.catalog.attr(link).await.unwrap().is_none());
    assert_eq!(lab.attr(ROOT).await.nlink, 4);
    let renamed = lab.done(go("full", "folder")).await;
    let other = renamed.other.unwrap();
    assert_eq!((other.node, other.nlink), (folder, 0));
    assert!(lab.catalog.attr(folder).await.unwrap().is_none());
    assert_eq!(lab.attr(ROOT).await.nlink, 3);
    assert_eq!(lab.at(ROOT, "folder").await, Some(full));
    // Over an empty folder elsewhere: the one loses a folder, the other has as many as before.
    let inner = lab.make(full, "inner", dir()).await.node;
    let outer = lab.make(ROOT, "outer", dir()).await.node;
    lab.done(lab.rename((ROOT, "outer"), (full, "inner"), RenameMode::Replace, false))
        .await;
    assert_eq!(
        (lab.attr(ROOT).await.nlink, lab.attr(full).await.nlink),
        (3, 3)
    );
    assert_eq!(
        (
            lab.at(full, "inner").await,
            lab.catalog.attr(inner).await.unwrap()
        ),
        (Some(outer), None)
    );
}

async fn two_names_of_one_node(lab: Lab) {
    let made = lab.make(ROOT, "one", file()).await;
    lab.done(lab.catalog.link(made.node, ROOT, &name("two"), lab.write()))
        .await;
    for mode in [RenameMode::Replace, RenameMode::Exchange] {
        for to in ["one", "two"] {
            let before = lab.picture().await;
            let renamed = lab
                .rename((ROOT, "one"), (ROOT, to), mode, false)
                .await
                .unwrap();
            assert!(renamed.other.is_none());
            assert_eq!(renamed.moved, lab.attr(made.node).await);
            assert_eq!(
                lab.picture().await,
                before,
                "nothing is done, so nothing is logged"
            );
        }
    }
    let error = lab
        .refused(lab.rename((ROOT, "one"), (ROOT, "two"), RenameMode::NoReplace, false))
        .await;
    assert!(matches!(error, CatalogError::Exists));
}

async fn no_replace(lab: Lab) {
    let made = lab.make(ROOT, "one", file()).await;
    lab.make(ROOT, "two", file()).await;
    let error = lab
        .refused(lab.rename((ROOT, "one"), (ROOT, "two"), RenameMode::NoReplace, false))
        .await;
    assert!(matches!(error, CatalogError::Exists));
    lab.done(lab.rename((ROOT, "one"), (ROOT, "three"), RenameMode::NoReplace, false))
        .await;
    assert_eq!(lab.at(ROOT, "three").await, Some(made.node));
}

async fn exchange(lab: Lab) {
    let folder = lab.make(ROOT, "folder", dir()).await.node;
    let inner = lab.make(folder, "inner", dir()).await.node;
    let made = lab.make(ROOT, "file", file()).await;
    lab.save(made.node, 3).await;
    let error = lab
        .refused(lab.rename(
            (ROOT, "file"),
            (ROOT, "nothing"),
            RenameMode::Exchange,
            false,
        ))
        .await;
    assert!(matches!(error, CatalogError::NotFound { .. }));
    let renamed = lab
        .done(lab.rename(
            (ROOT, "file"),
            (folder, "inner"),
            RenameMode::Exchange,
            false,
        ))
        .await;
    let other = renamed.other.unwrap();
    assert_eq!((renamed.moved.node, other.node), (made.node, inner));
    assert_eq!((renamed.moved.ctime, other.ctime), (lab.now(), lab.now()));
    assert_eq!((renamed.moved.nlink, other.nlink), (1, 2));
    assert_eq!(
        (lab.at(folder, "inner").await, lab.at(ROOT, "file").await),
        (Some(made.node), Some(inner))
    );
    assert_eq!(
        (lab.attr(ROOT).await.nlink, lab.attr(folder).await.nlink),
        (4, 2)
    );
    assert_eq!(lab.catalog.parent(inner).await.unwrap(), ROOT);
    let second = lab.make(ROOT, "second", file()).await;
    lab.save(second.node, 4).await;
    let renamed = lab
        .done(lab.rename(
            (ROOT, "second"),
            (folder, "inner"),
            RenameMode::Exchange,
            false,
        ))
        .await;
    assert_eq!(
        renamed.moved.document, second.document,
        "documents stay with their nodes"
    );
    assert_eq!(renamed.other.unwrap().document, made.document);
}

async fn a_folder_is_not_moved_into_itself(lab: Lab) {
    let a = lab.make(ROOT, "a", dir()).await.node;
    let b = lab.make(a, "b", dir()).await.node;
    let c = lab.make(b, "c", dir()).await.node;
    lab.make(c, "file", file()).await;
    for to in [(a, "x"), (b, "x"), (c, "x")] {
        for mode in [RenameMode::Replace, RenameMode::NoReplace] {
            assert!(matches!(
                lab.refused(lab.rename((ROOT, "a"), to, mode, false)).await,
                CatalogError::Loop
            ));
        }
    }
    // The other way round: what lies in a folder cannot take its place, and it cannot change places with it.
    assert!(matches!(
        lab.refused(lab.rename((b, "c"), (ROOT, "a"), RenameMode::Replace, false))
            .await,
        CatalogError::NotEmpty
    ));
    assert!(matches!(
        lab.refused(lab.rename((b, "c"), (ROOT, "a"), RenameMode::Exchange, false))
            .await,
        CatalogError::Loop
    ));
    assert!(matches!(
        lab.refused(lab.rename((c, "file"), (ROOT, "a"), RenameMode::Exchange, false))
            .await,
        CatalogError::Loop
    ));
    assert!(matches!(
        lab.refused(lab.rename((ROOT, "a"), (c, "file"), RenameMode::Exchange, false))
            .await,
        CatalogError::Loop
    ));
}

/// What a version says, without where it stands.
macro_rules! contents {
    ($version:expr) => {{
        let version = $version;
        (
            version.size,
            version.mtime,
            version.saved_at,
            version.author,
            version.host,
            version.head,
            version.settled,
            version.layout,
        )
    }};
}

async fn a_replaced_file_hands_over_its_document(lab: Lab) {
    let target = lab.make(ROOT, "doc", file()).await;
    lab.save(target.node, 1).await;
    lab.save(target.node, 2).await;
    let temp = lab.make(ROOT, "temp", file()).await;
    let saved = lab.save(temp.node, 3).await;
    let source = lab
        .catalog
        .version(temp.document, VersionNo(1))
        .await
        .unwrap()
        .unwrap();
    let renamed = lab
        .done(lab.rename((ROOT, "temp"), (ROOT, "doc"), RenameMode::Replace, false))
        .await;
    let moved = renamed.moved;
    assert_eq!(
        (moved.node, moved.document, moved.version),
        (temp.node, target.document, VersionNo(3))
    );
    assert_eq!(
        (moved.head, moved.size, moved.mtime, moved.ctime),
        (saved.head, 3, saved.mtime, lab.now())
    );
    assert_eq!(renamed.other.unwrap().node, target.node);
    let (attr, version) = lab.catalog.current(temp.node).await.unwrap();
    let version = version.unwrap();
    assert_eq!(attr, moved);
    assert_eq!(
        (version.document, version.number),
        (target.document, VersionNo(3))
    );
    assert_eq!(contents!(version), contents!(source));
    let sizes: Vec<_> = lab
        .catalog
        .history(target.document)
        .await
        .unwrap()
        .iter()
        .map(|version| version.size)
        .collect();
    assert_eq!(sizes, [1, 2, 3]);
    assert_eq!(
        lab.catalog.history(temp.document).await.unwrap().len(),
        1,
        "the document it had keeps its version"
    );
    let extent = lab
        .catalog
        .extent(saved.head.unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (extent.document, extent.version),
        (temp.document, VersionNo(1)),
        "an extent names what it was dealt for"
    );
    assert_eq!(
        lab.catalog.user_of(extent.extent).await.unwrap(),
        Some((Some(temp.node), target.document, VersionNo(3)))
    );
    let mut both = [temp.document, target.document];
    both.sort();
    assert_eq!(lab.catalog.documents_of(extent.extent).await.unwrap(), both);
    let next = lab.save(temp.node, 4).await;
    assert_eq!(
        (next.document, next.version),
        (target.document, VersionNo(4))
    );
    // On disk is on disk, whichever document is asked.
    assert_eq!(lab.catalog.unsettled(10).await.unwrap().len(), 5);
    lab.catalog
        .settle(&[(temp.document, VersionNo(1))])
        .await
        .unwrap();
    assert!(
        lab.catalog
            .version(target.document, VersionNo(3))
            .await
            .unwrap()
            .unwrap()
            .settled
    );
    assert_eq!(lab.catalog.unsettled(10).await.unwrap().len(), 3);
}

async fn the_way_office_programs_save(lab: Lab) {
    let target = lab.make(ROOT, "report.docx", file()).await;
    lab.save(target.node, 100).await;
    for round in 1..=20 {
        let temp = lab.make(ROOT, "~wrd0001.tmp", file()).await;
        lab.save(temp.node, 100 + round).await;
        let renamed = lab
            .done(lab.rename(
                (ROOT, "~wrd0001.tmp"),
                (ROOT, "report.docx"),
                RenameMode::Replace,
                false,
            ))
            .await;
        assert_eq!(
            (renamed.moved.document, renamed.moved.version),
            (target.document, VersionNo(1 + round))
        );
    }
    let history = lab.catalog.history(target.document).await.unwrap();
    assert_eq!(history.len(), 21);
    assert!(
        history
            .iter()
            .zip(1..)
            .all(|(version, number)| version.number == VersionNo(number))
    );
    assert_eq!(lab.catalog.usage().await.unwrap().files, 1);
}

async fn an_unsaved_file_takes_over_too(lab: Lab) {
    let target = lab.make(ROOT, "doc", file()).await;
    lab.save(target.node, 9).await;
    let temp = lab.make(ROOT, "temp", file()).await;
    let change = AttrChange {
        mtime: Some(super::lab::time(77)),
        ..AttrChange::default()
    };
    lab.done(lab.catalog.set_attr(temp.node, &change, lab.write()))
        .await;
    let moved = lab
        .done(lab.rename((ROOT, "temp"), (ROOT, "doc"), RenameMode::Replace, false))
        .await
        .moved;
    assert_eq!(
        (moved.document, moved.version, moved.head, moved.size),
        (target.document, VersionNo(2), None, 0)
    );
    let version = lab.catalog.current(temp.node).await.unwrap().1.unwrap();
    assert_eq!(
        (version.head, version.size, version.settled, version.mtime),
        (None, 0, true, super::lab::time(77))
    );
    assert_eq!(
        (
            version.author.as_str(),
            version.host.as_str(),
            version.saved_at
        ),
        ("山田", "juumin-pc-7", lab.now())
    );
    assert_eq!(lab.save(temp.node, 5).await.version, VersionNo(3));
}

async fn what_hands_over_nothing(lab: Lab) {
    // A document without versions.
    lab.make(ROOT, "empty", file()).await;
    let one = lab.make(ROOT, "one", file()).await;
    lab.save(one.node, 1).await;
    let moved = lab
        .done(lab.rename((ROOT, "one"), (ROOT, "empty"), RenameMode::Replace, false))
        .await
        .moved;
    assert_eq!(
        (moved.document, moved.version),
        (one.document, VersionNo(1))
    );
    // A file that has another name.
    let linked = lab.make(ROOT, "linked", file()).await;
    lab.save(linked.node, 2).await;
    lab.done(
        lab.catalog
            .link(linked.node, ROOT, &name("elsewhere"), lab.write()),
    )
    .await;
    let renamed = lab
        .done(lab.rename(
            (ROOT, "empty"),
            (ROOT, "linked"),
            RenameMode::Replace,
            false,
        ))
        .await;
    assert_eq!(renamed.moved.document, one.document);
    assert_eq!(
        (
            renamed.other.unwrap().nlink,
            lab.attr(linked.node).await.nlink
        ),
        (1, 1)
    );
    assert_eq!(lab.attr(linked.node).await.document, linked.document);
    // A link is no file.
    lab.make(ROOT, "link", symlink(b"x")).await;
    let moved = lab
        .done(lab.rename((ROOT, "linked"), (ROOT, "link"), RenameMode::Replace, false))
        .await
        .moved;
    assert_eq!(moved.document, one.document);
}

async fn large_files_take_over(lab: Lab) {
    let [a, b, c, d, e] = std::array::from_fn(|_| fresh());
    let target = lab.make(ROOT, "doc", file()).await;
    lab.save_extents(target.node, 30, &[Some(a), None, Some(b)], &[a, b])
        .await;
    let temp = lab.make(ROOT, "temp", file()).await;
    lab.save_extents(temp.node, 20, &[Some(c), Some(d)], &[c, d])
        .await;
    lab.save_extents(temp.node, 40, &[Some(c), Some(e), None, Some(d)], &[e])
        .await;
    lab.done(lab.rename((ROOT, "temp"), (ROOT, "doc"), RenameMode::Replace, false))
        .await;
    let layout = async |document, number| {
        lab.catalog
            .version(document, VersionNo(number))
            .await
            .unwrap()
            .unwrap()
            .layout
    };
    assert_eq!(layout(target.document, 1).await, [Some(a), None, Some(b)]);
    assert_eq!(
        layout(target.document, 2).await,
        [Some(c), Some(e), None, Some(d)]
    );
    assert_eq!(layout(temp.document, 1).await, [Some(c), Some(d)]);
    assert_eq!(
        layout(temp.document, 2).await,
        [Some(c), Some(e), None, Some(d)]
    );
    lab.save_extents(temp.node, 10, &[Some(c)], &[]).await;
    assert_eq!(layout(target.document, 3).await, [Some(c)]);
    assert_eq!(
        layout(target.document, 2).await,
        [Some(c), Some(e), None, Some(d)]
    );
}

async fn replaced_and_still_open(lab: Lab) {
    let target = lab.make(ROOT, "doc", file()).await;
    let old = lab.save(target.node, 1).await;
    let temp = lab.make(ROOT, "temp", file()).await;
    lab.save(temp.node, 2).await;
    let renamed = lab
        .done(lab.rename((ROOT, "temp"), (ROOT, "doc"), RenameMode::Replace, true))
        .await;
    let kept = renamed.other.unwrap();
    assert_eq!(
        (kept.nlink, kept.document, kept.version, kept.head),
        (0, target.document, VersionNo(1), old.head)
    );
    let (attr, version) = lab.catalog.current(target.node).await.unwrap();
    assert_eq!(
        (attr, version.unwrap().size),
        (kept.clone(), 1),
        "whoever has it open reads on what it was"
    );
    // The document has gone on without it: what it would save is a conflict, not the newest version.
    let save = lab.begin(&[]).await;
    let write = lab.write();
    let commit = super::lab::commit(save, &kept, lab.now(), 9, &[], &[]);
    let error = lab
        .refused(
            lab.catalog
                .commit_save(target.node, kept.head, commit, write),
        )
        .await;
    assert!(
        matches!(
            error,
            CatalogError::Conflict {
                current: VersionNo(2)
            }
        ),
        "{error}"
    );
    lab.catalog.forget(target.node).await.unwrap();
    assert!(lab.catalog.attr(target.node).await.unwrap().is_none());
    assert_eq!(lab.catalog.history(target.document).await.unwrap().len(), 2);
}

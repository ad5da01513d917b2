//! Files that go on with another file's document.

use warifu_core::ids::{FileId, VersionNo};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::RenameMode;

use super::lab::{Lab, file, fresh};

const ROOT: NodeId = NodeId::ROOT;
const SPARE: FileId = FileId::from_bytes([77; 16]);

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    of_a_file_that_is_gone(fresh()).await;
    of_a_file_that_stands_elsewhere(fresh()).await;
    of_a_large_file(fresh()).await;
    where_there_is_nothing_to_go_on_with(fresh()).await;
}

async fn sizes(lab: &Lab, document: FileId) -> Vec<u64> {
    let history = lab.catalog.history(document).await.unwrap();
    let numbers = history.iter().map(|version| version.number.0);
    assert!(numbers.eq(1..=history.len() as u64));
    history.iter().map(|version| version.size).collect()
}

async fn of_a_file_that_is_gone(lab: Lab) {
    let old = lab.make(ROOT, "doc", file()).await;
    lab.save(old.node, 1).await;
    lab.save(old.node, 2).await;
    let name = super::lab::name("doc");
    lab.done(lab.catalog.unlink(ROOT, &name, &[], lab.write()))
        .await;
    let new = lab.make(ROOT, "doc", file()).await;
    let saved = lab.save(new.node, 3).await;
    let write = lab.write();
    let changed = lab
        .done(lab.catalog.succeed(new.node, old.document, SPARE, write))
        .await;
    assert_eq!(changed, [lab.attr(new.node).await]);
    assert_eq!(
        (changed[0].document, changed[0].version, changed[0].head),
        (old.document, VersionNo(3), saved.head)
    );
    assert_eq!(changed[0].size, 3);
    assert_eq!(sizes(&lab, old.document).await, [1, 2, 3]);
    assert_eq!(sizes(&lab, new.document).await, [3]);
    let next = lab.save(new.node, 4).await;
    assert_eq!((next.document, next.version), (old.document, VersionNo(4)));
}

async fn of_a_file_that_stands_elsewhere(lab: Lab) {
    let old = lab.make(ROOT, "doc", file()).await;
    lab.save(old.node, 1).await;
    lab.done(lab.rename((ROOT, "doc"), (ROOT, "doc~"), RenameMode::Replace, false))
        .await;
    let new = lab.make(ROOT, "doc", file()).await;
    lab.save(new.node, 10).await;
    lab.save(new.node, 11).await;
    let write = lab.write();
    let changed = lab
        .done(lab.catalog.succeed(new.node, old.document, SPARE, write))
        .await;
    assert_eq!(
        changed,
        [lab.attr(new.node).await, lab.attr(old.node).await]
    );
    assert_eq!(
        (changed[0].document, changed[0].version, changed[0].size),
        (old.document, VersionNo(2), 11)
    );
    assert_eq!(
        (changed[1].document, changed[1].version, changed[1].size),
        (SPARE, VersionNo(1), 1)
    );
    assert_eq!(sizes(&lab, old.document).await, [1, 11]);
    assert_eq!(sizes(&lab, new.document).await, [10, 11]);
    assert_eq!(sizes(&lab, SPARE).await, [1]);
    // Both go on, each in its own.
    assert_eq!(lab.save(new.node, 12).await.version, VersionNo(3));
    assert_eq!(lab.save(old.node, 2).await.version, VersionNo(2));
    assert_eq!(sizes(&lab, old.document).await, [1, 11, 12]);
    assert_eq!(sizes(&lab, SPARE).await, [1, 2]);
}

async fn of_a_large_file(lab: Lab) {
    let [a, b, c] = std::array::from_fn(|_| fresh());
    let old = lab.make(ROOT, "doc", file()).await;
    lab.save_extents(old.node, 20, &[Some(a), Some(b)], &[a, b])
        .await;
    lab.done(lab.rename((ROOT, "doc"), (ROOT, "old"), RenameMode::Replace, false))
        .await;
    let new = lab.make(ROOT, "doc", file()).await;
    lab.save_extents(new.node, 30, &[None, None, Some(c)], &[c])
        .await;
    let write = lab.write();
    lab.done(lab.catalog.succeed(new.node, old.document, SPARE, write))
        .await;
    let layout = async |node| {
        let (_, version) = lab.catalog.current(node).await.unwrap();
        version.unwrap().layout
    };
    assert_eq!(layout(new.node).await, [None, None, Some(c)]);
    assert_eq!(layout(old.node).await, [Some(a), Some(b)]);
}

async fn where_there_is_nothing_to_go_on_with(lab: Lab) {
    let old = lab.make(ROOT, "old", file()).await;
    lab.save(old.node, 1).await;
    let empty = lab.make(ROOT, "empty", file()).await;
    let new = lab.make(ROOT, "new", file()).await;
    let saved = lab.save(new.node, 2).await;
    let before = lab.picture().await;
    for (node, document) in [
        (empty.node, old.document),
        (new.node, empty.document),
        (new.node, saved.document),
        (new.node, FileId::NIL),
        (ROOT, old.document),
    ] {
        let write = lab.write();
        let changed = lab
            .catalog
            .succeed(node, document, SPARE, write)
            .await
            .unwrap();
        assert!(changed.is_empty(), "{changed:?}");
    }
    assert_eq!(lab.picture().await, before);
    let write = lab.write();
    let nobody = lab
        .catalog
        .succeed(NodeId(4_000_000), old.document, SPARE, write);
    lab.refused(nobody).await;
}

//! Earlier versions made current again.

use warifu_core::ids::{FileId, VersionNo};
use warifu_vault::node::{Attr, NodeId};
use warifu_vault::seam::catalog::{CatalogError, NewNode, Version};
use warifu_vault::seam::past::Reinstate;

use super::lab::{Lab, dir, file, fresh, name};

const ROOT: NodeId = NodeId::ROOT;

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    an_earlier_version_comes_back(fresh()).await;
    a_removed_file_comes_back_with_its_history(fresh()).await;
    what_cannot_come_back_changes_nothing(fresh()).await;
}

fn new_file(document: FileId) -> NewNode {
    NewNode { document, ..file() }
}

async fn version(lab: &Lab, attr: &Attr) -> Version {
    let found = lab.catalog.version(attr.document, attr.version).await;
    found.expect("it is read").expect("it is there")
}

async fn an_earlier_version_comes_back(lab: Lab) {
    let node = lab.make(ROOT, "large", file()).await.node;
    let (one, two, three) = (fresh(), fresh(), fresh());
    lab.save_extents(node, 9 << 20, &[Some(one), None, Some(two)], &[one, two])
        .await;
    let first = lab.attr(node).await;
    let was = version(&lab, &first).await;
    lab.save_extents(node, 5 << 20, &[Some(three), None], &[three])
        .await;
    let second = lab.attr(node).await;
    let write = lab.write();
    let now = lab.now();
    let to = Reinstate::Next(node, second.head);
    let from = (first.document, first.version);
    let attr = lab
        .done(lab.catalog.reinstate(to, from, write.clone()))
        .await;
    assert_eq!((attr.version, attr.size), (VersionNo(3), 9 << 20));
    assert_eq!(
        (attr.head, attr.mtime, attr.ctime),
        (first.head, was.mtime, now)
    );
    assert_eq!(lab.attr(node).await, attr);
    let again = version(&lab, &attr).await;
    assert_eq!((&again.layout, again.head), (&was.layout, was.head));
    assert_eq!(again.saved_at, now);
    assert_eq!(again.author, write.audit.context.actor);
    assert_eq!(again.host, write.audit.context.host);
    // A save goes on from it.
    lab.save_extents(node, 4 << 20, &[Some(three)], &[]).await;
    assert_eq!(version(&lab, &attr).await.layout, was.layout);
    // As if nothing had ever been saved.
    let current = lab.attr(node).await;
    let to = Reinstate::Next(node, current.head);
    let empty = (first.document, VersionNo(0));
    let attr = lab
        .done(lab.catalog.reinstate(to, empty, lab.write()))
        .await;
    assert_eq!(
        (attr.version, attr.size, attr.head),
        (VersionNo(5), 0, None)
    );
    assert!(version(&lab, &attr).await.settled);
}

async fn a_removed_file_comes_back_with_its_history(lab: Lab) {
    let attr = lab.make(ROOT, "a", file()).await;
    lab.save(attr.node, 10).await;
    lab.save(attr.node, 20).await;
    let document = attr.document;
    lab.done(lab.catalog.unlink(ROOT, &name("a"), &[], lab.write()))
        .await;
    let to = |text: &str, document| Reinstate::New(ROOT, name(text), new_file(document));
    let newest = (document, VersionNo(2));
    let back = lab
        .done(
            lab.catalog
                .reinstate(to("a", document), newest, lab.write()),
        )
        .await;
    assert_eq!(
        (back.document, back.version, back.size),
        (document, VersionNo(2), 20)
    );
    assert_ne!(back.node, attr.node, "no number of a node is used again");
    assert_eq!(lab.catalog.history(document).await.unwrap().len(), 2);
    // While one file has the document, another is a document of its own.
    let error = lab
        .refused(
            lab.catalog
                .reinstate(to("b", document), newest, lab.write()),
        )
        .await;
    assert!(matches!(error, CatalogError::Exists), "{error}");
    let own = FileId::fresh().expect("there is randomness");
    let first = (document, VersionNo(1));
    let copy = lab
        .done(lab.catalog.reinstate(to("b", own), first, lab.write()))
        .await;
    assert_eq!(
        (copy.document, copy.version, copy.size),
        (own, VersionNo(1), 10)
    );
    // An older version than the newest is a new one.
    lab.done(lab.catalog.unlink(ROOT, &name("a"), &[], lab.write()))
        .await;
    let older = lab
        .done(lab.catalog.reinstate(to("a", document), first, lab.write()))
        .await;
    assert_eq!((older.version, older.size), (VersionNo(3), 10));
    // Both use one head; it stays as long as one of them does.
    assert_eq!(older.head, copy.head);
    let nothing = FileId::fresh().expect("there is randomness");
    let empty = lab
        .done(
            lab.catalog
                .reinstate(to("empty", nothing), (nothing, VersionNo(0)), lab.write()),
        )
        .await;
    assert_eq!(
        (empty.version, empty.size, empty.head),
        (VersionNo(0), 0, None)
    );
}

async fn what_cannot_come_back_changes_nothing(lab: Lab) {
    let attr = lab.make(ROOT, "a", file()).await;
    lab.save(attr.node, 10).await;
    let current = lab.attr(attr.node).await;
    let folder = lab.make(ROOT, "folder", dir()).await;
    let from = (attr.document, VersionNo(1));
    let own = FileId::fresh().expect("there is randomness");
    let next = |node, head| Reinstate::Next(node, head);
    let new = |parent, text: &str, new| Reinstate::New(parent, name(text), new);
    let cases = [
        (next(attr.node, None), from, "conflict"),
        (next(attr.node, Some(fresh())), from, "conflict"),
        (
            next(attr.node, current.head),
            (attr.document, VersionNo(9)),
            "not found",
        ),
        (
            next(attr.node, current.head),
            (own, VersionNo(1)),
            "not found",
        ),
        (next(folder.node, None), from, "folder"),
        (next(NodeId(999), None), from, "not found"),
        (new(ROOT, "a", new_file(own)), from, "exists"),
        (new(NodeId(999), "b", new_file(own)), from, "not found"),
        (new(attr.node, "b", new_file(own)), from, "not a folder"),
        (
            new(ROOT, "b", new_file(own)),
            (own, VersionNo(3)),
            "not found",
        ),
        (
            new(
                ROOT,
                "b",
                NewNode {
                    document: own,
                    ..dir()
                },
            ),
            from,
            "folder",
        ),
    ];
    for (to, from, expected) in cases {
        let error = lab
            .refused(lab.catalog.reinstate(to.clone(), from, lab.write()))
            .await;
        let told = match error {
            CatalogError::Conflict { current } => {
                assert_eq!(current, VersionNo(1));
                "conflict"
            }
            CatalogError::NotFound { .. } => "not found",
            CatalogError::IsDir => "folder",
            CatalogError::Exists => "exists",
            CatalogError::NotDir => "not a folder",
            _ => "something else",
        };
        assert_eq!(told, expected, "{to:?}: {error}");
    }
}

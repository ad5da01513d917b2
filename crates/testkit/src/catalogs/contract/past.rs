//! Names in time, and earlier versions made current again.

use std::sync::Arc;

use warifu_core::ids::{FileId, VersionNo};
use warifu_vault::node::{Attr, NodeId};
use warifu_vault::seam::catalog::{CatalogError, NewNode, RenameMode, Version, XattrMode};
use warifu_vault::seam::clock::Timestamp;
use warifu_vault::seam::past::{End, Forget, Forgotten, Reinstate, version_at};

use super::lab::{Lab, dir, file, fresh, name, symlink};

const ROOT: NodeId = NodeId::ROOT;

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    names_are_as_they_were_at_each_time(fresh()).await;
    each_way_to_end_a_name_leaves_it(fresh()).await;
    a_replaced_file_shows_what_it_held(fresh()).await;
    a_successor_shows_what_it_held_before(fresh()).await;
    names_of_a_document_are_found_through_renames(fresh()).await;
    an_earlier_version_comes_back(fresh()).await;
    a_removed_file_comes_back_with_its_history(fresh()).await;
    what_cannot_come_back_changes_nothing(fresh()).await;
    versions_are_forgotten_and_what_others_need_stays(fresh()).await;
    names_and_removed_files_are_forgotten(fresh()).await;
    positions_move_on_from_where_they_are(fresh()).await;
}

async fn listed(lab: &Lab, folder: NodeId, at: Timestamp) -> Vec<(String, NodeId)> {
    let names = lab.catalog.list_at(folder, at).await.expect("it is listed");
    assert!(names.is_sorted_by_key(|name| name.tag));
    assert!(names.iter().all(|name| name.covers(at)));
    for found in &names {
        let one = lab.catalog.lookup_at(folder, &found.name, at).await;
        assert_eq!(one.expect("it is looked up").as_ref(), Some(found));
    }
    let mut all: Vec<_> = names
        .iter()
        .map(|name| (name.name.display().into_owned(), name.node))
        .collect();
    all.sort();
    all
}

/// Every state that the folders went through, by the time after the change that made it, is there as long as the catalogue.
async fn names_are_as_they_were_at_each_time(lab: Lab) {
    let before = lab.now();
    let mut states = Vec::new();
    let one = lab.make(ROOT, "one", dir()).await.node;
    let two = lab.make(ROOT, "two", dir()).await.node;
    let steps: [(&str, NodeId, &str, NodeId, &str); 8] = [
        ("make", one, "a", ROOT, ""),
        ("make", one, "b", ROOT, ""),
        ("move", one, "a", two, "a"),
        ("move", two, "a", two, "c"),
        ("unlink", one, "b", ROOT, ""),
        ("make", one, "b", ROOT, ""),
        ("move", one, "b", two, "c"),
        ("unlink", two, "c", ROOT, ""),
    ];
    for (what, folder, text, to, new) in steps {
        match what {
            "make" => {
                lab.make(folder, text, file()).await;
            }
            "move" => {
                let moved = lab.rename((folder, text), (to, new), RenameMode::Replace, false);
                moved.await.expect("it is moved");
            }
            _ => {
                let gone = name(text);
                lab.done(lab.catalog.unlink(folder, &gone, false, lab.write()))
                    .await;
            }
        }
        let now = lab.now();
        states.push((
            now,
            listed(&lab, one, now).await,
            listed(&lab, two, now).await,
        ));
        let present = super::lab::list_all(&*lab.catalog, one).await.len();
        assert_eq!(present, listed(&lab, one, now).await.len(), "now is now");
    }
    let texts = |list: &[(String, NodeId)]| -> String {
        list.iter().map(|(text, _)| text.as_str()).collect()
    };
    let told: Vec<(String, String)> = states
        .iter()
        .map(|(_, one, two)| (texts(one), texts(two)))
        .collect();
    let expected = [
        ("a", ""),
        ("ab", ""),
        ("b", "a"),
        ("b", "c"),
        ("", "c"),
        ("b", "c"),
        ("", "c"),
        ("", ""),
    ];
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(one, two)| ((*one).to_owned(), (*two).to_owned()))
        .collect();
    assert_eq!(told, expected);
    for (at, in_one, in_two) in &states {
        assert_eq!(&listed(&lab, one, *at).await, in_one, "{at:?}");
        assert_eq!(&listed(&lab, two, *at).await, in_two, "{at:?}");
    }
    assert!(listed(&lab, ROOT, before).await.is_empty());
    assert_eq!(listed(&lab, ROOT, lab.now()).await.len(), 2);
    // A folder is there as it was although it is gone.
    lab.catalog
        .rmdir(ROOT, &name("one"), lab.write())
        .await
        .expect("it is empty");
    assert_eq!(&listed(&lab, one, states[1].0).await, &states[1].1);
    assert!(listed(&lab, one, lab.now()).await.is_empty());
    assert!(listed(&lab, NodeId(u64::MAX), lab.now()).await.is_empty());
}

async fn each_way_to_end_a_name_leaves_it(lab: Lab) {
    let a = lab.make(ROOT, "a", file()).await;
    let made = lab.now();
    let b = lab.make(ROOT, "b", symlink(b"../there")).await;
    lab.rename((ROOT, "a"), (ROOT, "b"), RenameMode::Exchange, false)
        .await
        .expect("they change places");
    let exchanged = lab.now();
    lab.rename((ROOT, "b"), (ROOT, "c"), RenameMode::NoReplace, false)
        .await
        .expect("c is free");
    let moved = lab.now();
    lab.done(lab.catalog.link(a.node, ROOT, &name("d"), lab.write()))
        .await;
    let linked = lab.now();
    lab.done(lab.catalog.unlink(ROOT, &name("c"), false, lab.write()))
        .await;
    let removed = lab.now();
    let folder = lab.make(ROOT, "e", dir()).await.node;
    let other = lab.make(ROOT, "f", dir()).await.node;
    let folders = lab.now();
    lab.rename((ROOT, "f"), (ROOT, "e"), RenameMode::Replace, false)
        .await
        .expect("e is empty");
    let replaced = lab.now();
    let ended = lab.catalog.ended(0, 100).await.expect("they are told");
    let told: Vec<_> = ended
        .iter()
        .map(|name| {
            (
                name.name.display().into_owned(),
                name.node,
                name.since,
                name.until,
            )
        })
        .collect();
    let text = |text: &str| text.to_owned();
    let before_b = ended[1].since;
    assert_eq!(
        told,
        [
            (text("a"), a.node, made, Some((exchanged, End::Moved))),
            (text("b"), b.node, before_b, Some((exchanged, End::Moved))),
            (text("b"), a.node, exchanged, Some((moved, End::Moved))),
            (text("c"), a.node, moved, Some((removed, End::Removed))),
            (text("f"), other, folders, Some((replaced, End::Moved))),
            (
                text("e"),
                folder,
                ended[5].since,
                Some((replaced, End::Removed))
            ),
        ]
    );
    assert_eq!(ended[1].target, b"../there");
    assert_eq!(
        (ended[0].mode, ended[0].uid, ended[0].gid),
        (a.mode, a.uid, a.gid)
    );
    assert_eq!(ended[0].document, a.document);
    assert!(ended.is_sorted_by(|one, next| one.id < next.id));
    assert_eq!(
        lab.catalog.ended(ended[2].id, 2).await.unwrap(),
        ended[3..5]
    );
    assert!(lab.catalog.ended(u64::MAX, 2).await.unwrap().is_empty());
    let last = lab.catalog.last(ROOT, &name("c")).await.unwrap();
    assert_eq!(last.as_ref(), Some(&ended[3]));
    let there = lab.catalog.last(ROOT, &name("d")).await.unwrap();
    let there = there.expect("it is there");
    assert_eq!(
        (there.node, there.since, there.until),
        (a.node, linked, None)
    );
    assert_eq!(lab.catalog.last(ROOT, &name("z")).await.unwrap(), None);
    let of_node = lab.catalog.names_of_node(a.node).await.unwrap();
    assert_eq!(of_node.len(), 4);
    assert_eq!(of_node[3], there);
    // What changes nothing ends nothing.
    lab.refused(lab.rename((ROOT, "x"), (ROOT, "y"), RenameMode::Replace, false))
        .await;
    lab.done(lab.catalog.link(a.node, ROOT, &name("g"), lab.write()))
        .await;
    lab.rename((ROOT, "d"), (ROOT, "g"), RenameMode::Replace, false)
        .await
        .expect("two names of one node");
    assert_eq!(lab.catalog.ended(0, 100).await.unwrap().len(), 6);
}

/// The way office programs save: another file takes the name and the document, and what came before is still told apart.
async fn a_replaced_file_shows_what_it_held(lab: Lab) {
    let first = lab.make(ROOT, "doc", file()).await;
    lab.save(first.node, 10).await;
    let old = lab.now();
    let working = lab.make(ROOT, "tmp", file()).await;
    lab.save(working.node, 20).await;
    let between = lab.now();
    lab.rename((ROOT, "tmp"), (ROOT, "doc"), RenameMode::Replace, false)
        .await
        .expect("it is replaced");
    let new = lab.now();
    let then = async |text: &str, at| -> Option<(NodeId, Option<u64>)> {
        let found = lab
            .catalog
            .lookup_at(ROOT, &name(text), at)
            .await
            .unwrap()?;
        let versions = lab.catalog.history(found.document).await.unwrap();
        let size = version_at(&versions, &found, at).map(|version| version.size);
        Some((found.node, size))
    };
    assert_eq!(then("doc", old).await, Some((first.node, Some(10))));
    assert_eq!(
        then("doc", between).await,
        Some((first.node, Some(10))),
        "although what it will hold has been saved"
    );
    assert_eq!(then("doc", new).await, Some((working.node, Some(20))));
    assert_eq!(then("tmp", old).await, None);
    assert_eq!(then("tmp", between).await, Some((working.node, Some(20))));
    assert_eq!(then("tmp", new).await, None);
    let ends: Vec<End> = lab
        .catalog
        .ended(0, 9)
        .await
        .unwrap()
        .iter()
        .filter_map(|name| name.until.map(|(_, end)| end))
        .collect();
    assert_eq!(ends, [End::Moved, End::Replaced]);
}

/// A file that goes on with another document, by whatever way, showed its own before that: under all of its names.
async fn a_successor_shows_what_it_held_before(lab: Lab) {
    let first = lab.make(ROOT, "doc", file()).await;
    lab.save(first.node, 10).await;
    let working = lab.make(ROOT, "new", file()).await;
    lab.save(working.node, 20).await;
    lab.done(
        lab.catalog
            .link(working.node, ROOT, &name("also"), lab.write()),
    )
    .await;
    let before = lab.now();
    let spare = FileId::fresh().expect("there is randomness");
    let changed = lab
        .catalog
        .succeed(working.node, first.document, spare, lab.write());
    assert_eq!(lab.done(changed).await.len(), 2);
    let after = lab.now();
    for (text, size) in [("doc", 10), ("new", 20), ("also", 20)] {
        for at in [before, after] {
            let found = lab.catalog.lookup_at(ROOT, &name(text), at).await.unwrap();
            let found = found.expect("it was there");
            let versions = lab.catalog.history(found.document).await.unwrap();
            let shown = version_at(&versions, &found, at).map(|version| version.size);
            assert_eq!(shown, Some(size), "{text}, {found:?}");
        }
    }
    let was = lab
        .catalog
        .lookup_at(ROOT, &name("also"), before)
        .await
        .unwrap();
    assert_eq!(was.map(|name| name.document), Some(working.document));
    let is = lab
        .catalog
        .lookup_at(ROOT, &name("also"), after)
        .await
        .unwrap();
    assert_eq!(is.map(|name| name.document), Some(first.document));
}

async fn names_of_a_document_are_found_through_renames(lab: Lab) {
    let attr = lab.make(ROOT, "a", file()).await;
    lab.save(attr.node, 10).await;
    let folder = lab.make(ROOT, "folder", dir()).await.node;
    for (from, to) in [((ROOT, "a"), (folder, "b")), ((folder, "b"), (ROOT, "c"))] {
        lab.rename(from, to, RenameMode::Replace, false)
            .await
            .expect("it is moved");
    }
    let names = lab.catalog.names_of(attr.document).await.unwrap();
    let texts: Vec<_> = names.iter().map(|name| name.name.display()).collect();
    assert_eq!(texts, ["a", "b", "c"]);
    assert_eq!(names[1].parent, folder);
    lab.done(lab.catalog.unlink(ROOT, &name("c"), false, lab.write()))
        .await;
    let names = lab.catalog.names_of(attr.document).await.unwrap();
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|name| name.until.is_some()));
    assert!(lab.catalog.names_of(FileId::NIL).await.unwrap().is_empty());
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
    lab.done(lab.catalog.unlink(ROOT, &name("a"), false, lab.write()))
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
    lab.done(lab.catalog.unlink(ROOT, &name("a"), false, lab.write()))
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

async fn positions_move_on_from_where_they_are(lab: Lab) {
    let catalog = Arc::clone(&lab.catalog);
    assert_eq!(catalog.position("copy").await.unwrap(), 0);
    assert!(!catalog.advance("copy", 1, 5).await.unwrap());
    assert!(catalog.advance("copy", 0, 5).await.unwrap());
    assert!(
        !catalog.advance("copy", 0, 9).await.unwrap(),
        "somebody was quicker"
    );
    assert!(catalog.advance("copy", 5, 9).await.unwrap());
    assert_eq!(catalog.position("copy").await.unwrap(), 9);
    assert_eq!(catalog.position("other").await.unwrap(), 0);
}

fn forget(lab: &Lab, root: &Attr, versions: &[(FileId, u64)], names: &[u64]) -> Forget {
    Forget {
        versions: versions
            .iter()
            .map(|(document, number)| (*document, VersionNo(*number)))
            .collect(),
        names: names.to_vec(),
        unchanged_since: root.ctime,
        waste: fresh(),
        lease_until: super::lab::time(lab.now().secs + 100),
    }
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
    let root = lab.attr(ROOT).await;
    // Not known to be on disk: perhaps the one before will be needed again.
    let kept = lab
        .done(
            lab.catalog
                .forget_versions(forget(&lab, &root, &[(document, 1)], &[]), lab.write()),
        )
        .await;
    assert_eq!(kept, Forgotten::default());
    let all: Vec<_> = (1..=4)
        .map(|number| (document, VersionNo(number)))
        .collect();
    lab.catalog.settle(&all).await.unwrap();

    let what = forget(
        &lab,
        &root,
        &[(document, 2), (document, 4), (document, 99)],
        &[],
    );
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
    let intents = lab
        .catalog
        .lapsed(super::lab::time(i64::MAX))
        .await
        .unwrap();
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
    let what = forget(&lab, &root, &[(document, 1)], &[]);
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
        lab.catalog
            .settle(&[(document, VersionNo(1))])
            .await
            .unwrap();
    }
    let open = lab.catalog.unlink(ROOT, &name("a"), true, lab.write());
    lab.done(open).await;
    lab.rename((ROOT, "b"), (ROOT, "c"), RenameMode::Replace, false)
        .await
        .expect("it is moved");
    let ended = lab.catalog.ended(0, 9).await.unwrap();
    assert_eq!(ended.len(), 2);
    let root = lab.attr(ROOT).await;
    let all = [(document, 1), (kept.document, 1)];
    let what = forget(&lab, &root, &all, &[]);
    let gone = lab
        .done(lab.catalog.forget_versions(what, lab.write()))
        .await;
    assert_eq!(gone, Forgotten::default(), "one is open, one has a name");
    lab.catalog.forget(attr.node).await.unwrap();
    let what = forget(&lab, &root, &all, &[ended[0].id]);
    let gone = lab
        .done(lab.catalog.forget_versions(what, lab.write()))
        .await;
    assert_eq!(gone.versions, [(document, VersionNo(1))]);
    assert_eq!(gone.extents.len(), 1);
    assert_eq!(lab.catalog.ended(0, 9).await.unwrap(), ended[1..]);
    assert!(lab.catalog.history(document).await.unwrap().is_empty());
    assert!(lab.catalog.names_of(document).await.unwrap().is_empty());
    // Something came in between: nothing is done.
    lab.done(
        lab.catalog
            .set_xattr(ROOT, b"warifu.hold.x", b"", XattrMode::Set, lab.write()),
    )
    .await;
    let what = forget(&lab, &root, &[], &[ended[1].id]);
    let error = lab
        .refused(lab.catalog.forget_versions(what, lab.write()))
        .await;
    assert!(matches!(error, CatalogError::Conflict { .. }), "{error}");
}

//! Names in time, and earlier versions made current again.

use std::sync::Arc;

use warifu_core::ids::FileId;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{CatalogError, RenameMode};
use warifu_vault::seam::clock::Timestamp;
use warifu_vault::seam::past::{End, version_at};

use super::lab::{Lab, dir, file, name, symlink};

const ROOT: NodeId = NodeId::ROOT;

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    names_are_as_they_were_at_each_time(fresh()).await;
    each_way_to_end_a_name_leaves_it(fresh()).await;
    a_replaced_file_shows_what_it_held(fresh()).await;
    a_successor_shows_what_it_held_before(fresh()).await;
    other_names_of_a_file_that_takes_over_show_their_own(fresh()).await;
    a_clock_that_goes_back_leaves_every_name_in_order(fresh()).await;
    only_what_is_as_it_was_is_removed(fresh()).await;
    names_of_a_document_are_found_through_renames(fresh()).await;
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
                lab.done(lab.catalog.unlink(folder, &gone, &[], lab.write()))
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
    lab.done(lab.catalog.unlink(ROOT, &name("c"), &[], lab.write()))
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

/// `ln a b; mv a c`: b shows up to then what a held, and not what c held.
async fn other_names_of_a_file_that_takes_over_show_their_own(lab: Lab) {
    let c = lab.make(ROOT, "c", file()).await;
    lab.save(c.node, 10).await;
    let a = lab.make(ROOT, "a", file()).await;
    lab.save(a.node, 20).await;
    let folder = lab.make(ROOT, "folder", dir()).await.node;
    lab.done(lab.catalog.link(a.node, folder, &name("b"), lab.write()))
        .await;
    let before = lab.now();
    lab.rename((ROOT, "a"), (ROOT, "c"), RenameMode::Replace, false)
        .await
        .expect("c is replaced");
    let after = lab.now();
    for (at, document) in [(before, a.document), (after, c.document)] {
        let found = lab.catalog.lookup_at(folder, &name("b"), at).await.unwrap();
        let found = found.expect("it was there all the time");
        assert_eq!((found.node, found.document), (a.node, document), "{at:?}");
        let versions = lab.catalog.history(found.document).await.unwrap();
        let shown = version_at(&versions, &found, at).map(|version| version.size);
        assert_eq!(shown, Some(20), "{at:?}, {found:?}");
    }
    let names = lab.catalog.names_of_node(a.node).await.unwrap();
    let of_b: Vec<_> = names.iter().filter(|name| name.parent == folder).collect();
    let [was, is] = of_b[..] else {
        panic!("b begins anew once: {names:?}");
    };
    assert_eq!(was.until, Some((is.since, End::Moved)));
}

/// Machines of which one is an hour ahead: whatever they write down, a name's times are in the order of its changes, so at each
/// time it stands for one thing at most, and it never ends before it begins.
async fn a_clock_that_goes_back_leaves_every_name_in_order(lab: Lab) {
    let (right, ahead) = (lab.now(), 3600);
    let at = |seconds: i64| {
        let mut write = lab.write();
        write.audit.at = Timestamp {
            secs: right.secs + seconds,
            ..right
        };
        write
    };
    let a = name("a");
    let made = lab.catalog.create(ROOT, &a, file(), at(ahead));
    let first = lab.done(made).await.node;
    lab.done(lab.catalog.unlink(ROOT, &a, &[], at(60))).await;
    let made = lab.catalog.create(ROOT, &a, file(), at(120));
    let second = lab.done(made).await.node;
    let b = name("b");
    lab.catalog
        .rename((ROOT, &a), (ROOT, &b), RenameMode::Replace, &[], at(180))
        .await
        .expect("it is moved");
    lab.done(lab.catalog.link(second, ROOT, &a, at(240))).await;
    let ended = lab.catalog.ended(0, 9).await.unwrap();
    assert_eq!(
        ended.iter().map(|name| name.node).collect::<Vec<_>>(),
        [first, second]
    );
    for name in &ended {
        let (until, _) = name.until.expect("it ended");
        assert!(name.since <= until, "{name:?}");
    }
    let there = lab
        .catalog
        .last(ROOT, &a)
        .await
        .unwrap()
        .expect("it is there");
    let until = ended[1].until.expect("it ended").0;
    assert_eq!((there.node, there.since), (second, until));
    assert!(ended[0].until.expect("it ended").0 <= ended[1].since);
    let moved = lab
        .catalog
        .last(ROOT, &b)
        .await
        .unwrap()
        .expect("it is there");
    assert_eq!(moved.since, until, "one moment for both names");
    // When the right clock has come so far, all goes on as usual.
    lab.done(lab.catalog.unlink(ROOT, &a, &[], at(ahead + 60)))
        .await;
    let last = lab
        .catalog
        .last(ROOT, &a)
        .await
        .unwrap()
        .expect("it was there");
    let ended_at = last.until.expect("it ended").0;
    assert_eq!(ended_at.secs, right.secs + ahead + 60);
    let between = Timestamp {
        secs: right.secs + ahead + 30,
        ..right
    };
    assert_eq!(listed(&lab, ROOT, between).await.len(), 2);
}

async fn only_what_is_as_it_was_is_removed(lab: Lab) {
    let attr = lab.make(ROOT, "a", file()).await;
    lab.save(attr.node, 10).await;
    let planned = lab.attr(attr.node).await;
    lab.save(attr.node, 20).await;
    let saved = lab.attr(attr.node).await;
    let remove = |node, head| {
        let (a, write) = (name("a"), lab.write());
        let catalog = Arc::clone(&lab.catalog);
        async move {
            catalog
                .unlink_if(ROOT, &a, (node, head), false, write)
                .await
        }
    };
    for (node, head) in [
        (attr.node, planned.head),
        (attr.node, None),
        (NodeId(999), saved.head),
    ] {
        let error = lab.refused(remove(node, head)).await;
        let CatalogError::Conflict { current } = error else {
            panic!("{error}");
        };
        assert_eq!(current, saved.version);
    }
    let (gone, write) = (name("gone"), lab.write());
    let error = lab
        .refused(
            lab.catalog
                .unlink_if(ROOT, &gone, (attr.node, None), false, write),
        )
        .await;
    assert!(matches!(error, CatalogError::NotFound { .. }), "{error}");
    lab.done(remove(attr.node, saved.head)).await;
    let last = lab.catalog.last(ROOT, &name("a")).await.unwrap();
    let ended = last.and_then(|name| name.until).map(|(_, end)| end);
    assert_eq!(ended, Some(End::Removed));
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
    lab.done(lab.catalog.unlink(ROOT, &name("c"), &[], lab.write()))
        .await;
    let names = lab.catalog.names_of(attr.document).await.unwrap();
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|name| name.until.is_some()));
    assert!(lab.catalog.names_of(FileId::NIL).await.unwrap().is_empty());
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
    assert!(catalog.advance("another", 0, 3).await.unwrap());
    assert_eq!(
        catalog.positions().await.unwrap(),
        [("another".to_owned(), 3), ("copy".to_owned(), 9)]
    );
}

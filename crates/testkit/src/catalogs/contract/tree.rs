//! Making, finding, linking and removing; attributes.

use warifu_core::ids::VersionNo;
use warifu_vault::node::{AttrChange, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{CatalogError, XattrMode};

use super::lab::{Lab, commit, dir, file, name, symlink, time};

const ROOT: NodeId = NodeId::ROOT;
const NOWHERE: NodeId = NodeId(4_000_000);

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    the_root_is_there(fresh()).await;
    a_node_is_as_it_was_made(fresh()).await;
    every_kind_comes_back(fresh()).await;
    names_are_bytes(fresh()).await;
    names_need_a_folder_and_are_taken_once(fresh()).await;
    links_share_a_node(fresh()).await;
    unlink_forgets_the_last_name(fresh()).await;
    kept_nodes_live_until_forgotten(fresh()).await;
    rmdir_wants_empty_folders(fresh()).await;
    paths_and_parents(fresh()).await;
    attributes_change(fresh()).await;
    xattrs_come_and_go(fresh()).await;
    numbers_are_never_used_again(fresh()).await;
}

async fn the_root_is_there(lab: Lab) {
    let root = lab.attr(ROOT).await;
    assert_eq!(
        (root.node, root.kind, root.mode, root.nlink, root.size),
        (ROOT, NodeKind::Dir, 0o755, 2, 0)
    );
    assert_eq!(lab.catalog.parent(ROOT).await.unwrap(), ROOT);
    assert_eq!(lab.catalog.path(ROOT).await.unwrap(), Some(vec![]));
    assert!(lab.catalog.list(ROOT, None, 10).await.unwrap().is_empty());
    assert!(lab.catalog.attr(NOWHERE).await.unwrap().is_none());
    assert!(lab.catalog.attr(NodeId(0)).await.unwrap().is_none());
    assert!(lab.catalog.attr(NodeId(u64::MAX)).await.unwrap().is_none());
    let usage = lab.catalog.usage().await.unwrap();
    assert_eq!((usage.files, usage.dirs, usage.versions), (0, 1, 0));
}

async fn a_node_is_as_it_was_made(lab: Lab) {
    let new = file();
    let made = lab.make(ROOT, "住民票.docx", new.clone()).await;
    let at = lab.now();
    assert_eq!(
        (made.kind, made.mode, made.uid, made.gid, made.nlink),
        (NodeKind::File, 0o640, 1000, 100, 1)
    );
    assert_eq!(
        (made.size, made.document, made.version, made.head),
        (0, new.document, VersionNo(0), None)
    );
    assert_eq!(
        (made.atime, made.mtime, made.ctime, made.btime),
        (at, at, at, at)
    );
    assert_eq!(lab.attr(made.node).await, made);
    assert_eq!(
        lab.catalog
            .lookup(ROOT, &name("住民票.docx"))
            .await
            .unwrap(),
        Some(made.clone())
    );
    assert_eq!(
        lab.catalog.lookup(ROOT, &name("住民票.doc")).await.unwrap(),
        None
    );
    let (attr, version) = lab.catalog.current(made.node).await.unwrap();
    assert_eq!((attr, version), (made, None));
    let root = lab.attr(ROOT).await;
    assert_eq!((root.mtime, root.ctime, root.nlink), (at, at, 2));

    let folder = lab.make(ROOT, "福祉部", dir()).await;
    assert_eq!(
        (folder.kind, folder.nlink, folder.size),
        (NodeKind::Dir, 2, 0)
    );
    assert_eq!(lab.attr(ROOT).await.nlink, 3);
    assert_eq!(lab.attr(ROOT).await.mtime, lab.now());
}

async fn every_kind_comes_back(lab: Lab) {
    let kinds = [
        NodeKind::File,
        NodeKind::Dir,
        NodeKind::Symlink,
        NodeKind::Fifo,
        NodeKind::Socket,
        NodeKind::CharDevice,
        NodeKind::BlockDevice,
    ];
    for kind in kinds {
        let new = warifu_vault::seam::catalog::NewNode {
            kind,
            rdev: 0x0103,
            mode: 0o7777,
            ..symlink(b"")
        };
        let made = lab.make(ROOT, &format!("{kind:?}"), new).await;
        let found = lab.attr(made.node).await;
        assert_eq!((found.kind, found.rdev, found.mode), (kind, 0x0103, 0o7777));
    }
    let target = b"../\xff\xfe/far away/\xe7\xa8\x8e";
    let link = lab.make(ROOT, "link", symlink(target)).await;
    assert_eq!(link.size, target.len() as u64);
    assert_eq!(lab.catalog.read_link(link.node).await.unwrap(), target);
    for other in [ROOT, NOWHERE] {
        assert!(matches!(
            lab.catalog.read_link(other).await,
            Err(CatalogError::NotFound { .. })
        ));
    }
}

async fn names_are_bytes(lab: Lab) {
    let longest = [b'x'; 255];
    // NFC and NFD of the same letter, upper and lower case, bytes that are no UTF-8: all are names of their own.
    let names: [&[u8]; 9] = [
        "が".as_bytes(),
        "か\u{3099}".as_bytes(),
        b"a",
        b"A",
        b"\xff\xfe\x80",
        b"...",
        b" ",
        "📄".as_bytes(),
        &longest,
    ];
    for bytes in names {
        lab.done(
            lab.catalog
                .create(ROOT, &Name::new(bytes).unwrap(), file(), lab.write()),
        )
        .await;
    }
    let mut listed: Vec<Vec<u8>> = super::lab::list_all(&*lab.catalog, ROOT)
        .await
        .into_iter()
        .map(|entry| entry.name.as_bytes().to_vec())
        .collect();
    let mut expected: Vec<Vec<u8>> = names.iter().map(|bytes| bytes.to_vec()).collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    for bytes in names {
        let found = lab
            .catalog
            .lookup(ROOT, &Name::new(bytes).unwrap())
            .await
            .unwrap()
            .unwrap();
        let path = lab.catalog.path(found.node).await.unwrap().unwrap();
        assert_eq!(
            path.iter().map(|name| name.as_bytes()).collect::<Vec<_>>(),
            [bytes]
        );
    }
}

async fn names_need_a_folder_and_are_taken_once(lab: Lab) {
    let taken = lab.make(ROOT, "taken", file()).await;
    let create = |parent, text: &'static str| {
        let (catalog, write) = (lab.catalog.clone(), lab.write());
        async move { catalog.create(parent, &name(text), file(), write).await }
    };
    assert!(matches!(
        lab.refused(create(ROOT, "taken")).await,
        CatalogError::Exists
    ));
    assert!(matches!(
        lab.refused(create(NOWHERE, "x")).await,
        CatalogError::NotFound { .. }
    ));
    assert!(matches!(
        lab.refused(create(taken.node, "x")).await,
        CatalogError::NotDir
    ));
    assert!(matches!(
        lab.catalog.lookup(NOWHERE, &name("x")).await,
        Err(CatalogError::NotFound { .. })
    ));
    assert!(matches!(
        lab.catalog.lookup(taken.node, &name("x")).await,
        Err(CatalogError::NotDir)
    ));
    assert!(matches!(
        lab.catalog.list(NOWHERE, None, 1).await,
        Err(CatalogError::NotFound { .. })
    ));
    assert!(matches!(
        lab.catalog.list(taken.node, None, 1).await,
        Err(CatalogError::NotDir)
    ));
    assert!(matches!(
        lab.catalog.parent(taken.node).await,
        Err(CatalogError::NotDir)
    ));
    assert!(matches!(
        lab.catalog.parent(NOWHERE).await,
        Err(CatalogError::NotFound { .. })
    ));
}

async fn links_share_a_node(lab: Lab) {
    let made = lab.make(ROOT, "one", file()).await;
    let folder = lab.make(ROOT, "folder", dir()).await;
    let linked = lab
        .done(
            lab.catalog
                .link(made.node, folder.node, &name("two"), lab.write()),
        )
        .await;
    assert_eq!(
        (linked.node, linked.nlink, linked.ctime, linked.mtime),
        (made.node, 2, lab.now(), made.mtime)
    );
    assert_eq!(lab.attr(folder.node).await.mtime, lab.now());
    assert_eq!(lab.attr(folder.node).await.nlink, 2);
    assert_eq!(lab.at(folder.node, "two").await, Some(made.node));

    let link = |node, parent, text: &'static str| {
        let (catalog, write) = (lab.catalog.clone(), lab.write());
        async move { catalog.link(node, parent, &name(text), write).await }
    };
    assert!(matches!(
        lab.refused(link(made.node, ROOT, "one")).await,
        CatalogError::Exists
    ));
    assert!(matches!(
        lab.refused(link(folder.node, ROOT, "x")).await,
        CatalogError::IsDir
    ));
    assert!(matches!(
        lab.refused(link(NOWHERE, ROOT, "x")).await,
        CatalogError::NotFound { .. }
    ));
    assert!(matches!(
        lab.refused(link(made.node, NOWHERE, "x")).await,
        CatalogError::NotFound { .. }
    ));
    assert!(matches!(
        lab.refused(link(made.node, made.node, "x")).await,
        CatalogError::NotDir
    ));

    let left = lab
        .done(lab.catalog.unlink(ROOT, &name("one"), &[], lab.write()))
        .await;
    assert_eq!(left.nlink, 1);
    assert_eq!(lab.attr(made.node).await.nlink, 1);
    assert_eq!(lab.catalog.path(made.node).await.unwrap().unwrap().len(), 2);
}

async fn unlink_forgets_the_last_name(lab: Lab) {
    let made = lab.make(ROOT, "x", file()).await;
    lab.save(made.node, 10).await;
    lab.done(
        lab.catalog
            .set_xattr(made.node, b"user.a", b"1", XattrMode::Set, lab.write()),
    )
    .await;
    let folder = lab.make(ROOT, "folder", dir()).await;
    let unlink = |parent, text: &'static str| {
        let (catalog, write) = (lab.catalog.clone(), lab.write());
        async move { catalog.unlink(parent, &name(text), &[], write).await }
    };
    assert!(matches!(
        lab.refused(unlink(ROOT, "y")).await,
        CatalogError::NotFound { .. }
    ));
    assert!(matches!(
        lab.refused(unlink(ROOT, "folder")).await,
        CatalogError::IsDir
    ));
    assert!(matches!(
        lab.refused(unlink(NOWHERE, "x")).await,
        CatalogError::NotFound { .. }
    ));
    assert!(matches!(
        lab.refused(unlink(made.node, "x")).await,
        CatalogError::NotDir
    ));
    let gone = lab.done(unlink(ROOT, "x")).await;
    assert_eq!(
        (gone.node, gone.nlink, gone.ctime),
        (made.node, 0, lab.now())
    );
    assert_eq!(lab.attr(ROOT).await.mtime, lab.now());
    assert!(lab.catalog.attr(made.node).await.unwrap().is_none());
    assert!(matches!(
        lab.catalog.xattrs(made.node).await,
        Err(CatalogError::NotFound { .. })
    ));
    assert!(matches!(
        lab.catalog.current(made.node).await,
        Err(CatalogError::NotFound { .. })
    ));
    assert_eq!(
        lab.catalog.history(made.document).await.unwrap().len(),
        1,
        "the versions stay"
    );
    assert_eq!(lab.attr(folder.node).await.nlink, 2);
}

async fn kept_nodes_live_until_forgotten(lab: Lab) {
    let first = lab.make(ROOT, "first", file()).await;
    let second = lab.make(ROOT, "second", symlink(b"there")).await;
    let named = lab.make(ROOT, "named", file()).await;
    let save = lab.begin(&[]).await;
    let late = commit(save, &first, lab.now(), 5, &[], &[]);
    // More may be open than what the name stands for.
    let open = [first.node, second.node];
    for text in ["first", "second"] {
        lab.done(lab.catalog.unlink(ROOT, &name(text), &open, lab.write()))
            .await;
    }
    assert_eq!(lab.attr(first.node).await.nlink, 0);
    assert_eq!(lab.catalog.path(first.node).await.unwrap(), None);
    assert_eq!(
        lab.catalog.usage().await.unwrap().files,
        1,
        "only what has a name counts"
    );
    // A save that began while it had its name: nobody would ever find what it commits.
    assert!(matches!(
        lab.refused(lab.catalog.commit_save(first.node, None, late, lab.write()))
            .await,
        CatalogError::NotFound { .. }
    ));
    let changed = AttrChange {
        mode: Some(0o600),
        ..AttrChange::default()
    };
    assert_eq!(
        lab.done(lab.catalog.set_attr(first.node, &changed, lab.write()))
            .await
            .mode,
        0o600
    );
    let write = lab.write();
    assert!(matches!(
        lab.refused(lab.catalog.link(first.node, ROOT, &name("back"), write))
            .await,
        CatalogError::NotFound { .. }
    ));

    let lines = lab.log_len().await;
    lab.catalog.forget(first.node).await.unwrap();
    assert!(lab.catalog.attr(first.node).await.unwrap().is_none());
    for node in [first.node, named.node, NOWHERE, ROOT] {
        lab.catalog.forget(node).await.unwrap();
    }
    assert_eq!(
        lab.attr(named.node).await,
        named,
        "what has a name is not forgotten"
    );
    assert_eq!(lab.catalog.forget_nameless().await.unwrap(), 1);
    assert!(lab.catalog.attr(second.node).await.unwrap().is_none());
    assert!(matches!(
        lab.catalog.read_link(second.node).await,
        Err(CatalogError::NotFound { .. })
    ));
    assert_eq!(lab.catalog.forget_nameless().await.unwrap(), 0);
    assert_eq!(lab.log_len().await, lines, "forgetting is not audited");
}

async fn rmdir_wants_empty_folders(lab: Lab) {
    let folder = lab.make(ROOT, "folder", dir()).await;
    lab.make(folder.node, "inner", dir()).await;
    lab.make(ROOT, "file", file()).await;
    let rmdir = |parent, text: &'static str| {
        let (catalog, write) = (lab.catalog.clone(), lab.write());
        async move { catalog.rmdir(parent, &name(text), write).await }
    };
    assert!(matches!(
        lab.refused(rmdir(ROOT, "folder")).await,
        CatalogError::NotEmpty
    ));
    assert!(matches!(
        lab.refused(rmdir(ROOT, "file")).await,
        CatalogError::NotDir
    ));
    assert!(matches!(
        lab.refused(rmdir(ROOT, "nothing")).await,
        CatalogError::NotFound { .. }
    ));
    assert_eq!(lab.attr(folder.node).await.nlink, 3);
    lab.done(rmdir(folder.node, "inner")).await;
    assert_eq!(
        (
            lab.attr(folder.node).await.nlink,
            lab.attr(folder.node).await.mtime
        ),
        (2, lab.now())
    );
    lab.done(rmdir(ROOT, "folder")).await;
    assert_eq!(lab.attr(ROOT).await.nlink, 2);
    assert!(lab.catalog.attr(folder.node).await.unwrap().is_none());
    let write = lab.write();
    let late = lab
        .refused(lab.catalog.create(folder.node, &name("x"), file(), write))
        .await;
    assert!(
        matches!(late, CatalogError::NotFound { .. }),
        "nothing is made in a folder that is gone"
    );
}

async fn paths_and_parents(lab: Lab) {
    let mut at = ROOT;
    for depth in 0..40 {
        let next = lab.make(at, &format!("level {depth}"), dir()).await.node;
        assert_eq!(lab.catalog.parent(next).await.unwrap(), at);
        at = next;
    }
    let path = lab.catalog.path(at).await.unwrap().unwrap();
    let names: Vec<_> = path
        .iter()
        .map(|name| name.display().into_owned())
        .collect();
    assert_eq!(
        names,
        (0..40)
            .map(|depth| format!("level {depth}"))
            .collect::<Vec<_>>()
    );
    assert_eq!(lab.catalog.path(NOWHERE).await.unwrap(), None);
}

async fn attributes_change(lab: Lab) {
    let made = lab.make(ROOT, "x", file()).await;
    let change = AttrChange {
        mode: Some(0o4711),
        gid: Some(5),
        mtime: Some(time(-3)),
        ..AttrChange::default()
    };
    let changed = lab
        .done(lab.catalog.set_attr(made.node, &change, lab.write()))
        .await;
    assert_eq!((changed.mode, changed.uid, changed.gid), (0o4711, 1000, 5));
    assert_eq!(
        (changed.atime, changed.mtime, changed.ctime, changed.btime),
        (made.atime, time(-3), lab.now(), made.btime)
    );
    assert_eq!(lab.attr(made.node).await, changed);
    let change = AttrChange {
        uid: Some(u32::MAX),
        atime: Some(time(i64::MAX)),
        ..AttrChange::default()
    };
    let again = lab
        .done(lab.catalog.set_attr(made.node, &change, lab.write()))
        .await;
    assert_eq!(
        (again.uid, again.mode, again.atime, again.mtime),
        (u32::MAX, 0o4711, time(i64::MAX), time(-3))
    );
    let write = lab.write();
    assert!(matches!(
        lab.refused(lab.catalog.set_attr(NOWHERE, &change, write))
            .await,
        CatalogError::NotFound { .. }
    ));
}

async fn xattrs_come_and_go(lab: Lab) {
    let made = lab.make(ROOT, "x", file()).await;
    let node = made.node;
    assert!(lab.catalog.xattrs(node).await.unwrap().is_empty());
    assert!(matches!(
        lab.catalog.xattr(node, b"user.a").await,
        Err(CatalogError::NoXattr)
    ));
    assert!(matches!(
        lab.catalog.xattr(NOWHERE, b"user.a").await,
        Err(CatalogError::NotFound { .. })
    ));
    let set = |name: &'static [u8], value: &[u8], mode| {
        let (catalog, write, value) = (lab.catalog.clone(), lab.write(), value.to_vec());
        async move { catalog.set_xattr(node, name, &value, mode, write).await }
    };
    assert!(matches!(
        lab.refused(set(b"user.a", b"1", XattrMode::Replace)).await,
        CatalogError::NoXattr
    ));
    lab.done(set(b"user.a", b"", XattrMode::Create)).await;
    assert_eq!(lab.catalog.xattr(node, b"user.a").await.unwrap(), b"");
    assert!(matches!(
        lab.refused(set(b"user.a", b"2", XattrMode::Create)).await,
        CatalogError::Exists
    ));
    let long = vec![0xA5; 65_536];
    lab.done(set(b"user.a", &long, XattrMode::Replace)).await;
    lab.done(set(b"user.\xff", b"other", XattrMode::Set)).await;
    assert_eq!(
        (lab.attr(node).await.ctime, lab.attr(node).await.mtime),
        (lab.now(), made.mtime)
    );
    let mut all = lab.catalog.xattrs(node).await.unwrap();
    all.sort();
    assert_eq!(
        all,
        [
            (b"user.a".to_vec(), long),
            (b"user.\xff".to_vec(), b"other".to_vec())
        ]
    );
    lab.done(lab.catalog.remove_xattr(node, b"user.a", lab.write()))
        .await;
    let write = lab.write();
    assert!(matches!(
        lab.refused(lab.catalog.remove_xattr(node, b"user.a", write))
            .await,
        CatalogError::NoXattr
    ));
    assert_eq!(lab.catalog.xattrs(node).await.unwrap().len(), 1);
    let write = lab.write();
    let nowhere = lab
        .refused(
            lab.catalog
                .set_xattr(NOWHERE, b"user.a", b"", XattrMode::Set, write),
        )
        .await;
    assert!(matches!(nowhere, CatalogError::NotFound { .. }));
}

async fn numbers_are_never_used_again(lab: Lab) {
    let mut last = ROOT;
    for _ in 0..5 {
        let made = lab.make(ROOT, "x", file()).await;
        assert!(made.node > last);
        last = made.node;
        lab.done(lab.catalog.unlink(ROOT, &name("x"), &[], lab.write()))
            .await;
    }
}

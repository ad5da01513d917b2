//! What a folder hands to what is made in it, and what it refuses.

use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{CatalogError, NewNode, XattrMode};

use super::lab::{Lab, dir, file, name, symlink};

const ROOT: NodeId = NodeId::ROOT;

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    a_node_takes_after_its_folder_where_it_is_to(fresh()).await;
    a_folder_refuses_by_an_attribute(fresh()).await;
}

async fn a_node_takes_after_its_folder_where_it_is_to(lab: Lab) {
    let heir = |new: NewNode| NewNode {
        inherits: true,
        ..new
    };
    let group = lab.make(
        ROOT,
        "group",
        NewNode {
            mode: 0o2770,
            gid: 777,
            ..dir()
        },
    );
    let group = group.await.node;
    let made = [
        (heir(file()), (0o640, 777)),
        (heir(dir()), (0o2750, 777)),
        (heir(symlink(b"there")), (0o777, 777)),
        // What is restored is as it was.
        (file(), (0o640, 100)),
        (dir(), (0o750, 100)),
    ];
    for (number, (new, expected)) in made.into_iter().enumerate() {
        let made = lab.make(group, &number.to_string(), new).await;
        assert_eq!((made.mode, made.gid), expected, "{number}");
        assert_eq!(lab.attr(made.node).await, made);
    }
    let plain = lab.make(ROOT, "plain", dir()).await.node;
    for new in [heir(file()), heir(dir())] {
        let text = format!("{:?}", new.kind);
        let (mode, gid) = (new.mode, new.gid);
        let made = lab.make(plain, &text, new).await;
        assert_eq!((made.mode, made.gid), (mode, gid), "{text}");
    }
}

async fn a_folder_refuses_by_an_attribute(lab: Lab) {
    let folder = lab.make(ROOT, "folder", dir()).await.node;
    let wary = || NewNode {
        unless: Some(b"user.list"),
        ..file()
    };
    let create = |text: &'static str| {
        let (catalog, write) = (lab.catalog.clone(), lab.write());
        async move { catalog.create(folder, &name(text), wary(), write).await }
    };
    lab.done(create("before")).await;
    let set = lab
        .catalog
        .set_xattr(folder, b"user.list", b"", XattrMode::Set, lab.write());
    lab.done(set).await;
    for text in ["before", "after"] {
        let refused = lab.refused(create(text)).await;
        assert!(matches!(refused, CatalogError::Refused), "{refused:?}");
    }
    assert_eq!(lab.at(folder, "after").await, None);
    lab.make(folder, "after", file()).await;
    let remove = lab.catalog.remove_xattr(folder, b"user.list", lab.write());
    lab.done(remove).await;
    let taken = lab.refused(create("after")).await;
    assert!(matches!(taken, CatalogError::Exists), "{taken:?}");
    lab.done(create("again")).await;
}

//! Opening a file, and what a save asks about it: one step where the engine can, and the same as several.

use warifu_vault::context::{Act, AuditEntry};
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{CatalogError, Durability, XattrMode};

use super::lab::{Lab, dir, entry, file, fresh as fresh_extent, name};

const ROOT: NodeId = NodeId::ROOT;

pub(super) async fn run(fresh: &impl Fn() -> Lab) {
    p9_an_opening_says_which_version(fresh()).await;
    what_is_no_file_is_not_opened(fresh()).await;
    about_is_attributes_path_and_xattrs(fresh()).await;
}

fn opening(lab: &Lab, node: NodeId) -> AuditEntry {
    AuditEntry {
        act: Act::Open,
        node: Some(node),
        ..entry(lab.tick(), "write at the opening")
    }
}

async fn p9_an_opening_says_which_version(lab: Lab) {
    let node = lab.make(ROOT, "a", file()).await.node;
    for (durability, version) in [
        (Durability::Soon, 0),
        (Durability::Now, 1),
        (Durability::Soon, 2),
    ] {
        if version > 0 {
            let extent = fresh_extent();
            lab.save_extents(node, 9 << 20, &[Some(extent), None], &[extent])
                .await;
        }
        let before = lab.log_len().await;
        let told = opening(&lab, node);
        let opened = lab
            .catalog
            .open(node, told.clone(), durability)
            .await
            .unwrap();
        assert_eq!(opened, lab.catalog.current(node).await.unwrap());
        assert_eq!(opened.0.version.0, version);
        let lines = lab.catalog.audit(before, 10).await.unwrap();
        let [line] = &lines[..] else {
            panic!("one line: {lines:?}");
        };
        assert_eq!(line.entry, told.of_version(opened.0.version));
        let previous = lab.catalog.audit(before - 1, 1).await.unwrap();
        let chain = (lab.chain)(&previous[0].chain, line.seq, &line.entry);
        assert_eq!(line.chain, chain);
    }
}

async fn what_is_no_file_is_not_opened(lab: Lab) {
    let folder = lab.make(ROOT, "folder", dir()).await;
    let before = lab.picture().await;
    let entry = opening(&lab, folder.node);
    let found = lab
        .catalog
        .open(folder.node, entry, Durability::Now)
        .await
        .unwrap();
    assert_eq!(found, (folder, None));
    let entry = opening(&lab, NodeId(99));
    let error = lab
        .catalog
        .open(NodeId(99), entry, Durability::Now)
        .await
        .unwrap_err();
    assert!(matches!(error, CatalogError::NotFound { .. }), "{error}");
    assert_eq!(lab.picture().await, before, "nothing is written");
}

async fn about_is_attributes_path_and_xattrs(lab: Lab) {
    let folder = lab.make(ROOT, "福祉部", dir()).await.node;
    let node = lab.make(folder, "a", file()).await.node;
    for attribute in ["user.b", "user.a"] {
        let write = lab.write();
        lab.catalog
            .set_xattr(node, attribute.as_bytes(), b"1", XattrMode::Set, write)
            .await
            .unwrap();
    }
    for of in [ROOT, folder, node] {
        let about = lab.catalog.about(of).await.unwrap().unwrap();
        assert_eq!(about.attr, lab.attr(of).await);
        assert_eq!(Some(about.path), lab.catalog.path(of).await.unwrap());
        assert_eq!(about.xattrs, lab.catalog.xattrs(of).await.unwrap());
    }
    lab.done(lab.catalog.unlink(folder, &name("a"), &[node], lab.write()))
        .await;
    let about = lab.catalog.about(node).await.unwrap().unwrap();
    assert_eq!((about.path.len(), about.xattrs.len()), (0, 2), "{about:?}");
    assert!(lab.catalog.about(NodeId(99)).await.unwrap().is_none());
}

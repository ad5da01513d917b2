//! Which file goes on with the document of one that was moved away and then removed: the one in its place by then, whoever that is.

use warifu_vault::Vault;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::RenameMode;

use crate::common::{Lab, ctx, name, put, stat};

async fn rename(vault: &Vault, from: &str, to: &str, mode: RenameMode) {
    let (from, to) = (name(from), name(to));
    let (from, to) = ((NodeId::ROOT, &from), (NodeId::ROOT, &to));
    vault.rename(&ctx(), from, to, mode).await.unwrap();
}

async fn remove(vault: &Vault, text: &str) {
    let removed = vault.remove(&ctx(), NodeId::ROOT, &name(text)).await;
    removed.unwrap();
}

/// A document whose old version lies aside and whose new one is in its place.
async fn halfway(lab: &Lab) -> Vault {
    let vault = lab.start().await;
    put(&vault, "doc", b"first").await.unwrap();
    put(&vault, "new", b"second").await.unwrap();
    rename(&vault, "doc", "old", RenameMode::Replace).await;
    rename(&vault, "new", "doc", RenameMode::Replace).await;
    vault
}

#[tokio::test]
async fn the_file_in_its_place_goes_on_with_it() {
    let lab = Lab::new(2, 3).await;
    let vault = halfway(&lab).await;
    let document = stat(&vault, "old").await.document;
    assert_ne!(stat(&vault, "doc").await.document, document);
    remove(&vault, "old").await;
    let new = stat(&vault, "doc").await;
    assert_eq!((new.document, new.version.0), (document, 2));
}

#[tokio::test]
async fn who_has_left_the_place_does_not() {
    for how in 0..4 {
        let lab = Lab::new(2, 3).await;
        let vault = halfway(&lab).await;
        let document = stat(&vault, "old").await.document;
        put(&vault, "other", b"third").await.unwrap();
        match how {
            0 => rename(&vault, "other", "doc", RenameMode::Exchange).await,
            1 => rename(&vault, "doc", "other", RenameMode::Exchange).await,
            2 => {
                rename(&vault, "doc", "elsewhere", RenameMode::Replace).await;
                rename(&vault, "other", "doc", RenameMode::Replace).await;
            }
            _ => {
                let (link, doc) = (name("link"), name("doc"));
                let root = NodeId::ROOT;
                let file = stat(&vault, "doc").await.node;
                vault.link(&ctx(), file, root, &link).await.unwrap();
                vault.remove(&ctx(), root, &doc).await.unwrap();
                rename(&vault, "other", "doc", RenameMode::Replace).await;
            }
        }
        remove(&vault, "old").await;
        let there = stat(&vault, "doc").await;
        assert_eq!((there.document, there.version.0), (document, 2), "{how}");
    }
}

/// Nobody is there when it is removed: then whoever comes.
#[tokio::test]
async fn who_comes_to_the_free_place_does() {
    let lab = Lab::new(2, 3).await;
    let vault = halfway(&lab).await;
    let document = stat(&vault, "old").await.document;
    rename(&vault, "doc", "elsewhere", RenameMode::Replace).await;
    remove(&vault, "old").await;
    put(&vault, "doc", b"third").await.unwrap();
    let there = stat(&vault, "doc").await;
    assert_eq!((there.document, there.version.0), (document, 2));
}

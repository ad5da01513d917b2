//! P7 on real folders: a rebuilt tree is the old one, name by name.

#[path = "../examples/rebuild_rate/tree.rs"]
mod tree;

use std::fs;
use std::sync::Arc;

use warifu::{InitOptions, NewServer, OpenOptions, Threshold, Warifu};

/// Files saved again, moved, renamed and removed, links and empty folders among them, from any two of three servers.
#[tokio::test(flavor = "multi_thread")]
async fn p7_a_rebuilt_tree_is_the_old_one_name_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let vault = dir.path().join("office.toml");
    let place = |name: &str| dir.path().join(name);
    let servers = ["a", "b", "c"].map(|name| NewServer::new(name, place(name).to_str().unwrap()));
    let threshold = Threshold::new(2, 3).unwrap();
    Warifu::init(&vault, threshold, servers.into(), InitOptions::new("test"))
        .await
        .unwrap();
    let open = async || {
        let options = OpenOptions::new("test");
        Arc::new(Warifu::open(&vault, options).await.unwrap())
    };
    let warifu = open().await;
    tree::make(&warifu, 220, 40).await.unwrap();
    assert!(warifu.close().await.is_empty());
    let before = tree::picture(&warifu).await.unwrap();
    drop(warifu);
    // Of 220 files 7 were removed; two folders of the archive, the first folder, the root, and two more names of each kind of link.
    assert!(before.len() > 215, "{}", before.len());
    for away in ["a", "b", "c"] {
        for end in ["", "-wal", "-shm"] {
            let _gone = fs::remove_file(place(&format!("office.db{end}")));
        }
        fs::rename(place(away), place("away")).unwrap();
        let rebuilt = Warifu::rebuild(
            &vault,
            Vec::new(),
            &warifu::ways::Keyring::default(),
            "test",
            &|_| (),
        )
        .await
        .unwrap();
        assert!(rebuilt.report.is_whole(), "{:?}", rebuilt.report);
        assert!(!place("office.db.part").exists());
        fs::rename(place("away"), place(away)).unwrap();
        let warifu = open().await;
        let after = tree::picture(&warifu).await.unwrap();
        let (missing, extra) = tree::differences(&before, &after);
        assert!(missing.is_empty(), "without {away}: {missing:#?}");
        assert!(extra.is_empty(), "without {away}: {extra:#?}");
        warifu.close().await;
    }
}

//! What is fetched before a program asks for it.

use warifu::{Access, InitOptions, Name, NewServer, NodeId, OpenOptions, Threshold, Warifu};

/// The machine's memory has the shares, as they were just written: a short document is fetched while it is being opened.
#[tokio::test(flavor = "multi_thread")]
async fn p6_a_short_document_is_fetched_as_it_is_opened_and_gone_with_its_last_close() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("office.toml");
    let servers = ["a", "b", "c"]
        .map(|name| NewServer::new(name, dir.path().join(name).display().to_string()));
    let threshold = Threshold::new(2, 3).unwrap();
    Warifu::init(&path, threshold, servers.into(), InitOptions::new("test"))
        .await
        .unwrap();
    let warifu = Warifu::open(&path, OpenOptions::new("test")).await.unwrap();
    let (vault, ctx) = (warifu.vault(), warifu.context());
    for (name, len, fetched) in [("short", 20_000, true), ("long", 1 << 20, false)] {
        let bytes: Vec<u8> = (0..len).map(|n: usize| (n % 251) as u8).collect();
        warifu
            .write_file(&format!("/{name}"), &bytes)
            .await
            .unwrap();
        let name = Name::new(name.as_bytes()).unwrap();
        let node = vault.lookup(ctx, NodeId::ROOT, &name).await.unwrap().node;
        let handle = vault.open(ctx, node, Access::READ).await.unwrap();
        assert_eq!(vault.memory_in_use().bytes, 0);
        handle.expect_reading();
        assert_eq!(vault.memory_in_use().bytes >= len, fetched, "{name:?}");
        let read = handle.read(0, len).await.unwrap();
        assert!(read.expose() == bytes);
        drop(read);
        handle.release(ctx).await.unwrap();
        assert_eq!(vault.memory_in_use().bytes, 0);
    }
    assert!(warifu.close().await.is_empty());
}

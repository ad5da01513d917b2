//! What is written is what is read: sizes around every boundary, holes, truncation, memory pressure, history.

use warifu_core::ids::VersionNo;
use warifu_testkit::stores::Method;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::Catalog;
use warifu_vault::{Access, VaultError};

use crate::common::{
    EXTENT, Lab, ctx, get, name, names, noise, open, put, read_all, rewrite, same, stat, version,
    who, write_all,
};

#[tokio::test(start_paused = true)]
async fn every_size_comes_back_in_this_life_and_the_next() {
    let lab = Lab::new(2, 3).await;
    let sizes = [
        0,
        1,
        4095,
        4096,
        4097,
        65_535,
        65_537,
        EXTENT - 1,
        EXTENT,
        EXTENT + 1,
        2 * EXTENT + 777,
    ];
    let vault = lab.start().await;
    for (seed, size) in (0_u64..).zip(sizes) {
        let file = format!("f{size}");
        put(&vault, &file, &noise(seed, size)).await.unwrap();
        assert_eq!(stat(&vault, &file).await.size, size as u64);
        same(
            &get(&vault, &file).await.unwrap(),
            &noise(seed, size),
            &file,
        );
    }
    assert!(vault.shutdown(&ctx()).await.is_empty());
    let vault = lab.start().await;
    for (seed, size) in (0_u64..).zip(sizes) {
        let file = format!("f{size}");
        same(
            &get(&vault, &file).await.unwrap(),
            &noise(seed, size),
            &file,
        );
    }
    assert_eq!(names(&vault).await.len(), sizes.len());
    lab.assert_tidy("after all sizes").await;
}

#[tokio::test(start_paused = true)]
async fn small_files_are_one_object_on_each_server_and_empty_ones_none() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "empty", b"").await.unwrap();
    assert_eq!(lab.expected(0).await.0.len(), 0);
    put(&vault, "small", &noise(1, 30_000)).await.unwrap();
    assert_eq!(lab.expected(0).await.0.len(), 1);
    put(&vault, "large", &noise(2, EXTENT + 1)).await.unwrap();
    assert_eq!(
        lab.expected(0).await.0.len(),
        1 + 3,
        "two extents and a head"
    );
    lab.assert_tidy("after three files").await;
}

#[tokio::test(start_paused = true)]
async fn an_open_and_close_without_a_change_writes_nothing() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    for (file, size) in [("small", 5000), ("large", EXTENT + 5000)] {
        put(&vault, file, &noise(3, size)).await.unwrap();
    }
    vault.sync().await.unwrap();
    lab.servers.iter().for_each(|server| server.reset_calls());
    for file in ["small", "large"] {
        let before = stat(&vault, file).await;
        let handle = open(&vault, file).await.unwrap();
        read_all(&handle).await.unwrap();
        handle.flush(&ctx()).await.unwrap();
        handle.fsync(&ctx()).await.unwrap();
        handle.release(&ctx()).await.unwrap();
        assert_eq!(stat(&vault, file).await, before);
        let handle = open(&vault, file).await.unwrap();
        handle.release(&ctx()).await.unwrap();
        assert_eq!(version(&vault, file).await, VersionNo(1));
    }
    for server in &lab.servers {
        for method in [Method::Put, Method::Delete, Method::Sync] {
            assert_eq!(server.calls(method), 0, "{method:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_changed_extent_of_a_large_file_is_sent_alone() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let mut expected = noise(4, 3 * EXTENT);
    put(&vault, "f", &expected).await.unwrap();
    vault.sync().await.unwrap();
    lab.servers.iter().for_each(|server| server.reset_calls());
    let handle = open(&vault, "f").await.unwrap();
    handle
        .write(&ctx(), EXTENT as u64 + 9, b"changed")
        .await
        .unwrap();
    expected[EXTENT + 9..EXTENT + 16].copy_from_slice(b"changed");
    handle.flush(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    assert_eq!(
        lab.servers[0].calls(Method::Put),
        2,
        "the extent and the head"
    );
    same(&get(&vault, "f").await.unwrap(), &expected, "f");
    assert_eq!(lab.servers[0].calls(Method::Delete), 0);
    lab.assert_tidy("after the change").await;
}

#[tokio::test(start_paused = true)]
async fn sparse_files_hold_zeros_and_store_none() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let handle = rewrite(&vault, "sparse").await.unwrap();
    handle.set_size(&ctx(), 1 << 40).await.unwrap();
    handle
        .write(&ctx(), (1 << 39) + 3, b"island")
        .await
        .unwrap();
    handle.flush(&ctx()).await.unwrap();
    assert_eq!(handle.attr().await.unwrap().size, 1 << 40);
    handle.release(&ctx()).await.unwrap();
    assert_eq!(lab.expected(0).await.0.len(), 2, "the island and the head");
    let again = lab.start().await;
    let handle = open(&again, "sparse").await.unwrap();
    let island = handle.read((1 << 39) - 1, 12).await.unwrap();
    assert_eq!(island.expose(), b"\0\0\0\0island\0\0");
    assert_eq!(
        handle.read((1 << 40) - 3, 10).await.unwrap().expose(),
        [0; 3]
    );
    assert!(handle.read(1 << 40, 10).await.unwrap().is_empty());
    // A hole that is filled with zeros is still a hole, and one extent of data made zeros becomes one.
    handle.write(&ctx(), 5, &[0; 5000]).await.unwrap();
    handle.write(&ctx(), (1 << 39) + 3, &[0; 6]).await.unwrap();
    handle.flush(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    let current = lab
        .memory
        .current(stat(&again, "sparse").await.node)
        .await
        .unwrap();
    assert!(current.1.unwrap().layout.iter().all(Option::is_none));
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_off_comes_back_as_zeros() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let sizes = [
        0,
        1,
        4096,
        100_000,
        EXTENT - 1,
        EXTENT,
        EXTENT + 1,
        EXTENT + 4096,
        2 * EXTENT,
    ];
    let data = noise(5, 2 * EXTENT + 10);
    for saved_between in [false, true] {
        for cut in sizes {
            put(&vault, "f", &data).await.unwrap();
            let handle = open(&vault, "f").await.unwrap();
            handle.set_size(&ctx(), cut as u64).await.unwrap();
            if saved_between {
                handle.flush(&ctx()).await.unwrap();
            }
            handle.set_size(&ctx(), data.len() as u64).await.unwrap();
            let mut expected = data.clone();
            expected[cut..].fill(0);
            same(
                &read_all(&handle).await.unwrap(),
                &expected,
                "before the save",
            );
            handle.flush(&ctx()).await.unwrap();
            handle.release(&ctx()).await.unwrap();
            let what = format!("cut to {cut}, saved between: {saved_between}");
            same(&get(&vault, "f").await.unwrap(), &expected, &what);
        }
    }
    vault.sync().await.unwrap();
    lab.assert_tidy("after all cuts").await;
}

#[tokio::test(start_paused = true)]
async fn a_file_moves_between_its_head_and_extents_and_back() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let mut expected = noise(6, 10_000);
    put(&vault, "f", &expected).await.unwrap();
    // Out of the head, without the old bytes having been read by anybody.
    let handle = open(&vault, "f").await.unwrap();
    handle
        .write(&ctx(), EXTENT as u64 + 100, b"far")
        .await
        .unwrap();
    handle.flush(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    expected.resize(EXTENT + 100, 0);
    expected.extend_from_slice(b"far");
    same(&get(&vault, "f").await.unwrap(), &expected, "as extents");
    // Back, by cutting and changing.
    let handle = open(&vault, "f").await.unwrap();
    handle.set_size(&ctx(), 10_001).await.unwrap();
    handle.write(&ctx(), 0, b"x").await.unwrap();
    handle.flush(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    expected.truncate(10_001);
    expected[0] = b'x';
    same(&get(&vault, "f").await.unwrap(), &expected, "in the head");
    let node = stat(&vault, "f").await.node;
    assert!(
        lab.memory
            .current(node)
            .await
            .unwrap()
            .1
            .unwrap()
            .is_inline()
    );
    // Grown by its size alone: the head's bytes move, although nobody touched them.
    vault
        .truncate(&ctx(), node, 2 * EXTENT as u64)
        .await
        .unwrap();
    expected.resize(2 * EXTENT, 0);
    let again = lab.start().await;
    same(&get(&again, "f").await.unwrap(), &expected, "grown");
    // And appended to, as logs are.
    for piece in 0..5_u64 {
        let handle = open(&again, "f").await.unwrap();
        let end = handle.attr().await.unwrap().size;
        handle
            .write(&ctx(), end, &noise(piece, 70_000))
            .await
            .unwrap();
        handle.flush(&ctx()).await.unwrap();
        handle.release(&ctx()).await.unwrap();
        expected.extend_from_slice(&noise(piece, 70_000));
    }
    same(&get(&again, "f").await.unwrap(), &expected, "appended");
}

#[tokio::test(start_paused = true)]
async fn handles_of_one_file_see_each_other_and_old_versions_stay() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let (one, two) = (noise(7, 6000), noise(8, EXTENT + 60));
    put(&vault, "f", &one).await.unwrap();
    let node = stat(&vault, "f").await.node;
    let writer = open(&vault, "f").await.unwrap();
    let reader = vault.open(&who("taro"), node, Access::READ).await.unwrap();
    write_all(&writer, &two).await.unwrap();
    same(
        &read_all(&reader).await.unwrap(),
        &two,
        "unsaved, by the other handle",
    );
    assert_eq!(
        vault.attr(&ctx(), node).await.unwrap().size,
        two.len() as u64
    );
    assert_eq!(stat(&vault, "f").await.size, two.len() as u64);
    assert!(matches!(
        reader.write(&ctx(), 0, b"x").await,
        Err(VaultError::NotOpenForThis)
    ));
    writer.release(&ctx()).await.unwrap();
    reader.release(&ctx()).await.unwrap();
    let history = vault.history(&ctx(), node).await.unwrap();
    assert_eq!(history.len(), 2, "the last release saved");
    assert_eq!((history[0].size, history[1].size), (6000, two.len() as u64));
    for (number, bytes) in [(1, &one), (2, &two)] {
        let old = vault
            .open_version(&ctx(), node, VersionNo(number))
            .await
            .unwrap();
        same(&read_all(&old).await.unwrap(), bytes, "an old version");
        assert_eq!(old.attr().await.unwrap().size, bytes.len() as u64);
        assert!(matches!(
            old.write(&ctx(), 0, b"x").await,
            Err(VaultError::NotOpenForThis)
        ));
        old.release(&ctx()).await.unwrap();
    }
    assert!(matches!(
        vault.open_version(&ctx(), node, VersionNo(3)).await,
        Err(VaultError::NotFound { what: "version" })
    ));
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let dir = vault
        .make_dir(&ctx(), NodeId::ROOT, &name("d"), 0o755)
        .await
        .unwrap();
    let link = vault
        .make_symlink(&ctx(), NodeId::ROOT, &name("l"), b"d")
        .await
        .unwrap();
    let is = |answer: Result<warifu_vault::FileHandle, VaultError>| answer.map(|_| ()).unwrap_err();
    assert!(matches!(
        is(vault.open(&ctx(), dir.node, Access::READ).await),
        VaultError::IsDir
    ));
    assert!(matches!(
        is(vault.open(&ctx(), link.node, Access::READ).await),
        VaultError::Invalid { .. }
    ));
    assert!(matches!(
        is(vault.open(&ctx(), NodeId(999), Access::READ).await),
        VaultError::Stale
    ));
    put(&vault, "f", b"x").await.unwrap();
    let handle = open(&vault, "f").await.unwrap();
    let limit = warifu_vault::file::FILE_MAX;
    for answer in [
        handle.write(&ctx(), limit, b"x").await.map(|_| ()),
        handle.write(&ctx(), u64::MAX, b"x").await.map(|_| ()),
        handle.set_size(&ctx(), limit + 1).await,
    ] {
        assert!(
            matches!(answer, Err(VaultError::TooLarge { .. })),
            "{answer:?}"
        );
    }
    assert!(handle.read(u64::MAX, usize::MAX).await.unwrap().is_empty());
    handle.punch(&ctx(), u64::MAX, u64::MAX).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    assert_eq!(
        vault.memory_in_use(),
        warifu_vault::status::Memory::default()
    );
    let mut options = lab.options.clone();
    options.read_only = true;
    let reader = lab.start_with(options).await.unwrap();
    assert_eq!(get(&reader, "f").await.unwrap(), b"x");
    assert!(matches!(is(open(&reader, "f").await), VaultError::ReadOnly));
    assert!(matches!(
        put(&reader, "g", b"").await,
        Err(VaultError::ReadOnly)
    ));
}

//! Full and read-only file systems, and mounts that go away: each test runs again in a mount namespace of its own.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{answers, create, in_mount_namespace, open, run, temporary_files};
use rustix::mount::MountFlags;
use tempfile::tempdir;
use warifu_store::{DirectoryStore, OpenError, Options};
use warifu_testkit::stores::share_name;
use warifu_vault::seam::store::{Durability, ShareStore, StoreErrorKind};

fn mount_tmpfs(path: &Path, options: &str) {
    run(
        "mount",
        &[
            "-t",
            "tmpfs",
            "-o",
            options,
            "tmpfs",
            path.to_str().unwrap(),
        ],
    );
}

#[tokio::test]
async fn p10_a_full_disk_refuses_and_keeps_what_it_has() {
    if !in_mount_namespace("p10_a_full_disk_refuses_and_keeps_what_it_has") {
        return;
    }
    let base = tempdir().unwrap();
    mount_tmpfs(base.path(), "size=1m");
    let path = base.path().join("server");
    let store = create(&path).await;
    let share = vec![7; 200_000];
    let mut stored = 0;
    let error = loop {
        match store
            .put_new(&share_name(stored), share.clone().into(), Durability::Soon)
            .await
        {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, StoreErrorKind::Full, "{error}");
    assert!(stored >= 3, "{stored}");
    let durable = store
        .put_new(&share_name(stored), share.clone().into(), Durability::Now)
        .await
        .unwrap_err();
    assert_eq!(durable.kind, StoreErrorKind::Full, "{durable}");
    assert_eq!(
        temporary_files(&path),
        0,
        "a failed write gives its room back"
    );
    store.sync().await.unwrap();
    for number in 0..stored {
        assert_eq!(store.get(&share_name(number), None).await.unwrap(), share);
    }
    let refused = store.get(&share_name(stored), None).await.unwrap_err();
    assert_eq!(
        refused.kind,
        StoreErrorKind::NotFound,
        "a refused write leaves nothing"
    );
    let space = store.space().await.unwrap();
    assert!(
        space.free.unwrap() < 200_000 && space.total == Some(1 << 20),
        "{space:?}"
    );
    store.delete(&share_name(0)).await.unwrap();
    store
        .put_new(&share_name(stored), share.into(), Durability::Now)
        .await
        .unwrap();
}

#[tokio::test]
async fn p10_a_full_disk_before_the_first_write_is_said_to_be_full() {
    if !in_mount_namespace("p10_a_full_disk_before_the_first_write_is_said_to_be_full") {
        return;
    }
    let base = tempdir().unwrap();
    mount_tmpfs(base.path(), "nr_inodes=6");
    let path = base.path().join("server");
    drop(create(&path).await); // the root, the folder, objects, tmp and the marker: one more fits
    let store = open(&path).await;
    let error = store
        .put_new(&share_name(1), "share".into(), Durability::Now)
        .await
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Full, "{error}");
    assert_eq!(temporary_files(&path), 0);
}

#[tokio::test]
async fn p10_a_read_only_server_is_read_and_refuses_writes() {
    if !in_mount_namespace("p10_a_read_only_server_is_read_and_refuses_writes") {
        return;
    }
    let base = tempdir().unwrap();
    mount_tmpfs(base.path(), "size=1m");
    let path = base.path().join("server");
    let store = create(&path).await;
    let name = share_name(1);
    store
        .put_new(&name, "share".into(), Durability::Now)
        .await
        .unwrap();
    run(
        "mount",
        &["-o", "remount,ro", base.path().to_str().unwrap()],
    );
    for store in [store, open(&path).await] {
        assert_eq!(store.get(&name, None).await.unwrap(), "share");
        assert_eq!(store.list(None, 10).await.unwrap().objects.len(), 1);
        assert_eq!(
            store.delete(&name).await.unwrap_err().kind,
            StoreErrorKind::Denied
        );
        for durability in [Durability::Now, Durability::Soon] {
            let error = store
                .put_new(&share_name(2), "x".into(), durability)
                .await
                .unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Denied, "{error}");
        }
        assert_eq!(
            store.get(&share_name(2), None).await.unwrap_err().kind,
            StoreErrorKind::NotFound
        );
    }
}

#[tokio::test]
async fn p4_an_unmounted_server_is_silent_and_comes_back() {
    if !in_mount_namespace("p4_an_unmounted_server_is_silent_and_comes_back") {
        return;
    }
    let base = tempdir().unwrap();
    let (disk, point) = (base.path().join("disk"), base.path().join("mnt"));
    for folder in [&disk, &point] {
        std::fs::create_dir(folder).unwrap();
    }
    mount_tmpfs(&disk, "size=1m");
    let mount = || {
        run(
            "mount",
            &["--bind", disk.to_str().unwrap(), point.to_str().unwrap()],
        )
    };
    mount();
    let store = create(&point).await;
    let name = share_name(1);
    store
        .put_new(&name, "share".into(), Durability::Soon)
        .await
        .unwrap();

    run("umount", &["--lazy", point.to_str().unwrap()]);
    for (method, kind) in answers(&store, &name).await {
        assert_eq!(kind, Some(StoreErrorKind::NoAnswer), "{method}");
    }
    assert_eq!(
        std::fs::read_dir(&point).unwrap().count(),
        0,
        "nothing is written below a mount point"
    );
    mount();
    assert_eq!(store.get(&name, None).await.unwrap(), "share");
    store.sync().await.unwrap();

    // Another file system over it: the same path, and not the store.
    mount_tmpfs(&point, "size=1m");
    assert_eq!(
        store.get(&name, None).await.unwrap_err().kind,
        StoreErrorKind::NoAnswer
    );
}

#[tokio::test]
async fn the_contract_holds_on_tmpfs_too() {
    if !in_mount_namespace("the_contract_holds_on_tmpfs_too") {
        return;
    }
    let base = tempdir().unwrap();
    mount_tmpfs(base.path(), "size=512m");
    let number = std::sync::atomic::AtomicU32::new(0);
    warifu_testkit::stores::contract::store(async || {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Arc::new(create(&base.path().join(number.to_string())).await) as Arc<dyn ShareStore>
    })
    .await;
}

/// A FUSE mount whose server never answers stands for an NFS server that hangs.
#[tokio::test]
async fn p4_a_server_that_hangs_is_given_up_in_time_and_used_again_when_it_answers() {
    if !in_mount_namespace(
        "p4_a_server_that_hangs_is_given_up_in_time_and_used_again_when_it_answers",
    ) {
        return;
    }
    let Ok(fuse) = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/fuse")
    else {
        eprintln!("SKIPPED: /dev/fuse cannot be opened here");
        return;
    };
    let base = tempdir().unwrap();
    let path = base.path().join("server");
    drop(create(&path).await);
    let mut options = Options::default();
    options.timeout = Duration::from_millis(200);
    options.parallel = 3;
    let store = DirectoryStore::open(path.clone(), options).await.unwrap();
    let name = share_name(1);
    store
        .put_new(&name, "share".into(), Durability::Soon)
        .await
        .unwrap();

    let device = std::os::fd::AsRawFd::as_raw_fd(&fuse);
    let data =
        std::ffi::CString::new(format!("fd={device},rootmode=40000,user_id=0,group_id=0")).unwrap();
    rustix::mount::mount("hung", &path, "fuse", MountFlags::empty(), data.as_c_str()).unwrap();
    // The first calls get stuck, the later ones find no place left.
    for _ in 0..2 {
        let began = Instant::now();
        for (method, kind) in answers(&store, &name).await {
            assert_eq!(kind, Some(StoreErrorKind::NoAnswer), "{method}");
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
    let opened = DirectoryStore::open(path.clone(), options).await;
    assert!(
        matches!(opened, Err(OpenError::NoAnswer { .. })),
        "{opened:?}"
    );

    drop(fuse); // its mount now fails at once, which frees the threads
    run("umount", &["--lazy", path.to_str().unwrap()]);
    assert_eq!(store.get(&name, None).await.unwrap(), "share");
    store.sync().await.unwrap();
}

//! The directory store: the contract, and what only folders do.

mod common;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use common::{answers, create, open, temporary_files};
use tempfile::tempdir;
use warifu_store::{DirectoryStore, Options};
use warifu_testkit::stores::{contract, share_name};
use warifu_vault::seam::store::{Durability, ObjectKey, ShareStore, StoreErrorKind};

fn object_path(root: &Path, name: &ObjectKey) -> std::path::PathBuf {
    root.join("objects")
        .join(&name.as_str()[..2])
        .join(name.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_store_keeps_the_contract() {
    let base = tempdir().unwrap();
    let number = AtomicU32::new(0);
    contract::store(async || {
        let path = base
            .path()
            .join(number.fetch_add(1, Ordering::Relaxed).to_string());
        Arc::new(create(&path).await) as Arc<dyn ShareStore>
    })
    .await;
    for store in std::fs::read_dir(base.path()).unwrap() {
        assert_eq!(temporary_files(&store.unwrap().path()), 0);
    }
}

#[tokio::test]
async fn objects_survive_a_new_start() {
    let base = tempdir().unwrap();
    let path = base.path().join("server");
    let store = create(&path).await;
    for number in 0..3 {
        store
            .put_new(
                &share_name(number),
                format!("share {number}").into(),
                Durability::Soon,
            )
            .await
            .unwrap();
    }
    store.sync().await.unwrap();
    drop(store);
    let store = open(&path).await;
    for number in 0..3 {
        assert_eq!(
            store.get(&share_name(number), None).await.unwrap(),
            format!("share {number}")
        );
    }
    assert!(object_path(&path, &share_name(1)).is_file());
}

#[tokio::test]
async fn nobody_else_may_read_the_folders_and_files_whatever_the_umask() {
    rustix::process::umask(rustix::fs::Mode::empty());
    let base = tempdir().unwrap();
    let path = base.path().join("server");
    let store = create(&path).await;
    let name = share_name(1);
    store
        .put_new(&name, "share".into(), Durability::Now)
        .await
        .unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let object = object_path(&path, &name);
    for folder in [
        &path,
        &path.join("objects"),
        &path.join("tmp"),
        object.parent().unwrap(),
    ] {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    for file in [&object, &path.join("warifu-store")] {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
}

/// Every way in which a server's folder can vanish, and how it comes back.
#[tokio::test]
async fn p4_a_vanished_folder_is_silence_and_never_an_absent_object() {
    let base = tempdir().unwrap();
    let path = base.path().join("server");
    let away = base.path().join("away");
    let store = create(&path).await;
    let name = share_name(1);
    store
        .put_new(&name, "share".into(), Durability::Now)
        .await
        .unwrap();
    let copy = base.path().join("copy");
    common::run(
        "cp",
        &["-a", path.to_str().unwrap(), copy.to_str().unwrap()],
    );

    let all_silent = async |what: &str| {
        for name in [&name, &share_name(2)] {
            for (method, kind) in answers(&store, name).await {
                assert_eq!(kind, Some(StoreErrorKind::NoAnswer), "{what}: {method}");
            }
        }
        let error = store.get(&name, None).await.unwrap_err();
        assert!(
            error.detail.contains(path.to_str().unwrap()),
            "{what}: {error}"
        );
    };

    std::fs::rename(&path, &away).unwrap();
    all_silent("moved away").await;
    assert!(!path.exists(), "nothing is made where the folder was");

    std::fs::create_dir(&path).unwrap();
    all_silent("an empty mount point").await;
    assert_eq!(
        std::fs::read_dir(&path).unwrap().count(),
        0,
        "nothing is made in a foreign folder"
    );

    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&away, &path).unwrap();
    assert_eq!(
        store.get(&name, None).await.unwrap(),
        "share",
        "the folder is back"
    );

    std::fs::remove_dir_all(&path).unwrap();
    all_silent("deleted").await;
    std::fs::write(&path, "a file").unwrap();
    all_silent("a file in its place").await;
    std::fs::remove_file(&path).unwrap();

    std::fs::rename(&copy, &path).unwrap();
    assert_eq!(
        store.get(&name, None).await.unwrap(),
        "share",
        "a copy of the folder is the same store"
    );
    assert_eq!(
        store.get(&share_name(2), None).await.unwrap_err().kind,
        StoreErrorKind::NotFound
    );

    for entry in std::fs::read_dir(&path).unwrap() {
        common::run("rm", &["-r", entry.unwrap().path().to_str().unwrap()]);
    }
    all_silent("emptied").await;
    std::fs::write(path.join("warifu-store"), [0xFF; 40]).unwrap();
    all_silent("filled with rubbish").await;
}

#[tokio::test]
async fn p4_another_store_is_not_taken_in_its_place() {
    let base = tempdir().unwrap();
    let (path, other) = (base.path().join("server"), base.path().join("other"));
    let store = create(&path).await;
    drop(create(&other).await);
    std::fs::remove_dir_all(&path).unwrap();
    std::fs::rename(&other, &path).unwrap();
    for (method, kind) in answers(&store, &share_name(1)).await {
        assert_eq!(kind, Some(StoreErrorKind::NoAnswer), "{method}");
    }
    let error = store.get(&share_name(1), None).await.unwrap_err();
    assert!(
        error.detail.contains("not the store that was opened"),
        "{error}"
    );

    // Made anew in the very same folder, so that the folder's own numbers do not tell.
    let path = base.path().join("third");
    let store = create(&path).await;
    for entry in std::fs::read_dir(&path).unwrap() {
        common::run("rm", &["-r", entry.unwrap().path().to_str().unwrap()]);
    }
    drop(create(&path).await);
    for (method, kind) in answers(&store, &share_name(1)).await {
        assert_eq!(kind, Some(StoreErrorKind::NoAnswer), "made anew: {method}");
    }
}

#[tokio::test]
async fn p4_a_store_attached_while_it_is_away_works_when_it_comes() {
    let base = tempdir().unwrap();
    let path = base.path().join("server");
    let store = DirectoryStore::attach(path.clone(), Options::default());
    for (method, kind) in answers(&store, &share_name(1)).await {
        assert_eq!(kind, Some(StoreErrorKind::NoAnswer), "{method}");
    }
    store.sync().await.expect("nothing was written");
    drop(create(&path).await);
    store
        .put_new(&share_name(1), "share".into(), Durability::Now)
        .await
        .unwrap();
    assert_eq!(store.get(&share_name(1), None).await.unwrap(), "share");
}

#[tokio::test]
async fn foreign_files_are_counted_once_and_left_alone() {
    let base = tempdir().unwrap();
    let path = base.path().join("server");
    let store = create(&path).await;
    for number in 0..40 {
        store
            .put_new(&share_name(number), "share".into(), Durability::Soon)
            .await
            .unwrap();
    }
    let one = share_name(1);
    let shard = object_path(&path, &one).parent().unwrap().to_owned();
    let foreign = [
        path.join("README.txt"),
        path.join("vault-xyz"),
        path.join(share_name(99).as_str()), // a good name in the wrong folder
        path.join("objects/ab.tmp"),
        path.join("objects/zz"),
        shard.join(".DS_Store"),
        shard.join(share_name(1).as_str().to_uppercase()),
        shard.join(
            if one.as_str().starts_with("00") {
                "11"
            } else {
                "00"
            }
            .repeat(32),
        ),
    ];
    for file in &foreign {
        std::fs::write(file, "foreign").unwrap();
    }
    std::fs::create_dir(path.join("lost+found")).unwrap();
    for limit in [1, 2, 3, 7, 40, 1_000] {
        let (mut objects, mut found, mut after) = (0, 0, None);
        loop {
            let page = store.list(after.as_ref(), limit).await.unwrap();
            objects += page.objects.len();
            found += page.foreign;
            after = page.objects.last().map(|(name, _)| name.clone()).or(after);
            if !page.more {
                break;
            }
        }
        assert_eq!(
            (objects, found),
            (40, foreign.len() as u64),
            "pages of {limit}"
        );
    }
    for file in &foreign {
        assert_eq!(std::fs::read(file).unwrap(), b"foreign");
    }
}

#[tokio::test]
async fn p10_things_that_are_no_files_are_refused_without_waiting_for_them() {
    let base = tempdir().unwrap();
    let path = base.path().join("server");
    let store = create(&path).await;
    for number in 1..=4 {
        store
            .put_new(&share_name(number), "share".into(), Durability::Soon)
            .await
            .unwrap();
        std::fs::remove_file(object_path(&path, &share_name(number))).unwrap();
    }
    std::fs::create_dir(object_path(&path, &share_name(1))).unwrap();
    common::run(
        "mkfifo",
        &[object_path(&path, &share_name(2)).to_str().unwrap()],
    );
    symlink("/etc/hostname", object_path(&path, &share_name(3))).unwrap();
    std::fs::File::create(object_path(&path, &share_name(4)))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    for number in 1..=4 {
        let read = tokio::time::timeout(
            Duration::from_secs(10),
            store.get(&share_name(number), None),
        )
        .await;
        let error = read.expect("an answer comes at once").unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Failed, "{number}: {error}");
        let put = store
            .put_new(&share_name(number), "x".into(), Durability::Now)
            .await
            .unwrap_err();
        assert_eq!(put.kind, StoreErrorKind::AlreadyExists, "{number}: {put}");
    }
    for number in 1..=3 {
        assert_eq!(
            store.stat(&share_name(number)).await.unwrap_err().kind,
            StoreErrorKind::Failed
        );
    }
    let page = store.list(None, 10).await.unwrap();
    assert_eq!((page.objects.len(), page.foreign), (1, 3));
    assert_eq!(
        store
            .get(&share_name(4), Some(1 << 30..(1 << 30) + 3))
            .await
            .unwrap(),
        &[0; 3][..]
    );
}

#[tokio::test]
async fn p10_a_file_in_the_place_of_a_folder_is_an_error_and_hides_nothing_else() {
    let base = tempdir().unwrap();
    let path = base.path().join("server");
    let store = create(&path).await;
    store
        .put_new(&share_name(1), "share".into(), Durability::Now)
        .await
        .unwrap();
    let victim = (2..)
        .map(share_name)
        .find(|name| name.as_str()[..2] != share_name(1).as_str()[..2])
        .unwrap();
    std::fs::write(path.join("objects").join(&victim.as_str()[..2]), "rubbish").unwrap();
    assert_eq!(
        store.get(&victim, None).await.unwrap_err().kind,
        StoreErrorKind::Failed
    );
    assert_eq!(
        store
            .put_new(&victim, "x".into(), Durability::Now)
            .await
            .unwrap_err()
            .kind,
        StoreErrorKind::Failed
    );
    let page = store.list(None, 10).await.unwrap();
    assert_eq!((page.objects.len(), page.foreign), (1, 1));
    assert_eq!(temporary_files(&path), 0);
}

#[tokio::test]
async fn temporary_files_of_a_crash_are_swept_by_age() {
    let base = tempdir().unwrap();
    let path = base.path().join("server");
    drop(create(&path).await);
    let old = path.join("tmp").join("0".repeat(32));
    let fresh = path.join("tmp").join("1".repeat(32));
    let foreign = path.join("tmp").join("notes");
    for file in [&old, &fresh, &foreign] {
        std::fs::write(file, "half a sh").unwrap();
    }
    let days_ago = SystemTime::now() - Duration::from_secs(3 * 24 * 60 * 60);
    for file in [&old, &foreign] {
        std::fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_modified(days_ago)
            .unwrap();
    }
    let store = open(&path).await;
    assert!(!old.exists() && fresh.exists() && foreign.exists());
    assert!(
        store.list(None, 10).await.unwrap().objects.is_empty(),
        "a temporary file is no object"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_of_one_folder_never_write_over_each_other() {
    let base = tempdir().unwrap();
    let path = base.path().join("server");
    let one = Arc::new(create(&path).await);
    let other = Arc::new(open(&path).await);
    for number in 0..200 {
        let name = share_name(number);
        let (a, b) = tokio::join!(
            tokio::spawn({
                let (store, name) = (Arc::clone(&one), name.clone());
                async move { store.put_new(&name, "one".into(), Durability::Soon).await }
            }),
            tokio::spawn({
                let (store, name) = (Arc::clone(&other), name.clone());
                async move { store.put_new(&name, "other".into(), Durability::Soon).await }
            }),
        );
        let (won, lost) = match (a.unwrap(), b.unwrap()) {
            (Ok(()), Err(error)) => ("one", error),
            (Err(error), Ok(())) => ("other", error),
            both => panic!("exactly one wins: {both:?}"),
        };
        assert_eq!(lost.kind, StoreErrorKind::AlreadyExists, "{lost}");
        assert_eq!(one.get(&name, None).await.unwrap(), won);
    }
    assert_eq!(temporary_files(&path), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_objects_are_listed_page_by_page_and_synced_at_once() {
    let base = tempdir().unwrap();
    let path = base.path().join("server");
    let store = Arc::new(create(&path).await);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..3_000 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            store
                .put_new(&share_name(number), "share".into(), Durability::Soon)
                .await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    store.sync().await.unwrap();
    let mut names = Vec::new();
    loop {
        let page = store.list(names.last(), 256).await.unwrap();
        names.extend(page.objects.into_iter().map(|(name, _)| name));
        if !page.more {
            break;
        }
    }
    assert_eq!(names.len(), 3_000);
    assert!(names.is_sorted());
}

#[tokio::test]
async fn p10_an_object_beyond_all_measure_is_not_taken() {
    let base = tempdir().unwrap();
    let store = create(&base.path().join("server")).await;
    let object = vec![0; warifu_store::MAX_OBJECT + 1];
    let error = store
        .put_new(&share_name(1), object.into(), Durability::Soon)
        .await
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Failed);
}

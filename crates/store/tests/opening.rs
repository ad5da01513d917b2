//! Which folders are taken for a store, which can become one, and what is said of the others.

mod common;

use std::path::Path;

use common::{create, open};
use tempfile::tempdir;
use warifu_store::{
    CreateError, DirectoryStore, Identity, OpenError, Options, StoreIdentity, StoreSpec, StoreUrl,
    attach_store, create_store, identity, open_store,
};
use warifu_testkit::stores::share_name;
use warifu_vault::seam::store::{Durability, ShareStore, StoreErrorKind};

async fn refused(path: &Path) -> OpenError {
    DirectoryStore::open(path.into(), Options::default())
        .await
        .expect_err("this is no store")
}

async fn not_made(path: &Path) -> CreateError {
    DirectoryStore::create(path.into(), Options::default())
        .await
        .expect_err("no store can be made here")
}

#[tokio::test]
async fn p10_a_wrong_folder_is_refused_and_nothing_is_made_in_it() {
    let base = tempdir().unwrap();
    let path = base.path().join("server");
    assert!(matches!(refused(&path).await, OpenError::Missing { .. }));
    assert!(!path.exists());

    std::fs::create_dir(&path).unwrap();
    let error = refused(&path).await;
    assert!(
        matches!(error, OpenError::NotAStore { empty: true, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("not mounted?"), "{error}");

    std::fs::write(path.join("letter.docx"), "x").unwrap();
    let error = refused(&path).await;
    assert!(
        matches!(error, OpenError::NotAStore { empty: false, .. }),
        "{error}"
    );

    for (text, damaged) in [
        ("", true),
        ("warifu-store 1 xyz\n", true),
        ("hello", true),
        ("warifu-store 7 abc\n", false),
    ] {
        std::fs::write(path.join("warifu-store"), text).unwrap();
        match refused(&path).await {
            OpenError::DamagedMarker { .. } => assert!(damaged, "{text:?}"),
            OpenError::Newer { version: 7, .. } => assert!(!damaged, "{text:?}"),
            error => panic!("{text:?}: {error}"),
        }
    }
    assert!(matches!(
        refused(&path.join("letter.docx")).await,
        OpenError::NotAFolder { .. }
    ));
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2);
}

#[tokio::test]
async fn p10_a_store_is_made_only_where_nothing_else_is() {
    let base = tempdir().unwrap();
    let path = base.path().join("server");

    let error = not_made(&base.path().join("not/there")).await;
    assert!(
        matches!(&error, CreateError::NoParent { parent, .. } if *parent == base.path().join("not")),
        "{error}"
    );

    std::fs::create_dir(&path).unwrap();
    for number in 0..7 {
        std::fs::write(path.join(format!("letter-{number}.docx")), "x").unwrap();
    }
    let error = not_made(&path).await;
    assert!(
        matches!(&error, CreateError::NotEmpty { found, more: 2, .. } if found[0] == "letter-0.docx"),
        "{error}"
    );
    assert!(
        error.to_string().ends_with("letter-4.docx and 2 more"),
        "{error}"
    );
    assert_eq!(
        std::fs::read_dir(&path).unwrap().count(),
        7,
        "nothing was made there"
    );
    std::fs::remove_dir_all(&path).unwrap();

    std::fs::write(&path, "a file").unwrap();
    assert!(matches!(
        not_made(&path).await,
        CreateError::Open(OpenError::NotAFolder { .. } | OpenError::Io { .. })
    ));
    std::fs::remove_file(&path).unwrap();

    // A new file system's own folder is not foreign.
    std::fs::create_dir_all(path.join("lost+found")).unwrap();
    let store = create(&path).await;
    let error = not_made(&path.join("objects")).await;
    assert!(
        matches!(&error, CreateError::Inside { store, .. } if store.ends_with("server")),
        "{error}"
    );

    drop(create(&path).await); // a repeated init
    store
        .put_new(&share_name(1), "share".into(), Durability::Now)
        .await
        .unwrap();
    assert!(matches!(not_made(&path).await, CreateError::InUse { .. }));
}

#[tokio::test]
async fn a_broken_off_init_can_be_repeated_at_every_step() {
    let base = tempdir().unwrap();
    for step in 0..4 {
        let path = base.path().join(format!("server-{step}"));
        std::fs::create_dir(&path).unwrap();
        if step > 0 {
            std::fs::create_dir(path.join("objects")).unwrap();
        }
        if step > 1 {
            std::fs::create_dir(path.join("tmp")).unwrap();
        }
        if step > 2 {
            std::fs::write(path.join("tmp").join("a".repeat(32)), "warifu-st").unwrap();
        }
        drop(create(&path).await);
        drop(open(&path).await);
    }
    // Folders of the same names that hold somebody's files are not a beginning of ours.
    let path = base.path().join("foreign");
    std::fs::create_dir_all(path.join("objects")).unwrap();
    std::fs::write(path.join("objects/model.obj"), "x").unwrap();
    assert!(matches!(
        not_made(&path).await,
        CreateError::NotEmpty { .. }
    ));
}

#[tokio::test]
async fn one_folder_by_two_paths_is_one_identity() {
    let base = tempdir().unwrap();
    for name in ["one", "two"] {
        drop(create(&base.path().join(name)).await);
    }
    std::os::unix::fs::symlink(base.path().join("one"), base.path().join("link")).unwrap();
    let of = async |text: &str| -> Result<Identity, OpenError> {
        let url = StoreUrl::parse(text, base.path()).unwrap();
        match identity(&url.into()).await? {
            StoreIdentity::Directory(identity) => Ok(identity),
            other => panic!("{other:?}"),
        }
    };
    let one = of("one").await.unwrap();
    for same in ["link", "two/../one", "./one/", "link/../one"] {
        assert_eq!(of(same).await.unwrap(), one, "{same}");
    }
    let two = of("two").await.unwrap();
    assert_ne!(two, one);
    assert_eq!(two.device, one.device);
    assert!(matches!(of("three").await, Err(OpenError::Missing { .. })));
}

#[tokio::test]
async fn stores_are_made_opened_and_attached_by_url() {
    let base = tempdir().unwrap();
    let url = StoreSpec::from(StoreUrl::parse("server", base.path()).unwrap());
    let away = attach_store(&url);
    assert_eq!(
        away.stat(&share_name(1)).await.unwrap_err().kind,
        StoreErrorKind::NoAnswer
    );
    assert!(matches!(
        open_store(&url).await,
        Err(OpenError::Missing { .. })
    ));
    let made = create_store(&url).await.unwrap();
    made.put_new(&share_name(1), "share".into(), Durability::Now)
        .await
        .unwrap();
    assert_eq!(
        open_store(&url)
            .await
            .unwrap()
            .get(&share_name(1), None)
            .await
            .unwrap(),
        "share"
    );
    assert_eq!(away.get(&share_name(1), None).await.unwrap(), "share");
}

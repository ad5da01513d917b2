//! What is said when a store cannot be opened or made.

use warifu_store::{CreateError, OpenError, RemoteStore};
use warifu_testkit::servers::{S3Server, WebdavServer, free_port};
use warifu_testkit::stores::share_name;
use warifu_vault::seam::store::{ShareStore, StoreErrorKind};

use crate::common::{Server, bytes, create, expect_kind, file, patient, put, servers, spec};

#[tokio::test(flavor = "multi_thread")]
async fn p10_what_is_no_store_is_told_apart() {
    for (kind, server) in servers() {
        let open = async |place: &str| RemoteStore::open(&server.spec(place), patient()).await;
        let make = async |place: &str| RemoteStore::create(&server.spec(place), patient()).await;
        match (&server, open("nowhere").await.unwrap_err()) {
            (Server::Webdav(_), OpenError::Missing { .. }) => {}
            // A bucket has no folders, so nothing can be missing from one.
            (Server::S3(_), OpenError::NotAStore { empty: true, .. }) => {}
            (_, other) => panic!("{kind}: {other}"),
        }
        if let Server::Webdav(server) = &server {
            std::fs::create_dir(server.folder().join("empty")).unwrap();
            assert!(
                matches!(
                    open("empty").await,
                    Err(OpenError::NotAStore { empty: true, .. })
                ),
                "{kind}"
            );
            std::fs::create_dir(server.folder().join("full")).unwrap();
            std::fs::write(server.folder().join("full/letter.docx"), "x").unwrap();
            assert!(
                matches!(
                    open("full").await,
                    Err(OpenError::NotAStore { empty: false, .. })
                ),
                "{kind}"
            );
            match make("full").await {
                Err(CreateError::NotEmpty { found, more: 0, .. }) => {
                    assert_eq!(found, ["letter.docx"], "{kind}")
                }
                other => panic!("{kind}: {other:?}"),
            }
            assert!(
                matches!(make("no/parent").await, Err(CreateError::NoParent { .. })),
                "{kind}"
            );
        }
        let store = create(&server.spec("store")).await;
        // A broken-off `init` can be repeated.
        drop(create(&server.spec("store")).await);
        put(&store, &share_name(1), bytes(10, 1)).await;
        assert!(
            matches!(make("store").await, Err(CreateError::InUse { .. })),
            "{kind}"
        );
        assert!(
            matches!(make("store/inner").await, Err(CreateError::Inside { .. })),
            "{kind}"
        );
        drop(open("store").await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_marker_of_another_kind_is_refused() {
    let Some(server) = WebdavServer::apache(false).map(Server::Webdav) else {
        return;
    };
    let Server::Webdav(webdav) = &server else {
        return;
    };
    let store = create(&server.spec("a")).await;
    put(&store, &share_name(1), bytes(10, 1)).await;
    let marker = webdav.folder().join("a/warifu-store");
    let was = std::fs::read(&marker).unwrap();
    for (text, newer) in [("nonsense", false), ("warifu-store 7 x\n", true)] {
        std::fs::write(&marker, text).unwrap();
        match RemoteStore::open(&server.spec("a"), patient()).await {
            Err(OpenError::DamagedMarker { .. }) if !newer => {}
            Err(OpenError::Newer { version: 7, .. }) if newer => {}
            other => panic!("{other:?}"),
        }
    }
    // Another store in the place of the one that was opened is not taken for it.
    std::fs::write(&marker, format!("warifu-store 1 {}\n", "0".repeat(32))).unwrap();
    expect_kind(
        store.get(&share_name(2), None).await,
        StoreErrorKind::NoAnswer,
        "an absent object of another store",
    );
    expect_kind(
        store.get(&share_name(1), None).await,
        StoreErrorKind::NoAnswer,
        "once that is known, nothing is read",
    );
    std::fs::write(&marker, was).unwrap();
    assert_eq!(store.get(&share_name(1), None).await.unwrap(), bytes(10, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_server_that_lets_nobody_in_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "wrong\n").unwrap();
    std::fs::set_permissions(&wrong, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for (kind, server) in servers() {
        create(&server.spec("locked")).await;
        let spec = match &server {
            Server::Webdav(server) => spec(
                &server.url("locked", server.port()),
                &[("password", file(&wrong))],
            ),
            Server::S3(server) => spec(
                &server.url("locked", server.port()),
                &[
                    ("access_key", file(&server.access_key())),
                    ("secret_key", file(&wrong)),
                ],
            ),
        };
        let error = RemoteStore::open(&spec, patient()).await.unwrap_err();
        assert!(matches!(error, OpenError::Login { .. }), "{kind}: {error}");
        assert!(!error.to_string().contains("wrong\n"), "{kind}: {error}");
        let attached = RemoteStore::attach(&spec, patient());
        for (what, answer) in [
            ("get", attached.get(&share_name(1), None).await.err()),
            (
                "put",
                attached
                    .put_new(
                        &share_name(1),
                        bytes(1, 1),
                        warifu_vault::seam::store::Durability::Now,
                    )
                    .await
                    .err(),
            ),
            ("list", attached.list(None, 1).await.err()),
        ] {
            let kind_of = answer.map(|error| error.kind);
            assert_eq!(kind_of, Some(StoreErrorKind::Denied), "{kind}: {what}");
        }
        assert!(
            matches!(
                RemoteStore::create(&spec, patient()).await,
                Err(CreateError::Open(OpenError::Login { .. }))
            ),
            "{kind}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_bucket_that_is_not_there_is_named() {
    for server in [S3Server::s3s(), S3Server::garage()].into_iter().flatten() {
        let spec = spec(
            &server.url_of("another-bucket", "", server.port()),
            &[
                ("access_key", file(&server.access_key())),
                ("secret_key", file(&server.secret_key())),
            ],
        );
        // Garage tells a key nothing of buckets that it may not use.
        let error = RemoteStore::open(&spec, patient()).await.unwrap_err();
        assert!(
            error.to_string().contains("no bucket another-bucket")
                || matches!(error, OpenError::Login { .. }),
            "{error:?}"
        );
        let error = RemoteStore::create(&spec, patient()).await.unwrap_err();
        assert!(
            error.to_string().contains("no bucket another-bucket")
                || matches!(error, CreateError::Open(OpenError::Login { .. })),
            "{error:?}"
        );
        let attached = RemoteStore::attach(&spec, patient());
        let error = attached.get(&share_name(1), None).await.unwrap_err();
        assert!(
            matches!(
                error.kind,
                StoreErrorKind::NoAnswer | StoreErrorKind::Denied
            ),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_an_authority_that_is_not_known_is_named_and_how_to_trust_it() {
    for (server, other) in [
        (WebdavServer::apache(true), WebdavServer::nginx(true)),
        (WebdavServer::nginx(true), WebdavServer::apache(true)),
    ] {
        let (Some(server), Some(other)) = (server, other) else {
            continue;
        };
        let password = ("password", file(&server.password()));
        let url = server.url("tls", server.port());
        let authority =
            |server: &WebdavServer| ("ca", server.authority().unwrap().display().to_string());
        create(&spec(&url, &[password.clone(), authority(&server)])).await;
        for options in [
            vec![password.clone()],
            vec![password.clone(), authority(&other)],
        ] {
            let error = RemoteStore::open(&spec(&url, &options), patient())
                .await
                .unwrap_err();
            assert!(matches!(error, OpenError::Certificate { .. }), "{error:?}");
            assert!(error.to_string().contains("ca = \"PATH\""), "{error}");
        }
        // The certificate is for localhost and 127.0.0.1, and for no other name of this machine.
        let elsewhere = url.replace("localhost", "127.0.0.2");
        let trusting = [password.clone(), authority(&server)];
        let error = RemoteStore::open(&spec(&elsewhere, &trusting), patient())
            .await
            .unwrap_err();
        match error {
            OpenError::Certificate { detail, .. } => {
                assert!(detail.contains("another server's"), "{detail}")
            }
            // It does not listen there.
            OpenError::Unreachable { .. } => {}
            other => panic!("{other:?}"),
        }
        let plain = url.replace("webdavs:", "webdav:");
        assert!(
            RemoteStore::open(&spec(&plain, &[password]), patient())
                .await
                .is_err(),
            "no password in the clear by mistake"
        );
    }
    let Some(server) = WebdavServer::apache(false) else {
        return;
    };
    let nothing = [
        ("password", file(&server.password())),
        ("ca", server.password().display().to_string()),
    ];
    let url = server
        .url("x", server.port())
        .replace("webdav:", "webdavs:");
    let error = RemoteStore::open(&spec(&url, &nothing), patient())
        .await
        .unwrap_err();
    assert!(
        matches!(error, OpenError::Credential(_)) && error.to_string().contains("no certificate"),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    let port = free_port();
    let url = format!("webdav://me@localhost:{port}/dav/x");
    let spec = spec(&url, &[("password", file(&password))]);
    let store = RemoteStore::attach(&spec, patient());
    // Not even the password is there yet.
    let error = expect_kind(
        store.get(&share_name(1), None).await,
        StoreErrorKind::NoAnswer,
        "no password",
    );
    assert!(error.to_string().contains("password"), "{error}");
    std::fs::write(&password, "secret").unwrap();
    std::fs::set_permissions(
        &password,
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let error = expect_kind(
        store.get(&share_name(1), None).await,
        StoreErrorKind::NoAnswer,
        "nobody listens",
    );
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    let error = RemoteStore::open(&spec, patient()).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    assert!(!format!("{store:?} {error:?}").contains("secret"));
}

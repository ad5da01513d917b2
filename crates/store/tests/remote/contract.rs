//! The contract on each server, what the servers promise, and what a request costs.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use warifu_core::ids::Generation;
use warifu_core::ways::WaysNumber;
use warifu_store::{DirectoryStore, Options, RemoteStore};
use warifu_testkit::proxy::Proxy;
use warifu_testkit::servers::{S3Server, WebdavServer};
use warifu_testkit::stores::{contract, share_name};
use warifu_vault::seam::store::{Durability, ObjectKey, ShareStore, StoreErrorKind};

use crate::common::{Server, bytes, create, expect_kind, fresh, patient, put, servers};

async fn keeps_the_contract(server: Option<Server>) {
    if let Some(server) = server {
        contract::store(async || Arc::new(fresh(&server).await) as Arc<dyn ShareStore>).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apache_keeps_the_contract() {
    keeps_the_contract(WebdavServer::apache(false).map(Server::Webdav)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apache_over_tls_keeps_the_contract() {
    keeps_the_contract(WebdavServer::apache(true).map(Server::Webdav)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_keeps_the_contract() {
    keeps_the_contract(WebdavServer::nginx(false).map(Server::Webdav)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_over_tls_keeps_the_contract() {
    keeps_the_contract(WebdavServer::nginx(true).map(Server::Webdav)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s3s_keeps_the_contract() {
    keeps_the_contract(S3Server::s3s().map(Server::S3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garage_keeps_the_contract() {
    keeps_the_contract(S3Server::garage().map(Server::S3)).await;
}

/// What the module's documentation says of these servers.
#[tokio::test(flavor = "multi_thread")]
async fn each_server_is_found_out() {
    for (kind, server) in servers() {
        let store = fresh(&server).await;
        let powers = store.powers().await.unwrap();
        assert_eq!(
            powers.refuses_taken,
            matches!(kind, "apache" | "s3s"),
            "{kind}"
        );
        assert!(!powers.shows_parts, "{kind}");
        let page = store.list(None, 10).await.unwrap();
        assert!(
            page.objects.is_empty() && page.foreign == 0,
            "{kind}: what was tried leaves nothing: {page:?}"
        );
    }
}

/// A second process does not know which names the first one tried.
#[tokio::test(flavor = "multi_thread")]
async fn names_tried_by_another_process_are_refused_as_far_as_the_server_can() {
    for (kind, server) in servers() {
        let spec = server.spec("twice");
        let first = create(&spec).await;
        let (name, fixed) = (share_name(1), ObjectKey::vault_object(Generation(1)));
        put(&first, &name, bytes(5_000, 1)).await;
        put(&first, &fixed, bytes(160, 1)).await;
        let second = RemoteStore::open(&spec, patient()).await.unwrap();
        let refuses = second.powers().await.unwrap().refuses_taken;
        let again = second
            .put_new(&name, bytes(5_000, 2), Durability::Now)
            .await;
        let kept = second.get(&name, None).await.unwrap();
        if refuses {
            expect_kind(again, StoreErrorKind::AlreadyExists, kind);
            assert_eq!(kept, bytes(5_000, 1), "{kind}");
        } else {
            again.unwrap();
            assert_eq!(kept, bytes(5_000, 2), "{kind}: replaced by a whole");
        }
        let again = second.put_new(&fixed, bytes(160, 2), Durability::Now).await;
        expect_kind(again, StoreErrorKind::AlreadyExists, kind);
        assert_eq!(
            second.get(&fixed, None).await.unwrap(),
            bytes(160, 1),
            "{kind}"
        );
    }
}

/// Two processes that have just begun put something under one name that everybody knows: where the server can refuse, one of them is refused.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_new_processes_one_gets_a_name_that_everybody_knows() {
    for (kind, server) in servers() {
        let first = create(&server.spec("both")).await;
        if !first.powers().await.unwrap().refuses_taken {
            continue;
        }
        // Each question takes so long that both are answered before either write.
        let line = Proxy::to(server.port());
        line.set_delay(Duration::from_millis(200));
        let spec = server.spec_at("both", line.port());
        for number in 1..=3 {
            let name = ObjectKey::ways_object(WaysNumber(number));
            let one = RemoteStore::open(&spec, patient()).await.unwrap();
            let other = RemoteStore::open(&spec, patient()).await.unwrap();
            let (one, other) =
                tokio::join!(one.put_new(&name, bytes(160, 1), Durability::Now), async {
                    // Not at the very same moment, which no server is asked to tell apart.
                    tokio::time::sleep(Duration::from_millis(40)).await;
                    other.put_new(&name, bytes(160, 2), Durability::Now).await
                });
            let (kept, lost) = match (one, other) {
                (Ok(()), lost) => (1, lost),
                (lost, Ok(())) => (2, lost),
                neither => panic!("{kind}: {neither:?}"),
            };
            expect_kind(lost, StoreErrorKind::AlreadyExists, kind);
            assert_eq!(
                first.get(&name, None).await.unwrap(),
                bytes(160, kept),
                "{kind}"
            );
        }
    }
}

/// One round trip to save, one to read: counted on the wire.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_and_a_read_are_one_request_each() {
    for (kind, server) in servers() {
        let line = Proxy::to(server.port());
        create(&server.spec("counted")).await;
        let spec = server.spec_at("counted", line.port());
        let store = RemoteStore::open(&spec, patient()).await.unwrap();
        store.powers().await.unwrap();
        let small = bytes(20_000, 1);
        put(&store, &share_name(0), small.clone()).await;
        let before = line.turns();
        for number in 1..=10 {
            put(&store, &share_name(number), small.clone()).await;
        }
        assert_eq!(line.turns() - before, 10, "{kind}: a save");
        for number in 1..=10 {
            assert_eq!(
                store.get(&share_name(number), None).await.unwrap(),
                small,
                "{kind}"
            );
        }
        assert_eq!(line.turns() - before, 20, "{kind}: a read");
        store.get(&share_name(1), Some(192..10_000)).await.unwrap();
        store.stat(&share_name(1)).await.unwrap();
        assert_eq!(line.turns() - before, 22, "{kind}: a range, a stat");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_requests_at_once_are_answered() {
    for (kind, server) in servers() {
        let store = Arc::new(fresh(&server).await);
        let mut tasks = JoinSet::new();
        for number in 0..64 {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let object = bytes(200_000, number as u8);
                put(&*store, &share_name(number), object.clone()).await;
                assert_eq!(store.get(&share_name(number), None).await.unwrap(), object);
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap_or_else(|error| panic!("{kind}: {error}"));
        }
        assert_eq!(
            store.list(None, 100).await.unwrap().objects.len(),
            64,
            "{kind}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_say_when_they_were_written() {
    for (kind, server) in servers() {
        let store = fresh(&server).await;
        put(&store, &share_name(1), bytes(10, 1)).await;
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64;
        let stat = store.stat(&share_name(1)).await.unwrap();
        let listed = store.list(None, 10).await.unwrap().objects[0].1;
        for said in [stat, listed] {
            let modified = said
                .modified
                .unwrap_or_else(|| panic!("{kind} does not say"));
            assert!((now - modified.secs).abs() < 600, "{kind}: {modified:?}");
        }
    }
}

/// A folder of a WebDAV server is a folder store, seen from the server's side.
#[tokio::test(flavor = "multi_thread")]
async fn a_webdav_store_is_a_folder_store_and_the_other_way_round() {
    for (kind, server) in servers() {
        let Server::Webdav(webdav) = &server else {
            continue;
        };
        let store = create(&server.spec("made-here")).await;
        put(&store, &share_name(1), bytes(70_000, 1)).await;
        let folder = webdav.folder().join("made-here");
        let local = DirectoryStore::open(folder, Options::default())
            .await
            .unwrap();
        assert_eq!(
            local.get(&share_name(1), None).await.unwrap(),
            bytes(70_000, 1),
            "{kind}"
        );
        let page = local.list(None, 10).await.unwrap();
        assert_eq!((page.objects.len(), page.foreign), (1, 0), "{kind}");

        let folder = webdav.folder().join("made-there");
        let local = DirectoryStore::create(folder.clone(), Options::default())
            .await
            .unwrap();
        put(&local, &share_name(2), bytes(70_000, 2)).await;
        let status = std::process::Command::new("chmod")
            .args(["-R", "a+rwX"])
            .arg(&folder)
            .status();
        assert!(status.unwrap().success());
        let store = RemoteStore::open(&server.spec("made-there"), patient())
            .await
            .unwrap();
        assert_eq!(
            store.get(&share_name(2), None).await.unwrap(),
            bytes(70_000, 2),
            "{kind}"
        );
        // Its shard folders are made when they are needed, whichever way objects are written at the time.
        for number in 3..30 {
            put(&store, &share_name(number), bytes(100, 3)).await;
        }
        store.powers().await.unwrap();
        for number in 30..90 {
            put(&store, &share_name(number), bytes(100, 3)).await;
        }
        assert_eq!(
            store.list(None, 100).await.unwrap().objects.len(),
            88,
            "{kind}"
        );
    }
}

/// How long a save and a read take behind a slow line; what matters is that neither needs it twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_line_is_waited_for_once() {
    for (kind, server) in servers() {
        let line = Proxy::to(server.port());
        create(&server.spec("slow")).await;
        let store = RemoteStore::open(&server.spec_at("slow", line.port()), patient())
            .await
            .unwrap();
        store.powers().await.unwrap();
        put(&store, &share_name(0), bytes(100, 1)).await;
        let delay = Duration::from_millis(500);
        line.set_delay(delay / 2);
        let begin = std::time::Instant::now();
        put(&store, &share_name(1), bytes(100, 1)).await;
        let saved = begin.elapsed();
        store.get(&share_name(1), None).await.unwrap();
        let read = begin.elapsed() - saved;
        assert!(
            saved >= delay && read >= delay,
            "{kind}: the line is slow: {saved:?}, {read:?}"
        );
        assert!(
            saved < 2 * delay && read < 2 * delay,
            "{kind}: {saved:?}, {read:?}"
        );
    }
}

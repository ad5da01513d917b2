//! Servers that die, hang, fill up, or vanish.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use warifu_store::RemoteStore;
use warifu_testkit::proxy::{Mode, Proxy};
use warifu_testkit::servers::{S3Server, WebdavServer};
use warifu_testkit::stores::share_name;
use warifu_vault::seam::store::{Durability, ShareStore, StoreErrorKind};

use crate::common::{Server, bytes, create, expect_kind, fresh, options, patient, put, servers};

const MIB: usize = 1 << 20;

/// The connection breaks in the middle of a write: nobody ever sees a part.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_write_that_breaks_off_leaves_nothing_or_the_whole() {
    for (kind, server) in servers() {
        let line = Proxy::to(server.port());
        create(&server.spec("broken")).await;
        let spec = server.spec_at("broken", line.port());
        let store = RemoteStore::open(&spec, patient()).await.unwrap();
        let seen = RemoteStore::open(&server.spec("broken"), patient())
            .await
            .unwrap();
        store.powers().await.unwrap();
        let object = bytes(2 * MIB, 7);
        for (number, limit) in (0..).zip([1, 100, 600, 70_000, MIB as u64, 2 * MIB as u64]) {
            let name = share_name(number);
            line.set(Mode::CutRequests(limit));
            let cut = store.put_new(&name, object.clone(), Durability::Now).await;
            expect_kind(
                cut,
                StoreErrorKind::NoAnswer,
                &format!("{kind}: cut at {limit}"),
            );
            line.set(Mode::Pass);
            match seen.get(&name, None).await {
                Ok(whole) => assert!(whole == object, "{kind}: cut at {limit}"),
                Err(error) => assert_eq!(error.kind, StoreErrorKind::NotFound, "{kind}: {error}"),
            }
            match store.put_new(&name, object.clone(), Durability::Now).await {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{kind}: {error}")
                }
            }
            assert!(
                seen.get(&name, None).await.unwrap() == object,
                "{kind}: cut at {limit}"
            );
        }
    }
}

/// "Applied, but the reply was lost": the repetition finds its own object, and it is whole.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_lost_reply_is_found_out_by_the_repetition() {
    for (kind, server) in servers() {
        let line = Proxy::to(server.port());
        create(&server.spec("lost")).await;
        let spec = server.spec_at("lost", line.port());
        for known in [false, true] {
            let store = RemoteStore::open(&spec, patient()).await.unwrap();
            if known {
                store.powers().await.unwrap();
            }
            let name = share_name(u64::from(known));
            let object = bytes(50_000, 7);
            line.set(Mode::LoseReplies);
            let lost = store.put_new(&name, object.clone(), Durability::Now).await;
            expect_kind(lost, StoreErrorKind::NoAnswer, kind);
            line.set(Mode::Pass);
            match store.put_new(&name, object.clone(), Durability::Now).await {
                Err(error) => {
                    assert_eq!(error.kind, StoreErrorKind::AlreadyExists, "{kind}: {error}")
                }
                // Written in two steps, of which the second was never asked for.
                Ok(()) => assert!(!known, "{kind}: the first write had its effect"),
            }
            assert_eq!(store.stat(&name).await.unwrap().len, 50_000, "{kind}");
            assert_eq!(store.get(&name, None).await.unwrap(), object, "{kind}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_read_that_breaks_off_is_never_short() {
    for (kind, server) in servers() {
        let line = Proxy::to(server.port());
        create(&server.spec("cut")).await;
        let spec = server.spec_at("cut", line.port());
        let store = RemoteStore::open(&spec, patient()).await.unwrap();
        let object = bytes(MIB, 7);
        put(&store, &share_name(1), object.clone()).await;
        for limit in [1, 50, 5_000, 500_000] {
            line.set(Mode::CutReplies(limit));
            for range in [None, Some(0..MIB as u64 / 2)] {
                if limit == 500_000 && range.is_some() {
                    continue;
                }
                let cut = store.get(&share_name(1), range).await;
                expect_kind(
                    cut,
                    StoreErrorKind::NoAnswer,
                    &format!("{kind}: cut at {limit}"),
                );
            }
            if limit < 1_000 {
                let cut = store.list(None, 10).await;
                expect_kind(
                    cut,
                    StoreErrorKind::NoAnswer,
                    &format!("{kind}: listing cut at {limit}"),
                );
            }
            line.set(Mode::Pass);
            assert!(
                store.get(&share_name(1), None).await.unwrap() == object,
                "{kind}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_server_that_hangs_is_silent_in_time_and_comes_back() {
    for (kind, mut server) in servers() {
        let limit = Duration::from_secs(3);
        create(&server.spec("hangs")).await;
        let store = Arc::new(
            RemoteStore::open(&server.spec("hangs"), options(limit))
                .await
                .unwrap(),
        );
        put(&*store, &share_name(1), bytes(1_000, 1)).await;
        server.process().pause();
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        for number in 0..40 {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                match number % 4 {
                    0 => store.get(&share_name(1), None).await.err(),
                    1 => store
                        .put_new(&share_name(100 + number), bytes(10, 1), Durability::Now)
                        .await
                        .err(),
                    2 => store.list(None, 10).await.err(),
                    _ => store.stat(&share_name(99)).await.err(),
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            let answer = done.unwrap().map(|error| error.kind);
            assert_eq!(answer, Some(StoreErrorKind::NoAnswer), "{kind}");
        }
        assert!(begin.elapsed() < 5 * limit, "{kind}: {:?}", begin.elapsed());
        server.process().resume();
        // What was sent while it hung is still being worked off.
        let begin = Instant::now();
        loop {
            match store.get(&share_name(1), None).await {
                Ok(object) => break assert_eq!(object, bytes(1_000, 1), "{kind}"),
                Err(error) => assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{kind}: {error}"),
            }
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "{kind} does not come back"
            );
        }
        put(&*store, &share_name(2), bytes(1_000, 2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_server_killed_in_the_middle_keeps_what_it_acknowledged() {
    for (kind, mut server) in servers() {
        create(&server.spec("killed")).await;
        let store = Arc::new(
            RemoteStore::open(&server.spec("killed"), patient())
                .await
                .unwrap(),
        );
        store.powers().await.unwrap();
        let mut tasks = JoinSet::new();
        for number in 0..24 {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let object = bytes(2 * MIB, number as u8);
                let done = store
                    .put_new(&share_name(number), object, Durability::Now)
                    .await;
                (number, done)
            });
        }
        let mut acknowledged = Vec::new();
        while let Some(done) = tasks.join_next().await {
            match done.unwrap() {
                (number, Ok(())) => acknowledged.push(number),
                (_, Err(error)) => {
                    assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{kind}: {error}")
                }
            }
            if acknowledged.len() == 4 {
                server.process().kill();
            }
        }
        expect_kind(
            store.stat(&share_name(0)).await,
            StoreErrorKind::NoAnswer,
            kind,
        );
        server.restart();
        let mut whole = 0;
        for number in 0..24 {
            match store.get(&share_name(number), None).await {
                Ok(object) => {
                    assert!(object == bytes(2 * MIB, number as u8), "{kind}: {number}");
                    whole += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind, StoreErrorKind::NotFound, "{kind}: {error}");
                    assert!(!acknowledged.contains(&number), "{kind}: {number} is lost");
                }
            }
        }
        assert!(acknowledged.len() >= 4, "{kind}");
        let listed = store.list(None, 100).await.unwrap().objects;
        assert_eq!(
            listed.len(),
            whole,
            "{kind}: what is listed is what can be read"
        );
        assert!(
            listed.iter().all(|(_, stat)| stat.len == 2 * MIB as u64),
            "{kind}"
        );
    }
}

/// Every way in which a WebDAV server's folder can vanish, and how it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_vanished_place_is_silence_and_never_an_absent_object() {
    for (kind, server) in servers() {
        let Server::Webdav(webdav) = &server else {
            continue;
        };
        let store = create(&server.spec("home")).await;
        store.powers().await.unwrap();
        put(&store, &share_name(1), bytes(1_000, 1)).await;
        let (home, away) = (webdav.folder().join("home"), webdav.folder().join("away"));
        for emptied in [false, true] {
            std::fs::rename(&home, &away).unwrap();
            if emptied {
                std::fs::create_dir(&home).unwrap();
                std::fs::set_permissions(
                    &home,
                    std::os::unix::fs::PermissionsExt::from_mode(0o777),
                )
                .unwrap();
            }
            for round in 0..2 {
                let silent = [
                    ("get", store.get(&share_name(1), None).await.err()),
                    ("range", store.get(&share_name(1), Some(0..5)).await.err()),
                    ("stat", store.stat(&share_name(2)).await.err()),
                    ("list", store.list(None, 10).await.err()),
                    ("delete", store.delete(&share_name(1)).await.err()),
                    (
                        "put",
                        store
                            .put_new(&share_name(50 + round), bytes(10, 1), Durability::Now)
                            .await
                            .err(),
                    ),
                    ("sync", store.sync().await.err()),
                    ("space", store.space().await.err()),
                ];
                for (what, answer) in silent {
                    let answer = answer.map(|error| error.kind);
                    assert_eq!(
                        answer,
                        Some(StoreErrorKind::NoAnswer),
                        "{kind}: emptied {emptied}: {what}"
                    );
                }
            }
            if emptied {
                assert_eq!(
                    std::fs::read_dir(&home).unwrap().count(),
                    0,
                    "{kind}: nothing was put there"
                );
                std::fs::remove_dir(&home).unwrap();
            }
            std::fs::rename(&away, &home).unwrap();
            assert_eq!(
                store.get(&share_name(1), None).await.unwrap(),
                bytes(1_000, 1),
                "{kind}"
            );
            expect_kind(
                store.get(&share_name(2), None).await,
                StoreErrorKind::NotFound,
                kind,
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_folder_that_cannot_be_listed_is_an_error_and_never_a_gap() {
    let Some(server) = WebdavServer::apache(false).map(Server::Webdav) else {
        return;
    };
    let Server::Webdav(webdav) = &server else {
        return;
    };
    let store = create(&server.spec("gap")).await;
    for number in 0..40 {
        put(&store, &share_name(number), bytes(10, 1)).await;
    }
    let shard = webdav
        .folder()
        .join("gap/objects")
        .join(&share_name(7).as_str()[..2]);
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&shard).unwrap());
    assert_ne!(owner, 0, "the server is not root, whom nothing stops");
    let mode = |mode: u32| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&shard, mode).unwrap();
    };
    mode(0);
    for after in [None, Some(share_name(0))] {
        let listed = store.list(after.as_ref(), 100).await;
        if after
            .as_ref()
            .is_none_or(|after| after.as_str() < share_name(7).as_str())
        {
            expect_kind(
                listed,
                StoreErrorKind::Denied,
                "a listing with a folder that is closed",
            );
        }
    }
    expect_kind(
        store.get(&share_name(7), None).await,
        StoreErrorKind::Denied,
        "what lies in it",
    );
    mode(0o755);
    std::fs::write(shard.join("notes.txt"), "x").unwrap();
    std::fs::write(webdav.folder().join("gap/notes.txt"), "x").unwrap();
    std::fs::create_dir(webdav.folder().join("gap/objects/zz")).unwrap();
    let page = store.list(None, 100).await.unwrap();
    assert_eq!((page.objects.len(), page.foreign), (40, 3));
}

/// A disk that fills up: said so where the server does, and never half an object.
#[tokio::test(flavor = "multi_thread")]
async fn p10_a_full_disk_is_an_error_and_what_is_there_stays() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can mount a small disk");
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    let mount = |what: &[&str]| {
        std::process::Command::new(what[0])
            .args(&what[1..])
            .arg(disk.path())
            .status()
            .unwrap()
            .success()
    };
    for kind in ["apache", "nginx", "s3s"] {
        assert!(mount(&[
            "mount",
            "-t",
            "tmpfs",
            "-o",
            "size=12m,mode=777",
            "none"
        ]));
        let server = match kind {
            "apache" => WebdavServer::apache_in(disk.path()).map(Server::Webdav),
            "nginx" => WebdavServer::nginx_in(disk.path()).map(Server::Webdav),
            _ => S3Server::s3s_in(disk.path()).map(Server::S3),
        };
        let Some(server) = server else {
            assert!(mount(&["umount", "-l"]));
            continue;
        };
        let store = fresh(&server).await;
        store.powers().await.unwrap();
        let mut kept = 0;
        let error = loop {
            match store
                .put_new(&share_name(kept), bytes(MIB, kept as u8), Durability::Now)
                .await
            {
                Ok(()) => kept += 1,
                Err(error) => break error,
            }
            assert!(kept < 20, "{kind}: the disk is small");
        };
        // Only Apache has a word for it.
        let expected: &[_] = match kind {
            "apache" => &[StoreErrorKind::Full],
            _ => &[
                StoreErrorKind::Full,
                StoreErrorKind::Failed,
                StoreErrorKind::NoAnswer,
            ],
        };
        assert!(
            expected.contains(&error.kind),
            "{kind}: {:?}: {error}",
            error.kind
        );
        eprintln!("{kind}: a full disk is {:?}: {error}", error.kind);
        expect_kind(
            store.get(&share_name(kept), None).await,
            StoreErrorKind::NotFound,
            kind,
        );
        for number in 0..kept {
            assert!(
                store.get(&share_name(number), None).await.unwrap() == bytes(MIB, number as u8),
                "{kind}"
            );
        }
        store.delete(&share_name(0)).await.unwrap();
        put(&store, &share_name(99), bytes(MIB / 2, 9)).await;
        assert_eq!(
            store.list(None, 100).await.unwrap().objects.len(),
            kept as usize,
            "{kind}"
        );
        drop((store, server));
        assert!(mount(&["umount", "-l"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_uploads_left_behind_is_swept_when_it_is_old() {
    for (kind, server) in servers() {
        let Server::Webdav(webdav) = &server else {
            continue;
        };
        create(&server.spec("left")).await;
        let tmp = webdav.folder().join("left/tmp");
        let name = |letter: &str| letter.repeat(32);
        let tried = format!("warifu-probe-{}", name("c"));
        let (old, young, theirs) = (name("a"), name("b"), "notes.txt".to_owned());
        for file in [&old, &young, &tried, &theirs] {
            std::fs::write(tmp.join(file), "part").unwrap();
        }
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(30 * 60 * 60);
        for file in [&old, &tried, &theirs] {
            let file = std::fs::File::options().write(true).open(tmp.join(file));
            file.unwrap().set_modified(long_ago).unwrap();
        }
        let store = RemoteStore::open(&server.spec("left"), patient())
            .await
            .unwrap();
        // Beside the first write of a process.
        put(&store, &share_name(1), bytes(10, 1)).await;
        store.powers().await.unwrap();
        assert!(
            !tmp.join(&old).exists() && !tmp.join(&tried).exists(),
            "{kind}: it is swept"
        );
        assert!(
            tmp.join(&young).exists(),
            "{kind}: somebody may be writing it"
        );
        assert!(tmp.join(&theirs).exists(), "{kind}: it is not ours");
        assert_eq!(store.get(&share_name(1), None).await.unwrap(), bytes(10, 1));
    }
}

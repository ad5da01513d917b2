//! A store on a real OpenSSH server that hangs, dies, fills up or goes away; and what each request costs on a slow line.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use common::sftp::World;
use common::temporary_files;
use rustix::process::Signal;
use tempfile::tempdir;
use warifu_store::{OpenError, ProbeError, SftpOptions, SftpStore, StoreSpec, attach_store, probe};
use warifu_testkit::proxy::{Mode, Proxy};
use warifu_testkit::servers::{Sshd, SshdOptions};
use warifu_testkit::stores::share_name;
use warifu_vault::seam::store::{Durability, ObjectKey, ShareStore, StoreError, StoreErrorKind};

fn impatient() -> SftpOptions {
    let mut options = SftpOptions::default();
    options.patience = Duration::from_millis(800);
    options.connect = Duration::from_secs(2);
    options.timeout = Duration::from_secs(4);
    options
}

async fn answers(
    store: &SftpStore,
    name: &ObjectKey,
) -> Vec<(&'static str, Option<StoreErrorKind>)> {
    fn kind<T>(result: Result<T, StoreError>) -> Option<StoreErrorKind> {
        result.err().map(|error| error.kind)
    }
    let put = |durability| store.put_new(name, "x".into(), durability);
    let asked = tokio::join!(
        store.get(name, None),
        store.stat(name),
        store.list(None, 10),
        store.delete(name),
        put(Durability::Now),
        put(Durability::Soon),
        store.space(),
    );
    vec![
        ("get", kind(asked.0)),
        ("stat", kind(asked.1)),
        ("list", kind(asked.2)),
        ("delete", kind(asked.3)),
        ("put now", kind(asked.4)),
        ("put soon", kind(asked.5)),
        ("space", kind(asked.6)),
    ]
}

/// Waits until the store answers again, as somebody who works with it would.
async fn recovered(store: &SftpStore, name: &ObjectKey) -> bytes::Bytes {
    let began = Instant::now();
    loop {
        match store.get(name, None).await {
            Ok(share) => return share,
            Err(error) => assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{error}"),
        }
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "the store does not come back"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_server_that_is_stopped_is_given_up_in_time_and_used_again() {
    let Some(world) = World::start() else { return };
    drop(world.create("server").await);
    let store = SftpStore::open(&world.spec("server"), impatient())
        .await
        .unwrap();
    let name = share_name(1);
    store
        .put_new(&name, "share".into(), Durability::Soon)
        .await
        .unwrap();
    // First the processes of the connection alone, then the one that takes new connections too.
    for whole in [false, true] {
        world.sshd.process().signal(Signal::STOP, whole);
        for _ in 0..2 {
            let began = Instant::now();
            let fresh = share_name(2);
            for (method, kind) in answers(&store, &fresh).await {
                // Whoever can be reached anew answers.
                if whole {
                    assert_eq!(kind, Some(StoreErrorKind::NoAnswer), "{method}");
                } else {
                    assert_ne!(kind, Some(StoreErrorKind::Failed), "{method}");
                }
            }
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "{:?}",
                began.elapsed()
            );
        }
        world.sshd.process().signal(Signal::CONT, true);
        assert_eq!(recovered(&store, &name).await, "share");
    }
    store.sync().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_server_that_dies_in_the_middle_loses_nothing_that_it_acknowledged() {
    let Some(mut world) = World::start() else {
        return;
    };
    drop(world.create("server").await);
    let store = Arc::new(
        SftpStore::open(&world.spec("server"), impatient())
            .await
            .unwrap(),
    );
    let mut stored = Vec::new();
    for round in 0..4_u64 {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16 {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                let number = round * 100 + number;
                let share = vec![number as u8; 2_000_000];
                let name = share_name(number);
                (
                    number,
                    store.put_new(&name, share.into(), Durability::Soon).await,
                )
            });
        }
        tokio::time::sleep(Duration::from_millis(20 + 30 * round)).await;
        if round % 2 == 0 {
            world.sshd.process().signal(Signal::KILL, false);
        } else {
            world.sshd.stop();
            world.sshd.resume();
        }
        while let Some(done) = tasks.join_next().await {
            match done.unwrap() {
                (number, Ok(())) => stored.push(number),
                (_, Err(error)) => assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{error}"),
            }
        }
        store_answers(&store).await;
    }
    for number in &stored {
        let share = recovered(&store, &share_name(*number)).await;
        assert!(share == vec![*number as u8; 2_000_000], "{number}");
    }
    // What was not acknowledged is there whole, or not at all.
    let page = store.list(None, 1_000).await.unwrap();
    assert!(
        page.objects.iter().all(|(_, stat)| stat.len == 2_000_000),
        "{page:?}"
    );
    assert!(page.objects.len() >= stored.len());
    store.sync().await.unwrap();
}

async fn store_answers(store: &SftpStore) {
    let began = Instant::now();
    while let Err(error) = store.space().await {
        assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{error}");
        assert!(began.elapsed() < Duration::from_secs(60), "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_line_that_is_cut_while_an_object_is_read_is_no_absence() {
    let Some(world) = World::start() else { return };
    let name = share_name(1);
    let share = vec![7; 4_000_000];
    let made = world.create("server").await;
    made.put_new(&name, share.clone().into(), Durability::Now)
        .await
        .unwrap();
    let proxy = Proxy::to(world.sshd.port());
    let url = world.sshd.url(&world.base.path().join("server")).replace(
        &format!(":{}/", world.sshd.port()),
        &format!(":{}/", proxy.port()),
    );
    let spec = StoreSpec::parse(&url, world.credentials(), Path::new("/")).unwrap();
    let store = SftpStore::attach(
        match spec.url() {
            warifu_store::StoreUrl::Sftp(url) => url,
            other => panic!("{other}"),
        },
        &spec,
        impatient(),
    );
    for bytes in [20_000, 500_000, 2_000_000] {
        store_answers(&store).await;
        proxy.break_off_after(bytes);
        // A read is repeated by itself over a new connection.
        assert!(recovered(&store, &name).await == share, "{bytes}");
    }
    proxy.set(Mode::Pause);
    let error = store.get(&name, None).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{error}");
    proxy.set(Mode::Pass);
    assert!(recovered(&store, &name).await == share);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_takes_two_round_trips_and_writing_three() {
    const TRIP: Duration = Duration::from_millis(400);
    let Some(world) = World::start() else { return };
    drop(world.create("server").await);
    let proxy = Proxy::to(world.sshd.port());
    let url = world.sshd.url(&world.base.path().join("server")).replace(
        &format!(":{}/", world.sshd.port()),
        &format!(":{}/", proxy.port()),
    );
    let spec = StoreSpec::parse(&url, world.credentials(), Path::new("/")).unwrap();
    let store = SftpStore::open(&spec, SftpOptions::default())
        .await
        .unwrap();
    let share = vec![7; 1 << 20];
    // Everything that is found out once is found out.
    store
        .put_new(&share_name(0), share.clone().into(), Durability::Now)
        .await
        .unwrap();
    store.sync().await.unwrap();
    proxy.set_delay(TRIP / 2);
    let within = |trips: u32, began: Instant, what: &str| {
        let took = began.elapsed();
        eprintln!("{what}: {took:?} at {TRIP:?} a round trip");
        assert!(took < TRIP * (trips + 1), "{what} took {took:?}");
    };
    let began = Instant::now();
    store
        .put_new(&share_name(1), share.clone().into(), Durability::Soon)
        .await
        .unwrap();
    within(3, began, "put soon");
    let began = Instant::now();
    store
        .put_new(&share_name(2), share.clone().into(), Durability::Now)
        .await
        .unwrap();
    within(4, began, "put now");
    let began = Instant::now();
    assert!(store.get(&share_name(1), None).await.unwrap() == share);
    within(2, began, "get");
    let began = Instant::now();
    store
        .get(&share_name(1), Some(70_000..140_000))
        .await
        .unwrap();
    within(2, began, "get of a range");
    let began = Instant::now();
    store.stat(&share_name(1)).await.unwrap();
    within(1, began, "stat");
    let began = Instant::now();
    store.sync().await.unwrap();
    within(3, began, "sync");
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    let store = Arc::new(store);
    for _ in 0..64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            store
                .get(&share_name(2), Some(0..50_000))
                .await
                .unwrap()
                .len()
        });
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.unwrap(), 50_000);
    }
    within(4, began, "64 gets at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_server_that_is_away_is_silent_and_comes_back() {
    let Some(mut world) = World::start() else {
        return;
    };
    drop(world.create("server").await);
    world.sshd.stop();
    let spec = world.spec("server");
    let attached = attach_store(&spec);
    for _ in 0..3 {
        let error = attached.stat(&share_name(1)).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{error}");
    }
    assert!(matches!(
        SftpStore::open(&spec, impatient()).await,
        Err(OpenError::Unreachable { .. })
    ));
    world.sshd.resume();
    let began = Instant::now();
    while let Err(error) = attached
        .put_new(&share_name(1), "x".into(), Durability::Now)
        .await
    {
        assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{error}");
        assert!(began.elapsed() < Duration::from_secs(60), "{error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A disk that is no longer mounted there looks like an empty store, and is none.
    let (path, aside) = (
        world.base.path().join("server"),
        world.base.path().join("aside"),
    );
    std::fs::rename(&path, &aside).unwrap();
    std::fs::create_dir(&path).unwrap();
    for name in [share_name(1), share_name(2)] {
        let error = attached.get(&name, None).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{error}");
        let error = attached
            .put_new(&name, "x".into(), Durability::Soon)
            .await
            .unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{error}");
    }
    assert!(attached.list(None, 10).await.is_err() && attached.space().await.is_err());
    assert_eq!(
        std::fs::read_dir(&path).unwrap().count(),
        0,
        "nothing is made there"
    );
    // Another store in its place is not it.
    drop(world.create("server").await);
    assert_eq!(
        attached.get(&share_name(2), None).await.unwrap_err().kind,
        StoreErrorKind::NoAnswer
    );
    std::fs::remove_dir_all(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    assert_eq!(attached.get(&share_name(1), None).await.unwrap(), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_many_unsynced_objects_are_all_put_on_disk() {
    let Some(world) = World::start() else { return };
    let store = Arc::new(world.create("server").await);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..500 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let share = vec![number as u8; 3_000];
            store
                .put_new(&share_name(number), share.into(), Durability::Soon)
                .await
                .unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    // One is shortened behind our back after the connection is gone: that is found out, and the others are fine.
    store.sync().await.unwrap();
    for number in 500..503 {
        store
            .put_new(&share_name(number), vec![1; 3_000].into(), Durability::Soon)
            .await
            .unwrap();
    }
    world.sshd.process().signal(Signal::KILL, false);
    let hurt = share_name(501);
    let file = world
        .base
        .path()
        .join(format!("server/objects/{}/{hurt}", &hurt.as_str()[..2]));
    std::fs::write(&file, "short").unwrap();
    store_answers(&store).await;
    for _ in 0..2 {
        let error = store.sync().await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Failed, "{error}");
        assert!(
            error.to_string().contains(hurt.as_str()) && !error.to_string().contains("more"),
            "{error}"
        );
    }
    store.delete(&hurt).await.unwrap();
    store.sync().await.unwrap();
}

/// The answer to a name is lost with its connection. Whoever finds the object takes it for stored, so the next sync covers it: here it shows
/// by the length, which a sync compares.
#[tokio::test(flavor = "multi_thread")]
async fn p5_an_object_whose_answer_was_lost_is_put_on_disk_by_the_next_sync() {
    const DELAY: Duration = Duration::from_millis(300);
    let Some(world) = World::start() else { return };
    drop(world.create("server").await);
    let proxy = Proxy::to(world.sshd.port());
    let url = world.sshd.url(&world.base.path().join("server")).replace(
        &format!(":{}/", world.sshd.port()),
        &format!(":{}/", proxy.port()),
    );
    let spec = StoreSpec::parse(&url, world.credentials(), Path::new("/")).unwrap();
    let store = Arc::new(
        SftpStore::open(&spec, SftpOptions::default())
            .await
            .unwrap(),
    );
    // All that is found out once is found out, and nothing from before is left to be put on disk.
    store
        .put_new(&share_name(0), "share".into(), Durability::Soon)
        .await
        .unwrap();
    store.sync().await.unwrap();
    let name = share_name(1);
    let file = world
        .base
        .path()
        .join(format!("server/objects/{}/{name}", &name.as_str()[..2]));
    // Its folder is made beforehand: that takes requests of its own.
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let share = bytes::Bytes::from(vec![7; 3_000]);
    // What was told and not waited for is answered by then.
    store.space().await.unwrap();
    tokio::time::sleep(DELAY).await;
    let before = proxy.turns();
    proxy.set_delay(DELAY);
    let putting = tokio::spawn({
        let (store, name, share) = (Arc::clone(&store), name.clone(), share.clone());
        async move { store.put_new(&name, share, Durability::Soon).await }
    });
    // Opening, bytes, name: what the server says to the third is not heard.
    while proxy.turns() < before + 3 {
        assert!(!putting.is_finished(), "a write takes three round trips");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(!file.exists(), "the third is still on its way");
    proxy.set(Mode::LoseReplies);
    let error = putting.await.unwrap().unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{error}");
    proxy.set(Mode::Pass);
    proxy.set_delay(Duration::ZERO);
    let began = Instant::now();
    while !file.exists() {
        assert!(began.elapsed() < Duration::from_secs(30), "it took effect");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    store_answers(&store).await;
    let found = store.put_new(&name, share, Durability::Soon).await;
    assert_eq!(found.unwrap_err().kind, StoreErrorKind::AlreadyExists);
    std::fs::write(&file, "short").unwrap();
    let error = store.sync().await.unwrap_err();
    assert!(error.to_string().contains(name.as_str()), "{error}");
    store.delete(&name).await.unwrap();
    store.sync().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_server_for_reading_only_says_so() {
    let options = SshdOptions {
        sftp: "-R".into(),
        ..SshdOptions::default()
    };
    let Some(sshd) = Sshd::with(&options) else {
        return;
    };
    let world = World {
        sshd,
        base: tempdir().unwrap(),
    };
    let directory = common::create(&world.base.path().join("server")).await;
    directory
        .put_new(&share_name(1), "share".into(), Durability::Now)
        .await
        .unwrap();
    let store = SftpStore::open(&world.spec("server"), SftpOptions::default())
        .await
        .unwrap();
    assert_eq!(store.get(&share_name(1), None).await.unwrap(), "share");
    assert_eq!(store.list(None, 10).await.unwrap().objects.len(), 1);
    refuses(&store, StoreErrorKind::Denied).await;
    let error = probe(&world.spec("server")).await.unwrap_err();
    assert!(
        matches!(&error, ProbeError::Store { source, .. } if source.kind == StoreErrorKind::Denied),
        "{error}"
    );
}

async fn refuses(store: &SftpStore, kind: StoreErrorKind) {
    for durability in [Durability::Now, Durability::Soon] {
        let error = store
            .put_new(&share_name(99), vec![7; 200_000].into(), durability)
            .await
            .unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
    }
    let absent = store.get(&share_name(99), None).await.unwrap_err();
    assert_eq!(
        absent.kind,
        StoreErrorKind::NotFound,
        "a refused write leaves nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_full_or_read_only_disk_of_a_server_says_so() {
    if !common::in_root_namespace("p10_a_full_or_read_only_disk_of_a_server_says_so") {
        return;
    }
    let Some(world) = World::start() else { return };
    let disk = world.base.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = |options: &str| {
        common::run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                options,
                "tmpfs",
                disk.to_str().unwrap(),
            ],
        );
    };
    mount("size=1m");
    let store = world.create("disk/server").await;
    let mut stored = 0;
    let share = vec![7; 200_000];
    let error = loop {
        match store
            .put_new(&share_name(stored), share.clone().into(), Durability::Soon)
            .await
        {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 10, "a full disk takes everything");
    };
    assert_eq!(error.kind, StoreErrorKind::Full, "{error}");
    assert!(stored >= 3, "{stored}");
    refuses(&store, StoreErrorKind::Full).await;
    for number in 0..stored {
        assert!(store.get(&share_name(number), None).await.unwrap() == share);
    }
    assert_eq!(
        temporary_files(&disk.join("server")),
        0,
        "a failed write gives its room back"
    );
    let space = store.space().await.unwrap();
    assert!(
        space.free.unwrap() < 200_000 && space.total == Some(1 << 20),
        "{space:?}"
    );
    store.sync().await.unwrap();
    // What is told and not waited for is done before the next answer.
    store.space().await.unwrap();
    common::run("mount", &["-o", "remount,ro", disk.to_str().unwrap()]);
    refuses(&store, StoreErrorKind::Denied).await;
    assert_eq!(
        store.delete(&share_name(0)).await.unwrap_err().kind,
        StoreErrorKind::Denied
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_is_swept_when_it_is_old() {
    let Some(world) = World::start() else { return };
    drop(world.create("server").await);
    let tmp = world.base.path().join("server/tmp");
    let (old, young) = (tmp.join("a".repeat(32)), tmp.join("b".repeat(32)));
    for path in [&old, &young] {
        std::fs::write(path, "part").unwrap();
    }
    let file = std::fs::File::options().write(true).open(&old).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(30 * 60 * 60))
        .unwrap();
    let attached = attach_store(&world.spec("server"));
    attached.space().await.unwrap();
    let began = Instant::now();
    while old.exists() {
        assert!(began.elapsed() < Duration::from_secs(30), "it is not swept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(young.exists(), "somebody may be writing it");
}

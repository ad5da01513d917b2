//! A store on a real OpenSSH server.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use common::temporary_files;
use rustix::process::Signal;
use tempfile::{TempDir, tempdir};
use warifu_core::ids::Generation;
use warifu_store::{
    CreateError, Credentials, OpenError, ProbeError, SftpOptions, SftpStore, StoreSpec,
    attach_store, identity, probe,
};
use warifu_testkit::servers::{Line, Sshd, SshdOptions};
use warifu_testkit::stores::{contract, share_name};
use warifu_vault::seam::store::{
    Durability, ObjectKey, Page, ShareStore, StoreError, StoreErrorKind,
};

/// A server and a folder for its stores.
struct World {
    sshd: Sshd,
    base: TempDir,
}

impl World {
    fn start() -> Option<Self> {
        Some(Self {
            sshd: Sshd::start()?,
            base: tempdir().unwrap(),
        })
    }

    fn credentials(&self) -> Credentials {
        options(&[
            ("key", &format!("file:{}", self.sshd.key().display())),
            ("host_key", &self.sshd.fingerprint()),
        ])
    }

    fn spec(&self, folder: &str) -> StoreSpec {
        self.spec_with(folder, self.credentials())
    }

    fn spec_with(&self, folder: &str, credentials: Credentials) -> StoreSpec {
        let url = self.sshd.url(&self.base.path().join(folder));
        StoreSpec::parse(&url, credentials, Path::new("/")).unwrap()
    }

    async fn create(&self, folder: &str) -> SftpStore {
        SftpStore::create(&self.spec(folder), SftpOptions::default())
            .await
            .unwrap()
    }
}

fn options(entries: &[(&str, &str)]) -> Credentials {
    let mut credentials = Credentials::default();
    for (field, value) in entries {
        credentials.set(field, value).unwrap();
    }
    credentials
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sftp_store_keeps_the_contract() {
    let Some(world) = World::start() else { return };
    let number = AtomicU32::new(0);
    contract::store(async || {
        let number = number.fetch_add(1, Ordering::Relaxed);
        Arc::new(world.create(&format!("server-{number}")).await) as Arc<dyn ShareStore>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_without_openssh_extensions_keep_the_contract_too() {
    // Without links a rename gives the name; without either, files are written in place.
    for (forbidden, atomic, durable) in [
        ("-P hardlink,fsync,statvfs,limits", true, false),
        ("-P hardlink,rename", false, true),
    ] {
        let options = SshdOptions {
            sftp: forbidden.into(),
            ..SshdOptions::default()
        };
        let Some(sshd) = Sshd::with(&options) else {
            return;
        };
        let world = World {
            sshd,
            base: tempdir().unwrap(),
        };
        let store = world.create("server").await;
        let name = share_name(1);
        for durability in [Durability::Now, Durability::Soon] {
            store
                .put_new(&name, vec![7; 600_000].into(), durability)
                .await
                .unwrap();
            let again = store
                .put_new(&name, "x".into(), durability)
                .await
                .unwrap_err();
            assert_eq!(again.kind, StoreErrorKind::AlreadyExists, "{again}");
            assert_eq!(store.get(&name, None).await.unwrap(), vec![7; 600_000]);
            store.sync().await.unwrap();
            store.delete(&name).await.unwrap();
        }
        let profile = probe(&world.spec("server")).await.unwrap();
        assert_eq!(
            (profile.atomic_put, profile.durable_sync),
            (atomic, durable),
            "{forbidden}: {profile:?}"
        );
        assert_eq!(temporary_files(&world.base.path().join("server")), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_the_same_store_as_a_directory_and_over_sftp() {
    let Some(world) = World::start() else { return };
    let path = world.base.path().join("server");
    let directory = common::create(&path).await;
    let sftp = SftpStore::open(&world.spec("server"), SftpOptions::default())
        .await
        .unwrap();
    for number in 0..20 {
        let (one, other): (&dyn ShareStore, &dyn ShareStore) = match number % 2 {
            0 => (&directory, &sftp),
            _ => (&sftp, &directory),
        };
        let share = vec![number as u8; 10_000];
        one.put_new(&share_name(number), share.clone().into(), Durability::Now)
            .await
            .unwrap();
        assert_eq!(other.get(&share_name(number), None).await.unwrap(), share);
        let again = other
            .put_new(&share_name(number), "x".into(), Durability::Soon)
            .await;
        assert_eq!(again.unwrap_err().kind, StoreErrorKind::AlreadyExists);
    }
    let vault = ObjectKey::vault_object(Generation(1));
    sftp.put_new(&vault, "piece".into(), Durability::Now)
        .await
        .unwrap();
    assert_eq!(directory.get(&vault, None).await.unwrap(), "piece");
    let lists = (
        directory.list(None, 100).await.unwrap(),
        sftp.list(None, 100).await.unwrap(),
    );
    let plain = |page: &Page| -> Vec<_> {
        page.objects
            .iter()
            .map(|(name, stat)| (name.clone(), stat.len, stat.modified.unwrap().secs))
            .collect()
    };
    assert_eq!(plain(&lists.0), plain(&lists.1));
    assert_eq!(lists.0.objects.len(), 21);
    // Made over SFTP, opened as a directory; and a store in use is not made anew.
    drop(world.create("other").await);
    drop(common::open(&world.base.path().join("other")).await);
    let again = SftpStore::create(&world.spec("server"), SftpOptions::default()).await;
    assert!(matches!(again, Err(CreateError::InUse { .. })), "{again:?}");
    let inside = SftpStore::create(&world.spec("server/objects/x"), SftpOptions::default()).await;
    assert!(
        matches!(inside, Err(CreateError::Inside { .. })),
        "{inside:?}"
    );
    assert_ne!(
        identity(&world.spec("server")).await.unwrap(),
        identity(&world.spec("other")).await.unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_wrong_folder_on_a_server_is_refused_and_nothing_is_made_in_it() {
    let Some(world) = World::start() else { return };
    let open = async |folder: &str| {
        SftpStore::open(&world.spec(folder), SftpOptions::default())
            .await
            .unwrap_err()
    };
    assert!(matches!(open("none").await, OpenError::Missing { .. }));
    std::fs::create_dir(world.base.path().join("empty")).unwrap();
    assert!(matches!(
        open("empty").await,
        OpenError::NotAStore { empty: true, .. }
    ));
    std::fs::write(world.base.path().join("file"), "x").unwrap();
    let error = open("file").await;
    assert!(matches!(error, OpenError::NotAFolder { .. }), "{error}");
    std::fs::create_dir(world.base.path().join("full")).unwrap();
    std::fs::write(world.base.path().join("full/letter.docx"), "x").unwrap();
    let create = async |folder: &str| {
        SftpStore::create(&world.spec(folder), SftpOptions::default())
            .await
            .unwrap_err()
    };
    let error = create("full").await;
    assert!(
        matches!(&error, CreateError::NotEmpty { found, .. } if found == &["letter.docx"]),
        "{error}"
    );
    let error = create("not/there").await;
    assert!(matches!(&error, CreateError::NoParent { .. }), "{error}");
    assert_eq!(std::fs::read_dir(world.base.path()).unwrap().count(), 3);
    std::fs::write(world.base.path().join("empty/warifu-store"), "hello").unwrap();
    assert!(matches!(
        open("empty").await,
        OpenError::DamagedMarker { .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_only_a_host_key_that_is_known_is_taken() {
    let Some(world) = World::start() else { return };
    drop(world.create("server").await);
    let known_hosts = world.base.path().join("known_hosts");
    let key = format!("file:{}", world.sshd.key().display());
    let with = |field: &str, value: &str| {
        world.spec_with("server", options(&[("key", &key), (field, value)]))
    };
    let known = with("known_hosts", known_hosts.to_str().unwrap());
    let open = async |spec: &StoreSpec| SftpStore::open(spec, SftpOptions::default()).await;

    let Err(error) = open(&known).await else {
        panic!("an unknown key was taken")
    };
    let text = error.to_string();
    assert!(
        text.contains(&world.sshd.fingerprint()) && text.contains(known_hosts.to_str().unwrap()),
        "{text}"
    );
    let OpenError::UnknownHostKey { line, .. } = error else {
        panic!("{text}")
    };
    // What the message says to do, does.
    std::fs::write(&known_hosts, format!("{line}\n")).unwrap();
    drop(open(&known).await.unwrap());
    let hashed = Command::new("ssh-keygen")
        .args(["-q", "-H", "-f"])
        .arg(&known_hosts)
        .status()
        .unwrap();
    assert!(hashed.success());
    assert!(
        std::fs::read_to_string(&known_hosts)
            .unwrap()
            .starts_with("|1|")
    );
    drop(open(&known).await.unwrap());

    std::fs::write(&known_hosts, world.sshd.known_hosts_line(true)).unwrap();
    let error = open(&known).await.unwrap_err();
    assert!(matches!(error, OpenError::HostKeyChanged { .. }), "{error}");
    assert!(
        error.to_string().contains(&world.sshd.other_fingerprint()),
        "{error}"
    );
    let line = world.sshd.known_hosts_line(false);
    std::fs::write(&known_hosts, format!("{line}@revoked {line}")).unwrap();
    let error = open(&known).await.unwrap_err();
    assert!(matches!(error, OpenError::HostKeyRevoked { .. }), "{error}");
    let error = open(&with("host_key", &world.sshd.other_fingerprint()))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::HostKeyChanged { .. }), "{error}");
    // To a store that is attached, a server that is not the right one is one that does not answer.
    let attached = attach_store(&with("host_key", &world.sshd.other_fingerprint()));
    let error = attached.stat(&share_name(1)).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_who_is_not_let_in_is_told_why() {
    let Some(world) = World::start() else { return };
    drop(world.create("server").await);
    let pin = world.sshd.fingerprint();
    let file = |path: &Path| format!("file:{}", path.display());
    let (locked, passphrase) = world.sshd.locked_key();
    let password = world.base.path().join("password");
    std::fs::write(&password, "hunter2\n").unwrap();
    private(&password, 0o600);
    let open = async |entries: &[(&str, &str)]| {
        let mut entries = entries.to_vec();
        entries.push(("host_key", &pin));
        SftpStore::open(
            &world.spec_with("server", options(&entries)),
            SftpOptions::default(),
        )
        .await
    };
    drop(
        open(&[("key", &file(&locked)), ("passphrase", &file(&passphrase))])
            .await
            .unwrap(),
    );
    for (entries, expected) in [
        (vec![], "no key"),
        (
            vec![("key", file(&world.sshd.strange_key()))],
            "tried: the key SHA256:",
        ),
        (vec![("password", file(&password))], "tried: the password"),
        (vec![("key", file(&locked))], "has a passphrase"),
        (
            vec![("key", file(&locked)), ("passphrase", file(&password))],
            "cannot be read with this passphrase",
        ),
        (vec![("key", file(&password))], "is not a private key"),
        (vec![("key", "file:/none".into())], "No such file"),
    ] {
        let entries: Vec<_> = entries
            .iter()
            .map(|(field, value): &(&str, String)| (*field, value.as_str()))
            .collect();
        let error = open(&entries).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{entries:?}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    private(&world.sshd.key(), 0o644);
    let error = open(&[("key", &file(&world.sshd.key()))])
        .await
        .unwrap_err();
    let advice = format!("chmod 600 {}", world.sshd.key().display());
    assert!(error.to_string().contains(&advice), "{error}");
}

fn private(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

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
    let proxy = Line::start(world.sshd.port()).await;
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
        proxy.cut_after(bytes);
        // A read is repeated by itself over a new connection.
        assert!(recovered(&store, &name).await == share, "{bytes}");
    }
    proxy.hang(true);
    let error = store.get(&name, None).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NoAnswer, "{error}");
    proxy.hang(false);
    assert!(recovered(&store, &name).await == share);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_takes_two_round_trips_and_writing_three() {
    const TRIP: Duration = Duration::from_millis(400);
    let Some(world) = World::start() else { return };
    drop(world.create("server").await);
    let proxy = Line::start(world.sshd.port()).await;
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
    proxy.set_round_trip(TRIP);
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

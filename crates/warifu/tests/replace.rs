//! P4 and P5: a server's seat gets a new place while others have the vault open.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use warifu::{
    Check, Error, InitOptions, NewServer, OpenOptions, RefreshOptions, RepairOptions, Threshold,
    Warifu,
};
use warifu_testkit::servers::{Sshd, SshdOptions};

struct World {
    dir: TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let servers = ["a", "b", "c"]
            .map(|name| NewServer::new(name, dir.path().join(name).display().to_string()));
        let threshold = Threshold::new(2, 3).unwrap();
        Warifu::init(
            &dir.path().join("office.toml"),
            threshold,
            servers.into(),
            InitOptions::new("test"),
        )
        .await
        .unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Without upkeep, so that nothing is paid but when a test says so.
    async fn open(&self, file: &str) -> Warifu {
        let options = OpenOptions::new("test").without_upkeep();
        Warifu::open(&self.path(file), options).await.unwrap()
    }

    async fn replace(&self, name: &str, place: &str) {
        let warifu = self.open("office.toml").await;
        let server = NewServer::new(name, self.path(place).display().to_string());
        let plan = warifu.plan_replace(&server).await.unwrap();
        assert!(plan.old_answers);
        warifu.replace(&plan, &|_| ()).await.unwrap();
        warifu.close().await;
    }
}

async fn repair(warifu: &Warifu) -> u64 {
    let done = warifu
        .vault()
        .repair(warifu.context(), &RepairOptions::default(), &|_| ())
        .await
        .unwrap();
    assert_eq!(done.left, 0, "{done:?}");
    done.shares() + done.found
}

async fn is_clean(warifu: &Warifu) -> bool {
    let report = warifu
        .vault()
        .check(warifu.context(), Check::new(true), &|_| ())
        .await
        .unwrap();
    report.is_clean()
}

fn objects(folder: &Path) -> usize {
    let shards = fs::read_dir(folder.join("objects")).unwrap();
    shards
        .map(|shard| fs::read_dir(shard.unwrap().path()).unwrap().count())
        .sum()
}

/// A drive that reads another vault file knows nothing of the new place.
#[tokio::test(flavor = "multi_thread")]
async fn p4_what_was_paid_or_saved_at_the_old_place_meanwhile_is_made_at_the_new_one() {
    let world = World::new().await;
    fs::copy(world.path("office.toml"), world.path("elsewhere.toml")).unwrap();
    let drive = world.open("elsewhere.toml").await;
    for number in 0..5 {
        let contents = vec![number; 10_000];
        drive
            .write_file(&format!("/f{number}"), &contents)
            .await
            .unwrap();
    }
    drive.vault().sync().await.unwrap();
    world.replace("b", "d").await;
    assert!(repair(&drive).await > 0, "it pays at the old place");
    drive.write_file("/late", &[9; 10_000]).await.unwrap();
    drive.close().await;

    let warifu = world.open("office.toml").await;
    repair(&warifu).await;
    assert!(
        !is_clean(&warifu).await,
        "the catalogue takes for paid what is missing"
    );
    assert!(warifu.owe_missing().await.unwrap() >= 6);
    repair(&warifu).await;
    assert_eq!(warifu.owe_missing().await.unwrap(), 0);
    fs::remove_dir_all(world.path("b")).unwrap();
    assert!(is_clean(&warifu).await);
    fs::remove_dir_all(world.path("a")).unwrap();
    assert_eq!(
        warifu.read_file("/late").await.unwrap().expose(),
        [9; 10_000]
    );
    warifu.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_who_has_the_vault_open_goes_on_at_the_new_place() {
    let world = World::new().await;
    let drive = world.open("office.toml").await;
    drive.write_file("/before", &[1; 10_000]).await.unwrap();
    world.replace("b", "d").await;
    // What takes the place of a server must be that server.
    let begin = Instant::now();
    let mut number = 0;
    while objects(&world.path("d")) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "it is not seen");
        let file = format!("/f{number}");
        drive.write_file(&file, &[2; 10_000]).await.unwrap();
        number += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let old = objects(&world.path("b"));
    drive.write_file("/after", &[3; 10_000]).await.unwrap();
    repair(&drive).await;
    assert_eq!(
        objects(&world.path("b")),
        old,
        "nothing goes there any more"
    );
    drive.owe_missing().await.unwrap();
    repair(&drive).await;
    assert!(is_clean(&drive).await);
    drive.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_place_of_somebody_else_is_not_gone_on_at() {
    let world = World::new().await;
    let drive = world.open("office.toml").await;
    drive.write_file("/before", &[1; 10_000]).await.unwrap();
    // Two servers of this vault have changed places in the file.
    let text = fs::read_to_string(world.path("office.toml")).unwrap();
    let wrong = text
        .replace("url = \"a\"", "url = \"x\"")
        .replace("url = \"b\"", "url = \"a\"")
        .replace("url = \"x\"", "url = \"b\"");
    assert_ne!(text, wrong);
    let (a, b) = (objects(&world.path("a")), objects(&world.path("b")));
    fs::write(world.path("office.toml"), wrong).unwrap();
    let begin = Instant::now();
    let mut number = 0;
    // Only one server is left: a save fails.
    while drive
        .write_file(&format!("/f{number}"), &[2; 10_000])
        .await
        .is_ok()
    {
        assert!(begin.elapsed() < Duration::from_secs(60), "it is not seen");
        number += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let written = objects(&world.path("a")) - a;
    assert_eq!(written, objects(&world.path("b")) - b);
    fs::write(world.path("office.toml"), text).unwrap();
    let begin = Instant::now();
    while drive.write_file("/again", &[3; 10_000]).await.is_err() {
        assert!(begin.elapsed() < Duration::from_secs(60), "it comes back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drive.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_new_place_that_is_not_fit_is_refused_before_it_has_a_piece_of_the_key() {
    let Some(sshd) = Sshd::with(&SshdOptions {
        sftp: "-P remove".into(),
        ..SshdOptions::default()
    }) else {
        return;
    };
    let world = World::new().await;
    let warifu = world.open("office.toml").await;
    let mut server = NewServer::new("b", sshd.url(&world.path("d")));
    let key = format!("file:{}", sshd.key().display());
    server.credentials.set("key", &key).unwrap();
    server
        .credentials
        .set("host_key", &sshd.fingerprint())
        .unwrap();
    let before = fs::read_to_string(world.path("office.toml")).unwrap();
    let plan = warifu.plan_replace(&server).await.unwrap();
    let error = warifu.replace(&plan, &|_| ()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Unfit { server, .. } if server == "b"),
        "{error}"
    );
    assert!(!world.path("d/vault-00000001").exists());
    assert_eq!(
        fs::read_to_string(world.path("office.toml")).unwrap(),
        before
    );
    assert!(is_clean(&warifu).await, "nothing is owed");
    warifu.close().await;
}

/// A server that is to go is lost in the middle of the change: it gets a new, empty place, and the change ends, also for who has the vault open.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_server_that_is_to_go_is_replaced_in_the_middle_of_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let world = World { dir };
    let servers = ["a", "b", "c", "d", "e"]
        .map(|name| NewServer::new(name, world.path(name).display().to_string()));
    let (from, to) = (Threshold::new(3, 5).unwrap(), Threshold::new(2, 3).unwrap());
    let options = InitOptions::new("test");
    let path = world.path("office.toml");
    let made = Warifu::init(&path, from, servers.into(), options);
    made.await.unwrap();
    let warifu = world.open("office.toml").await;
    for number in 0..5 {
        let file = format!("/f{number}");
        warifu.write_file(&file, &[number; 10_000]).await.unwrap();
    }
    warifu.vault().sync().await.unwrap();
    let plan = warifu.plan_threshold(to, &[], None).await.unwrap();
    let (options, asked) = (
        RefreshOptions {
            batch: 1,
            ..RefreshOptions::default()
        },
        AtomicU32::new(0),
    );
    let soon = || asked.fetch_add(1, Ordering::Relaxed) > 3;
    let cut_off = warifu.change_threshold(&plan, &options, &|_| (), &soon);
    let cut_off = cut_off.await.unwrap();
    assert!(!cut_off.ended && cut_off.report.status.left > 0);
    warifu.close().await;
    let drive = world.open("office.toml").await;
    fs::remove_dir_all(world.path("e")).unwrap();
    let warifu = world.open("office.toml").await;
    let server = NewServer::new("e", world.path("new").display().to_string());
    let plan = warifu.plan_replace(&server).await.unwrap();
    warifu.replace(&plan, &|_| ()).await.unwrap();
    warifu.close().await;
    let begin = Instant::now();
    loop {
        let plan = drive.plan_threshold(to, &[], None).await.unwrap();
        let options = RefreshOptions::default();
        let done = drive.change_threshold(&plan, &options, &|_| (), &|| false);
        let done = done.await.unwrap();
        if done.ended {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{done:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    drive.close().await;
    let warifu = world.open("office.toml").await;
    assert_eq!(warifu.file().servers.len(), 3);
    for number in 0..5 {
        let read = warifu.read_file(&format!("/f{number}")).await.unwrap();
        assert_eq!(read.expose(), [number; 10_000]);
    }
    warifu.close().await;
}

/// One that is to come is lost before anything was dealt to it.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_server_that_is_to_come_is_replaced_before_it_has_anything() {
    let world = World::new().await;
    let warifu = world.open("office.toml").await;
    warifu.write_file("/before", &[1; 10_000]).await.unwrap();
    let new = ["d", "e"].map(|name| NewServer::new(name, world.path(name).display().to_string()));
    let to = Threshold::new(3, 5).unwrap();
    let plan = warifu.plan_threshold(to, &new, None).await.unwrap();
    for server in ["b", "c"] {
        fs::rename(world.path(server), world.path(&format!("{server}-away"))).unwrap();
    }
    let options = RefreshOptions::default();
    let refused = warifu.change_threshold(&plan, &options, &|_| (), &|| false);
    assert!(refused.await.is_err(), "too few servers");
    warifu.close().await;
    for server in ["b", "c"] {
        fs::rename(world.path(&format!("{server}-away")), world.path(server)).unwrap();
    }
    fs::remove_dir_all(world.path("e")).unwrap();
    let warifu = world.open("office.toml").await;
    let server = NewServer::new("e", world.path("f").display().to_string());
    let plan = warifu.plan_replace(&server).await.unwrap();
    warifu.replace(&plan, &|_| ()).await.unwrap();
    warifu.close().await;
    let warifu = world.open("office.toml").await;
    let plan = warifu.plan_threshold(to, &[], None).await.unwrap();
    let done = warifu.change_threshold(&plan, &options, &|_| (), &|| false);
    assert!(done.await.unwrap().ended);
    warifu.close().await;
}

//! A mounted drive whose catalogue is in a PostgreSQL database: killed, and the database stopped under it.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use warifu_testkit::proxy::Proxy;
use warifu_testkit::servers::{Postgres, PostgresOptions};
use warifu_tests::{Rig, can_mount, must, noise, run, said, wait_until, warifu};

fn rig(server: &Postgres) -> Rig {
    rig_at(server.url("warifu"))
}

fn rig_at(url: String) -> Rig {
    let scratch = tempfile::Builder::new()
        .prefix("warifu-journey-")
        .tempdir()
        .unwrap();
    let servers = (1..=3)
        .map(|number| scratch.path().join(format!("server-{number}")))
        .collect();
    let catalog = ["--catalog".to_owned(), url];
    Rig::with_arguments(scratch, 2, servers, &catalog)
}

fn start() -> Option<Postgres> {
    if !can_mount() {
        return None;
    }
    let durable = PostgresOptions {
        durable: true,
        ..PostgresOptions::default()
    };
    Postgres::start(durable)
}

fn write_all(folder: &Path, from: u64, count: u64) {
    for number in from..from + count {
        fs::write(folder.join(format!("{number}")), noise(9_000, number)).unwrap();
    }
}

fn read_all(folder: &Path, count: u64) {
    for number in 0..count {
        let found = fs::read(folder.join(format!("{number}"))).unwrap();
        assert_eq!(found, noise(9_000, number), "{number}");
    }
}

#[test]
fn p5_what_was_closed_survives_the_mount_and_the_database() {
    let Some(mut server) = start() else { return };
    let rig = rig(&server);
    rig.mount();
    let folder = rig.drive.join("福祉部");
    fs::create_dir(&folder).unwrap();
    write_all(&folder, 0, 20);
    rig.kill();
    rig.clear();
    rig.mount();
    read_all(&folder, 20);

    // The database loses its memory; the drive goes on when it is back.
    write_all(&folder, 20, 20);
    server.stop();
    server.run();
    let folder_is_there = || fs::read_dir(&folder).is_ok();
    assert!(wait_until(Duration::from_secs(30), folder_is_there));
    read_all(&folder, 40);
    write_all(&folder, 40, 5);
    rig.unmount_cleanly();
    must(warifu(), [OsStr::new("verify"), rig.vault.as_os_str()]);
    rig.mount();
    read_all(&folder, 45);
    rig.unmount_cleanly();
}

#[test]
fn a_database_that_is_away_costs_no_work() {
    let Some(mut server) = start() else { return };
    let rig = rig(&server);
    rig.mount();
    let path = rig.drive.join("report.docx");
    fs::write(&path, b"the first version").unwrap();
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "the first version");

    server.stop();
    // What is open stays readable, and takes changes.
    file.rewind().unwrap();
    file.write_all(b"THE SECOND VERSION").unwrap();
    file.rewind().unwrap();
    text.clear();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "THE SECOND VERSION");
    let begun = Instant::now();
    assert!(
        file.sync_all().is_err(),
        "a save without a catalogue is none"
    );
    assert!(fs::write(rig.drive.join("other"), b"x").is_err());
    assert!(
        begun.elapsed() < Duration::from_secs(120),
        "it ends by itself"
    );

    server.run();
    assert!(wait_until(Duration::from_secs(30), || file
        .sync_all()
        .is_ok()));
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), b"THE SECOND VERSION");
    rig.unmount_cleanly();
    let listed = run(
        warifu(),
        [
            OsStr::new("history"),
            rig.vault.as_os_str(),
            OsStr::new("/report.docx"),
        ],
    );
    assert!(listed.status.success(), "{}", said(&listed));
}

/// What takes two round trips takes twice as long as one at least, whatever else the machine does: so the quickest of some rounds tells.
#[test]
fn with_a_database_far_away_an_open_waits_for_one_round_trip_and_a_save_for_two() {
    let Some(server) = start() else { return };
    let proxy = Proxy::to(server.port());
    let port = server.port().to_string();
    let rig = rig_at(
        server
            .url("warifu")
            .replace(&port, &proxy.port().to_string()),
    );
    rig.mount();
    let folder = rig.drive.join("福祉部");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("申請書.docx");
    fs::write(&path, noise(17_003, 1)).unwrap();

    let away = Duration::from_millis(40);
    proxy.set_delay(away / 2);
    let (mut opened, mut saved) = (Duration::MAX, Duration::MAX);
    for round in 0..15 {
        // The kernel knows the path, as after a click on a folder.
        fs::metadata(&path).unwrap();
        let begun = Instant::now();
        let mut file = fs::File::options().write(true).open(&path).unwrap();
        opened = opened.min(begun.elapsed());
        let begun = Instant::now();
        file.write_all(&noise(17_003, round)).unwrap();
        drop(file);
        saved = saved.min(begun.elapsed());
    }
    proxy.set_delay(Duration::ZERO);
    assert!(
        opened < 2 * away,
        "an open took {opened:?} of {away:?} each"
    );
    assert!(saved < 3 * away, "a save took {saved:?} of {away:?} each");
    assert!(opened >= away && saved >= away, "the proxy is on the way");
    assert_eq!(fs::read(&path).unwrap(), noise(17_003, 14));
    rig.unmount_cleanly();
}

/// A drive of an older warifu would go on leaving out what is new. Here the catalogue only says that it is of an older schema.
#[test]
fn a_catalogue_is_not_brought_up_to_date_under_a_drive() {
    let Some(server) = start() else { return };
    let rig = rig(&server);
    rig.mount();
    let schema = || server.ask("SELECT schema FROM warifu.vault");
    let newest = schema();
    server.ask("UPDATE warifu.vault SET schema = schema - 1");
    let list = [OsStr::new("ls"), rig.vault.as_os_str()];
    let refused = run(warifu(), list);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    let told = said(&refused);
    let drive = rig.drive.display().to_string();
    assert!(
        told.contains("older warifu") && told.contains(&drive),
        "{told}"
    );
    fs::write(rig.drive.join("x"), "the drive goes on").unwrap();
    rig.unmount_cleanly();
    must(warifu(), list);
    assert_eq!(schema(), newest);
}

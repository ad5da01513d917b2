//! The tour: what it says are commands that run as they stand.

mod common;

use std::fs;
use std::process::Command;

use common::{WARIFU, World, can_mount, text};

/// The commands in what the tour said.
fn commands(said: &str) -> Vec<String> {
    said.lines()
        .filter_map(|line| line.strip_prefix("    "))
        .map(str::to_owned)
        .collect()
}

/// Runs a command as a person would, and gives its exit code and output.
fn shell(world: &World, command: &str) -> (Option<i32>, String) {
    let out = Command::new("bash")
        .args(["-c", command])
        .current_dir(world.dir())
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    (out.status.code(), text(&out.stdout) + &text(&out.stderr))
}

/// Takes the tour step by step.
fn take(world: &World, said: &str) {
    let commands = commands(said);
    assert!(commands.len() >= 9, "{said}");
    for command in &commands {
        let (code, out) = shell(world, command);
        let servers_hold_nothing =
            command.starts_with("grep") && command.trim_end_matches('\'').ends_with("/servers");
        let expected = match command {
            _ if servers_hold_nothing => Some(1),
            _ if command.contains(" status ") => Some(3),
            _ => Some(0),
        };
        assert_eq!(code, expected, "{command}\n{out}");
        if servers_hold_nothing {
            assert_eq!(out, "", "no server has the word");
        } else if command.starts_with("grep") {
            assert_eq!(out.lines().count(), 4, "the documents have the word: {out}");
        } else if command.contains("はじめに") {
            assert!(out.contains("割符町"), "{out}");
        }
    }
}

#[test]
fn the_tour_without_a_drive_runs_as_it_is_told() {
    let world = World::empty();
    let said = world.ok(["quickstart", "my tour", "--no-mount"]);
    // Twice is as good as once.
    let again = world.ok(["quickstart", "my tour", "--no-mount"]);
    assert_eq!(commands(&said), commands(&again));
    assert!(again.contains("already"), "{again}");
    take(&world, &said);
    assert!(!world.path("my tour").exists());
}

#[test]
fn the_tour_with_a_drive_runs_as_it_is_told() {
    if !can_mount() {
        return;
    }
    let world = World::empty();
    let said = world.ok(["quickstart"]);
    assert!(
        said.contains("mounted at warifu-quickstart/drive"),
        "{said}"
    );
    let again = world.ok(["quickstart"]);
    assert!(again.contains("already mounted"), "{again}");
    take(&world, &said);
}

#[test]
fn the_tour_is_told_in_japanese_too() {
    let world = World::empty();
    let said = world.ok(["--lang", "ja", "quickstart", "tour", "--no-mount"]);
    assert!(
        said.contains("3 台のサーバ") && said.contains("1. 文書を読みます。"),
        "{said}"
    );
    assert_eq!(
        commands(&said).len(),
        commands(&world.ok(["quickstart", "tour", "--no-mount"])).len()
    );
}

#[test]
fn the_tour_does_not_settle_among_other_things() {
    let world = World::empty();
    world.write("home/thesis.docx", "x");
    let said = world.ends(6, ["quickstart", "home", "--no-mount"]);
    assert!(
        said.contains("home is not empty") && said.contains("Next: "),
        "{said}"
    );
    assert_eq!(fs::read_dir(world.path("home")).unwrap().count(), 1);
    // What an interrupted tour left is taken up again.
    fs::create_dir_all(world.path("half/servers/1")).unwrap();
    world.ok(["quickstart", "half", "--no-mount"]);
}

#[test]
fn where_no_drive_can_be_mounted_the_tour_goes_on() {
    // As an ordinary user without fusermount3.
    if !rustix::process::geteuid().is_root()
        || Command::new("setpriv").arg("--version").output().is_err()
    {
        eprintln!("skipped: only root can become somebody else, and needs setpriv for it");
        return;
    }
    // Somebody else cannot get into our folders: they are given one, with a copy of the program.
    let place = tempfile::Builder::new()
        .prefix("warifu-tour-")
        .tempdir_in("/tmp")
        .unwrap();
    fs::copy(WARIFU, place.path().join("warifu")).unwrap();
    let path = place.path();
    rustix::fs::chown(
        path,
        Some(rustix::fs::Uid::from_raw(65534)),
        Some(rustix::fs::Gid::from_raw(65534)),
    )
    .unwrap();
    let script = "PATH=/nonexistent ./warifu quickstart tour; echo \"exit $?\"";
    let out = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "bash",
            "-c",
            script,
        ])
        .current_dir(path)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    let (said, noted) = (text(&out.stdout), text(&out.stderr));
    assert!(said.contains("exit 0"), "{said}{noted}");
    assert!(
        noted.contains("fuse") && noted.contains("put, get and the other commands work without it"),
        "{noted}"
    );
    assert!(
        commands(&said)
            .iter()
            .any(|command| command.contains(" get ")),
        "{said}"
    );
}

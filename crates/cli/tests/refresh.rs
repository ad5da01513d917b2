//! `refresh`: the plan is shown first, killed at any point it goes on, and `status` tells what is left of older generations.

mod common;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use common::{World, noise};

fn fill(world: &World) {
    for (file, len) in [("in/one", 100_000), ("in/two", 70_000), ("in/three", 9)] {
        world.write(file, noise(len));
    }
    world.ok(["put", "office.toml", "in", "/in"]);
}

#[track_caller]
fn assert_reads(world: &World) {
    let _gone = fs::remove_dir_all(world.path("out"));
    world.ok(["get", "office.toml", "/in", "out"]);
    for file in ["one", "two", "three"] {
        assert_eq!(
            world.read(format!("out/{file}")),
            world.read(format!("in/{file}"))
        );
    }
}

#[test]
fn p1_a_refresh_is_shown_and_then_done() {
    let world = World::new();
    fill(&world);
    let before = ["a", "b", "c"].map(|server| world.objects(server));
    let said = world.ok(["refresh", "office.toml"]);
    for part in [
        "A new generation of all shares",
        "fewer than 2 servers",
        "--yes",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(
        before,
        ["a", "b", "c"].map(|server| world.objects(server)),
        "a plan changes nothing"
    );
    let said = world.ok(["status", "office.toml"]);
    assert!(said.contains("generation 1, never refreshed"), "{said}");

    let said = world.ok(["refresh", "office.toml", "--yes"]);
    for part in [
        "have new shares",
        "generation 2, since",
        "older generation any more",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for (server, before) in ["a", "b", "c"].iter().zip(&before) {
        let now = world.objects(server);
        assert!(
            before.iter().all(|object| !now.contains(object)),
            "{server}"
        );
    }
    assert_reads(&world);
    let clean = world.json(0, ["verify", "--deep", "--json", "office.toml"]);
    assert_eq!(clean["clean"], true);
    let status = world.json(0, ["status", "--json", "office.toml"]);
    let generations = &status["generations"];
    assert_eq!(
        (&generations["current"], &generations["left"]),
        (&2.into(), &0.into())
    );
    assert!(generations["ended"].is_string(), "{status}");
    // The catalogue can be lost after it too.
    for end in ["", "-wal", "-shm"] {
        let _gone = fs::remove_file(world.path(format!("office.db{end}")));
    }
    world.away("b");
    let rebuilt = world.run(["rebuild", "office.toml"]);
    assert_eq!(rebuilt.status.code(), Some(3), "one server is missing");
    assert_reads(&world);
}

#[test]
fn p1_old_shares_of_one_server_and_new_ones_of_another_give_nothing() {
    let world = World::new();
    fill(&world);
    // Somebody takes a copy of one server before, and of another one after.
    let copied = std::process::Command::new("cp")
        .args(["-r", "a", "a.stolen"])
        .current_dir(world.dir())
        .status();
    assert!(copied.unwrap().success());
    world.ok(["refresh", "office.toml", "--yes"]);
    for server in ["a", "c"] {
        world.away(server);
    }
    fs::rename(world.path("a.stolen"), world.path("a")).unwrap();
    // Two pieces of the key, of two generations: they do not fit together.
    let said = world.ends(9, ["get", "office.toml", "/in", "out"]);
    assert!(said.contains("do not hold the key"), "{said}");
    for end in ["", "-wal", "-shm"] {
        let _gone = fs::remove_file(world.path(format!("office.db{end}")));
    }
    assert!(!world.run(["rebuild", "office.toml"]).status.success());
}

#[test]
fn p4_a_refresh_that_is_killed_goes_on() {
    let world = World::new();
    for file in 0..300 {
        world.write(format!("many/{file}"), noise(9_000 + file));
    }
    fill(&world);
    world.ok(["put", "office.toml", "many", "/many"]);
    let mut killed = 0;
    for round in 0..10 {
        let mut child = world
            .command(["refresh", "office.toml", "--yes", "--limit", "4"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(150 + 90 * round));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        assert_reads(&world);
    }
    assert!(killed > 3, "{killed}");
    // What was cut off last is swept when its lease has ended; here it is waited for no longer than the rest takes.
    let done = world.run(["refresh", "office.toml", "--yes", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(json["generations"]["left"], 0, "{json}");
    assert_reads(&world);
    let clean = world.json(0, ["verify", "--deep", "--json", "office.toml"]);
    assert_eq!(clean["clean"], true);
    for server in ["a", "b", "c"] {
        world.away(server);
        assert_reads(&world);
        world.back(server);
    }
}

/// The same command, repeated after it was killed anywhere, ends with a server whose old place is worthless.
#[test]
fn p1_what_a_retired_server_holds_is_worthless() {
    let world = World::new();
    fill(&world);
    for file in 0..60 {
        world.write(format!("many/{file}"), noise(9_000 + file));
    }
    world.ok(["put", "office.toml", "many", "/many"]);
    let out = world.run(["server", "retire", "office.toml", "bunko", "d"]);
    assert_eq!(out.status.code(), Some(3), "a plan");
    let said = common::text(&out.stdout);
    for part in ["new generation", "fewer than 2 servers", "--yes"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!world.path("d").exists(), "a plan changes nothing");
    let retire = ["server", "retire", "office.toml", "bunko", "d", "--yes"];
    for round in 0..6 {
        let mut child = world
            .command(retire)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(60 + 120 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_reads(&world);
    }
    // What the last one that was killed left is swept when its lease has ended; until then it cannot be called worthless.
    let done = world.run(retire.into_iter().chain(["--json"]));
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(json["repair"]["left"], 0, "{json}");
    assert!(json["old_is_worthless"].is_boolean(), "{json}");
    assert_reads(&world);
    let clean = world.json(0, ["verify", "--deep", "--json", "office.toml"]);
    assert_eq!(clean["clean"], true);

    // The old place with any one of the others gives nothing.
    fs::rename(world.path("d"), world.path("d.new")).unwrap();
    fs::rename(world.path("c"), world.path("d")).unwrap();
    for other in ["a", "b"] {
        world.away(other);
        let got = world.run(["get", "office.toml", "/in", "out"]);
        assert!(!got.status.success(), "without {other}");
        world.back(other);
    }
}

/// Whoever was killed after the new place was made, and before it had the seat's piece of the key, leaves an empty store there, or one that
/// is being tried out.
#[test]
fn p1_a_new_place_that_was_only_made_is_gone_on_with() {
    let world = World::new();
    fill(&world);
    let tried = "0000000000000000000000000000face00112233445566778899aabbccddeeff";
    assert_eq!(
        tried.len(),
        world.objects("a")[0].file_name().unwrap().len()
    );
    let trial = |place: &str| format!("{place}/objects/00/{tried}");
    for (place, command, left_behind) in [
        ("d", "replace", false),
        ("e", "replace", true),
        ("f", "retire", false),
        ("g", "retire", true),
    ] {
        world.ok(["server", "test", place]);
        if left_behind {
            world.write(trial(place), noise(64 << 10));
        }
        world.ok(["server", command, "office.toml", "bunko", place, "--yes"]);
        assert_eq!(
            world.objects(place).len(),
            world.objects("a").len(),
            "{place}: what was tried is gone, and all shares are there"
        );
        assert!(!world.path(trial(place)).exists());
        assert_reads(&world);
    }
    let clean = world.json(0, ["verify", "--deep", "--json", "office.toml"]);
    assert_eq!(clean["clean"], true);
    // Anything else that lies there is somebody's.
    world.ok(["server", "test", "h"]);
    world.write(trial("h"), noise(64 << 10));
    let foreign = format!("h/objects/ab/{}", "ab".repeat(tried.len() / 2));
    world.write(&foreign, noise(5_000));
    for command in ["replace", "retire"] {
        let said = world.ends(6, ["server", command, "office.toml", "bunko", "h", "--yes"]);
        assert!(said.contains("belongs to a vault"), "{said}");
    }
    assert!(world.path(&foreign).exists() && world.path(trial("h")).exists());
    // A new vault is founded on such a place too.
    world.ok(["server", "test", "i"]);
    world.write(trial("i"), noise(64 << 10));
    world.ok(["init", "second.toml", "--threshold", "1", "x=i", "y=j"]);
}

#[test]
fn a_retired_server_is_told_to_be_worthless() {
    let world = World::new();
    fill(&world);
    let said = world.ok(["server", "retire", "office.toml", "bunko", "d", "--yes"]);
    for part in ["generation 2", "is worthless", "wiped or given back"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_reads(&world);
}

#[test]
fn servers_on_one_disk_are_named() {
    let world = World::new();
    let said = world.ok(["server", "list", "office.toml"]);
    assert!(
        said.contains("same disk or machine as shisho, bunko"),
        "{said}"
    );
    let list = world.json(0, ["server", "list", "--json", "office.toml"]);
    assert_eq!(
        list[1]["same_place"],
        serde_json::json!(["honcho", "bunko"])
    );
    assert_eq!(list[1]["same_credential"], serde_json::json!([]));
}

/// A second URL for a server's folder, and the folder of another vault's server, are no place for a server.
#[test]
fn a_place_that_is_taken_is_refused() {
    let world = World::new();
    fill(&world);
    let other = World::new();
    let link = world.path("link");
    std::os::unix::fs::symlink(world.path("a"), &link).unwrap();
    let foreign = other.path("a");
    for place in ["a", "link", foreign.to_str().unwrap()] {
        for command in ["replace", "retire"] {
            let out = world.run(["server", command, "office.toml", "bunko", place, "--yes"]);
            assert!(!out.status.success(), "{command} {place}");
            let said = common::text(&out.stderr);
            assert!(said.contains("belongs to a vault"), "{command}: {said}");
        }
    }
    let init = |servers: [&str; 2]| {
        let made = world.run(
            ["init", "second.toml", "--threshold", "1"]
                .into_iter()
                .chain(servers),
        );
        assert!(!made.status.success(), "{servers:?}");
        assert!(!world.path("second.toml").exists());
    };
    fs::create_dir(world.path("new")).unwrap();
    std::os::unix::fs::symlink(world.path("new"), world.path("again")).unwrap();
    init(["x=new", "y=again"]);
    init(["x=new", "y=a"]);
    assert_reads(&world);
}

#[test]
fn a_refresh_needs_a_server_to_spare_and_says_so() {
    let world = World::new();
    fill(&world);
    world.away("c");
    let said = world.ok(["refresh", "office.toml"]);
    assert!(said.contains("Too few servers answer"), "{said}");
    let said = world.ends(5, ["refresh", "office.toml", "--yes"]);
    assert!(said.contains("bunko"), "{said}");
    world.back("c");
    assert_reads(&world);
}

#[test]
fn a_timer_refreshes_by_the_schedule() {
    let world = World::new();
    fill(&world);
    let said = world.ends(2, ["refresh", "office.toml", "--if-due", "--yes"]);
    assert!(
        said.contains("no schedule") && said.contains("every 7 days"),
        "{said}"
    );
    let file = String::from_utf8(world.read("office.toml")).unwrap();
    let file = file.replace("refresh = \"never\"", "refresh = \"every 7 days\"");
    world.write("office.toml", &file);
    let json = world.json(0, ["refresh", "office.toml", "--if-due", "--yes", "--json"]);
    assert_eq!(
        (&json["due"], &json["applied"]),
        (&true.into(), &true.into())
    );
    let json = world.json(0, ["refresh", "office.toml", "--if-due", "--yes", "--json"]);
    assert_eq!(
        (&json["due"], &json["applied"]),
        (&false.into(), &false.into())
    );
    let said = world.ok(["status", "office.toml"]);
    assert!(said.contains("hold 2 servers within 7 days"), "{said}");
    world.write("office.toml", file.replace("every 7 days", "every 0 days"));
    let said = world.ends(9, ["status", "office.toml"]);
    assert!(
        said.contains("line") && said.contains("every 7 days"),
        "{said}"
    );
}

/// The line of a unit of systemd that says what is run, with the places of this test.
#[test]
fn the_unit_that_is_shipped_runs_what_the_program_takes() {
    let world = World::new();
    fill(&world);
    let file = String::from_utf8(world.read("office.toml")).unwrap();
    world.write("office.toml", file.replace("\"never\"", "\"every day\""));
    let unit = format!(
        "{}/../../dist/systemd/warifu-refresh@.service",
        env!("CARGO_MANIFEST_DIR")
    );
    let unit = fs::read_to_string(unit).unwrap();
    let line = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/warifu "))
        .unwrap()
        .replace("/etc/warifu/%i.toml", "office.toml");
    let said = world.ok(line.split(' '));
    assert!(said.contains("generation 2, since"), "{said}");
}

#[test]
fn p1_a_replaced_disk_is_worthless_after_a_refresh() {
    let world = World::new();
    fill(&world);
    let out = world.run(["server", "replace", "office.toml", "bunko", "d", "--yes"]);
    assert!(out.status.success());
    let said = common::text(&out.stderr);
    assert!(said.contains("refresh office.toml --yes"), "{said}");
    // Until then the old disk is the new one's share.
    let exchange = |one: &str, other: &str| {
        fs::rename(world.path(one), world.path(other)).unwrap();
    };
    exchange("d", "d.new");
    exchange("c", "d");
    world.away("a");
    assert_reads(&world);
    world.back("a");
    exchange("d", "c");
    exchange("d.new", "d");

    world.ok(["refresh", "office.toml", "--yes"]);
    exchange("d", "d.new");
    exchange("c", "d");
    world.away("a");
    let got = world.run(["get", "office.toml", "/in", "out"]);
    assert!(!got.status.success());
    world.back("a");
    exchange("d", "c");
    exchange("d.new", "d");
    assert_reads(&world);
}

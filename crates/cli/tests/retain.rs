//! What is kept and what is destroyed, from the command line.

mod common;

use std::fs;

use common::{World, noise, text};

fn ruled(rules: &str) -> World {
    let world = World::new();
    let file = fs::read_to_string(world.path("office.toml")).unwrap();
    let file = file.replace("retention = \"all\"\n", "");
    let at = file.find("[threshold]").unwrap();
    let (top, rest) = file.split_at(at);
    fs::write(world.path("office.toml"), format!("{top}{rules}\n{rest}")).unwrap();
    world
}

fn versions(world: &World, path: &str) -> Vec<u64> {
    let list = world.json(0, ["history", "office.toml", path, "--json"]);
    let numbers = list.as_array().unwrap().iter();
    numbers
        .map(|version| version["version"].as_u64().unwrap())
        .collect()
}

fn saved(world: &World, times: usize) {
    for round in 0..times {
        world.write("f.bin", noise(20_000 + round));
        world.ok(["put", "office.toml", "f.bin", "/"]);
    }
}

#[test]
fn old_versions_are_shown_destroyed_and_certified() {
    let world = ruled("[retention]\nversions = 2\n");
    saved(&world, 4);
    let objects = world.objects_from(20_000, "a").len();
    let out = world.run(["prune", "office.toml"]);
    assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
    assert!(
        text(&out.stdout).contains("/f.bin: version 1"),
        "{}",
        text(&out.stdout)
    );
    assert!(text(&out.stderr).contains("--yes"));
    assert_eq!(versions(&world, "/f.bin"), [1, 2, 3, 4]);
    let done = world.json(
        0,
        [
            "prune",
            "office.toml",
            "--yes",
            "--json",
            "--certificate",
            "gone.json",
        ],
    );
    assert_eq!(done["versions"].as_array().unwrap().len(), 2);
    assert_eq!(done["complete"], true);
    assert_eq!(versions(&world, "/f.bin"), [3, 4]);
    assert!(
        world.objects_from(20_000, "a").len() < objects,
        "and of their objects nothing is left"
    );
    world.ok(["get", "office.toml", "/f.bin", "back.bin"]);
    assert_eq!(world.read("back.bin"), noise(20_003));
    let out = world.run(["prune", "office.toml"]);
    assert_eq!(out.status.code(), Some(0));

    let genuine = world.ok(["destroyed", "verify", "office.toml", "gone.json"]);
    assert!(genuine.contains("Genuine: 2 versions"), "{genuine}");
    let certificate = fs::read_to_string(world.path("gone.json")).unwrap();
    assert!(certificate.contains("/f.bin") && certificate.contains("\"honcho\""));
    world.write("false.json", certificate.replace("/f.bin", "/g.bin"));
    world.write("not.json", "{}");
    for bad in ["false.json", "not.json"] {
        let said = world.ends(9, ["destroyed", "verify", "office.toml", bad]);
        assert!(said.contains("no certificate of this vault"), "{said}");
    }
    let other = World::new();
    other.write("gone.json", &certificate);
    other.ends(9, ["destroyed", "verify", "office.toml", "gone.json"]);
    // What is there is not written over, and nothing is destroyed then.
    saved(&world, 1);
    let args = [
        "prune",
        "office.toml",
        "--yes",
        "--certificate",
        "gone.json",
    ];
    world.ends(6, args);
    assert_eq!(versions(&world, "/f.bin"), [3, 4, 5]);
}

#[test]
fn a_server_that_is_away_is_named_in_the_certificate() {
    let world = ruled("[retention]\nversions = 1\n");
    saved(&world, 3);
    world.away("b");
    let out = world.run([
        "prune",
        "office.toml",
        "--yes",
        "--certificate",
        "gone.json",
    ]);
    assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("shisho: 0 objects are gone, 2 are NOT CONFIRMED"));
    let out = world.run(["destroyed", "verify", "office.toml", "gone.json"]);
    assert_eq!(out.status.code(), Some(3));
    world.back("b");
}

#[test]
fn removed_files_lie_in_the_trash_come_back_and_are_held() {
    let world = World::new();
    world.write("in/reports/a.txt", "a");
    world.write("in/reports/b.txt", "b");
    world.ok(["put", "office.toml", "in/reports", "/"]);
    assert!(
        world
            .ok(["trash", "list", "office.toml"])
            .contains("The trash is empty")
    );
    world.ok([
        "hold",
        "set",
        "office.toml",
        "/reports/a.txt",
        "--reason",
        "lawsuit-12",
    ]);
    world.ends(6, ["hold", "set", "office.toml", "/reports/a.txt"]);
    world.ok(["rm", "office.toml", "-r", "/reports"]);
    let trash = world.json(0, ["trash", "list", "office.toml", "--json"]);
    assert_eq!(trash.as_array().unwrap().len(), 2);
    assert!(trash[0]["path"].as_str().unwrap().starts_with("/reports/"));
    world.ok(["trash", "restore", "office.toml", "/reports"]);
    assert_eq!(world.ok(["cat", "office.toml", "/reports/b.txt"]), "b");
    world.ends(4, ["trash", "restore", "office.toml", "/reports"]);
    world.ok(["rm", "office.toml", "-r", "/reports"]);
    let out = world.run(["trash", "empty", "office.toml"]);
    assert_eq!(out.status.code(), Some(3));
    assert!(
        text(&out.stdout).contains("1 files are held"),
        "{}",
        text(&out.stdout)
    );
    world.ok(["trash", "empty", "office.toml", "--yes"]);
    let trash = world.json(0, ["trash", "list", "office.toml", "--json"]);
    assert_eq!(trash.as_array().unwrap().len(), 1, "what is held stays");
    let holds = world.json(0, ["hold", "list", "office.toml", "--json"]);
    assert_eq!(holds[0]["reason"], "lawsuit-12");
    world.ok(["hold", "clear", "office.toml", "/reports/a.txt"]);
    world.ends(4, ["hold", "clear", "office.toml", "/reports/a.txt"]);
    assert!(
        world
            .ok(["hold", "list", "office.toml"])
            .contains("Nothing is held")
    );
    world.ok(["trash", "empty", "office.toml", "--yes"]);
    assert!(
        world
            .ok(["trash", "list", "office.toml"])
            .contains("The trash is empty")
    );
}

#[test]
fn room_is_told_by_server_folder_and_age() {
    let world = World::new();
    saved(&world, 2);
    world.write("in/reports/large.bin", noise(3_000_000));
    world.ok(["put", "office.toml", "in/reports", "/"]);
    let space = world.json(0, ["df", "office.toml", "--json"]);
    assert_eq!(space["servers"].as_array().unwrap().len(), 3);
    assert!(space["servers"][0]["bytes"].as_u64() > Some(3_000_000));
    let folders = space["folders"].as_array().unwrap();
    let of = |path: &str| {
        folders
            .iter()
            .find(|folder| folder["path"] == path)
            .unwrap()
    };
    assert!(of("/reports")["current"].as_u64() > Some(9_000_000));
    assert!(of("/")["older"].as_u64() > Some(60_000));
    assert!(space["as_compact"].as_u64() < space["shamir"].as_u64());
    let told = world.ok(["df", "office.toml"]);
    for part in [
        "honcho: ",
        "/reports: current ",
        "less than 1 days ago",
        "By compact",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn rules_that_make_no_sense_are_told_with_their_line() {
    let world = ruled("[retention]\nkeep = \"soon\"\n");
    let said = world.ends(9, ["prune", "office.toml"]);
    assert!(
        said.contains("retention.keep") && said.contains("90 days"),
        "{said}"
    );
    let world = World::new();
    let out = world.run(["prune", "office.toml"]);
    assert_eq!(out.status.code(), Some(0));
    assert!(text(&out.stdout).contains("everything is kept"));
}

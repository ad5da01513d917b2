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

fn removed(world: &World) {
    for (name, len) in [("f.bin", 20_000), ("g.bin", 30_000)] {
        world.write(name, noise(len));
        world.ok(["put", "office.toml", name, "/"]);
        world.ok(["rm", "office.toml", &format!("/{name}")]);
    }
}

#[test]
fn what_is_removed_is_shown_destroyed_and_certified() {
    let world = World::new();
    removed(&world);
    let objects = world.objects_from(20_000, "a").len();
    let today = ["trash", "empty", "office.toml"];
    let out = world.run(today);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("Nothing is to be destroyed"));
    let all = ["trash", "empty", "office.toml", "--before", "now"];
    let out = world.run(all);
    assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
    assert!(
        text(&out.stdout).contains("/f.bin: version 1"),
        "{}",
        text(&out.stdout)
    );
    assert!(text(&out.stderr).contains("--yes"));
    let done = world.json(
        0,
        [
            "trash",
            "empty",
            "office.toml",
            "--before",
            "now",
            "--yes",
            "--json",
            "--certificate",
            "gone.json",
        ],
    );
    assert_eq!(done["versions"].as_array().unwrap().len(), 2);
    assert_eq!(done["complete"], true);
    assert_eq!(done["applied"], true);
    assert_eq!(
        world.objects_from(20_000, "a").len(),
        objects - 2,
        "and of their objects nothing is left"
    );
    let key = world.ok(["certificate", "key", "office.toml"]);
    let key = key.trim();
    let genuine = world.ok(["certificate", "verify", "gone.json", "--key", key]);
    assert!(genuine.contains("unaltered: 2 versions"), "{genuine}");
    // Without the key it is genuine, and nobody knows whose it is.
    let out = world.run(["certificate", "verify", "gone.json"]);
    assert_eq!(out.status.code(), Some(3));
    assert!(text(&out.stdout).contains(key));
    let certificate = fs::read_to_string(world.path("gone.json")).unwrap();
    assert!(certificate.contains("/f.bin") && certificate.contains("\"honcho\""));
    world.write("false.json", certificate.replace("/f.bin", "/h.bin"));
    world.write("not.json", "{}");
    for bad in ["false.json", "not.json"] {
        let said = world.ends(9, ["certificate", "verify", bad, "--key", key]);
        assert!(said.contains("is no certificate"), "{said}");
    }
    let other = World::new();
    let of_other = other.ok(["certificate", "key", "office.toml"]);
    let args = ["certificate", "verify", "gone.json", "--key"];
    world.ends(9, [&args[..], &[of_other.trim()]].concat());
    world.ends(2, [&args[..], &["abc"]].concat());
    // What is there is not written over, and nothing is destroyed then.
    removed(&world);
    let args = [&all[..], &["--yes", "--certificate", "gone.json"]].concat();
    world.ends(6, args);
    let trash = world.json(0, ["trash", "list", "office.toml", "--json"]);
    assert_eq!(trash.as_array().unwrap().len(), 2);
}

#[test]
fn a_server_that_is_away_is_named_in_the_certificate() {
    let world = World::new();
    removed(&world);
    world.away("b");
    let all = [
        "trash",
        "empty",
        "office.toml",
        "--before",
        "now",
        "--yes",
        "--certificate",
        "gone.json",
    ];
    let out = world.run(all);
    assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
    assert!(
        text(&out.stdout).contains("shisho: 0 objects are gone, 2 are NOT CONFIRMED"),
        "{}",
        text(&out.stdout)
    );
    let key = world.ok(["certificate", "key", "office.toml"]);
    let args = ["certificate", "verify", "gone.json", "--key", key.trim()];
    let out = world.run(args);
    assert_eq!(out.status.code(), Some(3));
    assert!(text(&out.stdout).contains("had confirmed"));
    world.back("b");
}

#[test]
fn removed_files_lie_in_the_trash_come_back_and_are_held() {
    let world = World::new();
    world.write("in/reports/a.txt", "a");
    world.write("in/reports/b.txt", "b");
    world.ok(["put", "office.toml", "in/reports", "/"]);
    let list = ["trash", "list", "office.toml"];
    assert!(world.ok(list).contains("The trash is empty"));
    let hold = ["hold", "add", "office.toml", "/reports/a.txt"];
    world.ok([&hold[..], &["--reason", "lawsuit-12"]].concat());
    world.ends(6, hold);
    world.ok(["rm", "office.toml", "-r", "/reports"]);
    let told = world.ok(list);
    assert!(told.contains("/reports/a.txt  removed "), "{told}");
    let trash = world.json(0, ["trash", "list", "office.toml", "--json"]);
    assert_eq!(trash.as_array().unwrap().len(), 2);
    assert!(trash[0]["path"].as_str().unwrap().starts_with("/reports/"));
    world.ok(["trash", "restore", "office.toml", "/reports"]);
    assert_eq!(world.ok(["cat", "office.toml", "/reports/b.txt"]), "b");
    let said = world.ends(4, ["trash", "restore", "office.toml", "/reports"]);
    assert!(said.contains("trash list office.toml"), "{said}");
    // Its history goes on where it was.
    world.write("b.txt", "more");
    world.ok(["put", "office.toml", "b.txt", "/reports/"]);
    assert_eq!(versions(&world, "/reports/b.txt").len(), 2);
    world.ok(["rm", "office.toml", "-r", "/reports"]);
    let all = ["trash", "empty", "office.toml", "--before", "now"];
    let out = world.run(all);
    assert_eq!(out.status.code(), Some(3));
    assert!(
        text(&out.stdout).contains("1 files are held"),
        "{}",
        text(&out.stdout)
    );
    let all = [&all[..], &["--yes"]].concat();
    world.ok(all.clone());
    let trash = world.json(0, ["trash", "list", "office.toml", "--json"]);
    assert_eq!(trash.as_array().unwrap().len(), 1, "what is held stays");
    let holds = world.json(0, ["hold", "list", "office.toml", "--json"]);
    assert_eq!(holds[0]["reason"], "lawsuit-12");
    world.ok(["hold", "remove", "office.toml", "/reports/a.txt"]);
    world.ends(4, ["hold", "remove", "office.toml", "/reports/a.txt"]);
    let held = world.ok(["hold", "list", "office.toml"]);
    assert!(held.contains("Nothing is held"), "{held}");
    world.ok(all);
    assert!(world.ok(list).contains("The trash is empty"));
}

#[test]
fn room_is_told_by_server_folder_and_age() {
    let world = World::new();
    for round in 0..2 {
        world.write("f.bin", noise(20_000 + round));
        world.ok(["put", "office.toml", "f.bin", "/"]);
    }
    world.write("in/reports/large.bin", noise(3_000_000));
    world.ok(["put", "office.toml", "in/reports", "/"]);
    let space = world.json(0, ["df", "office.toml", "--json"]);
    assert_eq!(space["servers"].as_array().unwrap().len(), 3);
    assert!(space["servers"][0]["bytes"].as_u64() > Some(3_000_000));
    let folders = space["folders"].as_array().unwrap();
    let of = |path: &str| {
        let found = folders.iter().find(|folder| folder["path"] == path);
        found.unwrap()
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
fn rules_are_shown_with_what_would_go_and_nonsense_with_its_line() {
    let world = ruled("[retention]\nkeep = \"soon\"\n");
    let said = world.ends(9, ["prune", "office.toml"]);
    assert!(
        said.contains("retention.keep") && said.contains("90 days"),
        "{said}"
    );
    let world = World::new();
    for command in ["prune", "retention"] {
        let out = world.run([command, "office.toml"]);
        assert_eq!(out.status.code(), Some(0));
        assert!(text(&out.stdout).contains("everything is kept"));
    }
    let world = ruled(
        "[retention]\nversions = 2\n\n[[retention.folder]]\npath = \"/税務\"\nkeep = \"10 years\"\n",
    );
    for round in 0..4 {
        world.write("f.bin", noise(1000 + round));
        world.ok(["put", "office.toml", "f.bin", "/"]);
    }
    let told = world.ok(["retention", "office.toml"]);
    assert!(told.contains("  /: versions = 2\n"), "{told}");
    assert!(told.contains("  /税務: keep = \"10 years\"\n"), "{told}");
    let rules = world.json(0, ["retention", "office.toml", "--json"]);
    assert_eq!(rules["keeps_all"], false);
    assert_eq!(rules["rules"][0]["versions"], 2);
    assert_eq!(rules["rules"][1]["path"], "/税務");
    assert_eq!(rules["rules"][1]["keep_seconds"], 10_u64 * 365 * 86_400);
    // What was current today stays, whatever its number.
    assert_eq!(rules["versions"], 0);
    let out = world.run(["prune", "office.toml", "--yes"]);
    assert_eq!(out.status.code(), Some(0));
    assert_eq!(versions(&world, "/f.bin"), [1, 2, 3, 4]);
}

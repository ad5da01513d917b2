//! `verify --repair` and `server replace`: the plan is shown first, and killed at any point it goes on.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::{World, noise, text};

fn damage(object: &Path) {
    fs::set_permissions(object, fs::Permissions::from_mode(0o600)).unwrap();
    let mut bytes = fs::read(object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(object, bytes).unwrap();
}

fn everything(world: &World, server: &str) -> Vec<(String, Vec<u8>)> {
    let objects = world.objects(server).into_iter();
    objects
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn p4_damage_is_repaired_after_the_plan_was_shown() {
    let world = World::new();
    for (file, len) in [("in/one", 100_000), ("in/two", 70_000), ("in/three", 9)] {
        world.write(file, noise(len));
    }
    world.ok(["put", "office.toml", "in", "/in"]);
    let objects = world.objects_from(70_000, "c");
    assert_eq!(objects.len(), 2);
    damage(&objects[0]);
    fs::remove_file(&objects[1]).unwrap();
    let before = everything(&world, "c");
    let shown = world.run(["verify", "--deep", "--repair", "office.toml"]);
    let said = text(&shown.stdout);
    assert_eq!(shown.status.code(), Some(3), "{said}");
    for part in ["bunko: damaged", "bunko: 2 shares", "--repair --yes"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(everything(&world, "c") == before, "a plan changes nothing");
    // What the check found is remembered: without reading everything again it is made anew.
    let done = world.run(["verify", "--repair", "--yes", "office.toml"]);
    let said = text(&done.stdout);
    assert_eq!(done.status.code(), Some(11), "{said}");
    assert!(
        said.contains("2 shares were made anew")
            && said.contains("Every share is where it belongs"),
        "{said}"
    );
    assert_eq!(
        world.json(0, ["verify", "--deep", "--json", "office.toml"])["clean"],
        true
    );
    let again = world.run(["verify", "--repair", "--yes", "office.toml"]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stdout));
    assert!(text(&again.stdout).contains("nothing to repair"));
    // A server that holds nothing but what was made anew is as good as the others.
    world.away("b");
    world.ok(["get", "office.toml", "/in", "out"]);
    for file in ["one", "two", "three"] {
        assert_eq!(
            world.read(format!("out/{file}")),
            world.read(format!("in/{file}"))
        );
    }
}

#[test]
fn owed_shares_are_made_when_the_server_is_back() {
    let world = World::new();
    world.away("b");
    world.write("a.bin", noise(50_000));
    world.run(["put", "office.toml", "a.bin", "/"]);
    let json = world.json(3, ["verify", "--repair", "--yes", "--json", "office.toml"]);
    let left = json["repair"]["left"].as_u64().unwrap();
    assert!(left > 0, "{json}");
    world.back("b");
    // What was done meanwhile is owed too, by the journal.
    let status = world.json(3, ["status", "--json", "office.toml"]);
    let weak = &status["weak"];
    assert_eq!(
        (&weak["files"], &weak["named"][0]["path"], &weak["journal"]),
        (&1.into(), &"/a.bin".into(), &0.into()),
        "{status}"
    );
    let owed = status["owed_shares"].as_u64().unwrap();
    assert!(owed >= left && owed > 1, "{status}");
    let json = world.json(11, ["verify", "--repair", "--yes", "--json", "office.toml"]);
    assert_eq!(
        (
            &json["repair"]["made"]["shisho"]["shares"],
            &json["repair"]["left"]
        ),
        (&owed.into(), &0.into()),
        "{json}"
    );
    let status = world.json(0, ["status", "--json", "office.toml"]);
    assert_eq!(
        (
            &status["owed_shares"],
            &status["weak"]["files"],
            &status["weak"]["journal"]
        ),
        (&0.into(), &0.into(), &serde_json::Value::Null)
    );
}

#[test]
fn p4_a_repair_killed_again_and_again_ends_complete() {
    let world = World::new();
    for file in 0..60 {
        world.write(format!("in/f{file}"), noise(100_000 + file));
    }
    world.ok(["put", "office.toml", "in", "/in"]);
    let objects = world.objects_from(100_000, "c");
    assert_eq!(objects.len(), 60);
    for object in objects {
        fs::remove_file(object).unwrap();
    }
    for turn in 1..=2 {
        let mut child = world
            .command(["verify", "--repair", "--yes", "--limit", "1", "office.toml"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let so_many = turn * 12;
        let mut patience = 600;
        while world.objects_from(100_000, "c").len() < so_many && patience > 0 {
            std::thread::sleep(Duration::from_millis(50));
            patience -= 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let there = world.objects_from(100_000, "c").len();
        assert!((so_many..60).contains(&there), "{there} of 60 after {turn}");
    }
    let json = world.json(11, ["verify", "--repair", "--yes", "--json", "office.toml"]);
    let repair = &json["repair"];
    assert_eq!(repair["left"], 0, "{repair}");
    assert!(repair["planned_shares"].as_u64().unwrap() <= 60, "{repair}");
    assert_eq!(
        world.json(0, ["verify", "--deep", "--json", "office.toml"])["clean"],
        true
    );
    let made = world.objects_from(100_000, "c").len();
    assert_eq!(made, 60, "nothing is left over");
}

#[test]
fn a_lost_server_gets_a_new_place() {
    let world = World::new();
    world.write("a.bin", noise(300_000));
    world.write("b.txt", "text");
    world.ok(["put", "office.toml", "a.bin", "b.txt", "/"]);
    let file = text(&world.read("office.toml"));
    world.write(
        "office.toml",
        file.replace("url = \"c\"", "url = \"c\" # in the cellar"),
    );
    world.away("c");

    let said = world.ends(4, ["server", "replace", "office.toml", "nobody", "d"]);
    assert!(said.contains("honcho, shisho, bunko"), "{said}");
    world.ok(["init", "other.toml", "-k", "1", "x"]);
    let said = world.ends(
        6,
        ["server", "replace", "office.toml", "bunko", "x", "--yes"],
    );
    assert!(said.contains("already belongs to a vault"), "{said}");
    let said = world.ends(
        6,
        ["server", "replace", "office.toml", "bunko", "a", "--yes"],
    );
    assert!(said.contains("already belongs to a vault"), "{said}");

    let shown = world.run(["server", "replace", "office.toml", "bunko", "d"]);
    let said = text(&shown.stdout);
    assert_eq!(shown.status.code(), Some(3), "{said}");
    assert!(
        said.contains("keeps share 3") && said.contains("c → d"),
        "{said}"
    );
    assert!(said.contains("lost together"), "one disk: {said}");
    assert!(!world.path("d").exists(), "a plan makes nothing");

    let json = world.json(
        0,
        [
            "server",
            "replace",
            "office.toml",
            "bunko",
            "d",
            "--yes",
            "--json",
        ],
    );
    assert_eq!(json["repair"]["left"], 0, "{json}");
    let file = text(&world.read("office.toml"));
    assert!(file.contains("url = \"d\" # in the cellar"), "{file}");
    assert_eq!(
        world.json(0, ["verify", "--deep", "--json", "office.toml"])["clean"],
        true
    );
    assert_eq!(world.objects_from(300_000, "d").len(), 1);
    assert_eq!(
        world.objects("d").len(),
        world.objects("b").len(),
        "both files and the journal, and nothing more"
    );
    let list = world.json(0, ["server", "list", "--json", "office.toml"]);
    assert_eq!(
        (&list[2]["name"], &list[2]["url"]),
        (&"bunko".into(), &"d".into())
    );
    // The new place and any other give the files back, the key too.
    world.away("a");
    assert_eq!(world.ok(["cat", "office.toml", "/b.txt"]), "text");
    world.back("a");
    // The old disk is the same share: with it and the new one there are still only two of three.
    world.away("a");
    world.away("b");
    world.back("c");
    world.ends(5, ["cat", "office.toml", "/b.txt"]);
}

#[test]
fn a_replacement_that_was_killed_goes_on() {
    let world = World::new();
    for file in 0..40 {
        world.write(format!("in/f{file}"), noise(100_000 + file));
    }
    world.ok(["put", "office.toml", "in", "/in"]);
    world.away("c");
    let replace = [
        "server",
        "replace",
        "office.toml",
        "bunko",
        "d",
        "--yes",
        "--limit",
        "1",
    ];
    for so_many in [0, 10] {
        let mut child = world
            .command(replace)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut patience = 600;
        while world.objects_from(100_000, "d").len() < so_many && patience > 0 {
            std::thread::sleep(Duration::from_millis(50));
            patience -= 1;
        }
        if so_many == 0 {
            std::thread::sleep(Duration::from_millis(300));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    world.json(
        0,
        [
            "server",
            "replace",
            "office.toml",
            "bunko",
            "d",
            "--yes",
            "--json",
        ],
    );
    assert_eq!(
        world.json(0, ["verify", "--deep", "--json", "office.toml"])["clean"],
        true
    );
    assert_eq!(world.objects_from(100_000, "d").len(), 40);
}

#[test]
fn an_interrupted_check_goes_on_and_rubbish_in_its_place_counts_for_nothing() {
    let world = World::new();
    world.write("a.bin", noise(1000));
    world.ok(["put", "office.toml", "a.bin", "/"]);
    let whole = world.json(0, ["verify", "--json", "office.toml"]);
    assert!(whole["extents"].as_u64().unwrap() > 0, "{whole}");
    world.write("office.verify", noise(100));
    let resumed = world.json(0, ["verify", "--resume", "--json", "office.toml"]);
    assert_eq!(resumed["extents"], whole["extents"], "all of it");
    assert!(!world.path("office.verify").exists(), "it came to its end");
    world.ok(["verify", "--resume", "--deep", "office.toml"]);
}

fn fields(json: &serde_json::Value, into: &mut BTreeSet<String>) {
    match json {
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                into.insert(name.clone());
                fields(value, into);
            }
        }
        serde_json::Value::Array(all) => all.iter().for_each(|value| fields(value, into)),
        _ => {}
    }
}

#[test]
fn the_json_is_explained_field_by_field() {
    let world = World::new();
    world.write("a.bin", noise(70_000));
    world.ok(["put", "office.toml", "a.bin", "/"]);
    for server in ["b", "c"] {
        damage(&world.objects_from(70_000, server)[0]);
    }
    let page = include_str!("../JSON.md");
    let explained = |part: &str, json: &serde_json::Value| {
        let mut printed = BTreeSet::new();
        fields(json, &mut printed);
        // Names of servers and kinds of damage are no fields.
        for word in ["honcho", "shisho", "bunko", "corrupt", "missing"] {
            printed.remove(word);
        }
        let text = page
            .split("\n## ")
            .find(|text| text.starts_with(part))
            .unwrap();
        for field in &printed {
            assert!(text.contains(&format!("`{field}`")), "{part}: {field}");
        }
        for row in text.lines().filter(|line| line.starts_with("| `")) {
            for name in row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2) {
                let sometimes = ["error", "fault", "repair"].contains(&name);
                assert!(
                    sometimes || printed.contains(name),
                    "{part}: {name}: {json}"
                );
            }
        }
    };
    let report = world.json(
        5,
        [
            "verify",
            "--deep",
            "--repair",
            "--yes",
            "--json",
            "office.toml",
        ],
    );
    explained("`warifu verify", &report);
    let list = world.json(0, ["server", "list", "--json", "office.toml"]);
    explained("`warifu server list", &list);
    world.write("b.bin", noise(1000));
    world.ok(["put", "office.toml", "b.bin", "/"]);
    let replaced = world.json(
        3,
        ["server", "replace", "office.toml", "bunko", "d", "--json"],
    );
    explained("`warifu server replace", &replaced);
}

/// A segment of the journal that cannot be read is no version of a file, and has a next step of its own.
#[test]
fn segments_of_the_journal_that_are_lost_are_called_that() {
    let world = World::new();
    world.write("a.bin", noise(100_000));
    world.ok(["put", "office.toml", "a.bin", "/"]);
    for server in ["a", "b"] {
        for object in world.objects(server) {
            // Beside the shares lies the server's piece of the key.
            let is_share = object.file_name().unwrap().len() == 64;
            if is_share && fs::metadata(&object).unwrap().len() < 50_000 {
                fs::remove_file(object).unwrap();
            }
        }
    }
    for (lang, journal, versions) in [
        (
            "en",
            "of the journal of the catalogue cannot be read",
            "version",
        ),
        ("ja", "目録の変更記録のうち", "個の版"),
    ] {
        let out = world.run(["--lang", lang, "verify", "office.toml"]);
        let said = text(&out.stdout);
        assert_eq!(out.status.code(), Some(5), "{said}");
        assert!(said.contains(journal), "{said}");
        assert!(!said.contains(versions), "{said}");
    }
    // Of both, both are told.
    for object in world
        .objects_from(50_000, "a")
        .iter()
        .chain(&world.objects_from(50_000, "b"))
    {
        fs::remove_file(object).unwrap();
    }
    let out = world.run(["verify", "office.toml"]);
    let said = text(&out.stdout);
    assert!(
        said.contains("1 version cannot be read") && said.contains("of the journal"),
        "{said}"
    );
}

//! Servers that are away, damaged, or not the right ones.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use common::{World, noise, of_files, text};

#[test]
fn p4_any_one_server_may_be_away() {
    let world = World::new();
    let data = noise(300_000);
    world.write("a.bin", &data);
    world.ok(["put", "office.toml", "a.bin", "/"]);
    for server in ["a", "b", "c"] {
        world.away(server);
        let out = world.run(["cat", "office.toml", "/a.bin"]);
        assert!(out.status.success() && out.stdout == data, "{server}");
        let name = match server {
            "a" => "honcho",
            "b" => "shisho",
            _ => "bunko",
        };
        assert!(
            text(&out.stderr).contains(&format!("{name}: no answer")),
            "{}",
            text(&out.stderr)
        );
        let status = world.json(3, ["status", "--json", "office.toml"]);
        assert_eq!(status["spare"], 0);
        let stopped: Vec<_> = status["servers"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|server| server["state"] == "stopped")
            .collect();
        assert_eq!(stopped.len(), 1, "{status}");
        assert_eq!(
            (&stopped[0]["name"], &stopped[0]["reason"]),
            (&name.into(), &"no-answer".into())
        );
        let report = world.json(3, ["verify", "--json", "office.toml"]);
        assert_eq!(
            (
                &report["findings"][0]["server"],
                &report["findings"][0]["damage"]
            ),
            (&name.into(), &"no-answer".into())
        );
        world.back(server);
    }
    assert_eq!(
        world.json(0, ["status", "--json", "office.toml"])["spare"],
        1
    );
}

#[test]
fn too_few_servers_is_said_at_once() {
    let world = World::new();
    world.away("a");
    world.away("c");
    for args in [
        vec!["ls", "office.toml"],
        vec!["status", "office.toml"],
        vec!["mkdir", "office.toml", "/x"],
    ] {
        let said = world.ends(5, args);
        assert!(
            said.contains("2 servers are needed and 1 answered"),
            "{said}"
        );
        assert!(
            said.contains("honcho: no answer")
                && said.contains("bunko: no answer")
                && said.contains("Next: "),
            "{said}"
        );
    }
}

#[test]
fn a_save_with_a_server_away_is_degraded_and_says_so() {
    let world = World::new();
    world.away("b");
    world.write("a.txt", "text");
    let out = world.run(["put", "office.toml", "a.txt", "/"]);
    assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
    assert!(
        text(&out.stderr).contains("not every server has its share yet"),
        "{}",
        text(&out.stderr)
    );
    world.back("b");
    let status = world.json(3, ["status", "--json", "office.toml"]);
    assert_eq!(
        status["weak"]["named"],
        serde_json::json!([{ "path": "/a.txt", "spare": 0, "owed": [2] }])
    );
    let report = world.json(3, ["verify", "--json", "office.toml"]);
    assert_eq!(of_files(&report["findings"]).len(), 1, "{report}");
    // What it missed of the journal is named as such, and has no file's name.
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(status["owed_shares"], findings.len());
    for finding in findings {
        assert_eq!(
            (&finding["server"], &finding["owed"]),
            (&"shisho".into(), &true.into()),
            "{report}"
        );
    }
    for (lang, journal) in [
        ("en", "(the journal of the catalogue)"),
        ("ja", "（目録の変更記録）"),
    ] {
        let out = world.run(["--lang", lang, "verify", "office.toml"]);
        let said = text(&out.stdout);
        let named = |line: &str| line.starts_with("/a.txt  ") || line.starts_with(journal);
        let shares = said.lines().filter(|line| line.contains("  v")).count();
        assert_eq!(shares, findings.len(), "{said}");
        assert_eq!(said.lines().filter(|line| named(line)).count(), shares);
        assert!(said.contains(journal), "{said}");
    }
    assert_eq!(world.ok(["cat", "office.toml", "/a.txt"]), "text");
}

#[test]
fn p4_damage_is_named_by_server_file_and_kind() {
    let world = World::new();
    world.write("in/one.bin", noise(100_000));
    world.write("in/two.bin", noise(200_000));
    world.ok(["put", "office.toml", "in", "/in"]);
    assert_eq!(
        world.json(0, ["verify", "--deep", "--json", "office.toml"])["clean"],
        true
    );
    let objects = world.objects_from(100_000, "c");
    assert_eq!(objects.len(), 2);
    for object in &objects {
        fs::set_permissions(object, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let mut bytes = fs::read(&objects[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&objects[0], bytes).unwrap();
    fs::remove_file(&objects[1]).unwrap();
    let report = world.json(3, ["verify", "--deep", "--json", "office.toml"]);
    let mut found: Vec<(&str, &str)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            (
                finding["server"].as_str().unwrap(),
                finding["damage"].as_str().unwrap(),
            )
        })
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [("bunko", "corrupt"), ("bunko", "missing")],
        "{report}"
    );
    assert!(
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .all(|finding| finding["file"].as_str().unwrap().starts_with("/in/"))
    );
    let said = world.run(["verify", "--deep", "office.toml"]);
    let said = text(&said.stdout);
    assert!(
        said.contains("bunko: damaged")
            && said.contains("bunko: share missing")
            && said.contains("Next: "),
        "{said}"
    );
    world.ok(["get", "office.toml", "/in", "out"]);
    assert_eq!(world.read("out/one.bin"), world.read("in/one.bin"));
    assert_eq!(world.read("out/two.bin"), world.read("in/two.bin"));
}

#[test]
fn p10_two_damaged_of_three_is_an_error_and_never_wrong_bytes() {
    let world = World::new();
    world.write("a.bin", noise(100_000));
    world.ok(["put", "office.toml", "a.bin", "/"]);
    for server in ["a", "c"] {
        for object in world.objects(server) {
            fs::set_permissions(&object, fs::Permissions::from_mode(0o600)).unwrap();
            let mut bytes = fs::read(&object).unwrap();
            for byte in bytes.iter_mut().skip(5000).take(64) {
                *byte ^= 0x55;
            }
            fs::write(&object, bytes).unwrap();
        }
    }
    let out = world.run(["get", "office.toml", "/a.bin", "out.bin"]);
    assert_eq!(out.status.code(), Some(5), "{}", text(&out.stderr));
    let said = text(&out.stderr);
    assert!(
        said.contains("2 good shares are needed and 1 could be had"),
        "{said}"
    );
    assert!(
        said.contains("honcho: damaged") && said.contains("bunko: damaged"),
        "{said}"
    );
    assert!(!world.path("out.bin").exists());
    let report = world.json(5, ["verify", "--deep", "--json", "office.toml"]);
    let unreadable = of_files(&report["unreadable"]);
    assert_eq!(unreadable.len(), 1, "{report}");
    assert_eq!(
        (&unreadable[0]["file"], &unreadable[0]["good"]),
        (&"/a.bin".into(), &1.into())
    );
}

#[test]
fn p10_servers_of_another_vault_are_refused() {
    let world = World::new();
    world.ok(["init", "other.toml", "-k", "2", "x", "y", "z"]);
    let mine = text(&world.read("office.toml"));
    // All three places lead to the other vault's servers.
    let wrong = mine
        .replace("\"a\"", "\"x\"")
        .replace("\"b\"", "\"y\"")
        .replace("\"c\"", "\"z\"");
    assert_ne!(mine, wrong);
    world.write("office.toml", wrong);
    let said = world.ends(9, ["ls", "office.toml"]);
    assert!(
        said.contains("do not hold the key of this vault") && said.contains("not this vault's"),
        "{said}"
    );
    // One of them only: it takes no part, nothing is written to it, and everything works.
    world.write("office.toml", mine.replace("\"a\"", "\"x\""));
    world.write("f", "text");
    let out = world.run(["put", "office.toml", "f", "/"]);
    assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
    assert!(
        text(&out.stderr).contains("honcho: not this vault's"),
        "{}",
        text(&out.stderr)
    );
    assert!(world.objects("x").is_empty());
    assert_eq!(world.ok(["cat", "office.toml", "/f"]), "text");
}

#[test]
fn p10_vault_files_that_are_wrong_are_told_by_line() {
    let world = World::new();
    let good = text(&world.read("office.toml"));
    world.write(
        "office.toml",
        good.replace("durability = \"normal\"", "durability = \"sometimes\""),
    );
    let said = world.ends(9, ["ls", "office.toml"]);
    assert!(
        said.contains("office.toml, line ") && said.contains("durability is \"sometimes\""),
        "{said}"
    );
    world.write("office.toml", good.replace("format = 1", "format = 7"));
    let said = world.ends(9, ["ls", "office.toml"]);
    assert!(said.contains("newer"), "{said}");
    world.write("office.toml", noise(1000));
    world.ends(9, ["ls", "office.toml"]);
    world.write(
        "office.toml",
        good.replace("url = \"a\"", "url = \"sftp://user:hunter2@host/x\""),
    );
    let said = world.ends(9, ["ls", "office.toml"]);
    assert!(
        said.contains("password") && !said.contains("hunter2"),
        "{said}"
    );
}

#[test]
fn a_missing_or_foreign_catalogue_is_told() {
    let world = World::new();
    fs::rename(world.path("office.db"), world.path("kept.db")).unwrap();
    let said = world.ends(4, ["ls", "office.toml"]);
    assert!(said.contains("office.db is missing"), "{said}");
    assert!(
        !world.path("office.db").exists(),
        "no empty catalogue is made in its place"
    );
    world.ok(["init", "other.toml", "-k", "1", "x"]);
    fs::copy(world.path("other.db"), world.path("office.db")).unwrap();
    world.ends(9, ["ls", "office.toml"]);
    world.write("office.db", noise(10_000));
    world.ends(9, ["ls", "office.toml"]);
}

#[test]
fn places_are_tried_out_before_a_vault_is_trusted_to_them() {
    let world = World::new();
    world.write("full/file.txt", "of somebody else");
    let link = world.path("again");
    std::os::unix::fs::symlink(world.path("new"), &link).unwrap();
    std::fs::create_dir(world.path("new")).unwrap();
    let tested = world.json(
        1,
        [
            "server",
            "test",
            "--json",
            "fit=new",
            "taken=full",
            "--vault",
            "office.toml",
        ],
    );
    let of = |name: &str| {
        let all = tested.as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap().clone()
    };
    assert_eq!(of("fit")["fit"], true);
    assert_eq!(of("fit")["in_use"], false);
    assert_eq!(of("fit")["durable_sync"], true);
    assert!(of("fit")["free"].as_u64().unwrap() > 0);
    assert_eq!(of("taken")["fit"], false);
    assert!(of("taken")["fault"].as_str().unwrap().contains("file.txt"));
    assert_eq!(of("shisho")["in_use"], true);
    // Two ways to one place.
    let out = world.run(["server", "test", "one=new", "two=again"]);
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(3), "{said}");
    assert!(said.contains("the same place as two"), "{said}");
    // The servers of the vault hold what they held.
    world.write("a.txt", "text");
    world.ok(["put", "office.toml", "a.txt", "/"]);
    world.ok(["server", "test", "--vault", "office.toml"]);
    assert_eq!(world.ok(["cat", "office.toml", "/a.txt"]), "text");
    // The place that was tried out can be a server.
    world.ok(["server", "replace", "office.toml", "shisho", "new", "--yes"]);
    let out = world.run(["server", "test", "nobody=sftp://127.0.0.1:1/x"]);
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(
        said.contains("not fit") && said.contains("Next: "),
        "{said}"
    );
}

//! `warifu rebuild`: P7 through the program.

mod common;

use std::fs;

use common::{World, noise};

/// A little of everything, saved, moved and removed.
fn furnish(world: &World) {
    world.write("in/福祉部/申請.docx", noise(20_000));
    world.write("in/福祉部/空/.keep", b"");
    world.write("in/large.bin", noise(5 << 20));
    world.ok(["put", "office.toml", "in/福祉部", "in/large.bin", "/"]);
    world.write("note", b"first");
    world.ok(["put", "office.toml", "note", "/note"]);
    world.write("note", b"second");
    world.ok(["put", "office.toml", "note", "/note"]);
    world.ok(["mkdir", "office.toml", "/archive"]);
    world.ok(["mv", "office.toml", "/large.bin", "/archive/"]);
    world.ok(["put", "office.toml", "note", "/gone"]);
    world.ok(["rm", "office.toml", "/gone"]);
}

fn tree(world: &World, vault: &str) -> serde_json::Value {
    world.json(0, ["ls", vault, "-l", "-R", "--json"])
}

fn lose_the_catalogue(world: &World) {
    for file in ["office.db", "office.db-wal", "office.db-shm"] {
        let _gone = fs::remove_file(world.path(file));
    }
    assert!(!world.path("office.db").exists());
}

fn check(world: &World, vault: &str) {
    let _gone = fs::remove_dir_all(world.path("out"));
    world.ok(["get", vault, "/", "out"]);
    assert_eq!(world.read("out/archive/large.bin"), noise(5 << 20));
    assert_eq!(world.read("out/福祉部/申請.docx"), noise(20_000));
    assert_eq!(world.read("out/note"), b"second");
    assert!(!world.path("out/gone").exists());
    assert_eq!(world.ok(["cat", vault, "--version", "1", "/note"]), "first");
}

#[test]
fn p7_a_lost_catalogue_is_made_anew() {
    let world = World::new();
    furnish(&world);
    let before = tree(&world, "office.toml");
    let refused = world.ends(6, ["rebuild", "office.toml"]);
    assert!(
        refused.contains("office.db"),
        "nothing is overwritten: {refused}"
    );
    lose_the_catalogue(&world);
    let told = world.ends(4, ["ls", "office.toml"]);
    assert!(told.contains("warifu rebuild office.toml"), "{told}");

    let report = world.json(0, ["rebuild", "office.toml", "--json"]);
    assert_eq!(report["whole"], true, "{report}");
    assert_eq!(report["adopted_count"], 0, "{report}");
    assert_eq!(report["vault_file_is_new"], false);
    assert_eq!(tree(&world, "office.toml"), before);
    check(&world, "office.toml");
    world.ok(["verify", "office.toml", "--deep"]);

    // With a server away as well.
    lose_the_catalogue(&world);
    world.away("b");
    let told = world.run(["rebuild", "office.toml"]);
    assert_eq!(told.status.code(), Some(3), "something needs care");
    let (out, err) = (common::text(&told.stdout), common::text(&told.stderr));
    assert!(out.contains("office.db: 4 files, 4 folders"), "{out}");
    assert!(out.contains("Everything is in up to "), "{out}");
    assert!(err.contains("shisho"), "{err}");
    world.back("b");
    assert_eq!(tree(&world, "office.toml"), before);
    check(&world, "office.toml");
}

#[test]
fn p7_two_servers_alone_give_the_vault_back() {
    let world = World::new();
    furnish(&world);
    let before = tree(&world, "office.toml");
    lose_the_catalogue(&world);
    let refused = world.ends(6, ["rebuild", "office.toml", "a", "c"]);
    assert!(refused.contains("office.toml"), "{refused}");
    fs::remove_file(world.path("office.toml")).unwrap();
    fs::remove_dir_all(world.path("b")).unwrap();

    let few = world.ends(5, ["rebuild", "new.toml", "a"]);
    assert!(few.contains('2'), "{few}");
    assert!(!world.path("new.toml").exists() && !world.path("new.db").exists());
    let none = world.ends(4, ["rebuild", "new.toml"]);
    assert!(none.contains("new.toml"), "{none}");

    let report = world.json(0, ["rebuild", "new.toml", "first=a", "c", "--json"]);
    assert_eq!(report["whole"], true, "{report}");
    let names: Vec<_> = report["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| {
            (
                server["name"].as_str().unwrap(),
                server["given"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        names,
        [("first", true), ("shisho", false), ("server-2", true)],
        "the journal knows the name of the one that is lost"
    );
    let file = String::from_utf8(world.read("new.toml")).unwrap();
    assert!(file.contains("\"missing:\""), "{file}");
    assert_eq!(tree(&world, "new.toml"), before);
    check(&world, "new.toml");

    // Work goes on, and what is done now is in the next one.
    world.write("note", b"third");
    let owed = world.ends(3, ["put", "new.toml", "note", "/later"]);
    assert!(owed.contains("shisho"), "{owed}");
    let before = tree(&world, "new.toml");
    fs::remove_file(world.path("new.toml")).unwrap();
    // The file saved last has no share on the server that is lost.
    let owed = world.json(3, ["rebuild", "again.toml", "a", "c", "--json"]);
    assert_eq!(
        (&owed["whole"], &owed["owed_shares"]),
        (&true.into(), &1.into()),
        "{owed}"
    );
    assert_eq!(tree(&world, "again.toml"), before);
}

/// Half of a vault's servers with half of another's make no vault.
#[test]
fn p10_servers_of_two_vaults_are_refused() {
    let world = World::new();
    world.ok(["init", "other.toml", "-k", "2", "d", "e", "f"]);
    world.ends(5, ["rebuild", "mixed.toml", "a", "d"]);
    assert!(!world.path("mixed.toml").exists() && !world.path("mixed.db").exists());
}

/// What one more server would complete: the vault can be read, and changed only once somebody has decided.
#[test]
fn p7_a_rebuild_that_another_server_would_complete_waits_for_a_decision() {
    let world = World::new();
    furnish(&world);
    world.write("note", b"last");
    // It and the journal's last words are on two servers only.
    world.away("c");
    world.ends(3, ["put", "office.toml", "note", "/last"]);
    world.back("c");
    let before = tree(&world, "office.toml");

    lose_the_catalogue(&world);
    world.away("b");
    let told = world.json(3, ["rebuild", "office.toml", "--json"]);
    assert_eq!(
        (&told["whole"], &told["undecided"]),
        (&false.into(), &true.into()),
        "{told}"
    );
    assert_ne!(tree(&world, "office.toml"), before);
    check(&world, "office.toml");
    let refused = world.run(["put", "office.toml", "note", "/note"]);
    let error = common::text(&refused.stderr);
    assert!(!refused.status.success(), "{error}");
    assert!(
        error.contains("warifu rebuild office.toml --accept"),
        "{error}"
    );
    let status = world.json(3, ["status", "office.toml", "--json"]);
    let problems = status["problems"].as_array().unwrap();
    let of_rebuild = |problem: &serde_json::Value| problem["problem"] == "rebuild-undecided";
    assert!(problems.iter().any(of_rebuild), "{status}");

    // The server is back.
    world.back("b");
    fs::rename(world.path("office.db"), world.path("old.db")).unwrap();
    let told = world.json(3, ["rebuild", "office.toml", "--json"]);
    assert_eq!(
        (&told["whole"], &told["undecided"]),
        (&true.into(), &false.into()),
        "{told}"
    );
    assert_eq!(tree(&world, "office.toml"), before);
    let nothing = world.ok(["rebuild", "office.toml", "--accept"]);
    assert!(nothing.contains("nothing to decide"), "{nothing}");

    // It never comes back.
    lose_the_catalogue(&world);
    world.away("b");
    world.json(3, ["rebuild", "office.toml", "--json"]);
    world.ok(["rebuild", "office.toml", "--accept"]);
    world.ends(3, ["put", "office.toml", "note", "/note"]);
    assert_eq!(world.ok(["cat", "office.toml", "/note"]), "last");
}

/// One of the servers that are given shows a vault of its own, which it needs nobody for: neither does that take the place of the vault that has ways in, nor
/// is it in the way of its rebuild.
#[test]
fn p7_a_server_with_a_vault_of_its_own_is_left_out() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    furnish(&world);
    let pass = world.write("pass", "correct horse battery");
    fs::set_permissions(pass, fs::Permissions::from_mode(0o600)).unwrap();
    let add = ["way", "add", "office.toml", "passphrase", "--memory", "64"];
    world.ok(add
        .iter()
        .chain(&["--new-passphrase-file", "pass", "--yes"]));
    world.ok(["init", "own.toml", "-k", "1", "own=x"]);
    world.away("c");
    fs::rename(world.path("x"), world.path("c")).unwrap();
    let by = ["--passphrase-file", "pass"];
    let read = || world.ok(["cat", "office.toml", "/note"].iter().chain(&by));
    let rebuild = ["rebuild", "office.toml"];
    let servers = ["honcho=a", "shisho=b", "bunko=c"];
    for with_file in [true, false] {
        lose_the_catalogue(&world);
        let mut given: Vec<&str> = Vec::new();
        if !with_file {
            fs::remove_file(world.path("office.toml")).unwrap();
            given.extend(servers);
        }
        let asked = world.ends(9, rebuild.iter().chain(&given));
        assert!(asked.contains("way"), "{asked}");
        let out = world.run(rebuild.iter().chain(&given).chain(&by));
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(matches!(out.status.code(), Some(0 | 3)), "{said}");
        assert_eq!(read(), "second", "with the file: {with_file}");
    }
    // Of two, nobody can tell which is meant.
    lose_the_catalogue(&world);
    fs::remove_file(world.path("office.toml")).unwrap();
    let said = world.ends(9, rebuild.iter().chain(&servers[1..]).chain(&by));
    assert!(said.contains("different vaults"), "{said}");
    assert!(said.contains("shisho") && said.contains("bunko"), "{said}");
}

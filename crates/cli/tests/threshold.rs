//! `threshold` and `server add`: what they show, what they refuse, and what they do.

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{World, noise};

fn fill(world: &World) {
    for (file, len) in [("in/one", 100_000), ("in/two", 70_000), ("in/three", 9)] {
        world.write(file, noise(len));
    }
    world.ok(["put", "office.toml", "in", "/in"]);
}

fn text(world: &World, file: &str) -> String {
    String::from_utf8(world.read(file)).unwrap()
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
fn what_it_is_and_what_it_could_be() {
    let world = World::new();
    let said = world.ok(["threshold", "office.toml"]);
    for part in [
        "The threshold is 2 of 3 servers. One server stolen: nothing leaks. One server down: work goes on.",
        "strong: 3 of 5. 2 servers stolen: nothing leaks. 2 servers down: work goes on.",
        "threshold office.toml -k K -n N",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = world.ok(["--lang", "ja", "threshold", "office.toml"]);
    assert!(
        said.contains("しきい値は 3 台のうち 2 台です。1 台盗まれても、何も漏れません。1 台止まっても、仕事は続きます。"),
        "{said}"
    );
    let json = world.json(0, ["threshold", "office.toml", "--json"]);
    assert_eq!(json["from"]["may_be_away"], 1);
    assert!(json["to"].is_null());
}

#[test]
fn p1_a_change_is_shown_and_then_done() {
    let world = World::new();
    fill(&world);
    let change = [
        "threshold",
        "office.toml",
        "--preset",
        "strong",
        "--server",
        "d",
        "--server",
    ];
    let change = [&change[..], &["kencho=e"]].concat();
    let before = world.read("office.toml");
    let said = world.ok(change.clone());
    for part in [
        "From 2 of 3 servers to 3 of 5, while files are in use.",
        "4. server-4  d  (new)",
        "5. kencho  e  (new)",
        "on the same disk or machine as",
        "To be shared anew: 3 files",
        "This takes at least about",
        "Before: One server stolen: nothing leaks.",
        "Not before the last old share is gone",
        "Afterwards: 2 servers stolen: nothing leaks. 2 servers down: work goes on.",
        "with the same command and --yes",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(before, world.read("office.toml"), "a plan changes nothing");
    assert!(!world.path("d").exists() && !world.path("e").exists());
    let json = world.json(0, [&change[..], &["--json"]].concat());
    assert_eq!(json["applied"], false);
    assert_eq!(json["added"][1]["name"], "kencho");

    let said = world.ok([&change[..], &["--yes"]].concat());
    assert!(
        said.contains("The threshold is 3 of 5 now, for everything"),
        "{said}"
    );
    assert_reads(&world);
    let clean = world.json(0, ["verify", "--deep", "--json", "office.toml"]);
    assert_eq!(clean["clean"], true);
    let status = world.json(0, ["status", "--json", "office.toml"]);
    assert_eq!((&status["k"], &status["n"]), (&3.into(), &5.into()));
    assert_eq!(status["spare"], 2);
    assert!(status["generations"]["becoming"].is_null());
    let said = world.ends(6, [&change[..], &["--yes"]].concat());
    assert!(said.contains("the threshold is 3 of 5 already"), "{said}");
    for server in ["a", "d"] {
        world.away(server);
    }
    assert_reads(&world);
    world.away("e");
    let said = world.ends(5, ["get", "office.toml", "/in", "out2"]);
    assert!(said.contains("3 servers are needed"), "{said}");
    for server in ["a", "d", "e"] {
        world.back(server);
    }

    // And back to where it was, with the servers that came last.
    let said = world.ok(["threshold", "office.toml", "-k", "2", "-n", "3", "--yes"]);
    for part in [
        "kencho goes",
        "from the first file on",
        "The threshold is 2 of 3 now",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_reads(&world);
    assert_eq!(world.objects("d"), world.objects("e"));
    assert!(world.objects("d").is_empty(), "{:?}", world.objects("d"));
    assert!(!text(&world, "office.toml").contains("kencho"));
}

#[test]
fn one_server_more() {
    let world = World::new();
    fill(&world);
    let said = world.ok(["server", "add", "office.toml", "kencho=d"]);
    for part in [
        "From 2 of 3 servers to 2 of 4",
        "before and after",
        "2 servers down",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let json = world.json(
        0,
        [
            "server",
            "add",
            "office.toml",
            "kencho=d",
            "--yes",
            "--json",
        ],
    );
    assert_eq!(
        (&json["applied"], &json["ended"]),
        (&true.into(), &true.into())
    );
    for server in ["a", "c"] {
        world.away(server);
    }
    assert_reads(&world);
}

#[test]
fn what_cannot_be_a_new_server() {
    let world = World::new();
    fill(&world);
    // Another name for a server that there is.
    symlink(world.path("a"), world.path("link")).unwrap();
    let said = world.ends(6, ["server", "add", "office.toml", "new=link"]);
    assert!(said.contains("new is the same place as honcho"), "{said}");
    let said = world.ends(6, ["server", "add", "office.toml", "new=b/../b", "--yes"]);
    assert!(said.contains("new is the same place as shisho"), "{said}");
    // Two new names for one place that is not there yet.
    let two = [
        "threshold",
        "office.toml",
        "-k",
        "2",
        "-n",
        "5",
        "--server",
        "x=d",
        "--server",
    ];
    let said = world.ends(6, [&two[..], &["y=./d", "--yes"]].concat());
    assert!(said.contains("y is the same place as x"), "{said}");
    // Of another vault.
    world.ok(["init", "other.toml", "--threshold", "2", "p", "q", "r"]);
    let said = world.ends(6, ["server", "add", "office.toml", "new=p", "--yes"]);
    assert!(
        said.contains("the place for new already belongs to a vault"),
        "{said}"
    );
    // A name that there is, and too few or too many.
    let said = world.ends(2, ["server", "add", "office.toml", "honcho=d"]);
    assert!(said.contains("two servers are called"), "{said}");
    let said = world.ends(
        2,
        [
            "threshold",
            "office.toml",
            "-k",
            "2",
            "-n",
            "5",
            "--server",
            "d",
        ],
    );
    assert!(
        said.contains("2 new servers are needed, and 1 were named"),
        "{said}"
    );
    let said = world.ends(2, ["threshold", "office.toml", "--server", "d"]);
    assert!(said.contains("no threshold"), "{said}");
    let said = world.ends(2, ["threshold", "office.toml", "--preset", "best"]);
    assert!(said.contains("standard, available"), "{said}");
    assert!(!text(&world, "office.toml").contains("becoming"));
    assert_reads(&world);
}

#[test]
fn p1_a_server_that_is_away_is_named_until_it_has_removed_what_it_has() {
    let world = World::new();
    fill(&world);
    world.away("b");
    let change = [
        "threshold",
        "office.toml",
        "-k",
        "3",
        "-n",
        "5",
        "--server",
        "d",
    ];
    let change = [&change[..], &["--server", "e", "--yes"]].concat();
    let out = world.run(change);
    assert_eq!(out.status.code(), Some(3));
    let said = String::from_utf8(out.stdout).unwrap();
    for part in [
        "being changed to 3 of 5 and is not that yet",
        "shisho: may have",
        "threshold office.toml --yes",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let status = world.json(3, ["status", "--json", "office.toml"]);
    assert_eq!(status["generations"]["becoming"]["in_force"], true);
    let problems = status["problems"].to_string();
    assert!(problems.contains("threshold-unfinished"), "{problems}");
    assert_reads(&world);
    let said = world.ends(6, ["threshold", "office.toml", "-k", "4", "-n", "5"]);
    assert!(said.contains("being changed to 3 of 5 already"), "{said}");
    world.back("b");
    let said = world.ok(["threshold", "office.toml", "--yes"]);
    assert!(said.contains("The threshold is 3 of 5 now"), "{said}");
    let clean = world.run(["verify", "--repair", "--yes", "office.toml"]);
    assert!([Some(0), Some(11)].contains(&clean.status.code()));
    assert_reads(&world);
    // An old copy of the vault file says why it opens nothing.
    let old = text(&world, "office.toml");
    let old = old.replace("k = 3", "k = 2").replace("n = 5", "n = 3");
    let at = old.match_indices("[[server]]").nth(3).unwrap().0;
    world.write("old.toml", &old[..at]);
    let said = world.ends(9, ["ls", "old.toml"]);
    assert!(
        said.contains("it is of 3 of 5, and the vault file says something else"),
        "{said}"
    );
}

#[test]
fn p1_while_fewer_servers_will_be_needed_the_fewer_are_told() {
    let world = World::new();
    fill(&world);
    let more = ["threshold", "office.toml", "-k", "3", "-n", "5", "--yes"];
    world.ok([&more[..], &["--server", "d", "--server", "e"]].concat());
    let said = world.ok(["status", "office.toml"]);
    assert!(said.contains("3 of 5 servers are needed"), "{said}");
    world.away("e");
    let fewer = ["threshold", "office.toml", "-k", "2", "-n", "3", "--yes"];
    let out = world.run(fewer);
    assert_eq!(out.status.code(), Some(3));
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(said.contains("what 2 servers hold"), "{said}");
    let status = world.json(3, ["status", "--json", "office.toml"]);
    assert_eq!((&status["k"], &status["n"]), (&2.into(), &5.into()));
    let out = world.run(["status", "office.toml"]);
    let said = String::from_utf8(out.stdout).unwrap();
    for part in ["2 of 5 servers are needed", "what 2 servers hold"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    world.back("e");
    let said = world.ok(["threshold", "office.toml", "--yes"]);
    assert!(said.contains("The threshold is 2 of 3 now"), "{said}");
    assert_reads(&world);
}

#[test]
fn a_threshold_is_not_true_while_a_server_keeps_what_is_of_before() {
    let world = World::new();
    fill(&world);
    let json = world.json(0, ["threshold", "office.toml", "--json"]);
    assert_eq!(json["ended"], true);
    let more = ["threshold", "office.toml", "-k", "2", "-n", "4", "--yes"];
    world.ok([&more[..], &["--server", "d"]].concat());
    world.away("b");
    let out = world.run(["refresh", "office.toml", "--yes"]);
    assert_eq!(out.status.code(), Some(3));
    let json = world.json(0, ["threshold", "office.toml", "--json"]);
    assert_eq!(json["ended"], false, "{json}");
    assert_eq!(json["generations"]["left"], 0);
}

#[test]
fn p1_a_folder_asks_for_more_and_is_given_it() {
    let world = World::new();
    fill(&world);
    world.ok(["mkdir", "office.toml", "/人事"]);
    world.ok(["put", "office.toml", "in/one", "/人事/one"]);
    let folder = ["threshold", "office.toml", "--folder", "/人事"];
    let said = world.ok(folder);
    for part in [
        "/人事: what is saved here needs 2 of 3 servers",
        "It asks for nothing of its own",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let change = [&folder[..], &["-k", "3", "-n", "3"]].concat();
    let said = world.ok(change.clone());
    for part in [
        "/人事 and all below it: from 2 of 3 servers to 3 of 3",
        "one extent, with all versions",
        "what is saved from now on needs 3 servers",
        "The names of files stay as secret as the vault makes them",
        "with the same command and --yes",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let status = world.json(0, ["status", "--json", "office.toml"]);
    assert_eq!(status["generations"]["unlike"], 0, "a plan changes nothing");

    let said = world.ok([&change[..], &["--yes"]].concat());
    assert!(
        said.contains("/人事 and all below it have 3 of 3 servers now"),
        "{said}"
    );
    let said = world.ok([&change[..], &["--yes"]].concat());
    assert!(said.contains("0 extents have new shares"), "{said}");
    let said = world.ok(["threshold", "office.toml"]);
    assert!(
        said.contains("/人事 and all below it: 3 of 3 servers"),
        "{said}"
    );
    let json = world.json(0, ["threshold", "office.toml", "--json"]);
    assert_eq!(json["folders"][0]["path"], "/人事");
    assert_eq!(json["folders"][0]["asks"]["may_be_stolen"], 2);
    world.away("b");
    assert_reads(&world);
    let status = world.json(5, ["status", "--json", "office.toml"]);
    let of_it = &status["folder_thresholds"][0];
    assert_eq!(
        (&of_it["files"], &of_it["spare"]),
        (&1.into(), &(-1).into())
    );
    let out = world.run(["status", "office.toml"]);
    let said = String::from_utf8(out.stdout).unwrap();
    for part in [
        "But for the folders below",
        "3 of 3 servers: out of reach now",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = world.ends(5, ["get", "office.toml", "/人事/one", "none"]);
    assert!(said.contains("3"), "{said}");
    world.back("b");
    world.ok(["get", "office.toml", "/人事/one", "again"]);
    assert_eq!(world.read("again"), world.read("in/one"));

    // What is moved there is named, and done when somebody says so.
    world.ok(["mv", "office.toml", "/in/two", "/人事/two"]);
    let status = world.json(3, ["status", "--json", "office.toml"]);
    assert_eq!(status["generations"]["unlike"], 1);
    assert_eq!(status["problems"][0]["problem"], "folders-unlike");
    let out = world.run(["status", "office.toml"]);
    assert_eq!(out.status.code(), Some(3));
    let said = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
    for part in [
        "One extent is not shared as its folder asks",
        "--folders --yes",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = world.ok(["threshold", "office.toml", "--folders", "--yes"]);
    assert!(
        said.contains("Everything is shared as its folder asks"),
        "{said}"
    );
    world.ok(["status", "office.toml"]);

    let said = world.ok([&folder[..], &["--inherit", "--yes"]].concat());
    assert!(
        said.contains("/人事 and all below it have 2 of 3 servers now"),
        "{said}"
    );
    world.away("b");
    world.ok(["get", "office.toml", "/人事/two", "two"]);
    assert_eq!(world.read("two"), world.read("in/two"));
}

#[test]
fn p1_a_folder_is_refused_what_its_vault_cannot_give() {
    let world = World::new();
    world.ok(["mkdir", "office.toml", "/a"]);
    let mut folder = vec!["threshold", "office.toml", "--folder", "/a"];
    for (k, n) in [("1", "3"), ("3", "4")] {
        let change = [&folder[..], &["-k", k, "-n", n, "--yes"]].concat();
        let said = world.ends(2, change);
        assert!(said.contains("in a vault of 2 of 3"), "{said}");
    }
    folder[3] = "/";
    let said = world.ends(2, folder.clone());
    assert!(said.contains("is the vault's"), "{said}");
    folder[3] = "/nowhere";
    world.ends(4, folder.clone());
    folder[3] = "/a";
    world.ok([&folder[..], &["-k", "3", "-n", "3", "--yes"]].concat());
    let said = world.ends(2, ["threshold", "office.toml", "-k", "2", "-n", "2"]);
    assert!(
        said.contains("/a asks for 3 servers, and there would be 2"),
        "{said}"
    );
    // One that was removed keeps nobody from anything; brought back, it asks for what it asked.
    world.write("f", noise(5000));
    world.ok(["put", "office.toml", "f", "/a/f"]);
    world.ok(["rm", "-r", "office.toml", "/a"]);
    let said = world.ok(["threshold", "office.toml", "-k", "2", "-n", "2"]);
    assert!(said.contains("a folder that was removed"), "{said}");
    world.ok(["trash", "restore", "office.toml", "/a/f"]);
    let said = world.ok(["threshold", "office.toml", "--folder", "/a"]);
    assert!(said.contains("needs 3 of 3 servers"), "{said}");
    let status = world.json(0, ["status", "--json", "office.toml"]);
    assert_eq!(status["generations"]["unlike"], 0);
}

//! Making a vault.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use common::{World, text};

#[test]
fn a_new_vault_is_private_and_said_in_json() {
    let world = World::empty();
    let made = world.json(
        0,
        [
            "init",
            "--json",
            "office.toml",
            "--threshold",
            "2",
            "honcho=a",
            "b",
            "./c=d",
        ],
    );
    assert_eq!((&made["k"], &made["n"]), (&2.into(), &3.into()));
    let names: Vec<&str> = made["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| server["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["honcho", "server-2", "server-3"]);
    assert!(world.path("c=d").is_dir(), "a path may have a = in it");
    for file in ["office.toml", "office.db"] {
        assert_eq!(
            fs::metadata(world.path(file)).unwrap().permissions().mode() & 0o777,
            0o600,
            "{file}"
        );
    }
    // Places below the vault file's folder are relative: all of it can be moved together.
    fs::create_dir(world.path("moved")).unwrap();
    for name in ["office.toml", "office.db", "a", "b", "c=d"] {
        fs::rename(world.path(name), world.path("moved").join(name)).unwrap();
    }
    world.ok(["ls", "moved/office.toml"]);
}

#[test]
fn nothing_that_was_there_is_touched() {
    let world = World::new();
    let before = world.read("office.toml");
    let said = world.ends(6, ["init", "office.toml", "-k", "2", "x", "y"]);
    assert!(said.contains("office.toml exists already"), "{said}");
    assert_eq!(world.read("office.toml"), before);
    assert!(!world.path("x").exists());
    // Servers in use, and folders with something in them.
    world.write("full/letter.docx", "x");
    let said = world.ends(6, ["init", "new.toml", "-k", "1", "full", "x"]);
    assert!(
        said.contains("letter.docx") && said.contains("Next: "),
        "{said}"
    );
    world.write("f", "1");
    world.ok(["put", "office.toml", "f", "/"]);
    world.ends(6, ["init", "new.toml", "-k", "1", "x", "a"]);
    assert!(!world.path("new.toml").exists() && !world.path("new.db").exists());
    assert_eq!(world.ok(["cat", "office.toml", "/f"]), "1");
    // What failed can be done again right away.
    world.ok(["init", "new.toml", "-k", "1", "x", "y"]);
}

#[test]
fn one_folder_is_not_two_servers() {
    let world = World::empty();
    fs::create_dir(world.path("a")).unwrap();
    symlink("a", world.path("b")).unwrap();
    for servers in [
        ["a", "b", "c"],
        ["a", "./a", "c"],
        ["a", "a/inner", "c"],
        ["a/inner", "a", "c"],
    ] {
        let out = world.run([
            "init",
            "office.toml",
            "-k",
            "2",
            servers[0],
            servers[1],
            servers[2],
        ]);
        assert!(!out.status.success(), "{servers:?}");
        assert!(!world.path("office.toml").exists(), "{}", text(&out.stderr));
        fs::remove_dir_all(world.path("a")).unwrap();
        fs::create_dir(world.path("a")).unwrap();
    }
}

#[test]
fn impossible_wishes_are_refused_with_a_next_step() {
    let world = World::empty();
    for (args, expected) in [
        (vec!["-k", "3", "a", "b"], "3 of 2"),
        (
            vec!["-k", "2", "a", "sftp://me:hunter2@host/b"],
            "the URL holds a password",
        ),
        (
            vec![
                "-k",
                "2",
                "a",
                "b=sftp://host/b",
                "-o",
                "b.password=hunter2",
            ],
            "must say where the secret is",
        ),
        (
            vec!["-k", "2", "a", "b=b", "-o", "b.key=agent"],
            "key means nothing to a server of the kind folder",
        ),
        (
            vec!["-k", "2", "a", "b=sftp://host/b", "-o", "c.key=agent"],
            "no server called",
        ),
        (vec!["-k", "2", "n=a", "n=b"], "two servers are called"),
        (vec!["-k", "1", "nowhere/deep/a"], "there is no folder"),
    ] {
        let out = world.run(["init", "office.toml"].into_iter().chain(args));
        let said = text(&out.stderr);
        assert!(
            !out.status.success() && said.contains(expected) && said.contains("Next: "),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
        assert!(!world.path("office.toml").exists() && !world.path("office.db").exists());
    }
}

#[test]
fn risky_thresholds_are_pointed_out() {
    let world = World::empty();
    let out = world.run(["init", "all.toml", "-k", "2", "a", "b"]);
    assert!(
        out.status.success() && text(&out.stderr).contains("no server may be lost"),
        "{}",
        text(&out.stderr)
    );
    let out = world.run(["init", "one.toml", "-k", "1", "c", "d"]);
    assert!(
        out.status.success() && text(&out.stderr).contains("each server alone"),
        "{}",
        text(&out.stderr)
    );
}

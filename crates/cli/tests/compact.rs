//! A vault of the scheme compact, through the program.

mod common;

use std::fs;

use common::{World, can_mount, noise, text};

fn world() -> World {
    let world = World::empty();
    let out = world.run([
        "init",
        "office.toml",
        "-k",
        "2",
        "--scheme",
        "compact",
        "honcho=a",
        "shisho=b",
        "bunko=c",
    ]);
    let said = text(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert!(
        said.contains("scheme compact") && said.contains("1/2") && said.contains("cipher"),
        "what is promised and what not is said: {said}"
    );
    world
}

fn size_on(world: &World, server: &str) -> u64 {
    let objects = world.objects(server);
    assert!(!objects.is_empty());
    objects
        .iter()
        .map(|object| fs::metadata(object).unwrap().len())
        .sum()
}

#[test]
fn p2_p4_a_compact_vault_keeps_half_on_each_of_three_servers_and_loses_nothing() {
    let world = world();
    let file = String::from_utf8(world.read("office.toml")).unwrap();
    assert!(file.contains("\nscheme = \"compact\"\n"), "{file}");
    let data = noise(6_000_000);
    world.write("表.xlsx", &data);
    world.ok(["put", "office.toml", "表.xlsx", "/"]);
    for server in ["a", "b", "c"] {
        let size = size_on(&world, server);
        assert!((3_000_000..3_200_000).contains(&size), "{server}: {size}");
    }
    for server in ["a", "b", "c"] {
        world.away(server);
        let out = world.run(["cat", "office.toml", "/表.xlsx"]);
        assert!(out.status.success() && out.stdout == data, "{server}");
        world.back(server);
    }
    let status = world.json(0, ["status", "--json", "office.toml"]);
    assert_eq!(
        (&status["scheme"], &status["k"]),
        (&"compact".into(), &2.into())
    );
    assert!(
        world
            .ok(["status", "office.toml"])
            .contains("scheme compact")
    );
    let japanese = world.ok(["--lang", "ja", "status", "office.toml"]);
    assert!(
        japanese.contains("compact") && japanese.contains("2 分の 1"),
        "{japanese}"
    );
    assert!(
        world
            .ok(["verify", "--deep", "office.toml"])
            .contains("honcho")
    );

    // A bad share is named, and nobody is given a wrong byte.
    let bad = &world.objects_from(1_000_000, "b")[0];
    let mut bytes = fs::read(bad).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let read_only = fs::metadata(bad).unwrap().permissions();
    fs::remove_file(bad).unwrap();
    fs::write(bad, bytes).unwrap();
    fs::set_permissions(bad, read_only).unwrap();
    let report = world.json(3, ["verify", "--deep", "--json", "office.toml"]);
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(
        (
            &findings[0]["server"],
            &findings[0]["damage"],
            &findings[0]["file"]
        ),
        (&"shisho".into(), &"corrupt".into(), &"/表.xlsx".into())
    );
    let out = world.run(["cat", "office.toml", "/表.xlsx"]);
    assert!(out.status.success() && out.stdout == data);
}

#[test]
fn p2_the_scheme_can_be_changed_in_the_vault_file() {
    let world = world();
    let (old, new) = (noise(500_000), noise(400_000));
    world.write("old", &old);
    world.write("new", &new);
    world.ok(["put", "office.toml", "old", "/"]);
    let before = size_on(&world, "a");
    let file = String::from_utf8(world.read("office.toml")).unwrap();
    let changed = file.replace("scheme = \"compact\"", "scheme = \"shamir\"");
    world.write("office.toml", changed);
    world.ok(["put", "office.toml", "new", "/"]);
    let added = size_on(&world, "a") - before;
    assert!(
        (400_000..420_000).contains(&added),
        "a share as large as the file: {added}"
    );
    for gone in ["a", "b", "c"] {
        world.away(gone);
        for (file, bytes) in [("/old", &old), ("/new", &new)] {
            let out = world.run(["cat", "office.toml", file]);
            assert!(
                out.status.success() && out.stdout == *bytes,
                "{file} without {gone}"
            );
        }
        world.back(gone);
    }
    world.ok(["verify", "--deep", "office.toml"]);
    assert_eq!(
        world.json(0, ["status", "--json", "office.toml"])["scheme"],
        "shamir"
    );
    let wrong = file.replace("\"compact\"", "\"small\"");
    world.write("office.toml", wrong);
    let said = world.ends(9, ["ls", "office.toml"]);
    assert!(
        said.contains("scheme") && said.contains("compact"),
        "{said}"
    );
}

#[test]
fn p2_a_compact_vault_is_a_drive() {
    if !can_mount() {
        return;
    }
    let world = world();
    fs::create_dir(world.path("drive")).unwrap();
    world.ok(["mount", "office.toml", "drive"]);
    let data = noise(5_000_000);
    world.write("drive/表/a.xlsx", &data);
    let read = world.read("drive/表/a.xlsx");
    let room = rustix::fs::statvfs(world.path("drive"));
    let disk = rustix::fs::statvfs(world.path("a"));
    world.ok(["umount", "drive"]);
    assert!(read == data);
    let out = world.run(["cat", "office.toml", "/表/a.xlsx"]);
    assert!(out.status.success() && out.stdout == data);
    let (room, disk) = (room.unwrap(), disk.unwrap());
    let (room, disk) = (room.f_blocks * room.f_frsize, disk.f_blocks * disk.f_frsize);
    // As much again as a server has, since each keeps the half.
    assert!(room.abs_diff(2 * disk) < disk / 100, "{room} of {disk}");
}

#[test]
fn an_unknown_scheme_is_refused() {
    let world = World::empty();
    let said = world.ends(
        2,
        ["init", "office.toml", "-k", "1", "--scheme", "raid", "a"],
    );
    assert!(said.contains("raid"), "{said}");
    assert!(!world.path("office.toml").exists());
}

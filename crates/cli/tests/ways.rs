//! Ways in, as an administrator has them: passphrases and paper shares (P3).

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use common::{World, text};

const V: &str = "office.toml";

fn secret(world: &World, name: &str, contents: &str) {
    let path = world.write(name, contents);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// What it said on both streams; the exit code must be this.
#[track_caller]
fn ends(out: &Output, code: i32) -> String {
    let said = format!("{}\n{}", text(&out.stdout), text(&out.stderr));
    assert_eq!(out.status.code(), Some(code), "{said}");
    said
}

fn with_passphrase(world: &World) {
    secret(world, "pass", "合言葉は四つ辻\n");
    world.ok([
        "way",
        "add",
        V,
        "passphrase",
        "--name",
        "soumu",
        "--new-passphrase-file",
        "pass",
        "--memory",
        "64",
        "--yes",
    ]);
}

/// The codes of the sheets that were printed.
fn codes(printed: &str) -> Vec<String> {
    let lines = printed.lines().map(str::trim);
    lines
        .filter(|line| line.starts_with("WARIFU1:"))
        .map(str::to_owned)
        .collect()
}

/// The words of the sheets that were printed, a sheet each.
fn words(printed: &str) -> Vec<Vec<String>> {
    let words: Vec<String> = printed
        .lines()
        .filter_map(|line| {
            let (number, word) = line.trim().split_once(". ")?;
            number.parse::<u8>().ok()?;
            Some(word.to_owned())
        })
        .collect();
    words.chunks(18).map(<[String]>::to_vec).collect()
}

#[test]
fn p3_a_vault_with_a_passphrase_opens_with_it_and_says_what_is_needed_without() {
    let world = World::new();
    world.write("minutes.txt", "minutes");
    world.ok(["put", V, "minutes.txt", "/"]);
    // Without --yes, and with nobody to be asked, nothing is changed.
    secret(&world, "pass", "合言葉は四つ辻\n");
    let plan = [
        "way",
        "add",
        V,
        "passphrase",
        "--new-passphrase-file",
        "pass",
    ];
    let said = ends(&world.run(plan), 3);
    assert!(
        said.contains("--yes") && said.contains("key for ever"),
        "{said}"
    );
    assert_eq!(world.ok(["cat", V, "/minutes.txt"]), "minutes");

    with_passphrase(&world);
    let said = ends(&world.run(["cat", V, "/minutes.txt"]), 9);
    assert!(
        said.contains("soumu: a passphrase") && said.contains("--passphrase-file"),
        "{said}"
    );
    assert_eq!(
        world.ok(["cat", V, "/minutes.txt", "--passphrase-file", "pass"]),
        "minutes"
    );
    secret(&world, "wrong", "合言葉は三つ辻\n");
    let said = ends(&world.run(["ls", V, "--passphrase-file", "wrong"]), 9);
    assert!(
        said.contains("The passphrase is wrong") && said.contains("way recover"),
        "{said}"
    );
    let open = world.path("open");
    fs::write(&open, "合言葉は四つ辻").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let said = ends(&world.run(["ls", V, "--passphrase-file", "open"]), 9);
    assert!(said.contains("chmod 600"), "{said}");

    // A reference in the vault file, for what is mounted while nobody is there.
    let file = world.read(V);
    let file = text(&file).replace(
        "# passphrase = \"file:office.passphrase\"",
        "passphrase = \"file:pass\"",
    );
    world.write(V, file);
    assert_eq!(world.ok(["cat", V, "/minutes.txt"]), "minutes");
    // The catalogue is lost: it is rebuilt by the same way.
    for file in ["office.db", "office.db-wal", "office.db-shm"] {
        let _gone = fs::remove_file(world.path(file));
    }
    world.ok(["rebuild", V]);
    assert_eq!(world.ok(["cat", V, "/minutes.txt"]), "minutes");

    let listed: serde_json::Value =
        serde_json::from_str(&world.ok(["way", "list", V, "--json"])).unwrap();
    assert_eq!(listed["open"], false);
    assert_eq!(listed["ways"][0]["name"], "soumu");
    assert_eq!(listed["ways"][0]["kind"], "passphrase");
    // In Japanese too.
    let out = world.run(["--lang", "ja", "way", "list", V]);
    assert!(ends(&out, 0).contains("パスフレーズ"));
}

#[test]
fn p3_three_of_five_paper_shares_recover_a_vault_whose_passphrase_is_lost() {
    let world = World::new();
    with_passphrase(&world);
    let by = ["--passphrase-file", "pass"];
    let add = [
        "way",
        "add",
        V,
        "custodians",
        "--name",
        "sanyaku",
        "--words",
        "ja",
        "--yes",
    ];
    let printed = world.ok(add.iter().chain(&by));
    let (codes, words) = (codes(&printed), words(&printed));
    assert_eq!((codes.len(), words.len()), (5, 5));
    for (number, words) in words.iter().enumerate() {
        assert_eq!(words.len(), 18);
        world.write(format!("sheet-{number}"), words.join("\n"));
        world.write(format!("code-{number}"), &codes[number]);
    }
    // Two give nothing, and say so.
    let two = ["ls", V, "--share", "sheet-0", "--share", "code-3"];
    let said = ends(&world.run(two), 5);
    assert!(said.contains("3 paper shares are needed, and 2"), "{said}");
    let twice = [
        "ls", V, "--share", "sheet-0", "--share", "code-3", "--share", "code-0",
    ];
    ends(&world.run(twice), 5);
    // A mistyped word is named.
    let mut mistyped = words[1].clone();
    mistyped[6] = words[2][12].clone();
    if mistyped[6] == words[1][6] {
        mistyped[6] = words[2][13].clone();
    }
    world.write("mistyped", mistyped.join(" "));
    let three = [
        "ls", V, "--share", "sheet-0", "--share", "mistyped", "--share", "code-3",
    ];
    let said = ends(&world.run(three), 9);
    assert!(
        said.contains("Word 7") && said.contains(&words[1][6]),
        "{said}"
    );
    // Three do: the passphrase is lost, and gets a new one.
    secret(&world, "new", "あたらしい合言葉\n");
    world.ok([
        "way",
        "recover",
        V,
        "--share",
        "sheet-4",
        "--share",
        "sheet-1",
        "--share",
        "code-3",
        "--new-passphrase-file",
        "new",
        "--memory",
        "64",
    ]);
    ends(&world.run(["ls", V, "--passphrase-file", "pass"]), 9);
    world.ok(["ls", V, "--passphrase-file", "new"]);
    world.ok([
        "ls", V, "--share", "code-0", "--share", "code-1", "--share", "code-2",
    ]);

    // New sheets for the same way: the old ones are of a set that is none any more.
    let rotate = [
        "way",
        "rotate",
        V,
        "sanyaku",
        "--needed",
        "2",
        "--sheets",
        "3",
        "--pdf",
        ".",
        "--json",
        "--yes",
        "--passphrase-file",
        "new",
    ];
    let done: serde_json::Value = serde_json::from_str(&world.ok(rotate)).unwrap();
    assert_eq!(done["files"].as_array().unwrap().len(), 3);
    let pdf = world.path("sanyaku-1-of-3.pdf");
    assert!(fs::read(&pdf).unwrap().starts_with(b"%PDF"));
    assert_eq!(
        fs::metadata(&pdf).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let old = [
        "ls", V, "--share", "code-0", "--share", "code-1", "--share", "code-2",
    ];
    let said = ends(&world.run(old), 9);
    assert!(said.contains("no longer"), "{said}");
}

#[test]
fn p3_a_way_that_was_removed_opens_no_more_and_the_last_one_stays_until_somebody_says_none() {
    let world = World::new();
    with_passphrase(&world);
    secret(&world, "second", "もうひとつの合言葉\n");
    world.ok([
        "way",
        "add",
        V,
        "passphrase",
        "--name",
        "second",
        "--new-passphrase-file",
        "second",
        "--memory",
        "64",
        "--yes",
        "--passphrase-file",
        "pass",
    ]);
    world.ok(["ls", V, "--passphrase-file", "second"]);
    world.ok([
        "way",
        "remove",
        V,
        "soumu",
        "--yes",
        "--passphrase-file",
        "second",
    ]);
    ends(&world.run(["ls", V, "--passphrase-file", "pass"]), 9);
    let last = [
        "way",
        "remove",
        V,
        "second",
        "--yes",
        "--passphrase-file",
        "second",
    ];
    let said = ends(&world.run(last), 1);
    assert!(said.contains("--to-none"), "{said}");
    let none = [
        "way",
        "remove",
        V,
        "nobody",
        "--yes",
        "--passphrase-file",
        "second",
    ];
    ends(&world.run(none), 4);
    world.ok(["way", "rotate", V, "--yes", "--passphrase-file", "second"]);
    world.ok(["ls", V, "--passphrase-file", "second"]);
    world.ok([
        "way",
        "remove",
        V,
        "--to-none",
        "--yes",
        "--passphrase-file",
        "second",
    ]);
    world.ok(["ls", V]);
    assert!(world.ok(["way", "list", V]).contains("no ways in"));
}

#[test]
fn p3_a_server_that_was_away_gets_its_part_when_the_vault_is_opened_next() {
    let world = World::new();
    secret(&world, "pass", "合言葉は四つ辻\n");
    world.away("c");
    let add = [
        "way",
        "add",
        V,
        "passphrase",
        "--new-passphrase-file",
        "pass",
        "--memory",
        "64",
        "--yes",
    ];
    let said = ends(&world.run(add), 3);
    assert!(
        said.contains("bunko") && said.contains("No further server may be lost"),
        "{said}"
    );
    world.back("c");
    let piece = fs::read(world.path("c/vault-00000001")).unwrap();
    assert_eq!(piece[7], 1, "it still has its piece");
    world.ok(["mkdir", V, "/x", "--passphrase-file", "pass"]);
    let piece = fs::read(world.path("c/vault-00000001")).unwrap();
    assert_eq!(piece[7], 2, "its piece is gone");
    world.away("a");
    world.ok(["ls", V, "--passphrase-file", "pass"]);
}

#[test]
fn a_drive_is_mounted_with_a_passphrase() {
    if !common::can_mount() {
        return;
    }
    let world = World::new();
    with_passphrase(&world);
    fs::create_dir(world.path("mnt")).unwrap();
    ends(&world.run(["mount", V, "mnt"]), 9);
    world.ok(["mount", V, "mnt", "--passphrase-file", "pass"]);
    fs::write(world.path("mnt/note.txt"), "note").unwrap();
    assert_eq!(fs::read(world.path("mnt/note.txt")).unwrap(), b"note");
    world.ok(["umount", "mnt"]);
    assert_eq!(
        world.ok(["cat", V, "/note.txt", "--passphrase-file", "pass"]),
        "note"
    );
}

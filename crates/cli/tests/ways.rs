//! Ways in, as an administrator has them: passphrases and paper shares (P3).

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use common::ways::{V, codes, ends, secret, with_passphrase};
use common::{World, text};

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
    secret(&world, "pass", "合言葉は四つ辻の角\n");
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
    secret(&world, "wrong", "合言葉は三つ辻の角\n");
    let said = ends(&world.run(["ls", V, "--passphrase-file", "wrong"]), 9);
    assert!(
        said.contains("The passphrase is wrong") && said.contains("way recover"),
        "{said}"
    );
    let open = world.path("open");
    fs::write(&open, "合言葉は四つ辻の角").unwrap();
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
    secret(&world, "pass", "合言葉は四つ辻の角\n");
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

/// `status` says who can open the vault, and nothing that would help anybody to.
#[test]
fn status_says_which_ways_there_are() {
    let world = World::new();
    let status = world.json(0, ["status", V, "--json"]);
    assert_eq!(status["ways"]["open"], true, "{status}");
    assert!(world.ok(["status", V]).contains("no ways in"));
    with_passphrase(&world);
    let by = ["--passphrase-file", "pass"];
    let status = world.json(0, ["status", V, "--json"].iter().chain(&by));
    assert_eq!(status["ways"]["open"], false, "{status}");
    let way = &status["ways"]["ways"][0];
    assert_eq!(
        (&way["name"], &way["kind"]),
        (&"soumu".into(), &"passphrase".into())
    );
    assert!(way["made"].as_str().unwrap().starts_with("20"), "{status}");
    assert!(!status.to_string().contains("四つ辻"));
    let said = world.ok(["status", V].iter().chain(&by));
    assert!(said.contains("soumu: a passphrase, of 20"), "{said}");
    // One that missed a change is told of, until the vault is opened to be changed.
    world.away("c");
    let rotate = ["way", "rotate", V, "--yes"];
    ends(&world.run(rotate.iter().chain(&by)), 3);
    world.back("c");
    let status = world.json(3, ["status", V, "--json"].iter().chain(&by));
    assert_eq!(status["ways"]["servers_to_mend"][0], "bunko", "{status}");
    assert_eq!(status["problems"][0]["problem"], "ways-unfinished");
    world.ok(["mkdir", V, "/x"].iter().chain(&by));
    world.json(0, ["status", V, "--json"].iter().chain(&by));
}

/// What a server held that retires, with any one of the others, opens nothing; the passphrase stays the same.
#[test]
fn p3_a_retired_server_of_a_vault_with_ways_is_of_no_use() {
    let world = World::new();
    with_passphrase(&world);
    world.write("minutes.txt", "minutes");
    let by = ["--passphrase-file", "pass"];
    world.ok(["put", V, "minutes.txt", "/"].iter().chain(&by));
    let retire = ["server", "retire", V, "bunko", "d", "--yes"];
    ends(&world.run(retire), 9);
    let said = world.ok(retire.iter().chain(&by));
    assert!(said.contains("is worthless"), "{said}");
    let cat = ["cat", V, "/minutes.txt", "--passphrase-file", "pass"];
    for server in ["a", "b", "d"] {
        world.away(server);
        assert_eq!(world.ok(cat), "minutes", "without {server}");
        world.back(server);
    }
    world.json(0, ["status", V, "--json"].iter().chain(&by));
    fs::rename(world.path("d"), world.path("d.new")).unwrap();
    fs::rename(world.path("c"), world.path("d")).unwrap();
    for other in ["a", "b"] {
        world.away(other);
        let out = world.run(cat);
        assert!(!out.status.success(), "without {other}");
        world.back(other);
    }
}

/// Where only k servers have what counts, one of them can move all the same: the new place has its part before the old one is given up.
#[test]
fn p3_a_server_is_replaced_where_no_other_may_be_lost() {
    let world = World::new();
    secret(&world, "pass", "合言葉は四つ辻の角\n");
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
    ];
    ends(&world.run(add.iter().chain(&["--yes"])), 3);
    let by = ["--passphrase-file", "pass"];
    let replace = ["server", "replace", V, "honcho", "d", "--yes"];
    let said = text(&world.run(replace.iter().chain(&by)).stdout);
    assert!(said.contains("honcho"), "{said}");
    world.away("a");
    ends(&world.run(["ls", V].iter().chain(&by)), 0);
    world.back("c");
    world.ok(["mkdir", V, "/x"].iter().chain(&by));
    world.away("b");
    world.ok(["ls", V].iter().chain(&by));
}

#[test]
fn p3_a_refresh_asks_for_a_way_and_keeps_it() {
    let world = World::new();
    with_passphrase(&world);
    world.write("minutes.txt", "minutes");
    let by = ["--passphrase-file", "pass"];
    world.ok(["put", V, "minutes.txt", "/"].iter().chain(&by));
    ends(&world.run(["refresh", V, "--yes"]), 9);
    let before = world.read("a/ways-00000001");
    let done = world.json(0, ["refresh", V, "--yes", "--json"].iter().chain(&by));
    assert_eq!(done["generations"]["left"], 0, "{done}");
    for server in ["a", "b", "c"] {
        assert!(!world.path(server).join("ways-00000001").exists());
        assert_ne!(world.read(format!("{server}/ways-00000002")), before);
        let sign = world.read(format!("{server}/vault-00000002"));
        assert_eq!(sign[7], 2, "{server} has no piece");
    }
    assert_eq!(
        world.ok(["cat", V, "/minutes.txt"].iter().chain(&by)),
        "minutes"
    );
}

/// A passphrase that is too short is refused wherever it comes from.
#[test]
fn p10_a_short_passphrase_is_refused_from_a_file_too() {
    let world = World::new();
    secret(&world, "short", "四つ辻\n");
    let add = [
        "way",
        "add",
        V,
        "passphrase",
        "--new-passphrase-file",
        "short",
        "--yes",
    ];
    let said = ends(&world.run(add), 9);
    assert!(said.contains("8 characters"), "{said}");
    assert!(world.ok(["way", "list", V]).contains("no ways in"));
}

/// Pairs made by `age-keygen`, and a private key of nobody.
const ONE: [&str; 2] = [
    "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX",
    "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj",
];
const OTHER: [&str; 2] = [
    "AGE-SECRET-KEY-1YU8M7K7X9G2K9XFDLZDH5VL2H88HYYXM0XZFXLNVE63PS3JDSG2STEXJC4",
    "age168ssge0f7rpc9aj9mym9ldzz76c6n53lrm9gd7a0ajvhllpnfu0sm0lqxs",
];
const STRANGER: &str = "AGE-SECRET-KEY-1W9K8UVNXAH3KA6USQ5C3SJT6RRDH0CRR5QW3D25ECSGPR208HQGSVRMR54";

#[test]
fn p3_the_private_key_of_any_one_of_some_people_opens_the_vault() {
    let world = World::new();
    world.write("minutes.txt", "minutes");
    world.ok(["put", V, "minutes.txt", "/"]);
    for (name, key) in [("one", ONE[0]), ("other", OTHER[0]), ("stranger", STRANGER)] {
        secret(&world, name, &format!("# a key\n{key}\n"));
    }
    let add = ["way", "add", V, "keys", "--name", "kacho", "--yes"];
    let with = |people: &[&str]| {
        let named = people.iter().flat_map(|key| ["--recipient", key]);
        world.run(add.iter().copied().chain(named))
    };
    // What is no public key of age is called by its name, and a private key is not repeated.
    assert!(ends(&with(&[]), 2).contains("--recipient age1"));
    assert!(ends(&with(&[ONE[1], "ssh-ed25519 AAAA"]), 9).contains("key for SSH"));
    let said = ends(&with(&[ONE[0]]), 9);
    assert!(
        said.contains("private key") && !said.contains(ONE[0]),
        "{said}"
    );
    let mistyped = ONE[1].replace("zraa", "zraq");
    assert!(ends(&with(&[&mistyped]), 9).contains("wrong or missing"));
    assert!(world.ok(["way", "list", V]).contains("no ways in"));
    world.write(
        "people",
        format!("# those in charge\n{}\n{}\n", ONE[1], OTHER[1]),
    );
    world.ok(add.iter().chain(&["--recipients-file", "people"]));

    let cat = |key: &str| world.run(["cat", V, "/minutes.txt", "--identity", key]);
    let said = ends(&world.run(["cat", V, "/minutes.txt"]), 9);
    assert!(
        said.contains("--identity FILE") && said.contains(ONE[1]),
        "{said}"
    );
    for key in ["one", "other"] {
        assert!(ends(&cat(key), 0).contains("minutes"));
    }
    let said = ends(&cat("stranger"), 9);
    assert!(
        said.contains("for this key") && said.contains("kacho"),
        "{said}"
    );
    ends(&cat("people"), 9);
    fs::set_permissions(world.path("one"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(ends(&cat("one"), 9).contains("chmod 600"));
    fs::set_permissions(world.path("one"), fs::Permissions::from_mode(0o600)).unwrap();

    let list = ["way", "list", V, "--json", "--identity", "one"];
    let listed = world.json(0, list);
    assert_eq!(listed["ways"][0]["kind"], "keys");
    assert_eq!(
        listed["ways"][0]["recipients"],
        serde_json::json!([ONE[1], OTHER[1]])
    );
    // New secrets for the same people; then for one of them only.
    let rotate = ["way", "rotate", V, "kacho", "--yes", "--identity", "one"];
    world.ok(rotate);
    ends(&cat("other"), 0);
    world.ok(rotate.iter().chain(&["--recipient", ONE[1]]));
    ends(&cat("other"), 9);
    ends(&cat("one"), 0);
    let ja = ["--lang", "ja", "way", "list", V, "--identity", "one"];
    assert!(ends(&world.run(ja), 0).contains("秘密鍵"));
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

/// A drive that is served in the foreground was given the passphrase itself; it is there for months, and has no more use for it.
#[test]
fn p6_a_drive_forgets_the_passphrase_that_opened_it() {
    use std::io::{Read as _, Seek as _, SeekFrom};
    if !common::can_mount() || !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new();
    with_passphrase(&world);
    let dir = world.path("mnt");
    fs::create_dir(&dir).unwrap();
    let mut command = world.command(["mount", V, "mnt", "--foreground"]);
    let mut drive = command.args(["--passphrase-file", "pass"]).spawn().unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mounts = || fs::read_to_string("/proc/mounts").unwrap();
    while !mounts().contains(dir.to_str().unwrap()) {
        assert!(std::time::Instant::now() < end, "no drive");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    fs::write(dir.join("note.txt"), "note").unwrap();
    let process = format!("/proc/{}", drive.id());
    let maps = fs::read_to_string(format!("{process}/maps")).unwrap();
    let mut memory = fs::File::open(format!("{process}/mem")).unwrap();
    let (wanted, mut seen, mut found) = ("合言葉は四つ辻の角".as_bytes(), 0, 0);
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let at = |digits| u64::from_str_radix(digits, 16).unwrap();
        let mut bytes = vec![0; usize::try_from(at(to) - at(from)).unwrap()];
        memory.seek(SeekFrom::Start(at(from))).unwrap();
        // What is kept in secret memory cannot be looked at.
        if memory.read_exact(&mut bytes).is_ok() {
            seen += bytes.len();
            found += bytes
                .windows(wanted.len())
                .filter(|part| *part == wanted)
                .count();
        }
    }
    world.ok(["umount", "mnt"]);
    assert!(drive.wait().unwrap().success());
    assert!(seen > 1 << 20, "{seen} bytes were looked at");
    assert_eq!(found, 0, "the passphrase is in RAM yet");
}

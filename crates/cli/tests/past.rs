//! What was: the audit log, earlier versions, earlier times; and who gets a copy of the log.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use common::{World, can_mount, noise, text};

fn now() -> String {
    // Two changes at one moment of a coarse clock would be one.
    std::thread::sleep(Duration::from_millis(20));
    let now = jiff::Timestamp::now().to_string();
    std::thread::sleep(Duration::from_millis(20));
    now
}

/// A local tree: paths and contents.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut tree, mut waiting) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_dir() {
                tree.insert(name, b"(a folder)".to_vec());
                waiting.push(path);
            } else {
                tree.insert(name, fs::read(path).unwrap());
            }
        }
    }
    tree
}

/// Three files in two folders, as they are put at the beginning.
fn furnished() -> World {
    let world = World::new();
    world.write("in/reports/report.docx", noise(30_000));
    world.write("in/reports/large.bin", noise(5_000_000));
    world.write("in/notes.txt", "first");
    world.ok(["put", "office.toml", "in/reports", "in/notes.txt", "/"]);
    world
}

fn lines(world: &World, args: &[&str]) -> Vec<String> {
    let mut all = vec!["audit", "list", "office.toml"];
    all.extend(args);
    world.ok(all).lines().map(str::to_owned).collect()
}

#[test]
fn p9_lines_are_found_by_person_act_time_machine_and_file() {
    let world = furnished();
    let between = now();
    world.ok(["mv", "office.toml", "/notes.txt", "/reports/minutes.txt"]);
    world.write("in/notes.txt", "second");
    world.ok(["put", "office.toml", "in/notes.txt", "/reports/minutes.txt"]);
    world.ok(["cat", "office.toml", "/reports/report.docx"]);
    world.ok(["rm", "office.toml", "/reports/minutes.txt"]);
    let all = lines(&world, &[]);
    assert!(all.len() > 12, "{all:?}");
    assert!(all[0].starts_with("1  ") && all[0].contains("  init  "));
    let json = lines(&world, &["--json"]);
    assert!(json.len() > all.len(), "each command is a line itself");
    assert!(json[0].starts_with("{\"seq\":1,"), "{}", json[0]);
    assert!(json.iter().all(|line| line.contains("\"chain\":\"")));
    let renames = lines(&world, &["--act", "rename"]);
    assert!(
        renames
            .iter()
            .any(|line| line.contains("notes.txt → minutes.txt"))
    );
    assert!(renames.iter().all(|line| line.contains("  rename  ")));
    let after = lines(&world, &["--since", &between]);
    assert!(!after.is_empty() && after.len() < all.len());
    assert!(!after.iter().any(|line| line.contains("  init  ")));
    let before = lines(&world, &["--until", &between]);
    assert!(before.iter().any(|line| line.contains("  init  ")));
    assert!(!before.iter().any(|line| line.contains("→ minutes.txt")));
    assert!(lines(&world, &["--person", "nobody at all"]).is_empty());
    assert!(lines(&world, &["--host", "nowhere"]).is_empty());
    // One file under all its names, removed as it is; the others are not in it.
    let of_file = lines(&world, &["--file", "/reports/minutes.txt"]);
    for act in ["create", "save", "rename", "remove"] {
        let found = of_file
            .iter()
            .any(|line| line.contains(&format!("  {act}  ")));
        assert!(found, "{act}: {of_file:?}");
    }
    assert!(
        of_file
            .iter()
            .any(|line| line.contains("notes.txt → minutes.txt"))
    );
    assert!(
        !of_file.iter().any(|line| line.contains("report.docx")),
        "{of_file:?}"
    );
    let out = world.run(["audit", "list", "office.toml", "--act", "steal"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("open-write"));
    let out = world.run(["audit", "list", "office.toml", "--file", "/never"]);
    assert_eq!(out.status.code(), Some(4));
    let out = world.run(["audit", "list", "office.toml", "--since", "some day"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("2 hours ago"));
}

#[test]
fn p9_a_log_that_was_replaced_is_found_and_so_is_a_false_copy() {
    let world = furnished();
    let checked = world.ok(["audit", "verify", "office.toml"]);
    assert!(checked.contains("The chain holds") && checked.contains("servers have the same"));
    let copy = world.ok(["audit", "list", "office.toml", "--json"]);
    world.write("copy.log", &copy);
    let args = [
        "audit",
        "verify",
        "office.toml",
        "--local",
        "--json",
        "--against",
        "copy.log",
    ];
    let same = world.json(0, args);
    assert_eq!(
        same["copy"]["same"].as_u64(),
        Some(copy.lines().count() as u64)
    );
    assert_eq!(same["whole"], true);
    let old = world.read("office.db");
    let chain = copy
        .lines()
        .nth(2)
        .unwrap()
        .split("\"chain\":\"")
        .nth(1)
        .unwrap();
    let forged = copy.replace(&chain[..8], "00000000");
    world.write("forged.log", format!("noise\n{forged}"));
    let args = [
        "audit",
        "verify",
        "office.toml",
        "--local",
        "--json",
        "--against",
        "forged.log",
    ];
    let differs = world.json(9, args);
    assert_eq!(differs["copy"]["differs_at"].as_u64(), Some(3));
    assert_eq!(differs["copy"]["other"].as_u64(), Some(1));

    world.ok(["rm", "office.toml", "/notes.txt"]);
    // Whoever did that puts yesterday's catalogue back.
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(world.path(format!("office.db{end}")));
    }
    fs::write(world.path("office.db"), old).unwrap();
    let found = world.json(9, ["audit", "verify", "office.toml", "--json"]);
    assert_eq!(found["whole"], false);
    assert!(found["servers"]["differs_at"].as_u64() > Some(3), "{found}");
    assert_eq!(
        found["fault"],
        serde_json::Value::Null,
        "its own chain holds"
    );
    world.json(0, ["audit", "verify", "office.toml", "--local", "--json"]);
    world.away("b");
    world.away("c");
    let out = world.run(["audit", "verify", "office.toml"]);
    assert_eq!(out.status.code(), Some(5));
}

/// A line of which a byte was changed is named, whatever else can or cannot be found out.
#[test]
fn p9_a_line_that_was_altered_is_named() {
    let world = furnished();
    let list = world.ok(["audit", "list", "office.toml", "--json"]);
    let third = list.lines().nth(2).unwrap();
    let chain = third.split("\"chain\":\"").nth(1).unwrap();
    let chain: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&chain[at..at + 2], 16).unwrap())
        .collect();
    // In the row of a line, its chain value follows the sealed line.
    let mut file = world.read("office.db");
    let places: Vec<usize> = file
        .windows(32)
        .enumerate()
        .filter(|(_, bytes)| **bytes == chain[..])
        .map(|(place, _)| place)
        .collect();
    assert!(!places.is_empty());
    for place in places {
        file[place - 1] ^= 1;
    }
    world.write("office.db", &file);
    let found = world.json(9, ["audit", "verify", "office.toml", "--json"]);
    assert_eq!(found["fault"]["kind"], "unreadable", "{found}");
    assert_eq!(found["fault"]["seq"].as_u64(), Some(3));
    assert_eq!(found["lines"].as_u64(), Some(2), "what stands before fits");
    assert_eq!(found["servers"]["differs_at"], serde_json::Value::Null);
    let told = world.run(["audit", "verify", "office.toml"]);
    assert_eq!(told.status.code(), Some(9));
    assert!(text(&told.stdout).contains("BROKEN at line 3"));
}

#[test]
fn versions_come_back_in_place_elsewhere_and_after_removal() {
    let world = furnished();
    world.write("in/notes.txt", "second");
    world.ok(["put", "office.toml", "in/notes.txt", "/"]);
    world.ok(["restore", "office.toml", "/notes.txt", "--version", "1"]);
    assert_eq!(world.ok(["cat", "office.toml", "/notes.txt"]), "first");
    world.ok([
        "restore",
        "office.toml",
        "/notes.txt",
        "--version",
        "2",
        "--to",
        "/reports/two.txt",
    ]);
    assert_eq!(
        world.ok(["cat", "office.toml", "/reports/two.txt"]),
        "second"
    );
    world.ok(["mv", "office.toml", "/notes.txt", "/minutes.txt"]);
    world.ok(["rm", "office.toml", "/minutes.txt"]);
    let history = world.ok(["history", "office.toml", "/minutes.txt"]);
    assert!(history.contains("was called notes.txt until"), "{history}");
    assert!(history.contains("minutes.txt was removed at"), "{history}");
    assert!(!history.contains("(current)"), "{history}");
    let back = [
        "restore",
        "office.toml",
        "/minutes.txt",
        "--version",
        "2",
        "--json",
    ];
    let back = world.json(0, back);
    assert_eq!(back["from"].as_u64(), Some(2));
    assert_eq!(world.ok(["cat", "office.toml", "/minutes.txt"]), "second");
    let versions = world.json(0, ["history", "office.toml", "/minutes.txt", "--json"]);
    assert_eq!(versions.as_array().unwrap().len(), 4);
    assert_eq!(versions[0]["name"], "notes.txt");
    assert_eq!(versions[3]["current"], true);
    for (args, code) in [
        (
            &["restore", "office.toml", "/minutes.txt", "--version", "99"][..],
            4,
        ),
        (
            &["restore", "office.toml", "/never.txt", "--version", "1"],
            4,
        ),
        (&["restore", "office.toml", "/reports", "--version", "1"], 1),
        (&["restore", "office.toml", "/minutes.txt"], 2),
        (
            &[
                "restore",
                "office.toml",
                "/minutes.txt",
                "--at",
                "1990-01-01",
            ],
            4,
        ),
        (
            &[
                "restore",
                "office.toml",
                "/minutes.txt",
                "--version",
                "1",
                "--to",
                "/reports/two.txt",
            ],
            6,
        ),
    ] {
        let out = world.run(args);
        assert_eq!(
            out.status.code(),
            Some(code),
            "{args:?}: {}",
            text(&out.stderr)
        );
    }
}

/// Every file overwritten, some renamed, some removed, by a script that finds a drive; and all is as it was with one command.
#[test]
fn p8_the_tree_of_before_comes_back_after_ransomware() {
    let world = furnished();
    let before = now();
    world.ok(["get", "office.toml", "/", "before"]);
    let drive = can_mount();
    if drive {
        fs::create_dir(world.path("drive")).unwrap();
        world.ok(["mount", "office.toml", "drive"]);
        let drive = world.path("drive");
        for file in ["reports/report.docx", "reports/large.bin", "notes.txt"] {
            let len = fs::metadata(drive.join(file)).unwrap().len() as usize;
            fs::write(drive.join(file), noise(len + 16)).unwrap();
        }
        fs::rename(
            drive.join("reports/large.bin"),
            drive.join("reports/large.bin.locked"),
        )
        .unwrap();
        fs::remove_file(drive.join("notes.txt")).unwrap();
        fs::write(drive.join("READ ME.txt"), "pay").unwrap();
        world.ok(["umount", "drive"]);
    } else {
        world.write("in/reports/report.docx", noise(30_016));
        world.ok(["put", "office.toml", "in/reports/report.docx", "/reports/"]);
        world.ok([
            "mv",
            "office.toml",
            "/reports/large.bin",
            "/reports/large.bin.locked",
        ]);
        world.ok(["rm", "office.toml", "/notes.txt"]);
        world.ok(["put", "office.toml", "in/notes.txt", "/READ ME.txt"]);
    }
    let plan = ["restore", "office.toml", "/", "--at", &before, "--exact"];
    let out = world.run(plan);
    assert_eq!(
        out.status.code(),
        Some(3),
        "the plan alone: {}",
        text(&out.stderr)
    );
    assert!(text(&out.stdout).contains("/reports/report.docx: version 1 again"));
    assert!(text(&out.stderr).contains("--yes"));
    let out = world.run(["get", "office.toml", "--at", &before, "/", "seen"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(tree(&world.path("seen")), tree(&world.path("before")));
    let listed = world.ok(["ls", "office.toml", "-R", "--at", &before]);
    assert!(
        listed.contains("large.bin\n") && !listed.contains("locked"),
        "{listed}"
    );
    let first = world.ok(["cat", "office.toml", "--at", &before, "/notes.txt"]);
    assert_eq!(first, "first");

    let objects = world.objects_from(8_000, "a").len();
    let done = world.json(
        0,
        [
            "restore",
            "office.toml",
            "/",
            "--at",
            &before,
            "--exact",
            "--yes",
            "--json",
        ],
    );
    assert_eq!(done["applied"], true);
    assert_eq!(done["failed"].as_array().unwrap().len(), 0);
    world.ok(["get", "office.toml", "/", "after"]);
    assert_eq!(tree(&world.path("after")), tree(&world.path("before")));
    assert_eq!(
        world.objects_from(8_000, "a").len(),
        objects,
        "no byte is stored again"
    );
    let again = world.run(plan);
    assert_eq!(again.status.code(), Some(0));
    assert!(text(&again.stdout).contains("Nothing to be done"));
}

#[test]
fn a_drive_shows_the_vault_as_it_was() {
    if !can_mount() {
        return;
    }
    let world = furnished();
    let before = now();
    world.ok(["get", "office.toml", "/", "before"]);
    world.ok(["mv", "office.toml", "/reports", "/moved"]);
    world.write("in/notes.txt", "second");
    world.ok(["put", "office.toml", "in/notes.txt", "/"]);
    fs::create_dir(world.path("drive")).unwrap();
    world.ok(["mount", "office.toml", "drive", "--at", &before]);
    let seen = tree(&world.path("drive"));
    let refused = fs::write(world.path("drive/notes.txt"), "changed");
    let made = fs::create_dir(world.path("drive/new"));
    world.ok(["umount", "drive"]);
    assert_eq!(seen, tree(&world.path("before")));
    let read_only = |error: std::io::Error| error.raw_os_error() == Some(30);
    assert!(refused.is_err_and(read_only) && made.is_err_and(read_only));
    assert_eq!(world.ok(["cat", "office.toml", "/notes.txt"]), "second");
}

/// The second section's copy: nothing is lost while its server is away, and the copy can be compared.
#[test]
fn p9_a_syslog_server_gets_every_line() {
    let world = furnished();
    let socket = world.path("log.socket");
    let file = fs::read_to_string(world.path("office.toml")).unwrap();
    let line = format!("syslog = \"unixgram:{}\"", socket.display());
    assert!(file.contains("# syslog = "), "the vault file shows how");
    let file = file.replace("# syslog = \"unixgram:/dev/log\"", &line);
    fs::write(world.path("office.toml"), file).unwrap();
    // Nobody listens yet: work goes on all the same.
    world.ok(["rm", "office.toml", "/notes.txt"]);
    let receiver = UnixDatagram::bind(&socket).unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let world_lines = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut got, mut buffer) = (Vec::new(), vec![0; 65_536]);
            while let Ok(len) = receiver.recv(&mut buffer) {
                let line = text(&buffer[..len]).to_string();
                let last = line.contains("act=\"create\"") && line.contains("detail=\"last\"");
                got.push(line);
                if last {
                    break;
                }
            }
            got
        });
        world.ok(["mkdir", "office.toml", "/last"]);
        reader.join().unwrap()
    });
    assert!(world_lines[0].starts_with("<110>1 "), "{}", world_lines[0]);
    assert!(world_lines[0].contains(" warifu - init [warifu@32473 seq=\"1\" chain=\""));
    let removed = world_lines
        .iter()
        .filter(|line| line.contains("act=\"remove\""));
    assert_eq!(removed.count(), 1, "what was done while it was away");
    world.write("copy.log", world_lines.join("\n"));
    let checked = [
        "audit",
        "verify",
        "office.toml",
        "--local",
        "--json",
        "--against",
        "copy.log",
    ];
    let checked = world.json(0, checked);
    assert_eq!(
        checked["copy"]["same"].as_u64(),
        Some(world_lines.len() as u64)
    );
    assert_eq!(checked["copy"]["first"].as_u64(), Some(1));
}

#[test]
fn removed_files_lie_in_the_trash_and_come_back() {
    let world = World::new();
    world.write("in/reports/a.txt", "a");
    world.write("in/reports/b.txt", "b");
    world.ok(["put", "office.toml", "in/reports", "/"]);
    let list = ["trash", "list", "office.toml"];
    assert!(world.ok(list).contains("The trash is empty"));
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
    let versions = world.json(0, ["history", "office.toml", "/reports/b.txt", "--json"]);
    assert_eq!(versions.as_array().unwrap().len(), 2);
    // What has taken the place of a removed file stays.
    world.ok(["rm", "office.toml", "/reports/a.txt"]);
    world.ok(["mkdir", "office.toml", "/reports/a.txt"]);
    world.ends(6, ["trash", "restore", "office.toml", "/reports/a.txt"]);
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
    // What lies on the servers is what is counted.
    let lying: u64 = ["a", "b", "c"]
        .iter()
        .flat_map(|server| fs::read_dir(world.path(server)).unwrap())
        .map(|object| object.unwrap())
        .filter(|object| object.file_name().len() == 64)
        .map(|object| object.metadata().unwrap().len())
        .sum();
    let servers = space["servers"].as_array().unwrap().iter();
    let told: u64 = servers
        .map(|server| server["bytes"].as_u64().unwrap())
        .sum();
    assert!(
        told <= lying && lying - told < 300_000,
        "{told} of {lying}: only the journal grew"
    );
}

//! House rules that no compiler holds: which room may know which, and what may stand where.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The packages of the workspace and what each needs to be built: our own, and others.
struct Graph {
    ours: BTreeMap<String, BTreeSet<String>>,
    others: BTreeMap<String, BTreeSet<String>>,
}

fn graph() -> Graph {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<&str> = packages
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    let mut graph = Graph {
        ours: BTreeMap::new(),
        others: BTreeMap::new(),
    };
    for package in packages {
        let name = package["name"].as_str().unwrap().to_owned();
        let (mut ours, mut others) = (BTreeSet::new(), BTreeSet::new());
        // `kind` is null for what the package itself needs, "dev" for what only its tests need.
        for dependency in package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|d| d["kind"].as_str() != Some("dev"))
        {
            let dependency = dependency["name"].as_str().unwrap();
            let set = if names.contains(dependency) {
                &mut ours
            } else {
                &mut others
            };
            set.insert(dependency.to_owned());
        }
        graph.ours.insert(name.clone(), ours);
        graph.others.insert(name, others);
    }
    graph
}

/// The arrows between the rooms. Adding one here is a decision, to be written into ARCHITECTURE.md.
const ARROWS: &[(&str, &[&str])] = &[
    ("warifu-core", &[]),
    ("warifu-vault", &["warifu-core"]),
    ("warifu-store", &["warifu-core", "warifu-vault"]),
    ("warifu-catalog", &["warifu-core", "warifu-vault"]),
    ("warifu-mount", &["warifu-vault"]),
    (
        "warifu",
        &[
            "warifu-catalog",
            "warifu-core",
            "warifu-store",
            "warifu-vault",
        ],
    ),
    ("warifu-cli", &["warifu", "warifu-mount"]),
    ("warifu-testkit", &["warifu-core", "warifu-vault"]),
];

#[test]
fn no_room_knows_more_than_it_may() {
    let graph = graph();
    for (room, may) in ARROWS {
        let has = graph
            .ours
            .get(*room)
            .unwrap_or_else(|| panic!("there is no room {room}"));
        let may: BTreeSet<String> = may.iter().map(ToString::to_string).collect();
        let added: Vec<_> = has.difference(&may).collect();
        assert!(added.is_empty(), "{room} must not know {added:?}");
    }
    let rooms: BTreeSet<_> = ARROWS.iter().map(|(room, _)| (*room).to_owned()).collect();
    let outside = ["warifu-examples", "warifu-benches", "warifu-tests"].map(String::from);
    for package in graph
        .ours
        .keys()
        .filter(|package| !outside.contains(package))
    {
        assert!(
            rooms.contains(package),
            "{package} is a room without arrows: draw them here and in ARCHITECTURE.md"
        );
    }
}

/// Libraries that belong to one room: nobody else learns what they are about.
const OWNED: &[(&str, &[&str])] = &[
    ("fuser", &["warifu-mount"]),
    ("landlock", &["warifu-mount"]),
    ("rusqlite", &["warifu-catalog"]),
    ("clap", &["warifu-cli"]),
    ("anyhow", &["warifu-cli"]),
    ("aws-lc-rs", &["warifu-core"]),
    ("opendal", &["warifu-store"]),
    ("hyper", &["warifu-store"]),
    ("hyper-util", &["warifu-store"]),
    ("hyper-rustls", &["warifu-store"]),
    ("rustls", &["warifu-store", "warifu-catalog"]),
    ("rustls-native-certs", &["warifu-store", "warifu-catalog"]),
    ("tokio-postgres", &["warifu-catalog"]),
    ("tokio-rustls", &["warifu-catalog"]),
    ("quick-xml", &["warifu-store"]),
    ("blake3", &["warifu-core"]),
    ("chacha20poly1305", &["warifu-core"]),
    ("argon2", &["warifu-core"]),
    ("bip39", &["warifu"]),
    ("rpassword", &["warifu-cli"]),
    ("pdf-writer", &["warifu-cli"]),
    ("qrcodegen", &["warifu-cli"]),
    ("russh", &["warifu-store"]),
    ("url", &["warifu-store"]),
    ("hmac", &["warifu-store", "warifu-core"]),
    ("hkdf", &["warifu-core"]),
    ("sha2", &["warifu-core"]),
    ("curve25519-dalek", &["warifu-core"]),
    ("sha1", &["warifu-store"]),
    ("sharks", &[]),
    ("blahaj", &[]),
];

#[test]
fn each_outside_library_has_one_room() {
    let graph = graph();
    for (library, rooms) in OWNED {
        for (room, libraries) in graph
            .others
            .iter()
            .filter(|(room, _)| ARROWS.iter().any(|(name, _)| name == room))
        {
            assert!(
                !libraries.contains(*library) || rooms.contains(&room.as_str()),
                "{room} must not know {library}"
            );
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    for dir in ["crates", "examples", "benches", "tests"] {
        walk(&root().join(dir), &mut files);
    }
    assert!(files.len() > 20, "the sources were not found");
    files
        .into_iter()
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

#[test]
fn no_file_has_grown_past_600_lines_of_code() {
    for (path, text) in sources() {
        let code = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("//"))
            .count();
        assert!(
            code <= 600,
            "{} has {code} lines of code: split it",
            relative(&path)
        );
    }
}

/// Where `unsafe` may stand: where instructions are used that not every processor has, and where memory is settled with the C library.
const UNSAFE: &[&str] = &[
    "crates/core/src/engine/aes.rs",
    "crates/core/src/engine/gfni.rs",
    "crates/core/src/engine/neon.rs",
    "crates/core/src/engine/wide256.rs",
    "crates/mount/src/heap.rs",
];

#[test]
fn unsafe_stands_only_where_it_must() {
    let word = concat!("un", "safe");
    for (path, text) in sources() {
        let path = relative(&path);
        if UNSAFE.contains(&path.as_str())
            || path.starts_with("tests/")
            || path.starts_with("benches/")
        {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let used = [" {", " fn", " impl", " trait", " extern"]
                .iter()
                .any(|after| code.contains(&format!("{word}{after}")));
            assert!(!used, "{path}:{}: {word} code", number + 1);
        }
    }
}

#[test]
fn nothing_is_left_to_do_and_no_machine_is_named() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
    ];
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            for mark in marks {
                assert!(
                    !line.contains(mark),
                    "{}:{}: {mark}",
                    relative(&path),
                    number + 1
                );
            }
        }
    }
}

//! P4: one server is deleted, emptied, filled with rubbish, cut off or set back. Everything is read back whole, `verify` names
//! the server, the file and the damage; with two servers damaged there are clear errors and never wrong bytes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use warifu_tests::{Rig, must, noise, said, tree};

fn documents() -> BTreeMap<String, Vec<u8>> {
    let mut documents = BTreeMap::new();
    for (name, len) in [
        ("小さい.txt", 10),
        ("起案.docx", 20_000),
        ("名簿.xlsx", 300_000),
        ("図面.pdf", 5_000_000),
    ] {
        documents.insert(name.to_owned(), noise(len, len as u64));
    }
    documents
}

/// A vault with the documents in it.
fn filled() -> (Rig, BTreeMap<String, Vec<u8>>) {
    let rig = Rig::new(2, 3);
    let documents = documents();
    let local = rig.scratch().join("local");
    fs::create_dir(&local).unwrap();
    for (name, bytes) in &documents {
        fs::write(local.join(name), bytes).unwrap();
        must(
            warifu_tests::warifu(),
            [
                OsStr::new("put"),
                rig.vault.as_os_str(),
                local.join(name).as_os_str(),
                OsStr::new("/"),
            ],
        );
    }
    (rig, documents)
}

fn read(rig: &Rig, name: &str) -> std::process::Output {
    rig.warifu("cat", &[OsStr::new(&format!("/{name}"))])
}

fn all_whole(rig: &Rig, documents: &BTreeMap<String, Vec<u8>>, how: &str) {
    for (name, bytes) in documents {
        let output = read(rig, name);
        assert!(
            output.status.success(),
            "{how}: {name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.stdout == *bytes, "{how}: {name} is not what was put");
    }
}

fn objects(server: &Path) -> Vec<PathBuf> {
    let of_shares = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 64);
    tree(server)
        .into_iter()
        .filter(|(_, c)| c.is_some())
        .map(|(p, _)| server.join(p))
        .filter(of_shares)
        .collect()
}

/// What `verify --json --deep` found: file, server and damage of each finding.
fn verify(rig: &Rig) -> (i32, Vec<(String, String, String)>) {
    let output = rig.warifu("verify", &[OsStr::new("--deep"), OsStr::new("--json")]);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().expect("findings");
    // The journal's shares suffer as the files' do, and are no file's.
    let list = findings
        .iter()
        .filter(|f| f["of"] == "file")
        .map(|f| (word(f, "file"), word(f, "server"), word(f, "damage")))
        .collect();
    (output.status.code().unwrap_or(-1), list)
}

fn server_name(rig: &Rig, server: usize) -> String {
    let status: Value =
        serde_json::from_slice(&rig.warifu("status", &[OsStr::new("--json")]).stdout)
            .expect("status");
    status["servers"][server]["name"]
        .as_str()
        .expect("a name")
        .to_owned()
}

type Damage = fn(&Path);

const DAMAGES: [(&str, Damage, &[&str]); 5] = [
    (
        "deleted",
        |server| fs::remove_dir_all(server).unwrap(),
        &["missing", "no-answer"],
    ),
    (
        "emptied",
        |server| {
            fs::remove_dir_all(server).unwrap();
            fs::create_dir(server).unwrap();
        },
        &["missing", "no-answer"],
    ),
    (
        "filled with rubbish",
        |server| {
            for (n, object) in objects(server).into_iter().enumerate() {
                let len = usize::try_from(fs::metadata(&object).unwrap().len()).unwrap();
                fs::write(object, noise(len, n as u64)).unwrap();
            }
        },
        &["corrupt"],
    ),
    (
        "cut off at random",
        |server| {
            for (n, object) in objects(server).into_iter().enumerate() {
                let len = fs::metadata(&object).unwrap().len();
                let cut = u64::from_le_bytes(noise(8, n as u64)[..8].try_into().unwrap()) % len;
                fs::OpenOptions::new()
                    .write(true)
                    .open(object)
                    .unwrap()
                    .set_len(cut)
                    .unwrap();
            }
        },
        &["corrupt"],
    ),
    (
        "changed by one bit",
        |server| {
            for object in objects(server) {
                let mut bytes = fs::read(&object).unwrap();
                let at = bytes.len() / 2;
                bytes[at] ^= 4;
                fs::write(object, bytes).unwrap();
            }
        },
        &["corrupt"],
    ),
];

#[test]
fn p4_one_damaged_server_costs_nothing_and_is_named_with_each_file() {
    for (position, (how, damage, words)) in DAMAGES.iter().enumerate() {
        let (rig, documents) = filled();
        let server = position % 3;
        let name = server_name(&rig, server);
        damage(&rig.servers[server]);
        all_whole(&rig, &documents, how);
        let (code, findings) = verify(&rig);
        assert_eq!(
            code, 3,
            "{how}: verify's exit code says that damage was found"
        );
        for file in documents.keys() {
            let of_file = findings
                .iter()
                .filter(|(path, ..)| path.trim_start_matches('/') == file)
                .collect::<Vec<_>>();
            assert!(
                !of_file.is_empty(),
                "{how}: verify does not name {file}: {findings:?}"
            );
            for (_, server, damage) in of_file {
                assert_eq!(*server, name, "{how}: another server is blamed");
                assert!(words.contains(&damage.as_str()), "{how}: called {damage}");
            }
        }
    }
}

#[test]
fn p4_a_server_set_back_to_last_week_costs_nothing_and_is_named() {
    let (rig, mut documents) = filled();
    let name = server_name(&rig, 2);
    let backup = rig.scratch().join("last-week");
    must(
        "cp",
        [
            OsStr::new("-a"),
            rig.servers[2].as_os_str(),
            backup.as_os_str(),
        ],
    );
    let newer = noise(40_000, 99);
    let local = rig.scratch().join("local").join("起案.docx");
    fs::write(&local, &newer).unwrap();
    must(
        warifu_tests::warifu(),
        [
            OsStr::new("put"),
            rig.vault.as_os_str(),
            local.as_os_str(),
            OsStr::new("/"),
        ],
    );
    documents.insert("起案.docx".to_owned(), newer);

    fs::remove_dir_all(&rig.servers[2]).unwrap();
    fs::rename(&backup, &rig.servers[2]).unwrap();
    all_whole(&rig, &documents, "set back");
    let (code, findings) = verify(&rig);
    assert_eq!(code, 3);
    assert_eq!(
        findings.len(),
        1,
        "only what was saved since is missing: {findings:?}"
    );
    assert_eq!(
        (
            findings[0].0.trim_start_matches('/'),
            findings[0].1.as_str()
        ),
        ("起案.docx", name.as_str())
    );
    assert_eq!(findings[0].2, "missing");
}

#[test]
fn p10_two_damaged_servers_give_an_error_for_each_file_and_never_wrong_bytes() {
    for (how, damage, _) in DAMAGES {
        let (rig, documents) = filled();
        // The first server's shares are rubbish for the files, but it still gives its piece of the vault key.
        for object in objects(&rig.servers[0]) {
            fs::write(object, b"rubbish").unwrap();
        }
        damage(&rig.servers[1]);
        for name in documents.keys() {
            let output = read(&rig, name);
            assert!(
                !output.status.success(),
                "{how}: {name} was read from one good share of two needed"
            );
            assert!(
                output.stdout.is_empty(),
                "{how}: {name}: bytes were given out"
            );
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                message.lines().count() >= 2,
                "{how}: what is wrong, and what to do: {message}"
            );
            assert!(!message.contains("panicked"), "{how}: {message}");
        }
    }
}

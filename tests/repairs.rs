//! P4: shares lost and damaged on real servers are named and made anew, also onto a new place and beside a mount that is
//! written to.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use warifu_tests::office::{Office, identical, scratch};
use warifu_tests::servers::{Server, Webdav};
use warifu_tests::{noise, run, said, tree, warifu};

/// The objects on a server that hold shares.
fn objects(server: &dyn Server) -> Vec<PathBuf> {
    let is_object = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    tree(server.data())
        .into_iter()
        .filter(|(_, contents)| contents.is_some())
        .map(|(path, _)| server.data().join(path))
        .filter(is_object)
        .collect()
}

/// Takes every third object away and changes every third in the middle.
fn damage(server: &dyn Server) {
    let all = objects(server);
    assert!(all.len() >= 6, "{}: {all:?}", server.data().display());
    for (number, object) in all.iter().enumerate() {
        match number % 3 {
            0 => {
                let gone = fs::remove_file(object);
                assert!(gone.is_ok() || !object.exists(), "{}", object.display());
            }
            1 => {
                // A drive may be taking it away just now.
                let Ok(mut bytes) = fs::read(object) else {
                    continue;
                };
                fs::set_permissions(object, fs::Permissions::from_mode(0o666)).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(object, bytes).unwrap();
            }
            _ => {}
        }
    }
}

/// What is wrong with whom.
fn found(report: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for finding in report["findings"].as_array().unwrap() {
        let word = |key: &str| finding[key].as_str().unwrap().to_owned();
        let of_server = found.entry(word("server")).or_default();
        of_server.insert(word("damage"));
    }
    found
}

fn fill(office: &Office, documents: &Path) {
    for (name, len) in [
        ("空.txt", 0),
        ("小.txt", 10),
        ("起案.docx", 20_000),
        ("名簿.xlsx", 300_000),
        ("図面.pdf", 5_000_000),
    ] {
        fs::write(documents.join(name), noise(len, len as u64)).unwrap();
    }
    let vault = office.rig.vault.as_os_str();
    let folder = OsStr::new("/書類");
    let put = [OsStr::new("put"), vault, documents.as_os_str(), folder];
    let output = run(warifu(), put);
    // On a busy machine a server may be too slow for a save, and is owed its share.
    assert!(
        matches!(output.status.code(), Some(0 | 3)),
        "{}",
        said(&output)
    );
    let _ = office.verify(&["--repair", "--yes"]);
    is_clean(office, "to begin with");
}

fn all_there(office: &Office, documents: &Path, when: &str) {
    let out = scratch("warifu-out-");
    let to = out.path().join("out");
    let (vault, folder) = (office.rig.vault.as_os_str(), OsStr::new("/書類"));
    let output = run(warifu(), [OsStr::new("get"), vault, folder, to.as_os_str()]);
    // With servers away it says so, and gives everything.
    assert!(
        matches!(output.status.code(), Some(0 | 3)),
        "{when}: {}",
        said(&output)
    );
    identical(documents, &to, when);
}

fn is_clean(office: &Office, when: &str) {
    let (code, report) = office.verify(&[]);
    let clean = (Some(0), &Value::Bool(true));
    assert_eq!((code, &report["clean"]), clean, "{when}: {report}");
}

#[test]
fn p4_damage_on_sftp_webdav_and_s3_is_named_and_repaired() {
    let Some(mut office) = Office::closed() else {
        return;
    };
    let documents = scratch("warifu-documents-");
    fill(&office, documents.path());
    // Of five, two may be damaged at a time: each kind of server once with each other.
    for pair in [[1, 2], [3, 1], [2, 3]] {
        for place in pair {
            damage(office.servers[place].as_ref());
        }
        all_there(&office, documents.path(), "damaged");
        let (code, report) = office.verify(&[]);
        assert_eq!(code, Some(3), "{pair:?}: {report}");
        let both: BTreeSet<String> = ["missing", "corrupt"].map(str::to_owned).into();
        let expected: BTreeMap<_, _> = pair
            .iter()
            .map(|place| (format!("server-{}", place + 1), both.clone()))
            .collect();
        assert_eq!(found(&report), expected, "{pair:?}: {report}");
        assert_eq!(report["unreadable"], Value::Array(Vec::new()), "{pair:?}");

        let (code, report) = office.verify(&["--repair", "--yes"]);
        let left = &report["repair"]["left"];
        assert_eq!((code, left), (Some(11), &0.into()), "{report}");
        is_clean(&office, "repaired");
        // What was made anew is as good as the rest: without it there would be too few now.
        let others = (0..5).filter(|place| !pair.contains(place));
        let others: Vec<usize> = others.take(2).collect();
        for place in &others {
            office.servers[*place].kill();
        }
        all_there(&office, documents.path(), "with two others dead");
        for place in others {
            office.servers[place].start();
        }
    }
}

/// An SSH server is lost for good, and a WebDAV server takes its seat.
#[test]
fn p4_an_sftp_server_is_replaced_by_a_webdav_place() {
    let Some(mut office) = Office::closed() else {
        return;
    };
    let Some(new) = Webdav::new() else { return };
    let documents = scratch("warifu-documents-");
    fill(&office, documents.path());
    office.servers[1].kill();
    let mut arguments: Vec<OsString> = vec!["server".into(), "replace".into()];
    arguments.extend([
        office.rig.vault.clone().into(),
        "server-2".into(),
        new.url(),
    ]);
    for (field, value) in new.options() {
        let option = format!("server-2.{field}={value}");
        arguments.extend(["--server-option".into(), option.into()]);
    }
    arguments.extend(["--yes".into(), "--json".into()]);
    let output = run(warifu(), arguments);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    assert_eq!(
        (&report["applied"], &report["repair"]["left"]),
        (&true.into(), &0.into()),
        "{report}"
    );
    is_clean(&office, "replaced");
    assert!(!objects(&new).is_empty());
    // It is as good as the old one: with two others gone it is needed.
    for place in [0, 3] {
        office.servers[place].kill();
    }
    all_there(&office, documents.path(), "without two others");
    for place in [0, 3] {
        office.servers[place].start();
    }
}

/// Nobody who works on the drive notices that its servers are damaged and repaired beneath it.
#[test]
fn p4_a_repair_beside_a_mount_that_is_written_to_disturbs_nobody() {
    let Some(office) = Office::open() else {
        return;
    };
    let drive = office.drive().to_owned();
    let old = |number: u64| (format!("alt-{number}.docx"), noise(50_000, number));
    for (name, bytes) in (0..12).map(old) {
        fs::write(drive.join(name), bytes).unwrap();
    }
    let done = AtomicBool::new(false);
    let last = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut last = BTreeMap::new();
            let mut turn = 100;
            while !done.load(Ordering::Relaxed) {
                let name = format!("neu-{}.xlsx", turn % 7);
                let bytes = noise(20_000, turn);
                let path = drive.join(&name);
                fs::write(&path, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(fs::read(&path).unwrap() == bytes, "{name}");
                last.insert(name, bytes);
                turn += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
            last
        });
        let repaired = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for pair in [[1, 3], [2, 1]] {
                for place in pair {
                    damage(office.servers[place].as_ref());
                }
                let (code, report) = office.verify(&["--repair", "--yes"]);
                assert!(matches!(code, Some(3 | 11)), "{code:?}: {report}");
                let unreadable = report["unreadable"].as_array().unwrap();
                assert!(unreadable.is_empty(), "{report}");
                let made = report["repair"]["made"].as_object().unwrap();
                for place in pair {
                    let name = format!("server-{}", place + 1);
                    assert!(made.contains_key(&name), "{report}");
                }
            }
        }));
        done.store(true, Ordering::Relaxed);
        let last = writer.join().unwrap();
        repaired.unwrap();
        last
    });
    for (name, bytes) in (0..12).map(old) {
        assert!(fs::read(drive.join(&name)).unwrap() == bytes, "{name}");
    }
    office.rig.unmount_cleanly();
    // What was saved while a check ran is for the next one.
    let (code, report) = office.verify(&["--repair", "--yes"]);
    assert!(matches!(code, Some(0 | 11)), "{code:?}: {report}");
    is_clean(&office, "at the end");
    for (name, bytes) in last {
        let output = office.rig.warifu("cat", &[OsStr::new(&format!("/{name}"))]);
        assert!(output.stdout == bytes, "{name}: {}", said(&output));
    }
}

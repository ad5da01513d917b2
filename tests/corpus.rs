//! The office files of a municipality through the real drive: what goes in comes out, with every server or without any one of
//! them, and no server and no catalogue holds a trace of it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use warifu_tests::{Rig, can_mount, must, run, said, shared, tree};

/// Copies the corpus into a fresh vault with `cp -a`, as a person would.
fn filled() -> Option<(Rig, PathBuf)> {
    let corpus = shared("corpus")?;
    if !can_mount() {
        return None;
    }
    let rig = Rig::new(2, 3);
    rig.mount();
    let from = corpus.join(".");
    must(
        "cp",
        [OsStr::new("-a"), from.as_os_str(), rig.drive.as_os_str()],
    );
    rig.unmount_cleanly();
    Some((rig, corpus))
}

fn is_identical(rig: &Rig, corpus: &Path) {
    let output = run(
        "diff",
        [OsStr::new("-r"), corpus.as_os_str(), rig.drive.as_os_str()],
    );
    assert!(output.status.success(), "diff -r:\n{}", said(&output));
    let names = |top: &Path| tree(top).into_keys().collect::<Vec<_>>();
    assert_eq!(names(corpus), names(&rig.drive), "names differ");
}

#[test]
fn p4_a_folder_tree_comes_back_identical_with_every_server_and_without_any_one() {
    let Some((rig, corpus)) = filled() else {
        return;
    };
    rig.mount();
    is_identical(&rig, &corpus);
    rig.unmount_cleanly();
    for server in 0..3 {
        let away = rig.take_away(server);
        rig.mount();
        is_identical(&rig, &corpus);
        rig.unmount_cleanly();
        drop(away);
    }
    // And while it is mounted.
    rig.mount();
    let away = rig.take_away(1);
    is_identical(&rig, &corpus);
    drop(away);
    rig.unmount_cleanly();
    let found = rig.warifu("verify", &[OsStr::new("--json")]);
    let report: serde_json::Value = serde_json::from_slice(&found.stdout).expect("a report");
    let of_files = |finding: &&serde_json::Value| finding["of"] == "file";
    let findings = report["findings"].as_array().expect("findings");
    assert_eq!(findings.iter().filter(of_files).count(), 0, "{report}");
    // What was done while a server was away (files were read, and that is in the log) is owed to it by the journal.
    let repair = rig.warifu("verify", &[OsStr::new("--repair"), OsStr::new("--yes")]);
    assert!(
        matches!(repair.status.code(), Some(0 | 11)),
        "{}",
        said(&repair)
    );
    let deep = rig.warifu("verify", &[OsStr::new("--deep")]);
    assert!(deep.status.success(), "{}", said(&deep));
}

/// Every run of this many bytes that a server has in common with a document or a name is found.
const WINDOW: usize = 16;

/// All windows of the texts, and a filter in front of them: nearly every window of a share is not even worth hashing.
struct Scan {
    needles: HashSet<[u8; WINDOW]>,
    filter: Vec<u64>,
}

const FILTER_BITS: u32 = 30;

fn filter_place(window: &[u8; WINDOW]) -> (usize, u64) {
    let number = u128::from_le_bytes(*window);
    let mixed = (number as u64 ^ (number >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        >> (64 - FILTER_BITS);
    ((mixed / 64) as usize, 1 << (mixed % 64))
}

/// Runs of one byte stand everywhere, and zeros with a few small numbers among them are what every binary table is made
/// of, SQLite's pages too. A window tells something when no byte makes up more than half of it.
fn telling(window: &[u8; WINDOW]) -> bool {
    let times = |byte: &u8| window.iter().filter(|other| *other == byte).count();
    window
        .iter()
        .map(times)
        .max()
        .is_some_and(|most| most <= WINDOW / 2)
}

impl Scan {
    fn new() -> Self {
        Self {
            needles: HashSet::new(),
            filter: vec![0; 1 << (FILTER_BITS - 6)],
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        for window in bytes.array_windows::<WINDOW>() {
            if telling(window) {
                let (word, bit) = filter_place(window);
                self.filter[word] |= bit;
                self.needles.insert(*window);
            }
        }
    }

    fn finds(&self, haystack: &[u8]) -> Option<usize> {
        haystack.array_windows::<WINDOW>().position(|window| {
            let (word, bit) = filter_place(window);
            self.filter[word] & bit != 0 && self.needles.contains(window)
        })
    }
}

#[test]
fn p1_no_server_and_no_catalogue_holds_a_trace_of_any_document_or_name() {
    let Some((rig, corpus)) = filled() else {
        return;
    };
    let mut scan = Scan::new();
    let mut plain = 0;
    for (path, contents) in tree(&corpus) {
        if let Some(name) = path.file_name() {
            scan.add(name.as_encoded_bytes());
        }
        scan.add(path.as_os_str().as_encoded_bytes());
        if let Some(contents) = contents {
            plain += contents.len();
            scan.add(&contents);
        }
    }
    assert!(plain > 5 << 20, "the corpus is smaller than it should be");

    // The scan finds what is there: in a file among the servers', planted, at an odd place.
    let planted = rig.scratch().join("planted");
    let (_, sample) = tree(&corpus)
        .into_iter()
        .find(|(_, c)| c.as_ref().is_some_and(|c| c.len() > 5000))
        .unwrap();
    let mut bytes = vec![7; 1001];
    bytes.extend_from_slice(&sample.unwrap()[3001..3001 + 2 * WINDOW]);
    fs::write(&planted, &bytes).unwrap();
    assert!(
        scan.finds(&fs::read(&planted).unwrap()).is_some(),
        "the scan does not find what was planted"
    );
    fs::remove_file(&planted).unwrap();

    let mut scanned = 0;
    for (path, contents) in tree(rig.scratch()) {
        let Some(contents) = contents else { continue };
        // The names that warifu gives on servers are looked at too.
        assert_eq!(
            scan.finds(path.as_os_str().as_encoded_bytes()),
            None,
            "a name stands in the path {}",
            path.display()
        );
        if let Some(at) = scan.finds(&contents) {
            panic!(
                "plain bytes stand in {} at {at}: {:?}",
                path.display(),
                &contents[at..at + WINDOW]
            );
        }
        scanned += contents.len();
    }
    assert!(
        scanned > 3 * plain,
        "three shares of everything should have been scanned, not {scanned} bytes"
    );
}

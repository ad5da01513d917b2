//! What an earlier warifu has made is opened, read, saved to and rebuilt by this one, for ever.
//!
//! `released/VERSION.tar.gz` is what the program of that release made (`released/make`), with the same contents in the open beside it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;
use warifu_tests::office::scratch;
use warifu_tests::{must, root, run, said, tree, warifu};

fn samples() -> Vec<PathBuf> {
    let folder = root().join("tests/released");
    let found = fs::read_dir(folder).unwrap();
    let found = found.map(|entry| entry.unwrap().path());
    let mut samples: Vec<PathBuf> = found
        .filter(|path| path.extension().is_some_and(|end| end == "gz"))
        .collect();
    samples.sort();
    samples
}

fn unpacked(sample: &Path) -> TempDir {
    let folder = scratch("warifu-released-");
    let into = folder.path().as_os_str();
    must(
        Path::new("tar"),
        [
            OsStr::new("xzf"),
            sample.as_os_str(),
            OsStr::new("-C"),
            into,
        ],
    );
    folder
}

/// A command of this program, with everything that it names relative to the sample.
fn command(folder: &Path, line: &str) -> Output {
    let words = line.split(' ').map(|word| match word.strip_prefix('@') {
        Some(file) => folder.join(file).into_os_string(),
        None => word.into(),
    });
    let output = run(warifu(), words);
    assert!(output.status.success(), "{line}: {}", said(&output));
    output
}

/// All that is current is as it was put in.
fn is_whole(folder: &Path, vault: &str) {
    let out = scratch("warifu-released-out-");
    command(
        folder,
        &format!("get @{vault} / {}", out.path().join("all").display()),
    );
    let (found, expected) = (tree(&out.path().join("all")), tree(&folder.join("plain")));
    assert!(found == expected, "{vault}: {:?}", found.keys());
}

#[test]
fn what_each_release_has_made_is_opened_for_ever() {
    let samples = samples();
    assert!(!samples.is_empty());
    for sample in samples {
        let unpacked = unpacked(&sample);
        let folder = unpacked.path();
        let name = sample.display();

        // Before anything is written: a catalogue may be brought up to date by the first command.
        is_whole(folder, "office.toml");
        command(folder, "verify @office.toml --deep");
        command(folder, "audit verify @office.toml");
        let first = command(folder, "cat @office.toml --version 1 /庶務/見積書.docx");
        assert_eq!(
            first.stdout,
            fs::read(folder.join("first.docx")).unwrap(),
            "{name}: the first version"
        );
        let trash = command(folder, "trash list @office.toml");
        assert!(said(&trash).contains("/removed.docx"), "{name}");
        let holds = command(folder, "hold list @office.toml");
        assert!(said(&holds).contains("訴訟"), "{name}: {}", said(&holds));

        // It goes on.
        fs::write(folder.join("plain/new.txt"), "by this program\n").unwrap();
        command(folder, "put @office.toml @plain/new.txt /");
        command(folder, "refresh @office.toml --yes");
        is_whole(folder, "office.toml");
        command(folder, "verify @office.toml --deep");

        // What its servers have alone is enough, and what two of them have.
        command(folder, "rebuild @again.toml @s3 @s1");
        is_whole(folder, "again.toml");

        let bound = "cat @bound.toml /later.txt --passphrase-file @passphrase";
        let later = fs::read(folder.join("plain/later.txt")).unwrap();
        assert_eq!(command(folder, bound).stdout, later, "{name}");

        let shares: Vec<String> = fs::read_dir(folder.join("loose"))
            .unwrap()
            .map(|share| share.unwrap().path().display().to_string())
            .take(2)
            .collect();
        command(
            folder,
            &format!("combine {} -o @joined.docx", shares.join(" ")),
        );
        let joined = fs::read(folder.join("joined.docx")).unwrap();
        let estimate = fs::read(folder.join("plain/庶務/見積書.docx")).unwrap();
        assert_eq!(joined, estimate, "{name}: share files");
    }
}

//! docs/SEMANTICS.md says what the drive does like a local disk and what it does not, and each line has its test: here it is
//! seen that there is one.

use std::fs;
use std::path::Path;

use warifu_tests::root;

/// A line of a table: the words, and the tests named in its last column.
#[derive(Debug)]
struct Line {
    text: String,
    /// File and function.
    tests: Vec<(String, String)>,
}

/// The lines of all tables of a document. A test is named as `path` `function`; a path stands for those after it.
fn lines(document: &Path) -> Vec<Line> {
    let text = fs::read_to_string(document).unwrap();
    let mut lines = Vec::new();
    let mut in_body = false;
    for line in text.lines() {
        if !line.starts_with('|') {
            in_body = false;
            continue;
        }
        if line.starts_with("|---") {
            in_body = true;
            continue;
        }
        if !in_body {
            continue;
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let mut file = None;
        let mut tests = Vec::new();
        for word in cells.last().unwrap().split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") {
                file = Some(word.to_owned());
            } else {
                let file = file
                    .clone()
                    .unwrap_or_else(|| panic!("no file before {word}: {line}"));
                tests.push((file, word.to_owned()));
            }
        }
        lines.push(Line {
            text: line.to_owned(),
            tests,
        });
    }
    lines
}

/// Whether a file has a test of this name.
fn has_test(file: &str, function: &str) -> bool {
    let paths = [root().join(file), root().join("crates").join(file)];
    let Some(source) = paths.iter().find_map(|path| fs::read_to_string(path).ok()) else {
        return false;
    };
    let mut marked = false;
    for line in source.lines().map(str::trim) {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            marked = true;
        } else if line.contains("fn ") {
            let named = line
                .split("fn ")
                .nth(1)
                .and_then(|rest| rest.split('(').next());
            if marked && named == Some(function) {
                return true;
            }
            marked = false;
        }
    }
    false
}

#[test]
fn every_line_of_the_semantics_names_tests_that_exist() {
    let english = lines(&root().join("docs/SEMANTICS.md"));
    assert!(english.len() > 40, "only {} lines were read", english.len());
    for line in &english {
        assert!(!line.tests.is_empty(), "no test: {}", line.text);
        for (file, function) in &line.tests {
            assert!(
                has_test(file, function),
                "there is no test {function} in {file}: {}",
                line.text
            );
        }
    }
    // The proof that one that is not there is missed.
    assert!(!has_test("mount/tests/names.rs", "no_such_test"));
    assert!(!has_test("mount/tests/no_such_file.rs", "o_excl"));
    assert!(
        !has_test("mount/tests/rig/mod.rs", "can_mount"),
        "a function that is no test"
    );
}

#[test]
fn the_japanese_semantics_say_the_same() {
    let english = lines(&root().join("docs/SEMANTICS.md"));
    let japanese = lines(&root().join("docs/SEMANTICS.ja.md"));
    for (english, japanese) in english.iter().zip(&japanese) {
        assert_eq!(
            english.tests, japanese.tests,
            "\n{}\n{}",
            english.text, japanese.text
        );
    }
    assert_eq!(english.len(), japanese.len());
}

//! What is said of ways into a vault.

use std::path::Path;

use warifu::paper::PaperError;
use warifu::people::{KeyFileError, KeyTextError};
use warifu::store::CredentialError;
use warifu::ways::{Way, WayRefusal, WaysError};

use super::{Failure, server_fault};
use crate::exit::Exit;
use crate::output::{shown_path, shown_text};
use crate::words::say;

/// Why an answer was of no use.
pub fn refusal(refusal: &WayRefusal) -> String {
    match refusal {
        WayRefusal::WrongPassphrase => say!("way-wrong-passphrase"),
        WayRefusal::NoPassphrase => say!("way-no-passphrase"),
        WayRefusal::NoKeys => say!("way-no-keys"),
        WayRefusal::OtherKeys => say!("way-other-keys"),
        WayRefusal::OtherSheets { set } => {
            say!("way-other-sheets", set = format!("{set:05x}"))
        }
        other => say!("way-refused", detail = shown_text(&other.to_string())),
    }
}

/// What is wrong with a key, and what to do. The key itself may be secret.
fn key_problem(problem: KeyTextError) -> (String, String) {
    match problem {
        KeyTextError::Ssh => (say!("key-ssh"), say!("key-ssh-next")),
        KeyTextError::Plugin => (say!("key-plugin"), say!("key-ssh-next")),
        KeyTextError::Private => (say!("key-private"), say!("key-private-next")),
        KeyTextError::Public => (say!("key-public"), say!("key-public-next")),
        KeyTextError::Mistyped => (say!("key-mistyped"), say!("key-next")),
        _ => (say!("key-none"), say!("key-next")),
    }
}

fn names(ways: &[Way]) -> Vec<String> {
    ways.iter().map(crate::commands::way::line).collect()
}

impl Failure {
    /// The servers alone do not open the vault.
    pub(super) fn way_needed(ways: &[Way]) -> Self {
        Self::new(Exit::BadInput, say!("way-needed"), say!("way-needed-next")).with(names(ways))
    }

    pub(super) fn way_refused(why: &WayRefusal, ways: &[Way]) -> Self {
        let next = match why {
            WayRefusal::WrongPassphrase => say!("way-wrong-passphrase-next"),
            WayRefusal::OtherSheets { .. } => say!("way-other-sheets-next"),
            WayRefusal::OtherKeys => say!("way-other-keys-next"),
            _ => say!("way-refused-next"),
        };
        Self::new(Exit::BadInput, refusal(why), next).with(names(ways))
    }

    /// What the vault file refers to is out of date.
    pub(super) fn reference_refused(why: &WayRefusal, ways: &[Way]) -> Self {
        Self::new(
            Exit::BadInput,
            say!("way-reference-refused", why = refusal(why)),
            say!("way-reference-refused-next"),
        )
        .with(names(ways))
    }

    pub(super) fn way_reference(source: &CredentialError) -> Self {
        Self::new(
            Exit::BadInput,
            say!("way-reference", detail = shown_text(&source.to_string())),
            say!("way-reference-next"),
        )
    }

    /// The words of a sheet are wrong.
    pub fn sheet(error: &PaperError) -> Self {
        let what = match error {
            PaperError::Unknown {
                position,
                word,
                near,
                certain: true,
            } => say!(
                "sheet-unknown-certain",
                position = *position,
                word = shown_text(word),
                right = near.join(", ")
            ),
            PaperError::Unknown {
                position,
                word,
                near,
                ..
            } if !near.is_empty() => say!(
                "sheet-unknown-near",
                position = *position,
                word = shown_text(word),
                near = near.join(", ")
            ),
            PaperError::Unknown { position, word, .. } => say!(
                "sheet-unknown",
                position = *position,
                word = shown_text(word)
            ),
            PaperError::Wrong {
                position,
                word,
                right,
            } => say!(
                "sheet-wrong",
                position = *position,
                word = shown_text(word),
                right = right.as_str()
            ),
            PaperError::Exchanged { position } => {
                say!("sheet-exchanged", first = *position, second = *position + 1)
            }
            PaperError::Missing { position, right } => say!(
                "sheet-missing",
                position = *position,
                right = right.as_str()
            ),
            PaperError::Surplus { position } => say!("sheet-surplus", position = *position),
            PaperError::Count { got } => say!(
                "sheet-count",
                needed = warifu::ways::PAPER_WORDS,
                got = *got
            ),
            PaperError::Several => say!("sheet-several"),
            PaperError::Newer { found } => say!("sheet-newer", found = *found),
            other => say!("sheet-none", detail = other.to_string()),
        };
        Self::new(Exit::BadInput, what, say!("sheet-next"))
    }

    /// A public key that was named is none.
    pub fn key(problem: KeyTextError) -> Self {
        let (what, next) = key_problem(problem);
        Self::new(Exit::BadInput, what, next)
    }

    /// A file of keys cannot be used.
    pub fn key_file(error: &KeyFileError, path: &Path) -> Self {
        let (what, next) = match error {
            KeyFileError::Line { line, problem } => {
                let (what, next) = key_problem(*problem);
                let said = say!(
                    "key-line",
                    path = shown_path(path),
                    line = *line,
                    what = what
                );
                return Self::new(Exit::BadInput, said, next);
            }
            KeyFileError::Encrypted => (say!("key-encrypted"), say!("key-encrypted-next")),
            _ => (say!("key-file-empty"), say!("key-next")),
        };
        Self::new(Exit::BadInput, what, next).with([shown_path(path)])
    }

    /// The ways were not changed.
    pub fn ways(error: &WaysError) -> Self {
        match error {
            WaysError::Vault(error) => Self::vault(error, &say!("the-vault")),
            WaysError::Taken { name } => Self::new(
                Exit::Exists,
                say!("way-taken", name = shown_text(name)),
                say!("way-taken-next"),
            ),
            WaysError::Last => Self::new(Exit::Failed, say!("way-last"), say!("way-last-next")),
            WaysError::NoWay { .. } => Self::no_way(""),
            WaysError::Overtaken { taken_over } => Self::new(
                Exit::Failed,
                match taken_over {
                    true => say!("way-taken-over"),
                    false => say!("way-overtaken"),
                },
                say!("way-overtaken-next"),
            ),
            WaysError::TooFewServers {
                needed,
                got,
                faults,
            } => Self::new(
                Exit::TooFew,
                say!("way-too-few", needed = *needed, got = *got),
                say!("too-few-servers-next"),
            )
            .with(faults.iter().map(server_fault)),
            WaysError::Unsure { number, faults } => Self::new(
                Exit::TooFew,
                say!("way-unsure"),
                say!("way-unsure-next", number = number.0),
            )
            .with(faults.iter().map(server_fault)),
            WaysError::Unknown { faults } => Self::new(
                Exit::TooFew,
                say!("way-unknown"),
                say!("too-few-servers-next"),
            )
            .with(faults.iter().map(server_fault)),
            other => Self::new(
                Exit::Usage,
                say!("way-bad", detail = shown_text(&other.to_string())),
                say!("way-bad-next"),
            ),
        }
    }

    /// A server's new place would leave the vault with one server fewer that opens it.
    pub(super) fn no_ways_part(server: &str) -> Self {
        Self::new(
            Exit::TooFew,
            say!("way-no-part", server = shown_text(server)),
            say!("way-no-part-next"),
        )
    }

    /// There is no way of this name.
    pub fn no_way(name: &str) -> Self {
        Self::new(
            Exit::NotFound,
            say!("way-not-found", name = shown_text(name)),
            say!("way-not-found-next"),
        )
    }
}

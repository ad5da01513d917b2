//! What is said of ways into a vault.

use warifu::paper::PaperError;
use warifu::store::CredentialError;
use warifu::ways::{Way, WayRefusal, WaysError};

use super::{Failure, server_fault};
use crate::exit::Exit;
use crate::output::shown_text;
use crate::words::say;

/// Why an answer was of no use.
pub fn refusal(refusal: &WayRefusal) -> String {
    match refusal {
        WayRefusal::WrongPassphrase => say!("way-wrong-passphrase"),
        WayRefusal::NoPassphrase => say!("way-no-passphrase"),
        WayRefusal::OtherSheets { set } => {
            say!("way-other-sheets", set = format!("{set:05x}"))
        }
        other => say!("way-refused", detail = shown_text(&other.to_string())),
    }
}

fn names(ways: &[Way]) -> Vec<String> {
    ways.iter()
        .map(|way| crate::commands::way::line(way))
        .collect()
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
            _ => say!("way-refused-next"),
        };
        Self::new(Exit::BadInput, refusal(why), next).with(names(ways))
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

    /// There is no way of this name.
    pub fn no_way(name: &str) -> Self {
        Self::new(
            Exit::NotFound,
            say!("way-not-found", name = shown_text(name)),
            say!("way-not-found-next"),
        )
    }
}

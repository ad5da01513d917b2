//! Why a threshold is not changed, or no server added.

use super::Failure;
use crate::exit::Exit;
use crate::output::shown_text;
use crate::words::say;

impl Failure {
    pub(super) fn threshold(error: &warifu::Error) -> Self {
        match error {
            warifu::Error::SamePlace { server, other } => Self::new(
                Exit::Exists,
                say!(
                    "same-place",
                    server = shown_text(server),
                    other = shown_text(other)
                ),
                say!("place-taken-next"),
            ),
            warifu::Error::NewServers { needed, got } => Self::new(
                Exit::Usage,
                say!("new-servers", needed = *needed, got = *got),
                say!("new-servers-next"),
            ),
            warifu::Error::SameThreshold(threshold) => Self::new(
                Exit::Exists,
                say!("same-threshold", k = threshold.k(), n = threshold.n()),
                say!("same-threshold-next"),
            ),
            warifu::Error::FolderNeedsMore { folder, needed, n } => Self::new(
                Exit::Usage,
                say!(
                    "folder-needs-more",
                    path = shown_text(folder),
                    needed = *needed,
                    n = *n
                ),
                say!("folder-needs-more-next"),
            ),
            warifu::Error::ThresholdUnderWay { becoming } => Self::new(
                Exit::Exists,
                say!("threshold-busy", k = becoming.k(), n = becoming.n()),
                say!("threshold-left-next"),
            ),
            other => Self::new(
                Exit::Failed,
                shown_text(&other.to_string()),
                say!("failed-next"),
            ),
        }
    }
}

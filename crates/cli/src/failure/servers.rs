//! What is said of servers that cannot be reached, trusted or used.

use warifu::store::{CredentialError, OpenError, ProbeError, StoreErrorKind, Unfit};

use super::Failure;
use crate::exit::Exit;
use crate::output::{shown_path, shown_text};
use crate::words::say;

impl Failure {
    /// A server's store could not be opened. `None` for what is about a folder.
    pub(super) fn reaching(server: &str, error: &OpenError) -> Option<Self> {
        let failure = match error {
            OpenError::UnknownHostKey { shown, .. } => {
                let file = shown
                    .known_hosts
                    .as_ref()
                    .map_or_else(|| "~/.ssh/known_hosts".to_owned(), |path| shown_path(path));
                let fingerprint = shown_text(&shown.fingerprint);
                Self::new(
                    Exit::Failed,
                    say!(
                        "host-key-unknown",
                        server = server,
                        algorithm = shown_text(&shown.algorithm),
                        fingerprint = fingerprint.as_str()
                    ),
                    say!(
                        "host-key-unknown-next",
                        server = server,
                        fingerprint = fingerprint.as_str(),
                        file = file
                    ),
                )
                .with([shown_text(&shown.line)])
            }
            OpenError::HostKeyChanged {
                fingerprint,
                expected,
                ..
            } => Self::new(
                Exit::Failed,
                say!(
                    "host-key-changed",
                    server = server,
                    fingerprint = shown_text(fingerprint),
                    expected = shown_text(expected)
                ),
                say!("host-key-changed-next"),
            ),
            OpenError::HostKeyRevoked {
                fingerprint, place, ..
            } => Self::new(
                Exit::Failed,
                say!(
                    "host-key-revoked",
                    server = server,
                    fingerprint = shown_text(fingerprint),
                    place = shown_text(place)
                ),
                say!("host-key-changed-next"),
            ),
            OpenError::Certificate { detail, .. } => Self::new(
                Exit::Failed,
                say!(
                    "certificate-untrusted",
                    server = server,
                    detail = shown_text(detail)
                ),
                say!("certificate-untrusted-next", server = server),
            ),
            OpenError::Login { user, detail, .. } => Self::new(
                Exit::Failed,
                say!(
                    "login-refused",
                    server = server,
                    user = shown_text(user),
                    detail = shown_text(detail)
                ),
                say!("login-refused-next"),
            ),
            OpenError::Unreachable { detail, .. } => Self::new(
                Exit::Failed,
                say!(
                    "server-unreachable",
                    server = server,
                    detail = shown_text(detail)
                ),
                say!("server-unreachable-next"),
            ),
            OpenError::Credential(error) => {
                let next = match error {
                    CredentialError::Exposed { path } => {
                        say!("credential-exposed-next", path = shown_path(path))
                    }
                    _ => say!("server-option-next"),
                };
                Self::new(
                    Exit::Usage,
                    say!(
                        "server-option-bad",
                        server = server,
                        detail = shown_text(&error.to_string())
                    ),
                    next,
                )
            }
            OpenError::Option(error) => Self::new(
                Exit::Usage,
                say!(
                    "server-option-bad",
                    server = server,
                    detail = shown_text(&error.to_string())
                ),
                say!("server-option-next"),
            ),
            _ => return None,
        };
        Some(failure)
    }

    /// A place was tried out, and cannot keep shares.
    pub(super) fn unfit(server: &str, error: &ProbeError) -> Self {
        let server = shown_text(server);
        let why = match error {
            ProbeError::Unfit { why } => match why {
                Unfit::Replaces => say!("unfit-replaces"),
                Unfit::Loses => say!("unfit-loses"),
                Unfit::ListsTooLittle => say!("unfit-lists-too-little"),
                Unfit::WrongParts => say!("unfit-wrong-parts"),
                Unfit::Keeps => say!("unfit-keeps"),
                Unfit::NeverAbsent => say!("unfit-never-absent"),
                other => shown_text(&other.to_string()),
            },
            ProbeError::Open(error) => {
                return Self::reaching(&server, error).unwrap_or_else(|| {
                    Self::new(
                        Exit::Failed,
                        say!(
                            "store-failed",
                            server = server.as_str(),
                            detail = shown_text(&error.to_string())
                        ),
                        say!("store-failed-next"),
                    )
                });
            }
            other => {
                let full = matches!(other, ProbeError::Store { source, .. } if source.kind == StoreErrorKind::Full);
                let (exit, next) = if full {
                    (Exit::NoRoom, say!("no-room-next"))
                } else {
                    (Exit::Failed, say!("store-failed-next"))
                };
                let detail = shown_text(&other.to_string());
                return Self::new(
                    exit,
                    say!("store-failed", server = server.as_str(), detail = detail),
                    next,
                );
            }
        };
        Self::new(
            Exit::Failed,
            say!("server-unfit", server = server.as_str(), why = why),
            say!("server-unfit-next"),
        )
    }
}

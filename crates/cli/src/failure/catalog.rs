//! What is said of a catalogue and of a vault file that cannot be used.

use warifu::{CatalogError, Problem, VaultFileError};

use super::Failure;
use crate::exit::Exit;
use crate::output::{shown, shown_path, shown_text};
use crate::words::say;

impl Failure {
    /// The catalogue failed.
    pub fn catalog(error: &CatalogError, path: &str) -> Self {
        match error {
            CatalogError::NoAnswer { detail } => Self::new(
                Exit::Failed,
                say!("catalog-no-answer", detail = shown_text(detail)),
                say!("catalog-no-answer-next"),
            ),
            CatalogError::Full => {
                Self::new(Exit::NoRoom, say!("catalog-full"), say!("local-full-next"))
            }
            CatalogError::Failed { detail } => Self::new(
                Exit::Failed,
                say!("catalog-failed", path = path, detail = shown_text(detail)),
                say!("catalog-failed-next"),
            ),
            CatalogError::Newer { found, known } => Self::new(
                Exit::BadInput,
                say!("catalog-newer", found = *found, known = *known),
                say!("newer-next"),
            ),
            CatalogError::Mounted { drives } => Self::new(
                Exit::Failed,
                say!(
                    "catalog-mounted",
                    count = drives.len(),
                    drives = shown_text(&drives.join(", "))
                ),
                say!("catalog-mounted-next"),
            ),
            other => Self::new(
                Exit::BadInput,
                say!(
                    "catalog-damaged",
                    path = path,
                    detail = shown_text(&other.to_string())
                ),
                say!("catalog-damaged-next"),
            ),
        }
    }

    /// The vault file cannot be used.
    pub fn vault_file(error: &VaultFileError) -> Self {
        match error {
            VaultFileError::NotFound { path } => Self::new(
                Exit::NotFound,
                say!("vault-file-not-found", path = shown_path(path)),
                say!("vault-file-not-found-next"),
            ),
            VaultFileError::Exists { path } => Self::new(
                Exit::Exists,
                say!("vault-file-exists", path = shown_path(path)),
                say!("vault-file-exists-next"),
            ),
            VaultFileError::Changed { path } => Self::new(
                Exit::Failed,
                say!("vault-file-changed", path = shown_path(path)),
                say!("vault-file-changed-next"),
            ),
            VaultFileError::Io { path, source } => Self::local(path, source),
            VaultFileError::Newer { path, found } => Self::new(
                Exit::BadInput,
                say!("vault-file-newer", path = shown_path(path), found = *found),
                say!("newer-next"),
            ),
            VaultFileError::Invalid {
                path,
                line,
                problem,
            } => {
                let problem_text = match problem {
                    Problem::Value {
                        field,
                        found,
                        allowed,
                    } => {
                        say!(
                            "problem-value",
                            field = *field,
                            found = shown(found.as_bytes()),
                            allowed = *allowed
                        )
                    }
                    Problem::Twice { field, found } => say!(
                        "problem-twice",
                        field = *field,
                        found = shown(found.as_bytes())
                    ),
                    Problem::ServerCount { needed, got } => {
                        say!("problem-count", needed = *needed, got = *got)
                    }
                    Problem::Secret { field } => say!("problem-secret", field = *field),
                    Problem::Syntax(message) => shown_text(message),
                    other => shown_text(&other.to_string()),
                };
                let next = match problem {
                    Problem::Secret { .. } => say!("problem-secret-next"),
                    _ => say!(
                        "vault-file-invalid-next",
                        path = shown_path(path),
                        line = *line
                    ),
                };
                Self::new(
                    Exit::BadInput,
                    say!(
                        "vault-file-invalid",
                        path = shown_path(path),
                        line = *line,
                        problem = problem_text
                    ),
                    next,
                )
            }
            other => Self::new(
                Exit::Failed,
                shown_text(&other.to_string()),
                say!("failed-next"),
            ),
        }
    }
}

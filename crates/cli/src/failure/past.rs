//! What is said where the past is not known, is gone, or would be judged by a wrong clock.

use warifu::VaultError;

use super::Failure;
use crate::exit::Exit;
use crate::output::local_time;
use crate::words::say;

pub(super) fn failure(error: &VaultError, subject: &str) -> Failure {
    match error {
        VaultError::PastUnknown { since } => Failure::new(
            Exit::Failed,
            say!("past-unknown-exact", since = local_time(*since)),
            say!("past-unknown-exact-next"),
        ),
        VaultError::Destroyed => Failure::new(
            Exit::NotFound,
            say!("version-destroyed", subject = subject),
            say!("version-not-found-next"),
        ),
        VaultError::ClockAhead { now, known } => Failure::new(
            Exit::Failed,
            say!(
                "clock-ahead",
                now = local_time(*now),
                known = local_time(*known)
            ),
            say!("clock-ahead-next"),
        ),
        VaultError::HoldsChanged => Failure::new(
            Exit::Failed,
            say!("holds-changed"),
            say!("holds-changed-next"),
        ),
        other => Failure::new(Exit::Failed, other.to_string(), say!("not-found-next")),
    }
}

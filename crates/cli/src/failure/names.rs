//! What is said of names that no file can have.

use warifu::BadName;

use super::Failure;
use crate::exit::Exit;
use crate::words::say;

impl Failure {
    /// A name that no file can have.
    pub fn bad_name(bad: &BadName, subject: &str) -> Self {
        match bad {
            BadName::TooLong { got, limit } => Self::new(
                Exit::Usage,
                say!(
                    "name-too-long",
                    subject = subject,
                    got = *got,
                    limit = *limit
                ),
                say!("name-too-long-next"),
            ),
            BadName::Impossible => Self::new(
                Exit::Usage,
                say!("name-impossible", subject = subject),
                say!("name-impossible-next"),
            ),
        }
    }
}

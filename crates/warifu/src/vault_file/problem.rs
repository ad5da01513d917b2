//! What can be wrong with a field of a vault file.

use std::fmt;

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Not the syntax of a vault file, an unknown field, or a missing one; in the parser's words.
    Syntax(String),
    /// The field cannot have this value.
    Value {
        /// The field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        allowed: &'static str,
    },
    /// Two servers have the same value there.
    Twice {
        /// The field.
        field: &'static str,
        /// The value that two servers have.
        found: String,
    },
    /// Not as many servers as shares.
    ServerCount {
        /// The shares that `threshold.n` asks for.
        needed: u8,
        /// The servers listed.
        got: usize,
    },
    /// A secret stands in a URL, or where a reference to one belongs.
    Secret {
        /// The field.
        field: &'static str,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(message) => f.write_str(message),
            Self::Value {
                field,
                found,
                allowed,
            } => write!(f, "{field} is {found:?}, but must be {allowed}"),
            Self::Twice { field, found } => write!(f, "two servers have the {field} {found:?}"),
            Self::ServerCount { needed, got } => {
                write!(f, "threshold.n is {needed}, but {got} servers are listed")
            }
            Self::Secret { field } => write!(
                f,
                "{field} holds a password; secrets must not stand in the vault file"
            ),
        }
    }
}

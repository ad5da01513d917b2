//! People's keys as files: those that `age-keygen` writes, and lists of public keys.
//!
//! ```
//! use warifu::people::{identities_in, recipients_in};
//!
//! let file = "# created: 2026-11-29\nAGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX\n";
//! let identities = identities_in(file.as_bytes())?;
//! let public = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";
//! assert_eq!(recipients_in(public)?, [identities[0].recipient()]);
//! # Ok::<(), warifu::people::KeyFileError>(())
//! ```

pub use warifu_core::ways::{Identity, KeyTextError, Recipient};

/// Why a file holds no keys that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It holds none.
    #[error("there is no key in it")]
    Empty,
    /// It holds private keys under a passphrase of their own.
    #[error("it is encrypted itself")]
    Encrypted,
    /// A line of it is no key. It is not repeated here: it may be secret.
    #[error("line {line}: {problem}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        problem: KeyTextError,
    },
}

/// The private keys in a file, one a line; lines that begin with `#` say something to people.
///
/// # Errors
/// [`KeyFileError`].
pub fn identities_in(bytes: &[u8]) -> Result<Vec<Identity>, KeyFileError> {
    let encrypted: [&[u8]; 2] = [b"age-encryption.org/", b"-----BEGIN AGE ENCRYPTED"];
    if encrypted.iter().any(|start| bytes.starts_with(start)) {
        return Err(KeyFileError::Encrypted);
    }
    let other = KeyFileError::Line {
        line: 1,
        problem: KeyTextError::Other,
    };
    let text = std::str::from_utf8(bytes).map_err(|_| other)?;
    lines(text, Identity::parse)
}

/// The public keys in a text, one a line.
///
/// # Errors
/// [`KeyFileError`].
pub fn recipients_in(text: &str) -> Result<Vec<Recipient>, KeyFileError> {
    lines(text, Recipient::parse)
}

fn lines<T>(
    text: &str,
    read: impl Fn(&str) -> Result<T, KeyTextError>,
) -> Result<Vec<T>, KeyFileError> {
    let mut keys = Vec::new();
    for (line, text) in (1..).zip(text.lines().map(str::trim)) {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        match read(text) {
            Ok(key) => keys.push(key),
            Err(problem) => return Err(KeyFileError::Line { line, problem }),
        }
    }
    if keys.is_empty() {
        return Err(KeyFileError::Empty);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_of_keys_is_said_by_its_line() {
        let wrong = |text: &str| identities_in(text.as_bytes()).unwrap_err();
        let line = |line, problem| KeyFileError::Line { line, problem };
        assert_eq!(wrong("# nothing\n\n"), KeyFileError::Empty);
        assert_eq!(
            wrong("age-encryption.org/v1\n-> scrypt x"),
            KeyFileError::Encrypted
        );
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc";
        assert_eq!(wrong(key), line(1, KeyTextError::Ssh));
        let public = "# key\nage1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj\n";
        assert_eq!(wrong(public), line(2, KeyTextError::Public));
        assert_eq!(recipients_in(public).unwrap().len(), 1);
        assert!(identities_in(&[0xFF]).is_err());
    }
}

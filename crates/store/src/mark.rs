//! The mark of a store: which one it is, wherever it is reached.

use std::fmt;

use warifu_vault::seam::store::{StoreError, StoreErrorKind};

/// The name of the marker file, at the top of every store.
pub(crate) const MARKER: &str = "warifu-store";
const FORMAT: u32 = 1;

/// The random mark in a store's marker file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Mark(String);

/// Why what the marker file holds is no mark.
pub(crate) enum MarkError {
    Damaged,
    Newer(u32),
}

impl Mark {
    pub(crate) fn fresh() -> Result<Self, StoreError> {
        random_hex().map(Self)
    }

    /// What the marker file holds.
    pub(crate) fn line(&self) -> String {
        format!("{MARKER} {FORMAT} {}\n", self.0)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, MarkError> {
        let text = std::str::from_utf8(bytes).map_err(|_| MarkError::Damaged)?;
        let mut words = text.lines().next().unwrap_or_default().split(' ');
        if words.next() != Some(MARKER) {
            return Err(MarkError::Damaged);
        }
        let format = words
            .next()
            .and_then(|word| word.parse::<u32>().ok())
            .ok_or(MarkError::Damaged)?;
        if format > FORMAT {
            return Err(MarkError::Newer(format));
        }
        match (words.next(), words.next()) {
            (Some(mark), None)
                if mark.len() == 32 && mark.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                Ok(Self(mark.to_owned()))
            }
            _ => Err(MarkError::Damaged),
        }
    }
}

/// The 32 digits.
impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 32 random hexadecimal digits: a name, or a mark, that nobody else has.
pub(crate) fn random_hex() -> Result<String, StoreError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        StoreError::new(
            StoreErrorKind::Failed,
            format!("the system gives no random bytes: {error}"),
        )
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_back_and_anything_else_is_refused() {
        let mark = Mark::fresh().unwrap();
        assert!(Mark::parse(mark.line().as_bytes()).is_ok_and(|read| read == mark));
        for text in [
            "",
            "warifu-store",
            "warifu-store 1",
            "warifu-store 1 12",
            "something 1 0123",
            "warifu-store x y",
        ] {
            assert!(
                matches!(Mark::parse(text.as_bytes()), Err(MarkError::Damaged)),
                "{text:?}"
            );
        }
        assert!(matches!(
            Mark::parse(&[0xFF, 0xFE]),
            Err(MarkError::Damaged)
        ));
        let newer = format!("warifu-store 2 {} and-more", "0".repeat(32));
        assert!(matches!(
            Mark::parse(newer.as_bytes()),
            Err(MarkError::Newer(2))
        ));
    }
}

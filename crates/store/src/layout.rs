//! How a store lies in a folder, whichever way the folder is reached: the same folder can be used as a directory today and over SFTP
//! tomorrow.

use std::fmt::Write as _;

use warifu_vault::seam::store::{ObjectKey, StoreError, StoreErrorKind};

pub(crate) const MARKER: &str = "warifu-store";
pub(crate) const OBJECTS: &str = "objects";
pub(crate) const TMP: &str = "tmp";
/// Made by mkfs at the top of ext file systems; belongs to nobody.
pub(crate) const LOST_FOUND: &str = "lost+found";

const FORMAT: u32 = 1;
/// The marker is one short line; what is longer is none.
pub(crate) const MARKER_LIMIT: usize = 256;
/// A temporary file older than this was left by a crash; generous, as a file server's clock is its own.
pub(crate) const STALE_AFTER_SECS: i64 = 24 * 60 * 60;

/// The random mark in a store's marker file: which store this is, wherever it is mounted.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Mark(String);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadMark {
    Damaged,
    Newer(u32),
}

impl Mark {
    pub(crate) fn fresh() -> Result<Self, StoreError> {
        random_hex().map(Self)
    }

    pub(crate) fn digits(&self) -> &str {
        &self.0
    }

    pub(crate) fn line(&self) -> String {
        format!("{MARKER} {FORMAT} {}\n", self.0)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BadMark> {
        let text = std::str::from_utf8(bytes).map_err(|_| BadMark::Damaged)?;
        let mut words = text.lines().next().unwrap_or_default().split(' ');
        if words.next() != Some(MARKER) {
            return Err(BadMark::Damaged);
        }
        let format = words
            .next()
            .and_then(|word| word.parse::<u32>().ok())
            .ok_or(BadMark::Damaged)?;
        if format > FORMAT {
            return Err(BadMark::Newer(format));
        }
        match (words.next(), words.next()) {
            (Some(mark), None)
                if mark.len() == 32 && mark.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                Ok(Self(mark.to_owned()))
            }
            _ => Err(BadMark::Damaged),
        }
    }
}

/// Where an object lies under the folder.
pub(crate) struct Place {
    /// Relative to the folder.
    pub path: String,
    /// The shard folder it lies in; `None` for what lies at the top.
    pub shard: Option<u8>,
}

impl Place {
    pub(crate) fn of(name: &ObjectKey) -> Self {
        let text = name.as_str();
        match text.get(..2) {
            Some(shard) if name.is_share() => Self {
                path: format!("{OBJECTS}/{shard}/{text}"),
                shard: u8::from_str_radix(shard, 16).ok(),
            },
            _ => Self {
                path: text.to_owned(),
                shard: None,
            },
        }
    }

    /// The folder that holds the name, relative to the store's folder.
    pub(crate) fn folder(&self) -> String {
        self.shard.map_or_else(|| ".".to_owned(), shard_folder)
    }
}

pub(crate) fn shard_folder(shard: u8) -> String {
    format!("{OBJECTS}/{shard:02x}")
}

/// The two hexadecimal digits that name a shard folder.
pub(crate) fn shard_of(name: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(name)
        .ok()
        .filter(|text| text.len() == 2)?;
    let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if lower {
        u8::from_str_radix(text, 16).ok()
    } else {
        None
    }
}

/// A folder of a listing.
#[derive(Clone, Copy)]
pub(crate) enum Folder {
    Top,
    Shard(u8),
}

impl Folder {
    /// Whether a name lies where we would look for it.
    pub(crate) fn holds(self, key: &ObjectKey) -> bool {
        match (self, Place::of(key).shard) {
            (Self::Top, None) => true,
            (Self::Shard(folder), Some(shard)) => folder == shard,
            _ => false,
        }
    }
}

/// 32 random digits.
pub(crate) fn random_hex() -> Result<String, StoreError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        StoreError::new(
            StoreErrorKind::Failed,
            format!("the operating system gave no randomness: {error}"),
        )
    })?;
    let mut text = String::with_capacity(32);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// Whether a name in the folder for temporary files is of our making.
pub(crate) fn is_temp_name(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
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
                matches!(Mark::parse(text.as_bytes()), Err(BadMark::Damaged)),
                "{text:?}"
            );
        }
        assert!(matches!(Mark::parse(&[0xFF, 0xFE]), Err(BadMark::Damaged)));
        let newer = format!("warifu-store 2 {} and-more", "0".repeat(32));
        assert!(matches!(
            Mark::parse(newer.as_bytes()),
            Err(BadMark::Newer(2))
        ));
    }

    #[test]
    fn a_shard_is_two_lower_case_digits() {
        assert_eq!(shard_of(b"0a"), Some(10));
        for name in [&b"0A"[..], b"+a", b"a", b"abc", b"..", b"zz"] {
            assert_eq!(shard_of(name), None, "{name:?}");
        }
    }
}

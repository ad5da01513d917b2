//! [`VaultPath`]: a path within a vault.

use std::fmt;

use warifu_vault::node::{BadName, Name};

/// A path from the root of a vault: names, as bytes. `/a/b`, `a/b` and `/a//b/` are the same path.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaultPath(Vec<Name>);

impl VaultPath {
    /// The root.
    pub const ROOT: Self = Self(Vec::new());

    /// Reads a path. `.` stands for nothing; `..` is refused, since nothing says what it would lead to.
    ///
    /// # Errors
    /// [`BadName`] when a part of it cannot be a name.
    pub fn parse(path: impl AsRef<[u8]>) -> Result<Self, BadName> {
        path.as_ref()
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .map(Name::new)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The path of something in this folder.
    #[must_use]
    pub fn join(&self, name: Name) -> Self {
        let mut names = self.0.clone();
        names.push(name);
        Self(names)
    }

    /// The folder in which it lies, and its name there; `None` for the root.
    #[must_use]
    pub fn split(&self) -> Option<(Self, &Name)> {
        self.0
            .split_last()
            .map(|(name, folder)| (Self(folder.to_vec()), name))
    }

    /// The names from the root.
    #[must_use]
    pub fn names(&self) -> &[Name] {
        &self.0
    }

    /// Whether it lies below `folder`, or is it.
    #[must_use]
    pub fn is_within(&self, folder: &Self) -> bool {
        self.0.starts_with(&folder.0)
    }

    /// The path's bytes, with `/` in front.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.0.is_empty() {
            return b"/".to_vec();
        }
        self.0
            .iter()
            .flat_map(|name| [b"/".as_slice(), name.as_bytes()])
            .flatten()
            .copied()
            .collect()
    }
}

/// Silent: names are secret, and logs are not.
impl fmt::Debug for VaultPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VaultPath(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_people_write_them() {
        let path = VaultPath::parse("/a//./b/").unwrap();
        assert_eq!(path, VaultPath::parse("a/b").unwrap());
        assert_eq!(path.to_bytes(), b"/a/b");
        assert_eq!(VaultPath::parse("").unwrap(), VaultPath::ROOT);
        assert_eq!(VaultPath::ROOT.to_bytes(), b"/");
        let (folder, name) = path.split().unwrap();
        assert_eq!(
            (folder.to_bytes().as_slice(), name.as_bytes()),
            (b"/a".as_slice(), b"b".as_slice())
        );
        assert!(VaultPath::ROOT.split().is_none());
        assert!(path.is_within(&folder) && path.is_within(&path) && !folder.is_within(&path));
    }

    #[test]
    fn impossible_paths_are_refused() {
        assert_eq!(VaultPath::parse("a/../b"), Err(BadName::Impossible));
        assert_eq!(VaultPath::parse("a\0"), Err(BadName::Impossible));
        assert!(matches!(
            VaultPath::parse("x".repeat(256)),
            Err(BadName::TooLong { got: 256, .. })
        ));
        assert_eq!(
            VaultPath::parse(b"\xff/\xfe").unwrap().to_bytes(),
            b"/\xff/\xfe"
        );
    }
}

//! What is kept, and for how long.

use std::time::Duration;

use crate::node::Name;

/// What a rule keeps. What it doesn't speak of it keeps for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// A version goes when it has not been current for so long, a removed file when it was removed so long ago.
    pub keep: Option<Duration>,
    /// A version goes when so many of its document are newer, the current one among them.
    pub versions: Option<u64>,
}

impl Rule {
    /// Whether it lets nothing go.
    #[must_use]
    pub const fn keeps_all(&self) -> bool {
        self.keep.is_none() && self.versions.is_none()
    }
}

/// A rule for what lies in a folder, and below it.
#[derive(Clone, PartialEq, Eq)]
pub struct FolderRule {
    /// The folder, from the root.
    pub path: Vec<Name>,
    /// The rule.
    pub rule: Rule,
}

/// Silent: it holds names.
impl std::fmt::Debug for FolderRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FolderRule(.., {:?})", self.rule)
    }
}

/// The rules of a vault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Where no folder's rule holds.
    pub general: Rule,
    /// Of folders: the deepest that a file lies in counts, alone.
    pub folders: Vec<FolderRule>,
}

impl Rules {
    /// Whether they let nothing go.
    #[must_use]
    pub fn keep_all(&self) -> bool {
        let folders = self.folders.iter().map(|folder| &folder.rule);
        folders.chain([&self.general]).all(Rule::keeps_all)
    }

    /// The rule for what lies at a path.
    #[must_use]
    pub fn of(&self, path: &[Name]) -> Rule {
        self.folders
            .iter()
            .filter(|folder| path.starts_with(&folder.path))
            .max_by_key(|folder| folder.path.len())
            .map_or(self.general, |folder| folder.rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_folder_decides() {
        let path = |text: &str| -> Vec<Name> {
            text.split('/')
                .map(|part| Name::new(part.as_bytes()).unwrap())
                .collect()
        };
        let rule = |versions| Rule {
            keep: None,
            versions: Some(versions),
        };
        let rules = Rules {
            general: rule(1),
            folders: vec![
                FolderRule {
                    path: path("a/b"),
                    rule: rule(3),
                },
                FolderRule {
                    path: path("a"),
                    rule: rule(2),
                },
            ],
        };
        for (text, expected) in [("x", 1), ("a/x", 2), ("a/b/x", 3), ("ab/x", 1), ("a", 2)] {
            assert_eq!(rules.of(&path(text)).versions, Some(expected), "{text}");
        }
        assert!(!rules.keep_all() && Rules::default().keep_all());
    }
}

//! `retention` in the vault file: what is kept, and for how long.
//!
//! ```toml
//! [retention]
//! keep = "90 days"
//! versions = 50
//!
//! [[retention.folder]]
//! path = "/taxes"
//! keep = "10 years"
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use toml::Value;
use warifu_vault::retain::{FolderRule, Rule, Rules};

use crate::VaultPath;
use crate::vault_file::{Problem, Retention};

const DAY: u64 = 86_400;

/// The units in which a time is written, the largest first. A month has 30 days and a year 365.
const UNITS: [(&str, u64); 6] = [
    ("year", 365 * DAY),
    ("month", 30 * DAY),
    ("week", 7 * DAY),
    ("day", DAY),
    ("hour", 3600),
    ("minute", 60),
];

/// Reads a length of time such as `90 days`.
pub(crate) fn length(text: &str) -> Option<Duration> {
    let (count, unit) = text.trim().split_once(' ')?;
    let count: u64 = count.parse().ok()?;
    let unit = unit.trim();
    let unit = unit.strip_suffix('s').unwrap_or(unit);
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    count.checked_mul(*seconds).map(Duration::from_secs)
}

/// Writes a length of time as the vault file has it, such as `90 days`; whole minutes.
#[must_use]
pub fn length_text(length: Duration) -> String {
    let seconds = length.as_secs();
    let exact = UNITS
        .iter()
        // 90 days are what somebody wrote, and not three months.
        .filter(|(name, _)| !["month", "week"].contains(name))
        .find(|(_, unit)| seconds >= *unit && seconds.is_multiple_of(*unit));
    let (name, unit) = exact.copied().unwrap_or(("minute", 60));
    let count = seconds / unit;
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {name}{plural}")
}

/// What is wrong with a field: what was found, and what is possible.
fn wrong(field: &'static str, found: &impl ToString, allowed: &'static str) -> Problem {
    Problem::Value {
        field,
        found: found.to_string(),
        allowed,
    }
}

/// Reads what stands under `retention`. `None` for "all".
pub(crate) fn parse(value: &Value) -> Result<Option<Rules>, Problem> {
    let table = match value {
        Value::String(word) if word == "all" => return Ok(None),
        Value::Table(table) => table,
        other => {
            let allowed = "\"all\", or a table with keep and versions";
            return Err(wrong("retention", other, allowed));
        }
    };
    let mut rules = Rules {
        general: rule(table)?,
        folders: Vec::new(),
    };
    let folders = match table.get("folder") {
        None => &[],
        Some(Value::Array(folders)) => folders.as_slice(),
        Some(other) => return Err(wrong("retention.folder", other, "[[retention.folder]]")),
    };
    known(table, &["keep", "versions", "folder"])?;
    for folder in folders {
        let allowed = "a table with path, keep and versions";
        let Value::Table(folder) = folder else {
            return Err(wrong("retention.folder", folder, allowed));
        };
        known(folder, &["path", "keep", "versions"])?;
        let text = folder
            .get("path")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let path = VaultPath::parse(text)
            .ok()
            .filter(|path| !path.names().is_empty())
            .ok_or_else(|| wrong("retention.folder.path", &text, "a folder of the vault"))?;
        rules.folders.push(FolderRule {
            path: path.names().to_vec(),
            rule: rule(folder)?,
        });
    }
    Ok(Some(rules))
}

fn known(table: &toml::Table, fields: &[&str]) -> Result<(), Problem> {
    match table.keys().find(|key| !fields.contains(&key.as_str())) {
        None => Ok(()),
        Some(other) => Err(wrong("retention", other, "keep, versions, folder and path")),
    }
}

fn rule(table: &toml::Table) -> Result<Rule, Problem> {
    let keep = match table.get("keep") {
        None => None,
        Some(Value::String(word)) if word == "all" => None,
        Some(value) => {
            let allowed = "\"all\", or a time such as \"90 days\" (minutes to years)";
            let found = value.as_str().and_then(length);
            Some(found.ok_or_else(|| wrong("retention.keep", value, allowed))?)
        }
    };
    let versions = match table.get("versions") {
        None => None,
        Some(value) => {
            let found = value
                .as_integer()
                .and_then(|count| u64::try_from(count).ok());
            let found = found.filter(|count| *count > 0);
            Some(found.ok_or_else(|| wrong("retention.versions", value, "a number from 1"))?)
        }
    };
    Ok(Rule { keep, versions })
}

/// What stands in the top of a vault file.
pub(crate) fn field(retention: &Retention) -> &'static str {
    match retention {
        Retention::All => "retention = \"all\"\n",
        Retention::Rules(_) => "",
    }
}

/// What stands after the fields of its top.
pub(crate) fn table(retention: &Retention) -> String {
    match retention {
        Retention::All => String::new(),
        Retention::Rules(rules) => format!("{}\n", render(rules)),
    }
}

fn render(rules: &Rules) -> String {
    let mut text = String::from("[retention]\n");
    fields(&mut text, rules.general);
    for folder in &rules.folders {
        text.push_str("\n[[retention.folder]]\n");
        let mut path = String::new();
        for name in &folder.path {
            let _ = write!(path, "/{}", name.display());
        }
        let _ = writeln!(text, "path = {}", Value::String(path));
        fields(&mut text, folder.rule);
    }
    text
}

fn fields(text: &mut String, rule: Rule) {
    if let Some(keep) = rule.keep {
        let _ = writeln!(text, "keep = \"{}\"", length_text(keep));
    }
    if let Some(versions) = rule.versions {
        let _ = writeln!(text, "versions = {versions}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Rules>, Problem> {
        let table: toml::Table = text.parse().unwrap();
        parse(table.get("retention").unwrap())
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        assert_eq!(read("retention = \"all\"").unwrap(), None);
        let text = "[retention]\nkeep = \"90 days\"\nversions = 50\n\n\
                    [[retention.folder]]\npath = \"/税務\"\nkeep = \"10 years\"\n\n\
                    [[retention.folder]]\npath = \"/a/b\"\nversions = 1\n";
        let rules = read(text).unwrap().unwrap();
        assert_eq!(rules.general.keep, Some(Duration::from_secs(90 * DAY)));
        assert_eq!(rules.folders[1].rule.keep, None);
        assert_eq!(render(&rules), text);
        for (text, seconds) in [
            ("1 minute", 60),
            ("36 hours", 36 * 3600),
            ("2 weeks", 14 * DAY),
            ("6 months", 180 * DAY),
            ("1 year", 365 * DAY),
        ] {
            let found = length(text).unwrap();
            assert_eq!(found.as_secs(), seconds, "{text}");
            assert_eq!(length(&length_text(found)), Some(found));
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, field) in [
            ("retention = \"some\"", "retention"),
            ("retention = 5", "retention"),
            ("[retention]\nkeep = \"soon\"", "retention.keep"),
            ("[retention]\nkeep = 90", "retention.keep"),
            (
                "[retention]\nkeep = \"99999999999999999999 years\"",
                "retention.keep",
            ),
            ("[retention]\nversions = 0", "retention.versions"),
            ("[retention]\nage = 1", "retention"),
            (
                "[[retention.folder]]\nkeep = \"1 day\"",
                "retention.folder.path",
            ),
            (
                "[[retention.folder]]\npath = \"/\"",
                "retention.folder.path",
            ),
            ("[[retention.folder]]\npath = \"/a\"\nfor = 1", "retention"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(
                matches!(problem, Problem::Value { field: named, .. } if named == field),
                "{text}: {problem:?}"
            );
        }
    }
}

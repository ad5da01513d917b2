//! The audit log for people: which lines are looked for, whether the chain holds, and whether a copy says the same.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;

use warifu_catalog::chain_after;
use warifu_vault::context::Act;
use warifu_vault::error::VaultError;
use warifu_vault::node::{Name, NodeId};
use warifu_vault::seam::catalog::{AuditRow, CatalogError};
use warifu_vault::seam::past::PastName;

use crate::{Timestamp, VaultPath, Warifu};

/// How many lines are in memory at once.
const PAGE: usize = 512;

/// Which lines of the log are wanted. Those that fit everything that is said.
#[derive(Clone, Debug, Default)]
pub struct LogFilter {
    /// Of this person.
    pub person: Option<String>,
    /// From this machine.
    pub host: Option<String>,
    /// Of this act.
    pub act: Option<Act>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Of this file or folder, under all names that it ever had.
    pub of: Option<OfFile>,
}

/// What tells the lines of one file from the others.
#[derive(Clone, Debug, Default)]
pub struct OfFile {
    nodes: HashSet<NodeId>,
    /// In which folder, and when, one of its names began or ended: these lines name the folder.
    turns: HashSet<(NodeId, Timestamp)>,
    /// When one of its names began: such a line may name the folder that it came from.
    arrivals: HashSet<Timestamp>,
    names: Vec<Name>,
}

impl OfFile {
    fn add(&mut self, name: &PastName) {
        self.nodes.insert(name.node);
        self.turns.insert((name.parent, name.since));
        self.arrivals.insert(name.since);
        if let Some((until, _)) = name.until {
            self.turns.insert((name.parent, until));
        }
        if !self.names.contains(&name.name) {
            self.names.push(name.name.clone());
        }
    }

    fn matches(&self, row: &AuditRow) -> bool {
        let Some(node) = row.entry.node else {
            return false;
        };
        if self.nodes.contains(&node) {
            return true;
        }
        let of_folder = matches!(
            row.entry.act,
            Act::Create | Act::Remove | Act::Rename | Act::Restore | Act::Conflict | Act::Link
        );
        let turn = self.turns.contains(&(node, row.entry.at))
            || (row.entry.act == Act::Rename && self.arrivals.contains(&row.entry.at));
        of_folder
            && turn
            && self
                .names
                .iter()
                .any(|name| row.entry.detail.contains(&*name.display()))
    }
}

impl LogFilter {
    /// Whether a line is wanted.
    #[must_use]
    pub fn matches(&self, row: &AuditRow) -> bool {
        let entry = &row.entry;
        let same = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        same(&self.person, &entry.context.actor)
            && same(&self.host, &entry.context.host)
            && self.act.is_none_or(|act| act == entry.act)
            && self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at < until)
            && self.of.as_ref().is_none_or(|of| of.matches(row))
    }
}

/// How far the chain holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogCheck {
    /// Lines that fit.
    pub lines: u64,
    /// The chain value of the last of them; zeros where there is none.
    pub chain: [u8; 32],
    /// The first line that does not fit.
    pub fault: Option<LogFault>,
}

/// Why a line does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFault {
    /// Lines are missing before it.
    Gap {
        /// The number that should have come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// Its chain value does not follow from the line before and what it says: one of the two was altered.
    Chain {
        /// The line's number.
        seq: u64,
    },
    /// It cannot be opened: it was altered, or moved from another place.
    Unreadable {
        /// The line's number.
        seq: u64,
        /// What is wrong.
        detail: String,
    },
}

impl LogFault {
    /// The number of the first line that does not fit.
    #[must_use]
    pub fn seq(&self) -> u64 {
        match self {
            Self::Gap { found, .. } => *found,
            Self::Chain { seq } | Self::Unreadable { seq, .. } => *seq,
        }
    }
}

/// What a copy of the log says beside the catalogue's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyCheck {
    /// Lines of the copy that are the catalogue's.
    pub same: u64,
    /// Lines of the file in which no line of the log was found.
    pub other: u64,
    /// The lowest and the highest number in the copy.
    pub span: Option<(u64, u64)>,
    /// The line with the lowest number that the catalogue has otherwise, or not at all.
    pub difference: Option<CopyDifference>,
}

/// A line of a copy that is not the catalogue's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyDifference {
    /// The line's number.
    pub seq: u64,
    /// Whether the catalogue has a line of this number.
    pub known: bool,
}

impl Warifu {
    /// Goes through the log from its first line to its last; `see` gets the lines wanted, in order, until it says `false`.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn read_log(
        &self,
        filter: &LogFilter,
        see: &mut (dyn FnMut(&AuditRow) -> bool + Send),
    ) -> Result<(), VaultError> {
        let mut after = 0;
        loop {
            let page = self.vault().audit(after, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.seq;
            for row in page.iter().filter(|row| filter.matches(row)) {
                if !see(row) {
                    return Ok(());
                }
            }
        }
    }

    /// What tells the lines of the file or folder of this path: of the one that has it now, or had it last.
    ///
    /// # Errors
    /// `NotFound` when nothing ever had this path; errors of the catalogue.
    pub async fn of_file(&self, path: &VaultPath) -> Result<OfFile, VaultError> {
        let mut of = OfFile::default();
        if path.names().is_empty() {
            of.nodes.insert(NodeId::ROOT);
            return Ok(of);
        }
        let name = self.vault().last_name(self.context(), path.names()).await?;
        let names = match name.document {
            document if document == warifu_core::ids::FileId::NIL => {
                self.vault()
                    .names_of_node(self.context(), name.node)
                    .await?
            }
            document => self.vault().names_of(self.context(), document).await?,
        };
        names.iter().for_each(|name| of.add(name));
        // A file that took over the document of the one it replaced began with another one.
        let mut nodes: HashMap<NodeId, ()> = HashMap::new();
        for node in names.iter().map(|name| name.node) {
            if nodes.insert(node, ()).is_none() {
                let of_node = self.vault().names_of_node(self.context(), node).await?;
                of_node.iter().for_each(|name| of.add(name));
            }
        }
        Ok(of)
    }

    /// Follows the chain from the first line to the last, or to the first that does not fit. Memory does not grow with the log.
    ///
    /// # Errors
    /// Errors of the catalogue.
    pub async fn check_log(
        &self,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<LogCheck, VaultError> {
        let mut check = LogCheck::default();
        let mut page_len = PAGE;
        loop {
            let page = match self.vault().audit(check.lines, page_len).await {
                Ok(page) => page,
                // Which of them it is shows when they are read one by one.
                Err(VaultError::Catalog(CatalogError::Damaged { .. })) if page_len > 1 => {
                    page_len = 1;
                    continue;
                }
                Err(VaultError::Catalog(CatalogError::Damaged { detail })) => {
                    let seq = check.lines + 1;
                    check.fault = Some(LogFault::Unreadable { seq, detail });
                    return Ok(check);
                }
                Err(error) => return Err(error),
            };
            if page.is_empty() {
                return Ok(check);
            }
            for row in page {
                let expected = check.lines + 1;
                if row.seq != expected {
                    let found = row.seq;
                    check.fault = Some(LogFault::Gap { expected, found });
                    return Ok(check);
                }
                let chain = chain_after(self.catalog_key(), &check.chain, row.seq, &row.entry)
                    .map_err(VaultError::from)?;
                if chain != row.chain {
                    check.fault = Some(LogFault::Chain { seq: row.seq });
                    return Ok(check);
                }
                (check.lines, check.chain) = (row.seq, row.chain);
            }
            progress(check.lines);
        }
    }

    /// Up to a page of lines after a number; those that cannot be opened are left out.
    async fn lines_after(&self, after: u64) -> Result<Vec<AuditRow>, VaultError> {
        match self.vault().audit(after, PAGE).await {
            Err(VaultError::Catalog(CatalogError::Damaged { .. })) => {}
            other => return other,
        }
        let mut lines = Vec::new();
        for at in (after..).take(PAGE) {
            match self.vault().audit(at, 1).await {
                Ok(one) => lines.extend(one.into_iter().filter(|row| row.seq == at + 1)),
                Err(VaultError::Catalog(CatalogError::Damaged { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(lines)
    }

    /// Whether there is a line of this number that cannot be opened.
    async fn is_unopened(&self, seq: u64) -> Result<bool, VaultError> {
        match self.vault().audit(seq.saturating_sub(1), 1).await {
            Err(VaultError::Catalog(CatalogError::Damaged { .. })) => Ok(true),
            other => other.map(|_| false),
        }
    }

    /// Compares a copy of the log with the catalogue's: lines as `audit list --json` prints them, or as they were sent to a syslog server. Of
    /// each line number and chain value are compared: the value stands for the line and all before it.
    /// A line of the catalogue that cannot be opened is a difference.
    ///
    /// # Errors
    /// When the copy cannot be read; errors of the catalogue.
    pub async fn compare_copy(
        &self,
        copy: &mut (dyn BufRead + Send),
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<CopyCheck, crate::Error> {
        let mut check = CopyCheck::default();
        let mut known: Vec<AuditRow> = Vec::new();
        let mut line = Vec::new();
        let mut done = 0;
        loop {
            line.clear();
            // Longer than any line of the log that was not made to fill memory.
            let read = std::io::Read::take(&mut *copy, 1 << 20)
                .read_until(b'\n', &mut line)
                .map_err(crate::Error::Stream)?;
            if read == 0 {
                return Ok(check);
            }
            done += 1;
            if done % 1000 == 0 {
                progress(done);
            }
            let Some((seq, chain)) = copied_line(&String::from_utf8_lossy(&line)) else {
                check.other += u64::from(!line.trim_ascii().is_empty());
                continue;
            };
            let (low, high) = check.span.unwrap_or((seq, seq));
            check.span = Some((low.min(seq), high.max(seq)));
            let mut place = known.binary_search_by_key(&seq, |row| row.seq);
            if place.is_err() {
                known = self.lines_after(seq.saturating_sub(1)).await?;
                place = known.binary_search_by_key(&seq, |row| row.seq);
            }
            let mine = place.ok().and_then(|place| known.get(place));
            if mine.is_some_and(|row| row.chain == chain) {
                check.same += 1;
                continue;
            }
            let known = mine.is_some() || self.is_unopened(seq).await?;
            let difference = CopyDifference { seq, known };
            match &check.difference {
                Some(before) if before.seq <= seq => {}
                _ => check.difference = Some(difference),
            }
        }
    }
}

/// The number and the chain value in a line of a copy: both kinds of copy name them `seq` and `chain`, the one as JSON has it, the other
/// as the structured data of RFC 5424 has it.
fn copied_line(line: &str) -> Option<(u64, [u8; 32])> {
    let json = line.trim_start().starts_with('{');
    let (seq, chain) = if json {
        ("\"seq\":", "\"chain\":\"")
    } else {
        let data = line.find("[warifu@")?;
        return copied(line.get(data..)?, " seq=\"", " chain=\"");
    };
    copied(line, seq, chain)
}

fn copied(text: &str, seq: &str, chain: &str) -> Option<(u64, [u8; 32])> {
    let digits = |text: &str, hex: bool| -> String {
        text.chars()
            .take_while(|c| c.is_ascii_digit() || (hex && c.is_ascii_hexdigit()))
            .collect()
    };
    let number = text.split_once(seq)?.1.trim_start();
    let number = digits(number, false).parse().ok()?;
    let value = digits(text.split_once(chain)?.1, true);
    let mut bytes = [0; 32];
    if value.len() != 64 {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(value.get(at..at + 2)?, 16).ok()?;
    }
    Some((number, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_kinds_of_copies_are_read() {
        let chain = "ab".repeat(32);
        let json = format!("{{\"seq\":12,\"at\":\"x\",\"chain\":\"{chain}\"}}\n");
        let syslog = format!(
            "<110>1 2026-11-28T20:00:00Z pc-1 warifu - audit [warifu@32473 seq=\"12\" act=\"save\" chain=\"{chain}\"] x"
        );
        for line in [json, syslog] {
            assert_eq!(copied_line(&line), Some((12, [0xab; 32])), "{line}");
        }
        for bad in [
            "",
            "{}",
            "{\"seq\":1}",
            "[warifu@32473 seq=\"\" chain=\"ab\"]",
            "é",
        ] {
            assert_eq!(copied_line(bad), None, "{bad}");
        }
    }
}

//! The audit log as the servers have it, beside the catalogue's: whoever cuts off the catalogue's log, or puts an older catalogue in
//! its place, cannot take the journal's lines away from n - k + 1 servers as well.

use std::ops::RangeInclusive;
use std::sync::Arc;

use warifu_core::format::ExtentKind;

use super::{RebuildError, RebuildProgress, RebuildReport, Stage, Work};
use crate::error::ServerFault;
use crate::journal::records::Record;
use crate::seam::catalog::{AuditRow, CatalogError};
use crate::seam::journal::SegmentClass;
use crate::vault::Vault;

/// Where the servers' lines and the catalogue's differ first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDifference {
    /// The line's number.
    pub seq: u64,
    /// The line as the servers have it.
    pub on_servers: AuditRow,
    /// The line as the catalogue has it; `None` where it has none of this number.
    pub in_catalogue: Option<AuditRow>,
}

/// What came of comparing.
#[derive(Debug, Default)]
pub struct LogCompared {
    /// Segments of the journal that were read.
    pub segments: u64,
    /// Lines compared; one may lie in two segments.
    pub lines: u64,
    /// The last line that the servers have.
    pub last: u64,
    /// Up to which line the catalogue says that it has put its log on the servers.
    pub audited: u64,
    /// The last line that the catalogue has.
    pub known: u64,
    /// Lines from the first to the last that should be on the servers and were found in no segment: nobody could vouch for them. Ascending.
    pub missing: Vec<RangeInclusive<u64>>,
    /// Lines of the catalogue that cannot be opened, so that nothing is said about them here.
    pub unopened: u64,
    /// The greatest number of a segment that this catalogue has never written: it is older than what is on the servers.
    pub ahead: Option<u64>,
    /// The difference with the lowest number.
    pub difference: Option<LogDifference>,
    /// Segments that could not be read, and why.
    pub unread: Vec<String>,
    /// Servers that could not be looked through.
    pub faults: Vec<ServerFault>,
}

impl Vault {
    /// Compares the lines of the audit log that the journal on the servers has with those of the catalogue. Looks into every object on a
    /// server, since a catalogue that was replaced does not know which of them are the journal's. Memory does not grow with the log.
    ///
    /// What somebody puts on the servers, or lets go, while they are looked through is no accusation: where something seems to be missing,
    /// they are looked through once more.
    ///
    /// # Errors
    /// [`RebuildError`]: too few servers can be looked through, one stopped answering, or the catalogue failed.
    pub async fn compare_log(
        &self,
        progress: &(dyn Fn(RebuildProgress) + Send + Sync),
    ) -> Result<LogCompared, RebuildError> {
        let compared = self.compare_once(progress).await?;
        // A checkpoint may have let segments go between the listing and the reading, and others may have come.
        if compared.unread.is_empty() && compared.missing.is_empty() {
            return Ok(compared);
        }
        self.compare_once(progress).await
    }

    async fn compare_once(
        &self,
        progress: &(dyn Fn(RebuildProgress) + Send + Sync),
    ) -> Result<LogCompared, RebuildError> {
        // Before the servers: what is put there from now on may be missed by the listing.
        let before = self.inner.catalog.journal().await?;
        let servers = Arc::clone(&self.inner.servers);
        let least = servers.thresholds().least();
        let work = Work {
            vault: self.inner.vault,
            given: servers.all().iter().map(|server| server.index()).collect(),
            servers,
            progress,
        };
        let mut report = RebuildReport::default();
        let survey = work.survey(&mut report).await?;
        if survey.listed.len() < u32::from(least) {
            return Err(RebuildError::TooFewServers {
                needed: least,
                got: survey.listed.len() as usize,
                faults: report.faults,
            });
        }
        let mut compared = LogCompared {
            faults: report.faults,
            ..LogCompared::default()
        };
        let unread = report.unreadable.into_iter().map(|unread| unread.fault);
        compared.faults.extend(unread);
        let numbers = survey
            .extents
            .values()
            .filter(|seen| seen.kind == ExtentKind::Journal);
        let newest = numbers.map(|seen| seen.version.0).max();
        let (mut segments, bad) = work.headers(&survey).await;
        segments.retain(|segment| segment.header.class != SegmentClass::Checkpoint);
        for bad in bad {
            if bad.class != SegmentClass::Checkpoint {
                let text = format!("segment {}: {}", bad.number, bad.detail);
                compared.unread.push(text);
            }
        }
        let mut covered = Vec::new();
        let total = segments.len() as u64;
        for (done, segment) in (1..).zip(&segments) {
            match work.segment(&survey, segment).await {
                Ok(records) => {
                    compared.segments += 1;
                    self.compare_records(records, &mut covered, &mut compared)
                        .await?;
                }
                Err(detail) => {
                    let text = format!("segment {}: {detail}", segment.header.number);
                    compared.unread.push(text);
                }
            }
            work.say(Stage::Journal, done, total);
        }
        // After the servers: what was written meanwhile is known to the catalogue.
        let state = self.inner.catalog.journal().await?;
        // One of the next number may be an attempt that came to nothing; what comes after it was written by a newer catalogue.
        compared.ahead = newest.filter(|newest| *newest > state.next);
        compared.known = self.last_line(compared.last.max(state.audited)).await?;
        compared.audited = state.audited;
        compared.missing = gaps(&covered, compared.last.max(before.audited));
        Ok(compared)
    }

    /// Lines of the catalogue; those that cannot be opened are counted and left out.
    async fn lines(
        &self,
        after: u64,
        limit: usize,
        compared: &mut LogCompared,
    ) -> Result<Vec<AuditRow>, CatalogError> {
        match self.inner.catalog.audit(after, limit).await {
            Err(CatalogError::Damaged { .. }) => {}
            other => return other,
        }
        let mut lines = Vec::new();
        for at in (after..).take(limit) {
            match self.inner.catalog.audit(at, 1).await {
                Ok(one) => lines.extend(one.into_iter().filter(|row| row.seq == at + 1)),
                Err(CatalogError::Damaged { .. }) => compared.unopened += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(lines)
    }

    async fn is_unopened(&self, line: u64) -> Result<bool, CatalogError> {
        match self.inner.catalog.audit(line.saturating_sub(1), 1).await {
            Err(CatalogError::Damaged { .. }) => Ok(true),
            other => other.map(|_| false),
        }
    }

    /// The last line that the catalogue has, but no greater than `most`.
    async fn last_line(&self, most: u64) -> Result<u64, CatalogError> {
        let (mut low, mut high) = (0, most);
        // Lines behind this one are there, or not.
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match self.inner.catalog.audit(middle - 1, 1).await {
                Ok(found) if found.is_empty() => high = middle - 1,
                Ok(_) | Err(CatalogError::Damaged { .. }) => low = middle,
                Err(error) => return Err(error),
            }
        }
        Ok(low)
    }

    async fn compare_records(
        &self,
        records: Vec<Record>,
        covered: &mut Vec<RangeInclusive<u64>>,
        compared: &mut LogCompared,
    ) -> Result<(), RebuildError> {
        /// How many lines of the catalogue are in memory at once.
        const LINES: usize = 512;
        let mut lines: Vec<AuditRow> = records
            .into_iter()
            .filter_map(|record| match record {
                Record::Audit(row) => Some(row),
                _ => None,
            })
            .collect();
        lines.sort_by_key(|line| line.seq);
        for part in lines.chunks(LINES) {
            let (Some(first), Some(last)) = (part.first(), part.last()) else {
                continue;
            };
            compared.last = compared.last.max(last.seq);
            let span = last.seq.saturating_sub(first.seq).saturating_add(1);
            let limit = usize::try_from(span).unwrap_or(LINES).min(4 * LINES);
            let before = first.seq.saturating_sub(1);
            let mut known = self.lines(before, limit, compared).await?;
            for line in part {
                compared.lines += 1;
                cover(covered, line.seq);
                let place = known.binary_search_by_key(&line.seq, |row| row.seq).ok();
                let mut mine = place.and_then(|place| known.get(place)).cloned();
                if compared.unopened > 0 && mine.is_none() && self.is_unopened(line.seq).await? {
                    continue;
                }
                // A segment with gaps between its lines.
                if mine.is_none() && span > limit as u64 {
                    known = self
                        .lines(line.seq.saturating_sub(1), LINES, compared)
                        .await?;
                    mine = known.first().filter(|row| row.seq == line.seq).cloned();
                }
                let differs = mine.as_ref() != Some(line);
                let earlier = compared
                    .difference
                    .as_ref()
                    .is_none_or(|before| line.seq < before.seq);
                if differs && earlier {
                    compared.difference = Some(LogDifference {
                        seq: line.seq,
                        on_servers: line.clone(),
                        in_catalogue: mine,
                    });
                }
            }
        }
        Ok(())
    }
}

impl LogCompared {
    /// Whether every server was looked through, every segment read, and each line from the first to the last that was ever put on the servers found
    /// there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unread.is_empty()
            && self.faults.is_empty()
            && self.missing.is_empty()
            && self.ahead.is_none()
    }

    /// Whether the catalogue itself says that it had lines which it has not any more.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.known < self.audited
    }
}

/// Notes a line. Lines come in runs, so there are few ranges.
fn cover(covered: &mut Vec<RangeInclusive<u64>>, line: u64) {
    match covered.last_mut() {
        Some(last) if last.contains(&line) => {}
        Some(last) if last.end().checked_add(1) == Some(line) => *last = *last.start()..=line,
        _ => covered.push(line..=line),
    }
}

/// What is missing from 1 to `last`.
fn gaps(covered: &[RangeInclusive<u64>], last: u64) -> Vec<RangeInclusive<u64>> {
    let mut sorted: Vec<&RangeInclusive<u64>> = covered.iter().collect();
    sorted.sort_by_key(|range| *range.start());
    let (mut gaps, mut next) = (Vec::new(), 1);
    for range in sorted {
        if *range.start() > next {
            gaps.push(next..=range.start() - 1);
        }
        match range.end().checked_add(1) {
            Some(after) => next = next.max(after),
            None => return gaps,
        }
    }
    if next <= last {
        gaps.push(next..=last);
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::{cover, gaps};

    #[test]
    fn p9_every_line_that_is_in_no_segment_is_named() {
        let found = |lines: &[u64], last| {
            let mut covered = Vec::new();
            lines.iter().for_each(|line| cover(&mut covered, *line));
            gaps(&covered, last)
        };
        assert_eq!(found(&[], 0), []);
        assert_eq!(found(&[], 3), [1..=3]);
        assert_eq!(found(&[1, 2, 3], 3), []);
        assert_eq!(found(&[4, 5, 1, 2, 3, 3, 4], 5), []);
        assert_eq!(found(&[2, 3, 7, 6, 1], 9), [4..=5, 8..=9]);
        assert_eq!(found(&[u64::MAX], u64::MAX), [1..=u64::MAX - 1]);
    }
}

//! The audit log as the servers have it, beside the catalogue's: whoever cuts off the catalogue's log, or puts an older catalogue in
//! its place, cannot take the journal's lines away from n - k + 1 servers as well.

use std::sync::Arc;

use super::{RebuildError, RebuildProgress, RebuildReport, Stage, Work};
use crate::error::ServerFault;
use crate::journal::records::Record;
use crate::seam::catalog::AuditRow;
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
    /// # Errors
    /// [`RebuildError`]: too few servers can be looked through, one stopped answering, or the catalogue failed.
    pub async fn compare_log(
        &self,
        progress: &(dyn Fn(RebuildProgress) + Send + Sync),
    ) -> Result<LogCompared, RebuildError> {
        let servers = Arc::clone(&self.inner.servers);
        let threshold = servers.threshold;
        let work = Work {
            vault: self.inner.vault,
            given: servers.all().iter().map(|server| server.index()).collect(),
            servers,
            progress,
        };
        let mut report = RebuildReport::default();
        let survey = work.survey(&mut report).await?;
        if survey.listed.len() < u32::from(threshold.k()) {
            return Err(RebuildError::TooFewServers {
                needed: threshold.k(),
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
        let (mut segments, bad) = work.headers(&survey).await;
        segments.retain(|segment| segment.header.class != SegmentClass::Checkpoint);
        for bad in bad {
            if bad.class != SegmentClass::Checkpoint {
                let text = format!("segment {}: {}", bad.number, bad.detail);
                compared.unread.push(text);
            }
        }
        let total = segments.len() as u64;
        for (done, segment) in (1..).zip(&segments) {
            match work.segment(&survey, segment).await {
                Ok(records) => {
                    compared.segments += 1;
                    self.compare_records(records, &mut compared).await?;
                }
                Err(detail) => {
                    let text = format!("segment {}: {detail}", segment.header.number);
                    compared.unread.push(text);
                }
            }
            work.say(Stage::Journal, done, total);
        }
        Ok(compared)
    }

    async fn compare_records(
        &self,
        records: Vec<Record>,
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
            let mut known = self.inner.catalog.audit(before, limit).await?;
            for line in part {
                compared.lines += 1;
                let place = known.binary_search_by_key(&line.seq, |row| row.seq).ok();
                let mut mine = place.and_then(|place| known.get(place)).cloned();
                // A segment with gaps between its lines.
                if mine.is_none() && span > limit as u64 {
                    known = self
                        .inner
                        .catalog
                        .audit(line.seq.saturating_sub(1), LINES)
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
    /// Whether every server was looked through and every segment read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unread.is_empty() && self.faults.is_empty()
    }
}

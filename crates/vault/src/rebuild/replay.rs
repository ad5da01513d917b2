//! The journal, read back (`JOURNAL.md`, "Reading").

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use warifu_core::format::ExtentKind;
use warifu_core::ids::ExtentId;

use super::book::Book;
use super::survey::{Seen, Survey};
use super::{Outcome, RebuildReport, Stage, Work};
use crate::joining;
use crate::journal::records::{Header, Record, parse};
use crate::seam::journal::{JOURNAL, SegmentClass};

/// How many segments are fetched ahead. Each is up to 4 MiB.
const AHEAD: usize = 4;

/// A segment as its shares' identity tells of it.
#[derive(Clone, Copy, Debug)]
struct Segment {
    number: u64,
    class: SegmentClass,
    extent: ExtentId,
}

impl Work<'_> {
    pub(super) async fn replay(
        &self,
        survey: &Survey,
        report: &mut RebuildReport,
    ) -> Outcome<Book> {
        let mut book = Book::new();
        let mut segments: Vec<Segment> = survey
            .extents
            .iter()
            .filter(|(_, seen)| seen.kind == ExtentKind::Journal && seen.document == JOURNAL)
            .filter_map(|(extent, seen)| {
                Some(Segment {
                    number: seen.version.0,
                    class: SegmentClass::of(seen.number)?,
                    extent: *extent,
                })
            })
            .collect();
        segments.sort_by_key(|segment| (segment.number, segment.class, segment.extent));
        let Some(last) = segments.last().map(|segment| segment.number) else {
            return Ok(book);
        };
        let begin = self.newest_checkpoint(survey, &segments).await;
        let first = begin.unwrap_or(1);
        let needed: Vec<Segment> = segments
            .iter()
            .filter(|segment| segment.class == SegmentClass::Audit || segment.number >= first)
            .copied()
            .collect();
        let total = needed.len() as u64;
        let mut read: BTreeSet<u64> = BTreeSet::new();
        // Those of one number wait for each other: the greater mark comes last.
        let mut group: Vec<(Header, Vec<Record>)> = Vec::new();
        let mut fetched = stream::iter(needed)
            .map(|segment| async move { (segment, self.segment(survey, segment.extent).await) })
            .buffered(AHEAD);
        let mut done = 0;
        while let Some((segment, answer)) = fetched.next().await {
            done += 1;
            self.say(Stage::Journal, done, total);
            let (header, records) = match answer {
                Ok(parsed) => parsed,
                Err(detail) => {
                    let number = segment.number;
                    report
                        .journal
                        .faults
                        .push(format!("segment {number}: {detail}"));
                    continue;
                }
            };
            if header.number != segment.number || header.class != segment.class {
                let number = segment.number;
                let fault = format!("segment {number}: it says that it is another");
                report.journal.faults.push(fault);
                continue;
            }
            report.journal.segments += 1;
            report.journal.up_to = report.journal.up_to.max(Some(header.at));
            read.insert(header.number);
            // Parts of a checkpoint that was never ended tell nothing wrong, and nothing that is needed.
            let stray = header.class == SegmentClass::Checkpoint && Some(header.begin) != begin;
            if stray && begin.is_some() {
                continue;
            }
            if group
                .first()
                .is_some_and(|(other, _)| other.number != header.number)
            {
                apply(&mut book, &mut group);
            }
            group.push((header, records));
        }
        apply(&mut book, &mut group);
        // With all servers given, a last segment of which too few have a share was never finished.
        let end = read.last().copied().unwrap_or(last);
        if survey.listed.len() < u32::from(self.servers.threshold.n()) {
            report.journal.unfinished = last.saturating_sub(end);
        }
        for number in first..=end {
            if read.contains(&number) {
                continue;
            }
            match report.journal.gaps.last_mut() {
                Some(gap) if *gap.end() + 1 == number => *gap = *gap.start()..=number,
                _ => report.journal.gaps.push(number..=number),
            }
        }
        Ok(book)
    }

    async fn segment(
        &self,
        survey: &Survey,
        extent: ExtentId,
    ) -> Result<(Header, Vec<Record>), String> {
        let seen = survey.extents.get(&extent).ok_or("it is gone")?;
        let len = seen.record(extent).plan().object_len();
        let bytes = joining::fetch(&self.servers, self.vault, extent, seen.generation, len)
            .await
            .map_err(|unreadable| {
                format!(
                    "{} of {} shares can be read",
                    unreadable.got,
                    seen.threshold.k()
                )
            })?;
        parse(bytes.expose()).map_err(|error| error.to_string())
    }

    /// The number at which the newest checkpoint begins that is there with all its parts.
    async fn newest_checkpoint(&self, survey: &Survey, segments: &[Segment]) -> Option<u64> {
        let mut parts: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
        let of_checkpoints = segments
            .iter()
            .filter(|segment| segment.class == SegmentClass::Checkpoint);
        let mut headers = stream::iter(of_checkpoints)
            .map(|segment| async move {
                let seen: &Seen = survey.extents.get(&segment.extent)?;
                let start = self.fetch_start(segment.extent, seen, 1).await.ok()?;
                Header::read(start.expose()).ok()
            })
            .buffer_unordered(AHEAD);
        while let Some(header) = headers.next().await {
            let Some(header) = header else { continue };
            parts.entry(header.begin).or_default().insert(header.part);
            if header.last {
                ends.insert(header.begin, header.part);
            }
        }
        let whole = |(begin, last): (&u64, &u64)| {
            let parts = parts.get(begin)?;
            (0..=*last)
                .all(|part| parts.contains(&part))
                .then_some(*begin)
        };
        ends.iter().rev().find_map(whole)
    }
}

fn apply(book: &mut Book, group: &mut Vec<(Header, Vec<Record>)>) {
    group.sort_by_key(|(header, _)| header.mark);
    for (header, records) in group.drain(..) {
        if header.class == SegmentClass::Audit {
            book.archived = book.archived.max(header.mark);
        }
        for record in records {
            book.put(record);
        }
    }
}

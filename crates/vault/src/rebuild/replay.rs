//! The journal, read back (`JOURNAL.md`, "Reading").

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures_util::{StreamExt, stream};
use warifu_core::format::ExtentKind;
use warifu_core::ids::{ExtentId, FileId, VersionNo};

use super::book::Book;
use super::chain::{self, Line, Link};
use super::survey::{CHUNK, Survey};
use super::{OtherTimeline, Outcome, RebuildReport, Stage, Work};
use crate::journal::records::{Header, Record, parse, tag_of};
use crate::seam::clock::Timestamp;
use crate::seam::journal::{JOURNAL, Row, RowKey, SegmentClass};

/// How many segments are fetched ahead. Each is up to 4 MiB.
const AHEAD: usize = 4;

/// How many headers are read at once.
const HEADERS: usize = 16;

/// A segment of which at least the beginning can be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) extent: ExtentId,
    pub(super) header: Header,
}

/// A segment that cannot be read.
pub(super) struct Bad {
    pub(super) number: u64,
    pub(super) class: SegmentClass,
    pub(super) detail: String,
}

/// What the journal gives.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) book: Book,
    /// The last segment that is in it.
    pub(super) tip: Option<ExtentId>,
    /// Heads of versions that another timeline tells of: they were saved, whatever this one says.
    pub(super) elsewhere: HashSet<ExtentId>,
}

/// Segments that are not part of the timeline that was chosen, as far as they are linked to each other.
#[derive(Default)]
struct Aside {
    first: u64,
    last: u64,
    up_to: Option<Timestamp>,
    segments: u64,
    /// By when and from which changes they were written: attempts that came to nothing are of one moment.
    puts: BTreeSet<(u64, Timestamp)>,
    heads: HashMap<(FileId, VersionNo), ExtentId>,
}

impl Work<'_> {
    pub(super) async fn replay(
        &self,
        survey: &Survey,
        report: &mut RebuildReport,
    ) -> Outcome<Told> {
        let mut told = Told {
            book: Book::new(),
            tip: None,
            elsewhere: HashSet::new(),
        };
        let (segments, unread) = self.headers(survey).await;
        if segments.is_empty() && unread.is_empty() {
            return Ok(told);
        }
        let links: Vec<Link> = segments.iter().map(link_of).collect();
        let Line { members, gaps } = chain::choose(&links);
        let line: Vec<Segment> = members
            .iter()
            .filter_map(|place| segments.get(*place).copied())
            .collect();
        // Of another timeline the numbers say nothing.
        let last = line.last().map(|segment| segment.header.number);
        let newest = unread.iter().map(|bad| bad.number).chain(last).max();
        let begin = newest_checkpoint(&line);
        let first = begin.unwrap_or(1);
        report.journal.gaps = gaps.into_iter().filter(|gap| *gap.end() >= first).collect();
        for bad in unread {
            // Those of the log stay of use.
            if bad.number >= first || bad.class == SegmentClass::Audit {
                let fault = format!("segment {}: {}", bad.number, bad.detail);
                report.journal.faults.push(fault);
            }
        }
        let wanted = needed(&line, begin);
        let applied = self.apply_all(survey, &wanted, &mut told, report).await;
        // With all servers given, a last segment of which too few have a share was never finished.
        if !survey.is_complete(&self.servers) {
            report.journal.unfinished = newest.unwrap_or(0).saturating_sub(applied.unwrap_or(0));
        }
        let in_line: HashSet<ExtentId> = line
            .iter()
            .filter(|segment| {
                // What lies before the checkpoint may be left of this timeline or be another one: what it tells shows that.
                segment.header.number >= first || segment.header.class == SegmentClass::Audit
            })
            .map(|segment| segment.extent)
            .collect();
        let aside: Vec<usize> = (0..)
            .zip(&segments)
            .filter(|(_, segment)| !in_line.contains(&segment.extent))
            .map(|(place, _)| place)
            .collect();
        if !aside.is_empty() {
            let parents = chain::parents(&links);
            self.look_aside(
                survey, &segments, &parents, &aside, first, &mut told, report,
            )
            .await;
        }
        Ok(told)
    }

    /// The segments of which the beginning can be read, and the others.
    pub(super) async fn headers(&self, survey: &Survey) -> (Vec<Segment>, Vec<Bad>) {
        let of_journal = survey
            .extents
            .iter()
            .filter(|(_, seen)| seen.kind == ExtentKind::Journal && seen.document == JOURNAL)
            .filter_map(|(extent, seen)| Some((*extent, seen, SegmentClass::of(seen.number)?)));
        let mut headers = stream::iter(of_journal)
            .map(|(extent, seen, class)| async move {
                let number = seen.version.0;
                let header = match self.fetch_start(extent, seen, 1).await {
                    Ok(start) => Header::read(start.expose()).map_err(|error| error.to_string()),
                    Err(detail) => Err(detail),
                };
                let bad = |detail| Bad {
                    number,
                    class,
                    detail,
                };
                match header {
                    Ok(header) if header.number == number && header.class == class => {
                        Ok(Segment { extent, header })
                    }
                    Ok(_) => Err(bad("it says that it is another".to_owned())),
                    Err(detail) => Err(bad(detail)),
                }
            })
            .buffer_unordered(HEADERS);
        let (mut segments, mut unread) = (Vec::new(), Vec::new());
        while let Some(header) = headers.next().await {
            match header {
                Ok(segment) => segments.push(segment),
                Err(bad) => unread.push(bad),
            }
        }
        segments.sort_by_key(|segment: &Segment| (segment.header.number, segment.extent));
        unread.sort_by_key(|bad: &Bad| bad.number);
        (segments, unread)
    }

    /// Reads segments and puts what they tell into the book. Returns the number of the last one.
    async fn apply_all(
        &self,
        survey: &Survey,
        wanted: &[Segment],
        told: &mut Told,
        report: &mut RebuildReport,
    ) -> Option<u64> {
        let total = wanted.len() as u64;
        let mut fetched = stream::iter(wanted)
            .map(|segment| async move { (segment, self.segment(survey, segment).await) })
            .buffered(AHEAD);
        let first_gap = report.journal.gaps.first().map(|gap| *gap.start());
        let (mut done, mut applied) = (0, None);
        let mut failed = Vec::new();
        while let Some((segment, answer)) = fetched.next().await {
            done += 1;
            self.say(Stage::Journal, done, total);
            let Header {
                number,
                class,
                mark,
                ..
            } = segment.header;
            let records = match answer {
                Ok(records) => records,
                Err(detail) => {
                    let fault = format!("segment {number}: {detail}");
                    report.journal.faults.push(fault);
                    failed.push(number);
                    told.book.begin_gaps();
                    continue;
                }
            };
            if first_gap.is_some_and(|gap| gap <= number) {
                told.book.begin_gaps();
            }
            report.journal.segments += 1;
            report.journal.up_to = report.journal.up_to.max(Some(segment.header.at));
            if applied.is_none_or(|applied| number > applied) {
                (applied, told.tip) = (Some(number), Some(segment.extent));
            }
            if class == SegmentClass::Audit {
                told.book.archived = told.book.archived.max(mark);
            }
            for record in records {
                told.book.put(record);
            }
        }
        // What cannot be read at the end was never finished, or is counted as such.
        let inner = failed
            .into_iter()
            .filter(|number| applied.is_some_and(|applied| *number < applied));
        report
            .journal
            .gaps
            .extend(inner.map(|number| number..=number));
        report.journal.gaps.sort_by_key(|gap| *gap.start());
        applied
    }

    pub(super) async fn segment(
        &self,
        survey: &Survey,
        segment: &Segment,
    ) -> Result<Vec<Record>, String> {
        let seen = survey.extents.get(&segment.extent).ok_or("it is gone")?;
        let chunks = seen.len.div_ceil(CHUNK);
        let bytes = self.fetch_start(segment.extent, seen, chunks).await?;
        match parse(bytes.expose()) {
            Ok((_, records)) => Ok(records),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Looks into what is not part of the timeline: attempts that came to nothing, what a checkpoint made useless and nobody has
    /// removed yet, or another timeline, whose saves are somebody's work.
    #[expect(clippy::too_many_arguments, reason = "what one step hands to the next")]
    async fn look_aside(
        &self,
        survey: &Survey,
        segments: &[Segment],
        parents: &[Option<usize>],
        aside: &[usize],
        first: u64,
        told: &mut Told,
        report: &mut RebuildReport,
    ) {
        let places: HashSet<usize> = aside.iter().copied().collect();
        let root_of = |place: usize| {
            let mut at = place;
            while let Some(parent) = parents.get(at).copied().flatten()
                && places.contains(&parent)
            {
                at = parent;
            }
            at
        };
        let mut groups: BTreeMap<usize, Aside> = BTreeMap::new();
        // The segments come by number.
        for place in aside {
            let Some(segment) = segments.get(*place) else {
                continue;
            };
            let Header {
                number, mark, at, ..
            } = segment.header;
            let group = groups.entry(root_of(*place)).or_insert_with(|| Aside {
                first: number,
                ..Aside::default()
            });
            (group.last, group.segments) = (number, group.segments + 1);
            group.up_to = group.up_to.max(Some(at));
            group.puts.insert((mark, at));
            // What cannot be read here is in nobody's way.
            for record in self.segment(survey, segment).await.unwrap_or_default() {
                match record {
                    Record::Row(Row::Version(version, _)) => {
                        if let Some(head) = version.head {
                            group.heads.insert((version.document, version.number), head);
                        }
                    }
                    Record::Gone(RowKey::Version(document, number)) => {
                        group.heads.remove(&(document, number));
                    }
                    _ => {}
                }
            }
        }
        let known: HashSet<ExtentId> = told
            .book
            .versions
            .values()
            .filter_map(|(version, _)| version.head)
            .collect();
        let there = |head: &ExtentId| {
            let seen = survey.extents.get(head);
            seen.is_some_and(|seen| seen.there.len() >= u32::from(seen.threshold.k()))
        };
        for group in groups.into_values() {
            let saves: Vec<ExtentId> = group
                .heads
                .into_values()
                .filter(|head| !known.contains(head) && there(head))
                .collect();
            // Before the checkpoint, what tells nothing new is what the checkpoint has made useless.
            if saves.is_empty() && (group.last < first || group.puts.len() < 2) {
                continue;
            }
            report.journal.others.push(OtherTimeline {
                segments: group.first..=group.last,
                up_to: group.up_to.unwrap_or_default(),
                saves: saves.len() as u64,
            });
            told.elsewhere.extend(saves);
        }
    }
}

fn link_of(segment: &Segment) -> Link {
    let header = &segment.header;
    Link {
        number: header.number,
        tag: tag_of(segment.extent),
        link: header.link,
        mark: header.mark,
        at: header.at,
    }
}

/// The number at which the newest checkpoint begins of which all parts are in the timeline.
fn newest_checkpoint(line: &[Segment]) -> Option<u64> {
    let mut parts: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
    for Segment { header, .. } in line {
        if header.class == SegmentClass::Checkpoint {
            parts.entry(header.begin).or_default().insert(header.part);
            if header.last {
                ends.insert(header.begin, header.part);
            }
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

/// The segments that are read, in their order.
fn needed(line: &[Segment], begin: Option<u64>) -> Vec<Segment> {
    let first = begin.unwrap_or(1);
    let of_log = |segment: &&Segment| segment.header.class == SegmentClass::Audit;
    // Segments of the log stay for ever, so those of another timeline do too. Where they tell the same lines, those written last
    // count; and what they tell beyond the last line of this one is not of this one.
    let (old, new): (Vec<Segment>, Vec<Segment>) = line
        .iter()
        .partition(|segment| segment.header.number < first);
    let archived = new
        .iter()
        .filter(of_log)
        .map(|segment| segment.header.mark)
        .max();
    let mut needed: Vec<Segment> = old
        .iter()
        .filter(of_log)
        .filter(|segment| archived.is_none_or(|archived| segment.header.mark <= archived))
        .copied()
        .collect();
    needed.sort_by_key(|segment| (segment.header.at, segment.header.number));
    // Parts of a checkpoint that was never ended tell nothing wrong, and nothing that is needed.
    needed.extend(new.into_iter().filter(|segment| {
        let part = segment.header.class == SegmentClass::Checkpoint;
        !part || begin.is_none() || Some(segment.header.begin) == begin
    }));
    needed
}

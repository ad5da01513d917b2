//! Which extents a version consists of, where the journal has gaps.
//!
//! The journal tells it by rows that each hold for several versions, so a row that is missing makes others wrong: an extent that was
//! replaced in a gap would seem to be part of the newer versions too. The head of a version has the whole list, and its extents
//! lie on one polynomial with nothing else. So where there are gaps the heads are asked, and the rows are made anew.
//!
//! What is not known is never a hole, which would read as zeros: an extent stands in its place of which no server has a share.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use warifu_core::format::{ExtentKind, Scheme, bucket};
use warifu_core::head::Content;
use warifu_core::ids::{ExtentId, FileId, VersionNo};

use super::book::Book;
use super::survey::Survey;
use super::{Outcome, RebuildReport, Stage, Work};
use crate::file::contents::span;
use crate::seam::catalog::{ExtentRecord, IndexSet};

/// How many heads are read at once.
const AT_ONCE: usize = 32;

/// No file has more extents.
const MOST: u64 = 1 << 24;

/// A version whose extents are to be found.
struct Asked {
    document: FileId,
    number: VersionNo,
    head: Option<ExtentId>,
    places: u64,
    size: u64,
}

type List = Vec<Option<ExtentId>>;

impl Work<'_> {
    /// Makes the rows of all layouts anew from the heads, where there are gaps.
    pub(super) async fn set_layouts(
        &self,
        survey: &Survey,
        book: &mut Book,
        report: &RebuildReport,
    ) -> Outcome<()> {
        if report.journal.gaps.is_empty() {
            return Ok(());
        }
        let large = book.versions.iter().filter(|(_, (_, places))| *places > 0);
        let documents: BTreeSet<FileId> = large
            .map(|((document, _), _)| *document)
            .chain(book.layouts.keys().map(|(document, _, _)| *document))
            .collect();
        let asked: Vec<Asked> = documents
            .iter()
            .flat_map(|document| {
                let all = (*document, VersionNo(0))..=(*document, VersionNo(u64::MAX));
                book.versions.range(all)
            })
            .map(|((document, number), (version, places))| Asked {
                document: *document,
                number: *number,
                head: version.head,
                places: (*places).min(MOST),
                size: version.size,
            })
            .collect();
        book.layouts
            .retain(|(document, _, _), _| !documents.contains(document));
        drop(documents);
        let total = asked.len() as u64;
        let mut lists = stream::iter(asked)
            .map(|asked| async move {
                let list = self.list_of(survey, &asked).await;
                (asked, list)
            })
            .buffered(AT_ONCE);
        let mut open: BTreeMap<u64, (VersionNo, ExtentId)> = BTreeMap::new();
        let (mut before, mut done) = (None, 0);
        while let Some((asked, list)) = lists.next().await {
            done += 1;
            if done % 100 == 0 || done == total {
                self.say(Stage::Heads, done, total);
            }
            if before != Some(asked.document)
                && let Some(document) = before.replace(asked.document)
            {
                book.close(document, std::mem::take(&mut open));
            }
            let list = match list {
                Some(list) => list,
                None => self.unknown_list(book, &asked)?,
            };
            let version = book.versions.get_mut(&(asked.document, asked.number));
            if let Some((_, places)) = version {
                *places = list.len() as u64;
            }
            book.next_layout(&asked, &mut open, &list);
        }
        if let Some(document) = before {
            book.close(document, open);
        }
        Ok(())
    }

    /// The extents of a version, as its head has them; `None` where that cannot be read.
    async fn list_of(&self, survey: &Survey, asked: &Asked) -> Option<List> {
        let head = match asked.head {
            Some(head) if asked.places > 0 => head,
            _ => return Some(Vec::new()),
        };
        let read = self.head(head, survey.extents.get(&head)?).await.ok()?;
        match read.content {
            Content::Inline => Some(Vec::new()),
            Content::Extents { list, .. } => Some(list),
        }
    }

    /// One extent that nobody has, in all places: what the rows say may be of another version.
    fn unknown_list(&self, book: &mut Book, asked: &Asked) -> Outcome<List> {
        let unknown = ExtentId::fresh()?;
        let len = span(asked.size, 0) as u64;
        let record = self.stand_in(unknown, ExtentKind::Data, 0, len, asked);
        book.extents.insert(unknown, record);
        Ok((0..asked.places).map(|_| Some(unknown)).collect())
    }

    /// A record of an extent of which nothing is known: reading it fails and is named, its objects are not swept, and the file counts
    /// as lost.
    fn stand_in(
        &self,
        extent: ExtentId,
        kind: ExtentKind,
        number: u64,
        len: u64,
        of: &Asked,
    ) -> ExtentRecord {
        ExtentRecord {
            extent,
            kind,
            number,
            len: bucket(len),
            threshold: self.servers.threshold(),
            scheme: Scheme::Shamir,
            generation: self.servers.generation(),
            document: of.document,
            version: of.number,
            owed: IndexSet::EMPTY,
        }
    }

    /// Sees to it that the book knows every extent that its versions name.
    pub(super) fn know_extents(&self, survey: &Survey, book: &mut Book) {
        let mut missing = Vec::new();
        for ((document, number), (version, places)) in &book.versions {
            let unknown = |head: &ExtentId| !book.extents.contains_key(head);
            if let Some(head) = version.head.filter(unknown) {
                let of = Asked {
                    document: *document,
                    number: *number,
                    head: None,
                    places: *places,
                    size: version.size,
                };
                let len = if *places == 0 { version.size } else { 0 };
                missing.push((head, ExtentKind::Head, 0, len, of));
            }
        }
        for ((document, place, from), (_, extent)) in &book.layouts {
            if !book.extents.contains_key(extent) {
                let version = book.versions.get(&(*document, *from));
                let size = version.map_or(u64::MAX, |(version, _)| version.size);
                let of = Asked {
                    document: *document,
                    number: *from,
                    head: None,
                    places: 0,
                    size,
                };
                let len = span(size, *place) as u64;
                missing.push((*extent, ExtentKind::Data, *place, len, of));
            }
        }
        for (extent, kind, number, len, of) in missing {
            let record = match survey.extents.get(&extent) {
                Some(seen) => seen.record(extent),
                None => self.stand_in(extent, kind, number, len, &of),
            };
            book.extents.insert(extent, record);
        }
    }
}

impl Book {
    /// Adds what is new in the next version of a document to the rows that are `open`, and closes what is not in it any more.
    fn next_layout(
        &mut self,
        of: &Asked,
        open: &mut BTreeMap<u64, (VersionNo, ExtentId)>,
        list: &[Option<ExtentId>],
    ) {
        let now = |place: u64| {
            let place = usize::try_from(place).ok()?;
            list.get(place).copied().flatten()
        };
        let ended: Vec<u64> = open
            .iter()
            .filter(|(place, (_, extent))| now(**place) != Some(*extent))
            .map(|(place, _)| *place)
            .collect();
        for place in ended {
            if let Some((from, extent)) = open.remove(&place) {
                self.layouts
                    .insert((of.document, place, from), (Some(of.number), extent));
            }
        }
        for (place, extent) in (0..).zip(list) {
            if let Some(extent) = extent {
                open.entry(place).or_insert((of.number, *extent));
            }
        }
    }

    /// Rows that hold to this day.
    fn close(&mut self, document: FileId, open: BTreeMap<u64, (VersionNo, ExtentId)>) {
        for (place, (from, extent)) in open {
            self.layouts.insert((document, place, from), (None, extent));
        }
    }
}

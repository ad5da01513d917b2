//! The journal of the in-memory catalogue. What changed is found by comparing everything with what the journal has: slow,
//! and it cannot miss anything.

use std::collections::BTreeMap;

use warifu_core::format::ExtentKind;
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};
use warifu_vault::seam::catalog::{CatalogError, IndexSet, Intent, Version, Write};
use warifu_vault::seam::journal::{
    Change, Changes, JournalState, Mark, Restored, Resume, Row, RowKey, SegmentClass, Segments,
    Waste,
};

use super::{Outcome, State, missing, place};

/// What the journal has, as far as the catalogue knows.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    next: u64,
    tip: Option<ExtentId>,
    undecided: bool,
    audited: u64,
    archived: u64,
    whole: bool,
    image: BTreeMap<RowKey, Row>,
    /// What was handed out last, and under which mark.
    taken: Vec<Change>,
    mark: u64,
    /// How many writes there had been when nothing was left to be handed out.
    seen: Option<u64>,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self {
            next: 1,
            tip: None,
            undecided: false,
            audited: 0,
            archived: 0,
            whole: true,
            image: BTreeMap::new(),
            taken: Vec::new(),
            mark: 0,
            seen: None,
        }
    }
}

impl State {
    /// Everything there is, as rows.
    pub(in crate::catalogs) fn all_rows(&self) -> BTreeMap<RowKey, Row> {
        let mut rows = Vec::new();
        for node in self.nodes.values() {
            let id = node.attr.node;
            rows.push(Row::Node(node.attr.clone()));
            if node.attr.kind == warifu_vault::node::NodeKind::Symlink {
                rows.push(Row::Link {
                    node: id,
                    target: node.target.clone(),
                });
            }
            for (name, value) in &node.xattrs {
                rows.push(Row::Xattr {
                    node: id,
                    tag: xattr_tag(name),
                    name: name.clone(),
                    value: value.clone(),
                });
            }
        }
        for ((parent, cursor), (name, node)) in &self.entries {
            rows.push(Row::Entry {
                parent: *parent,
                tag: cursor.0,
                name: name.clone(),
                node: *node,
                since: self.since(*parent, *cursor),
            });
        }
        rows.extend(self.past_rows());
        let mut before: Option<FileId> = None;
        let mut open: BTreeMap<u64, (ExtentId, VersionNo)> = BTreeMap::new();
        let row = |document, place, (extent, from), until| Row::Layout {
            document,
            place,
            from,
            until,
            extent,
        };
        for (_, version) in self.versions.values() {
            if before.is_some_and(|before| before != version.document) {
                let document = before.unwrap_or(FileId::NIL);
                let ended = std::mem::take(&mut open).into_iter();
                rows.extend(ended.map(|(place, interval)| row(document, place, interval, None)));
            }
            before = Some(version.document);
            let places =
                (version.layout.len() as u64).max(open.keys().max().map_or(0, |at| at + 1));
            for place in 0..places {
                let now = version.layout.get(place as usize).copied().flatten();
                let old = open.get(&place).copied();
                if old.map(|(extent, _)| extent) == now {
                    continue;
                }
                if let Some(interval) = old {
                    rows.push(row(version.document, place, interval, Some(version.number)));
                    open.remove(&place);
                }
                if let Some(extent) = now {
                    open.insert(place, (extent, version.number));
                }
            }
            let places = version.layout.len() as u64;
            let bare = Version {
                layout: Vec::new(),
                ..version.clone()
            };
            rows.push(Row::Version(bare, places));
        }
        if let Some(document) = before {
            let ended = open.into_iter();
            rows.extend(ended.map(|(place, interval)| row(document, place, interval, None)));
        }
        let extents = self.extents.values();
        let of_files = extents.filter(|extent| extent.kind != ExtentKind::Journal);
        rows.extend(of_files.cloned().map(Row::Extent));
        rows.into_iter().map(|row| (row.key(), row)).collect()
    }

    pub(in crate::catalogs) fn changes(&mut self, limit: usize) -> Changes {
        let mut rows: Vec<Change> = Vec::new();
        if self.journal.seen != Some(self.edits) {
            let now = self.all_rows();
            for key in self.journal.image.keys() {
                if !now.contains_key(key) {
                    rows.push((*key, None));
                }
            }
            for (key, row) in now {
                let known = self.journal.image.get(&key).cloned();
                if known.map(without_owed) != Some(without_owed(row.clone())) {
                    rows.push((key, Some(row)));
                }
            }
        }
        let audit = self.log(self.journal.audited, limit);
        let more = rows.len() > limit || audit.len() >= limit;
        if rows.is_empty() {
            self.journal.seen = Some(self.edits);
        }
        rows.truncate(limit);
        self.journal.mark += 1;
        self.journal.taken.clone_from(&rows);
        Changes {
            next: self.journal.next,
            tip: self.journal.tip,
            mark: Mark(self.journal.mark),
            rows,
            audit,
            more,
        }
    }

    pub(in crate::catalogs) fn rows(&self, after: Option<RowKey>, limit: usize) -> Vec<Row> {
        let all = self.all_rows().into_iter();
        let rest = all.filter(|(key, _)| after.is_none_or(|after| *key > after));
        rest.take(limit).map(|(_, row)| row).collect()
    }

    pub(in crate::catalogs) fn journal_state(&self) -> JournalState {
        let bytes = |class: SegmentClass| {
            let of_class = self.extents.values().filter(|extent| {
                extent.kind == ExtentKind::Journal && extent.number == class.number()
            });
            of_class.map(|extent| extent.len).sum()
        };
        let waiting = if self.journal.seen == Some(self.edits) {
            0
        } else {
            self.clone().changes(usize::MAX).rows.len() as u64
        };
        JournalState {
            next: self.journal.next,
            tip: self.journal.tip,
            undecided: self.journal.undecided,
            audited: self.journal.audited,
            archived: self.journal.archived,
            whole: self.journal.whole,
            waiting,
            changes: bytes(SegmentClass::Changes),
            checkpoints: bytes(SegmentClass::Checkpoint),
        }
    }

    /// `until` is the end of the lease of what is of no use any more.
    pub(in crate::catalogs) fn journalled(
        &mut self,
        segments: &Segments,
        until: Timestamp,
    ) -> Outcome<Waste> {
        let next = self.journal.next;
        let numbers = segments.extents.iter().map(|extent| extent.version.0);
        if !numbers.eq(next..next + segments.extents.len() as u64) {
            return Err(CatalogError::Conflict {
                current: VersionNo(next),
            });
        }
        if !self.intents.contains_key(&segments.save) {
            return Err(CatalogError::Lapsed);
        }
        let finished = segments.finished.as_ref();
        let parts = finished.iter().flat_map(|finished| &finished.parts);
        if !parts.clone().all(|part| self.extents.contains_key(part)) {
            return Err(missing("part of the checkpoint"));
        }
        self.intents.remove(&segments.save);
        for extent in &segments.extents {
            self.extents.insert(extent.extent, extent.clone());
        }
        let journal = &mut self.journal;
        journal.next += segments.extents.len() as u64;
        let last = segments.extents.last().map(|last| last.extent);
        journal.tip = last.or(journal.tip);
        journal.audited = journal.audited.max(segments.audited.unwrap_or(0));
        journal.archived = journal.archived.max(segments.archived.unwrap_or(0));
        if segments.mark.is_some_and(|mark| mark.0 == journal.mark) {
            for (key, row) in std::mem::take(&mut journal.taken) {
                match row {
                    Some(row) => drop(journal.image.insert(key, row)),
                    None => drop(journal.image.remove(&key)),
                }
            }
        }
        let Some(finished) = finished else {
            return Ok(None);
        };
        self.journal.whole = true;
        let old = |extent: &warifu_vault::seam::catalog::ExtentRecord| {
            extent.kind == ExtentKind::Journal
                && extent.number != SegmentClass::Audit.number()
                && extent.version.0 < finished.begin
        };
        let extents: Vec<(ExtentId, Generation)> = self
            .extents
            .values()
            .filter(|extent| old(extent))
            .map(|extent| (extent.extent, extent.generation))
            .collect();
        self.extents.retain(|_, extent| !old(extent));
        if extents.is_empty() {
            return Ok(None);
        }
        let intent = Intent {
            save: finished.waste,
            extents,
        };
        self.begin(&intent, until)?;
        Ok(Some(intent))
    }

    pub(in crate::catalogs) fn decide(&mut self, write: &Write) {
        self.journal.undecided = false;
        self.record(&write.audit);
    }

    pub(in crate::catalogs) fn restore(
        &mut self,
        rows: impl Iterator<Item = Restored>,
        resume: Resume,
    ) -> Outcome<()> {
        let fresh = self.nodes.len() == 1
            && self.log.is_empty()
            && self.versions.is_empty()
            && self.extents.is_empty();
        if !fresh {
            return Err(CatalogError::Exists);
        }
        let (mut layouts, mut sizes) = (Vec::new(), BTreeMap::new());
        let (mut entries, mut links, mut xattrs) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            match row {
                Restored::Audit(row) => self.log.push(row),
                Restored::Position(what, at) => self.restore_position(what, at),
                Restored::Row(Row::Node(attr)) => {
                    self.last_node = self.last_node.max(attr.node);
                    let node = super::Node {
                        attr: attr.clone(),
                        target: Vec::new(),
                        xattrs: BTreeMap::new(),
                        names: std::collections::BTreeSet::new(),
                    };
                    self.nodes.insert(attr.node, node);
                }
                Restored::Row(Row::Entry {
                    parent,
                    name,
                    node,
                    since,
                    ..
                }) => entries.push((parent, name, node, since)),
                Restored::Row(Row::Past(name)) => self.restore_past(*name),
                Restored::Row(Row::Link { node, target }) => links.push((node, target)),
                Restored::Row(Row::Xattr {
                    node, name, value, ..
                }) => xattrs.push((node, name, value)),
                Restored::Row(Row::Version(version, places)) => {
                    let key = (version.document, version.number);
                    sizes.insert(key, places);
                    self.commits += 1;
                    self.versions.insert(key, (self.commits, version));
                }
                Restored::Row(row @ Row::Layout { .. }) => layouts.push(row),
                Restored::Row(Row::Extent(record)) => {
                    self.extents.insert(record.extent, record);
                }
            }
        }
        for (parent, name, node, since) in entries {
            let cursor = place(parent, &name);
            self.begin_name(parent, cursor, since);
            self.entries.insert((parent, cursor), (name, node));
            let named = self.nodes.get_mut(&node).ok_or(missing("node"))?;
            named.names.insert((parent, cursor));
        }
        for (node, target) in links {
            self.nodes.get_mut(&node).ok_or(missing("node"))?.target = target;
        }
        for (node, name, value) in xattrs {
            let node = self.nodes.get_mut(&node).ok_or(missing("node"))?;
            node.xattrs.insert(name, value);
        }
        for (key, (_, version)) in &mut self.versions {
            version.layout = vec![None; sizes.get(key).copied().unwrap_or(0) as usize];
        }
        for row in layouts {
            let Row::Layout {
                document,
                place,
                from,
                until,
                extent,
            } = row
            else {
                continue;
            };
            let all = (document, from)..=(document, VersionNo(u64::MAX));
            for ((_, number), (_, version)) in self.versions.range_mut(all) {
                if until.is_none_or(|until| *number < until)
                    && let Some(at) = version.layout.get_mut(place as usize)
                {
                    *at = Some(extent);
                }
            }
        }
        self.last_node = self.last_node.max(resume.last_node);
        self.generations = resume.generations;
        let audited = self.log.last().map_or(0, |row| row.seq);
        self.journal = Journal {
            next: resume.next,
            tip: resume.tip,
            undecided: resume.undecided,
            audited,
            archived: resume.archived.min(audited),
            whole: false,
            image: self.all_rows(),
            ..Journal::new()
        };
        Ok(())
    }
}

/// A row as far as a change of it is told: which shares are owed is found out from the servers.
fn without_owed(mut row: Row) -> Row {
    if let Row::Extent(record) = &mut row {
        record.owed = IndexSet::EMPTY;
    }
    row
}

/// What tells an attribute from the others of its node.
fn xattr_tag(name: &[u8]) -> [u8; 16] {
    let mut tag = [0; 16];
    tag[..8].copy_from_slice(&super::digest(&(3, name)).to_le_bytes());
    tag[8..].copy_from_slice(&super::digest(&(4, name)).to_le_bytes());
    tag
}

//! The catalogue that is being put together.

use std::collections::{BTreeMap, HashMap, HashSet};

use warifu_core::ids::{ExtentId, FileId, Generation, ServerId, ShareIndex, VersionNo};

use crate::journal::records::Record;
use crate::node::{Attr, Name, NodeId, NodeKind};
use crate::retain::{destroyed_extents, known_since};
use crate::seam::catalog::{ExtentRecord, Version};
use crate::seam::clock::Timestamp;
use crate::seam::journal::{Restored, Row, RowKey};
use crate::seam::past::PastName;

type Tag = [u8; 16];

/// Rows by their keys.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) nodes: BTreeMap<NodeId, Attr>,
    pub(super) entries: BTreeMap<(NodeId, Tag), (Name, NodeId)>,
    /// Since when entries are there, as far as it was told.
    since: BTreeMap<(NodeId, Tag), Timestamp>,
    /// Names that ended.
    past: BTreeMap<u64, PastName>,
    pub(super) links: BTreeMap<NodeId, Vec<u8>>,
    pub(super) xattrs: BTreeMap<(NodeId, Tag), (Vec<u8>, Vec<u8>)>,
    pub(super) versions: BTreeMap<(FileId, VersionNo), (Version, u64)>,
    pub(super) layouts: BTreeMap<(FileId, u64, VersionNo), (Option<VersionNo>, ExtentId)>,
    pub(super) extents: BTreeMap<ExtentId, ExtentRecord>,
    /// Lines of the audit log as the journal has them, which takes less room than their texts.
    pub(super) audit: BTreeMap<u64, Box<[u8]>>,
    /// Up to which line they lie in segments of their own.
    pub(super) archived: u64,
    pub(super) servers: BTreeMap<ShareIndex, (ServerId, String)>,
    /// Documents that a node had at some time: whose file has no name now was removed, and has not lost it in a gap.
    pub(super) with_node: HashSet<FileId>,
    /// Documents that there were before the first gap; those of them without a node had none any more.
    pub(super) before_gaps: Option<HashSet<FileId>>,
    /// The greatest number that a node ever had.
    pub(super) last_node: u64,
    /// Chosen for entries made here, which need some key until the catalogue draws its own.
    tags: u128,
}

impl Book {
    pub(super) fn new() -> Self {
        Self {
            last_node: NodeId::ROOT.0,
            ..Self::default()
        }
    }

    /// Notes that from here on something may be missing.
    pub(super) fn begin_gaps(&mut self) {
        let documents = self.versions.keys().map(|(document, _)| *document);
        self.before_gaps.get_or_insert_with(|| documents.collect());
    }

    pub(super) fn put(&mut self, record: Record) {
        match record {
            Record::Row(row) => self.put_row(row),
            Record::Gone(key) => self.remove(key),
            Record::Audit(row) => {
                let node = row.entry.node.map_or(0, |node| node.0);
                self.last_node = self.last_node.max(node);
                let seq = row.seq;
                self.audit.insert(seq, Record::Audit(row).to_bytes());
            }
            Record::Server(server) => {
                self.servers.insert(server.index, (server.id, server.name));
            }
        }
    }

    pub(super) fn put_row(&mut self, row: Row) {
        match row {
            Row::Node(attr) => {
                self.last_node = self.last_node.max(attr.node.0);
                if attr.kind == NodeKind::File {
                    self.with_node.insert(attr.document);
                }
                self.nodes.insert(attr.node, attr);
            }
            Row::Entry {
                parent,
                tag,
                name,
                node,
                since,
            } => {
                self.since.insert((parent, tag), since);
                self.entries.insert((parent, tag), (name, node));
            }
            Row::Past(name) => {
                self.last_node = self.last_node.max(name.node.0);
                if name.kind == NodeKind::File {
                    self.with_node.insert(name.document);
                }
                self.past.insert(name.id, *name);
            }
            Row::Link { node, target } => drop(self.links.insert(node, target)),
            Row::Xattr {
                node,
                tag,
                name,
                value,
            } => drop(self.xattrs.insert((node, tag), (name, value))),
            Row::Version(version, places) => {
                let key = (version.document, version.number);
                self.versions.insert(key, (version, places));
            }
            Row::Layout {
                document,
                place,
                from,
                until,
                extent,
            } => drop(
                self.layouts
                    .insert((document, place, from), (until, extent)),
            ),
            Row::Extent(record) => drop(self.extents.insert(record.extent, record)),
        }
    }

    fn remove(&mut self, key: RowKey) {
        match key {
            RowKey::Node(node) => {
                self.last_node = self.last_node.max(node.0);
                self.nodes.remove(&node);
            }
            RowKey::Entry(parent, tag) => drop(self.entries.remove(&(parent, tag))),
            RowKey::Link(node) => drop(self.links.remove(&node)),
            RowKey::Xattr(node, tag) => drop(self.xattrs.remove(&(node, tag))),
            RowKey::Version(document, number) => drop(self.versions.remove(&(document, number))),
            RowKey::Layout(document, place, from) => {
                self.layouts.remove(&(document, place, from));
            }
            RowKey::Extent(extent) => drop(self.extents.remove(&extent)),
            RowKey::Past(number) => drop(self.past.remove(&number)),
        }
    }

    /// A name in a folder that nobody has yet. The caller sees to that.
    pub(super) fn enter(&mut self, parent: NodeId, name: Name, node: NodeId) {
        loop {
            self.tags += 1;
            let key = (parent, self.tags.to_le_bytes());
            if let std::collections::btree_map::Entry::Vacant(place) = self.entries.entry(key) {
                place.insert((name, node));
                return;
            }
        }
    }

    pub(super) fn fresh_node(&mut self) -> NodeId {
        self.last_node = self.last_node.saturating_add(1);
        NodeId(self.last_node)
    }

    /// The newest version of a document.
    pub(super) fn newest(&self, document: FileId) -> Option<&Version> {
        self.versions
            .range((document, VersionNo(0))..=(document, VersionNo(u64::MAX)))
            .next_back()
            .map(|(_, (version, _))| version)
    }

    /// The extents that were destroyed, and were not confirmed to be gone from all servers when the journal was written last.
    pub(super) fn destroyed(&self) -> Vec<(ExtentId, Generation)> {
        let of_root = self
            .xattrs
            .iter()
            .filter(|((node, _), _)| *node == NodeId::ROOT);
        of_root
            .flat_map(|(_, (name, value))| destroyed_extents(name, value))
            .filter(|(extent, _)| !self.extents.contains_key(extent))
            .collect()
    }

    /// From when on the journal knows what names there were; 0 for always.
    pub(super) fn known_since(&self) -> u64 {
        let of_root = self
            .xattrs
            .iter()
            .filter(|((node, _), _)| *node == NodeId::ROOT);
        of_root
            .filter_map(|(_, (name, value))| known_since(name, value))
            .max()
            .unwrap_or(0)
    }

    /// Adds a document's next version, with the rows of its layout that differ from the one before.
    pub(super) fn add_version(&mut self, version: Version, layout: &[Option<ExtentId>]) {
        let (document, number) = (version.document, version.number);
        let open: BTreeMap<u64, (VersionNo, ExtentId)> = self
            .layouts
            .range((document, 0, VersionNo(0))..=(document, u64::MAX, VersionNo(u64::MAX)))
            .filter(|(_, (until, _))| until.is_none())
            .map(|((_, place, from), (_, extent))| (*place, (*from, *extent)))
            .collect();
        for (place, (from, extent)) in &open {
            let now = usize::try_from(*place)
                .ok()
                .and_then(|place| layout.get(place))
                .copied()
                .flatten();
            if now != Some(*extent) {
                self.layouts
                    .insert((document, *place, *from), (Some(number), *extent));
            }
        }
        for (place, extent) in (0..).zip(layout) {
            let Some(extent) = extent else { continue };
            if open.get(&place).map(|(_, before)| before) != Some(extent) {
                self.layouts
                    .insert((document, place, number), (None, *extent));
            }
        }
        self.versions
            .insert((document, number), (version, layout.len() as u64));
    }

    /// For each document a path of a file that has it.
    pub(super) fn paths_of_documents(&self) -> HashMap<FileId, String> {
        let mut names: HashMap<NodeId, (NodeId, &Name)> = HashMap::new();
        for ((parent, _), (name, node)) in &self.entries {
            names.entry(*node).or_insert((*parent, name));
        }
        let mut paths = HashMap::new();
        for attr in self.nodes.values() {
            if attr.kind == NodeKind::File && names.contains_key(&attr.node) {
                paths.insert(attr.document, path_text(&names, attr.node));
            }
        }
        paths
    }

    /// Whether of some name nobody knows since when it is there: it is older than the journal's times, or was found by its head.
    pub(super) fn is_past_unknown(&self) -> bool {
        self.entries.keys().any(|key| !self.since.contains_key(key))
    }

    /// Everything, in the order in which a catalogue takes it.
    pub(super) fn into_rows(self) -> impl Iterator<Item = Restored> + Send {
        let mut versions: Vec<(Version, u64)> = self.versions.into_values().collect();
        versions.sort_by_key(|(version, _)| (version.saved_at, version.number));
        let nodes = self.nodes.into_values().map(Row::Node);
        let since = self.since;
        let entries = self
            .entries
            .into_iter()
            .map(move |((parent, tag), (name, node))| Row::Entry {
                parent,
                tag,
                name,
                node,
                since: since.get(&(parent, tag)).copied().unwrap_or_default(),
            });
        let past = self
            .past
            .into_values()
            .map(|name| Row::Past(Box::new(name)));
        let links = self
            .links
            .into_iter()
            .map(|(node, target)| Row::Link { node, target });
        let xattrs = self
            .xattrs
            .into_iter()
            .map(|((node, tag), (name, value))| Row::Xattr {
                node,
                tag,
                name,
                value,
            });
        let versions = versions
            .into_iter()
            .map(|(version, places)| Row::Version(version, places));
        let layouts = self
            .layouts
            .into_iter()
            .map(|((document, place, from), (until, extent))| Row::Layout {
                document,
                place,
                from,
                until,
                extent,
            });
        let extents = self.extents.into_values().map(Row::Extent);
        // Each was read from these very bytes or written by us.
        let audit = self
            .audit
            .into_values()
            .filter_map(|bytes| match Record::from_bytes(&bytes) {
                Ok(Record::Audit(row)) => Some(Restored::Audit(row)),
                _ => None,
            });
        nodes
            .chain(entries)
            .chain(links)
            .chain(xattrs)
            .chain(versions)
            .chain(layouts)
            .chain(extents)
            .chain(past)
            .map(Restored::Row)
            .chain(audit)
    }
}

/// A path for messages to whoever rebuilds.
pub(super) fn path_text(names: &HashMap<NodeId, (NodeId, &Name)>, node: NodeId) -> String {
    let mut parts = Vec::new();
    let mut at = node;
    while at != NodeId::ROOT && parts.len() < 4096 {
        let Some((parent, name)) = names.get(&at) else {
            break;
        };
        parts.push(name.display());
        at = *parent;
    }
    parts.iter().rev().map(|part| format!("/{part}")).collect()
}

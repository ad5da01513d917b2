//! What does not fit together, because segments of the journal are missing: nothing is thrown away that has contents, and what
//! lost its place gets one in a folder of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use warifu_core::ids::VersionNo;

use super::adopt::folder_attr;
use super::book::{Book, path_text};
use super::survey::Survey;
use super::{Outcome, RebuildReport};
use crate::node::{Name, NodeId, NodeKind};
use crate::seam::clock::Timestamp;

/// The folder for what lost its place.
const FOUND: &str = "recovered";

impl Book {
    /// With a journal without gaps this changes nothing but nodes that had no name.
    pub(super) fn mend(
        &mut self,
        survey: &Survey,
        report: &mut RebuildReport,
        now: Timestamp,
    ) -> Outcome<()> {
        let nodes = &self.nodes;
        self.entries
            .retain(|_, (_, node)| *node != NodeId::ROOT && nodes.contains_key(node));
        self.one_name_for_each_folder();
        self.mend_versions(survey);
        self.place_the_lost(report, now)?;
        self.forget_the_nameless();
        self.count_names();
        Ok(())
    }

    /// A folder that was moved in a gap could have both names.
    fn one_name_for_each_folder(&mut self) {
        let mut named = BTreeSet::new();
        let nodes = &self.nodes;
        self.entries.retain(|_, (_, node)| {
            let is_dir = nodes
                .get(node)
                .is_some_and(|attr| attr.kind == NodeKind::Dir);
            !is_dir || named.insert(*node)
        });
    }

    /// Nodes show versions that are there, and rows of versions name extents that are.
    fn mend_versions(&mut self, survey: &Survey) {
        let missing: Vec<_> = self
            .versions
            .values()
            .filter_map(|(version, _)| version.head)
            .chain(self.layouts.values().map(|(_, extent)| *extent))
            .filter(|extent| !self.extents.contains_key(extent))
            .collect();
        for extent in missing {
            if let Some(seen) = survey.extents.get(&extent) {
                self.extents.insert(extent, seen.record(extent));
            }
        }
        let extents = &self.extents;
        self.layouts
            .retain(|_, (_, extent)| extents.contains_key(extent));
        self.versions
            .retain(|_, (version, _)| version.head.is_none_or(|head| extents.contains_key(&head)));
        let mut wrong = Vec::new();
        for attr in self.nodes.values() {
            let shown = self.versions.get(&(attr.document, attr.version));
            let right = match shown {
                Some((version, _)) => version.head == attr.head,
                None => attr.version == VersionNo(0) && attr.head.is_none(),
            };
            if attr.kind == NodeKind::File && !right {
                wrong.push(attr.node);
            }
        }
        for node in wrong {
            let Some(document) = self.nodes.get(&node).map(|attr| attr.document) else {
                continue;
            };
            let newest = self.newest(document).cloned();
            if let Some(attr) = self.nodes.get_mut(&node) {
                let newest = newest.as_ref();
                attr.version = newest.map_or(VersionNo(0), |version| version.number);
                attr.head = newest.and_then(|version| version.head);
                attr.size = newest.map_or(0, |version| version.size);
            }
        }
    }

    /// Gives a name to what has none and should, or whose folder is gone, or that lies in a circle of folders.
    fn place_the_lost(&mut self, report: &mut RebuildReport, now: Timestamp) -> Outcome<()> {
        let mut children: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
        for ((parent, _), (_, node)) in &self.entries {
            children.entry(*parent).or_default().push(*node);
        }
        let mut reached = BTreeSet::from([NodeId::ROOT]);
        let mut todo = vec![NodeId::ROOT];
        while let Some(at) = todo.pop() {
            for node in children.get(&at).into_iter().flatten() {
                if reached.insert(*node) {
                    todo.push(*node);
                }
            }
        }
        let mut lost: BTreeSet<NodeId> = self
            .nodes
            .values()
            .filter(|attr| attr.nlink > 0 && !reached.contains(&attr.node))
            .map(|attr| attr.node)
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        // What lies in a lost folder stays in it; of a circle one folder is taken out.
        let mut tops = Vec::new();
        while let Some(first) = lost.first().copied() {
            let mut top = first;
            let mut seen = BTreeSet::from([top]);
            while let Some(parent) = self.folder_of(top, &lost) {
                if !seen.insert(parent) {
                    break;
                }
                top = parent;
            }
            tops.push(top);
            let mut todo = vec![top];
            while let Some(at) = todo.pop() {
                if lost.remove(&at) {
                    todo.extend(children.get(&at).into_iter().flatten());
                }
            }
        }
        let folder = self.found_folder(now);
        for node in tops {
            let before: Vec<_> = self
                .entries
                .iter()
                .filter(|(_, (_, named))| *named == node)
                .map(|(key, (name, _))| (*key, name.clone()))
                .collect();
            let mut name = format!("node-{node}").into_bytes();
            for (key, old) in before {
                self.entries.remove(&key);
                name = old.as_bytes().to_vec();
            }
            let name = self.free_name(folder, &name, node);
            self.enter(folder, name, node);
            let mut names = HashMap::new();
            for ((parent, _), (name, node)) in &self.entries {
                names.insert(*node, (*parent, name));
            }
            report.moved.push(path_text(&names, node));
        }
        Ok(())
    }

    fn folder_of(&self, node: NodeId, among: &BTreeSet<NodeId>) -> Option<NodeId> {
        self.entries
            .iter()
            .find(|((parent, _), (_, named))| *named == node && among.contains(parent))
            .map(|((parent, _), _)| *parent)
    }

    fn found_folder(&mut self, now: Timestamp) -> NodeId {
        let (uid, gid) = self
            .nodes
            .get(&NodeId::ROOT)
            .map_or((0, 0), |root| (root.uid, root.gid));
        let node = self.fresh_node();
        let name = self.free_name(NodeId::ROOT, FOUND.as_bytes(), node);
        self.nodes.insert(node, folder_attr(node, uid, gid, now));
        self.enter(NodeId::ROOT, name, node);
        node
    }

    /// This name, or one that ends with the node's number where it is taken.
    fn free_name(&self, parent: NodeId, wanted: &[u8], node: NodeId) -> Name {
        let taken = |name: &Name| {
            self.entries
                .range((parent, [0; 16])..=(parent, [255; 16]))
                .any(|(_, (other, _))| other == name)
        };
        let plain = Name::new(wanted).ok();
        if let Some(name) = plain.filter(|name| !taken(name)) {
            return name;
        }
        // A node's number is its alone, but somebody may have named a file so.
        let mut again = 0_u32;
        loop {
            let number = match again {
                0 => format!("-{node}"),
                again => format!("-{node}-{again}"),
            };
            again += 1;
            let room = Name::MAX.saturating_sub(number.len()).min(wanted.len());
            let cut = wanted.get(..room).unwrap_or_default();
            if let Ok(name) = Name::new(&[cut, number.as_bytes()].concat())
                && !taken(&name)
            {
                return name;
            }
        }
    }

    /// What somebody had open when the catalogue was lost and had removed: nobody has it open any more.
    fn forget_the_nameless(&mut self) {
        let named: BTreeSet<NodeId> = self.entries.values().map(|(_, node)| *node).collect();
        self.nodes
            .retain(|node, _| *node == NodeId::ROOT || named.contains(node));
        let nodes = &self.nodes;
        self.links.retain(|node, _| nodes.contains_key(node));
        self.xattrs.retain(|(node, _), _| nodes.contains_key(node));
        self.entries
            .retain(|(parent, _), _| nodes.contains_key(parent));
    }

    fn count_names(&mut self) {
        let mut counts: BTreeMap<NodeId, u32> = BTreeMap::new();
        for ((parent, _), (_, node)) in &self.entries {
            match self.nodes.get(node).map(|attr| attr.kind) {
                Some(NodeKind::Dir) => *counts.entry(*parent).or_default() += 1,
                Some(_) => *counts.entry(*node).or_default() += 1,
                None => {}
            }
        }
        for attr in self.nodes.values_mut() {
            let count = counts.get(&attr.node).copied().unwrap_or(0);
            attr.nlink = match attr.kind {
                NodeKind::Dir => count.saturating_add(2),
                _ => count.max(1),
            };
        }
    }

    /// An attribute that nobody has set yet.
    pub(super) fn put_xattr(&mut self, node: NodeId, name: &[u8], value: &[u8]) {
        let mut tag = [0; 16];
        let number = self
            .xattrs
            .range((node, [0; 16])..=(node, [255; 16]))
            .count() as u64;
        if let Some(place) = tag.get_mut(..8) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        self.xattrs
            .insert((node, tag), (name.to_vec(), value.to_vec()));
    }
}

//! What does not fit together, because segments of the journal are missing: nothing is thrown away that has contents, and what
//! lost its place gets one in a folder of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use warifu_core::ids::VersionNo;

use super::RebuildReport;
use super::adopt::folder_attr;
use super::book::Book;
use crate::node::{Name, NodeId, NodeKind};
use crate::seam::clock::Timestamp;

/// The folder for what lost its place.
const FOUND: &str = "recovered";

impl Book {
    /// With a journal without gaps this changes nothing but nodes that had no name.
    pub(super) fn mend(&mut self, report: &mut RebuildReport, now: Timestamp) {
        let nodes = &self.nodes;
        self.entries
            .retain(|_, (_, node)| *node != NodeId::ROOT && nodes.contains_key(node));
        self.one_name_for_each_folder();
        self.show_newest();
        self.place_the_lost(report, now);
        self.forget_the_nameless();
        self.count_names();
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

    /// Nodes show the newest version of their document: of a row that was told in a gap, another one may be left.
    fn show_newest(&mut self) {
        let mut wrong = Vec::new();
        for attr in self.nodes.values() {
            if attr.kind != NodeKind::File {
                continue;
            }
            let newest = self.newest(attr.document);
            let right = match newest {
                Some(newest) => (newest.number, newest.head) == (attr.version, attr.head),
                None => attr.version == VersionNo(0) && attr.head.is_none(),
            };
            if !right {
                wrong.push((attr.node, newest.cloned()));
            }
        }
        for (node, newest) in wrong {
            let Some(attr) = self.nodes.get_mut(&node) else {
                continue;
            };
            let newest = newest.as_ref();
            attr.version = newest.map_or(VersionNo(0), |version| version.number);
            attr.head = newest.and_then(|version| version.head);
            attr.size = newest.map_or(0, |version| version.size);
            if let Some(newest) = newest {
                (attr.mtime, attr.ctime) = (newest.mtime, newest.saved_at);
            }
        }
    }

    /// Gives a name to what has none and should, or whose folder is gone, or that lies in a circle of folders.
    fn place_the_lost(&mut self, report: &mut RebuildReport, now: Timestamp) {
        let mut children: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
        for ((parent, _), (_, node)) in &self.entries {
            children.entry(*parent).or_default().push(*node);
        }
        let mut reached = HashSet::from([NodeId::ROOT]);
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
            return;
        }
        let mut names: HashMap<NodeId, Vec<(NodeId, [u8; 16])>> = HashMap::new();
        for ((parent, tag), (_, node)) in &self.entries {
            if lost.contains(node) {
                names.entry(*node).or_default().push((*parent, *tag));
            }
        }
        // What lies in a lost folder stays in it; of a circle one folder is taken out.
        let mut tops = Vec::new();
        while let Some(first) = lost.first().copied() {
            let mut top = first;
            let mut seen = HashSet::from([top]);
            let above = |node, lost: &BTreeSet<NodeId>| {
                let mut folders = names.get(&node).into_iter().flatten();
                folders.find_map(|(parent, _)| lost.contains(parent).then_some(*parent))
            };
            while let Some(parent) = above(top, &lost) {
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
        let (folder, folder_name) = self.found_folder(now);
        let mut taken = HashSet::new();
        for node in tops {
            let mut name = format!("node-{node}").into_bytes();
            for key in names.remove(&node).into_iter().flatten() {
                if let Some((old, _)) = self.entries.remove(&key) {
                    name = old.as_bytes().to_vec();
                }
            }
            let name = free_name(&taken, &name, node);
            taken.insert(name.clone());
            report
                .moved
                .push(format!("/{}/{}", folder_name.display(), name.display()));
            self.enter(folder, name, node);
        }
    }

    /// The folder for what lost its place, made anew.
    fn found_folder(&mut self, now: Timestamp) -> (NodeId, Name) {
        let (uid, gid) = self
            .nodes
            .get(&NodeId::ROOT)
            .map_or((0, 0), |root| (root.uid, root.gid));
        let node = self.fresh_node();
        let taken: HashSet<Name> = self
            .entries
            .range((NodeId::ROOT, [0; 16])..=(NodeId::ROOT, [255; 16]))
            .map(|(_, (name, _))| name.clone())
            .collect();
        let name = free_name(&taken, FOUND.as_bytes(), node);
        self.nodes.insert(node, folder_attr(node, uid, gid, now));
        self.enter(NodeId::ROOT, name.clone(), node);
        (node, name)
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

/// This name, or one that ends with the node's number where it is taken.
fn free_name(taken: &HashSet<Name>, wanted: &[u8], node: NodeId) -> Name {
    let plain = Name::new(wanted).ok();
    if let Some(name) = plain.filter(|name| !taken.contains(name)) {
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
            && !taken.contains(&name)
        {
            return name;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// A gap that took a folder of many files, each of which has a place of its own again.
    #[test]
    fn many_that_lost_their_place_are_placed_in_proportion_to_their_number() {
        const LOST: u64 = 40_000;
        let now = Timestamp { secs: 1, nanos: 0 };
        let mut book = Book::new();
        let root = folder_attr(NodeId::ROOT, 0, 0, now);
        book.nodes.insert(NodeId::ROOT, root);
        for number in 2..2 + LOST {
            let mut attr = folder_attr(NodeId(number), 0, 0, now);
            attr.kind = NodeKind::Fifo;
            attr.nlink = 1;
            book.nodes.insert(attr.node, attr);
            book.last_node = number;
            // Some have a name in a folder that nobody knows, two and two the same one.
            let name = Name::new(format!("f{}", number / 2).as_bytes()).unwrap();
            if number % 4 < 2 {
                book.enter(NodeId(1 << 40), name, NodeId(number));
            }
        }
        let mut report = RebuildReport::default();
        let begun = Instant::now();
        book.mend(&mut report, now);
        // Going through all of them for each takes minutes.
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(report.moved.len() as u64, LOST);
        let names: HashSet<_> = report.moved.iter().collect();
        assert_eq!(names.len() as u64, LOST, "each has a name of its own");
        assert!(names.contains(&"/recovered/f2".to_owned()));
        assert!(names.contains(&"/recovered/f2-5".to_owned()));
        assert!(names.contains(&"/recovered/node-6".to_owned()));
        assert_eq!(book.entries.len() as u64, LOST + 1);
    }
}

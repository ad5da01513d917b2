//! What changed between two states, as others have to hear of it.

use std::collections::BTreeSet;

use warifu_vault::seam::sessions::Change;

use super::State;

impl State {
    /// What is different from an earlier state: names first.
    pub(in crate::catalogs) fn changed_since(&self, before: &Self) -> Vec<Change> {
        let entries = self.entries.keys().chain(before.entries.keys());
        let mut changes = Vec::new();
        for entry in entries.collect::<BTreeSet<_>>() {
            let (now, then) = (self.entries.get(entry), before.entries.get(entry));
            let (Some((name, _)), false) = (now.or(then), now == then) else {
                continue;
            };
            let gone = then
                .map(|(_, node)| *node)
                .filter(|node| self.attr(*node).is_none_or(|attr| attr.nlink == 0));
            changes.push(Change::Entry {
                parent: entry.0,
                name: name.clone(),
                removed: gone,
            });
        }
        for (id, node) in &self.nodes {
            let same = before
                .nodes
                .get(id)
                .is_none_or(|then| then.attr == node.attr && then.xattrs == node.xattrs);
            if !same {
                changes.push(Change::Node(*id));
            }
        }
        changes
    }
}

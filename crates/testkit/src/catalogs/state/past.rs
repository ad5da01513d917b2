//! What names stood for, and how an earlier version comes back.

use std::collections::{BTreeMap, BTreeSet};

use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, VersionNo};
use warifu_vault::node::{Attr, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{CatalogError, Cursor, Intent, Version, Write};
use warifu_vault::seam::journal::Row;
use warifu_vault::seam::past::{End, Forget, Forgotten, KNOWN_SINCE, PastName, Reinstate};

use super::{Outcome, State, missing, place, uses};

#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    since: BTreeMap<(NodeId, Cursor), Timestamp>,
    ended: BTreeMap<u64, PastName>,
    last: u64,
    positions: BTreeMap<String, u64>,
}

impl State {
    pub(super) fn since(&self, parent: NodeId, cursor: Cursor) -> Timestamp {
        self.past
            .since
            .get(&(parent, cursor))
            .copied()
            .unwrap_or_default()
    }

    /// The time of a change to a name: not before its last change.
    pub(super) fn not_before(&self, parent: NodeId, cursor: Cursor, at: Timestamp) -> Timestamp {
        let there = self.present(parent, cursor).map(|name| name.since);
        let ended = self.past.ended.values();
        let ended = ended.filter(|name| (name.parent, name.tag) == (parent, cursor.0));
        let ended = ended.filter_map(|name| name.until.map(|(until, _)| until));
        ended.chain(there).fold(at, Timestamp::max)
    }

    pub(super) fn begin_name(&mut self, parent: NodeId, cursor: Cursor, at: Timestamp) {
        self.past.since.insert((parent, cursor), at);
    }

    /// A name that is there, as a name in time.
    fn present(&self, parent: NodeId, cursor: Cursor) -> Option<PastName> {
        let (name, node) = self.entries.get(&(parent, cursor))?;
        let node = self.nodes.get(node)?;
        let attr = &node.attr;
        let since = self.since(parent, cursor);
        Some(PastName {
            id: 0,
            parent,
            tag: cursor.0,
            name: name.clone(),
            node: attr.node,
            kind: attr.kind,
            mode: attr.mode,
            uid: attr.uid,
            gid: attr.gid,
            rdev: attr.rdev,
            document: attr.document,
            version: attr.version,
            target: match attr.kind {
                NodeKind::Symlink => node.target.clone(),
                _ => Vec::new(),
            },
            since: if since == Timestamp::default() {
                attr.btime
            } else {
                since
            },
            until: None,
        })
    }

    /// Writes down that a name ends, while it is still there.
    pub(super) fn end_name(&mut self, parent: NodeId, cursor: Cursor, at: Timestamp, end: End) {
        let mut name = self
            .present(parent, cursor)
            .expect("the name was looked up before");
        self.past.since.remove(&(parent, cursor));
        self.past.last += 1;
        (name.id, name.until) = (self.past.last, Some((at, end)));
        self.past.ended.insert(name.id, name);
    }

    /// The names that a file has begin anew: it goes on with another document.
    pub(super) fn renew_names(&mut self, node: NodeId, at: Timestamp) {
        let names = self.nodes.get(&node).map(|node| node.names.clone());
        let mut names: Vec<(NodeId, Cursor)> = names.unwrap_or_default().into_iter().collect();
        names.sort_by_key(|key| (key.0, self.entries.get(key).map(|(name, _)| name.clone())));
        for (parent, cursor) in names {
            let then = self.not_before(parent, cursor, at);
            self.end_name(parent, cursor, then, End::Moved);
            self.begin_name(parent, cursor, then);
        }
    }

    pub(super) fn past_rows(&self) -> impl Iterator<Item = Row> + '_ {
        let ended = self.past.ended.values().cloned();
        ended.map(|name| Row::Past(Box::new(name)))
    }

    pub(super) fn restore_past(&mut self, mut name: PastName) {
        name.tag = place(name.parent, &name.name).0;
        self.past.last = self.past.last.max(name.id);
        self.past.ended.insert(name.id, name);
    }

    fn all_names(&self) -> impl Iterator<Item = PastName> + '_ {
        let present = self
            .entries
            .keys()
            .filter_map(|(parent, cursor)| self.present(*parent, *cursor));
        self.past.ended.values().cloned().chain(present)
    }

    pub(in crate::catalogs) fn list_at(&self, dir: NodeId, at: Timestamp) -> Vec<PastName> {
        let mut names: Vec<PastName> = self
            .all_names()
            .filter(|name| name.parent == dir && name.covers(at))
            .collect();
        names.sort_by_key(|name| name.tag);
        names
    }

    pub(in crate::catalogs) fn last_name(&self, dir: NodeId, name: &Name) -> Option<PastName> {
        self.all_names()
            .filter(|found| found.parent == dir && found.name == *name)
            .max_by_key(|found| (found.until.is_none(), found.until, found.id))
    }

    pub(in crate::catalogs) fn names_of_node(&self, node: NodeId) -> Vec<PastName> {
        self.all_names().filter(|name| name.node == node).collect()
    }

    pub(in crate::catalogs) fn names_of(&self, document: FileId) -> Vec<PastName> {
        self.all_names()
            .filter(|name| name.document == document && document != FileId::NIL)
            .collect()
    }

    pub(in crate::catalogs) fn ended(&self, after: u64, limit: usize) -> Vec<PastName> {
        let rest = self.past.ended.values().filter(|name| name.id > after);
        rest.take(limit).cloned().collect()
    }

    /// What an earlier version becomes when it is saved once more.
    fn again(
        &self,
        from: (FileId, VersionNo),
        to: (FileId, VersionNo),
        write: &Write,
    ) -> Outcome<Version> {
        let mut version = if from.1 == VersionNo(0) {
            Version {
                document: to.0,
                number: to.1,
                size: 0,
                mtime: write.audit.at,
                saved_at: write.audit.at,
                author: String::new(),
                host: String::new(),
                head: None,
                settled: true,
                layout: Vec::new(),
            }
        } else {
            self.version(from.0, from.1).ok_or(missing("version"))?
        };
        (version.document, version.number) = to;
        version.saved_at = write.audit.at;
        version.author = write.audit.context.actor.clone();
        version.host = write.audit.context.host.clone();
        Ok(version)
    }

    fn show(&mut self, node: NodeId, version: Version, at: Timestamp) -> Attr {
        let attr = self.change(node, |attr| {
            attr.version = version.number;
            attr.size = version.size;
            attr.mtime = version.mtime;
            attr.ctime = at;
            attr.head = version.head;
        });
        if self.version(version.document, version.number).is_none() {
            self.add_version(version);
        }
        attr
    }

    pub(in crate::catalogs) fn reinstate(
        &mut self,
        to: &Reinstate,
        from: (FileId, VersionNo),
        write: &Write,
    ) -> Outcome<Attr> {
        let at = write.audit.at;
        let attr = match to {
            Reinstate::Next(node, base) => {
                let attr = self.node(*node)?.attr.clone();
                match attr.kind {
                    NodeKind::File => {}
                    NodeKind::Dir => return Err(CatalogError::IsDir),
                    _ => return Err(missing("file")),
                }
                let current = self.newest(attr.document);
                if attr.head != *base || current != attr.version {
                    return Err(CatalogError::Conflict { current });
                }
                let next = VersionNo(attr.version.0 + 1);
                let version = self.again(from, (attr.document, next), write)?;
                self.show(*node, version, at)
            }
            Reinstate::New(parent, name, new) => {
                match new.kind {
                    NodeKind::File => {}
                    NodeKind::Dir => return Err(CatalogError::IsDir),
                    _ => return Err(missing("file")),
                }
                self.free(*parent, name)?;
                let taken = |node: &super::Node| node.attr.document == new.document;
                if self.nodes.values().any(taken) {
                    return Err(CatalogError::Exists);
                }
                let newest = self.newest(new.document);
                let version = if newest == VersionNo(0) && from.1 == VersionNo(0) {
                    None
                } else if (new.document, newest) == from {
                    Some(self.version(from.0, from.1).ok_or(missing("version"))?)
                } else {
                    let next = VersionNo(newest.0 + 1);
                    Some(self.again(from, (new.document, next), write)?)
                };
                let node = self.make(*parent, name, new, at).node;
                match version {
                    Some(version) => self.show(node, version, at),
                    None => self.node(node)?.attr.clone(),
                }
            }
        };
        self.record(&write.audit);
        Ok(attr)
    }

    pub(in crate::catalogs) fn unlink_if(
        &mut self,
        (parent, name): (NodeId, &Name),
        what: (NodeId, Option<ExtentId>),
        keep: bool,
        write: &Write,
    ) -> Outcome<Attr> {
        let attr = self.named(parent, name)?;
        if (attr.node, attr.head) != what {
            let current = attr.version;
            return Err(CatalogError::Conflict { current });
        }
        let open = keep.then_some(attr.node);
        self.unlink(parent, name, open.as_slice(), write)
    }

    pub(in crate::catalogs) fn forget_versions(
        &mut self,
        what: &Forget,
        until: Timestamp,
        write: &Write,
    ) -> Outcome<Forgotten> {
        let attributes: BTreeSet<_> = self.node(NodeId::ROOT)?.xattrs.keys().collect();
        if attributes != what.attributes.iter().collect() {
            return Err(CatalogError::Conflict {
                current: VersionNo(0),
            });
        }
        let mut forgotten = Forgotten::default();
        let mut loose = BTreeSet::new();
        let wanted: BTreeSet<_> = what.versions.iter().copied().collect();
        for key in wanted {
            let has_it = |node: &&super::Node| node.attr.document == key.0;
            let mut nodes = self.nodes.values().filter(has_it).peekable();
            let named = nodes.peek().is_some();
            let newest = self
                .versions_of(key.0)
                .rev()
                .find(|version| version.settled);
            let needed = named && newest.is_none_or(|newest| key.1 >= newest.number);
            let settled = self
                .version(key.0, key.1)
                .is_some_and(|version| version.settled);
            if !settled || needed || nodes.any(|node| node.attr.version == key.1) {
                continue;
            }
            if let Some((_, version)) = self.versions.remove(&key) {
                loose.extend(version.head);
                loose.extend(version.layout.iter().flatten());
                forgotten.versions.push(key);
            }
        }
        for name in &what.names {
            self.past.ended.remove(name);
        }
        if what.known_since > self.position(KNOWN_SINCE) {
            self.restore_position(KNOWN_SINCE.to_owned(), what.known_since);
        }
        for extent in loose {
            let mut versions = self.versions.values();
            if versions.any(|(_, version)| uses(version, extent)) {
                continue;
            }
            let gone = self.extents.remove(&extent);
            forgotten
                .extents
                .extend(gone.map(|record| (extent, record.generation)));
        }
        if !forgotten.extents.is_empty() {
            let intent = Intent {
                save: what.waste,
                extents: forgotten.extents.clone(),
            };
            self.begin(&intent, until)?;
        }
        self.record(&write.audit);
        Ok(forgotten)
    }

    pub(in crate::catalogs) fn position(&self, what: &str) -> u64 {
        self.past.positions.get(what).copied().unwrap_or(0)
    }

    pub(in crate::catalogs) fn positions(&self) -> Vec<(String, u64)> {
        let positions = self.past.positions.iter();
        positions.map(|(what, at)| (what.clone(), *at)).collect()
    }

    pub(super) fn restore_position(&mut self, what: String, at: u64) {
        self.past.positions.insert(what, at);
    }

    pub(in crate::catalogs) fn advance(&mut self, what: &str, from: u64, to: u64) -> bool {
        let there = self.position(what) == from;
        if there {
            self.past.positions.insert(what.to_owned(), to);
        }
        there
    }

    pub(in crate::catalogs) fn lookup_at(
        &self,
        dir: NodeId,
        name: &Name,
        at: Timestamp,
    ) -> Option<PastName> {
        self.list_at(dir, at)
            .into_iter()
            .find(|found| found.name == *name)
    }
}

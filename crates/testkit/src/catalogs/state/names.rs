//! Changing names and attributes.

use std::collections::{BTreeMap, BTreeSet};

use warifu_core::head::Timestamp;
use warifu_core::ids::VersionNo;
use warifu_vault::context::AuditEntry;
use warifu_vault::node::{Attr, AttrChange, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    AuditRow, CatalogError, NewNode, RenameMode, Renamed, Version, Write, XattrMode,
};

use warifu_vault::seam::past::End;

use super::{Node, Outcome, State, chain_after, missing, place};

impl State {
    pub(in crate::catalogs) fn record(&mut self, entry: &AuditEntry) {
        let seq = self.log.len() as u64 + 1;
        let previous = self.log.last().map_or([0; 32], |row| row.chain);
        let chain = chain_after(&previous, seq, entry);
        self.log.push(AuditRow {
            seq,
            entry: entry.clone(),
            chain,
        });
    }

    /// Changes the attributes of a node that is known to be there.
    pub(super) fn change(&mut self, node: NodeId, change: impl FnOnce(&mut Attr)) -> Attr {
        let node = self
            .nodes
            .get_mut(&node)
            .expect("the node was looked up before");
        change(&mut node.attr);
        node.attr.clone()
    }

    /// Gives a node a name, from `then` on, by a change that was made `at` a time.
    fn enter(
        &mut self,
        (parent, name): (NodeId, &Name),
        node: NodeId,
        at: Timestamp,
        then: Timestamp,
    ) {
        let cursor = place(parent, name);
        self.entries.insert((parent, cursor), (name.clone(), node));
        self.begin_name(parent, cursor, then);
        self.nodes
            .get_mut(&node)
            .expect("the node was looked up before")
            .names
            .insert((parent, cursor));
        self.touch(parent, node, at, 1);
    }

    /// Takes a name away, from `then` on; the node stays.
    fn leave(&mut self, (parent, name): (NodeId, &Name), at: Timestamp, then: Timestamp, end: End) {
        let cursor = place(parent, name);
        self.end_name(parent, cursor, then, end);
        let (_, node) = self
            .entries
            .remove(&(parent, cursor))
            .expect("the name was looked up before");
        self.nodes
            .get_mut(&node)
            .expect("a name stands for a node")
            .names
            .remove(&(parent, cursor));
        self.touch(parent, node, at, -1);
    }

    /// Notes in a folder that it got a child, or lost one.
    fn touch(&mut self, parent: NodeId, child: NodeId, at: Timestamp, sign: i32) {
        let is_dir = self
            .attr(child)
            .is_some_and(|child| child.kind == NodeKind::Dir);
        self.change(parent, |parent| {
            (parent.mtime, parent.ctime) = (at, at);
            if is_dir {
                parent.nlink = parent
                    .nlink
                    .checked_add_signed(sign)
                    .expect("a folder counts its folders");
            }
        });
    }

    /// Counts down what lost a name, and forgets it when that was the last.
    fn drop_name(&mut self, node: NodeId, keep: bool, at: Timestamp) -> Attr {
        let attr = self.change(node, |attr| {
            attr.ctime = at;
            attr.nlink = if attr.kind == NodeKind::Dir {
                0
            } else {
                attr.nlink - 1
            };
        });
        if attr.nlink == 0 && !keep {
            self.nodes.remove(&node);
        }
        attr
    }

    pub(super) fn make(
        &mut self,
        parent: NodeId,
        name: &Name,
        new: &NewNode,
        at: Timestamp,
    ) -> Attr {
        self.last_node = NodeId(self.last_node.0 + 1);
        let attr = Attr {
            node: self.last_node,
            kind: new.kind,
            mode: new.mode,
            uid: new.uid,
            gid: new.gid,
            nlink: if new.kind == NodeKind::Dir { 2 } else { 1 },
            rdev: new.rdev,
            size: if new.kind == NodeKind::Symlink {
                new.target.len() as u64
            } else {
                0
            },
            atime: at,
            mtime: at,
            ctime: at,
            btime: at,
            document: new.document,
            version: VersionNo(0),
            head: None,
        };
        let node = Node {
            attr: attr.clone(),
            target: new.target.clone(),
            xattrs: BTreeMap::new(),
            names: BTreeSet::new(),
        };
        self.nodes.insert(attr.node, node);
        let then = self.not_before(parent, place(parent, name), at);
        self.enter((parent, name), attr.node, at, then);
        attr
    }

    pub(in crate::catalogs) fn create(
        &mut self,
        parent: NodeId,
        name: &Name,
        new: &NewNode,
        write: &Write,
    ) -> Outcome<Attr> {
        let folder = self.folder(parent)?;
        if let Some(unwanted) = new.unless
            && folder.xattrs.contains_key(unwanted)
        {
            return Err(CatalogError::Refused);
        }
        let mut new = new.clone();
        if new.inherits && folder.attr.mode & 0o2000 != 0 {
            new.gid = folder.attr.gid;
            if new.kind == NodeKind::Dir {
                new.mode |= 0o2000;
            }
        }
        self.free(parent, name)?;
        let attr = self.make(parent, name, &new, write.audit.at);
        self.record(&write.audit);
        Ok(attr)
    }

    pub(in crate::catalogs) fn link(
        &mut self,
        node: NodeId,
        parent: NodeId,
        name: &Name,
        write: &Write,
    ) -> Outcome<Attr> {
        let attr = &self.node(node)?.attr;
        if attr.kind == NodeKind::Dir {
            return Err(CatalogError::IsDir);
        }
        if attr.nlink == 0 {
            return Err(missing("node"));
        }
        self.free(parent, name)?;
        let at = write.audit.at;
        let then = self.not_before(parent, place(parent, name), at);
        self.enter((parent, name), node, at, then);
        self.record(&write.audit);
        Ok(self.change(node, |attr| {
            attr.nlink += 1;
            attr.ctime = write.audit.at;
        }))
    }

    pub(in crate::catalogs) fn unlink(
        &mut self,
        parent: NodeId,
        name: &Name,
        open: &[NodeId],
        write: &Write,
    ) -> Outcome<Attr> {
        let attr = self.named(parent, name)?;
        if attr.kind == NodeKind::Dir {
            return Err(CatalogError::IsDir);
        }
        let at = write.audit.at;
        let then = self.not_before(parent, place(parent, name), at);
        self.leave((parent, name), at, then, End::Removed);
        self.record(&write.audit);
        Ok(self.drop_name(attr.node, open.contains(&attr.node), write.audit.at))
    }

    pub(in crate::catalogs) fn rmdir(
        &mut self,
        parent: NodeId,
        name: &Name,
        write: &Write,
    ) -> Outcome<()> {
        let attr = self.named(parent, name)?;
        if attr.kind != NodeKind::Dir {
            return Err(CatalogError::NotDir);
        }
        if !self.list(attr.node, None, 1)?.is_empty() {
            return Err(CatalogError::NotEmpty);
        }
        let at = write.audit.at;
        let then = self.not_before(parent, place(parent, name), at);
        self.leave((parent, name), at, then, End::Removed);
        self.drop_name(attr.node, false, write.audit.at);
        self.record(&write.audit);
        Ok(())
    }

    fn is_within(&self, dir: NodeId, ancestor: NodeId) -> bool {
        let mut at = dir;
        loop {
            if at == ancestor {
                return true;
            }
            match self.nodes.get(&at).and_then(|node| node.names.first()) {
                Some((parent, _)) => at = *parent,
                None => return false,
            }
        }
    }

    pub(in crate::catalogs) fn rename(
        &mut self,
        (from, from_name): (NodeId, &Name),
        (to, to_name): (NodeId, &Name),
        mode: RenameMode,
        open: &[NodeId],
        write: &Write,
    ) -> Outcome<Renamed> {
        let at = write.audit.at;
        self.folder(from)?;
        self.folder(to)?;
        let moved = self.named(from, from_name)?;
        let other = self.lookup(to, to_name)?;
        match (&other, mode) {
            (Some(_), RenameMode::NoReplace) => return Err(CatalogError::Exists),
            (None, RenameMode::Exchange) => return Err(missing("name")),
            (Some(other), _) if other.node == moved.node => {
                return Ok(Renamed { moved, other: None });
            }
            _ => {}
        }
        let (moved_dir, other_dir) = (
            moved.kind == NodeKind::Dir,
            other
                .as_ref()
                .is_some_and(|other| other.kind == NodeKind::Dir),
        );
        let then = self.not_before(from, place(from, from_name), at);
        let then = self.not_before(to, place(to, to_name), then);
        if moved_dir && self.is_within(to, moved.node) {
            return Err(CatalogError::Loop);
        }
        let other = match other {
            None => {
                self.leave((from, from_name), at, then, End::Moved);
                None
            }
            Some(other) if mode == RenameMode::Exchange => {
                if other_dir && self.is_within(from, other.node) {
                    return Err(CatalogError::Loop);
                }
                self.leave((from, from_name), at, then, End::Moved);
                self.leave((to, to_name), at, then, End::Moved);
                self.enter((from, from_name), other.node, at, then);
                Some(self.change(other.node, |other| other.ctime = at))
            }
            Some(other) => {
                match (moved_dir, other_dir) {
                    (true, false) => return Err(CatalogError::NotDir),
                    (false, true) => return Err(CatalogError::IsDir),
                    (true, true) if !self.list(other.node, None, 1)?.is_empty() => {
                        return Err(CatalogError::NotEmpty);
                    }
                    _ => {}
                }
                self.leave((from, from_name), at, then, End::Moved);
                let goes_on = moved.kind == NodeKind::File
                    && other.kind == NodeKind::File
                    && other.nlink == 1
                    && other.version.0 > 0;
                let end = if goes_on { End::Replaced } else { End::Removed };
                self.leave((to, to_name), at, then, end);
                if goes_on {
                    self.go_on_in(&moved, (other.document, other.version), write);
                }
                Some(self.drop_name(other.node, open.contains(&other.node), at))
            }
        };
        self.enter((to, to_name), moved.node, at, then);
        let moved = self.change(moved.node, |moved| moved.ctime = at);
        self.record(&write.audit);
        Ok(Renamed { moved, other })
    }

    pub(super) fn add_version(&mut self, version: Version) {
        self.commits += 1;
        self.versions
            .insert((version.document, version.number), (self.commits, version));
    }

    pub(in crate::catalogs) fn set_attr(
        &mut self,
        node: NodeId,
        change: &AttrChange,
        write: &Write,
    ) -> Outcome<Attr> {
        self.node(node)?;
        self.record(&write.audit);
        Ok(self.change(node, |attr| {
            attr.mode = change.mode.unwrap_or(attr.mode);
            attr.uid = change.uid.unwrap_or(attr.uid);
            attr.gid = change.gid.unwrap_or(attr.gid);
            attr.atime = change.atime.unwrap_or(attr.atime);
            attr.mtime = change.mtime.unwrap_or(attr.mtime);
            attr.ctime = write.audit.at;
        }))
    }

    pub(in crate::catalogs) fn set_xattr(
        &mut self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
        write: &Write,
    ) -> Outcome<()> {
        match (mode, self.node(node)?.xattrs.contains_key(name)) {
            (XattrMode::Create, true) => return Err(CatalogError::Exists),
            (XattrMode::Replace, false) => return Err(CatalogError::NoXattr),
            _ => {}
        }
        self.change(node, |attr| attr.ctime = write.audit.at);
        self.nodes
            .get_mut(&node)
            .expect("it was looked up")
            .xattrs
            .insert(name.to_vec(), value.to_vec());
        self.record(&write.audit);
        Ok(())
    }

    pub(in crate::catalogs) fn remove_xattr(
        &mut self,
        node: NodeId,
        name: &[u8],
        write: &Write,
    ) -> Outcome<()> {
        self.xattr(node, name)?;
        self.change(node, |attr| attr.ctime = write.audit.at);
        self.nodes
            .get_mut(&node)
            .expect("it was looked up")
            .xattrs
            .remove(name);
        self.record(&write.audit);
        Ok(())
    }

    pub(in crate::catalogs) fn forget(&mut self, node: NodeId) {
        if self.attr(node).is_some_and(|attr| attr.nlink == 0) {
            self.nodes.remove(&node);
        }
    }

    pub(in crate::catalogs) fn forget_nameless(&mut self) -> u64 {
        let before = self.nodes.len();
        self.nodes.retain(|_, node| node.attr.nlink > 0);
        (before - self.nodes.len()) as u64
    }
}

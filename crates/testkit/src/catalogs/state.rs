//! What the in-memory catalogue knows, in plain maps. Every function checks first and changes then, so that an error
//! leaves everything as it was. Slow and short on purpose: it says what the quick one must do.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, VersionNo};
use warifu_vault::context::AuditEntry;
use warifu_vault::node::{Attr, AttrChange, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    AuditRow, CatalogError, Commit, Cursor, ExtentRecord, Intent, Listed, NewNode, RenameMode, Renamed, SaveId, Usage, Version, Write,
    XattrMode,
};

type Outcome<T> = Result<T, CatalogError>;

#[derive(Clone, Debug)]
struct Node {
    attr: Attr,
    target: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    names: BTreeSet<(NodeId, Cursor)>,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    nodes: BTreeMap<NodeId, Node>,
    entries: BTreeMap<(NodeId, Cursor), (Name, NodeId)>,
    /// Each version with its place in the order of commits.
    versions: BTreeMap<(FileId, VersionNo), (u64, Version)>,
    extents: BTreeMap<ExtentId, ExtentRecord>,
    intents: BTreeMap<SaveId, Intent>,
    log: Vec<AuditRow>,
    last_node: NodeId,
    commits: u64,
}

/// The chain value of the in-memory catalogue's log after the one before it. Not cryptographic, unlike the real one.
#[must_use]
pub fn chain_after(previous: &[u8; 32], seq: u64, entry: &AuditEntry) -> [u8; 32] {
    let mut chain = [0; 32];
    for (part, place) in chain.chunks_exact_mut(8).enumerate() {
        place.copy_from_slice(&digest(&(part, previous, seq, format!("{entry:?}"))).to_le_bytes());
    }
    chain
}

fn digest(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// The place of a name in its folder's listing: scattered, as keyed hashes are.
fn place(parent: NodeId, name: &Name) -> Cursor {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&digest(&(1, parent, name)).to_le_bytes());
    bytes[8..].copy_from_slice(&digest(&(2, parent, name)).to_le_bytes());
    Cursor(bytes)
}

const fn missing(what: &'static str) -> CatalogError {
    CatalogError::NotFound { what }
}

impl State {
    pub(super) fn new() -> Self {
        let zero = Timestamp { secs: 0, nanos: 0 };
        let attr = Attr {
            node: NodeId::ROOT,
            kind: NodeKind::Dir,
            mode: 0o755,
            uid: 0,
            gid: 0,
            nlink: 2,
            rdev: 0,
            size: 0,
            atime: zero,
            mtime: zero,
            ctime: zero,
            btime: zero,
            document: FileId::NIL,
            version: VersionNo(0),
            head: None,
        };
        let root = Node { attr, target: Vec::new(), xattrs: BTreeMap::new(), names: BTreeSet::new() };
        Self {
            nodes: BTreeMap::from([(NodeId::ROOT, root)]),
            entries: BTreeMap::new(),
            versions: BTreeMap::new(),
            extents: BTreeMap::new(),
            intents: BTreeMap::new(),
            log: Vec::new(),
            last_node: NodeId::ROOT,
            commits: 0,
        }
    }

    // Reading

    pub(super) fn attr(&self, node: NodeId) -> Option<Attr> {
        self.nodes.get(&node).map(|node| node.attr.clone())
    }

    fn node(&self, node: NodeId) -> Outcome<&Node> {
        self.nodes.get(&node).ok_or(missing("node"))
    }

    fn folder(&self, dir: NodeId) -> Outcome<&Node> {
        match self.nodes.get(&dir) {
            Some(node) if node.attr.kind != NodeKind::Dir => Err(CatalogError::NotDir),
            Some(node) if node.attr.nlink > 0 => Ok(node),
            _ => Err(missing("folder")),
        }
    }

    pub(super) fn lookup(&self, parent: NodeId, name: &Name) -> Outcome<Option<Attr>> {
        self.folder(parent)?;
        Ok(self.entries.get(&(parent, place(parent, name))).and_then(|(_, node)| self.attr(*node)))
    }

    fn named(&self, parent: NodeId, name: &Name) -> Outcome<Attr> {
        self.lookup(parent, name)?.ok_or(missing("name"))
    }

    fn free(&self, parent: NodeId, name: &Name) -> Outcome<()> {
        match self.lookup(parent, name)? {
            Some(_) => Err(CatalogError::Exists),
            None => Ok(()),
        }
    }

    pub(super) fn list(&self, dir: NodeId, after: Option<Cursor>, limit: usize) -> Outcome<Vec<Listed>> {
        self.folder(dir)?;
        let all = self.entries.range((dir, Cursor([0; 16]))..=(dir, Cursor([255; 16])));
        let rest = all.filter(|((_, cursor), _)| after.is_none_or(|after| *cursor > after));
        Ok(rest
            .take(limit)
            .filter_map(|((_, cursor), (name, node))| Some(Listed { name: name.clone(), attr: self.attr(*node)?, cursor: *cursor }))
            .collect())
    }

    pub(super) fn path(&self, node: NodeId) -> Option<Vec<Name>> {
        let mut names = Vec::new();
        let mut at = node;
        while at != NodeId::ROOT {
            let entry = self.nodes.get(&at)?.names.first()?;
            names.push(self.entries.get(entry)?.0.clone());
            at = entry.0;
        }
        names.reverse();
        Some(names)
    }

    pub(super) fn parent(&self, dir: NodeId) -> Outcome<NodeId> {
        Ok(self.folder(dir)?.names.first().map_or(dir, |(parent, _)| *parent))
    }

    pub(super) fn read_link(&self, node: NodeId) -> Outcome<Vec<u8>> {
        match self.nodes.get(&node) {
            Some(node) if node.attr.kind == NodeKind::Symlink => Ok(node.target.clone()),
            _ => Err(missing("symbolic link")),
        }
    }

    pub(super) fn xattrs(&self, node: NodeId) -> Outcome<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(self.node(node)?.xattrs.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    pub(super) fn xattr(&self, node: NodeId, name: &[u8]) -> Outcome<Vec<u8>> {
        self.node(node)?.xattrs.get(name).cloned().ok_or(CatalogError::NoXattr)
    }

    pub(super) fn current(&self, node: NodeId) -> Outcome<(Attr, Option<Version>)> {
        let attr = self.node(node)?.attr.clone();
        let version = self.version(attr.document, attr.version);
        Ok((attr, version))
    }

    pub(super) fn version(&self, document: FileId, number: VersionNo) -> Option<Version> {
        self.versions.get(&(document, number)).map(|(_, version)| version.clone())
    }

    fn versions_of(&self, document: FileId) -> impl DoubleEndedIterator<Item = &Version> {
        self.versions.range((document, VersionNo(0))..=(document, VersionNo(u64::MAX))).map(|(_, (_, version))| version)
    }

    fn newest(&self, document: FileId) -> VersionNo {
        self.versions_of(document).next_back().map_or(VersionNo(0), |version| version.number)
    }

    pub(super) fn history(&self, document: FileId) -> Vec<Version> {
        self.versions_of(document).map(|version| Version { layout: Vec::new(), ..version.clone() }).collect()
    }

    pub(super) fn extent(&self, extent: ExtentId) -> Option<ExtentRecord> {
        self.extents.get(&extent).cloned()
    }

    pub(super) fn extents(&self, after: Option<ExtentId>, limit: usize, owed: bool) -> Vec<ExtentRecord> {
        let rest = self.extents.values().filter(|extent| after.is_none_or(|after| extent.extent > after));
        rest.filter(|extent| !owed || !extent.owed.is_empty()).take(limit).cloned().collect()
    }

    /// A file with a name is better than one without, that is better than none; then the newest version.
    pub(super) fn user_of(&self, extent: ExtentId) -> Option<(Option<NodeId>, FileId, VersionNo)> {
        let users = self.versions.values().map(|(_, version)| version).filter(|version| uses(version, extent));
        let rank = |version: &Version| {
            let node = self.nodes.values().filter(|node| node.attr.document == version.document).min_by_key(|node| (node.attr.nlink == 0, node.attr.node));
            (node.is_some_and(|node| node.attr.nlink > 0), node.is_some(), version.number, node.map(|node| node.attr.node))
        };
        let best = users.max_by_key(|version| (rank(version), version.document))?;
        Some((rank(best).3, best.document, best.number))
    }

    pub(super) fn unsettled(&self, limit: usize) -> Vec<Version> {
        let mut open: Vec<_> = self.versions.values().filter(|(_, version)| !version.settled).collect();
        open.sort_by_key(|(order, _)| *order);
        open.into_iter().take(limit).map(|(_, version)| version.clone()).collect()
    }

    pub(super) fn lapsed(&self, now: Timestamp) -> Vec<Intent> {
        let before = |at: Timestamp| (at.secs, at.nanos) < (now.secs, now.nanos);
        self.intents.values().filter(|intent| before(intent.lease_until)).cloned().collect()
    }

    pub(super) fn usage(&self) -> Usage {
        let named = |kind| self.nodes.values().filter(move |node| node.attr.kind == kind && node.attr.nlink > 0);
        let degraded: Vec<_> = self.extents(None, usize::MAX, true);
        Usage {
            files: named(NodeKind::File).count() as u64,
            dirs: named(NodeKind::Dir).count() as u64,
            bytes: named(NodeKind::File).map(|node| node.attr.size).sum(),
            versions: self.versions.len() as u64,
            degraded_extents: degraded.len() as u64,
            owed_shares: degraded.iter().map(|extent| u64::from(extent.owed.len())).sum(),
            open_saves: self.intents.len() as u64,
            unsettled: self.unsettled(usize::MAX).len() as u64,
        }
    }

    pub(super) fn log(&self, after: u64, limit: usize) -> Vec<AuditRow> {
        self.log.iter().filter(|row| row.seq > after).take(limit).cloned().collect()
    }

    // Names

    pub(super) fn record(&mut self, entry: &AuditEntry) {
        let seq = self.log.len() as u64 + 1;
        let previous = self.log.last().map_or([0; 32], |row| row.chain);
        let chain = chain_after(&previous, seq, entry);
        self.log.push(AuditRow { seq, entry: entry.clone(), chain });
    }

    /// Changes the attributes of a node that is known to be there.
    fn change(&mut self, node: NodeId, change: impl FnOnce(&mut Attr)) -> Attr {
        let node = self.nodes.get_mut(&node).expect("the node was looked up before");
        change(&mut node.attr);
        node.attr.clone()
    }

    fn enter(&mut self, parent: NodeId, name: &Name, node: NodeId, at: Timestamp) {
        let cursor = place(parent, name);
        self.entries.insert((parent, cursor), (name.clone(), node));
        self.nodes.get_mut(&node).expect("the node was looked up before").names.insert((parent, cursor));
        self.touch(parent, node, at, 1);
    }

    /// Takes a name away; the node stays.
    fn leave(&mut self, parent: NodeId, name: &Name, at: Timestamp) {
        let cursor = place(parent, name);
        let (_, node) = self.entries.remove(&(parent, cursor)).expect("the name was looked up before");
        self.nodes.get_mut(&node).expect("a name stands for a node").names.remove(&(parent, cursor));
        self.touch(parent, node, at, -1);
    }

    /// Notes in a folder that it got a child, or lost one.
    fn touch(&mut self, parent: NodeId, child: NodeId, at: Timestamp, sign: i32) {
        let is_dir = self.attr(child).is_some_and(|child| child.kind == NodeKind::Dir);
        self.change(parent, |parent| {
            (parent.mtime, parent.ctime) = (at, at);
            if is_dir {
                parent.nlink = parent.nlink.checked_add_signed(sign).expect("a folder counts its folders");
            }
        });
    }

    /// Counts down what lost a name, and forgets it when that was the last.
    fn drop_name(&mut self, node: NodeId, keep: bool, at: Timestamp) -> Attr {
        let attr = self.change(node, |attr| {
            attr.ctime = at;
            attr.nlink = if attr.kind == NodeKind::Dir { 0 } else { attr.nlink - 1 };
        });
        if attr.nlink == 0 && !keep {
            self.nodes.remove(&node);
        }
        attr
    }

    fn make(&mut self, parent: NodeId, name: &Name, new: &NewNode, at: Timestamp) -> Attr {
        self.last_node = NodeId(self.last_node.0 + 1);
        let attr = Attr {
            node: self.last_node,
            kind: new.kind,
            mode: new.mode,
            uid: new.uid,
            gid: new.gid,
            nlink: if new.kind == NodeKind::Dir { 2 } else { 1 },
            rdev: new.rdev,
            size: if new.kind == NodeKind::Symlink { new.target.len() as u64 } else { 0 },
            atime: at,
            mtime: at,
            ctime: at,
            btime: at,
            document: new.document,
            version: VersionNo(0),
            head: None,
        };
        let node = Node { attr: attr.clone(), target: new.target.clone(), xattrs: BTreeMap::new(), names: BTreeSet::new() };
        self.nodes.insert(attr.node, node);
        self.enter(parent, name, attr.node, at);
        attr
    }

    pub(super) fn create(&mut self, parent: NodeId, name: &Name, new: &NewNode, write: &Write) -> Outcome<Attr> {
        self.free(parent, name)?;
        let attr = self.make(parent, name, new, write.audit.at);
        self.record(&write.audit);
        Ok(attr)
    }

    pub(super) fn link(&mut self, node: NodeId, parent: NodeId, name: &Name, write: &Write) -> Outcome<Attr> {
        let attr = &self.node(node)?.attr;
        if attr.kind == NodeKind::Dir {
            return Err(CatalogError::IsDir);
        }
        if attr.nlink == 0 {
            return Err(missing("node"));
        }
        self.free(parent, name)?;
        self.enter(parent, name, node, write.audit.at);
        self.record(&write.audit);
        Ok(self.change(node, |attr| {
            attr.nlink += 1;
            attr.ctime = write.audit.at;
        }))
    }

    pub(super) fn unlink(&mut self, parent: NodeId, name: &Name, keep: bool, write: &Write) -> Outcome<Attr> {
        let attr = self.named(parent, name)?;
        if attr.kind == NodeKind::Dir {
            return Err(CatalogError::IsDir);
        }
        self.leave(parent, name, write.audit.at);
        self.record(&write.audit);
        Ok(self.drop_name(attr.node, keep, write.audit.at))
    }

    pub(super) fn rmdir(&mut self, parent: NodeId, name: &Name, write: &Write) -> Outcome<()> {
        let attr = self.named(parent, name)?;
        if attr.kind != NodeKind::Dir {
            return Err(CatalogError::NotDir);
        }
        if !self.list(attr.node, None, 1)?.is_empty() {
            return Err(CatalogError::NotEmpty);
        }
        self.leave(parent, name, write.audit.at);
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

    pub(super) fn rename(
        &mut self,
        (from, from_name): (NodeId, &Name),
        (to, to_name): (NodeId, &Name),
        mode: RenameMode,
        keep: bool,
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
            (Some(other), _) if other.node == moved.node => return Ok(Renamed { moved, other: None }),
            _ => {}
        }
        let (moved_dir, other_dir) = (moved.kind == NodeKind::Dir, other.as_ref().is_some_and(|other| other.kind == NodeKind::Dir));
        if moved_dir && self.is_within(to, moved.node) {
            return Err(CatalogError::Loop);
        }
        let other = match other {
            None => {
                self.leave(from, from_name, at);
                None
            }
            Some(other) if mode == RenameMode::Exchange => {
                if other_dir && self.is_within(from, other.node) {
                    return Err(CatalogError::Loop);
                }
                self.leave(from, from_name, at);
                self.leave(to, to_name, at);
                self.enter(from, from_name, other.node, at);
                Some(self.change(other.node, |other| other.ctime = at))
            }
            Some(other) => {
                match (moved_dir, other_dir) {
                    (true, false) => return Err(CatalogError::NotDir),
                    (false, true) => return Err(CatalogError::IsDir),
                    (true, true) if !self.list(other.node, None, 1)?.is_empty() => return Err(CatalogError::NotEmpty),
                    _ => {}
                }
                if moved.kind == NodeKind::File && other.kind == NodeKind::File && other.nlink == 1 && other.version.0 > 0 {
                    self.take_over(&moved, &other, write);
                }
                self.leave(from, from_name, at);
                self.leave(to, to_name, at);
                Some(self.drop_name(other.node, keep, at))
            }
        };
        self.enter(to, to_name, moved.node, at);
        let moved = self.change(moved.node, |moved| moved.ctime = at);
        self.record(&write.audit);
        Ok(Renamed { moved, other })
    }

    fn take_over(&mut self, moved: &Attr, other: &Attr, write: &Write) {
        let mut version = self.version(moved.document, moved.version).unwrap_or_else(|| Version {
            document: other.document,
            number: VersionNo(0),
            size: 0,
            mtime: moved.mtime,
            saved_at: write.audit.at,
            author: write.audit.context.actor.clone(),
            host: write.audit.context.host.clone(),
            head: None,
            settled: true,
            layout: Vec::new(),
        });
        version.document = other.document;
        version.number = VersionNo(other.version.0 + 1);
        let (document, number) = (version.document, version.number);
        self.add_version(version);
        self.change(moved.node, |moved| (moved.document, moved.version) = (document, number));
    }

    fn add_version(&mut self, version: Version) {
        self.commits += 1;
        self.versions.insert((version.document, version.number), (self.commits, version));
    }

    pub(super) fn set_attr(&mut self, node: NodeId, change: &AttrChange, write: &Write) -> Outcome<Attr> {
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

    pub(super) fn set_xattr(&mut self, node: NodeId, name: &[u8], value: &[u8], mode: XattrMode, write: &Write) -> Outcome<()> {
        match (mode, self.node(node)?.xattrs.contains_key(name)) {
            (XattrMode::Create, true) => return Err(CatalogError::Exists),
            (XattrMode::Replace, false) => return Err(CatalogError::NoXattr),
            _ => {}
        }
        self.change(node, |attr| attr.ctime = write.audit.at);
        self.nodes.get_mut(&node).expect("it was looked up").xattrs.insert(name.to_vec(), value.to_vec());
        self.record(&write.audit);
        Ok(())
    }

    pub(super) fn remove_xattr(&mut self, node: NodeId, name: &[u8], write: &Write) -> Outcome<()> {
        self.xattr(node, name)?;
        self.change(node, |attr| attr.ctime = write.audit.at);
        self.nodes.get_mut(&node).expect("it was looked up").xattrs.remove(name);
        self.record(&write.audit);
        Ok(())
    }

    pub(super) fn forget(&mut self, node: NodeId) {
        if self.attr(node).is_some_and(|attr| attr.nlink == 0) {
            self.nodes.remove(&node);
        }
    }

    pub(super) fn forget_nameless(&mut self) -> u64 {
        let before = self.nodes.len();
        self.nodes.retain(|_, node| node.attr.nlink > 0);
        (before - self.nodes.len()) as u64
    }

    // Saving

    pub(super) fn begin(&mut self, intent: &Intent) -> Outcome<()> {
        if self.intents.contains_key(&intent.save) {
            return Err(CatalogError::Exists);
        }
        self.intents.insert(intent.save, intent.clone());
        Ok(())
    }

    pub(super) fn extend(
        &mut self,
        save: SaveId,
        extents: &[(ExtentId, warifu_core::ids::Generation)],
        lease_until: Timestamp,
    ) -> Outcome<()> {
        let intent = self.intents.get_mut(&save).ok_or(CatalogError::Lapsed)?;
        intent.extents.extend_from_slice(extents);
        intent.lease_until = lease_until;
        Ok(())
    }

    pub(super) fn end(&mut self, save: SaveId) -> bool {
        self.intents.remove(&save).is_some()
    }

    /// What may not be committed.
    fn check(&self, kind: NodeKind, commit: &Commit) -> Outcome<()> {
        if !self.intents.contains_key(&commit.save) {
            return Err(CatalogError::Lapsed);
        }
        match kind {
            NodeKind::File => Ok(()),
            NodeKind::Dir => Err(CatalogError::IsDir),
            _ => Err(missing("file")),
        }
    }

    fn check_extents(&self, commit: &Commit) -> Outcome<()> {
        if let Some(twice) = commit.dealt.iter().find(|dealt| self.extents.contains_key(&dealt.extent)) {
            return Err(CatalogError::Failed { detail: format!("extent {} was dealt twice", twice.extent) });
        }
        let known = |extent: &ExtentId| self.extents.contains_key(extent) || commit.dealt.iter().any(|dealt| dealt.extent == *extent);
        if commit.head.iter().chain(commit.layout.iter().flatten()).all(known) { Ok(()) } else { Err(missing("extent")) }
    }

    fn install(&mut self, node: NodeId, commit: Commit, write: &Write) -> Attr {
        self.intents.remove(&commit.save);
        self.extents.extend(commit.dealt.iter().map(|dealt| (dealt.extent, dealt.clone())));
        let attr = self.change(node, |attr| {
            attr.version = VersionNo(attr.version.0 + 1);
            attr.size = commit.size;
            attr.mtime = commit.mtime;
            attr.ctime = commit.saved_at;
            attr.head = commit.head;
        });
        self.add_version(Version {
            document: attr.document,
            number: attr.version,
            size: commit.size,
            mtime: commit.mtime,
            saved_at: commit.saved_at,
            author: commit.author,
            host: commit.host,
            head: commit.head,
            settled: commit.settled,
            layout: commit.layout,
        });
        self.record(&write.audit);
        attr
    }

    pub(super) fn commit_save(&mut self, node: NodeId, base: Option<ExtentId>, commit: Commit, write: &Write) -> Outcome<Attr> {
        if !self.intents.contains_key(&commit.save) {
            return Err(CatalogError::Lapsed);
        }
        let attr = self.node(node)?.attr.clone();
        self.check(attr.kind, &commit)?;
        if attr.head != base {
            return Err(CatalogError::Conflict { current: attr.version });
        }
        let current = self.newest(attr.document);
        if current != attr.version {
            return Err(CatalogError::Conflict { current });
        }
        self.check_extents(&commit)?;
        Ok(self.install(node, commit, write))
    }

    pub(super) fn commit_new(&mut self, parent: NodeId, name: &Name, new: &NewNode, commit: Commit, write: &Write) -> Outcome<Attr> {
        self.check(new.kind, &commit)?;
        self.free(parent, name)?;
        self.check_extents(&commit)?;
        let node = self.make(parent, name, new, write.audit.at).node;
        Ok(self.install(node, commit, write))
    }

    pub(super) fn settle(&mut self, versions: &[(FileId, VersionNo)]) {
        for key in versions {
            let head = self.versions.get(key).and_then(|(_, version)| version.head);
            for (at, (_, version)) in &mut self.versions {
                version.settled |= at == key || (head.is_some() && version.head == head);
            }
        }
    }

    pub(super) fn revert(&mut self, document: FileId, number: VersionNo, write: &Write) -> Outcome<VersionNo> {
        let version = self.version(document, number).ok_or(missing("version"))?;
        let current = self.newest(document);
        if current != number {
            return Err(CatalogError::Conflict { current });
        }
        if version.settled {
            return Err(missing("unsettled version"));
        }
        self.versions.remove(&(document, number));
        for extent in version.head.iter().chain(version.layout.iter().flatten()) {
            if !self.versions.values().any(|(_, version)| uses(version, *extent)) {
                self.extents.remove(extent);
            }
        }
        let before = self.version(document, self.newest(document));
        for node in self.nodes.values_mut().filter(|node| node.attr.document == document && node.attr.version == number) {
            let attr = &mut node.attr;
            attr.version = before.as_ref().map_or(VersionNo(0), |version| version.number);
            attr.size = before.as_ref().map_or(0, |version| version.size);
            attr.mtime = before.as_ref().map_or(write.audit.at, |version| version.mtime);
            attr.head = before.as_ref().and_then(|version| version.head);
            attr.ctime = write.audit.at;
        }
        self.record(&write.audit);
        Ok(self.newest(document))
    }

    pub(super) fn set_owed(&mut self, extent: ExtentId, owed: warifu_vault::seam::catalog::IndexSet) -> Outcome<()> {
        self.extents.get_mut(&extent).ok_or(missing("extent"))?.owed = owed;
        Ok(())
    }
}

fn uses(version: &Version, extent: ExtentId) -> bool {
    version.head == Some(extent) || version.layout.contains(&Some(extent))
}

//! What the in-memory catalogue knows, in plain maps. Every function checks first and changes then, so that an error
//! leaves everything as it was. Slow and short on purpose: it says what the quick one must do.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use warifu_core::format::ExtentKind;
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, VersionNo};
use warifu_vault::context::AuditEntry;
use warifu_vault::node::{Attr, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    AuditRow, CatalogError, Cursor, ExtentRecord, Intent, Listed, SaveId, Usage, Version,
};
use warifu_vault::seam::generations::Generations;

mod generations;
mod journal;
mod names;
mod notices;
mod past;
mod saves;
mod succession;

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
    /// Each with the end of its lease.
    intents: BTreeMap<SaveId, (Intent, Timestamp)>,
    log: Vec<AuditRow>,
    last_node: NodeId,
    commits: u64,
    /// How many writes there were.
    pub(super) edits: u64,
    journal: journal::Journal,
    past: past::Past,
    pub(super) generations: Generations,
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
        let root = Node {
            attr,
            target: Vec::new(),
            xattrs: BTreeMap::new(),
            names: BTreeSet::new(),
        };
        Self {
            nodes: BTreeMap::from([(NodeId::ROOT, root)]),
            entries: BTreeMap::new(),
            versions: BTreeMap::new(),
            extents: BTreeMap::new(),
            intents: BTreeMap::new(),
            log: Vec::new(),
            last_node: NodeId::ROOT,
            commits: 0,
            edits: 0,
            journal: journal::Journal::new(),
            past: past::Past::default(),
            generations: Generations::FIRST,
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
        Ok(self
            .entries
            .get(&(parent, place(parent, name)))
            .and_then(|(_, node)| self.attr(*node)))
    }

    fn named(&self, parent: NodeId, name: &Name) -> Outcome<Attr> {
        self.lookup(parent, name)?.ok_or(missing("name"))
    }

    pub(super) fn free(&self, parent: NodeId, name: &Name) -> Outcome<()> {
        match self.lookup(parent, name)? {
            Some(_) => Err(CatalogError::Exists),
            None => Ok(()),
        }
    }

    pub(super) fn list(
        &self,
        dir: NodeId,
        after: Option<Cursor>,
        limit: usize,
    ) -> Outcome<Vec<Listed>> {
        self.folder(dir)?;
        let all = self
            .entries
            .range((dir, Cursor([0; 16]))..=(dir, Cursor([255; 16])));
        let rest = all.filter(|((_, cursor), _)| after.is_none_or(|after| *cursor > after));
        Ok(rest
            .take(limit)
            .filter_map(|((_, cursor), (name, node))| {
                Some(Listed {
                    name: name.clone(),
                    attr: self.attr(*node)?,
                    cursor: *cursor,
                })
            })
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
        Ok(self
            .folder(dir)?
            .names
            .first()
            .map_or(dir, |(parent, _)| *parent))
    }

    pub(super) fn read_link(&self, node: NodeId) -> Outcome<Vec<u8>> {
        match self.nodes.get(&node) {
            Some(node) if node.attr.kind == NodeKind::Symlink => Ok(node.target.clone()),
            _ => Err(missing("symbolic link")),
        }
    }

    pub(super) fn xattrs(&self, node: NodeId) -> Outcome<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(self
            .node(node)?
            .xattrs
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect())
    }

    pub(super) fn xattr(&self, node: NodeId, name: &[u8]) -> Outcome<Vec<u8>> {
        self.node(node)?
            .xattrs
            .get(name)
            .cloned()
            .ok_or(CatalogError::NoXattr)
    }

    pub(super) fn current(&self, node: NodeId) -> Outcome<(Attr, Option<Version>)> {
        let attr = self.node(node)?.attr.clone();
        let version = self.version(attr.document, attr.version);
        Ok((attr, version))
    }

    pub(super) fn version(&self, document: FileId, number: VersionNo) -> Option<Version> {
        self.versions
            .get(&(document, number))
            .map(|(_, version)| version.clone())
    }

    fn versions_of(&self, document: FileId) -> impl DoubleEndedIterator<Item = &Version> {
        self.versions
            .range((document, VersionNo(0))..=(document, VersionNo(u64::MAX)))
            .map(|(_, (_, version))| version)
    }

    fn newest(&self, document: FileId) -> VersionNo {
        self.versions_of(document)
            .next_back()
            .map_or(VersionNo(0), |version| version.number)
    }

    pub(super) fn history(&self, document: FileId) -> Vec<Version> {
        self.versions_of(document)
            .map(|version| Version {
                layout: Vec::new(),
                ..version.clone()
            })
            .collect()
    }

    pub(super) fn extent(&self, extent: ExtentId) -> Option<ExtentRecord> {
        self.extents.get(&extent).cloned()
    }

    pub(super) fn extents(
        &self,
        after: Option<ExtentId>,
        limit: usize,
        owed: bool,
    ) -> Vec<ExtentRecord> {
        let rest = self
            .extents
            .values()
            .filter(|extent| after.is_none_or(|after| extent.extent > after));
        rest.filter(|extent| !owed || !extent.owed.is_empty())
            .take(limit)
            .cloned()
            .collect()
    }

    /// A file with a name is better than one without, that is better than none; then the newest version.
    pub(super) fn user_of(&self, extent: ExtentId) -> Option<(Option<NodeId>, FileId, VersionNo)> {
        if let Some(record) = self.extents.get(&extent)
            && record.kind == ExtentKind::Journal
        {
            return Some((None, record.document, record.version));
        }
        let users = self
            .versions
            .values()
            .map(|(_, version)| version)
            .filter(|version| uses(version, extent));
        let rank = |version: &Version| {
            let node = self
                .nodes
                .values()
                .filter(|node| node.attr.document == version.document)
                .min_by_key(|node| (node.attr.nlink == 0, node.attr.node));
            (
                node.is_some_and(|node| node.attr.nlink > 0),
                node.is_some(),
                version.number,
                node.map(|node| node.attr.node),
            )
        };
        let best = users.max_by_key(|version| (rank(version), version.document))?;
        Some((rank(best).3, best.document, best.number))
    }

    pub(super) fn documents_of(&self, extent: ExtentId) -> Vec<FileId> {
        let users = self.versions.values().map(|(_, version)| version);
        let users = users.filter(|version| uses(version, extent));
        let documents: BTreeSet<FileId> = users.map(|version| version.document).collect();
        documents.into_iter().collect()
    }

    pub(super) fn unsettled(&self, limit: usize) -> Vec<Version> {
        let mut open: Vec<_> = self
            .versions
            .values()
            .filter(|(_, version)| !version.settled)
            .collect();
        open.sort_by_key(|(order, _)| *order);
        open.into_iter()
            .take(limit)
            .map(|(_, version)| version.clone())
            .collect()
    }

    pub(super) fn intents(&self) -> Vec<Intent> {
        let all = self.intents.values();
        all.map(|(intent, _)| intent.clone()).collect()
    }

    pub(super) fn lapsed(&self, now: Timestamp) -> Vec<Intent> {
        self.intents
            .values()
            .filter(|(_, until)| (until.secs, until.nanos) < (now.secs, now.nanos))
            .map(|(intent, _)| intent.clone())
            .collect()
    }

    pub(super) fn usage(&self) -> Usage {
        let named = |kind| {
            self.nodes
                .values()
                .filter(move |node| node.attr.kind == kind && node.attr.nlink > 0)
        };
        let degraded: Vec<_> = self.extents(None, usize::MAX, true);
        Usage {
            files: named(NodeKind::File).count() as u64,
            dirs: named(NodeKind::Dir).count() as u64,
            bytes: named(NodeKind::File).map(|node| node.attr.size).sum(),
            versions: self.versions.len() as u64,
            degraded_extents: degraded.len() as u64,
            owed_shares: degraded
                .iter()
                .map(|extent| u64::from(extent.owed.len()))
                .sum(),
            open_saves: self.intents.len() as u64,
            unsettled: self.unsettled(usize::MAX).len() as u64,
        }
    }

    pub(super) fn log(&self, after: u64, limit: usize) -> Vec<AuditRow> {
        self.log
            .iter()
            .filter(|row| row.seq > after)
            .take(limit)
            .cloned()
            .collect()
    }
}

fn uses(version: &Version, extent: ExtentId) -> bool {
    version.head == Some(extent) || version.layout.contains(&Some(extent))
}

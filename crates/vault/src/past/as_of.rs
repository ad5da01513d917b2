//! [`AsOf`]: a catalogue as it was at a time, for reading.
//!
//! Everything that reads through the seam (a mounted drive, a listing, a copy) sees the vault as it was then, and nothing of it can
//! be changed: the vault above it is opened for reading only, and every write is refused here once more. What is known of
//! names and versions is exact. Modes and owners are those that a name ended with (or has); extended attributes of the past
//! are not kept.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};

use crate::context::AuditEntry;
use crate::node::{Attr, AttrChange, Name, NodeId, NodeKind};
use crate::seam::catalog::{
    AuditRow, Catalog, CatalogError, Commit, Cursor, Durability, ExtentRecord, IndexSet, Intent,
    Listed, NewNode, OwedChange, RenameMode, Renamed, SaveId, Usage, Version, Write, XattrMode,
};
use crate::seam::clock::Timestamp;
use crate::seam::generations::{Generations, Regenerated};
use crate::seam::journal::{Changes, JournalState, Restored, Resume, Row, RowKey, Segments, Waste};
use crate::seam::past::{
    DESTROYED, Forget, Forgotten, Past, PastName, Reinstate, is_gone, version_at,
};

/// How many folders' listings are kept: what was does not change.
const KEPT: usize = 16;

type Outcome<T> = Result<T, CatalogError>;
type Listing = Arc<Vec<PastName>>;

/// A catalogue as it was.
pub struct AsOf {
    inner: Arc<dyn Catalog>,
    at: Timestamp,
    listings: Mutex<VecDeque<(NodeId, Listing)>>,
}

impl AsOf {
    /// What `inner` said at a time.
    #[must_use]
    pub fn new(inner: Arc<dyn Catalog>, at: Timestamp) -> Self {
        Self {
            inner,
            at,
            listings: Mutex::default(),
        }
    }

    async fn listing(&self, dir: NodeId) -> Outcome<Listing> {
        let kept = {
            let listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
            let found = listings.iter().find(|(kept, _)| *kept == dir);
            found.map(|(_, listing)| Arc::clone(listing))
        };
        if let Some(listing) = kept {
            return Ok(listing);
        }
        let listing = Arc::new(self.inner.list_at(dir, self.at).await?);
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        listings.truncate(KEPT - 1);
        listings.push_front((dir, Arc::clone(&listing)));
        Ok(listing)
    }

    /// A name that a node had then.
    async fn name_of(&self, node: NodeId) -> Outcome<Option<PastName>> {
        let names = self.inner.names_of_node(node).await?;
        Ok(names.into_iter().find(|name| name.covers(self.at)))
    }

    /// The root as it is: it has no name, and is always there.
    async fn root(&self) -> Outcome<Option<Attr>> {
        self.inner.attr(NodeId::ROOT).await
    }

    /// The version that a name showed, and whether it is not kept any more.
    async fn version_of(&self, name: &PastName) -> Outcome<(Option<Version>, bool)> {
        if name.kind != NodeKind::File || name.version == VersionNo(0) {
            return Ok((None, false));
        }
        let versions = self.inner.history(name.document).await?;
        if is_gone(&versions, name, self.at) {
            return Ok((None, true));
        }
        Ok((version_at(&versions, name, self.at).cloned(), false))
    }

    async fn attr_of(&self, name: &PastName) -> Outcome<Attr> {
        let (version, gone) = self.version_of(name).await?;
        let size = match &version {
            Some(version) => version.size,
            None => name.target.len() as u64,
        };
        let mtime = version.as_ref().map_or(name.since, |found| found.mtime);
        let ctime = version.as_ref().map_or(name.since, |found| found.saved_at);
        Ok(Attr {
            node: name.node,
            kind: name.kind,
            mode: name.mode,
            uid: name.uid,
            gid: name.gid,
            // How many folders a folder had is not counted: one says so to those who count.
            nlink: 1,
            rdev: name.rdev,
            size,
            atime: mtime,
            mtime,
            ctime: ctime.max(name.since),
            btime: name.since,
            document: name.document,
            // What is gone is listed, without a length, and cannot be opened.
            version: match &version {
                Some(found) => found.number,
                None if gone => name.version,
                None => VersionNo(0),
            },
            head: version.and_then(|found| found.head),
        })
    }

    /// Fails unless the node was a folder then.
    async fn must_be_folder(&self, dir: NodeId) -> Outcome<()> {
        match self.attr(dir).await? {
            Some(attr) if attr.kind == NodeKind::Dir => Ok(()),
            Some(_) => Err(CatalogError::NotDir),
            None => Err(CatalogError::NotFound { what: "folder" }),
        }
    }
}

impl fmt::Debug for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsOf({:?}, {:?})", self.at, self.inner)
    }
}

fn refused<T>() -> Outcome<T> {
    Err(CatalogError::Failed {
        detail: "what was cannot be changed".to_owned(),
    })
}

#[async_trait]
impl Catalog for AsOf {
    async fn attr(&self, node: NodeId) -> Outcome<Option<Attr>> {
        if node == NodeId::ROOT {
            return self.root().await;
        }
        match self.name_of(node).await? {
            Some(name) => Ok(Some(self.attr_of(&name).await?)),
            None => Ok(None),
        }
    }

    async fn lookup(&self, parent: NodeId, name: &Name) -> Outcome<Option<Attr>> {
        match self.inner.lookup_at(parent, name, self.at).await? {
            Some(found) => Ok(Some(self.attr_of(&found).await?)),
            None => self.must_be_folder(parent).await.map(|()| None),
        }
    }

    async fn list(&self, dir: NodeId, after: Option<Cursor>, limit: usize) -> Outcome<Vec<Listed>> {
        let listing = self.listing(dir).await?;
        if listing.is_empty() {
            self.must_be_folder(dir).await?;
        }
        let begin = after.map_or(0, |after| {
            listing.partition_point(|name| name.tag <= after.0)
        });
        let mut listed = Vec::new();
        for name in listing.iter().skip(begin).take(limit) {
            listed.push(Listed {
                name: name.name.clone(),
                attr: self.attr_of(name).await?,
                cursor: Cursor(name.tag),
            });
        }
        Ok(listed)
    }

    async fn path(&self, node: NodeId) -> Outcome<Option<Vec<Name>>> {
        let (mut names, mut at) = (Vec::new(), node);
        while at != NodeId::ROOT {
            // Deeper than any path that can be used: the folders go round in a circle.
            if names.len() > 1 << 20 {
                return Err(CatalogError::Damaged {
                    detail: format!("the folders above node {node} go round in a circle"),
                });
            }
            let Some(name) = self.name_of(at).await? else {
                return Ok(None);
            };
            names.push(name.name);
            at = name.parent;
        }
        names.reverse();
        Ok(Some(names))
    }

    async fn parent(&self, dir: NodeId) -> Outcome<NodeId> {
        if dir == NodeId::ROOT {
            return Ok(dir);
        }
        match self.name_of(dir).await? {
            Some(name) => Ok(name.parent),
            None => Err(CatalogError::NotFound { what: "folder" }),
        }
    }

    async fn read_link(&self, node: NodeId) -> Outcome<Vec<u8>> {
        match self.name_of(node).await? {
            Some(name) if name.kind == NodeKind::Symlink => Ok(name.target),
            _ => Err(CatalogError::NotFound {
                what: "symbolic link",
            }),
        }
    }

    async fn xattrs(&self, _node: NodeId) -> Outcome<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }

    async fn xattr(&self, _node: NodeId, _name: &[u8]) -> Outcome<Vec<u8>> {
        Err(CatalogError::NoXattr)
    }

    async fn current(&self, node: NodeId) -> Outcome<(Attr, Option<Version>)> {
        if node == NodeId::ROOT {
            let root = self.root().await?;
            let root = root.ok_or(CatalogError::NotFound { what: "node" })?;
            return Ok((root, None));
        }
        let name = self.name_of(node).await?;
        let name = name.ok_or(CatalogError::NotFound { what: "node" })?;
        let attr = self.attr_of(&name).await?;
        // With its layout.
        let version = match attr.version {
            VersionNo(0) => None,
            _ if attr.head.is_none() && self.version_of(&name).await?.1 => {
                return Err(CatalogError::NotFound { what: DESTROYED });
            }
            number => self.inner.version(attr.document, number).await?,
        };
        Ok((attr, version))
    }

    async fn version(&self, document: FileId, number: VersionNo) -> Outcome<Option<Version>> {
        let version = self.inner.version(document, number).await?;
        Ok(version.filter(|version| version.saved_at <= self.at))
    }

    async fn history(&self, document: FileId) -> Outcome<Vec<Version>> {
        let mut versions = self.inner.history(document).await?;
        versions.retain(|version| version.saved_at <= self.at);
        Ok(versions)
    }

    async fn extent(&self, extent: ExtentId) -> Outcome<Option<ExtentRecord>> {
        self.inner.extent(extent).await
    }

    async fn extents(&self, after: Option<ExtentId>, limit: usize) -> Outcome<Vec<ExtentRecord>> {
        self.inner.extents(after, limit).await
    }

    async fn owed(&self, after: Option<ExtentId>, limit: usize) -> Outcome<Vec<ExtentRecord>> {
        self.inner.owed(after, limit).await
    }

    async fn user_of(
        &self,
        extent: ExtentId,
    ) -> Outcome<Option<(Option<NodeId>, FileId, VersionNo)>> {
        self.inner.user_of(extent).await
    }

    async fn documents_of(&self, extent: ExtentId) -> Outcome<Vec<FileId>> {
        self.inner.documents_of(extent).await
    }

    async fn unsettled(&self, limit: usize) -> Outcome<Vec<Version>> {
        self.inner.unsettled(limit).await
    }

    async fn intents(&self) -> Outcome<Vec<Intent>> {
        self.inner.intents().await
    }

    async fn lapsed(&self) -> Outcome<Vec<Intent>> {
        self.inner.lapsed().await
    }

    async fn usage(&self) -> Outcome<Usage> {
        self.inner.usage().await
    }

    async fn audit(&self, after: u64, limit: usize) -> Outcome<Vec<AuditRow>> {
        self.inner.audit(after, limit).await
    }

    async fn create(&self, _: NodeId, _: &Name, _: NewNode, _: Write) -> Outcome<Attr> {
        refused()
    }

    async fn link(&self, _: NodeId, _: NodeId, _: &Name, _: Write) -> Outcome<Attr> {
        refused()
    }

    async fn unlink(&self, _: NodeId, _: &Name, _: &[NodeId], _: Write) -> Outcome<Attr> {
        refused()
    }

    async fn rmdir(&self, _: NodeId, _: &Name, _: Write) -> Outcome<()> {
        refused()
    }

    async fn rename(
        &self,
        _: (NodeId, &Name),
        _: (NodeId, &Name),
        _: RenameMode,
        _: &[NodeId],
        _: Write,
    ) -> Outcome<Renamed> {
        refused()
    }

    async fn succeed(&self, _: NodeId, _: FileId, _: FileId, _: Write) -> Outcome<Vec<Attr>> {
        refused()
    }

    async fn set_attr(&self, _: NodeId, _: &AttrChange, _: Write) -> Outcome<Attr> {
        refused()
    }

    async fn set_xattr(
        &self,
        _: NodeId,
        _: &[u8],
        _: &[u8],
        _: XattrMode,
        _: Write,
    ) -> Outcome<()> {
        refused()
    }

    async fn remove_xattr(&self, _: NodeId, _: &[u8], _: Write) -> Outcome<()> {
        refused()
    }

    async fn forget(&self, _: NodeId) -> Outcome<()> {
        Ok(())
    }

    async fn forget_nameless(&self) -> Outcome<u64> {
        Ok(0)
    }

    async fn begin_save(&self, _: &Intent, _: Duration) -> Outcome<()> {
        refused()
    }

    async fn extend_save(
        &self,
        _: SaveId,
        _: &[(ExtentId, Generation)],
        _: Duration,
    ) -> Outcome<()> {
        refused()
    }

    async fn commit_save(
        &self,
        _: NodeId,
        _: Option<ExtentId>,
        _: Commit,
        _: Write,
    ) -> Outcome<Attr> {
        refused()
    }

    async fn commit_new(
        &self,
        _: NodeId,
        _: &Name,
        _: NewNode,
        _: Commit,
        _: Write,
    ) -> Outcome<Attr> {
        refused()
    }

    async fn claim_save(&self, _: SaveId, _: SaveId, _: Duration) -> Outcome<Option<Intent>> {
        refused()
    }

    async fn end_save(&self, _: SaveId) -> Outcome<bool> {
        refused()
    }

    async fn settle(&self, _: &[(FileId, VersionNo)]) -> Outcome<()> {
        refused()
    }

    async fn revert(&self, _: FileId, _: VersionNo, _: Write) -> Outcome<VersionNo> {
        refused()
    }

    async fn change_owed(&self, _: &[OwedChange]) -> Outcome<Vec<Option<IndexSet>>> {
        refused()
    }

    async fn generations(&self) -> Outcome<Generations> {
        self.inner.generations().await
    }

    async fn set_generations(&self, _: Generations, _: Generations, _: Write) -> Outcome<()> {
        refused()
    }

    async fn regenerate(
        &self,
        _: SaveId,
        _: &[Regenerated],
        _: SaveId,
        _: Duration,
        _: Write,
    ) -> Outcome<Intent> {
        refused()
    }

    /// Looking is written down like any other act.
    async fn record(&self, entries: Vec<AuditEntry>, durability: Durability) -> Outcome<()> {
        self.inner.record(entries, durability).await
    }

    async fn sync(&self) -> Outcome<()> {
        self.inner.sync().await
    }

    async fn changes(&self, _: usize) -> Outcome<Changes> {
        refused()
    }

    async fn rows(&self, _: Option<RowKey>, _: usize) -> Outcome<Vec<Row>> {
        refused()
    }

    async fn journal(&self) -> Outcome<JournalState> {
        self.inner.journal().await
    }

    async fn journalled(&self, _: Segments, _: Durability) -> Outcome<Waste> {
        refused()
    }

    async fn decide(&self, _: Write) -> Outcome<()> {
        refused()
    }

    async fn restore(
        &self,
        _: Box<dyn Iterator<Item = Restored> + Send>,
        _: Resume,
    ) -> Outcome<()> {
        refused()
    }
}

#[async_trait]
impl Past for AsOf {
    async fn list_at(&self, dir: NodeId, at: Timestamp) -> Outcome<Vec<PastName>> {
        self.inner.list_at(dir, at.min(self.at)).await
    }

    async fn lookup_at(
        &self,
        dir: NodeId,
        name: &Name,
        at: Timestamp,
    ) -> Outcome<Option<PastName>> {
        self.inner.lookup_at(dir, name, at.min(self.at)).await
    }

    async fn last(&self, dir: NodeId, name: &Name) -> Outcome<Option<PastName>> {
        self.inner.last(dir, name).await
    }

    async fn names_of_node(&self, node: NodeId) -> Outcome<Vec<PastName>> {
        self.inner.names_of_node(node).await
    }

    async fn names_of(&self, document: FileId) -> Outcome<Vec<PastName>> {
        self.inner.names_of(document).await
    }

    async fn ended(&self, after: u64, limit: usize) -> Outcome<Vec<PastName>> {
        self.inner.ended(after, limit).await
    }

    async fn reinstate(&self, _: Reinstate, _: (FileId, VersionNo), _: Write) -> Outcome<Attr> {
        refused()
    }

    async fn unlink_if(
        &self,
        _: NodeId,
        _: &Name,
        _: (NodeId, Option<ExtentId>),
        _: bool,
        _: Write,
    ) -> Outcome<Attr> {
        refused()
    }

    async fn forget_versions(&self, _: Forget, _: Write) -> Outcome<Forgotten> {
        refused()
    }

    async fn position(&self, what: &str) -> Outcome<u64> {
        self.inner.position(what).await
    }

    async fn positions(&self) -> Outcome<Vec<(String, u64)>> {
        self.inner.positions().await
    }

    async fn advance(&self, _: &str, _: u64, _: u64) -> Outcome<bool> {
        refused()
    }
}

//! What the checks of the contract share: a catalogue, a clock that ticks with each write, and a picture of everything
//! that can be read, so that "an error changes nothing" can be seen.

use std::any::Any;
use std::fmt::Debug;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use warifu_core::format::{ExtentKind, Scheme};
use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, ShareIndex, Threshold, VersionNo};
use warifu_vault::context::{Act, AuditEntry, Context};
use warifu_vault::node::{Attr, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    Catalog, CatalogError, Commit, Durability, ExtentRecord, IndexSet, Intent, Listed, NewNode,
    RenameMode, Renamed, SaveId, Write,
};

use super::journal::without_number;

/// How a catalogue's chain is computed: from the value before, the line's number and the entry.
pub type Chain = Box<dyn Fn(&[u8; 32], u64, &AuditEntry) -> [u8; 32] + Send + Sync>;

/// A catalogue to be checked: empty.
pub struct Subject {
    /// The catalogue.
    pub catalog: Arc<dyn Catalog>,
    /// How its audit log is chained.
    pub chain: Chain,
    /// What must live as long as it does, such as its folder.
    pub keep: Box<dyn Any + Send + Sync>,
}

/// A subject and the means to work with it.
pub(super) struct Lab {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) chain: Chain,
    seconds: AtomicI64,
    _keep: Box<dyn Any + Send + Sync>,
}

/// The name with this text.
pub(super) fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).expect("tests use names that are possible")
}

pub(super) fn time(secs: i64) -> Timestamp {
    Timestamp {
        secs,
        nanos: 123_456_789,
    }
}

pub(super) fn file() -> NewNode {
    NewNode {
        kind: NodeKind::File,
        mode: 0o640,
        uid: 1000,
        gid: 100,
        rdev: 0,
        target: Vec::new(),
        document: FileId::fresh().expect("there is randomness"),
        inherits: false,
        unless: None,
    }
}

pub(super) fn dir() -> NewNode {
    NewNode {
        kind: NodeKind::Dir,
        mode: 0o750,
        document: FileId::NIL,
        ..file()
    }
}

pub(super) fn symlink(target: &[u8]) -> NewNode {
    NewNode {
        kind: NodeKind::Symlink,
        mode: 0o777,
        target: target.to_vec(),
        document: FileId::NIL,
        ..file()
    }
}

pub(super) fn fresh() -> ExtentId {
    ExtentId::fresh().expect("there is randomness")
}

pub(super) fn entry(at: Timestamp, detail: &str) -> AuditEntry {
    let context = Context {
        actor: "山田".into(),
        uid: 1000,
        gid: 100,
        host: "juumin-pc-7".into(),
        program: "soffice.bin".into(),
        purpose: String::new(),
    };
    AuditEntry {
        at,
        context,
        act: Act::SetAttr,
        node: Some(NodeId(7)),
        detail: detail.into(),
    }
}

/// A save to be committed: `layout` says of which extents it consists, `dealt` which of them are new.
pub(super) fn commit(
    save: SaveId,
    attr: &Attr,
    at: Timestamp,
    size: u64,
    layout: &[Option<ExtentId>],
    dealt: &[ExtentId],
) -> Commit {
    let head = fresh();
    let record = |extent, kind, number| ExtentRecord {
        extent,
        kind,
        number,
        len: 4096,
        threshold: Threshold::new(2, 3).expect("2 of 3 is possible"),
        // A vault may have extents of both.
        scheme: match kind {
            ExtentKind::Data => Scheme::Compact,
            _ => Scheme::Shamir,
        },
        generation: Generation(1),
        document: attr.document,
        version: VersionNo(attr.version.0 + 1),
        owed: IndexSet::EMPTY,
    };
    let number = |extent: &ExtentId| {
        layout
            .iter()
            .position(|place| *place == Some(*extent))
            .map_or(0, |at| at as u64)
    };
    let mut records: Vec<_> = dealt
        .iter()
        .map(|extent| record(*extent, ExtentKind::Data, number(extent)))
        .collect();
    records.push(record(head, ExtentKind::Head, 0));
    Commit {
        save,
        size,
        mtime: Timestamp { nanos: 5, ..at },
        saved_at: at,
        author: "鈴木".into(),
        host: "zeimu-pc-2".into(),
        head: Some(head),
        layout: layout.to_vec(),
        dealt: records,
        settled: false,
    }
}

pub(super) fn index(value: u8) -> ShareIndex {
    ShareIndex::new(value).expect("an index is not zero")
}

impl Lab {
    pub(super) fn new(subject: Subject) -> Self {
        Self {
            catalog: subject.catalog,
            chain: subject.chain,
            seconds: AtomicI64::new(1_790_000_000),
            _keep: subject.keep,
        }
    }

    /// A later moment than any before.
    pub(super) fn tick(&self) -> Timestamp {
        time(self.seconds.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// The moment of the last [`tick`](Self::tick).
    pub(super) fn now(&self) -> Timestamp {
        time(self.seconds.load(Ordering::SeqCst))
    }

    /// A write at a new moment.
    pub(super) fn write(&self) -> Write {
        let at = self.tick();
        Write {
            audit: entry(at, &format!("write at {}", at.secs)),
            durability: Durability::Soon,
        }
    }

    pub(super) async fn make(&self, parent: NodeId, text: &str, new: NewNode) -> Attr {
        self.done(self.catalog.create(parent, &name(text), new, self.write()))
            .await
    }

    pub(super) async fn attr(&self, node: NodeId) -> Attr {
        self.catalog
            .attr(node)
            .await
            .expect("attr answers")
            .expect("the node is there")
    }

    pub(super) async fn at(&self, parent: NodeId, text: &str) -> Option<NodeId> {
        self.catalog
            .lookup(parent, &name(text))
            .await
            .expect("lookup answers")
            .map(|attr| attr.node)
    }

    pub(super) async fn rename(
        &self,
        from: (NodeId, &str),
        to: (NodeId, &str),
        mode: RenameMode,
        keep: bool,
    ) -> Result<Renamed, CatalogError> {
        let (from_name, to_name) = (name(from.1), name(to.1));
        let open = match keep {
            true => self.at(to.0, to.1).await,
            false => None,
        };
        self.catalog
            .rename(
                (from.0, &from_name),
                (to.0, &to_name),
                mode,
                open.as_slice(),
                self.write(),
            )
            .await
    }

    /// Begins a save of these extents.
    pub(super) async fn begin(&self, extents: &[ExtentId]) -> SaveId {
        let save = fresh();
        let extents = extents
            .iter()
            .map(|extent| (*extent, Generation(1)))
            .collect();
        self.catalog
            .begin_save(&Intent { save, extents }, Duration::from_secs(600))
            .await
            .expect("a save begins");
        save
    }

    /// Saves a file whose contents lie in its head.
    pub(super) async fn save(&self, node: NodeId, size: u64) -> Attr {
        self.save_extents(node, size, &[], &[]).await
    }

    /// Saves a file of this layout.
    pub(super) async fn save_extents(
        &self,
        node: NodeId,
        size: u64,
        layout: &[Option<ExtentId>],
        dealt: &[ExtentId],
    ) -> Attr {
        let before = self.attr(node).await;
        let save = self.begin(dealt).await;
        let write = self.write();
        let commit = commit(save, &before, self.now(), size, layout, dealt);
        self.done(self.catalog.commit_save(node, before.head, commit, write))
            .await
    }

    /// A successful, audited change: exactly one line is added to the log, with the moment of the write.
    pub(super) async fn done<T>(&self, change: impl Future<Output = Result<T, CatalogError>>) -> T {
        let before = self.log_len().await;
        let outcome = change.await.expect("the change is made");
        let lines = self
            .catalog
            .audit(before, 10)
            .await
            .expect("the log is read");
        assert_eq!(lines.len(), 1, "a change writes one line to the log");
        assert!(
            lines[0].entry.detail.starts_with("write at"),
            "and it is the write's own: {:?}",
            lines[0].entry.detail
        );
        outcome
    }

    /// A refusal: nothing at all may have changed.
    pub(super) async fn refused<T: Debug>(
        &self,
        change: impl Future<Output = Result<T, CatalogError>>,
    ) -> CatalogError {
        let before = self.picture().await;
        let error = change.await.expect_err("the change is refused");
        let after = self.picture().await;
        assert_eq!(
            before, after,
            "a refused change ({error}) changed something"
        );
        error
    }

    pub(super) async fn log_len(&self) -> u64 {
        let mut len = 0;
        loop {
            let lines = self
                .catalog
                .audit(len, 1000)
                .await
                .expect("the log is read");
            match lines.last() {
                Some(last) => len = last.seq,
                None => return len,
            }
        }
    }

    pub(super) async fn picture(&self) -> String {
        picture(&*self.catalog).await
    }
}

/// All entries of a folder, by pages of three.
pub(super) async fn list_all(catalog: &dyn Catalog, dir: NodeId) -> Vec<Listed> {
    let mut all: Vec<Listed> = Vec::new();
    loop {
        let page = catalog
            .list(dir, all.last().map(|last| last.cursor), 3)
            .await
            .expect("the folder is listed");
        let last = page.len() < 3;
        all.extend(page);
        if last {
            return all;
        }
    }
}

/// Everything that can be read of a small catalogue, as text. Two catalogues that went through the same have the same
/// picture, but for the times at which their roots were made.
pub async fn picture(catalog: &dyn Catalog) -> String {
    let mut text = String::new();
    let mut todo = vec![(String::from("/"), NodeId::ROOT)];
    while let Some((path, node)) = todo.pop() {
        let (mut attr, version) = catalog.current(node).await.expect("a listed node is there");
        if node == NodeId::ROOT {
            attr.btime = time(0);
            attr.atime = time(0);
        }
        let xattrs = {
            let mut xattrs = catalog.xattrs(node).await.expect("xattrs are read");
            xattrs.sort();
            xattrs
        };
        writeln!(text, "{path} {attr:?} {xattrs:?} {version:?}").expect("text can be written");
        assert_eq!(
            attr.version,
            version
                .as_ref()
                .map_or(VersionNo(0), |version| version.number),
            "{path}"
        );
        assert_eq!(
            attr.head,
            version.as_ref().and_then(|version| version.head),
            "{path}"
        );
        if attr.document != FileId::NIL {
            writeln!(
                text,
                "  history {:?}",
                catalog
                    .history(attr.document)
                    .await
                    .expect("the history is read")
            )
            .expect("text");
        }
        if attr.kind == NodeKind::Symlink {
            writeln!(
                text,
                "  to {:?}",
                catalog.read_link(node).await.expect("the link is read")
            )
            .expect("text");
        }
        if attr.kind == NodeKind::Dir {
            let mut entries = list_all(catalog, node).await;
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            let dirs = entries
                .iter()
                .filter(|entry| entry.attr.kind == NodeKind::Dir)
                .count();
            assert_eq!(attr.nlink as usize, 2 + dirs, "{path} counts its folders");
            for entry in entries {
                let found = catalog
                    .lookup(node, &entry.name)
                    .await
                    .expect("lookup answers");
                assert_eq!(
                    found.as_ref(),
                    Some(&entry.attr),
                    "{path} lists what lookup finds"
                );
                todo.push((
                    format!("{path}{}/", entry.name.as_bytes().escape_ascii()),
                    entry.attr.node,
                ));
            }
        }
    }
    writeln!(
        text,
        "usage {:?}",
        catalog.usage().await.expect("usage is read")
    )
    .expect("text");
    // How many segments a journal has depends on how a catalogue finds out what changed.
    let mut extents = catalog.extents(None, 1000).await.expect("extents are read");
    extents.retain(|extent| extent.kind != ExtentKind::Journal);
    writeln!(text, "extents {extents:?}").expect("text");
    writeln!(
        text,
        "unsettled {:?}",
        catalog.unsettled(1000).await.expect("versions are read")
    )
    .expect("text");
    writeln!(
        text,
        "intents {:?}",
        catalog.intents().await.expect("intents are read")
    )
    .expect("text");
    let ended = catalog
        .ended(0, 100_000)
        .await
        .expect("names that ended are read");
    let mut ended: Vec<String> = ended
        .iter()
        .map(|name| {
            let text_of = name.name.as_bytes().escape_ascii();
            let target = name.target.escape_ascii();
            format!("ended {text_of} {:?} {target}", without_number(name))
        })
        .collect();
    ended.sort();
    writeln!(text, "{}", ended.join("\n")).expect("text");
    let log = catalog.audit(0, 100_000).await.expect("the log is read");
    writeln!(
        text,
        "log {:?}",
        log.iter()
            .map(|row| (row.seq, &row.entry))
            .collect::<Vec<_>>()
    )
    .expect("text");
    text
}

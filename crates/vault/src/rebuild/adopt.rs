//! Saves that the journal does not know: of the last second before the catalogue was lost, or all where there is no journal.
//!
//! The head of a version says of which file it is, on which head it is based, and who saved it when. One that is based on
//! the current version is the next one. What is found is whole; whether its program was told that it is saved, nobody knows.

use std::collections::{BTreeMap, HashMap};

use futures_util::{StreamExt, stream};
use warifu_core::format::ExtentKind;
use warifu_core::head::{Content, Head, HeadError};
use warifu_core::ids::{ExtentId, FileId, VersionNo};

use super::book::Book;
use super::survey::{CHUNK, Seen, Survey};
use super::{Adopted, AdoptedAs, Outcome, RebuildReport, Stage, Work};
use crate::context::Context;
use crate::file::conflict::marked_name;
use crate::node::{Attr, Name, NodeId, NodeKind};
use crate::seam::catalog::Version;
use crate::seam::clock::{Clock, Timestamp};

/// How many heads are read at once.
const AT_ONCE: usize = 32;

/// A head that the journal does not know.
struct Stray {
    extent: ExtentId,
    number: VersionNo,
    head: Head,
}

/// The tree, by names.
struct Tree {
    by_name: HashMap<(NodeId, Name), NodeId>,
    by_document: HashMap<FileId, NodeId>,
}

impl Work<'_> {
    pub(super) async fn adopt(
        &self,
        survey: &Survey,
        book: &mut Book,
        report: &mut RebuildReport,
        ctx: &Context,
        clock: &dyn Clock,
    ) -> Outcome<()> {
        let strays = self.strays(survey, book, report).await;
        book.need_root(ctx, clock.now());
        if strays.is_empty() {
            return Ok(());
        }
        let mut tree = Tree::of(book);
        for (document, mut strays) in strays {
            strays.sort_by_key(|stray| (stray.number, stray.head.saved_at));
            self.adopt_document(survey, book, &mut tree, report, document, strays)?;
        }
        Ok(())
    }

    /// The heads to be adopted, by document.
    async fn strays(
        &self,
        survey: &Survey,
        book: &Book,
        report: &RebuildReport,
    ) -> BTreeMap<FileId, Vec<Stray>> {
        let unknown: Vec<(ExtentId, &Seen)> = survey
            .extents
            .iter()
            .filter(|(extent, seen)| {
                seen.kind == ExtentKind::Head && !book.extents.contains_key(extent)
            })
            .map(|(extent, seen)| (*extent, seen))
            .collect();
        let total = unknown.len() as u64;
        let up_to = report.journal.up_to;
        let mut heads = stream::iter(unknown)
            .map(|(extent, seen)| async move { (extent, seen, self.head(extent, seen).await) })
            .buffer_unordered(AT_ONCE);
        let mut strays: BTreeMap<FileId, Vec<Stray>> = BTreeMap::new();
        let mut done = 0;
        while let Some((extent, seen, head)) = heads.next().await {
            done += 1;
            if done % 100 == 0 || done == total {
                self.say(Stage::Heads, done, total);
            }
            // Too few shares: a save that never came so far.
            let Ok(head) = head else { continue };
            // What the journal had passed over when it was written last is no version, but what a save left that came to nothing.
            let newest = book.newest(seen.document).map(|version| version.number);
            let known = newest.is_some_and(|newest| seen.version <= newest);
            // Where the journal has gaps, it may have been told in one of them.
            let told = report.journal.gaps.is_empty();
            if known && told && up_to.is_some_and(|up_to| head.saved_at < up_to) {
                continue;
            }
            strays.entry(seen.document).or_default().push(Stray {
                extent,
                number: seen.version,
                head,
            });
        }
        strays
    }

    /// Reads a head's metadata: in nearly all files they lie in the first chunk.
    async fn head(&self, extent: ExtentId, seen: &Seen) -> Result<Head, String> {
        let mut chunks = 1;
        loop {
            let start = self.fetch_start(extent, seen, chunks).await?;
            match Head::parse(start.expose()) {
                Ok((head, _)) => return Ok(head),
                Err(HeadError::Short { needed, .. }) => {
                    let wanted = (needed as u64).div_ceil(CHUNK);
                    if wanted <= chunks || wanted > seen.len.div_ceil(CHUNK) {
                        return Err("the head is cut off".to_owned());
                    }
                    chunks = wanted;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn adopt_document(
        &self,
        survey: &Survey,
        book: &mut Book,
        tree: &mut Tree,
        report: &mut RebuildReport,
        document: FileId,
        strays: Vec<Stray>,
    ) -> Outcome<()> {
        // Of several attempts at one version the last one is the one whose program may have been told.
        let mut last: BTreeMap<VersionNo, ExtentId> = BTreeMap::new();
        for stray in &strays {
            last.insert(stray.number, stray.extent);
        }
        for stray in strays {
            if !is_whole(survey, book, &stray) {
                continue;
            }
            let current = book
                .newest(document)
                .map(|version| (version.number, version.head));
            let next = last.get(&stray.number) == Some(&stray.extent)
                && current.is_none_or(|(number, head)| {
                    stray.number > number || (head.is_some() && head == stray.head.base)
                });
            let how = match (tree.by_document.get(&document).copied(), current, next) {
                (Some(node), _, true) => {
                    let number = current.map_or(stray.number, |(number, _)| {
                        stray.number.max(VersionNo(number.0.saturating_add(1)))
                    });
                    install(survey, book, node, document, number, &stray);
                    (node, number, AdoptedAs::Version)
                }
                // Its file was removed, and the journal says so.
                (None, Some(_), true) => continue,
                (_, _, false) => {
                    let fresh = FileId::fresh()?;
                    let node = new_file(book, tree, fresh, &stray, true);
                    install(survey, book, node, fresh, VersionNo(1), &stray);
                    (node, VersionNo(1), AdoptedAs::Copy)
                }
                (None, None, true) => {
                    let node = new_file(book, tree, document, &stray, false);
                    install(survey, book, node, document, stray.number, &stray);
                    (node, stray.number, AdoptedAs::File)
                }
            };
            let (node, version, how) = how;
            report.adopted_count += 1;
            if report.journal.up_to.is_some() {
                report.adopted.push(Adopted {
                    path: tree.path(node),
                    version,
                    saved_at: stray.head.saved_at,
                    how,
                });
            }
        }
        Ok(())
    }
}

/// Whether everything that the version consists of is known, in enough shares for all that is known.
fn is_whole(survey: &Survey, book: &Book, stray: &Stray) -> bool {
    let known = |extent: &ExtentId| {
        book.extents.contains_key(extent)
            || survey
                .extents
                .get(extent)
                .is_some_and(|seen| seen.there.len() >= u32::from(seen.threshold.k()))
    };
    match &stray.head.content {
        Content::Inline => known(&stray.extent),
        Content::Extents { list, .. } => known(&stray.extent) && list.iter().flatten().all(known),
    }
}

fn install(
    survey: &Survey,
    book: &mut Book,
    node: NodeId,
    document: FileId,
    number: VersionNo,
    stray: &Stray,
) {
    let head = &stray.head;
    let layout = match &head.content {
        Content::Inline => Vec::new(),
        Content::Extents { list, .. } => list.clone(),
    };
    for extent in layout.iter().flatten().chain([&stray.extent]) {
        if let (false, Some(seen)) = (
            book.extents.contains_key(extent),
            survey.extents.get(extent),
        ) {
            book.extents.insert(*extent, seen.record(*extent));
        }
    }
    let version = Version {
        document,
        number,
        size: head.size,
        mtime: head.mtime,
        saved_at: head.saved_at,
        author: head.author.clone(),
        host: head.host.clone(),
        head: Some(stray.extent),
        // The first start looks at every chunk of it.
        settled: false,
        layout: Vec::new(),
    };
    book.add_version(version, &layout);
    if let Some(attr) = book.nodes.get_mut(&node) {
        (attr.version, attr.head, attr.size) = (number, Some(stray.extent), head.size);
        (attr.mtime, attr.ctime) = (head.mtime, head.saved_at);
    }
}

/// Makes a file where the head says that it was.
fn new_file(
    book: &mut Book,
    tree: &mut Tree,
    document: FileId,
    stray: &Stray,
    copy: bool,
) -> NodeId {
    let head = &stray.head;
    let names: Vec<Name> = head
        .path
        .iter()
        .filter_map(|name| Name::new(name).ok())
        .collect();
    let mut parent = NodeId::ROOT;
    let folders = names.split_last().map_or(&[][..], |(_, folders)| folders);
    for name in folders {
        parent = folder(book, tree, parent, name, head);
    }
    let wanted = names.last();
    let mut attempt = 0;
    let name = loop {
        let name = match (wanted, attempt, copy) {
            (Some(name), 0, false) => name.clone(),
            _ => marked_name("recovered", wanted, &head.author, head.saved_at, attempt),
        };
        if !tree.by_name.contains_key(&(parent, name.clone())) {
            break name;
        }
        attempt += 1;
    };
    let node = book.fresh_node();
    book.nodes.insert(
        node,
        Attr {
            node,
            kind: NodeKind::File,
            mode: head.mode & 0o7777,
            uid: head.uid,
            gid: head.gid,
            nlink: 1,
            rdev: 0,
            size: 0,
            atime: head.atime,
            mtime: head.mtime,
            ctime: head.ctime,
            btime: head.btime,
            document,
            version: VersionNo(0),
            head: None,
        },
    );
    for (name, value) in &head.xattrs {
        book.put_xattr(node, name, value);
    }
    book.enter(parent, name.clone(), node);
    tree.by_name.insert((parent, name), node);
    tree.by_document.insert(document, node);
    node
}

/// The folder of this name, made if there is none. Where the name is another thing's, a folder beside it.
fn folder(book: &mut Book, tree: &mut Tree, parent: NodeId, name: &Name, head: &Head) -> NodeId {
    let mut attempt = 0;
    let mut wanted = name.clone();
    loop {
        match tree.by_name.get(&(parent, wanted.clone())) {
            Some(node)
                if book
                    .nodes
                    .get(node)
                    .is_some_and(|attr| attr.kind == NodeKind::Dir) =>
            {
                return *node;
            }
            Some(_) => {
                wanted = marked_name(
                    "recovered",
                    Some(name),
                    &head.author,
                    head.saved_at,
                    attempt,
                );
                attempt += 1;
            }
            None => break,
        }
    }
    let node = book.fresh_node();
    let attr = folder_attr(node, head.uid, head.gid, head.saved_at);
    book.nodes.insert(node, attr);
    book.enter(parent, wanted.clone(), node);
    tree.by_name.insert((parent, wanted), node);
    node
}

/// A folder of which nothing is known but that it was there.
pub(super) fn folder_attr(node: NodeId, uid: u32, gid: u32, at: Timestamp) -> Attr {
    Attr {
        node,
        kind: NodeKind::Dir,
        mode: 0o755,
        uid,
        gid,
        nlink: 2,
        rdev: 0,
        size: 0,
        atime: at,
        mtime: at,
        ctime: at,
        btime: at,
        document: FileId::NIL,
        version: VersionNo(0),
        head: None,
    }
}

impl Tree {
    fn of(book: &Book) -> Self {
        let mut by_document = HashMap::new();
        let mut by_name = HashMap::with_capacity(book.entries.len());
        for ((parent, _), (name, node)) in &book.entries {
            by_name.insert((*parent, name.clone()), *node);
            if let Some(attr) = book.nodes.get(node)
                && attr.kind == NodeKind::File
            {
                by_document.insert(attr.document, *node);
            }
        }
        Self {
            by_name,
            by_document,
        }
    }

    fn path(&self, node: NodeId) -> String {
        let mut names = HashMap::new();
        // Few are adopted where there is a journal, and where there is none nobody asks.
        for ((parent, name), node) in &self.by_name {
            names.entry(*node).or_insert((*parent, name));
        }
        super::book::path_text(&names, node)
    }
}

impl Book {
    /// Sees to it that there is a root.
    fn need_root(&mut self, ctx: &Context, now: Timestamp) {
        self.nodes
            .entry(NodeId::ROOT)
            .or_insert_with(|| folder_attr(NodeId::ROOT, ctx.uid, ctx.gid, now));
    }
}

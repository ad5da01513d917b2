//! Saves that the journal does not know: of the last second before the catalogue was lost, or all where there is no journal.
//!
//! The head of a version says of which file it is, on which head it is based, and who saved it when. One that is based on
//! the current version is the next one. What is found is whole; whether its program was told that it is saved, nobody knows.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::{StreamExt, stream};
use warifu_core::format::ExtentKind;
use warifu_core::head::{Content, Head, HeadError};
use warifu_core::ids::{ExtentId, FileId, VersionNo};

use super::book::{Book, path_text};
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
#[derive(Debug)]
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

/// What is done with a stray.
enum Place {
    /// The next version of this file.
    Next(NodeId, VersionNo),
    /// A version of its document that is missing among the others, because the journal has a gap there.
    History,
    /// The next version of a copy that was made before.
    NextOfCopy(NodeId, FileId, VersionNo),
    /// A file that the journal does not know.
    File,
    /// A copy beside the file.
    Copy,
    /// Nowhere: its file was removed, and the journal says so.
    Removed,
}

/// What was put in place so far.
struct Adopting<'a> {
    survey: &'a Survey,
    book: &'a mut Book,
    tree: Tree,
    /// Whether rows may be missing.
    gaps: bool,
    /// Whether there are saves of another timeline among them, whose numbers say nothing here.
    others: bool,
    elsewhere: &'a HashSet<ExtentId>,
    /// Which copy was made of the version with this head.
    copies: HashMap<ExtentId, (NodeId, FileId, VersionNo)>,
    /// Their paths are told when all names are there.
    adopted: Vec<(NodeId, Adopted)>,
}

impl Work<'_> {
    pub(super) async fn adopt(
        &self,
        survey: &Survey,
        book: &mut Book,
        elsewhere: &HashSet<ExtentId>,
        report: &mut RebuildReport,
        (ctx, clock): (&Context, &dyn Clock),
    ) -> Outcome<()> {
        let strays = self.strays(survey, book, elsewhere, report).await;
        book.need_root(ctx, clock.now());
        let nameless = self.nameless(survey, book, report).await;
        if strays.is_empty() && nameless.is_empty() {
            return Ok(());
        }
        let complete = survey.is_complete(&self.servers);
        let mut adopting = Adopting {
            tree: Tree::of(book),
            survey,
            book,
            gaps: !report.journal.gaps.is_empty(),
            others: !report.journal.others.is_empty(),
            elsewhere,
            copies: HashMap::new(),
            adopted: Vec::new(),
        };
        for (document, stray) in nameless {
            adopting.name(document, stray);
        }
        for (document, mut strays) in strays {
            strays.sort_by_key(|stray| (stray.number, stray.head.saved_at));
            let left = adopting.adopt_document(document, strays)?;
            report.unread += if complete { 0 } else { left };
        }
        let Adopting { tree, adopted, .. } = adopting;
        report.adopted_count += adopted.len() as u64;
        // Without a journal all are such.
        if report.journal.up_to.is_some() {
            let names = tree.names();
            for (node, mut adopted) in adopted {
                adopted.path = path_text(&names, node);
                report.adopted.push(adopted);
            }
        }
        Ok(())
    }

    /// The heads to be adopted, by document.
    async fn strays(
        &self,
        survey: &Survey,
        book: &Book,
        elsewhere: &HashSet<ExtentId>,
        report: &mut RebuildReport,
    ) -> BTreeMap<FileId, Vec<Stray>> {
        let unknown: Vec<(ExtentId, &Seen)> = survey
            .extents
            .iter()
            .filter(|(extent, seen)| {
                seen.kind == ExtentKind::Head && !book.extents.contains_key(extent)
            })
            .map(|(extent, seen)| (*extent, seen))
            .collect();
        // A version that the journal tells of without its extent, because of a gap, is no stray.
        let told: HashSet<ExtentId> = book
            .versions
            .values()
            .filter_map(|(version, _)| version.head)
            .filter(|head| !book.extents.contains_key(head))
            .collect();
        let destroyed: HashSet<ExtentId> = book
            .destroyed()
            .into_iter()
            .map(|(extent, _)| extent)
            .collect();
        let total = unknown.len() as u64;
        let up_to = report.journal.up_to;
        // Where the journal has gaps, or is not the only one, a version may have been told where it cannot be read.
        let whole = report.journal.gaps.is_empty() && report.journal.others.is_empty();
        let complete = survey.is_complete(&self.servers);
        let mut heads = stream::iter(unknown)
            .filter(|(extent, _)| {
                std::future::ready(!told.contains(extent) && !destroyed.contains(extent))
            })
            .map(|(extent, seen)| async move { (extent, seen, self.head(extent, seen).await) })
            .buffer_unordered(AT_ONCE);
        let mut strays: BTreeMap<FileId, Vec<Stray>> = BTreeMap::new();
        let mut done = 0;
        while let Some((extent, seen, head)) = heads.next().await {
            done += 1;
            if done % 100 == 0 || done == total {
                self.say(Stage::Heads, done, total);
            }
            // What the journal had passed over when it was written last is no version, but what a save left that came to nothing.
            let newest = book.newest(seen.document).map(|version| version.number);
            let passed = whole && newest.is_some_and(|newest| seen.version <= newest);
            // Too few shares: a save that never came so far, unless somebody else has them.
            let Ok(head) = head else {
                report.unread += u64::from(!complete && !passed);
                continue;
            };
            let before = up_to.is_some_and(|up_to| head.saved_at < up_to);
            if passed && before && !elsewhere.contains(&extent) {
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

    /// Files of which a gap took the node and left the versions: their heads. A document that had a node, or that was there without one
    /// before the gap, was removed; one whose newest version is another document's too was renamed over that.
    async fn nameless(
        &self,
        survey: &Survey,
        book: &Book,
        report: &RebuildReport,
    ) -> Vec<(FileId, Stray)> {
        let Some(before) = &book.before_gaps else {
            return Vec::new();
        };
        if report.journal.gaps.is_empty() {
            return Vec::new();
        }
        let mut uses: HashMap<ExtentId, u32> = HashMap::new();
        let mut newest: BTreeMap<FileId, (VersionNo, ExtentId)> = BTreeMap::new();
        for ((document, number), (version, _)) in &book.versions {
            let Some(head) = version.head else { continue };
            *uses.entry(head).or_default() += 1;
            newest.insert(*document, (*number, head));
        }
        let lost = newest.into_iter().filter(|(document, (_, head))| {
            !before.contains(document)
                && !book.with_node.contains(document)
                && uses.get(head).is_none_or(|uses| *uses == 1)
        });
        let mut heads = stream::iter(lost)
            .map(|(document, (number, extent))| async move {
                let seen = survey.extents.get(&extent)?;
                let head = self.head(extent, seen).await.ok()?;
                let stray = Stray {
                    extent,
                    number,
                    head,
                };
                Some((document, stray))
            })
            .buffered(AT_ONCE);
        let mut found = Vec::new();
        while let Some(head) = heads.next().await {
            found.extend(head);
        }
        found
    }

    /// Reads a head's metadata: in nearly all files they lie in the first chunk.
    pub(super) async fn head(&self, extent: ExtentId, seen: &Seen) -> Result<Head, String> {
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
}

impl Adopting<'_> {
    /// Gives a file whose versions are there a node and a name.
    fn name(&mut self, document: FileId, stray: Stray) {
        let node = new_file(self.book, &mut self.tree, document, &stray, false);
        show(self.book, node, stray.number, &stray);
        self.note(node, stray.number, &stray, AdoptedAs::File);
    }

    fn note(&mut self, node: NodeId, version: VersionNo, stray: &Stray, how: AdoptedAs) {
        let adopted = Adopted {
            path: String::new(),
            version,
            saved_at: stray.head.saved_at,
            how,
        };
        self.adopted.push((node, adopted));
    }

    /// Returns how many were left because extents of theirs are not there.
    fn adopt_document(&mut self, document: FileId, strays: Vec<Stray>) -> Outcome<u64> {
        // Of several attempts at one version the last one is the one whose program may have been told.
        let mut last: BTreeMap<VersionNo, ExtentId> = BTreeMap::new();
        for stray in &strays {
            last.insert(stray.number, stray.extent);
        }
        let mut left = 0;
        for stray in strays {
            let is_last = last.get(&stray.number) == Some(&stray.extent);
            let place = self.place(document, &stray, is_last);
            // What came after it shows that it was a version, so it is one that is lost.
            let was_saved = matches!(place, Place::History);
            if !was_saved && !is_whole(self.survey, self.book, &stray) {
                left += 1;
                continue;
            }
            let (node, version, how) = match place {
                Place::Removed => continue,
                Place::Next(node, number) => {
                    install(self.survey, self.book, node, document, number, &stray);
                    (node, number, AdoptedAs::Version)
                }
                Place::History => {
                    add(self.survey, self.book, document, stray.number, &stray);
                    let node = self.tree.by_document.get(&document).copied();
                    let node = node.unwrap_or(NodeId::ROOT);
                    (node, stray.number, AdoptedAs::Version)
                }
                Place::NextOfCopy(node, copy, number) => {
                    install(self.survey, self.book, node, copy, number, &stray);
                    self.copies.insert(stray.extent, (node, copy, number));
                    (node, number, AdoptedAs::Copy)
                }
                Place::Copy => {
                    let (fresh, number) = (FileId::fresh()?, VersionNo(1));
                    let node = new_file(self.book, &mut self.tree, fresh, &stray, true);
                    install(self.survey, self.book, node, fresh, number, &stray);
                    self.copies.insert(stray.extent, (node, fresh, number));
                    (node, number, AdoptedAs::Copy)
                }
                Place::File => {
                    let number = stray.number;
                    let node = new_file(self.book, &mut self.tree, document, &stray, false);
                    install(self.survey, self.book, node, document, number, &stray);
                    (node, number, AdoptedAs::File)
                }
            };
            self.note(node, version, &stray, how);
        }
        Ok(left)
    }

    fn place(&self, document: FileId, stray: &Stray, is_last: bool) -> Place {
        let current = self
            .book
            .newest(document)
            .map(|version| (version.number, version.head));
        let follows = |(number, head): (VersionNo, Option<ExtentId>)| {
            // In another timeline the same numbers were given to other versions.
            (!self.others && stray.number > number) || (head.is_some() && head == stray.head.base)
        };
        let next = is_last && current.is_none_or(follows);
        let after_copy = stray
            .head
            .base
            .and_then(|base| self.copies.get(&base))
            .map(|(node, copy, number)| (*node, *copy, VersionNo(number.0.saturating_add(1))));
        match (self.tree.by_document.get(&document), current, next) {
            (Some(node), _, true) => {
                let number = current.map_or(stray.number, |(number, _)| {
                    stray.number.max(VersionNo(number.0.saturating_add(1)))
                });
                Place::Next(*node, number)
            }
            (None, None, true) => Place::File,
            (None, Some(_), true) if !self.elsewhere.contains(&stray.extent) => Place::Removed,
            _ => match after_copy {
                Some((node, copy, number)) if self.is_newest(copy, stray.head.base) => {
                    Place::NextOfCopy(node, copy, number)
                }
                _ if self.gaps
                    && is_last
                    && current.is_some_and(|(number, _)| stray.number < number)
                    && !self.book.versions.contains_key(&(document, stray.number)) =>
                {
                    Place::History
                }
                _ => Place::Copy,
            },
        }
    }

    fn is_newest(&self, document: FileId, head: Option<ExtentId>) -> bool {
        let newest = self.book.newest(document);
        newest.is_some_and(|newest| newest.head == head)
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

/// Adds a version to its document and makes it what the file shows.
fn install(
    survey: &Survey,
    book: &mut Book,
    node: NodeId,
    document: FileId,
    number: VersionNo,
    stray: &Stray,
) {
    add(survey, book, document, number, stray);
    show(book, node, number, stray);
}

/// Adds a version to its document.
fn add(survey: &Survey, book: &mut Book, document: FileId, number: VersionNo, stray: &Stray) {
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
}

fn show(book: &mut Book, node: NodeId, number: VersionNo, stray: &Stray) {
    let head = &stray.head;
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

    fn names(&self) -> HashMap<NodeId, (NodeId, &Name)> {
        let mut names = HashMap::new();
        for ((parent, name), node) in &self.by_name {
            names.entry(*node).or_insert((*parent, name));
        }
        names
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

//! One document through the ways in which programs save.
//!
//! Office programs and editors seldom write over a file. They move the old one away, put a new one in its place and remove the
//! old one; or remove it first; or keep it as a backup. For the person it is one document throughout, so it keeps one history:
//! the file that has taken the place of another goes on with its document.
//!
//! Nothing but the names tells a save from other work, so what is noted here is held for a moment only, in RAM:
//!
//! - a file was moved away and then removed: whoever has its old place by then, or comes to it, goes on with its document;
//! - a file was removed: whoever comes to its place does;
//! - a file was moved to the name of a backup (`report.txt~`) beside it: whoever comes to its place does, and the backup begins a
//!   document of its own.
//!
//! So a file that is moved elsewhere and stays there keeps its history, whatever comes to its old place. Lost with a crash,
//! or wrong, this costs a document the link to its earlier versions, which are kept either way; never contents.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;

use warifu_core::head::Timestamp;
use warifu_core::ids::FileId;

use crate::context::{Act, Context};
use crate::error::Result;
use crate::node::{Attr, Name, NodeId, NodeKind};
use crate::seam::catalog::{Durability, Write};
use crate::vault::{Inner, lock};

/// How long after a name became free a newcomer counts as its successor, in seconds: as long as Windows remembers a name
/// for the same purpose.
const MOMENT: i64 = 15;

/// How many are noted of each sort. In a moment with more than these nobody saves documents.
const MOST: usize = 4096;

/// A place in the tree.
type Place = (NodeId, Name);

/// What has happened in the last moment.
#[derive(Debug, Default)]
pub(crate) struct Succession(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    /// Places that a document has left for good.
    free: Recent<Place, FileId>,
    /// Files that were moved away, from where, and whose document they had then.
    moved: Recent<NodeId, (Place, FileId)>,
    /// New files that will go on with a document as soon as they have something saved, however long that takes.
    heirs: Recent<NodeId, FileId>,
}

/// What was noted, each with the time.
#[derive(Debug)]
struct Recent<K, V>(HashMap<K, (V, Timestamp)>);

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

/// Whether it is one of the files that tell others who has a document open. They come and go, and nobody asks for their history.
fn is_lock(name: &Name) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"~$") || name.starts_with(b".~lock.")
}

impl<K: Hash + Eq, V> Recent<K, V> {
    fn note(&mut self, key: K, value: V, now: Timestamp) {
        if self.0.len() >= MOST {
            self.0.retain(|_, (_, at)| is_recent(*at, now));
        }
        if self.0.len() < MOST {
            self.0.insert(key, (value, now));
        }
    }

    fn take(&mut self, key: &K, now: Timestamp) -> Option<V> {
        let (value, at) = self.0.remove(key)?;
        is_recent(at, now).then_some(value)
    }

    /// Takes it however old it is.
    fn take_any(&mut self, key: &K) -> Option<V> {
        self.0.remove(key).map(|(value, _)| value)
    }
}

fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    (0..=MOMENT).contains(&now.secs.saturating_sub(at.secs))
}

/// Whether a file that is moved from one name to another beside it becomes a backup of what comes to the first.
fn is_backup(name: &Name, backup: &Name) -> bool {
    let (name, backup) = (name.as_bytes(), backup.as_bytes());
    let stem = match name.iter().rposition(|byte| *byte == b'.') {
        Some(dot) if dot > 0 => name.get(..dot).unwrap_or(name),
        _ => name,
    };
    let added = backup.strip_prefix(name).unwrap_or_default();
    // Emacs numbers them: report.txt.~3~
    let numbered = added
        .strip_prefix(b".~")
        .and_then(|rest| rest.strip_suffix(b"~"))
        .is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit));
    // Word puts words before the name, in the language it speaks.
    let word = backup
        .strip_suffix(b".wbk")
        .is_some_and(|rest| rest.ends_with(stem) && rest.len() > stem.len());
    numbered
        || word
        || matches!(added, b"~" | b".bak" | b".orig" | b".old")
        || (backup.strip_prefix(stem) == Some(b".bak"))
}

impl Succession {
    /// A file came to a place. Gives the document that it goes on with, once; and notes the heir who has nothing saved yet.
    fn arrived(&self, place: Place, file: &Attr, now: Timestamp) -> Option<FileId> {
        let mut notes = lock(&self.0);
        let document = notes.free.take(&place, now)?;
        notes.inherits(file, document, now)
    }

    /// A file was moved from one place to another, perhaps over another file there, and perhaps to the name of a backup: then this
    /// is the document that it had before. As for [`arrived`](Self::arrived).
    fn moved(
        &self,
        from: Place,
        to: Place,
        (over, leaves): (bool, Option<FileId>),
        file: &Attr,
        now: Timestamp,
    ) -> Option<FileId> {
        let mut notes = lock(&self.0);
        // The place that it was to go on in is another's now.
        let left = notes.heirs.take_any(&file.node);
        let document = notes.free.take(&to, now);
        match left.or(leaves) {
            Some(document) => notes.free.note(from, document, now),
            None if file.version.0 == 0 => {}
            // Who takes another's place is at home there, and not where it came from.
            None if over || document.is_some() => {}
            None => notes.moved.note(file.node, (from, file.document), now),
        }
        notes.inherits(file, document?, now)
    }

    /// A file was removed. Gives where its document is at home, if that is elsewhere: whoever is there now is its successor.
    fn removed(&self, place: Place, file: &Attr, now: Timestamp) -> Option<Place> {
        let mut notes = lock(&self.0);
        if let Some(document) = notes.heirs.take_any(&file.node) {
            notes.free.note(place, document, now);
            return None;
        }
        if file.version.0 == 0 {
            return None;
        }
        match notes.moved.take(&file.node, now) {
            // Moved away with its document, and not gone on with another one since.
            Some((home, document)) if document == file.document => Some(home),
            _ => {
                notes.free.note(place, file.document, now);
                None
            }
        }
    }

    /// Where the file of a document was is free, and nobody is there yet.
    fn freed(&self, place: Place, document: FileId, now: Timestamp) {
        lock(&self.0).free.note(place, document, now);
    }

    /// The document that a file goes on with, now that it has something saved.
    fn heir(&self, node: NodeId) -> Option<FileId> {
        lock(&self.0).heirs.take_any(&node)
    }

    /// Somebody is in the place of a document already. As for [`arrived`](Self::arrived).
    fn found(&self, file: &Attr, document: FileId, now: Timestamp) -> Option<FileId> {
        lock(&self.0).inherits(file, document, now)
    }
}

impl Notes {
    fn inherits(&mut self, file: &Attr, document: FileId, now: Timestamp) -> Option<FileId> {
        if file.kind != NodeKind::File || file.document == document {
            return None;
        }
        if file.version.0 > 0 {
            return Some(document);
        }
        self.heirs.note(file.node, document, now);
        None
    }
}

impl Inner {
    /// After a file was made, or came to a place where nothing was.
    pub(crate) async fn file_came(&self, ctx: &Context, parent: NodeId, name: &Name, file: &Attr) {
        if file.kind != NodeKind::File {
            return;
        }
        let place = (parent, name.clone());
        if let Some(document) = self.succession.arrived(place, file, self.clock.now()) {
            self.go_on_with(ctx, file.node, document).await;
        }
    }

    /// Before a file is moved: its document, where it becomes a backup. Moved over an older backup it goes on with that one's.
    pub(crate) async fn becomes_backup(
        &self,
        from: (NodeId, &Name),
        to: (NodeId, &Name),
    ) -> Result<Option<FileId>> {
        if from.0 != to.0 || !is_backup(from.1, to.1) {
            return Ok(None);
        }
        let file = self.catalog.lookup(from.0, from.1).await?;
        Ok(file
            .filter(|file| file.kind == NodeKind::File && file.version.0 > 0)
            .map(|file| file.document))
    }

    /// After a file was moved to a free name, or over another file.
    pub(crate) async fn file_moved(
        &self,
        ctx: &Context,
        from: (NodeId, &Name),
        to: (NodeId, &Name),
        (over, leaves): (bool, Option<FileId>),
        file: &Attr,
    ) {
        if file.kind != NodeKind::File || (from.0 == to.0 && from.1 == to.1) {
            return;
        }
        let (from, to) = ((from.0, from.1.clone()), (to.0, to.1.clone()));
        let now = self.clock.now();
        if let Some(document) = self.succession.moved(from, to, (over, leaves), file, now) {
            self.go_on_with(ctx, file.node, document).await;
        }
    }

    /// After a file has lost a name.
    pub(crate) async fn file_went(&self, ctx: &Context, parent: NodeId, name: &Name, file: &Attr) {
        // With another name it is still there.
        if file.kind != NodeKind::File || file.nlink > 0 || is_lock(name) {
            return;
        }
        let now = self.clock.now();
        let Some(place) = self.succession.removed((parent, name.clone()), file, now) else {
            return;
        };
        match self.catalog.lookup(place.0, &place.1).await {
            Ok(Some(there)) => {
                if let Some(document) = self.succession.found(&there, file.document, now) {
                    self.go_on_with(ctx, there.node, document).await;
                }
            }
            Ok(None) => self.succession.freed(place, file.document, now),
            Err(error) => {
                tracing::debug!(%error, "the successor of a removed file could not be looked for");
            }
        }
    }

    /// After a save.
    pub(crate) async fn file_saved(&self, ctx: &Context, node: NodeId) {
        if let Some(document) = self.succession.heir(node) {
            self.go_on_with(ctx, node, document).await;
        }
    }

    /// What was asked for is done already, so a failure here is none of it.
    async fn go_on_with(&self, ctx: &Context, node: NodeId, document: FileId) {
        let detail = "goes on with the document whose place it has taken";
        let audit = ctx.entry(Act::Rename, Some(node), detail, self.clock.now());
        let write = Write {
            audit,
            durability: Durability::Soon,
        };
        let succeeded = match FileId::fresh() {
            Ok(spare) => self.catalog.succeed(node, document, spare, write).await,
            Err(error) => {
                tracing::warn!(%error, "no fresh document could be drawn");
                return;
            }
        };
        match succeeded {
            Ok(changed) => {
                for attr in &changed {
                    self.renumber(attr).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, %node, "a file could not go on with the document whose place it has taken");
            }
        }
    }

    /// Tells an open file that what it is based on belongs to another document now.
    pub(crate) async fn renumber(&self, attr: &Attr) {
        if let Some(file) = self.open_file(attr.node) {
            let mut state = file.state.write().await;
            if state.head == attr.head {
                (state.document, state.version) = (attr.document, attr.version);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_are_known_by_their_names() {
        let name = |text: &str| Name::new(text.as_bytes()).unwrap();
        for (original, backup) in [
            ("report.txt", "report.txt~"),
            ("report.txt", "report.txt.bak"),
            ("report.txt", "report.bak"),
            ("report.txt", "report.txt.~12~"),
            ("report.docx", "Backup of report.wbk"),
            ("報告.docx", "バックアップ ～ 報告.wbk"),
            ("Makefile", "Makefile.orig"),
        ] {
            assert!(is_backup(&name(original), &name(backup)), "{backup}");
        }
        for (original, other) in [
            ("report.docx", "~WRL0002.tmp"),
            ("report.docx", "report-2025.docx"),
            ("report.docx", "other.bak"),
            ("report.docx", "report.docx.~~"),
            ("report.docx", "report.docx.~x~"),
            (".bak", ".bak.x"),
        ] {
            assert!(!is_backup(&name(original), &name(other)), "{other}");
        }
    }

    #[test]
    fn a_moment_passes_and_notes_are_bounded() {
        let at = |secs| Timestamp { secs, nanos: 0 };
        let mut recent = Recent::default();
        recent.note(1, "a", at(100));
        assert_eq!(recent.take(&1, at(100 + MOMENT + 1)), None);
        recent.note(1, "a", at(100));
        assert_eq!(recent.take(&1, at(100 + MOMENT)), Some("a"));
        assert_eq!(recent.take(&1, at(100)), None, "once");
        for number in 0..2 * MOST {
            recent.note(number, "x", at(100));
        }
        assert_eq!(recent.0.len(), MOST);
        recent.note(7_777_777, "later", at(200));
        assert_eq!(recent.0.len(), 1, "what has passed makes room");
    }
}

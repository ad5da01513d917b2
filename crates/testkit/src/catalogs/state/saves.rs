//! Saving, and what happens to versions later.

use warifu_core::head::Timestamp;
use warifu_core::ids::{ExtentId, FileId, Generation, VersionNo};
use warifu_vault::node::{Attr, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::{
    CatalogError, Commit, IndexSet, Intent, NewNode, OwedChange, SaveId, Version, Write,
};

use super::{Outcome, State, missing, uses};

impl State {
    pub(in crate::catalogs) fn begin(&mut self, intent: &Intent, until: Timestamp) -> Outcome<()> {
        if self.intents.contains_key(&intent.save) {
            return Err(CatalogError::Exists);
        }
        self.intents.insert(intent.save, (intent.clone(), until));
        Ok(())
    }

    pub(in crate::catalogs) fn extend(
        &mut self,
        save: SaveId,
        extents: &[(ExtentId, Generation)],
        until: Timestamp,
    ) -> Outcome<()> {
        let (intent, end) = self.intents.get_mut(&save).ok_or(CatalogError::Lapsed)?;
        intent.extents.extend_from_slice(extents);
        *end = until;
        Ok(())
    }

    pub(in crate::catalogs) fn claim(
        &mut self,
        save: SaveId,
        claimant: SaveId,
        until: Timestamp,
    ) -> Option<Intent> {
        let (mut intent, _) = self.intents.remove(&save)?;
        intent.save = claimant;
        intent.extents.retain(|(extent, generation)| {
            let record = self.extents.get(extent);
            record.is_none_or(|record| record.generation != *generation)
        });
        self.intents.insert(claimant, (intent.clone(), until));
        Some(intent)
    }

    pub(in crate::catalogs) fn end(&mut self, save: SaveId) -> bool {
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
        if let Some(twice) = commit
            .dealt
            .iter()
            .find(|dealt| self.extents.contains_key(&dealt.extent))
        {
            return Err(CatalogError::Failed {
                detail: format!("extent {} was dealt twice", twice.extent),
            });
        }
        let known = |extent: &ExtentId| {
            self.extents.contains_key(extent)
                || commit.dealt.iter().any(|dealt| dealt.extent == *extent)
        };
        if commit
            .head
            .iter()
            .chain(commit.layout.iter().flatten())
            .all(known)
        {
            Ok(())
        } else {
            Err(missing("extent"))
        }
    }

    fn install(&mut self, node: NodeId, commit: Commit, write: &Write) -> Attr {
        self.intents.remove(&commit.save);
        self.extents.extend(
            commit
                .dealt
                .iter()
                .map(|dealt| (dealt.extent, dealt.clone())),
        );
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

    pub(in crate::catalogs) fn commit_save(
        &mut self,
        node: NodeId,
        base: Option<ExtentId>,
        commit: Commit,
        write: &Write,
    ) -> Outcome<Attr> {
        if !self.intents.contains_key(&commit.save) {
            return Err(CatalogError::Lapsed);
        }
        let attr = self.node(node)?.attr.clone();
        self.check(attr.kind, &commit)?;
        if attr.head != base {
            return Err(CatalogError::Conflict {
                current: attr.version,
            });
        }
        let current = self.newest(attr.document);
        if current != attr.version {
            return Err(CatalogError::Conflict { current });
        }
        if attr.nlink == 0 {
            return Err(CatalogError::NotFound { what: "node" });
        }
        self.check_extents(&commit)?;
        Ok(self.install(node, commit, write))
    }

    pub(in crate::catalogs) fn commit_new(
        &mut self,
        parent: NodeId,
        name: &Name,
        new: &NewNode,
        commit: Commit,
        write: &Write,
    ) -> Outcome<Attr> {
        self.check(new.kind, &commit)?;
        self.free(parent, name)?;
        self.check_extents(&commit)?;
        let node = self.make(parent, name, new, write.audit.at).node;
        Ok(self.install(node, commit, write))
    }

    pub(in crate::catalogs) fn settle(&mut self, versions: &[(FileId, VersionNo)]) {
        for key in versions {
            let head = self.versions.get(key).and_then(|(_, version)| version.head);
            for (at, (_, version)) in &mut self.versions {
                version.settled |= at == key || (head.is_some() && version.head == head);
            }
        }
    }

    pub(in crate::catalogs) fn revert(
        &mut self,
        document: FileId,
        number: VersionNo,
        write: &Write,
    ) -> Outcome<VersionNo> {
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
            if !self
                .versions
                .values()
                .any(|(_, version)| uses(version, *extent))
            {
                self.extents.remove(extent);
            }
        }
        let before = self.version(document, self.newest(document));
        for node in self
            .nodes
            .values_mut()
            .filter(|node| node.attr.document == document && node.attr.version == number)
        {
            let attr = &mut node.attr;
            attr.version = before
                .as_ref()
                .map_or(VersionNo(0), |version| version.number);
            attr.size = before.as_ref().map_or(0, |version| version.size);
            attr.mtime = before
                .as_ref()
                .map_or(write.audit.at, |version| version.mtime);
            attr.head = before.as_ref().and_then(|version| version.head);
            attr.ctime = write.audit.at;
        }
        self.record(&write.audit);
        Ok(self.newest(document))
    }

    pub(in crate::catalogs) fn change_owed(
        &mut self,
        changes: &[OwedChange],
    ) -> Vec<Option<IndexSet>> {
        let mut change = |change: &OwedChange| {
            let record = self.extents.get_mut(&change.extent)?;
            if record.generation != change.generation {
                return None;
            }
            record.owed = change.apply(record.owed);
            Some(record.owed)
        };
        changes.iter().map(&mut change).collect()
    }
}

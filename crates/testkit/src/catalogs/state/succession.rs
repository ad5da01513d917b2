//! Files that go on with another file's document.

use warifu_core::ids::{FileId, VersionNo};
use warifu_vault::node::{Attr, NodeId, NodeKind};
use warifu_vault::seam::catalog::{Version, Write};

use super::{Outcome, State};

impl State {
    pub(in crate::catalogs) fn succeed(
        &mut self,
        node: NodeId,
        document: FileId,
        spare: FileId,
        write: &Write,
    ) -> Outcome<Vec<Attr>> {
        let heir = self.node(node)?.attr.clone();
        let last = self.newest(document);
        if heir.kind != NodeKind::File
            || heir.version.0 == 0
            || heir.document == document
            || last.0 == 0
        {
            return Ok(Vec::new());
        }
        let holders = self.nodes.values().map(|node| &node.attr);
        let former = holders
            .filter(|attr| attr.document == document && attr.nlink > 0)
            .map(Clone::clone)
            .next();
        let mut changed = vec![self.go_on_in(&heir, (document, last), write)];
        if let Some(former) = former {
            changed.push(self.go_on_in(&former, (spare, VersionNo(0)), write));
        }
        self.record(&write.audit);
        Ok(changed)
    }

    pub(super) fn go_on_in(
        &mut self,
        file: &Attr,
        (document, last): (FileId, VersionNo),
        write: &Write,
    ) -> Attr {
        let mut version = self
            .version(file.document, file.version)
            .unwrap_or_else(|| Version {
                document,
                number: VersionNo(0),
                size: 0,
                mtime: file.mtime,
                saved_at: write.audit.at,
                author: write.audit.context.actor.clone(),
                host: write.audit.context.host.clone(),
                head: None,
                settled: true,
                layout: Vec::new(),
            });
        self.renew_names(file.node, write.audit.at);
        version.document = document;
        version.number = VersionNo(last.0 + 1);
        let number = version.number;
        self.add_version(version);
        self.change(file.node, |file| {
            (file.document, file.version) = (document, number)
        })
    }
}

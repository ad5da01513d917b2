//! A save whose base is no longer current: both are kept.

use std::sync::Arc;

use warifu_core::ids::FileId;

use super::state::OpenFile;
use crate::context::{Act, Context};
use crate::error::Result;
use crate::node::{Attr, Name, NodeId, NodeKind};
use crate::seam::catalog::{CatalogError, Commit, Durability, NewNode, Write};
use crate::seam::clock::{Timestamp, in_calendar};
use crate::vault::Inner;

/// The attribute that holds a file's access control list. Where it is there, the group's bits of the mode are the list's mask and say nothing of
/// what the group may do.
const ACCESS_LIST: &[u8] = b"system.posix_acl_access";

/// How many names are tried for a copy before giving up.
const TRIES: u32 = 100;

impl Inner {
    /// Commits what was to be the next version of a file as a new file beside it. Later saves by the same handles go there.
    pub(crate) async fn keep_copy(
        &self,
        ctx: &Context,
        file: &Arc<OpenFile>,
        commit: Commit,
        durability: Durability,
        now: Timestamp,
    ) -> Result<Attr> {
        let target = file.state.read().await.target;
        let attr = self.catalog.attr(target).await?;
        let path = match &attr {
            Some(_) => self.catalog.path(target).await?,
            None => None,
        };
        // A file that was removed elsewhere has no place any more; the root is one that everybody sees.
        let (parent, name) = match path.as_deref() {
            Some([folders @ .., name]) => (
                self.walk(folders).await.unwrap_or(NodeId::ROOT),
                Some(name.clone()),
            ),
            _ => (NodeId::ROOT, None),
        };
        let (mode, uid, gid) = attr.as_ref().map_or((0o600, ctx.uid, ctx.gid), |attr| {
            (attr.mode, attr.uid, attr.gid)
        });
        // The copy has no list. Without one the same mode would let in whom the list kept out, so it is its owner's alone.
        let mode = match attr.is_some() && self.has_access_list(target).await? {
            true => mode & !0o077,
            false => mode,
        };
        let document = FileId::fresh()?;
        let new = NewNode {
            kind: NodeKind::File,
            mode,
            uid,
            gid,
            rdev: 0,
            target: Vec::new(),
            document,
            inherits: false,
            unless: None,
        };
        if let Some(doubt) = file.doubt.lock().await.as_mut() {
            doubt.copy = true;
        }
        let mut attempt = 0;
        let (copy, kept) = loop {
            let kept = copy_name(name.as_ref(), &ctx.actor, now, attempt)?;
            let detail = format!("kept as {}", kept.display());
            let write = Write {
                audit: ctx.entry(Act::Conflict, Some(target), detail, now),
                durability,
            };
            match self
                .catalog
                .commit_new(parent, &kept, new.clone(), commit.clone(), write)
                .await
            {
                Ok(copy) => break (copy, kept),
                Err(CatalogError::Exists) if attempt < TRIES => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        };
        drop(kept);
        tracing::warn!(node = %copy.node, "a save met a newer version and was kept as a copy");
        file.state.write().await.target = copy.node;
        Ok(copy)
    }

    async fn has_access_list(&self, node: NodeId) -> Result<bool> {
        match self.catalog.xattr(node, ACCESS_LIST).await {
            Ok(_) => Ok(true),
            Err(CatalogError::NoXattr | CatalogError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn walk(&self, folders: &[Name]) -> Option<NodeId> {
        let mut node = NodeId::ROOT;
        for name in folders {
            node = self.catalog.lookup(node, name).await.ok()??.node;
        }
        Some(node)
    }
}

/// `name (conflict 2026-11-21 14.05.09 who).ext`, cut to the length that a name may have without cutting a character.
fn copy_name(name: Option<&Name>, who: &str, now: Timestamp, attempt: u32) -> Result<Name> {
    Ok(Name::new(&marked("conflict", name, who, now, attempt))?)
}

/// The name of a copy, marked with this word, the time and the person.
pub(crate) fn marked_name(
    word: &str,
    name: Option<&Name>,
    who: &str,
    at: Timestamp,
    attempt: u32,
) -> Name {
    let bytes = marked(word, name, who, at, attempt);
    match Name::new(&bytes) {
        Ok(name) => name,
        // What was cut to fit and has neither a slash nor a NUL byte is a name.
        Err(_) => Name::fallback(attempt),
    }
}

fn marked(word: &str, name: Option<&Name>, who: &str, now: Timestamp, attempt: u32) -> Vec<u8> {
    let name = name.map_or(&b"recovered"[..], Name::as_bytes);
    let dot = name
        .iter()
        .rposition(|byte| *byte == b'.')
        .filter(|dot| *dot > 0 && name.len() - dot <= 16);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let who: String = who
        .chars()
        .filter(|c| !c.is_control() && *c != '/')
        .take(32)
        .collect();
    let again = if attempt == 0 {
        String::new()
    } else {
        format!(" {}", attempt + 1)
    };
    let mark = format!(" ({word} {} {who}{again})", civil(now));
    let room = Name::MAX.saturating_sub(mark.len() + extension.len());
    let mut keep = stem.len().min(room);
    // A byte of the form 10xxxxxx continues a character.
    while keep > 0 && keep < stem.len() && stem.get(keep).is_some_and(|byte| byte & 0xC0 == 0x80) {
        keep -= 1;
    }
    [
        stem.get(..keep).unwrap_or_default(),
        mark.as_bytes(),
        extension,
    ]
    .concat()
}

/// The time in UTC as `2026-11-21 14.05.09`: without colons, which Windows does not allow in names.
fn civil(time: Timestamp) -> String {
    let [year, month, day, hour, minute, second] = in_calendar(time);
    format!("{year:04}-{month:02}-{day:02} {hour:02}.{minute:02}.{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp { secs, nanos: 0 }
    }

    #[test]
    fn the_calendar_is_right() {
        assert_eq!(civil(at(0)), "1970-01-01 00.00.00");
        assert_eq!(civil(at(951_827_696)), "2000-02-29 12.34.56");
        assert_eq!(civil(at(1_795_270_000)), "2026-11-21 14.06.40");
    }

    #[test]
    fn a_copy_keeps_the_extension_and_says_who() {
        let name = Name::new("予算書.docx".as_bytes()).unwrap();
        let copy = copy_name(Some(&name), "hanako", at(0), 0).unwrap();
        assert_eq!(
            copy.display(),
            "予算書 (conflict 1970-01-01 00.00.00 hanako).docx"
        );
        let again = copy_name(Some(&name), "ha/na\nko", at(0), 1).unwrap();
        assert_eq!(
            again.display(),
            "予算書 (conflict 1970-01-01 00.00.00 hanako 2).docx"
        );
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let name = Name::new(format!("{}.xlsx", "あ".repeat(83)).as_bytes()).unwrap();
        let copy = copy_name(Some(&name), "hanako", at(0), 0).unwrap();
        let text = std::str::from_utf8(copy.as_bytes()).unwrap();
        assert!(
            text.len() <= 255 && text.ends_with(" hanako).xlsx"),
            "{text}"
        );
    }
}

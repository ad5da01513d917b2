//! POSIX access control lists: what the kernel leaves to a file system of those that it enforces.
//!
//! The kernel asks for a list as the extended attribute that it is and judges by it. Left to us is what ties lists and modes
//! together: setting the one changes the other, and what is made in a folder with a default list begins with it.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fuser::Errno;
use warifu_vault::node::{Attr, AttrChange, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::XattrMode;
use warifu_vault::{Context, Vault, VaultError};

use crate::attrs::SET_GID;
use crate::caller::Caller;
use crate::drive::{Answer, Drive};

/// The list that says who may do what with a file or folder.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The list that a folder hands to what is made in it.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

/// The only version of the attribute's bytes.
const VERSION: [u8; 4] = [2, 0, 0, 0];
/// The id of an entry that is about no certain user or group.
const NOBODY: [u8; 4] = [0xff; 4];

/// What an entry is about, with the values of the attribute's bytes, in the order in which entries stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tag {
    Owner = 0x01,
    User = 0x02,
    OwningGroup = 0x04,
    Group = 0x08,
    Mask = 0x10,
    Other = 0x20,
}

impl Tag {
    const ALL: [Self; 6] = [
        Self::Owner,
        Self::User,
        Self::OwningGroup,
        Self::Group,
        Self::Mask,
        Self::Other,
    ];

    fn named(self) -> bool {
        matches!(self, Self::User | Self::Group)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: Tag,
    /// Read 4, write 2, execute 1.
    may: u16,
    /// The user's or group's number, little-endian as it came.
    id: [u8; 4],
}

/// A list that is well-formed: one entry each for owner, owning group and others, a mask where anybody is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl(Vec<Entry>);

impl Acl {
    /// Reads the attribute's bytes; `None` for the list without entries, which stands for none.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, Errno> {
        let entries = bytes.strip_prefix(&VERSION).ok_or(Errno::EOPNOTSUPP)?;
        let (entries, rest) = entries.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(Errno::EINVAL);
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let mut read = Vec::with_capacity(entries.len());
        for [tag, tag_high, may, may_high, id @ ..] in entries {
            let tag = u16::from_le_bytes([*tag, *tag_high]);
            let tag = Tag::ALL.into_iter().find(|known| *known as u16 == tag);
            let entry = Entry {
                tag: tag.ok_or(Errno::EINVAL)?,
                may: u16::from_le_bytes([*may, *may_high]),
                id: *id,
            };
            if entry.may > 7 || entry.tag.named() && entry.id == NOBODY {
                return Err(Errno::EINVAL);
            }
            read.push(entry);
        }
        let acl = Self(read);
        let count = |tag| acl.0.iter().filter(|entry| entry.tag == tag).count();
        let one_each = [Tag::Owner, Tag::OwningGroup, Tag::Other]
            .into_iter()
            .all(|tag| count(tag) == 1);
        let masked = count(Tag::Mask) == 1 || count(Tag::Mask) == 0 && acl.names_nobody();
        if one_each && masked && acl.0.is_sorted_by_key(|entry| entry.tag) {
            Ok(Some(acl))
        } else {
            Err(Errno::EINVAL)
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_vec();
        for entry in &self.0 {
            bytes.extend_from_slice(&(entry.tag as u16).to_le_bytes());
            bytes.extend_from_slice(&entry.may.to_le_bytes());
            bytes.extend_from_slice(if entry.tag.named() {
                &entry.id
            } else {
                &NOBODY
            });
        }
        bytes
    }

    fn names_nobody(&self) -> bool {
        !self.0.iter().any(|entry| entry.tag.named())
    }

    fn has(&self, tag: Tag) -> bool {
        self.0.iter().any(|entry| entry.tag == tag)
    }

    /// Whether the mode alone says as much.
    pub(crate) fn is_mode(&self) -> bool {
        self.names_nobody() && !self.has(Tag::Mask)
    }

    /// The entries that the mode's nine bits are about, each with where its three begin. The bits of the group are those of the mask
    /// where there is one.
    fn class(&self, tag: Tag) -> Option<u32> {
        let group = if self.has(Tag::Mask) {
            Tag::Mask
        } else {
            Tag::OwningGroup
        };
        match tag {
            Tag::Owner => Some(6),
            Tag::Other => Some(0),
            tag if tag == group => Some(3),
            _ => None,
        }
    }

    /// A mode with the nine bits that this list stands for.
    pub(crate) fn mode(&self, before: u32) -> u32 {
        let bits = self.0.iter().filter_map(|entry| {
            let at = self.class(entry.tag)?;
            Some(u32::from(entry.may) << at)
        });
        bits.fold(before & !0o777, |mode, bits| mode | bits)
    }

    /// This list after a chmod.
    pub(crate) fn with_mode(&self, mode: u32) -> Self {
        let mut acl = self.clone();
        for entry in &mut acl.0 {
            if let Some(at) = self.class(entry.tag) {
                entry.may = three(mode >> at);
            }
        }
        acl
    }

    /// What a new file begins with whose folder has this default list, when its maker asks for `mode`: never more than both
    /// say.
    pub(crate) fn inherited(&self, mode: u32) -> Self {
        let mut acl = self.clone();
        for entry in &mut acl.0 {
            if let Some(at) = self.class(entry.tag) {
                entry.may &= three(mode >> at);
            }
        }
        acl
    }
}

/// The lowest three bits of a mode.
const fn three(mode: u32) -> u16 {
    // Seven at most.
    (mode & 7) as u16
}

/// The mode that the maker of something new asks for, and the bits of it that the maker masks.
pub(crate) type Modes = (u32, u32);

/// Folders that had a default list when a file was last made in them: a hint, with which a file costs one request less in them.
#[derive(Debug, Default)]
pub(crate) struct WithLists(Mutex<HashSet<NodeId>>);

/// So many are remembered, and then none of them.
const MOST_WITH_LISTS: usize = 4096;

impl WithLists {
    fn folders(&self) -> MutexGuard<'_, HashSet<NodeId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has(&self, folder: NodeId) -> bool {
        self.folders().contains(&folder)
    }

    pub(crate) fn note(&self, folder: NodeId, has_list: bool) {
        let mut folders = self.folders();
        if !has_list {
            folders.remove(&folder);
            return;
        }
        if folders.len() >= MOST_WITH_LISTS {
            folders.clear();
        }
        folders.insert(folder);
    }
}

/// What something new begins with.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// The mode to make it with. Where lists follow, only its owner may do anything until they are there.
    pub(crate) mode: u32,
    lists: Option<Lists>,
}

impl Beginning {
    /// In a folder without a default list.
    pub(crate) const fn plain((mode, umask): Modes) -> Self {
        Self {
            mode: mode & 0o7777 & !umask,
            lists: None,
        }
    }

    /// Whether lists follow.
    pub(crate) const fn has_lists(&self) -> bool {
        self.lists.is_some()
    }
}

#[derive(Debug)]
struct Lists {
    mode: u32,
    access: Option<Vec<u8>>,
    default: Option<Vec<u8>>,
}

impl Drive {
    /// The list of a node, where it has one.
    async fn acl(&self, context: &Context, node: NodeId, name: &[u8]) -> Answer<Option<Acl>> {
        match self.vault.xattr(context, node, name).await {
            Ok(bytes) => Ok(Acl::parse(&bytes)?),
            Err(VaultError::NoXattr | VaultError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What a new node of a folder begins with: the folder's default list, or the mode that was asked for without the bits
    /// that its maker masks. The kernel leaves the choice to us, since only one of the two counts.
    pub(crate) async fn beginning(
        &self,
        context: &Context,
        parent: NodeId,
        kind: NodeKind,
        (mode, umask): Modes,
    ) -> Answer<Beginning> {
        let mode = mode & 0o7777;
        let default = if self.lists() {
            self.acl(context, parent, DEFAULT).await?
        } else {
            None
        };
        let Some(default) = default else {
            return Ok(Beginning::plain((mode, umask)));
        };
        let access = default.inherited(mode);
        let mode = access.mode(mode);
        let lists = Lists {
            mode,
            access: (!access.is_mode()).then(|| access.encode()),
            default: (kind == NodeKind::Dir).then(|| default.encode()),
        };
        if lists.access.is_none() && lists.default.is_none() {
            return Ok(Beginning { mode, lists: None });
        }
        Ok(Beginning {
            mode: mode & !0o077,
            lists: Some(lists),
        })
    }

    /// Gives something new its lists, and then its mode; gives its attributes. Takes the new name away where that fails.
    pub(crate) async fn begin(
        &self,
        context: &Context,
        (parent, name): (NodeId, &Name),
        made: Attr,
        beginning: Beginning,
    ) -> Answer<Attr> {
        let Some(lists) = beginning.lists else {
            return Ok(made);
        };
        match self.give(context, &made, lists).await {
            Ok(attr) => Ok(attr),
            Err(error) => {
                // Only what was made: somebody may have put something else under the name meanwhile.
                let there = self.vault.lookup(context, parent, name).await;
                let undone = match (there, made.kind) {
                    (Ok(there), _) if there.node != made.node => Ok(()),
                    (Err(VaultError::NotFound { .. }), _) => Ok(()),
                    (Err(error), _) => Err(error),
                    (Ok(_), NodeKind::Dir) => self.vault.remove_dir(context, parent, name).await,
                    (Ok(_), _) => self.vault.remove(context, parent, name).await,
                };
                if let Err(error) = undone {
                    tracing::warn!(node = made.node.0, %error, "what was made without its access control list could not be taken away");
                }
                Err(error.into())
            }
        }
    }

    async fn give(&self, context: &Context, made: &Attr, lists: Lists) -> Result<Attr, VaultError> {
        for (name, list) in [(ACCESS, lists.access), (DEFAULT, lists.default)] {
            if let Some(list) = list {
                self.vault
                    .set_xattr(context, made.node, name, &list, XattrMode::Set)
                    .await?;
            }
        }
        // The bits above are as they were made: the folder may have given its set-group-id bit.
        let mode = made.mode & !0o777 | lists.mode & 0o777;
        set_mode(&self.vault, context, made.node, mode).await
    }

    /// Sets or, with `None`, removes a list. The kernel has checked that the caller owns the file.
    pub(crate) async fn set_acl(
        &self,
        caller: Caller,
        node: NodeId,
        name: &[u8],
        list: Option<&[u8]>,
    ) -> Answer<()> {
        let context = self.callers.act(caller).await;
        let acl = match list {
            Some(bytes) => Acl::parse(bytes)?,
            None => None,
        };
        let attr = self.vault.attr(&context, node).await?;
        if name == DEFAULT && attr.kind != NodeKind::Dir && acl.is_some() {
            return Err(Errno::EACCES.into());
        }
        // A crash may come between two steps, so they come in the order in which nobody ever gets more than the old and the new
        // state together give: a list before the mode that is read through it, a narrower mode before its list goes.
        let mode = match (&acl, name == ACCESS) {
            (Some(acl), true) => Some(acl.mode(attr.mode)),
            _ => None,
        };
        let mode = mode.map(|mode| {
            if mode & SET_GID == 0 || caller.is_in(attr.gid) {
                mode
            } else {
                mode & !SET_GID
            }
        });
        let changed = mode.filter(|mode| *mode != attr.mode);
        match acl.filter(|acl| name == DEFAULT || !acl.is_mode()) {
            Some(acl) => {
                self.vault
                    .set_xattr(&context, node, name, &acl.encode(), XattrMode::Set)
                    .await?;
                if let Some(mode) = changed {
                    set_mode(&self.vault, &context, node, mode).await?;
                }
            }
            None => {
                if let Some(mode) = changed {
                    set_mode(&self.vault, &context, node, mode).await?;
                }
                match self.vault.remove_xattr(&context, node, name).await {
                    Ok(()) | Err(VaultError::NoXattr) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.changed();
        Ok(())
    }

    /// After a chmod: the list says what the mode says.
    pub(crate) async fn acl_follows(
        &self,
        context: &Context,
        node: NodeId,
        mode: u32,
    ) -> Answer<()> {
        if let Some(acl) = self.acl(context, node, ACCESS).await? {
            self.vault
                .set_xattr(
                    context,
                    node,
                    ACCESS,
                    &acl.with_mode(mode).encode(),
                    XattrMode::Set,
                )
                .await?;
        }
        Ok(())
    }
}

async fn set_mode(
    vault: &Vault,
    context: &Context,
    node: NodeId,
    mode: u32,
) -> Result<Attr, VaultError> {
    let change = AttrChange {
        mode: Some(mode),
        ..AttrChange::default()
    };
    vault.set_attr(context, node, &change).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tag: u16, may: u16, id: u32) -> Vec<u8> {
        let id = id.to_le_bytes();
        [&tag.to_le_bytes()[..], &may.to_le_bytes(), &id].concat()
    }

    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = VERSION.to_vec();
        for (tag, may, id) in entries {
            bytes.extend(entry(*tag, *may, *id));
        }
        bytes
    }

    const ANY: u32 = u32::MAX;

    /// u::rwx, u:1000:rw, g::r, g:50:rwx, mask rw, o::-.
    fn named() -> Vec<u8> {
        list(&[
            (1, 7, ANY),
            (2, 6, 1000),
            (4, 4, ANY),
            (8, 7, 50),
            (16, 6, ANY),
            (32, 0, ANY),
        ])
    }

    #[test]
    fn a_list_is_read_and_written_byte_by_byte() {
        let acl = Acl::parse(&named()).unwrap().unwrap();
        assert_eq!(acl.encode(), named());
        assert!(!acl.is_mode());
        let plain = list(&[(1, 6, ANY), (4, 4, ANY), (32, 4, ANY)]);
        let acl = Acl::parse(&plain).unwrap().unwrap();
        assert!(acl.is_mode());
        assert_eq!(acl.mode(0o2777), 0o2644);
        assert_eq!(Acl::parse(&VERSION).unwrap(), None);
    }

    #[test]
    fn p10_what_is_no_list_is_refused() {
        let bad = [
            Vec::new(),
            vec![2, 0, 0],
            vec![1, 0, 0, 0],
            [&named()[..], &[0]].concat(),
            // No owner, two owners, no others, somebody named without a mask, two masks.
            list(&[(4, 4, ANY), (32, 4, ANY)]),
            list(&[(1, 6, ANY), (1, 6, ANY), (4, 4, ANY), (32, 4, ANY)]),
            list(&[(1, 6, ANY), (4, 4, ANY)]),
            list(&[(1, 6, ANY), (2, 6, 7), (4, 4, ANY), (32, 4, ANY)]),
            list(&[
                (1, 6, ANY),
                (4, 4, ANY),
                (16, 4, ANY),
                (16, 4, ANY),
                (32, 4, ANY),
            ]),
            // Out of order, an unknown entry, more than rwx, somebody named who is nobody.
            list(&[(4, 4, ANY), (1, 6, ANY), (32, 4, ANY)]),
            list(&[(1, 6, ANY), (3, 4, ANY), (4, 4, ANY), (32, 4, ANY)]),
            list(&[(1, 8, ANY), (4, 4, ANY), (32, 4, ANY)]),
            list(&[
                (1, 6, ANY),
                (2, 6, ANY),
                (4, 4, ANY),
                (16, 4, ANY),
                (32, 4, ANY),
            ]),
        ];
        for bytes in bad {
            assert!(Acl::parse(&bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn the_groups_bits_are_the_masks() {
        let acl = Acl::parse(&named()).unwrap().unwrap();
        assert_eq!(acl.mode(0o1000), 0o1760);
        let narrowed = acl.with_mode(0o640);
        assert_eq!(narrowed.mode(0), 0o640);
        // The owning group keeps its own entry; the mask stands before it.
        assert_eq!(narrowed.0[2].may, 4);
        assert_eq!(narrowed.0[3].may, 7);
        assert_eq!(narrowed.with_mode(0o760), acl);
    }

    #[test]
    fn what_is_inherited_is_never_more_than_was_asked_for() {
        let acl = Acl::parse(&named()).unwrap().unwrap();
        assert_eq!(acl.inherited(0o666).mode(0o100_666), 0o100_660);
        assert_eq!(acl.inherited(0o400).mode(0), 0o400);
        assert_eq!(acl.inherited(0o777).mode(0), 0o760);
    }
}

//! Names and attributes: what needs the catalogue only.

use fuser::{Errno, RenameFlags};
use warifu_vault::node::{Attr, Name, NodeId, NodeKind};
use warifu_vault::seam::catalog::RenameMode;
use warifu_vault::seam::clock::{Clock, SystemClock};

use crate::acl::Modes;
use crate::attrs::{Asked, has_set_id, kind_of_mode};
use crate::caller::Caller;
use crate::drive::{Answer, Drive};

/// A change of attributes that the kernel asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SetAttr {
    /// The new size.
    pub(crate) size: Option<u64>,
    /// Everything else.
    pub(crate) asked: Asked,
    /// The open file it came through, where it came through one.
    pub(crate) handle: Option<u64>,
}

impl Drive {
    pub(crate) async fn lookup(&self, caller: Caller, parent: NodeId, name: &Name) -> Answer<Attr> {
        let context = self.callers.glance(caller).await;
        Ok(self.vault.lookup(&context, parent, name).await?)
    }

    /// The attributes of a node, by an open file where there is one: a file without a name has no other way.
    pub(crate) async fn attr(
        &self,
        caller: Caller,
        node: NodeId,
        handle: Option<u64>,
    ) -> Answer<Attr> {
        if let Some(Ok(file)) = handle.map(|number| self.open.file(number)) {
            return Ok(file.handle.attr().await?);
        }
        let context = self.callers.glance(caller).await;
        Ok(self.vault.attr_lately(&context, node).await?)
    }

    pub(crate) async fn set_attr(
        &self,
        caller: Caller,
        node: NodeId,
        set: SetAttr,
    ) -> Answer<Attr> {
        let context = self.callers.act(caller).await;
        let mut attr = None;
        if let Some(size) = set.size {
            self.vault.trust_locks(node).await?;
            // ftruncate comes with its file, and the size changes in memory until that file is closed; truncate does not.
            match set.handle.map(|number| self.open.file(number)) {
                Some(Ok(file)) => {
                    let done = file.handle.set_size(&file.opener, size).await;
                    file.changers.shaped(caller);
                    done?;
                }
                Some(Err(_)) | None => {
                    attr = Some(self.vault.truncate(&context, node, size).await?)
                }
            }
        }
        if let Some(change) = set.asked.change(SystemClock.now()) {
            let changed = self.vault.set_attr(&context, node, &change).await?;
            // A list follows its mode also while the kernel does not ask for lists: with the next kernel it counts again.
            if let Some(mode) = change.mode {
                self.acl_follows(&context, node, mode).await?;
            }
            if let (Some(open), Some(mode)) = (self.open.node(node), change.mode)
                && has_set_id(mode)
            {
                open.set_id.doubt();
            }
            attr = Some(changed);
        }
        self.changed();
        match attr {
            Some(attr) => Ok(attr),
            None => self.attr(caller, node, set.handle).await,
        }
    }

    pub(crate) async fn read_link(&self, caller: Caller, node: NodeId) -> Answer<Vec<u8>> {
        let context = self.callers.glance(caller).await;
        Ok(self.vault.read_link(&context, node).await?)
    }

    pub(crate) async fn make_node(
        &self,
        caller: Caller,
        parent: NodeId,
        name: &Name,
        mode: Modes,
        rdev: u32,
    ) -> Answer<Attr> {
        let kind = kind_of_mode(mode.0).ok_or(Errno::EINVAL)?;
        let rdev = if matches!(kind, NodeKind::CharDevice | NodeKind::BlockDevice) {
            rdev
        } else {
            0
        };
        let context = self.callers.act(caller).await;
        let beginning = self.beginning(&context, parent, kind, mode).await?;
        let attr = self
            .vault
            .make_node(&context, parent, name, kind, beginning.mode, rdev)
            .await?;
        self.changed();
        self.begin(&context, (parent, name), attr, beginning).await
    }

    pub(crate) async fn make_dir(
        &self,
        caller: Caller,
        parent: NodeId,
        name: &Name,
        mode: Modes,
    ) -> Answer<Attr> {
        let context = self.callers.act(caller).await;
        let beginning = self
            .beginning(&context, parent, NodeKind::Dir, mode)
            .await?;
        let attr = self
            .vault
            .make_dir(&context, parent, name, beginning.mode)
            .await?;
        self.changed();
        self.begin(&context, (parent, name), attr, beginning).await
    }

    pub(crate) async fn make_symlink(
        &self,
        caller: Caller,
        parent: NodeId,
        name: &Name,
        target: &[u8],
    ) -> Answer<Attr> {
        let context = self.callers.act(caller).await;
        let attr = self
            .vault
            .make_symlink(&context, parent, name, target)
            .await?;
        self.changed();
        Ok(attr)
    }

    pub(crate) async fn link(
        &self,
        caller: Caller,
        node: NodeId,
        parent: NodeId,
        name: &Name,
    ) -> Answer<Attr> {
        let context = self.callers.act(caller).await;
        let attr = self.vault.link(&context, node, parent, name).await?;
        self.changed();
        Ok(attr)
    }

    pub(crate) async fn remove(&self, caller: Caller, parent: NodeId, name: &Name) -> Answer<()> {
        let context = self.callers.act(caller).await;
        self.vault.remove(&context, parent, name).await?;
        self.changed();
        Ok(())
    }

    pub(crate) async fn remove_dir(
        &self,
        caller: Caller,
        parent: NodeId,
        name: &Name,
    ) -> Answer<()> {
        let context = self.callers.act(caller).await;
        self.vault.remove_dir(&context, parent, name).await?;
        self.changed();
        Ok(())
    }

    pub(crate) async fn rename(
        &self,
        caller: Caller,
        from: (NodeId, &Name),
        to: (NodeId, &Name),
        flags: RenameFlags,
    ) -> Answer<()> {
        let mode = rename_mode(flags)?;
        let context = self.callers.act(caller).await;
        self.vault.rename(&context, from, to, mode).await?;
        self.changed();
        Ok(())
    }
}

impl Drive {
    /// fsync(2) of a folder: what was done with names is safe from a power cut.
    pub(crate) async fn sync_names(&self) -> Answer<()> {
        Ok(self.vault.sync().await?)
    }
}

/// What renameat2(2) asks for. The flags exclude each other, and whiteouts are for file systems laid over others.
fn rename_mode(flags: RenameFlags) -> Result<RenameMode, Errno> {
    if flags.is_empty() {
        Ok(RenameMode::Replace)
    } else if flags == RenameFlags::RENAME_NOREPLACE {
        Ok(RenameMode::NoReplace)
    } else if flags == RenameFlags::RENAME_EXCHANGE {
        Ok(RenameMode::Exchange)
    } else {
        Err(Errno::EINVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rename_flags_exclude_each_other() {
        assert_eq!(
            rename_mode(RenameFlags::empty()).unwrap(),
            RenameMode::Replace
        );
        assert_eq!(
            rename_mode(RenameFlags::RENAME_NOREPLACE).unwrap(),
            RenameMode::NoReplace
        );
        assert_eq!(
            rename_mode(RenameFlags::RENAME_EXCHANGE).unwrap(),
            RenameMode::Exchange
        );
        for flags in [
            RenameFlags::RENAME_NOREPLACE | RenameFlags::RENAME_EXCHANGE,
            RenameFlags::RENAME_WHITEOUT,
            RenameFlags::from_bits_retain(1 << 20),
        ] {
            assert_eq!(rename_mode(flags).unwrap_err().code(), libc::EINVAL);
        }
    }
}

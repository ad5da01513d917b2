//! Extended attributes.

use fuser::Errno;
use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::XattrMode;
use warifu_vault::seam::clock::utc;

use crate::acl;
use crate::caller::Caller;
use crate::drive::{Answer, Drive};

/// The largest value and the longest list of names, as the kernel has it.
const LIMIT: usize = 64 * 1024;

/// What a program is told that asks for a value or a list: how long it is, or it itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Its length in bytes.
    Length(u32),
    /// Its bytes.
    Bytes(Vec<u8>),
}

/// The answer for a buffer of `room` bytes, where 0 asks for the length.
fn told(bytes: Vec<u8>, room: u32) -> Result<Told, Errno> {
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|_| bytes.len() <= LIMIT)
        .ok_or(Errno::E2BIG)?;
    if room == 0 {
        Ok(Told::Length(length))
    } else if length > room {
        Err(Errno::ERANGE)
    } else {
        Ok(Told::Bytes(bytes))
    }
}

/// Whether attributes of this name are kept. Of `system.` only the lists that the kernel enforces where it says that it does: it
/// would take any other that we merely keep for one that has an effect.
fn kept(name: &[u8], lists: bool) -> Result<(), Errno> {
    let spaces: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    if spaces
        .iter()
        .any(|space| name.len() > space.len() && name.starts_with(space))
        || (lists && is_list(name))
    {
        Ok(())
    } else {
        Err(Errno::EOPNOTSUPP)
    }
}

fn is_list(name: &[u8]) -> bool {
    name == acl::ACCESS || name == acl::DEFAULT
}

/// The attributes of this space are answered, not kept, and no listing has them: a program that copies a file with all its attributes
/// copies none of them.
const OURS: &[u8] = b"user.warifu.";

/// Who has the file open for writing: a line for each, the oldest first.
const OPEN_BY: &[u8] = b"user.warifu.open_by";

fn not_ours(name: &[u8]) -> Result<(), Errno> {
    if name.starts_with(OURS) {
        Err(Errno::EPERM)
    } else {
        Ok(())
    }
}

fn mode(flags: i32) -> Result<XattrMode, Errno> {
    match flags {
        0 => Ok(XattrMode::Set),
        libc::XATTR_CREATE => Ok(XattrMode::Create),
        libc::XATTR_REPLACE => Ok(XattrMode::Replace),
        _ => Err(Errno::EINVAL),
    }
}

impl Drive {
    pub(crate) async fn xattr(
        &self,
        caller: Caller,
        node: NodeId,
        name: &[u8],
        room: u32,
    ) -> Answer<Told> {
        kept(name, self.lists())?;
        if name == OPEN_BY {
            return Ok(told(self.open_by(node).await?, room)?);
        }
        let context = self.callers.glance(caller).await;
        Ok(told(self.vault.xattr(&context, node, name).await?, room)?)
    }

    /// Who has a file open for writing, as `person@machine program 2026-11-21T14:05:09Z`.
    async fn open_by(&self, node: NodeId) -> Answer<Vec<u8>> {
        let holders = self.vault.holders(node).await?;
        if holders.is_empty() {
            return Err(Errno::ENODATA.into());
        }
        let mut lines = String::new();
        for (session, hold) in holders {
            let program = if hold.program.is_empty() {
                "?"
            } else {
                &hold.program
            };
            lines += &format!(
                "{}@{} {program} {}\n",
                hold.actor,
                session.host,
                utc(hold.since)
            );
        }
        Ok(lines.into_bytes())
    }

    /// The names, each with a NUL byte after it. Those of `trusted.` show to root only, as on other file systems.
    pub(crate) async fn list_xattrs(
        &self,
        caller: Caller,
        node: NodeId,
        room: u32,
    ) -> Answer<Told> {
        let context = self.callers.glance(caller).await;
        let mut names = Vec::new();
        for (name, _) in self.vault.xattrs(&context, node).await? {
            // The vault's own are no business of programs.
            if name.starts_with(b"warifu.") {
                continue;
            }
            if caller.uid == 0 || !name.starts_with(b"trusted.") {
                names.extend_from_slice(&name);
                names.push(0);
            }
        }
        Ok(told(names, room)?)
    }

    pub(crate) async fn set_xattr(
        &self,
        caller: Caller,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        flags: i32,
    ) -> Answer<()> {
        kept(name, self.lists())?;
        not_ours(name)?;
        if is_list(name) {
            return self.set_acl(caller, node, name, Some(value)).await;
        }
        let mode = mode(flags)?;
        if value.len() > LIMIT {
            return Err(Errno::E2BIG.into());
        }
        let context = self.callers.act(caller).await;
        self.vault
            .set_xattr(&context, node, name, value, mode)
            .await?;
        self.changed();
        Ok(())
    }

    pub(crate) async fn remove_xattr(
        &self,
        caller: Caller,
        node: NodeId,
        name: &[u8],
    ) -> Answer<()> {
        kept(name, self.lists())?;
        not_ours(name)?;
        if is_list(name) {
            return self.set_acl(caller, node, name, None).await;
        }
        let context = self.callers.act(caller).await;
        self.vault.remove_xattr(&context, node, name).await?;
        self.changed();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_filled_measured_or_too_small() {
        assert_eq!(told(b"value".to_vec(), 0).unwrap(), Told::Length(5));
        assert_eq!(
            told(b"value".to_vec(), 5).unwrap(),
            Told::Bytes(b"value".to_vec())
        );
        assert_eq!(told(b"value".to_vec(), 4).unwrap_err().code(), libc::ERANGE);
        assert_eq!(told(Vec::new(), 0).unwrap(), Told::Length(0));
        assert_eq!(told(vec![0; LIMIT], 0).unwrap(), Told::Length(65536));
        assert_eq!(told(vec![0; LIMIT + 1], 0).unwrap_err().code(), libc::E2BIG);
    }

    #[test]
    fn access_control_lists_are_refused_rather_than_kept_without_effect() {
        for name in ["user.a", "trusted.overlay.x", "security.selinux"] {
            assert!(kept(name.as_bytes(), false).is_ok(), "{name}");
        }
        let list = b"system.posix_acl_access";
        assert!(kept(list, true).is_ok());
        assert_eq!(kept(list, false).unwrap_err().code(), libc::EOPNOTSUPP);
        for name in ["system.nfs4_acl", "user.", "osx.x", ""] {
            assert_eq!(
                kept(name.as_bytes(), true).unwrap_err().code(),
                libc::EOPNOTSUPP,
                "{name}"
            );
        }
    }

    #[test]
    fn flags_say_whether_an_attribute_must_be_new() {
        assert_eq!(mode(0).unwrap(), XattrMode::Set);
        assert_eq!(mode(libc::XATTR_CREATE).unwrap(), XattrMode::Create);
        assert_eq!(mode(libc::XATTR_REPLACE).unwrap(), XattrMode::Replace);
        assert_eq!(
            mode(libc::XATTR_CREATE | libc::XATTR_REPLACE)
                .unwrap_err()
                .code(),
            libc::EINVAL
        );
    }
}

//! The way to the kernel: `/dev/fuse`, mounted by ourselves where we may, and by `fusermount3` for an ordinary user.
//!
//! fuser could do this too. It is done here because fuser 0.18.0 unmounts once more what somebody else has unmounted
//! already, and would so take away whatever came to lie there meanwhile. Neither way needs libfuse: root needs nothing
//! but the kernel, everybody else the helper, which belongs to root and is set-user-id.

use std::ffi::{CString, OsString};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::mounting::{MountError, MountOptions};
use crate::point::{KIND, escape, helper};

const DEVICE: &str = "/dev/fuse";
/// Tells the helper through which of its files it must hand the device back.
const HAND_BACK: &str = "_FUSE_COMMFD";

fn open_device() -> Result<OwnedFd, MountError> {
    match rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(device) => Ok(device),
        Err(Errno::ACCESS | Errno::PERM) => Err(MountError::DeviceDenied),
        Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => Err(MountError::NoDevice),
        Err(error) => Err(MountError::Refused {
            said: format!("{DEVICE}: {error}"),
        }),
    }
}

/// Finds out whether this user can mount a drive on this machine, without doing so.
///
/// # Errors
/// [`MountError::NoDevice`], [`MountError::DeviceDenied`], [`MountError::NoHelper`] where somebody who is not root lacks
/// `fusermount3`, [`MountError::Refused`].
pub fn can_mount() -> Result<(), MountError> {
    open_device()?;
    if !rustix::process::geteuid().is_root() {
        helper().ok_or(MountError::NoHelper)?;
    }
    Ok(())
}

/// Mounts on a folder that [`prepare`](crate::point::prepare) found good, and gives the connection to the kernel.
pub(crate) fn attach(full: &Path, options: &MountOptions) -> Result<OwnedFd, MountError> {
    // The helper opens the device with the rights of whoever runs it, so it could not do more than this.
    let device = open_device()?;
    match by_ourselves(full, options, &device) {
        Ok(()) => Ok(device),
        Err(Errno::PERM | Errno::ACCESS) => by_helper(full, options),
        Err(error) => Err(MountError::Refused {
            said: error.to_string(),
        }),
    }
}

fn by_ourselves(full: &Path, options: &MountOptions, device: &OwnedFd) -> rustix::io::Result<()> {
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={}",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    if options.default_permissions {
        data.push_str(",default_permissions");
    }
    if options.allow_other {
        data.push_str(",allow_other");
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    // A file of the vault must not give anybody rights on this machine.
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    if options.read_only {
        flags |= MountFlags::RDONLY;
    }
    mount(options.fsname.as_str(), full, KIND, flags, data.as_c_str())
}

fn by_helper(full: &Path, options: &MountOptions) -> Result<OwnedFd, MountError> {
    let refused = |error: io::Error| MountError::Refused {
        said: error.to_string(),
    };
    let helper = helper().ok_or(MountError::NoHelper)?;
    let (ours, theirs) = UnixStream::pair().map_err(refused)?;
    let child = helper
        .command()
        // As its standard input, the socket reaches the helper without touching what other programs inherit.
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .env(HAND_BACK, "0")
        .arg("-o")
        .arg(helper_options(options))
        .arg("--")
        .arg(full)
        .spawn()
        .map_err(refused)?;
    let device = receive(&ours);
    let output = child.wait_with_output().map_err(refused)?;
    match device {
        Some(device) if output.status.success() => Ok(device),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            if said.contains("user_allow_other") {
                Err(MountError::AllowOtherDenied)
            } else {
                Err(MountError::Refused { said })
            }
        }
    }
}

fn helper_options(options: &MountOptions) -> OsString {
    let mut text = b"subtype=warifu,nosuid,nodev,fsname=".to_vec();
    text.extend_from_slice(escape(options.fsname.as_ref()).as_bytes());
    for (wanted, word) in [
        (options.default_permissions, ",default_permissions"),
        (options.allow_other, ",allow_other"),
        (options.read_only, ",ro"),
    ] {
        if wanted {
            text.extend_from_slice(word.as_bytes());
        }
    }
    OsString::from_vec(text)
}

/// The device that the helper hands back; `None` when it ended without.
fn receive(socket: &UnixStream) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0_u8; 1];
    loop {
        match recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_is_told_what_the_kernel_would_be() {
        let mut options = MountOptions::new("/mnt");
        options.fsname = "a,b".into();
        assert_eq!(
            helper_options(&options),
            r"subtype=warifu,nosuid,nodev,fsname=a\,b,default_permissions"
        );
        (
            options.read_only,
            options.allow_other,
            options.default_permissions,
        ) = (true, true, false);
        assert_eq!(
            helper_options(&options),
            r"subtype=warifu,nosuid,nodev,fsname=a\,b,allow_other,ro"
        );
    }

    #[test]
    fn a_helper_that_ends_without_a_device_is_noticed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(receive(&ours).is_none());
    }
}

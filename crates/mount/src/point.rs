//! Mount points: which folders a drive may be mounted on, what is mounted where, and taking it away.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::mounting::MountError;

/// The kind of file system under which drives show, as in `/proc/mounts`.
pub(crate) const KIND: &str = "fuse.warifu";

/// The number of a device: major and minor.
pub(crate) type Device = (u32, u32);

/// One line of the kernel's table of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where.
    pub(crate) point: PathBuf,
    /// Which device.
    pub(crate) device: Device,
    /// What kind of file system.
    pub(crate) kind: String,
}

/// What is mounted on a folder: the topmost, where several lie on each other.
pub(crate) fn mounted_on(dir: &Path) -> io::Result<Option<Mount>> {
    let table = fs::read("/proc/self/mountinfo")?;
    Ok(table
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .rfind(|mount| mount.point == dir))
}

/// Reads `36 35 98:0 /root /point opts tags - kind source opts`.
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let point = unescape(fields.nth(1)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Mount {
        point: PathBuf::from(OsString::from_vec(point)),
        device: (major.parse().ok()?, minor.parse().ok()?),
        kind: String::from_utf8_lossy(kind).into_owned(),
    })
}

/// Blanks, tabs, line ends and backslashes stand in the table as three octal digits.
pub(crate) fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        if let ([b'\\', a, b, c, after @ ..], true) = (rest, *first == b'\\') {
            let digits = [a, b, c].map(|digit| char::from(*digit).to_digit(8));
            if let [Some(high), Some(middle), Some(low)] = digits
                && let Ok(byte) = u8::try_from(high << 6 | middle << 3 | low)
            {
                bytes.push(byte);
                rest = after;
                continue;
            }
        }
        bytes.push(*first);
        rest = tail;
    }
    bytes
}

/// The folder's full path. Its last component is not looked at: what is mounted there may be dead.
fn full_path(dir: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(dir)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name))
            if !fs::symlink_metadata(&absolute).is_ok_and(|meta| meta.is_symlink()) =>
        {
            Ok(parent.canonicalize()?.join(name))
        }
        _ => absolute.canonicalize(),
    }
}

/// Makes sure that a drive can be mounted on `dir`, clearing away what a killed mount process left there. Returns the
/// folder's full path.
pub(crate) fn prepare(dir: &Path, keep_out: &[PathBuf]) -> Result<PathBuf, MountError> {
    let unusable = |source| match io::Error::kind(&source) {
        io::ErrorKind::NotFound => MountError::NoSuchDir {
            dir: dir.to_owned(),
        },
        _ => MountError::Unusable {
            dir: dir.to_owned(),
            source,
        },
    };
    let full = full_path(dir).map_err(unusable)?;
    if let Err(error) = fs::metadata(&full) {
        if !is_dead(&error) {
            return Err(unusable(error));
        }
        match mounted_on(&full).map_err(unusable)? {
            Some(mount) if mount.kind == KIND => detach(&full).map_err(unusable)?,
            other => {
                let kind = other.map(|mount| mount.kind).unwrap_or_default();
                return Err(MountError::Dead { dir: full, kind });
            }
        }
        tracing::info!(
            "the drive of a process that was killed was still mounted there, and is unmounted"
        );
    }
    if !fs::metadata(&full).map_err(unusable)?.is_dir() {
        return Err(MountError::NotADir { dir: full });
    }
    if mounted_on(&full)
        .map_err(unusable)?
        .is_some_and(|mount| mount.kind == KIND)
    {
        return Err(MountError::AlreadyMounted { dir: full });
    }
    for place in keep_out {
        // A server that is away has no folder to be inside of.
        if let Ok(place) = place.canonicalize()
            && (full.starts_with(&place) || place.starts_with(&full))
        {
            return Err(MountError::InsideServer {
                dir: full,
                server: place,
            });
        }
    }
    if fs::read_dir(&full).map_err(unusable)?.next().is_some() {
        return Err(MountError::NotEmpty { dir: full });
    }
    Ok(full)
}

fn is_dead(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error())
}

/// Why a drive was not unmounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UmountError {
    /// No warifu drive is mounted there.
    #[error("no warifu drive is mounted on {dir}")]
    NotADrive {
        /// The folder.
        dir: PathBuf,
    },
    /// Programs have files or folders of the drive open.
    #[error("programs still use the drive on {dir}")]
    Busy {
        /// The folder.
        dir: PathBuf,
    },
    /// An ordinary user needs the program `fusermount3`, and it is not there.
    #[error("the program fusermount3 is not installed")]
    NoHelper,
    /// The system refused.
    #[error("{dir} could not be unmounted: {said}")]
    Refused {
        /// The folder.
        dir: PathBuf,
        /// What the system, or `fusermount3`, said.
        said: String,
    },
}

/// Unmounts the drive on a folder, whoever mounted it. The mount process then saves what is left and ends; a drive whose
/// process was killed is cleared away.
///
/// # Errors
/// [`UmountError::NotADrive`]; [`UmountError::Busy`] while programs use the drive; [`UmountError::NoHelper`],
/// [`UmountError::Refused`].
pub fn umount(dir: &Path) -> Result<(), UmountError> {
    let refused = |error: io::Error| UmountError::Refused {
        dir: dir.to_owned(),
        said: error.to_string(),
    };
    let full = full_path(dir).map_err(refused)?;
    match mounted_on(&full).map_err(refused)? {
        Some(mount) if mount.kind == KIND => {}
        _ => return Err(UmountError::NotADrive { dir: full }),
    }
    if fs::metadata(&full).is_err_and(|error| is_dead(&error)) {
        return detach(&full).map_err(refused);
    }
    take_away(&full)
}

/// Unmounts what is on a folder, unless it is in use.
pub(crate) fn take_away(full: &Path) -> Result<(), UmountError> {
    match unmount(full, UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(UmountError::Busy {
            dir: full.to_owned(),
        }),
        // Not mounted any more: somebody was quicker.
        Err(Errno::INVAL) => Ok(()),
        // Only root may, and everybody else with the helper's permission.
        Err(Errno::PERM) => match helper().ok_or(UmountError::NoHelper)?.unmount(full, &[]) {
            Ok(()) => Ok(()),
            Err(said) if said.contains("busy") => Err(UmountError::Busy {
                dir: full.to_owned(),
            }),
            Err(said) => Err(UmountError::Refused {
                dir: full.to_owned(),
                said,
            }),
        },
        Err(error) => Err(UmountError::Refused {
            dir: full.to_owned(),
            said: error.to_string(),
        }),
    }
}

/// Takes what is on a folder out of the tree. Programs that use it keep what they have.
pub(crate) fn detach(full: &Path) -> io::Result<()> {
    match unmount(full, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(Errno::PERM) => {
            let helper = helper()
                .ok_or_else(|| io::Error::other("the program fusermount3 is not installed"))?;
            helper.unmount(full, &["-z"]).map_err(io::Error::other)
        }
        Err(error) => Err(error.into()),
    }
}

/// Cuts a drive off: every request under way and every later one fails. The last resort for a drive in use.
pub(crate) fn abort(full: &Path, device: Option<Device>) {
    let by_control = device.is_some_and(|(_, minor)| {
        // Belongs to whoever mounted the drive, where the control file system is there at all.
        fs::write(format!("/sys/fs/fuse/connections/{minor}/abort"), "1").is_ok()
    });
    if !by_control {
        // Fails with "busy" and cuts off all the same; for root only.
        let _ = unmount(full, UnmountFlags::FORCE | UnmountFlags::NOFOLLOW);
    }
}

/// The program by which an ordinary user mounts and unmounts: `fusermount3` of Debian's package fuse3.
#[derive(Debug)]
pub(crate) struct Helper {
    path: PathBuf,
}

/// Finds the helper where programs are, and where they are for root.
pub(crate) fn helper() -> Option<Helper> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let known = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let dirs: Vec<PathBuf> = std::env::split_paths(&paths)
        .filter(|dir| dir.is_absolute())
        .chain(known)
        .collect();
    let found = ["fusermount3", "fusermount"].iter().find_map(|name| {
        dirs.iter()
            .map(|dir| dir.join(name))
            .find(|path| path.is_file())
    });
    found.map(|path| Helper { path })
}

impl Helper {
    /// The helper, to be run with further arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        // What it says is looked at, so it must not be translated.
        command
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn unmount(&self, full: &Path, more: &[&str]) -> Result<(), String> {
        let output = self
            .command()
            .arg("-u")
            .args(more)
            .arg("--")
            .arg(full)
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// A value for a mount option: commas and backslashes would end it.
pub(crate) fn escape(value: &OsStr) -> OsString {
    let mut bytes = Vec::with_capacity(value.len());
    for byte in value.as_bytes() {
        if matches!(byte, b',' | b'\\') {
            bytes.push(b'\\');
        }
        bytes.push(*byte);
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_mounts_is_read_to_the_letter() {
        let line = br"36 35 0:98 / /mnt/a\040b\134c rw,nosuid shared:1 master:2 - fuse.warifu office.toml rw,user_id=0";
        let mount = Mount {
            point: PathBuf::from(r"/mnt/a b\c"),
            device: (0, 98),
            kind: KIND.to_owned(),
        };
        assert_eq!(parse(line), Some(mount));
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"36 35 0:98 / /mnt"), None);
        assert_eq!(unescape(br"\04 \999 \"), br"\04 \999 \");
    }

    #[test]
    fn the_root_is_mounted_and_a_fresh_folder_is_not() {
        assert!(mounted_on(Path::new("/")).unwrap().is_some());
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(mounted_on(dir.path()).unwrap(), None);
    }

    #[test]
    fn a_mount_point_must_be_an_empty_folder_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("empty")).unwrap();
        fs::create_dir_all(at("server/objects")).unwrap();
        fs::create_dir_all(at("full/inside")).unwrap();
        fs::write(at("file"), "x").unwrap();
        let keep_out = [at("server"), at("away")];
        assert!(prepare(&at("empty"), &keep_out).is_ok());
        assert!(matches!(
            prepare(&at("none"), &keep_out),
            Err(MountError::NoSuchDir { .. })
        ));
        assert!(matches!(
            prepare(&at("none/deeper"), &keep_out),
            Err(MountError::NoSuchDir { .. })
        ));
        assert!(matches!(
            prepare(&at("file"), &keep_out),
            Err(MountError::NotADir { .. })
        ));
        assert!(matches!(
            prepare(&at("full"), &keep_out),
            Err(MountError::NotEmpty { .. })
        ));
        assert!(matches!(
            prepare(&at("server/objects"), &keep_out),
            Err(MountError::InsideServer { .. })
        ));
        assert!(matches!(
            prepare(dir.path(), &keep_out),
            Err(MountError::InsideServer { .. })
        ));
        std::os::unix::fs::symlink(at("empty"), at("link")).unwrap();
        assert_eq!(
            prepare(&at("link"), &[]).unwrap(),
            at("empty").canonicalize().unwrap()
        );
    }

    #[test]
    fn what_is_no_drive_is_not_unmounted() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            umount(dir.path()),
            Err(UmountError::NotADrive { .. })
        ));
        assert!(matches!(
            umount(Path::new("/proc")),
            Err(UmountError::NotADrive { .. })
        ));
    }

    #[test]
    fn option_values_cannot_bring_further_options() {
        assert_eq!(
            escape(OsStr::new(r"a,suid\b")),
            OsString::from(r"a\,suid\\b")
        );
    }
}

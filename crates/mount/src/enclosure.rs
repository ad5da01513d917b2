//! Shutting a program in with a drive: what it writes elsewhere goes to RAM or is refused.
//!
//! A viewer leaves more on disks than the document: temporary files, caches, thumbnails, lists of recent files, autosaves. So
//! it gets a tree of its own, in which those places are in RAM, and a rule of the kernel's (Landlock) that it cannot shake off
//! and that everything it starts inherits: nothing else can be written.
//!
//! 1. The process that serves the drive moves into a mount namespace of its own ([`own_tree`]), so that nobody else sees the
//!    drive. An ordinary user needs a user namespace for that, and then mounts without any helper.
//! 2. A second process moves into another one, lays RAM over the places ([`Enclosure::close`]), and becomes the program.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, path_beneath_rules,
};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, unmount,
};

/// Why a program cannot be shut in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnclosureError {
    /// The kernel gives this user no namespaces.
    #[error("the kernel does not allow this user namespaces: {source}")]
    NoNamespaces {
        /// What it said.
        source: io::Error,
    },
    /// The kernel has no Landlock, or it is switched off.
    #[error("the kernel has no Landlock")]
    NoLandlock,
    /// Something was refused on the way.
    #[error("{step}: {source}")]
    Failed {
        /// What was being done.
        step: String,
        /// What the system said.
        source: io::Error,
    },
}

fn failed(step: impl Into<String>) -> impl FnOnce(io::Error) -> EnclosureError {
    let step = step.into();
    move |source| EnclosureError::Failed { step, source }
}

/// Moves this process into a mount namespace of its own: what is mounted from here on, nobody else sees. Must be called while
/// the process has one thread, and before [`protect_process`](crate::protect_process), after which an ordinary user's own
/// `/proc` is closed to it.
///
/// # Errors
/// [`EnclosureError::NoNamespaces`]; [`EnclosureError::Failed`].
pub fn own_tree() -> Result<(), EnclosureError> {
    own(CloneFlags::CLONE_NEWNS)
}

fn own(flags: CloneFlags) -> Result<(), EnclosureError> {
    let refused = |error: nix::Error| EnclosureError::NoNamespaces {
        source: error.into(),
    };
    match unshare(flags) {
        Ok(()) => {}
        // Who is not root needs to be root of a user namespace; there they stay who they are.
        Err(nix::Error::EPERM) => {
            let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
            unshare(flags | CloneFlags::CLONE_NEWUSER).map_err(refused)?;
            let map = |file: &str, text: String| {
                fs::write(file, text).map_err(|source| EnclosureError::NoNamespaces { source })
            };
            map("/proc/self/setgroups", "deny".to_owned())?;
            map("/proc/self/uid_map", format!("{0} {0} 1", uid.as_raw()))?;
            map("/proc/self/gid_map", format!("{0} {0} 1", gid.as_raw()))?;
        }
        Err(error) => return Err(refused(error)),
    }
    // What is mounted outside later still shows here, and nothing of ours there.
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    // Some systems give the namespace and take away what it is good for.
    .map_err(|error| EnclosureError::NoNamespaces {
        source: error.into(),
    })
}

/// How a program is to be shut in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Enclosure {
    /// Where the drive is mounted.
    pub drive: PathBuf,
    /// What the drive is called in the program's home folder.
    pub name: OsString,
    /// Whether the program keeps the network.
    pub network: bool,
}

/// What the program must be told. Whoever starts it sets these.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Enclosed {
    /// Where the program finds the drive.
    pub drive: PathBuf,
    /// Environment variables.
    pub environment: Vec<(&'static str, OsString)>,
}

/// Folders that are for temporary files, on every system.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];
/// Sockets of the screen, which programs look for in `/tmp`.
const SCREENS: [&str; 2] = [".X11-unix", ".ICE-unix"];
/// Devices that may be written to: they keep nothing.
const DEVICES: [&str; 10] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/dri",
    "/dev/snd",
];

impl Enclosure {
    /// A program with the drive at `drive`, which it will find under `name` in its home folder.
    pub fn new(drive: impl Into<PathBuf>, name: impl Into<OsString>) -> Self {
        Self {
            drive: drive.into(),
            name: name.into(),
            network: true,
        }
    }

    /// Shuts this process in; it can only become the program after that. It must have one thread.
    ///
    /// # Errors
    /// [`EnclosureError`]. The process may be half shut in then, and should end.
    pub fn close(&self) -> Result<Enclosed, EnclosureError> {
        let mut flags = CloneFlags::CLONE_NEWNS;
        if !self.network {
            flags |= CloneFlags::CLONE_NEWNET;
        }
        own(flags)?;
        let places = Places::of_environment();
        // Held open, they can be reached when RAM lies over the way to them.
        let drive = hold(&self.drive)?;
        let home = hold(&places.home)?;
        let screens: Vec<(PathBuf, OwnedFd)> = SCREENS
            .iter()
            .filter_map(|name| {
                let path = Path::new("/tmp").join(name);
                hold(&path).ok().map(|held| (path, held))
            })
            .collect();

        let stage = Path::new("/var/tmp");
        let staged = stage.is_dir() && !places.home.starts_with(stage);
        let layers = if staged {
            ram_over(stage, "mode=700")?;
            Some((layer(stage, "up")?, layer(stage, "work")?))
        } else {
            None
        };
        // A home folder in /tmp goes where /tmp goes.
        ram_over(Path::new("/tmp"), "mode=1777")?;
        fs::create_dir_all(&places.home).map_err(failed(places.home.display().to_string()))?;
        if places.home != Path::new("/tmp") {
            cover_home(&places.home, &home, layers.as_ref())?;
        }
        if staged {
            drop(layers);
            unmount(stage, UnmountFlags::DETACH)
                .map_err(|error| failed(stage.display().to_string())(error.into()))?;
        }
        if stage.is_dir() && !places.home.starts_with(stage) {
            ram_over(stage, "mode=1777")?;
        }
        for (path, held) in &screens {
            let _ = fs::create_dir(path);
            bind_read_only(held, path)?;
        }
        let seen = self.lay_in(&places.home, &drive)?;
        for folder in &places.private {
            fs::create_dir_all(folder).map_err(failed(folder.display().to_string()))?;
        }
        restrict(&places, &seen)?;
        let mut environment = places.environment;
        environment.push(("WARIFU_DRIVE", seen.clone().into_os_string()));
        Ok(Enclosed {
            drive: seen,
            environment,
        })
    }

    /// Shows the drive in the home folder.
    fn lay_in(&self, home: &Path, drive: &OwnedFd) -> Result<PathBuf, EnclosureError> {
        let mut name = self.name.clone();
        for _ in 0..100 {
            let place = home.join(&name);
            // What people have under that name stays in sight, unless it is a mere mount point.
            let taken = match fs::read_dir(&place) {
                Ok(mut entries) => entries.next().is_some(),
                Err(error) => error.kind() != io::ErrorKind::NotFound,
            };
            if taken {
                name.push("_");
                continue;
            }
            fs::create_dir_all(&place).map_err(failed(place.display().to_string()))?;
            bind(drive, &place)?;
            return Ok(place);
        }
        Err(failed(home.display().to_string())(
            io::ErrorKind::AlreadyExists.into(),
        ))
    }
}

/// Where the program will want to write.
struct Places {
    home: PathBuf,
    /// Folders of the home folder that are the program's own.
    private: Vec<PathBuf>,
    /// What lies in RAM already.
    runtime: Option<PathBuf>,
    environment: Vec<(&'static str, OsString)>,
}

impl Places {
    fn of_environment() -> Self {
        let absolute = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let home = absolute("HOME")
            .and_then(|home| home.canonicalize().ok())
            .filter(|home| home.is_dir() && home.parent().is_some());
        // Without a home folder, or with the whole system as one, it gets one in RAM.
        let home = home.unwrap_or_else(|| PathBuf::from("/tmp"));
        let mut private = vec![home.join(".local")];
        let mut environment = vec![
            ("HOME", home.clone().into_os_string()),
            ("TMPDIR", OsString::from("/tmp")),
        ];
        for (name, usual) in [
            ("XDG_CONFIG_HOME", ".config"),
            ("XDG_CACHE_HOME", ".cache"),
            ("XDG_DATA_HOME", ".local/share"),
            ("XDG_STATE_HOME", ".local/state"),
        ] {
            let usual = home.join(usual);
            let place = absolute(name)
                .filter(|place| place.starts_with(&home) && *place != home)
                .unwrap_or(usual);
            environment.push((name, place.clone().into_os_string()));
            private.push(place);
        }
        let runtime = absolute("XDG_RUNTIME_DIR").filter(|path| is_in_ram(path));
        Self {
            home,
            private,
            runtime,
            environment,
        }
    }
}

fn is_in_ram(path: &Path) -> bool {
    /// tmpfs, in `linux/magic.h`.
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::statfs(path).is_ok_and(|found| u64::try_from(found.f_type) == Ok(TMPFS))
}

fn hold(path: &Path) -> Result<OwnedFd, EnclosureError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| failed(path.display().to_string())(error.into()))
}

fn through(held: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

fn layer(stage: &Path, name: &str) -> Result<PathBuf, EnclosureError> {
    let path = stage.join(name);
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&path)
        .map_err(failed(path.display().to_string()))?;
    Ok(path)
}

/// Lays RAM over a folder: out of reach of swap where the kernel lets this user say so.
fn ram_over(place: &Path, mode: &str) -> Result<(), EnclosureError> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let lay = |options: &str| {
        let options = CString::new(options).map_err(|_| rustix::io::Errno::INVAL)?;
        mount("warifu", place, "tmpfs", flags, options.as_c_str())
    };
    lay(&format!("{mode},noswap"))
        .or_else(|_| lay(mode))
        .map_err(|error| failed(place.display().to_string())(error.into()))
}

/// The home folder: as it is to read, with all that is written to it in RAM. Where the kernel cannot do that, an empty one.
fn cover_home(
    home: &Path,
    below: &OwnedFd,
    layers: Option<&(PathBuf, PathBuf)>,
) -> Result<(), EnclosureError> {
    let layered = layers.is_some_and(|(up, work)| {
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            through(below).display(),
            up.display(),
            work.display()
        );
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        // In a user namespace the layers' notes must be of the user's kind.
        [options.clone() + ",userxattr", options]
            .iter()
            .any(|options| {
                CString::new(options.as_str()).is_ok_and(|options| {
                    mount("warifu", home, "overlay", flags, options.as_c_str()).is_ok()
                })
            })
    });
    if layered {
        // The upper layer's folder is what shows as the home folder itself.
        Ok(())
    } else {
        ram_over(home, "mode=700")
    }
}

fn bind(source: &OwnedFd, target: &Path) -> Result<(), EnclosureError> {
    mount_bind(through(source), target)
        .map_err(|error| failed(target.display().to_string())(error.into()))
}

/// Sockets can be used in what is read-only, and nothing can be put beside them. Where it cannot be made so, they are left away.
fn bind_read_only(source: &OwnedFd, target: &Path) -> Result<(), EnclosureError> {
    bind(source, target)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    // An ordinary user must keep what the mount has of these.
    mount_remount(target, flags, c"")
        .or_else(|_| mount_remount(target, flags | MountFlags::NOEXEC, c""))
        .or_else(|_| unmount(target, UnmountFlags::DETACH))
        .map_err(|error| failed(target.display().to_string())(error.into()))
}

/// Writing anywhere but here is refused from now on, to this process and all that it starts.
fn restrict(places: &Places, drive: &Path) -> Result<(), EnclosureError> {
    let refused = |error: landlock::RulesetError| EnclosureError::Failed {
        step: "Landlock".to_owned(),
        source: io::Error::other(error),
    };
    // Truncating came with the third version, moving between folders with the second. Without the first nothing is worth it.
    let access = AccessFs::from_write(ABI::V3);
    let writable = TEMPORARY
        .iter()
        .chain(&DEVICES)
        .map(PathBuf::from)
        .chain(
            ["/dev/shm"]
                .iter()
                .map(PathBuf::from)
                .filter(|shm| is_in_ram(shm)),
        )
        .chain(places.private.iter().cloned())
        .chain(places.runtime.clone())
        .chain([drive.to_owned()]);
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(access)
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(path_beneath_rules(writable, access)))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(refused)?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(EnclosureError::NoLandlock),
        _ => Ok(()),
    }
}

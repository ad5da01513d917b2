//! Mounting a vault, and unmounting it without losing anything silently.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fuser::{Config, Session, SessionACL};
use tokio::runtime::Handle;
use tokio::sync::watch;
use warifu_vault::{Context, Unsaved, Vault, VaultError};

use crate::caller::{Caller, Callers};
use crate::coherence;
use crate::device;
use crate::drive::Drive;
use crate::hygiene::{Hygiene, protect_process};
use crate::kernel::Agreed;
use crate::lanes::Lanes;
use crate::point::{self, UmountError};
use crate::skin::Skin;

/// How long requests under way may take to end when the drive goes. Each server call ends by itself before that.
const DRAIN: Duration = Duration::from_secs(120);
/// How long a drive in use is given to become free by itself: closed files are let go a moment later.
const BUSY_TRIES: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// How long to wait for the kernel once the drive is unmounted, or cut off.
const FAREWELL: Duration = Duration::from_secs(10);

/// How contents are cached by the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caching {
    /// Not at all, apart from files mapped into memory; [`Pages`](Self::Pages) where the kernel cannot (before Linux 6.6).
    #[default]
    Direct,
    /// In its page cache while the file is open.
    Pages,
}

/// Where and how to mount.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MountOptions {
    /// The folder to mount on: there, empty, and outside of every server's folder.
    pub dir: PathBuf,
    /// Whether other users than the one who mounts may use the drive. Where that one is not root, `/etc/fuse.conf` must
    /// have the line `user_allow_other`.
    pub allow_other: bool,
    /// Whether changes are refused by the kernel already.
    pub read_only: bool,
    /// What the drive is called in the system's table of mounts, such as the vault file's name.
    pub fsname: String,
    /// Whether the kernel checks permissions by mode, owner and access control lists. Without it everybody who may use the drive may do all.
    pub default_permissions: bool,
    /// Folders that the drive must not lie in nor cover: those of the vault's servers.
    pub keep_out: Vec<PathBuf>,
    /// How contents are cached by the kernel.
    pub caching: Caching,
    /// How many threads read the kernel's requests; `None` for twice as many as there are processors, from 4 to 16.
    pub threads: Option<usize>,
}

impl MountOptions {
    /// A drive on `dir`, for its owner only, with permissions checked.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            allow_other: false,
            read_only: false,
            fsname: "warifu".to_owned(),
            default_permissions: true,
            keep_out: Vec::new(),
            caching: Caching::default(),
            threads: None,
        }
    }
}

/// Why a vault was not mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// There is no such folder.
    #[error("there is no folder {dir}")]
    NoSuchDir {
        /// The folder asked for.
        dir: PathBuf,
    },
    /// It is no folder.
    #[error("{dir} is not a folder")]
    NotADir {
        /// What was asked for.
        dir: PathBuf,
    },
    /// Something is in the folder, and would be hidden.
    #[error("the folder {dir} is not empty")]
    NotEmpty {
        /// The folder asked for.
        dir: PathBuf,
    },
    /// A drive is mounted there already.
    #[error("a warifu drive is mounted on {dir} already")]
    AlreadyMounted {
        /// The folder asked for.
        dir: PathBuf,
    },
    /// The folder belongs to one of the vault's own servers, or one of them lies in it.
    #[error("{dir} and the vault's own folder {server} lie in each other")]
    InsideServer {
        /// The folder asked for.
        dir: PathBuf,
        /// The vault's own folder.
        server: PathBuf,
    },
    /// A file system of another program is mounted there, and its process is gone.
    #[error("a dead file system of kind \"{kind}\" is mounted on {dir}")]
    Dead {
        /// The folder asked for.
        dir: PathBuf,
        /// The kind of file system.
        kind: String,
    },
    /// The folder cannot be looked at.
    #[error("the folder {dir} cannot be used: {source}")]
    Unusable {
        /// The folder asked for.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// This machine has no `/dev/fuse`: the kernel's module is not loaded, or the container was not given the device.
    #[error("/dev/fuse is not there")]
    NoDevice,
    /// This user may not open `/dev/fuse`.
    #[error("this user may not open /dev/fuse")]
    DeviceDenied,
    /// Who is not root needs the program `fusermount3`.
    #[error("the program fusermount3 is not installed")]
    NoHelper,
    /// Who is not root may let others use the drive only where root has allowed it.
    #[error("/etc/fuse.conf does not allow drives that other users may use")]
    AllowOtherDenied,
    /// The system refused.
    #[error("the system refused to mount: {said}")]
    Refused {
        /// What the system, or `fusermount3`, said.
        said: String,
    },
    /// The kernel and this program could not agree.
    #[error("the kernel did not take the drive: {0}")]
    Handshake(#[source] std::io::Error),
    /// The mounting could not be written into the audit log, so it was not done.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl MountError {
    /// The Debian package that is missing, where that is the reason. Files can be put and got without a drive.
    #[must_use]
    pub const fn package(&self) -> Option<&'static str> {
        match self {
            Self::NoHelper => Some("fuse3"),
            _ => None,
        }
    }

    /// Whether this machine, or this user on it, cannot mount anything at all, whatever the folder.
    #[must_use]
    pub const fn is_without_fuse(&self) -> bool {
        matches!(self, Self::NoDevice | Self::DeviceDenied | Self::NoHelper)
    }
}

/// The way to a [`Mounted`] vault.
#[derive(Debug)]
pub struct Mount;

impl Mount {
    /// Mounts a vault. The drive's work is done on `runtime`, which must be one of several threads and must outlive it.
    ///
    /// The process is [protected](protect_process) first.
    ///
    /// # Errors
    /// [`MountError`], and nothing is mounted.
    #[allow(clippy::new_ret_no_self)]
    pub async fn new(
        vault: Vault,
        options: MountOptions,
        runtime: Handle,
    ) -> Result<Mounted, MountError> {
        let hygiene = protect_process();
        if !hygiene.is_complete() {
            tracing::warn!("{hygiene}");
        }
        let context = Callers::new().act(Caller::this_process()).await;
        let drive = Drive::new(vault.clone());
        let lanes = Arc::new(Lanes::new(runtime.clone()));
        let agreed = Agreed {
            caching: options.caching,
            permissions: options.default_permissions,
        };
        let skin = Skin::new(Arc::clone(&drive), Arc::clone(&lanes), agreed);

        let prepare = {
            let (dir, keep_out) = (options.dir.clone(), options.keep_out.clone());
            runtime.spawn_blocking(move || point::prepare(&dir, &keep_out))
        };
        let dir = prepare.await.map_err(lost)??;
        vault
            .attach(&context, &format!("drive on {}", dir.display()))
            .await?;
        vault.join(&context, &dir.display().to_string()).await?;
        let attaching = {
            let dir = dir.clone();
            runtime.spawn_blocking(move || attach(skin, &dir, &options))
        };
        let (session, device) = match attaching.await.map_err(lost).flatten() {
            Ok(attached) => attached,
            Err(error) => {
                if let Err(error) = vault.leave().await {
                    tracing::debug!(%error, "a drive that was not mounted could not take its leave");
                }
                return Err(error);
            }
        };

        drive.set_notifier(Some(session.notifier()));
        runtime.spawn(coherence::follow(Arc::clone(&drive)));
        let (tell, ended) = watch::channel(false);
        let mounted = Mounted {
            dir,
            device,
            vault,
            drive,
            lanes,
            ended,
            context,
            hygiene,
        };
        let served = std::thread::Builder::new().name("warifu-drive".to_owned()).spawn(move || {
            // Tells of the end also when the thread panics.
            let _tell = TellOnDrop(tell);
            if let Err(error) = session.run() {
                tracing::warn!(%error, "the drive's connection to the kernel ended with an error");
            }
        });
        match served {
            Ok(_) => Ok(mounted),
            // Dropping what is mounted unmounts it.
            Err(error) => Err(MountError::Handshake(error)),
        }
    }
}

/// Mounts and shakes hands. Blocks until the kernel has answered.
fn attach(
    skin: Skin,
    dir: &Path,
    options: &MountOptions,
) -> Result<(Session<Skin>, Option<point::Device>), MountError> {
    let device = device::attach(dir, options)?;
    let number = point::mounted_on(dir)
        .ok()
        .flatten()
        .map(|mount| mount.device);
    let acl = if options.allow_other {
        SessionACL::All
    } else {
        SessionACL::Owner
    };
    let mut config = Config::default();
    config.acl = acl;
    config.n_threads = Some(options.threads.unwrap_or_else(threads).max(1));
    config.clone_fd = true;
    match Session::from_fd(skin, device, acl, config) {
        Ok(session) => Ok((session, number)),
        Err(error) => {
            if let Err(error) = point::detach(dir) {
                tracing::warn!(%error, "a drive that the kernel did not take could not be unmounted");
            }
            Err(MountError::Handshake(error))
        }
    }
}

/// Threads that read requests and answer what needs nobody else: enough that one that the disk holds up is not missed.
fn threads() -> usize {
    std::thread::available_parallelism()
        .map_or(2, std::num::NonZero::get)
        .saturating_mul(2)
        .clamp(4, 16)
}

fn lost(error: tokio::task::JoinError) -> MountError {
    MountError::Handshake(std::io::Error::other(error))
}

struct TellOnDrop(watch::Sender<bool>);

impl Drop for TellOnDrop {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// What became of a drive.
#[derive(Debug)]
pub struct Ended {
    /// The files whose last changes are lost, each with the reason. Empty when all is well.
    pub unsaved: Vec<Unsaved>,
    /// Whether programs still had files or folders open, and were cut off. What they had written was saved first.
    pub forced: bool,
}

/// A mounted vault. [`unmount`](Self::unmount) ends it well; a mounted vault that is dropped is taken out of the tree at
/// once, and what is not saved yet is not saved.
#[derive(Debug)]
pub struct Mounted {
    dir: PathBuf,
    device: Option<point::Device>,
    vault: Vault,
    drive: Arc<Drive>,
    lanes: Arc<Lanes>,
    ended: watch::Receiver<bool>,
    context: Context,
    hygiene: Hygiene,
}

impl Mounted {
    /// The folder it is mounted on, as a full path.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How well the process is sealed off.
    #[must_use]
    pub fn hygiene(&self) -> &Hygiene {
        &self.hygiene
    }

    /// Waits until somebody else unmounts the drive. [`unmount`](Self::unmount) must still be called then: it saves what
    /// is left and tells what is lost.
    pub async fn wait(&self) {
        // An error means that the teller is gone, which it is only after telling.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Waits until somebody else unmounts the drive or `stop` is done, such as the coming of a signal, and ends the drive.
    pub async fn until(self, stop: impl Future<Output = ()>) -> Ended {
        tokio::select! {
            () = self.wait() => {}
            () = stop => {}
        }
        self.unmount().await
    }

    /// Unmounts the drive, saves what is not saved yet, and says what could not be. Programs that still use the drive
    /// after a second are cut off; what they had written up to then is saved first.
    pub async fn unmount(self) -> Ended {
        let mut forced = false;
        let mut unsaved = Vec::new();
        if !self.has_ended() && !self.take_away().await {
            forced = true;
            self.write_back().await;
            // While the drive is still there, so that a slow server delays the programs and does not lose their work.
            unsaved = self.vault.shutdown(&self.context).await;
            self.cut_off().await;
        }
        if tokio::time::timeout(FAREWELL, self.wait()).await.is_err() {
            tracing::warn!(
                "programs still hold the drive; it is gone when they or this process end"
            );
        }
        self.drive.set_notifier(None);
        if !self.lanes.drained(DRAIN).await {
            tracing::warn!("requests were still under way when the drive ended");
        }
        for loss in self.vault.shutdown(&self.context).await {
            // A file that is open still, and could not be saved the first time either.
            if unsaved
                .iter()
                .all(|known: &Unsaved| known.path != loss.path)
            {
                unsaved.push(loss);
            }
        }
        Ended { unsaved, forced }
    }

    fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Whether what is mounted on the folder is this drive, and not what somebody mounted since.
    fn is_ours(dir: &Path, device: Option<point::Device>) -> bool {
        // The kernel uses the numbers of devices again at once, so the number alone says little.
        let Ok(Some(mount)) = point::mounted_on(dir) else {
            return false;
        };
        mount.kind == point::KIND && device.is_none_or(|device| device == mount.device)
    }

    /// Unmounts unless the drive is in use; false when it is, or cannot be unmounted.
    async fn take_away(&self) -> bool {
        for _ in 0..BUSY_TRIES {
            let (dir, device) = (self.dir.clone(), self.device);
            let taken = self.lanes.runtime().spawn_blocking(move || {
                if Self::is_ours(&dir, device) {
                    point::take_away(&dir)
                } else {
                    Ok(())
                }
            });
            match taken.await {
                Ok(Ok(())) => return true,
                Ok(Err(UmountError::Busy { .. })) => tokio::time::sleep(BUSY_PAUSE).await,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the drive could not be unmounted, and is cut off");
                    return false;
                }
                Err(_) => return false,
            }
        }
        false
    }

    /// Asks the kernel for what programs have changed in mapped files.
    async fn write_back(&self) {
        let dir = self.dir.clone();
        let synced = self.lanes.runtime().spawn_blocking(move || {
            rustix::fs::open(
                &dir,
                rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
                rustix::fs::Mode::empty(),
            )
            .and_then(rustix::fs::syncfs)
        });
        if !matches!(tokio::time::timeout(FAREWELL, synced).await, Ok(Ok(Ok(())))) {
            tracing::warn!("the kernel did not hand over all changes of mapped files");
        }
        self.lanes.drained(DRAIN).await;
    }

    async fn cut_off(&self) {
        let (dir, device) = (self.dir.clone(), self.device);
        let cut = self
            .lanes
            .runtime()
            .spawn_blocking(move || cut_off(&dir, device));
        if cut.await.is_err() {
            tracing::warn!("the drive could not be cut off");
        }
    }
}

fn cut_off(dir: &Path, device: Option<point::Device>) {
    if !Mounted::is_ours(dir, device) {
        return;
    }
    point::abort(dir, device);
    if let Err(error) = point::detach(dir) {
        tracing::warn!(%error, "the drive could not be unmounted");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.drive.set_notifier(None);
        if !self.has_ended() {
            cut_off(&self.dir, self.device);
        }
    }
}

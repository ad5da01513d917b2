//! The drive: a warifu vault as a file system that every program can use.
//!
//! The only crate that knows FUSE. It is a thin skin: the kernel's calls are translated, handed to the vault, and
//! answered; what a file is, how it is saved and what a rename means, the vault knows.
//!
//! ```no_run
//! use warifu_mount::{Mount, MountOptions};
//!
//! # async fn example(vault: warifu_vault::Vault, stop: impl Future<Output = ()>) -> Result<(), warifu_mount::MountError> {
//! let options = MountOptions::new("/home/hanako/office");
//! let mounted = Mount::new(vault, options, tokio::runtime::Handle::current()).await?;
//! let ended = mounted.until(stop).await;
//! for loss in ended.unsaved {
//!     eprintln!("{} could not be saved: {}", loss.path, loss.error);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Rooms: `fs` takes the kernel's calls and `skin` hands them on; `names`, `io`, `dirs`, `xattrs` and `acl` answer them; `attrs` and `errno` translate;
//! `coherence` keeps the kernel from believing what others have changed, `locks` locks for all machines;
//! `open` knows what is open, `caller` who asks, `lanes` bounds what runs at once; `kernel` settles with the kernel what
//! is used; `mounting`, `point` and `device` mount and unmount; `hygiene` keeps RAM out of files, `heap` keeps it small, `swap` tells which swap is plain;
//! `enclosure` shuts a program in with a drive.
//!
//! Needed: `/dev/fuse`. Root needs nothing else; an ordinary user also `fusermount3`, Debian's package fuse3. libfuse is
//! not used, neither when this is built nor when it runs.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]
#![deny(unsafe_code)]
#![cfg(target_os = "linux")]

mod acl;
#[cfg(test)]
mod asked_directly;
mod attrs;
mod caller;
mod changers;
mod coherence;
mod device;
mod dirs;
mod drive;
mod enclosure;
mod errno;
mod fs;
mod heap;
mod hygiene;
mod io;
mod kernel;
mod lanes;
mod locks;
mod mounting;
mod names;
mod open;
mod point;
mod skin;
mod swap;
mod xattrs;

pub use device::can_mount;
pub use enclosure::{Enclosed, Enclosure, EnclosureError, own_tree};
pub use hygiene::{Hygiene, Memory, protect_process};
pub use mounting::{Caching, Ended, Mount, MountError, MountOptions, Mounted};
pub use point::{UmountError, umount};
pub use swap::{SwapArea, SwapKind, swap_areas};
pub use warifu_vault::Unsaved;

//! What the drive and the kernel agree on when the drive is mounted.

use std::sync::atomic::Ordering;

use fuser::{InitFlags, KernelConfig};

use crate::drive::Drive;
use crate::mounting::Caching;

/// The largest request in bytes. The kernel's own limit is 256 pages.
pub(crate) const LARGEST: u32 = 1 << 20;

/// How many requests of its own (read-ahead, write-back) the kernel may have under way.
const BACKGROUND: u16 = 64;

/// What is asked for, each with what happens where the kernel is too old for it.
const WANTED: [(InitFlags, &str); 7] = [
    (
        InitFlags::FUSE_DO_READDIRPLUS,
        "listing a folder with attributes asks for each entry",
    ),
    (
        InitFlags::FUSE_READDIRPLUS_AUTO,
        "every listing carries attributes",
    ),
    (
        InitFlags::FUSE_PARALLEL_DIROPS,
        "look-ups in one folder wait for each other",
    ),
    (
        InitFlags::FUSE_ASYNC_READ,
        "reading ahead waits for each request",
    ),
    (
        InitFlags::FUSE_ASYNC_DIO,
        "large direct requests wait for each of their parts",
    ),
    (
        InitFlags::FUSE_ATOMIC_O_TRUNC,
        "emptying a file at its opening takes two requests",
    ),
    (InitFlags::FUSE_BIG_WRITES, "every write is 4 KiB"),
];

// Not asked for:
// - FUSE_WRITEBACK_CACHE: contents that the kernel has not handed over yet would not be in what close saves.
// - FUSE_HANDLE_KILLPRIV and its second version: fuser does not hand on what the second says with truncate and open, and
//   the first would have us judge what the kernel can judge better. Without them the kernel clears set-id bits itself,
//   except in writes that go past its cache, where it says so with the write, and in O_TRUNC, which `io` sees to.
// - FUSE_AUTO_INVAL_DATA: only mappings have pages, and those would be dropped at every change of a time.

/// Asked for where there are others to lock files against. Without them the kernel keeps locks for the programs of this machine.
const LOCKS: [InitFlags; 2] = [InitFlags::FUSE_POSIX_LOCKS, InitFlags::FUSE_FLOCK_LOCKS];

/// What the mount options leave to be settled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreed {
    /// How contents are cached.
    pub(crate) caching: Caching,
    /// Whether the kernel checks permissions. Access control lists would make it do so.
    pub(crate) permissions: bool,
}

/// Settles what the drive uses, and notes whether reads and writes go past the page cache, and whether there are access
/// control lists.
pub(crate) fn agree(config: &mut KernelConfig, wanted: Agreed, drive: &Drive) {
    let locks = drive.vault.has_joined();
    for flag in LOCKS.into_iter().filter(|_| locks) {
        if config.add_capabilities(flag).is_err() {
            tracing::warn!(capability = ?flag, "the kernel keeps such locks itself: they hold on this machine only");
        }
    }
    for (flag, without) in WANTED {
        if config.add_capabilities(flag).is_err() {
            tracing::info!(capability = ?flag, "the kernel is too old for this: {without}");
        }
    }
    // With lists, what a maker masks counts only where no list is inherited, which we see and the kernel does not.
    let lists = InitFlags::FUSE_POSIX_ACL | InitFlags::FUSE_DONT_MASK;
    let able = wanted.permissions && config.add_capabilities(lists).is_ok();
    drive.lists.store(able, Ordering::Relaxed);
    let past_cache = match wanted.caching {
        Caching::Pages => false,
        Caching::Direct => {
            let able = config
                .add_capabilities(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP)
                .is_ok();
            if !able {
                tracing::info!(
                    "the kernel is too old to map files that bypass its page cache: the cache is used, and emptied at each last close"
                );
            }
            able
        }
    };
    drive.direct.store(past_cache, Ordering::Relaxed);
    // Each of these answers the nearest value that is possible.
    if let Err(nearest) = config.set_max_write(LARGEST) {
        let _ = config.set_max_write(nearest);
    }
    if let Err(nearest) = config.set_max_readahead(LARGEST) {
        let _ = config.set_max_readahead(nearest);
    }
    if let Err(nearest) = config.set_max_background(BACKGROUND) {
        let _ = config.set_max_background(nearest);
    }
}

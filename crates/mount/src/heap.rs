//! The allocator's habits.
#![allow(
    unsafe_code,
    reason = "the C library is told by a call that the compiler cannot check"
)]

/// Lets the C library keep one heap for all threads, where it would make up to eight for each processor. What is freed in one of
/// these cannot be used in another, and locked memory is not given back to the system: contents of 128 MiB made a process of
/// 550 MiB. With one heap it is 280, and half the time in the kernel is gone with the page faults.
///
/// What is freed stays with the process up to [`KEPT`], where the C library would give back what is more than a few MiB, and have the
/// kernel make and clear the same pages again for the next extent: that took a fifth of the time of writing a large file.
///
/// To be called before there are threads; later it does less, and no harm.
pub(crate) fn one_for_all() {
    #[cfg(target_env = "gnu")]
    for (what, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TRIM_THRESHOLD, KEPT),
        (libc::M_MMAP_THRESHOLD, LARGEST),
    ] {
        // SAFETY: `mallopt` takes two numbers, guards its own state by the allocator's lock, and gives back whether it knows
        // them. No memory of ours is concerned.
        let _ = unsafe { libc::mallopt(what, value) };
    }
}

/// As much as a few extents under way take: of each its contents and n shares.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 64 << 20;

/// What is larger has a mapping of its own. The most that the C library takes.
#[cfg(target_env = "gnu")]
const LARGEST: libc::c_int = 32 << 20;

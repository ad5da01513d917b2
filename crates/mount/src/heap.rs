//! The allocator's habits.
#![allow(
    unsafe_code,
    reason = "the C library is told by a call that the compiler cannot check"
)]

/// Lets the C library keep one heap for all threads, where it would make up to eight for each processor. What is freed in one of
/// these cannot be used in another, and locked memory is not given back to the system: contents of 128 MiB made a process of
/// 550 MiB. With one heap it is 280, and half the time in the kernel is gone with the page faults.
///
/// To be called before there are threads; later it does less, and no harm.
pub(crate) fn one_for_all() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `mallopt` takes two numbers, guards its own state by the allocator's lock, and gives back whether it knows
        // them. No memory of ours is concerned.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    }
}

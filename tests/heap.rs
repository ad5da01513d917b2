//! What a drive has taken from the heap and not given back, to the byte: with use, it does not grow.
//!
//! The drive is served by the test's own process, whose allocator counts. How much RAM a process holds says less: what is freed stays
//! with it, and the catalogue's engine, which does not use this allocator, keeps pages (`endurance.rs`).

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use warifu::{InitOptions, NewServer, OpenOptions, Threshold, Warifu};
use warifu_mount::{Mount, MountOptions};
use warifu_tests::{can_mount, wait_until, work};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: usize, sign: isize) {
    LIVE.fetch_add(sign * bytes.cast_signed(), Ordering::Relaxed);
}

// SAFETY: all of it is the system's allocator, called with what we were called with; the count touches no memory of anybody's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as our caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What is live once the drive has come to rest: what was saved is settled and in the journal, and files that were closed are let go.
fn at_rest() -> isize {
    let mut least = isize::MAX;
    let mut since = 0;
    wait_until(Duration::from_secs(60), || {
        let now = LIVE.load(Ordering::Relaxed);
        since = if now < least { 0 } else { since + 1 };
        least = least.min(now);
        // The least of five seconds: work in the background comes and goes.
        std::thread::sleep(Duration::from_millis(100));
        since >= 50
    });
    least
}

#[test]
fn a_drive_gives_back_what_it_takes() {
    if !can_mount() {
        return;
    }
    /// In operations: of these a leak of 16 bytes each is found.
    const FIRST: u64 = 4_000;
    const LAST: u64 = 20_000;
    const ALLOWED: isize = 256 * 1024;
    let scratch = tempfile::tempdir().unwrap();
    let (vault, dir) = (
        scratch.path().join("office.toml"),
        scratch.path().join("drive"),
    );
    std::fs::create_dir(&dir).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let (warifu, drive) = runtime.block_on(mounted(&vault, &dir));
    work(&dir, 0..FIRST);
    let before = at_rest();
    work(&dir, FIRST..LAST);
    let after = at_rest();
    println!("live: {before} bytes after {FIRST} operations, {after} after {LAST}");
    assert!(after - before <= ALLOWED, "{before} {after}");
    // What the count says of a leak: a program that leaks sees it.
    let leaked = LIVE.load(Ordering::Relaxed);
    std::mem::forget(vec![0_u8; 1 << 20]);
    assert!(LIVE.load(Ordering::Relaxed) - leaked > 1 << 19);
    assert!(runtime.block_on(drive.unmount()).unsaved.is_empty());
    assert!(runtime.block_on(warifu.close()).is_empty());
}

async fn mounted(vault: &Path, dir: &Path) -> (Warifu, warifu_mount::Mounted) {
    let folder = vault.parent().unwrap();
    let servers =
        ["a", "b", "c"].map(|name| NewServer::new(name, folder.join(name).display().to_string()));
    let threshold = Threshold::new(2, 3).unwrap();
    Warifu::init(vault, threshold, servers.into(), InitOptions::new("test"))
        .await
        .unwrap();
    let warifu = Warifu::open(vault, OpenOptions::new("test")).await.unwrap();
    let runtime = tokio::runtime::Handle::current();
    let drive = Mount::new(warifu.vault().clone(), MountOptions::new(dir), runtime)
        .await
        .unwrap();
    (warifu, drive)
}

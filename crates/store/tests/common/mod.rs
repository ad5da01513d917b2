//! What the tests of the directory store share.
#![allow(dead_code, reason = "each test program uses its own part")]

pub mod sftp;

use std::path::Path;
use std::process::Command;

use warifu_store::{DirectoryStore, Options};
use warifu_vault::seam::store::{Durability, ObjectKey, ShareStore, StoreErrorKind};

/// A new store in the folder `path`.
pub async fn create(path: &Path) -> DirectoryStore {
    DirectoryStore::create(path.into(), Options::default())
        .await
        .expect("a store can be made in an empty folder")
}

/// The store in the folder `path`.
pub async fn open(path: &Path) -> DirectoryStore {
    DirectoryStore::open(path.into(), Options::default())
        .await
        .expect("the store is there")
}

/// What each method answers for `name`, in one word each.
pub async fn answers(
    store: &DirectoryStore,
    name: &ObjectKey,
) -> Vec<(&'static str, Option<StoreErrorKind>)> {
    vec![
        (
            "get",
            store.get(name, None).await.err().map(|error| error.kind),
        ),
        ("stat", store.stat(name).await.err().map(|error| error.kind)),
        (
            "list",
            store.list(None, 10).await.err().map(|error| error.kind),
        ),
        (
            "delete",
            store.delete(name).await.err().map(|error| error.kind),
        ),
        (
            "put now",
            store
                .put_new(name, "x".into(), Durability::Now)
                .await
                .err()
                .map(|error| error.kind),
        ),
        (
            "put soon",
            store
                .put_new(name, "x".into(), Durability::Soon)
                .await
                .err()
                .map(|error| error.kind),
        ),
        ("space", store.space().await.err().map(|error| error.kind)),
    ]
}

/// How many temporary files lie about.
pub fn temporary_files(path: &Path) -> usize {
    std::fs::read_dir(path.join("tmp")).map_or(0, Iterator::count)
}

/// Runs a test again in a mount namespace of its own. `true` inside it, where the test does its work; `false` outside,
/// when that is done, or when this machine does not allow it (which is said).
pub fn in_mount_namespace(test: &str) -> bool {
    again_inside(test, "-Urm", "mount -t tmpfs tmpfs /mnt")
}

/// The same for real root, who may mount an image of a disk.
pub fn in_mount_namespace_with_disks(test: &str) -> bool {
    let try_it = "d=$(mktemp -d) && mount -t tmpfs tmpfs $d && truncate -s 32M $d/disk && mkfs.ext4 -q $d/disk && mkdir $d/mnt \
        && mount -o loop $d/disk $d/mnt && umount $d/mnt";
    again_inside(test, "-m", try_it)
}

fn again_inside(test: &str, kind: &str, try_it: &str) -> bool {
    const INSIDE: &str = "WARIFU_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let allowed = Command::new("unshare")
        .args([kind, "sh", "-c", try_it])
        .output();
    if !allowed.is_ok_and(|done| done.status.success()) {
        eprintln!("SKIPPED {test}: this machine does not allow `unshare {kind}` and {try_it}");
        return false;
    }
    let done = Command::new("unshare")
        .arg(kind)
        .arg(std::env::current_exe().expect("a test knows its own program"))
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare was there a moment ago");
    let out = String::from_utf8_lossy(&done.stdout);
    let err = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{out}\n{err}");
    assert!(
        out.contains("1 passed"),
        "the test did not run inside: {out}"
    );
    false
}

/// Runs a program that must succeed.
pub fn run(program: &str, args: &[&str]) {
    let done = Command::new(program)
        .args(args)
        .output()
        .expect("the program is installed");
    assert!(
        done.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// The same for real root, without disks.
pub fn in_root_namespace(test: &str) -> bool {
    again_inside(test, "-m", "mount -t tmpfs tmpfs /mnt")
}

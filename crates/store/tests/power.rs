//! Power cuts on a real file system: a copy of the disk's image is what the disk held at that moment, since what the
//! kernel has not written back is not in it.

mod common;

use std::path::{Path, PathBuf};

use common::{create, in_mount_namespace_with_disks, open, run};
use tempfile::{TempDir, tempdir};
use warifu_store::DirectoryStore;
use warifu_testkit::stores::share_name;
use warifu_vault::seam::store::{Durability, ShareStore, StoreErrorKind};

struct Machine {
    base: TempDir,
    cuts: u32,
}

impl Machine {
    /// A disk whose file system writes back by itself only after minutes.
    fn new() -> Self {
        let base = tempdir().unwrap();
        let machine = Self { base, cuts: 0 };
        let image = machine.image();
        std::fs::File::create(&image)
            .unwrap()
            .set_len(128 << 20)
            .unwrap();
        run("mkfs.ext4", &["-q", image.to_str().unwrap()]);
        machine.mount(&image, &machine.disk());
        machine
    }

    fn image(&self) -> PathBuf {
        self.base.path().join("image")
    }

    fn disk(&self) -> PathBuf {
        self.base.path().join("disk")
    }

    fn mount(&self, image: &Path, at: &Path) {
        std::fs::create_dir(at).unwrap();
        run(
            "mount",
            &[
                "-o",
                "loop,commit=300",
                image.to_str().unwrap(),
                at.to_str().unwrap(),
            ],
        );
    }

    /// The store as another machine finds it when this one loses its power now.
    async fn after_power_cut(&mut self) -> DirectoryStore {
        self.cuts += 1;
        let copy = self.base.path().join(format!("image-{}", self.cuts));
        std::fs::copy(self.image(), &copy).unwrap();
        let at = self.base.path().join(format!("disk-{}", self.cuts));
        self.mount(&copy, &at);
        open(&at.join("server")).await
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for cut in 1..=self.cuts {
            let at = self.base.path().join(format!("disk-{cut}"));
            let _ = std::process::Command::new("umount")
                .arg("--lazy")
                .arg(at)
                .output();
        }
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(self.disk())
            .output();
    }
}

fn share(number: u64) -> Vec<u8> {
    vec![number as u8 + 1; 30_000]
}

#[tokio::test]
async fn p5_what_was_acknowledged_as_durable_survives_a_power_cut() {
    if !in_mount_namespace_with_disks("p5_what_was_acknowledged_as_durable_survives_a_power_cut") {
        return;
    }
    let mut machine = Machine::new();
    let store = create(&machine.disk().join("server")).await;
    let after = machine.after_power_cut().await; // the store itself is there
    assert!(after.list(None, 10).await.unwrap().objects.is_empty());

    store
        .put_new(&share_name(0), share(0).into(), Durability::Now)
        .await
        .unwrap();
    let after = machine.after_power_cut().await;
    assert_eq!(after.get(&share_name(0), None).await.unwrap(), share(0));

    // One by one up to a few, the whole file system from some on, without descriptors beyond: each way of syncing.
    let mut stored = 1;
    for batch in [1, 5, 40, 150] {
        let range = stored..stored + batch;
        stored = range.end;
        for number in range.clone() {
            store
                .put_new(&share_name(number), share(number).into(), Durability::Soon)
                .await
                .unwrap();
        }
        let before = machine.after_power_cut().await;
        let lost = range.start;
        let error = before
            .get(&share_name(lost), None)
            .await
            .map(|bytes| bytes == share(lost));
        assert!(
            error
                .as_ref()
                .is_err_and(|error| error.kind == StoreErrorKind::NotFound),
            "this test can lose an object, or it proves nothing: {error:?}"
        );
        store.sync().await.unwrap();
        let after = machine.after_power_cut().await;
        for number in 0..stored {
            assert_eq!(
                after.get(&share_name(number), None).await.unwrap(),
                share(number),
                "{number} of {stored}"
            );
        }
    }
}

/// After a client died, its successor's sync must cover what it wrote: a version is called settled on the strength of it.
#[tokio::test]
async fn p5_a_sync_covers_what_a_process_before_wrote() {
    if !in_mount_namespace_with_disks("p5_a_sync_covers_what_a_process_before_wrote") {
        return;
    }
    let mut machine = Machine::new();
    let path = machine.disk().join("server");
    let before = create(&path).await;
    before.sync().await.unwrap();
    before
        .put_new(&share_name(0), share(0).into(), Durability::Soon)
        .await
        .unwrap();
    let lost = machine.after_power_cut().await;
    assert!(
        lost.get(&share_name(0), None).await.is_err(),
        "this test can lose an object, or it proves nothing"
    );
    let successor = open(&path).await;
    successor.sync().await.unwrap();
    let after = machine.after_power_cut().await;
    assert_eq!(after.get(&share_name(0), None).await.unwrap(), share(0));
}

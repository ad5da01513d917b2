//! A disk of a test's own: an image with a file system, so that every byte that was ever written can be looked at.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::{is_root, must, run, which};

/// An ext4 file system in a file, mounted until it is taken off.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    /// Where it is mounted.
    pub at: PathBuf,
}

impl Disk {
    /// Whether this machine lets tests mount disks.
    #[must_use]
    pub fn can() -> bool {
        is_root() && which("mkfs.ext4").is_some() && Path::new("/dev/loop-control").exists()
    }

    /// A new disk of so many MiB in this folder.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(folder: &Path, mib: u64) -> Self {
        let (image, at) = (folder.join("disk.img"), folder.join("disk"));
        File::create(&image)
            .and_then(|file| file.set_len(mib << 20))
            .expect("a disk image");
        fs::create_dir(&at).expect("a mount point");
        must(
            "mkfs.ext4",
            [
                "-q",
                "-E",
                "lazy_itable_init=0",
                image.to_str().unwrap_or_default(),
            ],
        );
        let disk = Self { image, at };
        disk.put_on();
        disk
    }

    /// Mounts it again.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn put_on(&self) {
        let words = [Path::new("-o"), Path::new("loop"), &self.image, &self.at];
        must("mount", words);
    }

    /// Takes it off, so that all that was written is in the image; gives every byte of that.
    ///
    /// # Panics
    /// When it is in use.
    #[must_use]
    pub fn take_off(&self) -> Vec<u8> {
        must("umount", [&self.at]);
        fs::read(&self.image).expect("the image")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", [Path::new("-l"), &self.at]);
    }
}

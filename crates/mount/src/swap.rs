//! Which swap is on, and whether what gets there can be read off a disk.
//!
//! Swap in compressed RAM (zram) never reaches a disk, and swap on dm-crypt is noise there. Everything else is plain, also what
//! cannot be told: a disk that says it encrypts by itself shows nothing of it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::point::unescape;

/// What becomes of memory that goes to an area of swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapKind {
    /// It stays in RAM.
    Ram,
    /// It is encrypted before it reaches a disk.
    Encrypted,
    /// Whoever has the disk can read it; or nobody can tell.
    Plain,
}

/// An area of swap that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapArea {
    /// The device or file.
    pub path: PathBuf,
    /// What becomes of memory that goes there.
    pub kind: SwapKind,
}

/// The areas of swap that are on. `root` is `/`, but for tests: `proc` and `sys` are looked for in it.
///
/// # Errors
/// When the kernel's table cannot be read. A kernel that knows no swap has no table, which is no error.
pub fn swap_areas(root: &Path) -> io::Result<Vec<SwapArea>> {
    let table = match fs::read(root.join("proc/swaps")) {
        Ok(table) => table,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let machine = Machine { root };
    // The first line is the heading.
    let lines = table.split(|byte| *byte == b'\n').skip(1);
    let areas = lines.filter_map(|line| {
        let mut fields = line
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|field| !field.is_empty());
        let path = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
        let kind = match fields.next() {
            Some(b"partition") => machine.device(&path),
            Some(b"file") => machine.file(&path),
            _ => SwapKind::Plain,
        };
        Some(SwapArea { path, kind })
    });
    Ok(areas.collect())
}

/// What the kernel tells of block devices.
struct Machine<'a> {
    root: &'a Path,
}

/// Devices stand on devices, but never on so many.
const DEPTH: usize = 16;

impl Machine<'_> {
    /// A block device by its path, such as `/dev/dm-0` or `/dev/mapper/swap`.
    fn device(&self, path: &Path) -> SwapKind {
        match self.block_name(path) {
            Some(name) => self.block(&name, DEPTH),
            None => SwapKind::Plain,
        }
    }

    /// The kernel's name of a block device, under which it stands in `/sys/class/block`.
    fn block_name(&self, path: &Path) -> Option<String> {
        let name = path.strip_prefix("/dev").ok()?.to_str()?;
        let known = |name: &str| self.sys(name).is_dir();
        // Where a name has a slash, the kernel writes an exclamation mark in its place.
        let plain = name.replace('/', "!");
        if known(&plain) {
            return Some(plain);
        }
        if let Some(mapped) = name.strip_prefix("mapper/") {
            let mut devices = fs::read_dir(self.root.join("sys/class/block"))
                .ok()?
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok());
            return devices.find(|device| {
                self.text(&self.sys(device).join("dm/name")).as_deref() == Some(mapped)
            });
        }
        // A link such as /dev/disk/by-uuid/….
        let target = fs::canonicalize(self.root.join("dev").join(name)).ok()?;
        let target = target.file_name()?.to_str()?.to_owned();
        known(&target).then_some(target)
    }

    fn sys(&self, name: &str) -> PathBuf {
        self.root.join("sys/class/block").join(name)
    }

    fn text(&self, path: &Path) -> Option<String> {
        let text = fs::read_to_string(path).ok()?;
        Some(text.trim_end().to_owned())
    }

    /// What becomes of what is written to a block device.
    fn block(&self, name: &str, depth: usize) -> SwapKind {
        let Some(depth) = depth.checked_sub(1) else {
            return SwapKind::Plain;
        };
        let sys = self.sys(name);
        if let Some(uuid) = self.text(&sys.join("dm/uuid"))
            && is_encryption(&uuid)
        {
            return SwapKind::Encrypted;
        }
        let numbered = |prefix: &str| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        };
        if numbered("zram") {
            // What does not compress may be written back to a device behind it.
            return match self.text(&sys.join("backing_dev")).as_deref() {
                None | Some("none" | "") => SwapKind::Ram,
                Some(path) if path.starts_with("/dev/") => match self.block_name(Path::new(path)) {
                    Some(behind) => self.block(&behind, depth),
                    None => SwapKind::Plain,
                },
                Some(file) => self.file_at(Path::new(file), depth),
            };
        }
        if numbered("ram") {
            return SwapKind::Ram;
        }
        if let Some(file) = self.text(&sys.join("loop/backing_file")) {
            return self.file_at(Path::new(&file), depth);
        }
        // A partition is as its disk.
        if sys.join("partition").exists() {
            let disk = fs::canonicalize(&sys).ok();
            let disk = disk
                .as_deref()
                .and_then(Path::parent)
                .and_then(Path::file_name)
                .and_then(|name| name.to_str());
            return disk.map_or(SwapKind::Plain, |disk| self.block(disk, depth));
        }
        // A volume, a mirror: as good as the worst of what it stands on.
        let slaves: Vec<String> = fs::read_dir(sys.join("slaves"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        worst(slaves.iter().map(|slave| self.block(slave, depth)))
    }

    fn file(&self, path: &Path) -> SwapKind {
        self.file_at(path, DEPTH)
    }

    /// What becomes of what is written to a file: as on the device that its file system is on.
    fn file_at(&self, path: &Path, depth: usize) -> SwapKind {
        let table = fs::read(self.root.join("proc/self/mountinfo")).unwrap_or_default();
        let mut best: Option<(usize, Vec<u8>, Vec<u8>)> = None;
        for line in table.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b' ');
            let (Some(number), Some(point)) = (fields.nth(2), fields.nth(1)) else {
                continue;
            };
            let source = fields.skip_while(|field| *field != b"-").nth(2);
            let point = PathBuf::from(OsString::from_vec(unescape(point)));
            let long = point.as_os_str().len();
            // Of those mounted on one folder, the last one counts.
            if path.starts_with(&point) && best.as_ref().is_none_or(|(best, ..)| long >= *best) {
                best = Some((long, number.to_vec(), unescape(source.unwrap_or_default())));
            }
        }
        let Some((_, number, source)) = best else {
            return SwapKind::Plain;
        };
        let number = String::from_utf8_lossy(&number).into_owned();
        // Some file systems (btrfs) have a number of their own and not that of their device.
        let by_number = fs::canonicalize(self.root.join("sys/dev/block").join(number)).ok();
        let name = by_number
            .as_deref()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str())
            .map(str::to_owned)
            .or_else(|| self.block_name(Path::new(&OsString::from_vec(source))));
        name.map_or(SwapKind::Plain, |name| self.block(&name, depth))
    }
}

/// Whether a device-mapper's uuid is one of cryptsetup's for what encrypts. Its others only check.
fn is_encryption(uuid: &str) -> bool {
    uuid.strip_prefix("CRYPT-").is_some_and(|kind| {
        [
            "PLAIN-", "LUKS1-", "LUKS2-", "TCRYPT-", "BITLK-", "FVAULT2-", "LOOPAES-",
        ]
        .iter()
        .any(|known| kind.starts_with(known))
    })
}

fn worst(kinds: impl Iterator<Item = SwapKind>) -> SwapKind {
    let kinds: BTreeSet<u8> = kinds.map(|kind| kind as u8).collect();
    match kinds.last() {
        Some(kind) if *kind == SwapKind::Ram as u8 => SwapKind::Ram,
        Some(kind) if *kind == SwapKind::Encrypted as u8 => SwapKind::Encrypted,
        _ => SwapKind::Plain,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A machine of files.
    struct Fake(tempfile::TempDir);

    impl Fake {
        fn new(swaps: &str) -> Self {
            let fake = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(fake.at("sys/class/block")).unwrap();
            fs::create_dir_all(fake.at("sys/dev/block")).unwrap();
            let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
            fake.write("proc/swaps", &format!("{heading}{swaps}"));
            fake
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.at(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// A block device with these files, standing on these others.
        fn block(&self, name: &str, number: &str, files: &[(&str, &str)], slaves: &[&str]) {
            let place = self.at(&format!("sys/devices/{name}"));
            fs::create_dir_all(place.join("slaves")).unwrap();
            for (file, text) in files {
                self.write(&format!("sys/devices/{name}/{file}"), text);
            }
            for slave in slaves {
                fs::write(place.join("slaves").join(slave), "").unwrap();
            }
            let last = Path::new(name).file_name().unwrap();
            symlink(&place, self.at("sys/class/block").join(last)).unwrap();
            symlink(&place, self.at("sys/dev/block").join(number)).unwrap();
        }

        #[track_caller]
        fn says(&self, expected: &[(&str, SwapKind)]) {
            let found = swap_areas(self.0.path()).unwrap();
            let found: Vec<_> = found
                .iter()
                .map(|area| (area.path.to_str().unwrap(), area.kind))
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn p6_no_swap_is_no_swap() {
        Fake::new("").says(&[]);
        // A kernel without swap has no table.
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(swap_areas(empty.path()).unwrap(), []);
        // And this machine can be asked.
        swap_areas(Path::new("/")).unwrap();
    }

    #[test]
    fn p6_a_partition_is_plain_and_so_is_what_cannot_be_told() {
        let fake = Fake::new(
            "/dev/sda2                               partition\t1048572\t\t0\t\t-2\n\
             /dev/nowhere                            partition\t1048572\t\t0\t\t-3\n\
             /swap\\040file\\040(deleted)              file\t\t1048572\t\t0\t\t-4\n",
        );
        fake.block("sda", "8:0", &[], &[]);
        fake.block("sda/sda2", "8:2", &[("partition", "2\n")], &[]);
        fake.says(&[
            ("/dev/sda2", SwapKind::Plain),
            ("/dev/nowhere", SwapKind::Plain),
            ("/swap file (deleted)", SwapKind::Plain),
        ]);
    }

    #[test]
    fn p6_compressed_ram_is_ram_unless_a_disk_is_behind_it() {
        let fake = Fake::new(
            "/dev/zram0 partition 1 0 100\n/dev/zram1 partition 1 0 100\n/dev/zram2 partition 1 0 100\n",
        );
        fake.block("sda", "8:0", &[], &[]);
        fake.block("dm-0", "253:0", &[("dm/uuid", "CRYPT-PLAIN-x\n")], &["sda"]);
        fake.block("zram0", "252:0", &[("backing_dev", "none\n")], &[]);
        fake.block("zram1", "252:1", &[("backing_dev", "/dev/sda\n")], &[]);
        fake.block("zram2", "252:2", &[("backing_dev", "/dev/dm-0\n")], &[]);
        fake.says(&[
            ("/dev/zram0", SwapKind::Ram),
            ("/dev/zram1", SwapKind::Plain),
            ("/dev/zram2", SwapKind::Encrypted),
        ]);
    }

    #[test]
    fn p6_encryption_is_seen_through_volumes_and_a_check_is_no_encryption() {
        let fake = Fake::new(
            "/dev/dm-1 partition 1 0 -2\n/dev/dm-2 partition 1 0 -2\n/dev/dm-4 partition 1 0 -2\n\
             /dev/mapper/cryptswap partition 1 0 -2\n",
        );
        fake.block("sda", "8:0", &[], &[]);
        fake.block("sdb", "8:16", &[], &[]);
        fake.block(
            "dm-0",
            "253:0",
            &[("dm/uuid", "CRYPT-LUKS2-abc-luks\n"), ("dm/name", "luks\n")],
            &["sda"],
        );
        // A volume on an encrypted disk; one that lies half on a plain one.
        fake.block("dm-1", "253:1", &[("dm/uuid", "LVM-abc\n")], &["dm-0"]);
        fake.block(
            "dm-2",
            "253:2",
            &[("dm/uuid", "LVM-def\n")],
            &["dm-0", "sdb"],
        );
        fake.block(
            "dm-3",
            "253:3",
            &[
                ("dm/uuid", "CRYPT-PLAIN-cryptswap\n"),
                ("dm/name", "cryptswap\n"),
            ],
            &["sdb"],
        );
        fake.block(
            "dm-4",
            "253:4",
            &[("dm/uuid", "CRYPT-VERITY-x\n")],
            &["sdb"],
        );
        fake.says(&[
            ("/dev/dm-1", SwapKind::Encrypted),
            ("/dev/dm-2", SwapKind::Plain),
            ("/dev/dm-4", SwapKind::Plain),
            ("/dev/mapper/cryptswap", SwapKind::Encrypted),
        ]);
    }

    #[test]
    fn p6_a_file_is_as_the_device_below_its_file_system() {
        let fake = Fake::new(
            "/swapfile file 1 0 -2\n/home/swapfile file 1 0 -3\n/srv/a\\040b/swapfile file 1 0 -4\n\
             /dev/loop0 partition 1 0 -5\n",
        );
        fake.block("sda", "8:0", &[], &[]);
        fake.block(
            "dm-0",
            "253:0",
            &[("dm/uuid", "CRYPT-LUKS1-abc-home\n"), ("dm/name", "home\n")],
            &["sda"],
        );
        fake.block(
            "loop0",
            "7:0",
            &[("loop/backing_file", "/home/swap.img\n")],
            &[],
        );
        fake.write(
            "proc/self/mountinfo",
            "22 1 8:0 / / rw shared:1 - ext4 /dev/sda rw\n\
             23 22 253:0 / /home rw shared:2 - ext4 /dev/mapper/home rw\n\
             24 22 0:40 /sub /srv/a\\040b rw - btrfs /dev/mapper/home rw,subvol=/sub\n",
        );
        fake.says(&[
            ("/swapfile", SwapKind::Plain),
            ("/home/swapfile", SwapKind::Encrypted),
            ("/srv/a b/swapfile", SwapKind::Encrypted),
            ("/dev/loop0", SwapKind::Encrypted),
        ]);
    }
}

//! The same acts on the drive and on a local folder: every result and every byte must be the same.

mod rig;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rig::{Rig, errno};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// What is done, in terms of a few names, so that acts meet each other.
#[derive(Clone, Debug)]
enum Act {
    Open {
        path: String,
        flags: i32,
        mode: u32,
        write: Option<(u64, usize)>,
        remove_first: bool,
    },
    Truncate {
        path: String,
        size: u64,
    },
    MakeDir {
        path: String,
        mode: u32,
    },
    Remove {
        path: String,
    },
    RemoveDir {
        path: String,
    },
    Rename {
        from: String,
        to: String,
        flags: RenameFlags,
    },
    Link {
        from: String,
        to: String,
    },
    Symlink {
        target: String,
        path: String,
    },
    Mode {
        path: String,
        mode: u32,
    },
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    /// A path that is meant for a file or for a folder; now and then it meets the other, and its folders may be missing.
    fn path(&mut self, folder: bool) -> String {
        const FOLDERS: [&str; 2] = ["d", "資料"];
        const FILES: [&str; 4] = ["a", "b", "文書.docx", "~$x"];
        let depth = [0, 0, 0, 0, 1, 1, 1, 2][self.roll(8) as usize];
        let mut path: String = (0..depth)
            .map(|_| format!("{}/", FOLDERS[self.roll(2) as usize]))
            .collect();
        let folder = folder != (self.roll(12) == 0);
        path += if folder {
            FOLDERS[self.roll(2) as usize]
        } else {
            FILES[self.roll(4) as usize]
        };
        path
    }

    fn act(&mut self) -> Act {
        match self.roll(20) {
            0..10 => {
                let access = [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR][self.roll(3) as usize];
                let chances = [
                    (libc::O_CREAT, 60),
                    (libc::O_EXCL, 10),
                    (libc::O_TRUNC, 25),
                    (libc::O_APPEND, 25),
                ];
                let chosen = chances
                    .into_iter()
                    .filter(|(_, percent)| self.roll(100) < *percent);
                let flags = chosen.fold(access, |flags, (flag, _)| flags | flag);
                let reach = [100, 70_000, 5_000_000][self.roll(3) as usize];
                let write =
                    (self.roll(4) > 0).then(|| (self.roll(reach), self.roll(reach / 4) as usize));
                let mode = [0o644, 0o600, 0o444][self.roll(3) as usize];
                Act::Open {
                    path: self.path(false),
                    flags,
                    mode,
                    write,
                    remove_first: self.roll(8) == 0,
                }
            }
            10 => Act::Truncate {
                path: self.path(false),
                size: self.roll(200_000),
            },
            11 => Act::MakeDir {
                path: self.path(true),
                mode: 0o755,
            },
            12 => Act::Remove {
                path: self.path(false),
            },
            13 => Act::RemoveDir {
                path: self.path(true),
            },
            14..17 => {
                let modes = [
                    RenameFlags::empty(),
                    RenameFlags::empty(),
                    RenameFlags::NOREPLACE,
                    RenameFlags::EXCHANGE,
                ];
                let folder = self.roll(4) == 0;
                Act::Rename {
                    from: self.path(folder),
                    to: self.path(folder),
                    flags: modes[self.roll(4) as usize],
                }
            }
            17 => Act::Link {
                from: self.path(false),
                to: self.path(false),
            },
            18 => Act::Symlink {
                target: self.path(false),
                path: self.path(false),
            },
            _ => {
                let folder = self.roll(4) == 0;
                Act::Mode {
                    path: self.path(folder),
                    mode: [0o644, 0o755, 0o400, 0o2755][self.roll(4) as usize],
                }
            }
        }
    }
}

/// Does an act below a folder, and gives what a program would see of it.
fn act(root: &Path, act: &Act, seed: u64) -> String {
    let at = |path: &str| root.join(path);
    let number = |result: std::io::Result<()>| format!("{}", errno(result));
    let rustix = |result: rustix::io::Result<()>| number(result.map_err(std::io::Error::from));
    match act {
        Act::Open {
            path,
            flags,
            mode,
            write,
            remove_first,
        } => {
            let access = flags & libc::O_ACCMODE;
            let mut options = OpenOptions::new();
            options
                .read(access != libc::O_WRONLY)
                .write(access != libc::O_RDONLY);
            options.custom_flags(flags & !libc::O_ACCMODE).mode(*mode);
            let file = match options.open(at(path)) {
                Ok(file) => file,
                Err(error) => return format!("open {}", error.raw_os_error().unwrap_or(0)),
            };
            let mut seen = String::new();
            if *remove_first {
                seen += &number(fs::remove_file(at(path)));
            }
            if let Some((offset, len)) = write {
                let wrote = file.write_all_at(&rig::noise(seed, *len), *offset);
                seen += &format!(" write {}", errno(wrote));
            }
            let mut bytes = vec![0; 3_000_000];
            match file.read_at(&mut bytes, seed % 1000) {
                Ok(len) => seen += &format!(" read {len} {:x}", sum(&bytes[..len.min(100_000)])),
                Err(error) => seen += &format!(" read {:?}", error.raw_os_error()),
            }
            let meta = file.metadata().unwrap();
            seen += &format!(
                " {} {} {:o}",
                if meta.is_file() { meta.len() } else { 0 },
                meta.nlink(),
                meta.mode()
            );
            seen
        }
        Act::Truncate { path, size } => rustix(
            nix::unistd::truncate(&at(path), *size as i64)
                .map_err(|error| rustix::io::Errno::from_raw_os_error(error as i32)),
        ),
        Act::MakeDir { path, mode } => number(
            fs::DirBuilder::new()
                .create(at(path))
                .and_then(|()| fs::set_permissions(at(path), Permissions::from_mode(*mode))),
        ),
        Act::Remove { path } => number(fs::remove_file(at(path))),
        Act::RemoveDir { path } => number(fs::remove_dir(at(path))),
        Act::Rename { from, to, flags } => {
            rustix(renameat_with(CWD, at(from), CWD, at(to), *flags))
        }
        Act::Link { from, to } => number(fs::hard_link(at(from), at(to))),
        Act::Symlink { target, path } => number(symlink(target, at(path))),
        Act::Mode { path, mode } => {
            number(fs::set_permissions(at(path), Permissions::from_mode(*mode)))
        }
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Everything below a folder: kinds, modes, numbers of names, sizes, contents.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let what = if meta.is_dir() {
                open.push(path.clone());
                String::new()
            } else if meta.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else {
                let bytes = fs::read(&path).unwrap();
                assert_eq!(bytes.len() as u64, meta.len());
                format!("{} {:x}", bytes.len(), sum(&bytes))
            };
            found.insert(
                path.strip_prefix(root).unwrap().to_owned(),
                format!("{:o} {} {what}", meta.mode(), meta.nlink()),
            );
        }
    }
    found
}

fn play(mut rig: Rig, seed: u64, acts: u32) {
    let local = rig.dir.path().join("local");
    fs::create_dir(&local).unwrap();
    let mut dice = Dice(seed * 0x9E37_79B9 + 1);
    for number in 0..acts {
        let next = dice.act();
        let data = u64::from(number) + seed * 1_000_000;
        let (ours, theirs) = (act(&rig.drive(), &next, data), act(&local, &next, data));
        assert_eq!(ours, theirs, "seed {seed}, act {number}: {next:?}");
        if number % 100 == 99 {
            assert_eq!(
                tree(&rig.drive()),
                tree(&local),
                "seed {seed}, after act {number}"
            );
        }
        if number % 400 == 399 {
            rig.remount();
            assert_eq!(
                tree(&rig.drive()),
                tree(&local),
                "seed {seed}, after the remount at act {number}"
            );
        }
    }
}

#[test]
fn the_drive_does_what_a_local_file_system_does() {
    for seed in 1..=4 {
        let Some(rig) = Rig::new() else { return };
        play(rig, seed, 800);
    }
}

#[test]
fn the_drive_does_the_same_with_contents_in_the_page_cache() {
    let Some(rig) = Rig::with_pages() else { return };
    play(rig, 9, 800);
}

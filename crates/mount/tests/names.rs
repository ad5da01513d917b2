//! Names and attributes on a real mount: what programs may rely on, as on a local file system.

mod rig;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::time::Duration;

use rig::{Rig, errno};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, RenameFlags, Timespec, Timestamps, XattrFlags, getxattr,
    getxattr_query, listxattr, mknodat, removexattr, renameat_with, setxattr, utimensat,
};
use warifu_vault::node::NodeId;

#[test]
fn files_and_folders_come_and_go() {
    let Some(rig) = Rig::new() else { return };
    fs::create_dir(rig.at("a")).unwrap();
    fs::create_dir(rig.at("a/b")).unwrap();
    fs::write(rig.at("a/b/file"), b"text").unwrap();
    assert_eq!(fs::read(rig.at("a/b/file")).unwrap(), b"text");
    assert_eq!(fs::metadata(rig.at("a")).unwrap().nlink(), 3);
    assert_eq!(errno(fs::create_dir(rig.at("a"))), libc::EEXIST);
    assert_eq!(errno(fs::remove_dir(rig.at("a"))), libc::ENOTEMPTY);
    assert_eq!(errno(fs::remove_dir(rig.at("a/b/file"))), libc::ENOTDIR);
    assert_eq!(errno(fs::remove_file(rig.at("a/b"))), libc::EISDIR);
    assert_eq!(errno(fs::read(rig.at("a/none"))), libc::ENOENT);
    assert_eq!(errno(fs::read(rig.at("a/b/file/deeper"))), libc::ENOTDIR);
    fs::remove_file(rig.at("a/b/file")).unwrap();
    fs::remove_dir(rig.at("a/b")).unwrap();
    fs::remove_dir(rig.at("a")).unwrap();
    assert_eq!(fs::read_dir(rig.drive()).unwrap().count(), 0);
}

#[test]
fn o_excl_makes_or_fails_and_without_it_an_open_finds_what_is_there() {
    let Some(rig) = Rig::new() else { return };
    let exclusive = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(rig.at("file"))
    };
    exclusive().unwrap();
    assert_eq!(errno(exclusive()), libc::EEXIST);
    fs::write(rig.at("file"), b"kept").unwrap();
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(rig.at("file"))
        .unwrap();
    assert_eq!(opened.metadata().unwrap().len(), 4);
    // Created with a mode that forbids what it was opened for: only the open that makes it may write.
    let sealed = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(rig.at("sealed"))
        .unwrap();
    assert_eq!(sealed.metadata().unwrap().mode() & 0o7777, 0o400);
    std::io::Write::write_all(&mut &sealed, b"once").unwrap();
    drop(sealed);
    assert_eq!(fs::read(rig.at("sealed")).unwrap(), b"once");
}

#[test]
fn names_may_have_255_bytes_of_any_kind() {
    let Some(mut rig) = Rig::new() else { return };
    let long = "n".repeat(255);
    let wide = "議".repeat(85);
    let decomposed = "が".to_owned() + "か\u{3099}";
    let odd = OsStr::from_bytes(b"not \xff\xfe utf-8\n\t");
    let names = [
        OsStr::new(&long),
        OsStr::new(&wide),
        OsStr::new(&decomposed),
        odd,
        OsStr::new("📎 ~$x.docx"),
        OsStr::new("..."),
    ];
    for name in names {
        fs::write(rig.at(name), name.as_bytes()).unwrap();
    }
    rig.remount();
    let seen: BTreeSet<_> = fs::read_dir(rig.drive())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(seen, names.iter().map(|name| (*name).to_owned()).collect());
    for name in names {
        assert_eq!(fs::read(rig.at(name)).unwrap(), name.as_bytes());
    }
    assert_eq!(
        errno(fs::write(rig.at("n".repeat(256)), b"")),
        libc::ENAMETOOLONG
    );
    assert_eq!(
        errno(fs::metadata(rig.at("n".repeat(256)))),
        libc::ENAMETOOLONG
    );
}

#[test]
fn rename_replaces_refuses_or_exchanges() {
    let Some(rig) = Rig::new() else { return };
    let rename = |from: &str, to: &str, flags| {
        renameat_with(CWD, rig.at(from), CWD, rig.at(to), flags).map_err(|e| e.raw_os_error())
    };
    let read = |name: &str| String::from_utf8(fs::read(rig.at(name)).unwrap()).unwrap();
    fs::write(rig.at("a"), "A").unwrap();
    fs::write(rig.at("b"), "B").unwrap();
    assert_eq!(rename("a", "b", RenameFlags::NOREPLACE), Err(libc::EEXIST));
    rename("a", "b", RenameFlags::EXCHANGE).unwrap();
    assert_eq!((read("a"), read("b")), ("B".into(), "A".into()));
    rename("a", "b", RenameFlags::empty()).unwrap();
    assert_eq!((read("b"), rig.at("a").exists()), ("B".into(), false));
    rename("b", "c", RenameFlags::NOREPLACE).unwrap();
    assert_eq!(
        rename("c", "none", RenameFlags::EXCHANGE),
        Err(libc::ENOENT)
    );
    assert_eq!(
        rename("c", "none", RenameFlags::WHITEOUT),
        Err(libc::EINVAL)
    );
    fs::create_dir_all(rig.at("dir/inner")).unwrap();
    assert_eq!(
        rename("dir", "dir/inner/x", RenameFlags::empty()),
        Err(libc::EINVAL)
    );
    assert_eq!(rename("c", "dir", RenameFlags::empty()), Err(libc::EISDIR));
    assert_eq!(rename("dir", "c", RenameFlags::empty()), Err(libc::ENOTDIR));
    fs::create_dir(rig.at("empty")).unwrap();
    rename("dir", "empty", RenameFlags::empty()).unwrap();
    assert!(rig.at("empty/inner").is_dir());
    fs::create_dir(rig.at("other")).unwrap();
    assert!(matches!(
        rename("other", "empty", RenameFlags::empty()),
        Err(libc::ENOTEMPTY | libc::EEXIST)
    ));
    rename("c", "empty/inner/c", RenameFlags::empty()).unwrap();
    assert_eq!(read("empty/inner/c"), "B");
    rename("other", "c2", RenameFlags::empty()).unwrap();
    rename("c2", "empty", RenameFlags::EXCHANGE).unwrap();
    assert!(rig.at("c2/inner/c").is_file());
}

#[test]
fn hard_links_are_one_file() {
    let Some(rig) = Rig::new() else { return };
    fs::write(rig.at("a"), "one").unwrap();
    fs::hard_link(rig.at("a"), rig.at("b")).unwrap();
    let (a, b) = (
        fs::metadata(rig.at("a")).unwrap(),
        fs::metadata(rig.at("b")).unwrap(),
    );
    assert_eq!((a.ino(), a.nlink(), b.nlink()), (b.ino(), 2, 2));
    fs::write(rig.at("b"), "two").unwrap();
    assert_eq!(fs::read_to_string(rig.at("a")).unwrap(), "two");
    assert_eq!(errno(fs::hard_link(rig.at("a"), rig.at("b"))), libc::EEXIST);
    fs::create_dir(rig.at("dir")).unwrap();
    assert_eq!(
        errno(fs::hard_link(rig.at("dir"), rig.at("c"))),
        libc::EPERM
    );
    fs::remove_file(rig.at("a")).unwrap();
    assert_eq!(fs::read_to_string(rig.at("b")).unwrap(), "two");
    assert_eq!(fs::metadata(rig.at("b")).unwrap().nlink(), 1);
}

#[test]
fn symbolic_links_are_kept_to_the_byte_and_followed() {
    let Some(rig) = Rig::new() else { return };
    fs::write(rig.at("file"), "here").unwrap();
    symlink("file", rig.at("short")).unwrap();
    let long = OsStr::from_bytes(&[b'x'; 4095]);
    symlink(long, rig.at("long")).unwrap();
    symlink("loop", rig.at("loop")).unwrap();
    assert_eq!(fs::read_to_string(rig.at("short")).unwrap(), "here");
    assert_eq!(fs::read_link(rig.at("long")).unwrap().as_os_str(), long);
    assert_eq!(fs::symlink_metadata(rig.at("short")).unwrap().len(), 4);
    assert_eq!(errno(fs::read(rig.at("loop"))), libc::ELOOP);
    assert_eq!(errno(symlink("file", rig.at("short"))), libc::EEXIST);
}

#[test]
fn pipes_sockets_and_devices_are_kept_as_they_are() {
    let Some(rig) = Rig::new() else { return };
    let make = |name: &str, kind, device| {
        mknodat(
            CWD,
            rig.at(name),
            kind,
            Mode::from_bits_retain(0o640),
            device,
        )
        .unwrap()
    };
    make("pipe", FileType::Fifo, 0);
    make("socket", FileType::Socket, 0);
    make("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    make("disk", FileType::BlockDevice, rustix::fs::makedev(7, 9));
    make("file", FileType::RegularFile, 0);
    let kind = |name: &str| fs::symlink_metadata(rig.at(name)).unwrap().file_type();
    assert!(kind("pipe").is_fifo() && kind("socket").is_socket() && kind("file").is_file());
    assert!(kind("null").is_char_device() && kind("disk").is_block_device());
    assert_eq!(
        fs::symlink_metadata(rig.at("null")).unwrap().rdev(),
        rustix::fs::makedev(1, 3)
    );
    assert_eq!(
        fs::symlink_metadata(rig.at("disk")).unwrap().rdev(),
        rustix::fs::makedev(7, 9)
    );
    // The drive gives nobody devices.
    assert_eq!(errno(File::open(rig.at("null"))), libc::EACCES);
    // A pipe is the kernel's, and works.
    let (path, other) = (rig.at("pipe"), rig.at("pipe"));
    let writer = std::thread::spawn(move || fs::write(path, "through"));
    assert_eq!(fs::read_to_string(other).unwrap(), "through");
    writer.join().unwrap().unwrap();
}

#[test]
fn modes_owners_and_times_are_kept() {
    let Some(mut rig) = Rig::new() else { return };
    fs::write(rig.at("file"), "x").unwrap();
    fs::set_permissions(rig.at("file"), Permissions::from_mode(0o4751)).unwrap();
    assert_eq!(
        fs::metadata(rig.at("file")).unwrap().mode() & 0o7777,
        0o4751
    );
    // chown takes set-id bits away, as on Linux, even from root.
    std::os::unix::fs::chown(rig.at("file"), Some(1234), Some(5678)).unwrap();
    let meta = fs::metadata(rig.at("file")).unwrap();
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o7777),
        (1234, 5678, 0o751)
    );
    let before = meta.ctime();
    let time = |secs, nanos| Timespec {
        tv_sec: secs,
        tv_nsec: nanos,
    };
    for (atime, mtime) in [
        (
            time(1_700_000_000, 123_456_789),
            time(1_600_000_000, 987_654_321),
        ),
        (time(-1, 500_000_001), time(-86_400, 1)),
        (time(0, 0), time(4_102_444_800, 999_999_999)),
    ] {
        let times = Timestamps {
            last_access: atime,
            last_modification: mtime,
        };
        utimensat(CWD, rig.at("file"), &times, AtFlags::empty()).unwrap();
        let meta = fs::metadata(rig.at("file")).unwrap();
        assert_eq!(
            (meta.atime(), meta.atime_nsec()),
            (atime.tv_sec, atime.tv_nsec)
        );
        assert_eq!(
            (meta.mtime(), meta.mtime_nsec()),
            (mtime.tv_sec, mtime.tv_nsec)
        );
        assert!(meta.ctime() >= before);
    }
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    let omit = Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_OMIT,
    };
    utimensat(
        CWD,
        rig.at("file"),
        &Timestamps {
            last_access: omit,
            last_modification: now,
        },
        AtFlags::empty(),
    )
    .unwrap();
    let meta = fs::metadata(rig.at("file")).unwrap();
    assert_eq!(meta.atime(), 0);
    assert!(meta.modified().unwrap().elapsed().unwrap() < Duration::from_secs(60));
    let kept = (meta.mtime(), meta.mtime_nsec());
    rig.remount();
    let meta = fs::metadata(rig.at("file")).unwrap();
    assert_eq!(
        (
            meta.uid(),
            meta.gid(),
            meta.mode() & 0o7777,
            (meta.mtime(), meta.mtime_nsec())
        ),
        (1234, 5678, 0o751, kept)
    );
}

#[test]
fn what_a_folder_with_set_group_id_makes_belongs_to_its_group() {
    let Some(rig) = Rig::new() else { return };
    fs::create_dir(rig.at("team")).unwrap();
    std::os::unix::fs::chown(rig.at("team"), Some(0), Some(4321)).unwrap();
    fs::set_permissions(rig.at("team"), Permissions::from_mode(0o2775)).unwrap();
    fs::create_dir(rig.at("team/sub")).unwrap();
    fs::write(rig.at("team/sub/file"), "x").unwrap();
    let (sub, file) = (
        fs::metadata(rig.at("team/sub")).unwrap(),
        fs::metadata(rig.at("team/sub/file")).unwrap(),
    );
    assert_eq!(
        (
            sub.gid(),
            sub.mode() & 0o2000,
            file.gid(),
            file.mode() & 0o2000
        ),
        (4321, 0o2000, 4321, 0)
    );
}

#[test]
fn changes_of_names_move_the_times_of_folders() {
    let Some(rig) = Rig::new() else { return };
    fs::create_dir(rig.at("dir")).unwrap();
    let times = || {
        let meta = fs::metadata(rig.at("dir")).unwrap();
        (
            (meta.mtime(), meta.mtime_nsec()),
            (meta.ctime(), meta.ctime_nsec()),
        )
    };
    let mut last = times();
    let steps: [&dyn Fn(); 4] = [
        &|| fs::write(rig.at("dir/a"), "").unwrap(),
        &|| fs::rename(rig.at("dir/a"), rig.at("dir/b")).unwrap(),
        &|| fs::hard_link(rig.at("dir/b"), rig.at("dir/c")).unwrap(),
        &|| fs::remove_file(rig.at("dir/b")).unwrap(),
    ];
    for step in steps {
        std::thread::sleep(Duration::from_millis(5));
        step();
        let now = times();
        assert!(now.0 > last.0 && now.1 > last.1, "{last:?} {now:?}");
        last = now;
    }
}

#[test]
fn extended_attributes_have_the_limits_of_linux() {
    let Some(mut rig) = Rig::new() else { return };
    let file = rig.at("file");
    fs::write(&file, "x").unwrap();
    let set = |name: &str, value: &[u8], flags| {
        setxattr(&file, name, value, flags).map_err(|e| e.raw_os_error())
    };
    let get = |name: &str| {
        let mut value = vec![0; 65536];
        getxattr(&file, name, &mut value[..])
            .map(|len| value[..len].to_vec())
            .map_err(|e| e.raw_os_error())
    };
    set("user.mark", b"value", XattrFlags::empty()).unwrap();
    assert_eq!(
        set("user.mark", b"other", XattrFlags::CREATE),
        Err(libc::EEXIST)
    );
    assert_eq!(
        set("user.none", b"other", XattrFlags::REPLACE),
        Err(libc::ENODATA)
    );
    set("user.mark", b"", XattrFlags::REPLACE).unwrap();
    assert_eq!(get("user.mark"), Ok(Vec::new()));
    assert_eq!(get("user.none"), Err(libc::ENODATA));
    let large = rig::noise(1, 65536);
    set("user.large", &large, XattrFlags::empty()).unwrap();
    assert_eq!(get("user.large").unwrap(), large);
    assert_eq!(
        set("user.larger", &[0; 65537], XattrFlags::empty()),
        Err(libc::E2BIG)
    );
    assert_eq!(
        getxattr(&file, "user.large", &mut [0_u8; 10][..])
            .unwrap_err()
            .raw_os_error(),
        libc::ERANGE
    );
    assert_eq!(getxattr_query(&file, "user.large").unwrap(), 65536);
    set("trusted.mark", b"t", XattrFlags::empty()).unwrap();
    let list = || {
        let mut names = vec![0_u8; 65536];
        let len = listxattr(&file, &mut names[..]).unwrap();
        names[..len]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect::<BTreeSet<_>>()
    };
    let expected: BTreeSet<_> = [&b"user.mark"[..], b"user.large", b"trusted.mark"]
        .iter()
        .map(|name| name.to_vec())
        .collect();
    assert_eq!(list(), expected);
    assert_eq!(
        listxattr(&file, &mut [0_u8; 4][..])
            .unwrap_err()
            .raw_os_error(),
        libc::ERANGE
    );
    removexattr(&file, "user.mark").unwrap();
    assert_eq!(
        removexattr(&file, "user.mark").unwrap_err().raw_os_error(),
        libc::ENODATA
    );
    rig.remount();
    assert_eq!(get("user.large").unwrap(), large);
    assert_eq!(get("user.mark"), Err(libc::ENODATA));
}

/// What the vault keeps as attributes of its root, such as what is held, no program sees, sets or removes.
#[test]
fn the_vaults_own_attributes_are_no_business_of_programs() {
    let Some(rig) = Rig::new() else { return };
    let ctx = rig::context();
    let held = rig.vault.set_hold(&ctx, &[], "lawsuit");
    rig.runtime.block_on(held).unwrap();
    let attributes = rig.vault.xattrs(&ctx, NodeId::ROOT);
    let attributes = rig.runtime.block_on(attributes).unwrap();
    let [(name, _)] = &attributes[..] else {
        panic!("one attribute: {}", attributes.len());
    };
    let name = std::str::from_utf8(name).unwrap();
    let mut names = vec![0_u8; 65536];
    assert_eq!(listxattr(rig.drive(), &mut names[..]), Ok(0));
    let none = getxattr(rig.drive(), name, &mut [0_u8; 100][..]).unwrap_err();
    assert_eq!(none.raw_os_error(), libc::EOPNOTSUPP);
    let set = setxattr(rig.drive(), "warifu.hold.x", b"", XattrFlags::empty()).unwrap_err();
    assert_eq!(set.raw_os_error(), libc::EOPNOTSUPP);
    let removed = removexattr(rig.drive(), name).unwrap_err();
    assert_eq!(removed.raw_os_error(), libc::EOPNOTSUPP);
}

#[test]
fn the_room_is_that_of_the_fullest_server() {
    let Some(rig) = Rig::new() else { return };
    rig.stores[0].set_capacity(Some(64 << 20));
    rig.stores[1].set_capacity(Some(32 << 20));
    rig.stores[2].set_capacity(Some(128 << 20));
    let room = rustix::fs::statvfs(rig.drive()).unwrap();
    let free = room.f_bavail * room.f_frsize;
    assert!(free <= 32 << 20 && free > 24 << 20, "{free}");
    assert!(room.f_blocks >= room.f_bfree);
    assert_eq!(room.f_namemax, 255);
}

#[test]
fn p10_times_outside_every_calendar_do_no_harm() {
    let Some(rig) = Rig::new() else { return };
    fs::write(rig.at("file"), "x").unwrap();
    for secs in [i64::MIN, i64::MIN + 1, i64::MAX, -62_135_596_800] {
        // More often than there are threads to lose.
        for nanos in [0, 5, 999_999_999, 5, 5, 5, 5, 5, 5] {
            let time = Timespec {
                tv_sec: secs,
                tv_nsec: nanos,
            };
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            utimensat(CWD, rig.at("file"), &times, AtFlags::empty()).unwrap();
            let meta = fs::metadata(rig.at("file")).unwrap();
            // Linux keeps no nanoseconds at either end.
            let nanos = if secs == i64::MIN || secs == i64::MAX {
                0
            } else {
                nanos
            };
            assert_eq!((meta.mtime(), meta.mtime_nsec()), (secs, nanos));
        }
    }
}

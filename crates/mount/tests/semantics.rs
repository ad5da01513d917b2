//! What programs may rely on beside names and contents, and where a drive is not quite a local disk. Each has its line in
//! docs/SEMANTICS.md.

mod rig;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rig::{Rig, context, errno, noise};
use rustix::fs::{AtFlags, Mode, OFlags, XattrFlags, inotify};
use warifu_vault::node::{Name, NodeId};

/// How many versions a file in the top folder has, with their sizes.
fn sizes(rig: &Rig, name: &str) -> Vec<u64> {
    rig.runtime.block_on(async {
        let name = Name::new(name.as_bytes()).unwrap();
        let attr = rig
            .vault
            .lookup(&context(), NodeId::ROOT, &name)
            .await
            .unwrap();
        let history = rig.vault.history(&context(), attr.node).await.unwrap();
        history.iter().map(|version| version.size).collect()
    })
}

#[test]
fn a_write_to_a_file_opened_with_o_sync_is_a_saved_version_when_it_returns() {
    for rig in [Rig::new(), Rig::with_pages()].into_iter().flatten() {
        for (name, flag) in [("sync", libc::O_SYNC), ("dsync", libc::O_DSYNC)] {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .custom_flags(flag)
                .open(rig.at(name))
                .unwrap();
            file.write_all(b"one").unwrap();
            assert_eq!(sizes(&rig, name), [3], "{name}");
            file.write_all(b" two").unwrap();
            assert_eq!(sizes(&rig, name), [3, 7], "{name}");
            drop(file);
            assert_eq!(
                sizes(&rig, name),
                [3, 7],
                "{name}: nothing was left to save"
            );
        }
        let mut file = File::create(rig.at("plain")).unwrap();
        file.write_all(b"one").unwrap();
        assert_eq!(
            sizes(&rig, "plain"),
            [0_u64; 0],
            "only a close or a sync saves"
        );
        file.sync_data().unwrap();
        assert_eq!(sizes(&rig, "plain"), [3]);
    }
}

#[test]
fn o_direct_is_taken_at_any_place_and_length() {
    let Some(rig) = Rig::new() else { return };
    let bytes = noise(1, 100_000);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .custom_flags(libc::O_DIRECT)
        .open(rig.at("file"))
        .unwrap();
    file.write_all_at(&bytes, 3).unwrap();
    let mut read = vec![0; 70_001];
    file.read_exact_at(&mut read, 1_003).unwrap();
    assert!(read == bytes[1_000..71_001]);
    drop(file);
    assert!(fs::read(rig.at("file")).unwrap()[3..] == bytes);
}

#[test]
fn paths_may_have_4095_bytes_and_trees_may_be_deeper() {
    let Some(rig) = Rig::new() else { return };
    let long = "d".repeat(255);
    let mut path = rig.drive();
    let left = |path: &Path| 4_095 - path.as_os_str().len();
    while left(&path) > 512 {
        path.push(&long);
    }
    // Two components fill up what is left.
    let rest = left(&path) - 2;
    path.push("e".repeat(rest / 2));
    fs::create_dir_all(&path).unwrap();
    path.push("f".repeat(rest - rest / 2));
    assert_eq!(path.as_os_str().len(), 4_095);
    fs::write(&path, "deep").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "deep");
    let mut longer = path.clone().into_os_string();
    longer.push("f");
    assert_eq!(errno(fs::metadata(longer)), libc::ENAMETOOLONG);
    // From folder to folder there is no limit.
    let mut dir = rustix::fs::open(
        path.parent().unwrap(),
        OFlags::DIRECTORY | OFlags::PATH,
        Mode::empty(),
    )
    .unwrap();
    for _ in 0..20 {
        rustix::fs::mkdirat(&dir, &long, Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, &long, OFlags::DIRECTORY | OFlags::PATH, Mode::empty())
            .unwrap();
    }
    let file = rustix::fs::openat(
        &dir,
        "bottom",
        OFlags::CREATE | OFlags::WRONLY,
        Mode::RUSR | Mode::WUSR,
    );
    File::from(file.unwrap()).write_all(b"x").unwrap();
    fs::remove_dir_all(rig.at(&long)).unwrap();
    assert_eq!(fs::read_dir(rig.drive()).unwrap().count(), 0);
}

#[test]
fn attributes_that_samba_needs_are_kept() {
    let Some(mut rig) = Rig::new() else { return };
    let file = rig.at("shared.docx");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(rig.dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    let names = [
        "user.DOSATTRIB",
        "user.SAMBA_PAI",
        "user.DosStream.Zone.Identifier:$DATA",
        "security.NTACL",
        "trusted.SGI_ACL_FILE",
    ];
    for (seed, name) in names.into_iter().enumerate() {
        let value = noise(seed as u64, 300);
        rustix::fs::setxattr(&file, name, &value, XattrFlags::CREATE).unwrap();
    }
    for remounted in [false, true] {
        if remounted {
            rig.remount();
        }
        for (seed, name) in names.into_iter().enumerate() {
            let mut value = [0; 1_000];
            let len = rustix::fs::getxattr(&file, name, &mut value[..]).unwrap();
            assert!(value[..len] == noise(seed as u64, 300), "{name}");
        }
    }
    let as_nobody = |name: &str| {
        Command::new("setfattr")
            .args(["-n", name, "-v", "x"])
            .arg(&file)
            .uid(65_534)
            .gid(65_534)
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(as_nobody("user.mine"));
    assert!(!as_nobody("security.NTACL") && !as_nobody("trusted.mine"));
    // As everywhere on Linux, a link has no attributes of users.
    symlink("shared.docx", rig.at("link")).unwrap();
    let refused = rustix::fs::lsetxattr(rig.at("link"), "user.x", b"x", XattrFlags::empty());
    assert_eq!(refused.unwrap_err().raw_os_error(), libc::EPERM);
}

/// What inotify says of a folder, until it says nothing more.
fn events(watch: &std::os::fd::OwnedFd) -> Vec<(String, inotify::ReadFlags)> {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watch, &mut buffer);
    let mut seen = Vec::new();
    while let Ok(event) = reader.next() {
        let name = event
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        seen.push((name, event.events()));
    }
    seen
}

#[test]
fn inotify_tells_what_programs_of_this_machine_do() {
    let Some(rig) = Rig::new() else { return };
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, rig.drive(), inotify::WatchFlags::ALL_EVENTS).unwrap();
    fs::write(rig.at("a"), "text").unwrap();
    fs::rename(rig.at("a"), rig.at("b")).unwrap();
    fs::set_permissions(rig.at("b"), Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(rig.at("b")).unwrap();
    let seen = events(&watch);
    for (name, event) in [
        ("a", inotify::ReadFlags::CREATE),
        ("a", inotify::ReadFlags::OPEN),
        ("a", inotify::ReadFlags::MODIFY),
        ("a", inotify::ReadFlags::CLOSE_WRITE),
        ("a", inotify::ReadFlags::MOVED_FROM),
        ("b", inotify::ReadFlags::MOVED_TO),
        ("b", inotify::ReadFlags::ATTRIB),
        ("b", inotify::ReadFlags::DELETE),
    ] {
        assert!(
            seen.iter()
                .any(|(of, what)| of == name && what.contains(event)),
            "{event:?} of {name}: {seen:?}"
        );
    }
    // Others who use the same vault are not seen: the kernel knows of what goes through it, and nothing else.
    rig.runtime.block_on(async {
        let name = Name::new(b"elsewhere").unwrap();
        let me = context();
        let made = rig.vault.make_dir(&me, NodeId::ROOT, &name, 0o755);
        made.await.unwrap();
    });
    assert!(rig.at("elsewhere").is_dir());
    let seen = events(&watch);
    let created =
        |(_, what): &(String, inotify::ReadFlags)| what.contains(inotify::ReadFlags::CREATE);
    assert!(!seen.iter().any(created), "{seen:?}");
}

#[test]
fn o_tmpfile_is_refused_and_programs_do_without() {
    let Some(rig) = Rig::new() else { return };
    let refused = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_TMPFILE)
        .open(rig.drive());
    assert_eq!(errno(refused), libc::EOPNOTSUPP);
    let script = "import sys, tempfile\nf = tempfile.TemporaryFile(dir=sys.argv[1])\nf.write(b'x' * 9)\nf.seek(0)\nassert f.read() == b'x' * 9";
    let done = Command::new("python3")
        .args(["-c", script])
        .arg(rig.drive())
        .status();
    assert!(done.unwrap().success());
    assert_eq!(fs::read_dir(rig.drive()).unwrap().count(), 0);
}

#[test]
fn flags_of_files_and_shared_blocks_are_not_kept_and_copies_are_made_all_the_same() {
    let Some(rig) = Rig::new() else { return };
    let bytes = noise(3, 50_000);
    fs::write(rig.at("file"), &bytes).unwrap();
    let file = File::open(rig.at("file")).unwrap();
    let flags = rustix::fs::ioctl_getflags(&file).unwrap_err();
    assert_eq!(flags.raw_os_error(), libc::ENOTTY);
    let copy = File::create(rig.at("copy")).unwrap();
    let shared = rustix::fs::ioctl_ficlone(&copy, &file).unwrap_err();
    assert!(
        [libc::EOPNOTSUPP, libc::ENOTTY, libc::EXDEV].contains(&shared.raw_os_error()),
        "{shared}"
    );
    let copied = rustix::fs::copy_file_range(&file, None, &copy, None, 50_000).unwrap();
    assert_eq!(copied, 50_000);
    drop(copy);
    assert!(fs::read(rig.at("copy")).unwrap() == bytes);
    let done = Command::new("cp")
        .args(["--reflink=auto", "--sparse=always", "-a"])
        .args([rig.at("file"), rig.at("another")])
        .status();
    assert!(done.unwrap().success());
    assert!(fs::read(rig.at("another")).unwrap() == bytes);
}

#[test]
fn times_move_with_writes_and_not_with_reads() {
    let Some(rig) = Rig::new() else { return };
    let file = rig.at("file");
    fs::write(&file, "text").unwrap();
    let times = || {
        let meta = fs::metadata(&file).unwrap();
        (
            (meta.atime(), meta.atime_nsec()),
            (meta.mtime(), meta.mtime_nsec()),
            (meta.ctime(), meta.ctime_nsec()),
        )
    };
    let made = times();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(fs::read(&file).unwrap(), b"text");
    assert_eq!(times(), made, "reading leaves all three");
    OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap()
        .write_all(b" more")
        .unwrap();
    let written = times();
    assert!(written.1 > made.1 && written.2 > made.2);
    std::thread::sleep(Duration::from_millis(20));
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let changed = times();
    assert_eq!(changed.1, written.1);
    assert!(changed.2 > written.2);
    std::thread::sleep(Duration::from_millis(20));
    fs::rename(&file, rig.at("other")).unwrap();
    fs::rename(rig.at("other"), &file).unwrap();
    assert!(times().2 > changed.2 && times().1 == written.1);
}

#[test]
fn the_time_of_birth_is_not_told_and_a_file_takes_as_many_blocks_as_it_has_bytes() {
    let Some(rig) = Rig::new() else { return };
    let file = File::create(rig.at("file")).unwrap();
    file.set_len(1 << 20).unwrap();
    let stat = rustix::fs::statx(
        &file,
        "",
        AtFlags::EMPTY_PATH,
        rustix::fs::StatxFlags::BASIC_STATS | rustix::fs::StatxFlags::BTIME,
    )
    .unwrap();
    assert_eq!(stat.stx_mask & rustix::fs::StatxFlags::BTIME.bits(), 0);
    assert_eq!(
        stat.stx_blocks,
        (1 << 20) / 512,
        "a hole counts like everything else"
    );
}

#[test]
fn a_file_may_be_64_tib_long_and_no_longer() {
    let Some(rig) = Rig::new() else { return };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(rig.at("sparse"))
        .unwrap();
    file.set_len(1 << 40).unwrap();
    file.write_all_at(b"end", (1 << 40) - 3).unwrap();
    let mut end = [9; 8];
    file.read_exact_at(&mut end, (1 << 40) - 8).unwrap();
    assert_eq!(&end, b"\0\0\0\0\0end");
    assert_eq!(errno(file.set_len((1 << 46) + 1)), libc::EFBIG);
    assert_eq!(file.metadata().unwrap().len(), 1 << 40);
    file.set_len(10).unwrap();
}

#[test]
fn names_differ_by_case_and_by_composition() {
    let Some(rig) = Rig::new() else { return };
    let names = [
        "Report.DOCX",
        "report.docx",
        "が.txt",
        "か\u{3099}.txt",
        " x",
        "x ",
    ];
    for name in names {
        fs::write(rig.at(name), name).unwrap();
    }
    for name in names {
        assert_eq!(fs::read_to_string(rig.at(name)).unwrap(), name);
    }
    assert_eq!(fs::read_dir(rig.drive()).unwrap().count(), names.len());
}

#[test]
fn programs_on_the_drive_get_nobodys_rights_and_devices_lead_nowhere() {
    let Some(rig) = Rig::new() else { return };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let point = rig.drive().to_string_lossy().into_owned();
    let line = mounts
        .lines()
        .find(|line| line.split(' ').nth(4) == Some(&point))
        .unwrap();
    let options: Vec<_> = line.split(' ').nth(5).unwrap().split(',').collect();
    assert!(
        options.contains(&"nosuid") && options.contains(&"nodev"),
        "{line}"
    );
    fs::set_permissions(rig.dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::copy(which("id"), rig.at("id")).unwrap();
    fs::set_permissions(rig.at("id"), Permissions::from_mode(0o4755)).unwrap();
    let output = Command::new(rig.at("id"))
        .arg("-u")
        .uid(65_534)
        .gid(65_534)
        .output();
    assert_eq!(output.unwrap().stdout, b"65534\n");
}

fn which(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
        .unwrap()
}

#[test]
fn a_program_that_runs_can_be_neither_written_nor_emptied() {
    for rig in [Rig::new(), Rig::with_pages()].into_iter().flatten() {
        let path = rig.at("program");
        let contents = fs::read(which("sleep")).unwrap();
        fs::write(&path, &contents).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let mut running = Command::new(&path).arg("60").spawn().unwrap();
        let open = |flags| rustix::fs::open(&path, flags, Mode::empty()).map(drop);
        for flags in [
            OFlags::WRONLY,
            OFlags::RDWR,
            OFlags::WRONLY | OFlags::TRUNC,
            // Of this one the kernel asks us first.
            OFlags::RDONLY | OFlags::TRUNC,
        ] {
            assert_eq!(open(flags), Err(rustix::io::Errno::TXTBSY), "{flags:?}");
        }
        let whole = fs::read(&path).unwrap() == contents;
        assert!(whole, "it was emptied all the same");
        assert!(running.try_wait().unwrap().is_none(), "it still runs");
        running.kill().unwrap();
        running.wait().unwrap();
        // The kernel says that it has ended some time after it has.
        let mut tries = 0;
        while open(OFlags::RDONLY | OFlags::TRUNC).is_err() {
            assert!(tries < 500, "it cannot be emptied after it has ended");
            tries += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }
}

#[test]
fn a_folder_that_is_removed_while_it_is_in_use_takes_nothing_more() {
    let Some(rig) = Rig::new() else { return };
    fs::create_dir(rig.at("dir")).unwrap();
    let dir = rustix::fs::open(rig.at("dir"), OFlags::DIRECTORY, Mode::empty()).unwrap();
    fs::remove_dir(rig.at("dir")).unwrap();
    let refused = rustix::fs::openat(&dir, "new", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR);
    assert_eq!(refused.unwrap_err().raw_os_error(), libc::ENOENT);
}

#[test]
fn pipes_and_sockets_connect_programs() {
    let Some(rig) = Rig::new() else { return };
    let listener = std::os::unix::net::UnixListener::bind(rig.at("socket")).unwrap();
    let path = rig.at("socket");
    let client = std::thread::spawn(move || {
        let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        stream.write_all(b"through").unwrap();
    });
    let (mut stream, _) = listener.accept().unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    client.join().unwrap();
    assert_eq!(said, "through");
}

#[test]
fn a_name_that_is_no_text_is_a_name() {
    let Some(rig) = Rig::new() else { return };
    let name = Path::new(OsStr::from_bytes(b"\xff\xfe\x80"));
    fs::write(rig.at(name), "x").unwrap();
    assert_eq!(fs::read_to_string(rig.at(name)).unwrap(), "x");
}

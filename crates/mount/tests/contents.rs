//! Contents on a real mount.

mod rig;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rig::{Rig, close, errno, noise};
use rustix::fs::{FallocateFlags, fallocate};
use warifu_vault::context::Act;

/// Lets another program do something with the file: its `path`, and `os` and `mmap`, are there for the script.
fn python(file: &std::path::Path, script: &str) {
    let all = format!("import mmap, os, sys\npath = sys.argv[1]\n{script}");
    let output = Command::new("python3")
        .args(["-c", &all])
        .arg(file)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn update(path: impl AsRef<std::path::Path>) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .unwrap()
}

#[test]
fn what_is_written_is_read_back_also_after_a_remount() {
    let Some(mut rig) = Rig::new() else { return };
    // Around the sizes at which requests, chunks and extents end.
    let sizes = [
        0,
        1,
        4095,
        4096,
        65_535,
        65_536,
        65_537,
        (1 << 20) + 1,
        (4 << 20) - 1,
        (4 << 20) + 1,
        9 << 20,
    ];
    for (seed, size) in sizes.into_iter().enumerate() {
        fs::write(rig.at(format!("{size}")), noise(seed as u64, size)).unwrap();
    }
    for pass in 0..2 {
        for (seed, size) in sizes.into_iter().enumerate() {
            let path = rig.at(format!("{size}"));
            assert_eq!(fs::metadata(&path).unwrap().len(), size as u64);
            assert!(
                fs::read(&path).unwrap() == noise(seed as u64, size),
                "{size} bytes, pass {pass}"
            );
        }
        rig.remount();
    }
}

#[test]
fn o_append_appends_whoever_else_writes() {
    for rig in [Rig::new(), Rig::with_pages()].into_iter().flatten() {
        let append = || {
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(rig.at("log"))
                .unwrap()
        };
        let (mut a, mut b) = (append(), append());
        for round in 0..50 {
            writeln!(a, "a{round}").unwrap();
            writeln!(b, "b{round}").unwrap();
        }
        let expected: String = (0..50)
            .map(|round| format!("a{round}\nb{round}\n"))
            .collect();
        drop((a, b));
        assert_eq!(fs::read_to_string(rig.at("log")).unwrap(), expected);
        // Many at once: every line comes out whole, and none is lost.
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let mut file = append();
                scope.spawn(move || {
                    for line in 0..50 {
                        file.write_all(format!("{writer}-{line}\n").as_bytes())
                            .unwrap();
                    }
                });
            }
        });
        let text = fs::read_to_string(rig.at("log")).unwrap();
        assert_eq!(text.lines().count(), 100 + 400);
        for (writer, line) in (0..8).flat_map(|writer| (0..50).map(move |line| (writer, line))) {
            assert!(
                text.lines()
                    .any(|found| found == format!("{writer}-{line}"))
            );
        }
        // One append larger than a request goes in whole and in order.
        let large = noise(9, 3 << 20);
        append().write_all(&large).unwrap();
        assert!(fs::read(rig.at("log")).unwrap().ends_with(&large));
    }
}

#[test]
fn an_append_goes_to_the_true_end_although_the_kernel_remembers_another() {
    let Some(rig) = Rig::new() else { return };
    fs::write(rig.at("log"), "one\n").unwrap();
    let mut open = OpenOptions::new().append(true).open(rig.at("log")).unwrap();
    // Behind the kernel's back, as another process with the same vault would.
    rig.runtime.block_on(async {
        let context = rig::context();
        let attr = rig.vault.resolve(&context, b"/log").await.unwrap();
        let handle = rig
            .vault
            .open(&context, attr.node, warifu_vault::Access::READ_WRITE)
            .await
            .unwrap();
        handle.write(&context, 4, b"two\n").await.unwrap();
        handle.flush(&context).await.unwrap();
        handle.release(&context).await.unwrap();
    });
    open.write_all(b"three\n").unwrap();
    drop(open);
    assert_eq!(
        fs::read_to_string(rig.at("log")).unwrap(),
        "one\ntwo\nthree\n"
    );
}

#[test]
fn o_trunc_and_truncate_cut_and_grow() {
    let Some(mut rig) = Rig::new() else { return };
    fs::write(rig.at("file"), noise(1, 5 << 20)).unwrap();
    let file = update(rig.at("file"));
    file.set_len(100).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 100);
    file.set_len(200).unwrap();
    let mut expected = noise(1, 100);
    expected.resize(200, 0);
    drop(file);
    assert_eq!(fs::read(rig.at("file")).unwrap(), expected);
    nix::unistd::truncate(&rig.at("file"), 50).unwrap();
    assert_eq!(fs::read(rig.at("file")).unwrap(), noise(1, 50));
    drop(
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(rig.at("file"))
            .unwrap(),
    );
    assert_eq!(fs::metadata(rig.at("file")).unwrap().len(), 0);
    fs::write(rig.at("file"), "again").unwrap();
    // On Linux, emptying works through an open for reading too.
    let reading = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_TRUNC)
        .open(rig.at("file"))
        .unwrap();
    assert_eq!(reading.metadata().unwrap().len(), 0);
    drop(reading);
    rig.remount();
    assert_eq!(fs::metadata(rig.at("file")).unwrap().len(), 0);
}

#[test]
fn sparse_files_read_as_zeros_where_nothing_was_written() {
    let Some(mut rig) = Rig::new() else { return };
    let file = update(rig.at("sparse"));
    file.write_all_at(b"end", 40 << 20).unwrap();
    file.write_all_at(b"middle", 10 << 20).unwrap();
    drop(file);
    rig.remount();
    let mut file = File::open(rig.at("sparse")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), (40 << 20) + 3);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let mut expected = vec![0; (40 << 20) + 3];
    expected[10 << 20..][..6].copy_from_slice(b"middle");
    expected[40 << 20..].copy_from_slice(b"end");
    assert!(bytes == expected);
}

#[test]
fn a_removed_file_lives_as_long_as_it_is_open() {
    let Some(rig) = Rig::new() else { return };
    let file = update(rig.at("file"));
    file.write_all_at(b"before", 0).unwrap();
    fs::remove_file(rig.at("file")).unwrap();
    assert_eq!(errno(fs::metadata(rig.at("file"))), libc::ENOENT);
    file.write_all_at(b"after", 6).unwrap();
    file.sync_all().unwrap();
    let meta = file.metadata().unwrap();
    assert_eq!((meta.nlink(), meta.len()), (0, 11));
    let mut bytes = [0; 11];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"beforeafter");
    // A new file of the name is another file.
    fs::write(rig.at("file"), "new").unwrap();
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"beforeafter");
    close(file).unwrap();
    assert_eq!(fs::read_to_string(rig.at("file")).unwrap(), "new");
    // The same for one that a rename replaces.
    let replaced = File::open(rig.at("file")).unwrap();
    fs::write(rig.at("other"), "other").unwrap();
    fs::rename(rig.at("other"), rig.at("file")).unwrap();
    let mut text = String::new();
    (&replaced).read_to_string(&mut text).unwrap();
    assert_eq!(text, "new");
}

#[test]
fn a_shared_mapping_is_the_file() {
    for mut rig in [Rig::new(), Rig::with_pages()].into_iter().flatten() {
        let len = 300_000;
        fs::write(rig.at("file"), noise(1, len)).unwrap();
        python(
            &rig.at("file"),
            "file = os.open(path, os.O_RDWR)
whole = os.pread(file, 300000, 0)
map = mmap.mmap(file, 300000)
assert map[:] == whole
map[0:5] = b'first'
map[150000:150006] = b'middle'
map[299996:300000] = b'last'
map.flush()
# Who reads the file sees what was synced, and a mapping sees what somebody wrote.
assert open(path, 'rb').read()[150000:150006] == b'middle'
other = os.open(path, os.O_RDWR)
os.pwrite(other, b'WRITE', 100)
os.close(other)
assert map[100:105] == b'WRITE'
# A direct read sees what was not synced.
map[500:506] = b'direct'
assert os.pread(file, 6, 500) == b'direct'
# What is changed after the close of the file, and never synced, is written back when the mapping goes. (Python keeps a
# descriptor of its own as long as the mapping, so that one is closed first.)
os.close(file)
for number in os.listdir('/proc/self/fd'):
    try:
        if os.readlink('/proc/self/fd/' + number) == path:
            os.close(int(number))
    except OSError:
        pass
map[200000:200004] = b'late'
os._exit(0)",
        );
        let mut expected = noise(1, len);
        expected[..5].copy_from_slice(b"first");
        expected[100..105].copy_from_slice(b"WRITE");
        expected[500..506].copy_from_slice(b"direct");
        expected[150_000..150_006].copy_from_slice(b"middle");
        expected[200_000..200_004].copy_from_slice(b"late");
        expected[len - 4..].copy_from_slice(b"last");
        assert!(fs::read(rig.at("file")).unwrap() == expected);
        rig.remount();
        assert!(fs::read(rig.at("file")).unwrap() == expected);
    }
}

#[test]
fn a_private_mapping_changes_nothing() {
    let Some(rig) = Rig::new() else { return };
    fs::write(rig.at("file"), noise(1, 10_000)).unwrap();
    python(
        &rig.at("file"),
        "file = os.open(path, os.O_RDONLY)
map = mmap.mmap(file, 10000, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
map[5:9] = b'mine'
assert map[5:9] == b'mine' and os.pread(file, 4, 5) != b'mine'",
    );
    assert!(fs::read(rig.at("file")).unwrap() == noise(1, 10_000));
}

#[test]
fn programs_run_from_the_drive() {
    let Some(rig) = Rig::new() else { return };
    fs::copy("/bin/true", rig.at("true")).unwrap();
    assert!(Command::new(rig.at("true")).status().unwrap().success());
    fs::write(rig.at("script"), "#!/bin/sh\necho \"$0 ran\"\n").unwrap();
    fs::set_permissions(rig.at("script"), Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(rig.at("script")).output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{} ran\n", rig.at("script").display())
    );
    fs::set_permissions(rig.at("script"), Permissions::from_mode(0o644)).unwrap();
    assert_eq!(errno(Command::new(rig.at("script")).output()), libc::EACCES);
}

#[test]
fn fallocate_sets_sizes_and_zeros() {
    let Some(rig) = Rig::new() else { return };
    let file = update(rig.at("file"));
    let all = || fs::read(rig.at("file")).unwrap();
    file.write_all_at(&[7; 10_000], 0).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, 12_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 12_000);
    fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 50_000).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 12_000);
    fallocate(
        &file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        100,
        1_000,
    )
    .unwrap();
    fallocate(&file, FallocateFlags::ZERO_RANGE, 5_000, 10_000).unwrap();
    fallocate(
        &file,
        FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
        4_000,
        100_000,
    )
    .unwrap();
    file.sync_all().unwrap();
    let mut expected = vec![7; 4_000];
    expected[100..1_100].fill(0);
    expected.resize(15_000, 0);
    assert!(all() == expected);
    let refused = fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096).unwrap_err();
    assert_eq!(refused.raw_os_error(), libc::EOPNOTSUPP);
    for store in &rig.stores {
        store.set_capacity(Some(16 << 20));
    }
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(
        fallocate(&file, FallocateFlags::empty(), 0, 1 << 40)
            .unwrap_err()
            .raw_os_error(),
        libc::ENOSPC
    );
}

#[test]
fn data_and_holes_are_sought_as_in_a_file_without_holes() {
    let Some(rig) = Rig::new() else { return };
    fs::write(rig.at("file"), noise(1, 5_000)).unwrap();
    let file = File::open(rig.at("file")).unwrap();
    let seek = |from| rustix::fs::seek(&file, from).map_err(|error| error.raw_os_error());
    assert_eq!(seek(rustix::fs::SeekFrom::Data(10)), Ok(10));
    assert_eq!(seek(rustix::fs::SeekFrom::Hole(10)), Ok(5_000));
    assert_eq!(seek(rustix::fs::SeekFrom::Data(5_000)), Err(libc::ENXIO));
    assert_eq!(seek(rustix::fs::SeekFrom::Hole(6_000)), Err(libc::ENXIO));
    let mut file = file;
    assert_eq!(file.seek(SeekFrom::End(-1)).unwrap(), 4_999);
}

#[test]
fn files_are_copied_on_the_drive_and_off_it() {
    let Some(rig) = Rig::new() else { return };
    let bytes = noise(3, 5_000_000);
    fs::write(rig.at("a"), &bytes).unwrap();
    // std::fs::copy asks for copy_file_range first.
    fs::copy(rig.at("a"), rig.at("b")).unwrap();
    let outside = rig.dir.path().join("outside");
    fs::copy(rig.at("b"), &outside).unwrap();
    fs::copy(&outside, rig.at("c")).unwrap();
    assert!(fs::read(rig.at("c")).unwrap() == bytes);
}

#[test]
fn writing_by_an_ordinary_user_takes_set_id_bits_away() {
    for rig in [Rig::new(), Rig::with_pages()].into_iter().flatten() {
        let file = rig.at("program");
        let set = || {
            fs::set_permissions(&file, Permissions::from_mode(0o6777)).unwrap();
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o6777);
        };
        let mode = || fs::metadata(&file).unwrap().mode() & 0o7777;
        let as_nobody = |script: &str| {
            let mut shell = Command::new("/bin/sh");
            shell
                .args(["-c", script, "sh"])
                .arg(&file)
                .uid(65_534)
                .gid(65_534);
            assert!(shell.status().unwrap().success(), "{script}");
        };
        fs::set_permissions(rig.drive(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(rig.dir.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(&file, "x").unwrap();
        for script in [
            "printf y >> \"$1\"",
            "printf y > \"$1\"",
            ": > \"$1\"",
            "truncate -s 5 \"$1\"",
        ] {
            set();
            as_nobody(script);
            assert_eq!(mode(), 0o777, "{script}");
        }
        // Again through one and the same open file.
        set();
        as_nobody("exec 3>>\"$1\"; printf a >&3; printf b >&3");
        assert_eq!(mode(), 0o777);
        // Root keeps them, and so does who only reads.
        set();
        as_nobody("cat \"$1\" > /dev/null");
        std::io::Write::write_all(
            &mut OpenOptions::new().append(true).open(&file).unwrap(),
            b"root",
        )
        .unwrap();
        assert_eq!(mode(), 0o6777);
    }
}

#[test]
fn permissions_are_checked_by_the_kernel() {
    let Some(rig) = Rig::new() else { return };
    fs::set_permissions(rig.dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::write(rig.at("secret"), "x").unwrap();
    fs::set_permissions(rig.at("secret"), Permissions::from_mode(0o600)).unwrap();
    fs::create_dir(rig.at("sticky")).unwrap();
    fs::set_permissions(rig.at("sticky"), Permissions::from_mode(0o1777)).unwrap();
    fs::write(rig.at("sticky/root's"), "x").unwrap();
    let as_nobody = |program: &str, args: &[&str]| {
        Command::new(program)
            .args(args)
            .current_dir(rig.drive())
            .uid(65_534)
            .gid(65_534)
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(!as_nobody("cat", &["secret"]));
    assert!(!as_nobody("touch", &["new"]));
    assert!(as_nobody("touch", &["sticky/mine"]));
    assert!(!as_nobody("rm", &["-f", "sticky/root's"]));
    assert!(as_nobody("rm", &["-f", "sticky/mine"]));
}

#[test]
fn many_programs_write_different_files_and_parts_at_once() {
    let Some(mut rig) = Rig::new() else { return };
    let shared = update(rig.at("shared"));
    shared.set_len(8 << 20).unwrap();
    std::thread::scope(|scope| {
        for part in 0..8_u64 {
            let (shared, own) = (&shared, rig.at(format!("own {part}")));
            scope.spawn(move || {
                for block in 0..16 {
                    let at = part * (1 << 20) + block * 65_536;
                    shared.write_all_at(&noise(at, 65_536), at).unwrap();
                }
                fs::write(own, noise(part, 200_000)).unwrap();
            });
        }
    });
    close(shared).unwrap();
    rig.remount();
    let all = fs::read(rig.at("shared")).unwrap();
    for at in (0..8 << 20).step_by(65_536) {
        assert!(all[at..at + 65_536] == noise(at as u64, 65_536), "at {at}");
    }
    for part in 0..8 {
        assert!(fs::read(rig.at(format!("own {part}"))).unwrap() == noise(part, 200_000));
    }
}

/// A child that a program starts has a copy of every descriptor, and closes it when it becomes another program.
#[test]
fn p5_a_child_started_in_the_middle_of_a_save_does_not_end_it() {
    let Some(mut rig) = Rig::new() else { return };
    let path = rig.at("document");
    std::fs::write(&path, b"the old version").unwrap();
    let saves = |rig: &Rig| {
        rig.audit()
            .iter()
            .filter(|row| row.entry.act == Act::Save)
            .count()
    };
    let before = saves(&rig);

    let mut file = File::create(&path).unwrap();
    let child = || {
        assert!(
            std::process::Command::new("true")
                .status()
                .unwrap()
                .success()
        )
    };
    child();
    file.write_all(b"half of the new ").unwrap();
    child();
    assert_eq!(saves(&rig), before, "a child's close saved half a document");
    file.write_all(b"version").unwrap();
    drop(file);
    assert_eq!(saves(&rig), before + 1, "the writer's close saves");

    // A program that hands its descriptor to a child which writes: the child's end is a save.
    let shell = format!(
        "exec 3>{0}; (echo from the child >&3); echo from the parent >&3",
        path.display()
    );
    assert!(
        std::process::Command::new("sh")
            .args(["-c", &shell])
            .status()
            .unwrap()
            .success()
    );
    rig.remount();
    assert_eq!(
        std::fs::read(&path).unwrap(),
        b"from the child\nfrom the parent\n"
    );
}

/// A program may close a file, change it in a mapping, and end; meanwhile somebody else looks at it all day.
#[test]
fn p5_what_a_mapping_changed_after_the_close_is_saved_although_others_have_the_file_open() {
    for rig in [Rig::new(), Rig::with_pages()].into_iter().flatten() {
        fs::write(rig.at("file"), "begun, and more").unwrap();
        let saves = || {
            let log = rig.audit();
            log.iter().filter(|row| row.entry.act == Act::Save).count()
        };
        let before = saves();
        let reader = File::open(rig.at("file")).unwrap();
        python(
            &rig.at("file"),
            "file = os.open(path, os.O_RDWR)
map = mmap.mmap(file, 15)
os.close(file)
for number in os.listdir('/proc/self/fd'):
    try:
        if os.readlink('/proc/self/fd/' + number) == path:
            os.close(int(number))
    except OSError:
        pass
map[0:5] = b'ended'
os._exit(0)",
        );
        let began = std::time::Instant::now();
        while saves() == before {
            assert!(began.elapsed() < std::time::Duration::from_secs(30));
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        drop(reader);
        assert_eq!(
            fs::read_to_string(rig.at("file")).unwrap(),
            "ended, and more"
        );
    }
}

/// A program is in the middle of a save, and another one sets the size of the file by its name.
#[test]
fn p5_a_truncation_by_name_does_not_save_half_a_document() {
    let Some(rig) = Rig::new() else { return };
    let path = rig.at("document");
    fs::write(&path, b"the old version").unwrap();
    let saves = || {
        let log = rig.audit();
        log.iter().filter(|row| row.entry.act == Act::Save).count()
    };
    let before = saves();
    let mut file = update(&path);
    file.write_all(b"half").unwrap();
    python(&path, "os.truncate(path, 8)");
    assert_eq!(fs::metadata(&path).unwrap().len(), 8);
    assert_eq!(saves(), before, "half a document was saved");
    close(file).unwrap();
    assert_eq!(saves(), before + 1);
    assert_eq!(fs::read(&path).unwrap(), b"halfold ");
    // Nobody is changing it: it is saved at once, although somebody has it open.
    let reader = File::open(&path).unwrap();
    python(&path, "os.truncate(path, 4)");
    assert_eq!(saves(), before + 2);
    drop(reader);
    assert_eq!(fs::read(&path).unwrap(), b"half");
}

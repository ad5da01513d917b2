//! P8: two drives of one vault, as two machines have them.

mod rig;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rig::{Machine, Rig, close, errno, noise};
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

/// Longer than anything here takes on the slowest machine. What is waited for comes much sooner, or never.
const EVER: Duration = Duration::from_secs(60);

/// Waits until something is so. How long it took is measured elsewhere.
#[track_caller]
fn until(what: &str, so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < EVER, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn two() -> Option<(Rig, Machine)> {
    let rig = Rig::new()?;
    let there = rig.other_machine("there");
    Some((rig, there))
}

fn open(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// Closing and opening again is all that is needed: no waiting, however long the kernel believes what it was told.
#[test]
fn p8_an_open_after_a_close_elsewhere_reads_the_new_version_and_its_length() {
    let Some((rig, there)) = two() else { return };
    let (here, there) = (rig.at("list.xlsx"), there.at("list.xlsx"));
    fs::write(&here, "begun").unwrap();
    for turn in 0..40_usize {
        let (writer, reader) = if turn % 2 == 0 {
            (&there, &here)
        } else {
            (&here, &there)
        };
        // What the kernel is told now, it would believe for a second.
        let _ = fs::metadata(reader).unwrap().len();
        let contents = noise(turn as u64, 10 + turn * 997 % 5000);
        fs::write(writer, &contents).unwrap();
        let mut file = File::open(reader).unwrap();
        assert_eq!(
            file.metadata().unwrap().len(),
            contents.len() as u64,
            "turn {turn}"
        );
        let mut read = Vec::new();
        file.read_to_end(&mut read).unwrap();
        assert!(read == contents, "turn {turn}: another version");
        assert_eq!(fs::metadata(reader).unwrap().len(), contents.len() as u64);
    }
}

/// The name leads to another node then, and the kernel still believes in the old one.
#[test]
fn p8_an_open_after_a_save_by_rename_elsewhere_reads_the_new_version() {
    let Some((rig, there)) = two() else { return };
    for (name, held) in [("a.odt", false), ("b.odt", true)] {
        fs::write(rig.at(name), "begun").unwrap();
        for turn in 0..10 {
            assert!(fs::metadata(rig.at(name)).is_ok());
            // A program that has the old file open keeps it alive without a name.
            let _open = held.then(|| File::open(there.at(name)).unwrap());
            let contents = format!("{name} as of turn {turn}");
            fs::write(there.at("tmp"), &contents).unwrap();
            fs::rename(there.at("tmp"), there.at(name)).unwrap();
            assert_eq!(fs::read_to_string(rig.at(name)).unwrap(), contents);
        }
    }
}

#[test]
fn what_changes_elsewhere_is_heard_of_without_asking() {
    let Some((rig, there)) = two() else { return };
    fs::create_dir(rig.at("office")).unwrap();
    fs::write(rig.at("office/list"), "1").unwrap();
    let (here, far) = (rig.at("office"), there.at("office"));
    // Each is looked at first, so that the kernel has it and must be told.
    let length = |path: &Path| fs::metadata(path).map(|meta| meta.len()).unwrap_or(0);
    assert_eq!(length(&far.join("list")), 1);
    fs::write(here.join("list"), "1234").unwrap();
    until("the new length", || length(&far.join("list")) == 4);
    fs::set_permissions(here.join("list"), PermissionsExt::from_mode(0o600)).unwrap();
    until("the new mode", || {
        fs::metadata(far.join("list")).unwrap().mode() & 0o777 == 0o600
    });
    fs::rename(here.join("list"), here.join("moved")).unwrap();
    until("the old name is gone", || !far.join("list").exists());
    until("the new name is there", || far.join("moved").exists());
    fs::remove_file(here.join("moved")).unwrap();
    until("the file is gone", || !far.join("moved").exists());
    fs::create_dir(here.join("sub")).unwrap();
    until("a new folder", || far.join("sub").is_dir());
    fs::remove_dir(here.join("sub")).unwrap();
    until("no folder any more", || !far.join("sub").exists());
    until("an empty folder", || {
        fs::read_dir(&far).unwrap().next().is_none()
    });
    // A folder that was moved goes on being one.
    fs::create_dir(here.join("a")).unwrap();
    fs::write(here.join("a/f"), "x").unwrap();
    until("the folder", || far.join("a/f").exists());
    let inside = File::open(far.join("a")).unwrap();
    fs::rename(here.join("a"), here.join("b")).unwrap();
    until("its new name", || far.join("b/f").exists());
    drop(inside);
    fs::write(far.join("b/g"), "y").unwrap();
    until("a file in it", || here.join("b/g").exists());
}

/// A program of the other machine, in a process of its own.
const FILE: &str = "WARIFU_TEST_LOCK_FILE";
const KIND: &str = "WARIFU_TEST_LOCK_KIND";

fn lock(
    file: &File,
    kind: &str,
    typ: i32,
    (start, len): (i64, i64),
    wait: bool,
) -> Result<(), i32> {
    if kind == "flock" {
        let operation = match (typ, wait) {
            (libc::F_RDLCK, true) => FlockOperation::LockShared,
            (libc::F_RDLCK, false) => FlockOperation::NonBlockingLockShared,
            (libc::F_WRLCK, true) => FlockOperation::LockExclusive,
            (libc::F_WRLCK, false) => FlockOperation::NonBlockingLockExclusive,
            _ => FlockOperation::Unlock,
        };
        return flock(file, operation).map_err(|error| error.raw_os_error());
    }
    let asked = libc::flock {
        l_type: typ as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start,
        l_len: len,
        l_pid: 0,
    };
    let command = if wait {
        nix::fcntl::FcntlArg::F_SETLKW(&asked)
    } else {
        nix::fcntl::FcntlArg::F_SETLK(&asked)
    };
    nix::fcntl::fcntl(file, command)
        .map(drop)
        .map_err(|error| error as i32)
}

const ALL: (i64, i64) = (0, 0);

/// Not a test: the other program. It locks, says so, and holds the lock until its input ends.
#[test]
fn the_other_program() {
    let (Some(path), Ok(kind)) = (std::env::var_os(FILE), std::env::var(KIND)) else {
        return;
    };
    let file = open(Path::new(&path));
    lock(&file, &kind, libc::F_WRLCK, ALL, true).unwrap();
    println!("\nLOCKED");
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn spawn(path: &Path, kind: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_other_program", "--nocapture"])
        .env(FILE, path)
        .env(KIND, kind)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn locked(child: &mut Child) -> BufReader<ChildStdout> {
    let mut said = BufReader::new(child.stdout.take().unwrap());
    assert!(said.by_ref().lines().any(|line| line.unwrap() == "LOCKED"));
    said
}

#[test]
fn p8_a_lock_on_one_machine_keeps_programs_on_another_out() {
    let Some((rig, there)) = two() else { return };
    for kind in ["flock", "fcntl"] {
        fs::write(rig.at(kind), "x").unwrap();
        until("the file", || there.at(kind).exists());
        let mut child = spawn(&rig.at(kind), kind);
        let _said = locked(&mut child);
        let file = open(&there.at(kind));
        for typ in [libc::F_RDLCK, libc::F_WRLCK] {
            let refused = lock(&file, kind, typ, ALL, false).unwrap_err();
            assert!(
                matches!(refused, libc::EAGAIN | libc::EACCES),
                "{kind}: {refused}"
            );
        }
        // The other kind does not see it.
        let other = if kind == "flock" { "fcntl" } else { "flock" };
        lock(&file, other, libc::F_WRLCK, ALL, false).unwrap();
        lock(&file, other, libc::F_UNLCK, ALL, false).unwrap();
        drop(child.stdin.take());
        // Waits for the lock, and gets it when the other program ends.
        lock(&file, kind, libc::F_WRLCK, ALL, true).unwrap();
        child.wait().unwrap();
        assert!(matches!(
            lock(&open(&rig.at(kind)), kind, libc::F_RDLCK, ALL, false),
            Err(libc::EAGAIN | libc::EACCES)
        ));
        drop(file);
        // Its end ends its lock. The kernel tells a drive of the end when the program has long gone on.
        let file = open(&rig.at(kind));
        until("the lock ends", || {
            lock(&file, kind, libc::F_WRLCK, ALL, false).is_ok()
        });
    }
}

#[test]
fn ranges_of_bytes_are_locked_each_for_itself() {
    let Some((rig, there)) = two() else { return };
    fs::write(rig.at("f"), "0123456789").unwrap();
    until("the file", || there.at("f").exists());
    let (here, far) = (open(&rig.at("f")), open(&there.at("f")));
    let ask = |file: &File, typ, range| lock(file, "fcntl", typ, range, false);
    ask(&here, libc::F_WRLCK, (0, 10)).unwrap();
    ask(&here, libc::F_UNLCK, (4, 2)).unwrap();
    ask(&far, libc::F_WRLCK, (4, 2)).unwrap();
    assert!(ask(&far, libc::F_RDLCK, (3, 1)).is_err());
    assert!(ask(&here, libc::F_RDLCK, (5, 1)).is_err());
    ask(&here, libc::F_RDLCK, (0, 4)).unwrap();
    ask(&far, libc::F_RDLCK, (0, 4)).unwrap();
    let mut asked = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 4,
        l_len: 1,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&here, nix::fcntl::FcntlArg::F_GETLK(&mut asked)).unwrap();
    assert_eq!(
        (i32::from(asked.l_type), asked.l_start, asked.l_len),
        (libc::F_WRLCK, 4, 2)
    );
    // A second descriptor of the same file that this process closes takes all its locks away: POSIX has it so.
    drop(
        File::options()
            .read(true)
            .write(true)
            .open(rig.at("f"))
            .unwrap(),
    );
    ask(&far, libc::F_WRLCK, (0, 0)).unwrap();
}

/// What was written under a lock is what the next one who gets it reads, with the file open all the time on both sides.
#[test]
fn p8_whoever_gets_the_lock_sees_what_was_written_under_it() {
    let Some((rig, there)) = two() else { return };
    fs::write(rig.at("counter"), "0000").unwrap();
    until("the file", || there.at("counter").exists());
    let files = [open(&rig.at("counter")), open(&there.at("counter"))];
    for turn in 0..20_u32 {
        let file = &files[turn as usize % 2];
        lock(file, "fcntl", libc::F_WRLCK, ALL, true).unwrap();
        let mut read = [0; 4];
        file.read_exact_at(&mut read, 0).unwrap();
        let count: u32 = std::str::from_utf8(&read).unwrap().parse().unwrap();
        assert_eq!(count, turn);
        file.write_all_at(format!("{:04}", count + 1).as_bytes(), 0)
            .unwrap();
        lock(file, "fcntl", libc::F_UNLCK, ALL, true).unwrap();
    }
    for file in files {
        close(file).unwrap();
    }
    let names: Vec<_> = fs::read_dir(rig.drive())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["counter"], "nobody met a newer version");
}

#[test]
fn a_signal_ends_the_wait_for_a_lock() {
    let Some((rig, there)) = two() else { return };
    fs::write(rig.at("f"), "x").unwrap();
    until("the file", || there.at("f").exists());
    let holder = open(&rig.at("f"));
    lock(&holder, "fcntl", libc::F_WRLCK, ALL, false).unwrap();
    let mut waiting = spawn(&there.at("f"), "fcntl");
    let asks = PathBuf::from(format!("/proc/{}/task", waiting.id()));
    until("it asks for the lock", || {
        fs::read_dir(&asks).unwrap().any(|thread| {
            let call = fs::read_to_string(thread.unwrap().path().join("syscall"));
            call.is_ok_and(|call| call.starts_with(&format!("{} ", libc::SYS_fcntl)))
        })
    });
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    // Nothing is left of it.
    lock(&holder, "fcntl", libc::F_UNLCK, ALL, false).unwrap();
    lock(&open(&there.at("f")), "fcntl", libc::F_WRLCK, ALL, false).unwrap();
}

#[test]
fn a_file_says_who_has_it_open_for_writing() {
    let Some((rig, there)) = two() else { return };
    fs::write(rig.at("f"), "x").unwrap();
    until("the file", || there.at("f").exists());
    let said = |path: &Path| {
        let mut value = vec![0; 4096];
        match rustix::fs::getxattr(path, "user.warifu.open_by", &mut value) {
            Ok(length) => String::from_utf8(value[..length].to_vec()).unwrap(),
            Err(_) => String::new(),
        }
    };
    until("nobody", || said(&there.at("f")).is_empty());
    let writer = open(&rig.at("f"));
    let reader = File::open(rig.at("f")).unwrap();
    until("who has it open", || !said(&there.at("f")).is_empty());
    let text = said(&there.at("f"));
    assert_eq!(text.lines().count(), 1, "{text}");
    let me = nix::unistd::User::from_uid(nix::unistd::getuid())
        .unwrap()
        .unwrap()
        .name;
    assert!(text.starts_with(&format!("{me}@")), "{text}");
    // The kernel cuts the name of the thread that asks, which is this test's.
    assert!(text.contains(" a_file_says_who "), "the program: {text}");
    assert_eq!(said(&rig.at("f")), text, "it says the same everywhere");
    drop((writer, reader));
    until("nobody any more", || said(&there.at("f")).is_empty());
    // It is told, not kept.
    let set = rustix::fs::setxattr(
        rig.at("f"),
        "user.warifu.open_by",
        b"me",
        rustix::fs::XattrFlags::empty(),
    );
    assert_eq!(set.unwrap_err().raw_os_error(), libc::EPERM);
}

/// As LibreOffice and Word do it: a file beside the document says who has it open.
#[test]
fn p8_the_lock_files_of_office_programs_work_between_machines() {
    let Some((rig, there)) = two() else { return };
    for name in [".~lock.list.xlsx#", "~$list.docx"] {
        let make = |path: &Path| {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
        };
        for _ in 0..10 {
            let mut mine = make(&rig.at(name)).unwrap();
            mine.write_all("佐藤".as_bytes()).unwrap();
            close(mine).unwrap();
            assert_eq!(errno(make(&there.at(name))), libc::EEXIST, "{name}");
            assert_eq!(fs::read_to_string(there.at(name)).unwrap(), "佐藤");
            fs::remove_file(rig.at(name)).unwrap();
            // Whoever makes it next is told at once that it is gone, whatever the kernel believes.
            until("it is gone", || make(&there.at(name)).is_ok());
            fs::remove_file(there.at(name)).unwrap();
            until("it is gone again", || !rig.at(name).exists());
        }
    }
}

/// A mapping shows what others saved, once the file is opened again, and a handle that stays open keeps its version.
#[test]
fn an_open_file_keeps_what_it_read_until_somebody_opens_it_again() {
    let Some((rig, there)) = two() else { return };
    fs::write(rig.at("f"), "first version").unwrap();
    until("the file", || there.at("f").exists());
    let mut reader = File::open(there.at("f")).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "first version");
    fs::write(rig.at("f"), "second").unwrap();
    assert_eq!(fs::read_to_string(there.at("f")).unwrap(), "second");
    reader.seek(SeekFrom::Start(0)).unwrap();
    text.clear();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "second");
}

#[test]
fn p8_two_drives_that_save_the_same_file_both_keep_their_work() {
    let Some((rig, there)) = two() else { return };
    fs::write(rig.at("list.xlsx"), "base").unwrap();
    until("the file", || there.at("list.xlsx").exists());
    let (mut mine, mut theirs) = (open(&rig.at("list.xlsx")), open(&there.at("list.xlsx")));
    mine.write_all(b"mine").unwrap();
    theirs.write_all(b"them").unwrap();
    close(theirs).unwrap();
    close(mine).unwrap();
    let listed = |dir: &Path| -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let names = listed(&there.dir);
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].starts_with("list (conflict "), "{names:?}");
    assert_eq!(fs::read_to_string(there.at(&names[0])).unwrap(), "mine");
    assert_eq!(fs::read_to_string(rig.at("list.xlsx")).unwrap(), "them");
}

/// A machine sleeps past its lease, and another one gets the lock: no way of changing the file is left to the first.
#[test]
fn p8_a_lost_lock_stops_every_change() {
    if !rig::can_mount() {
        return;
    }
    let mut options = rig::options();
    options.session_lease = Duration::from_secs(2);
    options.catalog_patience = Duration::ZERO;
    let mut rig = Rig::with(options);
    rig.mount(|_| {}).unwrap();
    let (there, line) = rig.machine_on_a_line("there");
    fs::write(rig.at("f"), "not to be changed").unwrap();
    until("the file", || there.at("f").exists());
    let file = open(&there.at("f"));
    lock(&file, "flock", libc::F_WRLCK, ALL, false).unwrap();
    line.cut_off(true);
    let mine = open(&rig.at("f"));
    until("the other lease ends", || {
        lock(&mine, "flock", libc::F_WRLCK, ALL, false).is_ok()
    });
    line.cut_off(false);
    let path = there.at("f");
    until("the lock is known to be lost", || {
        file.write_at(b"x", 0).is_err()
    });
    assert_eq!(errno(file.write_at(b"x", 0)), libc::EIO);
    assert_eq!(errno(file.set_len(0)), libc::EIO, "ftruncate");
    let longer = fallocate(&file, FallocateFlags::empty(), 0, 1000);
    assert_eq!(longer, Err(rustix::io::Errno::IO), "fallocate");
    let truncated = OpenOptions::new().write(true).truncate(true).open(&path);
    assert_eq!(errno(truncated), libc::EIO, "O_TRUNC");
    let truncated = nix::unistd::truncate(&path, 3);
    assert_eq!(truncated, Err(nix::errno::Errno::EIO), "truncate");
    drop(file);
    drop(mine);
    drop(there);
    assert_eq!(
        fs::read_to_string(rig.at("f")).unwrap(),
        "not to be changed"
    );
    assert_eq!(fs::read_dir(rig.drive()).unwrap().count(), 1);
}

/// Nothing is heard of what the other machine saves: the changes of a mapping are of what was mapped all the same.
#[test]
fn p8_an_open_does_not_put_mapped_changes_upon_a_version_that_they_were_not_made_to() {
    let Some(rig) = Rig::new() else { return };
    fs::write(rig.at("f"), "first version").unwrap();
    let (there, line) = rig.machine_on_a_line("there");
    let script = "import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
map = mmap.mmap(file, 13)
map[0:5] = b'MINE!'
print('CHANGED', flush=True)
sys.stdin.read()
os._exit(0)";
    let mut program = Command::new("python3")
        .args(["-c", script])
        .arg(there.at("f"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(program.stdout.take().unwrap());
    assert!(said.by_ref().lines().any(|line| line.unwrap() == "CHANGED"));
    line.deaf(true);
    fs::write(rig.at("f"), "second, which is longer").unwrap();
    // Somebody looks at it.
    let _ = fs::read(there.at("f")).unwrap();
    drop(program.stdin.take());
    program.wait().unwrap();
    until("the copy", || {
        fs::read_dir(rig.drive()).unwrap().count() == 2
    });
    assert_eq!(
        fs::read_to_string(rig.at("f")).unwrap(),
        "second, which is longer"
    );
    let copy = fs::read_dir(rig.drive())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let copy = copy
        .into_iter()
        .find(|path| path.to_string_lossy().contains("conflict"));
    assert_eq!(fs::read_to_string(copy.unwrap()).unwrap(), "MINE! version");
}

/// Two programs on two machines count in a mapping, each under a lock of the file.
#[test]
fn p8_what_is_changed_in_a_mapping_under_a_lock_is_there_for_who_locks_next() {
    let Some((rig, there)) = two() else { return };
    fs::write(rig.at("f"), [0; 8]).unwrap();
    until("the file", || there.at("f").exists());
    let script = "import fcntl, mmap, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
map = mmap.mmap(file, 8)
ask = fcntl.flock if sys.argv[2] == 'flock' else fcntl.lockf
for turn in range(25):
    ask(file, fcntl.LOCK_EX)
    map[0:8] = (int.from_bytes(map[0:8], 'big') + 1).to_bytes(8, 'big')
    ask(file, fcntl.LOCK_UN)
os._exit(0)";
    for (kind, total) in [("flock", 50), ("fcntl", 100)] {
        let count = |path| {
            let mut python = Command::new("python3");
            python.args(["-c", script]).arg(path).arg(kind);
            python.spawn().unwrap()
        };
        for mut program in [rig.at("f"), there.at("f")].map(count) {
            assert!(program.wait().unwrap().success());
        }
        let counted: [u8; 8] = fs::read(rig.at("f")).unwrap().try_into().unwrap();
        assert_eq!(u64::from_be_bytes(counted), total, "{kind}");
        assert_eq!(fs::read_dir(rig.drive()).unwrap().count(), 1);
    }
}

/// Everybody but root is an ordinary user: each document would be asked for once more when its first byte is written.
#[test]
fn the_first_write_of_an_ordinary_user_asks_the_catalogue_nothing() {
    let Some(rig) = Rig::new() else { return };
    let (there, line) = rig.machine_on_a_line("there");
    fs::write(there.at("f"), "x").unwrap();
    let open_to_all = fs::Permissions::from_mode(0o777);
    fs::set_permissions(there.at("f"), open_to_all.clone()).unwrap();
    for folder in [rig.dir.path(), &there.dir] {
        fs::set_permissions(folder, open_to_all.clone()).unwrap();
    }
    // A shell would close a copy of the descriptor after each line, and so save.
    let script = "import os, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
print('OPENED', flush=True)
sys.stdin.readline()
os.write(file, b'a')
print('WRITTEN', flush=True)
sys.stdin.readline()";
    let mut program = Command::new("python3")
        .args(["-c", script])
        .arg(there.at("f"))
        .uid(65_534)
        .gid(65_534)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(program.stdout.take().unwrap());
    let mut heard = |what: &str| {
        let found = said.by_ref().lines().any(|line| line.unwrap() == what);
        assert!(found, "{what}");
    };
    heard("OPENED");
    line.answer_after(Duration::from_secs(3));
    let begun = Instant::now();
    let mut stdin = program.stdin.take().unwrap();
    stdin.write_all(b"go\n").unwrap();
    heard("WRITTEN");
    let took = begun.elapsed();
    line.answer_after(Duration::ZERO);
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    drop(stdin);
    assert!(program.wait().unwrap().success());
    assert_eq!(fs::read(there.at("f")).unwrap(), b"xa");
}

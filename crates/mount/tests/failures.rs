//! What programs and administrators see when servers fail, when the drive goes, and when it cannot come.

mod rig;

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rig::{Rig, can_mount, close, context, errno, is_root, noise};
use warifu_mount::{MountError, UmountError, umount};
use warifu_testkit::stores::State;
use warifu_vault::VaultError;

fn new_file(rig: &Rig, name: &str) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(rig.at(name))
        .unwrap()
}

#[test]
fn p5_a_save_that_finds_two_full_servers_fails_at_close_and_the_old_version_stays() {
    let Some(mut rig) = Rig::new() else { return };
    fs::write(rig.at("file"), "old").unwrap();
    for server in [0, 1] {
        rig.faults[server].set(State::Full);
    }
    let file = OpenOptions::new().write(true).open(rig.at("file")).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    // Through a second descriptor, as programs do that check their close.
    assert_eq!(close(file.try_clone().unwrap()), Err(libc::ENOSPC));
    assert_eq!(errno(file.sync_all()), libc::ENOSPC);
    drop(file);
    // The last try is made when the file is let go, a moment after its close.
    std::thread::sleep(Duration::from_millis(500));
    for server in [0, 1] {
        rig.faults[server].heal();
    }
    assert_eq!(fs::read_to_string(rig.at("file")).unwrap(), "old");
    let ended = rig.unmount();
    assert_eq!(ended.unsaved.len(), 1);
    assert_eq!(ended.unsaved[0].path, "/file");
    assert!(matches!(
        ended.unsaved[0].error,
        VaultError::NotStored { full: true, .. }
    ));
}

#[test]
fn p4_one_server_gone_full_or_failing_is_not_noticed_by_programs() {
    for state in [State::Gone, State::Full, State::Failing] {
        let Some(rig) = Rig::new() else { return };
        fs::write(rig.at("before"), noise(1, 100_000)).unwrap();
        rig.faults[2].set(state);
        let file = new_file(&rig, "file");
        file.write_all_at(&noise(2, 5 << 20), 0).unwrap();
        close(file).unwrap();
        assert!(fs::read(rig.at("file")).unwrap() == noise(2, 5 << 20));
        assert!(fs::read(rig.at("before")).unwrap() == noise(1, 100_000));
    }
}

#[test]
fn too_few_servers_give_eio_and_never_wrong_bytes() {
    let Some(mut rig) = Rig::new() else { return };
    fs::write(rig.at("file"), noise(1, 100_000)).unwrap();
    rig.remount();
    for server in [0, 2] {
        rig.faults[server].set(State::Gone);
    }
    assert_eq!(errno(fs::read(rig.at("file"))), libc::EIO);
    // Names need no servers.
    assert_eq!(fs::metadata(rig.at("file")).unwrap().len(), 100_000);
    assert_eq!(fs::read_dir(rig.drive()).unwrap().count(), 1);
    let file = new_file(&rig, "other");
    file.write_all_at(b"x", 0).unwrap();
    assert_eq!(close(file), Err(libc::EIO));
    for faults in &rig.faults {
        faults.heal();
    }
    assert!(fs::read(rig.at("file")).unwrap() == noise(1, 100_000));
}

#[test]
fn hung_servers_hold_up_saves_and_not_the_listing_of_folders() {
    let Some(rig) = Rig::new() else { return };
    fs::write(rig.at("file"), "x").unwrap();
    for faults in &rig.faults {
        faults.set(State::Hung);
    }
    std::thread::scope(|scope| {
        let savers: Vec<_> = (0..20)
            .map(|number| {
                let rig = &rig;
                scope.spawn(move || {
                    let file = new_file(rig, &format!("{number}"));
                    file.write_all_at(b"x", 0).unwrap();
                    close(file)
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        let begun = Instant::now();
        assert!(fs::read_dir(rig.drive()).unwrap().count() > 1);
        assert_eq!(fs::metadata(rig.at("file")).unwrap().len(), 1);
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        for saver in savers {
            assert_eq!(saver.join().unwrap(), Err(libc::EIO));
        }
    });
    for faults in &rig.faults {
        faults.heal();
    }
    assert_eq!(fs::read_to_string(rig.at("file")).unwrap(), "x");
}

#[test]
fn the_room_is_told_although_a_server_hangs() {
    let Some(rig) = Rig::new() else { return };
    for faults in &rig.faults {
        faults.set(State::Hung);
    }
    let begun = Instant::now();
    assert!(rustix::fs::statvfs(rig.drive()).unwrap().f_bavail > 0);
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    for faults in &rig.faults {
        faults.heal();
    }
}

#[test]
fn p5_an_unmount_saves_what_programs_still_have_open() {
    let Some(mut rig) = Rig::new() else { return };
    let file = new_file(&rig, "file");
    file.write_all_at(&noise(1, 100_000), 0).unwrap();
    let ended = rig.unmount();
    assert!(ended.forced && ended.unsaved.is_empty(), "{ended:?}");
    // The program finds out that the drive is gone.
    assert_ne!(errno(file.write_at(b"late", 0).map(drop)), 0);
    drop(file);
    assert_eq!(fs::read_dir(rig.drive()).unwrap().count(), 0);
    rig.reopen();
    rig.mount(|_| {}).unwrap();
    assert!(fs::read(rig.at("file")).unwrap() == noise(1, 100_000));
}

#[test]
fn p5_an_unmount_names_what_it_could_not_save() {
    let Some(mut rig) = Rig::new() else { return };
    fs::create_dir(rig.at("budget")).unwrap();
    let file = new_file(&rig, "budget/2027.xlsx");
    file.write_all_at(b"figures", 0).unwrap();
    for faults in &rig.faults {
        faults.set(State::Gone);
    }
    let ended = rig.unmount();
    assert!(ended.forced);
    assert_eq!(
        ended
            .unsaved
            .iter()
            .map(|loss| loss.path.as_str())
            .collect::<Vec<_>>(),
        ["/budget/2027.xlsx"]
    );
    assert!(matches!(
        ended.unsaved[0].error,
        VaultError::NotStored { full: false, .. }
    ));
}

#[test]
fn an_unmount_from_outside_ends_the_drive() {
    let Some(mut rig) = Rig::new() else { return };
    fs::write(rig.at("file"), "saved").unwrap();
    let busy = File::open(rig.at("file")).unwrap();
    assert!(matches!(
        umount(&rig.drive()),
        Err(UmountError::Busy { .. })
    ));
    drop(busy);
    let mounted = rig.mounted.take().unwrap();
    let drive = rig.drive();
    let outside = std::thread::spawn(move || {
        let begun = Instant::now();
        while let Err(error) = umount(&drive) {
            assert!(begun.elapsed() < Duration::from_secs(5), "{error}");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let ended = rig.runtime.block_on(mounted.until(std::future::pending()));
    outside.join().unwrap();
    assert!(ended.unsaved.is_empty() && !ended.forced);
    assert!(matches!(
        umount(&rig.drive()),
        Err(UmountError::NotADrive { .. })
    ));
    rig.reopen();
    rig.mount(|_| {}).unwrap();
    assert_eq!(fs::read_to_string(rig.at("file")).unwrap(), "saved");
}

#[test]
fn what_lies_below_or_comes_after_a_drive_is_not_unmounted_with_it() {
    let Some(mut rig) = Rig::new() else { return };
    let mounted = rig.mounted.take().unwrap();
    rig.runtime.block_on(async {
        // Somebody unmounts, and mounts something else in its place at once.
        rustix::mount::unmount(rig.drive(), rustix::mount::UnmountFlags::empty()).unwrap();
        let none = rustix::mount::MountFlags::empty();
        rustix::mount::mount("other", rig.drive(), "tmpfs", none, None).unwrap();
        assert!(mounted.unmount().await.unsaved.is_empty());
    });
    fs::write(rig.at("still there"), "x").unwrap();
    assert!(
        rustix::fs::statfs(rig.drive()).is_ok_and(|stat| stat.f_type == 0x0102_1994),
        "not a tmpfs any more"
    );
    rustix::mount::unmount(rig.drive(), rustix::mount::UnmountFlags::empty()).unwrap();
}

#[test]
fn a_dropped_drive_leaves_no_dead_mount_point() {
    let Some(mut rig) = Rig::new() else { return };
    let file = new_file(&rig, "file");
    drop(rig.mounted.take());
    assert_eq!(fs::read_dir(rig.drive()).unwrap().count(), 0);
    drop(file);
}

#[test]
fn a_read_only_drive_refuses_every_change() {
    let Some(mut rig) = Rig::new() else { return };
    fs::write(rig.at("file"), "x").unwrap();
    assert!(rig.unmount().unsaved.is_empty());
    rig.reopen();
    rig.mount(|options| options.read_only = true).unwrap();
    assert_eq!(fs::read_to_string(rig.at("file")).unwrap(), "x");
    assert_eq!(errno(fs::write(rig.at("file"), "y")), libc::EROFS);
    assert_eq!(errno(fs::create_dir(rig.at("dir"))), libc::EROFS);
    assert_eq!(errno(fs::remove_file(rig.at("file"))), libc::EROFS);
    assert_eq!(
        errno(fs::set_permissions(
            rig.at("file"),
            fs::Permissions::from_mode(0o600)
        )),
        libc::EROFS
    );
}

#[test]
fn a_drive_is_not_mounted_where_it_would_hide_or_harm_something() {
    let Some(mut rig) = Rig::new() else { return };
    let (drive, dir) = (rig.drive(), rig.dir.path().to_owned());
    fs::write(rig.at("file"), "x").unwrap();
    let again = rig.mounted.take();
    assert!(matches!(
        rig.mount(|_| {}),
        Err(MountError::AlreadyMounted { .. })
    ));
    rig.mounted = again;
    assert_eq!(fs::read_to_string(drive.join("file")).unwrap(), "x");
    let first = rig.mounted.take();
    assert!(matches!(
        rig.mount(|options| options.dir = dir.clone()),
        Err(MountError::NotEmpty { .. })
    ));
    assert!(matches!(
        rig.mount(|options| options.dir = dir.join("none")),
        Err(MountError::NoSuchDir { .. })
    ));
    fs::create_dir_all(dir.join("server/objects")).unwrap();
    let inside = rig.mount(|options| {
        options.dir = dir.join("server/objects");
        options.keep_out = vec![dir.join("server")];
    });
    assert!(matches!(inside, Err(MountError::InsideServer { .. })));
    rig.mounted = first;
}

#[test]
fn p9_mounting_and_opening_are_in_the_audit_log() {
    let Some(rig) = Rig::new() else { return };
    fs::write(rig.at("file"), "x").unwrap();
    let output = Command::new("cat").arg(rig.at("file")).output().unwrap();
    assert_eq!(output.stdout, b"x");
    let rows = rig.audit();
    let find = |act: &str| {
        rows.iter()
            .filter(|row| row.entry.act.as_str() == act)
            .collect::<Vec<_>>()
    };
    assert!(
        find("attach")[0]
            .entry
            .detail
            .contains(rig.drive().to_str().unwrap())
    );
    let opened = find("open");
    assert!(
        opened
            .iter()
            .any(|row| row.entry.context.program == "cat" && row.entry.context.actor == "root"),
        "{opened:?}"
    );
    assert_eq!(find("create").len(), 1);
    assert!(!find("save").is_empty());
}

const DRIVE: &str = "WARIFU_TEST_SERVE_ON";
const ALLOW: &str = "WARIFU_TEST_SERVE_ALLOW_OTHER";

/// Not a test: a mount process of its own, which is killed, or belongs to an ordinary user.
#[test]
fn the_mount_process() {
    let Some(drive) = std::env::var_os(DRIVE) else {
        return;
    };
    let mut rig = Rig::unmounted();
    // The root belongs to whom the vault belongs.
    rig.runtime.block_on(async {
        let change = warifu_vault::node::AttrChange {
            uid: Some(rustix::process::geteuid().as_raw()),
            gid: Some(rustix::process::getegid().as_raw()),
            ..Default::default()
        };
        rig.vault
            .set_attr(&context(), warifu_vault::node::NodeId::ROOT, &change)
            .await
            .unwrap();
    });
    let mounted = rig.mount(|options| {
        options.dir = drive.into();
        options.allow_other = std::env::var_os(ALLOW).is_some();
    });
    match mounted {
        Ok(()) => println!("\nMOUNTED"),
        Err(error) => {
            println!("\nREFUSED {error:?}");
            return;
        }
    }
    let _ = std::io::stdin().read_to_string(&mut String::new());
    println!("\nENDED {:?}", rig.unmount());
}

fn serve(drive: &std::path::Path, change: impl FnOnce(&mut Command)) -> (Child, String) {
    use std::io::BufRead;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "the_mount_process", "--nocapture"])
        .env(DRIVE, drive)
        // What it leaves behind when it is killed goes with the test's own folder.
        .env("TMPDIR", drive.parent().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    change(&mut command);
    let mut child = command.spawn().unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines
        .map_while(Result::ok)
        .find(|line| line.starts_with("MOUNTED") || line.starts_with("REFUSED"));
    (child, said.unwrap_or_default())
}

#[test]
fn a_killed_mount_process_leaves_nothing_in_the_way() {
    if !can_mount() {
        return;
    }
    let mut rig = Rig::unmounted();
    let (mut child, said) = serve(&rig.drive(), |_| {});
    assert_eq!(said, "MOUNTED");
    fs::write(rig.at("file"), "x").unwrap();
    let held = File::open(rig.at("file")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(errno(fs::read_dir(rig.drive())), libc::ENOTCONN);
    rig.mount(|_| {}).unwrap();
    assert_eq!(fs::read_dir(rig.drive()).unwrap().count(), 0);
    drop(held);
    assert!(rig.unmount().unsaved.is_empty());
    // And `umount` clears one away as well.
    let (mut child, said) = serve(&rig.drive(), |_| {});
    assert_eq!(said, "MOUNTED");
    child.kill().unwrap();
    child.wait().unwrap();
    umount(&rig.drive()).unwrap();
    assert_eq!(fs::read_dir(rig.drive()).unwrap().count(), 0);
}

#[test]
fn an_ordinary_user_mounts_by_fusermount3() {
    use std::os::unix::process::CommandExt;
    if !can_mount() || !is_root() {
        return;
    }
    if !std::path::Path::new("/usr/bin/fusermount3").exists() {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must have fusermount3: package fuse3"
        );
        eprintln!("skipped: fusermount3 is not installed");
        return;
    }
    if fs::metadata("/dev/fuse").unwrap().mode() & 0o006 != 0o006 {
        return with_open_device("an_ordinary_user_mounts_by_fusermount3");
    }
    let home = tempfile::tempdir().unwrap();
    let (drive, scratch, program) = (
        home.path().join("drive"),
        home.path().join("tmp"),
        home.path().join("program"),
    );
    fs::create_dir(&drive).unwrap();
    fs::create_dir(&scratch).unwrap();
    // A copy, because an ordinary user may not reach the target folder.
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [home.path(), &drive, &scratch] {
        std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
    }
    let as_nobody = |allow: bool| {
        let mut command = Command::new(&program);
        command
            .args(["--exact", "the_mount_process", "--nocapture"])
            .env(DRIVE, &drive)
            .env("TMPDIR", &scratch);
        command
            .current_dir(home.path())
            .uid(65_534)
            .gid(65_534)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if allow {
            command.env(ALLOW, "1");
        }
        command
    };
    let run = |mut command: Command| {
        use std::io::BufRead;
        let mut child = command.spawn().unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let said = lines
            .find(|line| line.starts_with("MOUNTED") || line.starts_with("REFUSED"))
            .unwrap_or_default();
        (child, said, lines)
    };
    let (mut child, said, mut lines) = run(as_nobody(false));
    assert_eq!(said, "MOUNTED");
    let shell = |script: &str| {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", script])
            .current_dir(home.path())
            .uid(65_534)
            .gid(65_534);
        command.output().unwrap()
    };
    let output = shell("echo text > drive/file && cat drive/file && mkdir drive/dir && ls drive");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "text\ndir\nfile\n",
        "{output:?}"
    );
    // Not even root may look, unless the drive was mounted for others.
    assert_eq!(errno(fs::read(drive.join("file"))), libc::EACCES);
    drop(child.stdin.take());
    let ended = lines.find(|line| line.starts_with("ENDED")).unwrap();
    assert!(
        ended.contains("unsaved: []") && ended.contains("forced: false"),
        "{ended}"
    );
    child.wait().unwrap();
    assert_eq!(fs::read_dir(&drive).unwrap().count(), 0);

    // For others, only where root has allowed it.
    let allowed = fs::read_to_string("/etc/fuse.conf")
        .is_ok_and(|text| text.lines().any(|line| line.trim() == "user_allow_other"));
    let (mut child, said, _lines) = run(as_nobody(true));
    if allowed {
        assert_eq!(said, "MOUNTED");
    } else {
        assert_eq!(said, "REFUSED AllowOtherDenied");
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// Runs a test where everybody may open `/dev/fuse`, as Debian has it and this machine has not: in a mount namespace of
/// its own, with a device of our own laid over it.
fn with_open_device(test: &str) {
    let dir = tempfile::tempdir().unwrap();
    let script =
        "mknod fuse c 10 229 && chmod 666 fuse && mount --bind fuse /dev/fuse && exec \"$@\"";
    let status = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .current_dir(dir.path())
        .status()
        .unwrap();
    assert!(status.success(), "see above");
}

/// Two programs have written through one descriptor. While the close of the first waits for servers, the second closes too.
#[test]
fn p5_whoever_closes_while_the_same_changes_are_being_saved_hears_what_becomes_of_them() {
    let Some(rig) = Rig::new() else { return };
    for faults in &rig.faults {
        faults.set(State::Hung);
    }
    let script = "import os, sys, time
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
def close():
    try:
        os.close(file)
        return 0
    except OSError as error:
        return error.errno
os.write(file, b'parent')
(heard, tell) = os.pipe()
child = os.fork()
if child == 0:
    os.write(file, b'child')
    os.write(tell, b'written')
    time.sleep(0.5)
    os._exit(close())
os.read(heard, 7)
mine = close()
theirs = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(mine, theirs)";
    let output = Command::new("python3")
        .args(["-c", script])
        .arg(rig.at("file"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), format!("{0} {0}", libc::EIO), "{output:?}");
    for faults in &rig.faults {
        faults.heal();
    }
}

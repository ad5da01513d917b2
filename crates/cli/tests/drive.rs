//! `mount` and `umount`.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{World, can_mount, noise, text};

/// Takes the drive away whatever happens.
struct Drive<'a>(&'a World);

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        let _ = self.0.run(["umount", "drive"]);
    }
}

fn world() -> Option<World> {
    if !can_mount() {
        return None;
    }
    let world = World::new();
    fs::create_dir(world.path("drive")).unwrap();
    Some(world)
}

#[test]
fn what_is_written_to_the_drive_is_in_the_vault() {
    let Some(world) = world() else { return };
    let said = world.ok(["mount", "office.toml", "drive"]);
    let drive = Drive(&world);
    assert!(said.contains("umount"), "{said}");
    let data = noise(3_000_000);
    world.write("drive/表/a.xlsx", &data);
    // The program works beside the drive.
    let read = world.run(["cat", "office.toml", "/表/a.xlsx"]);
    assert!(read.stdout == data, "{}", text(&read.stderr));
    world.write("b.txt", "put");
    world.ok(["put", "office.toml", "b.txt", "/表/"]);
    assert_eq!(world.read("drive/表/b.txt"), b"put");
    world.ok(["umount", "drive"]);
    drop(drive);
    assert_eq!(fs::read_dir(world.path("drive")).unwrap().count(), 0);
    world.ends(4, ["umount", "drive"]);
}

/// Whoever loses a server while the drive is mounted gives it a new place, and loses another one: the drive is as good as new.
#[test]
fn p4_a_mounted_drive_goes_on_at_the_new_place_of_a_server() {
    let Some(world) = world() else { return };
    world.ok(["mount", "office.toml", "drive"]);
    let _drive = Drive(&world);
    world.write("drive/before.txt", "before");
    world.away("c");
    world.write("drive/meanwhile.txt", "meanwhile");
    world.ok(["server", "replace", "office.toml", "bunko", "new", "--yes"]);
    let begun = Instant::now();
    for turn in 0.. {
        world.write(format!("drive/after-{turn}.txt"), "after");
        let status = world.run(["status", "office.toml"]);
        if status.status.success() {
            break;
        }
        let told = text(&status.stdout);
        assert!(begun.elapsed() < Duration::from_secs(60), "{told}");
        std::thread::sleep(Duration::from_millis(200));
    }
    world.away("b");
    for name in ["before", "meanwhile", "after-0"] {
        let path = format!("drive/{name}.txt");
        let expected = name.trim_end_matches("-0");
        assert_eq!(text(&world.read(path)), expected);
    }
}

/// The log is sent while the drive is there, not when it goes.
#[test]
fn p9_a_mounted_drive_sends_its_log_as_it_works() {
    let Some(world) = world() else { return };
    let socket = world.path("log.socket");
    let receiver = UnixDatagram::bind(&socket).unwrap();
    let patience = Some(Duration::from_secs(30));
    receiver.set_read_timeout(patience).unwrap();
    let file = fs::read_to_string(world.path("office.toml")).unwrap();
    let line = format!("syslog = \"unixgram:{}\"", socket.display());
    let file = file.replace("# syslog = \"unixgram:/dev/log\"", &line);
    world.write("office.toml", file);
    world.ok(["mount", "office.toml", "drive"]);
    let _drive = Drive(&world);
    // What was done before is on its way too.
    std::thread::sleep(Duration::from_secs(3));
    fs::create_dir(world.path("drive/made here")).unwrap();
    let mut buffer = vec![0; 65_536];
    loop {
        let len = receiver.recv(&mut buffer).expect("the line comes");
        if text(&buffer[..len]).contains("made here") {
            break;
        }
    }
}

#[test]
fn mounting_says_what_is_in_the_way() {
    let Some(world) = world() else { return };
    world.ends(4, ["mount", "office.toml", "nowhere"]);
    world.write("full/x", "x");
    let said = world.ends(2, ["mount", "office.toml", "full"]);
    assert!(
        said.contains("not empty") && said.contains("Next: "),
        "{said}"
    );
    world.ends(2, ["mount", "office.toml", "office.toml"]);
    fs::create_dir(world.path("a/mnt")).unwrap();
    let said = world.ends(2, ["mount", "office.toml", "a/mnt"]);
    assert!(said.contains("lies within a server"), "{said}");
    world.ends(4, ["mount", "none.toml", "drive"]);
    world.ok(["mount", "office.toml", "drive"]);
    let _drive = Drive(&world);
    world.ends(6, ["mount", "office.toml", "drive"]);
    world.away("a");
    world.away("b");
    fs::create_dir(world.path("second")).unwrap();
    let said = world.ends(5, ["mount", "office.toml", "second"]);
    assert!(
        said.contains("honcho: no answer"),
        "what goes wrong in the background reaches the user: {said}"
    );
    world.back("a");
    world.back("b");
}

/// Starts a drive in the foreground and waits until it is there.
fn foreground(world: &World) -> Child {
    let mut child = world
        .command(["mount", "--foreground", "office.toml", "drive"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains("mounted"), "{line}");
    child
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

#[test]
fn p5_signals_end_the_drive_cleanly() {
    let Some(world) = world() else { return };
    for (number, kind) in [
        rustix::process::Signal::TERM,
        rustix::process::Signal::INT,
        rustix::process::Signal::HUP,
    ]
    .into_iter()
    .enumerate()
    {
        let child = foreground(&world);
        let name = format!("drive/{number}.txt");
        // Written, and not closed when the signal comes.
        let mut file = fs::File::create(world.path(&name)).unwrap();
        file.write_all(b"text").unwrap();
        signal(&child, kind);
        let out = child.wait_with_output().unwrap();
        drop(file);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
        assert_eq!(fs::read_dir(world.path("drive")).unwrap().count(), 0);
        assert_eq!(
            world.ok(["cat", "office.toml", &format!("/{number}.txt")]),
            "text"
        );
    }
}

#[test]
fn p5_what_could_not_be_saved_is_named_to_whoever_unmounts() {
    let Some(world) = world() else { return };
    world.ok(["mount", "office.toml", "drive"]);
    let _drive = Drive(&world);
    let mut file = fs::File::create(world.path("drive/予算.xlsx")).unwrap();
    file.write_all(b"unsaved").unwrap();
    world.away("a");
    world.away("b");
    let out = world.run(["umount", "drive"]);
    drop(file);
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(10), "{said}");
    assert!(
        said.contains("/予算.xlsx") && said.contains("Next: "),
        "{said}"
    );
    world.back("a");
    world.back("b");
}

#[test]
fn a_drive_whose_process_was_killed_is_mounted_anew() {
    let Some(world) = world() else { return };
    let mut child = foreground(&world);
    world.write("drive/a.txt", "text");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        fs::read_dir(world.path("drive")).is_err(),
        "the mount point is stale"
    );
    world.ok(["mount", "office.toml", "drive"]);
    let _drive = Drive(&world);
    assert_eq!(world.read("drive/a.txt"), b"text");
}

#[test]
fn a_drive_for_reading_refuses_changes() {
    let Some(world) = world() else { return };
    world.write("a.txt", "text");
    world.ok(["put", "office.toml", "a.txt", "/"]);
    world.ok(["mount", "--read-only", "office.toml", "drive"]);
    let _drive = Drive(&world);
    assert_eq!(world.read("drive/a.txt"), b"text");
    let error = fs::write(world.path("drive/b.txt"), "x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn unmounting_is_told_in_json() {
    let Some(world) = world() else { return };
    world.ok(["mount", "office.toml", "drive"]);
    let begin = Instant::now();
    let told = world.json(0, ["umount", "--json", "drive"]);
    assert_eq!(
        (&told["unmounted"], &told["forced"]),
        (&true.into(), &false.into())
    );
    assert!(begin.elapsed() < Duration::from_secs(20));
}

/// What a program hears is a number. Which servers it was, the log tells; of which file, it does not.
#[test]
fn p6_a_drive_in_the_foreground_logs_what_is_wrong_and_no_name() {
    let Some(world) = world() else { return };
    let child = foreground(&world);
    let mut file = fs::File::create(world.path("drive/処分案.docx")).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    file.write_all(b"unsaved").unwrap();
    world.away("a");
    world.away("b");
    // What was written under the lock is to be saved before it is let go of.
    rustix::fs::flock(&file, rustix::fs::FlockOperation::Unlock).unwrap();
    file.sync_all().unwrap_err();
    world.back("a");
    world.back("b");
    drop(file);
    signal(&child, rustix::process::Signal::TERM);
    let out = child.wait_with_output().unwrap();
    let said = text(&out.stderr);
    let logged: Vec<_> = said.lines().filter(|line| line.contains("WARN")).collect();
    for what in ["under a lock", "not saved: 2 servers must take their share"] {
        assert!(logged.iter().any(|line| line.contains(what)), "{said}");
    }
    assert!(
        logged.iter().any(|line| line.contains("honcho: no answer")),
        "{said}"
    );
    assert!(logged.iter().all(|line| !line.contains("処分案")), "{said}");
}

//! Every call of a program comes to an end, whatever the servers do: one that is never answered would hold the program for ever, and
//! with it whoever waits for it.

mod rig;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::sync::mpsc;
use std::time::Duration;

use rig::{Rig, close, noise};
use rustix::fs::{FallocateFlags, XattrFlags, fallocate};
use warifu_testkit::stores::State;

/// Longer than any chain of server calls that one request makes, each of which ends by itself.
const PATIENCE: Duration = Duration::from_secs(120);

type Call = fn(&Rig, &File, &File);

/// One of each call that a drive answers. What comes of it does not matter here.
const CALLS: &[(&str, Call)] = &[
    ("lookup", |rig, _, _| drop(fs::metadata(rig.at("cold")))),
    ("open and read", |rig, _, _| drop(fs::read(rig.at("cold")))),
    ("read far inside", |rig, _, _| {
        let file = File::open(rig.at("large")).unwrap();
        let _ = file.read_at(&mut [0; 100], 9_000_000);
    }),
    ("create, write, close", |rig, _, _| {
        let mut file = File::create(rig.at("new")).unwrap();
        let _ = file.write_all(b"x");
        let _ = close(file);
    }),
    ("write into an open file", |_, open, _| {
        drop(open.write_at(b"x", 3))
    }),
    ("fsync", |_, _, changed| drop(changed.sync_all())),
    ("O_SYNC", |rig, _, _| {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = OpenOptions::new();
        options.write(true).create(true).custom_flags(libc::O_SYNC);
        let _ = options.open(rig.at("sync")).unwrap().write_all(b"x");
    }),
    ("truncate by name", |rig, _, _| {
        let _ = nix::unistd::truncate(&rig.at("cold"), 3);
    }),
    ("fallocate", |_, open, _| {
        let _ = fallocate(open, FallocateFlags::empty(), 0, 1 << 20);
    }),
    ("lseek", |_, open, _| {
        let _ = rustix::fs::seek(open, rustix::fs::SeekFrom::Data(0));
    }),
    ("statfs", |rig, _, _| {
        let _ = rustix::fs::statvfs(rig.drive());
    }),
    ("readdir", |rig, _, _| {
        assert!(fs::read_dir(rig.drive()).unwrap().count() > 1)
    }),
    ("mkdir", |rig, _, _| fs::create_dir(rig.at("dir")).unwrap()),
    ("rename", |rig, _, _| {
        fs::write(rig.at("moved"), "").unwrap();
        fs::rename(rig.at("moved"), rig.at("moved on")).unwrap();
    }),
    ("link", |rig, _, _| {
        fs::hard_link(rig.at("cold"), rig.at("link")).unwrap()
    }),
    ("symlink", |rig, _, _| {
        symlink("cold", rig.at("symlink")).unwrap()
    }),
    ("setxattr", |rig, _, _| {
        rustix::fs::setxattr(rig.at("cold"), "user.x", b"x", XattrFlags::empty()).unwrap();
    }),
    ("unlink", |rig, _, _| {
        fs::write(rig.at("gone"), "").unwrap();
        fs::remove_file(rig.at("gone")).unwrap();
    }),
    ("fsync of a folder", |rig, _, _| {
        drop(File::open(rig.drive()).unwrap().sync_all());
    }),
    ("copy", |rig, _, _| {
        drop(fs::copy(rig.at("cold"), rig.at("copy")))
    }),
];

#[test]
fn every_call_is_answered_although_no_server_does() {
    let Some(rig) = Rig::new() else { return };
    fs::write(rig.at("cold"), noise(1, 20_000)).unwrap();
    fs::write(rig.at("large"), noise(2, 10_000_000)).unwrap();
    fs::write(rig.at("open"), "text").unwrap();
    let update = |name: &str| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true);
        options.open(rig.at(name)).unwrap()
    };
    let (open, mut changed) = (update("open"), update("changed"));
    changed.write_all(b"changed").unwrap();
    for faults in &rig.faults {
        faults.set(State::Hung);
    }
    let (done, ended) = mpsc::channel();
    std::thread::scope(|scope| {
        for (name, call) in CALLS {
            let (done, rig, open, changed) = (done.clone(), &rig, &open, &changed);
            scope.spawn(move || {
                call(rig, open, changed);
                done.send(*name).unwrap();
            });
        }
        drop(done);
        let mut left: Vec<_> = CALLS.iter().map(|(name, _)| *name).collect();
        while let Ok(name) = ended.recv_timeout(PATIENCE) {
            left.retain(|other| *other != name);
        }
        if !left.is_empty() {
            // Those that hang would keep this test for ever.
            eprintln!("no answer to: {left:?}");
            std::process::exit(1);
        }
    });
    for faults in &rig.faults {
        faults.heal();
    }
    assert!(fs::read(rig.at("large")).unwrap() == noise(2, 10_000_000));
    changed.sync_all().unwrap();
}

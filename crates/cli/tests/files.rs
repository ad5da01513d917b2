//! Files in and out of a vault, without a drive.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Command;

use common::{World, noise, text};

#[test]
fn a_tree_comes_back_as_it_was() {
    let world = World::new();
    let long = "長".repeat(85);
    for (name, contents) in [
        ("in/住民票.docx".to_owned(), noise(20_000)),
        (format!("in/{long}"), b"255 bytes of name".to_vec()),
        ("in/か\u{3099}.txt".to_owned(), b"NFD".to_vec()),
        ("in/\u{1f4c4} a b'c\"d$.pdf".to_owned(), noise(70_000)),
        ("in/deep/er/and/er/large.bin".to_owned(), noise(9_500_000)),
        ("in/empty.txt".to_owned(), Vec::new()),
    ] {
        world.write(name, contents);
    }
    let odd = OsStr::from_bytes(b"in/not \xff UTF-8 \x1b[31m");
    world.write(odd, "bytes");
    fs::create_dir(world.path("in/empty folder")).unwrap();
    symlink("住民票.docx", world.path("in/link")).unwrap();
    symlink("/nowhere", world.path("in/dangling")).unwrap();
    fs::set_permissions(
        world.path("in/住民票.docx"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    fs::set_permissions(world.path("in/deep"), fs::Permissions::from_mode(0o750)).unwrap();
    let old = fs::FileTimes::new()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_007, 123_456_789));
    fs::File::open(world.path("in/住民票.docx"))
        .unwrap()
        .set_times(old)
        .unwrap();
    fs::File::open(world.path("in/deep"))
        .unwrap()
        .set_times(old)
        .unwrap();

    let put = world.json(0, ["put", "--json", "office.toml", "in", "/archive"]);
    assert_eq!(
        (
            put["files"].as_u64(),
            put["links"].as_u64(),
            put["degraded"].as_bool()
        ),
        (Some(7), Some(2), Some(false))
    );
    let get = world.json(0, ["get", "--json", "office.toml", "/archive", "out"]);
    assert_eq!(
        (get["files"].as_u64(), get["bytes"].as_u64()),
        (Some(7), put["bytes"].as_u64())
    );

    let diff = Command::new("diff")
        .args(["-r", "--no-dereference", "in", "out"])
        .current_dir(world.dir())
        .output()
        .unwrap();
    assert!(diff.status.success(), "{}", text(&diff.stdout));
    for name in ["住民票.docx", "deep"] {
        let (was, is) = (
            fs::metadata(world.path("in").join(name)).unwrap(),
            fs::metadata(world.path("out").join(name)).unwrap(),
        );
        assert_eq!(
            (was.mode(), was.mtime(), was.mtime_nsec()),
            (is.mode(), is.mtime(), is.mtime_nsec()),
            "{name}"
        );
    }
    assert_eq!(
        fs::metadata(world.path("out/住民票.docx"))
            .unwrap()
            .mtime_nsec(),
        123_456_789
    );
}

#[test]
fn folders_go_where_cp_would_put_them() {
    let world = World::new();
    world.write("x/one.txt", "1");
    world.write("y.txt", "2");
    world.ok(["mkdir", "office.toml", "/here"]);
    world.ok(["put", "office.toml", "x", "y.txt", "/here"]);
    world.ok(["put", "office.toml", "x/.", "/new"]);
    world.ok(["put", "-p", "office.toml", "y.txt", "/far/away/"]);
    assert_eq!(
        world.ok(["ls", "-R", "office.toml", "/here", "/new", "/far"]),
        "/here:\nx/\ny.txt\n\n/here/x:\none.txt\n\n/new:\none.txt\n\n/far:\naway/\n\n/far/away:\ny.txt\n"
    );
    fs::create_dir(world.path("out")).unwrap();
    world.ok(["get", "office.toml", "/here", "/new/one.txt", "out"]);
    assert_eq!(world.read("out/here/x/one.txt"), b"1");
    assert_eq!(world.read("out/one.txt"), b"1");
    world.ok(["get", "office.toml", "/", "all"]);
    assert_eq!(world.read("all/far/away/y.txt"), b"2");
}

#[test]
fn saving_again_keeps_every_version() {
    let world = World::new();
    for contents in ["one", "two and more", ""] {
        world.write("a.txt", contents);
        world.ok(["put", "office.toml", "a.txt", "/a.txt"]);
    }
    let history = world.json(0, ["history", "--json", "office.toml", "/a.txt"]);
    let sizes: Vec<u64> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|version| version["size"].as_u64().unwrap())
        .collect();
    assert_eq!(sizes, [3, 12, 0]);
    assert_eq!(history[2]["current"], true);
    assert_eq!(
        history[0]["settled"], true,
        "everything is on the servers' disks when the program ends"
    );
    assert_eq!(world.ok(["cat", "office.toml", "/a.txt"]), "");
    assert_eq!(
        world.ok(["cat", "office.toml", "--version", "2", "/a.txt"]),
        "two and more"
    );
    world.ok(["get", "office.toml", "--version", "1", "/a.txt", "old.txt"]);
    assert_eq!(world.read("old.txt"), b"one");
    let said = world.ends(4, ["cat", "office.toml", "--version", "9", "/a.txt"]);
    assert!(
        said.contains("no such version") && said.contains("Next: "),
        "{said}"
    );
    // A rename over a file is its next version, too.
    world.ok(["put", "office.toml", "old.txt", "/b.txt"]);
    world.ok(["mv", "office.toml", "/b.txt", "/a.txt"]);
    assert_eq!(world.ok(["cat", "office.toml", "/a.txt"]), "one");
    assert_eq!(
        world
            .json(0, ["history", "--json", "office.toml", "/a.txt"])
            .as_array()
            .unwrap()
            .len(),
        4
    );
}

#[test]
fn nothing_local_is_overwritten_unasked() {
    let world = World::new();
    world.write("a.txt", "vault");
    world.ok(["put", "office.toml", "a.txt", "/"]);
    world.write("a.txt", "local");
    let said = world.ends(6, ["get", "office.toml", "/a.txt", "a.txt"]);
    assert!(
        said.contains("was not overwritten") && said.contains("--force"),
        "{said}"
    );
    assert_eq!(world.read("a.txt"), b"local");
    world.ok(["get", "--force", "office.toml", "/a.txt", "a.txt"]);
    assert_eq!(world.read("a.txt"), b"vault");
    // Never through a link to somewhere else.
    world.write("d/f", "1");
    world.ok(["put", "office.toml", "d", "/d"]);
    fs::create_dir_all(world.path("out/elsewhere")).unwrap();
    symlink("elsewhere", world.path("out/d")).unwrap();
    world.ends(6, ["get", "office.toml", "/d", "out"]);
    assert_eq!(
        fs::read_dir(world.path("out/elsewhere")).unwrap().count(),
        0
    );
    let leftovers: Vec<_> = fs::read_dir(world.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        leftovers
            .iter()
            .all(|name| !name.to_string_lossy().starts_with(".warifu-")),
        "{leftovers:?}"
    );
}

#[test]
fn no_clobber_keeps_what_is_there() {
    let world = World::new();
    world.write("a.txt", "1");
    world.ok(["put", "-n", "office.toml", "a.txt", "/"]);
    world.write("a.txt", "2");
    world.ends(6, ["put", "-n", "office.toml", "a.txt", "/"]);
    assert_eq!(world.ok(["cat", "office.toml", "/a.txt"]), "1");
    world.write("b.txt", "b");
    world.ok(["put", "office.toml", "b.txt", "/"]);
    world.ends(6, ["mv", "-n", "office.toml", "/b.txt", "/a.txt"]);
    assert_eq!(world.ok(["cat", "office.toml", "/a.txt", "/b.txt"]), "1b");
}

#[test]
fn standard_input_and_output() {
    let world = World::new();
    let data = noise(5_000_000);
    let out = world.feed(&data, ["put", "office.toml", "-", "/dump.bin"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let read = world.run(["cat", "office.toml", "/dump.bin"]);
    assert!(read.status.success() && read.stdout == data);
    let out = world.feed(b"x", ["put", "office.toml", "-", "/"]);
    assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
    // A reader that has seen enough is no error.
    let script = format!(
        "set -o pipefail; {} cat office.toml /dump.bin | head -c 10 | wc -c",
        common::WARIFU
    );
    let out = Command::new("bash")
        .args(["-c", &script])
        .current_dir(world.dir())
        .output()
        .unwrap();
    assert_eq!(
        (text(&out.stdout).trim(), text(&out.stderr).as_str()),
        ("10", "")
    );
}

#[test]
fn removing_asks_for_the_right_word() {
    let world = World::new();
    world.ok(["mkdir", "-p", "office.toml", "/a/b/c", "/a/b/d"]);
    world.write("f", "1");
    world.ok(["put", "office.toml", "f", "/a/b/c/f"]);
    let said = world.ends(1, ["rm", "office.toml", "/a"]);
    assert!(
        said.contains("is a folder") && said.contains("-r"),
        "{said}"
    );
    world.ends(4, ["rm", "office.toml", "/none"]);
    world.ok(["rm", "-f", "office.toml", "/none"]);
    world.ok(["rm", "-r", "office.toml", "/a"]);
    assert_eq!(world.ok(["ls", "office.toml"]), "");
    world.ends(4, ["mkdir", "office.toml", "/x/y"]);
    world.ok(["mkdir", "office.toml", "/x"]);
    world.ends(6, ["mkdir", "office.toml", "/x"]);
    world.ok(["mkdir", "-p", "office.toml", "/x"]);
    world.ends(1, ["mv", "office.toml", "/x", "/x/y"]);
}

#[test]
fn names_cannot_play_tricks_on_a_terminal() {
    let world = World::new();
    let name = b"evil \x1b]0;owned\x07 \xe2\x80\xaegnp.exe \xff";
    world.write(OsStr::from_bytes(name), "x");
    world.ok([
        OsStr::new("put"),
        OsStr::new("office.toml"),
        OsStr::from_bytes(name),
        OsStr::new("/"),
    ]);
    for args in [vec!["ls", "office.toml"], vec!["ls", "-l", "office.toml"]] {
        let out = world.ok(args);
        assert!(
            out.contains(r"evil \u{1b}]0;owned\u{7} \u{202e}gnp.exe \xff"),
            "{out}"
        );
        assert!(!out.contains(['\u{1b}', '\u{7}', '\u{202e}']));
    }
    let list = world.json(0, ["ls", "--json", "office.toml"]);
    let hex: String = [b"/".as_slice(), name]
        .concat()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(list[0]["path_hex"], hex);
}

#[test]
fn lists_for_programs() {
    let world = World::new();
    world.write("in/a.txt", "abc");
    symlink("a.txt", world.path("in/l")).unwrap();
    fs::set_permissions(world.path("in/a.txt"), fs::Permissions::from_mode(0o604)).unwrap();
    world.ok(["put", "office.toml", "in", "/in"]);
    let list = world.json(0, ["ls", "-R", "--json", "office.toml"]);
    let paths: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["/in", "/in/a.txt", "/in/l"]);
    assert_eq!(
        (
            &list[1]["kind"],
            &list[1]["mode"],
            &list[1]["size"],
            &list[1]["version"]
        ),
        (&"file".into(), &"0604".into(), &3.into(), &1.into())
    );
    assert_eq!(
        (&list[2]["kind"], &list[2]["target"]["path"]),
        (&"symlink".into(), &"a.txt".into())
    );
    let long = world.ok(["ls", "-l", "office.toml", "/in"]);
    assert!(
        long.contains("-rw----r--") && long.contains("l -> a.txt"),
        "{long}"
    );
}

#[test]
fn what_cannot_be_taken_along_is_named() {
    let world = World::new();
    world.write("in/good.txt", "1");
    let made = Command::new("mkfifo")
        .arg(world.path("in/pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    let put = world.json(3, ["put", "--json", "office.toml", "in", "/in"]);
    assert_eq!(put["files"], 1);
    assert!(
        put["skipped"][0]["path"]
            .as_str()
            .unwrap()
            .ends_with("in/pipe"),
        "{put}"
    );
    assert_eq!(world.ok(["ls", "office.toml", "/in"]), "good.txt\n");
}

#[test]
fn two_programs_at_once() {
    let world = World::new();
    for name in ["x", "y"] {
        for number in 0..20 {
            world.write(
                format!("{name}/{number}"),
                [name.as_bytes(), &noise(3000 + number)].concat(),
            );
        }
    }
    let (mut first, mut second) = (
        world.command(["put", "office.toml", "x", "/x"]),
        world.command(["put", "office.toml", "y", "/y"]),
    );
    let (mut first, mut second) = (first.spawn().unwrap(), second.spawn().unwrap());
    assert!(first.wait().unwrap().success() && second.wait().unwrap().success());
    world.ok(["get", "office.toml", "/", "out"]);
    for name in ["x", "y"] {
        let diff = Command::new("diff")
            .args(["-rq", name])
            .arg(format!("out/{name}"))
            .current_dir(world.dir())
            .output()
            .unwrap();
        assert!(
            diff.status.success(),
            "{}{}",
            text(&diff.stdout),
            world.ok(["ls", "-lR", "office.toml"])
        );
    }
}

#[test]
fn what_is_stopped_half_way_is_taken_back() {
    use std::io::Write as _;
    let world = World::new();
    world.write("old.txt", "old");
    world.ok(["put", "office.toml", "old.txt", "/old.txt"]);
    for target in ["/new.bin", "/old.txt"] {
        let mut child = world
            .command(["put", "office.toml", "-", target])
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // More than one extent, so that some of it is on the servers already; and no end.
        let mut input = child.stdin.take().unwrap();
        input.write_all(&noise(6_000_000)).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
        let out = child.wait_with_output().unwrap();
        drop(input);
        assert_eq!(out.status.code(), Some(130), "{}", text(&out.stderr));
        assert_eq!(world.ok(["ls", "office.toml"]), "old.txt\n");
        assert_eq!(world.ok(["cat", "office.toml", "/old.txt"]), "old");
    }
    let report = world.json(0, ["verify", "--deep", "--json", "office.toml"]);
    assert_eq!(report["servers"]["honcho"]["orphans"], 0, "{report}");
}

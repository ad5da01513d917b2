//! `split` and `combine`.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use common::{World, noise, text};

#[test]
fn any_k_shares_give_the_file_back() {
    let world = World::empty();
    for len in [0, 1, 4096, 65_536, (4 << 20) + 1, 9_000_000] {
        let data = noise(len);
        world.write("契約書.pdf", &data);
        fs::set_permissions(world.path("契約書.pdf"), fs::Permissions::from_mode(0o640)).unwrap();
        world.ok(["split", "契約書.pdf", "-k", "2", "-n", "3", "-o", "out"]);
        for (x, y) in [(1, 2), (1, 3), (3, 2)] {
            let share = |index: i32| format!("out/契約書.pdf.{index}.warifu");
            world.ok(["combine", &share(x), &share(y), "-o", "back.pdf"]);
            assert!(
                world.read("back.pdf") == data,
                "{len} bytes from {x} and {y}"
            );
            let (was, is) = (
                fs::metadata(world.path("契約書.pdf")).unwrap(),
                fs::metadata(world.path("back.pdf")).unwrap(),
            );
            assert_eq!(
                (was.mode(), was.mtime(), was.mtime_nsec()),
                (is.mode(), is.mtime(), is.mtime_nsec())
            );
            fs::remove_file(world.path("back.pdf")).unwrap();
        }
        fs::remove_dir_all(world.path("out")).unwrap();
    }
}

#[test]
fn shares_are_private_and_nothing_is_overwritten() {
    let world = World::empty();
    world.write("a.txt", "text");
    world.ok(["split", "a.txt", "-k", "2", "-n", "2"]);
    for index in 1..=2 {
        let mode = fs::metadata(world.path(format!("a.txt.{index}.warifu")))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let before = world.read("a.txt.1.warifu");
    fs::remove_file(world.path("a.txt.2.warifu")).unwrap();
    world.ends(6, ["split", "a.txt", "-k", "2", "-n", "2"]);
    assert_eq!(world.read("a.txt.1.warifu"), before);
    assert!(!world.path("a.txt.2.warifu").exists());
    fs::remove_file(world.path("a.txt.1.warifu")).unwrap();
    world.ok(["split", "a.txt", "-k", "1", "-n", "2"]);
    world.write("a.txt", "newer");
    world.ends(6, ["combine", "a.txt.1.warifu"]);
    assert_eq!(world.read("a.txt"), b"newer");
    world.ok(["combine", "--force", "a.txt.1.warifu"]);
    assert_eq!(world.read("a.txt"), b"text");
    let leftovers = fs::read_dir(world.dir()).unwrap().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".warifu-")
    });
    assert_eq!(leftovers.count(), 0);
}

#[test]
fn p10_damaged_and_foreign_shares_are_named_and_left_out() {
    let world = World::empty();
    let data = noise(6_000_000);
    world.write("a.bin", &data);
    world.ok(["split", "a.bin", "-k", "2", "-n", "4", "-o", "s"]);
    let share = |index: u8| format!("s/a.bin.{index}.warifu");
    // Damage in the middle of one, another cut off, and a file that is no share.
    let mut bytes = world.read(share(1));
    bytes[5_000_000] ^= 1;
    world.write(share(1), bytes);
    let bytes = world.read(share(2));
    world.write(share(2), &bytes[..bytes.len() / 2]);
    world.write("letter.txt", "no share at all");
    let out = world.run([
        "combine",
        &share(1),
        "letter.txt",
        &share(2),
        &share(3),
        &share(4),
        "-o",
        "back",
    ]);
    assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
    let said = text(&out.stderr);
    assert!(
        said.contains("a.bin.1.warifu: damaged") && said.contains("letter.txt: not a share"),
        "{said}"
    );
    assert!(
        !said.contains("a.bin.3.warifu") && !said.contains("a.bin.4.warifu"),
        "{said}"
    );
    assert!(world.read("back") == data);
    // Too few good ones: nothing is written.
    let said = world.ends(5, ["combine", &share(1), &share(2), "-o", "back2"]);
    assert!(
        said.contains("2 good shares") && said.contains("Next: "),
        "{said}"
    );
    assert!(!world.path("back2").exists());
    world.ends(5, ["combine", &share(3), &share(3), "-o", "back2"]);
    world.ends(5, ["combine", &share(3), "-o", "back2"]);
}

#[test]
fn p10_shares_of_different_files_do_not_mix() {
    let world = World::empty();
    world.write("a", "first");
    world.write("b", "other");
    world.ok(["split", "a", "-k", "2", "-n", "2"]);
    world.ok(["split", "b", "-k", "2", "-n", "2"]);
    let out = world.run(["combine", "a.1.warifu", "b.2.warifu", "-o", "back"]);
    assert!(!out.status.success(), "{}", text(&out.stdout));
    assert!(!world.path("back").exists());
}

#[test]
fn what_cannot_be_split_is_refused() {
    let world = World::empty();
    fs::create_dir(world.path("folder")).unwrap();
    let said = world.ends(2, ["split", "folder", "-k", "2", "-n", "3"]);
    assert!(said.contains("not a regular file"), "{said}");
    world.write("a", "x");
    world.ends(2, ["split", "a", "-k", "3", "-n", "2"]);
    world.ends(4, ["split", "none", "-k", "2", "-n", "3"]);
    let names: Vec<_> = fs::read_dir(world.dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

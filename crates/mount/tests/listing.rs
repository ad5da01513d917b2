//! Listing folders on a real mount, also while they change.

mod rig;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rig::{Rig, context, errno};
use warifu_vault::node::{Name, NodeId};

#[test]
fn a_large_folder_is_listed_once_and_whole_while_it_shrinks() {
    const MANY: u32 = 100_000;
    let Some(rig) = Rig::new() else { return };
    // Made through the vault: a hundred thousand creates through the kernel would only cost time.
    rig.runtime.block_on(async {
        let name = |text: String| Name::new(text.as_bytes()).unwrap();
        let dir = rig
            .vault
            .make_dir(&context(), NodeId::ROOT, &name("large".into()), 0o755)
            .await
            .unwrap()
            .node;
        let tasks: Vec<_> = (0..64)
            .map(|part| {
                let vault = rig.vault.clone();
                tokio::spawn(async move {
                    for number in (part..MANY).step_by(64) {
                        let name = Name::new(format!("file {number:06}").as_bytes()).unwrap();
                        vault
                            .make_node(
                                &context(),
                                dir,
                                &name,
                                warifu_vault::node::NodeKind::Fifo,
                                0o600,
                                0,
                            )
                            .await
                            .unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let listing = fs::read_dir(rig.at("large")).unwrap();
    let mut seen = BTreeSet::new();
    for (number, entry) in listing.enumerate() {
        let entry = entry.unwrap();
        assert!(
            seen.insert(entry.file_name()),
            "{:?} came twice",
            entry.file_name()
        );
        assert!(entry.file_type().unwrap().is_fifo());
        // Every hundredth is removed as soon as it was seen, as rm -r does.
        if number % 100 == 0 {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    assert_eq!(seen.len(), MANY as usize);
    let left: BTreeSet<_> = fs::read_dir(rig.at("large"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), (MANY - MANY / 100) as usize);
    assert!(left.is_subset(&seen));
}

#[test]
fn a_listing_shows_no_ghosts_of_what_was_removed_meanwhile() {
    let Some(rig) = Rig::new() else { return };
    for number in 0..200 {
        fs::write(rig.at(format!("{number}")), "").unwrap();
    }
    let mut listing = fs::read_dir(rig.drive()).unwrap();
    let first = listing.next().unwrap().unwrap();
    for number in 0..200 {
        fs::remove_file(rig.at(format!("{number}"))).unwrap();
    }
    // What the rest of the listing shows is open; that nothing of it is found afterwards is not.
    let rest: Vec<_> = listing.map(|entry| entry.unwrap().path()).collect();
    for path in rest.into_iter().chain([first.path()]) {
        assert_eq!(errno(fs::symlink_metadata(path)), libc::ENOENT);
    }
    fs::create_dir(rig.at("dir")).unwrap();
    fs::remove_dir(rig.at("dir")).unwrap();
    assert_eq!(fs::read_dir(rig.drive()).unwrap().count(), 0);
}

#[test]
fn a_place_in_a_listing_can_be_returned_to() {
    let Some(rig) = Rig::new() else { return };
    for number in 0..500 {
        fs::write(rig.at(format!("{number}")), "").unwrap();
    }
    let mut dir = nix::dir::Dir::open(
        &rig.drive(),
        nix::fcntl::OFlag::O_RDONLY,
        nix::sys::stat::Mode::empty(),
    )
    .unwrap();
    let names = |dir: &mut nix::dir::Dir| {
        dir.iter()
            .map(|entry| entry.unwrap().file_name().to_owned())
            .collect::<Vec<_>>()
    };
    // Iterating to the end rewinds.
    let (first, second) = (names(&mut dir), names(&mut dir));
    assert_eq!(first.len(), 502);
    assert_eq!(first, second);
    assert_eq!(
        (first[0].to_bytes(), first[1].to_bytes()),
        (&b"."[..], &b".."[..])
    );
}

#[test]
fn a_folder_and_its_parent_are_the_dots_of_its_listing() {
    let Some(rig) = Rig::new() else { return };
    fs::create_dir_all(rig.at("a/b")).unwrap();
    let mut dir = nix::dir::Dir::open(
        &rig.at("a/b"),
        nix::fcntl::OFlag::O_RDONLY,
        nix::sys::stat::Mode::empty(),
    )
    .unwrap();
    let seen: Vec<_> = dir
        .iter()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_owned(), entry.ino()))
        .collect();
    let ino = |path: &str| fs::metadata(rig.at(path)).unwrap().ino();
    assert_eq!(seen.len(), 2);
    assert!(
        seen.iter()
            .any(|(name, number)| name.to_bytes() == b"." && *number == ino("a/b"))
    );
    assert!(
        seen.iter()
            .any(|(name, number)| name.to_bytes() == b".." && *number == ino("a"))
    );
}

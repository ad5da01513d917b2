//! P8: several machines work on one vault.

use std::time::Duration;

use warifu_vault::context::Act;
use warifu_vault::node::{AttrChange, NodeId};
use warifu_vault::seam::catalog::{Catalog, RenameMode, XattrMode};
use warifu_vault::{Access, Vault};

use crate::common::{
    EXTENT, Lab, ctx, get, name, names, noise, open, put, read_all, same, stat, version, who,
    write_all,
};

/// Two machines and a file that both know.
async fn two(size: usize) -> (Lab, Vault, Vault) {
    let lab = Lab::new(2, 3).await;
    let (here, there) = (lab.start().await, lab.start().await);
    put(&here, "list.xlsx", &noise(0, size)).await.unwrap();
    (lab, here, there)
}

async fn the_copy(vault: &Vault) -> String {
    let mut names = names(vault).await;
    names.retain(|name| name.contains("conflict"));
    assert_eq!(names.len(), 1, "{names:?}");
    names.remove(0)
}

#[tokio::test(start_paused = true)]
async fn p8_two_who_save_the_same_file_both_keep_their_work() {
    for size in [3000, 2 * EXTENT + 3000] {
        let (lab, here, there) = two(size).await;
        let node = stat(&here, "list.xlsx").await.node;
        let mine = here
            .open(&who("hanako"), node, Access::READ_WRITE)
            .await
            .unwrap();
        let theirs = there
            .open(&who("taro"), node, Access::READ_WRITE)
            .await
            .unwrap();
        mine.write(&who("hanako"), 10, b"hanako's").await.unwrap();
        theirs.write(&who("taro"), 10, b"taro's..").await.unwrap();
        let mut expected = [noise(0, size), noise(0, size)];
        expected[0][10..18].copy_from_slice(b"taro's..");
        expected[1][10..18].copy_from_slice(b"hanako's");
        theirs.flush(&who("taro")).await.unwrap();
        mine.flush(&who("hanako")).await.unwrap();
        // Both go on, each with his own.
        theirs.write(&who("taro"), 0, b"1").await.unwrap();
        mine.write(&who("hanako"), 0, b"2").await.unwrap();
        (expected[0][0], expected[1][0]) = (b'1', b'2');
        same(&read_all(&mine).await.unwrap(), &expected[1], "what I see");
        theirs.release(&who("taro")).await.unwrap();
        mine.release(&who("hanako")).await.unwrap();
        let third = lab.start().await;
        let copy = the_copy(&third).await;
        assert_eq!(copy, "list (conflict 2026-09-21 14.13.20 hanako).xlsx");
        for vault in [&here, &there, &third] {
            same(
                &get(vault, "list.xlsx").await.unwrap(),
                &expected[0],
                "the file",
            );
            same(&get(vault, &copy).await.unwrap(), &expected[1], "the copy");
        }
        assert_eq!(version(&third, "list.xlsx").await.0, 3);
        assert_eq!(
            version(&third, &copy).await.0,
            2,
            "later saves by the same handle go to the copy"
        );
        let (file, kept) = (stat(&third, "list.xlsx").await, stat(&third, &copy).await);
        assert_ne!(file.document, kept.document);
        assert_eq!(
            (file.mode, file.uid, file.gid),
            (kept.mode, kept.uid, kept.gid)
        );
        let log = lab.memory.audit(0, 1000).await.unwrap();
        let conflicts: Vec<_> = log
            .iter()
            .filter(|row| row.entry.act == Act::Conflict)
            .collect();
        assert_eq!(conflicts.len(), 1);
        assert_eq!(conflicts[0].entry.context.actor, "hanako");
        assert!(conflicts[0].entry.detail.contains(&copy));
        tokio::time::sleep(Duration::from_secs(2)).await;
        lab.assert_tidy("after the conflict").await;
    }
}

/// Under a list, the mode's group bits are its mask: without the list they would let the whole group in.
#[tokio::test(start_paused = true)]
async fn p8_the_copy_of_a_file_with_an_access_control_list_is_its_owners_alone() {
    let (lab, here, there) = two(3000).await;
    let node = stat(&here, "list.xlsx").await.node;
    let (hanako, taro) = (who("hanako"), who("taro"));
    let change = AttrChange {
        mode: Some(0o660),
        ..AttrChange::default()
    };
    here.set_attr(&hanako, node, &change).await.unwrap();
    here.set_xattr(
        &hanako,
        node,
        b"system.posix_acl_access",
        b"the group: nothing",
        XattrMode::Set,
    )
    .await
    .unwrap();
    let mine = here.open(&hanako, node, Access::READ_WRITE).await.unwrap();
    let theirs = there.open(&taro, node, Access::READ_WRITE).await.unwrap();
    mine.write(&hanako, 0, b"a").await.unwrap();
    theirs.write(&taro, 0, b"b").await.unwrap();
    theirs.release(&taro).await.unwrap();
    mine.release(&hanako).await.unwrap();
    let third = lab.start().await;
    let copy = the_copy(&third).await;
    assert_eq!(stat(&third, &copy).await.mode & 0o777, 0o600);
    assert_eq!(stat(&third, "list.xlsx").await.mode & 0o777, 0o660);
}

#[tokio::test(start_paused = true)]
async fn p8_copies_of_the_same_second_get_names_of_their_own() {
    let lab = Lab::new(2, 3).await;
    put(&lab.start().await, "f", b"base").await.unwrap();
    let mut machines = Vec::new();
    for number in 0..4_u8 {
        let vault = lab.start().await;
        let handle = open(&vault, "f").await.unwrap();
        handle.write(&ctx(), 0, &[b'0' + number; 4]).await.unwrap();
        machines.push((vault, handle));
    }
    for (_, handle) in &machines {
        handle.release(&ctx()).await.unwrap();
    }
    let vault = lab.start().await;
    let mut contents = Vec::new();
    for file in names(&vault).await {
        contents.push(String::from_utf8(get(&vault, &file).await.unwrap()).unwrap());
    }
    contents.sort();
    assert_eq!(contents, ["0000", "1111", "2222", "3333"]);
    assert_eq!(get(&vault, "f").await.unwrap(), b"0000");
}

#[tokio::test(start_paused = true)]
async fn what_one_machine_closed_the_next_open_on_another_sees() {
    let (_lab, here, there) = two(3000).await;
    for size in [3001, EXTENT + 1, 10, 0, 7] {
        put(&there, "list.xlsx", &noise(1, size)).await.unwrap();
        same(
            &get(&here, "list.xlsx").await.unwrap(),
            &noise(1, size),
            "closed there, opened here",
        );
        assert_eq!(stat(&here, "list.xlsx").await.size, size as u64);
    }
    // A handle that was open all the time follows when the file is opened again.
    let reader = open(&here, "list.xlsx").await.unwrap();
    same(&read_all(&reader).await.unwrap(), &noise(1, 7), "before");
    put(&there, "list.xlsx", &noise(2, 9000)).await.unwrap();
    same(
        &get(&here, "list.xlsx").await.unwrap(),
        &noise(2, 9000),
        "opened again",
    );
    same(
        &read_all(&reader).await.unwrap(),
        &noise(2, 9000),
        "the same file",
    );
    reader.write(&ctx(), 0, b"mine").await.unwrap();
    reader.release(&ctx()).await.unwrap();
    assert_eq!(
        names(&here).await,
        ["list.xlsx"],
        "it stood on the newest version"
    );
}

#[tokio::test(start_paused = true)]
async fn unsaved_changes_survive_an_open_that_finds_a_newer_version() {
    let (_lab, here, there) = two(3000).await;
    let writer = open(&here, "list.xlsx").await.unwrap();
    write_all(&writer, b"mine").await.unwrap();
    put(&there, "list.xlsx", b"theirs").await.unwrap();
    let again = open(&here, "list.xlsx").await.unwrap();
    assert_eq!(again.read(0, 4).await.unwrap().expose(), b"mine");
    again.release(&ctx()).await.unwrap();
    writer.release(&ctx()).await.unwrap();
    assert_eq!(get(&here, "list.xlsx").await.unwrap(), b"theirs");
    assert_eq!(
        get(&here, &the_copy(&here).await).await.unwrap()[..4],
        *b"mine"
    );
}

#[tokio::test(start_paused = true)]
async fn p8_changes_to_a_file_removed_elsewhere_are_kept() {
    for large in [false, true] {
        let size = if large { EXTENT + 10 } else { 100 };
        let (lab, here, there) = two(size).await;
        let handle = open(&here, "list.xlsx").await.unwrap();
        handle.write(&ctx(), 0, b"mine").await.unwrap();
        there
            .remove(&ctx(), NodeId::ROOT, &name("list.xlsx"))
            .await
            .unwrap();
        assert!(names(&here).await.is_empty());
        handle.release(&ctx()).await.unwrap();
        let kept = the_copy(&here).await;
        assert!(kept.starts_with("recovered (conflict "), "{kept}");
        let mut expected = noise(0, size);
        expected[..4].copy_from_slice(b"mine");
        same(
            &get(&lab.start().await, &kept).await.unwrap(),
            &expected,
            "kept",
        );
    }
    // Without changes nothing comes back.
    let (_lab, here, there) = two(100).await;
    let handle = open(&here, "list.xlsx").await.unwrap();
    assert_eq!(read_all(&handle).await.unwrap().len(), 100);
    there
        .remove(&ctx(), NodeId::ROOT, &name("list.xlsx"))
        .await
        .unwrap();
    assert_eq!(
        read_all(&handle).await.unwrap().len(),
        100,
        "what is in RAM can be read"
    );
    handle.release(&ctx()).await.unwrap();
    assert!(names(&here).await.is_empty());
}

/// Between the puts of a save and its switch, and kept there by somebody who has it open.
#[tokio::test(start_paused = true)]
async fn p8_a_save_of_a_file_that_loses_its_name_meanwhile_is_kept() {
    let (lab, here, there) = two(100).await;
    let reader = open(&there, "list.xlsx").await.unwrap();
    let handle = open(&here, "list.xlsx").await.unwrap();
    handle.write(&ctx(), 0, b"mine").await.unwrap();
    for server in &lab.faults {
        server.set_delay(Duration::from_secs(2));
    }
    let remove = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let list = name("list.xlsx");
        there.remove(&ctx(), NodeId::ROOT, &list).await.unwrap();
    };
    let me = ctx();
    let (saved, ()) = tokio::join!(handle.release(&me), remove);
    saved.unwrap();
    lab.heal();
    reader.release(&ctx()).await.unwrap();
    let kept = the_copy(&here).await;
    let mut expected = noise(0, 100);
    expected[..4].copy_from_slice(b"mine");
    let found = get(&lab.start().await, &kept).await.unwrap();
    same(&found, &expected, "kept");
}

#[tokio::test(start_paused = true)]
async fn p8_changes_follow_a_file_renamed_elsewhere() {
    let (_lab, here, there) = two(100).await;
    let handle = open(&here, "list.xlsx").await.unwrap();
    handle.write(&ctx(), 0, b"mine").await.unwrap();
    let (from, to) = (name("list.xlsx"), name("moved.xlsx"));
    there
        .rename(
            &ctx(),
            (NodeId::ROOT, &from),
            (NodeId::ROOT, &to),
            RenameMode::Replace,
        )
        .await
        .unwrap();
    handle.release(&ctx()).await.unwrap();
    assert_eq!(names(&here).await, ["moved.xlsx"]);
    assert_eq!(get(&there, "moved.xlsx").await.unwrap()[..4], *b"mine");
}

#[tokio::test(start_paused = true)]
async fn p8_changes_to_a_file_replaced_elsewhere_are_kept() {
    let (_lab, here, there) = two(100).await;
    let handle = open(&here, "list.xlsx").await.unwrap();
    handle.write(&ctx(), 0, b"mine").await.unwrap();
    put(&there, "tmp", b"theirs").await.unwrap();
    let (from, to) = (name("tmp"), name("list.xlsx"));
    there
        .rename(
            &ctx(),
            (NodeId::ROOT, &from),
            (NodeId::ROOT, &to),
            RenameMode::Replace,
        )
        .await
        .unwrap();
    handle.release(&ctx()).await.unwrap();
    assert_eq!(get(&here, "list.xlsx").await.unwrap(), b"theirs");
    let kept = the_copy(&here).await;
    assert_eq!(get(&there, &kept).await.unwrap()[..4], *b"mine");
}

#[tokio::test(start_paused = true)]
async fn p8_a_copy_lies_beside_its_file_or_where_everybody_looks() {
    for folder_goes in [false, true] {
        let lab = Lab::new(2, 3).await;
        let (here, there) = (lab.start().await, lab.start().await);
        let folder = here
            .make_dir(&ctx(), NodeId::ROOT, &name("office"), 0o755)
            .await
            .unwrap()
            .node;
        let (_, first) = here
            .create_file(&ctx(), folder, &name("f"), 0o640, Access::READ_WRITE)
            .await
            .unwrap();
        first.write(&ctx(), 0, b"base").await.unwrap();
        first.release(&ctx()).await.unwrap();
        let node = here.lookup(&ctx(), folder, &name("f")).await.unwrap().node;
        let mine = here.open(&ctx(), node, Access::READ_WRITE).await.unwrap();
        mine.write(&ctx(), 0, b"mine").await.unwrap();
        if folder_goes {
            there.remove(&ctx(), folder, &name("f")).await.unwrap();
            there
                .remove_dir(&ctx(), NodeId::ROOT, &name("office"))
                .await
                .unwrap();
        } else {
            let theirs = there.open(&ctx(), node, Access::READ_WRITE).await.unwrap();
            theirs.write(&ctx(), 0, b"them").await.unwrap();
            theirs.release(&ctx()).await.unwrap();
        }
        mine.release(&ctx()).await.unwrap();
        let place = if folder_goes { NodeId::ROOT } else { folder };
        let listed = there.list(&ctx(), place, None, 100).await.unwrap();
        let copies = listed
            .iter()
            .filter(|entry| entry.name.display().contains("conflict"));
        assert_eq!(copies.count(), 1, "folder goes: {folder_goes}");
    }
}

#[tokio::test(start_paused = true)]
async fn p8_history_and_identity_survive_saving_by_rename() {
    let (_lab, here, there) = two(100).await;
    let before = stat(&here, "list.xlsx").await;
    for turn in 0..3_u64 {
        put(&here, "tmp", &noise(turn, EXTENT + 5)).await.unwrap();
        let (from, to) = (name("tmp"), name("list.xlsx"));
        let renamed = here
            .rename(
                &ctx(),
                (NodeId::ROOT, &from),
                (NodeId::ROOT, &to),
                RenameMode::Replace,
            )
            .await
            .unwrap();
        assert_eq!(renamed.moved.document, before.document);
    }
    let node = stat(&there, "list.xlsx").await.node;
    let history = there.history(&ctx(), node).await.unwrap();
    assert_eq!(
        history
            .iter()
            .map(|version| version.size)
            .collect::<Vec<_>>(),
        [100, EXTENT as u64 + 5, EXTENT as u64 + 5, EXTENT as u64 + 5]
    );
    let old = there
        .open_version(&ctx(), node, history[0].number)
        .await
        .unwrap();
    same(
        &read_all(&old).await.unwrap(),
        &noise(0, 100),
        "the first version",
    );
    old.release(&ctx()).await.unwrap();
    assert_eq!(names(&there).await, ["list.xlsx"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_renamed_over_by_its_own_machine_while_both_are_open() {
    let (lab, here, _there) = two(100).await;
    let old = open(&here, "list.xlsx").await.unwrap();
    old.write(&ctx(), 0, b"too late").await.unwrap();
    let (_, new) = here
        .create_file(
            &ctx(),
            NodeId::ROOT,
            &name("tmp"),
            0o600,
            Access::READ_WRITE,
        )
        .await
        .unwrap();
    new.write(&ctx(), 0, b"new").await.unwrap();
    new.flush(&ctx()).await.unwrap();
    let (from, to) = (name("tmp"), name("list.xlsx"));
    here.rename(
        &ctx(),
        (NodeId::ROOT, &from),
        (NodeId::ROOT, &to),
        RenameMode::Replace,
    )
    .await
    .unwrap();
    // The replaced file lives on without a name, and what is written to it goes with it.
    assert_eq!(old.read(0, 8).await.unwrap().expose(), b"too late");
    old.flush(&ctx()).await.unwrap();
    old.release(&ctx()).await.unwrap();
    new.write(&ctx(), 3, b"er").await.unwrap();
    new.release(&ctx()).await.unwrap();
    assert_eq!(names(&here).await, ["list.xlsx"]);
    assert_eq!(get(&here, "list.xlsx").await.unwrap(), b"newer");
    assert_eq!(here.memory_in_use().files, 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    lab.assert_tidy("after the rename").await;
    assert_eq!(version(&here, "list.xlsx").await.0, 3);
}

/// A log that both append to. What is appended goes to the end of what it is appended to, whatever the other has saved.
#[tokio::test(start_paused = true)]
async fn p8_an_append_goes_to_the_end_of_what_is_appended_to() {
    for theirs in [&b"one\ntwo\n"[..], b"2\n"] {
        let lab = Lab::new(2, 3).await;
        let (here, there) = (lab.start().await, lab.start().await);
        put(&here, "log", b"one\n").await.unwrap();
        let mine = open(&here, "log").await.unwrap();
        put(&there, "log", theirs).await.unwrap();
        mine.append(&ctx(), b"three\n").await.unwrap();
        mine.fsync(&ctx()).await.unwrap();
        // Now it is of the copy.
        mine.append(&ctx(), b"four\n").await.unwrap();
        assert_eq!(mine.append_at_once(b"five\n").unwrap().unwrap(), 5);
        mine.release(&ctx()).await.unwrap();
        assert_eq!(get(&there, "log").await.unwrap(), theirs);
        let copy = get(&there, &the_copy(&there).await).await.unwrap();
        assert_eq!(copy, b"one\nthree\nfour\nfive\n");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handle_is_as_long_as_what_is_read_through_it() {
    for theirs in [10, 1000] {
        let (_lab, here, there) = two(100).await;
        let mine = open(&here, "list.xlsx").await.unwrap();
        put(&there, "list.xlsx", &noise(1, theirs)).await.unwrap();
        assert_eq!(
            (mine.size().await, mine.attr().await.unwrap().size),
            (100, 100)
        );
        assert_eq!(stat(&here, "list.xlsx").await.size, theirs as u64);
        // To grow it never cuts it off.
        mine.grow_to(&ctx(), 50).await.unwrap();
        same(&read_all(&mine).await.unwrap(), &noise(0, 100), "as it was");
        mine.flush(&ctx()).await.unwrap();
        assert_eq!(names(&here).await, ["list.xlsx"], "nothing has changed");
        mine.grow_to(&ctx(), 120).await.unwrap();
        let mut expected = noise(0, 100);
        expected.resize(120, 0);
        same(&read_all(&mine).await.unwrap(), &expected, "with zeros");
        mine.release(&ctx()).await.unwrap();
    }
}

/// The catalogue keeps it for the others, and here somebody opens it once more by the name that the kernel still believes in.
#[tokio::test(start_paused = true)]
async fn p8_changes_to_a_file_removed_elsewhere_are_kept_also_when_it_is_opened_again() {
    let (_lab, here, there) = two(100).await;
    let node = stat(&here, "list.xlsx").await.node;
    let mine = open(&here, "list.xlsx").await.unwrap();
    let theirs = open(&there, "list.xlsx").await.unwrap();
    mine.write(&ctx(), 0, b"mine").await.unwrap();
    there
        .remove(&ctx(), NodeId::ROOT, &name("list.xlsx"))
        .await
        .unwrap();
    let again = here.open(&ctx(), node, Access::READ).await.unwrap();
    mine.release(&ctx()).await.unwrap();
    again.release(&ctx()).await.unwrap();
    theirs.release(&ctx()).await.unwrap();
    let kept = the_copy(&here).await;
    assert_eq!(get(&there, &kept).await.unwrap()[..4], *b"mine");
}

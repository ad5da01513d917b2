//! Many tasks at once, and nothing left behind when all is closed.

use std::sync::Arc;
use std::time::Duration;

use warifu_vault::node::NodeId;
use warifu_vault::seam::catalog::{Catalog, RenameMode};
use warifu_vault::status::Memory;
use warifu_vault::{Access, FileHandle, Vault, VaultError};

use crate::common::{
    Dice, EXTENT, Lab, ctx, get, name, names, noise, open, put, read_all, rewrite, same, version,
    write_all,
};

/// Waits for what goes on in the background, and sees that nothing is left in RAM.
async fn assert_closed(vault: &Vault) {
    for _ in 0..200 {
        if vault.memory_in_use() == Memory::default() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("left in RAM: {:?}", vault.memory_in_use());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_write_and_save_one_file() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let (tasks, piece) = (8_usize, 300_000);
    put(&vault, "f", &vec![1; tasks * piece]).await.unwrap();
    let mut running = Vec::new();
    for task in 0..tasks {
        let vault = vault.clone();
        running.push(tokio::spawn(async move {
            let mut dice = Dice::new(task as u64);
            let mut last = Vec::new();
            for turn in 0..6 {
                let handle = open(&vault, "f").await.unwrap();
                last = noise(dice.next(), piece);
                for (part, bytes) in last.chunks(70_000).enumerate() {
                    let at = (task * piece + part * 70_000) as u64;
                    handle.write(&ctx(), at, bytes).await.unwrap();
                }
                match (task + turn) % 3 {
                    0 => handle.flush(&ctx()).await.unwrap(),
                    1 => handle.fsync(&ctx()).await.unwrap(),
                    _ => {}
                }
                let got = handle.read((task * piece) as u64, piece).await.unwrap();
                same(got.expose(), &last, "my own piece");
                handle.release(&ctx()).await.unwrap();
            }
            last
        }));
    }
    let mut expected = Vec::new();
    for task in running {
        expected.extend(task.await.unwrap());
    }
    same(&get(&vault, "f").await.unwrap(), &expected, "here");
    same(
        &get(&lab.start().await, "f").await.unwrap(),
        &expected,
        "elsewhere",
    );
    assert_eq!(names(&vault).await, ["f"], "nobody conflicts with himself");
    assert_closed(&vault).await;
    vault.sync().await.unwrap();
    lab.assert_tidy("after all").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_save_many_files() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let mut running = Vec::new();
    for task in 0..16_u64 {
        let vault = vault.clone();
        running.push(tokio::spawn(async move {
            for turn in 0..12_u64 {
                let file = format!("f{task}-{}", turn % 3);
                let size = if turn == 5 { EXTENT + 77 } else { 3000 };
                let bytes = noise(task * 100 + turn, size);
                put(&vault, &file, &bytes).await.unwrap();
                same(&get(&vault, &file).await.unwrap(), &bytes, &file);
            }
        }));
    }
    for task in running {
        task.await.unwrap();
    }
    assert_eq!(names(&vault).await.len(), 48);
    assert_closed(&vault).await;
    vault.sync().await.unwrap();
    lab.assert_tidy("after all").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_last_handles_released_at_once_lose_nothing() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    for turn in 0..200_u8 {
        let one = rewrite(&vault, "f").await.unwrap();
        let two = open(&vault, "f").await.unwrap();
        one.write(&ctx(), 0, &[turn; 10]).await.unwrap();
        two.write(&ctx(), 10, &[turn; 10]).await.unwrap();
        let close = |handle: FileHandle| tokio::spawn(async move { handle.release(&ctx()).await });
        let (one, two) = (close(one), close(two));
        one.await.unwrap().unwrap();
        two.await.unwrap().unwrap();
        assert_eq!(get(&vault, "f").await.unwrap(), [turn; 20]);
    }
    assert_closed(&vault).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_written_while_the_last_handle_is_saved_is_saved_too() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", b"old").await.unwrap();
    lab.faults
        .iter()
        .for_each(|server| server.set_delay(Duration::from_millis(50)));
    let one = open(&vault, "f").await.unwrap();
    one.write(&ctx(), 0, b"one").await.unwrap();
    let closing = tokio::spawn(async move { one.release(&ctx()).await });
    tokio::time::sleep(Duration::from_millis(25)).await;
    // The first is being saved by the release of its last handle; a second comes and goes.
    let two = open(&vault, "f").await.unwrap();
    two.write(&ctx(), 3, b"two").await.unwrap();
    two.release(&ctx()).await.unwrap();
    closing.await.unwrap().unwrap();
    lab.heal();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(get(&vault, "f").await.unwrap(), b"onetwo");
    assert_closed(&vault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn opens_reads_and_removals_during_saves() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    lab.faults
        .iter()
        .for_each(|server| server.set_delay(Duration::from_millis(2)));
    let mut running = Vec::new();
    for task in 0..6_u64 {
        let vault = vault.clone();
        running.push(tokio::spawn(async move {
            let mut dice = Dice::new(task);
            for _ in 0..40 {
                let file = format!("f{}", dice.roll(3));
                let done = match dice.roll(4) {
                    0 => put(&vault, &file, &noise(7, 5000)).await,
                    1 => get(&vault, &file).await.map(|bytes| {
                        assert!(
                            bytes.is_empty() || bytes == noise(7, 5000),
                            "{} bytes",
                            bytes.len()
                        );
                    }),
                    2 => vault.remove(&ctx(), NodeId::ROOT, &name(&file)).await,
                    _ => match open(&vault, &file).await {
                        Ok(handle) => {
                            tokio::time::sleep(Duration::from_millis(dice.roll(8))).await;
                            let read = read_all(&handle).await.map(drop);
                            read.and(handle.release(&ctx()).await)
                        }
                        Err(error) => Err(error),
                    },
                };
                let fine = matches!(
                    done,
                    Ok(())
                        | Err(VaultError::NotFound { .. } | VaultError::Stale | VaultError::Exists)
                );
                assert!(fine, "{done:?}");
            }
        }));
    }
    for task in running {
        task.await.unwrap();
    }
    let left = names(&vault).await;
    assert!(
        left.iter()
            .all(|name| ["f0", "f1", "f2"].contains(&name.as_str())),
        "{left:?}"
    );
    assert_closed(&vault).await;
    lab.heal();
    vault.sync().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    lab.let_leases_end();
    drop(lab.start().await);
    lab.assert_tidy("after all").await;
}

#[tokio::test(start_paused = true)]
async fn handles_dropped_without_a_release_leave_nothing_behind() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", b"old").await.unwrap();
    for _ in 0..3 {
        let handle = open(&vault, "f").await.unwrap();
        write_all(&handle, &noise(1, EXTENT + 5)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(handle);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_closed(&vault).await;
        assert_eq!(
            get(&vault, "f").await.unwrap(),
            b"old",
            "as a killed program would leave it"
        );
    }
    // One that is open elsewhere keeps everything.
    let (one, two) = (
        open(&vault, "f").await.unwrap(),
        open(&vault, "f").await.unwrap(),
    );
    one.write(&ctx(), 0, b"new").await.unwrap();
    drop(one);
    tokio::time::sleep(Duration::from_secs(1)).await;
    two.release(&ctx()).await.unwrap();
    assert_eq!(get(&vault, "f").await.unwrap(), b"new");
    // An open that nobody waits for.
    lab.faults
        .iter()
        .for_each(|server| server.set_delay(Duration::from_millis(50)));
    let node = vault
        .lookup(&ctx(), NodeId::ROOT, &name("f"))
        .await
        .unwrap()
        .node;
    for polls in 0..6 {
        let mut opening = Box::pin(vault.open(ctx_static(), node, Access::READ));
        for _ in 0..polls {
            let pending = tokio::time::timeout(Duration::ZERO, &mut opening)
                .await
                .is_err();
            if !pending {
                break;
            }
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_closed(&vault).await;
    lab.heal();
    lab.let_leases_end();
    drop(lab.start().await);
    lab.assert_tidy("after all").await;
    assert_eq!(version(&vault, "f").await.0, 2);
}

fn ctx_static() -> &'static warifu_vault::Context {
    static CONTEXT: std::sync::OnceLock<warifu_vault::Context> = std::sync::OnceLock::new();
    CONTEXT.get_or_init(ctx)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_of_a_file_that_is_saved_see_one_moment_of_each_extent() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", &[0; 50_000]).await.unwrap();
    let handle = Arc::new(open(&vault, "f").await.unwrap());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (vault, stop) = (vault.clone(), Arc::clone(&stop));
        readers.push(tokio::spawn(async move {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let reader = open(&vault, "f").await.unwrap();
                let got = reader.read(0, 50_000).await.unwrap();
                assert!(
                    got.expose().iter().all(|byte| *byte == got.expose()[0]),
                    "torn"
                );
                reader.release(&ctx()).await.unwrap();
            }
        }));
    }
    for turn in 0..60_u8 {
        handle.write(&ctx(), 0, &[turn; 50_000]).await.unwrap();
        handle.flush(&ctx()).await.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    handle.release(&ctx()).await.unwrap();
    assert_closed(&vault).await;
}

/// Few open files are named to the catalogue when a name goes; of many it is asked.
#[tokio::test]
async fn a_file_that_is_open_outlives_its_name_however_many_are_open() {
    for many in [1, 100] {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        for number in 0..many {
            put(&vault, &format!("f{number}"), &noise(number, 500))
                .await
                .unwrap();
        }
        put(&vault, "closed", b"1").await.unwrap();
        put(&vault, "other", b"2").await.unwrap();
        let mut handles = Vec::new();
        for number in 0..many {
            handles.push(open(&vault, &format!("f{number}")).await.unwrap());
        }
        let root = NodeId::ROOT;
        let first = name("f0");
        if many == 1 {
            vault.remove(&ctx(), root, &first).await.unwrap();
        } else {
            let other = name("other");
            vault
                .rename(&ctx(), (root, &other), (root, &first), RenameMode::Replace)
                .await
                .unwrap();
        }
        let closed = vault.lookup(&ctx(), root, &name("closed")).await.unwrap();
        vault.remove(&ctx(), root, &name("closed")).await.unwrap();
        assert_eq!(lab.memory.attr(closed.node).await.unwrap(), None);
        let first = handles.swap_remove(0);
        let kept = lab.memory.attr(first.node()).await.unwrap();
        assert_eq!(kept.map(|attr| attr.nlink), Some(0), "{many}");
        same(
            &read_all(&first).await.unwrap(),
            &noise(0, 500),
            "what was open",
        );
        first.release(&ctx()).await.unwrap();
        assert_eq!(lab.memory.attr(first.node()).await.unwrap(), None);
        for handle in handles {
            handle.release(&ctx()).await.unwrap();
        }
    }
}

/// A file may be removed before the one who made it counts as having it open.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_is_removed_while_it_is_made_leaves_nothing() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let root = NodeId::ROOT;
    let removing = {
        let vault = vault.clone();
        tokio::spawn(async move {
            loop {
                match vault.remove(&ctx(), root, &name("x")).await {
                    Ok(()) | Err(VaultError::NotFound { .. }) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error:?}"),
                }
            }
        })
    };
    for _ in 0..400 {
        let (_, handle) = vault
            .create_file(&ctx(), root, &name("x"), 0o600, Access::READ_WRITE)
            .await
            .unwrap();
        handle.write(&ctx(), 0, b"written").await.unwrap();
        handle.flush(&ctx()).await.unwrap();
        handle.release(&ctx()).await.unwrap();
        // So that the name is free.
        while vault.lookup(&ctx(), root, &name("x")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
    removing.abort();
    let _ = removing.await;
    assert!(names(&vault).await.is_empty());
    let nameless = lab.memory.forget_nameless().await.unwrap();
    assert_eq!(nameless, 0, "no file without a name is left");
    assert_closed(&vault).await;
}

//! Contents when memory is short, beside bytes in RAM, and while saves are under way.

use warifu_core::ids::VersionNo;
use warifu_testkit::stores::State;

use warifu_vault::node::NodeId;

use crate::common::{
    Dice, EXTENT, Lab, ctx, get, name, noise, open, put, read_all, rewrite, same, stat, version,
};

#[tokio::test(start_paused = true)]
async fn a_read_larger_than_the_memory_limit_ends() {
    let mut lab = Lab::new(1, 1).await;
    lab.options.memory_limit = 0; // raised to its floor of 64 MiB
    let vault = lab.start().await;
    let data = noise(9, 18 * EXTENT);
    put(&vault, "f", &data).await.unwrap();
    let handle = open(&vault, "f").await.unwrap();
    let read = tokio::time::timeout(
        std::time::Duration::from_secs(3600),
        handle.read(0, usize::MAX),
    );
    let got = read.await.expect("it ends").unwrap();
    same(got.expose(), &data, "at once");
    drop(got);
    assert!(
        vault.memory_in_use().bytes <= 68 << 20,
        "{:?}",
        vault.memory_in_use()
    );
    handle.release(&ctx()).await.unwrap();
    let node = stat(&vault, "f").await.node;
    let old = vault
        .open_version(&ctx(), node, VersionNo(1))
        .await
        .unwrap();
    same(&read_all(&old).await.unwrap(), &data, "as an old version");
    assert!(
        vault.memory_in_use().bytes <= 72 << 20,
        "{:?}",
        vault.memory_in_use()
    );
    old.release(&ctx()).await.unwrap();
    drop(old);
    // What was being read ahead goes as well.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(vault.memory_in_use().bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn writes_beyond_the_memory_limit_go_to_the_servers_before_the_save() {
    let mut lab = Lab::new(1, 2).await;
    lab.options.memory_limit = 0;
    let vault = lab.start().await;
    // Every extent is left unfilled by one byte, so that none is sent for being full.
    let handle = rewrite(&vault, "f").await.unwrap();
    let mut expected = vec![0; 20 * EXTENT];
    for extent in 0..20 {
        let part = noise(extent as u64, EXTENT - 1);
        handle
            .write(&ctx(), (extent * EXTENT) as u64, &part)
            .await
            .unwrap();
        expected[extent * EXTENT..(extent + 1) * EXTENT - 1].copy_from_slice(&part);
        assert!(
            vault.memory_in_use().bytes <= 68 << 20,
            "{:?}",
            vault.memory_in_use()
        );
    }
    expected.truncate(20 * EXTENT - 1);
    same(
        &read_all(&handle).await.unwrap(),
        &expected,
        "before the save",
    );
    handle.flush(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    let again = lab.start().await;
    same(
        &get(&again, "f").await.unwrap(),
        &expected,
        "after the save",
    );
    lab.assert_tidy("after the save").await;
}

#[tokio::test(start_paused = true)]
async fn a_removed_file_that_is_still_open_keeps_to_the_memory_limit() {
    let mut lab = Lab::new(1, 2).await;
    lab.options.memory_limit = 0;
    let vault = lab.start().await;
    let handle = rewrite(&vault, "f").await.unwrap();
    handle.write(&ctx(), 0, b"x").await.unwrap();
    vault
        .remove(&ctx(), NodeId::ROOT, &name("f"))
        .await
        .unwrap();
    let expected = noise(5, 20 * EXTENT);
    for extent in 0..20 {
        let part = &expected[extent * EXTENT..(extent + 1) * EXTENT];
        handle
            .write(&ctx(), (extent * EXTENT) as u64, part)
            .await
            .unwrap();
        assert!(
            vault.memory_in_use().bytes <= 68 << 20,
            "{:?}",
            vault.memory_in_use()
        );
    }
    same(
        &read_all(&handle).await.unwrap(),
        &expected,
        "without a name",
    );
    // Changed again after it was sent, and cut off.
    handle.write(&ctx(), 7, b"changed").await.unwrap();
    handle.set_size(&ctx(), EXTENT as u64).await.unwrap();
    let mut shorter = expected[..EXTENT].to_vec();
    shorter[7..14].copy_from_slice(b"changed");
    same(&read_all(&handle).await.unwrap(), &shorter, "cut off");
    handle.flush(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    drop(handle);
    // Nothing of it stays on any server.
    vault.shutdown(&ctx()).await;
    lab.let_leases_end();
    drop(lab.start().await);
    lab.assert_tidy("after the last close").await;
}

/// Random reads, writes, cuts and holes against bytes in RAM, with saves, reopening and restarts between.
async fn like_bytes_in_ram(seed: u64, steps: usize, pressure: bool) {
    let mut dice = Dice::new(seed);
    let mut lab = Lab::new(2, 3).await;
    lab.options.memory_limit = 0;
    let mut vault = lab.start().await;
    let mut handle = rewrite(&vault, "f").await.unwrap();
    let mut model: Vec<u8> = Vec::new();
    let limit = if pressure { 18 * EXTENT } else { 3 * EXTENT } as u64;
    for step in 0..steps {
        let at = match dice.roll(3) {
            0 => dice.roll(limit),
            1 => (dice.roll(3) * EXTENT as u64 + dice.roll(20)).saturating_sub(10),
            _ => dice.roll(model.len() as u64 + 10_000),
        };
        let at = at.min(limit);
        let most = [10, 5000, EXTENT as u64 * 2][dice.pick(3)];
        let len = usize::try_from(dice.roll(most)).unwrap();
        match dice.roll(12) {
            0..=4 => {
                let bytes = if dice.chance(10) {
                    vec![0; len]
                } else {
                    noise(dice.next(), len)
                };
                handle.write(&ctx(), at, &bytes).await.unwrap();
                let end = usize::try_from(at).unwrap() + len;
                if len > 0 {
                    model.resize(end.max(model.len()), 0);
                    model[end - len..end].copy_from_slice(&bytes);
                }
            }
            5 => {
                handle.set_size(&ctx(), at).await.unwrap();
                model.resize(usize::try_from(at).unwrap(), 0);
            }
            6 => {
                handle.punch(&ctx(), at, len as u64).await.unwrap();
                let begin = usize::try_from(at).unwrap().min(model.len());
                let end = (begin + len).min(model.len());
                if usize::try_from(at).unwrap() < model.len() {
                    model[begin..end].fill(0);
                }
            }
            7..=8 => {
                let got = handle.read(at, len).await.unwrap();
                let begin = usize::try_from(at).unwrap().min(model.len());
                let end = (begin + len).min(model.len());
                same(
                    got.expose(),
                    &model[begin..end],
                    &format!("seed {seed}, step {step}"),
                );
            }
            9 => handle.flush(&ctx()).await.unwrap(),
            10 => {
                handle.release(&ctx()).await.unwrap();
                handle = open(&vault, "f").await.unwrap();
            }
            _ => {
                handle.release(&ctx()).await.unwrap();
                vault = lab.start().await;
                handle = open(&vault, "f").await.unwrap();
            }
        }
        let size = handle.attr().await.unwrap().size;
        assert_eq!(size, model.len() as u64, "seed {seed}, step {step}");
    }
    same(
        &read_all(&handle).await.unwrap(),
        &model,
        &format!("seed {seed}, at the end"),
    );
    handle.release(&ctx()).await.unwrap();
    let vault = lab.start().await;
    same(
        &get(&vault, "f").await.unwrap(),
        &model,
        &format!("seed {seed}, restarted"),
    );
    lab.let_leases_end();
    drop(lab.start().await);
    lab.assert_tidy(&format!("seed {seed}")).await;
}

#[tokio::test(start_paused = true)]
async fn contents_behave_like_bytes_in_ram() {
    for seed in 0..12 {
        like_bytes_in_ram(seed, 40, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn contents_behave_like_bytes_in_ram_when_memory_is_short() {
    like_bytes_in_ram(100, 60, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_rewritten_while_its_extent_is_being_sent_keeps_the_new_bytes() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    let slow = std::time::Duration::from_millis(50);
    lab.faults.iter().for_each(|server| server.set_delay(slow));
    let handle = rewrite(&vault, "f").await.unwrap();
    // Fills the extent, which is therefore sent at once.
    handle.write(&ctx(), 0, &noise(1, EXTENT)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    // Under way: the file is emptied and filled again, with as many writes as before.
    handle.set_size(&ctx(), 0).await.unwrap();
    handle.write(&ctx(), 0, &noise(2, EXTENT)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    handle.write(&ctx(), EXTENT as u64, b"tail").await.unwrap();
    handle.flush(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    let mut expected = noise(2, EXTENT);
    expected.extend_from_slice(b"tail");
    let again = lab.start().await;
    same(&get(&again, "f").await.unwrap(), &expected, "rewritten");
}

#[tokio::test(start_paused = true)]
async fn a_file_emptied_while_it_is_saved_stays_empty() {
    let lab = Lab::new(2, 3).await;
    let vault = lab.start().await;
    put(&vault, "f", &noise(1, 5000)).await.unwrap();
    let slow = std::time::Duration::from_millis(50);
    lab.faults.iter().for_each(|server| server.set_delay(slow));
    let handle = std::sync::Arc::new(open(&vault, "f").await.unwrap());
    handle.write(&ctx(), 0, &noise(2, 5000)).await.unwrap();
    let saver = tokio::spawn({
        let handle = std::sync::Arc::clone(&handle);
        async move { handle.flush(&ctx()).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    handle.set_size(&ctx(), 0).await.unwrap();
    handle.set_size(&ctx(), 3000).await.unwrap();
    saver.await.unwrap().unwrap();
    same(&read_all(&handle).await.unwrap(), &[0; 3000], "open");
    handle.flush(&ctx()).await.unwrap();
    handle.release(&ctx()).await.unwrap();
    same(&get(&vault, "f").await.unwrap(), &[0; 3000], "saved");
    assert_eq!(version(&vault, "f").await, VersionNo(3));
}

#[tokio::test(start_paused = true)]
async fn p8_what_is_written_while_a_save_is_under_way_belongs_to_the_next() {
    for size in [5000, EXTENT + 5000] {
        let lab = Lab::new(2, 3).await;
        let vault = lab.start().await;
        put(&vault, "f", &noise(1, size)).await.unwrap();
        let slow = std::time::Duration::from_millis(50);
        lab.faults.iter().for_each(|server| server.set_delay(slow));
        let handle = std::sync::Arc::new(open(&vault, "f").await.unwrap());
        handle.write(&ctx(), 0, b"first").await.unwrap();
        let saver = tokio::spawn({
            let handle = std::sync::Arc::clone(&handle);
            async move { handle.flush(&ctx()).await }
        });
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        handle.write(&ctx(), 2, b"second").await.unwrap();
        handle.write(&ctx(), size as u64 - 1, b"end").await.unwrap();
        saver.await.unwrap().unwrap();
        let mut first = noise(1, size);
        first[..5].copy_from_slice(b"first");
        same(
            &get(&lab.start().await, "f").await.unwrap(),
            &first,
            "one moment",
        );
        handle.flush(&ctx()).await.unwrap();
        handle.release(&ctx()).await.unwrap();
        let mut second = first;
        second[2..8].copy_from_slice(b"second");
        second.truncate(size - 1);
        second.extend_from_slice(b"end");
        same(
            &get(&lab.start().await, "f").await.unwrap(),
            &second,
            "the next moment",
        );
    }
}

/// A program that does not look at errors goes on and on, while no server takes anything.
#[tokio::test(start_paused = true)]
async fn what_is_refused_for_want_of_room_takes_none() {
    let mut lab = Lab::new(2, 3).await;
    lab.options.memory_limit = 0;
    let vault = lab.start().await;
    put(&vault, "log", b"begun").await.unwrap();
    let handle = open(&vault, "log").await.unwrap();
    for faults in &lab.faults {
        faults.set(State::Gone);
    }
    let line = noise(3, 1 << 20);
    let mut taken = 5;
    let mut refused = 0;
    for _ in 0..128 {
        match handle.append(&ctx(), &line).await {
            Ok(_) => taken += line.len() as u64,
            Err(_) => refused += 1,
        }
        let memory = vault.memory_in_use();
        assert!(memory.bytes <= 72 << 20, "{memory:?}");
    }
    assert!(refused > 0);
    assert_eq!(handle.size().await, taken, "what was refused is not there");
    lab.heal();
    handle.release(&ctx()).await.unwrap();
    let saved = get(&lab.start().await, "log").await.unwrap();
    assert_eq!(saved.len() as u64, taken);
}

//! Small reads out of order of files that are not in RAM: only what is needed is fetched, and it is right.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use warifu_core::format::Scheme;
use warifu_testkit::stores::{Lie, Method, State};
use warifu_vault::Vault;

use crate::common::jitter::{Jittery, Spread};
use crate::common::{Dice, EXTENT, Lab, ctx, get, noise, open, put, same};

const CHUNK: u64 = 64 << 10;

/// A vault whose servers count what is read, and how much each did.
async fn counted(lab: &Lab) -> (Vault, Vec<Arc<AtomicU64>>) {
    let mut counters = Vec::new();
    let mut seats = lab.seats();
    for (seat, seed) in seats.iter_mut().zip(0..) {
        let store = Jittery::new(Arc::clone(&seat.store), Spread::Even(1, 2), seed);
        counters.push(store.read());
        seat.store = Arc::new(store);
    }
    let vault = lab.start_on(seats, lab.options.clone()).await.unwrap();
    (vault, counters)
}

fn sum(counters: &[Arc<AtomicU64>]) -> u64 {
    counters
        .iter()
        .map(|read| read.load(Ordering::Relaxed))
        .sum()
}

async fn with_file(lab: &Lab, size: usize) -> Vec<u8> {
    let bytes = noise(1, size);
    let vault = lab.start().await;
    put(&vault, "f", &bytes).await.unwrap();
    assert!(vault.shutdown(&ctx()).await.is_empty());
    bytes
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_large_file_costs_a_chunk_of_k_servers() {
    for (scheme, of_a_chunk) in [(Scheme::Shamir, 2 * CHUNK), (Scheme::Compact, CHUNK)] {
        let mut lab = Lab::new(2, 3).await;
        lab.options.scheme = scheme;
        let size = 10 * EXTENT + 3 * EXTENT / 4;
        let bytes = with_file(&lab, size).await;
        let (vault, counters) = counted(&lab).await;
        let handle = open(&vault, "f").await.unwrap();
        let begin = Instant::now();
        let end = handle.read(size as u64 - 4096, 4096).await.unwrap();
        // The beginning of the share and the chunk are read at once.
        assert!(
            begin.elapsed() < Duration::from_millis(5),
            "{:?}",
            begin.elapsed()
        );
        same(end.expose(), &bytes[size - 4096..], "the end");
        let read = sum(&counters);
        assert!(read < of_a_chunk + 2 * 400, "{scheme:?}: {read} bytes");
        // What is next to it is there; another chunk does not need the share's beginning again.
        let near = handle.read(size as u64 - 8192, 4096).await.unwrap();
        same(
            near.expose(),
            &bytes[size - 8192..size - 4096],
            "near the end",
        );
        handle.release(&ctx()).await.unwrap();
        assert_eq!(vault.memory_in_use().bytes, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn reading_in_order_fetches_whole_extents_once_and_some_ahead() {
    let lab = Lab::new(2, 3).await;
    let size = 6 * EXTENT;
    let bytes = with_file(&lab, size).await;
    let (vault, counters) = counted(&lab).await;
    let handle = open(&vault, "f").await.unwrap();
    let first = handle.read(0, 128 << 10).await.unwrap();
    same(first.expose(), &bytes[..128 << 10], "the beginning");
    sleep(Duration::from_millis(100)).await;
    let gets = || -> u64 {
        lab.faults
            .iter()
            .map(|faults| faults.calls(Method::Get))
            .sum()
    };
    assert_eq!(gets(), 3 * 2, "the extent asked for, and two ahead");
    let mut at = first.len();
    while at < size {
        let part = handle.read(at as u64, 128 << 10).await.unwrap();
        same(part.expose(), &bytes[at..at + part.len()], "in order");
        at += part.len();
    }
    assert_eq!(gets(), 6 * 2);
    assert!(sum(&counters) < 2 * size as u64 + 100_000);
    handle.release(&ctx()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_small_reads_of_an_extent_fetch_it_in_whole_in_the_end() {
    let lab = Lab::new(2, 3).await;
    let bytes = with_file(&lab, 3 * EXTENT).await;
    let (vault, counters) = counted(&lab).await;
    let handle = open(&vault, "f").await.unwrap();
    let mut dice = Dice::new(3);
    for _ in 0..400 {
        let at = dice.pick(3 * EXTENT - 4096);
        let part = handle.read(at as u64, 4096).await.unwrap();
        same(part.expose(), &bytes[at..at + 4096], "anywhere");
    }
    let read = sum(&counters);
    assert!(read < 2 * 3 * EXTENT as u64 + 3 * 9 * 4 * CHUNK, "{read}");
    handle.release(&ctx()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p4_small_reads_survive_servers_that_lie_hang_or_go() {
    for scheme in [Scheme::Shamir, Scheme::Compact] {
        for place in 0..3 {
            let mut lab = Lab::new(2, 3).await;
            lab.options.scheme = scheme;
            let bytes = with_file(&lab, 9 * EXTENT).await;
            let vault = lab.start().await;
            let handle = open(&vault, "f").await.unwrap();
            let mut dice = Dice::new(place as u64);
            for turn in 0..60 {
                match turn % 20 {
                    4 => lab.faults[place].tell(Lie::FlipsBits),
                    8 => lab.faults[place].tell(Lie::CutsOff),
                    12 => lab.faults[place].set(State::Hung),
                    16 => lab.faults[place].set(State::Gone),
                    0 => lab.heal(),
                    _ => {}
                }
                let (at, len) = (dice.pick(9 * EXTENT - 300_000), 1 + dice.pick(200_000));
                let part = handle.read(at as u64, len).await.unwrap();
                same(part.expose(), &bytes[at..at + len], "in spite of it all");
            }
            handle.release(&ctx()).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn small_reads_see_what_was_written_cut_off_and_added() {
    for seed in 0..6 {
        let lab = Lab::new(2, 3).await;
        let mut model = with_file(&lab, 5 * EXTENT + 77_777).await;
        let vault = lab.start().await;
        let handle = open(&vault, "f").await.unwrap();
        let mut dice = Dice::new(seed);
        for turn in 0..150 {
            match dice.roll(12) {
                0 => {
                    let (at, len) = (dice.pick(model.len() + 10_000), 1 + dice.pick(9000));
                    let bytes = noise(turn, len);
                    handle.write(&ctx(), at as u64, &bytes).await.unwrap();
                    if model.len() < at + len {
                        model.resize(at + len, 0);
                    }
                    model[at..at + len].copy_from_slice(&bytes);
                }
                1 => {
                    let size = dice.pick(6 * EXTENT);
                    handle.set_size(&ctx(), size as u64).await.unwrap();
                    model.resize(size, 0);
                }
                2 => handle.flush(&ctx()).await.unwrap(),
                _ => {
                    let (at, len) = (dice.pick(model.len() + 5000), 1 + dice.pick(150_000));
                    let part = handle.read(at as u64, len).await.unwrap();
                    let (begin, end) = (at.min(model.len()), (at + len).min(model.len()));
                    same(
                        part.expose(),
                        &model[begin..end],
                        &format!("seed {seed}, turn {turn}"),
                    );
                }
            }
        }
        handle.flush(&ctx()).await.unwrap();
        handle.release(&ctx()).await.unwrap();
        assert_eq!(vault.memory_in_use().bytes, 0);
        same(
            &get(&lab.start().await, "f").await.unwrap(),
            &model,
            "at last",
        );
    }
}

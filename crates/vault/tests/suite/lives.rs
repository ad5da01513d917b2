//! Random lives beside the [model](crate::model), on a catalogue in memory.

use crate::model::run::{Way, live_through, live_through_with};
use crate::model::{all_live_like_the_model, life, number, seeds, stormy_life, with_upkeep};

fn fair(k: u8, n: u8) {
    let (range, steps) = seeds(300);
    let life = |seed| with_upkeep(seed, life(seed, steps));
    all_live_like_the_model(k, n, range, life, |_, ops| live_through(k, n, ops));
}

/// One of several tests that share the seeds between them.
fn stormy(k: u8, n: u8, part: u64, parts: u64) {
    let usual = std::env::var("WARIFU_MODEL_LIVES").map_or(300 * parts, |text| number(&text));
    let (range, steps) = seeds(usual);
    let each = (range.end - range.start).div_ceil(parts);
    let from = range.start + part * each;
    let mine = from..(from + each).min(range.end);
    let life = |seed| with_upkeep(seed, stormy_life(seed, steps, n, k));
    all_live_like_the_model(k, n, mine, life, |seed, ops| {
        live_through_with(k, n, Way::of(seed), ops)
    });
}

#[test]
fn p4_p5_p10_two_of_three_lives_like_the_model() {
    fair(2, 3);
}

#[test]
fn p4_p5_p10_three_of_five_lives_like_the_model() {
    fair(3, 5);
}

#[test]
fn p5_one_of_one_lives_like_the_model() {
    fair(1, 1);
}

#[test]
fn p4_p5_p10_two_of_three_lives_through_storms() {
    stormy(2, 3, 0, 4);
}

#[test]
fn p4_p5_p10_three_of_five_lives_through_storms() {
    stormy(3, 5, 1, 4);
}

#[test]
fn p4_p5_p10_two_of_five_lives_through_storms() {
    stormy(2, 5, 2, 4);
}

#[test]
fn p4_p5_p10_two_of_two_lives_through_storms() {
    stormy(2, 2, 3, 4);
}

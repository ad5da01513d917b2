//! Random lives of a vault beside a model of a few lines: names, contents, restarts, deaths, power cuts and bad servers.
//!
//! `WARIFU_MODEL_SEEDS=1000..2000` runs other seeds than the usual ones, `WARIFU_MODEL_STEPS` other lengths. A failure prints
//! the shortest sequence found that still fails; such sequences stay as tests of their own in `kept`.

mod kept;
mod reference;
mod run;

use crate::common::{Dice, EXTENT};

pub(crate) const FILES: [&str; 5] = ["a", "b", "c", "d", "~e"];
pub(crate) const SLOTS: usize = 4;

/// One thing that happens. Files and slots are numbers below [`FILES`]' length and [`SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Opens a file into a slot, making it if need be.
    Open {
        slot: usize,
        file: usize,
        rewrite: bool,
    },
    Write {
        slot: usize,
        at: u64,
        len: usize,
        seed: u64,
    },
    Cut {
        slot: usize,
        size: u64,
    },
    Read {
        slot: usize,
    },
    Flush {
        slot: usize,
    },
    Fsync {
        slot: usize,
    },
    Release {
        slot: usize,
    },
    Truncate {
        file: usize,
        size: u64,
    },
    Rename {
        from: usize,
        to: usize,
    },
    Exchange {
        from: usize,
        to: usize,
    },
    Remove {
        file: usize,
    },
    Link {
        from: usize,
        to: usize,
    },
    /// Everything done so far is made safe.
    Sync,
    /// A second passes.
    Wait,
    /// The bad servers get worse, or well (0).
    Bad {
        how: u64,
    },
    /// A clean end and a new start.
    Restart,
    /// The client is killed and started again.
    Kill,
    /// The same, and the power fails everywhere.
    PowerCut {
        seed: u64,
    },
}

/// A life that follows from a seed.
pub(crate) fn life(seed: u64, steps: usize) -> Vec<Op> {
    let mut dice = Dice::new(seed);
    let large = dice.chance(6);
    let mut ops = Vec::with_capacity(steps);
    while ops.len() < steps {
        let slot = dice.pick(SLOTS);
        let (file, other) = (dice.pick(FILES.len()), dice.pick(FILES.len()));
        let near = if large && dice.chance(30) {
            EXTENT as u64 - 50
        } else {
            0
        };
        let most = if dice.chance(20) { 60_000 } else { 100 };
        let size = near + dice.roll(most);
        ops.push(match dice.roll(100) {
            0..=17 => Op::Open {
                slot,
                file,
                rewrite: dice.chance(30),
            },
            18..=37 => Op::Write {
                slot,
                at: size,
                len: dice.pick(300),
                seed: dice.roll(1000),
            },
            38..=41 => Op::Cut { slot, size },
            42..=47 => Op::Read { slot },
            48..=54 => Op::Flush { slot },
            55..=59 => Op::Fsync { slot },
            60..=69 => Op::Release { slot },
            70..=72 => Op::Truncate { file, size },
            73..=78 => Op::Rename {
                from: file,
                to: other,
            },
            79 => Op::Exchange {
                from: file,
                to: other,
            },
            80..=82 => Op::Remove { file },
            83..=84 => Op::Link {
                from: file,
                to: other,
            },
            85..=86 => Op::Sync,
            87 => Op::Wait,
            88..=90 => Op::Bad { how: dice.roll(9) },
            91..=93 => Op::Restart,
            94..=96 => Op::Kill,
            _ => Op::PowerCut {
                seed: dice.roll(1000),
            },
        });
    }
    ops
}

/// Leaves out what a failure does not need.
fn shrink(ops: Vec<Op>, fails: &dyn Fn(&[Op]) -> Option<String>) -> (Vec<Op>, String) {
    let mut message = fails(&ops).unwrap_or_default();
    let mut ops = ops;
    let mut step = ops.len().div_ceil(2);
    let mut tries = 0;
    while step > 0 && tries < 400 {
        let (mut at, mut shorter) = (0, false);
        while at < ops.len() && tries < 400 {
            let mut less = ops.clone();
            less.drain(at..(at + step).min(less.len()));
            tries += 1;
            match fails(&less) {
                Some(text) => (ops, message, shorter) = (less, text, true),
                None => at += step,
            }
        }
        if !shorter {
            step /= 2;
        }
    }
    (ops, message)
}

fn seeds() -> (std::ops::Range<u64>, usize) {
    let number = |text: &str| text.parse().expect("a number");
    let range = match std::env::var("WARIFU_MODEL_SEEDS") {
        Ok(text) => {
            let (from, to) = text.split_once("..").expect("two seeds as in 100..200");
            number(from)..number(to)
        }
        Err(_) => 0..300,
    };
    let steps =
        std::env::var("WARIFU_MODEL_STEPS").map_or(50, |text| text.parse().expect("a number"));
    (range, steps)
}

fn all_live_like_the_model(k: u8, n: u8) {
    let (range, steps) = seeds();
    for seed in range {
        let ops = life(seed, steps);
        let fails = |ops: &[Op]| run::live_through(k, n, ops).err();
        if fails(&ops).is_some() {
            let (ops, message) = shrink(ops, &fails);
            panic!("{k} of {n}, seed {seed}: {message}\n{ops:#?}");
        }
    }
}

#[test]
fn p4_p5_p10_two_of_three_lives_like_the_model() {
    all_live_like_the_model(2, 3);
}

#[test]
fn p4_p5_p10_three_of_five_lives_like_the_model() {
    all_live_like_the_model(3, 5);
}

#[test]
fn p5_one_of_one_lives_like_the_model() {
    all_live_like_the_model(1, 1);
}

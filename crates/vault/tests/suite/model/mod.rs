//! Random lives of a vault beside a model of a few lines: names, contents, restarts, deaths, power cuts and bad servers.
//!
//! `WARIFU_MODEL_SEEDS=1000..2000` runs other seeds than the usual ones, `WARIFU_MODEL_STEPS` other lengths, and
//! `WARIFU_MODEL_LIVES=10000` so many stormy lives, spread over all tests of them. `WARIFU_MODEL_UPKEEP=0` leaves out the steps of
//! upkeep (repairs, sweeps, lost catalogues), which are drawn apart: a seed's life is the same without them. A failure prints
//! the shortest sequence found that still fails; such sequences stay as tests of their own in `lives_kept`. Who else includes this file
//! lives on another catalogue.

mod reference;
pub(crate) mod run;
mod steps;
mod weather;

use std::ops::Range;

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
    /// The first n - k servers get worse, all in the same way, or well (0).
    Bad {
        how: u64,
    },
    /// One server gets worse, or well (0), if the weather allows it.
    Fault {
        server: usize,
        how: u64,
    },
    /// All servers get well.
    Heal,
    /// A server's state is noted.
    Mark {
        server: usize,
    },
    /// A server is set back to the moment noted last, or to the beginning.
    RollBack {
        server: usize,
    },
    /// A server loses everything.
    Wipe {
        server: usize,
    },
    /// The client dies at a call to a server or to the catalogue, so many calls from now.
    Die {
        call: u64,
        after: bool,
    },
    /// What is owed is made. With `check`, after a deep check that writes down what is missing or bad; and where all servers
    /// are well, nothing is wrong with any of them afterwards.
    Repair {
        check: bool,
    },
    /// All shares get a new generation, as far as servers answer.
    Refresh,
    /// More than the grace time passes, and orphans are swept.
    Sweep,
    /// Every version that is not current is destroyed, and removed files are.
    Prune,
    /// A clean end, after which the catalogue is lost, and made anew from servers drawn by this number.
    Rebuild {
        seed: u64,
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

/// A life in bad weather: each server has its own fault, faults change, the client dies in the middle of things.
///
/// Either no more than n - k servers are ever hit, and then anything may happen to them and nobody may notice; or any
/// number of them, and then nothing is lost on them: whoever asks meanwhile may hear an error, and afterwards all is there.
pub(crate) fn stormy_life(seed: u64, steps: usize, n: u8, k: u8) -> Vec<Op> {
    let mut dice = Dice::new(seed ^ 0x5704_4D00);
    let (n, spare) = (usize::from(n), usize::from(n - k));
    let outage = spare == 0 || dice.chance(40);
    let first = dice.pick(n);
    let hit = if outage { n } else { spare };
    let mut ops = Vec::with_capacity(steps);
    for op in life(seed, steps) {
        let server = (first + dice.pick(hit)) % n;
        let how = 1 + dice.roll(weather::KINDS - 1);
        match dice.roll(100) {
            // Most at once: few are hurt by one server alone.
            0..=6 if outage => {
                for server in 0..n {
                    let how = 1 + dice.roll(weather::KINDS - 1);
                    if dice.chance(75) {
                        ops.push(Op::Fault { server, how });
                    }
                }
            }
            0..=9 => ops.push(Op::Fault { server, how }),
            10..=11 => ops.push(Op::Fault { server, how: 0 }),
            12..=13 => ops.push(Op::Heal),
            14 => ops.push(Op::Mark { server }),
            15 if !outage => ops.push(Op::RollBack { server }),
            16 if !outage && dice.chance(30) => ops.push(Op::Wipe { server }),
            17..=20 => ops.push(Op::Die {
                call: 1 + dice.roll(60),
                after: dice.chance(50),
            }),
            _ => {}
        }
        if !matches!(op, Op::Bad { .. }) {
            ops.push(op);
        }
    }
    ops
}

/// The same life with steps of upkeep in between. They are drawn by dice of their own, so that the others stay as they are.
pub(crate) fn with_upkeep(seed: u64, life: Vec<Op>) -> Vec<Op> {
    if std::env::var("WARIFU_MODEL_UPKEEP").is_ok_and(|text| text == "0") {
        return life;
    }
    let mut dice = Dice::new(seed ^ 0x0CA2_E000);
    let mut ops = Vec::with_capacity(life.len());
    for op in life {
        match dice.roll(100) {
            0..=1 => ops.push(Op::Repair { check: false }),
            2..=5 => {
                if dice.chance(60) {
                    // Only what is closed is known to be wholly on the servers.
                    ops.extend([Op::Heal, Op::Restart]);
                }
                ops.push(Op::Repair { check: true });
            }
            6..=7 => ops.push(Op::Sweep),
            11..=13 => ops.push(Op::Prune),
            8..=9 => ops.push(Op::Rebuild {
                seed: dice.roll(1000),
            }),
            10 => ops.extend([
                Op::Heal,
                Op::Rebuild {
                    seed: dice.roll(1000),
                },
            ]),
            14..=16 => ops.push(Op::Refresh),
            _ => {}
        }
        ops.push(op);
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

pub(crate) fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

/// The seeds given, or `usual` many; and the number of steps of a life.
pub(crate) fn seeds(usual: u64) -> (Range<u64>, usize) {
    let range = match std::env::var("WARIFU_MODEL_SEEDS") {
        Ok(text) => {
            let (from, to) = text.split_once("..").expect("two seeds as in 100..200");
            number(from)..number(to)
        }
        Err(_) => 0..usual,
    };
    let steps = std::env::var("WARIFU_MODEL_STEPS").map_or(50, |text| number(&text) as usize);
    (range, steps)
}

pub(crate) fn all_live_like_the_model(
    k: u8,
    n: u8,
    range: Range<u64>,
    life: impl Fn(u64) -> Vec<Op>,
    live_through: impl Fn(u64, &[Op]) -> Result<(), String>,
) {
    for seed in range {
        let ops = life(seed);
        let fails = |ops: &[Op]| live_through(seed, ops).err();
        if fails(&ops).is_some() {
            let (ops, message) = shrink(ops, &fails);
            panic!("{k} of {n}, seed {seed}: {message}\n{ops:#?}");
        }
    }
}

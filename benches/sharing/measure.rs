//! Medians of many short runs. The candidates take turns, so that a machine that is slow for a while is slow for all.

use std::time::{Duration, Instant};

/// Something to be timed: a name, how many bytes it deals with, and one run of it.
pub struct Candidate<'a> {
    pub name: String,
    bytes: usize,
    run: Box<dyn FnMut() + 'a>,
}

impl<'a> Candidate<'a> {
    pub fn new(name: impl Into<String>, bytes: usize, run: impl FnMut() + 'a) -> Self {
        Self {
            name: name.into(),
            bytes,
            run: Box::new(run),
        }
    }
}

/// The rounds; `WARIFU_BENCH_ROUNDS` for more or fewer.
fn rounds() -> usize {
    std::env::var("WARIFU_BENCH_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(201)
}

/// MiB/s of each candidate, the median of all rounds, in their order.
pub fn measure(candidates: &mut [Candidate<'_>]) -> Vec<f64> {
    // Shorter than what a scheduler gives a process at a time, so that most turns are not interrupted.
    let turn = Duration::from_micros(400);
    let mut seen = vec![Vec::new(); candidates.len()];
    let mut batches = Vec::new();
    for candidate in &mut *candidates {
        // Warm, and how many runs fill a turn.
        let start = Instant::now();
        let mut runs = 0_u32;
        while start.elapsed() < turn {
            (candidate.run)();
            runs += 1;
        }
        batches.push(runs.max(1));
    }
    let begun = Instant::now();
    for round in 0..rounds() {
        if round >= 15 && begun.elapsed() > Duration::from_secs(8) {
            break;
        }
        for ((candidate, batch), seen) in candidates.iter_mut().zip(&batches).zip(&mut seen) {
            let start = Instant::now();
            for _ in 0..*batch {
                (candidate.run)();
            }
            let seconds = start.elapsed().as_secs_f64();
            seen.push(candidate.bytes as f64 * f64::from(*batch) / seconds / f64::from(1 << 20));
        }
    }
    seen.into_iter().map(median).collect()
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

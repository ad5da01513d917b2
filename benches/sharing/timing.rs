//! Does the time depend on the bytes? After *dudect* (Reparaz, Balasch and Verbauwhede 2017): the same operation on fixed and on
//! random bytes, in random order, and Welch's t of the two sets of times. By hand: `cargo bench -p warifu-benches --bench sharing -- timing`.
//!
//! |t| below 4.5 is no sign of a difference, above 10 there is one. It is a test that can find a leak, not a proof that there is none.

use std::arch::x86_64::{__rdtscp, _mm_lfence};
use std::hint::black_box;

use warifu_core::ids::{ShareIndex, Threshold};
use warifu_core::shamir::{Weights, split_into};

const SAMPLES: usize = 400_000;
/// Different random inputs. The fixed one is made from them, too, and all are copied to one place before they are timed: where bytes
/// lie, and what was touched before, tells more than the bytes do.
const INPUTS: usize = 64;

fn now() -> u64 {
    let mut core = 0;
    // SAFETY: every processor of 64 bits has the fence, and every one since 2008 the counter.
    unsafe {
        _mm_lfence();
        let time = __rdtscp(&mut core);
        _mm_lfence();
        time
    }
}

/// Welch's t of the times on fixed and on random inputs, and by how many cycles of the counter the means differ.
fn t_value(len: usize, mut run: impl FnMut(&[u8])) -> (f64, f64) {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let inputs: Vec<Vec<u8>> = (0..INPUTS)
        .map(|_| (0..len).map(|_| (next() >> 24) as u8).collect())
        .collect();
    let mut work = vec![0; len];
    let mut times = Vec::with_capacity(SAMPLES);
    for round in 0..SAMPLES + 5000 {
        let draw = next();
        // Without a branch, which the processor would remember.
        let class = (draw >> 40 & 1) as u8;
        let mask = black_box(class.wrapping_neg());
        for (work, byte) in work.iter_mut().zip(&inputs[(draw >> 41) as usize % INPUTS]) {
            *work = byte & mask;
        }
        let start = now();
        run(black_box(&work));
        let time = now() - start;
        if round >= 5000 {
            times.push((black_box(class) == 0, time));
        }
    }
    // What interrupts adds is noise: only the quickest nine in ten are kept, by one limit for both classes.
    let mut sorted: Vec<u64> = times.iter().map(|(_, time)| *time).collect();
    sorted.sort_unstable();
    let limit = sorted[sorted.len() * 9 / 10];
    let set = |wanted: bool| {
        let kept = times
            .iter()
            .filter(|(fixed, time)| *fixed == wanted && *time <= limit);
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for (_, time) in kept {
            let time = *time as f64;
            count += 1.0;
            let step = time - mean;
            mean += step / count;
            squares += step * (time - mean);
        }
        (mean, squares / (count - 1.0) / count)
    };
    let ((a, a_error), (b, b_error)) = (set(true), set(false));
    ((a - b) / (a_error + b_error).sqrt(), a - b)
}

/// One row for the engine of this process.
pub fn row() {
    let threshold = Threshold::new(3, 5).unwrap();
    let split = |len: usize| {
        let mut shares = vec![vec![0_u8; len]; 5];
        t_value(len, |secret| {
            let mut places = shares.iter_mut().map(Vec::as_mut_slice);
            let mut places: [&mut [u8]; 5] = std::array::from_fn(|_| places.next().unwrap());
            split_into(threshold, secret, &mut places).unwrap();
        })
    };
    let join = |len: usize| {
        let indices = [2, 4, 5].map(|x| ShareIndex::new(x).unwrap());
        let weights = Weights::at_secret(&indices).unwrap();
        let mut out = vec![0; len];
        t_value(3 * len, |shares| {
            let (a, rest) = shares.split_at(len);
            let (b, c) = rest.split_at(len);
            weights.combine_into(&[a, b, c], &mut out).unwrap();
        })
    };
    let three = |measure: &dyn Fn(usize) -> (f64, f64), len| {
        let one = |_| {
            let (t, cycles) = measure(len);
            format!("{t:.1} ({cycles:.2})")
        };
        let values: Vec<String> = (0..3).map(one).collect();
        values.join(", ")
    };
    println!(
        "| {} | {} | {} | {} |",
        warifu_core::engine::name(),
        three(&split, 250),
        three(&join, 250),
        three(&join, 4096)
    );
}

/// A product that looks secret bytes up and skips zeros, as others do: what the test must find.
pub fn control() {
    let mut out = vec![0_u8; 250];
    let found = t_value(250, |bytes| {
        for (out, byte) in out.iter_mut().zip(bytes) {
            if *byte != 0 {
                *out ^= warifu_core::gf256::mul(*byte, 7);
            }
        }
        black_box(&out);
    });
    println!(
        "| a loop that skips zeros, as a control | {:.1} ({:.2}) | | |",
        found.0, found.1
    );
}

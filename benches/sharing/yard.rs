//! The yardsticks: what merely moving the bytes costs. Each is written in several ways, and the quickest counts.

use std::arch::x86_64::*;

/// Reads the input once and writes it n times, block by block, as the standard library copies.
pub fn fan_out(block: usize, input: &[u8], outputs: &mut [Vec<u8>]) {
    for (number, input) in input.chunks(block).enumerate() {
        let at = number * block;
        for output in &mut *outputs {
            output[at..at + input.len()].copy_from_slice(input);
        }
    }
}

/// The same with 64 bytes in a register, 256 at a time, as the kernels go.
pub fn fan_out_wide(input: &[u8], outputs: &mut [Vec<u8>]) {
    assert!(
        std::is_x86_feature_detected!("avx512f")
            && input.len().is_multiple_of(256)
            && outputs.iter().all(|output| output.len() == input.len())
    );
    let mut places = [std::ptr::null_mut(); 16];
    for (place, output) in places.iter_mut().zip(&mut *outputs) {
        *place = output.as_mut_ptr();
    }
    // SAFETY: AVX-512 is there, and all have the same length, a multiple of what is moved at once.
    unsafe { fan_out_512(input, &places[..outputs.len()]) }
}

#[target_feature(enable = "avx512f")]
unsafe fn fan_out_512(input: &[u8], places: &[*mut u8]) {
    for at in (0..input.len()).step_by(256) {
        // SAFETY: the caller's promise.
        unsafe {
            let from = input.as_ptr().add(at);
            let block = [0, 64, 128, 192].map(|lane| _mm512_loadu_si512(from.add(lane).cast()));
            for place in places {
                for (lane, vector) in block.into_iter().enumerate() {
                    _mm512_storeu_si512(place.add(at + 64 * lane).cast(), vector);
                }
            }
        }
    }
}

/// Exclusive or of k inputs, as the compiler makes it of a plain loop.
pub fn xor(inputs: &[&[u8]], out: &mut [u8]) {
    for (number, out) in out.chunks_mut(4096).enumerate() {
        let at = number * 4096;
        let (first, rest) = inputs.split_first().unwrap();
        out.copy_from_slice(&first[at..at + out.len()]);
        for input in rest {
            for (out, byte) in out.iter_mut().zip(&input[at..]) {
                *out ^= byte;
            }
        }
    }
}

/// The same in one pass with 64 bytes in a register.
pub fn xor_wide(inputs: &[&[u8]], out: &mut [u8]) {
    assert!(
        std::is_x86_feature_detected!("avx512f")
            && out.len().is_multiple_of(256)
            && inputs.iter().all(|input| input.len() == out.len())
    );
    // SAFETY: AVX-512 is there, and all have the same length, a multiple of what is taken at once.
    unsafe { xor_512(inputs, out) }
}

#[target_feature(enable = "avx512f")]
unsafe fn xor_512(inputs: &[&[u8]], out: &mut [u8]) {
    for at in (0..out.len()).step_by(256) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sum = [_mm512_setzero_si512(); 4];
            for input in inputs {
                for (lane, sum) in sum.iter_mut().enumerate() {
                    let vector = _mm512_loadu_si512(input.as_ptr().add(at + 64 * lane).cast());
                    *sum = _mm512_xor_si512(*sum, vector);
                }
            }
            for (lane, sum) in sum.into_iter().enumerate() {
                _mm512_storeu_si512(out.as_mut_ptr().add(at + 64 * lane).cast(), sum);
            }
        }
    }
}

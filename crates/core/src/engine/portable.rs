//! The reference: eight bytes at a time in ordinary registers.
//!
//! The factor is public and is branched on; the bytes are secret and meet only shifts, masks and exclusive or.

use crate::gf256::REDUCTION;

/// Words taken together, so that the compiler can put them into wide registers.
const LANES: usize = 8;
const BLOCK: usize = LANES * 8;

const LOW_SEVEN: u64 = 0x7F7F_7F7F_7F7F_7F7F;
const HIGH_BIT: u64 = 0x8080_8080_8080_8080;
const REDUCTIONS: u64 = 0x0101_0101_0101_0101 * REDUCTION as u64;

/// Each of the eight bytes times 2. No bit crosses from byte to byte, so the order of bytes in the word is immaterial.
#[inline(always)]
fn double(word: u64) -> u64 {
    let carries = word & HIGH_BIT;
    // 0x80 − 0x01 = 0x7F covers every bit of the reduction.
    let masks = carries - (carries >> 7);
    ((word & LOW_SEVEN) << 1) ^ (masks & REDUCTIONS)
}

#[inline(always)]
fn product(words: &mut [u64; LANES], factor: u8) -> [u64; LANES] {
    let mut sum = [0; LANES];
    let mut rest = factor;
    while rest != 0 {
        if rest & 1 == 1 {
            for (sum, word) in sum.iter_mut().zip(words.iter()) {
                *sum ^= word;
            }
        }
        rest >>= 1;
        if rest != 0 {
            for word in words.iter_mut() {
                *word = double(*word);
            }
        }
    }
    sum
}

#[inline(always)]
fn load(bytes: &[u8; BLOCK]) -> [u64; LANES] {
    let mut words = [0; LANES];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}

#[inline(always)]
fn store(words: &[u64; LANES], bytes: &mut [u8; BLOCK]) {
    for (word, bytes) in words.iter().zip(bytes.as_chunks_mut::<8>().0) {
        *bytes = word.to_ne_bytes();
    }
}

/// `dst += c · src`, byte by byte, over the shorter of the two. `c` is public.
pub(crate) fn mul_acc(dst: &mut [u8], src: &[u8], c: u8) {
    let len = dst.len().min(src.len());
    let (dst_blocks, dst_tail) = dst[..len].as_chunks_mut::<BLOCK>();
    let (src_blocks, src_tail) = src[..len].as_chunks::<BLOCK>();
    for (dst, src) in dst_blocks.iter_mut().zip(src_blocks) {
        let mut sum = product(&mut load(src), c);
        for (sum, word) in sum.iter_mut().zip(load(dst)) {
            *sum ^= word;
        }
        store(&sum, dst);
    }
    for (dst, src) in dst_tail.iter_mut().zip(src_tail) {
        *dst ^= crate::gf256::mul(*src, c);
    }
}

/// `acc = c · acc + addend`, byte by byte, over the shorter of the two: one step of Horner's rule. `c` is public.
pub(crate) fn mul_add(acc: &mut [u8], c: u8, addend: &[u8]) {
    let len = acc.len().min(addend.len());
    let (acc_blocks, acc_tail) = acc[..len].as_chunks_mut::<BLOCK>();
    let (addend_blocks, addend_tail) = addend[..len].as_chunks::<BLOCK>();
    for (acc, addend) in acc_blocks.iter_mut().zip(addend_blocks) {
        let mut sum = product(&mut load(acc), c);
        for (sum, word) in sum.iter_mut().zip(load(addend)) {
            *sum ^= word;
        }
        store(&sum, acc);
    }
    for (acc, addend) in acc_tail.iter_mut().zip(addend_tail) {
        *acc = crate::gf256::mul(*acc, c) ^ addend;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gf256::mul;
    use alloc::vec::Vec;

    #[test]
    fn kernels_agree_with_one_byte_at_a_time() {
        // Every byte value meets every factor, and the lengths lie on both sides of a block.
        for len in [0, 1, 7, 8, 63, 64, 65, 127, 128, 256, 321] {
            let src: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let other: Vec<u8> = (0..len).map(|i| (i * 7 + 3) as u8).collect();
            for c in 0..=255 {
                let mut acc = other.clone();
                mul_acc(&mut acc, &src, c);
                let expected: Vec<u8> = other
                    .iter()
                    .zip(&src)
                    .map(|(o, s)| o ^ mul(*s, c))
                    .collect();
                assert_eq!(acc, expected, "mul_acc, length {len}, factor {c}");
                let mut acc = other.clone();
                mul_add(&mut acc, c, &src);
                let expected: Vec<u8> = other
                    .iter()
                    .zip(&src)
                    .map(|(o, s)| mul(*o, c) ^ s)
                    .collect();
                assert_eq!(acc, expected, "mul_add, length {len}, factor {c}");
            }
        }
    }
}

//! What a public factor becomes before it meets secret bytes, for all 256 factors, computed by the compiler from the
//! definition of the product.
#![cfg_attr(
    not(all(feature = "std", any(target_arch = "x86_64", target_arch = "aarch64"))),
    allow(dead_code)
)]

use crate::gf256::mul;

/// The 16 products of a factor with low nibbles, and the 16 with high nibbles.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Nibbles {
    pub(super) low: [u8; 16],
    pub(super) high: [u8; 16],
}

pub(super) static NIBBLES: [Nibbles; 256] = {
    let mut tables = [Nibbles {
        low: [0; 16],
        high: [0; 16],
    }; 256];
    let mut factor = 0;
    while factor < 256 {
        let mut nibble = 0;
        while nibble < 16 {
            tables[factor].low[nibble] = mul(factor as u8, nibble as u8);
            tables[factor].high[nibble] = mul(factor as u8, (nibble << 4) as u8);
            nibble += 1;
        }
        factor += 1;
    }
    tables
};

/// Multiplication by a factor is linear over single bits: a matrix of 8 by 8, as `GF2P8AFFINEQB` takes it, with the row for
/// bit i of the product in byte 7 − i.
pub(super) static MATRICES: [u64; 256] = {
    let mut matrices = [0; 256];
    let mut factor = 0;
    while factor < 256 {
        let mut column = 0;
        while column < 8 {
            let product = mul(factor as u8, 1 << column);
            let mut row = 0;
            while row < 8 {
                let bit = (product >> row & 1) as u64;
                matrices[factor] |= bit << (8 * (7 - row) + column);
                row += 1;
            }
            column += 1;
        }
        factor += 1;
    }
    matrices
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_matrices_give_every_product() {
        for factor in 0..=255_u8 {
            let tables = &NIBBLES[usize::from(factor)];
            let matrix = MATRICES[usize::from(factor)];
            for byte in 0..=255_u8 {
                let product = mul(factor, byte);
                let looked_up =
                    tables.low[usize::from(byte & 15)] ^ tables.high[usize::from(byte >> 4)];
                assert_eq!(looked_up, product, "{factor} · {byte}");
                let mapped = (0..8).fold(0, |mapped, row| {
                    let ones = (byte & (matrix >> (8 * (7 - row))) as u8).count_ones();
                    mapped | (ones as u8 & 1) << row
                });
                assert_eq!(mapped, product, "{factor} · {byte}");
            }
        }
    }
}

//! What a public factor becomes before it meets secret bytes, for all 256 factors, computed by the compiler from the
//! definition of the product.

use crate::gf256::{inv, mul};

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

/// For the pair of points 2j and 2j + 1 the value y = (x² + x) / 6, which is the same for both; 0 and 1 for the first two pairs.
///
/// The engines don't take powers of x. Their polynomial is s + r₁·x + r₂·y + r₃·x·y + r₄·y² + r₅·x·y² + …, where r₁, r₂ …
/// come from the key stream: the sum of an even part E(y) and x times an odd part O(y). So E and O are taken once for two
/// points, and the value at 2j + 1 is the value at 2j plus O. From an even j to the next, y grows by 1;
/// where E and O are no more than squares in y they then grow by the same each time, since (y + 1)² = y² + 1. The functions x, y, x·y, y² … are polynomials of degree 1, 2, 3, 4 …
/// without a constant term, so they can be exchanged for x, x², x³, x⁴ …: to each choice of r₁, r₂ … belongs exactly one choice of
/// Shamir's coefficients, and uniform ones to uniform ones. It is the first step of an additive Fourier transform (Gao and Mateer 2010; Lin,
/// Chung and Han 2014).
pub(super) static CLASSES: [u8; 128] = {
    let mut classes = [0; 128];
    let mut class = 0;
    while class < 128 {
        let x = 2 * class as u8;
        classes[class] = mul(mul(x, x) ^ x, inv(6));
        class += 1;
    }
    classes
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

    /// What stands between the shares of k − 1 servers and the random bytes: a square matrix. Where it can be inverted,
    /// each choice of these shares comes from exactly one choice of random bytes, whatever the secret is.
    #[test]
    fn p1_any_fewer_than_k_shares_are_a_one_to_one_image_of_the_random_bytes() {
        let value = |index: u8, number: usize| {
            let y = CLASSES[usize::from(index / 2)];
            let power = (0..number.div_ceil(2) - number % 2).fold(1, |power, _| mul(power, y));
            if number % 2 == 1 {
                mul(power, index)
            } else {
                power
            }
        };
        for k in 2..=8 {
            for set in 0_u32..1 << 10 {
                if set.count_ones() as usize != k - 1 {
                    continue;
                }
                let indices = (1..=10_u8).filter(|index| set >> (index - 1) & 1 == 1);
                let rows: alloc::vec::Vec<alloc::vec::Vec<u8>> = indices
                    .map(|index| (1..k).map(|number| value(index, number)).collect())
                    .collect();
                assert!(invertible(rows), "k = {k}, shares {set:b}");
            }
        }
        let rows = (1..=254_u8).map(|index| (1..=254).map(|number| value(index, number)).collect());
        assert!(invertible(rows.collect()), "254 of 255");
    }

    /// Gauss's elimination.
    fn invertible(mut rows: alloc::vec::Vec<alloc::vec::Vec<u8>>) -> bool {
        for column in 0..rows.len() {
            let Some(pivot) = (column..rows.len()).find(|row| rows[*row][column] != 0) else {
                return false;
            };
            rows.swap(column, pivot);
            let pivot = rows[column].clone();
            let inverse = inv(pivot[column]);
            for row in rows.iter_mut().skip(column + 1) {
                let factor = mul(row[column], inverse);
                for (cell, above) in row.iter_mut().zip(&pivot).skip(column) {
                    *cell ^= mul(*above, factor);
                }
            }
        }
        true
    }
}

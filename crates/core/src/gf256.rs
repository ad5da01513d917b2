//! The field GF(2⁸) modulo x⁸ + x⁴ + x³ + x² + 1 (0x11D), in which 2 generates all elements but zero.
//!
//! It is the field of the `sharks` family, so bare shares can be exchanged. Addition is exclusive or.
//! [`mul`] and [`inv`] take the same time for all operands and look nothing up in memory. The bulk operations take a
//! public factor (a share index or a weight, both of which any server may know): their time depends on that factor
//! and on the length, never on the bytes.

use crate::engine::{Engine, portable};

/// `dst += c · src`, byte by byte, over the shorter of the two. `c` is public.
pub fn mul_acc(dst: &mut [u8], src: &[u8], c: u8) {
    Engine::current().mul_acc(dst, src, c);
}

/// `acc = c · acc + addend`, byte by byte, over the shorter of the two: one step of Horner's rule. `c` is public.
pub fn mul_add(acc: &mut [u8], c: u8, addend: &[u8]) {
    portable::mul_add(acc, c, addend);
}

/// The polynomial without its leading term.
pub(crate) const REDUCTION: u8 = 0x1D;

/// The product of two elements.
///
/// ```
/// use warifu_core::gf256::{inv, mul};
/// assert_eq!(mul(0x80, 2), 0x1D);
/// assert_eq!(mul(7, inv(7)), 1);
/// ```
#[must_use]
pub const fn mul(a: u8, b: u8) -> u8 {
    let mut product = 0;
    let mut shifted = a;
    let mut bit = 0;
    while bit < 8 {
        // 0xFF where the bit is set, 0 where it is not: no branch on either operand.
        let take = ((b >> bit) & 1).wrapping_neg();
        product ^= shifted & take;
        let carry = (shifted >> 7).wrapping_neg();
        shifted = (shifted << 1) ^ (carry & REDUCTION);
        bit += 1;
    }
    product
}

/// The inverse, a²⁵⁴; zero, which has none, gives zero.
#[must_use]
pub const fn inv(a: u8) -> u8 {
    // 254 is 11111110 in binary: the squares a², a⁴, …, a¹²⁸ multiplied together.
    let mut square = mul(a, a);
    let mut product = square;
    let mut step = 0;
    while step < 6 {
        square = mul(square, square);
        product = mul(product, square);
        step += 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Schoolbook: multiply as polynomials, then divide.
    fn slow_mul(a: u8, b: u8) -> u8 {
        let mut wide: u16 = 0;
        for bit in 0..8 {
            if b >> bit & 1 == 1 {
                wide ^= u16::from(a) << bit;
            }
        }
        for bit in (8..15).rev() {
            if wide >> bit & 1 == 1 {
                wide ^= 0x11D << (bit - 8);
            }
        }
        wide as u8
    }

    #[test]
    fn products_agree_with_polynomial_division() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(mul(a, b), slow_mul(a, b), "{a} · {b}");
            }
        }
    }

    #[test]
    fn every_element_but_zero_has_its_inverse() {
        assert_eq!(inv(0), 0);
        for a in 1..=255 {
            assert_eq!(mul(a, inv(a)), 1, "{a}");
        }
    }

    #[test]
    fn two_generates_the_field() {
        let mut seen = [false; 256];
        let mut power = 1;
        for _ in 0..255 {
            assert!(!seen[usize::from(power)]);
            seen[usize::from(power)] = true;
            power = mul(power, 2);
        }
        assert_eq!(power, 1);
    }
}

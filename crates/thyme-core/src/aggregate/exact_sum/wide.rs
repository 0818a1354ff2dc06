//! An accumulator wide enough for every sum of floats.

use super::{EXPONENT_MIN, round_scaled};

/// Digits of 32 bits from 2^-1074 up: 2098 bits for the floats, 64 for how many there are, and some to spare.
const DIGITS: usize = 70;

/// After so many additions the digits are brought back below 2^32: each adds less than 2^32 to a digit of 64 bits.
const PENDING_MAX: u32 = 1 << 29;

/// A fixed-point number whose digit `i` counts 2^(32 i - 1074). Digits carry late and may be negative.
#[derive(Clone, Debug)]
pub(super) struct Wide {
    digits: [i64; DIGITS],
    /// Every digit's magnitude is below `(pending + 1) * 2^32`.
    pending: u32,
}

impl Default for Wide {
    fn default() -> Self {
        Wide { digits: [0; DIGITS], pending: 0 }
    }
}

impl Wide {
    /// Adds `value * 2^exponent`; the exponent is at least -1074.
    pub(super) fn add(&mut self, value: i128, exponent: i32) {
        let magnitude = value.unsigned_abs();
        let negative = value < 0;
        self.add_word(magnitude as u64, exponent, negative);
        self.add_word((magnitude >> 64) as u64, exponent + 64, negative);
    }

    fn add_word(&mut self, word: u64, exponent: i32, negative: bool) {
        if word == 0 {
            return;
        }
        let offset = (exponent - EXPONENT_MIN).max(0) as usize;
        let mut rest = u128::from(word) << (offset % 32);
        for digit in self.digits.iter_mut().skip(offset / 32).take(3) {
            let part = (rest & 0xffff_ffff) as i64;
            *digit += if negative { -part } else { part };
            rest >>= 32;
        }
        self.pending += 1;
        if self.pending > PENDING_MAX {
            self.carry();
        }
    }

    /// Adds another one.
    pub(super) fn merge(&mut self, other: &Wide) {
        for (digit, more) in self.digits.iter_mut().zip(&other.digits) {
            *digit += more;
        }
        self.pending += other.pending + 1;
        if self.pending > PENDING_MAX {
            self.carry();
        }
    }

    /// Brings all digits but the last into `0..2^32`; the last has the sign of the number.
    fn carry(&mut self) {
        let mut carry = 0;
        let mut digits = self.digits.iter_mut().peekable();
        while let Some(digit) = digits.next() {
            let total = *digit + carry;
            if digits.peek().is_none() {
                *digit = total;
            } else {
                *digit = total & 0xffff_ffff;
                carry = total >> 32;
            }
        }
        self.pending = 1;
    }

    /// Rounds once to the nearest float, ties to even.
    pub(super) fn round(mut self) -> f64 {
        self.carry();
        let negative = self.digits.last().is_some_and(|digit| *digit < 0);
        if negative {
            self.digits.iter_mut().for_each(|digit| *digit = -*digit);
            self.carry();
        }
        let Some(top) = self.digits.iter().rposition(|digit| *digit != 0) else { return 0.0 };
        // Four digits hold at least 97 bits, far more than a float; of those below only matters whether any is set.
        let from = (top + 1).saturating_sub(4);
        let (below, kept) = self.digits.split_at(from);
        let mut magnitude = kept.iter().take(4).rev().fold(0u128, |all, digit| all << 32 | *digit as u128);
        magnitude |= u128::from(below.iter().any(|digit| *digit != 0));
        round_scaled(negative, magnitude, 32 * from as i32 + EXPONENT_MIN)
    }
}

//! The exact sum of floats.
//!
//! Every finite float is an integer times a power of two, so a sum of them is one too. It is held as
//! `scaled * 2^exponent` in 128 bits, at the scale of the smallest addend; what does not fit there is moved
//! to a [`Wide`] accumulator that covers all exponents. Only the exact value of the two together
//! matters, so any order of additions, subtractions and merges rounds to the same bits.

mod wide;

use wide::Wide;

use crate::value::NAN;

/// The exponent of the least subnormal: every finite float is a multiple of 2^-1074.
const EXPONENT_MIN: i32 = -1074;

/// The exponent field of infinities and NaN.
const SPECIAL: u64 = 0x7ff;

/// The most words whose sum is taken before it is added to the total; keeps the sums below in 128 bits.
const BLOCK: usize = 256;

/// The exact sum of a multiset of floats: floats can be added and removed in any order.
///
/// NaN and infinities are counted, not added, so that they leave no trace once removed.
#[derive(Clone, Debug, Default)]
pub struct ExactSum {
    scaled: i128,
    exponent: i32,
    wide: Option<Box<Wide>>,
    nans: u64,
    plus_infinities: u64,
    minus_infinities: u64,
}

impl ExactSum {
    /// Adds one float.
    pub fn add(&mut self, value: f64) {
        self.take(value.to_bits(), false);
    }

    /// Removes one float that was added.
    pub fn subtract(&mut self, value: f64) {
        self.take(value.to_bits(), true);
    }

    /// Adds floats given as bits.
    pub fn add_all(&mut self, words: &[u64]) {
        for block in words.chunks(BLOCK) {
            self.take_block(block, false);
        }
    }

    /// Removes floats given as bits.
    pub fn subtract_all(&mut self, words: &[u64]) {
        for block in words.chunks(BLOCK) {
            self.take_block(block, true);
        }
    }

    /// Adds all that another sum holds.
    pub fn merge(&mut self, other: &ExactSum) {
        self.take_scaled(other.scaled, other.exponent);
        if let Some(wide) = &other.wide {
            self.wide.get_or_insert_default().merge(wide);
        }
        self.nans += other.nans;
        self.plus_infinities += other.plus_infinities;
        self.minus_infinities += other.minus_infinities;
    }

    /// The sum rounded once to the nearest float, ties to even; `+0.0` for zero.
    pub fn round(&self) -> f64 {
        match (self.nans, self.plus_infinities, self.minus_infinities) {
            (0, 0, 0) => {}
            (0, _, 0) => return f64::INFINITY,
            (0, 0, _) => return f64::NEG_INFINITY,
            _ => return NAN,
        }
        match &self.wide {
            None => round_scaled(self.scaled < 0, self.scaled.unsigned_abs(), self.exponent),
            Some(wide) => {
                let mut whole = wide.as_ref().clone();
                whole.add(self.scaled, self.exponent);
                whole.round()
            }
        }
    }

    /// Bytes of memory outside the struct itself.
    pub fn heap_bytes(&self) -> usize {
        self.wide.as_ref().map_or(0, |_| size_of::<Wide>())
    }

    fn take(&mut self, word: u64, remove: bool) {
        let part = Part::of(word);
        if part.field == SPECIAL {
            self.take_special(word, remove);
        } else {
            let mantissa = i128::from(part.mantissa);
            self.take_scaled(if remove { -mantissa } else { mantissa }, part.exponent());
        }
    }

    fn take_special(&mut self, word: u64, remove: bool) {
        let value = f64::from_bits(word);
        let count = match value {
            v if v.is_nan() => &mut self.nans,
            v if v > 0.0 => &mut self.plus_infinities,
            _ => &mut self.minus_infinities,
        };
        *count = if remove { count.saturating_sub(1) } else { *count + 1 };
    }

    /// Where the exponents of a block lie close together, its sum is taken at the least of them first.
    fn take_block(&mut self, words: &[u64], remove: bool) {
        let (mut least, mut most) = (SPECIAL, 1);
        for &word in words {
            let field = (word >> 52) & SPECIAL;
            // Zeros have no scale: they must not pull the common one down to the subnormals.
            least = least.min(if word << 1 == 0 { SPECIAL } else { field });
            most = most.max(field);
        }
        let least = least.max(1);
        let shift = |part: &Part| part.field.max(1).wrapping_sub(least) as u32;
        let total: i128 = match most.saturating_sub(least) {
            _ if most == SPECIAL || words.len() < 2 => {
                return words.iter().for_each(|w| self.take(*w, remove));
            }
            // 53 bits of mantissa and the shift fit in an i64.
            0..=10 => {
                words.iter().map(Part::of_ref).map(|p| i128::from(p.mantissa.wrapping_shl(shift(&p)))).sum()
            }
            // 53 + 60 bits and 8 more for 256 addends fit in an i128.
            11..=60 => {
                words.iter().map(Part::of_ref).map(|p| i128::from(p.mantissa).wrapping_shl(shift(&p))).sum()
            }
            _ => return words.iter().for_each(|w| self.take(*w, remove)),
        };
        self.take_scaled(if remove { -total } else { total }, least as i32 - 1 + EXPONENT_MIN);
    }

    /// Adds `value * 2^exponent`.
    fn take_scaled(&mut self, value: i128, exponent: i32) {
        if value == 0 {
            return;
        }
        if self.scaled == 0 {
            return self.restart(value, exponent);
        }
        let raise = exponent - self.exponent;
        let sum = if raise >= 0 {
            shifted(value, raise).and_then(|v| v.checked_add(self.scaled)).map(|sum| (sum, self.exponent))
        } else if let Some(sum) = shifted(self.scaled, -raise).and_then(|v| v.checked_add(value)) {
            Some((sum, exponent))
        } else {
            // The addend's zeros at the end may be all that asks for a lower scale.
            let unshifted = (value.trailing_zeros() as i32 >= -raise).then(|| value >> -raise);
            unshifted.and_then(|v| v.checked_add(self.scaled)).map(|sum| (sum, self.exponent))
        };
        match sum {
            Some((scaled, exponent)) => (self.scaled, self.exponent) = (scaled, exponent),
            None => {
                self.wide.get_or_insert_default().add(self.scaled, self.exponent);
                self.restart(value, exponent);
            }
        }
    }

    fn restart(&mut self, value: i128, exponent: i32) {
        let zeros = value.trailing_zeros();
        self.scaled = value >> zeros;
        self.exponent = exponent + zeros as i32;
    }
}

/// A float taken apart: `mantissa * 2^(max(field, 1) - 1 + EXPONENT_MIN)`, if it is finite.
struct Part {
    mantissa: i64,
    field: u64,
}

impl Part {
    #[inline(always)]
    fn of(word: u64) -> Part {
        let field = (word >> 52) & SPECIAL;
        let fraction = word & ((1 << 52) - 1) | u64::from(field != 0) << 52;
        let sign = (word as i64) >> 63;
        Part { mantissa: (fraction as i64 ^ sign) - sign, field }
    }

    #[inline(always)]
    fn of_ref(word: &u64) -> Part {
        Part::of(*word)
    }

    fn exponent(&self) -> i32 {
        self.field.max(1) as i32 - 1 + EXPONENT_MIN
    }
}

/// `value << by` if it fits in 127 bits and the sign.
#[inline]
fn shifted(value: i128, by: i32) -> Option<i128> {
    let room = value.unsigned_abs().leading_zeros() as i32 - 1;
    (0..room).contains(&by).then(|| value << by)
}

/// `magnitude * 2^exponent` with a sign, rounded to the nearest float, ties to even.
pub(super) fn round_scaled(negative: bool, magnitude: u128, exponent: i32) -> f64 {
    if magnitude == 0 {
        return 0.0;
    }
    let top = 127 - magnitude.leading_zeros() as i32 + exponent;
    if top > 1023 {
        return if negative { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // The exponent of the last bit that the float has.
    let last = (top - 52).max(EXPONENT_MIN);
    let cut = last - exponent;
    let mantissa = if cut <= 0 {
        (magnitude << -cut) as u64
    } else {
        let kept = (magnitude >> cut) as u64;
        let rest = magnitude & ((1 << cut) - 1);
        let half = 1u128 << (cut - 1);
        kept + u64::from(rest > half || (rest == half && kept & 1 == 1))
    };
    // The mantissa's top bit adds the one that is missing in the exponent field; a mantissa rounded up
    // to 2^53 carries into the next exponent, and from the greatest of them into infinity.
    let field = (last - EXPONENT_MIN) as u64;
    f64::from_bits(((field << 52) + mantissa) | u64::from(negative) << 63)
}

#[cfg(test)]
mod tests;

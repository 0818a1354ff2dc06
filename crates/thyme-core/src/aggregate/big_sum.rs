//! Exact sums of any width, and exact quotients rounded once.

use num_bigint::{BigInt, BigUint, Sign};

use super::exact_sum::round_scaled;
use crate::value::DataType;

/// The exponent of the least subnormal.
const EXPONENT_MIN: i32 = -1074;

/// A finite number: `mantissa * 2^exponent`, negative or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finite {
    pub(super) negative: bool,
    pub(super) mantissa: u64,
    pub(super) exponent: i32,
}

impl Finite {
    /// The number that a word of an int or float column stands for; `None` for NaN and infinities.
    #[inline]
    pub(super) fn of(data_type: Option<DataType>, word: u64) -> Option<Finite> {
        if data_type != Some(DataType::Float) {
            let value = word as i64;
            return Some(Finite { negative: value < 0, mantissa: value.unsigned_abs(), exponent: 0 });
        }
        let field = (word >> 52 & 0x7ff) as i32;
        if field == 0x7ff {
            return None;
        }
        let mantissa = word & ((1 << 52) - 1) | u64::from(field != 0) << 52;
        Some(Finite { negative: word >> 63 == 1, mantissa, exponent: field.max(1) - 1 + EXPONENT_MIN })
    }

    /// As an integer times `2^exponent`.
    pub(super) fn scaled(self) -> (BigInt, i32) {
        let magnitude = BigInt::from(self.mantissa);
        (if self.negative { -magnitude } else { magnitude }, self.exponent)
    }
}

/// The exact sum of a multiset of integers times powers of two, which can be added and removed in any order.
///
/// It is `limbs`, a two's complement number with the least limb first, times `2^(64 * low)`. The last limb is nothing
/// but the sign.
#[derive(Clone, Debug, Default)]
pub(super) struct BigSum {
    limbs: Vec<u64>,
    low: i32,
}

/// The limbs of an addend before it is shifted.
pub(super) type Magnitude = [u64; 4];

impl BigSum {
    /// Adds `magnitude * 2^exponent`, or subtracts it.
    pub(super) fn add(&mut self, negative: bool, magnitude: Magnitude, exponent: i32) {
        let Some(top) = magnitude.iter().rposition(|limb| *limb != 0) else { return };
        let (index, shift) = (exponent.div_euclid(64), exponent.rem_euclid(64) as u32);
        let start = self.room(index, top + 2);
        let limbs = self.limbs.get_mut(start..).unwrap_or_default();
        let mut below = 0;
        let addend = magnitude.iter().chain([&0]).take(top + 2).map(|limb| {
            let wide = u128::from(*limb) << shift | below;
            below = wide >> 64;
            wide as u64
        });
        let mut carry = negative;
        let flip = if negative { u64::MAX } else { 0 };
        // What is subtracted is added in two's complement, whose sign goes on to the last limb.
        let signed = addend.map(|limb| limb ^ flip).chain(std::iter::repeat(flip));
        for (limb, more) in limbs.iter_mut().zip(signed) {
            let (sum, first) = limb.overflowing_add(more);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = first | second;
        }
        self.end_with_sign();
    }

    /// Adds all that another sum holds.
    pub(super) fn merge(&mut self, other: &BigSum) {
        if other.limbs.is_empty() {
            return;
        }
        let start = self.room(other.low, other.limbs.len());
        let sign = if other.is_negative() { u64::MAX } else { 0 };
        let addend = other.limbs.iter().copied().chain(std::iter::repeat(sign));
        let mut carry = false;
        for (limb, more) in self.limbs.iter_mut().skip(start).zip(addend) {
            let (sum, first) = limb.overflowing_add(more);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = first | second;
        }
        self.end_with_sign();
    }

    /// Makes room for `count` limbs from `index` on, and one for the sign; says which limb that first one is.
    fn room(&mut self, index: i32, count: usize) -> usize {
        if self.limbs.is_empty() {
            self.low = index;
        }
        if index < self.low {
            let missing = (self.low - index) as usize;
            self.limbs.splice(..0, std::iter::repeat_n(0, missing));
            self.low = index;
        }
        let start = (index - self.low) as usize;
        let sign = if self.is_negative() { u64::MAX } else { 0 };
        if self.limbs.len() < start + count + 1 {
            self.limbs.resize(start + count + 1, sign);
        }
        start
    }

    fn is_negative(&self) -> bool {
        self.limbs.last().is_some_and(|top| top >> 63 == 1)
    }

    fn end_with_sign(&mut self) {
        match self.limbs.last() {
            None | Some(0 | &u64::MAX) => {}
            Some(top) => self.limbs.push(((*top as i64) >> 63) as u64),
        }
    }

    /// The sum as an integer times `2^exponent`.
    pub(super) fn scaled(&self) -> (BigInt, i32) {
        let negative = self.is_negative();
        let (flip, mut carry) = if negative { (u64::MAX, true) } else { (0, false) };
        let mut digits = Vec::with_capacity(2 * self.limbs.len());
        for limb in &self.limbs {
            let (limb, over) = (limb ^ flip).overflowing_add(u64::from(carry));
            carry = over;
            digits.extend([limb as u32, (limb >> 32) as u32]);
        }
        let sign = if negative { Sign::Minus } else { Sign::Plus };
        (BigInt::from_biguint(sign, BigUint::new(digits)), 64 * self.low)
    }

    /// The sum in units of `2^unit`, which divides it.
    pub(super) fn in_units(&self, unit: i32) -> BigInt {
        let (value, exponent) = self.scaled();
        raised(value, exponent, unit)
    }

    /// The exponent of the least unit that certainly divides it; `None` for no sum.
    pub(super) fn unit(&self) -> Option<i32> {
        (!self.limbs.is_empty()).then_some(64 * self.low)
    }

    /// Bytes of memory outside the struct itself.
    pub(super) fn heap_bytes(&self) -> usize {
        self.limbs.capacity() * size_of::<u64>()
    }
}

/// `value * 2^exponent` in units of `2^unit`, which is no larger.
pub(super) fn raised(value: BigInt, exponent: i32, unit: i32) -> BigInt {
    value << exponent.saturating_sub(unit).max(0).unsigned_abs()
}

/// `numerator / denominator * 2^exponent` rounded once to the nearest float, ties to even; `+0.0` for zero.
pub(super) fn round_ratio(numerator: &BigInt, denominator: &BigUint, exponent: i64) -> f64 {
    let (sign, magnitude) = (numerator.sign(), numerator.magnitude());
    if sign == Sign::NoSign || denominator.bits() == 0 {
        return 0.0;
    }
    // A quotient of at least 66 bits, and then one that says whether anything follows.
    let shift = 66 + denominator.bits() as i64 - magnitude.bits() as i64;
    let (dividend, divisor) = match shift {
        0.. => (magnitude << shift.unsigned_abs(), denominator.clone()),
        _ => (magnitude.clone(), denominator << shift.unsigned_abs()),
    };
    let quotient = &dividend / &divisor;
    let rest = u64::from(&quotient * &divisor != dividend);
    let digits = quotient.iter_u64_digits().collect::<Vec<_>>();
    let whole = digits.iter().rev().fold(0u128, |all, digit| all << 64 | u128::from(*digit));
    let exponent = exponent - shift - 1;
    // Less than half of the smallest float, for a quotient has less than 69 bits here.
    if exponent < -1144 {
        return 0.0;
    }
    let exponent = i32::try_from(exponent).unwrap_or(i32::MAX / 2);
    round_scaled(sign == Sign::Minus, whole << 1 | u128::from(rest), exponent) + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ratio(numerator: i64, denominator: u64, exponent: i64) -> f64 {
        round_ratio(&BigInt::from(numerator), &BigUint::from(denominator), exponent)
    }

    #[test]
    fn quotients_are_rounded_once() {
        assert_eq!(ratio(1, 3, 0), 1.0 / 3.0);
        assert_eq!(ratio(-7, 2, 0), -3.5);
        assert_eq!(ratio(1, 1, -1074), 5e-324);
        assert_eq!(ratio(1, 1, -1075), 0.0);
        assert_eq!(ratio(3, 1, -1075), 1e-323);
        assert_eq!(ratio(-1, 1, -1075).to_bits(), 0);
        assert_eq!(ratio(1, 1, -100_000), 0.0);
        for exponent in -1400..-1075 {
            assert_eq!(ratio(3, 2, exponent), 0.0, "{exponent}");
        }
        assert_eq!(ratio(1, 1, 1024), f64::INFINITY);
        assert_eq!(ratio(-1, 1, 1_000_000), f64::NEG_INFINITY);
        assert_eq!(ratio((1 << 54) + 1, 1, 0), 18014398509481984.0);
        assert_eq!(ratio((1 << 54) + 2, 1, 0), 18014398509481984.0);
        assert_eq!(ratio((1 << 54) + 6, 1, 0), 18014398509481992.0);
    }

    proptest! {
        #[test]
        fn sums_are_those_of_big_integers(parts in prop::collection::vec(
            (any::<bool>(), any::<[u64; 4]>(), -200i32..200), 0..20)) {
            let (mut sum, mut halves) = (BigSum::default(), [BigSum::default(), BigSum::default()]);
            let mut expected = BigInt::from(0);
            for (index, (negative, limbs, exponent)) in parts.iter().enumerate() {
                sum.add(*negative, *limbs, *exponent);
                halves[index % 2].add(*negative, *limbs, *exponent);
                let digits = limbs.iter().flat_map(|l| [*l as u32, (*l >> 32) as u32]).collect();
                let sign = if *negative { Sign::Minus } else { Sign::Plus };
                expected += BigInt::from_biguint(sign, BigUint::new(digits)) << (exponent + 300) as u32;
            }
            let [mut left, right] = halves;
            left.merge(&right);
            prop_assert_eq!(sum.in_units(-320) >> 20u32, expected.clone());
            prop_assert_eq!(left.in_units(-320) >> 20u32, expected);
            for (negative, limbs, exponent) in &parts {
                sum.add(!negative, *limbs, *exponent);
            }
            prop_assert_eq!(sum.scaled().0, BigInt::from(0));
        }

        #[test]
        fn a_quotient_by_one_is_the_number_itself(value in any::<f64>()) {
            if let Some(finite) = Finite::of(Some(DataType::Float), value.to_bits()) {
                let (whole, exponent) = finite.scaled();
                prop_assert_eq!(round_ratio(&whole, &BigUint::from(1u32), exponent.into()), value);
            }
        }
    }
}

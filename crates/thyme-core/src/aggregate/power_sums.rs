//! The exact sums of the first powers of numbers.

use num_bigint::{BigInt, BigUint};

use super::big_sum::{BigSum, Finite, Magnitude};
use super::special::Specials;
use super::tally::Way;
use super::{Mask, Slice};
use crate::value::DataType;

/// How many numbers there are, and the sums of their powers from the first to the `N`th.
///
/// NaN and infinities are counted, not added, so that they leave no trace once they are gone.
#[derive(Clone, Debug)]
pub(super) struct PowerSums<const N: usize> {
    pub(super) data_type: Option<DataType>,
    pub(super) count: u64,
    specials: Specials,
    sums: [BigSum; N],
}

impl<const N: usize> PowerSums<N> {
    pub(super) fn new(data_type: Option<DataType>) -> Self {
        PowerSums {
            data_type,
            count: 0,
            specials: Specials::default(),
            sums: std::array::from_fn(|_| BigSum::default()),
        }
    }

    pub(super) fn take(&mut self, slice: &Slice<'_>, mask: &Mask, way: Way) {
        slice.with_picked(mask, |words| words.iter().for_each(|word| self.take_word(*word, way)));
        if self.count == 0 {
            *self = PowerSums::new(self.data_type);
        }
    }

    fn take_word(&mut self, word: u64, way: Way) {
        self.count = way.step(self.count);
        let Some(finite) = Finite::of(self.data_type, word) else {
            return self.specials.take(word, way);
        };
        let mut power: Magnitude = [finite.mantissa, 0, 0, 0];
        for (index, sum) in self.sums.iter_mut().enumerate() {
            if index > 0 {
                power = times(power, finite.mantissa);
            }
            // An odd power has the sign of the number.
            let negative = (finite.negative && index % 2 == 0) != (way == Way::Out);
            sum.add(negative, power, finite.exponent * (index as i32 + 1));
        }
    }

    pub(super) fn merge(&mut self, later: &Self) {
        self.count += later.count;
        self.specials.merge(&later.specials);
        self.sums.iter_mut().zip(&later.sums).for_each(|(own, more)| own.merge(more));
    }

    /// What the numbers sum up to if some of them are not finite: summed as a set.
    pub(super) fn special(&self) -> Option<f64> {
        self.specials.sum()
    }

    /// The sums of the powers, where the sum of the `p`th powers is in units of `2^(p * unit)`; and the unit.
    pub(super) fn scaled(&self) -> ([BigInt; N], i32) {
        let units =
            self.sums.iter().enumerate().filter_map(|(i, sum)| Some(sum.unit()?.div_euclid(i as i32 + 1)));
        let unit = units.min().unwrap_or(0);
        let mut power = 0;
        let sums = self.sums.each_ref().map(|sum| {
            power += 1;
            sum.in_units(power * unit)
        });
        (sums, unit)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.sums.iter().map(BigSum::heap_bytes).sum()
    }
}

/// The product, which fits.
fn times(limbs: Magnitude, by: u64) -> Magnitude {
    let mut carry = 0;
    limbs.map(|limb| {
        let product = u128::from(limb) * u128::from(by) + carry;
        carry = product >> 64;
        product as u64
    })
}

/// A count as a denominator.
pub(super) fn unsigned(value: &BigInt) -> &BigUint {
    value.magnitude()
}

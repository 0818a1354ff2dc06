//! Numbers that are not finite, counted: they leave no trace once they are gone.

use super::tally::Way;
use crate::value::NAN;

/// How many numbers are NaN and each infinity.
#[derive(Clone, Debug, Default)]
pub(super) struct Specials {
    nans: u64,
    plus: u64,
    minus: u64,
}

impl Specials {
    /// A number that is not finite, by its bits, comes or goes.
    pub(super) fn take(&mut self, word: u64, way: Way) {
        let count = match f64::from_bits(word) {
            v if v.is_nan() => &mut self.nans,
            v if v > 0.0 => &mut self.plus,
            _ => &mut self.minus,
        };
        *count = way.step(*count);
    }

    pub(super) fn merge(&mut self, other: &Specials) {
        self.nans += other.nans;
        self.plus += other.plus;
        self.minus += other.minus;
    }

    /// What they sum up to as a set; `None` if there is none.
    pub(super) fn sum(&self) -> Option<f64> {
        match (self.nans, self.plus, self.minus) {
            (0, 0, 0) => None,
            (0, _, 0) => Some(f64::INFINITY),
            (0, 0, _) => Some(f64::NEG_INFINITY),
            _ => Some(NAN),
        }
    }
}

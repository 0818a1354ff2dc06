//! `Sum` and `Avg` of vectors: each element by itself, exactly.

use super::tally::{Tally, Way};
use super::{ExactSum, Extent, Mask, Outcome, Slice, mask_rows, word_text};
use crate::value::{Value, canonical};

/// The exact sum of each element, and the count of the vectors.
#[derive(Clone, Debug)]
pub(super) struct Elements {
    sums: Box<[ExactSum]>,
    count: u64,
    /// What is made of a sum and the count.
    finish: fn(f64, u64) -> f64,
}

/// The sum as it is.
pub(super) fn sum(sum: f64, _count: u64) -> f64 {
    sum
}

/// The sum, rounded once, divided by the count, rounded once.
pub(super) fn avg(sum: f64, count: u64) -> f64 {
    canonical(sum / count as f64)
}

impl Elements {
    /// Those of no vectors of a length.
    pub(super) fn new(length: u32, finish: fn(f64, u64) -> f64) -> Elements {
        Elements { sums: vec![ExactSum::default(); length as usize].into(), count: 0, finish }
    }
}

impl Tally for Elements {
    fn fresh(&self) -> Self {
        Elements { sums: vec![ExactSum::default(); self.sums.len()].into(), count: 0, finish: self.finish }
    }

    fn take(&mut self, slice: &Slice<'_>, mask: &Mask, way: Way) {
        for word in mask_rows(mask).filter_map(|row| slice.words.get(row)) {
            self.count = way.step(self.count);
            let (floats, _) = word_text(*word, slice.heap).as_chunks::<8>();
            for (sum, float) in self.sums.iter_mut().zip(floats) {
                match way {
                    Way::In => sum.add(f64::from_le_bytes(*float)),
                    Way::Out => sum.subtract(f64::from_le_bytes(*float)),
                }
            }
        }
        if self.count == 0 {
            self.sums.fill(ExactSum::default());
        }
    }

    fn merge(&mut self, later: &Self) {
        self.count += later.count;
        self.sums.iter_mut().zip(&later.sums).for_each(|(sum, more)| sum.merge(more));
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        if self.count == 0 {
            return Outcome::Nothing;
        }
        let value = |sum: &ExactSum| (self.finish)(sum.round(), self.count);
        Outcome::Value(Value::Vector(self.sums.iter().map(value).collect()))
    }

    fn heap_bytes(&self) -> usize {
        size_of_val(self.sums.as_ref()) + self.sums.iter().map(ExactSum::heap_bytes).sum::<usize>()
    }
}

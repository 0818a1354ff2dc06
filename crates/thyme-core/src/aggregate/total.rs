//! What `Sum` and `Avg` share: an exact total and a count.

use std::any::Any;

use super::{ExactSum, Extent, Mask, Outcome, Slice, State, Sweeper};
use crate::value::DataType;

/// An exact total of ints or of floats.
#[derive(Clone, Debug)]
pub(super) enum Amount {
    /// Ints: 2^64 of them cannot overflow it.
    Int(i128),
    /// Floats.
    Float(ExactSum),
}

/// The total and the count of the rows, and what is made of them.
#[derive(Clone, Debug)]
pub(super) struct Total {
    amount: Amount,
    count: u64,
    finish: fn(&Amount, u64) -> Outcome,
}

impl Total {
    /// Over no rows; `finish` is called with at least one.
    pub(super) fn new(of: Option<DataType>, finish: fn(&Amount, u64) -> Outcome) -> Total {
        let amount = match of {
            Some(DataType::Float) => Amount::Float(ExactSum::default()),
            _ => Amount::Int(0),
        };
        Total { amount, count: 0, finish }
    }

    fn add(&mut self, words: &[u64]) {
        self.count += words.len() as u64;
        match &mut self.amount {
            Amount::Int(total) => *total += int_total(words),
            Amount::Float(total) => total.add_all(words),
        }
    }

    fn subtract(&mut self, words: &[u64]) {
        self.count = self.count.saturating_sub(words.len() as u64);
        match &mut self.amount {
            Amount::Int(total) => *total -= int_total(words),
            Amount::Float(total) if self.count == 0 => *total = ExactSum::default(),
            Amount::Float(total) => total.subtract_all(words),
        }
    }

    fn value(&self) -> Outcome {
        match self.count {
            0 => Outcome::Nothing,
            count => (self.finish)(&self.amount, count),
        }
    }
}

fn int_total(words: &[u64]) -> i128 {
    words.iter().map(|w| i128::from(*w as i64)).sum()
}

impl State for Total {
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask) {
        slice.with_picked(mask, |words| self.add(words));
    }

    fn merge(&mut self, later: &dyn State) {
        let Some(later) = later.as_any().downcast_ref::<Self>() else { return };
        self.count += later.count;
        match (&mut self.amount, &later.amount) {
            (Amount::Int(total), Amount::Int(more)) => *total += more,
            (Amount::Float(total), Amount::Float(more)) => total.merge(more),
            _ => {}
        }
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        self.value()
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }

    fn reset(&mut self) {
        self.count = 0;
        self.amount = match self.amount {
            Amount::Int(_) => Amount::Int(0),
            Amount::Float(_) => Amount::Float(ExactSum::default()),
        };
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn bytes(&self) -> usize {
        size_of_val(self)
            + match &self.amount {
                Amount::Int(_) => 0,
                Amount::Float(total) => total.heap_bytes(),
            }
    }
}

impl Sweeper for Total {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        slice.with_picked(mask, |words| self.add(words));
    }

    fn evict(&mut self, slice: &Slice<'_>, mask: &Mask) {
        slice.with_picked(mask, |words| self.subtract(words));
    }

    fn outcome(&mut self, _: &Extent) -> Outcome {
        self.value()
    }
}

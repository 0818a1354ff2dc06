//! `Sum`, `Avg`, `Min` and `Max` of decimals: exact, whatever their number of digits.

use std::any::Any;

use super::extreme::{Extreme, Queue};
use super::{Extent, Mask, Outcome, Slice, State, Sweeper, mask_rows, word_text};
use crate::value::decimal::is_decimal;
use crate::value::{Unscaled, Value, canonical};

/// The integers of the picked rows.
fn picked<'a>(slice: &'a Slice<'_>, mask: &'a Mask) -> impl Iterator<Item = i128> + 'a {
    mask_rows(mask).filter_map(|row| {
        let bytes = word_text(*slice.words.get(row)?, slice.heap);
        Some(i128::from_le_bytes(bytes.try_into().ok()?))
    })
}

/// An exact sum of up to 2^63 integers of 128 bits: that of their upper halves, and that of their lower ones.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wide {
    high: i128,
    low: i128,
}

impl Wide {
    pub(super) fn add(&mut self, value: i128) {
        self.high += value >> 64;
        self.low += value & i128::from(u64::MAX);
    }

    pub(super) fn subtract(&mut self, value: i128) {
        self.high -= value >> 64;
        self.low -= value & i128::from(u64::MAX);
    }

    pub(super) fn merge(&mut self, other: &Wide) {
        self.high += other.high;
        self.low += other.low;
    }

    /// The upper part, and the lower 64 bits.
    fn parts(self) -> (i128, u64) {
        (self.high + (self.low >> 64), self.low as u64)
    }

    fn narrow(self) -> Option<i128> {
        let (high, low) = self.parts();
        Some(i128::from(i64::try_from(high).ok()?) << 64 | i128::from(low))
    }

    /// Its digits.
    fn digits(self) -> String {
        let (mut high, mut low) = self.parts();
        let negative = high < 0;
        if negative {
            high = !high + i128::from(low == 0);
            low = low.wrapping_neg();
        }
        const NINETEEN: u128 = 10u128.pow(19);
        let (mut high, mut groups) = (high as u128, Vec::new());
        while high != 0 || low != 0 {
            let rest = (high % NINETEEN) << 64 | u128::from(low);
            high /= NINETEEN;
            // The rest is less than 10^19 times 2^64, so that this fits again.
            low = (rest / NINETEEN) as u64;
            groups.push(rest % NINETEEN);
        }
        let digits: String = groups.iter().rev().map(|group| format!("{group:019}")).collect();
        let digits = digits.trim_start_matches('0');
        format!("{}{}", if negative { "-" } else { "" }, if digits.is_empty() { "0" } else { digits })
    }
}

/// What is made of a sum, a count and a scale.
type Finish = fn(Wide, u64, u8) -> Outcome;

/// The sum: null, and said so, if it has more than 38 digits.
pub(super) fn sum(total: Wide, _count: u64, scale: u8) -> Outcome {
    match total.narrow().filter(|sum| is_decimal(*sum)) {
        Some(sum) => Outcome::Value(Value::Decimal(scale, Unscaled::new(sum))),
        None => Outcome::Overflow,
    }
}

/// The exact sum rounded once to a float, divided by the count, rounded once.
pub(super) fn avg(total: Wide, count: u64, scale: u8) -> Outcome {
    // Reading decimal digits is correctly rounded, whatever their number.
    let sum: f64 = format!("{}e-{scale}", total.digits()).parse().unwrap_or(f64::NAN);
    Outcome::Value(Value::Float(canonical(sum / count as f64)))
}

/// The sum and the count of the rows.
#[derive(Clone, Debug)]
pub(super) struct Total {
    total: Wide,
    count: u64,
    scale: u8,
    finish: Finish,
}

impl Total {
    pub(super) fn new(scale: u8, finish: Finish) -> Total {
        Total { total: Wide::default(), count: 0, scale, finish }
    }

    fn add(&mut self, slice: &Slice<'_>, mask: &Mask) {
        for value in picked(slice, mask) {
            self.total.add(value);
            self.count += 1;
        }
    }

    fn value(&self) -> Outcome {
        match self.count {
            0 => Outcome::Nothing,
            count => (self.finish)(self.total, count, self.scale),
        }
    }
}

impl State for Total {
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask) {
        self.add(slice, mask);
    }

    fn merge(&mut self, later: &dyn State) {
        let Some(later) = later.as_any().downcast_ref::<Self>() else { return };
        self.total.merge(&later.total);
        self.count += later.count;
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        self.value()
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }

    fn reset(&mut self) {
        (self.total, self.count) = (Wide::default(), 0);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Sweeper for Total {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        self.add(slice, mask);
    }

    fn evict(&mut self, slice: &Slice<'_>, mask: &Mask) {
        for value in picked(slice, mask) {
            self.total.subtract(value);
            self.count = self.count.saturating_sub(1);
        }
    }

    fn outcome(&mut self, _: &Extent) -> Outcome {
        self.value()
    }
}

/// The least or the greatest.
#[derive(Clone, Debug)]
pub(super) struct Best {
    extreme: Extreme,
    scale: u8,
    best: Option<i128>,
}

impl Best {
    pub(super) fn new(extreme: Extreme, scale: u8) -> Best {
        Best { extreme, scale, best: None }
    }

    fn take(&mut self, value: Option<i128>) {
        self.best = match (self.best, value, self.extreme) {
            (Some(a), Some(b), Extreme::Min) => Some(a.min(b)),
            (Some(a), Some(b), Extreme::Max) => Some(a.max(b)),
            (a, b, _) => a.or(b),
        };
    }
}

fn outcome_of(best: Option<i128>, scale: u8) -> Outcome {
    best.map_or(Outcome::Nothing, |v| Outcome::Value(Value::Decimal(scale, Unscaled::new(v))))
}

impl State for Best {
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask) {
        picked(slice, mask).for_each(|value| self.take(Some(value)));
    }

    fn merge(&mut self, later: &dyn State) {
        if let Some(later) = later.as_any().downcast_ref::<Self>() {
            self.take(later.best);
        }
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        outcome_of(self.best, self.scale)
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }

    fn reset(&mut self) {
        self.best = None;
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The rows of a window that can still become its extreme.
#[derive(Debug)]
pub(super) struct BestSweeper {
    extreme: Extreme,
    scale: u8,
    queue: Queue<i128>,
}

impl BestSweeper {
    pub(super) fn new(extreme: Extreme, scale: u8) -> BestSweeper {
        BestSweeper { extreme, scale, queue: Queue::default() }
    }
}

impl Sweeper for BestSweeper {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        for value in picked(slice, mask) {
            let extreme = self.extreme;
            self.queue.push(value, |earlier| match extreme {
                Extreme::Min => *earlier < value,
                Extreme::Max => *earlier > value,
            });
        }
    }

    fn evict(&mut self, slice: &Slice<'_>, mask: &Mask) {
        self.queue.evict(picked(slice, mask).count() as u64);
    }

    fn outcome(&mut self, _: &Extent) -> Outcome {
        outcome_of(self.queue.best().copied(), self.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(values: &[i128]) -> Wide {
        let mut total = Wide::default();
        values.iter().for_each(|v| total.add(*v));
        total
    }

    #[test]
    fn a_sum_may_leave_its_digits_on_the_way_but_not_at_the_end() {
        let most = 10i128.pow(38) - 1;
        let mut sum_of = total(&[most, most, most]);
        assert_eq!(sum_of.digits(), "299999999999999999999999999999999999997");
        assert_eq!(sum(sum_of, 3, 2), Outcome::Overflow);
        sum_of.subtract(most);
        sum_of.add(-most);
        assert_eq!(sum(sum_of, 3, 2), Outcome::Value(Value::Decimal(2, Unscaled::new(most))));
        for values in [&[0][..], &[-1], &[-most, -most], &[1 << 64, -1], &[-(1 << 64)], &[most, -most, 7]] {
            let narrow: Option<i128> = values.iter().try_fold(0i128, |a, v| a.checked_add(*v));
            if let Some(narrow) = narrow {
                assert_eq!(total(values).narrow(), Some(narrow));
                assert_eq!(total(values).digits().parse::<i128>().unwrap(), narrow, "{values:?}");
            }
        }
    }

    #[test]
    fn an_average_is_of_the_exact_sum() {
        assert_eq!(avg(total(&[1, 2]), 2, 2), Outcome::Value(Value::Float(0.015)));
        let most = 10i128.pow(38) - 1;
        assert_eq!(avg(total(&[most; 5]), 5, 0), Outcome::Value(Value::Float(1e38)));
        assert_eq!(avg(total(&[-most; 5]), 5, 38), Outcome::Value(Value::Float(-1.0)));
    }
}

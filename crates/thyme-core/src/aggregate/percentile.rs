//! `ApproxPercentile`: integer counts of values in buckets, each less than a hundredth wide.

use super::tally::{Tallied, Tally, Way};
use super::{
    Absent, Aggregate, Call, DECIMAL_ONE, Extent, Kind, Mask, Outcome, Parameter, Slice, State, Sweeper,
    accept,
};
use crate::error::Result;
use crate::value::{DataType, NAN, Value, canonical};

/// `ApproxPercentile`.
#[derive(Debug)]
pub(super) struct ApproxPercentile;

/// Bits of the mantissa that a bucket ignores: seven are left, so that it is at most 1/128 of its value wide.
const IGNORED_BITS: u32 = 45;

const PARAMETERS: &[Parameter] =
    &[Parameter { name: "pct", kind: Kind::Decimal(0, 100), absent: Absent::Differs }];

impl Aggregate for ApproxPercentile {
    fn name(&self) -> &'static str {
        "approx_percentile"
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn parameters(&self) -> &'static [Parameter] {
        PARAMETERS
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        accept(self, call, &[DataType::Int, DataType::Float])?;
        Ok(DataType::Float)
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        Box::new(Tallied(Buckets::of(call)))
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        Box::new(Tallied(Buckets::of(call)))
    }
}

#[derive(Clone, Debug, Default)]
struct Buckets {
    is_float: bool,
    /// In units of `1 / DECIMAL_ONE`; `None` for the rank of the newest value.
    percent: Option<u64>,
    nans: u64,
    count: u64,
    /// How many values there are in each bucket that has any, in order.
    buckets: Vec<(i32, u64)>,
    /// The bucket of the newest value.
    newest: i32,
}

impl Buckets {
    fn of(call: &Call) -> Buckets {
        let percent = call.settings.decimal("pct").map(i64::unsigned_abs);
        Buckets { is_float: call.of == Some(DataType::Float), percent, ..Buckets::default() }
    }

    fn add(&mut self, bucket: i32, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(at, _)| *at) {
            Ok(found) => self.buckets.iter_mut().skip(found).take(1).for_each(|(_, n)| *n += count),
            Err(place) => self.buckets.insert(place, (bucket, count)),
        }
    }

    fn remove(&mut self, bucket: i32) {
        let Ok(found) = self.buckets.binary_search_by_key(&bucket, |(at, _)| *at) else { return };
        let Some((_, count)) = self.buckets.get_mut(found) else { return };
        *count -= 1;
        if *count == 0 {
            self.buckets.remove(found);
        }
    }

    fn take_word(&mut self, word: u64, way: Way) {
        let value = if self.is_float { f64::from_bits(word) } else { word as i64 as f64 };
        if value.is_nan() {
            self.nans = way.step(self.nans);
            return;
        }
        let bucket = bucket_of(value);
        if way == Way::In {
            self.count += 1;
            self.newest = bucket;
            self.add(bucket, 1);
        } else {
            self.count = self.count.saturating_sub(1);
            self.remove(bucket);
        }
    }

    /// The least value of the bucket that the value at a percentile is in.
    fn at(&self, percent: u64) -> f64 {
        let hundred = 100 * u128::from(DECIMAL_ONE.unsigned_abs());
        let wanted = (u128::from(percent) * u128::from(self.count)).div_ceil(hundred).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().find(|(_, count)| {
            seen += u128::from(*count);
            seen >= wanted
        });
        found.map_or(NAN, |(bucket, _)| value_of(*bucket))
    }

    /// The share of the values that are in no higher bucket than the newest one.
    fn rank(&self) -> f64 {
        let lower = self.buckets.iter().take_while(|(bucket, _)| *bucket <= self.newest);
        lower.map(|(_, count)| count).sum::<u64>() as f64 / self.count as f64
    }
}

/// Buckets are numbered in the order of their values.
fn bucket_of(value: f64) -> i32 {
    let magnitude = (value.abs().to_bits() >> IGNORED_BITS) as i32;
    if value < 0.0 { !magnitude } else { magnitude }
}

/// The value of a bucket that is nearest to zero.
fn value_of(bucket: i32) -> f64 {
    let magnitude = |of: i32| f64::from_bits((of as u64) << IGNORED_BITS);
    if bucket < 0 { canonical(-magnitude(!bucket)) } else { magnitude(bucket) }
}

impl Tally for Buckets {
    fn fresh(&self) -> Self {
        Buckets { is_float: self.is_float, percent: self.percent, ..Buckets::default() }
    }

    fn take(&mut self, slice: &Slice<'_>, mask: &Mask, way: Way) {
        slice.with_picked(mask, |words| words.iter().for_each(|word| self.take_word(*word, way)));
    }

    fn merge(&mut self, later: &Self) {
        self.nans += later.nans;
        if later.count > 0 {
            self.count += later.count;
            self.newest = later.newest;
            later.buckets.iter().for_each(|(bucket, count)| self.add(*bucket, *count));
        }
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        if self.nans > 0 {
            return Outcome::Value(Value::Float(NAN));
        }
        if self.count == 0 {
            return Outcome::Nothing;
        }
        Outcome::Value(Value::Float(self.percent.map_or_else(|| self.rank(), |percent| self.at(percent))))
    }

    fn heap_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<(i32, u64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_is_less_than_a_hundredth_wide_and_keeps_the_order(a in any::<f64>(), b in any::<f64>()) {
            let (a, b) = (canonical(a), canonical(b));
            if a.is_normal() {
                prop_assert!((value_of(bucket_of(a)) - a).abs() <= a.abs() / 128.0);
            }
            if a <= b {
                prop_assert!(bucket_of(a) <= bucket_of(b));
            }
        }
    }

    #[test]
    fn small_ints_are_themselves() {
        for value in -255..=255 {
            assert_eq!(value_of(bucket_of(f64::from(value))), f64::from(value));
        }
        assert_eq!(value_of(bucket_of(f64::INFINITY)), f64::INFINITY);
        assert_eq!(value_of(bucket_of(f64::NEG_INFINITY)), f64::NEG_INFINITY);
        assert_eq!(value_of(bucket_of(-5e-324)).to_bits(), 0);
    }
}

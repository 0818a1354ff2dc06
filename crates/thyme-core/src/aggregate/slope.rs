//! `Slope`: the least squares line through the values over event time, per second.

use num_bigint::BigInt;

use super::big_sum::{BigSum, Finite, raised, round_ratio};
use super::power_sums::unsigned;
use super::tally::{Tallied, Tally, Way};
use super::{Aggregate, Call, Extent, Mask, Outcome, Slice, State, Sweeper, accept, mask_rows};
use crate::error::Result;
use crate::value::{DataType, NAN, Value};

/// `Slope`.
#[derive(Debug)]
pub(super) struct Slope;

impl Aggregate for Slope {
    fn name(&self) -> &'static str {
        "slope"
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        accept(self, call, &[DataType::Int, DataType::Float])?;
        Ok(DataType::Float)
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        Box::new(Tallied(Line { data_type: call.of, ..Line::default() }))
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        Box::new(Tallied(Line { data_type: call.of, ..Line::default() }))
    }
}

/// Exact sums of the times `t`, the values `x`, and their products.
#[derive(Clone, Debug, Default)]
struct Line {
    data_type: Option<DataType>,
    count: u64,
    specials: u64,
    t: i128,
    tt: BigSum,
    x: BigSum,
    tx: BigSum,
}

impl Line {
    fn take_row(&mut self, time: i64, word: u64, way: Way) {
        self.count = way.step(self.count);
        let Some(finite) = Finite::of(self.data_type, word) else {
            self.specials = way.step(self.specials);
            return;
        };
        let out = way == Way::Out;
        let magnitude = time.unsigned_abs();
        self.t += if out { -i128::from(time) } else { i128::from(time) };
        self.tt.add(out, limbs(magnitude, magnitude), 0);
        self.x.add(finite.negative != out, limbs(finite.mantissa, 1), finite.exponent);
        let negative = finite.negative != (time < 0);
        self.tx.add(negative != out, limbs(finite.mantissa, magnitude), finite.exponent);
    }
}

fn limbs(a: u64, b: u64) -> [u64; 4] {
    let product = u128::from(a) * u128::from(b);
    [product as u64, (product >> 64) as u64, 0, 0]
}

impl Tally for Line {
    fn fresh(&self) -> Self {
        Line { data_type: self.data_type, ..Line::default() }
    }

    fn take(&mut self, slice: &Slice<'_>, mask: &Mask, way: Way) {
        for row in mask_rows(mask) {
            if let (Some(time), Some(word)) = (slice.times.get(row), slice.words.get(row)) {
                self.take_row(*time, *word, way);
            }
        }
    }

    fn merge(&mut self, later: &Self) {
        self.count += later.count;
        self.specials += later.specials;
        self.t += later.t;
        self.tt.merge(&later.tt);
        self.x.merge(&later.x);
        self.tx.merge(&later.tx);
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        if self.count == 0 {
            return Outcome::Nothing;
        }
        if self.specials > 0 {
            return Outcome::Value(Value::Float(NAN));
        }
        let (n, t) = (BigInt::from(self.count), BigInt::from(self.t));
        let spread = &n * self.tt.in_units(0) - &t * &t;
        if spread == BigInt::ZERO {
            return Outcome::Value(Value::Null);
        }
        let ((x, x_unit), (tx, tx_unit)) = (self.x.scaled(), self.tx.scaled());
        let unit = x_unit.min(tx_unit);
        let together = n * raised(tx, tx_unit, unit) - t * raised(x, x_unit, unit);
        Outcome::Value(Value::Float(round_ratio(&(together * 1_000_000), unsigned(&spread), unit.into())))
    }

    fn heap_bytes(&self) -> usize {
        self.tt.heap_bytes() + self.x.heap_bytes() + self.tx.heap_bytes()
    }
}

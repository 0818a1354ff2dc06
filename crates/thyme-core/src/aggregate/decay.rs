//! `ExpDecaySum`: values that weigh half as much after each half-life.
//!
//! The weight at `T` of a row of time `t` is `2^((t - T) / h)`. With `t = h (a + u)` and `T = h (b + v)`, where `a` and `b`
//! are integers and `u` and `v` from 0 to 1, that is `2^(a - b) 2^u / 2^v`. So what a row adds, `x 2^a 2^u`, does not depend
//! on `T`: rows are summed up once, exactly, and a read only scales the sum. `2^u` and `2^v` are floats; all the rest is
//! exact and rounded once.

use std::collections::BTreeMap;

use num_bigint::{BigInt, BigUint};

use super::big_sum::{Finite, round_ratio};
use super::special::Specials;
use super::tally::{Tallied, Tally, Way};
use super::{
    Absent, Aggregate, Call, Extent, Kind, Mask, Outcome, Parameter, Slice, State, Sweeper, accept, mask_rows,
};
use crate::error::Result;
use crate::time::Span;
use crate::value::{DataType, Value};

/// `ExpDecaySum`.
#[derive(Debug)]
pub(super) struct ExpDecaySum;

/// A row that is so many half-lives old weighs nothing: no float times its weight is one.
const HALF_LIVES_MAX: i64 = 2200;

const PARAMETERS: &[Parameter] =
    &[Parameter { name: "half_life", kind: Kind::Span, absent: Absent::Required }];

impl Aggregate for ExpDecaySum {
    fn name(&self) -> &'static str {
        "exp_decay_sum"
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

    fn reach(&self, call: &Call) -> Option<Span> {
        Some(Span(half_life(call).saturating_mul(HALF_LIVES_MAX)))
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        Box::new(Tallied(Decaying::new(call.of, half_life(call))))
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        Box::new(Tallied(Decaying::new(call.of, half_life(call))))
    }
}

fn half_life(call: &Call) -> i64 {
    call.settings.span("half_life").map_or(1, |span| span.0.max(1))
}

#[derive(Clone, Debug)]
struct Decaying {
    data_type: Option<DataType>,
    half_life: i64,
    count: u64,
    specials: Specials,
    /// The number is the sum of each digit times `2^(64 index)`. Rows of far apart times have digits that are far apart.
    digits: BTreeMap<i64, i128>,
}

impl Decaying {
    fn new(data_type: Option<DataType>, half_life: i64) -> Decaying {
        Decaying { data_type, half_life, count: 0, specials: Specials::default(), digits: BTreeMap::new() }
    }

    /// A time in half-lives: whole ones, and two to the power of the rest.
    fn scale(&self, time: i64) -> (i64, f64) {
        let rest = time.rem_euclid(self.half_life) as f64 / self.half_life as f64;
        (time.div_euclid(self.half_life), libm::exp2(rest))
    }

    fn take_row(&mut self, time: i64, word: u64, way: Way) {
        self.count = way.step(self.count);
        let Some(finite) = Finite::of(self.data_type, word) else {
            return self.specials.take(word, way);
        };
        let (whole, rest) = self.scale(time);
        let Some(rest) = Finite::of(Some(DataType::Float), rest.to_bits()) else { return };
        let exponent = i64::from(finite.exponent + rest.exponent) + whole;
        let product = u128::from(finite.mantissa) * u128::from(rest.mantissa);
        self.add(finite.negative != (way == Way::Out), product, exponent);
    }

    fn add(&mut self, negative: bool, magnitude: u128, exponent: i64) {
        let (index, shift) = (exponent.div_euclid(64), exponent.rem_euclid(64) as u32);
        let low = u128::from(magnitude as u64) << shift;
        let high = ((magnitude >> 64) << shift) + (low >> 64);
        for (place, digit) in [low as u64, high as u64, (high >> 64) as u64].into_iter().enumerate() {
            if digit != 0 {
                let digit = i128::from(digit);
                self.add_digit(index + place as i64, if negative { -digit } else { digit });
            }
        }
    }

    fn add_digit(&mut self, index: i64, more: i128) {
        let digit = self.digits.entry(index).or_default();
        *digit += more;
        if *digit == 0 {
            self.digits.remove(&index);
        }
    }
}

impl Tally for Decaying {
    fn fresh(&self) -> Self {
        Decaying::new(self.data_type, self.half_life)
    }

    fn take(&mut self, slice: &Slice<'_>, mask: &Mask, way: Way) {
        for row in mask_rows(mask) {
            if let (Some(time), Some(word)) = (slice.times.get(row), slice.words.get(row)) {
                self.take_row(*time, *word, way);
            }
        }
        if self.count == 0 {
            self.digits.clear();
        }
    }

    fn merge(&mut self, later: &Self) {
        self.count += later.count;
        self.specials.merge(&later.specials);
        later.digits.iter().for_each(|(index, digit)| self.add_digit(*index, *digit));
    }

    fn outcome(&self, extent: &Extent) -> Outcome {
        if self.count == 0 {
            return Outcome::Nothing;
        }
        if let Some(special) = self.specials.sum() {
            return Outcome::Value(Value::Float(special));
        }
        let (mut total, mut at) = (BigInt::ZERO, 0);
        for (index, digit) in self.digits.iter().rev() {
            let gap = if total == BigInt::ZERO { 0 } else { at - index };
            total = (total << (64 * gap.unsigned_abs())) + digit;
            at = *index;
        }
        let (whole, rest) = self.scale(extent.until.0);
        let Some(rest) = Finite::of(Some(DataType::Float), rest.to_bits()) else { return Outcome::Nothing };
        let exponent = 64 * at - whole - i64::from(rest.exponent);
        Outcome::Value(Value::Float(round_ratio(&total, &BigUint::from(rest.mantissa), exponent)))
    }

    fn heap_bytes(&self) -> usize {
        self.digits.len() * size_of::<(i64, i128)>() * 3 / 2
    }
}

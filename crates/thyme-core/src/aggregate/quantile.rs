//! `Quantile` and `Median`: exact, over all values of the window.

use std::any::Any;

use num_bigint::BigInt;

use super::big_sum::{Finite, raised, round_ratio};
use super::extreme::order_float;
use super::ordered::Ordered;
use super::power_sums::unsigned;
use super::{
    Absent, Aggregate, Call, DECIMAL_ONE, Extent, Kind, Mask, Outcome, Parameter, Setting, Slice, State,
    Sweeper, accept,
};
use crate::error::Result;
use crate::value::{DataType, NAN, Value};

/// `Quantile` or `Median`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantile {
    /// `Quantile`.
    Any,
    /// `Median`.
    Half,
}

const PARAMETERS: &[Parameter] = &[
    Parameter { name: "q", kind: Kind::Decimal(0, 1), absent: Absent::Required },
    Parameter {
        name: "interpolation",
        kind: Kind::Choice(&["linear", "lower", "higher", "midpoint", "nearest"]),
        absent: Absent::Takes(Setting::Choice("linear")),
    },
];

impl Aggregate for Quantile {
    fn name(&self) -> &'static str {
        match self {
            Quantile::Any => "quantile",
            Quantile::Half => "median",
        }
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn parameters(&self) -> &'static [Parameter] {
        match self {
            Quantile::Any => PARAMETERS,
            Quantile::Half => &[],
        }
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        accept(self, call, &[DataType::Int, DataType::Float])?;
        Ok(DataType::Float)
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    /// They would be as large as the rows.
    fn is_summarised(&self, _call: &Call) -> bool {
        false
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        Box::new(Values { question: Question::of(call), nan: false, ranks: Vec::new() })
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        Box::new(Window { question: Question::of(call), nans: 0, ranks: Ordered::default() })
    }
}

/// What becomes of a place between two values.
#[derive(Clone, Copy, Debug)]
enum Between {
    Linear,
    Lower,
    Higher,
    Midpoint,
    Nearest,
}

#[derive(Clone, Copy, Debug)]
struct Question {
    is_float: bool,
    /// In units of `1 / DECIMAL_ONE`.
    q: u64,
    between: Between,
}

impl Question {
    fn of(call: &Call) -> Question {
        let is = |word| call.settings.chose("interpolation", word);
        let between = match () {
            () if is("lower") => Between::Lower,
            () if is("higher") => Between::Higher,
            () if is("midpoint") => Between::Midpoint,
            () if is("nearest") => Between::Nearest,
            () => Between::Linear,
        };
        let q = call.settings.decimal("q").unwrap_or(DECIMAL_ONE / 2).unsigned_abs();
        Question { is_float: call.of == Some(DataType::Float), q, between }
    }

    /// The place of a word in the order of the values; `None` for NaN.
    fn rank(self, word: u64) -> Option<i64> {
        match self.is_float {
            true if f64::from_bits(word).is_nan() => None,
            true => Some(order_float(word as i64)),
            false => Some(word as i64),
        }
    }

    /// The places that the answer lies between, and how far from the first to the second: in units of `1 / DECIMAL_ONE`.
    fn place(self, count: usize) -> (usize, usize, u64) {
        let one = DECIMAL_ONE.unsigned_abs();
        let exact = u128::from(self.q) * count.saturating_sub(1) as u128;
        let (index, rest) = ((exact / u128::from(one)) as usize, (exact % u128::from(one)) as u64);
        let next = index + usize::from(rest > 0);
        match self.between {
            _ if rest == 0 => (index, index, 0),
            Between::Linear => (index, next, rest),
            Between::Midpoint => (index, next, one / 2),
            Between::Higher => (next, next, 0),
            Between::Nearest if rest * 2 > one => (next, next, 0),
            Between::Lower | Between::Nearest => (index, index, 0),
        }
    }

    fn word(self, rank: i64) -> u64 {
        if self.is_float { order_float(rank) as u64 } else { rank as u64 }
    }

    fn float(self, rank: i64) -> f64 {
        if self.is_float { f64::from_bits(self.word(rank)) } else { rank as f64 }
    }

    /// The exact value between two, rounded once.
    fn mixed(self, low: i64, high: i64, part: u64) -> f64 {
        if low == high || part == 0 {
            return self.float(low);
        }
        let data_type = Some(if self.is_float { DataType::Float } else { DataType::Int });
        let finite = |rank| Finite::of(data_type, self.word(rank)).map(Finite::scaled);
        let (Some((low_value, low_unit)), Some((high_value, high_unit))) = (finite(low), finite(high)) else {
            let sum = self.float(low) + self.float(high);
            return if sum.is_nan() { NAN } else { sum };
        };
        let unit = low_unit.min(high_unit);
        let one = DECIMAL_ONE.unsigned_abs();
        let total =
            raised(low_value, low_unit, unit) * (one - part) + raised(high_value, high_unit, unit) * part;
        round_ratio(&total, unsigned(&BigInt::from(one)), unit.into())
    }
}

/// All values.
#[derive(Clone, Debug)]
struct Values {
    question: Question,
    nan: bool,
    ranks: Vec<i64>,
}

impl State for Values {
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask) {
        let question = self.question;
        slice.with_picked(mask, |words| {
            for word in words {
                match question.rank(*word) {
                    Some(rank) => self.ranks.push(rank),
                    None => self.nan = true,
                }
            }
        });
    }

    fn merge(&mut self, later: &dyn State) {
        if let Some(later) = later.as_any().downcast_ref::<Self>() {
            self.nan |= later.nan;
            self.ranks.extend(&later.ranks);
        }
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        if self.nan {
            return Outcome::Value(Value::Float(NAN));
        }
        if self.ranks.is_empty() {
            return Outcome::Nothing;
        }
        let (low, high, part) = self.question.place(self.ranks.len());
        let mut ranks = self.ranks.clone();
        let (_, first, above) = ranks.select_nth_unstable(low);
        let first = *first;
        let second = if high == low { first } else { above.iter().min().copied().unwrap_or(first) };
        Outcome::Value(Value::Float(self.question.mixed(first, second, part)))
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }

    fn reset(&mut self) {
        self.nan = false;
        self.ranks.clear();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn bytes(&self) -> usize {
        size_of_val(self) + self.ranks.capacity() * size_of::<i64>()
    }
}

/// The values of the window in order.
#[derive(Debug)]
struct Window {
    question: Question,
    nans: usize,
    ranks: Ordered,
}

impl Sweeper for Window {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        let question = self.question;
        slice.with_picked(mask, |words| {
            for word in words {
                match question.rank(*word) {
                    Some(rank) => self.ranks.insert(rank),
                    None => self.nans += 1,
                }
            }
        });
    }

    fn evict(&mut self, slice: &Slice<'_>, mask: &Mask) {
        let question = self.question;
        slice.with_picked(mask, |words| {
            for word in words {
                match question.rank(*word) {
                    Some(rank) => self.ranks.remove(rank),
                    None => self.nans = self.nans.saturating_sub(1),
                }
            }
        });
    }

    fn outcome(&mut self, _: &Extent) -> Outcome {
        if self.nans > 0 {
            return Outcome::Value(Value::Float(NAN));
        }
        let (low, high, part) = self.question.place(self.ranks.len());
        match (self.ranks.nth(low), self.ranks.nth(high)) {
            (Some(low), Some(high)) => Outcome::Value(Value::Float(self.question.mixed(low, high, part))),
            _ => Outcome::Nothing,
        }
    }
}

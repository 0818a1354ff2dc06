//! Aggregates: one file each, one registry.
//!
//! A timeline hands an aggregate its rows as [`Slice`]s: up to [`SLICE_ROWS_MAX`] rows in (event time,
//! position) order, the values of the `of` column as 64-bit words, and a [`Mask`] of the rows that
//! count (in the window, `where` true, not null, visible). Every state is exact, so that it does not
//! matter how the rows were cut into slices, and two states of adjacent spans merge into the state
//! of both.
//!
//! A new aggregate is one file that implements [`Aggregate`] and one line in [`all`].

mod avg;
mod count;
mod decimal;
mod edge;
mod exact_sum;
mod extreme;
mod slice;
mod sum;
mod total;

use std::any::Any;
use std::fmt::Debug;

pub use exact_sum::ExactSum;
pub use slice::{
    Mask, SLICE_ROWS_MAX, Slice, mask_count, mask_first, mask_last, mask_range, mask_rows, word_text,
    word_value,
};

use crate::error::{Error, Result};
use crate::value::{DataType, Scalar, Value};

/// What an aggregate comes to over some rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Over no rows: the caller applies the `default=`, or [`Aggregate::empty`].
    Nothing,
    /// The value.
    Value(Value),
    /// An int outside int64: null, and an event of severity `error` says so.
    Overflow,
}

/// One aggregate of the language.
pub trait Aggregate: Send + Sync + Debug {
    /// Its name in definitions, in lower case.
    fn name(&self) -> &'static str;

    /// Whether it must be given a field; if not, `of` is optional.
    fn needs_of(&self) -> bool;

    /// The type of its value over a column of type `of`.
    ///
    /// # Errors
    /// A type it is not defined on, or no `of` where one is needed; the sentence says what is.
    fn output_type(&self, of: Option<DataType>) -> Result<DataType>;

    /// Its value over no rows, where neither the aggregate nor the feature has a `default=`.
    fn empty(&self, output: DataType) -> Value;

    /// A state over no rows. `of` must be a type that [`Aggregate::output_type`] accepts.
    fn state(&self, of: Option<DataType>) -> Box<dyn State>;

    /// A sweeper over no rows. `of` must be a type that [`Aggregate::output_type`] accepts.
    fn sweeper(&self, of: Option<DataType>) -> Box<dyn Sweeper>;
}

/// The summary of some rows: it takes more of them and other summaries, and never forgets.
pub trait State: Send + Sync + Debug {
    /// Takes the rows that `mask` picks; they come after all earlier ones.
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask);

    /// Takes the rows that `later`, a state of the same aggregate and type, stands for; they come after all earlier ones.
    fn merge(&mut self, later: &dyn State);

    /// What the rows come to.
    fn outcome(&self) -> Outcome;

    /// A copy.
    fn boxed_clone(&self) -> Box<dyn State>;

    /// Forgets all rows.
    fn reset(&mut self);

    /// For [`State::merge`].
    fn as_any(&self) -> &dyn Any;

    /// Bytes of memory, itself included.
    fn bytes(&self) -> usize {
        size_of_val(self)
    }
}

/// A window that slides forward: rows are pushed in order and evicted in the same order.
pub trait Sweeper: Send + Debug {
    /// Takes the rows that `mask` picks; they come after all earlier ones.
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask);

    /// Forgets the rows that `mask` picks: the oldest pushed ones not yet evicted, in order.
    fn evict(&mut self, slice: &Slice<'_>, mask: &Mask);

    /// What the rows in the window come to.
    fn outcome(&mut self) -> Outcome;
}

/// The aggregate called `name`.
pub fn lookup(name: &str) -> Option<&'static dyn Aggregate> {
    all().iter().copied().find(|aggregate| aggregate.name() == name)
}

/// Every aggregate there is.
pub fn all() -> &'static [&'static dyn Aggregate] {
    &[
        &count::Count,
        &sum::Sum,
        &avg::Avg,
        &extreme::Extreme::Min,
        &extreme::Extreme::Max,
        &edge::Edge::First,
        &edge::Edge::Last,
    ]
}

/// The type of `of`, if it is of the kind of one of `accepted`, whatever its parameters are.
fn accept(aggregate: &dyn Aggregate, of: Option<DataType>, accepted: &[DataType]) -> Result<DataType> {
    let name = aggregate.name();
    let names = || accepted.iter().map(|t| kind(*t)).collect::<Vec<_>>().join(", ");
    match of {
        Some(data_type) if accepted.iter().any(|t| kind(*t) == kind(data_type)) => Ok(data_type),
        Some(data_type) => Err(Error::invalid_definition(format!(
            "{name} is not defined on a field of type {data_type}: expected one of {}",
            names()
        ))),
        None => Err(Error::invalid_definition(format!(
            "{name} needs a field: expected of= with the name of a field of type {}",
            names()
        ))),
    }
}

/// The name of a type without its parameters.
fn kind(data_type: DataType) -> &'static str {
    match data_type {
        DataType::Decimal(_) => "decimal",
        DataType::List(_) => "list",
        DataType::Map(_) => "dict",
        DataType::Vector(_) => "vector",
        plain => plain.name(),
    }
}

/// Any type at all, one of each kind.
const ANY: &[DataType] = &[
    DataType::Int,
    DataType::Float,
    DataType::Str,
    DataType::Bool,
    DataType::Datetime,
    DataType::Date,
    DataType::Bytes,
    DataType::Decimal(2),
    DataType::List(Scalar::Str),
    DataType::Map(Scalar::Int),
    DataType::Vector(2),
    DataType::Json,
];

/// The types whose values are in an order, one of each kind.
const ORDERED: &[DataType] = &[
    DataType::Int,
    DataType::Float,
    DataType::Str,
    DataType::Bool,
    DataType::Datetime,
    DataType::Date,
    DataType::Decimal(2),
];

/// The types that are added up, one of each kind.
const NUMBERS: &[DataType] = &[DataType::Int, DataType::Float, DataType::Decimal(2)];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Unscaled, encoding, tests::values_of};

    /// Two values of a type, as words into a heap.
    fn two_values(of: DataType) -> ([u64; 2], Vec<u8>) {
        let mut heap = Vec::new();
        if of.is_word() {
            return ([0, 1], heap);
        }
        let values = values_of(of);
        let words = [&values[0], &values[2]].map(|value| {
            let start = heap.len();
            encoding::encode(value, &mut heap);
            (start << 32 | (heap.len() - start)) as u64
        });
        (words, heap)
    }

    #[test]
    fn every_name_finds_its_aggregate() {
        for name in ["count", "sum", "avg", "min", "max", "first", "last"] {
            assert_eq!(lookup(name).unwrap().name(), name);
        }
        assert_eq!(all().len(), 7);
        assert!(lookup("Count").is_none() && lookup("").is_none());
    }

    #[test]
    fn types_of_outputs() {
        let output = |name: &str, of| lookup(name).unwrap().output_type(of);
        assert_eq!(output("count", None).unwrap(), DataType::Int);
        for &of in ANY {
            assert_eq!(output("count", Some(of)).unwrap(), DataType::Int);
            for name in ["first", "last"] {
                assert_eq!(output(name, Some(of)).unwrap(), of);
            }
            for name in ["min", "max"] {
                assert_eq!(output(name, Some(of)).ok(), ORDERED.contains(&of).then_some(of));
            }
        }
        for &of in NUMBERS {
            assert_eq!(output("sum", Some(of)).unwrap(), of);
            assert_eq!(output("avg", Some(of)).unwrap(), DataType::Float);
        }
        assert_eq!(
            output("sum", Some(DataType::Str)).unwrap_err().to_string(),
            "sum is not defined on a field of type str: expected one of int, float, decimal"
        );
        assert_eq!(
            output("avg", None).unwrap_err().to_string(),
            "avg needs a field: expected of= with the name of a field of type int, float, decimal"
        );
    }

    #[test]
    fn over_nothing_count_and_sum_are_zero_and_all_others_null() {
        for aggregate in all() {
            for &of in ANY {
                let Ok(output) = aggregate.output_type(Some(of)) else { continue };
                let expected = match (aggregate.name(), output) {
                    ("count" | "sum", DataType::Int) => Value::Int(0),
                    ("sum", DataType::Decimal(scale)) => Value::Decimal(scale, Unscaled::new(0)),
                    ("sum", _) => Value::Float(0.0),
                    _ => Value::Null,
                };
                assert_eq!(aggregate.empty(output), expected);
                assert_eq!(aggregate.state(Some(of)).outcome(), Outcome::Nothing);
                assert_eq!(aggregate.sweeper(Some(of)).outcome(), Outcome::Nothing);
            }
        }
    }

    #[test]
    fn a_state_copies_itself_and_can_start_again() {
        let times = [1, 2];
        for aggregate in all() {
            for &of in ANY {
                if aggregate.output_type(Some(of)).is_err() {
                    continue;
                }
                let (words, heap) = two_values(of);
                let slice = Slice {
                    times: &times,
                    positions: &[1, 2],
                    data_type: Some(of),
                    words: &words,
                    heap: &heap,
                };
                let mut state = aggregate.state(Some(of));
                state.absorb(&slice, &mask_range(0, 2));
                let copy = state.boxed_clone();
                let outcome = state.outcome();
                assert!(matches!(outcome, Outcome::Value(_)) && state.bytes() > 0);
                state.reset();
                assert_eq!(state.outcome(), Outcome::Nothing);
                assert_eq!(copy.outcome(), outcome);
                state.merge(copy.as_ref());
                assert_eq!(state.outcome(), outcome);
            }
        }
    }
}

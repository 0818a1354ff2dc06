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
mod big_sum;
mod count;
mod count_distinct;
mod decay;
mod decimal;
mod difference;
mod edge;
mod elements;
mod ends;
mod entropy;
mod exact_sum;
mod extreme;
mod grouped;
mod histogram;
mod hyper_log_log;
mod member;
mod moments;
mod ordered;
mod parameter;
mod percentile;
mod power_sums;
mod quantile;
mod rank;
mod rate;
mod since;
mod slice;
mod slope;
mod special;
mod sum;
mod tally;
mod top;
mod total;
mod values;

use std::any::Any;
use std::fmt::Debug;

pub use exact_sum::ExactSum;
pub use parameter::{
    Absent, Argument, DECIMAL_ONE, Kind, Parameter, ParameterFault, SAMPLE_COLUMN, Setting, Settings,
    further, sample_arguments,
};
pub use slice::{
    Mask, SLICE_ROWS_MAX, Slice, mask_count, mask_first, mask_last, mask_range, mask_rows, word_text,
    word_value,
};

use crate::error::{Error, Result};
use crate::time::Span;
use crate::value::{DataType, Scalar, Value};
use crate::window::Extent;

/// What an aggregate comes to over some rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Over no rows: the caller applies the `default=`, or [`Aggregate::empty`].
    Nothing,
    /// The value.
    Value(Value),
    /// The value, without so many of its parts, which were beyond its limit.
    Cut(Value, u64),
    /// An int outside int64: null, and an event of severity `error` says so.
    Overflow,
}

/// What an aggregate is applied to: two calls of it that are equal come to the same over the same rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// The type of the `of` column; `None` without one.
    pub of: Option<DataType>,
    /// The type of the column that a parameter names ([`Kind::Column`]); `None` without one.
    pub by: Option<DataType>,
    /// What its parameters are set to.
    pub settings: Settings,
}

impl Call {
    /// A call over a column of this type, with the settings that stand for no parameters.
    pub fn of(of: Option<DataType>) -> Call {
        Call { of, ..Call::default() }
    }
}

/// One aggregate of the language.
pub trait Aggregate: Send + Sync + Debug {
    /// Its name in definitions, in lower case.
    fn name(&self) -> &'static str;

    /// Whether it must be given a field; if not, `of` is optional.
    fn needs_of(&self) -> bool;

    /// The parameters it takes.
    fn parameters(&self) -> &'static [Parameter] {
        &[]
    }

    /// The type of its value.
    ///
    /// # Errors
    /// A type it is not defined on, or no `of` where one is needed; the sentence says what is.
    fn output_type(&self, call: &Call) -> Result<DataType>;

    /// Its value over no rows, where neither the aggregate nor the feature has a `default=`.
    fn empty(&self, output: DataType) -> Value;

    /// Whether it says something only of a window that has a beginning.
    fn needs_window(&self) -> bool {
        false
    }

    /// How old a row may be at `T` to count at all, whatever the window.
    fn reach(&self, _call: &Call) -> Option<Span> {
        None
    }

    /// Whether summaries of chunks are worth their memory; if not, reads fold the rows.
    fn is_summarised(&self, _call: &Call) -> bool {
        true
    }

    /// Whether rows where `of` is null count too.
    fn keeps_nulls(&self, _call: &Call) -> bool {
        false
    }

    /// A state over no rows. [`Aggregate::output_type`] must accept the call.
    fn state(&self, call: &Call) -> Box<dyn State>;

    /// A sweeper over no rows. [`Aggregate::output_type`] must accept the call.
    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper>;
}

/// The summary of some rows: it takes more of them and other summaries, and never forgets.
pub trait State: Send + Sync + Debug {
    /// Takes the rows that `mask` picks; they come after all earlier ones.
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask);

    /// Takes the rows that `later`, a state of the same aggregate and type, stands for; they come after all earlier ones.
    fn merge(&mut self, later: &dyn State);

    /// What the rows come to, which are those of `extent`.
    fn outcome(&self, extent: &Extent) -> Outcome;

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

    /// What the rows in the window come to, which are those of `extent`.
    fn outcome(&mut self, extent: &Extent) -> Outcome;
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
        &ends::Ends::First,
        &ends::Ends::Last,
        &moments::Moment::Variance,
        &moments::Moment::Stddev,
        &moments::Moment::Skew,
        &moments::Moment::Kurtosis,
        &difference::Difference::Range,
        &difference::Difference::Delta,
        &quantile::Quantile::Any,
        &quantile::Quantile::Half,
        &percentile::ApproxPercentile,
        &count_distinct::CountDistinct,
        &entropy::EntropyOf,
        &since::Since::Last,
        &since::Since::First,
        &decay::ExpDecaySum,
        &slope::Slope,
        &rate::Rate,
        &top::Best::Top,
        &top::Best::Bottom,
        &values::Values::Distinct,
        &values::Values::MostFrequent,
        &grouped::Grouped::Count,
        &grouped::Grouped::Sum,
        &grouped::Grouped::Avg,
        &histogram::Histogram,
    ]
}

/// The type of `of`, if it is of the kind of one of `accepted`, whatever its parameters are.
fn accept(aggregate: &dyn Aggregate, call: &Call, accepted: &[DataType]) -> Result<DataType> {
    let (name, names) = (aggregate.name(), kinds(accepted));
    fitting(call.of, accepted, |of| match of {
        Some(of) => format!("{name} is not defined on a field of type {of}: expected one of {names}"),
        None => format!("{name} needs a field: expected of= with the name of a field of type {names}"),
    })
}

/// The type of the column that `parameter` names, if it is of the kind of one of `accepted`.
fn accept_by(
    aggregate: &dyn Aggregate,
    call: &Call,
    parameter: &str,
    accepted: &[DataType],
) -> Result<DataType> {
    let (name, names) = (aggregate.name(), kinds(accepted));
    fitting(call.by, accepted, |by| match by {
        Some(by) => {
            format!("{name} does not take a column of type {by} as {parameter}=: expected one of {names}")
        }
        None => format!("{name} needs {parameter}= with the name of a column of type {names}"),
    })
}

fn fitting(
    given: Option<DataType>,
    accepted: &[DataType],
    refusal: impl Fn(Option<DataType>) -> String,
) -> Result<DataType> {
    let fits = |given: &DataType| accepted.iter().any(|data_type| kind(*data_type) == kind(*given));
    given.filter(fits).ok_or_else(|| Error::invalid_definition(refusal(given)))
}

fn kinds(accepted: &[DataType]) -> String {
    accepted.iter().map(|data_type| kind(*data_type)).collect::<Vec<_>>().join(", ")
}

/// The type of a list of `of`, which is one of [`SCALARS`].
fn list_of(aggregate: &dyn Aggregate, call: &Call) -> Result<DataType> {
    let of = accept(aggregate, call, SCALARS)?;
    of.scalar().map(DataType::List).ok_or_else(|| Error::internal(format!("a list cannot hold {of}")))
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

/// What a list may hold, one of each kind.
const SCALARS: &[DataType] = &[
    DataType::Int,
    DataType::Float,
    DataType::Str,
    DataType::Bool,
    DataType::Datetime,
    DataType::Date,
    DataType::Bytes,
    DataType::Decimal(2),
];

/// The types of numbers, one of each kind.
const NUMBERS: &[DataType] = &[DataType::Int, DataType::Float, DataType::Decimal(2)];

/// The types that are added up, one of each kind.
const SUMMED: &[DataType] = &[DataType::Int, DataType::Float, DataType::Decimal(2), DataType::Vector(2)];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Unscaled, encoding, tests::values_of};

    /// Two values of a type, as words into a heap.
    fn two_values(of: DataType, heap: &mut Vec<u8>) -> [u64; 2] {
        if of.is_word() {
            return [0, 1];
        }
        let values = values_of(of);
        [&values[0], &values[2]].map(|value| {
            let start = heap.len();
            encoding::encode(value, heap);
            (start << 32 | (heap.len() - start)) as u64
        })
    }

    /// Calls over every type with parameters of all kinds.
    fn calls(aggregate: &dyn Aggregate) -> Vec<Call> {
        let mut calls = Vec::new();
        for arguments in sample_arguments(aggregate) {
            let settings = Settings::of(aggregate, &arguments).unwrap();
            let bys: Vec<Option<DataType>> = match further(aggregate, &arguments) {
                Some(_) => ANY.iter().copied().map(Some).collect(),
                None => vec![None],
            };
            for by in bys {
                let call = |of: &DataType| Call { of: Some(*of), by, settings: settings.clone() };
                calls.extend(ANY.iter().map(call));
            }
        }
        calls
    }

    #[test]
    fn every_name_finds_its_aggregate() {
        for name in ["count", "sum", "avg", "min", "max", "first", "last"] {
            assert_eq!(lookup(name).unwrap().name(), name);
        }
        let names: std::collections::BTreeSet<_> = all().iter().map(|aggregate| aggregate.name()).collect();
        assert_eq!(names.len(), all().len());
        assert!(lookup("Count").is_none() && lookup("").is_none());
    }

    #[test]
    fn types_of_outputs() {
        let output = |name: &str, of| lookup(name).unwrap().output_type(&Call::of(of));
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
        assert_eq!(output("avg", Some(DataType::Vector(2))).unwrap(), DataType::Vector(2));
        assert_eq!(
            output("sum", Some(DataType::Str)).unwrap_err().to_string(),
            "sum is not defined on a field of type str: expected one of int, float, decimal, vector"
        );
        assert_eq!(
            output("avg", None).unwrap_err().to_string(),
            "avg needs a field: expected of= with the name of a field of type int, float, decimal, vector"
        );
    }

    #[test]
    fn over_nothing_count_and_sum_are_zero_and_all_others_null() {
        for aggregate in all() {
            for call in calls(*aggregate) {
                let Ok(output) = aggregate.output_type(&call) else { continue };
                let expected = match (aggregate.name(), output) {
                    ("count" | "count_distinct" | "sum", DataType::Int) => Value::Int(0),
                    ("sum", DataType::Vector(n)) => Value::Vector(vec![0.0; n as usize].into()),
                    ("sum", DataType::Decimal(scale)) => Value::Decimal(scale, Unscaled::new(0)),
                    ("sum", _) => Value::Float(0.0),
                    ("first_k" | "last_k", DataType::List(item)) => Value::List(item, [].into()),
                    _ => Value::Null,
                };
                assert_eq!(aggregate.empty(output), expected);
                assert_eq!(aggregate.state(&call).outcome(&Extent::ALL), Outcome::Nothing);
                assert_eq!(aggregate.sweeper(&call).outcome(&Extent::ALL), Outcome::Nothing);
            }
        }
    }

    #[test]
    fn a_state_copies_itself_and_can_start_again() {
        let times = [1, 2];
        for aggregate in all() {
            for call in calls(*aggregate) {
                if aggregate.output_type(&call).is_err() {
                    continue;
                }
                let of = call.of.unwrap();
                let mut heap = Vec::new();
                let words = two_values(of, &mut heap);
                let by = call.by.map(|by| two_values(by, &mut heap)).unwrap_or_default();
                let slice = Slice {
                    times: &times,
                    positions: &[1, 2],
                    data_type: Some(of),
                    words: &words,
                    heap: &heap,
                    by: &by,
                    ..Slice::default()
                };
                let mut state = aggregate.state(&call);
                state.absorb(&slice, &mask_range(0, 2));
                let copy = state.boxed_clone();
                let outcome = state.outcome(&Extent::ALL);
                assert!(matches!(outcome, Outcome::Value(_) | Outcome::Cut(..)) && state.bytes() > 0);
                state.reset();
                assert_eq!(state.outcome(&Extent::ALL), Outcome::Nothing);
                assert_eq!(copy.outcome(&Extent::ALL), outcome);
                state.merge(copy.as_ref());
                assert_eq!(state.outcome(&Extent::ALL), outcome);
            }
        }
    }
}

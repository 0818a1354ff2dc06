//! `Histogram`: how many values lie between given edges.

use std::cmp::Ordering;

use super::tally::{Tallied, Tally, Way};
use super::{Absent, Aggregate, Call, Extent, Kind, Mask, Outcome, Parameter, Slice, State, Sweeper, accept};
use crate::error::Result;
use crate::value::{DataType, Scalar, Value};

/// `Histogram`.
#[derive(Debug)]
pub(super) struct Histogram;

const PARAMETERS: &[Parameter] = &[Parameter { name: "bins", kind: Kind::Edges, absent: Absent::Required }];

impl Aggregate for Histogram {
    fn name(&self) -> &'static str {
        "histogram"
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn parameters(&self) -> &'static [Parameter] {
        PARAMETERS
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        accept(self, call, &[DataType::Int, DataType::Float])?;
        Ok(DataType::List(Scalar::Int))
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    /// Many edges would take more than the rows.
    fn is_summarised(&self, call: &Call) -> bool {
        call.settings.edges("bins").len() < 64
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        Box::new(Tallied(Bins::of(call)))
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        Box::new(Tallied(Bins::of(call)))
    }
}

/// The values below the first edge, between each two, and from the last one on.
#[derive(Clone, Debug, Default)]
struct Bins {
    is_float: bool,
    edges: std::sync::Arc<[f64]>,
    counts: Box<[u64]>,
    nans: u64,
}

/// Whether an int is less than a float, exactly.
fn is_below(int: i64, edge: f64) -> bool {
    // Beyond these every float is beyond every int; between them the part before the point is one.
    match edge {
        edge if edge >= 9_223_372_036_854_775_808.0 => true,
        edge if edge < -9_223_372_036_854_775_808.0 => false,
        edge => match int.cmp(&(edge.trunc() as i64)) {
            Ordering::Equal => edge.fract() > 0.0,
            order => order == Ordering::Less,
        },
    }
}

impl Bins {
    fn of(call: &Call) -> Bins {
        let edges: std::sync::Arc<[f64]> = call.settings.edges("bins").into();
        let counts = vec![0; edges.len() + 1].into_boxed_slice();
        Bins { is_float: call.of == Some(DataType::Float), edges, counts, nans: 0 }
    }

    fn take_word(&mut self, word: u64, way: Way) {
        let bin = if self.is_float {
            let value = f64::from_bits(word);
            if value.is_nan() {
                self.nans = way.step(self.nans);
                return;
            }
            self.edges.partition_point(|edge| *edge <= value)
        } else {
            self.edges.partition_point(|edge| !is_below(word as i64, *edge))
        };
        if let Some(count) = self.counts.get_mut(bin) {
            *count = way.step(*count);
        }
    }
}

impl Tally for Bins {
    fn fresh(&self) -> Self {
        let counts = vec![0; self.counts.len()].into_boxed_slice();
        Bins { is_float: self.is_float, edges: self.edges.clone(), counts, nans: 0 }
    }

    fn take(&mut self, slice: &Slice<'_>, mask: &Mask, way: Way) {
        slice.with_picked(mask, |words| words.iter().for_each(|word| self.take_word(*word, way)));
    }

    fn merge(&mut self, later: &Self) {
        self.nans += later.nans;
        self.counts.iter_mut().zip(&later.counts).for_each(|(count, more)| *count += more);
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        if self.nans == 0 && self.counts.iter().all(|count| *count == 0) {
            return Outcome::Nothing;
        }
        let counts = self.counts.iter().map(|count| Value::Int(*count as i64)).collect();
        Outcome::Value(Value::List(Scalar::Int, counts))
    }

    fn heap_bytes(&self) -> usize {
        size_of_val(self.edges.as_ref()) + size_of_val(self.counts.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ints_are_compared_with_edges_exactly() {
        let most = i64::MAX;
        for (int, edge, below) in [
            (most, 9_223_372_036_854_775_808.0, true),
            (most, 9_223_372_036_854_774_784.0, false),
            (i64::MIN, -9_223_372_036_854_775_808.0, false),
            (i64::MIN, f64::NEG_INFINITY, false),
            (9_007_199_254_740_993, 9_007_199_254_740_992.0, false),
            (9_007_199_254_740_991, 9_007_199_254_740_992.0, true),
            (2, 2.5, true),
            (3, 2.5, false),
            (-2, -2.5, false),
            (-3, -2.5, true),
            (0, -0.5, false),
            (0, 0.0, false),
        ] {
            assert_eq!(is_below(int, edge), below, "{int} {edge}");
        }
    }
}

//! `First` and `Last`: the value of the earliest and the latest row by (event time, position).

use std::any::Any;
use std::collections::VecDeque;

use super::{
    ANY, Aggregate, Call, Extent, Mask, Outcome, Slice, State, Sweeper, accept, mask_count, mask_first,
    mask_last, mask_rows,
};
use crate::error::Result;
use crate::value::{DataType, Value};

/// `First` or `Last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// `First`.
    First,
    /// `Last`.
    Last,
}

impl Aggregate for Edge {
    fn name(&self) -> &'static str {
        match self {
            Edge::First => "first",
            Edge::Last => "last",
        }
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        accept(self, call, ANY)
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    fn state(&self, _call: &Call) -> Box<dyn State> {
        Box::new(EdgeState { edge: *self, value: None })
    }

    fn sweeper(&self, _call: &Call) -> Box<dyn Sweeper> {
        match self {
            Edge::First => Box::<FirstSweeper>::default(),
            Edge::Last => Box::<LastSweeper>::default(),
        }
    }
}

fn outcome_of(value: Option<&Value>) -> Outcome {
    value.map_or(Outcome::Nothing, |v| Outcome::Value(v.clone()))
}

/// The value at the edge so far.
#[derive(Clone, Debug)]
struct EdgeState {
    edge: Edge,
    value: Option<Value>,
}

impl State for EdgeState {
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask) {
        match self.edge {
            Edge::First if self.value.is_some() => {}
            Edge::First => self.value = mask_first(mask).map(|row| slice.value(row)),
            Edge::Last => {
                if let Some(row) = mask_last(mask) {
                    self.value = Some(slice.value(row));
                }
            }
        }
    }

    fn merge(&mut self, later: &dyn State) {
        let Some(later) = later.as_any().downcast_ref::<Self>() else { return };
        let keep = match self.edge {
            Edge::First => self.value.is_some(),
            Edge::Last => later.value.is_none(),
        };
        if !keep {
            self.value.clone_from(&later.value);
        }
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        outcome_of(self.value.as_ref())
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }

    fn reset(&mut self) {
        self.value = None;
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn bytes(&self) -> usize {
        let beside = self.value.as_ref().map_or(0, |value| value.bytes() - size_of_val(value));
        size_of_val(self) + beside
    }
}

/// All values of the window: each becomes the first once those before it are evicted.
#[derive(Debug, Default)]
struct FirstSweeper(VecDeque<Value>);

impl Sweeper for FirstSweeper {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        self.0.extend(mask_rows(mask).map(|row| slice.value(row)));
    }

    fn evict(&mut self, _slice: &Slice<'_>, mask: &Mask) {
        self.0.drain(..mask_count(mask).min(self.0.len()));
    }

    fn outcome(&mut self, _: &Extent) -> Outcome {
        outcome_of(self.0.front())
    }
}

/// The newest value stays the last until the window is empty.
#[derive(Debug, Default)]
struct LastSweeper {
    rows: usize,
    value: Option<Value>,
}

impl Sweeper for LastSweeper {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        if let Some(row) = mask_last(mask) {
            self.rows += mask_count(mask);
            self.value = Some(slice.value(row));
        }
    }

    fn evict(&mut self, _slice: &Slice<'_>, mask: &Mask) {
        self.rows = self.rows.saturating_sub(mask_count(mask));
        if self.rows == 0 {
            self.value = None;
        }
    }

    fn outcome(&mut self, _: &Extent) -> Outcome {
        outcome_of(self.value.as_ref())
    }
}

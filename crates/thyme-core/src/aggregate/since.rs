//! `TimeSinceLast` and `TimeSinceFirst`: seconds from the newest and the oldest row to the time of the question.

use std::any::Any;
use std::collections::VecDeque;

use super::{
    ANY, Aggregate, Call, Extent, Mask, Outcome, Slice, State, Sweeper, accept, mask_count, mask_first,
    mask_last, mask_rows,
};
use crate::error::Result;
use crate::value::{DataType, Value};

/// `TimeSinceLast` or `TimeSinceFirst`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// `TimeSinceLast`.
    Last,
    /// `TimeSinceFirst`.
    First,
}

impl Aggregate for Since {
    fn name(&self) -> &'static str {
        match self {
            Since::Last => "time_since_last",
            Since::First => "time_since_first",
        }
    }

    fn needs_of(&self) -> bool {
        false
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        if call.of.is_some() {
            accept(self, call, ANY)?;
        }
        Ok(DataType::Float)
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    fn state(&self, _call: &Call) -> Box<dyn State> {
        Box::new(Edge { since: *self, time: None })
    }

    fn sweeper(&self, _call: &Call) -> Box<dyn Sweeper> {
        match self {
            Since::Last => Box::<Newest>::default(),
            Since::First => Box::<Oldest>::default(),
        }
    }
}

fn outcome_of(time: Option<i64>, extent: &Extent) -> Outcome {
    let since = |time: i64| (i128::from(extent.until.0) - i128::from(time)) as f64 / 1e6;
    time.map_or(Outcome::Nothing, |time| Outcome::Value(Value::Float(since(time))))
}

#[derive(Clone, Debug)]
struct Edge {
    since: Since,
    time: Option<i64>,
}

impl State for Edge {
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask) {
        let (row, known) = match self.since {
            Since::Last => (mask_last(mask), false),
            Since::First => (mask_first(mask), self.time.is_some()),
        };
        if let Some(time) = row.and_then(|row| slice.times.get(row)).filter(|_| !known) {
            self.time = Some(*time);
        }
    }

    fn merge(&mut self, later: &dyn State) {
        let Some(later) = later.as_any().downcast_ref::<Self>() else { return };
        self.time = match self.since {
            Since::Last => later.time.or(self.time),
            Since::First => self.time.or(later.time),
        };
    }

    fn outcome(&self, extent: &Extent) -> Outcome {
        outcome_of(self.time, extent)
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }

    fn reset(&mut self) {
        self.time = None;
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The times of all rows of the window: each becomes the oldest once those before it are evicted.
#[derive(Debug, Default)]
struct Oldest(VecDeque<i64>);

impl Sweeper for Oldest {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        self.0.extend(mask_rows(mask).filter_map(|row| slice.times.get(row)));
    }

    fn evict(&mut self, _slice: &Slice<'_>, mask: &Mask) {
        self.0.drain(..mask_count(mask).min(self.0.len()));
    }

    fn outcome(&mut self, extent: &Extent) -> Outcome {
        outcome_of(self.0.front().copied(), extent)
    }
}

/// The newest row stays the newest until the window is empty.
#[derive(Debug, Default)]
struct Newest {
    rows: usize,
    time: i64,
}

impl Sweeper for Newest {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        if let Some(time) = mask_last(mask).and_then(|row| slice.times.get(row)) {
            self.rows += mask_count(mask);
            self.time = *time;
        }
    }

    fn evict(&mut self, _slice: &Slice<'_>, mask: &Mask) {
        self.rows = self.rows.saturating_sub(mask_count(mask));
    }

    fn outcome(&mut self, extent: &Extent) -> Outcome {
        outcome_of((self.rows > 0).then_some(self.time), extent)
    }
}

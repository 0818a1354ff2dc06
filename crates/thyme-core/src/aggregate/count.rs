//! `Count()` counts rows, `Count(of=f)` rows where `f` is not null.

use std::any::Any;

use super::{Aggregate, Call, Extent, Mask, Outcome, Slice, State, Sweeper, mask_count};
use crate::error::Result;
use crate::value::{DataType, Value};

/// `Count`.
#[derive(Debug)]
pub(super) struct Count;

impl Aggregate for Count {
    fn name(&self) -> &'static str {
        "count"
    }

    fn needs_of(&self) -> bool {
        false
    }

    fn output_type(&self, _call: &Call) -> Result<DataType> {
        Ok(DataType::Int)
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Int(0)
    }

    fn state(&self, _call: &Call) -> Box<dyn State> {
        Box::new(Rows(0))
    }

    fn sweeper(&self, _call: &Call) -> Box<dyn Sweeper> {
        Box::new(Rows(0))
    }
}

/// How many rows; nulls were masked out by the timeline.
#[derive(Clone, Debug, Default)]
struct Rows(u64);

impl Rows {
    fn value(&self) -> Outcome {
        match self.0 {
            0 => Outcome::Nothing,
            n => i64::try_from(n).map_or(Outcome::Overflow, |n| Outcome::Value(Value::Int(n))),
        }
    }
}

impl State for Rows {
    fn absorb(&mut self, _slice: &Slice<'_>, mask: &Mask) {
        self.0 += mask_count(mask) as u64;
    }

    fn merge(&mut self, later: &dyn State) {
        if let Some(later) = later.as_any().downcast_ref::<Self>() {
            self.0 += later.0;
        }
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        self.value()
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }

    fn reset(&mut self) {
        self.0 = 0;
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Sweeper for Rows {
    fn push(&mut self, _slice: &Slice<'_>, mask: &Mask) {
        self.0 += mask_count(mask) as u64;
    }

    fn evict(&mut self, _slice: &Slice<'_>, mask: &Mask) {
        self.0 = self.0.saturating_sub(mask_count(mask) as u64);
    }

    fn outcome(&mut self, _: &Extent) -> Outcome {
        self.value()
    }
}

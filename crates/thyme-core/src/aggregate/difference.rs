//! `Range` and `Delta`: what lies between two other aggregates of the same rows.

use std::any::Any;

use super::edge::Edge;
use super::extreme::Extreme;
use super::{Aggregate, Call, Extent, Mask, Outcome, Slice, State, Sweeper, accept};
use crate::error::Result;
use crate::value::{DataType, Value, canonical};

/// `Range` or `Delta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// `Range`: the greatest value less the least.
    Range,
    /// `Delta`: the newest value less the oldest.
    Delta,
}

impl Difference {
    fn ends(self) -> (&'static dyn Aggregate, &'static dyn Aggregate) {
        match self {
            Difference::Range => (&Extreme::Min, &Extreme::Max),
            Difference::Delta => (&Edge::First, &Edge::Last),
        }
    }
}

impl Aggregate for Difference {
    fn name(&self) -> &'static str {
        match self {
            Difference::Range => "range",
            Difference::Delta => "delta",
        }
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        accept(self, call, &[DataType::Int, DataType::Float])
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        let (from, to) = self.ends();
        Box::new(States { from: from.state(call), to: to.state(call) })
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        let (from, to) = self.ends();
        Box::new(Sweepers { from: from.sweeper(call), to: to.sweeper(call) })
    }
}

fn difference(from: Outcome, to: Outcome) -> Outcome {
    match (from, to) {
        (Outcome::Value(Value::Int(from)), Outcome::Value(Value::Int(to))) => {
            to.checked_sub(from).map_or(Outcome::Overflow, |v| Outcome::Value(Value::Int(v)))
        }
        (Outcome::Value(Value::Float(from)), Outcome::Value(Value::Float(to))) => {
            Outcome::Value(Value::Float(canonical(to - from)))
        }
        _ => Outcome::Nothing,
    }
}

#[derive(Debug)]
struct States {
    from: Box<dyn State>,
    to: Box<dyn State>,
}

impl State for States {
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask) {
        self.from.absorb(slice, mask);
        self.to.absorb(slice, mask);
    }

    fn merge(&mut self, later: &dyn State) {
        let Some(later) = later.as_any().downcast_ref::<Self>() else { return };
        self.from.merge(later.from.as_ref());
        self.to.merge(later.to.as_ref());
    }

    fn outcome(&self, extent: &Extent) -> Outcome {
        difference(self.from.outcome(extent), self.to.outcome(extent))
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(States { from: self.from.boxed_clone(), to: self.to.boxed_clone() })
    }

    fn reset(&mut self) {
        self.from.reset();
        self.to.reset();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn bytes(&self) -> usize {
        size_of_val(self) + self.from.bytes() + self.to.bytes()
    }
}

#[derive(Debug)]
struct Sweepers {
    from: Box<dyn Sweeper>,
    to: Box<dyn Sweeper>,
}

impl Sweeper for Sweepers {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        self.from.push(slice, mask);
        self.to.push(slice, mask);
    }

    fn evict(&mut self, slice: &Slice<'_>, mask: &Mask) {
        self.from.evict(slice, mask);
        self.to.evict(slice, mask);
    }

    fn outcome(&mut self, extent: &Extent) -> Outcome {
        difference(self.from.outcome(extent), self.to.outcome(extent))
    }
}

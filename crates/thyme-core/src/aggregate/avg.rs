//! `Avg`: the exact sum rounded once, divided by the count, rounded once.

use super::elements::{self, Elements};
use super::tally::Tallied;
use super::total::{Amount, Total};
use super::{Aggregate, Call, Outcome, SUMMED, State, Sweeper, accept, decimal};
use crate::error::Result;
use crate::value::{DataType, Value, canonical};

/// `Avg`.
#[derive(Debug)]
pub(super) struct Avg;

impl Aggregate for Avg {
    fn name(&self) -> &'static str {
        "avg"
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        match accept(self, call, SUMMED)? {
            vector @ DataType::Vector(_) => Ok(vector),
            _ => Ok(DataType::Float),
        }
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        match call.of {
            Some(DataType::Decimal(scale)) => Box::new(decimal::Total::new(scale, decimal::avg)),
            Some(DataType::Vector(length)) => Box::new(Tallied(Elements::new(length, elements::avg))),
            of => Box::new(Total::new(of, finish)),
        }
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        match call.of {
            Some(DataType::Decimal(scale)) => Box::new(decimal::Total::new(scale, decimal::avg)),
            Some(DataType::Vector(length)) => Box::new(Tallied(Elements::new(length, elements::avg))),
            of => Box::new(Total::new(of, finish)),
        }
    }
}

pub(super) fn finish(amount: &Amount, count: u64) -> Outcome {
    let sum = match amount {
        Amount::Int(total) => *total as f64,
        Amount::Float(total) => total.round(),
    };
    // A tiny negative sum divided can round to -0.0, which no result may be.
    Outcome::Value(Value::Float(canonical(sum / count as f64)))
}

#[cfg(test)]
mod tests {
    use super::super::{Extent, Slice, mask_range};
    use super::*;

    #[test]
    fn an_average_that_rounds_to_zero_is_plus_zero() {
        let words = [(-5e-324f64).to_bits(), 0, 0];
        let slice = Slice {
            times: &[0; 3],
            positions: &[0; 3],
            data_type: Some(DataType::Float),
            words: &words,
            heap: &[],
            ..Slice::default()
        };
        let mut state = Avg.state(&Call::of(Some(DataType::Float)));
        state.absorb(&slice, &mask_range(0, 3));
        assert_eq!(state.outcome(&Extent::ALL), Outcome::Value(Value::Float(0.0)));
    }
}

//! `Sum`: exact for ints, the exact real sum rounded once for floats.

use super::elements::{self, Elements};
use super::tally::Tallied;
use super::total::{Amount, Total};
use super::{Aggregate, Call, Outcome, SUMMED, State, Sweeper, accept, decimal};
use crate::error::Result;
use crate::value::{DataType, Unscaled, Value};

/// `Sum`.
#[derive(Debug)]
pub(super) struct Sum;

impl Aggregate for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        accept(self, call, SUMMED)
    }

    fn empty(&self, output: DataType) -> Value {
        match output {
            DataType::Float => Value::Float(0.0),
            DataType::Decimal(scale) => Value::Decimal(scale, Unscaled::new(0)),
            DataType::Vector(length) => Value::Vector(vec![0.0; length as usize].into()),
            _ => Value::Int(0),
        }
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        match call.of {
            Some(DataType::Decimal(scale)) => Box::new(decimal::Total::new(scale, decimal::sum)),
            Some(DataType::Vector(length)) => Box::new(Tallied(Elements::new(length, elements::sum))),
            of => Box::new(Total::new(of, finish)),
        }
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        match call.of {
            Some(DataType::Decimal(scale)) => Box::new(decimal::Total::new(scale, decimal::sum)),
            Some(DataType::Vector(length)) => Box::new(Tallied(Elements::new(length, elements::sum))),
            of => Box::new(Total::new(of, finish)),
        }
    }
}

pub(super) fn finish(amount: &Amount, _count: u64) -> Outcome {
    match amount {
        Amount::Int(total) => {
            i64::try_from(*total).map_or(Outcome::Overflow, |v| Outcome::Value(Value::Int(v)))
        }
        Amount::Float(total) => Outcome::Value(Value::Float(total.round())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Extent, Slice, mask_range};
    use super::*;

    #[test]
    fn an_int_sum_may_leave_int64_on_the_way_but_not_at_the_end() {
        let words = [i64::MAX as u64, i64::MAX as u64, -1i64 as u64, i64::MIN as u64];
        let slice = Slice {
            times: &[0; 4],
            positions: &[0; 4],
            data_type: Some(DataType::Int),
            words: &words,
            heap: &[],
            ..Slice::default()
        };
        let mut state = Sum.state(&Call::of(Some(DataType::Int)));
        state.absorb(&slice, &mask_range(0, 3));
        assert_eq!(state.outcome(&Extent::ALL), Outcome::Overflow);
        state.absorb(&slice, &mask_range(3, 4));
        assert_eq!(state.outcome(&Extent::ALL), Outcome::Value(Value::Int(i64::MAX - 2)));
    }
}

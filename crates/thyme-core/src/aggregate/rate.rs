//! `Rate`: rows, or the sum of a column, per second of the window.

use num_bigint::BigInt;

use super::big_sum::round_ratio;
use super::power_sums::{PowerSums, unsigned};
use super::tally::{Tallied, Tally, Way};
use super::{Aggregate, Call, Extent, Mask, Outcome, Slice, State, Sweeper, accept, mask_count};
use crate::error::Result;
use crate::value::{DataType, Value};

/// `Rate`.
#[derive(Debug)]
pub(super) struct Rate;

impl Aggregate for Rate {
    fn name(&self) -> &'static str {
        "rate"
    }

    fn needs_of(&self) -> bool {
        false
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        if call.of.is_some() {
            accept(self, call, &[DataType::Int, DataType::Float])?;
        }
        Ok(DataType::Float)
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    fn needs_window(&self) -> bool {
        true
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        Box::new(Tallied(Amount(PowerSums::new(call.of))))
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        Box::new(Tallied(Amount(PowerSums::new(call.of))))
    }
}

/// The sum of a column; without one, the rows are counted only.
#[derive(Clone, Debug)]
struct Amount(PowerSums<1>);

impl Tally for Amount {
    fn fresh(&self) -> Self {
        Amount(PowerSums::new(self.0.data_type))
    }

    fn take(&mut self, slice: &Slice<'_>, mask: &Mask, way: Way) {
        let rows = mask_count(mask) as u64;
        match (self.0.data_type, way) {
            (Some(_), _) => self.0.take(slice, mask, way),
            (None, Way::In) => self.0.count += rows,
            (None, Way::Out) => self.0.count = self.0.count.saturating_sub(rows),
        }
    }

    fn merge(&mut self, later: &Self) {
        self.0.merge(&later.0);
    }

    fn outcome(&self, extent: &Extent) -> Outcome {
        if self.0.count == 0 {
            return Outcome::Nothing;
        }
        if let Some(special) = self.0.special() {
            return Outcome::Value(Value::Float(special));
        }
        if extent.after.0 == i64::MIN {
            return Outcome::Value(Value::Null);
        }
        let micros = BigInt::from(i128::from(extent.until.0) - i128::from(extent.after.0));
        let ([total], unit) = match self.0.data_type {
            Some(_) => self.0.scaled(),
            None => ([BigInt::from(self.0.count)], 0),
        };
        Outcome::Value(Value::Float(round_ratio(&(total * 1_000_000), unsigned(&micros), unit.into())))
    }

    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}

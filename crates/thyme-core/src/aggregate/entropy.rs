//! `EntropyOf`: Shannon's entropy of the values, in bits.

use std::collections::BTreeMap;

use super::member::{Member, members};
use super::tally::{Tallied, Tally, Way};
use super::{Aggregate, Call, ExactSum, Extent, Mask, Outcome, SCALARS, Slice, State, Sweeper, accept};
use crate::error::Result;
use crate::value::{DataType, Value, canonical};

/// `EntropyOf`.
#[derive(Debug)]
pub(super) struct EntropyOf;

impl Aggregate for EntropyOf {
    fn name(&self) -> &'static str {
        "entropy_of"
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        accept(self, call, SCALARS)?;
        Ok(DataType::Float)
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    /// They would be as large as the rows.
    fn is_summarised(&self, _call: &Call) -> bool {
        false
    }

    fn state(&self, _call: &Call) -> Box<dyn State> {
        Box::new(Tallied(Counts::default()))
    }

    fn sweeper(&self, _call: &Call) -> Box<dyn Sweeper> {
        Box::new(Tallied(Counts::default()))
    }
}

/// How often each value is there, and the exact sum of `c log2 c` over these counts.
#[derive(Clone, Debug, Default)]
struct Counts {
    members: BTreeMap<Member, u64>,
    rows: u64,
    total: ExactSum,
}

/// `c log2 c`, rounded twice.
fn weight(count: u64) -> f64 {
    let count = count as f64;
    if count > 1.0 { count * libm::log2(count) } else { 0.0 }
}

impl Counts {
    fn add(&mut self, member: Member, more: u64) {
        let count = self.members.entry(member).or_default();
        self.total.subtract(weight(*count));
        *count += more;
        self.total.add(weight(*count));
        self.rows += more;
    }

    fn remove(&mut self, member: &Member) {
        let Some(count) = self.members.get_mut(member) else { return };
        self.total.subtract(weight(*count));
        *count -= 1;
        self.total.add(weight(*count));
        self.rows -= 1;
        if *count == 0 {
            self.members.remove(member);
        }
    }
}

impl Tally for Counts {
    fn fresh(&self) -> Self {
        Counts::default()
    }

    fn take(&mut self, slice: &Slice<'_>, mask: &Mask, way: Way) {
        for member in members(slice, mask) {
            match way {
                Way::In => self.add(member, 1),
                Way::Out => self.remove(&member),
            }
        }
    }

    fn merge(&mut self, later: &Self) {
        later.members.iter().for_each(|(member, count)| self.add(member.clone(), *count));
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        let rows = self.rows as f64;
        match self.members.len() {
            0 => Outcome::Nothing,
            1 => Outcome::Value(Value::Float(0.0)),
            _ => {
                let entropy = libm::log2(rows) - self.total.round() / rows;
                Outcome::Value(Value::Float(canonical(entropy.max(0.0))))
            }
        }
    }

    fn heap_bytes(&self) -> usize {
        let each = |member: &Member| (size_of::<Member>() + size_of::<u64>()) * 3 / 2 + member.heap_bytes();
        self.members.keys().map(each).sum::<usize>() + self.total.heap_bytes()
    }
}

//! What the rows of a timeline hold, and which aggregates read them.

use thyme_core::DataType;
use thyme_core::aggregate::{Aggregate, State, Sweeper};

/// The columns of a timeline's rows and the aggregates over them. All timelines of a pipeline node share one.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// The type of each column.
    pub columns: Vec<DataType>,
    /// How many predicates each row was judged by.
    pub predicates: usize,
    /// The aggregates, without duplicates.
    pub slots: Vec<Slot>,
}

/// One aggregate over one column, counting the rows for which one predicate is true.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// The aggregate.
    pub aggregate: &'static dyn Aggregate,
    /// The index of its column; rows where that is null do not count.
    pub of: Option<usize>,
    /// The index of its predicate; `None` counts all rows.
    pub predicate: Option<usize>,
}

impl Layout {
    /// The type of the column that `slot` reads.
    pub(crate) fn of_type(&self, slot: &Slot) -> Option<DataType> {
        slot.of.and_then(|of| self.columns.get(of).copied())
    }

    pub(crate) fn state(&self, slot: &Slot) -> Box<dyn State> {
        slot.aggregate.state(self.of_type(slot))
    }

    pub(crate) fn sweeper(&self, slot: &Slot) -> Box<dyn Sweeper> {
        slot.aggregate.sweeper(self.of_type(slot))
    }

    /// Rows of bits in a chunk: the validity of each column, then each predicate.
    pub(crate) fn bit_rows(&self) -> usize {
        self.columns.len() + self.predicates
    }
}

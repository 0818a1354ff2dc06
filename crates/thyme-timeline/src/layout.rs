//! What the rows of a timeline hold, and which aggregates read them.

use thyme_core::DataType;
use thyme_core::aggregate::{Aggregate, State, Sweeper};

use crate::judge::Judge;

/// The columns of a timeline's rows and the aggregates over them. All timelines of a pipeline node share one.
///
/// It may grow while timelines are there: predicates and slots come behind those that it has. Of a predicate that came
/// later a chunk may have no verdicts, and no summaries of a slot; then they are made of the columns.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// The type of each column.
    pub columns: Vec<DataType>,
    /// How many predicates each row was judged by.
    pub predicates: usize,
    /// The aggregates, without duplicates.
    pub slots: Vec<Slot>,
    /// By predicate: how rows are judged that came before it. There is none for one that reads anything but columns of
    /// the layout.
    pub judges: Vec<Option<Judge>>,
    /// For a layout that reads timelines made under another, of which it has the beginning: of how many predicates and
    /// slots these may have something that can be believed.
    pub shared: Option<(usize, usize)>,
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

    /// Whether a chunk's summary of a slot is one of that slot.
    pub(crate) fn has_summaries(&self, slot: usize) -> bool {
        self.shared.is_none_or(|(_, slots)| slot < slots)
    }

    /// Whether a chunk's verdicts of a predicate are of that predicate.
    pub(crate) fn has_verdicts(&self, predicate: usize) -> bool {
        self.shared.is_none_or(|(predicates, _)| predicate < predicates)
    }

    /// How rows are judged that came before a predicate.
    pub(crate) fn judge(&self, predicate: usize) -> Option<&Judge> {
        self.judges.get(predicate).and_then(Option::as_ref)
    }

    /// Rows of bits in a chunk: the validity of each column, then each predicate.
    pub(crate) fn bit_rows(&self) -> usize {
        self.columns.len() + self.predicates
    }
}

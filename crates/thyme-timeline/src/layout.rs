//! What the rows of a timeline hold, and which aggregates read them.

use std::any::Any;

use thyme_core::aggregate::{Aggregate, Call, Mask, Outcome, Settings, Slice, State, Sweeper};
use thyme_core::{DataType, EventTime, Extent, Span};

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
    /// The column whose truth says that nothing is there from that row on: then it is no latest row of anything.
    pub deleted: Option<usize>,
}

/// One aggregate over one column, counting the rows for which one predicate is true.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The aggregate.
    pub aggregate: &'static dyn Aggregate,
    /// What it is applied to.
    pub call: Call,
    /// The index of its column; rows where that is null do not count.
    pub of: Option<usize>,
    /// The index of its further column; rows where that is null do not count.
    pub by: Option<usize>,
    /// The index of its predicate; `None` counts all rows.
    pub predicate: Option<usize>,
    reach: Option<Span>,
    is_summarised: bool,
    pub(crate) keeps_nulls: bool,
}

impl Slot {
    /// An aggregate over a column, given with its type.
    pub fn new(
        aggregate: &'static dyn Aggregate,
        settings: Settings,
        of: Option<(usize, DataType)>,
        predicate: Option<usize>,
    ) -> Slot {
        let call = Call { of: of.map(|(_, data_type)| data_type), by: None, settings };
        let (reach, is_summarised) = (aggregate.reach(&call), aggregate.is_summarised(&call));
        let keeps_nulls = aggregate.keeps_nulls(&call);
        let of = of.map(|(index, _)| index);
        Slot { aggregate, call, of, by: None, predicate, reach, is_summarised, keeps_nulls }
    }

    /// The same over a further column, given with its type.
    pub fn by(mut self, by: Option<(usize, DataType)>) -> Slot {
        (self.by, self.call.by) = by.unzip();
        self
    }

    /// How far back rows count for the aggregate, if there is an end to that.
    pub(crate) fn reach(&self) -> Option<Span> {
        self.reach
    }

    /// What there is to be looked at of an extent: rows that do not count, being too old, are left out.
    #[inline]
    pub(crate) fn extent(&self, extent: Extent) -> Extent {
        let Some(reach) = self.reach else { return extent };
        let oldest = EventTime(extent.until.0.saturating_sub(reach.0));
        Extent { after: extent.after.max(oldest), ..extent }
    }
}

/// The same question; the aggregate is one by its name.
impl PartialEq for Slot {
    fn eq(&self, other: &Slot) -> bool {
        (self.aggregate.name(), &self.call, self.of, self.by, self.predicate)
            == (other.aggregate.name(), &other.call, other.of, other.by, other.predicate)
    }
}

impl Layout {
    pub(crate) fn state(&self, slot: &Slot) -> Box<dyn State> {
        slot.aggregate.state(&slot.call)
    }

    pub(crate) fn sweeper(&self, slot: &Slot) -> Box<dyn Sweeper> {
        slot.aggregate.sweeper(&slot.call)
    }

    /// The summary of rows that has to be kept for a slot: it is empty where there is none.
    pub(crate) fn summary(&self, slot: &Slot) -> Box<dyn State> {
        if slot.is_summarised { self.state(slot) } else { Box::new(Unsummarised) }
    }

    /// Whether a chunk's summary of a slot is one of that slot, and not left out.
    pub(crate) fn has_summaries(&self, slot: usize) -> bool {
        self.is_known(slot) && self.slots.get(slot).is_some_and(|slot| slot.is_summarised)
    }

    /// Whether chunks may have been made for a slot.
    pub(crate) fn is_known(&self, slot: usize) -> bool {
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

/// Stands where a slot has no summaries. It takes no memory, and no read asks it.
#[derive(Clone, Debug)]
struct Unsummarised;

impl State for Unsummarised {
    fn absorb(&mut self, _: &Slice<'_>, _: &Mask) {}

    fn merge(&mut self, _: &dyn State) {}

    fn outcome(&self, _: &Extent) -> Outcome {
        Outcome::Nothing
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(Unsummarised)
    }

    fn reset(&mut self) {}

    fn as_any(&self) -> &dyn Any {
        self
    }
}

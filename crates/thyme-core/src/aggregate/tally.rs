//! Aggregates whose state can forget: one accumulator for the fold and for the sweep.

use std::any::Any;
use std::fmt::Debug;

use super::{Extent, Mask, Outcome, Slice, State, Sweeper};

/// Whether rows come or go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

impl Way {
    /// A count after one more has come or gone.
    pub(super) fn step(self, count: u64) -> u64 {
        match self {
            Way::In => count + 1,
            Way::Out => count.saturating_sub(1),
        }
    }
}

/// What some rows come to, from which rows can be taken out again: the oldest first.
pub(super) trait Tally: Clone + Debug + Send + Sync + 'static {
    /// One over no rows, for the same call.
    fn fresh(&self) -> Self;

    /// Rows come or go.
    fn take(&mut self, slice: &Slice<'_>, mask: &Mask, way: Way);

    /// Takes what a later one holds.
    fn merge(&mut self, later: &Self);

    /// What the rows come to.
    fn outcome(&self, extent: &Extent) -> Outcome;

    /// Bytes of memory outside the struct itself.
    fn heap_bytes(&self) -> usize;
}

/// A tally as a state and a sweeper.
#[derive(Clone, Debug)]
pub(super) struct Tallied<T>(pub(super) T);

impl<T: Tally> State for Tallied<T> {
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask) {
        self.0.take(slice, mask, Way::In);
    }

    fn merge(&mut self, later: &dyn State) {
        if let Some(later) = later.as_any().downcast_ref::<Self>() {
            self.0.merge(&later.0);
        }
    }

    fn outcome(&self, extent: &Extent) -> Outcome {
        self.0.outcome(extent)
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }

    fn reset(&mut self) {
        self.0 = self.0.fresh();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn bytes(&self) -> usize {
        size_of_val(self) + self.0.heap_bytes()
    }
}

impl<T: Tally> Sweeper for Tallied<T> {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        self.0.take(slice, mask, Way::In);
    }

    fn evict(&mut self, slice: &Slice<'_>, mask: &Mask) {
        self.0.take(slice, mask, Way::Out);
    }

    fn outcome(&mut self, extent: &Extent) -> Outcome {
        self.0.outcome(extent)
    }
}

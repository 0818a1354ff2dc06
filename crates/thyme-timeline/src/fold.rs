//! Reading a timeline as of one time: partial chunks row by row, whole ones by their summaries.

use thyme_core::aggregate::Outcome;
use thyme_core::{EventTime, Extent, Position};

use crate::chunk::Chunk;
use crate::cursor::Cursor;
use crate::layout::Layout;
use crate::row::RowView;
use crate::timeline::Timeline;

/// Where the rows of an extent lie in a timeline.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub(crate) extent: Extent,
    pub(crate) from: Cursor,
    pub(crate) to: Cursor,
}

impl Timeline {
    /// The aggregate of `slot` over the rows in `(after, until]` that are visible at `at`.
    ///
    /// `after` is `EventTime(i64::MIN)` for a window since the beginning.
    pub fn fold(
        &self,
        layout: &Layout,
        slot: usize,
        after: EventTime,
        until: EventTime,
        at: Position,
    ) -> Outcome {
        let Some(slot_of) = layout.slots.get(slot).filter(|_| after < until) else { return Outcome::Nothing };
        let extent = slot_of.extent(Extent::between(after, until));
        self.fold_between(layout, slot, self.start_of(extent.after), self.cursor_after(until), at, extent)
    }

    /// The aggregate of `slot` over the rows of a window that are visible at `at`.
    ///
    /// `last` is for aggregates over one window in a row, at one `at`: it keeps where that lies.
    pub fn fold_extent(
        &self,
        layout: &Layout,
        slot: usize,
        extent: &Extent,
        at: Position,
        last: &mut Option<Place>,
    ) -> Outcome {
        let Some(slot_of) = layout.slots.get(slot) else { return Outcome::Nothing };
        let extent = slot_of.extent(*extent);
        let place = match last.filter(|last| last.extent == extent) {
            Some(place) => place,
            None => *last.insert(self.place(extent, at)),
        };
        self.fold_place(layout, slot, &place, at)
    }

    /// Where the rows of an extent lie that are visible at `at`.
    pub(crate) fn place(&self, extent: Extent, at: Position) -> Place {
        let (from, to) = self.bounds(&extent, at);
        Place { extent, from, to }
    }

    pub(crate) fn fold_place(&self, layout: &Layout, slot: usize, place: &Place, at: Position) -> Outcome {
        self.fold_between(layout, slot, place.from, place.to, at, place.extent)
    }

    /// [`Timeline::fold`] of several `(slot, after)` at once.
    pub fn fold_many(
        &self,
        layout: &Layout,
        requests: &[(usize, EventTime)],
        until: EventTime,
        at: Position,
    ) -> Vec<Outcome> {
        let to = self.cursor_after(until);
        let mut last: Option<(EventTime, Cursor)> = None;
        let fold = |(slot, after): &(usize, EventTime)| {
            let extent = Extent::between(*after, until);
            let extent = layout.slots.get(*slot).map_or(extent, |slot| slot.extent(extent));
            let from = match last {
                Some((same, from)) if same == extent.after => from,
                _ => self.start_of(extent.after),
            };
            last = Some((extent.after, from));
            self.fold_between(layout, *slot, from, to, at, extent)
        };
        requests.iter().map(fold).collect()
    }

    /// The last row in `(after, until]` that is visible at `at`, unless that says that nothing is there.
    pub fn latest_row<'a>(
        &'a self,
        layout: &'a Layout,
        after: EventTime,
        until: EventTime,
        at: Position,
    ) -> Option<RowView<'a>> {
        let cursor = self.last_visible(self.start_of(after), self.cursor_after(until), at.to_bits())?;
        self.row(layout, cursor).filter(RowView::is_live)
    }

    /// Whether any row is visible as of `until` and `at`.
    pub fn has_rows(&self, until: EventTime, at: Position) -> bool {
        let mut found = false;
        self.pieces(Cursor::default(), self.cursor_after(until), &mut |place, from, to| {
            found =
                self.chunk(place).is_some_and(|chunk| chunk.visible(from, to, at.to_bits()).next().is_some());
            !found
        });
        found
    }

    /// Calls `f` with each row in `(after, until]` that is visible at `at`, in order.
    pub fn rows<'a>(
        &'a self,
        layout: &'a Layout,
        after: EventTime,
        until: EventTime,
        at: Position,
        f: &mut dyn FnMut(RowView<'a>),
    ) {
        self.pieces(self.start_of(after), self.cursor_after(until), &mut |place, from, to| {
            if let Some(chunk) = self.chunk(place) {
                chunk.visible(from, to, at.to_bits()).for_each(|row| f(RowView { chunk, layout, row }));
            }
            true
        });
    }

    /// The event time of the first row later than `after` that is visible at `at`.
    pub fn next_time(&self, after: EventTime, at: Position) -> Option<EventTime> {
        let (chunk, row) = self.next_visible(after, at)?;
        chunk.times().get(row).map(|time| EventTime(*time))
    }

    /// The first row later than `after` that is visible at `at`.
    pub fn next_row<'a>(&'a self, layout: &'a Layout, after: EventTime, at: Position) -> Option<RowView<'a>> {
        let (chunk, row) = self.next_visible(after, at)?;
        Some(RowView { chunk, layout, row })
    }

    fn next_visible(&self, after: EventTime, at: Position) -> Option<(&Chunk, usize)> {
        let (from, end) = (self.start_of(after), self.cursor_after(EventTime(i64::MAX)));
        let mut found = None;
        self.pieces(from, end, &mut |place, from, to| {
            found = self
                .chunk(place)
                .and_then(|chunk| chunk.visible(from, to, at.to_bits()).next().map(|row| (chunk, row)));
            found.is_none()
        });
        found
    }

    fn fold_between(
        &self,
        layout: &Layout,
        slot_index: usize,
        from: Cursor,
        to: Cursor,
        at: Position,
        extent: Extent,
    ) -> Outcome {
        let at = at.to_bits();
        let Some(slot) = layout.slots.get(slot_index).filter(|_| from < to) else { return Outcome::Nothing };
        let summarised = layout.has_summaries(slot_index);
        let mut state = layout.state(slot);
        let mut next = from;
        while next < to {
            if next.chunk == 0
                && next.row == 0
                && next.block < to.block
                && summarised
                && let Some(summary) = self.blocks().get(next.block).and_then(|block| block.summary())
                && summary.max_position <= at
                && let Some(summary) = summary.states.get(slot_index)
            {
                state.merge(summary.as_ref());
                next = Cursor { block: next.block + 1, chunk: 0, row: 0 };
                continue;
            }
            let Some(chunk) = self.chunk(next) else { break };
            let whole = summarised && next.row == 0 && !next.same_chunk(to) && chunk.max_position() <= at;
            if let Some(summary) = chunk.summary(slot_index).filter(|_| whole) {
                state.merge(summary);
            } else {
                let end = if next.same_chunk(to) { to.row } else { chunk.len() };
                state.absorb(&chunk.slice(layout, slot), &chunk.mask(layout, slot, next.row, end, at));
            }
            next = self.next_chunk(next);
        }
        state.outcome(&extent)
    }

    /// The last row between two places that is visible at `at`.
    pub(crate) fn last_visible(&self, from: Cursor, to: Cursor, at: u64) -> Option<Cursor> {
        if from >= to {
            return None;
        }
        let mut next = to;
        loop {
            if let Some(rows) = self.chunk(next) {
                let first = if next.same_chunk(from) { from.row } else { 0 };
                let end = if next.same_chunk(to) { to.row } else { rows.len() };
                if let Some(row) = rows.visible(first, end, at).next_back() {
                    return Some(Cursor { row, ..next });
                }
            }
            if next.same_chunk(from) {
                return None;
            }
            next = self.previous_chunk(next)?;
        }
    }

    /// The row behind a place.
    pub(crate) fn row<'a>(&'a self, layout: &'a Layout, at: Cursor) -> Option<RowView<'a>> {
        let chunk = self.chunk(at)?;
        (at.row < chunk.len()).then_some(RowView { chunk, layout, row: at.row })
    }
}

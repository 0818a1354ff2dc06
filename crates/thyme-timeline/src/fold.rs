//! Reading a timeline as of one time: partial chunks row by row, whole ones by their summaries.

use thyme_core::aggregate::Outcome;
use thyme_core::{EventTime, Position};

use crate::layout::Layout;
use crate::row::RowView;
use crate::timeline::{GROUP_CHUNKS, Timeline};

/// A place between two rows: before row `row` of chunk `chunk`. The end is row 0 of the chunk after the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor {
    pub(crate) chunk: usize,
    pub(crate) row: usize,
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
        if after >= until {
            return Outcome::Nothing;
        }
        self.fold_between(layout, slot, self.start_of(after), self.cursor_after(until), at.to_bits())
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
            let from = match last {
                Some((same, from)) if same == *after => from,
                _ => self.start_of(*after),
            };
            last = Some((*after, from));
            self.fold_between(layout, *slot, from, to, at.to_bits())
        };
        requests.iter().map(fold).collect()
    }

    /// The last row in `(after, until]` that is visible at `at`.
    pub fn latest_row<'a>(
        &'a self,
        layout: &'a Layout,
        after: EventTime,
        until: EventTime,
        at: Position,
    ) -> Option<RowView<'a>> {
        let cursor = self.last_visible(self.start_of(after), self.cursor_after(until), at.to_bits())?;
        self.row(layout, cursor)
    }

    /// Whether any row is visible as of `until` and `at`.
    pub fn has_rows(&self, until: EventTime, at: Position) -> bool {
        let mut found = false;
        self.pieces(Cursor::default(), self.cursor_after(until), &mut |index, from, to| {
            found =
                self.chunk(index).is_some_and(|chunk| chunk.visible(from, to, at.to_bits()).next().is_some());
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
        self.pieces(self.start_of(after), self.cursor_after(until), &mut |index, from, to| {
            if let Some(chunk) = self.chunk(index) {
                chunk.visible(from, to, at.to_bits()).for_each(|row| f(RowView { chunk, layout, row }));
            }
            true
        });
    }

    /// The event time of the first row later than `after` that is visible at `at`.
    pub fn next_time(&self, after: EventTime, at: Position) -> Option<EventTime> {
        let (from, end) = (self.cursor_after(after), self.cursor_after(EventTime(i64::MAX)));
        let mut found = None;
        self.pieces(from, end, &mut |index, from, to| {
            found = self.chunk(index).and_then(|chunk| {
                let row = chunk.visible(from, to, at.to_bits()).next()?;
                chunk.times().get(row).map(|time| EventTime(*time))
            });
            found.is_none()
        });
        found
    }

    /// Before the first row of the window `(after, ...`.
    pub(crate) fn start_of(&self, after: EventTime) -> Cursor {
        if after.0 == i64::MIN { Cursor::default() } else { self.cursor_after(after) }
    }

    /// Before the first row later than `time`.
    pub(crate) fn cursor_after(&self, time: EventTime) -> Cursor {
        let before = self.chunks_before_tail();
        let chunk = match before.last() {
            Some(last) if last.last_time() <= time.0 => before.len(),
            _ => before.partition_point(|chunk| chunk.last_time() <= time.0),
        };
        self.cursor_in(chunk, time)
    }

    /// Before the first row of `chunk` later than `time`; all earlier chunks have none.
    pub(crate) fn cursor_in(&self, chunk: usize, time: EventTime) -> Cursor {
        match self.chunk(chunk) {
            Some(rows) if rows.last_time() <= time.0 => Cursor { chunk: chunk + 1, row: 0 },
            Some(rows) => Cursor { chunk, row: rows.rows_until(time.0) },
            None => Cursor { chunk, row: 0 },
        }
    }

    /// Calls `f` with (chunk, from row, to row) for the rows between two places, until it says false.
    pub(crate) fn pieces(&self, from: Cursor, to: Cursor, f: &mut dyn FnMut(usize, usize, usize) -> bool) {
        let mut at = from;
        while at < to {
            let Some(chunk) = self.chunk(at.chunk) else { return };
            let end = if at.chunk == to.chunk { to.row } else { chunk.len() };
            if at.row < end && !f(at.chunk, at.row, end) {
                return;
            }
            at = Cursor { chunk: at.chunk + 1, row: 0 };
        }
    }

    fn fold_between(&self, layout: &Layout, slot_index: usize, from: Cursor, to: Cursor, at: u64) -> Outcome {
        let Some(slot) = layout.slots.get(slot_index).filter(|_| from < to) else { return Outcome::Nothing };
        let mut state = layout.state(slot);
        let mut next = from;
        while next < to {
            let Some(chunk) = self.chunk(next.chunk) else { break };
            let mut chunks = 1;
            let group = self.group_at(next.chunk).filter(|group| {
                next.row == 0 && next.chunk + GROUP_CHUNKS <= to.chunk && group.max_position <= at
            });
            let whole = next.row == 0 && next.chunk < to.chunk && chunk.max_position() <= at;
            if let Some(summary) = group.and_then(|group| group.states.get(slot_index)) {
                state.merge(summary.as_ref());
                chunks = GROUP_CHUNKS;
            } else if let Some(summary) = chunk.summary(slot_index).filter(|_| whole) {
                state.merge(summary);
            } else {
                let end = if next.chunk < to.chunk { chunk.len() } else { to.row };
                state.absorb(&chunk.slice(layout, slot), &chunk.mask(layout, slot, next.row, end, at));
            }
            next = Cursor { chunk: next.chunk + chunks, row: 0 };
        }
        state.outcome()
    }

    /// The last row between two places that is visible at `at`.
    pub(crate) fn last_visible(&self, from: Cursor, to: Cursor, at: u64) -> Option<Cursor> {
        let mut chunk = to.chunk;
        while from < to && chunk >= from.chunk {
            if let Some(rows) = self.chunk(chunk) {
                let first = if chunk == from.chunk { from.row } else { 0 };
                let end = if chunk == to.chunk { to.row } else { rows.len() };
                if let Some(row) = rows.visible(first, end, at).next_back() {
                    return Some(Cursor { chunk, row });
                }
            }
            chunk = chunk.checked_sub(1)?;
        }
        None
    }

    /// The row behind a place.
    pub(crate) fn row<'a>(&'a self, layout: &'a Layout, at: Cursor) -> Option<RowView<'a>> {
        let chunk = self.chunk(at.chunk)?;
        (at.row < chunk.len()).then_some(RowView { chunk, layout, row: at.row })
    }
}

//! Reading a timeline as of many times in one pass.

use thyme_core::aggregate::{Outcome, Sweeper};
use thyme_core::{EventTime, Position, Span};

use crate::fold::Cursor;
use crate::layout::{Layout, Slot};
use crate::row::RowView;
use crate::timeline::Timeline;

/// Above so many chunks of rows a label, folding each label costs less than pushing and evicting every row.
const CHUNKS_PER_LABEL_MAX: usize = 1;

/// A column of a training set: an aggregate over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepOutput {
    /// The index of the slot in the layout.
    pub slot: usize,
    /// The window; `None` since the beginning.
    pub window: Option<Span>,
}

impl SweepOutput {
    fn after(&self, label: EventTime) -> EventTime {
        after(self.window, label)
    }
}

/// The time that a window ending at `until` begins after.
fn after(window: Option<Span>, until: EventTime) -> EventTime {
    EventTime(window.map_or(i64::MIN, |window| until.0.saturating_sub(window.0)))
}

/// A window over the timeline that moves forward with the labels.
struct Track<'a> {
    slot: &'a Slot,
    sweeper: Box<dyn Sweeper>,
    from: Cursor,
    to: Cursor,
}

impl Timeline {
    /// Gives `sink` the value of each output as of each label, as (label index, output index, outcome):
    /// the same as [`Timeline::fold`] gives. Labels ascend and may repeat.
    pub fn sweep(
        &self,
        layout: &Layout,
        outputs: &[SweepOutput],
        labels: &[EventTime],
        at: Position,
        sink: &mut dyn FnMut(usize, usize, Outcome),
    ) {
        debug_assert!(labels.is_sorted());
        let (Some(first), Some(last)) = (labels.first(), labels.last()) else { return };
        let end = self.cursor_after(*last);
        for (index, output) in outputs.iter().enumerate() {
            let from = self.start_of(output.after(*first));
            let chunks = end.chunk.saturating_sub(from.chunk);
            let Some(slot) =
                layout.slots.get(output.slot).filter(|_| chunks <= labels.len() * CHUNKS_PER_LABEL_MAX)
            else {
                for (label_index, label) in labels.iter().enumerate() {
                    sink(
                        label_index,
                        index,
                        self.fold(layout, output.slot, output.after(*label), *label, at),
                    );
                }
                continue;
            };
            let mut track = Track { slot, sweeper: layout.sweeper(slot), from, to: from };
            for (label_index, label) in labels.iter().enumerate() {
                let to = self.advance(track.to, *label);
                let from = self.advance(track.from, output.after(*label)).min(to);
                track.move_to(self, layout, from, to, at.to_bits());
                sink(label_index, index, track.sweeper.outcome());
            }
        }
    }

    /// Gives `sink` the latest row as of each label, as (label index, row): the same as
    /// [`Timeline::latest_row`] gives for `(label - window, label]`. Labels ascend and may repeat.
    pub fn latest_rows<'a>(
        &'a self,
        layout: &'a Layout,
        window: Option<Span>,
        labels: &[EventTime],
        at: Position,
        sink: &mut dyn FnMut(usize, Option<RowView<'a>>),
    ) {
        debug_assert!(labels.is_sorted());
        let mut seen = labels.first().map_or(Cursor::default(), |label| self.start_of(after(window, *label)));
        let mut latest: Option<RowView<'a>> = None;
        for (index, label) in labels.iter().enumerate() {
            let to = self.advance(seen, *label);
            if let Some(found) = self.last_visible(seen, to, at.to_bits()) {
                latest = self.row(layout, found);
            }
            seen = to;
            sink(index, latest.filter(|row| row.time() > after(window, *label)));
        }
    }

    /// Before the first row later than `time`, which is not before `from`.
    fn advance(&self, from: Cursor, time: EventTime) -> Cursor {
        let Some(chunk) = self.chunk(from.chunk) else { return from };
        if chunk.last_time() <= time.0 {
            let before = self.chunks_before_tail();
            let rest = before.get(from.chunk + 1..).unwrap_or_default();
            let skipped = match rest.first() {
                Some(next) if next.last_time() <= time.0 => rest.partition_point(|c| c.last_time() <= time.0),
                _ => 0,
            };
            return self.cursor_in(from.chunk + 1 + skipped, time);
        }
        let rest = chunk.times().get(from.row..).unwrap_or_default();
        let steps = match rest.iter().take(8).position(|t| *t > time.0) {
            Some(steps) => steps,
            None => rest.partition_point(|t| *t <= time.0),
        };
        Cursor { chunk: from.chunk, row: from.row + steps }
    }
}

impl Track<'_> {
    fn move_to(&mut self, timeline: &Timeline, layout: &Layout, from: Cursor, to: Cursor, at: u64) {
        if from >= self.to {
            // Nothing of the last window is in this one.
            self.sweeper = layout.sweeper(self.slot);
            (self.from, self.to) = (from, from);
        }
        timeline.pieces(self.to, to, &mut |index, first, end| {
            if let Some(chunk) = timeline.chunk(index) {
                let mask = chunk.mask(layout, self.slot, first, end, at);
                self.sweeper.push(&chunk.slice(layout, self.slot), &mask);
            }
            true
        });
        timeline.pieces(self.from, from, &mut |index, first, end| {
            if let Some(chunk) = timeline.chunk(index) {
                let mask = chunk.mask(layout, self.slot, first, end, at);
                self.sweeper.evict(&chunk.slice(layout, self.slot), &mask);
            }
            true
        });
        (self.from, self.to) = (from, to);
    }
}

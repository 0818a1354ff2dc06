//! Reading a timeline as of many times in one pass.

use thyme_core::aggregate::{Outcome, Sweeper};
use thyme_core::window::Part;
use thyme_core::{EventTime, Extent, Position, Span, Window};

use crate::body::BLOCK_CHUNKS;
use crate::cursor::Cursor;
use crate::fold::Place;
use crate::layout::{Layout, Slot};
use crate::part::Trail;
use crate::row::RowView;
use crate::timeline::Timeline;

/// So many merges of summaries take as long as to push and evict the rows of one chunk.
const MERGES_PER_CHUNK: usize = 64;

/// A column of a training set: an aggregate over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepOutput {
    /// The index of the slot in the layout.
    pub slot: usize,
    /// The window; `None` since the beginning.
    pub window: Option<Window>,
    /// How far back rows count at all.
    pub retention: Option<Span>,
    /// Rows up to this time do not count.
    pub begins: Option<EventTime>,
}

impl SweepOutput {
    #[inline]
    fn extent(&self, label: EventTime) -> Extent {
        let extent = Extent::of(self.window.as_ref(), self.retention, label);
        Extent { after: self.begins.map_or(extent.after, |begins| extent.after.max(begins)), ..extent }
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

/// Where the windows of some labels lie. Outputs that follow each other and differ only in what they make of the rows share it.
struct Places {
    output: SweepOutput,
    reach: Option<Span>,
    /// Whether to fold each label's window rather than to sweep over them.
    is_folded: bool,
    each: Vec<Place>,
}

impl Places {
    fn is_of(&self, slot: &Slot, output: &SweepOutput) -> bool {
        let before = SweepOutput { slot: output.slot, ..self.output };
        before == *output && self.reach == slot.reach()
    }
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
        let mut known: Option<Places> = None;
        for (index, output) in outputs.iter().enumerate() {
            let Some(slot) = layout.slots.get(output.slot) else {
                (0..labels.len()).for_each(|label| sink(label, index, Outcome::Nothing));
                continue;
            };
            let places = match known.take().filter(|known| known.is_of(slot, output)) {
                Some(places) => places,
                None => self.places(slot, output, labels, at),
            };
            if places.is_folded {
                for (label, place) in places.each.iter().enumerate() {
                    sink(label, index, self.fold_place(layout, output.slot, place, at));
                }
            } else if let Some(first) = places.each.first() {
                let (from, sweeper) = (first.from, layout.sweeper(slot));
                let mut track = Track { slot, sweeper, from, to: from };
                for (label, place) in places.each.iter().enumerate() {
                    track.move_to(self, layout, place.from, place.to, at.to_bits());
                    sink(label, index, track.sweeper.outcome(&place.extent));
                }
            }
            known = Some(places);
        }
    }

    fn places(&self, slot: &Slot, output: &SweepOutput, labels: &[EventTime], at: Position) -> Places {
        let mut places = Places {
            output: *output,
            reach: slot.reach(),
            is_folded: true,
            each: Vec::with_capacity(labels.len()),
        };
        let (Some(first), Some(last)) = (labels.first(), labels.last()) else { return places };
        let place = |label: &EventTime| self.place(slot.extent(output.extent(*label)), at);
        let (first, last) = (place(first), place(last));
        let window = self.chunks_between(last.from, last.to);
        // In chunks swept: what one fold costs, and what the sweep costs.
        let fold = 1 + (window / BLOCK_CHUNKS + window.min(2 * BLOCK_CHUNKS)) / MERGES_PER_CHUNK;
        let chunks = self.chunks_between(first.from, last.to);
        places.is_folded = chunks > labels.len() * fold;
        if places.is_folded {
            places.each.extend(labels.iter().map(place));
            return places;
        }
        let mut trail = Trail::at(first.from);
        let (mut from, mut to) = (first.from, first.from);
        for label in labels {
            let extent = slot.extent(output.extent(*label));
            to = self.advance(to, extent.until);
            from = match extent.part {
                Part::All => self.advance(from, extent.after).min(to),
                _ => trail.move_to(self, &extent, to, at.to_bits()),
            };
            places.each.push(Place { extent, from, to });
        }
        places
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
            sink(index, latest.filter(|row| row.time() > after(window, *label) && row.is_live()));
        }
    }
}

impl Track<'_> {
    fn move_to(&mut self, timeline: &Timeline, layout: &Layout, from: Cursor, to: Cursor, visible: u64) {
        if from >= self.to {
            // Nothing of the last window is in this one.
            self.sweeper = layout.sweeper(self.slot);
            (self.from, self.to) = (from, from);
        }
        timeline.pieces(self.to, to, &mut |at, first, end| {
            if let Some(chunk) = timeline.chunk(at) {
                let mask = chunk.mask(layout, self.slot, first, end, visible);
                self.sweeper.push(&chunk.slice(layout, self.slot), &mask);
            }
            true
        });
        timeline.pieces(self.from, from, &mut |at, first, end| {
            if let Some(chunk) = timeline.chunk(at) {
                let mask = chunk.mask(layout, self.slot, first, end, visible);
                self.sweeper.evict(&chunk.slice(layout, self.slot), &mask);
            }
            true
        });
        (self.from, self.to) = (from, to);
    }
}

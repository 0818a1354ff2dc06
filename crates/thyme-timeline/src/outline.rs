//! Long timelines without the rows of their chunks: what summaries tell, and where chunks end, is enough for most of a
//! read. The few chunks that it looks into are filled first, from where they are stored.
//!
//! A chunk without rows is *hollow*. No read may look into one: [`Outline::lacks`] says which chunks a read would.

use std::collections::VecDeque;

use thyme_core::window::Part;
use thyme_core::{Error, EventTime, Extent, Position, Result};

use crate::batch::Batch;
use crate::body::Block;
use crate::chunk::{Chunk, RowKey};
use crate::codec;
use crate::cursor::Cursor;
use crate::layout::Layout;
use crate::timeline::Timeline;

/// Bytes of filled chunks that stay between reads: some sixteen of a few columns of numbers, or one of long strings.
const FILLED_BYTES_KEPT: usize = 256 << 10;
/// A read that looks into more chunks is one for the whole timeline.
const FILLED_MAX: usize = 64;

/// A read of the latest row as known earlier looks for it in as many chunks.
const LATEST_MAX: usize = 4;

/// What a read looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As [`Timeline::fold_extent`] does.
    Fold {
        /// The slot.
        slot: usize,
        /// The window.
        extent: Extent,
        /// As known at this position.
        at: Position,
    },
    /// As [`Timeline::latest_row`] does.
    Latest {
        /// The exclusive start of the window.
        after: EventTime,
        /// Its inclusive end.
        until: EventTime,
        /// As known at this position.
        at: Position,
    },
}

/// A timeline most of whose chunks are hollow. It can be read, and rows be put in; those that end a version, or add one
/// later than its event came, cannot.
#[derive(Debug)]
pub struct Outline {
    timeline: Timeline,
    /// How many predicates and slots there were when it was made.
    shape: (usize, usize),
    /// The chunks that are filled, the latest last.
    filled: VecDeque<Cursor>,
    /// The last position at which a row came.
    max_position: u64,
    /// Whether rows came that [`Outline::dirty_chunks`] has not given.
    has_changed: bool,
}

/// A chunk that a read, or a row, lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The id that it is stored under.
    pub id: u32,
    at: Cursor,
}

impl Outline {
    /// The outline of the timeline that stored chunks hold, all of them and in any order. `None` for one with versions
    /// (see [`Changes`](crate::Changes)), of which summaries tell too little.
    ///
    /// # Errors
    /// As [`Timeline::from_chunks`], and what `chunks` says.
    pub fn of(
        layout: &Layout,
        chunks: impl Iterator<Item = Result<(u32, Vec<u8>)>>,
    ) -> Result<Option<Outline>> {
        let mut found: Vec<(RowKey, RowKey, Chunk)> = Vec::new();
        let mut newest: Option<(RowKey, Vec<u8>)> = None;
        for stored in chunks {
            let (id, bytes) = stored?;
            let mut chunk = codec::decode(layout, id, &bytes, Position::MAX.to_bits())?;
            let (Some(first), Some(last)) = (chunk.first_key(), chunk.last_key()) else { return Ok(None) };
            if chunk.lives().is_some() {
                return Ok(None);
            }
            chunk.summarise(layout);
            chunk.hollow();
            found.push((first, last, chunk));
            if newest.as_ref().is_none_or(|(newest, _)| *newest < last) {
                newest = Some((last, bytes));
            }
        }
        found.sort_unstable_by_key(|(first, ..)| *first);
        let mut pairs = found.iter().zip(found.iter().skip(1));
        if let Some((_, (.., chunk))) = pairs.find(|((_, last, _), (first, ..))| last >= first) {
            let id = chunk.id();
            return Err(Error::corrupt(format!("chunk {id} of a timeline overlaps the one before it")));
        }
        let max_position = found.iter().map(|(.., chunk)| chunk.max_position()).max().unwrap_or_default();
        let mut chunks: Vec<Chunk> = found.into_iter().map(|(.., chunk)| chunk).collect();
        if let (Some(tail), Some((_, bytes))) = (chunks.last_mut(), newest) {
            *tail = codec::decode(layout, tail.id(), &bytes, Position::MAX.to_bits())?;
        }
        let timeline = Timeline::of_chunks(layout, chunks);
        let shape = (layout.predicates, layout.slots.len());
        Ok(Some(Outline { timeline, shape, filled: VecDeque::new(), max_position, has_changed: false }))
    }

    /// Whether it has all that is asked of timelines of a layout, which only ever grows.
    pub fn is_of(&self, layout: &Layout) -> bool {
        self.shape == (layout.predicates, layout.slots.len())
    }

    /// The timeline, for reads that lack nothing.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Bytes of memory, itself and the chunks that are filled included.
    pub fn bytes(&self) -> usize {
        size_of::<Outline>() - size_of::<Timeline>()
            + self.timeline.bytes()
            + self.filled.capacity() * size_of::<Cursor>()
    }

    /// The chunks that have to be filled before reads that look at `looks` under `layout`; `None` if there are many, or
    /// nobody can say.
    pub fn lacks(&self, layout: &Layout, looks: &[Look]) -> Option<Vec<Lacking>> {
        let mut lacking = Vec::new();
        for look in looks {
            match *look {
                Look::Fold { extent, .. } if extent.after >= extent.until => {}
                Look::Latest { after, until, .. } if after >= until => {}
                Look::Fold { slot, extent, at } => {
                    let is_known = slot < self.shape.1 && layout.is_known(slot);
                    let asked = layout.slots.get(slot).filter(|_| is_known)?;
                    let extent = asked.extent(extent);
                    let (mut from, to) = self.edges(extent.after, extent.until, &mut lacking);
                    if extent.part != Part::All {
                        from = self.part_begin(&extent, (from, to), at)?;
                        self.need(from, &mut lacking);
                    }
                    let summary = layout.has_summaries(slot).then_some(slot);
                    self.between(summary, from, to, at.to_bits(), &mut lacking);
                }
                Look::Latest { after, until, at } => {
                    let (_, to) = self.edges(after, until, &mut lacking);
                    if !self.latest(to, at.to_bits(), &mut lacking) {
                        return None;
                    }
                }
            }
            if lacking.len() > FILLED_MAX {
                return None;
            }
        }
        Some(lacking)
    }

    /// The chunks in which a window begins and ends.
    fn edges(&self, after: EventTime, until: EventTime, lacking: &mut Vec<Lacking>) -> (Cursor, Cursor) {
        let from = match after.0 {
            i64::MIN => Cursor::default(),
            _ => self.timeline.chunk_after(after),
        };
        let to = self.timeline.chunk_after(until);
        self.need(to, lacking);
        if after.0 != i64::MIN {
            self.need(from, lacking);
        }
        (from, to)
    }

    /// The chunk in which a window begins that is not told by time alone; `None` where the rows of hollow chunks would say.
    fn part_begin(&self, extent: &Extent, (from, to): (Cursor, Cursor), at: Position) -> Option<Cursor> {
        let end_of = |chunk: &Chunk, next: Cursor| match next.same_chunk(to) {
            true => chunk.rows_until(extent.until.0),
            false => chunk.len(),
        };
        let rows_of = |next: Cursor| {
            let chunk = self.timeline.chunk(next)?;
            match chunk.is_hollow() {
                true => (next < to && chunk.max_position() <= at.to_bits()).then_some(chunk.len()),
                false => Some(chunk.visible(0, end_of(chunk, next), at.to_bits()).count()),
            }
        };
        let (mut next, mut left, mut later) = (to, usize::MAX, extent.until.0);
        if let Part::Last(rows) = extent.part {
            left = rows as usize;
        }
        loop {
            if let Part::Session(gap) = extent.part {
                let chunk = self.timeline.chunk(next).filter(|chunk| !chunk.is_hollow())?;
                for row in chunk.visible(0, end_of(chunk, next), at.to_bits()).rev() {
                    let time = chunk.times().get(row).copied().unwrap_or(i64::MIN);
                    if later.saturating_sub(time) > gap.0 {
                        return Some(next);
                    }
                    later = time;
                }
            }
            left = left.saturating_sub(rows_of(next)?);
            match self.timeline.previous_chunk(next).filter(|_| left > 0 && next > from) {
                Some(before) => next = before,
                None => return Some(next),
            }
        }
    }

    /// The chunks between two that have no summary of a slot as of `at`; all of them for a slot without summaries.
    fn between(&self, slot: Option<usize>, from: Cursor, to: Cursor, at: u64, lacking: &mut Vec<Lacking>) {
        let mut next = from;
        while next < to && lacking.len() <= FILLED_MAX {
            let block = self.timeline.blocks().get(next.block).and_then(|block| block.summary());
            let is_whole = next.chunk == 0 && next.block > from.block && next.block < to.block;
            let has_summary = |known: usize| slot.is_some_and(|slot| slot < known);
            if is_whole && block.is_some_and(|it| it.max_position <= at && has_summary(it.states.len())) {
                next = Cursor { block: next.block + 1, chunk: 0, row: 0 };
                continue;
            }
            let Some(chunk) = self.timeline.chunk(next) else { return };
            if chunk.max_position() > at || slot.and_then(|slot| chunk.summary(slot)).is_none() {
                self.need(next, lacking);
            }
            next = self.timeline.next_chunk(next);
        }
    }

    /// The chunks before `to` in which the last row is that is visible at `at`, where nothing is in the chunk of `to`;
    /// false if nobody can say.
    fn latest(&self, to: Cursor, at: u64, lacking: &mut Vec<Lacking>) -> bool {
        let mut place = to;
        for _ in 0..LATEST_MAX {
            let Some(before) = self.timeline.previous_chunk(place) else { return true };
            let Some(chunk) = self.timeline.chunk(before) else { return false };
            self.need(before, lacking);
            let is_visible =
                || !chunk.is_hollow() && chunk.positions().iter().any(|position| *position <= at);
            if chunk.max_position() <= at || is_visible() {
                return true;
            }
            // All of its rows may have come later.
            place = before;
        }
        false
    }

    fn need(&self, at: Cursor, lacking: &mut Vec<Lacking>) {
        let Some(chunk) = self.timeline.chunk(at).filter(|chunk| chunk.is_hollow()) else { return };
        if lacking.iter().all(|known| known.id != chunk.id()) {
            lacking.push(Lacking { id: chunk.id(), at });
        }
    }

    /// Fills a chunk with what is stored under its id; false if that is not what was there when this was made.
    ///
    /// # Errors
    /// As [`Timeline::from_chunks`].
    pub fn fill(&mut self, layout: &Layout, lacking: Lacking, bytes: &[u8]) -> Result<bool> {
        let full = codec::decode(layout, lacking.id, bytes, Position::MAX.to_bits())?;
        let place = (lacking.at.block, lacking.at.chunk);
        let body = self.timeline.body_mut();
        let is_filled =
            body.is_some_and(|body| body.change(place, |chunk| chunk.fill(full)).unwrap_or(false));
        if is_filled {
            self.filled.push_back(lacking.at);
        }
        Ok(is_filled)
    }

    /// Lets go of chunks that were filled, but for the latest: as many as go into what may stay between reads.
    pub fn trim(&mut self) {
        self.trim_to(FILLED_BYTES_KEPT);
    }

    /// Lets go of all chunks that were filled.
    pub fn empty(&mut self) {
        self.trim_to(0);
    }

    fn trim_to(&mut self, kept: usize) {
        if self.has_changed {
            // Their rows are nowhere else.
            return;
        }
        let (mut bytes, mut goes) = (0, self.filled.len());
        while let Some(before) = goes.checked_sub(1)
            && let Some(chunk) = self.filled.get(before).and_then(|at| self.timeline.chunk(*at))
        {
            bytes += chunk.rows_bytes();
            if bytes > kept {
                break;
            }
            goes = before;
        }
        for at in self.filled.drain(..goes) {
            if let Some(body) = self.timeline.body_mut() {
                body.change((at.block, at.chunk), Chunk::hollow);
            }
        }
    }

    /// Bytes of memory that the rows of filled chunks take.
    pub fn filled_bytes(&self) -> usize {
        let chunks = self.filled.iter().filter_map(|at| self.timeline.chunk(*at));
        chunks.map(Chunk::rows_bytes).sum()
    }

    /// Whether rows of `batch` can be put in, all of which came after `at`.
    pub fn takes(&self, layout: &Layout, batch: &Batch, row: usize, at: Position) -> bool {
        let is_version = batch.changes.as_ref().is_some_and(|changes| {
            let is_end = row >= changes.ends.len() || changes.ends.value(row);
            is_end || changes.at.get(row) != batch.positions.get(row)
        });
        self.is_of(layout) && self.max_position <= at.to_bits() && !is_version
    }

    /// The chunk that has to be filled before a row can be put in.
    pub fn lacks_for(&self, batch: &Batch, row: usize) -> Option<Lacking> {
        let (time, position) = (*batch.times.get(row)?, *batch.positions.get(row)?);
        let at = self.timeline.chunk_for((time, position, position))?;
        let chunk = self.timeline.chunk(at).filter(|chunk| chunk.is_hollow())?;
        Some(Lacking { id: chunk.id(), at })
    }

    /// [`Timeline::insert`] of a row that it [takes](Outline::takes) and lacks nothing for.
    pub fn insert(&mut self, layout: &Layout, batch: &Batch, row: usize) -> bool {
        let before = (self.timeline.next_id(), self.timeline.tail().id());
        let is_new = self.timeline.insert(layout, batch, row);
        self.has_changed |= is_new;
        if is_new {
            self.max_position = self.max_position.max(batch.positions.get(row).copied().unwrap_or_default());
        }
        let now = (self.timeline.next_id(), self.timeline.tail().id());
        if before.1 != now.1 {
            // The last chunk went to the others, with its rows.
            let block = self.timeline.blocks().len().saturating_sub(1);
            let chunks = self.timeline.blocks().last().map_or(0, |block| block.chunks().len());
            self.filled.push_back(Cursor { block, chunk: chunks.saturating_sub(1), row: 0 });
        } else if before.0 != now.0 {
            // One was cut in two, and those after it have moved.
            self.find_filled();
        }
        is_new
    }

    fn find_filled(&mut self) {
        self.filled.clear();
        for (block, chunks) in self.timeline.blocks().iter().map(Block::chunks).enumerate() {
            for (chunk, _) in chunks.iter().enumerate().filter(|(_, chunk)| !chunk.is_hollow()) {
                self.filled.push_back(Cursor { block, chunk, row: 0 });
            }
        }
    }

    /// [`Timeline::dirty_chunks`]. Reads are right again after it.
    pub fn dirty_chunks(&mut self, layout: &Layout, f: &mut dyn FnMut(u32, &[u8])) {
        self.timeline.seal(layout);
        self.timeline.dirty_chunks(layout, f);
        self.has_changed = false;
    }

    /// The same, cutting chunks of more than `rows` rows, so that tests see many.
    pub fn with_chunk_rows_max(mut self, rows: usize) -> Outline {
        self.timeline.set_chunk_rows_max(rows);
        self
    }
}

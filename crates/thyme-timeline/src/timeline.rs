//! A timeline: chunks in order, and what is kept about them.

use thyme_core::aggregate::SLICE_ROWS_MAX;
use thyme_core::{Error, EventTime, Position, Result};

use crate::batch::{Batch, BatchRow};
use crate::body::{Block, Body, Placed, place};
use crate::chunk::{Chunk, RowKey};
use crate::codec::{self, Alone};
use crate::cursor::Cursor;
use crate::layout::Layout;

/// The rows of one entity in (event time, position) order. A row may be a version: visible from the position
/// at which it was added up to the one at which it was ended.
///
/// All calls on a timeline must pass the same [`Layout`]. Most entities have few rows, so the last
/// chunk stands in the timeline itself and the rest of the structure comes with the second one.
#[derive(Debug)]
pub struct Timeline {
    tail: Chunk,
    body: Option<Box<Body>>,
    next_id: u32,
    rows_max: u16,
}

impl Default for Timeline {
    fn default() -> Self {
        Timeline::new()
    }
}

impl Timeline {
    /// A timeline without rows.
    pub fn new() -> Timeline {
        Timeline { tail: Chunk::new(0), body: None, next_id: 1, rows_max: SLICE_ROWS_MAX as u16 }
    }

    /// A timeline whose chunks hold at most `rows` rows (2 to 256), so that tests see many chunks. Results do not depend on it.
    pub fn with_chunk_rows_max(rows: usize) -> Timeline {
        let mut timeline = Timeline::new();
        timeline.set_chunk_rows_max(rows);
        timeline
    }

    /// How many rows there are, those that were ended included.
    pub fn len(&self) -> usize {
        self.tail.len() + self.body.as_ref().map_or(0, |body| body.rows())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tail.is_empty()
    }

    /// The greatest event time.
    pub fn newest(&self) -> Option<EventTime> {
        self.tail.last_key().map(|(time, ..)| EventTime(time))
    }

    /// Bytes of memory, itself included.
    pub fn bytes(&self) -> usize {
        let body = self.body.as_ref().map_or(0, |body| body.bytes());
        size_of::<Timeline>() - size_of::<Chunk>() + self.tail.bytes() + body
    }

    /// Whether [`Timeline::dirty_chunks`] has something to give.
    pub fn is_dirty(&self) -> bool {
        self.tail.is_dirty() || self.body.as_ref().is_some_and(|body| body.is_dirty())
    }

    /// Puts a row of `batch` where its (event time, position) belongs, or ends the version that it names
    /// (see [`Changes`](crate::Changes)). What was done before is not done again, so that replaying a log
    /// record changes nothing.
    ///
    /// Returns whether anything changed. Reads are right at once, and fast again after [`Timeline::seal`].
    pub fn insert(&mut self, layout: &Layout, batch: &Batch, row: usize) -> bool {
        self.insert_first(layout, BatchRow { batch, row }, 1)
    }

    /// [`Timeline::insert`] of each of some rows, in their order. Where they go is made large enough for all of them
    /// at once.
    pub fn insert_all<'b>(
        &mut self,
        layout: &Layout,
        rows: impl ExactSizeIterator<Item = (&'b Batch, usize)>,
    ) {
        let count = rows.len();
        for (index, (batch, row)) in rows.enumerate() {
            self.insert_first(layout, BatchRow { batch, row }, count - index);
        }
    }

    /// Inserts the first of `count` rows, all of which are likely to follow each other.
    fn insert_first(&mut self, layout: &Layout, BatchRow { batch, row }: BatchRow<'_>, count: usize) -> bool {
        let (Some(time), Some(position)) = (batch.times.get(row), batch.positions.get(row)) else {
            return false;
        };
        let mut key = (*time, *position, *position);
        if let Some(changes) = &batch.changes {
            key.2 = changes.at.get(row).copied().unwrap_or(*position);
            if row < changes.ends.len() && changes.ends.value(row) {
                return self.end(key);
            }
        }
        let row = BatchRow { batch, row };
        if self.tail.is_empty()
            && let Some(body) = &mut self.body
        {
            body.reuse(self.tail.id());
        }
        let rows_max = usize::from(self.rows_max);
        if self.tail.last_key().is_none_or(|last| last < key) {
            if self.tail.is_full(rows_max) {
                self.push_tail(layout, Chunk::new(self.next_id));
            }
            let len = self.tail.len();
            self.tail.reserve(layout, (len + count).min(rows_max));
            self.tail.insert(layout, len, key, &row);
            return true;
        }
        if let Some(body) = &mut self.body
            && let Some(at) = body.chunk_for(key)
        {
            let placed = body.insert_row(layout, at, key, &row, rows_max, self.next_id);
            if matches!(placed, Placed::Split) {
                self.next_id = self.next_id.saturating_add(1);
            }
            return !matches!(placed, Placed::AlreadyThere);
        }
        match place(layout, &mut self.tail, key, &row, rows_max, self.next_id) {
            (Placed::Split, Some(right)) => self.push_tail(layout, right),
            (Placed::AlreadyThere, _) => return false,
            _ => {}
        }
        true
    }

    /// Ends the last version before `key` of the event that it names.
    fn end(&mut self, key: RowKey) -> bool {
        let (block, chunk) =
            self.body.as_ref().and_then(|body| body.chunk_for(key)).unwrap_or((self.blocks().len(), 0));
        let mut at = Cursor { block, chunk, row: 0 };
        at.row = self.chunk(at).map_or(0, |chunk| chunk.rows_before(key));
        if at.row == 0 {
            let Some(before) = self.previous_chunk(at) else { return false };
            at = Cursor { row: self.chunk(before).map_or(0, Chunk::len), ..before };
        }
        let Some(row) = at.row.checked_sub(1) else { return false };
        let found = self.chunk(at).and_then(|chunk| chunk.key(row));
        if found.is_none_or(|(time, position, _)| (time, position) != (key.0, key.1)) {
            return false;
        }
        match &mut self.body {
            Some(body) if at.block < body.blocks().len() => body.end_row((at.block, at.chunk), row, key.2),
            _ => self.tail.end(row, key.2),
        }
    }

    /// Makes `next`, which took `next_id`, the last chunk.
    fn push_tail(&mut self, layout: &Layout, next: Chunk) {
        self.next_id = self.next_id.saturating_add(1);
        let mut last = std::mem::replace(&mut self.tail, next);
        if self.body.is_none() {
            // What is stored of it may say that there is nothing else.
            last.set_dirty(true);
        }
        self.body.get_or_insert_with(|| Box::new(Body::new(layout))).push(last);
    }

    /// Computes the summaries that inserts since the last call left out of date.
    pub fn seal(&mut self, layout: &Layout) {
        if let Some(body) = &mut self.body {
            body.seal(layout);
        }
    }

    /// Makes [`Timeline::dirty_chunks`] give every chunk next time: what it gave before was not stored.
    pub fn mark_dirty(&mut self) {
        if let Some(body) = &mut self.body {
            body.mark_dirty();
        }
        self.tail.set_dirty(!self.tail.is_empty());
    }

    /// Calls `f` with the id and the encoding of every chunk that changed since the last call, all of
    /// which must be stored in one atomic write. A chunk to be removed from the store has no bytes.
    pub fn dirty_chunks(&mut self, layout: &Layout, f: &mut dyn FnMut(u32, &[u8])) {
        let mut bytes = Vec::new();
        let alone = if self.body.is_none() && self.tail.id() == 0 { Alone::Yes } else { Alone::No };
        let mut give = |chunk: &mut Chunk| {
            if chunk.is_dirty() {
                bytes.clear();
                codec::encode(layout, chunk, alone, &mut bytes);
                f(chunk.id(), &bytes);
                chunk.set_dirty(false);
            }
        };
        if let Some(body) = &mut self.body {
            body.take_dirty(&mut give);
        }
        give(&mut self.tail);
        if let Some(body) = &mut self.body {
            body.take_removals(&mut |id| f(id, &[]));
        }
    }

    /// The timeline that stored chunks hold, as of `at`: rows that came later are dropped and those that went
    /// later are there, since the log replays it, and the chunks that held them are dirty. A timeline with any
    /// row has a chunk 0.
    ///
    /// # Errors
    /// Bytes that [`Timeline::dirty_chunks`] did not give under this layout, and chunks that overlap.
    pub fn from_chunks<'a>(
        layout: &Layout,
        chunks: impl Iterator<Item = (u32, &'a [u8])>,
        at: Position,
    ) -> Result<Timeline> {
        let mut timeline = Timeline::new();
        let (mut found, mut gone) = (Vec::new(), Vec::new());
        for (id, bytes) in chunks {
            let chunk = codec::decode(layout, id, bytes, at.to_bits())?;
            timeline.next_id = timeline.next_id.max(id.saturating_add(1));
            match chunk.first_key() {
                Some(first) => found.push((first, chunk)),
                None => gone.push(id),
            }
        }
        found.sort_unstable_by_key(|(first, _)| *first);
        let mut last = None;
        for (first, chunk) in &found {
            if last.is_some_and(|last| last >= *first) {
                return Err(Error::corrupt(format!(
                    "chunk {} of a timeline overlaps the one before it",
                    chunk.id()
                )));
            }
            last = chunk.last_key();
        }
        timeline.assemble(layout, found.into_iter().map(|(_, chunk)| chunk).collect(), gone);
        Ok(timeline)
    }

    /// The timeline of `chunks`, in order, none empty, as they are stored.
    pub(crate) fn of_chunks(layout: &Layout, chunks: Vec<Chunk>) -> Timeline {
        let mut timeline = Timeline::new();
        timeline.next_id = chunks.iter().map(|chunk| chunk.id().saturating_add(1)).max().unwrap_or(1);
        timeline.assemble(layout, chunks, Vec::new());
        timeline
    }

    /// Where a row goes, unless it goes to the last chunk or behind it.
    pub(crate) fn chunk_for(&self, key: RowKey) -> Option<Cursor> {
        if self.tail.last_key().is_none_or(|last| last < key) {
            return None;
        }
        let (block, chunk) = self.body.as_ref()?.chunk_for(key)?;
        Some(Cursor { block, chunk, row: 0 })
    }

    /// The id that the next chunk gets.
    pub(crate) fn next_id(&self) -> u32 {
        self.next_id
    }

    pub(crate) fn set_chunk_rows_max(&mut self, rows: usize) {
        self.rows_max = rows.clamp(2, SLICE_ROWS_MAX) as u16;
    }

    /// Removes for good the rows that `gone` names by event time and position, in whatever life; gives how many.
    /// Unlike a version that ends, they have never been there for any position that is read.
    pub fn remove(&mut self, layout: &Layout, gone: &dyn Fn(EventTime, Position) -> bool) -> usize {
        let is_gone = |(time, position, _): RowKey| gone(EventTime(time), Position::from_bits(position));
        let touches = |chunk: &Chunk| chunk.keys().any(is_gone);
        let body = self.blocks().iter().flat_map(Block::chunks);
        if !body.chain([&self.tail]).any(touches) {
            return 0;
        }
        let kept = |chunk: Chunk| match touches(&chunk) {
            true => Some(chunk.without(layout, &is_gone)).filter(|left| !left.is_empty()),
            false => Some(chunk),
        };
        self.keep(layout, &kept)
    }

    /// Whether any row is not after `time`.
    pub fn begins_until(&self, time: EventTime) -> bool {
        self.first_chunk().rows_until(time.0) > 0
    }

    /// Whether [`Timeline::forget_until`] has something to remove.
    pub fn has_forgettable(&self, time: EventTime) -> bool {
        forgettable(self.first_chunk(), time) > 0
    }

    fn first_chunk(&self) -> &Chunk {
        self.blocks().first().and_then(|block| block.chunks().first()).unwrap_or(&self.tail)
    }

    /// Removes rows that are not after `time`, from the front; gives how many. Rows of the last chunk that has any
    /// stay as long as they are less than half of it: a chunk is not made anew for a few rows.
    pub fn forget_until(&mut self, layout: &Layout, time: EventTime) -> usize {
        if !self.has_forgettable(time) {
            return 0;
        }
        let kept = |chunk: Chunk| match forgettable(&chunk, time) {
            0 => Some(chunk),
            all if all == chunk.len() => None,
            _ => Some(chunk.without(layout, &|(t, ..)| t <= time.0)),
        };
        self.keep(layout, &kept)
    }

    /// Keeps what `kept` leaves of each chunk, if anything; gives how many rows went.
    fn keep(&mut self, layout: &Layout, kept: &dyn Fn(Chunk) -> Option<Chunk>) -> usize {
        let before = self.len();
        let (mut chunks, mut lost) = self.body.take().map(|body| body.into_chunks()).unwrap_or_default();
        chunks.push(std::mem::replace(&mut self.tail, Chunk::new(0)));
        let mut left = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let id = chunk.id();
            match kept(chunk) {
                Some(chunk) => left.push(chunk),
                None => lost.push(id),
            }
        }
        self.assemble(layout, left, lost);
        before - self.len()
    }

    /// Makes it of `found`, in order, none empty, and of the ids of stored chunks of which nothing is left.
    fn assemble(&mut self, layout: &Layout, mut found: Vec<Chunk>, mut gone: Vec<u32>) {
        if let (Some(lost), Some(first)) = (gone.iter_mut().find(|id| **id == 0), found.first_mut()) {
            // There is always a chunk 0: by it one look tells whether an entity is stored at all.
            *lost = first.id();
            first.rename(0);
        }
        self.tail = found.pop().unwrap_or_else(|| Chunk::new(0));
        if !found.is_empty() || !gone.is_empty() {
            let body = self.body.get_or_insert_with(|| Box::new(Body::new(layout)));
            found.into_iter().for_each(|chunk| body.push(chunk));
            body.remove(gone);
            body.seal(layout);
        }
    }

    /// Whether the bytes of a stored chunk 0 are all that is stored of its timeline. If not, there may be others.
    pub fn is_whole(chunk: &[u8]) -> bool {
        codec::is_alone(chunk)
    }

    pub(crate) fn tail(&self) -> &Chunk {
        &self.tail
    }

    pub(crate) fn tail_mut(&mut self) -> &mut Chunk {
        &mut self.tail
    }

    pub(crate) fn body(&self) -> Option<&Body> {
        self.body.as_deref()
    }

    pub(crate) fn body_mut(&mut self) -> Option<&mut Body> {
        self.body.as_deref_mut()
    }

    /// The chunk that `at` is in, the last one included.
    pub(crate) fn chunk(&self, at: Cursor) -> Option<&Chunk> {
        match self.blocks().get(at.block) {
            Some(block) => block.chunks().get(at.chunk),
            None => (at.block == self.blocks().len() && at.chunk == 0 && !self.tail.is_empty())
                .then_some(&self.tail),
        }
    }

    /// All chunks but the last.
    pub(crate) fn blocks(&self) -> &[Block] {
        self.body.as_ref().map_or(&[], |body| body.blocks())
    }
}

/// How many rows of a chunk are worth removing because they are not after `time`.
fn forgettable(chunk: &Chunk, time: EventTime) -> usize {
    let old = chunk.rows_until(time.0);
    if 2 * old >= chunk.len() { old } else { 0 }
}

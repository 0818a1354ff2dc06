//! A timeline: chunks in order, and what is kept about them.

use thyme_core::aggregate::{SLICE_ROWS_MAX, State};
use thyme_core::{Error, EventTime, Position, Result};

use crate::batch::{Batch, BatchRow};
use crate::chunk::{Chunk, RowKey, states_bytes};
use crate::codec;
use crate::layout::Layout;

/// How many chunks share one summary of summaries.
pub(crate) const GROUP_CHUNKS: usize = 64;

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

/// The chunks before the last one.
#[derive(Debug, Default)]
struct Body {
    chunks: Vec<Chunk>,
    /// One for each [`GROUP_CHUNKS`] chunks in a row, as far as they are complete and unchanged since.
    groups: Vec<Option<Group>>,
    /// The chunks without summaries, by index.
    stale: Vec<u32>,
    /// Ids of stored chunks of which nothing is left; kept, since a write that removes them may fail.
    gone: Vec<u32>,
    /// Whether their removal is to be said with the dirty chunks.
    removals_due: bool,
    /// Rows in `chunks`.
    rows: usize,
    /// Bytes of memory of `chunks`.
    bytes: usize,
}

/// The summaries of [`GROUP_CHUNKS`] chunks.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) states: Box<[Box<dyn State>]>,
    pub(crate) max_position: u64,
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
        Timeline { rows_max: rows.clamp(2, SLICE_ROWS_MAX) as u16, ..Timeline::new() }
    }

    /// How many rows there are, those that were ended included.
    pub fn len(&self) -> usize {
        self.tail.len() + self.body.as_ref().map_or(0, |body| body.rows)
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
        let body = self.body.as_ref().map_or(0, |body| size_of::<Body>() + body.bytes + body.index_bytes());
        size_of::<Timeline>() - size_of::<Chunk>() + self.tail.bytes() + body
    }

    /// Whether [`Timeline::dirty_chunks`] has something to give.
    pub fn is_dirty(&self) -> bool {
        self.tail.is_dirty()
            || self
                .body
                .as_ref()
                .is_some_and(|body| body.removals_due || body.chunks.iter().any(Chunk::is_dirty))
    }

    /// Puts a row of `batch` where its (event time, position) belongs, or ends the version that it names
    /// (see [`Changes`](crate::Changes)). What was done before is not done again, so that replaying a log
    /// record changes nothing.
    ///
    /// Returns whether anything changed. Reads are right at once, and fast again after [`Timeline::seal`].
    pub fn insert(&mut self, layout: &Layout, batch: &Batch, row: usize) -> bool {
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
        let rows_max = usize::from(self.rows_max);
        if self.tail.last_key().is_none_or(|last| last < key) {
            if self.tail.is_full(rows_max) {
                self.push_tail(Chunk::new(self.next_id));
            }
            self.tail.insert(layout, self.tail.len(), key, &row);
            return true;
        }
        if let Some(body) = &mut self.body
            && let Some(index) = body.chunk_for(key)
        {
            let placed = body.insert_row(layout, index, key, &row, rows_max, self.next_id);
            if matches!(placed, Placed::Split) {
                self.next_id = self.next_id.saturating_add(1);
            }
            return !matches!(placed, Placed::AlreadyThere);
        }
        match place(layout, &mut self.tail, key, &row, rows_max, self.next_id) {
            (Placed::Split, Some(right)) => self.push_tail(right),
            (Placed::AlreadyThere, _) => return false,
            _ => {}
        }
        true
    }

    /// Ends the last version before `key` of the event that it names.
    fn end(&mut self, key: RowKey) -> bool {
        let before = self.chunks_before_tail();
        let mut index = before.partition_point(|chunk| chunk.last_key().is_some_and(|last| last < key));
        let mut row = self.chunk(index).map_or(0, |chunk| chunk.rows_before(key));
        if row == 0 && index > 0 {
            index -= 1;
            row = self.chunk(index).map_or(0, Chunk::len);
        }
        let Some(row) = row.checked_sub(1) else { return false };
        let found = self.chunk(index).and_then(|chunk| chunk.key(row));
        if found.is_none_or(|(time, position, _)| (time, position) != (key.0, key.1)) {
            return false;
        }
        match &mut self.body {
            Some(body) if index < body.chunks.len() => body.end_row(index, row, key.2),
            _ => self.tail.end(row, key.2),
        }
    }

    /// Makes `next`, which took `next_id`, the last chunk.
    fn push_tail(&mut self, next: Chunk) {
        self.next_id = self.next_id.saturating_add(1);
        let last = std::mem::replace(&mut self.tail, next);
        let body = self.body.get_or_insert_default();
        body.insert_chunk(body.chunks.len(), last);
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
            body.chunks.iter_mut().for_each(|chunk| chunk.set_dirty(true));
            body.removals_due = !body.gone.is_empty();
        }
        self.tail.set_dirty(!self.tail.is_empty());
    }

    /// Calls `f` with the id and the encoding of every chunk that changed since the last call, all of
    /// which must be stored in one atomic write. A chunk to be removed from the store has no bytes.
    pub fn dirty_chunks(&mut self, layout: &Layout, f: &mut dyn FnMut(u32, &[u8])) {
        let mut bytes = Vec::new();
        let mut give = |chunk: &mut Chunk| {
            if chunk.is_dirty() {
                bytes.clear();
                codec::encode(layout, chunk, &mut bytes);
                f(chunk.id(), &bytes);
                chunk.set_dirty(false);
            }
        };
        if let Some(body) = &mut self.body {
            body.chunks.iter_mut().for_each(&mut give);
        }
        give(&mut self.tail);
        if let Some(body) = self.body.as_mut().filter(|body| body.removals_due) {
            body.gone.iter().for_each(|id| f(*id, &[]));
            body.removals_due = false;
        }
    }

    /// The timeline that stored chunks hold, as of `at`: rows that came later are dropped and those that went
    /// later are there, since the log replays it, and the chunks that held them are dirty.
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
        if let Some((_, tail)) = found.pop() {
            timeline.tail = tail;
        } else {
            timeline.tail = Chunk::new(timeline.next_id);
            timeline.next_id = timeline.next_id.saturating_add(1);
        }
        if !found.is_empty() || !gone.is_empty() {
            let body = timeline.body.get_or_insert_default();
            body.chunks.reserve_exact(found.len());
            found.into_iter().for_each(|(_, chunk)| body.insert_chunk(body.chunks.len(), chunk));
            body.removals_due = !gone.is_empty();
            body.gone = gone;
            body.seal(layout);
        }
        Ok(timeline)
    }

    /// The chunk at `index`, the last one included.
    pub(crate) fn chunk(&self, index: usize) -> Option<&Chunk> {
        let before = self.chunks_before_tail();
        before.get(index).or((index == before.len() && !self.tail.is_empty()).then_some(&self.tail))
    }

    /// All chunks but the last.
    pub(crate) fn chunks_before_tail(&self) -> &[Chunk] {
        self.body.as_ref().map_or(&[], |body| &body.chunks)
    }

    /// The summaries of the [`GROUP_CHUNKS`] chunks from `index` on, if `index` starts a group and they are up to date.
    pub(crate) fn group_at(&self, index: usize) -> Option<&Group> {
        if !index.is_multiple_of(GROUP_CHUNKS) {
            return None;
        }
        self.body.as_ref()?.groups.get(index / GROUP_CHUNKS)?.as_ref()
    }
}

/// What became of a row.
enum Placed {
    AlreadyThere,
    Inserted,
    /// The chunk was full: its right half took the new id.
    Split,
}

/// Puts a row into a chunk; gives the right half if that had to be split.
fn place(
    layout: &Layout,
    chunk: &mut Chunk,
    key: RowKey,
    row: &BatchRow<'_>,
    rows_max: usize,
    next_id: u32,
) -> (Placed, Option<Chunk>) {
    let Some(index) = chunk.place(key) else { return (Placed::AlreadyThere, None) };
    let half = chunk.len() / 2;
    if !chunk.is_full(rows_max) || half == 0 {
        chunk.insert(layout, index, key, row);
        return (Placed::Inserted, None);
    }
    let mut right = chunk.split(layout, half, next_id);
    if index <= half {
        chunk.insert(layout, index, key, row);
    } else {
        right.insert(layout, index - half, key, row);
    }
    (Placed::Split, Some(right))
}

impl Body {
    /// The chunk that a row belongs to, unless that is the tail.
    fn chunk_for(&self, key: RowKey) -> Option<usize> {
        let index = self.chunks.partition_point(|chunk| chunk.last_key().is_some_and(|last| last < key));
        (index < self.chunks.len()).then_some(index)
    }

    fn insert_row(
        &mut self,
        layout: &Layout,
        index: usize,
        key: RowKey,
        row: &BatchRow<'_>,
        rows_max: usize,
        next_id: u32,
    ) -> Placed {
        let Some(chunk) = self.chunks.get_mut(index) else { return Placed::AlreadyThere };
        let (had_summaries, rows, bytes) = (chunk.has_summaries(), chunk.len(), chunk.bytes());
        let (placed, right) = place(layout, chunk, key, row, rows_max, next_id);
        if matches!(placed, Placed::AlreadyThere) {
            return placed;
        }
        self.rows = self.rows + chunk.len() - rows;
        self.bytes = self.bytes + chunk.bytes() - bytes;
        self.outdate(index, had_summaries);
        if let Some(right) = right {
            self.insert_chunk(index + 1, right);
        }
        placed
    }

    fn end_row(&mut self, index: usize, row: usize, at: u64) -> bool {
        let Some(chunk) = self.chunks.get_mut(index) else { return false };
        let (had_summaries, bytes) = (chunk.has_summaries(), chunk.bytes());
        if !chunk.end(row, at) {
            return false;
        }
        self.bytes = self.bytes + chunk.bytes() - bytes;
        self.outdate(index, had_summaries);
        true
    }

    /// Notes that the summaries of the chunk at `index` are gone, if it had any.
    fn outdate(&mut self, index: usize, had_summaries: bool) {
        if had_summaries {
            self.stale.push(index as u32);
        }
        if let Some(group) = self.groups.get_mut(index / GROUP_CHUNKS) {
            *group = None;
        }
    }

    fn insert_chunk(&mut self, index: usize, chunk: Chunk) {
        self.rows += chunk.len();
        self.bytes += chunk.bytes();
        self.stale.iter_mut().filter(|stale| **stale >= index as u32).for_each(|stale| *stale += 1);
        self.stale.push(index as u32);
        self.groups.truncate(index / GROUP_CHUNKS);
        self.chunks.insert(index.min(self.chunks.len()), chunk);
    }

    fn seal(&mut self, layout: &Layout) {
        // Whatever outdates a group also leaves a chunk stale.
        if self.stale.is_empty() {
            return;
        }
        for index in self.stale.drain(..) {
            if let Some(chunk) = self.chunks.get_mut(index as usize) {
                let before = chunk.bytes();
                chunk.summarise(layout);
                self.bytes = self.bytes + chunk.bytes() - before;
            }
        }
        for (index, chunks) in self.chunks.chunks_exact(GROUP_CHUNKS).enumerate() {
            match self.groups.get_mut(index) {
                Some(Some(_)) => {}
                Some(group) => *group = Some(Group::new(layout, chunks)),
                None => self.groups.push(Some(Group::new(layout, chunks))),
            }
        }
    }

    /// Bytes of memory of what is kept about the chunks.
    fn index_bytes(&self) -> usize {
        let spare = (self.chunks.capacity() - self.chunks.len()) * size_of::<Chunk>();
        let ids = (self.stale.capacity() + self.gone.capacity()) * size_of::<u32>();
        let groups = self.groups.iter().flatten().map(|group| states_bytes(&group.states)).sum::<usize>();
        spare + ids + groups + self.groups.capacity() * size_of::<Option<Group>>()
    }
}

impl Group {
    fn new(layout: &Layout, chunks: &[Chunk]) -> Group {
        let states = layout.slots.iter().enumerate().map(|(index, slot)| {
            let mut state = layout.state(slot);
            chunks.iter().filter_map(|chunk| chunk.summary(index)).for_each(|summary| state.merge(summary));
            state
        });
        Group {
            states: states.collect(),
            max_position: chunks.iter().map(Chunk::max_position).max().unwrap_or_default(),
        }
    }
}

//! The chunks before the last one, in blocks with a summary each.

use thyme_core::aggregate::State;

use crate::batch::BatchRow;
use crate::chunk::{Chunk, RowKey, states_bytes};
use crate::layout::Layout;

/// How many chunks share one summary of summaries, at least; a block of twice as many is cut in two.
pub(crate) const BLOCK_CHUNKS: usize = 64;

/// Up to `2 * BLOCK_CHUNKS` chunks in a row, never none.
///
/// A row that comes out of order moves the chunks of its block at most, and outdates the summary of its
/// block alone: an entity may have any number of rows.
#[derive(Debug, Default)]
pub(crate) struct Block {
    chunks: Vec<Chunk>,
    summary: Option<Summary>,
    /// Whether a chunk has no summaries, or the block should have one and has not.
    stale: bool,
    dirty: bool,
}

/// The summaries of a block.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) states: Box<[Box<dyn State>]>,
    pub(crate) max_position: u64,
}

/// The chunks of a timeline before the last one.
#[derive(Debug, Default)]
pub(crate) struct Body {
    blocks: Vec<Block>,
    /// Whether any block is stale.
    stale: bool,
    /// Ids of stored chunks of which nothing is left; kept, since a write that removes them may fail.
    gone: Vec<u32>,
    /// Whether their removal is to be said with the dirty chunks.
    removals_due: bool,
    rows: usize,
    /// Bytes of memory behind the chunks and the blocks' summaries.
    bytes: usize,
    /// Chunks that the blocks have room for.
    room: usize,
    /// Of so many slots every summary that there is has a state.
    slots: usize,
}

/// What became of a row.
pub(crate) enum Placed {
    AlreadyThere,
    Inserted,
    /// The chunk was full: its right half took the new id.
    Split,
}

/// Puts a row into a chunk; gives the right half if that had to be split.
pub(crate) fn place(
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

impl Block {
    pub(crate) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The summaries of all its chunks, if they are up to date.
    pub(crate) fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// The greatest event time.
    pub(crate) fn last_time(&self) -> i64 {
        self.chunks.last().map_or(i64::MIN, Chunk::last_time)
    }

    fn last_key(&self) -> Option<RowKey> {
        self.chunks.last().and_then(Chunk::last_key)
    }
}

impl Body {
    /// Without any chunks yet.
    pub(crate) fn new(layout: &Layout) -> Body {
        Body { slots: layout.slots.len(), ..Body::default() }
    }

    /// Whether no summary lacks a slot.
    pub(crate) fn is_ripe(&self, layout: &Layout) -> bool {
        self.slots >= layout.slots.len()
    }

    /// Makes what summaries lack, of `chunks` chunks at most.
    pub(crate) fn ripen(&mut self, layout: &Layout, mut chunks: usize) {
        if self.is_ripe(layout) {
            return;
        }
        for block in &mut self.blocks {
            for chunk in &mut block.chunks {
                if chunk.lacks_verdicts(layout) || (chunk.is_summarised() && !chunk.has_summaries(layout)) {
                    if chunks == 0 {
                        return;
                    }
                    chunks -= 1;
                    let before = held(chunk);
                    chunk.summarise(layout);
                    self.bytes = self.bytes + held(chunk) - before;
                }
            }
            if let Some(summary) = &mut block.summary {
                let before = states_bytes(&summary.states);
                summary.add_slots(layout, &block.chunks);
                self.bytes = self.bytes + states_bytes(&summary.states) - before;
            }
        }
        self.slots = layout.slots.len();
    }

    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory, itself included.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Body>()
            + self.bytes
            + self.room * size_of::<Chunk>()
            + self.blocks.capacity() * size_of::<Block>()
            + self.gone.capacity() * size_of::<u32>()
    }

    /// The block and chunk that a row belongs to, unless that is the tail.
    pub(crate) fn chunk_for(&self, key: RowKey) -> Option<(usize, usize)> {
        let before = |last: Option<RowKey>| last.is_some_and(|last| last < key);
        let index = self.blocks.partition_point(|block| before(block.last_key()));
        let block = self.blocks.get(index)?;
        Some((index, block.chunks.partition_point(|chunk| before(chunk.last_key()))))
    }

    pub(crate) fn insert_row(
        &mut self,
        layout: &Layout,
        (index, at): (usize, usize),
        key: RowKey,
        row: &BatchRow<'_>,
        rows_max: usize,
        next_id: u32,
    ) -> Placed {
        let Some(block) = self.blocks.get_mut(index) else { return Placed::AlreadyThere };
        let Some(chunk) = block.chunks.get_mut(at) else { return Placed::AlreadyThere };
        let (rows, bytes) = (chunk.len(), held(chunk));
        let (placed, right) = place(layout, chunk, key, row, rows_max, next_id);
        if matches!(placed, Placed::AlreadyThere) {
            return placed;
        }
        self.rows = self.rows + chunk.len() - rows;
        self.bytes = self.bytes + held(chunk) - bytes;
        self.bytes -= block.outdate();
        block.dirty = true;
        self.stale = true;
        if let Some(right) = right {
            self.insert_chunk(index, at + 1, right);
        }
        placed
    }

    /// Ends the life of a row at `position`; says whether it had not ended yet.
    pub(crate) fn end_row(&mut self, (index, at): (usize, usize), row: usize, position: u64) -> bool {
        let Some(block) = self.blocks.get_mut(index) else { return false };
        let Some(chunk) = block.chunks.get_mut(at) else { return false };
        let bytes = held(chunk);
        if !chunk.end(row, position) {
            return false;
        }
        self.bytes = self.bytes + held(chunk) - bytes;
        self.bytes -= block.outdate();
        block.dirty = true;
        self.stale = true;
        true
    }

    /// Lets `change` change what a chunk takes in memory, and nothing that it says.
    pub(crate) fn change<R>(
        &mut self,
        (block, chunk): (usize, usize),
        change: impl FnOnce(&mut Chunk) -> R,
    ) -> Option<R> {
        let chunk = self.blocks.get_mut(block)?.chunks.get_mut(chunk)?;
        let before = held(chunk);
        let changed = change(chunk);
        self.bytes = self.bytes + held(chunk) - before;
        Some(changed)
    }

    /// Adds a chunk after all others.
    pub(crate) fn push(&mut self, chunk: Chunk) {
        if self.blocks.last().is_none_or(|block| block.chunks.len() >= BLOCK_CHUNKS) {
            self.blocks.push(Block::default());
        }
        let last = self.blocks.len().saturating_sub(1);
        let at = self.blocks.last().map_or(0, |block| block.chunks.len());
        self.insert_chunk(last, at, chunk);
    }

    fn insert_chunk(&mut self, index: usize, at: usize, chunk: Chunk) {
        let Some(block) = self.blocks.get_mut(index) else { return };
        self.rows += chunk.len();
        self.bytes += held(&chunk);
        self.bytes -= block.outdate();
        block.dirty |= chunk.is_dirty();
        self.stale = true;
        let room = block.chunks.capacity();
        block.chunks.insert(at.min(block.chunks.len()), chunk);
        self.room = self.room + block.chunks.capacity() - room;
        if block.chunks.len() >= 2 * BLOCK_CHUNKS {
            let right = block.chunks.split_off(BLOCK_CHUNKS);
            self.room += right.capacity();
            let right = Block { chunks: right, summary: None, stale: true, dirty: block.dirty };
            self.blocks.insert(index + 1, right);
        }
    }

    /// Computes the summaries that are missing. The last block gets one when it is full: until then every
    /// new chunk would outdate it.
    pub(crate) fn seal(&mut self, layout: &Layout) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let last = self.blocks.len().saturating_sub(1);
        for (index, block) in self.blocks.iter_mut().enumerate().filter(|(_, block)| block.stale) {
            for chunk in block.chunks.iter_mut().filter(|chunk| !chunk.has_summaries(layout)) {
                let before = held(chunk);
                chunk.summarise(layout);
                self.bytes = self.bytes + held(chunk) - before;
            }
            if index < last || block.chunks.len() >= BLOCK_CHUNKS {
                let summary = Summary::new(layout, &block.chunks);
                self.bytes += states_bytes(&summary.states);
                block.summary = Some(summary);
            }
            block.stale = false;
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.removals_due || self.blocks.iter().any(|block| block.dirty)
    }

    pub(crate) fn mark_dirty(&mut self) {
        for block in &mut self.blocks {
            block.dirty = true;
            block.chunks.iter_mut().for_each(|chunk| chunk.set_dirty(true));
        }
        self.removals_due = !self.gone.is_empty();
    }

    /// Gives every chunk that may be dirty; `f` cleans it.
    pub(crate) fn take_dirty(&mut self, f: &mut dyn FnMut(&mut Chunk)) {
        for block in self.blocks.iter_mut().filter(|block| block.dirty) {
            block.chunks.iter_mut().for_each(&mut *f);
            block.dirty = false;
        }
    }

    /// Says which stored chunks to remove: those of which nothing is left.
    pub(crate) fn take_removals(&mut self, f: &mut dyn FnMut(u32)) {
        if std::mem::take(&mut self.removals_due) {
            self.gone.iter().for_each(|id| f(*id));
        }
    }

    /// Its chunks in order, and the ids of stored ones of which nothing is left.
    pub(crate) fn into_chunks(self) -> (Vec<Chunk>, Vec<u32>) {
        (self.blocks.into_iter().flat_map(|block| block.chunks).collect(), self.gone)
    }

    /// Notes stored chunks of which nothing is left.
    pub(crate) fn remove(&mut self, gone: Vec<u32>) {
        self.gone = gone;
        self.removals_due = !self.gone.is_empty();
    }

    /// A chunk takes an id again of which nothing was left.
    pub(crate) fn reuse(&mut self, id: u32) {
        self.gone.retain(|gone| *gone != id);
    }
}

/// Bytes of memory behind a chunk, without the place it takes in its block.
fn held(chunk: &Chunk) -> usize {
    chunk.bytes() - size_of::<Chunk>()
}

impl Block {
    /// A chunk of it changed. Returns the bytes of the summary that is dropped.
    fn outdate(&mut self) -> usize {
        self.stale = true;
        self.summary.take().map_or(0, |summary| states_bytes(&summary.states))
    }
}

impl Summary {
    fn new(layout: &Layout, chunks: &[Chunk]) -> Summary {
        let max_position = chunks.iter().map(Chunk::max_position).max().unwrap_or_default();
        let mut summary = Summary { states: Box::default(), max_position };
        summary.add_slots(layout, chunks);
        summary
    }

    /// Makes the states of slots that it has none of; the chunks have theirs.
    fn add_slots(&mut self, layout: &Layout, chunks: &[Chunk]) {
        let mut states = std::mem::take(&mut self.states).into_vec();
        for (index, slot) in layout.slots.iter().enumerate().skip(states.len()) {
            let mut state = layout.summary(slot);
            chunks.iter().filter_map(|chunk| chunk.summary(index)).for_each(|summary| state.merge(summary));
            states.push(state);
        }
        self.states = states.into_boxed_slice();
    }
}

//! Places between rows, and how to step from one to the next.

use thyme_core::EventTime;

use crate::timeline::Timeline;

/// A place between two rows: before row `row` of chunk `chunk` of block `block`. The last chunk counts as
/// a block of its own; the end is the start of the block after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor {
    pub(crate) block: usize,
    pub(crate) chunk: usize,
    pub(crate) row: usize,
}

impl Cursor {
    fn start_of(block: usize, chunk: usize) -> Cursor {
        Cursor { block, chunk, row: 0 }
    }

    /// Whether both are in one chunk.
    pub(crate) fn same_chunk(self, other: Cursor) -> bool {
        (self.block, self.chunk) == (other.block, other.chunk)
    }
}

impl Timeline {
    /// Before the first row of the window `(after, ...`.
    pub(crate) fn start_of(&self, after: EventTime) -> Cursor {
        if after.0 == i64::MIN { Cursor::default() } else { self.cursor_after(after) }
    }

    /// Before the first row later than `time`.
    pub(crate) fn cursor_after(&self, time: EventTime) -> Cursor {
        self.cursor_in(self.chunk_after(time), time)
    }

    /// The start of the first chunk that has rows later than `time`, or of the last one.
    pub(crate) fn chunk_after(&self, time: EventTime) -> Cursor {
        let blocks = self.blocks();
        let block = match blocks.last() {
            Some(last) if last.last_time() <= time.0 => blocks.len(),
            _ => blocks.partition_point(|block| block.last_time() <= time.0),
        };
        let chunks = blocks.get(block).map_or(&[][..], |block| block.chunks());
        Cursor::start_of(block, chunks.partition_point(|chunk| chunk.last_time() <= time.0))
    }

    /// Before the first row later than `time` of the chunk that `at` is in; all earlier chunks have none.
    fn cursor_in(&self, at: Cursor, time: EventTime) -> Cursor {
        match self.chunk(at) {
            Some(rows) if rows.last_time() <= time.0 => self.next_chunk(at),
            Some(rows) => Cursor { row: rows.rows_until(time.0), ..at },
            None => Cursor { row: 0, ..at },
        }
    }

    /// The start of the chunk after the one that `at` is in.
    pub(crate) fn next_chunk(&self, at: Cursor) -> Cursor {
        match self.blocks().get(at.block) {
            Some(block) if at.chunk + 1 < block.chunks().len() => Cursor::start_of(at.block, at.chunk + 1),
            _ => Cursor::start_of(at.block + 1, 0),
        }
    }

    /// The start of the chunk before the one that `at` is in.
    pub(crate) fn previous_chunk(&self, at: Cursor) -> Option<Cursor> {
        if let Some(chunk) = at.chunk.checked_sub(1) {
            return Some(Cursor::start_of(at.block, chunk));
        }
        let block = at.block.checked_sub(1)?;
        let chunks = self.blocks().get(block).map_or(1, |block| block.chunks().len());
        Some(Cursor::start_of(block, chunks.saturating_sub(1)))
    }

    /// Before the first row later than `time`, which is not before `from`.
    pub(crate) fn advance(&self, from: Cursor, time: EventTime) -> Cursor {
        let Some(chunk) = self.chunk(from) else { return from };
        if chunk.last_time() <= time.0 {
            // Most often the next chunk is far enough.
            let next = self.next_chunk(from);
            return match self.chunk(next) {
                Some(chunk) if chunk.last_time() <= time.0 => self.cursor_after(time),
                _ => self.cursor_in(next, time),
            };
        }
        let rest = chunk.times().get(from.row..).unwrap_or_default();
        let steps = match rest.iter().take(8).position(|t| *t > time.0) {
            Some(steps) => steps,
            None => rest.partition_point(|t| *t <= time.0),
        };
        Cursor { row: from.row + steps, ..from }
    }

    /// How many chunks lie between two places, about.
    pub(crate) fn chunks_between(&self, from: Cursor, to: Cursor) -> usize {
        let between = self.blocks().get(from.block..to.block.min(self.blocks().len())).unwrap_or_default();
        let chunks = between.iter().map(|block| block.chunks().len()).sum::<usize>() + to.chunk;
        chunks.saturating_sub(from.chunk)
    }

    /// Calls `f` with (chunk, from row, to row) for the rows between two places, until it says false.
    pub(crate) fn pieces(&self, from: Cursor, to: Cursor, f: &mut dyn FnMut(Cursor, usize, usize) -> bool) {
        let mut at = from;
        while at < to {
            let Some(chunk) = self.chunk(at) else { return };
            let end = if at.same_chunk(to) { to.row } else { chunk.len() };
            if at.row < end && !f(at, at.row, end) {
                return;
            }
            at = self.next_chunk(at);
        }
    }
}

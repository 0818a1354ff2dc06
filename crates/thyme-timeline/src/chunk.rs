//! Up to 256 rows of a timeline in one allocation.

use thyme_core::aggregate::{Mask, SLICE_ROWS_MAX, Slice, State, mask_range, word_text};
use zerocopy::{FromBytes, IntoBytes};

use crate::bits::{bit, insert_bit};
use crate::layout::{Layout, Slot};
use crate::lives::{FOREVER, Lives};

/// The least words that a chunk with rows takes.
const WORDS_MIN: usize = 8;
/// Up to so many words a chunk grows by a quarter or less, since few rows are the rule for most entities; from there on by half.
const WORDS_FINE: usize = 64;

/// A chunk whose strings take more is full: offsets into them have 32 bits.
const HEAP_BYTES_MAX: usize = 1 << 28;

/// A row's place in its timeline: event time, then the position of the event, then the position at which the
/// row was added, which is the event's own unless it is a later version.
pub(crate) type RowKey = (i64, u64, u64);

/// One value that is not null.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    Word(u64),
    Text(&'a [u8]),
}

/// What a row holds besides its key.
pub(crate) trait Row {
    /// The value in a column; `None` for null.
    fn cell(&self, column: usize) -> Option<Cell<'_>>;
    /// A predicate's verdict.
    fn predicate(&self, predicate: usize) -> bool;
    /// The position at which it is no longer visible.
    fn removed(&self) -> u64 {
        FOREVER
    }
}

/// What the store has of a chunk, and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mark {
    /// Both the same.
    #[default]
    Clean,
    /// Memory has what the store has not.
    Dirty,
    /// The rows are in the store alone: the words are the event time and the position of the last of them.
    Hollow,
}

/// What only some chunks have.
#[derive(Debug, Default)]
struct Extra {
    /// The bytes of the values that are not words, in no particular order.
    heap: Vec<u8>,
    /// Present if a row came later than its event, or is gone.
    lives: Option<Box<Lives>>,
    /// One state a slot over all rows that are still there; there is none once a row has come or gone.
    summaries: Option<Box<[Box<dyn State>]>>,
}

/// Rows in the order of their [`RowKey`]s, column-major in one allocation of words with room for
/// `capacity` rows: the times, the positions, each column, and then rows of bits: the validity of
/// each column and each predicate.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) words: Box<[u64]>,
    extra: Option<Box<Extra>>,
    /// The last position at which a row came or went.
    max_position: u64,
    id: u32,
    len: u16,
    /// The capacity less one, if there are any words.
    room: u8,
    mark: Mark,
}

impl Chunk {
    pub(crate) fn new(id: u32) -> Chunk {
        Chunk { id, ..Chunk::default() }
    }

    /// An empty chunk with room for `rows`.
    pub(crate) fn with_room(layout: &Layout, id: u32, rows: usize) -> Chunk {
        let mut chunk = Chunk::new(id);
        chunk.grow(layout, rows);
        chunk
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Gives it another id, under which it is not stored yet.
    pub(crate) fn rename(&mut self, id: u32) {
        self.id = id;
        self.mark = Mark::Dirty;
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.mark == Mark::Dirty
    }

    pub(crate) fn set_dirty(&mut self, dirty: bool) {
        self.mark = if dirty { Mark::Dirty } else { Mark::Clean };
    }

    /// The greatest event time; meaningless in an empty chunk.
    pub(crate) fn last_time(&self) -> i64 {
        match self.is_hollow() {
            true => self.words.first().map_or(0, |time| *time as i64),
            false => self.times().last().copied().unwrap_or_default(),
        }
    }

    /// Lets go of its rows, none of which is a version: what is left are its summaries, and where it ends.
    pub(crate) fn hollow(&mut self) {
        let (time, position, _) = self.last_key().unwrap_or_default();
        self.words = Box::new([time as u64, position]);
        self.room = 0;
        self.mark = Mark::Hollow;
        if let Some(extra) = &mut self.extra {
            extra.heap = Vec::new();
        }
    }

    /// Whether it has been let go of its rows.
    pub(crate) fn is_hollow(&self) -> bool {
        self.mark == Mark::Hollow
    }

    /// Takes the rows of `full`, if these are the ones it was let go of.
    pub(crate) fn fill(&mut self, full: Chunk) -> bool {
        let ends = |chunk: &Chunk| (chunk.id, chunk.len, chunk.last_key(), chunk.max_position);
        if !self.is_hollow() || ends(self) != ends(&full) || full.lives().is_some() {
            return false;
        }
        self.words = full.words;
        self.room = full.room;
        self.mark = Mark::Clean;
        if let Some(extra) = full.extra {
            self.extra.get_or_insert_default().heap = extra.heap;
        }
        true
    }

    /// The last position at which a row came or went: from there on the summaries say what is visible.
    pub(crate) fn max_position(&self) -> u64 {
        self.max_position
    }

    /// Whether another row needs another chunk.
    pub(crate) fn is_full(&self, rows_max: usize) -> bool {
        self.len() >= rows_max || self.heap_bytes().len() >= HEAP_BYTES_MAX
    }

    pub(crate) fn capacity(&self) -> usize {
        if self.words.is_empty() { 0 } else { usize::from(self.room) + 1 }
    }

    fn area(&self, start: usize, len: usize) -> &[u64] {
        self.words.get(start..start + len).unwrap_or_default()
    }

    pub(crate) fn times(&self) -> &[i64] {
        <[i64]>::ref_from_bytes(self.area(0, self.len()).as_bytes()).unwrap_or_default()
    }

    pub(crate) fn positions(&self) -> &[u64] {
        self.area(self.capacity(), self.len())
    }

    pub(crate) fn column(&self, column: usize) -> &[u64] {
        self.area((2 + column) * self.capacity(), self.len())
    }

    pub(crate) fn heap_bytes(&self) -> &[u8] {
        self.extra.as_ref().map_or(&[], |extra| &extra.heap)
    }

    /// When rows came and went, unless all came at their positions and are still there.
    pub(crate) fn lives(&self) -> Option<&Lives> {
        self.extra.as_ref()?.lives.as_deref()
    }

    fn lives_mut(&mut self) -> &mut Lives {
        if self.lives().is_none() {
            let lives = Lives::of(self.positions());
            self.extra.get_or_insert_default().lives = Some(Box::new(lives));
        }
        self.extra.get_or_insert_default().lives.get_or_insert_default()
    }

    pub(crate) fn removed(&self, row: usize) -> u64 {
        self.lives().map_or(FOREVER, |lives| lives.removed(row))
    }

    fn bit_row(&self, layout: &Layout, row: usize) -> &[u64] {
        let (start, words) = bit_area(layout, self.capacity(), row);
        self.area(start, words)
    }

    pub(crate) fn validity(&self, layout: &Layout, column: usize) -> &[u64] {
        self.bit_row(layout, column)
    }

    pub(crate) fn verdicts(&self, layout: &Layout, predicate: usize) -> &[u64] {
        self.bit_row(layout, layout.columns.len() + predicate)
    }

    /// The value of `row` in `column`; `None` for null.
    pub(crate) fn cell(&self, layout: &Layout, column: usize, row: usize) -> Option<Cell<'_>> {
        if !bit(self.validity(layout, column), row) {
            return None;
        }
        let word = *self.column(column).get(row)?;
        Some(match layout.columns.get(column)?.is_word() {
            false => Cell::Text(word_text(word, self.heap_bytes())),
            true => Cell::Word(word),
        })
    }

    pub(crate) fn key(&self, row: usize) -> Option<RowKey> {
        let (time, position) = (*self.times().get(row)?, *self.positions().get(row)?);
        let added = self.lives().and_then(|lives| lives.added(row)).unwrap_or(position);
        Some((time, position, added))
    }

    pub(crate) fn first_key(&self) -> Option<RowKey> {
        self.key(0)
    }

    pub(crate) fn last_key(&self) -> Option<RowKey> {
        match *self.words {
            [time, position] if self.is_hollow() => Some((time as i64, position, position)),
            _ => self.key(self.len().checked_sub(1)?),
        }
    }

    /// How many rows are not after `time`.
    pub(crate) fn rows_until(&self, time: i64) -> usize {
        self.times().partition_point(|t| *t <= time)
    }

    /// Where a row with `key` goes, or `None` if it is there already.
    pub(crate) fn place(&self, key: RowKey) -> Option<usize> {
        let row = self.rows_before(key);
        (self.key(row) != Some(key)).then_some(row)
    }

    /// How many rows are before `key`.
    pub(crate) fn rows_before(&self, key: RowKey) -> usize {
        if self.last_key().is_none_or(|last| last < key) {
            return self.len();
        }
        let mut row = self.times().partition_point(|t| *t < key.0);
        while self.key(row).is_some_and(|at| at < key) {
            row += 1;
        }
        row
    }

    /// Puts a row at `index`, where [`Chunk::place`] said; the chunk has fewer than 256.
    pub(crate) fn insert(&mut self, layout: &Layout, index: usize, key: RowKey, row: &impl Row) {
        if self.lacks_verdicts(layout) {
            self.judge(layout);
        }
        let (len, removed) = (self.len(), row.removed());
        if key.2 != key.1 || removed != FOREVER || self.lives().is_some() {
            self.lives_mut().insert(index, key.2, removed);
        }
        if len == self.capacity() {
            self.grow(layout, len + 1);
        }
        let capacity = self.capacity();
        let Some((fixed, bits)) = self.words.split_at_mut_checked((2 + layout.columns.len()) * capacity)
        else {
            return;
        };
        let bit_words = capacity.div_ceil(64);
        let mut areas = fixed.chunks_exact_mut(capacity);
        let mut bit_rows = bits.chunks_exact_mut(bit_words);
        let put = |areas: &mut std::slice::ChunksExactMut<'_, u64>, word: u64| {
            if let Some(area) = areas.next() {
                area.copy_within(index..len, index + 1);
                area.iter_mut().skip(index).take(1).for_each(|slot| *slot = word);
            }
        };
        put(&mut areas, key.0 as u64);
        put(&mut areas, key.1);
        for column in 0..layout.columns.len() {
            let word = match row.cell(column) {
                None => None,
                Some(Cell::Word(word)) => Some(word),
                Some(Cell::Text(text)) => Some(stored(&mut self.extra, text)),
            };
            put(&mut areas, word.unwrap_or_default());
            if let Some(bits) = bit_rows.next() {
                insert_bit(bits, index, word.is_some());
            }
        }
        for (predicate, bits) in bit_rows.enumerate() {
            insert_bit(bits, index, row.predicate(predicate));
        }
        self.max_position = self.max_position.max(key.2);
        if removed != FOREVER {
            self.max_position = self.max_position.max(removed);
        }
        self.len += 1;
        self.mark = Mark::Dirty;
        self.outdate();
    }

    /// Ends the life of a row at `at`; says whether it had not ended yet.
    pub(crate) fn end(&mut self, row: usize, at: u64) -> bool {
        if self.removed(row) != FOREVER {
            return false;
        }
        self.lives_mut().end(row, at);
        self.max_position = self.max_position.max(at);
        self.mark = Mark::Dirty;
        self.outdate();
        true
    }

    fn outdate(&mut self) {
        if let Some(extra) = &mut self.extra {
            extra.summaries = None;
        }
    }

    /// Makes room for `rows` in all, if there is less.
    pub(crate) fn reserve(&mut self, layout: &Layout, rows: usize) {
        if rows > self.capacity() {
            // A chunk that is larger has room for verdicts that it has not: nobody would make them.
            if self.lacks_verdicts(layout) {
                self.judge(layout);
            }
            self.grow(layout, rows);
        }
    }

    /// Makes room for `rows`.
    fn grow(&mut self, layout: &Layout, rows: usize) {
        let (old, new) = (self.capacity(), capacity_for(layout, rows));
        let areas = 2 + layout.columns.len();
        let mut words = vec![0; areas * new + layout.bit_rows() * new.div_ceil(64)].into_boxed_slice();
        let move_area = |words: &mut [u64], to: usize, from: usize, len: usize| {
            if let (Some(to), Some(from)) = (words.get_mut(to..to + len), self.words.get(from..from + len)) {
                to.copy_from_slice(from);
            }
        };
        for area in 0..areas {
            move_area(&mut words, area * new, area * old, old);
        }
        for row in 0..layout.bit_rows() {
            let ((from, len), (to, _)) = (bit_area(layout, old, row), bit_area(layout, new, row));
            move_area(&mut words, to, from, len);
        }
        self.words = words;
        self.room = new.saturating_sub(1) as u8;
    }

    /// Cuts the chunk in two at `row`; the rest becomes a chunk with the id `rest`.
    pub(crate) fn split(&mut self, layout: &Layout, row: usize, rest: u32) -> Chunk {
        let right = self.extract(layout, row, self.len(), rest);
        *self = self.extract(layout, 0, row, self.id);
        right
    }

    fn extract(&self, layout: &Layout, from: usize, to: usize, id: u32) -> Chunk {
        let mut chunk = Chunk::with_room(layout, id, to.saturating_sub(from));
        for row in from..to {
            if let Some(key) = self.key(row) {
                chunk.insert(layout, row - from, key, &ChunkRow { chunk: self, layout, row });
            }
        }
        chunk.judge_from(layout, self.predicates(layout));
        chunk
    }

    /// The keys of its rows.
    pub(crate) fn keys(&self) -> impl Iterator<Item = RowKey> + '_ {
        (0..self.len()).filter_map(|row| self.key(row))
    }

    /// The chunk without the rows that `gone` names.
    pub(crate) fn without(&self, layout: &Layout, gone: &dyn Fn(RowKey) -> bool) -> Chunk {
        let kept = self.keys().enumerate().filter(|(_, key)| !gone(*key));
        let mut chunk = Chunk::with_room(layout, self.id, self.keys().filter(|key| !gone(*key)).count());
        for (row, key) in kept {
            chunk.insert(layout, chunk.len(), key, &ChunkRow { chunk: self, layout, row });
        }
        chunk.judge_from(layout, self.predicates(layout));
        chunk
    }

    pub(crate) fn summary(&self, slot: usize) -> Option<&dyn State> {
        self.summaries()?.get(slot).map(|state| state.as_ref())
    }

    fn summaries(&self) -> Option<&[Box<dyn State>]> {
        self.extra.as_ref()?.summaries.as_deref()
    }

    /// Whether it has summaries, if not of every slot.
    pub(crate) fn is_summarised(&self) -> bool {
        self.summaries().is_some()
    }

    /// Whether there is a summary of every slot.
    pub(crate) fn has_summaries(&self, layout: &Layout) -> bool {
        self.summaries().is_some_and(|states| states.len() >= layout.slots.len())
    }

    /// Computes the summaries that are missing, one a slot.
    pub(crate) fn summarise(&mut self, layout: &Layout) {
        if self.lacks_verdicts(layout) {
            self.judge(layout);
        }
        let known = self.extra.as_mut().and_then(|extra| extra.summaries.take());
        let mut states = known.map_or_else(Vec::new, <[_]>::into_vec);
        for slot in layout.slots.iter().skip(states.len()) {
            let mut state = layout.summary(slot);
            state.absorb(&self.slice(layout, slot), &self.mask(layout, slot, 0, self.len(), u64::MAX));
            states.push(state);
        }
        self.extra.get_or_insert_default().summaries = Some(states.into_boxed_slice());
    }

    /// The rows as an aggregate sees them.
    pub(crate) fn slice(&self, layout: &Layout, slot: &Slot) -> Slice<'_> {
        let validity = slot.of.filter(|_| slot.keeps_nulls).map(|of| self.validity(layout, of));
        Slice {
            times: self.times(),
            positions: self.positions(),
            data_type: slot.call.of,
            words: slot.of.map_or(&[], |of| self.column(of)),
            heap: self.heap_bytes(),
            validity: validity.unwrap_or_default(),
            by: slot.by.map_or(&[], |by| self.column(by)),
        }
    }

    /// Those of the rows `from..to` that count for a slot and are visible at `at`.
    pub(crate) fn mask(&self, layout: &Layout, slot: &Slot, from: usize, to: usize, at: u64) -> Mask {
        let mut mask = mask_range(from, to);
        let mut keep = |bits: &[u64]| mask.iter_mut().zip(bits).for_each(|(word, bits)| *word &= bits);
        if let Some(of) = slot.of.filter(|_| !slot.keeps_nulls) {
            keep(self.validity(layout, of));
        }
        if let Some(by) = slot.by {
            keep(self.validity(layout, by));
        }
        if let Some(predicate) = slot.predicate {
            match self.has_verdicts(layout, predicate) {
                true => keep(self.verdicts(layout, predicate)),
                false => keep(&self.judged(layout, predicate, from, to)),
            }
        }
        if let Some(lives) = self.lives() {
            lives.keep_visible(&mut mask, at, self.max_position);
        } else if self.max_position > at {
            for (word, positions) in mask.iter_mut().zip(self.positions().chunks(64)) {
                *word &= positions.iter().enumerate().fold(0, |bits, (i, p)| bits | u64::from(*p <= at) << i);
            }
        }
        mask
    }

    fn is_visible(&self, row: usize, at: u64) -> bool {
        match self.lives() {
            Some(lives) => lives.is_visible(row, at),
            None => self.positions().get(row).is_some_and(|position| *position <= at),
        }
    }

    /// Those of the rows `from..to` that are visible at `at`, in order.
    pub(crate) fn visible(
        &self,
        from: usize,
        to: usize,
        at: u64,
    ) -> impl DoubleEndedIterator<Item = usize> + '_ {
        (from..to.min(self.len())).filter(move |row| self.is_visible(*row, at))
    }

    /// Bytes of memory that its rows take.
    pub(crate) fn rows_bytes(&self) -> usize {
        size_of_val(self.words.as_ref()) + self.extra.as_ref().map_or(0, |extra| extra.heap.capacity())
    }

    /// Bytes of memory, itself included.
    pub(crate) fn bytes(&self) -> usize {
        let extra = self.extra.as_ref().map_or(0, |extra| {
            size_of::<Extra>() + extra.heap.capacity() + extra.lives.as_ref().map_or(0, |lives| lives.bytes())
        });
        let summaries = self.summaries().map_or(0, states_bytes);
        size_of::<Chunk>() + size_of_val(self.words.as_ref()) + extra + summaries
    }
}

/// Bytes of memory of some boxed states.
pub(crate) fn states_bytes(states: &[Box<dyn State>]) -> usize {
    states.iter().map(|state| size_of::<Box<dyn State>>() + state.bytes()).sum()
}

/// Words that `rows` rows take.
fn words_of(layout: &Layout, rows: usize) -> usize {
    (2 + layout.columns.len()) * rows + layout.bit_rows() * rows.div_ceil(64)
}

/// For how many rows a chunk has room that has to have room for `rows`: as many as go into an amount of memory that
/// allocators do not round up.
fn capacity_for(layout: &Layout, rows: usize) -> usize {
    if rows == 0 {
        return 0;
    }
    let needed = words_of(layout, rows).max(WORDS_MIN);
    // The steps between two powers of two.
    let steps = if needed <= WORDS_FINE { 4 } else { 2 };
    let step = (needed.next_power_of_two() / 2 / steps).max(1);
    let words = needed.next_multiple_of(step);
    let more = (words - needed) / (2 + layout.columns.len());
    (rows..=rows + more)
        .rev()
        .find(|rows| words_of(layout, *rows) <= words)
        .unwrap_or(rows)
        .min(SLICE_ROWS_MAX)
}

/// Where a row of bits starts and how many words it has.
pub(crate) fn bit_area(layout: &Layout, capacity: usize, row: usize) -> (usize, usize) {
    let words = capacity.div_ceil(64);
    ((2 + layout.columns.len()) * capacity + row * words, words)
}

/// Appends a string and gives the word that stands for it.
fn stored(extra: &mut Option<Box<Extra>>, text: &[u8]) -> u64 {
    let heap = &mut extra.get_or_insert_default().heap;
    let offset = heap.len() as u64;
    heap.extend_from_slice(text);
    offset << 32 | text.len() as u64
}

/// One row of a chunk, with the verdicts that the chunk has.
pub(crate) struct ChunkRow<'a> {
    pub(crate) chunk: &'a Chunk,
    pub(crate) layout: &'a Layout,
    pub(crate) row: usize,
}

impl Row for ChunkRow<'_> {
    fn cell(&self, column: usize) -> Option<Cell<'_>> {
        self.chunk.cell(self.layout, column, self.row)
    }

    fn predicate(&self, predicate: usize) -> bool {
        bit(self.chunk.verdicts(self.layout, predicate), self.row)
    }

    fn removed(&self) -> u64 {
        self.chunk.removed(self.row)
    }
}

#[cfg(test)]
mod tests {
    use thyme_core::DataType;

    use super::*;

    #[test]
    fn a_chunk_has_room_for_what_it_needs_and_little_more() {
        for columns in [0, 1, 4, 40] {
            let layout = Layout { columns: vec![DataType::Int; columns], predicates: 2, ..Layout::default() };
            assert_eq!(capacity_for(&layout, 0), 0);
            for rows in 1..=SLICE_ROWS_MAX {
                let room = capacity_for(&layout, rows);
                assert!((rows..=SLICE_ROWS_MAX).contains(&room), "{columns} columns: {room} for {rows}");
                let (needed, words) = (words_of(&layout, rows), words_of(&layout, room));
                let most = if needed <= WORDS_FINE { needed + needed / 4 } else { needed + needed / 2 };
                assert!(words <= most.max(WORDS_MIN), "{columns} columns, {rows} rows: {words} words");
            }
        }
    }
}

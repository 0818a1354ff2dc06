//! A chunk as bytes; described in `docs/formats-timeline.md`.

use thyme_core::aggregate::SLICE_ROWS_MAX;
use thyme_core::key::tag_of;
use thyme_core::value::encoding;
use thyme_core::{DataType, Error, Result};

use crate::bits::bit;
use crate::chunk::{Cell, Chunk, Row, RowKey};
use crate::layout::Layout;
use crate::lives::FOREVER;

const MAGIC: u8 = b'C';
const VERSION: u8 = 1;
/// The flag of chunks with lives.
const LIVES: u8 = 1;
/// The flag of a chunk that is all there is of its timeline.
const ALONE: u8 = 2;

/// How the values of an 8-byte column are written.
const RAW: u8 = 0;
const DELTA: u8 = 1;
const XOR: u8 = 2;

/// Appends the encoding of `chunk`, which may be all there is of its timeline.
pub(crate) fn encode(layout: &Layout, chunk: &Chunk, alone: Alone, out: &mut Vec<u8>) {
    let lives = if chunk.lives().is_some() { LIVES } else { 0 };
    let alone = if alone == Alone::Yes { ALONE } else { 0 };
    out.extend_from_slice(&[MAGIC, VERSION, lives | alone]);
    put_varint(out, chunk.len() as u64);
    put_varint(out, layout.columns.len() as u64);
    // One that came after the chunk may have no verdicts in it.
    let predicates = layout.predicates.min(chunk.predicates(layout));
    put_varint(out, predicates as u64);
    out.extend(layout.columns.iter().map(|data_type| tag_of(*data_type)));
    put_deltas(out, chunk.times().iter().map(|t| *t as u64));
    put_deltas(out, chunk.positions().iter().copied());
    if chunk.lives().is_some() {
        put_lives(out, chunk);
    }
    for (column, data_type) in layout.columns.iter().enumerate() {
        let validity = chunk.validity(layout, column);
        put_bits(out, chunk.len(), |row| bit(validity, row));
        let cells = (0..chunk.len()).filter_map(|row| chunk.cell(layout, column, row));
        match data_type.is_word() {
            false => cells.for_each(|cell| {
                if let Cell::Text(text) = cell {
                    put_varint(out, text.len() as u64);
                    out.extend_from_slice(text);
                }
            }),
            true => put_words(out, *data_type, &cells.map(word_of).collect::<Vec<_>>()),
        }
    }
    for predicate in 0..predicates {
        let verdicts = chunk.verdicts(layout, predicate);
        put_bits(out, chunk.len(), |row| bit(verdicts, row));
    }
}

/// Whether a chunk is all there is of its timeline, so that its reader need not look for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alone {
    Yes,
    No,
}

/// Whether the bytes say of themselves that they are all of their timeline.
pub(crate) fn is_alone(bytes: &[u8]) -> bool {
    matches!(bytes, [MAGIC, VERSION, flags, ..] if flags & ALONE != 0)
}

/// How long after its event each row came, and how long it was there; 0 for one that still is.
fn put_lives(out: &mut Vec<u8>, chunk: &Chunk) {
    let keys = || (0..chunk.len()).filter_map(|row| Some((row, chunk.key(row)?)));
    keys().for_each(|(_, (_, position, added))| put_varint(out, added.wrapping_sub(position)));
    for (row, (_, _, added)) in keys() {
        match chunk.removed(row) {
            FOREVER => put_varint(out, 0),
            removed => put_varint(out, removed.wrapping_sub(added)),
        }
    }
}

fn word_of(cell: Cell<'_>) -> u64 {
    match cell {
        Cell::Word(word) => word,
        Cell::Text(_) => 0,
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: u64) -> u64 {
    value << 1 ^ ((value as i64) >> 63) as u64
}

fn unzigzag(value: u64) -> u64 {
    value >> 1 ^ (value & 1).wrapping_neg()
}

fn put_deltas(out: &mut Vec<u8>, words: impl Iterator<Item = u64>) {
    let mut last = 0u64;
    for word in words {
        put_varint(out, zigzag(word.wrapping_sub(last)));
        last = word;
    }
}

/// Floats that are short in decimal differ in few bytes at the top, which the swap brings to the bottom.
fn put_xors(out: &mut Vec<u8>, words: &[u64]) {
    let mut last = 0;
    for word in words {
        put_varint(out, (word ^ last).swap_bytes());
        last = *word;
    }
}

fn put_bits(out: &mut Vec<u8>, rows: usize, bit: impl Fn(usize) -> bool) {
    for byte in 0..rows.div_ceil(8) {
        let set = (0..8).filter(|i| byte * 8 + i < rows && bit(byte * 8 + i));
        out.push(set.fold(0, |bits, i| bits | 1 << i));
    }
}

fn put_words(out: &mut Vec<u8>, data_type: DataType, words: &[u64]) {
    let start = out.len();
    if data_type == DataType::Float {
        out.push(XOR);
        put_xors(out, words);
    } else {
        out.push(DELTA);
        put_deltas(out, words.iter().copied());
    }
    if out.len() - start > 1 + 8 * words.len() {
        out.truncate(start);
        out.push(RAW);
        words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }
}

/// Reads a chunk back as of `at`: without the rows that came later, and with those that went later; without
/// any rows it is empty. A chunk that is not what it was is dirty, any other is not.
///
/// # Errors
/// Bytes that [`encode`] did not make under this layout.
pub(crate) fn decode(layout: &Layout, id: u32, bytes: &[u8], at: u64) -> Result<Chunk> {
    let rows = Rows::read(layout, bytes)
        .map_err(|what| Error::corrupt(format!("chunk {id} of a timeline: {what}")))?;
    let visible = rows.keys.iter().filter(|key| key.2 <= at).count();
    let mut chunk = Chunk::with_room(layout, id, visible);
    let mut undone = visible < rows.keys.len();
    for (row, key) in rows.keys.iter().enumerate().filter(|(_, key)| key.2 <= at) {
        let removed = rows.removed.get(row).copied().filter(|removed| *removed <= at);
        undone |= removed.is_none() && rows.removed.get(row).is_some_and(|removed| *removed != FOREVER);
        let row = RowOf { rows: &rows, row, removed: removed.unwrap_or(FOREVER) };
        chunk.insert(layout, chunk.len(), *key, &row);
    }
    chunk.judge_from(layout, rows.predicates.len());
    chunk.set_dirty(undone);
    Ok(chunk)
}

/// What was read of a chunk.
struct Rows<'a> {
    keys: Vec<RowKey>,
    /// Where lives end; none in a chunk without lives.
    removed: Vec<u64>,
    columns: Vec<Vec<Option<Cell<'a>>>>,
    predicates: Vec<&'a [u8]>,
}

struct RowOf<'a> {
    rows: &'a Rows<'a>,
    row: usize,
    removed: u64,
}

impl Row for RowOf<'_> {
    fn cell(&self, column: usize) -> Option<Cell<'_>> {
        *self.rows.columns.get(column)?.get(self.row)?
    }

    fn predicate(&self, predicate: usize) -> bool {
        self.rows.predicates.get(predicate).is_some_and(|bits| bit_of(bits, self.row))
    }

    fn removed(&self) -> u64 {
        self.removed
    }
}

fn bit_of(bits: &[u8], row: usize) -> bool {
    bits.get(row / 8).is_some_and(|byte| byte >> (row % 8) & 1 == 1)
}

type Read<T> = std::result::Result<T, &'static str>;

impl<'a> Rows<'a> {
    fn read(layout: &Layout, bytes: &'a [u8]) -> Read<Rows<'a>> {
        let mut input = Input(bytes);
        let with_lives = match input.take(3)? {
            [MAGIC, VERSION, flags] if flags & !(LIVES | ALONE) == 0 => flags & LIVES != 0,
            _ => return Err("its first three bytes are not those of a chunk of version 1 with known flags"),
        };
        let rows = input.varint()?;
        if rows == 0 || rows > SLICE_ROWS_MAX as u64 {
            return Err("its number of rows is not 1 to 256");
        }
        let rows = rows as usize;
        if input.varint()? != layout.columns.len() as u64 {
            return Err("it has another number of columns than the pipeline needs");
        }
        // It may have been written before the last predicates came, or after some that a crash has undone.
        let predicates = input.varint()?;
        if (0..layout.predicates).any(|p| p as u64 >= predicates && layout.judge(p).is_none()) {
            return Err("it has fewer predicates than the pipeline needs");
        }
        if !input.take(layout.columns.len())?.iter().copied().eq(layout.columns.iter().map(|t| tag_of(*t))) {
            return Err("its columns have other types than the pipeline needs");
        }
        let times = input.deltas(rows)?;
        let positions = input.deltas(rows)?;
        let (added, removed) =
            if with_lives { input.lives(&positions)? } else { (positions.clone(), Vec::new()) };
        let origins = times.iter().zip(&positions);
        let keys: Vec<RowKey> = origins.zip(added).map(|((t, p), added)| (*t as i64, *p, added)).collect();
        if !keys.is_sorted_by(|a, b| a < b) {
            return Err("its rows are not in order");
        }
        let columns = layout.columns.iter().map(|t| input.column(*t, rows)).collect::<Read<_>>()?;
        let predicates = (0..predicates).map(|_| input.take(rows.div_ceil(8))).collect::<Read<_>>()?;
        if !input.0.is_empty() {
            return Err("bytes are left over after its rows");
        }
        Ok(Rows { keys, removed, columns, predicates })
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Read<u8> {
        let (byte, rest) = self.0.split_first().ok_or("it ends too early")?;
        self.0 = rest;
        Ok(*byte)
    }

    fn varint(&mut self) -> Read<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if shift == 63 && byte > 1 { Err("a number in it is too long") } else { Ok(value) };
            }
        }
        Err("a number in it is too long")
    }

    fn deltas(&mut self, count: usize) -> Read<Vec<u64>> {
        let mut last = 0u64;
        let mut next = || {
            last = last.wrapping_add(unzigzag(self.varint()?));
            Ok(last)
        };
        (0..count).map(|_| next()).collect()
    }

    /// Where the lives of rows at `positions` begin and end.
    fn lives(&mut self, positions: &[u64]) -> Read<(Vec<u64>, Vec<u64>)> {
        let too_late = "a life in it begins or ends after every position";
        let mut added = Vec::with_capacity(positions.len());
        for position in positions {
            added.push(position.checked_add(self.varint()?).filter(|a| *a < FOREVER).ok_or(too_late)?);
        }
        let mut removed = Vec::with_capacity(positions.len());
        for added in &added {
            removed.push(match self.varint()? {
                0 => FOREVER,
                length => added.checked_add(length).filter(|r| *r < FOREVER).ok_or(too_late)?,
            });
        }
        Ok((added, removed))
    }

    fn words(&mut self, count: usize) -> Read<Vec<u64>> {
        match self.byte()? {
            DELTA => self.deltas(count),
            XOR => {
                let mut last = 0;
                let mut next = || {
                    last ^= self.varint()?.swap_bytes();
                    Ok(last)
                };
                (0..count).map(|_| next()).collect()
            }
            RAW => {
                let (words, _) = self.take(count * 8)?.as_chunks::<8>();
                Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
            }
            _ => Err("a column in it is written in an unknown way"),
        }
    }

    fn column(&mut self, data_type: DataType, rows: usize) -> Read<Vec<Option<Cell<'a>>>> {
        let validity = self.take(rows.div_ceil(8))?;
        let count = (0..rows).filter(|row| bit_of(validity, *row)).count();
        let cells = if data_type.is_word() {
            self.words(count)?.into_iter().map(Cell::Word).collect()
        } else {
            (0..count).map(|_| self.text(data_type)).collect::<Read<Vec<_>>>()?
        };
        let mut cells = cells.into_iter();
        Ok((0..rows).map(|row| if bit_of(validity, row) { cells.next() } else { None }).collect())
    }

    fn text(&mut self, data_type: DataType) -> Read<Cell<'a>> {
        let len = self.varint()?;
        let text = self.take(usize::try_from(len).unwrap_or(usize::MAX))?;
        match data_type {
            DataType::Str | DataType::Json => {
                std::str::from_utf8(text).map_err(|_| "a string in it is not UTF-8")?;
            }
            other if encoding::decode(other, text).is_none() => {
                return Err("a value in it is not one of its column's type");
            }
            _ => {}
        }
        Ok(Cell::Text(text))
    }
}

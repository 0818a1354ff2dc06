//! CSV records (RFC 4180): bytes in, rows and dead letters out.

use std::io::Read;

use csv::{ByteRecord, Reader, ReaderBuilder};
use thyme_core::definition::{Dataset, Extra};
use thyme_core::error::nearest;
use thyme_core::{DataType, Field};
use thyme_engine::decode::{Cell, text};

use super::gather::Gather;
use super::text::{Part, Tail, Taken};

/// Which column is which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// A field's index for each column; none for a column that the dataset ignores.
    columns: Vec<Option<usize>>,
}

/// The header of a file.
#[derive(Debug)]
pub(super) struct Header {
    pub layout: Layout,
    pub taken: Taken,
}

/// A record at the start of some bytes.
enum Found {
    /// It ends before this byte.
    Whole(usize),
    /// Its end is not there yet.
    Partial,
    /// The file ends inside its quotes.
    Unclosed,
}

/// Reads the header; none if its end is not there yet.
///
/// # Errors
/// A sentence: it does not fit the dataset.
pub(super) fn header(part: &Part<'_>, dataset: &Dataset) -> Result<Option<Header>, String> {
    let mut record = ByteRecord::new();
    let Found::Whole(end) = Records::new(part.bytes, part.tail).next(&mut record) else { return Ok(None) };
    let taken = Taken { bytes: end, lines: newlines(&part.bytes[..end]) };
    let mut columns: Vec<Option<usize>> = Vec::with_capacity(record.len());
    for name in &record {
        let name = String::from_utf8_lossy(name);
        let name = name.trim();
        let index = dataset.fields.index_of(name);
        if index.is_none() && dataset.extra == Extra::Forbid {
            let near = nearest(name, dataset.fields.fields.iter().map(|f| f.name.as_str()));
            let hint = match near.as_slice() {
                [] => String::new(),
                near => format!(" (did you mean {}?)", near.join(", ")),
            };
            return Err(format!(
                "the header has the column \"{name}\", which is not a field of dataset {}{hint}; rename it, or declare the dataset with extra=\"ignore\"",
                dataset.name
            ));
        }
        if index.is_some() && columns.contains(&index) {
            return Err(format!("the header has the column \"{name}\" twice"));
        }
        columns.push(index);
    }
    let absent = |(index, field): (usize, &Field)| {
        (field.missing().is_none() && !columns.contains(&Some(index))).then(|| field.name.clone())
    };
    let missing: Vec<String> = dataset.fields.fields.iter().enumerate().filter_map(absent).collect();
    if !missing.is_empty() {
        return Err(format!("the header has no column {} of dataset {}", missing.join(", "), dataset.name));
    }
    Ok(Some(Header { layout: Layout { columns }, taken }))
}

/// Takes the records of `part`, as many as fit. The last one, if no newline ends it, is taken once the
/// file is [`Tail::Settled`].
pub(super) fn read(part: &Part<'_>, layout: &Layout, into: &mut Gather<'_>) -> Taken {
    let mut taken = Taken::default();
    let mut record = ByteRecord::new();
    let mut records = Records::new(part.bytes, part.tail);
    while taken.bytes < part.bytes.len() && !into.is_full() {
        let rest = &part.bytes[taken.bytes..];
        let end = match records.next(&mut record) {
            Found::Whole(end) => end,
            Found::Partial if rest.iter().any(|b| !matches!(b, b'\r' | b'\n')) => break,
            Found::Partial => part.bytes.len(),
            Found::Unclosed => {
                taken = reject_line(part, taken, "a quoted field has no closing quote".into(), into);
                records = Records::new(&part.bytes[taken.bytes..], part.tail).at(taken.bytes);
                continue;
            }
        };
        let whole = &part.bytes[taken.bytes..end];
        let text = whole.trim_ascii_start();
        let first_line = taken.lines + newlines(&whole[..whole.len() - text.len()]);
        let text = text.trim_ascii_end();
        // A record of many lines that is not well formed is likely a stray quote that swallowed good ones.
        if text.contains(&b'\n')
            && let Some(problem) = malformed(layout, &record, text)
        {
            taken = reject_line(part, taken, problem, into);
            records = Records::new(&part.bytes[taken.bytes..], part.tail).at(taken.bytes);
            continue;
        }
        if !text.is_empty()
            && let Err(problem) = row(layout, &record, text.len(), into)
        {
            into.reject(part.origin(first_line), problem, text);
        }
        taken.bytes = end;
        taken.lines += newlines(whole);
    }
    taken
}

/// Takes one record that stands alone, or says what is wrong with it.
pub(super) fn single(layout: &Layout, text: &[u8], into: &mut Gather<'_>) -> Result<(), String> {
    let mut record = ByteRecord::new();
    match Records::new(text, Tail::Settled).next(&mut record) {
        Found::Whole(end) if end == text.len() => {}
        Found::Whole(_) => return Err("it is more than one record".into()),
        Found::Partial => return Err("it is empty".into()),
        Found::Unclosed => return Err("a quoted field has no closing quote".into()),
    }
    row(layout, &record, text.len(), into)
}

fn row(layout: &Layout, record: &ByteRecord, bytes: usize, into: &mut Gather<'_>) -> Result<(), String> {
    if record.len() != layout.columns.len() {
        return Err(wrong_width(layout, record));
    }
    into.cells.iter_mut().for_each(|cell| {
        if !matches!(cell, Cell::Str(_)) {
            *cell = Cell::Missing;
        }
    });
    let fields = &into.dataset.fields.fields;
    let mut filled = 0;
    for (bytes, index) in record.iter().zip(&layout.columns) {
        let Ok(text) = std::str::from_utf8(bytes) else { return Err("the record is not valid UTF-8".into()) };
        if let Some(index) = *index {
            put(&mut into.cells[index], &fields[index], text);
            filled += 1;
        }
    }
    if filled < fields.len() {
        for index in (0..fields.len()).filter(|index| !layout.columns.contains(&Some(*index))) {
            into.cells[index] = Cell::Missing;
        }
    }
    into.row(bytes)
}

/// Reads a cell; a text keeps the buffer of the row before.
fn put(cell: &mut Cell, field: &Field, text: &str) {
    match cell {
        Cell::Str(buffer) if field.data_type == DataType::Str && !(field.optional && text.is_empty()) => {
            buffer.clear();
            buffer.push_str(text);
        }
        cell => *cell = text::cell(field, text),
    }
}

/// What is wrong with the form of a record, taken strictly.
fn malformed(layout: &Layout, record: &ByteRecord, text: &[u8]) -> Option<String> {
    if record.len() != layout.columns.len() {
        return Some(wrong_width(layout, record));
    }
    let (mut quoted, mut before) = (false, b',');
    for (index, byte) in text.iter().enumerate() {
        let next = text.get(index + 1).copied().unwrap_or(b',');
        match (quoted, byte) {
            (false, b'"') if before == b',' => quoted = true,
            (true, b'"') if before == b'"' => before = 0,
            (true, b'"') if next == b'"' => before = b'"',
            (true, b'"') if next != b',' => {
                return Some("a quoted field goes on after its closing quote".into());
            }
            (true, b'"') => (quoted, before) = (false, 0),
            (_, byte) => before = *byte,
        }
    }
    None
}

fn wrong_width(layout: &Layout, record: &ByteRecord) -> String {
    format!("the record has {} fields, the header has {}", record.len(), layout.columns.len())
}

/// Rejects one line, so that reading goes on with the next.
fn reject_line(part: &Part<'_>, mut taken: Taken, problem: String, into: &mut Gather<'_>) -> Taken {
    let rest = &part.bytes[taken.bytes..];
    let text = rest.trim_ascii_start();
    taken.lines += newlines(&rest[..rest.len() - text.len()]);
    let (line, ended) = match text.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&text[..end], 1),
        None => (text, 0),
    };
    into.reject(part.origin(taken.lines), problem, line.trim_ascii_end());
    taken.bytes = part.bytes.len() - text.len() + line.len() + ended;
    taken.lines += ended as u64;
    taken
}

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Finds records and where they end. A byte that is no newline is put after the end of the bytes: a
/// record that takes it in is not over.
struct Records<'a> {
    reader: Reader<std::io::Chain<&'a [u8], &'static [u8]>>,
    start: usize,
    /// The last byte that a whole record can end at.
    limit: usize,
    length: usize,
    tail: Tail,
}

impl<'a> Records<'a> {
    fn new(bytes: &'a [u8], tail: Tail) -> Self {
        let (sentinel, limit): (&'static [u8], usize) = match tail {
            Tail::Settled => (b"\nX", bytes.len() + 1),
            Tail::More | Tail::Growing => (b"X", bytes.len()),
        };
        let reader =
            ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes.chain(sentinel));
        Records { reader, start: 0, limit, length: bytes.len(), tail }
    }

    /// Says that the bytes start at `start` of the part.
    fn at(mut self, start: usize) -> Self {
        self.start = start;
        self
    }

    fn next(&mut self, record: &mut ByteRecord) -> Found {
        // Reading from memory and without a fixed width there is nothing that fails.
        let found = self.reader.read_byte_record(record).unwrap_or(false);
        let end = self.reader.position().byte() as usize;
        if found && end <= self.limit {
            return Found::Whole(self.start + end.min(self.length));
        }
        // Only newlines and the byte put after them: there is no record. A record that goes on to that byte
        // although a newline is before it is inside quotes.
        let none = record.len() == 1 && record.get(0) == Some(b"X");
        match self.tail {
            Tail::Settled if found && !none => Found::Unclosed,
            _ => Found::Partial,
        }
    }
}

//! One segment file, and the cursor that reads its records one after the other, each verified.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use thyme_core::error::{Error, ErrorKind, Result};

use crate::disk::{Disk, DiskFile};
use crate::record::{
    RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, verified_payload,
};

/// Marks of the sparse index are at least this far apart.
pub const MARK_EVERY_BYTES: u64 = 1 << 20;
/// What a cursor reads at once, unless a record is larger.
const WINDOW_BYTES: usize = 256 << 10;
/// A larger window is given back once its record is done.
const WINDOW_BYTES_KEPT: usize = 4 << 20;

/// The file name of the segment whose first record is `first`.
pub fn file_name(first: u64) -> String {
    format!("{first:020}.log")
}

/// The first record of the segment in the file `name`, if it is a segment's name.
pub fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let first = digits.parse().ok()?;
    (file_name(first) == name).then_some(first)
}

/// The error for a failed call of the file system.
pub fn io_failed(what: &str, path: &str, io: &io::Error) -> Error {
    let kind = if is_full(io) { ErrorKind::StorageFull } else { ErrorKind::Unavailable };
    Error::new(kind, format!("{what} {path}: {io}"))
}

/// Whether a write found no room.
pub fn is_full(io: &io::Error) -> bool {
    matches!(
        io.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// A record's place, in the sparse index.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// The record's number.
    pub number: u64,
    /// Its stamp.
    pub stamp: i64,
    /// Where in the file it begins.
    pub offset: u64,
}

/// What is known of a segment file.
#[derive(Debug)]
pub struct Segment {
    /// The facts at its head.
    pub header: SegmentHeader,
    /// Its file's name.
    pub name: String,
    /// Where its durable records end.
    end: AtomicU64,
    marks: Mutex<Vec<Mark>>,
    /// How often its file has been replaced; held while a cursor opens it, and to replace it.
    generation: RwLock<u64>,
}

impl Segment {
    pub fn new(header: SegmentHeader, end: u64) -> Self {
        let name = file_name(header.first);
        Segment {
            header,
            name,
            end: AtomicU64::new(end),
            marks: Mutex::default(),
            generation: RwLock::new(0),
        }
    }

    /// Where its durable records end.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// Remembers the place of a verified record, if it is far enough from the last one remembered.
    pub fn remember(&self, mark: Mark) {
        self.remember_in(*self.generation.read(), mark);
    }

    /// [`Segment::remember`] for a record of the file as it was at a generation.
    fn remember_in(&self, generation: u64, mark: Mark) {
        if *self.generation.read() != generation {
            return;
        }
        let mut marks = self.marks.lock();
        let last = marks.last().map_or(SEGMENT_HEADER_BYTES as u64, |last| last.offset);
        if mark.offset >= last + MARK_EVERY_BYTES {
            marks.push(mark);
        }
    }

    /// Puts another file, whose records end at `end`, in the place of its own. Cursors that are open go on
    /// reading the old one.
    pub fn replace(&self, end: u64, put: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut generation = self.generation.write();
        put()?;
        *generation += 1;
        self.marks.lock().clear();
        self.set_end(end);
        Ok(())
    }

    /// The last remembered place for which `before` holds; the segment's start when there is none.
    pub fn nearest(&self, before: impl Fn(&Mark) -> bool) -> (u64, u64) {
        let marks = self.marks.lock();
        let count = marks.partition_point(before);
        match count.checked_sub(1).and_then(|at| marks.get(at)) {
            Some(mark) => (mark.number, mark.offset),
            None => (self.header.first, SEGMENT_HEADER_BYTES as u64),
        }
    }
}

/// A verified record in the cursor's window.
#[derive(Debug)]
pub struct View<'a> {
    /// The facts at its head.
    pub header: RecordHeader,
    /// Its payload.
    pub payload: &'a [u8],
}

/// What a cursor finds next.
#[derive(Debug)]
pub enum Step<'a> {
    /// A record that is what was written.
    Record(View<'a>),
    /// The place where records end.
    End,
    /// Bytes that are no such record, and what is wrong with them.
    Flaw(&'static str),
}

/// Reads the records of a segment in order.
#[derive(Debug)]
pub struct Cursor {
    segment: Arc<Segment>,
    file: Arc<dyn DiskFile>,
    path: Arc<str>,
    /// Where the next record begins.
    pub offset: u64,
    /// Its number.
    pub number: u64,
    /// The stamp that it must exceed.
    stamp: i64,
    end: u64,
    /// The segment's generation that the file is of.
    generation: u64,
    window: Vec<u8>,
    window_offset: u64,
}

impl Cursor {
    /// A cursor at the last remembered record for which `before` holds (the segment's first when there is
    /// none), that reads what is durable now.
    pub fn near(disk: &dyn Disk, segment: &Arc<Segment>, before: impl Fn(&Mark) -> bool) -> Result<Self> {
        // No file is put in this one's place between the three looks.
        let generation = segment.generation.read();
        let (start, end) = (segment.nearest(before), segment.end());
        Ok(Cursor { generation: *generation, ..Cursor::open(disk, Arc::clone(segment), start, end)? })
    }

    /// A cursor at record `number`, which begins at `offset`, that reads up to `end`.
    pub fn open(
        disk: &dyn Disk,
        segment: Arc<Segment>,
        (number, offset): (u64, u64),
        end: u64,
    ) -> Result<Self> {
        let path: Arc<str> = disk.path(&segment.name).into();
        let file = disk.open(&segment.name).map_err(|io| match io.kind() {
            io::ErrorKind::NotFound => gone(number),
            _ => io_failed("opening", &path, &io),
        })?;
        let stamp = segment.header.base;
        let (window, window_offset, generation) = (Vec::new(), 0, 0);
        Ok(Cursor { segment, file, path, offset, number, stamp, end, generation, window, window_offset })
    }

    /// The next record. After anything else than a record the cursor stays where it is.
    pub fn step(&mut self) -> Result<Step<'_>> {
        if self.offset >= self.end {
            return Ok(Step::End);
        }
        let offset = self.offset;
        let Some(head) = self.bytes(RECORD_HEADER_BYTES)? else {
            return Ok(Step::Flaw("is cut off in its header"));
        };
        let Some(header) = RecordHeader::decode(head) else {
            let blank = head.iter().all(|byte| *byte == 0);
            return Ok(Step::Flaw(if blank { "is missing" } else { "has a damaged header" }));
        };
        if header.number != self.number || header.stamp <= self.stamp {
            return Ok(Step::Flaw("has the header of another record"));
        }
        let size = header.record_bytes();
        let Some(bytes) = self.bytes(size)? else {
            return Ok(Step::Flaw("is cut off"));
        };
        if verified_payload(header, bytes).is_none() {
            return Ok(Step::Flaw("does not match its checksum"));
        }
        let mark = Mark { number: header.number, stamp: header.stamp, offset };
        self.segment.remember_in(self.generation, mark);
        self.offset += size as u64;
        self.number += 1;
        self.stamp = header.stamp;
        let start = (offset - self.window_offset) as usize + RECORD_HEADER_BYTES;
        let payload = self.window.get(start..start + header.length as usize).unwrap_or_default();
        Ok(Step::Record(View { header, payload }))
    }

    /// The next record of durable data: a flaw is corruption.
    pub fn next_durable(&mut self) -> Result<Option<View<'_>>> {
        let (offset, number) = (self.offset, self.number);
        let path = Arc::clone(&self.path);
        match self.step()? {
            Step::Record(view) => Ok(Some(view)),
            Step::End => Ok(None),
            Step::Flaw(flaw) => Err(damaged(&path, offset, number, flaw)),
        }
    }

    /// `count` bytes from the cursor's offset; `None` when they reach beyond the end.
    fn bytes(&mut self, count: usize) -> Result<Option<&[u8]>> {
        if self.end - self.offset < count as u64 {
            return Ok(None);
        }
        let held = self.window_offset + self.window.len() as u64;
        if self.offset < self.window_offset || self.offset + count as u64 > held {
            if self.window.capacity() > WINDOW_BYTES_KEPT && count <= WINDOW_BYTES {
                self.window = Vec::new();
            }
            let wanted = (self.end - self.offset).min(count.max(WINDOW_BYTES) as u64) as usize;
            self.window_offset = self.offset;
            self.window.resize(wanted, 0);
            let got = self.file.read_at(&mut self.window, self.offset);
            let got = got
                .inspect_err(|_| self.window.clear())
                .map_err(|io| io_failed("reading", &self.path, &io))?;
            self.window.truncate(got);
        }
        let start = (self.offset - self.window_offset) as usize;
        Ok(self.window.get(start..start + count))
    }
}

/// The error for a durable record that is not what was written.
pub fn damaged(path: &str, offset: u64, number: u64, flaw: &str) -> Error {
    Error::corrupt(format!(
        "the log file {path} is damaged at byte {offset}: record {number} {flaw}; restore this file from a backup"
    ))
}

/// The error for a record that the log was cut behind.
pub fn gone(number: u64) -> Error {
    Error::new(
        ErrorKind::Gone,
        format!("record {number} of the log is gone: the log was cut behind what retention keeps"),
    )
}

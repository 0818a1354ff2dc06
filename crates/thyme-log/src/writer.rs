//! Appending batches to the last segment.

use std::io;
use std::sync::Arc;

use thyme_core::error::{Error, ErrorKind, Result};

use crate::disk::{Disk, DiskFile};
use crate::record::{RecordHeader, SegmentHeader, encode_record, record_bytes};
use crate::segment::{Mark, Segment, is_full};
use crate::segment_log::{Durable, Options};
use crate::{NewRecord, check_batch};

/// A larger buffer is given back once its batch is written.
const BUFFER_BYTES_KEPT: usize = 8 << 20;

/// The one who writes.
#[derive(Debug)]
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    options: Options,
    /// The last segment's file, if there is a segment.
    file: Option<Arc<dyn DiskFile>>,
    buffer: Vec<u8>,
    /// Why nothing more is written.
    poison: Option<String>,
    /// Whether what an append left when it failed could not be taken back: the next life may find it whole.
    is_unsure: bool,
}

impl Writer {
    pub fn new(disk: Arc<dyn Disk>, options: Options, file: Option<Arc<dyn DiskFile>>) -> Self {
        Writer { disk, options, file, buffer: Vec::new(), poison: None, is_unsure: false }
    }

    /// Why nothing is written any more, if that is so.
    pub fn failure(&self) -> Option<String> {
        self.poison.as_deref().map(sentence)
    }

    /// Whether the files may hold records that were refused.
    pub fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// Ends the last segment: what is appended from now on goes to another.
    pub fn seal(&mut self) {
        self.file = None;
    }

    /// Appends `records` to what is `durable` and gives what is durable then, and the last number.
    pub fn append(&mut self, durable: Durable, records: &[NewRecord<'_>]) -> Result<(Durable, u64)> {
        if let Some(cause) = &self.poison {
            return Err(poisoned(cause));
        }
        check_batch(records, durable.last)?;
        let size: u64 = records.iter().map(|record| record_bytes(record.payload.len()) as u64).sum();
        let open = durable.segments.last().filter(|open| open.end() + size <= self.options.segment_bytes);
        let written = match (open.cloned(), self.file.clone()) {
            (Some(segment), Some(file)) => self.extend(durable, segment, file, records),
            _ => self.begin_segment(durable, records),
        };
        self.buffer.clear();
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        written
    }

    fn extend(
        &mut self,
        mut durable: Durable,
        segment: Arc<Segment>,
        file: Arc<dyn DiskFile>,
        records: &[NewRecord<'_>],
    ) -> Result<(Durable, u64)> {
        let offset = segment.end();
        let (last, marks) = self.encode(durable.last, records, offset)?;
        let path = self.disk.path(&segment.name);
        let undo = || file.set_length(offset).and_then(|()| file.sync());
        if let Err(fault) = file.write_at(&self.buffer, offset) {
            return Err(self.write_failed(&path, fault, undo));
        }
        if let Err(fault) = file.sync() {
            return Err(self.give_up(&format!("syncing {path}"), &fault, undo().is_ok()));
        }
        marks.into_iter().for_each(|mark| segment.remember(mark));
        segment.set_end(offset + self.buffer.len() as u64);
        durable.bytes += self.buffer.len() as u64;
        durable.last = Some(last);
        Ok((durable, last.0))
    }

    fn begin_segment(&mut self, mut durable: Durable, records: &[NewRecord<'_>]) -> Result<(Durable, u64)> {
        let header = SegmentHeader {
            first: durable.last.map_or(1, |(number, _)| number + 1),
            base: durable.last.map_or(i64::MIN, |(_, stamp)| stamp),
            previous: durable.segments.last().map_or(0, |segment| segment.header.first),
        };
        header.encode_into(&mut self.buffer);
        let (last, marks) = self.encode(durable.last, records, 0)?;
        let segment = Arc::new(Segment::new(header, self.buffer.len() as u64));
        let path = self.disk.path(&segment.name);
        let disk = Arc::clone(&self.disk);
        let undo = || match disk.remove(&segment.name) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
            _ => disk.sync_names(),
        };
        let created =
            disk.create(&segment.name).and_then(|file| file.write_at(&self.buffer, 0).map(|()| file));
        let file = match created {
            Ok(file) => file,
            Err(fault) => return Err(self.write_failed(&path, fault, undo)),
        };
        if let Err(fault) = file.sync().and_then(|()| disk.sync_names()) {
            return Err(self.give_up(&format!("syncing {path}"), &fault, undo().is_ok()));
        }
        marks.into_iter().for_each(|mark| segment.remember(mark));
        Arc::make_mut(&mut durable.segments).push(segment);
        durable.bytes += self.buffer.len() as u64;
        durable.last = Some(last);
        self.file = Some(file);
        Ok((durable, last.0))
    }

    /// Puts `records` behind what is in the buffer, which goes to `offset` of the file. Gives the number
    /// and stamp of the last of them, and where they are.
    fn encode(
        &mut self,
        before: Option<(u64, i64)>,
        records: &[NewRecord<'_>],
        offset: u64,
    ) -> Result<((u64, i64), Vec<Mark>)> {
        let batch_first = before.map_or(1, |(number, _)| number + 1);
        let batch_count = u32::try_from(records.len()).map_err(|_| {
            Error::new(ErrorKind::TooLarge, "an append to the log holds more than 2^32 records")
        })?;
        let mut marks = Vec::with_capacity(records.len());
        for (number, record) in (batch_first..).zip(records) {
            let length = record.payload.len() as u32;
            let header = RecordHeader { length, number, stamp: record.stamp, batch_first, batch_count };
            marks.push(Mark { number, stamp: record.stamp, offset: offset + self.buffer.len() as u64 });
            encode_record(header, record.payload, &mut self.buffer);
        }
        let last = marks.last().map(|mark| (mark.number, mark.stamp));
        Ok((last.ok_or_else(|| Error::internal("an append to the log holds no record"))?, marks))
    }

    /// The error for a failed write. A full disk is no reason to stop, once `undo` took back what was written.
    fn write_failed(&mut self, path: &str, fault: io::Error, undo: impl FnOnce() -> io::Result<()>) -> Error {
        match (is_full(&fault), undo()) {
            (false, undone) => self.give_up(&format!("writing {path}"), &fault, undone.is_ok()),
            (true, Ok(())) => Error::new(
                ErrorKind::StorageFull,
                format!("no space is left for {path} ({fault}): nothing was stored; free some and try again"),
            ),
            (true, Err(undo)) => {
                let what = format!("no space is left for {path} and taking back what was written");
                self.give_up(&what, &undo, false)
            }
        }
    }

    /// The error of an append after which nothing more is written; `is_undone` says that it left nothing.
    fn give_up(&mut self, what: &str, fault: &io::Error, is_undone: bool) -> Error {
        self.is_unsure = !is_undone;
        let cause = format!("{what} failed ({fault})");
        let error = poisoned(&cause);
        self.poison = Some(cause);
        error
    }
}

fn poisoned(cause: &str) -> Error {
    Error::unavailable(sentence(cause))
}

fn sentence(cause: &str) -> String {
    format!("the log takes no more writes until a restart, because {cause}; reads go on")
}

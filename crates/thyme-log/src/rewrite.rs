//! Putting other payloads into a segment: a new file beside it takes its place, whole or not at all.

use std::sync::Arc;

use thyme_core::error::{Error, ErrorKind, Result};

use crate::disk::{Disk, DiskFile};
use crate::record::{RecordHeader, SEGMENT_HEADER_BYTES, encode_record};
use crate::segment::{Cursor, Segment, io_failed};
use crate::{Edit, PAYLOAD_BYTES_MAX};

/// What a half-made file is called: found at open, it is removed.
const SUFFIX: &str = ".rewrite";
/// What is written at once.
const WINDOW_BYTES: usize = 1 << 20;

/// Whether `name` is that of a file which has not taken its segment's place.
pub fn is_unfinished(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

fn unfinished(segment: &Segment) -> String {
    format!("{:020}{SUFFIX}", segment.header.first)
}

/// A segment's new file, durable under its own name.
#[derive(Debug)]
pub struct Rewritten {
    /// How many of its records are others than before.
    pub records: u64,
    end: u64,
}

/// Writes the file that is to take the place of `segment`; `None` when no record of it changes.
///
/// # Errors
/// Those of `edit`, of damaged bytes, and of the disk.
pub fn write(
    disk: &dyn Disk,
    segment: &Arc<Segment>,
    until: u64,
    edit: &mut Edit<'_>,
) -> Result<Option<Rewritten>> {
    let mut cursor = Cursor::near(disk, segment, |_| false)?;
    let mut target: Option<Target> = None;
    let mut records = 0;
    loop {
        let offset = cursor.offset;
        let Some(view) = cursor.next_durable()? else { break };
        let header = view.header;
        let new = if header.number <= until { edit(header.number, view.payload)? } else { None };
        if new.is_none() && target.is_none() {
            continue;
        }
        let target = match &mut target {
            Some(target) => target,
            none => none.insert(Target::begin(disk, segment, offset)?),
        };
        records += u64::from(new.is_some());
        target.put(header, new.as_deref().unwrap_or(view.payload))?;
    }
    target.map(|target| Ok(Rewritten { records, end: target.finish()? })).transpose()
}

/// Gives the new file the segment's name.
pub fn put_in_place(disk: &dyn Disk, segment: &Segment, rewritten: Rewritten) -> Result<()> {
    let put = || disk.rename(&unfinished(segment), &segment.name).and_then(|()| disk.sync_names());
    segment.replace(rewritten.end, put).map_err(|io| io_failed("replacing", &disk.path(&segment.name), &io))
}

/// Removes what a crash left half made.
pub fn clear(disk: &dyn Disk, names: &[String]) -> Result<()> {
    for name in names.iter().filter(|name| is_unfinished(name)) {
        disk.remove(name).map_err(|io| io_failed("removing", &disk.path(name), &io))?;
    }
    Ok(())
}

/// The new file.
struct Target {
    file: Arc<dyn DiskFile>,
    path: String,
    /// Where the buffer goes.
    offset: u64,
    buffer: Vec<u8>,
}

impl Target {
    /// A file with the bytes of `segment` up to `offset`.
    fn begin(disk: &dyn Disk, segment: &Segment, offset: u64) -> Result<Self> {
        let name = unfinished(segment);
        let path = disk.path(&name);
        let failed = |io| io_failed("writing", &path, &io);
        if disk.list().map_err(failed)?.contains(&name) {
            disk.remove(&name).map_err(failed)?;
        }
        let file = disk.create(&name).map_err(failed)?;
        let from = disk.open(&segment.name).map_err(failed)?;
        let mut target = Target { file, path: path.clone(), offset: 0, buffer: Vec::new() };
        let mut window = vec![0; WINDOW_BYTES.max(SEGMENT_HEADER_BYTES)];
        while target.offset < offset {
            let wanted = (offset - target.offset).min(window.len() as u64) as usize;
            let Some(part) = window.get_mut(..wanted) else { break };
            if from.read_at(part, target.offset).map_err(failed)? < wanted {
                return Err(Error::corrupt(format!("{} is shorter than it was", disk.path(&segment.name))));
            }
            target.file.write_at(part, target.offset).map_err(failed)?;
            target.offset += wanted as u64;
        }
        Ok(target)
    }

    fn put(&mut self, header: RecordHeader, payload: &[u8]) -> Result<()> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("record {} would have {} bytes", header.number, payload.len()),
            ));
        }
        encode_record(RecordHeader { length: payload.len() as u32, ..header }, payload, &mut self.buffer);
        if self.buffer.len() >= WINDOW_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let written = self.file.write_at(&self.buffer, self.offset);
        written.map_err(|io| io_failed("writing", &self.path, &io))?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<u64> {
        self.flush()?;
        self.file.sync().map_err(|io| io_failed("syncing", &self.path, &io))?;
        Ok(self.offset)
    }
}

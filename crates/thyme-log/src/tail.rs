//! Where the log's last segment ends: what was acknowledged, what a crash left half written, and what is
//! damaged.
//!
//! Appends follow one another, each synced before the next begins. So at most the last batch can be half
//! written, and only in two ways: sectors of it never reached the disk and read as zeros, or it stops
//! short of its end. Bytes that are wrong in any other way, and any fault with an intact later batch
//! behind it, are damage to acknowledged data, which is reported and never cut.

use thyme_core::error::{Error, Result};

use crate::disk::DiskFile;
use crate::record::{ALIGNMENT, RECORD_HEADER_BYTES, RecordHeader, ends_like_a_record, verified_payload};
use crate::segment::{Cursor, Step, io_failed};

/// The unit in which a disk writes all or nothing.
const SECTOR_BYTES: u64 = 512;
/// What is read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// The whole batches of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Where the last of them ends.
    pub end: u64,
    /// Number and stamp of the last record in them; `None` when there is none.
    pub last: Option<(u64, i64)>,
}

/// Where records stop being readable.
#[derive(Clone, Copy, Debug)]
struct Fault {
    offset: u64,
    number: u64,
    flaw: &'static str,
}

/// Reads all of a segment and gives its whole batches; what follows them is a torn write.
///
/// # Errors
/// `Corrupt` when what follows is damage to acknowledged data.
pub fn find(mut cursor: Cursor, file: &dyn DiskFile, path: &str, length: u64) -> Result<Whole> {
    let mut whole = Whole { end: cursor.offset, last: None };
    let mut batch_first = cursor.number;
    let fault = loop {
        let (offset, number) = (cursor.offset, cursor.number);
        match cursor.step()? {
            Step::End if offset == whole.end => return Ok(whole),
            Step::End => break Fault { offset, number, flaw: "is missing" },
            Step::Flaw(flaw) => break Fault { offset, number, flaw },
            Step::Record(view) if view.header.batch_first != batch_first => {
                break Fault { offset, number, flaw: "belongs to another batch than expected" };
            }
            Step::Record(view) => {
                let header = view.header;
                if header.ends_batch() {
                    whole = Whole { end: cursor.offset, last: Some((header.number, header.stamp)) };
                    batch_first = header.number + 1;
                }
            }
        }
    };
    judge(file, path, length, fault, batch_first, whole.end)?;
    Ok(whole)
}

/// Tells a segment file that a crash left without a whole header from a damaged one.
pub fn judge_headless(file: &dyn DiskFile, path: &str, length: u64, first: u64) -> Result<()> {
    judge(
        file,
        path,
        length,
        Fault { offset: 0, number: first, flaw: "has a damaged segment header before it" },
        first,
        0,
    )
}

/// Gives `Corrupt` unless everything from `fault` on can be one batch, `batch_first`, half written.
fn judge(
    file: &dyn DiskFile,
    path: &str,
    length: u64,
    fault: Fault,
    batch_first: u64,
    cut: u64,
) -> Result<()> {
    let damage = |what: &str| {
        let Fault { offset, number, flaw } = fault;
        Err(Error::corrupt(format!(
            "the log file {path} is damaged at byte {offset}: record {number} {flaw}, but {what}, so it was acknowledged; \
             restore this file from a backup, or give up record {batch_first} and all after it by cutting the file to {cut} bytes"
        )))
    };
    let reader = Reader { file, path, length };
    if let Some(later) = reader.later_batch(fault.offset, batch_first)? {
        return damage(&format!("the later record {later} is intact"));
    }
    if reader.wholly_written(fault.offset)? {
        return damage("the batch was written to its end");
    }
    Ok(())
}

/// Looks at raw bytes of a segment file.
struct Reader<'a> {
    file: &'a dyn DiskFile,
    path: &'a str,
    length: u64,
}

impl Reader<'_> {
    /// Up to `count` bytes from `offset`, fewer at the end.
    fn bytes(&self, offset: u64, count: usize) -> Result<Vec<u8>> {
        let count = self.length.saturating_sub(offset).min(count as u64) as usize;
        let mut bytes = vec![0; count];
        let got = self.file.read_at(&mut bytes, offset).map_err(|io| io_failed("reading", self.path, &io))?;
        bytes.truncate(got);
        Ok(bytes)
    }

    /// The number of an intact record of a later batch than `batch_first`, anywhere after `from`.
    fn later_batch(&self, from: u64, batch_first: u64) -> Result<Option<u64>> {
        let mut offset = from;
        while offset < self.length {
            let window = self.bytes(offset, WINDOW_BYTES + RECORD_HEADER_BYTES)?;
            for at in (0..window.len().min(WINDOW_BYTES)).step_by(ALIGNMENT) {
                let Some(header) = window.get(at..).and_then(RecordHeader::decode) else { continue };
                if header.batch_first <= batch_first {
                    continue;
                }
                let record = self.bytes(offset + at as u64, header.record_bytes())?;
                if verified_payload(header, &record).is_some() {
                    return Ok(Some(header.number));
                }
            }
            offset += WINDOW_BYTES as u64;
        }
        Ok(None)
    }

    /// Whether the bytes from `from` on were written to their end: they end as a record ends, and no
    /// sector of them is blank.
    fn wholly_written(&self, from: u64) -> Result<bool> {
        let Some(end) = self.written_end(from)? else { return Ok(false) };
        let tail = self.bytes(end.saturating_sub(ALIGNMENT as u64).max(from), ALIGNMENT)?;
        if !ends_like_a_record(&tail) {
            return Ok(false);
        }
        let mut offset = from;
        while offset < end {
            let until = (offset - offset % SECTOR_BYTES + WINDOW_BYTES as u64).min(end);
            let window = self.bytes(offset, (until - offset) as usize)?;
            let (first, rest) =
                window.split_at(window.len().min((SECTOR_BYTES - offset % SECTOR_BYTES) as usize));
            let blank = |sector: &[u8]| sector.iter().all(|byte| *byte == 0);
            if blank(first) || rest.chunks(SECTOR_BYTES as usize).any(blank) {
                return Ok(false);
            }
            offset = until;
        }
        Ok(true)
    }

    /// Where the bytes from `from` on turn to zeros for good, rounded up to a record's alignment.
    fn written_end(&self, from: u64) -> Result<Option<u64>> {
        let (mut offset, mut end) = (from, None);
        while offset < self.length {
            let window = self.bytes(offset, WINDOW_BYTES)?;
            if let Some(at) = window.iter().rposition(|byte| *byte != 0) {
                end = Some((offset + at as u64 + 1).next_multiple_of(ALIGNMENT as u64));
            }
            offset += WINDOW_BYTES as u64;
        }
        Ok(end.filter(|end| *end <= self.length))
    }
}

//! The log: every accepted event, durable and in one order.
//!
//! A [`Log`] is an ordered list of records, numbered densely from 1, each with a strictly greater
//! stamp than the one before. It does not know what a payload means. [`SegmentLog`] keeps the records
//! in checksummed segment files (`docs/formats.md`); [`MemoryLog`] keeps them in memory, for tests and
//! notebooks. [`Disk`] is what a segment log needs of a directory, so that a simulator can stand in.

mod cut;
mod disk;
mod memory;
mod open;
mod overlay;
mod reader;
mod record;
mod rewrite;
mod segment;
mod segment_log;
mod sparse;
mod stamps;
mod tail;
mod writer;

use std::fmt::Debug;

use thyme_core::error::{Error, ErrorKind, Result};

pub use disk::{DirDisk, Disk, DiskFile};
pub use memory::MemoryLog;
pub use open::{OpenReport, TornTail};
pub use overlay::UntouchedDir;
pub use segment_log::{Options, SegmentLog};
pub use sparse::SparseLog;

/// The most bytes one record's payload may have.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 20;

/// A record to append.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// The record's place in time: microseconds, greater than the stamp of every earlier record.
    pub stamp: i64,
    /// What the record holds; the log does not look into it.
    pub payload: &'a [u8],
}

/// A record as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number: 1 for the first record, then one more each.
    pub number: u64,
    /// Its stamp.
    pub stamp: i64,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// The files of a log at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFiles {
    /// Its files, in the order of their records.
    pub files: Vec<LogFile>,
    /// Number and stamp of the last record in them.
    pub last: Option<(u64, i64)>,
}

/// One file of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its name in the log's directory.
    pub name: String,
    /// The number of its first record.
    pub first: u64,
    /// How many bytes of it are durable records.
    pub bytes: u64,
}

/// The records that [`Log::read`] gives, in order.
pub type Records<'a> = Box<dyn Iterator<Item = Result<Record>> + Send + 'a>;

/// An ordered, durable list of records.
pub trait Log: Send + Sync + Debug {
    /// Appends `records` as one batch and gives the number of the last of them.
    ///
    /// They are on durable storage when it returns, and after a crash the log holds all of them or
    /// none. One batch is written at a time. Appending nothing is a fault of the caller.
    ///
    /// # Errors
    /// `StorageFull`: nothing was stored, try again once there is space. `TooLarge`: a payload is above
    /// [`PAYLOAD_BYTES_MAX`]. `Unavailable`: an earlier write failed, so that nothing more is written
    /// until a restart. `Internal`: a stamp does not increase.
    fn append(&self, records: &[NewRecord<'_>]) -> Result<u64>;

    /// The number and the stamp of the last durable record.
    fn last(&self) -> Option<(u64, i64)>;

    /// The records from number `from` on, in order, up to what is durable at the time of the call.
    ///
    /// Appends may go on meanwhile. After an error the iterator ends.
    ///
    /// # Errors
    /// `Corrupt` when stored bytes are not what was written; they are never handed out.
    fn read(&self, from: u64) -> Result<Records<'_>>;

    /// The greatest record number whose stamp is at most `stamp`; `None` when there is no such record.
    ///
    /// # Errors
    /// `Corrupt` when stored bytes are not what was written.
    fn last_at(&self, stamp: i64) -> Result<Option<u64>>;

    /// The bytes that the log takes.
    fn bytes(&self) -> u64;

    /// Runs `run` on the log's files and what of them is durable. No file is replaced or removed meanwhile;
    /// appends may go on, behind what `run` is told of. A log without files has none to tell of.
    ///
    /// # Errors
    /// Those of `run`.
    fn with_files(&self, run: &mut dyn FnMut(&LogFiles) -> Result<()>) -> Result<()> {
        run(&LogFiles { files: Vec::new(), last: self.last() })
    }

    /// Why nothing is written any more until a restart, if that is so.
    fn failure(&self) -> Option<String> {
        None
    }

    /// Whether the append that failed may have left records which the next life finds: nobody knows until then.
    fn is_unsure(&self) -> bool {
        false
    }

    /// The number of the first record that is kept: 1 until the log is cut.
    fn first(&self) -> u64;

    /// Puts other payloads in the place of those of records up to `until`: `edit` gets a record's number and
    /// payload and gives the new payload, or `None` to leave it. Numbers and stamps stay. When this
    /// returns nothing of the old payloads is left in the log's files, and the new ones are durable; after a
    /// crash each record is as it was or as it is to be. Appends may go on, and readers that are under way
    /// see either. Gives how many records changed.
    ///
    /// # Errors
    /// Those of `edit`; `StorageFull` or `Unavailable` when a file cannot be written: what is not rewritten
    /// yet is as it was.
    fn rewrite(&self, until: u64, edit: &mut Edit<'_>) -> Result<u64>;

    /// Removes what can be removed in whole files of the records before `before`, and gives the bytes that
    /// are free now. The log never loses its last record. Files that an earlier cut could not remove are tried again.
    ///
    /// # Errors
    /// `Unavailable` when a file cannot be removed.
    fn cut(&self, before: u64) -> Result<u64>;

    /// The numbers at which [`Log::cut`] can cut, ascending: the first records of its files but the first.
    fn cuts(&self) -> Vec<u64>;
}

/// What [`Log::rewrite`] does to a record.
pub type Edit<'a> = dyn FnMut(u64, &[u8]) -> Result<Option<Vec<u8>>> + 'a;

/// Refuses what no log may take: nothing, too large a payload, or a stamp that does not increase.
fn check_batch(records: &[NewRecord<'_>], last: Option<(u64, i64)>) -> Result<()> {
    if records.is_empty() {
        return Err(Error::internal("an append to the log holds no record; expected at least one"));
    }
    let mut before = last.map_or(i64::MIN, |(_, stamp)| stamp);
    for record in records {
        if record.payload.len() > PAYLOAD_BYTES_MAX {
            let got = record.payload.len();
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "a log record of {got} bytes is above the limit of {PAYLOAD_BYTES_MAX} bytes; send smaller batches"
                ),
            ));
        }
        if record.stamp <= before {
            return Err(Error::internal(format!(
                "a log record's stamp {} does not follow the stamp {before} before it; stamps must strictly increase",
                record.stamp
            )));
        }
        before = record.stamp;
    }
    Ok(())
}

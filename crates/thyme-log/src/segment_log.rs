//! The embedded log: checksummed segment files, one sync for each append.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use thyme_core::error::Result;

use crate::disk::{DirDisk, Disk};
use crate::open::{self, OpenReport};
use crate::reader::Reader;
use crate::segment::Segment;
use crate::stamps::Stamps;
use crate::writer::Writer;
use crate::{Log, LogFile, LogFiles, NewRecord, Records};

/// How a segment log keeps its files.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment is closed before a batch would take it above this size.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { segment_bytes: 128 << 20 }
    }
}

/// What is durable, as readers see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durable {
    /// The segments in order, shared with the readers that look at them.
    pub segments: Arc<Vec<Arc<Segment>>>,
    /// Number and stamp of the last record.
    pub last: Option<(u64, i64)>,
    /// Bytes of all segments.
    pub bytes: u64,
}

/// A log in segment files of one directory.
#[derive(Debug)]
pub struct SegmentLog {
    disk: Arc<dyn Disk>,
    durable: RwLock<Durable>,
    writer: Mutex<Writer>,
    stamps: Mutex<Stamps>,
    /// Why the writer has given up; told without waiting for a write that goes on.
    failure: OnceLock<String>,
}

impl SegmentLog {
    /// Opens the log in `dir`, creating it if there is none, and cuts off what a crash left half written.
    ///
    /// # Errors
    /// `Unavailable` when another process uses the directory, `Corrupt` when acknowledged data is damaged,
    /// `Unsupported` when a later Thyme wrote it.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, OpenReport)> {
        Self::open_on(Arc::new(DirDisk::open(dir)?), options)
    }

    /// Opens the log on `disk`: [`SegmentLog::open`] with another kind of directory.
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, OpenReport)> {
        let (durable, file, report) = open::recover(disk.as_ref())?;
        let writer = Writer::new(Arc::clone(&disk), options, file);
        let log = SegmentLog {
            disk,
            durable: RwLock::new(durable),
            writer: Mutex::new(writer),
            stamps: Mutex::default(),
            failure: OnceLock::new(),
        };
        Ok((log, report))
    }
}

impl Log for SegmentLog {
    fn append(&self, records: &[NewRecord<'_>]) -> Result<u64> {
        let mut writer = self.writer.lock();
        let before = self.durable.read().clone();
        let appended = writer.append(before, records);
        if let Some(reason) = writer.failure() {
            // The first reason stays.
            let _ = self.failure.set(reason);
        }
        let (durable, last) = appended?;
        *self.durable.write() = durable;
        Ok(last)
    }

    fn last(&self) -> Option<(u64, i64)> {
        self.durable.read().last
    }

    fn read(&self, from: u64) -> Result<Records<'_>> {
        let durable = self.durable.read().clone();
        Ok(Box::new(Reader::new(Arc::clone(&self.disk), durable, from)))
    }

    fn last_at(&self, stamp: i64) -> Result<Option<u64>> {
        let durable = self.durable.read().clone();
        match durable.last {
            Some((number, last)) if last <= stamp => Ok(Some(number)),
            None => Ok(None),
            Some(_) => self.stamps.lock().last_at(self.disk.as_ref(), &durable, stamp),
        }
    }

    fn bytes(&self) -> u64 {
        self.durable.read().bytes
    }

    fn with_files(&self, run: &mut dyn FnMut(&LogFiles) -> Result<()>) -> Result<()> {
        // An append makes its bytes durable before it moves the ends: both are taken where none is between.
        let files = {
            let _writer = self.writer.lock();
            let durable = self.durable.read();
            let of = |segment: &Arc<Segment>| LogFile {
                name: segment.name.clone(),
                first: segment.header.first,
                bytes: segment.end(),
            };
            LogFiles { files: durable.segments.iter().map(of).collect(), last: durable.last }
        };
        run(&files)
    }

    fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }
}

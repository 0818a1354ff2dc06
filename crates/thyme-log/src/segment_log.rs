//! The embedded log: checksummed segment files, one sync for each append.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use thyme_core::error::Result;

use crate::disk::{DirDisk, Disk};
use crate::open::{self, OpenReport};
use crate::reader::Reader;
use crate::segment::{Segment, gone};
use crate::stamps::Stamps;
use crate::writer::Writer;
use crate::{Edit, Log, LogFile, LogFiles, NewRecord, Records, cut, rewrite};

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

impl Durable {
    /// The number of the first record.
    pub fn first(&self) -> u64 {
        self.segments.first().map_or(1, |segment| segment.header.first)
    }
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
    /// Held while files are replaced or removed.
    changing: Mutex<()>,
    /// Files before the log's beginning that could not be removed yet.
    leftover: Mutex<Vec<String>>,
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
            changing: Mutex::new(()),
            leftover: Mutex::default(),
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
        if from.max(1) < durable.first() {
            return Err(gone(from.max(1)));
        }
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
        let _one_at_a_time = self.changing.lock();
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

    fn is_unsure(&self) -> bool {
        self.writer.lock().is_unsure()
    }

    fn first(&self) -> u64 {
        self.durable.read().first()
    }

    fn rewrite(&self, until: u64, edit: &mut Edit<'_>) -> Result<u64> {
        let _one_at_a_time = self.changing.lock();
        // What is appended from now on goes to another file.
        let durable = {
            let mut writer = self.writer.lock();
            writer.seal();
            self.durable.read().clone()
        };
        let mut changed = 0;
        for segment in durable.segments.iter().take_while(|segment| segment.header.first <= until) {
            let before = segment.end();
            let Some(rewritten) = rewrite::write(self.disk.as_ref(), segment, until, edit)? else { continue };
            changed += rewritten.records;
            // Whoever looks stamps up remembers where in a file they are.
            let mut stamps = self.stamps.lock();
            rewrite::put_in_place(self.disk.as_ref(), segment, rewritten)?;
            *stamps = Stamps::default();
            let mut durable = self.durable.write();
            durable.bytes = durable.bytes + segment.end() - before;
        }
        Ok(changed)
    }

    fn cut(&self, before: u64) -> Result<u64> {
        let _one_at_a_time = self.changing.lock();
        let segments = Arc::clone(&self.durable.read().segments);
        let count = segments.iter().skip(1).take_while(|next| next.header.first <= before).count();
        let mut leftover = self.leftover.lock();
        let Some(first) = segments.get(count).filter(|_| count > 0) else {
            cut::remove(self.disk.as_ref(), &mut leftover)?;
            return Ok(0);
        };
        cut::mark(self.disk.as_ref(), cut::Cut { first: first.header.first, base: first.header.base })?;
        let gone = segments.get(..count).unwrap_or_default();
        let bytes = gone.iter().map(|segment| segment.end()).sum();
        {
            // The one who appends takes what is durable and puts it back changed.
            let _writer = self.writer.lock();
            let mut durable = self.durable.write();
            Arc::make_mut(&mut durable.segments).drain(..count);
            durable.bytes -= bytes;
            *self.stamps.lock() = Stamps::default();
        }
        leftover.extend(gone.iter().map(|segment| segment.name.clone()));
        cut::remove(self.disk.as_ref(), &mut leftover)?;
        Ok(bytes)
    }

    fn cuts(&self) -> Vec<u64> {
        self.durable.read().segments.iter().skip(1).map(|segment| segment.header.first).collect()
    }
}

//! Records that are written once and read now and then, by number: what happened, and what was asked.
//!
//! A trail is a folder of segments, files of compressed blocks of JSON records, one a line. It is bounded: the oldest
//! segment goes first. A block that is not what was written is an error for whoever reads it, never a record; one that
//! a crash left half is cut off at the next start.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use thyme_core::{Error, ErrorKind, Result};

const MAGIC: &[u8; 8] = b"THYMTRAI";
const FORMAT_VERSION: u32 = 1;
const HEAD: u64 = 12;
/// The head of a block: bytes stored, bytes of the records, their first and last number, a checksum of all these and
/// of what is stored.
const BLOCK_HEAD: usize = 28;
/// The most bytes of the records of a block.
const RECORDS_BYTES_MAX: u32 = 64 << 20;
const SUFFIX: &str = ".trail";
const UNFINISHED: &str = "rewrite.new";

/// How much a trail keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// A segment of so many bytes is closed.
    pub segment_bytes: u64,
    /// With more than so many, the oldest segments go.
    pub bytes_max: u64,
}

/// Whether a block is on durable storage when it has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    Now,
    Never,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    offset: u64,
    stored: u32,
    records: u32,
    first: u64,
    last: u64,
}

impl Block {
    fn bytes(&self) -> u64 {
        BLOCK_HEAD as u64 + u64::from(self.stored)
    }
}

#[derive(Clone, Debug)]
struct Segment {
    path: PathBuf,
    file: Arc<File>,
    blocks: Vec<Block>,
    bytes: u64,
}

/// Records in a folder.
#[derive(Debug)]
pub(crate) struct Trail {
    folder: PathBuf,
    bounds: Bounds,
    segments: Mutex<VecDeque<Segment>>,
}

fn failed(doing: &str, path: &Path, io: &io::Error) -> Error {
    let kind = match io.kind() {
        io::ErrorKind::StorageFull => ErrorKind::StorageFull,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{doing} {}: {io}", path.display()))
}

fn sync_names(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Segment {
    fn create(folder: &Path, name: &str) -> io::Result<Segment> {
        let path = folder.join(name);
        let file =
            File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let head = [MAGIC.as_slice(), &FORMAT_VERSION.to_le_bytes()].concat();
        file.write_all_at(&head, 0)?;
        Ok(Segment { path, file: Arc::new(file), blocks: Vec::new(), bytes: HEAD })
    }

    /// What is there, up to the first block that is not whole; `None` if it is no segment, as a power cut may leave it.
    fn open(path: PathBuf) -> Result<Option<Segment>> {
        let reading = |io| failed("reading", &path, &io);
        let file = File::options().read(true).write(true).open(&path).map_err(reading)?;
        let length = file.metadata().map_err(reading)?.len();
        let mut head = [0; HEAD as usize];
        if length >= HEAD {
            file.read_exact_at(&mut head, 0).map_err(reading)?;
        }
        let (magic, version) = head.split_at(MAGIC.len());
        if length >= HEAD && magic != MAGIC {
            return Ok(None);
        }
        if length >= HEAD && version != FORMAT_VERSION.to_le_bytes() {
            let detail = format!(
                "{} is of a later format than this Thyme reads; use the Thyme that wrote it, or move it away",
                path.display()
            );
            return Err(Error::new(ErrorKind::Unsupported, detail));
        }
        let mut segment =
            Segment { path: path.clone(), file: Arc::new(file), blocks: Vec::new(), bytes: HEAD };
        while let Some(block) = segment.block_at(segment.bytes, length) {
            segment.bytes += block.bytes();
            segment.blocks.push(block);
        }
        Ok(Some(segment))
    }

    fn block_at(&self, offset: u64, length: u64) -> Option<Block> {
        let mut head = [0; BLOCK_HEAD];
        self.file.read_exact_at(&mut head, offset).ok()?;
        let number = |at: usize| head.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        let long = |at: usize| head.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let block =
            Block { offset, stored: number(0)?, records: number(4)?, first: long(8)?, last: long(16)? };
        (offset + block.bytes() <= length && block.records <= RECORDS_BYTES_MAX).then_some(block)
    }

    /// Cuts what a crash left half: the last block, if it is not what was written.
    fn cut(&mut self) -> Result<()> {
        while let Some(last) = self.blocks.last().copied() {
            if self.records(&last).is_ok() {
                break;
            }
            self.bytes = last.offset;
            self.blocks.pop();
        }
        let cutting = |io| failed("cutting", &self.path, &io);
        if self.bytes == HEAD {
            let head = [MAGIC.as_slice(), &FORMAT_VERSION.to_le_bytes()].concat();
            self.file.write_all_at(&head, 0).map_err(cutting)?;
        }
        self.file.set_len(self.bytes).map_err(cutting)
    }

    /// The records of a block, one a line.
    fn records(&self, block: &Block) -> Result<String> {
        let read = || {
            let mut bytes = vec![0; usize::try_from(block.bytes()).ok()?];
            self.file.read_exact_at(&mut bytes, block.offset).ok()?;
            let (head, stored) = bytes.split_at_checked(BLOCK_HEAD)?;
            let (facts, sum) = head.split_last_chunk::<4>()?;
            if crc32c::crc32c_append(crc32c::crc32c(facts), stored) != u32::from_le_bytes(*sum) {
                return None;
            }
            String::from_utf8(lz4_flex::block::decompress(stored, block.records as usize).ok()?).ok()
        };
        read().ok_or_else(|| {
            let detail = format!(
                "{} is damaged in the block at byte {}; what it held cannot be shown, move the file away to see the rest",
                self.path.display(),
                block.offset
            );
            Error::corrupt(detail)
        })
    }

    fn append(&mut self, (first, last): (u64, u64), records: &str) -> io::Result<()> {
        let too_large = || io::Error::other("a block of too many bytes");
        // Nobody would read it again, nor what comes after it.
        if records.len() > RECORDS_BYTES_MAX as usize {
            return Err(too_large());
        }
        let stored = lz4_flex::block::compress(records.as_bytes());
        let block = Block {
            offset: self.bytes,
            stored: u32::try_from(stored.len()).map_err(|_| too_large())?,
            records: u32::try_from(records.len()).map_err(|_| too_large())?,
            first,
            last,
        };
        let mut bytes = Vec::with_capacity(BLOCK_HEAD + stored.len());
        bytes.extend_from_slice(&block.stored.to_le_bytes());
        bytes.extend_from_slice(&block.records.to_le_bytes());
        bytes.extend_from_slice(&first.to_le_bytes());
        bytes.extend_from_slice(&last.to_le_bytes());
        let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes), &stored);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(&stored);
        self.file.write_all_at(&bytes, block.offset)?;
        self.bytes += block.bytes();
        self.blocks.push(block);
        Ok(())
    }
}

impl Trail {
    /// The trail in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// Unavailable: the disk. Unsupported: a later Thyme wrote it.
    pub fn open(folder: PathBuf, bounds: Bounds) -> Result<Trail> {
        let opening = |io| failed("opening", &folder, &io);
        fs::create_dir_all(&folder).map_err(opening)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).map_err(opening)? {
            names.extend(entry.map_err(opening)?.file_name().into_string());
        }
        if names.iter().any(|name| name == UNFINISHED) {
            fs::remove_file(folder.join(UNFINISHED)).map_err(opening)?;
        }
        names.retain(|name| name.ends_with(SUFFIX));
        names.sort_unstable();
        let mut segments = VecDeque::new();
        for name in &names {
            segments.extend(Segment::open(folder.join(name))?);
        }
        if let Some(last) = segments.back_mut() {
            last.cut()?;
        }
        Ok(Trail { folder, bounds, segments: Mutex::new(segments) })
    }

    /// The number of the last record.
    pub fn last(&self) -> Option<u64> {
        self.segments.lock().iter().rev().find_map(|segment| segment.blocks.last()).map(|block| block.last)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.lock().iter().map(|segment| segment.bytes).sum()
    }

    /// Adds `records`, one a line, whose numbers are `numbers`, all above the last.
    ///
    /// # Errors
    /// Unavailable, `StorageFull`: nothing was added.
    pub fn append(&self, numbers: (u64, u64), records: &str, sync: Sync) -> Result<()> {
        let mut segments = self.segments.lock();
        let writing = |io: &io::Error| failed("writing to", &self.folder, io);
        if segments.back().is_none_or(|last| last.bytes >= self.bounds.segment_bytes) {
            let name = format!("{:020}{SUFFIX}", numbers.0);
            let made =
                Segment::create(&self.folder, &name).and_then(|made| sync_names(&self.folder).map(|()| made));
            segments.push_back(made.map_err(|io| writing(&io))?);
        }
        let Some(last) = segments.back_mut() else { return Ok(()) };
        let before = last.bytes;
        let written = last.append(numbers, records).and_then(|()| match sync {
            Sync::Now => last.file.sync_all(),
            Sync::Never => Ok(()),
        });
        if let Err(io) = written {
            // What may be there of it is behind the end, and overwritten by the next.
            if last.bytes > before {
                last.blocks.pop();
                last.bytes = before;
            }
            return Err(writing(&io));
        }
        let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        while bytes > self.bounds.bytes_max && segments.len() > 1 {
            let Some(oldest) = segments.pop_front() else { break };
            bytes -= oldest.bytes;
            fs::remove_file(&oldest.path).map_err(|io| failed("removing", &oldest.path, &io))?;
        }
        Ok(())
    }

    /// Shows records below `before`, newest first, until `visit` has enough.
    ///
    /// # Errors
    /// Corrupt: a block is not what was written.
    pub fn scan(&self, before: u64, visit: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<()> {
        // What is read is what was there at the beginning; files stay readable while they are open.
        let segments = self.segments.lock().clone();
        for segment in segments.iter().rev() {
            for block in segment.blocks.iter().rev().filter(|block| block.first < before) {
                let records = segment.records(block)?;
                for record in records.lines().rev() {
                    if visit(record).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// The records of the block that may have number `number`.
    ///
    /// # Errors
    /// As [`Trail::scan`].
    pub fn block_with(&self, number: u64) -> Result<Option<String>> {
        let found = self.segments.lock().iter().rev().find_map(|segment| {
            let block = segment.blocks.iter().rev().find(|b| (b.first..=b.last).contains(&number))?;
            Some((Segment { blocks: Vec::new(), ..segment.clone() }, *block))
        });
        found.map(|(segment, block)| segment.records(&block)).transpose()
    }

    /// Writes every segment anew in which `edit` changes a record; it gives what the record is from now on. A block
    /// that is not what was written is left out: nobody can say what is in it. Durable when this returns. Gives how
    /// many segments were changed.
    ///
    /// # Errors
    /// Unavailable: some segments may be as they were.
    pub fn rewrite(&self, edit: &dyn Fn(&str) -> Option<String>) -> Result<u64> {
        let mut segments = self.segments.lock();
        let mut changed = 0;
        for segment in segments.iter_mut() {
            let is_changed = |block: &Block| match segment.records(block) {
                Ok(records) => records.lines().any(|record| edit(record).is_some()),
                Err(_) => true,
            };
            if segment.blocks.iter().any(is_changed) {
                let writing = |io| failed("writing anew", &segment.path, &io);
                let made = self.edited(segment, edit).map_err(writing)?;
                (*segment, changed) = (made, changed + 1);
            }
        }
        Ok(changed)
    }

    fn edited(&self, segment: &Segment, edit: &dyn Fn(&str) -> Option<String>) -> io::Result<Segment> {
        let mut made = Segment::create(&self.folder, UNFINISHED)?;
        for block in &segment.blocks {
            let Ok(records) = segment.records(block) else { continue };
            let mut out = String::with_capacity(records.len());
            for record in records.lines() {
                let edited = edit(record);
                out.push_str(edited.as_deref().unwrap_or(record));
                out.push('\n');
            }
            made.append((block.first, block.last), &out)?;
        }
        made.file.sync_all()?;
        fs::rename(&made.path, &segment.path)?;
        sync_names(&self.folder)?;
        made.path.clone_from(&segment.path);
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { segment_bytes: 400, bytes_max: 2_000 };

    fn all(trail: &Trail, before: u64) -> Vec<String> {
        let mut found = Vec::new();
        let visit = &mut |record: &str| {
            found.push(record.to_owned());
            ControlFlow::Continue(())
        };
        trail.scan(before, visit).unwrap();
        found
    }

    fn add(trail: &Trail, number: u64) {
        let records = format!("{{\"n\":{number}}}\n{{\"n\":{}}}\n", number + 1);
        trail.append((number, number + 1), &records, Sync::Never).unwrap();
    }

    #[test]
    fn records_come_back_newest_first_and_the_oldest_go_when_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("trail");
        let trail = Trail::open(folder.clone(), BOUNDS).unwrap();
        assert_eq!((trail.last(), all(&trail, u64::MAX).len()), (None, 0));
        (0..10).for_each(|i| add(&trail, i * 2));
        let shown = all(&trail, u64::MAX);
        assert_eq!((shown.len(), shown[0].as_str(), shown[19].as_str()), (20, "{\"n\":19}", "{\"n\":0}"));
        assert_eq!(all(&trail, 6).len(), 6);
        assert!(trail.block_with(7).unwrap().unwrap().contains("{\"n\":7}"));
        assert_eq!(trail.block_with(99).unwrap(), None);
        (10..200).for_each(|i| add(&trail, i * 2));
        assert!(trail.bytes() <= BOUNDS.bytes_max + BOUNDS.segment_bytes, "{}", trail.bytes());
        let shown = all(&trail, u64::MAX);
        assert!(shown.len() > 20 && shown[0] == "{\"n\":399}", "{}", shown.len());
        let again = Trail::open(folder, BOUNDS).unwrap();
        assert_eq!((again.last(), all(&again, u64::MAX)), (Some(399), shown));
    }

    #[test]
    fn what_is_rewritten_is_in_no_file_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let trail = Trail::open(dir.path().to_owned(), Bounds { bytes_max: 1 << 20, ..BOUNDS }).unwrap();
        (0..50).for_each(|i| add(&trail, i * 2));
        let edit = |record: &str| (record == "{\"n\":33}").then(|| "{\"n\":0}".to_owned());
        assert_eq!(trail.rewrite(&edit).unwrap(), 1);
        add(&trail, 100);
        for trail in [trail, Trail::open(dir.path().to_owned(), BOUNDS).unwrap()] {
            let shown = all(&trail, u64::MAX);
            assert_eq!((shown.len(), shown.iter().filter(|r| *r == "{\"n\":0}").count()), (102, 2));
            assert!(!shown.contains(&"{\"n\":33}".to_owned()));
        }
    }

    #[test]
    fn a_torn_end_is_cut_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let bounds = Bounds { segment_bytes: 1 << 20, bytes_max: 1 << 20 };
        let trail = Trail::open(dir.path().to_owned(), bounds).unwrap();
        (0..3).for_each(|i| add(&trail, i * 2));
        let path = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let whole = fs::read(&path).unwrap();
        drop(trail);
        for end in (0..whole.len()).rev() {
            fs::write(&path, &whole[..end]).unwrap();
            let trail = Trail::open(dir.path().to_owned(), bounds).unwrap();
            let count = all(&trail, u64::MAX).len();
            assert!(count < 6 && count.is_multiple_of(2), "{end}: {count}");
            add(&trail, 90);
            assert_eq!(all(&Trail::open(dir.path().to_owned(), bounds).unwrap(), u64::MAX).len(), count + 2);
        }
        let mut damaged = whole.clone();
        damaged[HEAD as usize + BLOCK_HEAD + 2] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let trail = Trail::open(dir.path().to_owned(), bounds).unwrap();
        let error = trail.scan(u64::MAX, &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert!(error.detail().contains("is damaged in the block at byte 12"), "{error}");
        // Whoever writes all anew leaves out what nobody can read.
        trail.rewrite(&|_| None).unwrap();
        assert_eq!(all(&trail, u64::MAX).len(), 4);
        fs::write(&path, [0; 100]).unwrap();
        let trail = Trail::open(dir.path().to_owned(), bounds).unwrap();
        add(&trail, 7);
        assert_eq!(all(&Trail::open(dir.path().to_owned(), bounds).unwrap(), u64::MAX).len(), 2);
        fs::write(&path, [MAGIC.as_slice(), &2_u32.to_le_bytes()].concat()).unwrap();
        assert_eq!(Trail::open(dir.path().to_owned(), bounds).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

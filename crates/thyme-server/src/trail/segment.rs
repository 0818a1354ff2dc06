//! A file of a trail: blocks one after the other, each under a checksum.
//!
//! What is not what was written is passed over: the next block that is whole goes on. Only what nothing whole follows is
//! an end that a crash has torn.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thyme_core::{Error, ErrorKind, Result};

const MAGIC: &[u8; 8] = b"THYMTRAI";
const FORMAT_VERSION: u32 = 1;
pub(super) const HEAD: u64 = 12;
/// The head of a block: bytes stored, bytes of the records, their first and last number, a checksum of all these and
/// of what is stored.
pub(super) const BLOCK_HEAD: usize = 28;
/// The most bytes of the records of a block.
const RECORDS_BYTES_MAX: u32 = 64 << 20;

#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    offset: u64,
    stored: u32,
    records: u32,
    pub first: u64,
    pub last: u64,
}

impl Block {
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn bytes(&self) -> u64 {
        BLOCK_HEAD as u64 + u64::from(self.stored)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub path: PathBuf,
    pub file: Arc<File>,
    pub blocks: Vec<Block>,
    /// Where there is no block between two.
    pub gaps: Vec<u64>,
    pub bytes: u64,
}

/// What is in a file.
#[derive(Debug, Default)]
struct Found {
    blocks: Vec<Block>,
    gaps: Vec<u64>,
    end: u64,
}

pub(super) fn failed(doing: &str, path: &Path, io: &io::Error) -> Error {
    let kind = match io.kind() {
        io::ErrorKind::StorageFull => ErrorKind::StorageFull,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{doing} {}: {io}", path.display()))
}

pub(super) fn sync_names(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// What is said of a place in a file that is not what was written.
pub(super) fn damaged(path: &Path, offset: u64) -> Error {
    Error::corrupt(format!(
        "{} is damaged in the block at byte {offset}; what it held cannot be shown, the rest can",
        path.display()
    ))
}

/// A number of `N` bytes at `at`.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl Block {
    /// The block whose head this is, if it ends by `length` and its facts can be true.
    fn of(head: &[u8], offset: u64, length: u64) -> Option<Block> {
        let block = Block {
            offset,
            stored: u32::from_le_bytes(number(head, 0)?),
            records: u32::from_le_bytes(number(head, 4)?),
            first: u64::from_le_bytes(number(head, 8)?),
            last: u64::from_le_bytes(number(head, 16)?),
        };
        let is_possible = block.first <= block.last
            && block.records <= RECORDS_BYTES_MAX
            && offset + block.bytes() <= length;
        is_possible.then_some(block)
    }

    /// The block at `offset` of a whole file, if its checksum is right.
    fn whole(file: &[u8], offset: usize) -> Option<Block> {
        let block = Block::of(file.get(offset..offset + BLOCK_HEAD)?, offset as u64, file.len() as u64)?;
        stored(file.get(offset..offset + usize::try_from(block.bytes()).ok()?)?).map(|_| block)
    }
}

/// What a block stores, if its checksum is right.
fn stored(block: &[u8]) -> Option<&[u8]> {
    let (head, stored) = block.split_at_checked(BLOCK_HEAD)?;
    let (facts, sum) = head.split_last_chunk::<4>()?;
    let is_right = crc32c::crc32c_append(crc32c::crc32c(facts), stored) == u32::from_le_bytes(*sum);
    is_right.then_some(stored)
}

impl Segment {
    pub fn create(folder: &Path, name: &str) -> io::Result<Segment> {
        let path = folder.join(name);
        let file =
            File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let head = [MAGIC.as_slice(), &FORMAT_VERSION.to_le_bytes()].concat();
        file.write_all_at(&head, 0)?;
        Ok(Segment { path, file: Arc::new(file), blocks: Vec::new(), gaps: Vec::new(), bytes: HEAD })
    }

    /// What is there; `None` if it is no segment.
    ///
    /// # Errors
    /// Unavailable: the disk. Unsupported: a later Thyme wrote it.
    pub fn open(path: PathBuf) -> Result<Option<Segment>> {
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(|io| failed("reading", &path, &io))?;
        Self::opened(path, file)
    }

    /// [`Segment::open`] of one that is not written to.
    ///
    /// # Errors
    /// As [`Segment::open`].
    pub fn look(path: PathBuf) -> Result<Option<Segment>> {
        let file = File::open(&path).map_err(|io| failed("reading", &path, &io))?;
        Self::opened(path, file)
    }

    fn opened(path: PathBuf, file: File) -> Result<Option<Segment>> {
        let reading = |io| failed("reading", &path, &io);
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
        let found = match by_heads(&file, length) {
            Some(blocks) => Found { blocks, gaps: Vec::new(), end: length.max(HEAD) },
            None => by_checksums(&file, length).map_err(reading)?,
        };
        let Found { blocks, gaps, end } = found;
        Ok(Some(Segment { path, file: Arc::new(file), blocks, gaps, bytes: end }))
    }

    /// Cuts what a crash left half: what comes after the last block, and that one, if it is not what was written.
    pub fn cut(&mut self) -> Result<()> {
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

    /// Bytes of the file after its last block.
    pub fn torn(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len().saturating_sub(self.bytes))
    }

    /// The records of a block, one a line.
    ///
    /// # Errors
    /// Corrupt: it is not what was written.
    pub fn records(&self, block: &Block) -> Result<String> {
        let read = || {
            let mut bytes = vec![0; usize::try_from(block.bytes()).ok()?];
            self.file.read_exact_at(&mut bytes, block.offset).ok()?;
            let records = lz4_flex::block::decompress(stored(&bytes)?, block.records as usize).ok()?;
            String::from_utf8(records).ok()
        };
        read().ok_or_else(|| damaged(&self.path, block.offset))
    }

    /// Adds a block; what may be there of one that failed is overwritten by the next.
    pub fn append(&mut self, (first, last): (u64, u64), records: &str) -> io::Result<()> {
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

    /// Takes back the block that was added last, down to `bytes`.
    pub fn take_back(&mut self, bytes: u64) {
        if self.bytes > bytes {
            self.blocks.pop();
            self.bytes = bytes;
        }
    }
}

/// The blocks, if their heads lead from one to the next up to the end, in the order of their numbers.
fn by_heads(file: &File, length: u64) -> Option<Vec<Block>> {
    let (mut blocks, mut end) = (Vec::<Block>::new(), HEAD);
    while end < length {
        let mut head = [0; BLOCK_HEAD];
        file.read_exact_at(&mut head, end).ok()?;
        let block = Block::of(&head, end, length)?;
        if blocks.last().is_some_and(|before| before.last >= block.first) {
            return None;
        }
        end += block.bytes();
        blocks.push(block);
    }
    Some(blocks)
}

/// All blocks that are whole, wherever they are.
fn by_checksums(file: &File, length: u64) -> io::Result<Found> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    let mut found = Found { end: HEAD, ..Found::default() };
    let mut at = HEAD as usize;
    while let Some((offset, block)) =
        (at..bytes.len()).find_map(|offset| Some((offset, Block::whole(&bytes, offset)?)))
    {
        if offset > at {
            found.gaps.push(at as u64);
        }
        found.end = block.offset + block.bytes();
        at = usize::try_from(found.end).map_err(io::Error::other)?;
        found.blocks.push(block);
    }
    Ok(found)
}

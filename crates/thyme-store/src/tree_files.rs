//! The files of the tree below, looked at from outside: what it reads without a checksum is verified here.
//!
//! The tree checks the blocks of its tables and the items of its journal. It does not check the list of
//! tables (a damaged one could make it forget a table and delete its file) nor the sequence numbers in its
//! journal (a damaged one could bring an older chunk back). What is checked here is so before the tree
//! opens, and names the file.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// What the tree's version file holds.
const VERSION: &[u8] = b"FJL\x03";
/// What ends a batch in a journal.
const BATCH_END: &[u8] = b"FJL\x03";
/// A journal's sequence numbers go up by little; a jump of more is a damaged one.
const SEQUENCE_STEP_MAX: u64 = 1 << 32;
/// How many bytes `current` has: the list's id, its checksum, the kind of checksum.
const CURRENT_BYTES: usize = 8 + 16 + 1;

/// A file that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, as the end of a sentence that begins with the file.
    pub flaw: String,
}

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The small files and the journals.
    Lists,
    /// Every byte of the tables too.
    Tables,
}

/// What is wrong with the files in `dir`; nothing when there is no tree yet.
pub fn survey(dir: &Path, depth: Depth) -> io::Result<Vec<FileFault>> {
    let mut faults = Vec::new();
    let made = fs::metadata(dir.join("version")).is_ok_and(|marker| marker.len() > 0);
    if !made {
        // The tree makes its folders for keyspaces after this file.
        if dir.join("keyspaces").join("0").exists() {
            faults.push(fault(dir.join("version"), "is missing"));
        }
        return Ok(faults);
    }
    let version = fs::read(dir.join("version"))?;
    if version != VERSION
        && !(version.len() == VERSION.len() && version.starts_with(b"FJL") && version[3] > 3)
    {
        faults.push(fault(dir.join("version"), "is damaged"));
    }
    match sorted(&dir.join("keyspaces")) {
        Ok(keyspaces) => {
            for keyspace in keyspaces {
                check_keyspace(&keyspace, depth, &mut faults)?;
            }
        }
        Err(io) if io.kind() == io::ErrorKind::NotFound => {
            faults.push(fault(dir.join("keyspaces"), "is missing"));
        }
        Err(io) => return Err(io),
    }
    check_journals(dir, &mut faults)?;
    Ok(faults)
}

/// The first table in `dir` that is not what was written, among those of about `bytes_max` bytes. The tree may be at work:
/// what it has replaced meanwhile is passed over.
pub fn damaged_table(dir: &Path, bytes_max: u64) -> io::Result<Option<FileFault>> {
    let mut left = bytes_max;
    for keyspace in sorted(&dir.join("keyspaces"))? {
        let current = keyspace.join("current");
        let Some(id) = fs::read(&current).ok().and_then(|bytes| read_u64(&bytes, 0)) else { continue };
        for (table, checksum) in read_list(&keyspace.join(format!("v{id}"))).unwrap_or_default() {
            let path = keyspace.join("tables").join(table.to_string());
            match hash_file(&path) {
                Ok(hash) if hash != checksum => {
                    return Ok(Some(fault(path, "does not match its checksum")));
                }
                Ok(_) => {}
                Err(io) if io.kind() == io::ErrorKind::NotFound => continue,
                Err(io) => return Err(io),
            }
            let length = fs::metadata(&path).map_or(0, |meta| meta.len());
            let Some(rest) = left.checked_sub(length) else { return Ok(None) };
            left = rest;
        }
    }
    Ok(None)
}

fn fault(path: PathBuf, flaw: impl Into<String>) -> FileFault {
    FileFault { path, flaw: flaw.into() }
}

fn sorted(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// One keyspace: `current` names the list of tables and has its checksum, the list names the tables and
/// has theirs.
fn check_keyspace(dir: &Path, depth: Depth, faults: &mut Vec<FileFault>) -> io::Result<()> {
    let current = dir.join("current");
    let bytes = match fs::read(&current) {
        Ok(bytes) => bytes,
        Err(io) if io.kind() == io::ErrorKind::NotFound => {
            // A keyspace that a crash left half made has no table yet.
            if sorted(&dir.join("tables")).is_ok_and(|tables| !tables.is_empty()) {
                faults.push(fault(current, "is missing"));
            }
            return Ok(());
        }
        Err(io) => return Err(io),
    };
    let parsed = (bytes.len() == CURRENT_BYTES && bytes.last() == Some(&0))
        .then(|| Some((read_u64(&bytes, 0)?, read_u128(&bytes, 8)?)))
        .flatten();
    let Some((id, checksum)) = parsed else {
        faults.push(fault(current, "is damaged"));
        return Ok(());
    };
    let list = dir.join(format!("v{id}"));
    match fs::read(&list) {
        Ok(bytes) if xxh3_128(&bytes) == checksum => {}
        Ok(_) => {
            let flaw = format!("does not match its checksum in {}", current.display());
            faults.push(fault(list, flaw));
            return Ok(());
        }
        Err(io) if io.kind() == io::ErrorKind::NotFound => {
            faults.push(fault(list, format!("is missing, or {} is damaged", current.display())));
            return Ok(());
        }
        Err(io) => return Err(io),
    }
    let Some(tables) = read_list(&list) else {
        faults.push(fault(list, "cannot be read"));
        return Ok(());
    };
    for (table, checksum) in tables {
        let path = dir.join("tables").join(table.to_string());
        if !path.is_file() {
            faults.push(fault(path, "is missing"));
        } else if depth == Depth::Tables && hash_file(&path)? != checksum {
            faults.push(fault(path, "does not match its checksum"));
        }
    }
    Ok(())
}

/// The tables of a list, each with the checksum of its file.
fn read_list(path: &Path) -> Option<Vec<(u64, u128)>> {
    let reader = sfa::Reader::new(path).ok()?;
    let mut section = reader.toc().section(b"tables")?.buf_reader(path).ok()?;
    let mut tables = Vec::new();
    let [levels] = take(&mut section)?;
    for _ in 0..levels {
        let [runs] = take(&mut section)?;
        for _ in 0..runs {
            for _ in 0..u32::from_le_bytes(take(&mut section)?) {
                let id = u64::from_le_bytes(take(&mut section)?);
                let [_kind] = take(&mut section)?;
                let checksum = u128::from_le_bytes(take(&mut section)?);
                let _sequence: [u8; 8] = take(&mut section)?;
                tables.push((id, checksum));
            }
        }
    }
    Some(tables)
}

fn hash_file(path: &Path) -> io::Result<u128> {
    let (mut hash, mut reader) = (Xxh3::new(), BufReader::with_capacity(1 << 20, File::open(path)?));
    loop {
        let window = reader.fill_buf()?;
        if window.is_empty() {
            return Ok(hash.digest128());
        }
        hash.update(window);
        let count = window.len();
        reader.consume(count);
    }
}

/// The journals, oldest first: each whole batch matches its checksum and is numbered above the one before.
/// Where a journal ends in the middle of a batch, the tree cuts it, as after a crash.
fn check_journals(dir: &Path, faults: &mut Vec<FileFault>) -> io::Result<()> {
    let mut journals: Vec<(u64, PathBuf)> = sorted(dir)?
        .into_iter()
        .filter_map(|path| Some((path.file_name()?.to_str()?.strip_suffix(".jnl")?.parse().ok()?, path)))
        .collect();
    journals.sort();
    if journals.is_empty() {
        faults.push(fault(dir.join("0.jnl"), "is missing, and so is any later journal"));
    }
    let mut before = None;
    for (_, path) in journals {
        let length = fs::metadata(&path)?.len();
        let mut journal =
            Journal { reader: BufReader::with_capacity(1 << 20, File::open(&path)?), left: length };
        let mut offset = 0;
        while let Some(batch) = journal.batch() {
            if batch.checksum != batch.expected {
                let flaw =
                    format!("is damaged in the batch at byte {offset}: it does not match its checksum");
                faults.push(fault(path.clone(), flaw));
                break;
            }
            let rises = before
                .is_none_or(|before| batch.sequence > before && batch.sequence - before < SEQUENCE_STEP_MAX);
            if !rises {
                let flaw = format!(
                    "is damaged in the batch at byte {offset}: number {} follows number {}",
                    batch.sequence,
                    before.unwrap_or_default()
                );
                faults.push(fault(path.clone(), flaw));
                break;
            }
            before = Some(batch.sequence);
            offset = length - journal.left;
        }
    }
    Ok(())
}

struct Batch {
    sequence: u64,
    checksum: u64,
    expected: u64,
}

struct Journal {
    reader: BufReader<File>,
    left: u64,
}

impl Journal {
    /// The next whole batch; `None` where there is none.
    fn batch(&mut self) -> Option<Batch> {
        let [1] = self.take()? else { return None };
        let count = u32::from_le_bytes(self.take()?);
        let sequence = u64::from_le_bytes(self.take()?);
        let mut hash = Xxh3::new();
        for _ in 0..count {
            self.item(&mut hash)?;
        }
        let [3] = self.take()? else { return None };
        let expected = u64::from_le_bytes(self.take()?);
        let end: [u8; BATCH_END.len()] = self.take()?;
        (end == BATCH_END).then(|| Batch { sequence, checksum: hash.digest(), expected })
    }

    fn item(&mut self, hash: &mut Xxh3) -> Option<()> {
        let [tag] = self.take()?;
        hash.update(&[tag]);
        match tag {
            2 => {
                // Kind, compression, keyspace, then the lengths of the key, the value and the stored value.
                let head: [u8; 20] = self.take()?;
                hash.update(&head);
                let key = u16::from_le_bytes([head[10], head[11]]);
                let stored = u32::from_le_bytes([head[16], head[17], head[18], head[19]]);
                self.skip(u64::from(key) + u64::from(stored), hash)
            }
            4 => {
                let keyspace: [u8; 8] = self.take()?;
                hash.update(&keyspace);
                Some(())
            }
            _ => None,
        }
    }

    fn skip(&mut self, mut count: u64, hash: &mut Xxh3) -> Option<()> {
        while count > 0 {
            let window = self.reader.fill_buf().ok()?;
            let part = window.get(..window.len().min(count as usize))?;
            if part.is_empty() {
                return None;
            }
            hash.update(part);
            let taken = part.len();
            self.reader.consume(taken);
            count -= taken as u64;
            self.left -= taken as u64;
        }
        Some(())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = take(&mut self.reader)?;
        self.left -= N as u64;
        Some(bytes)
    }
}

fn take<const N: usize>(reader: &mut impl Read) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn read_u128(bytes: &[u8], at: usize) -> Option<u128> {
    Some(u128::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

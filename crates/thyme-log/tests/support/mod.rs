//! A disk in memory that fails, fills up and loses power on demand.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use thyme_core::error::Result;
use thyme_log::{Disk, DiskFile, Log, NewRecord, OpenReport, Options, Record, SegmentLog};

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct Bytes {
    /// What a read sees.
    now: Vec<u8>,
    /// What is sure to survive a power cut.
    durable: Vec<u8>,
    /// Whether the name is.
    named: bool,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Bytes>,
    removed: BTreeMap<String, Bytes>,
    sync_fails: bool,
    write_fails: bool,
    truncate_fails: bool,
    capacity: Option<usize>,
}

#[derive(Clone, Debug, Default)]
pub struct MemDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct MemFile(MemDisk, String);

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl MemDisk {
    pub fn fail_sync(&self, fails: bool) {
        self.0.lock().sync_fails = fails;
    }

    pub fn fail_write(&self, fails: bool) {
        self.0.lock().write_fails = fails;
    }

    pub fn fail_truncate(&self, fails: bool) {
        self.0.lock().truncate_fails = fails;
    }

    pub fn limit(&self, capacity: Option<usize>) {
        self.0.lock().capacity = capacity;
    }

    pub fn names(&self) -> Vec<String> {
        self.0.lock().files.keys().cloned().collect()
    }

    pub fn contents(&self, name: &str) -> Vec<u8> {
        self.0.lock().files[name].now.clone()
    }

    pub fn replace(&self, name: &str, bytes: &[u8]) {
        let file = Bytes { now: bytes.to_vec(), durable: bytes.to_vec(), named: true };
        self.0.lock().files.insert(name.to_owned(), file);
    }

    pub fn take(&self, name: &str) {
        self.0.lock().files.remove(name);
    }

    /// A disk with the same bytes that shares nothing with this one.
    pub fn copy(&self) -> MemDisk {
        let copy = MemDisk::default();
        copy.0.lock().files = self.0.lock().files.clone();
        copy
    }

    /// What is left after a power cut, as `random` decides: any of the sectors, lengths and names that
    /// were not synced.
    pub fn after_power_cut(&self, random: &mut Random) -> MemDisk {
        let state = self.0.lock();
        let left = MemDisk::default();
        for (name, file) in state.files.iter().chain(&state.removed) {
            let removed = state.removed.contains_key(name);
            if (removed || !file.named) && random.below(2) == 0 {
                continue;
            }
            let mut bytes = file.durable.clone();
            if file.now.len() != bytes.len() {
                let (low, high) = (file.now.len().min(bytes.len()), file.now.len().max(bytes.len()));
                let length = match random.below(4) {
                    0 => bytes.len(),
                    1 => low + random.below((high - low + 1) as u64) as usize,
                    _ => file.now.len(),
                };
                bytes.resize(length, 0);
            }
            let share = random.below(5);
            for (at, sector) in bytes.chunks_mut(SECTOR).enumerate() {
                let written = file.now.get(at * SECTOR..).unwrap_or_default();
                let count = sector.len().min(written.len());
                if random.below(4) < share {
                    sector[..count].copy_from_slice(&written[..count]);
                }
            }
            left.replace(name, &bytes);
        }
        left
    }
}

impl Disk for MemDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.insert(name.to_owned(), Bytes::default());
        Ok(Arc::new(MemFile(self.clone(), name.to_owned())))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.lock().files.get(name).ok_or_else(not_found)?;
        Ok(Arc::new(MemFile(self.clone(), name.to_owned())))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        let file = state.files.remove(name).ok_or_else(not_found)?;
        if file.named {
            state.removed.insert(name.to_owned(), file);
        }
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.sync_fails {
            return Err(io::Error::other("the disk is gone"));
        }
        state.files.values_mut().for_each(|file| file.named = true);
        state.removed.clear();
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        format!("mem/{name}")
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.0.0.lock();
        let bytes = &state.files.get(&self.1).ok_or_else(not_found)?.now;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.0.0.lock();
        if state.write_fails {
            return Err(io::Error::other("the disk is gone"));
        }
        let used: usize = state.files.values().map(|file| file.now.len()).sum();
        let room = state.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(used));
        let file = state.files.get_mut(&self.1).ok_or_else(not_found)?;
        let fits = bytes.len().min(room);
        let end = offset as usize + fits;
        if file.now.len() < end {
            file.now.resize(end, 0);
        }
        file.now[offset as usize..end].copy_from_slice(&bytes[..fits]);
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.0.lock();
        if state.sync_fails {
            return Err(io::Error::other("the disk is gone"));
        }
        let file = state.files.get_mut(&self.1).ok_or_else(not_found)?;
        file.durable = file.now.clone();
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.0.lock();
        if state.truncate_fails {
            return Err(io::Error::other("the disk is gone"));
        }
        state.files.get_mut(&self.1).ok_or_else(not_found)?.now.resize(length as usize, 0);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().files.get(&self.1).ok_or_else(not_found)?.now.len() as u64)
    }
}

/// A small generator of repeatable numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Bytes as compressed payloads look: no long runs of zeros.
    pub fn payload(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

pub fn open(disk: &MemDisk, segment_bytes: u64) -> Result<(SegmentLog, OpenReport)> {
    SegmentLog::open_on(Arc::new(disk.clone()), Options { segment_bytes })
}

/// Appends one batch whose stamps follow those before by ten.
pub fn append(log: &dyn Log, payloads: &[&[u8]]) -> Result<u64> {
    let (number, _) = log.last().unwrap_or_default();
    let records: Vec<_> = payloads
        .iter()
        .zip(number + 1..)
        .map(|(payload, number)| NewRecord { stamp: number as i64 * 10, payload })
        .collect();
    log.append(&records)
}

pub fn all(log: &dyn Log) -> Vec<Record> {
    log.read(1).unwrap().collect::<Result<_>>().unwrap()
}

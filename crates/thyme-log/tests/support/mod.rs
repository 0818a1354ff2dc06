//! Logs on a faulty disk.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::sync::Arc;

use thyme_core::error::Result;
use thyme_log::{Log, NewRecord, OpenReport, Options, Record, SegmentLog};

pub use thyme_testing::disk::FaultyDisk as MemDisk;

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

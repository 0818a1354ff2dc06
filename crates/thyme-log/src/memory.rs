//! A log in memory: for tests and notebooks.

use std::sync::Arc;

use parking_lot::RwLock;
use thyme_core::error::Result;

use crate::{Log, NewRecord, Record, Records, check_batch};

/// A log that keeps its records in memory and loses them with the process.
#[derive(Debug, Default)]
pub struct MemoryLog {
    records: RwLock<Stored>,
}

#[derive(Debug, Default)]
struct Stored {
    records: Vec<(i64, Arc<[u8]>)>,
    bytes: u64,
}

impl Stored {
    fn last(&self) -> Option<(u64, i64)> {
        self.records.last().map(|(stamp, _)| (self.records.len() as u64, *stamp))
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        MemoryLog::default()
    }
}

impl Log for MemoryLog {
    fn append(&self, records: &[NewRecord<'_>]) -> Result<u64> {
        let mut stored = self.records.write();
        check_batch(records, stored.last())?;
        for record in records {
            stored.bytes += record.payload.len() as u64;
            stored.records.push((record.stamp, record.payload.into()));
        }
        Ok(stored.records.len() as u64)
    }

    fn last(&self) -> Option<(u64, i64)> {
        self.records.read().last()
    }

    fn read(&self, from: u64) -> Result<Records<'_>> {
        let last = self.records.read().records.len() as u64;
        Ok(Box::new((from.max(1)..=last).map_while(move |number| {
            let stored = self.records.read();
            let (stamp, payload) = stored.records.get(number as usize - 1)?;
            Some(Ok(Record { number, stamp: *stamp, payload: payload.to_vec() }))
        })))
    }

    fn last_at(&self, stamp: i64) -> Result<Option<u64>> {
        let count = self.records.read().records.partition_point(|(s, _)| *s <= stamp);
        Ok((count > 0).then_some(count as u64))
    }

    fn bytes(&self) -> u64 {
        self.records.read().bytes
    }
}

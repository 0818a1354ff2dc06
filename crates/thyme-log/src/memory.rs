//! A log in memory: for tests and notebooks.

use std::sync::Arc;

use parking_lot::RwLock;
use thyme_core::error::Result;

use crate::segment::gone;
use crate::{Edit, Log, NewRecord, Record, Records, check_batch};

/// A log that keeps its records in memory and loses them with the process.
#[derive(Debug, Default)]
pub struct MemoryLog {
    records: RwLock<Stored>,
}

#[derive(Debug, Default)]
struct Stored {
    /// How many records were cut off the front.
    cut: u64,
    records: Vec<(i64, Arc<[u8]>)>,
    bytes: u64,
}

impl Stored {
    fn last(&self) -> Option<(u64, i64)> {
        self.records.last().map(|(stamp, _)| (self.count(), *stamp))
    }

    /// The number of the last record, those that were cut off included.
    fn count(&self) -> u64 {
        self.cut + self.records.len() as u64
    }

    fn index(&self, number: u64) -> Option<usize> {
        Some(number.checked_sub(self.cut + 1)? as usize)
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
        Ok(stored.count())
    }

    fn last(&self) -> Option<(u64, i64)> {
        self.records.read().last()
    }

    fn read(&self, from: u64) -> Result<Records<'_>> {
        let (cut, last) = (self.records.read().cut, self.records.read().count());
        if from.max(1) <= cut {
            return Err(gone(from.max(1)));
        }
        Ok(Box::new((from.max(1)..=last).map_while(move |number| {
            let stored = self.records.read();
            let (stamp, payload) = stored.records.get(stored.index(number)?)?;
            Some(Ok(Record { number, stamp: *stamp, payload: payload.to_vec() }))
        })))
    }

    fn last_at(&self, stamp: i64) -> Result<Option<u64>> {
        let stored = self.records.read();
        let count = stored.cut + stored.records.partition_point(|(s, _)| *s <= stamp) as u64;
        Ok((count > 0).then_some(count))
    }

    fn bytes(&self) -> u64 {
        self.records.read().bytes
    }

    fn first(&self) -> u64 {
        self.records.read().cut + 1
    }

    fn rewrite(&self, until: u64, edit: &mut Edit<'_>) -> Result<u64> {
        let (first, last) = (self.first(), until.min(self.records.read().count()));
        let mut changed = 0;
        for number in first..=last {
            let stored = self.records.read();
            let Some((_, payload)) = stored.index(number).and_then(|at| stored.records.get(at)) else {
                continue;
            };
            let payload = Arc::clone(payload);
            drop(stored);
            let Some(new) = edit(number, &payload)? else { continue };
            let mut stored = self.records.write();
            let index = stored.index(number);
            if let Some((_, old)) = index.and_then(|at| stored.records.get_mut(at)) {
                *old = new.as_slice().into();
                stored.bytes = stored.bytes + new.len() as u64 - payload.len() as u64;
                changed += 1;
            }
        }
        Ok(changed)
    }

    fn cut(&self, before: u64) -> Result<u64> {
        let mut stored = self.records.write();
        let count =
            (before.saturating_sub(stored.cut + 1) as usize).min(stored.records.len().saturating_sub(1));
        let freed: u64 = stored.records.drain(..count).map(|(_, payload)| payload.len() as u64).sum();
        stored.cut += count as u64;
        stored.bytes -= freed;
        Ok(freed)
    }

    fn cuts(&self) -> Vec<u64> {
        let stored = self.records.read();
        (stored.cut + 2..=stored.count()).collect()
    }
}

//! A part of another log, in memory: its records keep their numbers, and those of others are missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use thyme_core::error::{Error, Result};

use crate::{Edit, Log, NewRecord, Record, Records, check_batch};

/// Stamps and payloads, by number.
type Stored = BTreeMap<u64, (i64, Arc<[u8]>)>;

/// Some records of a log, by their number there; what is appended follows the last of them.
#[derive(Debug, Default)]
pub struct SparseLog {
    records: RwLock<Stored>,
}

impl SparseLog {
    /// The records of another log, in any order.
    ///
    /// # Errors
    /// Internal: their stamps do not increase with their numbers.
    pub fn new(records: Vec<Record>) -> Result<Self> {
        let all: BTreeMap<u64, (i64, Arc<[u8]>)> = records
            .into_iter()
            .map(|record| (record.number, (record.stamp, record.payload.into())))
            .collect();
        if !all.values().is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Error::internal("the stamps of a log's records do not increase with their numbers"));
        }
        Ok(SparseLog { records: RwLock::new(all) })
    }
}

impl Log for SparseLog {
    fn append(&self, records: &[NewRecord<'_>]) -> Result<u64> {
        check_batch(records, self.last())?;
        let mut stored = self.records.write();
        let mut number = stored.last_key_value().map_or(0, |(number, _)| *number);
        for record in records {
            number += 1;
            stored.insert(number, (record.stamp, record.payload.into()));
        }
        Ok(number)
    }

    fn last(&self) -> Option<(u64, i64)> {
        self.records.read().last_key_value().map(|(number, (stamp, _))| (*number, *stamp))
    }

    fn read(&self, from: u64) -> Result<Records<'_>> {
        let last = self.last().map_or(0, |(number, _)| number);
        let mut next = from;
        Ok(Box::new(std::iter::from_fn(move || {
            let stored = self.records.read();
            let (number, (stamp, payload)) = stored.range(next..).next().filter(|(n, _)| **n <= last)?;
            next = number + 1;
            Some(Ok(Record { number: *number, stamp: *stamp, payload: payload.to_vec() }))
        })))
    }

    fn last_at(&self, stamp: i64) -> Result<Option<u64>> {
        let stored = self.records.read();
        Ok(stored.iter().take_while(|(_, (at, _))| *at <= stamp).last().map(|(number, _)| *number))
    }

    fn bytes(&self) -> u64 {
        self.records.read().values().map(|(_, payload)| payload.len() as u64).sum()
    }

    fn first(&self) -> u64 {
        self.records.read().first_key_value().map_or(1, |(number, _)| *number)
    }

    fn rewrite(&self, until: u64, edit: &mut Edit<'_>) -> Result<u64> {
        let numbers: Vec<u64> = self.records.read().range(..=until).map(|(number, _)| *number).collect();
        let mut changed = 0;
        for number in numbers {
            let payload = self.records.read().get(&number).map(|(_, payload)| Arc::clone(payload));
            let Some(payload) = payload else { continue };
            let Some(new) = edit(number, &payload)? else { continue };
            if let Some((_, old)) = self.records.write().get_mut(&number) {
                *old = new.into();
                changed += 1;
            }
        }
        Ok(changed)
    }

    fn cut(&self, before: u64) -> Result<u64> {
        let mut stored = self.records.write();
        let before = before.min(stored.last_key_value().map_or(0, |(number, _)| *number));
        let kept = stored.split_off(&before);
        let gone = std::mem::replace(&mut *stored, kept);
        Ok(gone.values().map(|(_, payload)| payload.len() as u64).sum())
    }

    fn cuts(&self) -> Vec<u64> {
        self.records.read().keys().skip(1).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64, stamp: i64) -> Record {
        Record { number, stamp, payload: vec![number as u8] }
    }

    #[test]
    fn records_keep_their_numbers_and_new_ones_follow() {
        let log = SparseLog::new(vec![record(9, 90), record(3, 30), record(4, 40)]).unwrap();
        let numbers = |from| log.read(from).unwrap().map(|r| r.unwrap().number).collect::<Vec<_>>();
        assert_eq!((log.first(), log.last()), (3, Some((9, 90))));
        assert_eq!((numbers(0), numbers(4), numbers(5)), (vec![3, 4, 9], vec![4, 9], vec![9]));
        assert_eq!(log.append(&[NewRecord { stamp: 95, payload: b"x" }]).unwrap(), 10);
        assert!(log.append(&[NewRecord { stamp: 95, payload: b"x" }]).is_err());
        assert_eq!((log.last_at(29).unwrap(), log.last_at(89).unwrap()), (None, Some(4)));
        assert_eq!(log.cuts(), [4, 9, 10]);
        log.cut(9).unwrap();
        assert_eq!(numbers(0), [9, 10]);
        assert!(SparseLog::new(vec![record(1, 5), record(2, 5)]).is_err());
    }
}

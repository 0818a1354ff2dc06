//! Where in the log the left out events are: late rows and dead letters.
//!
//! Both stay in the log; these are the few numbers that lead back to them. They are kept in memory and in
//! every checkpoint, so they are bounded: beyond [`RANGES_MAX`] ranges, neighbours are joined. A range then
//! also covers records without any, which costs whoever lists them time and changes no answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thyme_core::definition::Dataset;
use thyme_core::{Error, Result};

/// The most ranges that are kept of one dataset.
const RANGES_MAX: usize = 1024;
/// Records without late rows that a range goes on over.
const GAP_MAX: u64 = 16;
/// Records and late rows after which the next late row begins another range.
const SPAN_MAX: u64 = 4096;
const LATE_MAX: u64 = 4096;

/// Numbers of records, as ascending ranges of first and last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Stored>", into = "Vec<[u64; 2]>")]
pub(crate) struct RecordSet {
    ranges: Vec<[u64; 2]>,
}

/// A checkpoint holds ranges, or single numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    One(u64),
    Range([u64; 2]),
}

impl From<Vec<Stored>> for RecordSet {
    fn from(stored: Vec<Stored>) -> Self {
        let mut set = RecordSet::default();
        for entry in stored {
            match entry {
                Stored::One(number) => set.push(number),
                Stored::Range(range) => set.ranges.push(range),
            }
        }
        set
    }
}

impl From<RecordSet> for Vec<[u64; 2]> {
    fn from(set: RecordSet) -> Self {
        set.ranges
    }
}

impl RecordSet {
    /// Adds a record after all that are in it.
    pub fn push(&mut self, number: u64) {
        match self.ranges.last_mut() {
            Some([_, last]) if number <= *last => {}
            Some([_, last]) if number == *last + 1 => *last = number,
            _ => self.ranges.push([number, number]),
        }
        if self.ranges.len() > RANGES_MAX {
            coarsen(&mut self.ranges, |a, b| b[0] - a[1], |a, b| a[1] = b[1]);
        }
    }

    /// Takes out the records before `first`.
    pub fn forget_before(&mut self, first: u64) {
        self.ranges.retain(|[_, last]| *last >= first);
        self.ranges.iter_mut().for_each(|[from, _]| *from = first.max(*from));
    }

    /// The ranges, ascending. Each has a record that was added; it may have others.
    pub fn ranges(&self) -> &[[u64; 2]] {
        &self.ranges
    }
}

/// Records with late rows, and what is needed to give the verdicts in them again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LateRange {
    pub first: u64,
    pub last: u64,
    /// Late rows in it.
    pub late: u64,
    /// The watermark of each of the dataset's streams before `first`.
    pub watermarks: Vec<(String, Option<i64>)>,
}

/// Where the late rows of a dataset are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LateRanges {
    ranges: Vec<LateRange>,
}

impl LateRanges {
    /// The whole log up to `record`, for a checkpoint that did not say where its late rows are.
    pub fn anywhere(record: u64, late: u64) -> Self {
        LateRanges { ranges: vec![LateRange { first: 1, last: record, late, watermarks: Vec::new() }] }
    }

    /// Notes that record `number` has late rows. The watermarks of a new range are asked for only then.
    pub fn push(&mut self, number: u64, late: u64, watermarks: impl FnOnce() -> Vec<(String, Option<i64>)>) {
        if let Some(open) = self.ranges.last_mut()
            && number <= open.last + GAP_MAX
            && number < open.first + SPAN_MAX
            && open.late < LATE_MAX
        {
            open.last = number;
            open.late += late;
            return;
        }
        self.ranges.push(LateRange { first: number, last: number, late, watermarks: watermarks() });
        if self.ranges.len() > RANGES_MAX {
            coarsen(
                &mut self.ranges,
                |a, b| b.last - a.first,
                |a, b| {
                    a.last = b.last;
                    a.late += b.late;
                },
            );
        }
    }

    /// Takes out the records before `first`; `watermarks` gives those of before it.
    pub fn forget_before(&mut self, first: u64, watermarks: impl FnOnce() -> Vec<(String, Option<i64>)>) {
        self.ranges.retain(|range| range.last >= first);
        // They do not overlap.
        if let Some(range) = self.ranges.first_mut().filter(|range| range.first < first) {
            *range = LateRange { first, last: range.last, late: range.late, watermarks: watermarks() };
        }
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[LateRange] {
        &self.ranges
    }
}

/// Which dead letters of a dataset have become rows after all. Letters are gone through in the order of the
/// log, so it is: up to which record, and which of them are still waiting. It travels as the cursor of the
/// rows, and so is durable exactly if they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replayed {
    /// How many.
    pub letters: u64,
    /// The letters of records up to this one have been gone through.
    through: u64,
    /// Those that still could not be read, by record: ranges of their places in it.
    waiting: BTreeMap<u64, Vec<[u32; 2]>>,
}

impl Replayed {
    /// The input stream of a dataset's replayed letters, with a watermark of its own like each source's. Its
    /// cursor says which.
    pub fn stream(dataset: &Dataset) -> String {
        format!("dead-letters:{}@{}", dataset.name, dataset.version)
    }

    /// From the cursor.
    pub fn decode(cursor: &[u8]) -> Result<Replayed> {
        serde_json::from_slice(cursor)
            .map_err(|e| Error::corrupt(format!("which dead letters were replayed cannot be read: {e}")))
    }

    /// As the cursor.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::internal(format!("replay: {e}")))
    }

    /// Whether a letter has become a row.
    pub fn has(&self, record: u64, index: u32) -> bool {
        let waits = |ranges: &Vec<[u32; 2]>| ranges.iter().any(|[a, b]| (*a..=*b).contains(&index));
        record <= self.through && !self.waiting.get(&record).is_some_and(waits)
    }

    /// Notes that the letters of a record have been gone through, and which of them still wait.
    pub fn set(&mut self, record: u64, waiting: &[u32]) {
        self.through = self.through.max(record);
        self.waiting.remove(&record);
        if waiting.is_empty() {
            return;
        }
        let mut ranges: Vec<[u32; 2]> = Vec::new();
        for &index in waiting {
            match ranges.last_mut() {
                Some([_, last]) if index == *last + 1 => *last = index,
                _ => ranges.push([index, index]),
            }
        }
        self.waiting.insert(record, ranges);
    }
}

/// Joins about a quarter of the neighbours or more: those that cost least, the older ones first.
fn coarsen<T>(ranges: &mut Vec<T>, cost: impl Fn(&T, &T) -> u64, join: impl Fn(&mut T, T)) {
    let costs: Vec<u64> = ranges.windows(2).map(|pair| cost(&pair[0], &pair[1])).collect();
    let mut sorted = costs.clone();
    sorted.sort_unstable();
    let Some(dear) = sorted.get(sorted.len() / 2).copied() else { return };
    let (mut kept, mut joinable) = (Vec::with_capacity(ranges.len()), false);
    for (index, range) in ranges.drain(..).enumerate() {
        let cheap = index.checked_sub(1).and_then(|before| costs.get(before)).is_some_and(|c| *c <= dear);
        match kept.last_mut() {
            Some(before) if cheap && joinable => {
                join(before, range);
                joinable = false;
            }
            _ => {
                kept.push(range);
                joinable = true;
            }
        }
    }
    *ranges = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(set: &RecordSet, number: u64) -> bool {
        set.ranges().iter().any(|[first, last]| (*first..=*last).contains(&number))
    }

    #[test]
    fn records_in_a_row_are_one_range_and_a_set_stays_small() {
        let mut set = RecordSet::default();
        (1..=5000).for_each(|n| set.push(n));
        assert_eq!(set.ranges(), [[1, 5000]]);
        let scattered: Vec<u64> = (0..20_000).map(|n| 6000 + n * 3 + (n % 7) * 1000).collect();
        let ascending: std::collections::BTreeSet<u64> = scattered.into_iter().collect();
        ascending.iter().for_each(|n| set.push(*n));
        assert!(set.ranges().len() <= RANGES_MAX);
        assert!(ascending.iter().all(|n| covered(&set, *n)), "none is lost");
        assert!(set.ranges().windows(2).all(|w| w[0][1] < w[1][0]), "they ascend");
        let text = serde_json::to_string(&set).unwrap();
        assert_eq!(serde_json::from_str::<RecordSet>(&text).unwrap(), set);
        assert_eq!(serde_json::from_str::<RecordSet>("[3,4,9]").unwrap().ranges(), [[3, 4], [9, 9]]);
    }

    #[test]
    fn a_letter_is_replayed_when_its_record_was_gone_through_and_it_does_not_wait() {
        let mut replayed = Replayed::default();
        assert!(!replayed.has(3, 0));
        replayed.set(3, &[1, 2, 5]);
        replayed.set(7, &[]);
        let text = serde_json::to_string(&replayed).unwrap();
        let mut replayed: Replayed = serde_json::from_str(&text).unwrap();
        let has: Vec<bool> = (0..7).map(|index| replayed.has(3, index)).collect();
        assert_eq!(has, [true, false, false, true, true, false, true]);
        assert!(replayed.has(7, 0) && !replayed.has(8, 0));
        replayed.set(3, &[5]);
        assert!(replayed.has(3, 2) && !replayed.has(3, 5) && replayed.has(7, 1));
    }

    #[test]
    fn late_ranges_are_bounded_and_keep_the_state_before_the_first_of_them() {
        let mut late = LateRanges::default();
        for n in (1..2_000_000u64).step_by(100) {
            late.push(n, 2, || vec![("push".into(), Some(n as i64))]);
        }
        assert!(late.ranges().len() <= RANGES_MAX);
        assert_eq!(late.ranges().iter().map(|r| r.late).sum::<u64>(), 40_000);
        assert!(late.ranges().iter().all(|r| r.watermarks[0].1 == Some(r.first as i64)));
        let (first, newest) = (&late.ranges()[0], late.ranges().last().unwrap());
        assert!(newest.last - newest.first <= first.last - first.first, "the newest stay fine");
        let mut near = LateRanges::default();
        (1..=100).for_each(|n| near.push(n * 10, 1, Vec::new));
        assert_eq!(near.ranges().len(), 1);
    }
}

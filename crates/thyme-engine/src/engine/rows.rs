//! The rows of a dataset as the log has them, page by page, for whoever wants a copy.

use arrow::array::{BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::compute::filter_record_batch;
use thyme_core::definition::Dataset;
use thyme_core::{Error, ErrorKind, EventTime, Result};

use super::{CommitPlace, Engine};
use crate::admission::Watermark;
use crate::attached::StoredRows;
use crate::base::Base;
use crate::catalog::LiveDataset;
use crate::decode::columns::event_times;
use crate::event_ids::{self, Claims};
use crate::keys::encode_keys;
use crate::node::Admitted;
use crate::replay::Replay;
use crate::trial::rank;

/// Which rows of a dataset are asked for.
#[derive(Clone, Debug)]
pub struct RowsQuery {
    /// Only those of later event times.
    pub after: Option<i64>,
    /// Only those of records up to this one.
    pub until: u64,
    /// Of which part of the dataset's entities, by the hash of their key.
    pub part: f64,
    /// Where an earlier page ended.
    pub from: Option<RowsPlace>,
    /// A page ends with the record that makes it as large.
    pub bytes_max: usize,
    /// Or once as many bytes of the log were read for it.
    pub scanned_max: usize,
}

/// Where a page ended: the last record that was read, and the watermarks of the dataset's streams after it, which
/// the next verdicts need.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RowsPlace {
    /// The last record that was read.
    pub record: u64,
    /// By stream.
    pub watermarks: Vec<(String, Option<i64>)>,
}

/// Some of the rows.
#[derive(Debug)]
pub struct RowsPage {
    /// The rows, a record each.
    pub records: Vec<StoredRows>,
    /// How many rows were left out for their event time.
    pub older: u64,
    /// Where the next page begins; `None`: there is none.
    pub next: Option<RowsPlace>,
}

impl Engine {
    /// A page of a dataset's rows with their positions, stamps and verdicts.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn stored_rows(&self, dataset: &LiveDataset, query: &RowsQuery) -> Result<RowsPage> {
        self.nothing_is_being_erased()?;
        let earlier = query.from.as_ref().map(|place| self.committed_before(place.record)).transpose()?;
        // No record leaves the log meanwhile.
        let base = self.shared.base.read();
        let after = query.after.max(self.whole_over(&base, dataset).map(|from| from.0));
        // Whose an event id is was found out when its row was applied.
        let claims = Claims::of(&self.catalog(), &[]);
        let mut replay = Replay::of(&base, self.shared.ids(), claims);
        let mut first = base.first;
        if let (Some(place), Some(earlier)) = (&query.from, earlier) {
            if place.record + 1 < base.first {
                let detail =
                    format!("the log was cut at record {} while it was copied; ask again", base.first);
                return Err(Error::new(ErrorKind::Gone, detail));
            }
            let marks = place.watermarks.iter();
            let marks = marks
                .map(|(stream, largest)| ((dataset.id, stream.clone()), Watermark { largest: *largest }));
            replay = replay.under(earlier).over(marks);
            first = place.record + 1;
        }
        let mut page = RowsPage { records: Vec::new(), older: 0, next: None };
        let (mut bytes, mut scanned, mut last) = (0, 0, first.saturating_sub(1));
        for record in self.shared.log.read(first)? {
            let record = record?;
            if record.number > query.until {
                return Ok(page);
            }
            if bytes >= query.bytes_max || scanned >= query.scanned_max {
                let watermarks = replay.watermarks(dataset.id);
                page.next = Some(RowsPlace { record: last, watermarks });
                return Ok(page);
            }
            (scanned, last) = (scanned + record.payload.len(), record.number);
            let Some((events, admitted)) = replay.take(&record, &|id| id == dataset.id, &Ok)? else {
                continue;
            };
            let times = event_times(&events.batch, dataset.definition.time_field())?.values().to_vec();
            let watermark = replay.watermark(&events);
            let (behind, duplicate) = why_left_out(&admitted, times.len());
            page.older +=
                times.iter().filter(|time| after.is_some_and(|after| **time <= after)).count() as u64;
            let kept = wanted(dataset, (after, query.part), &events.batch, &times)?;
            let rows: Vec<usize> = (0..times.len()).filter(|row| kept.value(*row)).collect();
            if rows.is_empty() {
                continue;
            }
            let batch = filter_record_batch(&events.batch, &kept)?;
            bytes += batch.get_array_memory_size();
            page.records.push(StoredRows {
                number: record.number,
                stamp: record.stamp,
                stream: events.stream.clone(),
                rows: rows.iter().map(|row| events.row_number(*row)).collect(),
                behind: rows.iter().map(|row| behind[*row]).collect(),
                duplicate: rows.iter().map(|row| duplicate[*row]).collect(),
                watermark,
                batch,
            });
        }
        Ok(page)
    }

    /// The definitions that held at a record.
    fn committed_before(&self, record: u64) -> Result<Vec<Dataset>> {
        let before = |commit: &&CommitPlace| commit.record <= record;
        let commit = self.shared.commits.lock().iter().rev().find(before).cloned();
        let commit = commit.ok_or_else(|| Error::invalid_data("next: there is no such place in the log"))?;
        Ok(self.committed(&commit.id)?.document.datasets)
    }

    /// The event time after which all rows of a dataset are in the log and it is known which of them count; `None`:
    /// always.
    pub fn whole_after(&self, dataset: &LiveDataset) -> Option<EventTime> {
        self.whole_over(&self.shared.base.read(), dataset)
    }

    fn whole_over(&self, base: &Base, dataset: &LiveDataset) -> Option<EventTime> {
        let gone = base.gone.get(&dataset.id).copied().map(EventTime);
        gone.max(event_ids::known_from(dataset))
    }

    /// The stamp of a record; `None` if it is no longer there.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn stamp_of(&self, record: u64) -> Result<Option<i64>> {
        let found = self.shared.log.read(record)?.next().transpose()?;
        Ok(found.filter(|found| found.number == record).map(|found| found.stamp))
    }
}

/// For each row of a record the watermark that it is behind of, if it is late, and whether it is a duplicate.
fn why_left_out(admitted: &Admitted, rows: usize) -> (Vec<Option<i64>>, Vec<bool>) {
    let mut duplicate = vec![false; rows];
    for (row, _) in &admitted.duplicates {
        if let Some(is) = duplicate.get_mut(*row as usize) {
            *is = true;
        }
    }
    let mut late = admitted.late.iter().copied();
    let is_out = |row: usize| admitted.kept.as_ref().is_some_and(|kept| !kept.value(row));
    let behind = (0..rows).map(|row| if is_out(row) && !duplicate[row] { late.next() } else { None });
    (behind.collect(), duplicate)
}

/// Which rows of a record a query asks for.
fn wanted(
    dataset: &LiveDataset,
    (after, part): (Option<i64>, f64),
    batch: &RecordBatch,
    times: &[i64],
) -> Result<BooleanArray> {
    let keys = match part < 1.0 {
        true => Some(encode_keys(&dataset.definition.fields.keys().cloned().collect::<Vec<_>>(), batch)?),
        false => None,
    };
    // Ranks are spread evenly over all 64 bits.
    let bound = (part.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
    let mut kept = BooleanBufferBuilder::new(times.len());
    for (row, time) in times.iter().enumerate() {
        let in_part = keys.as_ref().is_none_or(|keys| rank(keys.get(row)) < bound);
        kept.append(in_part && after.is_none_or(|after| *time > after));
    }
    Ok(BooleanArray::new(kept.finish(), None))
}
